//! More orders with a stop price than one command may let into the market.

use exahour_wire::codes::{OrderType, Side, TimeInForce};
use exahour_wire::ids::{AccountId, ClientOrderId, InstrumentId, MessageSequence, SessionId};
use exahour_wire::message::Message;
use exahour_wire::operations::Deposit;
use exahour_wire::orders::{CancelOrder, NewAdvancedOrder, NewOrder};
use exahour_wire::units::{Money, Nanos, Price, Quantity};

use super::limits::{REFERENCE, TIME, contract, member};

/// How the stop prices of a cascade lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Each trades a tick higher, which elects the next.
    Ladder,
    /// One trade elects all of them.
    Heap,
}

/// The stop price of [`one_cancels_other`].
pub const STOP_ABOVE: Price = Price(REFERENCE + 10);

/// Two stop limits for which nothing is held beyond what its limit takes.
pub const LIMITS_BELOW: [Price; 2] = [Price(REFERENCE - 2), Price(REFERENCE - 3)];

const MAKER: u32 = 1;
const STOPS: u32 = 2;
const TAKER: u32 = 3;
const DATED: u32 = 4;

/// The market before the cascade: so many orders with a stop price to buy a lot, entered in no order, every
/// other one in the book until then, and a lot offered for each at every tick above the reference.
#[must_use]
pub fn before(shape: Shape, stops: u32) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    for id in [MAKER, STOPS, TAKER, DATED] {
        records.extend(member(id));
        let command = Deposit {
            account: AccountId(100 + id),
            amount: Money(1_000_000_000_000),
            ..Deposit::blank()
        };
        records.push(command.bytes().to_vec());
    }
    records.push(contract(1, Nanos::DAY));
    records.extend(gone());
    for step in 0..=stops {
        records.push(offer(step));
    }
    for place in 0..stops {
        // A prime, so that every step comes once.
        let step = (u64::from(place) * 7_919 % u64::from(stops)) as u32;
        records.push(stop(shape, place, step, stops));
    }
    records
}

/// Orders that would end when what is left of a cascade comes, and are cancelled before.
fn gone() -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    for number in 1..=3 {
        let dated = NewOrder {
            side: Side::Buy.into(),
            time_in_force: TimeInForce::GoodTillDate.into(),
            expire_at: Nanos(TIME.0 + 1),
            ..plain(DATED, 2 * number - 1, REFERENCE - 1)
        };
        let cancel = CancelOrder {
            session: dated.session,
            sequence: MessageSequence(2 * number),
            client_order_id: dated.client_order_id,
            instrument: dated.instrument,
            ..CancelOrder::blank()
        };
        records.push(dated.bytes().to_vec());
        records.push(cancel.bytes().to_vec());
    }
    records
}

/// The order whose trade begins it.
#[must_use]
pub fn spark() -> Vec<u8> {
    let command = NewOrder {
        side: Side::Buy.into(),
        ..plain(TAKER, 1, REFERENCE)
    };
    command.bytes().to_vec()
}

fn offer(step: u32) -> Vec<u8> {
    let command = NewOrder {
        side: Side::Sell.into(),
        ..plain(MAKER, step + 1, REFERENCE + i64::from(step))
    };
    command.bytes().to_vec()
}

fn stop(shape: Shape, place: u32, step: u32, stops: u32) -> Vec<u8> {
    let (stop_price, limit) = match shape {
        Shape::Ladder => (REFERENCE + i64::from(step), REFERENCE + i64::from(step) + 1),
        Shape::Heap => (REFERENCE, REFERENCE + i64::from(stops)),
    };
    let (order_type, price, stop_limit) = match place % 2 {
        0 => (OrderType::StopLimit, limit, Price::NONE),
        _ => (OrderType::OneCancelsOther, REFERENCE - 1, Price(limit)),
    };
    let stopped = NewAdvancedOrder {
        order_type: order_type.into(),
        stop_price: Price(stop_price),
        stop_limit,
        ..advanced(plain(STOPS, place + 1, price))
    };
    stopped.bytes().to_vec()
}

/// A one-cancels-other order to buy a lot, with this limit from its stop price on.
#[must_use]
pub fn one_cancels_other(stop_limit: Price) -> Vec<u8> {
    let command = NewAdvancedOrder {
        order_type: OrderType::OneCancelsOther.into(),
        stop_price: STOP_ABOVE,
        stop_limit,
        ..advanced(plain(TAKER, 1, REFERENCE - 1))
    };
    command.bytes().to_vec()
}

fn advanced(plain: NewOrder) -> NewAdvancedOrder {
    NewAdvancedOrder {
        session: plain.session,
        sequence: plain.sequence,
        client_order_id: plain.client_order_id,
        price: plain.price,
        quantity: plain.quantity,
        account: plain.account,
        instrument: plain.instrument,
        side: Side::Buy.into(),
        time_in_force: plain.time_in_force,
        ..NewAdvancedOrder::blank()
    }
}

fn plain(member: u32, number: u32, price: i64) -> NewOrder {
    NewOrder {
        session: SessionId(member),
        sequence: MessageSequence(number),
        client_order_id: ClientOrderId(u64::from(number)),
        price: Price(price),
        quantity: Quantity(1),
        account: AccountId(100 + member),
        instrument: InstrumentId(1),
        order_type: OrderType::Limit.into(),
        time_in_force: TimeInForce::GoodTillCancelled.into(),
        ..NewOrder::blank()
    }
}
