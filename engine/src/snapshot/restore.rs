//! From an image to the state.
//!
//! Always holds: an image that contradicts itself is refused by name, never a panic; what follows
//! from the rest is made anew: indexes, levels, timers.

mod pegs;

use exahour_wire::codes::{
    Allocation, CancelOnDisconnect, ContractKind, Enumeration, OrderFlags, Permissions,
};
use exahour_wire::codes::{Phase, SelfTradePrevention, Side, TimeInForce};
use exahour_wire::ids::{
    AccountId, Behaviour, ClientOrderId, CommandSequence, InstrumentId, MessageSequence, OrderId,
    ParticipantId, SessionId, SessionVersion,
};
use exahour_wire::limits::{
    ACCOUNTS_MAX, FIRST_ACCOUNT, INSTRUMENTS_MAX, ORDERS_MAX, PARTICIPANTS_MAX, QUANTITY_MAX,
    SESSIONS_MAX,
};
use exahour_wire::message::{AccessKey, Digest};
use exahour_wire::units::{Hours, Millis, Money, Nanos, PartsPerMillion, Price, Quantity};

use super::SnapshotError;
use super::image::{
    AccountImage, BreakerImage, CallImage, GuardImage, InstrumentImage, ObligationImage,
    OrderImage, PartyImage, PegImage, PegPlaceImage, PositionImage, SecondImage, SessionImage,
    StateImage, SwitchImage, TermsImage, TradingImage,
};
use crate::admit::{AccountOwner, KillSwitch, Participant, Session, Throttle};
use crate::behaviour::{BEHAVIOUR_FIRST, InForce, UnknownBehaviour};
use crate::book::{Book, Extent, HELD, ICEBERG, NO_ORDER, Order, Reserve, SERIAL_MAX, Slot};
use crate::by_side::{BySide, signed};
use crate::capacity::Capacity;
use crate::divisor::Divisor;
use crate::execute::{
    Activity, DeadMan, Execute, Instrument, Obligation, SessionFlow, TakenHash, check_parts,
};
use crate::guards::{Band, Breaker, Intervals, LimitState, Running, Second, Window};
use crate::ledger::Account;
use crate::positions::Position;
use crate::stages::{Admission, Execution};
use crate::terms::Terms;
use crate::timers::Due;
use crate::trade_log::{Party, Trade};
use crate::trading::{
    Calendar, Call, CircuitBreaker, Day, Guard, Joins, Outlook, PARKED, PriceBand, Reopening, Told,
    Trading,
};

pub(super) type Result<T> = std::result::Result<T, SnapshotError>;

/// Refuses unless the condition holds.
pub(super) fn ensure(condition: bool, otherwise: &'static str) -> Result<()> {
    if condition {
        Ok(())
    } else {
        Err(SnapshotError::Contradiction(otherwise))
    }
}

pub(super) fn code<E: Enumeration>(repr: E::Repr, otherwise: &'static str) -> Result<E> {
    E::from_repr(repr).ok_or(SnapshotError::Contradiction(otherwise))
}

fn switch(image: &SwitchImage) -> KillSwitch {
    match image {
        SwitchImage::Released => KillSwitch::Released,
        SwitchImage::Engaged => KillSwitch::Engaged,
        SwitchImage::ReleaseRequested(by) => KillSwitch::ReleaseRequested(SessionId(*by)),
    }
}

/// Both stages as they were when the image was taken, with at least this much room.
pub(super) fn restore(image: StateImage, capacity: &Capacity) -> Result<(Admission, Execution)> {
    let in_force = in_force(&image, capacity)?;
    let mut stages = Stages {
        admission: Admission::new(capacity),
        execution: Execution::new(capacity),
    };
    stages.admission.admit.behaviour = in_force.behaviour;
    stages.execution.execute.in_force = in_force;
    stages.execution.now = Nanos(image.now);
    stages.participants(&image)?;
    for account in &image.accounts {
        stages.account(account)?;
    }
    for session in &image.sessions {
        stages.session(session)?;
    }
    for position in &image.positions {
        stages.position(position)?;
    }
    stages.counters(&image)?;
    for instrument in &image.instruments {
        stages.instrument(instrument)?;
    }
    stages.trades(&image)?;
    stages.free_slots(&image)?;
    for obligation in &image.obligations {
        stages.obligation(obligation)?;
    }
    stages
        .execution
        .keep(image.hashes.iter().map(|kept| TakenHash {
            after: CommandSequence(kept.after),
            hash: Digest(kept.hash),
        }));
    stages.timers();
    Ok((stages.admission, stages.execution))
}

