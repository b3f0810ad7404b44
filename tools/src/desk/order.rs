//! `exahour order`: enters one order and prints what comes of it.
//!
//! Called by the command line.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use exahour_wire::codes::{
    Enumeration, OrderFlags, OrderType, SelfTradePrevention, Side, TimeInForce,
};
use exahour_wire::events::{OrderCancelled, OrderFilled};
use exahour_wire::ids::{AccountId, ClientOrderId, SessionId};
use exahour_wire::message::Message;
use exahour_wire::orders::NewAdvancedOrder;
use exahour_wire::units::{Nanos, Price, Quantity};

use super::{Seen, follow, fresh_name, leave};
use crate::connection::{NodeArguments, account_of};
use crate::listings::InstrumentName;
use crate::text::{parse_span, parse_time};

/// Enter an order, such as `buy 10 @ 2.50 1`: 10 lots of instrument 1 at 2.50 dollars or less.
#[derive(Clone, Debug, Args)]
#[command(
    override_usage = "exahour order [OPTIONS] <buy|sell> <LOTS> [@ <PRICE>] <INSTRUMENT>",
    allow_negative_numbers = true
)]
pub struct Arguments {
    /// `buy` or `sell`, lots, `@` and the limit in dollars (left out with --market), the instrument's
    /// number or symbol.
    #[arg(value_names = ["buy|sell", "LOTS", "[@ PRICE] INSTRUMENT"], required = true, num_args = 1..=5)]
    words: Vec<String>,
    /// The session that enters it.
    #[arg(long, value_name = "N", default_value_t = 1)]
    session: u32,
    /// The account it is for [default: the first of the session's owner].
    #[arg(long, value_name = "N")]
    account: Option<u32>,
    /// How long it lives: gtc, until it is cancelled; day, until the day ends (UTC); ioc, what does not
    /// trade at once is cancelled; fok, all of it at once or nothing; or until a time such as
    /// 2026-01-31T14:00:00Z [default: gtc; ioc with --market].
    #[arg(long, value_name = "TIF")]
    tif: Option<String>,
    /// It is cancelled where it would trade on arrival.
    #[arg(long)]
    post_only: bool,
    /// Trade at the best prices within the instrument's protection, without a limit: `buy 3 1 --market`.
    #[arg(long)]
    market: bool,
    /// A stop order: it waits until a trade has been at this price, in dollars, or beyond. Without a limit
    /// its protection begins there.
    #[arg(long, value_name = "PRICE", conflicts_with = "market")]
    stop: Option<String>,
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

pub(super) fn span(text: &str) -> Result<Duration, String> {
    // A bare number would be nanoseconds, which nobody means here.
    let has_unit = text.ends_with(|last: char| last.is_ascii_alphabetic());
    let parsed = parse_span(text).filter(|_| has_unit);
    let parsed = parsed.map(|span| Duration::from_nanos(span.0));
    parsed.ok_or_else(|| "expected a span such as 200ms or 10s".to_owned())
}

/// Enters the order.
///
/// # Errors
/// Where the words are no order, nobody listens, or the exchange refuses it.
pub fn run(arguments: &Arguments) -> Result<()> {
    let order = order(arguments)?;
    let mut client = arguments.node.connect(SessionId(arguments.session))?;
    if order.stop_price == Price::NONE {
        client.send(&order.plain())?;
    } else {
        client.send(&order)?;
    }
    let outcome = follow(&mut client, arguments.wait, arguments.json, |report| {
        let filled = OrderFilled::read(report);
        let done = filled.is_some_and(|fill| {
            fill.client_order_id == order.client_order_id && fill.leaves == Quantity(0)
        });
        let gone = OrderCancelled::read(report)
            .is_some_and(|it| it.client_order_id == order.client_order_id);
        if done || gone {
            Seen::Enough
        } else {
            Seen::Part
        }
    });
    leave(client);
    outcome
}

fn order(arguments: &Arguments) -> Result<NewAdvancedOrder> {
    let words = Words::parse(&arguments.words)?;
    let (time_in_force, expire_at) = time_in_force(arguments)?;
    let account = match arguments.account {
        Some(account) => AccountId(account),
        None => {
            let genesis = arguments.node.node_config()?.genesis;
            account_of(&genesis, SessionId(arguments.session)).with_context(|| {
                format!(
                    "the account of session {} is not known here: name it with --account",
                    arguments.session
                )
            })?
        }
    };
    let stop = arguments.stop.as_deref().map(|text| {
        text.parse::<Price>()
            .map_err(|error| anyhow!("the stop price `{text}` is {error}"))
    });
    let stop = stop.transpose()?;
    let (order_type, price) = match (arguments.market, words.price) {
        (false, Some(price)) if stop.is_some() => (OrderType::StopLimit, price),
        (false, None) if stop.is_some() => (OrderType::Stop, Price::NONE),
        (false, Some(price)) => (OrderType::Limit, price),
        (true, None) => (OrderType::Market, Price::NONE),
        (false, None) => {
            bail!("a limit is missing: write `@ PRICE` before the instrument, --market or --stop")
        }
        (true, Some(_)) => bail!("a market order has no limit: leave `@ PRICE` or --market out"),
    };
    let flags = match arguments.post_only {
        true => OrderFlags::POST_ONLY,
        false => OrderFlags::NONE,
    };
    Ok(NewAdvancedOrder {
        client_order_id: arguments.name.map_or_else(fresh_name, ClientOrderId),
        price,
        quantity: words.quantity,
        expire_at,
        account,
        instrument: words.instrument.resolve(&arguments.node)?,
        side: words.side.into(),
        order_type: order_type.into(),
        time_in_force: time_in_force.into(),
        self_trade_prevention: prevention(&arguments.self_trade)?.into(),
        flags,
        stop_price: stop.unwrap_or(Price::NONE),
        ..NewAdvancedOrder::blank()
    })
}

/// The words of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Words {
    side: Side,
    quantity: Quantity,
    price: Option<Price>,
    instrument: InstrumentName,
}

