//! The bytes received on a connection, cut into messages.
//!
//! Called by the gateway and by the client library: they read a socket into the room of an inbox
//! and take the messages out.
//!
//! Always holds: the buffer is allocated once; what remains after all whole messages were taken is
//! less than one message, so moving it to the front is cheap.

use exahour_wire::framing::{Cut, FRAMING_BYTES, cut};
use exahour_wire::limits::MESSAGE_BYTES_MAX;

const FRAME_BYTES_MAX: usize = FRAMING_BYTES + MESSAGE_BYTES_MAX;

/// Why a stream of bytes cannot be cut any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadFrame {
    /// The length is outside the limits.
    Length(u32),
    /// The encoding is not SBE 1.0 little-endian.
    Encoding(u16),
}

/// Received bytes.
#[derive(Debug)]
pub struct Inbox {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    /// Where the message taken last begins; it ends at `start`.
    taken: usize,
}

impl Inbox {
    /// An inbox that reads `bytes` at once; the part of a message that may be left comes on top.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self {
            bytes: vec![0; bytes + FRAME_BYTES_MAX].into_boxed_slice(),
            start: 0,
            end: 0,
            taken: 0,
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
        self.taken = 0;
    }

    /// Where the next bytes go. Empty only if whole messages that fill the inbox were not taken.
    #[inline]
    pub fn room(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            self.taken = 0;
        }
        &mut self.bytes[self.end..]
    }

    /// Says that `count` bytes were put into the room.
    #[inline]
    pub fn filled(&mut self, count: usize) {
        self.end += count;
        assert!(self.end <= self.bytes.len());
    }

    /// The message that was taken last, until room is asked for; empty if none was.
    #[inline]
    #[must_use]
    pub fn last_message(&self) -> &[u8] {
        &self.bytes[self.taken..self.start]
    }

    /// Takes the next whole message, without its framing; `None` where more bytes must come.
    ///
    /// # Errors
    /// [`BadFrame`] where no message can be cut here, now or later.
    #[inline]
    pub fn next_message(&mut self) -> Result<Option<&[u8]>, BadFrame> {
        match cut(&self.bytes[self.start..self.end]) {
            Cut::Whole { bytes } => {
                let from = self.start + FRAMING_BYTES;
                self.taken = from;
                self.start = from + bytes;
                Ok(Some(&self.bytes[from..from + bytes]))
            }
            Cut::Partial => Ok(None),
            Cut::BadLength { named } => Err(BadFrame::Length(named)),
            Cut::BadEncoding { named } => Err(BadFrame::Encoding(named)),
        }
    }
}

#[cfg(test)]
mod tests {
    use exahour_wire::framing::framing_header;

    use super::*;

    #[test]
    fn messages_come_out_whole_however_they_arrive() {
        let mut stream = Vec::new();
        for length in [8, 64, 256, 13, 64] {
            stream.extend_from_slice(&framing_header(length));
            stream.extend((0..length).map(|byte| byte as u8));
        }
        for piece in 1..stream.len() {
            let mut inbox = Inbox::new(16);
            let mut lengths = Vec::new();
            for mut bytes in stream.chunks(piece) {
                while !bytes.is_empty() {
                    let room = inbox.room();
                    let count = room.len().min(bytes.len());
                    room[..count].copy_from_slice(&bytes[..count]);
                    inbox.filled(count);
                    bytes = &bytes[count..];
                    while let Some(message) = inbox.next_message().unwrap() {
                        assert!(message.iter().enumerate().all(|(n, byte)| n as u8 == *byte));
                        lengths.push(message.len());
                    }
                }
            }
            assert_eq!(lengths, [8, 64, 256, 13, 64], "in pieces of {piece}");
        }
    }

    #[test]
    fn a_bad_frame_stays_bad() {
        let mut inbox = Inbox::new(16);
        inbox.room()[..6].copy_from_slice(&[0, 0, 0, 1, 0x5B, 0xE0]);
        inbox.filled(6);
        assert_eq!(inbox.next_message(), Err(BadFrame::Length(1)));
        assert_eq!(inbox.next_message(), Err(BadFrame::Length(1)));
    }
}
