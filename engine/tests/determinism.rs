//! The same journal gives the same bytes and the same hash, and the hash sees every change.

mod applying;

use exahour_engine::{Capacity, Divergence, Engine};
use exahour_twin::flow::{Commands, Flow, Style, nudge};
use exahour_twin::seeds::seeds;
use exahour_twin::{Twin, readable};
use exahour_wire::events::StateHashed;
use exahour_wire::ids::CommandSequence;
use exahour_wire::internal::{Checkpoint, TakeStateHash, Tick};
use exahour_wire::message::{Digest, Message, messages};
use exahour_wire::units::Nanos;

use applying::apply;

fn engine() -> Engine {
    Engine::new(&Capacity {
        orders: 5_000,
        ..Capacity::default()
    })
}

fn must_apply(engine: &mut Engine, commands: &Commands) -> Vec<u8> {
    match apply(engine, commands) {
        Ok(events) => events,
        Err(divergence) => panic!("the engine stopped by itself: {divergence}"),
    }
}

#[test]
fn two_engines_and_a_replay_agree() {
    for seed in seeds(12) {
        for style in [Style::Realistic, Style::Hostile] {
            let (mut one, mut other) = (engine(), engine());
            let mut flow = Flow::new(seed, style);
            let mut journal = Vec::new();
            for place in 0..300 {
                let commands = flow.next_batch();
                let events = must_apply(&mut one, &commands);
                assert!(
                    events == must_apply(&mut other, &commands),
                    "EXAHOUR_SEED={seed} {style:?}: events of batch {place} differ"
                );
                if place % 10 == 0 {
                    let agree = one.state_hash() == other.state_hash();
                    assert!(agree, "EXAHOUR_SEED={seed} {style:?}: batch {place}");
                }
                flow.observe(&events);
                journal.push(commands);
            }
            let mut replayed = engine();
            for commands in &journal {
                must_apply(&mut replayed, commands);
            }
            let agree = one.state_hash() == replayed.state_hash();
            assert!(agree, "EXAHOUR_SEED={seed} {style:?}: the replay differs");
        }
    }
}

/// How much room was made at the start is a matter of speed: it never reaches events or hashes.
#[test]
fn the_room_made_at_the_start_changes_nothing() {
    for seed in seeds(6) {
        for style in [Style::Realistic, Style::Hostile] {
            let mut narrow = Engine::new(&Capacity {
                orders: 1,
                positions: 1,
                index_seed: 1,
                ..Capacity::default()
            });
            let mut wide = Engine::new(&Capacity {
                orders: 70_000,
                positions: 9_000,
                index_seed: u64::MAX / 3,
                ..Capacity::default()
            });
            let mut flow = Flow::new(seed, style);
            for place in 0..300 {
                let commands = flow.next_batch();
                let events = must_apply(&mut narrow, &commands);
                let same = events == must_apply(&mut wide, &commands);
                assert!(same, "EXAHOUR_SEED={seed} {style:?}: batch {place}");
                flow.observe(&events);
            }
            let same = narrow.state_hash() == wide.state_hash();
            assert!(same, "EXAHOUR_SEED={seed} {style:?}: the hashes differ");
        }
    }
}

/// An engine and its twin that have seen the same commands, each in a batch of its own.
struct Both {
    engine: Engine,
    twin: Twin,
    next: u64,
}

impl Both {
    fn after(journal: &[(Nanos, Vec<u8>)]) -> Self {
        let mut both = Self {
            engine: engine(),
            twin: Twin::new(),
            next: 1,
        };
        for (time, record) in journal {
            both.apply(*time, record);
        }
        both
    }

    fn apply(&mut self, time: Nanos, record: &[u8]) -> Vec<u8> {
        let commands = Commands {
            time,
            first: CommandSequence(self.next),
            records: vec![record.to_vec()],
        };
        self.next += 1;
        let mut events = Vec::new();
        self.twin.apply(time, commands.first, record, &mut events);
        must_apply(&mut self.engine, &commands);
        events
    }
}

