//! `exahour journal`: what lies in a journal, read without changing anything.
//!
//! Called by the command line. `inspect` says what is there, `dump` writes it out; finding the
//! folder and counting commands serve `replay`, `audit` and `start` too.
//!
//! Always holds: nothing is written; damage is an error that names file and place, told after what is good.

mod dump;
mod inspect;
pub(crate) mod whole;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use exahour_journal::{Live, LiveReader, Reader, Recovered, Tail, Verify};
use exahour_replicas::FRAME_COMMANDS;
use exahour_wire::units::Nanos;
use serde::Serialize;

use crate::cluster::folder::ClusterFolder;
use crate::exit::judged;
use crate::text::write_time;

/// Look into a journal without changing it.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    Inspect(inspect::Arguments),
    Dump(dump::Arguments),
}

/// Carries the subcommand out.
///
/// # Errors
/// Where there is no journal, or it is damaged.
pub fn run(arguments: &Arguments) -> Result<()> {
    let outcome = match &arguments.action {
        Action::Inspect(arguments) => inspect::run(arguments),
        Action::Dump(arguments) => dump::run(arguments),
    };
    outcome.map_err(judged)
}

/// Which log of a data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Log {
    /// The commands.
    Journal,
    /// The events.
    Events,
}

/// The folder of a log: `folder` itself, or the one within a data folder.
///
/// # Errors
/// Where `folder` does not exist.
pub fn log_folder(folder: &Path, log: Log) -> Result<PathBuf> {
    if !folder.is_dir() {
        bail!(
            "{} is no folder: name a node's data folder, or the journal in it",
            folder.display()
        );
    }
    let name = match log {
        Log::Journal => "journal",
        Log::Events => "events",
    };
    let within = folder.join(name);
    Ok(match log {
        _ if within.is_dir() => within,
        _ if ClusterFolder::is_one(folder) => bail!(
            "{} is the folder of a cluster: name the data folder of one of its nodes{}",
            folder.display(),
            one_of(folder).map_or_else(String::new, |it| format!(", such as {}", it.display()))
        ),
        Log::Journal if holds_log(folder)? => folder.to_path_buf(),
        Log::Journal => bail!(
            "{} holds no journal: name a node's data folder, or the journal in it",
            folder.display()
        ),
        Log::Events => bail!(
            "{} holds no event log: name the data folder, not the journal in it",
            folder.display()
        ),
    })
}

/// Refuses a log that has frames but no chain: it tells of events, and read as commands it would say
/// that nothing ever happened.
///
/// # Errors
/// Where it is one.
pub fn refuse_event_log(folder: &Path, recovered: &Recovered) -> Result<()> {
    let chained = recovered.chain.0 != [0; 24];
    ensure!(
        chained || recovered.frames == 0,
        "{} is an event log, not a journal: name a node's data folder, or the journal in it",
        folder.display()
    );
    Ok(())
}

/// The data folder of one of the nodes in a cluster's folder.
fn one_of(folder: &Path) -> Option<PathBuf> {
    let cluster = ClusterFolder::open(folder).ok()?;
    let folders = cluster.nodes().iter();
    let mut folders = folders.filter_map(|node| cluster.data_of(*node).ok());
    folders.find(|it| it.is_dir())
}

/// Whether a folder looks like that of a log.
fn holds_log(folder: &Path) -> Result<bool> {
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("cannot look into {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == "log") || path.ends_with("control") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The commands of a closed journal, counted by the headers of its frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commands {
    /// The number of the last command; zero in an empty journal.
    pub last: u64,
    /// The stamp of the first batch.
    pub first_time: Nanos,
    /// The stamp of the last batch.
    pub last_time: Nanos,
}

/// Walks the headers of a journal up to the end that recovery found, past those that later frames have
/// superseded.
///
/// # Errors
/// Where a frame cannot be read.
pub fn count_commands(folder: &Path, recovered: &Recovered) -> Result<Commands> {
    let reader = Reader::closed(folder, recovered, Verify::Trust).context("journal")?;
    let mut reader = LiveReader::new(reader);
    let mut found = Commands::default();
    while let Some(next) = reader.next(recovered.appended).context("journal")? {
        let Live::Frame(frame) = next else {
            continue;
        };
        let header = frame.header;
        if header.kind != FRAME_COMMANDS || header.count == 0 {
            continue;
        }
        found.last = header.first_sequence + u64::from(header.count) - 1;
        found.last_time = Nanos(header.time_ns);
        if found.first_time == Nanos(0) {
            found.first_time = Nanos(header.time_ns);
        }
    }
    Ok(found)
}

/// A moment in text; `none` for zero.
#[must_use]
pub fn time_text(time: Nanos) -> String {
    let mut text = String::new();
    match time {
        Nanos(0) => text.push_str("none"),
        _ => write_time(time, &mut text),
    }
    text
}

/// A moment as JSON has it; nothing for zero.
#[must_use]
pub fn time_value(time: Nanos) -> Option<String> {
    (time != Nanos(0)).then(|| time_text(time))
}

/// The end of a log, as every subcommand tells it.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct TailFindings {
    /// `clean`, `torn`, or `damaged`: what else is said is of the part before the damage.
    tail: &'static str,
    torn_position: Option<u64>,
    torn_bytes: u64,
}

impl Default for TailFindings {
    fn default() -> Self {
        Self::of(Tail::Clean)
    }
}

impl TailFindings {
    pub(crate) const DAMAGED: Self = Self {
        tail: "damaged",
        torn_position: None,
        torn_bytes: 0,
    };

    pub(crate) fn of(tail: Tail) -> Self {
        match tail {
            Tail::Clean => Self {
                tail: "clean",
                ..Self::DAMAGED
            },
            Tail::Torn { at, bytes } => Self {
                tail: "torn",
                torn_position: Some(at.value()),
                torn_bytes: bytes,
            },
        }
    }

    /// In words; `fate` is what becomes of bytes that never became durable.
    pub(crate) fn text(&self, fate: &str) -> String {
        match self.torn_position {
            None => self.tail.to_owned(),
            Some(at) => format!(
                "torn at position {at}: {} bytes that were never durable {fate}",
                self.torn_bytes
            ),
        }
    }
}

/// The name of a frame's kind.
#[must_use]
pub fn kind_name(kind: u8) -> &'static str {
    match kind {
        exahour_replicas::FRAME_EMPTY => "empty",
        FRAME_COMMANDS => "commands",
        exahour_replicas::FRAME_CONF_CHANGE => "conf-change",
        exahour_replicas::FRAME_CONF_CHANGE_V2 => "conf-change-v2",
        exahour_journal::KIND_RESTART => "restart",
        _ => "unknown",
    }
}

/// Bytes in hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
