//! `exahour bench cluster`: what an order costs in a cluster of processes, beside what it costs without one.
//!
//! Always holds: the floors are measured in the same run, in turns, with the same client and the same way of
//! waiting: a bare relay of as many ends, one node alone, one flush of the disk.
//! Does not: know a network: all nodes are on this machine, and share its cores and its disk.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use exahour_rings::IdleStrategy;
use hdrhistogram::Histogram;

use super::figures::histogram;
use super::pace::{self, Counterpart, Polite};
use super::relay::Relay;
use super::report::Report;
use super::site::{Settings, Site};
use super::trip::Trader;
use super::{Scratch, Told, add, disk};

/// Seconds that a node runs before it is measured.
const WARM_UP_SECONDS: u64 = 1;

/// Orders a second while it warms up.
const WARM_UP_RATE: u64 = 1_000;

/// How often everything is measured, in turns.
const TURNS: u64 = 2;

/// The rate at which the ratios are told, beside one order at a time.
const RATIO_RATE: u64 = 1_000;

/// Measure a cluster of processes on this machine: round trips and throughput, beside their floors.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A quarter of the work: for a first look, not for a claim.
    #[arg(long)]
    quick: bool,
    /// How many nodes.
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// How the threads that orders pass through wait: spin, yield, park:<n>us or backoff [default:
    /// yield, that of a cluster on one machine].
    #[arg(long, value_name = "IDLE")]
    idle: Option<IdleStrategy>,
    /// A file of `[[thread]]` tables: the layout of every node, alone and in the cluster, instead of the
    /// default.
    #[arg(long, value_name = "FILE", conflicts_with = "idle")]
    layout: Option<PathBuf>,
    /// Orders a second, with commas between several.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 5_000])]
    rates: Vec<u64>,
    /// Folder for journals while it runs: on the disk that is to be measured.
    #[arg(long, value_name = "DIR", default_value = ".")]
    scratch: PathBuf,
    #[command(flatten)]
    told: Told,
}

/// Round trips of one kind.
struct Trips {
    name: String,
    /// One at a time.
    single: Histogram<u64>,
    /// At each rate.
    paced: Vec<(u64, Histogram<u64>)>,
}

impl Trips {
    fn new(name: String, rates: &[u64]) -> Self {
        Self {
            name,
            single: histogram(),
            paced: rates.iter().map(|rate| (*rate, histogram())).collect(),
        }
    }

    fn measure(&mut self, counterpart: &mut dyn Counterpart, seconds: f64) -> anyhow::Result<()> {
        let count = (RATIO_RATE as f64 * seconds) as u64;
        add(&mut self.single, &pace::one_at_a_time(counterpart, count)?);
        for (rate, all) in &mut self.paced {
            let count = (*rate as f64 * seconds) as u64;
            add(all, &pace::run(counterpart, *rate, count)?);
        }
        Ok(())
    }

    fn report(&self, report: &mut Report) {
        let name = format!("{}, one at a time", self.name);
        report.histogram(&name, self.single.clone());
        for (rate, latencies) in &self.paced {
            report.histogram(&format!("{}, {rate}/s", self.name), latencies.clone());
        }
    }
}

/// Runs the topic.
///
/// # Errors
/// What keeps a part from being measured.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    ensure!(arguments.nodes >= 2, "--nodes: one node is no cluster");
    let scratch = Scratch::make(&arguments.scratch)?;
    let mut report = Report::default();
    super::machine::measure(&mut report);
    let measured = measure(arguments, &scratch.path)?;
    measured.report(&mut report);
    arguments.told.tell(&report)
}

struct Measured {
    relay: Trips,
    /// The same, where all of them flush.
    flushing: Trips,
    alone: Trips,
    /// The same with a core for itself.
    spinning: Trips,
    replicated: Trips,
    durable: Trips,
    flush: Histogram<u64>,
    /// Messages a second: replicated and durable.
    throughput: [f64; 2],
}

