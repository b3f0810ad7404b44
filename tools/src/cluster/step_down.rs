//! `exahour step-down`: the node that leads hands over.
//!
//! Called by the command line.

use anyhow::Result;
use clap::Args;
use exahour_replicas::{NodeId, Request};

use super::change::{Next, until_done};
use super::reach::ChangeArguments;

/// Let the node that leads hand over to another, before it is stopped for instance.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  exahour step-down --config node.toml\n  exahour step-down --to 3 --data exahour-cluster"
)]
pub struct Arguments {
    /// Who is to lead [default: whoever follows best].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    to: Option<u64>,
    #[command(flatten)]
    change: ChangeArguments,
}

/// Hands over, and waits until another node leads.
///
/// # Errors
/// Where no node can take over, or none does in time.
pub fn run(arguments: &Arguments) -> Result<()> {
    let to = arguments.to.map(NodeId);
    let mut first = None;
    let leader = until_done(&arguments.change, |leader| {
        let before = *first.get_or_insert(leader.id);
        let done = match to {
            Some(to) => leader.id == to,
            None => leader.id != before,
        };
        Ok(match done {
            true => Next::Done,
            false => Next::Ask(Request::StepDown(to)),
        })
    })?;
    let before = first.filter(|before| *before != leader.id);
    let object = serde_json::json!({
        "leader": leader.id.0,
        "term": leader.term,
        "leader_before": before.map(|it| it.0),
    });
    let words = match before {
        Some(before) => format!("node {} leads now, in place of node {before}\n", leader.id),
        None => format!("node {} leads already\n", leader.id),
    };
    arguments.change.answer(&object, &words)
}
