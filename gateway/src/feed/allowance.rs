//! How much a client may ask for: buckets that time fills again, one for each connection and one for each
//! address.
//!
//! Called by `subscribers` with every request.
//!
//! Always holds: memory is bounded. A connection gets no more requests than [`REQUESTS_AT_ONCE`] and
//! [`REQUESTS_PER_SECOND`] allow. However many connections it makes, an address is sent no more than
//! [`BURST_MESSAGES`] again at once and [`MESSAGES_PER_SECOND`] in the long run.
//! Does not: bound what is sent live, which goes at the pace at which a client reads.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use exahour_wire::units::Nanos;

use crate::clock::Steady;

/// Messages sent again for one request at most.
pub const RANGE_MESSAGES_MAX: u32 = 4_096;

/// Messages that a client may be sent again at once.
pub const BURST_MESSAGES: u32 = 16_384;

/// Messages that a client may be sent again in a second, in the long run.
pub const MESSAGES_PER_SECOND: u32 = 4_096;

/// Requests for ranges that a connection may make at once.
pub const REQUESTS_AT_ONCE: u32 = 1_024;

/// Requests for ranges that a connection may make in a second, in the long run.
pub const REQUESTS_PER_SECOND: u32 = 512;

/// How many requests for ranges one for a snapshot or for updates counts as.
pub const FEED_REQUEST_COSTS: u32 = 64;

/// Addresses that are remembered at once; the bucket of any other is full.
const ADDRESSES_MAX: usize = 4_096;

// A request that is not too large can be met.
const _: () = assert!(RANGE_MESSAGES_MAX <= BURST_MESSAGES);
const _: () = assert!(FEED_REQUEST_COSTS <= REQUESTS_AT_ONCE);

/// What is left to a client at some moment, of `BURST` at most; `PER_SECOND` come back.
#[derive(Clone, Copy, Debug)]
pub struct Bucket<const BURST: u32, const PER_SECOND: u32> {
    left: u32,
    /// When `left` was right; whole refills only move it.
    at: Steady,
}

/// What a connection may ask for, in requests for ranges.
pub type Requests = Bucket<REQUESTS_AT_ONCE, REQUESTS_PER_SECOND>;

/// What a client may be sent again.
type Messages = Bucket<BURST_MESSAGES, MESSAGES_PER_SECOND>;

impl<const BURST: u32, const PER_SECOND: u32> Default for Bucket<BURST, PER_SECOND> {
    /// A full bucket.
    fn default() -> Self {
        Bucket {
            left: BURST,
            at: Steady::default(),
        }
    }
}

impl<const BURST: u32, const PER_SECOND: u32> Bucket<BURST, PER_SECOND> {
    /// Whether so many are left; if so, they are taken.
    pub fn try_take(&mut self, count: u32, now: Steady) -> bool {
        *self = self.refilled(now);
        match self.left.checked_sub(count) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }

    fn full(&self, now: Steady) -> bool {
        self.refilled(now).left == BURST
    }

    fn refilled(self, now: Steady) -> Self {
        let nanos = Nanos::SECOND.0 / u64::from(PER_SECOND);
        let passed = now.since(self.at).0 / nanos;
        let missing = u64::from(BURST - self.left);
        if passed >= missing {
            return Bucket {
                left: BURST,
                at: now,
            };
        }
        Bucket {
            // Below what is missing, so it fits.
            left: self.left + passed as u32,
            at: self.at.after(Nanos(passed * nanos)),
        }
    }
}

/// The buckets of all addresses.
#[derive(Debug, Default)]
pub struct Allowances {
    // Only looked up and thinned out, so its order is seen nowhere.
    buckets: HashMap<IpAddr, Messages>,
}

impl Allowances {
    /// Whether a client may be sent so many messages again; if so, they are taken from its bucket.
    pub fn try_take(&mut self, from: IpAddr, messages: u32, now: Steady) -> bool {
        let client = client_of(from);
        if self.buckets.len() >= ADDRESSES_MAX && !self.buckets.contains_key(&client) {
            self.buckets.retain(|_, bucket| !bucket.full(now));
            if self.buckets.len() >= ADDRESSES_MAX {
                return false;
            }
        }
        let bucket = self.buckets.entry(client).or_default();
        bucket.try_take(messages, now)
    }
}

/// Who is one client: an address of version 4, or the network of 64 bits that one of version 6 is in, as whoever
/// has one of its addresses has them all.
fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let network = address.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(network))
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
    fn a_network_of_version_6_is_one_client_and_a_mapped_address_is_the_one_it_stands_for() {
        let (mut allowances, now) = (Allowances::default(), Steady::default());
        let mut take = |address: &str, messages| {
            let address = address.parse().unwrap();
            allowances.try_take(address, messages, now)
        };
        assert!(take("2001:db8:1:2::1", BURST_MESSAGES));
        assert!(!take("2001:db8:1:2:ffff::9", 1), "the same network");
        assert!(take("2001:db8:1:3::1", 1), "the next network");
        assert!(take("192.0.2.1", BURST_MESSAGES));
        assert!(take("192.0.2.2", 1), "each address of version 4");
        assert!(!take("::ffff:192.0.2.1", 1), "the same address");
    }

    #[test]
    fn a_connection_gets_its_requests_and_then_what_time_brings() {
        let (mut requests, start) = (Requests::default(), Steady(7));
        for _ in 0..REQUESTS_AT_ONCE / FEED_REQUEST_COSTS {
            assert!(requests.try_take(FEED_REQUEST_COSTS, start));
        }
        assert!(!requests.try_take(1, start));
        let later = start.after(Nanos::SECOND);
        for _ in 0..REQUESTS_PER_SECOND {
            assert!(requests.try_take(1, later));
        }
        assert!(!requests.try_take(1, later));
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
