//! Nothing lost and nothing doubled: over lost connections, over a restarted gateway, and for a
//! client that stops reading while another trades.
#![allow(clippy::unwrap_used, clippy::expect_used)] // What goes wrong fails the test.

mod exchange;
mod proxy;
mod trader;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use exahour_gateway::client::{Client, ClientError, ClientEvent, SessionPosition, TypedReport};
use exahour_wire::codes::{DisconnectCause, TerminationCode};
use exahour_wire::events::EventPrefix;
use exahour_wire::ids::{MessageSequence, SessionId, SessionVersion};
use exahour_wire::message::Message;
use exahour_wire::session::{EstablishmentAck, Retransmission, RetransmitRequest};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use exchange::{Raw64, Rig, config, establish, numbered, order};
use proxy::Proxy;
use trader::Trader;

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn random_cuts_lose_nothing_and_double_nothing() {
    for seed in 0..8 {
        let orders = 3_000;
        let rig = Rig::start();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let proxy = Proxy::start(rig.address);
        proxy.allow(u64::MAX);
        let mut client = Client::connect(proxy.address, config(1)).unwrap();
        let mut trader = Trader {
            wanted: (1..=orders).collect(),
            ..Trader::default()
        };
        let (limit, mut cuts) = (Instant::now() + 3 * PATIENCE, 0);
        proxy.allow(rng.random_range(0..30_000));
        while trader.accepted.len() < orders as usize {
            assert!(
                Instant::now() < limit,
                "seed {seed}: {} done",
                trader.accepted.len()
            );
            let batch = rng.random_range(1..=16);
            let turned = trader.send(&mut client, batch);
            match turned.and_then(|()| trader.listen(&mut client, 2 * batch)) {
                Ok(_) => {
                    std::thread::yield_now();
                    continue;
                }
                Err(ClientError::Disconnected { .. }) => {}
                Err(error) => panic!("seed {seed}: {error}"),
            }
            // The cut may fall into the logon too, at any byte.
            loop {
                cuts += 1;
                proxy.allow(rng.random_range(0..30_000));
                match client.reconnect() {
                    Ok(()) => break,
                    Err(ClientError::Disconnected { .. }) => {}
                    Err(error) => panic!("seed {seed}, reconnecting: {error}"),
                }
                assert!(Instant::now() < limit, "seed {seed}: no way back");
            }
        }
        trader.accepted.sort_unstable();
        assert!(
            trader.accepted.iter().copied().eq(1..=orders),
            "seed {seed}"
        );
        assert_eq!(
            rig.told.orders.load(Ordering::SeqCst),
            orders as usize,
            "seed {seed}"
        );
        assert!(cuts > 10, "seed {seed}: only {cuts} cuts");
    }
}

/// What a client is told after it came back, up to its last report.
fn told_up_to(client: &mut Client, last_report: u32) -> (Vec<u32>, Vec<(u32, u32)>) {
    let (mut applied, mut lost, mut reports) = (Vec::new(), Vec::new(), 0);
    while reports < last_report {
        match client.wait(PATIENCE).unwrap() {
            Some(ClientEvent::Report(report)) => {
                reports += 1;
                assert_eq!(report.prefix().sequence.0, reports);
                if let TypedReport::Accepted(accepted) = report.typed() {
                    applied.push(accepted.client_sequence.0);
                }
            }
            Some(ClientEvent::NotApplied { from, count }) => lost.push((from.0, count)),
            other => panic!("{other:?} after {reports}"),
        }
    }
    (applied, lost)
}

#[test]
fn a_gap_whose_news_was_lost_with_the_connection_is_told_after_it() {
    let rig = Rig::start();
    let mut raw = Raw64::established(&rig, 1, 1);
    for sequence in [1, 4] {
        raw.say(&numbered(1, sequence, order(u64::from(sequence), 1, 0)));
    }
    rig.until(|| rig.told.orders.load(Ordering::SeqCst) == 2);
    // It hears nothing of what was said meanwhile.
    drop(raw);
    let position = SessionPosition {
        version: SessionVersion(1),
        next_sequence: MessageSequence(5),
        next_report: MessageSequence(1),
    };
    let mut client = Client::resume(rig.address, config(1), position).unwrap();
    client.send(&order(5, 1, 0)).unwrap();
    assert_eq!(
        told_up_to(&mut client, 4),
        (vec![1, 4, 5], vec![(2, 2)]),
        "told once, in a flow without hole"
    );
    // One that counts on more than the exchange has seen is told by probe, message and report.
    drop(client);
    let position = SessionPosition {
        next_sequence: MessageSequence(9),
        ..position
    };
    let mut client = Client::resume(rig.address, config(1), position).unwrap();
    client.send(&order(9, 1, 0)).unwrap();
    let (applied, mut lost) = told_up_to(&mut client, 6);
    lost.sort_unstable();
    assert_eq!(
        (applied, lost),
        (vec![1, 4, 5, 9], vec![(2, 2), (6, 3)]),
        "each told once"
    );
}

