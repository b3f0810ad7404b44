//! A new order: the checks that need book and money, acceptance, and what comes of it.
//!
//! Always holds: checks run in the order of the rulebook, section 5, from 9; a rejected order leaves
//! no trace but its rejection.

use exahour_wire::codes::{OrderFlags, OrderType, SelfTradePrevention, Side, TimeInForce};
use exahour_wire::events::OrderAccepted;
use exahour_wire::ids::OrderId;
use exahour_wire::message::Message;
use exahour_wire::orders::{NewAdvancedOrder, NewOrder};
use exahour_wire::reject::Reject;
use exahour_wire::units::{Nanos, Price, Quantity};

use super::one_cancels_other::worse;
use super::pegs::lead_of;
use super::{Execute, Instrument};
use crate::batch::EventSink;
use crate::book::{Extent, NO_ORDER, Order, Slot};
use crate::pegs::PEGGED;
use crate::positions::{Change, Position, adverse};
use crate::reporter::Output;
use crate::timers::Due;
use crate::trading::{PARKED, UNPRICED};

impl Execute {
    /// Rejects the order, or accepts it, matches it, and rests what is left.
    #[inline]
    pub(super) fn new_order<S: EventSink>(
        &mut self,
        new: &NewOrder,
        out: &mut Output<'_, S>,
    ) -> Result<(), Reject> {
        let mut instrument = self
            .take_instrument(new.instrument)
            .ok_or(Reject::UnknownInstrument)?;
        let result = self.check_and_enter(&mut instrument, new, None, out);
        self.put_back(instrument);
        result
    }

    /// As [`Execute::new_order`], for one that asks for more.
    #[inline(never)]
    pub(super) fn new_advanced_order<S: EventSink>(
        &mut self,
        new: &NewAdvancedOrder,
        out: &mut Output<'_, S>,
    ) -> Result<(), Reject> {
        let mut instrument = self
            .take_instrument(new.instrument)
            .ok_or(Reject::UnknownInstrument)?;
        let plain = new.plain();
        let result = self.check_and_enter(&mut instrument, &plain, Some(new), out);
        self.put_back(instrument);
        result
    }

    #[inline(always)]
    fn check_and_enter<S: EventSink>(
        &mut self,
        instrument: &mut Instrument,
        new: &NewOrder,
        advanced: Option<&NewAdvancedOrder>,
        out: &mut Output<'_, S>,
    ) -> Result<(), Reject> {
        if instrument.expired {
            return Err(Reject::InstrumentClosed);
        }
        // Admission has decoded all four; the errors only keep this function total.
        let side = new.side.decode().ok_or(Reject::InvalidSide)?;
        let order_type = new.order_type.decode().ok_or(Reject::InvalidOrderType)?;
        let time_in_force = new
            .time_in_force
            .decode()
            .ok_or(Reject::InvalidTimeInForce)?;
        let self_trade_prevention: SelfTradePrevention = new
            .self_trade_prevention
            .decode()
            .ok_or(Reject::InvalidSelfTradePrevention)?;
        instrument.trading.check_entry(time_in_force)?;
        let minimum = advanced.map_or(Quantity(0), |it| it.minimum_quantity);
        if minimum > Quantity(0) && instrument.trading.call.is_some() {
            return Err(Reject::ImmediateInCall);
        }
        let name = self
            .names
            .vacant(&self.orders, new.session, new.client_order_id)
            .ok_or(Reject::DuplicateClientOrderId)?;
        let stop = advanced.and_then(|advanced| stop_of(order_type, advanced));
        let lead = advanced.and_then(|advanced| lead_of(order_type, advanced));
        let price = instrument.limit_of(new.price, order_type, side, stop, out.time)?;
        let beside = instrument.beside(order_type, side, advanced)?;
        let held = beside.map_or(price, |it| worse(side, price, it.limit));
        let found = self.positions.find_again(new.account, new.instrument);
        let change = self.check_risk(instrument, found, new, side, held)?;
        if !self.orders.has_room() {
            return Err(Reject::TooManyOrders);
        }
        if lead.is_some() {
            let participant = self.ledger.account(new.account).participant;
            instrument.check_room_for_pegged(participant, &self.orders)?;
        }
        let position = match found {
            Some(slot) => slot,
            None => self.positions.find_or_make(new.account, new.instrument),
        };
        let expire_at = self.end_of(new, time_in_force, out.time);
        let extent = Extent {
            total: new.quantity,
            expire_at,
        };
        self.commit(position, &change);
        let participant = self.ledger.account(new.account).participant;
        let slot = self.orders.insert(extent, |id| Order {
            id,
            price,
            leaves: new.quantity,
            client_order_id: new.client_order_id,
            next: NO_ORDER,
            previous: NO_ORDER,
            level: 0,
            session: new.session,
            participant,
            position,
            client_hash: 0,
            side,
            time_in_force,
            self_trade_prevention,
            flags: instrument.marked(new.flags, order_type),
        });
        self.names.enter(&mut self.orders, slot, name);
        self.report_accepted(slot, new, out);
        if let Some(advanced) = advanced {
            self.mark_iceberg(slot, advanced.display_quantity);
            self.enter_stop(instrument, slot, advanced, beside, out);
        }
        match lead {
            Some(lead) => self.enter_peg(instrument, slot, lead),
            None if stop.is_none() => self.match_and_rest(instrument, slot, minimum, out),
            None => {}
        }
        Ok(())
    }

