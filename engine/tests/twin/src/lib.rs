//! The rulebook as a program: slow, obvious, and independent of the engine.
//!
//! Used by the tests of the engine, which feed both the same commands and compare every byte of
//! every event; by nobody else. It depends on the vocabulary of the wire and on nothing more.
//!
//! Always holds: one file is one chapter of docs/RULEBOOK.md; whatever can be worked out again from
//! the plain facts (locks, timers, what is available) is worked out again, never kept.
//! Does not: hash its state (`StateHashed` carries a zero digest), or care about speed.

mod activity;
mod admission;
mod amends;
mod band;
pub mod behaviour;
mod breaker;
mod changes;
mod delivery;
mod ledger;
mod matching;
mod operations;
mod orders;
mod pegs;
mod phases;
mod questions;
mod quotes;
mod reports;
mod sessions;
mod shown;
mod stops;
mod time;
mod twin;

pub mod check;
pub mod coverage;
pub mod flow;
pub mod readable;
pub mod seeds;

pub use shown::Shown;
pub use twin::Twin;
