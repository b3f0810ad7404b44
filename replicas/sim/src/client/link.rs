//! One connection of a simulated client: the client's side of the session protocol, written down once more.
//!
//! Driven by `Client`. It is independent of the client library, so that what a node says is judged by the
//! protocol and not by what the library makes of it.
//!
//! ```text
//! Negotiating --response--> Establishing --ack--> Established --Terminate, break, silence--> over
//!      (a version that was opened before begins with Establishing)
//! ```
//! Always holds: reports on one connection are, in order, those that come anew and those that were asked
//! for again; any other is a violation.

use std::net::{IpAddr, SocketAddr};

use exahour_gateway::credentials::Key;
use exahour_gateway::inbox::Inbox;
use exahour_gateway::net::{Port, Received, Slot, Written};
use exahour_gateway::outbox::Outbox;
use exahour_wire::codes::{
    CancelOnDisconnect, EstablishmentRejectCode, FlowType, NegotiationRejectCode,
};
use exahour_wire::events::EventPrefix;
use exahour_wire::ids::{MessageSequence, SessionId};
use exahour_wire::limits::RETRANSMIT_COUNT_MAX;
use exahour_wire::message::{Digest, Message, peek_header};
use exahour_wire::session::{
    Busy, Establish, EstablishmentAck, EstablishmentReject, Leader, Negotiate, NegotiationReject,
    NegotiationResponse, NotApplied, Retransmission, RetransmitReject, RetransmitRequest, Sequence,
    Terminate,
};
use exahour_wire::units::{Millis, Nanos};

use super::told::{VersionTold, Violation};

/// The first template that is an event.
const EVENT_TEMPLATES: std::ops::Range<u16> = 300..400;

/// How long a logon may take, from the attempt to connect on.
const LOGON_MAX: Nanos = Nanos(1_000_000_000);

const BUFFER_BYTES: usize = 16 << 10;

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Negotiating,
    Establishing,
    Established,
}

/// Why a connection is of no use any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// It broke, or the other side ended it.
    Lost,
    /// The node refuses the session for now.
    Refused,
    /// The version is none (any more).
    Unusable,
}

/// What came of a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// So much was done.
    Goes(usize),
    /// The connection is over.
    Ends(Over),
}

/// Who a client is.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) session: SessionId,
    pub(super) key: Key,
    pub(super) keep_alive: Millis,
    pub(super) cancel_mode: CancelOnDisconnect,
    pub(super) cancel_grace: Millis,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Link {
    slot: Slot,
    phase: Phase,
    inbox: Inbox,
    outbox: Outbox,
    /// The number of the next report that comes anew.
    live: u32,
    /// The reports that were asked for again and have not come.
    again: std::ops::Range<u32>,
    began: Nanos,
    heard_at: Nanos,
    said_at: Nanos,
    /// Who leads, by what the node said before it refused or ended the session.
    leader: Option<SocketAddr>,
}

impl Link {
    /// Speaks first on a connection that is being made.
    pub(super) fn begin(
        slot: Slot,
        who: &Identity,
        told: &VersionTold,
        utc: Nanos,
        now: Nanos,
    ) -> Self {
        let mut link = Self {
            slot,
            phase: Phase::Negotiating,
            inbox: Inbox::new(BUFFER_BYTES),
            outbox: Outbox::new(BUFFER_BYTES),
            live: 0,
            again: 0..0,
            began: now,
            heard_at: now,
            said_at: now,
            leader: None,
        };
        if told.opened {
            link.establish(who, told, utc);
        } else {
            link.negotiate(who, told, utc);
        }
        link
    }

    pub(super) fn slot(&self) -> Slot {
        self.slot
    }