    /// Checks value, position limit and funds, and gives what changes of the position with the order in it.
    #[inline(always)]
    fn check_risk(
        &self,
        instrument: &Instrument,
        found: Option<u32>,
        new: &NewOrder,
        side: Side,
        price: Price,
    ) -> Result<Change, Reject> {
        let terms = &instrument.terms;
        let value = price.times(new.quantity, terms.hours);
        if value.is_none_or(|value| value > terms.notional_max) {
            return Err(Reject::NotionalTooLarge);
        }
        let none;
        let position = match found {
            Some(slot) => self.positions.at(slot),
            None => {
                none = Position::new(new.account, new.instrument);
                &none
            }
        };
        let before = (Quantity(0), Price(0));
        self.check_exposure(instrument, position, side, price, before, new.quantity)
    }

    /// Checks position limit and funds for `quantity` lots at `price` in place of `before` lots at
    /// another price, and gives what changes of the position with these in it.
    #[inline(always)]
    pub(super) fn check_exposure(
        &self,
        instrument: &Instrument,
        position: &Position,
        side: Side,
        price: Price,
        (before, price_before): (Quantity, Price),
        quantity: Quantity,
    ) -> Result<Change, Reject> {
        let terms = &instrument.terms;
        let settlement = instrument.settlement;
        let freed = adverse(side, price_before, settlement, before, terms);
        let taken = adverse(side, price, settlement, quantity, terms);
        let (fewer, more) = ((before.0, freed), (quantity.0, taken));
        let change = position.with_open(side, fewer, more, terms, settlement);
        if change.worst > position.limit(terms) {
            return Err(Reject::PositionLimit);
        }
        if change.more > self.ledger.available(position.account).max(0) {
            return Err(Reject::InsufficientFunds);
        }
        Ok(change)
    }

    /// Makes a change that was checked, and since then nothing else was.
    #[inline]
    pub(super) fn commit(&mut self, slot: u32, change: &Change) {
        let position = self.positions.at_mut(slot);
        position.take(change);
        let account = position.account;
        self.ledger.lock(account, change.more);
    }

    /// Reports an order that was entered.
    #[inline]
    fn report_accepted<S: EventSink>(
        &mut self,
        slot: Slot,
        new: &NewOrder,
        out: &mut Output<'_, S>,
    ) {
        let order = self.orders.at(slot);
        let id = order.id;
        let accepted = OrderAccepted {
            client_order_id: order.client_order_id,
            order: id,
            price: order.price,
            quantity: new.quantity,
            account: new.account,
            instrument: new.instrument,
            side: new.side,
            order_type: new.order_type,
            time_in_force: new.time_in_force,
            flags: new.flags,
            client_sequence: new.sequence,
            ..Message::blank()
        };
        if order.time_in_force == TimeInForce::GoodTillDate {
            self.dated += 1;
            self.timers.schedule(new.expire_at, Due::Order(id.0));
            self.shed_timers();
        }
        self.activity(new.session, out.time).accept(new.quantity);
        self.reporter.report(out, new.session, accepted);
    }

    /// When an order that is entered `now` ends; zero where it does not by itself.
    #[inline]
    fn end_of(&mut self, new: &NewOrder, time_in_force: TimeInForce, now: Nanos) -> Nanos {
        match time_in_force {
            TimeInForce::Day => self.arm_day_end(now),
            TimeInForce::GoodTillDate => new.expire_at,
            _ => Nanos(0),
        }
    }

    /// The end of the UTC day of `now`; makes sure that there are timers for it.
    #[inline]
    pub(super) fn arm_day_end(&mut self, now: Nanos) -> Nanos {
        if now >= self.day_end {
            let days = (now.0 / Nanos::DAY.0).saturating_add(1);
            self.day_end = Nanos(days.saturating_mul(Nanos::DAY.0));
            self.timers.schedule(self.day_end, Due::DayEnd);
            self.timers.schedule(self.day_end, Due::ActivityEnd);
        }
        self.day_end
    }

