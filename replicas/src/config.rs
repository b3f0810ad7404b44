//! The configuration of a node: one TOML file, every key optional.
//!
//! Read once, at the start. `node.toml` beside this file is the default, embedded; it is the
//! documentation of every key, too.
//!
//! Always holds: an unknown key, or a value out of range, is refused with its place in the file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use exahour_gateway::feed::history::{HISTORY_BYTES_MAX, HISTORY_BYTES_MIN};
use exahour_gateway::feed::multicast::MulticastConfig;
use exahour_gateway::order_gateway::CONNECTIONS_MAX;
use exahour_gateway::outbox::{OUTBOX_BYTES_MAX, OUTBOX_BYTES_MIN};
use exahour_journal::{FlushBody, SEGMENT_BYTES_MAX, SEGMENT_HEADER_BYTES};
use exahour_rings::{CoreId, IdleStrategy, Layout, NICE_MAX, ThreadLayout, online_cores};
use exahour_wire::codes::Durability;
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::cluster_config::{ClusterConfig, ClusterTable};
use crate::couriers::COURIER;
use crate::disk_agent::DISK;
use crate::genesis::Genesis;
use crate::multicast_config::MulticastTable;
use crate::snapshots::SNAPSHOTS;
use crate::wide_layout::wide_layout;
use crate::written::Written;

/// The embedded defaults, as text.
const DEFAULTS: &str = include_str!("node.toml");

/// Why a configuration is not one.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not TOML of the right shape.
    #[error("configuration {place}: {reason}")]
    Parse {
        /// The file and the line in it.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// A value is not one of those that are known.
    #[error("configuration {place}: {key} is {value:?}, which is not {expected}")]
    Value {
        /// The file and the line in it.
        place: String,
        /// The key.
        key: String,
        /// The value found.
        value: String,
        /// What was expected.
        expected: &'static str,
    },
}

/// Where a node listens.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenConfig {
    /// Order entry.
    pub orders: SocketAddr,
    /// Market data.
    pub market_data: SocketAddr,
    /// Drop copy.
    pub drop_copy: SocketAddr,
}

/// Commands between two hashes, at least: a hash and its record are commands themselves, and must not
/// call for the next.
const CHECKPOINT_EVERY_MIN: u64 = 5;

/// A segment holds every frame that any node writes: a follower's may be smaller than its leader's.
const SEGMENT_BYTES_MIN: u64 = 256 << 10;
// Either leaves room for a page of segment header, a frame header and the last command of a batch.
const _: () = assert!(crate::event_log::FRAME_BYTES_MAX as u64 <= SEGMENT_BYTES_MIN / 2);
const _: () = assert!(crate::sequencer::BATCH_BYTES_MAX as u64 <= SEGMENT_BYTES_MIN / 2);

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ThreadConfig {
    name: String,
    #[serde(default)]
    core: Option<u16>,
    idle: String,
    #[serde(default)]
    nice: u8,
    agents: Vec<String>,
}

/// Bounds on sessions.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionConfig {
    /// Connections to order entry at a time.
    pub connections_max: usize,
    /// Bytes that may wait for one client.
    pub outbox_bytes: usize,
    /// Connections to market data at a time.
    pub market_data_connections_max: usize,
    /// Bytes of past market data about orders that are kept in memory, and a part of that at the other depths.
    pub market_data_history_bytes: usize,
    /// Connections to drop copy at a time.
    pub drop_copy_connections_max: usize,
}

