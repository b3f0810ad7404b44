//! Numbers and messages one behind the other: the form in which views are kept.
//!
//! Written and read by each part of the views for itself, in the same order.
//!
//! ```text
//! number u64, little endian | message: its header and block | optional message: 0, or 1 and the message
//! ```
//! Always holds: what is read never leaves the bytes, and nothing is reserved for more than they can hold.
//! Does not: check that the bytes are those that were written; whoever keeps them does.

use exahour_wire::message::{Message, peek_header};

/// Writes.
#[derive(Debug, Default)]
pub(crate) struct PageWriter {
    bytes: Vec<u8>,
}

impl PageWriter {
    pub(crate) fn number(&mut self, number: u64) {
        self.bytes.extend_from_slice(&number.to_le_bytes());
    }

    pub(crate) fn signed(&mut self, number: i64) {
        self.bytes.extend_from_slice(&number.to_le_bytes());
    }

    pub(crate) fn wide(&mut self, number: u128) {
        self.bytes.extend_from_slice(&number.to_le_bytes());
    }

    /// How many parts follow.
    pub(crate) fn count(&mut self, parts: usize) {
        // An address space has 64 bits at most.
        self.number(parts as u64);
    }

    pub(crate) fn message(&mut self, message: &impl Message) {
        self.bytes.extend_from_slice(message.bytes());
    }

    pub(crate) fn optional(&mut self, message: Option<&impl Message>) {
        self.count(usize::from(message.is_some()));
        if let Some(message) = message {
            self.message(message);
        }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Reads; everything is `None` where the bytes are not what is read.
#[derive(Debug)]
pub(crate) struct PageReader<'a> {
    rest: &'a [u8],
}

impl<'a> PageReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn array<const BYTES: usize>(&mut self) -> Option<[u8; BYTES]> {
        let (array, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*array)
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn small(&mut self) -> Option<u32> {
        self.number()?.try_into().ok()
    }

    pub(crate) fn signed(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    pub(crate) fn wide(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }

    /// How many parts follow, of which each has at least so many bytes.
    pub(crate) fn count(&mut self, bytes_each: usize) -> Option<usize> {
        let count = usize::try_from(self.number()?).ok()?;
        (count.checked_mul(bytes_each)? <= self.rest.len()).then_some(count)
    }

    /// A message of just the length that this program knows: a view of another schema is none.
    pub(crate) fn message<M: Message>(&mut self) -> Option<M> {
        let header = peek_header(self.rest)?;
        if header != M::HEADER {
            return None;
        }
        let message = M::read(self.rest)?;
        self.rest = &self.rest[M::BYTES..];
        Some(message)
    }

    /// The inner `None` is a message that is not there.
    pub(crate) fn optional<M: Message>(&mut self) -> Option<Option<M>> {
        match self.number()? {
            0 => Some(None),
            1 => self.message().map(Some),
            _ => None,
        }
    }

    /// Whether all is read.
    pub(crate) fn done(&self) -> bool {
        self.rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use exahour_wire::market_data::{PriceBand, Statistics};

    use super::*;

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let band = PriceBand::blank();
        let mut writer = PageWriter::default();
        writer.number(7);
        writer.signed(-7);
        writer.wide(1 << 100);
        writer.optional(Some(&band));
        writer.optional(None::<&PriceBand>);
        writer.count(3);
        let bytes = writer.into_bytes();
        let mut reader = PageReader::new(&bytes);
        assert_eq!(reader.number(), Some(7));
        assert_eq!(reader.signed(), Some(-7));
        assert_eq!(reader.wide(), Some(1 << 100));
        assert_eq!(reader.optional(), Some(Some(band)));
        assert_eq!(reader.optional::<PriceBand>(), Some(None));
        assert_eq!(reader.count(1), None, "nothing follows");
        assert!(reader.done());
        let mut reader = PageReader::new(band.bytes());
        assert_eq!(reader.message::<Statistics>(), None);
        let cut = &band.bytes()[..PriceBand::BYTES - 1];
        assert_eq!(PageReader::new(cut).message::<PriceBand>(), None);
    }
}
