//! Where the gateway and its clients take the time from.
//!
//! Called once per duty cycle by the agents; everything below them is given the time.
//!
//! Always holds: the time never goes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use exahour_wire::units::Nanos;

/// A source of time.
pub trait Clock: Send {
    /// The time now; never before an earlier answer.
    fn now(&mut self) -> Nanos;
}

/// How often the machine's UTC is looked at; between two looks time goes on by the monotonic clock.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// How far UTC may seem behind before it counts as set back: the two clocks are read one after the other.
const BEHIND_MAX: Nanos = Nanos(100_000);

/// UTC as the machine knows it. Where the machine's clock is set back, time goes on at half its pace until
/// UTC has caught up: it stands still for nobody who waits.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock {
    /// What was shown at the last look.
    shown: Nanos,
    looked: Option<Instant>,
    pace: Pace,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Pace {
    #[default]
    Full,
    Half,
}

impl SystemClock {
    /// What is shown so long after the last look.
    #[inline]
    fn shown_after(&self, span: Duration) -> Nanos {
        // Longer than five centuries is never.
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        self.shown.after(match self.pace {
            Pace::Full => Nanos(nanos),
            Pace::Half => Nanos(nanos / 2),
        })
    }

    /// Takes a look at UTC, so long after the last.
    fn steer(&mut self, span: Duration, utc: Nanos) {
        let own = self.shown_after(span);
        self.shown = own.max(utc);
        self.pace = if Nanos(own.0.saturating_sub(utc.0)) > BEHIND_MAX {
            Pace::Half
        } else {
            Pace::Full
        };
    }
}

impl Clock for SystemClock {
    #[inline]
    fn now(&mut self) -> Nanos {
        let now = Instant::now();
        let span = self.looked.map_or(LOOK_EVERY, |looked| now - looked);
        if span < LOOK_EVERY {
            return self.shown_after(span);
        }
        self.steer(span, utc());
        self.looked = Some(now);
        self.shown
    }
}

/// The machine's UTC; zero before 1970.
fn utc() -> Nanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Nanos(since.map_or(0, |span| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
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
    fn the_system_clock_shows_utc() {
        let mut clock = SystemClock::default();
        let (before, shown) = (utc(), clock.now());
        assert!(before <= shown && shown <= utc());
        assert!(clock.now() >= shown);
    }

    #[test]
    fn time_goes_on_where_the_clock_is_set_back_and_never_goes_back() {
        let mut clock = SystemClock::default();
        let second = Duration::from_secs(1);
        let at = |seconds: u64| Nanos(seconds * Nanos::SECOND.0);
        clock.steer(second, at(1_000));
        clock.steer(second, at(1_001));
        assert_eq!((clock.shown, clock.pace), (at(1_001), Pace::Full));
        // Ten seconds back: half the pace, until UTC is there again.
        let mut seen = clock.shown;
        for passed in 0..=20 {
            clock.steer(second, at(992 + passed));
            assert!(clock.shown > seen, "it goes on");
            seen = clock.shown;
        }
        assert_eq!((clock.shown, clock.pace), (at(1_012), Pace::Full));
        // Forward it follows at once; a clock before 1970 stops nothing.
        clock.steer(second, at(2_000));
        assert_eq!(clock.shown, at(2_000));
        clock.steer(second, Nanos(0));
        clock.steer(second, Nanos(0));
        assert_eq!(clock.shown, Nanos(at(2_001).0 + Nanos::SECOND.0 / 2));
    }
}
