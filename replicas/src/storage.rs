//! Raft's storage: the journal itself.
//!
//! Owned by the sequencer's raft node. One frame is one raft entry; nothing is written twice.
//!
//! Always holds: what raft is told to have is in the journal; entries are read back through the
//! maps, without a copy of their data.
//! Does not: flush (the disk agent does), or apply (the engine agent does).

use std::cell::RefCell;

use bytes::Bytes;
use exahour_journal::{
    Appender, FRAME_HEADER_BYTES, FrameMeta, FrameRef, JournalError, Position, Reader, Verify,
};
use exahour_rings::{Consumer, WatermarkReader, WatermarkWriter, watermark};
use exahour_wire::ids::CommandSequence;
use exahour_wire::units::Nanos;
use raft::prelude::{Entry, EntryType, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use crate::batch::Stamp;
use crate::error::NodeError;
use crate::hard_state::{HardStateFile, Promises};
use crate::members::Members;
use crate::recent::{Recent, RecentFrame};
use crate::snapshots::Standing;

/// A frame without commands: a new leader's first entry.
pub const FRAME_EMPTY: u8 = 0;
/// A frame of commands.
pub const FRAME_COMMANDS: u8 = 1;
/// A frame that changes the members, in raft's first form.
pub const FRAME_CONF_CHANGE: u8 = 2;
/// A frame that changes the members, in raft's second form.
pub const FRAME_CONF_CHANGE_V2: u8 = 3;

/// The journal as raft sees it.
pub(crate) struct JournalStorage {
    appender: Appender,
    reader: Reader,
    promises: HardStateFile,
    recent: Recent,
    /// Everything up to here was committed when the journal was opened.
    known_committed: u64,
    /// Tells which snapshots there are.
    standings: Consumer<Standing>,
    standing: Standing,
    /// The last frame that was there at the start.
    last_at_start: u64,
    /// Tells how many of the last of those were superseded since.
    superseded: WatermarkWriter,
    /// The last command of which the event log told at the start.
    told: CommandSequence,
    /// The first damage that raft was kept from reading.
    damage: RefCell<Option<JournalError>>,
}

/// What the last commands in a journal were stamped with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogEnd {
    /// The number of the next command.
    pub(crate) next: CommandSequence,
    /// The last time.
    pub(crate) time: Nanos,
}

impl JournalStorage {
    /// Takes over a journal and the promises beside it; `standings` tells which snapshots there are.
    pub(crate) fn new(
        appender: Appender,
        reader: Reader,
        mut promises: HardStateFile,
        standings: Consumer<Standing>,
    ) -> Self {
        let term = appender.term_of(appender.last_index());
        promises.at_least(term.map_or(0, u64::from));
        Self {
            last_at_start: appender.last_index(),
            superseded: watermark().0,
            told: CommandSequence(0),
            appender,
            reader,
            promises,
            recent: Recent::new(),
            known_committed: 0,
            standings,
            standing: Standing::default(),
            damage: RefCell::new(None),
        }
    }

    /// Says so where an entry that a peer needed was found damaged: it was not sent, and this node has to stop,
    /// cut its journal there, and have the rest again from its peers.
    ///
    /// # Errors
    /// [`JournalError::Corrupt`].
    #[inline]
    pub(crate) fn check_sound(&self) -> Result<(), JournalError> {
        if self.damage.borrow().is_none() {
            return Ok(());
        }
        self.damage.take().map_or(Ok(()), Err)
    }

    /// Takes in which snapshots there are by now.
    pub(crate) fn hear_of_snapshots(&mut self) {
        while let Some(standing) = self.standings.try_pop() {
            self.standing = standing;
        }
    }

    /// Everything up to this entry is committed: a snapshot stands on it.
    pub(crate) fn know_committed(&mut self, index: u64) {
        self.known_committed = index;
    }

    /// The event log tells of commands up to this one.
    pub(crate) fn know_told(&mut self, command: CommandSequence) {
        self.told = command;
    }

