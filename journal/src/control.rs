//! The control page: the log's live marks in shared memory, so that followers need no system calls.
//!
//! Written by the appender (appended), the flusher (durable) and the owner (commit, applied); read
//! by followers in any process, and by recovery as evidence.
//!
//! ```text
//! page 0  0 magic  8 version  12 crc of 0..64  16 log id  32 segment bytes  40 chain  48 boot id
//!       128 appended, its complement     256 durable, its complement
//!       384 commit                       512 applied
//!       640 first position held, its complement
//! page 1  two slots of 64 bytes, written in turn by the flusher: magic, durable, count, crc
//! ```
//! Always holds: durable <= appended; a mark whose complement does not fit is not evidence.
//! Does not: keep commit and applied over a restart of the writer; they start at zero again.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use bytemuck::{Pod, Zeroable};

use crate::config::{Chain, LogId};
use crate::disk::{Disk, DiskFile, FileMap, Mode, Open};
use crate::error::{JournalError, Result, io_at, write_at};
use crate::position::{Geometry, Position};
use crate::recovery::MachineRun;
use crate::segment::LogShape;

/// The file's name in the folder of the log.
pub(crate) const CONTROL_NAME: &str = "control";
const MAGIC: [u8; 8] = *b"EXAHRCTL";
const VERSION: u32 = 1;
const PAGE: usize = 4096;
const APPENDED: usize = 128;
const DURABLE: usize = 256;
const COMMIT: usize = 384;
const APPLIED: usize = 512;
const FIRST: usize = 640;
const SLOT_BYTES: u64 = 64;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Fixed {
    magic: [u8; 8],
    version: u32,
    crc: u32,
    log_id: [u8; 16],
    segment_bytes: u64,
    chain: u64,
    boot_id: [u8; 16],
}

const _: () = assert!(size_of::<Fixed>() == 64);

impl Fixed {
    fn seal(mut self) -> Self {
        self.crc = 0;
        self.crc = crc_fast::crc32_iscsi(bytemuck::bytes_of(&self));
        self
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let fixed: Fixed = bytemuck::pod_read_unaligned(bytes.get(..64)?);
        let whole = fixed.magic == MAGIC && fixed.version == VERSION && fixed.chain <= 1;
        (whole && fixed.seal().crc == fixed.crc).then_some(fixed)
    }

    fn shape(&self) -> LogShape {
        LogShape {
            log_id: LogId(self.log_id),
            geometry: Geometry {
                segment_bytes: self.segment_bytes,
            },
            chain: if self.chain == Chain::On as u64 {
                Chain::On
            } else {
                Chain::Off
            },
        }
    }
}

/// One of the two slots in which the flusher writes down how far the log is on disk.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct FlushedSlot {
    magic: [u8; 8],
    durable: u64,
    count: u64,
    zeros: [u8; 32],
    crc: u64,
}

const _: () = assert!(size_of::<FlushedSlot>() as u64 == SLOT_BYTES);

impl FlushedSlot {
    fn new(durable: Position, count: u64) -> Self {
        let mut slot = FlushedSlot {
            magic: *b"EXAHRFLU",
            durable: durable.value(),
            count,
            zeros: [0; 32],
            crc: 0,
        };
        slot.crc = u64::from(crc_fast::crc32_iscsi(&bytemuck::bytes_of(&slot)[..56]));
        slot
    }

    fn parse(bytes: &[u8]) -> Option<Position> {
        let slot: FlushedSlot = bytemuck::pod_read_unaligned(bytes);
        let sealed = FlushedSlot::new(Position::new(slot.durable), slot.count);
        let same = bytemuck::bytes_of(&sealed) == bytemuck::bytes_of(&slot);
        same.then_some(sealed.durable).map(Position::new)
    }
}

