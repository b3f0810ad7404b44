//! Chapter 10: circuit breakers, interval prices, and halts that others follow.
//!
//! Called by `matching` before and after each trade, by `phases` when a halt ends.
//!
//! Always holds: every trade that may still count is in a list, and the list is looked through.

use exahour_wire::codes::{CancelReason, Permissions, Phase, TimeInForce};
use exahour_wire::events::{CircuitBreakerSet, IntervalPriced};
use exahour_wire::ids::{ClientOrderId, InstrumentId, OrderId};
use exahour_wire::message::Message;
use exahour_wire::operations::SetCircuitBreaker;
use exahour_wire::reject::Reject;
use exahour_wire::units::{Nanos, Price, Quantity};

use crate::admission::{Sender, ensure};
use crate::phases::Call;
use crate::twin::{Instrument, Twin};

const SECOND: u64 = 1_000_000_000;
const HALT: u64 = 300 * SECOND;

/// A breaker that is set, and what it remembers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Guard {
    pub(crate) threshold: i128,
    pub(crate) linked: InstrumentId,
    /// Times and prices of trades.
    trades: Vec<(u64, i64)>,
    /// The end of the interval under way, and its prices and lots.
    running: Option<(Nanos, Vec<(i64, u64)>)>,
    /// Ends and prices of intervals that are over.
    intervals: Vec<(u64, i64)>,
}

impl Guard {
    /// Whether a price is at most the threshold away from each of the others.
    fn is_near(&self, price: i64, others: &[i64]) -> bool {
        let price = i128::from(price) * 1_000_000;
        self.threshold == 0
            || others.iter().map(|other| i128::from(*other)).all(|other| {
                price <= other * (1_000_000 + self.threshold)
                    && price >= other * (1_000_000 - self.threshold)
            })
    }

    /// Prices that count now: trades up to 300 whole seconds ago, and the interval of 300 s ago.
    pub(crate) fn prices(&self, now: Nanos) -> Vec<i64> {
        let counts = |at: u64| at / SECOND + 300 >= now.0 / SECOND;
        let trades = self.trades.iter().filter(|(at, _)| counts(*at));
        let anchor = self
            .intervals
            .iter()
            .rfind(|(end, _)| now.0 >= HALT && *end <= now.0 - HALT);
        trades.chain(anchor).map(|(_, price)| *price).collect()
    }

    pub(crate) fn interval_end(&self) -> Option<Nanos> {
        self.running.as_ref().map(|(end, _)| *end)
    }

    /// What was before an auction counts no more.
    pub(crate) fn forget(&mut self) {
        self.trades.clear();
        self.intervals.clear();
    }
}

impl Twin {
    pub(crate) fn set_circuit_breaker(
        &mut self,
        sender: &Sender,
        command: &SetCircuitBreaker,
    ) -> Result<(), Reject> {
        self.ensure_may(sender, Permissions::OPERATOR)?;
        let id = command.instrument;
        let expired = self.known_instrument(id)?.expired;
        if command.linked != InstrumentId::NONE {
            self.known_instrument(command.linked)?;
        }
        let lawful = command.linked != id && command.threshold.0 <= 1_000_000;
        ensure(lawful, Reject::InvalidDefinition)?;
        ensure(!expired, Reject::InstrumentClosed)?;
        let guard = Guard {
            threshold: i128::from(command.threshold.0),
            linked: command.linked,
            trades: Vec::new(),
            running: None,
            intervals: Vec::new(),
        };
        let nothing = guard.threshold == 0 && guard.linked == InstrumentId::NONE;
        if let Some(instrument) = self.instruments.get_mut(&id) {
            instrument.guard = (!nothing).then_some(guard);
        }
        self.fact(CircuitBreakerSet {
            instrument: id,
            linked: command.linked,
            threshold: command.threshold,
            ..CircuitBreakerSet::blank()
        });
        self.done(sender, 0);
        Ok(())
    }

    /// Whether an instrument may trade at a price, after trades at these too.
    pub(crate) fn is_admissible(&self, id: InstrumentId, price: i64, after: &[i64]) -> bool {
        let guard = self.instruments[&id].guard.as_ref();
        guard.is_none_or(|guard| {
            let others = [guard.prices(self.now).as_slice(), after].concat();
            guard.is_near(price, &others)
        })
    }

