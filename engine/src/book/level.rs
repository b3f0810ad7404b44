//! The prices of one side that hold orders, each with the ends of its queue.
//!
//! Used by `levels`, which knows their order; `near` and `far` find them by price.
//!
//! Always holds: an index stays the same as long as its level lives; freed ones are used again last
//! in, first out, so that few prices take little memory.

use super::orders::{NO_ORDER, Slot};

/// The place of a level in its table.
pub(super) type LevelIndex = u32;

/// No level: the place is never given out.
pub(super) const NO_LEVEL: LevelIndex = 0;

/// In place of the children of a level that is near.
pub(super) const NEAR: LevelIndex = LevelIndex::MAX;

/// One price of one side: half a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
pub(super) struct Level {
    /// The price, negative for sells: the greater, the better.
    pub(super) key: i64,
    /// The open lots of its orders.
    pub(super) total: u64,
    pub(super) first: Slot,
    pub(super) last: Slot,
    /// Its children while it is far, [`NEAR`] while it is not; in a free level, the next free one.
    pub(super) lesser: LevelIndex,
    pub(super) greater: LevelIndex,
}

const _: () = assert!(size_of::<Level>() == 32);

impl Level {
    /// Whether it holds no order.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.first == NO_ORDER
    }

    fn new(key: i64) -> Self {
        Self {
            key,
            total: 0,
            first: NO_ORDER,
            last: NO_ORDER,
            lesser: NEAR,
            greater: NEAR,
        }
    }
}

/// The levels of one side.
pub(super) struct LevelTable {
    levels: Vec<Level>,
    first_free: LevelIndex,
}

impl LevelTable {
    /// An empty table that need not grow for so many levels.
    pub(super) fn new(expected: usize) -> Self {
        let mut levels = Vec::with_capacity(expected + 1);
        levels.push(Level::new(0));
        Self {
            levels,
            first_free: NO_LEVEL,
        }
    }

    /// A level for a key that has none, still without orders.
    #[inline]
    pub(super) fn make(&mut self, key: i64) -> LevelIndex {
        let index = self.first_free;
        if index == NO_LEVEL {
            self.levels.push(Level::new(key));
            return self.levels.len() as LevelIndex - 1;
        }
        self.first_free = self.at(index).lesser;
        *self.at_mut(index) = Level::new(key);
        index
    }

    /// Frees a level that nothing names any more.
    #[inline]
    pub(super) fn free(&mut self, index: LevelIndex) {
        self.at_mut(index).lesser = self.first_free;
        self.first_free = index;
    }

    /// A level.
    #[inline]
    pub(super) fn at(&self, index: LevelIndex) -> &Level {
        &self.levels[index as usize]
    }

    /// As [`LevelTable::at`], to change.
    #[inline]
    pub(super) fn at_mut(&mut self, index: LevelIndex) -> &mut Level {
        &mut self.levels[index as usize]
    }
}
