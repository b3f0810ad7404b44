//! What `exahour sim` says: sums over all worlds, and the one that broke a promise.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use exahour_sim::Outcome;
use serde::{Serialize, Serializer};

/// Sums over the worlds.
#[derive(Debug, Default, Serialize)]
pub(super) struct Findings {
    /// Worlds that were lived through.
    pub(super) worlds: u64,
    commands: u64,
    reports: u64,
    faults: u64,
    restarts: u64,
    disks: Disks,
    simulated_s: f64,
    /// How often the worlds did what they are for, each in words.
    #[serde(serialize_with = "by_key")]
    did: BTreeMap<&'static str, u64>,
    wall_s: f64,
    /// Worlds a minute, all threads together.
    worlds_per_minute: f64,
    /// What a world costs one core, in milliseconds.
    cpu_ms_per_world: f64,
    /// Worlds that were lived through at a time.
    threads: usize,
    pub(super) violation: Option<Violation>,
}

/// Words as keys, which are in snake case everywhere.
fn by_key<S: Serializer>(
    did: &BTreeMap<&'static str, u64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(
        did.iter()
            .map(|(what, count)| (what.replace(' ', "_"), count)),
    )
}

/// What disks did to their nodes.
#[derive(Debug, Default, Serialize)]
struct Disks {
    /// Writes that found no room.
    refused: u64,
    /// Flushes that took long.
    slow: u64,
    /// Flushes that failed.
    failed: u64,
    /// Sectors that were damaged.
    damaged: u64,
    /// Power cuts over a call.
    died: u64,
}

/// A world that broke a promise.
#[derive(Debug, Serialize)]
pub(super) struct Violation {
    seed: u64,
    nodes: usize,
    what: String,
    /// When, in the world's own time.
    at_s: f64,
    /// The command that shows it again.
    again: String,
    /// What happened before, the last things last.
    last: Vec<String>,
}

impl Findings {
    /// Adds one world.
    pub(super) fn add(&mut self, outcome: &Outcome) {
        self.worlds += 1;
        self.commands += outcome.commands;
        self.reports += outcome.reports;
        self.faults += outcome.faults;
        self.restarts += outcome.starts.saturating_sub(outcome.plan.nodes as u64);
        self.simulated_s += outcome.lasted.0 as f64 / 1e9;
        for (what, count) in outcome.tally.counts() {
            *self.did.entry(what).or_default() += count;
        }
        let (disks, felt) = (&mut self.disks, outcome.felt);
        disks.refused += felt.refused;
        disks.slow += felt.slow;
        disks.failed += felt.failed;
        disks.damaged += felt.harmed;
        disks.died += felt.deaths;
    }

    /// Notes what all worlds together took, by the clock and of all cores.
    pub(super) fn took(&mut self, wall: Duration, cpu: Duration, threads: usize) {
        let worlds = self.worlds as f64;
        self.wall_s = wall.as_secs_f64();
        self.threads = threads;
        if self.worlds > 0 {
            self.worlds_per_minute = 60.0 * worlds / self.wall_s;
            self.cpu_ms_per_world = 1e3 * cpu.as_secs_f64() / worlds;
        }
    }

    /// All of it in words.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "{} worlds of {:.0} s in {:.1} s: {} faults, {} restarts, {} commands, {} reports\n\
             disks: {} sectors damaged, {} failed flushes, {} slow ones, {} writes without room, {} ends over a call\n\
             {:.0} worlds a minute on {} threads, {:.0} ms of a core each\n",
            self.worlds,
            self.simulated_s,
            self.wall_s,
            self.faults,
            self.restarts,
            self.commands,
            self.reports,
            self.disks.damaged,
            self.disks.failed,
            self.disks.slow,
            self.disks.refused,
            self.disks.died,
            self.worlds_per_minute,
            self.threads,
            self.cpu_ms_per_world
        );
        let did = self.did.iter().filter(|(_, count)| **count > 0);
        let did: Vec<String> = did.map(|(what, count)| format!("{count} {what}")).collect();
        if !did.is_empty() {
            let _ = writeln!(text, "{}", did.join(", "));
        }
        match &self.violation {
            None => text.push_str("every promise was kept\n"),
            Some(violation) => {
                for line in &violation.last {
                    let _ = writeln!(text, "  {line}");
                }
                let _ = writeln!(text, "{}\nagain: {}", violation.what, violation.again);
            }
        }
        text
    }
}

impl Violation {
    pub(super) fn of(outcome: &Outcome, again: String) -> Self {
        Self {
            seed: outcome.seed,
            nodes: outcome.plan.nodes,
            what: outcome.violation.clone().unwrap_or_default(),
            at_s: outcome.lasted.0 as f64 / 1e9,
            again,
            last: outcome.last.clone(),
        }
    }

    /// It in a sentence.
    pub(super) fn summary(&self) -> String {
        format!("seed {}: {}; again: {}", self.seed, self.what, self.again)
    }
}

#[cfg(test)]
mod tests {
    use exahour_sim::{Felt, Options, Plan, Tally};
    use exahour_wire::units::Nanos;

    use super::*;

    #[test]
    fn a_world_that_breaks_a_promise_is_told_with_what_came_before_and_how_to_see_it_again() {
        let outcome = Outcome {
            seed: 7,
            plan: Plan::of(7, &Options::default()),
            violation: Some("an order is lost".to_owned()),
            trace: 1,
            lasted: Nanos(2_500_000_000),
            steps: 10,
            faults: 3,
            starts: 9,
            felt: Felt {
                harmed: 2,
                ..Felt::default()
            },
            commands: 20,
            reports: 30,
            tally: Tally::default(),
            last: vec!["2.4 s host 1 is killed".to_owned()],
        };
        let mut findings = Findings::default();
        findings.add(&outcome);
        findings.took(Duration::from_secs(3), Duration::from_secs(6), 2);
        let violation = Violation::of(&outcome, "exahour sim --seed 7".to_owned());
        assert_eq!(
            violation.summary(),
            "seed 7: an order is lost; again: exahour sim --seed 7"
        );
        findings.violation = Some(violation);
        let text = findings.text();
        for part in [
            "1 worlds of 2 s in 3.0 s: 3 faults",
            "2 sectors damaged",
            "20 worlds a minute on 2 threads, 6000 ms of a core each",
            "  2.4 s host 1 is killed\nan order is lost\nagain: exahour sim --seed 7",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
