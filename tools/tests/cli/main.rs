//! The `exahour` command as operators and traders meet it: every test runs the real program, every
//! node is a process of its own on ports that the system chooses.
// What cannot be set up fails the test.
#![allow(clippy::unwrap_used)]

mod archive;
mod audit;
mod book;
mod cluster;
mod demo;
mod desk;
mod exchange;
mod exit_codes;
mod feed;
mod guides;
mod help;
mod key;
mod machine_output;
mod node;
mod operate;
mod order_entry;
mod reader_left;
mod repair;
mod risk;
mod settle;
mod show;
mod sim;
