//! Random histories of one session on a node that wins and loses the lead, beside a plain model of the
//! cluster: no message that was or will be applied is ever told as not applied, none is told twice, and
//! where the log closed the flow none is left out.
#![allow(clippy::unwrap_used)] // What goes wrong fails the test.

use std::collections::{BTreeSet, VecDeque};

use exahour_gateway::back_off::BackOffs;
use exahour_gateway::clock::Steady;
use exahour_gateway::credentials::{Key, Keys};
use exahour_gateway::duty::Duty;
use exahour_gateway::ingress::Ingress;
use exahour_gateway::outbox::Outbox;
use exahour_gateway::session::{Claim, ConnectionId, Desk, Session, SessionSettings, Step};
use exahour_rings::{Capacity, Consumer, ring};
use exahour_wire::codes::{CancelOnDisconnect, DisconnectCause, TerminationCode};
use exahour_wire::events::{EventPrefix, OrderAccepted, SequenceGap, SessionClosed, SessionReady};
use exahour_wire::framing::FRAMING_BYTES;
use exahour_wire::ids::{MessageSequence, SessionId, SessionVersion};
use exahour_wire::internal::{CloseSession, ReadySession};
use exahour_wire::message::Message;
use exahour_wire::orders::NewOrder;
use exahour_wire::record::Line;
use exahour_wire::session::{Busy, Establish, Leader, NotApplied, Sequence, Terminate};
use exahour_wire::units::{Millis, Nanos};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const SESSION: SessionId = SessionId(1);
const VERSION: SessionVersion = SessionVersion(5);

fn key() -> Key {
    Key::new([1; 32])
}

/// A command as it lies in the log.
#[derive(Clone, Copy)]
enum Entry {
    Ready,
    Close,
    Order(u32),
    Term,
}

enum Event {
    Ready,
    Report(OrderAccepted),
    Gap(SequenceGap),
    Closed(SessionClosed),
}

/// What the engine knows of the session, and what it did.
#[derive(Default)]
struct Engine {
    expected: u32,
    ready: bool,
    applied: BTreeSet<u32>,
    events: VecDeque<Event>,
}

impl Engine {
    fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Ready => {
                self.ready = true;
                self.events.push_back(Event::Ready);
            }
            Entry::Close => self.close(DisconnectCause::ConnectionLost),
            Entry::Term => self.close(DisconnectCause::NodeStopped),
            Entry::Order(number) if self.ready && number >= self.expected => {
                if number > self.expected {
                    self.events.push_back(Event::Gap(SequenceGap {
                        session: SESSION,
                        from_sequence: MessageSequence(self.expected),
                        count: number - self.expected,
                        ..SequenceGap::blank()
                    }));
                }
                self.expected = number + 1;
                assert!(self.applied.insert(number));
                self.events.push_back(Event::Report(OrderAccepted {
                    session: SESSION,
                    sequence: MessageSequence(1),
                    ..OrderAccepted::blank()
                }));
            }
            Entry::Order(_) => {}
        }
    }

    fn close(&mut self, cause: DisconnectCause) {
        if self.ready {
            self.ready = false;
            self.events.push_back(Event::Closed(SessionClosed {
                session: SESSION,
                version: VERSION,
                cause: cause.into(),
                expected_sequence: MessageSequence(self.expected),
                ..SessionClosed::blank()
            }));
        }
    }
}

/// What the client of the connection heard.
#[derive(Default)]
struct Heard {
    not_applied: BTreeSet<u32>,
    busy: BTreeSet<u32>,
    end: Option<TerminationCode>,
    leader: bool,
}

struct World {
    seed: u64,
    session: Session,
    outbox: Outbox,
    ingress: Ingress,
    back_offs: BackOffs,
    settings: SessionSettings,
    keys: Keys,
    duty: Duty,
    now: Steady,
    /// Changes that the gateway has not heard of yet.
    news: VecDeque<Duty>,
    ring: Consumer<Line>,
    /// Whether the sequencer leads.
    leads: bool,
    proposed: VecDeque<Entry>,
    engine: Engine,
    heard: Heard,
    /// Whether the session was told that the log closed it, before it had ended.
    closed_by_log: bool,
    sent: BTreeSet<u32>,
}

