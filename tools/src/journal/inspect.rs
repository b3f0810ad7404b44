//! `exahour journal inspect`: segments, identity, marks and tail of a log.
//!
//! Called by `journal`.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use exahour_journal::{Reader, Recovered, Verify, inspect_good};
use exahour_wire::units::Nanos;
use serde::Serialize;

use super::{Log, TailFindings, hex, log_folder, time_value};
use crate::output::{print, print_json};

/// Check every frame of a journal and show what it is: its id, segments, ends and tail.
#[derive(Clone, Debug, Args)]
pub(super) struct Arguments {
    /// A node's data folder, or the journal in it. While the node runs, the end shown is that of
    /// some moment in between.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Look at the event log instead of the journal.
    #[arg(long)]
    events: bool,
    /// Write one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Findings {
    folder: PathBuf,
    log_id: String,
    first_position: u64,
    end_position: u64,
    durable_position: u64,
    frames: u64,
    last_index: u64,
    last_term: u32,
    /// None where the log has checksums only.
    chain: Option<String>,
    #[serde(flatten)]
    tail: TailFindings,
    segments: Vec<Segment>,
}

#[derive(Debug, Serialize)]
struct Segment {
    file: String,
    position: u64,
    bytes: u64,
    frames: u64,
    first_index: u64,
    last_index: u64,
    first_time: Option<String>,
    last_time: Option<String>,
    #[serde(skip)]
    times: (u64, u64),
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let log = if arguments.events {
        Log::Events
    } else {
        Log::Journal
    };
    let folder = log_folder(&arguments.folder, log)?;
    let (recovered, damage) = inspect_good(&folder, Verify::Every)?;
    let segments = segments(&folder, &recovered)?;
    let tail = match damage {
        Some(_) => TailFindings::DAMAGED,
        None => TailFindings::of(recovered.tail),
    };
    let findings = Findings {
        folder,
        log_id: recovered.log_id.to_string(),
        first_position: recovered.first.value(),
        end_position: recovered.appended.value(),
        durable_position: recovered.durable.value(),
        frames: recovered.frames,
        last_index: recovered.last_index,
        last_term: recovered.last_term,
        chain: (recovered.chain.0 != [0; 24]).then(|| hex(&recovered.chain.0)),
        tail,
        segments,
    };
    if arguments.json {
        print_json(&findings)?;
    } else {
        let mut out = String::new();
        write_text(&findings, &mut out)?;
        print(&out)?;
    }
    damage.map_or(Ok(()), |damage| Err(damage.into()))
}

/// The segment files, with what their frames say.
fn segments(folder: &std::path::Path, recovered: &Recovered) -> Result<Vec<Segment>> {
    let mut found = Vec::new();
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
        let file = entry.file_name().to_string_lossy().into_owned();
        let position = file.strip_suffix(".log").and_then(|it| it.parse().ok());
        let Some(position) = position else { continue };
        found.push(Segment {
            file,
            position,
            bytes: entry.metadata().map_or(0, |about| about.len()),
            frames: 0,
            first_index: 0,
            last_index: 0,
            first_time: None,
            last_time: None,
            times: (0, 0),
        });
    }
    found.sort_by_key(|segment| segment.position);
    let mut reader = Reader::closed(folder, recovered, Verify::Trust)?;
    while let Some(frame) = reader.next(recovered.appended)? {
        let after = found.partition_point(|it| it.position <= frame.position.value());
        let Some(segment) = after.checked_sub(1).and_then(|place| found.get_mut(place)) else {
            continue;
        };
        segment.frames += 1;
        segment.last_index = frame.header.index;
        if segment.frames == 1 {
            segment.first_index = frame.header.index;
        }
        if frame.header.time_ns > 0 {
            segment.times.1 = frame.header.time_ns;
            if segment.times.0 == 0 {
                segment.times.0 = frame.header.time_ns;
            }
        }
    }
    for segment in &mut found {
        segment.first_time = time_value(Nanos(segment.times.0));
        segment.last_time = time_value(Nanos(segment.times.1));
    }
    Ok(found)
}

fn write_text(findings: &Findings, out: &mut String) -> std::fmt::Result {
    writeln!(out, "folder      {}", findings.folder.display())?;
    writeln!(out, "log id      {}", findings.log_id)?;
    writeln!(
        out,
        "positions   {} to {}, durable to {}",
        findings.first_position, findings.end_position, findings.durable_position
    )?;
    writeln!(
        out,
        "frames      {}, last index {}, term {}",
        findings.frames, findings.last_index, findings.last_term
    )?;
    match &findings.chain {
        Some(chain) => writeln!(out, "chain       {chain}")?,
        None => writeln!(
            out,
            "chain       none: each frame has a checksum of its own"
        )?,
    }
    let damaged = match findings.tail.tail {
        "damaged" => ": the figures are of what lies before the damage",
        _ => "",
    };
    let tail = findings.tail.text("are cut by the next start");
    writeln!(out, "tail        {tail}{damaged}")?;
    for it in &findings.segments {
        writeln!(
            out,
            "segment     {} frames {} index {}..{} time {} to {}",
            it.file,
            it.frames,
            it.first_index,
            it.last_index,
            it.first_time.as_deref().unwrap_or("none"),
            it.last_time.as_deref().unwrap_or("none")
        )?;
    }
    Ok(())
}
