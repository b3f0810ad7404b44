//! What a journal's owner must know of the snapshots that there are.
//!
//! Told by the snapshot agent, so that the thread which orders commands never looks into a folder.
//!
//! Always holds: nothing told as the lowest place is above what the oldest snapshot needs. Where the journal gives
//! up for them what is older, files that somebody removes by hand are noticed within a second.

use std::path::Path;

use exahour_journal::disk::Disk;
use exahour_journal::{Position, Reader};
use exahour_rings::{Capacity, Consumer, Producer, ring};

use super::file::{SnapshotFile, list};
use super::newest_file;
use crate::error::NodeError;

/// Which snapshots there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Where the first of the frames lies that snapshots stand behind in this journal, if any does: what
    /// another journal was the ground of says nothing about this one.
    pub(crate) lowest: Option<Position>,
    /// The index and term that the newest stands behind, in whichever journal.
    pub(crate) newest: Option<(u64, u32)>,
}

impl Standing {
    /// Looks into the folder.
    ///
    /// # Errors
    /// [`NodeError`] where it cannot be listed.
    pub(crate) fn of(
        (disk, folder): (&dyn Disk, &Path),
        journal: &Reader,
    ) -> Result<Self, NodeError> {
        let paths = list(disk, folder)?.into_iter();
        let standing =
            paths.filter_map(|path| SnapshotFile::standing_of((disk, &path), journal).ok());
        let newest = newest_file(disk, folder)?;
        Ok(Self {
            lowest: standing.map(|place| place.frame).min(),
            newest: newest.map(|(_, place)| (place.index, place.term)),
        })
    }
}

/// From the snapshot agent to the journal's owner: a few, each of which makes those before it worthless.
pub(crate) fn standings() -> (Producer<Standing>, Consumer<Standing>) {
    match Capacity::new(4) {
        Ok(capacity) => ring(capacity),
        Err(error) => unreachable!("{error}"),
    }
}
