//! What admission says of a command: the message between the two stages.
//!
//! Always holds: small, `Copy` and self-contained, so that it crosses a ring as it is.

use exahour_wire::codes::{EstablishmentRejectCode, NegotiationRejectCode};
use exahour_wire::ids::{MessageSequence, SessionVersion};
use exahour_wire::reject::Reject;

use super::quotes::QuoteFaults;

/// Messages of a session that never came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) from: MessageSequence,
    pub(crate) count: u32,
}

/// What to do with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing: it means nothing, or nothing any more.
    Ignore,
    /// Carry it out.
    Carry,
    /// Carry out those sides of a mass quote that have nothing wrong.
    CarryQuotes(QuoteFaults),
    /// Reject it, in a numbered report.
    Refuse(Reject),
    /// Reject it, without a number: its session does not exist or is not ready.
    RefuseUnready,
    /// It was applied before.
    Duplicate,
    /// Reject it for the throttle and log the session out.
    Expel {
        /// The version that ends.
        version: SessionVersion,
    },
    /// A version was accepted; `closes` is the version that was ready until now, or zero.
    Opened {
        /// The version that ends.
        closes: SessionVersion,
    },
    /// A version was refused.
    NotOpened(NegotiationRejectCode),
    /// Stop here: it activates a behaviour that this program cannot do.
    CannotDo,
    /// The session is ready.
    Ready,
    /// It is not; this is the number that would have been expected.
    NotReady {
        /// Why.
        code: EstablishmentRejectCode,
        /// The number that is expected.
        expected: MessageSequence,
    },
}

/// What admission says of a command: made by the first stage, understood by the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What was missing before it.
    pub(crate) gap: Option<Gap>,
    /// What to do with it.
    pub(crate) outcome: Outcome,
}

impl Verdict {
    pub(crate) const IGNORE: Self = Self::of(Outcome::Ignore);

    #[inline]
    pub(crate) const fn of(outcome: Outcome) -> Self {
        Self { gap: None, outcome }
    }
}
