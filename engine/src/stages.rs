//! The two stages of the engine, and what passes between them.
//!
//! Fused by [`crate::Engine`], or driven apart, each on a core of its own, by the node.
//!
//! ```text
//! commands ──► admission ──verdicts, hashes──► execution ──► events
//!     └───────────────────────────────────────────▲
//! ```
//! Always holds: what passes goes one way, so admission may run any number of commands ahead and the
//! events are the same.

use std::collections::VecDeque;

use exahour_wire::events::StateHashed;
use exahour_wire::ids::{Behaviour, CommandSequence};
use exahour_wire::internal::{ActivateBehaviour, Checkpoint, TakeStateHash};
use exahour_wire::message::{Digest, Message, messages, peek_header};
use exahour_wire::units::Nanos;

use crate::admit::{Admit, Outcome, Verdict};
use crate::batch::{Batch, EventSink};
use crate::behaviour::UnknownBehaviour;
use crate::capacity::Capacity;
use crate::engine::{ApplyError, Divergence};
use crate::execute::{Execute, TakenHash};
use crate::reporter::Output;
use crate::state_hash::{admission_hash, state_hash};

/// How many hashes are kept for a checkpoint to be compared with.
const HASHES_KEPT: usize = 8;

/// Where a stage that runs ahead leaves what it said.
pub trait VerdictSink {
    /// Takes what was said of one command.
    fn verdict(&mut self, verdict: Verdict);

    /// Takes the hash of the stage's state, behind the verdict of the command that wants it.
    fn admission_hash(&mut self, hash: Digest);
}

/// Where the second stage learns what the first one said.
pub trait Verdicts {
    /// What was said of the next command, which is this one.
    fn verdict(&mut self, command: &[u8], now: Nanos) -> Verdict;

    /// The hash of the first stage's state behind the command asked for last, which wants it.
    fn admission_hash(&mut self) -> Digest;
}

/// The first stage: may this session say this now?
pub struct Admission {
    pub(crate) admit: Admit,
    pub(crate) now: Nanos,
}

impl Admission {
    pub(crate) fn new(capacity: &Capacity) -> Self {
        Self {
            admit: Admit::new(capacity),
            now: Nanos(0),
        }
    }

    /// Judges one batch, without waiting for what it leads to.
    pub fn judge<S: VerdictSink>(&mut self, batch: &Batch<'_>, sink: &mut S) {
        self.now = self.now.max(batch.time);
        for command in messages(batch.commands) {
            sink.verdict(self.admit.admit(command, self.now));
            if wants_hash(command) {
                sink.admission_hash(admission_hash(&self.admit));
            }
        }
    }
}

impl Verdicts for Admission {
    #[inline]
    fn verdict(&mut self, command: &[u8], now: Nanos) -> Verdict {
        self.admit.admit(command, now)
    }

    fn admission_hash(&mut self) -> Digest {
        admission_hash(&self.admit)
    }
}

/// The second stage: carries out what was admitted, and reports everything.
pub struct Execution {
    pub(crate) execute: Execute,
    pub(crate) now: Nanos,
    hashes: VecDeque<TakenHash>,
    /// The newest behaviour that this program can do.
    behaviour_max: Behaviour,
}

impl Execution {
    pub(crate) fn new(capacity: &Capacity) -> Self {
        Self {
            execute: Execute::new(capacity),
            now: Nanos(0),
            hashes: VecDeque::with_capacity(HASHES_KEPT),
            behaviour_max: capacity.behaviour_max,
        }
    }

    /// Applies one batch and emits its events.
    ///
    /// # Errors
    /// As [`crate::Engine::apply`].
    #[inline]
    pub fn apply<V: Verdicts, S: EventSink>(
        &mut self,
        batch: &Batch<'_>,
        verdicts: &mut V,
        sink: &mut S,
    ) -> Result<(), ApplyError> {
        // A leader never stamps below an earlier stamp; should it, time stands still.
        let later = batch.time > self.now;
        self.now = self.now.max(batch.time);
        let mut out = Output {
            time: self.now,
            command: batch.first,
            sink,
        };
        self.fire_timers(&mut out);
        // Once, not behind each timer: that of something that is gone comes up here, and not where the
        // engine went on from a snapshot. And at one time only once: how commands are cut into batches
        // does not matter.
        if later {
            self.execute.follow_up(&mut out);
        }
        let mut commands = messages(batch.commands);
        let mut next = commands.next();
        while let Some(command) = next {
            next = commands.next();
            if let Some(next) = next {
                self.execute.look_ahead(next);
            }
            let verdict = verdicts.verdict(command, out.time);
            if verdict.outcome == Outcome::CannotDo {
                return Err(self.unknown_behaviour(command, out.command).into());
            }
            self.execute.execute(command, verdict, &mut out);
            self.execute.follow_up(&mut out);
            self.keep_hashes(command, verdicts, &mut out)?;
            out.command.0 += 1;
        }
        Ok(())
    }

    /// As [`crate::Engine::behaviour`].
    #[must_use]
    pub fn behaviour(&self) -> Behaviour {
        self.execute.in_force.behaviour
    }

    #[cold]
    fn unknown_behaviour(&self, command: &[u8], since: CommandSequence) -> UnknownBehaviour {
        let asked = ActivateBehaviour::read(command);
        UnknownBehaviour {
            behaviour: asked.map_or(Behaviour::NONE, |it| it.behaviour),
            since,
            known: self.behaviour_max,
        }
    }

    /// The hashes that checkpoints may be compared with, oldest first.
    pub(crate) fn hashes(&self) -> impl Iterator<Item = &TakenHash> {
        self.hashes.iter()
    }

    /// Keeps hashes that were taken before, as far as they are kept at all.
    pub(crate) fn keep(&mut self, hashes: impl Iterator<Item = TakenHash>) {
        self.hashes.extend(hashes.take(HASHES_KEPT));
    }

    /// As [`crate::Engine::next_due`].
    #[must_use]
    pub fn next_due(&self) -> Option<Nanos> {
        self.execute.timers.next()
    }

    #[inline]
    fn fire_timers<S: EventSink>(&mut self, out: &mut Output<'_, S>) {
        while let Some((at, due)) = self.execute.timers.take_due(out.time) {
            self.execute.fire(at, due, out);
        }
    }

    #[inline]
    fn keep_hashes<V: Verdicts, S: EventSink>(
        &mut self,
        command: &[u8],
        verdicts: &mut V,
        out: &mut Output<'_, S>,
    ) -> Result<(), Divergence> {
        match peek_header(command).map(|header| header.template_id) {
            Some(TakeStateHash::TEMPLATE_ID) => {
                let admission = verdicts.admission_hash();
                let hash = state_hash(&admission, &self.execute, self.now);
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

#[inline]
fn wants_hash(command: &[u8]) -> bool {
    peek_header(command).is_some_and(|header| header.template_id == TakeStateHash::TEMPLATE_ID)
}
