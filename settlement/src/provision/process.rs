//! Names a process so that its number, once reused, is never taken for it.
//!
//! Used by the provider and the guest before anything is signalled.
//!
//! Always holds: a signal goes only to the process that was named, because it is sent through a
//! descriptor that was opened before the name was checked.
//! Does not: wait for children, or decide who may be signalled.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

/// One process of one boot of this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number while it lives.
    pub pid: i32,
    /// When it began, in clock ticks since the boot.
    pub start_ticks: u64,
    /// Which boot.
    pub boot: String,
}

/// What became of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The process was alive and has been signalled.
    Delivered,
    /// The process is gone; its number may belong to somebody else now.
    Gone,
}

/// The fields of `/proc/PID/stat` that are needed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    state: u8,
    parent: i32,
    cpu_ticks: u64,
    start_ticks: u64,
    resident_pages: u64,
}

impl Process {
    /// Names the calling process.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn current() -> io::Result<Process> {
        let pid = std::process::id() as i32;
        let stat = stat_of(pid)?.ok_or_else(|| io::Error::other("/proc does not show us"))?;
        Ok(Process {
            pid,
            start_ticks: stat.start_ticks,
            boot: boot()?,
        })
    }

    /// Says whether this very process still runs; a zombie does not.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn alive(&self) -> io::Result<bool> {
        if boot()? != self.boot {
            return Ok(false);
        }
        let stat = stat_of(self.pid)?;
        Ok(stat.is_some_and(|s| {
            s.start_ticks == self.start_ticks && s.state != b'Z' && s.state != b'X'
        }))
    }

    /// Sends `signal` to this very process and to no other.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<Sent> {
        let Some(descriptor) = pidfd_open(self.pid)? else {
            return Ok(Sent::Gone);
        };
        // The descriptor pins whoever has the number now; only then is the name compared.
        if !self.alive()? {
            return Ok(Sent::Gone);
        }
        pidfd_send(&descriptor, signal)
    }
}

fn boot() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}

fn stat_of(pid: i32) -> io::Result<Option<Stat>> {
    match fs::read(format!("/proc/{pid}/stat")) {
        Ok(text) => Ok(parse_stat(&text)),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Reads one stat line; the command name may hold spaces and parentheses.
fn parse_stat(text: &[u8]) -> Option<Stat> {
    let end = text.iter().rposition(|b| *b == b')')?;
    let rest = std::str::from_utf8(text.get(end + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |index: usize| fields.get(index).and_then(|f| f.parse::<u64>().ok());
    // Own and waited-for children's time, user and system.
    let cpu_ticks = number(11)? + number(12)? + number(13)? + number(14)?;
    Some(Stat {
        state: *fields.first()?.as_bytes().first()?,
        parent: fields.get(1)?.parse().ok()?,
        cpu_ticks,
        start_ticks: number(19)?,
        resident_pages: number(21)?,
    })
}

fn pidfd_open(pid: i32) -> io::Result<Option<OwnedFd>> {
    // SAFETY: pidfd_open takes two integers and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::ESRCH) => Ok(None),
            _ => Err(error),
        };
    }
    // SAFETY: the kernel has just returned this descriptor and nobody else owns it.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
}

fn pidfd_send(descriptor: &OwnedFd, signal: Signal) -> io::Result<Sent> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is open for the call and a null siginfo is allowed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            descriptor.as_raw_fd(),
            signal as i32,
            none,
            0,
        )
    };
    if result == 0 {
        return Ok(Sent::Delivered);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ESRCH) => Ok(Sent::Gone),
        _ => Err(error),
    }
}

/// Signals `pid` if `belongs` still says so once its number can no longer be reused.
///
/// # Errors
/// When the system refuses or `belongs` fails.
pub(crate) fn kill_checked(
    pid: i32,
    signal: Signal,
    belongs: impl Fn() -> io::Result<bool>,
) -> io::Result<()> {
    if pid == std::process::id() as i32 {
        return Ok(());
    }
    let Some(descriptor) = pidfd_open(pid)? else {
        return Ok(());
    };
    if belongs()? {
        pidfd_send(&descriptor, signal)?;
    }
    Ok(())
}

/// What a process and all its descendants use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TreeUsage {
    /// Processor time in nanoseconds, to the resolution of a clock tick.
    pub(crate) cpu_used_ns: u64,
    /// Resident memory in bytes; shared pages count more than once.
    pub(crate) memory_bytes: u64,
}

