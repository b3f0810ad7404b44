//! Finds a slot by a key that the slot itself holds: linear probing over hashes.
//!
//! Used for orders by client order id and for positions by account and instrument.
//!
//! Always holds: at most half full, so probes stay short; a removal shifts back what followed, so
//! there are no tombstones and no rehash at some unlucky moment. Iteration is not offered: hash
//! order must never reach an output.

const EMPTY: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Entry {
    hash: u32,
    slot: u32,
}

/// An index from keys to slots.
pub(crate) struct SlotIndex {
    entries: Vec<Entry>,
    mask: usize,
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
    /// Room for `slots` without growing.
    pub(crate) fn new(slots: usize) -> Self {
        let size = (slots.max(8) * 2).next_power_of_two();
        Self {
            entries: vec![
                Entry {
                    hash: 0,
                    slot: EMPTY
                };
                size
            ],
            mask: size - 1,
            count: 0,
        }
    }

    /// The slot with this hash for which `is_it` holds.
    #[inline]
    pub(crate) fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut place = hash as usize & self.mask;
        loop {
            let entry = self.entries[place];
            if entry.slot == EMPTY {
                return None;
            }
            if entry.hash == hash && is_it(entry.slot) {
                return Some(entry.slot);
            }
            place = (place + 1) & self.mask;
        }
    }

    /// Adds a slot; the caller knows that its key is not there yet.
    #[inline]
    pub(crate) fn insert(&mut self, hash: u32, slot: u32) {
        debug_assert!(slot != EMPTY);
        if (self.count + 1) * 2 > self.entries.len() {
            self.grow();
        }
        self.place(Entry { hash, slot });
        self.count += 1;
    }

    /// Removes a slot that is there.
    #[inline]
    pub(crate) fn remove(&mut self, hash: u32, slot: u32) {
        let mut hole = hash as usize & self.mask;
        while self.entries[hole].slot != slot {
            assert!(self.entries[hole].slot != EMPTY);
            hole = (hole + 1) & self.mask;
        }
        let mut place = hole;
        loop {
            place = (place + 1) & self.mask;
            let entry = self.entries[place];
            if entry.slot == EMPTY {
                break;
            }
            let home = entry.hash as usize & self.mask;
            // The entry may move into the hole unless its home lies behind the hole.
            let from_home = place.wrapping_sub(home) & self.mask;
            let from_hole = place.wrapping_sub(hole) & self.mask;
            if from_home >= from_hole {
                self.entries[hole] = entry;
                hole = place;
            }
        }
        self.entries[hole] = Entry {
            hash: 0,
            slot: EMPTY,
        };
        self.count -= 1;
    }

    #[inline]
    fn place(&mut self, entry: Entry) {
        let mut place = entry.hash as usize & self.mask;
        while self.entries[place].slot != EMPTY {
            place = (place + 1) & self.mask;
        }
        self.entries[place] = entry;
    }

    fn grow(&mut self) {
        let size = self.entries.len() * 2;
        let old = std::mem::replace(
            &mut self.entries,
            vec![
                Entry {
                    hash: 0,
                    slot: EMPTY
                };
                size
            ],
        );
        self.mask = size - 1;
        for entry in old.into_iter().filter(|entry| entry.slot != EMPTY) {
            self.place(entry);
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
