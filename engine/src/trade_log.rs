//! The latest trades, so that an operator can still bust or correct one.
//!
//! Called by `execute` for every trade. Trade ids count from one without gap, so a trade's place follows
//! from its id.
//!
//! Always holds: at most so many trades as it was made for, the latest; the room for them is set aside
//! at the start.

use std::collections::VecDeque;

use exahour_wire::ids::{AccountId, InstrumentId, OrderId, SessionId, TradeId};
use exahour_wire::reject::Reject;
use exahour_wire::units::{Nanos, Price, Quantity};

/// One side of a trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Party {
    pub(crate) order: OrderId,
    /// The session that entered the order.
    pub(crate) session: SessionId,
    pub(crate) account: AccountId,
}

/// A trade as it stands now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trade {
    pub(crate) time: Nanos,
    pub(crate) instrument: InstrumentId,
    pub(crate) price: Price,
    /// Lots; zero once it is busted.
    pub(crate) quantity: Quantity,
    pub(crate) buyer: Party,
    pub(crate) seller: Party,
}

/// The latest trades.
pub(crate) struct TradeLog {
    trades: VecDeque<Trade>,
    kept_max: usize,
    /// Trades made so far: the last one's id.
    made: u64,
}

impl TradeLog {
    /// Room for so many.
    pub(crate) fn new(kept_max: u32) -> Self {
        Self {
            trades: VecDeque::with_capacity(kept_max as usize),
            kept_max: kept_max as usize,
            made: 0,
        }
    }

    /// The id of the next trade.
    #[inline]
    pub(crate) fn next_id(&self) -> TradeId {
        TradeId(self.made + 1)
    }

    /// Takes the next trade, and forgets the oldest where there is no more room.
    #[inline]
    pub(crate) fn push(&mut self, trade: Trade) {
        if self.trades.len() == self.kept_max {
            self.trades.pop_front();
        }
        self.trades.push_back(trade);
        self.made += 1;
    }

    /// The trade with this id, if it can still be changed at `now`.
    ///
    /// # Errors
    /// [`Reject::UnknownTrade`], [`Reject::TradeTooOld`], [`Reject::TradeAlreadyBusted`].
    pub(crate) fn open_at(&self, id: TradeId, now: Nanos) -> Result<Trade, Reject> {
        if id == TradeId::NONE || id.0 > self.made {
            return Err(Reject::UnknownTrade);
        }
        let today = now.0 - now.0 % Nanos::DAY.0;
        let yesterday = today.saturating_sub(Nanos::DAY.0);
        let trade = self
            .place(id)
            .and_then(|place| self.trades.get(place))
            .filter(|trade| trade.time.0 >= yesterday)
            .ok_or(Reject::TradeTooOld)?;
        if trade.quantity == Quantity(0) {
            return Err(Reject::TradeAlreadyBusted);
        }
        Ok(*trade)
    }

    /// Changes price and lots of a trade that is kept; no lots: it is busted.
    pub(crate) fn amend(&mut self, id: TradeId, price: Price, quantity: Quantity) {
        let place = self.place(id);
        if let Some(trade) = place.and_then(|place| self.trades.get_mut(place)) {
            trade.price = price;
            trade.quantity = quantity;
        }
    }

    /// The price of the latest trade in an instrument that is kept and not busted.
    pub(crate) fn last_price(&self, instrument: InstrumentId) -> Option<Price> {
        let stands =
            |trade: &&Trade| trade.instrument == instrument && trade.quantity != Quantity(0);
        self.trades
            .iter()
            .rev()
            .find(stands)
            .map(|trade| trade.price)
    }

    fn place(&self, id: TradeId) -> Option<usize> {
        let forgotten = self.made - self.trades.len() as u64;
        let place = id.0.checked_sub(forgotten + 1)?;
        usize::try_from(place).ok()
    }

    /// Trades made so far.
    pub(crate) fn made(&self) -> u64 {
        self.made
    }

    /// All that are kept, the oldest first.
    pub(crate) fn kept(&self) -> impl Iterator<Item = &Trade> {
        self.trades.iter()
    }

    /// Goes on where a snapshot stood; whether so many can be kept, and were made.
    pub(crate) fn resume(&mut self, made: u64, kept: impl Iterator<Item = Trade>) -> bool {
        for trade in kept {
            if self.trades.len() == self.kept_max {
                return false;
            }
            self.trades.push_back(trade);
        }
        self.made = made;
        self.trades.len() as u64 <= made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trade(time: u64, price: i64) -> Trade {
        let party = Party {
            order: OrderId(1),
            session: SessionId(1),
            account: AccountId(100),
        };
        Trade {
            time: Nanos(time),
            instrument: InstrumentId(1),
            price: Price(price),
            quantity: Quantity(5),
            buyer: party,
            seller: party,
        }
    }

    #[test]
    fn the_latest_are_kept_and_named_by_their_ids() {
        let mut log = TradeLog::new(3);
        for price in 1..=5 {
            assert_eq!(log.next_id(), TradeId(price as u64));
            log.push(trade(7, price));
        }
        let price = |id| log.open_at(TradeId(id), Nanos(7)).map(|trade| trade.price);
        assert_eq!(price(0), Err(Reject::UnknownTrade));
        assert_eq!(price(2), Err(Reject::TradeTooOld));
        assert_eq!(price(3), Ok(Price(3)));
        assert_eq!(price(5), Ok(Price(5)));
        assert_eq!(price(6), Err(Reject::UnknownTrade));
    }

    #[test]
    fn a_trade_can_be_changed_until_the_end_of_the_day_after() {
        let day = Nanos::DAY.0;
        let mut log = TradeLog::new(3);
        log.push(trade(5 * day, 1));
        let at = |now| log.open_at(TradeId(1), Nanos(now)).map(|trade| trade.price);
        assert_eq!(at(5 * day), Ok(Price(1)));
        assert_eq!(at(7 * day - 1), Ok(Price(1)));
        assert_eq!(at(7 * day), Err(Reject::TradeTooOld));
    }

    #[test]
    fn the_last_price_is_that_of_the_latest_that_stands() {
        let mut log = TradeLog::new(3);
        log.push(trade(7, 1));
        log.push(trade(7, 2));
        log.amend(TradeId(2), Price(2), Quantity(0));
        assert_eq!(log.last_price(InstrumentId(1)), Some(Price(1)));
        assert_eq!(
            log.open_at(TradeId(2), Nanos(7)),
            Err(Reject::TradeAlreadyBusted)
        );
        log.amend(TradeId(1), Price(9), Quantity(4));
        assert_eq!(log.last_price(InstrumentId(1)), Some(Price(9)));
        assert_eq!(log.last_price(InstrumentId(2)), None);
    }
}
