//! The price guards of an instrument: its circuit breaker, whose halts it follows, its price band.
//!
//! Always holds: every trade of the instrument since its guard was set, or since the last auction
//! with a price, has been counted.

use exahour_wire::ids::InstrumentId;
use exahour_wire::units::{Nanos, PartsPerMillion, Price, Quantity};

use super::band::PriceBand;
use crate::guards::{Breaker, is_admissible};

/// The guards that are set.
#[derive(Default)]
pub(crate) struct Guard {
    pub(crate) breaker: Option<CircuitBreaker>,
    pub(crate) band: Option<PriceBand>,
}

/// A breaker that is set.
pub(crate) struct CircuitBreaker {
    /// How far prices may move; zero where this instrument only follows another.
    pub(crate) threshold: PartsPerMillion,
    /// The instrument whose halts it follows, or none.
    pub(crate) linked: InstrumentId,
    pub(crate) seen: Breaker,
}

impl Guard {
    /// What prices to come are held against: none where nothing is.
    #[inline]
    pub(crate) fn limits(&mut self, now: Nanos) -> PriceLimits {
        let Some(breaker) = &mut self.breaker else {
            return PriceLimits::NONE;
        };
        let extremes = match breaker.threshold.0 {
            0 => None,
            _ => breaker.seen.extremes(now),
        };
        PriceLimits {
            extremes,
            threshold: breaker.threshold,
        }
    }

    /// Counts a trade; gives the end of its interval where it is the first of it.
    pub(crate) fn count(&mut self, now: Nanos, price: Price, quantity: Quantity) -> Option<Nanos> {
        if let Some(band) = &mut self.band {
            band.window.record(now, price);
        }
        let breaker = self.breaker.as_mut()?;
        breaker.seen.window.record(now, price);
        breaker.seen.intervals.record(now, price, quantity)
    }

    /// Forgets what prices were before an auction: they are no measure for those after it.
    pub(crate) fn forget(&mut self) {
        if let Some(breaker) = &mut self.breaker {
            breaker.seen.reset();
        }
        if let Some(band) = &mut self.band {
            band.window.clear();
        }
    }
}

impl CircuitBreaker {
    /// Whether a price is further from a reference than so many times the threshold.
    pub(crate) fn is_far(&self, price: Price, reference: Price, times: u32) -> bool {
        let threshold = PartsPerMillion(self.threshold.0 * times);
        !is_admissible(price, Some((reference, reference)), threshold)
    }
}

/// What a trade's price is held against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PriceLimits {
    extremes: Option<(Price, Price)>,
    threshold: PartsPerMillion,
}

impl PriceLimits {
    /// Every price is admissible.
    pub(crate) const NONE: Self = Self {
        extremes: None,
        threshold: PartsPerMillion(0),
    };

    #[inline]
    pub(crate) fn admit(&self, price: Price) -> bool {
        is_admissible(price, self.extremes, self.threshold)
    }

    /// The lowest and the highest price on tick that may trade, the latter at most `price_cap`; none where
    /// every price may. Where prices have been far apart, the lowest is above the highest.
    pub(crate) fn range(&self, tick: Price, price_cap: Price) -> Option<(Price, Price)> {
        const MILLION: i64 = 1_000_000;
        let (lowest, highest) = self.extremes?;
        let threshold = i64::from(self.threshold.0);
        // Prices are at most 10^12, so two million times one stays within 63 bits.
        let high = lowest.0 * (MILLION + threshold) / MILLION;
        let scaled = highest.0 * (MILLION - threshold);
        let low = scaled / MILLION + i64::from(scaled % MILLION > 0);
        let above = low % tick.0;
        let inwards = if above == 0 { 0 } else { tick.0 - above };
        Some((
            Price((low + inwards).max(tick.0)),
            Price((high - high % tick.0).min(price_cap.0)),
        ))
    }

    /// As if there had been a trade at this price.
    pub(crate) fn after(self, price: Price) -> Self {
        if self.threshold.0 == 0 {
            return self;
        }
        let (low, high) = self.extremes.unwrap_or((price, price));
        Self {
            extremes: Some((low.min(price), high.max(price))),
            ..self
        }
    }
}
