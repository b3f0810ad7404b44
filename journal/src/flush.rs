//! The flusher: makes what was appended durable, and alone says how far that is.
//!
//! Owned by a disk agent on any thread, beside the appender's. One flush at a time; appends go on
//! meanwhile and belong to the next one. Where the sync itself happens is the one difference
//! between the bodies: in `flush_begin` (fdatasync), or beside the caller (io_uring).
//!
//! Always holds: the durable mark is published only after every byte below it, its segments' names
//! and headers included, is on disk.
//! Does not: retry. The system forgets a failed write-back when it has reported it, so a second
//! sync would succeed over lost data; the first failure ends the log for this process.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::FlushBody;
#[cfg(feature = "defects")]
use crate::defects::{self, Defect};
use crate::disk::{DiskFile, Open};
use crate::error::{Result, io_at};
use crate::journal::Core;
use crate::position::{Position, SegmentNumber};
use crate::segment::live_name;
use crate::uring::UringSync;

/// The flushed position is noted in the control file once in so many flushes.
const FLUSHES_PER_NOTE: u64 = 64;

/// One way to sync a file; at most one sync is under way.
pub(crate) trait SyncBody: std::fmt::Debug + Send {
    /// Starts, or does, an fdatasync of the file, which stays open until the sync has ended.
    fn begin(&mut self, file: &dyn DiskFile) -> io::Result<()>;
    /// Whether the sync begun last has ended.
    fn poll(&mut self) -> io::Result<SyncState>;
    /// Waits until it has.
    fn wait(&mut self) -> io::Result<()>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SyncState {
    Running,
    Done,
}

/// The body for `Pwrite` and `Map`: syncs in the calling thread.
#[derive(Debug)]
struct BlockingSync;

impl SyncBody for BlockingSync {
    fn begin(&mut self, file: &dyn DiskFile) -> io::Result<()> {
        file.sync_data()
    }

    fn poll(&mut self) -> io::Result<SyncState> {
        Ok(SyncState::Done)
    }

