//! The prices that are not near: a treap, whose nodes are the levels themselves.
//!
//! Used by `levels`. A treap is a search tree by key and a heap by a number drawn for each node (`treap`),
//! so no choice of prices makes it deep.
//!
//! Always holds: lesser keys to the one side, greater to the other, no number above its parent's.
//! Takes no memory beyond the levels, and for n of them about log2(n) steps.

use super::level::{LevelIndex, LevelTable, NO_LEVEL};
use crate::treap::rank;

/// The levels that are not near.
pub(super) struct Far {
    root: LevelIndex,
    seed: u64,
}

/// Where a node hangs.
#[derive(Clone, Copy)]
enum Link {
    Root,
    LesserOf(LevelIndex),
    GreaterOf(LevelIndex),
}

impl Far {
    /// No levels.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            root: NO_LEVEL,
            seed,
        }
    }

    /// Whether there are none.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.root == NO_LEVEL
    }

    /// The level with this key, or [`NO_LEVEL`].
    pub(super) fn find(&self, levels: &LevelTable, key: i64) -> LevelIndex {
        let mut node = self.root;
        while node != NO_LEVEL {
            let level = levels.at(node);
            node = match key.cmp(&level.key) {
                std::cmp::Ordering::Less => level.lesser,
                std::cmp::Ordering::Equal => break,
                std::cmp::Ordering::Greater => level.greater,
            };
        }
        node
    }

    /// The level with the greatest key below `key`.
    pub(super) fn below(&self, levels: &LevelTable, key: i64) -> Option<LevelIndex> {
        let (mut node, mut found) = (self.root, None);
        while node != NO_LEVEL {
            let level = levels.at(node);
            node = if level.key < key {
                found = Some(node);
                level.greater
            } else {
                level.lesser
            };
        }
        found
    }

    /// Enters a level whose key is not there.
    pub(super) fn enter(&mut self, levels: &mut LevelTable, entered: LevelIndex) {
        let (key, rank) = (levels.at(entered).key, self.rank(entered));
        let (mut link, mut node) = (Link::Root, self.root);
        while node != NO_LEVEL && self.rank(node) >= rank {
            let level = levels.at(node);
            (link, node) = if key < level.key {
                (Link::LesserOf(node), level.lesser)
            } else {
                (Link::GreaterOf(node), level.greater)
            };
        }
        self.hang(levels, link, entered);
        // What hung there is split into what is lesser and what is greater.
        let (mut lesser, mut greater) = (Link::LesserOf(entered), Link::GreaterOf(entered));
        while node != NO_LEVEL {
            let level = *levels.at(node);
            if level.key < key {
                self.hang(levels, lesser, node);
                (lesser, node) = (Link::GreaterOf(node), level.greater);
            } else {
                self.hang(levels, greater, node);
                (greater, node) = (Link::LesserOf(node), level.lesser);
            }
        }
        self.hang(levels, lesser, NO_LEVEL);
        self.hang(levels, greater, NO_LEVEL);
    }

    /// Takes a level out.
    pub(super) fn remove(&mut self, levels: &mut LevelTable, removed: LevelIndex) {
        let gone = *levels.at(removed);
        let (mut link, mut node) = (Link::Root, self.root);
        while node != removed {
            assert!(node != NO_LEVEL);
            let level = levels.at(node);
            (link, node) = if gone.key < level.key {
                (Link::LesserOf(node), level.lesser)
            } else {
                (Link::GreaterOf(node), level.greater)
            };
        }
        // Its two sides become one, the higher number above.
        let (mut lesser, mut greater) = (gone.lesser, gone.greater);
        while lesser != NO_LEVEL && greater != NO_LEVEL {
            if self.rank(lesser) >= self.rank(greater) {
                self.hang(levels, link, lesser);
                link = Link::GreaterOf(lesser);
                lesser = levels.at(lesser).greater;
            } else {
                self.hang(levels, link, greater);
                link = Link::LesserOf(greater);
                greater = levels.at(greater).lesser;
            }
        }
        let rest = if lesser == NO_LEVEL { greater } else { lesser };
        self.hang(levels, link, rest);
    }

    fn hang(&mut self, levels: &mut LevelTable, link: Link, node: LevelIndex) {
        match link {
            Link::Root => self.root = node,
            Link::LesserOf(parent) => levels.at_mut(parent).lesser = node,
            Link::GreaterOf(parent) => levels.at_mut(parent).greater = node,
        }
    }

    fn rank(&self, index: LevelIndex) -> u64 {
        rank(self.seed, index)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn depth(levels: &LevelTable, node: LevelIndex) -> usize {
        match node {
            NO_LEVEL => 0,
            _ => {
                let level = *levels.at(node);
                let below = [level.lesser, level.greater].map(|it| depth(levels, it));
                1 + below[0].max(below[1])
            }
        }
    }

    #[test]
    fn it_agrees_with_an_ordered_map() {
        for seed in 0..50 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let (mut far, mut levels) = (Far::new(random.random()), LevelTable::new(16));
            let mut twin = BTreeMap::new();
            for _ in 0..2_000 {
                let key = random.random_range(-200..200);
                match twin.get(&key) {
                    Some(index) if random.random_range(0..3) > 0 => {
                        far.remove(&mut levels, *index);
                        levels.free(*index);
                        twin.remove(&key);
                    }
                    Some(index) => assert_eq!(far.find(&levels, key), *index, "seed {seed}"),
                    None => {
                        assert_eq!(far.find(&levels, key), NO_LEVEL, "seed {seed}");
                        let index = levels.make(key);
                        far.enter(&mut levels, index);
                        twin.insert(key, index);
                    }
                }
                let below = twin.range(..key).next_back().map(|it| *it.1);
                assert_eq!(far.below(&levels, key), below, "seed {seed}");
                assert_eq!(far.is_empty(), twin.is_empty());
            }
        }
    }

    #[test]
    fn prices_in_a_row_do_not_make_it_deep() {
        let (mut far, mut levels) = (Far::new(7), LevelTable::new(16));
        for key in 0..100_000 {
            let index = levels.make(key);
            far.enter(&mut levels, index);
        }
        // Twice the expected depth of the deepest node would be 2 x 4.3 ln(n).
        assert!(depth(&levels, far.root) < 100);
    }
}
