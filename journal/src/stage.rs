//! Stages the next segment: writes its zeros ahead of use, in small pieces, off the hot path.
//! Removes the segments that were released, or moves them to the archive, for the same reason.
//!
//! The caller turns [`Stager::do_work`] on a thread of its choice. The appender takes the finished
//! segment when the live one is full; if it is not finished by then, the appender finishes it
//! itself, which is counted and slow, but no error.
//!
//! The pace is that of the log: staging shares the disk with the flushes that orders wait for, so it
//! keeps twice as far ahead as the live segment has filled, and no further.
//!
//! Always holds: a segment that goes live has every block written, so that flushing into it never
//! changes file metadata; its pages were written one by one, so that the page cache holds small
//! folios and a store through a map dirties 4 KiB and not more.
//! Does not: reuse released files, because a follower may still have them mapped.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use crate::archive;
use crate::config::FlushBody;
#[cfg(feature = "defects")]
use crate::defects::{self, Defect};
use crate::disk::{Disk, DiskFile, FileMap, Mode, Open};
use crate::error::{JournalError, Result, io_at, write_at};
use crate::journal::Core;
use crate::position::{Position, SegmentNumber};
use crate::segment::{LogShape, live_name, staged_name, staging_name};

/// Turns that pass after an archive has refused a segment.
pub(crate) const TURNS_AFTER_REFUSAL: u32 = 10_000;

/// How much of the next segment is staged before anything is appended: one part of so many.
const HEAD_START_PARTS: u64 = 16;
/// Bytes staged for each byte appended to the live segment.
const LEAD: u64 = 2;

/// Most bytes zeroed by one turn of the stager while it keeps up.
pub const STAGE_BYTES_PER_TURN: u64 = 256 << 10;

/// The most by one turn that is so far behind, or that an appender waits for. A flush of a file that grows costs the disk
/// much the same whatever it takes along; and whoever appends that fast is not kept waiting by it.
pub const STAGE_BYTES_BEHIND: u64 = 4 << 20;
const PAGE: usize = 4096;
static ZEROS: [u8; PAGE] = [0; PAGE];

/// A segment file as its writer holds it.
#[derive(Debug)]
pub(crate) struct WritableSegment {
    pub(crate) number: SegmentNumber,
    pub(crate) path: PathBuf,
    file: Box<dyn DiskFile>,
    map: Option<FileMap>,
}

impl WritableSegment {
    /// Opens a segment file for writing in the way the flush body asks for.
    pub(crate) fn open(
        disk: &dyn Disk,
        path: PathBuf,
        number: SegmentNumber,
        body: FlushBody,
    ) -> Result<Self> {
        let file = disk
            .open(&path, Open::Write)
            .map_err(io_at("open", &path))?;
        let map = match body {
            FlushBody::Pwrite | FlushBody::Uring => None,
            FlushBody::Map => {
                let bytes = file.bytes().map_err(io_at("measure", &path))?;
                let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                let map = file.map_write(bytes).map_err(io_at("map", &path))?;
                map.advise_random().map_err(io_at("advise", &path))?;
                Some(map)
            }
        };
        Ok(WritableSegment {
            number,
            path,
            file,
            map,
        })
    }

    /// Makes bytes visible to every map of the file.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        match &self.map {
            None => self
                .file
                .write_all_at(bytes, offset as u64)
                .map_err(write_at("write", &self.path, bytes.len() as u64)),
            Some(map) => {
                assert!(offset <= map.bytes() && bytes.len() <= map.bytes() - offset);
                // SAFETY: the target lies within the map by the line above, the source is another
                // allocation, and no reader of this process forms a reference to these bytes before
                // the appended mark is published after this call.
                unsafe {
                    let target = map.as_ptr().add(offset);
                    std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len());
                }
                Ok(())
            }
        }
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Renews the pages of a recovered segment from `offset` on, if it is written through its map:
    /// recovery may have read it ahead into large folios, of which every small store would write
    /// the whole. The bytes there are zero before and after, so that nothing is flushed.
    pub(crate) fn renew_pages(&self, offset: usize) -> Result<()> {
        let Some(map) = &self.map else { return Ok(()) };
        // Without it stores are slower and as safe.
        self.file.drop_cache();
        for at in (offset.next_multiple_of(PAGE)..map.bytes()).step_by(PAGE) {
            let need = (map.bytes() - at) as u64;
            self.file
                .write_all_at(&ZEROS, at as u64)
                .map_err(write_at("zero", &self.path, need))?;
        }
        Ok(())
    }
}

/// How far the next segment is.
#[derive(Debug)]
enum Phase {
    Idle,
    Filling {
        file: Box<dyn DiskFile>,
        path: PathBuf,
        written: u64,
    },
    Ready(WritableSegment),
}

