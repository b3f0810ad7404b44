//! Chapter 5: what a new order must pass before it is accepted.
//!
//! Called by `admission`; a replace shares the checks from the collar on.
//!
//! Always holds: checks run in the order of the rulebook and change nothing.

use exahour_wire::codes::{
    OrderFlags, OrderType, PegReference, Permissions, Phase, Scope, SelfTradePrevention, Side,
    TimeInForce,
};
use exahour_wire::events::OrderAccepted;
use exahour_wire::ids::{
    AccountId, ClientOrderId, InstrumentId, OrderId, ParticipantId, SessionId,
};
use exahour_wire::message::Message;
use exahour_wire::orders::{NewAdvancedOrder, NewOrder};
use exahour_wire::reject::Reject;
use exahour_wire::units::{Nanos, Price, Quantity};

use crate::admission::{Sender, ensure};
use crate::ledger::{Open, lock, lots_open};
use crate::pegs::lawful_peg;
use crate::twin::{Instrument, Order, OtherLeg, Twin, position_cap};

const MILLION: i128 = 1_000_000;

/// The codes of an order, once they are known to mean something.
struct Codes {
    side: Side,
    order_type: OrderType,
    time_in_force: TimeInForce,
    prevention: SelfTradePrevention,
}

impl Codes {
    fn at_once(&self) -> bool {
        matches!(
            self.time_in_force,
            TimeInForce::ImmediateOrCancel | TimeInForce::FillOrKill
        )
    }
}

/// A number of lots that was asked for, if it was.
fn asked(lots: Quantity) -> Option<u64> {
    (lots.0 > 0).then_some(lots.0)
}

impl Twin {
    /// `NewOrder`, which asks for nothing beyond.
    pub(crate) fn new_order(&mut self, sender: &Sender, command: &NewOrder) -> Result<(), Reject> {
        let nothing_beyond = NewAdvancedOrder {
            stop_price: Price::NONE,
            stop_limit: Price::NONE,
            ..NewAdvancedOrder::blank()
        };
        self.enter_order(sender, command, &nothing_beyond)
    }

    /// `NewAdvancedOrder`: what a `NewOrder` says, and what it asks for beyond.
    pub(crate) fn new_advanced_order(
        &mut self,
        sender: &Sender,
        command: &NewAdvancedOrder,
    ) -> Result<(), Reject> {
        self.enter_order(sender, &command.plain(), command)
    }

