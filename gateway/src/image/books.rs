//! The books of all instruments at one depth: orders in the queues of their prices, or what each price
//! comes to, or the best prices; and what else is public of an instrument.
//!
//! Called by both images, which know what messages mean; read by market data and by tools.
//!
//! Always holds: finding, adding, shrinking and removing an order cost O(log levels); no level is
//! empty; walks go by instrument, then bids best first, asks best first, oldest first.
//! Does not: match. A book that is crossed here was crossed in the messages.

use std::collections::BTreeMap;
use std::collections::hash_map::{Entry, HashMap};

use exahour_wire::codes::{FeedDepth, LevelAction, Phase, Side};
use exahour_wire::ids::{FeedSequence, InstrumentId, OrderId};
use exahour_wire::limits::INSTRUMENTS_MAX;
use exahour_wire::market_data::{
    CircuitBreaker, IndicativeAuction, InstrumentDefinition, IntervalPrice, PriceBand, Statistics,
};
use exahour_wire::units::{Price, Quantity};

use super::fault::ImageFault;
use super::order_hash::OrderHash;
use super::queue::{Level, RestingOrder, Slot, Slots};
use super::trading_state::TradingState;

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

/// One price of a book; both counts are zero where nothing rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelView {
    /// The price.
    pub price: Price,
    /// Lots of all its orders.
    pub quantity: Quantity,
    /// How many orders.
    pub orders: u32,
}

impl LevelView {
    fn of(price: Price, level: &Level) -> Self {
        LevelView {
            price,
            quantity: level.quantity(),
            orders: level.orders,
        }
    }

    /// What happened to a level that was `before`; `None` where nothing did.
    pub(super) fn action_since(self, before: LevelView) -> Option<LevelAction> {
        match (before.orders, self.orders) {
            (0, 0) => None,
            (0, _) => Some(LevelAction::Added),
            (_, 0) => Some(LevelAction::Deleted),
            _ if before == self => None,
            _ => Some(LevelAction::Changed),
        }
    }
}

/// What is public of an instrument beside its book; numbers in the feed are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Extras {
    /// What traded on the day of the last trade.
    pub statistics: Option<Statistics>,
    /// What the auction of the call under way would come to, as told last.
    pub indicative: Option<IndicativeAuction>,
    /// The newest interval price.
    pub interval: Option<IntervalPrice>,
    /// The price band, if there is one.
    pub band: Option<PriceBand>,
    /// The circuit breaker, if there is one.
    pub breaker: Option<CircuitBreaker>,
}

/// One instrument and its book.
#[derive(Debug)]
pub struct Book {
    definition: InstrumentDefinition,
    depth: FeedDepth,
    state: TradingState,
    bids: BTreeMap<Price, Level>,
    asks: BTreeMap<Price, Level>,
    orders: u32,
    /// The top that was last told to whoever follows the books, or by the feed of best prices.
    pub(super) told: Top,
    pub(super) extras: Extras,
}

impl Book {
    fn new(definition: InstrumentDefinition, depth: FeedDepth) -> Self {
        Book {
            definition,
            depth,
            state: TradingState::LISTED,
            bids: BTreeMap::new(),
            asks: BTreeMap::new(),
            orders: 0,
            told: Top::EMPTY,
            extras: Extras::default(),
        }
    }

    /// What the contract is; `sequence` is zero.
    pub fn definition(&self) -> &InstrumentDefinition {
        &self.definition
    }

    /// How it trades.
    pub fn state(&self) -> &TradingState {
        &self.state
    }

    /// The phase.
    pub fn phase(&self) -> Phase {
        self.state.phase
    }

    /// The final or last settlement price, or none.
    pub fn settlement_price(&self) -> Price {
        self.state.settlement_price
    }

    /// What is public beside the book.
    pub fn extras(&self) -> &Extras {
        &self.extras
    }

    /// How many orders rest; zero where only the best prices are known.
    pub fn orders(&self) -> u32 {
        self.orders
    }

    /// How many prices have orders; zero where only the best prices are known.
    pub fn level_count(&self) -> u32 {
        // There are fewer levels than orders, which 32 bits number.
        (self.bids.len() + self.asks.len()) as u32
    }

    /// The best prices.
    pub fn top(&self) -> Top {
        if self.depth == FeedDepth::Top {
            return self.told;
        }
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
        levels.map(|(price, level)| LevelView::of(*price, level))
    }

    /// What rests at one price.
    pub(super) fn level(&self, side: Side, price: Price) -> LevelView {
        let level = self.side(side).get(&price);
        LevelView::of(price, level.unwrap_or(&Level::EMPTY))
    }

    /// The level after one of `side` at `price`, or the first: bids best first, then asks.
    pub(super) fn level_after(&self, after: Option<(Side, Price)>) -> Option<(Side, LevelView)> {
        let first = |side| self.levels(side).next().map(|level| (side, level));
        let Some((side, price)) = after else {
            return first(Side::Buy).or_else(|| first(Side::Sell));
        };
        let behind = self
            .behind(side, price)
            .map(|(price, level)| (side, LevelView::of(*price, level)));
        match side {
            Side::Buy => behind.or_else(|| first(Side::Sell)),
            Side::Sell => behind,
        }
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
        best.and_then(|(_, level)| level.first.some())
    }

