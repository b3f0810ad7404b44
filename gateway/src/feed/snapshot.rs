//! Snapshots of the books, cut into pieces without holding up the feed or anybody in it.
//!
//! Called by the market data server. For each depth a second image, the shadow, follows the feed's own
//! history.
//! While anybody reads a snapshot from it, the shadow stands still at one number for all books;
//! readers then go on from the history. When the last has finished, it catches up.
//!
//! Always holds: a snapshot is the book after exactly one message, whatever is published meanwhile;
//! one turn writes at most what fits a client's buffer, and applies at most a bounded number.
//! Does not: wait for a slow reader: the server cuts it off before the history runs out. Should the
//! history run out all the same, the shadow is made anew and its snapshots are void.

use exahour_wire::codes::{FeedDepth, LevelAction, Phase};
use exahour_wire::framing::FRAMING_BYTES;
use exahour_wire::ids::{FeedSequence, InstrumentId};
use exahour_wire::limits::MESSAGE_BYTES_MAX;
use exahour_wire::market_data::{
    FeedHeartbeat, PriceLevel, SnapshotBegin, SnapshotEnd, SnapshotOrder,
};
use exahour_wire::message::Message;
use exahour_wire::units::Nanos;

use super::history::History;
use super::send_buffer::{SEND_BYTES_MIN, SendBuffer};
use super::updates::{level_message, top_message};
use crate::image::{
    Book, BookCursor, Books, Extras, FeedImage, Flow, ImageFault, LevelCursor, RestingOrder,
    TradingState,
};

/// The image that snapshots are read from.
#[derive(Debug)]
pub struct Shadow {
    image: FeedImage,
    readers: usize,
    /// Counts how often it was made anew: cursors of an earlier one mean nothing.
    generation: u64,
}

impl Shadow {
    /// The shadow before the first message of the feed of some depth, with memory for `orders_room`
    /// orders where it has orders.
    pub fn new(depth: FeedDepth, orders_room: usize) -> Self {
        Shadow {
            image: FeedImage::from_start_with_room(depth, orders_room),
            readers: 0,
            generation: 0,
        }
    }

    /// The shadow of books as they are before message `next`.
    ///
    /// # Errors
    /// [`ImageFault`] if the books contradict themselves: our own fault.
    pub fn of_books(
        depth: FeedDepth,
        books: &Books,
        next: FeedSequence,
        time: Nanos,
    ) -> Result<Self, ImageFault> {
        Ok(Shadow {
            image: FeedImage::of_books(depth, books, next, time)?,
            readers: 0,
            generation: 0,
        })
    }

    /// The number of the first message that is not in it.
    pub fn next(&self) -> FeedSequence {
        self.image.next_sequence()
    }

    /// How many snapshots are being read.
    pub fn readers(&self) -> usize {
        self.readers
    }

    /// Whether an instrument is listed in it.
    pub fn lists(&self, instrument: InstrumentId) -> bool {
        self.image.books().book(instrument).is_some()
    }

    /// Begins a snapshot; the shadow stands still until it is ended.
    pub fn begin(&mut self, flow: Flow) -> SnapshotWalk {
        self.readers += 1;
        SnapshotWalk {
            flow,
            generation: self.generation,
            step: Step::Book(None),
        }
    }

    /// Ends a snapshot, finished or not.
    ///
    /// # Panics
    /// If none is being read: our own fault.
    pub fn end(&mut self, walk: SnapshotWalk) {
        if walk.generation == self.generation {
            assert!(self.readers > 0);
            self.readers -= 1;
        }
    }

    /// Makes the shadow anew from the books as they are, if the history no longer holds what comes
    /// next: the one stall there is, and only where a single frame is larger than what is left of
    /// the history. Snapshots under way are void.
    ///
    /// # Errors
    /// [`ImageFault`] if the books contradict themselves: our own fault.
    pub fn mend(&mut self, books: &Books, history: &History) -> Result<(), ImageFault> {
        if self.next() >= history.oldest() {
            return Ok(());
        }
        let (depth, time) = (self.image.depth(), self.image.time());
        self.image = FeedImage::of_books(depth, books, history.next(), time)?;
        self.readers = 0;
        self.generation += 1;
        Ok(())
    }

    /// Applies up to `messages` messages of the history while nobody reads; gives how many.
    ///
    /// # Errors
    /// [`ImageFault`] if the feed contradicts itself: our own fault.
    pub fn catch_up(&mut self, history: &History, messages: usize) -> Result<usize, ImageFault> {
        if self.readers > 0 {
            return Ok(0);
        }
        let mut room = [0; MESSAGE_BYTES_MAX];
        for applied in 0..messages {
            let Some(message) = history.message(self.next(), &mut room) else {
                return Ok(applied);
            };
            self.image.apply(message)?;
        }
        Ok(messages)
    }

