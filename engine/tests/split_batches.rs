//! Where batches are cut is invisible: the same commands at the same times give the same events and
//! the same state.

#![allow(clippy::unwrap_used)] // A test may fail where it stands.

mod applying;

use exahour_engine::{Capacity, Engine};
use exahour_twin::flow::{Commands, Flow, Style};
use exahour_twin::readable;
use exahour_twin::seeds::seeds;
use exahour_wire::ids::CommandSequence;
use exahour_wire::message::{Digest, messages};

use applying::apply;

fn engine() -> Engine {
    Engine::new(&Capacity {
        orders: 5_000,
        ..Capacity::default()
    })
}

/// The events and the hash of a whole journal.
fn play(journal: &[Commands]) -> (Vec<u8>, Digest) {
    let mut engine = engine();
    let mut events = Vec::new();
    for commands in journal {
        events.extend(apply(&mut engine, commands).unwrap());
    }
    (events, engine.state_hash())
}

fn journal(seed: u64, style: Style) -> Vec<Commands> {
    let mut engine = engine();
    let mut flow = Flow::new(seed, style);
    let mut journal = Vec::new();
    for _ in 0..400 {
        let commands = flow.next_batch();
        let events = apply(&mut engine, &commands).unwrap();
        flow.observe(&events);
        journal.push(commands);
    }
    journal
}

/// Each command in a batch of its own.
fn one_by_one(journal: &[Commands]) -> Vec<Commands> {
    let mut split = Vec::new();
    for commands in journal {
        for (place, record) in commands.records.iter().enumerate() {
            split.push(Commands {
                time: commands.time,
                first: CommandSequence(commands.first.0 + place as u64),
                records: vec![record.clone()],
            });
        }
    }
    split
}

/// Neighbours with the same time in one batch.
fn merged(journal: &[Commands]) -> Vec<Commands> {
    let mut merged: Vec<Commands> = Vec::new();
    for commands in journal {
        match merged.last_mut() {
            Some(last) if last.time == commands.time => {
                last.records.extend(commands.records.iter().cloned());
            }
            _ => merged.push(commands.clone()),
        }
    }
    merged
}

fn check(seed: u64, style: Style) {
    let whole = journal(seed, style);
    let (events, hash) = play(&whole);
    for (how, journal) in [
        ("one by one", one_by_one(&whole)),
        ("merged", merged(&whole)),
    ] {
        let (other_events, other_hash) = play(&journal);
        let same = messages(&events)
            .zip(messages(&other_events))
            .take_while(|(one, other)| one == other)
            .count();
        let nth = |events: &[u8]| messages(events).nth(same).map(readable::message);
        assert_eq!(
            nth(&events),
            nth(&other_events),
            "EXAHOUR_SEED={seed} {style:?} {how}: event {}",
            same + 1
        );
        assert_eq!(hash, other_hash, "EXAHOUR_SEED={seed} {style:?} {how}");
    }
}

#[test]
fn of_realistic_flows() {
    for seed in seeds(12) {
        check(seed, Style::Realistic);
    }
}

#[test]
fn of_hostile_flows() {
    for seed in seeds(12) {
        check(seed, Style::Hostile);
    }
}
