//! Orders that ask for more than a `NewOrder` can say.
//!
//! Always holds: what is asked for is mostly served, and now and then nonsense.

use exahour_wire::codes::{
    OrderFlags, OrderType, PegReference, Permissions, Raw, Side, TimeInForce,
};
use exahour_wire::ids::ClientOrderId;
use exahour_wire::limits::PEGGED_MAX;
use exahour_wire::message::Message;
use exahour_wire::orders::{NewAdvancedOrder, NewOrder};
use exahour_wire::units::{Nanos, Price, Quantity};

use super::dice::Dice;
use super::market::Market;
use super::realistic;

/// An order that asks for more, or could.
pub(super) fn new_order(market: &mut Market, dice: &mut Dice, now: Nanos) -> Vec<u8> {
    let mut plain = realistic::new_order(market, dice, now);
    let asks = |dice: &mut Dice| u64::from(dice.below(50) == 0);
    let peg = dice
        .percent(30)
        .then(|| make_pegged(&mut plain, market, dice));
    let (stop_price, stop_limit) = match dice.below(100) {
        _ if peg.is_some() => (Price::NONE, Price::NONE),
        0..30 => (make_stop(&mut plain, market, dice), Price::NONE),
        30..60 => make_one_cancels_other(&mut plain, market, dice),
        60 => (Price(1), Price::NONE),
        61 => (Price::NONE, Price(1)),
        _ => (Price::NONE, Price::NONE),
    };
    let unmarked = stop_price == Price::NONE && peg.is_none();
    let side = plain.side.decode().filter(|_| dice.percent(15));
    let name = match side {
        Some(side) => ClientOrderId::of_quote(plain.instrument, side),
        None => plain.client_order_id,
    };
    NewAdvancedOrder {
        session: plain.session,
        sequence: plain.sequence,
        client_order_id: name,
        price: plain.price,
        quantity: plain.quantity,
        expire_at: plain.expire_at,
        account: plain.account,
        instrument: plain.instrument,
        side: plain.side,
        order_type: plain.order_type,
        time_in_force: plain.time_in_force,
        self_trade_prevention: plain.self_trade_prevention,
        flags: plain.flags,
        peg: match peg {
            Some((reference, _)) => reference,
            None => Raw::new(asks(dice) as u8),
        },
        stop_price: match dice.percent(1) {
            true => Price(dice.below(50) as i64),
            false => stop_price,
        },
        display_quantity: match unmarked && dice.percent(80) {
            true => Quantity(dice.between(1, plain.quantity.0.clamp(1, 9) + 1)),
            false => Quantity(asks(dice)),
        },
        minimum_quantity: match dice.percent(if unmarked { 60 } else { 3 }) {
            true => Quantity(dice.between(1, plain.quantity.0.clamp(1, 9) + 1)),
            false => Quantity(0),
        },
        peg_offset: peg.map_or(Price(asks(dice) as i64), |(_, offset)| offset),
        stop_limit,
        ..NewAdvancedOrder::blank()
    }
    .bytes()
    .to_vec()
}

/// More pegged orders of one contract than it may have.
pub(super) fn crowd(market: &mut Market, dice: &mut Dice) -> Vec<Vec<u8>> {
    let Some(known) = dice.try_pick(&market.listed()) else {
        return Vec::new();
    };
    let tick = known.definition.tick.0;
    let mut records = Vec::new();
    for _ in 0..PEGGED_MAX + 40 {
        let (session, sequence) = realistic::sender(market, dice, Permissions::TRADE);
        let account = realistic::account_of(session.participant, dice);
        let command = NewAdvancedOrder {
            session: session.id,
            sequence,
            client_order_id: market.fresh_name(),
            price: Price(known.mid * tick),
            quantity: Quantity(1),
            account,
            instrument: known.definition.instrument,
            side: dice.pick(&[Side::Buy, Side::Sell]).into(),
            order_type: OrderType::Pegged.into(),
            time_in_force: TimeInForce::GoodTillCancelled.into(),
            self_trade_prevention: session.prevention.into(),
            peg: PegReference::Primary.into(),
            stop_price: Price::NONE,
            stop_limit: Price::NONE,
            peg_offset: Price(tick * dice.below(3) as i64),
            ..NewAdvancedOrder::blank()
        };
        records.push(command.bytes().to_vec());
    }
    records
}

