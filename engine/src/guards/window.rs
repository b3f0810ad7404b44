//! The lowest, the highest and the mean price of the trades of the last 300 s.
//!
//! Trades are kept by the whole second, so 301 entries are enough for any number of them:
//!
//! ```text
//! second     n-301   n-300 .. n-1   n
//!            gone    all of these count
//! ```
//! Always holds: a trade counts for at least 300 s and less than 301 s.

use std::collections::VecDeque;

use exahour_wire::units::{Nanos, Price};

/// How long a trade counts.
pub const WINDOW: Nanos = Nanos(300 * Nanos::SECOND.0);

const SECONDS: u64 = WINDOW.0 / Nanos::SECOND.0;

/// The trades of one second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Second {
    pub(crate) number: u64,
    pub(crate) low: Price,
    pub(crate) high: Price,
    /// The sum of their prices.
    pub(crate) sum: u128,
    pub(crate) count: u64,
}

/// The trades of the last 300 s.
#[derive(Clone, Debug, Default)]
pub struct Window {
    seconds: VecDeque<Second>,
    /// The extremes of all seconds; meaningless while there is none.
    low: Price,
    high: Price,
    /// The sum of all prices, and how many there are.
    sum: u128,
    count: u64,
}

impl Window {
    /// Counts a trade.
    pub fn record(&mut self, now: Nanos, price: Price) {
        self.forget(now);
        let value = u128::from(price.0.unsigned_abs());
        self.sum += value;
        self.count += 1;
        let number = now.0 / Nanos::SECOND.0;
        let empty = self.seconds.is_empty();
        match self.seconds.back_mut() {
            Some(last) if last.number == number => {
                last.low = last.low.min(price);
                last.high = last.high.max(price);
                last.sum += value;
                last.count += 1;
            }
            _ => self.seconds.push_back(Second {
                number,
                low: price,
                high: price,
                sum: value,
                count: 1,
            }),
        }
        if empty {
            (self.low, self.high) = (price, price);
        } else {
            (self.low, self.high) = (self.low.min(price), self.high.max(price));
        }
    }

    /// The lowest and the highest price, where there was a trade.
    pub fn extremes(&mut self, now: Nanos) -> Option<(Price, Price)> {
        self.forget(now);
        (!self.seconds.is_empty()).then_some((self.low, self.high))
    }

    /// The mean price of a trade, rounded down, where there was one.
    pub fn mean(&mut self, now: Nanos) -> Option<Price> {
        self.forget(now);
        let mean = self.sum.checked_div(u128::from(self.count))?;
        // The mean of prices is within their range.
        Some(Price(mean as i64))
    }

    /// Forgets every trade.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The seconds with trades, oldest first.
    pub(crate) fn seconds(&self) -> impl Iterator<Item = &Second> {
        self.seconds.iter()
    }

    /// The window that held these seconds, oldest first.
    pub(crate) fn of(seconds: impl Iterator<Item = Second>) -> Self {
        let seconds: VecDeque<Second> = seconds.collect();
        let low = seconds.iter().map(|second| second.low).min();
        let high = seconds.iter().map(|second| second.high).max();
        Self {
            low: low.unwrap_or_default(),
            high: high.unwrap_or_default(),
            sum: seconds.iter().map(|second| second.sum).sum(),
            count: seconds.iter().map(|second| second.count).sum(),
            seconds,
        }
    }

    fn forget(&mut self, now: Nanos) {
        let oldest = (now.0 / Nanos::SECOND.0).saturating_sub(SECONDS);
        let before = self.seconds.len();
        while let Some(gone) = self.seconds.pop_front_if(|first| first.number < oldest) {
            self.sum -= gone.sum;
            self.count -= gone.count;
        }
        if self.seconds.len() == before {
            return;
        }
        let lows = self.seconds.iter().map(|second| second.low);
        let highs = self.seconds.iter().map(|second| second.high);
        if let (Some(low), Some(high)) = (lows.min(), highs.max()) {
            (self.low, self.high) = (low, high);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// Every trade is kept, and all are looked at each time.
    #[test]
    fn it_agrees_with_a_list_of_all_trades() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let (mut window, mut all) = (Window::default(), Vec::new());
        let mut now = 0;
        for round in 0..20_000 {
            now += random.random_range(
                0..match round / 5_000 {
                    0 => 10,
                    1 => 1_000_000,
                    2 => 3 * Nanos::SECOND.0,
                    _ => 200 * Nanos::SECOND.0,
                },
            );
            if random.random_range(0..3) > 0 {
                let price = Price(random.random_range(1..1_000_000_000_000));
                window.record(Nanos(now), price);
                all.push((now, price.0));
            }
            let second = now / Nanos::SECOND.0;
            let counts = |(at, _): &&(u64, i64)| at / Nanos::SECOND.0 + 300 >= second;
            let prices: Vec<i64> = all.iter().filter(counts).map(|(_, price)| *price).collect();
            let low_and_high = prices.iter().min().zip(prices.iter().max());
            let expected = low_and_high.map(|(low, high)| (Price(*low), Price(*high)));
            assert_eq!(window.extremes(Nanos(now)), expected, "round {round}");
            let sum: i128 = prices.iter().map(|price| i128::from(*price)).sum();
            let mean = sum.checked_div(prices.len() as i128);
            let found = window.mean(Nanos(now)).map(|mean| i128::from(mean.0));
            assert_eq!(found, mean, "round {round}");
            assert!(window.seconds.len() <= 301);
            all.retain(|(at, _)| at / Nanos::SECOND.0 + 300 >= second);
        }
    }
}
