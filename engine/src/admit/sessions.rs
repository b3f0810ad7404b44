//! The sessions as admission sees them: who may speak, and what was heard last.
//!
//! Always holds: a message number is admitted at most once in a version of a session, and versions
//! only grow.

use exahour_wire::codes::{
    CancelOnDisconnect, EstablishmentRejectCode, NegotiationRejectCode, Permissions,
};
use exahour_wire::ids::{MessageSequence, ParticipantId, SessionId, SessionVersion};
use exahour_wire::internal::{CloseSession, OpenSession, ReadySession};
use exahour_wire::limits::THROTTLE_REFUSALS_MAX;
use exahour_wire::reject::Reject;
use exahour_wire::units::Nanos;

use super::kill_switch::KillSwitch;
use super::throttle::Throttle;
use super::verdict::{Gap, Outcome, Verdict};

/// One session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session {
    pub(crate) participant: ParticipantId,
    pub(crate) permissions: Permissions,
    pub(crate) throttle: Throttle,
    pub(crate) version: SessionVersion,
    pub(crate) expected: MessageSequence,
    pub(crate) ready: bool,
    pub(crate) connection: u64,
    pub(crate) established_at: Nanos,
    pub(crate) kill_switch: KillSwitch,
}

/// Who sends a command, as far as permissions go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender {
    pub(crate) session: SessionId,
    pub(crate) participant: ParticipantId,
    pub(crate) permissions: Permissions,
    pub(crate) killed: bool,
}

impl Sender {
    /// Refuses a sender that has neither this permission nor that of an operator.
    #[inline]
    pub(crate) fn require(&self, permission: Permissions) -> Result<(), Reject> {
        let allowed = self.permissions.contains(permission) || self.operates();
        if allowed {
            Ok(())
        } else {
            Err(Reject::NotPermitted)
        }
    }

    /// Whether everything is its own, for operations.
    #[inline]
    pub(crate) fn operates(&self) -> bool {
        self.permissions.contains(Permissions::OPERATOR)
    }

    /// Whether something of this participant is its own, for operations.
    #[inline]
    pub(crate) fn owns(&self, participant: ParticipantId) -> bool {
        self.participant == participant || self.operates()
    }
}

/// All sessions, indexed by id.
pub(crate) struct Sessions {
    sessions: Vec<Option<Session>>,
}

impl Sessions {
    pub(crate) fn new() -> Self {
        Self {
            sessions: vec![None],
        }
    }

    /// Creates a session.
    pub(crate) fn create(&mut self, id: SessionId, session: Session) {
        let place = id.0 as usize;
        if place >= self.sessions.len() {
            self.sessions.resize(place + 1, None);
        }
        self.sessions[place] = Some(session);
    }

    /// The session with this id.
    #[inline]
    pub(crate) fn find(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(id.0 as usize)?.as_ref()
    }

    #[inline]
    pub(crate) fn find_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions.get_mut(id.0 as usize)?.as_mut()
    }

    /// The sender behind a session id that was admitted; zero is the exchange itself.
    #[inline]
    pub(crate) fn sender(&self, id: SessionId) -> Sender {
        match self.find(id) {
            Some(session) => Sender {
                session: id,
                participant: session.participant,
                permissions: session.permissions,
                killed: session.kill_switch.stops(),
            },
            None => Sender {
                session: SessionId::NONE,
                participant: ParticipantId::NONE,
                permissions: Permissions::OPERATOR,
                killed: false,
            },
        }
    }

    /// Judges a message, which counts as so many, by its session, number and rate.
    #[inline]
    pub(crate) fn admit(
        &mut self,
        id: SessionId,
        sequence: MessageSequence,
        messages: u32,
        now: Nanos,
    ) -> Verdict {
        if id == SessionId::NONE {
            return Verdict::of(Outcome::Carry);
        }
        let Some(session) = self.find_mut(id).filter(|session| session.ready) else {
            return Verdict::of(Outcome::RefuseUnready);
        };
        let expected = session.expected;
        if sequence < expected || sequence.0 == u32::MAX {
            return Verdict::of(Outcome::Duplicate);
        }
        let missing = sequence.0 - expected.0;
        let gap = (missing > 0).then_some(Gap {
            from: expected,
            count: missing,
        });
        session.expected = MessageSequence(sequence.0 + 1);
        let mut outcome = Outcome::Carry;
        if !session.throttle.take(messages, now) {
            outcome = Outcome::Refuse(Reject::Throttled);
            if session.throttle.refusals == THROTTLE_REFUSALS_MAX {
                session.throttle.refusals = 0;
                session.ready = false;
                outcome = Outcome::Expel {
                    version: session.version,
                };
            }
        }
        Verdict { gap, outcome }
    }

    /// Opens a version.
    pub(crate) fn open(&mut self, command: &OpenSession) -> Outcome {
        let Some(session) = self.find_mut(command.session) else {
            return Outcome::NotOpened(NegotiationRejectCode::Credentials);
        };
        if command.version <= session.version {
            return Outcome::NotOpened(NegotiationRejectCode::StaleVersion);
        }
        let closes = if session.ready {
            session.version
        } else {
            SessionVersion::NONE
        };
        session.version = command.version;
        session.expected = MessageSequence(1);
        session.ready = false;
        session.connection = command.connection;
        session.established_at = Nanos(0);
        Outcome::Opened { closes }
    }

    /// Makes a session ready.
    pub(crate) fn ready(&mut self, command: &ReadySession) -> Verdict {
        use EstablishmentRejectCode as Code;
        let refuse = |code, expected| Verdict::of(Outcome::NotReady { code, expected });
        let Some(session) = self.find_mut(command.session) else {
            return refuse(Code::Unnegotiated, MessageSequence::NONE);
        };
        let expected = session.expected;
        if command.version == SessionVersion::NONE || command.version != session.version {
            return refuse(Code::Unnegotiated, expected);
        }
        if command.timestamp <= session.established_at {
            return refuse(Code::Credentials, expected);
        }
        let known: Option<CancelOnDisconnect> = command.cancel_mode.decode();
        if known.is_none() {
            return refuse(Code::CancelMode, expected);
        }
        if command.next_sequence < expected {
            return refuse(Code::Sequence, expected);
        }
        let missing = command.next_sequence.0 - expected.0;
        session.expected = command.next_sequence;
        session.ready = true;
        session.connection = command.connection;
        session.established_at = command.timestamp;
        let gap = (missing > 0).then_some(Gap {
            from: expected,
            count: missing,
        });
        Verdict {
            gap,
            outcome: Outcome::Ready,
        }
    }

    /// Takes a session off.
    pub(crate) fn close(&mut self, command: &CloseSession) -> Outcome {
        let current = self.find_mut(command.session).filter(|session| {
            session.ready
                && session.version == command.version
                && session.connection == command.connection
        });
        match current {
            Some(session) => {
                session.ready = false;
                Outcome::Carry
            }
            None => Outcome::Ignore,
        }
    }

    /// Takes all sessions off.
    pub(crate) fn close_all(&mut self) {
        for session in self.sessions.iter_mut().flatten() {
            session.ready = false;
        }
    }

    /// All sessions, by id.
    pub(crate) fn all(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        let placed = self.sessions.iter().enumerate();
        placed.filter_map(|(place, session)| Some((SessionId(place as u32), session.as_ref()?)))
    }
}
