//! The engine's agent: follows the committed journal, applies it, writes the events.
//!
//! Turned by a runner. Runs both stages, or only the second where the first has an agent of its own.
//! What the engine wants from the sequencer (a tick, a checkpoint) goes through
//! an ingress ring of its own, like every other command.
//!
//! Always holds: only committed frames are applied, each once, in order.

use exahour_engine::{BEHAVIOUR_FIRST, Execution};
use exahour_gateway::clock::Clock;
use exahour_rings::{Agent, Halt, Producer, WatermarkReader, WatermarkWriter};
use exahour_wire::events::{EventPrefix, StateHashed};
use exahour_wire::ids::{Behaviour, CommandSequence};
use exahour_wire::internal::{Checkpoint, NodeStarted, TakeStateHash, Tick};
use exahour_wire::message::{Message, messages, peek_header};
use exahour_wire::record::{Line, Record};
use exahour_wire::units::Nanos;

use crate::admission_agent::FirstStage;
use crate::error::NodeError;
use crate::event_log::EventLog;
use crate::frames::Frames;
use crate::intake::{Intake, RETRY_AFTER};

/// Frames applied in one turn, at most.
const FRAMES_A_TURN: usize = 64;

/// When a tick that was asked for is asked for again.
const ASK_AGAIN: Nanos = Nanos(100_000_000);

/// Where what the engine says goes.
pub(crate) struct EngineOutlet {
    pub(crate) events: EventLog,
    /// The raft index of the last frame applied.
    pub(crate) applied: WatermarkWriter,
    /// The behaviour in force.
    pub(crate) behaviour: WatermarkWriter,
    /// What the engine asks of the sequencer.
    pub(crate) wishes: Producer<Line>,
    /// Closed while events wait for room.
    pub(crate) intake: Intake,
    /// Commands between two hashes of the state.
    pub(crate) hash_every: u64,
    /// The first command that was not in the journal when the node started: hashes of earlier ones
    /// are journaled already.
    pub(crate) fresh_from: CommandSequence,
}

/// What others may know of the engine.
pub(crate) struct EngineFacts {
    /// The behaviour in force.
    pub(crate) behaviour: WatermarkReader,
    /// The last command that the event log told of when the node started.
    pub(crate) events_told: CommandSequence,
}

impl EngineFacts {
    /// The behaviour in force, as far as the engine has come.
    pub(crate) fn behaviour(&self) -> Behaviour {
        // Behaviours are numbered in 32 bits.
        BEHAVIOUR_FIRST.max(Behaviour(self.behaviour.current() as u32))
    }
}

/// The agent.
pub(crate) struct EngineAgent<F> {
    first_stage: F,
    execution: Execution,
    frames: Frames,
    outlet: EngineOutlet,
    clock: Box<dyn Clock>,
    /// Commands applied since the state was last hashed.
    since_hash: u64,
    hash_asked: bool,
    tick_asked_at: Nanos,
    /// When a full disk is tried again.
    retry_at: Nanos,
}

impl<F: FirstStage> EngineAgent<F> {
    /// An engine whose state is the one before the next of `frames`.
    pub(crate) fn new(
        (first_stage, execution): (F, Execution),
        frames: Frames,
        outlet: EngineOutlet,
        clock: Box<dyn Clock>,
    ) -> Self {
        Self {
            first_stage,
            execution,
            frames,
            outlet,
            clock,
            since_hash: 0,
            hash_asked: false,
            tick_asked_at: Nanos(0),
            retry_at: Nanos(0),
        }
    }

    fn turn(&mut self) -> Result<usize, NodeError> {
        if self.outlet.events.waits() && !self.try_disk_again()? {
            // Nothing more is applied until what was applied can be told.
            return Ok(0);
        }
        let mut frames = 0;
        while frames < FRAMES_A_TURN && self.apply_next()? {
            frames += 1;
        }
        if frames > 0 {
            let behaviour = u64::from(self.execution.behaviour().0);
            if behaviour > self.outlet.behaviour.published() {
                self.outlet.behaviour.publish(behaviour);
            }
            self.outlet.applied.publish(self.frames.index());
        } else {
            self.wish_for_tick();
        }
        self.wish_for_hash();
        Ok(frames)
    }

