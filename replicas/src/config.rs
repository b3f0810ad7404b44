//! The configuration of a node: one TOML file, every key optional.
//!
//! Read once, at the start. `node.toml` beside this file is the default, embedded; it is the
//! documentation of every key, too.
//!
//! Always holds: an unknown key, or a value out of range, is refused with its place in the file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use exahour_gateway::order_gateway::CONNECTIONS_MAX;
use exahour_journal::FlushBody;
use exahour_rings::{CoreId, IdleStrategy, Layout, NICE_MAX, ThreadLayout, online_cores};
use exahour_wire::codes::Durability;
use serde::Deserialize;

use crate::disk_agent::DISK;
use crate::genesis::Genesis;
use crate::wide_layout::wide_layout;

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
        /// The file, or "defaults".
        place: String,
        /// What is wrong, with line and column.
        reason: String,
    },
    /// A value is not one of those that are known.
    #[error("configuration {place}: {key} is {value:?}, which is not {expected}")]
    Value {
        /// The file, or "defaults".
        place: String,
        /// The key.
        key: &'static str,
        /// The value found.
        value: String,
        /// What was expected.
        expected: &'static str,
    },
}

impl ConfigError {
    /// Adds the line of `text` that the key at fault stands on, where that is told and can be found.
    fn with_line(mut self, text: &str) -> Self {
        let (place, key) = match &mut self {
            Self::Parse { place, reason } => (place, quoted_key(reason).map(str::to_owned)),
            Self::Value { place, key, .. } => (place, Some((*key).to_owned())),
            Self::Read { .. } => return self,
        };
        let line = key.and_then(|key| line_of(text, &key));
        if let Some(line) = line {
            place.push_str(&format!(":{line}"));
        }
        self
    }
}

/// The key that a reason of the TOML reader is about: an unknown one, or the path of a value.
fn quoted_key(reason: &str) -> Option<&str> {
    let after = ["unknown field `", "in `"]
        .iter()
        .find_map(|lead| Some(reason.split_once(lead)?.1))?;
    after.split('`').next()
}

/// The first line of `text` that sets the last part of a key, or opens a table of that name.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let last = |path: &str| path.rsplit('.').next().unwrap_or(path).trim().to_owned();
    let wanted = last(key);
    let mut lines = text.lines().map(|line| {
        let line = line.trim();
        let name = line.split('=').next().unwrap_or(line);
        last(name.trim_matches(['[', ']', ' ']))
    });
    lines.position(|name| name == wanted).map(|place| place + 1)
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

/// A segment holds every frame that a node writes.
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
    /// Bounds on sessions.
    pub sessions: SessionConfig,
    /// How many orders may live, and the positions to make room for.
    pub capacity: exahour_engine::Capacity,
    /// Bytes of a segment of either log.
    pub segment_bytes: u64,
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
    /// The layout as it is written, where the configuration has one of its own.
    layout_is_own: bool,
}

impl NodeConfig {
    /// The embedded defaults.
    ///
    /// # Errors
    /// [`ConfigError`] never: a test reads them.
    pub fn defaults() -> Result<Self, ConfigError> {
        Self::parse("defaults", toml::Table::new())
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
        Self::parse(place, table(place, text)?).map_err(|error| error.with_line(text))
    }

    fn parse(place: &str, own: toml::Table) -> Result<Self, ConfigError> {
        let layout_is_own = own.contains_key("thread");
        let mut config = Self::parse_narrow(place, own)?;
        config.layout_is_own = layout_is_own;
        config.arrange();
        Ok(config)
    }

    /// Changes the promise, and the layout with it unless the configuration has one of its own.
    pub fn set_durability(&mut self, durability: Durability) {
        self.durability = durability;
        self.arrange();
    }

    /// Chooses the layout that fits cores and promise where none is written.
    fn arrange(&mut self) {
        if self.layout_is_own {
            return;
        }
        // Where the cores cannot be listed, the layout that pins nothing is the right one.
        let online = online_cores().unwrap_or_default();
        match wide_layout(&online) {
            Some(wide) => self.layout = wide,
            None => place_disk(&mut self.layout, self.durability),
        }
    }

    /// The embedded layout, which fits two cores.
    #[cfg(test)]
    pub(crate) fn narrow_layout() -> Result<Layout, ConfigError> {
        Self::parse_narrow("defaults", toml::Table::new()).map(|config| config.layout)
    }

