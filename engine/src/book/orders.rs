//! The table of all live orders, and how orders are named.
//!
//! ```text
//! order id:  | serial number, 40 bits | slot, 24 bits |
//! ```
//! The serial number makes ids grow with time and never repeat; the slot finds the order at once.
//!
//! Before the place of slot 0 lies one that no order ever gets: what is linked to nothing is linked to
//! it, so that entering and leaving a queue asks nothing that a processor would have to guess.
//!
//! Always holds: a slot is either free (id zero) or holds one live order; freed slots are used
//! again last in, first out, which is part of the rules because it is visible in the ids.

use exahour_wire::codes::{OrderFlags, SelfTradePrevention, Side, TimeInForce};
use exahour_wire::ids::{ClientOrderId, OrderId, ParticipantId, SessionId};
use exahour_wire::limits::ORDERS_MAX;
use exahour_wire::units::{Nanos, Price, Quantity};

use super::sparse::Sparse;
use crate::capacity::Capacity;
use crate::prefetch::fetch;

/// The place of an order in the table.
pub type Slot = u32;

/// No order.
pub const NO_ORDER: Slot = u32::MAX;

/// The mark of an order that shows a part at a time: a bit of the flags that no client can set.
pub(crate) const ICEBERG: OrderFlags = OrderFlags(1 << 5);

/// The mark of an order that is held at another price than its own, likewise.
pub(crate) const HELD: OrderFlags = OrderFlags(1 << 4);

/// The mark of an order in the market whose stop price waits beside its limit, likewise.
pub(crate) const BESIDE: OrderFlags = OrderFlags(1 << 3);

const SLOT_BITS: u32 = 24;
const _: () = assert!(1 << SLOT_BITS == ORDERS_MAX);

/// The last serial number: 12 days of a million orders a second.
pub(crate) const SERIAL_MAX: u64 = (1 << (u64::BITS - SLOT_BITS)) - 1;

/// A live order, as far as entering, matching and cancelling it need: one cache line. Its account and
/// its instrument are those of its position.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Order {
    /// The exchange's name for it.
    pub id: OrderId,
    /// Its limit.
    pub price: Price,
    /// Lots still open, of an iceberg order in a queue those that are shown.
    pub leaves: Quantity,
    /// Its sender's name for it.
    pub client_order_id: ClientOrderId,
    /// The one behind it in its queue.
    pub next: Slot,
    /// The one before it in its queue.
    pub previous: Slot,
    /// Its level in the book.
    pub level: u32,
    /// Who sent it.
    pub session: SessionId,
    /// Whose it is.
    pub participant: ParticipantId,
    /// The place of its position.
    pub position: u32,
    /// The hash of its client order id; `Names` sets it.
    pub client_hash: u32,
    /// Buy or sell.
    pub side: Side,
    /// How long it lives.
    pub time_in_force: TimeInForce,
    /// What happens against an order of the same owner.
    pub self_trade_prevention: SelfTradePrevention,
    /// What it asks for beyond.
    pub flags: OrderFlags,
}

const _: () = assert!(size_of::<Order>() == 64);

/// What else an order is, which only replaces and ends of days ask for.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Lots in all: open and traded.
    pub total: Quantity,
    /// When it ends; zero where it does not.
    pub expire_at: Nanos,
}

/// What an order shows at a time, and what it does not show now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reserve {
    /// Lots it shows at most; above zero.
    pub display: Quantity,
    /// Open lots behind those that it shows; none while the order is in no queue.
    pub hidden: Quantity,
}

/// What an order in the market becomes once its stop price is reached, and where that waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Beside {
    /// Its place among the stop orders of its instrument.
    pub(crate) node: u32,
    /// Its limit then; where it has none, where its protection ends.
    pub(crate) limit: Price,
    /// Whether it has no limit of its own then, and is a market order.
    pub(crate) unpriced: bool,
}

/// What stands in a place that holds no order: nothing, for nobody.
pub const VACANT: Order = Order {
    id: OrderId::NONE,
    price: Price(0),
    leaves: Quantity(0),
    client_order_id: ClientOrderId::NONE,
    next: NO_ORDER,
    previous: NO_ORDER,
    level: 0,
    session: SessionId::NONE,
    participant: ParticipantId::NONE,
    position: 0,
    client_hash: 0,
    side: Side::Buy,
    time_in_force: TimeInForce::Day,
    self_trade_prevention: SelfTradePrevention::None,
    flags: OrderFlags::NONE,
};

/// What stands there beside it.
pub const NO_EXTENT: Extent = Extent {
    total: Quantity(0),
    expire_at: Nanos(0),
};

/// All live orders.
pub struct OrderTable {
    /// The place of no order, then those of the slots.
    orders: Vec<Order>,
    /// By slot.
    extents: Vec<Extent>,
    /// Of iceberg orders.
    reserves: Sparse<Reserve>,
    /// Of orders that are held at another price than their own.
    held: Sparse<Price>,
    /// Of orders in the market whose stop price waits.
    beside: Sparse<Beside>,
    /// Free slots, the next one to be used last.
    free: Vec<Slot>,
    /// How many may live, at most [`ORDERS_MAX`].
    live_max: u32,
    live: u32,
    serial: u64,
}

