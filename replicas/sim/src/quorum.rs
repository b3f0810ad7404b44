//! Whether what is committed is on the disks of a quorum, at the moment when it is called committed.
//!
//! Asked by the cluster whenever the history grows, of all nodes, those included that are down.
//!
//! Always holds: a node has a frame where the same bytes that it appended stand in a file that would have
//! that name after a power cut now. Does not: wait for the loss that such a lie may lead to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use exahour_journal::disk::Disk;
use exahour_journal::{JournalError, KIND_RESTART, Position, Reader, Verify, inspect_on};

use crate::client::Violation;
use crate::disk::Shared;
use crate::trace::digest;

/// How a node's disk stands to a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stand {
    /// It would be there after a power cut now.
    Kept,
    /// A snapshot stands for it.
    Before,
    /// It was appended, and is not on disk.
    Unflushed,
    /// It was appended to a file that has no name, or is too short, on disk.
    Unnamed,
    /// It was not appended.
    Missing,
    /// The disk was damaged: nothing is said.
    Harmed,
}

/// Where a node has a frame.
#[derive(Clone, Copy, Debug)]
struct Place {
    term: u32,
    position: Position,
    bytes: usize,
    digest: u64,
}

/// What one run of a node has appended.
#[derive(Debug)]
pub(crate) struct Held {
    disk: Arc<dyn Disk>,
    journal: Reader,
    folder: PathBuf,
    frames: BTreeMap<u64, Place>,
    /// Everything up to this index is in a snapshot, or released.
    before: u64,
    /// Nothing was read yet.
    is_new: bool,
    /// The run is over: what its disk has is all that there is.
    is_over: bool,
}

impl Held {
    /// Begins at the first frame that the node has.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(crate) fn new(disk: &Arc<dyn Disk>, folder: &Path) -> Result<Self, Violation> {
        let journal = Reader::follow_on(disk, folder, Verify::Trust);
        let journal = journal.map_err(|error| error.to_string())?;
        Ok(Self::of(disk, folder, journal))
    }

    /// What a run that is over has left, as a start would find it: the log's own marks may be older than that.
    fn left(disk: &Arc<dyn Disk>, folder: &Path) -> Result<Self, JournalError> {
        let found = inspect_on(disk.as_ref(), folder, Verify::Every)?;
        let journal = Reader::closed_on(disk, folder, &found, Verify::Trust)?;
        let mut left = Self::of(disk, folder, journal);
        left.is_over = true;
        Ok(left)
    }

    fn of(disk: &Arc<dyn Disk>, folder: &Path, journal: Reader) -> Self {
        Self {
            disk: Arc::clone(disk),
            journal,
            folder: folder.to_path_buf(),
            frames: BTreeMap::new(),
            before: 0,
            is_new: true,
            is_over: false,
        }
    }

    /// The run is over: what it has appended and its disk does not have does not count any more.
    pub(crate) fn end_run(&mut self) {
        if !self.is_over
            && let Ok(left) = Self::left(&self.disk, &self.folder)
        {
            *self = left;
        }
    }

    /// Takes in what was appended since. Where that was released meanwhile, it begins anew.
    fn catch_up(&mut self) {
        for _ in 0..2 {
            match self.read_on() {
                Ok(()) => return,
                Err(_) => match Self::new(&self.disk, &self.folder) {
                    Ok(anew) => *self = anew,
                    // What cannot be read at all counts as lost.
                    Err(_) => return,
                },
            }
        }
    }

    fn read_on(&mut self) -> Result<(), JournalError> {
        while let Some(frame) = self.journal.next_ref(Position::new(u64::MAX))? {
            let header = frame.header();
            if header.kind == KIND_RESTART {
                self.frames.clear();
                self.before = header.index;
            } else {
                if self.is_new {
                    self.before = header.index - 1;
                }
                let place = Place {
                    term: header.term,
                    position: frame.frame().position,
                    bytes: frame.len(),
                    digest: digest(&frame),
                };
                // What is appended at an index supersedes all behind it.
                drop(self.frames.split_off(&header.index));
                self.frames.insert(header.index, place);
            }
            self.is_new = false;
        }
        Ok(())
    }

    /// How the disk stands to the frame of an index and term.
    pub(crate) fn stand(&mut self, disk: &Shared, index: u64, term: u32) -> Stand {
        self.catch_up();
        if index <= self.before {
            return Stand::Before;
        }
        let Some(place) = self.frames.get(&index).filter(|it| it.term == term) else {
            return Stand::Missing;
        };
        let segment_bytes = self.journal.segment_bytes();
        let offset = place.position.value() % segment_bytes;
        let start = place.position.value() - offset;
        let path = self.folder.join(format!("{start:020}.log"));
        let range = offset as usize..offset as usize + place.bytes;
        match disk.lock().kept_digest(&path, range) {
            Some(kept) if kept == place.digest => Stand::Kept,
            Some(_) => Stand::Unflushed,
            None => Stand::Unnamed,
        }
    }
}
