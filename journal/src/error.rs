//! Everything that can go wrong around a journal, each with its place and its remedy.
//!
//! Returned by every call of this crate. All of it is the world's fault (disks, folders, other
//! processes) or a caller that breaks the order of indices; nothing here can be caused by what the
//! frames contain.
//!
//! Always holds: an error leaves the log as it was, except [`JournalError::Sync`], after which the
//! only right move is to stop the process and recover.

use std::io;
use std::path::{Path, PathBuf};

use crate::position::Position;

/// What went wrong with a journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The folder of the journal does not exist or holds no journal.
    #[error("no journal in {path}: create one there first, or name the right folder")]
    Missing {
        /// The folder looked at.
        path: PathBuf,
    },
    /// A journal is there already, so none is created.
    #[error("{path} holds a journal already: open it instead, or choose an empty folder")]
    Exists {
        /// The folder of the existing journal.
        path: PathBuf,
    },
    /// Another process, or another writer in this one, holds the journal.
    #[error("{path} is in use by another writer: stop it first, one journal has one writer")]
    Locked {
        /// The folder of the journal.
        path: PathBuf,
    },
    /// A file that no journal makes lies in the folder.
    #[error("{path} is no file of a journal: move it elsewhere, the folder belongs to the journal")]
    ForeignFile {
        /// The file found.
        path: PathBuf,
    },
    /// The journal has another identity than the one asked for.
    #[error("{path} belongs to log {found}, not to {wanted}: name the right folder or log id")]
    WrongLog {
        /// The file that says so.
        path: PathBuf,
        /// The identity found.
        found: String,
        /// The identity asked for.
        wanted: String,
    },
    /// A setting that is fixed at creation was asked to change.
    #[error("{path} was created with {what} {found}, not {wanted}: use that setting")]
    Fixed {
        /// The file that says so.
        path: PathBuf,
        /// The name of the setting.
        what: &'static str,
        /// The value in the file.
        found: u64,
        /// The value asked for.
        wanted: u64,
    },
    /// A setting out of its range.
    #[error("journal setting {what} is {value}: {rule}")]
    Setting {
        /// The name of the setting.
        what: &'static str,
        /// The value given.
        value: u64,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// No room on the disk; nothing is lost, and the call can be repeated once there is room.
    #[error("disk full at {path}: {need} more bytes are needed; free some space, then go on")]
    DiskFull {
        /// The file that could not grow.
        path: PathBuf,
        /// How many bytes it still needs.
        need: u64,
    },
    /// A flush failed; what the disk holds is unknown, so the node has to stop.
    #[error("flush of {path} failed ({source}): stop this node, check the disk, then recover")]
    Sync {
        /// The file being flushed.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// This machine does not offer io_uring.
    #[error("io_uring is not available here ({source}): choose the pwrite flush body instead")]
    UringUnavailable {
        /// What the system said.
        source: io::Error,
    },
    /// A frame that was flushed, or was whole before, is damaged.
    #[error(
        "{segment} is damaged at position {position} (after index {index}): {why}; \
         restore the file from a peer or a backup, nothing was changed"
    )]
    Corrupt {
        /// The damaged file.
        segment: PathBuf,
        /// Where the damaged frame starts.
        position: Position,
        /// The last good index before it, 0 if there is none.
        index: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A segment's file was cut, or has grown.
    #[error(
        "{segment} has {found} bytes instead of the segment's {expected}; restore the file from a peer \
         or a backup, nothing was changed"
    )]
    WrongSize {
        /// The file.
        segment: PathBuf,
        /// Its size in bytes.
        found: u64,
        /// The size that its header names.
        expected: u64,
    },
    /// A released segment cannot be moved into the archive.
    #[error(
        "{segment} cannot be moved into the archive {archive}: {source}; the archive has to be a folder that \
         can be written, on the same file system as the log. Until then the log keeps the segment"
    )]
    Archive {
        /// The segment.
        segment: PathBuf,
        /// The folder.
        archive: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A position asked for has been given up with its segment.
    #[error("position {position} was released, the log starts at {first}: start from a snapshot")]
    Released {
        /// The position asked for.
        position: Position,
        /// The first position still held.
        first: Position,
    },
    /// A position asked for lies beyond the end.
    #[error(
        "position {position} is beyond the end of the log at {end}: read at most up to the end"
    )]
    Beyond {
        /// The position asked for.
        position: Position,
        /// The end of the log.
        end: Position,
    },
    /// An index that would leave a hole.
    #[error("index {found} would leave a hole, the next is {expected}: append in order")]
    IndexGap {
        /// The highest index allowed.
        expected: u64,
        /// The index given.
        found: u64,
    },
    /// A frame that had been read as committed was superseded by a later one.
    #[error(
        "index {index} was read as committed, and the frame at position {position} supersedes it: what \
         followed the log is no longer true; start it again, from a snapshot of the log as it is now"
    )]
    Superseded {
        /// The index that was read before.
        index: u64,
        /// Where the frame stands that steps back.
        position: Position,
    },
    /// A frame larger than the journal was set up for.
    #[error("a frame of {bytes} bytes exceeds {max}: split the batch")]
    FrameTooLarge {
        /// Size of the frame with its header.
        bytes: u64,
        /// The largest frame allowed.
        max: u64,
    },
    /// A kind that the journal keeps for itself.
    #[error("frame kind {kind} is reserved by the journal: use a kind below {first_reserved}")]
    ReservedKind {
        /// The kind given.
        kind: u8,
        /// The first reserved kind.
        first_reserved: u8,
    },
    /// Any other refusal of the operating system.
    #[error("cannot {action} {path}: {source}; check that the folder exists and is writable")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, JournalError>;

/// Makes the closure for `map_err` that names the action and the file.
pub(crate) fn io_at<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> JournalError + 'a {
    move |source| JournalError::Io {
        action,
        path: path.to_path_buf(),
        source,
    }
}

/// The same for writes that may find the disk full with `need` bytes still to go.
pub(crate) fn write_at<'a>(
    action: &'static str,
    path: &'a Path,
    need: u64,
) -> impl FnOnce(io::Error) -> JournalError + 'a {
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => JournalError::DiskFull {
            path: path.to_path_buf(),
            need,
        },
        _ => JournalError::Io {
            action,
            path: path.to_path_buf(),
            source,
        },
    }
}
