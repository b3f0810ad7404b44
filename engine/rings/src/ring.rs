//! A ring of fixed-size slots between one producer and one consumer.
//!
//! Called by every pair of agents that hand messages on: gateways to the sequencer, the engine to
//! its followers.
//!
//! Always holds: messages come out once, whole and in the order they went in; several slots pushed
//! together become visible together; full and empty are answers, neither side ever waits.
//! Does not: allocate after construction, drop (slots are `Copy`), or tell one side that the other
//! is gone (the runner stops both).

// ```text
//  position p lives in slot p & mask
//
//              head (consumer)          tail (producer)
//                v                        v
//   ...+----+----+----+----+----+----+----+----+----+----+----+...
//      | 14 | 15 | 16 | 17 | 18 | 19 | 20 |  free: 14 - 20 of the lap before
//   ...+----+----+----+----+----+----+----+----+----+----+----+...
//        read      published, unread      ^ being written       ^ fetched for writing
// ```
//
// Each side keeps the other's cursor as it last read it, and looks again only when that does not
// suffice. The producer asks for the lines of the slots ahead before it needs them: a slot's line
// sits in the consumer's cache since the last lap, and without the request each push waits for
// that line's journey. The forms tried, with 64-byte messages, 1,024 slots, drained 256 at a time,
// on two cores of a busy virtual machine. Rates: median of 15 interleaved rounds, 345 ns for a
// line there and back. Times: best of 15 rounds of a later run, which other work disturbed too much
// for a median.
//
// ```text
//                                              M msg/s     by 16    one way p50 ns
//   two cursors, 8 slots fetched ahead            144        154         242    <- this file
//   two cursors, 16 slots fetched ahead           159        164         231
//   two cursors                                    25         95         226
//   sequence in a 128-byte slot, 8 ahead           97         85         227
//   sequence in a 128-byte slot                    20         32         224
//   sequence in a packed 72-byte slot, 8 ahead     63         74         240
//   sequence in a packed 72-byte slot              22         29         230
//   rtrb 0.4.1 (two cursors)                       31         55         247
// ```
//
// The time of a lone message does not tell the forms apart; the rate does. A sequence inside the
// slot moves two lines for each 64-byte message and takes twice the memory. Measure again with the
// bench `ring_hop`.
//
// A caller that writes a message to memory and pushes a copy of it at once loses most of this (23
// to 28 M msg/s), probably because the copy waits for those words in the store buffer, behind the
// last cursor. Messages that lie ready, or are built by value in the call, do not wait.

use crate::prefetch::fetch_for_writing;
use crate::sync::{Arc, AtomicU64, Site, UnsafeCell};
use bytemuck::Zeroable;
use crossbeam::utils::CachePadded;
use std::mem::MaybeUninit;

/// The number of slots of a ring: a power of two, at least 1 and at most [`Capacity::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity(usize);

impl Capacity {
    /// The largest ring that can be asked for, in slots.
    pub const MAX: usize = 1 << 24;

    /// A capacity of `slots`.
    ///
    /// # Errors
    /// When `slots` is not a power of two between 1 and [`Capacity::MAX`].
    pub const fn new(slots: usize) -> Result<Capacity, CapacityError> {
        if slots.is_power_of_two() && slots <= Capacity::MAX {
            Ok(Capacity(slots))
        } else {
            Err(CapacityError { slots })
        }
    }

    /// The number of slots.
    pub const fn slots(self) -> usize {
        self.0
    }
}

/// A ring was asked for with a number of slots that it cannot have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a ring of {slots} slots is not possible: choose a power of two from 1 to {max}",
    max = Capacity::MAX
)]
pub struct CapacityError {
    /// The number asked for.
    pub slots: usize,
}

/// The ring has too few free slots; nothing was pushed and the caller answers `Busy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ring is full: nothing was pushed, refuse the message as busy")]
pub struct Full;

/// Makes a ring of `capacity` slots, all of its memory written once so that later use never
/// faults, and gives its two ends.
pub fn ring<T: Copy + Send>(capacity: Capacity) -> (Producer<T>, Consumer<T>) {
    let slots = (0..capacity.slots()).map(|_| Slot::empty()).collect();
    let shared = Arc::new(Shared {
        slots,
        tail: CachePadded::new(AtomicU64::new(0)),
        head: CachePadded::new(AtomicU64::new(0)),
    });
    let producer = Producer {
        shared: Arc::clone(&shared),
        tail: 0,
        head_seen: 0,
    };
    (
        producer,
        Consumer {
            shared,
            head: 0,
            tail_seen: 0,
        },
    )
}

