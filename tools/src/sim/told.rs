//! What `exahour sim` says: sums over all worlds, and the one that broke a promise.

use std::fmt::Write;

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
    pub(super) wall_s: f64,
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
    }

    /// All of it in words.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "{} worlds of {:.0} s in {:.1} s: {} faults, {} restarts, {} commands, {} reports\n",
            self.worlds,
            self.simulated_s,
            self.wall_s,
            self.faults,
            self.restarts,
            self.commands,
            self.reports
        );
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