impl World {
    fn new(seed: u64, lines: usize) -> Self {
        let (producer, ring) = ring(Capacity::new(lines).unwrap());
        let settings = SessionSettings::default();
        let now = Steady(1_000_000_000);
        let mut keys = Keys::new();
        keys.insert(SESSION, key());
        Self {
            seed,
            session: Session::new(ConnectionId(1), now, &settings),
            outbox: Outbox::new(0),
            ingress: Ingress::new(producer),
            back_offs: BackOffs::default(),
            settings,
            keys,
            duty: Duty::Leads,
            now,
            news: VecDeque::new(),
            ring,
            leads: true,
            proposed: VecDeque::new(),
            engine: Engine {
                expected: 1,
                ..Engine::default()
            },
            heard: Heard::default(),
            closed_by_log: false,
            sent: BTreeSet::new(),
        }
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Session, &mut Desk<'_>) -> T) -> T {
        let waiting = self.ring.len();
        let mut desk = Desk {
            now: self.now,
            ingress: &mut self.ingress,
            outbox: &mut self.outbox,
            keys: &self.keys,
            back_offs: &mut self.back_offs,
            settings: &self.settings,
            duty: &self.duty,
        };
        let result = act(&mut self.session, &mut desk);
        if self.duty != Duty::Leads {
            let (seed, owes) = (self.seed, self.session.owes());
            assert!(
                !owes && self.ring.len() == waiting,
                "seed {seed}: nobody drains that ring"
            );
        }
        self.read_outbox();
        result
    }

    fn read_outbox(&mut self) {
        let mut bytes = Vec::new();
        while self.outbox.waiting() > 0 {
            bytes.extend_from_slice(self.outbox.front());
            self.outbox.sent(self.outbox.front().len());
        }
        let (seed, mut rest) = (self.seed, &bytes[..]);
        while let Some(head) = rest.first_chunk::<4>() {
            assert!(
                self.heard.end.is_none(),
                "seed {seed}: a word after the end"
            );
            let length = u32::from_be_bytes(*head) as usize;
            let message = &rest[FRAMING_BYTES..length];
            if let Some(news) = NotApplied::read(message) {
                for number in news.from_sequence.0..news.from_sequence.0 + news.count {
                    let first = self.heard.not_applied.insert(number);
                    assert!(first, "seed {seed}: {number} is told again");
                }
            } else if let Some(busy) = Busy::read(message) {
                self.heard.busy.insert(busy.sequence.0);
            } else if let Some(end) = Terminate::read(message) {
                self.heard.end = end.code.decode();
            } else if Leader::read(message).is_some() {
                self.heard.leader = true;
            }
            rest = &rest[length..];
        }
    }

    fn establish(&mut self) {
        let mut request = Establish {
            session: SESSION,
            keep_alive: Millis(60_000),
            version: VERSION,
            timestamp: Nanos(1),
            next_sequence: MessageSequence(1),
            cancel_mode: CancelOnDisconnect::Both.into(),
            ..Establish::blank()
        };
        request.credentials = key().sign(&request.bytes()[..Establish::BYTES - 32]);
        let step = self.with(|session, desk| session.on_message(request.bytes(), desk));
        assert_eq!(step, Step::Claim(request));
        self.with(|session, desk| session.on_claim(&request, Claim::Granted, desk));
    }

    fn send(&mut self, number: u32) {
        self.sent.insert(number);
        let order = NewOrder {
            session: SESSION,
            sequence: MessageSequence(number),
            ..NewOrder::blank()
        };
        self.with(|session, desk| session.on_message(order.bytes(), desk));
    }

    /// The sequencer takes one command out of the ring; one that does not lead throws it away.
    fn sequence(&mut self) {
        let Some(line) = self.ring.try_pop() else {
            return;
        };
        if !self.leads {
            return;
        }
        let entry = if let Some(order) = NewOrder::read(&line.0) {
            Entry::Order(order.sequence.0)
        } else if ReadySession::read(&line.0).is_some() {
            Entry::Ready
        } else {
            assert!(CloseSession::read(&line.0).is_some());
            Entry::Close
        };
        self.proposed.push_back(entry);
    }

    fn commit(&mut self) {
        if let Some(entry) = self.proposed.pop_front() {
            self.engine.apply(entry);
        }
    }

    fn lose(&mut self, rng: &mut ChaCha8Rng) {
        if self.leads {
            self.leads = false;
            let address = rng.random_bool(0.5).then(|| "192.0.2.7:9".parse().unwrap());
            self.news.push_back(Duty::Follows(address));
        }
    }

    /// Somebody leads anew: what survives of the earlier terms comes first.
    fn begin_term(&mut self, rng: &mut ChaCha8Rng, here: bool) {
        self.lose(rng);
        let survive = rng.random_range(0..=self.proposed.len());
        for _ in 0..survive {
            self.commit();
        }
        self.proposed.clear();
        self.engine.apply(Entry::Term);
        if here {
            self.leads = true;
            self.news.push_back(Duty::Leads);
        }
    }

    fn hear_news(&mut self) {
        while let Some(duty) = self.news.pop_front() {
            self.duty = duty;
            if let Duty::Follows(_) = duty {
                self.with(Session::on_lead_lost);
            }
        }
    }

