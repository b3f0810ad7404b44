//! What traded in each contract on the UTC day of its last trade, with trades that are undone later.
//!
//! Called by `event_image` with every trade, bust and correction, in their order.
//!
//! ```text
//! trades of the day:  settled figures (too old to be undone) | recent trades, kept one by one
//! ```
//! Always holds: figures are exactly those of the day's trades as they stand now; memory is bounded by
//! [`TRADES_KEPT`], the trades that the engine may still undo.

use std::collections::{BTreeMap, VecDeque};

use exahour_wire::ids::{InstrumentId, TradeId};
use exahour_wire::limits::TRADES_KEPT;
use exahour_wire::market_data::Statistics;
use exahour_wire::message::Message;
use exahour_wire::units::{Nanos, Price, Quantity};

use super::fault::ImageFault;
use crate::views::pages::{PageReader, PageWriter};

/// A trade as it stands now.
#[derive(Clone, Copy, Debug)]
struct Trade {
    trade: TradeId,
    instrument: InstrumentId,
    /// When its day began.
    day: Nanos,
    price: Price,
    /// Zero once it is busted.
    quantity: Quantity,
}

/// The sums of some trades; prices are none without a trade.
#[derive(Clone, Copy, Debug)]
struct Figures {
    open: Price,
    high: Price,
    low: Price,
    last: Price,
    volume: u64,
    turnover: u128,
    trades: u64,
}

impl Figures {
    const NONE: Figures = Figures {
        open: Price::NONE,
        high: Price::NONE,
        low: Price::NONE,
        last: Price::NONE,
        volume: 0,
        turnover: 0,
        trades: 0,
    };

    fn write(&self, pages: &mut PageWriter) {
        for price in [self.open, self.high, self.low, self.last] {
            pages.signed(price.0);
        }
        pages.number(self.volume);
        pages.wide(self.turnover);
        pages.number(self.trades);
    }

    fn read(pages: &mut PageReader<'_>) -> Option<Self> {
        Some(Self {
            open: Price(pages.signed()?),
            high: Price(pages.signed()?),
            low: Price(pages.signed()?),
            last: Price(pages.signed()?),
            volume: pages.number()?,
            turnover: pages.wide()?,
            trades: pages.number()?,
        })
    }

    fn add(&mut self, price: Price, quantity: Quantity) {
        if self.trades == 0 {
            (self.open, self.high, self.low) = (price, price, price);
        }
        self.high = self.high.max(price);
        self.low = self.low.min(price);
        self.last = price;
        self.volume = self.volume.saturating_add(quantity.0);
        // Trades have prices above zero, and 128 bits hold all that can ever be made.
        let value = u128::from(price.0.unsigned_abs()) * u128::from(quantity.0);
        self.turnover = self.turnover.saturating_add(value);
        self.trades += 1;
    }
}

#[derive(Clone, Copy, Debug)]
struct Contract {
    day: Nanos,
    /// Of the day's trades that cannot be undone any more.
    settled: Figures,
    /// Of all trades of the day.
    all: Figures,
}

/// The statistics of all contracts.
#[derive(Debug, Default)]
pub(super) struct DayStatistics {
    contracts: BTreeMap<InstrumentId, Contract>,
    /// The newest trades of the whole exchange, oldest first.
    recent: VecDeque<Trade>,
}

impl DayStatistics {
    /// Counts a trade; trades come by ascending number.
    pub(super) fn on_trade(
        &mut self,
        time: Nanos,
        instrument: InstrumentId,
        trade: TradeId,
        (price, quantity): (Price, Quantity),
    ) {
        let day = Nanos(time.0 - time.0 % Nanos::DAY.0);
        let fresh = Contract {
            day,
            settled: Figures::NONE,
            all: Figures::NONE,
        };
        let contract = self.contracts.entry(instrument).or_insert(fresh);
        if contract.day != day {
            *contract = fresh;
        }
        contract.all.add(price, quantity);
        self.recent.push_back(Trade {
            trade,
            instrument,
            day,
            price,
            quantity,
        });
        if self.recent.len() > TRADES_KEPT as usize
            && let Some(oldest) = self.recent.pop_front()
        {
            self.settle(&oldest);
        }
    }

    fn settle(&mut self, trade: &Trade) {
        if let Some(contract) = self.contracts.get_mut(&trade.instrument)
            && contract.day == trade.day
            && trade.quantity.0 > 0
        {
            contract.settled.add(trade.price, trade.quantity);
        }
    }

    /// Gives a trade another price and quantity, or takes it away with a quantity of zero.
    ///
    /// # Errors
    /// [`ImageFault::UnknownTrade`] where it is not among the newest trades.
    pub(super) fn on_change(
        &mut self,
        trade: TradeId,
        (price, quantity): (Price, Quantity),
    ) -> Result<(), ImageFault> {
        let unknown = ImageFault::UnknownTrade(trade);
        let place = self.recent.binary_search_by_key(&trade, |it| it.trade);
        let found = self.recent.get_mut(place.map_err(|_| unknown)?);
        let changed = found.ok_or(unknown)?;
        (changed.price, changed.quantity) = (price, quantity);
        let Trade {
            instrument, day, ..
        } = *changed;
        let Some(contract) = self.contracts.get_mut(&instrument) else {
            return Err(unknown);
        };
        if contract.day != day {
            return Ok(());
        }
        contract.all = contract.settled;
        for it in &self.recent {
            if it.instrument == instrument && it.day == day && it.quantity.0 > 0 {
                contract.all.add(it.price, it.quantity);
            }
        }
        Ok(())
    }

