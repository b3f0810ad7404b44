//! Chapter 2: sessions are opened, made ready and closed.
//!
//! Called for the commands of the gateway and of a node that starts.
//!
//! Always holds: a session that is ready has no pending cancel timer.

use exahour_wire::codes::{
    CancelOnDisconnect, CancelReason, DisconnectCause, EstablishmentRejectCode,
    NegotiationRejectCode, Raw,
};
use exahour_wire::events::{DeadManFired, SequenceGap, SessionClosed, SessionOpened, SessionReady};
use exahour_wire::ids::{ClientOrderId, MessageSequence, OrderId, SessionId, SessionVersion};
use exahour_wire::internal::{CloseSession, NodeStarted, OpenSession, ReadySession};
use exahour_wire::limits::ORDERS_MAX;
use exahour_wire::message::Message;
use exahour_wire::orders::DeadMan;
use exahour_wire::reject::Reject;
use exahour_wire::units::Nanos;

use crate::admission::Sender;

use crate::twin::{Ready, Twin};

/// The refusal code of an answer that refuses nothing.
fn accepted<E: exahour_wire::codes::Enumeration<Repr = u8>>() -> Raw<E> {
    Raw::new(0)
}

impl Twin {
    /// Rule 2.1.
    pub(crate) fn open_session(&mut self, command: &OpenSession) {
        let refusal = match self.sessions.get(&command.session) {
            None => Some(NegotiationRejectCode::Credentials),
            Some(session) if command.version.0 <= session.version => {
                Some(NegotiationRejectCode::StaleVersion)
            }
            Some(_) => None,
        };
        if refusal.is_none() {
            self.close(command.session, DisconnectCause::ConnectionLost.into());
            if let Some(session) = self.sessions.get_mut(&command.session) {
                session.version = command.version.0;
                session.expected = 1;
                session.outbound = 1;
                session.established_at = Nanos(0);
            }
        }
        self.report(
            command.session,
            SessionOpened {
                version: command.version,
                connection: command.connection,
                refusal: refusal.map_or(accepted(), Raw::from),
                ..SessionOpened::blank()
            },
        );
    }

    /// Rule 2.2.
    pub(crate) fn ready_session(&mut self, command: &ReadySession) {
        match self.establish(command) {
            Ok(expected_before) => {
                let next = command.next_sequence;
                if next.0 > expected_before {
                    self.report(
                        command.session,
                        SequenceGap {
                            from_sequence: MessageSequence(expected_before),
                            count: next.0 - expected_before,
                            ..SequenceGap::blank()
                        },
                    );
                }
                let outbound = self.sessions[&command.session].outbound;
                self.answer_ready(command, next.0, outbound, accepted());
            }
            Err(refusal) => {
                let session = self.sessions.get(&command.session);
                let expected = session.map_or(0, |session| session.expected);
                self.answer_ready(command, expected, 0, refusal.into());
            }
        }
    }

    /// Makes the session ready and says what sequence it had expected.
    fn establish(&mut self, command: &ReadySession) -> Result<u32, EstablishmentRejectCode> {
        let session = self
            .sessions
            .get_mut(&command.session)
            .ok_or(EstablishmentRejectCode::Unnegotiated)?;
        if session.version == 0 || session.version != command.version.0 {
            return Err(EstablishmentRejectCode::Unnegotiated);
        }
        if command.timestamp <= session.established_at {
            return Err(EstablishmentRejectCode::Credentials);
        }
        let mode = command
            .cancel_mode
            .decode()
            .ok_or(EstablishmentRejectCode::CancelMode)?;
        if command.next_sequence.0 < session.expected {
            return Err(EstablishmentRejectCode::Sequence);
        }
        session.ready = Some(Ready {
            connection: command.connection,
            mode,
            grace: command.cancel_grace.into(),
        });
        session.established_at = command.timestamp;
        session.cancel_at = None;
        let expected_before = session.expected;
        session.expected = command.next_sequence.0;
        Ok(expected_before)
    }

