//! The frames of a link: bounded in length, numbered, and sealed with a key that only its two ends have.
//!
//! ```text
//! | seal 16 | length 4 | kind 1 | zeros 3 | body: `length` bytes |
//! seal = GMAC (AES-256-GCM without a plaintext) under the direction's key, of: length | kind | zeros | body
//! nonce = zeros 4 | number of the frame 8, big-endian
//! ```
//! Used by `link` once both sides have proven that they know the cluster's key.
//!
//! Always holds: a frame that was changed, repeated, left out or sent in another order is refused; no nonce is
//! used twice with a key, because each connection draws its keys and frames are counted.
//! Does not: hide what a frame says. Peers' networks are private, or tunnelled.

use std::ops::Range;

use super::gmac::{Gmac, TAG_BYTES};

/// Bytes before the body.
pub(crate) const FRAME_HEADER_BYTES: usize = 24;

/// The longest body. An append carries whole entries, of which the last may pass the size that raft aims
/// at by one entry.
pub(crate) const BODY_BYTES_MAX: usize = 1 << 20;

const SEAL_BYTES: usize = TAG_BYTES;

/// One direction of a link.
pub(crate) struct Sealer {
    key: Gmac,
    /// The number of the next frame.
    next: u64,
}

/// Why bytes are no frame of this link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadFrame {
    /// It claims to be longer than any.
    TooLong,
    /// It is not what the other side sent at this place.
    Seal,
}

impl Sealer {
    /// A direction with a key of its own, which no other connection has or had.
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self {
            key: Gmac::new(key),
            next: 0,
        }
    }

    /// Appends a frame to `bytes`; `write` appends its body, or nothing and `false` to have no frame. There is
    /// none either where the body is longer than [`BODY_BYTES_MAX`]: the other side would not take it.
    pub(crate) fn seal(
        &mut self,
        kind: u8,
        bytes: &mut Vec<u8>,
        write: impl FnOnce(&mut Vec<u8>) -> bool,
    ) -> bool {
        let start = bytes.len();
        bytes.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
        let written = write(bytes);
        let length = bytes.len() - start - FRAME_HEADER_BYTES;
        if !written || length > BODY_BYTES_MAX {
            bytes.truncate(start);
            return false;
        }
        let (seal, sealed) = bytes[start..].split_at_mut(SEAL_BYTES);
        sealed[..4].copy_from_slice(&(length as u32).to_le_bytes());
        sealed[4] = kind;
        seal.copy_from_slice(&self.key.tag(self.next, sealed));
        self.next += 1;
        true
    }

    /// Opens the frame at the start of `bytes`: its kind, and where its body is; `None` where it has not
    /// come whole.
    ///
    /// # Errors
    /// [`BadFrame`]: the link cannot be trusted any more.
    pub(crate) fn open(&mut self, bytes: &[u8]) -> Result<Option<(u8, Range<usize>)>, BadFrame> {
        let Some((seal, sealed)) = bytes.split_first_chunk::<SEAL_BYTES>() else {
            return Ok(None);
        };
        let Some(length) = sealed.first_chunk().map(|it| u32::from_le_bytes(*it)) else {
            return Ok(None);
        };
        let length = length as usize;
        if length > BODY_BYTES_MAX {
            return Err(BadFrame::TooLong);
        }
        let end = FRAME_HEADER_BYTES + length;
        let Some(sealed) = sealed.get(..end - SEAL_BYTES) else {
            return Ok(None);
        };
        if !self.key.proves(self.next, sealed, seal) {
            return Err(BadFrame::Seal);
        }
        self.next += 1;
        Ok(Some((sealed[4], FRAME_HEADER_BYTES..end)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Sealer, Sealer) {
        (Sealer::new([7; 32]), Sealer::new([7; 32]))
    }

    fn sealed(sealer: &mut Sealer, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        sealer.seal(3, &mut bytes, |bytes| {
            bytes.extend_from_slice(body);
            true
        });
        bytes
    }

    #[test]
    fn frames_are_opened_in_the_order_they_were_sealed() {
        let (mut near, mut far) = pair();
        let mut stream = sealed(&mut near, b"first");
        stream.extend(sealed(&mut near, b""));
        for end in 0..FRAME_HEADER_BYTES + 5 {
            assert_eq!(far.open(&stream[..end]), Ok(None), "{end} bytes");
        }
        assert_eq!(far.open(&stream), Ok(Some((3, 24..29))));
        assert_eq!(far.open(&stream[29..]), Ok(Some((3, 24..24))));
    }

    #[test]
    fn what_was_changed_repeated_left_out_or_sealed_by_another_is_refused() {
        let (mut near, mut far) = pair();
        let first = sealed(&mut near, b"first");
        let second = sealed(&mut near, b"second");
        assert_eq!(far.open(&second), Err(BadFrame::Seal), "left out");
        for place in (0..first.len()).filter(|place| !(16..20).contains(place)) {
            let mut bytes = first.clone();
            bytes[place] ^= 1;
            assert_eq!(far.open(&bytes), Err(BadFrame::Seal), "byte {place}");
        }
        let mut shorter = first.clone();
        shorter[16] -= 1;
        assert_eq!(far.open(&shorter), Err(BadFrame::Seal), "its length");
        assert!(far.open(&first).unwrap().is_some());
        assert_eq!(far.open(&first), Err(BadFrame::Seal), "repeated");
        let stranger = sealed(&mut Sealer::new([8; 32]), b"first");
        assert_eq!(pair().1.open(&stranger), Err(BadFrame::Seal), "stranger");
        let endless = [0xff; 64];
        assert_eq!(far.open(&endless), Err(BadFrame::TooLong));
    }

    const GOLDEN: [u8; SEAL_BYTES] = [
        0xe7, 0x2e, 0xc3, 0x9f, 0x6a, 0x48, 0xb0, 0x4e, 0xcc, 0x3e, 0xe2, 0x80, 0xb9, 0x39, 0x9f,
        0xe7,
    ];

    /// As `openssl mac -cipher AES-256-GCM -macopt hexkey:0707.. -macopt hexiv:00..01 GMAC` has it.
    #[test]
    fn the_seal_is_gmac() {
        let mut near = pair().0;
        sealed(&mut near, b"the first has number 0");
        let second = sealed(&mut near, b"second");
        assert_eq!(second[16..], *b"\x06\0\0\0\x03\0\0\0second");
        assert_eq!(second[..16], GOLDEN);
    }
}
