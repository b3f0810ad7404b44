//! The circuit breaker of an instrument, and whose halts it follows.
//!
//! Always holds: every trade of the instrument since the breaker was set, or since the last auction
//! with a price, has been counted.

use exahour_wire::ids::InstrumentId;
use exahour_wire::units::{Nanos, PartsPerMillion, Price};

use crate::guards::{Breaker, is_admissible};

/// A breaker that is set.
pub(crate) struct Guard {
    /// How far prices may move; zero where this instrument only follows another.
    pub(crate) threshold: PartsPerMillion,
    /// The instrument whose halts it follows, or none.
    pub(crate) linked: InstrumentId,
    pub(crate) breaker: Breaker,
}

impl Guard {
    /// What prices to come are held against: none where nothing is.
    #[inline]
    pub(crate) fn limits(&mut self, now: Nanos) -> PriceLimits {
        let extremes = match self.threshold.0 {
            0 => None,
            _ => self.breaker.extremes(now),
        };
        PriceLimits {
            extremes,
            threshold: self.threshold,
        }
    }

    /// Whether a price is further from a reference than the threshold.
    pub(crate) fn is_far(&self, price: Price, reference: Price) -> bool {
        !is_admissible(price, Some((reference, reference)), self.threshold)
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
