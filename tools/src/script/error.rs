//! What can go wrong with a script: the script itself, or the files around it.
//!
//! Always holds: the text names the place and says what to do.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::text::Misfit;

/// Why a script did not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// A line is wrong.
    #[error("{0}")]
    Line(Box<Failure>),
    /// A line includes a script that cannot be read.
    #[error("{0}")]
    Missing(Box<Failure>),
    /// A file cannot be read.
    #[error("{}: cannot be read: {source}; check the name, and that you may read it", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("{}: cannot be written: {source}; check that you may write there", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The events cannot be printed.
    #[error("standard output: cannot be written: {0}; check where it leads")]
    Output(io::Error),
    /// Scripts include each other without end.
    #[error("{}: scripts include each other more than {limit} deep; break the circle", path.display())]
    Depth {
        /// The script that was to be included.
        path: PathBuf,
        /// How deep they may go.
        limit: usize,
    },
}

/// A wrong line, and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The name of the script.
    pub source: String,
    /// The number of the line, from 1.
    pub line: usize,
    /// The line.
    pub text: String,
    /// What is wrong with it, and where in it.
    pub misfit: Misfit,
    /// The lines that included the script, the nearest first: script and line.
    pub included_by: Vec<(String, usize)>,
}

/// How much of a line is shown on either side of the place at fault, in characters.
const SHOWN: usize = 100;

impl Failure {
    /// The column in characters, from 1.
    #[must_use]
    pub fn column(&self) -> usize {
        let before = self.text.char_indices();
        before
            .take_while(|(place, _)| *place < self.misfit.offset)
            .count()
            + 1
    }
}

/// A text without the control characters in it: they could do anything to a terminal.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter.is_control() {
            true => out.extend(letter.escape_default()),
            false => out.push(letter),
        }
    }
    out
}

/// A character in the place of one, so that the mark stays where it belongs.
fn shown_as(letter: char) -> char {
    match u32::from(letter) {
        0x09 => ' ',
        code @ 0..=0x1f => char::from_u32(0x2400 + code).unwrap_or(' '),
        0x7f => '\u{2421}',
        _ if letter.is_control() => '\u{fffd}',
        _ => letter,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            source,
            line,
            text,
            misfit,
            included_by,
        } = self;
        let column = self.column();
        writeln!(
            formatter,
            "{source}:{line}:{column}: {}",
            escaped(&misfit.to_string())
        )?;
        // Controls, tabs among them, would move the mark away from its place.
        let before = column.saturating_sub(1 + SHOWN);
        let shown: String = text
            .chars()
            .skip(before)
            .take(2 * SHOWN)
            .map(shown_as)
            .collect();
        writeln!(formatter, "    {shown}")?;
        write!(formatter, "    {:>width$}", "^", width = column - before)?;
        for (script, line) in included_by {
            write!(formatter, "\n    included by {script}:{line}")?;
        }
        Ok(())
    }
}