    /// Appends entries as raft hands them out, and gives the position behind the last.
    ///
    /// An entry that is there already is passed over, so a call that found the disk full can be
    /// repeated.
    ///
    /// # Errors
    /// [`NodeError::Log`]; nothing after the entry that failed is appended. [`NodeError::EventsDoubtful`] where
    /// it would supersede what clients were told of: the node has to open again.
    pub(crate) fn append(&mut self, entries: &[Entry]) -> Result<Position, NodeError> {
        for entry in entries {
            // The same index and term are the same entry: raft's log matching.
            if self.appender.term_of(entry.index).map(u64::from) == Some(entry.term) {
                continue;
            }
            self.note_superseded(entry.index)?;
            let stamp = Stamp::from_bytes(&entry.context);
            let kind = match entry.get_entry_type() {
                EntryType::EntryNormal if stamp.is_some() => FRAME_COMMANDS,
                EntryType::EntryNormal => FRAME_EMPTY,
                EntryType::EntryConfChange => FRAME_CONF_CHANGE,
                EntryType::EntryConfChangeV2 => FRAME_CONF_CHANGE_V2,
            };
            let (time, first, count) = stamp.map_or((0, 0, 0), |stamp| {
                (stamp.time.0, stamp.first.0, stamp.count)
            });
            let meta = FrameMeta {
                index: entry.index,
                // Terms grow by one an election; four billion of them never come.
                term: entry.term as u32,
                count: count as u16,
                kind,
                first_sequence: first,
                time_ns: time,
            };
            let end = self.appender.append(&meta, &[&entry.data]);
            let end = end.map_err(NodeError::log("journal"))?;
            self.recent.note(RecentFrame {
                index: meta.index,
                term: meta.term,
                kind: meta.kind,
                end,
            });
        }
        Ok(self.appender.appended())
    }

    /// Keeps count of the frames that were there at the start, and turn out not to have been committed.
    #[inline]
    fn note_superseded(&mut self, index: u64) -> Result<(), NodeError> {
        if index > self.last_at_start {
            return Ok(());
        }
        self.check_untold(index)?;
        let superseded = self.last_at_start - index + 1;
        let told = &mut self.superseded;
        told.publish(told.published().max(superseded));
        Ok(())
    }

    /// Only what was committed has events, and is superseded only where a quorum has lost it.
    fn check_untold(&mut self, index: u64) -> Result<(), NodeError> {
        for index in index..=self.appender.last_index() {
            let frame = self.frame(index).map_err(NodeError::log("journal"))?;
            let Some(frame) = frame.filter(|it| it.header().kind == FRAME_COMMANDS) else {
                continue;
            };
            let first = frame.header().first_sequence;
            if first > self.told.0 {
                break;
            }
            self.promises.set_events_doubtful(true)?;
            return Err(NodeError::EventsDoubtful);
        }
        Ok(())
    }

    /// The last frame that was there at the start, and how many of the last of those were superseded since.
    pub(crate) fn at_start(&self) -> (u64, WatermarkReader) {
        (self.last_at_start, self.superseded.reader())
    }

    /// Keeps a promise.
    ///
    /// # Errors
    /// [`NodeError`]: nothing that rests on the promise may be sent.
    pub(crate) fn promise(&mut self, state: &HardState) -> Result<(), NodeError> {
        self.promises.promise(state)
    }

    /// Keeps new members, and whether this node was `removed` from them.
    ///
    /// # Errors
    /// [`NodeError`].
    pub(crate) fn set_members(&mut self, members: Members, removed: bool) -> Result<(), NodeError> {
        self.promises.set_members(members, removed)
    }

    /// Keeps which folders nodes have come with.
    ///
    /// # Errors
    /// [`NodeError`].
    pub(crate) fn know_incarnations(&mut self, nodes: &[(u64, u64)]) -> Result<(), NodeError> {
        self.promises.know_incarnations(nodes)
    }

    /// Keeps that numbers of members up to this one were given.
    ///
    /// # Errors
    /// [`NodeError`].
    pub(crate) fn know_given(&mut self, highest_id: u64) -> Result<(), NodeError> {
        self.promises.know_given(highest_id)
    }

    /// Keeps whether this node may have lost what it acknowledged.
    ///
    /// # Errors
    /// [`NodeError`].
    pub(crate) fn set_forgetful(&mut self, forgetful: bool) -> Result<(), NodeError> {
        self.promises.set_forgetful(forgetful)
    }

