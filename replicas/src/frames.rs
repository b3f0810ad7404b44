//! The committed frames of the journal, one after the other.
//!
//! Followed by the agents of the engine's stages, each with its own cursor.
//!
//! Always holds: no frame is left out or given twice; what lay on disk when the cursor was made is
//! given only where its checksum is right; one that no version of this program writes is
//! an error that names it.

use exahour_engine::Batch;
use exahour_journal::{FrameHeader, Position, Reader};
use exahour_wire::ids::CommandSequence;
use exahour_wire::units::Nanos;

use crate::error::NodeError;
use crate::snapshots::Place;
use crate::storage::{FRAME_COMMANDS, FRAME_CONF_CHANGE_V2};

/// A cursor over frames.
pub(crate) struct Frames {
    journal: Reader,
    /// Frames up to here were there before the reader, and are checked.
    written_before: Position,
    /// The raft index of the last frame given.
    index: u64,
}

/// One frame.
pub(crate) struct CommittedFrame<'a> {
    pub(crate) header: &'a FrameHeader,
    /// Where it begins.
    pub(crate) position: Position,
    /// Its commands, where it holds any.
    pub(crate) batch: Option<Batch<'a>>,
}

impl Frames {
    /// A cursor before the first frame.
    pub(crate) fn from_the_start(journal: Reader) -> Self {
        Self {
            written_before: journal.appended(),
            journal,
            index: 0,
        }
    }

    /// A cursor behind the last frame that a snapshot covers, which the journal has.
    ///
    /// # Errors
    /// [`NodeError::Log`], [`NodeError::Frame`]: it has not.
    pub(crate) fn behind(mut journal: Reader, place: &Place) -> Result<Self, NodeError> {
        let log = NodeError::log("journal");
        journal.seek(place.frame).map_err(&log)?;
        let end = journal.appended();
        let frame = journal.next(end).map_err(&log)?;
        if frame.is_none_or(|frame| frame.header.index != place.index) {
            return Err(NodeError::Frame {
                index: place.index,
                reason: "it is not where the snapshot says",
            });
        }
        Ok(Self {
            written_before: end,
            journal,
            index: place.index,
        })
    }

    /// Where the committed part of the journal ends.
    #[inline]
    pub(crate) fn committed(&self) -> Position {
        Position::new(self.journal.commit())
    }

    /// Where the cursor stands.
    #[inline]
    pub(crate) fn position(&self) -> Position {
        self.journal.position()
    }

    /// The raft index of the last frame given.
    #[inline]
    pub(crate) fn index(&self) -> u64 {
        self.index
    }

    /// The next frame that ends at or below `limit`, which is committed.
    #[inline]
    pub(crate) fn next(
        &mut self,
        limit: Position,
    ) -> Result<Option<CommittedFrame<'_>>, NodeError> {
        if self.journal.position() >= self.written_before {
            self.journal.trust();
        }
        let next = self
            .journal
            .next(limit)
            .map_err(NodeError::log("journal"))?;
        let Some(frame) = next else { return Ok(None) };
        let header = frame.header;
        let refuse = |reason| {
            Err(NodeError::Frame {
                index: header.index,
                reason,
            })
        };
        if header.index != self.index + 1 {
            return refuse("it is out of order");
        }
        if header.kind > FRAME_CONF_CHANGE_V2 {
            return refuse("its kind is unknown");
        }
        self.index = header.index;
        let batch = (header.kind == FRAME_COMMANDS).then_some(Batch {
            time: Nanos(header.time_ns),
            first: CommandSequence(header.first_sequence),
            commands: frame.payload,
        });
        Ok(Some(CommittedFrame {
            header,
            position: frame.position,
            batch,
        }))
    }
}
