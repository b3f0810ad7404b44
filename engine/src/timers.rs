//! What falls due when: the engine's own queue of times.
//!
//! Asked before every batch; the node asks for the earliest, to tick in a quiet moment.
//!
//! Always holds: entries come out by due time, then kind, then id. An entry may be stale (its order
//! is gone, a session was heard of); whoever takes it out checks. Stale entries never outnumber live ones for long.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use exahour_wire::units::Nanos;

/// What falls due, in the order of the rulebook at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// All orders that end at this time; scheduled once for each end of a day.
    DayEnd,
    /// One good-till-date order.
    Order(u64),
    /// The orders of a session that did not come back.
    SessionCancel(u32),
    /// An instrument's last trading time.
    Instrument(u32),
    /// The day is over: each session is told what it did in it.
    ActivityEnd,
    /// A session that may have said nothing for too long.
    DeadMan(u32),
    /// The end of an interval in which an instrument traded.
    Interval(u32),
    /// The end of an instrument's phase.
    Phase(u32),
    /// A look at what an instrument's auction would come to.
    Indicative(u32),
    /// A look at the best quotes of an instrument that has a price band.
    Band(u32),
    /// Stop orders that were elected and are not in the market yet, and pegged orders to be moved.
    Election,
}

/// The queue.
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Nanos, Due)>>,
}

impl Timers {
    /// Room for this many without growing.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            heap: BinaryHeap::with_capacity(capacity),
        }
    }

    /// Adds a time.
    pub(crate) fn schedule(&mut self, at: Nanos, due: Due) {
        self.heap.push(Reverse((at, due)));
    }

    /// The earliest time.
    #[inline]
    pub(crate) fn next(&self) -> Option<Nanos> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes out the first that is due at `now`.
    #[inline]
    pub(crate) fn take_due(&mut self, now: Nanos) -> Option<(Nanos, Due)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// Drops stale entries once they are the larger part.
    pub(crate) fn shed(&mut self, live: usize, mut is_live: impl FnMut(Nanos, Due) -> bool) {
        const SLACK: usize = 1_024;
        if self.heap.len() > 2 * live + SLACK {
            self.heap.retain(|Reverse((at, due))| is_live(*at, *due));
        }
    }
}