    /// The next price behind `price`.
    fn behind(&self, side: Side, price: Price) -> Option<(&Price, &Level)> {
        match side {
            Side::Buy => self.side(side).range(..price).next_back(),
            Side::Sell => {
                use std::ops::Bound::{Excluded, Unbounded};
                self.side(side).range((Excluded(price), Unbounded)).next()
            }
        }
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

/// How far a walk over the levels of one book has come; valid while the books do not change.
#[derive(Clone, Copy, Debug)]
pub struct LevelCursor {
    instrument: InstrumentId,
    after: Option<(Side, Price)>,
}

impl LevelCursor {
    /// A walk that has not begun.
    pub fn new(instrument: InstrumentId) -> Self {
        LevelCursor {
            instrument,
            after: None,
        }
    }
}

/// The books of all instruments.
#[derive(Debug)]
pub struct Books {
    depth: FeedDepth,
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
    /// No instruments, no orders; orders are held one by one.
    pub fn new() -> Self {
        Self::with_room(0)
    }

    /// No instruments; books of this depth.
    pub(super) fn at_depth(depth: FeedDepth, orders: usize) -> Self {
        match depth {
            FeedDepth::Orders => Self::with_room(orders),
            FeedDepth::Levels | FeedDepth::Top => Books {
                depth,
                ..Self::with_room(0)
            },
        }
    }

    /// The same with memory reserved for as many orders: with more it grows, which takes a while.
    pub fn with_room(orders: usize) -> Self {
        Books {
            depth: FeedDepth::Orders,
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
                let behind = book.behind(side, price).map(|(_, level)| level.first);
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

    /// The next level of a walk: bids best first, then asks best first.
    pub fn step_level(&self, cursor: &mut LevelCursor) -> Option<(Side, LevelView)> {
        let found = self.book(cursor.instrument)?.level_after(cursor.after);
        if let Some((side, level)) = found {
            cursor.after = Some((side, level.price));
        }
        found
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
        self.books.push(Book::new(definition, self.depth));
        // There are at most as many books as instruments, which 32 bits number.
        self.places[index] = self.books.len() as u32;
        Ok(())
    }

    pub(super) fn set_state(
        &mut self,
        instrument: InstrumentId,
        state: TradingState,
    ) -> Result<(), ImageFault> {
        let book = self.book_mut(instrument)?;
        book.state = state;
        if !state.in_call() {
            book.extras.indicative = None;
        }
        Ok(())
    }

    /// Keeps a price band without its number; one without a width is none.
    pub(super) fn set_band(&mut self, band: PriceBand) -> Result<(), ImageFault> {
        let sequence = FeedSequence::NONE;
        let kept = (band.width.0 > 0).then_some(PriceBand { sequence, ..band });
        self.book_mut(band.instrument)?.extras.band = kept;
        Ok(())
    }

    /// Keeps a circuit breaker without its number; one that stops nothing and follows nobody is none.
    pub(super) fn set_breaker(&mut self, breaker: CircuitBreaker) -> Result<(), ImageFault> {
        let sequence = FeedSequence::NONE;
        let there = breaker.threshold.0 > 0 || breaker.linked != InstrumentId::NONE;
        let kept = there.then_some(CircuitBreaker {
            sequence,
            ..breaker
        });
        self.book_mut(breaker.instrument)?.extras.breaker = kept;
        Ok(())
    }

    /// Sets what all orders at one price come to, in books that hold no single orders.
    pub(super) fn set_level(
        &mut self,
        instrument: InstrumentId,
        side: Side,
        level: LevelView,
        action: LevelAction,
    ) -> Result<(), ImageFault> {
        let price = level.price;
        let book = self.book_mut(instrument)?;
        let before = book.level(side, price);
        // Nothing may have been missed: a level is added once, and changed or deleted while it is there.
        let fits = match action {
            LevelAction::Added => before.orders == 0 && level.orders > 0,
            LevelAction::Changed => before.orders > 0 && level.orders > 0,
            LevelAction::Deleted => before.orders > 0 && level.orders == 0,
        };
        if !fits || (level.orders == 0) != (level.quantity.0 == 0) {
            return Err(ImageFault::WrongLevel { instrument, price });
        }
        let orders = book.orders - before.orders;
        book.orders = orders.checked_add(level.orders).ok_or(ImageFault::Full)?;
        let levels = book.side_mut(side);
        match action {
            LevelAction::Deleted => levels.remove(&price),
            LevelAction::Added | LevelAction::Changed => {
                levels.insert(price, Level::of(level.orders, level.quantity))
            }
        };
        Ok(())
    }

    /// Puts an order last at its price; gives the level as it was.
    pub(super) fn add(&mut self, resting: RestingOrder) -> Result<LevelView, ImageFault> {
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
        let before = LevelView::of(resting.price, level);
        entry.insert(self.slots.push(level, resting));
        book.orders += 1;
        Ok(before)
    }

    /// Shrinks an order in its place, or removes it where `leaves` is zero; gives it and its level as
    /// they were.
    pub(super) fn shrink(
        &mut self,
        order: OrderId,
        leaves: Quantity,
    ) -> Result<(RestingOrder, LevelView), ImageFault> {
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
        let level_before = LevelView::of(before.price, level);
        if leaves.0 > 0 {
            self.slots.shrink(level, slot, leaves);
            return Ok((before, level_before));
        }
        self.slots.remove(level, slot);
        if level.orders == 0 {
            levels.remove(&before.price);
        }
        book.orders -= 1;
        entry.remove();
        Ok((before, level_before))
    }

    /// Removes an order; gives it and its level as they were.
    pub(super) fn remove(
        &mut self,
        order: OrderId,
    ) -> Result<(RestingOrder, LevelView), ImageFault> {
        self.shrink(order, Quantity(0))
    }
}
