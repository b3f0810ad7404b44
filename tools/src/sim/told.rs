//! What `exahour sim` says: sums over all worlds, and the one that broke a promise.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use exahour_sim::Outcome;
use serde::Serialize;

/// Sums over the worlds.
#[derive(Debug, Default, Serialize)]
pub(super) struct Findings {
    /// Worlds that were lived through.
    pub(super) worlds: u64,
    commands: u64,
    reports: u64,
    faults: u64,
    restarts: u64,
    simulated_s: f64,
    /// How often the worlds did what they are for, each in words.
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
             {:.0} worlds a minute on {} threads, {:.0} ms of a core each\n",
            self.worlds,
            self.simulated_s,
            self.wall_s,
            self.faults,
            self.restarts,
            self.commands,
            self.reports,
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
