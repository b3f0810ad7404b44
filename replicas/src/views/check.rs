//! Reads the events that a start believed, so that damage is found before anybody needs them.
//!
//! Turned by the keeper of views, on its thread of low priority, once after each start.
//!
//! Always holds: damage that the journal can mend costs the views, so that the next start verifies the whole log and
//! has it mended; other damage is told.
//! Does not: end the node: it reads nothing that is damaged until somebody asks for just that.

use std::path::Path;
use std::sync::Arc;

use exahour_journal::disk::Disk;
use exahour_journal::{JournalError, Position, Reader, Verify};

use super::{remove_all, set_unchecked};
use crate::error::NodeError;

/// Bytes of events checked in one turn, beyond the frame begun.
const BYTES_A_TURN: usize = 1 << 20;

/// The part of the log that is still to be checked.
pub(crate) struct Check {
    reader: Reader,
    /// Where the part ends that is to be checked.
    end: Position,
    /// Whether the journal gives every event again.
    gives_all: bool,
}

impl Check {
    /// A check of everything before a frame; what is found is mended only where the journal gives it again.
    ///
    /// # Errors
    /// [`NodeError::Log`] where the log cannot be followed.
    pub(crate) fn new(
        disk: &Arc<dyn Disk>,
        events: &Path,
        (end, gives_all): (Position, bool),
    ) -> Result<Self, NodeError> {
        let reader = Reader::follow_on(disk, events, Verify::Every);
        Ok(Self {
            reader: reader.map_err(NodeError::log("event log"))?,
            end,
            gives_all,
        })
    }

    /// Checks a piece; whether there is more.
    ///
    /// # Errors
    /// [`NodeError`]; there is no more then.
    pub(super) fn turn(
        &mut self,
        (disk, folder): (&dyn Disk, &Path),
        notice: fn(&str),
    ) -> Result<bool, NodeError> {
        let mut checked = 0;
        while checked < BYTES_A_TURN {
            match self.reader.next(self.end) {
                Ok(Some(frame)) => checked += frame.payload.len(),
                Ok(None) => return set_unchecked(disk, folder, false).map(|()| false),
                // A start that verified all of it would have to be refused then.
                Err(error @ JournalError::Corrupt { .. }) if !self.gives_all => {
                    notice(&format!(
                        "the event log is damaged in a part that no start reads: {error}. The journal does not give \
                         it again: who asks for just that part ends this node. Restore the file, or put a new node \
                         in the place of this one"
                    ));
                    return set_unchecked(disk, folder, false).map(|()| false);
                }
                Err(error @ JournalError::Corrupt { .. }) => {
                    notice(&format!(
                        "the event log is damaged in a part that this start did not read: {error}; the next start \
                         verifies all of it, and has it written again from the journal"
                    ));
                    return remove_all(disk, folder).map(|()| false);
                }
                // What is released is nobody's any more.
                Err(JournalError::Released { first, .. }) => {
                    self.reader
                        .seek(first)
                        .map_err(NodeError::log("event log"))?;
                }
                Err(error) => return Err(NodeError::log("event log")(error)),
            }
        }
        Ok(true)
    }
}
