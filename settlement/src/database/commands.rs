//! What the exchange is told: recorded before it is sent, and matched with what became of it.
//!
//! ```text
//! queued --sent under (version, sequence)--> sent --done or refused, says the event log--> applied
//!    ^                                         |                                           refused
//!    +---not applied, says the event log ------+
//! ```
//! Always holds: an obligation is started by one command and settled by one; a command that may
//! have been applied is not sent again before the event log has said that it was not.

use std::ops::Range;

use exahour_wire::ids::{MessageSequence, ObligationId, SessionVersion};
use exahour_wire::units::Nanos;
use rusqlite::{OptionalExtension, Row};

use super::{Tx, stored};
use crate::error::SettlementError;

/// What the exchange is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandKind {
    /// The machine answers.
    Started,
    /// The time verified, as a delivery.
    Confirm,
    /// The time verified, as a failure.
    Fail,
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was carried out, or had been before.
    Applied,
    /// It was refused for good.
    Refused,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Its number, also the name of the request.
    pub id: i64,
    /// About which obligation.
    pub obligation: ObligationId,
    /// What it says.
    pub kind: CommandKind,
    /// Where it stands: queued, sent, applied or refused.
    pub state: String,
    /// How often it was sent.
    pub sends: u32,
    /// What the exchange said against it last.
    pub reason: Option<String>,
}

impl CommandKind {
    fn name(self) -> &'static str {
        match self {
            CommandKind::Started => "started",
            CommandKind::Confirm => "confirm",
            CommandKind::Fail => "fail",
        }
    }
}

const COLUMNS: &str = "id, obligation, kind, state, sends, reason";