/// The next segment, shared by stager and appender.
#[derive(Debug)]
pub(crate) struct Staging {
    next: SegmentNumber,
    phase: Phase,
}

impl Staging {
    pub(crate) fn new(next: SegmentNumber) -> Self {
        Staging {
            next,
            phase: Phase::Idle,
        }
    }

    /// How much is due, by how full the live segment is: a piece at most, or a larger one where it is behind.
    fn due(&self, shape: &LogShape, appended: Position) -> u64 {
        let geometry = &shape.geometry;
        if geometry.segment_of(appended).next() != self.next {
            return STAGE_BYTES_PER_TURN;
        }
        let head_start = geometry.segment_bytes / HEAD_START_PARTS;
        let wanted = head_start + LEAD * geometry.offset_of(appended) as u64;
        let behind = match &self.phase {
            Phase::Idle => wanted,
            Phase::Filling { written, .. } => wanted.saturating_sub(*written),
            Phase::Ready(_) => 0,
        };
        match behind {
            0 => 0,
            // That much is due at once whenever the log turns to another segment.
            behind if behind <= head_start + STAGE_BYTES_PER_TURN => STAGE_BYTES_PER_TURN,
            behind => behind.min(STAGE_BYTES_BEHIND),
        }
    }

    /// Zeroes at most one piece of so many bytes; returns how many, 0 when the segment is ready.
    fn step(
        &mut self,
        (disk, dir): (&dyn Disk, &Path),
        shape: &LogShape,
        body: FlushBody,
        piece: u64,
    ) -> Result<usize> {
        if let Phase::Idle = self.phase {
            let path = staging_name(dir, shape, self.next);
            let need = shape.geometry.segment_bytes;
            let file = disk
                .open(&path, Open::Emptied(Mode::FILE))
                .map_err(write_at("create", &path, need))?;
            self.phase = Phase::Filling {
                file,
                path,
                written: 0,
            };
        }
        let Phase::Filling {
            file,
            path,
            written,
        } = &mut self.phase
        else {
            return Ok(0);
        };
        let total = shape.geometry.segment_bytes;
        let before = *written;
        let end = total.min(before + piece);
        while *written < end {
            file.write_all_at(&ZEROS, *written).map_err(write_at(
                "zero",
                path,
                total - *written,
            ))?;
            *written += PAGE as u64;
        }
        if let Err(error) = file.sync_data() {
            // Blocks may be given only now: this piece is not there until it is synced.
            *written = before;
            return Err(write_at("sync", path, total - before)(error));
        }
        if *written == total {
            let staged = staged_name(dir, shape, self.next);
            disk.rename(path, &staged)
                .map_err(write_at("rename", path, 0))?;
            self.phase = Phase::Ready(WritableSegment::open(disk, staged, self.next, body)?);
        }
        Ok((end - before) as usize)
    }

    /// The ready segment, finished on the spot if need be; `late` tells whether that was so.
    pub(crate) fn finish(
        &mut self,
        place: (&dyn Disk, &Path),
        shape: &LogShape,
        body: FlushBody,
    ) -> Result<(&mut WritableSegment, bool)> {
        let late = !matches!(self.phase, Phase::Ready(_));
        loop {
            // The two looks at the phase keep the borrow short until it is returned.
            if matches!(self.phase, Phase::Ready(_)) {
                break;
            }
            self.step(place, shape, body, STAGE_BYTES_BEHIND)?;
        }
        match &mut self.phase {
            Phase::Ready(segment) => Ok((segment, late)),
            Phase::Idle | Phase::Filling { .. } => unreachable!("the loop above ends when ready"),
        }
    }

    /// Hands the ready segment over and turns to the one after it.
    pub(crate) fn take(&mut self) -> Option<WritableSegment> {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Ready(segment) => {
                self.next = segment.number.next();
                Some(segment)
            }
            other => {
                self.phase = other;
                None
            }
        }
    }
}

/// The background task that keeps the next segment ready.
#[derive(Debug)]
pub struct Stager {
    core: Arc<Core>,
    /// The first segment whose file is there.
    first: SegmentNumber,
    /// The log is noted to start here, durably.
    noted: SegmentNumber,
    /// Turns until an archive that has refused a segment is tried again.
    turns_to_try: u32,
    /// The segment that was taken away last, while that may be forgotten again.
    unsynced: Option<PathBuf>,
}

impl Stager {
    pub(crate) fn new(core: Arc<Core>, first: SegmentNumber) -> Self {
        Stager {
            core,
            first,
            noted: first,
            turns_to_try: 0,
            unsynced: None,
        }
    }

