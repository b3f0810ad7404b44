//! The newest messages of the feed, framed and numbered, in a ring of fixed size.
//!
//! Written by the publisher; read by every client through a cursor that is only a number, and by
//! the snapshot's shadow.
//!
//! ```text
//! entries: number -> offset, instrument      bytes: | framed 7 | framed 8 | framed 9 | framed ..
//! ```
//! Always holds: messages from `oldest` up to but not including `next` are kept, whole; what is
//! pushed out is always the oldest. Does not: know who reads, or wait for anybody.

use exahour_wire::framing::{FRAMING_BYTES, framing_header};
use exahour_wire::ids::{FeedSequence, InstrumentId};
use exahour_wire::limits::MESSAGE_BYTES_MAX;

use super::send_buffer::SendBuffer;
use crate::image::Flow;

/// The least size of the ring in bytes.
pub const HISTORY_BYTES_MIN: usize = 64 << 10;

/// The most.
pub const HISTORY_BYTES_MAX: usize = 4 << 30;

/// The smallest numbered message, framed: `OrderDeleted`, or a circuit breaker.
const FRAMED_BYTES_MIN: usize = 46;

// Any message leaves room for many others.
const _: () = assert!(HISTORY_BYTES_MIN >= 64 * (FRAMING_BYTES + MESSAGE_BYTES_MAX));

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// Where the framed message starts, counted over the whole life of the ring.
    offset: u64,
    instrument: InstrumentId,
    framed_bytes: u32,
}

/// The ring.
#[derive(Debug)]
pub struct History {
    bytes: Box<[u8]>,
    entries: Box<[Entry]>,
    oldest: u64,
    next: u64,
    /// The end of the newest message, counted over the whole life of the ring.
    end: u64,
}

/// The message asked for is not kept any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overrun;

impl History {
    /// A ring of `bytes` bytes, or [`HISTORY_BYTES_MIN`] where that is more; empty.
    pub fn new(bytes: usize) -> Self {
        Self::from(bytes, FeedSequence(1))
    }

    /// The same, for a feed of which this number comes next.
    pub fn from(bytes: usize, next: FeedSequence) -> Self {
        let bytes = bytes.max(HISTORY_BYTES_MIN);
        History {
            bytes: vec![0; bytes].into_boxed_slice(),
            entries: vec![Entry::default(); bytes / FRAMED_BYTES_MIN + 1].into_boxed_slice(),
            oldest: next.0,
            next: next.0,
            end: 0,
        }
    }

    /// The number of the oldest message kept, or the next number while there is none.
    pub fn oldest(&self) -> FeedSequence {
        FeedSequence(self.oldest)
    }

    /// The number that the next message gets.
    pub fn next(&self) -> FeedSequence {
        FeedSequence(self.next)
    }

    /// The size of the ring in bytes.
    pub fn capacity_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// How many bytes were written from the message `from` on; all that is kept where it is gone.
    pub fn bytes_since(&self, from: FeedSequence) -> usize {
        match from.0 {
            next if next >= self.next => 0,
            kept => (self.end - self.entry(kept.max(self.oldest)).offset) as usize,
        }
    }

    /// Keeps a message under the next number, and drops the oldest ones that it displaces.
    ///
    /// # Panics
    /// If the message is longer than a message can be, or shorter than any of the feed.
    pub fn push(&mut self, instrument: InstrumentId, message: &[u8]) {
        let framed_bytes = FRAMING_BYTES + message.len();
        assert!(framed_bytes >= FRAMED_BYTES_MIN);
        let (start, end) = (self.end, self.end + framed_bytes as u64);
        while self.oldest < self.next
            && end - self.entry(self.oldest).offset > self.bytes.len() as u64
        {
            self.oldest += 1;
        }
        self.write(start, &framing_header(message.len()));
        self.write(start + FRAMING_BYTES as u64, message);
        let place = self.place(self.next);
        self.entries[place] = Entry {
            offset: start,
            instrument,
            framed_bytes: framed_bytes as u32,
        };
        self.next += 1;
        self.end = end;
    }

