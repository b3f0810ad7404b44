//! A small exchange to test sessions against: the rulebook's rules for sessions, and an acceptance
//! for every order, over a real ring and a real event log.
//!
//! Always holds: it turns on the gateway's own thread, so a test of "one client delays another"
//! measures the gateway and not the scheduler.
// Each test binary uses its part; what cannot be set up fails the test.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use exahour_gateway::client::ClientConfig;
use exahour_gateway::clock::ManualClock;
use exahour_gateway::credentials::{Key, Keys};
use exahour_gateway::duty::Duty;
use exahour_gateway::order_gateway::{GatewaySettings, OrderGateway};
use exahour_journal::{Config, FrameMeta, Journal, LogId};
use exahour_rings::{Agent, Capacity, Consumer, Producer, ring};
use exahour_wire::codes::{CancelOnDisconnect, DisconnectCause, FlowType, Raw, TerminationCode};
use exahour_wire::events::{
    CommandDone, DuplicateIgnored, OrderAccepted, SequenceGap, SessionClosed, SessionExpelled,
    SessionOpened, SessionReady,
};
use exahour_wire::framing::framing_header;
use exahour_wire::ids::{
    AccountId, ClientOrderId, EventSequence, InstrumentId, MessageSequence, SessionId,
    SessionVersion,
};
use exahour_wire::internal::{CloseSession, OpenSession, ReadySession};
use exahour_wire::message::{Digest, Message, peek_header};
use exahour_wire::orders::NewOrder;
use exahour_wire::record::{Line, lines_of};
use exahour_wire::session::{Establish, Negotiate};
use exahour_wire::units::{Millis, Nanos, Quantity};

/// Sessions 1 to this many exist.
pub const SESSIONS: u32 = 20;

/// An order with this name logs its session out.
pub const EXPEL: ClientOrderId = ClientOrderId(u64::MAX);

/// A version whose reports are numbered from the last but one on.
pub const LAST_REPORTS: SessionVersion = SessionVersion(7_777);

pub fn key(session: u32) -> Key {
    let mut bytes = [7; 32];
    bytes[..4].copy_from_slice(&session.to_le_bytes());
    Key::new(bytes)
}

pub fn keys() -> Keys {
    let mut keys = Keys::new();
    (1..=SESSIONS).for_each(|session| keys.insert(SessionId(session), key(session)));
    keys
}

pub fn config(session: u32) -> ClientConfig {
    ClientConfig {
        keep_alive: Millis(60_000),
        cancel_mode: CancelOnDisconnect::Both,
        ..ClientConfig::new(SessionId(session), key(session))
    }
}

#[derive(Clone, Copy, Default)]
struct State {
    version: SessionVersion,
    expected: u32,
    outbound: u32,
    ready: bool,
    connection: u64,
    timestamp: Nanos,
}

/// What the exchange was told, for the test to look at.
#[derive(Clone, Default)]
pub struct Told {
    pub orders: Arc<AtomicUsize>,
    pub closed: Arc<std::sync::Mutex<Vec<(SessionId, DisconnectCause)>>>,
}

pub struct Exchange {
    ring: Consumer<Line>,
    journal: Journal,
    sessions: BTreeMap<SessionId, State>,
    event: u64,
    batch: Vec<u8>,
    batch_count: u16,
    index: u64,
    told: Told,
}

impl Exchange {
    /// An exchange whose event log turns to a new segment after so many bytes.
    pub fn new(dir: &Path, segment_bytes: u64, ring: Consumer<Line>, told: Told) -> Self {
        let config = Config::new(dir, LogId([9; 16])).with_segment_bytes(segment_bytes);
        let journal = Journal::create(&config).unwrap();
        Self {
            ring,
            journal,
            sessions: BTreeMap::new(),
            event: 0,
            batch: Vec::with_capacity(8 << 20),
            batch_count: 0,
            index: 0,
            told,
        }
    }

    /// What it was told.
    pub fn told(&self) -> &Told {
        &self.told
    }

    /// The node has started again: every session is away.
    pub fn restart(&mut self, ring: Consumer<Line>) {
        self.ring = ring;
        self.sessions
            .values_mut()
            .for_each(|state| state.ready = false);
    }

    /// Knows of no session any more.
    pub fn forget(&mut self) {
        self.sessions.clear();
    }

    /// Takes commands from another ring, and gives back the one before.
    pub fn swap_ring(&mut self, ring: &mut Consumer<Line>) {
        std::mem::swap(&mut self.ring, ring);
    }

    /// Throws away what waits in the ring, as a sequencer does that has lost the lead.
    pub fn discard(&mut self) {
        while self.ring.try_pop().is_some() {}
    }