    /// The checks in order, then the order is accepted and takes its place.
    fn enter_order(
        &mut self,
        sender: &Sender,
        command: &NewOrder,
        beyond: &NewAdvancedOrder,
    ) -> Result<(), Reject> {
        self.ensure_may_trade(sender)?; // 1
        let participant = self.participant_of(sender);
        let instrument = self.known_instrument(command.instrument)?; // 2
        self.ensure_account_of(command.account, participant)?; // 3
        let stopped =
            self.is_stopped_sender(sender) || self.is_stopped(Scope::Account, command.account.0);
        ensure(!stopped, Reject::KillSwitchEngaged)?; // 4
        let codes = known_codes(sender, command)?; // 5
        let is_stop = [OrderType::Stop, OrderType::StopLimit].contains(&codes.order_type);
        let both = codes.order_type == OrderType::OneCancelsOther;
        let is_pegged = codes.order_type == OrderType::Pegged;
        ensure_served(beyond, is_stop || both, both, is_pegged)?;
        ensure_quantity(instrument, command.quantity)?; // 6
        let display = asked(beyond.display_quantity);
        if let Some(display) = display {
            let types = [OrderType::Limit, OrderType::MarketToLimit];
            let rests = types.contains(&codes.order_type) && !codes.at_once();
            let fits = display <= command.quantity.0 && command.quantity.0 <= 100 * display;
            ensure(rests && fits, Reject::DisplayInvalid)?;
        }
        let minimum = asked(beyond.minimum_quantity);
        let waits = command.flags.contains(OrderFlags::POST_ONLY);
        if let Some(minimum) = minimum {
            ensure(minimum <= command.quantity.0, Reject::MinimumInvalid)?;
            ensure(!waits, Reject::MinimumInvalid)?;
        }
        match codes.order_type {
            OrderType::Limit
            | OrderType::StopLimit
            | OrderType::OneCancelsOther
            | OrderType::Pegged => {
                ensure_limit(instrument, command.price)?; // 7
            }
            _ => ensure(command.price == Price::NONE, Reject::PriceOutOfRange)?,
        }
        let stop = (is_stop || both).then_some(beyond.stop_price);
        if let Some(stop) = stop {
            ensure_limit(instrument, stop).map_err(|_| Reject::StopPriceInvalid)?;
        }
        if both {
            ensure_two_sides(codes.side, command.price.0, beyond.stop_price.0)?;
            if beyond.stop_limit != Price::NONE {
                let checked = ensure_limit(instrument, beyond.stop_limit);
                checked.map_err(|_| Reject::StopLimitInvalid)?;
            }
        }
        let peg = match is_pegged {
            true => Some(lawful_peg(instrument, beyond)?),
            false => None,
        };
        let dated = codes.time_in_force == TimeInForce::GoodTillDate;
        let date_fits = match dated {
            true => command.expire_at > self.now,
            false => command.expire_at == Nanos(0),
        };
        ensure(date_fits, Reject::ExpireTimeInvalid)?; // 8
        ensure(!instrument.expired, Reject::InstrumentClosed)?; // 9
        ensure_phase(instrument, codes.time_in_force)?;
        let at_once = minimum.is_some();
        ensure(
            !at_once || instrument.call.is_none(),
            Reject::ImmediateInCall,
        )?;
        let named = self.order_named(sender.session, command.client_order_id);
        ensure(named.is_none(), Reject::DuplicateClientOrderId)?; // 10
        let limit = match codes.order_type {
            OrderType::Limit | OrderType::OneCancelsOther => {
                ensure_collar(instrument, command.price.0)?; // 11
                command.price.0
            }
            OrderType::MarketToLimit => {
                ensure(instrument.call.is_none(), Reject::PriceUnknownInCall)?;
                let met = instrument.best(codes.side.opposite());
                let met = met.ok_or(Reject::NothingToMeet)?;
                ensure_collar(instrument, met)?;
                met
            }
            OrderType::StopLimit => {
                ensure_collar_around(instrument, command.price.0, beyond.stop_price.0)?;
                command.price.0
            }
            OrderType::Pegged => {
                ensure_collar_around(instrument, command.price.0, instrument.reference())?;
                command.price.0
            }
            OrderType::Stop => protected_from(instrument, codes.side, beyond.stop_price.0),
            _ => protected_limit(instrument, codes.side),
        };
        let limit = match is_stop || is_pegged {
            true => limit,
            false => instrument.within_band(codes.side, limit, self.now),
        };
        let other = both.then(|| other_leg(instrument, codes.side, beyond));
        let other = other.transpose()?;
        let dearest = match (other, codes.side) {
            (None, _) => limit,
            (Some(other), Side::Buy) => other.limit.max(limit),
            (Some(other), Side::Sell) => other.limit.min(limit),
        };
        ensure_notional(instrument, dearest, command.quantity.0)?; // 12
        let open = Open {
            side: codes.side,
            limit: dearest,
            leaves: command.quantity.0,
        };
        let before = self.open_orders(command.instrument, command.account);
        let after = [before.as_slice(), &[open]].concat();
        self.ensure_position_limit(command.instrument, command.account, &after, open.side)?; // 13
        self.ensure_funds(command.instrument, command.account, &before, &after)?; // 14
        ensure(self.orders.len() < self.orders_max, Reject::TooManyOrders)?; // 15
        if is_pegged {
            self.ensure_room_for_pegged(command.instrument, participant)?; // 16
        }
        let order = self.accept(command, participant, &codes, (limit, display));
        if let Some(order) = self.orders.get_mut(&order) {
            order.stop = stop.filter(|_| is_stop).map(|stop| stop.0);
            order.other = other;
            order.peg = peg;
        }
        if stop.is_some() {
            let stop_limit = if both {
                beyond.stop_limit
            } else {
                command.price
            };
            self.enter_stop(order, stop_limit);
        }
        if is_pegged {
            if let Some(instrument) = self.instruments.get_mut(&command.instrument) {
                instrument.pegged.push(order);
            }
        } else if !is_stop {
            self.place(order, beyond.minimum_quantity.0);
        }
        Ok(())
    }

