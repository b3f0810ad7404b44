//! Starts the supervisor so that it is nobody's child, and waits until it holds the lock.
//!
//! Started by the provider, which waits for it to exit. Dies between any two steps without harm:
//! the supervisor alone decides by the lock whether it is needed.

use std::io::Read;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context;

use super::{OWN_PROGRAM, SUBCOMMAND, code};

/// The supervisor's one word on its standard output: it holds the lock.
pub(super) const LOCKED: u8 = b'L';

/// Starts the supervisor of the machine in `folder`.
pub(super) fn run(folder: &Path) -> anyhow::Result<ExitCode> {
    let mut supervisor = Command::new(OWN_PROGRAM)
        .args([SUBCOMMAND, "supervise"])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the supervisor")?;
    let mut word = Vec::new();
    if let Some(mut said) = supervisor.stdout.take() {
        said.read_to_end(&mut word)
            .context("cannot hear the supervisor")?;
    }
    if word == [LOCKED] {
        return Ok(ExitCode::from(code::STARTED));
    }
    let status = supervisor
        .wait()
        .context("cannot wait for the supervisor")?;
    let code = status
        .code()
        .and_then(|c| u8::try_from(c).ok())
        .unwrap_or(code::FAILED);
    Ok(ExitCode::from(code))
}
