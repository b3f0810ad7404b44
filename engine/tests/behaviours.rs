//! Rules change at one command of the log and nowhere else: old journals give the old bytes, programs of
//! different versions agree until then, and one that cannot go on says so and stops.

#![allow(clippy::unwrap_used)] // A test may fail where it stands.

mod applying;

use std::path::Path;

use exahour_engine::{
    Admission, ApplyError, BEHAVIOUR_FIRST, BEHAVIOUR_MAX, Batch, Capacity, Engine, SnapshotError,
    UnknownBehaviour, Verdict, VerdictSink, Verdicts,
};
use exahour_twin::flow::{Commands, Flow, Style};
use exahour_twin::seeds::seeds;
use exahour_twin::{behaviour, readable};
use exahour_wire::events::{BehaviourActivated, CommandRejected, StateHashed};
use exahour_wire::ids::{Behaviour, ClientOrderId, CommandSequence};
use exahour_wire::internal::{ActivateBehaviour, Checkpoint, TakeStateHash, Tick};
use exahour_wire::message::{Digest, Message, messages};
use exahour_wire::reject::Reject;
use exahour_wire::units::Nanos;

use applying::apply;

/// An engine of a program that could do no more than this.
fn program(behaviour_max: Behaviour) -> Engine {
    Engine::new(&capacity(behaviour_max))
}

fn capacity(behaviour_max: Behaviour) -> Capacity {
    Capacity {
        orders: 1_000,
        behaviour_max,
        ..Capacity::default()
    }
}

fn activate(behaviour: Behaviour) -> Vec<u8> {
    let command = ActivateBehaviour {
        request: ClientOrderId(77),
        behaviour,
        ..ActivateBehaviour::blank()
    };
    command.bytes().to_vec()
}

/// A batch of its own behind all others.
fn behind(last: &Commands, record: Vec<u8>) -> Commands {
    Commands {
        time: last.time,
        first: CommandSequence(last.first.0 + last.records.len() as u64),
        records: vec![record],
    }
}

/// The newest behaviour, before everything else.
fn before_all() -> Commands {
    Commands {
        time: Nanos(1),
        first: CommandSequence::NONE,
        records: vec![activate(BEHAVIOUR_MAX)],
    }
}

/// The batches of a journal that was written before behaviours had numbers.
///
/// ```text
/// | time u64 | first command u64 | bytes u64 | commands ... |   little endian, one batch after the other
/// ```
fn old_journal(name: &str) -> Vec<Commands> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let bytes = std::fs::read(folder.join(name)).unwrap();
    let mut rest = bytes.as_slice();
    let number = |rest: &mut &[u8]| {
        let (number, behind) = rest.split_first_chunk().unwrap();
        *rest = behind;
        u64::from_le_bytes(*number)
    };
    let mut batches = Vec::new();
    while !rest.is_empty() {
        let [time, first, length] = [(); 3].map(|()| number(&mut rest));
        let (commands, behind) = rest.split_at(length as usize);
        rest = behind;
        batches.push(Commands {
            time: Nanos(time),
            first: CommandSequence(first),
            records: messages(commands).map(<[u8]>::to_vec).collect(),
        });
    }
    batches
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a program from before behaviours had numbers made of each journal: the BLAKE3 of its events, and
/// of its state. Nothing may change these lines once a version is out; those of the events were taken again
/// when `SessionClosed` began to say which number was expected next, the states are as they were.
const OLD: &[(&str, &str, &str)] = &[
    (
        "realistic.journal",
        "a7a8de6195df7988a4029c792509c81550052ac80fd1372bf7a326d0d6f73e47",
        "1f8332462362d325184d677bc60da41e08acfb0039445bd235f740b5781ac361",
    ),
    (
        "hostile.journal",
        "bb0b70f42f1daac79d54a139a96bb2652d95ff5aa0a438fdbce7570ccdc5b531",
        "43b15e876aae7430a0501086fa842a71d5eab69a8628bfad66efe1e6dfed8307",
    ),
];

#[test]
fn an_old_journal_gives_the_old_bytes() {
    for (name, expected, state) in OLD {
        for known in [BEHAVIOUR_FIRST, BEHAVIOUR_MAX] {
            let mut engine = program(known);
            let mut events = Vec::new();
            for commands in old_journal(name) {
                events.extend(apply(&mut engine, &commands).unwrap());
            }
            assert_eq!(hex(blake3::hash(&events).as_bytes()), *expected, "{name}");
            assert_eq!(hex(&engine.state_hash().0), *state, "{name}");
            assert_eq!(engine.behaviour(), BEHAVIOUR_FIRST);
            let hashes = messages(&events).filter_map(StateHashed::read).count();
            assert!(hashes > 0, "{name}: no state was hashed on the way");
        }
    }
}

