//! Keeps a machine to whole cores: the nearest bound there is without a quota.
//!
//! Called by the inside before it gives up its rights. Machines with neighbouring keys get
//! neighbouring cores, so that the host's first cores do not carry all of them.
//!
//! Always holds: a machine gets as many cores as it was promised, rounded up, or all there are.
//! Does not: keep other machines, or the host's own processes, off them.

use anyhow::Context;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::provision::{MachineKey, Millicores};

/// Keeps this process and all that it starts to the cores of machine `key`; says how many.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn keep_to(key: MachineKey, promised: Millicores) -> anyhow::Result<usize> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).context("cannot read the cores")?;
    let allowed: Vec<usize> = (0..CpuSet::count())
        .filter(|core| allowed.is_set(*core) == Ok(true))
        .collect();
    let mut cores = CpuSet::new();
    let chosen = choose(key, promised, &allowed);
    for core in &chosen {
        cores.set(*core).context("cannot name a core")?;
    }
    sched_setaffinity(Pid::from_raw(0), &cores).context("cannot keep to its cores")?;
    Ok(chosen.len())
}

/// Deals the cores out in turn, as if every key up to this one were a machine of this size.
fn choose(key: MachineKey, promised: Millicores, allowed: &[usize]) -> Vec<usize> {
    let wanted = promised.0.div_ceil(1_000);
    let count = u128::try_from(allowed.len()).unwrap_or(u128::MAX).max(1);
    let first = usize::try_from(u128::from(key.0) * u128::from(wanted) % count).unwrap_or(0);
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    let turn = allowed.iter().cycle().skip(first);
    turn.take(wanted.min(allowed.len())).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_dealt_out_over_the_cores() {
        let allowed = [1, 2, 5, 6];
        let chosen = |key, millicores| choose(MachineKey(key), Millicores(millicores), &allowed);
        assert_eq!(chosen(0, 500), [1]);
        assert_eq!(chosen(1, 500), [2]);
        assert_eq!(chosen(4, 1_000), [1]);
        assert_eq!(chosen(1, 1_001), [5, 6]);
        assert_eq!(chosen(1, 3_000), [6, 1, 2]);
        assert_eq!(chosen(u64::MAX, u32::MAX).len(), 4, "all there are, once");
        assert!(choose(MachineKey(9), Millicores(500), &[]).is_empty());
    }
}
