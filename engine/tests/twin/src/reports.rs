//! Chapter 1, rules 3 to 5: how events are numbered and addressed.
//!
//! Called by every chapter that states a fact or answers a session.
//!
//! Always holds: events are numbered without gap; a report is numbered in its session's flow if its
//! template says so.

use bytemuck::bytes_of;
use exahour_wire::events::EventPrefix;
use exahour_wire::ids::{EventSequence, MessageSequence, SessionId};
use exahour_wire::message::Message;

use crate::twin::Twin;

/// Whether a report with this template takes a number of its session's flow: rule 1.4.
fn is_numbered(template: u16) -> bool {
    matches!(template, 301..=306 | 310..=312 | 314..=319 | 324..=325 | 328 | 338 | 339 | 353)
}

impl Twin {
    /// States a fact that is addressed to nobody.
    pub(crate) fn fact<M: Message>(&mut self, event: M) {
        self.write(SessionId::NONE, MessageSequence::NONE, event);
    }

    /// Reports to a session, or to nobody where that is the exchange itself.
    pub(crate) fn report<M: Message>(&mut self, to: SessionId, event: M) {
        let mut number = MessageSequence::NONE;
        if is_numbered(M::TEMPLATE_ID)
            && let Some(session) = self.sessions.get_mut(&to)
        {
            number = MessageSequence(session.outbound);
            session.outbound += 1;
            self.count_activity(to, bytes_of(&event));
        }
        self.write(to, number, event);
    }

    /// Reports to a session without taking a number, whatever the template.
    pub(crate) fn report_unnumbered<M: Message>(&mut self, to: SessionId, event: M) {
        self.write(to, MessageSequence::NONE, event);
    }

    fn write<M: Message>(&mut self, session: SessionId, sequence: MessageSequence, event: M) {
        self.counts.events += 1;
        let prefix = EventPrefix {
            header: M::HEADER,
            session,
            sequence,
            event: EventSequence(self.counts.events),
            time: self.now,
            command: self.command,
        };
        self.output.extend_from_slice(bytes_of(&prefix));
        self.output
            .extend_from_slice(&bytes_of(&event)[size_of::<EventPrefix>()..]);
    }
}