    /// A new term begins: every session is away, and the log says so.
    pub fn begin_term(&mut self) {
        let ready = self.sessions.iter_mut().filter(|(_, state)| state.ready);
        let closed: Vec<_> = ready
            .map(|(session, state)| {
                state.ready = false;
                (*session, (state.version, state.expected))
            })
            .collect();
        for (session, known) in closed {
            self.emit_closed(session, known, DisconnectCause::NodeStopped.into());
        }
        self.append();
    }

    /// Handles the first command that waits in the ring, as if only that were committed.
    pub fn turn_one(&mut self) {
        let Some(first) = self.ring.try_pop() else {
            return;
        };
        assert_eq!(lines_of(&first), Some(1));
        self.handle(bytemuck::cast_slice(&[first]));
        self.append();
    }

    /// Handles what waits in the ring.
    pub fn turn(&mut self) -> usize {
        let mut work = 0;
        while work < 4_096 {
            let Some(first) = self.ring.try_pop() else {
                break;
            };
            work += 1;
            let count = lines_of(&first).unwrap();
            let mut lines = [first; 4];
            for line in &mut lines[1..count] {
                *line = self.ring.try_pop().expect("a command is pushed whole");
            }
            self.handle(bytemuck::cast_slice(&lines[..count]));
            if self.batch.len() > 60_000 {
                self.append();
            }
        }
        self.append();
        work
    }

    fn append(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        self.index += 1;
        let meta = FrameMeta {
            index: self.index,
            term: 1,
            count: self.batch_count,
            kind: 1,
            first_sequence: self.event + 1 - u64::from(self.batch_count),
            time_ns: 0,
        };
        self.journal.appender.append(&meta, &[&self.batch]).unwrap();
        self.batch.clear();
        self.batch_count = 0;
    }

    fn emit<M: Message>(&mut self, event: &M) {
        self.event += 1;
        let from = self.batch.len();
        self.batch.extend_from_slice(event.bytes());
        self.batch[from + 16..from + 24].copy_from_slice(&self.event.to_le_bytes());
        self.batch_count += 1;
    }

    fn report<M: Message>(&mut self, session: SessionId, report: &M) {
        let state = self.sessions.entry(session).or_default();
        let sequence = state.outbound.max(1);
        state.outbound = sequence.saturating_add(1);
        if self.batch.len() > 500_000 {
            self.append();
        }
        let from = self.batch.len();
        self.emit(report);
        self.batch[from + 8..from + 12].copy_from_slice(&session.0.to_le_bytes());
        self.batch[from + 12..from + 16].copy_from_slice(&sequence.to_le_bytes());
    }

    fn handle(&mut self, bytes: &[u8]) {
        match peek_header(bytes).unwrap().template_id {
            OpenSession::TEMPLATE_ID => self.open(&OpenSession::read(bytes).unwrap()),
            ReadySession::TEMPLATE_ID => self.ready(&ReadySession::read(bytes).unwrap()),
            CloseSession::TEMPLATE_ID => self.close(&CloseSession::read(bytes).unwrap()),
            template => {
                let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
                self.command(
                    template,
                    SessionId(word(8)),
                    MessageSequence(word(12)),
                    bytes,
                );
            }
        }
    }

    fn open(&mut self, open: &OpenSession) {
        let known = (1..=SESSIONS).contains(&open.session.0);
        let state = self.sessions.entry(open.session).or_default();
        let mut answer = SessionOpened {
            session: open.session,
            version: open.version,
            connection: open.connection,
            ..SessionOpened::blank()
        };
        if !known {
            answer.refusal = Raw::new(1);
        } else if open.version <= state.version {
            answer.refusal = Raw::new(2);
        } else {
            let closed = state.ready.then_some((state.version, state.expected));
            *state = State {
                version: open.version,
                expected: 1,
                outbound: if open.version == LAST_REPORTS {
                    u32::MAX - 1
                } else {
                    1
                },
                connection: open.connection,
                ..State::default()
            };
            if let Some(closed) = closed {
                self.emit_closed(open.session, closed, DisconnectCause::ConnectionLost.into());
            }
        }
        self.emit(&answer);
    }

    fn emit_closed(
        &mut self,
        session: SessionId,
        (version, expected): (SessionVersion, u32),
        cause: Raw<DisconnectCause>,
    ) {
        self.emit(&SessionClosed {
            session,
            version,
            cause,
            expected_sequence: MessageSequence(expected),
            ..SessionClosed::blank()
        });
        let cause = cause.decode().unwrap();
        self.told.closed.lock().unwrap().push((session, cause));
    }