    /// Writes the next pieces of a snapshot, as many as fit.
    pub fn write(&self, walk: &mut SnapshotWalk, buffer: &mut SendBuffer) -> SnapshotProgress {
        if walk.generation != self.generation {
            return SnapshotProgress::Void;
        }
        loop {
            // The largest message that one step writes fits.
            if buffer.room() < STEP_BYTES_MAX {
                return SnapshotProgress::More;
            }
            walk.step = match walk.step {
                Step::Book(after) => self.begin_book(walk.flow, after, buffer),
                Step::Order(instrument, mut cursor) => match self.image.books().step(&mut cursor) {
                    Some(order) => {
                        write(buffer, &order_message(&order));
                        Step::Order(instrument, cursor)
                    }
                    None => self.end_book(walk.flow, instrument, buffer),
                },
                Step::Level(instrument, mut cursor) => {
                    match self.image.books().step_level(&mut cursor) {
                        Some((side, level)) => {
                            let message = PriceLevel {
                                action: LevelAction::Added.into(),
                                ..level_message(self.image.time(), instrument, side, level)
                            };
                            write(buffer, &message);
                            Step::Level(instrument, cursor)
                        }
                        None => self.end_book(walk.flow, instrument, buffer),
                    }
                }
                Step::Finish => {
                    let message = FeedHeartbeat {
                        next_sequence: self.next(),
                        end_sequence: self.next(),
                        time: self.image.time(),
                        ..FeedHeartbeat::blank()
                    };
                    write(buffer, &message);
                    return SnapshotProgress::Done { next: self.next() };
                }
            };
        }
    }

    fn begin_book(&self, flow: Flow, after: Option<InstrumentId>, buffer: &mut SendBuffer) -> Step {
        let books = self.image.books();
        let instrument = match flow {
            Flow::One(instrument) => Some(instrument),
            Flow::All => books.instrument_after(after),
        };
        let found = instrument.and_then(|id| books.book(id).map(|book| (id, book)));
        let Some((instrument, book)) = found else {
            return Step::Finish;
        };
        if flow == Flow::All && book.phase() == Phase::Expired && book.orders() == 0 {
            return Step::Book(Some(instrument));
        }
        write(buffer, book.definition());
        if *book.state() != TradingState::LISTED {
            let told = book
                .state()
                .message(FeedSequence::NONE, Nanos(0), instrument);
            write(buffer, &told);
        }
        write_extras(buffer, book.extras());
        if self.image.depth() == FeedDepth::Top {
            write(
                buffer,
                &top_message(self.image.time(), instrument, book.top()),
            );
        }
        let message = SnapshotBegin {
            last_sequence: self.last(),
            time: self.image.time(),
            instrument,
            orders: self.parts_of(book),
            ..SnapshotBegin::blank()
        };
        write(buffer, &message);
        match self.image.depth() {
            FeedDepth::Orders => Step::Order(instrument, BookCursor::new(instrument)),
            FeedDepth::Levels => Step::Level(instrument, LevelCursor::new(instrument)),
            FeedDepth::Top => self.end_book(flow, instrument, buffer),
        }
    }

    /// How many orders or levels a book is told in.
    fn parts_of(&self, book: &Book) -> u32 {
        match self.image.depth() {
            FeedDepth::Orders => book.orders(),
            FeedDepth::Levels => book.level_count(),
            FeedDepth::Top => 0,
        }
    }

    fn end_book(&self, flow: Flow, instrument: InstrumentId, buffer: &mut SendBuffer) -> Step {
        let book = self.image.books().book(instrument);
        let orders = book.map_or(0, |book| self.parts_of(book));
        let message = SnapshotEnd {
            last_sequence: self.last(),
            instrument,
            orders,
            ..SnapshotEnd::blank()
        };
        write(buffer, &message);
        match flow {
            Flow::All => Step::Book(Some(instrument)),
            Flow::One(_) => Step::Finish,
        }
    }

    fn last(&self) -> FeedSequence {
        FeedSequence(self.next().0 - 1)
    }
}

/// Messages that one step may write: of a book of best prices all, from its definition to its end.
const STEP_MESSAGES_MAX: usize = 10;

/// Room that one step may need.
const STEP_BYTES_MAX: usize = STEP_MESSAGES_MAX * (FRAMING_BYTES + MESSAGE_BYTES_MAX);

// An empty buffer has room for a step.
const _: () = assert!(STEP_BYTES_MAX <= SEND_BYTES_MIN);

/// How far one client has read a snapshot.
#[derive(Debug)]
pub struct SnapshotWalk {
    flow: Flow,
    generation: u64,
    step: Step,
}

