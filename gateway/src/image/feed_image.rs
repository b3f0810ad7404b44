//! The books as a client of the feed holds them.
//!
//! Called by `feed::client` with each message received, by the publisher's own shadow, and by
//! tests. It says itself what to ask for next.
//!
//! ```text
//! Empty --ask--> Snapshot --FeedHeartbeat--> Whole --gap--> Whole (ask for updates again)
//!   ^                |  fault                  |  contradiction, or the gap is too old
//!   +----------------+-------------------------+
//! ```
//! Always holds: a `Whole` image is exactly the book after the message before `next_sequence`.

use exahour_wire::codes::{FeedRejectCode, FeedRequestKind};
use exahour_wire::ids::{FeedSequence, InstrumentId};
use exahour_wire::market_data::{
    AuctionTrade, FeedHeartbeat, FeedReject, FeedRequest, IndicativeAuction, InstrumentDefinition,
    InstrumentPhase, OrderAdded, OrderDeleted, OrderExecuted, OrderShrunk, SnapshotBegin,
    SnapshotEnd, SnapshotOrder, TopOfBook, TradeReport,
};
use exahour_wire::message::{Header, Message, peek_header};
use exahour_wire::units::Nanos;

use super::books::{Books, Top};
use super::event_image::decode;
use super::fault::ImageFault;
use super::queue::RestingOrder;

/// Which part of the feed an image follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Every instrument: numbers are contiguous, so a hole is seen at once.
    All,
    /// One instrument: its numbers only grow; a hole shows in the best prices or the orders.
    One(InstrumentId),
}

impl Flow {
    /// The instrument that a request names: zero for all.
    pub fn instrument(self) -> InstrumentId {
        match self {
            Flow::All => InstrumentId::NONE,
            Flow::One(instrument) => instrument,
        }
    }

    /// The flow that a request names.
    pub fn of_request(instrument: InstrumentId) -> Self {
        match instrument {
            InstrumentId::NONE => Flow::All,
            one => Flow::One(one),
        }
    }
}

/// What a message did to the image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Applied {
    /// The image moved on by one update.
    Update,
    /// It was a part of a snapshot.
    Snapshot,
    /// It was known already.
    Duplicate,
    /// It said that the image is complete up to here.
    Heartbeat,
    /// The exchange refused a request.
    Refused(FeedReject),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Empty,
    Snapshot {
        at: Option<FeedSequence>,
        open: Option<OpenBook>,
    },
    Whole,
}

/// A snapshot of one book that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OpenBook {
    instrument: InstrumentId,
    expected: u32,
    got: u32,
}

/// The number and time that every update starts with, header included.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct UpdatePrefix {
    header: Header,
    sequence: FeedSequence,
    time: Nanos,
}

/// The books of a client, and how far they have come.
#[derive(Debug)]
pub struct FeedImage {
    books: Books,
    flow: Flow,
    state: State,
    next: FeedSequence,
    time: Nanos,
}

impl FeedImage {
    /// An image that holds nothing yet; it asks for a snapshot first.
    pub fn new(flow: Flow) -> Self {
        FeedImage {
            books: Books::new(),
            flow,
            state: State::Empty,
            next: FeedSequence::NONE,
            time: Nanos(0),
        }
    }

    /// The image of all instruments before the first message of the feed, which is whole.
    pub fn from_start() -> Self {
        Self::from_start_with_room(0)
    }

    /// The same with memory reserved for as many orders.
    pub fn from_start_with_room(orders: usize) -> Self {
        FeedImage {
            books: Books::with_room(orders),
            state: State::Whole,
            next: FeedSequence(1),
            ..Self::new(Flow::All)
        }
    }

    /// The image of books as they are before message `next`, copied order by order.
    ///
    /// # Errors
    /// [`ImageFault`] if the books contradict themselves.
    pub fn of_books(books: &Books, next: FeedSequence, time: Nanos) -> Result<Self, ImageFault> {
        let mut image = FeedImage {
            next,
            time,
            ..Self::from_start_with_room(books.orders_room())
        };
        for (instrument, book) in books.all() {
            image.books.list(*book.definition())?;
            let (phase, settlement_price) = (book.phase(), book.settlement_price());
            image.books.set_phase(instrument, phase, settlement_price)?;
            for order in books.orders_of(instrument) {
                image.books.add(order)?;
            }
        }
        Ok(image)
    }

    /// The books.
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// The part of the feed it follows.
    pub fn flow(&self) -> Flow {
        self.flow
    }

    /// Whether it holds exactly the book after the message before [`FeedImage::next_sequence`].
    pub fn whole(&self) -> bool {
        self.state == State::Whole
    }

