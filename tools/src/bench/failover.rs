//! `exahour bench failover`: how long a cluster of processes takes no orders when its leader is killed, and
//! how fast a node is level again.
//!
//! Always holds: time counts from before the kill to the first acknowledgement of an order that was sent
//! after it, as one client with the library's own way of finding the leader sees it; the nodes' timeouts are
//! the defaults.
//! Does not: check what was kept; tests do.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use exahour_gateway::client::{Client, ClientError, ClientEvent};
use exahour_wire::events::OrderAccepted;
use exahour_wire::ids::ClientOrderId;
use hdrhistogram::Histogram;

use super::figures::histogram;
use super::report::Report;
use super::site::{Settings, Site};
use super::trip::{self, Trader};
use super::{Scratch, Told};

/// From one order to the next.
const PAUSE: Duration = Duration::from_millis(5);

/// Orders acknowledged between two kills.
const ORDERS_BETWEEN: u64 = 50;

/// How long the first acknowledgement may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Measure what a killed leader costs, and how fast a node that was away is level again.
#[derive(Debug, Args)]
pub struct Arguments {
    /// How often the leader is killed.
    #[arg(long, default_value_t = 20)]
    kills: u64,
    /// Commands that go in while a follower is away.
    #[arg(long, default_value_t = 1_000_000)]
    commands: u64,
    /// How many nodes.
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Folder for journals while it runs.
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
    let settings = Settings {
        nodes: arguments.nodes,
        durable: true,
        idle: None,
    };
    let mut site = Site::found(&scratch.path.join("failover"), settings, "")?;
    kills(&mut site, arguments.kills, &mut report)?;
    drop(site);
    if arguments.commands > 0 {
        let mut site = Site::found(&scratch.path.join("catch-up"), settings, "")?;
        catch_up(&mut site, arguments.commands, &mut report)?;
    }
    arguments.told.tell(&report)
}

fn kills(site: &mut Site, count: u64, report: &mut Report) -> anyhow::Result<()> {
    if count == 0 {
        return Ok(());
    }
    let mut load = LightLoad::begin(site)?;
    let (mut silences, mut whole) = (histogram(), histogram());
    let term_before = site.term()?;
    for _ in 0..count {
        load.until_acknowledged(ORDERS_BETWEEN, PATIENCE)?;
        let leader = site.leader()?;
        let killed = site.kill(leader)?;
        // Whatever the dead node still had on its way answers older orders.
        load.only_newer();
        load.until_acknowledged(1, PATIENCE)
            .with_context(|| format!("after node {} was killed", leader + 1))?;
        record(&mut silences, killed);
        site.start(leader)?;
        site.level()?;
        record(&mut whole, killed);
    }
    let elections = (site.term()? - term_before) as f64 / count as f64;
    report.value("terms that a kill takes", elections, "a kill", None);
    let p50 = silences.value_at_quantile(0.5);
    let worst = silences.max();
    let name = "leader killed to first acknowledgement";
    report.histogram(name, silences);
    report.histogram("leader killed to all nodes level again", whole);
    let ms = |ns: u64| ns as f64 / 1e6;
    report.at_most(&format!("{name}, p50"), ms(p50), "ms", 500.0);
    report.at_most(
        &format!("{name}, worst of {count}"),
        ms(worst),
        "ms",
        1_000.0,
    );
    Ok(())
}

fn record(histogram: &mut Histogram<u64>, since: Instant) {
    histogram.saturating_record(u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX));
}

/// A client that sends an order now and then, and finds the leader by itself.
struct LightLoad {
    client: Client,
    next_name: u64,
    /// Orders of this name and later ones count.
    counted_from: u64,
    due: Instant,
}

impl LightLoad {
    fn begin(site: &Site) -> anyhow::Result<Self> {
        let mut config = trip::settings(site.keys()?)?;
        let nodes = site.all_orders();
        let (first, further) = nodes.split_first().context("a cluster has nodes")?;
        config.nodes = further.to_vec();
        Ok(Self {
            client: Client::connect(*first, config)?,
            next_name: 1,
            counted_from: 1,
            due: Instant::now(),
        })
    }

    /// Counts orders that are sent from now on only.
    fn only_newer(&mut self) {
        self.counted_from = self.next_name;
    }

    /// Goes on until so many more orders that count were accepted.
    fn until_acknowledged(&mut self, count: u64, patience: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + patience;
        let mut acknowledged = 0;
        while acknowledged < count {
            let now = Instant::now();
            ensure!(now < end, "{acknowledged} of {count} orders were accepted");
            if now >= self.due && self.client.is_established() {
                self.due = now + PAUSE;
                match self
                    .client
                    .send(&trip::order(ClientOrderId(self.next_name)))
                {
                    Ok(_) => self.next_name += 1,
                    // It is told with the next event, and gone with the next node.
                    Err(ClientError::Disconnected { .. } | ClientError::Backlog) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            let wait = self.due.saturating_duration_since(now).min(PAUSE);
            let found = self.client.wait(wait.max(Duration::from_micros(100)))?;
            if let Some(ClientEvent::Report(report)) = found {
                let accepted: Option<OrderAccepted> = report.read();
                let counts = |it: &OrderAccepted| it.client_order_id.0 >= self.counted_from;
                acknowledged += u64::from(accepted.is_some_and(|it| counts(&it)));
            }
        }
        Ok(())
    }
}

/// A follower is stopped, commands go in, it comes back; then it is killed and comes back from what it has.
fn catch_up(site: &mut Site, commands: u64, report: &mut Report) -> anyhow::Result<()> {
    let leader = site.leader()?;
    let follower = (leader + 1) % site.count();
    site.stop(follower)?;
    let mut trader = Trader::log_on(site.orders(leader), site.keys()?)?;
    let rate = trader.messages(commands)?;
    report.value(
        "commands in while a follower is away",
        rate / 1e3,
        "k/s",
        None,
    );
    let began = Instant::now();
    site.start(follower)?;
    site.level()?;
    let seconds = began.elapsed().as_secs_f64();
    let rate = commands as f64 / seconds / 1e6;
    let busy = site.cpu_seconds().get(follower).copied().unwrap_or(0.0);
    report.value("follower level again", seconds, "s", None);
    report.value("follower level again, its processor time", busy, "s", None);
    report.value("follower catches up", rate, "M commands/s", Some(1.0));
    site.kill(follower)?;
    let began = Instant::now();
    site.start(follower)?;
    let open = began.elapsed().as_secs_f64();
    site.level()?;
    let seconds = began.elapsed().as_secs_f64();
    report.value("node killed, in the group again", open, "s", None);
    let name = format!("node with {commands} commands killed, level again");
    report.at_most(&name, seconds, "s", 5.0);
    Ok(())
}
