//! What few orders have, by slot: no memory but for those that have it, and for their neighbours.
//!
//! ```text
//! slot:  | page, 12 bits | place, 12 bits |   -> pages, made when the first order in them needs one
//! ```
//! Used by `orders`, once for each such thing. Most orders have none of these, and never come here: a
//! mark among an order's flags says who does.
//!
//! Always holds: what stands in a place means something only while its slot holds an order with the
//! mark.

use exahour_wire::limits::ORDERS_MAX;

use super::orders::Slot;

const PLACE_BITS: u32 = 12;
const PLACES: usize = 1 << PLACE_BITS;
const PAGES: usize = ORDERS_MAX as usize / PLACES;
const _: () = assert!(PAGES * PLACES == ORDERS_MAX as usize);

/// A value for each slot that was ever given one.
pub(super) struct Sparse<T> {
    pages: Vec<Option<Box<[T; PLACES]>>>,
}

impl<T: Copy + Default> Sparse<T> {
    /// None, and no memory but for finding them.
    pub(super) fn new() -> Self {
        Self {
            pages: (0..PAGES).map(|_| None).collect(),
        }
    }

    /// The value of a slot; the default where none was ever set near it.
    pub(super) fn at(&self, slot: Slot) -> T {
        let page = self.pages[slot as usize / PLACES].as_ref();
        page.map_or(T::default(), |page| page[slot as usize % PLACES])
    }

    /// Sets the value of a slot.
    pub(super) fn set(&mut self, slot: Slot, value: T) {
        let page = &mut self.pages[slot as usize / PLACES];
        let page = page.get_or_insert_with(|| Box::new([T::default(); PLACES]));
        page[slot as usize % PLACES] = value;
    }
}
