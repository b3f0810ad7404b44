//! One hash over the whole state: what replicas and replays compare.
//!
//! Called at checkpoints only; the cost is that of reading the state once.
//!
//! Always holds: everything that can influence a later event is in it, in an order that does not
//! depend on how the state came about: orders in queue order, the rest by id.

use exahour_wire::codes::Side;
use exahour_wire::message::Digest;
use exahour_wire::units::{Millis, Nanos};

use crate::admit::{Admit, KillSwitch};
use crate::behaviour::BEHAVIOUR_FIRST;
use crate::book::{BESIDE, HELD, ICEBERG, Slot};
use crate::execute::{Execute, Instrument};
use crate::guards::Window;
use crate::trading::{CircuitBreaker, Guard, Trading};

/// Feeds integers to the hash, each in eight or sixteen bytes.
struct Feed(blake3::Hasher);

impl Feed {
    fn number(&mut self, value: u64) {
        self.0.update(&value.to_le_bytes());
    }

    fn signed(&mut self, value: i64) {
        self.0.update(&value.to_le_bytes());
    }

    fn wide(&mut self, value: i128) {
        self.0.update(&value.to_le_bytes());
    }

    fn flag(&mut self, value: bool) {
        self.number(u64::from(value));
    }

    fn switch(&mut self, value: KillSwitch) {
        let asked_by = value.requested_by();
        self.flag(value.stops());
        self.flag(asked_by.is_some());
        self.number(asked_by.map_or(0, |session| u64::from(session.0)));
    }

    fn numbers<const N: usize>(&mut self, values: [u64; N]) {
        for value in values {
            self.number(value);
        }
    }
}

/// The hash of the first stage's state.
pub(crate) fn admission_hash(admit: &Admit) -> Digest {
    let mut feed = Feed(blake3::Hasher::new());
    feed_admission(&mut feed, admit);
    // What every exchange begins with is not hashed, as it was not before it had a number: checkpoints of old
    // journals hold.
    if admit.behaviour > BEHAVIOUR_FIRST {
        feed.number(u64::from(admit.behaviour.0));
    }
    Digest(*feed.0.finalize().as_bytes())
}

/// The hash of the whole state: the first stage's hash, then the second stage's state.
pub(crate) fn state_hash(admission: &Digest, execute: &Execute, now: Nanos) -> Digest {
    let mut feed = Feed(blake3::Hasher::new());
    feed.number(now.0);
    feed.0.update(&admission.0);
    feed_counters(&mut feed, execute);
    feed_ledger(&mut feed, execute);
    for instrument in execute.instruments.iter().flatten() {
        feed_instrument(&mut feed, execute, instrument);
    }
    let in_force = &execute.in_force;
    if in_force.behaviour > BEHAVIOUR_FIRST {
        feed.numbers([u64::from(in_force.behaviour.0), in_force.since.0]);
    }
    Digest(*feed.0.finalize().as_bytes())
}

fn feed_admission(feed: &mut Feed, admit: &Admit) {
    for participant in admit.registry.participants() {
        feed.flag(participant.exists);
        feed.switch(participant.kill_switch);
    }
    for account in admit.registry.accounts() {
        feed.number(u64::from(account.participant.0));
        feed.switch(account.kill_switch);
    }
    for (id, session) in admit.sessions.all() {
        feed.numbers([
            u64::from(id.0),
            u64::from(session.participant.0),
            u64::from(session.permissions.0),
            session.version.0,
            u64::from(session.expected.0),
            session.connection,
            session.established_at.0,
        ]);
        let throttle = &session.throttle;
        feed.numbers([
            u64::from(throttle.rate),
            u64::from(throttle.burst),
            throttle.tokens,
            throttle.last.0,
            u64::from(throttle.refusals),
        ]);
        feed.flag(session.ready);
        feed.switch(session.kill_switch);
    }
}

