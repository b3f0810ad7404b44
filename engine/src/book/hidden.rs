//! Lots that stand in a book and are not shown, by price: what an auction counts beyond the levels.
//!
//! Always holds: no entry of zero; an entry is the sum of what the orders at its price hide. Whoever
//! shows all takes no part.

use std::collections::BTreeMap;

use exahour_wire::codes::Side;
use exahour_wire::units::{Price, Quantity};

use crate::by_side::BySide;

/// The hidden lots of one book.
#[derive(Default)]
pub struct Hidden {
    sides: BySide<BTreeMap<Price, u64>>,
}

impl Hidden {
    /// Lots hidden at a price.
    #[must_use]
    pub fn at(&self, side: Side, price: Price) -> Quantity {
        Quantity(self.sides.at(side).get(&price).copied().unwrap_or(0))
    }

    /// Counts lots that are hidden from now on.
    pub(crate) fn add(&mut self, side: Side, price: Price, lots: Quantity) {
        if lots.0 > 0 {
            *self.sides.at_mut(side).entry(price).or_default() += lots.0;
        }
    }

    /// Counts lots that are not hidden any more, or gone.
    pub(crate) fn take(&mut self, side: Side, price: Price, lots: Quantity) {
        let prices = self.sides.at_mut(side);
        if let Some(left) = prices.get_mut(&price) {
            *left -= lots.0;
            if *left == 0 {
                prices.remove(&price);
            }
        }
    }
}
