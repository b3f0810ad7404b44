//! GHASH, what GMAC makes of a message before it is masked, by the processor's carry-less multiplication.
//!
//! Used by `gmac`, which has another body for processors without that instruction.
//!
//! The bytes of every block are reversed, and the key multiplied by x once, so that the field is POLYVAL's: a product
//! is `a * b * x^-128` modulo `x^128 + x^127 + x^126 + x^121 + 1`, and nothing is shifted bit by bit.
//! Eight blocks are multiplied by the eight powers of the key side by side, two in a register, and reduced once.
//!
//! Always holds: the same hash as that of the crate `ghash`, whatever the length.
//!
//! # Source
//! NIST SP 800-38D, 6.4; RFC 8452, appendix A; Gueron and Kounavis, "Intel Carry-Less Multiplication Instruction
//! and its Usage for Computing the GCM Mode".

use std::arch::x86_64::{
    __m128i, __m256i, _mm_clmulepi64_si128, _mm_set_epi64x, _mm_shuffle_epi32, _mm_slli_si128,
    _mm_srli_si128, _mm_xor_si128, _mm256_broadcastsi128_si256, _mm256_castsi256_si128,
    _mm256_clmulepi64_epi128, _mm256_extracti128_si256, _mm256_shuffle_epi8, _mm256_xor_si256,
};

/// Blocks multiplied side by side.
const BLOCKS: usize = 8;

/// Registers that they fill.
const PAIRS: usize = BLOCKS / 2;

const BLOCK_BYTES: usize = 16;

/// A key, ready for use.
#[derive(Clone)]
pub(super) struct Ghash {
    /// Its powers, the eighth first, in the field of POLYVAL.
    powers: [u128; BLOCKS],
}

impl Ghash {
    /// The key, a block of zeros as the cipher has it; `None` where the processor lacks an instruction.
    pub(super) fn new(key: [u8; BLOCK_BYTES]) -> Option<Self> {
        let possible = std::arch::is_x86_feature_detected!("avx2")
            && std::arch::is_x86_feature_detected!("pclmulqdq")
            && std::arch::is_x86_feature_detected!("vpclmulqdq");
        if !possible {
            return None;
        }
        let first = times_x(u128::from_be_bytes(key));
        let mut powers = [0; BLOCKS];
        powers[BLOCKS - 1] = first;
        for place in (0..BLOCKS - 1).rev() {
            let mut blocks = [0; BLOCKS];
            blocks[BLOCKS - 1] = powers[place + 1];
            // Of the powers only the first is asked for: the other blocks are zero.
            // SAFETY: the processor has the instructions, as was just asked.
            powers[place] = number(unsafe { folded_in(&powers, bytemuck::must_cast(blocks)) });
        }
        Some(Self { powers })
    }

    /// The hash of bytes that are authenticated and not encrypted.
    #[inline]
    pub(super) fn hash(&self, bytes: &[u8]) -> [u8; BLOCK_BYTES] {
        // SAFETY: only `new` makes a key, and only where the processor has the instructions.
        unsafe { hash(&self.powers, bytes) }.to_be_bytes()
    }
}

/// A key's field element in POLYVAL's field.
fn times_x(value: u128) -> u128 {
    const REDUCED: u128 = 0xc2 << 120 | 1;
    (value << 1) ^ ((value >> 127) * REDUCED)
}

#[target_feature(enable = "avx2,pclmulqdq,vpclmulqdq")]
fn hash(powers: &[u128; BLOCKS], bytes: &[u8]) -> u128 {
    // The first byte of a block is its highest.
    let order = _mm_set_epi64x(0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f);
    let order = _mm256_broadcastsi128_si256(order);
    let (groups, left) = bytes.as_chunks::<{ BLOCKS * BLOCK_BYTES }>();
    let mut hash = 0;
    for group in groups {
        let mut pairs: [__m256i; PAIRS] = bytemuck::must_cast(*group);
        for pair in &mut pairs {
            *pair = _mm256_shuffle_epi8(*pair, order);
        }
        pairs[0] = _mm256_xor_si256(pairs[0], bytemuck::must_cast([hash, 0]));
        hash = number(folded_in(powers, pairs));
    }
    // What is left, padded, and the lengths, behind blocks of zeros, which count for nothing.
    let (blocks, rest) = left.as_chunks::<BLOCK_BYTES>();
    let count = blocks.len() + usize::from(!rest.is_empty()) + 1;
    let mut last = [0; 2 * BLOCKS];
    let places = &mut last[2 * BLOCKS - count..];
    for (place, block) in places.iter_mut().zip(blocks) {
        *place = u128::from_be_bytes(*block);
    }
    if !rest.is_empty() {
        let mut padded = [0; BLOCK_BYTES];
        padded[..rest.len()].copy_from_slice(rest);
        places[count - 2] = u128::from_be_bytes(padded);
    }
    // In bits, in front of the length of what is encrypted: nothing.
    places[count - 1] = (bytes.len() as u128 * 8) << 64;
    places[0] ^= hash;
    let [first, mut second]: [[u128; BLOCKS]; 2] = bytemuck::must_cast(last);
    if count > BLOCKS {
        second[0] ^= number(folded_in(powers, bytemuck::must_cast(first)));
    }
    number(folded_in(powers, bytemuck::must_cast(second)))
}

