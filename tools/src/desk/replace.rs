//! `exahour replace`: changes the limit or the lots of an order.
//!
//! Called by the command line.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use exahour_wire::ids::ClientOrderId;
use exahour_wire::message::Message;
use exahour_wire::orders::ReplaceOrder;
use exahour_wire::units::{Price, Quantity};

use super::choice::OrderChoice;
use super::order::{seen, span};
use super::{ORDER_DOUBT, Sent, follow, fresh_name, leave};

/// Change the limit or the lots of an order; what is left out stays as it is.
///
/// With the same limit and fewer lots it keeps its place in the queue, otherwise it loses it.
#[derive(Clone, Debug, Args)]
#[command(
    override_usage = "exahour replace [OPTIONS] [ORDER] [LOTS] [@ <PRICE>]",
    allow_negative_numbers = true,
    after_help = "Examples:\n  exahour replace 16777216 8 @ 2.45    8 lots in all, those that have traded counted\n  \
                  exahour replace 16777216 @ 2.45      another limit\n  \
                  exahour replace --name 7 8           8 lots in all of the order that you called 7"
)]
pub struct Arguments {
    /// The number that the exchange gave the order (or --name), its new total in lots, `@` and its new
    /// limit in dollars.
    #[arg(value_names = ["ORDER", "LOTS", "@ PRICE"], required = true, num_args = 1..=4)]
    words: Vec<String>,
    #[command(flatten)]
    choice: OrderChoice,
    /// Your new number for it, unique among your live orders [default: the time in nanoseconds].
    #[arg(long = "as", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    new_name: Option<u64>,
    /// How long to go on printing reports after the first, such as 200ms or 10s.
    #[arg(long, value_name = "SPAN", default_value = "200ms", value_parser = span)]
    wait: Duration,
    /// Write reports as JSON, one a line.
    #[arg(long)]
    json: bool,
}

/// Changes the order.
///
/// # Errors
/// Where the words are no change, nobody listens, the order is not live, or the exchange refuses.
pub fn run(arguments: &Arguments) -> Result<()> {
    let choice = &arguments.choice;
    let change = Change::parse(&arguments.words, choice.is_named())?;
    let (order, live) = choice.own(change.order)?;
    let name = arguments.new_name.map_or_else(fresh_name, ClientOrderId);
    let mut client = choice.node.connect(choice.session())?;
    let command = ReplaceOrder {
        client_order_id: name,
        order,
        price: change.price.unwrap_or(live.price),
        quantity: change.quantity.unwrap_or(live.quantity),
        instrument: live.instrument,
        ..ReplaceOrder::blank()
    };
    let sent = Sent::send(&mut client, &command, name, ORDER_DOUBT)?;
    let Arguments { wait, json, .. } = arguments;
    let outcome = follow(&mut client, &sent, *wait, *json, |it| seen(it, name));
    leave(client);
    outcome
}

/// What is to be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    order: Option<u64>,
    quantity: Option<Quantity>,
    price: Option<Price>,
}

impl Change {
    /// Reads `16777216 8 @ 2.45`, and what is shorter; an order that is named is not in the words.
    fn parse(words: &[String], is_named: bool) -> Result<Self> {
        const FORM: &str = "write `16777216 8 @ 2.45`: the order, its new total in lots, `@` and its \
            new limit; lots or limit may be left out";
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (numbers, price) = match words[..] {
            [ref numbers @ .., "@", price] => (numbers, Some(price)),
            [ref numbers @ .., last] => match last.strip_prefix('@') {
                Some(price) => (numbers, Some(price)),
                None => (&words[..], None),
            },
            [] => (&words[..], None),
        };
        let numbers = numbers.iter().map(|text| {
            let number = text.parse::<u64>().ok().filter(|number| *number > 0);
            number.ok_or_else(|| anyhow!("`{text}` is not a whole number above zero: {FORM}"))
        });
        let numbers = numbers.collect::<Result<Vec<_>>>()?;
        let (order, lots) = match (is_named, numbers[..].as_ref()) {
            (true, []) => (None, None),
            (true, [lots]) => (None, Some(*lots)),
            (false, [order]) => (Some(*order), None),
            (false, [order, lots]) => (Some(*order), Some(*lots)),
            (true, _) => bail!("--name and ORDER both name the order: leave one of them out"),
            (false, _) => bail!("these words are no change of an order: {FORM}"),
        };
        let price = price.map(|text| {
            text.parse::<Price>()
                .map_err(|error| anyhow!("the limit `{text}` is {error}"))
        });
        let change = Self {
            order,
            quantity: lots.map(Quantity),
            price: price.transpose()?,
        };
        if (change.quantity, change.price) == (None, None) {
            bail!("nothing is changed: {FORM}");
        }
        Ok(change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, is_named: bool) -> Result<Change> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        Change::parse(&words, is_named)
    }

    #[test]
    fn what_is_left_out_stays() {
        let (eight, limit) = (Some(Quantity(8)), Some(Price(2_450_000)));
        for (text, is_named, order, quantity, price) in [
            ("77 8 @ 2.45", false, Some(77), eight, limit),
            ("77 8 @2.45", false, Some(77), eight, limit),
            ("77 8", false, Some(77), eight, None),
            ("77 @ 2.45", false, Some(77), None, limit),
            ("8 @ 2.45", true, None, eight, limit),
            ("@ 2.45", true, None, None, limit),
            ("8", true, None, eight, None),
        ] {
            let change = Change {
                order,
                quantity,
                price,
            };
            assert_eq!(parse(text, is_named).unwrap(), change, "{text}");
        }
        for (text, is_named, why) in [
            ("77", false, "nothing is changed"),
            ("@ 2.45", false, "no change of an order"),
            ("77 8 9 @ 2.45", false, "no change of an order"),
            ("77 8 @ 2.45", true, "both name the order"),
            ("77 0 @ 2.45", false, "above zero"),
            ("77 8 2.45", false, "whole number"),
            ("77 8 @ dear", false, "the limit `dear`"),
        ] {
            let refused = parse(text, is_named).unwrap_err().to_string();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }
}
