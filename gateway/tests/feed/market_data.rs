//! Market data over real sockets: joining, losing, recovering, stalling, asking for nonsense.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use exahour_gateway::clock::{Clock, ManualClock, Steady, SystemClock};
use exahour_gateway::feed::client::FeedClient;
use exahour_gateway::feed::peers::{Peer, Serve, Verdict};
use exahour_gateway::feed::subscribers::{Client, Subscribers};
use exahour_gateway::feed::updates::DEPTHS;
use exahour_gateway::image::{Applied, Flow, Source};
use exahour_wire::codes::{FeedDepth, FeedRejectCode, FeedRequestKind, Raw};
use exahour_wire::events::FrameEnd;
use exahour_wire::framing::{Cut, FRAMING_BYTES, cut, framing_header};
use exahour_wire::ids::{ExchangeId, FeedSequence, InstrumentId};
use exahour_wire::market_data::{FeedHeartbeat, FeedReject, FeedRequest, FeedSource};
use exahour_wire::message::Message;
use exahour_wire::units::Nanos;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::event_log::{EventLog, Flood, settle, turn_until};
use crate::market::Market;

const SOURCE: Source = Source {
    exchange: ExchangeId(1),
    started_at: Nanos(1),
};

fn framed(message: &[u8]) -> Vec<u8> {
    [&framing_header(message.len()), message].concat()
}

fn request(kind: Raw<FeedRequestKind>, instrument: u32, from: u64) -> FeedRequest {
    FeedRequest {
        kind,
        instrument: InstrumentId(instrument),
        from_sequence: FeedSequence(from),
        ..FeedRequest::blank()
    }
}

#[test]
fn clients_that_come_and_go_over_tcp_hold_the_books() {
    let mut connections = 0;
    for seed in 500..510 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut market = Market::new(seed);
        let mut log = EventLog::new();
        (0..rng.random_range(1..200)).for_each(|_| log.append(&market.step()));
        // A short history: who is away for long must start again with a snapshot.
        let mut agent = log.market_data(64 << 10, 4096, SystemClock::default());
        let mut clock = ManualClock::new(Nanos(1));
        let flows = [Flow::All, Flow::One(InstrumentId(1))];
        let wanted = DEPTHS.map(|depth| flows.map(|flow| (depth, flow)));
        let mut clients: Vec<_> = wanted
            .iter()
            .flatten()
            .map(|(depth, flow)| FeedClient::new(agent.address(), *depth, *flow))
            .collect();
        for _ in 0..400 {
            let frame: Vec<u8> = (0..rng.random_range(1..8))
                .flat_map(|_| market.step())
                .collect();
            log.append(&frame);
            exahour_rings::Agent::do_work(&mut agent).unwrap();
            clock.advance(Nanos(10_000_000));
            for client in &mut clients {
                // Clients are turned now and then only, and lose their connections.
                if rng.random_bool(0.4) {
                    client.poll(clock.steady(), &mut |_, _| ()).unwrap();
                }
                if rng.random_bool(0.01) {
                    client.disconnect(clock.steady());
                }
            }
        }
        settle(&mut agent);
        for client in &mut clients {
            let publisher = agent.subscribers().publisher();
            let next = publisher.history(client.image().depth()).next();
            let mut turned = Instant::now();
            turn_until(&mut agent, &format!("seed {seed}"), || {
                // No faster than the agent's own clock, or its signs of life come too late.
                let now = Instant::now();
                clock.advance(Nanos(now.duration_since(turned).as_nanos() as u64));
                turned = now;
                client.poll(clock.steady(), &mut |_, _| ()).unwrap();
                let image = client.image();
                // One instrument's client hears of the end by the next sign of life.
                image.whole() && image.next_sequence() == next
            });
            connections += client.connections();
            let context = format!("seed {seed}");
            match client.image().flow() {
                Flow::All => market.check_image(client.image(), &context),
                Flow::One(instrument) => {
                    market.expected(instrument).check(client.image(), &context);
                }
            }
        }
    }
    // 60 clients joined; the rest are reconnects.
    assert!(connections > 100, "{connections} connections");
}

fn ask(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(bytes).unwrap();
    stream.set_nonblocking(true).unwrap();
    stream
}

