//! Takes snapshots beside the node that trades.
//!
//! Each grows out of the one before: it is read back, the journal since then is replayed on top, and
//! the result is written. So nothing ever waits for a snapshot, every one of them has proven that it
//! can be started from, and a state that differs from the journal's checkpoints is noticed here too.
//!
//! Always holds: only committed frames are covered; a snapshot has its name only once all of it is on
//! disk, and all events before it: what the journal gives up for it, nothing can write again. So is the frame that it
//! stands behind: a quorum of others may have that committed before this node's own flush. What goes wrong with its
//! files costs a snapshot and is told, never an order; only a journal that cannot be read, or a state that differs
//! from its checkpoints, stops the node.
//! Does not: hurry. It belongs on a thread of its own, of the lowest priority.

use std::path::PathBuf;
use std::sync::Arc;

use exahour_engine::{Capacity, Engine, EventSink};
use exahour_gateway::clock::{Clock, Steady};
use exahour_journal::disk::Disk;
use exahour_journal::{Flusher, JournalError, Position, Reader, Verify};
use exahour_rings::{Agent, Halt, Producer, WatermarkReader};
use exahour_wire::units::Nanos;

use super::file::{Place, SnapshotDraft};
use super::{Standing, newest, prune};
use crate::data_folder::make_own_folder;
use crate::error::NodeError;
use crate::frames::Frames;
use crate::views::ViewKeeper;

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
    /// How often it is looked whether they are still there; never where nothing is given up for them.
    pub(crate) look_every: Option<Nanos>,
    /// Tells when.
    pub(crate) clock: Box<dyn Clock>,
    /// Hears why a snapshot was not used, or not taken.
    pub(crate) notice: fn(&str),
}

/// The event log, as far as snapshots rest on it.
pub(crate) struct EventsBefore {
    /// Knows the last event that is written.
    pub(crate) written: Reader,
    /// Brings what is written to the disk.
    pub(crate) flusher: Flusher,
}

impl EventsBefore {
    /// Whether the log has everything up to this event on disk; where it is written, it is flushed.
    pub(crate) fn durable_to(&mut self, event: u64) -> Result<bool, NodeError> {
        if self.written.commit() < event {
            // The engine that trades is not there yet.
            return Ok(false);
        }
        match self.flusher.flush() {
            Ok(_) => Ok(true),
            // Nothing was flushed; a flush that failed is another error, and ends the node.
            Err(JournalError::Io {
                action,
                path,
                source,
            }) => Err(NodeError::Io {
                path,
                action,
                source,
            }),
            Err(error) => Err(NodeError::log("event log")(error)),
        }
    }
}

/// The agent.
pub(crate) struct SnapshotAgent {
    settings: SnapshotSettings,
    /// Knows how far the journal is committed.
    journal: Reader,
    events: EventsBefore,
    /// Makes the views of the ports after each snapshot.
    views: ViewKeeper,
    /// How many were asked for by operators.
    wanted: WatermarkReader,
    /// How many of those were begun.
    wanted_begun: u64,
    /// How far the journal was when the last one was begun; what it began from, before the first.
    last: Position,
    phase: Phase,
    /// Hears which snapshots there are.
    standings: Producer<Standing>,
    /// What it has still to hear.
    untold: Option<Standing>,
    looked_at: Steady,
}

