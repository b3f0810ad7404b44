//! What clients were told, against the journal alone.
//!
//! Called by `demo` once the node has stopped.
//!
//! Always holds: the journal is replayed twice, by this process and by `exahour replay`, which also
//! compares every event with those that the node wrote; both must come to one hash.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use exahour_engine::EventSink;
use exahour_journal::{Reader, Verify, inspect};
use exahour_replicas::{FRAME_COMMANDS, NodeConfig, replay};
use exahour_wire::events::OrderAccepted;
use exahour_wire::ids::{ClientOrderId, InstrumentId, SessionId};
use exahour_wire::message::{Message, messages};
use exahour_wire::orders::NewOrder;
use serde::Serialize;

use crate::feed::desk::Acknowledged;
use crate::journal::hex;

/// What the journal says.
#[derive(Debug, Serialize)]
pub(super) struct Proven {
    acknowledged: usize,
    lost: usize,
    doubled: usize,
    /// Accepted by the journal, and never told to the client.
    untold: usize,
    commands: u64,
    events: u64,
    /// Those that the node had written when it stopped; its next start writes the rest.
    events_compared: u64,
    checkpoints: u64,
    state_hash: String,
}

/// Proves that every order acknowledged in `instrument` is in the journal in `data`, once.
///
/// # Errors
/// Where an order was lost, doubled or never told; where the two replays or the events differ.
pub(super) fn prove(data: &Path, instrument: u32, acknowledged: &[Acknowledged]) -> Result<Proven> {
    let journal = data.join("journal");
    let instrument = InstrumentId(instrument);
    let entered = entered(&journal, instrument)?;
    let mut accepted = Accepted {
        instrument,
        counts: BTreeMap::new(),
    };
    let capacity = NodeConfig::defaults()?.capacity;
    let report = replay(&journal, &capacity, &mut accepted)?;
    let state_hash = hex(&report.state_hash.0);
    let verdict = replay_apart(data)?;
    ensure!(
        verdict["state_hash"] == state_hash.as_str(),
        "two replays of {} differ: {state_hash} and {}",
        journal.display(),
        verdict["state_hash"]
    );
    let counts = &accepted.counts;
    let told: BTreeSet<&Acknowledged> = acknowledged.iter().collect();
    let is_lost =
        |it: &&Acknowledged| !counts.contains_key(it) || !entered.contains(&(it.session, it.name));
    let proven = Proven {
        acknowledged: acknowledged.len(),
        lost: acknowledged.iter().filter(is_lost).count(),
        doubled: counts.values().filter(|count| **count > 1).count()
            + (acknowledged.len() - told.len()),
        untold: counts.keys().filter(|it| !told.contains(it)).count(),
        commands: report.commands,
        events: report.events,
        events_compared: verdict["events_compared"].as_u64().unwrap_or(0),
        checkpoints: report.checkpoints,
        state_hash,
    };
    ensure!(
        proven.lost + proven.doubled + proven.untold == 0,
        "a promise is broken: {} acknowledged orders lost, {} doubled, {} never told; keep {}",
        proven.lost,
        proven.doubled,
        proven.untold,
        data.display()
    );
    Ok(proven)
}

/// Every order of the contract that the journal holds, by who sent it and under which name.
fn entered(
    journal: &Path,
    instrument: InstrumentId,
) -> Result<BTreeSet<(SessionId, ClientOrderId)>> {
    let recovered = inspect(journal, Verify::Every).context("journal")?;
    let mut reader = Reader::closed(journal, &recovered, Verify::Every).context("journal")?;
    let mut found = BTreeSet::new();
    while let Some(frame) = reader.next(recovered.appended).context("journal")? {
        if frame.header.kind == FRAME_COMMANDS {
            let orders = messages(frame.payload).filter_map(NewOrder::read);
            let orders = orders.filter(|order| order.instrument == instrument);
            found.extend(orders.map(|order| (order.session, order.client_order_id)));
        }
    }
    Ok(found)
}

/// The orders of a contract that a replay accepts, and how often.
struct Accepted {
    instrument: InstrumentId,
    counts: BTreeMap<Acknowledged, u32>,
}

impl EventSink for Accepted {
    fn emit(&mut self, event: &[u8]) {
        if let Some(it) = OrderAccepted::read(event).filter(|it| it.instrument == self.instrument) {
            let accepted = Acknowledged {
                session: it.session,
                name: it.client_order_id,
                order: it.order,
            };
            *self.counts.entry(accepted).or_default() += 1;
        }
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
             two processes: {} commands, {} checkpoints equal; of {} events the \
             node had written {}, all equal\n   state hash {}",
            self.acknowledged,
            self.lost,
            self.doubled,
            self.untold,
            self.commands,
            self.checkpoints,
            self.events,
            self.events_compared,
            self.state_hash
        )
    }
}
