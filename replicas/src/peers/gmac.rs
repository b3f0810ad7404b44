//! GMAC: AES-256-GCM of a message that is authenticated and not encrypted, under a number that is used once.
//!
//! Used by `seal`, which numbers the frames of a direction.
//!
//! Two things are dearer than they look, and are done apart from the frames: the key's powers, made once for a
//! connection; and the masks, which follow from the number alone, made for several frames at a time, as AES takes
//! hardly longer for eight blocks than for one.
//!
//! Always holds: the tag that any other GMAC has; no mask is made for two numbers.
//! Does not: count frames.

use aes::Aes256;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use ghash::GHash;
use ghash::universal_hash::UniversalHash;

#[cfg(target_arch = "x86_64")]
use super::ghash::Ghash;

/// Bytes of a tag.
pub(super) const TAG_BYTES: usize = 16;

/// Numbers whose masks are made at a time.
const MASKS: usize = 8;

type Block = [u8; TAG_BYTES];

/// A key.
pub(super) struct Gmac {
    cipher: Aes256,
    hash: Hash,
    /// The masks of `masks_from` and the numbers behind it.
    masks: [Block; MASKS],
    masks_from: u64,
}

/// How the processor at hand hashes.
#[derive(Clone)]
enum Hash {
    #[cfg(target_arch = "x86_64")]
    Fast(Ghash),
    Portable(GHash),
}

impl Gmac {
    pub(super) fn new(key: [u8; 32]) -> Self {
        let cipher = Aes256::new(&key.into());
        let mut zeros = Array::default();
        cipher.encrypt_block(&mut zeros);
        let mut gmac = Self {
            hash: Hash::new(zeros.into()),
            cipher,
            masks: [[0; TAG_BYTES]; MASKS],
            masks_from: 0,
        };
        gmac.make_masks(0);
        gmac
    }

    /// The tag of a message with this number. The nonce is four zeros and the number, big-endian.
    #[inline]
    pub(super) fn tag(&mut self, number: u64, message: &[u8]) -> Block {
        let mut place = number.wrapping_sub(self.masks_from);
        if place >= MASKS as u64 {
            self.make_masks(number);
            place = 0;
        }
        let mask = u128::from_ne_bytes(self.masks[place as usize]);
        let hash = u128::from_ne_bytes(self.hash.of(message));
        (hash ^ mask).to_ne_bytes()
    }

    /// Whether this is the tag of a message. That takes as long wherever a wrong one differs.
    #[inline]
    pub(super) fn proves(&mut self, number: u64, message: &[u8], tag: &Block) -> bool {
        let expected = u128::from_ne_bytes(self.tag(number, message));
        expected ^ u128::from_ne_bytes(*tag) == 0
    }

    fn make_masks(&mut self, from: u64) {
        let blocks = std::array::from_fn(|place| {
            let mut block = Array::default();
            block[4..12].copy_from_slice(&from.wrapping_add(place as u64).to_be_bytes());
            block[15] = 1;
            block
        });
        let mut blocks: [_; MASKS] = blocks;
        self.cipher.encrypt_blocks(&mut blocks);
        self.masks = blocks.map(Into::into);
        self.masks_from = from;
    }
}

impl Hash {
    fn new(key: Block) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(fast) = Ghash::new(key) {
            return Self::Fast(fast);
        }
        Self::Portable(GHash::new(&key.into()))
    }

    #[inline]
    fn of(&self, message: &[u8]) -> Block {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Fast(hash) => hash.hash(message),
            Self::Portable(hash) => {
                let mut hash = hash.clone();
                hash.update_padded(message);
                let mut lengths = [0; TAG_BYTES];
                lengths[..8].copy_from_slice(&(message.len() as u64 * 8).to_be_bytes());
                hash.update(&[lengths.into()]);
                hash.finalize().into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn portable(key: [u8; 32]) -> Gmac {
        let mut gmac = Gmac::new(key);
        let mut zeros = Array::default();
        gmac.cipher.encrypt_block(&mut zeros);
        gmac.hash = Hash::Portable(GHash::new(&zeros));
        gmac
    }

    /// As `openssl mac -cipher AES-256-GCM -macopt hexkey:0707.. -macopt hexiv:00..01 GMAC` has it; all of it
    /// stands in `seal`.
    #[test]
    fn both_bodies_have_the_tag_of_others() {
        for mut gmac in [Gmac::new([7; 32]), portable([7; 32])] {
            let tag = gmac.tag(1, b"\x06\0\0\0\x03\0\0\0second");
            assert_eq!(tag[..4], [0xe7, 0x2e, 0xc3, 0x9f]);
        }
    }

    #[test]
    fn numbers_may_come_in_any_order() {
        let mut gmac = Gmac::new([9; 32]);
        let message = [3; 100];
        let tags: Vec<Block> = (0..40).map(|number| gmac.tag(number, &message)).collect();
        for number in [39, 3, 17, 16, 15, 0, 8, 7] {
            let tag = &tags[number as usize];
            assert_eq!(gmac.tag(number, &message), *tag, "{number}");
            assert_eq!(Gmac::new([9; 32]).tag(number, &message), *tag, "{number}");
            assert_eq!(portable([9; 32]).tag(number, &message), *tag, "{number}");
            assert!(gmac.proves(number, &message, tag));
            assert!(!gmac.proves(number + 1, &message, tag));
            assert!(!gmac.proves(number, &message[1..], tag));
        }
        let mut distinct = tags.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), tags.len());
    }
}
