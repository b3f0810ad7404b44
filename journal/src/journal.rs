//! Opening a log: create, recover, and hand out its three ends.
//!
//! Called at start-up by whoever owns a log. The appender goes to the thread that decides the
//! order, the flusher to a disk agent, the stager to any background thread.
//!
//! Always holds: one writer per folder; when `open` returns, everything recovered is durable.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock};

use crate::append::{Appender, LogEnd};
use crate::archive;
use crate::config::{Config, FlushBody, OnDamage, Verify};
use crate::control::{ControlPage, read_evidence};
use crate::directory::{DirectoryLock, list};
use crate::disk::{Disk, Mode};
use crate::error::{JournalError, Result, io_at, write_at};
use crate::flush::{Flusher, SyncBody, sync_body};
use crate::frame::ChainValue;
use crate::position::{Geometry, Position, SegmentNumber};
use crate::recovery::{
    Examined, Found, GoodPart, MachineRun, Recovered, Scan, examine, repair, scan,
};
use crate::segment::{LogShape, SegmentHeader, live_name};
use crate::set_aside::{note_restart, set_aside, tell, untold};
use crate::stage::{Stager, Staging, WritableSegment};

/// What the three ends of an open log share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) shape: LogShape,
    pub(crate) body: FlushBody,
    pub(crate) control: ControlPage,
    pub(crate) staging: Mutex<Staging>,
    /// The number of the first segment that is not released.
    pub(crate) released: AtomicU64,
    /// Where released segments go; none where they are removed.
    pub(crate) archive: Option<PathBuf>,
    failure: OnceLock<SyncFailure>,
    _lock: DirectoryLock,
}

/// The first failed sync, kept to be told again.
#[derive(Debug)]
struct SyncFailure {
    path: PathBuf,
    errno: Option<i32>,
    kind: io::ErrorKind,
}

impl SyncFailure {
    fn error(&self) -> JournalError {
        let source = self
            .errno
            .map_or_else(|| self.kind.into(), io::Error::from_raw_os_error);
        JournalError::Sync {
            path: self.path.clone(),
            source,
        }
    }
}

impl Core {
    /// The folder, and the disk that it is on.
    pub(crate) fn place(&self) -> (&dyn Disk, &Path) {
        (self.disk.as_ref(), &self.dir)
    }

    /// Refuses every call once a sync has failed.
    pub(crate) fn check_alive(&self) -> Result<()> {
        self.failure
            .get()
            .map_or(Ok(()), |failure| Err(failure.error()))
    }

    /// Records the first failed sync and returns it as an error.
    pub(crate) fn fail_sync(&self, path: PathBuf, source: io::Error) -> JournalError {
        let failure = SyncFailure {
            path,
            errno: source.raw_os_error(),
            kind: source.kind(),
        };
        self.failure.get_or_init(|| failure).error()
    }
}

/// An open log: its three ends and what recovery found.
#[derive(Debug)]
pub struct Journal {
    /// The writing end.
    pub appender: Appender,
    /// The end that makes appended bytes durable.
    pub flusher: Flusher,
    /// The background task that prepares the next segment.
    pub stager: Stager,
    /// What was found on disk.
    pub recovered: Recovered,
}

impl Journal {
    /// Creates an empty log; makes its folder if only that is missing.
    ///
    /// # Errors
    /// [`JournalError::Exists`], [`JournalError::Locked`], [`JournalError::ForeignFile`],
    /// [`JournalError::Setting`], [`JournalError::DiskFull`], [`JournalError::UringUnavailable`].
    pub fn create(config: &Config) -> Result<Journal> {
        config.check()?;
        let (disk, dir) = (config.disk.as_ref(), config.dir.as_path());
        make_folder(disk, dir)?;
        // Looked at under the lock: another first start may have made a log a moment ago.
        let lock = DirectoryLock::take(disk, dir)?;
        if !list(disk, dir)?.vacant() {
            let path = dir.to_path_buf();
            return Err(JournalError::Exists { path });
        }
        let body = sync_body(config.flush)?;
        make_first(config)?;
        Journal::start(config, lock, body)
    }

    /// Opens an existing log: recovers it, cuts a torn tail, and makes the rest durable.
    ///
    /// # Errors
    /// [`JournalError::Missing`], [`JournalError::Locked`], [`JournalError::ForeignFile`];
    /// [`JournalError::WrongLog`] and [`JournalError::Fixed`] if it was created otherwise;
    /// [`JournalError::Corrupt`] if flushed frames are damaged and the settings refuse that: then nothing
    /// is changed.
    pub fn open(config: &Config) -> Result<Journal> {
        config.check()?;
        let disk = config.disk.as_ref();
        let listing = list(disk, &config.dir)?;
        // One that is about to be begun anew behind its damage is not missing.
        if listing.vacant() && listing.untold.is_empty() {
            return Err(JournalError::Missing {
                path: config.dir.clone(),
            });
        }
        let lock = DirectoryLock::take(disk, &config.dir)?;
        let body = sync_body(config.flush)?;
        Journal::start(config, lock, body)
    }

