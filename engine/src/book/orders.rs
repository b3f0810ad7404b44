//! The table of all live orders, and how orders are named.
//!
//! ```text
//! order id:  | serial number, 40 bits | slot, 24 bits |
//! ```
//! The serial number makes ids grow with time and never repeat; the slot finds the order at once.
//!
//! Always holds: a slot is either free (id zero) or holds one live order; freed slots are used
//! again last in, first out, which is part of the rules because it is visible in the ids.

use exahour_wire::codes::{OrderFlags, SelfTradePrevention, Side, TimeInForce};
use exahour_wire::ids::{ClientOrderId, OrderId, ParticipantId, SessionId};
use exahour_wire::limits::ORDERS_MAX;
use exahour_wire::units::{Nanos, Price, Quantity};

use crate::capacity::Capacity;
use crate::slot_index::SlotIndex;

/// The place of an order in the table.
pub(crate) type Slot = u32;

/// No order.
pub(crate) const NO_ORDER: Slot = u32::MAX;

const SLOT_BITS: u32 = 24;
const _: () = assert!(1 << SLOT_BITS == ORDERS_MAX);

/// The last serial number: 12 days of a million orders a second.
pub(crate) const SERIAL_MAX: u64 = (1 << (u64::BITS - SLOT_BITS)) - 1;

/// A live order, as far as entering, matching and cancelling it need: one cache line. Its account and
/// its instrument are those of its position.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Order {
    pub(crate) id: OrderId,
    pub(crate) price: Price,
    /// Lots still open.
    pub(crate) leaves: Quantity,
    pub(crate) client_order_id: ClientOrderId,
    /// The one behind it in its queue; in a free slot, the next free slot.
    pub(crate) next: Slot,
    /// The one before it in its queue.
    pub(crate) previous: Slot,
    /// Its level in the book.
    pub(crate) level: u32,
    pub(crate) session: SessionId,
    pub(crate) participant: ParticipantId,
    /// The place of its position.
    pub(crate) position: u32,
    /// The hash of its client order id; [`OrderTable`] sets it.
    pub(crate) client_hash: u32,
    pub(crate) side: Side,
    pub(crate) time_in_force: TimeInForce,
    pub(crate) self_trade_prevention: SelfTradePrevention,
    pub(crate) flags: OrderFlags,
}

const _: () = assert!(size_of::<Order>() == 64);

/// What else an order is, which only replaces and ends of days ask for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// Lots in all: open and traded.
    pub(crate) total: Quantity,
    /// When it ends; zero where it does not.
    pub(crate) expire_at: Nanos,
}

