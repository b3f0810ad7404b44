//! The two sides of one book: prices in order, each with its queue.
//!
//! ```text
//! near: the best prices, sorted ---+
//!                                  |-> levels: key, total, first, last -> orders, in time order
//! far:  all others, a tree --------+
//! ```
//! Nearly all that happens happens near the best price. Whatever else prices somebody may choose go
//! into a tree, so that a step takes the logarithm of their number at most, and memory is theirs alone.
//!
//! A near level whose last order leaves stays where it is, as the next order there saves its making. It
//! goes when it becomes the best one, or the worst of too many.
//!
//! Always holds: neither the best nor a far level is empty; every near key is above every far one; near
//! ones are few only where there are no far ones; a level's total is its orders' sum of lots shown.

use exahour_wire::codes::Side;
use exahour_wire::units::{Price, Quantity};

use crate::by_side::{BySide, signed};

use super::far::Far;
use super::hidden::Hidden;
use super::level::{LevelIndex, LevelTable, NEAR, NO_LEVEL};
use super::near::{NEAR_MAX, Near, Place};
use super::orders::{NO_ORDER, OrderTable, Slot};

/// Fewer near levels than this are made up from the far ones.
const NEAR_MIN: usize = NEAR_MAX / 2;

/// One side of a book.
pub struct Levels {
    side: Side,
    near: Near,
    far: Far,
    levels: LevelTable,
}

impl Levels {
    fn new(side: Side, seed: u64, tick: Price) -> Self {
        Self {
            side,
            near: Near::new(tick.0),
            far: Far::new(seed),
            levels: LevelTable::new(NEAR_MAX),
        }
    }

    #[inline]
    fn key(&self, price: Price) -> i64 {
        signed(self.side, price.0)
    }

    /// The best price.
    #[inline]
    #[must_use]
    pub fn best(&self) -> Option<Price> {
        (self.near.len() > 0).then(|| Price(signed(self.side, self.near.best_key())))
    }

    /// The oldest order at the best price, if that price is at `limit` or better for the order that
    /// comes from the other side.
    #[inline]
    #[must_use]
    pub fn first_within(&self, limit: Price) -> Option<Slot> {
        let within = self.near.best_key() >= self.key(limit);
        within.then(|| self.levels.at(self.near.best()).first)
    }

    /// Puts an order last at its price.
    #[inline]
    pub fn append(&mut self, orders: &mut OrderTable, slot: Slot) {
        let (price, leaves) = {
            let order = orders.at(slot);
            (order.price, order.leaves.0)
        };
        let index = self.level_for(self.key(price));
        let level = self.levels.at_mut(index);
        level.total += leaves;
        let last = std::mem::replace(&mut level.last, slot);
        level.first = if last == NO_ORDER { slot } else { level.first };
        orders.link(last).next = slot;
        let order = orders.at_mut(slot);
        order.level = index;
        order.previous = last;
        order.next = NO_ORDER;
    }

    /// Takes an order out of its queue; its open lots are still in it.
    #[inline]
    pub fn take_out(&mut self, orders: &mut OrderTable, slot: Slot) {
        let order = orders.at(slot);
        let (index, previous, next) = (order.level, order.previous, order.next);
        let level = self.levels.at_mut(index);
        level.total -= order.leaves.0;
        level.first = if previous == NO_ORDER {
            next
        } else {
            level.first
        };
        level.last = if next == NO_ORDER {
            previous
        } else {
            level.last
        };
        let far = level.lesser != NEAR;
        let goes = level.is_empty() & (far | (index == self.near.best()));
        orders.link(previous).next = next;
        orders.link(next).previous = previous;
        if goes {
            self.drop_level(index);
        }
    }

    /// Takes lots off an order that stays, or is taken out next.
    #[inline]
    pub fn shrink(&mut self, orders: &mut OrderTable, slot: Slot, by: Quantity) {
        let order = orders.at_mut(slot);
        order.leaves.0 -= by.0;
        self.levels.at_mut(order.level).total -= by.0;
    }

    /// The open lots at a price.
    #[must_use]
    pub fn depth_at(&self, price: Price) -> Quantity {
        let key = self.key(price);
        let index = match self.near.at(self.near.place(key), key) {
            NO_LEVEL => self.far.find(&self.levels, key),
            near => near,
        };
        Quantity(self.levels.at(index).total)
    }