impl SessionConfig {
    /// Connections of all ports together.
    pub(crate) fn all_connections_max(&self) -> usize {
        self.connections_max
            .saturating_add(self.market_data_connections_max)
            .saturating_add(self.drop_copy_connections_max)
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CapacityConfig {
    orders: u32,
    positions: u32,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JournalConfig {
    segment_bytes: u64,
    flush_pause_us: u64,
    keep_bytes: u64,
    archive: bool,
}

/// When snapshots are taken.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotConfig {
    /// Bytes of journal from one to the next; zero for none.
    pub journal_bytes: u64,
    /// How many are kept.
    pub keep: usize,
}

/// The file as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileConfig {
    data: PathBuf,
    durability: String,
    flush: String,
    checkpoint_every: u64,
    listen: ListenConfig,
    #[serde(default)]
    cluster: Option<ClusterTable>,
    #[serde(default)]
    multicast: Option<MulticastTable>,
    sessions: SessionConfig,
    capacity: CapacityConfig,
    journal: JournalConfig,
    snapshots: SnapshotConfig,
    thread: Vec<ThreadConfig>,
    genesis: Genesis,
}

/// The configuration of a node.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The folder of everything the node keeps.
    pub data: PathBuf,
    /// What an acknowledgement promises.
    pub durability: Durability,
    /// How bytes reach the disk.
    pub flush: FlushBody,
    /// Commands between two hashes of the state.
    pub checkpoint_every: u64,
    /// Where the node listens.
    pub listen: ListenConfig,
    /// The node's place in a cluster; none where it is alone.
    pub cluster: Option<ClusterConfig>,
    /// Where market data goes by multicast, if anywhere.
    pub multicast: Option<MulticastConfig>,
    /// Bounds on sessions.
    pub sessions: SessionConfig,
    /// How many orders may live, and the positions to make room for.
    pub capacity: exahour_engine::Capacity,
    /// Bytes of a segment of either log.
    pub segment_bytes: u64,
    /// Bytes of journal that are kept whatever snapshots there are; zero for all of it.
    pub journal_keep_bytes: u64,
    /// Whether what the journal gives up is moved to the folder `archive` beside it.
    pub journal_archive: bool,
    /// The least time from one flush to the next where no acknowledgement waits for it.
    pub flush_pause: Duration,
    /// When snapshots are taken.
    pub snapshots: SnapshotConfig,
    /// Agents to threads, threads to cores.
    pub layout: Layout,
    /// What a new exchange starts with.
    pub genesis: Genesis,
    /// Hears what an operator should know while the node goes on; nobody unless it is set.
    pub notice: fn(&str),
    /// The file that it was read from.
    written: Written,
}

impl NodeConfig {
    /// The embedded defaults.
    ///
    /// # Errors
    /// [`ConfigError`] never: a test reads them.
    pub fn defaults() -> Result<Self, ConfigError> {
        Self::from_text("defaults", "")
    }