/// The end that pushes; owned by exactly one agent.
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    /// The next position to write; what lies before it may not be published yet.
    tail: u64,
    /// The consumer's cursor as last read: it can only be further on by now.
    head_seen: u64,
}

impl<T: Copy + Send> Producer<T> {
    /// Pushes one message, and with it what was staged before.
    ///
    /// # Errors
    /// [`Full`] when every slot still waits to be read.
    #[inline]
    pub fn try_push(&mut self, message: T) -> Result<(), Full> {
        self.claim(1)?;
        self.shared.write(self.tail, message);
        self.tail += 1;
        self.publish();
        Ok(())
    }

    /// Hands all that was staged to the consumer at once.
    #[inline]
    pub fn publish(&mut self) {
        self.shared
            .tail
            .store(self.tail, Site::TailPublish.ordering());
    }

    /// Pushes all of `messages` or none; the consumer sees all of them as soon as it sees the first.
    ///
    /// A slice longer than the ring is always refused: compare the longest message with
    /// [`Producer::capacity`] when the ring is made.
    ///
    /// # Errors
    /// [`Full`] when fewer slots are free than `messages` needs.
    #[inline]
    pub fn try_push_slice(&mut self, messages: &[T]) -> Result<(), Full> {
        self.claim(messages.len() as u64)?;
        for message in messages {
            self.shared.write(self.tail, *message);
            self.tail += 1;
        }
        self.publish();
        Ok(())
    }

    /// The number of slots that are free now; it can only grow until the next push.
    #[inline]
    pub fn free(&mut self) -> usize {
        self.head_seen = self.shared.head.load(Site::HeadObserve.ordering());
        self.capacity() - (self.tail - self.head_seen) as usize
    }

    /// The number of slots of the ring.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.shared.slots.len()
    }

    /// Makes sure of `count` free slots, reading the consumer's cursor only when the last reading
    /// does not suffice: once a lap while the consumer keeps up.
    #[inline]
    fn claim(&mut self, count: u64) -> Result<(), Full> {
        let capacity = self.capacity() as u64;
        if capacity - (self.tail - self.head_seen) >= count {
            return Ok(());
        }
        self.head_seen = self.shared.head.load(Site::HeadObserve.ordering());
        if capacity - (self.tail - self.head_seen) >= count {
            Ok(())
        } else {
            Err(Full)
        }
    }
}

impl<T: Copy + Send + Zeroable> Producer<T> {
    /// Writes into the next slot where it lies, which nobody sees before it is staged and published: a
    /// large message is put together without being copied. It still holds what a lap before left there.
    ///
    /// # Errors
    /// [`Full`] when every slot still waits to be read, or to be published.
    #[inline]
    pub fn write_next(&mut self, write: impl FnOnce(&mut T)) -> Result<(), Full> {
        self.claim(1)?;
        self.shared.slot(self.tail).message.with_mut(|cell| {
            // SAFETY: `claim` saw head > tail - capacity, so the consumer has finished with this slot
            // and does not read it again before tail passes it; it holds zeros, which are a `T`, or
            // one that was written.
            write(unsafe { (*cell).assume_init_mut() })
        });
        Ok(())
    }

    /// Counts the next slot, as [`Producer::write_next`] left it, among what the next
    /// [`Producer::publish`] hands over.
    ///
    /// # Errors
    /// [`Full`] when every slot still waits to be read, or to be published.
    #[inline]
    pub fn stage_next(&mut self) -> Result<(), Full> {
        self.claim(1)?;
        self.tail += 1;
        Ok(())
    }

    /// Asks for the lines of the slot behind the next one.
    #[inline]
    pub fn fetch_second(&self) {
        fetch_for_writing(self.shared.slot(self.tail + 1));
    }
}

/// The end that pops; owned by exactly one agent.
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    /// The next position to read.
    head: u64,
    /// The producer's cursor as last read: it can only be further on by now.
    tail_seen: u64,
}

