//! What the market data port answers: snapshots, updates, gaps, refusals.
//!
//! Called by the market data agent with batches of events and, through [`Serve`], for each client.
//!
//! ```text
//! Silent --SnapshotThenUpdates--> Queued --shadow--> Snapshot --last book--> Live
//!    +--------------------UpdatesFrom------------------------------------------^
//! ```
//! FeedRangeRequest: Range, then Answered once all of it is written
//! Each depth has a history, numbers and a shadow of its own.
//! The first request on a connection is answered with FeedSource before anything else.
//! A new request on a connection replaces the one before; a refused one leaves it as it was.
//!
//! Always holds: who asks too often is refused by name, whatever it asks for; a live client is only a number
//! in the history, so it costs nothing while it does not read; it is cut off when it is too far behind; who takes
//! nothing of a snapshot or a range keeps its place no longer than [`STALL_MAX`].
//! Does not: touch sockets or the clock.

use std::net::IpAddr;

use exahour_wire::codes::{FeedDepth, FeedRejectCode, FeedRequestKind, Raw};
use exahour_wire::events::FrameEnd;
use exahour_wire::ids::{FeedSequence, InstrumentId};
use exahour_wire::market_data::{
    FeedHeartbeat, FeedRange, FeedRangeRequest, FeedReject, FeedRequest, FeedSource,
};
use exahour_wire::message::{Message, peek_length};
use exahour_wire::units::Nanos;

use super::allowance::{Allowances, FEED_REQUEST_COSTS, RANGE_MESSAGES_MAX, Requests};
use super::peers::{HEARTBEAT_AFTER, Peer, REQUEST_WITHIN, Serve, Verdict};
use super::publisher::Publisher;
use super::snapshot::{Shadow, SnapshotProgress, SnapshotWalk};
use super::updates::DEPTHS;
use crate::clock::Steady;
use crate::image::{Flow, ImageFault, Source};

/// Who takes no byte of a snapshot or a range for so long is cut off: the one holds the shadow still, the other
/// a place among the connections.
const STALL_MAX: Nanos = Nanos(5 * Nanos::SECOND.0);

/// A snapshot may take so long while others wait for the shadow to move on.
const SNAPSHOT_TIME_MAX: Nanos = Nanos(30 * Nanos::SECOND.0);

/// Messages that the shadow catches up in a turn, at least.
const CATCH_UP_MESSAGES: usize = 4_096;

/// What the port keeps for a connection.
#[derive(Debug, Default)]
pub struct Client {
    stage: Stage,
    named: Named,
    requests: Requests,
}

/// Whether a connection has been told whose feed it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Named {
    #[default]
    NotYet,
    Yes,
}

/// Where a client stands.
#[derive(Debug, Default)]
enum Stage {
    /// It has not asked for anything.
    #[default]
    Silent,
    /// It waits for a snapshot to begin.
    Queued(Wanted),
    /// It is being sent a snapshot.
    Snapshot {
        /// Of what.
        wanted: Wanted,
        /// How far it is.
        walk: SnapshotWalk,
        /// When it began.
        since: Steady,
    },
    /// It is sent updates.
    Live {
        /// The next one.
        next: FeedSequence,
        /// Of what.
        wanted: Wanted,
    },
    /// It is sent messages that it lost; the requests behind wait.
    Range {
        /// Of which feed.
        depth: FeedDepth,
        /// The next one.
        next: FeedSequence,
        /// The one after the last.
        end: FeedSequence,
        /// When it began.
        since: Steady,
    },
    /// It was sent what it had lost, and may ask again.
    Answered {
        /// Since when.
        since: Steady,
    },
}

/// What a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    /// How deep it looks into the books.
    depth: FeedDepth,
    /// Which instruments.
    flow: Flow,
}

/// The market data port, without its sockets.
#[derive(Debug)]
pub struct Subscribers {
    publisher: Publisher,
    /// By the number of the depth.
    channels: [Channel; 3],
    allowances: Allowances,
    source: Source,
    /// The numbers that came next when the port opened, by the number of the depth.
    opened_at: Option<[FeedSequence; 3]>,
}

/// What snapshots of one depth are made from, and who waits for one.
#[derive(Debug)]
struct Channel {
    shadow: Shadow,
    queue: Queue,
}

/// Whether clients wait for the shadow to move on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Queue {
    Empty,
    Waiting,
}

