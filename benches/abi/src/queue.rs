//! The way of the reports to the benchmark's reader: a ring of the exchange, published now and then.
//!
//! Always holds: reports are published at the latest when [`Sender::flush`] returns; a full ring is
//! waited for, as nothing may be lost.

use exahour_rings::{Capacity, Consumer, Producer, ring};

use crate::contract::Report;

/// Reports handed over together.
const TOGETHER: u32 = 32;

/// Both ends; each is used by one thread.
pub struct Queue {
    sender: Sender,
    receiver: Consumer<Report>,
}

/// The end that the book fills.
pub struct Sender {
    ring: Producer<Report>,
    staged: u32,
}

impl Queue {
    /// Room for at least so many reports, as far as a ring can be that large.
    #[must_use]
    pub fn new(reports: u32) -> Option<Self> {
        let slots = (reports as usize).next_power_of_two();
        let slots = slots.clamp(TOGETHER as usize * 2, Capacity::MAX);
        let (ring, receiver) = ring(Capacity::new(slots).ok()?);
        Some(Self {
            sender: Sender { ring, staged: 0 },
            receiver,
        })
    }

    /// The end that the book fills, without touching the other one.
    ///
    /// # Safety
    /// `queue` points to one.
    #[inline(always)]
    pub unsafe fn sender(queue: *mut Self) -> *mut Sender {
        // SAFETY: the caller's promise; no reference to the whole is made.
        unsafe { &raw mut (*queue).sender }
    }

    /// The end that is drained, without touching the other one.
    ///
    /// # Safety
    /// `queue` points to one.
    #[inline(always)]
    pub unsafe fn receiver(queue: *mut Self) -> *mut Consumer<Report> {
        // SAFETY: the caller's promise; no reference to the whole is made.
        unsafe { &raw mut (*queue).receiver }
    }
}

impl Sender {
    /// Carries one report.
    #[inline(always)]
    pub fn push(&mut self, report: Report) {
        if !self.ring.has_room() {
            self.wait();
        }
        // There is room, so that nothing is refused; the report is written once, where it stays.
        let _ = self.ring.try_stage(report);
        self.staged += 1;
        if self.staged == TOGETHER {
            self.flush();
        }
    }

    #[cold]
    #[inline(never)]
    fn wait(&mut self) {
        self.flush();
        while !self.ring.has_room() {
            std::hint::spin_loop();
        }
    }

    /// Makes visible what was carried.
    #[inline]
    pub fn flush(&mut self) {
        self.ring.publish();
        self.staged = 0;
    }
}
