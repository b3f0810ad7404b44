//! The resting orders of all instruments: price levels in order, each a queue in time order.
//!
//! Called by both images, which know what messages mean; read by market data and by tools.
//!
//! Always holds: finding, adding, shrinking and removing an order cost O(log levels); no level is
//! empty; walks go by instrument, then bids best first, asks best first, oldest first.
//! Does not: match. A book that is crossed here was crossed in the messages.

use std::collections::BTreeMap;
use std::collections::hash_map::{Entry, HashMap};

use exahour_wire::codes::{Phase, Side};
use exahour_wire::ids::{FeedSequence, InstrumentId, OrderId};
use exahour_wire::limits::INSTRUMENTS_MAX;
use exahour_wire::market_data::InstrumentDefinition;
use exahour_wire::units::{Price, Quantity};

use super::fault::ImageFault;
use super::order_hash::OrderHash;
use super::queue::{Level, RestingOrder, Slot, Slots};

/// The best prices of a book; a price is none and its quantity zero where a side is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Top {
    /// The best bid.
    pub bid_price: Price,
    /// Lots at the best bid.
    pub bid_quantity: Quantity,
    /// The best offer.
    pub ask_price: Price,
    /// Lots at the best offer.
    pub ask_quantity: Quantity,
}

impl Top {
    /// The top of an empty book.
    pub const EMPTY: Top = Top {
        bid_price: Price::NONE,
        bid_quantity: Quantity(0),
        ask_price: Price::NONE,
        ask_quantity: Quantity(0),
    };
}

/// One price of a book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelView {
    /// The price.
    pub price: Price,
    /// Lots of all its orders.
    pub quantity: Quantity,
    /// How many orders.
    pub orders: u32,
}

/// One instrument and its price levels.
#[derive(Debug)]
pub struct Book {
    definition: InstrumentDefinition,
    phase: Phase,
    settlement_price: Price,
    bids: BTreeMap<Price, Level>,
    asks: BTreeMap<Price, Level>,
    orders: u32,
    /// The top that was last told to whoever follows the books.
    pub(super) told: Top,
}

impl Book {
    fn new(definition: InstrumentDefinition) -> Self {
        Book {
            definition,
            phase: Phase::Continuous,
            settlement_price: Price::NONE,
            bids: BTreeMap::new(),
            asks: BTreeMap::new(),
            orders: 0,
            told: Top::EMPTY,
        }
    }

    /// What the contract is; `sequence` is zero.
    pub fn definition(&self) -> &InstrumentDefinition {
        &self.definition
    }

    /// The state of trading.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The final or last settlement price, or none.
    pub fn settlement_price(&self) -> Price {
        self.settlement_price
    }

    /// How many orders rest.
    pub fn orders(&self) -> u32 {
        self.orders
    }

    /// The best prices.
    pub fn top(&self) -> Top {
        let mut top = Top::EMPTY;
        if let Some((price, level)) = self.bids.last_key_value() {
            (top.bid_price, top.bid_quantity) = (*price, level.quantity());
        }
        if let Some((price, level)) = self.asks.first_key_value() {
            (top.ask_price, top.ask_quantity) = (*price, level.quantity());
        }
        top
    }

    /// The prices of one side, best first.
    pub fn levels(&self, side: Side) -> impl Iterator<Item = LevelView> {
        let (bids, asks) = match side {
            Side::Buy => (Some(self.bids.iter().rev()), None),
            Side::Sell => (None, Some(self.asks.iter())),
        };
        let levels = bids.into_iter().flatten().chain(asks.into_iter().flatten());
        levels.map(|(price, level)| LevelView {
            price: *price,
            quantity: level.quantity(),
            orders: level.orders,
        })
    }

    fn side(&self, side: Side) -> &BTreeMap<Price, Level> {
        match side {
            Side::Buy => &self.bids,
            Side::Sell => &self.asks,
        }
    }

    fn side_mut(&mut self, side: Side) -> &mut BTreeMap<Price, Level> {
        match side {
            Side::Buy => &mut self.bids,
            Side::Sell => &mut self.asks,
        }
    }

