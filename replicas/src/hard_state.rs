//! What a node has promised to its peers: term and vote, who the members are, and whether it may have
//! forgotten something; kept in two slots of one file.
//!
//! Written by `storage` when a promise changes, before any message that rests on it is sent.
//!
//! ```text
//! slot (4096 bytes, two of them):
//! | magic 8 | counter 8 | incarnation 8 | term 8 | vote 8 | forgetful 1 | replicated 1 | removed 1 | events doubtful 1 |
//! | zeros 4 |
//! | base: index 8, term 8, command 8, stamp 8 | members: count 4, bytes |
//! | incarnations of others: count 4, each: node 8, incarnation 8 | highest number given 8 | zeros | crc 4 |
//! ```
//! Always holds: a promise counts once both slots have it, one flushed after the other; so a torn write leaves
//! the older promise or the newer one whole, and a slot that goes bad later costs nothing. The slot with the
//! higher counter and a right checksum is the state; opening writes it into a new file, which takes the place of
//! the old one once it is on disk, unless there is no room for it.
//! Does not: keep the commit index, which raft finds again.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

#[cfg(feature = "defects")]
use exahour_journal::defects::{self, Defect};
use exahour_journal::disk::{Disk, DiskFile, Entry, Mode, Open};
use raft::prelude::HardState;

use crate::error::NodeError;
use crate::members::Members;
use crate::peers::packed::{Packer, Unpacker};

const MAGIC: &[u8; 8] = b"EXAHRFT2";
const MAGIC_BEFORE: &[u8; 8] = b"EXAHRFT1";
const SLOT_BYTES: usize = 4096;
const SLOTS: u64 = 2;
const CRC_AT: usize = SLOT_BYTES - 4;
const MEMBERS_AT: usize = 84;

/// What the file's name ends with until it is whole.
const DRAFT: &str = "draft";

/// Room for the members.
pub(crate) const MEMBERS_BYTES_MAX: usize = CRC_AT - MEMBERS_AT - 4 - INCARNATIONS_MAX * 16 - 8;

/// Other nodes whose folders are remembered, at most.
const INCARNATIONS_MAX: usize = 64;

/// What the journal begins behind, where a snapshot from another node stands for what came before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Base {
    /// The last entry that the snapshot covers; zero where the journal has all from the first.
    pub(crate) index: u64,
    pub(crate) term: u64,
    /// The last command, and the last stamp.
    pub(crate) command: u64,
    pub(crate) time_ns: u64,
}

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Promises {
    /// Drawn when the file was made.
    pub(crate) incarnation: u64,
    pub(crate) term: u64,
    pub(crate) vote: u64,
    /// The node may have lost what it acknowledged: it gives no vote until it has it again.
    pub(crate) forgetful: bool,
    /// Whether it has run without waiting for its disk, so that a power cut may have taken what it
    /// acknowledged.
    pub(crate) replicated: bool,
    /// The node was a member, and is none any more.
    pub(crate) removed: bool,
    /// The events that no snapshot stands for may be of commands that were lost: they are written anew.
    pub(crate) events_doubtful: bool,
    pub(crate) base: Base,
    pub(crate) members: Members,
    /// The incarnation that each other node came with first.
    pub(crate) incarnations: BTreeMap<u64, u64>,
    /// The highest number that a member is known to have had, those that left included.
    pub(crate) highest_id: u64,
}

impl Promises {
    /// The highest number that this node knows a member to have, or to have had. That a folder is known says
    /// nothing: a node may be linked before it is added.
    fn highest_known(&self) -> u64 {
        let members = self.members.addresses.keys().max();
        self.highest_id.max(members.copied().unwrap_or(0))
    }