    fn accept(
        &mut self,
        command: &NewOrder,
        participant: ParticipantId,
        codes: &Codes,
        (limit, display): (i64, Option<u64>),
    ) -> OrderId {
        let id = self.next_order_id();
        let expires_at = match codes.time_in_force {
            TimeInForce::Day => Some(next_midnight(self.now)),
            TimeInForce::GoodTillDate => Some(command.expire_at),
            _ => None,
        };
        let order = Order {
            id,
            client_order_id: command.client_order_id,
            session: command.session,
            participant,
            account: command.account,
            instrument: command.instrument,
            side: codes.side,
            order_type: codes.order_type,
            time_in_force: codes.time_in_force,
            prevention: codes.prevention,
            post_only: command.flags.contains(OrderFlags::POST_ONLY),
            limit,
            traded: 0,
            leaves: command.quantity.0,
            display,
            hidden: 0,
            expires_at,
            stop: None,
            other: None,
            peg: None,
        };
        self.orders.insert(id, order);
        let event = OrderAccepted {
            client_order_id: command.client_order_id,
            order: id,
            price: Price(limit),
            quantity: command.quantity,
            account: command.account,
            instrument: command.instrument,
            side: command.side,
            order_type: command.order_type,
            time_in_force: command.time_in_force,
            flags: command.flags,
            client_sequence: command.sequence,
            ..OrderAccepted::blank()
        };
        self.report(command.session, event);
        id
    }

    fn next_order_id(&mut self) -> OrderId {
        let slot = self.free_slots.pop().unwrap_or_else(|| {
            self.slots_used += 1;
            self.slots_used - 1
        });
        self.counts.orders += 1;
        OrderId((self.counts.orders << 24) | slot)
    }

    /// Orders may be sent with the permission to trade, and never by the exchange.
    pub(crate) fn ensure_may_trade(&self, sender: &Sender) -> Result<(), Reject> {
        let may = !sender.is_exchange() && self.has(sender, Permissions::TRADE);
        ensure(may, Reject::NotPermitted)
    }

    pub(crate) fn known_instrument(&self, id: InstrumentId) -> Result<&Instrument, Reject> {
        self.instruments.get(&id).ok_or(Reject::UnknownInstrument)
    }

    pub(crate) fn ensure_account_of(
        &self,
        account: AccountId,
        participant: ParticipantId,
    ) -> Result<(), Reject> {
        let known = self.accounts.get(&account);
        let own = known.is_some_and(|account| account.participant == participant);
        ensure(own, Reject::UnknownAccount)
    }

    pub(crate) fn is_stopped(&self, scope: Scope, target: u32) -> bool {
        self.stopped.contains_key(&(scope, target))
    }

    /// Whether a kill switch covers the sender's session or participant.
    pub(crate) fn is_stopped_sender(&self, sender: &Sender) -> bool {
        self.is_stopped(Scope::Session, sender.session.0)
            || self.is_stopped(Scope::Participant, self.participant_of(sender).0)
    }

    /// The live order of a session with this client order id.
    pub(crate) fn order_named(&self, session: SessionId, name: ClientOrderId) -> Option<&Order> {
        let mut orders = self.orders.values();
        orders.find(|order| order.session == session && order.client_order_id == name)
    }

    /// Rule 5.13, for the side of the order only.
    pub(crate) fn ensure_position_limit(
        &self,
        instrument: InstrumentId,
        account: AccountId,
        after: &[Open],
        side: Side,
    ) -> Result<(), Reject> {
        let cap = position_cap(&self.instruments[&instrument].definition);
        let set = self.position_limits.get(&(instrument, account));
        let limit = set.copied().unwrap_or(cap).min(cap);
        let position = self.position(instrument, account);
        let at_worst = match side {
            Side::Buy => position + lots_open(after, Side::Buy),
            Side::Sell => lots_open(after, Side::Sell) - position,
        };
        ensure(at_worst <= limit, Reject::PositionLimit)
    }

