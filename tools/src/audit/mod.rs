//! `exahour audit`: a journal verified from end to end, and who did what between two times.
//!
//! Called by the command line. `walk` verifies and replays, `selection` chooses, `export` writes,
//! `summary` counts.
//!
//! Always holds: nothing is written to the journal; nothing is exported from a journal that a checksum or
//! the chain proves damaged. Where a frame contradicts those before it, their rows are written and then
//! the place is told.

mod export;
mod record;
mod selection;
mod summary;
mod walk;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use exahour_journal::{Verify, inspect};

use crate::exit::judged;
use crate::journal::whole::Whole;
use crate::journal::{Log, count_commands, log_folder, refuse_event_log, time_text};
use crate::listings::InstrumentName;
use crate::output::{Output, print_json, tell, unless_reader_left};
use crate::progress::byte_bar;
use export::Export;
use record::Registry;
use selection::{Selection, Who};
use summary::Summary;
use walk::Walk;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Lines to read: a command, then its events.
    Text,
    /// JSON, one object a line.
    Json,
    /// Comma-separated values with a header.
    Csv,
}

/// Verify a whole journal, and tell who did what and when.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// A node's data folder, or the journal in it. While the node runs, what its journal holds at the
    /// start of the audit is audited.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Rows from this time on: 2026-01-31T14:03:07Z, or 14:03:07 of the journal's last day.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Rows before this time.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Rows of the minute, second or part of one that this names: 14:03, 14:03:07, 14:03:07.250.
    #[arg(long, value_name = "TIME", conflicts_with_all = ["from", "to"])]
    at: Option<String>,
    /// What they did, and what happened to them: `--who account 100`.
    #[arg(long, num_args = 2, value_names = ["session|participant|account", "N"])]
    who: Option<Vec<String>>,
    /// What happened to this order: the number that the exchange gave it.
    #[arg(long, value_name = "ID")]
    order: Option<u64>,
    /// What became of this obligation to deliver: its number, as `deliveries` prints it.
    #[arg(long, value_name = "N")]
    obligation: Option<u64>,
    /// What happened in this instrument, with the deliveries that it ended in: its number, or its symbol.
    #[arg(long, value_name = "INSTRUMENT")]
    instrument: Option<InstrumentName>,
    /// How rows are written [default: text; json with --json].
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Write the rows to this file instead of standard output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write JSON, one object a line: the rows, then the summary (`"row": "summary"`), all on standard
    /// output. With --output, only the summary is written there.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    fn format(&self) -> Format {
        let unless_named = match self.json {
            true => Format::Json,
            false => Format::Text,
        };
        self.format.unwrap_or(unless_named)
    }
}

/// Verifies the journal, writes the rows chosen, and sums up on standard error, or in JSON.
///
/// # Errors
/// Where the journal is damaged or contradicts itself, a time cannot be read, the instrument was never
/// listed, or the output cannot be written.
pub fn run(arguments: &Arguments) -> Result<()> {
    audit(arguments).map_err(judged)
}

fn audit(arguments: &Arguments) -> Result<()> {
    let format = arguments.format();
    ensure!(
        !arguments.json || format == Format::Json || arguments.output.is_some(),
        "--json writes the summary to standard output: name a file for rows in another format with \
         --output, or leave --format out"
    );
    let journal = Whole::of(&log_folder(&arguments.folder, Log::Journal)?)?;
    let folder = journal.folder();
    let recovered = inspect(folder, Verify::Every)?;
    refuse_event_log(folder, &recovered)?;
    let commands = count_commands(folder, &recovered)?;
    let selection = selection(arguments, commands.last_time)?;
    let out: Box<dyn Write> = match &arguments.output {
        Some(path) => Box::new(File::create(path).with_context(|| {
            format!("cannot write {}: name a folder that exists", path.display())
        })?),
        None => Box::new(Output::lock()),
    };
    let mut export = Export::new(format, BufWriter::with_capacity(1 << 16, out))?;
    let mut registry = Registry::default();
    let mut summary = Summary::default();
    let mut walk = Walk::open(folder, &recovered)?;
    if walk.verified().before.events > 0 {
        // Owners and symbols that were told of before are in the event log, which has everything.
        let events = log_folder(&arguments.folder, Log::Events)?;
        registry.learn_before(&events, walk.verified().before.events)?;
    }
    let bar = byte_bar(recovered.appended.value(), "audit");
    while let Some(batch) = walk.next()? {
        bar.set_position(batch.position.value());
        for record in batch.records(&mut registry) {
            if !selection.covers(&record) {
                continue;
            }
            summary.count(&record, &selection, &registry);
            if let Err(error) = export.write(&record, &selection, &registry) {
                return unless_reader_left(error);
            }
        }
    }
    bar.finish_and_clear();
    if let Err(error) = export.finish() {
        return unless_reader_left(error);
    }
    selection.ensure_listed(&registry)?;
    let verified = walk.verified();
    if arguments.json {
        return print_json(&summary.findings(&verified, &selection));
    }
    tell(summary.text(&verified, &selection).trim_end());
    Ok(())
}

fn selection(arguments: &Arguments, last: exahour_wire::units::Nanos) -> Result<Selection> {
    let (from, to) = match &arguments.at {
        Some(text) => selection::span_of(text, last)?,
        None => {
            let moment = |text: &Option<String>| {
                let parsed = text.as_deref().map(|text| selection::moment_of(text, last));
                parsed.transpose()
            };
            (
                moment(&arguments.from)?.unwrap_or_default(),
                moment(&arguments.to)?.unwrap_or(exahour_wire::units::Nanos::NEVER),
            )
        }
    };
    ensure!(
        from < to,
        "nothing lies between {} and {}: --to must be later than --from",
        time_text(from),
        time_text(to)
    );
    Ok(Selection {
        from,
        to,
        who: arguments.who.as_deref().map(Who::parse).transpose()?,
        order: arguments.order,
        obligation: arguments.obligation,
        instrument: arguments.instrument.clone(),
    })
}
