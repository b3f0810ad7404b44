//! `exahour take-snapshot`: nodes write their state down now, so that their next start replays less.
//!
//! Called by the command line.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::Args;
use exahour_replicas::{NodeId, Reply, Request};

use super::reach::ChangeArguments;
use super::survey::{Survey, ask};
use crate::interrupt::Interrupt;

/// How long to wait from one look to the next.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Have the nodes take a snapshot of their state now, before they are stopped for instance.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  exahour take-snapshot --config node.toml\n  exahour take-snapshot --node 2"
)]
pub struct Arguments {
    /// The node [default: every node that answers].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    node: Option<u64>,
    #[command(flatten)]
    change: ChangeArguments,
}

/// Asks, and waits until each node has a snapshot of what it had applied when it was asked.
///
/// # Errors
/// Where a node does not answer, or takes none in time.
pub fn run(arguments: &Arguments) -> Result<()> {
    let interrupt = Interrupt::watch()?;
    let reach = arguments.change.cluster.reach()?;
    let mut wanted: BTreeMap<u64, u64> = BTreeMap::new();
    let survey = Survey::take(&reach);
    for status in survey.statuses() {
        let id = status.id.0;
        if arguments.node.is_none_or(|node| node == id) {
            wanted.insert(id, status.applied);
            ask_for_one(&survey, &reach.key, status.id)?;
        }
    }
    match (arguments.node, survey.silence()) {
        (_, Some(why)) => bail!("no node of the cluster answers: {why}"),
        (Some(node), None) => ensure!(
            !wanted.is_empty(),
            "node {node} does not answer: start it first"
        ),
        (None, None) => {}
    }
    let end = Instant::now() + arguments.change.patience;
    let taken = loop {
        let survey = Survey::take(&reach);
        let taken: BTreeMap<u64, u64> = survey
            .statuses()
            .filter(|it| {
                wanted
                    .get(&it.id.0)
                    .is_some_and(|applied| it.snapshot >= *applied)
            })
            .map(|it| (it.id.0, it.snapshot))
            .collect();
        if taken.len() == wanted.len() {
            break taken;
        }
        interrupt.check()?;
        let missing: Vec<u64> = wanted
            .keys()
            .filter(|id| !taken.contains_key(id))
            .copied()
            .collect();
        ensure!(
            Instant::now() < end,
            "no snapshot within {} s of node {}; it can be asked for again",
            arguments.change.patience.as_secs(),
            super::add_node::listed(&missing)
        );
        std::thread::sleep(LOOK_AGAIN);
    };
    let nodes = taken.iter();
    let nodes =
        nodes.map(|(node, index)| serde_json::json!({"node": node, "snapshot_index": index}));
    let object = serde_json::json!({ "nodes": nodes.collect::<Vec<_>>() });
    let lines = taken.iter();
    let lines = lines.map(|(node, index)| format!("node {node} has a snapshot of entry {index}\n"));
    arguments.change.answer(&object, &lines.collect::<String>())
}

fn ask_for_one(survey: &Survey, key: &exahour_replicas::ClusterKey, id: NodeId) -> Result<()> {
    let Some(address) = survey.address_of(id) else {
        bail!("node {id} does not answer");
    };
    match ask(address, key, &Request::TakeSnapshot)? {
        Reply::Done => Ok(()),
        Reply::Refused(why) | Reply::NotNow(why) => bail!("node {id} refuses it: {why}"),
        Reply::Status(_) => bail!("{address} answered another question: is it of this version?"),
    }
}
