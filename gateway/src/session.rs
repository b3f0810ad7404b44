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
//! What a lost lead does to each state is drawn in `lead`.

mod flow;
mod lead;
mod logon;

use exahour_wire::codes::{DisconnectCause, Durability, EstablishmentRejectCode, TerminationCode};
use exahour_wire::events::{SequenceGap, SessionExpelled};
use exahour_wire::ids::{MessageSequence, SessionId, SessionVersion};
use exahour_wire::internal::CloseSession;
use exahour_wire::message::Message;
use exahour_wire::session::{Establish, Negotiate, RetransmitRequest, Sequence, Terminate};
use exahour_wire::units::{Millis, Nanos};

use crate::back_off::BackOffs;
use crate::clock::Steady;
use crate::credentials::Keys;
use crate::duty::Duty;
use crate::inbound::{Breach, Inbound, read};
use crate::ingress::Ingress;
use crate::outbox::{Outbox, OutboxFull};
use lead::{CutOff, leader};

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
    /// How long a node that lost the lead waits for the log to tell what was not applied: a span.
    pub log_patience: Nanos,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            logon_timeout: Nanos(5_000_000_000),
            keep_alive_min: Millis(100),
            keep_alive_max: Millis(60_000),
            durability: Durability::Durable,
            log_patience: Nanos(2_000_000_000),
        }
    }
}

/// What a session works with while it handles one input.
pub struct Desk<'a> {
    /// The time of this turn.
    pub now: Steady,
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
    /// What this node is.
    pub duty: &'a Duty,
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
    /// The number that this connection began with.
    first_message: MessageSequence,
    /// The number after the highest that was handed on.
    next_message: MessageSequence,
    retransmission: Retransmission,
    /// Since the node lost the lead: nothing is handed on any more.
    cut_off: Option<CutOff>,
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
    logon_by: Steady,
    heard_at: Steady,
    sent_at: Steady,
    /// The news of the end that the ring had no room for yet.
    owed: Option<CloseSession>,
}

impl Session {
    /// A session on a connection that was accepted at `now`.
    #[must_use]
    pub fn new(connection: ConnectionId, now: Steady, settings: &SessionSettings) -> Self {
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

    /// Whether a flow is open or being opened here.
    #[must_use]
    pub fn is_claimed(&self) -> bool {
        matches!(self.state, State::Establishing(..) | State::Established(_))
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

    /// Handles the loss of the session to another connection, which the engine knows of.
    pub fn on_superseded(&mut self, desk: &mut Desk<'_>) -> Step {
        if let State::Establishing(..) = self.state {
            // Its establishment is on its way to the engine, behind the news of the other.
            return self.on_taken_over(desk);
        }
        self.say_end(breach(TerminationCode::Superseded), desk)
    }

    /// Gives the session up for another connection that proved the same identity later; the engine
    /// is told that this connection was lost.
    pub fn on_taken_over(&mut self, desk: &mut Desk<'_>) -> Step {
        let code = breach(TerminationCode::Superseded);
        self.end(code, DisconnectCause::ConnectionLost, desk)
    }

    /// Ends the connection, on which nothing is established, in favour of a newer one.
    pub fn on_evicted(&mut self, desk: &mut Desk<'_>) -> Step {
        self.say_end(breach(TerminationCode::LogonTimeout), desk)
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
                if self.has_waited(desk) {
                    return self.say_end(breach(TerminationCode::NotLeader), desk);
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

    /// Tells the engine that the connection is gone, where the engine knows of it and is not told by a
    /// change of leaders.
    fn close(&mut self, cause: DisconnectCause, desk: &mut Desk<'_>) {
        let (session, version) = match &self.state {
            State::Establishing(request, _) => (request.session, request.version),
            State::Established(flow) if flow.cut_off.is_none() => (flow.session, flow.version),
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
        let session = self.session().unwrap_or(SessionId::NONE);
        if breach.code == TerminationCode::NotLeader
            && let Some(leader) = leader(session, desk.duty)
        {
            let _ = desk.outbox.push_last(leader.bytes());
        }
        let terminate = Terminate {
            session,
            code: breach.code.into(),
            detail: breach.detail,
            ..Terminate::blank()
        };
        self.state = State::Ending;
        // The reserve of the outbox is there for this message and the leader's address, once.
        let _ = desk.outbox.push_last(terminate.bytes());
        Step::End
    }
}

fn breach(code: TerminationCode) -> Breach {
    Breach { code, detail: 0 }
}
