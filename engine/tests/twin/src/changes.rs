//! Chapter 5, the rest: cancel, replace and mass cancel.
//!
//! Called by `admission`.
//!
//! Always holds: several orders cancelled at once go by ascending order id.

use exahour_wire::codes::{CancelReason, OrderFlags, OrderType, Priority, Scope};
use exahour_wire::events::{OrderReplaced, OrderStatus};
use exahour_wire::ids::{
    AccountId, ClientOrderId, InstrumentId, OrderId, ParticipantId, SessionId,
};
use exahour_wire::message::Message;
use exahour_wire::orders::{CancelOrder, MassCancel, OrderStatusRequest, ReplaceOrder};
use exahour_wire::reject::Reject;
use exahour_wire::units::{Nanos, Price, Quantity};

use crate::admission::{Sender, ensure};
use crate::ledger::Open;
use crate::orders::{
    ensure_collar, ensure_collar_around, ensure_limit, ensure_notional, ensure_phase,
    ensure_quantity, ensure_two_sides,
};
use crate::pegs::Peg;
use crate::stops::stop_price;
use crate::twin::{Order, Twin};

/// Where a scope and a target point.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Covered {
    Session(SessionId),
    Account(AccountId),
    Participant(ParticipantId),
    Instrument(InstrumentId),
}

impl Covered {
    pub(crate) fn new(scope: Scope, target: u32) -> Self {
        match scope {
            Scope::Session => Self::Session(SessionId(target)),
            Scope::Account => Self::Account(AccountId(target)),
            Scope::Participant => Self::Participant(ParticipantId(target)),
            Scope::Instrument => Self::Instrument(InstrumentId(target)),
        }
    }

    pub(crate) fn covers(self, order: &Order) -> bool {
        match self {
            Self::Session(session) => order.session == session,
            Self::Account(account) => order.account == account,
            Self::Participant(participant) => order.participant == participant,
            Self::Instrument(instrument) => order.instrument == instrument,
        }
    }
}

impl Twin {
    /// Live orders that fit, by ascending id.
    pub(crate) fn orders_where(&self, fits: impl Fn(&Order) -> bool) -> Vec<OrderId> {
        let orders = self.orders.values();
        orders
            .filter(|order| fits(order))
            .map(|order| order.id)
            .collect()
    }

    pub(crate) fn cancel_order(
        &mut self,
        sender: &Sender,
        command: &CancelOrder,
    ) -> Result<(), Reject> {
        self.ensure_may_trade(sender)?;
        self.known_instrument(command.instrument)?;
        let names = (command.order, command.client_order_id);
        let order = self.order_meant(sender, names, command.instrument)?;
        self.cancel(order.id, CancelReason::Requested, command.request);
        if order.session != sender.session {
            self.done(sender, 1);
        }
        Ok(())
    }

    /// The order that a cancel or a question means.
    fn order_meant(
        &self,
        sender: &Sender,
        (id, name): (OrderId, ClientOrderId),
        instrument: InstrumentId,
    ) -> Result<Order, Reject> {
        let participant = self.participant_of(sender);
        let found = if id == OrderId::NONE {
            self.order_named(sender.session, name)
        } else {
            let order = self.orders.get(&id);
            order.filter(|order| order.participant == participant)
        };
        found
            .filter(|order| order.instrument == instrument)
            .copied()
            .ok_or(Reject::UnknownOrder)
    }

