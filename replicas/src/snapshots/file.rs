//! One snapshot on disk: a header and the engine's bytes.
//!
//! ```text
//!   0 magic 8       8 format u32     12 term u32
//!  16 journal's identity 16
//!  32 index u64    40 frame u64      48 command u64     56 event u64
//!  64 stamp u64    72 payload bytes u64
//!  80 chain 24    104 zeros 8
//! 112 state hash 32
//! 144 BLAKE3 of all bytes before this field and of the payload, 32
//! 176 payload: an rkyv archive, aligned to 16
//! ```
//! Little endian. Written to a draft, flushed, and only then given its name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytemuck::{Pod, Zeroable};
use exahour_engine::{Capacity, Engine, SNAPSHOT_FORMAT, SnapshotError};
use exahour_journal::disk::{Disk, Open};
use exahour_journal::{FrameHeader, Position, Reader};
use exahour_wire::message::Digest;
use rkyv::util::AlignedVec;

use crate::draft::{Draft, entries};
use crate::error::NodeError;

const MAGIC: [u8; 8] = *b"EXAHSNP1";
const ENDING: &str = "snapshot";

/// The longest payload that is believed before its checksum is known.
const PAYLOAD_BYTES_MAX: u64 = 1 << 36;

/// What a snapshot stands for: everything up to a frame of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The raft index of the last frame covered.
    pub(crate) index: u64,
    /// Its term.
    pub(crate) term: u32,
    /// Where it begins.
    pub(crate) frame: Position,
    /// The journal's running hash behind it.
    pub(crate) chain: [u8; 24],
    /// Its stamp.
    pub(crate) time_ns: u64,
    /// The last command covered.
    pub(crate) command: u64,
    /// The last event that they gave.
    pub(crate) events: u64,
}

impl Place {
    /// The place behind a frame, of which the last command had this number.
    pub(crate) fn behind(header: &FrameHeader, frame: Position, command: u64, events: u64) -> Self {
        Self {
            index: header.index,
            term: header.term,
            frame,
            chain: header.chain,
            time_ns: header.time_ns,
            command,
            events,
        }
    }
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    format: u32,
    term: u32,
    log_id: [u8; 16],
    index: u64,
    frame: u64,
    command: u64,
    events: u64,
    time_ns: u64,
    payload_bytes: u64,
    chain: [u8; 24],
    zeros: [u8; 8],
    state_hash: [u8; 32],
    checksum: [u8; 32],
}

const HEADER_BYTES: usize = size_of::<Header>();
const _: () = assert!(HEADER_BYTES == 176 && HEADER_BYTES.is_multiple_of(16));

impl Header {
    fn place(&self) -> Place {
        Place {
            index: self.index,
            term: self.term,
            frame: Position::new(self.frame),
            chain: self.chain,
            time_ns: self.time_ns,
            command: self.command,
            events: self.events,
        }
    }

    fn sum(&self, payload: &[u8]) -> [u8; 32] {
        let covered = HEADER_BYTES - size_of::<[u8; 32]>();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&bytemuck::bytes_of(self)[..covered]);
        hasher.update(payload);
        *hasher.finalize().as_bytes()
    }
}

/// A snapshot as read: whole, but not restored yet.
pub(crate) struct SnapshotFile {
    pub(crate) place: Place,
    pub(super) state_hash: Digest,
    log_id: [u8; 16],
    payload: AlignedVec,
}

impl SnapshotFile {
    /// Reads and verifies a file; what is wrong with it, in words.
    pub(crate) fn read(disk: &dyn Disk, path: &Path) -> Result<Self, String> {
        let file = disk
            .open(path, Open::Read)
            .map_err(|error| error.to_string())?;
        let mut header = Header::zeroed();
        file.read_exact_at(bytemuck::bytes_of_mut(&mut header), 0)
            .map_err(|error| format!("its header cannot be read: {error}"))?;
        if header.magic != MAGIC {
            return Err("it is no snapshot".to_owned());
        }
        if header.format != SNAPSHOT_FORMAT {
            return Err(format!(
                "its format is {}, this program reads {SNAPSHOT_FORMAT}",
                header.format
            ));
        }
        let there = file.bytes().map_err(|error| error.to_string())?;
        let stated = header.payload_bytes;
        if stated > PAYLOAD_BYTES_MAX || there != HEADER_BYTES as u64 + stated {
            return Err("its length is not what its header says".to_owned());
        }
        let mut payload = AlignedVec::new();
        payload.resize(stated as usize, 0);
        file.read_exact_at(&mut payload, HEADER_BYTES as u64)
            .map_err(|error| error.to_string())?;
        if header.sum(&payload) != header.checksum {
            return Err("its checksum is wrong".to_owned());
        }
        Ok(Self {
            place: header.place(),
            state_hash: Digest(header.state_hash),
            log_id: header.log_id,
            payload,
        })
    }

    /// Where a file says that it stands, without a look at what it holds.
    pub(super) fn place_of(disk: &dyn Disk, path: &Path) -> Result<Place, String> {
        Self::header_of(disk, path).map(|header| header.place())
    }

    /// The same, where the journal has the very frame that it says; if not, why.
    pub(super) fn standing_of(
        (disk, path): (&dyn Disk, &Path),
        journal: &Reader,
    ) -> Result<Place, String> {
        let header = Self::header_of(disk, path)?;
        let place = header.place();
        stands_on(&place, header.log_id, journal).map(|()| place)
    }

