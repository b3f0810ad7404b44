//! Mass quotes: each side becomes an order of its session, under a name that says where it stands.
//!
//! There is no table of quotes: the quote of a session in a contract is its live order with that name,
//! so whatever finds, cancels or counts orders knows quotes.
//!
//! Always holds: sides are carried out one after the other, each as the order, replace or cancel that
//! it amounts to; one that is refused leaves its former order as it was, and from behaviour 2 on the other
//! side does not trade with that.

use exahour_wire::codes::{CancelReason, OrderType, Side, TimeInForce};
use exahour_wire::events::OrderRejected;
use exahour_wire::ids::{ClientOrderId, InstrumentId, OrderId};
use exahour_wire::message::Message;
use exahour_wire::orders::{MassQuote, NewOrder, Quote, ReplaceOrder};
use exahour_wire::reject::Reject;

use super::{Execute, Request};
use crate::admit::QuoteFaults;
use crate::batch::EventSink;
use crate::behaviour::QUOTES_KEEP_APART;
use crate::book::{BESIDE, Slot};
use crate::pegs::PEGGED;
use crate::reporter::Output;
use crate::trading::PARKED;

impl Execute {
    /// Carries out every side that has nothing wrong, and counts those.
    pub(super) fn mass_quote<S: EventSink>(
        &mut self,
        command: &MassQuote,
        faults: QuoteFaults,
        request: Request,
        out: &mut Output<'_, S>,
    ) {
        let mut count = 0;
        for (place, quote) in command.quotes().iter().enumerate() {
            if quote.instrument == InstrumentId::NONE {
                continue;
            }
            let mut refused = None;
            for side in self.order_of_sides(command, quote) {
                let result = match faults.of(place, side) {
                    Some(fault) => Err(fault),
                    None if self.meets_what_stays(refused, command, quote, side) => {
                        Err(Reject::CrossedQuote)
                    }
                    None => self.quote_side(command, quote, side, request, out),
                };
                match result {
                    Ok(()) => count += 1,
                    Err(reject) => {
                        refused = Some(side);
                        self.refuse_side(quote.instrument, side, reject, request, out);
                    }
                }
            }
        }
        self.done(out, request, count);
    }

    /// The bid first, unless it would meet the offer that is about to move away from it.
    fn order_of_sides(&self, command: &MassQuote, quote: &Quote) -> [Side; 2] {
        let offer = self.former_quote(command, quote, Side::Sell).ok().flatten();
        let meets = offer.is_some_and(|slot| self.orders.at(slot).price <= quote.bid_price);
        if quote.bid_quantity.0 > 0 && meets {
            [Side::Sell, Side::Buy]
        } else {
            [Side::Buy, Side::Sell]
        }
    }

    /// Whether lots of this side would trade with the former order of the other one, which stays because
    /// that side was refused.
    fn meets_what_stays(
        &self,
        refused: Option<Side>,
        command: &MassQuote,
        quote: &Quote,
        side: Side,
    ) -> bool {
        let (price, quantity) = quote.side(side);
        let Some(other) = refused.filter(|_| self.in_force.has(QUOTES_KEEP_APART)) else {
            return false;
        };
        let stays = self.former_quote(command, quote, other).ok().flatten();
        let meets = |slot| match side {
            Side::Buy => self.orders.at(slot).price <= price,
            Side::Sell => self.orders.at(slot).price >= price,
        };
        quantity.0 > 0 && stays.is_some_and(meets)
    }

    fn quote_side<S: EventSink>(
        &mut self,
        command: &MassQuote,
        quote: &Quote,
        side: Side,
        request: Request,
        out: &mut Output<'_, S>,
    ) -> Result<(), Reject> {
        let (_, quantity) = quote.side(side);
        let former = self.former_quote(command, quote, side)?;
        match former {
            None if quantity.0 == 0 => Ok(()),
            None => self.new_order(&entered(command, quote, side), out),
            Some(slot) if quantity.0 == 0 => {
                self.cancel_at(slot, CancelReason::Requested, request.name, out);
                Ok(())
            }
            Some(slot) => self.requote(slot, command, quote, side, out),
        }
    }

    /// The live order of this side, if there is one; another order may have its name.
    fn former_quote(
        &self,
        command: &MassQuote,
        quote: &Quote,
        side: Side,
    ) -> Result<Option<Slot>, Reject> {
        let name = ClientOrderId::of_quote(quote.instrument, side);
        let Some(slot) = self.names.find(&self.orders, command.session, name) else {
            return Ok(None);
        };
        let order = self.orders.at(slot);
        let position = self.positions.at(order.position);
        let same = order.side == side
            && order.flags.0 & (PARKED.0 | PEGGED.0 | BESIDE.0) == 0
            && position.instrument == quote.instrument
            && position.account == command.account;
        match same {
            true => Ok(Some(slot)),
            false => Err(Reject::DuplicateClientOrderId),
        }
    }

    /// Changes a side: what has traded of it counts no more, so that its lots are those to be open.
    fn requote<S: EventSink>(
        &mut self,
        slot: Slot,
        command: &MassQuote,
        quote: &Quote,
        side: Side,
        out: &mut Output<'_, S>,
    ) -> Result<(), Reject> {
        let (price, quantity) = quote.side(side);
        let (leaves, total) = (self.orders.open(slot), self.orders.extent(slot).total);
        let placed = match &mut self.instruments[quote.instrument.0 as usize] {
            Some(instrument) => instrument.within_band(side, price, out.time),
            None => price,
        };
        let stays = [price, placed].contains(&self.orders.at(slot).price);
        if stays && leaves == quantity {
            return Ok(());
        }
        let name = ClientOrderId::of_quote(quote.instrument, side);
        let replace = ReplaceOrder {
            session: command.session,
            sequence: command.sequence,
            client_order_id: name,
            order: OrderId::NONE,
            original: name,
            price,
            quantity,
            instrument: quote.instrument,
            ..ReplaceOrder::blank()
        };
        self.orders.extent_mut(slot).total = leaves;
        let result = self.replace_order(&replace, out);
        if result.is_err() {
            self.orders.extent_mut(slot).total = total;
        }
        result
    }

    fn refuse_side<S: EventSink>(
        &mut self,
        instrument: InstrumentId,
        side: Side,
        reject: Reject,
        request: Request,
        out: &mut Output<'_, S>,
    ) {
        self.activity(request.session, out.time).rejects += 1;
        let rejected = OrderRejected {
            client_order_id: ClientOrderId::of_quote(instrument, side),
            instrument,
            client_sequence: request.sequence,
            template: request.template,
            reason: reject.into(),
            ..Message::blank()
        };
        self.reporter.report(out, request.session, rejected);
    }
}

/// The order that a side becomes where there was none.
fn entered(command: &MassQuote, quote: &Quote, side: Side) -> NewOrder {
    let (price, quantity) = quote.side(side);
    NewOrder {
        session: command.session,
        sequence: command.sequence,
        client_order_id: ClientOrderId::of_quote(quote.instrument, side),
        price,
        quantity,
        account: command.account,
        instrument: quote.instrument,
        side: side.into(),
        order_type: OrderType::Limit.into(),
        time_in_force: TimeInForce::GoodTillCancelled.into(),
        self_trade_prevention: command.self_trade_prevention,
        flags: command.flags,
        ..NewOrder::blank()
    }
}