impl Words {
    /// Reads `buy 10 @ 2.50 1`, `buy 10 @2.50 1` or `buy 10 1`.
    fn parse(words: &[String]) -> Result<Self> {
        const FORM: &str = "write `buy 10 @ 2.50 1`: side, lots, `@` and limit, instrument; or \
            `buy 10 1 --market`";
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (side, quantity, price, instrument) = match words[..] {
            [side, quantity, "@", price, instrument] => (side, quantity, Some(price), instrument),
            [side, quantity, price, instrument] => match price.strip_prefix('@') {
                Some(price) => (side, quantity, Some(price), instrument),
                None => bail!("`{price}` is not a limit: {FORM}"),
            },
            [side, quantity, instrument] => (side, quantity, None, instrument),
            _ => bail!("these words are no order: {FORM}"),
        };
        let side = match side {
            "buy" => Side::Buy,
            "sell" => Side::Sell,
            _ => bail!("`{side}` is neither buy nor sell: {FORM}"),
        };
        let Ok(quantity) = quantity.parse() else {
            bail!("`{quantity}` is not a whole number of lots: {FORM}");
        };
        let instrument = instrument
            .parse()
            .map_err(|error| anyhow!("`{instrument}` is no instrument: {error}"))?;
        let price = price.map(|text| {
            text.parse::<Price>()
                .map_err(|error| anyhow!("the limit `{text}` is {error}"))
        });
        Ok(Self {
            side,
            quantity: Quantity(quantity),
            price: price.transpose()?,
            instrument,
        })
    }
}

fn time_in_force(arguments: &Arguments) -> Result<(TimeInForce, Nanos)> {
    let plain = |it| Ok((it, Nanos(0)));
    match (arguments.tif.as_deref(), arguments.market) {
        (None, false) | (Some("gtc"), _) => plain(TimeInForce::GoodTillCancelled),
        (None, true) | (Some("ioc"), _) => plain(TimeInForce::ImmediateOrCancel),
        (Some("fok"), _) => plain(TimeInForce::FillOrKill),
        (Some("day"), _) => plain(TimeInForce::Day),
        (Some(text), _) => match parse_time(text) {
            Some(time) => Ok((TimeInForce::GoodTillDate, time)),
            None => bail!("--tif {text}: expected day, gtc, ioc, fok or 2026-01-31T14:00:00Z"),
        },
    }
}

fn prevention(text: &str) -> Result<SelfTradePrevention> {
    let plain = text.replace('-', "");
    let mut table = SelfTradePrevention::TABLE.iter();
    let named = table.find(|(_, name, _)| name.eq_ignore_ascii_case(&plain));
    let number = named.and_then(|(number, _, _)| u8::try_from(*number).ok());
    number
        .and_then(SelfTradePrevention::from_repr)
        .with_context(|| {
            format!(
                "--self-trade {text}: expected none, cancel-newest, cancel-oldest, cancel-both or \
                 decrement"
            )
        })
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

    fn parse(text: &str) -> Result<Words> {
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        Words::parse(&words)
    }

    #[test]
    fn orders_read_as_they_are_spoken() {
        let limit = parse("buy 10 @ 2.50 1").unwrap();
        assert_eq!(limit, parse("buy 10 @2.50 1").unwrap());
        assert_eq!(limit.price, Some(Price(2_500_000)));
        assert_eq!(parse("sell 3 2").unwrap().price, None);
        let symbol = InstrumentName::Symbol("GPU-EU".to_owned());
        assert_eq!(parse("sell 3 GPU-EU").unwrap().instrument, symbol);
        for (text, expected) in [
            ("hold 10 @ 2.50 1", "neither buy nor sell"),
            ("buy ten @ 2.50 1", "whole number of lots"),
            ("buy 10 @ dear 1", "the limit `dear`"),
            ("buy 10 @ 2.50 0", "numbered 1 to"),
            ("buy 10 @ 2.50 -1", "is no instrument"),
            ("buy 10 2.50 1", "not a limit"),
        ] {
            let refused = parse(text).unwrap_err().to_string();
            assert!(refused.contains(expected), "{text}: {refused}");
        }
    }

    #[test]
    fn prevention_modes_are_named_as_in_the_schema() {
        assert_eq!(prevention("none").unwrap(), SelfTradePrevention::None);
        assert_eq!(
            prevention("cancel-both").unwrap(),
            SelfTradePrevention::CancelBoth
        );
        assert!(prevention("maybe").is_err());
    }
}
