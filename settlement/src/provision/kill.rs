//! Ends processes that belong to a machine, and no others.
//!
//! Used by the supervisor at its end and by the provider that cleans up after a dead one.
//!
//! Always holds: a process is pinned by a descriptor before it is checked, and checked before it
//! is signalled; the caller itself is never signalled.

use std::fs;
use std::io;

use nix::sys::signal::Signal;

use super::process::{all_pids, kill_checked};

/// The environment variable that every process of a machine is started with; its value is the
/// machine's nonce.
pub(crate) const MARK: &str = "EXAHOUR_MACHINE";

/// Kills `pid` if `belongs` still says so once its number can no longer be reused.
///
/// # Errors
/// When the system refuses or `belongs` fails.
pub(crate) fn kill_where(pid: i32, belongs: impl Fn() -> io::Result<bool>) -> io::Result<()> {
    kill_checked(pid, Signal::SIGKILL, belongs)
}

/// Kills every process that carries the mark of this nonce; says how many there were.
///
/// # Errors
/// When `/proc` cannot be listed.
pub(crate) fn kill_marked(nonce: &str) -> io::Result<usize> {
    let needle = format!("{MARK}={nonce}");
    let marked = |pid: i32| {
        // Unreadable means another user's process, or one that is already gone.
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment
            .split(|b| *b == 0)
            .any(|entry| entry == needle.as_bytes())
    };
    let own = std::process::id() as i32;
    let mut count = 0;
    for pid in all_pids()? {
        if pid != own && marked(pid) {
            count += 1;
            kill_where(pid, || Ok(marked(pid)))?;
        }
    }
    Ok(count)
}
