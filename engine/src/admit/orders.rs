//! Admission of order entry: everything about an order that needs neither book nor money.
//!
//! Always holds: the checks run in the order of the rulebook, section 5, because the first that
//! applies is the answer.

use exahour_wire::codes::{
    OrderFlags, OrderType, PegReference, Permissions, Scope, Side, TimeInForce,
};
use exahour_wire::ids::{AccountId, InstrumentId, ParticipantId, SessionId};
use exahour_wire::orders::{
    CancelOrder, MassCancel, NewAdvancedOrder, NewOrder, OrderStatusRequest, ReplaceOrder,
};
use exahour_wire::reject::Reject;
use exahour_wire::units::{Nanos, Price, Quantity};

use super::registry::Registry;
use super::sessions::{Sender, Sessions};
use crate::execute::{check_legs, check_parts};
use crate::terms::Terms;

#[inline]
pub(super) fn may_trade(sender: &Sender) -> Result<(), Reject> {
    let allowed =
        sender.session != SessionId::NONE && sender.permissions.contains(Permissions::TRADE);
    if allowed {
        Ok(())
    } else {
        Err(Reject::NotPermitted)
    }
}

#[inline]
fn instrument(registry: &Registry, id: InstrumentId) -> Result<&Terms, Reject> {
    registry.instrument(id).ok_or(Reject::UnknownInstrument)
}

#[inline]
pub(super) fn killed(registry: &Registry, sender: &Sender) -> bool {
    sender.killed
        || registry
            .participant(sender.participant)
            .is_some_and(|participant| participant.kill_switch.stops())
}

#[inline]
pub(super) fn check_quantity(terms: &Terms, quantity: Quantity) -> Result<(), Reject> {
    if quantity.0 == 0 {
        return Err(Reject::QuantityZero);
    }
    if quantity > terms.quantity_max {
        return Err(Reject::QuantityTooLarge);
    }
    Ok(())
}

/// Checks an order, and with it what it asks for beyond a plain one, if anything.
#[inline]
pub(super) fn check_new(
    registry: &Registry,
    sender: Sender,
    order: &NewOrder,
    advanced: Option<&NewAdvancedOrder>,
    now: Nanos,
) -> Result<(), Reject> {
    may_trade(&sender)?;
    let terms = instrument(registry, order.instrument)?;
    let account = registry
        .account(order.account)
        .filter(|account| account.participant == sender.participant)
        .ok_or(Reject::UnknownAccount)?;
    if account.kill_switch.stops() || killed(registry, &sender) {
        return Err(Reject::KillSwitchEngaged);
    }
    let side = order.side.decode().ok_or(Reject::InvalidSide)?;
    let order_type = order.order_type.decode().ok_or(Reject::InvalidOrderType)?;
    let (stop, peg) = match order_type {
        OrderType::Market | OrderType::Limit | OrderType::MarketToLimit => (None, None),
        OrderType::Stop | OrderType::StopLimit | OrderType::OneCancelsOther => {
            (Some(advanced.ok_or(Reject::InvalidOrderType)?), None)
        }
        OrderType::Pegged => (None, Some(advanced.ok_or(Reject::InvalidOrderType)?)),
    };
    let lifetime = order
        .time_in_force
        .decode()
        .ok_or(Reject::InvalidTimeInForce)?;
    order
        .self_trade_prevention
        .decode()
        .ok_or(Reject::InvalidSelfTradePrevention)?;
    let immediate = matches!(
        lifetime,
        TimeInForce::ImmediateOrCancel | TimeInForce::FillOrKill
    );
    let for_auction = lifetime == TimeInForce::GoodForAuction;
    let market = order_type == OrderType::Market;
    let lives = match stop.or(peg) {
        Some(_) => !immediate && !for_auction,
        None => !market || immediate || for_auction,
    };
    if !lives {
        return Err(Reject::InvalidTimeInForce);
    }
    let one_limit = matches!(order_type, OrderType::Limit | OrderType::StopLimit);
    let both = order_type == OrderType::OneCancelsOther;
    let post_only = order.flags.contains(OrderFlags::POST_ONLY);
    if order.flags.has_unknown() || post_only && (immediate || !one_limit) {
        return Err(Reject::InvalidFlags);
    }
    check_served(advanced, order_type)?;
    check_quantity(terms, order.quantity)?;
    if let Some(advanced) = advanced {
        let rests = !immediate && matches!(order_type, OrderType::Limit | OrderType::MarketToLimit);
        check_display(advanced.display_quantity, order.quantity, rests)?;
        let minimum = advanced.minimum_quantity;
        if minimum > order.quantity || minimum > Quantity(0) && post_only {
            return Err(Reject::MinimumInvalid);
        }
    }
    if one_limit || both || peg.is_some() {
        terms.check_limit(order.price)?;
    } else if order.price != Price::NONE {
        return Err(Reject::PriceOutOfRange);
    }
    if let Some(stop) = stop {
        let checked = terms.check_limit(stop.stop_price);
        checked.map_err(|_| Reject::StopPriceInvalid)?;
        if both {
            check_stop_leg(terms, side, stop)?;
        }
    }
    if let Some(peg) = peg {
        check_peg(terms, peg)?;
    }
    let dated = match lifetime {
        TimeInForce::GoodTillDate => order.expire_at > now,
        _ => order.expire_at == Nanos(0),
    };
    if dated {
        Ok(())
    } else {
        Err(Reject::ExpireTimeInvalid)
    }
}

