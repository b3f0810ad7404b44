//! Who holds which session, and where its reports lie in the event log.
//!
//! Kept by `order_gateway`: the connections change who holds a session, the event log everything
//! else.
//!
//! Always holds: a table of fixed size covers every session that can exist; a session is held by
//! at most one connection.

use exahour_journal::Position;
use exahour_wire::events::{EventPrefix, SessionOpened};
use exahour_wire::ids::{EventSequence, MessageSequence, SessionId, SessionVersion};
use exahour_wire::limits::SESSIONS_MAX;
use exahour_wire::message::Message;
use exahour_wire::units::Nanos;

use crate::net::Slot;
use crate::report_index::ReportIndex;
use crate::views::pages::{PageReader, PageWriter};

/// What the gateway knows of one session.
#[derive(Debug, Default)]
struct Entry {
    holder: Option<Slot>,
    opened: EventSequence,
    /// The present version; zero where none was ever opened.
    version: SessionVersion,
    /// The client's clock in the latest claim that was granted in this version.
    claimed: Nanos,
    index: Option<Box<ReportIndex>>,
}

/// All sessions.
#[derive(Debug)]
pub struct Directory {
    entries: Box<[Entry]>,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            entries: (0..=SESSIONS_MAX).map(|_| Entry::default()).collect(),
        }
    }
}

impl Directory {
    /// The connection that holds the session.
    #[inline]
    #[must_use]
    pub fn holder(&self, session: SessionId) -> Option<Slot> {
        self.entries.get(session.0 as usize)?.holder
    }

    /// The version that the exchange opened last; zero where it never opened one.
    #[must_use]
    pub fn version(&self, session: SessionId) -> SessionVersion {
        let entry = self.entries.get(session.0 as usize);
        entry.map_or(SessionVersion(0), |entry| entry.version)
    }

    /// The client's clock in the latest claim that was granted in the present version.
    #[must_use]
    pub fn claimed(&self, session: SessionId) -> Nanos {
        let entry = self.entries.get(session.0 as usize);
        entry.map_or(Nanos(0), |entry| entry.claimed)
    }

    /// Gives the session to a connection that claimed it at `timestamp` by the client's clock.
    pub fn hold(&mut self, session: SessionId, slot: Slot, timestamp: Nanos) {
        if let Some(entry) = self.entries.get_mut(session.0 as usize) {
            entry.holder = Some(slot);
            entry.claimed = timestamp;
        }
    }

    /// Takes the session from a connection, if it still holds it.
    pub fn release(&mut self, session: SessionId, slot: Slot) {
        if let Some(entry) = self.entries.get_mut(session.0 as usize)
            && entry.holder == Some(slot)
        {
            entry.holder = None;
        }
    }

    /// Notes that an event opened a new version: its reports are numbered from 1 again.
    pub fn on_opened(&mut self, session: SessionId, version: SessionVersion, event: EventSequence) {
        let Some(entry) = self.entries.get_mut(session.0 as usize) else {
            return;
        };
        entry.opened = event;
        entry.version = version;
        entry.claimed = Nanos(0);
        entry
            .index
            .get_or_insert_with(Box::<ReportIndex>::default)
            .clear();
    }

    /// Notes a report in the frame at `position`, and says who holds the session.
    #[inline]
    pub fn on_report(
        &mut self,
        session: SessionId,
        sequence: MessageSequence,
        position: Position,
    ) -> Option<Slot> {
        let entry = self.entries.get_mut(session.0 as usize)?;
        if let Some(index) = &mut entry.index {
            index.note(sequence, position);
        }
        entry.holder
    }

    /// Learns what an event says, where no connection has to hear of it.
    pub(crate) fn learn(&mut self, prefix: &EventPrefix, event: &[u8], position: Position) {
        if prefix.sequence != MessageSequence::NONE {
            self.on_report(prefix.session, prefix.sequence, position);
        } else if prefix.header.template_id == SessionOpened::TEMPLATE_ID
            && let Some(opened) = SessionOpened::read(event)
            && opened.refusal.0 == 0
        {
            self.on_opened(opened.session, opened.version, opened.event);
        }
    }

    /// Writes what the event log said of every session.
    pub(crate) fn write(&self, pages: &mut PageWriter) {
        let known = || {
            let numbered = self.entries.iter().enumerate();
            numbered.filter_map(|(id, entry)| Some((id, entry, entry.index.as_ref()?)))
        };
        pages.count(known().count());
        for (id, entry, index) in known() {
            pages.count(id);
            pages.number(entry.opened.0);
            pages.number(entry.version.0);
            index.write(pages);
        }
    }

    /// Reads what was written; `None` where it is no directory.
    pub(crate) fn read(pages: &mut PageReader<'_>) -> Option<Self> {
        let mut directory = Self::default();
        for _ in 0..pages.count(3 * size_of::<u64>())? {
            let id = pages.small()?;
            *directory.entries.get_mut(id as usize)? = Entry {
                opened: EventSequence(pages.number()?),
                version: SessionVersion(pages.number()?),
                index: Some(ReportIndex::read(pages)?),
                ..Entry::default()
            };
        }
        Some(directory)
    }

    /// Where to look for a report, and the event that opened the session's present version.
    #[must_use]
    pub fn find(
        &self,
        session: SessionId,
        sequence: MessageSequence,
    ) -> Option<(Position, EventSequence)> {
        let entry = self.entries.get(session.0 as usize)?;
        let position = entry.index.as_ref()?.find(sequence)?;
        Some((position, entry.opened))
    }
}
