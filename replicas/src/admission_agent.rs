//! The engine's first stage as an agent: judges committed commands ahead of their execution.
//!
//! There only in a layout that names it; without it the engine's agent runs both stages.
//!
//! ```text
//! journal ──► admission ──verdicts, hashes──► engine ──► event log
//!    └───────────────────────────────────────────▲
//! ```
//! Always holds: one writer for each stage's state; a frame counts as judged once every verdict of it
//! is in the ring.
//! Does not: wait. Where the ring has no room for a whole frame, the next turn tries again.

use exahour_engine::{Admission, Verdict, VerdictSink, Verdicts};
use exahour_journal::Position;
use exahour_rings::{
    Agent, Capacity, Consumer, Halt, Producer, WatermarkReader, WatermarkWriter, ring, watermark,
};
use exahour_wire::limits::BATCH_MESSAGES_MAX;
use exahour_wire::message::Digest;
use exahour_wire::units::Nanos;

use crate::error::NodeError;
use crate::frames::Frames;

/// The agent's name in a layout.
pub(crate) const ADMISSION: &str = "admission";

/// Verdicts that may wait for their execution: a few of the largest batches.
const VERDICTS: Capacity = capacity(8 * BATCH_MESSAGES_MAX);

/// Hashes that may wait: a batch might want nothing else.
const HASHES: Capacity = capacity(BATCH_MESSAGES_MAX);

const fn capacity(slots: usize) -> Capacity {
    match Capacity::new(slots) {
        Ok(capacity) => capacity,
        Err(_) => panic!("a power of two"),
    }
}

/// Frames judged in one turn, at most.
const FRAMES_A_TURN: usize = 64;

/// The first stage, ahead of the second.
pub(crate) struct AdmissionAgent {
    stage: Admission,
    frames: Frames,
    told: Told,
    judged: WatermarkWriter,
}

/// The producing ends of what passes between the stages.
struct Told {
    verdicts: Producer<Verdict>,
    hashes: Producer<Digest>,
}

/// The consuming ends: what the second stage asks.
pub(crate) struct Judged {
    verdicts: Consumer<Verdict>,
    hashes: Consumer<Digest>,
    /// How much of the journal, in bytes, has been judged.
    judged: WatermarkReader,
}

impl AdmissionAgent {
    /// The stage on a thread of its own, and what the other stage asks.
    pub(crate) fn new(stage: Admission, frames: Frames) -> (Self, Judged) {
        let (verdicts_in, verdicts_out) = ring(VERDICTS);
        let (hashes_in, hashes_out) = ring(HASHES);
        let (judged_in, judged_out) = watermark();
        let agent = Self {
            stage,
            frames,
            told: Told {
                verdicts: verdicts_in,
                hashes: hashes_in,
            },
            judged: judged_in,
        };
        let judged = Judged {
            verdicts: verdicts_out,
            hashes: hashes_out,
            judged: judged_out,
        };
        (agent, judged)
    }

    fn turn(&mut self) -> Result<usize, NodeError> {
        let mut frames = 0;
        while frames < FRAMES_A_TURN && self.told.has_room() {
            let limit = self.frames.committed();
            let Some(frame) = self.frames.next(limit)? else {
                break;
            };
            if usize::from(frame.header.count) > BATCH_MESSAGES_MAX {
                return Err(NodeError::Frame {
                    index: self.frames.index(),
                    reason: "it holds more commands than a batch can",
                });
            }
            if let Some(batch) = frame.batch {
                self.stage.judge(&batch, &mut self.told);
            }
            self.judged.publish(self.frames.position().value());
            frames += 1;
        }
        Ok(frames)
    }
}

impl Told {
    /// Whether a batch of any lawful size fits.
    fn has_room(&mut self) -> bool {
        self.verdicts.free() >= BATCH_MESSAGES_MAX && self.hashes.free() >= BATCH_MESSAGES_MAX
    }
}

impl VerdictSink for Told {
    #[inline]
    fn verdict(&mut self, verdict: Verdict) {
        let pushed = self.verdicts.try_push(verdict);
        assert!(pushed.is_ok(), "there was room for a whole batch");
    }

    fn admission_hash(&mut self, hash: Digest) {
        let pushed = self.hashes.try_push(hash);
        assert!(pushed.is_ok(), "there was room for a whole batch");
    }
}

impl Verdicts for Judged {
    #[inline]
    fn verdict(&mut self, _command: &[u8], _now: Nanos) -> Verdict {
        match self.verdicts.try_pop() {
            Some(verdict) => verdict,
            None => unreachable!("a frame is executed only once it has been judged"),
        }
    }

    fn admission_hash(&mut self) -> Digest {
        match self.hashes.try_pop() {
            Some(hash) => hash,
            None => unreachable!("a hash is behind the verdict of the command that wants it"),
        }
    }
}

/// Where the engine's agent gets its verdicts from.
pub(crate) trait FirstStage: Verdicts + Send {
    /// How far the engine may execute, when so much is committed.
    fn limit(&self, committed: Position) -> Position;
}

impl FirstStage for Admission {
    /// Fused: judged on the way.
    #[inline]
    fn limit(&self, committed: Position) -> Position {
        committed
    }
}

impl FirstStage for Judged {
    #[inline]
    fn limit(&self, _committed: Position) -> Position {
        Position::new(self.judged.current())
    }
}

impl Agent for AdmissionAgent {
    fn name(&self) -> &'static str {
        ADMISSION
    }

    fn do_work(&mut self) -> Result<usize, Halt> {
        self.turn().map_err(Halt::new)
    }
}
