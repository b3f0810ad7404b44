//! A node: the agents put together, over what it keeps on disk (`on_disk`).
//!
//! Started by `exahour start` and by tests.
//!
//! Always holds: every ring has one producer; the engine starts behind the newest snapshot that can be
//! used, or before the first command; clients are answered from what the event log says.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use exahour_engine::{Capacity, Engine};
use exahour_gateway::clock::Clock;
use exahour_gateway::credentials::Keys;
use exahour_gateway::duty::Duty;
use exahour_gateway::feed::drop_copy::{DropCopy, DropCopyConfig};
use exahour_gateway::feed::market_data::{MarketData, MarketDataConfig};
use exahour_gateway::opening::Applied;
use exahour_gateway::order_gateway::{GatewaySettings, OrderGateway};
use exahour_gateway::views::Views;
use exahour_journal::{Reader, Verify};
use exahour_rings::{
    Agent, AgentFailure, Capacity as RingCapacity, Consumer, LayoutError, Producer, Running,
    StopHandle, ThreadLayout, WatermarkReader, ring, run, watermark,
};
use exahour_wire::codes::Durability;
use exahour_wire::ids::CommandSequence;
use exahour_wire::record::{Line, Record};
use exahour_wire::units::Nanos;

use crate::admission_agent::{ADMISSION, AdmissionAgent};
use crate::cluster_config::ClusterConfig;
use crate::config::NodeConfig;
use crate::consensus::{Consensus, ConsensusSettings};
use crate::couriers::{CONNECTIONS_MAX as COURIERS_MAX, Courier, errands};
use crate::disk_agent::{DiskAgent, StagingAgent};
use crate::engine_agent::{EngineAgent, EngineFacts, EngineOutlet};
use crate::error::NodeError;
use crate::event_log::fits_a_segment;
use crate::first_start;
use crate::frames::Frames;
use crate::intake::Intake;
use crate::on_disk::{ALONE, EVENTS, JOURNAL, OnDisk, Recovery};
use crate::open_files;
use crate::peers::links::Links;
use crate::peers::{CONNECTIONS_MAX as PEERS_MAX, Local, Peers};
use crate::sequencer::{BATCH_BYTES_MAX, Sequencer, SequencerSettings};
use crate::snapshots::Start;
use crate::storage::{JournalStorage, LogEnd};
use crate::world::World;

/// Lines in the ring of a gateway.
const GATEWAY_RING_LINES: usize = 1 << 16;

/// Changes of a node's duty that may wait for the gateway.
const DUTY_RING_CHANGES: usize = 64;

/// Lines in the ring of the engine's wishes.
const WISH_RING_LINES: usize = 1 << 10;

/// 2020-01-01: a clock before it has never been set.
const EARLIEST_TIME: Nanos = Nanos(1_577_836_800_000_000_000);

/// How far a clock may be behind the journal: less is made up for by standing still.
const CLOCK_BEHIND_MAX: Nanos = Nanos(60_000_000_000);

/// Where a node is reached.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Order entry.
    pub orders: SocketAddr,
    /// Market data.
    pub market_data: SocketAddr,
    /// Drop copy.
    pub drop_copy: SocketAddr,
    /// Peers and operators, where the node belongs to a cluster.
    pub peers: Option<SocketAddr>,
}

/// A node that runs.
pub struct Node {
    running: Running,
    addresses: Addresses,
    keys: PathBuf,
    recovery: Recovery,
}

/// The agents of a node, put together and not running yet.
pub struct Assembled {
    /// The agents, each with the name that a layout places it by.
    pub agents: Vec<Box<dyn Agent>>,
    /// Where the node is reached.
    pub addresses: Addresses,
    /// The file of the sessions' keys.
    pub keys: PathBuf,
    /// How it came back.
    pub recovery: Recovery,
}

