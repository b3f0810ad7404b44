//! What clients were told, against the journal alone.
//!
//! Called by `demo` once the node has stopped.
//!
//! Always holds: the journal is replayed twice, by this process and by `exahour replay`, which also
//! compares every event with those that the node wrote; both must come to one hash.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use exahour_engine::EventSink;
use exahour_journal::{Reader, Verify, inspect};
use exahour_replicas::{FRAME_COMMANDS, replay};
use exahour_wire::events::OrderAccepted;
use exahour_wire::ids::{ClientOrderId, InstrumentId, SessionId};
use exahour_wire::message::{Message, messages};
use exahour_wire::orders::{CancelOrder, NewOrder, ReplaceOrder};
use serde::Serialize;

use crate::exit::finding;
use crate::feed::desk::Acknowledged;
use crate::journal::hex;

/// What the journal says.
#[derive(Debug, Serialize)]
pub(super) struct Proven {
    acknowledged: usize,
    #[serde(flatten)]
    broken: Broken,
    /// Commands in the journal.
    commands: u64,
    /// Of those, the ones that the trading clients sent; the others list, fund, open sessions, tick.
    commands_of_traders: u64,
    events: u64,
    /// Those that the node had written when it stopped; its next start writes the rest.
    events_compared: u64,
    checkpoints: u64,
    state_hash: String,
}

/// How often a promise was broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Broken {
    /// Acknowledged, and not in the journal or not accepted by its replay.
    lost: usize,
    /// Messages that entered more than one order, in the journal or by what the client was told.
    doubled: usize,
    /// Accepted by the journal, and never told to the client.
    untold: usize,
}

/// What clients were told.
pub(super) struct Promised<'a> {
    /// The contract that they traded.
    pub(super) instrument: InstrumentId,
    /// How many of their commands were answered.
    pub(super) taken: u64,
    /// The orders among these that were acknowledged.
    pub(super) acknowledged: &'a [Acknowledged],
}

/// Proves that every order acknowledged is in the journal in `data`, once, and that the journal holds
/// just the commands that were answered.
///
/// # Errors
/// Where an order was lost, doubled or never told; where the two replays or the events differ.
pub(super) fn prove(data: &Path, promised: &Promised<'_>) -> Result<Proven> {
    // Whatever keeps a promise from being proven here is what was found.
    find(data, promised).map_err(finding)
}

fn find(data: &Path, promised: &Promised<'_>) -> Result<Proven> {
    let journal = data.join("journal");
    let (instrument, acknowledged) = (promised.instrument, promised.acknowledged);
    let (entered, commands_of_traders) = entered(&journal, instrument)?;
    let mut accepted = Accepted {
        instrument,
        orders: Vec::new(),
    };
    let report = replay(&journal, &mut accepted)?;
    let state_hash = hex(&report.state_hash.0);
    let verdict = replay_apart(data)?;
    ensure!(
        verdict["state_hash"] == state_hash.as_str(),
        "two replays of {} differ: {state_hash} and {}",
        journal.display(),
        verdict["state_hash"]
    );
    let broken = compare(acknowledged, &accepted.orders, &entered);
    let proven = Proven {
        acknowledged: acknowledged.len(),
        broken,
        commands: report.commands,
        commands_of_traders,
        events: report.events,
        events_compared: verdict["events_compared"].as_u64().unwrap_or(0),
        checkpoints: report.checkpoints,
        state_hash,
    };
    ensure!(
        broken == Broken::default(),
        "a promise is broken: {} acknowledged orders lost, {} doubled, {} never told; see {}",
        broken.lost,
        broken.doubled,
        broken.untold,
        data.display()
    );
    ensure!(
        commands_of_traders == promised.taken,
        "a promise is broken: {} commands were answered, and the journal holds {commands_of_traders} \
         of these clients; see {}",
        promised.taken,
        data.display()
    );
    Ok(proven)
}

/// What clients were told, against what the journal gives and holds.
fn compare(
    told: &[Acknowledged],
    accepted: &[Acknowledged],
    entered: &BTreeSet<(SessionId, ClientOrderId)>,
) -> Broken {
    let in_journal: BTreeSet<_> = accepted.iter().collect();
    let in_reports: BTreeSet<_> = told.iter().collect();
    let is_lost =
        |it: &&Acknowledged| !in_journal.contains(it) || !entered.contains(&(it.session, it.name));
    // A message is told by its session's number; a second order of one message has an id of its own.
    let repeated = |orders: &[Acknowledged]| {
        let messages: BTreeSet<_> = orders.iter().map(|it| (it.session, it.sequence)).collect();
        orders.len() - messages.len()
    };
    Broken {
        lost: told.iter().filter(is_lost).count(),
        doubled: repeated(accepted).max(repeated(told)),
        untold: in_journal.difference(&in_reports).count(),
    }
}

