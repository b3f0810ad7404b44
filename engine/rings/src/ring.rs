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
//  position p lives in slot p & mask;  sequence == p + 1 says "position p is published here"
//
//            head (consumer)            tail (producer)
//              v                          v
//   +----+----+----+----+----+----+----+----+----+
//   | 9  | 10 | 11 | 12 | 13 | 14 | 15 | 7  | 8  |   sequence of each slot, capacity 9 for the eye
//   +----+----+----+----+----+----+----+----+----+
//    read      published, unread        free
// ```
//
// The sequence sits inside the slot, so a message costs the consumer one line transfer (the slot)
// where two cursors cost two in a row (the cursor, then the slot), and a producer that publishes
// message by message does not fight over a cursor line that the consumer polls. Measured against
// the other forms on two cores of a shared virtual machine (64-byte messages, 1,024 slots, drained
// 256 at a time; median of six interleaved rounds, round trip of a cache line 290 to 370 ns):
//
// ```text
//                                        M msg/s   one way p50 ns
//   sequence in a 128-byte slot             68          160     <- this file
//   sequence in a packed 72-byte slot       58          157
//   two cursors, each side caching          35          177
//   rtrb 0.4.1                              57          173
// ```
//
// The price is memory: a 64-byte message takes 128 bytes of ring.

use crate::sync::{Arc, AtomicU64, Site, UnsafeCell};
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
    (producer, Consumer { shared, head: 0 })
}

/// The end that pushes; owned by exactly one agent.
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    /// The next position to write.
    tail: u64,
    /// The consumer's cursor as last read: it can only be further on by now.
    head_seen: u64,
}

impl<T: Copy + Send> Producer<T> {
    /// Pushes one message.
    ///
    /// # Errors
    /// [`Full`] when every slot still waits to be read.
    #[inline]
    pub fn try_push(&mut self, message: T) -> Result<(), Full> {
        self.claim(1)?;
        self.shared.write(self.tail, message);
        self.tail += 1;
        self.publish_tail();
        Ok(())
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
        // Backwards: the consumer waits at the first position, so writing that one last publishes
        // the whole slice with one store.
        for (offset, message) in messages.iter().enumerate().rev() {
            self.shared.write(self.tail + offset as u64, *message);
        }
        self.tail += messages.len() as u64;
        self.publish_tail();
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

    /// Shows the cursor for [`Consumer::len`]; its line stays with the producer otherwise.
    #[inline]
    fn publish_tail(&self) {
        self.shared
            .tail
            .store(self.tail, Site::TailPublish.ordering());
    }
}

/// The end that pops; owned by exactly one agent.
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    /// The next position to read.
    head: u64,
}

impl<T: Copy + Send> Consumer<T> {
    /// Takes the oldest message, if there is one.
    #[inline]
    pub fn try_pop(&mut self) -> Option<T> {
        let message = self.shared.read(self.head, |message| *message)?;
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
        let start = self.head;
        let batch = Batch {
            consumer: self,
            start,
        };
        for _ in 0..limit {
            let consumer = &mut *batch.consumer;
            let position = consumer.head;
            let seen = consumer.shared.read(position, |message| {
                consumer.head = position + 1;
                visit(message);
            });
            if seen.is_none() {
                break;
            }
        }
        (batch.consumer.head - start) as usize
    }

    /// A copy of the oldest message, which stays in the ring.
    #[inline]
    pub fn peek(&self) -> Option<T> {
        self.shared.read(self.head, |message| *message)
    }

    /// The number of messages that can certainly be popped now; more may be arriving.
    #[inline]
    pub fn len(&self) -> usize {
        let tail = self.shared.tail.load(Site::TailObserve.ordering());
        // A slot is readable a moment before the cursor counts it, so the cursor may be behind.
        tail.saturating_sub(self.head) as usize
    }

    /// Whether there is nothing to pop now.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.shared.read(self.head, |_| ()).is_none()
    }

    /// The number of slots of the ring.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.shared.slots.len()
    }
}

/// Returns the slots of one drain to the producer when it ends, also by a panic of the visitor.
struct Batch<'a, T> {
    consumer: &'a mut Consumer<T>,
    start: u64,
}

impl<T> Drop for Batch<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let consumer = &*self.consumer;
        if consumer.head != self.start {
            consumer
                .shared
                .head
                .store(consumer.head, Site::HeadPublish.ordering());
        }
    }
}

struct Shared<T> {
    slots: Box<[Slot<T>]>,
    /// Written by the producer, read by the consumer only to count.
    tail: CachePadded<AtomicU64>,
    /// Written by the consumer, read by the producer when its last reading ran out.
    head: CachePadded<AtomicU64>,
}

// Two lines (128 bytes) because x86 fetches lines in pairs: neighbours must not share one.
#[repr(C, align(128))]
struct Slot<T> {
    /// One more than the position whose message stands here; 0 before the first.
    sequence: AtomicU64,
    message: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the message cells are the only shared data that is not atomic. The producer writes the
// cell of position p only while head > p - capacity, the consumer reads it only after it saw the
// sequence p + 1 and before it moves head beyond p; both hand-overs are release/acquire pairs, so
// no access to a cell overlaps another. Messages move between threads, hence `T: Send`.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: as above; nothing in it is bound to a thread.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T> Slot<T> {
    fn empty() -> Slot<T> {
        Slot {
            sequence: AtomicU64::new(0),
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

    /// Fills and publishes the slot of `position`, which the producer has claimed.
    #[inline(always)]
    fn write(&self, position: u64, message: T) {
        let slot = self.slot(position);
        slot.message.with_mut(|cell| {
            // SAFETY: `claim` saw head > position - capacity, so the consumer has finished with
            // this slot and does not read it again before the sequence below is published.
            unsafe { cell.write(MaybeUninit::new(message)) }
        });
        slot.sequence
            .store(position + 1, Site::SlotPublish.ordering());
    }

    /// Shows the message of `position` to `visit` if it is published.
    #[inline(always)]
    fn read<R>(&self, position: u64, visit: impl FnOnce(&T) -> R) -> Option<R> {
        let slot = self.slot(position);
        if slot.sequence.load(Site::SlotObserve.ordering()) != position + 1 {
            return None;
        }
        Some(slot.message.with(|cell| {
            // SAFETY: the sequence says that the producer wrote this message, and it does not
            // write here again until head passes `position`, which happens after this borrow.
            visit(unsafe { (*cell).assume_init_ref() })
        }))
    }
}

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
    fn a_slot_of_64_bytes_takes_two_lines() {
        assert_eq!(size_of::<Slot<[u64; 8]>>(), 128);
        assert_eq!(align_of::<Slot<[u64; 8]>>(), 128);
    }
}
