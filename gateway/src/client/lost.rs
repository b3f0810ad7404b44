//! Which messages were not applied, and of which of them the user knows.
//!
//! Kept by the client's core, which learns of a message by up to four ways: `Busy`, `NotApplied` and
//! the answer to a probe, each of which may be lost with its connection, and in the end a numbered
//! report.
//!
//! Always holds: in a version the user is told of each message once, by whatever came first.
//! Does not: know what was sent, or what became of the rest.

use std::collections::VecDeque;
use std::ops::Range;

/// Ranges known before their reports that are remembered; one more, and the oldest may be told
/// again.
const KNOWN_COUNT_MAX: usize = 4_096;

/// Ranges that may wait to be told without another allocation.
const UNTOLD_USUAL: usize = 16;

#[derive(Clone, Debug)]
pub(super) struct Lost {
    /// What the user is to be told, in the order found.
    untold: VecDeque<Range<u32>>,
    /// What the user was told or is to be told before its report came: rising, none touching the
    /// next, all from `reported` on.
    known: Vec<Range<u32>>,
    /// The reports delivered name every gap before this message.
    reported: u32,
}

impl Lost {
    pub(super) fn new() -> Self {
        Self {
            untold: VecDeque::with_capacity(UNTOLD_USUAL),
            known: Vec::with_capacity(KNOWN_COUNT_MAX + 1),
            reported: 0,
        }
    }

    /// Begins a new version.
    pub(super) fn clear(&mut self) {
        self.untold.clear();
        self.known.clear();
        self.reported = 0;
    }

    /// Goes back to an earlier time of the same version: what was found since is news again.
    pub(super) fn restore(&mut self, earlier: &Self) {
        self.untold.clone_from(&earlier.untold);
        self.known.clone_from(&earlier.known);
        self.reported = earlier.reported;
    }

    /// Notes a message that the user is told of as busy.
    pub(super) fn on_busy(&mut self, message: u32) {
        self.know(message..message.saturating_add(1));
    }

    /// Notes messages that were found not applied, as far as that is news.
    pub(super) fn on_found(&mut self, range: Range<u32>) {
        let mut from = range.start.max(self.reported);
        if from >= range.end {
            return;
        }
        let first = self.known.partition_point(|known| known.end <= from);
        for known in &self.known[first..] {
            if known.start >= range.end {
                break;
            }
            if from < known.start {
                self.untold.push_back(from..known.start);
            }
            from = known.end;
        }
        if from < range.end {
            self.untold.push_back(from..range.end);
        }
        self.know(range.start.max(self.reported)..range.end);
    }

    /// Notes a gap that a report names. Reports come in order, and so do the gaps in them.
    pub(super) fn on_reported(&mut self, range: Range<u32>) {
        self.reported = self.reported.max(range.start);
        let end = range.end;
        self.on_found(range);
        self.reported = self.reported.max(end);
        let past = self.known.partition_point(|known| known.end <= end);
        self.known.drain(..past);
        if let Some(first) = self.known.first_mut() {
            first.start = first.start.max(self.reported);
        }
    }

    /// The next messages to tell the user of.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Range<u32>> {
        self.untold.pop_front()
    }

    /// Adds a range to those known, and joins it with what it touches.
    fn know(&mut self, range: Range<u32>) {
        let first = self.known.partition_point(|known| known.end < range.start);
        let end = self.known.partition_point(|known| known.start <= range.end);
        if first == end {
            self.known.insert(first, range);
        } else {
            let joined_end = self.known[end - 1].end.max(range.end);
            let joined = &mut self.known[first];
            *joined = joined.start.min(range.start)..joined_end;
            self.known.drain(first + 1..end);
        }
        if self.known.len() > KNOWN_COUNT_MAX {
            self.known.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// The same with a set of single messages.
    #[derive(Default)]
    struct Plain {
        told: BTreeSet<u32>,
    }

    impl Plain {
        fn tell(&mut self, lost: &mut Lost, seed: u64) {
            while let Some(range) = lost.next() {
                assert!(!range.is_empty(), "seed {seed}");
                for message in range {
                    assert!(
                        self.told.insert(message),
                        "seed {seed}: {message} told again"
                    );
                }
            }
        }
    }

    #[test]
    fn every_message_is_told_once_by_whatever_comes_first() {
        for seed in 0..200 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let (mut lost, mut plain) = (Lost::new(), Plain::default());
            let (mut gaps, mut next) = (VecDeque::new(), 1_u32);
            let mut all = BTreeSet::new();
            for _ in 0..300 {
                match rng.random_range(0..5) {
                    // The exchange finds a gap; some of its messages it had refused as busy.
                    0 | 1 => {
                        let from = next + rng.random_range(0..4);
                        let gap = from..from + rng.random_range(1..6);
                        next = gap.end + 1;
                        for message in gap.clone() {
                            if rng.random_bool(0.3) {
                                assert!(plain.told.insert(message));
                                lost.on_busy(message);
                            }
                        }
                        all.extend(gap.clone());
                        gaps.push_back(gap);
                    }
                    // It says so at once, and this arrives, or it is found by asking.
                    2 if !gaps.is_empty() => {
                        let gap = gaps[rng.random_range(0..gaps.len())].clone();
                        lost.on_found(gap);
                    }
                    // The reports are read as far as they came.
                    3 | 4 => {
                        if let Some(gap) = gaps.pop_front() {
                            lost.on_reported(gap.clone());
                            if rng.random_bool(0.5) {
                                lost.on_found(gap);
                            }
                        }
                    }
                    _ => {}
                }
                if rng.random_bool(0.5) {
                    plain.tell(&mut lost, seed);
                }
            }
            gaps.drain(..).for_each(|gap| lost.on_reported(gap));
            plain.tell(&mut lost, seed);
            assert_eq!(plain.told, all, "seed {seed}");
            assert!(lost.known.is_empty(), "seed {seed}: {:?}", lost.known);
        }
    }

    #[test]
    fn a_busy_message_of_an_older_gap_is_not_forgotten_by_news_of_a_later_one() {
        let mut lost = Lost::new();
        lost.on_busy(2);
        lost.on_found(5..6);
        assert_eq!(lost.next(), Some(5..6));
        lost.on_reported(2..4);
        assert_eq!((lost.next(), lost.next()), (Some(3..4), None));
        lost.on_reported(5..6);
        assert_eq!(lost.next(), None);
    }

    #[test]
    fn what_is_known_stays_bounded() {
        let mut lost = Lost::new();
        for message in 0..10_000 {
            lost.on_busy(message * 2);
        }
        assert_eq!(lost.known.len(), KNOWN_COUNT_MAX);
        assert_eq!(lost.known.capacity(), KNOWN_COUNT_MAX + 1);
    }
}
