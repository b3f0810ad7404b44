//! What must be true of every event stream is true of the engine's.
//!
//! The checker works from the events alone and stands outside both the engine and its twin.

use exahour_engine::{Batch, Capacity, Engine};
use exahour_twin::check::Checker;
use exahour_twin::flow::{Flow, Style};
use exahour_twin::seeds::seeds;

fn run(style: Style, seed: u64) {
    let mut engine = Engine::new(&Capacity::default());
    let mut flow = Flow::new(seed, style);
    let mut checker = Checker::default();
    for _ in 0..600 {
        let commands = flow.next_batch();
        let bytes = commands.bytes();
        let batch = Batch {
            time: commands.time,
            first: commands.first,
            commands: &bytes,
        };
        let mut events = Vec::new();
        if let Err(divergence) = engine.apply(&batch, &mut events) {
            panic!("EXAHOUR_SEED={seed} {style:?}: the engine stopped by itself: {divergence}");
        }
        if let Err(violation) = checker.follow(&events) {
            panic!("EXAHOUR_SEED={seed} {style:?}: {violation}");
        }
        flow.observe(&events);
    }
}

#[test]
fn hold_on_realistic_flows() {
    for seed in seeds(24) {
        run(Style::Realistic, seed);
    }
}

#[test]
fn hold_on_hostile_flows() {
    for seed in seeds(24) {
        run(Style::Hostile, seed);
    }
}
