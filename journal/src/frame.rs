//! The frame: a 64-byte header and an opaque payload, sealed with CRC32C and a hash chain.
//!
//! Sealed by the appender, checked by readers and recovery. Little endian, 64-byte aligned:
//!
//! ```text
//!  0 length u32         64 + payload bytes; the frame occupies this rounded up to 64
//!  4 crc u32            CRC32C of bytes 8..length
//!  8 index u64   16 term u32   20 count u16   22 kind u8   23 version u8
//! 24 first_sequence u64        32 time_ns u64
//! 40 chain [u8;24]      chain on: BLAKE3(previous chain, bytes 8..40, payload), first 24 bytes
//!                       chain off: the frame's own position in 8 bytes, then zeros
//! 64 payload, zeros up to the next multiple of 64
//! ```
//! Always holds: a frame copied to another place fails its check, chain or no chain.

use bytemuck::{Pod, Zeroable};

use crate::config::{Chain, LogId};
#[cfg(feature = "defects")]
use crate::defects::{self, Defect};
use crate::position::{FRAME_ALIGN, Position, align_up};

#[cfg(not(target_endian = "little"))]
compile_error!("frames are stored as they lie in memory, which must be little endian");

/// The version of the frame format.
pub const FRAME_VERSION: u8 = 1;
/// Bytes of a frame header.
pub const FRAME_HEADER_BYTES: usize = 64;
/// The first of the kinds that the journal keeps for itself.
pub const KIND_RESERVED_FIRST: u8 = 254;
/// A frame that starts a new generation after a gap of indices; its index is the one before.
pub const KIND_RESTART: u8 = 254;
/// The mark that closes a segment; readers skip it.
pub const KIND_SEGMENT_END: u8 = 255;

/// The header of a frame as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct FrameHeader {
    /// Header and payload in bytes, without padding.
    pub length: u32,
    /// CRC32C of bytes 8..length.
    pub crc: u32,
    /// Raft index.
    pub index: u64,
    /// Raft term.
    pub term: u32,
    /// Messages in the payload.
    pub count: u16,
    /// What the payload is; opaque here.
    pub kind: u8,
    /// Format version.
    pub version: u8,
    /// Sequence number of the first message.
    pub first_sequence: u64,
    /// The leader's stamp, UTC nanoseconds.
    pub time_ns: u64,
    /// Running hash, or the frame's position when the chain is off.
    pub chain: [u8; 24],
}

const _: () = assert!(size_of::<FrameHeader>() == FRAME_HEADER_BYTES);

/// What the caller says about a frame; the journal adds the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameMeta {
    /// Raft index, at most one above the last.
    pub index: u64,
    /// Raft term.
    pub term: u32,
    /// Messages in the payload.
    pub count: u16,
    /// What the payload is, below [`KIND_RESERVED_FIRST`].
    pub kind: u8,
    /// Sequence number of the first message.
    pub first_sequence: u64,
    /// The leader's stamp, UTC nanoseconds.
    pub time_ns: u64,
}

/// The running hash at some place of a log; all zero when the chain is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainValue(pub [u8; 24]);

impl ChainValue {
    /// What the chain starts from: the hash of the log's identity, or zeros when it is off.
    pub fn genesis(chain: Chain, log_id: LogId) -> Self {
        match chain {
            Chain::On => ChainValue::of(&log_id.0),
            Chain::Off => ChainValue([0; 24]),
        }
    }

    fn of(bytes: &[u8]) -> Self {
        ChainValue::cut(blake3::hash(bytes))
    }

    fn cut(hash: blake3::Hash) -> Self {
        let mut value = [0; 24];
        value.copy_from_slice(&hash.as_bytes()[..24]);
        ChainValue(value)
    }
}

/// One whole frame, borrowed from the map it lies in.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The stored header.
    pub header: &'a FrameHeader,
    /// The payload without padding.
    pub payload: &'a [u8],
    /// Where the frame starts.
    pub position: Position,
}

impl Frame<'_> {
    /// Where the next frame can start, in the same segment.
    pub fn end(&self) -> Position {
        self.position.plus(align_up(u64::from(self.header.length)))
    }
}

