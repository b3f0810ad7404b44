//! One simulated file: what programs see of it, and what a power cut would leave.
//!
//! ```text
//! write, store through a map --> seen --sync--> kept
//! ```
//! Always holds: what a sync has returned for is kept. What was not synced is, by sectors of 512 bytes,
//! either what it was or what it became.
//! Does not: tear a sector, which disks write whole.

use std::ops::Range;
use std::sync::Arc;

use exahour_journal::disk::Mode;

use super::memory::Memory;
use crate::chance::Chance;

/// Bytes that a disk writes at once or not at all.
pub(super) const SECTOR: usize = 512;

/// What a power cut does to what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// All of it had been written back.
    Kept,
    /// None of it.
    Lost,
    /// Each sector for itself.
    Torn,
}

/// How a sync ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sync {
    /// All is on disk.
    Done,
    /// Some of it may be, and nobody will try again.
    Failed,
}

/// Who sees damage to a sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shows {
    /// Everybody: what was in memory is read from the disk anew.
    AtOnce,
    /// Whoever reads once the machine has started anew.
    Later,
    /// Everybody until then: the disk itself has it right.
    UntilRestart,
}

/// A file.
#[derive(Debug)]
pub(super) struct Image {
    seen: Arc<Memory>,
    bytes: usize,
    kept: Vec<u8>,
    pub(super) mode: Mode,
    /// Where writes since the last sync lie, those through a map not included.
    written: Range<usize>,
    /// Somebody may store through a map.
    stored: bool,
}

impl Image {
    pub(super) fn new(mode: Mode) -> Self {
        Self {
            seen: Memory::zeroed(0),
            bytes: 0,
            kept: Vec::new(),
            mode,
            written: 0..0,
            stored: false,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The memory, for a map.
    pub(super) fn memory(&mut self, stores: bool) -> &Arc<Memory> {
        self.stored |= stores;
        &self.seen
    }

    /// Fills `room` from a place; whether the file reaches so far.
    pub(super) fn read(&self, at: usize, room: &mut [u8]) -> bool {
        let there = at
            .checked_add(room.len())
            .is_some_and(|end| end <= self.bytes);
        if there {
            self.seen.read(at, room);
        }
        there
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        if end > self.bytes {
            self.set_bytes(end);
        }
        self.seen.write(at, bytes);
        self.mark(at..end);
    }

    /// Makes the file longer, by zeros, or shorter.
    ///
    /// # Panics
    /// If somebody has it mapped and it needs another place: our own fault.
    pub(super) fn set_bytes(&mut self, bytes: usize) {
        if bytes > self.seen.bytes() {
            assert!(
                Arc::strong_count(&self.seen) == 1,
                "a file grows under its map"
            );
            let room = Memory::zeroed(bytes.max(2 * self.bytes));
            let mut content = vec![0; self.bytes];
            self.seen.read(0, &mut content);
            room.write(0, &content);
            self.seen = room;
        }
        if bytes < self.bytes {
            let gone = vec![0; self.bytes - bytes];
            self.seen.write(bytes, &gone);
        }
        self.mark(bytes.min(self.bytes)..bytes.max(self.bytes));
        self.bytes = bytes;
    }

    fn mark(&mut self, range: Range<usize>) {
        self.written = if self.written.is_empty() {
            range
        } else {
            self.written.start.min(range.start)..self.written.end.max(range.end)
        };
    }

    /// Where the disk may not have what is seen.
    fn unsynced(&self) -> Range<usize> {
        if self.stored {
            0..self.bytes
        } else {
            self.written.start.min(self.bytes)..self.written.end.min(self.bytes)
        }
    }

    /// Brings what is seen onto the disk.
    pub(super) fn sync(&mut self, how: Sync, chance: &mut Chance) {
        match how {
            Sync::Done => {
                self.kept.resize(self.bytes, 0);
                let range = self.unsynced();
                self.seen.read(range.start, &mut self.kept[range]);
            }
            Sync::Failed => self.write_back(Fate::Torn, chance),
        }
        self.written = 0..0;
    }

    /// Writes some of what is unsynced to the disk.
    fn write_back(&mut self, fate: Fate, chance: &mut Chance) {
        let grows = match fate {
            Fate::Kept => true,
            Fate::Lost => return,
            Fate::Torn => chance.coin(),
        };
        if grows {
            self.kept.resize(self.bytes, 0);
        }
        let range = self.unsynced();
        let (first, end) = (range.start / SECTOR, range.end.div_ceil(SECTOR));
        for sector in first..end {
            let start = sector * SECTOR;
            let stop = (start + SECTOR).min(self.bytes).min(self.kept.len());
            if start >= stop || self.seen.equals(start, &self.kept[start..stop]) {
                continue;
            }
            if fate == Fate::Kept || chance.coin() {
                self.seen.read(start, &mut self.kept[start..stop]);
            }
        }
    }

    /// Writes a part back now, as the system may do with any part at any time.
    pub(super) fn write_back_part(&mut self, range: Range<usize>) {
        let end = range.end.min(self.bytes).min(self.kept.len());
        let start = range.start.min(end);
        self.seen.read(start, &mut self.kept[start..end]);
    }

    /// What a power cut would leave at least.
    pub(super) fn kept(&self) -> &[u8] {
        &self.kept
    }

    pub(super) fn kept_sector(&self, sector: usize) -> [u8; SECTOR] {
        let mut content = [0; SECTOR];
        content.copy_from_slice(&self.kept[sector * SECTOR..][..SECTOR]);
        content
    }

    /// Whether a whole sector is on disk as it is seen, so that it can be read from there anew.
    pub(super) fn is_clean(&self, sector: usize) -> bool {
        let start = sector * SECTOR;
        let kept = self.kept.get(start..start + SECTOR);
        start + SECTOR <= self.bytes && kept.is_some_and(|kept| self.seen.equals(start, kept))
    }

    /// Something else stands in a sector that is on disk.
    pub(super) fn harm(&mut self, sector: usize, content: &[u8; SECTOR], shows: Shows) {
        let start = sector * SECTOR;
        if shows != Shows::UntilRestart {
            self.kept[start..start + SECTOR].copy_from_slice(content);
        }
        if shows != Shows::Later {
            self.seen.write(start, content);
        }
    }

    /// The power is cut: what is seen from now on is what the disk has. Who has the file mapped keeps what
    /// was, and nobody sees it any more.
    pub(super) fn lose_power(&mut self, fate: Fate, chance: &mut Chance) {
        self.write_back(fate, chance);
        let room = Memory::zeroed(self.kept.len());
        room.write(0, &self.kept);
        self.seen = room;
        self.bytes = self.kept.len();
        self.written = 0..0;
        self.stored = false;
    }
}
