//! Orders in slots, chained in time order into the queue of their price.
//!
//! Called by `books` only. Freed slots are used again, so memory follows the most orders that
//! rested at once.
//!
//! ```text
//! level.first -> [slot 4] <-> [slot 0] <-> [slot 7] <- level.last      free: 2 -> 5 -> none
//! ```
//! Always holds: every used slot is in exactly one queue; a level's totals are those of its queue.

use exahour_wire::codes::Side;
use exahour_wire::ids::{InstrumentId, OrderId};
use exahour_wire::units::{Price, Quantity};

use super::fault::ImageFault;

/// An order that rests in a book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestingOrder {
    /// The order.
    pub order: OrderId,
    /// Its contract.
    pub instrument: InstrumentId,
    /// Buy or sell.
    pub side: Side,
    /// Its limit.
    pub price: Price,
    /// Lots open.
    pub quantity: Quantity,
}

/// The place of an order in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(u32);

impl Slot {
    pub(super) const NONE: Slot = Slot(u32::MAX);

    fn index(self) -> usize {
        self.0 as usize
    }

    /// This slot, or `None` for [`Slot::NONE`].
    pub(super) fn some(self) -> Option<Slot> {
        (self != Slot::NONE).then_some(self)
    }
}

#[derive(Clone, Copy, Debug)]
struct Node {
    resting: RestingOrder,
    previous: Slot,
    next: Slot,
}

/// All orders of one price, oldest first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    pub(super) first: Slot,
    last: Slot,
    pub(super) orders: u32,
    /// Wide: as many orders as fit, each of the largest size, leave 64 bits.
    total: u128,
}

impl Level {
    pub(super) const EMPTY: Level = Level {
        first: Slot::NONE,
        last: Slot::NONE,
        orders: 0,
        total: 0,
    };

    /// A level of which only the sums are known.
    pub(super) fn of(orders: u32, quantity: Quantity) -> Level {
        Level {
            orders,
            total: quantity.0.into(),
            ..Level::EMPTY
        }
    }

    /// Lots of all orders, or the largest quantity where they are more.
    pub(super) fn quantity(&self) -> Quantity {
        Quantity(u64::try_from(self.total).unwrap_or(u64::MAX))
    }
}

/// The slots.
#[derive(Debug)]
pub(super) struct Slots {
    nodes: Vec<Node>,
    /// Chained through `next`.
    free: Slot,
}

impl Slots {
    pub(super) fn with_room(orders: usize) -> Self {
        Slots {
            nodes: Vec::with_capacity(orders),
            free: Slot::NONE,
        }
    }

    pub(super) fn clear(&mut self) {
        self.nodes.clear();
        self.free = Slot::NONE;
    }

    pub(super) fn order(&self, slot: Slot) -> &RestingOrder {
        &self.nodes[slot.index()].resting
    }

    pub(super) fn next(&self, slot: Slot) -> Slot {
        self.nodes[slot.index()].next
    }

    /// Refuses where no slot is left to number.
    pub(super) fn check_room(&self) -> Result<(), ImageFault> {
        let full = self.free == Slot::NONE && self.nodes.len() >= Slot::NONE.index();
        if full { Err(ImageFault::Full) } else { Ok(()) }
    }

    /// Puts an order last in its level; [`Slots::check_room`] has passed.
    pub(super) fn push(&mut self, level: &mut Level, resting: RestingOrder) -> Slot {
        let node = Node {
            resting,
            previous: level.last,
            next: Slot::NONE,
        };
        let slot = match self.free.some() {
            Some(slot) => {
                self.free = self.nodes[slot.index()].next;
                self.nodes[slot.index()] = node;
                slot
            }
            None => {
                self.nodes.push(node);
                Slot((self.nodes.len() - 1) as u32)
            }
        };
        match level.last.some() {
            Some(last) => self.nodes[last.index()].next = slot,
            None => level.first = slot,
        }
        level.last = slot;
        level.orders += 1;
        level.total += u128::from(resting.quantity.0);
        slot
    }

    /// Shrinks an order in its place; `leaves` is below its size.
    pub(super) fn shrink(&mut self, level: &mut Level, slot: Slot, leaves: Quantity) {
        let resting = &mut self.nodes[slot.index()].resting;
        level.total -= u128::from(resting.quantity.0 - leaves.0);
        resting.quantity = leaves;
    }

    /// Takes an order out of its level.
    pub(super) fn remove(&mut self, level: &mut Level, slot: Slot) {
        let Node {
            resting,
            previous,
            next,
        } = self.nodes[slot.index()];
        match previous.some() {
            Some(previous) => self.nodes[previous.index()].next = next,
            None => level.first = next,
        }
        match next.some() {
            Some(next) => self.nodes[next.index()].previous = previous,
            None => level.last = previous,
        }
        level.orders -= 1;
        level.total -= u128::from(resting.quantity.0);
        self.nodes[slot.index()].next = self.free;
        self.free = slot;
    }
}
