//! `exahour cancel`: cancels one order and prints the report.
//!
//! Called by the command line.

use std::time::Duration;

use anyhow::{Result, anyhow};
use clap::Args;
use exahour_wire::ids::{OrderId, SessionId};
use exahour_wire::message::Message;
use exahour_wire::orders::CancelOrder;

use super::orders::live_orders;
use super::{Seen, follow, fresh_name, leave};
use crate::connection::NodeArguments;
use crate::exit::finding;
use crate::listings::InstrumentName;

/// Cancel an order.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// The number that the exchange gave the order, as `order` and `orders` print it.
    #[arg(value_name = "ORDER", value_parser = clap::value_parser!(u64).range(1..))]
    order: u64,
    /// Its instrument's number or symbol [default: looked up among the live orders of the
    /// participant].
    #[arg(long, value_name = "INSTRUMENT")]
    instrument: Option<InstrumentName>,
    /// The session that cancels it.
    #[arg(long, value_name = "N", default_value_t = 1)]
    session: u32,
    /// The firm that the session belongs to [default: as the configuration says].
    #[arg(long, value_name = "N")]
    participant: Option<u32>,
    #[command(flatten)]
    node: NodeArguments,
    /// Write reports as JSON, one a line.
    #[arg(long)]
    json: bool,
}

/// Cancels the order.
///
/// # Errors
/// Where nobody listens, the order is not live, or the exchange refuses.
pub fn run(arguments: &Arguments) -> Result<()> {
    let session = SessionId(arguments.session);
    let order = OrderId(arguments.order);
    let instrument = match &arguments.instrument {
        Some(instrument) => instrument.resolve(&arguments.node)?,
        None => {
            let live = live_orders(&arguments.node, session, arguments.participant)?;
            let found = live.get(&order).ok_or_else(|| {
                finding(anyhow!(
                    "order {order} is not a live order of session {session}'s participant; \
                     `exahour orders --session {session} --all` lists those that are"
                ))
            })?;
            found.instrument
        }
    };
    let mut client = arguments.node.connect(session)?;
    client.send(&CancelOrder {
        request: fresh_name(),
        order,
        instrument,
        ..CancelOrder::blank()
    })?;
    let outcome = follow(&mut client, Duration::ZERO, arguments.json, |_| {
        Seen::Enough
    });
    leave(client);
    outcome
}
