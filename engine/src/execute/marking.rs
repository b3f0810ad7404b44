//! Marking positions to a price: variation margin, and the new locks.
//!
//! Always holds: what is paid in equals what is paid out, because longs equal shorts; the clearing
//! account is empty again afterwards.

use exahour_wire::codes::{Side, TransferKind};
use exahour_wire::events::InstrumentSettled;
use exahour_wire::limits::CLEARING_ACCOUNT;
use exahour_wire::message::Message;
use exahour_wire::operations::SettlePrice;
use exahour_wire::reject::Reject;
use exahour_wire::units::{Price, Quantity};

use super::{Execute, Instrument, Request};
use crate::batch::EventSink;
use crate::book::Slot;
use crate::by_side::BySide;
use crate::positions::adverse;
use crate::reporter::Output;
use crate::trading::PARKED;

impl Execute {
    /// Marks an instrument at an operator's word.
    pub(super) fn settle_price<S: EventSink>(
        &mut self,
        command: &SettlePrice,
        request: Request,
        out: &mut Output<'_, S>,
    ) -> Result<(), Reject> {
        let mut instrument = self
            .take_instrument(command.instrument)
            .ok_or(Reject::UnknownInstrument)?;
        let checked = if instrument.expired {
            Err(Reject::InstrumentClosed)
        } else {
            instrument.terms.check_limit(command.price)
        };
        if checked.is_ok() {
            self.mark(&mut instrument, command.price, out);
            let settled = InstrumentSettled {
                instrument: instrument.id,
                price: command.price,
                open_interest: self.open_interest(&instrument),
                ..Message::blank()
            };
            self.reporter.fact(out, settled);
            self.done(out, request, 0);
        }
        self.put_back(instrument);
        checked
    }

    /// Marks every position to `price`: payers first, by account, then receivers.
    pub(super) fn mark<S: EventSink>(
        &mut self,
        instrument: &mut Instrument,
        price: Price,
        out: &mut Output<'_, S>,
    ) {
        let slots = self.positions.of_instrument(instrument.id);
        let change = i128::from(price.0) - i128::from(instrument.settlement.0);
        let hours = i128::from(instrument.terms.hours.0);
        let kind = TransferKind::VariationMargin;
        let reference = u64::from(instrument.id.0);
        for paying in [true, false] {
            for slot in &slots {
                let position = self.positions.at(*slot);
                let account = position.account;
                let gain = change * i128::from(position.net) * hours;
                if (gain < 0) != paying {
                    continue;
                }
                // Bounded by the position cap of the terms.
                let amount = gain.unsigned_abs() as i64;
                let accounts = if paying {
                    (account, CLEARING_ACCOUNT)
                } else {
                    (CLEARING_ACCOUNT, account)
                };
                self.move_money(out, accounts, amount, kind, reference);
            }
        }
        instrument.settlement = price;
        self.recount_adverse(instrument, &slots);
    }

    /// Lots held long.
    pub(super) fn open_interest(&self, instrument: &Instrument) -> Quantity {
        let slots = self.positions.of_instrument(instrument.id);
        let longs = slots
            .iter()
            .map(|slot| self.positions.at(*slot).net.max(0).unsigned_abs());
        Quantity(longs.sum())
    }

    /// Counts again what open orders would pay at once, now that the settlement price is another.
    fn recount_adverse(&mut self, instrument: &Instrument, slots: &[u32]) {
        for slot in slots {
            let position = self.positions.at_mut(*slot);
            position.adverse = BySide::default();
        }
        let (orders, positions) = (&self.orders, &mut self.positions);
        let mut count = |slot: Slot| {
            let order = orders.at(slot);
            let cost = adverse(
                order.side,
                orders.held_at(slot),
                instrument.settlement,
                orders.open(slot),
                &instrument.terms,
            );
            positions.at_mut(order.position).open(order.side, 0, cost);
            true
        };
        for side in [Side::Buy, Side::Sell] {
            instrument.book.side(side).walk(orders, &mut count);
        }
        for stop in instrument.stops.iter().flat_map(|stops| stops.all()) {
            // What waits beside an order in the book is that order.
            if orders.at(stop.slot).flags.contains(PARKED) {
                count(stop.slot);
            }
        }
        for slot in instrument.waiting_pegs(orders) {
            count(slot);
        }
        for slot in slots {
            self.relock(instrument, *slot);
        }
    }
}