/// What a one-cancels-other order says of itself from its stop price on.
fn check_stop_leg(terms: &Terms, side: Side, order: &NewAdvancedOrder) -> Result<(), Reject> {
    check_legs(side, order.price, order.stop_price)?;
    if order.stop_limit == Price::NONE {
        return Ok(());
    }
    let checked = terms.check_limit(order.stop_limit);
    checked.map_err(|_| Reject::StopLimitInvalid)
}

/// Whether an order, if it rests at all, may show so few lots at a time; zero: it shows all.
fn check_display(display: Quantity, total: Quantity, rests: bool) -> Result<(), Reject> {
    if display == Quantity(0) {
        return Ok(());
    }
    if !rests || display > total {
        return Err(Reject::DisplayInvalid);
    }
    check_parts(display, total)
}

/// Whether there is something that a pegged order can move with, and so far from it: at least a tick
/// from the other side, which it would meet otherwise whenever it moves.
fn check_peg(terms: &Terms, peg: &NewAdvancedOrder) -> Result<(), Reject> {
    let offset = peg.peg_offset;
    let nearest = match peg.peg.decode().ok_or(Reject::PegInvalid)? {
        PegReference::None => return Err(Reject::PegInvalid),
        PegReference::Primary | PegReference::Midpoint => Price(0),
        PegReference::Market => terms.tick,
    };
    let on_tick = || terms.ticks.divides(offset.0.cast_unsigned());
    if offset >= nearest && offset <= terms.price_cap && on_tick() {
        Ok(())
    } else {
        Err(Reject::PegInvalid)
    }
}

/// Whether everything that an order asks for is served, and for its type.
#[inline]
fn check_served(advanced: Option<&NewAdvancedOrder>, order_type: OrderType) -> Result<(), Reject> {
    let Some(advanced) = advanced else {
        return Ok(());
    };
    let both = order_type == OrderType::OneCancelsOther;
    let stop = both || matches!(order_type, OrderType::Stop | OrderType::StopLimit);
    let pegged = order_type == OrderType::Pegged;
    let unpegged = advanced.peg == PegReference::None.into() && advanced.peg_offset == Price(0);
    let served = (pegged || unpegged)
        && (stop || advanced.stop_price == Price::NONE)
        && (!stop && !pegged || advanced.minimum_quantity == Quantity(0))
        && (both || advanced.stop_limit == Price::NONE);
    if served {
        Ok(())
    } else {
        Err(Reject::NotSupported)
    }
}

#[inline]
pub(super) fn check_cancel(
    registry: &Registry,
    sender: Sender,
    cancel: &CancelOrder,
) -> Result<(), Reject> {
    may_trade(&sender)?;
    instrument(registry, cancel.instrument).map(|_| ())
}

pub(super) fn check_status(
    registry: &Registry,
    sender: Sender,
    question: &OrderStatusRequest,
) -> Result<(), Reject> {
    may_trade(&sender)?;
    instrument(registry, question.instrument).map(|_| ())
}

#[inline]
pub(super) fn check_replace(
    registry: &Registry,
    sender: Sender,
    replace: &ReplaceOrder,
) -> Result<(), Reject> {
    may_trade(&sender)?;
    let terms = instrument(registry, replace.instrument)?;
    if killed(registry, &sender) {
        return Err(Reject::KillSwitchEngaged);
    }
    check_quantity(terms, replace.quantity)?;
    terms.check_limit(replace.price)
}

pub(super) fn check_dead_man(sender: Sender) -> Result<(), Reject> {
    may_trade(&sender)
}

pub(super) fn check_mass_cancel(
    registry: &Registry,
    sessions: &Sessions,
    sender: Sender,
    command: &MassCancel,
) -> Result<(), Reject> {
    may_trade(&sender)?;
    let own = |participant: ParticipantId| participant == sender.participant;
    let target = command.target;
    match command.scope.decode().ok_or(Reject::InvalidScope)? {
        Scope::Session => sessions
            .find(SessionId(target))
            .filter(|session| own(session.participant))
            .map(|_| ())
            .ok_or(Reject::UnknownSession),
        Scope::Account => registry
            .account(AccountId(target))
            .filter(|account| own(account.participant))
            .map(|_| ())
            .ok_or(Reject::UnknownAccount),
        Scope::Participant if own(ParticipantId(target)) => Ok(()),
        Scope::Participant => Err(Reject::UnknownParticipant),
        Scope::Instrument => instrument(registry, InstrumentId(target)).map(|_| ()),
    }
}