    fn to_slot(&self, counter: u64) -> Option<[u8; SLOT_BYTES]> {
        let mut bytes = Vec::with_capacity(SLOT_BYTES);
        let mut members = Vec::new();
        self.members.pack(&mut members);
        if members.len() > MEMBERS_BYTES_MAX {
            return None;
        }
        Packer(&mut bytes)
            .bytes(MAGIC)
            .u64(counter)
            .u64(self.incarnation)
            .u64(self.term)
            .u64(self.vote)
            .u8(u8::from(self.forgetful))
            .u8(u8::from(self.replicated))
            .u8(u8::from(self.removed))
            .u8(u8::from(self.events_doubtful))
            .bytes(&[0; 4])
            .u64(self.base.index)
            .u64(self.base.term)
            .u64(self.base.command)
            .u64(self.base.time_ns)
            .counted(&members)
            .u32(self.incarnations.len() as u32);
        for (node, incarnation) in &self.incarnations {
            Packer(&mut bytes).u64(*node).u64(*incarnation);
        }
        Packer(&mut bytes).u64(self.highest_id);
        let mut slot = [0; SLOT_BYTES];
        slot[..bytes.len()].copy_from_slice(&bytes);
        let crc = checksum(&slot[..CRC_AT]);
        slot[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        Some(slot)
    }

    /// The counter and the state of a slot that is whole.
    fn of_slot(bytes: &[u8; SLOT_BYTES]) -> Option<(u64, Self)> {
        let (content, crc) = bytes.split_last_chunk()?;
        if checksum(content) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut rest = Unpacker(content);
        if rest.take::<8>()? != *MAGIC {
            return None;
        }
        let counter = rest.u64()?;
        let (incarnation, term, vote) = (rest.u64()?, rest.u64()?, rest.u64()?);
        let forgetful = rest.u8()? != 0;
        let replicated = rest.u8()? != 0;
        // Earlier versions wrote zeros here, too.
        let removed = rest.u8()? != 0;
        let events_doubtful = rest.u8()? != 0;
        rest.take::<4>()?;
        let base = Base {
            index: rest.u64()?,
            term: rest.u64()?,
            command: rest.u64()?,
            time_ns: rest.u64()?,
        };
        let members = Members::unpack(rest.counted()?)?;
        let mut incarnations = BTreeMap::new();
        for _ in 0..rest.u32()? {
            incarnations.insert(rest.u64()?, rest.u64()?);
        }
        // Earlier versions wrote zeros there.
        let highest_id = rest.u64().unwrap_or(0);
        let mut promises = Self {
            incarnation,
            term,
            vote,
            forgetful,
            replicated,
            removed,
            events_doubtful,
            base,
            members,
            incarnations,
            highest_id,
        };
        promises.highest_id = promises.highest_known();
        Some((counter, promises))
    }
}

/// The file of promises.
pub(crate) struct HardStateFile {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    counter: u64,
    kept: Promises,
    /// Whether one of its two copies was not whole, and was made again from the other.
    mended: bool,
}

impl HardStateFile {
    /// Opens the file, or creates it with what a new node has promised: nothing.
    ///
    /// # Errors
    /// [`NodeError::Io`]; [`NodeError::HardState`] where neither slot can be believed.
    pub(crate) fn open(disk: &dyn Disk, path: &Path, new: &Promises) -> Result<Self, NodeError> {
        let io = |action| NodeError::io(path, action);
        if !Self::stands(disk, path)? {
            return Self::create(disk, path, new, 0);
        }
        let file = disk.open(path, Open::Write).map_err(io("open"))?;
        let mut state = Self {
            path: path.to_path_buf(),
            file,
            counter: 0,
            kept: new.clone(),
            mended: false,
        };
        let slots = [state.read_slot(0), state.read_slot(1)];
        let mended = slots.iter().any(Option::is_none);
        let newest = slots.into_iter().flatten().max_by_key(|slot| slot.0);
        (state.counter, state.kept) = newest.ok_or_else(|| state.unreadable())?;
        // A flush that failed before has left what can be read here in memory, perhaps, and not on disk.
        match Self::create(disk, path, &state.kept, state.counter) {
            Err(NodeError::Io { source, .. }) if source.kind() == ErrorKind::StorageFull => {
                // It may not even have been made.
                let _ = disk.remove(&path.with_extension(DRAFT));
                Ok(state)
            }
            made => made.map(|state| Self { mended, ..state }),
        }
    }

