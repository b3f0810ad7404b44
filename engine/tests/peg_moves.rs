//! More pegged orders than one command may move: each moves, in its turn, and none keeps others waiting.

#![allow(clippy::unwrap_used)] // A test may fail where it stands.

use std::collections::BTreeSet;

use exahour_engine::{Batch, Capacity, Engine};
use exahour_twin::Twin;
use exahour_twin::flow::followers::Followers;
use exahour_twin::flow::limits::TIME;
use exahour_wire::codes::Side;
use exahour_wire::events::{
    EventPrefix, OrderAccepted, OrderRejected, OrderRepriced, OrderTriggered,
};
use exahour_wire::ids::{CommandSequence, OrderId};
use exahour_wire::internal::Tick;
use exahour_wire::limits::{ELECTIONS_MAX, PEGGED_MAX};
use exahour_wire::message::{Message, messages};
use exahour_wire::reject::Reject;
use exahour_wire::units::{Nanos, Price};

/// Engine and twin, which must say the same.
struct Pair {
    engine: Engine,
    twin: Twin,
    followers: Followers,
    sent: u64,
    time: Nanos,
}

impl Pair {
    fn new(contracts: u32) -> Self {
        let capacity = Capacity {
            orders: 1,
            positions: 1,
            index_seed: 1,
        };
        let mut pair = Self {
            engine: Engine::new(&capacity),
            twin: Twin::new(),
            followers: Followers::default(),
            sent: 0,
            time: TIME,
        };
        pair.apply(&Followers::set_up(contracts));
        pair
    }

    /// The events of a batch.
    fn apply(&mut self, records: &[Vec<u8>]) -> Vec<u8> {
        let first = CommandSequence(self.sent + 1);
        self.sent += records.len() as u64;
        let commands = records.concat();
        let batch = Batch {
            time: self.time,
            first,
            commands: &commands,
        };
        let (mut events, mut others) = (Vec::new(), Vec::new());
        self.engine.apply(&batch, &mut events).unwrap();
        self.twin.apply(self.time, first, &commands, &mut others);
        assert!(events == others, "at {:?}", self.time);
        events
    }

    /// Enters as many pegged orders of a contract as there may be.
    fn crowd(&mut self, contract: u32) {
        for _ in 0..PEGGED_MAX {
            let follow = self.followers.follow(contract);
            let events = self.apply(&[follow]);
            assert!(messages(&events).any(|event| OrderAccepted::read(event).is_some()));
        }
    }

    fn lead(&mut self, contract: u32, below: u32) -> Vec<OrderRepriced> {
        let lead = self.followers.lead(contract, below);
        moved(&self.apply(&[lead]))
    }

    /// The next tick, at the time that the engine asks for.
    fn tick(&mut self) -> Vec<OrderRepriced> {
        let due = self.engine.next_due().unwrap();
        assert_eq!(due, Nanos(self.time.0 + 1), "what is left is due at once");
        self.time = due;
        moved(&self.apply(&[Tick::blank().bytes().to_vec()]))
    }

    /// The engine goes on from its own snapshot.
    fn restart(&mut self) {
        let bytes = self.engine.snapshot().unwrap();
        let capacity = Capacity {
            orders: 7,
            positions: 7,
            index_seed: 7,
        };
        let hash = self.engine.state_hash();
        self.engine = Engine::restore(&bytes, &hash, &capacity).unwrap();
    }
}

fn moved(events: &[u8]) -> Vec<OrderRepriced> {
    messages(events).filter_map(OrderRepriced::read).collect()
}

/// Lets a whole crowd follow twice.
fn follow_twice(restarts: bool) -> Vec<OrderRepriced> {
    let mut pair = Pair::new(1);
    pair.crowd(1);
    let mut all = Vec::new();
    for below in [9, 8] {
        let mut moves = pair.lead(1, below);
        assert_eq!(moves.len(), ELECTIONS_MAX as usize);
        while moves.len() < PEGGED_MAX {
            if restarts {
                pair.restart();
            }
            // The timer and the tick move as many as they may, each.
            let left = PEGGED_MAX - moves.len();
            let more = pair.tick();
            assert_eq!(more.len(), left.min(2 * ELECTIONS_MAX as usize));
            moves.extend(more);
        }
        all.extend(moves);
    }
    // Nothing is left to do, and nothing is done.
    let rest = pair.apply(&[Tick::blank().bytes().to_vec()]);
    assert!(moved(&rest).is_empty());
    all
}

