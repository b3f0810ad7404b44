//! Snapshots on disk: a start replays only what came after the newest one.
//!
//! ```text
//! DATA/snapshots/00000000000000123456.snapshot     the raft index of the last frame it covers
//! ```
//! `file` is one of them, `agent` takes them beside the node that trades, `standing` is what it tells the
//! journal's owner of them.
//!
//! Always holds: a snapshot stands for a place in one journal and is used only where that journal has
//! that very frame; one that cannot be used is passed over, and the start replays more. One whose rules this
//! program does not know ends the start.

mod agent;
mod file;
mod standing;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use exahour_engine::{Capacity, Engine, SnapshotError, UnknownBehaviour};
use exahour_journal::disk::Disk;
use exahour_journal::{FrameRef, Reader};
use exahour_wire::message::Digest;

use crate::data_folder::make_own_folder;
use crate::draft;
use crate::error::NodeError;

pub(crate) use agent::{EventsBefore, SNAPSHOTS, SnapshotAgent, SnapshotSettings};
use file::SnapshotDraft;
pub(crate) use file::{Place, SnapshotFile};
pub(crate) use standing::{Standing, standings};

/// The folder of snapshots in a data folder.
pub(crate) const FOLDER: &str = "snapshots";

/// A snapshot that a node starts from.
pub(crate) struct Start {
    /// What it stands for.
    pub(crate) place: Place,
    /// The state behind it.
    pub(crate) engine: Engine,
}

/// What was found in the folder of snapshots.
#[derive(Default)]
pub(crate) struct Found {
    /// The newest that can be used.
    pub(crate) start: Option<Start>,
    /// Those that are newer and cannot, each in a sentence.
    pub(crate) passed_over: Vec<String>,
}

/// Where the snapshots of a data folder stand.
#[derive(Default)]
pub(crate) struct Places {
    /// The raft index each stands behind and what its state hashes to, oldest first.
    pub(crate) standing: VecDeque<(u64, Digest)>,
    /// Files that are no snapshots of this journal, each in a sentence.
    pub(crate) passed_over: Vec<String>,
}

/// Looks where the snapshots in `folder` stand on this journal.
pub(crate) fn places(
    disk: &dyn Disk,
    folder: &Path,
    journal: &Reader,
) -> Result<Places, NodeError> {
    let mut places = Places::default();
    for path in file::list(disk, folder)? {
        let read = SnapshotFile::read(disk, &path).and_then(|snapshot| {
            snapshot.stands_on(journal)?;
            Ok((snapshot.place.index, snapshot.state_hash))
        });
        match read {
            Ok(place) => places.standing.push_back(place),
            Err(reason) => places.passed_over.push(not_used(&path, &reason)),
        }
    }
    Ok(places)
}

fn not_used(path: &Path, reason: &str) -> String {
    format!("snapshot {} is not used: {reason}", path.display())
}

/// The newest snapshot that stands on this journal and of whose events none beyond `events_max` came
/// before it: what the event log has lost only a replay from further back can write again.
pub(crate) fn newest(
    (disk, folder): (&dyn Disk, &Path),
    journal: &Reader,
    events_max: u64,
    capacity: &Capacity,
) -> Result<Found, NodeError> {
    let mut found = Found::default();
    for path in file::list(disk, folder)?.into_iter().rev() {
        match load((disk, &path), journal, events_max, capacity) {
            Ok(start) => {
                found.start = Some(start);
                break;
            }
            Err(Unusable::PassedOver(reason)) => found.passed_over.push(not_used(&path, &reason)),
            // The journal leads to the same rules, from further back.
            Err(Unusable::Beyond(unknown)) => return Err(unknown.into()),
        }
    }
    Ok(found)
}

/// The file of the newest snapshot, and where it says that it stands, if there is one.
///
/// # Errors
/// [`NodeError`] where the folder cannot be listed.
pub(crate) fn newest_file(
    disk: &dyn Disk,
    folder: &Path,
) -> Result<Option<(PathBuf, Place)>, NodeError> {
    let paths = file::list(disk, folder)?.into_iter().rev();
    let mut whole = paths.filter_map(|path| {
        let place = SnapshotFile::place_of(disk, &path).ok()?;
        Some((path, place))
    });
    Ok(whole.next())
}

/// Whether a snapshot stands on this journal that lacks nothing but events beyond `events_max`.
///
/// # Errors
/// [`NodeError`] where the folder cannot be listed.
pub(crate) fn any_short_of_events(
    (disk, folder): (&dyn Disk, &Path),
    journal: &Reader,
    events_max: u64,
) -> Result<bool, NodeError> {
    let mut paths = file::list(disk, folder)?.into_iter();
    Ok(paths.any(|path| {
        let place = SnapshotFile::standing_of((disk, &path), journal);
        place.is_ok_and(|place| place.events > events_max)
    }))
}

