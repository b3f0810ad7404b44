//! An operator's end of a link to a node: asks, and waits for the answer.
//!
//! Used by tools and by tests.
//!
//! Always holds: the node has proven that it has the cluster's key before it is asked anything.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use exahour_gateway::clock::Steady;
use exahour_gateway::net::{Received, Written};
use exahour_gateway::sockets::ClientSocket;
use exahour_journal::disk::{Disk, SystemDisk};

use crate::cluster_config::ClusterKey;
use crate::operator_link::{Answer, OperatorLink};
use crate::peers::LinkFault;
use crate::peers::operation::{Reply, Request};

/// Why a node was not asked, or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// It is not reached.
    #[error("{address}: {source}")]
    Unreachable {
        /// Where it was looked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// It is no node of this cluster.
    #[error("{address}: {fault}")]
    Stranger {
        /// Where it was looked for.
        address: SocketAddr,
        /// What is wrong.
        fault: LinkFault,
    },
    /// It ended the connection: it is no node of this cluster, or the key is another's.
    #[error(
        "{address} ended the connection: is the key this cluster's, and the address a node's for peers?"
    )]
    Ended {
        /// Where it was looked for.
        address: SocketAddr,
    },
    /// It says nothing.
    #[error("{address} does not answer")]
    Silent {
        /// Where it was looked for.
        address: SocketAddr,
    },
}

/// A link to one node.
pub struct Operator {
    address: SocketAddr,
    socket: ClientSocket,
    link: OperatorLink,
    began: Instant,
    timeout: Duration,
}

impl Operator {
    /// Connects to a node's port for peers.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub fn connect(
        address: SocketAddr,
        key: &ClusterKey,
        timeout: Duration,
    ) -> Result<Self, OperatorError> {
        let unreachable = |source| OperatorError::Unreachable { address, source };
        let socket = ClientSocket::connect(address, timeout).map_err(unreachable)?;
        let mut nonce = [0; 32];
        SystemDisk.random_bytes(&mut nonce).map_err(unreachable)?;
        let mut operator = Self {
            address,
            socket,
            link: OperatorLink::dial(key, nonce, Steady(0)),
            began: Instant::now(),
            timeout,
        };
        operator.until(|answer| matches!(answer, Answer::Opened).then_some(()))?;
        Ok(operator)
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// [`OperatorError`]: whether the request was carried out is not known then; all of them can be
    /// repeated.
    pub fn ask(&mut self, request: &Request) -> Result<Reply, OperatorError> {
        let now = self.now();
        self.link.ask(request, now);
        self.until(|answer| match answer {
            Answer::Reply(reply) => Some(reply),
            Answer::Opened => None,
        })
    }

    fn now(&self) -> Steady {
        // A tool does not run for centuries.
        Steady(self.began.elapsed().as_nanos() as u64)
    }

    /// Writes and reads until something that `wanted` accepts has come.
    fn until<T>(&mut self, wanted: impl Fn(Answer) -> Option<T>) -> Result<T, OperatorError> {
        let address = self.address;
        let unreachable = |source| OperatorError::Unreachable { address, source };
        let end = Instant::now() + self.timeout;
        loop {
            while !self.link.front().is_empty() {
                match self.socket.try_write(self.link.front()) {
                    Ok(Written::Bytes(count)) => self.link.sent(count),
                    Ok(_) => break,
                    Err(source) => return Err(unreachable(source)),
                }
            }
            let answer = self.link.next_answer();
            match answer.map_err(|fault| OperatorError::Stranger { address, fault })? {
                Some(answer) => match wanted(answer) {
                    Some(answer) => return Ok(answer),
                    None => continue,
                },
                None if Instant::now() > end => return Err(OperatorError::Silent { address }),
                None => {}
            }
            let now = self.now();
            match self
                .socket
                .try_read(self.link.room())
                .map_err(unreachable)?
            {
                Received::Bytes(count) => self.link.filled(count, now),
                Received::Ended => return Err(OperatorError::Ended { address }),
                Received::Nothing => {
                    let left = end.saturating_duration_since(Instant::now());
                    self.socket.wait(left).map_err(unreachable)?;
                }
            }
        }
    }
}
