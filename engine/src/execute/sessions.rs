//! Sessions as execution sees them: whose they are, and what happens to their orders when they go.
//!
//! Always holds: a session that went away while orders were to be cancelled has either no orders or
//! a timer.

use exahour_wire::codes::{
    CancelOnDisconnect, CancelReason, DisconnectCause, EstablishmentRejectCode,
    NegotiationRejectCode, Raw, Scope, TerminationCode,
};
use exahour_wire::events::{SessionClosed, SessionExpelled, SessionOpened, SessionReady};
use exahour_wire::ids::{MessageSequence, ParticipantId, SessionId, SessionVersion};
use exahour_wire::internal::{CloseSession, NodeStarted, OpenSession, ReadySession};
use exahour_wire::message::Message;
use exahour_wire::units::{Millis, Nanos};

use super::{Activity, DeadMan, Execute};
use crate::admit::Outcome;
use crate::batch::EventSink;
use crate::reporter::Output;
use crate::timers::Due;

/// One session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionFlow {
    pub(crate) participant: ParticipantId,
    pub(crate) version: SessionVersion,
    /// The number after the last that was taken in this version, as admission has it too.
    pub(crate) expected: MessageSequence,
    pub(crate) ready: bool,
    pub(crate) cancel_mode: CancelOnDisconnect,
    pub(crate) cancel_grace: Millis,
    /// When its orders will be cancelled; never, where no timer is set.
    pub(crate) cancel_at: Nanos,
    pub(crate) dead_man: DeadMan,
}

impl Default for SessionFlow {
    fn default() -> Self {
        Self {
            participant: ParticipantId::NONE,
            version: SessionVersion::NONE,
            expected: MessageSequence(1),
            ready: false,
            cancel_mode: CancelOnDisconnect::None,
            cancel_grace: Millis(0),
            cancel_at: Nanos::NEVER,
            dead_man: DeadMan::new(Millis(0), Nanos(0)),
        }
    }
}

impl Execute {
    /// Makes room for a session.
    pub(crate) fn add_session(&mut self, id: SessionId, participant: ParticipantId) {
        let place = id.0 as usize;
        if place >= self.sessions.len() {
            self.sessions.resize(place + 1, SessionFlow::default());
            self.activities.resize(place + 1, Activity::default());
        }
        self.sessions[place].participant = participant;
        self.reporter.add_session(id);
    }

    /// Answers the opening or readying of a session.
    pub(super) fn answer_session<S: EventSink>(
        &mut self,
        command: &[u8],
        outcome: Outcome,
        out: &mut Output<'_, S>,
    ) {
        if let Some(open) = OpenSession::read(command) {
            match outcome {
                Outcome::Opened { closes } => self.opened(&open, closes, out),
                Outcome::NotOpened(code) => self.report_opened(&open, code.into(), out),
                _ => {}
            }
        } else if let Some(ready) = ReadySession::read(command) {
            match outcome {
                Outcome::Ready => self.ready(&ready, out),
                Outcome::NotReady { code, expected } => {
                    let next = MessageSequence::NONE;
                    self.report_ready(&ready, (expected, next), code.into(), out);
                }
                _ => {}
            }
        }
    }

    fn opened<S: EventSink>(
        &mut self,
        open: &OpenSession,
        closes: SessionVersion,
        out: &mut Output<'_, S>,
    ) {
        if closes != SessionVersion::NONE {
            self.went_away(open.session, DisconnectCause::ConnectionLost, out);
        }
        let session = &mut self.sessions[open.session.0 as usize];
        session.version = open.version;
        session.expected = MessageSequence(1);
        self.reporter.restart(open.session);
        let accepted: Raw<NegotiationRejectCode> = Raw::new(0);
        self.report_opened(open, accepted, out);
    }

    fn report_opened<S: EventSink>(
        &mut self,
        open: &OpenSession,
        refusal: Raw<NegotiationRejectCode>,
        out: &mut Output<'_, S>,
    ) {
        let opened = SessionOpened {
            version: open.version,
            connection: open.connection,
            refusal,
            ..Message::blank()
        };
        self.reporter.notice(out, open.session, opened);
    }

