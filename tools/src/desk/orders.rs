//! `exahour orders`: the live orders of a participant, from the reports that its drop copy holds.
//!
//! Called by the command line, and by `cancel` to find an order's instrument.
//!
//! Always holds: an order is live from its acceptance until a report says that nothing of it is
//! open; the reports are replayed from the first event on, so nothing is guessed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use exahour_gateway::clock::{Clock, SystemClock};
use exahour_wire::codes::{OrderType, Raw, Side};
use exahour_wire::events::{
    OrderAccepted, OrderCancelled, OrderFilled, OrderReduced, OrderReplaced, OrderRepriced,
    OrderTriggered, StopEntered,
};
use exahour_wire::ids::{AccountId, ClientOrderId, InstrumentId, OrderId, SessionId};
use exahour_wire::message::Message;
use exahour_wire::units::{Price, Quantity};
use serde::Serialize;

use crate::connection::NodeArguments;
use crate::output::{print, print_json};

/// How long the drop copy may be silent before its end is told.
const NEXT_WORD_WITHIN: Duration = Duration::from_secs(5);

/// List the live orders of a session, or of all sessions of its firm.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  exahour orders --session 2\n  exahour orders --all --json")]
pub struct Arguments {
    /// The session, which needs the permission `drop-copy`.
    #[arg(long, value_name = "N", default_value_t = 1)]
    session: u32,
    /// The firm that the session belongs to [default: as the configuration says].
    #[arg(long, value_name = "N")]
    participant: Option<u32>,
    /// List the orders of all sessions of the firm (its participant).
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    node: NodeArguments,
    /// Write JSON, one object a line.
    #[arg(long)]
    json: bool,
}

/// An order that is live.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct LiveOrder {
    pub(super) session: SessionId,
    pub(super) instrument: InstrumentId,
    account: AccountId,
    pub(super) name: ClientOrderId,
    side: Raw<Side>,
    pub(super) price: Price,
    pub(super) quantity: Quantity,
    leaves: Quantity,
    /// Whether it is a stop order that is not in the market yet.
    waits: bool,
    /// The stop price that it waits for, in the market or not; none for an order that waits for none.
    stop_price: Price,
    /// The limit that it has from then on; none for a market order.
    stop_limit: Price,
    /// Whether it is a pegged order, whose `price` is its limit.
    pegged: bool,
    /// Where a pegged order stands in the book; none while it waits, and for any other.
    book_price: Price,
}

#[derive(Serialize)]
struct JsonOrder {
    order: u64,
    session: u32,
    account: u32,
    instrument: u32,
    client_order_id: u64,
    side: String,
    price: String,
    quantity: u64,
    leaves: u64,
    /// Whether it is a stop order that is not in the market yet.
    waits: bool,
    stop_price: Option<String>,
    stop_limit: Option<String>,
    pegged: bool,
    /// Where a pegged order stands; none while it waits, and for any other.
    book_price: Option<String>,
}

/// Lists the orders.
///
/// # Errors
/// Where nobody listens, or the session may not have drop copies.
pub fn run(arguments: &Arguments) -> Result<()> {
    let session = SessionId(arguments.session);
    let live = live_orders(&arguments.node, session, arguments.participant)?;
    let mut count = 0;
    for (order, it) in &live {
        if !arguments.all && it.session != session {
            continue;
        }
        count += 1;
        if arguments.json {
            let line = JsonOrder {
                order: order.0,
                session: it.session.0,
                account: it.account.0,
                instrument: it.instrument.0,
                client_order_id: it.name.0,
                side: format!("{:?}", it.side),
                price: it.price.to_string(),
                quantity: it.quantity.0,
                leaves: it.leaves.0,
                waits: it.waits,
                stop_price: some(it.stop_price),
                stop_limit: some(it.stop_limit),
                pegged: it.pegged,
                book_price: some(it.book_price),
            };
            print_json(&line)?;
        } else {
            print(&format!(
                "order {order}: {:?} {} of {} @ {} in {}, account {}, session {}, name {}{}\n",
                it.side,
                it.leaves,
                it.quantity,
                it.price,
                it.instrument,
                it.account,
                it.session,
                it.name,
                waiting_text(it)
            ))?;
        }
    }
    if count == 0 && !arguments.json {
        print("no live orders\n")?;
    }
    Ok(())
}

