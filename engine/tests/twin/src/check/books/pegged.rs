//! Pegged orders as their reports tell: within their limits, and out of every call.

use exahour_wire::events::OrderRepriced;
use exahour_wire::units::Price;

use super::{Books, Order, Violation, must, rank};

impl Books {
    /// A pegged order comes at a price within its limit, or leaves the market.
    pub(super) fn on_repriced(&mut self, repriced: &OrderRepriced) -> Result<(), Violation> {
        let id = repriced.order.0;
        let order = self.order(id)?;
        let limit = self.pegged.get(&id).copied();
        let limit = limit.ok_or("only a pegged order is given another price")?;
        let told = (repriced.limit.0, repriced.leaves.0);
        must(told == (limit, order.leaves), || {
            format!("{} lots are open at {limit}", order.leaves)
        })?;
        let aside = self.aside.remove(&id);
        self.rest_arrived()?;
        self.take_from_book(id, &order);
        if repriced.price == Price::NONE {
            must(!aside, || "what has left does not leave again".to_owned())?;
            self.aside.insert(id);
            self.left.insert(id);
            return Ok(());
        }
        must(!self.called.contains(&order.instrument), || {
            "a call moves no pegged order".to_owned()
        })?;
        let place = rank(order.side, repriced.price.0);
        must(place <= rank(order.side, limit), || {
            format!("no pegged order stands beyond its limit {limit}")
        })?;
        let moved = Order {
            limit: repriced.price.0,
            ..order
        };
        self.orders.insert(id, moved);
        self.arrive(id)
    }

    /// A call has pegged orders wait.
    pub(super) fn check_calls(&self) -> Result<(), Violation> {
        let mut standing = self.pegged.keys().filter(|id| !self.aside.contains(id));
        let in_call = standing.find(|id| {
            let order = self.orders.get(id);
            order.is_some_and(|order| self.called.contains(&order.instrument))
        });
        must(in_call.is_none(), || {
            format!("pegged order {in_call:?} stands in a call")
        })
    }
}
