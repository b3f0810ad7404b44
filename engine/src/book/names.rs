//! The names that clients give their orders, and which live order each is.
//!
//! Kept beside the table of orders by `execute`; a book alone needs no names.
//!
//! Always holds: every live order is here once, under its session and client order id.

use exahour_wire::ids::{ClientOrderId, SessionId};

use crate::capacity::Capacity;
use crate::slot_index::SlotIndex;

use super::orders::{Order, OrderTable, Slot};

/// Live orders by session and client order id.
pub(crate) struct Names {
    index: SlotIndex,
}

/// The hash of a client order id that no live order has.
#[derive(Clone, Copy)]
pub(crate) struct Vacant(u32);

impl Names {
    /// No names, and room for this many live orders.
    pub(crate) fn new(capacity: &Capacity) -> Self {
        Self {
            index: SlotIndex::new(capacity.orders_max(), capacity.index_seed),
        }
    }

    #[inline]
    fn hash(&self, session: SessionId, name: ClientOrderId) -> u32 {
        self.index.hash_of(u64::from(session.0), name.0)
    }

    /// The live order with this name.
    #[inline]
    pub(crate) fn find(
        &self,
        orders: &OrderTable,
        session: SessionId,
        name: ClientOrderId,
    ) -> Option<Slot> {
        self.search(self.hash(session, name), orders, session, name)
    }

    /// The proof that no live order has this name; `None` where one has.
    #[inline]
    pub(crate) fn vacant(
        &self,
        orders: &OrderTable,
        session: SessionId,
        name: ClientOrderId,
    ) -> Option<Vacant> {
        let hash = self.hash(session, name);
        let found = self.search(hash, orders, session, name);
        found.is_none().then_some(Vacant(hash))
    }

    /// Asks for where a name is, or would be.
    #[inline]
    pub(crate) fn fetch(&self, session: SessionId, name: ClientOrderId) {
        self.index.fetch(self.hash(session, name));
    }

    #[inline]
    fn search(
        &self,
        hash: u32,
        orders: &OrderTable,
        session: SessionId,
        name: ClientOrderId,
    ) -> Option<Slot> {
        self.index.find(hash, |slot| {
            let order = orders.at(slot);
            order.session == session && order.client_order_id == name
        })
    }

    /// Enters an order that was just put into the table.
    #[inline]
    pub(crate) fn enter(&mut self, orders: &mut OrderTable, slot: Slot, name: Vacant) {
        orders.at_mut(slot).client_hash = name.0;
        self.index.insert(name.0, slot);
    }

    /// Enters an order that a snapshot holds.
    pub(crate) fn enter_again(&mut self, orders: &mut OrderTable, slot: Slot) {
        let Order {
            session,
            client_order_id,
            ..
        } = *orders.at(slot);
        let name = Vacant(self.hash(session, client_order_id));
        self.enter(orders, slot, name);
    }

    /// Forgets the name of an order that is still in the table.
    #[inline]
    pub(crate) fn forget(&mut self, orders: &OrderTable, slot: Slot) {
        self.index.remove(orders.at(slot).client_hash, slot);
    }

    /// Gives an order another name.
    pub(crate) fn rename(&mut self, orders: &mut OrderTable, slot: Slot, name: ClientOrderId) {
        self.forget(orders, slot);
        orders.at_mut(slot).client_order_id = name;
        self.enter_again(orders, slot);
    }
}
