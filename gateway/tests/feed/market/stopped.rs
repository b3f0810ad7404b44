//! One-cancels-other orders of the naive exchange: they stand in the book until they are triggered.

use exahour_wire::codes::{OrderType, TimeInForce};
use exahour_wire::events::{OrderAccepted, OrderTriggered, StopEntered};
use exahour_wire::ids::SessionId;
use exahour_wire::message::Message;
use exahour_wire::units::{Price, Quantity};
use rand::RngExt;

use super::{Market, Order, account_of, participant_of};

impl Market {
    /// Enters an order whose stop price may have been reached already.
    pub(super) fn enter_one_cancels_other(&mut self, order: Order) {
        let order = Order {
            stopped: true,
            ..order
        };
        event!(
            self,
            order.session,
            OrderAccepted {
                order: order.order,
                price: order.price,
                quantity: Quantity(order.open),
                account: account_of(participant_of(order.session)),
                instrument: order.instrument,
                side: order.side.into(),
                order_type: OrderType::OneCancelsOther.into(),
                time_in_force: TimeInForce::GoodTillCancelled.into(),
            }
        );
        event!(
            self,
            order.session,
            StopEntered {
                order: order.order,
                stop_price: Price(100),
                stop_limit: Price::NONE,
                account: account_of(participant_of(order.session)),
                instrument: order.instrument,
                side: order.side.into(),
            }
        );
        self.take(order, false);
        let stands = self.orders.iter().rposition(|it| it.order == order.order);
        if let Some(place) = stands.filter(|_| self.chance(4)) {
            self.trigger(place);
        }
    }

    pub(super) fn trigger_any(&mut self) {
        let stopped = |order: &Order| order.stopped;
        match self.orders.iter().position(stopped) {
            Some(place) => self.trigger(place),
            None => self.list_or_nothing(),
        }
    }

    /// Takes an order out of the book from which it comes again at another price.
    fn trigger(&mut self, place: usize) {
        let mut order = self.orders.remove(place);
        let immediate = self.chance(2);
        order.price = Price(self.rng.random_range(95..=105));
        order.stopped = false;
        event!(
            self,
            order.session,
            OrderTriggered {
                order: order.order,
                price: order.price,
                quantity: Quantity(order.open),
                stop_price: Price(100),
                account: account_of(participant_of(order.session)),
                instrument: order.instrument,
                side: order.side.into(),
            }
        );
        self.take(order, immediate);
    }
}
