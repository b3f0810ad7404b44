//! A segment file: its header page, and the maps through which it is read.
//!
//! Written by the appender when a segment goes live, read by readers and recovery. The header is
//! one 4096-byte page:
//!
//! ```text
//!  0 magic [u8;8]     8 version u32      12 crc u32 (of the page, with this field zero)
//! 16 log id [u8;16]  32 first position  40 first index (of its first frame)
//! 48 segment bytes   56 durable before: position known to be flushed when it went live
//! 64 previous chain [u8;24]             88 chain mode u8, then zeros
//! ```
//! Always holds: a mapped segment stays readable while anyone holds it, even after its release.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytemuck::{Pod, Zeroable};

use crate::config::{Chain, LogId};
use crate::disk::{Disk, FileMap, Open};
use crate::error::{JournalError, Result, io_at};
use crate::frame::{ChainValue, FRAME_HEADER_BYTES, Frame, FrameHeader};
use crate::position::{Geometry, Position, SEGMENT_HEADER_BYTES, SegmentNumber};

const MAGIC: [u8; 8] = *b"EXAHRLOG";
const VERSION: u32 = 1;
const PAGE: usize = SEGMENT_HEADER_BYTES as usize;

/// The header of a segment file as stored; the rest of its page is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct SegmentHeader {
    magic: [u8; 8],
    version: u32,
    crc: u32,
    log_id: [u8; 16],
    first_position: u64,
    first_index: u64,
    segment_bytes: u64,
    durable_before: u64,
    previous_chain: [u8; 24],
    chain: u8,
    zeros: [u8; 39],
}

const _: () = assert!(size_of::<SegmentHeader>() == 128);

impl SegmentHeader {
    pub(crate) fn new(
        shape: &LogShape,
        number: SegmentNumber,
        first_index: u64,
        durable_before: Position,
        previous_chain: ChainValue,
    ) -> Self {
        SegmentHeader {
            magic: MAGIC,
            version: VERSION,
            crc: 0,
            log_id: shape.log_id.0,
            first_position: shape.geometry.start_of(number).value(),
            first_index,
            segment_bytes: shape.geometry.segment_bytes,
            durable_before: durable_before.value(),
            previous_chain: previous_chain.0,
            chain: shape.chain as u8,
            zeros: [0; 39],
        }
    }

    /// The sealed header page.
    pub(crate) fn page(mut self) -> [u8; PAGE] {
        self.crc = 0;
        let mut page = [0; PAGE];
        page[..128].copy_from_slice(bytemuck::bytes_of(&self));
        let crc = crc_fast::crc32_iscsi(&page);
        page[12..16].copy_from_slice(&crc.to_le_bytes());
        page
    }

    /// Reads a header page, refusing one that is damaged.
    pub(crate) fn parse(page: &[u8]) -> std::result::Result<Self, &'static str> {
        let Some(page) = page.get(..PAGE) else {
            return Err("the file is shorter than its header");
        };
        let mut blank: [u8; PAGE] = [0; PAGE];
        blank.copy_from_slice(page);
        blank[12..16].fill(0);
        let header: SegmentHeader = bytemuck::pod_read_unaligned(&page[..128]);
        if header.magic != MAGIC {
            return Err("the segment header's magic is wrong");
        }
        if crc_fast::crc32_iscsi(&blank) != header.crc {
            return Err("the segment header's checksum does not match");
        }
        if header.version != VERSION || header.chain > 1 {
            return Err("the segment header has an unknown format version");
        }
        Ok(header)
    }

    /// Reads the header of a segment file, if it has a whole one.
    pub(crate) fn read(disk: &dyn Disk, path: &Path) -> Option<Self> {
        let mut page = [0; PAGE];
        disk.open(path, Open::Read)
            .and_then(|file| file.read_exact_at(&mut page, 0))
            .ok()?;
        SegmentHeader::parse(&page).ok()
    }

    /// The index of the first frame, a hint for searches.
    pub fn first_index(&self) -> u64 {
        self.first_index
    }

    /// A position known to be flushed when the segment went live.
    pub(crate) fn durable_before(&self) -> Position {
        Position::new(self.durable_before)
    }

    /// The chain value before the first frame.
    pub(crate) fn previous_chain(&self) -> ChainValue {
        ChainValue(self.previous_chain)
    }

    pub(crate) fn first_position(&self) -> Position {
        Position::new(self.first_position)
    }

    /// The settings of the log this segment belongs to.
    pub(crate) fn shape(&self) -> LogShape {
        LogShape {
            log_id: LogId(self.log_id),
            geometry: Geometry {
                segment_bytes: self.segment_bytes,
            },
            chain: if self.chain == Chain::On as u8 {
                Chain::On
            } else {
                Chain::Off
            },
        }
    }
}

