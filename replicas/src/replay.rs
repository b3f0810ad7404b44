//! Replay: the state from the journal alone, checked at every checkpoint.
//!
//! Called by `exahour replay`, and by tests. A journal that a node writes to meanwhile is replayed as far
//! as it reached when the replay was opened.
//!
//! Always holds: nothing is written; a frame that cannot be verified, or a checkpoint or a snapshot that
//! differs, is an error that names its place. Checksums and chain are verified on a thread of their own while
//! the engine applies; nothing is reported before both are done.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use exahour_engine::{Batch, Capacity, Engine, EventSink};
use exahour_journal::disk::SystemDisk;
use exahour_journal::{
    JournalError, KIND_RESTART, Live, LiveReader, Reader, Recovered, Verify, inspect,
};
use exahour_wire::ids::CommandSequence;
use exahour_wire::internal::Checkpoint;
use exahour_wire::message::{Digest, Message, messages, peek_header};
use exahour_wire::units::Nanos;

use crate::error::NodeError;
use crate::snapshots::{FOLDER, places, state_behind};
use crate::storage::FRAME_COMMANDS;

/// What a replay found.
#[derive(Clone, Debug)]
pub struct ReplayReport {
    /// What recovery said of the journal and its tail.
    pub recovered: Recovered,
    /// The raft index of the snapshot that it began from; zero where the journal has everything.
    pub began_behind: u64,
    /// Frames read, without those that later ones have superseded.
    pub frames: u64,
    /// Commands applied.
    pub commands: u64,
    /// Events that they gave.
    pub events: u64,
    /// Checkpoints compared.
    pub checkpoints: u64,
    /// Snapshots beside the journal whose state was compared.
    pub snapshots: u64,
    /// Those that were not: damaged, or of another journal; each in a sentence.
    pub snapshots_passed_over: Vec<String>,
    /// The stamp of the last batch.
    pub time: Nanos,
    /// The hash of the state at the end.
    pub state_hash: Digest,
}

/// A replay under way.
pub struct Replay {
    verification: JoinHandle<Result<Recovered, JournalError>>,
    reader: LiveReader,
    engine: Engine,
    /// The raft index that the state stands behind.
    applied: u64,
    /// The folder of snapshots.
    beside: PathBuf,
    /// Snapshots still ahead: the raft index they stand behind, and what their states hash to.
    snapshots: VecDeque<(u64, Digest)>,
    report: ReplayReport,
}

struct Counted<'a, S: EventSink> {
    sink: &'a mut S,
    events: u64,
}

impl<S: EventSink> EventSink for Counted<'_, S> {
    #[inline]
    fn emit(&mut self, event: &[u8]) {
        self.events += 1;
        self.sink.emit(event);
    }
}

impl Replay {
    /// Finds the end of the journal in `folder`, begins to verify it, and stands before its first
    /// frame; behind the oldest snapshot that will do, where the journal does not begin with frame 1.
    ///
    /// # Errors
    /// [`NodeError::Log`] where there is no journal, or its end is damaged: what lies behind the mark of
    /// the last flush is verified here. [`NodeError::SnapshotMissing`].
    pub fn open(folder: &Path) -> Result<Self, NodeError> {
        let recovered = inspect(folder, Verify::Trust).map_err(NodeError::log("journal"))?;
        let path = folder.to_path_buf();
        let verification = std::thread::spawn(move || inspect(path, Verify::Every));
        let mut reader =
            Reader::closed(folder, &recovered, Verify::Trust).map_err(NodeError::log("journal"))?;
        let beside = folder.parent().unwrap_or(Path::new(".")).join(FOLDER);
        let places = places(&SystemDisk, &beside, &reader)?;
        let report = ReplayReport {
            recovered,
            began_behind: 0,
            frames: 0,
            commands: 0,
            events: 0,
            checkpoints: 0,
            snapshots: 0,
            snapshots_passed_over: places.passed_over,
            time: Nanos(0),
            state_hash: Digest::default(),
        };
        let missing = missing_before(&mut reader)?;
        let mut replay = Self {
            verification,
            reader: LiveReader::new(reader),
            engine: Engine::new(&Capacity::default()),
            applied: 0,
            beside,
            snapshots: places.standing,
            report,
        };
        if missing > 0 {
            replay.begin_behind(missing)?;
        }
        Ok(replay)
    }

    /// Takes the state from the oldest snapshot that covers everything up to `index`.
    fn begin_behind(&mut self, index: u64) -> Result<(), NodeError> {
        while let Some((at, _)) = self.snapshots.pop_front() {
            if at < index {
                continue;
            }
            let (place, journal) = (
                (&SystemDisk as _, self.beside.as_path()),
                self.reader.reader(),
            );
            let passed_over = &mut self.report.snapshots_passed_over;
            if let Some(start) = state_behind(place, journal, at, passed_over)? {
                self.engine = start.engine;
                self.applied = at;
                self.report.began_behind = at;
                return Ok(());
            }
        }
        Err(NodeError::SnapshotMissing { index })
    }