    /// Every order, best price first, oldest first, as long as `visit` says so.
    pub fn walk(&self, orders: &OrderTable, mut visit: impl FnMut(Slot) -> bool) {
        for index in self.in_order() {
            let mut slot = self.levels.at(index).first;
            while slot != NO_ORDER {
                if !visit(slot) {
                    return;
                }
                slot = orders.at(slot).next;
            }
        }
    }

    /// Every price with its open lots, the best first.
    pub fn totals(&self) -> impl Iterator<Item = (Price, Quantity)> {
        self.in_order().map(|index| {
            let level = self.levels.at(index);
            let price = Price(signed(self.side, level.key));
            (price, Quantity(level.total))
        })
    }

    /// All levels that are not empty, best first.
    fn in_order(&self) -> impl Iterator<Item = LevelIndex> {
        let far = std::iter::successors(self.far.below(&self.levels, i64::MAX), |index| {
            self.far.below(&self.levels, self.levels.at(*index).key)
        });
        let all = self.near.in_order().chain(far);
        all.filter(|index| !self.levels.at(*index).is_empty())
    }

    #[inline]
    fn level_for(&mut self, key: i64) -> LevelIndex {
        let place = self.near.place(key);
        match self.near.at(place, key) {
            NO_LEVEL => self.make_level(place, key),
            found => found,
        }
    }

    /// The level of a key that no near one has.
    #[inline]
    fn make_level(&mut self, place: Place, key: i64) -> LevelIndex {
        if place.is_worst() && !self.far.is_empty() {
            return self.far_level(key);
        }
        let made = self.levels.make(key);
        let mut place = place;
        if self.near.len() == NEAR_MAX {
            if place.is_worst() {
                self.far.enter(&mut self.levels, made);
                return made;
            }
            self.send_away();
            place = place.without_worst();
        }
        self.near.enter(place, key, made);
        made
    }

    /// The level of a key that is below all near ones, while there are others.
    #[cold]
    fn far_level(&mut self, key: i64) -> LevelIndex {
        match self.far.find(&self.levels, key) {
            NO_LEVEL => {
                let made = self.levels.make(key);
                self.far.enter(&mut self.levels, made);
                made
            }
            found => found,
        }
    }

    /// Makes room for one more near level.
    #[cold]
    fn send_away(&mut self) {
        let worst = self.near.remove_worst();
        if self.levels.at(worst).is_empty() {
            self.levels.free(worst);
        } else {
            self.far.enter(&mut self.levels, worst);
        }
    }

    /// Forgets an empty level, which is far or the best one.
    #[inline]
    fn drop_level(&mut self, index: LevelIndex) {
        if index == self.near.best() {
            self.drop_best();
        } else {
            self.far.remove(&mut self.levels, index);
            self.levels.free(index);
        }
    }

    /// Forgets the best level and the empty ones behind it.
    #[inline]
    fn drop_best(&mut self) {
        while self.near.len() > 0 && self.levels.at(self.near.best()).is_empty() {
            self.levels.free(self.near.best());
            self.near.remove_best();
            if self.near.len() < NEAR_MIN && !self.far.is_empty() {
                self.call_in();
            }
        }
    }

    /// Makes up for a near level that is gone.
    #[cold]
    fn call_in(&mut self) {
        if let Some(next) = self.far.below(&self.levels, i64::MAX) {
            self.far.remove(&mut self.levels, next);
            self.levels.at_mut(next).lesser = NEAR;
            self.near.enter_worst(self.levels.at(next).key, next);
        }
    }
}

/// Both sides of one instrument's book.
pub struct Book {
    sides: BySide<Levels>,
    /// What stands behind the levels' totals.
    pub(crate) hidden: Hidden,
}

impl Book {
    /// An empty book of prices that are multiples of `tick`. No output depends on the seed; who knows it
    /// can choose prices that make the book slow.
    #[must_use]
    pub fn new(seed: u64, tick: Price) -> Self {
        Self {
            sides: BySide::new(
                Levels::new(Side::Buy, seed, tick),
                Levels::new(Side::Sell, seed, tick),
            ),
            hidden: Hidden::default(),
        }
    }

    /// One side.
    #[inline]
    #[must_use]
    pub fn side(&self, side: Side) -> &Levels {
        self.sides.at(side)
    }

    /// As [`Book::side`], to change.
    #[inline]
    pub fn side_mut(&mut self, side: Side) -> &mut Levels {
        self.sides.at_mut(side)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};

    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use crate::book::{NO_EXTENT, Order, VACANT};
    use crate::capacity::Capacity;

