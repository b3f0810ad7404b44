//! The exchange's order book behind the C interface of a public benchmark of matching engines.
//!
//! Loaded by that benchmark's harness (docs/BENCHMARK.md), which calls everything here from one thread
//! but for the draining of reports, which it does from one other.
//!
//! Always holds: a message is matched before the next one of a batch, of which at most the name was
//! looked at until then, so that its line is asked for in time; its reports go into the queue before the
//! call returns.

pub mod contract;
pub mod matcher;
pub mod queue;

use std::cell::UnsafeCell;
use std::ffi::c_int;

use exahour_wire::codes::Side;
use exahour_wire::units::Price;

use contract::{Cancel, Message, Modify, NewOrder, Report, Transport};
use matcher::{Matcher, Reports, side};
use queue::{Queue, Sender};

/// What the calls work on.
struct Session {
    matcher: Matcher,
    way: Way,
}

/// Where reports go.
#[derive(Clone, Copy)]
enum Way {
    /// Into our own queue.
    Own(*mut Queue),
    /// Into somebody else's.
    Foreign(Foreign),
}

/// A transport that is not ours.
#[derive(Clone, Copy)]
struct Foreign {
    transport: *const Transport<Queue>,
    sink: *mut Queue,
}

impl Reports for Foreign {
    fn push(&mut self, report: Report) {
        // SAFETY: whoever called `engine_init` keeps both until `engine_shutdown`.
        while unsafe { ((*self.transport).push)(self.sink, &raw const report) } == 0 {
            std::hint::spin_loop();
        }
    }
}

impl Reports for Sender {
    #[inline(always)]
    fn push(&mut self, report: Report) {
        Sender::push(self, report);
    }
}

/// The one book of this library, while there is one.
struct Open(UnsafeCell<Option<Box<Session>>>);

// SAFETY: the contract of the interface: all calls but those on the transport come from one thread, one
// at a time, so that nobody else looks in while one of them holds what is inside.
unsafe impl Sync for Open {}

static OPEN: Open = Open(UnsafeCell::new(None));

/// The session, for the length of a call.
#[inline(always)]
fn session<'a>() -> &'a mut Session {
    // SAFETY: one thread, one call at a time (see `Open`), none is made from within another, and none
    // keeps what it gets.
    match unsafe { &mut *OPEN.0.get() } {
        Some(session) => session,
        None => not_open(),
    }
}

#[cold]
#[inline(never)]
fn not_open() -> ! {
    eprintln!("exahour_book: called before engine_init");
    std::process::abort();
}

/// Does some work with the matcher and the place for its reports, whichever that is.
macro_rules! with_reports {
    ($matcher:ident, $reports:ident, $work:expr) => {{
        let Session { matcher, way } = session();
        let $matcher = matcher;
        match way {
            Way::Own(queue) => {
                // SAFETY: `create` made the queue, it lives until `destroy`, and this thread alone uses
                // the sender's half of it.
                let $reports = unsafe { &mut *Queue::sender(*queue) };
                $work
            }
            Way::Foreign($reports) => $work,
        }
    }};
}

/// Opens an empty book. `seed` decides nothing that can be seen.
///
/// # Safety
/// `sink` is what the transport's `create` returned; both live until [`engine_shutdown`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_init(
    seed: u64,
    transport: *const Transport<Queue>,
    sink: *mut Queue,
) {
    let way = match transport == &raw const TRANSPORT {
        true => Way::Own(sink),
        false => Way::Foreign(Foreign { transport, sink }),
    };
    let matcher = Matcher::new(seed);
    // SAFETY: one thread, one call at a time (see `Open`).
    unsafe { *OPEN.0.get() = Some(Box::new(Session { matcher, way })) };
}

/// Closes the book.
#[unsafe(no_mangle)]
pub extern "C" fn engine_shutdown() {
    // SAFETY: one thread, one call at a time (see `Open`).
    unsafe { *OPEN.0.get() = None };
}

/// Matches one new order.
///
/// # Safety
/// `order` points to one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_on_new_order(order: *const NewOrder) {
    // SAFETY: the caller's promise.
    let order = unsafe { &*order };
    with_reports!(matcher, reports, matcher.new_order(order, reports));
}

