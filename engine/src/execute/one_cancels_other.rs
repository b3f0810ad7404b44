//! One-cancels-other orders: a limit order whose stop price waits beside it.
//!
//! ```text
//! in the book at its limit  --its turn among the elected-->  out of the book  -->  comes as a stop order does
//!         |                                                                        that was let in
//!         `-- traded, cancelled: its stop price is gone with it
//! ```
//! Called when one is entered or replaced, when any order is forgotten, and when its turn has come.
//!
//! Always holds: it is one order with one quantity, so what one leg trades the other has lost; it is held
//! at the worse of both legs' limits, so what it is let in as never needs more.
//! Source: the one-cancels-other order of Deutsche Boerse's T7.

use exahour_wire::codes::{OrderType, Side};
use exahour_wire::orders::NewAdvancedOrder;
use exahour_wire::reject::Reject;
use exahour_wire::units::Price;

use super::{Execute, Instrument};
use crate::book::{BESIDE, Beside, Slot};
use crate::by_side::signed;

impl Instrument {
    /// What an order that is entered becomes once its stop price is reached, if it is in the book until
    /// then.
    ///
    /// # Errors
    /// [`Reject::PriceOutsideCollar`]: its limit is too far from its stop price.
    #[inline(always)]
    pub(super) fn beside(
        &self,
        order_type: OrderType,
        side: Side,
        advanced: Option<&NewAdvancedOrder>,
    ) -> Result<Option<Beside>, Reject> {
        match advanced {
            Some(new) if order_type == OrderType::OneCancelsOther => {
                self.beside_of(side, new).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn beside_of(&self, side: Side, new: &NewAdvancedOrder) -> Result<Beside, Reject> {
        let unpriced = new.stop_limit == Price::NONE;
        let limit = match unpriced {
            true => self.terms.protected(side, new.stop_price),
            false => new.stop_limit,
        };
        if !unpriced && self.terms.outside_collar(limit, new.stop_price) {
            return Err(Reject::PriceOutsideCollar);
        }
        Ok(Beside {
            node: 0,
            limit,
            unpriced,
        })
    }
}

impl Execute {
    /// Has an order in the book held at the worse of its limit and the one that it may come with.
    pub(super) fn hold_beside(&mut self, slot: Slot) {
        let (order, beside) = (self.orders.at(slot), self.orders.beside(slot));
        let held = worse(order.side, order.price, beside.limit);
        self.orders.hold(slot, held);
    }

    /// The price at which an order would be held with another limit.
    pub(super) fn held_with(&self, slot: Slot, limit: Price) -> Price {
        let order = self.orders.at(slot);
        match order.flags.contains(BESIDE) {
            true => worse(order.side, limit, self.orders.beside(slot).limit),
            false => limit,
        }
    }

    /// Whether an order may have this limit in place of its own: one that a stop price waits beside stays
    /// on its side of it.
    ///
    /// # Errors
    /// [`Reject::StopPriceInvalid`].
    pub(super) fn check_beside(
        &self,
        instrument: &Instrument,
        slot: Slot,
        limit: Price,
    ) -> Result<(), Reject> {
        match self.stop_price_beside(instrument, slot) {
            Some(stop_price) => check_legs(self.orders.at(slot).side, limit, stop_price),
            None => Ok(()),
        }
    }

    /// Takes the stop price of an order out that goes for another reason.
    #[cold]
    pub(super) fn forget_beside(&mut self, instrument: &mut Instrument, slot: Slot) {
        let node = self.orders.beside(slot).node;
        if let Some(stops) = &mut instrument.stops {
            stops.remove(node);
        }
    }

    /// The stop price that waits beside an order, if one does.
    pub(super) fn stop_price_beside(&self, instrument: &Instrument, slot: Slot) -> Option<Price> {
        let waits = self.orders.at(slot).flags.contains(BESIDE);
        let stops = instrument.stops.as_ref().filter(|_| waits)?;
        Some(stops.at(self.orders.beside(slot).node).price)
    }
}

/// Whether limit and stop price lie on two sides of the market: a buy's stop price above its limit, a
/// sell's below.
///
/// # Errors
/// [`Reject::StopPriceInvalid`].
pub(crate) fn check_legs(side: Side, limit: Price, stop_price: Price) -> Result<(), Reject> {
    match signed(side, stop_price.0) > signed(side, limit.0) {
        true => Ok(()),
        false => Err(Reject::StopPriceInvalid),
    }
}

/// The limit that costs more.
pub(crate) fn worse(side: Side, one: Price, other: Price) -> Price {
    match side {
        Side::Buy => one.max(other),
        Side::Sell => one.min(other),
    }
}
