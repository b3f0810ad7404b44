//! What the market data port answers: snapshots, updates, gaps, refusals.
//!
//! Called by the market data agent with batches of events and, through [`Serve`], for each client.
//!
//! ```text
//! Silent --SnapshotThenUpdates--> Queued --shadow--> Snapshot --last book--> Live
//!    +--------------------UpdatesFrom------------------------------------------^
//! ```
//! A new request on a connection replaces the one before; a refused one leaves it as it was.
//!
//! Always holds: a live client is only a number in the history, so it costs nothing while it does
//! not read; it is cut off when it is too far behind. Does not: touch sockets or the clock.

use exahour_wire::codes::{FeedDepth, FeedRejectCode, FeedRequestKind};
use exahour_wire::events::FrameEnd;
use exahour_wire::ids::{FeedSequence, InstrumentId};
use exahour_wire::market_data::{FeedHeartbeat, FeedReject, FeedRequest};
use exahour_wire::message::{Message, peek_length};
use exahour_wire::units::Nanos;

use super::peers::{HEARTBEAT_AFTER, Peer, REQUEST_WITHIN, Serve, Verdict};
use super::publisher::Publisher;
use super::snapshot::{Shadow, SnapshotProgress, SnapshotWalk};
use crate::clock::Steady;
use crate::image::{Flow, ImageFault};

/// A snapshot that takes no byte for so long is cut off: it holds the shadow still.
const SNAPSHOT_STALL_MAX: Nanos = Nanos(5 * Nanos::SECOND.0);

/// A snapshot may take so long while others wait for the shadow to move on.
const SNAPSHOT_TIME_MAX: Nanos = Nanos(30 * Nanos::SECOND.0);

/// Messages that the shadow catches up in a turn, at least.
const CATCH_UP_MESSAGES: usize = 4_096;

/// Where a client stands.
#[derive(Debug, Default)]
pub enum Stage {
    /// It has not asked for anything.
    #[default]
    Silent,
    /// It waits for a snapshot to begin.
    Queued(Flow),
    /// It is being sent a snapshot.
    Snapshot {
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
        flow: Flow,
    },
}

/// The market data port, without its sockets.
#[derive(Debug)]
pub struct Subscribers {
    publisher: Publisher,
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
    /// The port before the first event, with room for `history_bytes` of past messages; memory is
    /// reserved for `orders_room` resting orders, and grows beyond.
    pub fn new(history_bytes: usize, orders_room: usize) -> Self {
        Subscribers {
            publisher: Publisher::new(history_bytes, orders_room),
            shadow: Shadow::new(orders_room),
            queue: Queue::Empty,
        }
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
        let before = self.publisher.history().next().0;
        self.publisher.on_batch(batch, end)?;
        let published = self.publisher.history().next().0 - before;
        self.shadow
            .mend(self.publisher.books(), self.publisher.history())?;
        // Twice as fast as the feed grows, so that the shadow never stays behind.
        self.catch_up(2 * published as usize).map(|_| ())
    }

    /// Moves the shadow on; gives how many messages it took.
    ///
    /// # Errors
    /// [`ImageFault`] if the feed contradicts itself: our own fault.
    pub fn on_turn(&mut self) -> Result<usize, ImageFault> {
        if self.shadow.readers() == 0 {
            self.queue = Queue::Empty;
        }
        self.catch_up(CATCH_UP_MESSAGES)
    }

    fn catch_up(&mut self, messages: usize) -> Result<usize, ImageFault> {
        // While a snapshot holds the shadow, the reader's own limits keep it within the history.
        self.shadow.catch_up(self.publisher.history(), messages)
    }

    /// How much of the history, in quarters, the shadow is behind.
    fn shadow_lag_quarters(&self) -> usize {
        let history = self.publisher.history();
        history.bytes_since(self.shadow.next()) * 4 / history.capacity_bytes()
    }