impl<T: Copy + Send> Consumer<T> {
    /// Takes the oldest message, if there is one.
    #[inline]
    pub fn try_pop(&mut self) -> Option<T> {
        if self.available(1) == 0 {
            return None;
        }
        let message = self.shared.read(self.head, |message| *message);
        self.head += 1;
        self.shared
            .head
            .store(self.head, Site::HeadPublish.ordering());
        Some(message)
    }

    /// Shows up to `limit` messages to `visit`, oldest first, in place, and gives their number.
    ///
    /// Their slots return to the producer together, when the batch ends: a batch of the whole ring
    /// makes the producer see `Full` until then. A message that `visit` panics on counts as read.
    #[inline]
    pub fn drain(&mut self, limit: usize, mut visit: impl FnMut(&T)) -> usize {
        let count = self.available(limit as u64).min(limit as u64);
        if count == 0 {
            return 0;
        }
        let end = self.head + count;
        let batch = Batch { consumer: self };
        while batch.consumer.head < end {
            let position = batch.consumer.head;
            batch.consumer.head = position + 1;
            batch.consumer.shared.read(position, &mut visit);
        }
        count as usize
    }

    /// A copy of the oldest message, which stays in the ring.
    #[inline]
    pub fn peek(&mut self) -> Option<T> {
        let some = self.available(1) > 0;
        some.then(|| self.shared.read(self.head, |message| *message))
    }

    /// The number of messages that can be popped now; it can only grow until the next pop.
    #[inline]
    pub fn len(&mut self) -> usize {
        self.available(u64::MAX) as usize
    }

    /// Whether there is nothing to pop now.
    #[inline]
    pub fn is_empty(&mut self) -> bool {
        self.available(1) == 0
    }

    /// The number of slots of the ring.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.shared.slots.len()
    }

    /// The number of messages known to be there, reading the producer's cursor only when fewer
    /// than `wanted` were known.
    #[inline]
    fn available(&mut self, wanted: u64) -> u64 {
        if self.tail_seen - self.head < wanted {
            self.tail_seen = self.shared.tail.load(Site::TailObserve.ordering());
        }
        self.tail_seen - self.head
    }
}

/// Returns the slots of one drain to the producer when it ends, also by a panic of the visitor.
struct Batch<'a, T> {
    consumer: &'a mut Consumer<T>,
}

impl<T> Drop for Batch<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let consumer = &*self.consumer;
        consumer
            .shared
            .head
            .store(consumer.head, Site::HeadPublish.ordering());
    }
}

struct Shared<T> {
    slots: Box<[Slot<T>]>,
    /// The end of what is published; written by the producer.
    tail: CachePadded<AtomicU64>,
    /// The end of what is read; written by the consumer.
    head: CachePadded<AtomicU64>,
}

/// A slot starts on a line of its own, so that the two sides never write and read one line.
#[repr(C, align(64))]
struct Slot<T> {
    message: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the message cells are the only shared data that is not atomic. The producer writes the
// cell of position p only while head > p - capacity, the consumer reads it only while head <= p <
// tail; each side moves only its own cursor, after its access, and both cursors are handed over by
// release/acquire pairs, so no access to a cell overlaps another. Messages move between threads,
// hence `T: Send`.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: as above; nothing in it is bound to a thread.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T> Slot<T> {
    fn empty() -> Slot<T> {
        Slot {
            message: UnsafeCell::new(MaybeUninit::zeroed()),
        }
    }
}

impl<T: Copy> Shared<T> {
    #[inline(always)]
    fn slot(&self, position: u64) -> &Slot<T> {
        let index = position as usize & (self.slots.len() - 1);
        // SAFETY: the length is a power of two, so the masked index is below it.
        unsafe { self.slots.get_unchecked(index) }
    }

    /// Fills the slot of `position`, which the producer has claimed.
    #[inline(always)]
    fn write(&self, position: u64, message: T) {
        self.slot(position).message.with_mut(|cell| {
            // SAFETY: `claim` saw head > position - capacity, so the consumer has finished with
            // this slot and does not read it again before tail passes `position`.
            unsafe { cell.write(MaybeUninit::new(message)) }
        });
        fetch_for_writing(self.slot(position + FETCH_AHEAD));
    }

