//! The time that settlement goes by: the host's own UTC, which machines and providers read too.
//!
//! Asked by `settle` once a turn. A window begins and ends for all of them at the same moment, whatever
//! is done to that clock, so it may go back; who keeps times must forget them then.

use exahour_gateway::clock::{Clock, ManualClock};
use exahour_wire::units::Nanos;

use crate::provision::now_ns;

/// Where UTC is taken from.
pub trait Utc: Send {
    /// Now; it may be before an earlier answer.
    fn utc(&mut self) -> Nanos;
}

/// The host's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostClock;

impl Utc for HostClock {
    fn utc(&mut self) -> Nanos {
        Nanos(now_ns())
    }
}

impl Utc for ManualClock {
    fn utc(&mut self) -> Nanos {
        self.now()
    }
}
