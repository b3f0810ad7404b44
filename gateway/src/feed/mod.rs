//! The feed: market data for everybody and drop copies for back offices, made from the event log.
//!
//! ```text
//! event log -> Publisher -> History -> cursor of each client -> SendBuffer -> socket
//!            of each depth:    |-> Multicast -> packets -> groups A and B
//!                              +-> Shadow -> snapshot of a joining client -> SendBuffer
//! event log -> DropCopy: one cursor for each back office -> SendBuffer -> socket
//! ```
//! Always holds: no client costs another more than the bounded work of its own turn. A client that
//! does not read is behind, then cut off, and recovers by asking again.
//! Does not: know the engine, or change anything.

pub mod market_data;

pub mod allowance;
pub mod subscribers;

pub mod drop_copy;

pub mod back_office;
pub mod event_index;
pub mod learnt;
pub mod owners;

pub mod history;
pub mod publisher;
pub mod snapshot;
pub mod updates;

pub mod multicast;
pub mod peers;
pub mod send_buffer;

pub mod client;
pub mod drop_copy_client;
pub mod multicast_client;

mod link;
mod port;