impl Node {
    /// Recovers what is on disk, or creates it, and starts to serve.
    ///
    /// # Errors
    /// [`NodeError`]; nothing is served then, and nothing on disk is lost.
    pub fn start(config: &NodeConfig) -> Result<Self, NodeError> {
        open_files::allow(config.sessions.all_connections_max())?;
        first_start::check_layout(config).map_err(|it| misfit(config, it))?;
        let world = World::system();
        first_start::check(config, &world)?;
        let assembled = Self::assemble(config, &world)?;
        let running = run(&config.layout, assembled.agents).map_err(|it| misfit(config, it))?;
        Ok(Self {
            running,
            addresses: assembled.addresses,
            keys: assembled.keys,
            recovery: assembled.recovery,
        })
    }

    /// As [`Node::start`], in any world, and without running it: whoever has the agents turns them.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn assemble(config: &NodeConfig, world: &World) -> Result<Assembled, NodeError> {
        let (wanted_in, wanted_out) = watermark();
        let (behaviour_in, behaviour_out) = watermark();
        let disk = OnDisk::open(config, world, wanted_out)?;
        let (gateway_in, gateway_out) = line_ring(GATEWAY_RING_LINES);
        let (wishes_in, wishes_out) = line_ring(WISH_RING_LINES);
        let (applied_in, applied_out) = watermark();
        let (intake_in, intake_out) = watermark();
        let (engine_intake_in, engine_intake_out) = watermark();
        let (duty_in, duty_out) = any_ring(DUTY_RING_CHANGES);

        check_beginning(config, world, &disk.end)?;
        let opens_behind = opens_behind(&disk.storage, &applied_out);
        let events_told = disk.event_log.last_command();
        let applied = disk.start.as_ref().map_or(0, |start| start.place.index);
        let marks = (
            applied_out,
            Intake::new(intake_in, "journal", config.notice),
        );
        let (consensus, courier) = agreement((config, world), disk.storage, applied, marks)?;
        let engine = EngineFacts {
            behaviour: behaviour_out,
            events_told,
        };
        let clock = || (world.clocks)();
        let sequencer = Sequencer::new(
            sequencer_settings(config),
            consensus,
            vec![wishes_out, gateway_out],
            duty_in,
            (engine, wanted_in),
            clock(),
        )?;
        let outlet = EngineOutlet {
            events: disk.event_log,
            applied: applied_in,
            behaviour: behaviour_in,
            wishes: wishes_in,
            intake: Intake::new(engine_intake_in, "event log", config.notice),
            hash_every: config.checkpoint_every,
            fresh_from: disk.end.next,
        };
        let stages = stages((config, &disk.capacity, world), disk.start, outlet)?;
        let known = (disk.keys, disk.views);
        let mut front = FrontDoor::open((config, world), known, gateway_in, &opens_behind)?;
        front.follow([intake_out, engine_intake_out], duty_out);
        let addresses = Addresses {
            peers: sequencer.peers_address(),
            ..front.addresses()
        };
        let mut agents: Vec<Box<dyn Agent>> = vec![
            Box::new(front.orders),
            Box::new(sequencer),
            Box::new(DiskAgent::new(disk.flusher, flush_pause(config), clock())),
            Box::new(front.market_data),
            Box::new(front.drop_copy),
            Box::new(StagingAgent::new(disk.stagers, config.notice)),
            Box::new(disk.snapshots),
            Box::new(courier),
        ];
        agents.extend(stages);
        Ok(Assembled {
            agents,
            addresses,
            keys: disk.keys_path,
            recovery: disk.recovery,
        })
    }

    /// Where the node is reached.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// How it came back.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// The file of the sessions' keys.
    #[must_use]
    pub fn keys(&self) -> &Path {
        &self.keys
    }

    /// A handle that stops the node from elsewhere.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        self.running.stop_handle()
    }

    /// Whether the node has stopped.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.running.finished()
    }

    /// Stops the node in good order.
    ///
    /// # Errors
    /// [`AgentFailure`] where an agent had failed before.
    pub fn stop(self) -> Result<(), AgentFailure> {
        self.running.stop();
        self.running.join()
    }

    /// Waits until the node stops.
    ///
    /// # Errors
    /// [`AgentFailure`]: which agent failed, and why.
    pub fn join(self) -> Result<(), AgentFailure> {
        self.running.join()
    }
}

