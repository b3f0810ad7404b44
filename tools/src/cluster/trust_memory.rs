//! `exahour trust-memory`: a node that may have forgotten votes again.
//!
//! Called by the command line.
//!
//! Always holds: nothing is asked of the node before somebody has said that he knows what it may cost.

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use exahour_replicas::{NodeId, Reply, Request};

use super::reach::ClusterArguments;
use super::survey::{Survey, ask};
use crate::exit::finding;
use crate::output::{print, print_json};

/// Let a node that may have lost what it acknowledged vote again, whatever is lost by it.
///
/// A node that may have forgotten gives no vote until it has caught up with a leader. Only where no leader can
/// be elected without its vote is this a way out: when most machines of a cluster lost power under
/// `replicated`, or most disks are lost. Orders that were acknowledged may then be lost for good.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  exahour trust-memory --node 2 --yes --config node.toml")]
pub struct Arguments {
    /// The node [default: the one of --config].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    node: Option<u64>,
    /// Yes, acknowledged orders may be lost by it.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    cluster: ClusterArguments,
    /// Write one JSON object.
    #[arg(long)]
    json: bool,
}

/// Asks the node.
///
/// # Errors
/// Where it is not confirmed, or the node does not answer; a finding, where the node has forgotten nothing.
pub fn run(arguments: &Arguments) -> Result<()> {
    let reach = arguments.cluster.reach()?;
    let id = arguments.node.map(NodeId).or(reach.node);
    let id = id.context("say which node: --node N")?;
    let survey = Survey::take(&reach);
    let address = survey.address_of(id);
    let address = address.with_context(|| survey.absence_of(id))?;
    let forgetful = survey.statuses().any(|it| it.id == id && it.forgetful);
    if !forgetful {
        return Err(finding(anyhow!(
            "node {id} has forgotten nothing: it votes"
        )));
    }
    ensure!(
        arguments.yes,
        "node {id} may have lost orders that were acknowledged; if the others have them, it catches up by \
         itself and nothing is to be done. Where it votes without them they are lost for good: say --yes if \
         there is no other way"
    );
    match ask(address, &reach.key, &Request::TrustMemory)? {
        Reply::Done => {}
        Reply::Refused(why) | Reply::NotNow(why) => {
            return Err(finding(anyhow!("node {id} refuses it: {why}")));
        }
        Reply::Status(_) => bail!("{address} answered another question: is it of this version?"),
    }
    match arguments.json {
        true => print_json(&serde_json::json!({ "node": id.0, "state": "votes" })),
        false => print(&format!("node {id} votes again\n")),
    }
}