    pub(crate) fn order_status(
        &mut self,
        sender: &Sender,
        question: &OrderStatusRequest,
    ) -> Result<(), Reject> {
        self.ensure_may_trade(sender)?;
        self.known_instrument(question.instrument)?;
        let names = (question.order, question.client_order_id);
        let order = self.order_meant(sender, names, question.instrument)?;
        let flags = match order.post_only {
            true => OrderFlags::POST_ONLY,
            false => OrderFlags::NONE,
        };
        let event = OrderStatus {
            request: question.request,
            client_order_id: order.client_order_id,
            order: order.id,
            price: Price(order.own_limit()),
            quantity: Quantity(order.total()),
            leaves: Quantity(order.leaves),
            filled: Quantity(order.traded),
            expire_at: order.expires_at.unwrap_or(Nanos(0)),
            account: order.account,
            instrument: order.instrument,
            entered_by: order.session,
            client_sequence: question.sequence,
            side: order.side.into(),
            time_in_force: order.time_in_force.into(),
            self_trade_prevention: order.prevention.into(),
            flags,
            stop_price: stop_price(&order).map_or(Price::NONE, Price),
            book_price: match order.stop.is_some() || order.waits_pegged() {
                true => Price::NONE,
                false => Price(order.limit),
            },
            ..OrderStatus::blank()
        };
        self.report(sender.session, event);
        Ok(())
    }

    pub(crate) fn replace_order(
        &mut self,
        sender: &Sender,
        command: &ReplaceOrder,
    ) -> Result<(), Reject> {
        self.ensure_may_trade(sender)?;
        let instrument = self.known_instrument(command.instrument)?;
        ensure(!self.is_stopped_sender(sender), Reject::KillSwitchEngaged)?;
        ensure_quantity(instrument, command.quantity)?;
        ensure_limit(instrument, command.price)?;
        let order = self.order_to_replace(command)?;
        let stopped = self.is_stopped(Scope::Account, order.account.0);
        ensure(!stopped, Reject::KillSwitchEngaged)?;
        let (price, total) = (command.price.0, command.quantity.0);
        let changed = price != order.own_limit() || total != order.total();
        ensure(changed, Reject::NothingToChange)?;
        if command.client_order_id != order.client_order_id {
            let named = self.order_named(sender.session, command.client_order_id);
            ensure(named.is_none(), Reject::DuplicateClientOrderId)?;
        }
        ensure_phase(&self.instruments[&order.instrument], order.time_in_force)?;
        let priced = ![OrderType::Market, OrderType::Stop].contains(&order.order_type);
        ensure(priced, Reject::UnpricedOrder)?;
        if total <= order.traded {
            let reason = CancelReason::ReplacedToNothing;
            self.cancel(order.id, reason, command.client_order_id);
            return Ok(());
        }
        if let Some(display) = order.display {
            ensure(total <= 100 * display, Reject::DisplayInvalid)?;
        }
        if price != order.own_limit() {
            match order.stop {
                None if order.peg.is_some() => {
                    ensure_collar_around(instrument, price, instrument.reference())?;
                }
                None => ensure_collar(instrument, price)?,
                Some(stop) => ensure_collar_around(instrument, price, stop)?,
            }
        }
        if let Some(other) = order.other {
            ensure_two_sides(order.side, price, other.stop)?;
        }
        let price = match price == order.limit || order.stop.is_some() || order.peg.is_some() {
            true => price,
            false => instrument.within_band(order.side, price, self.now),
        };
        let command = &ReplaceOrder {
            price: Price(price),
            ..*command
        };
        let changed = Order {
            limit: price,
            peg: order.peg.map(|peg| Peg {
                limit: price,
                ..peg
            }),
            ..order
        };
        ensure_notional(instrument, changed.dearest(), total)?;
        let leaves = total - order.traded;
        let before = self.open_orders(order.instrument, order.account);
        let after = self.open_orders_after(&order, changed.dearest(), leaves);
        self.ensure_position_limit(order.instrument, order.account, &after, order.side)?;
        self.ensure_funds(order.instrument, order.account, &before, &after)?;
        self.carry_out_replace(&order, command, leaves);
        Ok(())
    }

    fn order_to_replace(&self, command: &ReplaceOrder) -> Result<Order, Reject> {
        let found = if command.order == OrderId::NONE {
            self.order_named(command.session, command.original)
        } else {
            self.orders.get(&command.order)
        };
        found
            .filter(|order| order.session == command.session)
            .filter(|order| order.instrument == command.instrument)
            .copied()
            .ok_or(Reject::UnknownOrder)
    }

