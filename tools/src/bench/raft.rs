//! `exahour bench raft`: what replication costs the leader's processor, without kernel, disk or followers.
//!
//! Three whole nodes, turned by hand, over a network in memory: on one thread what an order passes through, on
//! another the rest, as the layout for few cores has it. Only the turns of the leader's sequencer are timed: it
//! drains the ring, stamps the batch, has raft propose it, writes the journal's frame, packs and seals a
//! message for each follower, opens their answers, and publishes the commit. Beside it, in the same run: raft
//! alone over its own storage in memory, the journal alone, and one whole node that has no group. What replication
//! costs is the difference to the journal; to the node alone, what three cost more than one.
//!
//! Always holds: what is timed is the very agent that a node runs, on a log of real files.
//! Does not: count the followers' work, though it shares the caches with it, so figures are above rather
//! than below what a leader with a core of its own needs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use clap::Args;
use exahour_gateway::client::{Client, ClientEvent};
use exahour_gateway::clock::SystemClock;
use exahour_journal::{Config as JournalConfig, FrameMeta, Journal, LogId};
use exahour_replicas::{FRAME_COMMANDS, Node, NodeConfig, World};
use exahour_rings::Agent;
use exahour_wire::codes::Durability;
use exahour_wire::ids::ClientOrderId;
use exahour_wire::record::Record;
use hdrhistogram::Histogram;

use super::bare_raft::BareGroup;
use super::behind::Behind;
use super::figures::histogram;
use super::memory_net::MemoryNet;
use super::report::Report;
use super::trip;
use super::{Scratch, Told};
use crate::cluster::folder::KEY_FILE;
use crate::cluster::key::draw;

/// Nodes of the group.
pub(super) const NODES: usize = 3;

/// Commands in a batch, how many batches are timed, and the aim for replication in nanoseconds a command.
const BATCHES: [(usize, u64, Option<f64>); 3] = [
    (1, 20_000, Some(1_000.0)),
    (16, 5_000, Some(150.0)),
    (256, 600, None),
];

/// Batches of each size before they are timed.
pub(super) const WARM_UP: u64 = 200;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Measure the leader's own work for a replicated command, apart from kernel, disk and followers.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A tenth of the work: for a first look, not for a claim.
    #[arg(long)]
    quick: bool,
    /// Folder for journals while it runs: in memory, so that no disk is measured.
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    scratch: PathBuf,
    #[command(flatten)]
    told: Told,
}

/// Runs the topic.
///
/// # Errors
/// What keeps the nodes from starting, or an order from being answered.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let scratch = Scratch::make(&arguments.scratch)?;
    let mut report = Report::default();
    super::machine::measure(&mut report);
    report.histogram("two readings of the clock", readings());
    let [path, path_alone] = ["group", "alone"].map(|name| scratch.path.join(name));
    let mut group = Group::found(&path, NODES)?;
    let mut alone = Group::found(&path_alone, 1)?;
    for (commands, batches, aim) in BATCHES {
        let batches = if arguments.quick {
            batches / 10
        } else {
            batches
        };
        let timed = group.measure(commands, batches)?;
        let one = alone.measure(commands, batches)?;
        let raft = BareGroup::found()?.measure(&data(commands), batches)?;
        let folder = scratch.path.join(format!("journal-{commands}"));
        let journal = journal_alone(&folder, &data(commands), batches)?;
        let kind = format!("batches of {commands}");
        let mean = |total: Duration| total.as_nanos() as f64 / (batches * commands as u64) as f64;
        let p50 = |it: &Timed| it.batches.value_at_quantile(0.5);
        let all = [
            ("leader", &timed),
            ("node alone", &one),
            ("raft alone", &raft),
            ("journal alone", &journal),
        ];
        for (name, it) in all {
            report.value(
                &format!("{name}, {kind}"),
                mean(it.total),
                "ns/command",
                None,
            );
        }
        let less = |floor: &Timed| p50(&timed).saturating_sub(p50(floor)) as f64 / commands as f64;
        let name = format!("leader less the journal alone, p50, {kind}");
        match aim {
            Some(most) => report.at_most(&name, less(&journal), "ns/command", most),
            None => report.value(&name, less(&journal), "ns/command", None),
        }
        let name = format!("leader less the node alone, p50, {kind}");
        report.value(&name, less(&one), "ns/command", None);
        let name = format!("leader / (raft alone + journal alone), {kind}");
        report.times(&name, p50(&timed), p50(&raft) + p50(&journal), None);
        let turns = timed.turns as f64 / batches as f64;
        report.value(&format!("leader, {kind}, turns"), turns, "a batch", None);
        for (name, timed) in [
            ("leader", timed),
            ("node alone", one),
            ("raft alone", raft),
            ("journal alone", journal),
        ] {
            report.histogram(&format!("{name}, {kind}"), timed.batches);
        }
    }
    group.behind.end()?;
    alone.behind.end()?;
    arguments.told.tell(&report)
}

