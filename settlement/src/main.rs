//! The settlement binary: dispatches its subcommands.
//!
//! Started by an operator or by `exahour start`; re-executes itself as `machine-guest` for every
//! machine that the built-in provider delivers.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    match args.next() {
        Some(name) if name == exahour_settlement::machine::SUBCOMMAND => {
            exahour_settlement::machine::guest_main(args)
        }
        _ => {
            eprintln!(
                "exahour-settlement: no such subcommand; `{}` is for its own use",
                exahour_settlement::machine::SUBCOMMAND
            );
            ExitCode::from(2)
        }
    }
}
