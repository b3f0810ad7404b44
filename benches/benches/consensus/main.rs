//! A batch agreed on by three nodes: raft-rs, which the exchange uses, beside openraft.
//!
//! Run with `cargo bench -p exahour-benches --bench consensus -- [--quick] [--json]`.
//!
//! Both keep their logs in memory, hand their messages over in memory, and are asked for one batch after the
//! other: from the proposal until the leader knows that it is committed and has applied it. What is timed is
//! the whole group, because openraft's leader cannot be timed apart from its tasks.
//!
//! Always holds: contenders take turns within each round, so that a slow moment of the machine hits all of them.
//! Does not: compare what they are made for. raft-rs is a state machine that its owner turns, and leaves log,
//! network, clock and threads to it; openraft brings tasks, channels and timers of tokio along, and is timed
//! with them: with one thread, which is the least they cost, and with two.

mod openraft_group;
mod raft_group;

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;

use openraft_group::{OpenraftGroup, Threads};
use raft_group::RaftGroup;

type Failure = Box<dyn Error + Send + Sync>;

/// Bytes of a command.
const COMMAND_BYTES: usize = 64;

/// Commands in a batch.
const BATCHES: [usize; 2] = [1, 16];

/// Nodes of a group.
const NODES: u64 = 3;

/// Batches before the clock starts.
const WARM_UP: usize = 500;

/// A group that agrees on one batch after the other.
trait Group {
    /// What it is.
    fn name(&self) -> &'static str;

    /// Has the group agree on a batch.
    fn agree(&mut self, batch: Bytes) -> Result<(), Failure>;
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let given = |name: &str| arguments.iter().any(|argument| argument == name);
    match run(given("--quick"), given("--json")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(quick: bool, json: bool) -> Result<(), Failure> {
    let (rounds, batches) = if quick { (3, 2_000) } else { (7, 10_000) };
    let mut groups: [Box<dyn Group>; 3] = [
        Box::new(RaftGroup::found()?),
        Box::new(OpenraftGroup::found(Threads::One)?),
        Box::new(OpenraftGroup::found(Threads::Two)?),
    ];
    for commands in BATCHES {
        let batch = Bytes::from(vec![7; commands * COMMAND_BYTES]);
        let mut taken: Vec<Histogram<u64>> = Vec::new();
        for _ in &groups {
            taken.push(Histogram::new_with_bounds(1, 60_000_000_000, 3)?);
        }
        for _ in 0..rounds {
            for (group, taken) in groups.iter_mut().zip(&mut taken) {
                for number in 0..WARM_UP + batches {
                    let began = Instant::now();
                    group.agree(batch.clone())?;
                    if number >= WARM_UP {
                        taken.saturating_record(nanoseconds(began.elapsed()));
                    }
                }
            }
        }
        let floor = taken[0].value_at_quantile(0.5);
        for (group, taken) in groups.iter().zip(&taken) {
            let p50 = taken.value_at_quantile(0.5);
            let each = p50 as f64 / commands as f64;
            let ratio = p50 as f64 / floor as f64;
            let (name, p99) = (group.name(), taken.value_at_quantile(0.99));
            if json {
                println!(
                    "{{\"contender\":\"{name}\",\"commands\":{commands},\"p50_ns\":{p50},\"p99_ns\":{p99},\
                     \"ns_a_command\":{each:.0},\"ratio\":{ratio:.2}}}"
                );
            } else {
                println!(
                    "{name:<24} {commands:>3} a batch: p50 {p50:>7} ns, p99 {p99:>8} ns, {each:>7.0} ns a \
                     command, {ratio:.2} times raft-rs"
                );
            }
        }
    }
    Ok(())
}

fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