    fn ready(&mut self, ready: &ReadySession) {
        let state = self.sessions.entry(ready.session).or_default();
        let mut answer = SessionReady {
            session: ready.session,
            version: ready.version,
            connection: ready.connection,
            expected_sequence: MessageSequence(state.expected),
            ..SessionReady::blank()
        };
        if state.version.0 == 0 || state.version != ready.version {
            answer.refusal = Raw::new(1);
        } else if ready.timestamp <= state.timestamp {
            answer.refusal = Raw::new(3);
        } else if ready.next_sequence.0 < state.expected {
            answer.refusal = Raw::new(5);
        } else {
            let gap = SequenceGap {
                from_sequence: MessageSequence(state.expected),
                count: ready.next_sequence.0 - state.expected,
                ..SequenceGap::blank()
            };
            state.ready = true;
            state.connection = ready.connection;
            state.timestamp = ready.timestamp;
            state.expected = ready.next_sequence.0;
            answer.expected_sequence = ready.next_sequence;
            if gap.count > 0 {
                self.report(ready.session, &gap);
            }
            answer.next_sequence = MessageSequence(self.sessions[&ready.session].outbound);
        }
        self.emit(&answer);
    }

    fn close(&mut self, close: &CloseSession) {
        let state = self.sessions.entry(close.session).or_default();
        let ours = state.version == close.version && state.connection == close.connection;
        if state.ready && ours {
            state.ready = false;
            let closed = (close.version, state.expected);
            self.emit_closed(close.session, closed, close.cause);
        }
    }

    fn command(
        &mut self,
        template: u16,
        session: SessionId,
        sequence: MessageSequence,
        bytes: &[u8],
    ) {
        let state = self.sessions.entry(session).or_default();
        let expected = state.expected;
        if !state.ready {
            return;
        }
        if sequence.0 < expected {
            self.emit(&DuplicateIgnored {
                session,
                client_sequence: sequence,
                ..DuplicateIgnored::blank()
            });
            return;
        }
        state.expected = sequence.0 + 1;
        if sequence.0 > expected {
            let gap = SequenceGap {
                from_sequence: MessageSequence(expected),
                count: sequence.0 - expected,
                ..SequenceGap::blank()
            };
            self.report(session, &gap);
        }
        let Some(order) = NewOrder::read(bytes) else {
            let done = CommandDone {
                client_sequence: sequence,
                template,
                ..CommandDone::blank()
            };
            self.report(session, &done);
            return;
        };
        self.told.orders.fetch_add(1, Ordering::SeqCst);
        if order.client_order_id == EXPEL {
            let version = self.sessions[&session].version;
            self.emit(&SessionExpelled {
                session,
                version,
                code: TerminationCode::Throttled.into(),
                ..SessionExpelled::blank()
            });
            let state = self.sessions.entry(session).or_default();
            state.ready = false;
            let closed = (version, state.expected);
            self.emit_closed(session, closed, DisconnectCause::Expelled.into());
            return;
        }
        let accepted = OrderAccepted {
            client_order_id: order.client_order_id,
            client_sequence: sequence,
            account: order.account,
            ..OrderAccepted::blank()
        };
        self.report(session, &accepted);
        // The instrument names a session that gets as many reports as the order has lots, up to what no
        // test asks for on purpose: bytes that were changed at random may ask for any number.
        for _ in 0..order.quantity.0.min(1 << 18) {
            self.report(SessionId(order.instrument.0), &accepted);
        }
    }
}

/// An order that `about` gets `count` reports of.
pub fn order(name: u64, about: u32, count: u64) -> NewOrder {
    NewOrder {
        client_order_id: ClientOrderId(name),
        account: AccountId(100),
        instrument: InstrumentId(about),
        quantity: Quantity(count),
        ..NewOrder::blank()
    }
}

/// A gateway and an exchange, turned by one thread.
pub struct Rig {
    pub address: SocketAddr,
    pub clock: ManualClock,
    pub told: Told,
    /// While set, the exchange takes nothing from the ring.
    pub paused: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Exchange>>,
    dir: tempfile::TempDir,
    /// How often the thread went round.
    pub turns: Arc<AtomicUsize>,
    /// What the exchange is to do between two turns.
    acts: Sender<Act>,
    acts_in: Option<Receiver<Act>>,
    duty: Option<Consumer<Duty>>,
    news: Option<Producer<Duty>>,
}

type Act = Box<dyn FnOnce(&mut Exchange) + Send>;

