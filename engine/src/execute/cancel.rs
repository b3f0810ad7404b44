//! Cancels, of one order and of many.
//!
//! Always holds: many orders are cancelled by ascending id; each report goes to the session that
//! entered the order.

use exahour_wire::codes::{CancelReason, Scope};
use exahour_wire::events::{CommandDone, OrderCancelled};
use exahour_wire::ids::{ClientOrderId, InstrumentId, OrderId, ParticipantId, SessionId};
use exahour_wire::message::Message;
use exahour_wire::orders::{CancelOrder, MassCancel};
use exahour_wire::reject::Reject;
use exahour_wire::units::Nanos;

use super::{Execute, Instrument, Request};
use crate::batch::EventSink;
use crate::book::{Order, Slot};
use crate::reporter::Output;
use crate::trading::{Joins, PARKED};

impl Execute {
    /// Cancels one order at its participant's request.
    #[inline]
    pub(super) fn cancel_order<S: EventSink>(
        &mut self,
        cancel: &CancelOrder,
        request: Request,
        out: &mut Output<'_, S>,
    ) -> Result<(), Reject> {
        let names = (cancel.order, cancel.client_order_id);
        let slot = self.find_own(cancel.session, names, cancel.instrument)?;
        let owner = self.orders.at(slot).session;
        self.cancel_at(slot, CancelReason::Requested, cancel.request, out);
        if owner != request.session {
            self.done(out, request, 1);
        }
        Ok(())
    }

    /// The order of the session's participant with the exchange's name, or, where that is zero, the
    /// session's own with the sender's name.
    #[inline]
    pub(super) fn find_own(
        &self,
        session: SessionId,
        (id, name): (OrderId, ClientOrderId),
        instrument: InstrumentId,
    ) -> Result<Slot, Reject> {
        let participant = self.participant_of(session);
        let found = if id == OrderId::NONE {
            self.names.find(&self.orders, session, name)
        } else {
            self.orders.find(id)
        };
        found
            .filter(|slot| {
                let order = self.orders.at(*slot);
                order.participant == participant
                    && self.positions.at(order.position).instrument == instrument
            })
            .ok_or(Reject::UnknownOrder)
    }

    /// Cancels the sender's participant's orders within a scope.
    pub(super) fn mass_cancel<S: EventSink>(
        &mut self,
        command: &MassCancel,
        request: Request,
        out: &mut Output<'_, S>,
    ) {
        let participant = self.participant_of(request.session);
        let Some(scope) = command.scope.decode() else {
            return;
        };
        self.select_scope(scope, command.target);
        if scope == Scope::Instrument {
            let orders = &self.orders;
            self.selected
                .retain(|slot| orders.at(*slot).participant == participant);
        }
        let count = self.cancel_selected(CancelReason::MassCancel, Some(request), out);
        self.done(out, request, count);
    }

    /// Cancels all orders of a scope for the exchange's own reasons, and counts them.
    pub(super) fn cancel_scope<S: EventSink>(
        &mut self,
        scope: Scope,
        target: u32,
        reason: CancelReason,
        out: &mut Output<'_, S>,
    ) -> u64 {
        self.select_scope(scope, target);
        self.cancel_selected(reason, None, out)
    }

    /// Cancels what is selected. A request's name goes into the reports of its own session.
    fn cancel_selected<S: EventSink>(
        &mut self,
        reason: CancelReason,
        request: Option<Request>,
        out: &mut Output<'_, S>,
    ) -> u64 {
        let selected = std::mem::take(&mut self.selected);
        for slot in &selected {
            let owner = self.orders.at(*slot).session;
            let name = request
                .filter(|request| request.session == owner)
                .map_or(ClientOrderId::NONE, |request| request.name);
            self.cancel_at(*slot, reason, name, out);
        }
        let count = selected.len() as u64;
        self.selected = selected;
        count
    }

    /// Ends the orders whose day or date is `at`, by ascending id.
    pub(super) fn expire_orders_of<S: EventSink>(&mut self, at: Nanos, out: &mut Output<'_, S>) {
        let orders = &self.orders;
        orders.select(&mut self.selected, |slot, _| {
            orders.extent(slot).expire_at == at
        });
        self.cancel_selected(CancelReason::Expired, None, out);
    }

