//! A gateway whose node gets the lead, loses it and gets it again: what clients are told, over TCP.
#![allow(clippy::unwrap_used)] // What goes wrong fails the test.

mod exchange;

use std::net::SocketAddr;

use exahour_gateway::duty::Duty;
use exahour_wire::codes::{
    DisconnectCause, EstablishmentRejectCode, NegotiationRejectCode, TerminationCode,
};
use exahour_wire::events::OrderAccepted;
use exahour_wire::ids::SessionId;
use exahour_wire::message::Message;
use exahour_wire::message::{Ipv6, peek_header};
use exahour_wire::session::{
    EstablishmentAck, EstablishmentReject, Leader, NegotiationReject, NegotiationResponse,
    NotApplied, Sequence, Terminate,
};
use exahour_wire::units::Nanos;

use exchange::{Raw64, Rig, establish, negotiate, numbered, order};

fn elsewhere() -> SocketAddr {
    "192.0.2.7:9001".parse().unwrap()
}

fn led() -> Rig {
    let mut rig = Rig::start_without_duty();
    rig.tell(Duty::Leads);
    rig
}

#[track_caller]
fn hear_leader(raw: &mut Raw64, session: u32) {
    let leader = raw.hear::<Leader>();
    assert_eq!((leader.session.0, leader.port), (session, 9_001));
    let mut mapped = [0; 16];
    mapped[10..].copy_from_slice(&[255, 255, 192, 0, 2, 7]);
    assert_eq!(leader.address, Ipv6(mapped));
}

#[track_caller]
fn hear_not_applied(raw: &mut Raw64, from: u32, count: u32) {
    let news = raw.hear::<NotApplied>();
    assert_eq!((news.from_sequence.0, news.count), (from, count));
}

/// Waits until the gateway has read what the client said before: it answers in order.
#[track_caller]
fn settle(rig: &Rig, raw: &mut Raw64, session: u32) {
    // A session that is silent too long is asked for nothing; a later keep-alive proves the order.
    raw.say(&Sequence {
        session: SessionId(session),
        ..Sequence::blank()
    });
    rig.let_turns_pass();
}

#[test]
fn before_the_first_word_nobody_is_let_in() {
    let mut rig = Rig::start_without_duty();
    let mut raw = Raw64::connect(&rig);
    raw.say(&negotiate(1, 5));
    rig.let_turns_pass();
    raw.hears_nothing();
    rig.tell(Duty::Leads);
    raw.hear::<NegotiationResponse>();
}

#[test]
fn a_node_that_follows_says_who_leads_and_takes_nothing() {
    let mut rig = Rig::start_without_duty();
    rig.tell(Duty::Follows(None));
    let mut raw = Raw64::connect(&rig);
    raw.say(&negotiate(1, 5));
    let refused = raw.hear::<NegotiationReject>();
    assert_eq!(
        refused.code.decode(),
        Some(NegotiationRejectCode::NotLeader)
    );
    raw.say(&establish(1, 5, 1, 6));
    let refused = raw.hear::<EstablishmentReject>();
    let code = refused.code.decode();
    assert_eq!(code, Some(EstablishmentRejectCode::NotLeader));

    rig.tell(Duty::Follows(Some(elsewhere())));
    raw.say(&negotiate(1, 5));
    hear_leader(&mut raw, 1);
    raw.hear::<NegotiationReject>();
    raw.say(&establish(1, 5, 1, 6));
    hear_leader(&mut raw, 1);
    raw.hear::<EstablishmentReject>();
    // The same connection is good once the node leads.
    rig.tell(Duty::Leads);
    raw.say(&negotiate(1, 5));
    raw.hear::<NegotiationResponse>();
}

#[test]
fn what_the_log_leaves_out_is_told_and_nothing_else() {
    let mut rig = led();
    let mut raw = Raw64::established(&rig, 1, 5);
    raw.say(&numbered(1, 1, order(1, 1, 0)));
    assert_eq!(raw.hear::<OrderAccepted>().client_sequence.0, 1);
    // Two are handed on. One of them reaches the log.
    rig.pause();
    raw.say(&numbered(1, 2, order(2, 1, 0)));
    raw.say(&numbered(1, 3, order(3, 1, 0)));
    settle(&rig, &mut raw, 1);
    rig.tell(Duty::Follows(Some(elsewhere())));
    // What comes now is answered at once; what is repeated is not, whatever became of it.
    raw.say(&numbered(1, 4, order(4, 1, 0)));
    hear_not_applied(&mut raw, 4, 1);
    for number in [1, 3, 4] {
        raw.say(&numbered(1, number, order(9, 1, 0)));
    }
    raw.say(&numbered(1, 7, order(7, 1, 0)));
    hear_not_applied(&mut raw, 5, 3);
    rig.act(|exchange| {
        exchange.turn_one();
        exchange.discard();
        exchange.begin_term();
    });
    assert_eq!(raw.hear::<OrderAccepted>().client_sequence.0, 2);
    hear_not_applied(&mut raw, 3, 1);
    hear_leader(&mut raw, 1);
    raw.hear_end(TerminationCode::NotLeader, 0);
    assert_eq!(rig.closed(1), [DisconnectCause::NodeStopped]);
}

#[test]
fn where_everything_was_applied_nothing_is_told() {
    let mut rig = led();
    let mut raw = Raw64::established(&rig, 1, 5);
    raw.say(&numbered(1, 1, order(1, 1, 0)));
    raw.hear::<OrderAccepted>();
    rig.tell(Duty::Follows(None));
    rig.act(|exchange| exchange.begin_term());
    raw.hear_end(TerminationCode::NotLeader, 0);
}

