//! Chapter 12: stop orders, from when they are entered to when they are in the market.
//!
//! Called by `orders` for a new one, by `matching` and `phases` behind each trade, and behind each
//! command and timer.
//!
//! Always holds: an order that waits is in no book; which ones a trade elects is looked up among all.

use exahour_wire::codes::{OrderFlags, OrderType, Phase, Side, TimeInForce};
use exahour_wire::events::OrderTriggered;
use exahour_wire::ids::{InstrumentId, OrderId};
use exahour_wire::message::Message;
use exahour_wire::units::{Nanos, Price, Quantity};

use crate::twin::{Instrument, Order, Twin};

/// How many one command or one timer lets in.
const ELECTIONS: usize = 64;

/// Whether a trade at this price elects a stop order.
fn is_met(order: &Order, price: i64) -> bool {
    match (order.stop, order.side) {
        (None, _) => false,
        (Some(stop), Side::Buy) => price >= stop,
        (Some(stop), Side::Sell) => price <= stop,
    }
}

impl Twin {
    /// A stop order was entered: it waits, or is elected by the last trade already.
    pub(crate) fn park(&mut self, id: OrderId) {
        let order = self.orders[&id];
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
                let stop = order.stop.unwrap_or(0);
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

    /// Lets in what was elected, as much as one command may.
    pub(crate) fn trigger_stops(&mut self) {
        let trades = |it: &Instrument| it.phase == Phase::Continuous && !it.expired;
        for _ in 0..ELECTIONS {
            let open = self.instruments.values_mut().filter(|it| trades(it));
            let Some(next) = open.filter_map(|it| it.elected.pop_front()).next() else {
                return;
            };
            self.trigger(next);
        }
        let mut open = self.instruments.values().filter(|it| trades(it));
        let soon = Nanos(self.now.0.saturating_add(1));
        if open.any(|it| !it.elected.is_empty()) && soon < Nanos::NEVER {
            self.elect_at.get_or_insert(soon);
        }
    }

    fn trigger(&mut self, id: OrderId) {
        let Some(order) = self.orders.get_mut(&id) else {
            return;
        };
        let instrument = &self.instruments[&order.instrument];
        order.limit = instrument.within_band(order.side, order.limit, self.now);
        let stop = order.stop.take();
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
