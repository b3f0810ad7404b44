//! `exahour order`: enters one order and prints what comes of it.
//!
//! Called by the command line.

mod terms;
mod words;

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use exahour_wire::codes::OrderFlags;
use exahour_wire::events::{OrderCancelled, OrderFilled};
use exahour_wire::ids::{ClientOrderId, SessionId};
use exahour_wire::message::Message;
use exahour_wire::orders::NewAdvancedOrder;
use exahour_wire::units::{Price, Quantity};

use self::terms::{Kind, Pricing, time_in_force};
use self::words::Words;
use super::{ORDER_DOUBT, Seen, Sent, follow, fresh_name, leave};
use crate::connection::{NodeArguments, account_for};
use crate::text::parse_span;

pub(super) use self::terms::prevention;

/// Enter an order, such as `buy 10 @ 2.50 1`: 10 lots of instrument 1 at 2.50 dollars or less.
#[derive(Clone, Debug, Args)]
#[command(
    override_usage = "exahour order [OPTIONS] <buy|sell> <LOTS> [@ <PRICE>] <INSTRUMENT>",
    allow_negative_numbers = true,
    after_help = "Examples:\n  exahour order buy 10 @ 2.50 1                  a limit order\n  \
                  exahour order buy 10 1 --market                at the best prices, within the protection\n  \
                  exahour order sell 4 @ 2.25 1 --stop 2.30      a stop-limit order\n  \
                  exahour order sell 4 @ 2.80 1 --or-stop 2.30   a one-cancels-other order\n  \
                  exahour order sell 500 @ 2.60 1 --display 20   an iceberg order\n  \
                  exahour order buy 9 @ 2.50 1 --minimum 5       5 lots at once, or nothing"
)]
pub struct Arguments {
    /// `buy` or `sell`, lots, `@` and the limit in dollars (left out with --market and others), the
    /// instrument's number or symbol.
    #[arg(value_names = ["buy|sell", "LOTS", "[@ PRICE] INSTRUMENT"], required = true, num_args = 1..=5)]
    words: Vec<String>,
    /// The session that enters it.
    #[arg(long, value_name = "N", default_value_t = 1)]
    session: u32,
    /// The account it is for [default: the first of the session's owner].
    #[arg(long, value_name = "N")]
    account: Option<u32>,
    /// How long it lives: gtc, until it is cancelled; day, until the day ends (UTC); ioc, what does not
    /// trade at once is cancelled; fok, all of it at once or nothing; gfa, in the auction of the call
    /// under way; or until a time such as 2026-01-31T14:00:00Z [default: gtc; ioc with --market].
    #[arg(long, value_name = "TIF")]
    tif: Option<String>,
    /// It is cancelled where it would trade on arrival.
    #[arg(long)]
    post_only: bool,
    /// Trade at the best prices within the instrument's protection, without a limit: `buy 3 1 --market`.
    #[arg(long, group = "kind")]
    market: bool,
    /// Trade at the best price of the other side; what is left rests there.
    #[arg(long, group = "kind")]
    market_to_limit: bool,
    /// A stop order: it waits until a trade has been at this price, in dollars, or beyond. Without a limit
    /// its protection begins there.
    #[arg(long, value_name = "PRICE", group = "kind")]
    stop: Option<String>,
    /// A one-cancels-other order: it rests at its limit, until a trade has been at this price, in dollars,
    /// or beyond; then it leaves the book and comes as a stop order.
    #[arg(long, value_name = "PRICE", group = "kind")]
    or_stop: Option<String>,
    /// The limit of a one-cancels-other order from its stop price on [default: none, as at market].
    #[arg(long, value_name = "PRICE")]
    stop_limit: Option<String>,
    /// A pegged order: it moves with the best price of its own side (primary), of the other side
    /// (market), or with the middle between them (midpoint), never beyond its limit.
    #[arg(long, value_name = "WHAT", group = "kind")]
    peg: Option<String>,
    /// How far a pegged order stands from what it moves with, away from the other side, in dollars; with
    /// `--peg market` at least a tick [default: 0].
    #[arg(long, value_name = "PRICE", requires = "peg")]
    offset: Option<String>,
    /// An iceberg order: it shows so many lots at a time, a hundredth of its lots or more.
    #[arg(long, value_name = "LOTS", value_parser = clap::value_parser!(u64).range(1..))]
    display: Option<u64>,
    /// It trades so many lots at once, or is cancelled.
    #[arg(long, value_name = "LOTS", value_parser = clap::value_parser!(u64).range(1..))]
    minimum: Option<u64>,
    /// What happens where it would trade with an order of the same owner: none (they trade),
    /// cancel-newest, cancel-oldest, cancel-both or decrement.
    #[arg(long, value_name = "MODE", default_value = "cancel-newest")]
    self_trade: String,
    /// Your number for it, unique among your live orders; reports call it clientOrderId [default: the
    /// time in nanoseconds].
    #[arg(long, value_name = "N")]
    name: Option<u64>,
    /// How long to go on printing reports after the first, such as 200ms or 10s.
    #[arg(long, value_name = "SPAN", default_value = "200ms", value_parser = span)]
    wait: Duration,
    #[command(flatten)]
    node: NodeArguments,
    /// Write reports as JSON, one a line.
    #[arg(long)]
    json: bool,
}

