//! The client's side of a session without I/O and clock: bytes and time in, events and bytes out.
//!
//! Driven by `connection`.
//!
//! Always holds: a report is delivered when its number is the next one, and never again; a hole is
//! filled by asking; numbers of messages are given out once in a version, and each that was not
//! applied is told once.
//!
//! ```text
//! Apart --negotiate--> Negotiating --response--> Negotiated --establish--> Establishing --ack--+
//!   ^  +------------------- establish (known version) ------------------------^                v
//!   +------------------------------ connection lost, Terminate --------------------- Established
//! ```

use std::net::{Ipv6Addr, SocketAddr};
use std::ops::Range;

use exahour_wire::codes::{FlowType, Raw, TerminationCode};
use exahour_wire::events::{EventPrefix, SequenceGap};
use exahour_wire::ids::{MessageSequence, SessionVersion};
use exahour_wire::limits::{MESSAGE_BYTES_MAX, RETRANSMIT_COUNT_MAX};
use exahour_wire::message::{Digest, HEADER_BYTES, Message, peek_header};
use exahour_wire::session::{
    Busy, Establish, EstablishmentAck, EstablishmentReject, Leader, Negotiate, NegotiationReject,
    NegotiationResponse, NotApplied, Retransmission, RetransmitReject, RetransmitRequest, Sequence,
    Terminate,
};
use exahour_wire::units::Nanos;

use super::config::ClientConfig;
use super::error::ClientError;
use super::held::Held;
use super::lost::Lost;
use crate::clock::Steady;
use crate::inbox::{BadFrame, Inbox};
use crate::outbox::Outbox;

/// The first template that is an event.
const EVENT_TEMPLATE_MIN: u16 = 300;
const EVENT_TEMPLATE_END: u16 = 400;

/// The exchange never applies a message with this number, and gives it to every report that comes after
/// all others.
const NUMBERS_END: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Apart,
    Negotiating,
    Negotiated,
    Establishing,
    Established,
}

/// Where the bytes of a report are.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// In the inbox: the message taken last.
    Inbox,
    /// Among the held reports.
    Held(Range<usize>),
}

/// What was found in the bytes received.
#[derive(Clone, Debug)]
pub(super) enum Found {
    Negotiated,
    Established,
    Report(EventPrefix, Place),
    NotApplied(MessageSequence, u32),
    Busy(MessageSequence),
    Terminated(Raw<TerminationCode>, u32),
}

/// The time of one call: UTC for stamps, the steady time for silence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) utc: Nanos,
    pub(super) steady: Steady,
}

#[derive(Debug)]
pub(super) struct Core {
    config: ClientConfig,
    phase: Phase,
    version: SessionVersion,
    /// The number of the next message to send.
    next_sequence: u32,
    /// The number of the next report to deliver.
    next_report: u32,
    /// The exchange has sent all reports before this one.
    reports_end: u32,
    /// A retransmission is under way up to this report.
    asked_until: Option<u32>,
    /// Where orders are taken, as the node of this connection has said.
    leader: Option<SocketAddr>,
    held: Held,
    lost: Lost,
    timestamp: Nanos,
    heard_at: Steady,
    sent_at: Steady,
    pub(super) inbox: Inbox,
    pub(super) outbox: Outbox,
}

