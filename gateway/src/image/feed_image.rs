//! The books as a client of the feed holds them, at one depth.
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

use exahour_wire::codes::{FeedDepth, FeedRejectCode, FeedRequestKind, LevelAction};
use exahour_wire::ids::{FeedSequence, InstrumentId};
use exahour_wire::market_data::{
    AuctionTrade, CircuitBreaker, FeedHeartbeat, FeedRange, FeedReject, FeedRequest, FeedSource,
    IndicativeAuction, InstrumentDefinition, InstrumentPhase, IntervalPrice, OrderAdded,
    OrderDeleted, OrderExecuted, OrderShrunk, PriceBand, PriceLevel, SnapshotBegin, SnapshotEnd,
    SnapshotOrder, Statistics, TopOfBook, TradeBust, TradeCorrection, TradeReport,
};
use exahour_wire::message::{Header, Message, peek_header};
use exahour_wire::units::Nanos;

use super::books::{Books, Extras, LevelCursor, LevelView, Top};
use super::event_image::decode;
use super::fault::ImageFault;
use super::queue::RestingOrder;
use super::source::Source;
use super::trading_state::TradingState;

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
    /// It said which messages follow again.
    Range,
    /// It said whose feed this is, and the image goes on.
    Source,
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
    depth: FeedDepth,
    flow: Flow,
    state: State,
    next: FeedSequence,
    time: Nanos,
    source: Option<Source>,
}

impl FeedImage {
    /// An image that holds nothing yet; it asks for a snapshot first.
    pub fn new(depth: FeedDepth, flow: Flow) -> Self {
        FeedImage {
            books: Books::at_depth(depth, 0),
            depth,
            flow,
            state: State::Empty,
            next: FeedSequence::NONE,
            time: Nanos(0),
            source: None,
        }
    }

    /// The image of all instruments before the first message of the feed, which is whole.
    pub fn from_start(depth: FeedDepth) -> Self {
        Self::from_start_with_room(depth, 0)
    }

    /// The same with memory reserved for as many orders, where the depth has orders.
    pub fn from_start_with_room(depth: FeedDepth, orders: usize) -> Self {
        FeedImage {
            books: Books::at_depth(depth, orders),
            state: State::Whole,
            next: FeedSequence(1),
            ..Self::new(depth, Flow::All)
        }
    }

    /// The image, at some depth, of books of orders as they are before message `next`.
    ///
    /// # Errors
    /// [`ImageFault`] if the books contradict themselves.
    pub fn of_books(
        depth: FeedDepth,
        books: &Books,
        next: FeedSequence,
        time: Nanos,
    ) -> Result<Self, ImageFault> {
        let mut image = FeedImage {
            next,
            time,
            ..Self::from_start_with_room(depth, books.orders_room())
        };
        for (instrument, book) in books.all() {
            image.books.list(*book.definition())?;
            image.books.set_state(instrument, *book.state())?;
            image.books.book_mut(instrument)?.extras = *book.extras();
            match depth {
                FeedDepth::Orders => {
                    for order in books.orders_of(instrument) {
                        image.books.add(order)?;
                    }
                }
                FeedDepth::Levels => {
                    let mut levels = LevelCursor::new(instrument);
                    while let Some((side, level)) = books.step_level(&mut levels) {
                        let added = LevelAction::Added;
                        image.books.set_level(instrument, side, level, added)?;
                    }
                }
                FeedDepth::Top => image.books.book_mut(instrument)?.told = book.top(),
            }
        }
        Ok(image)
    }