    /// Keeps whether events may be of commands that were lost.
    ///
    /// # Errors
    /// [`NodeError`].
    pub(crate) fn set_events_doubtful(&mut self, doubtful: bool) -> Result<(), NodeError> {
        self.promises.set_events_doubtful(doubtful)
    }

    /// Whether this node may have lost what it acknowledged.
    #[inline]
    pub(crate) fn forgetful(&self) -> bool {
        self.promises.kept().forgetful
    }

    /// What this node has promised.
    pub(crate) fn promises(&self) -> &Promises {
        self.promises.kept()
    }

    /// The members, as of what was published as committed.
    #[inline]
    pub(crate) fn members(&self) -> &Members {
        &self.promises.kept().members
    }

    /// Tells followers that everything up to the frame of this index is committed.
    ///
    /// # Errors
    /// [`JournalError`] where the frame cannot be read.
    pub(crate) fn publish_commit(&mut self, index: u64) -> Result<(), JournalError> {
        let end = match self.recent(index) {
            Some(frame) => frame.end,
            None => match self.frame(index)? {
                Some(frame) => frame.frame().end(),
                None => return Ok(()),
            },
        };
        self.appender.publish_commit(end.value());
        Ok(())
    }

    /// Gives up whole segments that nobody needs any more: those before the oldest snapshot that stands on
    /// this journal, before what the engine has applied, and before the last `keep_bytes`.
    pub(crate) fn release(&mut self, keep_bytes: u64, applied: u64) {
        let applied = self.appender.position_of(applied);
        let (Some(lowest), Some(applied)) = (self.standing.lowest, applied) else {
            return;
        };
        let kept = self.appender.appended().value().saturating_sub(keep_bytes);
        let position = lowest.min(applied).min(Position::new(kept));
        self.appender.release_before(position);
    }

    /// The last entry that a snapshot of this node stands on, as far as is known here: it starts from one, and hears
    /// of others a little later.
    pub(crate) fn stands_on(&self) -> u64 {
        self.newest_snapshot().max(self.known_committed)
    }

    /// The entry that the newest snapshot stands behind; zero where there is none.
    pub(crate) fn newest_snapshot(&self) -> u64 {
        self.standing.newest.map_or(0, |(index, _)| index)
    }

    /// How far the journal is on disk.
    #[inline]
    pub(crate) fn durable(&self) -> Position {
        self.appender.durable()
    }

    /// The end of the journal.
    #[inline]
    pub(crate) fn appended(&self) -> Position {
        self.appender.appended()
    }

    /// Where the numbering of commands and the time go on.
    ///
    /// # Errors
    /// [`JournalError`] where a frame cannot be read.
    pub(crate) fn log_end(&self) -> Result<LogEnd, JournalError> {
        let first = self.appender.first_index().unwrap_or(1);
        for index in (first..=self.appender.last_index()).rev() {
            let Some(frame) = self.frame(index)? else {
                break;
            };
            let header = frame.header();
            if header.kind == FRAME_COMMANDS {
                let next = header.first_sequence + u64::from(header.count);
                return Ok(LogEnd {
                    next: CommandSequence(next),
                    time: Nanos(header.time_ns),
                });
            }
        }
        let base = &self.promises.kept().base;
        Ok(LogEnd {
            next: CommandSequence(base.command + 1),
            time: Nanos(base.time_ns),
        })
    }

    /// The last entry that raft takes for known to all here: a snapshot has to stand for it. Zero where the
    /// journal begins at the first.
    pub(crate) fn begins_behind(&self) -> u64 {
        self.first() - 1
    }

    /// The first entry that raft may ask for. Where earlier ones were released it is the second that is
    /// held, so that the term of the one before it is known.
    fn first(&self) -> u64 {
        let base = self.promises.kept().base.index;
        match self.appender.first_index() {
            None => base.max(self.appender.last_index()) + 1,
            Some(first) if first == base + 1 => first,
            Some(first) => first + 1,
        }
    }

    /// The live frame of an index, where it was appended a moment ago.
    #[inline]
    fn recent(&self, index: u64) -> Option<RecentFrame> {
        let term = self.appender.term_of(index)?;
        self.recent.find(index, term)
    }