/// Whether a node that ended for this reason only has to be started again: a snapshot has come for it, or its event
/// log is to be cut.
#[must_use]
pub fn opens_again(failure: &AgentFailure) -> bool {
    matches!(
        node_error(failure),
        Some(NodeError::SnapshotArrived { .. } | NodeError::EventsDoubtful)
    )
}

/// Why a node ended, where an agent of it said so.
#[must_use]
pub fn node_error(failure: &AgentFailure) -> Option<&NodeError> {
    match failure {
        AgentFailure::Halted { halt, .. } => halt.reason.downcast_ref(),
        _ => None,
    }
}

/// Refuses a start by a clock that cannot be believed, or with a genesis that contradicts itself: what is wrong
/// is said before anybody is served.
fn check_beginning(config: &NodeConfig, world: &World, end: &LogEnd) -> Result<(), NodeError> {
    check_clock((world.clocks)().now(), end.time)?;
    if end.next == CommandSequence(1) {
        genesis_of(config, EARLIEST_TIME)?;
    }
    Ok(())
}

/// What the engine must have applied before a port opens.
fn opens_behind(storage: &JournalStorage, applied: &WatermarkReader) -> Applied {
    let (frame, superseded) = storage.at_start();
    Applied {
        mark: applied.clone(),
        frame,
        superseded,
    }
}

/// From the end of one flush to the next; none where acknowledgements wait for it.
fn flush_pause(config: &NodeConfig) -> Option<Nanos> {
    match config.durability {
        Durability::Durable => None,
        // Some milliseconds.
        Durability::Replicated => Some(Nanos(config.flush_pause.as_nanos() as u64)),
    }
}

fn sequencer_settings(config: &NodeConfig) -> SequencerSettings {
    let (orders_max, segment_bytes) = (config.capacity.orders, config.segment_bytes);
    let config = config.clone();
    SequencerSettings {
        orders_max,
        batch_bytes_max: fits_a_segment(BATCH_BYTES_MAX, segment_bytes),
        genesis: Box::new(move |now| genesis_of(&config, now)),
    }
}

/// What has the group agree, behind an entry that the engine starts from, and the courier it sends.
fn agreement(
    (config, world): (&NodeConfig, &World),
    storage: JournalStorage,
    applied: u64,
    marks: (WatermarkReader, Intake),
) -> Result<(Consensus, Courier), NodeError> {
    let open = |address: SocketAddr, connections_max| {
        let cluster = config.cluster.as_ref();
        let links = cluster.map(|cluster| open_links((cluster, world), address, connections_max));
        links.transpose()
    };
    let listen = config.cluster.as_ref().map(|it| (it.listen, it.files));
    let (couriers, peers) = match listen {
        Some((peers, files)) => (
            open(SocketAddr::new(peers.ip(), files), COURIERS_MAX)?,
            open(peers, PEERS_MAX)?,
        ),
        None => (None, None),
    };
    let (errands_in, errands_out) = errands();
    let courier = Courier::new(
        couriers,
        Arc::clone(&world.disk),
        config.data.clone(),
        errands_out,
        ((world.clocks)(), config.notice),
    );
    let settings = ConsensusSettings {
        node: config.cluster.as_ref().map_or(ALONE, |it| it.node),
        durability: config.durability,
        applied,
        behaviour_max: config.capacity.behaviour_max.0,
        chance: u64::from_le_bytes(world.random_bytes()?),
        keep_bytes: config.journal_keep_bytes,
        notice: config.notice,
        courier_port: courier.address().map(|it| it.port()),
    };
    let peers = peers.map(|links| Peers::new(links, config.notice));
    let consensus = Consensus::new(settings, storage, peers, errands_in, marks)?;
    Ok((consensus, courier))
}

