//! The event log, told to the sessions that each event concerns.
//!
//! Called by `order_gateway` with every event, in the order of the log.
//!
//! Always holds: a numbered report goes to the one connection that holds its session, a gap also
//! as the session layer's own message; an event without a number is an instruction for the gateway
//! and never leaves it.
//! Does not: touch a socket; what a session says waits in its outbox.

use exahour_journal::Position;
use exahour_wire::events::{
    EventPrefix, SequenceGap, SessionClosed, SessionExpelled, SessionOpened, SessionReady,
};
use exahour_wire::ids::{MessageSequence, SessionId};
use exahour_wire::message::Message;

use super::Connection;
use crate::back_off::BackOffs;
use crate::clock::Steady;
use crate::credentials::Keys;
use crate::directory::Directory;
use crate::duty::Duty;
use crate::ingress::Ingress;
use crate::net::Slot;
use crate::session::{ConnectionId, Desk, Session, SessionSettings};

/// All sessions, while the event log is followed: no socket is touched meanwhile.
pub(super) struct Hall<'a> {
    pub(super) now: Steady,
    pub(super) settings: &'a SessionSettings,
    pub(super) connections: &'a mut [Connection],
    pub(super) active: &'a [Slot],
    pub(super) directory: &'a mut Directory,
    pub(super) keys: &'a Keys,
    pub(super) back_offs: &'a mut BackOffs,
    pub(super) ingress: &'a mut Ingress,
    pub(super) duty: &'a Duty,
    /// Whether somebody has so much waiting that it should be written before more comes.
    pub(super) is_crowded: bool,
}

impl Hall<'_> {
    #[inline]
    pub(super) fn on_event(&mut self, event: &[u8], position: Position) {
        let Some(prefix) = EventPrefix::peek(event) else {
            return;
        };
        if prefix.session == SessionId::NONE {
            return;
        }
        if prefix.sequence == MessageSequence::NONE {
            self.on_instruction(event, &prefix);
            return;
        }
        let holder = self
            .directory
            .on_report(prefix.session, prefix.sequence, position);
        let Some(slot) = holder else {
            return;
        };
        if prefix.header.template_id == SequenceGap::TEMPLATE_ID
            && let Some(gap) = SequenceGap::read(event)
        {
            self.tell(slot, |session, desk| session.on_gap(&gap, desk));
        }
        self.tell(slot, |session, desk| {
            session.on_report(event, &prefix, desk);
        });
        self.is_crowded |= !self.connections[slot.0].outbox.has_ample_room();
    }

    /// Handles an event that is meant for the gateway and not for the client.
    fn on_instruction(&mut self, event: &[u8], prefix: &EventPrefix) {
        let holder = self.directory.holder(prefix.session);
        match prefix.header.template_id {
            SessionOpened::TEMPLATE_ID => {
                if let Some(opened) = SessionOpened::read(event) {
                    self.on_opened(&opened, holder);
                }
            }
            SessionReady::TEMPLATE_ID => {
                let ready = SessionReady::read(event);
                if let Some(ready) = ready
                    && let Some(slot) = self.find(ConnectionId(ready.connection))
                {
                    self.tell(slot, |session, desk| session.on_ready(&ready, desk));
                    let connection = &mut self.connections[slot.0];
                    if !connection.session.is_claimed() {
                        connection.let_go(slot, self.directory);
                    }
                }
            }
            SessionExpelled::TEMPLATE_ID => {
                if let (Some(expelled), Some(slot)) = (SessionExpelled::read(event), holder) {
                    self.tell(slot, |session, desk| session.on_expelled(&expelled, desk));
                }
            }
            SessionClosed::TEMPLATE_ID => {
                if let (Some(closed), Some(slot)) = (SessionClosed::read(event), holder) {
                    self.tell(slot, |session, desk| session.on_closed(&closed, desk));
                }
            }
            // A duplicate was applied before: its report tells the client all there is to know.
            _ => {}
        }
    }

    fn on_opened(&mut self, opened: &SessionOpened, holder: Option<Slot>) {
        let asking = self.find(ConnectionId(opened.connection));
        if opened.refusal.0 == 0 {
            self.directory
                .on_opened(opened.session, opened.version, opened.event);
            if let Some(old) = holder.filter(|old| Some(*old) != asking) {
                self.tell(old, |session, desk| session.on_superseded(desk));
                self.directory.release(opened.session, old);
            }
        }
        if let Some(slot) = asking {
            self.tell(slot, |session, desk| session.on_opened(opened, desk));
        }
    }

    fn find(&self, connection: ConnectionId) -> Option<Slot> {
        let named = |slot: &&Slot| self.connections[slot.0].session.connection() == connection;
        self.active.iter().find(named).copied()
    }

    #[inline]
    fn tell<T>(&mut self, slot: Slot, act: impl FnOnce(&mut Session, &mut Desk<'_>) -> T) -> T {
        let connection = &mut self.connections[slot.0];
        let mut desk = Desk {
            now: self.now,
            ingress: self.ingress,
            outbox: &mut connection.outbox,
            keys: self.keys,
            back_offs: self.back_offs,
            settings: self.settings,
            duty: self.duty,
        };
        act(&mut connection.session, &mut desk)
    }
}