/// Which rules were in force, where this program can do them.
fn in_force(image: &StateImage, capacity: &Capacity) -> Result<InForce> {
    let in_force = InForce {
        behaviour: Behaviour(image.counters.behaviour),
        since: CommandSequence(image.counters.behaviour_since),
    };
    let InForce { behaviour, since } = in_force;
    ensure(behaviour >= BEHAVIOUR_FIRST, "a behaviour is none")?;
    let begun_with = behaviour == BEHAVIOUR_FIRST;
    ensure(
        begun_with == (since == CommandSequence::NONE),
        "a behaviour was activated by no command",
    )?;
    let known = capacity.behaviour_max;
    if behaviour > known {
        return Err(SnapshotError::UnknownBehaviour(UnknownBehaviour {
            behaviour,
            since,
            known,
        }));
    }
    Ok(in_force)
}

/// The stages as they fill.
pub(super) struct Stages {
    admission: Admission,
    execution: Execution,
}

impl Stages {
    pub(super) fn execute(&mut self) -> &mut Execute {
        &mut self.execution.execute
    }

    fn participants(&mut self, image: &StateImage) -> Result<()> {
        for participant in &image.participants {
            let known = (1..=PARTICIPANTS_MAX).contains(&participant.id);
            ensure(known, "a participant's id is out of range")?;
            let id = ParticipantId(participant.id);
            *self.admission.admit.registry.participant_mut(id) = Participant {
                exists: true,
                kill_switch: switch(&participant.kill_switch),
            };
        }
        Ok(())
    }

    fn account(&mut self, image: &AccountImage) -> Result<()> {
        ensure(image.id <= ACCOUNTS_MAX, "an account's id is out of range")?;
        let (id, participant) = (AccountId(image.id), ParticipantId(image.participant));
        let own = id < FIRST_ACCOUNT;
        ensure(
            own == (participant == ParticipantId::NONE),
            "an account has no owner",
        )?;
        if !own {
            self.execute().ledger.open(id, participant);
            *self.admission.admit.registry.account_mut(id) = AccountOwner {
                participant,
                kill_switch: switch(&image.kill_switch),
            };
        }
        *self.execute().ledger.account_mut(id) = Account {
            balance: image.balance,
            locked: image.locked,
            participant,
            killed: switch(&image.kill_switch).stops(),
            access_key: AccessKey(image.access_key),
            access_session: SessionId(image.access_session),
        };
        Ok(())
    }

    fn session(&mut self, image: &SessionImage) -> Result<()> {
        let known = (1..=SESSIONS_MAX).contains(&image.id);
        ensure(known, "a session's id is out of range")?;
        let (id, participant) = (SessionId(image.id), ParticipantId(image.participant));
        let version = SessionVersion(image.version);
        let throttle = Throttle {
            rate: image.throttle.rate,
            burst: image.throttle.burst,
            tokens: image.throttle.tokens,
            last: Nanos(image.throttle.last),
            refusals: image.throttle.refusals,
        };
        ensure(
            throttle.last <= self.execution.now,
            "a session spoke in the future",
        )?;
        let session = Session {
            participant,
            permissions: Permissions(image.permissions),
            throttle,
            version,
            expected: MessageSequence(image.expected),
            ready: image.ready,
            connection: image.connection,
            established_at: Nanos(image.established_at),
            kill_switch: switch(&image.kill_switch),
        };
        self.admission.admit.sessions.create(id, session);
        let execute = self.execute();
        execute.add_session(id, participant);
        execute
            .reporter
            .resume(id, MessageSequence(image.next_report));
        execute.sessions[id.0 as usize] = SessionFlow {
            participant,
            version,
            expected: MessageSequence(image.expected),
            ready: image.ready,
            cancel_mode: code::<CancelOnDisconnect>(image.cancel_mode, "a cancel mode is none")?,
            cancel_grace: Millis(image.cancel_grace_ms),
            cancel_at: Nanos(image.cancel_at),
            dead_man: DeadMan::new(Millis(image.dead_man_ms), Nanos(image.heard_at)),
        };
        let counted = &image.activity;
        execute.activities[id.0 as usize] = Activity {
            orders: counted.orders,
            replaces: counted.replaces,
            cancels: counted.cancels,
            rejects: counted.rejects,
            trades: counted.trades,
            lots_ordered: counted.lots_ordered,
            lots_traded: counted.lots_traded,
        };
        Ok(())
    }