    fn frame(&self, index: u64) -> Result<Option<FrameRef>, JournalError> {
        let position = self.appender.position_of(index);
        position
            .map(|position| self.reader.frame_of(index, position, Verify::Every))
            .transpose()
    }

    /// The entry of an index; its data only where somebody will read it, and then with its checksum checked: a
    /// peer would believe it. Of a damaged one raft is told that it comes later, or, where it needs no more than
    /// its term, that; [`JournalStorage::check_sound`] is asked before anything is done with it.
    fn entry(&self, index: u64, with_data: bool) -> raft::Result<Entry> {
        let plain = |frame: &RecentFrame| matches!(frame.kind, FRAME_COMMANDS | FRAME_EMPTY);
        if let Some(frame) = self.recent(index).filter(plain)
            && !with_data
        {
            return Ok(Entry {
                index,
                term: u64::from(frame.term),
                ..Entry::default()
            });
        }
        let none = raft::Error::Store(StorageError::Unavailable);
        let (Some(position), Some(term)) = (
            self.appender.position_of(index),
            self.appender.term_of(index),
        ) else {
            return Err(none);
        };
        let mut entry = Entry {
            index,
            term: u64::from(term),
            ..Entry::default()
        };
        let read = |verify| self.reader.frame_of(index, position, verify);
        let frame = match with_data {
            true => read(Verify::Every),
            // A change of members is acted on here.
            false => read(Verify::Trust).and_then(|frame| match frame.header().kind {
                FRAME_EMPTY | FRAME_COMMANDS => Ok(frame),
                _ => read(Verify::Every),
            }),
        };
        let frame = match frame {
            Ok(frame) => frame,
            Err(damage) => {
                self.damage.borrow_mut().get_or_insert(damage);
                return match with_data {
                    true => Err(raft::Error::Store(StorageError::LogTemporarilyUnavailable)),
                    false => Ok(entry),
                };
            }
        };
        let header = frame.header();
        match header.kind {
            FRAME_CONF_CHANGE => entry.set_entry_type(EntryType::EntryConfChange),
            FRAME_CONF_CHANGE_V2 => entry.set_entry_type(EntryType::EntryConfChangeV2),
            FRAME_COMMANDS if with_data => {
                let stamp = Stamp {
                    time: Nanos(header.time_ns),
                    first: CommandSequence(header.first_sequence),
                    count: u32::from(header.count),
                };
                entry.context = Bytes::copy_from_slice(&stamp.to_bytes());
            }
            _ => {}
        }
        if with_data || entry.get_entry_type() != EntryType::EntryNormal {
            entry.data = Bytes::from_owner(frame).slice(FRAME_HEADER_BYTES..);
        }
        Ok(entry)
    }
}

impl Storage for JournalStorage {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let state = HardState {
            commit: self.known_committed,
            ..self.promises.hard_state()
        };
        let group = self.promises.kept().members.group.clone();
        Ok(RaftState::new(state, group))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        // Only entries that go to a peer need their data: the engine reads the journal itself.
        if low < self.first() {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        let with_data = context.can_async();
        let limit = max_size.into().unwrap_or(u64::MAX);
        let mut entries = Vec::new();
        let mut size = 0;
        for index in low..high {
            let entry = self.entry(index, with_data)?;
            size += entry.data.len() as u64 + std::mem::size_of::<Entry>() as u64;
            if size > limit && !entries.is_empty() {
                break;
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        let base = &self.promises.kept().base;
        if index == base.index {
            // Zero, where the journal has all from the first.
            return Ok(base.term);
        }
        let term = self.appender.term_of(index).map(u64::from);
        term.ok_or(raft::Error::Store(match index < self.first() {
            true => StorageError::Compacted,
            false => StorageError::Unavailable,
        }))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.first())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.appender.last_index())
    }

    /// Where the newest snapshot stands; a courier brings it.
    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        let reaches = |(index, _): &(u64, u32)| *index >= request_index;
        let Some((index, term)) = self.standing.newest.filter(reaches) else {
            let none = StorageError::SnapshotTemporarilyUnavailable;
            return Err(raft::Error::Store(none));
        };
        let mut snapshot = Snapshot::default();
        snapshot.mut_metadata().index = index;
        snapshot.mut_metadata().term = u64::from(term);
        Ok(snapshot)
    }
}
