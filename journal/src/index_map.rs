//! Where the live frame of each index stands: eight bytes an index, found in constant time.
//!
//! Kept by the appender and rebuilt by recovery. A frame whose index steps back supersedes the old
//! frame of that index and all after it.
//!
//! Always holds: positions ascend with the index; after [`IndexMap::reserve`] of `n`, the next `n`
//! pushes allocate nothing.

use std::collections::VecDeque;

use crate::position::Position;

/// Positions in one block; blocks never move, so growing never copies.
const BLOCK: usize = 64 << 10;
/// Changes of term that fit without allocating between two reservations.
const TERM_RUNS_AHEAD: usize = 256;

/// Index to position and term of the live frames.
#[derive(Debug, Default)]
pub(crate) struct IndexMap {
    /// Index of the first entry kept.
    first: u64,
    len: usize,
    /// Entries of the front block that are given up.
    skipped: usize,
    blocks: VecDeque<Box<[u64]>>,
    /// The first index of each run of equal terms.
    terms: VecDeque<(u64, u32)>,
}

impl IndexMap {
    /// Makes room for `count` more entries.
    pub(crate) fn reserve(&mut self, count: usize) {
        let needed = (self.skipped + self.len + count).div_ceil(BLOCK);
        while self.blocks.len() < needed {
            self.blocks.push_back(vec![0; BLOCK].into_boxed_slice());
        }
        self.terms.reserve(TERM_RUNS_AHEAD);
    }

    /// The first index kept, if any.
    pub(crate) fn first(&self) -> Option<u64> {
        (self.len > 0).then_some(self.first)
    }

    /// Enters a frame; a lower index than the next supersedes all from there on.
    pub(crate) fn push(&mut self, index: u64, term: u32, position: Position) {
        self.truncate_from(index);
        if self.len == 0 {
            self.clear();
            self.first = index;
        }
        debug_assert_eq!(index, self.first + self.len as u64);
        let slot = self.skipped + self.len;
        if slot / BLOCK == self.blocks.len() {
            self.reserve(1);
        }
        self.blocks[slot / BLOCK][slot % BLOCK] = position.value();
        self.len += 1;
        if self.terms.back().is_none_or(|&(_, last)| last != term) {
            self.terms.push_back((index, term));
        }
    }

    /// Gives up all entries.
    pub(crate) fn clear(&mut self) {
        (self.len, self.skipped) = (0, 0);
        self.terms.clear();
    }

    fn truncate_from(&mut self, index: u64) {
        if self.len == 0 {
            return;
        }
        self.len = self.len.min(index.saturating_sub(self.first) as usize);
        while self.terms.back().is_some_and(|&(first, _)| first >= index) {
            self.terms.pop_back();
        }
    }

    fn slot(&self, offset: usize) -> u64 {
        let slot = self.skipped + offset;
        self.blocks[slot / BLOCK][slot % BLOCK]
    }

    /// Where the live frame of an index starts.
    pub(crate) fn position_of(&self, index: u64) -> Option<Position> {
        let offset = usize::try_from(index.checked_sub(self.first)?).ok()?;
        (offset < self.len).then(|| Position::new(self.slot(offset)))
    }

    /// The term of the live frame of an index.
    pub(crate) fn term_of(&self, index: u64) -> Option<u32> {
        self.position_of(index)?;
        let after = self.terms.partition_point(|&(first, _)| first <= index);
        self.terms.get(after.checked_sub(1)?).map(|&(_, term)| term)
    }

    /// Gives up the entries whose frames start before a position.
    pub(crate) fn release_before(&mut self, position: Position) {
        let (mut low, mut high) = (0, self.len);
        while low < high {
            let middle = (low + high) / 2;
            if self.slot(middle) < position.value() {
                low = middle + 1
            } else {
                high = middle
            }
        }
        self.len -= low;
        self.first += low as u64;
        self.skipped += low;
        while self.skipped >= BLOCK {
            self.skipped -= BLOCK;
            self.blocks.pop_front();
        }
        while self
            .terms
            .get(1)
            .is_some_and(|&(first, _)| first <= self.first)
        {
            self.terms.pop_front();
        }
        if self.len == 0 {
            self.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{Rng, RngExt, SeedableRng};

    use super::*;

    #[test]
    fn agrees_with_a_sorted_map_at_every_step() {
        let seed: u64 = rand::rng().next_u64();
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let (mut fast, mut slow) = (IndexMap::default(), BTreeMap::new());
        let (mut next, mut term, mut position) = (5u64, 1u32, 4096u64);
        for step in 0..300_000 {
            position += 64 * random.random_range(1..5u64);
            match random.random_range(0..20_000) {
                0 => {
                    next = next.saturating_sub(random.random_range(0..2000)).max(1);
                    term += 1;
                }
                1 => {
                    let cut = position.saturating_sub(random.random_range(0..100_000_000));
                    fast.release_before(Position::new(cut));
                    slow.retain(|_, &mut (at, _)| at >= cut);
                }
                _ => {}
            }
            slow.split_off(&next);
            slow.insert(next, (position, term));
            fast.push(next, term, Position::new(position));
            next += 1;
            let probe = next.saturating_sub(random.random_range(0..3000));
            let found = fast.position_of(probe).zip(fast.term_of(probe));
            let wanted = slow
                .get(&probe)
                .map(|&(at, term)| (Position::new(at), term));
            assert_eq!(found, wanted, "seed {seed} step {step} index {probe}");
            let first = slow.first_key_value().map(|(&index, _)| index);
            assert_eq!(fast.first(), first, "seed {seed} step {step}");
        }
    }
}
