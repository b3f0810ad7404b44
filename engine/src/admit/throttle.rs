//! A token bucket in integers, filled by log time.
//!
//! Tokens are counted in billionths of a message, so that a rate of one a second gains exactly one
//! billionth each nanosecond.

use exahour_wire::units::Nanos;

const ONE_MESSAGE: u64 = 1_000_000_000;

/// A session's allowance of messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Throttle {
    /// Messages a second; zero for no throttle.
    pub(crate) rate: u32,
    pub(crate) burst: u32,
    pub(crate) tokens: u64,
    pub(crate) last: Nanos,
    /// Refusals since the last message that passed.
    pub(crate) refusals: u32,
}

impl Throttle {
    /// A full bucket.
    pub(crate) fn new(rate: u32, burst: u32, now: Nanos) -> Self {
        let tokens = u64::from(burst) * ONE_MESSAGE;
        Self {
            rate,
            burst,
            tokens,
            last: now,
            refusals: 0,
        }
    }

    /// Takes the worth of so many messages; whether there was enough.
    #[inline]
    pub(crate) fn take(&mut self, messages: u32, now: Nanos) -> bool {
        if self.rate == 0 {
            return true;
        }
        let full = u128::from(self.burst) * u128::from(ONE_MESSAGE);
        let gained = u128::from(now.0 - self.last.0) * u128::from(self.rate);
        self.last = now;
        // The minimum is at most 2^32 x 10^9, which fits 64 bits.
        self.tokens = (u128::from(self.tokens) + gained).min(full) as u64;
        let worth = u64::from(messages) * ONE_MESSAGE;
        if self.tokens < worth {
            self.refusals += 1;
            return false;
        }
        self.tokens -= worth;
        self.refusals = 0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_sustained_exactly_and_a_burst_once() {
        let mut throttle = Throttle::new(10, 3, Nanos(0));
        let taken: Vec<bool> = (0..4).map(|_| throttle.take(1, Nanos(0))).collect();
        assert_eq!(taken, [true, true, true, false]);
        assert!(!throttle.take(1, Nanos(99_999_999)));
        assert!(throttle.take(1, Nanos(100_000_000)));
        assert!(!throttle.take(1, Nanos(100_000_000)));
        assert!(throttle.take(1, Nanos(u64::MAX)));
    }

    #[test]
    fn one_that_counts_as_many_takes_all_or_nothing() {
        let mut throttle = Throttle::new(10, 3, Nanos(0));
        assert!(!throttle.take(4, Nanos(0)));
        assert!(throttle.take(3, Nanos(0)));
        assert!(!throttle.take(2, Nanos(199_999_999)));
        assert!(throttle.take(2, Nanos(200_000_000)));
    }
}
