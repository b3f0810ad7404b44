//! What is between the nodes, and can be cut: connections that this process carries, or networks of their own.
//!
//! Asked by `rounds`.
//!
//! Always holds: whatever is cut is mended by [`Wires::mend`] of the same node.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anyhow::{Result, ensure};
use exahour_replicas::{Member, NodeId};

use super::links::Link;
use super::networks::{Networks, Way};
use crate::cluster::folder::new_members;

/// What is between the nodes.
pub(super) enum Wires {
    /// Each pair's connections pass through this process; clients' do not.
    Carried(Vec<Link>),
    /// Each node has a network of its own; the ways that are cut, by their ends.
    Networks(Networks, BTreeSet<(u64, u64)>),
}

/// Which ways of a node are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Those to and from all others.
    Off,
    /// Those from all others: it hears nothing, and is heard.
    Deaf,
    /// Those to all others: it is not heard, and hears.
    Mute,
    /// Both between it and this one.
    Apart(u64),
}

impl Wires {
    /// Connections through this process, and the nodes on free ports of the machine.
    ///
    /// # Errors
    /// Where the system refuses.
    pub(super) fn carried(nodes: u64) -> Result<(Self, Vec<Member>)> {
        let members = new_members(nodes)?;
        let mut links = Vec::new();
        for (place, near) in members.iter().enumerate() {
            // The lower number dials.
            for far in &members[place + 1..] {
                links.push(Link::open((near.id.0, far.id.0), far.peers)?);
            }
        }
        Ok((Self::Carried(links), members))
    }

    /// Networks of the nodes' own.
    ///
    /// # Errors
    /// As [`Networks::make`].
    pub(super) fn networks(nodes: u64) -> Result<(Self, Vec<Member>)> {
        let networks = Networks::make(nodes)?;
        let members = networks.members();
        Ok((Self::Networks(networks, BTreeSet::new()), members))
    }

    /// The members as one of them is told: those that it dials may be reached through this process.
    pub(super) fn seen_by(&self, node: NodeId, members: &[Member]) -> Vec<Member> {
        let way = |to: NodeId| -> Option<SocketAddr> {
            let Self::Carried(links) = self else {
                return None;
            };
            let link = links.iter().find(|link| link.ends == (node.0, to.0));
            link.map(|link| link.address)
        };
        let seen = members.iter().map(|member| Member {
            peers: way(member.id).unwrap_or(member.peers),
            ..*member
        });
        seen.collect()
    }

    /// The networks, where nodes have some of their own.
    pub(super) fn own(&self) -> Option<&Networks> {
        match self {
            Self::Carried(_) => None,
            Self::Networks(networks, _) => Some(networks),
        }
    }

    /// Cuts ways of a node.
    ///
    /// # Errors
    /// Where the system refuses.
    pub(super) fn cut(&mut self, node: u64, others: &[u64], cut: Cut) -> Result<()> {
        match self {
            Self::Carried(links) => {
                for link in links.iter().filter(|link| link.touches(node)) {
                    match cut {
                        Cut::Off => link.cut_off(),
                        Cut::Deaf => link.deafen(node),
                        Cut::Mute => link.mute(node),
                        Cut::Apart(other) if link.touches(other) => link.cut_off(),
                        Cut::Apart(_) => {}
                    }
                }
                Ok(())
            }
            Self::Networks(networks, cut_ways) => {
                for (from, to) in ways(node, others, cut) {
                    networks.set_way(from, to, Way::Cut)?;
                    ensure!(cut_ways.insert((from, to)), "node {node} is cut off twice");
                }
                Ok(())
            }
        }
    }

    /// Pulls the cable of a node out, which has one only where it has a network of its own.
    ///
    /// # Errors
    /// Where the system refuses.
    pub(super) fn unplug(&mut self, node: u64) -> Result<()> {
        let own = self.own();
        own.map_or(Ok(()), |own| own.set_cable(node, Way::Cut))
    }

    /// Mends all that is cut of a node. `breaking`, where connections are not to outlive it: those of networks
    /// outlive what TCP lets them.
    ///
    /// # Errors
    /// Where the system refuses.
    pub(super) fn mend(&mut self, node: u64, breaking: bool) -> Result<()> {
        match self {
            Self::Carried(links) => {
                let own = links.iter().filter(|link| link.touches(node));
                own.for_each(|link| link.mend(breaking));
                Ok(())
            }
            Self::Networks(networks, cut_ways) => {
                for (from, to) in std::mem::take(cut_ways) {
                    networks.set_way(from, to, Way::Open)?;
                }
                networks.set_cable(node, Way::Open)
            }
        }
    }
}

/// The ways, each from where it begins to where it ends, that a cut of a node takes away.
fn ways(node: u64, others: &[u64], cut: Cut) -> Vec<(u64, u64)> {
    let to = others.iter().map(|other| (node, *other));
    let from = others.iter().map(|other| (*other, node));
    match cut {
        Cut::Off => to.chain(from).collect(),
        Cut::Deaf => from.collect(),
        Cut::Mute => to.collect(),
        Cut::Apart(other) => vec![(node, other), (other, node)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_takes_away_the_ways_that_it_says() {
        assert_eq!(ways(2, &[1, 3], Cut::Mute), [(2, 1), (2, 3)]);
        assert_eq!(ways(2, &[1, 3], Cut::Deaf), [(1, 2), (3, 2)]);
        assert_eq!(ways(2, &[1, 3], Cut::Off), [(2, 1), (2, 3), (1, 2), (3, 2)]);
        assert_eq!(ways(2, &[1, 3], Cut::Apart(3)), [(2, 3), (3, 2)]);
    }
}
