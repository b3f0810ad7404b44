//! The price of every 30 s: what the trades of an interval cost on average.
//!
//! Matching stays continuous; an interval's price is known when it is over.
//!
//! Always holds: at most the interval under way and the prices of the last 300 s are kept, and the
//! newest that is older. An interval without a trade has no price.

use std::collections::VecDeque;

use exahour_wire::units::{Nanos, Price, Quantity};

use super::window::WINDOW;

/// The length of an interval; intervals begin at whole multiples of it.
pub const INTERVAL: Nanos = Nanos(30 * Nanos::SECOND.0);

/// An interval that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntervalPrice {
    /// When it ended.
    pub end: Nanos,
    /// What a lot cost on average, weighted by lots, rounded down.
    pub price: Price,
    /// The price of the last trade.
    pub last: Price,
    /// Lots that traded.
    pub volume: Quantity,
    /// How many trades.
    pub trades: u64,
}

/// The interval under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) end: Nanos,
    /// Price times lots, summed.
    pub(crate) value: u128,
    pub(crate) lots: u64,
    pub(crate) trades: u64,
    pub(crate) last: Price,
}

/// The intervals of one instrument.
#[derive(Clone, Debug, Default)]
pub struct Intervals {
    pub(crate) running: Option<Running>,
    /// Ends and prices, oldest first.
    pub(crate) past: VecDeque<(Nanos, Price)>,
}

/// The end of the interval that holds a time.
fn end_of(now: Nanos) -> Nanos {
    let begin = now.0 - now.0 % INTERVAL.0;
    Nanos(begin).after(INTERVAL)
}

impl Intervals {
    /// Counts a trade; gives the end of its interval where it is the first of it. An interval that
    /// is over must have been closed before.
    pub fn record(&mut self, now: Nanos, price: Price, lots: Quantity) -> Option<Nanos> {
        let value = u128::from(price.0.unsigned_abs()) * u128::from(lots.0);
        if let Some(running) = &mut self.running {
            running.value += value;
            running.lots = running.lots.saturating_add(lots.0);
            running.trades += 1;
            running.last = price;
            return None;
        }
        let end = end_of(now);
        self.running = Some(Running {
            end,
            value,
            lots: lots.0,
            trades: 1,
            last: price,
        });
        Some(end)
    }

    /// Ends the interval under way, if it is over.
    pub fn close(&mut self, now: Nanos) -> Option<IntervalPrice> {
        let over = self.running.take_if(|running| running.end <= now)?;
        // A weighted mean of prices is within their range.
        let price = Price((over.value / u128::from(over.lots.max(1))) as i64);
        self.past.push_back((over.end, price));
        let anchor_before = Nanos(now.0.saturating_sub(WINDOW.0));
        while self
            .past
            .get(1)
            .is_some_and(|(end, _)| *end <= anchor_before)
        {
            self.past.pop_front();
        }
        Some(IntervalPrice {
            end: over.end,
            price,
            last: over.last,
            volume: Quantity(over.lots),
            trades: over.trades,
        })
    }

    /// The price of the newest interval that had ended 300 s before `now`.
    #[must_use]
    pub fn anchor(&self, now: Nanos) -> Option<Price> {
        let before = Nanos(now.0.checked_sub(WINDOW.0)?);
        let ended = self.past.iter().rev().find(|(end, _)| *end <= before);
        ended.map(|(_, price)| *price)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = Nanos::SECOND.0;

    #[test]
    fn an_interval_has_the_mean_of_its_lots_when_it_is_over() {
        let mut intervals = Intervals::default();
        let at = |seconds: u64| Nanos(seconds * SECOND);
        assert_eq!(
            intervals.record(at(31), Price(100), Quantity(1)),
            Some(at(60))
        );
        assert_eq!(intervals.record(at(59), Price(103), Quantity(3)), None);
        assert_eq!(intervals.close(Nanos(at(60).0 - 1)), None);
        let closed = intervals.close(at(60)).unwrap();
        assert_eq!((closed.price, closed.last), (Price(102), Price(103)));
        assert_eq!((closed.volume, closed.trades), (Quantity(4), 2));
        assert_eq!(intervals.close(at(90)), None);
        assert_eq!(
            intervals.record(at(60), Price(7), Quantity(1)),
            Some(at(90))
        );
    }

    #[test]
    fn the_anchor_is_the_newest_price_that_is_old_enough_and_it_stays() {
        let mut intervals = Intervals::default();
        for number in 0..1_000 {
            let now = Nanos(number * INTERVAL.0);
            intervals.record(now, Price(number as i64 + 1), Quantity(1));
            let end = now.after(INTERVAL);
            intervals.close(end);
            assert!(intervals.past.len() <= 12, "{}", intervals.past.len());
            // Ten intervals are 300 s.
            let anchor = number
                .checked_sub(10)
                .map(|number| Price(number as i64 + 1));
            assert_eq!(intervals.anchor(end), anchor);
        }
        let much_later = Nanos(u64::MAX);
        assert_eq!(intervals.anchor(much_later), Some(Price(1_000)));
    }
}
