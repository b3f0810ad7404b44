//! The open flow of a session: commands in, reports out, reports again.
//!
//! Called by the session's dispatch of messages, and by `order_gateway` with events.
//!
//! Always holds: a command is handed on whole or answered as busy at once; a report leaves as the
//! bytes that lie in the event log. Does not: judge sequence numbers; the engine's events do.

use exahour_wire::codes::{RetransmitRejectCode, TerminationCode};
use exahour_wire::events::{EventPrefix, SequenceGap};
use exahour_wire::ids::{MessageSequence, SessionId};
use exahour_wire::limits::RETRANSMIT_COUNT_MAX;
use exahour_wire::message::Message;
use exahour_wire::session::{Busy, NotApplied, RetransmitReject, RetransmitRequest, Sequence};

use super::{Desk, Retransmission, Session, State, Step, breach};
use crate::inbound::Command;
use crate::ingress::Refused;
use crate::outbox::OutboxFull;

impl Session {
    #[inline]
    pub(super) fn on_command(&mut self, command: &Command<'_>, desk: &mut Desk<'_>) -> Step {
        let State::Established(flow) = &mut self.state else {
            return self.on_early(desk);
        };
        if command.session != flow.session {
            return self.on_wrong_session(desk);
        }
        if flow.cut_off.is_some() {
            return self.on_late_command(command.sequence, desk);
        }
        match desk.ingress.push_wire(command.bytes) {
            Ok(()) => {
                // The last number is never applied, so it leaves no gap either.
                if command.sequence >= flow.next_message && command.sequence.0 != u32::MAX {
                    flow.next_message = MessageSequence(command.sequence.0 + 1);
                }
                return Step::Continue;
            }
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

    pub(super) fn on_sequence(&mut self, message: &Sequence, desk: &mut Desk<'_>) -> Step {
        match &self.state {
            State::Established(flow) if message.session != flow.session => {
                self.on_wrong_session(desk)
            }
            State::Established(_) => Step::Continue,
            _ => self.on_early(desk),
        }
    }

    pub(super) fn on_retransmit(
        &mut self,
        request: &RetransmitRequest,
        desk: &mut Desk<'_>,
    ) -> Step {
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

    /// Handles the engine's news that messages of the session were not applied: says so at once. The
    /// report of it is handled too, and can be had again where this message is lost.
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
    pub fn on_report(&mut self, bytes: &[u8], prefix: &EventPrefix, desk: &mut Desk<'_>) -> Step {
        let State::Established(flow) = &mut self.state else {
            return Step::Continue;
        };
        if flow.session != prefix.session {
            return Step::Continue;
        }
        // Reports after the last number all carry it.
        flow.next_report = MessageSequence(prefix.sequence.0.saturating_add(1));
        self.sent_at = desk.now;
        match desk.outbox.push(bytes) {
            Ok(_) => Step::Continue,
            Err(OutboxFull) => self.on_slow_reader(desk),
        }
    }
}
