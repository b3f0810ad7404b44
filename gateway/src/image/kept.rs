//! An image of the event log between two commands, written down and made again.
//!
//! Called for the views of the ports, which begin a start behind most of the event log.
//!
//! ```text
//! last event, command, time
//! books:   definition, state, extras, then its orders: bids best first, then asks, oldest first
//! parked:  orders          hidden: orders and lots          statistics of the day
//! ```
//! Always holds: an image that is read goes on exactly as the one that was written would have.
//! Does not: keep what a command has under way: there is none between two.

use exahour_wire::codes::Side;
use exahour_wire::ids::{CommandSequence, EventSequence, FeedSequence, InstrumentId, OrderId};
use exahour_wire::market_data::{InstrumentDefinition, InstrumentPhase};
use exahour_wire::units::{Nanos, Price, Quantity};

use super::books::{Book, Books, Extras};
use super::day_statistics::DayStatistics;
use super::event_image::BookImage;
use super::queue::RestingOrder;
use super::trading_state::TradingState;
use crate::views::pages::{PageReader, PageWriter};

/// Bytes of a resting order: its name, price, lots and side.
const ORDER_BYTES: usize = 4 * size_of::<u64>();

impl BookImage {
    /// Whether every command of which there was an event is over.
    pub fn between_commands(&self) -> bool {
        self.pending.is_empty()
            && self.touched.is_empty()
            && self.touched_levels.is_empty()
            && self.traded.is_empty()
    }

    /// Writes the image.
    ///
    /// # Panics
    /// Within a command: our own fault.
    pub(crate) fn write(&self, pages: &mut PageWriter) {
        assert!(self.between_commands());
        pages.number(self.last_event().0);
        pages.number(self.command.0);
        pages.number(self.time.0);
        pages.count(self.books.all().count());
        for (instrument, book) in self.books.all() {
            write_book(&self.books, instrument, book, pages);
        }
        let mut parked: Vec<OrderId> = self.parked.iter().copied().collect();
        parked.sort_unstable();
        pages.count(parked.len());
        parked.iter().for_each(|order| pages.number(order.0));
        let mut hidden: Vec<(OrderId, u64)> = self.hidden.iter().map(|it| (*it.0, *it.1)).collect();
        hidden.sort_unstable();
        pages.count(hidden.len());
        for (order, lots) in hidden {
            pages.number(order.0);
            pages.number(lots);
        }
        self.statistics.write(pages);
    }

    /// Reads an image, with memory reserved for as many orders; `None` where it is none.
    pub(crate) fn read(pages: &mut PageReader<'_>, orders_room: usize) -> Option<Self> {
        let mut image = Self::with_room(orders_room);
        image.last_event = EventSequence(pages.number()?);
        image.command = CommandSequence(pages.number()?);
        image.time = Nanos(pages.number()?);
        for _ in 0..pages.count(1)? {
            read_book(&mut image.books, pages)?;
        }
        for _ in 0..pages.count(size_of::<u64>())? {
            image.parked.insert(OrderId(pages.number()?));
        }
        for _ in 0..pages.count(2 * size_of::<u64>())? {
            let order = OrderId(pages.number()?);
            image.hidden.insert(order, pages.number()?);
        }
        image.statistics = DayStatistics::read(pages)?;
        Some(image)
    }
}

fn write_book(books: &Books, instrument: InstrumentId, book: &Book, pages: &mut PageWriter) {
    pages.message(book.definition());
    pages.message(
        &book
            .state()
            .message(FeedSequence::NONE, Nanos(0), instrument),
    );
    let Extras {
        statistics,
        indicative,
        interval,
        band,
        breaker,
    } = book.extras();
    pages.optional(statistics.as_ref());
    pages.optional(indicative.as_ref());
    pages.optional(interval.as_ref());
    pages.optional(band.as_ref());
    pages.optional(breaker.as_ref());
    pages.count(books.orders_of(instrument).count());
    for order in books.orders_of(instrument) {
        pages.number(order.order.0);
        pages.signed(order.price.0);
        pages.number(order.quantity.0);
        pages.number(u64::from(order.side == Side::Sell));
    }
}

fn read_book(books: &mut Books, pages: &mut PageReader<'_>) -> Option<()> {
    let definition: InstrumentDefinition = pages.message()?;
    let state: InstrumentPhase = pages.message()?;
    let instrument = definition.instrument;
    books.list(definition).ok()?;
    let state = TradingState::told(&state).ok()?;
    books.set_state(instrument, state).ok()?;
    books.book_mut(instrument).ok()?.extras = Extras {
        statistics: pages.optional()?,
        indicative: pages.optional()?,
        interval: pages.optional()?,
        band: pages.optional()?,
        breaker: pages.optional()?,
    };
    for _ in 0..pages.count(ORDER_BYTES)? {
        let resting = RestingOrder {
            instrument,
            order: OrderId(pages.number()?),
            price: Price(pages.signed()?),
            quantity: Quantity(pages.number()?),
            side: match pages.number()? {
                0 => Side::Buy,
                1 => Side::Sell,
                _ => return None,
            },
        };
        books.add(resting).ok()?;
    }
    let book = books.book_mut(instrument).ok()?;
    // Between two commands the feed has been told of every top.
    book.told = book.top();
    Some(())
}
