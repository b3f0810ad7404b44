//! What became of sessions.
//!
//! Always holds: they are addressed to a session and never numbered.

use crate::codes::{
    DisconnectCause, EstablishmentRejectCode, NegotiationRejectCode, Raw, TerminationCode,
};
use crate::ids::{CommandSequence, EventSequence, MessageSequence, SessionId, SessionVersion};
use crate::message::{Pad, message};
use crate::units::Nanos;

event! {
    /// The answer to a new version of a session. Not numbered.
    SessionOpened = 320 {
        /// The version.
        version: SessionVersion,
        /// The gateway's name for the connection.
        connection: u64,
        /// Why it was refused, or zero where it was accepted.
        refusal: Raw<NegotiationRejectCode>,
        /// Zero.
        pad_1: Pad<7>,
    }
}

event! {
    /// The answer to an establishment. Not numbered.
    SessionReady = 321 {
        /// The version.
        version: SessionVersion,
        /// The gateway's name for the connection.
        connection: u64,
        /// The number of the next message the exchange expects.
        expected_sequence: MessageSequence,
        /// The number of the next report the exchange will send.
        next_sequence: MessageSequence,
        /// Why it was refused, or zero where it was accepted.
        refusal: Raw<EstablishmentRejectCode>,
        /// Zero.
        pad_1: Pad<7>,
    }
}

event! {
    /// The connection of a session is gone. Not numbered.
    SessionClosed = 322 {
        /// The version.
        version: SessionVersion,
        /// How it went.
        cause: Raw<DisconnectCause>,
        /// Zero.
        pad_1: Pad<3>,
        /// The number of the next message the exchange expected; zero in older logs.
        expected_sequence: MessageSequence,
    }
}

event! {
    /// The exchange logs a session out; its gateway ends the connection. Not numbered.
    SessionExpelled = 323 {
        /// The version.
        version: SessionVersion,
        /// Why.
        code: Raw<TerminationCode>,
        /// Zero.
        pad_1: Pad<7>,
    }
}