/// A journal of single commands.
fn journal(flow: &mut Flow) -> Vec<(Nanos, Vec<u8>)> {
    let mut journal = Vec::new();
    let mut both = Both::after(&[]);
    while journal.len() < 400 {
        let commands = flow.next_batch();
        let mut events = Vec::new();
        for record in commands.records {
            events.extend(both.apply(commands.time, &record));
            journal.push((commands.time, record));
        }
        flow.observe(&events);
    }
    journal
}

/// One field of one command is changed a little: where that leaves the twin in another state, it
/// must leave the engine with another hash.
#[test]
fn the_hash_tells_apart_what_the_twin_tells_apart() {
    for seed in seeds(6) {
        let mut flow = Flow::new(seed, Style::Realistic);
        let journal = journal(&mut flow);
        let mut told_apart = 0;
        for place in (0..journal.len()).step_by(2) {
            let (time, record) = &journal[place];
            let nudged = nudge(&mut flow, record.clone());
            let (mut one, mut other) = (
                Both::after(&journal[..place]),
                Both::after(&journal[..place]),
            );
            one.apply(*time, record);
            other.apply(*time, &nudged);
            if one.twin != other.twin {
                told_apart += 1;
                assert!(
                    one.engine.state_hash() != other.engine.state_hash(),
                    "EXAHOUR_SEED={seed}: one hash after command {place}, either\n{}\nor\n{}",
                    readable::message(record),
                    readable::message(&nudged)
                );
            }
        }
        assert!(told_apart > 40, "EXAHOUR_SEED={seed}: only {told_apart}");
    }
}

/// Every command that did something leaves another hash.
#[test]
fn the_hash_sees_every_change() {
    for seed in seeds(4) {
        let mut flow = Flow::new(seed, Style::Realistic);
        let mut both = Both::after(&[]);
        for (time, record) in journal(&mut flow) {
            let before = (both.engine.state_hash(), both.twin.clone());
            both.apply(time, &record);
            let told = both.twin.differs_beyond_numbers(&before.1);
            assert!(
                !told || both.engine.state_hash() != before.0,
                "EXAHOUR_SEED={seed}: the hash stayed after {}",
                readable::message(&record)
            );
        }
    }
}

fn single<M: Message>(first: u64, command: &M) -> Commands {
    Commands {
        time: Nanos(4_000_000_000_000_000_000),
        first: CommandSequence(first),
        records: vec![command.bytes().to_vec()],
    }
}

#[test]
fn a_tick_in_a_quiet_moment_changes_nothing() {
    let mut engine = engine();
    must_apply(&mut engine, &single(1, &Tick::blank()));
    let before = engine.state_hash();
    assert!(must_apply(&mut engine, &single(2, &Tick::blank())).is_empty());
    assert_eq!(engine.state_hash(), before);
}

#[test]
fn a_checkpoint_stops_the_replica_that_has_another_hash() {
    for seed in seeds(4) {
        let mut engine = engine();
        let mut flow = Flow::new(seed, Style::Realistic);
        let mut next = 1;
        for _ in 0..100 {
            let commands = flow.next_batch();
            let events = must_apply(&mut engine, &commands);
            flow.observe(&events);
            next = commands.first.0 + commands.records.len() as u64;
        }
        let events = must_apply(&mut engine, &single(next, &TakeStateHash::blank()));
        let hashed = messages(&events).find_map(StateHashed::read);
        let state_hash = hashed.map_or(Digest::default(), |hashed| hashed.state_hash);
        assert_ne!(state_hash, Digest::default());
        let checkpoint = |at: u64, state_hash: Digest| Checkpoint {
            at_command: CommandSequence(at),
            state_hash,
            ..Checkpoint::blank()
        };
        let right = checkpoint(next, state_hash);
        assert!(must_apply(&mut engine, &single(next + 1, &right)).is_empty());
        let other = Digest([9; 32]);
        let elsewhere = checkpoint(next + 1, other);
        assert!(must_apply(&mut engine, &single(next + 2, &elsewhere)).is_empty());
        let wrong = checkpoint(next, other);
        let stopped = apply(&mut engine, &single(next + 3, &wrong));
        let divergence = Divergence {
            at: CommandSequence(next),
            expected: other,
            found: state_hash,
        };
        assert_eq!(stopped, Err(divergence.into()), "EXAHOUR_SEED={seed}");
    }
}
