//! Makes views beside the node that trades.
//!
//! Turned by the agent that takes snapshots, while it takes none. Each set of views grows out of the one before: it
//! is read back, follows the event log to its end, and is written.
//!
//! Always holds: views have their name only once everything that they stand on is on disk; two of them are at least
//! so far apart as ports want to read back. What goes wrong costs views and is told, never the node, unless it is a
//! failed flush of the event log.
//! Does not: hurry.

use std::path::PathBuf;
use std::sync::Arc;

use exahour_gateway::views::{Room, Views};
use exahour_journal::disk::Disk;
use exahour_journal::{JournalError, Position, Reader, Verify};

use super::file::{self, ViewsPlace};
use super::{Check, not_used};
use crate::data_folder::make_own_folder;
use crate::draft::Draft;
use crate::error::NodeError;
use crate::snapshots::EventsBefore;

/// How many are kept: the newest, one far enough before it, and one should another be damaged.
const KEPT: usize = 3;

/// Bytes of events followed in one turn, beyond the frame begun.
const BYTES_A_TURN: usize = 1 << 20;

/// How views are made.
pub(crate) struct ViewSettings {
    /// The disk that folder and event log are on.
    pub(crate) disk: Arc<dyn Disk>,
    /// The folder they go to.
    pub(crate) folder: PathBuf,
    /// The event log they stand on.
    pub(crate) events: PathBuf,
    /// Bytes of events from one to the next, at least.
    pub(crate) back: u64,
    /// Hears why views were not made.
    pub(crate) notice: fn(&str),
}

/// Makes them.
pub(crate) struct ViewKeeper {
    settings: ViewSettings,
    phase: Phase,
    /// Whether the next are to be made.
    due: bool,
    check: Option<Check>,
}

enum Phase {
    Waiting,
    /// On their way to the end of the log.
    Following(Box<Follower>),
    /// On their way to the disk.
    Writing(Box<Draft<Vec<u8>>>, u64),
}

/// Views that follow the event log.
struct Follower {
    views: Views,
    events: Reader,
    target: Position,
    /// Where they stand now, if they have moved.
    place: Option<ViewsPlace>,
}

impl ViewKeeper {
    /// A keeper that makes nothing until it is asked to; first of all it checks what a start believed.
    pub(crate) fn new(settings: ViewSettings, check: Option<Check>) -> Self {
        Self {
            settings,
            phase: Phase::Waiting,
            due: false,
            check,
        }
    }

    /// Asks for views of about now.
    pub(crate) fn ask(&mut self) {
        self.due = true;
    }

    /// Works a little on the views that were asked for; how much there was to do.
    ///
    /// # Errors
    /// Where a flush of the event log has failed; what else goes wrong costs views.
    pub(crate) fn turn(&mut self, events: &mut EventsBefore) -> Result<usize, NodeError> {
        let worked = self.work(events);
        self.told(worked)
    }

    /// Checks a little of what the start believed; how much there was to do.
    ///
    /// # Errors
    /// As [`Self::turn`].
    pub(crate) fn check(&mut self) -> Result<usize, NodeError> {
        let checked = self.check_on();
        self.told(checked)
    }

    fn told(&self, worked: Result<usize, NodeError>) -> Result<usize, NodeError> {
        worked.or_else(|error| {
            if let NodeError::Log {
                source: JournalError::Sync { .. },
                ..
            } = &error
            {
                return Err(error);
            }
            (self.settings.notice)(&format!("the views of the ports were not kept: {error}"));
            Ok(0)
        })
    }

    fn work(&mut self, events: &mut EventsBefore) -> Result<usize, NodeError> {
        match std::mem::replace(&mut self.phase, Phase::Waiting) {
            Phase::Waiting if self.due => {
                self.due = false;
                self.begin()
            }
            Phase::Waiting => Ok(0),
            Phase::Following(follower) => self.follow(follower),
            Phase::Writing(draft, event) => self.write(draft, event, events),
        }
    }

    fn check_on(&mut self) -> Result<usize, NodeError> {
        let Some(mut check) = self.check.take() else {
            return Ok(0);
        };
        let ViewSettings {
            disk,
            folder,
            notice,
            ..
        } = &self.settings;
        if check.turn((disk.as_ref(), folder), *notice)? {
            self.check = Some(check);
        }
        Ok(1)
    }

