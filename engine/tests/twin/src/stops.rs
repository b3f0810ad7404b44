//! Chapter 12: stop orders, from when they are entered to when they are in the market; and the stop prices
//! of one-cancels-other orders, which are in it already.
//!
//! Called by `orders` for a new one, by `matching` and `phases` behind each trade, and behind each
//! command and timer.
//!
//! Always holds: a stop order that waits is in no book; which ones a trade elects is looked up among all.

use exahour_wire::codes::{OrderFlags, OrderType, Phase, Side, TimeInForce};
use exahour_wire::events::{OrderTriggered, StopEntered};
use exahour_wire::ids::{InstrumentId, OrderId};
use exahour_wire::message::Message;
use exahour_wire::units::{Price, Quantity};

use crate::twin::{Instrument, Order, Twin};

/// Whether stop orders may come.
fn trades(instrument: &Instrument) -> bool {
    instrument.phase == Phase::Continuous && !instrument.expired
}

/// What an order waits for, in the market or not.
pub(crate) fn stop_price(order: &Order) -> Option<i64> {
    order.stop.or(order.other.map(|other| other.stop))
}

/// Whether a trade at this price elects an order.
fn is_met(order: &Order, price: i64) -> bool {
    match (stop_price(order), order.side) {
        (None, _) => false,
        (Some(stop), Side::Buy) => price >= stop,
        (Some(stop), Side::Sell) => price <= stop,
    }
}

impl Twin {
    /// An order with a stop price was entered: it waits, or is elected by the last trade already.
    pub(crate) fn enter_stop(&mut self, id: OrderId, stop_limit: Price) {
        let order = self.orders[&id];
        let event = StopEntered {
            client_order_id: order.client_order_id,
            order: id,
            stop_price: stop_price(&order).map_or(Price::NONE, Price),
            stop_limit,
            account: order.account,
            instrument: order.instrument,
            side: order.side.into(),
            ..StopEntered::blank()
        };
        self.report(order.session, event);
        if let Some(instrument) = self.instruments.get_mut(&order.instrument)
            && instrument.phase == Phase::Continuous
            && let Some(last) = instrument.last_trade_price
            && is_met(&order, last)
        {
            instrument.elected.push_back(id);
        }
    }

    /// A trade was made at this price.
    pub(crate) fn elect_stops(&mut self, id: InstrumentId, price: i64) {
        let Some(instrument) = self.instruments.get_mut(&id) else {
            return;
        };
        for side in [Side::Buy, Side::Sell] {
            let mut met: Vec<&Order> = self
                .orders
                .values()
                .filter(|order| order.instrument == id && order.side == side)
                .filter(|order| is_met(order, price) && !instrument.elected.contains(&order.id))
                .collect();
            met.sort_by_key(|order| {
                let stop = stop_price(order).unwrap_or(0);
                (if side == Side::Buy { stop } else { -stop }, order.id)
            });
            instrument.elected.extend(met.iter().map(|order| order.id));
        }
    }

    /// Trading goes on.
    pub(crate) fn elect_by_last_price(&mut self, id: InstrumentId) {
        if let Some(last) = self.instruments[&id].last_trade_price {
            self.elect_stops(id, last);
        }
    }

    /// Whether a stop order was elected that may come.
    pub(crate) fn has_elected(&self) -> bool {
        let mut open = self.instruments.values().filter(|it| trades(it));
        open.any(|it| !it.elected.is_empty())
    }

    /// Takes the stop order out that comes next.
    pub(crate) fn next_elected(&mut self) -> Option<OrderId> {
        let mut open = self.instruments.values_mut().filter(|it| trades(it));
        open.find_map(|it| it.elected.pop_front())
    }

    pub(crate) fn trigger(&mut self, id: OrderId) {
        let Some(order) = self.orders.get(&id).copied() else {
            return;
        };
        if order.other.is_some() {
            // It is in the book until its turn comes, and then not at its first limit any more.
            self.take_out_of_book(&order);
        }
        let Some(order) = self.orders.get_mut(&id) else {
            return;
        };
        let stop = stop_price(order);
        order.stop = None;
        if let Some(other) = order.other.take() {
            order.limit = other.limit;
            order.order_type = other.order_type;
        }
        let instrument = &self.instruments[&order.instrument];
        order.limit = instrument.within_band(order.side, order.limit, self.now);
        if order.order_type == OrderType::Stop {
            order.order_type = OrderType::Market;
            order.time_in_force = TimeInForce::ImmediateOrCancel;
            order.expires_at = None;
        } else {
            order.order_type = OrderType::Limit;
        }
        let order = *order;
        let flags = match order.post_only {
            true => OrderFlags::POST_ONLY,
            false => OrderFlags::NONE,
        };
        let event = OrderTriggered {
            client_order_id: order.client_order_id,
            order: id,
            price: Price(order.limit),
            quantity: Quantity(order.leaves),
            stop_price: stop.map_or(Price::NONE, Price),
            account: order.account,
            instrument: order.instrument,
            side: order.side.into(),
            order_type: order.order_type.into(),
            time_in_force: order.time_in_force.into(),
            flags,
            ..OrderTriggered::blank()
        };
        self.report(order.session, event);
        self.place(id, 0);
    }
}
