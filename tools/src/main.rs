//! The `exahour` command.

fn main() {}
