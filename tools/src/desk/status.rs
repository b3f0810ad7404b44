//! `exahour status`: what a live order is at present.
//!
//! Called by the command line.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use exahour_wire::message::Message;
use exahour_wire::orders::OrderStatusRequest;

use super::choice::OrderChoice;
use super::{ORDER_DOUBT, Seen, Sent, follow, fresh_name, leave};
use crate::listings::InstrumentName;

/// Ask for the state of a live order: what is open, what has traded, at which price, until when.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  exahour status 16777216 --session 2\n  exahour status --name 7 --instrument 1"
)]
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
    /// Write the report as JSON.
    #[arg(long)]
    json: bool,
}

/// Asks.
///
/// # Errors
/// Where nobody listens, or the order is not live.
pub fn run(arguments: &Arguments) -> Result<()> {
    let Arguments { order, choice, .. } = arguments;
    let named = choice.named(*order, arguments.instrument.as_ref())?;
    let mut client = choice.node.connect(choice.session())?;
    let command = OrderStatusRequest {
        request: fresh_name(),
        order: named.order,
        client_order_id: named.name,
        instrument: named.instrument,
        ..OrderStatusRequest::blank()
    };
    let sent = Sent::send(&mut client, &command, command.request, ORDER_DOUBT)?;
    let (at_once, json) = (Duration::ZERO, arguments.json);
    let outcome = follow(&mut client, &sent, at_once, json, |_| Seen::Enough);
    leave(client);
    outcome
}