/// The place that an id names.
#[inline]
pub(crate) fn slot_of(id: OrderId) -> Slot {
    (id.0 & u64::from(ORDERS_MAX - 1)) as Slot
}

/// Where a slot's order stands; [`NO_ORDER`] comes round to the place before all others.
#[inline]
fn place(slot: Slot) -> usize {
    slot.wrapping_add(1) as usize
}

impl OrderTable {
    /// An empty table that need not grow for this many live orders.
    #[must_use]
    pub fn new(capacity: &Capacity) -> Self {
        let expected = capacity.orders_max();
        let mut orders = Vec::with_capacity(expected + 1);
        orders.push(VACANT);
        Self {
            orders,
            extents: Vec::with_capacity(expected),
            reserves: Sparse::new(),
            held: Sparse::new(),
            beside: Sparse::new(),
            free: Vec::with_capacity(expected),
            live_max: ORDERS_MAX,
            live: 0,
            serial: 0,
        }
    }

    /// Whether one more order may live, and has a number left.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.live < self.live_max && self.serial < SERIAL_MAX
    }

    /// From here on so many orders may live; zero: as many as ids can name. Those that do stay.
    pub(crate) fn set_live_max(&mut self, live_max: u32) {
        self.live_max = match live_max {
            0 => ORDERS_MAX,
            orders => orders.min(ORDERS_MAX),
        };
    }

    /// How many orders may live.
    pub(crate) fn live_max(&self) -> u32 {
        self.live_max
    }

    /// Live orders.
    pub(crate) fn live(&self) -> u32 {
        self.live
    }

    /// Enters an order, gives it an id, and says its place. `make` is called once, with the id: what it
    /// makes is written where it stays, not copied there.
    ///
    /// # Panics
    /// If there is no room: the caller has asked.
    #[inline(always)]
    pub fn insert(&mut self, extent: Extent, make: impl FnOnce(OrderId) -> Order) -> Slot {
        assert!(self.has_room());
        self.serial += 1;
        self.live += 1;
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => self.add_place(),
        };
        let id = OrderId(self.serial << SLOT_BITS | u64::from(slot));
        *self.at_mut(slot) = make(id);
        self.extents[slot as usize] = extent;
        slot
    }

    #[inline(never)]
    fn add_place(&mut self) -> Slot {
        self.orders.push(VACANT);
        self.extents.push(NO_EXTENT);
        self.extents.len() as Slot - 1
    }

    /// Forgets an order that is out of its book.
    ///
    /// # Panics
    /// If there is none.
    #[inline]
    pub fn remove(&mut self, slot: Slot) {
        let order = self.at_mut(slot);
        assert!(order.id != OrderId::NONE);
        order.id = OrderId::NONE;
        self.free.push(slot);
        self.live -= 1;
    }

    /// The live order with this id.
    #[inline]
    #[must_use]
    pub fn find(&self, id: OrderId) -> Option<Slot> {
        let slot = slot_of(id);
        let order = self.orders.get(place(slot))?;
        (order.id == id && id != OrderId::NONE).then_some(slot)
    }

    /// Asks for a place, if there is one.
    #[inline]
    pub(crate) fn fetch(&self, slot: Slot) {
        if let Some(order) = self.orders.get(place(slot)) {
            fetch(order);
        }
    }

    /// The place that the order after the next one gets, unless more are freed before.
    #[inline]
    pub(crate) fn next_but_one(&self) -> Slot {
        self.free.iter().nth_back(1).copied().unwrap_or(NO_ORDER)
    }

    /// The order at a place.
    #[inline]
    #[must_use]
    pub fn at(&self, slot: Slot) -> &Order {
        &self.orders[place(slot)]
    }

    /// As [`OrderTable::at`], to change.
    #[inline]
    pub fn at_mut(&mut self, slot: Slot) -> &mut Order {
        &mut self.orders[place(slot)]
    }

    /// As [`OrderTable::at_mut`], to set a neighbour; that of no order may be set, too.
    #[inline]
    pub(super) fn link(&mut self, slot: Slot) -> &mut Order {
        &mut self.orders[place(slot)]
    }

    /// The total and the end of the order at a place.
    #[inline]
    pub(crate) fn extent(&self, slot: Slot) -> &Extent {
        &self.extents[slot as usize]
    }

    /// As [`OrderTable::extent`], to change.
    #[inline]
    pub(crate) fn extent_mut(&mut self, slot: Slot) -> &mut Extent {
        &mut self.extents[slot as usize]
    }

    /// All open lots of the order at a place, shown or not.
    #[inline]
    #[must_use]
    pub fn open(&self, slot: Slot) -> Quantity {
        let order = self.at(slot);
        if order.flags.contains(ICEBERG) {
            return Quantity(order.leaves.0 + self.reserves.at(slot).hidden.0);
        }
        order.leaves
    }

    /// The price that exposure and locks count for the order at a place: the worst at which it may
    /// trade, as long as nothing but its owner changes it.
    #[inline]
    #[must_use]
    pub fn held_at(&self, slot: Slot) -> Price {
        let order = self.at(slot);
        if order.flags.contains(HELD) {
            return self.held.at(slot);
        }
        order.price
    }

    /// Has an order held at this price from now on, wherever its own goes.
    pub fn hold(&mut self, slot: Slot, price: Price) {
        let flags = &mut self.at_mut(slot).flags;
        *flags = OrderFlags(flags.0 | HELD.0);
        self.held.set(slot, price);
    }

    /// What the order at a place becomes once its stop price is reached, if that waits beside it.
    pub(crate) fn beside(&self, slot: Slot) -> Beside {
        self.beside.at(slot)
    }

    /// Has the stop price of an order wait beside it.
    pub(crate) fn set_beside(&mut self, slot: Slot, beside: Beside) {
        let flags = &mut self.at_mut(slot).flags;
        *flags = OrderFlags(flags.0 | BESIDE.0);
        self.beside.set(slot, beside);
    }

    /// What an iceberg order shows at a time, and hides now.
    pub(crate) fn reserve(&self, slot: Slot) -> Reserve {
        self.reserves.at(slot)
    }

    /// Sets what an iceberg order shows at a time, and hides now.
    pub(crate) fn set_reserve(&mut self, slot: Slot, reserve: Reserve) {
        self.reserves.set(slot, reserve);
    }

    /// The places of all live orders for which `wanted` holds, by ascending id, into `found`.
    pub(crate) fn select(
        &self,
        found: &mut Vec<Slot>,
        mut wanted: impl FnMut(Slot, &Order) -> bool,
    ) {
        found.clear();
        let mut seen = 0;
        for (slot, order) in self.orders[1..].iter().enumerate() {
            if seen == self.live {
                break;
            }
            if order.id != OrderId::NONE {
                seen += 1;
                if wanted(slot as Slot, order) {
                    found.push(slot as Slot);
                }
            }
        }
        found.sort_unstable_by_key(|slot| self.at(*slot).id);
    }

    /// Goes on where a snapshot stood: so many places were ever used and so many orders accepted. Each
    /// place must then be filled by [`OrderTable::put`] or [`OrderTable::free_again`].
    pub(crate) fn resume(&mut self, places: usize, serial: u64) {
        self.orders.resize(places + 1, VACANT);
        self.extents.resize(places, NO_EXTENT);
        self.serial = serial;
    }

    /// Puts an order where its id says; `None` where that is no vacant place, or the id is not one of
    /// those given out.
    pub(crate) fn put(&mut self, order: Order, extent: Extent) -> Option<Slot> {
        let slot = slot_of(order.id);
        let place = self.orders.get_mut(place(slot))?;
        let serial = order.id.0 >> SLOT_BITS;
        if place.id != OrderId::NONE || serial == 0 || serial > self.serial {
            return None;
        }
        *place = order;
        self.extents[slot as usize] = extent;
        self.live += 1;
        Some(slot)
    }

    /// Frees all places that hold no order, the first of these to be used first; whether these are
    /// just those places, each once.
    pub(crate) fn free_again(&mut self, slots: &[Slot]) -> bool {
        let mut freed = vec![false; self.extents.len()];
        for slot in slots.iter().rev() {
            let vacant = self
                .orders
                .get(place(*slot))
                .is_some_and(|order| *slot != NO_ORDER && order.id == OrderId::NONE);
            if !vacant || std::mem::replace(&mut freed[*slot as usize], true) {
                return false;
            }
            self.free.push(*slot);
        }
        slots.len() + self.live as usize == self.extents.len()
    }

    /// Orders accepted so far.
    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }

    /// The free slots, the next one to be used first.
    pub(crate) fn free_slots(&self) -> impl Iterator<Item = Slot> {
        self.free.iter().rev().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_number_is_given_once_and_none_after_it() {
        let mut table = OrderTable::new(&Capacity::default());
        table.resume(0, SERIAL_MAX - 1);
        assert!(table.has_room());
        let slot = table.insert(NO_EXTENT, |id| Order { id, ..VACANT });
        assert_eq!(table.at(slot).id.0 >> SLOT_BITS, SERIAL_MAX);
        assert!(!table.has_room());
        table.remove(slot);
        assert!(!table.has_room());
    }

    #[test]
    fn an_order_is_held_at_its_own_price_unless_another_is_set() {
        let mut table = OrderTable::new(&Capacity::default());
        let make = |price| {
            move |id| Order {
                id,
                price,
                ..VACANT
            }
        };
        let slot = table.insert(NO_EXTENT, make(Price(7)));
        assert_eq!(table.held_at(slot), Price(7));
        table.hold(slot, Price(9));
        table.at_mut(slot).price = Price(8);
        assert_eq!(table.held_at(slot), Price(9));
        // The next order in its place does not inherit it.
        table.remove(slot);
        assert_eq!(table.insert(NO_EXTENT, make(Price(5))), slot);
        assert_eq!(table.held_at(slot), Price(5));
    }
}
