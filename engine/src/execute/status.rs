//! What a live order is at present, for who may cancel it.
//!
//! Always holds: a question changes nothing but the numbers of its session.

use exahour_wire::events::OrderStatus;
use exahour_wire::message::Message;
use exahour_wire::orders::OrderStatusRequest;
use exahour_wire::reject::Reject;
use exahour_wire::units::{Price, Quantity};

use super::Execute;
use crate::batch::EventSink;
use crate::book::Slot;
use crate::pegs::PEGGED;
use crate::reporter::Output;
use crate::trading::PARKED;

impl Execute {
    /// Reports the state of an order of the sender's participant.
    pub(super) fn order_status<S: EventSink>(
        &mut self,
        question: &OrderStatusRequest,
        out: &mut Output<'_, S>,
    ) -> Result<(), Reject> {
        let names = (question.order, question.client_order_id);
        let slot = self.find_own(question.session, names, question.instrument)?;
        let (order, extent) = (self.orders.at(slot), self.orders.extent(slot));
        let leaves = self.orders.open(slot);
        let status = OrderStatus {
            request: question.request,
            client_order_id: order.client_order_id,
            order: order.id,
            price: self.limit_of(slot),
            quantity: extent.total,
            leaves,
            filled: Quantity(extent.total.0 - leaves.0),
            expire_at: extent.expire_at,
            account: self.positions.at(order.position).account,
            instrument: question.instrument,
            entered_by: order.session,
            client_sequence: question.sequence,
            side: order.side.into(),
            time_in_force: order.time_in_force.into(),
            self_trade_prevention: order.self_trade_prevention.into(),
            flags: order.flags.known(),
            stop_price: self.stop_price(slot),
            book_price: match order.flags.contains(PARKED) {
                true => Price::NONE,
                false => order.price,
            },
            ..Message::blank()
        };
        self.reporter.report(out, question.session, status);
        Ok(())
    }

    /// The limit of an order: of a pegged one what it is held at, wherever it stands.
    #[inline]
    pub(super) fn limit_of(&self, slot: Slot) -> Price {
        let order = self.orders.at(slot);
        match order.flags.contains(PEGGED) {
            true => self.orders.held_at(slot),
            false => order.price,
        }
    }

    /// What an order waits for, in the market or not.
    fn stop_price(&self, slot: Slot) -> Price {
        let order = self.orders.at(slot);
        if order.flags.contains(PEGGED) {
            return Price::NONE;
        }
        let instrument = self.positions.at(order.position).instrument;
        let Some(instrument) = self.instruments[instrument.0 as usize].as_ref() else {
            return Price::NONE;
        };
        if let Some(stop_price) = self.stop_price_beside(instrument, slot) {
            return stop_price;
        }
        match &instrument.stops {
            Some(stops) if order.flags.contains(PARKED) => stops.at(order.level).price,
            _ => Price::NONE,
        }
    }
}