    /// Rule 5.14.
    pub(crate) fn ensure_funds(
        &self,
        instrument: InstrumentId,
        account: AccountId,
        before: &[Open],
        after: &[Open],
    ) -> Result<(), Reject> {
        let contract = &self.instruments[&instrument];
        let position = self.position(instrument, account);
        let growth = lock(contract, position, after) - lock(contract, position, before);
        let covered = growth <= 0 || growth <= self.available(account);
        ensure(covered, Reject::InsufficientFunds)
    }
}

/// Rule 5.5.
fn known_codes(sender: &Sender, command: &NewOrder) -> Result<Codes, Reject> {
    let side = command.side.decode().ok_or(Reject::InvalidSide)?;
    let order_type = command
        .order_type
        .decode()
        .ok_or(Reject::InvalidOrderType)?;
    let is_stop = [
        OrderType::Stop,
        OrderType::StopLimit,
        OrderType::OneCancelsOther,
    ]
    .contains(&order_type);
    let is_advanced = is_stop || order_type == OrderType::Pegged;
    let others = [
        OrderType::Market,
        OrderType::Limit,
        OrderType::MarketToLimit,
    ];
    let served = others.contains(&order_type) || is_advanced && sender.template() == 108;
    ensure(served, Reject::InvalidOrderType)?;
    let time_in_force = command
        .time_in_force
        .decode()
        .ok_or(Reject::InvalidTimeInForce)?;
    let prevention = command
        .self_trade_prevention
        .decode()
        .ok_or(Reject::InvalidSelfTradePrevention)?;
    let at_once = matches!(
        time_in_force,
        TimeInForce::ImmediateOrCancel | TimeInForce::FillOrKill
    );
    let market = order_type == OrderType::Market;
    let for_auction = time_in_force == TimeInForce::GoodForAuction;
    let lives = match (market, is_advanced) {
        (true, _) => at_once || for_auction,
        (_, true) => !at_once && !for_auction,
        _ => true,
    };
    ensure(lives, Reject::InvalidTimeInForce)?;
    ensure(!command.flags.has_unknown(), Reject::InvalidFlags)?;
    let post_only = command.flags.contains(OrderFlags::POST_ONLY);
    let may_rest_only = [OrderType::Limit, OrderType::StopLimit].contains(&order_type) && !at_once;
    ensure(!post_only || may_rest_only, Reject::InvalidFlags)?;
    Ok(Codes {
        side,
        order_type,
        time_in_force,
        prevention,
    })
}

/// Rule 5.5, the end: what an order asks for beyond a plain one.
fn ensure_served(
    beyond: &NewAdvancedOrder,
    has_stop: bool,
    both: bool,
    is_pegged: bool,
) -> Result<(), Reject> {
    let fits = has_stop || beyond.stop_price == Price::NONE;
    ensure(fits, Reject::NotSupported)?;
    let one_limit = both || beyond.stop_limit == Price::NONE;
    ensure(one_limit, Reject::NotSupported)?;
    let whole = !has_stop && !is_pegged || beyond.minimum_quantity.0 == 0;
    ensure(whole, Reject::NotSupported)?;
    let unpegged = beyond.peg == PegReference::None.into() && beyond.peg_offset == Price(0);
    ensure(is_pegged || unpegged, Reject::NotSupported)
}

/// Rule 12.7: the market lies between limit and stop price.
pub(crate) fn ensure_two_sides(side: Side, limit: i64, stop: i64) -> Result<(), Reject> {
    let apart = match side {
        Side::Buy => limit < stop,
        Side::Sell => stop < limit,
    };
    ensure(apart, Reject::StopPriceInvalid)
}

/// Rule 12.7: what a one-cancels-other order is from its stop price on.
fn other_leg(
    instrument: &Instrument,
    side: Side,
    beyond: &NewAdvancedOrder,
) -> Result<OtherLeg, Reject> {
    let stop = beyond.stop_price.0;
    if beyond.stop_limit == Price::NONE {
        return Ok(OtherLeg {
            stop,
            order_type: OrderType::Stop,
            limit: protected_from(instrument, side, stop),
        });
    }
    ensure_collar_around(instrument, beyond.stop_limit.0, stop)?;
    Ok(OtherLeg {
        stop,
        order_type: OrderType::StopLimit,
        limit: beyond.stop_limit.0,
    })
}

