//! Turns heartbeats into the time a seller is paid for.
//!
//! Called by providers with the beats that a guest wrote, one after the other. Pure: beats in,
//! nanoseconds out.
//!
//! Always holds: integers only; verified time never exceeds the window, nor the time that passed
//! on the guest's own monotonic clock; an interval counts whole or not at all, and no moment of the
//! window twice, also where the wall clock was set back.
//! Does not: read files or clocks, or know prices.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::Millicores;
use super::counted::Counted;

/// One heartbeat of a guest, written about once a period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// When, in UTC nanoseconds: places the beat in the delivery window.
    pub at_ns: u64,
    /// When, on the host's monotonic clock: measures the interval, whatever the wall clock does.
    pub mono_ns: u64,
    /// Pieces of benchmark work done since the guest began.
    pub work_done: u64,
    /// How long the last piece of work took, in nanoseconds.
    pub probe_wall_ns: u64,
    /// How much processor time it needed, in nanoseconds.
    pub probe_cpu_ns: u64,
    /// Processor time that the whole machine has used, in nanoseconds.
    pub cpu_used_ns: u64,
}

/// When an interval between two beats counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeteringRule {
    /// Nothing before this counts, in UTC nanoseconds.
    pub window_start_ns: u64,
    /// Nothing after this counts, in UTC nanoseconds.
    pub window_end_ns: u64,
    /// The longest interval that still proves the machine ran all through it.
    pub interval_max_ns: u64,
    /// The processor share that was promised.
    pub cpu_share: Millicores,
    /// The least part of that share that must have been there, in parts per million.
    pub share_floor_ppm: u32,
}

/// What a row of beats proves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Time proven, in nanoseconds.
    pub verified_ns: u64,
    /// Intervals that counted.
    pub intervals_counted: u64,
    /// Intervals that did not: late, short of share, without work, or with a clock gone backwards.
    pub intervals_refused: u64,
}

/// How many of the last beats the present share is taken over.
const RECENT_BEATS: usize = 11;

/// Adds up the intervals that were on time, inside the window.
#[derive(Clone, Debug)]
pub struct Meter {
    rule: MeteringRule,
    total: Verified,
    counted: Counted,
    recent: VecDeque<Beat>,
}

impl Meter {
    /// A meter that has seen nothing.
    #[must_use]
    pub fn new(rule: MeteringRule) -> Meter {
        Meter {
            rule,
            total: Verified::default(),
            counted: Counted::default(),
            recent: VecDeque::with_capacity(RECENT_BEATS),
        }
    }

    /// Takes the next beat of the record.
    pub fn take(&mut self, beat: Beat) {
        if let Some(earlier) = self.recent.back() {
            if counts(earlier, &beat, &self.rule) {
                self.total.verified_ns += self.count(*earlier, beat);
                self.total.intervals_counted += 1;
            } else {
                self.total.intervals_refused += 1;
            }
        }
        if self.recent.len() == RECENT_BEATS {
            self.recent.pop_front();
        }
        self.recent.push_back(beat);
    }

    /// The shorter of the two clocks' intervals, cut to what of the window was not counted before.
    fn count(&mut self, earlier: Beat, later: Beat) -> u64 {
        let start = earlier.at_ns.max(self.rule.window_start_ns);
        let end = later.at_ns.min(self.rule.window_end_ns);
        let passed = later.mono_ns.saturating_sub(earlier.mono_ns);
        self.counted
            .add(start, end.min(start.saturating_add(passed)))
    }

    /// What was proven so far.
    #[must_use]
    pub fn verified(&self) -> Verified {
        self.total
    }

    /// The last beat.
    #[must_use]
    pub fn last(&self) -> Option<Beat> {
        self.recent.back().copied()
    }

    /// The mean share over the last beats, weighted by time, in parts per million; zero when there
    /// are fewer than two.
    #[must_use]
    pub fn recent_share_ppm(&self) -> u32 {
        let (mut weighted, mut span) = (0u128, 0u128);
        for (earlier, later) in self.recent.iter().zip(self.recent.iter().skip(1)) {
            let interval = u128::from(later.mono_ns.saturating_sub(earlier.mono_ns));
            weighted += interval * u128::from(share_ppm(earlier, later, self.rule.cpu_share));
            span += interval;
        }
        u32::try_from(weighted.checked_div(span).unwrap_or(0)).unwrap_or(u32::MAX)
    }
}

