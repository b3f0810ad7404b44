//! Drop copies over real sockets: exactly once across reconnects, and only to whom they belong.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use exahour_gateway::clock::{Clock, ManualClock};
use exahour_gateway::feed::drop_copy_client::{DropCopyClient, signed_request};
use exahour_wire::codes::FeedRejectCode;
use exahour_wire::events::{
    DeliveryAssigned, DeliverySettled, EventPrefix, MachineReady, MoneyMoved,
};
use exahour_wire::framing::{FRAMING_BYTES, framing_header};
use exahour_wire::ids::{EventSequence, ParticipantId, SessionId};
use exahour_wire::market_data::{DropCopyRequest, FeedHeartbeat, FeedReject};
use exahour_wire::message::{Message, messages};
use exahour_wire::units::Nanos;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::event_log::{EventLog, Flood, key_of, settle, turn_until};
use crate::market::{Market, PARTICIPANTS, account_of, back_office, participant_of};

/// The events that must reach a participant, found the slow way.
pub(crate) fn expected(
    log: &[Vec<u8>],
    participant: ParticipantId,
    after: EventSequence,
) -> Vec<Vec<u8>> {
    let account = account_of(participant);
    let mut own_obligations = Vec::new();
    let mut found = Vec::new();
    for event in log.iter().flat_map(|batch| messages(batch)) {
        let prefix = EventPrefix::peek(event).unwrap();
        let reported =
            prefix.session != SessionId::NONE && participant_of(prefix.session) == participant;
        let concerned = if let Some(moved) = MoneyMoved::read(event) {
            moved.debit == account || moved.credit == account
        } else if let Some(assigned) = DeliveryAssigned::read(event) {
            let own = assigned.buyer == account || assigned.seller == account;
            if own {
                own_obligations.push(assigned.obligation);
            }
            own
        } else if let Some(ready) = MachineReady::read(event) {
            ready.buyer == account
        } else if let Some(settled) = DeliverySettled::read(event) {
            own_obligations.contains(&settled.obligation)
        } else {
            false
        };
        if (reported || concerned) && prefix.event > after {
            found.push(event.to_vec());
        }
    }
    found
}

#[test]
fn every_event_comes_once_whatever_connections_break() {
    for seed in 600..608 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut market, mut log, mut events) = (Market::new(seed), EventLog::new(), Vec::new());
        let mut go_on = |log: &mut EventLog, events: &mut Vec<Vec<u8>>, commands: u32| {
            let frame: Vec<u8> = (0..commands).flat_map(|_| market.step()).collect();
            log.append(&frame);
            events.push(frame);
        };
        (0..100).for_each(|_| go_on(&mut log, &mut events, 7));
        let mut clock = ManualClock::new(Nanos(1));
        let mut agent = log.drop_copy(4096, clock.clone());
        let mut clients: Vec<_> = (1..=PARTICIPANTS)
            .map(|participant| {
                let participant = ParticipantId(participant);
                let session = back_office(participant);
                let after = EventSequence(rng.random_range(0..500));
                let key = key_of(session);
                let client = DropCopyClient::new(agent.address(), session, participant, key, after);
                (participant, after, client, Vec::new())
            })
            .collect();
        for _ in 0..300 {
            go_on(&mut log, &mut events, rng.random_range(1..6));
            exahour_rings::Agent::do_work(&mut agent).unwrap();
            clock.advance(Nanos(10_000_000));
            for (_, _, client, got) in &mut clients {
                if rng.random_bool(0.5) {
                    client
                        .poll(clock.steady(), clock.now(), &mut |event| {
                            got.push(event.to_vec())
                        })
                        .unwrap();
                }
                if rng.random_bool(0.05) {
                    client.disconnect(clock.steady());
                }
            }
        }
        for (participant, after, mut client, mut got) in clients {
            let wanted = expected(&events, participant, after);
            turn_until(&mut agent, &format!("seed {seed}"), || {
                clock.advance(Nanos(100_000));
                client
                    .poll(clock.steady(), clock.now(), &mut |event| {
                        got.push(event.to_vec())
                    })
                    .unwrap();
                got.len() >= wanted.len()
            });
            assert!(got == wanted, "seed {seed}, participant {participant}");
            assert!(wanted.len() > 300, "seed {seed}: {} events", wanted.len());
        }
    }
}