    fn try_disk_again(&mut self) -> Result<bool, NodeError> {
        let now = self.clock.now();
        if now < self.retry_at {
            return Ok(false);
        }
        self.retry_at = now.after(RETRY_AFTER);
        let caught_up = self
            .outlet
            .events
            .catch_up()
            .map_err(NodeError::log("event log"))?;
        if caught_up {
            self.outlet.intake.open();
        } else {
            self.outlet.intake.close();
        }
        Ok(caught_up)
    }

    #[inline]
    fn apply_next(&mut self) -> Result<bool, NodeError> {
        let limit = self.first_stage.limit(self.frames.committed());
        let Some(frame) = self.frames.next(limit)? else {
            return Ok(false);
        };
        let Some(batch) = frame.batch else {
            return Ok(true);
        };
        let count = u64::from(frame.header.count);
        self.outlet.events.begin(batch.time);
        let mut sink = Sink {
            log: &mut self.outlet.events,
            hashed: None,
        };
        self.execution
            .apply(&batch, &mut self.first_stage, &mut sink)?;
        let hashed = sink.hashed;
        self.outlet
            .events
            .finish()
            .map_err(NodeError::log("event log"))?;
        let started = messages(batch.commands)
            .next()
            .and_then(peek_header)
            .is_some_and(|header| header.template_id == NodeStarted::TEMPLATE_ID);
        self.note_hash(hashed, count, started);
        Ok(true)
    }

    /// Counts the commands since the last hash; a node that starts wants one soon.
    #[inline]
    fn note_hash(&mut self, hashed: Option<StateHashed>, count: u64, started: bool) {
        self.since_hash += count;
        if started {
            self.since_hash = self.since_hash.max(self.outlet.hash_every);
            self.hash_asked = false;
        }
        if let Some(hashed) = hashed {
            self.since_hash = 0;
            self.hash_asked = false;
            if hashed.command >= self.outlet.fresh_from {
                self.wish_for_checkpoint(&hashed);
            }
        }
    }

    /// Asks for the hash to be journaled: on a leader it is, elsewhere the wish is dropped.
    fn wish_for_checkpoint(&mut self, hashed: &StateHashed) {
        let checkpoint = Checkpoint {
            at_command: hashed.command,
            state_hash: hashed.state_hash,
            ..Checkpoint::blank()
        };
        let _ = self
            .outlet
            .wishes
            .try_push_slice(Record::new(&checkpoint).lines());
    }

    /// Asks for a tick where a timer is due and nobody has said anything since.
    #[inline]
    fn wish_for_tick(&mut self) {
        let Some(due) = self.execution.next_due() else {
            return;
        };
        let now = self.clock.now();
        if now >= due && now >= self.tick_asked_at.after(ASK_AGAIN) {
            self.tick_asked_at = now;
            // Where the ring is full the sequencer has work, and time moves with it.
            let _ = self
                .outlet
                .wishes
                .try_push_slice(Record::new(&Tick::blank()).lines());
        }
    }

    /// Asks for a hash of the state after so many commands.
    #[inline]
    fn wish_for_hash(&mut self) {
        if self.since_hash >= self.outlet.hash_every && !self.hash_asked {
            let record = Record::new(&TakeStateHash::blank());
            self.hash_asked = self.outlet.wishes.try_push_slice(record.lines()).is_ok();
        }
    }
}

/// Passes events on to the log and looks for the one that carries a hash.
struct Sink<'a> {
    log: &'a mut EventLog,
    hashed: Option<StateHashed>,
}

impl exahour_engine::EventSink for Sink<'_> {
    #[inline]
    fn emit(&mut self, event: &[u8]) {
        let prefix = EventPrefix::peek(event);
        if prefix.is_some_and(|prefix| prefix.header.template_id == StateHashed::TEMPLATE_ID) {
            self.hashed = StateHashed::read(event);
        }
        self.log.emit(event);
    }
}

impl<F: FirstStage> Agent for EngineAgent<F> {
    fn name(&self) -> &'static str {
        "engine"
    }

    fn do_work(&mut self) -> Result<usize, Halt> {
        self.turn().map_err(Halt::new)
    }
}
