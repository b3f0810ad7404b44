//! Which moments of a window were counted, so that none counts twice.
//!
//! Used by `metering`, for each interval of a record.
//!
//! Always holds: the ranges are in order and apart. They are few, normally one: a further one for each
//! gap in the record. Should there ever be very many, the earliest two become one, gap and all,
//! which can cost a little and never pays anything twice.

/// More gaps than a machine that is worth paying for has.
const RANGES_MAX: usize = 1_024;

/// Moments that were counted, as ranges of UTC nanoseconds: from, and up to but not with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    ranges: Vec<(u64, u64)>,
}

impl Counted {
    /// Counts what lies between two moments; gives how much of it was not counted before.
    pub(super) fn add(&mut self, from: u64, to: u64) -> u64 {
        if from >= to {
            return 0;
        }
        // Those that touch it, and become one with it.
        let first = self.ranges.partition_point(|it| it.1 < from);
        let last = self.ranges.partition_point(|it| it.0 <= to);
        let touched = &self.ranges[first..last];
        let overlap = |it: &(u64, u64)| it.1.min(to).saturating_sub(it.0.max(from));
        let before: u64 = touched.iter().map(overlap).sum();
        let whole = (
            touched.first().map_or(from, |it| it.0.min(from)),
            touched.last().map_or(to, |it| it.1.max(to)),
        );
        self.ranges.splice(first..last, [whole]);
        if self.ranges.len() > RANGES_MAX {
            let earliest = (self.ranges[0].0, self.ranges[1].1);
            self.ranges.splice(0..2, [earliest]);
        }
        to - from - before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_not_counted_again() {
        let mut counted = Counted::default();
        assert_eq!(counted.add(10, 20), 10);
        assert_eq!(counted.add(20, 30), 10, "the next");
        assert_eq!(counted.ranges, [(10, 30)]);
        assert_eq!(counted.add(15, 25), 0, "again");
        assert_eq!(counted.add(50, 60), 10, "after a gap");
        assert_eq!(counted.add(25, 55), 20, "the gap");
        assert_eq!(counted.ranges, [(10, 60)]);
        assert_eq!(counted.add(0, 100), 50, "around all");
        assert_eq!((counted.add(7, 7), counted.add(9, 8)), (0, 0));
    }

    #[test]
    fn very_many_gaps_cost_the_earliest_of_them() {
        let mut counted = Counted::default();
        let many = RANGES_MAX as u64 + 10;
        for place in 0..many {
            assert_eq!(counted.add(place * 10, place * 10 + 1), 1);
        }
        assert_eq!(counted.ranges.len(), RANGES_MAX);
        assert_eq!(counted.add(5, 6), 0, "lost");
        assert_eq!(counted.add(many * 10 - 5, many * 10 - 4), 1);
    }
}