fn answer(agent: &mut impl exahour_rings::Agent, address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(&framing_header(request.len())).unwrap();
    stream.write_all(request).unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut heard = Vec::new();
    turn_until(agent, "an answer", || {
        let mut room = [0; 65_536];
        if let Ok(count) = stream.read(&mut room) {
            heard.extend_from_slice(&room[..count]);
        }
        heard.len() > FRAMING_BYTES + 8
    });
    heard.split_off(FRAMING_BYTES)
}

#[test]
fn only_who_may_gets_copies() {
    let mut clock = ManualClock::new(Nanos(1_000_000_000_000));
    let (mut market, mut log) = (Market::new(3), EventLog::new());
    (0..300).for_each(|_| log.append(&market.step()));
    let mut agent = log.drop_copy(0, clock.clone());
    settle(&mut agent);
    let address = agent.address();
    let (own, other) = (ParticipantId(1), ParticipantId(2));
    let (session, trading) = (back_office(own), SessionId(back_office(own).0 - 1));
    let mut stamp = clock.now().0;
    let mut sign = |session, participant, after, key_session| {
        stamp += 1;
        let after = EventSequence(after);
        signed_request(
            session,
            participant,
            after,
            Nanos(stamp),
            &key_of(key_session),
        )
    };
    let code =
        |bytes: Vec<u8>| FeedReject::read(&bytes).map(|reject| reject.code.decode().unwrap());
    let mut try_it = |request: DropCopyRequest| code(answer(&mut agent, address, request.bytes()));

    let right = sign(session, own, 0, session);
    assert_eq!(try_it(right), None);
    use FeedRejectCode::{Credentials, OutOfRange, Stale};
    assert_eq!(try_it(right), Some(Stale), "a recorded request");
    assert_eq!(
        try_it(sign(session, other, 0, session)),
        Some(Credentials),
        "another's reports"
    );
    assert_eq!(
        try_it(sign(trading, own, 0, trading)),
        Some(Credentials),
        "no permission"
    );
    assert_eq!(
        try_it(sign(session, own, 1 << 40, session)),
        Some(OutOfRange),
        "not yet"
    );
    let mut changed = sign(session, own, 0, session);
    changed.after_event = EventSequence(5);
    assert_eq!(try_it(changed), Some(Credentials), "a changed request");
    for _ in 0..20 {
        let foreign = sign(session, own, 0, trading);
        assert_eq!(try_it(foreign), Some(Credentials), "another's key");
    }
    assert_eq!(
        try_it(sign(session, own, 0, session)),
        None,
        "whoever else tried, the right key opens"
    );
    let ahead = Nanos(clock.now().0 + 31 * Nanos::SECOND.0);
    let ahead = signed_request(session, own, EventSequence(0), ahead, &key_of(session));
    assert_eq!(try_it(ahead), Some(Stale), "from the future");
    let early = Nanos(clock.now().0 - 1);
    let early = signed_request(session, own, EventSequence(0), early, &key_of(session));
    assert_eq!(try_it(early), Some(Stale), "older than the port");
    let from = answer(
        &mut agent,
        address,
        sign(session, own, 200, session).bytes(),
    );
    assert!(
        EventPrefix::peek(&from).unwrap().event > EventSequence(200),
        "from where it asked"
    );
    let mut try_it = |request: DropCopyRequest| code(answer(&mut agent, address, request.bytes()));
    let unknown = SessionId(9999);
    assert_eq!(
        try_it(sign(unknown, own, 0, session)),
        Some(Credentials),
        "unknown session"
    );
    let heartbeat = FeedHeartbeat::blank();
    let bad = answer(&mut agent, address, heartbeat.bytes());
    assert_eq!(code(bad), Some(FeedRejectCode::BadRequest));
}