#[test]
fn what_was_told_as_busy_is_not_told_again_by_any_report() {
    let rig = Rig::start_with(|_| {}, 4);
    let mut client = Client::connect(rig.address, config(1)).unwrap();
    rig.pause();
    for name in 1..=6 {
        client.send(&order(name, 1, 0)).unwrap();
    }
    for expected in [5, 6] {
        match client.wait(PATIENCE).unwrap() {
            Some(ClientEvent::Busy { sequence }) => assert_eq!(sequence.0, expected),
            other => panic!("{other:?}"),
        }
    }
    rig.paused.store(false, Ordering::SeqCst);
    rig.until(|| rig.told.orders.load(Ordering::SeqCst) == 4);
    client.send(&order(7, 1, 0)).unwrap();
    rig.until(|| rig.told.orders.load(Ordering::SeqCst) == 5);
    client.reconnect().unwrap();
    assert_eq!(
        told_up_to(&mut client, 6),
        (vec![1, 2, 3, 4, 7], Vec::new())
    );
}

#[test]
fn a_number_that_was_given_out_is_told_though_the_connection_broke() {
    let mut rig = Rig::start();
    let mut client = Client::connect(rig.address, config(1)).unwrap();
    rig.restart();
    // The socket takes what nobody reads until it hears of the end; then no number is given out.
    let mut given = 0;
    loop {
        match client.send(&order(1, 1, 0)) {
            Ok(sequence) => {
                given += 1;
                assert_eq!(sequence.0, given);
            }
            Err(ClientError::Disconnected { .. }) => break,
            Err(error) => panic!("{error}"),
        }
        assert_eq!(client.position().next_sequence.0, given + 1);
    }
    assert_eq!(client.position().next_sequence.0, given + 1);
    assert!(client.send_all(&[order(1, 1, 0); 2]).is_err());
    assert_eq!(client.position().next_sequence.0, given + 1);
    // Why it ended was received before, and is not lost by what could not be written.
    match client.wait(PATIENCE).unwrap() {
        Some(ClientEvent::Terminated { code, .. }) => {
            assert_eq!(code.decode(), Some(TerminationCode::NodeStopping));
        }
        other => panic!("{other:?}"),
    }
    client.reconnect_to(rig.address).unwrap();
    match client.wait(PATIENCE).unwrap() {
        Some(ClientEvent::NotApplied { from, count }) => assert_eq!((from.0, count), (1, given)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_restarted_gateway_serves_every_report_again() {
    let mut rig = Rig::start();
    let mut client = Client::connect(rig.address, config(1)).unwrap();
    for name in 1..=300 {
        client.send(&order(name, 1, 39)).unwrap();
    }
    let mut seen = 0;
    while seen < 4_000 {
        if let Some(ClientEvent::Report(report)) = client.wait(PATIENCE).unwrap() {
            seen += 1;
            assert_eq!(report.prefix().sequence.0, seen);
        }
    }
    // What is not read meanwhile fits the gateway's buffer: this client is not to be cut off.
    rig.until(|| rig.told.orders.load(Ordering::SeqCst) == 300);
    rig.restart();
    client.reconnect_to(rig.address).unwrap();
    // New reports come while old ones are fetched.
    client.send(&order(301, 1, 39)).unwrap();
    while seen < 12_040 {
        match client.wait(PATIENCE).unwrap() {
            Some(ClientEvent::Report(report)) => {
                seen += 1;
                assert_eq!(report.prefix().sequence.0, seen);
            }
            other => panic!("{other:?} after {seen}"),
        }
    }
    let position = client.position();
    drop(client);
    // Another process takes the session up, from an earlier report on.
    let earlier = SessionPosition {
        next_report: MessageSequence(11_000),
        ..position
    };
    let mut client = Client::resume(rig.address, config(1), earlier).unwrap();
    for expected in 11_000..12_041 {
        match client.wait(PATIENCE).unwrap() {
            Some(ClientEvent::Report(report)) => {
                assert_eq!(report.prefix().sequence.0, expected);
            }
            other => panic!("{other:?} instead of {expected}"),
        }
    }
}

#[test]
fn a_client_that_stops_reading_delays_nobody_and_recovers() {
    let rig = Rig::start_with(|settings| settings.outbox_bytes = 1 << 20, 4_096);
    let mut deaf = Client::connect(rig.address, config(1)).unwrap();
    let mut trader = Client::connect(rig.address, config(2)).unwrap();
    let (rounds, reports_each) = (1_500, 200);
    let mut slowest = Duration::ZERO;
    for name in 1..=rounds {
        let asked = Instant::now();
        trader.send(&order(name, 1, reports_each)).unwrap();
        match trader.wait(PATIENCE).unwrap() {
            Some(ClientEvent::Report(report)) => {
                assert_eq!(u64::from(report.prefix().sequence.0), name);
            }
            other => panic!("{other:?}"),
        }
        slowest = slowest.max(asked.elapsed());
    }
    // The bound is for a busy machine; a stall would last until the deaf client is cut off.
    assert!(
        slowest < Duration::from_secs(2),
        "one round took {slowest:?}"
    );
    rig.until(|| rig.closed(1) == [DisconnectCause::SlowReader]);
    assert!(rig.closed(2).is_empty());
    let mut seen = 0;
    let ended = loop {
        match deaf.wait(PATIENCE).unwrap() {
            Some(ClientEvent::Report(report)) => {
                seen += 1;
                assert_eq!(report.prefix().sequence.0, seen);
            }
            Some(ClientEvent::Terminated { code, .. }) => break code.decode(),
            other => panic!("{other:?} after {seen}"),
        }
    };
    assert_eq!(ended, Some(TerminationCode::SlowReader));
    let all = (rounds * reports_each) as u32;
    assert!(seen < all, "everything fitted: the test proves nothing");
    deaf.reconnect().unwrap();
    while seen < all {
        match deaf.wait(PATIENCE).unwrap() {
            Some(ClientEvent::Report(report)) => {
                seen += 1;
                assert_eq!(report.prefix().sequence.0, seen);
            }
            other => panic!("{other:?} after {seen}"),
        }
    }
}

#[test]
fn asking_for_much_without_reading_delays_nobody_and_ends_nobody() {
    let rig = Rig::start_with(|settings| settings.outbox_bytes = 64 << 10, 4_096);
    let mut raw = Raw64::established(&rig, 1, 10);
    drop(raw);
    rig.until(|| rig.closed(1).len() == 1);
    let mut trader = Client::connect(rig.address, config(2)).unwrap();
    let (rounds, reports_each) = (300, 200);
    let mut trade = |name: u64, about: u64| {
        trader.send(&order(name, 1, about)).unwrap();
        match trader.wait(PATIENCE).unwrap() {
            Some(ClientEvent::Report(report)) => {
                assert_eq!(u64::from(report.prefix().sequence.0), name);
            }
            other => panic!("{other:?}"),
        }
    };
    (1..=rounds).for_each(|name| trade(name, reports_each));
    let missed = (rounds * reports_each) as u32;
    raw = Raw64::connect(&rig);
    raw.say(&establish(1, 10, 1, 20));
    assert_eq!(raw.hear::<EstablishmentAck>().next_sequence.0, missed + 1);
    raw.say(&RetransmitRequest {
        session: SessionId(1),
        from_sequence: MessageSequence(1),
        count: missed,
        ..RetransmitRequest::blank()
    });
    // The deaf one gets a few new reports as well, while its old ones wait for it to read.
    (rounds + 1..=rounds + 200).for_each(|name| trade(name, 1));
    assert_eq!(rig.closed(1).len(), 1, "asking is no reason to be cut off");
    raw.say(&numbered(1, 1, order(9, 1, 0)));
    let (mut again, mut new, mut left_of_run) = (1, missed + 1, 0);
    while again <= missed || new < missed + 202 {
        let bytes = raw.next().unwrap();
        if let Some(run) = Retransmission::read(&bytes) {
            assert_eq!((left_of_run, run.from_sequence.0), (0, again));
            left_of_run = run.count;
            continue;
        }
        let sequence = EventPrefix::peek(&bytes).unwrap().sequence.0;
        let expected = if left_of_run > 0 {
            &mut again
        } else {
            &mut new
        };
        assert_eq!(sequence, *expected);
        *expected += 1;
        left_of_run = left_of_run.saturating_sub(1);
    }
    assert_eq!((again, new, left_of_run), (missed + 1, missed + 202, 0));
}

#[test]
fn a_terminate_that_fails_passes_nothing_over_for_good() {
    let rig = Rig::start();
    let proxy = Proxy::start(rig.address);
    proxy.allow(u64::MAX);
    let mut client = Client::connect(proxy.address, config(1)).unwrap();
    client.send_all(&[order(7, 1, 0); 200]).unwrap();
    rig.until(|| rig.told.orders.load(Ordering::SeqCst) == 200);
    // The reports are on their way; the farewell is not let through, and the connection cut.
    proxy.allow(0);
    let failed = client.terminate();
    assert!(failed.is_err(), "{failed:?}");
    proxy.allow(u64::MAX);
    client.reconnect().unwrap();
    for expected in 1..=200 {
        match client.wait(PATIENCE).unwrap() {
            Some(ClientEvent::Report(report)) => {
                assert_eq!(report.prefix().sequence, MessageSequence(expected));
            }
            other => panic!("report {expected}: {other:?}"),
        }
    }
}
