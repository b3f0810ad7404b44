//! Engine and twin on flows that were made for one rule each.

#![allow(clippy::unwrap_used)] // A test may fail where it stands.

mod pair;

mod announced_end;
mod peg_moves;
mod stop_cascade;