    fn answer_ready(
        &mut self,
        command: &ReadySession,
        expected: u32,
        next: u32,
        refusal: Raw<EstablishmentRejectCode>,
    ) {
        self.report(
            command.session,
            SessionReady {
                version: command.version,
                connection: command.connection,
                expected_sequence: MessageSequence(expected),
                next_sequence: MessageSequence(next),
                refusal,
                ..SessionReady::blank()
            },
        );
    }

    /// Rule 2.3, where a command asks for it.
    pub(crate) fn close_session(&mut self, command: &CloseSession) {
        let Some(session) = self.sessions.get(&command.session) else {
            return;
        };
        let same_version = session.version == command.version.0;
        let same_connection = session
            .ready
            .is_some_and(|ready| ready.connection == command.connection);
        if same_version && same_connection {
            // A cause that means nothing is a connection lost.
            let cause = command.cause.decode();
            let cause = cause.unwrap_or(DisconnectCause::ConnectionLost);
            self.close(command.session, cause.into());
        }
    }

    /// Rule 2.3: closes the session if it is ready.
    pub(crate) fn close(&mut self, id: SessionId, cause: Raw<DisconnectCause>) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Some(ready) = session.ready.take() else {
            return;
        };
        let in_good_order = cause == DisconnectCause::ClientTerminated.into();
        let cancels = match ready.mode {
            CancelOnDisconnect::None => false,
            CancelOnDisconnect::OnTerminate => in_good_order,
            CancelOnDisconnect::OnDisconnect => !in_good_order,
            CancelOnDisconnect::Both => true,
        };
        let waits = !in_good_order && ready.grace.0 > 0;
        if cancels && waits {
            session.cancel_at = Some(self.now.after(ready.grace));
        }
        let version = SessionVersion(session.version);
        let expected_sequence = MessageSequence(session.expected);
        self.report(
            id,
            SessionClosed {
                version,
                cause,
                expected_sequence,
                ..SessionClosed::blank()
            },
        );
        if cancels && !waits {
            self.cancel_orders_of_lost_session(id);
        }
    }

    /// Cancels what a session that went away has in the books.
    pub(crate) fn cancel_orders_of_lost_session(&mut self, id: SessionId) {
        let orders: Vec<OrderId> = self.orders_where(|order| order.session == id);
        for order in orders {
            self.cancel(order, CancelReason::Disconnect, ClientOrderId::NONE);
        }
    }

    /// Rule 2.6: the session is watched, or not any more.
    pub(crate) fn arm_dead_man(
        &mut self,
        sender: &Sender,
        command: &DeadMan,
    ) -> Result<(), Reject> {
        self.ensure_may_trade(sender)?;
        let now = self.now;
        if let Some(session) = self.sessions.get_mut(&sender.session) {
            let watched = command.interval.0 > 0;
            session.dead_man = watched.then_some((command.interval, now));
        }
        self.done(sender, 0);
        Ok(())
    }

    /// Rule 2.6: nothing was heard.
    pub(crate) fn fire_dead_man(&mut self, id: SessionId) {
        let session = self.sessions.get_mut(&id);
        let Some((interval, heard_at)) = session.and_then(|session| session.dead_man.take()) else {
            return;
        };
        let event = DeadManFired {
            heard_at,
            interval,
            ..DeadManFired::blank()
        };
        self.report(id, event);
        for order in self.orders_where(|order| order.session == id) {
            self.cancel(order, CancelReason::DeadMan, ClientOrderId::NONE);
        }
    }

    /// Rule 2.4.
    pub(crate) fn node_started(&mut self, started: &NodeStarted) {
        self.orders_max = match started.orders_max {
            1..ORDERS_MAX => started.orders_max as usize,
            _ => ORDERS_MAX as usize,
        };
        let sessions: Vec<SessionId> = self.sessions.keys().copied().collect();
        for session in sessions {
            self.close(session, DisconnectCause::NodeStopped.into());
        }
    }
}