/// What a whole row of beats proves.
#[must_use]
pub fn meter(beats: &[Beat], rule: &MeteringRule) -> Verified {
    let mut meter = Meter::new(*rule);
    beats.iter().for_each(|beat| meter.take(*beat));
    meter.verified()
}

fn counts(earlier: &Beat, later: &Beat, rule: &MeteringRule) -> bool {
    let in_order = later.mono_ns > earlier.mono_ns && later.at_ns > earlier.at_ns;
    // A restarted guest begins its count anew: the gap between two runs is never paid.
    let worked = later.work_done > earlier.work_done;
    in_order
        && worked
        && later.mono_ns - earlier.mono_ns <= rule.interval_max_ns
        && share_ppm(earlier, later, rule.cpu_share) >= rule.share_floor_ppm
}

/// The part of the promised processor share that was there between two beats, in parts per
/// million.
///
/// Either the machine used its share, or the probe shows that it could have: a buyer who uses all
/// he has slows the probe down, and a host that is overcommitted slows down both.
pub fn share_ppm(earlier: &Beat, later: &Beat, promised: Millicores) -> u32 {
    let interval_ns = u128::from(later.mono_ns.saturating_sub(earlier.mono_ns));
    let promised = u128::from(promised.0).max(1);
    if interval_ns == 0 {
        return 0;
    }
    let used_ns = u128::from(later.cpu_used_ns.saturating_sub(earlier.cpu_used_ns));
    let by_use = used_ns * 1_000 * FULL_PPM / (interval_ns * promised);
    // One thread cannot run on more than one core.
    let promised_to_probe = promised.min(1_000);
    let probe_wall_ns = u128::from(later.probe_wall_ns).max(1);
    let by_probe =
        u128::from(later.probe_cpu_ns) * 1_000 * FULL_PPM / (probe_wall_ns * promised_to_probe);
    u32::try_from(by_use.max(by_probe).min(FULL_PPM)).unwrap_or(u32::MAX)
}

const FULL_PPM: u128 = 1_000_000;

/// Ends every line of the heartbeat file: one that was cut anywhere does not end so.
const END: &str = ".";

impl Beat {
    /// The beat as one line of the heartbeat file.
    pub(crate) fn line(&self) -> String {
        format!(
            "{} {} {} {} {} {} {END}\n",
            self.at_ns,
            self.mono_ns,
            self.work_done,
            self.probe_wall_ns,
            self.probe_cpu_ns,
            self.cpu_used_ns
        )
    }
}

