//! Gives up what a machine's processes must not have: capabilities, and the way back to them.
//!
//! Called by the inside, while it has one thread and before it reads a byte of the network.
//!
//! Always holds: what is given up here stays given up in every process that is started later.

use std::io;

use anyhow::Context;
use nix::sys::prctl;

/// More than any kernel has; the first unknown one ends the walk.
const CAPABILITIES_MAX: libc::c_ulong = 64;
/// `_LINUX_CAPABILITY_VERSION_3`, two words for each set.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// The header of `capset`.
#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

/// One word of each of the three sets of `capset`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Word {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Whether the bounding set can and must be emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bounding {
    /// This process is the root of a user namespace: exec would give all of it back.
    MustGo,
    /// This process becomes or is a user without rights; without privileges nothing comes back.
    MayStay,
}

/// Empties the bounding set; needs the right to do so, so it comes before the change of user.
///
/// # Errors
/// When a capability that must go stays.
pub(super) fn empty_bounding_set(bounding: Bounding) -> anyhow::Result<()> {
    for capability in 0..CAPABILITIES_MAX {
        // SAFETY: the request takes integers only and touches no memory.
        let dropped = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        if dropped == 0 {
            continue;
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() == Some(libc::EINVAL) {
            break;
        }
        if bounding == Bounding::MustGo {
            return Err(error).context("cannot bound capabilities");
        }
    }
    Ok(())
}

/// Empties every other set and renounces privileges for ever.
///
/// # Errors
/// When the kernel refuses, which it never does to a process that has one thread.
pub(super) fn drop_capabilities() -> anyhow::Result<()> {
    let header = Header {
        version: CAPABILITY_VERSION,
        pid: 0,
    };
    let none = [Word::default(); 2];
    // SAFETY: version 3 reads one header and two words, both of which outlive the call.
    let dropped = unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) };
    if dropped != 0 {
        return Err(io::Error::last_os_error()).context("cannot drop capabilities");
    }
    prctl::set_no_new_privs().context("cannot renounce privileges")
}