    /// Whether one of its two copies was not whole when it was opened, and was made again from the other.
    pub(crate) fn mended(&self) -> bool {
        self.mended
    }

    /// Whether there is such a file; one without a byte is what an earlier version of this program did not get to
    /// write.
    ///
    /// # Errors
    /// [`NodeError::Io`].
    pub(crate) fn stands(disk: &dyn Disk, path: &Path) -> Result<bool, NodeError> {
        let entry = disk.entry(path).map_err(NodeError::io(path, "look at"))?;
        Ok(!matches!(entry, None | Some(Entry::File { bytes: 0, .. })))
    }

    /// Makes the file, or makes it anew, with what was promised in that many writes; it has its name only once
    /// it is whole.
    fn create(
        disk: &dyn Disk,
        path: &Path,
        kept: &Promises,
        counter: u64,
    ) -> Result<Self, NodeError> {
        let draft = path.with_extension(DRAFT);
        let file = disk.open(&draft, Open::Emptied(Mode::OWNER_FILE));
        let mut state = Self {
            path: path.to_path_buf(),
            file: file.map_err(NodeError::io(&draft, "create"))?,
            counter,
            kept: kept.clone(),
            mended: false,
        };
        state.write()?;
        disk.rename(&draft, path)
            .map_err(NodeError::io(&draft, "rename"))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        disk.sync_folder(folder)
            .map_err(NodeError::io(folder, "flush"))?;
        Ok(state)
    }

    /// What a file says, without taking it over: another part of this process has it.
    ///
    /// # Errors
    /// [`NodeError::Io`]; [`NodeError::HardState`] where neither slot is whole at the moment.
    pub(crate) fn peek(disk: &dyn Disk, path: &Path) -> Result<Promises, NodeError> {
        let newest = Self::slots(disk, path)?
            .into_iter()
            .max_by_key(|slot| slot.0);
        let newest = newest.ok_or_else(|| NodeError::HardState {
            path: path.to_path_buf(),
            reason: "neither copy is whole: the node may have promised what it does not remember. Put a new \
                     node in its place, with another id and an empty folder (`exahour replace-node`)"
                .to_owned(),
        });
        newest.map(|(_, promises)| promises)
    }

    /// How many of a file's two copies are whole.
    ///
    /// # Errors
    /// [`NodeError::Io`].
    pub(crate) fn whole_copies(disk: &dyn Disk, path: &Path) -> Result<usize, NodeError> {
        Ok(Self::slots(disk, path)?.len())
    }

    /// The slots that are whole, with their counters.
    fn slots(disk: &dyn Disk, path: &Path) -> Result<Vec<(u64, Promises)>, NodeError> {
        let content = disk.read(path).map_err(NodeError::io(path, "read"))?;
        let slots = content.chunks_exact(SLOT_BYTES).filter_map(|slot| {
            let slot: &[u8; SLOT_BYTES] = slot.try_into().ok()?;
            Promises::of_slot(slot)
        });
        Ok(slots.collect())
    }

    /// Keeps that a snapshot from another node stands for all before the journal, and the members that came
    /// with it, unless later ones are known.
    ///
    /// # Errors
    /// [`NodeError`].
    pub(crate) fn begin_behind(&mut self, base: Base, members: &Members) -> Result<(), NodeError> {
        self.kept.base = base;
        if members.at > self.kept.members.at {
            self.kept.members.clone_from(members);
        }
        self.at_least(base.term);
        self.write()
    }