    fn parse_narrow(place: &str, own: toml::Table) -> Result<Self, ConfigError> {
        let mut merged = table("defaults", DEFAULTS)?;
        merge(&mut merged, own);
        let file: FileConfig = merged.try_into().map_err(|error| ConfigError::Parse {
            place: place.to_owned(),
            reason: reason_of(&error),
        })?;
        Self::check(file).map_err(|it| ConfigError::Value {
            place: place.to_owned(),
            key: it.key,
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
        if file.journal.segment_bytes < SEGMENT_BYTES_MIN {
            let found = file.journal.segment_bytes.to_string();
            return Err(value("journal.segment_bytes", &found, "at least 262144"));
        }
        if file.snapshots.keep == 0 {
            return Err(value("snapshots.keep", "0", "above zero"));
        }
        Ok(())
    }

    fn check(file: FileConfig) -> Result<Self, Misfit> {
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
        for thread in file.thread {
            threads.push(thread.layout()?);
        }
        Ok(Self {
            data: file.data,
            durability,
            flush,
            checkpoint_every: file.checkpoint_every,
            listen: file.listen,
            sessions: file.sessions,
            capacity: exahour_engine::Capacity {
                orders: file.capacity.orders,
                positions: file.capacity.positions,
                ..exahour_engine::Capacity::default()
            },
            segment_bytes: file.journal.segment_bytes,
            flush_pause: Duration::from_micros(file.journal.flush_pause_us),
            snapshots: file.snapshots,
            layout: Layout::new(threads),
            genesis: file.genesis,
            notice: |_| {},
            layout_is_own: false,
        })
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

impl ThreadConfig {
    fn layout(self) -> Result<ThreadLayout, Misfit> {
        let idle: IdleStrategy = self.idle.parse().map_err(|_| {
            value(
                "thread.idle",
                &self.idle,
                "spin, yield, park:<n>us or backoff",
            )
        })?;
        let agents: Vec<&str> = self.agents.iter().map(String::as_str).collect();
        if self.nice > NICE_MAX {
            return Err(value("thread.nice", &self.nice.to_string(), "0 to 19"));
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
    let text = error.to_string();
    let plain = "expected an IP address and a port, such as \"127.0.0.1:7801\",";
    let text = text.replace("invalid socket address syntax", plain);
    text.trim_end().replace('\n', " ")
}

fn table(place: &str, text: &str) -> Result<toml::Table, ConfigError> {
    text.parse()
        .map_err(|error: toml::de::Error| ConfigError::Parse {
            place: place.to_owned(),
            reason: error.to_string().trim_end().to_owned(),
        })
}

/// Lays `own` over `base`; tables key by key, everything else whole.
fn merge(base: &mut toml::Table, own: toml::Table) {
    for (key, value) in own {
        match (base.get_mut(&key), value) {
            // A genesis is one thing: half of ours and half of another's would be neither.
            (Some(toml::Value::Table(inner)), toml::Value::Table(own)) if key != "genesis" => {
                merge(inner, own);
            }
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// A value that is none of those that are known.
struct Misfit {
    key: &'static str,
    value: String,
    expected: &'static str,
}

fn value(key: &'static str, found: &str, expected: &'static str) -> Misfit {
    Misfit {
        key,
        value: found.to_owned(),
        expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use exahour_wire::units::Nanos;

    #[test]
    fn the_defaults_are_a_configuration_and_their_genesis_an_exchange() {
        let config = NodeConfig::defaults().unwrap();
        assert_eq!(config.durability, Durability::Durable);
        assert!(!config.genesis.commands(Nanos(1)).unwrap().is_empty());
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

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
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
            ("listen = 3", "test.toml"),
            ("[capacity]\norders = 0", "capacity.orders"),
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
            ("[journal]\nsegment_bytes = 262143", "journal.segment_bytes"),
            ("[snapshots]\nkeep = 0", "snapshots.keep"),
            ("data = ", "test.toml"),
        ] {
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
        let refused = config.genesis.commands(Nanos(1)).err().unwrap().to_string();
        assert!(refused.contains("1030 entries"), "{refused}");
    }

    #[test]
    fn a_genesis_that_the_engine_would_reject_is_refused() {
        let text = "[[genesis.participant]]\nid = 1\nname = \"A\"\n\
                    [[genesis.account]]\nid = 5\nparticipant = 1\nname = \"x\"\n";
        let config = NodeConfig::from_text("test.toml", text).unwrap();
        let refused = config.genesis.commands(Nanos(1)).err().unwrap().to_string();
        assert!(
            refused.contains("account 5") && refused.contains("IdOutOfRange"),
            "{refused}"
        );
    }
}
