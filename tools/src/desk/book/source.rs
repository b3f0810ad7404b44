//! Who holds the book: a client of the market data port, or of the two multicast groups.
//!
//! Called by `book`.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Result, bail};
use exahour_gateway::clock::Steady;
use exahour_gateway::feed::client::{FeedClient, FeedRefused};
use exahour_gateway::feed::multicast_client::MulticastClient;
use exahour_gateway::image::{FeedImage, Flow};
use exahour_gateway::sockets::Group;
use exahour_wire::ids::InstrumentId;

use super::Arguments;

/// Who holds the book.
pub(super) enum Source {
    Port(Box<FeedClient>),
    Lines(Box<MulticastClient>),
}

impl Source {
    pub(super) fn open(arguments: &Arguments, instrument: InstrumentId) -> Result<Self> {
        let port = arguments.node.market_data()?;
        let depth = arguments.feed.depth();
        let Some([a, b]) = arguments.multicast.as_deref() else {
            let client = FeedClient::new(port, depth, Flow::One(instrument));
            return Ok(Source::Port(Box::new(client)));
        };
        let interface_b = arguments.interface_b.unwrap_or(arguments.interface);
        let interfaces: [Ipv4Addr; 2] = [arguments.interface, interface_b];
        let lines = [(a, interfaces[0]), (b, interfaces[1])].map(|(address, interface)| Group {
            address: *address,
            interface,
        });
        for group in lines {
            if !group.address.ip().is_multicast() {
                bail!("--multicast {}: not a multicast group", group.address);
            }
        }
        let client = MulticastClient::join(lines, depth, port)?;
        Ok(Source::Lines(Box::new(client)))
    }

    pub(super) fn poll(&mut self, now: Steady) -> Result<usize, FeedRefused> {
        match self {
            Source::Port(client) => client.poll(now, &mut |_, _| {}),
            Source::Lines(client) => client.poll(now, &mut |_, _| {}),
        }
    }

    pub(super) fn image(&self) -> &FeedImage {
        match self {
            Source::Port(client) => client.image(),
            Source::Lines(client) => client.image(),
        }
    }

    pub(super) fn wait(&mut self, timeout: Duration) {
        match self {
            Source::Port(client) => client.wait(timeout),
            Source::Lines(client) => client.wait(timeout),
        }
    }

    /// Whether there is a connection, where one is needed all the time.
    pub(super) fn connected(&self) -> bool {
        match self {
            Source::Port(client) => client.connected(),
            // What the lines lose the port mends, and connections for that come and go.
            Source::Lines(_) => true,
        }
    }

    /// Packets that came on each of two lines, where there are such.
    pub(super) fn packets(&self) -> Option<[u64; 2]> {
        match self {
            Source::Port(_) => None,
            Source::Lines(client) => Some(client.counts().packets),
        }
    }
}