    /// Ends one order at its date, if it is still there.
    pub(super) fn expire_order<S: EventSink>(
        &mut self,
        id: OrderId,
        at: Nanos,
        out: &mut Output<'_, S>,
    ) {
        let found = self
            .orders
            .find(id)
            .filter(|slot| self.orders.extent(*slot).expire_at == at);
        if let Some(slot) = found {
            self.cancel_at(slot, CancelReason::Expired, ClientOrderId::NONE, out);
        }
    }

    /// Cancels a resting order, wherever it is.
    #[inline]
    pub(super) fn cancel_at<S: EventSink>(
        &mut self,
        slot: Slot,
        reason: CancelReason,
        request: ClientOrderId,
        out: &mut Output<'_, S>,
    ) {
        let position = self.orders.at(slot).position;
        let id = self.positions.at(position).instrument;
        let Some(mut instrument) = self.take_instrument(id) else {
            return;
        };
        self.cancel_resting(&mut instrument, slot, reason, request, out);
        self.put_back(instrument);
    }

    /// Cancels an order that is in a queue, or not in the market yet.
    #[inline]
    pub(super) fn cancel_resting<S: EventSink>(
        &mut self,
        instrument: &mut Instrument,
        slot: Slot,
        reason: CancelReason,
        request: ClientOrderId,
        out: &mut Output<'_, S>,
    ) {
        if self.orders.at(slot).flags.contains(PARKED) {
            self.unpark(instrument, slot);
            self.finish_cancel(instrument, slot, reason, request, out);
            return;
        }
        if let Some(call) = &mut instrument.trading.call {
            call.count_unpriced(self.orders.at(slot), Joins::No);
        }
        self.take_from_book(instrument, slot);
        self.outlook_may_change(instrument, out.time);
        self.finish_cancel(instrument, slot, reason, request, out);
    }

    /// Cancels an order that is in no queue: the one being matched.
    #[inline]
    pub(super) fn cancel_incoming<S: EventSink>(
        &mut self,
        instrument: &mut Instrument,
        slot: Slot,
        reason: CancelReason,
        out: &mut Output<'_, S>,
    ) {
        self.finish_cancel(instrument, slot, reason, ClientOrderId::NONE, out);
    }

    #[inline]
    fn finish_cancel<S: EventSink>(
        &mut self,
        instrument: &mut Instrument,
        slot: Slot,
        reason: CancelReason,
        request: ClientOrderId,
        out: &mut Output<'_, S>,
    ) {
        let order = *self.orders.at(slot);
        self.release(instrument, slot, order.leaves);
        self.report_cancelled(&order, reason, request, out);
        self.forget(instrument, slot);
    }

    #[inline]
    fn report_cancelled<S: EventSink>(
        &mut self,
        order: &Order,
        reason: CancelReason,
        request: ClientOrderId,
        out: &mut Output<'_, S>,
    ) {
        let position = self.positions.at(order.position);
        let cancelled = OrderCancelled {
            client_order_id: order.client_order_id,
            order: order.id,
            request,
            price: order.price,
            quantity: order.leaves,
            account: position.account,
            instrument: position.instrument,
            side: order.side.into(),
            reason: reason.into(),
            ..Message::blank()
        };
        self.activity(order.session, out.time).cancel(reason);
        self.reporter.report(out, order.session, cancelled);
    }

    /// Tells the sender that its command was carried out.
    #[inline]
    pub(super) fn done<S: EventSink>(
        &mut self,
        out: &mut Output<'_, S>,
        request: Request,
        count: u64,
    ) {
        let done = CommandDone {
            request: request.name,
            count,
            client_sequence: request.sequence,
            template: request.template,
            ..Message::blank()
        };
        self.reporter.report(out, request.session, done);
    }

    /// The participant behind a session.
    #[inline]
    pub(super) fn participant_of(&self, session: SessionId) -> ParticipantId {
        self.sessions[session.0 as usize].participant
    }
}
