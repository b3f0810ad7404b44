//! The feed from events to books, without and with sockets.
//!
//! `market` makes the events: a naive exchange from a seed, which also knows the right books.

// Helpers of tests may unwrap as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod drop_copy;
mod event_log;
mod exchange;
mod expected;
mod images;
mod market;
mod market_data;
mod multicast;
mod ranges;
mod sources;
mod views;
