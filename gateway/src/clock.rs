//! Where the gateway and its clients take the time from: UTC for stamps, a steady time for deadlines.
//!
//! Called once per duty cycle by the agents; everything below them is given the time.
//!
//! Always holds: neither time goes back; the steady one passes as it does on the wall, whatever is done
//! to the machine's UTC. Does not: compare steady moments of different clocks, which have no common start.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use exahour_wire::units::Nanos;

/// A source of time.
pub trait Clock: Send {
    /// UTC now, for stamps; never before an earlier answer. It jumps where the machine's clock is set
    /// forward.
    fn now(&mut self) -> Nanos;

    /// The steady time now, for deadlines; never before an earlier answer.
    fn steady(&mut self) -> Steady;

    /// Both, of one moment: a clock that is dear to read is read once.
    fn both(&mut self) -> (Nanos, Steady) {
        (self.now(), self.steady())
    }
}

impl<C: Clock + ?Sized> Clock for Box<C> {
    fn now(&mut self) -> Nanos {
        (**self).now()
    }

    fn steady(&mut self) -> Steady {
        (**self).steady()
    }

    fn both(&mut self) -> (Nanos, Steady) {
        (**self).both()
    }
}

/// A moment on the steady time of one clock.
///
/// # Units
/// Nanoseconds since a start that means nothing: only spans between moments do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Steady(pub u64);

impl Steady {
    /// The moment `span` later.
    #[inline]
    #[must_use]
    pub fn after(self, span: Nanos) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// The span since an `earlier` moment; zero where that is still to come.
    #[inline]
    #[must_use]
    pub fn since(self, earlier: Self) -> Nanos {
        Nanos(self.0.saturating_sub(earlier.0))
    }
}

/// How often the machine's UTC is looked at; between two looks time goes on by the monotonic clock.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// How far UTC may seem behind before it counts as set back: the two clocks are read one after the other.
const BEHIND_MAX: Nanos = Nanos(100_000);

/// UTC as the machine knows it, and the monotonic clock as the steady time. Where the machine's clock is
/// set back, UTC goes on at half its pace until it has caught up: it stands still for nobody who waits.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock {
    /// What was shown at the last look.
    shown: Nanos,
    looked: Option<Instant>,
    pace: Pace,
    /// Where the steady time begins: when it was first asked for.
    began: Option<Instant>,
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
        let nanos = nanos(span);
        self.shown.after(match self.pace {
            Pace::Full => nanos,
            Pace::Half => Nanos(nanos.0 / 2),
        })
    }

    #[inline]
    fn now_at(&mut self, now: Instant) -> Nanos {
        let span = self.looked.map_or(LOOK_EVERY, |looked| now - looked);
        if span < LOOK_EVERY {
            return self.shown_after(span);
        }
        self.steer(span, utc());
        self.looked = Some(now);
        self.shown
    }

    #[inline]
    fn steady_at(&mut self, now: Instant) -> Steady {
        let began = *self.began.get_or_insert(now);
        Steady::default().after(nanos(now - began))
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
        self.now_at(Instant::now())
    }

    #[inline]
    fn steady(&mut self) -> Steady {
        self.steady_at(Instant::now())
    }

    #[inline]
    fn both(&mut self) -> (Nanos, Steady) {
        let now = Instant::now();
        (self.now_at(now), self.steady_at(now))
    }
}

/// The machine's UTC; zero before 1970.
fn utc() -> Nanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(Nanos(0), nanos)
}

/// Longer than five centuries is never.
#[inline]
fn nanos(span: Duration) -> Nanos {
    Nanos(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
}

/// A clock that stands still until it is told; clones show the same times.
#[derive(Clone, Debug)]
pub struct ManualClock {
    now: Arc<AtomicU64>,
    steady: Arc<AtomicU64>,
}

impl ManualClock {
    /// A clock that shows `start` as UTC; its steady time begins at zero.
    #[must_use]
    pub fn new(start: Nanos) -> Self {
        Self {
            now: Arc::new(AtomicU64::new(start.0)),
            steady: Arc::default(),
        }
    }

    /// Lets `span` pass on all clones.
    pub fn advance(&self, span: Nanos) {
        self.set_forward(span);
        self.steady.fetch_add(span.0, Ordering::SeqCst);
    }

    /// Sets UTC forward by `span` on all clones, in which no time passes.
    pub fn set_forward(&self, span: Nanos) {
        self.now.fetch_add(span.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&mut self) -> Nanos {
        Nanos(self.now.load(Ordering::SeqCst))
    }

    fn steady(&mut self) -> Steady {
        Steady(self.steady.load(Ordering::SeqCst))
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
        assert_eq!(other.steady(), Steady(Nanos::SECOND.0));
    }

    #[test]
    fn utc_that_is_set_forward_lets_no_time_pass() {
        let mut clock = ManualClock::new(Nanos(5));
        clock.set_forward(Nanos::SECOND);
        assert_eq!((clock.now().0, clock.steady().0), (1_000_000_005, 0));
        // The system's clock shows what UTC it finds at a look, and measures time apart from it.
        let mut clock = SystemClock::default();
        let (began, before) = (clock.steady(), clock.now());
        let hour = Nanos(3_600 * Nanos::SECOND.0);
        clock.steer(LOOK_EVERY, before.after(hour));
        assert!(clock.now() >= before.after(hour));
        assert!(clock.steady().since(began) < Nanos(60 * Nanos::SECOND.0));
    }

    #[test]
    fn spans_between_steady_moments_are_never_negative() {
        let (early, late) = (Steady(3), Steady(3).after(Nanos(4)));
        assert_eq!((late.since(early), early.since(late)), (Nanos(4), Nanos(0)));
        assert_eq!(late.after(Nanos::NEVER), Steady(u64::MAX));
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
