//! `exahour start`: runs a node until it is told to stop.
//!
//! Called by the command line.
//!
//! Always holds: the addresses are written down only when everything recovered has been applied;
//! SIGINT, SIGTERM and SIGHUP stop the node in good order; an agent that halts is told by name.
//! Does not: know what a node is made of (that is `replicas`).

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use exahour_gateway::error::GatewayError;
use exahour_journal::{FlushBody, JournalError, Position, Reader, Verify, inspect, inspect_good};
use exahour_replicas::{Node, NodeConfig, NodeError, Recovery, node_error, opens_again};
use exahour_wire::codes::Durability;
use exahour_wire::events::{EventPrefix, StateHashed};
use exahour_wire::ids::SessionId;
use exahour_wire::message::{Message, messages};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use serde::Serialize;
use std::os::fd::AsFd;

use crate::connection::{ADDRESSES_FILE, Serving, account_of};
use crate::exit::finding;
use crate::journal::{Commands, TailFindings, count_commands, time_value};
use crate::output::{print, print_json, tell};
use crate::shell::shell_path;

/// How long the node is left alone between two looks at it, in milliseconds.
const LOOK_EVERY_MS: u8 = 100;

/// Run a node until Ctrl-C; there are defaults for everything.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// The node's configuration; what it does not name keeps its default.
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// The folder of everything the node keeps [default: exahour-data].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where orders are entered [default: 127.0.0.1:7801].
    #[arg(long, value_name = "ADDRESS", value_parser = crate::connection::address)]
    orders: Option<SocketAddr>,
    /// Where market data is served [default: 127.0.0.1:7802].
    #[arg(long, value_name = "ADDRESS", value_parser = crate::connection::address)]
    market_data: Option<SocketAddr>,
    /// Where drop copies are served [default: 127.0.0.1:7803].
    #[arg(long, value_name = "ADDRESS", value_parser = crate::connection::address)]
    drop_copy: Option<SocketAddr>,
    /// What an acknowledgement promises: durable, that the command is on disk, or replicated, that it
    /// survives a crash of the process, not a power cut [default: durable].
    #[arg(long, value_name = "PROMISE", value_parser = durability)]
    durability: Option<Durability>,
    /// How bytes reach the disk: pwrite, uring or map [default: pwrite].
    #[arg(long, value_name = "BODY", value_parser = flush_body)]
    flush: Option<FlushBody>,
    /// Found a new cluster: the first start of a node that is one of its first members, and no other start.
    #[arg(long)]
    found: bool,
    /// Write the addresses as JSON here too, once the node serves.
    #[arg(long, value_name = "PATH")]
    ready_file: Option<PathBuf>,
    /// Write JSON, one object a line.
    #[arg(long)]
    json: bool,
}

pub(crate) fn durability(text: &str) -> Result<Durability, String> {
    match text {
        "durable" => Ok(Durability::Durable),
        "replicated" => Ok(Durability::Replicated),
        _ => Err("expected durable or replicated".to_owned()),
    }
}

fn flush_body(text: &str) -> Result<FlushBody, String> {
    match text {
        "pwrite" => Ok(FlushBody::Pwrite),
        "uring" => Ok(FlushBody::Uring),
        "map" => Ok(FlushBody::Map),
        _ => Err("expected pwrite, uring or map".to_owned()),
    }
}

/// What was on disk before the start.
#[derive(Clone, Debug, Default, Serialize)]
struct Found {
    /// Whether there was a journal at all.
    existed: bool,
    /// Whether it was damaged: the rest is about what came before the damage.
    damaged: bool,
    /// Commands in the journal.
    commands: u64,
    last_index: u64,
    last_time: Option<String>,
    #[serde(flatten)]
    tail: TailFindings,
    #[serde(skip)]
    events_end: Option<Position>,
}

/// Runs a node until it is told to stop.
///
/// # Errors
/// Where the node cannot start, or one of its agents halts.
pub fn run(arguments: &Arguments) -> Result<()> {
    let config = configure(arguments)?;
    let signals = catch_signals()?;
    while let Ended::OpensAgain(why) = run_once(&config, arguments, &signals)? {
        tell(&why);
    }
    Ok(())
}

/// How a run of a node ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ended {
    /// It was told to.
    Stopped,
    /// It has fetched a snapshot, or has to cut its event log, and goes on: why.
    OpensAgain(String),
}

