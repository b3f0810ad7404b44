//! Where in the event log an event lies: a sparse index of fixed size.
//!
//! Kept by the drop copy port while it follows the log; asked when a back office begins.
//!
//! Always holds: the place found is at or before the event; the log behind it up to the event is
//! at most one stride, which doubles whenever the table is full.

use exahour_journal::Position;
use exahour_wire::ids::EventSequence;

use crate::views::pages::{PageReader, PageWriter};

/// Places kept at most.
const PLACES_MAX: usize = 4_096;

/// Bytes of the log from one place to the next, at first.
const STRIDE_BYTES: u64 = 64 << 10;

/// The index.
#[derive(Debug)]
pub struct EventIndex {
    places: Vec<(EventSequence, Position)>,
    stride_bytes: u64,
}

impl Default for EventIndex {
    fn default() -> Self {
        EventIndex {
            places: Vec::with_capacity(PLACES_MAX),
            stride_bytes: STRIDE_BYTES,
        }
    }
}

impl EventIndex {
    /// Notes that a frame which begins with `event` starts at `position`.
    pub fn note(&mut self, event: EventSequence, position: Position) {
        let due = self
            .places
            .last()
            .is_none_or(|(_, last)| position.value() - last.value() >= self.stride_bytes);
        if !due {
            return;
        }
        if self.places.len() == PLACES_MAX {
            let mut number = 0;
            self.places.retain(|_| {
                number += 1;
                number % 2 == 1
            });
            self.stride_bytes *= 2;
        }
        self.places.push((event, position));
    }

    /// The nearest noted frame at or before an event; the first one for what is older.
    pub fn find(&self, event: EventSequence) -> Option<Position> {
        let above = self.places.partition_point(|(first, _)| *first <= event);
        self.places
            .get(above.saturating_sub(1))
            .map(|(_, position)| *position)
    }

    /// Writes what is noted.
    pub(crate) fn write(&self, pages: &mut PageWriter) {
        pages.number(self.stride_bytes);
        pages.count(self.places.len());
        for (event, position) in &self.places {
            pages.number(event.0);
            pages.number(position.value());
        }
    }

    /// Reads what was written; `None` where it is no index.
    pub(crate) fn read(pages: &mut PageReader<'_>) -> Option<Self> {
        let mut index = Self {
            stride_bytes: pages.number()?,
            ..Self::default()
        };
        for _ in 0..pages.count(2 * size_of::<u64>())? {
            let (event, position) = (pages.number()?, pages.number()?);
            index
                .places
                .push((EventSequence(event), Position::new(position)));
        }
        (index.places.len() <= PLACES_MAX).then_some(index)
    }

    /// The first event that was noted.
    pub fn oldest(&self) -> Option<EventSequence> {
        self.places.first().map(|(event, _)| *event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_found_within_one_stride_before_it() {
        let mut index = EventIndex::default();
        assert_eq!(index.find(EventSequence(1)), None);
        // Frames of one event and 4 KiB each: the table is thinned several times.
        let place = |event: u64| Position::new(4096 * event);
        let last = 500_000;
        for event in 1..=last {
            index.note(EventSequence(event), place(event));
        }
        assert!(index.places.len() <= PLACES_MAX && index.stride_bytes > STRIDE_BYTES);
        for event in (1..=last).step_by(77) {
            let found = index.find(EventSequence(event)).unwrap();
            assert!(found <= place(event));
            assert!(place(event).value() - found.value() <= 2 * index.stride_bytes);
        }
        assert_eq!(index.find(EventSequence(0)), Some(place(1)));
        assert_eq!(index.oldest(), Some(EventSequence(1)));
    }
}
