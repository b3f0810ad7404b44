//! Those who only look on: a back office that follows a participant's drop copy, and somebody who follows
//! market data. Each goes from node to node, and goes on where it was.
//!
//! Turned by the cluster; what they were shown is judged when the world is over.
//!
//! Always holds: a connection is dropped now and then without a reason, so that streams are taken up again
//! at other nodes, also where nothing befalls those.

mod back_office;
mod market;

use std::net::SocketAddr;

use exahour_gateway::inbox::Inbox;
use exahour_gateway::net::{Net, Port, Received, Slot, Written};
use exahour_gateway::outbox::Outbox;
use exahour_wire::message::Message;
use exahour_wire::units::Nanos;

use crate::chance::{Chance, Stream};
use crate::client::Violation;
use crate::net::HostId;

pub(crate) use back_office::BackOffice;
pub(crate) use market::MarketWatcher;

/// The least and the most time that is stayed with a node.
const STAY: (Nanos, Nanos) = (Nanos(100_000_000), Nanos(3_000_000_000));

/// The least and the most time until the next node is tried.
const AGAIN: (Nanos, Nanos) = (Nanos(5_000_000), Nanos(200_000_000));

/// How long nothing at all comes before a node is given up.
const SILENCE_MAX: Nanos = Nanos(3_000_000_000);

const INBOX_BYTES: usize = 64 << 10;
const OUTBOX_BYTES: usize = 4 << 10;

/// What came of a turn of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// There is no connection, and it is not time for one.
    Rests,
    /// A connection was begun: it is to be asked for something.
    Begun,
    /// Something may have come.
    Goes(usize),
}

/// A connection to one of several nodes, and the next one when that is over.
#[derive(Debug)]
struct Line {
    chance: Chance,
    port: Box<dyn Port>,
    nodes: Vec<SocketAddr>,
    slot: Option<Slot>,
    inbox: Inbox,
    outbox: Outbox,
    next_at: Nanos,
    ends_at: Nanos,
    heard_at: Nanos,
    /// It stays where it is.
    stays: bool,
}

impl Line {
    fn new(
        (seed, host): (u64, HostId),
        net: &dyn Net,
        nodes: Vec<SocketAddr>,
    ) -> Result<Self, Violation> {
        let any = SocketAddr::new(host.address(), 0);
        let port = net.listen(any, 1).map_err(|error| error.to_string())?;
        Ok(Self {
            chance: Chance::new(seed, Stream::Client, host.0 as u64),
            port,
            nodes,
            slot: None,
            inbox: Inbox::new(INBOX_BYTES),
            outbox: Outbox::new(OUTBOX_BYTES),
            next_at: Nanos(0),
            ends_at: Nanos(0),
            heard_at: Nanos(0),
            stays: false,
        })
    }

    fn next_at(&self) -> Nanos {
        match self.slot {
            Some(_) if self.stays => Nanos::NEVER,
            Some(_) => self.ends_at,
            None => self.next_at,
        }
    }

    fn ask<M: Message>(&mut self, request: &M) {
        // Where it does not fit the node does not read, and silence ends the connection.
        let _ = self.outbox.push(request.bytes());
    }

    fn hang_up(&mut self, now: Nanos) {
        if let Some(slot) = self.slot.take() {
            self.port.close(slot);
            self.port.release(slot);
        }
        self.inbox.clear();
        self.outbox.clear();
        self.next_at = now.after(self.chance.span(AGAIN.0, AGAIN.1));
    }

    fn turn(&mut self, now: Nanos) -> Turn {
        let Some(slot) = self.slot else {
            if now < self.next_at {
                return Turn::Rests;
            }
            let node = self.nodes[self.chance.below(self.nodes.len())];
            self.slot = self.port.connect(node);
            self.heard_at = now;
            self.ends_at = now.after(self.chance.span(STAY.0, STAY.1));
            return Turn::Begun;
        };
        let mut work = 0;
        let front = self.outbox.front();
        let mut is_over =
            now > self.heard_at.after(SILENCE_MAX) || !self.stays && now >= self.ends_at;
        if !front.is_empty() {
            match self.port.try_write(slot, front) {
                Written::Bytes(count) => {
                    self.outbox.sent(count);
                    work += 1;
                }
                Written::Nothing => {}
                Written::Ended => is_over = true,
            }
        }
        match self.port.try_read(slot, self.inbox.room()) {
            Received::Bytes(count) => {
                self.inbox.filled(count);
                self.heard_at = now;
                work += 1;
            }
            Received::Nothing => {}
            Received::Ended => is_over = true,
        }
        if is_over {
            self.hang_up(now);
            return Turn::Rests;
        }
        Turn::Goes(work)
    }
}