/// Lets an order last that lives for a moment or an auction, mostly.
fn make_last(plain: &mut NewOrder, dice: &mut Dice) {
    let brief = [
        TimeInForce::ImmediateOrCancel,
        TimeInForce::FillOrKill,
        TimeInForce::GoodForAuction,
    ];
    if brief.map(Raw::from).contains(&plain.time_in_force) && dice.percent(95) {
        plain.time_in_force = TimeInForce::GoodTillCancelled.into();
    }
}

/// Makes a pegged order of an order, and gives what it moves with and how far from it.
fn make_pegged(
    plain: &mut NewOrder,
    market: &Market,
    dice: &mut Dice,
) -> (Raw<PegReference>, Price) {
    make_last(plain, dice);
    plain.order_type = OrderType::Pegged.into();
    if dice.percent(98) {
        plain.flags = OrderFlags::NONE;
    }
    let reference = match dice.percent(3) {
        true => Raw::new(dice.below(5) as u8),
        false => dice
            .pick(&[
                PegReference::Primary,
                PegReference::Market,
                PegReference::Midpoint,
            ])
            .into(),
    };
    let Some(known) = market.instruments.get(&plain.instrument.0).copied() else {
        return (reference, Price(0));
    };
    let tick = known.definition.tick.0;
    let near = realistic::price_near(&known, dice);
    // Limits that bind and such that hardly ever do.
    let room = tick * dice.below(12) as i64;
    plain.price = match plain.side == Side::Buy.into() {
        true => Price(near.0 + room),
        false => Price((near.0 - room).max(tick)),
    };
    if dice.percent(1) {
        plain.price = Price::NONE;
    }
    let least = u64::from(reference == PegReference::Market.into() && dice.percent(97));
    let ticks = dice.between(least, least + 3) as i64;
    (reference, Price(ticks * tick + i64::from(dice.percent(1))))
}

/// Makes a stop order of an order, mostly near the market, and gives its stop price.
fn make_stop(plain: &mut NewOrder, market: &Market, dice: &mut Dice) -> Price {
    let limited = dice.percent(50);
    let_live(plain, dice);
    plain.order_type = match limited {
        true => OrderType::StopLimit.into(),
        false => OrderType::Stop.into(),
    };
    let known = market.instruments.get(&plain.instrument.0).copied();
    let Some(known) = known else {
        return Price(1);
    };
    plain.price = match limited {
        true => realistic::price_near(&known, dice),
        false if dice.percent(98) => Price::NONE,
        false => plain.price,
    };
    if !limited && dice.percent(95) {
        plain.flags = OrderFlags::NONE;
    }
    realistic::price_near(&known, dice)
}

/// Mostly has an order live until a trade can elect it.
fn let_live(plain: &mut NewOrder, dice: &mut Dice) {
    let short = [
        TimeInForce::ImmediateOrCancel,
        TimeInForce::FillOrKill,
        TimeInForce::GoodForAuction,
    ];
    if short.map(Raw::from).contains(&plain.time_in_force) && dice.percent(95) {
        plain.time_in_force = TimeInForce::GoodTillCancelled.into();
    }
}

/// Makes a one-cancels-other order of an order, mostly with the market between its two legs, and gives its
/// stop price and its limit then.
fn make_one_cancels_other(
    plain: &mut NewOrder,
    market: &Market,
    dice: &mut Dice,
) -> (Price, Price) {
    let_live(plain, dice);
    plain.order_type = OrderType::OneCancelsOther.into();
    if dice.percent(95) {
        plain.flags = OrderFlags::NONE;
    }
    let known = market.instruments.get(&plain.instrument.0).copied();
    let Some(known) = known else {
        return (Price(1), Price::NONE);
    };
    let [one, other] = [(); 2].map(|()| realistic::price_near(&known, dice));
    let (low, high) = (one.min(other), one.max(other));
    let buys = plain.side == Side::Buy.into();
    let (limit, stop_price) = match buys != dice.percent(3) {
        true => (low, high),
        false => (high, low),
    };
    plain.price = limit;
    let stop_limit = match dice.percent(50) {
        true => Price::NONE,
        false => realistic::price_near(&known, dice),
    };
    (stop_price, stop_limit)
}
