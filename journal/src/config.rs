//! What a log is set up with: its folder, identity, sizes and the way it flushes.
//!
//! Given to [`crate::Journal::create`] and [`crate::Journal::open`]. The identity, the segment size
//! and the chain are fixed when the log is created; the rest may differ at every start.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, system_disk};
use crate::error::{JournalError, Result};
use crate::position::{FRAME_ALIGN, Position, SEGMENT_HEADER_BYTES};

/// Size of a segment unless configured.
pub const SEGMENT_BYTES_DEFAULT: u64 = 64 << 20;
/// The smallest segment: a page of header, and room for a few frames.
pub const SEGMENT_BYTES_MIN: u64 = 16 << 10;
/// The largest segment.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// Largest frame, header included, unless configured.
pub const FRAME_BYTES_MAX_DEFAULT: u64 = 4 << 20;

// Offsets within a segment are stored in 32 bits.
const _: () = assert!(SEGMENT_BYTES_MAX <= u32::MAX as u64);
const _: () = assert!(FRAME_BYTES_MAX_DEFAULT <= SEGMENT_BYTES_DEFAULT - SEGMENT_HEADER_BYTES);

/// The identity of a log, drawn at random by whoever creates it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LogId(pub [u8; 16]);

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Whether frames carry the running hash that makes tampering evident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Chain {
    /// No hash: for logs that can be rebuilt.
    Off = 0,
    /// Each frame's hash covers all frames before it.
    On = 1,
}

/// How appended bytes reach the disk; docs/decisions/0001-flush-body.md has the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushBody {
    /// pwrite at append, fdatasync at flush.
    Pwrite,
    /// pwrite at append, fdatasync submitted through io_uring at flush.
    Uring,
    /// A store through a shared map at append, fdatasync at flush.
    Map,
}

/// How far bytes are believed without checking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Every frame's checksum, and at recovery the chain, is checked.
    Every,
    /// Only bounds and order are checked; recovery still checks the unflushed tail in full.
    Trust,
}

/// What opening does about damage to flushed frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDamage {
    /// It is refused, and nothing is changed: for who has no other copy.
    Refuse,
    /// The log is cut there, and what follows is kept in a folder of its own, `damaged-POSITION`: for who
    /// can have the rest from others. Every frame is checked then, whatever [`Verify`] says.
    SetAside,
}

/// The settings of a log.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the folder is.
    pub disk: Arc<dyn Disk>,
    /// The folder, which belongs to the log alone.
    pub dir: PathBuf,
    /// Identity, fixed at creation.
    pub log_id: LogId,
    /// Bytes of a segment file, a multiple of 4096, fixed at creation.
    pub segment_bytes: u64,
    /// Largest frame, header included, in bytes.
    pub frame_bytes_max: u64,
    /// Fixed at creation.
    pub chain: Chain,
    /// How bytes reach the disk.
    pub flush: FlushBody,
    /// How much of the log recovery checks.
    pub verify: Verify,
    /// What opening does about damage to flushed frames.
    pub on_damage: OnDamage,
    /// A frame of a log without a chain that its owner knows to be on disk, by where it starts: segments before its
    /// own are not looked at when the log is opened; whoever reads them checks them. Zero for none.
    pub believed_before: Position,
    /// The folder that released segments are moved to, on the same file system; `None` where they are removed.
    pub archive: Option<PathBuf>,
}

impl Config {
    /// The default settings for a log in `dir` on the machine's own disk.
    pub fn new(dir: impl AsRef<Path>, log_id: LogId) -> Self {
        Config {
            disk: system_disk(),
            dir: dir.as_ref().to_path_buf(),
            log_id,
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            frame_bytes_max: FRAME_BYTES_MAX_DEFAULT,
            chain: Chain::On,
            flush: FlushBody::Pwrite,
            verify: Verify::Trust,
            on_damage: OnDamage::Refuse,
            believed_before: Position::ZERO,
            archive: None,
        }
    }

    /// The same with another segment size in bytes; the largest frame shrinks to fit.
    pub fn with_segment_bytes(mut self, segment_bytes: u64) -> Self {
        self.segment_bytes = segment_bytes;
        let room = segment_bytes.saturating_sub(SEGMENT_HEADER_BYTES);
        self.frame_bytes_max = self.frame_bytes_max.min(room);
        self
    }

    /// Refuses settings out of range.
    pub(crate) fn check(&self) -> Result<()> {
        let setting = |what, value, rule| Err(JournalError::Setting { what, value, rule });
        let segment = self.segment_bytes;
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&segment) {
            return setting(
                "segment_bytes",
                segment,
                "must lie between 16 KiB and 1 GiB",
            );
        }
        if !segment.is_multiple_of(SEGMENT_HEADER_BYTES) {
            return setting("segment_bytes", segment, "must be a multiple of 4096");
        }
        let frame = self.frame_bytes_max;
        if frame > segment - SEGMENT_HEADER_BYTES {
            return setting(
                "frame_bytes_max",
                frame,
                "must fit a segment after its 4096 header",
            );
        }
        if frame < FRAME_ALIGN {
            return setting(
                "frame_bytes_max",
                frame,
                "must hold at least a 64-byte header",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let good = Config::new("x", LogId::default());
        assert!(good.check().is_ok());
        for bytes in [0, 4096, 16_383, 16_385, 20_000, 70_000, (1 << 30) + 4096] {
            let refusal = good.clone().with_segment_bytes(bytes).check().unwrap_err();
            assert!(refusal.to_string().contains("segment_bytes"), "{refusal}");
        }
        for frame_bytes_max in [0, 63, u64::MAX] {
            let refusal = Config {
                frame_bytes_max,
                ..good.clone()
            }
            .check()
            .unwrap_err();
            assert!(refusal.to_string().contains("frame_bytes_max"), "{refusal}");
        }
    }
}
