//! When a port lets clients in.
//!
//! Asked by the agent of each port in each turn.
//!
//! Always holds: a port is closed until the event log tells of everything that was committed when the
//! node started, and the agent has read all of that; once open it stays open.
//! Does not: know what is published.

use exahour_journal::{Position, Reader};
use exahour_rings::WatermarkReader;

/// How far the engine must have come before a port opens.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The last frame of the journal that was applied, whose events are in the log.
    pub mark: WatermarkReader,
    /// The last frame that was there at the start.
    pub frame: u64,
    /// How many of the last of those were superseded since: they were never committed.
    pub superseded: WatermarkReader,
}

impl Applied {
    /// Whether the log tells of all that was committed at the start.
    fn all(&self) -> bool {
        // Read first: what supersedes a frame is applied only afterwards.
        let superseded = self.superseded.current();
        self.mark.current() >= self.frame.saturating_sub(superseded)
    }
}

/// The door of one port.
#[derive(Debug)]
pub(crate) enum Opening {
    /// The engine writes again what the event log lost.
    Catching(Applied),
    /// The agent reads what the log held when the engine was there.
    Reading(Position),
    Open,
}

impl Opening {
    /// A door that opens at the present end of the log, or, where the engine is still on its way, at
    /// the end it comes to.
    pub(crate) fn new(reader: &Reader, applied: Option<Applied>) -> Self {
        match applied {
            Some(applied) => Opening::Catching(applied),
            None => Opening::Reading(reader.appended()),
        }
    }

    /// Whether clients are let in, when the agent has read as far as `reader`.
    #[inline]
    pub(crate) fn is_open(&mut self, reader: &Reader) -> bool {
        if let Opening::Catching(applied) = self
            && applied.all()
        {
            *self = Opening::Reading(reader.appended());
        }
        if let Opening::Reading(end) = self
            && reader.position() >= *end
        {
            *self = Opening::Open;
        }
        matches!(self, Opening::Open)
    }
}
