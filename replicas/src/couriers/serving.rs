//! The sender's half: reads the newest snapshot and the event log, piece by piece.
//!
//! Owned by the agent, one for each receiver.
//!
//! Always holds: what is sent was there when the manifest was written: the snapshot's file stays readable
//! while it is open, and the event log's bytes below its end are fixed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use exahour_journal::disk::{Disk, DiskFile, Open};
use exahour_journal::{Position, Reader, SEGMENT_HEADER_BYTES, Verify};

use super::parcel::{
    KIND_END, KIND_MANIFEST, KIND_PIECE, Manifest, Of, PIECE_BYTES_MAX, event_segment,
    event_segments, pack_piece_head,
};
use crate::error::NodeError;
use crate::hard_state::HardStateFile;
use crate::on_disk::{EVENTS, PROMISES};
use crate::snapshots::{FOLDER, newest_file};

/// What is read for one receiver.
pub(super) struct Serving {
    disk: Arc<dyn Disk>,
    events: PathBuf,
    manifest: Manifest,
    snapshot: Box<dyn DiskFile>,
    /// The segment of the event log that is open.
    segment: Option<(u64, Box<dyn DiskFile>)>,
    /// The next frame.
    next: Next,
    buffer: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum Next {
    Manifest,
    Snapshot(u64),
    Events(u64),
    End,
    Done,
}

/// Where the last segment begins that does not begin behind this event; the first one of all where there is none.
fn first_segment(log: &Reader, mut starts: Vec<u64>, event: u64) -> u64 {
    starts.sort_unstable();
    let begins_by = |start: &&u64| {
        let first = log.frame_at(Position::new(**start + SEGMENT_HEADER_BYTES));
        first.is_ok_and(|frame| frame.header().first_sequence <= event)
    };
    let found = starts.iter().rfind(begins_by).or(starts.first());
    found.copied().unwrap_or(0)
}

impl Serving {
    /// Opens what there is to send to a node that has all events up to one; `None` where there is no snapshot.
    ///
    /// # Errors
    /// [`NodeError`] where a file cannot be read.
    pub(super) fn open(
        disk: &Arc<dyn Disk>,
        data: &Path,
        last_event: u64,
    ) -> Result<Option<Self>, NodeError> {
        let Some((path, place)) = newest_file(disk.as_ref(), &data.join(FOLDER))? else {
            return Ok(None);
        };
        let io = |action| NodeError::io(&path, action);
        let snapshot = disk.open(&path, Open::Read).map_err(io("open"))?;
        let events = data.join(EVENTS);
        let listed = disk.list(&events).map_err(NodeError::io(&events, "list"))?;
        let reader = Reader::follow_on(disk, &events, Verify::Trust);
        let reader = reader.map_err(NodeError::log("event log"))?;
        let manifest = Manifest {
            index: place.index,
            term: u64::from(place.term),
            snapshot_bytes: snapshot.bytes().map_err(io("look at"))?,
            events: (
                // From the last that it has on, which tells whether it is of the same history.
                first_segment(&reader, event_segments(&listed), last_event.max(1)),
                reader.appended().value(),
            ),
            segment_bytes: reader.segment_bytes(),
            members: HardStateFile::peek(disk.as_ref(), &data.join(PROMISES))?.members,
        };
        Ok(Some(Self {
            disk: Arc::clone(disk),
            events,
            manifest,
            snapshot,
            segment: None,
            next: Next::Manifest,
            buffer: Vec::with_capacity(PIECE_BYTES_MAX),
        }))
    }

    /// The kind of the next frame, whose body is appended to `body`; `None` where all was given.
    ///
    /// # Errors
    /// [`NodeError`] where a file cannot be read.
    pub(super) fn next_frame(&mut self, body: &mut Vec<u8>) -> Result<Option<u8>, NodeError> {
        match self.next {
            Next::Manifest => {
                self.manifest.pack(body);
                self.next = Next::Snapshot(0);
                Ok(Some(KIND_MANIFEST))
            }
            Next::Snapshot(offset) => {
                let length = self.fill(self.manifest.snapshot_bytes - offset);
                let read = self.snapshot.read_exact_at(&mut self.buffer, offset);
                read.map_err(NodeError::io(Path::new(FOLDER), "read a snapshot in"))?;
                pack_piece_head(Of::Snapshot, offset, body);
                body.extend_from_slice(&self.buffer);
                self.next = match offset + length {
                    end if end == self.manifest.snapshot_bytes => {
                        Next::Events(self.manifest.events.0)
                    }
                    end => Next::Snapshot(end),
                };
                Ok(Some(KIND_PIECE))
            }
            Next::Events(position) if position == self.manifest.events.1 => {
                self.next = Next::End;
                self.next_frame(body)
            }
            Next::Events(position) => {
                let segment_bytes = self.manifest.segment_bytes;
                let start = position / segment_bytes * segment_bytes;
                let end = self.manifest.events.1.min(start + segment_bytes);
                let length = self.fill(end - position);
                self.read_segment(start, position - start)?;
                pack_piece_head(Of::Events, position, body);
                body.extend_from_slice(&self.buffer);
                self.next = Next::Events(position + length);
                Ok(Some(KIND_PIECE))
            }
            Next::End => {
                self.next = Next::Done;
                Ok(Some(KIND_END))
            }
            Next::Done => Ok(None),
        }
    }

    /// Makes room for a piece of what is left; how long it is.
    fn fill(&mut self, left: u64) -> u64 {
        let length = left.min(PIECE_BYTES_MAX as u64);
        // At most a piece.
        self.buffer.resize(length as usize, 0);
        length
    }

    fn read_segment(&mut self, start: u64, offset: u64) -> Result<(), NodeError> {
        let path = event_segment(&self.events, start);
        if self.segment.as_ref().is_none_or(|(open, _)| *open != start) {
            let file = self.disk.open(&path, Open::Read);
            self.segment = Some((start, file.map_err(NodeError::io(&path, "open"))?));
        }
        let Some((_, file)) = &self.segment else {
            return Ok(());
        };
        file.read_exact_at(&mut self.buffer, offset)
            .map_err(NodeError::io(&path, "read"))
    }
}
