//! The settlement binary: dispatches its subcommands.
//!
//! Started by an operator or by `exahour start`; re-executes itself as `machine-guest` for every
//! machine that the built-in provider delivers.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use exahour_settlement::{run, status};

mod operate;

/// Delivers what the exchange agreed.
#[derive(Debug, Parser)]
#[command(name = "exahour-settlement")]
struct Arguments {
    #[command(subcommand)]
    wanted: Wanted,
}

#[derive(Debug, Subcommand)]
enum Wanted {
    Run(run::Arguments),
    Status(status::Arguments),
    /// Work with the machines of the built-in provider by hand.
    Machine(operate::Operate),
}

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    // Before anything else is read: a guest has its own arguments and must not print help.
    if args
        .next()
        .is_some_and(|name| name == exahour_settlement::machine::SUBCOMMAND)
    {
        return exahour_settlement::machine::guest_main(args);
    }
    let result = match Arguments::parse().wanted {
        Wanted::Run(arguments) => run::run(&arguments),
        Wanted::Status(arguments) => status::run(&arguments),
        Wanted::Machine(wanted) => operate::run(wanted),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("exahour-settlement: {error:#}");
            ExitCode::FAILURE
        }
    }
}