impl Rig {
    pub fn start() -> Self {
        Self::start_with(|_| {}, 4_096)
    }

    /// One whose gateway has to be told what its node is.
    pub fn start_without_duty() -> Self {
        Self::start_as(|_| {}, 4_096, Some(ring(Capacity::new(16).unwrap())))
    }

    pub fn start_with(adjust: impl FnOnce(&mut GatewaySettings), slots: usize) -> Self {
        Self::start_as(adjust, slots, None)
    }

    fn start_as(
        adjust: impl FnOnce(&mut GatewaySettings),
        slots: usize,
        duty: Option<(Producer<Duty>, Consumer<Duty>)>,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (producer, consumer) = ring(Capacity::new(slots).unwrap());
        let told = Told::default();
        let exchange = Exchange::new(&dir.path().join("events"), 4 << 20, consumer, told.clone());
        let clock = ManualClock::new(Nanos(1_700_000_000_000_000_000));
        let (acts, acts_in) = channel();
        let (news, duty) = duty.unzip();
        let mut rig = Self {
            address: "127.0.0.1:0".parse().unwrap(),
            clock,
            told,
            paused: Arc::default(),
            stop: Arc::default(),
            thread: None,
            dir,
            turns: Arc::default(),
            acts,
            acts_in: Some(acts_in),
            duty,
            news,
        };
        rig.run(exchange, producer, adjust);
        rig
    }

    fn run(
        &mut self,
        mut exchange: Exchange,
        producer: Producer<Line>,
        adjust: impl FnOnce(&mut GatewaySettings),
    ) {
        let any = "127.0.0.1:0".parse().unwrap();
        let mut settings = GatewaySettings::new(any, &self.dir.path().join("events"));
        adjust(&mut settings);
        let mut gateway =
            OrderGateway::start(settings, keys(), self.clock.clone(), producer).unwrap();
        self.address = gateway.address();
        if let Some(duty) = self.duty.take() {
            gateway.follow_duty(duty);
        }
        let acts = self.acts_in.take();
        self.stop.store(false, Ordering::SeqCst);
        let (stop, paused) = (Arc::clone(&self.stop), Arc::clone(&self.paused));
        let turns = Arc::clone(&self.turns);
        self.thread = Some(std::thread::spawn(move || {
            gateway.on_start().unwrap();
            while !stop.load(Ordering::SeqCst) {
                let mut work = gateway.do_work().unwrap();
                while let Some(act) = acts.as_ref().and_then(|acts| acts.try_recv().ok()) {
                    act(&mut exchange);
                }
                if !paused.load(Ordering::SeqCst) {
                    work += exchange.turn();
                }
                turns.fetch_add(1, Ordering::Relaxed);
                if work == 0 {
                    std::thread::yield_now();
                }
            }
            gateway.on_close();
            exchange.turn();
            exchange
        }));
    }

    /// Stops the gateway and starts another over the same event log.
    pub fn restart(&mut self) {
        let mut exchange = self.halt().unwrap();
        let (producer, consumer) = ring(Capacity::new(4_096).unwrap());
        exchange.restart(consumer);
        self.run(exchange, producer, |_| {});
    }

    fn halt(&mut self) -> Option<Exchange> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().map(|thread| thread.join().unwrap())
    }

    /// Says what the node is, and waits until the gateway has heard it.
    pub fn tell(&mut self, duty: Duty) {
        self.news.as_mut().unwrap().try_push(duty).unwrap();
        self.let_turns_pass();
    }

    /// Has the exchange do something between two turns, and waits until the gateway has seen it.
    pub fn act(&self, act: impl FnOnce(&mut Exchange) + Send + 'static) {
        self.acts.send(Box::new(act)).unwrap();
        self.let_turns_pass();
    }

    /// Moves the clock on, and waits until no turn goes on by the earlier time.
    pub fn advance(&self, span: Nanos) {
        self.clock.advance(span);
        self.let_turns_pass();
    }

    /// Takes the exchange's hand off the ring, and waits until it is off.
    pub fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
        self.let_turns_pass();
    }

    /// Lets the exchange go on.
    pub fn resume(&self) {
        self.paused.store(false, Ordering::SeqCst);
    }

    pub fn let_turns_pass(&self) {
        let seen = self.turns.load(Ordering::SeqCst);
        until(|| self.turns.load(Ordering::SeqCst) > seen + 2);
    }

    /// Waits until `what` holds; the test fails where it never does.
    pub fn until(&self, what: impl FnMut() -> bool) {
        until(what);
    }

    pub fn closed(&self, session: u32) -> Vec<DisconnectCause> {
        let closed = self.told.closed.lock().unwrap();
        let ours = closed.iter().filter(|(id, _)| *id == SessionId(session));
        ours.map(|(_, cause)| *cause).collect()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the gateway's thread panicked");
        }
    }
}

