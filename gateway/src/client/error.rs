//! What can go wrong for a client.

use std::io;
use std::net::SocketAddr;

use exahour_wire::codes::{
    EstablishmentRejectCode, NegotiationRejectCode, Raw, RetransmitRejectCode, TerminationCode,
};
use exahour_wire::ids::MessageSequence;
use exahour_wire::units::Millis;

/// Why a client cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers at the address.
    #[error("cannot connect to {address}: {source}; is the node running, and is this its port?")]
    Connect {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The connection broke or was closed; call `reconnect`.
    #[error("the connection is gone ({reason}); reconnect to go on with the same session")]
    Disconnected {
        /// What the system said.
        reason: String,
    },
    /// The exchange ended the session on this connection.
    #[error("the exchange ended the session: {code:?} (detail {detail})")]
    Terminated {
        /// Why.
        code: Raw<TerminationCode>,
        /// The length, encoding or template that was wrong, or zero.
        detail: u32,
    },
    /// The version of the session was refused.
    #[error(
        "negotiation refused: {}; the next try is heard in {back_off} ms",
        refusal(code)
    )]
    NegotiationRefused {
        /// Why.
        code: Raw<NegotiationRejectCode>,
        /// How long to wait.
        back_off: Millis,
    },
    /// The flow was refused.
    #[error(
        "establishment refused: {code:?}; the exchange expects message {expected}, and hears the next \
         try in {back_off} ms"
    )]
    EstablishmentRefused {
        /// Why.
        code: Raw<EstablishmentRejectCode>,
        /// The number of the message that the exchange expects next, where it told.
        expected: MessageSequence,
        /// How long to wait.
        back_off: Millis,
    },
    /// Reports that were missed cannot be had any more.
    #[error("reports from {from} on cannot be sent again: {code:?}; negotiate a new version")]
    RetransmissionRefused {
        /// The first report missing.
        from: MessageSequence,
        /// Why.
        code: Raw<RetransmitRejectCode>,
    },
    /// The exchange did not answer in time.
    #[error("no answer from the exchange while {waiting_for}; is the node overloaded or stopped?")]
    Timeout {
        /// What was waited for.
        waiting_for: &'static str,
    },
    /// Too many bytes wait to be sent: the exchange does not read as fast as this client writes.
    #[error("messages are waiting to be sent: poll, then send again")]
    Backlog,
    /// The version has given out all its numbers; those of messages and of reports each end before
    /// 4294967295. Nothing was sent; a new [`Client`](super::Client) negotiates another version.
    #[error(
        "this version of the session has no {what} left: connect anew, which negotiates another"
    )]
    VersionExhausted {
        /// The numbers that have run out.
        what: &'static str,
    },
    /// The exchange sent what this client cannot read.
    #[error("the exchange sent {what}; do both sides have the same schema?")]
    Unreadable {
        /// What it sent.
        what: String,
    },
}

fn refusal(code: &Raw<NegotiationRejectCode>) -> String {
    match code.decode() {
        Some(NegotiationRejectCode::Credentials) => {
            "the exchange has no such session, or another key for it (Credentials)".to_owned()
        }
        _ => format!("{code:?}"),
    }
}
