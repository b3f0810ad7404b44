//! How a client gets to the leader, and back to it: connecting, logging on, and what to do where that
//! fails.
//!
//! Turned by `Client` with every poll.
//!
//! Always holds: nothing here waits; a version is negotiated once and then only established; a client of
//! one node gives every failure to its user, one of several goes on by itself for as long as its
//! configuration says.
//! Does not: send a message again.
//!
//! ```text
//!  Resting --wanted--> Seeking --its time has come--> LoggingOn --ack--> Open
//!                         ^                               |               |
//!                         +--- another node is worth it --+---------------+
//!  Resting <--- the user's concern, or looked for too long ---------------+
//! ```

use std::io;

use exahour_wire::codes::{EstablishmentRejectCode, NegotiationRejectCode, TerminationCode};
use exahour_wire::units::Millis;

use super::connection::{Client, gone};
use super::core::{Found, Now};
use super::error::ClientError;
use crate::clock::{Clock, Steady};
use crate::net::{Received, Written};

/// How often a client of one node goes where it is sent before it tells its user.
const REDIRECTS_MAX: u8 = 3;

/// Where a client stands with its nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It has no session, and seeks none until its user says so.
    Resting,
    /// It tries a node as soon as the route allows.
    Seeking,
    /// It has begun a connection, and waits for an answer.
    LoggingOn(Question, Steady),
    /// The flow is open.
    Open,
}

/// What a node was asked last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// To take a new version.
    Negotiate,
    /// Where the session stands.
    Probe,
    /// To open the flow.
    Establish,
}

impl Question {
    fn waiting_for(self) -> &'static str {
        match self {
            Self::Negotiate => "negotiating",
            Self::Probe => "asking where the session stands",
            Self::Establish => "establishing",
        }
    }
}

/// What a failure asks for.
enum Remedy {
    /// Another attempt, here or at another node, after so long.
    Another(Millis),
    /// The user's.
    None,
}

impl Remedy {
    fn for_failure(error: &ClientError) -> Self {
        match error {
            ClientError::Connect { .. }
            | ClientError::Disconnected { .. }
            | ClientError::Timeout { .. } => Self::Another(Millis(0)),
            ClientError::Terminated { code, .. } => match code.decode() {
                Some(code) if is_worth_another(code) => Self::Another(Millis(0)),
                _ => Self::None,
            },
            ClientError::NegotiationRefused { code, back_off } => match code.decode() {
                Some(NegotiationRejectCode::NotLeader | NegotiationRejectCode::Busy) => {
                    Self::Another(*back_off)
                }
                _ => Self::None,
            },
            ClientError::EstablishmentRefused { code, back_off, .. } => match code.decode() {
                Some(EstablishmentRejectCode::NotLeader | EstablishmentRejectCode::Busy) => {
                    Self::Another(*back_off)
                }
                _ => Self::None,
            },
            _ => Self::None,
        }
    }
}

/// Whether an end is one of the connection, not of what the client wants.
pub(super) fn is_worth_another(code: TerminationCode) -> bool {
    use TerminationCode as Code;
    matches!(
        code,
        Code::NotLeader
            | Code::NodeStopping
            | Code::KeepAliveMissed
            | Code::SlowReader
            | Code::LogonTimeout
    )
}

impl<C: Clock> Client<C> {
    /// Begins to look for a node that takes the session.
    pub(super) fn seek(&mut self, now: Now) {
        self.hang_up();
        self.stage = Stage::Seeking;
        self.redirects_left = REDIRECTS_MAX;
        self.gives_up_at = now.steady.after(self.failover_timeout);
    }

    /// Drops the connection; what was received and not given out comes again.
    pub(super) fn hang_up(&mut self) {
        if let Some(leader) = self.core.leader() {
            self.route.on_named(leader);
        }
        self.channel = None;
        self.core.on_apart();
        self.stage = Stage::Resting;
    }

    /// The next thing found, without waiting.
    #[inline]
    pub(super) fn find(&mut self) -> Result<Option<Found>, ClientError> {
        let now = self.now();
        match self.stage {
            Stage::Open if self.fails_over => self.find_or_fail_over(now),
            Stage::Open | Stage::Resting => self.find_here(now),
            Stage::Seeking => self.try_next(now),
            Stage::LoggingOn(question, until) => self.log_on(question, until, now),
        }
    }

    fn find_or_fail_over(&mut self, now: Now) -> Result<Option<Found>, ClientError> {
        match self.find_here(now) {
            Ok(Some(Found::Terminated(code, _))) if code.decode().is_some_and(is_worth_another) => {
            }
            Err(ClientError::Disconnected { .. }) => {}
            other => return other,
        }
        self.route.reset();
        self.seek(now);
        Ok(None)
    }

    /// The next thing found on the present connection.
    #[inline]
    pub(super) fn find_here(&mut self, now: Now) -> Result<Option<Found>, ClientError> {
        if let Some(found) = self.core.find(now)? {
            return Ok(Some(found));
        }
        self.core.on_time(now)?;
        // What was received may still say why nothing can be written any more.
        let flushed = self.flush();
        let Some(channel) = &mut self.channel else {
            return Err(gone("not connected"));
        };
        // Bytes that make no event may hide the end of the stream behind them, which is not
        // reported again: only a read that finds nothing may be followed by a sleep.
        loop {
            match channel.try_read(self.core.inbox.room()) {
                Ok(Received::Bytes(count)) => {
                    self.core.on_received(count, now);
                    if let Some(found) = self.core.find(now)? {
                        return Ok(Some(found));
                    }
                }
                Ok(Received::Nothing) => return flushed.map(|()| None),
                Ok(Received::Ended) => return Err(gone("closed by the exchange")),
                Err(error) => return Err(gone(&error.to_string())),
            }
        }
    }