    /// Shows the message of `position`, which the consumer knows to be published.
    #[inline(always)]
    fn read<R>(&self, position: u64, visit: impl FnOnce(&T) -> R) -> R {
        self.slot(position).message.with(|cell| {
            // SAFETY: tail was seen beyond `position`, so the producer wrote this message, or
            // counts the zeros or the message that lay there (`stage_next`, where zeros are a `T`), and it
            // does not write here again until head passes `position`, after this borrow.
            visit(unsafe { (*cell).assume_init_ref() })
        })
    }
}

/// How many slots ahead of the write their lines are asked for: eight pushes outlast a line's
/// journey, and the consumer, if it is close behind, is not yet looking there.
const FETCH_AHEAD: u64 = 8;

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    fn of(slots: usize) -> (Producer<u64>, Consumer<u64>) {
        ring(Capacity::new(slots).unwrap())
    }

    #[test]
    fn only_powers_of_two_are_capacities() {
        for slots in [1, 2, 1024, Capacity::MAX] {
            assert_eq!(Capacity::new(slots).unwrap().slots(), slots);
        }
        for slots in [0, 3, 1000, Capacity::MAX * 2, usize::MAX] {
            let error = Capacity::new(slots).unwrap_err();
            assert!(error.to_string().contains("power of two"), "{error}");
        }
    }

    #[test]
    fn full_is_told_at_every_lap_and_order_is_kept() {
        let (mut producer, mut consumer) = of(4);
        for lap in 0..5 {
            for offset in 0..4 {
                assert_eq!(producer.free(), 4 - offset);
                producer.try_push(lap * 4 + offset as u64).unwrap();
            }
            assert_eq!(producer.try_push(99), Err(Full));
            assert_eq!((producer.free(), consumer.len()), (0, 4));
            assert_eq!(consumer.peek(), Some(lap * 4));
            let mut seen = vec![consumer.try_pop().unwrap()];
            assert_eq!(consumer.drain(2, |message| seen.push(*message)), 2);
            assert_eq!(consumer.drain(9, |message| seen.push(*message)), 1);
            assert_eq!(seen, [lap * 4, lap * 4 + 1, lap * 4 + 2, lap * 4 + 3]);
            assert!(consumer.is_empty() && consumer.try_pop().is_none());
        }
    }

    #[test]
    fn a_slice_goes_in_whole_or_not_at_all() {
        let (mut producer, mut consumer) = of(4);
        producer.try_push_slice(&[1, 2, 3]).unwrap();
        assert_eq!(producer.try_push_slice(&[4, 5]), Err(Full));
        assert_eq!(producer.try_push_slice(&[0; 5]), Err(Full));
        producer.try_push_slice(&[]).unwrap();
        assert_eq!(consumer.len(), 3);
        producer.try_push_slice(&[4]).unwrap();
        let mut seen = Vec::new();
        assert_eq!(consumer.drain(usize::MAX, |message| seen.push(*message)), 4);
        assert_eq!(seen, [1, 2, 3, 4]);
    }

    #[test]
    fn a_ring_of_one_slot_works() {
        let (mut producer, mut consumer) = of(1);
        for message in 0..10 {
            producer.try_push(message).unwrap();
            assert_eq!(producer.try_push(99), Err(Full));
            assert_eq!(consumer.try_pop(), Some(message));
        }
    }

    #[test]
    fn a_panic_in_the_visitor_neither_loses_nor_repeats() {
        let (mut producer, mut consumer) = of(4);
        producer.try_push_slice(&[1, 2, 3]).unwrap();
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            consumer.drain(3, |message| assert_ne!(*message, 2));
        }));
        assert!(caught.is_err());
        assert_eq!(producer.free(), 3);
        assert_eq!(consumer.try_pop(), Some(3));
    }

    #[test]
    fn messages_start_on_lines_of_their_own() {
        assert_eq!(
            (size_of::<Slot<[u64; 8]>>(), align_of::<Slot<[u64; 8]>>()),
            (64, 64)
        );
        assert_eq!(
            (size_of::<Slot<[u64; 9]>>(), align_of::<Slot<[u64; 9]>>()),
            (128, 64)
        );
        assert_eq!(size_of::<Slot<u8>>(), 64);
    }
}
