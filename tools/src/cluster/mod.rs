//! `exahour cluster`: the nodes of a cluster on this machine, and the files that a cluster is made from;
//! beside it what operators ask and tell a running cluster: `status`, `step-down`, `add-node`, `remove-node`,
//! `replace-node`, `take-snapshot`, `activate`, `trust-memory`.
//!
//! Called by the command line. Read in this order: `folder` and `configuration` are the files, `process` and
//! `run` the nodes of this machine; `reach` and `survey` find a cluster that runs, `change` has its leader do
//! something, and the rest are the commands.
//!
//! Always holds: the key of a cluster is never printed, and its file is the owner's alone; whatever is asked
//! of a cluster is asked of the node that leads, and can be asked again.
//! Does not: know what a node is made of, or how nodes agree (that is `replicas`).

pub mod activate;
pub mod add_node;
pub mod remove_node;
pub mod replace_node;
pub mod status;
pub mod step_down;
pub mod take_snapshot;
pub mod trust_memory;

mod change;
pub(crate) mod configuration;
pub(crate) mod folder;
pub(crate) mod key;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod reach;
mod run;
pub(crate) mod survey;

use anyhow::Result;
use clap::{Args, Subcommand};

/// Run a cluster on this machine, or make the files of one.
#[derive(Clone, Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  exahour cluster --data trial\n  exahour cluster key cluster.key\n  \
                  exahour cluster config --node 1 --member 1,10.0.0.1:7804,10.0.0.1:7801 \\\n    \
                  --member 2,10.0.0.2:7804,10.0.0.2:7801 --member 3,10.0.0.3:7804,10.0.0.3:7801"
)]
pub struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    run: run::Operation,
}

#[derive(Clone, Debug, Subcommand)]
enum Part {
    Key(key::Arguments),
    Config(configuration::Arguments),
}

/// Runs a cluster until it is told to stop, or makes a file.
///
/// # Errors
/// Where a file cannot be made, or a node cannot start.
pub fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.part {
        Some(Part::Key(arguments)) => key::run(arguments),
        Some(Part::Config(arguments)) => configuration::run(arguments),
        None => run::run(&arguments.run),
    }
}
