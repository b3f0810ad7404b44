//! The Simple Open Framing Header: how messages are cut out of a stream of bytes.
//!
//! ```text
//! 0                          4                6
//! | message length, big-end. | encoding type  | SBE message ...
//! ```
//! The length counts these six bytes too. Source: FIX Simple Open Framing Header 1.0.
//!
//! Always holds: a length outside the limits is refused before a byte of the message is read.

use crate::limits::{MESSAGE_BYTES_MAX, MESSAGE_BYTES_MIN};

/// Bytes of the framing header.
pub const FRAMING_BYTES: usize = 6;

/// The encoding type of SBE 1.0, little-endian.
pub const ENCODING_TYPE: u16 = 0x5BE0;

/// What stands at the start of the bytes received so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// A whole message of this many bytes follows the framing header.
    Whole {
        /// Bytes of the message, framing excluded.
        bytes: usize,
    },
    /// More bytes must come.
    Partial,
    /// The length is outside the limits; it counts the framing header.
    BadLength {
        /// The length that was named.
        named: u32,
    },
    /// The encoding is not SBE 1.0 little-endian.
    BadEncoding {
        /// The encoding that was named.
        named: u16,
    },
}

/// Looks at the start of `bytes`.
#[inline]
#[must_use]
pub fn cut(bytes: &[u8]) -> Cut {
    let Some(head) = bytes.first_chunk::<FRAMING_BYTES>() else {
        return Cut::Partial;
    };
    let named = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    let encoding = u16::from_be_bytes([head[4], head[5]]);
    let limits = (FRAMING_BYTES + MESSAGE_BYTES_MIN)..=(FRAMING_BYTES + MESSAGE_BYTES_MAX);
    let length = named as usize;
    if !limits.contains(&length) {
        return Cut::BadLength { named };
    }
    if encoding != ENCODING_TYPE {
        return Cut::BadEncoding { named: encoding };
    }
    if bytes.len() < length {
        return Cut::Partial;
    }
    Cut::Whole {
        bytes: length - FRAMING_BYTES,
    }
}

/// The framing header for a message of `bytes` bytes.
///
/// # Panics
/// If the message is longer than the limit: our own fault.
#[inline]
#[must_use]
pub fn framing_header(bytes: usize) -> [u8; FRAMING_BYTES] {
    assert!(bytes <= MESSAGE_BYTES_MAX);
    let length = ((bytes + FRAMING_BYTES) as u32).to_be_bytes();
    let encoding = ENCODING_TYPE.to_be_bytes();
    [
        length[0],
        length[1],
        length[2],
        length[3],
        encoding[0],
        encoding[1],
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_cut_at_its_length() {
        let mut bytes = framing_header(64).to_vec();
        assert_eq!(bytes, [0, 0, 0, 70, 0x5B, 0xE0]);
        bytes.resize(69, 0);
        assert_eq!(cut(&bytes), Cut::Partial);
        bytes.push(0);
        assert_eq!(cut(&bytes), Cut::Whole { bytes: 64 });
    }

    #[test]
    fn lengths_and_encodings_outside_the_limits_are_named() {
        assert_eq!(
            cut(&[0, 0, 0, 13, 0x5B, 0xE0]),
            Cut::BadLength { named: 13 }
        );
        assert_eq!(
            cut(&[0, 0, 1, 7, 0x5B, 0xE0]),
            Cut::BadLength { named: 263 }
        );
        assert_eq!(
            cut(&[0, 0, 0, 70, 0xEB, 0x50]),
            Cut::BadEncoding { named: 0xEB50 }
        );
        assert_eq!(cut(&[0, 0, 0, 70, 0x5B]), Cut::Partial);
    }
}
