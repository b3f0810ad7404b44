//! `exahour cancel`: cancels one order and prints the report.
//!
//! Called by the command line.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use exahour_wire::message::Message;
use exahour_wire::orders::CancelOrder;

use super::choice::OrderChoice;
use super::{ORDER_DOUBT, Seen, Sent, follow, fresh_name, leave};
use crate::listings::InstrumentName;

/// Cancel an order.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  exahour cancel 16777216 --session 2")]
pub struct Arguments {
    /// The number that the exchange gave the order, as `order` and `orders` print it.
    #[arg(value_name = "ORDER", value_parser = clap::value_parser!(u64).range(1..))]
    order: Option<u64>,
    /// Its instrument's number or symbol [default: looked up among the live orders of the
    /// participant].
    #[arg(long, value_name = "INSTRUMENT")]
    instrument: Option<InstrumentName>,
    #[command(flatten)]
    choice: OrderChoice,
    /// Write reports as JSON, one a line.
    #[arg(long)]
    json: bool,
}

/// Cancels the order.
///
/// # Errors
/// Where nobody listens, the order is not live, or the exchange refuses.
pub fn run(arguments: &Arguments) -> Result<()> {
    let Arguments { order, choice, .. } = arguments;
    let named = choice.named(*order, arguments.instrument.as_ref())?;
    let mut client = choice.node.connect(choice.session())?;
    let command = CancelOrder {
        request: fresh_name(),
        order: named.order,
        client_order_id: named.name,
        instrument: named.instrument,
        ..CancelOrder::blank()
    };
    let sent = Sent::send(&mut client, &command, command.request, ORDER_DOUBT)?;
    let (at_once, json) = (Duration::ZERO, arguments.json);
    let outcome = follow(&mut client, &sent, at_once, json, |_| Seen::Enough);
    leave(client);
    outcome
}
