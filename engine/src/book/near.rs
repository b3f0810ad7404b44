//! The best prices of one side, in a sorted array, the very best at its end.
//!
//! ```text
//! keys:   worse ... better best       8 bytes each: what a search reads
//! levels:   one index for each        4 bytes each: what it finds
//! ```
//! Used by `levels`. Nearly all that happens to a book happens here, and near the end, where entering
//! and removing move little. Both arrays are short and dense, so that they stay in the nearest cache.
//!
//! Always holds: keys ascend strictly; at most [`NEAR_MAX`] of them, so that no choice of prices makes
//! a step longer than moving these few.

use super::level::{LevelIndex, NO_LEVEL};

/// Most levels that are near.
pub(super) const NEAR_MAX: usize = 256;

/// The best prices of one side.
pub(super) struct Near {
    keys: Vec<i64>,
    levels: Vec<LevelIndex>,
}

impl Near {
    /// None, and room for all.
    pub(super) fn new() -> Self {
        Self {
            keys: Vec::with_capacity(NEAR_MAX),
            levels: Vec::with_capacity(NEAR_MAX),
        }
    }

    /// How many there are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The best key; the least number there is where there is none.
    #[inline]
    pub(super) fn best_key(&self) -> i64 {
        self.keys.last().copied().unwrap_or(i64::MIN)
    }

    /// The level of the best key, or [`NO_LEVEL`].
    #[inline]
    pub(super) fn best(&self) -> LevelIndex {
        self.levels.last().copied().unwrap_or(NO_LEVEL)
    }

    /// How many keys are below this one: its place, or the place where it would be entered.
    #[inline]
    pub(super) fn place(&self, key: i64) -> usize {
        self.keys.partition_point(|it| *it < key)
    }

    /// The level at a place, if it has just this key, or [`NO_LEVEL`].
    #[inline]
    pub(super) fn at(&self, place: usize, key: i64) -> LevelIndex {
        match self.keys.get(place) {
            Some(found) if *found == key => self.levels[place],
            _ => NO_LEVEL,
        }
    }

    /// The level at a place, counted from the worst.
    pub(super) fn level(&self, place: usize) -> LevelIndex {
        self.levels[place]
    }

    /// Enters a level at the place of its key.
    ///
    /// # Panics
    /// If there are [`NEAR_MAX`].
    #[inline]
    pub(super) fn enter(&mut self, place: usize, key: i64, level: LevelIndex) {
        assert!(self.keys.len() < NEAR_MAX);
        self.keys.insert(place, key);
        self.levels.insert(place, level);
    }

    /// Removes the level at a place, and says which it was.
    #[inline]
    pub(super) fn remove(&mut self, place: usize) -> LevelIndex {
        self.keys.remove(place);
        self.levels.remove(place)
    }
}