    /// Reads a file; a key that it does not have keeps its default, a table is merged key by key.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let source = |source| ConfigError::Read {
            path: path.to_path_buf(),
            source,
        };
        let text = std::fs::read_to_string(path).map_err(source)?;
        Self::from_text(&path.display().to_string(), &text)
    }

    /// As [`NodeConfig::load`], from a text; `place` is named in errors.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn from_text(place: &str, text: &str) -> Result<Self, ConfigError> {
        let mut config = Self::parse_narrow(Written::new(place, text), text)?;
        config.arrange();
        Ok(config)
    }

    /// `FILE:LINE` of a key such as `listen.orders`; `None` where the file leaves it to the defaults.
    #[must_use]
    pub fn place_of(&self, key: &str) -> Option<String> {
        let set = self.written.sets(key);
        set.then(|| self.written.place_of(key))
    }

    /// `FILE:LINE` of what is nearest to a key: of the table around it, where the file does not set it.
    pub(crate) fn place_near(&self, key: &str) -> String {
        self.written.place_of(key)
    }

    /// Changes the promise, and the layout with it unless the configuration has one of its own.
    pub fn set_durability(&mut self, durability: Durability) {
        self.durability = durability;
        self.arrange();
    }

    /// Chooses the layout that fits cores and promise where none is written.
    fn arrange(&mut self) {
        if self.written.sets("thread") {
            return;
        }
        let crowded = self
            .cluster
            .as_ref()
            .is_some_and(ClusterConfig::on_one_machine);
        // Where the cores cannot be listed, the layout that pins nothing is the right one; and where nodes
        // would pin themselves to the same cores.
        let online = online_cores().unwrap_or_default();
        match wide_layout(&online).filter(|_| !crowded) {
            Some(wide) => self.layout = wide,
            None => place_disk(&mut self.layout, self.durability),
        }
        if crowded {
            yield_to_each_other(&mut self.layout);
        }
    }

    /// The embedded layout, which fits two cores.
    #[cfg(test)]
    pub(crate) fn narrow_layout() -> Result<Layout, ConfigError> {
        Self::parse_narrow(Written::new("defaults", ""), "").map(|config| config.layout)
    }

    fn parse_narrow(written: Written, text: &str) -> Result<Self, ConfigError> {
        let misread = |error: &toml::de::Error| ConfigError::Parse {
            // What is wrong is always in the file: the defaults are read by a test.
            place: written.place_at(&error.span().unwrap_or_default()),
            reason: reason_of(error),
        };
        let own = DeTable::parse(text).map_err(|error| misread(&error))?;
        let mut merged = DeTable::parse(DEFAULTS).map_err(|error| misread(&error))?;
        merge(merged.get_mut(), own.into_inner());
        let file = FileConfig::deserialize(toml::Deserializer::from(merged));
        let file = file.map_err(|error| misread(&error))?;
        let checked = Self::check(file, &written);
        checked.map_err(|it| ConfigError::Value {
            place: written.place_of(&it.path),
            key: it.key(),
            value: it.value,
            expected: it.expected,
        })
    }

    fn check_bounds(file: &FileConfig) -> Result<(), Misfit> {
        let orders_max = exahour_wire::limits::ORDERS_MAX;
        if !(1..=orders_max).contains(&file.capacity.orders) {
            let found = file.capacity.orders.to_string();
            return Err(value("capacity.orders", &found, "between 1 and 16777216"));
        }
        let positions_max = 1 << 24;
        if file.capacity.positions > positions_max {
            let found = file.capacity.positions.to_string();
            return Err(value("capacity.positions", &found, "at most 16777216"));
        }
        let ports = [
            ("sessions.connections_max", file.sessions.connections_max),
            (
                "sessions.market_data_connections_max",
                file.sessions.market_data_connections_max,
            ),
            (
                "sessions.drop_copy_connections_max",
                file.sessions.drop_copy_connections_max,
            ),
        ];
        for (key, connections) in ports {
            if !(1..=CONNECTIONS_MAX).contains(&connections) {
                return Err(value(key, &connections.to_string(), "between 1 and 16384"));
            }
        }
        if file.checkpoint_every < CHECKPOINT_EVERY_MIN {
            let found = file.checkpoint_every.to_string();
            return Err(value("checkpoint_every", &found, "at least 5"));
        }
        if !(OUTBOX_BYTES_MIN..=OUTBOX_BYTES_MAX).contains(&file.sessions.outbox_bytes) {
            let found = file.sessions.outbox_bytes.to_string();
            return Err(value(
                "sessions.outbox_bytes",
                &found,
                "between 4096 and 67108864",
            ));
        }
        let history_bytes = file.sessions.market_data_history_bytes;
        if !(HISTORY_BYTES_MIN..=HISTORY_BYTES_MAX).contains(&history_bytes) {
            return Err(value(
                "sessions.market_data_history_bytes",
                &history_bytes.to_string(),
                "between 65536 and 4294967296",
            ));
        }
        let segment_bytes = file.journal.segment_bytes;
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&segment_bytes)
            || !segment_bytes.is_multiple_of(SEGMENT_HEADER_BYTES)
        {
            return Err(value(
                "journal.segment_bytes",
                &segment_bytes.to_string(),
                "between 262144 and 1073741824, and a multiple of 4096",
            ));
        }
        if file.snapshots.keep == 0 {
            return Err(value("snapshots.keep", "0", "above zero"));
        }
        Ok(())
    }

    fn check(file: FileConfig, written: &Written) -> Result<Self, Misfit> {
        let durability = match file.durability.as_str() {
            "durable" => Durability::Durable,
            "replicated" => Durability::Replicated,
            other => return Err(value("durability", other, "durable or replicated")),
        };
        let flush = match file.flush.as_str() {
            "pwrite" => FlushBody::Pwrite,
            "uring" => FlushBody::Uring,
            "map" => FlushBody::Map,
            other => return Err(value("flush", other, "pwrite, uring or map")),
        };
        Self::check_bounds(&file)?;
        let mut threads = Vec::new();
        for (index, thread) in file.thread.into_iter().enumerate() {
            threads.push(thread.layout(index)?);
        }
        place_courier(&mut threads);
        Ok(Self {
            data: file.data,
            durability,
            flush,
            checkpoint_every: file.checkpoint_every,
            listen: file.listen,
            cluster: file
                .cluster
                .map(|it| it.check(written.folder()))
                .transpose()?,
            multicast: file.multicast.map(|it| it.check()).transpose()?,
            sessions: file.sessions,
            capacity: exahour_engine::Capacity {
                orders: file.capacity.orders,
                positions: file.capacity.positions,
                ..exahour_engine::Capacity::default()
            },
            segment_bytes: file.journal.segment_bytes,
            journal_keep_bytes: file.journal.keep_bytes,
            journal_archive: file.journal.archive,
            flush_pause: Duration::from_micros(file.journal.flush_pause_us),
            snapshots: file.snapshots,
            layout: Layout::new(threads),
            genesis: file.genesis,
            notice: |_| {},
            written: written.clone(),
        })
    }
}

