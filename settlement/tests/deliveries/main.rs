//! Deliveries from end to end: a real node, real clients over TCP, the settlement process, and
//! either real machines or a provider of the test's own making.
//!
//! Always holds: every wait is bounded, and nothing is left running. `EXAHOUR_LONG=1` sweeps crash
//! points one by one where the default takes larger steps.

#![expect(clippy::expect_used, reason = "a test stops at its first surprise")]

mod crash;
mod failover;
mod hardship;
mod life;
mod market;
mod process;
mod simulated;

#[path = "../machines/support.rs"]
#[allow(
    dead_code,
    reason = "shared with the tests of machines, which use all of it"
)]
mod machines;