impl Core {
    pub(super) fn new(config: ClientConfig) -> Self {
        Self {
            phase: Phase::Apart,
            version: SessionVersion::NONE,
            next_sequence: 1,
            next_report: 1,
            reports_end: 1,
            asked_until: None,
            leader: None,
            held: Held::new(config.held_bytes),
            lost: Lost::new(),
            timestamp: Nanos(0),
            heard_at: Steady::default(),
            sent_at: Steady::default(),
            inbox: Inbox::new(config.inbox_bytes),
            outbox: Outbox::new(config.outbox_bytes),
            config,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    pub(super) fn position(&self) -> (SessionVersion, MessageSequence, MessageSequence) {
        let next_sequence = MessageSequence(self.next_sequence);
        (
            self.version,
            next_sequence,
            MessageSequence(self.next_report),
        )
    }

    /// Where orders are taken, if the node of this connection has said so.
    pub(super) fn leader(&self) -> Option<SocketAddr> {
        self.leader
    }

    /// Which messages the user was told of as not applied.
    pub(super) fn lost(&self) -> &Lost {
        &self.lost
    }

    /// Goes back to what the user was told of as not applied at an earlier time.
    pub(super) fn restore_lost(&mut self, earlier: &Lost) {
        self.lost.restore(earlier);
    }

    /// Takes up a version where it stands.
    pub(super) fn resume(&mut self, version: SessionVersion, sent: u32, reported: u32) {
        self.version = version;
        self.next_sequence = sent.max(1);
        self.next_report = reported.max(1);
    }

    /// Forgets the connection, not the session.
    pub(super) fn on_apart(&mut self) {
        self.phase = Phase::Apart;
        self.inbox.clear();
        self.outbox.clear();
        self.held.clear();
        self.asked_until = None;
        self.leader = None;
        self.reports_end = self.next_report;
    }

    fn stamp(&mut self, now: Nanos) -> Nanos {
        // Two attempts within one step of the clock must differ.
        self.timestamp = now.max(self.timestamp.after(Nanos(1)));
        self.timestamp
    }

    /// Whether the version is the user's choice, and so the same in every attempt.
    pub(super) fn names_version(&self) -> bool {
        self.config.version.is_some()
    }

    /// Takes a version as negotiated that this client asked for before without hearing the answer.
    pub(super) fn on_negotiated_before(&mut self) {
        self.phase = Phase::Negotiated;
    }

    /// Introduces a new version.
    pub(super) fn negotiate(&mut self, now: Now) -> Result<(), ClientError> {
        let timestamp = self.stamp(now.utc);
        self.version = self.config.version.unwrap_or(SessionVersion(timestamp.0));
        self.next_sequence = 1;
        self.next_report = 1;
        self.reports_end = 1;
        self.lost.clear();
        let mut request = Negotiate {
            session: self.config.session,
            client_flow: FlowType::Idempotent.into(),
            version: self.version,
            timestamp,
            ..Negotiate::blank()
        };
        request.credentials = self.sign(&request);
        self.phase = Phase::Negotiating;
        self.put(&request, now)
    }

    /// Asks which message the exchange expects, by an establishment that it must refuse: number
    /// zero is below every number. The refusal changes nothing, so it can be asked until answered.
    pub(super) fn probe(&mut self, now: Now) -> Result<(), ClientError> {
        self.ask_to_establish(MessageSequence::NONE, now)
    }

    /// Takes the answer to a probe: what was sent from `expected` on was not applied. The exchange
    /// will say so too, once it is told the next number.
    pub(super) fn on_probed(&mut self, expected: MessageSequence) {
        // What an earlier probe found may still have to be told: it is kept.
        self.lost.on_found(expected.0..self.next_sequence);
        self.next_sequence = self.next_sequence.max(expected.0);
    }

    /// Opens the flow where it stands.
    pub(super) fn establish(&mut self, now: Now) -> Result<(), ClientError> {
        self.ask_to_establish(MessageSequence(self.next_sequence), now)
    }

    fn ask_to_establish(&mut self, next: MessageSequence, now: Now) -> Result<(), ClientError> {
        let timestamp = self.stamp(now.utc);
        let mut request = Establish {
            session: self.config.session,
            keep_alive: self.config.keep_alive,
            version: self.version,
            timestamp,
            next_sequence: next,
            cancel_mode: self.config.cancel_mode.into(),
            cancel_grace: self.config.cancel_grace,
            ..Establish::blank()
        };
        request.credentials = self.sign(&request);
        self.phase = Phase::Establishing;
        self.put(&request, now)
    }

    fn sign<M: Message>(&self, request: &M) -> Digest {
        let signed = &request.bytes()[..M::BYTES - size_of::<Digest>()];
        self.config.key.sign(signed)
    }

    pub(super) fn terminate(&mut self, now: Now) -> Result<(), ClientError> {
        let message = Terminate {
            session: self.config.session,
            code: TerminationCode::Finished.into(),
            ..Terminate::blank()
        };
        self.put(&message, now)
    }

    /// Queues a command, with session and number filled in; gives its number.
    #[inline]
    pub(super) fn queue(
        &mut self,
        command: &[u8],
        now: Now,
    ) -> Result<MessageSequence, ClientError> {
        if self.phase != Phase::Established {
            let reason = "not established".to_string();
            return Err(ClientError::Disconnected { reason });
        }
        let sequence = self.next_sequence;
        if sequence == NUMBERS_END {
            return Err(exhausted("message numbers"));
        }
        let mut message = [0; MESSAGE_BYTES_MAX];
        let message = &mut message[..command.len()];
        message.copy_from_slice(command);
        let session = self.config.session.0.to_le_bytes();
        message[HEADER_BYTES..HEADER_BYTES + 4].copy_from_slice(&session);
        message[HEADER_BYTES + 4..HEADER_BYTES + 8].copy_from_slice(&sequence.to_le_bytes());
        self.outbox
            .push(message)
            .map_err(|_| ClientError::Backlog)?;
        self.next_sequence += 1;
        self.sent_at = now.steady;
        Ok(MessageSequence(sequence))
    }

    fn put<M: Message>(&mut self, message: &M, now: Now) -> Result<(), ClientError> {
        self.sent_at = now.steady;
        let pushed = self.outbox.push(message.bytes());
        pushed.map(|_| ()).map_err(|_| ClientError::Backlog)
    }

    /// Says that bytes were put into the inbox.
    #[inline]
    pub(super) fn on_received(&mut self, count: usize, now: Now) {
        self.heard_at = now.steady;
        self.inbox.filled(count);
    }

    /// Looks at the clock: keeps this side alive and notices that the other is silent.
    #[inline]
    pub(super) fn on_time(&mut self, now: Now) -> Result<(), ClientError> {
        if self.phase != Phase::Established {
            return Ok(());
        }
        let keep_alive = Nanos::from(self.config.keep_alive);
        if now.steady > self.heard_at.after(Nanos(keep_alive.0 + keep_alive.0 / 2)) {
            let reason = "the exchange was silent for too long".to_string();
            return Err(ClientError::Disconnected { reason });
        }
        if now.steady >= self.sent_at.after(Nanos(keep_alive.0 / 2)) {
            let alive = Sequence {
                session: self.config.session,
                next_sequence: MessageSequence(self.next_sequence),
                ..Sequence::blank()
            };
            return match self.put(&alive, now) {
                // What waits is a sign of life too, as soon as the exchange reads it.
                Ok(()) | Err(ClientError::Backlog) => Ok(()),
                Err(error) => Err(error),
            };
        }
        Ok(())
    }

    /// How long this side may sleep before it must look at the clock again.
    pub(super) fn patience(&self, now: Now) -> Nanos {
        let keep_alive = Nanos::from(self.config.keep_alive);
        let due = self.sent_at.after(Nanos(keep_alive.0 / 2));
        due.since(now.steady)
    }

    /// The next thing found in what was received.
    #[inline]
    pub(super) fn find(&mut self, now: Now) -> Result<Option<Found>, ClientError> {
        loop {
            if self.phase == Phase::Established
                && let Some(lost) = self.lost.next()
            {
                let (from, count) = (MessageSequence(lost.start), lost.end - lost.start);
                return Ok(Some(Found::NotApplied(from, count)));
            }
            if let Some(found) = self.take_held(now)? {
                return Ok(Some(found));
            }
            let message = match self.inbox.next_message() {
                Ok(Some(message)) => message,
                Ok(None) => return Ok(None),
                Err(frame) => return Err(unreadable_frame(frame)),
            };
            let template = peek_header(message).map_or(0, |header| header.template_id);
            let found = if (EVENT_TEMPLATE_MIN..EVENT_TEMPLATE_END).contains(&template) {
                match EventPrefix::peek(message) {
                    Some(prefix) => self.on_report(prefix, now)?,
                    None => return Err(unreadable(template)),
                }
            } else {
                self.on_session_message(template, now)?
            };
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    /// The bytes of a report that was found.
    #[inline]
    pub(super) fn bytes_at(&self, place: Place) -> &[u8] {
        match place {
            Place::Inbox => self.inbox.last_message(),
            Place::Held(range) => self.held.at(range),
        }
    }

    #[inline]
    fn on_report(&mut self, prefix: EventPrefix, now: Now) -> Result<Option<Found>, ClientError> {
        let sequence = prefix.sequence.0;
        if sequence == self.next_report {
            self.on_delivered(Place::Inbox)?;
            return Ok(Some(Found::Report(prefix, Place::Inbox)));
        }
        if sequence > self.next_report {
            self.held.keep(self.inbox.last_message());
            self.reports_end = self.reports_end.max(sequence);
            self.ask(now)?;
        }
        Ok(None)
    }

    #[inline]
    fn on_delivered(&mut self, place: Place) -> Result<(), ClientError> {
        if self.next_report == NUMBERS_END {
            return Err(exhausted("report numbers"));
        }
        if let Some(gap) = SequenceGap::read(self.bytes_at(place)) {
            let from = gap.from_sequence.0;
            self.lost.on_reported(from..from.saturating_add(gap.count));
        }
        self.next_report += 1;
        self.reports_end = self.reports_end.max(self.next_report);
        if self.asked_until.is_some_and(|end| self.next_report >= end) {
            self.asked_until = None;
        }
        Ok(())
    }

    #[inline]
    fn take_held(&mut self, now: Now) -> Result<Option<Found>, ClientError> {
        while let Some(first) = self.held.first() {
            if first.0 > self.next_report {
                break;
            }
            let place = self.held.take();
            if first.0 == self.next_report {
                self.on_delivered(Place::Held(place.clone()))?;
                let prefix = EventPrefix::peek(self.held.at(place.clone()));
                return Ok(prefix.map(|prefix| Found::Report(prefix, Place::Held(place))));
            }
        }
        if self.next_report < self.reports_end {
            self.ask(now)?;
        }
        Ok(None)
    }

    /// Asks for the missing reports, unless they are on their way.
    fn ask(&mut self, now: Now) -> Result<(), ClientError> {
        let until = self
            .held
            .first()
            .map_or(self.reports_end, |first| first.0.min(self.reports_end));
        let count = until
            .saturating_sub(self.next_report)
            .min(RETRANSMIT_COUNT_MAX);
        if self.asked_until.is_some() || count == 0 || self.phase != Phase::Established {
            return Ok(());
        }
        let request = RetransmitRequest {
            session: self.config.session,
            from_sequence: MessageSequence(self.next_report),
            count,
            timestamp: now.utc,
            ..RetransmitRequest::blank()
        };
        match self.put(&request, now) {
            Ok(()) => self.asked_until = Some(self.next_report + count),
            // Asked again once some of what waits is sent.
            Err(ClientError::Backlog) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn on_session_message(
        &mut self,
        template: u16,
        now: Now,
    ) -> Result<Option<Found>, ClientError> {
        let message = self.inbox.last_message();
        let bad = || unreadable(template);
        match template {
            NegotiationResponse::TEMPLATE_ID if self.phase == Phase::Negotiating => {
                self.phase = Phase::Negotiated;
                Ok(Some(Found::Negotiated))
            }
            NegotiationReject::TEMPLATE_ID => {
                let reject = NegotiationReject::read(message).ok_or_else(bad)?;
                let (code, back_off) = (reject.code, reject.back_off);
                Err(ClientError::NegotiationRefused { code, back_off })
            }
            EstablishmentAck::TEMPLATE_ID if self.phase == Phase::Establishing => {
                let ack = EstablishmentAck::read(message).ok_or_else(bad)?;
                self.phase = Phase::Established;
                self.reports_end = ack.next_sequence.0;
                self.ask(now)?;
                Ok(Some(Found::Established))
            }
            EstablishmentReject::TEMPLATE_ID => {
                let reject = EstablishmentReject::read(message).ok_or_else(bad)?;
                Err(ClientError::EstablishmentRefused {
                    code: reject.code,
                    expected: reject.expected_sequence,
                    back_off: reject.back_off,
                })
            }
            Sequence::TEMPLATE_ID => {
                let alive = Sequence::read(message).ok_or_else(bad)?;
                self.reports_end = self.reports_end.max(alive.next_sequence.0);
                self.ask(now)?;
                Ok(None)
            }
            NotApplied::TEMPLATE_ID => {
                let news = NotApplied::read(message).ok_or_else(bad)?;
                let from = news.from_sequence.0;
                self.lost.on_found(from..from.saturating_add(news.count));
                Ok(None)
            }
            Busy::TEMPLATE_ID => {
                let busy = Busy::read(message).ok_or_else(bad)?;
                self.lost.on_busy(busy.sequence.0);
                Ok(Some(Found::Busy(busy.sequence)))
            }
            // The reports that follow carry their numbers.
            Retransmission::TEMPLATE_ID => Ok(None),
            RetransmitReject::TEMPLATE_ID => {
                let reject = RetransmitReject::read(message).ok_or_else(bad)?;
                Err(ClientError::RetransmissionRefused {
                    from: MessageSequence(self.next_report),
                    code: reject.code,
                })
            }
            Leader::TEMPLATE_ID => {
                let leader = Leader::read(message).ok_or_else(bad)?;
                let ip = Ipv6Addr::from(leader.address.0).to_canonical();
                self.leader = Some(SocketAddr::from((ip, leader.port)));
                Ok(None)
            }
            Terminate::TEMPLATE_ID => {
                let end = Terminate::read(message).ok_or_else(bad)?;
                self.phase = Phase::Apart;
                Ok(Some(Found::Terminated(end.code, end.detail)))
            }
            _ => Err(bad()),
        }
    }
}

fn exhausted(what: &'static str) -> ClientError {
    ClientError::VersionExhausted { what }
}

fn unreadable(template: u16) -> ClientError {
    let what = format!("a message with template {template} that does not belong here");
    ClientError::Unreadable { what }
}

fn unreadable_frame(frame: BadFrame) -> ClientError {
    let what = format!("a frame that cannot be cut: {frame:?}");
    ClientError::Unreadable { what }
}

#[cfg(test)]
mod tests {
    use exahour_wire::events::OrderAccepted;
    use exahour_wire::framing::framing_header;
    use exahour_wire::ids::SessionId;
    use exahour_wire::orders::NewOrder;

    use super::*;
    use crate::credentials::Key;

    const NOW: Now = Now {
        utc: Nanos(1),
        steady: Steady(1),
    };

    fn established(sent: u32, reported: u32) -> Core {
        let mut core = Core::new(ClientConfig::new(SessionId(1), Key::new([1; 32])));
        core.resume(SessionVersion(1), sent, reported);
        core.on_apart();
        core.phase = Phase::Established;
        core
    }

    fn receive(core: &mut Core, sequence: u32) {
        let report = OrderAccepted {
            sequence: MessageSequence(sequence),
            ..OrderAccepted::blank()
        };
        let framed = [&framing_header(OrderAccepted::BYTES), report.bytes()].concat();
        core.inbox.room()[..framed.len()].copy_from_slice(&framed);
        core.on_received(framed.len(), NOW);
    }

    fn found(core: &mut Core) -> Option<u32> {
        match core.find(NOW).unwrap()? {
            Found::Report(prefix, _) => Some(prefix.sequence.0),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_last_message_number_is_given_out_once_and_nothing_after_it() {
        let mut core = established(NUMBERS_END - 2, 1);
        for last in [NUMBERS_END - 2, NUMBERS_END - 1] {
            let given = core.queue(NewOrder::blank().bytes(), NOW).unwrap();
            assert_eq!(given.0, last);
        }
        let waiting = core.outbox.waiting();
        for _ in 0..3 {
            let refused = core.queue(NewOrder::blank().bytes(), NOW).unwrap_err();
            assert!(matches!(refused, ClientError::VersionExhausted { .. }));
        }
        assert_eq!(core.outbox.waiting(), waiting, "nothing was sent");
        assert_eq!(core.position().1.0, NUMBERS_END);
    }

    #[test]
    fn reports_that_share_the_last_number_are_told_as_the_end() {
        let mut core = established(1, NUMBERS_END - 2);
        // The one before the last is missing, so that the end is held.
        receive(&mut core, NUMBERS_END - 2);
        assert_eq!(found(&mut core), Some(NUMBERS_END - 2));
        receive(&mut core, NUMBERS_END);
        assert_eq!(found(&mut core), None);
        receive(&mut core, NUMBERS_END - 1);
        assert_eq!(found(&mut core), Some(NUMBERS_END - 1));
        for _ in 0..2 {
            let end = core.find(NOW).unwrap_err();
            assert!(matches!(end, ClientError::VersionExhausted { .. }));
            receive(&mut core, NUMBERS_END);
        }
        assert_eq!(core.position().2.0, NUMBERS_END);
    }

    #[test]
    fn a_full_outbox_is_no_reason_to_call_a_connection_broken() {
        let mut core = established(1, 1);
        while core.queue(NewOrder::blank().bytes(), NOW).is_ok() {}
        let steady = NOW.steady.after(Nanos::from(core.config.keep_alive));
        core.on_time(Now { steady, ..NOW }).unwrap();
    }
}
