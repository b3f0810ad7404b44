//! What the `exahour` command is made of, apart from the command line itself.
//!
//! Used by the binary of the same package and by its tests. A subcommand that is more than a few
//! lines has a module here.

// `output` writes where a reader may have left; these would panic there.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod audit;
pub mod bench;
pub mod cluster;
pub mod connection;
pub mod demo;
pub mod desk;
pub mod exit;
pub mod feed;
mod interrupt;
pub mod journal;
mod listings;
pub mod output;
pub mod progress;
pub mod repair;
pub mod replay;
pub mod script;
mod shell;
pub mod sim;
pub mod start;
pub mod text;
pub mod torture;
