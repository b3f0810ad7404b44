//! `script --check`: compares what a script does with what it says it does, or rewrites the latter.
//!
//! Called by the subcommand and by the tests that run every rule script and every example of the
//! documentation.
//!
//! Always holds: a command without expected lines is run and not compared; a lone `>` expects that
//! nothing happens. A rewritten script differs in its expected lines only.

use std::fmt::Write;
use std::io::BufRead;
use std::path::{Path, PathBuf};

use exahour_wire::message::messages;

use super::error::{Failure, ScriptError, escaped};
use super::expectation::{Comparison, Expectation};
use super::lines::{Line, Source, run_lines};
use super::runner::{Counts, Runner};
use crate::text::Misfit;

/// What a check found.
#[derive(Debug)]
pub struct Verdict {
    /// Every difference, as text; empty where all is as expected.
    pub differences: String,
    /// The script as it should be.
    pub updated: String,
    /// Expected lines that were compared.
    pub compared: u64,
    /// Every event that came, one after the other, included scripts left out.
    pub events: Vec<u8>,
    /// What ran.
    pub counts: Counts,
}

/// A block of expected lines, from the statement before it on.
#[derive(Default)]
struct Block {
    statement: (usize, String),
    events: Vec<u8>,
    indent: String,
    expected: Vec<Expectation>,
    begun: bool,
}

/// Runs a script and compares its events with the expected lines within it.
///
/// # Errors
/// A line that is wrong, or a file that cannot be read.
pub fn check_script(source: &Source, reader: impl BufRead) -> Result<Verdict, ScriptError> {
    let mut runner = Runner::new();
    check_after(&mut runner, source, reader)
}

/// As [`check_script`], going on from where a runner stands.
///
/// # Errors
/// As [`check_script`].
pub fn check_after(
    runner: &mut Runner,
    source: &Source,
    reader: impl BufRead,
) -> Result<Verdict, ScriptError> {
    let mut verdict = Verdict {
        differences: String::new(),
        updated: String::new(),
        compared: 0,
        events: Vec::new(),
        counts: Counts::default(),
    };
    let mut block = Block::default();
    run_lines(runner, source, reader, |number, text, line| {
        match line {
            Line::Ran(events) => {
                block.compare(source, &mut verdict);
                verdict.events.extend_from_slice(events);
                verdict.updated.push_str(text);
                verdict.updated.push('\n');
                block = Block {
                    statement: (number, text.to_owned()),
                    events: events.to_vec(),
                    ..Block::default()
                };
            }
            Line::Expectation(expectation) => {
                block.begun = true;
                block.indent = text[..text.len() - text.trim_start().len()].to_owned();
                if !expectation.is_empty() {
                    let expected = parse_expectation(source, number, text, expectation)?;
                    block.expected.push(expected);
                    verdict.compared += 1;
                }
            }
        }
        Ok(())
    })?;
    block.compare(source, &mut verdict);
    verdict.counts = runner.counts();
    Ok(verdict)
}

impl Block {
    fn compare(&self, source: &Source, verdict: &mut Verdict) {
        if !self.begun {
            return;
        }
        let events: Vec<_> = messages(&self.events).collect();
        let comparison = Comparison::new(&self.expected, &events);
        if !comparison.agrees() {
            let (line, text) = &self.statement;
            // Writing to a string cannot fail.
            let text = escaped(text);
            let _ = writeln!(verdict.differences, "{}:{line}: {text}", source.name);
            verdict.differences.push_str(&comparison.difference());
        }
        let updated = comparison.updated();
        if updated.is_empty() {
            let _ = writeln!(verdict.updated, "{}>", self.indent);
        }
        for line in updated {
            let _ = writeln!(verdict.updated, "{}> {line}", self.indent);
        }
    }
}

fn parse_expectation(
    source: &Source,
    line: usize,
    text: &str,
    expectation: &str,
) -> Result<Expectation, ScriptError> {
    Expectation::parse(expectation).map_err(|misfit| {
        let before = text.find(expectation).unwrap_or(0);
        let misfit = Misfit {
            offset: before + misfit.offset,
            ..misfit
        };
        ScriptError::Line(Box::new(Failure {
            source: source.name.clone(),
            line,
            text: text.to_owned(),
            misfit,
            included_by: Vec::new(),
        }))
    })
}

/// The file that may hold the expected events of a whole script: its name and `.expected`.
#[must_use]
pub fn expected_file(script: &Path) -> PathBuf {
    let mut name = script.as_os_str().to_owned();
    name.push(".expected");
    PathBuf::from(name)
}

/// Compares all events of a script with the lines of its own file of expected events; gives the
/// differences and the lines as they should be.
///
/// # Errors
/// A line of the file that is wrong.
pub fn check_expected(
    path: &Path,
    lines: &str,
    events: &[u8],
) -> Result<(String, String), ScriptError> {
    let source = Source::file(path);
    let mut expected = Vec::new();
    for (text, number) in lines.lines().zip(1..) {
        let trimmed = text.trim();
        if !trimmed.is_empty() {
            expected.push(parse_expectation(&source, number, text, trimmed)?);
        }
    }
    let events: Vec<_> = messages(events).collect();
    let comparison = Comparison::new(&expected, &events);
    let mut updated = comparison.updated().join("\n");
    updated.push('\n');
    if comparison.agrees() {
        return Ok((String::new(), updated));
    }
    Ok((
        format!("{}:\n{}", source.name, comparison.difference()),
        updated,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(script: &str) -> Verdict {
        let source = Source {
            name: "it".to_owned(),
            folder: None,
        };
        check_script(&source, script.as_bytes()).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn what_is_expected_is_compared_and_the_rest_is_not() {
        let verdict = check("participant 1\nparticipant 1\n> CommandRejected ...\n# end\n>\n");
        assert_eq!(verdict.differences, "");
        assert_eq!(verdict.compared, 1);
    }

    #[test]
    fn a_difference_is_shown_and_updated_in_place() {
        let script = "participant 1 \"Alpha\"\n  > ParticipantCreated participant=2 ...\n# after\n";
        let verdict = check(script);
        assert!(
            verdict
                .differences
                .starts_with("it:1: participant 1 \"Alpha\"\n")
        );
        assert!(
            verdict
                .differences
                .contains("      participant: 2 expected, 1 came\n")
        );
        assert!(
            verdict.updated.ends_with("# after\n"),
            "{}",
            verdict.updated
        );
        let again = check(&verdict.updated);
        assert_eq!(again.differences, "", "{}", verdict.updated);
        assert_eq!(again.updated, verdict.updated);
    }

    #[test]
    fn a_wrong_expectation_has_its_place() {
        let source = Source {
            name: "it".to_owned(),
            folder: None,
        };
        let error = check_script(&source, &b"tick\n  > Nonsense a=1\n"[..]).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("it:2:5: no message is named `Nonsense`"),
            "{error}"
        );
    }
}
