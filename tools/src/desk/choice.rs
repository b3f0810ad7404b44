//! Which live order a command means: by the exchange's number, or by the session's own.
//!
//! Called by `cancel`, `replace` and `status`.
//!
//! Always holds: an order that is looked up is one of the session's participant, and live.

use anyhow::{Result, anyhow, bail};
use clap::Args;
use exahour_wire::ids::{ClientOrderId, InstrumentId, OrderId, SessionId};

use super::orders::{LiveOrder, live_orders};
use crate::connection::NodeArguments;
use crate::exit::finding;
use crate::listings::InstrumentName;

/// Which order, who means it, and at which node.
#[derive(Clone, Debug, Args)]
pub(super) struct OrderChoice {
    /// The number that you gave the order when you entered it, in place of ORDER: reports call it
    /// clientOrderId.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    name: Option<u64>,
    /// The session that says it.
    #[arg(long, value_name = "N", default_value_t = 1)]
    session: u32,
    /// The firm that the session belongs to [default: as the configuration says].
    #[arg(long, value_name = "N")]
    participant: Option<u32>,
    #[command(flatten)]
    pub(super) node: NodeArguments,
}

/// An order as the exchange finds it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    /// By the exchange's number; none where it is by the session's.
    pub(super) order: OrderId,
    /// By the session's number; none where it is by the exchange's.
    pub(super) name: ClientOrderId,
    pub(super) instrument: InstrumentId,
}

impl OrderChoice {
    /// Whether the order is named by the session's number.
    pub(super) fn is_named(&self) -> bool {
        self.name.is_some()
    }

    pub(super) fn session(&self) -> SessionId {
        SessionId(self.session)
    }

    /// The order's names, without asking whether it lives where its instrument is given.
    ///
    /// # Errors
    /// Where the order is not named, or is looked up and not live.
    pub(super) fn named(
        &self,
        order: Option<u64>,
        instrument: Option<&InstrumentName>,
    ) -> Result<Named> {
        let Some(instrument) = instrument else {
            let (order, live) = self.live(order)?;
            return Ok(Named {
                order,
                name: ClientOrderId::NONE,
                instrument: live.instrument,
            });
        };
        let instrument = instrument.resolve(&self.node)?;
        let (order, name) = match (order, self.name) {
            (Some(order), None) => (OrderId(order), ClientOrderId::NONE),
            (None, Some(name)) => (OrderId::NONE, ClientOrderId(name)),
            _ => return Err(not_named()),
        };
        Ok(Named {
            order,
            name,
            instrument,
        })
    }

    /// The order as it lives.
    ///
    /// # Errors
    /// Where it is not named, does not live, or the session may not have drop copies.
    pub(super) fn live(&self, order: Option<u64>) -> Result<(OrderId, LiveOrder)> {
        let session = self.session();
        let all = || live_orders(&self.node, session, self.participant);
        let (found, what) = match (order, self.name) {
            (Some(order), None) => {
                let found = all()?.remove_entry(&OrderId(order));
                (found, format!("order {order}"))
            }
            (None, Some(name)) => {
                let named = |it: &LiveOrder| it.session == session && it.name.0 == name;
                let found = all()?.into_iter().find(|(_, it)| named(it));
                (
                    found,
                    format!("the order that session {session} calls {name}"),
                )
            }
            _ => return Err(not_named()),
        };
        found.ok_or_else(|| {
            finding(anyhow!(
                "{what} is not a live order of session {session}'s participant; \
                 `exahour orders --session {session} --all` lists those that are"
            ))
        })
    }

    /// As [`Self::live`], of an order that only the session which entered it may change.
    pub(super) fn own(&self, order: Option<u64>) -> Result<(OrderId, LiveOrder)> {
        let (order, live) = self.live(order)?;
        if live.session != self.session() {
            bail!(
                "order {order} was entered by session {}, and only that session may replace it: \
                 name it with --session",
                live.session
            );
        }
        Ok((order, live))
    }
}

fn not_named() -> anyhow::Error {
    anyhow!("name one order: ORDER, the exchange's number for it, or --name N, your own")
}
