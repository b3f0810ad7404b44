//! Every bad act of a client over real TCP, and its exact answer.
#![allow(clippy::unwrap_used)] // What goes wrong fails the test.

mod exchange;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;

use exahour_gateway::opening::Applied;
use exahour_wire::codes::{
    DisconnectCause, EstablishmentRejectCode, NegotiationRejectCode, RetransmitRejectCode,
    TerminationCode,
};
use exahour_wire::events::{OrderAccepted, SequenceGap};
use exahour_wire::framing::framing_header;
use exahour_wire::ids::{MessageSequence, SessionId};
use exahour_wire::internal::{CloseSession, OpenSession, Tick};
use exahour_wire::message::{Digest, Message};
use exahour_wire::orders::NewOrder;
use exahour_wire::session::{
    Busy, Establish, EstablishmentAck, EstablishmentReject, Negotiate, NegotiationReject,
    NegotiationResponse, NotApplied, Retransmission, RetransmitReject, RetransmitRequest, Sequence,
    Terminate,
};
use exahour_wire::units::{Millis, Nanos};

use exchange::{EXPEL, Raw64, Rig, establish, negotiate, numbered, order, sign};

fn said<M: Message>(raw: &mut Raw64, message: &M) -> Vec<u8> {
    raw.say(message);
    raw.next().unwrap()
}

#[track_caller]
fn negotiation_refused(raw: &mut Raw64, request: &Negotiate) -> (NegotiationRejectCode, u32) {
    let reject = NegotiationReject::read(&said(raw, request)).unwrap();
    assert_eq!(reject.request_timestamp, request.timestamp);
    (reject.code.decode().unwrap(), reject.back_off.0)
}

#[track_caller]
fn establishment_refused(raw: &mut Raw64, request: &Establish) -> (EstablishmentRejectCode, u32) {
    let reject = EstablishmentReject::read(&said(raw, request)).unwrap();
    assert_eq!(reject.request_timestamp, request.timestamp);
    let code = reject.code.decode().unwrap();
    (code, reject.back_off.0.max(reject.expected_sequence.0))
}

#[test]
fn frames_that_cannot_be_cut() {
    let rig = Rig::start();
    for (bytes, code, detail) in [
        ([0, 0, 0, 13, 0x5B, 0xE0], TerminationCode::BadLength, 13),
        ([0, 0, 1, 7, 0x5B, 0xE0], TerminationCode::BadLength, 263),
        ([0xFF; 6], TerminationCode::BadLength, u32::MAX),
        (
            [0, 0, 0, 70, 0xEB, 0x50],
            TerminationCode::BadEncoding,
            0xEB50,
        ),
    ] {
        let mut raw = Raw64::connect(&rig);
        // More follows than is read: the answer must survive the close.
        raw.stream.write_all(&bytes).unwrap();
        raw.stream.write_all(&[7; 10_000]).unwrap();
        raw.hear_end(code, detail);
    }
    let mut raw = Raw64::established(&rig, 1, 1);
    raw.stream.write_all(&[0, 0, 0, 13, 0x5B, 0xE0]).unwrap();
    raw.hear_end(TerminationCode::BadLength, 13);
    rig.until(|| rig.closed(1) == [DisconnectCause::ProtocolBreach]);
}

#[test]
fn templates_that_no_client_may_send() {
    let rig = Rig::start();
    let internal = [
        OpenSession::blank().bytes().to_vec(),
        CloseSession::blank().bytes().to_vec(),
        Tick::blank().bytes().to_vec(),
        OrderAccepted::blank().bytes().to_vec(),
        NegotiationResponse::blank().bytes().to_vec(),
        EstablishmentAck::blank().bytes().to_vec(),
        vec![0, 0, 0xE7, 3, 88, 2, 0, 0],
    ];
    for (place, bytes) in internal.iter().enumerate() {
        let template = u32::from(u16::from_le_bytes([bytes[2], bytes[3]]));
        let mut raw = Raw64::connect(&rig);
        raw.say_bytes(bytes);
        raw.hear_end(TerminationCode::UnknownTemplate, template);
        let mut raw = Raw64::established(&rig, 2, place as u64 + 1);
        raw.say_bytes(bytes);
        raw.hear_end(TerminationCode::UnknownTemplate, template);
    }
    assert_eq!(rig.told.orders.load(Ordering::SeqCst), 0);
}

