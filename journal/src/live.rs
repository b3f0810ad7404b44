//! The live frames of a log: what is left once later frames have superseded earlier ones.
//!
//! Used by whoever follows what is committed: the engine's stages, snapshots, replay, audits. A frame is
//! dead once one behind it steps back to its index or below, and a restart mark makes all before it dead:
//!
//! ```text
//!  written   5  6  7 | 6' 7' 8' | 8" 9"           each `|` is a step back
//!  live      5         6' 7'      8" 9"
//! ```
//! A second place looks at the headers up to the limit, once, and keeps for each stretch without a step
//! back where it begins and which indices of it live; frames are then given stretch by stretch.
//!
//! Always holds: within a limit every live frame is given once, in the order of indices and without a
//! hole; one that was given and is superseded later is an error, for it was called committed.
//! Does not: go back. A limit below an earlier one gives less, and what is dead stays so.

use std::collections::VecDeque;

use crate::config::Verify;
use crate::cursor::Cursor;
use crate::error::{JournalError, Result};
use crate::frame::{Frame, KIND_RESTART};
use crate::position::Position;
use crate::read::Reader;

/// Stretches remembered at a time; where a log steps back more often, its headers are looked at again.
const STRETCHES_MAX: usize = 256;

/// What a [`LiveReader`] meets next.
#[derive(Clone, Copy, Debug)]
pub enum Live<'a> {
    /// A frame that is not superseded.
    Frame(Frame<'a>),
    /// All that came before is void: the state behind this index is a snapshot's, and the next frame has
    /// the next index.
    Restart {
        /// The index that the snapshot stands behind.
        index: u64,
        /// Its term.
        term: u32,
    },
}

/// Frames one behind the other of which none steps back.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    start: Position,
    first: u64,
    /// The last index of it that is not superseded.
    last: u64,
}

/// A restart mark that was met and is not told yet.
#[derive(Clone, Copy, Debug)]
struct Mark {
    index: u64,
    term: u32,
    end: Position,
}

/// A cursor over the live frames of a log.
#[derive(Debug)]
pub struct LiveReader {
    reader: Reader,
    /// Looks at headers, ahead of `reader`.
    ahead: Cursor,
    /// The index of the frame that `ahead` looked at last.
    looked: Option<u64>,
    /// The last index that may not be superseded any more.
    given: Option<u64>,
    restart: Option<Mark>,
    /// Ascending, and without a hole between them.
    stretches: VecDeque<Stretch>,
    /// The frame, and its index, that began a stretch when no more could be remembered.
    forgotten: Option<(Position, u64)>,
}

impl LiveReader {
    /// Begins where a reader stands, with whatever index comes there.
    pub fn new(reader: Reader) -> Self {
        Self::with(reader, None)
    }

    /// Begins where a reader stands, which is behind the live frame or the restart mark of this index.
    pub fn behind(reader: Reader, index: u64) -> Self {
        Self::with(reader, Some(index))
    }

    fn with(reader: Reader, given: Option<u64>) -> Self {
        LiveReader {
            ahead: Cursor::at(reader.position()),
            reader,
            looked: given,
            given,
            restart: None,
            stretches: VecDeque::with_capacity(STRETCHES_MAX),
            forgotten: None,
        }
    }