    pub(super) fn shed_timers(&mut self) {
        let (orders, sessions) = (&self.orders, &self.sessions);
        let listed = |id: u32| self.instruments[id as usize].as_deref();
        let live = 1 + self.dated + 5 * self.instruments.len() + 2 * self.sessions.len();
        self.timers.shed(live, |at, due| match due {
            Due::Order(id) => orders.find(OrderId(id)).is_some(),
            Due::SessionCancel(id) => sessions[id as usize].cancel_at == at,
            Due::DeadMan(id) => sessions[id as usize].dead_man.waits_for(at),
            Due::DayEnd | Due::Instrument(_) | Due::ActivityEnd => true,
            Due::Election => self.elect_at == at,
            // An instrument that a command works on is not in its place.
            Due::Phase(id) => listed(id).is_none_or(|it| it.trading.due == at),
            Due::Interval(id) => listed(id).is_none_or(|it| {
                let breaker = it.trading.breaker();
                let running = breaker.and_then(|breaker| breaker.seen.intervals.running);
                running.is_some_and(|running| running.end == at)
            }),
            Due::Indicative(id) => listed(id).is_none_or(|it| {
                let call = it.trading.call.as_ref();
                call.is_some_and(|call| call.tell_at == at)
            }),
            Due::Band(id) => listed(id).is_none_or(|it| {
                let band = it.trading.band();
                band.is_some_and(|band| band.look_at == at)
            }),
        });
    }
}

impl Instrument {
    /// The limit that an order comes with: its own, or what its type makes of the market; in the collar,
    /// and, where it does not wait as a stop order, moved into the price band.
    #[inline(always)]
    fn limit_of(
        &mut self,
        own: Price,
        order_type: OrderType,
        side: Side,
        stop: Option<Price>,
        now: Nanos,
    ) -> Result<Price, Reject> {
        let price = match (order_type, stop) {
            (OrderType::Limit | OrderType::StopLimit | OrderType::OneCancelsOther, _) => own,
            (OrderType::Pegged, _) => return self.limit_of_pegged(own),
            (OrderType::MarketToLimit, _) => self.met_first(side)?,
            (_, None) => self.protected(side),
            (_, Some(stop)) => self.terms.protected(side, stop),
        };
        let outside = match stop {
            None => order_type != OrderType::Market && self.is_out_of_bounds(price),
            Some(_) if order_type == OrderType::Stop => false,
            Some(stop) => self.terms.outside_collar(price, stop),
        };
        if outside {
            return Err(Reject::PriceOutsideCollar);
        }
        Ok(match stop {
            None => self.within_band(side, price, now),
            Some(_) => price,
        })
    }

    /// The limit of a pegged order, which takes no part in a call: in the collar, and not in the band
    /// before it comes.
    #[inline(never)]
    fn limit_of_pegged(&self, own: Price) -> Result<Price, Reject> {
        match self.terms.outside_collar(own, self.reference()) {
            true => Err(Reject::PriceOutsideCollar),
            false => Ok(own),
        }
    }

    /// Whether a limit is further away than the collar or the call under way allows.
    #[inline]
    pub(super) fn is_out_of_bounds(&self, price: Price) -> bool {
        let call = self.trading.call.as_ref();
        call.is_some_and(|call| call.is_outside(price))
            || self.terms.outside_collar(price, self.reference())
    }

    /// The flags of an order, with a mark where it is unpriced, and where it is not in the market.
    #[inline]
    fn marked(&self, flags: OrderFlags, order_type: OrderType) -> OrderFlags {
        match (order_type, &self.trading.call) {
            (OrderType::Market, Some(_)) => OrderFlags(flags.0 | UNPRICED.0),
            (OrderType::Stop, _) => OrderFlags(flags.0 | PARKED.0 | UNPRICED.0),
            (OrderType::StopLimit, _) => OrderFlags(flags.0 | PARKED.0),
            (OrderType::Pegged, _) => OrderFlags(flags.0 | PARKED.0 | PEGGED.0),
            _ => flags,
        }
    }

    /// The best price that an order of this side would meet.
    fn met_first(&self, side: Side) -> Result<Price, Reject> {
        if self.trading.call.is_some() {
            return Err(Reject::PriceUnknownInCall);
        }
        let best = self.book.side(side.opposite()).best();
        best.ok_or(Reject::NothingToMeet)
    }

    /// Where the protection of a market order ends; in a call, where the auction's range does.
    fn protected(&self, side: Side) -> Price {
        if let Some(call) = &self.trading.call {
            return call.worst(side);
        }
        let best = self
            .book
            .side(side.opposite())
            .best()
            .unwrap_or(self.reference());
        self.terms.protected(side, best)
    }
}

/// The stop price of an order of this type, if it has one.
#[inline]
fn stop_of(order_type: OrderType, advanced: &NewAdvancedOrder) -> Option<Price> {
    matches!(order_type, OrderType::Stop | OrderType::StopLimit).then_some(advanced.stop_price)
}
