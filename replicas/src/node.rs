//! A node: the agents put together, and everything it keeps on disk.
//!
//! ```text
//! DATA/
//!   journal/      the commands: the raft log, the audit log, the only truth
//!   events/       what they gave; derived, and written again by replay where it is lost
//!   raft-state    what this node has promised to its peers
//!   snapshots/    states at some places of the journal: what a start need not replay
//!   identity      which exchange this is: every log of it carries the same id
//!   keys          the sessions' keys, readable by the owner only
//! ```
//! Started by `exahour start` and by tests.
//!
//! Always holds: every ring has one producer; the engine starts behind the newest snapshot that can be
//! used, or before the first command; clients are answered from what the event log says.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use exahour_engine::{Capacity, Engine};
use exahour_gateway::clock::{Clock, SystemClock};
use exahour_gateway::credentials::Keys;
use exahour_gateway::feed::drop_copy::{DropCopy, DropCopyConfig};
use exahour_gateway::feed::market_data::{MarketData, MarketDataConfig};
use exahour_gateway::order_gateway::{GatewaySettings, OrderGateway};
use exahour_journal::{Chain, Config as LogConfig, FlushBody, Journal, Reader, Verify};
use exahour_rings::{
    Agent, AgentFailure, Capacity as RingCapacity, Consumer, Producer, Running, StopHandle,
    ThreadLayout, ring, run, watermark,
};
use exahour_wire::codes::Durability;
use exahour_wire::ids::CommandSequence;
use exahour_wire::record::Line;
use exahour_wire::units::Nanos;

use crate::admission_agent::{ADMISSION, AdmissionAgent};
use crate::config::NodeConfig;
use crate::data_folder::{create_folder, open_identity, open_keys, random_bytes};
use crate::disk_agent::{DiskAgent, StagingAgent};
use crate::engine_agent::{EngineAgent, EngineOutlet};
use crate::error::NodeError;
use crate::event_log::EventLog;
use crate::frames::Frames;
use crate::genesis::Genesis;
use crate::intake::Intake;
use crate::sequencer::{Sequencer, SequencerSettings};
use crate::snapshots::{self, SnapshotAgent, SnapshotSettings, Start};
use crate::storage::JournalStorage;

/// The id of the only member of a group of one.
const ALONE: u64 = 1;

/// Lines in the ring of a gateway.
const GATEWAY_RING_LINES: usize = 1 << 16;

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
}

/// A node that runs.
pub struct Node {
    running: Running,
    addresses: Addresses,
    keys: PathBuf,
    recovery: Recovery,
}

/// How a node came back.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// The last command that a snapshot spared replaying; zero where the whole journal is replayed.
    pub snapshot_command: u64,
    /// Snapshots that were passed over, each in a sentence.
    pub notices: Vec<String>,
}

