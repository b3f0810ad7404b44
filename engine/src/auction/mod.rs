//! Call auctions: the one price at which most trades, and who trades at it.
//!
//! Called by the engine when a call ends and for the indicative price before; by tests directly.
//! `clearing` finds the price, `allocation` shares the volume out.
//!
//! Always holds: pure functions of levels and orders in price order; work grows with the number of
//! levels and orders, never with the number of ticks between them.
//! Does not: know books, accounts or time.

mod allocation;
mod clearing;

pub use allocation::{Allotment, Claim, allot, allot_by_size};
pub use clearing::{Clearing, Frame, Interest, Level, clear};
