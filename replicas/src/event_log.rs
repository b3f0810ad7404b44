//! The event log's writer: events become frames that every follower reads.
//!
//! Called by the engine agent, batch by batch.
//!
//! Always holds: events are numbered without gap; one that the log has already, from before a
//! restart, is not written again. A frame may end within a command ([`FrameEnd`]), whose events
//! go on in the next. A frame that a full disk has no room for waits for it, in order.
//! The mark of what is committed is the number of the last event in a frame.
//! Does not: flush. The log is derived; what a crash takes is written again by replay, and `snapshots` flushes
//! what the journal will not give again.

use std::collections::VecDeque;

use exahour_engine::EventSink;
use exahour_journal::{Appender, Frame, FrameMeta, JournalError, Position, Reader, Verify};
use exahour_wire::events::{EventPrefix, FrameEnd};
use exahour_wire::ids::CommandSequence;
use exahour_wire::limits::MESSAGE_BYTES_MAX;
use exahour_wire::message::messages;
use exahour_wire::units::Nanos;

/// Bytes of events in a frame, at most; half a segment where that is less.
pub(crate) const FRAME_BYTES_MAX: usize = 128 << 10;

/// Writes events.
pub struct EventLog {
    appender: Appender,
    buffer: Vec<u8>,
    /// Bytes of events that the buffer may hold.
    frame_bytes_max: usize,
    /// Events in the buffer.
    count: u16,
    /// The number of the first event in the buffer.
    first: u64,
    /// The last event that the log holds.
    last: u64,
    /// The last command with an event in the log when it was taken over.
    last_command: CommandSequence,
    time: Nanos,
    /// Frames that the disk had no room for: those of one turn at most.
    waiting: VecDeque<(FrameMeta, Vec<u8>)>,
    failure: Option<JournalError>,
}

impl EventLog {
    /// Takes over a log and finds the last event that it holds.
    ///
    /// # Errors
    /// [`JournalError`] where the last frame cannot be read.
    pub fn new(appender: Appender, reader: &Reader) -> Result<Self, JournalError> {
        let (mut last, mut last_command) = (0, CommandSequence(0));
        if let Some(position) = appender.position_of(appender.last_index()) {
            let frame = reader.frame_at(position)?;
            let header = frame.header();
            last = (header.first_sequence + u64::from(header.count)).saturating_sub(1);
            let event = messages(frame.payload()).last().and_then(EventPrefix::peek);
            last_command = event.map_or(CommandSequence(0), |event| event.command);
        }
        appender.publish_commit(last);
        let frame_bytes_max = fits_a_segment(FRAME_BYTES_MAX, reader.segment_bytes());
        Ok(Self {
            appender,
            buffer: Vec::with_capacity(frame_bytes_max),
            frame_bytes_max,
            count: 0,
            first: 0,
            last,
            last_command,
            time: Nanos(0),
            waiting: VecDeque::new(),
            failure: None,
        })
    }

    /// Begins the events of a batch.
    #[inline]
    pub fn begin(&mut self, time: Nanos) {
        self.time = time;
    }

    /// Ends the events of a batch: followers see them, unless the disk is full.
    ///
    /// # Errors
    /// [`JournalError`] of any write since the last call, but for a full disk.
    #[inline]
    pub fn finish(&mut self) -> Result<(), JournalError> {
        self.write(FrameEnd::Command);
        self.failure.take().map_or(Ok(()), Err)
    }

    /// Writes a frame of another node's log, whose events follow those that are here, without those that are here
    /// already.
    ///
    /// # Errors
    /// As [`EventLog::finish`].
    pub(crate) fn repeat(&mut self, frame: &Frame<'_>) -> Result<(), JournalError> {
        self.begin(Nanos(frame.header.time_ns));
        messages(frame.payload).for_each(|event| self.emit(event));
        self.write(FrameEnd::of_kind(frame.header.kind).unwrap_or(FrameEnd::Anywhere));
        self.failure.take().map_or(Ok(()), Err)
    }

