//! The bounded bytes on their way to one client.
//!
//! Called by the feed and drop copy servers, which write whole framed messages, and by whoever
//! moves the bytes to the socket.
//!
//! Unlike a session's outbox it takes many messages in one copy, which is how the feed moves.
//!
//! Always holds: memory is fixed at construction; a message is written whole or not at all.

use exahour_wire::framing::{FRAMING_BYTES, framing_header};
use exahour_wire::limits::MESSAGE_BYTES_MAX;

/// Bytes that wait for the socket of one client.
#[derive(Debug)]
pub struct SendBuffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

/// The least capacity of an buffer: a few messages.
pub const SEND_BYTES_MIN: usize = 4096;

// An empty buffer takes any message.
const _: () = assert!(SEND_BYTES_MIN >= FRAMING_BYTES + MESSAGE_BYTES_MAX);

impl SendBuffer {
    /// A buffer of `bytes` bytes, or [`SEND_BYTES_MIN`] where that is more.
    pub fn new(bytes: usize) -> Self {
        let bytes = vec![0; bytes.max(SEND_BYTES_MIN)].into_boxed_slice();
        SendBuffer {
            bytes,
            start: 0,
            end: 0,
        }
    }

    /// What waits to be sent.
    pub fn waiting(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Says that the first `bytes` of what waits are sent.
    ///
    /// # Panics
    /// If fewer wait: our own fault.
    pub fn sent(&mut self, bytes: usize) {
        assert!(bytes <= self.end - self.start);
        self.start += bytes;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// How many bytes can be written now.
    pub fn room(&self) -> usize {
        self.bytes.len() - (self.end - self.start)
    }

    /// Drops everything that waits.
    pub fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Whether a message was taken: frames and copies it where it fits.
    #[must_use]
    pub fn push(&mut self, message: &[u8]) -> bool {
        if self.room() < FRAMING_BYTES + message.len() {
            return false;
        }
        self.write(&framing_header(message.len()));
        self.write(message);
        true
    }

    /// Copies bytes that are framed already.
    ///
    /// # Panics
    /// If they are more than [`SendBuffer::room`]: our own fault.
    pub fn write(&mut self, framed: &[u8]) {
        assert!(framed.len() <= self.room());
        if self.bytes.len() - self.end < framed.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        self.bytes[self.end..self.end + framed.len()].copy_from_slice(framed);
        self.end += framed.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in_and_full_is_an_answer() {
        let mut buffer = SendBuffer::new(0);
        let (mut given, mut taken) = (Vec::new(), Vec::new());
        for round in 0..1000_usize {
            let message = vec![round as u8; 1 + round * 7 % 250];
            if buffer.push(&message) {
                given.extend_from_slice(&framing_header(message.len()));
                given.extend_from_slice(&message);
            } else {
                assert!(buffer.room() < FRAMING_BYTES + message.len());
                let half = buffer.waiting().len() / 2 + 1;
                taken.extend_from_slice(&buffer.waiting()[..half]);
                buffer.sent(half);
            }
        }
        taken.extend_from_slice(buffer.waiting());
        assert_eq!(given, taken);
    }
}
