//! New reports that came before missed ones were fetched.
//!
//! Called by the client's core while a retransmission is under way.
//!
//! Always holds: bounded; what does not fit is dropped and later fetched like the missed ones.

use std::ops::Range;

use exahour_wire::events::EventPrefix;
use exahour_wire::ids::MessageSequence;
use exahour_wire::message::peek_length;

/// Reports in the order they came, their numbers rising.
#[derive(Debug)]
pub(super) struct Held {
    bytes: Vec<u8>,
    start: usize,
    limit: usize,
}

impl Held {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(limit),
            start: 0,
            limit,
        }
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
    }

    /// Keeps a report if there is room.
    pub(super) fn keep(&mut self, report: &[u8]) {
        if self.start == self.bytes.len() {
            self.clear();
        }
        if self.bytes.len() + report.len() <= self.limit {
            self.bytes.extend_from_slice(report);
        }
    }

    /// The number of the first report.
    pub(super) fn first(&self) -> Option<MessageSequence> {
        EventPrefix::peek(&self.bytes[self.start..]).map(|prefix| prefix.sequence)
    }

    /// Takes the first report: its place, good for [`Held::at`] until the next `keep`.
    pub(super) fn take(&mut self) -> Range<usize> {
        let length = peek_length(&self.bytes[self.start..]).unwrap_or(0);
        let place = self.start..self.start + length;
        self.start = place.end;
        place
    }

    pub(super) fn at(&self, place: Range<usize>) -> &[u8] {
        &self.bytes[place]
    }
}
