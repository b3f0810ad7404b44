//! One kill switch: who it stops is its place; this is how far its release has come.
//!
//! ```text
//!              engage               release, by one            confirm, by another
//!  released ───────────► engaged ─────────────────► asked for ─────────────────────► released
//!                           ▲      engage, by anyone    │
//!                           └───────────────────────────┘
//! ```
//! Called by `operations`, which has checked who may do it.
//!
//! Always holds: nobody lets it go alone. Source of the rule: `docs/RULEBOOK.md`, section 6.

use exahour_wire::ids::SessionId;
use exahour_wire::reject::Reject;

use super::sessions::Sessions;

/// The state of a kill switch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum KillSwitch {
    /// It stops nobody.
    #[default]
    Released,
    /// It stops what it covers.
    Engaged,
    /// It still does, but this session asks for its release.
    ReleaseRequested(SessionId),
}

impl KillSwitch {
    /// Whether it stops what it covers.
    #[inline]
    pub(crate) fn stops(self) -> bool {
        self != Self::Released
    }

    /// The session that asks for its release.
    pub(crate) fn requested_by(self) -> Option<SessionId> {
        match self {
            Self::ReleaseRequested(session) => Some(session),
            Self::Released | Self::Engaged => None,
        }
    }

    /// Engages it, and drops a request for its release.
    pub(super) fn engage(self) -> Result<Self, Reject> {
        match self {
            Self::Released | Self::ReleaseRequested(_) => Ok(Self::Engaged),
            Self::Engaged => Err(Reject::NothingToChange),
        }
    }

    /// Asks for its release.
    pub(super) fn request_release(self, by: SessionId) -> Result<Self, Reject> {
        match self {
            Self::Released => Err(Reject::NothingToChange),
            Self::Engaged => Ok(Self::ReleaseRequested(by)),
            Self::ReleaseRequested(_) => Err(Reject::ReleaseAlreadyRequested),
        }
    }

    /// Confirms its release. The exchange itself is a participant of its own here.
    pub(super) fn confirm_release(
        self,
        by: SessionId,
        sessions: &Sessions,
    ) -> Result<Self, Reject> {
        let Self::ReleaseRequested(asked_by) = self else {
            return Err(Reject::ReleaseNotRequested);
        };
        let participant = |id| sessions.sender(id).participant;
        if participant(by) == participant(asked_by) {
            return Err(Reject::SecondOperatorNeeded);
        }
        Ok(Self::Released)
    }
}
