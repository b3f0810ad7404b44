//! Everything between the exchange and a socket: sessions, market data, drop copy, and the client
//! side of the same protocols.
//!
//! Used by `replicas` (the node runs these agents), `settlement` and `tools` (as clients).
//!
//! Always holds: no client can slow or stop another. Does not: know the engine.

pub mod back_off;
pub mod client;
pub mod clock;
pub mod credentials;
pub mod dial;
pub mod directory;
pub mod duty;
pub mod error;
pub mod feed;
pub mod image;
pub mod inbound;
pub mod inbox;
pub mod ingress;
pub mod net;
pub mod opening;
pub mod order_gateway;
pub mod outbox;
pub mod report_index;
pub mod retransmission;
pub mod session;
pub mod sockets;
pub mod views;