    /// Whether a full disk holds up events.
    #[inline]
    #[must_use]
    pub fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Writes what a full disk held up; whether nothing waits any more.
    ///
    /// # Errors
    /// [`JournalError`] of any write, but for a full disk.
    #[inline]
    pub fn catch_up(&mut self) -> Result<bool, JournalError> {
        while let Some((meta, events)) = self.waiting.front() {
            match self.appender.append(meta, &[events]) {
                Ok(_) => {
                    self.appender.publish_commit(last_of(meta));
                    self.waiting.pop_front();
                }
                Err(JournalError::DiskFull { .. }) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// The last command of which the log held an event when it was taken over; zero where it was empty.
    #[must_use]
    pub fn last_command(&self) -> CommandSequence {
        self.last_command
    }

    /// The last event that the log holds.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Where the frame of an index begins.
    pub(crate) fn position_of(&self, index: u64) -> Option<Position> {
        self.appender.position_of(index)
    }

    /// The index of the first frame with events behind this one, if there is any; `reader` reads this log.
    ///
    /// # Errors
    /// [`JournalError`] where a frame cannot be read.
    pub(crate) fn frame_behind(
        &self,
        event: u64,
        reader: &Reader,
    ) -> Result<Option<u64>, JournalError> {
        let Some(first) = self.appender.first_index() else {
            return Ok(None);
        };
        let (mut low, mut high) = (first, self.appender.last_index() + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(position) = self.appender.position_of(middle) else {
                unreachable!("the indices of this log have no gap")
            };
            let frame = reader.frame_of(middle, position, Verify::Trust)?;
            let header = frame.header();
            let last = (header.first_sequence + u64::from(header.count)).saturating_sub(1);
            match last > event {
                true => high = middle,
                false => low = middle + 1,
            }
        }
        Ok((low <= self.appender.last_index()).then_some(low))
    }

    fn write(&mut self, end: FrameEnd) {
        // Behind a frame that failed nothing is written: the log would have a gap.
        if self.count == 0 || self.failure.is_some() {
            return;
        }
        let meta = FrameMeta {
            index: self.appender.last_index() + 1 + self.waiting.len() as u64,
            term: 0,
            count: self.count,
            kind: end as u8,
            first_sequence: self.first,
            time_ns: self.time.0,
        };
        let overtakes = !self.waiting.is_empty();
        let written = !overtakes
            && match self.appender.append(&meta, &[&self.buffer]) {
                Ok(_) => {
                    self.appender.publish_commit(last_of(&meta));
                    true
                }
                Err(JournalError::DiskFull { .. }) => false,
                Err(error) => {
                    self.failure.get_or_insert(error);
                    true
                }
            };
        if !written {
            self.waiting.push_back((meta, self.buffer.clone()));
        }
        self.buffer.clear();
        self.count = 0;
    }
}

/// How much of `bytes` a frame may have, so that a segment holds two of them.
pub(crate) fn fits_a_segment(bytes: usize, segment_bytes: u64) -> usize {
    usize::try_from(segment_bytes / 2).map_or(bytes, |half| half.min(bytes))
}

/// The last event of a frame that has one.
#[inline]
fn last_of(meta: &FrameMeta) -> u64 {
    meta.first_sequence + u64::from(meta.count) - 1
}

impl EventSink for EventLog {
    #[inline]
    fn emit(&mut self, event: &[u8]) {
        let Some(prefix) = EventPrefix::peek(event) else {
            return;
        };
        let number = prefix.event.0;
        if number <= self.last {
            return;
        }
        if self.buffer.len() + MESSAGE_BYTES_MAX > self.frame_bytes_max {
            self.write(FrameEnd::Anywhere);
        }
        if self.count == 0 {
            self.first = number;
        }
        self.last = number;
        self.count += 1;
        self.buffer.extend_from_slice(event);
    }
}

#[cfg(test)]
mod tests {
    use exahour_journal::{Chain, Config, Journal, LogId, Verify};
    use exahour_wire::events::OrderAccepted;
    use exahour_wire::ids::EventSequence;
    use exahour_wire::message::Message;

    use super::*;

    /// A batch of many events, whose first frame the log refuses: the second, which it would take, has not the next
    /// event.
    #[test]
    fn behind_a_frame_that_failed_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            chain: Chain::Off,
            frame_bytes_max: FRAME_BYTES_MAX as u64 / 2,
            ..Config::new(folder.path(), LogId([4; 16])).with_segment_bytes(1 << 20)
        };
        let journal = Journal::create(&config).unwrap();
        let mut reader = Reader::follow(folder.path(), Verify::Every).unwrap();
        let mut log = EventLog::new(journal.appender, &reader).unwrap();
        log.begin(Nanos(1));
        let mut accepted = OrderAccepted::blank();
        let count = (FRAME_BYTES_MAX / accepted.bytes().len()) as u64;
        for number in 1..=count {
            accepted.event = EventSequence(number);
            log.emit(accepted.bytes());
        }
        assert!(log.count > 0, "all of it went into the first frame");
        let failure = log.finish().unwrap_err();
        assert!(
            matches!(failure, JournalError::FrameTooLarge { .. }),
            "{failure}"
        );
        let end = reader.appended();
        assert!(reader.next(end).unwrap().is_none());
    }
}