/// The engine: one agent, or one for each stage where the layout places the first on its own.
fn stages(
    (config, capacity, world): (&NodeConfig, &Capacity, &World),
    start: Option<Start>,
    outlet: EngineOutlet,
) -> Result<Vec<Box<dyn Agent>>, NodeError> {
    let place = start.as_ref().map(|start| start.place);
    let path = config.data.join(JOURNAL);
    let frames = || {
        let journal = Reader::follow_on(&world.disk, &path, Verify::Every);
        let journal = journal.map_err(NodeError::log("journal"))?;
        match &place {
            Some(place) => Frames::behind(journal, place),
            None => Ok(Frames::from_the_start(journal)),
        }
    };
    let engine = start.map_or_else(|| Engine::new(capacity), |start| start.engine);
    let (admission, execution) = engine.into_stages();
    let clock = (world.clocks)();
    let placed = |thread: &ThreadLayout| thread.agents.iter().any(|agent| agent == ADMISSION);
    if !config.layout.threads.iter().any(placed) {
        let fused = EngineAgent::new((admission, execution), frames()?, outlet, clock);
        return Ok(vec![Box::new(fused)]);
    }
    let (ahead, judged) = AdmissionAgent::new(admission, frames()?);
    let behind = EngineAgent::new((judged, execution), frames()?, outlet, clock);
    Ok(vec![Box::new(ahead), Box::new(behind)])
}

/// The agents that clients connect to.
struct FrontDoor {
    orders: OrderGateway<Box<dyn Clock>>,
    market_data: MarketData<Box<dyn Clock>>,
    drop_copy: DropCopy<Box<dyn Clock>>,
}

impl FrontDoor {
    /// Ports that open once everything in the journal has been told again; they go on from views, if there are any.
    fn open(
        (config, world): (&NodeConfig, &World),
        (keys, views): (Keys, Option<Views>),
        ingress: Producer<Line>,
        opens_behind: &Applied,
    ) -> Result<Self, NodeError> {
        let clock = || (world.clocks)();
        let events = config.data.join(EVENTS);
        let mut settings = GatewaySettings::new(config.listen.orders, &events);
        settings.disk = Arc::clone(&world.disk);
        settings.connections_max = config.sessions.connections_max;
        settings.outbox_bytes = config.sessions.outbox_bytes;
        settings.session.durability = config.durability;
        settings.net = world.net.clone();
        settings.node = node_byte(config);
        let mut market_data = MarketDataConfig::new(config.listen.market_data, events.clone());
        market_data.disk = Arc::clone(&world.disk);
        market_data.opens_behind = Some(opens_behind.clone());
        market_data.net = world.net.clone();
        market_data.clients_max = config.sessions.market_data_connections_max;
        market_data.history_bytes = config.sessions.market_data_history_bytes;
        // As many orders may rest as live at all.
        market_data.orders_room = config.capacity.orders as usize;
        market_data.multicast = config.multicast;
        let mut drop_copy = DropCopyConfig::new(config.listen.drop_copy, events, keys.clone());
        drop_copy.disk = Arc::clone(&world.disk);
        drop_copy.opens_behind = Some(opens_behind.clone());
        drop_copy.net = world.net.clone();
        drop_copy.clients_max = config.sessions.drop_copy_connections_max;
        let mut front = Self {
            orders: OrderGateway::start(settings, keys, clock(), ingress)?,
            market_data: MarketData::new(&market_data, clock())?,
            drop_copy: DropCopy::new(drop_copy, clock())?,
        };
        if let Some(views) = views {
            front.begin_behind(views)?;
        }
        Ok(front)
    }

    /// Lets others behind close the intake, and say what this node is.
    fn follow(&mut self, intakes: [WatermarkReader; 2], duty: Consumer<Duty>) {
        intakes
            .into_iter()
            .for_each(|it| self.orders.follow_intake(it));
        self.orders.follow_duty(duty);
    }

    /// Has every port go on from what it knew at a place of the event log.
    fn begin_behind(&mut self, views: Views) -> Result<(), NodeError> {
        let position = views.position();
        let (sessions, publisher, learnt) = views.into_parts();
        self.orders.begin_behind(sessions, position)?;
        self.market_data.begin_behind(publisher, position)?;
        self.drop_copy.begin_behind(learnt)?;
        Ok(())
    }