fn some(price: Price) -> Option<String> {
    (price != Price::NONE).then(|| price.to_string())
}

/// What an order waits for or moves with, as people read it.
fn waiting_text(order: &LiveOrder) -> String {
    if order.pegged {
        return match some(order.book_price) {
            Some(price) => format!(", pegged, stands at {price}"),
            None => ", pegged, waits".to_owned(),
        };
    }
    let Some(stop) = some(order.stop_price) else {
        return String::new();
    };
    match (order.waits, some(order.stop_limit)) {
        (true, _) => format!(", waits for its stop price {stop}"),
        (false, Some(limit)) => format!(", or a stop-limit order at {stop}, limit {limit}"),
        (false, None) => format!(", or a stop order at {stop}"),
    }
}

/// The live orders of a participant, by the exchange's name.
pub(super) fn live_orders(
    node: &NodeArguments,
    session: SessionId,
    participant: Option<u32>,
) -> Result<BTreeMap<OrderId, LiveOrder>> {
    let (mut client, address) = node.copies(session, participant)?;
    let mut clock = SystemClock::default();
    let mut live = BTreeMap::new();
    let mut heard = Instant::now();
    loop {
        let count = client.poll(clock.steady(), clock.now(), &mut |event| {
            note(event, &mut live)
        })?;
        if client.caught_up() {
            return Ok(live);
        }
        if count > 0 {
            heard = Instant::now();
        }
        if heard.elapsed() > NEXT_WORD_WITHIN {
            bail!("no drop copy from {address}: is the node running, and is this its port?");
        }
        client.wait(Duration::from_millis(50));
    }
}