    fn wait(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Chooses the body.
pub(crate) fn sync_body(body: FlushBody) -> Result<Box<dyn SyncBody>> {
    Ok(match body {
        FlushBody::Pwrite | FlushBody::Map => Box::new(BlockingSync),
        FlushBody::Uring => Box::new(UringSync::new()?),
    })
}

/// The flush under way.
#[derive(Clone, Copy, Debug)]
struct Flight {
    target: Position,
    segment: SegmentNumber,
}

/// The flushing end of a log.
#[derive(Debug)]
pub struct Flusher {
    core: Arc<Core>,
    // Declared before `open`: a body waits for its last sync when dropped, and only then may the
    // file be closed.
    body: Box<dyn SyncBody>,
    open: Option<(SegmentNumber, PathBuf, Box<dyn DiskFile>)>,
    flight: Option<Flight>,
    durable: Position,
    flushes: u64,
}

impl Flusher {
    pub(crate) fn new(core: Arc<Core>, body: Box<dyn SyncBody>) -> Self {
        let durable = core.control.durable();
        Flusher {
            core,
            body,
            open: None,
            flight: None,
            durable,
            flushes: 0,
        }
    }

    /// Begins to flush everything appended so far; does nothing while a flush is under way or
    /// nothing is new.
    ///
    /// # Errors
    /// [`JournalError::Sync`](crate::JournalError::Sync), then and for ever after.
    pub fn flush_begin(&mut self) -> Result<()> {
        self.core.check_alive()?;
        if self.flight.is_some() {
            return Ok(());
        }
        let target = self.core.control.appended();
        if target <= self.durable {
            return Ok(());
        }
        #[cfg(feature = "defects")]
        if defects::armed(Defect::SkippedFlush) {
            self.durable = target;
            self.core.control.publish_durable(target);
            return Ok(());
        }
        let segment = self.core.shape.geometry.segment_of(self.durable);
        self.flight = Some(Flight { target, segment });
        self.begin_segment(segment)
    }

    /// Looks after the flush under way and returns how far the log is on disk.
    ///
    /// # Errors
    /// [`JournalError::Sync`](crate::JournalError::Sync), then and for ever after.
    pub fn flush_poll(&mut self) -> Result<Position> {
        self.core.check_alive()?;
        while let Some(flight) = self.flight {
            match self.body.poll() {
                Ok(SyncState::Running) => break,
                Ok(SyncState::Done) => self.on_segment_synced(flight)?,
                Err(source) => return Err(self.fail(source)),
            }
        }
        Ok(self.durable)
    }

    /// Flushes everything appended up to now, waiting for it.
    ///
    /// # Errors
    /// [`JournalError::Sync`](crate::JournalError::Sync), then and for ever after.
    pub fn flush(&mut self) -> Result<Position> {
        let target = self.core.control.appended();
        while self.durable < target {
            self.flush_begin()?;
            while let Some(flight) = self.flight {
                self.body.wait().map_err(|source| self.fail(source))?;
                self.on_segment_synced(flight)?;
            }
        }
        self.core.check_alive()?;
        Ok(self.durable)
    }

    /// How far the log is on disk.
    pub fn durable(&self) -> Position {
        self.durable
    }

    /// The end of the last appended frame.
    pub fn appended(&self) -> Position {
        self.core.control.appended()
    }

    fn begin_segment(&mut self, number: SegmentNumber) -> Result<()> {
        if self.open.as_ref().is_none_or(|&(open, ..)| open != number) {
            let path = live_name(&self.core.dir, &self.core.shape, number);
            let opened = self.core.disk.open(&path, Open::Read);
            match opened.map_err(io_at("open", &path)) {
                Ok(file) => self.open = Some((number, path, file)),
                Err(error) => {
                    // Nothing was synced, so the flush can be begun again.
                    self.flight = None;
                    return Err(error);
                }
            }
            #[cfg(feature = "defects")]
            if number.0 > 0 && defects::armed(Defect::SkippedFolderSync) {
                return self.begin_sync();
            }
            // The segment's name has to be on disk before anything in it counts.
            let core = &self.core;
            core.disk
                .sync_folder(&core.dir)
                .map_err(|source| self.core.fail_sync(self.core.dir.clone(), source))?;
        }
        self.begin_sync()
    }

    /// Begins to sync the segment that is open.
    fn begin_sync(&mut self) -> Result<()> {
        let Some((_, _, file)) = &self.open else {
            return Ok(());
        };
        self.body
            .begin(file.as_ref())
            .map_err(|source| self.core.fail_sync(self.path(), source))
    }

    fn on_segment_synced(&mut self, flight: Flight) -> Result<()> {
        let geometry = self.core.shape.geometry;
        let after = geometry.start_of(flight.segment.next());
        if flight.target > after {
            let segment = flight.segment.next();
            self.flight = Some(Flight { segment, ..flight });
            return self.begin_segment(segment);
        }
        self.flight = None;
        self.durable = flight.target;
        self.core.control.publish_durable(self.durable);
        self.flushes += 1;
        if self.flushes.is_multiple_of(FLUSHES_PER_NOTE) {
            self.core
                .control
                .note_flushed(self.durable, self.flushes / FLUSHES_PER_NOTE);
        }
        Ok(())
    }

    fn path(&self) -> PathBuf {
        self.open
            .as_ref()
            .map_or_else(|| self.core.dir.clone(), |(_, path, _)| path.clone())
    }

    fn fail(&self, source: io::Error) -> crate::JournalError {
        self.core.fail_sync(self.path(), source)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::config::{Config, LogId};
    use crate::error::JournalError;
    use crate::frame::FrameMeta;
    use crate::journal::Journal;

    /// A disk whose first sync fails, and every later one succeeds over the lost data.
    #[derive(Debug)]
    struct ForgetfulSync {
        calls: u32,
        fails_in: Stage,
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Stage {
        Begin,
        Poll,
        Wait,
    }

    impl ForgetfulSync {
        fn answer(&mut self, stage: Stage) -> io::Result<()> {
            self.calls += u32::from(stage == self.fails_in);
            match stage == self.fails_in && self.calls == 1 {
                true => Err(io::Error::from_raw_os_error(libc::EIO)),
                false => Ok(()),
            }
        }
    }

    impl SyncBody for ForgetfulSync {
        fn begin(&mut self, _: &dyn DiskFile) -> io::Result<()> {
            self.answer(Stage::Begin)
        }

        fn poll(&mut self) -> io::Result<SyncState> {
            self.answer(Stage::Poll).map(|()| SyncState::Done)
        }

        fn wait(&mut self) -> io::Result<()> {
            self.answer(Stage::Wait)
        }
    }

    #[test]
    fn a_failed_sync_is_fatal_and_never_retried() {
        for fails_in in [Stage::Begin, Stage::Poll, Stage::Wait] {
            let dir = tempfile::tempdir().unwrap();
            let config = Config::new(dir.path(), LogId([3; 16])).with_segment_bytes(64 << 10);
            let mut journal = Journal::create(&config).unwrap();
            journal.flusher.body = Box::new(ForgetfulSync { calls: 0, fails_in });
            let meta = FrameMeta {
                index: 1,
                ..FrameMeta::default()
            };
            journal.appender.append(&meta, &[b"x"]).unwrap();
            let before = journal.appender.durable();
            let first = match fails_in {
                Stage::Begin => journal.flusher.flush_begin().unwrap_err(),
                Stage::Poll => {
                    journal.flusher.flush_begin().unwrap();
                    journal.flusher.flush_poll().unwrap_err()
                }
                Stage::Wait => journal.flusher.flush().unwrap_err(),
            };
            let again = [
                journal.flusher.flush_begin().unwrap_err(),
                journal.flusher.flush_poll().unwrap_err(),
                journal.flusher.flush().unwrap_err(),
                journal.appender.append(&meta, &[b"x"]).unwrap_err(),
            ];
            for error in again.iter().chain([&first]) {
                let JournalError::Sync { path, source } = error else {
                    panic!("{error}")
                };
                assert_eq!(source.raw_os_error(), Some(libc::EIO));
                assert!(path.starts_with(dir.path()));
            }
            assert_eq!(
                journal.appender.durable(),
                before,
                "nothing was called durable"
            );
        }
    }

    /// A disk that remembers which files were synced.
    #[derive(Debug)]
    struct RecordingSync(Arc<std::sync::Mutex<Vec<u64>>>);

    impl SyncBody for RecordingSync {
        fn begin(&mut self, file: &dyn DiskFile) -> io::Result<()> {
            use std::os::unix::fs::MetadataExt;
            let file = File::from(file.fd().unwrap().try_clone_to_owned()?);
            self.0.lock().unwrap().push(file.metadata()?.ino());
            Ok(())
        }

        fn poll(&mut self) -> io::Result<SyncState> {
            Ok(SyncState::Done)
        }

        fn wait(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_segment_between_the_marks_is_synced_in_order() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let config = Config::new(dir.path(), LogId([3; 16])).with_segment_bytes(64 << 10);
        let mut journal = Journal::create(&config).unwrap();
        let synced = Arc::new(std::sync::Mutex::new(Vec::new()));
        journal.flusher.body = Box::new(RecordingSync(Arc::clone(&synced)));
        let files = |range: std::ops::Range<u64>| -> Vec<u64> {
            let path = |number| dir.path().join(format!("{:020}.log", number * (64 << 10)));
            range
                .map(|number| path(number).metadata().unwrap().ino())
                .collect()
        };
        let mut append = |index, bytes: usize| {
            let meta = FrameMeta {
                index,
                ..FrameMeta::default()
            };
            journal.appender.append(&meta, &[&vec![1; bytes]]).unwrap()
        };
        for index in 1..=4 {
            append(index, 40_000);
        }
        journal.flusher.flush().unwrap();
        assert_eq!(*synced.lock().unwrap(), files(0..4));
        synced.lock().unwrap().clear();
        // The next frame fills the segment to its last byte: the next one is not needed yet.
        let meta = FrameMeta {
            index: 5,
            ..FrameMeta::default()
        };
        let room = (64 << 10) - 4096 - 40_064 - 64;
        journal.appender.append(&meta, &[&vec![1; room]]).unwrap();
        journal.flusher.flush_begin().unwrap();
        assert_eq!(
            journal.flusher.flush_poll().unwrap(),
            Position::new(4 * (64 << 10))
        );
        assert_eq!(*synced.lock().unwrap(), files(3..4));
    }
}