    /// The books.
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// How deep it looks into the books.
    pub fn depth(&self) -> FeedDepth {
        self.depth
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

    /// Whose feed it is, as told last.
    pub fn source(&self) -> Option<Source> {
        self.source
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
            depth: self.depth.into(),
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
            FeedSource::TEMPLATE_ID => self.on_source(&read(message)?),
            FeedRange::TEMPLATE_ID => Ok(Applied::Range),
            FeedReject::TEMPLATE_ID => Ok(Applied::Refused(read(message)?)),
            SnapshotBegin::TEMPLATE_ID => self.on_begin(&read(message)?),
            SnapshotOrder::TEMPLATE_ID => self.on_order(&read(message)?),
            SnapshotEnd::TEMPLATE_ID => self.on_end(&read(message)?),
            _ => self.on_numbered(template, message),
        }
    }

    /// Numbers mean the same for ever within an exchange. A node that lost the end of its journal is the
    /// exception: what it had sent beyond where it opened again does not count.
    fn on_source(&mut self, told: &FeedSource) -> Result<Applied, ImageFault> {
        let source = Source::of_connection(told);
        let opened_at = match self.depth {
            FeedDepth::Orders => told.orders_sequence,
            FeedDepth::Top => told.top_sequence,
            FeedDepth::Levels => told.levels_sequence,
        };
        let other = self.source.is_some_and(|known| {
            known.exchange != source.exchange || known != source && self.next > opened_at
        });
        self.source = Some(source);
        match other && self.whole() {
            true => Err(ImageFault::OtherSource),
            false => Ok(Applied::Source),
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
        if self.depth != FeedDepth::Orders {
            return Err(out_of_place::<SnapshotOrder>());
        }
        self.books.add(RestingOrder {
            order: order.order,
            instrument: order.instrument,
            side: decode(order.side, SnapshotOrder::TEMPLATE_ID)?,
            price: order.price,
            quantity: order.quantity,
        })?;
        Ok(Applied::Snapshot)
    }

    /// A level within a snapshot.
    fn on_snapshot_level(&mut self, message: &[u8]) -> Result<Applied, ImageFault> {
        let told: PriceLevel = read(message)?;
        match &mut self.state {
            State::Snapshot {
                open: Some(open), ..
            } if open.instrument == told.instrument => open.got += 1,
            _ => return Err(out_of_place::<PriceLevel>()),
        }
        self.on_level(&told).map(|()| Applied::Snapshot)
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
            return self.on_snapshot_part(template, message);
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

    /// A part of a snapshot that is also an update, without its number.
    fn on_snapshot_part(&mut self, template: u16, message: &[u8]) -> Result<Applied, ImageFault> {
        if template == PriceLevel::TEMPLATE_ID {
            return self.on_snapshot_level(message);
        }
        let between = matches!(self.state, State::Snapshot { open: None, .. });
        let part = match template {
            InstrumentDefinition::TEMPLATE_ID
            | InstrumentPhase::TEMPLATE_ID
            | Statistics::TEMPLATE_ID
            | IndicativeAuction::TEMPLATE_ID
            | IntervalPrice::TEMPLATE_ID
            | PriceBand::TEMPLATE_ID
            | CircuitBreaker::TEMPLATE_ID => true,
            TopOfBook::TEMPLATE_ID => self.depth == FeedDepth::Top,
            _ => false,
        };
        match between && part {
            true => self.change(template, message).map(|()| Applied::Snapshot),
            false => Err(ImageFault::OutOfPlace { template }),
        }
    }

    fn change(&mut self, template: u16, message: &[u8]) -> Result<(), ImageFault> {
        match (template, self.depth) {
            (InstrumentDefinition::TEMPLATE_ID, _) => self.books.list(read(message)?),
            (InstrumentPhase::TEMPLATE_ID, _) => {
                let told: InstrumentPhase = read(message)?;
                let state = TradingState::told(&told)?;
                self.books.set_state(told.instrument, state)
            }
            (
                TradeReport::TEMPLATE_ID
                | AuctionTrade::TEMPLATE_ID
                | TradeBust::TEMPLATE_ID
                | TradeCorrection::TEMPLATE_ID,
                _,
            ) => Ok(()),
            (
                Statistics::TEMPLATE_ID
                | IndicativeAuction::TEMPLATE_ID
                | IntervalPrice::TEMPLATE_ID
                | PriceBand::TEMPLATE_ID
                | CircuitBreaker::TEMPLATE_ID,
                _,
            ) => self.change_extras(template, message),
            (TopOfBook::TEMPLATE_ID, FeedDepth::Orders) => self.compare_top(&read(message)?),
            (TopOfBook::TEMPLATE_ID, FeedDepth::Top) => {
                let told: TopOfBook = read(message)?;
                self.books.book_mut(told.instrument)?.told = top_of(&told);
                Ok(())
            }
            (PriceLevel::TEMPLATE_ID, FeedDepth::Levels) => self.on_level(&read(message)?),
            (_, FeedDepth::Orders) => self.change_order(template, message),
            _ => Err(ImageFault::OutOfPlace { template }),
        }
    }

    /// What is public of an instrument beside its book; kept without the number.
    fn change_extras(&mut self, template: u16, message: &[u8]) -> Result<(), ImageFault> {
        let sequence = FeedSequence::NONE;
        match template {
            Statistics::TEMPLATE_ID => {
                let told: Statistics = read(message)?;
                self.extras(told.instrument)?.statistics = Some(Statistics { sequence, ..told });
            }
            IndicativeAuction::TEMPLATE_ID => {
                let told: IndicativeAuction = read(message)?;
                self.extras(told.instrument)?.indicative =
                    Some(IndicativeAuction { sequence, ..told });
            }
            PriceBand::TEMPLATE_ID => self.books.set_band(read(message)?)?,
            CircuitBreaker::TEMPLATE_ID => self.books.set_breaker(read(message)?)?,
            _ => {
                let told: IntervalPrice = read(message)?;
                self.extras(told.instrument)?.interval = Some(IntervalPrice { sequence, ..told });
            }
        }
        Ok(())
    }

    fn extras(&mut self, instrument: InstrumentId) -> Result<&mut Extras, ImageFault> {
        Ok(&mut self.books.book_mut(instrument)?.extras)
    }

    fn on_level(&mut self, told: &PriceLevel) -> Result<(), ImageFault> {
        if self.depth != FeedDepth::Levels {
            return Err(out_of_place::<PriceLevel>());
        }
        let side = decode(told.side, PriceLevel::TEMPLATE_ID)?;
        let action = decode(told.action, PriceLevel::TEMPLATE_ID)?;
        let level = LevelView {
            price: told.price,
            quantity: told.quantity,
            orders: told.orders,
        };
        self.books.set_level(told.instrument, side, level, action)
    }

    fn change_order(&mut self, template: u16, message: &[u8]) -> Result<(), ImageFault> {
        match template {
            OrderAdded::TEMPLATE_ID => {
                let added: OrderAdded = read(message)?;
                let resting = RestingOrder {
                    order: added.order,
                    instrument: added.instrument,
                    side: decode(added.side, template)?,
                    price: added.price,
                    quantity: added.quantity,
                };
                self.books.add(resting).map(|_| ())
            }
            OrderExecuted::TEMPLATE_ID => {
                let executed: OrderExecuted = read(message)?;
                let (was, _) = self.books.shrink(executed.order, executed.leaves)?;
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
            _ => Err(ImageFault::OutOfPlace { template }),
        }
    }

    /// What the exchange says is best must be best here: a hole in a filtered flow shows so.
    fn compare_top(&self, told: &TopOfBook) -> Result<(), ImageFault> {
        let book = self.books.book(told.instrument);
        let book = book.ok_or(ImageFault::UnknownInstrument(told.instrument))?;
        match book.top() == top_of(told) {
            true => Ok(()),
            false => Err(ImageFault::TopDiffers(told.instrument)),
        }
    }
}

fn top_of(told: &TopOfBook) -> Top {
    Top {
        bid_price: told.bid_price,
        bid_quantity: told.bid_quantity,
        ask_price: told.ask_price,
        ask_quantity: told.ask_quantity,
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