/// Seals the frame whose payload already stands at `buffer[64..]`: writes padding and header.
///
/// Returns the bytes the frame occupies and the new chain value. The header area is used first to
/// lay the hash's input out in one piece before the payload: no second copy is made.
pub(crate) fn seal(
    buffer: &mut [u8],
    meta: &FrameMeta,
    payload_bytes: usize,
    position: Position,
    chain: Chain,
    previous: ChainValue,
) -> (usize, ChainValue) {
    let length = FRAME_HEADER_BYTES + payload_bytes;
    let occupied = length.next_multiple_of(FRAME_ALIGN as usize);
    buffer[length..occupied].fill(0);
    let mut header = FrameHeader {
        length: length as u32,
        crc: 0,
        index: meta.index,
        term: meta.term,
        count: meta.count,
        kind: meta.kind,
        version: FRAME_VERSION,
        first_sequence: meta.first_sequence,
        time_ns: meta.time_ns,
        chain: [0; 24],
    };
    let value = match chain {
        Chain::On => {
            buffer[8..32].copy_from_slice(&previous.0);
            buffer[32..64].copy_from_slice(&bytemuck::bytes_of(&header)[8..40]);
            ChainValue::of(&buffer[8..length])
        }
        Chain::Off => previous,
    };
    header.chain = stamp(chain, value, position);
    buffer[..FRAME_HEADER_BYTES].copy_from_slice(bytemuck::bytes_of(&header));
    let crc = crc_fast::crc32_iscsi(&buffer[8..length]);
    buffer[4..8].copy_from_slice(&crc.to_le_bytes());
    (occupied, value)
}

/// What goes into the header's chain field.
fn stamp(chain: Chain, value: ChainValue, position: Position) -> [u8; 24] {
    match chain {
        Chain::On => value.0,
        Chain::Off => {
            let mut field = [0; 24];
            field[..8].copy_from_slice(&position.value().to_le_bytes());
            field
        }
    }
}

/// Why bytes are not a whole frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// All 64 bytes of the header are zero: nothing was written here.
    Blank,
    /// Something is here, but no whole frame.
    Broken(&'static str),
}

impl Damage {
    pub(crate) fn why(self) -> &'static str {
        match self {
            Damage::Blank => "there are only zeros where a frame should be",
            Damage::Broken(why) => why,
        }
    }
}

/// Reads the header at the start of `room`, which ends with the segment; checks only bounds.
pub(crate) fn header_in(room: &[u8]) -> Result<&FrameHeader, Damage> {
    let Some(bytes) = room.get(..FRAME_HEADER_BYTES) else {
        return Err(Damage::Broken("the header reaches beyond the segment"));
    };
    let header: &FrameHeader = bytemuck::try_from_bytes(bytes)
        .map_err(|_| Damage::Broken("the frame is not aligned to 64 bytes"))?;
    if header.length == 0 && bytes.iter().all(|&byte| byte == 0) {
        return Err(Damage::Blank);
    }
    if header.version != FRAME_VERSION {
        return Err(Damage::Broken("the frame has an unknown format version"));
    }
    if (header.length as usize) < FRAME_HEADER_BYTES {
        return Err(Damage::Broken("the frame's length is below its header's"));
    }
    if align_up(u64::from(header.length)) > room.len() as u64 {
        return Err(Damage::Broken(
            "the frame's length reaches beyond its segment",
        ));
    }
    Ok(header)
}

/// Checks checksum and padding of the frame at the start of `room`.
pub(crate) fn check_sum(room: &[u8]) -> Result<&FrameHeader, Damage> {
    let header = header_in(room)?;
    let length = header.length as usize;
    #[cfg(feature = "defects")]
    if defects::armed(Defect::UncheckedDamage) {
        return Ok(header);
    }
    if crc_fast::crc32_iscsi(&room[8..length]) != header.crc {
        return Err(Damage::Broken("the checksum does not match"));
    }
    let occupied = length.next_multiple_of(FRAME_ALIGN as usize);
    if room[length..occupied].iter().any(|&byte| byte != 0) {
        return Err(Damage::Broken("the padding is not zero"));
    }
    Ok(header)
}

/// Checks that a frame stands at its place: follows `previous`, or carries its position.
///
/// Returns the chain value after it. The segment's end mark repeats the chain value before it.
pub(crate) fn check_place(
    room: &[u8],
    header: &FrameHeader,
    position: Position,
    chain: Chain,
    previous: ChainValue,
) -> Result<ChainValue, Damage> {
    let value = match chain {
        Chain::Off => previous,
        Chain::On if header.kind == KIND_SEGMENT_END => previous,
        Chain::On => {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&previous.0);
            hasher.update(&room[8..40]);
            hasher.update(&room[FRAME_HEADER_BYTES..header.length as usize]);
            ChainValue::cut(hasher.finalize())
        }
    };
    if header.chain != stamp(chain, value, position) {
        return Err(Damage::Broken(match chain {
            Chain::On => "the hash chain is broken",
            Chain::Off => "the frame belongs to another position",
        }));
    }
    Ok(value)
}

