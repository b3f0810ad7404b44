//! Finds a slot by a key that the slot itself holds: linear probing over hashes.
//!
//! Used for orders by client order id and for positions by account and instrument.
//!
//! A table is no larger than what lives in it asks for, so that it stays in a near cache: it starts
//! small and doubles. The memory of every doubling that is expected is set aside at the start, and the
//! entries move over a few at a time, so that no command waits until all have moved.
//!
//! Always holds: at most half full, so probes stay short; a removal shifts back what followed, so
//! there are no tombstones but in a table that is being left. Iteration is not offered: hash order
//! must never reach an output.

/// Places of the first table: a page of memory.
const PLACES_MIN: usize = 512;

/// Places of the table that is left that are emptied for each entry added: a cache line.
const PLACES_A_STEP: usize = 8;

/// A hash and a slot, or none.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry(u64);

impl Entry {
    /// Memory that was never touched.
    const EMPTY: Self = Self(0);
    /// An entry was here, and those that follow may still be.
    const MOVED: Self = Self(1 << 32);

    #[inline]
    fn new(hash: u32, slot: u32) -> Self {
        debug_assert!(slot != u32::MAX);
        Self(u64::from(hash) << 32 | u64::from(slot + 1))
    }

    #[inline]
    fn hash(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[inline]
    fn slot(self) -> Option<u32> {
        (self.0 as u32).checked_sub(1)
    }
}

/// Entries by their hashes.
struct Table {
    /// A power of two of [`Entry`]s, as integers so that they come zeroed and untouched; or none.
    places: Vec<u64>,
}

impl Table {
    fn new(places: usize) -> Self {
        Self {
            places: vec![Entry::EMPTY.0; places],
        }
    }

    #[inline]
    fn mask(&self) -> usize {
        self.places.len().wrapping_sub(1)
    }

    #[inline]
    fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut place = hash as usize & self.mask();
        loop {
            let entry = Entry(self.places[place]);
            if entry == Entry::EMPTY {
                return None;
            }
            if entry.hash() == hash
                && let Some(slot) = entry.slot()
                && is_it(slot)
            {
                return Some(slot);
            }
            place = (place + 1) & self.mask();
        }
    }

    #[inline]
    fn add(&mut self, entry: Entry) {
        let mask = self.mask();
        let mut place = entry.hash() as usize & mask;
        while self.places[place] != Entry::EMPTY.0 {
            place = (place + 1) & mask;
        }
        self.places[place] = entry.0;
    }

    /// Where this entry is.
    #[inline]
    fn place_of(&self, entry: Entry) -> Option<usize> {
        let mut place = entry.hash() as usize & self.mask();
        loop {
            let found = Entry(self.places[place]);
            if found == entry {
                return Some(place);
            }
            if found == Entry::EMPTY {
                return None;
            }
            place = (place + 1) & self.mask();
        }
    }

    /// Empties a place, and shifts back what can be found only through it.
    #[inline]
    fn remove_at(&mut self, mut hole: usize) {
        let mask = self.mask();
        let mut place = hole;
        loop {
            place = (place + 1) & mask;
            let entry = Entry(self.places[place]);
            if entry == Entry::EMPTY {
                break;
            }
            let home = entry.hash() as usize & mask;
            // The entry may move into the hole unless its home lies behind the hole.
            let from_home = place.wrapping_sub(home) & mask;
            let from_hole = place.wrapping_sub(hole) & mask;
            if from_home >= from_hole {
                self.places[hole] = entry.0;
                hole = place;
            }
        }
        self.places[hole] = Entry::EMPTY.0;
    }
}

/// An index from keys to slots.
pub(crate) struct SlotIndex {
    table: Table,
    /// The table before this one, while entries are still in it; of no places otherwise.
    left: Table,
    /// Places of `left` that are empty already, from the first.
    emptied: usize,
    /// Larger tables that were set aside, the smallest last.
    coming: Vec<Table>,
    count: usize,
}

