//! A place in a log that moves over frames, and the view of the log that it moves in.
//!
//! Used by `read`, which gives what one place passes, and by `live`, where a second one looks ahead.
//!
//! Always holds: nothing beyond the appended mark is believed; whatever a file contains, no look leaves
//! its segment; on an error the place stays before the frame that caused it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{Chain, Verify};
use crate::control::ControlPage;
use crate::directory::list;
use crate::disk::Disk;
use crate::error::{JournalError, Result};
use crate::frame::{
    ChainValue, Damage, FrameHeader, KIND_SEGMENT_END, check_place, check_sum, header_in,
};
use crate::position::{Position, SEGMENT_HEADER_BYTES, SegmentNumber, align_up};
use crate::segment::{LogShape, SegmentMap, live_name};

/// Where a log ends for its reader.
#[derive(Debug)]
pub(crate) enum End {
    Live(ControlPage),
    Fixed(Position),
}

/// A log as a reader sees it.
#[derive(Debug)]
pub(crate) struct LogView {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) shape: LogShape,
    pub(crate) end: End,
}

impl LogView {
    /// The end of the last frame that can be read.
    #[inline]
    pub(crate) fn appended(&self) -> Position {
        match &self.end {
            End::Live(control) => control.appended(),
            End::Fixed(end) => *end,
        }
    }

    /// The start of the first segment that still exists.
    pub(crate) fn first_position(&self) -> Result<Position> {
        let live = list(self.disk.as_ref(), &self.dir)?.live;
        live.first().copied().ok_or_else(|| JournalError::Missing {
            path: self.dir.clone(),
        })
    }

    pub(crate) fn open(&self, number: SegmentNumber) -> Result<Arc<SegmentMap>> {
        let path = live_name(&self.dir, &self.shape, number);
        match SegmentMap::open(self.disk.as_ref(), path, Some(&self.shape)) {
            Err(JournalError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let position = self.shape.geometry.start_of(number);
                let first = self.first_position()?;
                Err(match position < first {
                    true => JournalError::Released { position, first },
                    false => JournalError::Corrupt {
                        segment: live_name(&self.dir, &self.shape, number),
                        position,
                        index: 0,
                        why: "the segment file is missing",
                    },
                })
            }
            other => other,
        }
    }

    /// The header of the frame at `offset`, checked as far as `verify` says; `last_index` is for the text
    /// of an error.
    pub(crate) fn checked<'m>(
        &self,
        map: &'m SegmentMap,
        offset: usize,
        appended: Position,
        (verify, last_index): (Verify, u64),
    ) -> Result<&'m FrameHeader> {
        let start = map.header().first_position();
        let position = start.plus(offset as u64);
        let end = appended.value().saturating_sub(start.value());
        // Beyond the appended mark the appender may be writing right now.
        let room = map.room_below(offset, usize::try_from(end).unwrap_or(usize::MAX));
        let header = header_in(room).and_then(|header| {
            if position.plus(align_up(u64::from(header.length))) > appended {
                return Err(Damage::Broken(
                    "the frame's length reaches beyond the end of the log",
                ));
            }
            match (verify, self.shape.chain) {
                (Verify::Trust, _) => Ok(header),
                (Verify::Every, Chain::On) => check_sum(room),
                (Verify::Every, Chain::Off) => {
                    let header = check_sum(room)?;
                    check_place(room, header, position, Chain::Off, ChainValue([0; 24]))?;
                    Ok(header)
                }
            }
        });
        header.map_err(|damage| JournalError::Corrupt {
            segment: map.path().to_path_buf(),
            position,
            index: last_index,
            why: damage.why(),
        })
    }
}

/// A place between two frames.
#[derive(Debug)]
pub(crate) struct Cursor {
    pub(crate) position: Position,
    /// Index of the frame passed last, for error texts.
    pub(crate) last_index: u64,
    /// The segment of the frame passed last.
    pub(crate) current: Option<Arc<SegmentMap>>,
}

impl Cursor {
    pub(crate) fn at(position: Position) -> Self {
        Cursor {
            position,
            last_index: 0,
            current: None,
        }
    }

    /// Moves over one frame that ends at or below `limit` and the appended mark, if there is one; returns
    /// its offset in `current` and its length.
    pub(crate) fn step(
        &mut self,
        log: &LogView,
        verify: Verify,
        limit: Position,
    ) -> Result<Option<(usize, usize)>> {
        let appended = log.appended();
        let geometry = log.shape.geometry;
        loop {
            if self.position >= limit.min(appended) {
                return Ok(None);
            }
            let offset = geometry.offset_of(self.position);
            let number = geometry.segment_of(self.position);
            if offset < SEGMENT_HEADER_BYTES as usize {
                self.position = geometry.frames_of(number);
                continue;
            }
            self.enter(log, number)?;
            let Some(map) = &self.current else {
                return Ok(None);
            };
            let header = log.checked(map, offset, appended, (verify, self.last_index))?;
            if header.kind == KIND_SEGMENT_END {
                self.position = geometry.start_of(number.next());
                continue;
            }
            let length = header.length as usize;
            let end = self.position.plus(align_up(u64::from(header.length)));
            if end > limit {
                return Ok(None);
            }
            self.last_index = header.index;
            self.position = end;
            return Ok(Some((offset, length)));
        }
    }

    /// Maps a segment if it is not the current one.
    pub(crate) fn enter(&mut self, log: &LogView, number: SegmentNumber) -> Result<()> {
        if self
            .current
            .as_ref()
            .is_none_or(|map| map.number() != number)
        {
            self.current = Some(log.open(number)?);
        }
        Ok(())
    }
}
