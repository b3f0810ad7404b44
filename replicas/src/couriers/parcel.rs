//! What couriers send each other, frame by frame.
//!
//! ```text
//! Ask       | the last event that the asker has 8 |
//! Manifest  | index 8 | term 8 | snapshot bytes 8 | events from 8 | to 8 | segment bytes 8 | members: 4, bytes |
//! Piece     | of 1: 1 snapshot, 2 events | offset 8 | bytes |
//! End       |
//! ```
//! The snapshot comes first, then the event log from the start of the segment with the last event that the asker
//! has to where the log ended when the manifest was written. An offset of events is a position of the sender's log;
//! an asker that says nothing has no event.

use std::path::{Path, PathBuf};

use crate::members::Members;
use crate::peers::packed::{Packer, Unpacker};

pub(super) const KIND_ASK: u8 = 16;
pub(super) const KIND_MANIFEST: u8 = 17;
pub(super) const KIND_PIECE: u8 = 18;
pub(super) const KIND_END: u8 = 19;

/// Bytes in one piece, at most.
pub(super) const PIECE_BYTES_MAX: usize = 256 << 10;

/// Segments that are believed to belong to one event log.
const SEGMENTS_MAX: u64 = 1 << 20;

/// What will come.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Manifest {
    /// The entry that the snapshot stands behind.
    pub(crate) index: u64,
    /// Its term.
    pub(crate) term: u64,
    pub(crate) snapshot_bytes: u64,
    /// Where what comes of the event log begins and ends.
    pub(crate) events: (u64, u64),
    pub(crate) segment_bytes: u64,
    /// The members, as the sender knows them.
    pub(crate) members: Members,
}

impl Manifest {
    pub(crate) fn pack(&self, bytes: &mut Vec<u8>) {
        let mut members = Vec::new();
        self.members.pack(&mut members);
        Packer(bytes)
            .u64(self.index)
            .u64(self.term)
            .u64(self.snapshot_bytes)
            .u64(self.events.0)
            .u64(self.events.1)
            .u64(self.segment_bytes)
            .counted(&members);
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = Unpacker(bytes);
        let manifest = Self {
            index: rest.u64()?,
            term: rest.u64()?,
            snapshot_bytes: rest.u64()?,
            events: (rest.u64()?, rest.u64()?),
            segment_bytes: rest.u64()?,
            members: Members::unpack(rest.counted()?)?,
        };
        let (from, to) = manifest.events;
        let whole = manifest.segment_bytes >= 4096
            && from.is_multiple_of(manifest.segment_bytes)
            && from <= to
            && (to - from) / manifest.segment_bytes < SEGMENTS_MAX;
        rest.finish(manifest).filter(|_| whole)
    }

    /// All bytes that will come.
    pub(crate) fn bytes(&self) -> u64 {
        self.snapshot_bytes + (self.events.1 - self.events.0)
    }
}

/// The file of the segment of an event log that begins at a position.
pub(super) fn event_segment(folder: &Path, start: u64) -> PathBuf {
    folder.join(format!("{start:020}.log"))
}

/// The starts of the segments of an event log in a folder, from their names.
pub(super) fn event_segments(paths: &[PathBuf]) -> Vec<u64> {
    let starts = paths.iter().filter_map(|path| {
        let log = path.extension().is_some_and(|ending| ending == "log");
        let name = path.file_stem().filter(|_| log)?.to_str()?;
        name.parse().ok()
    });
    starts.collect()
}

/// Appends the body of a question.
pub(super) fn pack_ask(last_event: u64, bytes: &mut Vec<u8>) {
    Packer(bytes).u64(last_event);
}

/// The last event that an asker has.
pub(super) fn parse_ask(bytes: &[u8]) -> u64 {
    Unpacker(bytes).u64().unwrap_or(0)
}

/// Of which file a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Snapshot,
    Events,
}

/// Appends a piece's head, which its bytes follow.
pub(super) fn pack_piece_head(of: Of, offset: u64, bytes: &mut Vec<u8>) {
    Packer(bytes)
        .u8(match of {
            Of::Snapshot => 1,
            Of::Events => 2,
        })
        .u64(offset);
}

/// A piece: of what, where it goes, and its bytes.
pub(super) fn parse_piece(bytes: &[u8]) -> Option<(Of, u64, &[u8])> {
    let mut rest = Unpacker(bytes);
    let of = match rest.u8()? {
        1 => Of::Snapshot,
        2 => Of::Events,
        _ => return None,
    };
    Some((of, rest.u64()?, rest.0))
}
