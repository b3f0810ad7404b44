//! Where released segments go if they are kept: a folder of their own, from which anybody may take them.
//!
//! ```text
//! ARCHIVE/00000000000000000000.log       what the log has released
//! ARCHIVE/00000000000000000000.2.log     the same place again, of a log that was begun anew
//! ```
//! Called by the stager, which takes away what the appender has released.
//!
//! Always holds: nothing in an archive is written over; a segment is in the log or in the archive, never in
//! neither. Does not: copy; log and archive are on one file system.

use std::path::{Path, PathBuf};

use crate::disk::Disk;
use crate::error::{JournalError, Result};

/// How often a log may be begun anew that keeps one archive.
const LIVES_MAX: u32 = 10_000;

/// Moves a released segment into the archive.
pub(crate) fn keep(disk: &dyn Disk, archive: &Path, segment: &Path) -> Result<()> {
    let refused = |source| JournalError::Archive {
        segment: segment.to_path_buf(),
        archive: archive.to_path_buf(),
        source,
    };
    let Some(place) = free_place(disk, archive, segment) else {
        return Err(refused(std::io::ErrorKind::AlreadyExists.into()));
    };
    disk.rename(segment, &place).map_err(refused)
}

/// A name in the archive that nothing has yet.
fn free_place(disk: &dyn Disk, archive: &Path, segment: &Path) -> Option<PathBuf> {
    let stem = segment.file_stem()?.to_str()?;
    let name = |life: u32| match life {
        1 => archive.join(format!("{stem}.log")),
        life => archive.join(format!("{stem}.{life}.log")),
    };
    (1..=LIVES_MAX).map(name).find(|path| !disk.exists(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, LogId, Verify};
    use crate::disk::SystemDisk;
    use crate::frame::FrameMeta;
    use crate::journal::Journal;
    use crate::recovery::inspect;
    use crate::stage::TURNS_AFTER_REFUSAL;

    /// A log of 30 frames in segments of 64 KiB, all of it flushed.
    fn log(dir: &Path, archive: Option<&Path>) -> Journal {
        let mut config = Config::new(dir, LogId([4; 16])).with_segment_bytes(64 << 10);
        config.archive = archive.map(Path::to_path_buf);
        let mut journal = Journal::create(&config).unwrap();
        for index in 1..=30 {
            let meta = FrameMeta {
                index,
                term: 1,
                ..FrameMeta::default()
            };
            journal.appender.append(&meta, &[&[9; 20_000]]).unwrap();
        }
        journal.flusher.flush().unwrap();
        journal
    }

    fn names(folder: &Path) -> Vec<String> {
        let listed = SystemDisk.list(folder).unwrap().into_iter();
        let names = listed.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
        names.filter(|name| name.ends_with(".log")).collect()
    }

    #[test]
    fn what_is_released_is_whole_in_the_archive_and_with_the_log_one_log() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, archive) = (folder.path().join("log"), folder.path().join("archive"));
        std::fs::create_dir(&archive).unwrap();
        let mut journal = log(&dir, Some(&archive));
        let end = journal.appender.appended();
        let whole = inspect(&dir, Verify::Every).unwrap();
        let released = journal.appender.release_before(end);
        journal.stager.finish().unwrap();
        drop(journal);
        assert!(released >= 5);
        assert_eq!(names(&archive).len() as u64, released);
        assert!(inspect(&dir, Verify::Every).unwrap().first > whole.first);
        for name in names(&archive) {
            std::fs::rename(archive.join(&name), dir.join(&name)).unwrap();
        }
        let joined = inspect(&dir, Verify::Every).unwrap();
        assert_eq!(
            (joined.first, joined.frames, joined.chain),
            (whole.first, whole.frames, whole.chain)
        );
    }

    #[test]
    fn a_log_that_was_begun_anew_does_not_write_over_what_the_archive_has() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("archive");
        std::fs::create_dir(&archive).unwrap();
        for life in ["one", "two", "three"] {
            let mut journal = log(&folder.path().join(life), Some(&archive));
            let end = journal.appender.appended();
            journal.appender.release_before(end);
            journal.stager.finish().unwrap();
        }
        let stem = "00000000000000065536";
        for name in ["log", "2.log", "3.log"] {
            let name = format!("{stem}.{name}");
            assert!(names(&archive).contains(&name), "{name}");
        }
    }

    #[test]
    fn a_segment_that_cannot_be_moved_stays_in_the_log_and_is_moved_later() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, archive) = (folder.path().join("log"), folder.path().join("archive"));
        let mut journal = log(&dir, Some(&archive));
        let before = names(&dir);
        let end = journal.appender.appended();
        let released = journal.appender.release_before(end);
        // The next segment is staged first.
        let mut turns = (0..1_000).map(|_| journal.stager.do_work());
        let refusal = turns.find_map(Result::err).unwrap();
        assert!(matches!(refusal, JournalError::Archive { .. }), "{refusal}");
        assert_eq!(names(&dir), before);
        std::fs::create_dir(&archive).unwrap();
        for _ in 0..TURNS_AFTER_REFUSAL {
            assert_eq!(journal.stager.do_work().unwrap(), 0);
        }
        assert!(names(&archive).is_empty());
        journal.stager.finish().unwrap();
        assert_eq!(names(&archive).len() as u64, released);
    }
}
