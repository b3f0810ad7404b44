//! What the drop copy port has learnt of the event log: who owns what, and where events lie.
//!
//! Kept by the port while it reads the log, and by the views that a start begins with.
//!
//! Always holds: it has seen every event up to the last one, once.
//! Does not: know who is connected.

use exahour_journal::Position;
use exahour_wire::events::EventPrefix;
use exahour_wire::ids::EventSequence;
use exahour_wire::message::messages;
use exahour_wire::units::Nanos;

use super::event_index::EventIndex;
use super::owners::Owners;
use crate::image::ImageFault;
use crate::views::pages::{PageReader, PageWriter};

/// What is known of the log up to some frame.
#[derive(Debug)]
pub struct Learnt {
    /// Whose is what.
    pub(super) owners: Owners,
    /// Where events lie.
    pub(super) index: EventIndex,
    /// The event that comes next.
    pub(super) next_event: EventSequence,
    /// The time of the last one.
    pub(super) time: Nanos,
    /// The end of what was read.
    pub(super) read_to: Position,
}

impl Default for Learnt {
    /// Before the first event.
    fn default() -> Self {
        Learnt {
            owners: Owners::default(),
            index: EventIndex::default(),
            next_event: EventSequence(1),
            time: Nanos(0),
            read_to: Position::ZERO,
        }
    }
}

impl Learnt {
    /// Learns from a frame of the log that starts and ends at these positions.
    ///
    /// # Errors
    /// [`ImageFault`] where the log contradicts itself or does not go on with the next event.
    pub fn on_batch(
        &mut self,
        batch: &[u8],
        start: Position,
        end: Position,
    ) -> Result<(), ImageFault> {
        let first = self.next_event;
        let mut walked = 0;
        for event in messages(batch) {
            walked += event.len();
            let after = EventSequence(self.next_event.0 - 1);
            let prefix = EventPrefix::peek(event).ok_or(ImageFault::CutBatch { after })?;
            let expected = self.next_event;
            if prefix.event != expected {
                return Err(ImageFault::EventGap {
                    expected,
                    got: prefix.event,
                });
            }
            self.owners.on_event(&prefix, event);
            self.next_event = EventSequence(expected.0 + 1);
            self.time = prefix.time;
        }
        if walked != batch.len() {
            let after = EventSequence(self.next_event.0 - 1);
            return Err(ImageFault::CutBatch { after });
        }
        if walked > 0 {
            self.index.note(first, start);
        }
        self.read_to = end;
        Ok(())
    }

    /// Where it stands: the end of the last frame.
    pub(crate) fn position(&self) -> Position {
        self.read_to
    }

    /// Writes all of it.
    pub(crate) fn write(&self, pages: &mut PageWriter) {
        pages.number(self.next_event.0);
        pages.number(self.time.0);
        pages.number(self.read_to.value());
        self.owners.write(pages);
        self.index.write(pages);
    }

    /// Reads what was written; `None` where it is nothing of the kind.
    pub(crate) fn read(pages: &mut PageReader<'_>) -> Option<Self> {
        Some(Learnt {
            next_event: EventSequence(pages.number()?),
            time: Nanos(pages.number()?),
            read_to: Position::new(pages.number()?),
            owners: Owners::read(pages)?,
            index: EventIndex::read(pages)?,
        })
    }
}
