//! `exahour remove-node`: a node leaves the cluster.
//!
//! Called by the command line.
//!
//! Always holds: where the node leads, it hands over first.

use anyhow::Result;
use clap::Args;
use exahour_replicas::{NodeId, Request};

use super::add_node::{listed, standing_of, voters};
use super::change::{Next, until_done};
use super::reach::ChangeArguments;

/// Take a node out of the cluster; its number is never given again.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  exahour remove-node --id 2 --config node.toml")]
pub struct Arguments {
    /// The node's number.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    id: u64,
    #[command(flatten)]
    change: ChangeArguments,
}

/// Removes the node, and waits until it is no member.
///
/// # Errors
/// Where it is refused, or not done in time.
pub fn run(arguments: &Arguments) -> Result<()> {
    let id = NodeId(arguments.id);
    let mut was_member = false;
    let leader = until_done(&arguments.change, |leader| {
        if standing_of(leader, id).is_none() {
            return Ok(Next::Done);
        }
        was_member = true;
        Ok(Next::Ask(match leader.id == id {
            true => Request::StepDown(None),
            false => Request::RemoveNode(id),
        }))
    })?;
    let voters = voters(&leader);
    let object = serde_json::json!({
        "node": id.0,
        "was_member": was_member,
        "voters": voters,
    });
    let gone = match was_member {
        true => "is no member any more: stop it",
        false => "is no member",
    };
    let words = format!(
        "node {id} {gone}; {} nodes vote: {}\n",
        voters.len(),
        listed(&voters)
    );
    arguments.change.answer(&object, &words)
}
