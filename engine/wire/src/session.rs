//! The session layer: FIXP over TCP.
//!
//! Spoken by `gateway`, both sides. Client to exchange is an idempotent flow (each message applied
//! at most once, gaps answered with [`NotApplied`]); exchange to client is recoverable (numbered,
//! and sent again on [`RetransmitRequest`]).
//!
//! Does not: enter the journal. What the engine must know of a session is in `internal`.
//!
//! Source: FIX Performance Session Layer 1.1, the messages and their rules.

use crate::codes::{
    CancelOnDisconnect, Durability, EstablishmentRejectCode, FlowType, NegotiationRejectCode, Raw,
    RetransmitRejectCode, TerminationCode,
};
use crate::ids::{MessageSequence, SessionId, SessionVersion};
use crate::message::{Digest, Ipv6, Pad, message};
use crate::units::{Millis, Nanos};

message! {
    /// A client introduces a new version of its session and proves who it is.
    Negotiate = 1 {
        /// The session.
        session: SessionId,
        /// The flow the client sends: idempotent.
        client_flow: Raw<FlowType>,
        /// Zero.
        pad_1: Pad<3>,
        /// The version, above every earlier one; commonly the time in nanoseconds.
        version: SessionVersion,
        /// The client's clock.
        timestamp: Nanos,
        /// HMAC-SHA256 under the session's key of all bytes of this message before this field.
        credentials: Digest,
    }
}

message! {
    /// The exchange accepts the version.
    NegotiationResponse = 2 {
        /// The session.
        session: SessionId,
        /// The flow the exchange sends: recoverable.
        server_flow: Raw<FlowType>,
        /// Zero.
        pad_1: Pad<3>,
        /// The version accepted.
        version: SessionVersion,
        /// The timestamp of the request.
        request_timestamp: Nanos,
    }
}

message! {
    /// The exchange refuses the version.
    NegotiationReject = 3 {
        /// The session.
        session: SessionId,
        /// Why.
        code: Raw<NegotiationRejectCode>,
        /// Zero.
        pad_1: Pad<3>,
        /// The version refused.
        version: SessionVersion,
        /// The timestamp of the request.
        request_timestamp: Nanos,
        /// How long to wait before trying again.
        back_off: Millis,
        /// Zero.
        pad_2: Pad<4>,
    }
}

message! {
    /// A client opens the flow of a negotiated session on this connection.
    Establish = 4 {
        /// The session.
        session: SessionId,
        /// The longest silence of the client; the exchange keeps to the same.
        keep_alive: Millis,
        /// The version negotiated.
        version: SessionVersion,
        /// The client's clock; above that of every earlier establishment of this version.
        timestamp: Nanos,
        /// The number of the next message the client will send.
        next_sequence: MessageSequence,
        /// When to cancel the session's orders.
        cancel_mode: Raw<CancelOnDisconnect>,
        /// Zero.
        pad_1: Pad<3>,
        /// How long to wait before cancelling after a lost connection.
        cancel_grace: Millis,
        /// Zero.
        pad_2: Pad<4>,
        /// HMAC-SHA256 under the session's key of all bytes of this message before this field.
        credentials: Digest,
    }
}

message! {
    /// The exchange opens its flow.
    EstablishmentAck = 5 {
        /// The session.
        session: SessionId,
        /// The longest silence of the exchange.
        keep_alive: Millis,
        /// The version.
        version: SessionVersion,
        /// The timestamp of the request.
        request_timestamp: Nanos,
        /// The number of the next report the exchange will send.
        next_sequence: MessageSequence,
        /// The number of the next message the exchange expects.
        expected_sequence: MessageSequence,
        /// What an acknowledgement promises.
        durability: Raw<Durability>,
        /// Zero.
        pad_1: Pad<7>,
    }
}

message! {
    /// The exchange refuses to open the flow.
    EstablishmentReject = 6 {
        /// The session.
        session: SessionId,
        /// Why.
        code: Raw<EstablishmentRejectCode>,
        /// Zero.
        pad_1: Pad<3>,
        /// The version.
        version: SessionVersion,
        /// The timestamp of the request.
        request_timestamp: Nanos,
        /// The number of the next message the exchange expects, where it knows the session.
        expected_sequence: MessageSequence,
        /// How long to wait before trying again.
        back_off: Millis,
    }
}

message! {
    /// Sign of life, from either side; it also states the next number to come.
    Sequence = 7 {
        /// The session.
        session: SessionId,
        /// The number of the sender's next message.
        next_sequence: MessageSequence,
    }
}

message! {
    /// The exchange did not apply these messages; it goes on after them.
    NotApplied = 8 {
        /// The session.
        session: SessionId,
        /// The first number that was not applied.
        from_sequence: MessageSequence,
        /// How many.
        count: u32,
        /// Zero.
        pad_1: Pad<4>,
    }
}

message! {
    /// A client asks for reports again.
    RetransmitRequest = 9 {
        /// The session.
        session: SessionId,
        /// The first number wanted.
        from_sequence: MessageSequence,
        /// How many.
        count: u32,
        /// Zero.
        pad_1: Pad<4>,
        /// The client's clock, given back in the answer.
        timestamp: Nanos,
    }
}

message! {
    /// The next `count` reports are sent again, byte for byte.
    Retransmission = 10 {
        /// The session.
        session: SessionId,
        /// The first number.
        from_sequence: MessageSequence,
        /// How many.
        count: u32,
        /// Zero.
        pad_1: Pad<4>,
        /// The timestamp of the request.
        request_timestamp: Nanos,
    }
}

message! {
    /// The reports asked for cannot be sent.
    RetransmitReject = 11 {
        /// The session.
        session: SessionId,
        /// Why.
        code: Raw<RetransmitRejectCode>,
        /// Zero.
        pad_1: Pad<3>,
        /// The timestamp of the request.
        request_timestamp: Nanos,
    }
}

message! {
    /// The session on this connection ends; the sender closes after it.
    Terminate = 12 {
        /// The session.
        session: SessionId,
        /// Why.
        code: Raw<TerminationCode>,
        /// Zero.
        pad_1: Pad<3>,
        /// What was wrong: the length, encoding or template that was named, or zero.
        detail: u32,
        /// Zero.
        pad_2: Pad<4>,
    }
}

message! {
    /// The exchange could not take this message; it was not applied. Send it again.
    Busy = 13 {
        /// The session.
        session: SessionId,
        /// The number of the message.
        sequence: MessageSequence,
    }
}

message! {
    /// Where orders are taken now: sent before a code `NotLeader`, if it is known.
    Leader = 14 {
        /// The session.
        session: SessionId,
        /// The port of the node that leads.
        port: u16,
        /// Zero.
        pad_1: Pad<2>,
        /// The address of the node that leads.
        address: Ipv6,
    }
}