    /// Applies up to `frames` frames; whether there may be more.
    ///
    /// # Errors
    /// [`NodeError::Divergence`] at a checkpoint that differs, [`NodeError::SnapshotDiffers`];
    /// [`NodeError::Log`].
    pub fn step<S: EventSink>(&mut self, frames: u64, sink: &mut S) -> Result<bool, NodeError> {
        let end = self.report.recovered.appended;
        for _ in 0..frames {
            let next = self.reader.next(end).map_err(NodeError::log("journal"))?;
            let frame = match next {
                None => return Ok(false),
                Some(Live::Restart { index, .. }) => {
                    if index > self.applied {
                        self.begin_behind(index)?;
                    }
                    continue;
                }
                Some(Live::Frame(frame)) => frame,
            };
            let index = frame.header.index;
            if index <= self.applied {
                continue;
            }
            self.applied = index;
            self.report.frames += 1;
            if frame.header.kind != FRAME_COMMANDS {
                self.compare_snapshot(index)?;
                continue;
            }
            let batch = Batch {
                time: Nanos(frame.header.time_ns),
                first: CommandSequence(frame.header.first_sequence),
                commands: frame.payload,
            };
            let mut counted = Counted { sink, events: 0 };
            self.engine.apply(&batch, &mut counted)?;
            self.report.events += counted.events;
            self.report.commands += u64::from(frame.header.count);
            self.report.time = batch.time;
            let checkpoints = messages(batch.commands)
                .filter_map(peek_header)
                .filter(|header| header.template_id == Checkpoint::TEMPLATE_ID);
            self.report.checkpoints += checkpoints.count() as u64;
            self.compare_snapshot(index)?;
        }
        Ok(true)
    }

    /// Compares the state with that of a snapshot which stands behind this frame, if one does.
    fn compare_snapshot(&mut self, index: u64) -> Result<(), NodeError> {
        while let Some((_, expected)) = self.snapshots.pop_front_if(|(at, _)| *at <= index) {
            let found = self.engine.state_hash();
            if found != expected {
                return Err(NodeError::SnapshotDiffers { index });
            }
            self.report.snapshots += 1;
        }
        Ok(())
    }

    /// Where the journal ends, and how.
    #[must_use]
    pub fn recovered(&self) -> &Recovered {
        &self.report.recovered
    }

    /// How much of the journal has been read, in bytes, and how much there is.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        (
            self.reader.position().value(),
            self.report.recovered.appended.value(),
        )
    }

    /// The findings, once every frame is verified, with the hash of the state as it is now.
    ///
    /// # Errors
    /// [`NodeError::Log`] where a frame is damaged.
    pub fn report(mut self) -> Result<ReplayReport, NodeError> {
        let verified = match self.verification.join() {
            Ok(verified) => verified,
            // A panic there is one here.
            Err(panic) => std::panic::resume_unwind(panic),
        };
        verified.map_err(NodeError::log("journal"))?;
        self.report.state_hash = self.engine.state_hash();
        Ok(self.report)
    }
}

/// The state that a snapshot stands for where a journal does not have what led to it.
pub struct Head {
    /// The last frame that it covers.
    pub index: u64,
    /// The last command.
    pub command: u64,
    /// The last event that they gave.
    pub event: u64,
    /// The stamp of that frame.
    pub time: Nanos,
    /// The state.
    pub engine: Engine,
}

/// The oldest snapshot beside the journal in `folder` that covers everything up to the frame `index`, and stands
/// on this journal.
///
/// # Errors
/// [`NodeError::SnapshotMissing`] where there is none; [`NodeError::UnknownBehaviour`].
pub fn head(folder: &Path, journal: &Reader, index: u64) -> Result<Head, NodeError> {
    let beside = folder.parent().unwrap_or(Path::new(".")).join(FOLDER);
    let mut passed_over = Vec::new();
    for (at, _) in places(&SystemDisk, &beside, journal)?.standing {
        if at < index {
            continue;
        }
        let start = state_behind((&SystemDisk, &beside), journal, at, &mut passed_over)?;
        if let Some(start) = start {
            return Ok(Head {
                index: start.place.index,
                command: start.place.command,
                event: start.place.events,
                time: Nanos(start.place.time_ns),
                engine: start.engine,
            });
        }
    }
    Err(NodeError::SnapshotMissing { index })
}

/// The raft index up to which a journal has nothing any more, or nothing that counts.
fn missing_before(reader: &mut Reader) -> Result<u64, NodeError> {
    let (begin, end) = (reader.position(), reader.appended());
    let log = NodeError::log("journal");
    let first = reader.next(end).map_err(&log)?;
    let missing = first.map_or(0, |frame| match frame.header.kind {
        KIND_RESTART => frame.header.index,
        _ => frame.header.index.saturating_sub(1),
    });
    reader.seek(begin).map_err(&log)?;
    Ok(missing)
}

/// Replays the journal in `folder` to its end.
///
/// # Errors
/// As [`Replay::open`] and [`Replay::step`].
pub fn replay<S: EventSink>(folder: &Path, sink: &mut S) -> Result<ReplayReport, NodeError> {
    const FRAMES_A_STEP: u64 = 1 << 16;
    let mut replay = Replay::open(folder)?;
    while replay.step(FRAMES_A_STEP, sink)? {}
    replay.report()
}