    /// Keeps that the journal begins at the first entry, without a snapshot before it.
    ///
    /// # Errors
    /// [`NodeError`].
    pub(crate) fn begin_at_the_first(&mut self) -> Result<(), NodeError> {
        self.kept.base = Base::default();
        self.write()
    }

    fn unreadable(&self) -> NodeError {
        let mut magic = [0; 8];
        let read = self.file.read_exact_at(&mut magic, 0);
        let reason = if read.is_ok() && &magic == MAGIC_BEFORE {
            "it was written by an earlier version of this program, for a node that was alone and so has \
             promised nothing: remove it"
        } else {
            "neither copy is whole, so this node may have forgotten a promise; where it is alone it has \
             promised nothing: remove the file. In a cluster, put a new node in its place \
             (`exahour add-node`, `exahour remove-node`)"
        };
        NodeError::HardState {
            path: self.path.clone(),
            reason: reason.to_owned(),
        }
    }

    /// What is kept.
    pub(crate) fn kept(&self) -> &Promises {
        &self.kept
    }

    /// The promises in raft's own words. The commit index is left to raft to find.
    pub(crate) fn hard_state(&self) -> HardState {
        HardState {
            term: self.kept.term,
            vote: self.kept.vote,
            ..HardState::default()
        }
    }

    /// Takes at least this term: a journal has it, whatever became of the file.
    pub(crate) fn at_least(&mut self, term: u64) {
        if self.kept.term < term {
            self.kept.term = term;
            self.kept.vote = 0;
        }
    }

    /// Keeps a promise, on disk when this returns; nothing is written where nothing changes.
    ///
    /// # Errors
    /// [`NodeError::Io`]: the promise must not be made.
    pub(crate) fn promise(&mut self, state: &HardState) -> Result<(), NodeError> {
        if (self.kept.term, self.kept.vote) == (state.term, state.vote) {
            return Ok(());
        }
        self.kept.term = state.term;
        self.kept.vote = state.vote;
        #[cfg(feature = "defects")]
        if defects::armed(Defect::ForgottenVote) {
            return Ok(());
        }
        self.write()
    }

    /// Keeps new members, and whether this node was `removed` from them, on disk when this returns.
    ///
    /// # Errors
    /// [`NodeError::HardState`] where there are too many; [`NodeError::Io`].
    pub(crate) fn set_members(&mut self, members: Members, removed: bool) -> Result<(), NodeError> {
        self.kept.members = members;
        self.kept.removed = removed;
        self.write()
    }

    /// Keeps whether this node may have lost what it acknowledged, on disk when this returns.
    ///
    /// # Errors
    /// [`NodeError::Io`].
    pub(crate) fn set_forgetful(&mut self, forgetful: bool) -> Result<(), NodeError> {
        if self.kept.forgetful == forgetful {
            return Ok(());
        }
        self.kept.forgetful = forgetful;
        self.write()
    }

    /// Keeps which folders nodes have come with, on disk when this returns; those of nodes that left are
    /// forgotten first where there are too many.
    ///
    /// # Errors
    /// [`NodeError::Io`].
    pub(crate) fn know_incarnations(&mut self, nodes: &[(u64, u64)]) -> Result<(), NodeError> {
        let members = &self.kept.members;
        if self.kept.incarnations.len() + nodes.len() > INCARNATIONS_MAX {
            self.kept
                .incarnations
                .retain(|node, _| members.standing(*node).is_some());
        }
        for (node, incarnation) in nodes {
            if self.kept.incarnations.len() < INCARNATIONS_MAX {
                self.kept.incarnations.insert(*node, *incarnation);
            }
        }
        self.write()
    }

    /// Keeps that numbers up to this one were given, on disk when this returns; nothing is written where that is
    /// known.
    ///
    /// # Errors
    /// [`NodeError::Io`].
    pub(crate) fn know_given(&mut self, highest_id: u64) -> Result<(), NodeError> {
        if highest_id <= self.kept.highest_id {
            return Ok(());
        }
        self.kept.highest_id = highest_id;
        self.write()
    }

