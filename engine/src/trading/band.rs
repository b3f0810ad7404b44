//! The price band of an instrument, and what it remembers.
//!
//! Part of a guard; moved on by `execute::band`, asked by whoever enters or matches orders.
//!
//! Always holds: every trade since the band was set, or since the last auction with a price, is
//! counted as long as it counts. Quotes are looked at in continuous trading only.

use exahour_wire::codes::Side;
use exahour_wire::units::{Nanos, PartsPerMillion, Price};

use crate::guards::{Band, LimitState, Window};

/// A band that is set.
pub(crate) struct PriceBand {
    /// How far from the mean price trades may be made.
    pub(crate) width: PartsPerMillion,
    /// The trades of the last 300 s.
    pub(crate) window: Window,
    /// For how long the best quotes have leaned on its edge.
    pub(crate) state: LimitState,
    /// What was published last, in this phase.
    pub(crate) told: Option<Told>,
    /// When quotes are looked at next, or never.
    pub(crate) look_at: Nanos,
}

/// What is published of a band.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) band: Band,
    /// When trading pauses; zero while nothing leans on the edge.
    pub(crate) pauses_at: Nanos,
}

impl PriceBand {
    /// A band that has seen nothing.
    pub(crate) fn new(width: PartsPerMillion) -> Self {
        Self {
            width,
            window: Window::default(),
            state: LimitState::default(),
            told: None,
            look_at: Nanos::NEVER,
        }
    }

    /// Begins a phase in which quotes are looked at from this time on, or never.
    pub(crate) fn begin(&mut self, look_at: Nanos) {
        self.state = LimitState::default();
        self.told = None;
        self.look_at = look_at;
    }
}

/// The next whole second after a time, or never.
pub(crate) fn next_second(now: Nanos) -> Nanos {
    let second = Nanos::SECOND.0;
    Nanos((now.0 / second + 1).saturating_mul(second))
}

/// A limit no further than the end of a band that is worse for this side.
pub(crate) fn moved_into(band: &Band, side: Side, limit: Price) -> Price {
    match side {
        Side::Buy => limit.min(band.high),
        Side::Sell => limit.max(band.low),
    }
}