    /// Counts a trade.
    pub(crate) fn count_trade(&mut self, id: InstrumentId, price: i64, lots: u64) {
        let now = self.now.0;
        let Some(instrument) = self.instruments.get_mut(&id) else {
            return;
        };
        if let Some(band) = &mut instrument.band {
            band.count(self.now, price);
        }
        let Some(guard) = &mut instrument.guard else {
            return;
        };
        guard.trades.push((now, price));
        let length = 30 * SECOND;
        let end = Nanos((now / length * length).saturating_add(length));
        let (_, trades) = guard.running.get_or_insert((end, Vec::new()));
        trades.push((price, lots));
    }

    /// An interval is over.
    pub(crate) fn end_interval(&mut self, id: InstrumentId) {
        let instrument = self.instruments.get_mut(&id);
        let Some(guard) = instrument.and_then(|instrument| instrument.guard.as_mut()) else {
            return;
        };
        let Some((end, trades)) = guard.running.take() else {
            return;
        };
        let lots: u128 = trades.iter().map(|(_, lots)| u128::from(*lots)).sum();
        let value: u128 = trades
            .iter()
            .map(|(price, lots)| *price as u128 * u128::from(*lots))
            .sum();
        let price = (value / lots) as i64;
        guard.intervals.push((end.0, price));
        self.fact(IntervalPriced {
            instrument: id,
            ends_at: end,
            price: Price(price),
            last_price: Price(trades[trades.len() - 1].0),
            quantity: Quantity(lots as u64),
            trades: trades.len() as u64,
            ..IntervalPriced::blank()
        });
    }

    /// Instead of a trade that would be too far away: the instrument is halted.
    pub(crate) fn trip(&mut self, id: InstrumentId, taker: OrderId, call: fn(&Instrument) -> Call) {
        let order = self.orders[&taker];
        let immediate = matches!(
            order.time_in_force,
            TimeInForce::ImmediateOrCancel | TimeInForce::FillOrKill
        );
        let is_cancelled = immediate || order.peg.is_some();
        if is_cancelled {
            self.cancel(taker, CancelReason::ImmediateRest, ClientOrderId::NONE);
        }
        let until = self.now.0.checked_add(HALT).map(Nanos);
        if let Some(instrument) = self.instruments.get_mut(&id) {
            instrument.call = Some(call(instrument));
        }
        self.enter_phase(id, Phase::Halted, until);
        if !is_cancelled {
            self.place(taker, 0);
        }
        self.halt_followers(id, until);
    }

    /// Whether a breaker's halt goes on once more, because its price would be too far away.
    pub(crate) fn is_extended(&mut self, id: InstrumentId) -> bool {
        let instrument = &self.instruments[&id];
        let (wanted, _) = instrument.calendar.phase_at(self.now);
        let trades_then = matches!(wanted, Phase::Continuous | Phase::Closed);
        let price = self.indicated(id);
        let Some(call) = &instrument.call else {
            return false;
        };
        if !trades_then {
            return false;
        }
        let (times, left) = match call.extensions_left {
            2 => (1, 1),
            1 => (2, 0),
            _ => return false,
        };
        let far = price.is_some_and(|price| {
            let guard = instrument.guard.as_ref();
            guard.is_some_and(|guard| {
                let distance = i128::from(price - call.reference()).abs();
                let reference = i128::from(call.reference());
                distance * 1_000_000 > times * guard.threshold * reference
            })
        });
        if let Some(call) = self
            .instruments
            .get_mut(&id)
            .and_then(|it| it.call.as_mut())
        {
            call.extensions_left = left;
        }
        if far {
            // The first time for a while, the second time until somebody ends it.
            let until = match left {
                1 => self.now.0.checked_add(HALT).map(Nanos),
                _ => None,
            };
            self.enter_phase(id, Phase::Halted, until);
            self.halt_followers(id, until);
        }
        far
    }

    /// Halts the instruments that follow one.
    pub(crate) fn halt_followers(&mut self, id: InstrumentId, until: Option<Nanos>) {
        let ends = |at: Option<Nanos>| at.unwrap_or(Nanos::NEVER);
        let followers: Vec<InstrumentId> = self
            .instruments
            .iter()
            .filter(|(_, it)| !it.expired && it.phase != Phase::Closed)
            .filter(|(_, it)| it.guard.as_ref().is_some_and(|guard| guard.linked == id))
            .filter(|(_, it)| it.phase != Phase::Halted || ends(it.phase_due) < ends(until))
            .map(|(id, _)| *id)
            .collect();
        for follower in followers {
            self.enter_phase(follower, Phase::Halted, until);
        }
    }
}
