//! How many messages a client may be sent again: a bucket for each address that asks.
//!
//! Called by `subscribers` with every request for lost messages.
//!
//! Always holds: memory is bounded; an address gets no more than [`BURST_MESSAGES`] at once and
//! [`MESSAGES_PER_SECOND`] in the long run, however many connections it makes.
//! Does not: bound what is sent live, nor who asks for a snapshot or for all that is kept, again and again:
//! of these a connection gets one at a time, at the pace at which it reads.

use std::collections::HashMap;
use std::net::IpAddr;

use exahour_wire::units::Nanos;

use crate::clock::Steady;

/// Messages sent again for one request at most.
pub const RANGE_MESSAGES_MAX: u32 = 4_096;

/// Messages that a client may be sent again at once.
pub const BURST_MESSAGES: u32 = 16_384;

/// Messages that a client may be sent again in a second, in the long run.
pub const MESSAGES_PER_SECOND: u32 = 4_096;

/// Addresses that are remembered at once; the bucket of any other is full.
const ADDRESSES_MAX: usize = 4_096;

// A request that is not too large can be met.
const _: () = assert!(RANGE_MESSAGES_MAX <= BURST_MESSAGES);

/// What is left to a client at some moment.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    messages: u32,
    /// When `messages` was right; whole refills only move it.
    at: Steady,
}

impl Bucket {
    fn refilled(self, now: Steady) -> Self {
        let nanos = Nanos::SECOND.0 / u64::from(MESSAGES_PER_SECOND);
        let passed = now.since(self.at).0 / nanos;
        let missing = u64::from(BURST_MESSAGES - self.messages);
        if passed >= missing {
            return Bucket {
                messages: BURST_MESSAGES,
                at: now,
            };
        }
        Bucket {
            // Below what is missing, so it fits.
            messages: self.messages + passed as u32,
            at: self.at.after(Nanos(passed * nanos)),
        }
    }
}

/// The buckets of all clients.
#[derive(Debug, Default)]
pub struct Allowances {
    // Only looked up and thinned out, so its order is seen nowhere.
    buckets: HashMap<IpAddr, Bucket>,
}

impl Allowances {
    /// Whether a client may be sent so many messages again; if so, they are taken from its bucket.
    pub fn try_take(&mut self, client: IpAddr, messages: u32, now: Steady) -> bool {
        if self.buckets.len() >= ADDRESSES_MAX && !self.buckets.contains_key(&client) {
            let full = |bucket: &Bucket| bucket.refilled(now).messages == BURST_MESSAGES;
            self.buckets.retain(|_, bucket| !full(bucket));
            if self.buckets.len() >= ADDRESSES_MAX {
                return false;
            }
        }
        let fresh = Bucket {
            messages: BURST_MESSAGES,
            at: now,
        };
        let bucket = self.buckets.entry(client).or_insert(fresh);
        *bucket = bucket.refilled(now);
        match bucket.messages.checked_sub(messages) {
            Some(left) => {
                bucket.messages = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn client(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(number))
    }

    #[test]
    fn an_address_gets_its_burst_and_then_what_time_brings() {
        let (mut allowances, start) = (Allowances::default(), Steady::default());
        for _ in 0..BURST_MESSAGES / RANGE_MESSAGES_MAX {
            assert!(allowances.try_take(client(1), RANGE_MESSAGES_MAX, start));
        }
        assert!(!allowances.try_take(client(1), 1, start));
        assert!(allowances.try_take(client(2), 1, start), "another's bucket");
        let later = start.after(Nanos::SECOND);
        assert!(!allowances.try_take(client(1), MESSAGES_PER_SECOND + 1, later));
        assert!(allowances.try_take(client(1), MESSAGES_PER_SECOND, later));
        let mut now = later;
        let mut taken = 0;
        // Looking often loses nothing of a refill.
        for _ in 0..10_000 {
            now = now.after(Nanos(100_000));
            taken += u32::from(allowances.try_take(client(1), 1, now));
        }
        assert!(taken.abs_diff(MESSAGES_PER_SECOND) <= 1, "{taken}");
    }

    #[test]
    fn addresses_are_bounded_and_who_is_full_again_makes_way() {
        let (mut allowances, start) = (Allowances::default(), Steady::default());
        for number in 0..ADDRESSES_MAX as u32 {
            assert!(allowances.try_take(client(number), BURST_MESSAGES, start));
        }
        assert!(!allowances.try_take(client(u32::MAX), 1, start));
        let later = start.after(Nanos(60 * Nanos::SECOND.0));
        assert!(allowances.try_take(client(u32::MAX), 1, later));
        assert_eq!(allowances.buckets.len(), 1);
    }
}