/// Reads what is there; whether the other side has ended.
fn drain(stream: &mut TcpStream, into: &mut Vec<u8>) -> bool {
    let mut room = [0; 65_536];
    loop {
        match stream.read(&mut room) {
            Ok(0) => return true,
            Ok(count) => into.extend_from_slice(&room[..count]),
            Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

/// The first message behind the one that says whose feed it is.
fn first_message(bytes: &[u8]) -> Option<&[u8]> {
    let Cut::Whole { bytes: length } = cut(bytes) else {
        return None;
    };
    let (source, rest) = bytes.split_at(FRAMING_BYTES + length);
    assert!(FeedSource::read(&source[FRAMING_BYTES..]).is_some());
    match cut(rest) {
        Cut::Whole { bytes: length } => Some(&rest[FRAMING_BYTES..FRAMING_BYTES + length]),
        _ => None,
    }
}

#[test]
fn a_client_that_stops_reading_is_cut_off_and_never_holds_up_another() {
    let (mut flood, mut log) = Flood::logged();
    log.append(&flood.add(900));
    let mut agent = log.market_data(256 << 10, 16 << 10, SystemClock::default());
    let mut clock = SystemClock::default();
    settle(&mut agent);
    let all = request(FeedRequestKind::SnapshotThenUpdates.into(), 0, 0);
    let mut stalled: Vec<_> = (0..3)
        .map(|_| ask(agent.address(), &framed(all.bytes())))
        .collect();
    let mut reader = FeedClient::new(agent.address(), FeedDepth::Orders, Flow::All);
    let mut turns_max = 0;
    for batch in 0..800 {
        log.append(&flood.churn(100));
        let mut turns = 0;
        loop {
            exahour_rings::Agent::do_work(&mut agent).unwrap();
            reader.poll(clock.steady(), &mut |_, _| ()).unwrap();
            turns += 1;
            if reader.image().next_sequence()
                == agent
                    .subscribers()
                    .publisher()
                    .history(FeedDepth::Orders)
                    .next()
            {
                break;
            }
            assert!(turns < 100_000, "the reader is held up in batch {batch}");
        }
        // The first batch waits for the connection and the snapshot.
        if batch > 0 {
            turns_max = turns_max.max(turns);
        }
    }
    let next = agent
        .subscribers()
        .publisher()
        .history(FeedDepth::Orders)
        .next();
    assert_eq!(reader.image().next_sequence(), next);
    assert_eq!(reader.connections(), 1, "the reader was never cut off");
    // Some 300 messages of about 60 bytes through a buffer of 16 KiB: a few turns, whoever stalls.
    assert!(turns_max < 50, "{turns_max} turns for one batch");
    for stream in &mut stalled {
        let mut heard = Vec::new();
        turn_until(&mut agent, "a stalled client", || drain(stream, &mut heard));
        assert!(heard.len() > 50_000, "it got what fit: {}", heard.len());
    }
    // What was cut off recovers by asking again.
    let mut again = FeedClient::new(agent.address(), FeedDepth::Orders, Flow::All);
    turn_until(&mut agent, "again", || {
        again.poll(clock.steady(), &mut |_, _| ()).unwrap();
        again.image().next_sequence() == next
    });
    assert_eq!(again.image().books().orders(), 900);
}

#[test]
fn a_snapshot_that_nobody_takes_frees_the_shadow() {
    let clock = ManualClock::new(Nanos(1_000_000_000_000));
    let (mut flood, mut log) = Flood::logged();
    for _ in 0..40 {
        // More than the buffers of a connection take.
        for _ in 0..5 {
            log.append(&flood.add(1000));
        }
    }
    let mut agent = log.market_data(64 << 20, 4096, clock.clone());
    settle(&mut agent);
    let all = framed(request(FeedRequestKind::SnapshotThenUpdates.into(), 0, 0).bytes());
    let mut stalled = ask(agent.address(), &all);
    (0..10_000).for_each(|_| {
        exahour_rings::Agent::do_work(&mut agent).unwrap();
    });
    clock.advance(Nanos(6 * Nanos::SECOND.0));
    (0..100).for_each(|_| {
        exahour_rings::Agent::do_work(&mut agent).unwrap();
    });
    let mut heard = Vec::new();
    turn_until(&mut agent, "the stalled client", || {
        drain(&mut stalled, &mut heard)
    });
    assert!(
        heard.len() < 200_000 * 54,
        "it was cut off before the end of its snapshot"
    );
}

#[test]
fn a_frame_larger_than_the_history_voids_snapshots_and_nothing_else() {
    let (mut flood, mut log) = Flood::logged();
    log.append(&flood.add(1000));
    let mut agent = log.market_data(64 << 10, 4096, SystemClock::default());
    let mut clock = ManualClock::new(Nanos(1));
    settle(&mut agent);
    let mut client = FeedClient::new(agent.address(), FeedDepth::Orders, Flow::All);
    for round in 0..20 {
        // The snapshot is under way when the frame comes.
        for _ in 0..3 {
            clock.advance(Nanos(10_000_000_000));
            client.poll(clock.steady(), &mut |_, _| ()).unwrap();
            exahour_rings::Agent::do_work(&mut agent).unwrap();
        }
        log.append(&flood.churn(900));
        exahour_rings::Agent::do_work(&mut agent).unwrap();
        if round % 2 == 0 {
            client.disconnect(clock.steady());
        }
    }
    let connections = client.connections();
    assert!(connections > 5, "{connections} connections");
    let next = agent
        .subscribers()
        .publisher()
        .history(FeedDepth::Orders)
        .next();
    turn_until(&mut agent, "the client", || {
        clock.advance(Nanos(1_000_000));
        client.poll(clock.steady(), &mut |_, _| ()).unwrap();
        client.image().next_sequence() == next
    });
    assert_eq!(client.image().books().orders(), 1000);
}

#[test]
fn silence_gets_a_sign_of_life_and_asking_nothing_gets_an_end() {
    let clock = ManualClock::new(Nanos(1_000_000_000_000));
    let (_, log) = Flood::logged();
    let mut agent = log.market_data(0, 0, clock.clone());
    let mut idle = ask(agent.address(), &[]);
    let mut client = FeedClient::new(agent.address(), FeedDepth::Orders, Flow::All);
    let now = clock.clone().steady();
    let mut heartbeats = 0;
    turn_until(&mut agent, "joining", || {
        client.poll(now, &mut |_, _| ()).unwrap();
        client.image().whole()
    });
    for _ in 0..3 {
        (0..50).for_each(|_| {
            exahour_rings::Agent::do_work(&mut agent).unwrap();
            let _ = client.poll(now, &mut |_, applied| {
                assert_ne!(applied, Applied::Heartbeat, "too early");
            });
        });
        clock.advance(Nanos::SECOND);
        let before = heartbeats;
        turn_until(&mut agent, "a heartbeat", || {
            client
                .poll(now, &mut |message, applied| {
                    assert_eq!(applied, Applied::Heartbeat);
                    let heartbeat = FeedHeartbeat::read(message).unwrap();
                    // The listing is the only message so far.
                    assert_eq!(heartbeat.next_sequence, FeedSequence(2));
                    heartbeats += 1;
                })
                .unwrap();
            heartbeats > before
        });
    }
    clock.advance(Nanos(10 * Nanos::SECOND.0));
    let mut heard = Vec::new();
    turn_until(&mut agent, "the idle one", || drain(&mut idle, &mut heard));
    assert!(heard.is_empty());
}

#[test]
fn a_clock_that_is_set_forward_cuts_nobody_off() {
    let clock = ManualClock::new(Nanos(1_000_000_000_000));
    let (_, log) = Flood::logged();
    let mut agent = log.market_data(0, 0, clock.clone());
    let mut silent = ask(agent.address(), &[]);
    settle(&mut agent);
    clock.set_forward(Nanos(3_600 * Nanos::SECOND.0));
    settle(&mut agent);
    let all = framed(request(FeedRequestKind::SnapshotThenUpdates.into(), 0, 0).bytes());
    silent.write_all(&all).unwrap();
    let mut heard = Vec::new();
    turn_until(&mut agent, "a snapshot", || {
        assert!(!drain(&mut silent, &mut heard), "it was cut off");
        !heard.is_empty()
    });
}

#[test]
fn who_has_asked_for_nothing_makes_way_and_who_has_asked_does_not() {
    let clock = ManualClock::new(Nanos(1_000_000_000_000));
    let (_, log) = Flood::logged();
    let mut agent = log.market_data(0, 0, clock.clone());
    settle(&mut agent);
    let address = agent.address();
    // As many as there are places, each at a time of its own.
    let mut silent: Vec<_> = (0..32)
        .map(|_| {
            let stream = ask(address, &[]);
            settle(&mut agent);
            clock.advance(Nanos(1_000_000));
            stream
        })
        .collect();
    let all = framed(request(FeedRequestKind::SnapshotThenUpdates.into(), 0, 0).bytes());
    let mut served = Vec::new();
    for first in &mut silent {
        let (mut client, mut heard) = (ask(address, &all), Vec::new());
        turn_until(&mut agent, "a snapshot", || {
            assert!(!drain(&mut client, &mut heard), "it was cut off");
            !heard.is_empty()
        });
        assert!(drain(first, &mut Vec::new()), "the first of them made way");
        served.push(client);
    }
    let mut refused = ask(address, &all);
    turn_until(&mut agent, "the one too many", || {
        drain(&mut refused, &mut Vec::new())
    });
    for client in &mut served {
        assert!(!drain(client, &mut Vec::new()), "it was cut off");
    }
}

#[test]
fn every_bad_request_gets_its_named_reject() {
    let (mut flood, mut log) = Flood::logged();
    log.append(&flood.churn(1000));
    log.append(&flood.churn(1000));
    let mut agent = log.market_data(64 << 10, 0, SystemClock::default());
    settle(&mut agent);
    let history = agent.subscribers().publisher().history(FeedDepth::Orders);
    let (oldest, next) = (history.oldest().0, history.next().0);
    assert!(oldest > 1);
    let updates: Raw<FeedRequestKind> = FeedRequestKind::UpdatesFrom.into();
    let snapshot: Raw<FeedRequestKind> = FeedRequestKind::SnapshotThenUpdates.into();
    let other_schema = {
        let mut bytes = request(snapshot, 0, 0).bytes().to_vec();
        bytes[4] = 1;
        bytes
    };
    let short_block = {
        let mut bytes = request(snapshot, 0, 0).bytes()[..16].to_vec();
        bytes[0] = 8;
        bytes
    };
    use FeedRejectCode::{BadRequest, OutOfRange, UnknownInstrument};
    let cases: Vec<(&str, Vec<u8>, FeedRejectCode, bool)> = vec![
        (
            "unknown kind",
            framed(request(Raw::new(9), 0, 0).bytes()),
            BadRequest,
            false,
        ),
        (
            "unknown instrument",
            framed(request(snapshot, 77, 0).bytes()),
            UnknownInstrument,
            false,
        ),
        (
            "unknown to update",
            framed(request(updates, 77, 1).bytes()),
            UnknownInstrument,
            false,
        ),
        (
            "from zero",
            framed(request(updates, 0, 0).bytes()),
            OutOfRange,
            false,
        ),
        (
            "too old",
            framed(request(updates, 0, oldest - 1).bytes()),
            OutOfRange,
            false,
        ),
        (
            "not yet",
            framed(request(updates, 0, next + 1).bytes()),
            OutOfRange,
            false,
        ),
        (
            "another message",
            framed(FeedHeartbeat::blank().bytes()),
            BadRequest,
            true,
        ),
        ("another schema", framed(&other_schema), BadRequest, true),
        ("a short block", framed(&short_block), BadRequest, true),
        (
            "a bare header",
            framed(&request(snapshot, 0, 0).bytes()[..8]),
            BadRequest,
            true,
        ),
        ("no length", vec![0; 16], BadRequest, true),
        ("a huge length", vec![0xFF; 16], BadRequest, true),
        (
            "another encoding",
            vec![0, 0, 0, 30, 0xEB, 0x50, 0, 0],
            BadRequest,
            true,
        ),
    ];
    for (name, bytes, code, ends) in cases {
        let mut stream = ask(agent.address(), &bytes);
        let (mut heard, mut ended) = (Vec::new(), false);
        turn_until(&mut agent, name, || {
            ended = drain(&mut stream, &mut heard);
            first_message(&heard).is_some() && ended == ends
        });
        let reject = FeedReject::read(first_message(&heard).unwrap()).unwrap();
        assert_eq!(reject.code.decode(), Some(code), "{name}");
        assert_eq!(
            (reject.oldest_sequence.0, reject.next_sequence.0),
            (oldest, next),
            "{name}"
        );
        assert_eq!(
            heard.len(),
            2 * FRAMING_BYTES + FeedSource::BYTES + FeedReject::BYTES,
            "{name}: nothing else"
        );
        if !ends {
            // The connection goes on: a right request is answered.
            stream
                .write_all(&framed(request(updates, 0, oldest).bytes()))
                .unwrap();
            turn_until(&mut agent, name, || {
                drain(&mut stream, &mut heard);
                heard.len() > 2 * (FRAMING_BYTES + FeedReject::BYTES)
            });
        }
    }
}

#[test]
fn a_port_serves_more_clients_than_it_has_places_one_after_another() {
    let mut market = Market::new(11);
    let mut log = EventLog::new();
    (0..50).for_each(|_| log.append(&market.step()));
    let mut agent = log.market_data(64 << 10, 4096, SystemClock::default());
    settle(&mut agent);
    // Three times the places of the port.
    for client in 0..96 {
        let snapshot = request(FeedRequestKind::SnapshotThenUpdates.into(), 0, 0);
        let mut stream = ask(agent.address(), &framed(snapshot.bytes()));
        let mut heard = Vec::new();
        turn_until(&mut agent, &format!("client {client}"), || {
            drain(&mut stream, &mut heard);
            !heard.is_empty()
        });
    }
}

#[test]
fn a_port_opens_only_once_the_log_tells_of_everything_committed() {
    let (mut market, mut log) = (Market::new(12), EventLog::new());
    (0..30).for_each(|_| log.append(&market.step()));
    let (mut applied, mark) = exahour_rings::watermark();
    let mut agent = log.market_data_behind(mark, SystemClock::default());
    let snapshot = request(FeedRequestKind::SnapshotThenUpdates.into(), 0, 0);
    let mut stream = ask(agent.address(), &framed(snapshot.bytes()));
    let mut heard = Vec::new();
    applied.publish(6);
    for _ in 0..1_000 {
        exahour_rings::Agent::do_work(&mut agent).unwrap();
        drain(&mut stream, &mut heard);
    }
    assert!(
        heard.is_empty(),
        "the log may be short of what is committed"
    );
    // The engine writes again what the log had lost.
    (0..30).for_each(|_| log.append(&market.step()));
    applied.publish(7);
    turn_until(&mut agent, "an answer", || {
        drain(&mut stream, &mut heard);
        !heard.is_empty()
    });
    let publisher = agent.subscribers().publisher();
    market.check(publisher.books(), "once it is open");
}

#[test]
fn no_bytes_of_a_client_harm_the_port() {
    let mut market = Market::new(9);
    let mut subscribers = Subscribers::new(SOURCE, 0, 0);
    (0..300).for_each(|_| {
        subscribers
            .on_batch(&market.step(), FrameEnd::Command)
            .unwrap()
    });
    let right = framed(request(FeedRequestKind::SnapshotThenUpdates.into(), 0, 0).bytes());
    let (mut finished, mut stayed) = (0, 0);
    for seed in 0..3000 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut peer: Peer<Client> = Peer::new([127, 0, 0, 1].into(), 0, Steady(1));
        let mut bytes: Vec<u8> = (0..rng.random_range(1..6))
            .flat_map(|_| right.clone())
            .collect();
        for _ in 0..rng.random_range(0..4) {
            let place = rng.random_range(0..bytes.len());
            match rng.random_range(0..3) {
                0 => bytes[place] = rng.random(),
                1 => {
                    bytes.remove(place);
                }
                _ => bytes.insert(place, rng.random()),
            }
        }
        let mut rest = &bytes[..];
        let mut verdict = Verdict::Stay;
        for _ in 0..200 {
            let piece = rest.len().min(rng.random_range(1..100));
            rest = &rest[peer.receive(&rest[..piece])..];
            verdict = subscribers.serve(&mut peer, Steady(2));
            if verdict != Verdict::Stay {
                break;
            }
            let sent = peer.buffer.waiting().len();
            peer.buffer.sent(rng.random_range(0..=sent));
        }
        match verdict {
            Verdict::Stay => stayed += 1,
            _ => finished += 1,
        }
        subscribers.gone(peer.state);
        subscribers.on_turn().unwrap();
    }
    assert!(
        finished > 500 && stayed > 500,
        "{finished} finished, {stayed} stayed"
    );
}
