//! The engine: both stages fused on one thread.
//!
//! Called with committed batches, by the node and by every replay alike.
//!
//! Always holds: time never goes back; a batch is applied wholly. A state that differs from the one
//! the log states, or a behaviour that this program cannot do, is an error that stops this replica, not a
//! panic.

use exahour_wire::ids::{Behaviour, CommandSequence};
use exahour_wire::message::Digest;
use exahour_wire::units::Nanos;

use crate::batch::{Batch, EventSink};
use crate::behaviour::UnknownBehaviour;
use crate::capacity::Capacity;
use crate::stages::{Admission, Execution};
use crate::state_hash::{admission_hash, state_hash};

/// This replica's state is not the one the log states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the state after command {at} hashes to {found}, but the log says {expected}: this replica has \
     diverged; keep its journal, and rebuild it from a peer",
    at = .at.0, found = hex(.found), expected = hex(.expected)
)]
pub struct Divergence {
    /// The last command both hashes cover.
    pub at: CommandSequence,
    /// What the log states.
    pub expected: Digest,
    /// What this replica has.
    pub found: Digest,
}

/// Why a replica must stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// It has another state than the log states.
    #[error(transparent)]
    Divergence(#[from] Divergence),
    /// The log wants rules that it does not know.
    #[error(transparent)]
    UnknownBehaviour(#[from] UnknownBehaviour),
}

pub(crate) fn hex(digest: &Digest) -> String {
    digest.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The deterministic state machine of the exchange.
pub struct Engine {
    admission: Admission,
    execution: Execution,
}

impl Engine {
    /// An empty exchange with this much room.
    #[must_use]
    pub fn new(capacity: &Capacity) -> Self {
        Self {
            admission: Admission::new(capacity),
            execution: Execution::new(capacity),
        }
    }

    /// Applies one batch and emits its events.
    ///
    /// # Errors
    /// [`Divergence`] where a checkpoint in the batch states another hash than this state has,
    /// [`UnknownBehaviour`] where a command activates what this program cannot do. The engine must not be
    /// used any further, and what it has emitted of this batch is void.
    #[inline]
    pub fn apply<S: EventSink>(
        &mut self,
        batch: &Batch<'_>,
        sink: &mut S,
    ) -> Result<(), ApplyError> {
        self.execution.apply(batch, &mut self.admission, sink)
    }

    pub(crate) fn of_stages(admission: Admission, execution: Execution) -> Self {
        Self {
            admission,
            execution,
        }
    }

    pub(crate) fn stages(&self) -> (&Admission, &Execution) {
        (&self.admission, &self.execution)
    }

    /// The two stages, to be driven apart.
    #[must_use]
    pub fn into_stages(mut self) -> (Admission, Execution) {
        // Fused, the first stage is handed the time by the second.
        self.admission.now = self.execution.now;
        (self.admission, self.execution)
    }

    /// The earliest time at which something may be due: never later than the real one, and earlier
    /// only while the timer of something that is gone, or that waits on, has not come up yet.
    #[must_use]
    pub fn next_due(&self) -> Option<Nanos> {
        self.execution.next_due()
    }

    /// The hash of the whole state.
    #[must_use]
    pub fn state_hash(&self) -> Digest {
        let admission = admission_hash(&self.admission.admit);
        state_hash(&admission, &self.execution.execute, self.execution.now)
    }

    /// The behaviour in force.
    #[must_use]
    pub fn behaviour(&self) -> Behaviour {
        self.execution.behaviour()
    }

    /// Live orders.
    #[must_use]
    pub fn live_orders(&self) -> u32 {
        self.execution.execute.orders.live()
    }
}
