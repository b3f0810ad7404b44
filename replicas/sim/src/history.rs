//! The one history of a cluster: what its nodes have published as committed, in order.
//!
//! Kept by the cluster while it runs. Each node's journal is read up to its commit mark, the whole time.
//!
//! Always holds: at every index stands what the first node published there; a node that publishes anything
//! else, or leaves out an index, is a violation. Does not: believe what readers of the program under test
//! make of superseded frames: it works out by itself which of them stand.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use exahour_journal::disk::Disk;
use exahour_journal::{FrameHeader, KIND_RESTART, Position, Reader, Verify};
use exahour_replicas::FRAME_COMMANDS;
use exahour_wire::ids::{Behaviour, CommandSequence};
use exahour_wire::internal::ActivateBehaviour;
use exahour_wire::message::{Message, messages};
use exahour_wire::units::Nanos;

use crate::client::Violation;
use crate::net::HostId;
use crate::swarm::OLDER;

/// One frame of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) term: u32,
    pub(crate) kind: u8,
    pub(crate) count: u16,
    pub(crate) first: CommandSequence,
    pub(crate) time: Nanos,
    pub(crate) payload: Vec<u8>,
}

impl Committed {
    pub(crate) fn of(header: &FrameHeader, payload: &[u8]) -> Self {
        Self {
            term: header.term,
            kind: header.kind,
            count: header.count,
            first: CommandSequence(header.first_sequence),
            time: Nanos(header.time_ns),
            payload: payload.to_vec(),
        }
    }
}

/// The history.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// The first has index 1.
    frames: Vec<Committed>,
}

impl History {
    pub(crate) fn frames(&self) -> &[Committed] {
        &self.frames
    }

    /// The behaviour that it brings into force last.
    pub(crate) fn in_force(&self) -> Behaviour {
        let batches = self.frames.iter().filter(|it| it.kind == FRAME_COMMANDS);
        let commands = batches.flat_map(|it| messages(&it.payload));
        let asked = commands.filter_map(ActivateBehaviour::read);
        asked.map(|it| it.behaviour).max().unwrap_or(OLDER)
    }

    /// Gives up what comes after an entry.
    pub(crate) fn cut(&mut self, index: u64) {
        self.frames.truncate(index as usize);
    }

    /// The index of the last frame.
    pub(crate) fn last(&self) -> u64 {
        self.frames.len() as u64
    }
}

/// The entry that a journal begins behind, where nothing but another node's snapshot stands in it; else zero.
fn begins_behind(disk: &Arc<dyn Disk>, journal: &Path) -> Result<u64, Violation> {
    let reader = Reader::follow_on(disk, journal, Verify::Every);
    let mut reader = reader.map_err(|error| error.to_string())?;
    let (end, mut index) = (reader.appended(), 0);
    while let Some(frame) = reader.next(end).map_err(|error| error.to_string())? {
        index = match frame.header.kind {
            KIND_RESTART => frame.header.index,
            _ => 0,
        };
    }
    Ok(index)
}

/// The frames that stand in a journal, committed or not, by index.
///
/// # Errors
/// The journal cannot be read.
pub(crate) fn standing_frames(
    disk: &Arc<dyn Disk>,
    journal: &Path,
) -> Result<Vec<(u64, Committed)>, Violation> {
    let reader = Reader::follow_on(disk, journal, Verify::Every);
    let mut reader = reader.map_err(|error| error.to_string())?;
    let end = reader.appended();
    let mut standing: Vec<(u64, Committed)> = Vec::new();
    while let Some(frame) = reader.next(end).map_err(|error| error.to_string())? {
        let index = frame.header.index;
        if frame.header.kind == KIND_RESTART {
            standing.clear();
            continue;
        }
        standing.retain(|(known, _)| *known < index);
        standing.push((index, Committed::of(frame.header, frame.payload)));
    }
    Ok(standing)
}

