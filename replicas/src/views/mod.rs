//! Views on disk: a start reads only what came after them of the event log, and every port is served soon.
//!
//! ```text
//! DATA/views/00000000000000123456.views     the last event that they know
//! DATA/views/unchecked                      a start believed events that nobody has checked since
//! ```
//! `file` is one of them, `keeper` makes them beside the node that trades, `check` reads what a start believed.
//!
//! Always holds: views are used only where the event log has the very frame that they end with; once a part of the
//! log was cut for damage, or another log took its place, there are none of before; those that cannot be used are
//! removed, and the start reads more. A start that follows one whose belief was never checked believes nothing.

mod check;
mod file;
mod keeper;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use exahour_gateway::views::{Room, Views};
use exahour_journal::disk::{Disk, Mode, Open};
use exahour_journal::{Position, Reader, Verify};

use crate::data_folder::make_own_folder;
use crate::draft;
use crate::error::NodeError;
pub(crate) use check::Check;
pub(crate) use file::ViewsPlace;
pub(crate) use keeper::{ViewKeeper, ViewSettings};

/// The folder of views in a data folder.
pub(crate) const FOLDER: &str = "views";

/// Says that a start believed a part of the event log, until that part was checked.
const UNCHECKED: &str = "unchecked";

/// Views that a start begins with.
pub(crate) struct Begun {
    pub(crate) views: Views,
    pub(crate) place: ViewsPlace,
}

/// What a start looks for.
pub(crate) struct Wanted<'a> {
    pub(crate) disk: &'a Arc<dyn Disk>,
    /// The folder of views.
    pub(crate) folder: &'a Path,
    /// The folder of the event log, which nobody writes yet.
    pub(crate) events: &'a Path,
    pub(crate) log_id: [u8; 16],
    pub(crate) room: Room,
    /// Bytes of the event log that ports read again at least, where there are views from before.
    pub(crate) back: u64,
    pub(crate) notice: fn(&str),
}

impl Wanted<'_> {
    /// The views to begin with: the newest that leave so much to be read, or else the oldest. Those that cannot
    /// be read are removed.
    ///
    /// # Errors
    /// [`NodeError::Io`].
    pub(crate) fn find(&self) -> Result<Option<Begun>, NodeError> {
        let disk = self.disk.as_ref();
        // How far the log came, as its marks say; where it is not there, nothing stands on it.
        let end = Reader::follow_on(self.disk, self.events, Verify::Trust);
        let end = end.map_or(Position::ZERO, |reader| reader.appended());
        loop {
            let mut paths = file::list(disk, self.folder)?;
            paths.reverse();
            let far_back = |path: &&PathBuf| {
                let place = file::place_of(disk, path);
                place.is_ok_and(|it| it.end.value().saturating_add(self.back) <= end.value())
            };
            let Some(path) = paths.iter().find(far_back).or(paths.last()) else {
                return Ok(None);
            };
            match file::read(disk, path, self.log_id, self.room) {
                Ok((views, place)) => return Ok(Some(Begun { views, place })),
                Err(reason) => {
                    (self.notice)(&not_used(path, &reason));
                    disk.remove(path).map_err(NodeError::io(path, "remove"))?;
                }
            }
        }
    }
}

fn not_used(path: &Path, reason: &str) -> String {
    format!("views {} are not used: {reason}", path.display())
}

/// Reads the files in a folder: how many are whole, and what is wrong with each other one.
///
/// # Errors
/// [`NodeError::Io`] where the folder cannot be listed.
pub(crate) fn examine(
    disk: &dyn Disk,
    folder: &Path,
) -> Result<(usize, Vec<(PathBuf, String)>), NodeError> {
    let paths = file::list(disk, folder)?;
    let fault = |path: &PathBuf| {
        let fault = file::fault(disk, path)?;
        // A node that runs removes old ones.
        disk.exists(path).then(|| (path.clone(), fault))
    };
    let damaged: Vec<(PathBuf, String)> = paths.iter().filter_map(fault).collect();
    Ok((paths.len() - damaged.len(), damaged))
}

/// The folder of views, made where there is none, without drafts that a crash left.
pub(crate) fn open_folder(disk: &dyn Disk, data: &Path) -> Result<PathBuf, NodeError> {
    let folder = data.join(FOLDER);
    make_own_folder(disk, &folder)?;
    draft::remove_left(disk, &folder)?;
    Ok(folder)
}

/// Removes all views, durably: what they stand on is another log from now on.
pub(crate) fn remove_all(disk: &dyn Disk, folder: &Path) -> Result<(), NodeError> {
    let paths = file::list(disk, folder)?;
    for path in &paths {
        disk.remove(path).map_err(NodeError::io(path, "remove"))?;
    }
    match paths.is_empty() {
        true => Ok(()),
        false => disk
            .sync_folder(folder)
            .map_err(NodeError::io(folder, "flush")),
    }
}

/// Whether an earlier start believed events that nobody has checked since.
pub(crate) fn unchecked(disk: &dyn Disk, folder: &Path) -> bool {
    disk.exists(&folder.join(UNCHECKED))
}

/// Says, or takes back, that a start believed events which nobody has checked. It need not outlive the machine:
/// what is forgotten costs whoever meets the damage one more start.
pub(crate) fn set_unchecked(
    disk: &dyn Disk,
    folder: &Path,
    unchecked: bool,
) -> Result<(), NodeError> {
    let path = folder.join(UNCHECKED);
    match (unchecked, disk.exists(&path)) {
        (true, false) => {
            let created = disk.open(&path, Open::Emptied(Mode::OWNER_FILE));
            created.map(drop).map_err(NodeError::io(&path, "create"))
        }
        (false, true) => disk.remove(&path).map_err(NodeError::io(&path, "remove")),
        _ => Ok(()),
    }
}
