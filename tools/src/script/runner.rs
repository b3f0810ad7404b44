//! Runs the lines of a script through a fresh engine, one after the other.
//!
//! Called with every line of a file, of standard input, or of a test. Gives back the events of each
//! line as the engine wrote them.
//!
//! Always holds: a line that is refused has sent nothing, and time never goes back.
//! Does not: print, compare, or open a file.

use std::collections::VecDeque;

use exahour_engine::{ApplyError, Batch, Capacity, Engine};
use exahour_wire::events::EventPrefix;
use exahour_wire::ids::CommandSequence;
use exahour_wire::internal::{Checkpoint, TakeStateHash};
use exahour_wire::limits::BATCH_MESSAGES_MAX;
use exahour_wire::message::{Message, messages};
use exahour_wire::units::Nanos;

use super::memory::{Memory, Sessions};
use super::phrase::Word;
use super::statement::{Draft, Numbering, Statement, parse};
use crate::text::Misfit;

/// The room made for live orders: enough for a long script, and ready at once.
const ORDERS_EXPECTED: u32 = 1 << 17;

/// How many hashes the engine keeps for checkpoints to be compared with.
const HASHES_KEPT: usize = 8;

/// A script in the middle of its run.
pub struct Runner {
    /// The commands after which the state was hashed, as far as the engine still knows the hash.
    hashed: VecDeque<CommandSequence>,
    engine: Engine,
    memory: Memory,
    batch: Option<OpenBatch>,
    ready: Vec<u8>,
    events: Vec<u8>,
    counts: Counts,
}

/// A batch that is being gathered.
#[derive(Debug)]
struct OpenBatch {
    commands: Vec<u8>,
    count: usize,
    /// What was known of sessions before it.
    before: Sessions,
}

/// What has run so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines, with comments and blanks.
    pub lines: u64,
    /// Commands sent.
    pub commands: u64,
    /// Events that came of them.
    pub events: u64,
}

/// What came of a line.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// Nothing was sent: a comment, a change of time, a command that waits for its batch.
    Nothing,
    /// A batch was sent; these are its events, one after the other.
    Events(&'a [u8]),
    /// Another script is to run here, by this name.
    Include {
        /// The name as written, without its quotes.
        name: String,
        /// The refusal of the line, should the script not be there.
        misfit: Misfit,
    },
}

impl Default for Runner {
    fn default() -> Self {
        Self {
            engine: Engine::new(&Capacity {
                orders: ORDERS_EXPECTED,
                ..Capacity::default()
            }),
            hashed: VecDeque::new(),
            memory: Memory::default(),
            batch: None,
            ready: Vec::new(),
            events: Vec::new(),
            counts: Counts::default(),
        }
    }
}