    /// Whether a file is a snapshot that other versions of this program can read, and this one cannot.
    pub(super) fn of_another_format(disk: &dyn Disk, path: &Path) -> bool {
        let mut header = Header::zeroed();
        let file = disk.open(path, Open::Read);
        let read = file.and_then(|it| it.read_exact_at(bytemuck::bytes_of_mut(&mut header), 0));
        read.is_ok() && header.magic == MAGIC && header.format != SNAPSHOT_FORMAT
    }

    fn header_of(disk: &dyn Disk, path: &Path) -> Result<Header, String> {
        let file = disk
            .open(path, Open::Read)
            .map_err(|error| error.to_string())?;
        let mut header = Header::zeroed();
        file.read_exact_at(bytemuck::bytes_of_mut(&mut header), 0)
            .map_err(|error| format!("its header cannot be read: {error}"))?;
        match header.magic == MAGIC && header.format == SNAPSHOT_FORMAT {
            true => Ok(header),
            false => Err("it is no snapshot of this program's format".to_owned()),
        }
    }

    /// Whether the journal has the very frame that this stands behind; if not, why.
    pub(super) fn stands_on(&self, journal: &Reader) -> Result<(), String> {
        stands_on(&self.place, self.log_id, journal)
    }

    /// The engine as it was.
    pub(super) fn restore(&self, capacity: &Capacity) -> Result<Engine, SnapshotError> {
        Engine::restore(&self.payload, &self.state_hash, capacity)
    }
}

/// Whether the journal of this identity has the very frame of a place; if not, why.
fn stands_on(place: &Place, log_id: [u8; 16], journal: &Reader) -> Result<(), String> {
    if log_id != journal.log_id().0 {
        return Err("it is of another exchange".to_owned());
    }
    let frame = journal
        .frame_at(place.frame)
        .map_err(|error| format!("the journal has no such frame: {error}"))?;
    let header = frame.header();
    let same = (header.index, header.term, header.chain) == (place.index, place.term, place.chain);
    match same {
        true => Ok(()),
        false => Err(format!("the journal has another frame {}", place.index)),
    }
}

/// A snapshot that is being written, step by step.
pub(super) struct SnapshotDraft {
    place: Place,
    draft: Draft<AlignedVec>,
}

impl SnapshotDraft {
    /// Begins to write what `engine` is behind `place`.
    pub(super) fn begin(
        (disk, folder): (&Arc<dyn Disk>, &Path),
        place: &Place,
        log_id: [u8; 16],
        engine: &Engine,
    ) -> Result<Self, NodeError> {
        let (payload, state_hash) = (engine.snapshot()?, engine.state_hash());
        Self::of((disk, folder), place, log_id, payload, &state_hash)
    }

    /// As [`SnapshotDraft::begin`], of another node's snapshot, for the place that stands for it in this journal.
    pub(super) fn adopt(
        (disk, folder): (&Arc<dyn Disk>, &Path),
        place: &Place,
        snapshot: SnapshotFile,
    ) -> Result<Self, NodeError> {
        let SnapshotFile {
            log_id,
            payload,
            state_hash,
            ..
        } = snapshot;
        Self::of((disk, folder), place, log_id, payload, &state_hash)
    }

    fn of(
        (disk, folder): (&Arc<dyn Disk>, &Path),
        place: &Place,
        log_id: [u8; 16],
        payload: AlignedVec,
        state_hash: &Digest,
    ) -> Result<Self, NodeError> {
        let mut header = Header {
            magic: MAGIC,
            format: SNAPSHOT_FORMAT,
            term: place.term,
            log_id,
            index: place.index,
            frame: place.frame.value(),
            command: place.command,
            events: place.events,
            time_ns: place.time_ns,
            payload_bytes: payload.len() as u64,
            chain: place.chain,
            zeros: [0; 8],
            state_hash: state_hash.0,
            checksum: [0; 32],
        };
        header.checksum = header.sum(&payload);
        let content = (bytemuck::bytes_of(&header).to_vec(), payload);
        Ok(Self {
            place: *place,
            draft: Draft::begin(disk, path_of(folder, place.index), content)?,
        })
    }

    /// What it stands for.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// Whether every piece is written.
    pub(super) fn whole(&self) -> bool {
        self.draft.whole()
    }

    /// Writes and flushes one piece.
    pub(super) fn step(&mut self) -> Result<(), NodeError> {
        self.draft.step()
    }

    /// Gives a draft that is whole its name; where the snapshot is.
    pub(super) fn name(&self) -> Result<PathBuf, NodeError> {
        self.draft.name()
    }

    /// Gives up, and the room back.
    pub(super) fn discard(self) {
        self.draft.discard();
    }
}

/// The file of the snapshot behind a frame.
pub(super) fn path_of(folder: &Path, index: u64) -> PathBuf {
    folder.join(format!("{index:020}.{ENDING}"))
}

/// The snapshots in a folder, oldest first; none where there is no folder.
pub(super) fn list(disk: &dyn Disk, folder: &Path) -> Result<Vec<PathBuf>, NodeError> {
    entries(disk, folder, ENDING)
}