#[test]
fn a_session_that_handed_nothing_on_goes_at_once() {
    let mut rig = led();
    let mut raw = Raw64::established(&rig, 1, 5);
    rig.tell(Duty::Follows(Some(elsewhere())));
    hear_leader(&mut raw, 1);
    raw.hear_end(TerminationCode::NotLeader, 0);
    // The engine is not told: the next leader closes it.
    assert_eq!(rig.closed(1), []);
}

#[test]
fn where_the_log_is_silent_the_end_says_no_more_than_is_known() {
    let mut rig = led();
    let mut raw = Raw64::established(&rig, 1, 5);
    rig.pause();
    raw.say(&numbered(1, 1, order(1, 1, 0)));
    settle(&rig, &mut raw, 1);
    rig.tell(Duty::Follows(None));
    raw.say(&numbered(1, 2, order(2, 1, 0)));
    hear_not_applied(&mut raw, 2, 1);
    rig.advance(Nanos(1_000_000_000));
    settle(&rig, &mut raw, 1);
    rig.advance(Nanos(1_100_000_000));
    // A sign of life may come first; of message 1 nothing is said.
    let mut message = raw.next().unwrap();
    while Sequence::read(&message).is_some() {
        message = raw.next().unwrap();
    }
    let end = Terminate::read(&message).unwrap_or_else(|| panic!("{:?}", peek_header(&message)));
    assert_eq!(end.code.decode(), Some(TerminationCode::NotLeader));
    assert!(raw.next().is_none());
}

#[test]
fn a_lead_that_comes_back_begins_anew() {
    let mut rig = led();
    let mut raw = Raw64::established(&rig, 1, 5);
    rig.pause();
    for number in 1..=3 {
        raw.say(&numbered(1, number, order(u64::from(number), 1, 0)));
    }
    settle(&rig, &mut raw, 1);
    rig.tell(Duty::Follows(None));
    // What waits is sequenced behind the new term's begin, where nobody is connected.
    rig.act(|exchange| exchange.begin_term());
    rig.tell(Duty::Leads);
    hear_not_applied(&mut raw, 1, 3);
    raw.hear_end(TerminationCode::NotLeader, 0);
    rig.resume();
    let mut again = Raw64::connect(&rig);
    again.say(&establish(1, 5, 4, 1_000));
    assert_eq!(again.hear::<EstablishmentAck>().expected_sequence.0, 4);
    hear_not_applied(&mut again, 1, 3);
    again.say(&numbered(1, 4, order(4, 1, 0)));
    assert_eq!(again.hear::<OrderAccepted>().client_sequence.0, 4);
    assert_eq!(rig.told.orders.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[test]
fn a_logon_under_way_is_refused_and_its_late_answer_is_not_taken() {
    let mut rig = led();
    rig.pause();
    let (mut first, mut second) = (Raw64::connect(&rig), Raw64::connect(&rig));
    first.say(&negotiate(1, 5));
    rig.let_turns_pass();
    rig.tell(Duty::Follows(Some(elsewhere())));
    hear_leader(&mut first, 1);
    let refused = first.hear::<NegotiationReject>();
    assert_eq!(
        refused.code.decode(),
        Some(NegotiationRejectCode::NotLeader)
    );
    // The answer comes late: the version is there for whoever establishes it.
    rig.resume();
    rig.let_turns_pass();
    first.hears_nothing();
    rig.tell(Duty::Leads);
    rig.pause();
    second.say(&establish(1, 5, 1, 6));
    rig.let_turns_pass();
    rig.tell(Duty::Follows(Some(elsewhere())));
    hear_leader(&mut second, 1);
    let refused = second.hear::<EstablishmentReject>();
    let code = refused.code.decode();
    assert_eq!(code, Some(EstablishmentRejectCode::NotLeader));
    rig.resume();
    rig.let_turns_pass();
    second.hears_nothing();
    // Nobody holds the session: whoever comes is let in.
    rig.act(|exchange| exchange.begin_term());
    rig.tell(Duty::Leads);
    second.say(&establish(1, 5, 1, 7));
    second.hear::<EstablishmentAck>();
}

#[test]
fn a_version_that_a_later_leader_may_have_opened_is_not_called_unknown() {
    let mut rig = led();
    drop(Raw64::established(&rig, 1, 5));
    // The node stood still. Another one led and opened version 6, and this one does not know that it leads no more.
    rig.pause();
    let mut raw = Raw64::connect(&rig);
    raw.say(&establish(1, 6, 1, 7));
    rig.let_turns_pass();
    raw.hears_nothing();
    rig.tell(Duty::Follows(Some(elsewhere())));
    hear_leader(&mut raw, 1);
    let refused = raw.hear::<EstablishmentReject>();
    let code = refused.code.decode();
    assert_eq!(code, Some(EstablishmentRejectCode::NotLeader));
    rig.act(|exchange| {
        exchange.discard();
        exchange.begin_term();
    });
    rig.resume();
    // Where it leads, and the log has no such version, the log says so.
    rig.tell(Duty::Leads);
    raw.say(&establish(1, 6, 1, 8));
    let refused = raw.hear::<EstablishmentReject>();
    let code = refused.code.decode();
    assert_eq!(code, Some(EstablishmentRejectCode::Unnegotiated));
    // What it knows to be past it may call so.
    raw.say(&establish(1, 4, 1, 9));
    let refused = raw.hear::<EstablishmentReject>();
    let code = refused.code.decode();
    assert_eq!(code, Some(EstablishmentRejectCode::Unnegotiated));
    raw.say(&establish(1, 5, 1, 10));
    raw.hear::<EstablishmentAck>();
}
