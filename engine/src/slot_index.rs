//! Finds a slot by a key that the slot itself holds: hashes in buckets of one cache line.
//!
//! Used for orders by client order id and for positions by account and instrument.
//!
//! ```text
//! bucket:  | 7 hashes | passed | 7 slots, plus one | 0 |      16 words, 64 bytes
//! ```
//! An entry that finds its bucket full goes on to the next and is counted by those that it passed, so a
//! search ends at the first bucket that nothing has passed: nearly always at once, and without a loop
//! whose end a processor would have to guess.
//!
//! A table is no larger than what lives in it asks for, so that it stays in a near cache: it starts
//! small and doubles. The memory of every doubling that is expected is set aside at the start, and the
//! entries move over a bucket at a time, so that no command waits until all have moved.
//!
//! Always holds: fewer entries than buckets have room for, so that every search ends. Iteration is not
//! offered: hash order must never reach an output.

use crate::prefetch::fetch;

/// Words of a bucket.
const WORDS: usize = 2 * SLOTS;

/// Where a bucket counts what has passed it.
const PASSED: usize = 7;

/// Words of half a bucket: hashes, or slots.
const SLOTS: usize = 8;

/// The lanes that hold entries.
const ENTRIES: u32 = (1 << PASSED) - 1;

/// Entries to a bucket, on average, above which a table doubles.
const FILL_MAX: usize = 4;

/// Buckets of the first table: a page of memory.
const BUCKETS_MIN: usize = 64;

/// Neighbouring values of a key's low part that share a bucket.
const NEIGHBOURS: u64 = 2;

/// A cache line.
type Bucket = [u32; WORDS];

/// The lanes of half a bucket that hold a value, as bits.
#[cfg(target_arch = "x86_64")]
#[inline]
fn lanes_with(words: &[u32; SLOTS], value: u32) -> u32 {
    use std::arch::x86_64::{
        __m128i, _mm_castsi128_ps, _mm_cmpeq_epi32, _mm_movemask_ps, _mm_set1_epi32,
    };
    let quarters: [__m128i; 2] = bytemuck::cast(*words);
    // SAFETY: every x86-64 has SSE2, and these work on values, not on memory.
    let [low, high] = unsafe {
        let wanted = _mm_set1_epi32(value.cast_signed());
        quarters.map(|quarter| _mm_movemask_ps(_mm_castsi128_ps(_mm_cmpeq_epi32(quarter, wanted))))
    };
    (low | high << 4).cast_unsigned() & ENTRIES
}

/// The lanes of half a bucket that hold a value, as bits.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn lanes_with(words: &[u32; SLOTS], value: u32) -> u32 {
    let lanes = words.iter().enumerate();
    let equal = lanes.map(|(lane, word)| u32::from(*word == value) << lane);
    equal.fold(0, |all, lane| all | lane) & ENTRIES
}

/// The two halves of a bucket.
#[inline]
fn halves(bucket: &Bucket) -> (&[u32; SLOTS], &[u32; SLOTS]) {
    let halves = bucket.as_chunks().0;
    (&halves[0], &halves[1])
}

/// Buckets by their hashes.
struct Table {
    /// Words that come zeroed and untouched from the system.
    words: Vec<u32>,
    /// Where in these the first bucket begins: at a cache line.
    first: usize,
    /// A power of two, or zero.
    buckets: usize,
}

impl Table {
    fn new(buckets: usize) -> Self {
        let words = vec![0; buckets * WORDS + WORDS];
        let first = words.as_ptr().align_offset(size_of::<Bucket>()) % WORDS;
        Self {
            words,
            first,
            buckets,
        }
    }

    /// A table that takes no memory and no entries.
    fn none() -> Self {
        Self {
            words: Vec::new(),
            first: 0,
            buckets: 0,
        }
    }

    #[inline]
    fn bucket(&self, place: usize) -> &Bucket {
        &self.words[self.first..].as_chunks().0[place]
    }

    #[inline]
    fn bucket_mut(&mut self, place: usize) -> &mut Bucket {
        &mut self.words[self.first..].as_chunks_mut().0[place]
    }

    #[inline]
    fn home(&self, hash: u32) -> usize {
        (hash as usize / NEIGHBOURS as usize) & (self.buckets - 1)
    }

