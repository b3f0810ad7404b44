//! A file that has its name only once all of it is on disk.
//!
//! Used for snapshots and for views: written piece by piece to a draft, flushed, then named.
//!
//! Always holds: a name is never that of a part of a file; what a crash leaves is a draft, which the next start
//! removes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(feature = "defects")]
use exahour_journal::defects::{self, Defect};
use exahour_journal::disk::{Disk, DiskFile, Mode, Open};

use crate::error::NodeError;

const ENDING: &str = "draft";

/// Bytes written and flushed in one step: small, because the journal flushes to the same disk.
const BYTES_A_STEP: usize = 256 << 10;

/// A file that is being written, step by step: a header, and what follows it.
pub(crate) struct Draft<P> {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    named: PathBuf,
    file: Box<dyn DiskFile>,
    header: Vec<u8>,
    payload: P,
    /// Bytes of both that are on disk.
    written: usize,
}

impl<P: AsRef<[u8]>> Draft<P> {
    /// Begins to write what `named` is to hold.
    ///
    /// # Errors
    /// [`NodeError::Io`].
    pub(crate) fn begin(
        disk: &Arc<dyn Disk>,
        named: PathBuf,
        (header, payload): (Vec<u8>, P),
    ) -> Result<Self, NodeError> {
        let path = named.with_extension(ENDING);
        let file = disk
            .open(&path, Open::Emptied(Mode::FILE))
            .map_err(NodeError::io(&path, "create"))?;
        Ok(Self {
            disk: Arc::clone(disk),
            path,
            named,
            file,
            header,
            payload,
            written: 0,
        })
    }

    /// Whether every piece is written.
    pub(crate) fn whole(&self) -> bool {
        self.written == self.header.len() + self.payload.as_ref().len()
    }

    /// Writes and flushes one piece.
    ///
    /// # Errors
    /// [`NodeError::Io`].
    pub(crate) fn step(&mut self) -> Result<(), NodeError> {
        let io = |action| NodeError::io(&self.path, action);
        if self.written == 0 {
            self.file
                .write_all_at(&self.header, 0)
                .map_err(io("write"))?;
            self.written = self.header.len();
        }
        let payload = self.payload.as_ref();
        let from = self.written - self.header.len();
        let piece = &payload[from..payload.len().min(from + BYTES_A_STEP)];
        self.file
            .write_all_at(piece, self.written as u64)
            .map_err(io("write"))?;
        self.file.sync_data().map_err(io("flush"))?;
        self.written += piece.len();
        Ok(())
    }

    /// Gives a draft that is whole its name; where the file is.
    ///
    /// # Errors
    /// [`NodeError::Io`].
    pub(crate) fn name(&self) -> Result<PathBuf, NodeError> {
        assert!(self.whole());
        let io = |action| NodeError::io(&self.path, action);
        self.file.sync_all().map_err(io("flush"))?;
        self.disk
            .rename(&self.path, &self.named)
            .map_err(io("name"))?;
        let folder = self.named.parent().unwrap_or(Path::new("."));
        #[cfg(feature = "defects")]
        if defects::armed(Defect::SkippedSnapshotSync) {
            return Ok(self.named.clone());
        }
        self.disk
            .sync_folder(folder)
            .map_err(NodeError::io(folder, "flush"))?;
        Ok(self.named.clone())
    }

    /// Gives up, and the room back.
    pub(crate) fn discard(self) {
        // Where it cannot be removed, the next start does it.
        let _ = self.disk.remove(&self.path);
    }
}

/// Removes drafts that nobody writes any more.
///
/// # Errors
/// [`NodeError::Io`].
pub(crate) fn remove_left(disk: &dyn Disk, folder: &Path) -> Result<(), NodeError> {
    for path in entries(disk, folder, ENDING)? {
        disk.remove(&path).map_err(NodeError::io(&path, "remove"))?;
    }
    Ok(())
}

/// The files of a folder with this ending, by their names; none where there is no folder.
///
/// # Errors
/// [`NodeError::Io`].
pub(crate) fn entries(
    disk: &dyn Disk,
    folder: &Path,
    ending: &str,
) -> Result<Vec<PathBuf>, NodeError> {
    let mut paths = match disk.list(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        paths => paths.map_err(NodeError::io(folder, "list"))?,
    };
    paths.retain(|path| path.extension().is_some_and(|found| found == ending));
    paths.sort_unstable();
    Ok(paths)
}