    /// Zeroes at most [`STAGE_BYTES_PER_TURN`], or up to [`STAGE_BYTES_BEHIND`] where it is so far behind, and waits until
    /// they are on disk, or removes or archives one segment that was released; returns the bytes zeroed or freed, 0 when nothing is due or the
    /// next segment is ready.
    ///
    /// # Errors
    /// [`JournalError::DiskFull`](crate::JournalError::DiskFull) can be tried again at any time and
    /// goes on where it stopped. [`JournalError::Io`](crate::JournalError::Io) where a released
    /// segment cannot be removed, [`JournalError::Archive`](crate::JournalError::Archive) where it cannot be
    /// archived: the log keeps it, and it is tried again later.
    pub fn do_work(&mut self) -> Result<usize> {
        let staged = self.stage_if_due();
        match staged {
            // What is due comes first, or the appender has to do it; on a full disk this makes room.
            Ok(0) | Err(JournalError::DiskFull { .. }) if self.remove_released()? => {
                Ok(self.core.shape.geometry.segment_bytes as usize)
            }
            staged => staged,
        }
    }

    fn stage_if_due(&self) -> Result<usize> {
        let core = &self.core;
        let mut staging = lock_staging(core);
        match staging.due(&core.shape, core.control.appended()) {
            0 => Ok(0),
            piece => staging.step(core.place(), &core.shape, core.body, piece),
        }
    }

    /// Works until the next segment is ready, however little of the live one is full, and until
    /// every released one is gone, or one could not be archived a while ago.
    ///
    /// # Errors
    /// As [`Stager::do_work`].
    pub fn finish(&mut self) -> Result<()> {
        while self.remove_released()? {}
        let core = &self.core;
        let step = || {
            let mut staging = lock_staging(core);
            staging.step(core.place(), &core.shape, core.body, STAGE_BYTES_BEHIND)
        };
        while step()? > 0 {}
        Ok(())
    }
}

impl Stager {
    /// Removes or archives the file of the oldest released segment; whether there was one.
    fn remove_released(&mut self) -> Result<bool> {
        let core = Arc::clone(&self.core);
        let keep = SegmentNumber(core.released.load(Ordering::Acquire));
        if self.first >= keep && self.unsynced.is_none() {
            return Ok(false);
        }
        if self.turns_to_try > 0 {
            self.turns_to_try -= 1;
            return Ok(false);
        }
        self.sync_names()?;
        if self.first >= keep {
            return Ok(false);
        }
        if self.noted < keep {
            // Without the note a missing first segment is damage.
            core.control
                .release(core.shape.geometry.start_of(keep))
                .map_err(|source| core.fail_sync(core.dir.clone(), source))?;
            self.noted = keep;
        }
        let path = live_name(&core.dir, &core.shape, self.first);
        let archive = core.archive.as_ref();
        #[cfg(feature = "defects")]
        let archive = archive.filter(|_| !defects::strikes(Defect::UnarchivedSegment, 4));
        match archive {
            None => core.disk.remove(&path).map_err(io_at("remove", &path))?,
            Some(folder) => {
                // It is there: what is released lies before the live segment.
                let next = live_name(&core.dir, &core.shape, self.first.next());
                let kept = archive::keep(core.disk.as_ref(), folder, &path, &next);
                if kept.is_err() {
                    self.turns_to_try = TURNS_AFTER_REFUSAL;
                }
                kept?;
            }
        }
        self.first = self.first.next();
        self.unsynced = Some(path);
        // One at a time: a later name must not be gone while an earlier one is back.
        self.sync_names()?;
        Ok(true)
    }

    /// Makes it durable where the segments are that were removed or archived last. An archive that fails has
    /// what was moved, and costs no log: it is tried again.
    fn sync_names(&mut self) -> Result<()> {
        let Some(segment) = &self.unsynced else {
            return Ok(());
        };
        #[cfg(feature = "defects")]
        if defects::armed(Defect::SkippedReleaseSync) {
            self.unsynced = None;
            return Ok(());
        }
        let core = &self.core;
        // In this order a power cut leaves a name in either folder, or in both.
        if let Some(archive) = &core.archive
            && let Err(source) = core.disk.sync_folder(archive)
        {
            self.turns_to_try = TURNS_AFTER_REFUSAL;
            return Err(JournalError::Archive {
                segment: segment.clone(),
                archive: archive.clone(),
                source,
            });
        }
        core.disk
            .sync_folder(&core.dir)
            .map_err(|source| core.fail_sync(core.dir.clone(), source))?;
        self.unsynced = None;
        Ok(())
    }
}

/// The lock is only ever held for one piece of staging or one change of segments; a panic in
/// between leaves a phase that is still true.
pub(crate) fn lock_staging(core: &Core) -> MutexGuard<'_, Staging> {
    core.staging.lock().unwrap_or_else(PoisonError::into_inner)
}
