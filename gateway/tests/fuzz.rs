//! Random and mutated bytes against the session core and against the socket: never a panic, always
//! a named end or a session that goes on working.
#![allow(clippy::unwrap_used)] // What goes wrong fails the test.

mod exchange;

use std::io::{Read, Write};
use std::time::Duration;

use exahour_gateway::back_off::BackOffs;
use exahour_gateway::client::{Client, ClientEvent};
use exahour_gateway::clock::Steady;
use exahour_gateway::duty::Duty;
use exahour_gateway::inbox::Inbox;
use exahour_gateway::ingress::Ingress;
use exahour_gateway::outbox::Outbox;
use exahour_gateway::session::{Claim, ConnectionId, Desk, Session, SessionSettings, Step};
use exahour_rings::{Capacity, ring};
use exahour_wire::catalogue::MESSAGES;
use exahour_wire::codes::{EstablishmentRejectCode, TerminationCode};
use exahour_wire::events::{
    EventPrefix, SequenceGap, SessionClosed, SessionExpelled, SessionOpened, SessionReady,
};
use exahour_wire::framing::{FRAMING_BYTES, framing_header};
use exahour_wire::ids::{MessageSequence, SessionId, SessionVersion};
use exahour_wire::internal::{CloseSession, OpenSession, ReadySession};
use exahour_wire::message::{HEADER_BYTES, Message, SCHEMA_ID, peek_header};
use exahour_wire::record::{Line, lines_of};
use exahour_wire::session::{RetransmitRequest, Sequence, Terminate};
use exahour_wire::units::Nanos;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use exchange::{Raw64, Rig, config, establish, keys, negotiate, numbered, order};

fn framed(message: &[u8]) -> Vec<u8> {
    let mut bytes = framing_header(message.len()).to_vec();
    bytes.extend_from_slice(message);
    bytes
}

/// A dialogue that is right, so that mutations reach deep.
fn dialogue(rng: &mut ChaCha8Rng, session: u32, version: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if rng.random_ratio(9, 10) {
        bytes.extend(framed(negotiate(session, version).bytes()));
    }
    if rng.random_ratio(9, 10) {
        bytes.extend(framed(establish(session, version, 1, version + 1).bytes()));
    }
    for sequence in 1..rng.random_range(2..20) {
        let id = SessionId(session);
        bytes.extend(match rng.random_range(0..12) {
            0 => framed(
                Sequence {
                    session: id,
                    ..Sequence::blank()
                }
                .bytes(),
            ),
            1 => framed(
                RetransmitRequest {
                    session: id,
                    from_sequence: MessageSequence(rng.random_range(0..5)),
                    count: rng.random_range(0..5),
                    ..RetransmitRequest::blank()
                }
                .bytes(),
            ),
            2 if rng.random_ratio(1, 4) => framed(&any_message(rng)),
            _ => framed(numbered(session, sequence, order(1, session, 1)).bytes()),
        });
    }
    bytes
}

fn any_message(rng: &mut ChaCha8Rng) -> Vec<u8> {
    let declared = &MESSAGES[rng.random_range(0..MESSAGES.len())];
    let mut bytes = vec![0; HEADER_BYTES + usize::from(declared.block_length)];
    rng.fill_bytes(&mut bytes[HEADER_BYTES..]);
    bytes[..2].copy_from_slice(&declared.block_length.to_le_bytes());
    bytes[2..4].copy_from_slice(&declared.template_id.to_le_bytes());
    bytes[4..6].copy_from_slice(&SCHEMA_ID.to_le_bytes());
    bytes
}

fn mutate(rng: &mut ChaCha8Rng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.random_range(0..4) {
        if bytes.is_empty() {
            return;
        }
        let place = rng.random_range(0..bytes.len());
        match rng.random_range(0..4) {
            0 => bytes[place] ^= 1 << rng.random_range(0..8),
            1 => bytes[place] = rng.random(),
            2 => bytes.truncate(place),
            _ => {
                let end = (place + rng.random_range(1..40)).min(bytes.len());
                let part = bytes[place..end].to_vec();
                bytes.splice(place..place, part);
            }
        }
    }
}

/// What the test keeps of one session under fire.
struct Range {
    session: Session,
    outbox: Outbox,
    ingress: Ingress,
    lines: exahour_rings::Consumer<Line>,
    back_offs: BackOffs,
    settings: SessionSettings,
    duty: Duty,
    now: Steady,
}

