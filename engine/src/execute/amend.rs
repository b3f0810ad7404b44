//! Busts and corrections: a trade that should not have been, or not so.
//!
//! Positions are carried at the settlement price, so the opposite trade at the same price takes back
//! exactly what the trade and every mark since then have moved. A correction then makes it anew.
//!
//! Always holds: longs equal shorts and the clearing account is empty again; whose free funds would
//! fall must still have some, so nobody is driven into debt by it.

use exahour_wire::codes::Side;
use exahour_wire::events::{TradeBusted, TradeCorrected};
use exahour_wire::ids::TradeId;
use exahour_wire::message::Message;
use exahour_wire::operations::CorrectTrade;
use exahour_wire::reject::Reject;
use exahour_wire::units::{Price, Quantity};

use super::{Execute, Instrument, Request};
use crate::batch::EventSink;
use crate::by_side::signed;
use crate::positions::Position;
use crate::reporter::Output;
use crate::terms::Terms;
use crate::trade_log::{Party, Trade};

/// What a trade becomes; no lots: it never was.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Amended {
    price: Price,
    quantity: Quantity,
}

impl Execute {
    /// Undoes a trade.
    pub(super) fn bust_trade<S: EventSink>(
        &mut self,
        id: TradeId,
        request: Request,
        out: &mut Output<'_, S>,
    ) -> Result<(), Reject> {
        let trade = self.trade_log.open_at(id, out.time)?;
        let amended = Amended {
            price: trade.price,
            quantity: Quantity(0),
        };
        self.amend_trade(id, &trade, request, out, |_| Ok(amended))
    }

    /// Undoes a trade and makes it anew.
    pub(super) fn correct_trade<S: EventSink>(
        &mut self,
        command: &CorrectTrade,
        request: Request,
        out: &mut Output<'_, S>,
    ) -> Result<(), Reject> {
        let trade = self.trade_log.open_at(command.trade, out.time)?;
        self.amend_trade(command.trade, &trade, request, out, |terms| {
            terms.check_limit(command.price)?;
            if command.quantity == Quantity(0) {
                return Err(Reject::QuantityZero);
            }
            if command.quantity > trade.quantity {
                return Err(Reject::QuantityTooLarge);
            }
            if (command.price, command.quantity) == (trade.price, trade.quantity) {
                return Err(Reject::NothingToChange);
            }
            Ok(Amended {
                price: command.price,
                quantity: command.quantity,
            })
        })
    }

    fn amend_trade<S: EventSink>(
        &mut self,
        id: TradeId,
        trade: &Trade,
        request: Request,
        out: &mut Output<'_, S>,
        amended: impl FnOnce(&Terms) -> Result<Amended, Reject>,
    ) -> Result<(), Reject> {
        let mut instrument = self
            .take_instrument(trade.instrument)
            .ok_or(Reject::UnknownInstrument)?;
        let result = if instrument.expired {
            Err(Reject::InstrumentClosed)
        } else {
            amended(&instrument.terms)
                .and_then(|amended| self.check_and_amend(&mut instrument, id, trade, amended, out))
        };
        self.put_back(instrument);
        if result.is_ok() {
            self.done(out, request, 0);
        }
        result
    }

    fn check_and_amend<S: EventSink>(
        &mut self,
        instrument: &mut Instrument,
        id: TradeId,
        trade: &Trade,
        amended: Amended,
        out: &mut Output<'_, S>,
    ) -> Result<(), Reject> {
        // Of a trade with itself an account has nothing: not more, and not less.
        if trade.buyer.account != trade.seller.account {
            let bought = self.check_side(instrument, trade, amended, Side::Buy)?;
            let sold = self.check_side(instrument, trade, amended, Side::Sell)?;
            for (slot, after, more) in [bought, sold] {
                *self.positions.at_mut(slot) = after;
                self.ledger.lock(after.account, more);
            }
        }
        self.trade_log.amend(id, amended.price, amended.quantity);
        instrument.last_trade = self.trade_log.last_price(instrument.id);
        self.tell_amended((id, trade), amended, Side::Buy, trade.buyer, out);
        self.tell_amended((id, trade), amended, Side::Sell, trade.seller, out);
        let (buyer, seller) = (trade.buyer.account, trade.seller.account);
        let opposite = (seller, buyer);
        self.move_margin(instrument, opposite, trade.price, trade.quantity, id, out);
        let anew = (buyer, seller);
        self.move_margin(instrument, anew, amended.price, amended.quantity, id, out);
        Ok(())
    }

    /// What becomes of the position of one side and what it locks beyond before, if that may be.
    fn check_side(
        &self,
        instrument: &Instrument,
        trade: &Trade,
        amended: Amended,
        side: Side,
    ) -> Result<(u32, Position, i128), Reject> {
        let party = match side {
            Side::Buy => trade.buyer,
            Side::Sell => trade.seller,
        };
        let (terms, settlement) = (&instrument.terms, instrument.settlement);
        let slot = self
            .positions
            .find(party.account, instrument.id)
            .ok_or(Reject::UnknownTrade)?;
        let before = *self.positions.at(slot);
        let mut after = before;
        let lots = trade.quantity.0 - amended.quantity.0;
        after.trade(side.opposite(), lots);
        // The account's own limit binds its own orders; only what can still be marked binds all.
        let worst = after.worst(side.opposite());
        if lots > 0 && worst > terms.position_cap.0.cast_signed() {
            return Err(Reject::PositionLimit);
        }
        after.lock = after.required(terms, settlement);
        let more = after.lock - before.lock;
        let paid = |price: Price, quantity: Quantity| {
            let distance = i128::from(signed(side, price.0 - settlement.0));
            distance * i128::from(quantity.0) * i128::from(terms.hours.0)
        };
        let received = paid(trade.price, trade.quantity) - paid(amended.price, amended.quantity);
        let change = received - more;
        if change < 0 && self.ledger.available(party.account) + change < 0 {
            return Err(Reject::BalanceTooLow);
        }
        Ok((slot, after, more))
    }

    fn tell_amended<S: EventSink>(
        &mut self,
        (id, trade): (TradeId, &Trade),
        amended: Amended,
        side: Side,
        party: Party,
        out: &mut Output<'_, S>,
    ) {
        if amended.quantity == Quantity(0) {
            let busted = TradeBusted {
                trade: id,
                order: party.order,
                price: trade.price,
                quantity: trade.quantity,
                account: party.account,
                instrument: trade.instrument,
                side: side.into(),
                ..Message::blank()
            };
            self.reporter.report(out, party.session, busted);
            return;
        }
        let corrected = TradeCorrected {
            trade: id,
            order: party.order,
            price_before: trade.price,
            quantity_before: trade.quantity,
            price: amended.price,
            quantity: amended.quantity,
            account: party.account,
            instrument: trade.instrument,
            side: side.into(),
            ..Message::blank()
        };
        self.reporter.report(out, party.session, corrected);
    }
}