    /// Opens the log if there is one, and creates it otherwise.
    ///
    /// # Errors
    /// As [`Journal::open`] and [`Journal::create`].
    pub fn open_or_create(config: &Config) -> Result<Journal> {
        match Journal::open(config) {
            Err(JournalError::Missing { .. }) => Journal::create(config),
            other => other,
        }
    }

    /// Says that whoever owns the log has written down what [`Recovered::damage`] and [`Recovered::run`]
    /// tell: with [`OnDamage::SetAside`] every open tells them again until then.
    ///
    /// # Errors
    /// [`JournalError::Io`]: they may be told again.
    pub fn told(&self) -> Result<()> {
        let (disk, dir) = self.appender.place();
        tell(disk, dir)
    }

    /// Keeps a log that is whole and of no use to its owner in a folder of its own, `damaged-POSITION`. The
    /// next open with [`OnDamage::SetAside`] begins an empty log in its place, and tells that all is lost.
    ///
    /// # Errors
    /// [`JournalError::Locked`], [`JournalError::ForeignFile`], [`JournalError::DiskFull`],
    /// [`JournalError::Io`]: until its copy is on disk the log is as it was.
    pub fn set_aside(config: &Config, why: &'static str) -> Result<()> {
        let (disk, dir) = (config.disk.as_ref(), config.dir.as_path());
        let _lock = DirectoryLock::take(disk, dir)?;
        let error = JournalError::Corrupt {
            segment: dir.to_path_buf(),
            position: Position::ZERO,
            index: 0,
            why,
        };
        set_aside(disk, dir, &Found { error, good: None })
    }

    /// Keeps what a log has from the frame of this index on in a folder of its own, `damaged-POSITION`, and cuts
    /// the log there. The next open with [`OnDamage::SetAside`] tells it as damage; nothing is done where there
    /// is no such frame.
    ///
    /// # Errors
    /// As [`Journal::set_aside`]; [`JournalError::Corrupt`] where the log is damaged already: then an open is
    /// what mends it.
    pub fn set_aside_from(config: &Config, index: u64, why: &'static str) -> Result<()> {
        let (disk, dir) = (config.disk.as_ref(), config.dir.as_path());
        let _lock = DirectoryLock::take(disk, dir)?;
        let scan = scan(disk, dir, Verify::Every)?;
        let Some(end) = scan.index.position_of(index) else {
            return Ok(());
        };
        let before = index.saturating_sub(1);
        let good = GoodPart {
            shape: scan.recovered.shape,
            first: scan.recovered.first,
            end,
            last: scan.index.term_of(before).map(|term| (before, term)),
        };
        let error = JournalError::Corrupt {
            segment: dir.to_path_buf(),
            position: end,
            index: before,
            why,
        };
        let good = Some(good);
        set_aside(disk, dir, &Found { error, good })
    }

    fn start(config: &Config, lock: DirectoryLock, body: Box<dyn SyncBody>) -> Result<Journal> {
        let (disk, dir) = (config.disk.as_ref(), config.dir.as_path());
        if let Some(shape) = read_evidence(disk, dir)?.shape {
            check_shape(dir, &shape, config)?;
        }
        let scan = recover(config)?;
        check_shape(dir, &scan.recovered.shape, config)?;
        repair(disk, dir, &scan)?;
        remove_unused(disk, dir)?;
        if let Some(archive) = &config.archive {
            archive::probe(disk, dir, archive)?;
        }
        let Scan {
            mut recovered,
            last,
            index,
            first_segment,
            last_segment,
            ..
        } = scan;
        let listing = list(disk, dir)?;
        recovered.damage = untold(disk, &listing)?.map(|(_, damage)| damage);
        if listing.restarted {
            recovered.run = MachineRun::Another;
        }
        let shape = recovered.shape;
        let control = ControlPage::create(disk, dir, &shape, recovered.first, recovered.appended)?;
        disk.sync_folder(dir).map_err(io_at("sync", dir))?;
        let path = live_name(dir, &shape, last_segment);
        let segment = WritableSegment::open(disk, path, last_segment, config.flush)?;
        let start = shape.geometry.start_of(last_segment);
        let offset = (recovered.appended.value() - start.value()) as usize;
        segment.renew_pages(offset)?;
        let end = LogEnd {
            segment,
            offset,
            first_segment,
            last,
            chain: recovered.chain,
            index,
        };
        let core = Arc::new(Core {
            disk: Arc::clone(&config.disk),
            dir: dir.to_path_buf(),
            shape,
            body: config.flush,
            control,
            staging: Mutex::new(Staging::new(last_segment.next())),
            released: AtomicU64::new(first_segment.0),
            archive: config.archive.clone(),
            failure: OnceLock::new(),
            _lock: lock,
        });
        Ok(Journal {
            appender: Appender::new(Arc::clone(&core), end, config.frame_bytes_max),
            flusher: Flusher::new(Arc::clone(&core), body),
            stager: Stager::new(core, first_segment),
            recovered,
        })
    }
}