/// Every order of the contract that the journal holds, by who sent it and under which name; and how many
/// orders, changes and cancels of it there are.
fn entered(
    journal: &Path,
    instrument: InstrumentId,
) -> Result<(BTreeSet<(SessionId, ClientOrderId)>, u64)> {
    let recovered = inspect(journal, Verify::Every).context("journal")?;
    let mut reader = Reader::closed(journal, &recovered, Verify::Every).context("journal")?;
    let mut found = BTreeSet::new();
    let mut commands = 0;
    let changes = |message: &[u8]| {
        let replaced = ReplaceOrder::read(message).map(|it| it.instrument);
        replaced.or_else(|| CancelOrder::read(message).map(|it| it.instrument)) == Some(instrument)
    };
    while let Some(frame) = reader.next(recovered.appended).context("journal")? {
        if frame.header.kind == FRAME_COMMANDS {
            for message in messages(frame.payload) {
                let order = NewOrder::read(message).filter(|it| it.instrument == instrument);
                commands += u64::from(order.is_some() || changes(message));
                found.extend(order.map(|order| (order.session, order.client_order_id)));
            }
        }
    }
    Ok((found, commands))
}

/// The orders of a contract that a replay accepts, each time it does.
struct Accepted {
    instrument: InstrumentId,
    orders: Vec<Acknowledged>,
}

impl EventSink for Accepted {
    fn emit(&mut self, event: &[u8]) {
        let accepted = OrderAccepted::read(event).filter(|it| it.instrument == self.instrument);
        self.orders.extend(accepted.as_ref().map(Acknowledged::of));
    }
}

/// Has another process replay the journal and compare every event.
fn replay_apart(data: &Path) -> Result<serde_json::Value> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let output = Command::new(program)
        .args(["replay", "--compare-events", "--json"])
        .arg(data)
        .output()
        .context("cannot start `exahour replay`")?;
    ensure!(
        output.status.success(),
        "`exahour replay` refuses the journal: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    serde_json::from_slice(&output.stdout).context("what `exahour replay` printed")
}

impl Proven {
    /// The text to read.
    pub(super) fn text(&self) -> String {
        format!(
            "   {} orders acknowledged to clients: {} lost, {} doubled, {} never told\n   replayed by \
             two processes: {} commands, {} of them these clients'; {} checkpoints equal; of {} events \
             the node had written {}, all equal\n   state hash {}",
            self.acknowledged,
            self.broken.lost,
            self.broken.doubled,
            self.broken.untold,
            self.commands,
            self.commands_of_traders,
            self.checkpoints,
            self.events,
            self.events_compared,
            self.state_hash
        )
    }
}

#[cfg(test)]
mod tests {
    use exahour_wire::ids::{MessageSequence, OrderId};

    use super::*;

    fn order(sequence: u32, order: u64) -> Acknowledged {
        Acknowledged {
            session: SessionId(1),
            sequence: MessageSequence(sequence),
            name: ClientOrderId(u64::from(sequence)),
            order: OrderId(order),
        }
    }

    fn found(told: &[Acknowledged], accepted: &[Acknowledged], names: &[u64]) -> [usize; 3] {
        let entered = names
            .iter()
            .map(|name| (SessionId(1), ClientOrderId(*name)));
        let broken = compare(told, accepted, &entered.collect());
        [broken.lost, broken.doubled, broken.untold]
    }

    #[test]
    fn every_broken_promise_is_found() {
        let (one, two, again) = (order(1, 10), order(2, 20), order(1, 30));
        assert_eq!(found(&[one, two], &[one, two], &[1, 2]), [0, 0, 0]);
        assert_eq!(found(&[one, two], &[one], &[1, 2]), [1, 0, 0]);
        assert_eq!(found(&[one, two], &[one, two], &[1]), [1, 0, 0]);
        assert_eq!(found(&[one], &[one, two], &[1, 2]), [0, 0, 1]);
        // One message, two orders: whether the client was told of the second one or not.
        assert_eq!(found(&[one], &[one, again], &[1]), [0, 1, 1]);
        assert_eq!(found(&[one, again], &[one, again], &[1]), [0, 1, 0]);
        assert_eq!(found(&[one, one], &[one], &[1]), [0, 1, 0]);
    }
}
