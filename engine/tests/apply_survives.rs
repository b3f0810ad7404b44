//! No input may stop the engine: any record in any state, amounts at their limits, and bytes that
//! are no records at all.
//!
//! Always holds: after whatever it was fed, its events still fulfil every invariant.

use std::panic::{AssertUnwindSafe, catch_unwind};

use exahour_engine::{Batch, Capacity, Engine};
use exahour_twin::check::Checker;
use exahour_twin::flow::{Flow, Style, garbage, limits};
use exahour_twin::readable;
use exahour_twin::seeds::seeds;
use exahour_wire::ids::CommandSequence;
use exahour_wire::units::Nanos;

/// An engine whose events are checked as they come.
struct Watched {
    engine: Engine,
    checker: Checker,
}

impl Watched {
    fn new() -> Self {
        let capacity = Capacity {
            orders: 5_000,
            ..Capacity::default()
        };
        Self {
            engine: Engine::new(&capacity),
            checker: Checker::default(),
        }
    }

    /// Applies a batch, and says what is wrong if anything is.
    fn apply(&mut self, time: Nanos, first: u64, commands: &[u8]) -> Result<Vec<u8>, String> {
        let batch = Batch {
            time,
            first: CommandSequence(first),
            commands,
        };
        let mut events = Vec::new();
        let applied = catch_unwind(AssertUnwindSafe(|| self.engine.apply(&batch, &mut events)));
        let shown = || readable::lines(commands).join("\n  ");
        match applied {
            Err(_) => return Err(format!("the engine panicked on\n  {}", shown())),
            Ok(Err(divergence)) => return Err(format!("the engine stopped: {divergence}")),
            Ok(Ok(())) => {}
        }
        self.checker
            .follow(&events)
            .map_err(|violation| format!("{violation}\nafter\n  {}", shown()))?;
        Ok(events)
    }
}

#[test]
fn any_record_in_any_state() {
    for seed in seeds(12) {
        let mut flow = Flow::new(seed, Style::Hostile);
        let mut watched = Watched::new();
        for _ in 0..2_000 {
            let commands = flow.next_batch();
            match watched.apply(commands.time, commands.first.0, &commands.bytes()) {
                Ok(events) => flow.observe(&events),
                Err(wrong) => panic!("EXAHOUR_SEED={seed}: {wrong}"),
            }
        }
    }
}

#[test]
fn bytes_that_are_no_records() {
    for seed in seeds(60) {
        let mut flow = Flow::new(seed, Style::Realistic);
        let mut watched = Watched::new();
        let mut first = 1;
        for _ in 0..100 {
            let commands = flow.next_batch();
            let bytes = if first > 1 {
                garbage(&mut flow, &commands)
            } else {
                commands.bytes()
            };
            match watched.apply(commands.time, first, &bytes) {
                Ok(events) => flow.observe(&events),
                Err(wrong) => panic!("EXAHOUR_SEED={seed}: {wrong}"),
            }
            // However many commands the engine saw in it, there were no more lines than these.
            first += 1 + bytes.len() as u64;
        }
    }
}

#[test]
fn fortunes_made_and_lost_in_many_contracts() {
    let mut watched = Watched::new();
    for (place, record) in limits::fortunes(20).iter().enumerate() {
        if let Err(wrong) = watched.apply(limits::TIME, place as u64 + 1, record) {
            panic!("command {}: {wrong}", place + 1);
        }
    }
}
