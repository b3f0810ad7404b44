//! Follows the event log from this process's own cursor, and hands on what concerns deliveries.
//!
//! Turned by `settle`; what an event means is in `apply`.
//!
//! Always holds: events are applied in order, each in the transaction that moves the cursor over
//! it; the cursor is the *number* of an event, and a place in the log only a hint, because the log
//! is derived and may be written anew; what was applied before is compared with what is there.
//! Does not: hurry. A log that is shorter than the cursor is being written again: it waits.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use exahour_journal::{JournalError, LogId, Position, Reader, Verify};
use exahour_wire::events::EventPrefix;
use exahour_wire::ids::{EventSequence, SessionId};
use exahour_wire::message::messages;
use exahour_wire::units::Nanos;

use crate::apply::{apply, concerns};
use crate::database::{Cursor, Database};
use crate::error::SettlementError;

/// Bytes of the log looked at in one turn, at most, beyond the frame begun.
const BYTES_PER_TURN: usize = 4 << 20;
/// Events applied in one transaction, at most, beyond the frame begun.
const EVENTS_PER_STEP: usize = 512;
/// How often a cursor that only passed over the events of others is saved.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// How long a log may be unreadable while its node recovers it.
const UNREADABLE_MAX: Duration = Duration::from_secs(20);
/// How long to wait before a log that could not be opened is tried again.
const OPEN_AGAIN: Duration = Duration::from_millis(100);

/// How far a turn came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// There may be more.
    More,
    /// Up to the end of what is there.
    ToTheEnd,
    /// There is no log yet, or it is shorter than what was applied: it is being written.
    NotThere,
}

/// A follower of one event log.
#[derive(Debug)]
pub struct Follower {
    dir: PathBuf,
    session: SessionId,
    reader: Option<Reader>,
    cursor: Option<Cursor>,
    saved: Option<Cursor>,
    saved_at: Instant,
    unreadable_since: Option<Instant>,
    tried_at: Option<Instant>,
}

impl Follower {
    /// A follower of the log in `dir` for the process that settles as `session`.
    ///
    /// # Errors
    /// The database's.
    pub fn new(
        dir: &Path,
        session: SessionId,
        database: &mut Database,
    ) -> Result<Follower, SettlementError> {
        let cursor = database.look(|tx| tx.cursor())?;
        Ok(Follower {
            dir: dir.to_path_buf(),
            session,
            reader: None,
            cursor,
            saved: cursor,
            saved_at: Instant::now(),
            unreadable_since: None,
            tried_at: None,
        })
    }

    /// The last event that was applied.
    #[must_use]
    pub fn event(&self) -> EventSequence {
        self.cursor
            .map_or(EventSequence::NONE, |cursor| cursor.event)
    }

    /// Opens the log anew at the next turn: its node was started again and may have written it anew.
    pub fn renew(&mut self) {
        self.reader = None;
        self.tried_at = None;
    }

    /// Applies what has come, as far as the bounds of a turn allow.
    ///
    /// # Errors
    /// [`SettlementError::Diverged`], [`SettlementError::OtherExchange`],
    /// [`SettlementError::EventsMissing`]; [`SettlementError::Log`] where the log stays unreadable.
    pub fn turn(
        &mut self,
        database: &mut Database,
        now: Nanos,
    ) -> Result<Followed, SettlementError> {
        match self.try_turn(database, now) {
            Err(SettlementError::Log(error)) => self.on_unreadable(error),
            Ok(Followed::NotThere) => Ok(Followed::NotThere),
            other => {
                self.unreadable_since = None;
                other
            }
        }
    }

    /// While a node recovers its log, what a reader has mapped may be cut or written again.
    fn on_unreadable(&mut self, error: JournalError) -> Result<Followed, SettlementError> {
        self.reader = None;
        let since = *self.unreadable_since.get_or_insert_with(Instant::now);
        if since.elapsed() > UNREADABLE_MAX {
            return Err(error.into());
        }
        Ok(Followed::NotThere)
    }

    fn try_turn(
        &mut self,
        database: &mut Database,
        now: Nanos,
    ) -> Result<Followed, SettlementError> {
        if self.reader.is_none() {
            let due = self.tried_at.is_none_or(|at| at.elapsed() >= OPEN_AGAIN);
            if !due {
                return Ok(Followed::NotThere);
            }
            self.tried_at = Some(Instant::now());
            self.reader = self.open()?;
        }
        let Some(reader) = &mut self.reader else {
            return Ok(Followed::NotThere);
        };
        let mut batch = Batch::new(reader.log_id(), self.cursor, self.session);
        let mut bytes = 0;
        let mut end = Followed::More;
        while bytes < BYTES_PER_TURN && batch.events < EVENTS_PER_STEP {
            let Some(frame) = reader.next(Position::new(u64::MAX))? else {
                end = Followed::ToTheEnd;
                break;
            };
            bytes += frame.payload.len();
            batch.take(frame.payload, frame.position)?;
        }
        self.commit(batch, database, now)?;
        Ok(end)
    }

