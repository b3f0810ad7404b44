//! `exahour repair`: what a node keeps, read from end to end, and mended where that can be done.
//!
//! Called by the command line.
//!
//! Always holds: with `--check` nothing is written; nothing is removed ever; what nobody else can give again is not
//! given up.

use std::fmt::Write;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use exahour_journal::{JournalError, KIND_RESTART, LogId, Reader, Recovered, Verify, inspect_good};
use exahour_replicas::{FilesFound, find_snapshots, find_views, repair, whole_promises};
use indicatif::ProgressBar;
use serde::Serialize;

use crate::exit::{finding, judged};
use crate::journal::whole::Whole;
use crate::output::{print, print_json};
use crate::progress::count_bar;
use crate::start::node_config;

/// Parts of a node's folder that are read.
const PARTS: u64 = 7;

/// Read everything a node keeps, and mend what is damaged; the node must not run.
///
/// Every frame, snapshot and promise is checked, those that a start would not read too. What a start mends is
/// mended: a member's journal is cut at its damage, and the node has the rest again from the others; the event log
/// is written again from the journal; snapshots and views that cannot be read are put aside. What was there is kept.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Exit code 1: something is damaged that was not mended.\n\nExamples:\n  exahour repair --check\n  \
                  exahour repair --config node-2.toml"
)]
pub struct Arguments {
    /// The node's configuration [default: that of a node that is alone].
    #[arg(long, value_name = "NODE.toml")]
    config: Option<PathBuf>,
    /// The node's data folder [default: as its configuration says].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Only look, also while the node runs.
    #[arg(long)]
    check: bool,
    /// Write one JSON object.
    #[arg(long)]
    json: bool,
}

/// How a part stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Whole,
    /// There is none.
    Absent,
    Damaged,
}

/// A part of what a node keeps.
#[derive(Clone, Debug, Serialize)]
struct Part {
    part: &'static str,
    state: State,
    /// What is there, or wrong with it.
    found: String,
}

impl Part {
    fn new(part: &'static str, state: State, found: impl Into<String>) -> Self {
        Self {
            part,
            state,
            found: found.into(),
        }
    }
}

#[derive(Debug, Serialize)]
struct Findings<'a> {
    data: &'a Path,
    /// As it was found.
    parts: &'a [Part],
    /// As it is now; none where it was only looked at.
    mended: Option<&'a [Part]>,
}

/// Looks, and mends.
///
/// # Errors
/// A finding, where something is damaged that is not mended; otherwise where it cannot be done.
pub fn run(arguments: &Arguments) -> Result<()> {
    mend(arguments).map_err(judged)
}

fn mend(arguments: &Arguments) -> Result<()> {
    let config = node_config(arguments.config.as_deref(), arguments.data.as_deref())?;
    let data = config.data.as_path();
    ensure!(
        data.join("journal").is_dir(),
        "{} holds no node: name the data folder of one, or its configuration",
        data.display()
    );
    let member = config.cluster.is_some();
    let parts = examine(data, member)?;
    let damaged = parts.iter().any(|it| it.state == State::Damaged);
    if arguments.check {
        show(arguments.json, data, &parts, None)?;
        return match damaged {
            true => Err(finding(anyhow!(
                "something is damaged: without --check what can be mended is"
            ))),
            false => Ok(()),
        };
    }
    if damaged && !arguments.json {
        print(&text(&parts))?;
    }
    // Also where nothing is damaged: an earlier call may have ended in the middle of it.
    repair(&config).context("it cannot be mended")?;
    let mended = examine(data, member)?;
    show(arguments.json, data, &parts, damaged.then_some(&mended[..]))?;
    match mended.iter().find(|it| it.state == State::Damaged) {
        Some(part) => Err(finding(anyhow!(
            "{} is damaged, and nobody else is known to have it: restore it from a backup",
            part.part
        ))),
        None => Ok(()),
    }
}

/// Reads everything.
fn examine(data: &Path, member: bool) -> Result<Vec<Part>> {
    let bar = count_bar(PARTS, "parts read");
    let parts = read_parts(data, member, &bar);
    bar.finish_and_clear();
    parts
}