pub(crate) fn span(text: &str) -> Result<Duration, String> {
    // A bare number would be nanoseconds, which nobody means here.
    let has_unit = text.ends_with(|last: char| last.is_ascii_alphabetic());
    let parsed = parse_span(text).filter(|_| has_unit);
    let parsed = parsed.map(|span| Duration::from_nanos(span.0));
    parsed.ok_or_else(|| "expected a span such as 200ms or 10s".to_owned())
}

impl Arguments {
    /// Which of the options is there that say how it is priced; they exclude each other.
    fn kind(&self) -> Kind {
        match self {
            Self { market: true, .. } => Kind::Market,
            Self {
                market_to_limit: true,
                ..
            } => Kind::MarketToLimit,
            Self { stop: Some(_), .. } => Kind::Stop,
            Self {
                or_stop: Some(_), ..
            } => Kind::OneCancelsOther,
            Self { peg: Some(_), .. } => Kind::Pegged,
            _ => Kind::Plain,
        }
    }
}

/// Enters the order.
///
/// # Errors
/// Where the words are no order, nobody listens, or the exchange refuses it.
pub fn run(arguments: &Arguments) -> Result<()> {
    let order = order(arguments)?;
    let mut client = arguments.node.connect(SessionId(arguments.session))?;
    let name = order.client_order_id;
    let sent = match asks_beyond(&order) {
        true => Sent::send(&mut client, &order, name, ORDER_DOUBT)?,
        false => Sent::send(&mut client, &order.plain(), name, ORDER_DOUBT)?,
    };
    let Arguments { wait, json, .. } = arguments;
    let outcome = follow(&mut client, &sent, *wait, *json, |it| seen(it, name));
    leave(client);
    outcome
}

fn order(arguments: &Arguments) -> Result<NewAdvancedOrder> {
    let words = Words::parse(&arguments.words)?;
    let (time_in_force, expire_at) = time_in_force(arguments)?;
    let pricing = Pricing::of(arguments, words.price)?;
    let session = SessionId(arguments.session);
    let flags = match arguments.post_only {
        true => OrderFlags::POST_ONLY,
        false => OrderFlags::NONE,
    };
    Ok(NewAdvancedOrder {
        client_order_id: arguments.name.map_or_else(fresh_name, ClientOrderId),
        price: pricing.price,
        quantity: words.quantity,
        expire_at,
        account: account_for(&arguments.node, session, arguments.account)?,
        instrument: words.instrument.resolve(&arguments.node)?,
        side: words.side.into(),
        order_type: pricing.order_type.into(),
        time_in_force: time_in_force.into(),
        self_trade_prevention: prevention(&arguments.self_trade)?.into(),
        flags,
        stop_price: pricing.stop_price,
        stop_limit: pricing.stop_limit,
        display_quantity: Quantity(arguments.display.unwrap_or(0)),
        minimum_quantity: Quantity(arguments.minimum.unwrap_or(0)),
        peg: pricing.peg.into(),
        peg_offset: pricing.peg_offset,
        ..NewAdvancedOrder::blank()
    })
}

/// Whether an order asks for what only `NewAdvancedOrder` can say.
fn asks_beyond(order: &NewAdvancedOrder) -> bool {
    let nothing = NewAdvancedOrder {
        stop_price: Price::NONE,
        stop_limit: Price::NONE,
        ..NewAdvancedOrder::blank()
    };
    let beyond = |it: &NewAdvancedOrder| {
        let lots = (it.display_quantity, it.minimum_quantity);
        let prices = (it.stop_price, it.stop_limit);
        (prices, lots, it.peg, it.peg_offset)
    };
    beyond(order) != beyond(&nothing)
}

/// Whether nothing more can come of the order of this name.
pub(super) fn seen(report: &[u8], name: ClientOrderId) -> Seen {
    let filled = OrderFilled::read(report);
    let done =
        filled.is_some_and(|fill| fill.client_order_id == name && fill.leaves == Quantity(0));
    let gone = OrderCancelled::read(report).is_some_and(|it| it.client_order_id == name);
    match done || gone {
        true => Seen::Enough,
        false => Seen::Part,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_a_unit() {
        assert_eq!(span("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(span("0ms"), Ok(Duration::ZERO));
        assert!(span("5").unwrap_err().contains("200ms"));
    }
}