    fn position(&mut self, image: &PositionImage) -> Result<()> {
        let position = Position {
            account: AccountId(image.account),
            instrument: InstrumentId(image.instrument),
            net: image.net,
            open: BySide::new(image.open_buy, image.open_sell),
            adverse: BySide::new(image.adverse_buy, image.adverse_sell),
            lock: image.lock,
            position_max: image.position_max,
        };
        let known = self
            .admission
            .admit
            .registry
            .account(position.account)
            .is_some();
        ensure(known, "a position's account does not exist")?;
        let positions = &mut self.execute().positions;
        let twice = positions
            .find(position.account, position.instrument)
            .is_some();
        ensure(!twice, "a position is there twice")?;
        let slot = positions.find_or_make(position.account, position.instrument);
        *positions.at_mut(slot) = position;
        Ok(())
    }

    fn counters(&mut self, image: &StateImage) -> Result<()> {
        let orders = |instrument: &InstrumentImage| {
            let resting = instrument.bids.len() + instrument.asks.len();
            let stops = instrument.waiting.iter().chain(&instrument.elected);
            let waits = |peg: &&PegImage| matches!(peg.place, PegPlaceImage::Waits { .. });
            let pegs = instrument.pegs.iter().filter(waits);
            resting + stops.filter(|stop| stop.is_parked()).count() + pegs.count()
        };
        let live: usize = image.instruments.iter().map(orders).sum();
        let places = live + image.free_slots.len();
        ensure(
            places <= ORDERS_MAX as usize,
            "there are more orders than ids can name",
        )?;
        let counters = &image.counters;
        ensure(
            counters.orders <= SERIAL_MAX,
            "more orders were accepted than ids can number",
        )?;
        let execute = self.execute();
        execute.orders.resume(places, counters.orders);
        execute.orders.set_live_max(counters.orders_max);
        execute.reporter.resume_events(counters.events);
        execute.transfers = counters.transfers;
        execute.auction_seed = Digest(counters.auction_seed);
        execute.day_end = Nanos(counters.day_end);
        execute.elect_at = Nanos(counters.elect_at);
        execute.peg_turn = InstrumentId(counters.peg_turn);
        Ok(())
    }

    fn instrument(&mut self, image: &InstrumentImage) -> Result<()> {
        let known = image.id <= INSTRUMENTS_MAX;
        ensure(known, "an instrument's id is out of range")?;
        let terms = terms(&image.terms)?;
        let id = InstrumentId(image.id);
        self.admission.admit.registry.list(id, terms);
        let mut instrument = Instrument {
            id,
            terms,
            settlement: Price(image.settlement),
            last_trade: image.last_trade.map(Price),
            expired: image.expired,
            trading: trading(&image.trading)?,
            book: Book::new(self.execute().index_seed, terms.tick),
            stops: None,
            pegs: None,
        };
        for (side, orders) in [(Side::Buy, &image.bids), (Side::Sell, &image.asks)] {
            for order in orders {
                let slot = self.order(&instrument, side, order)?;
                self.rest(&mut instrument, slot)?;
            }
        }
        self.stops(&mut instrument, image)?;
        if instrument.has_stops_to_trigger() {
            self.execute().electing.insert(id);
        }
        pegs::restore(self, &mut instrument, image)?;
        self.execute().list(instrument);
        Ok(())
    }