/// What the method itself takes, twice a turn.
fn readings() -> Histogram<u64> {
    let mut readings = histogram();
    for _ in 0..10_000 {
        let began = Instant::now();
        readings.saturating_record(began.elapsed().as_nanos() as u64);
    }
    readings
}

/// The commands of a batch as they lie in a frame: an order and its cancel in turns.
fn data(commands: usize) -> Vec<u8> {
    let mut data = Vec::new();
    for number in 0..commands as u64 {
        let name = ClientOrderId(number);
        let record = match number.is_multiple_of(2) {
            true => Record::new(&trip::order(name)),
            false => Record::new(&trip::cancel(name)),
        };
        record
            .lines()
            .iter()
            .for_each(|line| data.extend_from_slice(&line.0));
    }
    data
}

/// What a node without a group would do for the same batches: their frames in a journal of their own.
fn journal_alone(folder: &Path, data: &[u8], batches: u64) -> anyhow::Result<Timed> {
    let config = JournalConfig::new(folder, LogId([7; 16]));
    let mut journal = Journal::open_or_create(&config)?;
    let mut timed = Timed::default();
    for batch in 0..WARM_UP + batches {
        let meta = FrameMeta {
            index: batch + 1,
            term: 1,
            kind: FRAME_COMMANDS,
            ..FrameMeta::default()
        };
        let began = Instant::now();
        journal.appender.append(&meta, &[data])?;
        if batch >= WARM_UP {
            timed.add(began.elapsed(), 1);
        }
    }
    Ok(timed)
}

/// The agents of one node that an order passes through.
struct Turned {
    sequencer: Box<dyn Agent>,
    others: Vec<Box<dyn Agent>>,
}

impl Turned {
    /// Those of these agents, and all others.
    fn of(agents: Vec<Box<dyn Agent>>) -> anyhow::Result<(Self, Vec<Box<dyn Agent>>)> {
        let (mut sequencer, mut others, mut behind) = (None, Vec::new(), Vec::new());
        for mut agent in agents {
            agent.on_start()?;
            match agent.name() {
                "sequencer" => sequencer = Some(agent),
                "order-gateway" | "engine" => others.push(agent),
                _ => behind.push(agent),
            }
        }
        let sequencer = sequencer.context("a node has a sequencer")?;
        Ok((Self { sequencer, others }, behind))
    }

    fn turn_others(&mut self) -> anyhow::Result<usize> {
        let mut work = 0;
        for agent in &mut self.others {
            work += agent.do_work()?;
        }
        Ok(work)
    }

    fn turn(&mut self) -> anyhow::Result<usize> {
        Ok(self.turn_others()? + self.sequencer.do_work()?)
    }
}

/// What was timed.
pub struct Timed {
    /// The nanoseconds of each batch.
    batches: Histogram<u64>,
    total: Duration,
    turns: u64,
}

impl Default for Timed {
    fn default() -> Self {
        Self {
            batches: histogram(),
            total: Duration::ZERO,
            turns: 0,
        }
    }
}

impl Timed {
    /// Adds a batch that took so long in so many turns.
    pub fn add(&mut self, took: Duration, turns: u64) {
        self.batches.saturating_record(took.as_nanos() as u64);
        self.total += took;
        self.turns += turns;
    }
}

struct Group {
    nodes: Vec<Turned>,
    behind: Behind,
    leader: usize,
    client: Client,
    next_name: u64,
}

