//! The last stage of a login: drops what a buyer must not have, and becomes his shell.
//!
//! Started by the inside for each login with the terminal or pipes already in place.
//!
//! Always holds: the shell can be chosen when memory runs out; like process 1, which starts this,
//! it has no capability.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::Context;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::setsid;

use crate::provision::cgroup::SHELL_PROCESSES_MAX;

use super::root::login_shell;

/// How readily the kernel ends a buyer's process when the machine's memory is full.
const OOM_SCORE: &str = "500";

/// How a login talks to its shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Talk {
    /// Through a terminal, which becomes the controlling one.
    Terminal,
    /// Through three pipes.
    Pipes,
}

impl Talk {
    pub(super) fn name(self) -> &'static str {
        match self {
            Talk::Terminal => "terminal",
            Talk::Pipes => "pipes",
        }
    }
}

/// Becomes the shell, interactive or with one command.
pub(super) fn run(
    kind: &OsStr,
    memory: &OsStr,
    command: Option<&[u8]>,
) -> anyhow::Result<ExitCode> {
    // Process 1 forbade tracing and thereby writing here; this process holds no secret.
    prctl::set_dumpable(true).context("cannot become an ordinary process")?;
    fs::write("/proc/self/oom_score_adj", OOM_SCORE)
        .context("cannot be chosen when memory runs out")?;
    setsid().context("cannot lead a session")?;
    if kind == Talk::Terminal.name() {
        take_terminal()?;
    }
    setrlimit(Resource::RLIMIT_CORE, 0, 0).context("cannot forbid core files")?;
    if let Some(limit) = memory
        .to_str()
        .and_then(|m| m.parse().ok())
        .filter(|m| *m > 0)
    {
        setrlimit(Resource::RLIMIT_AS, limit, limit).context("cannot bound memory")?;
        // Counts the user's processes in his user namespace, or on the host where he has none.
        let most = SHELL_PROCESSES_MAX.into();
        setrlimit(Resource::RLIMIT_NPROC, most, most).context("cannot bound processes")?;
    }
    prctl::set_no_new_privs().context("cannot renounce privileges")?;
    let error = match command {
        Some(command) => Command::new("/bin/sh")
            .arg("-c")
            .arg(OsStr::from_bytes(command))
            .exec(),
        None => {
            let shell = login_shell();
            let name = shell.rsplit('/').next().unwrap_or(shell);
            let mut login = OsString::from("-");
            login.push(name);
            Command::new(shell).arg0(login).exec()
        }
    };
    Err(error).context("cannot start a shell")
}

fn take_terminal() -> anyhow::Result<()> {
    // SAFETY: descriptor 0 is the terminal that process 1 put there; the request takes an integer.
    match unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()).context("cannot take the terminal"),
    }
}