/// Adds up what `root` and its descendants use, for hosts without cgroups.
///
/// # Errors
/// When `/proc` cannot be listed.
pub(crate) fn usage_of_tree(root: i32) -> io::Result<TreeUsage> {
    let all = all_processes()?;
    let mut usage = TreeUsage::default();
    let (tick_ns, page_bytes) = (
        1_000_000_000 / sysconf(libc::_SC_CLK_TCK),
        sysconf(libc::_SC_PAGESIZE),
    );
    for pid in descendants(&all, root).into_iter().chain([root]) {
        if let Some(stat) = all.get(&pid) {
            usage.cpu_used_ns += stat.cpu_ticks * tick_ns;
            usage.memory_bytes += stat.resident_pages * page_bytes;
        }
    }
    Ok(usage)
}

fn all_processes() -> io::Result<BTreeMap<i32, Stat>> {
    let mut all = BTreeMap::new();
    for pid in all_pids()? {
        if let Some(stat) = stat_of(pid)? {
            all.insert(pid, stat);
        }
    }
    Ok(all)
}

/// When this process began, in clock ticks since the boot; none when there is none.
///
/// # Errors
/// When `/proc` cannot be read.
pub(crate) fn start_ticks(pid: i32) -> io::Result<Option<u64>> {
    Ok(stat_of(pid)?.map(|stat| stat.start_ticks))
}

/// The descendants of `root` that live, each with the moment at which it began.
///
/// # Errors
/// When `/proc` cannot be listed.
pub(crate) fn descendants_of(root: i32) -> io::Result<Vec<(i32, u64)>> {
    let all = all_processes()?;
    let found = descendants(&all, root);
    let with_start = |pid: i32| all.get(&pid).map(|stat| (pid, stat.start_ticks));
    Ok(found.into_iter().filter_map(with_start).collect())
}

/// Lists the numbers of all processes that `/proc` shows.
///
/// # Errors
/// When `/proc` cannot be listed.
pub(crate) fn all_pids() -> io::Result<Vec<i32>> {
    let entries = fs::read_dir("/proc")?;
    Ok(entries
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .collect())
}

fn descendants(all: &BTreeMap<i32, Stat>, root: i32) -> Vec<i32> {
    let mut found = Vec::new();
    let mut frontier = vec![root];
    while let Some(parent) = frontier.pop() {
        let children = all
            .iter()
            .filter(|(_, s)| s.parent == parent && s.state != b'Z');
        for (pid, _) in children {
            found.push(*pid);
            frontier.push(*pid);
        }
    }
    found
}

fn sysconf(name: i32) -> u64 {
    // SAFETY: sysconf takes an integer and returns one.
    let value = unsafe { libc::sysconf(name) };
    u64::try_from(value).unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_stat_line_whose_name_holds_parentheses() {
        let line = b"42 (a) b (c)) S 7 42 42 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 777 99 5 6";
        let stat = parse_stat(line).expect("well formed");
        assert_eq!(stat.parent, 7);
        assert_eq!(stat.cpu_ticks, 100);
        assert_eq!(stat.start_ticks, 777);
        assert_eq!(stat.resident_pages, 5);
        assert_eq!(parse_stat(b"42 (broken S 7"), None);
    }

    #[test]
    fn a_reused_number_is_not_signalled() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("sleep");
        let pid = child.id() as i32;
        let real = stat_of(pid).expect("proc").expect("alive");
        let name = Process {
            pid,
            start_ticks: real.start_ticks,
            boot: boot().expect("boot"),
        };
        let stranger = Process {
            start_ticks: real.start_ticks + 1,
            ..name.clone()
        };
        let other_boot = Process {
            boot: "another".into(),
            ..name.clone()
        };
        assert_eq!(
            stranger.signal(Signal::SIGKILL).expect("signal"),
            Sent::Gone
        );
        assert_eq!(
            other_boot.signal(Signal::SIGKILL).expect("signal"),
            Sent::Gone
        );
        assert!(name.alive().expect("proc"));
        assert_eq!(
            name.signal(Signal::SIGKILL).expect("signal"),
            Sent::Delivered
        );
        child.wait().expect("wait");
        assert!(!name.alive().expect("proc"));
        assert_eq!(name.signal(Signal::SIGKILL).expect("signal"), Sent::Gone);
    }
}