/// Reads one line of the heartbeat file; a torn line is no beat.
pub(crate) fn parse_beat(line: &str) -> Option<Beat> {
    let line = line.strip_suffix(END)?.strip_suffix(' ')?;
    let mut numbers = line.split(' ').map(|n| n.parse::<u64>().ok());
    let mut next = || numbers.next().flatten();
    let beat = Beat {
        at_ns: next()?,
        mono_ns: next()?,
        work_done: next()?,
        probe_wall_ns: next()?,
        probe_cpu_ns: next()?,
        cpu_used_ns: next()?,
    };
    numbers.next().is_none().then_some(beat)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn rule() -> MeteringRule {
        MeteringRule {
            window_start_ns: 100 * SECOND,
            window_end_ns: 200 * SECOND,
            interval_max_ns: 2 * SECOND,
            cpu_share: Millicores(500),
            share_floor_ppm: 900_000,
        }
    }

    /// A beat `second` seconds into the epoch, from an idle machine on an idle host.
    fn beat(second: u64) -> Beat {
        Beat {
            at_ns: second * SECOND,
            mono_ns: second * SECOND,
            work_done: second,
            probe_wall_ns: 1_000_000,
            probe_cpu_ns: 1_000_000,
            cpu_used_ns: 0,
        }
    }

    #[test]
    fn a_whole_window_of_beats_is_the_whole_window() {
        let beats: Vec<Beat> = (90..=210).map(beat).collect();
        let verified = meter(&beats, &rule());
        assert_eq!(verified.verified_ns, 100 * SECOND);
        assert_eq!(verified.intervals_refused, 0);
    }

    #[test]
    fn nothing_and_one_beat_prove_nothing() {
        assert_eq!(meter(&[], &rule()), Verified::default());
        assert_eq!(meter(&[beat(150)], &rule()), Verified::default());
    }

    #[test]
    fn a_late_interval_counts_for_nothing_and_the_others_count() {
        let beats = [beat(150), beat(151), beat(155), beat(156)];
        let verified = meter(&beats, &rule());
        assert_eq!(verified.verified_ns, 2 * SECOND);
        assert_eq!(
            (verified.intervals_counted, verified.intervals_refused),
            (2, 1)
        );
        let exactly = [beat(150), beat(152)];
        assert_eq!(meter(&exactly, &rule()).verified_ns, 2 * SECOND);
    }

    #[test]
    fn a_wall_clock_set_forward_pays_nothing_extra() {
        let mut later = beat(151);
        later.at_ns += 40 * SECOND;
        assert_eq!(meter(&[beat(150), later], &rule()).verified_ns, SECOND);
        let mut backwards = beat(151);
        backwards.at_ns = 140 * SECOND;
        assert_eq!(meter(&[beat(150), backwards], &rule()).verified_ns, 0);
    }

    #[test]
    fn a_wall_clock_set_back_pays_no_moment_twice() {
        // From second 160 on the wall clock is 30 seconds behind what it was.
        let behind = |second: u64| Beat {
            at_ns: (second - 30) * SECOND,
            ..beat(second)
        };
        let beats: Vec<Beat> = (100..=160)
            .map(beat)
            .chain((161..=195).map(behind))
            .collect();
        // Seconds 100 to 165 of the window, though 94 were spent in it.
        assert_eq!(meter(&beats, &rule()).verified_ns, 65 * SECOND);
    }

    #[test]
    fn a_wall_clock_that_was_ahead_for_a_moment_costs_no_more_than_that() {
        let mut beats: Vec<Beat> = (100..=200).map(beat).collect();
        for ahead in &mut beats[30..32] {
            ahead.at_ns += 60 * SECOND;
        }
        let verified = meter(&beats, &rule()).verified_ns;
        // The interval that ends with the jump back has no order, and the second that was shown too
        // early is not counted again.
        assert_eq!(verified, 98 * SECOND);
    }

    #[test]
    fn a_restart_between_two_beats_is_not_paid() {
        let mut restarted = beat(151);
        restarted.work_done = 1;
        assert_eq!(meter(&[beat(150), restarted], &rule()).intervals_refused, 1);
        let mut same = beat(151);
        same.work_done = 150;
        assert_eq!(meter(&[beat(150), same], &rule()).intervals_refused, 1);
    }

    #[test]
    fn a_starved_machine_is_not_paid_and_a_busy_one_is() {
        // The probe got a third of a core where half was promised, and nothing else ran.
        let starved = Beat {
            probe_wall_ns: 3_000_000,
            ..beat(151)
        };
        assert_eq!(share_ppm(&beat(150), &starved, Millicores(500)), 666_666);
        assert_eq!(meter(&[beat(150), starved], &rule()).verified_ns, 0);
        // The same probe, but the buyer himself used the half core.
        let busy = Beat {
            cpu_used_ns: SECOND / 2,
            ..starved
        };
        assert_eq!(share_ppm(&beat(150), &busy, Millicores(500)), 1_000_000);
        assert_eq!(meter(&[beat(150), busy], &rule()).verified_ns, SECOND);
    }

    #[test]
    fn extreme_numbers_neither_wrap_nor_divide_by_zero() {
        let top = Beat {
            at_ns: u64::MAX,
            mono_ns: u64::MAX,
            work_done: u64::MAX,
            probe_wall_ns: 0,
            probe_cpu_ns: u64::MAX,
            cpu_used_ns: u64::MAX,
        };
        let open = MeteringRule {
            window_start_ns: 0,
            window_end_ns: u64::MAX,
            interval_max_ns: u64::MAX,
            cpu_share: Millicores(u32::MAX),
            share_floor_ppm: 0,
        };
        assert_eq!(meter(&[Beat::default(), top], &open).verified_ns, u64::MAX);
        assert_eq!(share_ppm(&top, &Beat::default(), Millicores(0)), 0);
        let mut still = Meter::new(open);
        still.take(top);
        still.take(top);
        assert_eq!(still.recent_share_ppm(), 0);
    }

    #[test]
    fn a_line_comes_back_as_the_same_beat_and_a_torn_one_is_none() {
        let line = beat(151).line();
        assert_eq!(parse_beat(line.trim_end()), Some(beat(151)));
        for end in 0..line.trim_end().len() {
            let torn = parse_beat(&line[..end]);
            assert_eq!(torn, None, "cut at {end}");
        }
        assert_eq!(parse_beat("1 2 3 4 5"), None);
        assert_eq!(parse_beat("1 2 3 4 5 6 7"), None);
        assert_eq!(parse_beat("1 2 3 4 5 x"), None);
    }
}
