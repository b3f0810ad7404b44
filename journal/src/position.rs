//! Places in a log: one 64-bit byte address that runs on over all segments.
//!
//! Used by everything here and by every follower as its cursor. Segment `n` of a log holds the
//! positions from `n * segment_bytes` up to the next one's start, its 4096-byte header included:
//!
//! ```text
//!  0      4096                     S      S+4096
//!  | head | frame | frame | .. END | head | frame | ..
//!  +------ segment 0 --------------+------ segment 1 ---
//! ```
//!
//! Always holds: positions are multiples of 64 and never reused for other bytes once flushed.

use std::fmt;

/// Every frame starts at a multiple of this.
pub const FRAME_ALIGN: u64 = 64;

/// Bytes at the head of each segment that hold no frames.
pub const SEGMENT_HEADER_BYTES: u64 = 4096;

/// A byte address in a log, monotone over its segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

impl Position {
    /// The very start of a log, before the first segment's header.
    pub const ZERO: Position = Position(0);

    /// Takes a stored byte address.
    pub const fn new(address: u64) -> Self {
        Position(address)
    }

    /// The byte address, for storing.
    pub const fn value(self) -> u64 {
        self.0
    }

    /// The place `bytes` further on.
    pub(crate) const fn plus(self, bytes: u64) -> Self {
        Position(self.0 + bytes)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Counts segments from the start of the log, released ones included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SegmentNumber(pub(crate) u64);

impl SegmentNumber {
    pub(crate) const fn next(self) -> Self {
        SegmentNumber(self.0 + 1)
    }
}

/// How positions map to segments: fixed when a log is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) segment_bytes: u64,
}

impl Geometry {
    pub(crate) const fn segment_of(self, position: Position) -> SegmentNumber {
        SegmentNumber(position.0 / self.segment_bytes)
    }

    pub(crate) const fn offset_of(self, position: Position) -> usize {
        (position.0 % self.segment_bytes) as usize
    }

    pub(crate) const fn start_of(self, number: SegmentNumber) -> Position {
        Position(number.0 * self.segment_bytes)
    }

    /// Where the first frame of a segment stands.
    pub(crate) const fn frames_of(self, number: SegmentNumber) -> Position {
        Position(number.0 * self.segment_bytes + SEGMENT_HEADER_BYTES)
    }
}

/// Rounds up to the next multiple of [`FRAME_ALIGN`].
pub(crate) const fn align_up(bytes: u64) -> u64 {
    (bytes + FRAME_ALIGN - 1) & !(FRAME_ALIGN - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_map_to_segments_and_back() {
        let geometry = Geometry {
            segment_bytes: 65_536,
        };
        for (address, number, offset) in [
            (0, 0, 0),
            (4096, 0, 4096),
            (65_535, 0, 65_535),
            (65_536, 1, 0),
            (200_000, 3, 3392),
        ] {
            let position = Position::new(address);
            assert_eq!(geometry.segment_of(position), SegmentNumber(number));
            assert_eq!(geometry.offset_of(position), offset);
            assert_eq!(
                geometry.start_of(SegmentNumber(number)).plus(offset as u64),
                position,
                "the two maps agree"
            );
        }
        assert_eq!([0, 1, 64, 65].map(align_up), [0, 64, 64, 128]);
    }
}