    fn reject(&self, code: FeedRejectCode, instrument: InstrumentId) -> FeedReject {
        let history = self.publisher.history();
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
        if request.depth.decode() != Some(FeedDepth::Orders) {
            return Err(FeedRejectCode::BadRequest);
        }
        let flow = Flow::of_request(request.instrument);
        if flow != Flow::All && self.publisher.books().book(request.instrument).is_none() {
            return Err(FeedRejectCode::UnknownInstrument);
        }
        match kind {
            FeedRequestKind::SnapshotThenUpdates => Ok(Stage::Queued(flow)),
            FeedRequestKind::UpdatesFrom => {
                let (history, next) = (self.publisher.history(), request.from_sequence);
                match (history.oldest()..=history.next()).contains(&next) {
                    true => Ok(Stage::Live { next, flow }),
                    false => Err(FeedRejectCode::OutOfRange),
                }
            }
        }
    }

    /// Takes all requests that there is room to answer.
    fn take_requests(&mut self, peer: &mut Peer<Stage>) -> Verdict {
        loop {
            let request = match peer.next_request() {
                Ok(None) => return Verdict::Stay,
                Ok(Some(message)) if peek_length(message) != Some(message.len()) => None,
                Ok(Some(message)) => FeedRequest::read(message),
                Err(_) => None,
            };
            let Some(request) = request else {
                // Nothing that follows can be trusted to be a request either.
                peer.refuse(&self.reject(FeedRejectCode::BadRequest, InstrumentId::NONE));
                return Verdict::Finish;
            };
            match self.judge(&request) {
                Ok(stage) => {
                    let before = std::mem::replace(&mut peer.state, stage);
                    self.gone(before);
                }
                Err(code) => peer.refuse(&self.reject(code, request.instrument)),
            }
        }
    }

    /// Lets a queued client begin, unless the shadow is too far behind or lacks its instrument.
    fn try_begin(&mut self, flow: Flow, now: Steady) -> Stage {
        let listed = flow == Flow::All || self.shadow.lists(flow.instrument());
        if self.shadow_lag_quarters() >= 2 || !listed {
            self.queue = Queue::Waiting;
            return Stage::Queued(flow);
        }
        Stage::Snapshot {
            walk: self.shadow.begin(flow),
            since: now,
        }
    }

    /// Whether a snapshot holds the shadow still for too long.
    fn overstays(&self, peer: &Peer<Stage>, since: Steady, now: Steady) -> bool {
        let stalled = now > peer.last_sent.max(since).after(SNAPSHOT_STALL_MAX);
        let in_the_way = self.queue == Queue::Waiting && now > since.after(SNAPSHOT_TIME_MAX);
        stalled || in_the_way || self.shadow_lag_quarters() >= 3
    }

    fn serve_live(&self, peer: &mut Peer<Stage>, now: Steady) -> Verdict {
        let Stage::Live { next, flow } = &mut peer.state else {
            return Verdict::Stay;
        };
        let history = self.publisher.history();
        let Ok(after) = history.copy(*next, *flow, &mut peer.buffer) else {
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

impl Serve for Subscribers {
    type State = Stage;

    fn serve(&mut self, peer: &mut Peer<Stage>, now: Steady) -> Verdict {
        if self.take_requests(peer) == Verdict::Finish {
            return Verdict::Finish;
        }
        if let Stage::Queued(flow) = peer.state {
            peer.state = self.try_begin(flow, now);
        }
        match &mut peer.state {
            Stage::Silent if now > peer.since.after(REQUEST_WITHIN) => return Verdict::Cut,
            Stage::Silent | Stage::Queued(_) | Stage::Live { .. } => {}
            Stage::Snapshot { walk, .. } => {
                let (flow, progress) = (walk.flow(), self.shadow.write(walk, &mut peer.buffer));
                match progress {
                    SnapshotProgress::More => {}
                    SnapshotProgress::Void => return Verdict::Cut,
                    SnapshotProgress::Done { next } => {
                        let done = std::mem::replace(&mut peer.state, Stage::Live { next, flow });
                        self.gone(done);
                    }
                }
            }
        }
        match peer.state {
            Stage::Snapshot { since, .. } if self.overstays(peer, since, now) => Verdict::Cut,
            _ => self.serve_live(peer, now),
        }
    }

    fn has_asked(state: &Stage) -> bool {
        !matches!(state, Stage::Silent)
    }

    fn gone(&mut self, state: Stage) {
        if let Stage::Snapshot { walk, .. } = state {
            self.shadow.end(walk);
        }
    }
}