    fn addresses(&self) -> Addresses {
        Addresses {
            orders: self.orders.address(),
            market_data: self.market_data.address(),
            drop_copy: self.drop_copy.address(),
            peers: None,
        }
    }
}

/// What tells the connections of this node from those of others in the same log.
fn node_byte(config: &NodeConfig) -> u8 {
    let node = config.cluster.as_ref().map_or(ALONE, |it| it.node);
    node.0.to_le_bytes()[0]
}

fn line_ring(lines: usize) -> (Producer<Line>, Consumer<Line>) {
    any_ring(lines)
}

fn any_ring<T: Copy + Send>(places: usize) -> (Producer<T>, Consumer<T>) {
    // The sizes are powers of two, written above.
    match RingCapacity::new(places) {
        Ok(capacity) => ring(capacity),
        Err(error) => unreachable!("{error}"),
    }
}

/// What is wrong with a layout, with the line that places the thread at fault.
fn misfit(config: &NodeConfig, source: LayoutError) -> NodeError {
    let thread = match &source {
        LayoutError::ThreadName { index } => Some(*index),
        LayoutError::ThreadTwice { thread }
        | LayoutError::ThreadEmpty { thread }
        | LayoutError::AgentUnknown { thread, .. }
        | LayoutError::CoreOffline { thread, .. }
        | LayoutError::CoreSpunTwice { second: thread, .. } => {
            let named = |it: &ThreadLayout| it.name == *thread;
            config.layout.threads.iter().rposition(named)
        }
        _ => None,
    };
    let key = thread.map_or("thread".to_owned(), |index| format!("thread.{index}"));
    NodeError::Layout {
        place: config.place_near(&key),
        source,
    }
}

/// What a new exchange starts with, as commands of this time.
pub(crate) fn genesis_of(config: &NodeConfig, now: Nanos) -> Result<Vec<Record>, NodeError> {
    let commands = config.genesis.commands(now, config.capacity.behaviour_max);
    commands.map_err(|source| NodeError::Genesis {
        place: config.place_near(&source.key()),
        source,
    })
}

/// Opens a port for links between the members of a cluster.
fn open_links(
    (cluster, world): (&ClusterConfig, &World),
    address: SocketAddr,
    connections_max: usize,
) -> Result<Links, NodeError> {
    let port = world.net.listen(address, connections_max)?;
    let local = Local {
        key: cluster.key.clone(),
        cluster: cluster.key.cluster_id(),
        node: cluster.node.0,
    };
    let disk = Arc::clone(&world.disk);
    Ok(Links::new(port, connections_max, local, disk))
}

/// Whether a clock that shows `now` can be believed beside the journal's last stamp.
pub(crate) fn check_clock(now: Nanos, last: Nanos) -> Result<Nanos, NodeError> {
    if now < EARLIEST_TIME {
        return Err(NodeError::ClockUnset);
    }
    let behind = Nanos(last.0.saturating_sub(now.0));
    if behind > CLOCK_BEHIND_MAX {
        return Err(NodeError::ClockBehind {
            behind_s: behind.0 / Nanos::SECOND.0,
        });
    }
    Ok(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_never_set_is_refused() {
        let refused = check_clock(Nanos(EARLIEST_TIME.0 - 1), Nanos(0));
        assert!(matches!(refused, Err(NodeError::ClockUnset)));
        assert!(check_clock(EARLIEST_TIME, Nanos(0)).is_ok());
    }

    #[test]
    fn a_clock_may_be_behind_the_journal_by_a_little() {
        let last = Nanos(EARLIEST_TIME.0 + 2 * CLOCK_BEHIND_MAX.0);
        let now = Nanos(last.0 - CLOCK_BEHIND_MAX.0);
        assert!(check_clock(now, last).is_ok());
        let refused = check_clock(Nanos(now.0 - 1), last);
        assert!(matches!(
            refused,
            Err(NodeError::ClockBehind { behind_s: 60 })
        ));
    }
}