    /// Copies messages from `from` on, as many as fit, and gives the number to go on with.
    ///
    /// # Errors
    /// [`Overrun`] where `from` is not kept any more.
    pub fn copy(
        &self,
        from: FeedSequence,
        flow: Flow,
        buffer: &mut SendBuffer,
    ) -> Result<FeedSequence, Overrun> {
        if from.0 < self.oldest {
            return Err(Overrun);
        }
        Ok(FeedSequence(match flow {
            Flow::All => self.copy_all(from.0, buffer),
            Flow::One(instrument) => self.copy_one(from.0, instrument, buffer),
        }))
    }

    /// Copies messages from `from` up to but not including `end`, as many as fit, and gives the number to
    /// go on with.
    ///
    /// # Errors
    /// [`Overrun`] where `from` is not kept any more.
    pub fn copy_until(
        &self,
        from: FeedSequence,
        end: FeedSequence,
        buffer: &mut SendBuffer,
    ) -> Result<FeedSequence, Overrun> {
        if from.0 < self.oldest {
            return Err(Overrun);
        }
        let (after, [first, second]) = self.fitting(from.0, end.0.min(self.next), buffer.room());
        buffer.write(first);
        buffer.write(second);
        Ok(FeedSequence(after))
    }

    /// The bytes of all messages lie one after the other: one copy moves as many as fit.
    fn copy_all(&self, from: u64, buffer: &mut SendBuffer) -> u64 {
        let (end, [first, second]) = self.fitting(from, self.next, buffer.room());
        buffer.write(first);
        buffer.write(second);
        end
    }

    /// Framed messages from `from` on, as many as `bytes_max` holds, and the number to go on with.
    ///
    /// # Errors
    /// [`Overrun`] where `from` is not kept any more.
    pub fn framed(
        &self,
        from: FeedSequence,
        bytes_max: usize,
    ) -> Result<(FeedSequence, [&[u8]; 2]), Overrun> {
        if from.0 < self.oldest {
            return Err(Overrun);
        }
        let (end, parts) = self.fitting(from.0, self.next, bytes_max);
        Ok((FeedSequence(end), parts))
    }

    /// Framed messages from `from` up to but not including `end`.
    ///
    /// # Errors
    /// [`Overrun`] where `from` is not kept any more.
    ///
    /// # Panics
    /// If `end` lies beyond the next number: our own fault.
    pub fn framed_between(
        &self,
        from: FeedSequence,
        end: FeedSequence,
    ) -> Result<[&[u8]; 2], Overrun> {
        assert!(from <= end && end.0 <= self.next);
        if from.0 < self.oldest {
            return Err(Overrun);
        }
        let start = self.start_of(from.0);
        let (first, second) = self.read(start, (self.start_of(end.0) - start) as usize);
        Ok([first, second])
    }