    /// The next live frame that ends at or below `limit` and the appended mark, if there is one. What is
    /// live is said of the log up to the highest limit so far.
    ///
    /// # Errors
    /// As [`Reader::next`]; [`JournalError::Superseded`].
    #[inline]
    pub fn next(&mut self, limit: Position) -> Result<Option<Live<'_>>> {
        if self.ahead.position < limit {
            self.look_ahead(limit)?;
        }
        if let Some(mark) = self.restart {
            if mark.end > limit {
                return Ok(None);
            }
            self.restart = None;
            self.reader.seek(mark.end)?;
            let Mark { index, term, .. } = mark;
            return Ok(Some(Live::Restart { index, term }));
        }
        if !self.enter_stretch(limit)? {
            return Ok(None);
        }
        let reader = &mut self.reader;
        let Some((offset, length)) = reader.cursor.step(&reader.log, reader.verify, limit)? else {
            return Ok(None);
        };
        let map = self.reader.cursor.current.as_deref();
        let frame = map.map(|map| map.frame(offset, length));
        self.given = frame.map(|frame| frame.header.index);
        Ok(frame.map(Live::Frame))
    }

    /// Puts the reader into the first stretch that has a live frame left; whether there is one.
    fn enter_stretch(&mut self, limit: Position) -> Result<bool> {
        loop {
            let Some(&front) = self.stretches.front() else {
                return Ok(false);
            };
            let read = self.given.is_some_and(|given| given >= front.last);
            if !read {
                if self.reader.position() < front.start {
                    self.reader.seek(front.start)?;
                }
                return Ok(true);
            }
            if self.stretches.len() > 1 {
                self.stretches.pop_front();
            } else if let Some((position, index)) = self.forgotten.take() {
                self.stretches.clear();
                let looked_to = self.ahead.position;
                self.ahead.position = position;
                self.looked = Some(index - 1);
                self.look_ahead(limit.max(looked_to))?;
            } else {
                // The newest stretch stays: the next frame goes on with it.
                return Ok(false);
            }
        }
    }

    /// Looks at every header up to the limit that was not looked at before.
    fn look_ahead(&mut self, limit: Position) -> Result<()> {
        // What is given is checked as the reader checks; a header that is damaged here is met again there.
        while let Some((offset, length)) =
            self.ahead.step(&self.reader.log, Verify::Trust, limit)?
        {
            let Some(map) = &self.ahead.current else {
                return Ok(());
            };
            let frame = map.frame(offset, length);
            let (position, end, header) = (frame.position, frame.end(), *frame.header);
            let noted = match header.kind {
                KIND_RESTART => {
                    let (index, term) = (header.index, header.term);
                    self.on_restart(Mark { index, term, end });
                    Ok(())
                }
                _ => self.on_frame(position, header.index),
            };
            if let Err(error) = noted {
                self.ahead.position = position;
                return Err(error);
            }
        }
        Ok(())
    }

    fn on_restart(&mut self, mark: Mark) {
        self.stretches.clear();
        self.forgotten = None;
        self.looked = Some(mark.index);
        self.given = Some(mark.index);
        self.restart = Some(mark);
    }

    #[inline]
    fn on_frame(&mut self, position: Position, index: u64) -> Result<()> {
        match self.looked {
            Some(looked) if looked.checked_add(1) == Some(index) => {
                if let (Some(back), None) = (self.stretches.back_mut(), self.forgotten) {
                    back.last = index;
                } else if self.forgotten.is_none() {
                    self.begin_stretch(position, index);
                }
            }
            Some(looked) if index > looked => return Err(self.hole(position)),
            Some(_) => self.step_back(position, index)?,
            None => self.begin_stretch(position, index),
        }
        self.looked = Some(index);
        Ok(())
    }

    #[cold]
    fn step_back(&mut self, position: Position, index: u64) -> Result<()> {
        if let Some(given) = self.given.filter(|&given| given >= index) {
            return Err(JournalError::Superseded {
                index: given,
                position,
            });
        }
        while self
            .stretches
            .back()
            .is_some_and(|back| back.first >= index)
        {
            self.stretches.pop_back();
        }
        if let Some(back) = self.stretches.back_mut() {
            back.last = back.last.min(index - 1);
        }
        // A step back within what was forgotten is met when it is looked at again.
        if self.forgotten.is_none_or(|(_, first)| index <= first) {
            self.forgotten = None;
            self.begin_stretch(position, index);
        }
        Ok(())
    }

    fn begin_stretch(&mut self, start: Position, index: u64) {
        if self.stretches.len() == STRETCHES_MAX {
            self.forgotten = Some((start, index));
            return;
        }
        self.stretches.push_back(Stretch {
            start,
            first: index,
            last: index,
        });
    }

    #[cold]
    fn hole(&self, position: Position) -> JournalError {
        let map = self.ahead.current.as_ref();
        JournalError::Corrupt {
            segment: map.map_or_else(|| self.reader.log.dir.clone(), |map| map.path().into()),
            position,
            index: self.looked.unwrap_or_default(),
            why: "the index leaves a hole",
        }
    }

    /// Believes frames from here on without checking their sums: for what this process writes itself.
    #[inline]
    pub fn trust(&mut self) {
        self.reader.trust();
    }

    /// The index of the last frame given, or covered by the last restart mark met.
    #[inline]
    pub fn index(&self) -> Option<u64> {
        self.given
    }

    /// Behind the last frame given.
    #[inline]
    pub fn position(&self) -> Position {
        self.reader.position()
    }

    /// The reader that frames are given through, for its marks and for frames at other places.
    #[inline]
    pub fn reader(&self) -> &Reader {
        &self.reader
    }
}
