//! An operator's end of a link to a node, without its socket: bytes and time in, answers and bytes out.
//!
//! Driven by `operator` over a socket of this machine, and by the simulator over its network.
//!
//! Always holds: the node has proven that it has the cluster's key before it is asked anything; every answer
//! is to the oldest question without one.

use exahour_gateway::clock::Steady;

use crate::cluster_config::ClusterKey;
use crate::peers::handshake::Role;
use crate::peers::operation::{Reply, Request};
use crate::peers::{Found, KIND_REPLY, KIND_REQUEST, Link, LinkFault, Local};

/// What came from the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has proven itself: it can be asked.
    Opened,
    /// It answers.
    Reply(Reply),
}

/// A link.
pub struct OperatorLink {
    link: Link,
    local: Local,
}

impl std::fmt::Debug for OperatorLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OperatorLink(..)")
    }
}

impl OperatorLink {
    /// Begins a link; `nonce` is a number that is used once.
    #[must_use]
    pub fn dial(key: &ClusterKey, nonce: [u8; 32], now: Steady) -> Self {
        let local = Local {
            key: key.clone(),
            cluster: key.cluster_id(),
            node: 0,
        };
        let link = Link::dial(&local, Role::Operator, 0, nonce, now);
        Self { link, local }
    }

    /// Asks something.
    pub fn ask(&mut self, request: &Request, now: Steady) {
        self.link.send(KIND_REQUEST, now, |bytes| {
            request.pack(bytes);
            true
        });
    }

    /// Where bytes are read to.
    pub fn room(&mut self) -> &mut [u8] {
        self.link.room()
    }

    /// So many bytes were read.
    pub fn filled(&mut self, count: usize, now: Steady) {
        self.link.filled(count, now);
    }

    /// Bytes to send.
    #[must_use]
    pub fn front(&self) -> &[u8] {
        self.link.front()
    }

    /// So many of them were sent.
    pub fn sent(&mut self, count: usize) {
        self.link.sent(count);
    }

    /// What the bytes hold next.
    ///
    /// # Errors
    /// [`LinkFault`]: it is no node of this cluster.
    pub fn next_answer(&mut self) -> Result<Option<Answer>, LinkFault> {
        loop {
            match self.link.next(&self.local)? {
                None => return Ok(None),
                Some(Found::Opened) => return Ok(Some(Answer::Opened)),
                Some(Found::Frame(KIND_REPLY, place)) => {
                    let reply = Reply::parse(self.link.body(place));
                    return reply
                        .map(|reply| Some(Answer::Reply(reply)))
                        .ok_or(LinkFault::Protocol);
                }
                // Of a later version: what is not known is passed over.
                Some(Found::Frame(..)) => {}
            }
        }
    }
}
