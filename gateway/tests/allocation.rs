//! After warm-up neither the gateway nor the client library allocates for a message.
//!
//! Does not: turn to a new segment of the event log, whose mapping is allocated, once in 64 MiB.

mod exchange;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use exahour_gateway::client::{Client, ClientEvent};
use exahour_gateway::clock::SystemClock;
use exahour_gateway::order_gateway::{GatewaySettings, OrderGateway};
use exahour_rings::{Agent, Capacity, ring};

use exchange::{Exchange, Told, config, keys, order};

static COUNT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static COUNTING: Cell<bool> = const { Cell::new(false) };
}

struct Counting;

fn count() {
    if COUNTING.get() {
        COUNT.fetch_add(1, Ordering::SeqCst);
    }
}

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn the_hot_path_does_not_allocate() {
    COUNTING.set(true);
    drop(std::hint::black_box(Box::new(1)));
    COUNTING.set(false);
    assert_eq!(COUNT.swap(0, Ordering::SeqCst), 1, "the counter counts");
    let dir = tempfile::tempdir().unwrap();
    let events = dir.path().join("events");
    let (producer, consumer) = ring(Capacity::new(4_096).unwrap());
    let mut exchange = Exchange::new(&events, 64 << 20, consumer, Told::default());
    let settings = GatewaySettings::new("127.0.0.1:0".parse().unwrap(), &events);
    let mut gateway =
        OrderGateway::start(settings, keys(), SystemClock::default(), producer).unwrap();
    let address = gateway.address();
    gateway.on_start().unwrap();
    // Six clients: more than are read directly, so that epoll has its part.
    let clients = std::thread::spawn(move || {
        let mut clients: Vec<_> = (1..=6)
            .map(|session| Client::connect(address, config(session)).unwrap())
            .collect();
        for round in 0..600 {
            COUNTING.set(round >= 100);
            for (place, client) in clients.iter_mut().enumerate() {
                let asked = order(round, place as u32 + 1, 3);
                client.send_all(&[asked; 8]).unwrap();
            }
            for client in &mut clients {
                let mut reports = 0;
                while reports < 32 {
                    match client.wait(Duration::from_secs(20)).unwrap() {
                        Some(ClientEvent::Report(_)) => reports += 1,
                        other => panic!("{other:?}"),
                    }
                }
            }
        }
        COUNTING.set(false);
    });
    let mut turns = 0_u64;
    while !clients.is_finished() {
        turns += 1;
        COUNTING.set(exchange_is_warm(&exchange));
        let mut work = gateway.do_work().unwrap();
        COUNTING.set(false);
        work += exchange.turn();
        if work == 0 {
            std::thread::yield_now();
        }
    }
    clients.join().unwrap();
    assert!(turns > 0);
    assert_eq!(
        COUNT.load(Ordering::SeqCst),
        0,
        "allocations on the hot path"
    );
}

/// All sessions are established and have had reports.
fn exchange_is_warm(exchange: &Exchange) -> bool {
    exchange.told().orders.load(Ordering::SeqCst) > 6 * 8 * 100
}