/// Reads the files in a folder: how many are whole, and what is wrong with each other one. Those that only another
/// version of this program can read count as whole.
///
/// # Errors
/// [`NodeError::Io`] where the folder cannot be listed.
pub(crate) fn examine(
    disk: &dyn Disk,
    folder: &Path,
) -> Result<(usize, Vec<(PathBuf, String)>), NodeError> {
    let paths = file::list(disk, folder)?;
    let fault = |path: &PathBuf| {
        let fault = SnapshotFile::read(disk, path).err()?;
        // A node that runs removes old ones.
        let there = disk.exists(path) && !SnapshotFile::of_another_format(disk, path);
        there.then(|| (path.clone(), fault))
    };
    let damaged: Vec<(PathBuf, String)> = paths.iter().filter_map(fault).collect();
    Ok((paths.len() - damaged.len(), damaged))
}

/// Whether there is a snapshot that only another version of this program can read.
///
/// # Errors
/// [`NodeError`] where the folder cannot be listed.
pub(crate) fn any_of_another_format(disk: &dyn Disk, folder: &Path) -> Result<bool, NodeError> {
    let mut paths = file::list(disk, folder)?.into_iter();
    Ok(paths.any(|path| SnapshotFile::of_another_format(disk, &path)))
}

/// Reads and verifies a snapshot's file; where it stands in the journal of whoever wrote it.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn check_file(disk: &dyn Disk, path: &Path) -> Result<Place, String> {
    SnapshotFile::read(disk, path).map(|snapshot| snapshot.place)
}

/// Writes another node's snapshot into the folder, for the restart mark that stands for it in this journal.
///
/// # Errors
/// [`NodeError`].
pub(crate) fn adopt(
    (disk, folder): (&Arc<dyn Disk>, &Path),
    snapshot: SnapshotFile,
    mark: &FrameRef,
) -> Result<Place, NodeError> {
    let place = Place {
        frame: mark.frame().position,
        chain: mark.header().chain,
        ..snapshot.place
    };
    let mut draft = SnapshotDraft::adopt((disk, folder), &place, snapshot)?;
    while !draft.whole() {
        draft.step()?;
    }
    draft.name()?;
    Ok(place)
}

/// Why a snapshot cannot be started from.
enum Unusable {
    /// Another one may do, or the journal alone.
    PassedOver(String),
    /// Nothing that stands on this journal will do.
    Beyond(UnknownBehaviour),
}

impl From<String> for Unusable {
    fn from(reason: String) -> Self {
        Self::PassedOver(reason)
    }
}

fn load(
    (disk, path): (&dyn Disk, &Path),
    journal: &Reader,
    events_max: u64,
    capacity: &Capacity,
) -> Result<Start, Unusable> {
    let snapshot = SnapshotFile::read(disk, path)?;
    snapshot.stands_on(journal)?;
    if snapshot.place.events > events_max {
        let ends = format!(
            "the event log ends at event {events_max}, before event {}",
            snapshot.place.events
        );
        return Err(ends.into());
    }
    let engine = snapshot.restore(capacity).map_err(|error| match error {
        SnapshotError::UnknownBehaviour(unknown) => Unusable::Beyond(unknown),
        error => Unusable::PassedOver(error.to_string()),
    })?;
    Ok(Start {
        place: snapshot.place,
        engine,
    })
}

/// The snapshot behind a frame, and its state; none, and why in a sentence, where it cannot be used.
///
/// # Errors
/// [`NodeError::UnknownBehaviour`].
pub(crate) fn state_behind(
    (disk, folder): (&dyn Disk, &Path),
    journal: &Reader,
    index: u64,
    passed_over: &mut Vec<String>,
) -> Result<Option<Start>, NodeError> {
    let path = file::path_of(folder, index);
    match load((disk, &path), journal, u64::MAX, &Capacity::default()) {
        Ok(start) => Ok(Some(start)),
        Err(Unusable::Beyond(unknown)) => Err(unknown.into()),
        Err(Unusable::PassedOver(reason)) => {
            passed_over.push(not_used(&path, &reason));
            Ok(None)
        }
    }
}

/// Removes all but `written` and the newest before it, `keep` together. What stands behind the one that
/// was written just now is not of this journal: it was restored from a time before.
fn prune(disk: &dyn Disk, folder: &Path, keep: usize, written: &Path) -> Result<(), NodeError> {
    let paths = file::list(disk, folder)?;
    let place = paths.iter().position(|path| path == written);
    let end = place.map_or(paths.len(), |place| place + 1);
    let kept = end.saturating_sub(keep.max(1))..end;
    for (place, path) in paths.iter().enumerate() {
        if kept.contains(&place) {
            continue;
        }
        match disk.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(NodeError::io(path, "remove")(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The folder of snapshots, made where there is none, without drafts that a crash left.
pub(crate) fn open_folder(disk: &dyn Disk, data: &Path) -> Result<PathBuf, NodeError> {
    let folder = data.join(FOLDER);
    make_own_folder(disk, &folder)?;
    draft::remove_left(disk, &folder)?;
    Ok(folder)
}
