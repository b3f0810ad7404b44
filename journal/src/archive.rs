//! Where released segments go if they are kept: a folder of their own, from which anybody may take them.
//!
//! ```text
//! ARCHIVE/00000000000000000000.5f0c2ab9d1e47703.log       where it begins, and the log's running hash behind it
//! ARCHIVE/00000000000000000000.9a31bb02c4f6e8d5.log       the same place, of a log that was begun anew
//! ```
//! Called by the stager, which takes away what the appender has released, and by tools that read both as one.
//!
//! Always holds: a name means one content, for ever, so nothing in an archive is written over and files that are
//! taken away and brought back never stand for each other; a segment is in the log or in the archive, never in
//! neither. Does not: copy; log and archive are on one file system.

use std::path::{Path, PathBuf};

use crate::disk::{Disk, Mode, Open, SystemDisk};
use crate::error::{JournalError, Result, io_at};
use crate::frame::ChainValue;
use crate::position::Position;
use crate::segment::SegmentHeader;

/// How many times the same segment may be released: a log that is set aside is had again from others, byte by byte.
const COPIES_MAX: u32 = 10_000;

/// Bytes of the running hash in a name.
const NAMED_BYTES: usize = 8;

/// What the name of a segment ends with.
const ENDING: &str = "log";

/// The file that is moved to and fro to see whether an archive can be used; in a log it looks like a segment whose
/// staging was interrupted, which every opening removes.
const PROBE: &str = "00000000000000000000.staging";

/// Moves a released segment into the archive, under a name that follows from the segment that comes after it.
pub(crate) fn keep(disk: &dyn Disk, archive: &Path, segment: &Path, next: &Path) -> Result<()> {
    let refused = |source| JournalError::Archive {
        segment: segment.to_path_buf(),
        archive: archive.to_path_buf(),
        source,
    };
    let Some(header) = SegmentHeader::read(disk, next) else {
        return Err(refused(std::io::ErrorKind::InvalidData.into()));
    };
    let Some(place) = free_place(disk, archive, segment, header.previous_chain()) else {
        return Err(refused(std::io::ErrorKind::AlreadyExists.into()));
    };
    disk.rename(segment, &place).map_err(refused)
}

/// A name in the archive that nothing has yet.
fn free_place(
    disk: &dyn Disk,
    archive: &Path,
    segment: &Path,
    chain: ChainValue,
) -> Option<PathBuf> {
    let (stem, chain) = (segment.file_stem()?.to_str()?, named(chain));
    let name = |copy: u32| match copy {
        1 => archive.join(format!("{stem}.{chain}.{ENDING}")),
        copy => archive.join(format!("{stem}.{chain}.{copy}.{ENDING}")),
    };
    (1..=COPIES_MAX).map(name).find(|path| !disk.exists(path))
}

