//! `exahour demo`: the whole exchange in one command, and proof of what it promises.
//!
//! Called by the command line. `site` holds the processes and the folder, `market` makes up rows
//! where no file is named, `trading` drives them and kills the node, `delivery` lets a contract
//! become a machine, `login` logs in to it, `proof` compares what clients were told with the journal.
//!
//! Always holds: node, settlement and machine are real processes, reached over sockets only; they
//! are gone at the end, whatever ends the demo; so is the folder, unless it was named or the demo
//! failed.
//! Does not: know anything that a client, an operator or an auditor could not know.

mod site;

mod market;
mod trading;

mod delivery;
mod login;

mod proof;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use exahour_wire::ids::InstrumentId;
use serde::Serialize;

use crate::feed::rows::{Row, Rows};
use crate::output::{print, print_json};
use delivery::Delivered;
use proof::{Promised, Proven};
use site::Site;
use trading::Traded;

/// The seed of a flow that is made up.
const SEED: u64 = 23;

/// See the whole exchange at work: trading, a crash, a recovery, a delivered machine, the proof.
///
/// It starts a node and the settlement process, logs clients in over TCP, trades, kills the node
/// with SIGKILL in full flow and starts it again, lets a contract expire, logs in to the machine
/// that was delivered, and proves from the journal that nothing acknowledged was lost. Then it
/// cleans up.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Trade a real order-by-order file, in the format of `exahour feed` [default: a generated flow].
    #[arg(long, value_name = "FILE.csv")]
    orders: Option<PathBuf>,
    /// Keep everything in this new folder, for `replay` and `audit` [default: a folder that is
    /// removed at the end].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Rows to trade, at most.
    #[arg(long, value_name = "N", default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    rows: u64,
    /// Rows a second; latency counts from when a row was due.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: u64,
    /// Write the findings as one JSON object.
    #[arg(long)]
    json: bool,
}

/// All that a demo found.
#[derive(Debug, Serialize)]
struct Findings {
    traded: Traded,
    delivered: Delivered,
    proven: Proven,
    elapsed_s: f64,
    data: Option<PathBuf>,
}

/// Shows everything.
///
/// # Errors
/// Where a part of it does not come about, or a promise does not hold; what the processes said is
/// told, and everything is cleaned up.
pub fn run(arguments: &Arguments) -> Result<()> {
    let begun = Instant::now();
    // A file is checked before anything is started.
    let rows = rows(arguments)?;
    let say = Narrator(!arguments.json);
    let mut site = Site::open(arguments.data.as_deref())?;
    let shown = show(arguments, &rows, &mut site, &say);
    // The end is the same whatever came before; the first thing that went wrong is the one told.
    let closed = site.close(shown.as_ref().err());
    let (traded, delivered, proven) = shown?;
    closed?;
    let findings = Findings {
        traded,
        delivered,
        proven,
        elapsed_s: begun.elapsed().as_secs_f64(),
        data: arguments.data.clone(),
    };
    if arguments.json {
        return print_json(&findings);
    }
    say.line(&match &findings.data {
        Some(data) => format!(
            "done in {:.1} s; try `exahour replay {data}` and `exahour audit {data}`",
            findings.elapsed_s,
            data = data.display()
        ),
        None => format!("done in {:.1} s; everything is removed", findings.elapsed_s),
    })
}

fn show(
    arguments: &Arguments,
    rows: &[Row],
    site: &mut Site,
    say: &Narrator,
) -> Result<(Traded, Delivered, Proven)> {
    say.line("== start: a node, and the settlement process beside it")?;
    let serving = site.start_node()?;
    site.start_settlement()?;
    say.line(&format!(
        "   orders {}, market data {}, data {}",
        serving.orders,
        serving.market_data,
        site.data().display()
    ))?;
    let source = match &arguments.orders {
        Some(path) => path.display().to_string(),
        None => format!("a generated flow, seed {SEED}"),
    };
    say.line(&format!(
        "== trade: two clients over TCP, {} rows of {source}, {} a second",
        rows.len(),
        arguments.rate
    ))?;
    let (traded, acknowledged) = trading::trade(site, serving.orders, rows, arguments.rate, say)?;
    say.line(&traded.text())?;
    say.line("== deliver: a contract expires and becomes a machine")?;
    let delivered = delivery::deliver(site, say)?;
    say.line("== prove: stop the node, and read its journal as an auditor would")?;
    site.stop_settlement()?;
    site.stop_node()?;
    let promised = Promised {
        instrument: InstrumentId(traded.instrument),
        taken: traded.taken,
        acknowledged: &acknowledged,
    };
    let proven = proof::prove(site.data(), &promised)?;
    say.line(&proven.text())?;
    Ok((traded, delivered, proven))
}

/// The rows to trade, every one checked.
fn rows(arguments: &Arguments) -> Result<Vec<Row>> {
    let count = usize::try_from(arguments.rows).context("--rows")?;
    let Some(path) = &arguments.orders else {
        return Ok(market::rows(SEED, count));
    };
    let mut file = Rows::open(path)?;
    let mut rows = Vec::new();
    while rows.len() < count
        && let Some(row) = file.next()?
    {
        rows.push(row);
    }
    anyhow::ensure!(
        rows.len() >= trading::ROWS_MIN,
        "{} has {} rows: too few to be killed in full flow; at least {} are needed",
        path.display(),
        rows.len(),
        trading::ROWS_MIN
    );
    Ok(rows)
}

/// Tells the story, where a person reads it.
struct Narrator(bool);

impl Narrator {
    fn line(&self, text: &str) -> Result<()> {
        match self.0 {
            true => print(&format!("{text}\n")),
            false => Ok(()),
        }
    }
}