fn measure(arguments: &Arguments, scratch: &Path) -> anyhow::Result<Measured> {
    let rates = &arguments.rates;
    let seconds = if arguments.quick { 0.5 } else { 2.0 };
    let slow: Vec<u64> = rates
        .iter()
        .copied()
        .filter(|rate| *rate <= 1_000)
        .collect();
    let mut all = Measured {
        relay: Trips::new(format!("bare relay of {}", arguments.nodes), rates),
        flushing: Trips::new(
            format!("bare relay of {} that flushes", arguments.nodes),
            &slow,
        ),
        alone: Trips::new("one node, replicated".into(), rates),
        spinning: Trips::new("one node that spins, replicated".into(), rates),
        replicated: Trips::new(format!("{} nodes, replicated", arguments.nodes), rates),
        durable: Trips::new(format!("{} nodes, durable", arguments.nodes), &slow),
        flush: histogram(),
        throughput: [0.0; 2],
    };
    let idle = arguments.idle.unwrap_or(IdleStrategy::Yield);
    let layout = match &arguments.layout {
        Some(file) => std::fs::read_to_string(file).with_context(|| file.display().to_string())?,
        None => String::new(),
    };
    let settings = |nodes, durable| Settings {
        nodes,
        durable,
        idle: arguments.layout.is_none().then_some(idle),
    };
    for turn in 0..TURNS {
        for (disk, trips) in [(None, &mut all.relay), (Some(scratch), &mut all.flushing)] {
            let relay = Relay::start(idle, arguments.nodes - 1, disk)?;
            trips.measure(&mut Polite(relay.connect()?), seconds)?;
        }
        let spinning = Settings {
            idle: Some(IdleStrategy::Spin),
            ..settings(1, false)
        };
        for (name, settings, layout, trips) in [
            ("alone", settings(1, false), &layout[..], &mut all.alone),
            ("spinning", spinning, "", &mut all.spinning),
        ] {
            let folder = scratch.join(format!("{name}-{turn}"));
            let site = Site::found(&folder, settings, layout)?;
            load(&site, trips, seconds)?;
        }
        let count = (RATIO_RATE as f64 * seconds) as usize;
        add(
            &mut all.flush,
            &disk::bare(scratch, count, Some(RATIO_RATE))?,
        );
        for (durable, trips) in [(false, &mut all.replicated), (true, &mut all.durable)] {
            let folder = scratch.join(format!("cluster-{turn}-{durable}"));
            let site = Site::found(&folder, settings(arguments.nodes, durable), &layout)?;
            load(&site, trips, seconds)?;
            let span = Duration::from_secs_f64(seconds);
            let mut trader = Trader::log_on(site.orders(site.leader()?), site.keys()?)?;
            let rate = trader.throughput(span)?;
            let best = &mut all.throughput[usize::from(durable)];
            *best = best.max(rate);
            site.level()?;
        }
    }
    Ok(all)
}

fn load(site: &Site, trips: &mut Trips, seconds: f64) -> anyhow::Result<()> {
    let leader = site.leader()?;
    let mut trader = Polite(Trader::log_on(site.orders(leader), site.keys()?)?);
    let count = WARM_UP_RATE * WARM_UP_SECONDS;
    pace::run(&mut trader, WARM_UP_RATE, count)?;
    trips.measure(&mut trader, seconds)
}

impl Measured {
    fn report(self, report: &mut Report) {
        let Self {
            relay,
            flushing,
            alone,
            spinning,
            replicated,
            durable,
            ..
        } = &self;
        let all = [relay, flushing, alone, spinning, replicated, durable];
        all.iter().for_each(|trips| trips.report(report));
        report.histogram("bare write + fdatasync", self.flush.clone());
        self.ratios(all, report);
        let [replicated, durable] = self.throughput.map(|rate| rate / 1e3);
        let unit = "k messages/s";
        report.value(
            "replicated throughput, 16 a packet",
            replicated,
            unit,
            Some(150.0),
        );
        report.value(
            "durable throughput, 16 a packet",
            durable,
            unit,
            Some(150.0),
        );
    }

    /// The ratios of p50, at each pace.
    fn ratios(&self, trips: [&Trips; 6], report: &mut Report) {
        let p50 = |it: &Histogram<u64>| it.value_at_quantile(0.5);
        let flush = p50(&self.flush);
        let at = |trips: &Trips| {
            let found = trips.paced.iter().find(|(rate, _)| *rate == RATIO_RATE);
            found.map(|(_, latencies)| p50(latencies))
        };
        let kinds = [
            (
                "one at a time".to_owned(),
                trips.map(|it| Some(p50(&it.single))),
            ),
            (format!("{RATIO_RATE}/s"), trips.map(at)),
        ];
        for (pace, found) in kinds {
            let [
                Some(relay),
                Some(flushing),
                Some(alone),
                Some(spinning),
                Some(replicated),
                Some(durable),
            ] = found
            else {
                continue;
            };
            let mut times = |name: &str, own: u64, floor: u64, most| {
                report.times(&format!("{name}, {pace}"), own, floor, most);
            };
            times("replicated / one node", replicated, alone, Some(2.5));
            times("replicated / one that spins", replicated, spinning, None);
            times("replicated / bare relay", replicated, relay, None);
            let floor = replicated + flush;
            times("durable / (replicated + flush)", durable, floor, Some(1.5));
            times("durable / bare relay that flushes", durable, flushing, None);
        }
    }
}
