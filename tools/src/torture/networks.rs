//! Networks of the nodes' own: each lives in one by itself, on a cable to a switch of ours.
//!
//! ```text
//!  node 1 --10.211.0.1--+
//!  node 2 --10.211.0.2--+-- switch --10.211.0.254-- clients, this process
//!  node 3 --10.211.0.3--+
//! ```
//! Set up by `wires` where they are asked for. Takes the rights of root, and the system's own `ip`. A way is cut
//! where it begins: the kernel of the sender throws its packets away, so TCP at either end finds out by itself.
//!
//! Always holds: nobody else on the machine sees any of it; the system takes it away with the last process that
//! does.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use exahour_replicas::{Member, NodeId};
use nix::sched::{CloneFlags, unshare};

use super::disks::call;
use crate::cluster::process::enter;

/// The network that the nodes are in, of which the last number is a node's own.
const NETWORK: [u8; 3] = [10, 211, 0];
/// The last number of ours.
const OURS: u8 = 254;
const SWITCH: &str = "switch";
/// The cable in a node's network.
const CABLE: &str = "cable";

const PEERS: u16 = 7804;
const ORDERS: u16 = 7801;

/// The networks of all nodes.
pub(super) struct Networks {
    spaces: BTreeMap<u64, Arc<File>>,
}

impl Networks {
    /// Moves this process into a network of its own, and makes one for each node.
    ///
    /// # Errors
    /// Where the system refuses, or has no `ip`.
    pub(super) fn make(nodes: u64) -> Result<Self> {
        let refused = "networks of the nodes' own: the system does not let this process make any (it takes root's rights)";
        unshare(CloneFlags::CLONE_NEWNET).context(refused)?;
        ip("link set lo up", None)?;
        ip(&format!("link add {SWITCH} type bridge"), None)?;
        ip(&format!("addr add {}/24 dev {SWITCH}", address(OURS)), None)?;
        ip(&format!("link set {SWITCH} up"), None)?;
        let mut spaces = BTreeMap::new();
        for node in 1..=nodes {
            let space = Arc::new(new_space().context(refused)?);
            let (inside, ours) = (Some(&*space), std::process::id());
            let own = address(u8::try_from(node).context("so many nodes")?);
            ip(
                &format!("link add {CABLE} type veth peer name node-{node} netns {ours}"),
                inside,
            )?;
            ip("link set lo up", inside)?;
            ip(&format!("addr add {own}/24 dev {CABLE}"), inside)?;
            ip(&format!("link set {CABLE} up"), inside)?;
            ip(&format!("link set node-{node} master {SWITCH} up"), None)?;
            spaces.insert(node, space);
        }
        Ok(Self { spaces })
    }

    /// The nodes, and where they are reached.
    pub(super) fn members(&self) -> Vec<Member> {
        let at = |node: u64, port| SocketAddr::new(IpAddr::V4(address(last(node))), port);
        let nodes = self.spaces.keys();
        nodes
            .map(|node| Member {
                id: NodeId(*node),
                peers: at(*node, PEERS),
                orders: at(*node, ORDERS),
            })
            .collect()
    }

    /// The network that a node is to be started in.
    pub(super) fn space_of(&self, node: u64) -> Option<Arc<File>> {
        self.spaces.get(&node).cloned()
    }

    /// Throws away what a node sends to another, or lets it pass again.
    ///
    /// # Errors
    /// Where the system refuses.
    pub(super) fn set_way(&self, from: u64, to: u64, way: Way) -> Result<()> {
        let what = match way {
            Way::Cut => "add",
            Way::Open => "del",
        };
        let space = self.spaces.get(&from).map(Arc::as_ref);
        ip(
            &format!("route {what} blackhole {}/32", address(last(to))),
            space,
        )
    }

    /// Pulls the cable of a node out, or puts it in again.
    ///
    /// # Errors
    /// Where the system refuses.
    pub(super) fn set_cable(&self, node: u64, way: Way) -> Result<()> {
        let state = match way {
            Way::Cut => "down",
            Way::Open => "up",
        };
        ip(&format!("link set node-{node} {state}"), None)
    }
}

/// Whether anything passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Cut,
    Open,
}

fn address(last: u8) -> Ipv4Addr {
    let [a, b, c] = NETWORK;
    Ipv4Addr::new(a, b, c, last)
}

/// There are five nodes at most.
fn last(node: u64) -> u8 {
    u8::try_from(node).unwrap_or(u8::MAX)
}

/// A network with nothing in it, which lasts as long as somebody has it open.
fn new_space() -> Result<File> {
    let made = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET)?;
        File::open("/proc/thread-self/ns/net").map_err(anyhow::Error::new)
    });
    made.join().map_err(|_| anyhow!("a thread has failed"))?
}

/// Runs `ip` with these words, in a network or in ours.
fn ip(words: &str, space: Option<&File>) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(words.split(' '));
    if let Some(space) = space {
        enter(&mut command, space)?;
    }
    call(&mut command).with_context(|| format!("ip {words}"))
}