#[test]
fn schemas_and_blocks_that_cannot_be_read() {
    let rig = Rig::start();
    let order = numbered(1, 1, order(1, 1, 0)).bytes().to_vec();
    let mut other_schema = order.clone();
    other_schema[4..6].copy_from_slice(&77_u16.to_le_bytes());
    let mut older = order[..56].to_vec();
    older[0] = 48;
    for (place, (bytes, code, detail)) in [
        (&other_schema[..], TerminationCode::BadSchema, 77),
        (&older[..], TerminationCode::BadSchema, 48),
        (&order[..60], TerminationCode::BadLength, 56),
    ]
    .into_iter()
    .enumerate()
    {
        let mut raw = Raw64::established(&rig, 1, place as u64 + 1);
        raw.say_bytes(bytes);
        raw.hear_end(code, detail);
    }
    let mut newer = order;
    newer.extend_from_slice(&[9; 8]);
    newer[0] = 64;
    newer[6] = 1;
    let mut raw = Raw64::established(&rig, 1, 9);
    raw.say_bytes(&newer);
    assert_eq!(
        raw.hear::<OrderAccepted>().client_sequence,
        MessageSequence(1)
    );
}

#[test]
fn messages_before_the_flow_is_open() {
    let rig = Rig::start();
    let alive = Sequence {
        session: SessionId(1),
        ..Sequence::blank()
    };
    let again = RetransmitRequest {
        session: SessionId(1),
        ..RetransmitRequest::blank()
    };
    let early = [
        numbered(1, 1, order(1, 1, 0)).bytes().to_vec(),
        alive.bytes().to_vec(),
        again.bytes().to_vec(),
    ];
    for (place, bytes) in early.iter().enumerate() {
        let mut raw = Raw64::connect(&rig);
        raw.say_bytes(bytes);
        raw.hear_end(TerminationCode::NotEstablished, 0);
        let mut raw = Raw64::connect(&rig);
        raw.say(&negotiate(1, place as u64 + 1));
        raw.hear::<NegotiationResponse>();
        raw.say_bytes(bytes);
        raw.hear_end(TerminationCode::NotEstablished, 0);
    }
    assert_eq!(rig.told.orders.load(Ordering::SeqCst), 0);
}

#[test]
fn negotiations_that_are_refused() {
    let rig = Rig::start();
    let mut raw = Raw64::connect(&rig);
    let mut flow = Negotiate {
        client_flow: exahour_wire::codes::Raw::new(2),
        ..negotiate(1, 10)
    };
    flow.credentials = sign(1, &flow);
    assert_eq!(
        negotiation_refused(&mut raw, &flow),
        (NegotiationRejectCode::FlowType, 0)
    );
    raw.say(&negotiate(1, 10));
    raw.hear::<NegotiationResponse>();
    // The same connection again, negotiated and then established.
    let twice = negotiation_refused(&mut raw, &negotiate(1, 11));
    assert_eq!(twice, (NegotiationRejectCode::AlreadyNegotiated, 0));
    raw.hear_end(TerminationCode::DuplicateNegotiate, 0);
    let mut raw = Raw64::established(&rig, 1, 12);
    let twice = negotiation_refused(&mut raw, &negotiate(1, 13));
    assert_eq!(twice, (NegotiationRejectCode::AlreadyNegotiated, 0));
    raw.hear_end(TerminationCode::DuplicateNegotiate, 0);
    // A stale version is refused; the connection lives and may try a newer one.
    let mut raw = Raw64::connect(&rig);
    for stale in [1, 12] {
        let refusal = negotiation_refused(&mut raw, &negotiate(1, stale));
        assert_eq!(refusal, (NegotiationRejectCode::StaleVersion, 0));
    }
    raw.say(&negotiate(1, 14));
    raw.hear::<NegotiationResponse>();
}

