//! One question of a simulated operator to one node, over a connection of its own.
//!
//! Always holds: it ends with an answer, with the connection, or when its time is up.

use std::net::SocketAddr;

use exahour_gateway::clock::Steady;
use exahour_gateway::net::{Port, Received, Slot, Written};
use exahour_replicas::{Answer, ClusterKey, OperatorLink, Reply, Request};
use exahour_wire::units::Nanos;

/// How long an answer is waited for, from the attempt to connect on.
const PATIENCE: Nanos = Nanos(1_000_000_000);

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The node has answered.
    Reply(Reply),
    /// Whether it was asked is not known.
    Lost,
}

/// A call.
#[derive(Debug)]
pub(crate) struct Call {
    slot: Slot,
    link: OperatorLink,
    request: Request,
    ends_at: Nanos,
}

impl Call {
    /// Begins to connect; `None` where there is no place for it.
    pub(crate) fn begin(
        port: &mut dyn Port,
        address: SocketAddr,
        (key, nonce): (&ClusterKey, [u8; 32]),
        request: Request,
        now: Nanos,
    ) -> Option<Self> {
        Some(Self {
            slot: port.connect(address)?,
            link: OperatorLink::dial(key, nonce, Steady(now.0)),
            request,
            ends_at: now.after(PATIENCE),
        })
    }

    pub(crate) fn request(&self) -> Request {
        self.request
    }

    /// When it is given up.
    pub(crate) fn ends_at(&self) -> Nanos {
        self.ends_at
    }

    pub(crate) fn hang_up(&self, port: &mut dyn Port) {
        port.close(self.slot);
        port.release(self.slot);
    }

    /// Reads and writes once; how much there was to do, and how the call ended if it did.
    pub(crate) fn turn(&mut self, port: &mut dyn Port, now: Nanos) -> (usize, Option<Heard>) {
        let (steady, mut work) = (Steady(now.0), 0);
        match port.try_read(self.slot, self.link.room()) {
            Received::Nothing => {}
            Received::Ended => return (1, Some(Heard::Lost)),
            Received::Bytes(count) => {
                work += 1;
                self.link.filled(count, steady);
            }
        }
        loop {
            match self.link.next_answer() {
                Ok(None) => break,
                Ok(Some(Answer::Opened)) => self.link.ask(&self.request, steady),
                Ok(Some(Answer::Reply(reply))) => return (work, Some(Heard::Reply(reply))),
                Err(_) => return (work, Some(Heard::Lost)),
            }
        }
        let front = self.link.front();
        if !front.is_empty() {
            match port.try_write(self.slot, front) {
                Written::Bytes(count) => {
                    self.link.sent(count);
                    work += 1;
                }
                Written::Nothing => {}
                Written::Ended => return (work + 1, Some(Heard::Lost)),
            }
        }
        let late = now >= self.ends_at;
        (work, late.then_some(Heard::Lost))
    }
}