impl Range {
    fn with<T>(&mut self, act: impl FnOnce(&mut Session, &mut Desk<'_>) -> T) -> T {
        let keys = keys();
        let mut desk = Desk {
            now: self.now,
            ingress: &mut self.ingress,
            outbox: &mut self.outbox,
            keys: &keys,
            back_offs: &mut self.back_offs,
            settings: &self.settings,
            duty: &self.duty,
        };
        act(&mut self.session, &mut desk)
    }

    /// The engine's side: answers what was handed on, truthfully or not.
    fn answer(&mut self, rng: &mut ChaCha8Rng, closes: &mut usize) {
        while let Some(first) = self.lines.try_pop() {
            for _ in 1..lines_of(&first).unwrap() {
                self.lines.try_pop().unwrap();
            }
            let refusal = if rng.random_ratio(1, 6) {
                rng.random_range(0..12)
            } else {
                0
            };
            if let Some(open) = OpenSession::read(&first.0) {
                let event = SessionOpened {
                    session: open.session,
                    version: open.version,
                    refusal: exahour_wire::codes::Raw::new(refusal),
                    ..SessionOpened::blank()
                };
                self.with(|session, desk| session.on_opened(&event, desk));
            } else if let Some(ready) = ReadySession::read(&first.0) {
                let event = SessionReady {
                    session: ready.session,
                    version: ready.version,
                    next_sequence: MessageSequence(rng.random_range(0..4)),
                    refusal: exahour_wire::codes::Raw::new(refusal),
                    ..SessionReady::blank()
                };
                self.with(|session, desk| session.on_ready(&event, desk));
            } else if CloseSession::read(&first.0).is_some() {
                *closes += 1;
            }
        }
    }

    fn disturb(&mut self, rng: &mut ChaCha8Rng, version: u64) {
        let version = SessionVersion(version);
        match rng.random_range(0..60) {
            0 => {
                let event = SessionExpelled {
                    version,
                    ..SessionExpelled::blank()
                };
                self.with(|session, desk| session.on_expelled(&event, desk));
            }
            1 => {
                let event = SessionClosed {
                    session: SessionId(1),
                    version,
                    expected_sequence: MessageSequence(rng.random_range(0..9)),
                    ..SessionClosed::blank()
                };
                self.with(|session, desk| session.on_closed(&event, desk));
            }
            2 | 3 => {
                let event = SequenceGap::blank();
                self.with(|session, desk| session.on_gap(&event, desk));
            }
            4 => {
                self.now = self.now.after(Nanos(rng.random_range(0..2_000_000_000)));
                self.with(Session::on_time);
            }
            5 => {
                let address = rng
                    .random_bool(0.5)
                    .then(|| "192.0.2.1:9001".parse().unwrap());
                self.duty = Duty::Follows(address);
                self.with(Session::on_lead_lost);
            }
            6 => self.duty = Duty::Leads,
            7..20 => {
                let mut report = exahour_wire::events::OrderAccepted::blank();
                report.sequence = MessageSequence(rng.random());
                let own = rng.random_bool(0.9);
                self.with(|session, desk| {
                    // Now and then one that is none of this session's.
                    let owner = session.session().filter(|_| own);
                    report.session = owner.unwrap_or(SessionId(0xffff));
                    let prefix = EventPrefix::peek(report.bytes()).unwrap();
                    session.on_report(report.bytes(), &prefix, desk)
                });
            }
            _ => {}
        }
    }
}

#[test]
fn the_core_answers_every_stream_of_bytes() {
    for seed in 0..4_000 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (producer, lines) = ring(Capacity::new(1 << rng.random_range(2..6)).unwrap());
        let settings = SessionSettings::default();
        let now = Steady(1_000_000_000);
        let mut range = Range {
            session: Session::new(ConnectionId(1), now, &settings),
            outbox: Outbox::new(0),
            ingress: Ingress::new(producer),
            lines,
            back_offs: BackOffs::default(),
            settings,
            duty: Duty::Leads,
            now,
        };
        let mut bytes = dialogue(&mut rng, 1, 5);
        mutate(&mut rng, &mut bytes);
        let (mut closes, mut inbox) = (0, Inbox::new(1 << 16));
        inbox.room()[..bytes.len()].copy_from_slice(&bytes);
        inbox.filled(bytes.len());
        let mut ended = false;
        loop {
            let step = match inbox.next_message() {
                Ok(Some(message)) => range.with(|session, desk| session.on_message(message, desk)),
                Ok(None) => break,
                Err(frame) => {
                    range.with(|session, desk| session.on_breach(frame.into(), desk));
                    assert!(range.session.ends(), "seed {seed}");
                    break;
                }
            };
            if let Step::Claim(request) = step {
                let claim = match rng.random_ratio(1, 9) {
                    true => Claim::Refused(EstablishmentRejectCode::AlreadyEstablished),
                    false => Claim::Granted,
                };
                range.with(|session, desk| session.on_claim(&request, claim, desk));
            }
            assert!(
                !ended || range.session.ends(),
                "seed {seed}: it came back to life"
            );
            ended = range.session.ends();
            range.disturb(&mut rng, 5);
            if rng.random_ratio(3, 4) {
                range.answer(&mut rng, &mut closes);
            }
        }
        range.with(Session::on_lost);
        for _ in 0..3 {
            range.answer(&mut rng, &mut closes);
            range.with(|session, desk| session.settle(desk));
        }
        assert!(
            range.session.ends() && !range.session.owes() && closes <= 1,
            "seed {seed}"
        );
        let last = last_message(&range.outbox);
        if ended {
            let end = Terminate::read(&last).unwrap_or_else(|| panic!("seed {seed}: no end"));
            assert!(end.code.decode().is_some(), "seed {seed}");
        }
    }
}

