//! The way of the reports to the benchmark's reader: a ring of the exchange, 16 reports to a slot.
//!
//! ```text
//! slot, eight lines:  | narrow report, 32 bytes | ...  |  the last that is none ends it
//!                     | wide report, 64 bytes, of one whose numbers are above 32 bits | none | ...
//! ```
//! Moving lines from core to core was most of the time that a report took, so they are filled. They are
//! filled where they lie, and handed over when no more fits.
//!
//! Always holds: reports come out as they went in; they can be seen at the latest when
//! [`Sender::flush`] returns; a full ring is waited for, as nothing may be lost.

use bytemuck::{Pod, Zeroable};
use exahour_rings::{Capacity, Consumer, Full, Producer, ring};

use crate::contract::Report;

/// Narrow reports in a slot.
const TOGETHER: usize = 16;

/// In place of a kind: no report, nor any behind it.
const NONE: u8 = 0x7F;

/// Beside a kind: the report fills this place and the next.
const WIDE: u8 = 0x80;

/// A report whose numbers fit.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Narrow {
    kind: u8,
    side: u8,
    reserved: [u8; 2],
    quantity: u32,
    sequence: u32,
    order_id: u32,
    maker: u32,
    taker: u32,
    price: i64,
}

type Together = [Narrow; TOGETHER];

const _: () = assert!(2 * size_of::<Narrow>() == size_of::<Report>());

/// What ends a slot.
const NO_REPORT: Narrow = Narrow {
    kind: NONE,
    side: 0,
    reserved: [0; 2],
    quantity: 0,
    sequence: 0,
    order_id: 0,
    maker: 0,
    taker: 0,
    price: 0,
};

/// Both ends; each is used by one thread.
pub struct Queue {
    sender: Sender,
    receiver: Receiver,
}

/// The end that the book fills.
pub struct Sender {
    ring: Producer<Together>,
    /// Places taken in the next slot, always fewer than all.
    taken: usize,
}

/// The end that the benchmark reads.
pub struct Receiver {
    ring: Consumer<Together>,
}

impl Queue {
    /// Room for at least so many reports, as far as a ring can be that large.
    #[must_use]
    pub fn new(reports: u32) -> Option<Self> {
        let slots = (reports as usize).div_ceil(TOGETHER).next_power_of_two();
        let slots = slots.clamp(2, Capacity::MAX);
        let (sender, receiver) = ring(Capacity::new(slots).ok()?);
        Some(Self {
            sender: Sender {
                ring: sender,
                taken: 0,
            },
            receiver: Receiver { ring: receiver },
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
    pub unsafe fn receiver(queue: *mut Self) -> *mut Receiver {
        // SAFETY: the caller's promise; no reference to the whole is made.
        unsafe { &raw mut (*queue).receiver }
    }
}

impl Sender {
    /// Carries one report.
    #[inline(always)]
    pub fn push(&mut self, report: Report) {
        let widest = report.sequence | report.order_id | report.maker | report.taker;
        if widest > u64::from(u32::MAX) {
            return self.push_wide(report);
        }
        self.put(Narrow {
            kind: report.kind,
            side: report.side,
            reserved: [0; 2],
            quantity: report.quantity,
            sequence: report.sequence as u32,
            order_id: report.order_id as u32,
            maker: report.maker as u32,
            taker: report.taker as u32,
            price: report.price,
        });
        if self.taken == TOGETHER {
            self.hand_over();
        }
    }

    #[cold]
    #[inline(never)]
    fn push_wide(&mut self, mut report: Report) {
        if self.taken + 2 > TOGETHER {
            self.flush();
        }
        report.kind |= WIDE;
        let halves: [Narrow; 2] = bytemuck::cast(report);
        halves.into_iter().for_each(|it| self.put(it));
        if self.taken == TOGETHER {
            self.hand_over();
        }
    }

    /// Puts something into the next place; there is one.
    #[inline(always)]
    fn put(&mut self, narrow: Narrow) {
        let place = self.taken % TOGETHER;
        while let Err(Full) = self.ring.write_next(|slot| slot[place] = narrow) {
            std::hint::spin_loop();
        }
        self.taken = place + 1;
    }

    /// Hands over the slot that was filled.
    #[inline]
    fn hand_over(&mut self) {
        self.ring.fetch_second();
        // It was written, so there is room for it.
        let _ = self.ring.stage_next();
        self.ring.publish();
        self.taken = 0;
    }

    /// Makes visible what was carried.
    pub fn flush(&mut self) {
        if self.taken > 0 {
            self.put(NO_REPORT);
            self.hand_over();
        }
    }
}

impl Receiver {
    /// Shows up to `most` reports to `visit`, oldest first, and gives their number. With `most` below
    /// 16, none: a slot has as many.
    #[inline]
    pub fn drain(&mut self, most: usize, mut visit: impl FnMut(Report)) -> usize {
        let mut count = 0;
        self.ring.drain(most / TOGETHER, |slot| {
            let mut rest = slot.as_slice();
            while let [first, others @ ..] = rest
                && first.kind != NONE
            {
                let (report, others) = match others {
                    [second, others @ ..] if first.kind & WIDE != 0 => {
                        let mut report: Report = bytemuck::cast([*first, *second]);
                        report.kind &= !WIDE;
                        (report, others)
                    }
                    _ => (widen(first), others),
                };
                visit(report);
                count += 1;
                rest = others;
            }
        });
        count
    }
}

#[inline]
fn widen(narrow: &Narrow) -> Report {
    Report {
        kind: narrow.kind,
        side: narrow.side,
        sequence: narrow.sequence.into(),
        order_id: narrow.order_id.into(),
        price: narrow.price,
        quantity: narrow.quantity,
        maker: narrow.maker.into(),
        taker: narrow.taker.into(),
        ..Report::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(number: u64) -> Report {
        Report {
            kind: (number % 6) as u8,
            side: (number % 2) as u8,
            sequence: number,
            order_id: number * 3,
            price: -(number as i64),
            quantity: number as u32,
            maker: number + 1,
            taker: number + 2,
            ..Report::default()
        }
    }

    #[test]
    fn reports_come_out_as_they_went_in() {
        let Some(mut queue) = Queue::new(64) else {
            panic!("no queue")
        };
        let wide = u64::from(u32::MAX) + 1;
        for round in 0..300_u64 {
            // Narrow and wide ones in all orders, an odd or an even number of them.
            let sent: Vec<Report> = (0..round % 41)
                .map(|it| {
                    report(if (round + it * it) % 5 < 3 {
                        it
                    } else {
                        wide + it
                    })
                })
                .collect();
            for it in &sent {
                queue.sender.push(*it);
            }
            queue.sender.flush();
            let mut seen = Vec::new();
            while queue.receiver.drain(40, |it| seen.push(it)) > 0 {}
            assert_eq!(seen, sent, "round {round}");
        }
    }
}
