//! `exahour take-snapshot`: nodes write their state down now, so that their next start replays less.
//!
//! Called by the command line.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::Args;
use exahour_replicas::{ClusterKey, NodeId, NodeStatus, Reply, Request};

use super::add_node::listed;
use super::reach::{ChangeArguments, Reach};
use super::survey::{Survey, ask};
use crate::interrupt::Interrupt;
use crate::output::tell;

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
    let survey = Survey::take(&reach);
    if let Some(why) = survey.silence() {
        bail!("no node of the cluster answers: {why}");
    }
    let asked = ask_all(arguments.node, &survey, &reach.key)?;
    let taken = await_all(&asked.wanted, arguments, &reach, &interrupt)?;
    let nodes = taken.iter().map(|(node, index)| (*node, Some(*index)));
    let nodes: BTreeMap<u64, Option<u64>> = nodes
        .chain(asked.without.iter().map(|node| (*node, None)))
        .collect();
    let lines = nodes.iter().map(|(node, index)| match index {
        Some(index) => format!("node {node} has a snapshot of entry {index}\n"),
        None => format!("node {node} has none: it has applied no entry yet\n"),
    });
    let lines: String = lines.collect();
    if survey.leader().is_none() {
        tell(
            "no node leads: entries that came later are not applied yet, and stand in no snapshot",
        );
    }
    let nodes = nodes.iter();
    let nodes =
        nodes.map(|(node, index)| serde_json::json!({"node": node, "snapshot_index": index}));
    let object = serde_json::json!({ "nodes": nodes.collect::<Vec<_>>() });
    arguments.change.answer(&object, &lines)
}

/// What came of asking.
struct Asked {
    /// Nodes that take one, and the entry that it has to reach.
    wanted: BTreeMap<u64, u64>,
    /// Nodes that have applied nothing, so that there is no state to write down.
    without: Vec<u64>,
}

fn ask_all(node: Option<u64>, survey: &Survey, key: &ClusterKey) -> Result<Asked> {
    let mut asked = Asked {
        wanted: BTreeMap::new(),
        without: Vec::new(),
    };
    let named = |status: &&NodeStatus| node.is_none_or(|node| node == status.id.0);
    for status in survey.statuses().filter(named) {
        if status.applied == 0 {
            asked.without.push(status.id.0);
            continue;
        }
        asked.wanted.insert(status.id.0, status.applied);
        ask_for_one(survey, key, status.id)?;
    }
    if let (Some(node), true) = (node, asked.wanted.is_empty() && asked.without.is_empty()) {
        bail!("{}", survey.absence_of(NodeId(node)));
    }
    ensure!(
        !asked.wanted.is_empty(),
        "no snapshot can be taken: node {} has applied no entry yet{}",
        listed(&asked.without),
        nobody_leads(survey)
    );
    Ok(asked)
}

fn nobody_leads(survey: &Survey) -> &'static str {
    match survey.leader() {
        Some(_) => "",
        None => ", and no node leads",
    }
}

/// Waits until each node has a snapshot of the entry that is wanted of it, or a later one.
fn await_all(
    wanted: &BTreeMap<u64, u64>,
    arguments: &Arguments,
    reach: &Reach,
    interrupt: &Interrupt,
) -> Result<BTreeMap<u64, u64>> {
    let end = Instant::now() + arguments.change.patience;
    loop {
        let survey = Survey::take(reach);
        let taken: BTreeMap<u64, u64> = survey
            .statuses()
            .filter(|it| {
                let wanted = wanted.get(&it.id.0);
                wanted.is_some_and(|applied| has_reached(it, *applied))
            })
            .map(|it| (it.id.0, it.snapshot))
            .collect();
        if taken.len() == wanted.len() {
            return Ok(taken);
        }
        interrupt.check()?;
        let missing: Vec<u64> = wanted
            .keys()
            .filter(|id| !taken.contains_key(id))
            .copied()
            .collect();
        ensure!(
            Instant::now() < end,
            "no snapshot within {} s of node {}{}; it can be asked for again",
            arguments.change.patience.as_secs(),
            listed(&missing),
            nobody_leads(&survey)
        );
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Whether its newest snapshot is of this entry or a later one, and of one that its journal has.
fn has_reached(status: &NodeStatus, applied: u64) -> bool {
    (applied..=status.last_index).contains(&status.snapshot)
}

fn ask_for_one(survey: &Survey, key: &ClusterKey, id: NodeId) -> Result<()> {
    let Some(address) = survey.address_of(id) else {
        bail!("node {id} does not answer");
    };
    match ask(address, key, &Request::TakeSnapshot)? {
        Reply::Done => Ok(()),
        Reply::Refused(why) | Reply::NotNow(why) => bail!("node {id} refuses it: {why}"),
        Reply::Status(_) => bail!("{address} answered another question: is it of this version?"),
    }
}

#[cfg(test)]
mod tests {
    use exahour_replicas::NodeRole;

    use super::super::survey::tests::{status, survey};
    use super::*;

    #[test]
    fn a_snapshot_that_the_journal_does_not_reach_is_none() {
        let mut node = status(1, NodeRole::Follower, 3);
        assert!(has_reached(&node, 50) && !has_reached(&node, 51));
        node.last_index = 49;
        assert!(!has_reached(&node, 40));
    }

    #[test]
    fn a_node_that_has_applied_nothing_is_not_said_to_have_one() {
        let key = ClusterKey::parse(&"07".repeat(32)).unwrap();
        let mut idle = status(1, NodeRole::Follower, 3);
        idle.applied = 0;
        let told = |node, statuses: &[NodeStatus]| {
            let asked = ask_all(node, &survey(statuses), &key);
            asked.err().map(|it| it.to_string()).unwrap_or_default()
        };
        let none = "no snapshot can be taken: node 1 has applied no entry yet";
        let followers = std::slice::from_ref(&idle);
        assert_eq!(told(None, followers), format!("{none}, and no node leads"));
        assert_eq!(
            told(Some(2), followers),
            "node 2 does not answer: start it first"
        );
        assert!(told(Some(9), followers).starts_with("there is no node 9"));
        let led = [idle.clone(), status(2, NodeRole::Leader, 3)];
        assert_eq!(told(Some(1), &led), none);
    }
}