impl Subscribers {
    /// The port of `source` before the first event, with room for `history_bytes` of past messages; memory is
    /// reserved for `orders_room` resting orders, and grows beyond.
    pub fn new(source: Source, history_bytes: usize, orders_room: usize) -> Self {
        Subscribers {
            publisher: Publisher::new(history_bytes, orders_room),
            channels: DEPTHS.map(|depth| Channel {
                shadow: Shadow::new(depth, orders_room),
                queue: Queue::Empty,
            }),
            allowances: Allowances::default(),
            source,
            opened_at: None,
        }
    }

    /// Goes on with a feed of which past messages are not kept; nobody has asked for anything yet.
    ///
    /// # Errors
    /// [`ImageFault`] if its books contradict themselves: our own fault.
    pub fn begin_behind(&mut self, publisher: Publisher) -> Result<(), ImageFault> {
        for (depth, channel) in DEPTHS.iter().zip(&mut self.channels) {
            let (next, time) = (publisher.history(*depth).next(), publisher.time());
            channel.shadow = Shadow::of_books(*depth, publisher.books(), next, time)?;
        }
        self.publisher = publisher;
        Ok(())
    }

    /// The feed so far.
    pub fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Publishes a frame of the event log.
    ///
    /// # Errors
    /// [`ImageFault`] where the log contradicts itself.
    pub fn on_batch(&mut self, batch: &[u8], end: FrameEnd) -> Result<(), ImageFault> {
        let before = DEPTHS.map(|depth| self.publisher.history(depth).next().0);
        self.publisher.on_batch(batch, end)?;
        for ((depth, channel), before) in DEPTHS.iter().zip(&mut self.channels).zip(before) {
            let history = self.publisher.history(*depth);
            let published = history.next().0 - before;
            channel.shadow.mend(self.publisher.books(), history)?;
            // Twice as fast as the feed grows, so that the shadow never stays behind. While a snapshot
            // holds it, the reader's own limits keep it within the history.
            channel.shadow.catch_up(history, 2 * published as usize)?;
        }
        Ok(())
    }

    /// Moves the shadows on; gives how many messages they took.
    ///
    /// # Errors
    /// [`ImageFault`] if the feed contradicts itself: our own fault.
    pub fn on_turn(&mut self) -> Result<usize, ImageFault> {
        let mut taken = 0;
        for (depth, channel) in DEPTHS.iter().zip(&mut self.channels) {
            if channel.shadow.readers() == 0 {
                channel.queue = Queue::Empty;
            }
            let history = self.publisher.history(*depth);
            taken += channel.shadow.catch_up(history, CATCH_UP_MESSAGES)?;
        }
        Ok(taken)
    }

    /// Notes, the first time, which numbers come next: the port lets clients in from now on.
    pub fn on_open(&mut self) -> [FeedSequence; 3] {
        let publisher = &self.publisher;
        *self
            .opened_at
            .get_or_insert_with(|| DEPTHS.map(|depth| publisher.history(depth).next()))
    }

    /// Tells a connection first of all whose feed it is.
    fn name_source(&mut self, peer: &mut Peer<Client>) {
        if peer.state.named == Named::Yes {
            return;
        }
        peer.state.named = Named::Yes;
        let opened_at = self.on_open();
        let at = |depth: FeedDepth| opened_at[depth as usize];
        peer.answer(&FeedSource {
            exchange: self.source.exchange,
            started_at: self.source.started_at,
            orders_sequence: at(FeedDepth::Orders),
            top_sequence: at(FeedDepth::Top),
            levels_sequence: at(FeedDepth::Levels),
            ..FeedSource::blank()
        });
    }

    fn channel(&mut self, depth: FeedDepth) -> &mut Channel {
        &mut self.channels[depth as usize]
    }

    /// How much of the history of a depth, in quarters, its shadow is behind.
    fn shadow_lag_quarters(&self, depth: FeedDepth) -> usize {
        let history = self.publisher.history(depth);
        let next = self.channels[depth as usize].shadow.next();
        history.bytes_since(next) * 4 / history.capacity_bytes()
    }

    fn reject(
        &self,
        code: FeedRejectCode,
        depth: Raw<FeedDepth>,
        instrument: InstrumentId,
    ) -> FeedReject {
        // Where no such depth is known, the numbers are those of the deepest.
        let history = self
            .publisher
            .history(depth.decode().unwrap_or(FeedDepth::Orders));
        FeedReject {
            oldest_sequence: history.oldest(),
            next_sequence: history.next(),
            instrument,
            code: code.into(),
            ..FeedReject::blank()
        }
    }