    /// Keeps whether this node runs without waiting for its disk, on disk when this returns.
    ///
    /// # Errors
    /// [`NodeError::Io`].
    pub(crate) fn set_replicated(&mut self, replicated: bool) -> Result<(), NodeError> {
        if self.kept.replicated == replicated {
            return Ok(());
        }
        self.kept.replicated = replicated;
        self.write()
    }

    /// Keeps whether events may be of commands that were lost, on disk when this returns.
    ///
    /// # Errors
    /// [`NodeError::Io`].
    pub(crate) fn set_events_doubtful(&mut self, doubtful: bool) -> Result<(), NodeError> {
        if self.kept.events_doubtful == doubtful {
            return Ok(());
        }
        self.kept.events_doubtful = doubtful;
        self.write()
    }

    /// Writes the promises down: they count once both slots have them.
    fn write(&mut self) -> Result<(), NodeError> {
        self.counter += 1;
        self.kept.highest_id = self.kept.highest_known();
        (0..SLOTS).try_for_each(|place| self.write_slot(place))
    }

    fn write_slot(&self, place: u64) -> Result<(), NodeError> {
        let slot = self.kept.to_slot(self.counter);
        let slot = slot.ok_or_else(|| NodeError::HardState {
            path: self.path.clone(),
            reason: format!("the members do not fit {MEMBERS_BYTES_MAX} bytes"),
        })?;
        let io = |source| NodeError::Io {
            path: self.path.clone(),
            action: "write",
            source,
        };
        self.file
            .write_all_at(&slot, place * SLOT_BYTES as u64)
            .map_err(io)?;
        // Not its times: the file has its length already, or gets it with its data.
        self.file.sync_data().map_err(io)
    }

    fn read_slot(&self, place: u64) -> Option<(u64, Promises)> {
        let mut bytes = [0; SLOT_BYTES];
        self.file
            .read_exact_at(&mut bytes, place * SLOT_BYTES as u64)
            .ok()?;
        Promises::of_slot(&bytes)
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    // The checksum of a 32-bit algorithm fits 32 bits.
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

#[cfg(test)]
mod tests {
    use exahour_journal::disk::SystemDisk;

    use super::*;
    use crate::members::{Member, NodeId};

    fn promise(term: u64, vote: u64) -> HardState {
        HardState {
            term,
            vote,
            ..HardState::default()
        }
    }

    fn new(ids: &[u64]) -> Promises {
        let member = |id: &u64| Member {
            id: NodeId(*id),
            peers: "127.0.0.1:7100".parse().unwrap(),
            orders: "127.0.0.1:7000".parse().unwrap(),
        };
        let members: Vec<Member> = ids.iter().map(member).collect();
        Promises {
            incarnation: 5,
            members: Members::founders(&members),
            ..Promises::default()
        }
    }

    #[test]
    fn a_promise_is_kept_over_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("raft-state");
        let mut state = HardStateFile::open(&SystemDisk, &path, &new(&[1, 2, 3])).unwrap();
        state.promise(&promise(7, 2)).unwrap();
        state.set_forgetful(true).unwrap();
        state.set_events_doubtful(true).unwrap();
        drop(state);
        let state = HardStateFile::open(&SystemDisk, &path, &new(&[9])).unwrap();
        assert_eq!(state.hard_state(), promise(7, 2));
        assert_eq!(state.kept().members.group.voters, [1, 2, 3]);
        assert!(state.kept().forgetful && state.kept().events_doubtful);
        assert!(!state.kept().replicated);
    }

    #[test]
    fn a_copy_that_goes_bad_is_made_again_from_the_other() {
        // In memory: it is opened thousands of times.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let folder = folder.unwrap();
        let path = folder.path().join("raft-state");
        let mut state = HardStateFile::open(&SystemDisk, &path, &new(&[1])).unwrap();
        state.promise(&promise(3, 1)).unwrap();
        state.promise(&promise(4, 1)).unwrap();
        drop(state);
        let whole = std::fs::read(&path).unwrap();
        for place in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[place] ^= 0x40;
            std::fs::write(&path, &bytes).unwrap();
            let state = HardStateFile::open(&SystemDisk, &path, &new(&[1])).unwrap();
            assert_eq!(state.kept.term, 4, "byte {place}");
            assert!(state.mended(), "byte {place}");
            drop(state);
            let again = std::fs::read(&path).unwrap();
            let (one, other) = again.split_at(SLOT_BYTES);
            assert_eq!(one, other, "byte {place}");
        }
        let mut bytes = whole;
        bytes[20] ^= 1;
        bytes[SLOT_BYTES + 20] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let refused = HardStateFile::open(&SystemDisk, &path, &new(&[1]))
            .err()
            .unwrap();
        assert!(
            refused.to_string().contains("neither copy is whole"),
            "{refused}"
        );
    }