impl Runner {
    /// A runner with an empty exchange, at 2026-01-01T00:00:00Z.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What has run so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Runs one line.
    ///
    /// # Errors
    /// [`Misfit`] with the place within the line; the line has then changed nothing.
    pub fn on_line(&mut self, line: &str) -> Result<Outcome<'_>, Misfit> {
        self.counts.lines += 1;
        match parse(line, &self.memory)? {
            Statement::Nothing => Ok(Outcome::Nothing),
            Statement::At(time) => self.on_time(line, time),
            Statement::BatchBegin => match self.batch {
                Some(_) => Err(misfit_of(
                    line,
                    "a batch is open already",
                    "`end` before it",
                )),
                None => {
                    self.batch = Some(OpenBatch {
                        commands: Vec::new(),
                        count: 0,
                        before: self.memory.sessions(),
                    });
                    Ok(Outcome::Nothing)
                }
            },
            Statement::BatchEnd => match self.batch.take() {
                None => Err(misfit_of(line, "no batch is open", "`batch` before it")),
                Some(batch) if batch.commands.is_empty() => Ok(Outcome::Nothing),
                Some(batch) => {
                    self.ready = batch.commands;
                    self.apply(line, Some(batch.before))
                }
            },
            Statement::Include(word) => self.on_include(word),
            Statement::Commands(drafts) => self.on_commands(line, drafts),
        }
    }

    /// Whether a batch was begun and not ended.
    #[must_use]
    pub fn batch_open(&self) -> bool {
        self.batch.is_some()
    }

    fn on_time(&mut self, line: &str, time: Nanos) -> Result<Outcome<'_>, Misfit> {
        if self.batch.is_some() {
            return Err(misfit_of(line, "a batch has one time", "`end` before it"));
        }
        if time < self.memory.now {
            let mut now = String::new();
            crate::text::write_time(self.memory.now, &mut now);
            return Err(misfit_of(
                line,
                "time does not go back",
                &format!("{now} or later"),
            ));
        }
        self.memory.now = time;
        Ok(Outcome::Nothing)
    }

    fn on_include(&mut self, word: Word<'_>) -> Result<Outcome<'_>, Misfit> {
        if self.batch.is_some() {
            return Err(word.misfit("a batch is open", "`end` before it"));
        }
        let inner = word
            .text
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'));
        match inner.filter(|name| !name.is_empty()) {
            Some(name) => Ok(Outcome::Include {
                name: name.to_owned(),
                misfit: word.misfit(format!("{name} cannot be read"), "a script beside this one"),
            }),
            None => Err(word.misfit(
                format!("`{}` is not a name in double quotes", word.text),
                "such as `include \"market.script\"`",
            )),
        }
    }

    fn on_commands(&mut self, line: &str, drafts: Vec<Draft>) -> Result<Outcome<'_>, Misfit> {
        let waiting = self.batch.as_ref().map_or(0, |batch| batch.count);
        if waiting + drafts.len() > BATCH_MESSAGES_MAX {
            let what = format!("a batch holds at most {BATCH_MESSAGES_MAX} commands");
            return Err(misfit_of(line, &what, "`end` before it"));
        }
        self.check_hashes(line, waiting, &drafts)?;
        self.ready.clear();
        for mut draft in drafts {
            if draft.numbering == Numbering::Automatic {
                draft.set_sequence(self.memory.session(draft.session()).next_sequence);
            }
            self.memory.on_command(&draft.message);
            match &mut self.batch {
                Some(batch) => {
                    batch.commands.extend_from_slice(&draft.message);
                    batch.count += 1;
                }
                None => self.ready.extend_from_slice(&draft.message),
            }
        }
        if self.batch.is_some() {
            Ok(Outcome::Nothing)
        } else {
            self.apply(line, None)
        }
    }

    /// Refuses a checkpoint that the engine would pass over because it has no hash to compare it with;
    /// `send` sends one all the same.
    fn check_hashes(&mut self, line: &str, waiting: usize, drafts: &[Draft]) -> Result<(), Misfit> {
        let states = line.split_whitespace().next() == Some("checkpoint");
        let first = self.counts.commands + 1 + waiting as u64;
        for (draft, number) in drafts.iter().zip(first..) {
            if TakeStateHash::read(&draft.message).is_some() {
                if self.hashed.len() == HASHES_KEPT {
                    self.hashed.pop_front();
                }
                self.hashed.push_back(CommandSequence(number));
            } else if let Some(checkpoint) = Checkpoint::read(&draft.message).filter(|_| states) {
                let at = checkpoint.at_command;
                if !self.hashed.contains(&at) {
                    let kept: Vec<String> = self.hashed.iter().map(ToString::to_string).collect();
                    return Err(misfit_of(
                        line,
                        &format!("no hash was taken at command {at}, so nothing would be compared"),
                        &match kept.is_empty() {
                            true => "`hash` before it".to_owned(),
                            false => format!("one of the commands {}", kept.join(", ")),
                        },
                    ));
                }
            }
        }
        Ok(())
    }

    /// Sends what is ready as one batch. Where it was gathered from several lines, `before` is what
    /// was known of sessions then: what was assumed meanwhile is replaced by what happened.
    fn apply(&mut self, line: &str, before: Option<Sessions>) -> Result<Outcome<'_>, Misfit> {
        let first = CommandSequence(self.counts.commands + 1);
        let batch = Batch {
            time: self.memory.now,
            first,
            commands: &self.ready,
        };
        self.events.clear();
        let applied = self.engine.apply(&batch, &mut self.events);
        applied.map_err(|error| {
            let expected = match error {
                ApplyError::Divergence(_) => "the hash that this state has",
                ApplyError::UnknownBehaviour(_) => "a behaviour that this program can do",
            };
            misfit_of(line, &error.to_string(), expected)
        })?;
        let replayed = before.is_some();
        if let Some(before) = before {
            self.memory.put_back(before);
        }
        let mut events = messages(&self.events).peekable();
        for (command, number) in messages(&self.ready).zip(first.0..) {
            self.counts.commands += 1;
            if replayed {
                self.memory.on_command(command);
            }
            let caused = |event: &&[u8]| {
                EventPrefix::peek(event).is_some_and(|prefix| prefix.command.0 <= number)
            };
            while let Some(event) = events.next_if(caused) {
                self.counts.events += 1;
                self.memory.on_event(event);
            }
        }
        Ok(Outcome::Events(&self.events))
    }
}

/// A refusal of a whole line, at its first word.
fn misfit_of(line: &str, what: &str, expected: &str) -> Misfit {
    let offset = line.len() - line.trim_start().len();
    Misfit {
        offset,
        what: what.to_owned(),
        expected: expected.to_owned(),
    }
}
