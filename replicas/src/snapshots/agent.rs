//! Takes snapshots beside the node that trades.
//!
//! Each grows out of the one before: it is read back, the journal since then is replayed on top, and
//! the result is written. So nothing ever waits for a snapshot, every one of them has proven that it
//! can be started from, and a state that differs from the journal's checkpoints is noticed here too.
//!
//! Always holds: only committed frames are covered; a snapshot has its name only once all of it is on
//! disk. What goes wrong with its files costs a snapshot and is told, never an order; only a journal
//! that cannot be read, or a state that differs from its checkpoints, stops the node.
//! Does not: hurry. It belongs on a thread of its own, of the lowest priority.

use std::path::PathBuf;
use std::sync::Arc;

use exahour_engine::{Capacity, Engine, EventSink};
use exahour_journal::disk::Disk;
use exahour_journal::{Position, Reader, Verify};
use exahour_rings::{Agent, Halt, WatermarkReader};

use super::file::{Draft, Place};
use super::{make_folder, newest, prune};
use crate::error::NodeError;
use crate::frames::Frames;

/// The agent's name in a layout.
pub(crate) const SNAPSHOTS: &str = "snapshots";

/// Frames replayed in one turn, so that a node that stops need not wait long.
const FRAMES_A_TURN: usize = 256;

/// How snapshots are taken.
pub(crate) struct SnapshotSettings {
    /// The disk that folder and journal are on.
    pub(crate) disk: Arc<dyn Disk>,
    /// The folder they go to.
    pub(crate) folder: PathBuf,
    /// The journal they stand on.
    pub(crate) journal: PathBuf,
    /// Bytes of journal from one to the next; zero for none at all.
    pub(crate) journal_bytes: u64,
    /// How many are kept.
    pub(crate) keep: usize,
    /// Room for the engine that replays.
    pub(crate) capacity: Capacity,
    /// Hears why a snapshot was not used, or not taken.
    pub(crate) notice: fn(&str),
}

/// The agent.
pub(crate) struct SnapshotAgent {
    settings: SnapshotSettings,
    /// Knows how far the journal is committed.
    journal: Reader,
    /// How many were asked for by operators.
    wanted: WatermarkReader,
    /// How many of those were begun.
    wanted_begun: u64,
    /// How far the journal was when the last one was begun; what it began from, before the first.
    last: Position,
    phase: Phase,
}

enum Phase {
    /// Not enough has happened since the last one.
    Waiting,
    /// The state of the last one, on its way to `target`.
    Replaying(Box<Shadow>),
    /// On its way to the disk.
    Writing(Box<Draft>),
}

/// An engine that follows the journal.
struct Shadow {
    engine: Engine,
    frames: Frames,
    target: Position,
    place: Option<Place>,
    command: u64,
}

struct Forget;

impl EventSink for Forget {
    #[inline]
    fn emit(&mut self, _event: &[u8]) {}
}

impl SnapshotAgent {
    /// An agent that takes the next snapshot once enough has been journaled behind `last`.
    pub(crate) fn new(
        settings: SnapshotSettings,
        journal: Reader,
        last: Option<&Place>,
        wanted: WatermarkReader,
    ) -> Self {
        Self {
            settings,
            journal,
            wanted_begun: wanted.current(),
            wanted,
            last: last.map_or(Position::new(0), |place| place.frame),
            phase: Phase::Waiting,
        }
    }

    fn turn(&mut self) -> Result<usize, NodeError> {
        match self.work() {
            // Whatever it was about is dropped; the next is tried when as much again is journaled.
            Err(error @ (NodeError::Io { .. } | NodeError::Snapshot(_))) => {
                (self.settings.notice)(&format!("a snapshot was not taken: {error}"));
                Ok(0)
            }
            result => result,
        }
    }

    fn work(&mut self) -> Result<usize, NodeError> {
        match std::mem::replace(&mut self.phase, Phase::Waiting) {
            Phase::Waiting => self.begin_if_due(),
            Phase::Replaying(mut shadow) => {
                if shadow.advance()? {
                    self.phase = Phase::Replaying(shadow);
                } else if let Some(place) = shadow.place {
                    self.begin_draft(&place, &shadow.engine)?;
                }
                Ok(1)
            }
            Phase::Writing(draft) => self.write(draft),
        }
    }

    fn begin_if_due(&mut self) -> Result<usize, NodeError> {
        let committed = self.journal.commit();
        let due = self
            .last
            .value()
            .saturating_add(self.settings.journal_bytes);
        let wanted = self.wanted.current();
        let asked = wanted > self.wanted_begun;
        self.wanted_begun = wanted;
        if !asked && (self.settings.journal_bytes == 0 || committed < due) {
            return Ok(0);
        }
        // Should it come to nothing, the next is tried when as much again has been journaled.
        self.last = Position::new(committed);
        let SnapshotSettings {
            disk,
            folder,
            journal,
            capacity,
            ..
        } = &self.settings;
        let reader =
            Reader::follow_on(disk, journal, Verify::Every).map_err(NodeError::log("journal"))?;
        let found = newest((disk.as_ref(), folder), &self.journal, u64::MAX, capacity)?;
        found
            .passed_over
            .iter()
            .for_each(|it| (self.settings.notice)(it));
        let (engine, frames, place) = match found.start {
            Some(start) => {
                let frames = Frames::behind(reader, &start.place)?;
                (start.engine, frames, Some(start.place))
            }
            None => (Engine::new(capacity), Frames::from_the_start(reader), None),
        };
        if frames.position() >= self.last {
            return Ok(0);
        }
        self.phase = Phase::Replaying(Box::new(Shadow {
            engine,
            frames,
            target: self.last,
            command: place.map_or(0, |place| place.command),
            place,
        }));
        Ok(1)
    }

    fn begin_draft(&mut self, place: &Place, engine: &Engine) -> Result<(), NodeError> {
        let log_id = self.journal.log_id().0;
        // Somebody may have removed it: snapshots may go at any time.
        let SnapshotSettings { disk, folder, .. } = &self.settings;
        make_folder(disk.as_ref(), folder)?;
        let draft = Draft::begin((disk, folder), place, log_id, engine)?;
        self.phase = Phase::Writing(Box::new(draft));
        Ok(())
    }

    fn write(&mut self, mut draft: Box<Draft>) -> Result<usize, NodeError> {
        match draft.step() {
            Ok(None) => self.phase = Phase::Writing(draft),
            Ok(Some(written)) => {
                let SnapshotSettings {
                    disk, folder, keep, ..
                } = &self.settings;
                prune(disk.as_ref(), folder, *keep, &written)?;
            }
            Err(error) => {
                draft.discard();
                return Err(error);
            }
        }
        Ok(1)
    }
}

impl Shadow {
    /// Replays a piece; whether there may be more before the target.
    fn advance(&mut self) -> Result<bool, NodeError> {
        for _ in 0..FRAMES_A_TURN {
            let Some(frame) = self.frames.next(self.target)? else {
                return Ok(false);
            };
            if let Some(batch) = frame.batch {
                self.engine.apply(&batch, &mut Forget)?;
                self.command = batch.first.0 + u64::from(frame.header.count) - 1;
            }
            let events = self.engine.events();
            self.place = Some(Place::behind(
                frame.header,
                frame.position,
                self.command,
                events,
            ));
        }
        Ok(true)
    }
}

impl Agent for SnapshotAgent {
    fn name(&self) -> &'static str {
        SNAPSHOTS
    }

    fn do_work(&mut self) -> Result<usize, Halt> {
        self.turn().map_err(Halt::new)
    }
}
