//! What the ports know of the event log up to a place: a start begins there, and reads only what follows.
//!
//! Made beside the node that trades, from the event log alone; a start gives each port its part.
//!
//! ```text
//! events up to the place -> sessions: versions, where reports lie   -> order gateway
//!                        -> the feed: books, statistics, numbers    -> market data
//!                        -> who owns what, where events lie         -> drop copy
//! ```
//! Always holds: all parts stand at the same place, the end of a frame; a port that goes on from it says what one
//! that has read the whole log says, but for past messages of the feed.
//! Does not: know files, or whether they can be believed.

pub(crate) mod pages;

use exahour_journal::{Frame, Position};
use exahour_wire::events::{EventPrefix, FrameEnd};
use exahour_wire::ids::{EventSequence, SessionId};
use exahour_wire::message::messages;

use crate::directory::Directory;
use crate::feed::learnt::Learnt;
use crate::feed::publisher::Publisher;
use crate::image::ImageFault;
use pages::{PageReader, PageWriter};

/// The form that views are written in; another one is none.
pub const VIEWS_FORMAT: u32 = 1;

/// Memory that views take.
#[derive(Clone, Copy, Debug, Default)]
pub struct Room {
    /// Bytes of past messages of the feed about orders.
    pub history_bytes: usize,
    /// Resting orders that memory is reserved for.
    pub orders: usize,
}

/// The views behind some frame.
#[derive(Debug)]
pub struct Views {
    sessions: Directory,
    publisher: Publisher,
    learnt: Learnt,
}

impl Views {
    /// The views before the first event.
    #[must_use]
    pub fn new(room: Room) -> Self {
        Self {
            sessions: Directory::default(),
            publisher: Publisher::new(room.history_bytes, room.orders),
            learnt: Learnt::default(),
        }
    }

    /// Takes in the next frame of the event log.
    ///
    /// # Errors
    /// [`ImageFault`] where the log contradicts itself; the views must not be used after it.
    pub fn on_frame(&mut self, frame: &Frame<'_>) -> Result<(), ImageFault> {
        let kind = frame.header.kind;
        let after = self.last_event();
        let end = FrameEnd::of_kind(kind).ok_or(ImageFault::UnknownFrame { kind, after })?;
        self.publisher.on_batch(frame.payload, end)?;
        for event in messages(frame.payload) {
            let prefix = EventPrefix::peek(event).ok_or(ImageFault::CutBatch { after })?;
            if prefix.session != SessionId::NONE {
                self.sessions.learn(&prefix, event, frame.position);
            }
        }
        self.learnt
            .on_batch(frame.payload, frame.position, frame.end())
    }

    /// The end of the last frame taken in.
    #[must_use]
    pub fn position(&self) -> Position {
        self.learnt.position()
    }

    /// The last event taken in.
    #[must_use]
    pub fn last_event(&self) -> EventSequence {
        self.publisher.last_event()
    }

    /// Whether every command of which there was an event is over: only then can they be written.
    #[must_use]
    pub fn between_commands(&self) -> bool {
        self.publisher.between_commands()
    }

    /// Writes the views.
    ///
    /// # Panics
    /// Within a command: our own fault.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut pages = PageWriter::default();
        self.sessions.write(&mut pages);
        self.publisher.write(&mut pages);
        self.learnt.write(&mut pages);
        pages.into_bytes()
    }

    /// Reads views that were written, whole, in this form; `None` where they are none.
    #[must_use]
    pub fn read(bytes: &[u8], room: Room) -> Option<Self> {
        let mut pages = PageReader::new(bytes);
        let views = Self {
            sessions: Directory::read(&mut pages)?,
            publisher: Publisher::read(&mut pages, room.history_bytes, room.orders)?,
            learnt: Learnt::read(&mut pages)?,
        };
        pages.done().then_some(views)
    }

    /// Each port's own: of order entry, of market data, of drop copy.
    #[must_use]
    pub fn into_parts(self) -> (Directory, Publisher, Learnt) {
        (self.sessions, self.publisher, self.learnt)
    }
}
