//! Open-loop load: messages leave on a schedule, whatever became of those before.
//!
//! Always holds: latency is counted from when a message was due, not from when it could be sent, so
//! a stall is charged to every message that it held up (no coordinated omission).

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::figures::histogram;

/// How long the last answers are waited for.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// The other side of a load: sends one message, and tells which were answered.
pub trait Counterpart {
    /// Numbers the messages of the next load from zero; nothing is under way.
    fn begin(&mut self);

    /// Sends message number `number`.
    ///
    /// # Errors
    /// Whatever ends the connection.
    fn send(&mut self, number: u64) -> anyhow::Result<()>;

    /// Takes what has been answered, and calls `answered` with the number of each message.
    ///
    /// # Errors
    /// Whatever ends the connection.
    fn poll(&mut self, answered: &mut dyn FnMut(u64)) -> anyhow::Result<()>;
}

/// A counterpart that gives its core away whenever nothing has been answered, on a machine whose cores are
/// not enough for a client that spins.
pub struct Polite<C>(pub C);

impl<C: Counterpart> Counterpart for Polite<C> {
    fn begin(&mut self) {
        self.0.begin();
    }

    fn send(&mut self, number: u64) -> anyhow::Result<()> {
        self.0.send(number)
    }

    fn poll(&mut self, answered: &mut dyn FnMut(u64)) -> anyhow::Result<()> {
        let mut any = false;
        self.0.poll(&mut |number| {
            any = true;
            answered(number);
        })?;
        if !any {
            std::thread::yield_now();
        }
        Ok(())
    }
}

/// Sends `count` messages, each when the one before it was answered, and gives the latencies in
/// nanoseconds.
///
/// # Errors
/// As [`run`].
pub fn one_at_a_time(
    counterpart: &mut dyn Counterpart,
    count: u64,
) -> anyhow::Result<Histogram<u64>> {
    let mut latencies = histogram();
    counterpart.begin();
    for number in 0..count {
        let began = Instant::now();
        counterpart.send(number)?;
        let mut answered = false;
        while !answered {
            counterpart.poll(&mut |_| answered = true)?;
            anyhow::ensure!(
                began.elapsed() < LAST_ANSWERS,
                "message {number} of {count} was not answered in time"
            );
        }
        latencies.saturating_record(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    Ok(latencies)
}

/// Sends `count` messages at `rate` a second and gives the latencies in nanoseconds.
///
/// # Errors
/// Whatever the counterpart says; an answer that never comes.
pub fn run(
    counterpart: &mut dyn Counterpart,
    rate: u64,
    count: u64,
) -> anyhow::Result<Histogram<u64>> {
    let mut latencies = histogram();
    counterpart.begin();
    let interval = Duration::from_nanos(1_000_000_000 / rate);
    let start = Instant::now() + Duration::from_millis(1);
    let due = |number: u64| start + interval * u32::try_from(number).unwrap_or(u32::MAX);
    let (mut sent, mut answered) = (0, 0);
    let last = due(count) + LAST_ANSWERS;
    while answered < count {
        let now = Instant::now();
        if sent < count && now >= due(sent) {
            counterpart.send(sent)?;
            sent += 1;
        }
        counterpart.poll(&mut |number| {
            let latency = Instant::now().saturating_duration_since(due(number));
            latencies.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
            answered += 1;
        })?;
        anyhow::ensure!(
            now < last,
            "{answered} of {count} messages were answered in time"
        );
    }
    Ok(latencies)
}
