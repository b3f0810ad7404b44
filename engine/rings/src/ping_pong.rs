//! Measures how long a cache line takes from one core to another and back.
//!
//! Called by every bench that prints a figure which crosses threads: on a virtual machine the same
//! two cores may be near (about 100 ns) or far (about 500 ns) from one minute to the next, so such
//! a figure means nothing without this one beside it.
//!
//! Always holds: ends within the budget and a few milliseconds; pins only threads of its own.
//! Does not: say which cores are near; it measures the two it is given, at that moment.

use crate::cores::{CoreError, CoreId, pin_current_thread};
use crossbeam::utils::CachePadded;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The longest time a measurement may take.
pub const PING_PONG_BUDGET_MAX: Duration = Duration::from_millis(100);

/// Round trips timed together: the clock's own cost and step then weigh little.
const ROUNDS_PER_SAMPLE: u64 = 16;
/// Samples after which more would not change the median.
const SAMPLES_MAX: usize = 4096;
/// Turns of a waiting loop between two looks at the clock.
const SPINS_PER_CLOCK: u32 = 4096;
/// The ball that ends the game.
const STOP: u64 = u64::MAX;

/// A measured distance between two cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PingPong {
    /// The median time of a cache line to the other core and back.
    pub round_trip_p50: Duration,
    /// The number of samples behind the median.
    pub sample_count: usize,
}

/// Measures the round trip between `near` and `far` within `budget`, cut to
/// [`PING_PONG_BUDGET_MAX`]; none when the cores were too busy to play one round.
///
/// # Errors
/// When one of the cores cannot be pinned to.
pub fn ping_pong(
    near: CoreId,
    far: CoreId,
    budget: Duration,
) -> Result<Option<PingPong>, CoreError> {
    let court = Court::default();
    let budget = budget.min(PING_PONG_BUDGET_MAX);
    let (served, returned) = thread::scope(|scope| {
        let returning = scope.spawn(|| court.return_balls(far));
        let serving = scope.spawn(|| court.serve(near, budget));
        (serving.join(), returning.join())
    });
    // Neither side can panic; if one did, its panic is carried on.
    let samples = served.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    returned.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    Ok(median(samples?))
}

/// The two lines that the ball moves over.
#[derive(Default)]
struct Court {
    there: CachePadded<AtomicU64>,
    back: CachePadded<AtomicU64>,
}

impl Court {
    /// Serves numbered balls and times each [`ROUNDS_PER_SAMPLE`] of them.
    fn serve(&self, core: CoreId, budget: Duration) -> Result<Vec<Duration>, CoreError> {
        let pinned = pin_current_thread(core);
        let deadline = Instant::now() + budget;
        let mut samples = Vec::with_capacity(SAMPLES_MAX);
        let mut ball = 0;
        'game: while pinned.is_ok() && samples.len() < SAMPLES_MAX {
            let start = Instant::now();
            for _ in 0..ROUNDS_PER_SAMPLE {
                ball += 1;
                self.there.store(ball, Ordering::Release);
                if !self.await_return(ball, deadline) {
                    break 'game;
                }
            }
            samples.push(start.elapsed() / ROUNDS_PER_SAMPLE as u32);
            if Instant::now() >= deadline {
                break;
            }
        }
        self.there.store(STOP, Ordering::Release);
        pinned.map(|()| samples)
    }

    fn await_return(&self, ball: u64, deadline: Instant) -> bool {
        loop {
            for _ in 0..SPINS_PER_CLOCK {
                if self.back.load(Ordering::Acquire) == ball {
                    return true;
                }
            }
            if Instant::now() >= deadline {
                return false;
            }
        }
    }

    fn return_balls(&self, core: CoreId) -> Result<(), CoreError> {
        let pinned = pin_current_thread(core);
        let mut last = 0;
        loop {
            let ball = self.there.load(Ordering::Acquire);
            if ball == STOP {
                return pinned;
            }
            if ball != last && pinned.is_ok() {
                self.back.store(ball, Ordering::Release);
                last = ball;
            }
            std::hint::spin_loop();
        }
    }
}

fn median(mut samples: Vec<Duration>) -> Option<PingPong> {
    samples.sort_unstable();
    let round_trip_p50 = *samples.get(samples.len() / 2)?;
    Some(PingPong {
        round_trip_p50,
        sample_count: samples.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cores::online_cores;

    #[test]
    fn two_cores_are_measured() {
        let cores = online_cores().unwrap();
        let [near, far, ..] = cores[..] else { return };
        if let Some(found) = ping_pong(near, far, Duration::from_millis(20)).unwrap() {
            assert!(found.round_trip_p50 > Duration::ZERO && found.sample_count > 0);
        }
    }

    #[test]
    fn a_core_that_is_not_there_is_named() {
        let core = online_cores().unwrap()[0];
        let absent = CoreId(u16::MAX);
        for (near, far) in [(core, absent), (absent, core)] {
            let error = ping_pong(near, far, Duration::from_millis(20)).unwrap_err();
            assert!(
                matches!(error, CoreError::Pin { core, .. } if core == absent),
                "{error}"
            );
        }
    }

    #[test]
    fn no_samples_give_no_median() {
        assert_eq!(median(Vec::new()), None);
        let samples = vec![Duration::from_nanos(3), Duration::from_nanos(1)];
        assert_eq!(
            median(samples).unwrap().round_trip_p50,
            Duration::from_nanos(3)
        );
    }
}
