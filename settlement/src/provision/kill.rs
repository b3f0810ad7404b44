//! Ends processes that belong to a machine, and no others.
//!
//! Used by the supervisor at its end and by the provider that cleans up after a dead one.
//!
//! Always holds: a process is pinned by a descriptor before it is checked, and checked before it
//! is signalled; the caller itself is never signalled.

use std::fs;
use std::io;

use nix::sys::signal::Signal;

use super::process::{all_pids, descendants_of, kill_checked, start_ticks};

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

/// Kills every descendant of `root`, whatever it has made of its environment; says how many there
/// were.
///
/// # Errors
/// When `/proc` cannot be listed.
pub(crate) fn kill_descendants(root: i32) -> io::Result<usize> {
    let found = descendants_of(root)?;
    for (pid, began) in &found {
        kill_where(*pid, || Ok(start_ticks(*pid)? == Some(*began)))?;
    }
    Ok(found.len())
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

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_without_the_mark_in_a_session_of_its_own_is_found_by_its_descent() {
        let script = "env -i setsid sleep 60 & echo there; wait $!; exit 7";
        let mut shell = Command::new("/bin/sh")
            .args(["-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .expect("shell");
        let mut there = String::new();
        let output = shell.stdout.take().expect("output");
        BufReader::new(output).read_line(&mut there).expect("line");
        assert_eq!(kill_marked("no such nonce").expect("proc"), 0);
        assert!(kill_descendants(shell.id() as i32).expect("proc") > 0);
        let ended = shell.wait().expect("wait");
        assert_eq!(
            (ended.code(), ended.signal()),
            (Some(7), None),
            "the shell itself is let be"
        );
    }
}
