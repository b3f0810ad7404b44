//! The settlement process: what the exchange agreed becomes machines that people log in to.
//!
//! Read in this order: `obligation` is the life of a delivery, `settle` turns it, `follow` and
//! `apply` bring the exchange's events, `exchange` tells the exchange, `workers` act outside
//! through `provision`; `database` remembers all of it.
//!
//! Always holds: every effect outside follows from a journaled event, is recorded before it is
//! made, and happens once, by key. Does not: decide what anybody is paid.

pub mod obligation;

pub mod database;

pub mod apply;
pub mod clock;
pub mod follow;

pub mod exchange;

pub mod registry;
pub mod workers;

pub mod settle;

pub mod json;
pub mod run;
pub mod status;

mod error;

pub mod machine;
pub mod provision;

pub use error::SettlementError;