/// Writes the mark that closes a segment at `position`.
pub(crate) fn end_mark(
    position: Position,
    last_index: u64,
    last_term: u32,
    chain: Chain,
    value: ChainValue,
) -> [u8; FRAME_HEADER_BYTES] {
    let mut header = FrameHeader {
        length: FRAME_HEADER_BYTES as u32,
        crc: 0,
        index: last_index,
        term: last_term,
        count: 0,
        kind: KIND_SEGMENT_END,
        version: FRAME_VERSION,
        first_sequence: 0,
        time_ns: 0,
        chain: stamp(chain, value, position),
    };
    header.crc = crc_fast::crc32_iscsi(&bytemuck::bytes_of(&header)[8..]);
    let mut bytes = [0; FRAME_HEADER_BYTES];
    bytes.copy_from_slice(bytemuck::bytes_of(&header));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes 0..64 with the chain on; CRC32C and BLAKE3 computed by other programs.
    const GOLDEN_CHAINED: [u8; 64] = [
        0x86, 0x00, 0x00, 0x00, 0xea, 0xf5, 0xc8, 0x43, 0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02,
        0x01, 0x14, 0x13, 0x12, 0x11, 0x22, 0x21, 0x31, 0x01, 0x48, 0x47, 0x46, 0x45, 0x44, 0x43,
        0x42, 0x41, 0x58, 0x57, 0x56, 0x55, 0x54, 0x53, 0x52, 0x51, 0xa9, 0x22, 0xa7, 0x85, 0x32,
        0x2c, 0x42, 0x01, 0xba, 0x89, 0x28, 0x23, 0x87, 0x9b, 0x2b, 0xbf, 0xa6, 0x2a, 0x4a, 0x03,
        0x14, 0x4a, 0xfa, 0x1e,
    ];
    /// The same with the chain off, at position 4096 + 128.
    const GOLDEN_PLACED: [u8; 64] = [
        0x86, 0x00, 0x00, 0x00, 0x53, 0xa3, 0xdc, 0xe0, 0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02,
        0x01, 0x14, 0x13, 0x12, 0x11, 0x22, 0x21, 0x31, 0x01, 0x48, 0x47, 0x46, 0x45, 0x44, 0x43,
        0x42, 0x41, 0x58, 0x57, 0x56, 0x55, 0x54, 0x53, 0x52, 0x51, 0x80, 0x10, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00,
    ];
    const POSITION: Position = Position::new(4096 + 128);

    #[repr(align(64))]
    struct Room([u8; 256]);

    /// A sealed frame of 70 payload bytes in a buffer that held something else before.
    fn sealed(chain: Chain) -> (Room, usize, ChainValue) {
        let meta = FrameMeta {
            index: 0x0102_0304_0506_0708,
            term: 0x1112_1314,
            count: 0x2122,
            kind: 0x31,
            first_sequence: 0x4142_4344_4546_4748,
            time_ns: 0x5152_5354_5556_5758,
        };
        let mut room = Room([0xee; 256]);
        (1..=70).for_each(|byte| room.0[63 + usize::from(byte)] = byte);
        let genesis = ChainValue::genesis(chain, LogId(*b"0123456789abcdef"));
        let (occupied, value) = seal(&mut room.0, &meta, 70, POSITION, chain, genesis);
        (room, occupied, value)
    }

    #[test]
    fn frame_bytes_are_golden() {
        for (chain, golden) in [(Chain::On, GOLDEN_CHAINED), (Chain::Off, GOLDEN_PLACED)] {
            let (room, occupied, value) = sealed(chain);
            assert_eq!(occupied, 192);
            assert_eq!(room.0[..64], golden);
            assert!((1..=70).eq(room.0[64..134].iter().copied()));
            assert_eq!(room.0[134..192], [0; 58]);
            let header = check_sum(&room.0).unwrap();
            let genesis = ChainValue::genesis(chain, LogId(*b"0123456789abcdef"));
            assert_eq!(
                check_place(&room.0, header, POSITION, chain, genesis),
                Ok(value)
            );
        }
    }

    #[test]
    fn every_flipped_bit_of_a_frame_is_found() {
        for chain in [Chain::On, Chain::Off] {
            let (mut room, occupied, _) = sealed(chain);
            for bit in 0..occupied * 8 {
                room.0[bit / 8] ^= 1 << (bit % 8);
                assert!(check_sum(&room.0).is_err(), "bit {bit} was not missed");
                room.0[bit / 8] ^= 1 << (bit % 8);
            }
            assert!(check_sum(&room.0).is_ok());
        }
    }

    #[test]
    fn a_frame_elsewhere_is_found() {
        let (room, ..) = sealed(Chain::Off);
        let header = check_sum(&room.0).unwrap();
        let zeros = ChainValue([0; 24]);
        let elsewhere = POSITION.plus(64);
        assert!(check_place(&room.0, header, elsewhere, Chain::Off, zeros).is_err());
        let (room, ..) = sealed(Chain::On);
        let header = check_sum(&room.0).unwrap();
        assert!(check_place(&room.0, header, POSITION, Chain::On, zeros).is_err());
    }
}