enum Phase {
    /// Not enough has happened since the last one.
    Waiting,
    /// The state of the last one, on its way to `target`.
    Replaying(Box<Shadow>),
    /// On its way to the disk.
    Writing(Box<SnapshotDraft>),
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
        (journal, events, views): (Reader, EventsBefore, ViewKeeper),
        last: Option<&Place>,
        (wanted, standings): (WatermarkReader, Producer<Standing>),
    ) -> Self {
        let mut agent = Self {
            settings,
            journal,
            events,
            views,
            wanted_begun: wanted.current(),
            wanted,
            last: last.map_or(Position::new(0), |place| place.frame),
            phase: Phase::Waiting,
            standings,
            untold: None,
            looked_at: Steady(0),
        };
        agent.look();
        agent
    }

    /// Looks which snapshots there are, and tells of them. Of a folder that cannot be listed there are none:
    /// nothing is given up then.
    fn look(&mut self) {
        let SnapshotSettings { disk, folder, .. } = &self.settings;
        let standing = Standing::of((disk.as_ref(), folder), &self.journal);
        self.untold = Some(standing.unwrap_or_default());
        self.looked_at = self.settings.clock.steady();
        self.tell();
    }

    /// Somebody may have removed snapshots by hand: what they stood for must not be given up any more.
    fn look_again(&mut self) {
        if let Some(every) = self.settings.look_every
            && self.settings.clock.steady() >= self.looked_at.after(every)
        {
            self.look();
        }
    }

    fn tell(&mut self) {
        if let Some(standing) = self.untold
            && self.standings.try_push(standing).is_ok()
        {
            self.untold = None;
        }
    }

    fn turn(&mut self) -> Result<usize, NodeError> {
        match self.work() {
            // Whatever it was about is dropped; the next is tried when as much again is journaled.
            // So it is where the state that the journal begins behind is gone: the engine has it still.
            Err(
                error @ (NodeError::Io { .. }
                | NodeError::Snapshot(_)
                | NodeError::SnapshotMissing { .. }),
            ) => {
                (self.settings.notice)(&format!("a snapshot was not taken: {error}"));
                Ok(0)
            }
            result => result,
        }
    }

    fn work(&mut self) -> Result<usize, NodeError> {
        self.look_again();
        self.tell();
        match std::mem::replace(&mut self.phase, Phase::Waiting) {
            // Views come first: where snapshots are always due, they would never be made.
            Phase::Waiting => match self.views.turn(&mut self.events)? {
                0 => match self.begin_if_due()? {
                    0 => self.views.check(),
                    begun => Ok(begun),
                },
                done => Ok(done),
            },
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
        make_own_folder(disk.as_ref(), folder)?;
        let draft = SnapshotDraft::begin((disk, folder), place, log_id, engine)?;
        self.phase = Phase::Writing(Box::new(draft));
        Ok(())
    }

    fn write(&mut self, mut draft: Box<SnapshotDraft>) -> Result<usize, NodeError> {
        if !draft.whole() {
            return match draft.step() {
                Ok(()) => {
                    self.phase = Phase::Writing(draft);
                    Ok(1)
                }
                Err(error) => give_up(*draft, error),
            };
        }
        if self.journal.durable() <= draft.place().frame {
            // Flushes end with frames. A power cut now would leave a journal that begins behind nothing.
            self.phase = Phase::Writing(draft);
            return Ok(0);
        }
        match self.events.durable_to(draft.place().events) {
            Ok(true) => {}
            Ok(false) => {
                self.phase = Phase::Writing(draft);
                return Ok(0);
            }
            Err(error) => return give_up(*draft, error),
        }
        let SnapshotSettings {
            disk, folder, keep, ..
        } = &self.settings;
        let written = match draft.name() {
            Ok(written) => written,
            Err(error) => return give_up(*draft, error),
        };
        if let Err(error) = prune(disk.as_ref(), folder, *keep, &written) {
            (self.settings.notice)(&format!("old snapshots were not removed: {error}"));
        }
        self.look();
        self.views.ask();
        Ok(1)
    }
}

