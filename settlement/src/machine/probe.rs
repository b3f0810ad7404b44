//! Proves once a period that the machine runs and gets processor time: does a fixed piece of
//! integer work and reports how long it took.
//!
//! Runs as one thread of the inside, with a quota apart from that of the buyer's processes.
//!
//! Always holds: beats follow a fixed schedule; one that is missed is skipped, never made up for.

use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use crate::provision::now_ns;

use super::report::Report;

/// Rounds of mixing in one piece of work: about a millisecond on a present-day core.
const ROUNDS: u64 = 500_000;

/// Beats until the supervisor no longer listens or the window has ended; the last beat comes after
/// that end, because time is verified up to a beat and no further.
pub(super) fn beat(mut to: impl Write, period: Duration, window_end_ns: u64) {
    let mut work_done = 0;
    let mut seed = 1;
    let mut due = Instant::now();
    loop {
        let (wall, cpu) = (clock_ns(ClockId::CLOCK_MONOTONIC), thread_cpu_ns());
        seed = black_box(work(black_box(seed)));
        work_done += 1;
        let report = Report::Beat {
            at_ns: now_ns(),
            mono_ns: clock_ns(ClockId::CLOCK_MONOTONIC),
            work_done,
            probe_wall_ns: clock_ns(ClockId::CLOCK_MONOTONIC).saturating_sub(wall),
            probe_cpu_ns: thread_cpu_ns().saturating_sub(cpu),
        };
        if super::inside::say(&mut to, &report).is_err() {
            return;
        }
        let left_ns = window_end_ns.saturating_sub(now_ns());
        if left_ns == 0 {
            return;
        }
        due += period;
        let now = Instant::now();
        if due <= now {
            due = now + period;
        }
        std::thread::sleep((due - now).min(Duration::from_nanos(left_ns)));
    }
}

/// One fixed piece of work: a chain of multiplications in which each needs the one before.
fn work(seed: u64) -> u64 {
    (0..ROUNDS).fold(seed, |x, i| {
        let x = (x ^ (x >> 31) ^ i).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        x ^ (x >> 27)
    })
}

fn thread_cpu_ns() -> u64 {
    clock_ns(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

fn clock_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock).map(Duration::from).unwrap_or_default();
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
