//! Stop orders: parked outside of the book, and let into the market when a trade has reached their price.
//! So are those whose stop price waits beside a limit in the book (`one_cancels_other`).
//!
//! Called when one is entered, behind each command and behind the timers of a batch, and when trading goes
//! on after a call.
//!
//! Always holds: what was elected is let in where its instrument trades continuously, in the order of
//! election, and what one command leaves is left to the next or to a timer that is due at once.

use exahour_wire::codes::{OrderFlags, OrderType, Phase, TimeInForce};
use exahour_wire::events::{OrderTriggered, StopEntered};
use exahour_wire::message::Message;
use exahour_wire::orders::NewAdvancedOrder;
use exahour_wire::units::{Nanos, Price, Quantity};

use super::{Execute, Instrument};
use crate::batch::EventSink;
use crate::book::{BESIDE, Beside, HELD, Slot};
use crate::pegs::PEGGED;
use crate::reporter::Output;
use crate::stops::{Stop, Stops};
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
    /// Lets the stop price of a new order wait, if it has one: outside of the book, or beside its limit.
    pub(super) fn enter_stop<S: EventSink>(
        &mut self,
        instrument: &mut Instrument,
        slot: Slot,
        new: &NewAdvancedOrder,
        beside: Option<Beside>,
        out: &mut Output<'_, S>,
    ) {
        if new.stop_price == Price::NONE {
            return;
        }
        let (stop_limit, order) = (stop_limit_of(new, beside), self.orders.at(slot));
        let entered = StopEntered {
            client_order_id: order.client_order_id,
            order: order.id,
            stop_price: new.stop_price,
            stop_limit,
            account: new.account,
            instrument: new.instrument,
            side: new.side,
            ..Message::blank()
        };
        let session = order.session;
        self.reporter.report(out, session, entered);
        let node = self.wait(instrument, slot, new.stop_price);
        match beside {
            None => self.orders.at_mut(slot).level = node,
            Some(beside) => {
                self.orders.set_beside(slot, Beside { node, ..beside });
                self.hold_beside(slot);
            }
        }
    }

    /// Lets a stop price wait, and says its place; where the last trade has reached it already, its order
    /// is elected.
    fn wait(&mut self, instrument: &mut Instrument, slot: Slot, price: Price) -> u32 {
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
        match met {
            true => stops.elect(stop),
            false => stops.wait(stop),
        }
    }

    /// Takes an order out that is not in the market.
    pub(super) fn unpark(&mut self, instrument: &mut Instrument, slot: Slot) {
        let order = self.orders.at(slot);
        let (node, pegged) = (order.level, order.flags.contains(PEGGED));
        // The list of pegged orders drops what lives no more.
        if let Some(stops) = instrument.stops.as_mut().filter(|_| !pegged) {
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

    /// Lets stop orders in that were elected, at most so many, and says how many of these steps are left.
    pub(super) fn trigger_elected<S: EventSink>(
        &mut self,
        steps_max: u32,
        out: &mut Output<'_, S>,
    ) -> u32 {
        let mut steps_left = steps_max;
        while let Some(id) = self.electing.first().copied() {
            let Some(mut instrument) = self.take_instrument(id) else {
                break;
            };
            while steps_left > 0 && instrument.has_stops_to_trigger() {
                steps_left -= 1;
                self.trigger_first(&mut instrument, out);
            }
            let waits = instrument.has_stops_to_trigger();
            self.put_back(instrument);
            if waits {
                break;
            }
            self.electing.remove(&id);
        }
        steps_left
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
        let order_type = self.let_in(instrument, stop, out.time);
        let order = self.orders.at(stop.slot);
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

    /// Makes an order whose turn has come one like any other that is in no queue yet, and says which. Its
    /// limit is moved into the price band; so it can cost less than it was held at, never more.
    fn let_in(&mut self, instrument: &mut Instrument, stop: Stop, now: Nanos) -> OrderType {
        let slot = stop.slot;
        let held = self.orders.held_at(slot);
        let flags = self.orders.at(slot).flags;
        let (limit, unpriced) = if flags.contains(BESIDE) {
            self.take_from_book(instrument, slot);
            let beside = self.orders.beside(slot);
            (beside.limit, beside.unpriced)
        } else {
            (self.orders.at(slot).price, flags.contains(UNPRICED))
        };
        let order = self.orders.at_mut(slot);
        order.price = instrument.within_band(stop.side, limit, now);
        order.flags = OrderFlags(flags.0 & !(PARKED.0 | UNPRICED.0 | BESIDE.0 | HELD.0));
        let mut order_type = OrderType::Limit;
        if unpriced {
            self.dated -= usize::from(order.time_in_force == TimeInForce::GoodTillDate);
            order.time_in_force = TimeInForce::ImmediateOrCancel;
            order_type = OrderType::Market;
        }
        self.hold_anew(instrument, slot, held);
        order_type
    }

    /// The time has come for what a command had left.
    pub(super) fn on_election_due(&mut self, at: Nanos) {
        // What the commands since then have let in is in.
        if self.elect_at == at {
            self.elect_at = Nanos::NEVER;
        }
    }
}

/// The limit that an order has from its stop price on; none for one that is a market order then.
fn stop_limit_of(new: &NewAdvancedOrder, beside: Option<Beside>) -> Price {
    match beside {
        Some(_) => new.stop_limit,
        // Of a stop-limit order its only limit, of a stop order none.
        None => new.price,
    }
}
