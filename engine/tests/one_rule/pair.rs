//! The engine and its twin, fed the same commands.
//!
//! Always holds: both have said the same, byte for byte.

use exahour_engine::{Batch, Capacity, Engine};
use exahour_twin::Twin;
use exahour_twin::flow::limits::TIME;
use exahour_wire::ids::CommandSequence;
use exahour_wire::units::Nanos;

/// Engine and twin, which must say the same.
pub(crate) struct Pair {
    pub(crate) engine: Engine,
    twin: Twin,
    sent: u64,
    /// The stamp of the next batch.
    pub(crate) time: Nanos,
}

impl Pair {
    pub(crate) fn new() -> Self {
        Self {
            engine: Engine::new(&room(1)),
            twin: Twin::new(),
            sent: 0,
            time: TIME,
        }
    }

    /// The events of a batch.
    pub(crate) fn apply(&mut self, records: &[Vec<u8>]) -> Vec<u8> {
        let first = CommandSequence(self.sent + 1);
        self.sent += records.len() as u64;
        let commands = records.concat();
        let batch = Batch {
            time: self.time,
            first,
            commands: &commands,
        };
        let (mut events, mut others) = (Vec::new(), Vec::new());
        self.engine.apply(&batch, &mut events).unwrap();
        self.twin.apply(self.time, first, &commands, &mut others);
        assert!(events == others, "at {:?}", self.time);
        events
    }

    /// The engine goes on from its own snapshot.
    pub(crate) fn restart(&mut self) {
        let bytes = self.engine.snapshot().unwrap();
        let hash = self.engine.state_hash();
        self.engine = Engine::restore(&bytes, &hash, &room(7)).unwrap();
    }
}

/// So little that the engine must grow beyond it.
fn room(places: u32) -> Capacity {
    Capacity {
        orders: places,
        positions: places,
        index_seed: u64::from(places),
        ..Capacity::default()
    }
}
