//! `exahour journal dump`: the frames of a journal, each with its commands in text.
//!
//! Called by `journal`.
//!
//! Always holds: every frame is checked before its first line is written. A damaged log is written out up
//! to the damage, which is then told.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;
use exahour_journal::{Frame, FrameHeader, KIND_RESTART, Position, Reader, Verify, inspect_good};
use exahour_replicas::FRAME_COMMANDS;
use exahour_wire::events::FrameEnd;
use exahour_wire::message::messages;
use exahour_wire::units::Nanos;
use serde::Serialize;

use super::whole::Whole;
use super::{Log, kind_name, log_folder, time_text, time_value};
use crate::output::{Output, unless_reader_left, write_json};
use crate::text::{JsonForm, Verbosity, write_line};

/// Write out the frames of a journal, each with its commands in text.
#[derive(Clone, Debug, Args)]
pub(super) struct Arguments {
    /// A node's data folder, or the journal in it.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Begin at the frame with this index.
    #[arg(long, value_name = "N", default_value_t = 1)]
    from_index: u64,
    /// Write this many frames, at most.
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    count: u64,
    /// Write out the event log instead of the journal.
    #[arg(long)]
    events: bool,
    /// Write JSON, one object a frame; messages in it have the field names of the schema.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct FrameLine<'a> {
    index: u64,
    term: u32,
    kind: &'static str,
    position: u64,
    bytes: u32,
    first_sequence: u64,
    count: u16,
    time: Option<String>,
    /// Whether a later frame stands in its place: it was never committed, or a snapshot stands for it.
    superseded: bool,
    messages: Vec<JsonForm<'a>>,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let log = if arguments.events {
        Log::Events
    } else {
        Log::Journal
    };
    let mut folder = log_folder(&arguments.folder, log)?;
    let whole = (log == Log::Journal).then(|| Whole::of(&folder));
    let whole = whole.transpose()?;
    if let Some(whole) = &whole {
        folder = whole.folder().to_path_buf();
    }
    let (recovered, damage) = inspect_good(&folder, Verify::Every)?;
    let reader = || Reader::closed(&folder, &recovered, Verify::Trust);
    let steps = Steps::of(reader()?, recovered.appended)?;
    let mut reader = reader()?;
    let mut out = BufWriter::new(Output::lock());
    let mut written = 0;
    while written < arguments.count {
        let Some(frame) = reader.next(recovered.appended)? else {
            break;
        };
        if frame.header.index < arguments.from_index {
            continue;
        }
        written += 1;
        // The frames of an event log carry its events whatever their kind.
        let holds_messages = arguments.events || frame.header.kind == FRAME_COMMANDS;
        let payload = if holds_messages { frame.payload } else { &[] };
        let told = Told {
            superseded: steps.supersede(&frame),
            events: arguments.events,
        };
        let result = match arguments.json {
            true => write_json_frame(&frame, payload, told, &mut out),
            false => write_frame(&frame, payload, told, &mut out),
        };
        if let Err(error) = result {
            return unless_reader_left(error);
        }
    }
    if let Err(error) = out.flush() {
        return unless_reader_left(error.into());
    }
    if let Some(damage) = damage {
        return Err(damage.into());
    }
    ensure!(
        written > 0 || arguments.count == 0 || recovered.frames == 0,
        "there is no frame from index {} on: the last is {}",
        arguments.from_index,
        recovered.last_index
    );
    Ok(())
}

/// How a frame is told.
#[derive(Clone, Copy)]
struct Told {
    superseded: bool,
    /// Whether it is one of the event log.
    events: bool,
}

/// Where a log steps back, or begins anew: what stands before is superseded from an index on.
struct Steps(Vec<(Position, u64)>);

impl Steps {
    fn of(mut reader: Reader, end: Position) -> Result<Self> {
        let (mut steps, mut last) = (Vec::new(), 0);
        while let Some(frame) = reader.next(end)? {
            let index = frame.header.index;
            match frame.header.kind {
                KIND_RESTART => steps.push((frame.position, 0)),
                _ if index <= last => steps.push((frame.position, index)),
                _ => {}
            }
            last = index;
        }
        // From each on, the lowest index that any step supersedes.
        let mut lowest = u64::MAX;
        for (_, index) in steps.iter_mut().rev() {
            lowest = lowest.min(*index);
            *index = lowest;
        }
        Ok(Self(steps))
    }

    /// Whether a later frame stands for this one.
    fn supersede(&self, frame: &Frame<'_>) -> bool {
        let later = self.0.partition_point(|(at, _)| *at <= frame.position);
        let from = self.0.get(later).map(|(_, index)| *index);
        from.is_some_and(|from| frame.header.index >= from)
    }
}

fn kind(header: &FrameHeader, events: bool) -> &'static str {
    match FrameEnd::of_kind(header.kind).filter(|_| events) {
        Some(FrameEnd::Command) => "events",
        Some(FrameEnd::Anywhere) => "events-continued",
        None => kind_name(header.kind),
    }
}

fn write_frame(frame: &Frame<'_>, payload: &[u8], told: Told, out: &mut impl Write) -> Result<()> {
    let header = frame.header;
    writeln!(
        out,
        "frame index={} term={} kind={} position={} bytes={} first={} count={} time={}{}",
        header.index,
        header.term,
        kind(header, told.events),
        frame.position,
        header.length,
        header.first_sequence,
        header.count,
        time_text(Nanos(header.time_ns)),
        if told.superseded { " superseded" } else { "" },
    )?;
    let mut line = String::new();
    for (number, message) in (header.first_sequence..).zip(messages(payload)) {
        line.clear();
        write_line(message, Verbosity::Full, &mut line)?;
        writeln!(out, "  {number} {line}")?;
    }
    Ok(())
}

fn write_json_frame(
    frame: &Frame<'_>,
    payload: &[u8],
    told: Told,
    out: &mut impl Write,
) -> Result<()> {
    let header = frame.header;
    let mut forms = Vec::new();
    for message in messages(payload) {
        forms.push(JsonForm::new(message)?);
    }
    let line = FrameLine {
        index: header.index,
        term: header.term,
        kind: kind(header, told.events),
        position: frame.position.value(),
        bytes: header.length,
        first_sequence: header.first_sequence,
        count: header.count,
        time: time_value(Nanos(header.time_ns)),
        superseded: told.superseded,
        messages: forms,
    };
    write_json(out, &line)
}