    /// Puts an order last at its price.
    fn rest(&mut self, instrument: &mut Instrument, slot: Slot) -> Result<()> {
        let orders = &mut self.execute().orders;
        let order = orders.at(slot);
        let side = order.side;
        if order.flags.contains(ICEBERG) {
            let hidden = orders.reserve(slot).hidden;
            instrument.book.hidden.add(side, order.price, hidden);
        }
        ensure(
            !order.flags.contains(PARKED),
            "an order rests that is not in the market",
        )?;
        if let Some(call) = &mut instrument.trading.call {
            call.count_unpriced(order, Joins::Yes);
        }
        instrument.book.side_mut(side).append(orders, slot);
        Ok(())
    }

    /// Puts an order in its place of the table, and says which that is.
    pub(super) fn order(
        &mut self,
        instrument: &Instrument,
        side: Side,
        image: &OrderImage,
    ) -> Result<Slot> {
        let account = AccountId(image.account);
        let owner = self.admission.admit.registry.account(account);
        let owner = owner.ok_or(SnapshotError::Contradiction(
            "an order's account does not exist",
        ))?;
        let order = Order {
            id: OrderId(image.id),
            price: Price(image.price),
            leaves: Quantity(image.leaves),
            client_order_id: ClientOrderId(image.client_order_id),
            next: NO_ORDER,
            previous: NO_ORDER,
            level: 0,
            session: SessionId(image.session),
            participant: owner.participant,
            position: image.position,
            client_hash: 0,
            side,
            time_in_force: code::<TimeInForce>(image.time_in_force, "a time in force is none")?,
            self_trade_prevention: code::<SelfTradePrevention>(
                image.self_trade_prevention,
                "a self-trade prevention is none",
            )?,
            flags: OrderFlags(image.flags),
        };
        let extent = Extent {
            total: Quantity(image.total),
            expire_at: Nanos(image.expire_at),
        };
        let execute = self.execute();
        let positions = execute.positions.all();
        let position = positions.get(order.position as usize);
        let same = position.is_some_and(|position| {
            position.account == account && position.instrument == instrument.id
        });
        ensure(same, "an order is in another's position")?;
        let total = extent.total;
        let reserve = reserve(&order, image, total)?;
        let all = order.leaves.0.checked_add(reserve.hidden.0);
        let fits = all.is_some_and(|all| all <= total.0);
        let open = order.leaves.0 > 0 && fits && total <= QUANTITY_MAX;
        ensure(open, "an order's lots are out of range")?;
        let priced = order.price.0 > 0 && order.price <= instrument.terms.price_cap;
        ensure(priced, "an order's price is out of range")?;
        let held = held(&order, image, &instrument.terms)?;
        let slot = execute.orders.put(order, extent);
        let slot = slot.ok_or(SnapshotError::Contradiction("an order's place is taken"))?;
        execute.names.enter_again(&mut execute.orders, slot);
        if order.flags.contains(ICEBERG) {
            execute.orders.set_reserve(slot, reserve);
        }
        if let Some(price) = held {
            execute.orders.hold(slot, price);
        }
        execute.dated += usize::from(order.time_in_force == TimeInForce::GoodTillDate);
        Ok(slot)
    }

    fn trades(&mut self, image: &StateImage) -> Result<()> {
        for trade in &image.trades {
            let instrument = self
                .admission
                .admit
                .registry
                .instrument(InstrumentId(trade.instrument));
            let priced = |terms: &Terms| trade.price > 0 && trade.price <= terms.price_cap.0;
            ensure(
                instrument.is_some_and(priced) && trade.quantity <= QUANTITY_MAX.0,
                "a trade's terms are out of range",
            )?;
            for party in [&trade.buyer, &trade.seller] {
                let known = self
                    .admission
                    .admit
                    .sessions
                    .find(SessionId(party.session))
                    .is_some();
                ensure(known, "a trade's session does not exist")?;
            }
        }
        let kept = image.trades.iter().map(|trade| Trade {
            time: Nanos(trade.time),
            instrument: InstrumentId(trade.instrument),
            price: Price(trade.price),
            quantity: Quantity(trade.quantity),
            buyer: party(&trade.buyer),
            seller: party(&trade.seller),
        });
        let resumed = self.execute().trade_log.resume(image.counters.trades, kept);
        ensure(resumed, "there are more trades than are kept, or were made")
    }

    fn free_slots(&mut self, image: &StateImage) -> Result<()> {
        let freed = self.execute().orders.free_again(&image.free_slots);
        ensure(freed, "a free place of the order table is taken")
    }

