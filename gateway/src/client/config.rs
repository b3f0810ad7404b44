//! What a client asks for when it logs on.

use std::net::SocketAddr;
use std::time::Duration;

use exahour_wire::codes::CancelOnDisconnect;
use exahour_wire::ids::{SessionId, SessionVersion};
use exahour_wire::units::Millis;

use crate::credentials::Key;

/// The settings of a client.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The session.
    pub session: SessionId,
    /// Its key.
    pub key: Key,
    /// The version to introduce; none for the time in nanoseconds.
    pub version: Option<SessionVersion>,
    /// The longest silence of either side.
    pub keep_alive: Millis,
    /// When the exchange cancels the session's orders.
    pub cancel_mode: CancelOnDisconnect,
    /// How long it waits before it does so after a lost connection.
    pub cancel_grace: Millis,
    /// How long connecting, and each step of the logon, may take at one node. One of several that says nothing is
    /// left sooner at first.
    pub connect_timeout: Duration,
    /// Further nodes of the exchange. Where there are any, the client looks for the leader by itself,
    /// when it logs on and whenever it loses it.
    pub nodes: Vec<SocketAddr>,
    /// How long it may look for the leader before it gives up.
    pub failover_timeout: Duration,
    /// Bytes that may wait to be sent.
    pub outbox_bytes: usize,
    /// Bytes read at once.
    pub inbox_bytes: usize,
    /// Bytes of new reports kept while missed ones are fetched.
    pub held_bytes: usize,
}

impl ClientConfig {
    /// The defaults: one node, keep-alive 5 s, orders stay when the client goes, 5 s to log on at a
    /// node, 30 s to find the leader among several.
    #[must_use]
    pub fn new(session: SessionId, key: Key) -> Self {
        Self {
            session,
            key,
            version: None,
            keep_alive: Millis(5_000),
            cancel_mode: CancelOnDisconnect::None,
            cancel_grace: Millis(0),
            connect_timeout: Duration::from_secs(5),
            nodes: Vec::new(),
            failover_timeout: Duration::from_secs(30),
            outbox_bytes: 256 << 10,
            inbox_bytes: 64 << 10,
            held_bytes: 1 << 20,
        }
    }
}
