//! A batch of commands as it is proposed: the stamp, then the records.
//!
//! Made by the sequencer on the leader. The stamp travels in the raft entry's context, so that the
//! entry's data is exactly the payload of the journal frame.
//!
//! ```text
//! context:  | time, ns | first command | count |   20 bytes, little-endian
//! data:     | record | record | ...               64-byte lines
//! ```

use exahour_wire::ids::CommandSequence;
use exahour_wire::units::Nanos;

/// Bytes of a stamp.
pub(crate) const STAMP_BYTES: usize = 20;

/// What a leader says of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// When it was put together: UTC, never below an earlier one.
    pub(crate) time: Nanos,
    /// The number of the first command.
    pub(crate) first: CommandSequence,
    /// How many commands.
    pub(crate) count: u32,
}

impl Stamp {
    /// The bytes of the stamp.
    pub(crate) fn to_bytes(self) -> [u8; STAMP_BYTES] {
        let mut bytes = [0; STAMP_BYTES];
        bytes[..8].copy_from_slice(&self.time.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.first.0.to_le_bytes());
        bytes[16..].copy_from_slice(&self.count.to_le_bytes());
        bytes
    }

    /// The stamp in these bytes, or `None` where they are none.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; STAMP_BYTES] = bytes.try_into().ok()?;
        let (time, rest) = bytes.split_first_chunk()?;
        let (first, rest) = rest.split_first_chunk()?;
        let (count, _) = rest.split_first_chunk()?;
        Some(Self {
            time: Nanos(u64::from_le_bytes(*time)),
            first: CommandSequence(u64::from_le_bytes(*first)),
            count: u32::from_le_bytes(*count),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        let stamp = Stamp {
            time: Nanos(7),
            first: CommandSequence(1 << 40),
            count: 1_024,
        };
        assert_eq!(Stamp::from_bytes(&stamp.to_bytes()), Some(stamp));
        assert_eq!(Stamp::from_bytes(&stamp.to_bytes()[1..]), None);
    }
}
