//! More pegged orders than one command may move: each moves, in its turn, and none keeps others waiting.

use std::collections::BTreeSet;

use exahour_twin::flow::followers::{FOLLOWERS, Followers};
use exahour_wire::codes::{PegReference, Phase, Side};
use exahour_wire::events::{
    EventPrefix, OrderAccepted, OrderCancelled, OrderRejected, OrderRepriced, OrderTriggered,
    PhaseChanged,
};
use exahour_wire::ids::{AccountId, InstrumentId, SessionId};
use exahour_wire::internal::Tick;
use exahour_wire::limits::{ELECTIONS_MAX, PEGGED_MAX, PEGGED_OWN_MAX};
use exahour_wire::message::{Message, messages};
use exahour_wire::operations::{Deposit, SetCircuitBreaker};
use exahour_wire::orders::{NewAdvancedOrder, NewOrder};
use exahour_wire::reject::Reject;
use exahour_wire::units::{Money, Nanos, PartsPerMillion, Price};

use crate::pair::Pair;

/// Engine and twin, and who follows whom.
struct Crowds {
    pair: Pair,
    followers: Followers,
}

impl Crowds {
    fn new(contracts: u32) -> Self {
        let mut pair = Pair::new();
        pair.apply(&Followers::set_up(contracts));
        Self {
            pair,
            followers: Followers::default(),
        }
    }

    /// Enters as many pegged orders of a contract as there may be.
    fn crowd(&mut self, contract: u32) {
        for place in 0..PEGGED_MAX {
            let follower = 1 + (place / PEGGED_OWN_MAX) as u32;
            let follow = self.followers.follow(follower, contract);
            let events = self.pair.apply(&[follow]);
            assert!(messages(&events).any(|event| OrderAccepted::read(event).is_some()));
        }
    }

    /// Whether one more of a follower is taken.
    fn takes(&mut self, follower: u32) -> bool {
        let follow = self.followers.follow(follower, 1);
        let events = self.pair.apply(&[follow]);
        let rejected = messages(&events).find_map(OrderRejected::read);
        rejected.is_none_or(|it| {
            assert_eq!(it.reason.decode(), Some(Reject::TooManyPegged));
            false
        })
    }

    fn lead(&mut self, contract: u32, below: u32) -> Vec<OrderRepriced> {
        let lead = self.followers.lead(contract, below);
        moved(&self.pair.apply(&[lead]))
    }

    fn abandon(&mut self) -> Vec<OrderRepriced> {
        let abandon = self.followers.abandon();
        moved(&self.pair.apply(&[abandon]))
    }

    /// The next tick, at the time that the engine asks for.
    fn tick(&mut self) -> Vec<OrderRepriced> {
        let due = self.pair.engine.next_due().unwrap();
        assert_eq!(
            due,
            Nanos(self.pair.time.0 + 1),
            "what is left is due at once"
        );
        self.pair.time = due;
        moved(&self.pair.apply(&[Tick::blank().bytes().to_vec()]))
    }
}

fn moved(events: &[u8]) -> Vec<OrderRepriced> {
    messages(events).filter_map(OrderRepriced::read).collect()
}

/// Lets three crowds follow, and wait when nobody leads, twice; says who has to wait, in that order.
fn wait_twice(restarts: bool) -> Vec<OrderRepriced> {
    let mut crowds = Crowds::new(3);
    for contract in 1..=3 {
        crowds.crowd(contract);
    }
    let all_of_them = 3 * PEGGED_MAX;
    let mut all = Vec::new();
    for _ in 0..2 {
        for contract in 1..=3 {
            assert_eq!(crowds.lead(contract, 9).len(), PEGGED_MAX);
        }
        let mut moves = crowds.abandon();
        assert_eq!(moves.len(), ELECTIONS_MAX as usize);
        while moves.len() < all_of_them {
            if restarts {
                crowds.pair.restart();
            }
            // The timer and the tick move as many as they may, each.
            let left = all_of_them - moves.len();
            let more = crowds.tick();
            assert_eq!(more.len(), left.min(2 * ELECTIONS_MAX as usize));
            moves.extend(more);
        }
        all.extend(moves);
    }
    // Nothing is left to do, and nothing is done.
    let rest = crowds.pair.apply(&[Tick::blank().bytes().to_vec()]);
    assert!(moved(&rest).is_empty());
    all
}

#[test]
fn one_command_moves_a_whole_crowd_each_in_its_turn() {
    let mut crowds = Crowds::new(1);
    crowds.crowd(1);
    let [first, second] = [9, 8].map(|below| crowds.lead(1, below));
    assert_eq!(first.len(), PEGGED_MAX);
    assert!(first.windows(2).all(|it| it[0].order < it[1].order));
    let orders = |moves: &[OrderRepriced]| moves.iter().map(|it| it.order).collect::<Vec<_>>();
    assert_eq!(orders(&first), orders(&second));
    let prices = |moves: &[OrderRepriced]| moves.iter().map(|it| it.price).collect::<BTreeSet<_>>();
    let one_higher = prices(&first).into_iter().map(|it| Price(it.0 + 1));
    assert_eq!(prices(&first).len(), 1);
    assert_eq!(prices(&second), one_higher.collect());
}

#[test]
fn crowds_go_on_from_a_snapshot() {
    assert_eq!(wait_twice(true), wait_twice(false));
}