    #[inline]
    fn behind(&self, place: usize) -> usize {
        (place + 1) & (self.buckets - 1)
    }

    #[inline]
    fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut place = self.home(hash);
        loop {
            let bucket = self.bucket(place);
            let (hashes, slots) = halves(bucket);
            let mut lanes = lanes_with(hashes, hash);
            while lanes != 0 {
                let entry = slots[lanes.trailing_zeros() as usize];
                if entry != 0 && is_it(entry - 1) {
                    return Some(entry - 1);
                }
                lanes &= lanes - 1;
            }
            if bucket[PASSED] == 0 {
                return None;
            }
            place = self.behind(place);
        }
    }

    #[inline]
    fn add(&mut self, hash: u32, slot: u32) {
        let mut place = self.home(hash);
        loop {
            let bucket = self.bucket_mut(place);
            let free = lanes_with(halves(bucket).1, 0);
            if free != 0 {
                let lane = free.trailing_zeros() as usize;
                bucket[lane] = hash;
                bucket[SLOTS + lane] = slot + 1;
                return;
            }
            bucket[PASSED] += 1;
            place = self.behind(place);
        }
    }

    /// Takes an entry out; whether it was there.
    #[inline]
    fn take(&mut self, hash: u32, slot: u32) -> bool {
        let home = self.home(hash);
        let mut place = home;
        loop {
            let bucket = self.bucket_mut(place);
            let lanes = lanes_with(halves(bucket).1, slot + 1);
            if lanes != 0 {
                bucket[SLOTS + lanes.trailing_zeros() as usize] = 0;
                break;
            }
            if bucket[PASSED] == 0 {
                return false;
            }
            place = self.behind(place);
        }
        let mut passed = home;
        while passed != place {
            self.bucket_mut(passed)[PASSED] -= 1;
            passed = self.behind(passed);
        }
        true
    }
}

/// An index from keys to slots.
pub(crate) struct SlotIndex {
    table: Table,
    /// The table before this one, while entries are still in it.
    left: Table,
    /// Buckets of `left` that are empty for good, from the first.
    emptied: usize,
    /// Larger tables that were set aside, the smallest last.
    coming: Vec<Table>,
    count: usize,
    seed: u64,
}

#[inline]
fn hash_of(seed: u64, high: u64, low: u64) -> u32 {
    let group = low / NEIGHBOURS;
    let left = u128::from(high ^ seed ^ 0x9E37_79B9_7F4A_7C15);
    let product = left * u128::from(group ^ 0xD1B5_4A32_D192_ED03);
    let folded = (product as u64) ^ ((product >> 64) as u64) ^ high.rotate_left(32);
    let spread = folded.wrapping_mul(0x9FB2_1C65_1E98_DF25) >> 32;
    ((spread & !(NEIGHBOURS - 1)) | (low % NEIGHBOURS)) as u32
}

impl SlotIndex {
    /// Room for `slots` without an allocation. Clients choose keys: with a seed that they do not know
    /// they cannot choose such as fall together. It is no part of the state, since no output depends on
    /// where a key lies.
    pub(crate) fn new(slots: usize, seed: u64) -> Self {
        let most = slots.div_ceil(FILL_MAX).next_power_of_two();
        let sizes = std::iter::successors(Some(most), |buckets| Some(buckets / 2));
        let coming = sizes
            .take_while(|buckets| *buckets > BUCKETS_MIN)
            .map(Table::new)
            .collect();
        Self {
            table: Table::new(BUCKETS_MIN),
            left: Table::none(),
            emptied: 0,
            coming,
            count: 0,
            seed,
        }
    }

    /// The hash of a key. Neighbouring values of `low` share a bucket, because ids are mostly given out
    /// in sequence.
    #[inline]
    pub(crate) fn hash_of(&self, high: u64, low: u64) -> u32 {
        hash_of(self.seed, high, low)
    }

    /// Asks for the bucket in which a search for a hash begins.
    #[inline]
    pub(crate) fn fetch(&self, hash: u32) {
        fetch(self.table.bucket(self.table.home(hash)));
    }