/// The journals above mean something only where the new rules would have made a difference.
#[test]
fn an_old_journal_under_new_rules_would_give_other_bytes() {
    let mut differ = 0;
    for (name, _, _) in OLD {
        let (mut engine, mut activated) = (program(BEHAVIOUR_MAX), program(BEHAVIOUR_MAX));
        apply(&mut activated, &before_all()).unwrap();
        for commands in old_journal(name) {
            let events = apply(&mut engine, &commands).unwrap();
            let others = apply(&mut activated, &commands).unwrap();
            differ += usize::from(messages(&events).count() != messages(&others).count());
        }
    }
    assert!(differ > 0);
}

#[test]
fn old_and_new_programs_agree_until_one_of_them_cannot_go_on() {
    for seed in seeds(30) {
        for style in [Style::Realistic, Style::Hostile] {
            let (mut old, mut new) = (program(BEHAVIOUR_FIRST), program(BEHAVIOUR_MAX));
            let mut flow = Flow::without_activation(seed, style);
            let batches = 20 + seed % 7 * 20;
            let mut last = flow.next_batch();
            for place in 0..batches {
                let events = apply(&mut new, &last).unwrap();
                let same = apply(&mut old, &last).unwrap() == events;
                assert!(same, "EXAHOUR_SEED={seed} {style:?}: batch {place}");
                assert_eq!(old.state_hash(), new.state_hash());
                flow.observe(&events);
                if place + 1 < batches {
                    last = flow.next_batch();
                }
            }
            let activation = behind(&last, activate(BEHAVIOUR_MAX));
            let stopped = UnknownBehaviour {
                behaviour: BEHAVIOUR_MAX,
                since: activation.first,
                known: BEHAVIOUR_FIRST,
            };
            assert_eq!(apply(&mut old, &activation), Err(stopped.into()));
            let events = apply(&mut new, &activation).unwrap();
            let activated = messages(&events)
                .find_map(BehaviourActivated::read)
                .unwrap();
            assert_eq!(activated.command, activation.first);
            assert_eq!(
                (activated.behaviour, activated.former),
                (BEHAVIOUR_MAX, BEHAVIOUR_FIRST)
            );
            let snapshot = new.snapshot().unwrap();
            let old_program = capacity(BEHAVIOUR_FIRST);
            match Engine::restore(&snapshot, &new.state_hash(), &old_program) {
                Err(SnapshotError::UnknownBehaviour(it)) => assert_eq!(it, stopped),
                Err(other) => panic!("{other}"),
                Ok(_) => panic!("an old program goes on with what it cannot do"),
            }
            let room = capacity(BEHAVIOUR_MAX);
            let mut again = Engine::restore(&snapshot, &new.state_hash(), &room).unwrap();
            assert_eq!(again.behaviour(), BEHAVIOUR_MAX);
            let mut sent = activation.first.0;
            for _ in 0..40 {
                let mut commands = flow.next_batch();
                commands.first = CommandSequence(sent + 1);
                sent += commands.records.len() as u64;
                let events = apply(&mut new, &commands).unwrap();
                assert!(events == apply(&mut again, &commands).unwrap());
                flow.observe(&events);
            }
        }
    }
}

#[test]
fn the_text_of_the_stop_says_what_to_do() {
    let stopped = UnknownBehaviour {
        behaviour: Behaviour(7),
        since: CommandSequence(1_234),
        known: Behaviour(2),
    };
    assert_eq!(
        ApplyError::from(stopped).to_string(),
        "behaviour 7 was activated at command 1234; this program can do up to 2: start a newer one"
    );
}

/// The random flows reach the rule that changed, so that the twin has checked both of its forms.
#[test]
fn the_flows_reach_the_rules_that_changed() {
    let mut differ = 0;
    for seed in 0..40 {
        let (mut old, mut new) = (program(BEHAVIOUR_MAX), program(BEHAVIOUR_MAX));
        apply(&mut new, &before_all()).unwrap();
        let mut flow = Flow::without_activation(seed, Style::Realistic);
        for _ in 0..600 {
            let commands = flow.next_batch();
            let events = apply(&mut old, &commands).unwrap();
            let others = apply(&mut new, &commands).unwrap();
            if messages(&events).count() != messages(&others).count() {
                differ += 1;
                break;
            }
            flow.observe(&events);
        }
    }
    assert!(differ > 20, "only {differ} of 40 flows");
}

