//! The inside of a machine that the built-in provider delivers.
//!
//! `guest_main` is called by any binary that offers the hidden subcommand; the provider starts
//! that binary, and each stage starts the next by re-executing it:
//!
//! ```text
//! provider -> launch -> supervise -> inside -> session
//!             exits     outside the  process 1,  one for each login: drops what it must
//!             at once   namespaces   SSH server  not have and becomes a shell
//! ```
//! Always holds: supervise and inside hold the machine's lock together; each ends when the other
//! does, and both end when the window does, whoever else is dead.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

mod cores;
mod guard;
mod inside;
mod launch;
mod mounts;
mod namespaces;
mod probe;
mod report;
mod rights;
mod root;
mod session;
mod shells;
mod ssh;
mod supervise;
mod terminal;

pub use crate::provision::SUBCOMMAND;

/// This very program, also when its file has been replaced.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Exit codes by which a stage tells the one before it how it went.
mod code {
    /// The machine has a guest: this one.
    pub(super) const STARTED: u8 = 0;
    /// Bad arguments: the caller's mistake.
    pub(super) const USAGE: u8 = 2;
    /// The machine has a guest already, or needs none.
    pub(super) const NOT_NEEDED: u8 = 3;
    /// Something failed; the log says what.
    pub(super) const FAILED: u8 = 4;
}

/// Runs one stage of a guest; `args` is what follows the subcommand.
pub fn guest_main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    let result = match args.split_first() {
        Some((stage, [folder])) if stage == "launch" => launch::run(Path::new(folder)),
        Some((stage, [folder])) if stage == "supervise" => supervise::run(&PathBuf::from(folder)),
        Some((stage, [lock])) if stage == "inside" => inside::run(lock),
        Some((stage, [kind, memory, rest @ ..])) if stage == "session" => {
            session::run(kind, memory, rest.first().map(|c| c.as_bytes()))
        }
        _ => {
            eprintln!("{SUBCOMMAND}: only the provider of machines may start this");
            return ExitCode::from(code::USAGE);
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("{error:#}");
        ExitCode::from(code::FAILED)
    })
}
