//! What the public sees of a book.
//!
//! Called by tests of market data, which compare with it.

use exahour_wire::codes::Side;
use exahour_wire::ids::{InstrumentId, OrderId};
use exahour_wire::units::{Price, Quantity};

use crate::twin::Twin;

/// An order in a book, as everybody sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The order.
    pub order: OrderId,
    /// Buy or sell.
    pub side: Side,
    /// Its limit.
    pub price: Price,
    /// Its open lots.
    pub quantity: Quantity,
}

impl Twin {
    /// A book: bids best first, then asks best first, at one price oldest first.
    #[must_use]
    pub fn shown(&self, instrument: InstrumentId) -> Vec<Shown> {
        let Some(book) = self.instruments.get(&instrument) else {
            return Vec::new();
        };
        let sides = [Side::Buy, Side::Sell];
        let ids = sides.into_iter().flat_map(|side| {
            let ids = book.in_order_of_trading(side);
            ids.into_iter().map(move |id| (side, id))
        });
        ids.map(|(side, id)| {
            let order = &self.orders[&id];
            Shown {
                order: id,
                side,
                price: Price(order.limit),
                quantity: Quantity(order.shown()),
            }
        })
        .collect()
    }
}
