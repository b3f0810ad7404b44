//! One client connection as a state machine: messages, events and time go in; answers, commands
//! and the end of the connection come out.
//!
//! Driven by `order_gateway`, one for each connection.
//!
//! Always holds: every input has one answer in every state; a session that became ready is closed
//! again by exactly one command of this connection, kept until the ring has room for it.
//! Does not: touch a socket, read a clock, or judge sequence numbers (the engine does).
//!
//! ```text
//!  Connected --Negotiate--> Negotiating --opened--> Negotiated --Establish--+
//!      |  ^                     | refused                                   v
//!      |  +---------------------+<------------- refused ------------- Establishing
//!      +--------------- Establish (known version) ------------------->     |  ready
//!                                                                          v
//!   any state --breach, silence, Terminate, expelled--> Ending <------ Established
//! ```

use exahour_wire::codes::{
    CancelOnDisconnect, DisconnectCause, Durability, EstablishmentRejectCode, FlowType,
    NegotiationRejectCode, RetransmitRejectCode, TerminationCode,
};
use exahour_wire::events::{
    SequenceGap, SessionClosed, SessionExpelled, SessionOpened, SessionReady,
};
use exahour_wire::ids::{MessageSequence, SessionId, SessionVersion};
use exahour_wire::internal::{CloseSession, OpenSession, ReadySession};
use exahour_wire::limits::RETRANSMIT_COUNT_MAX;
use exahour_wire::message::{Digest, Message};
use exahour_wire::session::{
    Busy, Establish, EstablishmentAck, EstablishmentReject, Negotiate, NegotiationReject,
    NegotiationResponse, NotApplied, RetransmitReject, RetransmitRequest, Sequence, Terminate,
};
use exahour_wire::units::{Millis, Nanos};

use crate::back_off::BackOffs;
use crate::credentials::Keys;
use crate::inbound::{Breach, Command, Inbound, read};
use crate::ingress::{Ingress, Refused};
use crate::outbox::{Outbox, OutboxFull};

/// The times and promises that a gateway gives to all its sessions.
#[derive(Clone, Copy, Debug)]
pub struct SessionSettings {
    /// How long a connection may take until it is established: a span.
    pub logon_timeout: Nanos,
    /// The shortest keep-alive interval that a client may ask for.
    pub keep_alive_min: Millis,
    /// The longest.
    pub keep_alive_max: Millis,
    /// What an acknowledgement promises.
    pub durability: Durability,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            logon_timeout: Nanos(5_000_000_000),
            keep_alive_min: Millis(100),
            keep_alive_max: Millis(60_000),
            durability: Durability::Durable,
        }
    }
}

/// What a session works with while it handles one input.
pub struct Desk<'a> {
    /// The time of this turn.
    pub now: Nanos,
    /// The way to the engine.
    pub ingress: &'a mut Ingress,
    /// The way to the client.
    pub outbox: &'a mut Outbox,
    /// Who is who.
    pub keys: &'a Keys,
    /// Who must wait.
    pub back_offs: &'a mut BackOffs,
    /// Times and promises.
    pub settings: &'a SessionSettings,
}

/// The gateway's name for a connection, unique also over restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// What the gateway must do after an input, beyond sending what is in the outbox.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Nothing.
    Continue,
    /// Decide on a client's proven wish to have this session here, and call
    /// [`Session::on_claim`].
    Claim(Establish),
    /// Send these reports again.
    Retransmit(RetransmitRequest),
    /// Send what is in the outbox, then close; no more input is handled.
    End,
}

/// The gateway's decision on a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// No other connection stands in the way any more.
    Granted,
    /// It is refused.
    Refused(EstablishmentRejectCode),
}