/// Takes one report into account.
fn note(event: &[u8], live: &mut BTreeMap<OrderId, LiveOrder>) {
    let mut leave = |order: OrderId, leaves: Quantity| {
        if leaves == Quantity(0) {
            live.remove(&order);
        } else if let Some(it) = live.get_mut(&order) {
            it.leaves = leaves;
        }
    };
    if let Some(it) = OrderFilled::read(event) {
        leave(it.order, it.leaves);
    } else if let Some(it) = OrderReduced::read(event) {
        leave(it.order, it.leaves);
    } else if let Some(it) = OrderCancelled::read(event) {
        leave(it.order, Quantity(0));
    } else if let Some(it) = OrderReplaced::read(event) {
        if let Some(order) = live.get_mut(&it.order) {
            order.name = it.client_order_id;
            // A stop-limit order that waits has one limit only.
            if order.waits && order.stop_limit != Price::NONE {
                order.stop_limit = it.price;
            }
            order.price = it.price;
            order.quantity = it.quantity;
            order.leaves = it.leaves;
        }
    } else if let Some(it) = OrderTriggered::read(event) {
        if let Some(order) = live.get_mut(&it.order) {
            order.price = it.price;
            order.waits = false;
            (order.stop_price, order.stop_limit) = (Price::NONE, Price::NONE);
        }
    } else if let Some(it) = OrderRepriced::read(event) {
        if let Some(order) = live.get_mut(&it.order) {
            order.book_price = it.price;
        }
    } else if let Some(it) = StopEntered::read(event) {
        if let Some(order) = live.get_mut(&it.order) {
            (order.stop_price, order.stop_limit) = (it.stop_price, it.stop_limit);
        }
    } else if let Some(it) = OrderAccepted::read(event) {
        live.insert(
            it.order,
            LiveOrder {
                session: it.session,
                instrument: it.instrument,
                account: it.account,
                name: it.client_order_id,
                side: it.side,
                price: it.price,
                quantity: it.quantity,
                leaves: it.quantity,
                waits: [OrderType::Stop, OrderType::StopLimit]
                    .map(Raw::from)
                    .contains(&it.order_type),
                stop_price: Price::NONE,
                stop_limit: Price::NONE,
                pegged: it.order_type == OrderType::Pegged.into(),
                book_price: Price::NONE,
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_lives_until_nothing_of_it_is_open() {
        let mut live = BTreeMap::new();
        let accepted = |order| OrderAccepted {
            order: OrderId(order),
            quantity: Quantity(10),
            ..OrderAccepted::blank()
        };
        note(accepted(1).bytes(), &mut live);
        note(accepted(2).bytes(), &mut live);
        note(accepted(3).bytes(), &mut live);
        let fill = OrderFilled {
            order: OrderId(1),
            leaves: Quantity(4),
            ..OrderFilled::blank()
        };
        note(fill.bytes(), &mut live);
        assert_eq!(live[&OrderId(1)].leaves, Quantity(4));
        let whole = OrderFilled {
            leaves: Quantity(0),
            ..fill
        };
        note(whole.bytes(), &mut live);
        let cancelled = OrderCancelled {
            order: OrderId(2),
            quantity: Quantity(10),
            ..OrderCancelled::blank()
        };
        note(cancelled.bytes(), &mut live);
        assert_eq!(live.keys().copied().collect::<Vec<_>>(), [OrderId(3)]);
    }

    #[test]
    fn a_stop_order_waits_until_it_is_triggered() {
        let mut live = BTreeMap::new();
        let accepted = OrderAccepted {
            order: OrderId(1),
            price: Price(9),
            quantity: Quantity(10),
            order_type: OrderType::StopLimit.into(),
            ..OrderAccepted::blank()
        };
        note(accepted.bytes(), &mut live);
        let entered = StopEntered {
            order: OrderId(1),
            stop_price: Price(10),
            stop_limit: Price::NONE,
            ..StopEntered::blank()
        };
        note(entered.bytes(), &mut live);
        let order = &live[&OrderId(1)];
        assert_eq!((order.waits, order.stop_price), (true, Price(10)));
        let limited = StopEntered {
            stop_limit: Price(9),
            ..entered
        };
        note(limited.bytes(), &mut live);
        let replaced = OrderReplaced {
            order: OrderId(1),
            price: Price(7),
            leaves: Quantity(10),
            ..OrderReplaced::blank()
        };
        note(replaced.bytes(), &mut live);
        let order = &live[&OrderId(1)];
        assert_eq!((order.price, order.stop_limit), (Price(7), Price(7)));
        let triggered = OrderTriggered {
            order: OrderId(1),
            price: Price(8),
            ..OrderTriggered::blank()
        };
        note(triggered.bytes(), &mut live);
        let order = &live[&OrderId(1)];
        assert_eq!((order.waits, order.price), (false, Price(8)));
        assert_eq!(order.stop_price, Price::NONE);
    }
    #[test]
    fn a_pegged_order_stands_where_it_was_moved_last() {
        let mut live = BTreeMap::new();
        let accepted = OrderAccepted {
            order: OrderId(1),
            price: Price(9),
            quantity: Quantity(10),
            order_type: OrderType::Pegged.into(),
            ..OrderAccepted::blank()
        };
        note(accepted.bytes(), &mut live);
        assert_eq!(waiting_text(&live[&OrderId(1)]), ", pegged, waits");
        for price in [Price(7), Price(8), Price::NONE] {
            let repriced = OrderRepriced {
                order: OrderId(1),
                price,
                limit: Price(9),
                ..OrderRepriced::blank()
            };
            note(repriced.bytes(), &mut live);
            let order = &live[&OrderId(1)];
            assert_eq!((order.price, order.book_price), (Price(9), price));
        }
    }
}