    /// The number of the next update, while whole.
    pub fn next_sequence(&self) -> FeedSequence {
        self.next
    }

    /// The time of the last message that carried one.
    pub fn time(&self) -> Nanos {
        self.time
    }

    /// What to ask the exchange for: updates from where the image stands, or a snapshot.
    ///
    /// Asking for a snapshot empties the image.
    pub fn ask(&mut self) -> FeedRequest {
        let kind = if self.whole() {
            FeedRequestKind::UpdatesFrom
        } else {
            self.empty();
            self.state = State::Snapshot {
                at: None,
                open: None,
            };
            FeedRequestKind::SnapshotThenUpdates
        };
        FeedRequest {
            from_sequence: self.next,
            instrument: self.flow.instrument(),
            kind: kind.into(),
            ..FeedRequest::blank()
        }
    }

    /// Applies the next message received.
    ///
    /// # Errors
    /// [`ImageFault`] where messages were missed. After it [`FeedImage::ask`] says how to recover.
    pub fn apply(&mut self, message: &[u8]) -> Result<Applied, ImageFault> {
        let applied = self.try_apply(message);
        match applied {
            // The image before the gap is still right.
            Err(ImageFault::FeedGap { .. }) if self.whole() => {}
            Err(_) => self.empty(),
            Ok(Applied::Refused(reject)) => {
                if reject.code.decode() == Some(FeedRejectCode::OutOfRange) {
                    self.empty();
                }
            }
            Ok(_) => {}
        }
        applied
    }

    /// Forgets everything: the next thing to ask for is a snapshot.
    pub fn empty(&mut self) {
        self.books.clear();
        self.state = State::Empty;
        self.next = FeedSequence::NONE;
    }

    fn try_apply(&mut self, message: &[u8]) -> Result<Applied, ImageFault> {
        let template = peek_header(message).map_or(0, |header| header.template_id);
        match template {
            FeedHeartbeat::TEMPLATE_ID => self.on_heartbeat(&read(message)?),
            FeedReject::TEMPLATE_ID => Ok(Applied::Refused(read(message)?)),
            SnapshotBegin::TEMPLATE_ID => self.on_begin(&read(message)?),
            SnapshotOrder::TEMPLATE_ID => self.on_order(&read(message)?),
            SnapshotEnd::TEMPLATE_ID => self.on_end(&read(message)?),
            _ => self.on_numbered(template, message),
        }
    }

    fn on_heartbeat(&mut self, heartbeat: &FeedHeartbeat) -> Result<Applied, ImageFault> {
        self.time = heartbeat.time;
        let got = heartbeat.next_sequence;
        match self.state {
            State::Empty => {}
            State::Snapshot { at, open } => {
                let behind = at.is_some_and(|at| got.0 != at.0 + 1);
                if open.is_some() || behind {
                    return Err(out_of_place::<FeedHeartbeat>());
                }
                self.state = State::Whole;
                self.next = got;
            }
            State::Whole if got <= self.next => {}
            State::Whole => match self.flow {
                Flow::All => {
                    return Err(ImageFault::FeedGap {
                        expected: self.next,
                        got,
                    });
                }
                Flow::One(_) => self.next = got,
            },
        }
        Ok(Applied::Heartbeat)
    }

    fn on_begin(&mut self, begin: &SnapshotBegin) -> Result<Applied, ImageFault> {
        let State::Snapshot { at, open: None } = self.state else {
            return Err(out_of_place::<SnapshotBegin>());
        };
        if at.is_some_and(|at| at != begin.last_sequence) {
            return Err(out_of_place::<SnapshotBegin>());
        }
        if self.books.book(begin.instrument).is_none() {
            return Err(ImageFault::UnknownInstrument(begin.instrument));
        }
        self.time = begin.time;
        let open = OpenBook {
            instrument: begin.instrument,
            expected: begin.orders,
            got: 0,
        };
        self.state = State::Snapshot {
            at: Some(begin.last_sequence),
            open: Some(open),
        };
        Ok(Applied::Snapshot)
    }

    fn on_order(&mut self, order: &SnapshotOrder) -> Result<Applied, ImageFault> {
        let State::Snapshot {
            open: Some(open), ..
        } = &mut self.state
        else {
            return Err(out_of_place::<SnapshotOrder>());
        };
        if open.instrument != order.instrument {
            return Err(out_of_place::<SnapshotOrder>());
        }
        open.got += 1;
        self.books.add(RestingOrder {
            order: order.order,
            instrument: order.instrument,
            side: decode(order.side, SnapshotOrder::TEMPLATE_ID)?,
            price: order.price,
            quantity: order.quantity,
        })?;
        Ok(Applied::Snapshot)
    }

