//! The two sides of one book: prices in order, each with its queue.
//!
//! A side is a sorted array of prices, the best at the end, where nearly all changes happen; each
//! points to a level in an arena, and a level to the first and last order of its queue.
//!
//! Always holds: no empty level; keys strictly ascending; a level's total is its orders' sum.

use exahour_wire::codes::Side;
use exahour_wire::units::{Price, Quantity};

use crate::by_side::{BySide, signed};

use super::orders::{NO_ORDER, OrderTable, Slot};

const NO_LEVEL: u32 = u32::MAX;
const LEVELS_AT_START: usize = 1_024;

/// One price of one side.
#[derive(Clone, Copy, Debug)]
struct Level {
    price: Price,
    first: Slot,
    last: Slot,
    total: u64,
    /// In a free level, the next free one.
    next_free: u32,
}

/// Where a level stands: ascending keys, the best price last.
#[derive(Clone, Copy, Debug)]
struct Place {
    key: i64,
    level: u32,
}

/// One side of a book.
pub(crate) struct Levels {
    side: Side,
    places: Vec<Place>,
    levels: Vec<Level>,
    first_free: u32,
}

impl Levels {
    fn new(side: Side) -> Self {
        Self {
            side,
            places: Vec::with_capacity(LEVELS_AT_START),
            levels: Vec::with_capacity(LEVELS_AT_START),
            first_free: NO_LEVEL,
        }
    }

    #[inline]
    fn key(&self, price: Price) -> i64 {
        signed(self.side, price.0)
    }

    /// The best price.
    #[inline]
    pub(crate) fn best(&self) -> Option<Price> {
        self.places
            .last()
            .map(|place| self.levels[place.level as usize].price)
    }

    /// The oldest order at the best price, if that price is at `limit` or better for the order that
    /// comes from the other side.
    #[inline]
    pub(crate) fn first_within(&self, limit: Price) -> Option<Slot> {
        let place = self.places.last()?;
        let within = place.key >= self.key(limit);
        within.then(|| self.levels[place.level as usize].first)
    }

    /// Puts an order last at its price.
    #[inline]
    pub(crate) fn append(&mut self, orders: &mut OrderTable, slot: Slot) {
        let (price, leaves) = {
            let order = orders.at(slot);
            (order.price, order.leaves.0)
        };
        let index = self.level_for(price);
        let level = &mut self.levels[index as usize];
        level.total += leaves;
        let last = std::mem::replace(&mut level.last, slot);
        if last == NO_ORDER {
            level.first = slot;
        } else {
            orders.at_mut(last).next = slot;
        }
        let order = orders.at_mut(slot);
        order.level = index;
        order.previous = last;
        order.next = NO_ORDER;
    }

    /// Takes an order out of its queue; its open lots are still in it.
    #[inline]
    pub(crate) fn take_out(&mut self, orders: &mut OrderTable, slot: Slot) {
        let order = *orders.at(slot);
        let level = &mut self.levels[order.level as usize];
        level.total -= order.leaves.0;
        if order.previous == NO_ORDER {
            level.first = order.next;
        } else {
            orders.at_mut(order.previous).next = order.next;
        }
        if order.next == NO_ORDER {
            level.last = order.previous;
        } else {
            orders.at_mut(order.next).previous = order.previous;
        }
        if level.first == NO_ORDER {
            self.drop_level(order.level);
        }
    }

    /// Takes lots off an order that stays, or is taken out next.
    #[inline]
    pub(crate) fn shrink(&mut self, orders: &mut OrderTable, slot: Slot, by: Quantity) {
        let order = orders.at_mut(slot);
        order.leaves.0 -= by.0;
        self.levels[order.level as usize].total -= by.0;
    }

    /// Every order, best price first, oldest first, as long as `visit` says so.
    pub(crate) fn walk(&self, orders: &OrderTable, mut visit: impl FnMut(Slot) -> bool) {
        for place in self.places.iter().rev() {
            let mut slot = self.levels[place.level as usize].first;
            while slot != NO_ORDER {
                if !visit(slot) {
                    return;
                }
                slot = orders.at(slot).next;
            }
        }
    }

    #[inline]
    fn level_for(&mut self, price: Price) -> u32 {
        let key = self.key(price);
        // Nearly every order lands near the best price, at the end.
        let at = match self.places.last() {
            None => 0,
            Some(last) if last.key < key => self.places.len(),
            Some(last) if last.key == key => return last.level,
            Some(_) => match self.places.binary_search_by_key(&key, |place| place.key) {
                Ok(found) => return self.places[found].level,
                Err(at) => at,
            },
        };
        let level = Level {
            price,
            first: NO_ORDER,
            last: NO_ORDER,
            total: 0,
            next_free: NO_LEVEL,
        };
        let index = if self.first_free == NO_LEVEL {
            self.levels.push(level);
            self.levels.len() as u32 - 1
        } else {
            let index = self.first_free;
            self.first_free = self.levels[index as usize].next_free;
            self.levels[index as usize] = level;
            index
        };
        self.places.insert(at, Place { key, level: index });
        index
    }

    #[inline]
    fn drop_level(&mut self, index: u32) {
        let key = self.key(self.levels[index as usize].price);
        self.levels[index as usize].next_free = self.first_free;
        self.first_free = index;
        if self.places.last().is_some_and(|place| place.level == index) {
            self.places.pop();
            return;
        }
        let found = self.places.binary_search_by_key(&key, |place| place.key);
        assert!(found.is_ok());
        if let Ok(at) = found {
            self.places.remove(at);
        }
    }
}

/// Both sides of one instrument's book.
pub(crate) struct Book {
    sides: BySide<Levels>,
}

impl Book {
    /// An empty book.
    pub(crate) fn new() -> Self {
        Self {
            sides: BySide::new(Levels::new(Side::Buy), Levels::new(Side::Sell)),
        }
    }

    /// One side.
    #[inline]
    pub(crate) fn side(&self, side: Side) -> &Levels {
        self.sides.at(side)
    }

    /// As [`Book::side`], to change.
    #[inline]
    pub(crate) fn side_mut(&mut self, side: Side) -> &mut Levels {
        self.sides.at_mut(side)
    }
}

impl Levels {
    /// Every price with its open lots, the best first.
    pub(crate) fn totals(&self) -> impl Iterator<Item = (Price, Quantity)> {
        self.places.iter().rev().map(|place| {
            let level = &self.levels[place.level as usize];
            (level.price, Quantity(level.total))
        })
    }
}
