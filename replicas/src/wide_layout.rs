//! The layout of a machine with cores to spare: what an order passes through has a core at each step.
//!
//! Chosen by the configuration where no layout is written and there are [`CORES_MIN`] cores.
//!
//! Always holds: each of these threads is pinned to a core of its own; the first core, where the kernel
//! does most of its own work, is left to it and to the followers. Nobody spins for ever, because more
//! than one node may be tried on one machine: whoever owns the machine writes `spin` into a layout.

use exahour_rings::{CoreId, IdleStrategy, Layout, NICE_MAX, ThreadLayout};

use crate::admission_agent::ADMISSION;
use crate::couriers::COURIER;

/// From so many cores on the stages of the engine have a core each.
pub(crate) const CORES_MIN: usize = 6;

/// The way of an order, in its order.
const WAY: [&str; 5] = ["order-gateway", "sequencer", "disk", ADMISSION, "engine"];

/// The layout of a machine with these cores, if they are enough.
pub(crate) fn wide_layout(online: &[CoreId]) -> Option<Layout> {
    if online.len() < CORES_MIN {
        return None;
    }
    let mut threads: Vec<ThreadLayout> = WAY
        .into_iter()
        .zip(&online[1..])
        .map(|(agent, core)| {
            ThreadLayout::new(agent, IdleStrategy::BackOff, &[agent]).pinned(*core)
        })
        .collect();
    threads.push(ThreadLayout::new(
        "followers",
        IdleStrategy::Park { micros: 200 },
        &["market-data", "drop-copy", "staging"],
    ));
    threads.push(
        ThreadLayout::new(
            "snapshots",
            IdleStrategy::Park { micros: 20_000 },
            &["snapshots", COURIER],
        )
        .with_nice(NICE_MAX),
    );
    Some(Layout::new(threads))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NodeConfig;

    fn cores(count: u16) -> Vec<CoreId> {
        (0..count).map(CoreId).collect()
    }

    #[test]
    fn it_places_the_agents_of_the_narrow_one_and_admission() {
        let wide = wide_layout(&cores(6)).unwrap();
        let narrow = NodeConfig::narrow_layout().unwrap();
        let mut agents: Vec<&str> = narrow
            .threads
            .iter()
            .flat_map(|thread| thread.agents.iter().map(String::as_str))
            .collect();
        assert!(!agents.contains(&ADMISSION));
        agents.push(ADMISSION);
        wide.validate(&agents, &cores(6)).unwrap();
    }

    #[test]
    fn no_core_has_two_threads_and_the_first_none() {
        // Cores that are numbered with holes, as a container may have them.
        let online = [3, 5, 6, 8, 12, 13, 20].map(CoreId);
        let wide = wide_layout(&online).unwrap();
        let mut pinned: Vec<CoreId> = wide.threads.iter().filter_map(|it| it.core).collect();
        assert_eq!(pinned.len(), 5);
        pinned.dedup();
        assert_eq!(pinned, online[1..6]);
    }

    #[test]
    fn five_cores_are_not_enough() {
        assert!(wide_layout(&cores(5)).is_none());
    }
}