    fn ready<S: EventSink>(&mut self, ready: &ReadySession, out: &mut Output<'_, S>) {
        let Some(mode) = ready.cancel_mode.decode() else {
            return;
        };
        let session = &mut self.sessions[ready.session.0 as usize];
        session.ready = true;
        session.expected = ready.next_sequence;
        session.cancel_mode = mode;
        session.cancel_grace = ready.cancel_grace;
        session.cancel_at = Nanos::NEVER;
        let numbers = (
            ready.next_sequence,
            self.reporter.next_report(ready.session),
        );
        self.report_ready(ready, numbers, Raw::new(0), out);
    }

    fn report_ready<S: EventSink>(
        &mut self,
        ready: &ReadySession,
        (expected, next): (MessageSequence, MessageSequence),
        refusal: Raw<EstablishmentRejectCode>,
        out: &mut Output<'_, S>,
    ) {
        let answer = SessionReady {
            version: ready.version,
            connection: ready.connection,
            expected_sequence: expected,
            next_sequence: next,
            refusal,
            ..Message::blank()
        };
        self.reporter.notice(out, ready.session, answer);
    }

    /// Takes a session off at its gateway's word.
    pub(super) fn close_session<S: EventSink>(
        &mut self,
        close: &CloseSession,
        out: &mut Output<'_, S>,
    ) {
        // A cause that means nothing is a connection that is gone.
        let cause = close
            .cause
            .decode()
            .unwrap_or(DisconnectCause::ConnectionLost);
        self.went_away(close.session, cause, out);
    }

    /// Takes all sessions off, as the node they were connected to is gone, and learns how many
    /// orders may live on this one.
    pub(super) fn node_started<S: EventSink>(
        &mut self,
        started: &NodeStarted,
        out: &mut Output<'_, S>,
    ) {
        self.orders.set_live_max(started.orders_max);
        for place in 0..self.sessions.len() {
            if self.sessions[place].ready {
                self.went_away(SessionId(place as u32), DisconnectCause::NodeStopped, out);
            }
        }
    }

    /// Logs a session out.
    pub(super) fn expel<S: EventSink>(
        &mut self,
        out: &mut Output<'_, S>,
        id: SessionId,
        version: SessionVersion,
    ) {
        let code = TerminationCode::Throttled.into();
        let expelled = SessionExpelled {
            version,
            code,
            ..Message::blank()
        };
        self.reporter.notice(out, id, expelled);
        self.went_away(id, DisconnectCause::Expelled, out);
    }

    fn went_away<S: EventSink>(
        &mut self,
        id: SessionId,
        cause: DisconnectCause,
        out: &mut Output<'_, S>,
    ) {
        let session = &mut self.sessions[id.0 as usize];
        session.ready = false;
        let (version, mode) = (session.version, session.cancel_mode);
        let expected_sequence = session.expected;
        let grace = Nanos::from(session.cancel_grace);
        let closed = SessionClosed {
            version,
            cause: cause.into(),
            expected_sequence,
            ..Message::blank()
        };
        self.reporter.notice(out, id, closed);
        let in_good_order = cause == DisconnectCause::ClientTerminated;
        let cancels = match mode {
            CancelOnDisconnect::None => false,
            CancelOnDisconnect::OnTerminate => in_good_order,
            CancelOnDisconnect::OnDisconnect => !in_good_order,
            CancelOnDisconnect::Both => true,
        };
        if !cancels {
            return;
        }
        if in_good_order || grace == Nanos(0) {
            self.cancel_scope(Scope::Session, id.0, CancelReason::Disconnect, out);
        } else {
            let at = out.time.after(grace);
            self.sessions[id.0 as usize].cancel_at = at;
            self.timers.schedule(at, Due::SessionCancel(id.0));
            self.shed_timers();
        }
    }

    /// Cancels the orders of a session that did not come back in time.
    pub(super) fn cancel_after_grace<S: EventSink>(
        &mut self,
        id: SessionId,
        at: Nanos,
        out: &mut Output<'_, S>,
    ) {
        let session = &mut self.sessions[id.0 as usize];
        if session.cancel_at == at {
            session.cancel_at = Nanos::NEVER;
            self.cancel_scope(Scope::Session, id.0, CancelReason::Disconnect, out);
        }
    }
}