/// Reads along in the journal of one node, from its start to its end.
#[derive(Debug)]
pub(crate) struct Observer {
    host: HostId,
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    journal: Reader,
    /// The mark that was read up to.
    seen: u64,
    /// The index of the last frame that stands below it.
    index: u64,
    /// What the journal went on behind, from another node's snapshot.
    restarts: Vec<u64>,
}

impl Observer {
    /// Begins at the first frame that the node has.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(crate) fn new(
        host: HostId,
        disk: &Arc<dyn Disk>,
        journal: &Path,
    ) -> Result<Self, Violation> {
        let index = begins_behind(disk, journal).map_err(|error| format!("{host}: {error}"))?;
        let reader = Reader::follow_on(disk, journal, Verify::Every);
        Ok(Self {
            host,
            disk: Arc::clone(disk),
            folder: journal.to_path_buf(),
            journal: reader.map_err(|error| format!("{host}: {error}"))?,
            seen: 0,
            index,
            restarts: Vec::new(),
        })
    }

    /// The index of the last frame that the node has published.
    pub(crate) fn index(&self) -> u64 {
        self.index
    }

    /// The entries that the journal went on behind from another node's snapshot, found since the last call.
    pub(crate) fn take_restarts(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.restarts)
    }

    /// Compares what the node has published since the last call; gives the number of frames.
    ///
    /// # Errors
    /// It differs from the history.
    pub(crate) fn observe(&mut self, history: &mut History) -> Result<usize, Violation> {
        let commit = self.journal.commit();
        if commit <= self.seen {
            return match commit < self.seen {
                true => Err(format!("{}: the commit mark goes back", self.host)),
                false => Ok(0),
            };
        }
        if self.seen == 0 {
            // Until now the node may have given up more of its beginning.
            let reader = Reader::follow_on(&self.disk, &self.folder, Verify::Every);
            self.journal = reader.map_err(|error| format!("{}: {error}", self.host))?;
        }
        let (settled, mut index, mut restarted) = (self.index, self.index, false);
        // What was written below the mark, and not replaced below it.
        let mut standing: Vec<(u64, Committed)> = Vec::new();
        loop {
            let next = self.journal.next(Position::new(commit));
            let next = next.map_err(|error| format!("{}: {error}", self.host))?;
            let Some(frame) = next else { break };
            let header = frame.header;
            if header.kind == KIND_RESTART {
                standing.clear();
                restarted = true;
                self.restarts.push(header.index);
                index = header.index;
                continue;
            }
            if self.seen == 0 && standing.is_empty() && !restarted {
                // A journal may begin behind what was released.
                index = header.index - 1;
            }
            if header.index > index + 1 {
                return Err(format!(
                    "{}: index {} follows {index}",
                    self.host, header.index
                ));
            }
            if self.seen > 0 && header.index <= settled {
                return Err(format!(
                    "{}: index {} was committed up to {settled}, and is replaced",
                    self.host, header.index
                ));
            }
            standing.retain(|(known, _)| *known < header.index);
            standing.push((header.index, Committed::of(header, frame.payload)));
            index = header.index;
        }
        self.seen = commit;
        self.index = index;
        let count = standing.len();
        for (index, frame) in standing {
            self.compare(history, index, frame)?;
        }
        Ok(count)
    }

    fn compare(
        &self,
        history: &mut History,
        index: u64,
        frame: Committed,
    ) -> Result<(), Violation> {
        match history.frames.get(index as usize - 1) {
            Some(known) if *known == frame => Ok(()),
            Some(known) => Err(format!(
                "{}: index {index} is {} of term {} here, and was {} of term {} before",
                self.host,
                about(&frame),
                frame.term,
                about(known),
                known.term
            )),
            None if index == history.last() + 1 => {
                history.frames.push(frame);
                Ok(())
            }
            None => Err(format!(
                "{}: index {index} is committed before {} was",
                self.host,
                history.last() + 1
            )),
        }
    }
}

fn about(frame: &Committed) -> String {
    format!(
        "{} commands from {} (kind {})",
        frame.count, frame.first.0, frame.kind
    )
}
