//! The appender: seals frames, makes them visible, and turns to the next segment when one is full.
//!
//! Owned by the one thread that decides the order. Every appended frame can be read at once by
//! every reader in every process, and survives the death of this process; it survives the death of
//! the machine only once the flusher has published a durable mark at or above its end.
//!
//! Always holds: a refused append changes nothing; indices leave no hole; nothing is overwritten.
//! Does not: flush (that is `flush`), or allocate, lock or log while a segment lasts.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::disk::Disk;
use crate::error::{JournalError, Result, write_at};
use crate::frame::{
    ChainValue, FRAME_HEADER_BYTES, FrameMeta, KIND_RESERVED_FIRST, KIND_RESTART, end_mark, seal,
};
use crate::index_map::IndexMap;
use crate::journal::Core;
use crate::position::{FRAME_ALIGN, Position, SEGMENT_HEADER_BYTES, SegmentNumber};
use crate::segment::{SegmentHeader, live_name};
use crate::stage::{WritableSegment, lock_staging};

/// The writing end of a log.
#[derive(Debug)]
pub struct Appender {
    core: Arc<Core>,
    segment: WritableSegment,
    /// The next free byte of the live segment.
    offset: usize,
    /// The first segment that is not released.
    first_segment: SegmentNumber,
    last: Option<(u64, u32)>,
    chain: ChainValue,
    index: IndexMap,
    /// One frame is put together here before it is written.
    buffer: Box<[u8]>,
    late_stages: u64,
}

/// Where the log ends, as the appender takes it over.
#[derive(Debug)]
pub(crate) struct LogEnd {
    pub(crate) segment: WritableSegment,
    pub(crate) offset: usize,
    pub(crate) first_segment: SegmentNumber,
    pub(crate) last: Option<(u64, u32)>,
    pub(crate) chain: ChainValue,
    pub(crate) index: IndexMap,
}

impl Appender {
    pub(crate) fn new(core: Arc<Core>, end: LogEnd, frame_bytes_max: u64) -> Self {
        let buffer = vec![0; frame_bytes_max.next_multiple_of(FRAME_ALIGN) as usize];
        let mut appender = Appender {
            core,
            segment: end.segment,
            offset: end.offset,
            first_segment: end.first_segment,
            last: end.last,
            chain: end.chain,
            index: end.index,
            buffer: buffer.into_boxed_slice(),
            late_stages: 0,
        };
        appender.reserve_index();
        appender
    }

    /// Appends one frame and makes it visible; returns the position of its end.
    ///
    /// An index at or below the last supersedes that frame and all after it.
    ///
    /// # Errors
    /// [`JournalError::IndexGap`], [`JournalError::FrameTooLarge`], [`JournalError::ReservedKind`];
    /// [`JournalError::DiskFull`] when a new segment is needed and has no room; nothing is changed
    /// by any of them. [`JournalError::Sync`] after a failed flush.
    pub fn append(&mut self, meta: &FrameMeta, payload: &[&[u8]]) -> Result<Position> {
        if let Some((last, _)) = self.last
            && meta.index > last + 1
        {
            return Err(JournalError::IndexGap {
                expected: last + 1,
                found: meta.index,
            });
        }
        if meta.kind >= KIND_RESERVED_FIRST {
            let first_reserved = KIND_RESERVED_FIRST;
            return Err(JournalError::ReservedKind {
                kind: meta.kind,
                first_reserved,
            });
        }
        let (start, end) = self.append_unchecked(meta, payload)?;
        self.index.push(meta.index, meta.term, start);
        Ok(end)
    }

    /// Starts a new generation: the next frame has index `index + 1`, whatever stands before it.
    ///
    /// For a log whose state was replaced by a snapshot of that index and term. Leaves a frame of
    /// kind [`KIND_RESTART`] that readers see; all frames before it are superseded.
    ///
    /// # Errors
    /// As [`Appender::append`].
    pub fn restart_after(&mut self, index: u64, term: u32) -> Result<Position> {
        let meta = FrameMeta {
            index,
            term,
            kind: KIND_RESTART,
            ..FrameMeta::default()
        };
        let (_, end) = self.append_unchecked(&meta, &[])?;
        self.index.clear();
        Ok(end)
    }

