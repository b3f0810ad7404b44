//! Every choice of a simulated world: numbers drawn from one seed.
//!
//! Each part of the world draws from a stream of its own, so that what one of them asks for does not
//! change what another one gets.
//!
//! Always holds: the same seed and the same questions give the same answers.

use std::ops::RangeInclusive;

use exahour_wire::units::{Nanos, PartsPerMillion};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Who draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Stream {
    /// What the world is like: sizes, rates of faults.
    Swarm = 1,
    /// Which agent is turned next.
    Order = 2,
    /// The network.
    Net = 3,
    /// The disks, one for each node behind this number.
    Disk = 0x100,
    /// The clocks, one for each node behind this number.
    Clock = 0x200,
    /// The clients, one for each behind this number.
    Client = 0x300,
    /// What befalls the nodes, and when.
    Faults = 4,
    /// What nodes keep, and what is asked of their group.
    Scope = 5,
    /// The operator.
    Operator = 6,
    /// Who forgets at the end, and when.
    Forgetting = 7,
    /// Whose program is older, and when that ends.
    Programs = 8,
}

/// A stream of choices.
#[derive(Clone, Debug)]
pub(crate) struct Chance(ChaCha8Rng);

impl Chance {
    /// The stream of one part of the world; `number` tells parts of a kind apart.
    #[must_use]
    pub(crate) fn new(seed: u64, stream: Stream, number: u64) -> Self {
        let mut draw = ChaCha8Rng::seed_from_u64(seed);
        draw.set_stream(stream as u64 + number);
        Self(draw)
    }

    /// One of so many things, from 0.
    ///
    /// # Panics
    /// If there are none to choose from.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        self.0.random_range(0..count)
    }

    /// A number of a range.
    pub(crate) fn of(&mut self, range: RangeInclusive<u64>) -> u64 {
        self.0.random_range(range)
    }

    /// A span of a range.
    pub(crate) fn span(&mut self, least: Nanos, most: Nanos) -> Nanos {
        Nanos(self.of(least.0..=most.0.max(least.0)))
    }

    /// Whether something happens that does at this rate.
    pub(crate) fn happens(&mut self, rate: PartsPerMillion) -> bool {
        rate.0 > 0 && self.0.random_range(0..1_000_000) < rate.0
    }

    /// A coin.
    pub(crate) fn coin(&mut self) -> bool {
        self.0.next_u32() & 1 == 1
    }

    /// Bytes of any value.
    pub(crate) fn fill(&mut self, room: &mut [u8]) {
        self.0.fill_bytes(room);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_one_seed_are_their_own_and_repeat() {
        let draw = |stream, number| {
            let mut chance = Chance::new(7, stream, number);
            (0..8).map(|_| chance.of(0..=u64::MAX)).collect::<Vec<_>>()
        };
        assert_eq!(draw(Stream::Disk, 1), draw(Stream::Disk, 1));
        assert_ne!(draw(Stream::Disk, 1), draw(Stream::Disk, 2));
        assert_ne!(draw(Stream::Disk, 1), draw(Stream::Clock, 1));
    }

    #[test]
    fn a_rate_is_kept() {
        let mut chance = Chance::new(7, Stream::Net, 0);
        let often = (0..100_000)
            .filter(|_| chance.happens(PartsPerMillion(250_000)))
            .count();
        assert!((24_000..26_000).contains(&often), "{often}");
        assert!(!(0..1_000).any(|_| chance.happens(PartsPerMillion(0))));
        assert!((0..1_000).all(|_| chance.happens(PartsPerMillion(1_000_000))));
    }
}