/// The flow of an established session.
#[derive(Clone, Copy, Debug)]
struct Flow {
    session: SessionId,
    version: SessionVersion,
    keep_alive: Nanos,
    next_report: MessageSequence,
    retransmission: Retransmission,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Retransmission {
    Idle,
    UnderWay,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Connected,
    Negotiating(Negotiate),
    Negotiated {
        session: SessionId,
        version: SessionVersion,
    },
    /// The client's wish, and what was found missing when it was granted.
    Establishing(Establish, Option<SequenceGap>),
    Established(Flow),
    Ending,
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    state: State,
    connection: ConnectionId,
    logon_by: Nanos,
    heard_at: Nanos,
    sent_at: Nanos,
    /// The news of the end that the ring had no room for yet.
    owed: Option<CloseSession>,
}

impl Session {
    /// A session on a connection that was accepted at `now`.
    #[must_use]
    pub fn new(connection: ConnectionId, now: Nanos, settings: &SessionSettings) -> Self {
        Self {
            state: State::Connected,
            connection,
            logon_by: now.after(settings.logon_timeout),
            heard_at: now,
            sent_at: now,
            owed: None,
        }
    }

    /// The gateway's name for the connection.
    #[must_use]
    pub fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// The session that reports on this connection belong to, once it is asked for.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        match &self.state {
            State::Connected | State::Ending => None,
            State::Negotiating(request) => Some(request.session),
            State::Negotiated { session, .. } => Some(*session),
            State::Establishing(request, _) => Some(request.session),
            State::Established(flow) => Some(flow.session),
        }
    }

    /// The version of the flow that is open or being opened here.
    #[must_use]
    pub fn version_held(&self) -> Option<SessionVersion> {
        match &self.state {
            State::Establishing(request, _) => Some(request.version),
            State::Established(flow) => Some(flow.version),
            _ => None,
        }
    }

    /// Whether the connection is to be closed once its outbox is sent.
    #[inline]
    #[must_use]
    pub fn ends(&self) -> bool {
        matches!(self.state, State::Ending)
    }

    /// Whether the flow is open.
    #[inline]
    #[must_use]
    pub fn is_established(&self) -> bool {
        matches!(self.state, State::Established(_))
    }

    /// Whether the engine has yet to be told of the end: the slot must be kept until it was.
    #[must_use]
    pub fn owes(&self) -> bool {
        self.owed.is_some()
    }

    /// Handles a message, without its framing.
    #[inline]
    pub fn on_message(&mut self, bytes: &[u8], desk: &mut Desk<'_>) -> Step {
        self.heard_at = desk.now;
        match read(bytes) {
            Ok(Inbound::Command(command)) => self.on_command(&command, desk),
            Ok(Inbound::Sequence(message)) => self.on_sequence(&message, desk),
            Ok(Inbound::RetransmitRequest(request)) => self.on_retransmit(&request, desk),
            Ok(Inbound::Negotiate(request)) => self.on_negotiate(&request, desk),
            Ok(Inbound::Establish(request)) => self.on_establish(&request, desk),
            Ok(Inbound::Terminate(message)) => self.on_terminate(&message, desk),
            Err(breach) => self.on_breach(breach, desk),
        }
    }

    /// Handles bytes or a message that break the protocol.
    pub fn on_breach(&mut self, breach: Breach, desk: &mut Desk<'_>) -> Step {
        self.end(breach, DisconnectCause::ProtocolBreach, desk)
    }

    #[inline]
    fn on_command(&mut self, command: &Command<'_>, desk: &mut Desk<'_>) -> Step {
        let State::Established(flow) = &self.state else {
            return self.on_early(desk);
        };
        if command.session != flow.session {
            return self.on_wrong_session(desk);
        }
        match desk.ingress.push_wire(command.bytes) {
            Ok(()) => return Step::Continue,
            Err(Refused::Busy) => {}
            Err(Refused::NoRecord(_)) => {
                return self.on_breach(breach(TerminationCode::BadSchema), desk);
            }
        }
        let busy = Busy {
            session: command.session,
            sequence: command.sequence,
            ..Busy::blank()
        };
        self.answer(&busy, desk)
    }

    fn on_sequence(&mut self, message: &Sequence, desk: &mut Desk<'_>) -> Step {
        match &self.state {
            State::Established(flow) if message.session != flow.session => {
                self.on_wrong_session(desk)
            }
            State::Established(_) => Step::Continue,
            _ => self.on_early(desk),
        }
    }

    fn on_retransmit(&mut self, request: &RetransmitRequest, desk: &mut Desk<'_>) -> Step {
        let State::Established(flow) = &mut self.state else {
            return self.on_early(desk);
        };
        let first = request.from_sequence.0;
        let end = first.checked_add(request.count);
        let within =
            first > 0 && request.count > 0 && end.is_some_and(|end| end <= flow.next_report.0);
        let refusal = if request.session != flow.session {
            Some(RetransmitRejectCode::WrongSession)
        } else if flow.retransmission == Retransmission::UnderWay {
            Some(RetransmitRejectCode::InProgress)
        } else if request.count > RETRANSMIT_COUNT_MAX {
            Some(RetransmitRejectCode::TooMany)
        } else if !within {
            Some(RetransmitRejectCode::OutOfRange)
        } else {
            None
        };
        let Some(code) = refusal else {
            flow.retransmission = Retransmission::UnderWay;
            return Step::Retransmit(*request);
        };
        let session = flow.session;
        self.refuse_retransmission(session, code, request, desk)
    }

    fn refuse_retransmission(
        &mut self,
        session: SessionId,
        code: RetransmitRejectCode,
        request: &RetransmitRequest,
        desk: &mut Desk<'_>,
    ) -> Step {
        let reject = RetransmitReject {
            session,
            code: code.into(),
            request_timestamp: request.timestamp,
            ..RetransmitReject::blank()
        };
        self.answer(&reject, desk)
    }

    /// The reports asked for are not kept any more.
    pub fn on_unavailable(&mut self, request: &RetransmitRequest, desk: &mut Desk<'_>) -> Step {
        self.on_retransmitted();
        let code = RetransmitRejectCode::OutOfRange;
        self.refuse_retransmission(request.session, code, request, desk)
    }

    /// The last report asked for was put into the outbox.
    pub fn on_retransmitted(&mut self) {
        if let State::Established(flow) = &mut self.state {
            flow.retransmission = Retransmission::Idle;
        }
    }

    fn on_negotiate(&mut self, request: &Negotiate, desk: &mut Desk<'_>) -> Step {
        let held = match &self.state {
            State::Connected => None,
            State::Ending => return Step::End,
            _ => self.session(),
        };
        if held.is_some() {
            let code = NegotiationRejectCode::AlreadyNegotiated;
            return match self.refuse_negotiation(request, code, Millis(0), desk) {
                Step::End => Step::End,
                _ => self.on_breach(breach(TerminationCode::DuplicateNegotiate), desk),
            };
        }
        if let Err((denial, wait)) = prove(request.session, request, &request.credentials, desk) {
            let code = match denial {
                Denial::BackOff => NegotiationRejectCode::BackOff,
                Denial::Credentials => NegotiationRejectCode::Credentials,
            };
            return self.refuse_negotiation(request, code, wait, desk);
        }
        if request.client_flow.decode() != Some(FlowType::Idempotent) {
            let code = NegotiationRejectCode::FlowType;
            return self.refuse_negotiation(request, code, Millis(0), desk);
        }
        let open = OpenSession {
            session: request.session,
            version: request.version,
            connection: self.connection.0,
            ..OpenSession::blank()
        };
        if desk.ingress.push_own(&open).is_err() {
            let code = NegotiationRejectCode::Busy;
            return self.refuse_negotiation(request, code, Millis(0), desk);
        }
        self.state = State::Negotiating(*request);
        Step::Continue
    }

    fn refuse_negotiation(
        &mut self,
        request: &Negotiate,
        code: NegotiationRejectCode,
        back_off: Millis,
        desk: &mut Desk<'_>,
    ) -> Step {
        let reject = NegotiationReject {
            session: request.session,
            code: code.into(),
            version: request.version,
            request_timestamp: request.timestamp,
            back_off,
            ..NegotiationReject::blank()
        };
        self.answer(&reject, desk)
    }

    /// Handles the engine's answer to the version that this connection asked for.
    pub fn on_opened(&mut self, event: &SessionOpened, desk: &mut Desk<'_>) -> Step {
        let State::Negotiating(request) = self.state else {
            return Step::Continue;
        };
        if event.version != request.version {
            return Step::Continue;
        }
        if event.refusal.0 != 0 {
            self.state = State::Connected;
            // A code that this build does not know is passed on as it is by the engine's number.
            let code = event.refusal.decode();
            let code = code.unwrap_or(NegotiationRejectCode::Busy);
            return self.refuse_negotiation(&request, code, Millis(0), desk);
        }
        self.state = State::Negotiated {
            session: request.session,
            version: request.version,
        };
        let response = NegotiationResponse {
            session: request.session,
            server_flow: FlowType::Recoverable.into(),
            version: request.version,
            request_timestamp: request.timestamp,
            ..NegotiationResponse::blank()
        };
        self.answer(&response, desk)
    }

    fn on_establish(&mut self, request: &Establish, desk: &mut Desk<'_>) -> Step {
        match self.state {
            State::Connected => {}
            State::Negotiated { session, .. } if session != request.session => {
                return self.on_wrong_session(desk);
            }
            State::Negotiated { version, .. } if version != request.version => {
                let code = EstablishmentRejectCode::Unnegotiated;
                return self.refuse_establishment(request, code, Millis(0), desk);
            }
            State::Negotiated { .. } => {}
            State::Established(_) => {
                let code = EstablishmentRejectCode::AlreadyEstablished;
                return self.refuse_establishment(request, code, Millis(0), desk);
            }
            State::Negotiating(_) | State::Establishing(..) => return self.on_early(desk),
            State::Ending => return Step::End,
        }
        if let Err((denial, wait)) = prove(request.session, request, &request.credentials, desk) {
            let code = match denial {
                Denial::BackOff => EstablishmentRejectCode::BackOff,
                Denial::Credentials => EstablishmentRejectCode::Credentials,
            };
            return self.refuse_establishment(request, code, wait, desk);
        }
        let asked = request.keep_alive.0;
        let allowed = desk.settings.keep_alive_min.0..=desk.settings.keep_alive_max.0;
        if !allowed.contains(&asked) {
            let code = EstablishmentRejectCode::KeepAlive;
            return self.refuse_establishment(request, code, Millis(0), desk);
        }
        let mode: Option<CancelOnDisconnect> = request.cancel_mode.decode();
        if mode.is_none() {
            let code = EstablishmentRejectCode::CancelMode;
            return self.refuse_establishment(request, code, Millis(0), desk);
        }
        Step::Claim(*request)
    }

    fn refuse_establishment(
        &mut self,
        request: &Establish,
        code: EstablishmentRejectCode,
        back_off: Millis,
        desk: &mut Desk<'_>,
    ) -> Step {
        let reject = EstablishmentReject {
            session: request.session,
            code: code.into(),
            version: request.version,
            request_timestamp: request.timestamp,
            back_off,
            ..EstablishmentReject::blank()
        };
        self.answer(&reject, desk)
    }

    /// Goes on with an establishment after the gateway's decision.
    pub fn on_claim(&mut self, request: &Establish, claim: Claim, desk: &mut Desk<'_>) -> Step {
        if let Claim::Refused(code) = claim {
            return self.refuse_establishment(request, code, Millis(0), desk);
        }
        let ready = ReadySession {
            session: request.session,
            next_sequence: request.next_sequence,
            version: request.version,
            connection: self.connection.0,
            timestamp: request.timestamp,
            cancel_grace: request.cancel_grace,
            cancel_mode: request.cancel_mode,
            ..ReadySession::blank()
        };
        if desk.ingress.push_own(&ready).is_err() {
            let code = EstablishmentRejectCode::Busy;
            return self.refuse_establishment(request, code, Millis(0), desk);
        }
        self.state = State::Establishing(*request, None);
        Step::Continue
    }

    /// Handles the engine's answer to the establishment that this connection asked for.
    pub fn on_ready(&mut self, event: &SessionReady, desk: &mut Desk<'_>) -> Step {
        let State::Establishing(request, gap) = self.state else {
            return Step::Continue;
        };
        if event.refusal.0 != 0 {
            self.state = State::Connected;
            let reject = EstablishmentReject {
                session: request.session,
                code: event.refusal,
                version: request.version,
                request_timestamp: request.timestamp,
                expected_sequence: event.expected_sequence,
                ..EstablishmentReject::blank()
            };
            return self.answer(&reject, desk);
        }
        self.state = State::Established(Flow {
            session: request.session,
            version: request.version,
            keep_alive: request.keep_alive.into(),
            next_report: event.next_sequence,
            retransmission: Retransmission::Idle,
        });
        let ack = EstablishmentAck {
            session: request.session,
            keep_alive: request.keep_alive,
            version: request.version,
            request_timestamp: request.timestamp,
            next_sequence: event.next_sequence,
            expected_sequence: event.expected_sequence,
            durability: desk.settings.durability.into(),
            ..EstablishmentAck::blank()
        };
        match (self.answer(&ack, desk), gap) {
            (Step::Continue, Some(gap)) => self.on_gap(&gap, desk),
            (step, _) => step,
        }
    }

    /// Handles the engine's news that messages of the session were not applied.
    pub fn on_gap(&mut self, event: &SequenceGap, desk: &mut Desk<'_>) -> Step {
        match &mut self.state {
            // The acknowledgement comes first: it opens the flow that this belongs to.
            State::Establishing(_, gap) => {
                *gap = Some(*event);
                Step::Continue
            }
            State::Established(flow) => {
                let not_applied = NotApplied {
                    session: flow.session,
                    from_sequence: event.from_sequence,
                    count: event.count,
                    ..NotApplied::blank()
                };
                self.answer(&not_applied, desk)
            }
            _ => Step::Continue,
        }
    }

    /// Handles a numbered report: sends it byte for byte if the flow is open.
    #[inline]
    pub fn on_report(
        &mut self,
        bytes: &[u8],
        sequence: MessageSequence,
        desk: &mut Desk<'_>,
    ) -> Step {
        let State::Established(flow) = &mut self.state else {
            return Step::Continue;
        };
        flow.next_report = MessageSequence(sequence.0.wrapping_add(1));
        self.sent_at = desk.now;
        match desk.outbox.push(bytes) {
            Ok(_) => Step::Continue,
            Err(OutboxFull) => self.on_slow_reader(desk),
        }
    }

    /// Handles the engine's order to log the session out; the engine has closed it already.
    pub fn on_expelled(&mut self, event: &SessionExpelled, desk: &mut Desk<'_>) -> Step {
        match &self.state {
            State::Established(flow) if flow.version == event.version => {
                let code = event.code.decode().unwrap_or(TerminationCode::Throttled);
                self.say_end(breach(code), desk)
            }
            _ => Step::Continue,
        }
    }

    /// Handles the engine's news that it closed a flow: ours, where nobody here asked for it.
    pub fn on_closed(&mut self, event: &SessionClosed, desk: &mut Desk<'_>) -> Step {
        match &self.state {
            State::Established(flow) if flow.version == event.version => self.on_superseded(desk),
            _ => Step::Continue,
        }
    }

    /// Handles the loss of the session to another connection, which the engine knows of.
    pub fn on_superseded(&mut self, desk: &mut Desk<'_>) -> Step {
        self.say_end(breach(TerminationCode::Superseded), desk)
    }

    /// Gives the session up for another connection that proved the same identity later; the engine
    /// is told that this connection was lost.
    pub fn on_taken_over(&mut self, desk: &mut Desk<'_>) -> Step {
        let code = breach(TerminationCode::Superseded);
        self.end(code, DisconnectCause::ConnectionLost, desk)
    }

    /// Ends the session because the node stops.
    pub fn on_node_stopping(&mut self, desk: &mut Desk<'_>) -> Step {
        let code = breach(TerminationCode::NodeStopping);
        self.end(code, DisconnectCause::NodeStopped, desk)
    }

    fn on_terminate(&mut self, message: &Terminate, desk: &mut Desk<'_>) -> Step {
        let wrong = self.session().is_some_and(|held| held != message.session);
        if wrong {
            return self.on_wrong_session(desk);
        }
        let code = breach(TerminationCode::Finished);
        self.end(code, DisconnectCause::ClientTerminated, desk)
    }

    /// The connection broke, or the other side closed it.
    pub fn on_lost(&mut self, desk: &mut Desk<'_>) {
        self.close(DisconnectCause::ConnectionLost, desk);
        self.state = State::Ending;
    }

    /// Looks at the clock: ends what was silent too long, and keeps its own side alive.
    pub fn on_time(&mut self, desk: &mut Desk<'_>) -> Step {
        self.settle(desk);
        match &self.state {
            State::Ending => Step::End,
            State::Established(flow) => {
                let patience = Nanos(flow.keep_alive.0 + flow.keep_alive.0 / 2);
                if desk.now > self.heard_at.after(patience) {
                    let code = breach(TerminationCode::KeepAliveMissed);
                    return self.end(code, DisconnectCause::KeepAliveMissed, desk);
                }
                // A quarter early, so that the way to the client does not eat its patience.
                let due = self.sent_at.after(Nanos(flow.keep_alive.0 / 4 * 3));
                if desk.now < due {
                    return Step::Continue;
                }
                let alive = Sequence {
                    session: flow.session,
                    next_sequence: flow.next_report,
                    ..Sequence::blank()
                };
                self.answer(&alive, desk)
            }
            _ if desk.now > self.logon_by => {
                let code = breach(TerminationCode::LogonTimeout);
                self.end(code, DisconnectCause::ProtocolBreach, desk)
            }
            _ => Step::Continue,
        }
    }

    /// Tries again to tell the engine of the end.
    pub fn settle(&mut self, desk: &mut Desk<'_>) {
        if let Some(close) = &self.owed
            && desk.ingress.push_own(close).is_ok()
        {
            self.owed = None;
        }
    }

    fn on_early(&mut self, desk: &mut Desk<'_>) -> Step {
        if self.ends() {
            return Step::End;
        }
        self.on_breach(breach(TerminationCode::NotEstablished), desk)
    }

    fn on_wrong_session(&mut self, desk: &mut Desk<'_>) -> Step {
        self.on_breach(breach(TerminationCode::WrongSession), desk)
    }

    fn on_slow_reader(&mut self, desk: &mut Desk<'_>) -> Step {
        let code = breach(TerminationCode::SlowReader);
        self.end(code, DisconnectCause::SlowReader, desk)
    }

    #[inline]
    fn answer<M: Message>(&mut self, message: &M, desk: &mut Desk<'_>) -> Step {
        self.sent_at = desk.now;
        match desk.outbox.push(message.bytes()) {
            Ok(_) => Step::Continue,
            Err(OutboxFull) => self.on_slow_reader(desk),
        }
    }

    fn end(&mut self, breach: Breach, cause: DisconnectCause, desk: &mut Desk<'_>) -> Step {
        self.close(cause, desk);
        self.say_end(breach, desk)
    }

    /// Tells the engine that the connection is gone, where the engine knows of it.
    fn close(&mut self, cause: DisconnectCause, desk: &mut Desk<'_>) {
        let (session, version) = match &self.state {
            State::Establishing(request, _) => (request.session, request.version),
            State::Established(flow) => (flow.session, flow.version),
            _ => return,
        };
        self.owed = Some(CloseSession {
            session,
            version,
            connection: self.connection.0,
            cause: cause.into(),
            ..CloseSession::blank()
        });
        self.settle(desk);
    }

    fn say_end(&mut self, breach: Breach, desk: &mut Desk<'_>) -> Step {
        if self.ends() {
            return Step::End;
        }
        let terminate = Terminate {
            session: self.session().unwrap_or(SessionId::NONE),
            code: breach.code.into(),
            detail: breach.detail,
            ..Terminate::blank()
        };
        self.state = State::Ending;
        // The reserve of the outbox is there for this message, once.
        let _ = desk.outbox.push_last(terminate.bytes());
        Step::End
    }
}

fn breach(code: TerminationCode) -> Breach {
    Breach { code, detail: 0 }
}

enum Denial {
    BackOff,
    Credentials,
}

/// Checks who a client is; `request` ends with the code of authentication.
fn prove<M: Message>(
    session: SessionId,
    request: &M,
    credentials: &Digest,
    desk: &mut Desk<'_>,
) -> Result<(), (Denial, Millis)> {
    let wait = desk.back_offs.remaining(session, desk.now);
    if wait > Millis(0) {
        return Err((Denial::BackOff, wait));
    }
    let signed = &request.bytes()[..M::BYTES - size_of::<Digest>()];
    let key = desk.keys.key_of(session);
    if key.is_some_and(|key| key.accepts(signed, credentials)) {
        desk.back_offs.on_success(session);
        return Ok(());
    }
    let wait = desk.back_offs.on_failure(session, desk.now);
    Err((Denial::Credentials, wait))
}