    #[test]
    fn a_write_that_was_cut_short_leaves_one_promise_or_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("raft-state");
        let mut state = HardStateFile::open(&SystemDisk, &path, &new(&[1])).unwrap();
        state.promise(&promise(3, 1)).unwrap();
        let before = std::fs::read(&path).unwrap();
        state.promise(&promise(4, 1)).unwrap();
        drop(state);
        let after = std::fs::read(&path).unwrap();
        for cut in (0..=after.len()).step_by(512) {
            std::fs::write(&path, [&after[..cut], &before[cut..]].concat()).unwrap();
            let state = HardStateFile::open(&SystemDisk, &path, &new(&[1])).unwrap();
            let first_is_whole =
                after[..SLOT_BYTES] == [&after[..cut], &before[cut..]].concat()[..SLOT_BYTES];
            let term = if first_is_whole { 4 } else { 3 };
            assert_eq!(state.kept.term, term, "cut at {cut}");
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::write(path.with_extension(DRAFT), [1; 100]).unwrap();
        let state = HardStateFile::open(&SystemDisk, &path, &new(&[1])).unwrap();
        assert_eq!(state.kept.term, 0);
        assert!(!path.with_extension(DRAFT).exists());
    }

    #[test]
    fn numbers_of_members_that_left_are_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("raft-state");
        let mut state = HardStateFile::open(&SystemDisk, &path, &new(&[1, 2, 3, 7])).unwrap();
        state.set_members(new(&[1, 2]).members, false).unwrap();
        assert_eq!(state.kept().highest_id, 7);
        // What others know counts, too, and nothing makes it less.
        state.know_given(12).unwrap();
        state.know_given(9).unwrap();
        drop(state);
        let state = HardStateFile::open(&SystemDisk, &path, &new(&[1])).unwrap();
        assert_eq!(state.kept().highest_id, 12);
    }

    /// Earlier versions kept no number; a folder that is known may be that of a node which is to be added.
    #[test]
    fn a_file_without_the_highest_number_has_that_of_the_members() {
        let mut kept = new(&[1, 2, 3]);
        kept.incarnations.insert(5, 77);
        let slot = kept.to_slot(1).unwrap();
        let (_, read) = Promises::of_slot(&slot).unwrap();
        assert_eq!(read.highest_id, 3);
        assert_eq!(read.members, kept.members);
    }

    #[test]
    fn a_file_of_an_earlier_version_is_named_as_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("raft-state");
        std::fs::write(&path, [&MAGIC_BEFORE[..], &[0; 1016]].concat()).unwrap();
        let refused = HardStateFile::open(&SystemDisk, &path, &new(&[1]))
            .err()
            .unwrap();
        assert!(refused.to_string().contains("earlier version"), "{refused}");
    }
}
