//! Commands that no client can send: the gateway's news of sessions, and the sequencer's own.
//!
//! They are journaled like every other command, so that a replay needs nothing else. The gateway
//! refuses their templates from a socket.

use crate::codes::{CancelOnDisconnect, DisconnectCause, Raw};
use crate::ids::{
    Behaviour, ClientOrderId, CommandSequence, MessageSequence, SessionId, SessionVersion,
};
use crate::message::{Digest, Pad, message};
use crate::units::{Millis, Nanos};

message! {
    /// A client proved who it is and asks for this version of its session.
    OpenSession = 200 {
        /// The session.
        session: SessionId,
        /// Zero.
        pad_1: Pad<4>,
        /// The version it asks for.
        version: SessionVersion,
        /// The gateway's name for the connection, given back.
        connection: u64,
        /// Zero.
        pad_2: Pad<32>,
    }
}

message! {
    /// A client wants its flow opened.
    ReadySession = 201 {
        /// The session.
        session: SessionId,
        /// The number of the next message the client will send.
        next_sequence: MessageSequence,
        /// The version.
        version: SessionVersion,
        /// The gateway's name for the connection, given back.
        connection: u64,
        /// The client's clock; must grow from one establishment to the next.
        timestamp: Nanos,
        /// How long to wait before cancelling after a lost connection.
        cancel_grace: Millis,
        /// When to cancel the session's orders.
        cancel_mode: Raw<CancelOnDisconnect>,
        /// Zero.
        pad_1: Pad<3>,
        /// Zero.
        pad_2: Pad<16>,
    }
}

message! {
    /// The connection of a session is gone.
    CloseSession = 202 {
        /// The session.
        session: SessionId,
        /// Zero.
        pad_1: Pad<4>,
        /// The version.
        version: SessionVersion,
        /// The gateway's name for the connection.
        connection: u64,
        /// How it went.
        cause: Raw<DisconnectCause>,
        /// Zero.
        pad_2: Pad<7>,
        /// Zero.
        pad_3: Pad<24>,
    }
}

message! {
    /// Time has passed and a timer is due, though nobody said anything.
    Tick = 203 {
        /// Zero.
        pad_1: Pad<56>,
    }
}

message! {
    /// Every replica hashes its state here.
    TakeStateHash = 206 {
        /// Zero.
        pad_1: Pad<56>,
    }
}

message! {
    /// What the leader's state hashed to; a replica that differs stops.
    Checkpoint = 204 {
        /// The last command that the hash covers.
        at_command: CommandSequence,
        /// The hash of the whole state after it.
        state_hash: Digest,
        /// Zero.
        pad_1: Pad<16>,
    }
}

message! {
    /// The node has started: every session is disconnected, whatever the log said last.
    NodeStarted = 205 {
        /// How many orders may be live from here on; zero: as many as order ids can name.
        orders_max: u32,
        /// Zero.
        pad_1: Pad<52>,
    }
}

message! {
    /// From the next command on every replica follows the rules of this behaviour.
    ActivateBehaviour = 207 {
        /// Zero: the exchange itself.
        session: SessionId,
        /// Zero.
        sequence: MessageSequence,
        /// The name that was given to the request; a rejection gives it back.
        request: ClientOrderId,
        /// The behaviour.
        behaviour: Behaviour,
        /// Zero.
        pad_1: Pad<4>,
        /// Zero.
        pad_2: Pad<32>,
    }
}