fn run_once(config: &NodeConfig, arguments: &Arguments, signals: &SignalFd) -> Result<Ended> {
    let found = survey(&config.data);
    let begun = Instant::now();
    let node = Node::start(config).map_err(|error| refusal(error, config, arguments))?;
    for notice in &node.recovery().notices {
        tell(notice);
    }
    // A node of a cluster is there for its peers and operators at once; when it serves clients is for all of
    // them to say.
    if config.cluster.is_none() {
        match await_recovered(&node, config, &found, signals)? {
            Waited::Recovered => {}
            Waited::Halted => return halted(node),
            Waited::ToldToStop => return stop(node, arguments.json),
        }
    }
    let serving = serving(config, &node, arguments.config.as_deref());
    let mut notice = AddressNotice::new(&config.data);
    notice.put_up(&serving);
    if let Some(path) = &arguments.ready_file {
        serving.write(path)?;
    }
    match arguments.json {
        true => say_json(&announcement(&serving, &found, node.recovery(), begun)),
        false => say(&greeting(config, &serving, &found, node.recovery(), begun)),
    }
    let outcome = loop {
        if node.finished() {
            break halted(node);
        }
        if signal_within(signals, LOOK_EVERY_MS)?.is_some() {
            break stop(node, arguments.json);
        }
        notice.put_up(&serving);
    };
    notice.take_down();
    outcome
}

/// The file that says where the node is reached. Without it clients fall back on the defaults, so a disk that is
/// full keeps no node from serving: the file is written as soon as that can be done.
struct AddressNotice {
    path: PathBuf,
    up: bool,
    told: bool,
}

impl AddressNotice {
    fn new(data: &Path) -> Self {
        Self {
            path: data.join(ADDRESSES_FILE),
            up: false,
            told: false,
        }
    }

    fn put_up(&mut self, serving: &Serving) {
        if self.up {
            return;
        }
        match serving.write(&self.path) {
            Ok(()) => self.up = true,
            Err(_) if self.told => {}
            Err(error) => {
                self.told = true;
                tell(&format!(
                    "{error:#}: it is tried again, and the node serves meanwhile"
                ));
            }
        }
    }

    /// The next start writes it anew.
    fn take_down(&self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Why a wait has ended.
enum Waited {
    Recovered,
    Halted,
    ToldToStop,
}

/// Waits until everything recovered has been applied.
fn await_recovered(
    node: &Node,
    config: &NodeConfig,
    found: &Found,
    signals: &SignalFd,
) -> Result<Waited> {
    let mut wait = CaughtUp::new(&config.data, found)?;
    loop {
        if wait.look()? {
            return Ok(Waited::Recovered);
        }
        if node.finished() {
            return Ok(Waited::Halted);
        }
        if signal_within(signals, 1)?.is_some() {
            return Ok(Waited::ToldToStop);
        }
    }
}

fn configure(arguments: &Arguments) -> Result<NodeConfig> {
    let mut config = node_config(arguments.config.as_deref(), arguments.data.as_deref())?;
    let listen = &mut config.listen;
    listen.orders = arguments.orders.unwrap_or(listen.orders);
    listen.market_data = arguments.market_data.unwrap_or(listen.market_data);
    listen.drop_copy = arguments.drop_copy.unwrap_or(listen.drop_copy);
    if let Some(durability) = arguments.durability {
        config.set_durability(durability);
    }
    config.flush = arguments.flush.unwrap_or(config.flush);
    match &mut config.cluster {
        Some(cluster) => cluster.founding = arguments.found,
        None => ensure!(
            !arguments.found,
            "--found is for a node of a cluster, and this one is alone: name a configuration that has \
             [cluster] with --config"
        ),
    }
    Ok(config)
}

/// The configuration of the node in a folder; the defaults where nothing is named.
///
/// # Errors
/// Where the configuration is none.
pub(crate) fn node_config(config: Option<&Path>, data: Option<&Path>) -> Result<NodeConfig> {
    let mut config = match config {
        Some(path) => NodeConfig::load(path)?,
        None => NodeConfig::defaults()?,
    };
    if let Some(data) = data {
        config.data = data.to_path_buf();
    }
    // Agents call it: a terminal that is gone must not stop them.
    config.notice = tell;
    Ok(config)
}

/// Why the node cannot start, with the remedy that only an operator has.
fn refusal(error: NodeError, config: &NodeConfig, arguments: &Arguments) -> anyhow::Error {
    let data = &config.data;
    let damage = match &error {
        NodeError::Log {
            log: "event log",
            source: damage @ (JournalError::Corrupt { .. } | JournalError::WrongSize { .. }),
        } => damage,
        _ => {
            let from = origin(&error, config, arguments);
            let from = from.map_or(String::new(), |place| format!(" (as {place} says)"));
            return anyhow::Error::new(error).context(format!("the node cannot start{from}"));
        }
    };
    let events = data.join("events");
    let what = match damage {
        JournalError::Corrupt { position, why, .. } => {
            format!("damaged at position {position}: {why}")
        }
        _ => "not as long as it should be".to_owned(),
    };
    // The journal's own remedy would be a backup; this log has a better one.
    anyhow::anyhow!(
        "the node cannot start: the event log in {} is {what}; it follows from the journal: move it \
         away and start again, it is then written anew",
        events.display()
    )
}

/// The line of the configuration that named the folder or the port at fault, unless the command line did.
fn origin(error: &NodeError, config: &NodeConfig, arguments: &Arguments) -> Option<String> {
    let listen = &config.listen;
    let key = match error {
        NodeError::NoFolder { path } | NodeError::Io { path, .. }
            if arguments.data.is_none() && path.starts_with(&config.data) =>
        {
            "data"
        }
        NodeError::Gateway(GatewayError::Listen { address, .. }) => {
            let ports = [
                ("listen.orders", listen.orders, arguments.orders),
                (
                    "listen.market_data",
                    listen.market_data,
                    arguments.market_data,
                ),
                ("listen.drop_copy", listen.drop_copy, arguments.drop_copy),
            ];
            let found = ports
                .into_iter()
                .find(|(_, port, named)| port == address && named.is_none());
            found?.0
        }
        _ => return None,
    };
    config.place_of(key)
}

/// Blocks the signals that stop a node, in this thread and those that it starts, and makes them
/// readable instead.
pub(crate) fn catch_signals() -> Result<SignalFd> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGINT);
    mask.add(Signal::SIGTERM);
    // The terminal was closed.
    mask.add(Signal::SIGHUP);
    mask.thread_block()
        .context("cannot block the signals that stop a node")?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .context("cannot watch for the signals that stop a node")
}