    /// The gateway reads some of the log, after all the news there was when that was written.
    fn read_log(&mut self, count: usize) {
        self.hear_news();
        for _ in 0..count {
            let Some(event) = self.engine.events.pop_front() else {
                return;
            };
            self.on_event(&event);
        }
    }

    fn on_event(&mut self, event: &Event) {
        match event {
            Event::Ready => {
                let ready = SessionReady {
                    session: SESSION,
                    version: VERSION,
                    expected_sequence: MessageSequence(1),
                    next_sequence: MessageSequence(1),
                    ..SessionReady::blank()
                };
                self.with(|session, desk| session.on_ready(&ready, desk));
            }
            Event::Report(report) => {
                let prefix = EventPrefix::peek(report.bytes()).unwrap();
                self.with(|session, desk| session.on_report(report.bytes(), &prefix, desk));
            }
            Event::Gap(gap) => {
                self.with(|session, desk| session.on_gap(gap, desk));
            }
            Event::Closed(closed) => {
                self.closed_by_log |= self.session.is_established();
                self.with(|session, desk| session.on_closed(closed, desk));
            }
        }
    }

    fn step(&mut self, rng: &mut ChaCha8Rng, next: &mut u32) {
        match rng.random_range(0..24) {
            0..8 => {
                self.send(*next);
                *next += 1;
            }
            8 => self.send(rng.random_range(1..=*next)),
            9 => {
                *next += rng.random_range(1..4);
                self.send(*next);
                *next += 1;
            }
            10..14 => self.sequence(),
            14..17 => self.commit(),
            17..20 => self.read_log(rng.random_range(0..4)),
            20 => self.hear_news(),
            21 if rng.random_ratio(1, 2) => self.lose(rng),
            22 if rng.random_ratio(1, 2) => {
                let here = rng.random_bool(0.4);
                self.begin_term(rng, here);
            }
            23 => {
                let alive = Sequence {
                    session: SESSION,
                    ..Sequence::blank()
                };
                self.with(|session, desk| session.on_message(alive.bytes(), desk));
                self.now = self.now.after(Nanos(rng.random_range(0..1_500_000_000)));
                self.with(Session::on_time);
            }
            _ => {}
        }
    }
}

#[test]
fn no_history_makes_the_gateway_say_what_is_not_so() {
    let (mut told, mut by_log, mut by_patience, mut named) = (0, 0, 0, 0);
    for seed in 0..6_000 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut world = World::new(seed, if seed % 5 == 0 { 8 } else { 256 });
        let mut next = 1;
        world.establish();
        for _ in 0..rng.random_range(0..12) {
            world.sequence();
            world.commit();
            world.read_log(1);
        }
        if !world.session.is_established() {
            continue;
        }
        for _ in 0..rng.random_range(10..120) {
            if world.session.ends() {
                break;
            }
            world.step(&mut rng, &mut next);
        }
        if rng.random_bool(0.2) {
            world.with(Session::on_lost);
        }
        // Whatever may still be committed is, or is replaced by another leader's log.
        for _ in 0..300 {
            world.sequence();
        }
        world.begin_term(&mut rng, false);
        for _ in 0..300 {
            world.sequence();
            world.commit();
        }
        world.read_log(1_000);
        let heard = &world.heard;
        let untrue = heard.not_applied.intersection(&world.engine.applied);
        assert_eq!(untrue.count(), 0, "seed {seed}: told of what was applied");
        told += heard.not_applied.len();
        named += usize::from(heard.leader);
        assert!(world.session.ends(), "seed {seed}: it never ended");
        if world.closed_by_log {
            by_log += 1;
            let last = heard.not_applied.last().max(world.engine.applied.last());
            for number in 1..=last.copied().unwrap_or(0) {
                let known = heard.not_applied.contains(&number)
                    || world.engine.applied.contains(&number)
                    || heard.busy.contains(&number);
                assert!(known, "seed {seed}: {number} is left out");
            }
            let unknown = |number: &&u32| {
                !heard.not_applied.contains(number)
                    && !world.engine.applied.contains(number)
                    && !heard.busy.contains(number)
            };
            let lost: Vec<_> = world.sent.iter().filter(unknown).collect();
            // Sent after the end, or never taken.
            let after = lost
                .iter()
                .all(|number| last.is_none_or(|last| *number > last));
            assert!(after, "seed {seed}: {lost:?} are left out");
        } else if heard.end == Some(TerminationCode::NotLeader) {
            by_patience += 1;
        }
    }
    let seen = told > 5_000 && by_log > 2_000 && by_patience > 200 && named > 500;
    assert!(
        seen,
        "too tame: {told} told, {by_log} by the log, {by_patience} without, {named} named"
    );
}
