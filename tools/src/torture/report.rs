//! What a torture came to, for people and for programs.
//!
//! Filled by `rounds`, printed by `torture` once everything has been checked.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde::Serialize;

use super::Arguments;
use super::check::Counts;
use super::plan::{Fault, Own, Victim};
use super::site::Leader;
use crate::cluster::configuration::promise;
use crate::journal::hex;
use crate::output::{print, print_json};

/// The longest outage that is told exactly, in microseconds: longer ones count as this.
const OUTAGE_US_MAX: u64 = 600_000_000;

/// Rounds by kind, and how long nobody was answered in them.
pub(super) struct Report {
    seed: u64,
    nodes: u64,
    promise: &'static str,
    own: Own,
    began: Instant,
    rounds: Rounds,
    leader_killed: Histogram<u64>,
    all_killed: Histogram<u64>,
    /// In rounds of any other fault: what is cut or still for a while counts with it.
    otherwise: Histogram<u64>,
    /// A line for each round, for who wants to know what happened when.
    notes: File,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Rounds {
    leaders_killed: u64,
    followers_killed: u64,
    all_killed: u64,
    paused: u64,
    stepped_down: u64,
    cut_off: u64,
    deafened: u64,
    muted: u64,
    parted: u64,
    /// Nodes that came back by a snapshot because they were away for too long.
    away: u64,
    unplugged: u64,
    disks_filled: u64,
    disks_stalled: u64,
    disks_slow: u64,
    /// How often a node has said that its disk was full.
    full_disks_told: u64,
}

#[derive(Debug, Serialize)]
struct Outages {
    count: u64,
    p50_ms: Option<f64>,
    p90_ms: Option<f64>,
    worst_ms: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Findings {
    seed: u64,
    nodes: u64,
    promise: &'static str,
    own_disks: bool,
    own_networks: bool,
    rounds: Rounds,
    #[serde(flatten)]
    checked: Checked,
    /// From the kill to the first answer to something sent after it.
    leader_killed: Outages,
    all_killed: Outages,
    /// From its beginning to the first answer to something sent in it.
    other_fault: Outages,
    elapsed_s: f64,
}

impl Rounds {
    fn count(&mut self, fault: Fault) {
        let count = match fault {
            Fault::Kill(Victim::Leader) => &mut self.leaders_killed,
            Fault::Kill(Victim::Follower) => &mut self.followers_killed,
            Fault::KillAll => &mut self.all_killed,
            Fault::Pause(..) => &mut self.paused,
            Fault::StepDown => &mut self.stepped_down,
            Fault::CutOff(..) => &mut self.cut_off,
            Fault::Deafen(..) => &mut self.deafened,
            Fault::Mute(..) => &mut self.muted,
            Fault::Part(_) => &mut self.parted,
            Fault::Away => &mut self.away,
            Fault::Unplug(..) => &mut self.unplugged,
            Fault::FillDisk(..) => &mut self.disks_filled,
            Fault::StallDisk(..) => &mut self.disks_stalled,
            Fault::SlowDisk(..) => &mut self.disks_slow,
        };
        *count += 1;
    }
}

/// What was checked, and it is well.
#[derive(Debug, Serialize)]
struct Checked {
    sent: u64,
    answered: u64,
    not_applied: u64,
    busy: u64,
    reports: u64,
    leaders_found: u64,
    entries: u64,
    commands: u64,
    events: u64,
    superseded_frames: u64,
    journals_behind_snapshots: u64,
    state_hash: String,
}

impl Checked {
    fn of(counts: &Counts) -> Self {
        let level = &counts.level;
        Self {
            sent: counts.sent,
            answered: counts.answered,
            not_applied: counts.not_applied,
            busy: counts.busy,
            reports: counts.reports,
            leaders_found: counts.leaders,
            entries: level.entries,
            commands: level.commands,
            events: level.events,
            superseded_frames: level.superseded,
            journals_behind_snapshots: level.begin_behind,
            state_hash: hex(&level.state_hash.0),
        }
    }
}

/// Prints what was checked of an earlier torture.
///
/// # Errors
/// Where standard output cannot be written.
pub(super) fn print_check(counts: &Counts, json: bool) -> Result<()> {
    let checked = Checked::of(counts);
    match json {
        true => print_json(&checked),
        false => print(&checked_text(&checked)),
    }
}

impl Report {
    /// # Errors
    /// Where nothing can be written in the torture's folder.
    pub(super) fn new(arguments: &Arguments, seed: u64, folder: &Path) -> Result<Self> {
        let path = folder.join("rounds.log");
        let notes = File::create_new(&path);
        let histogram = || Histogram::new_with_bounds(1, OUTAGE_US_MAX, 3).context("histogram");
        Ok(Self {
            seed,
            nodes: arguments.nodes.parse().context("--nodes")?,
            promise: promise(arguments.durability),
            own: arguments.own(),
            began: Instant::now(),
            rounds: Rounds::default(),
            leader_killed: histogram()?,
            all_killed: histogram()?,
            otherwise: histogram()?,
            notes: notes.with_context(|| format!("cannot write {}", path.display()))?,
        })
    }