    pub(super) fn leader(&self) -> Option<SocketAddr> {
        self.leader
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether every report that the exchange has announced has come.
    pub(super) fn is_caught_up(&self, told: &VersionTold) -> bool {
        told.next_report() == self.live
    }

    fn negotiate(&mut self, who: &Identity, told: &VersionTold, utc: Nanos) {
        let mut request = Negotiate {
            session: who.session,
            client_flow: FlowType::Idempotent.into(),
            version: told.version,
            timestamp: utc,
            ..Negotiate::blank()
        };
        request.credentials = sign(who, &request);
        self.put(&request);
        self.phase = Phase::Negotiating;
    }

    fn establish(&mut self, who: &Identity, told: &VersionTold, utc: Nanos) {
        let mut request = Establish {
            session: who.session,
            keep_alive: who.keep_alive,
            version: told.version,
            timestamp: utc,
            next_sequence: MessageSequence(told.next_sequence()),
            cancel_mode: who.cancel_mode.into(),
            cancel_grace: who.cancel_grace,
            ..Establish::blank()
        };
        request.credentials = sign(who, &request);
        self.put(&request);
        self.phase = Phase::Establishing;
    }

    fn put<M: Message>(&mut self, message: &M) {
        // Where it does not fit the other side does not read, and silence ends the connection.
        let _ = self.outbox.push(message.bytes());
    }

    /// Sends a command; whether there was room.
    pub(super) fn send(&mut self, command: &[u8], now: Nanos) -> bool {
        let pushed = self.phase == Phase::Established && self.outbox.push(command).is_ok();
        if pushed {
            self.said_at = now;
        }
        pushed
    }

    /// Ends the session on this connection in good order.
    pub(super) fn terminate(&mut self, who: &Identity) {
        self.put(&Terminate {
            session: who.session,
            code: exahour_wire::codes::TerminationCode::Finished.into(),
            ..Terminate::blank()
        });
    }

    /// Reads once, says what is to be said, writes once.
    ///
    /// # Errors
    /// What the node said that no node may say.
    pub(super) fn turn(
        &mut self,
        port: &mut dyn Port,
        (who, told): (&Identity, &mut VersionTold),
        (utc, now): (Nanos, Nanos),
    ) -> Result<Turn, Violation> {
        let mut work = 0;
        match port.try_read(self.slot, self.inbox.room()) {
            Received::Nothing => {}
            Received::Ended => return Ok(Turn::Ends(Over::Lost)),
            Received::Bytes(count) => {
                work += 1;
                self.heard_at = now;
                self.inbox.filled(count);
                if let Some(over) = self.hear_all((who, told), utc)? {
                    return Ok(Turn::Ends(over));
                }
            }
        }
        if self.is_silent(who, now) {
            let over = match self.phase {
                Phase::Established => Over::Lost,
                Phase::Negotiating | Phase::Establishing => Over::Refused,
            };
            return Ok(Turn::Ends(over));
        }
        self.keep_up((who, told), utc, now);
        let front = self.outbox.front();
        if !front.is_empty() {
            match port.try_write(self.slot, front) {
                Written::Bytes(count) => {
                    self.outbox.sent(count);
                    work += 1;
                }
                Written::Nothing => {}
                Written::Ended => return Ok(Turn::Ends(Over::Lost)),
            }
        }
        Ok(Turn::Goes(work))
    }

    fn is_silent(&self, who: &Identity, now: Nanos) -> bool {
        let keep_alive = u64::from(who.keep_alive.0) * 1_000_000;
        match self.phase {
            Phase::Established => now > self.heard_at.after(Nanos(keep_alive * 3 / 2)),
            Phase::Negotiating | Phase::Establishing => now > self.began.after(LOGON_MAX),
        }
    }

    /// Keeps this side alive, and asks for what is missing.
    fn keep_up(&mut self, (who, told): (&Identity, &VersionTold), utc: Nanos, now: Nanos) {
        if self.phase != Phase::Established {
            return;
        }
        let keep_alive = u64::from(who.keep_alive.0) * 1_000_000;
        if now >= self.said_at.after(Nanos(keep_alive / 2)) {
            self.said_at = now;
            self.put(&Sequence {
                session: who.session,
                next_sequence: MessageSequence(told.next_sequence()),
                ..Sequence::blank()
            });
        }
        let next = told.next_report();
        if self.again.is_empty() && next < self.live {
            let count = (self.live - next).min(RETRANSMIT_COUNT_MAX);
            self.again = next..next + count;
            self.put(&RetransmitRequest {
                session: who.session,
                from_sequence: MessageSequence(next),
                count,
                timestamp: utc,
                ..RetransmitRequest::blank()
            });
        }
    }

    fn hear_all(
        &mut self,
        (who, told): (&Identity, &mut VersionTold),
        utc: Nanos,
    ) -> Result<Option<Over>, Violation> {
        loop {
            match self.inbox.next_message() {
                Ok(None) => return Ok(None),
                Err(frame) => return Err(format!("a frame that cannot be cut: {frame:?}")),
                Ok(Some(_)) => {}
            }
            let message = self.inbox.last_message().to_vec();
            let template = peek_header(&message).map_or(0, |header| header.template_id);
            let over = if EVENT_TEMPLATES.contains(&template) {
                self.on_report(told, &message)?;
                None
            } else {
                self.on_session_message((who, told), template, &message, utc)?
            };
            if over.is_some() {
                return Ok(over);
            }
        }
    }

    fn on_report(&mut self, told: &mut VersionTold, message: &[u8]) -> Result<(), Violation> {
        let prefix = EventPrefix::peek(message).ok_or("a report without its prefix")?;
        let number = prefix.sequence.0;
        if self.phase != Phase::Established || prefix.session != told.session {
            return Err(format!(
                "a report of {} came to {}",
                prefix.session.0, told.session.0
            ));
        }
        if number == self.live {
            self.live += 1;
            // What came anew behind a hole is not kept: it is asked for again with the rest.
            if number > told.next_report() {
                return Ok(());
            }
        } else if number == self.again.start && !self.again.is_empty() {
            self.again.start += 1;
        } else {
            return Err(format!(
                "report {number} of session {} came where {} is the next one, or {:?} again",
                told.session.0, self.live, self.again
            ));
        }
        told.on_report(&prefix, message)
    }

    fn on_session_message(
        &mut self,
        (who, told): (&Identity, &mut VersionTold),
        template: u16,
        message: &[u8],
        utc: Nanos,
    ) -> Result<Option<Over>, Violation> {
        let bad = || format!("template {template} came while {:?}", self.phase);
        match template {
            NegotiationResponse::TEMPLATE_ID if self.phase == Phase::Negotiating => {
                told.opened = true;
                self.establish(who, told, utc);
            }
            NegotiationReject::TEMPLATE_ID if self.phase == Phase::Negotiating => {
                let reject = NegotiationReject::read(message).ok_or_else(bad)?;
                let stale = reject.code.decode() == Some(NegotiationRejectCode::StaleVersion);
                // A version whose opening was lost on its way back is stale when it is asked for again.
                return Ok(Some(if stale { Over::Unusable } else { Over::Refused }));
            }
            EstablishmentAck::TEMPLATE_ID if self.phase == Phase::Establishing => {
                let ack = EstablishmentAck::read(message).ok_or_else(bad)?;
                if ack.expected_sequence.0 > told.next_sequence() {
                    return Err(format!(
                        "message {} is expected before it was sent",
                        ack.expected_sequence.0
                    ));
                }
                self.phase = Phase::Established;
                self.live = ack.next_sequence.0;
                if self.live < told.next_report() {
                    return Err(format!(
                        "report {} is announced as new, and was told before",
                        self.live
                    ));
                }
            }
            EstablishmentReject::TEMPLATE_ID if self.phase == Phase::Establishing => {
                let reject = EstablishmentReject::read(message).ok_or_else(bad)?;
                return self.on_refused(told, &reject).map(Some);
            }
            Sequence::TEMPLATE_ID if self.phase == Phase::Established => {
                let alive = Sequence::read(message).ok_or_else(bad)?;
                if alive.next_sequence.0 != self.live {
                    return Err(format!(
                        "report {} is announced where {} is the next",
                        alive.next_sequence.0, self.live
                    ));
                }
            }
            NotApplied::TEMPLATE_ID => {
                let news = NotApplied::read(message).ok_or_else(bad)?;
                let from = news.from_sequence.0;
                told.on_not_applied(from..from.saturating_add(news.count))?;
            }
            Busy::TEMPLATE_ID => {
                let busy = Busy::read(message).ok_or_else(bad)?;
                told.busy.push(busy.sequence.0);
            }
            Retransmission::TEMPLATE_ID => {
                let head = Retransmission::read(message).ok_or_else(bad)?;
                if head.from_sequence.0 != self.again.start {
                    return Err(format!("{} come again, unasked", head.from_sequence.0));
                }
            }
            RetransmitReject::TEMPLATE_ID => {
                return Err("reports that were sent cannot be sent again".to_owned());
            }
            Leader::TEMPLATE_ID => {
                let news = Leader::read(message).ok_or_else(bad)?;
                let address = IpAddr::from(news.address.0).to_canonical();
                self.leader = Some(SocketAddr::new(address, news.port));
            }
            Terminate::TEMPLATE_ID => return Ok(Some(Over::Lost)),
            _ => return Err(bad()),
        }
        Ok(None)
    }

    fn on_refused(
        &self,
        told: &VersionTold,
        reject: &EstablishmentReject,
    ) -> Result<Over, Violation> {
        match reject.code.decode() {
            Some(EstablishmentRejectCode::Unnegotiated) if told.opened => Err(format!(
                "version {} was opened, and is not known any more",
                told.version.0
            )),
            Some(EstablishmentRejectCode::Sequence) => Err(format!(
                "message {} is expected before it was sent",
                reject.expected_sequence.0
            )),
            _ => Ok(Over::Refused),
        }
    }
}

fn sign<M: Message>(who: &Identity, request: &M) -> Digest {
    who.key
        .sign(&request.bytes()[..M::BYTES - size_of::<Digest>()])
}
