//! What a node has promised to its peers: term, vote and members, kept in two slots of one file.
//!
//! Written by `storage` when a promise changes, before any message that rests on it is sent.
//!
//! ```text
//! slot (512 bytes, two of them):
//! | magic 8 | counter 8 | term 8 | vote 8 | voters: count 8, ids 8 each ... | zeros | crc 4 |
//! ```
//! Always holds: the slot with the higher counter and a right checksum is the state; a write goes to
//! the other slot and is flushed before it counts, so a torn write leaves the older state.
//! Does not: keep the commit index, which raft finds again.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use exahour_journal::disk::SystemDisk;
use raft::prelude::{ConfState, HardState};

use crate::data_folder::sync_folder_of;
use crate::error::NodeError;

const MAGIC: &[u8; 8] = b"EXAHRFT1";
const SLOT_BYTES: usize = 512;
const CRC_AT: usize = SLOT_BYTES - 4;
const VOTERS_AT: usize = 40;
const VOTERS_MAX: usize = (CRC_AT - VOTERS_AT) / 8;

/// The file of promises.
pub(crate) struct HardStateFile {
    path: PathBuf,
    file: File,
    counter: u64,
    term: u64,
    vote: u64,
    voters: Vec<u64>,
}

impl HardStateFile {
    /// Opens the file, or creates it for a group of these voters.
    ///
    /// # Errors
    /// [`NodeError::Io`]; [`NodeError::HardState`] where neither slot can be believed.
    pub(crate) fn open(path: &Path, voters: &[u64]) -> Result<Self, NodeError> {
        let io = |action| {
            move |source| NodeError::Io {
                path: path.to_path_buf(),
                action,
                source,
            }
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(io("open"))?;
        let mut state = Self {
            path: path.to_path_buf(),
            file,
            counter: 0,
            term: 0,
            vote: 0,
            voters: voters.to_vec(),
        };
        if state.file.metadata().map_err(io("look at"))?.len() == 0 {
            state.write()?;
            sync_folder_of(&SystemDisk, path)?;
            return Ok(state);
        }
        let slots = [state.read_slot(0), state.read_slot(1)];
        let newest = slots.into_iter().flatten().max_by_key(|slot| slot.counter);
        let slot = newest.ok_or_else(|| NodeError::HardState {
            path: path.to_path_buf(),
            reason: "neither copy is whole, so this node may have forgotten a promise; restore \
                     the file, or, where the node is alone and so has promised nothing, remove it"
                .to_owned(),
        })?;
        state.counter = slot.counter;
        state.term = slot.term;
        state.vote = slot.vote;
        state.voters = slot.voters;
        Ok(state)
    }

    /// The promises in raft's own words. The commit index is left to raft to find.
    pub(crate) fn hard_state(&self) -> HardState {
        HardState {
            term: self.term,
            vote: self.vote,
            ..HardState::default()
        }
    }

    /// The members.
    pub(crate) fn conf_state(&self) -> ConfState {
        ConfState {
            voters: self.voters.clone(),
            ..ConfState::default()
        }
    }

    /// Takes at least this term: a journal has it, whatever became of the file.
    pub(crate) fn at_least(&mut self, term: u64) {
        if self.term < term {
            self.term = term;
            self.vote = 0;
        }
    }

    /// Keeps a promise, on disk when this returns; nothing is written where nothing changes.
    ///
    /// # Errors
    /// [`NodeError::Io`]: the promise must not be made.
    pub(crate) fn promise(&mut self, state: &HardState) -> Result<(), NodeError> {
        if (self.term, self.vote) == (state.term, state.vote) {
            return Ok(());
        }
        self.term = state.term;
        self.vote = state.vote;
        self.write()
    }

    /// Keeps new members, on disk when this returns.
    ///
    /// # Errors
    /// [`NodeError::HardState`] where there are too many; [`NodeError::Io`].
    pub(crate) fn set_members(&mut self, members: &ConfState) -> Result<(), NodeError> {
        if members.voters.len() > VOTERS_MAX {
            return Err(NodeError::HardState {
                path: self.path.clone(),
                reason: format!("a group has at most {VOTERS_MAX} voters"),
            });
        }
        self.voters.clone_from(&members.voters);
        self.write()
    }

    fn write(&mut self) -> Result<(), NodeError> {
        self.counter += 1;
        let mut slot = [0; SLOT_BYTES];
        slot[..8].copy_from_slice(MAGIC);
        let words = [self.counter, self.term, self.vote, self.voters.len() as u64];
        for (place, word) in words.iter().chain(&self.voters).enumerate() {
            slot[8 + place * 8..16 + place * 8].copy_from_slice(&word.to_le_bytes());
        }
        let crc = checksum(&slot[..CRC_AT]);
        slot[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        let offset = (self.counter % 2) * SLOT_BYTES as u64;
        let io = |source| NodeError::Io {
            path: self.path.clone(),
            action: "write",
            source,
        };
        self.file.write_all_at(&slot, offset).map_err(io)?;
        self.file.sync_all().map_err(io)
    }

    fn read_slot(&self, place: u64) -> Option<Slot> {
        let mut bytes = [0; SLOT_BYTES];
        self.file
            .read_exact_at(&mut bytes, place * SLOT_BYTES as u64)
            .ok()?;
        Slot::parse(&bytes)
    }
}

struct Slot {
    counter: u64,
    term: u64,
    vote: u64,
    voters: Vec<u64>,
}

impl Slot {
    fn parse(bytes: &[u8; SLOT_BYTES]) -> Option<Self> {
        let (content, crc) = bytes.split_last_chunk()?;
        if &bytes[..8] != MAGIC || checksum(content) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut words = content[8..]
            .chunks_exact(8)
            .filter_map(|word| word.first_chunk().map(|word| u64::from_le_bytes(*word)));
        let (counter, term, vote) = (words.next()?, words.next()?, words.next()?);
        let count = usize::try_from(words.next()?).ok()?;
        let voters: Vec<u64> = words.take(count.min(VOTERS_MAX)).collect();
        (voters.len() == count).then_some(Self {
            counter,
            term,
            vote,
            voters,
        })
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    // The checksum of a 32-bit algorithm fits 32 bits.
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promise(term: u64, vote: u64) -> HardState {
        HardState {
            term,
            vote,
            ..HardState::default()
        }
    }

    #[test]
    fn a_promise_is_kept_over_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("raft-state");
        let mut state = HardStateFile::open(&path, &[1, 2, 3]).unwrap();
        state.promise(&promise(7, 2)).unwrap();
        drop(state);
        let state = HardStateFile::open(&path, &[9]).unwrap();
        assert_eq!(state.hard_state(), promise(7, 2));
        assert_eq!(state.conf_state().voters, [1, 2, 3]);
    }

    #[test]
    fn a_torn_write_leaves_the_older_promise_and_two_torn_slots_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("raft-state");
        let mut state = HardStateFile::open(&path, &[1]).unwrap();
        state.promise(&promise(3, 1)).unwrap();
        state.promise(&promise(4, 1)).unwrap();
        drop(state);
        let whole = std::fs::read(&path).unwrap();
        for place in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[place] ^= 0x40;
            std::fs::write(&path, &bytes).unwrap();
            let term = HardStateFile::open(&path, &[1]).unwrap().term;
            assert!(term == 3 || term == 4, "byte {place}: term {term}");
        }
        let mut bytes = whole;
        bytes[20] ^= 1;
        bytes[SLOT_BYTES + 20] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let refused = HardStateFile::open(&path, &[1]).err().unwrap();
        assert!(
            refused.to_string().contains("neither copy is whole"),
            "{refused}"
        );
    }
}
