//! From an image to the stop prices of an instrument, once its book is there.
//!
//! Called by `restore`.
//!
//! Always holds: what waits beside an order in the book is there once, for an order that says so, and on
//! the other side of its limit; an order that says so has it.

use exahour_wire::codes::Side;
use exahour_wire::ids::OrderId;
use exahour_wire::units::Price;

use super::SnapshotError;
use super::image::{InstrumentImage, StopImage, StoppedImage};
use super::restore::{Result, Stages, code, ensure};
use crate::book::{BESIDE, Beside, Slot};
use crate::execute::{Instrument, check_legs, worse};
use crate::stops::{Stop, Stops};
use crate::trading::PARKED;

impl Stages {
    /// Lets the stop prices of an instrument wait, and orders that are not in the market with them.
    pub(super) fn stops(
        &mut self,
        instrument: &mut Instrument,
        image: &InstrumentImage,
    ) -> Result<()> {
        let mut stops = Stops::new(self.execute().index_seed);
        let waiting = image.waiting.iter().map(|stop| (stop, false));
        let elected = image.elected.iter().map(|stop| (stop, true));
        let mut in_book = Vec::new();
        for (image, was_elected) in waiting.chain(elected) {
            let stop = self.stop(instrument, image)?;
            let node = match was_elected {
                true => stops.elect(stop),
                false => stops.wait(stop),
            };
            let orders = &mut self.execute().orders;
            match &image.order {
                StoppedImage::Parked(_) => orders.at_mut(stop.slot).level = node,
                StoppedImage::InBook {
                    limit, unpriced, ..
                } => {
                    let beside = Beside {
                        node,
                        limit: Price(*limit),
                        unpriced: *unpriced,
                    };
                    orders.set_beside(stop.slot, beside);
                    in_book.push(stop.slot);
                }
            }
        }
        self.check_each_once(instrument, in_book)?;
        let any = !image.waiting.is_empty() || !image.elected.is_empty();
        instrument.stops = any.then(|| Box::new(stops));
        Ok(())
    }

    /// A stop price and the place of its order, which is put in the table if it is not in the market.
    fn stop(&mut self, instrument: &Instrument, image: &StopImage) -> Result<Stop> {
        let side = code::<Side>(image.side, "a side is none")?;
        let price = Price(image.stop_price);
        let cap = instrument.terms.price_cap;
        ensure(price.0 > 0 && price <= cap, "a stop price is out of range")?;
        let slot = match &image.order {
            StoppedImage::Parked(order) => {
                let slot = self.order(instrument, side, order)?;
                let flags = self.execute().orders.at(slot).flags;
                let parked = flags.contains(PARKED) && !flags.contains(BESIDE);
                ensure(parked, "a stop order is in the market")?;
                slot
            }
            StoppedImage::InBook { id, limit, .. } => {
                let stop = (side, price);
                self.in_book(instrument, OrderId(*id), stop, Price(*limit))?
            }
        };
        Ok(Stop {
            side,
            price,
            order: self.execute().orders.at(slot).id,
            slot,
        })
    }

    /// The place of an order in the book beside which a stop price waits, at which it comes with this
    /// limit.
    fn in_book(
        &mut self,
        instrument: &Instrument,
        id: OrderId,
        (side, stop_price): (Side, Price),
        limit: Price,
    ) -> Result<Slot> {
        let execute = self.execute();
        let found = execute.orders.find(id);
        let slot = found.ok_or(SnapshotError::Contradiction(
            "a stop price waits for an order that is not there",
        ))?;
        let order = execute.orders.at(slot);
        let of = execute.positions.at(order.position).instrument;
        let same = order.flags.contains(BESIDE) && order.side == side && of == instrument.id;
        ensure(same, "a stop price waits beside another order")?;
        let lawful = check_legs(side, order.price, stop_price).is_ok();
        ensure(lawful, "a stop price is on the side of its order's limit")?;
        let in_range = limit.0 > 0 && limit <= instrument.terms.price_cap;
        let held = worse(side, order.price, limit);
        ensure(
            in_range && execute.orders.held_at(slot) == held,
            "an order is not held at the worse of its limits",
        )?;
        Ok(slot)
    }

    /// Every order of the book that says so has its stop price, once.
    fn check_each_once(&mut self, instrument: &Instrument, mut in_book: Vec<Slot>) -> Result<()> {
        let orders = &self.execute().orders;
        let mut marked = Vec::new();
        for side in [Side::Buy, Side::Sell] {
            instrument.book.side(side).walk(orders, |slot| {
                if orders.at(slot).flags.contains(BESIDE) {
                    marked.push(slot);
                }
                true
            });
        }
        marked.sort_unstable();
        in_book.sort_unstable();
        ensure(
            marked == in_book,
            "an order in the book has not one stop price",
        )
    }
}
