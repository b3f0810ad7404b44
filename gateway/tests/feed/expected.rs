//! What an image of any depth must hold, worked out the slow way from single orders and single trades.
//!
//! Always holds: nothing here is shared with the images that it checks.

use exahour_gateway::image::{Book, Extras, FeedImage, RestingOrder, Top, TradingState};
use exahour_wire::codes::{FeedDepth, Side};
use exahour_wire::ids::{InstrumentId, TradeId};
use exahour_wire::units::{Nanos, Price, Quantity};

/// A trade as it stands now; busted ones have no lots.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    pub(crate) trade: TradeId,
    pub(crate) instrument: InstrumentId,
    pub(crate) time: Nanos,
    pub(crate) price: Price,
    pub(crate) quantity: Quantity,
}

/// One instrument as it must be.
#[derive(Clone, Debug)]
pub(crate) struct Expected<'a> {
    pub(crate) instrument: InstrumentId,
    /// Its orders, in the order of a walk.
    pub(crate) book: Vec<RestingOrder>,
    /// All trades of the exchange, in the order in which they were made.
    pub(crate) trades: &'a [Made],
    /// How it trades, where that is known.
    pub(crate) state: Option<TradingState>,
    /// What else was said of it, but for the statistics.
    pub(crate) extras: Extras,
}

impl Expected<'_> {
    /// Compares an image with it.
    pub(crate) fn check(&self, image: &FeedImage, context: &str) {
        let context = format!(
            "{context}: {:?} of instrument {}",
            image.depth(),
            self.instrument
        );
        let Some(book) = image.books().book(self.instrument) else {
            // Who joins late hears nothing of what has expired without orders.
            return assert_eq!(self.book, [], "{context}");
        };
        match image.depth() {
            FeedDepth::Orders => {
                let found: Vec<_> = image.books().orders_of(self.instrument).collect();
                assert_eq!(found, self.book, "{context}");
                assert_eq!(levels(book), self.levels(), "{context}");
                assert_eq!(book.top(), self.top(), "{context}");
            }
            FeedDepth::Levels => {
                assert_eq!(levels(book), self.levels(), "{context}");
                assert_eq!(book.top(), self.top(), "{context}");
                assert_eq!(book.orders() as usize, self.book.len(), "{context}");
            }
            FeedDepth::Top => assert_eq!(book.top(), self.top(), "{context}"),
        }
        self.check_extras(book, &context);
    }

    fn check_extras(&self, book: &Book, context: &str) {
        if let Some(state) = self.state {
            assert_eq!(*book.state(), state, "{context}");
        }
        let found = book.extras().statistics.map(|it| {
            let turnover = u128::from(it.turnover_high) << 64 | u128::from(it.turnover_low);
            let prices = [it.open, it.high, it.low, it.last];
            (it.since, prices, it.volume, turnover, it.trades)
        });
        assert_eq!(found, self.statistics(), "{context}");
        let found = Extras {
            statistics: None,
            ..*book.extras()
        };
        assert_eq!(found, self.extras, "{context}");
    }

    fn statistics(&self) -> Option<(Nanos, [Price; 4], Quantity, u128, u64)> {
        let day_of = |made: &Made| made.time.0 / Nanos::DAY.0;
        let own = self.trades.iter();
        let own: Vec<&Made> = own.filter(|it| it.instrument == self.instrument).collect();
        let day = day_of(own.last()?);
        let counted = own.into_iter().filter(|it| day_of(it) == day);
        let counted: Vec<&Made> = counted.filter(|it| it.quantity.0 > 0).collect();
        let prices: Vec<Price> = counted.iter().map(|it| it.price).collect();
        let none = Price::NONE;
        let prices = [
            prices.first().copied().unwrap_or(none),
            prices.iter().max().copied().unwrap_or(none),
            prices.iter().min().copied().unwrap_or(none),
            prices.last().copied().unwrap_or(none),
        ];
        let volume = counted.iter().map(|it| it.quantity.0).sum();
        let value = |it: &&Made| it.price.0 as u128 * u128::from(it.quantity.0);
        let turnover = counted.iter().map(value).sum();
        let since = Nanos(day * Nanos::DAY.0);
        let trades = counted.len() as u64;
        Some((since, prices, Quantity(volume), turnover, trades))
    }

    /// Side, price, lots and orders of every level.
    fn levels(&self) -> Vec<(Side, Price, u64, u32)> {
        let mut levels: Vec<(Side, Price, u64, u32)> = Vec::new();
        for order in &self.book {
            match levels.last_mut() {
                Some((side, price, lots, orders))
                    if (*side, *price) == (order.side, order.price) =>
                {
                    *lots += order.quantity.0;
                    *orders += 1;
                }
                _ => levels.push((order.side, order.price, order.quantity.0, 1)),
            }
        }
        levels
    }

    fn top(&self) -> Top {
        let levels = self.levels();
        let best = |side| levels.iter().find(|level| level.0 == side);
        let mut top = Top::EMPTY;
        if let Some((_, price, lots, _)) = best(Side::Buy) {
            (top.bid_price, top.bid_quantity) = (*price, Quantity(*lots));
        }
        if let Some((_, price, lots, _)) = best(Side::Sell) {
            (top.ask_price, top.ask_quantity) = (*price, Quantity(*lots));
        }
        top
    }
}

fn levels(book: &Book) -> Vec<(Side, Price, u64, u32)> {
    let sides = [Side::Buy, Side::Sell];
    let levels = sides.into_iter().flat_map(|side| {
        let levels = book.levels(side);
        levels.map(move |level| (side, level.price, level.quantity.0, level.orders))
    });
    levels.collect()
}