/// What the control file of a closed log proves; every field is absent if it cannot be trusted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evidence {
    /// The log's shape.
    pub(crate) shape: Option<LogShape>,
    /// The highest position that was surely flushed.
    pub(crate) durable: Option<Position>,
    /// How far the log was visible, if the machine has not been restarted since.
    pub(crate) appended_this_boot: Option<Position>,
    /// Where the log starts since the last release.
    pub(crate) first: Option<Position>,
    /// Whether the machine has run on.
    pub(crate) run: MachineRun,
}

impl Evidence {
    const NONE: Evidence = Evidence {
        shape: None,
        durable: None,
        appended_this_boot: None,
        first: None,
        run: MachineRun::Another,
    };
}

/// Reads the control file as evidence; a missing or damaged one proves nothing.
pub(crate) fn read_evidence(disk: &dyn Disk, dir: &Path) -> Result<Evidence> {
    let path = dir.join(CONTROL_NAME);
    let bytes = match disk.read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Evidence::NONE);
        }
        Err(source) => return Err(io_at("read", &path)(source)),
    };
    let Some(fixed) = Fixed::parse(&bytes) else {
        return Ok(Evidence {
            durable: flushed_slots(&bytes),
            ..Evidence::NONE
        });
    };
    let same_boot = disk.boot_id() == fixed.boot_id && fixed.boot_id != [0; 16];
    Ok(Evidence {
        shape: Some(fixed.shape()),
        durable: checked_mark(&bytes, DURABLE).max(flushed_slots(&bytes)),
        appended_this_boot: checked_mark(&bytes, APPENDED).filter(|_| same_boot),
        first: checked_mark(&bytes, FIRST),
        run: match same_boot {
            true => MachineRun::Same,
            false => MachineRun::Another,
        },
    })
}

fn checked_mark(bytes: &[u8], at: usize) -> Option<Position> {
    let value: u64 = bytemuck::pod_read_unaligned(bytes.get(at..at + 8)?);
    let complement: u64 = bytemuck::pod_read_unaligned(bytes.get(at + 8..at + 16)?);
    (value == !complement).then_some(Position::new(value))
}

fn flushed_slots(bytes: &[u8]) -> Option<Position> {
    let slots = bytes.get(PAGE..PAGE + 2 * SLOT_BYTES as usize)?;
    slots
        .chunks_exact(SLOT_BYTES as usize)
        .filter_map(FlushedSlot::parse)
        .max()
}

/// The mapped control page.
#[derive(Debug)]
pub(crate) struct ControlPage {
    map: FileMap,
    file: Box<dyn DiskFile>,
}

impl ControlPage {
    /// Lays the control file out anew for a writer and maps it; both marks start at `durable`.
    pub(crate) fn create(
        disk: &dyn Disk,
        dir: &Path,
        shape: &LogShape,
        first: Position,
        durable: Position,
    ) -> Result<Self> {
        let path = dir.join(CONTROL_NAME);
        let file = disk
            .open(&path, Open::OrCreate(Mode::FILE))
            .map_err(io_at("open", &path))?;
        let fixed = Fixed {
            magic: MAGIC,
            version: VERSION,
            crc: 0,
            log_id: shape.log_id.0,
            segment_bytes: shape.geometry.segment_bytes,
            chain: shape.chain as u64,
            boot_id: disk.boot_id(),
        };
        let mut pages = [0u8; 2 * PAGE];
        pages[..64].copy_from_slice(bytemuck::bytes_of(&fixed.seal()));
        for (at, mark) in [(APPENDED, durable), (DURABLE, durable), (FIRST, first)] {
            pages[at..at + 8].copy_from_slice(&mark.value().to_le_bytes());
            pages[at + 8..at + 16].copy_from_slice(&(!mark.value()).to_le_bytes());
        }
        let slot = FlushedSlot::new(durable, 0);
        pages[PAGE..PAGE + 64].copy_from_slice(bytemuck::bytes_of(&slot));
        let need = pages.len() as u64;
        // Live followers may have the page mapped: the marks are rewritten in place, never cut off.
        file.write_all_at(&pages[PAGE..], PAGE as u64)
            .map_err(write_at("write", &path, need))?;
        file.write_all_at(&pages[..PAGE], 0)
            .map_err(write_at("write", &path, need))?;
        file.set_bytes(2 * PAGE as u64)
            .map_err(io_at("size", &path))?;
        file.sync_all().map_err(io_at("sync", &path))?;
        let map = file.map_write(PAGE).map_err(io_at("map", &path))?;
        Ok(ControlPage { map, file })
    }

