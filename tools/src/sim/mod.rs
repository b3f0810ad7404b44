//! `exahour sim`: whole clusters in memory, each from a seed, with faults, judged when they are at rest.
//!
//! Called by the command line.
//!
//! Always holds: a seed means the same world on every machine that runs the same program; the first world
//! that breaks a promise ends the command, and what it prints is enough to see it again.

mod told;

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use clap::Args;
use exahour_sim::{Options, Outcome};
use exahour_wire::units::Nanos;
use nix::time::{ClockId, clock_gettime};

use crate::exit::finding;
use crate::interrupt::Interrupt;
use crate::output::{print, print_json};
use crate::progress::count_bar;
use told::{Findings, Violation};

/// The most seconds that faults may go on in one world.
const LENGTH_S_MAX: u64 = 3_600;

/// Let whole clusters live in memory, with clients and faults, and judge them.
///
/// Nodes, network, disks and clocks are drawn from a seed: machines lose power, links are cut, connections
/// break at any byte, disks fill up. When the faults have ended, every client must have been told what became
/// of each of its messages, and all nodes must have the same history, in which everything that was
/// acknowledged stands once.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// One world, to see it again.
    #[arg(long, value_name = "SEED", conflicts_with_all = ["seeds", "from", "minutes"])]
    seed: Option<u64>,
    /// How many worlds.
    #[arg(long, value_name = "COUNT", conflicts_with = "minutes", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// The seed of the first.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    from: u64,
    /// As many worlds as can be lived through in this time.
    #[arg(long, value_name = "MINUTES")]
    minutes: Option<u64>,
    /// Nodes of each cluster; drawn from the seed where nothing is said.
    #[arg(long, value_name = "COUNT", value_parser = clap::builder::PossibleValuesParser::new(["1", "3", "5"]))]
    nodes: Option<String>,
    /// Seconds that faults go on, in the world's own time.
    #[arg(long, value_name = "SECONDS", default_value_t = 6,
        value_parser = clap::value_parser!(u64).range(1..=LENGTH_S_MAX))]
    length: u64,
    /// How many lines of what happened before are written where a promise is broken.
    #[arg(long, value_name = "COUNT", default_value_t = Options::TRACE_LINES)]
    trace_lines: usize,
    /// Worlds that are lived through at a time; as many as there are cores where nothing is said.
    #[arg(long, value_name = "COUNT")]
    threads: Option<NonZeroUsize>,
    /// Write one JSON object.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    fn options(&self) -> Options {
        Options {
            nodes: self.nodes.as_ref().and_then(|nodes| nodes.parse().ok()),
            length: Nanos(self.length * Nanos::SECOND.0),
            trace_lines: self.trace_lines,
            ..Options::default()
        }
    }

    /// The command that lives through one world again.
    fn again(&self, seed: u64) -> String {
        let mut text = format!("exahour sim --seed {seed}");
        if let Some(nodes) = &self.nodes {
            text.push_str(&format!(" --nodes {nodes}"));
        }
        if self.length != 6 {
            text.push_str(&format!(" --length {}", self.length));
        }
        text
    }
}

/// Lives through the worlds asked for.
///
/// # Errors
/// One of them breaks a promise.
pub fn run(arguments: &Arguments) -> Result<()> {
    let interrupt = Interrupt::watch()?;
    let (from, count, minutes) = match (arguments.seed, arguments.minutes) {
        (Some(seed), _) => (seed, 1, None),
        (None, Some(minutes)) => (arguments.from, u64::MAX, Some(minutes)),
        (None, None) => (arguments.from, arguments.seeds.unwrap_or(100), None),
    };
    let (begun, cpu_begun) = (Instant::now(), cpu_time()?);
    let end = minutes.map(|minutes| begun + Duration::from_secs(60 * minutes));
    let bar = match end {
        Some(end) => count_bar((end - begun).as_secs(), "sim"),
        None => count_bar(count, "sim"),
    };
    let work = Work {
        options: arguments.options(),
        state: Mutex::new(State {
            next: from,
            end: from.saturating_add(count),
            findings: Findings::default(),
            worst: None,
        }),
    };
    let threads = arguments
        .threads
        .or(std::thread::available_parallelism().ok());
    let threads = threads.map_or(1, NonZeroUsize::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while work.live_through_one() {
                    let done = work.lock().findings.worlds;
                    bar.set_position(end.map_or(done, |_| begun.elapsed().as_secs()));
                    if end.is_some_and(|end| Instant::now() >= end) || interrupt.check().is_err() {
                        work.lock().end = 0;
                    }
                }
            });
        }
    });
    bar.finish_and_clear();
    let state = work
        .state
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    let mut findings = state.findings;
    findings.took(begun.elapsed(), cpu_time()? - cpu_begun, threads);
    let broken = state
        .worst
        .map(|outcome| Violation::of(&outcome, arguments.again(outcome.seed)));
    let failure = broken.as_ref().map(Violation::summary);
    findings.violation = broken;
    if arguments.json {
        print_json(&findings)?;
    } else {
        print(&findings.text())?;
    }
    if let Some(failure) = failure {
        return Err(finding(anyhow!(failure)));
    }
    Ok(interrupt.check()?)
}

/// What this process has taken of all cores so far.
fn cpu_time() -> Result<Duration> {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?;
    Ok(Duration::from(time))
}

/// What the threads share.
struct Work {
    options: Options,
    state: Mutex<State>,
}

struct State {
    next: u64,
    end: u64,
    findings: Findings,
    /// Of the worlds that broke a promise the one with the lowest seed.
    worst: Option<Outcome>,
}

impl Work {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next seed, if there is one, and lives through its world.
    fn live_through_one(&self) -> bool {
        let seed = {
            let mut state = self.lock();
            if state.next >= state.end {
                return false;
            }
            state.next += 1;
            state.next - 1
        };
        let outcome = exahour_sim::run(seed, &self.options);
        let mut state = self.lock();
        state.findings.add(&outcome);
        if outcome.violation.is_some() {
            state.end = 0;
            if state
                .worst
                .as_ref()
                .is_none_or(|worst| outcome.seed < worst.seed)
            {
                state.worst = Some(outcome);
            }
        }
        true
    }
}
