//! More connections than order entry has places for: who makes way, and who never does.
#![allow(clippy::unwrap_used)] // What goes wrong fails the test.

mod exchange;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;

use exahour_wire::codes::{DisconnectCause, TerminationCode};
use exahour_wire::events::OrderAccepted;
use exahour_wire::session::{Busy, EstablishmentAck, NegotiationResponse};
use exahour_wire::units::Nanos;

use exchange::{Raw64, Rig, establish, negotiate, numbered, order};

fn crowded(connections_max: usize, slots: usize) -> Rig {
    Rig::start_with(|settings| settings.connections_max = connections_max, slots)
}

#[track_caller]
fn is_turned_away(rig: &Rig) {
    let mut refused = TcpStream::connect(rig.address).unwrap();
    let ended = refused.read(&mut [0; 8]);
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
}

fn trades(raw: &mut Raw64, session: u32, sequence: u32) {
    raw.say(&numbered(session, sequence, order(1, session, 0)));
    raw.hear::<OrderAccepted>();
}

#[test]
fn whoever_came_first_without_a_logon_makes_way_and_nobody_who_is_established() {
    let rig = crowded(3, 64);
    let mut first = Raw64::established(&rig, 1, 1);
    let mut older = Raw64::connect(&rig);
    rig.advance(Nanos(0));
    let mut younger = Raw64::connect(&rig);
    rig.advance(Nanos(0));
    let mut second = Raw64::established(&rig, 2, 1);
    older.hear_end(TerminationCode::LogonTimeout, 0);
    let mut third = Raw64::established(&rig, 3, 1);
    younger.hear_end(TerminationCode::LogonTimeout, 0);
    for sequence in 1..=10 {
        is_turned_away(&rig);
        for (session, raw) in [(1, &mut first), (2, &mut second), (3, &mut third)] {
            trades(raw, session, sequence);
        }
    }
}

#[test]
fn a_flood_of_silent_connections_keeps_nobody_out() {
    let rig = crowded(8, 4_096);
    let mut established = Raw64::established(&rig, 1, 1);
    let mut silent = Vec::new();
    for version in 1..=20 {
        (0..20).for_each(|_| silent.push(Raw64::connect(&rig)));
        let mut owner = Raw64::established(&rig, 2, version);
        trades(&mut owner, 2, 1);
        trades(&mut established, 1, version as u32);
    }
    // Nobody was ended for silence: the clock stood still.
    assert!(rig.closed(1).is_empty());
    for raw in &mut silent[..300] {
        raw.hear_end(TerminationCode::LogonTimeout, 0);
    }
}

#[test]
fn what_has_ended_goes_before_who_has_proved_nothing_and_he_before_who_has() {
    let rig = crowded(3, 64);
    let mut proven = Raw64::connect(&rig);
    proven.say(&negotiate(1, 1));
    proven.hear::<NegotiationResponse>();
    let mut unproven = Raw64::connect(&rig);
    rig.advance(Nanos(0));
    // It is told its mistake, does not close, and would linger.
    let mut ended = Raw64::connect(&rig);
    ended.stream.write_all(&[0, 0, 0, 13, 0x5B, 0xE0]).unwrap();
    ended.hear_end(TerminationCode::BadLength, 13);
    let mut newer = Raw64::connect(&rig);
    newer.say(&negotiate(2, 1));
    newer.hear::<NegotiationResponse>();
    let newest = Raw64::connect(&rig);
    unproven.hear_end(TerminationCode::LogonTimeout, 0);
    let mut last = Raw64::connect(&rig);
    last.say(&negotiate(3, 1));
    last.hear::<NegotiationResponse>();
    drop(newest);
    for (session, raw) in [(1, &mut proven), (2, &mut newer), (3, &mut last)] {
        raw.say(&establish(session, 1, 1, 10));
        raw.hear::<EstablishmentAck>();
    }
}

#[test]
fn a_place_whose_end_is_still_to_be_told_is_kept() {
    let rig = crowded(1, 2);
    let mut raw = Raw64::established(&rig, 1, 1);
    rig.pause();
    for sequence in 1..=3 {
        raw.say(&numbered(1, sequence, order(1, 1, 0)));
    }
    raw.hear::<Busy>();
    drop(raw);
    rig.advance(Nanos(10_000_000));
    is_turned_away(&rig);
    rig.paused.store(false, Ordering::SeqCst);
    rig.advance(Nanos(10_000_000));
    rig.until(|| rig.closed(1) == [DisconnectCause::ConnectionLost]);
    let mut next = Raw64::established(&rig, 2, 1);
    trades(&mut next, 2, 1);
}
