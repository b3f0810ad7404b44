//! The `exahour` command: reads the command line and hands on to the subcommand.
//!
//! Always holds: exit code 0 is success, 1 an error of the world or of the data, 2 a wrong command
//! line. Errors go to standard error and say what, where, and what to do.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use exahour_tools::script;

/// Exahour, an exchange for compute hours.
#[derive(Debug, Parser)]
#[command(name = "exahour", version, about, arg_required_else_help = true)]
struct Invocation {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Script(script::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Invocation::parse().command {
        Command::Script(arguments) => script::run(&arguments).map_err(anyhow::Error::from),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("exahour: {error:#}");
        ExitCode::FAILURE
    })
}