#[test]
fn wrong_credentials_cost_time_on_every_connection_and_never_the_owner() {
    let rig = Rig::start();
    let forge = |session: u32, version: u64| Negotiate {
        credentials: Digest([3; 32]),
        ..negotiate(session, version)
    };
    // A session that is unknown is answered like one that is known.
    for session in [3, 50_000] {
        let mut raw = Raw64::connect(&rig);
        let refused = negotiation_refused(&mut raw, &forge(session, 1));
        assert_eq!(refused, (NegotiationRejectCode::Credentials, 100));
        let mut raw = Raw64::connect(&rig);
        let refused = negotiation_refused(&mut raw, &forge(session, 1));
        assert_eq!(refused, (NegotiationRejectCode::BackOff, 100));
        rig.advance(Nanos(99_500_000));
        let refused = negotiation_refused(&mut raw, &forge(session, 1));
        assert_eq!(refused, (NegotiationRejectCode::BackOff, 1));
        rig.advance(Nanos(500_000));
        let refused = negotiation_refused(&mut raw, &forge(session, 1));
        assert_eq!(refused, (NegotiationRejectCode::Credentials, 200));
    }
    // Whoever knows the key does not wait for what others tried.
    let mut raw = Raw64::connect(&rig);
    raw.say(&negotiate(3, 1));
    raw.hear::<NegotiationResponse>();
    // The count starts again after a success, also for an establishment.
    let forged = Establish {
        credentials: Digest([3; 32]),
        ..establish(3, 1, 1, 5)
    };
    let refused = establishment_refused(&mut raw, &forged);
    assert_eq!(refused, (EstablishmentRejectCode::Credentials, 100));
    let refused = establishment_refused(&mut raw, &forged);
    assert_eq!(refused, (EstablishmentRejectCode::BackOff, 100));
    raw.say(&establish(3, 1, 1, 5));
    raw.hear::<EstablishmentAck>();
}

#[test]
fn establishments_that_are_refused() {
    let rig = Rig::start();
    let mut raw = Raw64::connect(&rig);
    let refused = establishment_refused(&mut raw, &establish(4, 1, 1, 1));
    assert_eq!(refused, (EstablishmentRejectCode::Unnegotiated, 0));
    raw.say(&negotiate(4, 7));
    raw.hear::<NegotiationResponse>();
    let refused = establishment_refused(&mut raw, &establish(4, 6, 1, 1));
    assert_eq!(refused, (EstablishmentRejectCode::Unnegotiated, 0));
    let signed = |change: &dyn Fn(&mut Establish)| {
        let mut request = establish(4, 7, 1, 1);
        change(&mut request);
        request.credentials = sign(4, &request);
        request
    };
    for keep_alive in [0, 99, 60_001] {
        let request = signed(&|request| request.keep_alive = Millis(keep_alive));
        let refused = establishment_refused(&mut raw, &request);
        assert_eq!(refused, (EstablishmentRejectCode::KeepAlive, 0));
    }
    let request = signed(&|request| request.cancel_mode = exahour_wire::codes::Raw::new(9));
    let refused = establishment_refused(&mut raw, &request);
    assert_eq!(refused, (EstablishmentRejectCode::CancelMode, 0));
    raw.say(&establish(4, 7, 1, 10));
    assert_eq!(
        raw.hear::<EstablishmentAck>().expected_sequence,
        MessageSequence(1)
    );
    let refused = establishment_refused(&mut raw, &establish(4, 7, 1, 11));
    assert_eq!(refused, (EstablishmentRejectCode::AlreadyEstablished, 0));
    for sequence in 1..=3 {
        raw.say(&numbered(4, sequence, order(1, 4, 0)));
        raw.hear::<OrderAccepted>();
    }
    drop(raw);
    rig.until(|| rig.closed(4) == [DisconnectCause::ConnectionLost]);
    // A recording of the establishment is refused by its time, a low number by the engine.
    let mut raw = Raw64::connect(&rig);
    let refused = establishment_refused(&mut raw, &establish(4, 7, 1, 10));
    assert_eq!(refused, (EstablishmentRejectCode::Credentials, 0));
    let refused = establishment_refused(&mut raw, &establish(4, 7, 3, 20));
    assert_eq!(refused, (EstablishmentRejectCode::Sequence, 4));
    raw.say(&establish(4, 7, 6, 21));
    // The gap has a number before the acknowledgement's, and is had by asking.
    assert_eq!(
        raw.hear::<EstablishmentAck>().next_sequence,
        MessageSequence(5)
    );
    let lost = raw.hear::<NotApplied>();
    assert_eq!((lost.from_sequence, lost.count), (MessageSequence(4), 2));
    raw.say(&RetransmitRequest {
        session: SessionId(4),
        from_sequence: MessageSequence(4),
        count: 1,
        ..RetransmitRequest::blank()
    });
    assert_eq!(raw.hear::<Retransmission>().count, 1);
    let gap = raw.hear::<SequenceGap>();
    assert_eq!(gap.sequence, MessageSequence(4));
    assert_eq!((gap.from_sequence, gap.count), (MessageSequence(4), 2));
}