impl SnapshotWalk {
    /// What is being read.
    pub fn flow(&self) -> Flow {
        self.flow
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The book after this instrument is next.
    Book(Option<InstrumentId>),
    Order(InstrumentId, BookCursor),
    Level(InstrumentId, LevelCursor),
    Finish,
}

/// Whether a snapshot is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotProgress {
    /// The buffer is full.
    More,
    /// The shadow was made anew: the snapshot cannot be completed.
    Void,
    /// All is written; updates go on with this number.
    Done {
        /// The number of the first update after the snapshot.
        next: FeedSequence,
    },
}

fn order_message(order: &RestingOrder) -> SnapshotOrder {
    SnapshotOrder {
        order: order.order,
        price: order.price,
        quantity: order.quantity,
        instrument: order.instrument,
        side: order.side.into(),
        ..SnapshotOrder::blank()
    }
}

fn write_extras(buffer: &mut SendBuffer, extras: &Extras) {
    if let Some(statistics) = &extras.statistics {
        write(buffer, statistics);
    }
    if let Some(indicative) = &extras.indicative {
        write(buffer, indicative);
    }
    if let Some(interval) = &extras.interval {
        write(buffer, interval);
    }
    if let Some(band) = &extras.band {
        write(buffer, band);
    }
    if let Some(breaker) = &extras.breaker {
        write(buffer, breaker);
    }
}

fn write(buffer: &mut SendBuffer, message: &impl Message) {
    let written = buffer.push(message.bytes());
    assert!(written, "a step checks its room first");
}

#[cfg(test)]
mod tests {
    use exahour_wire::events::{InstrumentListed, OrderAccepted};
    use exahour_wire::ids::{CommandSequence, EventSequence, OrderId};
    use exahour_wire::units::{Price, Quantity};

    use super::*;
    use crate::feed::history::HISTORY_BYTES_MIN;
    use crate::feed::publisher::Publisher;
    use exahour_wire::events::FrameEnd;

    fn orders(events: std::ops::RangeInclusive<u64>) -> Vec<u8> {
        let mut batch = Vec::new();
        for event in events {
            let accepted = OrderAccepted {
                event: EventSequence(event),
                command: CommandSequence(event),
                order: OrderId(event),
                price: Price(event as i64 % 7 + 1),
                quantity: Quantity(event),
                instrument: InstrumentId(1),
                side: exahour_wire::codes::Side::Buy.into(),
                ..OrderAccepted::blank()
            };
            batch.extend_from_slice(accepted.bytes());
        }
        batch
    }

    #[test]
    fn a_snapshot_stands_still_and_is_void_once_the_history_ran_out() {
        let mut publisher = Publisher::new(HISTORY_BYTES_MIN, 0);
        let mut shadow = Shadow::new(FeedDepth::Orders, 0);
        let listed = InstrumentListed {
            event: EventSequence(1),
            instrument: InstrumentId(1),
            ..InstrumentListed::blank()
        };
        publisher
            .on_batch(listed.bytes(), FrameEnd::Command)
            .unwrap();
        publisher
            .on_batch(&orders(2..=300), FrameEnd::Command)
            .unwrap();
        shadow
            .catch_up(publisher.history(FeedDepth::Orders), 10_000)
            .unwrap();
        let next = shadow.next();
        assert_eq!(next, publisher.history(FeedDepth::Orders).next());

        let mut walk = shadow.begin(Flow::All);
        let mut buffer = SendBuffer::new(0);
        assert_eq!(shadow.write(&mut walk, &mut buffer), SnapshotProgress::More);
        publisher
            .on_batch(&orders(301..=310), FrameEnd::Command)
            .unwrap();
        shadow
            .mend(publisher.books(), publisher.history(FeedDepth::Orders))
            .unwrap();
        assert_eq!(
            shadow.catch_up(publisher.history(FeedDepth::Orders), 10_000),
            Ok(0)
        );
        assert_eq!(
            (shadow.next(), shadow.readers()),
            (next, 1),
            "it stands still"
        );

        publisher
            .on_batch(&orders(311..=2000), FrameEnd::Command)
            .unwrap();
        assert!(shadow.next() < publisher.history(FeedDepth::Orders).oldest());
        shadow
            .mend(publisher.books(), publisher.history(FeedDepth::Orders))
            .unwrap();
        buffer.clear();
        assert_eq!(shadow.write(&mut walk, &mut buffer), SnapshotProgress::Void);
        shadow.end(walk);
        assert_eq!(shadow.readers(), 0);

        let mut walk = shadow.begin(Flow::All);
        let next = publisher.history(FeedDepth::Orders).next();
        loop {
            buffer.clear();
            if let SnapshotProgress::Done { next: told } = shadow.write(&mut walk, &mut buffer) {
                assert_eq!(told, next);
                break;
            }
        }
        let books = shadow.image.books().orders_of(InstrumentId(1));
        assert!(books.eq(publisher.books().orders_of(InstrumentId(1))));
    }
}