    fn begin(&mut self) -> Result<usize, NodeError> {
        let ViewSettings {
            disk,
            folder,
            events,
            back,
            notice,
        } = &self.settings;
        let log = NodeError::log("event log");
        let mut reader = Reader::follow_on(disk, events, Verify::Every).map_err(&log)?;
        let target = reader.appended();
        let newest = file::list(disk.as_ref(), folder)?.pop();
        let mut views = Views::new(Room::default());
        if let Some(path) = newest {
            let read = file::read(disk.as_ref(), &path, reader.log_id().0, Room::default());
            match read.and_then(|(views, place)| place.stands_on(&reader, None).map(|()| views)) {
                Ok(read) => views = read,
                Err(reason) => {
                    notice(&not_used(&path, &reason));
                    disk.remove(&path).map_err(NodeError::io(&path, "remove"))?;
                }
            }
        }
        let begun = views.position();
        if target.value() < begun.value().saturating_add(*back) {
            return Ok(0);
        }
        if begun > Position::ZERO {
            reader.seek(begun).map_err(&log)?;
        } else if reader.position() > Position::ZERO {
            // The log does not begin with the first event any more, and nothing is known of what is gone.
            return Ok(0);
        }
        self.phase = Phase::Following(Box::new(Follower {
            views,
            events: reader,
            target,
            place: None,
        }));
        Ok(1)
    }

    fn follow(&mut self, mut follower: Box<Follower>) -> Result<usize, NodeError> {
        if follower.advance()? {
            self.phase = Phase::Following(follower);
            return Ok(1);
        }
        if !follower.views.between_commands() {
            // The frames that end the command may not be written yet.
            let target = follower.events.appended();
            let moved = target > follower.target;
            follower.target = target;
            self.phase = Phase::Following(follower);
            return Ok(usize::from(moved));
        }
        let Some(place) = follower.place else {
            return Ok(0);
        };
        let ViewSettings { disk, folder, .. } = &self.settings;
        // Somebody may have removed it: views may go at any time.
        make_own_folder(disk.as_ref(), folder)?;
        let log_id = follower.events.log_id().0;
        let draft = file::begin((disk, folder), &follower.views, &place, log_id)?;
        self.phase = Phase::Writing(Box::new(draft), place.event);
        Ok(1)
    }

    fn write(
        &mut self,
        mut draft: Box<Draft<Vec<u8>>>,
        event: u64,
        events: &mut EventsBefore,
    ) -> Result<usize, NodeError> {
        let done = match draft.whole() {
            false => draft.step().map(|()| false),
            true => match events.durable_to(event) {
                Ok(true) => draft.name().map(|_| true),
                Ok(false) => {
                    self.phase = Phase::Writing(draft, event);
                    return Ok(0);
                }
                Err(error) => Err(error),
            },
        };
        match done {
            Ok(false) => self.phase = Phase::Writing(draft, event),
            Ok(true) => self.prune()?,
            Err(error) => {
                draft.discard();
                return Err(error);
            }
        }
        Ok(1)
    }

    /// Removes all but the newest.
    fn prune(&self) -> Result<(), NodeError> {
        let ViewSettings { disk, folder, .. } = &self.settings;
        let paths = file::list(disk.as_ref(), folder)?;
        for path in &paths[..paths.len().saturating_sub(KEPT)] {
            disk.remove(path).map_err(NodeError::io(path, "remove"))?;
        }
        Ok(())
    }
}

impl Follower {
    /// Follows a piece; whether there may be more before the target.
    fn advance(&mut self) -> Result<bool, NodeError> {
        let mut followed = 0;
        while followed < BYTES_A_TURN {
            let next = self.events.next(self.target);
            let Some(frame) = next.map_err(NodeError::log("event log"))? else {
                return Ok(false);
            };
            self.views.on_frame(&frame).map_err(NodeError::Views)?;
            followed += frame.payload.len();
            self.place = Some(ViewsPlace {
                frame: frame.position,
                end: frame.end(),
                event: self.views.last_event().0,
                header: *frame.header,
            });
        }
        Ok(true)
    }
}
