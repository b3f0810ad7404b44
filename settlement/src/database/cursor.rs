//! How far the event log was applied, and how far the session has come.

use exahour_journal::{LogId, Position};
use exahour_wire::ids::{CommandSequence, EventSequence, MessageSequence, SessionVersion};
use exahour_wire::units::Nanos;
use rusqlite::OptionalExtension;

use super::{Tx, loaded, stored};
use crate::error::SettlementError;

/// The last event that was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Which exchange.
    pub log_id: LogId,
    /// Its number.
    pub event: EventSequence,
    /// The command that caused it; with the time, what it is known by again.
    pub command: CommandSequence,
    /// When that was stamped.
    pub time: Nanos,
    /// Where its frame was; only a hint, because the log may be written anew.
    pub position: Position,
}

/// How far the session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// The version that this process negotiated; zero before.
    pub version: SessionVersion,
    /// The number of the next message to send.
    pub next_sequence: MessageSequence,
    /// The version of now, as the event log says.
    pub log_version: SessionVersion,
    /// The number of the next report, as the event log says.
    pub log_report: MessageSequence,
}

impl Default for SessionRecord {
    fn default() -> Self {
        SessionRecord {
            version: SessionVersion::NONE,
            next_sequence: MessageSequence(1),
            log_version: SessionVersion::NONE,
            log_report: MessageSequence(1),
        }
    }
}

impl Tx<'_> {
    /// The cursor; none before the first event.
    ///
    /// # Errors
    /// The database's.
    pub fn cursor(&self) -> Result<Option<Cursor>, SettlementError> {
        let mut query = self
            .inner
            .prepare_cached("SELECT log_id, event, command, time, position FROM cursor")?;
        let cursor = query.query_row([], |row| {
            Ok(Cursor {
                log_id: LogId(row.get(0)?),
                event: EventSequence(row.get::<_, i64>(1)?.cast_unsigned()),
                command: CommandSequence(row.get::<_, i64>(2)?.cast_unsigned()),
                time: loaded(row.get(3)?),
                position: Position::new(row.get::<_, i64>(4)?.cast_unsigned()),
            })
        });
        Ok(cursor.optional()?)
    }

    /// Moves the cursor.
    ///
    /// # Errors
    /// The database's.
    pub fn save_cursor(&self, cursor: &Cursor) -> Result<(), SettlementError> {
        let mut save = self
            .inner
            .prepare_cached("INSERT OR REPLACE INTO cursor VALUES (1, ?1, ?2, ?3, ?4, ?5)")?;
        save.execute((
            cursor.log_id.0,
            cursor.event.0.cast_signed(),
            cursor.command.0.cast_signed(),
            stored(cursor.time),
            cursor.position.value().cast_signed(),
        ))?;
        Ok(())
    }

    /// How far the session has come.
    ///
    /// # Errors
    /// The database's.
    pub fn session(&self) -> Result<SessionRecord, SettlementError> {
        let mut query = self.inner.prepare_cached(
            "SELECT version, next_sequence, log_version, log_report FROM session",
        )?;
        Ok(query.query_row([], |row| {
            Ok(SessionRecord {
                version: SessionVersion(row.get::<_, i64>(0)?.cast_unsigned()),
                next_sequence: MessageSequence(row.get(1)?),
                log_version: SessionVersion(row.get::<_, i64>(2)?.cast_unsigned()),
                log_report: MessageSequence(row.get(3)?),
            })
        })?)
    }

    /// Notes how far the session has come.
    ///
    /// # Errors
    /// The database's.
    pub fn save_session(&self, it: &SessionRecord) -> Result<(), SettlementError> {
        let mut save = self.inner.prepare_cached(
            "UPDATE session SET version = ?1, next_sequence = ?2, log_version = ?3, log_report = ?4",
        )?;
        save.execute((
            it.version.0.cast_signed(),
            it.next_sequence.0,
            it.log_version.0.cast_signed(),
            it.log_report.0,
        ))?;
        Ok(())
    }
}