    /// Messages from `from` on, below `end`, which is at most the next number.
    fn fitting(&self, from: u64, end: u64, bytes_max: usize) -> (u64, [&[u8]; 2]) {
        if from >= end {
            return (from, [&[], &[]]);
        }
        let start = self.entry(from).offset;
        let limit = start + bytes_max as u64;
        let (mut low, mut high) = (from, end);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if self.start_of(middle) <= limit {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        let (first, second) = self.read(start, (self.start_of(low) - start) as usize);
        (low, [first, second])
    }

    fn copy_one(&self, from: u64, instrument: InstrumentId, buffer: &mut SendBuffer) -> u64 {
        /// Looks at so many messages at most, so that a quiet instrument does not take a turn over.
        const LOOKS_MAX: u64 = 8_192;
        let stop = self.next.min(from.saturating_add(LOOKS_MAX));
        for number in from..stop {
            let entry = self.entry(number);
            if entry.instrument != instrument {
                continue;
            }
            let length = entry.framed_bytes as usize;
            if buffer.room() < length {
                return number;
            }
            let (first, second) = self.read(entry.offset, length);
            buffer.write(first);
            buffer.write(second);
        }
        stop.max(from)
    }

    /// One message without its framing, through `room`; `None` where it is not kept or not there.
    pub fn message<'r>(
        &self,
        number: FeedSequence,
        room: &'r mut [u8; MESSAGE_BYTES_MAX],
    ) -> Option<&'r [u8]> {
        if !(self.oldest..self.next).contains(&number.0) {
            return None;
        }
        let entry = self.entry(number.0);
        let length = entry.framed_bytes as usize - FRAMING_BYTES;
        let (first, second) = self.read(entry.offset + FRAMING_BYTES as u64, length);
        room[..first.len()].copy_from_slice(first);
        room[first.len()..length].copy_from_slice(second);
        Some(&room[..length])
    }

    fn place(&self, number: u64) -> usize {
        (number % self.entries.len() as u64) as usize
    }

    fn entry(&self, number: u64) -> &Entry {
        &self.entries[self.place(number)]
    }

    fn start_of(&self, number: u64) -> u64 {
        if number == self.next {
            self.end
        } else {
            self.entry(number).offset
        }
    }

    /// The bytes at an offset: the second part is what goes on at the ring's start.
    fn read(&self, offset: u64, length: usize) -> (&[u8], &[u8]) {
        let start = (offset % self.bytes.len() as u64) as usize;
        let first = length.min(self.bytes.len() - start);
        (
            &self.bytes[start..start + first],
            &self.bytes[..length - first],
        )
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let start = (offset % self.bytes.len() as u64) as usize;
        let first = bytes.len().min(self.bytes.len() - start);
        self.bytes[start..start + first].copy_from_slice(&bytes[..first]);
        self.bytes[..bytes.len() - first].copy_from_slice(&bytes[first..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use exahour_wire::framing::{Cut, cut};

    fn message(number: u64) -> Vec<u8> {
        let length = 40 + (number * 8 % 72) as usize;
        let mut bytes = vec![number as u8; length];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        bytes
    }

    fn drain(buffer: &mut SendBuffer) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        let mut rest = buffer.waiting();
        while let Cut::Whole { bytes } = cut(rest) {
            found.push(rest[FRAMING_BYTES..FRAMING_BYTES + bytes].to_vec());
            rest = &rest[FRAMING_BYTES + bytes..];
        }
        assert!(rest.is_empty(), "messages are written whole");
        buffer.clear();
        found
    }

    #[test]
    fn every_kept_message_is_given_back_over_many_wraps() {
        let mut history = History::new(0);
        let mut buffer = SendBuffer::new(5000);
        let mut cursor = FeedSequence(1);
        let (mut seen, mut seen_of_one) = (1, 0);
        for number in 1..20_000_u64 {
            assert_eq!(history.next(), FeedSequence(number));
            history.push(InstrumentId((number % 3) as u32), &message(number));
            if number % 50 != 0 {
                continue;
            }
            loop {
                let next = history.copy(cursor, Flow::All, &mut buffer).unwrap();
                for found in drain(&mut buffer) {
                    assert_eq!(found, message(seen));
                    seen += 1;
                }
                if next == cursor {
                    break;
                }
                cursor = next;
            }
            assert_eq!(seen, number + 1);
            let recent = FeedSequence(number - 20);
            let one = Flow::One(InstrumentId(1));
            history.copy(recent, one, &mut buffer).unwrap();
            for found in drain(&mut buffer) {
                let number = u64::from_le_bytes(found[..8].try_into().unwrap());
                assert_eq!((number % 3, &found), (1, &message(number)));
                seen_of_one += 1;
            }
        }
        assert!(seen_of_one > 2000);
    }

    #[test]
    fn what_was_displaced_is_an_overrun() {
        let mut history = History::new(0);
        for number in 1..5000 {
            history.push(InstrumentId(1), &message(number));
        }
        let oldest = history.oldest();
        assert!(oldest > FeedSequence(1));
        assert!(history.bytes_since(oldest) <= history.capacity_bytes());
        let mut buffer = SendBuffer::new(0);
        let before = FeedSequence(oldest.0 - 1);
        assert_eq!(history.copy(before, Flow::All, &mut buffer), Err(Overrun));
        let mut room = [0; MESSAGE_BYTES_MAX];
        assert_eq!(history.message(before, &mut room), None);
        assert_eq!(
            history.message(oldest, &mut room),
            Some(&message(oldest.0)[..])
        );
        assert_eq!(history.message(history.next(), &mut room), None);
        let after = FeedSequence(history.next().0 + 7);
        assert_eq!(history.copy(after, Flow::All, &mut buffer), Ok(after));
    }
}
