//! Couriers bring a node that is too far behind what it needs to go on: a snapshot, and the events before it.
//!
//! ```text
//! leader's raft --MsgSnapshot, with the courier's address--> follower's consensus --errand--> its courier
//! follower's courier --Ask--> leader's courier
//!                    <-- Manifest, Piece, Piece, ..., End
//! all of it on disk, verified  ->  the node opens again from what came (`install`)
//! ```
//! `agent` turns on a thread of low priority, `parcel` is what is sent, `serving` the sender's half,
//! `fetching` the receiver's.
//!
//! Always holds: nothing that came is used before all of it is on disk and verified; the node that sends
//! goes on trading, and what waits for a slow receiver is bounded.

mod agent;
mod fetching;
mod parcel;
mod serving;

pub(crate) use agent::{CONNECTIONS_MAX, COURIER, Courier, Errand, errands};
pub(crate) use fetching::{arrived, remove_arrived};
pub(crate) use parcel::Manifest;

/// The folder, in a data folder, of what is on its way.
pub(crate) const INCOMING: &str = "incoming";
