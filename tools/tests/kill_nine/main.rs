//! kill -9 at any moment under load loses no acknowledged order and duplicates none.
//!
//! Real processes, sockets and files: four traders go on with the same sessions while the node is
//! killed, killed again while it starts, robbed of its event log, and started again. What they sent
//! and were told is compared, at the end, with journal, event log and a fresh replay.
//!
//! `EXAHOUR_ROUNDS` and `EXAHOUR_SEED` make more or other rounds. A failed run prints its seed and
//! keeps its folder.
// What cannot be set up fails the test.
#![allow(clippy::unwrap_used)]

mod arena;
mod audit;
mod books;
mod node;
mod trader;

use std::time::{Duration, Instant};

use exahour_gateway::client::{Client, ClientConfig, ClientEvent, SessionPosition};
use exahour_gateway::credentials::{Key, Keys};
use exahour_wire::ids::{MessageSequence, SessionId};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::arena::Arena;
use crate::audit::{audit, await_snapshot, events_on_disk};
use crate::node::{NodeProcess, PATIENCE, until};
use crate::trader::{Fate, Ledger, VERSION, trade};

const SESSIONS: [u32; 4] = [1, 2, 3, 4];

/// Moments (messages sent, reports told) between two kills, at least and at most.
const MOMENTS: std::ops::Range<u64> = 200..20_000;

#[test]
fn no_durable_order_is_lost_or_doubled() {
    torture("durable", number("EXAHOUR_SEED", 1));
}

#[test]
fn no_replicated_order_is_lost_or_doubled() {
    torture("replicated", number("EXAHOUR_SEED", 2));
}

#[test]
fn an_exchange_killed_while_it_is_created_is_created_whole() {
    let seed = Seed(number("EXAHOUR_SEED", 3));
    let mut random = ChaCha8Rng::seed_from_u64(seed.0);
    let mut usual = NodeProcess::new("durable");
    usual.start();
    usual.kill();
    for _ in 0..number("EXAHOUR_ROUNDS", 5) * 4 {
        let mut node = NodeProcess::new("durable");
        for _ in 0..random.random_range(1..=3) {
            node.spawn();
            match random.random_bool(0.5) {
                true => linger(random.random_range(Duration::ZERO..usual.start_time)),
                false => await_growth(&node),
            }
            node.kill();
        }
        let address = node.start();
        for session in SESSIONS.map(SessionId) {
            let config = ClientConfig::new(session, key(&node, session));
            Client::connect(address, config).unwrap();
        }
        node.stop();
        audit(&node, &[]);
    }
}

#[test]
fn an_event_log_lost_while_nobody_is_connected_is_written_again() {
    let seed = Seed(number("EXAHOUR_SEED", 4));
    let mut random = ChaCha8Rng::seed_from_u64(seed.0);
    let mut node = NodeProcess::new("durable");
    let address = node.start();
    let arena = Arena::new(SESSIONS.len(), node.id(), address);
    let ledgers = with_traders(&mut node, &arena, seed.0, |node| {
        arena.await_arrived();
        arena.plan_kill(3_000, Duration::ZERO);
        node.await_killed(|| arena.check());
        arena.on_dead();
        let address = node.start();
        arena.on_serving(node.id(), address);
    });
    node.kill();
    let before = events_on_disk(&node);
    let bytes = node.lose_events();
    for _ in 0..2 {
        kill_while_events_grow(&mut node, random.random_range(0..bytes));
    }
    let address = node.start();
    let after = events_on_disk(&node);
    assert!(after.starts_with(&before), "the events are others now");
    for ledger in &ledgers {
        assert!(all_reports(&node, address, ledger) == ledger.told);
    }
    node.stop();
    audit(&node, &ledgers);
}

