//! Stop orders: parked outside of the book, and let into the market when a trade has reached their price.
//!
//! Called when one is entered, behind each command and behind the timers of a batch, and when trading goes
//! on after a call.
//!
//! Always holds: what was elected is let in where its instrument trades continuously, in the order of
//! election, and what one command leaves is left to the next or to a timer that is due at once.

use exahour_wire::codes::{OrderFlags, OrderType, Phase, TimeInForce};
use exahour_wire::events::OrderTriggered;
use exahour_wire::limits::ELECTIONS_MAX;
use exahour_wire::message::Message;
use exahour_wire::units::{Nanos, Price, Quantity};

use super::{Execute, Instrument};
use crate::batch::EventSink;
use crate::book::Slot;
use crate::reporter::Output;
use crate::stops::{Stop, Stops};
use crate::timers::Due;
use crate::trading::{PARKED, UNPRICED};

impl Instrument {
    /// The stop orders, where there may be some to enter.
    fn stops_mut(&mut self, seed: u64) -> &mut Stops {
        self.stops.get_or_insert_with(|| Box::new(Stops::new(seed)))
    }

    /// Whether stop orders that were elected may be let in.
    pub(crate) fn has_stops_to_trigger(&self) -> bool {
        self.trading.phase == Phase::Continuous
            && self.stops.as_ref().is_some_and(|stops| stops.has_elected())
    }
}

impl Execute {
    /// Lets a new stop order wait; where the last trade has reached its price already, it is elected.
    pub(super) fn park(&mut self, instrument: &mut Instrument, slot: Slot, price: Price) {
        let order = self.orders.at(slot);
        let stop = Stop {
            side: order.side,
            price,
            order: order.id,
            slot,
        };
        let trades = instrument.trading.phase == Phase::Continuous;
        let last = instrument.last_trade.filter(|_| trades);
        let met = last.is_some_and(|last| stop.is_met_by(last));
        if met {
            self.electing.insert(instrument.id);
        }
        let stops = instrument.stops_mut(self.index_seed);
        let node = match met {
            true => stops.elect(stop),
            false => stops.wait(stop),
        };
        self.orders.at_mut(slot).level = node;
    }

    /// Takes a stop order out that is not in the market.
    pub(super) fn unpark(&mut self, instrument: &mut Instrument, slot: Slot) {
        let node = self.orders.at(slot).level;
        if let Some(stops) = &mut instrument.stops {
            stops.remove(node);
        }
    }

    /// Elects what a trade at this price elects.
    #[inline]
    pub(super) fn touch_stops(&mut self, instrument: &mut Instrument, price: Price) {
        if let Some(stops) = &mut instrument.stops
            && stops.touch(price)
        {
            self.electing.insert(instrument.id);
        }
    }

    /// Trading goes on: what was elected in the meantime is let in, and what the last price elects.
    pub(super) fn resume_stops(&mut self, instrument: &mut Instrument) {
        if let Some(last) = instrument.last_trade {
            self.touch_stops(instrument, last);
        }
        if instrument.has_stops_to_trigger() {
            self.electing.insert(instrument.id);
        }
    }

    /// Lets stop orders in that were elected, as many as one command may.
    #[inline]
    pub(crate) fn trigger_stops<S: EventSink>(&mut self, out: &mut Output<'_, S>) {
        if !self.electing.is_empty() {
            self.trigger_elected(out);
        }
    }

    #[cold]
    fn trigger_elected<S: EventSink>(&mut self, out: &mut Output<'_, S>) {
        let mut left = ELECTIONS_MAX;
        while let Some(id) = self.electing.first().copied() {
            let Some(mut instrument) = self.take_instrument(id) else {
                return;
            };
            while left > 0 && instrument.has_stops_to_trigger() {
                left -= 1;
                self.trigger_first(&mut instrument, out);
            }
            let waits = instrument.has_stops_to_trigger();
            self.put_back(instrument);
            if waits {
                break;
            }
            self.electing.remove(&id);
        }
        let soon = out.time.after(Nanos(1));
        if !self.electing.is_empty() && self.elect_at == Nanos::NEVER && soon < Nanos::NEVER {
            self.elect_at = soon;
            self.timers.schedule(soon, Due::Election);
        }
    }

    /// Lets the first in of those that were elected.
    fn trigger_first<S: EventSink>(
        &mut self,
        instrument: &mut Instrument,
        out: &mut Output<'_, S>,
    ) {
        let elected = instrument.stops.as_mut().and_then(|it| it.take_elected());
        let Some(stop) = elected else {
            return;
        };
        self.bring_into_band(instrument, stop, out.time);
        let order = self.orders.at_mut(stop.slot);
        let market = order.flags.contains(UNPRICED);
        order.flags = OrderFlags(order.flags.0 & !(PARKED.0 | UNPRICED.0));
        if market {
            self.dated -= usize::from(order.time_in_force == TimeInForce::GoodTillDate);
            order.time_in_force = TimeInForce::ImmediateOrCancel;
        }
        let order_type = match market {
            true => OrderType::Market,
            false => OrderType::Limit,
        };
        let position = self.positions.at(order.position);
        let triggered = OrderTriggered {
            client_order_id: order.client_order_id,
            order: order.id,
            price: order.price,
            quantity: order.leaves,
            stop_price: stop.price,
            account: position.account,
            instrument: position.instrument,
            side: order.side.into(),
            order_type: order_type.into(),
            time_in_force: order.time_in_force.into(),
            flags: order.flags.known(),
            ..Message::blank()
        };
        let session = order.session;
        self.reporter.report(out, session, triggered);
        self.match_and_rest(instrument, stop.slot, Quantity(0), out);
    }

    /// Moves the limit of an order that comes into the market into the price band; so it can cost less,
    /// never more.
    fn bring_into_band(&mut self, instrument: &mut Instrument, stop: Stop, now: Nanos) {
        let held = self.orders.held_at(stop.slot);
        let order = self.orders.at_mut(stop.slot);
        order.price = instrument.within_band(stop.side, order.price, now);
        self.hold_anew(instrument, stop.slot, held);
    }

    /// The time has come for stop orders that a command had left.
    pub(super) fn on_election_due(&mut self, at: Nanos) {
        // What the commands since then have let in is in.
        if self.elect_at == at {
            self.elect_at = Nanos::NEVER;
        }
    }
}