/// Eight blocks, each times its power of the key, as one.
#[target_feature(enable = "avx2,pclmulqdq,vpclmulqdq")]
#[inline]
fn folded_in(powers: &[u128; BLOCKS], blocks: [__m256i; PAIRS]) -> __m128i {
    let powers: &[__m256i; PAIRS] = &bytemuck::must_cast(*powers);
    let [mut low, mut middle, mut high] = [bytemuck::must_cast([0_u128; 2]); 3];
    for (block, power) in blocks.into_iter().zip(*powers) {
        let crosswise = _mm256_xor_si256(
            _mm256_clmulepi64_epi128::<0x01>(block, power),
            _mm256_clmulepi64_epi128::<0x10>(block, power),
        );
        low = _mm256_xor_si256(low, _mm256_clmulepi64_epi128::<0x00>(block, power));
        middle = _mm256_xor_si256(middle, crosswise);
        high = _mm256_xor_si256(high, _mm256_clmulepi64_epi128::<0x11>(block, power));
    }
    let (low, middle, high) = (halves(low), halves(middle), halves(high));
    let low = _mm_xor_si128(low, _mm_slli_si128::<8>(middle));
    let high = _mm_xor_si128(high, _mm_srli_si128::<8>(middle));
    _mm_xor_si128(reduced(reduced(low)), high)
}

#[target_feature(enable = "avx2")]
#[inline]
fn halves(pair: __m256i) -> __m128i {
    _mm_xor_si128(
        _mm256_castsi256_si128(pair),
        _mm256_extracti128_si256::<1>(pair),
    )
}

/// Takes the lower half of a number into the upper one, times `x^-64`.
#[target_feature(enable = "pclmulqdq")]
#[inline]
fn reduced(value: __m128i) -> __m128i {
    let by = _mm_set_epi64x(0, 0xc2_u64.cast_signed() << 56);
    let product = _mm_clmulepi64_si128::<0x00>(value, by);
    _mm_xor_si128(_mm_shuffle_epi32::<0x4e>(value), product)
}

fn number(register: __m128i) -> u128 {
    bytemuck::must_cast(register)
}

#[cfg(test)]
mod tests {
    use ghash::universal_hash::UniversalHash;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// The twin: the crate's own, block after block.
    fn twin(key: [u8; 16], bytes: &[u8]) -> [u8; 16] {
        let mut hash = ghash::GHash::new(&key.into());
        hash.update_padded(bytes);
        let mut lengths = [0; 16];
        lengths[..8].copy_from_slice(&(bytes.len() as u64 * 8).to_be_bytes());
        hash.update(&[lengths.into()]);
        hash.finalize().into()
    }

    #[test]
    fn every_length_has_the_hash_of_the_twin() {
        let seed: u64 = rand::random();
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        for length in (0..600).chain([4_095, 4_096, 70_001]) {
            let mut key = [0; 16];
            random.fill(&mut key);
            let mut bytes = vec![0; length];
            random.fill(&mut bytes[..]);
            let Some(fast) = Ghash::new(key) else {
                // This machine uses the twin itself.
                return;
            };
            assert_eq!(
                fast.hash(&bytes),
                twin(key, &bytes),
                "{length}, seed {seed}"
            );
        }
    }

    #[test]
    fn a_key_is_taken_into_the_field_with_and_without_a_carry() {
        for key in [[0x80; 16], [0x01; 16], [0xff; 16], [0; 16]] {
            let bytes = [0xa5; 20];
            let Some(fast) = Ghash::new(key) else {
                return;
            };
            assert_eq!(fast.hash(&bytes), twin(key, &bytes));
        }
    }
}
