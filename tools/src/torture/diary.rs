//! What one client of the torture sent and was told, in a file of its own, a line each.
//!
//! ```text
//! sent SEQUENCE HEX            a message, as it went out, before it went out
//! told HEX                     a report, byte for byte
//! not-applied SEQUENCE COUNT   messages that were told as not applied
//! busy SEQUENCE                one that was refused for want of room
//! leader ADDRESS               the client has found the node that leads
//! superseded                   an older connection of its own was ended
//! done                         every message has been answered, and the reports are read to their end
//! ```
//! Written by `trader`, read by `check`.
//!
//! Always holds: a line is in the file, for whatever process reads it, before the next thing happens; so what
//! is checked is what a client knew, and no memory of ours.

use std::fmt::Write as _;
use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use exahour_wire::events::{OrderAccepted, OrderCancelled, OrderRejected};
use exahour_wire::message::Message;

use crate::exit::finding;

/// The file of a client, being written.
pub(super) struct Diary {
    file: File,
    path: PathBuf,
    line: String,
}

impl Diary {
    pub(super) fn create(path: &Path) -> Result<Self> {
        let file = File::options().write(true).create_new(true).open(path);
        Ok(Self {
            file: file.with_context(|| format!("cannot write {}", path.display()))?,
            path: path.to_path_buf(),
            line: String::with_capacity(1 << 10),
        })
    }

    pub(super) fn sent(&mut self, sequence: u32, message: &[u8]) -> Result<()> {
        self.line.clear();
        // Writing to a string cannot fail.
        let _ = write!(self.line, "sent {sequence} ");
        push_hex(&mut self.line, message);
        self.write()
    }

    pub(super) fn told(&mut self, report: &[u8]) -> Result<()> {
        self.line.clear();
        self.line.push_str("told ");
        push_hex(&mut self.line, report);
        self.write()
    }

    pub(super) fn note(&mut self, line: &str) -> Result<()> {
        self.line.clear();
        self.line.push_str(line);
        self.write()
    }

    fn write(&mut self) -> Result<()> {
        self.line.push('\n');
        let written = self.file.write_all(self.line.as_bytes());
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }
}

fn push_hex(line: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(line, "{byte:02x}");
    }
}

fn parse_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(byte).collect()
}

/// What a client knows of one of its messages in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Silent,
    Answered,
    NotApplied,
    Busy,
}

/// A message as it was sent, in short.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// Of its bytes.
    pub(super) hash: u64,
    pub(super) fate: Fate,
}

/// A file that was read, without its reports.
pub(super) struct Known {
    pub(super) path: PathBuf,
    /// By number, from 1.
    pub(super) sent: Vec<Sent>,
    pub(super) reports: u64,
    /// How often the client has found the leader.
    pub(super) leaders: u64,
}

/// A hash of a message, to know it again: the same in every run.
pub(super) fn hash_of(message: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(message);
    hasher.finish()
}

impl Known {
    /// Reads a file to its end.
    ///
    /// # Errors
    /// Where it is no diary; a finding, where the client was told two things of one message, or nothing.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let mut known = Self {
            path: path.to_path_buf(),
            sent: Vec::new(),
            reports: 0,
            leaders: 0,
        };
        let mut done = false;
        for line in lines(path)? {
            let line = line.with_context(|| format!("cannot read {}", path.display()))?;
            ensure!(!done, "{}: goes on behind its end", path.display());
            let (what, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match what {
                "sent" => known.on_sent(rest)?,
                "told" => known.on_told(&parse_hex(rest).unwrap_or_default())?,
                "not-applied" => {
                    let (from, count) = known.numbers(rest)?;
                    for sequence in from..from + count {
                        known.settle(sequence, Fate::NotApplied)?;
                    }
                }
                "busy" => {
                    let sequence = known.number(rest)?;
                    known.settle(sequence, Fate::Busy)?;
                }
                "leader" => known.leaders += 1,
                "superseded" => {}
                "done" => done = true,
                other => bail!("{}: {other} is no line of a diary", path.display()),
            }
        }
        ensure!(
            done,
            "{}: the client did not come to its end",
            path.display()
        );
        let silent = known.sent.iter().position(|it| it.fate == Fate::Silent);
        match silent {
            Some(place) => Err(known.wrong(&format!("nothing was said of message {}", place + 1))),
            None => Ok(known),
        }
    }

    fn wrong(&self, what: &str) -> anyhow::Error {
        finding(anyhow!("{}: {what}", self.path.display()))
    }

    fn number(&self, text: &str) -> Result<u32> {
        let number = text.trim().parse();
        number.with_context(|| format!("{}: {text} is no number", self.path.display()))
    }

    fn numbers(&self, text: &str) -> Result<(u32, u32)> {
        let (from, count) = text.split_once(' ').unwrap_or((text, ""));
        Ok((self.number(from)?, self.number(count)?))
    }

    fn on_sent(&mut self, rest: &str) -> Result<()> {
        let (sequence, hex) = rest.split_once(' ').unwrap_or((rest, ""));
        let sequence = self.number(sequence)?;
        let message =
            parse_hex(hex).with_context(|| format!("{}: no message", self.path.display()))?;
        ensure!(
            sequence as usize == self.sent.len() + 1,
            "{}: message {sequence} follows message {}",
            self.path.display(),
            self.sent.len()
        );
        self.sent.push(Sent {
            hash: hash_of(&message),
            fate: Fate::Silent,
        });
        Ok(())
    }

    fn on_told(&mut self, report: &[u8]) -> Result<()> {
        self.reports += 1;
        match answered(report) {
            Some(sequence) => self.settle(sequence, Fate::Answered),
            None => Ok(()),
        }
    }

    fn settle(&mut self, sequence: u32, fate: Fate) -> Result<()> {
        let place = (sequence as usize).wrapping_sub(1);
        let Some(sent) = self.sent.get_mut(place) else {
            return Err(self.wrong(&format!("told of message {sequence}, which was not sent")));
        };
        if sent.fate != Fate::Silent {
            let before = sent.fate;
            let what = format!("message {sequence} is told as {fate:?}, and was as {before:?}");
            return Err(self.wrong(&what));
        }
        sent.fate = fate;
        Ok(())
    }
}

