//! The folder of a log: who may write in it, and which files lie there.
//!
//! Used when a log is created, opened or inspected.
//!
//! Always holds: one writer at a time, by a lock on the `lock` file that the system gives back when
//! the process ends in any way; a file that no journal makes is refused, never touched.

use std::io;
use std::path::{Path, PathBuf};

use crate::control::CONTROL_NAME;
use crate::disk::{Disk, DiskLock};
use crate::error::{JournalError, Result, io_at};
use crate::position::Position;
use crate::set_aside::{PREFIX, RESTARTED, UNTOLD};

const LOCK_NAME: &str = "lock";
/// A file system's own folder where the log has a whole one for itself.
const TOLERATED: &str = "lost+found";

/// The lock on a log's folder, held while its writer lives.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    _held: Box<dyn DiskLock>,
}

impl DirectoryLock {
    /// Takes the lock or says who is in the way.
    pub(crate) fn take(disk: &dyn Disk, dir: &Path) -> Result<Self> {
        let path = dir.join(LOCK_NAME);
        match disk.lock(&path).map_err(io_at("lock", &path))? {
            Some(held) => Ok(DirectoryLock { _held: held }),
            None => Err(JournalError::Locked {
                path: dir.to_path_buf(),
            }),
        }
    }
}

/// The files of a log, as far as their names tell.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// First positions of the live segments, ascending.
    pub(crate) live: Vec<Position>,
    /// Zeroed segments that wait for use.
    pub(crate) staged: Vec<PathBuf>,
    /// Segments whose zeroing was interrupted.
    pub(crate) staging: Vec<PathBuf>,
    /// Folders of copies whose owner does not know of the damage.
    pub(crate) untold: Vec<PathBuf>,
    /// Whether the machine has restarted and the owner may not know.
    pub(crate) restarted: bool,
    /// Whether there is a control file.
    pub(crate) control: bool,
}

impl Listing {
    /// Whether no log was ever completed here.
    pub(crate) fn vacant(&self) -> bool {
        self.live.is_empty() && !self.control
    }
}

/// Lists the folder of a log, refusing foreign files.
pub(crate) fn list(disk: &dyn Disk, dir: &Path) -> Result<Listing> {
    let paths = disk.list(dir).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => JournalError::Missing {
            path: dir.to_path_buf(),
        },
        _ => io_at("list", dir)(source),
    })?;
    let mut listing = Listing::default();
    for path in paths {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        match (name, position_in(name)) {
            (CONTROL_NAME, _) => listing.control = true,
            (RESTARTED, _) => listing.restarted = true,
            (LOCK_NAME | TOLERATED, _) => {}
            _ if name.starts_with(PREFIX) => {
                if path.extension().is_some_and(|end| end == UNTOLD) {
                    listing.untold.push(path);
                }
            }
            (_, Some((position, "log"))) => listing.live.push(position),
            (_, Some((_, "staged"))) => listing.staged.push(path),
            (_, Some((_, "staging"))) => listing.staging.push(path),
            _ => return Err(JournalError::ForeignFile { path }),
        }
    }
    listing.live.sort_unstable();
    Ok(listing)
}

/// Reads `NNNNNNNNNNNNNNNNNNNN.suffix`.
fn position_in(name: &str) -> Option<(Position, &str)> {
    let (digits, suffix) = name.split_once('.')?;
    let plain = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let address = plain.then(|| digits.parse().ok())??;
    Some((Position::new(address), suffix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SystemDisk;

    #[test]
    fn names_are_read_strictly() {
        assert_eq!(
            position_in("00000000000000065536.log"),
            Some((Position::new(65_536), "log"))
        );
        for name in [
            "65536.log",
            "0000000000000006553x.log",
            "99999999999999999999.log",
            "x",
            "",
        ] {
            assert_eq!(position_in(name), None, "{name}");
        }
    }

    #[test]
    fn a_foreign_file_is_named_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes.txt");
        std::fs::write(&path, "mine").unwrap();
        let refusal = list(&SystemDisk, dir.path()).unwrap_err().to_string();
        assert!(
            refusal.contains("notes.txt") && refusal.contains("move it"),
            "{refusal}"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }
}