    fn obligation(&mut self, image: &ObligationImage) -> Result<()> {
        for account in [image.buyer, image.seller] {
            let known = self.admission.admit.registry.account(AccountId(account));
            ensure(known.is_some(), "an obligation's account does not exist")?;
        }
        self.execute().obligations.push(Obligation {
            buyer: AccountId(image.buyer),
            seller: AccountId(image.seller),
            hours: Hours(image.hours),
            value: image.value,
            collateral: image.collateral,
            settled: image.settled,
        });
        Ok(())
    }

    /// Sets every timer that is still to come: they follow from the rest.
    fn timers(&mut self) {
        let now = self.execution.now;
        let execute = self.execute();
        let mut due = Vec::new();
        if execute.day_end > now {
            due.push((execute.day_end, Due::DayEnd));
            due.push((execute.day_end, Due::ActivityEnd));
        }
        for instrument in execute.instruments.iter().flatten() {
            if !instrument.expired {
                due.push((
                    instrument.terms.last_trade_at,
                    Due::Instrument(instrument.id.0),
                ));
            }
            let trading = &instrument.trading;
            let id = instrument.id.0;
            due.push((trading.due, Due::Phase(id)));
            let breaker = trading.breaker();
            if let Some(running) = breaker.and_then(|breaker| breaker.seen.intervals.running) {
                due.push((running.end, Due::Interval(id)));
            }
            if let Some(band) = trading.band() {
                due.push((band.look_at, Due::Band(id)));
            }
            if let Some(call) = &trading.call {
                due.push((call.tell_at, Due::Indicative(id)));
            }
            let mut date = |slot: Slot| {
                let order = execute.orders.at(slot);
                if order.time_in_force == TimeInForce::GoodTillDate {
                    let expire_at = execute.orders.extent(slot).expire_at;
                    due.push((expire_at, Due::Order(order.id.0)));
                }
                true
            };
            for side in [Side::Buy, Side::Sell] {
                instrument.book.side(side).walk(&execute.orders, &mut date);
            }
            for stop in instrument.stops.iter().flat_map(|stops| stops.all()) {
                // An order in the book has its date already.
                if execute.orders.at(stop.slot).flags.contains(PARKED) {
                    date(stop.slot);
                }
            }
            for slot in instrument.waiting_pegs(&execute.orders) {
                date(slot);
            }
        }
        due.push((execute.elect_at, Due::Election));
        for (id, session) in execute.sessions.iter().enumerate() {
            if session.cancel_at != Nanos::NEVER {
                due.push((session.cancel_at, Due::SessionCancel(id as u32)));
            }
        }
        for (at, due) in due {
            if at != Nanos::NEVER {
                execute.timers.schedule(at, due);
            }
        }
        for id in 0..execute.sessions.len() {
            execute.watch_dead_man(SessionId(id as u32));
        }
    }
}

fn party(image: &PartyImage) -> Party {
    Party {
        order: OrderId(image.order),
        session: SessionId(image.session),
        account: AccountId(image.account),
    }
}

/// What an iceberg order shows at a time and hides; nothing for another.
fn reserve(order: &Order, image: &OrderImage, total: Quantity) -> Result<Reserve> {
    let reserve = Reserve {
        display: Quantity(image.display),
        hidden: Quantity(image.hidden),
    };
    let fits = match order.flags.contains(ICEBERG) {
        true => {
            let display = reserve.display;
            check_parts(display, total).is_ok() && order.leaves <= display
        }
        false => reserve == Reserve::default(),
    };
    ensure(fits, "what an order shows is out of range")?;
    Ok(reserve)
}

/// What an order is held at, if that is another price than its own: one that is no better.
fn held(order: &Order, image: &OrderImage, terms: &Terms) -> Result<Option<Price>> {
    let held = Price(image.held);
    if !order.flags.contains(HELD) {
        ensure(held == Price(0), "an order is held at two prices")?;
        return Ok(None);
    }
    let in_range = held.0 > 0 && held <= terms.price_cap;
    let no_better = signed(order.side, held.0) >= signed(order.side, order.price.0);
    ensure(
        in_range && no_better,
        "an order is held at too good a price",
    )?;
    Ok(Some(held))
}