/// What is fixed for all segments of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogShape {
    pub(crate) log_id: LogId,
    pub(crate) geometry: Geometry,
    pub(crate) chain: Chain,
}

/// The file name of a live segment.
pub(crate) fn live_name(dir: &Path, shape: &LogShape, number: SegmentNumber) -> PathBuf {
    segment_at(dir, shape.geometry.start_of(number))
}

/// The file of the live segment that begins at a position.
pub(crate) fn segment_at(dir: &Path, start: Position) -> PathBuf {
    dir.join(format!("{:020}.log", start.value()))
}

/// The name of a segment that is zeroed and waits for its use.
pub(crate) fn staged_name(dir: &Path, shape: &LogShape, number: SegmentNumber) -> PathBuf {
    live_name(dir, shape, number).with_extension("staged")
}

/// The name of a segment that is being zeroed.
pub(crate) fn staging_name(dir: &Path, shape: &LogShape, number: SegmentNumber) -> PathBuf {
    live_name(dir, shape, number).with_extension("staging")
}

/// A whole segment, mapped for reading.
///
/// Everything below the log's appended mark is fixed; bytes above it may be written at any time, so no
/// reference is ever formed to them while there is a writer. The file must not be shortened from outside
/// while it is mapped.
#[derive(Debug)]
pub struct SegmentMap {
    map: FileMap,
    path: PathBuf,
    header: SegmentHeader,
}

/// The bytes from `offset` to `end`, cut where the map ends. Whoever calls knows that they are fixed.
fn fixed(map: &FileMap, offset: usize, end: usize) -> &[u8] {
    let end = end.min(map.bytes());
    let offset = offset.min(end);
    // SAFETY: the range lies within the map by the lines above, and lives as long as it. Nobody writes
    // to these bytes: they are a header, whole frames below the appended mark, or of a log without a
    // writer here; the journal's writer touches only what lies above that mark, and never truncates.
    unsafe { std::slice::from_raw_parts(map.as_ptr().add(offset), end - offset) }
}

impl SegmentMap {
    /// Maps a live segment and checks its header against the log's shape, if that is known.
    pub(crate) fn open(
        disk: &dyn Disk,
        path: PathBuf,
        shape: Option<&LogShape>,
    ) -> Result<Arc<SegmentMap>> {
        let file = disk.open(&path, Open::Read).map_err(io_at("open", &path))?;
        let bytes = file.bytes().map_err(io_at("measure", &path))?;
        // No address space is that large, so the system refuses what is cut here.
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let map = file.map_read(bytes).map_err(io_at("map", &path))?;
        // The header is complete before a segment goes live, and never written again.
        let parsed = SegmentHeader::parse(fixed(&map, 0, PAGE)).and_then(|header| {
            let known = shape.unwrap_or(&header.shape()).to_owned();
            if known != header.shape() {
                return Err("the segment belongs to another log");
            }
            Ok(header)
        });
        match parsed {
            Ok(header) if map.bytes() as u64 != header.segment_bytes => {
                Err(JournalError::WrongSize {
                    segment: path,
                    found: map.bytes() as u64,
                    expected: header.segment_bytes,
                })
            }
            Ok(header) => Ok(Arc::new(SegmentMap { map, path, header })),
            Err(why) => Err(JournalError::Corrupt {
                segment: path,
                position: Position::ZERO,
                index: 0,
                why,
            }),
        }
    }

