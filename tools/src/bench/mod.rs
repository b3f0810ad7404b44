//! `exahour bench`: what the exchange costs, each figure beside its floor, in one run.
//!
//! Always holds: a figure and its floor are measured in turns, minutes apart at most, on the same
//! cores; what is compared is their ratio. Does not: run anything else meanwhile; nor should you.

pub mod bare_raft;
pub mod behind;
pub mod cluster;
pub mod cpu;
pub mod disk;
pub mod echo;
pub mod engine;
pub mod failover;
pub mod figures;
pub mod flow;
pub mod hop;
pub mod machine;
pub mod memory;
pub mod memory_net;
pub mod node;
pub mod pace;
pub mod raft;
pub mod relay;
pub mod replaying;
pub mod report;
pub mod restart;
pub mod site;
pub mod trip;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use exahour_journal::FlushBody;
use exahour_rings::{CoreId, IdleStrategy, online_cores, pin_current_thread};
use exahour_wire::codes::Durability;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};

use flow::Flow;
use report::Report;

use crate::output::{print, print_json};

/// Measure ring, engine, gateway, journal and replay, each beside what the machine does without us.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    topic: Option<Topic>,
    /// A tenth of the work: for a first look, not for a claim.
    #[arg(long)]
    quick: bool,
    /// Folder for journals while it runs: on the disk that is to be measured.
    #[arg(long, value_name = "DIR", default_value = ".")]
    scratch: PathBuf,
    /// Only these parts, with commas between them [default: all].
    #[arg(long, value_delimiter = ',', value_name = "PART")]
    only: Vec<Part>,
    /// Seed of the flow: the same seed gives the same commands.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    #[command(flatten)]
    told: Told,
}

/// How what was found is told.
#[derive(Debug, Args)]
struct Told {
    /// Write the raw histograms into this folder, one HdrHistogram log each.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write JSON, one object a finding, instead of the table.
    #[arg(long)]
    json: bool,
}

impl Told {
    fn tell(&self, report: &Report) -> anyhow::Result<()> {
        if let Some(folder) = &self.out {
            report.write_histograms(folder)?;
        }
        match self.json {
            true => report.json().iter().try_for_each(print_json),
            false => print(&report.text()),
        }
    }
}

/// What is measured apart from the rest, because it takes processes of its own.
#[derive(Debug, Subcommand)]
enum Topic {
    Cluster(cluster::Arguments),
    Failover(failover::Arguments),
    Raft(raft::Arguments),
    Restart(restart::Arguments),
    #[command(hide = true)]
    Node(node::Arguments),
}

/// A part of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Machine,
    Ring,
    Engine,
    Disk,
    Trip,
    Throughput,
    Replay,
    Memory,
}

const PARTS: [Part; 8] = [
    // First, while nothing has been allocated that could be used again.
    Part::Memory,
    Part::Machine,
    Part::Ring,
    Part::Engine,
    Part::Replay,
    Part::Disk,
    Part::Trip,
    Part::Throughput,
];

/// Orders a second in the memory-speed round trip: far from saturation.
const MEMORY_RATE: u64 = 5_000;

/// Orders a second in the durable round trip: a flush is over before the next order.
const DURABLE_RATE: u64 = 1_000;

/// How long a node runs before it is measured.
const WARM_UP_SECONDS: u64 = 1;

/// How much is done of everything.
struct Effort {
    commands: usize,
    rounds: usize,
    trips: u64,
    syncs: usize,
    span: Duration,
}

/// Runs the bench.
///
/// # Errors
/// What keeps a part from being measured.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    match &arguments.topic {
        None => run_parts(arguments),
        Some(Topic::Cluster(arguments)) => cluster::run(arguments),
        Some(Topic::Failover(arguments)) => failover::run(arguments),
        Some(Topic::Raft(arguments)) => raft::run(arguments),
        Some(Topic::Restart(arguments)) => restart::run(arguments),
        Some(Topic::Node(arguments)) => node::run(arguments),
    }
}

fn run_parts(arguments: &Arguments) -> anyhow::Result<()> {
    let effort = if arguments.quick {
        Effort {
            commands: 200_000,
            rounds: 3,
            trips: 2_000,
            syncs: 300,
            span: SECOND,
        }
    } else {
        Effort {
            commands: 2_000_000,
            rounds: 7,
            trips: 20_000,
            syncs: 3_000,
            span: SECOND * 5,
        }
    };
    let scratch = Scratch::make(&arguments.scratch)?;
    let mut bench = Bench {
        effort,
        scratch: scratch.path.clone(),
        cores: online_cores()?,
        report: Report::default(),
        seed: arguments.seed,
        flow: None,
    };
    let wanted = |part: &&Part| arguments.only.is_empty() || arguments.only.contains(part);
    let parts: Vec<Part> = PARTS.iter().filter(wanted).copied().collect();
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}")?;
    let progress = ProgressBar::new(parts.len() as u64).with_style(style);
    for part in parts {
        progress.set_message(format!("{part:?}").to_lowercase());
        bench.measure(part)?;
        progress.inc(1);
    }
    progress.finish_and_clear();
    arguments.told.tell(&bench.report)
}