impl Tx<'_> {
    /// Queues a command; where the obligation has one of its kind, nothing changes.
    ///
    /// # Errors
    /// The database's.
    pub fn queue_command(
        &self,
        id: ObligationId,
        kind: CommandKind,
    ) -> Result<(), SettlementError> {
        let mut insert = self.inner.prepare_cached(
            "INSERT OR IGNORE INTO commands (obligation, kind, state) VALUES (?1, ?2, 'queued')",
        )?;
        insert.execute((id.0.cast_signed(), kind.name()))?;
        Ok(())
    }

    /// Queues a command once more, whatever became of it: what it says has changed.
    ///
    /// # Errors
    /// The database's.
    pub fn queue_again(&self, id: ObligationId, kind: CommandKind) -> Result<(), SettlementError> {
        let mut update = self.inner.prepare_cached(
            "UPDATE commands SET state = 'queued', not_before = 0, reason = NULL
             WHERE obligation = ?1 AND kind = ?2",
        )?;
        update.execute((id.0.cast_signed(), kind.name()))?;
        Ok(())
    }

    /// Up to `limit` commands that wait to be sent, oldest first.
    ///
    /// # Errors
    /// The database's.
    pub fn queued_commands(
        &self,
        now: Nanos,
        limit: usize,
    ) -> Result<Vec<Command>, SettlementError> {
        let mut query = self.inner.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM commands
             WHERE state IN ('queued', 'sent') AND state = 'queued' AND not_before <= ?1
             ORDER BY id LIMIT ?2"
        ))?;
        let rows = query.query_map((stored(now), limit as i64), |row| Ok(read(row)))?;
        rows.map(|row| row?).collect()
    }

    /// How many commands wait to be sent or for their outcome.
    ///
    /// # Errors
    /// The database's.
    pub fn open_commands(&self) -> Result<usize, SettlementError> {
        let mut query = self
            .inner
            .prepare_cached("SELECT count(*) FROM commands WHERE state IN ('queued', 'sent')")?;
        let count: i64 = query.query_row([], |row| row.get(0))?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// How many commands wait for their outcome.
    ///
    /// # Errors
    /// The database's.
    pub fn sent_commands(&self) -> Result<usize, SettlementError> {
        let mut query = self.inner.prepare_cached(
            "SELECT count(*) FROM commands WHERE state IN ('queued', 'sent') AND state = 'sent'",
        )?;
        let count: i64 = query.query_row([], |row| row.get(0))?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// Why a command was refused that is to be sent again later; none where there is none.
    ///
    /// # Errors
    /// The database's.
    pub fn postponed(&self, now: Nanos) -> Result<Option<String>, SettlementError> {
        let mut query = self.inner.prepare_cached(
            "SELECT reason FROM commands WHERE state IN ('queued', 'sent') AND state = 'queued'
                AND not_before > ?1 AND reason IS NOT NULL LIMIT 1",
        )?;
        Ok(query
            .query_row([stored(now)], |row| row.get(0))
            .optional()?)
    }

    /// All commands about an obligation.
    ///
    /// # Errors
    /// The database's.
    pub fn commands_of(&self, id: ObligationId) -> Result<Vec<Command>, SettlementError> {
        let mut query = self.inner.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM commands WHERE obligation = ?1 ORDER BY id"
        ))?;
        let rows = query.query_map([id.0.cast_signed()], |row| Ok(read(row)))?;
        rows.map(|row| row?).collect()
    }

    /// Notes under which number a command is being sent, before it is.
    ///
    /// # Errors
    /// The database's.
    pub fn mark_sent(
        &self,
        id: i64,
        version: SessionVersion,
        sequence: MessageSequence,
    ) -> Result<(), SettlementError> {
        let mut update = self.inner.prepare_cached(
            "UPDATE commands SET state = 'sent', version = ?2, sequence = ?3, sends = sends + 1
             WHERE id = ?1",
        )?;
        update.execute((id, version.0.cast_signed(), sequence.0))?;
        Ok(())
    }

    /// Queues again what was sent under these numbers and was not applied; says how many.
    ///
    /// # Errors
    /// The database's.
    pub fn requeue(
        &self,
        version: SessionVersion,
        sequences: Range<u32>,
        not_before: Nanos,
    ) -> Result<usize, SettlementError> {
        let mut update = self.inner.prepare_cached(
            "UPDATE commands SET state = 'queued', not_before = ?4
             WHERE state = 'sent' AND version = ?1 AND sequence >= ?2 AND sequence < ?3",
        )?;
        let (from, end) = (sequences.start, sequences.end);
        Ok(update.execute((version.0.cast_signed(), from, end, stored(not_before)))?)
    }

    /// Queues again what was sent under other versions than `version`: its outcome would have come
    /// before that version was opened.
    ///
    /// # Errors
    /// The database's.
    pub fn requeue_all_but(&self, version: SessionVersion) -> Result<usize, SettlementError> {
        let mut update = self.inner.prepare_cached(
            "UPDATE commands SET state = 'queued' WHERE state = 'sent' AND version <> ?1",
        )?;
        Ok(update.execute([version.0.cast_signed()])?)
    }

    /// The command that was sent under this number and has no outcome yet.
    ///
    /// # Errors
    /// The database's.
    pub fn sent_command(
        &self,
        version: SessionVersion,
        sequence: MessageSequence,
    ) -> Result<Option<Command>, SettlementError> {
        let mut query = self.inner.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM commands
             WHERE state = 'sent' AND version = ?1 AND sequence = ?2"
        ))?;
        let key = (version.0.cast_signed(), sequence.0);
        let found = query.query_row(key, |row| Ok(read(row))).optional()?;
        found.transpose()
    }

    /// Notes what became of a command.
    ///
    /// # Errors
    /// The database's.
    pub fn close_command(
        &self,
        id: i64,
        outcome: Outcome,
        reason: Option<&str>,
    ) -> Result<(), SettlementError> {
        let state = match outcome {
            Outcome::Applied => "applied",
            Outcome::Refused => "refused",
        };
        let mut update = self.inner.prepare_cached(
            "UPDATE commands SET state = ?2, reason = coalesce(?3, reason) WHERE id = ?1",
        )?;
        update.execute((id, state, reason))?;
        Ok(())
    }

    /// Queues a refused command again, to be sent later.
    ///
    /// # Errors
    /// The database's.
    pub fn postpone_command(
        &self,
        id: i64,
        until: Nanos,
        reason: &str,
    ) -> Result<(), SettlementError> {
        let mut update = self.inner.prepare_cached(
            "UPDATE commands SET state = 'queued', not_before = ?2, reason = ?3 WHERE id = ?1",
        )?;
        update.execute((id, stored(until), reason))?;
        Ok(())
    }

    /// Closes what is still to be said about an obligation that the exchange has settled.
    ///
    /// # Errors
    /// The database's.
    pub fn drop_queued(&self, id: ObligationId) -> Result<(), SettlementError> {
        let mut update = self.inner.prepare_cached(
            "UPDATE commands SET state = 'refused', reason = 'settled before it was sent'
             WHERE obligation = ?1 AND state = 'queued'",
        )?;
        update.execute([id.0.cast_signed()])?;
        Ok(())
    }
}

fn read(row: &Row<'_>) -> Result<Command, SettlementError> {
    let kind: String = row.get(2)?;
    Ok(Command {
        id: row.get(0)?,
        obligation: ObligationId(row.get::<_, i64>(1)?.cast_unsigned()),
        kind: match kind.as_str() {
            "started" => CommandKind::Started,
            "confirm" => CommandKind::Confirm,
            "fail" => CommandKind::Fail,
            _ => {
                return Err(SettlementError::Stored {
                    what: "command kind",
                    value: kind,
                });
            }
        },
        state: row.get(3)?,
        sends: row.get(4)?,
        reason: row.get(5)?,
    })
}
