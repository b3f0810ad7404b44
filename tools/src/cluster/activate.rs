//! `exahour activate`: newer rules come into force, once every node can do them.
//!
//! Called by the command line.

use anyhow::Result;
use clap::Args;
use exahour_replicas::Request;

use super::change::{Next, until_done};
use super::reach::ChangeArguments;

/// Bring the rules of a newer behaviour into force, once every node runs a program that can do them.
///
/// It cannot be taken back: a program that cannot do the behaviour stops from then on. `exahour status --json` says
/// which one is in force, and which each node can do.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  exahour activate 2 --config node.toml")]
pub struct Arguments {
    /// The behaviour's number.
    #[arg(value_name = "BEHAVIOUR", value_parser = clap::value_parser!(u32).range(1..))]
    behaviour: u32,
    #[command(flatten)]
    change: ChangeArguments,
}

/// Has the leader propose it, and waits until it is in force.
///
/// # Errors
/// A finding, where a member cannot do it, or a newer one is in force.
pub fn run(arguments: &Arguments) -> Result<()> {
    let wanted = arguments.behaviour;
    let leader = until_done(&arguments.change, |leader| {
        Ok(match leader.behaviour == wanted {
            true => Next::Done,
            false => Next::Ask(Request::Activate(wanted)),
        })
    })?;
    let object = serde_json::json!({
        "behaviour": leader.behaviour,
        "leader": leader.id.0,
    });
    let words = format!("behaviour {wanted} is in force\n");
    arguments.change.answer(&object, &words)
}