    /// Writes all of it.
    pub(super) fn write(&self, pages: &mut PageWriter) {
        pages.count(self.contracts.len());
        for (instrument, contract) in &self.contracts {
            pages.number(instrument.0.into());
            pages.number(contract.day.0);
            contract.settled.write(pages);
            contract.all.write(pages);
        }
        pages.count(self.recent.len());
        for it in &self.recent {
            pages.number(it.trade.0);
            pages.number(it.instrument.0.into());
            pages.number(it.day.0);
            pages.signed(it.price.0);
            pages.number(it.quantity.0);
        }
    }

    /// Reads what was written; `None` where it is nothing of the kind.
    pub(super) fn read(pages: &mut PageReader<'_>) -> Option<Self> {
        const NUMBER: usize = size_of::<u64>();
        let mut statistics = Self::default();
        for _ in 0..pages.count(2 * NUMBER)? {
            let instrument = InstrumentId(pages.small()?);
            let contract = Contract {
                day: Nanos(pages.number()?),
                settled: Figures::read(pages)?,
                all: Figures::read(pages)?,
            };
            statistics.contracts.insert(instrument, contract);
        }
        let recent = pages.count(5 * NUMBER)?;
        if recent > TRADES_KEPT as usize {
            return None;
        }
        for _ in 0..recent {
            statistics.recent.push_back(Trade {
                trade: TradeId(pages.number()?),
                instrument: InstrumentId(pages.small()?),
                day: Nanos(pages.number()?),
                price: Price(pages.signed()?),
                quantity: Quantity(pages.number()?),
            });
        }
        Some(statistics)
    }

    /// The figures of a contract; `None` where it never traded.
    pub(super) fn of(&self, instrument: InstrumentId, time: Nanos) -> Option<Statistics> {
        let Contract { day, all, .. } = self.contracts.get(&instrument)?;
        Some(Statistics {
            time,
            since: *day,
            open: all.open,
            high: all.high,
            low: all.low,
            last: all.last,
            volume: Quantity(all.volume),
            turnover_low: all.turnover as u64,
            turnover_high: (all.turnover >> 64) as u64,
            trades: all.trades,
            instrument,
            ..Statistics::blank()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTRACT: InstrumentId = InstrumentId(1);

    fn at(statistics: &mut DayStatistics, time: u64, trade: u64, price: i64, lots: u64) {
        let made = (Price(price), Quantity(lots));
        statistics.on_trade(Nanos(time), CONTRACT, TradeId(trade), made);
    }

    fn figures(statistics: &DayStatistics) -> ([i64; 4], [u64; 3]) {
        let it = statistics.of(CONTRACT, Nanos(7)).unwrap();
        let turnover = u128::from(it.turnover_high) << 64 | u128::from(it.turnover_low);
        let prices = [it.open, it.high, it.low, it.last];
        let sums = [it.volume.0, turnover as u64, it.trades];
        (prices.map(|price| price.0), sums)
    }

    #[test]
    fn a_trade_that_is_undone_is_gone_also_from_prices() {
        let mut statistics = DayStatistics::default();
        at(&mut statistics, 1, 1, 50, 2);
        at(&mut statistics, 2, 2, 70, 3);
        at(&mut statistics, 3, 3, 60, 4);
        assert_eq!(figures(&statistics), ([50, 70, 50, 60], [9, 550, 3]));
        let gone = (Price(70), Quantity(0));
        statistics.on_change(TradeId(2), gone).unwrap();
        assert_eq!(figures(&statistics), ([50, 60, 50, 60], [6, 340, 2]));
        let corrected = (Price(40), Quantity(1));
        statistics.on_change(TradeId(3), corrected).unwrap();
        assert_eq!(figures(&statistics), ([50, 50, 40, 40], [3, 140, 2]));
        for trade in [1, 3] {
            statistics.on_change(TradeId(trade), gone).unwrap();
        }
        let none = Price::NONE.0;
        assert_eq!(figures(&statistics), ([none; 4], [0, 0, 0]));
        let unknown = statistics.on_change(TradeId(4), gone);
        assert_eq!(unknown, Err(ImageFault::UnknownTrade(TradeId(4))));
    }

    #[test]
    fn a_day_begins_with_its_first_trade_and_yesterday_is_undone_without_a_trace() {
        let mut statistics = DayStatistics::default();
        let day = Nanos::DAY.0;
        at(&mut statistics, day - 1, 1, 50, 2);
        at(&mut statistics, day, 2, 70, 3);
        assert_eq!(statistics.of(CONTRACT, Nanos(0)).unwrap().since, Nanos(day));
        let gone = (Price(50), Quantity(0));
        statistics.on_change(TradeId(1), gone).unwrap();
        assert_eq!(figures(&statistics), ([70, 70, 70, 70], [3, 210, 1]));
    }

    #[test]
    fn trades_beyond_those_kept_still_count() {
        let mut statistics = DayStatistics::default();
        let kept = u64::from(TRADES_KEPT);
        at(&mut statistics, 1, 1, 99, 1);
        at(&mut statistics, 1, 2, 10, 1);
        for trade in 3..kept + 3 {
            at(&mut statistics, 1, trade, 50, 1);
        }
        let gone = (Price(50), Quantity(0));
        statistics.on_change(TradeId(kept + 2), gone).unwrap();
        let sums = [kept + 1, 99 + 10 + 50 * (kept - 1), kept + 1];
        assert_eq!(figures(&statistics), ([99, 99, 10, 50], sums));
        let unknown = statistics.on_change(TradeId(2), gone);
        assert_eq!(unknown, Err(ImageFault::UnknownTrade(TradeId(2))));
    }
}
