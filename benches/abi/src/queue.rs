//! The way of the reports to the benchmark's reader: a ring of the exchange, two reports to a line.
//!
//! ```text
//! line:  | narrow report, 32 bytes | narrow report, or none |
//!        | wide report: all 64 bytes of one whose numbers are above 32 bits |
//! ```
//! Moving lines from core to core is nearly half of the time that a report takes, so fewer are moved.
//!
//! Always holds: reports come out as they went in; they can be seen at the latest when
//! [`Sender::flush`] returns; a full ring is waited for, as nothing may be lost.

use bytemuck::{Pod, Zeroable};
use exahour_rings::{Capacity, Consumer, Producer, ring};

use crate::contract::Report;

/// Lines handed over together.
const TOGETHER: u32 = 16;

/// In place of a kind: no report.
const NONE: u8 = 0x7F;

/// Beside the kind of the first: the line is one wide report.
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

type Line = [Narrow; 2];

const _: () = assert!(size_of::<Line>() == size_of::<Report>());

/// What follows a last report that has no neighbour.
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
    ring: Producer<Line>,
    /// The first half of the next line, while `halved`.
    first: Narrow,
    halved: bool,
    staged: u32,
}

/// The end that the benchmark reads.
pub struct Receiver {
    ring: Consumer<Line>,
}

impl Queue {
    /// Room for at least so many reports, as far as a ring can be that large.
    #[must_use]
    pub fn new(reports: u32) -> Option<Self> {
        let lines = (reports as usize).next_power_of_two();
        let lines = lines.clamp(TOGETHER as usize * 2, Capacity::MAX);
        let (sender, receiver) = ring(Capacity::new(lines).ok()?);
        Some(Self {
            sender: Sender {
                ring: sender,
                first: NO_REPORT,
                halved: false,
                staged: 0,
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
        let narrow = Narrow {
            kind: report.kind,
            side: report.side,
            reserved: [0; 2],
            quantity: report.quantity,
            sequence: report.sequence as u32,
            order_id: report.order_id as u32,
            maker: report.maker as u32,
            taker: report.taker as u32,
            price: report.price,
        };
        self.halved = !self.halved;
        if self.halved {
            self.first = narrow;
        } else {
            self.push_line([self.first, narrow]);
        }
    }

    #[cold]
    #[inline(never)]
    fn push_wide(&mut self, mut report: Report) {
        self.end_line();
        report.kind |= WIDE;
        self.push_line(bytemuck::cast(report));
    }

    #[inline(always)]
    fn push_line(&mut self, line: Line) {
        if !self.ring.has_room() {
            self.wait();
        }
        // There is room, so that nothing is refused; the line is written once, where it stays.
        let _ = self.ring.try_stage(line);
        self.staged += 1;
        if self.staged == TOGETHER {
            self.publish();
        }
    }

    #[cold]
    #[inline(never)]
    fn wait(&mut self) {
        self.publish();
        while !self.ring.has_room() {
            std::hint::spin_loop();
        }
    }

    fn publish(&mut self) {
        self.ring.publish();
        self.staged = 0;
    }

    /// Sends a first half that has no second one.
    fn end_line(&mut self) {
        if std::mem::take(&mut self.halved) {
            self.push_line([self.first, NO_REPORT]);
        }
    }

    /// Makes visible what was carried.
    pub fn flush(&mut self) {
        self.end_line();
        self.publish();
    }
}

impl Receiver {
    /// Shows up to `most` reports to `visit`, oldest first, and gives their number. With `most` below
    /// two, none: a line has as many.
    #[inline]
    pub fn drain(&mut self, most: usize, mut visit: impl FnMut(Report)) -> usize {
        let mut count = 0;
        self.ring.drain(most / 2, |line| {
            if line[0].kind & WIDE != 0 {
                let mut report: Report = bytemuck::cast(*line);
                report.kind &= !WIDE;
                visit(report);
                count += 1;
                return;
            }
            for narrow in line.iter().filter(|it| it.kind != NONE) {
                visit(widen(narrow));
                count += 1;
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
            let sent: Vec<Report> = (0..round % 7)
                .map(|it| report(if round >> it & 1 == 0 { it } else { wide + it }))
                .collect();
            for it in &sent {
                queue.sender.push(*it);
            }
            queue.sender.flush();
            let mut seen = Vec::new();
            while queue.receiver.drain(3, |it| seen.push(it)) > 0 {}
            assert_eq!(seen, sent, "round {round}");
        }
    }
}
