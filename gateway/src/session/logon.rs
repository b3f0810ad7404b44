//! How a connection becomes a session: Negotiate and Establish, and every way to be refused.
//!
//! Called by the session's dispatch of messages, and by `order_gateway` with the engine's answers.
//!
//! Always holds: nothing reaches the engine before the client has proved who it is; a refusal leaves
//! the connection where it may try again, until its time to log on is over.
//! Does not: decide between two connections for one session (that is `order_gateway`).

use exahour_wire::codes::{
    CancelOnDisconnect, EstablishmentRejectCode, FlowType, NegotiationRejectCode, Raw,
    TerminationCode,
};
use exahour_wire::events::{SessionOpened, SessionReady};
use exahour_wire::ids::SessionId;
use exahour_wire::internal::{OpenSession, ReadySession};
use exahour_wire::message::{Digest, Message};
use exahour_wire::session::{
    Establish, EstablishmentAck, EstablishmentReject, Negotiate, NegotiationReject,
    NegotiationResponse,
};
use exahour_wire::units::Millis;

use crate::duty::Duty;

use super::{Claim, Desk, Flow, Retransmission, Session, State, Step, breach};

impl Session {
    pub(super) fn on_negotiate(&mut self, request: &Negotiate, desk: &mut Desk<'_>) -> Step {
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
        if let Duty::Follows(_) = desk.duty {
            let code = NegotiationRejectCode::NotLeader;
            return self.refuse_negotiation(request, code, Millis(0), desk);
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
        if desk.ingress.push_logon(&open).is_err() {
            let code = NegotiationRejectCode::Busy;
            return self.refuse_negotiation(request, code, Millis(0), desk);
        }
        self.state = State::Negotiating(*request);
        Step::Continue
    }

    pub(super) fn refuse_negotiation(
        &mut self,
        request: &Negotiate,
        code: impl Into<Raw<NegotiationRejectCode>>,
        back_off: Millis,
        desk: &mut Desk<'_>,
    ) -> Step {
        let code = code.into();
        if code.decode() == Some(NegotiationRejectCode::NotLeader)
            && self.name_leader(request.session, desk) == Step::End
        {
            return Step::End;
        }
        let reject = NegotiationReject {
            session: request.session,
            code,
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
        if event.version != request.version || event.session != request.session {
            return Step::Continue;
        }
        if event.refusal.0 != 0 {
            self.state = State::Connected;
            return self.refuse_negotiation(&request, event.refusal, Millis(0), desk);
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

    pub(super) fn on_establish(&mut self, request: &Establish, desk: &mut Desk<'_>) -> Step {
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
        if let Duty::Follows(_) = desk.duty {
            let code = EstablishmentRejectCode::NotLeader;
            return self.refuse_establishment(request, code, Millis(0), desk);
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

    pub(super) fn refuse_establishment(
        &mut self,
        request: &Establish,
        code: EstablishmentRejectCode,
        back_off: Millis,
        desk: &mut Desk<'_>,
    ) -> Step {
        if code == EstablishmentRejectCode::NotLeader
            && self.name_leader(request.session, desk) == Step::End
        {
            return Step::End;
        }
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
        if desk.ingress.push_logon(&ready).is_err() {
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
        if event.version != request.version || event.session != request.session {
            return Step::Continue;
        }
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
            first_message: event.expected_sequence,
            next_message: event.expected_sequence,
            retransmission: Retransmission::Idle,
            cut_off: None,
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
    let signed = &request.bytes()[..M::BYTES - size_of::<Digest>()];
    let key = desk.keys.key_of(session);
    if key.is_some_and(|key| key.accepts(signed, credentials)) {
        // Whoever failed in its name, the owner does not wait.
        desk.back_offs.on_success(session);
        return Ok(());
    }
    let wait = desk.back_offs.remaining(session, desk.now);
    if wait > Millis(0) {
        return Err((Denial::BackOff, wait));
    }
    let wait = desk.back_offs.on_failure(session, desk.now);
    Err((Denial::Credentials, wait))
}
