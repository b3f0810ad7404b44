//! What happened: the engine's output, in one numbered log.
//!
//! Written by the engine, followed by gateways, market data, settlement, drop copy and audit. A
//! report to a session is its event, byte for byte.
//!
//! Always holds: the five fields of the prefix come first in every event. `session` and `sequence`
//! are zero where an event is not a report to a session; `sequence` alone is zero where a report is
//! not numbered, and so not recoverable.

use crate::ids::{CommandSequence, EventSequence, MessageSequence, SessionId};
use crate::units::Nanos;

/// Declares an event: a message that starts with the common prefix.
macro_rules! event {
    ($(#[doc = $about:literal])+ $name:ident = $template:literal {
        $($(#[doc = $doc:literal])+ $field:ident: $type:ty),* $(,)?
    }) => {
        message! {
            $(#[doc = $about])+
            $name = $template {
                /// The session it is a report to, or zero.
                session: SessionId,
                /// Its number in the flow to that session, or zero.
                sequence: MessageSequence,
                /// Its number in the event log.
                event: EventSequence,
                /// When the command that caused it was stamped.
                time: Nanos,
                /// The command that caused it.
                command: CommandSequence,
                $($(#[doc = $doc])+ $field: $type),*
            }
        }
    };
}

mod markets;
mod registry;
mod reports;
mod sessions;

pub use markets::*;
pub use registry::*;
pub use reports::*;
pub use sessions::*;

/// The fields that every event starts with, header included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct EventPrefix {
    /// The SBE header.
    pub header: crate::message::Header,
    /// The session it is a report to, or zero.
    pub session: SessionId,
    /// Its number in the flow to that session, or zero.
    pub sequence: MessageSequence,
    /// Its number in the event log.
    pub event: EventSequence,
    /// When the command that caused it was stamped.
    pub time: Nanos,
    /// The command that caused it.
    pub command: CommandSequence,
}

impl EventPrefix {
    /// The prefix of the event at the start of `bytes`, or `None` where they are too few.
    #[inline]
    #[must_use]
    pub fn peek(bytes: &[u8]) -> Option<Self> {
        bytes
            .get(..size_of::<Self>())
            .map(bytemuck::pod_read_unaligned)
    }
}

/// How a frame of the event log ends: the kind of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameEnd {
    /// With the last event of a command.
    Command = 1,
    /// Anywhere: the events of its last command may go on in the next frame.
    Anywhere = 2,
}

impl FrameEnd {
    /// What a kind of frame means, or `None` where the event log has no such kind.
    #[inline]
    #[must_use]
    pub fn of_kind(kind: u8) -> Option<Self> {
        [Self::Command, Self::Anywhere]
            .into_iter()
            .find(|end| *end as u8 == kind)
    }
}
