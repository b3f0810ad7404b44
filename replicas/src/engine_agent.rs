//! The engine's agent: follows the committed journal, applies it, writes the events.
//!
//! Turned by a runner. What the engine wants from the sequencer (a tick, a checkpoint) goes through
//! an ingress ring of its own, like every other command.
//!
//! Always holds: only committed frames are applied, each once, in order.

use exahour_engine::{Batch, Engine};
use exahour_gateway::clock::Clock;
use exahour_journal::{Position, Reader};
use exahour_rings::{Agent, Halt, Producer, WatermarkWriter};
use exahour_wire::events::{EventPrefix, StateHashed};
use exahour_wire::ids::CommandSequence;
use exahour_wire::internal::{Checkpoint, NodeStarted, TakeStateHash, Tick};
use exahour_wire::message::{Message, messages, peek_header};
use exahour_wire::record::{Line, Record};
use exahour_wire::units::Nanos;

use crate::error::NodeError;
use crate::event_log::EventLog;
use crate::intake::{Intake, RETRY_AFTER};
use crate::storage::{FRAME_COMMANDS, FRAME_CONF_CHANGE_V2};

/// Frames applied in one turn, at most.
const FRAMES_A_TURN: usize = 64;

/// When a tick that was asked for is asked for again.
const ASK_AGAIN: Nanos = Nanos(100_000_000);

/// The agent.
pub struct EngineAgent {
    engine: Engine,
    journal: Reader,
    events: EventLog,
    applied: WatermarkWriter,
    wishes: Producer<Line>,
    clock: Box<dyn Clock>,
    /// The index of the last applied frame.
    index: u64,
    /// Commands applied since the state was last hashed.
    since_hash: u64,
    hash_every: u64,
    hash_asked: bool,
    /// The first command that was not in the journal when the node started: hashes of earlier ones
    /// are journaled already.
    fresh_from: CommandSequence,
    tick_asked_at: Nanos,
    /// When a full disk is tried again.
    retry_at: Nanos,
    /// Closed while events wait for room.
    intake: Intake,
}

impl EngineAgent {
    /// An engine that starts before the first frame of `journal`.
    pub(crate) fn new(
        engine: Engine,
        journal: Reader,
        events: EventLog,
        applied: WatermarkWriter,
        (wishes, hash_every): (Producer<Line>, u64),
        (intake, fresh_from): (Intake, CommandSequence),
        clock: Box<dyn Clock>,
    ) -> Self {
        Self {
            engine,
            journal,
            events,
            applied,
            wishes,
            clock,
            index: 0,
            since_hash: 0,
            hash_every,
            hash_asked: false,
            fresh_from,
            tick_asked_at: Nanos(0),
            retry_at: Nanos(0),
            intake,
        }
    }

    fn turn(&mut self) -> Result<usize, NodeError> {
        if self.events.waits() && !self.try_disk_again()? {
            // Nothing more is applied until what was applied can be told.
            return Ok(0);
        }
        let mut frames = 0;
        while frames < FRAMES_A_TURN && self.apply_next()? {
            frames += 1;
        }
        if frames > 0 {
            self.applied.publish(self.index);
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
            .events
            .catch_up()
            .map_err(NodeError::log("event log"))?;
        if caught_up {
            self.intake.open();
        } else {
            self.intake.close();
        }
        Ok(caught_up)
    }

    #[inline]
    fn apply_next(&mut self) -> Result<bool, NodeError> {
        let limit = Position::new(self.journal.commit());
        let next = self
            .journal
            .next(limit)
            .map_err(NodeError::log("journal"))?;
        let Some(frame) = next else { return Ok(false) };
        let header = frame.header;
        if header.index != self.index + 1 {
            return Err(NodeError::Frame {
                index: header.index,
                reason: "it is out of order",
            });
        }
        if header.kind > FRAME_CONF_CHANGE_V2 {
            return Err(NodeError::Frame {
                index: header.index,
                reason: "its kind is unknown",
            });
        }
        let (index, kind, count) = (header.index, header.kind, u64::from(header.count));
        if kind == FRAME_COMMANDS {
            let time = Nanos(header.time_ns);
            let first = CommandSequence(header.first_sequence);
            let batch = Batch {
                time,
                first,
                commands: frame.payload,
            };
            self.events.begin(time);
            let mut sink = Sink {
                log: &mut self.events,
                hashed: None,
            };
            self.engine.apply(&batch, &mut sink)?;
            let hashed = sink.hashed;
            self.events.finish().map_err(NodeError::log("event log"))?;
            let started = messages(batch.commands)
                .next()
                .and_then(peek_header)
                .is_some_and(|header| header.template_id == NodeStarted::TEMPLATE_ID);
            self.note_hash(hashed, count, started);
        }
        self.index = index;
        Ok(true)
    }

    /// Counts the commands since the last hash; a node that starts wants one soon.
    #[inline]
    fn note_hash(&mut self, hashed: Option<StateHashed>, count: u64, started: bool) {
        self.since_hash += count;
        if started {
            self.since_hash = self.since_hash.max(self.hash_every);
            self.hash_asked = false;
        }
        if let Some(hashed) = hashed {
            self.since_hash = 0;
            self.hash_asked = false;
            if hashed.command >= self.fresh_from {
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
        let _ = self.wishes.try_push_slice(Record::new(&checkpoint).lines());
    }

    /// Asks for a tick where a timer is due and nobody has said anything since.
    #[inline]
    fn wish_for_tick(&mut self) {
        let Some(due) = self.engine.next_due() else {
            return;
        };
        let now = self.clock.now();
        if now >= due && now >= self.tick_asked_at.after(ASK_AGAIN) {
            self.tick_asked_at = now;
            // Where the ring is full the sequencer has work, and time moves with it.
            let _ = self
                .wishes
                .try_push_slice(Record::new(&Tick::blank()).lines());
        }
    }

    /// Asks for a hash of the state after so many commands.
    #[inline]
    fn wish_for_hash(&mut self) {
        if self.since_hash >= self.hash_every && !self.hash_asked {
            let record = Record::new(&TakeStateHash::blank());
            self.hash_asked = self.wishes.try_push_slice(record.lines()).is_ok();
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

impl Agent for EngineAgent {
    fn name(&self) -> &'static str {
        "engine"
    }

    fn do_work(&mut self) -> Result<usize, Halt> {
        self.turn().map_err(Halt::new)
    }
}
