//! The cores of this machine that this process may use, and the pinning of a thread to one.
//!
//! Called by the runner at start, by ping-pong and by the benches.
//!
//! Always holds: a core in the list is online and allowed (cpusets and pins narrow the mask); a
//! refused pin carries the kernel's reason.
//! Does not: know sockets, siblings or memory nodes. The mask and the pin are the calling
//! thread's, and threads spawned later inherit both: list the cores and spawn helpers first.

use std::fmt;
use std::fs;
use std::io;

/// Where the kernel lists the cores that are switched on.
const ONLINE_PATH: &str = "/sys/devices/system/cpu/online";

/// The number of a core as the kernel counts them, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoreId(pub u16);

impl fmt::Display for CoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The kernel did not give or take what concerns cores.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// The list of online cores cannot be read.
    #[error("cannot read {ONLINE_PATH}: {source}; is /sys mounted?")]
    Online {
        /// The kernel's reason.
        source: io::Error,
    },
    /// The list of online cores does not look like `0-3,5`.
    #[error("cannot understand `{text}` in {ONLINE_PATH}: expected a list such as 0-3,5")]
    OnlineText {
        /// What was read.
        text: String,
    },
    /// The set of allowed cores cannot be had.
    #[error("cannot ask for the allowed cores: {source}")]
    Allowed {
        /// The kernel's reason.
        source: io::Error,
    },
    /// A thread cannot be pinned.
    #[error(
        "cannot pin a thread to core {core}: {source}; choose a core that is online and allowed"
    )]
    Pin {
        /// The core asked for.
        core: CoreId,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A thread's priority cannot be lowered.
    #[error("cannot lower a thread's priority to nice {nice}: {source}")]
    Nice {
        /// The priority asked for.
        nice: u8,
        /// The kernel's reason.
        source: io::Error,
    },
}

/// The lowest priority of a thread.
pub const NICE_MAX: u8 = 19;

/// The cores that are online and that the calling thread may run on, ascending.
///
/// # Errors
/// When the kernel's list or mask cannot be had.
pub fn online_cores() -> Result<Vec<CoreId>, CoreError> {
    let text = fs::read_to_string(ONLINE_PATH).map_err(|source| CoreError::Online { source })?;
    let online = parse_list(text.trim()).ok_or_else(|| CoreError::OnlineText {
        text: text.trim().to_owned(),
    })?;
    let allowed = allowed_mask()?;
    Ok(online
        .into_iter()
        .filter(|core| mask_holds(&allowed, *core))
        .collect())
}

/// Binds the calling thread to `core`; threads that it spawns later inherit this.
///
/// # Errors
/// [`CoreError::Pin`] with the kernel's reason.
pub fn pin_current_thread(core: CoreId) -> Result<(), CoreError> {
    let refused = |source| CoreError::Pin { core, source };
    if usize::from(core.0) >= libc::CPU_SETSIZE as usize {
        return Err(refused(io::Error::from_raw_os_error(libc::EINVAL)));
    }
    // SAFETY: a cpu_set_t is an array of integers, for which all zeros is a value.
    let mut mask: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the core was found to be below the size of the set.
    unsafe { libc::CPU_SET(usize::from(core.0), &mut mask) };
    // SAFETY: the pointer and the size describe `mask`, which outlives the call; 0 is this thread.
    let answer =
        unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const mask) };
    if answer == 0 {
        Ok(())
    } else {
        Err(refused(io::Error::last_os_error()))
    }
}

/// Lowers the priority of the calling thread: at 19 it runs where nobody else wants to.
///
/// # Errors
/// [`CoreError::Nice`] with the kernel's reason.
pub fn lower_current_thread(nice: u8) -> Result<(), CoreError> {
    let priority = i32::from(nice.min(NICE_MAX));
    // SAFETY: a plain system call without memory; on Linux, 0 is the calling thread alone.
    let answer = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, priority) };
    if answer == 0 {
        Ok(())
    } else {
        let source = io::Error::last_os_error();
        Err(CoreError::Nice { nice, source })
    }
}

fn allowed_mask() -> Result<libc::cpu_set_t, CoreError> {
    // SAFETY: a cpu_set_t is an array of integers, for which all zeros is a value.
    let mut mask: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer and the size describe `mask`, which outlives the call; 0 is this thread.
    let answer = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut mask) };
    if answer == 0 {
        Ok(mask)
    } else {
        Err(CoreError::Allowed {
            source: io::Error::last_os_error(),
        })
    }
}

fn mask_holds(mask: &libc::cpu_set_t, core: CoreId) -> bool {
    // SAFETY: the number is checked against the size of the set before it is used as an index.
    usize::from(core.0) < libc::CPU_SETSIZE as usize
        && unsafe { libc::CPU_ISSET(usize::from(core.0), mask) }
}

/// Reads the kernel's list format: numbers and inclusive ranges between commas.
fn parse_list(text: &str) -> Option<Vec<CoreId>> {
    let mut cores = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<u16>().ok()?, last.parse::<u16>().ok()?);
        if first > last {
            return None;
        }
        cores.extend((first..=last).map(CoreId));
    }
    Some(cores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_lists_are_read() {
        let ids =
            |text| parse_list(text).map(|cores| cores.iter().map(|c| c.0).collect::<Vec<_>>());
        assert_eq!(ids("0"), Some(vec![0]));
        assert_eq!(ids("0-3,5,8-9"), Some(vec![0, 1, 2, 3, 5, 8, 9]));
        for text in ["", "a", "3-1", "1-", "-1", "70000", "0,,1"] {
            assert_eq!(ids(text), None, "{text}");
        }
    }

    #[test]
    fn pinning_narrows_the_allowed_cores() {
        let seen = std::thread::spawn(|| {
            let core = *online_cores().unwrap().last().unwrap();
            pin_current_thread(core).unwrap();
            (core, online_cores().unwrap())
        });
        let (core, after) = seen.join().unwrap();
        assert_eq!(after, [core]);
    }

    #[test]
    fn a_core_that_is_not_there_is_refused_with_the_reason() {
        for core in [CoreId(1023), CoreId(1024), CoreId(u16::MAX)] {
            let error = pin_current_thread(core).unwrap_err();
            let CoreError::Pin { source, .. } = &error else {
                panic!("{error}")
            };
            assert_eq!(source.raw_os_error(), Some(libc::EINVAL));
        }
    }
}