#[test]
fn a_request_with_any_bit_changed_is_refused() {
    let (mut market, mut log) = (Market::new(4), EventLog::new());
    (0..100).for_each(|_| log.append(&market.step()));
    let mut clock = ManualClock::new(Nanos(1_000_000_000_000));
    let mut agent = log.drop_copy(0, clock.clone());
    settle(&mut agent);
    let address = agent.address();
    let own = ParticipantId(1);
    let session = back_office(own);
    for seed in 0..150 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let key = key_of(session);
        let right = signed_request(session, own, EventSequence(0), clock.now(), &key);
        let mut bytes = right.bytes().to_vec();
        let place = rng.random_range(0..bytes.len());
        bytes[place] ^= 1 << rng.random_range(0..8);
        // Each request is newer than the last.
        clock.advance(Nanos(60 * Nanos::SECOND.0));
        let heard = answer(&mut agent, address, &bytes);
        let reject = FeedReject::read(&heard);
        assert!(reject.is_some(), "seed {seed}: byte {place} changed");
    }
}

#[test]
fn a_clock_that_is_set_forward_cuts_nobody_off_and_stamps_follow_it() {
    let mut clock = ManualClock::new(Nanos(1_000_000_000_000));
    let (mut market, mut log) = (Market::new(5), EventLog::new());
    (0..50).for_each(|_| log.append(&market.step()));
    let mut agent = log.drop_copy(0, clock.clone());
    let mut silent = TcpStream::connect(agent.address()).unwrap();
    settle(&mut agent);
    clock.set_forward(Nanos(3_600 * Nanos::SECOND.0));
    settle(&mut agent);
    let own = ParticipantId(2);
    let session = back_office(own);
    let key = key_of(session);
    let request = signed_request(session, own, EventSequence(0), clock.now(), &key);
    silent
        .write_all(&framing_header(DropCopyRequest::BYTES))
        .unwrap();
    silent.write_all(request.bytes()).unwrap();
    silent.set_nonblocking(true).unwrap();
    let mut heard = [0; 256];
    turn_until(&mut agent, "drop copies", || {
        match silent.read(&mut heard) {
            Ok(0) => panic!("it was cut off"),
            Ok(_) => true,
            Err(_) => false,
        }
    });
    assert!(FeedReject::read(&heard[FRAMING_BYTES..]).is_none());
}

#[test]
fn who_has_not_asked_makes_way_for_another_and_who_is_served_does_not() {
    let mut clock = ManualClock::new(Nanos(1_000_000_000_000));
    let (mut market, mut log) = (Market::new(5), EventLog::new());
    (0..50).for_each(|_| log.append(&market.step()));
    let mut agent = log.drop_copy_for(2, 0, clock.clone());
    settle(&mut agent);
    let address = agent.address();
    let connect = || {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    };
    let ended = |stream: &mut TcpStream| match stream.read(&mut [0; 4096]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    };
    let mut clients = Vec::new();
    for participant in 1..=2 {
        let (mut older, mut younger) = (connect(), connect());
        settle(&mut agent);
        clock.advance(Nanos(1_000_000));
        let own = ParticipantId(participant);
        let (session, start) = (back_office(own), EventSequence(0));
        let mut client = DropCopyClient::new(address, session, own, key_of(session), start);
        turn_until(&mut agent, "drop copies", || {
            client
                .poll(clock.steady(), clock.now(), &mut |_| ())
                .unwrap();
            client.caught_up()
        });
        clients.push(client);
        turn_until(&mut agent, "the older", || ended(&mut older));
        turn_until(&mut agent, "the younger", || {
            participant == 1 || ended(&mut younger)
        });
    }
    // Both places are served now.
    let mut refused = connect();
    turn_until(&mut agent, "the one too many", || ended(&mut refused));
    log.append(&market.step());
    let before: Vec<_> = clients.iter().map(DropCopyClient::after).collect();
    clock.advance(Nanos(2 * Nanos::SECOND.0));
    turn_until(&mut agent, "what is new", || {
        for client in &mut clients {
            client
                .poll(clock.steady(), clock.now(), &mut |_| ())
                .unwrap();
        }
        let on = |(client, before): (&DropCopyClient, &EventSequence)| client.after() > *before;
        clients.iter().zip(&before).all(on)
    });
}