#[test]
fn a_crowd_has_room_again_when_one_leaves() {
    let mut crowds = Crowds::new(1);
    crowds.crowd(1);
    for (follower, left) in [(1, 1), (6, PEGGED_OWN_MAX as u64)] {
        // One who has none yet finds no place.
        assert!(!crowds.takes(FOLLOWERS));
        let unfollow = crowds.followers.unfollow(follower, 1, left);
        crowds.pair.apply(&[unfollow]);
        assert!(crowds.takes(FOLLOWERS));
    }
}

#[test]
fn one_participant_does_not_take_all_places() {
    let mut crowds = Crowds::new(1);
    for _ in 0..PEGGED_OWN_MAX {
        assert!(crowds.takes(1));
    }
    assert!(!crowds.takes(1));
    assert!(crowds.takes(2));
    let unfollow = crowds.followers.unfollow(1, 1, 3);
    crowds.pair.apply(&[unfollow]);
    assert!(crowds.takes(1));
    assert!(!crowds.takes(1));
}

/// Whoever leads one contract anew with each command takes all that a command may move; the others have
/// their turn all the same.
#[test]
fn a_busy_contract_does_not_keep_another_waiting() {
    let mut crowds = Crowds::new(3);
    for contract in 1..=3 {
        crowds.crowd(contract);
        crowds.lead(contract, 900);
    }
    let mut waiting = BTreeSet::new();
    let mut moves = crowds.abandon();
    for below in (500..800).rev() {
        assert_eq!(moves.len(), ELECTIONS_MAX as usize);
        let of_others = moves.iter().filter(|it| it.instrument.0 > 1);
        waiting.extend(of_others.map(|it| it.order));
        if waiting.len() == 2 * PEGGED_MAX {
            return;
        }
        moves = crowds.lead(1, below);
    }
    panic!("only {} of two other contracts moved", waiting.len());
}

#[test]
fn stop_orders_come_before_pegged_orders_move() {
    let mut crowds = Crowds::new(4);
    for contract in [1, 3, 4] {
        crowds.crowd(contract);
        crowds.lead(contract, 900);
    }
    let stop = crowds.followers.stop(2);
    crowds.pair.apply(&[stop]);
    crowds.abandon();
    let bid = crowds.followers.lead(2, 0);
    let offer = crowds.followers.other(2, Side::Sell);
    // There is still a crowd to move when the second contract's trade elects.
    let events = crowds.pair.apply(&[bid, offer]);
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

impl Crowds {
    /// An order that a member would enter in the first contract, at another price.
    fn at(&mut self, order: &[u8], price: i64) -> Vec<u8> {
        let order = NewOrder {
            price: Price(price),
            ..NewOrder::read(order).unwrap()
        };
        self.pair.apply(&[order.bytes().to_vec()])
    }

    /// A follower's pegged order that stays one tick away from the other side.
    fn chase(&mut self, follower: u32, side: Side, limit: i64) -> Vec<u8> {
        let order = self.followers.follow(follower, 1);
        let order = NewAdvancedOrder {
            side: side.into(),
            price: Price(limit),
            peg: PegReference::Market.into(),
            peg_offset: Price(1),
            ..NewAdvancedOrder::read(&order).unwrap()
        };
        self.pair.apply(&[order.bytes().to_vec()])
    }
}

#[test]
fn a_pegged_order_that_halts_its_contract_does_not_come_back() {
    const PRICE: i64 = 1_000_000_000;
    let mut crowds = Crowds::new(1);
    let mut records: Vec<Vec<u8>> = Vec::new();
    for account in [101, 102] {
        let deposit = Deposit {
            account: AccountId(account),
            amount: Money(PRICE),
            ..Deposit::blank()
        };
        records.push(deposit.bytes().to_vec());
    }
    let breaker = SetCircuitBreaker {
        instrument: InstrumentId(1),
        threshold: PartsPerMillion(10_000),
        ..SetCircuitBreaker::blank()
    };
    records.push(breaker.bytes().to_vec());
    records.push(crowds.followers.lead(1, 0));
    records.push(crowds.followers.other(1, Side::Sell));
    crowds.pair.apply(&records);
    // Three hundredths away on either side, so that who chases one side meets who chases the other.
    let (bid, ask) = (PRICE / 100 * 97, PRICE / 100 * 103);
    let order = crowds.followers.lead(1, 0);
    crowds.at(&order, bid);
    let order = crowds.followers.other(1, Side::Sell);
    crowds.at(&order, ask);
    assert_eq!(moved(&crowds.chase(1, Side::Buy, ask)).len(), 1);
    let events = crowds.chase(2, Side::Sell, bid);
    let cancelled: Vec<_> = messages(&events).filter_map(OrderCancelled::read).collect();
    assert_eq!(cancelled.len(), 1, "who halts it is gone");
    assert_eq!(cancelled[0].session, SessionId(2));
    assert_eq!(phases(&events), [Phase::Halted]);
    crowds.pair.time = crowds.pair.engine.next_due().unwrap();
    let mut after = Vec::new();
    for _ in 0..20 {
        after.extend(crowds.pair.apply(&[Tick::blank().bytes().to_vec()]));
        crowds.pair.time = Nanos(crowds.pair.time.0 + 60 * Nanos::SECOND.0);
    }
    assert_eq!(phases(&after), [Phase::Continuous], "it is halted once");
    let back = moved(&after);
    assert_eq!(back.len(), 1, "the other one comes back");
    assert_eq!(back[0].price, Price(ask - 1));
}

fn phases(events: &[u8]) -> Vec<Phase> {
    let changes = messages(events).filter_map(PhaseChanged::read);
    changes.map(|it| it.phase.decode().unwrap()).collect()
}