    /// Returns start and end of the new frame.
    fn append_unchecked(
        &mut self,
        meta: &FrameMeta,
        payload: &[&[u8]],
    ) -> Result<(Position, Position)> {
        self.core.check_alive()?;
        let payload_bytes: usize = payload.iter().map(|part| part.len()).sum();
        let length = FRAME_HEADER_BYTES + payload_bytes;
        if length > self.buffer.len() {
            let max = self.buffer.len() as u64;
            return Err(JournalError::FrameTooLarge {
                bytes: length as u64,
                max,
            });
        }
        let need = length.next_multiple_of(FRAME_ALIGN as usize);
        if need > self.room() {
            self.turn_segment(meta.index)?;
        }
        let mut at = FRAME_HEADER_BYTES;
        for part in payload {
            self.buffer[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        let start = self.position();
        let (occupied, chain) = seal(
            &mut self.buffer,
            meta,
            payload_bytes,
            start,
            self.core.shape.chain,
            self.chain,
        );
        self.segment.write(self.offset, &self.buffer[..occupied])?;
        self.offset += occupied;
        self.chain = chain;
        self.last = Some((meta.index, meta.term));
        let end = start.plus(occupied as u64);
        self.core.control.publish_appended(end);
        Ok((start, end))
    }

    /// Closes the live segment and makes the staged one live.
    ///
    /// The order matters: until the last step everything can be repeated, and a process that dies
    /// in between leaves what recovery knows: a mark without a successor, or an empty successor.
    #[cold]
    fn turn_segment(&mut self, first_index: u64) -> Result<()> {
        let core = Arc::clone(&self.core);
        let shape = &core.shape;
        let mut staging = lock_staging(&core);
        let (next, late) = staging.finish(core.place(), shape, core.body)?;
        let header = SegmentHeader::new(
            shape,
            next.number,
            first_index,
            core.control.durable(),
            self.chain,
        );
        next.write(0, &header.page())?;
        if self.room() > 0 {
            let (index, term) = self.last.unwrap_or_default();
            let mark = end_mark(self.position(), index, term, shape.chain, self.chain);
            self.segment.write(self.offset, &mark)?;
        }
        let live = live_name(&core.dir, shape, next.number);
        core.disk
            .rename(&next.path, &live)
            .map_err(write_at("rename", &next.path, 0))?;
        next.path = live;
        if let Some(segment) = staging.take() {
            self.segment = segment;
        }
        drop(staging);
        self.late_stages += u64::from(late);
        self.offset = SEGMENT_HEADER_BYTES as usize;
        self.reserve_index();
        Ok(())
    }

    fn reserve_index(&mut self) {
        let frames = (self.core.shape.geometry.segment_bytes / FRAME_ALIGN) as usize;
        self.index.reserve(frames);
    }

    fn room(&self) -> usize {
        self.core.shape.geometry.segment_bytes as usize - self.offset
    }

    fn position(&self) -> Position {
        self.core
            .shape
            .geometry
            .start_of(self.segment.number)
            .plus(self.offset as u64)
    }

    /// The folder of the log, and the disk that it is on.
    pub(crate) fn place(&self) -> (&dyn Disk, &Path) {
        self.core.place()
    }

    /// The end of the last appended frame.
    pub fn appended(&self) -> Position {
        self.core.control.appended()
    }

    /// How far the log is known to be on disk.
    pub fn durable(&self) -> Position {
        self.core.control.durable()
    }

    /// The index of the last frame, 0 in an empty log.
    pub fn last_index(&self) -> u64 {
        self.last.map_or(0, |(index, _)| index)
    }

    /// The term of the last frame, 0 in an empty log.
    pub fn last_term(&self) -> u32 {
        self.last.map_or(0, |(_, term)| term)
    }

    /// The first index whose frame is held, `None` if there is none.
    pub fn first_index(&self) -> Option<u64> {
        self.index.first()
    }

    /// Where the live frame of an index starts.
    pub fn position_of(&self, index: u64) -> Option<Position> {
        self.index.position_of(index)
    }

    /// The term of the live frame of an index.
    pub fn term_of(&self, index: u64) -> Option<u32> {
        self.index.term_of(index)
    }

    /// The hash chain after the last frame; zeros when the chain is off.
    pub fn chain(&self) -> ChainValue {
        self.chain
    }

    /// How often a segment had to be staged by the appender because the stager was late.
    pub fn late_stages(&self) -> u64 {
        self.late_stages
    }

    /// Publishes the owner's two marks to followers; they start at 0 with every writer.
    pub fn publish_commit(&self, mark: u64) {
        self.core.control.publish_commit(mark);
    }

    /// Publishes how far the owner has applied the log; see [`Appender::publish_commit`].
    pub fn publish_applied(&self, mark: u64) {
        self.core.control.publish_applied(mark);
    }

    /// Gives up the segments that lie wholly below `position` and the durable mark; returns how
    /// many. The stager removes them in its own time.
    ///
    /// Followers that have them mapped keep reading them; once they are removed nobody can open
    /// them any more.
    pub fn release_before(&mut self, position: Position) -> u64 {
        let geometry = self.core.shape.geometry;
        // The flusher still has to open what is not flushed.
        let position = position.min(self.core.control.durable());
        let keep = geometry.segment_of(position).min(self.segment.number);
        if self.first_segment >= keep {
            return 0;
        }
        let released = keep.0 - self.first_segment.0;
        self.first_segment = keep;
        self.index.release_before(geometry.start_of(keep));
        self.core.released.store(keep.0, Ordering::Release);
        released
    }
}