impl Node {
    /// Recovers what is on disk, or creates it, and starts to serve.
    ///
    /// # Errors
    /// [`NodeError`]; nothing is served then, and nothing on disk is lost.
    pub fn start(config: &NodeConfig) -> Result<Self, NodeError> {
        let data = &config.data;
        create_folder(data)?;
        let (journal, events) = open_logs(config)?;
        let (journal_path, events_path) = (data.join("journal"), data.join("events"));
        let follow =
            |path: &Path, log| Reader::follow(path, Verify::Trust).map_err(NodeError::log(log));

        let (gateway_in, gateway_out) = line_ring(GATEWAY_RING_LINES);
        let (wishes_in, wishes_out) = line_ring(WISH_RING_LINES);
        let (applied_in, applied_out) = watermark();
        let (intake_in, intake_out) = watermark();
        let (engine_intake_in, engine_intake_out) = watermark();

        let promises = data.join("raft-state");
        let promised = promises.exists();
        let storage = JournalStorage::new(
            journal.appender,
            follow(&journal_path, "journal")?,
            &promises,
            &[ALONE],
        )?;
        let end = storage.log_end().map_err(NodeError::log("journal"))?;
        let keys_path = data.join("keys");
        if end.next > CommandSequence(1) {
            tell_recovery(config, end.next.0 - 1, promised, keys_path.exists());
        }
        let keys = open_keys(&keys_path, &config.genesis)?;
        let now = check_clock(SystemClock::default().now(), end.time)?;
        let mut rings = vec![wishes_out, gateway_out];
        if end.next == CommandSequence(1) {
            rings.insert(0, genesis_ring(&config.genesis, now)?);
        }
        let settings = SequencerSettings {
            node_id: ALONE,
            durability: config.durability,
            orders_max: config.capacity.orders,
        };
        let clock = Box::new(SystemClock::default());
        let sequencer = Sequencer::new(
            settings,
            storage,
            rings,
            (applied_out, Intake::new(intake_in)),
            clock,
        )?;

        let event_log = EventLog::new(events.appender, &follow(&events_path, "event log")?)
            .map_err(NodeError::log("event log"))?;
        let told = event_log.last_command();
        if told >= end.next {
            return Err(NodeError::EventsAhead {
                path: events_path,
                told: told.0,
                last: end.next.0 - 1,
            });
        }
        let capacity = Capacity {
            index_seed: u64::from_le_bytes(random_bytes()?),
            ..config.capacity
        };
        let folder = snapshots::open_folder(data)?;
        let reader = follow(&journal_path, "journal")?;
        let found = snapshots::newest(&folder, &reader, event_log.last(), &capacity)?;
        let place = found.start.as_ref().map(|start| start.place);
        let recovery = Recovery {
            snapshot_command: place.map_or(0, |place| place.command),
            notices: found.passed_over,
        };
        let settings = SnapshotSettings {
            folder,
            journal: journal_path.clone(),
            journal_bytes: config.snapshots.journal_bytes,
            keep: config.snapshots.keep,
            capacity,
            notice: config.notice,
        };
        let snapshots = SnapshotAgent::new(settings, reader, place.as_ref());
        let outlet = EngineOutlet {
            events: event_log,
            applied: applied_in,
            wishes: wishes_in,
            intake: Intake::new(engine_intake_in),
            hash_every: config.checkpoint_every,
            fresh_from: end.next,
        };
        let follow_journal = || follow(&journal_path, "journal");
        let stages = stages((config, &capacity), follow_journal, found.start, outlet)?;
        let flush_pause = match config.durability {
            Durability::Durable => None,
            Durability::Replicated => Some(config.flush_pause),
        };
        let mut front = FrontDoor::open(config, &events_path, keys, gateway_in)?;
        front.orders.follow_intake(intake_out);
        front.orders.follow_intake(engine_intake_out);
        let addresses = front.addresses();
        let mut agents: Vec<Box<dyn Agent>> = vec![
            Box::new(front.orders),
            Box::new(sequencer),
            Box::new(DiskAgent::new(journal.flusher, flush_pause)),
            Box::new(front.market_data),
            Box::new(front.drop_copy),
            Box::new(StagingAgent::new(vec![journal.stager, events.stager])),
            Box::new(snapshots),
        ];
        agents.extend(stages);
        let running = run(&config.layout, agents)?;
        Ok(Self {
            running,
            addresses,
            keys: keys_path,
            recovery,
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

/// The engine: one agent, or one for each stage where the layout places the first on its own.
fn stages(
    (config, capacity): (&NodeConfig, &Capacity),
    journal: impl Fn() -> Result<Reader, NodeError>,
    start: Option<Start>,
    outlet: EngineOutlet,
) -> Result<Vec<Box<dyn Agent>>, NodeError> {
    let place = start.as_ref().map(|start| start.place);
    let frames = || match &place {
        Some(place) => Frames::behind(journal()?, place),
        None => journal().map(Frames::from_the_start),
    };
    let engine = start.map_or_else(|| Engine::new(capacity), |start| start.engine);
    let (admission, execution) = engine.into_stages();
    let clock = Box::new(SystemClock::default());
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
    orders: OrderGateway<SystemClock>,
    market_data: MarketData<SystemClock>,
    drop_copy: DropCopy<SystemClock>,
}

impl FrontDoor {
    fn open(
        config: &NodeConfig,
        events: &Path,
        keys: Keys,
        ingress: Producer<Line>,
    ) -> Result<Self, NodeError> {
        let clock = SystemClock::default();
        let mut settings = GatewaySettings::new(config.listen.orders, events);
        settings.connections_max = config.sessions.connections_max;
        settings.outbox_bytes = config.sessions.outbox_bytes;
        settings.session.durability = config.durability;
        let events = events.to_path_buf();
        let market_data = MarketDataConfig::new(config.listen.market_data, events.clone());
        let drop_copy = DropCopyConfig::new(config.listen.drop_copy, events, keys.clone());
        Ok(Self {
            orders: OrderGateway::start(settings, keys, clock, ingress)?,
            market_data: MarketData::new(&market_data, clock)?,
            drop_copy: DropCopy::new(drop_copy, clock)?,
        })
    }

    fn addresses(&self) -> Addresses {
        Addresses {
            orders: self.orders.address(),
            market_data: self.market_data.address(),
            drop_copy: self.drop_copy.address(),
        }
    }
}

fn line_ring(lines: usize) -> (Producer<Line>, Consumer<Line>) {
    // The sizes are powers of two, written above.
    match RingCapacity::new(lines) {
        Ok(capacity) => ring(capacity),
        Err(error) => unreachable!("{error}"),
    }
}

/// A ring that holds the genesis, and nothing ever after.
fn genesis_ring(genesis: &Genesis, now: Nanos) -> Result<Consumer<Line>, NodeError> {
    let records = genesis.commands(now)?;
    let lines: usize = records.iter().map(|record| record.lines().len()).sum();
    let (mut producer, consumer) = line_ring(lines.next_power_of_two().max(2));
    for record in &records {
        let pushed = producer.try_push_slice(record.lines());
        assert!(pushed.is_ok());
    }
    Ok(consumer)
}

fn open_logs(config: &NodeConfig) -> Result<(Journal, Journal), NodeError> {
    let (journal_path, events_path) = (config.data.join("journal"), config.data.join("events"));
    let log_id = open_identity(&config.data.join("identity"), &journal_path)?;
    let mut journal =
        LogConfig::new(&journal_path, log_id).with_segment_bytes(config.segment_bytes);
    journal.flush = config.flush;
    let journal = Journal::open_or_create(&journal).map_err(NodeError::log("journal"))?;
    let mut events = LogConfig::new(&events_path, log_id).with_segment_bytes(config.segment_bytes);
    events.chain = Chain::Off;
    events.flush = FlushBody::Map;
    let events = Journal::open_or_create(&events).map_err(NodeError::log("event log"))?;
    Ok((journal, events))
}

/// Tells an operator what a start on an old journal does, and which files it has to begin anew.
fn tell_recovery(config: &NodeConfig, commands: u64, promised: bool, keyed: bool) {
    let data = config.data.display();
    (config.notice)(&format!(
        "recovering {commands} commands from {data}/journal"
    ));
    if !promised {
        (config.notice)(&format!(
            "{data}/raft-state is missing: a node that is alone has promised nothing to others, so it \
             is begun anew"
        ));
    }
    if !keyed {
        (config.notice)(&format!(
            "{data}/keys is missing: new keys are drawn for the sessions of the genesis; give them to \
             their owners, and add those of other sessions"
        ));
    }
}

/// Whether a clock that shows `now` can be believed beside the journal's last stamp.
fn check_clock(now: Nanos, last: Nanos) -> Result<Nanos, NodeError> {
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