/// Reads a log, and does about damage what the settings say.
fn recover(config: &Config) -> Result<Scan> {
    let (disk, dir) = (config.disk.as_ref(), config.dir.as_path());
    let noted = untold(disk, &list(disk, dir)?)?;
    match (config.on_damage, noted) {
        (OnDamage::Refuse, None) => {
            let scan = scan(disk, dir, config.verify)?;
            if scan.recovered.run == MachineRun::Another {
                note_restart(disk, dir)?;
            }
            return Ok(scan);
        }
        (OnDamage::Refuse, Some((segment, damage))) => {
            return Err(JournalError::Corrupt {
                segment,
                position: damage.position,
                index: damage.index - 1,
                why: "the log was cut here for damage, and what was lost was not had from others since",
            });
        }
        (OnDamage::SetAside, _) => {}
    }
    if read_evidence(disk, dir)?.run == MachineRun::Another {
        // The marks that say so are about to be renewed.
        note_restart(disk, dir)?;
    }
    if !list(disk, dir)?.vacant() {
        let believed = config.believed_before;
        if believed > Position::ZERO
            && let Examined::Good(scan) = examine(disk, dir, Verify::Every, believed)?
            && scan.last.is_some()
        {
            return Ok(*scan);
        }
        match examine(disk, dir, Verify::Every, Position::ZERO)? {
            Examined::Good(scan) => return Ok(*scan),
            Examined::Damaged(found) => {
                if let Some(good) = &found.good {
                    check_shape(dir, &good.shape, config)?;
                }
                set_aside(disk, dir, &found)?;
            }
        }
    }
    if list(disk, dir)?.vacant() {
        make_first(config)?;
    }
    scan(disk, dir, Verify::Every)
}

/// Makes the first segment of an empty log, and its marks.
fn make_first(config: &Config) -> Result<()> {
    let (disk, dir) = (config.disk.as_ref(), config.dir.as_path());
    let shape = shape_of(config);
    remove_unused(disk, dir)?;
    let mut staging = Staging::new(SegmentNumber(0));
    let (segment, _) = staging.finish((disk, dir), &shape, config.flush)?;
    let genesis = ChainValue::genesis(shape.chain, shape.log_id);
    let header = SegmentHeader::new(&shape, segment.number, 0, Position::ZERO, genesis);
    segment.write(0, &header.page())?;
    segment.sync().map_err(io_at("sync", &segment.path))?;
    let live = live_name(dir, &shape, segment.number);
    disk.rename(&segment.path, &live)
        .map_err(io_at("rename", &live))?;
    disk.sync_folder(dir).map_err(io_at("sync", dir))?;
    let empty = shape.geometry.frames_of(SegmentNumber(0));
    ControlPage::create(disk, dir, &shape, Position::ZERO, empty)?;
    disk.sync_folder(dir).map_err(io_at("sync", dir))
}

/// Makes the folder of a log, durably, unless it is there already. A log tells of everybody, so it is
/// its owner's alone.
fn make_folder(disk: &dyn Disk, dir: &Path) -> Result<()> {
    match disk.create_folder(dir, Mode::OWNER_FOLDER) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        other => other.map_err(write_at("create folder", dir, 0))?,
    }
    // Flushed frames are lost with the name of their folder.
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    disk.sync_folder(parent).map_err(io_at("sync", parent))
}

fn shape_of(config: &Config) -> LogShape {
    LogShape {
        log_id: config.log_id,
        geometry: Geometry {
            segment_bytes: config.segment_bytes,
        },
        chain: config.chain,
    }
}

/// Refuses a log that was created with another identity, segment size or chain.
fn check_shape(dir: &Path, found: &LogShape, config: &Config) -> Result<()> {
    let wanted = shape_of(config);
    let path = dir.to_path_buf();
    if found.log_id != wanted.log_id {
        let (found, wanted) = (found.log_id.to_string(), wanted.log_id.to_string());
        return Err(JournalError::WrongLog {
            path,
            found,
            wanted,
        });
    }
    let fixed = |what, found, wanted| {
        Err(JournalError::Fixed {
            path,
            what,
            found,
            wanted,
        })
    };
    if found.geometry != wanted.geometry {
        let (found, wanted) = (found.geometry.segment_bytes, wanted.geometry.segment_bytes);
        return fixed("segment_bytes", found, wanted);
    }
    if found.chain != wanted.chain {
        return fixed("chain", found.chain as u64, wanted.chain as u64);
    }
    Ok(())
}

/// Removes segments that were staged by an earlier process and never used: staging them anew puts
/// their pages into the page cache, where appends need them.
fn remove_unused(disk: &dyn Disk, dir: &Path) -> Result<()> {
    let listing = list(disk, dir)?;
    for path in listing.staged.iter().chain(&listing.staging) {
        disk.remove(path).map_err(io_at("remove", path))?;
    }
    Ok(())
}
