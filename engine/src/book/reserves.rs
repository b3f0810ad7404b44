//! What a few orders do not show: how much they show at a time, and what waits behind it.
//!
//! ```text
//! slot:  | page, 12 bits | place, 12 bits |   -> pages, made when the first order in them needs one
//! ```
//! Used by `orders`. Most orders show everything, and these never come here: a mark among an order's
//! flags says who does.
//!
//! Always holds: what stands in a place means something only while its slot holds an order with the
//! mark.

use exahour_wire::limits::ORDERS_MAX;
use exahour_wire::units::Quantity;

use super::orders::Slot;

const PLACE_BITS: u32 = 12;
const PLACES: usize = 1 << PLACE_BITS;
const PAGES: usize = ORDERS_MAX as usize / PLACES;
const _: () = assert!(PAGES * PLACES == ORDERS_MAX as usize);

/// What an order shows at a time, and what it does not show now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reserve {
    /// Lots it shows at most; above zero.
    pub display: Quantity,
    /// Open lots behind those that it shows; none while the order is in no queue.
    pub hidden: Quantity,
}

/// The reserves of all orders that have one.
pub(super) struct Reserves {
    pages: Vec<Option<Box<[Reserve; PLACES]>>>,
}

impl Reserves {
    /// None, and no memory but for finding them.
    pub(super) fn new() -> Self {
        Self {
            pages: (0..PAGES).map(|_| None).collect(),
        }
    }

    /// The reserve of a slot; nothing where none was ever set near it.
    pub(super) fn at(&self, slot: Slot) -> Reserve {
        let page = self.pages[slot as usize / PLACES].as_ref();
        page.map_or(Reserve::default(), |page| page[slot as usize % PLACES])
    }

    /// Sets the reserve of a slot.
    pub(super) fn set(&mut self, slot: Slot, reserve: Reserve) {
        let page = &mut self.pages[slot as usize / PLACES];
        let page = page.get_or_insert_with(|| Box::new([Reserve::default(); PLACES]));
        page[slot as usize % PLACES] = reserve;
    }
}
