//! `exahour script`: runs a text script of commands through a fresh engine and prints every event.
//!
//! Called by the command line. The language is documented in docs/SCRIPT.md, whose examples are
//! run by a test.
//!
//! Always holds: the same script prints the same bytes, on every machine; statistics alone differ.
//! Does not: open a socket or a journal; nothing it does outlives it.

mod check;
mod error;
mod expectation;
mod lines;
mod memory;
mod operations;
mod order_entry;
mod phases;
mod phrase;
mod quotes;
mod runner;
mod session_control;
mod statement;

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::bail;
use exahour_wire::message::messages;

pub use check::{Verdict, check_after, check_expected, check_script, expected_file};
pub use error::{Failure, ScriptError};
pub use expectation::{Comparison, Expectation, brief};
pub use lines::{Line, Source, run_lines};
pub use runner::{Counts, Outcome, Runner};

use crate::exit::{Ending, finding};
use crate::output::{print_json, tell};
use crate::text::{Verbosity, json_of, write_line};

/// Run a text script of commands through a fresh exchange and print every event, one line each
///
/// The language is described in docs/SCRIPT.md. A first script:
///
///   participant 1 "Alpha"
///   account 100 of 1 deposit 1000
///   session 1 of 1 may trade
///   instrument 1 GPU-H100-EU spot
///   connect 1
///   1: buy 10 @ 2.50 id 7
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// The script, or `-` for standard input.
    pub file: PathBuf,
    /// Print events as JSON, one object a line.
    #[arg(long, conflicts_with_all = ["brief", "quiet", "check", "update"])]
    pub json: bool,
    /// Leave out event number, time, command number and fields that hold nothing.
    #[arg(long, conflicts_with_all = ["quiet", "check", "update"])]
    pub brief: bool,
    /// Print no events, only errors.
    #[arg(long)]
    pub quiet: bool,
    /// Compare the events with the `>` lines of the script, and with FILE.expected if it is there.
    #[arg(long)]
    pub check: bool,
    /// Rewrite the expected events as they came (so does `--check` with UPDATE_EXPECT=1).
    #[arg(long)]
    pub update: bool,
    /// Print at the end what ran and how fast: to standard error; with --json, as the last line of the
    /// output (`"row": "summary"`).
    #[arg(long)]
    pub stats: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// The first line that is wrong, a file that cannot be read or written, or standard input that is to
/// be rewritten.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.update && arguments.file == Path::new("-") {
        bail!(
            "--update: standard input cannot be rewritten: name the script's file instead of `-`"
        );
    }
    let start = Instant::now();
    let (counts, exit) = run_script(arguments).map_err(|error| match error {
        // The script is what was looked at; the files around it are not.
        ScriptError::Line(_) | ScriptError::Depth { .. } => finding(error),
        error => error.into(),
    })?;
    if arguments.stats {
        print_stats(counts, start, arguments.json)?;
    }
    Ok(exit)
}

fn run_script(arguments: &Arguments) -> Result<(Counts, ExitCode), ScriptError> {
    if arguments.check || arguments.update {
        check(arguments)
    } else {
        Ok((play(arguments)?, ExitCode::SUCCESS))
    }
}

fn open(path: &Path) -> Result<(Source, Box<dyn BufRead>), ScriptError> {
    if path == Path::new("-") {
        let source = Source {
            name: "-".to_owned(),
            folder: Some(PathBuf::new()),
        };
        return Ok((source, Box::new(io::stdin().lock())));
    }
    let file = File::open(path);
    let file = file.map_err(|source| ScriptError::Read {
        path: path.to_owned(),
        source,
    })?;
    Ok((
        Source::file(path),
        Box::new(BufReader::with_capacity(1 << 16, file)),
    ))
}

/// Runs the script and prints its events.
fn play(arguments: &Arguments) -> Result<Counts, ScriptError> {
    let (source, reader) = open(&arguments.file)?;
    let mut runner = Runner::new();
    // Somebody who types line by line wants to see what happens; a file is printed in large pieces.
    let prompt = source.name == "-";
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let mut line = String::new();
    let played = run_lines(&mut runner, &source, reader, |_, _, ran| {
        let Line::Ran(events) = ran else {
            return Ok(());
        };
        if arguments.quiet {
            return Ok(());
        }
        for event in messages(events) {
            print_event(event, arguments, &mut line, &mut out).map_err(ScriptError::Output)?;
        }
        if prompt {
            out.flush().map_err(ScriptError::Output)
        } else {
            Ok(())
        }
    });
    let flushed = out.flush().map_err(ScriptError::Output);
    match played.and(flushed) {
        // Whoever read our output has seen enough.
        Err(ScriptError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => {}
        other => other?,
    }
    Ok(runner.counts())
}

fn print_event(
    event: &[u8],
    arguments: &Arguments,
    line: &mut String,
    out: &mut impl Write,
) -> io::Result<()> {
    if arguments.json {
        let mut object = json_of(event).map_err(io::Error::other)?;
        object.push(b'\n');
        return out.write_all(&object);
    }
    let verbosity = if arguments.brief {
        Verbosity::Brief
    } else {
        Verbosity::Full
    };
    line.clear();
    write_line(event, verbosity, line).map_err(io::Error::other)?;
    line.push('\n');
    out.write_all(line.as_bytes())
}

/// Compares the events with what is expected, or rewrites what is expected.
fn check(arguments: &Arguments) -> Result<(Counts, ExitCode), ScriptError> {
    let (source, reader) = open(&arguments.file)?;
    let verdict = check_script(&source, reader)?;
    let mut differences = verdict.differences;
    let expected = expected_file(&arguments.file);
    let mut rewritten = vec![(arguments.file.clone(), verdict.updated)];
    match std::fs::read_to_string(&expected) {
        Ok(lines) => {
            let (more, updated) = check_expected(&expected, &lines, &verdict.events)?;
            differences.push_str(&more);
            rewritten.push((expected, updated));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(source) => {
            return Err(ScriptError::Read {
                path: expected,
                source,
            });
        }
    }
    if differences.is_empty() {
        return Ok((verdict.counts, ExitCode::SUCCESS));
    }
    if update_wanted(arguments) && source.name != "-" {
        for (path, text) in rewritten {
            std::fs::write(&path, text).map_err(|source| ScriptError::Write { path, source })?;
        }
        return Ok((verdict.counts, ExitCode::SUCCESS));
    }
    // Differences are the result that was asked for; where nobody reads them, nothing is lost.
    let _ = write!(io::stdout().lock(), "{differences}");
    Ok((verdict.counts, ExitCode::from(Ending::Bad.code())))
}

fn update_wanted(arguments: &Arguments) -> bool {
    arguments.update || std::env::var_os("UPDATE_EXPECT").is_some_and(|value| value == "1")
}

fn print_stats(counts: Counts, start: Instant, json: bool) -> anyhow::Result<()> {
    let elapsed = start.elapsed();
    let micros = elapsed.as_micros().max(1);
    let rate = u128::from(counts.lines) * 1_000_000 / micros;
    let Counts {
        lines,
        commands,
        events,
    } = counts;
    if json {
        // Beside the events, which are told by their key `message`.
        return print_json(&serde_json::json!({
            "row": "summary",
            "lines": lines,
            "commands": commands,
            "events": events,
            "elapsed_s": elapsed.as_secs_f64(),
            "lines_per_s": rate,
        }));
    }
    tell(&format!(
        "{lines} lines, {commands} commands, {events} events in {}.{:03} s: {rate} lines a second",
        elapsed.as_secs(),
        elapsed.subsec_millis()
    ));
    Ok(())
}
