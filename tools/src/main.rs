//! The `exahour` command: reads the command line and hands on to the subcommand.
//!
//! Always holds: exit codes follow the one rule in `exit`. Errors go to standard error and say what,
//! where, and what to do.

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use exahour_settlement::machine;
use exahour_settlement::{run as settle, status as deliveries};
use exahour_tools::exit::{self, Ending};
use exahour_tools::{
    audit, bench, cluster, demo, desk, feed, journal, output, repair, replay, script, sim, start,
    torture,
};

/// Exahour, an exchange for compute hours.
#[derive(Debug, Parser)]
#[command(
    name = "exahour",
    version,
    about,
    after_help = exit::RULE,
    arg_required_else_help = true
)]
struct Invocation {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Arguments),
    Start(start::Arguments),
    Cluster(cluster::Arguments),
    Status(cluster::status::Arguments),
    StepDown(cluster::step_down::Arguments),
    AddNode(cluster::add_node::Arguments),
    RemoveNode(cluster::remove_node::Arguments),
    ReplaceNode(cluster::replace_node::Arguments),
    #[command(alias = "snapshot")]
    TakeSnapshot(cluster::take_snapshot::Arguments),
    Activate(cluster::activate::Arguments),
    TrustMemory(cluster::trust_memory::Arguments),
    Repair(repair::Arguments),
    Feed(Box<feed::Arguments>),
    Replay(replay::Arguments),
    Audit(audit::Arguments),
    Journal(journal::Arguments),
    Order(desk::order::Arguments),
    Replace(desk::replace::Arguments),
    Cancel(desk::one_order::CancelArguments),
    MassCancel(desk::mass_cancel::Arguments),
    Quote(desk::quote::Arguments),
    OrderStatus(desk::one_order::StatusArguments),
    Orders(desk::orders::Arguments),
    Book(desk::book::Arguments),
    Key(desk::key::Arguments),
    Operate(Box<desk::operate::Arguments>),
    Settle(settle::Arguments),
    Deliveries(deliveries::Arguments),
    Script(script::Arguments),
    Bench(bench::Arguments),
    Sim(sim::Arguments),
    Torture(torture::Arguments),
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    // Before anything else is read: a delivered machine is this program again, with arguments of its
    // own, and must never print help.
    if arguments
        .next()
        .is_some_and(|name| name == machine::SUBCOMMAND)
    {
        return machine::guest_main(arguments);
    }
    let done = |()| ExitCode::SUCCESS;
    let outcome = match Invocation::parse().command {
        Command::Demo(arguments) => demo::run(&arguments).map(done),
        Command::Start(arguments) => start::run(&arguments).map(done),
        Command::Cluster(arguments) => cluster::run(&arguments).map(done),
        Command::Status(arguments) => cluster::status::run(&arguments).map(done),
        Command::StepDown(arguments) => cluster::step_down::run(&arguments).map(done),
        Command::AddNode(arguments) => cluster::add_node::run(&arguments).map(done),
        Command::RemoveNode(arguments) => cluster::remove_node::run(&arguments).map(done),
        Command::ReplaceNode(arguments) => cluster::replace_node::run(&arguments).map(done),
        Command::TakeSnapshot(arguments) => cluster::take_snapshot::run(&arguments).map(done),
        Command::Activate(arguments) => cluster::activate::run(&arguments).map(done),
        Command::TrustMemory(arguments) => cluster::trust_memory::run(&arguments).map(done),
        Command::Repair(arguments) => repair::run(&arguments).map(done),
        Command::Feed(arguments) => feed::run(&arguments).map(done),
        Command::Replay(arguments) => replay::run(&arguments).map(done),
        Command::Audit(arguments) => audit::run(&arguments).map(done),
        Command::Journal(arguments) => journal::run(&arguments).map(done),
        Command::Order(arguments) => desk::order::run(&arguments).map(done),
        Command::Replace(arguments) => desk::replace::run(&arguments).map(done),
        Command::Cancel(arguments) => desk::one_order::cancel(&arguments).map(done),
        Command::MassCancel(arguments) => desk::mass_cancel::run(&arguments).map(done),
        Command::Quote(arguments) => desk::quote::run(&arguments).map(done),
        Command::OrderStatus(arguments) => desk::one_order::status(&arguments).map(done),
        Command::Orders(arguments) => desk::orders::run(&arguments).map(done),
        Command::Book(arguments) => desk::book::run(&arguments).map(done),
        Command::Key(arguments) => desk::key::run(&arguments).map(done),
        Command::Operate(arguments) => desk::operate::run(&arguments).map(done),
        Command::Settle(arguments) => settle::run(&arguments).map(done).map_err(exit::judged),
        Command::Deliveries(arguments) => {
            deliveries::run(&arguments).map(done).map_err(exit::judged)
        }
        Command::Bench(arguments) => bench::run(&arguments).map(done),
        Command::Sim(arguments) => sim::run(&arguments).map(done),
        Command::Torture(arguments) => torture::run(&arguments).map(done),
        Command::Script(arguments) => script::run(&arguments),
    };
    let outcome = outcome.or_else(|error| output::unless_reader_left(error).map(done));
    outcome.unwrap_or_else(|error| {
        // Where even standard error cannot be written, the exit code has to do.
        let _ = writeln!(std::io::stderr(), "exahour: {}", told(&error));
        ExitCode::from(Ending::of(&error).code())
    })
}

/// An error with its causes; one that its effect has told already is not told again.
fn told(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}
