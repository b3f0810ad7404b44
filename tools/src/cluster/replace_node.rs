//! `exahour replace-node`: a new node takes the place of an old one, in one step.
//!
//! Called by the command line.
//!
//! Always holds: the new node has caught up before the old one goes, so that the group is never smaller than
//! it was, unless the new one voted before, which is warned of; where the old one leads, it hands over first.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use exahour_replicas::{Member, NodeId, NodeStatus, Request, Standing};

use super::add_node::{Progress, by_config, check_same, counted, standing_of, voters};
use super::change::{Next, once_known, until_done};
use super::reach::ChangeArguments;
use super::remove_node::risk_without;
use crate::connection::address;
use crate::exit::finding;
use crate::output::tell;

/// Put a new node, started with an empty folder, in the place of one that is lost or to go.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  exahour replace-node --old 2 --new 4 --peers 10.0.0.4:7804 --orders 10.0.0.4:7801 --config node.toml\n  \
                  exahour replace-node --old 2 --node-config exahour-cluster/node-4.toml --data exahour-cluster"
)]
pub struct Arguments {
    /// The node that goes; it need not run.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    old: u64,
    /// The node that comes: a number above all that nodes of the cluster ever had, unless it has been added already.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), required_unless_present = "node_config")]
    new: Option<u64>,
    /// Where peers reach the new node, unless it has been added already.
    #[arg(long, value_name = "ADDRESS", value_parser = address, requires = "orders")]
    peers: Option<SocketAddr>,
    /// Where clients reach it.
    #[arg(long, value_name = "ADDRESS", value_parser = address, requires = "peers")]
    orders: Option<SocketAddr>,
    /// The configuration of the new node, which says all three.
    #[arg(long, value_name = "FILE.toml", conflicts_with_all = ["new", "peers", "orders"])]
    node_config: Option<PathBuf>,
    #[command(flatten)]
    change: ChangeArguments,
}

/// Adds the new node where need be, waits until it has caught up, and lets it take the old one's place.
///
/// # Errors
/// Where it is refused, or not done in time.
pub fn run(arguments: &Arguments) -> Result<()> {
    let old = NodeId(arguments.old);
    let (new, member) = newcomer(arguments)?;
    ensure!(
        old != new,
        "node {old} cannot take its own place: a new node needs a number of its own"
    );
    let progress = Progress::new();
    let mut warning = None;
    let outcome = until_done(&arguments.change, |leader| {
        if warning.is_none()
            && let Some(risk) = shrinks(leader, old, new)
        {
            tell(&format!("warning: {risk}"));
            warning = Some(risk);
        }
        judge(leader, old, (new, member), &progress)
    });
    progress.end();
    let voters = voters(&outcome?);
    let object = serde_json::json!({
        "node": new.0,
        "in_place_of": old.0,
        "warning": warning,
        "voters": voters,
    });
    let words = format!(
        "node {new} votes in the place of node {old}, which is to be stopped if it still runs; {}\n",
        counted(&voters, "does", "do")
    );
    arguments.change.answer(&object, &words)
}

/// What is to be feared where both vote already: one leaves and nobody comes.
fn shrinks(leader: &NodeStatus, old: NodeId, new: NodeId) -> Option<String> {
    let votes = |id| standing_of(leader, id).is_some_and(|it| it.standing == Standing::Voter);
    if !votes(old) || !votes(new) {
        return None;
    }
    let left = voters(leader).len() - 1;
    let mut text =
        format!("node {new} votes already, so the cluster gets smaller: voters left then: {left}");
    if let Some(risk) = risk_without(leader, old) {
        text.push_str("; ");
        text.push_str(&risk);
    }
    Some(text)
}

/// Who comes, and where it is reached if that was said.
fn newcomer(arguments: &Arguments) -> Result<(NodeId, Option<Member>)> {
    if let Some(path) = &arguments.node_config {
        let member = by_config(path)?;
        return Ok((member.id, Some(member)));
    }
    let new = NodeId(arguments.new.context("say who comes: --new N")?);
    let member = arguments
        .peers
        .zip(arguments.orders)
        .map(|(peers, orders)| Member {
            id: new,
            peers,
            orders,
        });
    Ok((new, member))
}