fn last_message(outbox: &Outbox) -> Vec<u8> {
    let (mut bytes, mut last) = (outbox.front(), Vec::new());
    while bytes.len() > FRAMING_BYTES {
        let length = u32::from_be_bytes(*bytes.first_chunk().unwrap()) as usize;
        last = bytes[FRAMING_BYTES..length].to_vec();
        assert!(peek_header(&last).is_some_and(|header| header.schema_id == SCHEMA_ID));
        bytes = &bytes[length..];
    }
    last
}

#[test]
fn the_socket_survives_every_stream_of_bytes() {
    let rig = Rig::start();
    let mut good = Client::connect(rig.address, config(2)).unwrap();
    let mut named = 0;
    for seed in 0..300 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut bytes = dialogue(&mut rng, 1, seed * 10 + 1);
        if rng.random_ratio(1, 8) {
            bytes.truncate(0);
            bytes.resize(rng.random_range(0..3_000), 0);
            rng.fill_bytes(&mut bytes);
        }
        mutate(&mut rng, &mut bytes);
        let mut raw = Raw64::connect(&rig);
        let limit = Some(Duration::from_millis(if seed % 3 == 0 { 30 } else { 2 }));
        raw.stream.set_read_timeout(limit).unwrap();
        let mut heard = Vec::new();
        for piece in bytes.chunks(rng.random_range(1..400)) {
            if raw.stream.write_all(piece).is_err() {
                break;
            }
        }
        let _ = raw.stream.read_to_end(&mut heard);
        named += usize::from(ends_by_name(&heard, seed));
        let sequence = good.send(&order(seed + 1, 2, 0)).unwrap();
        match good.wait(Duration::from_secs(20)).unwrap() {
            Some(ClientEvent::Report(report)) => {
                assert_eq!(report.prefix().sequence, sequence, "seed {seed}");
            }
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    assert!(
        named > 50,
        "only {named} streams were ended: the mutations are too tame"
    );
}

/// Whether whole, known messages end with a Terminate that has a known code.
fn ends_by_name(mut bytes: &[u8], seed: u64) -> bool {
    let mut ended = false;
    while let Some(head) = bytes.first_chunk::<4>() {
        let length = u32::from_be_bytes(*head) as usize;
        let Some(message) = bytes.get(FRAMING_BYTES..length) else {
            return false;
        };
        assert!(!ended, "seed {seed}: something follows the end");
        if let Some(end) = Terminate::read(message) {
            let code: Option<TerminationCode> = end.code.decode();
            assert!(code.is_some(), "seed {seed}");
            ended = true;
        }
        bytes = &bytes[length..];
    }
    ended
}
