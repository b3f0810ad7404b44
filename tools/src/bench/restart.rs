//! `exahour bench restart`: how long a node that has many commands takes until it is there again.
//!
//! Always holds: the node is one of the defaults, stopped and started in this process, so that its files are in the
//! system's memory as after a crash of the process; the clients connect before it is there, and wait.
//! Does not: measure a machine that has restarted, which reads the same files from its disk.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use exahour_gateway::clock::{Clock, SystemClock};
use exahour_gateway::feed::client::FeedClient;
use exahour_gateway::image::Flow;
use exahour_journal::{Verify, inspect};
use exahour_replicas::{Node, NodeConfig};
use exahour_wire::codes::{Durability, FeedDepth};

use super::pace::Counterpart;
use super::report::Report;
use super::trip::{self, Trader};
use super::{Scratch, Told};

/// How long a port may take to open.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long a start may take, whatever was journaled.
const AIM_S: f64 = 5.0;

/// Measure how long a node with many commands in its journal takes to start again.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Commands in the journal, with commas between several numbers: one start for each.
    #[arg(long, value_delimiter = ',', default_value = "1000000,10000000")]
    commands: Vec<u64>,
    /// Folder for journals while it runs: ten million commands take 4 GB.
    #[arg(long, value_name = "DIR", default_value = ".")]
    scratch: PathBuf,
    #[command(flatten)]
    told: Told,
}

/// Runs the topic.
///
/// # Errors
/// What keeps a part from being measured.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let scratch = Scratch::make(&arguments.scratch)?;
    let mut report = Report::default();
    for commands in &arguments.commands {
        let data = scratch.path.join(format!("restart-{commands}"));
        measure(&data, *commands, &mut report)?;
        std::fs::remove_dir_all(&data)?;
    }
    arguments.told.tell(&report)
}

fn measure(data: &Path, commands: u64, report: &mut Report) -> anyhow::Result<()> {
    let mut config = NodeConfig::defaults()?;
    config.data = data.to_path_buf();
    config.set_durability(Durability::Replicated);
    let listen = &mut config.listen;
    for address in [
        &mut listen.orders,
        &mut listen.market_data,
        &mut listen.drop_copy,
    ] {
        address.set_port(0);
    }
    let node = Node::start(&config)?;
    Trader::connect(&node)?.messages(commands)?;
    node.stop()?;

    let name = |what: &str| format!("{commands} commands, {what}");
    let began = Instant::now();
    let recovered = inspect(data.join("journal"), Verify::Every)?;
    let seconds = began.elapsed().as_secs_f64();
    report.value(&name("their journal verified"), seconds, "s", None);
    let bytes = recovered.appended.value() as f64 / 1e9;
    report.value(&name("bytes of journal"), bytes, "GB", None);

    let began = Instant::now();
    let node = Node::start(&config)?;
    let seconds = began.elapsed().as_secs_f64();
    report.value(&name("opened"), seconds, "s", None);
    let spared = node.recovery().snapshot_command;
    report.value(
        &name("spared by a snapshot"),
        spared as f64,
        "commands",
        None,
    );
    let spared = node.recovery().views_event as f64;
    report.value(&name("spared by views"), spared, "events", None);
    let (orders, market_data) = std::thread::scope(|scope| {
        let feed = scope.spawn(|| await_market_data(&node, began));
        let orders = await_order(&node, began)?;
        let feed = feed.join();
        anyhow::Ok((
            orders,
            feed.map_err(|_| anyhow::anyhow!("the feed has failed"))??,
        ))
    })?;
    report.at_most(&name("first order acknowledged"), orders, "s", AIM_S);
    report.at_most(&name("market data served"), market_data, "s", AIM_S);
    node.stop()?;
    Ok(())
}

/// Seconds until an order is acknowledged.
fn await_order(node: &Node, began: Instant) -> anyhow::Result<f64> {
    let mut settings = trip::settings(node.keys())?;
    settings.connect_timeout = PATIENCE;
    let mut trader = Trader::with(node.addresses().orders, settings)?;
    trader.begin();
    trader.send(0)?;
    let mut answered = false;
    while !answered {
        ensure!(began.elapsed() < PATIENCE, "no order was acknowledged");
        trader.poll(&mut |_| answered = true)?;
    }
    Ok(began.elapsed().as_secs_f64())
}

/// Seconds until the books are known.
fn await_market_data(node: &Node, began: Instant) -> anyhow::Result<f64> {
    let mut clock = SystemClock::default();
    let address = node.addresses().market_data;
    let mut client = FeedClient::new(address, FeedDepth::Top, Flow::All);
    let mut heard = 0;
    while heard == 0 {
        ensure!(began.elapsed() < PATIENCE, "no market data came");
        heard = client
            .poll(clock.steady(), &mut |_, _| {})
            .context("market data")?;
        client.wait(Duration::from_millis(1));
    }
    Ok(began.elapsed().as_secs_f64())
}
