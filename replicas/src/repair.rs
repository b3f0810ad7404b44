//! What a node keeps, looked through and mended while no node runs on it.
//!
//! Called by `exahour repair`, which looks at the logs itself.
//!
//! Always holds: a folder is mended as a start mends it, by the same code; nothing is removed: what is cut, or
//! cannot be used, is kept beside what can.

use std::path::{Path, PathBuf};

use exahour_journal::disk::{Disk, system_disk};
use exahour_rings::watermark;

use crate::config::NodeConfig;
use crate::data_folder::sync_folder_of;
use crate::error::NodeError;
use crate::hard_state::HardStateFile;
use crate::on_disk::{OnDisk, PROMISES};
use crate::snapshots::{self, FOLDER};
use crate::views;
use crate::world::World;

/// What the name of a file that cannot be read is given for an ending.
const DAMAGED: &str = "damaged";

/// The snapshots of a data folder, or its views.
#[derive(Clone, Debug)]
pub struct FilesFound {
    /// How many are whole.
    pub whole: usize,
    /// The others, and what is wrong with each.
    pub damaged: Vec<(PathBuf, String)>,
}

/// How many of the two copies of a node's promises are whole; none where there is no such file.
///
/// # Errors
/// [`NodeError::Io`].
pub fn whole_promises(data: &Path) -> Result<Option<usize>, NodeError> {
    let (disk, path) = (system_disk(), data.join(PROMISES));
    if !disk.exists(&path) {
        return Ok(None);
    }
    HardStateFile::whole_copies(disk.as_ref(), &path).map(Some)
}

/// Reads every snapshot; those that only another version of this program can read count as whole.
///
/// # Errors
/// [`NodeError::Io`] where the folder cannot be listed.
pub fn find_snapshots(data: &Path) -> Result<FilesFound, NodeError> {
    let (whole, damaged) = snapshots::examine(system_disk().as_ref(), &data.join(FOLDER))?;
    Ok(FilesFound { whole, damaged })
}

/// Reads all views of the event log.
///
/// # Errors
/// [`NodeError::Io`] where the folder cannot be listed.
pub fn find_views(data: &Path) -> Result<FilesFound, NodeError> {
    let (whole, damaged) = views::examine(system_disk().as_ref(), &data.join(views::FOLDER))?;
    Ok(FilesFound { whole, damaged })
}

/// Mends what a node keeps as far as a start does, and starts nothing.
///
/// # Errors
/// [`NodeError`]: what cannot be mended, with what is to be done; nothing on disk is lost then.
pub fn repair(config: &NodeConfig) -> Result<(), NodeError> {
    let world = World::system();
    let disk = world.disk.as_ref();
    if disk.exists(&config.data) {
        // Nothing is believed, and everything read.
        views::set_unchecked(disk, &views::open_folder(disk, &config.data)?, true)?;
    }
    let (_, wanted) = watermark();
    OnDisk::open(config, &world, wanted)?;
    set_aside(disk, find_snapshots(&config.data)?)?;
    set_aside(disk, find_views(&config.data)?)
}

/// Gives files that cannot be read another name.
fn set_aside(disk: &dyn Disk, found: FilesFound) -> Result<(), NodeError> {
    for (path, _) in found.damaged {
        let mut name = path.clone().into_os_string();
        name.push(format!(".{DAMAGED}"));
        disk.rename(&path, Path::new(&name))
            .map_err(NodeError::io(&path, "rename"))?;
        sync_folder_of(disk, &path)?;
    }
    Ok(())
}
