//! Everything between the exchange and a socket: sessions, market data, drop copy, and the client
//! side of the same protocols.
//!
//! Used by `replicas` (the node runs these agents), `settlement` and `tools` (as clients).
//!
//! Always holds: no client can slow or stop another. Does not: know the engine.

pub mod feed;
pub mod image;
