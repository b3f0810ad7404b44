//! One node of a bench's cluster, in a process of its own.
//!
//! Started by `site`, not by people. It ends when whoever started it lets go of its standard input, so none
//! outlives its bench.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::Args;
use exahour_replicas::{Node, NodeConfig, opens_again};
use exahour_rings::IdleStrategy;
use exahour_wire::codes::Durability;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

use crate::output::print_json;

/// The agent whose thread the orders pass through.
const ON_THE_WAY: &str = "sequencer";

/// How long the node is left alone between two looks at it, in milliseconds.
const LOOK_EVERY_MS: u8 = 50;

/// Run one node until standard input ends.
#[derive(Debug, Args)]
pub struct Arguments {
    #[arg(long)]
    config: PathBuf,
    #[arg(long)]
    data: PathBuf,
    /// An empty folder is that of a new cluster.
    #[arg(long)]
    found: bool,
    /// Acknowledge what is in memory.
    #[arg(long)]
    replicated: bool,
    /// How the thread that orders pass through waits, where not as configured.
    #[arg(long)]
    idle: Option<IdleStrategy>,
}

/// What a node says of itself once it runs.
#[derive(Debug, Deserialize, Serialize)]
pub struct Running {
    /// The file of the sessions' keys.
    pub keys: PathBuf,
    /// Where orders are entered.
    pub orders: std::net::SocketAddr,
}

/// Runs the node.
///
/// # Errors
/// Where it cannot start, or ends by itself.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut config = NodeConfig::load(&arguments.config)?;
    config.data.clone_from(&arguments.data);
    if let Some(cluster) = &mut config.cluster {
        cluster.founding = arguments.found;
    }
    if arguments.replicated {
        config.set_durability(Durability::Replicated);
    }
    if let Some(idle) = arguments.idle {
        for thread in &mut config.layout.threads {
            if thread.agents.iter().any(|agent| agent == ON_THE_WAY) {
                thread.idle = idle;
            }
        }
    }
    let mut node = Node::start(&config)?;
    print_json(&Running {
        keys: std::path::absolute(node.keys())?,
        orders: node.addresses().orders,
    })?;
    while !input_ended()? {
        if !node.finished() {
            continue;
        }
        match node.join() {
            // It has fetched a snapshot.
            Err(failure) if opens_again(&failure) => node = Node::start(&config)?,
            Err(failure) => return Err(anyhow::Error::new(failure).context("the node halted")),
            Ok(()) => return Err(anyhow!("the node ended by itself")),
        }
    }
    node.stop()
        .context("the node stopped, but not in good order")
}

/// Waits a little for the end of standard input.
fn input_ended() -> anyhow::Result<bool> {
    let mut input = io::stdin();
    let mut ready = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
    match poll(&mut ready, PollTimeout::from(LOOK_EVERY_MS)) {
        Ok(0) | Err(Errno::EINTR) => Ok(false),
        Ok(_) => Ok(input.read(&mut [0; 64])? == 0),
        Err(error) => Err(error.into()),
    }
}