fn read_parts(data: &Path, member: bool, bar: &ProgressBar) -> Result<Vec<Part>> {
    let own = look(&data.join("journal")).context("journal")?;
    let needs = Needs::of(data, &own)?;
    let mut parts = vec![promises(data, member)?, identity(data, &needs)?];
    bar.inc(2);
    parts.extend(journal(data, own)?);
    bar.inc(2);
    parts.push(needs.of_events(events(data)?));
    bar.inc(1);
    parts.push(needs.of_snapshots(files("snapshots", &find_snapshots(data)?), member));
    bar.inc(1);
    parts.push(files("views", &find_views(data)?));
    bar.inc(1);
    Ok(parts)
}

/// What a start on this journal cannot do without.
struct Needs {
    /// The id that the journal carries; none where nothing of it can be read.
    log_id: Option<LogId>,
    /// The last entry that the journal has given up, or that a snapshot from another node stands for.
    given_up: u64,
}

impl Needs {
    fn of(data: &Path, (own, _): &Look) -> Result<Self> {
        let (mut log_id, mut given_up) = (None, 0);
        if let Some(own) = own {
            log_id = Some(own.log_id);
            let reader = Reader::closed(data.join("journal"), own, Verify::Trust);
            let first = reader.and_then(|mut reader| {
                let frame = reader.next(own.appended)?;
                Ok(frame.map(|frame| (frame.header.kind, frame.header.index)))
            });
            given_up = match first.context("journal")? {
                None => 0,
                Some((KIND_RESTART, index)) => index,
                Some((_, index)) => index.saturating_sub(1),
            };
        }
        Ok(Self { log_id, given_up })
    }

    /// An event log that is gone is damage where nothing gives it again.
    fn of_events(&self, part: Part) -> Part {
        match (part.state, self.given_up) {
            (State::Absent, 0) => Part {
                found: "there is none; the next start writes it from the journal".to_owned(),
                ..part
            },
            (State::Absent, index) => Part {
                state: State::Damaged,
                found: format!(
                    "it is gone, and the journal, which begins behind entry {index}, does not give it again"
                ),
                ..part
            },
            _ => part,
        }
    }

    /// Snapshots that are gone are damage where the journal begins behind one of them.
    fn of_snapshots(&self, part: Part, member: bool) -> Part {
        match (part.state, self.given_up) {
            (State::Absent, index) if index > 0 => Part {
                state: State::Damaged,
                found: format!(
                    "there are none, and the journal begins behind entry {index}{}",
                    match member {
                        true => ": a start sets it aside, and has everything again from the others",
                        false => "",
                    }
                ),
                ..part
            },
            _ => part,
        }
    }
}

/// Beside a journal it has to be there, and the journal's.
fn identity(data: &Path, needs: &Needs) -> Result<Part> {
    let part = |state, found: String| Part::new("identity", state, found);
    let path = data.join("identity");
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(match needs.log_id {
                None => part(State::Absent, "there is none".to_owned()),
                Some(id) => part(
                    State::Damaged,
                    format!(
                        "it is gone, and starts are refused: write {id} into {}",
                        path.display()
                    ),
                ),
            });
        }
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", path.display()));
        }
    };
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    let id = u128::from_str_radix(&text, 16)
        .ok()
        .filter(|_| text.len() == 32)
        .map(|id| LogId(id.to_be_bytes()));
    Ok(match (id, needs.log_id) {
        (None, _) => part(State::Damaged, "it holds no id".to_owned()),
        (Some(id), Some(journal)) if id != journal => part(
            State::Damaged,
            format!("it is {id}, and the journal is that of {journal}"),
        ),
        (Some(id), _) => part(State::Whole, format!("exchange {id}")),
    })
}

/// Of a member of a cluster they have to be there.
fn promises(data: &Path, member: bool) -> Result<Part> {
    let part = |state, found| Part::new("raft-state", state, found);
    Ok(match whole_promises(data)? {
        None if member => part(State::Damaged, "it is gone, and starts are refused"),
        None => part(State::Absent, "there is none"),
        Some(0) => part(State::Damaged, "neither of its copies is whole"),
        Some(1) => part(State::Damaged, "one of its two copies is not whole"),
        Some(_) => part(State::Whole, "both copies"),
    })
}