#[test]
fn a_quiet_port_says_how_far_it_looked() {
    let mut clock = ManualClock::new(Nanos(1_000_000_000_000));
    let (mut market, mut log) = (Market::new(5), EventLog::new());
    let mut events = Vec::new();
    for _ in 0..50 {
        let batch = market.step();
        log.append(&batch);
        events.push(batch);
    }
    let last = events.iter().flat_map(|batch| messages(batch)).count() as u64;
    let mut agent = log.drop_copy(0, clock.clone());
    let own = ParticipantId(2);
    let (session, address) = (back_office(own), agent.address());
    let key = key_of(session);
    let mut client = DropCopyClient::new(address, session, own, key, EventSequence(0));
    let wanted = expected(&events, own, EventSequence(0)).len();
    let mut got = 0;
    turn_until(&mut agent, "all events", || {
        got += client
            .poll(clock.steady(), clock.now(), &mut |_| ())
            .unwrap();
        got == wanted
    });
    clock.advance(Nanos(2 * Nanos::SECOND.0));
    turn_until(&mut agent, "a heartbeat", || {
        client
            .poll(clock.steady(), clock.now(), &mut |_| ())
            .unwrap();
        client.after() == EventSequence(last)
    });
}

#[test]
fn a_clock_that_is_set_forward_costs_a_client_no_connection() {
    let mut clock = ManualClock::new(Nanos(1_000_000_000_000));
    let (mut market, mut log) = (Market::new(7), EventLog::new());
    (0..50).for_each(|_| log.append(&market.step()));
    let mut agent = log.drop_copy(0, clock.clone());
    let own = ParticipantId(2);
    let (session, address) = (back_office(own), agent.address());
    let mut client = DropCopyClient::new(address, session, own, key_of(session), EventSequence(0));
    turn_until(&mut agent, "the end", || {
        client
            .poll(clock.steady(), clock.now(), &mut |_| ())
            .unwrap();
        client.caught_up()
    });
    // A client that lost its connection would have to hear of the end again.
    clock.set_forward(Nanos(3_600 * Nanos::SECOND.0));
    client
        .poll(clock.steady(), clock.now(), &mut |_| ())
        .unwrap();
    assert!(client.caught_up());
    clock.advance(Nanos(16 * Nanos::SECOND.0));
    client
        .poll(clock.steady(), clock.now(), &mut |_| ())
        .unwrap();
    assert!(!client.caught_up(), "silence is noticed");
    // A request made anew has a stamp that the port, whose clock it is too, takes.
    turn_until(&mut agent, "the end again", || {
        clock.advance(Nanos(1_000_000));
        client
            .poll(clock.steady(), clock.now(), &mut |_| ())
            .unwrap();
        client.caught_up()
    });
}

#[test]
fn a_long_stretch_of_what_concerns_others_is_no_silence_and_no_end() {
    let mut clock = ManualClock::new(Nanos(1_000_000_000_000));
    let (mut market, mut log) = (Market::new(6), EventLog::new());
    let mut events: Vec<_> = (0..50).map(|_| market.step()).collect();
    events.iter().for_each(|batch| log.append(batch));
    let last = events.iter().flat_map(|batch| messages(batch)).count() as u64;
    // Some megabytes of orders that are nobody's, and a turn looks at a quarter of one.
    let mut flood = Flood::behind(last);
    for _ in 0..100 {
        let others = flood.add(500);
        log.append(&others);
        events.push(others);
    }
    let end = events.iter().flat_map(|batch| messages(batch)).count() as u64;
    let mut agent = log.drop_copy(0, clock.clone());
    settle(&mut agent);
    let own = ParticipantId(2);
    let (session, address) = (back_office(own), agent.address());
    let after = EventSequence(last);
    let mut client = DropCopyClient::new(address, session, own, key_of(session), after);
    let mut on_its_way = 0;
    turn_until(&mut agent, "the end", || {
        // Far less than the silence after which a client gives up, in each turn.
        clock.advance(Nanos(2 * Nanos::SECOND.0));
        let before = client.after();
        client
            .poll(clock.steady(), clock.now(), &mut |_| {
                panic!("not its event")
            })
            .unwrap();
        on_its_way += u32::from(client.after() > before && !client.caught_up());
        client.caught_up()
    });
    assert_eq!(client.after(), EventSequence(end));
    assert!(on_its_way > 3, "{on_its_way} signs of life on the way");
}
