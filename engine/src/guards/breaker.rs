//! The circuit breaker's rule: which price is too far from those of the last 300 s.
//!
//! Always holds: strictly more than the threshold is inadmissible, exactly the threshold is not.

use exahour_wire::units::{Nanos, PartsPerMillion, Price};

use super::interval::Intervals;
use super::window::Window;

const MILLION: i128 = 1_000_000;

/// What the rule looks at: recent trades, and the interval price of 300 s ago.
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    /// The trades of the last 300 s.
    pub window: Window,
    /// The prices of the last intervals.
    pub intervals: Intervals,
}

impl Breaker {
    /// The lowest and the highest price of the last 300 s, the interval price of 300 s ago among
    /// them, where there is any.
    pub fn extremes(&mut self, now: Nanos) -> Option<(Price, Price)> {
        let trades = self.window.extremes(now);
        let anchor = self.intervals.anchor(now);
        match (trades, anchor) {
            (Some((low, high)), Some(anchor)) => Some((low.min(anchor), high.max(anchor))),
            (Some(extremes), None) => Some(extremes),
            (None, anchor) => anchor.map(|anchor| (anchor, anchor)),
        }
    }

    /// Forgets what prices were; the interval under way goes on.
    pub fn reset(&mut self) {
        self.window.clear();
        self.intervals.past.clear();
    }
}

/// Whether `price` is at most `threshold` above the lowest and at most `threshold` below the highest
/// of other prices. Without others every price is.
///
/// # Source
/// `docs/RULEBOOK.md`, section 10: rolling extremes with an anchor.
#[must_use]
pub fn is_admissible(
    price: Price,
    extremes: Option<(Price, Price)>,
    threshold: PartsPerMillion,
) -> bool {
    let Some((low, high)) = extremes else {
        return true;
    };
    let threshold = i128::from(threshold.0);
    let scaled = i128::from(price.0) * MILLION;
    let highest = i128::from(low.0) * (MILLION + threshold);
    let lowest = i128::from(high.0) * (MILLION - threshold);
    scaled <= highest && scaled >= lowest
}

#[cfg(test)]
mod tests {
    use super::*;
    use exahour_wire::units::Quantity;

    const THRESHOLD: PartsPerMillion = PartsPerMillion(150_000);
    const SECOND: u64 = Nanos::SECOND.0;

    impl Breaker {
        fn admits(&mut self, now: Nanos, price: Price, threshold: PartsPerMillion) -> bool {
            is_admissible(price, self.extremes(now), threshold)
        }
    }

    #[test]
    fn exactly_the_threshold_is_admissible_and_one_more_is_not() {
        let mut breaker = Breaker::default();
        assert!(breaker.admits(Nanos(0), Price(1), THRESHOLD));
        breaker.window.record(Nanos(0), Price(100));
        breaker.window.record(Nanos(0), Price(110));
        let mut admits = |price| breaker.admits(Nanos(0), Price(price), THRESHOLD);
        // 100 x 1.15 = 115; 110 x 0.85 = 93.5.
        assert_eq!(
            [93, 94, 115, 116].map(&mut admits),
            [false, true, true, false]
        );
    }

    /// A price that went up and came back counts as well as one that stayed up.
    #[test]
    fn a_peak_counts_until_the_window_has_passed() {
        let mut breaker = Breaker::default();
        breaker.window.record(Nanos(0), Price(120));
        breaker.window.record(Nanos(SECOND), Price(105));
        assert!(!breaker.admits(Nanos(300 * SECOND), Price(101), THRESHOLD));
        assert!(breaker.admits(Nanos(301 * SECOND), Price(101), THRESHOLD));
    }

    #[test]
    fn the_interval_price_holds_where_nothing_has_traded_since() {
        let mut breaker = Breaker::default();
        let lots = Quantity(1);
        breaker.intervals.record(Nanos(0), Price(100), lots);
        breaker.window.record(Nanos(0), Price(100));
        breaker.intervals.close(Nanos(30 * SECOND));
        for seconds in [330, 3_600] {
            let now = Nanos(seconds * SECOND);
            assert!(!breaker.admits(now, Price(116), THRESHOLD), "{seconds}");
            assert!(breaker.admits(now, Price(115), THRESHOLD), "{seconds}");
        }
    }
}
