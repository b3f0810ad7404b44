//! What a first start would be refused for, found out before anything is made on disk.
//!
//! Called by `node` at every start; where the data folder is there already it has little to say.
//!
//! Always holds: nothing is changed, and no address stays taken.
//! Does not: promise a start: a port may be taken meanwhile, and what the disk refuses is found out later.

use exahour_rings::{LayoutError, ThreadLayout, online_cores};
use exahour_wire::units::Nanos;

use crate::admission_agent::ADMISSION;
use crate::config::NodeConfig;
use crate::couriers::COURIER;
use crate::error::NodeError;
use crate::node::{check_clock, genesis_of};
use crate::world::World;

/// The agents that every node has.
const AGENTS: [&str; 9] = [
    "order-gateway",
    "sequencer",
    "disk",
    "market-data",
    "drop-copy",
    "staging",
    "snapshots",
    COURIER,
    "engine",
];

/// Whether a new exchange could begin here now.
///
/// # Errors
/// [`NodeError`]: as the start itself would say.
pub(crate) fn check(config: &NodeConfig, world: &World) -> Result<(), NodeError> {
    if world.disk.exists(&config.data) {
        return Ok(());
    }
    let now = check_clock((world.clocks)().now(), Nanos(0))?;
    genesis_of(config, now)?;
    let listen = &config.listen;
    let peers = config.cluster.as_ref().map(|cluster| cluster.listen);
    let mut ports = Vec::new();
    for address in [listen.orders, listen.market_data, listen.drop_copy]
        .into_iter()
        .chain(peers)
    {
        // All at once, so that one address in two places is found as well.
        ports.push(world.net.listen(address, 1)?);
    }
    Ok(())
}

/// Whether the layout places every agent on a core of this machine.
///
/// # Errors
/// What does not fit.
pub(crate) fn check_layout(config: &NodeConfig) -> Result<(), LayoutError> {
    let placed = |thread: &ThreadLayout| thread.agents.iter().any(|agent| agent == ADMISSION);
    let apart = config.layout.threads.iter().any(placed);
    let mut names = AGENTS.to_vec();
    names.extend(apart.then_some(ADMISSION));
    config.layout.validate(&names, &online_cores()?)
}