/// The message that a report answers.
pub(super) fn answered(report: &[u8]) -> Option<u32> {
    if let Some(it) = OrderAccepted::read(report) {
        return Some(it.client_sequence.0);
    }
    if let Some(it) = OrderRejected::read(report) {
        return Some(it.client_sequence.0);
    }
    // The name of a cancel ends with its number.
    let cancelled = OrderCancelled::read(report).filter(|it| it.request.0 != 0);
    cancelled.map(|it| it.request.0 as u32)
}

/// The reports in a file, in the order they were told.
pub(super) struct Reports(Lines<BufReader<File>>);

impl Reports {
    pub(super) fn of(path: &Path) -> Result<Self> {
        Ok(Self(lines(path)?))
    }

    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>> {
        for line in self.0.by_ref() {
            let line = line.context("cannot read a diary")?;
            if let Some(hex) = line.strip_prefix("told ") {
                return Ok(Some(parse_hex(hex).context("a diary holds no report")?));
            }
        }
        Ok(None)
    }
}

fn lines(path: &Path) -> Result<Lines<BufReader<File>>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(BufReader::new(file).lines())
}

#[cfg(test)]
mod tests {
    use exahour_wire::ids::{ClientOrderId, MessageSequence};
    use exahour_wire::orders::NewOrder;

    use super::*;

    fn written(lines: impl FnOnce(&mut Diary)) -> Result<Known> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("client.diary");
        let mut diary = Diary::create(&path).unwrap();
        lines(&mut diary);
        Known::read(&path)
    }

    fn accepted(sequence: u32) -> OrderAccepted {
        OrderAccepted {
            client_sequence: MessageSequence(sequence),
            ..OrderAccepted::blank()
        }
    }

    #[test]
    fn what_was_written_is_known() {
        let order = NewOrder::blank();
        let known = written(|diary| {
            for sequence in 1..=4 {
                diary.sent(sequence, order.bytes()).unwrap();
            }
            diary.note("leader 127.0.0.1:1").unwrap();
            diary.told(accepted(1).bytes()).unwrap();
            diary.note("not-applied 2 2").unwrap();
            let cancelled = OrderCancelled {
                request: ClientOrderId(7 << 32 | 4),
                ..OrderCancelled::blank()
            };
            diary.told(cancelled.bytes()).unwrap();
            diary.note("done").unwrap();
        });
        let known = known.unwrap();
        let fates: Vec<Fate> = known.sent.iter().map(|it| it.fate).collect();
        assert_eq!(
            fates,
            [
                Fate::Answered,
                Fate::NotApplied,
                Fate::NotApplied,
                Fate::Answered
            ]
        );
        assert_eq!(known.sent[0].hash, hash_of(order.bytes()));
        assert_eq!((known.reports, known.leaders), (2, 1));
    }

    #[test]
    fn a_client_that_was_told_two_things_or_nothing_is_seen() {
        let order = NewOrder::blank();
        for (fault, why) in [
            (
                &["not-applied 1 1", "busy 1", "done"][..],
                "and was as NotApplied",
            ),
            (&["done"], "nothing was said of message 1"),
            (&["busy 2", "done"], "which was not sent"),
            (&["busy 1"], "did not come to its end"),
        ] {
            let known = written(|diary| {
                diary.sent(1, order.bytes()).unwrap();
                fault.iter().for_each(|line| diary.note(line).unwrap());
            });
            let told = known.err().unwrap().to_string();
            assert!(told.contains(why), "{fault:?}: {told}");
        }
    }
}
