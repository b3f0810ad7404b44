//! The bytes waiting to be sent on a connection: a bounded circular buffer.
//!
//! Called by the gateway and by the client library.
//!
//! Always holds: a message goes in whole, with its framing, or not at all; the buffer is allocated
//! once; a reserve at the end is kept for the last messages of a connection, which say why it ends.
//! Does not: write to a socket.

use exahour_wire::framing::{FRAMING_BYTES, framing_header};
use exahour_wire::message::Message;
use exahour_wire::session::{Leader, Terminate};

/// Bytes kept free for the last messages of a connection: where to go instead, and why it ends.
const LAST_MESSAGES_BYTES: usize = 80;

const _: () = assert!(2 * FRAMING_BYTES + Leader::BYTES + Terminate::BYTES <= LAST_MESSAGES_BYTES);

/// The smallest outbox.
pub const OUTBOX_BYTES_MIN: usize = 4_096;

/// The largest outbox that a gateway can be set up with.
pub const OUTBOX_BYTES_MAX: usize = 64 << 20;

/// There is no room for the message: the other side does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxFull;

/// Bytes to send.
///
/// ```text
///         head               tail
///          v                  v
/// |  free  |  waiting to go   |  free   | reserve
/// ```
/// Both only grow; the place of a byte is its number modulo the capacity.
#[derive(Debug)]
pub struct Outbox {
    bytes: Box<[u8]>,
    head: usize,
    tail: usize,
}

impl Outbox {
    /// An outbox of `bytes`, rounded up to a power of two, at least [`OUTBOX_BYTES_MIN`].
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let capacity = bytes.max(OUTBOX_BYTES_MIN).next_power_of_two();
        Self {
            bytes: vec![0; capacity].into_boxed_slice(),
            head: 0,
            tail: 0,
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.head = 0;
        self.tail = 0;
    }

    /// Bytes waiting.
    #[inline]
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.tail - self.head
    }

    /// Whether less than half of the outbox is in use: room for what is not urgent.
    #[inline]
    #[must_use]
    pub fn has_ample_room(&self) -> bool {
        self.waiting() < self.bytes.len() / 2
    }

    /// Puts a message in, framed, and gives the place of its first byte for [`Outbox::amend`].
    ///
    /// # Errors
    /// [`OutboxFull`] where it does not fit.
    #[inline]
    pub fn push(&mut self, message: &[u8]) -> Result<usize, OutboxFull> {
        self.push_within(message, self.bytes.len() - LAST_MESSAGES_BYTES)
    }

    /// As [`Outbox::push`], for the last messages of a connection, which may use the reserve.
    ///
    /// # Errors
    /// [`OutboxFull`] where not even the reserve is left.
    pub fn push_last(&mut self, message: &[u8]) -> Result<usize, OutboxFull> {
        self.push_within(message, self.bytes.len())
    }

    #[inline]
    fn push_within(&mut self, message: &[u8], limit: usize) -> Result<usize, OutboxFull> {
        if self.waiting() + FRAMING_BYTES + message.len() > limit {
            return Err(OutboxFull);
        }
        let header = framing_header(message.len());
        self.copy_in(self.tail, &header);
        let place = self.tail + FRAMING_BYTES;
        self.copy_in(place, message);
        self.tail = place + message.len();
        Ok(place)
    }

    /// Changes bytes of a message that waits, counted from the place that `push` gave.
    ///
    /// # Panics
    /// If any of them is not waiting: our own fault.
    pub fn amend(&mut self, place: usize, bytes: &[u8]) {
        assert!(place >= self.head && place + bytes.len() <= self.tail);
        self.copy_in(place, bytes);
    }

    /// The bytes to send first, in one piece; empty only if nothing waits.
    #[inline]
    #[must_use]
    pub fn front(&self) -> &[u8] {
        let from = self.head & (self.bytes.len() - 1);
        let until = (from + self.waiting()).min(self.bytes.len());
        &self.bytes[from..until]
    }

    /// Says that the first `count` bytes were sent.
    #[inline]
    pub fn sent(&mut self, count: usize) {
        assert!(count <= self.waiting());
        self.head += count;
        if self.head == self.tail {
            // Starting over keeps a quiet connection in the same few pages.
            self.clear();
        }
    }

    #[inline]
    fn copy_in(&mut self, place: usize, bytes: &[u8]) {
        let from = place & (self.bytes.len() - 1);
        let first = bytes.len().min(self.bytes.len() - from);
        self.bytes[from..from + first].copy_from_slice(&bytes[..first]);
        self.bytes[..bytes.len() - first].copy_from_slice(&bytes[first..]);
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn what_goes_in_comes_out_in_order() {
        let seed = 7;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut outbox = Outbox::new(OUTBOX_BYTES_MIN);
        let (mut put, mut got) = (Vec::new(), Vec::new());
        for round in 0..20_000_u32 {
            let message = vec![round as u8; rng.random_range(8..=256)];
            match outbox.push(&message) {
                Ok(_) => {
                    put.extend_from_slice(&framing_header(message.len()));
                    put.extend_from_slice(&message);
                }
                Err(OutboxFull) => assert!(outbox.waiting() > 3_700, "seed {seed}"),
            }
            let count = rng.random_range(0..=outbox.front().len().min(300));
            got.extend_from_slice(&outbox.front()[..count]);
            outbox.sent(count);
        }
        while outbox.waiting() > 0 {
            got.extend_from_slice(outbox.front());
            outbox.sent(outbox.front().len());
        }
        assert!(put == got, "seed {seed}");
    }

    #[test]
    fn the_last_messages_always_fit_once() {
        let mut outbox = Outbox::new(0);
        while outbox.push(&[1; 8]).is_ok() {}
        assert!(outbox.push_last(&[2; Leader::BYTES]).is_ok());
        assert!(outbox.push_last(&[2; Terminate::BYTES]).is_ok());
        assert!(outbox.push_last(&[2; 64]).is_err());
    }

    #[test]
    fn a_waiting_message_can_be_amended_across_the_end() {
        let mut outbox = Outbox::new(0);
        outbox.push(&[0; 256]).unwrap();
        let mut place = 0;
        for _ in 0..40 {
            place = outbox.push(&[0; 256]).unwrap();
            outbox.sent(262);
        }
        outbox.amend(place, &[5; 256]);
        let mut got = Vec::new();
        while outbox.waiting() > 0 {
            got.extend_from_slice(outbox.front());
            outbox.sent(outbox.front().len());
        }
        assert_eq!(got[6..], [5; 256]);
    }
}