    /// The segment's header.
    pub fn header(&self) -> &SegmentHeader {
        &self.header
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn number(&self) -> SegmentNumber {
        SegmentNumber(self.header.first_position / self.header.segment_bytes)
    }

    /// Everything from `offset` to the end of the segment, of a log that has no writer in this process:
    /// a scan holds its lock, or reads what another process leaves.
    pub(crate) fn room(&self, offset: usize) -> &[u8] {
        fixed(&self.map, offset, self.map.bytes())
    }

    /// Everything from `offset` to `end`, which lies at or below the appended mark.
    pub(crate) fn room_below(&self, offset: usize, end: usize) -> &[u8] {
        fixed(&self.map, offset, end)
    }

    /// The frame at a place whose header has been checked before.
    pub(crate) fn frame(&self, offset: usize, length: usize) -> Frame<'_> {
        let bytes = fixed(&self.map, offset, offset + length);
        let header: &FrameHeader = bytemuck::from_bytes(&bytes[..FRAME_HEADER_BYTES]);
        Frame {
            header,
            payload: &bytes[FRAME_HEADER_BYTES..],
            position: self.header.first_position().plus(offset as u64),
        }
    }
}

/// A frame that keeps its segment mapped: owned, cheap to clone, and without a copy.
#[derive(Clone, Debug)]
pub struct FrameRef {
    map: Arc<SegmentMap>,
    offset: u32,
    length: u32,
}

impl FrameRef {
    /// Takes a place whose frame header has been checked.
    pub(crate) fn new(map: Arc<SegmentMap>, offset: usize, length: usize) -> Self {
        FrameRef {
            map,
            offset: offset as u32,
            length: length as u32,
        }
    }

    /// The frame, borrowed from the map.
    pub fn frame(&self) -> Frame<'_> {
        self.map.frame(self.offset as usize, self.length as usize)
    }

    /// The stored header.
    pub fn header(&self) -> &FrameHeader {
        self.frame().header
    }

    /// The payload without padding.
    pub fn payload(&self) -> &[u8] {
        self.frame().payload
    }
}

/// Header and payload in one piece, without padding; the payload starts at
/// [`FRAME_HEADER_BYTES`].
impl std::ops::Deref for FrameRef {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let (offset, length) = (self.offset as usize, self.length as usize);
        fixed(&self.map.map, offset, offset + length)
    }
}

/// The same bytes as by dereference, so that owners of byte slices can be made from a frame.
impl AsRef<[u8]> for FrameRef {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape() -> LogShape {
        LogShape {
            log_id: LogId(*b"0123456789abcdef"),
            geometry: Geometry {
                segment_bytes: 65_536,
            },
            chain: Chain::On,
        }
    }

    #[test]
    fn header_bytes_are_golden() {
        let header = SegmentHeader::new(
            &shape(),
            SegmentNumber(3),
            0x1122_3344_5566_7788,
            Position::new(0x0203_04c0),
            ChainValue([0xab; 24]),
        );
        let page = header.page();
        let mut golden = Vec::new();
        golden.extend_from_slice(b"EXAHRLOG");
        golden.extend_from_slice(&[1, 0, 0, 0]);
        golden.extend_from_slice(&GOLDEN_CRC);
        golden.extend_from_slice(b"0123456789abcdef");
        golden.extend_from_slice(&[0, 0, 3, 0, 0, 0, 0, 0]);
        golden.extend_from_slice(&[0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11]);
        golden.extend_from_slice(&[0, 0, 1, 0, 0, 0, 0, 0]);
        golden.extend_from_slice(&[0xc0, 0x04, 0x03, 0x02, 0, 0, 0, 0]);
        golden.extend_from_slice(&[0xab; 24]);
        golden.push(1);
        golden.resize(4096, 0);
        assert_eq!(page[..128], golden[..128]);
        assert!(page[128..].iter().all(|&byte| byte == 0));
    }

    /// Computed by a bitwise CRC32C outside this crate.
    const GOLDEN_CRC: [u8; 4] = [0xd8, 0xf5, 0x5a, 0x8e];

    #[test]
    fn every_flipped_byte_of_a_header_is_refused() {
        let header = SegmentHeader::new(
            &shape(),
            SegmentNumber(1),
            7,
            Position::ZERO,
            ChainValue([1; 24]),
        );
        let page = header.page();
        assert!(SegmentHeader::parse(&page).is_ok());
        for at in 0..page.len() {
            let mut bad = page;
            bad[at] ^= 0x20;
            assert!(
                SegmentHeader::parse(&bad).is_err(),
                "byte {at} was not missed"
            );
        }
    }
}