impl Group {
    /// Founds a group of so many, or a node alone.
    fn found(folder: &Path, count: usize) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        draw(&folder.join(KEY_FILE))?;
        let net = MemoryNet::default();
        let world = World {
            net: Arc::new(net.clone()),
            ..World::system()
        };
        let (mut nodes, mut behind) = (Vec::new(), Vec::new());
        let mut keys = None;
        for id in 1..=count {
            let path = folder.join(format!("node-{id}.toml"));
            std::fs::write(&path, configuration(id, count))?;
            let mut config = NodeConfig::load(&path)?;
            config.data = folder.join(format!("node-{id}"));
            config.set_durability(Durability::Replicated);
            if let Some(cluster) = &mut config.cluster {
                cluster.founding = true;
            }
            let assembled = Node::assemble(&config, &world)?;
            keys = Some(assembled.keys);
            let (turned, others) = Turned::of(assembled.agents)?;
            nodes.push(turned);
            behind.extend(others);
        }
        let behind = Behind::start(behind)?;
        let orders: Vec<_> = (1..=count)
            .map(|id| format!("10.0.0.{id}:7801").parse())
            .collect::<Result<_, _>>()?;
        let mut settings = trip::settings(&keys.context("a cluster has nodes")?)?;
        settings.nodes = orders[1..].to_vec();
        let clock = SystemClock::default();
        let mut client = Client::begin(Box::new(net), clock, orders[0], settings);
        let end = Instant::now() + PATIENCE;
        let leader = loop {
            ensure!(Instant::now() < end, "nobody leads within {PATIENCE:?}");
            for node in &mut nodes {
                node.turn()?;
            }
            if let Some(ClientEvent::Established { node }) = client.poll()? {
                let place = orders.iter().position(|it| *it == node);
                break place.context("a node of this group")?;
            }
        };
        Ok(Self {
            nodes,
            behind,
            leader,
            client,
            next_name: 1,
        })
    }

    fn measure(&mut self, commands: usize, batches: u64) -> anyhow::Result<Timed> {
        let mut timed = Timed::default();
        for batch in 0..WARM_UP + batches {
            self.send(commands)?;
            let (took, turns) = self.carry_out(commands)?;
            if batch >= WARM_UP {
                timed.add(took, turns);
            }
        }
        Ok(timed)
    }

    /// Has so many commands wait in the ring of the leader's gateway: an order and its cancel in turns.
    fn send(&mut self, commands: usize) -> anyhow::Result<()> {
        for _ in 0..commands {
            let name = ClientOrderId(self.next_name.div_ceil(2));
            match self.next_name.is_multiple_of(2) {
                false => self.client.queue(&trip::order(name))?,
                true => self.client.queue(&trip::cancel(name))?,
            };
            self.next_name += 1;
        }
        self.client.flush()?;
        while self.nodes[self.leader].turn_others()? > 0 {}
        Ok(())
    }

    /// One turn of the leader's sequencer, and how long it took. Has a name of its own in a profile.
    #[inline(never)]
    fn turn_leader(&mut self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        self.nodes[self.leader].sequencer.do_work()?;
        Ok(began.elapsed())
    }

    /// Turns everybody until all are answered; the time and the turns of the leader's sequencer.
    fn carry_out(&mut self, commands: usize) -> anyhow::Result<(Duration, u64)> {
        let end = Instant::now() + PATIENCE;
        let (mut took, mut turns, mut answered) = (Duration::ZERO, 0, 0);
        while answered < commands {
            ensure!(
                Instant::now() < end,
                "{answered} of {commands} commands were answered"
            );
            took += self.turn_leader()?;
            turns += 1;
            for (index, node) in self.nodes.iter_mut().enumerate() {
                let mut work = usize::MAX;
                while work > 0 {
                    work = match index == self.leader {
                        true => node.turn_others()?,
                        false => node.turn()?,
                    };
                }
            }
            while let Some(event) = self.client.poll()? {
                match event {
                    ClientEvent::Report(_) => answered += 1,
                    other => return Err(anyhow!("unexpected: {other:?}")),
                }
            }
        }
        Ok((took, turns))
    }
}

fn configuration(node: usize, count: usize) -> String {
    let mut text = format!(
        "[listen]\norders = \"10.0.0.{node}:7801\"\nmarket_data = \"10.0.0.{node}:7802\"\n\
         drop_copy = \"10.0.0.{node}:7803\"\n[snapshots]\njournal_bytes = 0\n"
    );
    if count == 1 {
        return text;
    }
    text.push_str(&format!("[cluster]\nnode = {node}\nkey = \"{KEY_FILE}\"\n"));
    for id in 1..=count {
        text.push_str(&format!(
            "[[cluster.member]]\nid = {id}\npeers = \"10.0.0.{id}:7804\"\norders = \"10.0.0.{id}:7801\"\n"
        ));
    }
    text
}