/// The signal that came within so many milliseconds.
pub(crate) fn signal_within(signals: &SignalFd, milliseconds: u8) -> Result<Option<Signal>> {
    let mut ready = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    match poll(&mut ready, PollTimeout::from(milliseconds)) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => {}
        Err(error) => return Err(error).context("cannot wait for signals"),
    }
    let read = signals.read_signal().context("cannot read a signal")?;
    let signal = read.and_then(|it| Signal::try_from(it.ssi_signo as i32).ok());
    Ok(signal)
}

/// Looks at what is on disk. What cannot be read is left to the start itself, whose refusal counts.
fn survey(data: &Path) -> Found {
    let folder = data.join("journal");
    let (recovered, damage) = match inspect_good(&folder, Verify::Trust) {
        Ok(found) => found,
        Err(JournalError::Missing { .. } | JournalError::Io { .. }) => return Found::default(),
        Err(_) => {
            return Found {
                existed: true,
                damaged: true,
                ..Found::default()
            };
        }
    };
    let Commands {
        last, last_time, ..
    } = count_commands(&folder, &recovered).unwrap_or_default();
    let events = inspect(data.join("events"), Verify::Trust).ok();
    Found {
        existed: true,
        damaged: damage.is_some(),
        commands: last,
        last_index: recovered.last_index,
        last_time: time_value(last_time),
        tail: TailFindings::of(recovered.tail),
        events_end: events.map(|events| events.appended),
    }
}

/// Waits for the first hash of the state after the start: it follows everything recovered.
struct CaughtUp {
    events: Reader,
    after: u64,
}

impl CaughtUp {
    fn new(data: &Path, found: &Found) -> Result<Self> {
        let mut events = Reader::follow(data.join("events"), Verify::Trust).context("event log")?;
        // The start may have cut it.
        let known = found.events_end.filter(|end| *end <= events.appended());
        if let Some(end) = known {
            events.seek(end).context("event log")?;
        }
        Ok(Self {
            events,
            after: found.commands,
        })
    }

