//! The best prices of one side, in a sorted array, the very best at its end.
//!
//! ```text
//! | least .. least | worse ... better best |      16 bytes each: a key and its level
//! |<-   BEFORE   ->|              | CLOSE  |
//!                     |       NEXT        |
//! ```
//! Used by `levels`. Nearly all that happens to a book happens here, and within the last few entries:
//! these are compared all, whatever they are, as a processor could not guess which of them it will be.
//! Then as many are halved as make a search of fixed length. Further off, where a busy book has an order
//! at nearly every price, the number of steps between a key and the best one says where it stands: a few
//! are compared there, and all are halved only where prices are sparse. What lies before the first key
//! makes sure that there are always so many.
//!
//! Always holds: keys ascend strictly; at most [`NEAR_MAX`] of them, so that no choice of prices makes
//! a step longer than moving these few.

use super::level::{LevelIndex, NO_LEVEL};

/// Most levels that are near.
pub(super) const NEAR_MAX: usize = 256;

/// Entries that are compared first.
const CLOSE: usize = 4;

/// Entries that are halved next.
const NEXT: usize = 16;

/// Entries that are compared where a key further off is looked for.
const WINDOW: usize = 8;

/// Entries before the first key.
const BEFORE: usize = NEXT;

/// All entries: those before the first key, and the keys.
const ENTRIES: usize = BEFORE + NEAR_MAX;

/// A key and its level.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
struct Entry {
    key: i64,
    level: LevelIndex,
}

/// Below every key.
const LEAST: Entry = Entry {
    key: i64::MIN,
    level: NO_LEVEL,
};

/// Where a key is, or would be entered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(usize);

impl Place {
    /// Whether all keys are above it.
    #[inline]
    pub(super) fn is_worst(self) -> bool {
        self.0 == BEFORE
    }

    /// The same key's place once the worst key is gone.
    pub(super) fn without_worst(self) -> Self {
        Self(self.0 - 1)
    }
}

/// The best prices of one side.
pub(super) struct Near {
    entries: Box<[Entry; ENTRIES]>,
    /// Behind the best key.
    end: usize,
    /// 2^63 divided by the step between keys, rounded up: a division at every search would take longer
    /// than the search.
    steps: u64,
}

impl Near {
    /// None, and room for all. Keys are mostly `step` apart, or a multiple of it; any others are found
    /// as well.
    pub(super) fn new(step: i64) -> Self {
        Self {
            entries: Box::new([LEAST; ENTRIES]),
            end: BEFORE,
            steps: (1_u64 << 63).div_ceil(step.max(1).cast_unsigned()),
        }
    }

    /// How many there are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.end - BEFORE
    }

    /// The best key; the least number there is where there is none.
    #[inline]
    pub(super) fn best_key(&self) -> i64 {
        self.entries[self.end - 1].key
    }

    /// The level of the best key, or [`NO_LEVEL`].
    #[inline]
    pub(super) fn best(&self) -> LevelIndex {
        self.entries[self.end - 1].level
    }

    /// All levels, best first.
    pub(super) fn in_order(&self) -> impl Iterator<Item = LevelIndex> {
        let entries = &self.entries[BEFORE..self.end];
        entries.iter().rev().map(|it| it.level)
    }

    /// Where a key is, or would be entered: behind all that are below it.
    #[inline]
    pub(super) fn place(&self, key: i64) -> Place {
        let close = &self.entries[self.end - CLOSE..self.end];
        let above: usize = close.iter().map(|it| usize::from(it.key >= key)).sum();
        if above < CLOSE {
            return Place(self.end - above);
        }
        self.further_place(key)
    }

    /// As [`Near::place`], for a key that is not among the last ones.
    #[inline(never)]
    fn further_place(&self, key: i64) -> Place {
        if self.entries[self.end - NEXT].key >= key {
            return self.distant_place(key);
        }
        // Four steps whatever comes: a search whose length is known waits for nothing but its keys.
        let mut below = self.end - NEXT;
        for step in [8, 4, 2, 1] {
            let further = self.entries[below + step].key < key;
            below = std::hint::select_unpredictable(further, below + step, below);
        }
        Place(below + 1)
    }

    /// As [`Near::place`], for a key that is below the last ones.
    #[inline]
    fn distant_place(&self, key: i64) -> Place {
        // Behind as many entries as there are steps it stands where none is missing, and further back
        // where some are.
        let distance = self.best_key().wrapping_sub(key).cast_unsigned();
        let steps = (u128::from(distance) * u128::from(self.steps)) >> 63;
        let behind = usize::try_from(steps)
            .unwrap_or(usize::MAX)
            .saturating_add(1);
        let first = self.end - behind.min(self.len()).max(WINDOW);
        let window = &self.entries[first..first + WINDOW];
        let below: usize = window.iter().map(|it| usize::from(it.key < key)).sum();
        if below < WINDOW && self.entries[first - 1].key < key {
            return Place(first + below);
        }
        Place(self.entries[..self.end].partition_point(|it| it.key < key))
    }

    /// The level at a place, if it has just this key, or [`NO_LEVEL`].
    #[inline]
    pub(super) fn at(&self, Place(place): Place, key: i64) -> LevelIndex {
        match place < self.end && self.entries[place].key == key {
            true => self.entries[place].level,
            false => NO_LEVEL,
        }
    }

    /// Enters a level at the place of its key.
    ///
    /// # Panics
    /// If there are [`NEAR_MAX`].
    #[inline]
    pub(super) fn enter(&mut self, Place(place): Place, key: i64, level: LevelIndex) {
        if place < self.end {
            self.entries.copy_within(place..self.end, place + 1);
        }
        self.entries[place] = Entry { key, level };
        self.end += 1;
    }

    /// Enters a level whose key is below all others.
    pub(super) fn enter_worst(&mut self, key: i64, level: LevelIndex) {
        self.enter(Place(BEFORE), key, level);
    }

    /// Removes the best level.
    ///
    /// # Panics
    /// If there is none.
    #[inline]
    pub(super) fn remove_best(&mut self) {
        assert!(self.end > BEFORE);
        self.end -= 1;
    }

    /// Removes the worst level, and says which it was.
    pub(super) fn remove_worst(&mut self) -> LevelIndex {
        let worst = self.entries[BEFORE].level;
        self.entries.copy_within(BEFORE + 1..self.end, BEFORE);
        self.end -= 1;
        worst
    }
}