    /// Dials the next node, if it is time.
    fn try_next(&mut self, now: Now) -> Result<Option<Found>, ClientError> {
        if now.steady < self.route.ready_at() {
            return Ok(None);
        }
        let address = self.route.take();
        match self.dial.dial(address) {
            Ok(channel) => {
                self.channel = Some(channel);
                self.is_heard = false;
            }
            Err(source) => return self.on_failed(ClientError::Connect { address, source }, now),
        }
        let question = match self.is_negotiated {
            true => Question::Probe,
            false => Question::Negotiate,
        };
        self.ask(question, now)?;
        Ok(None)
    }

    fn ask(&mut self, question: Question, now: Now) -> Result<(), ClientError> {
        match question {
            Question::Negotiate => {
                self.has_asked = self.asks && self.core.names_version();
                self.asks = true;
                self.core.negotiate(now)?;
            }
            Question::Probe => self.core.probe(now)?,
            Question::Establish => self.core.establish(now)?,
        }
        let patience = match self.is_heard {
            true => self.connect_timeout,
            false => self.route.patience(self.connect_timeout),
        };
        self.stage = Stage::LoggingOn(question, now.steady.after(patience));
        // Whoever sleeps now must have said everything; a connection that is broken is found so later.
        let _ = self.flush();
        Ok(())
    }

    /// Goes on with a logon.
    fn log_on(
        &mut self,
        question: Question,
        until: Steady,
        now: Now,
    ) -> Result<Option<Found>, ClientError> {
        match self.hear(now) {
            Ok(Some(Found::Negotiated)) => {
                self.is_negotiated = true;
                self.ask(Question::Establish, now)?;
                Ok(None)
            }
            Ok(Some(Found::Established)) => {
                self.stage = Stage::Open;
                self.route.reset();
                Ok(Some(Found::Established))
            }
            Ok(Some(Found::Terminated(code, detail))) => {
                self.on_failed(ClientError::Terminated { code, detail }, now)
            }
            Ok(None) if now.steady > until => self.on_failed(self.timeout(question), now),
            Ok(other) => Ok(other),
            Err(error) => match self.answer_to(question, &error) {
                true => {
                    self.ask(Question::Establish, now)?;
                    Ok(None)
                }
                false => self.on_failed(error, now),
            },
        }
    }

    /// Nobody answered: there was no connection yet, or there is no answer on it.
    fn timeout(&self, question: Question) -> ClientError {
        if self.is_heard || self.core.outbox.front().is_empty() {
            let waiting_for = question.waiting_for();
            return ClientError::Timeout { waiting_for };
        }
        ClientError::Connect {
            address: self.route.current(),
            source: io::ErrorKind::TimedOut.into(),
        }
    }

    /// What a node answers; a connection that breaks before any answer was never made.
    fn hear(&mut self, now: Now) -> Result<Option<Found>, ClientError> {
        if self.is_heard {
            return self.find_here(now);
        }
        let Some(channel) = &mut self.channel else {
            return Err(gone("not connected"));
        };
        let address = self.route.current();
        let failed = |source| ClientError::Connect { address, source };
        let waiting = self.core.outbox.front();
        if !waiting.is_empty() {
            match channel.try_write(waiting).map_err(failed)? {
                Written::Bytes(count) => self.core.outbox.sent(count),
                Written::Nothing => {}
                Written::Ended => return Err(gone("closed by the exchange")),
            }
        }
        match channel.try_read(self.core.inbox.room()).map_err(failed)? {
            Received::Bytes(count) => {
                self.is_heard = true;
                self.core.on_received(count, now);
                self.core.find(now)
            }
            Received::Nothing => Ok(None),
            Received::Ended => Err(gone("closed by the exchange")),
        }
    }

    /// Whether a refusal is the answer that was hoped for: then the flow can be asked for.
    fn answer_to(&mut self, question: Question, error: &ClientError) -> bool {
        match (question, error) {
            (Question::Probe, ClientError::EstablishmentRefused { code, expected, .. })
                if code.decode() == Some(EstablishmentRejectCode::Sequence) =>
            {
                self.core.on_probed(*expected);
                true
            }
            // The version is this client's own: it asked before, and the answer was lost.
            (Question::Negotiate, ClientError::NegotiationRefused { code, .. })
                if code.decode() == Some(NegotiationRejectCode::StaleVersion) && self.has_asked =>
            {
                self.core.on_negotiated_before();
                self.is_negotiated = true;
                true
            }
            _ => false,
        }
    }

    fn on_failed(&mut self, error: ClientError, now: Now) -> Result<Option<Found>, ClientError> {
        self.hang_up();
        match Remedy::for_failure(&error) {
            Remedy::Another(back_off) if self.goes_on(now) => {
                self.route.on_failed(back_off, now.steady);
                self.stage = Stage::Seeking;
                Ok(None)
            }
            _ => Err(error),
        }
    }

    /// Whether another attempt is this client's to make; one of a single node is only sent on.
    fn goes_on(&mut self, now: Now) -> bool {
        if self.fails_over {
            return now.steady < self.gives_up_at;
        }
        let sent_on = self.redirects_left > 0 && self.route.is_named();
        self.redirects_left -= u8::from(sent_on);
        sent_on
    }
}
