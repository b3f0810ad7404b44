//! The hash of order ids in the table of an image: neighbours in time lie near each other.
//!
//! Used by `books` only. A table with room for a million orders is larger than the cache. With a
//! hash that scatters, every new order meets a cold line and a cold page; with this one a table
//! costs what the orders alive at one time cost, whatever room it has.
//!
//! Always holds: it is only about speed; any ids are stored and found.
//! Does not: resist ids chosen to collide: the exchange chooses them.

use std::hash::{BuildHasher, Hasher};

/// The low bits of an id are the place of the order in the engine, those above count the orders.
const PLACE_BITS: u32 = 24;

/// Orders that follow each other lie so many entries apart: odd, so that every entry is used, and
/// above 1, so that a run of orders leaves gaps and removing leaves no marks behind.
const SPREAD: u64 = 5;

/// An odd number that mixes all bits into the uppermost: 2^64 divided by the golden ratio.
const MIX: u64 = 0x9E37_79B9_7F4A_7C15;

/// The uppermost seven bits tell apart orders of the same entry.
const TAG: u64 = !(u64::MAX >> 7);

/// Makes hashers of order ids.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OrderHash;

/// Hashes one order id.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OrderHasher(u64);

impl BuildHasher for OrderHash {
    type Hasher = OrderHasher;

    fn build_hasher(&self) -> OrderHasher {
        OrderHasher::default()
    }
}

impl Hasher for OrderHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Order ids come through `write_u64`; anything else is still hashed.
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(MIX);
        }
    }

    fn write_u64(&mut self, id: u64) {
        let near = (id >> PLACE_BITS).wrapping_add(id & ((1 << PLACE_BITS) - 1));
        let tag = (self.0 ^ id).wrapping_mul(MIX);
        self.0 = near.wrapping_mul(SPREAD) & !TAG | tag & TAG;
    }
}

#[cfg(test)]
mod tests {
    use exahour_wire::ids::OrderId;

    use super::*;

    #[test]
    fn orders_alive_together_spread_over_a_table_and_neighbours_stay_near() {
        let entries = 1 << 17;
        let live = entries / 2;
        let mut groups = vec![0_u32; entries as usize / 16];
        let entry = |id| OrderHash.hash_one(OrderId(id)) % entries;
        // The engine's scheme: a count above, the place most recently freed below.
        for count in 0..live {
            let id = (1_000_000 + count) << PLACE_BITS | (count * 7919 % live);
            groups[(entry(id) / 16) as usize] += 1;
        }
        let most = groups.iter().max().copied().unwrap_or(0);
        let used = groups.iter().filter(|group| **group > 0).count();
        assert!(
            most <= 32 && used > groups.len() / 2,
            "at most {most}, {used} groups used"
        );
        // A quiet book uses one place again and again.
        let step = entry(1_000_001 << PLACE_BITS | 3).abs_diff(entry(1_000_000 << PLACE_BITS | 3));
        assert_eq!(step, SPREAD);
    }
}