    fn on_end(&mut self, end: &SnapshotEnd) -> Result<Applied, ImageFault> {
        let State::Snapshot {
            at,
            open: Some(open),
        } = self.state
        else {
            return Err(out_of_place::<SnapshotEnd>());
        };
        if open.instrument != end.instrument {
            return Err(out_of_place::<SnapshotEnd>());
        }
        let OpenBook {
            instrument,
            expected,
            got,
        } = open;
        if got != expected || got != end.orders {
            return Err(ImageFault::SnapshotCount {
                instrument,
                expected,
                got,
            });
        }
        self.state = State::Snapshot { at, open: None };
        Ok(Applied::Snapshot)
    }

    /// A message with a number: an update, or a part of a snapshot where the number is zero.
    fn on_numbered(&mut self, template: u16, message: &[u8]) -> Result<Applied, ImageFault> {
        let prefix: UpdatePrefix = message
            .get(..size_of::<UpdatePrefix>())
            .map(bytemuck::pod_read_unaligned)
            .ok_or(ImageFault::OutOfPlace { template })?;
        if prefix.sequence == FeedSequence::NONE {
            return match (self.state, template) {
                (
                    State::Snapshot { open: None, .. },
                    InstrumentDefinition::TEMPLATE_ID | InstrumentPhase::TEMPLATE_ID,
                ) => self.change(template, message).map(|()| Applied::Snapshot),
                _ => Err(ImageFault::OutOfPlace { template }),
            };
        }
        if self.state != State::Whole {
            return Err(ImageFault::OutOfPlace { template });
        }
        let (expected, got) = (self.next, prefix.sequence);
        if got < expected {
            return Ok(Applied::Duplicate);
        }
        if got > expected && self.flow == Flow::All {
            return Err(ImageFault::FeedGap { expected, got });
        }
        self.change(template, message)?;
        self.next = FeedSequence(got.0 + 1);
        self.time = prefix.time;
        Ok(Applied::Update)
    }

    fn change(&mut self, template: u16, message: &[u8]) -> Result<(), ImageFault> {
        match template {
            InstrumentDefinition::TEMPLATE_ID => self.books.list(read(message)?),
            OrderAdded::TEMPLATE_ID => {
                let added: OrderAdded = read(message)?;
                self.books.add(RestingOrder {
                    order: added.order,
                    instrument: added.instrument,
                    side: decode(added.side, template)?,
                    price: added.price,
                    quantity: added.quantity,
                })
            }
            OrderExecuted::TEMPLATE_ID => {
                let executed: OrderExecuted = read(message)?;
                let was = self.books.shrink(executed.order, executed.leaves)?;
                match was.quantity.0 - executed.leaves.0 == executed.quantity.0 {
                    true => Ok(()),
                    false => Err(ImageFault::WrongSize(executed.order)),
                }
            }
            OrderShrunk::TEMPLATE_ID => {
                let shrunk: OrderShrunk = read(message)?;
                self.books.shrink(shrunk.order, shrunk.leaves).map(|_| ())
            }
            OrderDeleted::TEMPLATE_ID => {
                let deleted: OrderDeleted = read(message)?;
                self.books.remove(deleted.order).map(|_| ())
            }
            TopOfBook::TEMPLATE_ID => self.compare_top(&read(message)?),
            TradeReport::TEMPLATE_ID
            | AuctionTrade::TEMPLATE_ID
            | IndicativeAuction::TEMPLATE_ID => Ok(()),
            InstrumentPhase::TEMPLATE_ID => {
                let told: InstrumentPhase = read(message)?;
                let phase = decode(told.phase, template)?;
                self.books
                    .set_phase(told.instrument, phase, told.settlement_price)
            }
            _ => Err(ImageFault::OutOfPlace { template }),
        }
    }

    /// What the exchange says is best must be best here: a hole in a filtered flow shows so.
    fn compare_top(&self, told: &TopOfBook) -> Result<(), ImageFault> {
        let book = self.books.book(told.instrument);
        let book = book.ok_or(ImageFault::UnknownInstrument(told.instrument))?;
        let top = Top {
            bid_price: told.bid_price,
            bid_quantity: told.bid_quantity,
            ask_price: told.ask_price,
            ask_quantity: told.ask_quantity,
        };
        match book.top() == top {
            true => Ok(()),
            false => Err(ImageFault::TopDiffers(told.instrument)),
        }
    }
}

fn out_of_place<M: Message>() -> ImageFault {
    ImageFault::OutOfPlace {
        template: M::TEMPLATE_ID,
    }
}

fn read<M: Message>(message: &[u8]) -> Result<M, ImageFault> {
    M::read(message).ok_or(out_of_place::<M>())
}
