//! The engine: both stages fused on one thread.
//!
//! Called with committed batches, by the node and by every replay alike.
//!
//! Always holds: time never goes back; a batch is applied wholly. A state that differs from the one
//! the log states is an error that stops this replica, not a panic.

use std::collections::VecDeque;

use exahour_wire::events::StateHashed;
use exahour_wire::ids::CommandSequence;
use exahour_wire::internal::{Checkpoint, TakeStateHash};
use exahour_wire::message::{Digest, Message, messages, peek_header};
use exahour_wire::units::Nanos;

use crate::admit::Admit;
use crate::batch::{Batch, EventSink};
use crate::capacity::Capacity;
use crate::execute::{Execute, TakenHash};
use crate::reporter::Output;
use crate::state_hash::state_hash;

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

fn hex(digest: &Digest) -> String {
    digest.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How many hashes are kept for a checkpoint to be compared with.
const HASHES_KEPT: usize = 8;

/// The deterministic state machine of the exchange.
pub struct Engine {
    admit: Admit,
    execute: Execute,
    now: Nanos,
    hashes: VecDeque<TakenHash>,
}

impl Engine {
    /// An empty exchange with this much room.
    #[must_use]
    pub fn new(capacity: &Capacity) -> Self {
        Self {
            admit: Admit::new(),
            execute: Execute::new(capacity),
            now: Nanos(0),
            hashes: VecDeque::with_capacity(HASHES_KEPT),
        }
    }

    /// Applies one batch and emits its events.
    ///
    /// # Errors
    /// [`Divergence`] where a checkpoint in the batch states another hash than this state has; the
    /// engine must not be used any further.
    pub fn apply<S: EventSink>(
        &mut self,
        batch: &Batch<'_>,
        sink: &mut S,
    ) -> Result<(), Divergence> {
        // A leader never stamps below an earlier stamp; should it, time stands still.
        self.now = self.now.max(batch.time);
        let mut out = Output {
            time: self.now,
            command: batch.first,
            sink,
        };
        self.fire_timers(&mut out);
        for command in messages(batch.commands) {
            let verdict = self.admit.admit(command, out.time);
            self.execute.execute(command, verdict, &mut out);
            self.keep_hashes(command, &mut out)?;
            out.command.0 += 1;
        }
        Ok(())
    }

    /// The earliest time at which something may be due: never later than the real one, and earlier
    /// only while the timer of something that is gone has not come up yet.
    #[must_use]
    pub fn next_due(&self) -> Option<Nanos> {
        self.execute.timers.next()
    }

    /// The hash of the whole state.
    #[must_use]
    pub fn state_hash(&self) -> Digest {
        state_hash(&self.admit, &self.execute, self.now)
    }

    /// Live orders.
    #[must_use]
    pub fn live_orders(&self) -> u32 {
        self.execute.orders.live()
    }

    #[inline]
    fn fire_timers<S: EventSink>(&mut self, out: &mut Output<'_, S>) {
        while let Some((at, due)) = self.execute.timers.take_due(out.time) {
            self.execute.fire(at, due, out);
        }
    }

    #[inline]
    fn keep_hashes<S: EventSink>(
        &mut self,
        command: &[u8],
        out: &mut Output<'_, S>,
    ) -> Result<(), Divergence> {
        match peek_header(command).map(|header| header.template_id) {
            Some(TakeStateHash::TEMPLATE_ID) => {
                let hash = self.state_hash();
                if self.hashes.len() == HASHES_KEPT {
                    self.hashes.pop_front();
                }
                self.hashes.push_back(TakenHash {
                    after: out.command,
                    hash,
                });
                let hashed = StateHashed {
                    state_hash: hash,
                    ..Message::blank()
                };
                self.execute.reporter.fact(out, hashed);
                Ok(())
            }
            Some(Checkpoint::TEMPLATE_ID) => self.compare(command),
            _ => Ok(()),
        }
    }

    fn compare(&self, command: &[u8]) -> Result<(), Divergence> {
        let Some(checkpoint) = Checkpoint::read(command) else {
            return Ok(());
        };
        let taken = self
            .hashes
            .iter()
            .find(|taken| taken.after == checkpoint.at_command);
        match taken {
            Some(taken) if taken.hash != checkpoint.state_hash => Err(Divergence {
                at: taken.after,
                expected: checkpoint.state_hash,
                found: taken.hash,
            }),
            _ => Ok(()),
        }
    }
}