/// How an instrument trades; the orders of a call are not counted yet.
fn trading(image: &TradingImage) -> Result<Trading> {
    let [call_start, uncross, closing_call, closing_uncross] = image.day.map(Millis);
    let calendar = Calendar {
        day: (image.day != [0; 4]).then_some(Day {
            call_start,
            uncross,
            closing_call,
            closing_uncross,
        }),
        random_end: Millis(image.random_end_ms),
        collar: PartsPerMillion(image.collar_ppm),
        allocation: code::<Allocation>(image.allocation, "an allocation is none")?,
    };
    let phase = code::<Phase>(image.phase, "a phase is none")?;
    let collects = Trading::collects(phase);
    ensure(
        collects == image.call.is_some(),
        "a call is in the wrong phase",
    )?;
    let call = image.call.as_ref().map(restored_call).transpose()?;

    Ok(Trading {
        calendar,
        phase,
        due: Nanos(image.due),
        call: call.map(Box::new),
        guard: image.guard.as_ref().map(|guard| Box::new(restored(guard))),
    })
}

fn restored_call(image: &CallImage) -> Result<Call> {
    let [quantity, buy_surplus, sell_surplus] = image.told.map(Quantity);
    Ok(Call {
        reference: Price(image.reference),
        low: Price(image.low),
        high: Price(image.high),
        drawn: image.drawn,
        reopening: Reopening::of(image.reopening).ok_or(SnapshotError::Contradiction(
            "how a halt ends is not one of the ways",
        ))?,
        unpriced: BySide::default(),
        told: Outlook {
            price: Price(image.told_price),
            quantity,
            buy_surplus,
            sell_surplus,
        },
        tell_at: Nanos(image.tell_at),
    })
}

fn restored(image: &GuardImage) -> Guard {
    Guard {
        breaker: image.breaker.as_ref().map(restored_breaker),
        band: image.band.as_ref().map(|band| PriceBand {
            width: PartsPerMillion(band.width_ppm),
            window: window(&band.seconds),
            state: LimitState::resume(band.since.map(Nanos)),
            told: band.told.map(|(low, high, pauses_at)| Told {
                band: Band {
                    low: Price(low),
                    high: Price(high),
                },
                pauses_at: Nanos(pauses_at),
            }),
            look_at: Nanos(band.look_at),
        }),
    }
}

fn window(seconds: &[SecondImage]) -> Window {
    Window::of(seconds.iter().map(|second| Second {
        number: second.number,
        low: Price(second.low),
        high: Price(second.high),
        sum: second.sum,
        count: second.count,
    }))
}

fn restored_breaker(image: &BreakerImage) -> CircuitBreaker {
    let past = image.intervals.iter();
    let intervals = Intervals {
        running: image.running.as_ref().map(|running| Running {
            end: Nanos(running.end),
            value: running.value,
            lots: running.lots,
            trades: running.trades,
            last: Price(running.last),
        }),
        past: past
            .map(|(end, price)| (Nanos(*end), Price(*price)))
            .collect(),
    };
    CircuitBreaker {
        threshold: PartsPerMillion(image.threshold_ppm),
        linked: InstrumentId(image.linked),
        seen: Breaker {
            window: window(&image.seconds),
            intervals,
        },
    }
}

fn terms(image: &TermsImage) -> Result<Terms> {
    ensure(image.tick > 0, "a tick is not above zero")?;
    Ok(Terms {
        kind: code::<ContractKind>(image.kind, "a kind of contract is none")?,
        hours: Hours(image.hours),
        tick: Price(image.tick),
        ticks: Divisor::new(image.tick.cast_unsigned()),
        price_cap: Price(image.price_cap),
        position_cap: Quantity(image.position_cap),
        initial_margin: Money(image.initial_margin),
        quantity_max: Quantity(image.quantity_max),
        notional_max: Money(image.notional_max),
        collar: PartsPerMillion(image.collar_ppm),
        protection: PartsPerMillion(image.protection_ppm),
        reference_price: Price(image.reference_price),
        delivery_start: Nanos(image.delivery_start),
        last_trade_at: Nanos(image.last_trade_at),
    })
}
