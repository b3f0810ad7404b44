//! Limit up, limit down: a band around the mean price, and a pause where the market leans on it.
//!
//! ```text
//! Free --best bid at the top, or best offer at the bottom--> Limited --15 s--> pause of 300 s
//!   ^---------------- the quote leaves the band's edge --------+
//! ```
//! Called by `execute::band`.
//!
//! Always holds: a band is rounded inwards to ticks, or, where that leaves none, outwards; it never
//! ends below one tick.

use exahour_wire::units::{Nanos, PartsPerMillion, Price};

/// How long the best quote may sit at the edge of the band.
pub const LIMIT_STATE_MAX: Nanos = Nanos(15 * Nanos::SECOND.0);

/// How long trading pauses after that.
pub const PAUSE: Nanos = Nanos(300 * Nanos::SECOND.0);

const MILLION: i128 = 1_000_000;

/// The prices at which trades are allowed, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Band {
    /// The lowest.
    pub low: Price,
    /// The highest.
    pub high: Price,
}

impl Band {
    /// The band of `width` to both sides of a reference price, in ticks above zero.
    ///
    /// # Source
    /// Oracle O-45: a reference of 100 and 5 % give 95 to 105, and twice that near open and close.
    #[must_use]
    pub fn around(reference: Price, width: PartsPerMillion, tick: Price) -> Self {
        let (reference, tick) = (i128::from(reference.0), i128::from(tick.0));
        let width = i128::from(width.0);
        let low = (reference * (MILLION - width)).div_euclid(MILLION * tick);
        let exact = reference * (MILLION - width) == low * MILLION * tick;
        let low = if exact { low } else { low + 1 };
        let high = (reference * (MILLION + width)).div_euclid(MILLION * tick);
        let price = |ticks: i128| {
            let wide = ticks.max(1) * tick;
            Price(i64::try_from(wide).unwrap_or(i64::MAX))
        };
        // Between two ticks there is none: both are allowed then.
        let (low, high) = (low.min(high), low.max(high));
        Self {
            low: price(low),
            high: price(high),
        }
    }

    /// Whether a trade at this price is allowed.
    #[must_use]
    pub fn admits(&self, price: Price) -> bool {
        (self.low..=self.high).contains(&price)
    }
}

/// What the best quotes say of a band.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pressure {
    /// Nothing: the market trades within.
    Free,
    /// The best bid is at its top or the best offer at its bottom; trading pauses at this time
    /// unless that ends before.
    Limited {
        /// When trading pauses.
        pauses_at: Nanos,
    },
    /// It was so for 15 s: trading pauses until this time.
    Paused {
        /// When trading goes on.
        until: Nanos,
    },
}

/// For how long the market has leaned on the edge of its band.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitState {
    since: Option<Nanos>,
}

impl LimitState {
    /// Goes on where a snapshot stood.
    pub(crate) fn resume(since: Option<Nanos>) -> Self {
        Self { since }
    }

    /// Since when the market has leaned on the edge, if it does.
    pub(crate) fn since(&self) -> Option<Nanos> {
        self.since
    }

    /// Looks at the best quotes at a time.
    pub fn observe(
        &mut self,
        now: Nanos,
        band: &Band,
        best_bid: Option<Price>,
        best_ask: Option<Price>,
    ) -> Pressure {
        let leans = best_bid.is_some_and(|bid| bid >= band.high)
            || best_ask.is_some_and(|ask| ask <= band.low);
        if !leans {
            self.since = None;
            return Pressure::Free;
        }
        let since = *self.since.get_or_insert(now);
        let pauses_at = since.after(LIMIT_STATE_MAX);
        if now < pauses_at {
            return Pressure::Limited { pauses_at };
        }
        self.since = None;
        Pressure::Paused {
            until: now.after(PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = Nanos::SECOND.0;

    /// Source: oracle O-45, in dollars and cents.
    #[test]
    fn bands_are_where_the_rule_says() {
        let (reference, tick) = (Price(100_000_000), Price(10_000));
        let band = |width| Band::around(reference, PartsPerMillion(width), tick);
        let dollars = |low: i64, high: i64| Band {
            low: Price(low * 1_000_000),
            high: Price(high * 1_000_000),
        };
        assert_eq!(band(50_000), dollars(95, 105));
        assert_eq!(band(100_000), dollars(90, 110));
        assert!(band(50_000).admits(Price(105_000_000)));
        assert!(!band(50_000).admits(Price(105_010_000)));
    }

    #[test]
    fn bands_are_rounded_inwards() {
        let band = Band::around(Price(101), PartsPerMillion(50_000), Price(2));
        // 95.95 to 106.05.
        assert_eq!((band.low, band.high), (Price(96), Price(106)));
        let between = Band::around(Price(101), PartsPerMillion(1_000), Price(2));
        assert_eq!((between.low, between.high), (Price(100), Price(102)));
        let cheap = Band::around(Price(1), PartsPerMillion(500_000), Price(1));
        assert_eq!((cheap.low, cheap.high), (Price(1), Price(1)));
    }

    /// Source: oracle O-45: 15 s in the limit state, then 300 s of pause.
    #[test]
    fn leaning_on_the_edge_for_long_pauses_trading() {
        let band = Band {
            low: Price(95),
            high: Price(105),
        };
        let mut state = LimitState::default();
        let mut at = |seconds: u64, bid: i64| {
            let bid = Some(Price(bid));
            state.observe(Nanos(seconds * SECOND), &band, bid, Some(Price(106)))
        };
        assert_eq!(at(0, 104), Pressure::Free);
        let limited = Pressure::Limited {
            pauses_at: Nanos(16 * SECOND),
        };
        assert_eq!([at(1, 105), at(15, 105)], [limited, limited]);
        let paused = Pressure::Paused {
            until: Nanos(316 * SECOND),
        };
        assert_eq!(at(16, 105), paused);
        assert_eq!(at(17, 104), Pressure::Free);
        let again = Pressure::Limited {
            pauses_at: Nanos(35 * SECOND),
        };
        assert_eq!(at(20, 105), again);
    }
}