    /// What a request leads to, or why it is refused.
    fn judge(&self, request: &FeedRequest) -> Result<Stage, FeedRejectCode> {
        let kind = request.kind.decode().ok_or(FeedRejectCode::BadRequest)?;
        let depth = request.depth.decode().ok_or(FeedRejectCode::BadRequest)?;
        let flow = Flow::of_request(request.instrument);
        if flow != Flow::All && self.publisher.books().book(request.instrument).is_none() {
            return Err(FeedRejectCode::UnknownInstrument);
        }
        let wanted = Wanted { depth, flow };
        match kind {
            FeedRequestKind::SnapshotThenUpdates => Ok(Stage::Queued(wanted)),
            FeedRequestKind::UpdatesFrom => {
                let (history, next) = (self.publisher.history(depth), request.from_sequence);
                match (history.oldest()..=history.next()).contains(&next) {
                    true => Ok(Stage::Live { next, wanted }),
                    false => Err(FeedRejectCode::OutOfRange),
                }
            }
        }
    }

    /// What a request for lost messages leads to, or why it is refused.
    fn judge_range(
        &mut self,
        request: &FeedRangeRequest,
        client: IpAddr,
        now: Steady,
    ) -> Result<Stage, FeedRejectCode> {
        let depth = request.depth.decode().ok_or(FeedRejectCode::BadRequest)?;
        if request.count == 0 {
            return Err(FeedRejectCode::BadRequest);
        }
        if request.count > RANGE_MESSAGES_MAX {
            return Err(FeedRejectCode::TooMany);
        }
        let (history, next) = (self.publisher.history(depth), request.from_sequence);
        let end = next.0.checked_add(request.count.into()).map(FeedSequence);
        let end = end.ok_or(FeedRejectCode::OutOfRange)?;
        if next < history.oldest() || end > history.next() {
            return Err(FeedRejectCode::OutOfRange);
        }
        if !self.allowances.try_take(client, request.count, now) {
            return Err(FeedRejectCode::Throttled);
        }
        Ok(Stage::Range {
            depth,
            next,
            end,
            since: now,
        })
    }

    /// Takes all requests that there is room to answer; none while lost messages are on their way.
    fn take_requests(&mut self, peer: &mut Peer<Client>, now: Steady) -> Verdict {
        while !matches!(peer.state.stage, Stage::Range { .. }) {
            let request = match peer.next_request() {
                Ok(None) => return Verdict::Stay,
                Ok(Some(message)) => Request::read(message),
                Err(_) => None,
            };
            self.name_source(peer);
            if self.answer_request(peer, request, now) == Verdict::Finish {
                return Verdict::Finish;
            }
        }
        Verdict::Stay
    }

    fn answer_request(
        &mut self,
        peer: &mut Peer<Client>,
        request: Option<Request>,
        now: Steady,
    ) -> Verdict {
        let Some(request) = request else {
            // Nothing that follows can be trusted to be a request either.
            let (code, depth) = (FeedRejectCode::BadRequest, FeedDepth::Orders.into());
            peer.answer(&self.reject(code, depth, InstrumentId::NONE));
            return Verdict::Finish;
        };
        let judged = match (&request, peer.state.requests.try_take(request.costs(), now)) {
            (_, false) => Err(FeedRejectCode::Throttled),
            (Request::Feed(request), true) => self.judge(request),
            (Request::Range(request), true) => self.judge_range(request, peer.from, now),
        };
        match judged {
            Ok(stage) => {
                if let Stage::Range {
                    depth, next, end, ..
                } = stage
                {
                    peer.answer(&FeedRange {
                        from_sequence: next,
                        // It was a count of 32 bits.
                        count: (end.0 - next.0) as u32,
                        depth: depth.into(),
                        ..FeedRange::blank()
                    });
                }
                let before = std::mem::replace(&mut peer.state.stage, stage);
                self.leave(before);
            }
            Err(code) => peer.answer(&self.reject(code, request.depth(), request.instrument())),
        }
        Verdict::Stay
    }