    /// The account's open orders with one of them changed.
    fn open_orders_after(&self, changed: &Order, limit: i64, leaves: u64) -> Vec<Open> {
        let of_account = self.orders.values().filter(|order| {
            order.instrument == changed.instrument && order.account == changed.account
        });
        of_account
            .map(|order| match order.id == changed.id {
                true => Open {
                    side: changed.side,
                    limit,
                    leaves,
                },
                false => Open::from(order),
            })
            .collect()
    }

    fn carry_out_replace(&mut self, order: &Order, command: &ReplaceOrder, leaves: u64) {
        if let Some(peg) = order.peg {
            return self.replace_pegged(order, peg, command, leaves);
        }
        let smaller = command.price.0 == order.limit && leaves < order.leaves;
        let kept = order.stop.is_some() || smaller;
        if !kept {
            self.take_out_of_book(order);
        }
        // A smaller order first loses what it hides; one that loses its place comes with all its lots.
        let hidden = match order.display {
            Some(_) if kept => leaves - order.shown().min(leaves),
            _ => 0,
        };
        self.orders.insert(
            order.id,
            Order {
                client_order_id: command.client_order_id,
                limit: command.price.0,
                leaves,
                hidden,
                ..*order
            },
        );
        self.tell_replaced(order, command, leaves, kept);
        match kept {
            true if order.stop.is_some() => {}
            true => self.call_changed(order.instrument),
            false => self.place(order.id, 0),
        }
    }

    /// Rule 13.6: only fewer lots leave it where it is; else it waits until it is moved.
    fn replace_pegged(&mut self, order: &Order, peg: Peg, command: &ReplaceOrder, leaves: u64) {
        let smaller = command.price.0 == peg.limit && leaves < order.leaves;
        let kept = order.waits_pegged() || smaller;
        if !kept {
            self.let_wait(order.id);
        }
        if let Some(changed) = self.orders.get_mut(&order.id) {
            changed.client_order_id = command.client_order_id;
            changed.leaves = leaves;
            if let Some(peg) = &mut changed.peg {
                peg.limit = command.price.0;
            }
            if changed.waits_pegged() {
                changed.limit = command.price.0;
            }
        }
        self.tell_replaced(order, command, leaves, kept);
    }

    fn tell_replaced(&mut self, order: &Order, command: &ReplaceOrder, leaves: u64, kept: bool) {
        let priority = if kept { Priority::Kept } else { Priority::Lost };
        let event = OrderReplaced {
            client_order_id: command.client_order_id,
            order: order.id,
            original: order.client_order_id,
            price: Price(command.price.0),
            quantity: command.quantity,
            leaves: Quantity(leaves),
            account: order.account,
            instrument: order.instrument,
            side: order.side.into(),
            priority: priority.into(),
            ..OrderReplaced::blank()
        };
        self.report(order.session, event);
    }

    pub(crate) fn mass_cancel(
        &mut self,
        sender: &Sender,
        command: &MassCancel,
    ) -> Result<(), Reject> {
        self.ensure_may_trade(sender)?;
        let scope = command.scope.decode().ok_or(Reject::InvalidScope)?;
        let participant = self.participant_of(sender);
        let covered = Covered::new(scope, command.target);
        match covered {
            Covered::Session(id) => {
                let session = self.sessions.get(&id);
                let own = session.is_some_and(|session| session.participant == participant);
                ensure(own, Reject::UnknownSession)?;
            }
            Covered::Account(id) => self.ensure_account_of(id, participant)?,
            Covered::Participant(id) => ensure(id == participant, Reject::UnknownParticipant)?,
            Covered::Instrument(id) => self.known_instrument(id).map(|_| ())?,
        }
        let orders =
            self.orders_where(|order| order.participant == participant && covered.covers(order));
        for id in &orders {
            let by_sender = self.orders[id].session == sender.session;
            let request = if by_sender {
                command.request
            } else {
                ClientOrderId::NONE
            };
            self.cancel(*id, CancelReason::MassCancel, request);
        }
        self.done(sender, orders.len());
        Ok(())
    }
}