/// Rule 5.6.
pub(crate) fn ensure_quantity(instrument: &Instrument, lots: Quantity) -> Result<(), Reject> {
    ensure(lots.0 > 0, Reject::QuantityZero)?;
    ensure(
        lots <= instrument.definition.quantity_max,
        Reject::QuantityTooLarge,
    )
}

/// Rule 5.7, for a limit.
pub(crate) fn ensure_limit(instrument: &Instrument, price: Price) -> Result<(), Reject> {
    let in_range = price.0 > 0 && price.0 <= instrument.price_cap();
    ensure(in_range, Reject::PriceOutOfRange)?;
    ensure(price.0 % instrument.tick() == 0, Reject::PriceNotOnTick)
}

/// Rule 9.3: whether the phase takes an order that lives so long.
pub(crate) fn ensure_phase(
    instrument: &Instrument,
    time_in_force: TimeInForce,
) -> Result<(), Reject> {
    ensure(instrument.phase != Phase::Closed, Reject::MarketClosed)?;
    match time_in_force {
        TimeInForce::ImmediateOrCancel | TimeInForce::FillOrKill => {
            ensure(instrument.call.is_none(), Reject::ImmediateInCall)
        }
        TimeInForce::GoodForAuction => ensure(instrument.call.is_some(), Reject::NoCall),
        _ => Ok(()),
    }
}

/// Rule 5.11, for a limit.
pub(crate) fn ensure_collar(instrument: &Instrument, limit: i64) -> Result<(), Reject> {
    ensure_collar_around(instrument, limit, instrument.reference())?;
    let in_range = instrument.call.is_none_or(|call| call.admits(limit));
    ensure(in_range, Reject::PriceOutsideCollar)
}

/// The same around any price, whatever call is under way: rule 5.11.
pub(crate) fn ensure_collar_around(
    instrument: &Instrument,
    limit: i64,
    reference: i64,
) -> Result<(), Reject> {
    let collar = i128::from(instrument.definition.collar.0);
    let reference = i128::from(reference);
    let distance = (i128::from(limit) - reference).abs();
    let inside = collar == 0 || distance * MILLION <= reference * collar;
    ensure(inside, Reject::PriceOutsideCollar)
}

/// Rule 5.12.
pub(crate) fn ensure_notional(
    instrument: &Instrument,
    limit: i64,
    lots: u64,
) -> Result<(), Reject> {
    let value = i128::from(limit) * i128::from(lots) * instrument.hours();
    let most = i128::from(instrument.definition.notional_max.0);
    ensure(value <= most, Reject::NotionalTooLarge)
}

/// Rule 5.11, for a market order: the limit that it becomes.
fn protected_limit(instrument: &Instrument, side: Side) -> i64 {
    if let Some(call) = &instrument.call {
        return call.worst(side);
    }
    let best = instrument.best(side.opposite());
    protected_from(instrument, side, best.unwrap_or(instrument.reference()))
}

/// The worst price of an order without a limit that starts from a price.
fn protected_from(instrument: &Instrument, side: Side, start: i64) -> i64 {
    let protection = i128::from(instrument.definition.protection.0);
    let room = (i128::from(start) * protection / MILLION) as i64;
    let tick = instrument.tick();
    match side {
        Side::Buy => {
            let far = start + room;
            (far - far % tick).min(instrument.price_cap())
        }
        Side::Sell => {
            let far = start - room;
            let beyond_tick = far % tick;
            let up = if beyond_tick == 0 {
                0
            } else {
                tick - beyond_tick
            };
            (far + up).max(tick)
        }
    }
}

/// The next UTC midnight above a time.
fn next_midnight(time: Nanos) -> Nanos {
    let days = time.0 / Nanos::DAY.0;
    Nanos((days + 1).saturating_mul(Nanos::DAY.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_order_entered_at_midnight_lives_a_whole_day() {
        assert_eq!(next_midnight(Nanos(0)), Nanos::DAY);
        assert_eq!(next_midnight(Nanos(Nanos::DAY.0 - 1)), Nanos::DAY);
        assert_eq!(next_midnight(Nanos::DAY), Nanos(2 * Nanos::DAY.0));
    }
}