/// A layout that was written before there were couriers has this one where snapshots are taken.
fn place_courier(threads: &mut [ThreadLayout]) {
    let places = |thread: &ThreadLayout, name: &str| thread.agents.iter().any(|it| it == name);
    if !threads.iter().any(|thread| places(thread, COURIER))
        && let Some(thread) = threads.iter_mut().find(|it| places(it, SNAPSHOTS))
    {
        thread.agents.push(COURIER.to_owned());
    }
}

/// In the embedded layout an acknowledgement that waits for the disk waits on the thread that turns
/// it; one that does not must not be held up by it.
fn place_disk(layout: &mut Layout, durability: Durability) {
    for thread in &mut layout.threads {
        thread.agents.retain(|agent| agent != DISK);
    }
    layout.threads.retain(|thread| !thread.agents.is_empty());
    let engine = |agent: &String| agent == "engine";
    let mut threads = layout.threads.iter_mut();
    let exchange = threads.find(|thread| thread.agents.iter().any(engine));
    match (durability, exchange) {
        (Durability::Durable, Some(exchange)) => {
            let before = exchange.agents.iter().position(engine).unwrap_or(0);
            exchange.agents.insert(before, DISK.to_owned());
        }
        _ => {
            let idle = IdleStrategy::Park { micros: 200 };
            layout.threads.push(ThreadLayout::new(DISK, idle, &[DISK]));
        }
    }
}

/// How long threads that no order waits for sleep at least where nodes share a machine: every one of them that
/// wakes is in the way of an order.
const SHARED_PARK_MICROS: u32 = 1_000;

/// Nodes that share a machine hand its cores to each other: what one waits for another has to compute
/// (perf/2026-11-29-cluster).
fn yield_to_each_other(layout: &mut Layout) {
    for thread in &mut layout.threads {
        thread.idle = match thread.idle {
            IdleStrategy::BackOff => IdleStrategy::Yield,
            IdleStrategy::Park { micros } => IdleStrategy::Park {
                micros: micros.max(SHARED_PARK_MICROS),
            },
            other => other,
        };
    }
}

impl ThreadConfig {
    fn layout(self, index: usize) -> Result<ThreadLayout, Misfit> {
        let idle: IdleStrategy = self.idle.parse().map_err(|_| {
            value(
                &format!("thread.{index}.idle"),
                &self.idle,
                "spin, yield, park:<n>us or backoff",
            )
        })?;
        let agents: Vec<&str> = self.agents.iter().map(String::as_str).collect();
        if self.nice > NICE_MAX {
            let path = format!("thread.{index}.nice");
            return Err(value(&path, &self.nice.to_string(), "0 to 19"));
        }
        let thread = ThreadLayout::new(&self.name, idle, &agents).with_nice(self.nice);
        Ok(match self.core {
            Some(core) => thread.pinned(CoreId(core)),
            None => thread,
        })
    }
}

