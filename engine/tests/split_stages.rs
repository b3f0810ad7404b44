//! Whether the two stages run fused or apart is invisible: the same commands give the same events
//! and the same hashes, however far the first stage runs ahead.

#![allow(clippy::unwrap_used)] // A test may fail where it stands.

mod applying;

use std::collections::VecDeque;

use exahour_engine::{Capacity, Engine, Verdict, VerdictSink, Verdicts};
use exahour_twin::flow::{Commands, Flow, Style};
use exahour_twin::readable;
use exahour_twin::seeds::seeds;
use exahour_wire::events::StateHashed;
use exahour_wire::message::{Digest, Message, messages};
use exahour_wire::units::Nanos;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use applying::with_batch;

fn engine() -> Engine {
    Engine::new(&Capacity {
        orders: 5_000,
        ..Capacity::default()
    })
}

/// What the first stage said and the second has not asked for yet.
#[derive(Default)]
struct Between {
    verdicts: VecDeque<Verdict>,
    hashes: VecDeque<Digest>,
}

impl VerdictSink for Between {
    fn verdict(&mut self, verdict: Verdict) {
        self.verdicts.push_back(verdict);
    }

    fn admission_hash(&mut self, hash: Digest) {
        self.hashes.push_back(hash);
    }
}

impl Verdicts for Between {
    fn verdict(&mut self, _command: &[u8], _now: Nanos) -> Verdict {
        match self.verdicts.pop_front() {
            Some(verdict) => verdict,
            None => panic!("the second stage asks for more than there were commands"),
        }
    }

    fn admission_hash(&mut self) -> Digest {
        match self.hashes.pop_front() {
            Some(hash) => hash,
            None => panic!("the second stage asks for a hash that nobody wanted"),
        }
    }
}

/// The journal of a flow, and its events when both stages run fused.
fn fused(seed: u64, style: Style) -> (Vec<Commands>, Vec<u8>) {
    let mut engine = engine();
    let mut flow = Flow::new(seed, style);
    let (mut journal, mut all) = (Vec::new(), Vec::new());
    for _ in 0..400 {
        let commands = flow.next_batch();
        let mut events = Vec::new();
        with_batch(&commands, |batch| engine.apply(batch, &mut events)).unwrap();
        flow.observe(&events);
        all.extend_from_slice(&events);
        journal.push(commands);
    }
    (journal, all)
}

/// The events when the first stage runs up to `ahead_max` batches ahead.
fn apart(journal: &[Commands], ahead_max: usize, seed: u64) -> Vec<u8> {
    let (mut admission, mut execution) = engine().into_stages();
    let mut between = Between::default();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut events = Vec::new();
    let (mut judged, mut executed) = (0, 0);
    while executed < journal.len() {
        let may_judge = judged < journal.len() && judged < executed + ahead_max;
        if judged == executed || may_judge && random.random_bool(0.7) {
            with_batch(&journal[judged], |batch| {
                admission.judge(batch, &mut between);
            });
            judged += 1;
        } else {
            with_batch(&journal[executed], |batch| {
                execution.apply(batch, &mut between, &mut events)
            })
            .unwrap();
            executed += 1;
        }
    }
    assert!(between.verdicts.is_empty() && between.hashes.is_empty());
    events
}

fn check(seed: u64, style: Style) -> usize {
    let (journal, events) = fused(seed, style);
    for ahead_max in [1, 3, 400] {
        let others = apart(&journal, ahead_max, seed);
        let same = messages(&events)
            .zip(messages(&others))
            .take_while(|(one, other)| one == other)
            .count();
        let nth = |events: &[u8]| messages(events).nth(same).map(readable::message);
        assert_eq!(
            nth(&events),
            nth(&others),
            "EXAHOUR_SEED={seed} {style:?}, {ahead_max} ahead: event {}",
            same + 1
        );
    }
    messages(&events).filter_map(StateHashed::read).count()
}

#[test]
fn of_realistic_flows() {
    let hashes: usize = seeds(60)
        .into_iter()
        .map(|seed| check(seed, Style::Realistic))
        .sum();
    assert!(hashes > 0, "no hash was compared");
}

#[test]
fn of_hostile_flows() {
    let hashes: usize = seeds(60)
        .into_iter()
        .map(|seed| check(seed, Style::Hostile))
        .sum();
    assert!(hashes > 0, "no hash was compared");
}
