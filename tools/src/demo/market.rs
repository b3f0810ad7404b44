//! A market made up from a seed: orders come, change and go around a price that wanders.
//!
//! Used by `demo` where no file is named.
//!
//! Always holds: the same seed gives the same rows; an order is changed or deleted only while it may
//! live.

use exahour_wire::codes::Side;
use exahour_wire::units::Price;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::feed::LOT;
use crate::feed::rows::{Action, Row};

/// A tick of the contract: a cent.
const TICK: i64 = 10_000;

/// The middle of the market at the start, in ticks.
const MIDDLE: i64 = 23_600;

/// How far the middle may wander, in ticks.
const WANDER: i64 = 2_000;

/// Orders that the market keeps at rest, about.
const RESTING: usize = 2_000;

/// The first `count` rows of the market with this seed.
pub(super) fn rows(seed: u64, count: usize) -> Vec<Row> {
    let mut market = Market {
        random: ChaCha8Rng::seed_from_u64(seed),
        middle: MIDDLE,
        live: Vec::new(),
        names: 0,
    };
    (0..count as u64).map(|place| market.next(place)).collect()
}

struct Market {
    random: ChaCha8Rng,
    middle: i64,
    live: Vec<Row>,
    names: u64,
}

impl Market {
    fn next(&mut self, at_ms: u64) -> Row {
        self.middle += self.random.random_range(-2..=2);
        self.middle = self.middle.clamp(MIDDLE - WANDER, MIDDLE + WANDER);
        let full = self.live.len() >= RESTING;
        let entering = if full { 45 } else { 60 };
        match self.random.random_range(0..100) {
            choice if choice < entering || self.live.is_empty() => self.enter(at_ms),
            choice if choice < entering + 8 => self.change(at_ms),
            _ => self.delete(at_ms),
        }
    }

    /// Nearly all join their side; one in eight crosses and trades.
    fn enter(&mut self, at_ms: u64) -> Row {
        let side = match self.random.random_bool(0.5) {
            true => Side::Buy,
            false => Side::Sell,
        };
        let away = match self.random.random_range(0..8) {
            0 => -self.random.random_range(1..=20),
            _ => self.random.random_range(1..=100),
        };
        let ticks = match side {
            Side::Buy => self.middle - away,
            Side::Sell => self.middle + away,
        };
        self.names += 1;
        let row = Row {
            id: self.names,
            at_ms,
            price: Price(ticks * TICK),
            volume: self.random.random_range(1..=50) * LOT,
            action: Action::Created,
            side,
        };
        self.live.push(row);
        row
    }

    fn change(&mut self, at_ms: u64) -> Row {
        let place = self.random.random_range(0..self.live.len());
        let volume = self.random.random_range(1..=50) * LOT;
        Row {
            at_ms,
            volume,
            action: Action::Changed,
            ..self.live[place]
        }
    }

    fn delete(&mut self, at_ms: u64) -> Row {
        let place = self.random.random_range(0..self.live.len());
        Row {
            at_ms,
            volume: 0,
            action: Action::Deleted,
            ..self.live.swap_remove(place)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_market_and_another_another() {
        assert_eq!(rows(1, 5_000), rows(1, 5_000));
        assert_ne!(rows(1, 5_000), rows(2, 5_000));
    }

    #[test]
    fn only_what_was_entered_is_changed_or_deleted() {
        let mut live = std::collections::BTreeSet::new();
        for row in rows(3, 20_000) {
            match row.action {
                Action::Created => assert!(live.insert(row.id)),
                Action::Changed => assert!(live.contains(&row.id)),
                Action::Deleted => assert!(live.remove(&row.id)),
            }
        }
    }
}
