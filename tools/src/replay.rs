//! `exahour replay`: the state rebuilt from a journal, compared at every checkpoint.
//!
//! Called by the command line.
//!
//! Always holds: nothing is written; a journal that is damaged, or gives another state than it
//! states, is refused with the place.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use exahour_engine::EventSink;
use exahour_journal::{FrameRef, Reader, Verify, inspect};
use exahour_replicas::{Replay, ReplayReport};
use exahour_wire::events::{EventPrefix, StateHashed};
use exahour_wire::message::{Digest, Message, messages, peek_length};
use exahour_wire::units::Nanos;
use serde::Serialize;

use crate::exit::{finding, judged};
use crate::journal::whole::Whole;
use crate::journal::{Log, TailFindings, hex, log_folder, refuse_event_log, time_text, time_value};
use crate::output::{print, print_json};
use crate::progress::byte_bar;

/// Frames applied between two looks at the progress.
const FRAMES_A_STEP: u64 = 1 << 12;

/// Rebuild the state from a journal and compare its hash at every checkpoint.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// A node's data folder, or the journal in it. While the node runs, what its journal holds at the
    /// start of the replay is replayed.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Compare every event with those that the node wrote.
    #[arg(long)]
    compare_events: bool,
    /// Write one JSON object.
    #[arg(long)]
    json: bool,
}

/// What is said of a replay.
#[derive(Debug, Serialize)]
struct Findings {
    frames: u64,
    /// The frame behind which the replay began, from a snapshot: the journal has nothing before it.
    began_behind: Option<u64>,
    /// Segments that the journal has given up, read from the archive beside it.
    segments_from_archive: usize,
    commands: u64,
    events: u64,
    checkpoints: u64,
    /// Snapshots beside the journal that hold the state which the replay gives.
    snapshots: u64,
    /// Those that are damaged or of another journal, each in a sentence.
    snapshots_passed_over: Vec<String>,
    /// Seconds until the first command is applied: finding the end, making room.
    open_s: f64,
    /// Seconds of applying the commands and, beside it, verifying every frame.
    replay_s: f64,
    commands_per_s: f64,
    last_time: Option<String>,
    #[serde(flatten)]
    tail: TailFindings,
    /// The last hash that the journal's node put into an event, and the command it stands after.
    last_hash: Option<String>,
    last_hash_command: Option<u64>,
    /// Events that were compared with those on disk.
    events_compared: Option<u64>,
    /// Events that the journal gives and the event log ends before.
    events_missing: Option<u64>,
    state_hash: String,
}

/// Replays a journal and prints what was found.
///
/// # Errors
/// Where there is no journal, it is damaged, the state diverges, or an event differs.
pub fn run(arguments: &Arguments) -> Result<()> {
    replay(arguments).map_err(judged)
}

fn replay(arguments: &Arguments) -> Result<()> {
    let journal = Whole::of(&log_folder(&arguments.folder, Log::Journal)?)?;
    let folder = journal.folder();
    let stored = match arguments.compare_events {
        true => Some(StoredEvents::open(&log_folder(
            &arguments.folder,
            Log::Events,
        )?)?),
        false => None,
    };
    let begun = Instant::now();
    let mut replay = Replay::open(folder)?;
    refuse_event_log(folder, replay.recovered())?;
    let open_seconds = begun.elapsed().as_secs_f64();
    let mut watch = Watch {
        hashed: None,
        stored,
    };
    let bar = byte_bar(replay.progress().1, "replay");
    let begun = Instant::now();
    let walked = walk(&mut replay, &mut watch, &bar);
    bar.finish_and_clear();
    if let Err(error) = walked {
        // What a damaged frame gives is no finding; the damage is.
        replay.report()?;
        return Err(error);
    }
    // The report waits for the verification that runs beside the replay.
    let report = replay.report()?;
    let replay_seconds = begun.elapsed().as_secs_f64();
    watch.finish(&report)?;
    let compared = watch.stored.as_ref().map(|it| (it.compared, it.missing));
    let findings = findings(
        (&report, journal.archived),
        open_seconds,
        replay_seconds,
        watch.hashed,
        compared,
    );
    if arguments.json {
        print_json(&findings)?;
    } else {
        print(&text(&findings))?;
    }
    match compared {
        Some((0, missing @ 1..)) => Err(finding(anyhow!(
            "nothing was compared: the event log has none of the {missing} events that the journal gives"
        ))),
        _ => Ok(()),
    }
}