fn feed_counters(feed: &mut Feed, execute: &Execute) {
    feed.numbers([
        execute.reporter.events(),
        execute.orders.serial(),
        execute.trade_log.made(),
        execute.transfers,
        execute.day_end.0,
        execute.elect_at.0,
        u64::from(execute.peg_turn.0),
        u64::from(execute.orders.live_max()),
    ]);
    for counter in execute.reporter.counters() {
        feed.number(u64::from(*counter));
    }
    for trade in execute.trade_log.kept() {
        feed.numbers([
            trade.time.0,
            u64::from(trade.instrument.0),
            trade.quantity.0,
        ]);
        feed.signed(trade.price.0);
        for party in [&trade.buyer, &trade.seller] {
            feed.numbers([
                party.order.0,
                u64::from(party.session.0),
                u64::from(party.account.0),
            ]);
        }
    }
    for activity in &execute.activities {
        feed.numbers([
            activity.orders,
            activity.replaces,
            activity.cancels,
            activity.rejects,
            activity.trades,
            activity.lots_ordered,
            activity.lots_traded,
        ]);
    }
    for session in &execute.sessions {
        feed.numbers([
            u64::from(session.participant.0),
            session.version.0,
            session.cancel_mode as u64,
            u64::from(session.cancel_grace.0),
            session.cancel_at.0,
            u64::from(session.dead_man.interval.0),
            session.dead_man.heard_at.0,
        ]);
        feed.flag(session.ready);
    }
    feed.0.update(&execute.auction_seed.0);
    for slot in execute.orders.free_slots() {
        feed.number(u64::from(slot));
    }
}

fn feed_ledger(feed: &mut Feed, execute: &Execute) {
    for (id, account) in execute.ledger.accounts() {
        feed.number(u64::from(id.0));
        feed.wide(account.balance);
        feed.wide(account.locked);
        feed.number(u64::from(account.access_session.0));
        feed.flag(account.killed);
        feed.0.update(&account.access_key.0);
    }
    let mut positions: Vec<_> = execute.positions.all().iter().collect();
    positions.sort_unstable_by_key(|position| (position.account, position.instrument));
    for position in positions {
        feed.number(u64::from(position.account.0));
        feed.number(u64::from(position.instrument.0));
        feed.signed(position.net);
        let [open_buy, open_sell] = [Side::Buy, Side::Sell].map(|side| *position.open.at(side));
        feed.numbers([open_buy, open_sell, position.position_max]);
        let [adverse_buy, adverse_sell] =
            [Side::Buy, Side::Sell].map(|side| *position.adverse.at(side));
        for amount in [adverse_buy, adverse_sell, position.lock] {
            feed.wide(amount);
        }
    }
    for obligation in &execute.obligations {
        feed.number(u64::from(obligation.buyer.0));
        feed.number(u64::from(obligation.seller.0));
        feed.number(u64::from(obligation.hours.0));
        feed.signed(obligation.value);
        feed.wide(obligation.collateral);
        feed.flag(obligation.settled);
    }
}

fn feed_instrument(feed: &mut Feed, execute: &Execute, instrument: &Instrument) {
    feed.number(u64::from(instrument.id.0));
    feed.signed(instrument.settlement.0);
    feed.signed(instrument.last_trade.map_or(i64::MIN, |price| price.0));
    feed.flag(instrument.expired);
    feed_trading(feed, &instrument.trading);
    let terms = &instrument.terms;
    feed.numbers([
        terms.kind as u64,
        u64::from(terms.hours.0),
        terms.position_cap.0,
        terms.quantity_max.0,
        u64::from(terms.collar.0),
        u64::from(terms.protection.0),
        terms.delivery_start.0,
        terms.last_trade_at.0,
    ]);
    for amount in [
        terms.tick.0,
        terms.price_cap.0,
        terms.initial_margin.0,
        terms.notional_max.0,
    ] {
        feed.signed(amount);
    }
    for side in [Side::Buy, Side::Sell] {
        instrument.book.side(side).walk(&execute.orders, |slot| {
            feed_order(feed, execute, slot);
            true
        });
    }
    let stops = instrument.stops.as_deref();
    for stop in stops.iter().flat_map(|stops| stops.all()) {
        feed.signed(stop.price.0);
        feed_order(feed, execute, stop.slot);
    }
    feed.number(stops.map_or(0, |stops| stops.elected().count() as u64));
    let pegs = instrument.pegs.iter();
    for peg in pegs.flat_map(|pegs| pegs.live(&execute.orders)) {
        feed.numbers([peg.order.0, peg.lead.reference as u64]);
        feed.signed(peg.lead.offset.0);
        match peg.stands_for(&execute.orders) {
            Some(aim) => feed.signed(aim.0),
            None => feed_order(feed, execute, peg.slot),
        }
    }
}