    /// A round is over, after so long without an answer; its fault found this node leading.
    ///
    /// # Errors
    /// Where it cannot be noted.
    pub(super) fn on_round(&mut self, fault: Fault, led: Leader, outage: Duration) -> Result<()> {
        let (at, outage_ms) = (self.began.elapsed().as_secs_f64(), outage.as_millis());
        let Leader { node, term } = led;
        writeln!(
            self.notes,
            "{at:.1} s  {fault:?}, while node {node} led in term {term}: answered again after {outage_ms} ms"
        )
        .context("cannot note a round")?;
        self.count(fault, outage);
        Ok(())
    }

    fn count(&mut self, fault: Fault, outage: Duration) {
        self.rounds.count(fault);
        let outage_us = u64::try_from(outage.as_micros()).unwrap_or(u64::MAX);
        let outages = match fault {
            Fault::Kill(Victim::Leader) => &mut self.leader_killed,
            Fault::KillAll => &mut self.all_killed,
            _ => &mut self.otherwise,
        };
        outages.saturating_record(outage_us);
    }

    /// So often a node has said that its disk was full.
    pub(super) fn on_full_disks(&mut self, told: u64) {
        self.rounds.full_disks_told = told;
    }

    /// # Errors
    /// Where standard output cannot be written.
    pub(super) fn print(&self, counts: &Counts, json: bool) -> Result<()> {
        let findings = Findings {
            seed: self.seed,
            nodes: self.nodes,
            promise: self.promise,
            own_disks: self.own.disks,
            own_networks: self.own.networks,
            rounds: self.rounds,
            checked: Checked::of(counts),
            leader_killed: outages(&self.leader_killed),
            all_killed: outages(&self.all_killed),
            other_fault: outages(&self.otherwise),
            elapsed_s: self.began.elapsed().as_secs_f64(),
        };
        match json {
            true => print_json(&findings),
            false => print(&text(&findings)),
        }
    }
}

fn outages(histogram: &Histogram<u64>) -> Outages {
    let known = |us: u64| (!histogram.is_empty()).then_some(us as f64 / 1_000.0);
    Outages {
        count: histogram.len(),
        p50_ms: known(histogram.value_at_quantile(0.5)),
        p90_ms: known(histogram.value_at_quantile(0.9)),
        worst_ms: known(histogram.max()),
    }
}

/// A text of lines, each of a name and what there is to say of it.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, words: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{name:<11} {words}");
    }
}

fn text(it: &Findings) -> String {
    let rounds = &it.rounds;
    let mut lines = Lines::default();
    let mut line = |name, words: String| lines.add(name, &words);
    line(
        "torture",
        format!(
            "{} nodes, {}, seed {}, {:.0} s",
            it.nodes, it.promise, it.seed, it.elapsed_s
        ),
    );
    line(
        "killed",
        format!(
            "{} leaders, {} followers, {} times all nodes",
            rounds.leaders_killed, rounds.followers_killed, rounds.all_killed
        ),
    );
    line(
        "besides",
        format!(
            "{} paused, {} cut off, {} deaf, {} mute, {} apart, {} handed over, {} away until a snapshot",
            rounds.paused,
            rounds.cut_off,
            rounds.deafened,
            rounds.muted,
            rounds.parted,
            rounds.stepped_down,
            rounds.away
        ),
    );
    if it.own_disks || it.own_networks {
        line(
            "their own",
            format!(
                "{} disks filled (nodes said so {} times), {} stood still, {} slow; {} cables pulled",
                rounds.disks_filled,
                rounds.full_disks_told,
                rounds.disks_stalled,
                rounds.disks_slow,
                rounds.unplugged
            ),
        );
    }
    line("leader", outage_text("killed", &it.leader_killed));
    line("all nodes", outage_text("killed", &it.all_killed));
    line("otherwise", outage_text("in trouble", &it.other_fault));
    lines.0 + &checked_text(&it.checked)
}

fn checked_text(it: &Checked) -> String {
    let mut lines = Lines::default();
    let mut line = |name, words: String| lines.add(name, &words);
    line(
        "messages",
        format!(
            "{} sent: {} answered, {} told as not applied, {} as busy; {} reports; a leader was found {} times",
            it.sent, it.answered, it.not_applied, it.busy, it.reports, it.leaders_found
        ),
    );
    line(
        "history",
        format!(
            "{} entries, {} commands, {} events, the same on all nodes; {} frames superseded; {} journals \
             begin behind a snapshot",
            it.entries, it.commands, it.events, it.superseded_frames, it.journals_behind_snapshots
        ),
    );
    line("state hash", it.state_hash.clone());
    line(
        "proved",
        "every answered order is in the history once, nothing told as not applied is, and no report is \
         missing or doubled"
            .to_owned(),
    );
    lines.0
}

fn outage_text(what: &str, outages: &Outages) -> String {
    match (outages.p50_ms, outages.p90_ms, outages.worst_ms) {
        (Some(p50), Some(p90), Some(worst)) => format!(
            "{what} {} times; answered again after p50 {p50:.0} ms, p90 {p90:.0} ms, worst {worst:.0} ms",
            outages.count
        ),
        _ => format!("never {what}"),
    }
}