/// What the TOML reader says, where its words would not help in plainer ones.
fn reason_of(error: &toml::de::Error) -> String {
    let plain = "expected an IP address and a port, such as \"127.0.0.1:7801\"";
    let text = error.message();
    let text = text.replace("invalid socket address syntax", plain);
    text.trim_end().replace('\n', " ")
}

/// Lays `own` over `base`; tables key by key, everything else whole.
fn merge<'i>(base: &mut DeTable<'i>, own: DeTable<'i>) {
    for (key, mut value) in own {
        let inner = base.get_mut(&key).map(Spanned::get_mut);
        match (inner, value.get_mut()) {
            // A genesis is one thing: half of ours and half of another's would be neither.
            (Some(DeValue::Table(inner)), DeValue::Table(own)) if key.get_ref() != "genesis" => {
                merge(inner, std::mem::take(own));
            }
            _ => {
                // A key that is there keeps its place, and must have the file's.
                base.remove(&key);
                base.insert(key, value);
            }
        }
    }
}

/// A value that is none of those that are known.
pub(crate) struct Misfit {
    /// The key, with the places in arrays.
    path: String,
    value: String,
    expected: &'static str,
}

impl Misfit {
    /// The key as it is spoken of.
    fn key(&self) -> String {
        let parts = self.path.split('.');
        let names = parts.filter(|part| part.parse::<usize>().is_err());
        names.collect::<Vec<_>>().join(".")
    }
}

