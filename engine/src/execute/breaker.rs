//! The circuit breaker: a trade that would be too far away halts its instrument instead.
//!
//! Called by `matching` before a trade, by `phases` when a halt ends.
//!
//! Always holds: no trade outside of an auction is at an inadmissible price. Instruments that follow
//! another are halted with it, by ascending id.

use exahour_wire::codes::{CancelReason, Phase, TimeInForce};
use exahour_wire::events::{CircuitBreakerSet, IntervalPriced};
use exahour_wire::ids::InstrumentId;
use exahour_wire::limits::BREAKER_HALT;
use exahour_wire::message::Message;
use exahour_wire::operations::SetCircuitBreaker;
use exahour_wire::reject::Reject;
use exahour_wire::units::{Nanos, PartsPerMillion, Price, Quantity};

use super::{Execute, Instrument, Request};
use crate::batch::EventSink;
use crate::book::Slot;
use crate::guards::Breaker;
use crate::pegs::PEGGED;
use crate::reporter::Output;
use crate::timers::Due;
use crate::trading::{Call, CircuitBreaker, Reopening, Trading};

impl Execute {
    /// Sets an instrument's breaker anew, or takes it away.
    pub(super) fn set_circuit_breaker<S: EventSink>(
        &mut self,
        command: &SetCircuitBreaker,
        request: Request,
        out: &mut Output<'_, S>,
    ) -> Result<(), Reject> {
        self.with_open_instrument(command.instrument, |execute, instrument| {
            let breaker = CircuitBreaker {
                threshold: command.threshold,
                linked: command.linked,
                seen: Breaker::default(),
            };
            let wanted = breaker.threshold.0 > 0 || breaker.linked != InstrumentId::NONE;
            let trading = &mut instrument.trading;
            trading.change_guard(|guard| guard.breaker = wanted.then_some(breaker));
            let set = CircuitBreakerSet {
                instrument: command.instrument,
                linked: command.linked,
                threshold: command.threshold,
                ..Message::blank()
            };
            execute.reporter.fact(out, set);
            execute.done(out, request, 0);
            Ok(())
        })
    }

    /// Counts a trade, where there is a guard.
    #[inline]
    pub(super) fn count_trade(
        &mut self,
        instrument: &mut Instrument,
        price: Price,
        quantity: Quantity,
        now: Nanos,
    ) {
        let Some(guard) = &mut instrument.trading.guard else {
            return;
        };
        if let Some(end) = guard.count(now, price, quantity) {
            self.timers.schedule(end, Due::Interval(instrument.id.0));
            self.shed_timers();
        }
    }

    /// Publishes the price of an interval that is over.
    pub(super) fn on_interval_due<S: EventSink>(
        &mut self,
        id: InstrumentId,
        at: Nanos,
        out: &mut Output<'_, S>,
    ) {
        let instrument = self.instruments.get_mut(id.0 as usize);
        let Some(instrument) = instrument.and_then(Option::as_mut) else {
            return;
        };
        if instrument.expired {
            return;
        }
        let Some(breaker) = instrument.trading.breaker_mut() else {
            return;
        };
        // One that a newer breaker counts may end later.
        if let Some(over) = breaker.seen.intervals.close(at) {
            let priced = IntervalPriced {
                instrument: id,
                ends_at: over.end,
                price: over.price,
                last_price: over.last,
                quantity: over.volume,
                trades: over.trades,
                ..Message::blank()
            };
            self.reporter.fact(out, priced);
        }
    }

    /// Halts the instrument instead of a trade; what came rests in the call, or is cancelled where it was
    /// to trade at once or is pegged: one that came back when the halt ends would only begin the next.
    #[cold]
    pub(super) fn trip<S: EventSink>(
        &mut self,
        instrument: &mut Instrument,
        taker: Slot,
        reopening: Reopening,
        out: &mut Output<'_, S>,
    ) {
        let order = self.orders.at(taker);
        let immediate = matches!(
            order.time_in_force,
            TimeInForce::ImmediateOrCancel | TimeInForce::FillOrKill
        );
        let goes = immediate || order.flags.contains(PEGGED);
        if goes {
            self.cancel_incoming(instrument, taker, CancelReason::ImmediateRest, out);
        }
        let until = out.time.after(BREAKER_HALT.into());
        self.halt_at_any_price(instrument, reopening, until, out);
        if !goes {
            self.collect(instrument, taker, out);
        }
        self.halt_linked(instrument.id, until, out);
    }

    /// Halts an instrument for an auction at any price.
    pub(super) fn halt_at_any_price<S: EventSink>(
        &mut self,
        instrument: &mut Instrument,
        reopening: Reopening,
        until: Nanos,
        out: &mut Output<'_, S>,
    ) {
        let any_price = PartsPerMillion(0);
        let mut call = Call::begin(&instrument.terms, instrument.reference(), any_price);
        call.reopening = reopening;
        instrument.trading.call = Some(Box::new(call));
        self.enter_phase(instrument, Phase::Halted, until, out);
    }

    /// Extends a breaker's halt where its auction would be too far from the reference: once by its
    /// time, then until an operator ends it.
    pub(super) fn extends<S: EventSink>(
        &mut self,
        instrument: &mut Instrument,
        out: &mut Output<'_, S>,
    ) -> bool {
        if Trading::collects(instrument.trading.calendar.phase_at(out.time)) {
            return false;
        }
        let Some(mut call) = instrument.trading.call.take() else {
            return false;
        };
        let (times, until, then) = match call.reopening {
            Reopening::MayExtend => {
                let until = out.time.after(BREAKER_HALT.into());
                (1, until, Reopening::Extended)
            }
            Reopening::Extended => (2, Nanos::NEVER, Reopening::AtOnce),
            Reopening::AtOnce => (0, Nanos::NEVER, Reopening::AtOnce),
        };
        call.reopening = then;
        let clearing = self.clearing(instrument, &call).filter(|_| times > 0);
        let breaker = instrument.trading.breaker();
        let far = clearing
            .zip(breaker)
            .is_some_and(|(it, breaker)| breaker.is_far(it.price, call.reference, times));
        instrument.trading.call = Some(call);
        if far {
            self.enter_phase(instrument, Phase::Halted, until, out);
            self.halt_linked(instrument.id, until, out);
        }
        far
    }

    /// Halts the instruments that follow one, each until then.
    pub(super) fn halt_linked<S: EventSink>(
        &mut self,
        to: InstrumentId,
        until: Nanos,
        out: &mut Output<'_, S>,
    ) {
        for place in 0..self.instruments.len() {
            let follows = self.instruments[place]
                .as_ref()
                .is_some_and(|it| !it.expired && it.trading.follows(to, until));
            if !follows {
                continue;
            }
            if let Some(mut instrument) = self.instruments[place].take() {
                self.enter_phase(&mut instrument, Phase::Halted, until, out);
                self.put_back(instrument);
            }
        }
    }
}