    /// Writes of what was lost as much as fits.
    fn serve_range(&self, peer: &mut Peer<Client>, now: Steady) -> Verdict {
        let Stage::Range {
            depth,
            next,
            end,
            since,
        } = &mut peer.state.stage
        else {
            return Verdict::Stay;
        };
        let history = self.publisher.history(*depth);
        let Ok(after) = history.copy_until(*next, *end, &mut peer.buffer) else {
            return Verdict::Cut;
        };
        *next = after;
        if *next == *end {
            peer.state.stage = Stage::Answered { since: now };
            return Verdict::Stay;
        }
        match now > peer.last_sent.max(*since).after(STALL_MAX) {
            true => Verdict::Cut,
            false => Verdict::Stay,
        }
    }

    /// Lets a queued client begin, unless the shadow is too far behind or lacks its instrument.
    fn try_begin(&mut self, wanted: Wanted, now: Steady) -> Stage {
        let Wanted { depth, flow } = wanted;
        let lag_quarters = self.shadow_lag_quarters(depth);
        let channel = self.channel(depth);
        let listed = flow == Flow::All || channel.shadow.lists(flow.instrument());
        if lag_quarters >= 2 || !listed {
            channel.queue = Queue::Waiting;
            return Stage::Queued(wanted);
        }
        Stage::Snapshot {
            wanted,
            walk: channel.shadow.begin(flow),
            since: now,
        }
    }

    /// Gives back what a stage that is over has kept.
    fn leave(&mut self, stage: Stage) {
        if let Stage::Snapshot { wanted, walk, .. } = stage {
            self.channel(wanted.depth).shadow.end(walk);
        }
    }

    /// Whether a snapshot holds the shadow still for too long.
    fn overstays(&self, peer: &Peer<Client>, depth: FeedDepth, since: Steady, now: Steady) -> bool {
        let stalled = now > peer.last_sent.max(since).after(STALL_MAX);
        let waited_for = self.channels[depth as usize].queue == Queue::Waiting;
        let in_the_way = waited_for && now > since.after(SNAPSHOT_TIME_MAX);
        stalled || in_the_way || self.shadow_lag_quarters(depth) >= 3
    }

    fn serve_live(&self, peer: &mut Peer<Client>, now: Steady) -> Verdict {
        let Stage::Live { next, wanted } = &mut peer.state.stage else {
            return Verdict::Stay;
        };
        let history = self.publisher.history(wanted.depth);
        let Ok(after) = history.copy(*next, wanted.flow, &mut peer.buffer) else {
            return Verdict::Cut;
        };
        *next = after;
        let quiet = peer.buffer.waiting().is_empty()
            && after >= history.next()
            && now >= peer.last_sent.after(HEARTBEAT_AFTER);
        if quiet {
            let heartbeat = FeedHeartbeat {
                next_sequence: after,
                end_sequence: history.next(),
                time: self.publisher.time(),
                ..FeedHeartbeat::blank()
            };
            // An empty buffer takes any message.
            let _ = peer.buffer.push(heartbeat.bytes());
        }
        Verdict::Stay
    }
}

/// What a client may say.
enum Request {
    Feed(FeedRequest),
    Range(FeedRangeRequest),
}

impl Request {
    /// The request that a whole message is; `None` where it is none.
    fn read(message: &[u8]) -> Option<Self> {
        if peek_length(message) != Some(message.len()) {
            return None;
        }
        let feed = FeedRequest::read(message).map(Request::Feed);
        feed.or_else(|| FeedRangeRequest::read(message).map(Request::Range))
    }

    /// What it takes of what a connection may ask for.
    fn costs(&self) -> u32 {
        match self {
            Request::Feed(_) => FEED_REQUEST_COSTS,
            Request::Range(_) => 1,
        }
    }

    fn depth(&self) -> Raw<FeedDepth> {
        match self {
            Request::Feed(request) => request.depth,
            Request::Range(request) => request.depth,
        }
    }

    fn instrument(&self) -> InstrumentId {
        match self {
            Request::Feed(request) => request.instrument,
            Request::Range(_) => InstrumentId::NONE,
        }
    }
}

impl Serve for Subscribers {
    type State = Client;