    use super::*;

    /// A side, and the same as an ordered map of queues.
    struct Pair {
        side: Side,
        tick: i64,
        orders: OrderTable,
        levels: Levels,
        twin: BTreeMap<i64, VecDeque<Slot>>,
        live: Vec<Slot>,
    }

    impl Pair {
        fn new(side: Side, tick: i64, seed: u64) -> Self {
            let capacity = Capacity {
                orders: 1_000,
                ..Capacity::default()
            };
            Self {
                side,
                tick,
                orders: OrderTable::new(&capacity),
                levels: Levels::new(side, seed, Price(tick)),
                twin: BTreeMap::new(),
                live: Vec::new(),
            }
        }

        fn append(&mut self, ticks: i64, lots: u64) {
            let price = Price(ticks * self.tick);
            let side = self.side;
            let slot = self.orders.insert(NO_EXTENT, |id| Order {
                id,
                price,
                leaves: Quantity(lots),
                side,
                ..VACANT
            });
            self.levels.append(&mut self.orders, slot);
            let key = signed(self.side, price.0);
            self.twin.entry(key).or_default().push_back(slot);
            self.live.push(slot);
        }

        fn take_out(&mut self, at: usize) {
            let slot = self.live.swap_remove(at);
            let key = signed(self.side, self.orders.at(slot).price.0);
            self.levels.take_out(&mut self.orders, slot);
            self.orders.remove(slot);
            let queue = self.twin.get_mut(&key).expect("a queue");
            queue.retain(|it| *it != slot);
            if queue.is_empty() {
                self.twin.remove(&key);
            }
        }

        fn best(&self) -> Option<Price> {
            let key = self.twin.last_key_value().map(|it| *it.0);
            key.map(|key| Price(signed(self.side, key)))
        }

        fn compare(&self) {
            let mut walked = Vec::new();
            self.levels.walk(&self.orders, |slot| {
                walked.push(slot);
                true
            });
            let expected: Vec<Slot> = self.twin.values().rev().flatten().copied().collect();
            assert_eq!(walked, expected);
            for (key, queue) in &self.twin {
                let lots = queue.iter().map(|it| self.orders.at(*it).leaves.0).sum();
                let price = Price(signed(self.side, *key));
                assert_eq!(self.levels.depth_at(price), Quantity(lots));
            }
            let beside = Price(signed(self.side, 3 * self.tick - 1));
            assert_eq!(self.levels.depth_at(beside), Quantity(0));
        }
    }

    /// Where prices come from: near a market that wanders, jumps, or from anywhere at all.
    fn ticks(random: &mut ChaCha8Rng, middle: &mut i64) -> i64 {
        match random.random_range(0..100) {
            0 => *middle = random.random_range(1..100_000_000),
            1..=9 => return random.random_range(1..1_000_000_000),
            10..=29 => *middle = (*middle + random.random_range(-700..700)).max(1),
            30..=39 => return (*middle + random.random_range(-20_000..20_000)).max(1),
            _ => {}
        }
        (*middle + random.random_range(-40..40)).max(1)
    }

    #[test]
    fn it_agrees_with_an_ordered_map_of_queues() {
        for seed in 0..40 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let side = [Side::Buy, Side::Sell][seed as usize % 2];
            let tick = [1, 5, 10_000][seed as usize % 3];
            let mut pair = Pair::new(side, tick, random.random());
            let mut middle = random.random_range(1..1_000_000);
            let most = random.random_range(1..400);
            for round in 0..4_000 {
                let takes = pair.live.len() > random.random_range(0..most);
                if takes {
                    let at = random.random_range(0..pair.live.len());
                    pair.take_out(at);
                } else {
                    let price = ticks(&mut random, &mut middle);
                    pair.append(price, random.random_range(1..100));
                }
                assert_eq!(pair.levels.best(), pair.best(), "seed {seed}");
                if round % 64 == 0 {
                    pair.compare();
                }
            }
            pair.compare();
        }
    }

    #[test]
    fn near_levels_are_few_only_where_there_are_no_others() {
        let mut pair = Pair::new(Side::Buy, 1, 7);
        for price in 1..10_000 {
            pair.append(price * 3, 1);
        }
        while !pair.live.is_empty() {
            assert!(pair.levels.near.len() >= NEAR_MIN.min(pair.live.len()));
            pair.take_out(pair.live.len() - 1);
        }
        assert_eq!(pair.levels.best(), None);
    }
}
