//! Whole clusters in one thread's memory, from one seed: nodes, network, disks, clocks and clients.
//!
//! Used by `tools` (`exahour sim`) and by tests. The nodes are the very agents that a real one runs, turned
//! one step at a time; only the world around them is made up. Read in this order: `swarm` says what a world
//! is like, `cluster` lets it live, `checks` judges it.
//!
//! Always holds: the same seed gives the same run, to the byte.
//! Does not: know what a right answer is, but for what `checks` demands of every run.

mod swarm;

mod cluster;
mod departure;
mod electorate;
mod faults;
mod forgetting;
mod node;
mod succession;

mod client;
mod onlookers;
mod operator;

mod archived;
mod checks;
mod history;
mod meaning;
mod overheard;
mod quorum;

mod chance;
mod clock;
mod disk;
mod net;
mod tally;
mod trace;

pub use client::Manners;
pub use cluster::RECOVERY_MAX;
pub use disk::{Felt, Wear};
pub use faults::{Fault, Troubles};
pub use net::{HostId, Weather};
pub use operator::Duties;
pub use swarm::{Keeping, Options, Pace, Plan, Programs};
pub use tally::Tally;

use exahour_wire::codes::Durability;
use exahour_wire::units::Nanos;

use cluster::Cluster;
use trace::Trace;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What the world was like.
    pub plan: Plan,
    /// What was wrong, if anything.
    pub violation: Option<String>,
    /// The hash of everything that happened.
    pub trace: u64,
    /// How much time passed in the world.
    pub lasted: Nanos,
    /// How many steps it took.
    pub steps: u64,
    /// How many faults there were.
    pub faults: u64,
    /// How often nodes were started.
    pub starts: u64,
    /// What disks did to their nodes.
    pub felt: Felt,
    /// How many commands were committed.
    pub commands: u64,
    /// How many reports clients were told.
    pub reports: u64,
    /// How often it did what it is for.
    pub tally: Tally,
    /// The last of what happened, each in a line.
    pub last: Vec<String>,
}

/// Lives through the world of a seed and judges it.
#[must_use]
pub fn run(seed: u64, options: &Options) -> Outcome {
    #[cfg(feature = "defects")]
    exahour_journal::defects::arm(options.defect);
    let plan = Plan::of(seed, options);
    let mut outcome = Outcome {
        seed,
        plan: plan.clone(),
        violation: None,
        trace: 0,
        lasted: Nanos(0),
        steps: 0,
        faults: 0,
        starts: 0,
        felt: Felt::default(),
        commands: 0,
        reports: 0,
        tally: Tally::default(),
        last: Vec::new(),
    };
    let mut cluster = match Cluster::new(seed, plan, Trace::new(options.trace_lines)) {
        Ok(cluster) => cluster,
        Err(why) => {
            outcome.violation = Some(why);
            return outcome;
        }
    };
    match cluster.run() {
        Ok(meaning) => outcome.commands = meaning.last.0,
        Err(why) => outcome.violation = Some(why),
    }
    outcome.trace = cluster.trace.hash();
    outcome.last = cluster.trace.last();
    outcome.lasted = cluster.now();
    outcome.steps = cluster.steps;
    outcome.tally = cluster.tally();
    outcome.faults = cluster.faults.count;
    outcome.starts = cluster.nodes.iter().map(|node| node.starts).sum();
    for node in &cluster.nodes {
        outcome.felt += node.disk().lock().felt();
    }
    let versions = cluster.told();
    outcome.reports = versions.map(|told| told.reports.len() as u64).sum();
    if outcome.plan.durability == Durability::Replicated {
        outcome.tally.told_from_memory = outcome.reports;
    }
    outcome
}
