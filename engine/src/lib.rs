//! The deterministic heart: commands in, events out.
//!
//! Driven by the node, by replay, by scripts and by tests, all through [`Engine::apply`].
//!
//! Always holds: the same commands with the same times give the same events and the same state
//! hash, on every machine and in every build; money is conserved; a book is never crossed at rest;
//! nothing a client can send panics.
//! Does not: read a clock, draw a random number, touch a file, a socket or a thread, compute with
//! floats, or know that it is stored.

mod admit;
pub mod auction;
mod batch;
mod behaviour;
pub mod book;
mod by_side;
mod capacity;
mod divisor;
mod engine;
mod execute;
pub mod guards;
mod ledger;
mod pegs;
mod positions;
mod prefetch;
mod reporter;
mod slot_index;
mod snapshot;
mod stages;
mod state_hash;
mod stops;
mod terms;
mod timers;
mod trade_log;
mod trading;
mod treap;

pub use admit::Verdict;
pub use batch::{Batch, EventSink};
pub use behaviour::{
    ActivationRefused, BEHAVIOUR_FIRST, BEHAVIOUR_MAX, Member, UnknownBehaviour, activation,
};
pub use capacity::Capacity;
pub use engine::{ApplyError, Divergence, Engine};
pub use snapshot::{FORMAT as SNAPSHOT_FORMAT, SNAPSHOT_ALIGN, SnapshotError};
pub use stages::{Admission, Execution, VerdictSink, Verdicts};