    /// The slot with this hash for which `is_it` holds.
    #[inline]
    pub(crate) fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let found = self.table.find(hash, &mut is_it);
        if found.is_none() && self.left.buckets != 0 {
            return self.left.find(hash, is_it);
        }
        found
    }

    /// Adds a slot; the caller knows that its key is not there yet.
    #[inline]
    pub(crate) fn insert(&mut self, hash: u32, slot: u32) {
        debug_assert!(slot != u32::MAX);
        if self.count == self.table.buckets * FILL_MAX {
            self.grow();
        }
        self.table.add(hash, slot);
        self.count += 1;
        if self.left.buckets != 0 {
            self.empty_a_bucket();
        }
    }

    /// Removes a slot that is there.
    #[inline]
    pub(crate) fn remove(&mut self, hash: u32, slot: u32) {
        self.count -= 1;
        if !self.table.take(hash, slot) {
            let taken = self.left.buckets != 0 && self.left.take(hash, slot);
            assert!(taken);
        }
    }

    /// Begins to move to a table of twice the size.
    #[cold]
    fn grow(&mut self) {
        // A bucket for each entry added empties a table long before the next one is full.
        while self.left.buckets != 0 {
            self.empty_a_bucket();
        }
        let buckets = self.table.buckets * 2;
        let next = self.coming.pop().unwrap_or_else(|| Table::new(buckets));
        self.left = std::mem::replace(&mut self.table, next);
        self.emptied = 0;
    }

    fn empty_a_bucket(&mut self) {
        let bucket = *self.left.bucket(self.emptied);
        for lane in 0..PASSED {
            if let Some(slot) = bucket[SLOTS + lane].checked_sub(1) {
                self.left.take(bucket[lane], slot);
                self.table.add(bucket[lane], slot);
            }
        }
        self.emptied += 1;
        if self.emptied == self.left.buckets {
            self.left = Table::none();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use std::collections::BTreeMap;

    #[test]
    fn it_agrees_with_a_map_under_churn() {
        for seed in 0..20 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut index = SlotIndex::new(4, seed);
            let mut map = BTreeMap::new();
            let mut keys = vec![0u64; 4096];
            for slot in 0..4096u32 {
                keys[slot as usize] = random.random_range(0..1u64 << 40);
            }
            for step in 0..20_000 {
                let slot = random.random_range(0..4096u32);
                let key = keys[slot as usize];
                let hash = index.hash_of(3, key);
                let found = index.find(hash, |candidate| keys[candidate as usize] == key);
                assert_eq!(found, map.get(&key).copied(), "seed {seed} step {step}");
                match found {
                    Some(there) => {
                        index.remove(hash, there);
                        map.remove(&key);
                    }
                    None => {
                        index.insert(hash, slot);
                        map.insert(key, slot);
                    }
                }
            }
        }
    }

    /// Buckets that are looked at to find an entry.
    fn way(table: &Table, hash: u32, slot: u32) -> usize {
        let mut place = table.home(hash);
        let mut looked_at = 1;
        while !table.bucket(place)[SLOTS..].contains(&(slot + 1)) {
            place = table.behind(place);
            looked_at += 1;
        }
        looked_at
    }

    /// Keys that were chosen to share one bucket under a seed that is known.
    #[test]
    fn chosen_keys_do_not_fall_together_under_another_seed() {
        const KEYS: usize = 2_000;
        let bucket = |seed, key| hash_of(seed, 1, key) >> 1 & 0x3FF;
        let chosen: Vec<u64> = (0u64..)
            .map(|key| key * NEIGHBOURS)
            .filter(|key| bucket(7, *key) == 0)
            .take(KEYS)
            .collect();
        let longest = |seed| {
            let mut index = SlotIndex::new(4 * KEYS, seed);
            for (slot, key) in chosen.iter().enumerate() {
                index.insert(index.hash_of(1, *key), slot as u32);
            }
            while index.left.buckets != 0 {
                index.empty_a_bucket();
            }
            let ways = chosen.iter().enumerate();
            ways.map(|(slot, key)| way(&index.table, index.hash_of(1, *key), slot as u32))
                .max()
        };
        assert!(longest(7) > Some(KEYS / PASSED / 2), "the choice is bad");
        assert!(longest(8) < Some(8), "{:?}", longest(8));
    }
}