/// What is read of a log, and what is wrong with it; none of the former where it is its beginning.
type Look = (Option<Recovered>, Option<JournalError>);

fn look(folder: &Path) -> Result<Look> {
    match inspect_good(folder, Verify::Every) {
        Ok((good, damage)) => Ok((Some(good), damage)),
        Err(error @ JournalError::Io { .. }) => Err(error.into()),
        Err(damage) => Ok((None, Some(damage))),
    }
}

/// A damage without what others would do about it.
fn fault(damage: &JournalError) -> String {
    match damage {
        JournalError::Corrupt {
            segment,
            position,
            index,
            why,
        } => format!(
            "{} is damaged at position {position} (after index {index}): {why}",
            segment.display()
        ),
        JournalError::WrongSize {
            segment,
            found,
            expected,
        } => format!(
            "{} has {found} bytes instead of {expected}",
            segment.display()
        ),
        other => other.to_string(),
    }
}

/// The journal, and what it has given up.
fn journal(data: &Path, (own, own_damage): Look) -> Result<Vec<Part>> {
    let folder = data.join("journal");
    let whole = Whole::of(&folder)?;
    let (all, damage) = look(whole.folder()).context("journal")?;
    if let (Some(all), None) = (&all, &damage) {
        let mut parts = vec![Part::new("journal", State::Whole, frames(all))];
        if whole.archived > 0 {
            let found = format!("{} segments, read with the journal", whole.archived);
            parts.push(Part::new("archive", State::Whole, found));
        }
        return Ok(parts);
    }
    let before = |own: &Recovered| all.as_ref().is_none_or(|all| all.appended < own.first);
    let in_archive = whole.archived > 0 && own.as_ref().is_none_or(before);
    let mut parts = vec![match (&own, &own_damage) {
        (Some(own), None) => Part::new("journal", State::Whole, frames(own)),
        (_, Some(damage)) => Part::new("journal", State::Damaged, fault(damage)),
        (None, None) => Part::new("journal", State::Absent, "there is none"),
    }];
    if let Some(damage) = damage.filter(|_| in_archive) {
        // What it says of files is about links.
        let found = match damage {
            JournalError::Corrupt { position, why, .. } => {
                format!("damaged at position {position}: {why}")
            }
            _ => "damaged at its beginning".to_owned(),
        };
        parts.push(Part::new("archive", State::Damaged, found));
    }
    Ok(parts)
}

fn events(data: &Path) -> Result<Part> {
    let folder = data.join("events");
    if !folder.is_dir() {
        return Ok(Part::new("event log", State::Absent, "there is none"));
    }
    Ok(match look(&folder).context("event log")? {
        (_, Some(damage)) => Part::new("event log", State::Damaged, fault(&damage)),
        (Some(found), None) => Part::new("event log", State::Whole, frames(&found)),
        (None, None) => Part::new("event log", State::Absent, "there is none"),
    })
}

/// Files of a kind.
fn files(part: &'static str, found: &FilesFound) -> Part {
    match found.damaged.first() {
        Some((path, fault)) => {
            let (count, name) = (found.damaged.len(), path.display());
            let found = format!("{count} damaged, {} whole; {name}: {fault}", found.whole);
            Part::new(part, State::Damaged, found)
        }
        None if found.whole == 0 => Part::new(part, State::Absent, "there are none"),
        None => Part::new(part, State::Whole, format!("{} read", found.whole)),
    }
}

fn frames(log: &Recovered) -> String {
    format!(
        "{} frames, the last with index {}",
        log.frames, log.last_index
    )
}

fn show(json: bool, data: &Path, parts: &[Part], mended: Option<&[Part]>) -> Result<()> {
    match json {
        true => print_json(&Findings {
            data,
            parts,
            mended,
        }),
        false => match mended {
            Some(mended) => print(&format!("now\n{}", text(mended))),
            None => print(&text(parts)),
        },
    }
}

fn text(parts: &[Part]) -> String {
    let mut out = String::new();
    for part in parts {
        let state = match part.state {
            State::Whole => "whole",
            State::Absent => "absent",
            State::Damaged => "DAMAGED",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{:<11} {state:<8} {}", part.part, part.found);
    }
    out
}
