//! The committed frames of the journal, one after the other.
//!
//! Followed by the agents of the engine's stages, each with its own cursor.
//!
//! Frames that later ones have superseded are passed over: they were never committed.
//!
//! Always holds: no committed frame is left out or given twice; what lay on disk when the cursor was made is
//! given only where its checksum is right; one that no version of this program writes is
//! an error that names it.

use exahour_engine::Batch;
use exahour_journal::{FrameHeader, Live, LiveReader, Position, Reader};
use exahour_wire::ids::CommandSequence;
use exahour_wire::units::Nanos;

use crate::error::NodeError;
use crate::snapshots::Place;
use crate::storage::{FRAME_COMMANDS, FRAME_CONF_CHANGE_V2};

/// A cursor over frames.
pub(crate) struct Frames {
    journal: LiveReader,
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
            journal: LiveReader::new(journal),
            index: 0,
        }
    }

    /// A cursor behind the last frame that a snapshot covers, which the journal has: that frame itself, or
    /// the restart mark that stands for it.
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
            journal: LiveReader::behind(journal, place.index),
            index: place.index,
        })
    }

    /// Where the committed part of the journal ends.
    #[inline]
    pub(crate) fn committed(&self) -> Position {
        Position::new(self.journal.reader().commit())
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
        let frame = match next {
            None => return Ok(None),
            Some(Live::Restart { index, .. }) => return Err(NodeError::SnapshotMissing { index }),
            Some(Live::Frame(frame)) => frame,
        };
        let header = frame.header;
        let refuse = |reason| {
            Err(NodeError::Frame {
                index: header.index,
                reason,
            })
        };
        if header.index != self.index + 1 {
            let index = header.index.saturating_sub(1);
            return Err(NodeError::SnapshotMissing { index });
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

#[cfg(test)]
mod tests {
    use exahour_journal::disk::SystemDisk;
    use exahour_journal::{Config, Journal, LogId, Verify};
    use raft::prelude::{Entry, EntryType};
    use raft::{GetEntriesContext, Storage};

    use super::*;
    use crate::batch::Stamp;
    use crate::hard_state::{HardStateFile, Promises};
    use crate::snapshots::standings;
    use crate::storage::JournalStorage;

    fn storage(folder: &std::path::Path) -> (JournalStorage, Reader) {
        let config = Config::new(folder.join("journal"), LogId([6; 16]));
        let journal = Journal::open_or_create(&config.with_segment_bytes(64 << 10)).unwrap();
        let follow = || Reader::follow(folder.join("journal"), Verify::Every).unwrap();
        let promises = HardStateFile::open(
            &SystemDisk,
            &folder.join("raft-state"),
            &Promises::default(),
        );
        let storage =
            JournalStorage::new(journal.appender, follow(), promises.unwrap(), standings().1);
        (storage, follow())
    }

    /// An entry of one line of commands, which its term stands in.
    fn entry(index: u64, term: u64) -> Entry {
        let stamp = Stamp {
            time: Nanos(index),
            first: CommandSequence(index),
            count: 1,
        };
        Entry {
            entry_type: EntryType::EntryNormal,
            index,
            term,
            data: vec![term as u8; 64].into(),
            context: stamp.to_bytes().to_vec().into(),
            ..Entry::default()
        }
    }

    fn entries(range: std::ops::RangeInclusive<u64>, term: u64) -> Vec<Entry> {
        range.map(|index| entry(index, term)).collect()
    }

    fn given(frames: &mut Frames) -> Vec<(u64, u32)> {
        let mut given = Vec::new();
        let limit = frames.committed();
        while let Some(frame) = frames.next(limit).unwrap() {
            let (index, term) = (frame.header.index, frame.header.term);
            assert_eq!(frame.batch.unwrap().commands[0], term as u8);
            given.push((index, term));
        }
        given
    }

    /// A follower takes what three leaders sent it, of whom two lost the role before all was committed.
    #[test]
    fn what_later_leaders_replaced_is_never_given() {
        let folder = tempfile::tempdir().unwrap();
        let (mut storage, reader) = storage(folder.path());
        let mut frames = Frames::from_the_start(reader);
        storage.append(&entries(1..=900, 1)).unwrap();
        storage.publish_commit(300).unwrap();
        assert_eq!(given(&mut frames).len(), 300);
        storage.append(&entries(500..=1_400, 2)).unwrap();
        storage.publish_commit(450).unwrap();
        assert_eq!(given(&mut frames).last(), Some(&(450, 1)));
        storage.append(&entries(1_000..=1_100, 3)).unwrap();
        storage.publish_commit(1_050).unwrap();
        let rest = given(&mut frames);
        let wanted: Vec<_> = (451..=1_050)
            .map(|index| match index {
                ..500 => (index, 1),
                500..1_000 => (index, 2),
                _ => (index, 3),
            })
            .collect();
        assert_eq!(rest, wanted);

        assert_eq!(storage.last_index(), Ok(1_100));
        for (index, term) in [(499, 1), (500, 2), (999, 2), (1_000, 3), (1_100, 3)] {
            assert_eq!(storage.term(index), Ok(term), "{index}");
            let found = storage
                .entries(index, index + 1, None, GetEntriesContext::empty(false))
                .unwrap();
            assert_eq!((found[0].index, found[0].term), (index, term));
        }
        assert!(storage.term(1_101).is_err());
        // An entry that is there already, told again, supersedes nothing.
        let end = storage.appended();
        storage.append(&entries(1_000..=1_060, 3)).unwrap();
        assert_eq!(storage.appended(), end);
        assert_eq!(storage.last_index(), Ok(1_100));
    }

    #[test]
    fn a_journal_that_begins_behind_a_snapshot_asks_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config::new(folder.path(), LogId([6; 16])).with_segment_bytes(64 << 10);
        let mut journal = Journal::open_or_create(&config).unwrap();
        journal.appender.restart_after(40, 2).unwrap();
        let reader = Reader::follow(folder.path(), Verify::Every).unwrap();
        let end = reader.appended();
        let refused = Frames::from_the_start(reader).next(end).err();
        assert!(
            matches!(refused, Some(NodeError::SnapshotMissing { index: 40 })),
            "{refused:?}"
        );
    }
}