#[test]
fn each_of_a_crowd_follows_in_its_turn() {
    let all = follow_twice(false);
    let (first, second) = all.split_at(PEGGED_MAX);
    assert!(first.windows(2).all(|pair| pair[0].order < pair[1].order));
    let orders = |moves: &[OrderRepriced]| moves.iter().map(|it| it.order).collect::<Vec<_>>();
    assert_eq!(orders(first), orders(second));
    let prices = |moves: &[OrderRepriced]| moves.iter().map(|it| it.price).collect::<BTreeSet<_>>();
    assert_eq!(prices(first).len(), 1);
    assert_eq!(
        prices(second),
        prices(first)
            .into_iter()
            .map(|price| Price(price.0 + 1))
            .collect()
    );
}

#[test]
fn a_crowd_goes_on_from_a_snapshot() {
    assert_eq!(follow_twice(true), follow_twice(false));
}

#[test]
fn a_crowd_has_room_again_when_one_leaves() {
    let mut pair = Pair::new(1);
    pair.crowd(1);
    let refused = |events: &[u8]| -> Vec<Option<Reject>> {
        let rejected = messages(events).filter_map(OrderRejected::read);
        rejected.map(|it| it.reason.decode()).collect()
    };
    for left in [1, 77] {
        let one_more = pair.followers.follow(1);
        let events = pair.apply(&[one_more]);
        assert_eq!(refused(&events), [Some(Reject::TooManyPegged)]);
        let unfollow = pair.followers.unfollow(1, left);
        let follow = pair.followers.follow(1);
        let events = pair.apply(&[unfollow, follow]);
        assert_eq!(refused(&events), []);
    }
}

/// Whoever leads one contract anew with each command takes all that a command may move; the others have
/// their turn all the same.
#[test]
fn a_busy_contract_does_not_keep_another_waiting() {
    let mut pair = Pair::new(3);
    for contract in 1..=3 {
        pair.crowd(contract);
    }
    let of_others = |moves: Vec<OrderRepriced>| -> Vec<OrderId> {
        let of_others = moves.iter().filter(|it| it.instrument.0 > 1);
        of_others.map(|it| it.order).collect()
    };
    let mut followed = BTreeSet::new();
    for contract in [2, 3] {
        followed.extend(of_others(pair.lead(contract, 900)));
    }
    for below in (500..800).rev() {
        let moves = pair.lead(1, below);
        assert_eq!(moves.len(), ELECTIONS_MAX as usize);
        followed.extend(of_others(moves));
        if followed.len() == 2 * PEGGED_MAX {
            return;
        }
    }
    panic!("only {} of two other contracts moved", followed.len());
}

#[test]
fn stop_orders_come_before_pegged_orders_move() {
    let mut pair = Pair::new(2);
    pair.crowd(1);
    pair.lead(1, 900);
    let stop = pair.followers.stop(2);
    pair.apply(&[stop]);
    pair.lead(1, 899);
    let bid = pair.followers.lead(2, 0);
    let offer = pair.followers.other(2, Side::Sell);
    // There is still a crowd to move in the first contract when the second one's trade elects.
    let events = pair.apply(&[bid, offer]);
    let all: Vec<&[u8]> = messages(&events).collect();
    let triggered = |event: &&[u8]| OrderTriggered::read(event).is_some();
    let at = all.iter().position(triggered).unwrap();
    assert_eq!(all.iter().filter(|event| triggered(event)).count(), 1);
    let elects = EventPrefix::peek(all[at]).unwrap().command;
    let moves = moved(&events);
    let same = moves.iter().filter(|it| it.command == elects);
    assert_eq!(
        same.count(),
        ELECTIONS_MAX as usize - 1,
        "a stop order is a step"
    );
    let before = moved(&all[..at].concat());
    assert!(before.iter().all(|it| it.command < elects));
}
