//! What must be true of every run, whatever befell it.
//!
//! Called by the cluster when a run is over. Everything is worked out from what the history means
//! (`meaning`) and from what clients were told; nothing is asked of the nodes but their event logs.
//!
//! Always holds: the first thing that is wrong is named.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use exahour_journal::disk::Disk;
use exahour_journal::{Position, Reader, Verify};
use exahour_wire::events::{EventPrefix, StateHashed};
use exahour_wire::ids::CommandSequence;
use exahour_wire::message::{Message, messages, peek_header};

use crate::client::{VersionTold, Violation};
use crate::meaning::Meaning;
use crate::net::HostId;
use crate::trace::digest;

impl Meaning {
    /// Every command of a client stands at most once in the history: each has a name of its own, so that no
    /// two are alike.
    ///
    /// # Errors
    /// One stands there twice, whether the engine carries it out twice or not.
    pub(crate) fn check_once(&self) -> Result<(), Violation> {
        let mut known = BTreeMap::new();
        for (place, command) in &self.commands {
            let key = (command.session, command.number, command.digest);
            if let Some(before) = known.insert(key, *place) {
                return Err(format!(
                    "message {} of session {} is command {} and command {}",
                    command.number, command.session.0, before.0, place.0
                ));
            }
        }
        Ok(())
    }

    /// What a client was told of one version agrees with the history.
    ///
    /// # Errors
    /// A report is not the one of the history; a command that was acknowledged is not there, or not as it
    /// was sent; one that was told as not applied was.
    pub(crate) fn check_told(&self, told: &VersionTold) -> Result<(), Violation> {
        let who = format!("session {} version {}", told.session.0, told.version.0);
        let own = self.reports.get(&(told.session, told.version));
        let own = own.map_or(&[][..], Vec::as_slice);
        for (place, report) in told.reports.iter().enumerate() {
            if own.get(place) != Some(report) {
                let what = if place < own.len() {
                    "another"
                } else {
                    "not there"
                };
                return Err(format!(
                    "{who}: report {} of command {} was told, and is {what} in the history",
                    place + 1,
                    report.1.0
                ));
            }
        }
        for command in self.commands.values() {
            let own = command.session == told.session && command.version == told.version;
            if !own || !command.applied {
                continue;
            }
            let number = command.number;
            let Some(sent) = told.sent.get((number as usize).wrapping_sub(1)) else {
                return Err(format!(
                    "{who}: message {number} was applied and never sent"
                ));
            };
            if digest(sent) != command.digest {
                return Err(format!(
                    "{who}: message {number} was applied as something else"
                ));
            }
            if told.is_lost(number) {
                return Err(format!(
                    "{who}: message {number} was told as not applied, and was applied"
                ));
            }
        }
        Ok(())
    }

    /// Every message of a version has an outcome that its client knows.
    ///
    /// # Errors
    /// One has not.
    pub(crate) fn check_known(&self, told: &VersionTold) -> Result<(), Violation> {
        let answered: BTreeSet<u32> = told
            .reports
            .iter()
            .filter_map(|(_, command)| self.commands.get(command))
            .filter(|command| command.session == told.session)
            .map(|command| command.number)
            .collect();
        let unknown = (1..told.next_sequence())
            .find(|number| !answered.contains(number) && !told.is_lost(*number));
        match unknown {
            Some(number) => Err(format!(
                "session {}: the client is never told what became of message {number}",
                told.session.0
            )),
            None => Ok(()),
        }
    }

    /// A node's event log is a beginning of what the history gives, and reaches behind the frame `index`.
    /// Hashes of the state, which the twin does not have, are the same on all nodes.
    ///
    /// # Errors
    /// It is not.
    pub(crate) fn check_events(
        &self,
        host: HostId,
        (disk, folder): (&Arc<dyn Disk>, &Path),
        index: u64,
        hashes: &mut BTreeMap<CommandSequence, StateHashed>,
    ) -> Result<(), Violation> {
        let wrong = |what: String| format!("{host}: event log: {what}");
        let mut reader = Reader::follow_on(disk, folder, Verify::Every)
            .map_err(|error| wrong(error.to_string()))?;
        let mut expected = messages(&self.events);
        let mut bytes = 0;
        loop {
            let next = reader.next(Position::new(u64::MAX));
            let Some(frame) = next.map_err(|error| wrong(error.to_string()))? else {
                break;
            };
            for event in messages(frame.payload) {
                bytes += event.len();
                let Some(twin) = expected.next() else {
                    return Err(wrong("it tells of more than was committed".to_owned()));
                };
                if let (Some(own), Some(_)) = (StateHashed::read(event), StateHashed::read(twin)) {
                    let known = *hashes.entry(own.command).or_insert(own);
                    if known.state_hash != own.state_hash {
                        return Err(wrong(format!(
                            "the state after command {} differs",
                            own.command.0
                        )));
                    }
                } else if event != twin {
                    let number = EventPrefix::peek(event).map_or(0, |prefix| prefix.event.0);
                    let template = peek_header(event).map_or(0, |header| header.template_id);
                    return Err(wrong(format!(
                        "event {number} (template {template}) is another"
                    )));
                }
            }
        }
        let least = match index {
            0 => 0,
            index => self.ends.get(index as usize - 1).copied().unwrap_or(0),
        };
        if bytes < least {
            return Err(wrong(format!("{bytes} bytes of {least} are there")));
        }
        Ok(())
    }
}
