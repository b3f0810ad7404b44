//! The `machine` subcommand: the built-in provider by hand, for an operator who looks for orphans
//! or cleans up after a crash.
//!
//! Prints one JSON value a line. Every act may be repeated, like the calls behind it.

use std::io::Read;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use exahour_settlement::provision::{
    LeastIsolation, LocalConfig, LocalProvider, MachineKey, MachineSpec, Provisioner,
};
use serde::Serialize;

/// What the operator wants done.
#[derive(Debug, Args)]
pub(crate) struct Operate {
    /// The provider's folder, with one folder for each machine.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Without what isolation no machine is started; `process` shows buyers the host's files.
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t)]
    isolation: LeastIsolation,
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// List the keys of all machines that are up.
    List,
    /// Bring up a machine as specified by JSON on standard input, or find the one that is up.
    Provision {
        /// The obligation.
        key: u64,
    },
    /// Show the machine with this key, or null.
    Inspect {
        /// The obligation.
        key: u64,
    },
    /// Measure the machine with this key, also after it has ended.
    Measure {
        /// The obligation.
        key: u64,
    },
    /// Remove the machine with this key and refuse the key from now on.
    Release {
        /// The obligation.
        key: u64,
    },
}

/// Does as the operator wants.
pub(crate) fn run(operate: Operate) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut config = LocalConfig::new(operate.dir, program);
    config.least_isolation = operate.isolation;
    let mut provider = LocalProvider::open(config)?;
    match operate.act {
        Act::List => print(&provider.list()?),
        Act::Provision { key } => {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .context("cannot read the specification")?;
            let spec: MachineSpec =
                serde_json::from_str(&text).context("the specification makes no sense")?;
            print(&provider.provision(MachineKey(key), &spec)?)
        }
        Act::Inspect { key } => print(&provider.inspect(MachineKey(key))?),
        Act::Measure { key } => print(&provider.measure(MachineKey(key))?),
        Act::Release { key } => print(&provider.release(MachineKey(key))?),
    }
}

fn print(value: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(value).context("cannot print")?);
    Ok(())
}
