//! Reads a script line by line and runs it, with the scripts that it includes.
//!
//! Called for plain runs and for checks. Whoever calls decides what happens with the events.
//!
//! Always holds: nothing runs past a line that is wrong. Lines that start with `>` say what is
//! expected and are passed on, not run. Events of included scripts are not passed on.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use super::error::{Failure, ScriptError};
use super::runner::{Outcome, Runner};
use crate::text::Misfit;

/// How deep scripts may include each other.
const INCLUDE_DEPTH_MAX: usize = 8;

/// Where a script comes from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The name that errors give it.
    pub name: String,
    /// Where the scripts that it includes are looked for; none where it may include none.
    pub folder: Option<PathBuf>,
}

impl Source {
    /// A script in a file.
    #[must_use]
    pub fn file(path: &Path) -> Self {
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        Self {
            name: path.display().to_string(),
            folder: Some(folder),
        }
    }
}

/// What a line was.
#[derive(Debug)]
pub enum Line<'a> {
    /// A statement, with the events that came of it.
    Ran(&'a [u8]),
    /// An expectation, as it is written after the `>`.
    Expectation(&'a str),
}

/// Runs a script to its end.
///
/// # Errors
/// The first line that is wrong, a file that cannot be read, or what `on_line` gives back.
pub fn run_lines(
    runner: &mut Runner,
    source: &Source,
    mut reader: impl BufRead,
    mut on_line: impl FnMut(usize, &str, &Line<'_>) -> Result<(), ScriptError>,
) -> Result<(), ScriptError> {
    let mut bytes = Vec::new();
    let mut batch_line = (0, String::new());
    for number in 1.. {
        bytes.clear();
        let read = reader.read_until(b'\n', &mut bytes);
        let read = read.map_err(|error| read_error(&source.name, error))?;
        if read == 0 {
            break;
        }
        let failure = |text: &str, misfit| fail(source, number, text, misfit);
        let text = match std::str::from_utf8(&bytes) {
            Ok(text) => text.trim_end_matches(['\n', '\r']),
            Err(error) => return Err(not_text(source, number, &bytes, error)),
        };
        if let Some(expectation) = text.trim_start().strip_prefix('>') {
            on_line(number, text, &Line::Expectation(expectation.trim()))?;
            continue;
        }
        let was_open = runner.batch_open();
        match runner
            .on_line(text)
            .map_err(|misfit| failure(text, misfit))?
        {
            Outcome::Nothing => on_line(number, text, &Line::Ran(&[]))?,
            Outcome::Events(events) => on_line(number, text, &Line::Ran(events))?,
            Outcome::Include { name, misfit } => {
                include(runner, source, &name, 1)
                    .map_err(|error| included(error, source, number, text, misfit))?;
                on_line(number, text, &Line::Ran(&[]))?;
            }
        }
        if runner.batch_open() && !was_open {
            batch_line = (number, text.to_owned());
        }
    }
    if runner.batch_open() {
        let misfit = Misfit {
            offset: 0,
            what: "this batch is never sent".to_owned(),
            expected: "`end` after its last command".to_owned(),
        };
        return Err(fail(source, batch_line.0, &batch_line.1, misfit));
    }
    Ok(())
}

fn include(
    runner: &mut Runner,
    source: &Source,
    name: &str,
    depth: usize,
) -> Result<(), ScriptError> {
    let Some(folder) = &source.folder else {
        return Err(read_error(name, std::io::ErrorKind::NotFound.into()));
    };
    let path = folder.join(name);
    if depth > INCLUDE_DEPTH_MAX {
        return Err(ScriptError::Depth {
            path,
            limit: INCLUDE_DEPTH_MAX,
        });
    }
    let bytes = std::fs::read(&path);
    let bytes = bytes.map_err(|error| read_error(&path.display().to_string(), error))?;
    let inner = Source::file(&path);
    for (line, number) in bytes.split(|byte| *byte == b'\n').zip(1..) {
        let text = match std::str::from_utf8(line) {
            Ok(text) => text.trim_end_matches('\r'),
            Err(error) => return Err(not_text(&inner, number, line, error)),
        };
        if text.trim_start().starts_with('>') {
            continue;
        }
        let outcome = runner.on_line(text);
        match outcome.map_err(|misfit| fail(&inner, number, text, misfit))? {
            Outcome::Nothing | Outcome::Events(_) => {}
            Outcome::Include { name, misfit } => {
                include(runner, &inner, &name, depth + 1)
                    .map_err(|error| included(error, &inner, number, text, misfit))?;
            }
        }
    }
    Ok(())
}

/// What went wrong in a script that a line included: the line's own fault where there is no such
/// script, else with the line named.
fn included(
    error: ScriptError,
    source: &Source,
    line: usize,
    text: &str,
    misfit: Misfit,
) -> ScriptError {
    match error {
        ScriptError::Read { .. } => {
            ScriptError::Missing(Box::new(failure(source, line, text, misfit)))
        }
        ScriptError::Line(mut failure) => {
            failure.included_by.push((source.name.clone(), line));
            ScriptError::Line(failure)
        }
        ScriptError::Missing(mut failure) => {
            failure.included_by.push((source.name.clone(), line));
            ScriptError::Missing(failure)
        }
        other => other,
    }
}

fn read_error(name: &str, source: std::io::Error) -> ScriptError {
    ScriptError::Read {
        path: PathBuf::from(name),
        source,
    }
}

fn fail(source: &Source, line: usize, text: &str, misfit: Misfit) -> ScriptError {
    ScriptError::Line(Box::new(failure(source, line, text, misfit)))
}

fn failure(source: &Source, line: usize, text: &str, misfit: Misfit) -> Failure {
    Failure {
        source: source.name.clone(),
        line,
        text: text.to_owned(),
        misfit,
        included_by: Vec::new(),
    }
}

fn not_text(source: &Source, line: usize, bytes: &[u8], error: std::str::Utf8Error) -> ScriptError {
    let misfit = Misfit {
        offset: error.valid_up_to(),
        what: "not UTF-8 text".to_owned(),
        expected: "a script in UTF-8; save the file again as such".to_owned(),
    };
    // What cannot be read as text is not shown as text.
    let text = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
    fail(source, line, &text, misfit)
}
