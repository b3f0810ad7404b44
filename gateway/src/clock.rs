//! Where the gateway and its clients take the time from.
//!
//! Called once per duty cycle by the agents; everything below them is given the time.
//!
//! Always holds: the time never goes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use exahour_wire::units::Nanos;

/// A source of time.
pub trait Clock: Send {
    /// The time now; never before an earlier answer.
    fn now(&mut self) -> Nanos;
}

/// UTC as the machine knows it, held back where the machine's clock is set back.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock {
    latest: Nanos,
}

impl Clock for SystemClock {
    #[inline]
    fn now(&mut self) -> Nanos {
        // A clock before 1970 is answered like one that was set back: time stands still.
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let nanos = since.map_or(0, |span| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX));
        self.latest = self.latest.max(Nanos(nanos));
        self.latest
    }
}

/// A clock that stands still until it is told; clones show the same time.
#[derive(Clone, Debug)]
pub struct ManualClock {
    now: Arc<AtomicU64>,
}

impl ManualClock {
    /// A clock that shows `start`.
    #[must_use]
    pub fn new(start: Nanos) -> Self {
        Self {
            now: Arc::new(AtomicU64::new(start.0)),
        }
    }

    /// Moves all clones on by `span`.
    pub fn advance(&self, span: Nanos) {
        self.now.fetch_add(span.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&mut self) -> Nanos {
        Nanos(self.now.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_of_a_manual_clock_move_together() {
        let clock = ManualClock::new(Nanos(5));
        let mut other = clock.clone();
        clock.advance(Nanos::SECOND);
        assert_eq!(other.now(), Nanos(1_000_000_005));
    }

    #[test]
    fn the_system_clock_never_goes_back() {
        let mut clock = SystemClock {
            latest: Nanos::NEVER,
        };
        assert_eq!(clock.now(), Nanos::NEVER);
        let mut clock = SystemClock::default();
        let first = clock.now();
        assert!(first > Nanos(0) && clock.now() >= first);
    }
}