fn give_up(draft: SnapshotDraft, error: NodeError) -> Result<usize, NodeError> {
    draft.discard();
    Err(error)
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use exahour_journal::disk::SystemDisk;
    use exahour_journal::{Config, FrameMeta, Journal, LogId};
    use exahour_rings::{Consumer, WatermarkWriter, watermark};
    use exahour_wire::internal::TakeStateHash;
    use exahour_wire::message::Message;
    use exahour_wire::record::Record;

    use exahour_gateway::clock::ManualClock;

    use super::super::standings;
    use super::*;
    use crate::event_log::EventLog;
    use crate::storage::FRAME_COMMANDS;
    use crate::views::ViewSettings;

    static NOTICES: AtomicUsize = AtomicUsize::new(0);

    /// A journal, an event log, and what takes snapshots of them when it is asked.
    struct Trial {
        folder: tempfile::TempDir,
        journal: Journal,
        events: EventLog,
        agent: SnapshotAgent,
        wanted: WatermarkWriter,
        told: Consumer<Standing>,
        clock: ManualClock,
    }

    impl Trial {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let log = |name: &str| {
                let config = Config::new(folder.path().join(name), LogId([3; 16]));
                Journal::create(&config.with_segment_bytes(65_536)).unwrap()
            };
            let follow =
                |name: &str| Reader::follow(folder.path().join(name), Verify::Every).unwrap();
            let (journal, events) = (log("journal"), log("events"));
            let clock = ManualClock::new(Nanos(0));
            let settings = SnapshotSettings {
                disk: Arc::new(SystemDisk),
                folder: folder.path().join("snapshots"),
                journal: folder.path().join("journal"),
                journal_bytes: 0,
                keep: 2,
                capacity: Capacity::default(),
                look_every: Some(Nanos(1_000)),
                clock: Box::new(clock.clone()),
                notice: |_| {
                    NOTICES.fetch_add(1, Ordering::Relaxed);
                },
            };
            let before = EventsBefore {
                written: follow("events"),
                flusher: events.flusher,
            };
            let (wanted, wanted_out) = watermark();
            let (standings, told) = standings();
            let views = ViewSettings {
                disk: Arc::new(SystemDisk),
                folder: folder.path().join("views"),
                events: folder.path().join("events"),
                back: 0,
                notice: |why| panic!("{why}"),
            };
            let follows = (follow("journal"), before, ViewKeeper::new(views, None));
            let agent = SnapshotAgent::new(settings, follows, None, (wanted_out, standings));
            Self {
                events: EventLog::new(events.appender, &follow("events")).unwrap(),
                folder,
                journal,
                agent,
                wanted,
                told,
                clock,
            }
        }

        /// Commits a frame of one command, which has an event, and asks for a snapshot behind it.
        fn commit(&mut self, index: u64, time: u64) {
            let meta = FrameMeta {
                index,
                term: 1,
                count: 1,
                kind: FRAME_COMMANDS,
                first_sequence: index,
                time_ns: time,
            };
            let command = Record::new(&TakeStateHash::blank());
            let end = self
                .journal
                .appender
                .append(&meta, &[command.bytes()])
                .unwrap();
            self.journal.appender.publish_commit(end.value());
            self.wanted.publish(index);
        }

        fn snapshots(&self) -> usize {
            let folder = self.folder.path().join("snapshots");
            super::super::file::list(&SystemDisk, &folder)
                .unwrap()
                .len()
        }

        /// Writes the events of all that is committed, as the engine that trades does.
        fn write_events(&mut self) {
            let journal = self.folder.path().join("journal");
            let mut frames =
                Frames::from_the_start(Reader::follow(&journal, Verify::Every).unwrap());
            let mut engine = Engine::new(&Capacity::default());
            let end = self.journal.appender.appended();
            while let Some(frame) = frames.next(end).unwrap() {
                engine
                    .apply(&frame.batch.unwrap(), &mut self.events)
                    .unwrap();
            }
            self.events.finish().unwrap();
            assert!(engine.events() > 0);
        }

        /// Lets the agent work until it has nothing to do.
        fn work(&mut self) {
            while self.agent.do_work().unwrap() > 0 {}
        }
    }

    #[test]
    fn a_snapshot_gets_its_name_when_its_frame_and_all_events_before_it_are_on_disk() {
        let mut trial = Trial::new();
        trial.commit(1, 1);
        trial.work();
        assert_eq!(trial.snapshots(), 0, "nobody has written the events yet");

        trial.write_events();
        let events = Reader::follow(trial.folder.path().join("events"), Verify::Every).unwrap();
        assert!(events.durable() < events.appended());
        assert_eq!(trial.told.try_pop(), Some(Standing::default()));
        trial.work();
        assert_eq!(trial.snapshots(), 0, "what it stands behind is not on disk");

        trial.journal.flusher.flush().unwrap();
        trial.work();
        assert_eq!(trial.snapshots(), 1);
        assert_eq!(events.durable(), events.appended());
        let standing = Standing {
            lowest: trial.journal.appender.position_of(1),
            newest: Some((1, 1)),
        };
        assert_eq!(trial.told.try_pop(), Some(standing));
        // Somebody removes it: nothing may be given up for it any more.
        std::fs::remove_dir_all(trial.folder.path().join("snapshots")).unwrap();
        trial.work();
        assert_eq!(trial.told.try_pop(), None);
        trial.clock.advance(Nanos(1_000));
        trial.work();
        assert_eq!(trial.told.try_pop(), Some(Standing::default()));
    }

    #[test]
    fn a_journal_without_its_head_and_its_snapshots_costs_a_snapshot_and_not_the_node() {
        let mut trial = Trial::new();
        trial.journal.appender.restart_after(40, 1).unwrap();
        trial.commit(41, 1);
        let before = NOTICES.load(Ordering::Relaxed);
        trial.work();
        assert_eq!(NOTICES.load(Ordering::Relaxed), before + 1);
        assert_eq!(trial.snapshots(), 0);
    }

    #[test]
    fn what_another_journal_was_the_ground_of_does_not_say_what_is_kept_of_this_one() {
        let (mut this, mut other) = (Trial::new(), Trial::new());
        this.commit(1, 1);
        this.commit(2, 1);
        other.commit(1, 7);
        for trial in [&mut this, &mut other] {
            trial.write_events();
            trial.journal.flusher.flush().unwrap();
            trial.work();
        }
        let folder = |trial: &Trial| trial.folder.path().join("snapshots");
        let name = |index: u64| format!("{index:020}.snapshot");
        let (from, to) = (folder(&other).join(name(1)), folder(&this).join(name(1)));
        std::fs::copy(from, to).unwrap();
        assert_eq!(this.snapshots(), 2);
        let journal = Reader::follow(this.folder.path().join("journal"), Verify::Trust).unwrap();
        let standing = Standing::of((&SystemDisk, &folder(&this)), &journal).unwrap();
        assert_eq!(standing.lowest, this.journal.appender.position_of(2));
        assert_eq!(standing.newest, Some((2, 1)));
    }
}