/// What stands in a place that holds no order.
const VACANT: Order = Order {
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

const NO_EXTENT: Extent = Extent {
    total: Quantity(0),
    expire_at: Nanos(0),
};

/// All live orders.
pub(crate) struct OrderTable {
    orders: Vec<Order>,
    /// By the same places.
    extents: Vec<Extent>,
    /// How many may live, at most [`ORDERS_MAX`].
    live_max: u32,
    first_free: Slot,
    live: u32,
    serial: u64,
    by_client_id: SlotIndex,
}

/// The hash of a client order id that no live order has.
#[derive(Clone, Copy)]
pub(crate) struct ClientHash(u32);

impl OrderTable {
    /// An empty table that need not grow for this many live orders.
    pub(crate) fn new(capacity: &Capacity) -> Self {
        let expected = capacity.orders.min(ORDERS_MAX) as usize;
        Self {
            orders: Vec::with_capacity(expected),
            extents: Vec::with_capacity(expected),
            live_max: ORDERS_MAX,
            first_free: NO_ORDER,
            live: 0,
            serial: 0,
            by_client_id: SlotIndex::new(expected, capacity.index_seed),
        }
    }

    #[inline]
    fn client_hash(&self, session: SessionId, client_order_id: ClientOrderId) -> u32 {
        self.by_client_id
            .hash_of(u64::from(session.0), client_order_id.0)
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

    /// Enters an order whose client order id is [`OrderTable::vacant`], names it, and gives its place.
    /// The id and the hash of `order` are ignored.
    ///
    /// # Panics
    /// If there is no room: the caller has asked.
    #[inline(always)]
    pub(crate) fn insert(&mut self, order: &Order, extent: Extent, hash: ClientHash) -> Slot {
        assert!(self.has_room());
        self.serial += 1;
        self.live += 1;
        let slot = if self.first_free == NO_ORDER {
            self.orders.len() as Slot
        } else {
            self.first_free
        };
        let order = Order {
            id: OrderId(self.serial << SLOT_BITS | u64::from(slot)),
            client_hash: hash.0,
            ..*order
        };
        if slot == self.first_free {
            self.first_free = self.orders[slot as usize].next;
            self.orders[slot as usize] = order;
            self.extents[slot as usize] = extent;
        } else {
            self.orders.push(order);
            self.extents.push(extent);
        }
        self.by_client_id.insert(hash.0, slot);
        slot
    }

    /// Forgets an order that is out of its book.
    #[inline]
    pub(crate) fn remove(&mut self, slot: Slot) {
        let order = &mut self.orders[slot as usize];
        assert!(order.id != OrderId::NONE);
        let hash = order.client_hash;
        order.id = OrderId::NONE;
        order.next = self.first_free;
        self.first_free = slot;
        self.live -= 1;
        self.by_client_id.remove(hash, slot);
    }

    /// Gives an order another client order id.
    pub(crate) fn rename(&mut self, slot: Slot, client_order_id: ClientOrderId) {
        let hash = self.client_hash(self.at(slot).session, client_order_id);
        let order = &mut self.orders[slot as usize];
        order.client_order_id = client_order_id;
        let before = std::mem::replace(&mut order.client_hash, hash);
        self.by_client_id.remove(before, slot);
        self.by_client_id.insert(hash, slot);
    }

    /// The live order with this id.
    #[inline]
    pub(crate) fn find(&self, id: OrderId) -> Option<Slot> {
        let slot = (id.0 & u64::from(ORDERS_MAX - 1)) as Slot;
        let order = self.orders.get(slot as usize)?;
        (order.id == id && id != OrderId::NONE).then_some(slot)
    }

    /// The live order with this client order id.
    #[inline]
    pub(crate) fn find_by_client_id(
        &self,
        session: SessionId,
        client_order_id: ClientOrderId,
    ) -> Option<Slot> {
        self.search(
            self.client_hash(session, client_order_id),
            session,
            client_order_id,
        )
    }

    /// The proof that no live order has this client order id; `None` where one has.
    #[inline]
    pub(crate) fn vacant(
        &self,
        session: SessionId,
        client_order_id: ClientOrderId,
    ) -> Option<ClientHash> {
        let hash = self.client_hash(session, client_order_id);
        let found = self.search(hash, session, client_order_id);
        found.is_none().then_some(ClientHash(hash))
    }

    #[inline]
    fn search(
        &self,
        hash: u32,
        session: SessionId,
        client_order_id: ClientOrderId,
    ) -> Option<Slot> {
        self.by_client_id.find(hash, |slot| {
            let order = &self.orders[slot as usize];
            order.session == session && order.client_order_id == client_order_id
        })
    }

    /// The order at a place.
    #[inline]
    pub(crate) fn at(&self, slot: Slot) -> &Order {
        &self.orders[slot as usize]
    }

    /// As [`OrderTable::at`], to change.
    #[inline]
    pub(crate) fn at_mut(&mut self, slot: Slot) -> &mut Order {
        &mut self.orders[slot as usize]
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

    /// The places of all live orders for which `wanted` holds, by ascending id, into `found`.
    pub(crate) fn select(
        &self,
        found: &mut Vec<Slot>,
        mut wanted: impl FnMut(Slot, &Order) -> bool,
    ) {
        found.clear();
        let mut seen = 0;
        for (slot, order) in self.orders.iter().enumerate() {
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
        self.orders.resize(places, VACANT);
        self.extents.resize(places, NO_EXTENT);
        self.serial = serial;
    }

    /// Puts an order where its id says; `None` where that is no vacant place, or the id is not one of
    /// those given out.
    pub(crate) fn put(&mut self, order: Order, extent: Extent) -> Option<Slot> {
        let slot = (order.id.0 & u64::from(ORDERS_MAX - 1)) as Slot;
        let client_hash = self.client_hash(order.session, order.client_order_id);
        let place = self.orders.get_mut(slot as usize)?;
        let serial = order.id.0 >> SLOT_BITS;
        if place.id != OrderId::NONE || serial == 0 || serial > self.serial {
            return None;
        }
        *place = Order {
            client_hash,
            ..order
        };
        self.extents[slot as usize] = extent;
        self.live += 1;
        self.by_client_id.insert(client_hash, slot);
        Some(slot)
    }

    /// Frees all places that hold no order, the first of these to be used first; whether these are
    /// just those places, each once.
    pub(crate) fn free_again(&mut self, slots: &[Slot]) -> bool {
        let mut linked = vec![false; self.orders.len()];
        for slot in slots.iter().rev() {
            let place = *slot as usize;
            let vacant = self
                .orders
                .get(place)
                .is_some_and(|order| order.id == OrderId::NONE);
            if !vacant || std::mem::replace(&mut linked[place], true) {
                return false;
            }
            self.orders[place].next = self.first_free;
            self.first_free = *slot;
        }
        slots.len() + self.live as usize == self.orders.len()
    }

    /// Orders accepted so far.
    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }

    /// The free slots, the next one to be used first.
    pub(crate) fn free_slots(&self) -> impl Iterator<Item = Slot> {
        let first = (self.first_free != NO_ORDER).then_some(self.first_free);
        std::iter::successors(first, |slot| {
            let next = self.orders[*slot as usize].next;
            (next != NO_ORDER).then_some(next)
        })
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
        let (session, name) = (SessionId(1), ClientOrderId(1));
        let order = Order {
            session,
            client_order_id: name,
            ..VACANT
        };
        let hash = table.vacant(session, name).unwrap();
        let slot = table.insert(&order, NO_EXTENT, hash);
        assert_eq!(table.at(slot).id.0 >> SLOT_BITS, SERIAL_MAX);
        assert!(table.vacant(session, name).is_none());
        assert!(!table.has_room());
        table.remove(slot);
        assert!(table.vacant(session, name).is_some() && !table.has_room());
    }
}