#[test]
fn silence_is_ended_on_both_sides_of_the_logon() {
    let rig = Rig::start();
    let mut waiting = Raw64::connect(&rig);
    let mut negotiated = Raw64::connect(&rig);
    negotiated.say(&negotiate(5, 1));
    negotiated.hear::<NegotiationResponse>();
    let mut raw = Raw64::established(&rig, 6, 1);
    rig.advance(Nanos(750_000_000));
    assert_eq!(raw.hear::<Sequence>().next_sequence, MessageSequence(1));
    rig.advance(Nanos(751_000_000));
    raw.hear_end(TerminationCode::KeepAliveMissed, 0);
    rig.until(|| rig.closed(6) == [DisconnectCause::KeepAliveMissed]);
    rig.advance(Nanos(3_500_000_000));
    waiting.hear_end(TerminationCode::LogonTimeout, 0);
    negotiated.hear_end(TerminationCode::LogonTimeout, 0);
}

#[test]
fn a_message_that_names_another_session() {
    let rig = Rig::start();
    let wrong = [
        numbered(8, 1, order(1, 1, 0)).bytes().to_vec(),
        Sequence {
            session: SessionId(8),
            ..Sequence::blank()
        }
        .bytes()
        .to_vec(),
        Terminate {
            session: SessionId(8),
            ..Terminate::blank()
        }
        .bytes()
        .to_vec(),
    ];
    for (place, bytes) in wrong.iter().enumerate() {
        let mut raw = Raw64::established(&rig, 7, place as u64 + 1);
        raw.say_bytes(bytes);
        raw.hear_end(TerminationCode::WrongSession, 0);
        rig.until(|| rig.closed(7).len() == place + 1);
    }
    assert!(
        rig.closed(7)
            .iter()
            .all(|cause| *cause == DisconnectCause::ProtocolBreach)
    );
    let mut raw = Raw64::connect(&rig);
    raw.say(&negotiate(7, 9));
    raw.hear::<NegotiationResponse>();
    raw.say(&establish(8, 9, 1, 9));
    raw.hear_end(TerminationCode::WrongSession, 0);
}

fn hear_accepted(raw: &mut Raw64, numbers: RangeInclusive<u32>) {
    for number in numbers {
        let accepted = raw.hear::<OrderAccepted>();
        assert_eq!(accepted.client_sequence, MessageSequence(number));
    }
}

#[test]
fn gaps_are_told_and_duplicates_are_not_applied() {
    let rig = Rig::start();
    let mut raw = Raw64::established(&rig, 1, 1);
    for sequence in [1, 1, 2, 1, 5, 3, 6] {
        raw.say(&numbered(1, sequence, order(u64::from(sequence), 1, 0)));
    }
    hear_accepted(&mut raw, 1..=2);
    let lost = raw.hear::<NotApplied>();
    assert_eq!((lost.from_sequence, lost.count), (MessageSequence(3), 2));
    let gap = raw.hear::<SequenceGap>();
    assert_eq!(gap.sequence, MessageSequence(3));
    assert_eq!((gap.from_sequence, gap.count), (MessageSequence(3), 2));
    hear_accepted(&mut raw, 5..=6);
    assert_eq!(rig.told.orders.load(Ordering::SeqCst), 4);
}

