//! `exahour cancel` and `exahour order-status`: what is said of one live order, and its answer.
//!
//! Called by the command line.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use exahour_wire::ids::ClientOrderId;
use exahour_wire::message::Message;
use exahour_wire::orders::{CancelOrder, OrderStatusRequest};

use super::choice::{Named, OrderChoice};
use super::{ORDER_DOUBT, Seen, Sent, follow, fresh_name, leave};
use crate::listings::InstrumentName;

/// Cancel an order.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  exahour cancel 16777216 --session 2")]
pub struct CancelArguments {
    #[command(flatten)]
    order: OneOrder,
}

/// Ask for the state of a live order: what is open, what has traded, at which price, until when.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  exahour order-status 16777216 --session 2\n  exahour order-status --name 7 --instrument 1"
)]
pub struct StatusArguments {
    #[command(flatten)]
    order: OneOrder,
}

/// Which order, and how its reports are written.
#[derive(Clone, Debug, Args)]
struct OneOrder {
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
pub fn cancel(arguments: &CancelArguments) -> Result<()> {
    arguments.order.say(|named, request| CancelOrder {
        request,
        order: named.order,
        client_order_id: named.name,
        instrument: named.instrument,
        ..CancelOrder::blank()
    })
}

/// Asks for the order's state.
///
/// # Errors
/// Where nobody listens, or the order is not live.
pub fn status(arguments: &StatusArguments) -> Result<()> {
    arguments.order.say(|named, request| OrderStatusRequest {
        request,
        order: named.order,
        client_order_id: named.name,
        instrument: named.instrument,
        ..OrderStatusRequest::blank()
    })
}

impl OneOrder {
    /// Says it and prints the answer.
    fn say<M: Message>(&self, command: impl FnOnce(Named, ClientOrderId) -> M) -> Result<()> {
        let named = self.choice.named(self.order, self.instrument.as_ref())?;
        let mut client = self.choice.node.connect(self.choice.session())?;
        let request = fresh_name();
        let command = command(named, request);
        let sent = Sent::send(&mut client, &command, request, ORDER_DOUBT)?;
        let at_once = Duration::ZERO;
        let outcome = follow(&mut client, &sent, at_once, self.json, |_| Seen::Enough);
        leave(client);
        outcome
    }
}
