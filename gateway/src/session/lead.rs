//! What becomes of a connection whose node has lost the lead, or never had it.
//!
//! Called by the session's dispatch, and by `order_gateway` with each loss and with the log's news.
//!
//! Always holds: a message is told as not applied at most once on a connection by this, and only if it
//! was not handed on, or the engine has closed the flow without it; what was handed on and is not
//! settled by the log is never spoken of.
//! Does not: tell the engine of ends; the first command of the next leader closes every session.
//!
//! ```text
//!  Connected, Negotiated   refused NotLeader when they go on
//!  Negotiating             refused NotLeader ---> Connected
//!  Establishing            refused NotLeader ---> Connected
//!  Established             nothing handed on ---> Ending (NotLeader)
//!                          else ---> cut off --closed in the log, or too long---> Ending (NotLeader)
//! ```

use std::net::IpAddr;

#[cfg(feature = "defects")]
use exahour_journal::defects::{self, Defect};
use exahour_wire::codes::{
    DisconnectCause, EstablishmentRejectCode, NegotiationRejectCode, TerminationCode,
};
use exahour_wire::events::SessionClosed;
use exahour_wire::ids::{MessageSequence, SessionId};
use exahour_wire::message::{Ipv6, Message};
use exahour_wire::session::{Leader, NotApplied};
use exahour_wire::units::Millis;

use super::{Desk, Session, State, Step, breach};
use crate::clock::Steady;
use crate::duty::Duty;

/// A flow that reaches no engine any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct CutOff {
    /// The number after the last message that was told as not applied as it came, or was handed on.
    answered: MessageSequence,
    /// When the wait for the log ends.
    until: Steady,
}

impl Session {
    /// Handles the loss of the lead.
    pub fn on_lead_lost(&mut self, desk: &mut Desk<'_>) -> Step {
        self.owed = None;
        match &mut self.state {
            State::Connected | State::Negotiated { .. } => Step::Continue,
            State::Negotiating(request) => {
                let request = *request;
                self.state = State::Connected;
                let code = NegotiationRejectCode::NotLeader;
                self.refuse_negotiation(&request, code, Millis(0), desk)
            }
            State::Establishing(request, _) => {
                let request = *request;
                self.state = State::Connected;
                let code = EstablishmentRejectCode::NotLeader;
                self.refuse_establishment(&request, code, Millis(0), desk)
            }
            State::Established(flow) if flow.cut_off.is_some() => Step::Continue,
            State::Established(flow) if flow.next_message == flow.first_message => {
                self.say_end(breach(TerminationCode::NotLeader), desk)
            }
            State::Established(flow) => {
                #[cfg(feature = "defects")]
                if defects::armed(Defect::UntrueNotApplied) {
                    let (session, end) = (flow.session, flow.next_message);
                    return self.say_not_applied(session, MessageSequence(end.0 - 1), end, desk);
                }
                flow.cut_off = Some(CutOff {
                    answered: flow.next_message,
                    until: desk.now.after(desk.settings.log_patience),
                });
                Step::Continue
            }
            State::Ending => Step::End,
        }
    }

    /// Answers a command that came after the loss: it was not applied and never will be.
    #[cold]
    pub(super) fn on_late_command(
        &mut self,
        sequence: MessageSequence,
        desk: &mut Desk<'_>,
    ) -> Step {
        let State::Established(flow) = &mut self.state else {
            return Step::Continue;
        };
        let Some(cut_off) = &mut flow.cut_off else {
            return Step::Continue;
        };
        let from = cut_off.answered;
        // A number that was used is not answered again, and the last one is none.
        if sequence < from || sequence.0 == u32::MAX {
            return Step::Continue;
        }
        cut_off.answered = MessageSequence(sequence.0 + 1);
        let (session, end) = (flow.session, cut_off.answered);
        self.say_not_applied(session, from, end, desk)
    }

    /// Handles the engine's news that it closed a flow: ours, where nobody here asked for it. What was
    /// handed on and not applied by then never will be.
    pub fn on_closed(&mut self, event: &SessionClosed, desk: &mut Desk<'_>) -> Step {
        let State::Established(flow) = &self.state else {
            return Step::Continue;
        };
        if flow.version != event.version || flow.session != event.session {
            return Step::Continue;
        }
        let (from, end) = (event.expected_sequence, flow.next_message);
        if from != MessageSequence::NONE && from < end {
            let session = flow.session;
            if self.say_not_applied(session, from, end, desk) == Step::End {
                return Step::End;
            }
        }
        match event.cause.decode() {
            Some(DisconnectCause::NodeStopped) => {
                self.say_end(breach(TerminationCode::NotLeader), desk)
            }
            _ => self.on_superseded(desk),
        }
    }

    /// Whether a flow that was cut off has waited for the log too long.
    pub(super) fn has_waited(&self, desk: &Desk<'_>) -> bool {
        let State::Established(flow) = &self.state else {
            return false;
        };
        flow.cut_off.is_some_and(|cut_off| desk.now > cut_off.until)
    }

    fn say_not_applied(
        &mut self,
        session: SessionId,
        from: MessageSequence,
        end: MessageSequence,
        desk: &mut Desk<'_>,
    ) -> Step {
        let news = NotApplied {
            session,
            from_sequence: from,
            count: end.0 - from.0,
            ..NotApplied::blank()
        };
        self.answer(&news, desk)
    }

    /// Says where the leader is, if that is known, before a refusal.
    pub(super) fn name_leader(&mut self, session: SessionId, desk: &mut Desk<'_>) -> Step {
        match leader(session, desk.duty) {
            Some(leader) => self.answer(&leader, desk),
            None => Step::Continue,
        }
    }
}

/// Where the leader is, as a session is told; `None` where it is not known or is this node.
pub(super) fn leader(session: SessionId, duty: &Duty) -> Option<Leader> {
    let Duty::Follows(Some(address)) = duty else {
        return None;
    };
    let octets = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    };
    Some(Leader {
        session,
        port: address.port(),
        address: Ipv6(octets),
        ..Leader::blank()
    })
}