#[test]
fn a_full_ring_is_busy_at_once() {
    let rig = Rig::start_with(|_| {}, 4);
    let mut raw = Raw64::established(&rig, 1, 1);
    rig.pause();
    for sequence in 1..=6 {
        raw.say(&numbered(1, sequence, order(u64::from(sequence), 1, 0)));
    }
    for sequence in [5, 6] {
        assert_eq!(raw.hear::<Busy>().sequence, MessageSequence(sequence));
    }
    rig.paused.store(false, Ordering::SeqCst);
    for sequence in 1..=4 {
        let report = raw.hear::<OrderAccepted>();
        assert_eq!(report.client_sequence, MessageSequence(sequence));
    }
    raw.say(&numbered(1, 7, order(7, 1, 0)));
    let lost = raw.hear::<NotApplied>();
    assert_eq!((lost.from_sequence, lost.count), (MessageSequence(5), 2));
    assert_eq!(raw.hear::<SequenceGap>().from_sequence, lost.from_sequence);
    hear_accepted(&mut raw, 7..=7);
}

#[test]
fn a_close_that_finds_the_ring_full_is_told_later() {
    let rig = Rig::start_with(|_| {}, 2);
    let mut raw = Raw64::established(&rig, 1, 1);
    rig.pause();
    for sequence in 1..=3 {
        raw.say(&numbered(1, sequence, order(u64::from(sequence), 1, 0)));
    }
    raw.hear::<Busy>();
    let mut other = Raw64::connect(&rig);
    let refused = negotiation_refused(&mut other, &negotiate(2, 1));
    assert_eq!(refused, (NegotiationRejectCode::Busy, 0));
    drop(raw);
    // A take-over must not overtake the news that the old connection is gone.
    rig.advance(Nanos(10_000_000));
    let refused = establishment_refused(&mut other, &establish(1, 1, 3, 50));
    assert_eq!(refused, (EstablishmentRejectCode::Busy, 0));
    rig.paused.store(false, Ordering::SeqCst);
    rig.advance(Nanos(10_000_000));
    rig.until(|| rig.closed(1) == [DisconnectCause::ConnectionLost]);
    assert_eq!(rig.told.orders.load(Ordering::SeqCst), 2);
}

#[test]
fn a_refused_establishment_leaves_nothing_behind_for_whoever_has_the_place_next() {
    let rig = Rig::start();
    drop(Raw64::established(&rig, 1, 1));
    rig.advance(Nanos(10_000_000));
    rig.until(|| rig.closed(1) == [DisconnectCause::ConnectionLost]);
    // A claim of session 1 that the engine refuses; the connection goes on with session 2.
    let mut stray = Raw64::connect(&rig);
    let refused = establishment_refused(&mut stray, &establish(1, 1, 0, 50));
    assert_eq!(refused, (EstablishmentRejectCode::Sequence, 1));
    stray.say(&negotiate(2, 1));
    stray.hear::<NegotiationResponse>();
    stray.say(&establish(2, 1, 1, 1));
    stray.hear::<EstablishmentAck>();
    drop(stray);
    rig.advance(Nanos(10_000_000));
    rig.until(|| rig.closed(2) == [DisconnectCause::ConnectionLost]);
    // Whoever comes next has its place, and session 1 comes back elsewhere.
    let mut next = Raw64::established(&rig, 3, 1);
    let mut owner = Raw64::established(&rig, 1, 2);
    next.say(&numbered(3, 1, order(1, 1, 0)));
    hear_accepted(&mut next, 1..=1);
    owner.say(&numbered(1, 1, order(1, 1, 0)));
    hear_accepted(&mut owner, 1..=1);
}