/// Applies the whole journal.
fn walk(replay: &mut Replay, watch: &mut Watch, bar: &indicatif::ProgressBar) -> Result<()> {
    while replay.step(FRAMES_A_STEP, watch)? {
        bar.set_position(replay.progress().0);
        watch.check()?;
    }
    watch.check()
}

fn findings(
    (report, archived): (&ReplayReport, usize),
    open_seconds: f64,
    replay_seconds: f64,
    hashed: Option<(u64, Digest)>,
    compared: Option<(u64, u64)>,
) -> Findings {
    Findings {
        frames: report.frames,
        began_behind: (report.began_behind > 0).then_some(report.began_behind),
        segments_from_archive: archived,
        commands: report.commands,
        events: report.events,
        checkpoints: report.checkpoints,
        snapshots: report.snapshots,
        snapshots_passed_over: report.snapshots_passed_over.clone(),
        open_s: open_seconds,
        replay_s: replay_seconds,
        commands_per_s: report.commands as f64 / replay_seconds.max(1e-9),
        last_time: time_value(report.time),
        tail: TailFindings::of(report.recovered.tail),
        last_hash: hashed.map(|(_, hash)| hex(&hash.0)),
        last_hash_command: hashed.map(|(command, _)| command),
        events_compared: compared.map(|it| it.0),
        events_missing: compared.map(|it| it.1),
        state_hash: hex(&report.state_hash.0),
    }
}

fn text(findings: &Findings) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_text(findings, &mut out);
    out
}

fn write_text(findings: &Findings, out: &mut String) -> std::fmt::Result {
    if let Some(index) = findings.began_behind {
        writeln!(
            out,
            "began        from the snapshot behind frame {index}: what came before is not here"
        )?;
    }
    if findings.segments_from_archive > 0 {
        let archived = findings.segments_from_archive;
        writeln!(out, "archive      {archived} segments of it")?;
    }
    writeln!(out, "frames       {}", findings.frames)?;
    writeln!(out, "commands     {}", findings.commands)?;
    writeln!(out, "events       {}", findings.events)?;
    writeln!(
        out,
        "seconds      {:.3} to open, {:.3} to verify and replay",
        findings.open_s, findings.replay_s
    )?;
    writeln!(
        out,
        "rate         {:.0} commands a second",
        findings.commands_per_s
    )?;
    writeln!(out, "checkpoints  {}, all equal", findings.checkpoints)?;
    if findings.snapshots > 0 {
        writeln!(out, "snapshots    {}, all equal", findings.snapshots)?;
    }
    for sentence in &findings.snapshots_passed_over {
        writeln!(out, "not compared {sentence}")?;
    }
    if let Some(compared) = findings.events_compared {
        let equal = if compared > 0 { ", all equal" } else { "" };
        writeln!(out, "compared     {compared} events on disk{equal}")?;
    }
    if let Some(missing) = findings.events_missing.filter(|it| *it > 0) {
        writeln!(
            out,
            "missing      {missing} events: the event log ends before them, and the next start writes them"
        )?;
    }
    let last = findings.last_time.as_deref().unwrap_or("none");
    writeln!(out, "last batch   {last}")?;
    let tail = findings.tail.text("are left out");
    writeln!(out, "tail         {tail}")?;
    if let (Some(hash), Some(command)) = (&findings.last_hash, findings.last_hash_command) {
        writeln!(out, "last hash    {hash} after command {command}")?;
    }
    writeln!(out, "state hash   {}", findings.state_hash)
}

/// Looks at every event of a replay.
struct Watch {
    hashed: Option<(u64, Digest)>,
    stored: Option<StoredEvents>,
}

impl EventSink for Watch {
    fn emit(&mut self, event: &[u8]) {
        if let Some(hashed) = StateHashed::read(event) {
            self.hashed = Some((hashed.command.0, hashed.state_hash));
        }
        if let Some(stored) = &mut self.stored {
            stored.compare(event);
        }
    }
}

