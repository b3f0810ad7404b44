//! The reader: walks the frames of a log through its own read-only maps, without copies.
//!
//! Used by every follower, in this process or another, on a live log or a closed one. Each reader
//! has its own cursor.
//!
//! Always holds: nothing beyond the appended mark is believed; whatever a file contains, no read
//! leaves its segment; on an error the cursor stays before the frame that caused it.
//! Does not: hide superseded frames. They come in the order written, and a frame whose index steps
//! back tells the follower that its index and all after it have been replaced.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use crate::config::{LogId, Verify};
use crate::control::ControlPage;
use crate::cursor::{Cursor, End, LogView};
use crate::directory::list;
use crate::disk::{Disk, system_disk};
use crate::error::{JournalError, Result};
use crate::frame::{Frame, KIND_RESTART, KIND_SEGMENT_END};
use crate::position::{FRAME_ALIGN, Position, SegmentNumber};
use crate::recovery::Recovered;
use crate::segment::{FrameRef, LogShape, SegmentMap, live_name};

/// Segments a reader keeps mapped for random access; sequential reading needs one.
const MAPS_KEPT: usize = 64;

/// A cursor over the frames of a log.
#[derive(Debug)]
pub struct Reader {
    pub(crate) log: LogView,
    pub(crate) verify: Verify,
    pub(crate) cursor: Cursor,
    /// The maps last used by [`Reader::frame_at`], newest last.
    kept: RefCell<Vec<Arc<SegmentMap>>>,
}

impl Reader {
    /// Follows the log in `dir`, which a writer may be appending to, from its first frame.
    ///
    /// # Errors
    /// [`JournalError::Missing`] if there is no log; [`JournalError::Corrupt`] if its control page
    /// or first segment is damaged.
    pub fn follow(dir: impl AsRef<Path>, verify: Verify) -> Result<Reader> {
        Reader::follow_on(&system_disk(), dir, verify)
    }

    /// As [`Reader::follow`], on a disk of the caller's choice.
    ///
    /// # Errors
    /// As [`Reader::follow`].
    pub fn follow_on(
        disk: &Arc<dyn Disk>,
        dir: impl AsRef<Path>,
        verify: Verify,
    ) -> Result<Reader> {
        let (control, shape) = ControlPage::follow(disk.as_ref(), dir.as_ref())?;
        Reader::new((disk, dir.as_ref()), shape, End::Live(control), verify)
    }

    /// Believes frames from here on without checking their sums: for what this process writes itself.
    #[inline]
    pub fn trust(&mut self) {
        self.verify = Verify::Trust;
    }

    /// Reads a closed log up to the end that [`crate::inspect`] found, without its control page.
    ///
    /// # Errors
    /// As [`Reader::follow`].
    pub fn closed(dir: impl AsRef<Path>, recovered: &Recovered, verify: Verify) -> Result<Reader> {
        Reader::closed_on(&system_disk(), dir, recovered, verify)
    }

    /// As [`Reader::closed`], on a disk of the caller's choice.
    ///
    /// # Errors
    /// As [`Reader::follow`].
    pub fn closed_on(
        disk: &Arc<dyn Disk>,
        dir: impl AsRef<Path>,
        recovered: &Recovered,
        verify: Verify,
    ) -> Result<Reader> {
        let end = End::Fixed(recovered.appended);
        Reader::new((disk, dir.as_ref()), recovered.shape, end, verify)
    }

    fn new(
        (disk, dir): (&Arc<dyn Disk>, &Path),
        shape: LogShape,
        end: End,
        verify: Verify,
    ) -> Result<Reader> {
        let log = LogView {
            disk: Arc::clone(disk),
            dir: dir.to_path_buf(),
            shape,
            end,
        };
        Ok(Reader {
            cursor: Cursor::at(log.first_position()?),
            log,
            verify,
            kept: RefCell::new(Vec::with_capacity(MAPS_KEPT)),
        })
    }

