//! Numbers events and hands them out.
//!
//! Called by `execute`, the only stage that emits.
//!
//! Always holds: event numbers have no gap; the numbered reports of one version of a session have
//! no gap. A notice, addressed but not numbered, is news for the gateway, not for the client.

use exahour_wire::events::EventPrefix;
use exahour_wire::ids::{CommandSequence, EventSequence, MessageSequence, SessionId};
use exahour_wire::message::Message;
use exahour_wire::units::Nanos;

use crate::batch::EventSink;

/// The command at hand, and where its events go.
pub(crate) struct Output<'s, S: EventSink> {
    pub(crate) time: Nanos,
    pub(crate) command: CommandSequence,
    pub(crate) sink: &'s mut S,
}

/// The counters of events and of each session's reports.
pub(crate) struct Reporter {
    events: u64,
    /// The next report's number, by session id.
    next_report: Vec<u32>,
}

const PREFIX_BYTES: usize = size_of::<EventPrefix>();

impl Reporter {
    pub(crate) fn new() -> Self {
        Self {
            events: 0,
            next_report: vec![1],
        }
    }

    /// Makes room for a session.
    pub(crate) fn add_session(&mut self, session: SessionId) {
        let place = session.0 as usize;
        if place >= self.next_report.len() {
            self.next_report.resize(place + 1, 1);
        }
    }

    /// Starts the numbers of a session again.
    pub(crate) fn restart(&mut self, session: SessionId) {
        self.next_report[session.0 as usize] = 1;
    }

    /// Goes on where a snapshot stood: the session's next report has this number.
    pub(crate) fn resume(&mut self, session: SessionId, next: MessageSequence) {
        self.next_report[session.0 as usize] = next.0;
    }

    /// Goes on behind this many events.
    pub(crate) fn resume_events(&mut self, events: u64) {
        self.events = events;
    }

    /// The number of the session's next report.
    #[inline]
    pub(crate) fn next_report(&self, session: SessionId) -> MessageSequence {
        MessageSequence(self.next_report[session.0 as usize])
    }

    /// Emits a fact that is no report.
    #[inline]
    pub(crate) fn fact<M: Message, S: EventSink>(&mut self, out: &mut Output<'_, S>, event: M) {
        self.emit(out, SessionId::NONE, MessageSequence::NONE, event);
    }

    /// Emits a numbered report to a session; to session zero it is a fact.
    #[inline]
    pub(crate) fn report<M: Message, S: EventSink>(
        &mut self,
        out: &mut Output<'_, S>,
        session: SessionId,
        event: M,
    ) {
        let mut sequence = MessageSequence::NONE;
        if session != SessionId::NONE {
            let next = &mut self.next_report[session.0 as usize];
            sequence = MessageSequence(*next);
            // Four billion reports in one version: the client must negotiate another.
            *next = next.saturating_add(1);
        }
        self.emit(out, session, sequence, event);
    }

    /// Emits news for the gateway of a session.
    #[inline]
    pub(crate) fn notice<M: Message, S: EventSink>(
        &mut self,
        out: &mut Output<'_, S>,
        session: SessionId,
        event: M,
    ) {
        self.emit(out, session, MessageSequence::NONE, event);
    }

    #[inline]
    fn emit<M: Message, S: EventSink>(
        &mut self,
        out: &mut Output<'_, S>,
        session: SessionId,
        sequence: MessageSequence,
        mut event: M,
    ) {
        self.events += 1;
        let prefix = EventPrefix {
            header: M::HEADER,
            session,
            sequence,
            event: EventSequence(self.events),
            time: out.time,
            command: out.command,
        };
        bytemuck::bytes_of_mut(&mut event)[..PREFIX_BYTES]
            .copy_from_slice(bytemuck::bytes_of(&prefix));
        out.sink.emit(event.bytes());
    }

    /// Events so far.
    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    /// The counters of all sessions, by id.
    pub(crate) fn counters(&self) -> &[u32] {
        &self.next_report
    }
}
