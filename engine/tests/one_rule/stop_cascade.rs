//! Cascades of more stop orders, every other one a one-cancels-other order, than one command may let into
//! the market: each comes, once, in its turn, and no command or timer lets in more than it may.

use std::collections::BTreeSet;

use exahour_twin::flow::cascade::{
    LIMITS_BELOW, STOP_ABOVE, Shape, before, one_cancels_other, spark,
};
use exahour_wire::events::{
    EventPrefix, OrderAccepted, OrderCancelled, OrderFilled, OrderTriggered,
};
use exahour_wire::internal::Tick;
use exahour_wire::limits::ELECTIONS_MAX;
use exahour_wire::message::{Message, messages};
use exahour_wire::units::{Nanos, Price};

use crate::pair::Pair;

const STOPS: u32 = 1_300;

fn triggered(events: &[u8]) -> Vec<OrderTriggered> {
    messages(events).filter_map(OrderTriggered::read).collect()
}

/// Lets a cascade run, with ticks at the time that the engine asks for, and gives what was triggered.
fn run(shape: Shape, restarts: bool) -> Vec<OrderTriggered> {
    let mut pair = Pair::new();
    let quiet = pair.apply(&before(shape, STOPS));
    assert!(triggered(&quiet).is_empty());
    assert!(messages(&quiet).all(|event| OrderFilled::read(event).is_none()));

    let mut all = triggered(&pair.apply(&[spark()]));
    assert_eq!(all.len(), ELECTIONS_MAX as usize);
    for _ in 0..STOPS {
        if restarts {
            pair.restart();
        }
        if all.len() == STOPS as usize {
            break;
        }
        let due = pair.engine.next_due().unwrap();
        assert_eq!(due, Nanos(pair.time.0 + 1), "what is left is due at once");
        pair.time = due;
        // The timer and the tick each let in as many as they may.
        let events = pair.apply(&[Tick::blank().bytes().to_vec()]);
        let left = STOPS as usize - all.len();
        let more = triggered(&events);
        assert_eq!(more.len(), left.min(2 * ELECTIONS_MAX as usize));
        all.extend(more);
        assert!(messages(&events).all(|event| OrderCancelled::read(event).is_none()));
    }
    let rest = pair.apply(&[Tick::blank().bytes().to_vec()]);
    assert!(messages(&rest).all(|event| EventPrefix::peek(event).is_none()));
    all
}

#[test]
fn each_of_a_ladder_comes_by_its_price() {
    let all = run(Shape::Ladder, false);
    assert_eq!(all.len(), STOPS as usize);
    let in_turn = |pair: &[OrderTriggered]| pair[0].stop_price.0 + 1 == pair[1].stop_price.0;
    assert!(all.windows(2).all(in_turn));
}

#[test]
fn each_of_a_heap_comes_by_its_time() {
    let all = run(Shape::Heap, false);
    assert_eq!(all.len(), STOPS as usize);
    assert!(all.windows(2).all(|pair| pair[0].order < pair[1].order));
}

/// Where two orders are held at one price they may still come as different ones.
#[test]
fn the_hash_tells_what_a_stop_price_brings() {
    let mut hashes = BTreeSet::new();
    let [one, other] = LIMITS_BELOW;
    // The last two come with one limit, as there is no protection: a limit order and a market order.
    for stop_limit in [one, other, STOP_ABOVE, Price::NONE] {
        let mut pair = Pair::new();
        pair.apply(&before(Shape::Heap, 2));
        let events = pair.apply(&[one_cancels_other(stop_limit)]);
        let accepted = messages(&events).find_map(OrderAccepted::read);
        assert!(accepted.is_some(), "{stop_limit}");
        hashes.insert(pair.engine.state_hash().0);
        pair.restart();
    }
    assert_eq!(hashes.len(), 4);
}

#[test]
fn a_cascade_goes_on_from_a_snapshot() {
    assert_eq!(run(Shape::Ladder, true), run(Shape::Ladder, false));
    assert_eq!(run(Shape::Heap, true), run(Shape::Heap, false));
}