    fn best(&self, side: Side) -> Option<Slot> {
        let best = match side {
            Side::Buy => self.bids.last_key_value(),
            Side::Sell => self.asks.first_key_value(),
        };
        best.map(|(_, level)| level.first)
    }

    /// The oldest order of the next price behind `price`.
    fn behind(&self, side: Side, price: Price) -> Option<Slot> {
        let next = match side {
            Side::Buy => self.side(side).range(..price).next_back(),
            Side::Sell => {
                use std::ops::Bound::{Excluded, Unbounded};
                self.side(side).range((Excluded(price), Unbounded)).next()
            }
        };
        next.map(|(_, level)| level.first)
    }
}

/// How far a walk over the orders of one book has come; valid while the books do not change.
#[derive(Clone, Copy, Debug)]
pub struct BookCursor {
    instrument: InstrumentId,
    place: Place,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Start,
    After(Slot),
    End,
}

impl BookCursor {
    /// A walk that has not begun.
    pub fn new(instrument: InstrumentId) -> Self {
        BookCursor {
            instrument,
            place: Place::Start,
        }
    }
}

/// The resting orders of all instruments.
#[derive(Debug)]
pub struct Books {
    slots: Slots,
    by_order: HashMap<OrderId, Slot, OrderHash>,
    books: Vec<Book>,
    /// The place in `books` of each instrument, by its id, from 1; 0 where there is none.
    places: Vec<u32>,
}

impl Default for Books {
    fn default() -> Self {
        Self::new()
    }
}

impl Books {
    /// No instruments, no orders.
    pub fn new() -> Self {
        Self::with_room(0)
    }

    /// The same with memory reserved for as many orders: with more it grows, which takes a while.
    pub fn with_room(orders: usize) -> Self {
        Books {
            slots: Slots::with_room(orders),
            by_order: HashMap::with_capacity_and_hasher(orders, OrderHash),
            books: Vec::new(),
            places: Vec::new(),
        }
    }

    /// The book of an instrument.
    pub fn book(&self, instrument: InstrumentId) -> Option<&Book> {
        let place = *self.places.get(instrument.0 as usize)?;
        self.books.get((place as usize).checked_sub(1)?)
    }

    pub(super) fn book_mut(&mut self, instrument: InstrumentId) -> Result<&mut Book, ImageFault> {
        let place = self.places.get(instrument.0 as usize).copied().unwrap_or(0) as usize;
        place
            .checked_sub(1)
            .and_then(|place| self.books.get_mut(place))
            .ok_or(ImageFault::UnknownInstrument(instrument))
    }

    /// All books by ascending instrument.
    pub fn all(&self) -> impl Iterator<Item = (InstrumentId, &Book)> {
        let mut instrument = None;
        std::iter::from_fn(move || {
            instrument = self.instrument_after(instrument);
            let id = instrument?;
            self.book(id).map(|book| (id, book))
        })
    }

    /// The first instrument above `instrument`, or the first of all.
    pub fn instrument_after(&self, instrument: Option<InstrumentId>) -> Option<InstrumentId> {
        let above = instrument.map_or(0, |id| id.0 as usize + 1);
        let rest = self.places.get(above..)?;
        let found = above + rest.iter().position(|place| *place > 0)?;
        u32::try_from(found).ok().map(InstrumentId)
    }

    /// For how many orders memory is reserved.
    pub fn orders_room(&self) -> usize {
        self.by_order.capacity()
    }

    /// How many orders rest in all books.
    pub fn orders(&self) -> usize {
        self.by_order.len()
    }

    /// A resting order.
    pub fn order(&self, order: OrderId) -> Option<&RestingOrder> {
        self.by_order
            .get(&order)
            .map(|slot| self.slots.order(*slot))
    }

