//! A snapshot is the state: what goes on from it cannot be told from what was never interrupted, and
//! damaged bytes are refused.

#![allow(clippy::unwrap_used)] // A test may fail where it stands.

mod applying;

use exahour_engine::{Capacity, Engine, SNAPSHOT_ALIGN};
use exahour_twin::flow::{Flow, Style};
use exahour_twin::readable;
use exahour_twin::seeds::seeds;
use exahour_wire::message::messages;
use exahour_wire::units::Nanos;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use applying::apply;

fn engine(orders: u32) -> Engine {
    Engine::new(&capacity(orders))
}

fn capacity(orders: u32) -> Capacity {
    Capacity {
        orders,
        positions: 16,
        index_seed: u64::from(orders),
        ..Capacity::default()
    }
}

/// A flow on an engine that is now and then replaced by what its snapshot holds.
fn check(seed: u64, style: Style) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut flow = Flow::with_orders_max(seed, style, random.random_range(0..60));
    let (mut steady, mut replaced) = (engine(5_000), engine(1));
    let place = |batch: usize| format!("EXAHOUR_SEED={seed} {style:?}: batch {batch}");
    for batch in 0..400 {
        let commands = flow.next_batch();
        let events = apply(&mut steady, &commands).unwrap();
        let others = apply(&mut replaced, &commands).unwrap();
        if events != others {
            let list =
                |events: &[u8]| -> Vec<_> { messages(events).map(readable::message).collect() };
            panic!(
                "{}\n{:#?}\n{:#?}",
                place(batch),
                list(&events),
                list(&others)
            );
        }
        flow.observe(&events);
        if random.random_range(0..12) == 0 {
            let bytes = replaced.snapshot().unwrap();
            let same = *bytes == *steady.snapshot().unwrap();
            assert!(same, "{}: one state, two snapshots", place(batch));
            let room = capacity(random.random_range(1..200));
            let restored = Engine::restore(&bytes, &steady.state_hash(), &room);
            replaced = restored.unwrap_or_else(|error| panic!("{}: {error}", place(batch)));
            let due = |engine: &Engine| engine.next_due().unwrap_or(Nanos::NEVER);
            // What is gone sets no timer any more, so the restored one may only wake later.
            assert!(due(&replaced) >= due(&steady), "{}", place(batch));
        }
    }
    assert_eq!(steady.state_hash(), replaced.state_hash());
}

#[test]
fn of_realistic_flows() {
    for seed in seeds(40) {
        check(seed, Style::Realistic);
    }
}

#[test]
fn of_hostile_flows() {
    for seed in seeds(40) {
        check(seed, Style::Hostile);
    }
}

#[test]
fn of_an_exchange_in_which_nothing_has_happened() {
    let fresh = engine(1);
    let bytes = fresh.snapshot().unwrap();
    assert!(Engine::restore(&bytes, &fresh.state_hash(), &capacity(1)).is_ok());
}

/// Flipped, cut and lengthened: refused, whatever the caller's checksum would have said.
#[test]
fn damage_is_refused_and_never_a_panic() {
    let (mut tried, mut refused, mut changed) = (0, 0, 0);
    for seed in seeds(6) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut flow = Flow::new(seed, Style::Realistic);
        let mut engine = engine(5_000);
        for _ in 0..60 {
            let events = apply(&mut engine, &flow.next_batch()).unwrap();
            flow.observe(&events);
        }
        let (whole, hash) = (engine.snapshot().unwrap(), engine.state_hash());
        assert!(whole.as_ptr().addr().is_multiple_of(SNAPSHOT_ALIGN));
        for round in 0..3_000 {
            tried += 1;
            let mut bytes = whole.clone();
            let at = random.random_range(0..bytes.len());
            match round % 3 {
                0 => bytes[at] ^= 1 << random.random_range(0..8),
                1 => bytes[at..].fill(random.random()),
                _ => bytes.resize(at, 0),
            }
            let same = *bytes == *whole;
            match Engine::restore(&bytes, &hash, &capacity(1)) {
                Err(_) => refused += 1,
                Ok(restored) => {
                    // Padding, or the kept hashes or how many they are, which the file's checksum covers:
                    // apart from these a state that is taken again is the one that was taken.
                    assert_eq!(restored.state_hash(), hash, "seed {seed} round {round}");
                    let differs = restored.snapshot().unwrap()[..] != whole[..];
                    assert!(!same || !differs, "seed {seed} round {round}");
                    changed += usize::from(differs);
                }
            }
        }
    }
    assert!(
        refused * 2 > tried,
        "only {refused} of {tried} were refused"
    );
    assert!(
        changed * 100 < tried,
        "{changed} of {tried} were read as another state"
    );
}
