//! Counts allocations: appending, flushing and reading make none while a segment lasts.

#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use exahour_journal::{Config, FlushBody, FrameMeta, Journal, LogId, Position, Reader, Verify};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[test]
fn append_flush_and_next_allocate_nothing_within_a_segment() {
    assert!(
        allocations(|| drop(std::hint::black_box(Box::new(1)))) == 1,
        "the counter counts"
    );
    for flush in [FlushBody::Pwrite, FlushBody::Map] {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::new(dir.path(), LogId([1; 16])).with_segment_bytes(16 << 20);
        let mut journal = Journal::create(&Config { flush, ..config }).unwrap();
        let mut reader = Reader::follow(dir.path(), Verify::Every).unwrap();
        let mut round = |first: u64, term: u32| {
            for index in first..first + 10_000 {
                let meta = FrameMeta {
                    index,
                    term,
                    count: 1,
                    ..FrameMeta::default()
                };
                journal
                    .appender
                    .append(&meta, &[&[index as u8; 64], b"tail"])
                    .unwrap();
                if index % 1000 == 0 {
                    journal.flusher.flush().unwrap();
                }
                let frame = reader.next(Position::new(u64::MAX)).unwrap().unwrap();
                assert_eq!(frame.header.index, index);
            }
        };
        // The first flush opens the segment's file, the first read maps it.
        round(1, 1);
        assert_eq!(allocations(|| round(10_001, 1)), 0);
        assert_eq!(
            allocations(|| round(15_000, 2)),
            0,
            "superseding allocates nothing either"
        );
    }
}
