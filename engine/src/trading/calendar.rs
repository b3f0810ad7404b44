//! The trading day of an instrument, and the rules of its auctions.
//!
//! ```text
//! 0:00       call start    uncross     closing call  closing uncross   24:00
//!   | Closed     | PreOpenCall | Continuous  | ClosingCall  | Closed       |
//! ```
//! Always holds: a phase is a function of the time of day; the random end of an auction never
//! reaches into the call after it.

use exahour_wire::codes::{Allocation, Phase};
use exahour_wire::limits::{BAND_CLOSING, BAND_OPENING, RANDOM_END_MAX};
use exahour_wire::operations::SetCalendar;
use exahour_wire::reject::Reject;
use exahour_wire::units::{Millis, Nanos, PartsPerMillion};

const MILLION: u32 = 1_000_000;

/// When phases begin: spans after midnight UTC, each at or after the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Day {
    pub(crate) call_start: Millis,
    pub(crate) uncross: Millis,
    pub(crate) closing_call: Millis,
    pub(crate) closing_uncross: Millis,
}

/// The trading day and the rules of the auctions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Calendar {
    /// None for an instrument that trades around the clock.
    pub(crate) day: Option<Day>,
    pub(crate) random_end: Millis,
    /// How far an auction's price may be from the reference; zero for any distance.
    pub(crate) collar: PartsPerMillion,
    pub(crate) allocation: Allocation,
}

impl Default for Calendar {
    fn default() -> Self {
        Self {
            day: None,
            random_end: Millis(0),
            collar: PartsPerMillion(0),
            allocation: Allocation::Time,
        }
    }
}

impl Calendar {
    /// The calendar that a command sets.
    ///
    /// # Errors
    /// [`Reject::InvalidDefinition`] where it contradicts itself.
    pub(crate) fn parse(command: &SetCalendar) -> Result<Self, Reject> {
        let refused = Reject::InvalidDefinition;
        let allocation = command.allocation.decode().ok_or(refused)?;
        let day = Day {
            call_start: command.call_start,
            uncross: command.uncross,
            closing_call: command.closing_call,
            closing_uncross: command.closing_uncross,
        };
        let no_day = day.bounds() == [0; 4];
        let random_end = Nanos::from(command.random_end).0;
        let fits = if no_day {
            random_end == 0
        } else {
            day.is_in_order(random_end)
        };
        if !fits || command.collar.0 > MILLION || command.random_end > RANDOM_END_MAX {
            return Err(refused);
        }
        Ok(Self {
            day: (!no_day).then_some(day),
            random_end: command.random_end,
            collar: command.collar,
            allocation,
        })
    }

    /// The phase that the calendar wants at a time.
    pub(crate) fn phase_at(&self, now: Nanos) -> Phase {
        let Some(day) = self.day else {
            return Phase::Continuous;
        };
        let [call_start, uncross, closing_call, closing_uncross] = day.bounds();
        match now.0 % Nanos::DAY.0 {
            time if time < call_start => Phase::Closed,
            time if time < uncross => Phase::PreOpenCall,
            time if time < closing_call => Phase::Continuous,
            time if time < closing_uncross => Phase::ClosingCall,
            _ => Phase::Closed,
        }
    }

    /// Whether it is so soon after the opening auction, or before the closing call, that price bands are
    /// twice as wide.
    ///
    /// # Source
    /// Oracle O-45: the first 15 and the last 25 minutes.
    pub(crate) fn is_near_auction(&self, now: Nanos) -> bool {
        let Some(day) = self.day else {
            return false;
        };
        let [_, uncross, closing_call, _] = day.bounds();
        let time = now.0 % Nanos::DAY.0;
        let opening = uncross..uncross + Nanos::from(BAND_OPENING).0;
        let closing = closing_call.saturating_sub(Nanos::from(BAND_CLOSING).0)..closing_call;
        opening.contains(&time) || closing.contains(&time)
    }

    /// When the calendar wants another phase next: after `now`, or never.
    pub(crate) fn next_change(&self, now: Nanos) -> Nanos {
        let Some(day) = self.day else {
            return Nanos::NEVER;
        };
        let midnight = now.0 - now.0 % Nanos::DAY.0;
        let tomorrow = midnight.saturating_add(Nanos::DAY.0);
        let bounds = [midnight, tomorrow]
            .into_iter()
            .flat_map(|from| day.bounds().map(|bound| from.saturating_add(bound)));
        bounds
            .filter(|at| *at > now.0)
            .min()
            .map_or(Nanos::NEVER, Nanos)
    }