pub(crate) fn value(path: &str, found: &str, expected: &'static str) -> Misfit {
    Misfit {
        path: path.to_owned(),
        value: found.to_owned(),
        expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use exahour_engine::BEHAVIOUR_MAX;
    use exahour_wire::units::Nanos;

    #[test]
    fn the_defaults_are_a_configuration_and_their_genesis_an_exchange() {
        let config = NodeConfig::defaults().unwrap();
        assert_eq!(config.durability, Durability::Durable);
        assert!(
            !config
                .genesis
                .commands(Nanos(1), BEHAVIOUR_MAX)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn a_file_changes_what_it_names() {
        let text = "durability = \"replicated\"\n[listen]\norders = \"127.0.0.1:9\"\n";
        let config = NodeConfig::from_text("test.toml", text).unwrap();
        assert_eq!(config.durability, Durability::Replicated);
        assert_eq!(config.listen.orders.port(), 9);
        assert_ne!(config.listen.market_data.port(), 9);
    }

    #[test]
    fn the_disk_is_on_the_way_of_an_order_only_where_it_is_waited_for() {
        let mut layout = NodeConfig::narrow_layout().unwrap();
        let written = layout.threads.clone();
        let way = |layout: &Layout| layout.threads[0].agents.join(" ");
        place_disk(&mut layout, Durability::Replicated);
        assert_eq!(way(&layout), "order-gateway sequencer engine");
        assert_eq!(layout.threads.last().unwrap().agents, ["disk"]);
        place_disk(&mut layout, Durability::Durable);
        assert_eq!(way(&layout), "order-gateway sequencer disk engine");
        assert_eq!(layout.threads.len(), written.len());
    }

    #[test]
    fn a_layout_that_is_written_stays() {
        let thread = "[[thread]]\nname = \"all\"\nidle = \"backoff\"\nagents = [\"disk\"]\n";
        let mut config = NodeConfig::from_text("test.toml", thread).unwrap();
        config.set_durability(Durability::Replicated);
        assert_eq!(config.layout.threads.len(), 1);
        assert_eq!(config.layout.threads[0].agents, ["disk"]);
    }

    /// What is wrong with a configuration, and what is said of it.
    const WRONG: &[(&str, &str)] = &[
        ("speed = 3", "test.toml:1: unknown field `speed`"),
        (
            "\n[listen]\norder = 3",
            "test.toml:3: unknown field `order`",
        ),
        (
            "[listen]\norders = \"here\"",
            "test.toml:2: expected an IP address",
        ),
        (
            "\n[listenn]\norders = 3",
            "test.toml:2: unknown field `listenn`",
        ),
        ("durability = \"maybe\"", "test.toml:1: durability is"),
        ("flush = \"never\"", "configuration test.toml:1: flush"),
        ("listen = 3", "test.toml:1: invalid type: integer `3`"),
        (
            "[listen]\norders = \"127.0.0.1:9\"\n[capacity]\norders = 0",
            "test.toml:4: capacity.orders",
        ),
        (
            "\n[sessions]\nconnections_max = 0",
            "test.toml:3: sessions.connections_max",
        ),
        (
            "[sessions]\noutbox_bytes = 1",
            "test.toml:2: sessions.outbox_bytes",
        ),
        (
            "[sessions]\nmarket_data_history_bytes = 65535",
            "test.toml:2: sessions.market_data_history_bytes",
        ),
        ("[journal]\nsegment_bytes = 300000", "a multiple of 4096"),
        (
            "[[thread]]\nname = \"a\"\nidle = \"spin\"\nagents = []\n\
             [[thread]]\nname = \"b\"\nidle = \"soon\"\nagents = []\n",
            "test.toml:7: thread.idle is \"soon\"",
        ),
        (
            "[[genesis.session]]\nid = 1\nparticipant = 1\nmay = []\n\
             [[genesis.session]]\nid = \"two\"\nparticipant = 1\nmay = []\n",
            "test.toml:6: invalid type: string \"two\"",
        ),
        (
            "\n[[genesis.session]]\nid = 1\nmay = []\n",
            "test.toml:2: missing field `participant`",
        ),
        ("[capacity]\npositions = 4294967295", "capacity.positions"),
        (
            "[sessions]\ndrop_copy_connections_max = 0",
            "drop_copy_connections_max",
        ),
        (
            "[sessions]\nmarket_data_connections_max = 20000",
            "market_data_connections_max",
        ),
        ("checkpoint_every = 4", "checkpoint_every"),
        (
            "[journal]\nsegment_bytes = 262143",
            "test.toml:2: journal.segment_bytes",
        ),
        ("[snapshots]\nkeep = 0", "snapshots.keep"),
        ("data = ", "test.toml:1: "),
        (
            "[multicast.a]\ngroup = \"239.192.1.1:7810\"\ninterface = \"127.0.0.1\"",
            "missing field `b`",
        ),
        (
            "[multicast]\na = { group = \"239.192.1.1:7810\", interface = \"127.0.0.1\" }\n\
             b = { group = \"127.0.0.1:7810\", interface = \"127.0.0.1\" }",
            "test.toml:3: multicast.b.group is \"127.0.0.1:7810\", which is not a multicast group",
        ),
        (
            "[multicast]\na = { group = \"239.192.1.1:7810\", interface = \"127.0.0.1\" }\n\
             b = { group = \"239.192.1.1:7810\", interface = \"127.0.0.1\" }",
            "another group than that of line A",
        ),
    ];

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in WRONG {
            let refused = NodeConfig::from_text("test.toml", text)
                .err()
                .unwrap()
                .to_string();
            assert!(refused.contains(expected), "{text}: {refused}");
        }
    }

    #[test]
    fn a_genesis_that_would_span_frames_is_refused() {
        let entry = |id| format!("[[genesis.participant]]\nid = {id}\nname = \"A\"\n");
        let text: String = (1..=1_030).map(entry).collect();
        let config = NodeConfig::from_text("test.toml", &text).unwrap();
        let refused = config
            .genesis
            .commands(Nanos(1), BEHAVIOUR_MAX)
            .err()
            .unwrap()
            .to_string();
        assert!(refused.contains("1030 entries"), "{refused}");
    }

    #[test]
    fn a_genesis_that_the_engine_would_reject_is_refused() {
        let text = "[[genesis.participant]]\nid = 1\nname = \"A\"\n\
                    [[genesis.account]]\nid = 5\nparticipant = 1\nname = \"x\"\n";
        let config = NodeConfig::from_text("test.toml", text).unwrap();
        let refused = config
            .genesis
            .commands(Nanos(1), BEHAVIOUR_MAX)
            .err()
            .unwrap()
            .to_string();
        assert!(
            refused.contains("account 5") && refused.contains("IdOutOfRange"),
            "{refused}"
        );
    }
}