#[test]
fn a_recording_of_an_earlier_version_never_stands_in_the_owners_way() {
    let mut rig = Rig::start();
    drop(Raw64::established(&rig, 1, 1));
    rig.advance(Nanos(10_000_000));
    rig.until(|| rig.closed(1) == [DisconnectCause::ConnectionLost]);
    drop(Raw64::established(&rig, 1, 2));
    rig.advance(Nanos(10_000_000));
    rig.until(|| rig.closed(1).len() == 2);
    rig.restart();
    let mut recording = Raw64::connect(&rig);
    let refused = establishment_refused(&mut recording, &establish(1, 1, 1, 50));
    // By the gateway itself: the engine would have named the number that it expects.
    assert_eq!(refused, (EstablishmentRejectCode::Unnegotiated, 0));
}

#[test]
fn nobody_is_let_in_before_the_log_tells_of_everything_committed() {
    let (mut applied, mark) = exahour_rings::watermark();
    let (mut superseded_in, superseded) = exahour_rings::watermark();
    let behind = Applied {
        mark,
        frame: 9,
        superseded,
    };
    let rig = Rig::start_with(|settings| settings.opens_behind = Some(behind), 64);
    let mut raw = Raw64::connect(&rig);
    raw.say(&negotiate(1, 1));
    applied.publish(6);
    let turns = rig.turns.load(Ordering::SeqCst);
    rig.until(|| rig.turns.load(Ordering::SeqCst) > turns + 1_000);
    raw.stream.set_nonblocking(true).unwrap();
    let nothing = raw.stream.read(&mut [0; 64]).unwrap_err();
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
    raw.stream.set_nonblocking(false).unwrap();
    applied.publish(7);
    // The last two were another leader's, and were never committed.
    superseded_in.publish(2);
    raw.hear::<NegotiationResponse>();
}

#[test]
fn the_exchange_logs_a_session_out() {
    let rig = Rig::start();
    let mut raw = Raw64::established(&rig, 1, 1);
    raw.say(&numbered(1, 1, order(EXPEL.0, 1, 0)));
    raw.hear_end(TerminationCode::Throttled, 0);
    rig.until(|| rig.closed(1) == [DisconnectCause::Expelled]);
}

#[test]
fn a_newer_connection_takes_the_session_over() {
    let rig = Rig::start();
    let mut old = Raw64::established(&rig, 1, 100);
    old.say(&numbered(1, 1, order(1, 1, 0)));
    old.hear::<OrderAccepted>();
    // What Raw64 sent to establish, played back: refused, and the session goes on undisturbed.
    let mut thief = Raw64::connect(&rig);
    let refused = establishment_refused(&mut thief, &establish(1, 100, 1, 101));
    assert_eq!(refused, (EstablishmentRejectCode::AlreadyEstablished, 0));
    let refused = establishment_refused(&mut thief, &establish(1, 99, 1, 500));
    assert_eq!(refused, (EstablishmentRejectCode::Unnegotiated, 0));
    old.say(&numbered(1, 2, order(2, 1, 0)));
    old.hear::<OrderAccepted>();
    let mut new = Raw64::connect(&rig);
    new.say(&establish(1, 100, 3, 102));
    let ack = new.hear::<EstablishmentAck>();
    assert_eq!(ack.next_sequence, MessageSequence(3));
    old.hear_end(TerminationCode::Superseded, 0);
    assert_eq!(rig.closed(1), [DisconnectCause::ConnectionLost]);
    new.say(&numbered(1, 3, order(3, 1, 0)));
    assert_eq!(new.hear::<OrderAccepted>().sequence, MessageSequence(3));
    // A new version takes it over as soon as it is negotiated.
    let mut newest = Raw64::connect(&rig);
    newest.say(&negotiate(1, 200));
    newest.hear::<NegotiationResponse>();
    new.hear_end(TerminationCode::Superseded, 0);
    newest.say(&establish(1, 200, 1, 201));
    assert_eq!(
        newest.hear::<EstablishmentAck>().next_sequence,
        MessageSequence(1)
    );
}