    fn commit(
        &mut self,
        batch: Batch,
        database: &mut Database,
        now: Nanos,
    ) -> Result<(), SettlementError> {
        let moved = batch.cursor != self.saved;
        let due = batch.events > 0 || self.saved_at.elapsed() >= SAVE_EVERY;
        if let Some(cursor) = batch.cursor.filter(|_| moved && due) {
            let session = self.session;
            let applied = database.step(|tx| {
                messages(&batch.bytes).try_for_each(|event| apply(tx, session, event, now))?;
                tx.save_cursor(&cursor)
            });
            if let Err(error) = applied {
                // The reader is past events that were not applied.
                self.reader = None;
                return Err(error);
            }
            self.saved = batch.cursor;
            self.saved_at = Instant::now();
        }
        self.cursor = batch.cursor;
        Ok(())
    }

    /// A reader that stands before the first event that was not applied; none while the log has
    /// not come so far.
    fn open(&self) -> Result<Option<Reader>, SettlementError> {
        let mut reader = match Reader::follow(&self.dir, Verify::Every) {
            Err(JournalError::Missing { .. }) => return Ok(None),
            other => other?,
        };
        let Some(cursor) = self.cursor else {
            return Ok(Some(reader));
        };
        if reader.log_id() != cursor.log_id {
            return Err(SettlementError::OtherExchange {
                path: self.dir.clone(),
                expected: cursor.log_id,
                found: reader.log_id(),
            });
        }
        let start = reader.position();
        if holds(&reader, cursor.position, &cursor) == Holds::It {
            reader.seek(cursor.position)?;
            return Ok(Some(reader));
        }
        reader.seek(start)?;
        loop {
            let Some(frame) = reader.next(Position::new(u64::MAX))? else {
                return Ok(None);
            };
            let (first, count) = (frame.header.first_sequence, frame.header.count);
            let position = frame.position;
            if first > cursor.event.0 {
                return Err(SettlementError::EventsMissing {
                    expected: cursor.event,
                    found: EventSequence(first),
                });
            }
            if cursor.event.0 < first + u64::from(count) {
                return match holds(&reader, position, &cursor) {
                    Holds::It => {
                        reader.seek(position)?;
                        Ok(Some(reader))
                    }
                    Holds::Another => Err(SettlementError::Diverged(cursor.event)),
                };
            }
        }
    }
}

/// What a frame holds in the place of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    It,
    Another,
}

/// Whether the frame at a position holds the very event that was applied last.
fn holds(reader: &Reader, position: Position, cursor: &Cursor) -> Holds {
    let frame = match reader.frame_at(position) {
        Ok(frame) => frame,
        // A hint may point anywhere.
        Err(_) => return Holds::Another,
    };
    let found = messages(frame.payload())
        .filter_map(EventPrefix::peek)
        .find(|prefix| prefix.event == cursor.event);
    let same =
        found.is_some_and(|prefix| prefix.command == cursor.command && prefix.time == cursor.time);
    if same { Holds::It } else { Holds::Another }
}

/// What one turn has read.
#[derive(Debug)]
struct Batch {
    log_id: LogId,
    session: SessionId,
    cursor: Option<Cursor>,
    /// The events that concern deliveries, one after the other.
    bytes: Vec<u8>,
    events: usize,
}

impl Batch {
    fn new(log_id: LogId, cursor: Option<Cursor>, session: SessionId) -> Batch {
        Batch {
            log_id,
            session,
            cursor,
            bytes: Vec::new(),
            events: 0,
        }
    }

    /// Takes the events of a frame that were not applied before.
    fn take(&mut self, payload: &[u8], position: Position) -> Result<(), SettlementError> {
        for event in messages(payload) {
            let Some(prefix) = EventPrefix::peek(event) else {
                continue;
            };
            let expected = self.cursor.map_or(1, |cursor| cursor.event.0 + 1);
            if prefix.event.0 < expected {
                continue;
            }
            if prefix.event.0 > expected {
                return Err(SettlementError::EventsMissing {
                    expected: EventSequence(expected),
                    found: prefix.event,
                });
            }
            if concerns(&prefix, self.session) {
                self.bytes.extend_from_slice(event);
                self.events += 1;
            }
            self.cursor = Some(Cursor {
                log_id: self.log_id,
                event: prefix.event,
                command: prefix.command,
                time: prefix.time,
                position,
            });
        }
        Ok(())
    }
}