    fn serve(&mut self, peer: &mut Peer<Client>, now: Steady) -> Verdict {
        if self.take_requests(peer, now) == Verdict::Finish {
            return Verdict::Finish;
        }
        if let Stage::Queued(wanted) = peer.state.stage {
            peer.state.stage = self.try_begin(wanted, now);
        }
        match &mut peer.state.stage {
            Stage::Silent if now > peer.since.after(REQUEST_WITHIN) => return Verdict::Cut,
            Stage::Answered { since } if now > since.after(REQUEST_WITHIN) => return Verdict::Cut,
            Stage::Range { .. } => return self.serve_range(peer, now),
            Stage::Silent | Stage::Answered { .. } | Stage::Queued(_) | Stage::Live { .. } => {}
            Stage::Snapshot { wanted, walk, .. } => {
                let (wanted, shadow) = (*wanted, &self.channels[wanted.depth as usize].shadow);
                match shadow.write(walk, &mut peer.buffer) {
                    SnapshotProgress::More => {}
                    SnapshotProgress::Void => return Verdict::Cut,
                    SnapshotProgress::Done { next } => {
                        let live = Stage::Live { next, wanted };
                        let done = std::mem::replace(&mut peer.state.stage, live);
                        self.leave(done);
                    }
                }
            }
        }
        match peer.state.stage {
            Stage::Snapshot { wanted, since, .. }
                if self.overstays(peer, wanted.depth, since, now) =>
            {
                Verdict::Cut
            }
            _ => self.serve_live(peer, now),
        }
    }

    fn has_asked(state: &Client) -> bool {
        !matches!(state.stage, Stage::Silent | Stage::Answered { .. })
    }

    fn gone(&mut self, state: Client) {
        self.leave(state.stage);
    }
}

#[cfg(test)]
mod tests {
    use exahour_wire::events::{InstrumentListed, OrderAccepted};
    use exahour_wire::framing::framing_header;
    use exahour_wire::ids::{CommandSequence, EventSequence, ExchangeId, OrderId};
    use exahour_wire::units::{Price, Quantity};

    use super::*;

    /// A port with so many messages about orders.
    fn port(messages: u64) -> Subscribers {
        let source = Source {
            exchange: ExchangeId(1),
            started_at: Nanos(1),
        };
        let mut port = Subscribers::new(source, 4 << 20, 0);
        let listed = InstrumentListed {
            event: EventSequence(1),
            instrument: InstrumentId(1),
            ..InstrumentListed::blank()
        };
        let mut batch = listed.bytes().to_vec();
        for event in 2..=messages {
            let accepted = OrderAccepted {
                event: EventSequence(event),
                command: CommandSequence(event),
                order: OrderId(event),
                price: Price(1),
                quantity: Quantity(1),
                instrument: InstrumentId(1),
                side: exahour_wire::codes::Side::Buy.into(),
                ..OrderAccepted::blank()
            };
            batch.extend_from_slice(accepted.bytes());
        }
        port.on_batch(&batch, FrameEnd::Command).unwrap();
        port
    }

    #[test]
    fn a_range_that_nobody_takes_ends_and_one_that_is_taken_slowly_does_not() {
        let mut port = port(4_000);
        for takes in [false, true] {
            let mut peer: Peer<Client> = Peer::new([127, 0, 0, 1].into(), 0, Steady(1));
            let request = FeedRangeRequest {
                from_sequence: FeedSequence(1),
                count: 2_000,
                depth: FeedDepth::Orders.into(),
                ..FeedRangeRequest::blank()
            };
            peer.receive(&framing_header(FeedRangeRequest::BYTES));
            peer.receive(request.bytes());
            // Long after it connected: the time counts from the request.
            let begun = Steady(1).after(Nanos(9 * Nanos::SECOND.0));
            assert_eq!(port.serve(&mut peer, begun), Verdict::Stay);
            let mut now = begun;
            for _ in 0..3 {
                now = now.after(STALL_MAX);
                assert_eq!(port.serve(&mut peer, now), Verdict::Stay);
                if !takes {
                    break;
                }
                peer.buffer.sent(1);
                peer.last_sent = now;
            }
            assert!(Subscribers::has_asked(&peer.state), "the range is not over");
            let late = now.after(STALL_MAX).after(Nanos(1));
            let ends = now.after(Nanos(1));
            match takes {
                false => assert_eq!(port.serve(&mut peer, ends), Verdict::Cut),
                true => {
                    assert_eq!(port.serve(&mut peer, ends), Verdict::Stay);
                    assert_eq!(port.serve(&mut peer, late), Verdict::Cut);
                }
            }
        }
    }
}