fn judge(
    leader: &NodeStatus,
    old: NodeId,
    (new, member): (NodeId, Option<Member>),
    progress: &Progress,
) -> Result<Next> {
    let leaves = standing_of(leader, old).map(|it| it.standing);
    let comes = standing_of(leader, new);
    if let (Some(comes), Some(member)) = (comes, &member) {
        check_same(&comes.member, member)?;
    }
    Ok(match (leaves, comes) {
        (None, Some(comes)) if comes.standing == Standing::Voter => once_known(leader),
        (None, _) => {
            return Err(finding(anyhow!(
                "node {old} is no member: add the new one with `exahour add-node`"
            )));
        }
        (Some(_), None) => match member {
            Some(member) => Next::Ask(Request::AddNode(member)),
            None => {
                return Err(finding(anyhow!(
                    "node {new} is no member yet: say where it is reached with --peers and --orders"
                )));
            }
        },
        (Some(Standing::Leaving), _) => Next::Wait(format!("node {old} is leaving")),
        (Some(_), Some(comes)) if comes.matched == 0 => {
            progress.note(leader, comes);
            Next::Wait(format!(
                "node {new} has not answered the leader yet: does it run, at {}?",
                comes.member.peers
            ))
        }
        (Some(_), Some(comes)) => {
            progress.note(leader, comes);
            let voter = comes.standing == Standing::Voter;
            Next::Ask(match (leader.id == old, voter) {
                (true, _) => Request::StepDown(None),
                (false, true) => Request::RemoveNode(old),
                (false, false) => Request::ReplaceNode { old, new },
            })
        }
    })
}

#[cfg(test)]
mod tests {
    use exahour_replicas::NodeRole;

    use super::super::survey::tests::{member, status};
    use super::*;

    #[test]
    fn what_is_asked_next_follows_from_how_the_cluster_stands() {
        let progress = Progress::new();
        let mut leader = status(1, NodeRole::Leader, 3);
        let four = member(4, Standing::Learner, true);
        let judge = |leader: &NodeStatus, old, member| {
            judge(leader, NodeId(old), (NodeId(4), member), &progress)
        };
        let asked = |next: Result<Next>| match next.unwrap() {
            Next::Ask(request) => request,
            Next::Done => panic!("done"),
            Next::Wait(why) => panic!("{why}"),
        };
        assert!(judge(&leader, 2, None).is_err(), "nobody says where it is");
        let add = asked(judge(&leader, 2, Some(four.member)));
        assert_eq!(add, Request::AddNode(four.member));
        leader.members.push(four);
        leader.members[3].matched = 0;
        assert!(matches!(judge(&leader, 2, None).unwrap(), Next::Wait(_)));
        leader.members[3].matched = 5;
        let (old, new) = (NodeId(2), NodeId(4));
        assert_eq!(
            asked(judge(&leader, 2, None)),
            Request::ReplaceNode { old, new }
        );
        assert_eq!(asked(judge(&leader, 1, None)), Request::StepDown(None));
        assert_eq!(shrinks(&leader, old, new), None);
        let mut elsewhere = four.member;
        elsewhere.peers.set_port(1);
        assert!(judge(&leader, 2, Some(elsewhere)).is_err());
        leader.members[3].standing = Standing::Voter;
        let told = shrinks(&leader, old, new).unwrap();
        assert!(told.ends_with("voters left then: 3"), "{told}");
        let told = shrinks(&leader, old, NodeId(3)).unwrap();
        assert!(told.starts_with("node 3 votes already"), "{told}");
        leader.members[1].standing = Standing::Leaving;
        assert!(matches!(judge(&leader, 2, None).unwrap(), Next::Wait(_)));
        leader.members.remove(1);
        leader.members_known = false;
        assert!(matches!(judge(&leader, 2, None).unwrap(), Next::Wait(_)));
        leader.members_known = true;
        assert!(matches!(judge(&leader, 2, None).unwrap(), Next::Done));
        assert!(judge(&leader, 7, Some(elsewhere)).is_err());
    }
}