    /// The next order of a walk, in the order of the book.
    pub fn step(&self, cursor: &mut BookCursor) -> Option<RestingOrder> {
        let book = self.book(cursor.instrument)?;
        let slot = match cursor.place {
            Place::Start => book.best(Side::Buy).or_else(|| book.best(Side::Sell)),
            Place::After(slot) => self.slots.next(slot).some().or_else(|| {
                let RestingOrder { side, price, .. } = *self.slots.order(slot);
                let behind = book.behind(side, price);
                match side {
                    Side::Buy => behind.or_else(|| book.best(Side::Sell)),
                    Side::Sell => behind,
                }
            }),
            Place::End => None,
        };
        cursor.place = slot.map_or(Place::End, Place::After);
        slot.map(|slot| *self.slots.order(slot))
    }

    /// All orders of one book: bids best first, then asks best first, oldest first.
    pub fn orders_of(&self, instrument: InstrumentId) -> impl Iterator<Item = RestingOrder> {
        let mut cursor = BookCursor::new(instrument);
        std::iter::from_fn(move || self.step(&mut cursor))
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.by_order.clear();
        self.books.clear();
        self.places.clear();
    }

    pub(super) fn list(&mut self, mut definition: InstrumentDefinition) -> Result<(), ImageFault> {
        definition.sequence = FeedSequence::NONE;
        let instrument = definition.instrument;
        if self.book(instrument).is_some() {
            return Err(ImageFault::InstrumentTwice(instrument));
        }
        if instrument.0 > INSTRUMENTS_MAX {
            return Err(ImageFault::UnknownInstrument(instrument));
        }
        let index = instrument.0 as usize;
        if self.places.len() <= index {
            self.places.resize(index + 1, 0);
        }
        self.books.push(Book::new(definition));
        // There are at most as many books as instruments, which 32 bits number.
        self.places[index] = self.books.len() as u32;
        Ok(())
    }

    pub(super) fn set_phase(
        &mut self,
        instrument: InstrumentId,
        phase: Phase,
        settlement_price: Price,
    ) -> Result<(), ImageFault> {
        let book = self.book_mut(instrument)?;
        (book.phase, book.settlement_price) = (phase, settlement_price);
        Ok(())
    }

    /// Puts an order last at its price.
    pub(super) fn add(&mut self, resting: RestingOrder) -> Result<(), ImageFault> {
        if resting.quantity.0 == 0 {
            return Err(ImageFault::WrongSize(resting.order));
        }
        self.slots.check_room()?;
        let place = self.places.get(resting.instrument.0 as usize).copied();
        let book = place
            .and_then(|place| (place as usize).checked_sub(1))
            .and_then(|place| self.books.get_mut(place))
            .ok_or(ImageFault::UnknownInstrument(resting.instrument))?;
        let Entry::Vacant(entry) = self.by_order.entry(resting.order) else {
            return Err(ImageFault::OrderTwice(resting.order));
        };
        let level = book
            .side_mut(resting.side)
            .entry(resting.price)
            .or_insert(Level::EMPTY);
        entry.insert(self.slots.push(level, resting));
        book.orders += 1;
        Ok(())
    }

    /// Shrinks an order in its place, or removes it where `leaves` is zero; gives it as it was.
    pub(super) fn shrink(
        &mut self,
        order: OrderId,
        leaves: Quantity,
    ) -> Result<RestingOrder, ImageFault> {
        let Entry::Occupied(entry) = self.by_order.entry(order) else {
            return Err(ImageFault::UnknownOrder(order));
        };
        let slot = *entry.get();
        let before = *self.slots.order(slot);
        if leaves >= before.quantity {
            return Err(ImageFault::WrongSize(order));
        }
        // A resting order's book exists: books are only ever forgotten all at once.
        let book = &mut self.books[self.places[before.instrument.0 as usize] as usize - 1];
        let levels = book.side_mut(before.side);
        let level = levels
            .get_mut(&before.price)
            .ok_or(ImageFault::UnknownOrder(order))?;
        if leaves.0 > 0 {
            self.slots.shrink(level, slot, leaves);
            return Ok(before);
        }
        self.slots.remove(level, slot);
        if level.orders == 0 {
            levels.remove(&before.price);
        }
        book.orders -= 1;
        entry.remove();
        Ok(before)
    }

    /// Removes an order; gives it as it was.
    pub(super) fn remove(&mut self, order: OrderId) -> Result<RestingOrder, ImageFault> {
        self.shrink(order, Quantity(0))
    }
}
