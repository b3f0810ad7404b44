//! Iceberg orders: what an order shows of itself, and what comes behind it.
//!
//! ```text
//! coming:   all its lots in `leaves`
//! resting:  `leaves` are shown, up to `display`; the rest is hidden, in the table of reserves
//! used up:  the next lots are shown, last at the order's price
//! ```
//! Called wherever an order enters the book, shrinks in it or leaves it. Orders without the mark pass
//! through on one test.
//!
//! Always holds: outside of a trade, an order with hidden lots shows as many as it may; what the book
//! hides at a price is the sum of its orders' reserves.

use exahour_wire::codes::OrderFlags;
use exahour_wire::events::OrderShown;
use exahour_wire::limits::DISPLAY_PARTS_MAX;
use exahour_wire::message::Message;
use exahour_wire::reject::Reject;
use exahour_wire::units::Quantity;

use super::{Execute, Instrument};
use crate::batch::EventSink;
use crate::book::{ICEBERG, Reserve, Slot};
use crate::reporter::Output;

/// Which lots of an order go first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    /// Those that it shows: it trades.
    Shown,
    /// Those that it hides: it is made smaller.
    Hidden,
}

impl Execute {
    /// Has an order that was entered just now show so many lots at a time; zero: all.
    pub(super) fn mark_iceberg(&mut self, slot: Slot, display: Quantity) {
        if display == Quantity(0) {
            return;
        }
        let flags = &mut self.orders.at_mut(slot).flags;
        *flags = OrderFlags(flags.0 | ICEBERG.0);
        let hidden = Quantity(0);
        self.orders.set_reserve(slot, Reserve { display, hidden });
    }

    /// Puts an order last at its price, with as many lots as it may show.
    #[inline]
    pub(super) fn rest<S: EventSink>(
        &mut self,
        instrument: &mut Instrument,
        slot: Slot,
        out: &mut Output<'_, S>,
    ) {
        let order = self.orders.at(slot);
        let side = order.side;
        if order.flags.contains(ICEBERG) {
            self.rest_partly(instrument, slot, out);
            return;
        }
        let book = instrument.book.side_mut(side);
        book.append(&mut self.orders, slot);
    }

    /// As [`Execute::rest`], for an iceberg order whose lots are all in its leaves.
    #[inline(never)]
    fn rest_partly<S: EventSink>(
        &mut self,
        instrument: &mut Instrument,
        slot: Slot,
        out: &mut Output<'_, S>,
    ) {
        let display = self.orders.reserve(slot).display;
        let order = self.orders.at_mut(slot);
        let (side, price) = (order.side, order.price);
        let shown = order.leaves.min(display);
        let hidden = Quantity(order.leaves.0 - shown.0);
        order.leaves = shown;
        self.orders.set_reserve(slot, Reserve { display, hidden });
        instrument.book.hidden.add(side, price, hidden);
        let book = instrument.book.side_mut(side);
        book.append(&mut self.orders, slot);
        self.tell_shown(slot, out);
    }

    /// Takes an order out of its queue, with all its lots in its leaves.
    #[inline]
    pub(super) fn take_from_book(&mut self, instrument: &mut Instrument, slot: Slot) {
        let order = self.orders.at(slot);
        let (side, flags) = (order.side, order.flags);
        let book = instrument.book.side_mut(side);
        book.take_out(&mut self.orders, slot);
        if flags.contains(ICEBERG) {
            self.gather(instrument, slot);
        }
    }

    /// Brings what an iceberg order hides into its leaves.
    #[inline(never)]
    fn gather(&mut self, instrument: &mut Instrument, slot: Slot) {
        let reserve = self.orders.reserve(slot);
        let order = self.orders.at_mut(slot);
        order.leaves.0 += reserve.hidden.0;
        let (side, price) = (order.side, order.price);
        instrument.book.hidden.take(side, price, reserve.hidden);
        let hidden = Quantity(0);
        self.orders.set_reserve(slot, Reserve { hidden, ..reserve });
    }

    /// Takes open lots off an order that stays, or is taken out next.
    #[inline]
    pub(super) fn shrink_resting(
        &mut self,
        instrument: &mut Instrument,
        slot: Slot,
        by: Quantity,
        first: First,
    ) {
        let order = self.orders.at(slot);
        let (side, price, shown) = (order.side, order.price, order.leaves);
        let mut from_shown = by;
        if order.flags.contains(ICEBERG) {
            let reserve = self.orders.reserve(slot);
            let from_hidden = match first {
                First::Hidden => by.0.min(reserve.hidden.0),
                First::Shown => by.0.saturating_sub(shown.0),
            };
            from_shown = Quantity(by.0 - from_hidden);
            let hidden = Quantity(reserve.hidden.0 - from_hidden);
            let from_hidden = Quantity(from_hidden);
            instrument.book.hidden.take(side, price, from_hidden);
            self.orders.set_reserve(slot, Reserve { hidden, ..reserve });
        }
        let book = instrument.book.side_mut(side);
        book.shrink(&mut self.orders, slot, from_shown);
    }

    /// Ends what a resting order has shown, now that nothing of it is left: the next lots are shown, or
    /// the order is gone.
    #[inline]
    pub(super) fn end_shown<S: EventSink>(
        &mut self,
        instrument: &mut Instrument,
        slot: Slot,
        out: &mut Output<'_, S>,
    ) {
        self.take_from_book(instrument, slot);
        if self.orders.at(slot).leaves.0 == 0 {
            self.forget(instrument, slot);
        } else {
            self.rest_partly(instrument, slot, out);
        }
    }

    fn tell_shown<S: EventSink>(&mut self, slot: Slot, out: &mut Output<'_, S>) {
        let order = self.orders.at(slot);
        let (reserve, session) = (self.orders.reserve(slot), order.session);
        let position = self.positions.at(order.position);
        let shown = OrderShown {
            client_order_id: order.client_order_id,
            order: order.id,
            price: order.price,
            quantity: order.leaves,
            display_quantity: reserve.display,
            leaves: Quantity(order.leaves.0 + reserve.hidden.0),
            account: position.account,
            instrument: position.instrument,
            side: order.side.into(),
            ..Message::blank()
        };
        self.reporter.report(out, session, shown);
    }
}

/// Whether an order of so many lots may show so few at a time.
///
/// # Errors
/// [`Reject::DisplayInvalid`].
pub(crate) fn check_parts(display: Quantity, total: Quantity) -> Result<(), Reject> {
    let parts_fit = display.0.saturating_mul(DISPLAY_PARTS_MAX) >= total.0;
    if parts_fit {
        Ok(())
    } else {
        Err(Reject::DisplayInvalid)
    }
}