/// Waits, with a limit that only a broken test meets.
pub fn until(mut what: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(20);
    while !what() {
        assert!(Instant::now() < limit, "waited 20 s in vain");
        std::thread::yield_now();
    }
}

/// A client made of bytes only, for everything that the library would not do.
pub struct Raw64 {
    pub stream: TcpStream,
    bytes: Vec<u8>,
}

impl Raw64 {
    pub fn connect(rig: &Rig) -> Self {
        let stream = TcpStream::connect(rig.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        Self {
            stream,
            bytes: Vec::new(),
        }
    }

    /// Connected, negotiated and established with version `version`.
    pub fn established(rig: &Rig, session: u32, version: u64) -> Self {
        let mut raw = Self::connect(rig);
        raw.say(&negotiate(session, version));
        raw.hear::<exahour_wire::session::NegotiationResponse>();
        raw.say(&establish(session, version, 1, version + 1));
        raw.hear::<exahour_wire::session::EstablishmentAck>();
        raw
    }

    pub fn say<M: Message>(&mut self, message: &M) {
        self.say_bytes(message.bytes());
    }

    pub fn say_bytes(&mut self, message: &[u8]) {
        let mut framed = framing_header(message.len()).to_vec();
        framed.extend_from_slice(message);
        self.stream.write_all(&framed).unwrap();
    }

    /// The next message, or `None` at the end of the stream.
    pub fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if self.bytes.len() >= 6 {
                let length = u32::from_be_bytes(self.bytes[..4].try_into().unwrap()) as usize;
                if self.bytes.len() >= length {
                    let message = self.bytes[6..length].to_vec();
                    self.bytes.drain(..length);
                    return Some(message);
                }
            }
            let mut buffer = [0; 65_536];
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    assert!(self.bytes.is_empty(), "the stream ends within a message");
                    return None;
                }
                Ok(count) => self.bytes.extend_from_slice(&buffer[..count]),
                Err(error) => panic!("no answer: {error}"),
            }
        }
    }

    /// The next message, which must be this one.
    #[track_caller]
    pub fn hear<M: Message>(&mut self) -> M {
        let bytes = self.next().expect("an answer");
        M::read(&bytes).unwrap_or_else(|| panic!("another answer: {:?}", peek_header(&bytes)))
    }

    /// Nothing has come.
    #[track_caller]
    pub fn hears_nothing(&mut self) {
        self.stream.set_nonblocking(true).unwrap();
        let found = self.stream.read(&mut [0; 64]).map_err(|error| error.kind());
        self.stream.set_nonblocking(false).unwrap();
        assert_eq!(found, Err(std::io::ErrorKind::WouldBlock));
    }

    /// The end: a Terminate with this code and detail, then the end of the stream.
    #[track_caller]
    pub fn hear_end(&mut self, code: TerminationCode, detail: u32) {
        let end = self.hear::<exahour_wire::session::Terminate>();
        assert_eq!((end.code.decode(), end.detail), (Some(code), detail));
        assert!(self.next().is_none());
    }
}

pub fn sign<M: Message>(session: u32, request: &M) -> Digest {
    key(session).sign(&request.bytes()[..M::BYTES - 32])
}

pub fn negotiate(session: u32, version: u64) -> Negotiate {
    let mut request = Negotiate {
        session: SessionId(session),
        client_flow: FlowType::Idempotent.into(),
        version: SessionVersion(version),
        timestamp: Nanos(version),
        ..Negotiate::blank()
    };
    request.credentials = sign(session, &request);
    request
}

pub fn establish(session: u32, version: u64, next: u32, timestamp: u64) -> Establish {
    let mut request = Establish {
        session: SessionId(session),
        keep_alive: Millis(1_000),
        version: SessionVersion(version),
        timestamp: Nanos(timestamp),
        next_sequence: MessageSequence(next),
        cancel_mode: CancelOnDisconnect::Both.into(),
        ..Establish::blank()
    };
    request.credentials = sign(session, &request);
    request
}

pub fn numbered(session: u32, sequence: u32, order: NewOrder) -> NewOrder {
    NewOrder {
        session: SessionId(session),
        sequence: MessageSequence(sequence),
        ..order
    }
}

/// Events carry their number where the exchange writes it.
const _: () = assert!(std::mem::offset_of!(OrderAccepted, event) == 16);
const _: () = assert!(size_of::<EventSequence>() == 8);
