//! `exahour add-node`: a new node follows the log, catches up, and then votes.
//!
//! Called by the command line; `replace_node` begins in the same way.
//!
//! Always holds: a node votes only once it has, but for a little, what the leader has.

use std::path::{Path, PathBuf};

use std::net::SocketAddr;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use exahour_replicas::{Member, MemberStatus, NodeId, NodeStatus, Request, Standing};
use indicatif::ProgressBar;

use super::change::{Next, once_known, until_done};
use super::reach::{ChangeArguments, member_config};
use crate::connection::address;
use crate::exit::finding;
use crate::progress::count_bar;

/// Add a node that was started with an empty folder; it votes once it has caught up.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  exahour add-node --id 4 --peers 10.0.0.4:7804 --orders 10.0.0.4:7801 --config node.toml\n  \
                  exahour add-node --node-config exahour-cluster/node-4.toml --data exahour-cluster"
)]
pub struct Arguments {
    #[command(flatten)]
    newcomer: Newcomer,
    #[command(flatten)]
    change: ChangeArguments,
}

/// The node to be added.
#[derive(Clone, Debug, Args)]
pub(super) struct Newcomer {
    /// Its number, above all that nodes of the cluster ever had.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    id: Option<u64>,
    /// Where peers reach it.
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    peers: Option<SocketAddr>,
    /// Where clients reach it.
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    orders: Option<SocketAddr>,
    /// Its configuration, which says all three.
    #[arg(long, value_name = "FILE.toml", conflicts_with_all = ["id", "peers", "orders"])]
    node_config: Option<PathBuf>,
}

impl Newcomer {
    /// Who it is.
    ///
    /// # Errors
    /// Where that is not said.
    pub(super) fn member(&self) -> Result<Member> {
        if let Some(path) = &self.node_config {
            return by_config(path);
        }
        let missing =
            "say who it is and where: --id, --peers and --orders, or --node-config FILE.toml";
        Ok(Member {
            id: NodeId(self.id.context(missing)?),
            peers: self.peers.context(missing)?,
            orders: self.orders.context(missing)?,
        })
    }
}

/// Who a configuration is for.
///
/// # Errors
/// As [`member_config`].
pub(super) fn by_config(path: &Path) -> Result<Member> {
    let (config, cluster) = member_config(path)?;
    Ok(Member {
        id: cluster.node,
        peers: cluster.listen,
        orders: config.listen.orders,
    })
}

/// A member, as the leader sees it.
pub(super) fn standing_of(leader: &NodeStatus, id: NodeId) -> Option<&MemberStatus> {
    leader.members.iter().find(|it| it.member.id == id)
}

/// How far a learner is, told by a bar.
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn new() -> Self {
        Self(count_bar(0, "catching up"))
    }

    pub(super) fn note(&self, leader: &NodeStatus, learner: &MemberStatus) {
        self.0.set_length(leader.last_index);
        self.0.set_position(learner.matched);
    }

    pub(super) fn end(&self) {
        self.0.finish_and_clear();
    }
}

/// Adds the node, and waits until it votes.
///
/// # Errors
/// Where it is refused, or does not catch up in time.
pub fn run(arguments: &Arguments) -> Result<()> {
    let member = arguments.newcomer.member()?;
    let progress = Progress::new();
    let outcome = until_done(&arguments.change, |leader| {
        let Some(known) = standing_of(leader, member.id) else {
            return Ok(Next::Ask(Request::AddNode(member)));
        };
        check_same(&known.member, &member)?;
        progress.note(leader, known);
        Ok(match known.standing {
            Standing::Voter => once_known(leader),
            _ if known.matched == 0 => Next::Wait(format!(
                "node {} has not answered the leader yet: does it run, at {}?",
                member.id, member.peers
            )),
            // Refused for now as long as it is far behind.
            _ => Next::Ask(Request::Promote(member.id)),
        })
    });
    progress.end();
    let leader = outcome?;
    let voters = voters(&leader);
    let object = serde_json::json!({
        "node": member.id.0,
        "standing": "voter",
        "voters": voters,
    });
    let words = format!(
        "node {} votes now; {}\n",
        member.id,
        counted(&voters, "does", "do")
    );
    arguments.change.answer(&object, &words)
}

/// Refuses a number that another node has.
pub(super) fn check_same(known: &Member, named: &Member) -> Result<()> {
    if known == named {
        return Ok(());
    }
    Err(finding(anyhow!(
        "there is a node {} already, for peers at {} and for clients at {}: a new node needs a number above \
         all that were given",
        known.id,
        known.peers,
        known.orders
    )))
}

pub(super) fn voters(leader: &NodeStatus) -> Vec<u64> {
    let members = leader.members.iter();
    let voters = members.filter(|it| it.standing == Standing::Voter);
    voters.map(|it| it.member.id.0).collect()
}

/// How many nodes do something, and which.
pub(super) fn counted(ids: &[u64], one_does: &str, many_do: &str) -> String {
    let (nodes, verb) = match ids {
        [_] => ("node", one_does),
        _ => ("nodes", many_do),
    };
    format!("{} {nodes} {verb}: {}", ids.len(), listed(ids))
}

pub(super) fn listed(ids: &[u64]) -> String {
    let ids: Vec<String> = ids.iter().map(u64::to_string).collect();
    ids.join(", ")
}