/// A folder for as long as something is measured, made with those on the way to it.
struct Scratch {
    path: PathBuf,
    // In this order: what lies in the others goes first.
    _inner: tempfile::TempDir,
    _made: MadeFolders,
}

impl Scratch {
    fn make(within: &Path) -> anyhow::Result<Self> {
        let made = MadeFolders::beyond(within);
        let inner = std::fs::create_dir_all(within)
            .and_then(|()| {
                tempfile::Builder::new()
                    .prefix("exahour-bench-")
                    .tempdir_in(within)
            })
            .with_context(|| {
                let folder = within.display();
                format!("--scratch {folder}: name a folder that can be written")
            })?;
        Ok(Self {
            path: inner.path().to_path_buf(),
            _inner: inner,
            _made: made,
        })
    }
}

/// Folders that were not there before; they are removed again where nothing else lies in them.
struct MadeFolders(Vec<PathBuf>);

impl MadeFolders {
    /// Those on the way to `folder`, and itself, the deepest first.
    fn beyond(folder: &Path) -> Self {
        let missing = |it: &&Path| !it.as_os_str().is_empty() && !it.exists();
        let missing = folder.ancestors().take_while(missing);
        Self(missing.map(Path::to_path_buf).collect())
    }
}

impl Drop for MadeFolders {
    fn drop(&mut self) {
        for folder in &self.0 {
            // One that is not empty is somebody's, and so is what it lies in.
            if std::fs::remove_dir(folder).is_err() {
                return;
            }
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);

struct Bench {
    effort: Effort,
    scratch: PathBuf,
    cores: Vec<CoreId>,
    report: Report,
    seed: u64,
    flow: Option<Flow>,
}

impl Bench {
    fn measure(&mut self, part: Part) -> anyhow::Result<()> {
        match part {
            Part::Machine => {
                machine::measure(&mut self.report);
                Ok(())
            }
            Part::Ring => self.ring(),
            Part::Engine => self.engine(),
            Part::Disk => self.disk(),
            Part::Trip => self.trip(),
            Part::Throughput => self.throughput(),
            Part::Replay => self.replay(),
            Part::Memory => {
                memory::measure(&mut self.report);
                Ok(())
            }
        }
    }

    /// The core of the exchange, and that of its client; none on a machine with a single core.
    fn pair(&self) -> (Option<CoreId>, Option<CoreId>) {
        match self.cores[..] {
            [first, second, ..] => (Some(first), Some(second)),
            _ => (None, None),
        }
    }

    fn flow(&mut self) -> &Flow {
        let (seed, commands) = (self.seed, self.effort.commands);
        self.flow
            .get_or_insert_with(|| Flow::generate(seed, commands))
    }

    fn ring(&mut self) -> anyhow::Result<()> {
        let (Some(near), Some(far)) = self.pair() else {
            self.report
                .note("ring hop", "not measured: it takes two cores");
            return Ok(());
        };
        let figures = hop::measure(near, far)?;
        self.report
            .value("ring, 64-byte messages", figures.rate, "M/s", None);
        if let Some(round_trip) = figures.cache_line_ns {
            self.report
                .value("cache line there and back", round_trip, "ns", None);
        }
        Ok(())
    }

    fn engine(&mut self) -> anyhow::Result<()> {
        let rounds = self.effort.rounds;
        let figures = engine::measure(self.flow(), rounds);
        self.report.value(
            "engine, best round",
            figures.best,
            "M commands/s CPU",
            Some(12.0),
        );
        self.report.value(
            "engine, median round",
            figures.median,
            "M commands/s CPU",
            None,
        );
        self.report
            .value("engine, events", figures.event_bytes, "bytes/command", None);
        self.report
            .histogram("engine, one command", figures.latency);
        self.report
            .histogram("two readings of the clock", figures.clock);
        Ok(())
    }

    fn disk(&mut self) -> anyhow::Result<()> {
        let syncs = self.effort.syncs;
        let bare = disk::bare(&self.scratch, syncs, None)?;
        self.report
            .histogram("bare write + fdatasync, 128 B", bare.clone());
        for (name, body) in [
            ("pwrite", FlushBody::Pwrite),
            ("uring", FlushBody::Uring),
            ("map", FlushBody::Map),
        ] {
            match disk::journal(&self.scratch, body, syncs) {
                Ok([appends, both]) => {
                    self.report
                        .histogram(&format!("journal append, {name}"), appends);
                    let name = format!("journal append + flush, {name}");
                    self.report.ratio(&name, (both, 0.5), (&bare, 0.5), None);
                }
                Err(error) => self
                    .report
                    .note(&format!("journal, {name}"), &error.to_string()),
            }
        }
        Ok(())
    }

    /// Turns of round trips and of their floors, each floor at the pace of what it is a floor to.
    fn trip(&mut self) -> anyhow::Result<()> {
        let [
            mut echo,
            mut memory,
            mut slow_echo,
            mut sync,
            mut syncing_echo,
            mut durable,
        ] = std::array::from_fn(|_| figures::histogram());
        let turns = 4;
        let trips = self.effort.trips / turns;
        for turn in 0..turns {
            let (fast, slow) = ((MEMORY_RATE, trips), (DURABLE_RATE, trips / 4));
            add(&mut echo, &self.echo_trip(fast, None)?);
            add(
                &mut memory,
                &self.node_trip(turn, Durability::Replicated, fast)?,
            );
            add(&mut slow_echo, &self.echo_trip(slow, None)?);
            let (rate, count) = slow;
            let paced = disk::bare(&self.scratch, count as usize, Some(rate))?;
            add(&mut sync, &paced);
            let disk = disk::BareFile::create(&self.scratch)?;
            add(&mut syncing_echo, &self.echo_trip(slow, Some(disk))?);
            add(
                &mut durable,
                &self.node_trip(turn, Durability::Durable, slow)?,
            );
        }
        self.report.histogram("bare echo", echo.clone());
        let pace = format!("{DURABLE_RATE}/s");
        let report = &mut self.report;
        report.histogram(&format!("bare echo, {pace}"), slow_echo.clone());
        report.histogram(&format!("bare write + fdatasync, {pace}"), sync.clone());
        let name = "round trip, memory-speed journal";
        report.ratio(name, (memory.clone(), 0.5), (&echo, 0.5), Some(1.6));
        let tail = format!("{name}, p99");
        report.ratio(&tail, (memory, 0.99), (&echo, 0.99), Some(2.0));
        let floor = slow_echo.value_at_quantile(0.5) + sync.value_at_quantile(0.5);
        report.ratio_to(
            "round trip, durable",
            (durable.clone(), 0.5),
            floor,
            Some(1.25),
        );
        report.histogram(&format!("echo that flushes, {pace}"), syncing_echo.clone());
        let p50 = |it: &Histogram<u64>| it.value_at_quantile(0.5) as f64;
        report.value(
            "round trip, durable, over an echo that flushes",
            p50(&durable) / p50(&syncing_echo),
            "times, p50",
            None,
        );
        Ok(())
    }

    fn echo_trip(
        &self,
        (rate, count): (u64, u64),
        disk: Option<disk::BareFile>,
    ) -> anyhow::Result<Histogram<u64>> {
        let (exchange, client) = self.pair();
        let server = echo::EchoServer::start(exchange, disk, IdleStrategy::Spin)?;
        on_core(client, || {
            let mut client = server.connect()?;
            pace::run(&mut client, rate, count)
        })
    }

    fn node_trip(
        &self,
        turn: u64,
        durability: Durability,
        (rate, count): (u64, u64),
    ) -> anyhow::Result<Histogram<u64>> {
        let data = self.scratch.join(format!("node-{turn}-{durability:?}"));
        let (exchange, client) = self.pair();
        let node = trip::start(&data, durability, exchange)?;
        let latencies = on_core(client, || {
            let mut trader = trip::Trader::connect(&node)?;
            // The first orders touch every page and buffer once, and the next segments are staged
            // meanwhile, as they are in a node that has run for a while.
            pace::run(&mut trader, rate, rate * WARM_UP_SECONDS)?;
            pace::run(&mut trader, rate, count)
        })?;
        node.stop()?;
        std::fs::remove_dir_all(&data)?;
        Ok(latencies)
    }

    fn throughput(&mut self) -> anyhow::Result<()> {
        let (exchange, client) = self.pair();
        let data = self.scratch.join("node-throughput");
        let node = trip::start(&data, Durability::Durable, exchange)?;
        let span = self.effort.span;
        let rate = on_core(client, || {
            let mut trader = trip::Trader::connect(&node)?;
            trader.throughput(SECOND / 2)?;
            trader.throughput(span)
        })?;
        let rate = rate / 1e3;
        self.report.value(
            "durable throughput, 16 a packet",
            rate,
            "k messages/s",
            Some(300.0),
        );
        node.stop()?;
        Ok(())
    }

    fn replay(&mut self) -> anyhow::Result<()> {
        let scratch = self.scratch.clone();
        let figures = replaying::measure(&scratch, self.flow())?;
        let rate = figures.commands as f64 / figures.seconds / 1e6;
        self.report
            .value("replay, verified", rate, "M commands/s", Some(5.0));
        let ratio = figures.seconds / figures.copy_seconds;
        self.report.value(
            "replay, over a plain read of the bytes",
            ratio,
            "times",
            None,
        );
        Ok(())
    }
}

/// Runs a load on a thread of its own, so that only it is pinned: threads inherit their parent's pin.
fn on_core<T: Send>(
    core: Option<CoreId>,
    load: impl FnOnce() -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if let Some(core) = core {
                pin_current_thread(core)?;
            }
            load()
        });
        thread
            .join()
            .map_err(|_| anyhow::anyhow!("the load generator failed"))?
    })
}

fn add(all: &mut Histogram<u64>, part: &Histogram<u64>) {
    // Both have the same bounds, so the sum always fits.
    let _ = all.add(part);
}
