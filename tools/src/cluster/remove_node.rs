//! `exahour remove-node`: a node leaves the cluster.
//!
//! Called by the command line.
//!
//! Always holds: where the node leads, it hands over first; it is said to be gone only once nobody needs it any
//! more to choose a leader.

use anyhow::Result;
use clap::Args;
use exahour_replicas::{NodeId, NodeStatus, Request};

use super::add_node::{counted, standing_of, voters};
use super::change::{Next, once_known, until_done};
use super::reach::ChangeArguments;
use crate::output::tell;

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
    let mut warning = None;
    let leader = until_done(&arguments.change, |leader| {
        if standing_of(leader, id).is_none() {
            return Ok(once_known(leader));
        }
        if !was_member && let Some(risk) = risk_without(leader, id) {
            tell(&format!("warning: {risk}"));
            warning = Some(risk);
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
        "warning": warning,
        "voters": voters,
    });
    let gone = match was_member {
        true => "is no member any more: stop it",
        false => "is no member",
    };
    let words = format!("node {id} {gone}; {}\n", counted(&voters, "votes", "vote"));
    arguments.change.answer(&object, &words)
}

/// What is to be feared of a group that this node has left.
pub(super) fn risk_without(leader: &NodeStatus, id: NodeId) -> Option<String> {
    let voters = voters(leader);
    let left: Vec<u64> = voters.iter().filter(|it| **it != id.0).copied().collect();
    match left[..] {
        _ if left.len() == voters.len() => None,
        [one] => Some(format!(
            "node {one} votes alone without node {id}: nobody else has to have what it acknowledges, and what its disk \
             loses is lost"
        )),
        [one, other] => Some(format!(
            "without node {id} the exchange stands still as soon as node {one} or node {other} does: add a third voter"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use exahour_replicas::{NodeRole, Standing};

    use super::super::survey::tests::{member, status};
    use super::*;

    #[test]
    fn who_leaves_few_behind_is_warned() {
        let mut leader = status(1, NodeRole::Leader, 3);
        let risk = |leader: &NodeStatus, id| risk_without(leader, NodeId(id)).unwrap_or_default();
        assert!(risk(&leader, 3).contains("node 1 or node 2"));
        leader.members.push(member(4, Standing::Voter, true));
        assert_eq!(risk(&leader, 3), "");
        leader.members.truncate(2);
        leader.members.push(member(4, Standing::Learner, true));
        assert!(risk(&leader, 2).starts_with("node 1 votes alone"));
        // One without a vote leaves as many as there are.
        assert_eq!(risk(&leader, 4), "");
    }

    #[test]
    fn one_node_votes_and_two_nodes_vote() {
        assert_eq!(counted(&[2], "votes", "vote"), "1 node votes: 2");
        assert_eq!(counted(&[2, 3], "votes", "vote"), "2 nodes vote: 2, 3");
    }
}
