//! Compares what the clients of a torture sent and were told with what its nodes left on disk.
//!
//! Called when nothing runs any more.
//!
//! Always holds: the facts are taken from the files alone; an answered order is in the history once, as it was
//! sent, what was told as not applied is not in it, and a session's reports are those that the history gives,
//! each once and in order.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use exahour_wire::events::{EventPrefix, OrderAccepted};
use exahour_wire::message::{Message, messages, peek_header};
use exahour_wire::orders::{CancelOrder, NewOrder};
use indicatif::ProgressBar;

use super::diary::{Fate, Known, Reports, hash_of};
use super::history::{Entry, Histories, Level};
use crate::exit::finding;

/// What was found, and it is well.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) level: Level,
    pub(super) sent: u64,
    pub(super) answered: u64,
    pub(super) not_applied: u64,
    pub(super) busy: u64,
    pub(super) reports: u64,
    /// How often a client found a leader.
    pub(super) leaders: u64,
}

/// A client's file, and how far the history has shown it true.
struct Client {
    session: u32,
    known: Known,
    reports: Reports,
    told: u64,
    /// By number, from 1: whether the history has the message.
    journaled: Vec<bool>,
    /// By the number in an order's name: whether it was accepted.
    accepted: Vec<bool>,
}

/// Checks everything.
///
/// # Errors
/// A finding, where a promise is broken.
pub(super) fn check(
    data: &[(u64, PathBuf)],
    last: u64,
    diaries: &[(u32, PathBuf)],
    bar: &ProgressBar,
) -> Result<Counts> {
    let mut clients = Vec::new();
    for (session, path) in diaries {
        clients.push(Client::open(*session, path)?);
    }
    let mut histories = Histories::open(data, last)?;
    while let Some(entry) = histories.next()? {
        check_commands(&mut clients, &entry)?;
        for event in messages(entry.events) {
            check_event(&mut clients, event)?;
        }
        bar.inc(1);
    }
    let mut counts = Counts {
        level: histories.level()?,
        ..Counts::default()
    };
    for client in clients {
        client.finish(&mut counts)?;
    }
    Ok(counts)
}

fn check_commands(clients: &mut [Client], entry: &Entry<'_>) -> Result<()> {
    for (number, command) in (entry.first..).zip(messages(entry.commands.unwrap_or_default())) {
        let template = peek_header(command).map_or(0, |header| header.template_id);
        if ![NewOrder::TEMPLATE_ID, CancelOrder::TEMPLATE_ID].contains(&template) {
            continue;
        }
        let (session, sequence) = (word(command, 8), word(command, 12));
        let Some(client) = clients.iter_mut().find(|it| it.session == session) else {
            let what = format!("command {number} is of session {session}, which is no client's");
            return Err(finding(anyhow!(what)));
        };
        client.on_journaled(sequence, command)?;
    }
    Ok(())
}

fn check_event(clients: &mut [Client], event: &[u8]) -> Result<()> {
    let Some(prefix) = EventPrefix::peek(event).filter(|prefix| prefix.sequence.0 != 0) else {
        return Ok(());
    };
    match clients.iter_mut().find(|it| it.session == prefix.session.0) {
        Some(client) => client.on_report(prefix.sequence.0, event),
        None => Ok(()),
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..at + 4).and_then(|it| it.try_into().ok());
    word.map_or(0, u32::from_le_bytes)
}

impl Client {
    fn open(session: u32, path: &Path) -> Result<Self> {
        let known = Known::read(path)?;
        let places = known.sent.len() + 1;
        Ok(Self {
            session,
            reports: Reports::of(path)?,
            known,
            told: 0,
            journaled: vec![false; places],
            accepted: vec![false; places],
        })
    }

    fn broken(&self, what: &str) -> anyhow::Error {
        finding(anyhow!("session {}: {what}", self.session))
    }

    /// The history has a message.
    fn on_journaled(&mut self, sequence: u32, command: &[u8]) -> Result<()> {
        let sent = self.known.sent.get((sequence as usize).wrapping_sub(1));
        let Some(sent) = sent.copied() else {
            return Err(self.broken(&format!(
                "message {sequence} is in the history, and was never sent"
            )));
        };
        if sent.hash != hash_of(command) {
            return Err(self.broken(&format!(
                "message {sequence} is in the history, but not as it was sent"
            )));
        }
        if sent.fate != Fate::Answered {
            let fate = sent.fate;
            return Err(self.broken(&format!(
                "message {sequence} is in the history, and was told as {fate:?}"
            )));
        }
        match std::mem::replace(&mut self.journaled[sequence as usize], true) {
            true => Err(self.broken(&format!("message {sequence} is in the history twice"))),
            false => Ok(()),
        }
    }

    /// The history gives a report.
    fn on_report(&mut self, number: u32, event: &[u8]) -> Result<()> {
        self.told += 1;
        if u64::from(number) != self.told {
            let told = self.told;
            return Err(self.broken(&format!(
                "report {number} stands in the place of report {told}"
            )));
        }
        match self.reports.next()? {
            Some(told) if told == event => {}
            Some(_) => return Err(self.broken(&format!("report {number} was told otherwise"))),
            None => return Err(self.broken(&format!("report {number} was never told"))),
        }
        let Some(accepted) = OrderAccepted::read(event) else {
            return Ok(());
        };
        let name = accepted.client_order_id.0;
        // The number with which it was sent first.
        let first = name as u32 as usize;
        match self.accepted.get_mut(first) {
            Some(known) if !*known => *known = true,
            _ => {
                return Err(self.broken(&format!("order {name} was accepted twice, or never sent")));
            }
        }
        Ok(())
    }

    /// Everything that was answered has been seen, and nothing was told that the history does not give.
    fn finish(mut self, counts: &mut Counts) -> Result<()> {
        if self.reports.next()?.is_some() {
            let told = self.told;
            return Err(self.broken(&format!(
                "a report behind report {told} was told, and the history gives none"
            )));
        }
        for (sent, sequence) in self.known.sent.iter().zip(1_usize..) {
            match sent.fate {
                Fate::Answered if !self.journaled[sequence] => {
                    return Err(self.broken(&format!(
                        "message {sequence} was answered, and is not in the history"
                    )));
                }
                Fate::Answered => counts.answered += 1,
                Fate::NotApplied => counts.not_applied += 1,
                Fate::Busy => counts.busy += 1,
                // A diary with such a message is not read to its end.
                Fate::Silent => {}
            }
        }
        counts.sent += self.known.sent.len() as u64;
        counts.reports += self.known.reports;
        counts.leaders += self.known.leaders;
        Ok(())
    }
}
