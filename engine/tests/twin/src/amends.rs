//! Chapter 6, trades that should not have been: busts and corrections.
//!
//! Called by `admission`. The two sides make the opposite trade in a copy of the whole exchange, and
//! the trade anew where it is corrected; if somebody could not have afforded that, the copy is dropped.
//!
//! Always holds: every trade that was ever made is remembered here; the rules say which count.

use exahour_wire::codes::{Permissions, Side};
use exahour_wire::events::{TradeBusted, TradeCorrected};
use exahour_wire::ids::{AccountId, InstrumentId, OrderId, SessionId, TradeId};
use exahour_wire::limits::TRADES_KEPT;
use exahour_wire::message::Message;
use exahour_wire::operations::{BustTrade, CorrectTrade};
use exahour_wire::reject::Reject;
use exahour_wire::units::{Nanos, Price, Quantity};

use crate::admission::{Sender, ensure};
use crate::ledger::lots_open;
use crate::orders::ensure_limit;
use crate::twin::{Order, Twin, position_cap};

/// One side of a trade.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Party {
    side: Side,
    order: OrderId,
    session: SessionId,
    account: AccountId,
}

impl Party {
    pub(crate) fn new(order: &Order) -> Self {
        Self {
            side: order.side,
            order: order.id,
            session: order.session,
            account: order.account,
        }
    }
}

/// A trade as it stands now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Trade {
    pub(crate) at: Nanos,
    pub(crate) instrument: InstrumentId,
    pub(crate) price: i64,
    pub(crate) lots: u64,
    /// Maker and taker.
    pub(crate) parties: [Party; 2],
    pub(crate) busted: bool,
}

impl Trade {
    fn party(&self, side: Side) -> Party {
        match self.parties[0].side == side {
            true => self.parties[0],
            false => self.parties[1],
        }
    }
}

impl Twin {
    pub(crate) fn bust_trade(
        &mut self,
        sender: &Sender,
        command: &BustTrade,
    ) -> Result<(), Reject> {
        self.ensure_may(sender, Permissions::OPERATOR)?;
        let trade = self.changeable_trade(command.trade)?;
        let told = |party: Party| TradeBusted {
            trade: command.trade,
            order: party.order,
            price: Price(trade.price),
            quantity: Quantity(trade.lots),
            account: party.account,
            instrument: trade.instrument,
            side: party.side.into(),
            ..TradeBusted::blank()
        };
        let mut without = self.clone();
        for side in [Side::Buy, Side::Sell] {
            let party = trade.party(side);
            without.report(party.session, told(party));
        }
        without.trade_back(command.trade, &trade);
        without.trades[command.trade.0 as usize - 1].busted = true;
        self.adopt(without, &trade)?;
        self.done(sender, 0);
        Ok(())
    }

    pub(crate) fn correct_trade(
        &mut self,
        sender: &Sender,
        command: &CorrectTrade,
    ) -> Result<(), Reject> {
        self.ensure_may(sender, Permissions::OPERATOR)?;
        let trade = self.changeable_trade(command.trade)?;
        ensure_limit(&self.instruments[&trade.instrument], command.price)?;
        let lots = command.quantity.0;
        ensure(lots > 0, Reject::QuantityZero)?;
        ensure(lots <= trade.lots, Reject::QuantityTooLarge)?;
        let changes = command.price.0 != trade.price || lots != trade.lots;
        ensure(changes, Reject::NothingToChange)?;
        let told = |party: Party| TradeCorrected {
            trade: command.trade,
            order: party.order,
            price_before: Price(trade.price),
            quantity_before: Quantity(trade.lots),
            price: command.price,
            quantity: command.quantity,
            account: party.account,
            instrument: trade.instrument,
            side: party.side.into(),
            ..TradeCorrected::blank()
        };
        let mut other = self.clone();
        for side in [Side::Buy, Side::Sell] {
            let party = trade.party(side);
            other.report(party.session, told(party));
        }
        other.trade_back(command.trade, &trade);
        let accounts = (
            trade.party(Side::Buy).account,
            trade.party(Side::Sell).account,
        );
        let terms = (command.price.0, lots);
        other.settle_trade(trade.instrument, accounts, terms, command.trade);
        let anew = &mut other.trades[command.trade.0 as usize - 1];
        (anew.price, anew.lots) = terms;
        self.adopt(other, &trade)?;
        self.done(sender, 0);
        Ok(())
    }

    /// The trade, if it is not too late to change it.
    fn changeable_trade(&self, id: TradeId) -> Result<Trade, Reject> {
        let made = self.trades.len() as u64;
        ensure((1..=made).contains(&id.0), Reject::UnknownTrade)?;
        let trade = self.trades[id.0 as usize - 1];
        let day_of = |time: Nanos| time.0 / Nanos::DAY.0;
        let recent = id.0 + u64::from(TRADES_KEPT) > made;
        let young = day_of(trade.at) + 1 >= day_of(self.now);
        ensure(recent && young, Reject::TradeTooOld)?;
        ensure(!trade.busted, Reject::TradeAlreadyBusted)?;
        let expired = self.instruments[&trade.instrument].expired;
        ensure(!expired, Reject::InstrumentClosed)?;
        Ok(trade)
    }

    /// The seller buys back what the buyer sells back, at the same price.
    fn trade_back(&mut self, id: TradeId, trade: &Trade) {
        let accounts = (
            trade.party(Side::Sell).account,
            trade.party(Side::Buy).account,
        );
        self.settle_trade(trade.instrument, accounts, (trade.price, trade.lots), id);
    }

    /// Becomes the other exchange, if both sides can bear it.
    fn adopt(&mut self, mut other: Self, trade: &Trade) -> Result<(), Reject> {
        let cap = position_cap(&self.instruments[&trade.instrument].definition);
        for side in [Side::Buy, Side::Sell] {
            let account = trade.party(side).account;
            // Who has fewer lots of the side may come to hold more of the other one.
            let at_worst = |twin: &Self| {
                let open = lots_open(
                    &twin.open_orders(trade.instrument, account),
                    side.opposite(),
                );
                match side {
                    Side::Buy => open - twin.position(trade.instrument, account),
                    Side::Sell => open + twin.position(trade.instrument, account),
                }
            };
            let (before, after) = (at_worst(self), at_worst(&other));
            ensure(after <= before || after <= cap, Reject::PositionLimit)?;
            let (before, after) = (self.available(account), other.available(account));
            ensure(after >= before || after >= 0, Reject::BalanceTooLow)?;
        }
        let kept = (other.trades.len()).saturating_sub(TRADES_KEPT as usize);
        let stands = |made: &&Trade| made.instrument == trade.instrument && !made.busted;
        let last = other.trades[kept..].iter().rev().find(stands);
        let last_price = last.map(|made| made.price);
        if let Some(instrument) = other.instruments.get_mut(&trade.instrument) {
            instrument.last_trade_price = last_price;
        }
        *self = other;
        Ok(())
    }
}
