//! Whether a price is on its tick, without a division: that is the slowest instruction there is, and
//! every order asks.
//!
//! Method: Warren, Hacker's Delight, second edition, 10-17. For `d = odd << shift`, a value `n` is a
//! multiple just where `(n / odd mod 2^64)`, turned right by `shift`, is at most `(2^64 - 1) / d`; and
//! a division by an odd number modulo `2^64` is a multiplication with its inverse.
//!
//! Always holds: exact for every 64-bit value.

/// A number that others may be multiples of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Divisor {
    inverse: u64,
    shift: u32,
    most: u64,
}

impl Divisor {
    /// From a number above zero.
    pub(crate) fn new(divisor: u64) -> Self {
        assert!(divisor > 0);
        let shift = divisor.trailing_zeros();
        let odd = divisor >> shift;
        // Newton's iteration: an odd number is its own inverse in 3 bits, and each step doubles these.
        let mut inverse = odd;
        for _ in 0..5 {
            inverse = inverse.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(inverse)));
        }
        Self {
            inverse,
            shift,
            most: u64::MAX / divisor,
        }
    }

    /// Whether it divides `value` without a rest.
    #[inline]
    pub(crate) fn divides(&self, value: u64) -> bool {
        value.wrapping_mul(self.inverse).rotate_right(self.shift) <= self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn it_agrees_with_division() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let some = |random: &mut ChaCha8Rng| random.random::<u64>() >> random.random_range(0..64);
        let edges = [1, 2, 3, 4, 10_000, 1 << 63, u64::MAX, u64::MAX - 1];
        for round in 0..20_000 {
            let number = match edges.get(round) {
                Some(edge) => *edge,
                None => some(&mut random).max(1),
            };
            let divisor = Divisor::new(number);
            let multiple = number.wrapping_mul(some(&mut random));
            for value in [0, number, u64::MAX, multiple, some(&mut random)] {
                for value in [value, value.wrapping_add(1), value.wrapping_sub(1)] {
                    let expected = value.is_multiple_of(number);
                    assert_eq!(divisor.divides(value), expected, "{value} by {number}");
                }
            }
        }
    }
}