/// Carries out one cancel.
///
/// # Safety
/// `cancel` points to one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_on_cancel(cancel: *const Cancel) {
    // SAFETY: the caller's promise.
    let cancel = unsafe { &*cancel };
    with_reports!(matcher, reports, matcher.cancel(cancel, reports));
}

/// Carries out one modify.
///
/// # Safety
/// `modify` points to one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_on_modify(modify: *const Modify) {
    // SAFETY: the caller's promise.
    let modify = unsafe { &*modify };
    with_reports!(matcher, reports, matcher.modify(modify, reports));
}

/// Carries out messages one after the other.
///
/// # Safety
/// `messages` points to `count` of them, each with the body that its kind names.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_on_batch(messages: *const Message, count: u32) {
    // SAFETY: the caller's promise.
    let messages = unsafe { std::slice::from_raw_parts(messages, count as usize) };
    with_reports!(matcher, reports, carry_out(matcher, messages, reports));
}

/// How many messages ahead names are asked for; nothing else of a message is looked at before its turn.
const NAMES_AHEAD: usize = 16;

#[inline(always)]
fn carry_out(matcher: &mut Matcher, messages: &[Message], reports: &mut impl Reports) {
    for (place, message) in messages.iter().enumerate() {
        if let Some(later) = messages.get(place + NAMES_AHEAD) {
            matcher.fetch_name(later.order_id());
        }
        match message.kind {
            0 => matcher.new_order(message.new_order(), reports),
            1 => matcher.cancel(message.cancel(), reports),
            _ => matcher.modify(message.modify(), reports),
        }
    }
}

/// All that was delivered is matched; makes its last reports visible.
#[unsafe(no_mangle)]
pub extern "C" fn engine_flush() {
    if let Way::Own(queue) = session().way {
        // SAFETY: as in every call that reports.
        unsafe { &mut *Queue::sender(queue) }.flush();
    }
}

/// The best bid, or the least number there is.
#[unsafe(no_mangle)]
pub extern "C" fn engine_query_best_bid() -> i64 {
    let best = session().matcher.best(Side::Buy);
    best.map_or(i64::MIN, |price| price.0)
}

/// The best ask, or the greatest number there is.
#[unsafe(no_mangle)]
pub extern "C" fn engine_query_best_ask() -> i64 {
    let best = session().matcher.best(Side::Sell);
    best.map_or(i64::MAX, |price| price.0)
}

/// The open lots at a price; `of` is 0 for bids, 1 for asks.
#[unsafe(no_mangle)]
pub extern "C" fn engine_query_depth_at(price: i64, of: u8) -> u64 {
    session().matcher.depth_at(side(of), Price(price)).0
}

static TRANSPORT: Transport<Queue> = Transport {
    create,
    push,
    drain,
    flush,
    destroy,
};

/// Our own queue: a ring of the exchange.
#[unsafe(no_mangle)]
pub extern "C" fn engine_get_transport() -> *const Transport<Queue> {
    &raw const TRANSPORT
}

unsafe extern "C" fn create(reports: u32) -> *mut Queue {
    match Queue::new(reports) {
        Some(queue) => Box::into_raw(Box::new(queue)),
        None => std::ptr::null_mut(),
    }
}

unsafe extern "C" fn push(queue: *mut Queue, report: *const Report) -> c_int {
    // SAFETY: the handle is `create`'s, and the sending thread alone uses this half.
    let sender = unsafe { &mut *Queue::sender(queue) };
    // SAFETY: the caller's promise.
    sender.push(unsafe { *report });
    1
}

unsafe extern "C" fn drain(queue: *mut Queue, out: *mut Report, most: u32) -> u32 {
    // SAFETY: the handle is `create`'s, and the draining thread alone uses this half.
    let receiver = unsafe { &mut *Queue::receiver(queue) };
    let mut next = out;
    receiver.drain(most as usize, |report| {
        // SAFETY: the caller has room for `most`, and no more are visited.
        unsafe {
            next.write(report);
            next = next.add(1);
        }
    }) as u32
}

unsafe extern "C" fn flush(queue: *mut Queue) {
    // SAFETY: the handle is `create`'s, and the sending thread alone uses this half.
    unsafe { &mut *Queue::sender(queue) }.flush();
}

unsafe extern "C" fn destroy(queue: *mut Queue) {
    // SAFETY: the handle is `create`'s, and given back once, when nobody uses it any more.
    drop(unsafe { Box::from_raw(queue) });
}