    /// The end of a call as it was announced, of one that chance has delayed until `due`.
    pub(crate) fn before_delay(&self, due: Nanos) -> Nanos {
        self.day.map_or(due, |day| day.last_bound(due))
    }
}

impl Day {
    /// The latest of its bounds, of any day, below a time.
    fn last_bound(&self, before: Nanos) -> Nanos {
        let today = before.0 - before.0 % Nanos::DAY.0;
        let yesterday = today.saturating_sub(Nanos::DAY.0);
        let bounds = [yesterday, today]
            .into_iter()
            .flat_map(|from| self.bounds().map(|bound| from.saturating_add(bound)));
        let last = bounds.filter(|at| *at < before.0).max();
        last.map_or(before, Nanos)
    }

    /// All four, in nanoseconds.
    fn bounds(&self) -> [u64; 4] {
        [
            self.call_start,
            self.uncross,
            self.closing_call,
            self.closing_uncross,
        ]
        .map(|span| Nanos::from(span).0)
    }

    fn is_in_order(&self, random_end: u64) -> bool {
        let [call_start, uncross, closing_call, closing_uncross] = self.bounds();
        call_start < uncross
            && uncross + random_end <= closing_call
            && closing_call < closing_uncross
            && closing_uncross <= Nanos::DAY.0
            && closing_uncross + random_end <= call_start + Nanos::DAY.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use exahour_wire::message::Message;

    const HOUR: u32 = 3_600_000;

    fn command(hours: [u32; 4], random_end: u32) -> SetCalendar {
        let [call_start, uncross, closing_call, closing_uncross] =
            hours.map(|hour| Millis(hour * HOUR));
        SetCalendar {
            call_start,
            uncross,
            closing_call,
            closing_uncross,
            random_end: Millis(random_end),
            ..SetCalendar::blank()
        }
    }

    #[test]
    fn a_day_has_its_phases_and_each_ends_when_the_next_begins() {
        let calendar = Calendar::parse(&command([7, 8, 16, 17], 30_000)).unwrap();
        let at = |hour: u64| Nanos(5 * Nanos::DAY.0 + hour * Nanos::HOUR.0);
        for (hour, phase, until) in [
            (0, Phase::Closed, 7),
            (7, Phase::PreOpenCall, 8),
            (8, Phase::Continuous, 16),
            (16, Phase::ClosingCall, 17),
            (17, Phase::Closed, 24 + 7),
            (23, Phase::Closed, 24 + 7),
        ] {
            assert_eq!(calendar.phase_at(at(hour)), phase, "{hour}");
            assert_eq!(calendar.next_change(at(hour)), at(until), "{hour}");
        }
        assert_eq!(calendar.next_change(Nanos(u64::MAX - 1)), Nanos::NEVER);
        let none = Calendar::parse(&command([0; 4], 0)).unwrap();
        assert_eq!(none, Calendar::default());
        assert_eq!(none.next_change(at(1)), Nanos::NEVER);
    }

    #[test]
    fn what_chance_adds_to_a_call_does_not_change_its_announced_end() {
        let at = |hours: u64| Nanos(5 * Nanos::DAY.0 + hours * Nanos::HOUR.0);
        let minute = |from: Nanos| Nanos(from.0 + 60_000_000_000);
        let calendar = Calendar::parse(&command([7, 8, 16, 24], 60_000)).unwrap();
        for hour in [8, 24] {
            for delayed in [Nanos(at(hour).0 + 1), minute(at(hour))] {
                assert_eq!(calendar.before_delay(delayed), at(hour), "{hour}");
            }
        }
        // The delay may end just when the next call begins.
        let mut tight = command([7, 8, 16, 17], 60_000);
        tight.closing_call = Millis(tight.uncross.0 + 60_000);
        let tight = Calendar::parse(&tight).unwrap();
        assert_eq!(tight.before_delay(minute(at(8))), at(8));
    }

    #[test]
    fn what_is_out_of_order_is_refused() {
        for (hours, random_end) in [
            ([8, 8, 16, 17], 0),
            ([7, 8, 7, 17], 0),
            ([7, 8, 17, 17], 0),
            ([7, 8, 16, 25], 0),
            ([7, 8, 8, 17], 1),
            ([0, 8, 16, 24], 1),
            ([7, 8, 16, 17], 60_001),
            ([0, 0, 0, 0], 1),
        ] {
            let refused = Calendar::parse(&command(hours, random_end));
            assert_eq!(refused, Err(Reject::InvalidDefinition), "{hours:?}");
        }
        assert!(Calendar::parse(&command([0, 8, 16, 24], 0)).is_ok());
        assert!(Calendar::parse(&command([7, 8, 16, 17], 60_000)).is_ok());
    }
}
