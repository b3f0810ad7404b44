//! After construction neither the ring, the watermark nor a turn of agents allocates.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used)]

use exahour_rings::{Agent, Capacity, Consumer, Halt, Inline, Producer, ring, watermark};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, counting the calls of each thread.
struct Counting;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that is ending has no counter any more, and none of these tests looks at it.
    let _counted = CALLS.try_with(|calls| calls.set(calls.get() + 1));
}

// SAFETY: every call is handed on unchanged to the system's allocator, which keeps the contract;
// counting touches only a thread-local without a destructor and does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count();
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The allocator calls of this thread while `work` runs.
fn calls_during(work: impl FnOnce()) -> u64 {
    let before = CALLS.get();
    work();
    CALLS.get() - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(calls_during(|| drop(std::hint::black_box(Box::new(1)))), 2);
}

#[test]
fn pushing_and_popping_do_not_allocate() {
    let (mut producer, mut consumer) = ring::<[u64; 8]>(Capacity::new(64).unwrap());
    let slice = [[1; 8]; 5];
    let mut sum = 0_u64;
    let calls = calls_during(|| {
        for number in 0..10_000 {
            let _full = producer.try_push([number; 8]);
            let _full = producer.try_push_slice(&slice);
            sum += consumer.peek().map_or(0, |message| message[0]);
            sum += consumer.try_pop().map_or(0, |message| message[7]);
            consumer.drain(4, |message| sum += message[3]);
            sum += (producer.free() + consumer.len()) as u64;
        }
    });
    assert_eq!(calls, 0);
    assert!(sum > 0);
}

#[test]
fn watermarks_do_not_allocate() {
    let (mut writer, reader) = watermark();
    let calls = calls_during(|| {
        for value in 0..10_000 {
            writer.publish(value);
            assert_eq!(reader.current(), value);
        }
    });
    assert_eq!(calls, 0);
}

struct Loopback {
    to: Producer<u64>,
    from: Consumer<u64>,
}

impl Agent for Loopback {
    fn name(&self) -> &'static str {
        "loopback"
    }

    fn do_work(&mut self) -> Result<usize, Halt> {
        self.to.try_push(1).map_err(Halt::new)?;
        Ok(self.from.drain(8, |_| {}))
    }
}

#[test]
fn turning_agents_does_not_allocate() {
    let (to, from) = ring(Capacity::new(8).unwrap());
    let mut inline = Inline::start(vec![Box::new(Loopback { to, from })]).unwrap();
    let calls = calls_during(|| {
        for _ in 0..10_000 {
            assert_eq!(inline.step().unwrap(), 1);
        }
    });
    assert_eq!(calls, 0);
}
