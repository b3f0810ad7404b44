//! Where in the event log the reports of one session lie: a sparse index of fixed size.
//!
//! Kept by `order_gateway` for every session while it follows the log; read when reports are asked
//! for again.
//!
//! Always holds: memory does not grow with the number of reports; the place found is at or before
//! the report asked for, and never before the session's present version.
//!
//! ```text
//! coarse:  1 .. all of the version, at a stride that doubles whenever the table is full
//! recent:  the last 16,384 reports, one in 64
//! ```

use exahour_journal::Position;
use exahour_wire::ids::MessageSequence;

use crate::views::pages::{PageReader, PageWriter};

/// One report in this many is noted.
const STRIDE: u32 = 64;
const RECENT_COUNT: usize = 256;
const COARSE_COUNT: usize = 256;

// The stride of the coarse table stays a power of two, whatever is dropped.
const _: () = assert!(STRIDE.is_power_of_two() && COARSE_COUNT.is_multiple_of(2));

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    sequence: u32,
    position: Position,
}

impl Entry {
    /// Bytes that it is written in.
    const BYTES: usize = 16;

    fn write(&self, pages: &mut PageWriter) {
        pages.number(self.sequence.into());
        pages.number(self.position.value());
    }

    fn read(pages: &mut PageReader<'_>) -> Option<Self> {
        Some(Self {
            sequence: pages.small()?,
            position: Position::new(pages.number()?),
        })
    }
}

/// The index of one session.
#[derive(Debug)]
pub struct ReportIndex {
    recent: [Entry; RECENT_COUNT],
    coarse: [Entry; COARSE_COUNT],
    coarse_count: usize,
    coarse_stride: u32,
}

impl Default for ReportIndex {
    fn default() -> Self {
        Self {
            recent: [Entry::default(); RECENT_COUNT],
            coarse: [Entry::default(); COARSE_COUNT],
            coarse_count: 0,
            coarse_stride: STRIDE,
        }
    }
}

impl ReportIndex {
    /// Forgets everything: numbering starts again.
    pub fn clear(&mut self) {
        self.recent.fill(Entry::default());
        self.coarse_count = 0;
        self.coarse_stride = STRIDE;
    }

    /// Notes that the report with this number lies in the frame at `position`.
    #[inline]
    pub fn note(&mut self, sequence: MessageSequence, position: Position) {
        if sequence.0 % STRIDE == 1 {
            self.keep(sequence.0, position);
        }
    }

    fn keep(&mut self, sequence: u32, position: Position) {
        let entry = Entry { sequence, position };
        self.recent[(sequence / STRIDE) as usize % RECENT_COUNT] = entry;
        if sequence % self.coarse_stride != 1 {
            return;
        }
        if self.coarse_count == COARSE_COUNT {
            for kept in 0..COARSE_COUNT / 2 {
                self.coarse[kept] = self.coarse[kept * 2];
            }
            self.coarse_count = COARSE_COUNT / 2;
            self.coarse_stride *= 2;
            if sequence % self.coarse_stride != 1 {
                return;
            }
        }
        self.coarse[self.coarse_count] = entry;
        self.coarse_count += 1;
    }

    /// The nearest noted place at or before a report; `None` where nothing was noted.
    #[must_use]
    pub fn find(&self, sequence: MessageSequence) -> Option<Position> {
        let noted = sequence.0.checked_sub(1)? / STRIDE * STRIDE + 1;
        let recent = &self.recent[(noted / STRIDE) as usize % RECENT_COUNT];
        if recent.sequence == noted {
            return Some(recent.position);
        }
        let coarse = &self.coarse[..self.coarse_count];
        let above = coarse.partition_point(|entry| entry.sequence <= sequence.0);
        Some(coarse.get(above.checked_sub(1)?)?.position)
    }

    /// Writes what is noted.
    pub(crate) fn write(&self, pages: &mut PageWriter) {
        pages.number(self.coarse_stride.into());
        let coarse = &self.coarse[..self.coarse_count];
        let recent = || self.recent.iter().filter(|entry| entry.sequence > 0);
        pages.count(coarse.len());
        coarse.iter().for_each(|entry| entry.write(pages));
        pages.count(recent().count());
        recent().for_each(|entry| entry.write(pages));
    }

    /// Reads what was written; `None` where it is no index.
    pub(crate) fn read(pages: &mut PageReader<'_>) -> Option<Box<Self>> {
        let mut index = Box::<Self>::default();
        index.coarse_stride = pages.small()?;
        index.coarse_count = pages.count(Entry::BYTES)?;
        for entry in index.coarse.get_mut(..index.coarse_count)? {
            *entry = Entry::read(pages)?;
        }
        for _ in 0..pages.count(Entry::BYTES)? {
            let entry = Entry::read(pages)?;
            index.recent[(entry.sequence / STRIDE) as usize % RECENT_COUNT] = entry;
        }
        let stride = index.coarse_stride;
        (stride.is_power_of_two() && stride >= STRIDE).then_some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_report_is_found_from_a_near_place_before_it() {
        let mut index = ReportIndex::default();
        assert_eq!(index.find(MessageSequence(1)), None);
        let place = |sequence: u32| Position::new(u64::from(sequence) * 64);
        let last = 300_000;
        for sequence in 1..=last {
            index.note(MessageSequence(sequence), place(sequence));
        }
        for sequence in (1..=last).step_by(7) {
            let found = index.find(MessageSequence(sequence)).unwrap().value() / 64;
            let behind = u64::from(sequence) - found;
            let bound = if sequence + 16_000 > last { 64 } else { 2_048 };
            assert!(behind < bound, "{sequence} was found {behind} before");
        }
        index.clear();
        assert_eq!(index.find(MessageSequence(1)), None);
    }
}