/// A running hash as names have it.
fn named(chain: ChainValue) -> String {
    let bytes = chain.0.iter().take(NAMED_BYTES);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// Refuses an archive that a segment of the log in `dir` could not be moved to.
pub(crate) fn probe(disk: &dyn Disk, dir: &Path, archive: &Path) -> Result<()> {
    let (here, there) = (dir.join(PROBE), archive.join(PROBE));
    disk.open(&here, Open::Emptied(Mode::OWNER_FILE))
        .map_err(io_at("create", &here))?;
    let moved = disk.rename(&here, &there).and_then(|()| {
        disk.remove(&there)?;
        disk.sync_folder(archive)
    });
    moved.map_err(|source| {
        // Where it cannot be removed, the next opening does it.
        let _ = disk.remove(&here);
        JournalError::Archive {
            segment: here.clone(),
            archive: archive.to_path_buf(),
            source,
        }
    })
}

/// What an archive holds of the log whose first segment is `first`: the segments that lead to it without a gap, the
/// oldest first, each with where it begins.
///
/// # Errors
/// [`JournalError::Io`] where the archive cannot be listed, or the segment not read.
pub fn leading_to(archive: &Path, first: &Path) -> Result<Vec<(Position, PathBuf)>> {
    let disk = SystemDisk;
    let kept = disk.list(archive).map_err(io_at("list", archive))?;
    let header = SegmentHeader::read(&disk, first);
    let mut header = header.ok_or_else(|| {
        let damaged = std::io::ErrorKind::InvalidData;
        io_at("read the header of", first)(damaged.into())
    })?;
    let mut found = Vec::new();
    while let Some(start) = before(&header) {
        let wanted = format!("{:020}.{}", start.value(), named(header.previous_chain()));
        let path = kept.iter().find(|path| is_copy_of(path, &wanted));
        // One whose header is damaged is taken: whoever reads it says what is wrong with it.
        let Some(path) = path else { break };
        found.push((start, path.clone()));
        match SegmentHeader::read(&disk, path) {
            Some(before) if before.first_position() == start => header = before,
            _ => break,
        }
    }
    found.reverse();
    Ok(found)
}

/// Where the segment before one begins, if it is not the first.
fn before(header: &SegmentHeader) -> Option<Position> {
    let bytes = header.shape().geometry.segment_bytes;
    let start = header.first_position().value().checked_sub(bytes)?;
    (bytes > 0).then_some(Position::new(start))
}

/// Whether a file is the segment of this place and content, or another copy of it.
fn is_copy_of(path: &Path, wanted: &str) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let rest = name.and_then(|name| {
        name.strip_prefix(wanted)?
            .strip_suffix(ENDING)?
            .strip_prefix('.')
    });
    rest.is_some_and(|copy| copy.is_empty() || copy.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, LogId, Verify};
    use crate::frame::FrameMeta;
    use crate::journal::Journal;
    use crate::recovery::inspect;
    use crate::stage::TURNS_AFTER_REFUSAL;

    fn config(dir: &Path, archive: &Path) -> Config {
        let mut config = Config::new(dir, LogId([4; 16])).with_segment_bytes(64 << 10);
        config.archive = Some(archive.to_path_buf());
        config
    }

    /// A log of 30 frames of this byte in segments of 64 KiB, all of it flushed.
    fn log(dir: &Path, archive: &Path, byte: u8) -> Journal {
        let mut journal = Journal::create(&config(dir, archive)).unwrap();
        for index in 1..=30 {
            let meta = FrameMeta {
                index,
                term: 1,
                ..FrameMeta::default()
            };
            journal.appender.append(&meta, &[&[byte; 20_000]]).unwrap();
        }
        journal.flusher.flush().unwrap();
        journal
    }

    fn release(journal: &mut Journal) -> u64 {
        let end = journal.appender.appended();
        let released = journal.appender.release_before(end);
        journal.stager.finish().unwrap();
        released
    }

    fn names(folder: &Path) -> Vec<String> {
        let listed = SystemDisk.list(folder).unwrap().into_iter();
        let names = listed.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
        names.filter(|name| name.ends_with(".log")).collect()
    }

    fn first_of(dir: &Path) -> PathBuf {
        dir.join(&names(dir)[0])
    }

    #[test]
    fn what_is_released_is_whole_in_the_archive_and_with_the_log_one_log() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, archive) = (folder.path().join("log"), folder.path().join("archive"));
        std::fs::create_dir(&archive).unwrap();
        let mut journal = log(&dir, &archive, 9);
        let whole = inspect(&dir, Verify::Every).unwrap();
        let released = release(&mut journal);
        drop(journal);
        assert!(released >= 5);
        assert_eq!(names(&archive).len() as u64, released);
        assert!(inspect(&dir, Verify::Every).unwrap().first > whole.first);
        let leading = leading_to(&archive, &first_of(&dir)).unwrap();
        assert_eq!(leading.len() as u64, released);
        for (start, path) in leading {
            std::fs::rename(path, dir.join(format!("{:020}.log", start.value()))).unwrap();
        }
        let joined = inspect(&dir, Verify::Every).unwrap();
        assert_eq!(
            (joined.first, joined.frames, joined.chain),
            (whole.first, whole.frames, whole.chain)
        );
    }

    /// Whatever is taken away and comes back: every log is joined with what it has released, and with nothing else.
    #[test]
    fn logs_that_were_begun_anew_share_an_archive_and_each_finds_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("archive");
        let away = folder.path().join("away");
        std::fs::create_dir(&archive).unwrap();
        std::fs::create_dir(&away).unwrap();
        let mut segments = 0;
        for (life, byte) in [("one", 1), ("two", 2), ("three", 1)] {
            let dir = folder.path().join(life);
            segments += release(&mut log(&dir, &archive, byte));
            for name in names(&archive) {
                let to = away.join(&name);
                // What is the same is called the same, and nothing else is.
                let content = std::fs::read(archive.join(&name)).unwrap();
                assert!(!to.exists() || std::fs::read(&to).unwrap() == content);
                std::fs::rename(archive.join(&name), to).unwrap();
            }
        }
        assert_eq!(names(&away).len() as u64, segments / 3 * 2);
        for (life, byte) in [("one", 1), ("two", 2), ("three", 1)] {
            let leading = leading_to(&away, &first_of(&folder.path().join(life))).unwrap();
            assert_eq!(leading.len() as u64, segments / 3);
            for (_, path) in leading {
                assert_eq!(std::fs::read(path).unwrap()[4_096 + 64], byte);
            }
        }
    }

    #[test]
    fn nothing_is_written_over_and_a_gap_ends_what_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("archive");
        std::fs::create_dir(&archive).unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        let released = release(&mut log(&one, &archive, 5));
        release(&mut log(&two, &archive, 5));
        assert_eq!(names(&archive).len() as u64, 2 * released, "copies");
        let leading = leading_to(&archive, &first_of(&one)).unwrap();
        assert_eq!(leading.len() as u64, released);
        let (gap, _) = leading[1];
        for name in names(&archive) {
            if name.starts_with(&format!("{:020}", gap.value())) {
                std::fs::remove_file(archive.join(name)).unwrap();
            }
        }
        let rest = leading_to(&archive, &first_of(&one)).unwrap();
        assert_eq!(rest.len() as u64, released - 2);
    }

    #[test]
    fn an_archive_that_cannot_be_used_is_refused_before_anything_is_released() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, archive) = (folder.path().join("log"), folder.path().join("archive"));
        let refused = |what: &str| {
            let refusal = Journal::open_or_create(&config(&dir, &archive)).unwrap_err();
            let named = matches!(refusal, JournalError::Archive { .. });
            assert!(
                named && refusal.to_string().contains("archive"),
                "{what}: {refusal}"
            );
        };
        refused("it is not there");
        std::fs::write(&archive, "").unwrap();
        refused("it is a file");
        std::fs::remove_file(&archive).unwrap();
        std::fs::create_dir(&archive).unwrap();
        // Root may write anywhere, so rights are not tried here.
        let journal = Journal::open_or_create(&config(&dir, &archive)).unwrap();
        drop(journal);
        assert_eq!(SystemDisk.list(&archive).unwrap(), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_segment_that_cannot_be_moved_stays_in_the_log_and_is_moved_later() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, archive) = (folder.path().join("log"), folder.path().join("archive"));
        std::fs::create_dir(&archive).unwrap();
        let mut journal = log(&dir, &archive, 9);
        std::fs::remove_dir(&archive).unwrap();
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
