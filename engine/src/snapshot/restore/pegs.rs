//! From an image to the pegged orders of an instrument.
//!
//! Always holds: every pegged order is listed once, and stands in the book only where trading is
//! continuous.

use exahour_wire::codes::{PegReference, Phase, Side};
use exahour_wire::ids::OrderId;
use exahour_wire::limits::PEGGED_MAX;
use exahour_wire::units::Price;

use super::super::SnapshotError;
use super::super::image::{InstrumentImage, PegImage, PegPlaceImage};
use super::{Result, Stages, code, ensure};
use crate::book::{HELD, OrderTable, Slot};
use crate::execute::Instrument;
use crate::pegs::{Lead, PEGGED, Peg, Pegs};
use crate::terms::Terms;
use crate::trading::PARKED;

/// Lists the pegged orders of an instrument whose book is there, and takes those that wait into the table.
pub(super) fn restore(
    stages: &mut Stages,
    instrument: &mut Instrument,
    image: &InstrumentImage,
) -> Result<()> {
    let listed = image.pegs.len();
    ensure(listed <= PEGGED_MAX, "there are too many pegged orders")?;
    let mut pegs = Pegs::default();
    let mut standing = Vec::new();
    for peg in &image.pegs {
        let lead = lead(peg, &instrument.terms)?;
        let (slot, aim) = match &peg.place {
            PegPlaceImage::Waits { side, order } => {
                let side = code::<Side>(*side, "a side is none")?;
                let slot = stages.order(instrument, side, order)?;
                let flags = stages.execute().orders.at(slot).flags;
                let waits = flags.contains(PARKED) && flags.contains(PEGGED);
                ensure(waits, "a pegged order that waits is in the market")?;
                (slot, Price(order.price))
            }
            PegPlaceImage::Stands { order, aim } => {
                let slot = stages.execute().orders.find(OrderId(*order));
                let slot = slot.ok_or(SnapshotError::Contradiction(
                    "a pegged order that stands is not there",
                ))?;
                standing.push(slot);
                (slot, Price(*aim))
            }
        };
        let aimed = aim.0 > 0 && aim <= instrument.terms.price_cap;
        ensure(aimed, "what a pegged order stands for is out of range")?;
        let orders = &stages.execute().orders;
        let held = orders.at(slot).flags.contains(HELD);
        ensure(held, "a pegged order is not held at its limit")?;
        let peg = Peg {
            slot,
            order: orders.at(slot).id,
            lead,
            aim,
        };
        pegs.enter(peg, orders);
    }
    check_standing(&stages.execute().orders, instrument, standing)?;
    if listed > 0 {
        instrument.pegs = Some(Box::new(pegs));
        stages.execute().pegs_touched.insert(instrument.id);
    }
    Ok(())
}

fn lead(image: &PegImage, terms: &Terms) -> Result<Lead> {
    let reference = code::<PegReference>(image.reference, "what a pegged order follows is none")?;
    let offset = Price(image.offset);
    let fits = reference != PegReference::None
        && (0..=terms.price_cap.0).contains(&offset.0)
        && terms.ticks.divides(offset.0.cast_unsigned());
    ensure(fits, "how far a pegged order stands off is out of range")?;
    Ok(Lead { reference, offset })
}

/// Those that are said to stand are those that do.
fn check_standing(
    orders: &OrderTable,
    instrument: &Instrument,
    mut listed: Vec<Slot>,
) -> Result<()> {
    let mut standing = Vec::new();
    for side in [Side::Buy, Side::Sell] {
        instrument.book.side(side).walk(orders, |slot| {
            if orders.at(slot).flags.contains(PEGGED) {
                standing.push(slot);
            }
            true
        });
    }
    standing.sort_unstable();
    listed.sort_unstable();
    ensure(standing == listed, "other pegged orders stand than listed")?;
    let trades = instrument.trading.phase == Phase::Continuous;
    ensure(
        trades || listed.is_empty(),
        "a pegged order stands outside of continuous trading",
    )
}