impl Watch {
    fn check(&mut self) -> Result<()> {
        match self.stored.as_mut().and_then(|it| it.failure.take()) {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    /// Refuses an event log that goes on beyond the journal.
    fn finish(&mut self, report: &ReplayReport) -> Result<()> {
        let Some(stored) = &mut self.stored else {
            return Ok(());
        };
        if stored.advance()? {
            return Err(finding(anyhow!(
                "event log: it goes on beyond event {}, the last that the journal gives: it does \
                 not belong to this journal",
                report.events
            )));
        }
        Ok(())
    }
}

/// The events that a node wrote, read beside the replay.
struct StoredEvents {
    reader: Reader,
    end: exahour_journal::Position,
    frame: Option<FrameRef>,
    /// The place of the next event in the frame.
    offset: usize,
    compared: u64,
    /// Events of the replay behind the last on disk.
    missing: u64,
    /// Whether the first event of the replay has been looked for: it need not be the first on disk.
    begun: bool,
    ended: bool,
    failure: Option<anyhow::Error>,
}

impl StoredEvents {
    fn open(folder: &Path) -> Result<Self> {
        let recovered = inspect(folder, Verify::Every).context("event log")?;
        let reader = Reader::closed(folder, &recovered, Verify::Trust).context("event log")?;
        Ok(Self {
            reader,
            end: recovered.appended,
            frame: None,
            offset: 0,
            compared: 0,
            missing: 0,
            begun: false,
            ended: false,
            failure: None,
        })
    }

    /// Goes to the next event on disk; whether there is one.
    fn advance(&mut self) -> Result<bool> {
        loop {
            let left = self
                .frame
                .as_ref()
                .is_some_and(|frame| self.offset < frame.payload().len());
            if left {
                return Ok(true);
            }
            self.frame = self.reader.next_ref(self.end).context("event log")?;
            self.offset = 0;
            if self.frame.is_none() {
                return Ok(false);
            }
        }
    }

    /// Goes to the event on disk that has the number of this one, or a higher one; whether there is one.
    fn skip_to(&mut self, event: &[u8]) -> Result<bool> {
        let number = |event: &[u8]| EventPrefix::peek(event).map(|it| it.event);
        let wanted = number(event);
        while self.advance()? {
            let Some(frame) = &self.frame else { break };
            let rest = &frame.payload()[self.offset..];
            let Some(on_disk) = messages(rest).next().filter(|it| number(it) < wanted) else {
                return Ok(true);
            };
            self.offset += on_disk.len();
        }
        Ok(false)
    }

    fn compare(&mut self, event: &[u8]) {
        // An event log that ends early is written on by the next start; what it has must agree.
        if self.ended || self.failure.is_some() {
            self.missing += u64::from(self.ended);
            return;
        }
        let begun = std::mem::replace(&mut self.begun, true);
        let at = match begun {
            true => self.advance(),
            false => self.skip_to(event),
        };
        match at {
            Ok(true) => {}
            Ok(false) => {
                self.ended = true;
                self.missing = 1;
                return;
            }
            Err(error) => {
                self.failure = Some(error);
                return;
            }
        }
        let Some(frame) = &self.frame else { return };
        let rest = &frame.payload()[self.offset..];
        let on_disk = messages(rest).next().unwrap_or(rest);
        if on_disk == event {
            self.compared += 1;
            self.offset += event.len();
            return;
        }
        self.failure = Some(difference(event, on_disk));
    }
}

/// Says where the replay and the event log part.
fn difference(event: &[u8], on_disk: &[u8]) -> anyhow::Error {
    let name = |event: &[u8]| {
        let mut line = String::new();
        match crate::text::write_line(event, crate::text::Verbosity::Full, &mut line) {
            Ok(()) => line,
            Err(_) => format!(
                "{} bytes that are no event",
                peek_length(event).unwrap_or(0)
            ),
        }
    };
    let place = EventPrefix::peek(event).map_or((0, Nanos(0)), |it| (it.event.0, it.time));
    finding(anyhow!(
        "event {} of {} differs: the journal gives `{}`, the event log has `{}`; remove the event \
         log, and the next start writes it again from the journal",
        place.0,
        time_text(place.1),
        name(event),
        name(on_disk),
    ))
}
