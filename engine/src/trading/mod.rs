//! When an instrument trades how: its calendar, its phase, and the call under way.
//!
//! Part of every instrument; moved on by `execute::phases`, asked by whoever enters or matches
//! orders.
//!
//! Always holds: there is a call just in the phases that collect orders; outside of a call no order
//! is unpriced and the book is not crossed.
//! Does not: emit events, or know timers.

mod band;
mod calendar;
mod call;
mod guard;

use exahour_wire::codes::{OrderFlags, Phase, TimeInForce};
use exahour_wire::ids::InstrumentId;
use exahour_wire::reject::Reject;
use exahour_wire::units::Nanos;

use crate::book::{BESIDE, HELD, ICEBERG};
use crate::pegs::PEGGED;
pub(crate) use band::{PriceBand, Told, moved_into, next_second};
pub(crate) use calendar::{Calendar, Day};
pub(crate) use call::{Call, Joins, Outlook, Reopening, UNPRICED};
pub(crate) use guard::{CircuitBreaker, Guard, PriceLimits};

/// The mark of a stop order, or a pegged one, that is not in the market: a bit of the flags that no
/// client can set.
pub(crate) const PARKED: OrderFlags = OrderFlags(1 << 6);

/// A mark stands for one thing, and for none that a client can ask for.
const _: () = {
    let marks = [PARKED, UNPRICED, ICEBERG, HELD, BESIDE, PEGGED];
    let (mut seen, mut next) = (OrderFlags::KNOWN.0, 0);
    while next < marks.len() {
        assert!(marks[next].0.count_ones() == 1 && seen & marks[next].0 == 0);
        seen |= marks[next].0;
        next += 1;
    }
};

/// How an instrument trades now.
pub(crate) struct Trading {
    pub(crate) calendar: Calendar,
    /// Never `Expired`: the instrument itself says so.
    pub(crate) phase: Phase,
    /// When the phase is to end; never where nothing says so.
    pub(crate) due: Nanos,
    pub(crate) call: Option<Box<Call>>,
    pub(crate) guard: Option<Box<Guard>>,
}

impl Trading {
    /// Trades around the clock.
    pub(crate) fn around_the_clock() -> Self {
        Self {
            calendar: Calendar::default(),
            phase: Phase::Continuous,
            due: Nanos::NEVER,
            call: None,
            guard: None,
        }
    }

    /// When the phase is to end as was announced: what chance adds to a call stays a secret until then.
    pub(crate) fn announced_end(&self) -> Nanos {
        let delayed = self.call.as_ref().is_some_and(|call| call.drawn);
        match delayed {
            true => self.calendar.before_delay(self.due),
            false => self.due,
        }
    }

    /// Whether an order that lives so long may be entered now.
    ///
    /// # Errors
    /// [`Reject::MarketClosed`], [`Reject::ImmediateInCall`], [`Reject::NoCall`].
    #[inline]
    pub(crate) fn check_entry(&self, time_in_force: TimeInForce) -> Result<(), Reject> {
        let immediate = matches!(
            time_in_force,
            TimeInForce::ImmediateOrCancel | TimeInForce::FillOrKill
        );
        let for_auction = time_in_force == TimeInForce::GoodForAuction;
        match (&self.call, self.phase) {
            (_, Phase::Closed) => Err(Reject::MarketClosed),
            (Some(_), _) if immediate => Err(Reject::ImmediateInCall),
            (None, _) if for_auction => Err(Reject::NoCall),
            _ => Ok(()),
        }
    }

    /// What the price of the next trade is held against.
    #[inline]
    pub(crate) fn price_limits(&mut self, now: Nanos) -> PriceLimits {
        match &mut self.guard {
            Some(guard) => guard.limits(now),
            None => PriceLimits::NONE,
        }
    }

    /// The circuit breaker, if there is one.
    pub(crate) fn breaker(&self) -> Option<&CircuitBreaker> {
        self.guard.as_ref()?.breaker.as_ref()
    }

    /// As [`Trading::breaker`], to change.
    pub(crate) fn breaker_mut(&mut self) -> Option<&mut CircuitBreaker> {
        self.guard.as_mut()?.breaker.as_mut()
    }

    /// The price band, if there is one.
    pub(crate) fn band(&self) -> Option<&PriceBand> {
        self.guard.as_ref()?.band.as_ref()
    }

    /// As [`Trading::band`], to change.
    pub(crate) fn band_mut(&mut self) -> Option<&mut PriceBand> {
        self.guard.as_mut()?.band.as_mut()
    }

    /// Changes what guards prices; without any guard there is nothing to ask.
    pub(crate) fn change_guard(&mut self, change: impl FnOnce(&mut Guard)) {
        let mut guard = self.guard.take().unwrap_or_default();
        change(&mut guard);
        let any = guard.breaker.is_some() || guard.band.is_some();
        self.guard = any.then_some(guard);
    }

    /// Whether a halt of `other` until then halts this instrument too.
    pub(crate) fn follows(&self, other: InstrumentId, until: Nanos) -> bool {
        self.breaker()
            .is_some_and(|breaker| breaker.linked == other)
            && match self.phase {
                Phase::Closed => false,
                Phase::Halted => self.due < until,
                _ => true,
            }
    }

    /// Nothing trades any more, and nothing is due.
    pub(crate) fn stop(&mut self) {
        self.phase = Phase::Closed;
        self.due = Nanos::NEVER;
        self.guard = None;
    }

    /// Whether this phase collects orders.
    pub(crate) fn collects(phase: Phase) -> bool {
        matches!(
            phase,
            Phase::PreOpenCall | Phase::ClosingCall | Phase::Halted
        )
    }
}