#[test]
fn every_end_is_told_to_the_engine_by_its_cause() {
    let mut rig = Rig::start();
    let mut raw = Raw64::established(&rig, 1, 1);
    raw.say(&Terminate {
        session: SessionId(1),
        ..Terminate::blank()
    });
    raw.hear_end(TerminationCode::Finished, 0);
    rig.until(|| rig.closed(1) == [DisconnectCause::ClientTerminated]);
    let raw = Raw64::established(&rig, 2, 1);
    drop(raw);
    rig.until(|| rig.closed(2) == [DisconnectCause::ConnectionLost]);
    let mut raw = Raw64::established(&rig, 3, 1);
    rig.restart();
    raw.hear_end(TerminationCode::NodeStopping, 0);
    assert_eq!(rig.closed(3), [DisconnectCause::NodeStopped]);
}

#[test]
fn a_connection_too_many_is_closed_at_once() {
    let rig = Rig::start_with(|settings| settings.connections_max = 1, 64);
    let raw = Raw64::established(&rig, 1, 1);
    let mut refused = TcpStream::connect(rig.address).unwrap();
    let ended = refused.read(&mut [0; 8]);
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    drop(raw);
    rig.until(|| rig.closed(1).len() == 1);
    rig.advance(Nanos(10_000_000));
    rig.until(|| {
        let mut next = TcpStream::connect(rig.address).unwrap();
        next.set_read_timeout(Some(std::time::Duration::from_millis(20)))
            .unwrap();
        next.write_all(&[0, 0, 0, 1, 0, 0]).unwrap();
        matches!(next.read(&mut [0; 64]), Ok(1..))
    });
}

#[test]
fn retransmissions_within_and_outside_the_range() {
    let rig = Rig::start();
    let mut raw = Raw64::established(&rig, 1, 1);
    raw.say(&numbered(1, 1, order(1, 1, 9)));
    let first: Vec<_> = (0..10).map(|_| raw.next().unwrap()).collect();
    let request = |from: u32, count: u32| RetransmitRequest {
        session: SessionId(1),
        from_sequence: MessageSequence(from),
        count,
        timestamp: Nanos(77),
        ..RetransmitRequest::blank()
    };
    let too_many = RetransmitRejectCode::TooMany;
    let out = RetransmitRejectCode::OutOfRange;
    for (from, count, code) in [
        (0, 1, out),
        (1, 0, out),
        (1, 11, out),
        (11, 1, out),
        (u32::MAX, u32::MAX, too_many),
        (1, 65_537, too_many),
        (u32::MAX, 1, out),
    ] {
        raw.say(&request(from, count));
        let reject = raw.hear::<RetransmitReject>();
        assert_eq!(reject.code.decode(), Some(code), "{from} {count}");
        assert_eq!(reject.request_timestamp, Nanos(77));
    }
    raw.say(&RetransmitRequest {
        session: SessionId(2),
        ..request(1, 1)
    });
    let code = raw.hear::<RetransmitReject>().code.decode();
    assert_eq!(code, Some(RetransmitRejectCode::WrongSession));
    for (from, count) in [(1, 10), (10, 1), (4, 3)] {
        raw.say(&request(from, count));
        let header = raw.hear::<Retransmission>();
        assert_eq!((header.from_sequence.0, header.count), (from, count));
        assert_eq!(header.request_timestamp, Nanos(77));
        for place in from..from + count {
            assert_eq!(
                raw.next().unwrap(),
                first[place as usize - 1],
                "byte for byte"
            );
        }
    }
    // Two requests in one read: the second meets the first.
    let mut both = framing_header(RetransmitRequest::BYTES).to_vec();
    both.extend_from_slice(request(1, 2).bytes());
    both.extend_from_slice(&both.clone());
    raw.stream.write_all(&both).unwrap();
    let code = raw.hear::<RetransmitReject>().code.decode();
    assert_eq!(code, Some(RetransmitRejectCode::InProgress));
    assert_eq!(raw.hear::<Retransmission>().count, 2);
    assert_eq!(NewOrder::BYTES, 64);
}
