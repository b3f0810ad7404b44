//! Pegged orders: entered aside, and moved to where the best prices want them.
//!
//! ```text
//! entered, changed --> waits --target--> comes, trades, rests --another target--> comes again
//!                        ^                       |
//!                        +--no target, no trading+
//! ```
//! Called when one is entered or changed, when a phase begins, and behind each command and behind the
//! timers of a batch, whenever an instrument that has such orders was worked on.
//!
//! Always holds: outside of continuous trading none is in the book. What a pegged order locks does not
//! depend on where it stands, so a move cannot fail.

use exahour_wire::codes::{OrderFlags, OrderType, PegReference, Phase, Side};
use exahour_wire::events::OrderRepriced;
use exahour_wire::ids::{InstrumentId, ParticipantId};
use exahour_wire::limits::ELECTIONS_MAX;
use exahour_wire::message::Message;
use exahour_wire::orders::NewAdvancedOrder;
use exahour_wire::reject::Reject;
use exahour_wire::units::{Nanos, Price, Quantity};

use super::{Execute, Instrument};
use crate::batch::EventSink;
use crate::book::{OrderTable, Slot};
use crate::pegs::{BestPrices, Lead, Misplaced, PEGGED, Peg};
use crate::reporter::Output;
use crate::timers::Due;
use crate::trading::PARKED;

/// What a new order moves with, if it is one that does.
#[inline]
pub(super) fn lead_of(order_type: OrderType, advanced: &NewAdvancedOrder) -> Option<Lead> {
    let reference = advanced.peg.decode().unwrap_or(PegReference::None);
    let offset = advanced.peg_offset;
    (order_type == OrderType::Pegged).then_some(Lead { reference, offset })
}

impl Instrument {
    /// The best prices of orders that are not pegged: behind at most as many as may be.
    fn best_prices(&self, orders: &OrderTable) -> BestPrices {
        let best = |side| {
            let mut found = None;
            self.book.side(side).walk(orders, |slot| {
                let order = orders.at(slot);
                if !order.flags.contains(PEGGED) {
                    found = Some(order.price);
                }
                found.is_none()
            });
            found
        };
        BestPrices {
            bid: best(Side::Buy),
            ask: best(Side::Sell),
        }
    }

    /// The first pegged order that stands elsewhere than it should, in continuous trading.
    fn misplaced(&mut self, orders: &OrderTable) -> Option<Misplaced> {
        if !self.pegs.as_mut()?.drop_first_gone(orders) {
            self.pegs = None;
            return None;
        }
        if self.trading.phase != Phase::Continuous {
            return None;
        }
        let best = self.best_prices(orders);
        let pegs = self.pegs.as_mut()?;
        if pegs.are_settled_by(best) {
            return None;
        }
        pegs.drop_gone(orders);
        pegs.first_misplaced(best, orders, &self.terms)
    }

    /// Whether a participant may enter one more pegged order.
    ///
    /// # Errors
    /// [`Reject::TooManyPegged`].
    pub(super) fn check_room_for_pegged(
        &self,
        participant: ParticipantId,
        orders: &OrderTable,
    ) -> Result<(), Reject> {
        let pegs = self.pegs.as_ref();
        let room = pegs.is_none_or(|pegs| pegs.has_room(participant, orders));
        match room {
            true => Ok(()),
            false => Err(Reject::TooManyPegged),
        }
    }

    /// Whether any pegged order has to move is looked at behind the command.
    pub(super) fn unsettle_pegs(&mut self) {
        if let Some(pegs) = &mut self.pegs {
            pegs.unsettle();
        }
    }

    /// The places of pegged orders that wait.
    pub(crate) fn waiting_pegs<'a>(
        &'a self,
        orders: &'a OrderTable,
    ) -> impl Iterator<Item = Slot> + 'a {
        let live = self.pegs.iter().flat_map(|pegs| pegs.live(orders));
        live.filter(|peg| peg.stands_for(orders).is_none())
            .map(|peg| peg.slot)
    }
}

impl Execute {
    /// Lists a new pegged order, which waits at first, held at its limit.
    pub(super) fn enter_peg(&mut self, instrument: &mut Instrument, slot: Slot, lead: Lead) {
        let limit = self.orders.at(slot).price;
        self.orders.hold(slot, limit);
        let peg = Peg {
            slot,
            order: self.orders.at(slot).id,
            lead,
            aim: limit,
        };
        let pegs = instrument.pegs.get_or_insert_default();
        pegs.enter(peg, &self.orders);
    }

    /// Takes note that the book of an instrument with pegged orders may have changed.
    #[cold]
    pub(super) fn touch_pegs(&mut self, id: InstrumentId) {
        self.pegs_touched.insert(id);
    }

    /// Carries on what a command has led to, as far as one command may: stop orders that were elected
    /// come, then pegged orders move.
    #[inline]
    pub(crate) fn follow_up<S: EventSink>(&mut self, out: &mut Output<'_, S>) {
        if !(self.electing.is_empty() & self.pegs_touched.is_empty()) {
            self.carry_on(out);
        }
    }