/// Rounds of load, kill and recovery; then the audit.
fn torture(durability: &'static str, seed: u64) {
    let seed = Seed(seed);
    let mut random = ChaCha8Rng::seed_from_u64(seed.0);
    let mut node = NodeProcess::new(durability);
    let address = node.start();
    let arena = Arena::new(SESSIONS.len(), node.id(), address);
    let ledgers = with_traders(&mut node, &arena, seed.0, |node| {
        arena.await_arrived();
        for _ in 0..number("EXAHOUR_ROUNDS", 5) {
            let linger_us = random.random_range(0..1_000);
            arena.plan_kill(
                random.random_range(MOMENTS),
                Duration::from_micros(linger_us),
            );
            node.await_killed(|| arena.check());
            arena.on_dead();
            recover(node, &mut random);
            let address = node.start();
            arena.on_serving(node.id(), address);
        }
    });
    await_snapshot(&node);
    node.stop();
    audit(&node, &ledgers);
}

/// Kills the node in several states of starting, or leaves it alone.
fn recover(node: &mut NodeProcess, random: &mut ChaCha8Rng) {
    for _ in 0..random.random_range(0..3) {
        match random.random_range(0..4) {
            0 => {
                node.spawn();
                node.kill();
            }
            1 => {
                let bytes = node.lose_events();
                kill_while_events_grow(node, random.random_range(0..=bytes));
            }
            _ => {
                let whole = node.start_time * 5 / 4;
                node.spawn();
                linger(random.random_range(Duration::ZERO..whole));
                node.kill();
            }
        }
    }
}

/// Waits for the next frame in the journal; the first ones found an exchange.
fn await_growth(node: &NodeProcess) {
    let (begun, before) = (Instant::now(), node.journal_end());
    while node.journal_end() <= before && !node.serves() {
        assert!(begun.elapsed() < PATIENCE, "the journal does not grow");
    }
}

fn kill_while_events_grow(node: &mut NodeProcess, bytes: u64) {
    node.spawn();
    until("the event log grows", || {
        (node.events_end() >= bytes || node.serves()).then_some(())
    });
    node.kill();
}

/// Runs the traders beside `rounds`; their ledgers, once everything is answered.
fn with_traders(
    node: &mut NodeProcess,
    arena: &Arena,
    seed: u64,
    rounds: impl FnOnce(&mut NodeProcess),
) -> Vec<Ledger> {
    let _watch = arena.watch();
    std::thread::scope(|scope| {
        let traders: Vec<_> = SESSIONS
            .map(|session| {
                let key = key(node, SessionId(session));
                scope.spawn(move || {
                    let _watch = arena.watch();
                    trade(arena, SessionId(session), key, seed)
                })
            })
            .into();
        let _watch = arena.watch();
        rounds(node);
        arena.stop();
        let ledgers = traders.into_iter().map(|trader| trader.join().unwrap());
        ledgers.collect()
    })
}

/// Every report of a session from the first on, as the exchange tells them again.
fn all_reports(node: &NodeProcess, address: std::net::SocketAddr, ledger: &Ledger) -> Vec<Vec<u8>> {
    let config = ClientConfig::new(ledger.session, key(node, ledger.session));
    let next = u32::try_from(ledger.sent.len() + 1).unwrap();
    let start = SessionPosition {
        version: VERSION,
        next_sequence: MessageSequence(next),
        next_report: MessageSequence(1),
    };
    let mut client = Client::resume(address, config, start).unwrap();
    let mut reports = Vec::new();
    let end = Instant::now() + PATIENCE;
    while reports.len() < ledger.told.len() {
        assert!(Instant::now() < end, "only {} reports", reports.len());
        match client.wait(Duration::from_millis(200)).unwrap() {
            Some(ClientEvent::Report(report)) => reports.push(report.bytes().to_vec()),
            Some(ClientEvent::NotApplied { from, count }) => {
                // The reports name the gaps, so they are told again too.
                for place in from.0 - 1..from.0 - 1 + count {
                    let fate = ledger.sent[place as usize].fate;
                    assert!(matches!(fate, Fate::NotApplied | Fate::Busy), "{fate:?}");
                }
            }
            Some(other) => panic!("{other:?}"),
            None => {}
        }
    }
    reports
}

fn key(node: &NodeProcess, session: SessionId) -> Key {
    let keys = Keys::load(&node.data().join("keys")).unwrap();
    keys.key_of(session).unwrap().clone()
}

/// Lets the node go on for a while: where it is then is where the kill falls.
fn linger(time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        std::thread::yield_now();
    }
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

/// Prints the seed of a test that fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed: EXAHOUR_SEED={}", self.0);
        }
    }
}
