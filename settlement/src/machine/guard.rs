//! Keeps the buyer's processes from meddling with process 1, which has the same user and is the
//! seller's meter.
//!
//! Called by the inside while it has one thread; the filter holds for it and all that it starts.
//! What else one user's processes can do to each other is closed elsewhere: process 1 forbids
//! tracing, the machine's proc does not show it, and a process namespace shields its first process
//! from signals.
//!
//! Always holds: nobody in the machine changes how, where or within what limits the threads of
//! process 1 run. Their numbers are known: they are the first of the machine's own process
//! namespace, started before any login, and numbers that low are not given out again.
//! Does not: shield a machine that has no process namespace of its own, nor the files of process 1
//! in the host's proc, which a machine without a file tree of its own sees.

use anyhow::Context;
use seccompiler::{SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

use super::rights::refuse;

/// Threads of process 1: itself, the reaper, the beats, and the wait for the supervisor.
const THREADS: u64 = 4;
/// `PRIO_USER`: the priority of all processes of a user at once.
const PRIORITY_OF_USER: u64 = 2;
/// `IOPRIO_WHO_USER`: the same of their disk priority.
const INPUT_OUTPUT_OF_USER: u64 = 3;

/// Refuses the calls by which one process sets another's share of the host, where they are about
/// process 1.
///
/// # Errors
/// When the kernel knows no filters.
pub(super) fn shield_process_1() -> anyhow::Result<()> {
    let of_user = |who: u64| -> anyhow::Result<Vec<SeccompRule>> {
        Ok(vec![is(0, who)?, names_process_1(1)?])
    };
    let refused = [
        (libc::SYS_sched_setaffinity, vec![names_process_1(0)?]),
        (libc::SYS_sched_setscheduler, vec![names_process_1(0)?]),
        (libc::SYS_sched_setparam, vec![names_process_1(0)?]),
        (libc::SYS_sched_setattr, vec![names_process_1(0)?]),
        (libc::SYS_prlimit64, vec![names_process_1(0)?]),
        (libc::SYS_setpriority, of_user(PRIORITY_OF_USER)?),
        (libc::SYS_ioprio_set, of_user(INPUT_OUTPUT_OF_USER)?),
    ];
    refuse(&refused, libc::EPERM).context("cannot shield process 1")
}

/// The argument is the number of one of its threads.
fn names_process_1(argument: u8) -> anyhow::Result<SeccompRule> {
    let from = condition(argument, SeccompCmpOp::Ge, 1)?;
    let to = condition(argument, SeccompCmpOp::Le, THREADS)?;
    Ok(SeccompRule::new(vec![from, to])?)
}

fn is(argument: u8, value: u64) -> anyhow::Result<SeccompRule> {
    let same = condition(argument, SeccompCmpOp::Eq, value)?;
    Ok(SeccompRule::new(vec![same])?)
}

/// The kernel takes these arguments as 32 bits, whatever is in the rest of the register.
fn condition(argument: u8, compare: SeccompCmpOp, value: u64) -> anyhow::Result<SeccompCondition> {
    let length = SeccompCmpArgLen::Dword;
    Ok(SeccompCondition::new(argument, length, compare, value)?)
}
