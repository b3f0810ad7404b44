//! The table `[multicast]` of a node's configuration: where market data goes beside its port.
//!
//! Read with the rest by `config`.
//!
//! Always holds: both lines are groups, and two different ones, with ports for every depth.

use std::net::{Ipv4Addr, SocketAddrV4};

use exahour_gateway::feed::multicast::MulticastConfig;
use exahour_gateway::sockets::Group;
use serde::Deserialize;

use crate::config::{Misfit, value};

/// The table as it is written.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MulticastTable {
    a: LineTable,
    b: LineTable,
    #[serde(default = "one_hop")]
    hops: u8,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LineTable {
    group: SocketAddrV4,
    interface: Ipv4Addr,
}

fn one_hop() -> u8 {
    1
}

impl MulticastTable {
    /// Where packets go.
    ///
    /// # Errors
    /// [`Misfit`] where a line is no group, or both are one.
    pub(crate) fn check(&self) -> Result<MulticastConfig, Misfit> {
        for (path, line) in [("multicast.a.group", self.a), ("multicast.b.group", self.b)] {
            let ports = 1..=u16::MAX - 2;
            if !line.group.ip().is_multicast() || !ports.contains(&line.group.port()) {
                let expected = "a multicast group and a port, such as \"239.192.1.1:7810\"";
                return Err(value(path, &line.group.to_string(), expected));
            }
        }
        if self.a.group.ip() == self.b.group.ip() {
            let expected = "another group than that of line A";
            let found = self.b.group.to_string();
            return Err(value("multicast.b.group", &found, expected));
        }
        let group = |line: LineTable| Group {
            address: line.group,
            interface: line.interface,
        };
        Ok(MulticastConfig {
            lines: [group(self.a), group(self.b)],
            hops: self.hops.into(),
        })
    }
}
