//! Gives up what a machine's processes must not have: capabilities, and the ways back to them.
//!
//! Called by the inside, while it has one thread and before it reads a byte of the network.
//!
//! Always holds: what is given up here stays given up in every process that is started later.

use std::collections::BTreeMap;
use std::io;

use anyhow::Context;
use nix::sys::prctl;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

/// More than any kernel has; the first unknown one ends the walk.
const CAPABILITIES_MAX: libc::c_ulong = 64;
/// `_LINUX_CAPABILITY_VERSION_3`, two words for each set.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// What marks a system call of the x32 interface, by which the same calls can be reached.
#[cfg(target_arch = "x86_64")]
const INTERFACES: [i64; 2] = [0, 0x4000_0000];
#[cfg(not(target_arch = "x86_64"))]
const INTERFACES: [i64; 1] = [0];

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

/// Forbids new user namespaces, whose maker would have every capability in them.
///
/// Programs of another processor interface than this program's own, such as 32-bit ones, are
/// killed: their system calls have other numbers.
///
/// # Errors
/// When the kernel knows no filters.
pub(super) fn forbid_user_namespaces() -> anyhow::Result<()> {
    let user = u64::try_from(libc::CLONE_NEWUSER).context("no such flag")?;
    let asks = SeccompCondition::new(
        0,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::MaskedEq(user),
        user,
    )?;
    let asks = SeccompRule::new(vec![asks])?;
    let refused = [
        (libc::SYS_unshare, vec![asks.clone()]),
        (libc::SYS_clone, vec![asks]),
        (libc::SYS_setns, Vec::new()),
    ];
    refuse(&refused, libc::EPERM).context("cannot forbid user namespaces")?;
    // Its flags lie in memory, where a filter cannot look; libraries fall back to `clone`.
    refuse(&[(libc::SYS_clone3, Vec::new())], libc::ENOSYS).context("cannot forbid user namespaces")
}

/// Forbids to run on other cores than these, or on fewer: the set of cores lies in memory, where
/// a filter cannot look.
///
/// # Errors
/// When the kernel knows no filters.
pub(super) fn forbid_other_cores() -> anyhow::Result<()> {
    refuse(&[(libc::SYS_sched_setaffinity, Vec::new())], libc::EPERM)
        .context("cannot forbid other cores")
}

/// Has the kernel answer these calls with an error, in this process and all that it starts.
///
/// # Errors
/// When the kernel knows no filters.
pub(super) fn refuse(calls: &[(i64, Vec<SeccompRule>)], error: i32) -> anyhow::Result<()> {
    let rules: BTreeMap<i64, Vec<SeccompRule>> = INTERFACES
        .iter()
        .flat_map(|interface| {
            calls
                .iter()
                .map(move |(call, rules)| (interface | call, rules.clone()))
        })
        .collect();
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(u32::try_from(error).context("no such error")?),
        std::env::consts::ARCH.try_into()?,
    )?;
    let program = BpfProgram::try_from(filter)?;
    apply_filter(&program).context("the kernel takes no filter")
}