    fn look(&mut self) -> Result<bool> {
        let end = self.events.appended();
        while let Some(frame) = self.events.next(end).context("event log")? {
            let hashed = messages(frame.payload).any(|event| {
                EventPrefix::peek(event).is_some_and(|prefix| {
                    prefix.header.template_id == StateHashed::TEMPLATE_ID
                        && prefix.command.0 > self.after
                })
            });
            if hashed {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn serving(config: &NodeConfig, node: &Node, written: Option<&Path>) -> Serving {
    let addresses = node.addresses();
    let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    Serving {
        orders: addresses.orders,
        market_data: addresses.market_data,
        drop_copy: addresses.drop_copy,
        data: whole(&config.data),
        keys: whole(node.keys()),
        process: std::process::id(),
        peers: addresses.peers,
        // Only a cluster has more to tell than the other fields do: where its key and its members are.
        config: written.filter(|_| config.cluster.is_some()).map(whole),
    }
}

/// Prints what nobody needs to read: a node does not stop because its reader has left.
fn say(text: &str) {
    let _ = print(text);
}

/// The same of a JSON object.
fn say_json(value: &serde_json::Value) {
    let _ = print_json(value);
}

fn announcement(
    serving: &Serving,
    found: &Found,
    recovery: &Recovery,
    begun: Instant,
) -> serde_json::Value {
    serde_json::json!({
        "state": "serving",
        "serving": serving,
        "recovered": found,
        "snapshot_command": recovery.snapshot_command,
        "notices": recovery.notices,
        "elapsed_s": begun.elapsed().as_secs_f64(),
    })
}

fn greeting(
    config: &NodeConfig,
    serving: &Serving,
    found: &Found,
    recovery: &Recovery,
    begun: Instant,
) -> String {
    let promise = match config.durability {
        Durability::Durable => "durable: flushed to disk before it is acknowledged",
        Durability::Replicated => "replicated: in memory-mapped pages before it is acknowledged",
    };
    let recovered = match found.existed {
        true if found.damaged && found.commands == 0 => {
            "nothing: no command is left in its journal, which was damaged".to_owned()
        }
        true if found.damaged => format!(
            "{} commands are left in its journal, which was damaged, the last of {}",
            found.commands,
            found.last_time.as_deref().unwrap_or("none"),
        ),
        true if config.cluster.is_some() => format!(
            "{} commands are in its journal, the last of {}; tail {}",
            found.commands,
            found.last_time.as_deref().unwrap_or("none"),
            found.tail.text("are cut")
        ),
        true => format!(
            "{} commands in {:.1} s, {}the last of {}; tail {}",
            found.commands,
            begun.elapsed().as_secs_f64(),
            match recovery.snapshot_command {
                0 => String::new(),
                command => format!("{} of them replayed, ", found.commands - command),
            },
            found.last_time.as_deref().unwrap_or("none"),
            found.tail.text("are cut")
        ),
        false if config.cluster.is_some() => "nothing: its journal is new".to_owned(),
        false => "nothing: this is a new exchange".to_owned(),
    };
    let mut lines = vec![
        match &config.cluster {
            Some(cluster) => format!("Exahour runs, as node {} of a cluster", cluster.node),
            None => "Exahour is serving".to_owned(),
        },
        format!("  orders       {}", serving.orders),
        format!("  market data  {}", serving.market_data),
        format!("  drop copy    {}", serving.drop_copy),
        format!("  data         {}", serving.data.display()),
        format!("  keys         {}", serving.keys.display()),
        format!("  promise      {promise}"),
        format!("  recovered    {recovered}"),
    ];
    if let Some(peers) = serving.peers {
        lines.push(format!("  peers        {peers}"));
        lines.push("who leads:".to_owned());
        let data = shell_path(&config.data);
        lines.push(format!("  exahour status --data {data}"));
        lines.push("stop it with Ctrl-C\n".to_owned());
        return lines.join("\n");
    }
    let genesis = &config.genesis;
    let trader = genesis.session.first().map(|it| SessionId(it.id));
    if let Some(session) = trader.filter(|it| account_of(genesis, *it).is_some()) {
        let data = shell_path(&config.data);
        lines.push("try it:".to_owned());
        lines.push(format!(
            "  exahour order buy 10 @ 2.50 1 --session {session} --data {data}"
        ));
        lines.push(format!("  exahour book 1 --data {data}"));
    }
    lines.push("stop it with Ctrl-C\n".to_owned());
    lines.join("\n")
}

fn stop(node: Node, json: bool) -> Result<Ended> {
    node.stop()
        .context("the node stopped, but not in good order")
        .map_err(finding)?;
    match json {
        true => say_json(&serde_json::json!({"state": "stopped"})),
        false => say("stopped in good order\n"),
    }
    Ok(Ended::Stopped)
}

/// Why a node ended by itself.
fn halted(node: Node) -> Result<Ended> {
    match node.join() {
        Err(failure) if opens_again(&failure) => {
            let why = node_error(&failure).map(ToString::to_string);
            Ok(Ended::OpensAgain(why.unwrap_or_default()))
        }
        Ok(()) => Err(finding(anyhow!(
            "the node ended by itself, without an error"
        ))),
        Err(failure) => {
            let replaced = matches!(node_error(&failure), Some(NodeError::HistoryLost { .. }));
            let what = match replaced {
                true => "the node halted",
                false => {
                    "the node halted; what was acknowledged is in the journal: mend the cause and start again"
                }
            };
            Err(finding(anyhow::Error::new(failure).context(what)))
        }
    }
}