/// The hash of a key: eight neighbouring values of `low` share one cache line of the index, because
/// ids are mostly given out in sequence. Fixed, so every replica probes alike.
#[inline]
pub(crate) fn hash_of(high: u64, low: u64) -> u32 {
    const NEIGHBOURS: u64 = 8;
    let group = low / NEIGHBOURS;
    let left = u128::from(high ^ 0x9E37_79B9_7F4A_7C15);
    let product = left * u128::from(group ^ 0xD1B5_4A32_D192_ED03);
    let folded = (product as u64) ^ ((product >> 64) as u64) ^ high.rotate_left(32);
    let spread = folded.wrapping_mul(0x9FB2_1C65_1E98_DF25) >> 32;
    ((spread & !(NEIGHBOURS - 1)) | (low % NEIGHBOURS)) as u32
}

impl SlotIndex {
    /// Room for `slots` without an allocation.
    pub(crate) fn new(slots: usize) -> Self {
        let most = (slots * 2).next_power_of_two().max(PLACES_MIN);
        let sizes = std::iter::successors(Some(most), |size| Some(size / 2));
        let mut coming: Vec<Table> = sizes
            .take_while(|size| *size > PLACES_MIN)
            .map(Table::new)
            .collect();
        coming.shrink_to_fit();
        Self {
            table: Table::new(PLACES_MIN),
            left: Table::new(0),
            emptied: 0,
            coming,
            count: 0,
        }
    }

    /// The slot with this hash for which `is_it` holds.
    #[inline]
    pub(crate) fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let found = self.table.find(hash, &mut is_it);
        if found.is_none() && !self.left.places.is_empty() {
            return self.left.find(hash, is_it);
        }
        found
    }

    /// Adds a slot; the caller knows that its key is not there yet.
    #[inline]
    pub(crate) fn insert(&mut self, hash: u32, slot: u32) {
        if (self.count + 1) * 2 > self.table.places.len() {
            self.grow();
        }
        self.table.add(Entry::new(hash, slot));
        self.count += 1;
        if !self.left.places.is_empty() {
            self.empty_some();
        }
    }

    /// Removes a slot that is there.
    #[inline]
    pub(crate) fn remove(&mut self, hash: u32, slot: u32) {
        let entry = Entry::new(hash, slot);
        self.count -= 1;
        if let Some(place) = self.table.place_of(entry) {
            self.table.remove_at(place);
            return;
        }
        let place = if self.left.places.is_empty() {
            None
        } else {
            self.left.place_of(entry)
        };
        assert!(place.is_some());
        if let Some(place) = place {
            self.left.places[place] = Entry::MOVED.0;
        }
    }

    /// Begins to move to a table of twice the size.
    #[cold]
    fn grow(&mut self) {
        // A step for each entry added empties a table long before the next is half full.
        while !self.left.places.is_empty() {
            self.empty_some();
        }
        let size = self.table.places.len() * 2;
        let next = self.coming.pop().unwrap_or_else(|| Table::new(size));
        self.left = std::mem::replace(&mut self.table, next);
        self.emptied = 0;
    }

    fn empty_some(&mut self) {
        let end = self.emptied + PLACES_A_STEP;
        for place in self.emptied..end {
            let entry = Entry(self.left.places[place]);
            if entry.slot().is_some() {
                self.table.add(entry);
                self.left.places[place] = Entry::MOVED.0;
            }
        }
        self.emptied = end;
        if end == self.left.places.len() {
            self.left = Table::new(0);
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
            let mut index = SlotIndex::new(4);
            let mut map = BTreeMap::new();
            let mut keys = vec![0u64; 4096];
            for slot in 0..4096u32 {
                keys[slot as usize] = random.random_range(0..1u64 << 40);
            }
            for step in 0..20_000 {
                let slot = random.random_range(0..4096u32);
                let key = keys[slot as usize];
                let hash = hash_of(3, key);
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
}