    #[cold]
    fn carry_on<S: EventSink>(&mut self, out: &mut Output<'_, S>) {
        let mut steps_left = self.trigger_elected(ELECTIONS_MAX, out);
        let mut moved = false;
        let mut behind = false;
        while let Some((id, misplaced)) = self.next_misplaced() {
            behind = steps_left == 0;
            if behind {
                break;
            }
            moved = true;
            self.peg_turn = id;
            self.move_peg_of(id, misplaced, out);
            steps_left = self.trigger_elected(steps_left - 1, out);
        }
        self.peg_turn = match (behind, moved) {
            (false, _) => InstrumentId::NONE,
            // Others have their turn first.
            (true, true) => InstrumentId(self.peg_turn.0 + 1),
            (true, false) => self.peg_turn,
        };
        let soon = out.time.after(Nanos(1));
        let waits = behind || !self.electing.is_empty();
        if waits && self.elect_at == Nanos::NEVER && soon < Nanos::NEVER {
            self.elect_at = soon;
            self.timers.schedule(soon, Due::Election);
        }
    }

    /// The pegged order that moves next: the first of its instrument, by id from the one whose turn it is.
    fn next_misplaced(&mut self) -> Option<(InstrumentId, Misplaced)> {
        loop {
            let mut from_turn = self.pegs_touched.range(self.peg_turn..);
            let id = *from_turn.next().or(self.pegs_touched.first())?;
            let instrument = self.instruments[id.0 as usize].as_mut();
            let misplaced = instrument.and_then(|it| it.misplaced(&self.orders));
            match misplaced {
                Some(misplaced) => return Some((id, misplaced)),
                None => self.pegs_touched.remove(&id),
            };
        }
    }

    fn move_peg_of<S: EventSink>(
        &mut self,
        id: InstrumentId,
        misplaced: Misplaced,
        out: &mut Output<'_, S>,
    ) {
        if let Some(mut instrument) = self.take_instrument(id) {
            self.move_peg(&mut instrument, misplaced, out);
            self.put_back(instrument);
        }
    }

    /// Takes a pegged order out of its place and has it come at its target, if it has one.
    fn move_peg<S: EventSink>(
        &mut self,
        instrument: &mut Instrument,
        misplaced: Misplaced,
        out: &mut Output<'_, S>,
    ) {
        let slot = misplaced.slot;
        let Some(target) = misplaced.target else {
            self.send_away(instrument, slot, out);
            return;
        };
        self.take_aside(instrument, slot);
        if let Some(pegs) = &mut instrument.pegs {
            pegs.place(misplaced, target);
        }
        let order = self.orders.at_mut(slot);
        order.price = instrument.within_band(order.side, target, out.time);
        order.flags = OrderFlags(order.flags.0 & !PARKED.0);
        let price = order.price;
        self.tell_repriced(slot, price, out);
        self.match_and_rest(instrument, slot, Quantity(0), out);
    }

    /// Has all pegged orders of an instrument wait: it trades continuously no more.
    pub(super) fn withdraw_pegs<S: EventSink>(
        &mut self,
        instrument: &mut Instrument,
        out: &mut Output<'_, S>,
    ) {
        let Some(mut pegs) = instrument.pegs.take() else {
            return;
        };
        pegs.unsettle();
        pegs.drop_gone(&self.orders);
        for peg in pegs.all() {
            if peg.stands_for(&self.orders).is_some() {
                self.send_away(instrument, peg.slot, out);
            }
        }
        instrument.pegs = Some(pegs);
    }

    /// Has a pegged order wait that stands in the book.
    pub(super) fn send_away<S: EventSink>(
        &mut self,
        instrument: &mut Instrument,
        slot: Slot,
        out: &mut Output<'_, S>,
    ) {
        self.take_aside(instrument, slot);
        self.orders.at_mut(slot).price = self.orders.held_at(slot);
        self.tell_repriced(slot, Price::NONE, out);
    }

    /// Takes a pegged order out of the book, if it stands there.
    fn take_aside(&mut self, instrument: &mut Instrument, slot: Slot) {
        let flags = self.orders.at(slot).flags;
        if !flags.contains(PARKED) {
            self.take_from_book(instrument, slot);
            self.orders.at_mut(slot).flags = OrderFlags(flags.0 | PARKED.0);
        }
    }

    fn tell_repriced<S: EventSink>(&mut self, slot: Slot, price: Price, out: &mut Output<'_, S>) {
        let (order, limit) = (self.orders.at(slot), self.orders.held_at(slot));
        let session = order.session;
        let position = self.positions.at(order.position);
        let repriced = OrderRepriced {
            client_order_id: order.client_order_id,
            order: order.id,
            price,
            limit,
            leaves: order.leaves,
            account: position.account,
            instrument: position.instrument,
            side: order.side.into(),
            ..Message::blank()
        };
        self.reporter.report(out, session, repriced);
    }
}
