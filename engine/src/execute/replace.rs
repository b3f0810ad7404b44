//! Replaces: a new price or total for a resting order.
//!
//! Always holds: only a pure decrease of size keeps the order's place. The order keeps its id.

use exahour_wire::codes::{CancelReason, Priority};
use exahour_wire::events::OrderReplaced;
use exahour_wire::ids::OrderId;
use exahour_wire::message::Message;
use exahour_wire::orders::ReplaceOrder;
use exahour_wire::reject::Reject;
use exahour_wire::units::{Price, Quantity};

use super::iceberg::{First, check_parts};
use super::{Execute, Instrument};
use crate::batch::EventSink;
use crate::book::{BESIDE, ICEBERG, Order, Slot};
use crate::pegs::PEGGED;
use crate::reporter::Output;
use crate::trading::{PARKED, UNPRICED};

impl Instrument {
    /// As [`Instrument::is_out_of_bounds`]; the limit of a stop order is held against its stop price, and a
    /// pegged order has no part in a call.
    #[inline]
    fn is_out_of_bounds_for(&self, order: &Order, price: Price) -> bool {
        match &self.stops {
            _ if order.flags.contains(PEGGED) => self.terms.outside_collar(price, self.reference()),
            Some(stops) if order.flags.contains(PARKED) => {
                let stop = stops.at(order.level);
                self.terms.outside_collar(price, stop.price)
            }
            _ => self.is_out_of_bounds(price),
        }
    }
}

impl Execute {
    /// Rejects the replace, or carries it out and matches the order where it lost its place.
    #[inline]
    pub(super) fn replace_order<S: EventSink>(
        &mut self,
        replace: &ReplaceOrder,
        out: &mut Output<'_, S>,
    ) -> Result<(), Reject> {
        let slot = self.find_replaced(replace)?;
        let mut instrument = self
            .take_instrument(replace.instrument)
            .ok_or(Reject::UnknownInstrument)?;
        let result = self.check_and_replace(&mut instrument, slot, replace, out);
        self.put_back(instrument);
        result
    }

    #[inline]
    fn find_replaced(&self, replace: &ReplaceOrder) -> Result<Slot, Reject> {
        let found = if replace.order == OrderId::NONE {
            self.names
                .find(&self.orders, replace.session, replace.original)
        } else {
            self.orders.find(replace.order)
        };
        let slot = found
            .filter(|slot| {
                let order = self.orders.at(*slot);
                order.session == replace.session
                    && self.positions.at(order.position).instrument == replace.instrument
            })
            .ok_or(Reject::UnknownOrder)?;
        let order = self.orders.at(slot);
        let account = self.positions.at(order.position).account;
        if self.ledger.account(account).killed {
            return Err(Reject::KillSwitchEngaged);
        }
        let total = self.orders.extent(slot).total;
        if self.limit_of(slot) == replace.price && total == replace.quantity {
            return Err(Reject::NothingToChange);
        }
        let renamed = order.client_order_id != replace.client_order_id;
        let taken = self
            .names
            .find(&self.orders, replace.session, replace.client_order_id)
            .is_some();
        if renamed && taken {
            return Err(Reject::DuplicateClientOrderId);
        }
        Ok(slot)
    }

    #[inline]
    fn check_and_replace<S: EventSink>(
        &mut self,
        instrument: &mut Instrument,
        slot: Slot,
        replace: &ReplaceOrder,
        out: &mut Output<'_, S>,
    ) -> Result<(), Reject> {
        let mut order = *self.orders.at(slot);
        order.leaves = self.orders.open(slot);
        order.price = self.limit_of(slot);
        instrument.trading.check_entry(order.time_in_force)?;
        if order.flags.contains(UNPRICED) {
            return Err(Reject::UnpricedOrder);
        }
        let traded = self.orders.extent(slot).total.0 - order.leaves.0;
        if replace.quantity.0 <= traded {
            let reason = CancelReason::ReplacedToNothing;
            self.cancel_resting(instrument, slot, reason, replace.client_order_id, out);
            return Ok(());
        }
        let leaves = Quantity(replace.quantity.0 - traded);
        if order.flags.contains(ICEBERG) {
            let display = self.orders.reserve(slot).display;
            check_parts(display, replace.quantity)?;
        }
        if replace.price != order.price && instrument.is_out_of_bounds_for(&order, replace.price) {
            return Err(Reject::PriceOutsideCollar);
        }
        self.check_beside(instrument, slot, replace.price)?;
        let aside = order.flags.0 & (PARKED.0 | PEGGED.0) != 0;
        let stays = replace.price == order.price || aside;
        let price = match stays {
            true => replace.price,
            false => instrument.within_band(order.side, replace.price, out.time),
        };
        let replace = &ReplaceOrder { price, ..*replace };
        let terms = &instrument.terms;
        let held = self.held_with(slot, replace.price);
        let value = held.times(replace.quantity, terms.hours);
        if value.is_none_or(|value| value > terms.notional_max) {
            return Err(Reject::NotionalTooLarge);
        }
        let before = (order.leaves, self.orders.held_at(slot));
        let (side, position) = (order.side, self.positions.at(order.position));
        let change = self.check_exposure(instrument, position, side, held, before, leaves)?;
        self.commit(order.position, &change);
        self.replace(instrument, slot, &order, leaves, replace, out);
        Ok(())
    }

    #[inline]
    fn replace<S: EventSink>(
        &mut self,
        instrument: &mut Instrument,
        slot: Slot,
        order: &Order,
        leaves: Quantity,
        replace: &ReplaceOrder,
        out: &mut Output<'_, S>,
    ) {
        let parked = order.flags.contains(PARKED);
        let keeps = parked || replace.price == order.price && leaves < order.leaves;
        let pegged = order.flags.contains(PEGGED);
        if pegged && !keeps {
            self.send_away(instrument, slot, out);
        }
        let parked = parked || pegged && !keeps;
        if keeps && !parked {
            let by = Quantity(order.leaves.0 - leaves.0);
            self.shrink_resting(instrument, slot, by, First::Hidden);
        } else {
            // What waits has no place in the book; its stop price, or what it moves with, is the same.
            if !parked {
                self.take_from_book(instrument, slot);
            }
            let changed = self.orders.at_mut(slot);
            changed.price = replace.price;
            changed.leaves = leaves;
            if order.flags.contains(BESIDE) {
                self.hold_beside(slot);
            }
        }
        if pegged {
            self.orders.hold(slot, replace.price);
            instrument.unsettle_pegs();
        }
        self.orders.extent_mut(slot).total = replace.quantity;
        if order.client_order_id != replace.client_order_id {
            self.names
                .rename(&mut self.orders, slot, replace.client_order_id);
        }
        let priority = if keeps {
            Priority::Kept
        } else {
            Priority::Lost
        };
        let position = self.positions.at(order.position);
        let replaced = OrderReplaced {
            client_order_id: replace.client_order_id,
            order: order.id,
            original: order.client_order_id,
            price: replace.price,
            quantity: replace.quantity,
            leaves,
            account: position.account,
            instrument: position.instrument,
            side: order.side.into(),
            priority: priority.into(),
            ..Message::blank()
        };
        self.activity(order.session, out.time).replace(leaves);
        self.reporter.report(out, order.session, replaced);
        if parked {
            // Nothing of the market has changed.
        } else if keeps {
            self.outlook_may_change(instrument, out.time);
        } else {
            self.match_and_rest(instrument, slot, Quantity(0), out);
        }
    }
}