    /// Maps the control page of a log for a follower, with the log's shape.
    pub(crate) fn follow(disk: &dyn Disk, dir: &Path) -> Result<(Self, LogShape)> {
        let path = dir.join(CONTROL_NAME);
        let file = disk
            .open(&path, Open::Read)
            .map_err(|source| match source.kind() {
                std::io::ErrorKind::NotFound => JournalError::Missing {
                    path: dir.to_path_buf(),
                },
                _ => io_at("open", &path)(source),
            })?;
        let mut head = [0; PAGE];
        let read = file.read_exact_at(&mut head, 0);
        let Some(fixed) = read.ok().and_then(|()| Fixed::parse(&head)) else {
            return Err(JournalError::Corrupt {
                segment: path,
                position: Position::ZERO,
                index: 0,
                why: "the control page is not whole; open the log once for writing to renew it",
            });
        };
        let map = file.map_read(PAGE).map_err(io_at("map", &path))?;
        Ok((ControlPage { map, file }, fixed.shape()))
    }

    fn mark(&self, at: usize) -> &AtomicU64 {
        debug_assert!(at + 8 <= PAGE && at.is_multiple_of(8));
        // SAFETY: `at` is one of the constants above: aligned, within the mapped page, and only
        // ever accessed as an atomic. The map lives as long as `self`.
        unsafe { AtomicU64::from_ptr(self.map.as_ptr().add(at).cast()) }
    }

    fn load(&self, at: usize) -> u64 {
        // A relaxed load and a fence, because the page may be mapped read-only, where only relaxed
        // atomic loads are promised to work.
        let value = self.mark(at).load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        value
    }

    fn store_checked(&self, at: usize, position: Position) {
        self.mark(at).store(position.value(), Ordering::Release);
        self.mark(at + 8)
            .store(!position.value(), Ordering::Relaxed);
    }

    pub(crate) fn appended(&self) -> Position {
        Position::new(self.load(APPENDED))
    }

    pub(crate) fn durable(&self) -> Position {
        Position::new(self.load(DURABLE))
    }

    pub(crate) fn commit(&self) -> u64 {
        self.load(COMMIT)
    }

    pub(crate) fn applied(&self) -> u64 {
        self.load(APPLIED)
    }

    pub(crate) fn publish_appended(&self, position: Position) {
        self.store_checked(APPENDED, position);
    }

    pub(crate) fn publish_durable(&self, position: Position) {
        self.store_checked(DURABLE, position);
    }

    pub(crate) fn publish_commit(&self, mark: u64) {
        self.mark(COMMIT).store(mark, Ordering::Release);
    }

    pub(crate) fn publish_applied(&self, mark: u64) {
        self.mark(APPLIED).store(mark, Ordering::Release);
    }

    /// Writes durably down where the log starts, before the segments below are removed.
    pub(crate) fn release(&self, first: Position) -> std::io::Result<()> {
        self.store_checked(FIRST, first);
        self.file.sync_data()
    }

    /// Writes the flushed position down outside the mapped page and sends it on its way to disk
    /// without waiting: after a power cut it is a lower bound that recovery can trust.
    ///
    /// The note is a hint: if it cannot be written, recovery has less evidence and nothing is lost.
    pub(crate) fn note_flushed(&self, durable: Position, count: u64) {
        let slot = FlushedSlot::new(durable, count);
        let at = PAGE as u64 + (count % 2) * SLOT_BYTES;
        if self
            .file
            .write_all_at(bytemuck::bytes_of(&slot), at)
            .is_err()
        {
            return;
        }
        self.file.begin_write_back(PAGE as u64..2 * PAGE as u64);
    }
}
