//! Price guards: what trades of the last minutes allow the next one to be.
//!
//! `window` knows the extremes and the mean of the last 300 s, `interval` the price of every 30 s,
//! `breaker` which price is too far from both, `limit_band` bands around the mean. Called with the
//! engine's own time.
//!
//! Always holds: memory is bounded whatever the number of trades; integers only.
//! Does not: match, or know what happens when a guard says no.

mod breaker;
mod interval;
mod limit_band;
mod window;

pub use breaker::{Breaker, is_admissible};
pub(crate) use interval::Running;
pub use interval::{INTERVAL, IntervalPrice, Intervals};
pub use limit_band::{Band, LIMIT_STATE_MAX, LimitState, PAUSE, Pressure};
pub(crate) use window::Second;
pub use window::{WINDOW, Window};
