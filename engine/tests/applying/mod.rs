//! A flow's commands as the engine takes them.

// Each test uses its part.
#![allow(dead_code)]

use exahour_engine::{ApplyError, Batch, Engine};
use exahour_twin::flow::Commands;

pub(crate) fn with_batch<T>(commands: &Commands, run: impl FnOnce(&Batch<'_>) -> T) -> T {
    let bytes = commands.bytes();
    run(&Batch {
        time: commands.time,
        first: commands.first,
        commands: &bytes,
    })
}

/// Applies commands; their events.
///
/// # Errors
/// Why the engine stopped.
pub(crate) fn apply(engine: &mut Engine, commands: &Commands) -> Result<Vec<u8>, ApplyError> {
    let mut events = Vec::new();
    with_batch(commands, |batch| engine.apply(batch, &mut events)).map(|()| events)
}