#[test]
fn a_behaviour_is_never_taken_back_and_a_clients_word_does_not_count() {
    let mut engine = program(BEHAVIOUR_MAX);
    let mut sent = 0;
    let mut send = |engine: &mut Engine, record: Vec<u8>| {
        sent += 1;
        let commands = Commands {
            time: Nanos(sent),
            first: CommandSequence(sent),
            records: vec![record],
        };
        apply(engine, &commands).unwrap()
    };
    assert!(!send(&mut engine, activate(BEHAVIOUR_MAX)).is_empty());
    let in_force = engine.state_hash();
    for lower in [Behaviour::NONE, BEHAVIOUR_FIRST, BEHAVIOUR_MAX] {
        let events = send(&mut engine, activate(lower));
        let rejected = CommandRejected::read(&events).unwrap();
        assert_eq!(rejected.reason, Reject::BehaviourNotNewer.into());
        assert_eq!(rejected.request, ClientOrderId(77));
        assert_eq!(engine.behaviour(), BEHAVIOUR_MAX);
    }
    assert_ne!(engine.state_hash(), in_force, "the rejections are events");
    for behaviour in [BEHAVIOUR_FIRST, BEHAVIOUR_MAX, Behaviour(u32::MAX)] {
        let of_a_client = ActivateBehaviour {
            session: exahour_wire::ids::SessionId(u32::MAX),
            behaviour,
            ..ActivateBehaviour::blank()
        };
        assert!(send(&mut engine, of_a_client.bytes().to_vec()).is_empty());
    }
}

#[test]
fn what_is_in_force_is_part_of_the_state() {
    let tick = Tick::blank().bytes().to_vec();
    let [mut one, mut other] = [activate(BEHAVIOUR_MAX), tick].map(|record| {
        let mut engine = program(BEHAVIOUR_MAX);
        let commands = Commands {
            time: Nanos(5),
            first: CommandSequence(1),
            records: vec![record, activate(BEHAVIOUR_FIRST)],
        };
        apply(&mut engine, &commands).unwrap();
        engine
    });
    assert_ne!(one.state_hash(), other.state_hash());
    let hash = Commands {
        time: Nanos(5),
        first: CommandSequence(3),
        records: vec![TakeStateHash::blank().bytes().to_vec()],
    };
    apply(&mut one, &hash).unwrap();
    let of_the_other = Checkpoint {
        at_command: CommandSequence(3),
        state_hash: {
            let events = apply(&mut other, &hash).unwrap();
            StateHashed::read(&events).unwrap().state_hash
        },
        ..Checkpoint::blank()
    };
    let checkpoint = behind(&hash, of_the_other.bytes().to_vec());
    assert!(matches!(
        apply(&mut one, &checkpoint),
        Err(ApplyError::Divergence(_))
    ));
}

/// What the first stage has said.
#[derive(Default)]
struct Said(std::collections::VecDeque<Verdict>);

impl VerdictSink for Said {
    fn verdict(&mut self, verdict: Verdict) {
        self.0.push_back(verdict);
    }

    fn admission_hash(&mut self, _hash: Digest) {}
}

impl Verdicts for Said {
    fn verdict(&mut self, _command: &[u8], _now: Nanos) -> Verdict {
        self.0.pop_front().unwrap()
    }

    fn admission_hash(&mut self) -> Digest {
        panic!("no hash is wanted")
    }
}

/// A first stage that runs ahead of the activation does not hide it from the second.
#[test]
fn a_stage_that_runs_ahead_stops_at_the_same_command() {
    let (mut admission, mut execution): (Admission, _) = program(BEHAVIOUR_FIRST).into_stages();
    let tick = || Tick::blank().bytes().to_vec();
    let records = [tick(), tick(), activate(BEHAVIOUR_MAX), tick(), tick()];
    let bytes = records.concat();
    let batch = Batch {
        time: Nanos(9),
        first: CommandSequence(1),
        commands: &bytes,
    };
    let mut said = Said::default();
    admission.judge(&batch, &mut said);
    assert_eq!(said.0.len(), 5);
    let stopped = execution.apply(&batch, &mut said, &mut Vec::new());
    let expected = UnknownBehaviour {
        behaviour: BEHAVIOUR_MAX,
        since: CommandSequence(3),
        known: BEHAVIOUR_FIRST,
    };
    assert_eq!(stopped, Err(expected.into()));
    assert_eq!(said.0.len(), 2, "nothing behind it was executed");
}

#[test]
fn the_rulebook_as_a_program_knows_as_many() {
    assert_eq!(behaviour::NEWEST, BEHAVIOUR_MAX);
    let shown = readable::message(&activate(BEHAVIOUR_MAX));
    assert!(shown.contains("ActivateBehaviour"), "{shown}");
}
