//! Whose feed it is: one exchange, in one run of one of its nodes.
//!
//! Told by the market data port first on every connection, and in the header of every packet.
//!
//! Always holds: a node that starts again is another source, and so is every other node.

use exahour_wire::ids::ExchangeId;
use exahour_wire::market_data::{FeedPacket, FeedSource};
use exahour_wire::units::Nanos;

/// A run of a node that sends feeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The exchange.
    pub exchange: ExchangeId,
    /// When the node was started.
    pub started_at: Nanos,
}

impl Source {
    /// The source that a connection names.
    pub fn of_connection(told: &FeedSource) -> Self {
        Source {
            exchange: told.exchange,
            started_at: told.started_at,
        }
    }

    /// The source of a packet.
    pub fn of_packet(header: &FeedPacket) -> Self {
        Source {
            exchange: header.exchange,
            started_at: header.started_at,
        }
    }
}
