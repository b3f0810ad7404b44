//! The clocks of simulated nodes: each goes at its own pace, some are wrong, some jump.
//!
//! Given to the agents of a node; the world moves time on.
//!
//! Always holds: a clock never goes back; its steady time passes as the world's does, within its drift,
//! whatever is done to its UTC. Does not: move by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use exahour_gateway::clock::{Clock, Steady};
use exahour_wire::units::Nanos;

/// What UTC is when a world begins.
pub(crate) const UTC_AT_START: Nanos = Nanos(1_800_000_000_000_000_000);

/// How fast a clock goes.
///
/// # Units
/// Parts in a million that it gains on the world, or loses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drift(pub i32);

/// What the clocks of one node show; clones are the same clock.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeClock {
    shown: Arc<Shown>,
}

#[derive(Debug, Default)]
struct Shown {
    utc: AtomicU64,
    steady: AtomicU64,
}

/// The hands of a node's clock, for the world to turn.
#[derive(Clone, Debug)]
pub(crate) struct ClockHands {
    clock: NodeClock,
    drift: Drift,
    /// The world's time when it was last turned.
    turned_at: Nanos,
    /// What drift left over below a nanosecond, in millionths of one.
    rest: i64,
}

impl ClockHands {
    /// A clock that shows UTC wrong by `ahead` and goes at the pace of `drift`.
    #[must_use]
    pub(crate) fn new(ahead: Nanos, drift: Drift) -> Self {
        let clock = NodeClock::default();
        clock
            .shown
            .utc
            .store(UTC_AT_START.after(ahead).0, Ordering::Relaxed);
        Self {
            clock,
            drift,
            turned_at: Nanos(0),
            rest: 0,
        }
    }

    /// The clock, for the agents of its node.
    #[must_use]
    pub(crate) fn clock(&self) -> NodeClock {
        self.clock.clone()
    }

    /// Turns the hands to where they stand at the world's time `now`.
    pub(crate) fn turn_to(&mut self, now: Nanos) {
        let passed = now.0.saturating_sub(self.turned_at.0);
        self.turned_at = self.turned_at.max(now);
        // A run of hours by a clock wrong by a tenth stays far below 2^63.
        let gained = passed as i64 * i64::from(self.drift.0) + self.rest;
        self.rest = gained.rem_euclid(1_000_000);
        let own = passed.saturating_add_signed(gained.div_euclid(1_000_000));
        self.clock.shown.utc.fetch_add(own, Ordering::Relaxed);
        self.clock.shown.steady.fetch_add(own, Ordering::Relaxed);
    }

    /// Sets UTC forward by `span`, in which no time passes.
    pub(crate) fn set_forward(&mut self, span: Nanos) {
        self.clock.shown.utc.fetch_add(span.0, Ordering::Relaxed);
    }
}

impl Clock for NodeClock {
    fn now(&mut self) -> Nanos {
        Nanos(self.shown.utc.load(Ordering::Relaxed))
    }

    fn steady(&mut self) -> Steady {
        Steady(self.shown.steady.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_drifts_gains_what_it_should_in_however_many_steps() {
        let second = Nanos::SECOND.0;
        for (drift, steady) in [(100, 1_000_100_000), (0, second), (-100, 999_900_000)] {
            let mut hands = ClockHands::new(Nanos(5), Drift(drift));
            let mut clock = hands.clock();
            let mut seen = clock.now();
            for step in 1..=1_000_u64 {
                hands.turn_to(Nanos(step * second / 1_000));
                assert!(clock.now() >= seen);
                seen = clock.now();
            }
            assert_eq!(clock.steady(), Steady(steady));
            assert_eq!(clock.now().0, UTC_AT_START.0 + 5 + steady);
        }
    }

    #[test]
    fn a_jump_moves_utc_alone() {
        let mut hands = ClockHands::new(Nanos(0), Drift(0));
        hands.turn_to(Nanos(7));
        hands.set_forward(Nanos(100));
        let mut clock = hands.clock();
        assert_eq!((clock.now().0 - UTC_AT_START.0, clock.steady().0), (107, 7));
    }
}
