//! What a client sent and what it was told, version by version.
//!
//! Written by the client as it goes; compared with the history by `checks` when a run is over.
//!
//! Always holds: reports are noted in the order of their numbers, each once: anything else is refused when
//! it is noted.

use std::ops::Range;

use exahour_wire::events::{EventPrefix, SequenceGap};
use exahour_wire::ids::{CommandSequence, SessionId, SessionVersion};
use exahour_wire::message::Message;

use crate::trace::digest;

/// What is wrong with what a node said.
pub(crate) type Violation = String;

/// One version of a client's session.
#[derive(Clone, Debug)]
pub(crate) struct VersionTold {
    pub(crate) session: SessionId,
    pub(crate) version: SessionVersion,
    /// Whether the exchange accepted the version, as far as the client knows.
    pub(crate) opened: bool,
    /// The commands, the first one numbered 1, session and number filled in.
    pub(crate) sent: Vec<Vec<u8>>,
    /// The reports, the first one numbered 1: a digest, and the command that caused it.
    pub(crate) reports: Vec<(u64, CommandSequence)>,
    /// Numbers that were told as not applied.
    pub(crate) not_applied: Vec<Range<u32>>,
    /// Numbers that were answered as busy.
    pub(crate) busy: Vec<u32>,
}

impl VersionTold {
    pub(crate) fn new(session: SessionId, version: SessionVersion) -> Self {
        Self {
            session,
            version,
            opened: false,
            sent: Vec::new(),
            reports: Vec::new(),
            not_applied: Vec::new(),
            busy: Vec::new(),
        }
    }

    /// The number of the next message.
    pub(crate) fn next_sequence(&self) -> u32 {
        self.sent.len() as u32 + 1
    }

    /// The number of the next report.
    pub(crate) fn next_report(&self) -> u32 {
        self.reports.len() as u32 + 1
    }

    /// Takes a report: the next one, or one that it has, byte for byte.
    ///
    /// # Errors
    /// It is neither.
    pub(crate) fn on_report(
        &mut self,
        prefix: &EventPrefix,
        bytes: &[u8],
    ) -> Result<(), Violation> {
        let (number, own) = (prefix.sequence.0, digest(bytes));
        if number == self.next_report() {
            self.reports.push((own, prefix.command));
            return match SequenceGap::read(bytes) {
                Some(gap) => {
                    let from = gap.from_sequence.0;
                    self.on_not_applied(from..from.saturating_add(gap.count))
                }
                None => Ok(()),
            };
        }
        let known = self.reports.get((number as usize).wrapping_sub(1));
        match known {
            Some((digest, _)) if *digest == own => Ok(()),
            Some(_) => Err(format!("report {number} of {} changed", self.session.0)),
            None => Err(format!(
                "report {number} of session {} came where {} is the next",
                self.session.0,
                self.next_report()
            )),
        }
    }

    /// Takes the news that messages were not applied.
    ///
    /// # Errors
    /// It is about what was never sent.
    pub(crate) fn on_not_applied(&mut self, numbers: Range<u32>) -> Result<(), Violation> {
        if numbers.is_empty() || numbers.start == 0 || numbers.end > self.next_sequence() {
            return Err(format!(
                "session {} is told that {numbers:?} were not applied, and has sent {}",
                self.session.0,
                self.sent.len()
            ));
        }
        self.not_applied.push(numbers);
        Ok(())
    }

    /// Whether a message is known not to have been applied.
    pub(crate) fn is_lost(&self, number: u32) -> bool {
        self.busy.contains(&number) || self.not_applied.iter().any(|told| told.contains(&number))
    }
}