fn feed_order(feed: &mut Feed, execute: &Execute, slot: Slot) {
    let (order, extent) = (execute.orders.at(slot), execute.orders.extent(slot));
    let account = execute.positions.at(order.position).account;
    feed.numbers([
        order.id.0,
        order.leaves.0,
        extent.total.0,
        order.client_order_id.0,
        u64::from(order.session.0),
        u64::from(account.0),
        extent.expire_at.0,
        order.time_in_force as u64,
        order.self_trade_prevention as u64,
        u64::from(order.flags.0),
    ]);
    feed.signed(order.price.0);
    if order.flags.contains(ICEBERG) {
        let reserve = execute.orders.reserve(slot);
        feed.numbers([reserve.display.0, reserve.hidden.0]);
    }
    if order.flags.contains(HELD) {
        feed.signed(execute.orders.held_at(slot).0);
    }
    if order.flags.contains(BESIDE) {
        let beside = execute.orders.beside(slot);
        feed.signed(beside.limit.0);
        feed.flag(beside.unpriced);
    }
}

fn feed_trading(feed: &mut Feed, trading: &Trading) {
    let calendar = &trading.calendar;
    let day = calendar.day.map_or([Millis(0); 4], |day| {
        [
            day.call_start,
            day.uncross,
            day.closing_call,
            day.closing_uncross,
        ]
    });
    feed.numbers(day.map(|span| u64::from(span.0)));
    feed.numbers([
        u64::from(calendar.random_end.0),
        u64::from(calendar.collar.0),
        calendar.allocation as u64,
        trading.phase as u64,
        trading.due.0,
    ]);
    feed.flag(trading.guard.is_some());
    if let Some(guard) = &trading.guard {
        feed_guard(feed, guard);
    }
    feed.flag(trading.call.is_some());
    if let Some(call) = &trading.call {
        let told = &call.told;
        for price in [call.reference, call.low, call.high, told.price] {
            feed.signed(price.0);
        }
        feed.flag(call.drawn);
        feed.number(call.reopening as u64);
        let unpriced = [Side::Buy, Side::Sell].map(|side| *call.unpriced.at(side));
        feed.numbers(unpriced);
        feed.numbers([
            told.quantity.0,
            told.buy_surplus.0,
            told.sell_surplus.0,
            call.tell_at.0,
        ]);
    }
}

fn feed_guard(feed: &mut Feed, guard: &Guard) {
    feed.flag(guard.breaker.is_some());
    if let Some(breaker) = &guard.breaker {
        feed_breaker(feed, breaker);
    }
    feed.flag(guard.band.is_some());
    if let Some(band) = &guard.band {
        feed.number(u64::from(band.width.0));
        feed_window(feed, &band.window);
        feed.number(band.state.since().map_or(u64::MAX, |since| since.0));
        feed.number(band.look_at.0);
        feed.flag(band.told.is_some());
        if let Some(told) = &band.told {
            feed.signed(told.band.low.0);
            feed.signed(told.band.high.0);
            feed.number(told.pauses_at.0);
        }
    }
}

fn feed_window(feed: &mut Feed, window: &Window) {
    for second in window.seconds() {
        feed.numbers([second.number, second.count]);
        feed.signed(second.low.0);
        feed.signed(second.high.0);
        feed.0.update(&second.sum.to_le_bytes());
    }
}

fn feed_breaker(feed: &mut Feed, breaker: &CircuitBreaker) {
    feed.number(u64::from(breaker.threshold.0));
    feed.number(u64::from(breaker.linked.0));
    let seen = &breaker.seen;
    feed_window(feed, &seen.window);
    for (end, price) in &seen.intervals.past {
        feed.number(end.0);
        feed.signed(price.0);
    }
    feed.flag(seen.intervals.running.is_some());
    if let Some(running) = &seen.intervals.running {
        feed.numbers([running.end.0, running.lots, running.trades]);
        feed.signed(running.last.0);
        feed.0.update(&running.value.to_le_bytes());
    }
}