    /// The next frame that ends at or below `limit` and the appended mark, if there is one.
    ///
    /// # Errors
    /// [`JournalError::Corrupt`] if the bytes at the cursor are no whole frame;
    /// [`JournalError::Released`] if their segment is gone; [`JournalError::Io`].
    pub fn next(&mut self, limit: Position) -> Result<Option<Frame<'_>>> {
        let Some((offset, length)) = self.step(limit)? else {
            return Ok(None);
        };
        let map = self.cursor.current.as_deref();
        Ok(map.map(|map| map.frame(offset, length)))
    }

    /// The same as an owned reference that keeps its segment mapped.
    ///
    /// # Errors
    /// As [`Reader::next`].
    pub fn next_ref(&mut self, limit: Position) -> Result<Option<FrameRef>> {
        let Some((offset, length)) = self.step(limit)? else {
            return Ok(None);
        };
        let map = self.cursor.current.as_ref();
        Ok(map.map(|map| FrameRef::new(Arc::clone(map), offset, length)))
    }

    fn step(&mut self, limit: Position) -> Result<Option<(usize, usize)>> {
        self.cursor.step(&self.log, self.verify, limit)
    }

    /// The frame that starts at a position, wherever the cursor is.
    ///
    /// # Errors
    /// [`JournalError::Beyond`] at or above the appended mark; otherwise as [`Reader::next`].
    pub fn frame_at(&self, position: Position) -> Result<FrameRef> {
        self.frame_checked_at(position, self.verify)
    }

    /// The frame of an index at the position where it was appended; its checksum is right where `verify` asks
    /// for that, whatever this reader believes otherwise.
    ///
    /// # Errors
    /// As [`Reader::frame_at`]; [`JournalError::Corrupt`] where the frame of another index stands there.
    pub fn frame_of(&self, index: u64, position: Position, verify: Verify) -> Result<FrameRef> {
        let frame = self.frame_checked_at(position, verify)?;
        if frame.header().index != index {
            let number = self.log.shape.geometry.segment_of(position);
            return Err(JournalError::Corrupt {
                segment: live_name(&self.log.dir, &self.log.shape, number),
                position,
                index: index - 1,
                why: "the frame of another index stands here",
            });
        }
        Ok(frame)
    }

    fn frame_checked_at(&self, position: Position, verify: Verify) -> Result<FrameRef> {
        let end = self.appended();
        if position >= end {
            return Err(JournalError::Beyond { position, end });
        }
        let geometry = self.log.shape.geometry;
        let (number, offset) = (geometry.segment_of(position), geometry.offset_of(position));
        let map = self.kept_map(number)?;
        let checks = (verify, self.cursor.last_index);
        let header = self.log.checked(&map, offset, end, checks)?;
        let length = header.length as usize;
        let aligned = position.value().is_multiple_of(FRAME_ALIGN);
        if !aligned || header.kind == KIND_SEGMENT_END {
            return Err(JournalError::Corrupt {
                segment: map.path().to_path_buf(),
                position,
                index: self.cursor.last_index,
                why: "no frame starts here",
            });
        }
        Ok(FrameRef::new(map, offset, length))
    }

    fn kept_map(&self, number: SegmentNumber) -> Result<Arc<SegmentMap>> {
        let mut kept = self.kept.borrow_mut();
        if let Some(at) = kept.iter().rposition(|map| map.number() == number) {
            return Ok(Arc::clone(&kept[at]));
        }
        let map = self.log.open(number)?;
        if kept.len() == MAPS_KEPT {
            kept.remove(0);
        }
        kept.push(Arc::clone(&map));
        Ok(map)
    }

    /// Puts the cursor at a position where a frame starts or ended.
    ///
    /// # Errors
    /// [`JournalError::Beyond`] above the appended mark; [`JournalError::Released`] below the log,
    /// unless this reader still has the segment mapped.
    pub fn seek(&mut self, position: Position) -> Result<()> {
        let end = self.appended();
        if position > end {
            return Err(JournalError::Beyond { position, end });
        }
        if position < end {
            let number = self.log.shape.geometry.segment_of(position);
            self.cursor.enter(&self.log, number)?;
        }
        self.cursor.position = position;
        Ok(())
    }

    /// Puts the cursor before the live frame of an index; `None`, and no move, if there is none.
    ///
    /// Looks at the headers of segments from the last to the first that can hold the frame, then
    /// at every frame from there on, because a later one may supersede it.
    ///
    /// # Errors
    /// As [`Reader::next`].
    pub fn seek_index(&mut self, index: u64) -> Result<Option<Position>> {
        let live = list(self.log.disk.as_ref(), &self.log.dir)?.live;
        let before = self.cursor.position;
        let mut start = None;
        for &first in live.iter().rev().filter(|&&first| first < self.appended()) {
            start = Some(first);
            if self
                .log
                .open(self.log.shape.geometry.segment_of(first))?
                .header()
                .first_index()
                <= index
            {
                break;
            }
        }
        let Some(start) = start else { return Ok(None) };
        self.cursor.position = start;
        let mut found = None;
        let limit = self.appended();
        loop {
            match self.next(limit) {
                Ok(Some(frame)) if frame.header.index == index => {
                    let live = frame.header.kind != KIND_RESTART;
                    found = live.then_some(frame.position);
                }
                Ok(Some(frame)) => {
                    if frame.header.index < index || frame.header.kind == KIND_RESTART {
                        found = None;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    self.cursor.position = before;
                    return Err(error);
                }
            }
        }
        self.cursor.position = found.unwrap_or(before);
        Ok(found)
    }

    /// Where the cursor stands.
    pub fn position(&self) -> Position {
        self.cursor.position
    }

    /// The end of the last frame that can be read.
    pub fn appended(&self) -> Position {
        self.log.appended()
    }

    /// How far the log is on disk, as its flusher says; the end for a closed log.
    pub fn durable(&self) -> Position {
        match &self.log.end {
            End::Live(control) => control.durable(),
            End::Fixed(end) => *end,
        }
    }

    /// The owner's commit mark; 0 until its writer publishes one.
    pub fn commit(&self) -> u64 {
        match &self.log.end {
            End::Live(control) => control.commit(),
            End::Fixed(_) => 0,
        }
    }

    /// The owner's applied mark; 0 until its writer publishes one.
    pub fn applied(&self) -> u64 {
        match &self.log.end {
            End::Live(control) => control.applied(),
            End::Fixed(_) => 0,
        }
    }

    /// Bytes of each of its segments.
    pub fn segment_bytes(&self) -> u64 {
        self.log.shape.geometry.segment_bytes
    }

    /// The identity of the log.
    pub fn log_id(&self) -> LogId {
        self.log.shape.log_id
    }
}
