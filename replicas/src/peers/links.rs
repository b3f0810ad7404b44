//! The links of one port: accepted and dialled, read and written, given up.
//!
//! Used by `peers` for raft and operators, and by `couriers` for files.
//!
//! Always holds: a slot that is in use has its link; who is too slow, too silent or a stranger is closed.
//! Does not: know what frames mean.

use std::net::SocketAddr;
use std::sync::Arc;

use exahour_gateway::clock::Steady;
use exahour_gateway::error::GatewayError;
use exahour_gateway::net::{Accepted, Port, Received, Slot, Written};
use exahour_journal::disk::Disk;

use super::handshake::Role;
use super::link::{Found, Link, LinkFault, Local};

/// Connections that have not said who they are, at a time.
const STRANGERS_MAX: usize = 8;

/// What a read of a link brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Nothing now.
    Nothing,
    /// Something; there may be more.
    Some,
    /// The other side is gone.
    Ended,
}

/// All links of a port.
pub(crate) struct Links {
    port: Box<dyn Port>,
    local: Local,
    disk: Arc<dyn Disk>,
    links: Vec<Option<Link>>,
    active: Vec<Slot>,
    now: Steady,
}

impl Links {
    /// The links of a port that was opened for `connections_max` of them.
    pub(crate) fn new(
        port: Box<dyn Port>,
        connections_max: usize,
        local: Local,
        disk: Arc<dyn Disk>,
    ) -> Self {
        Self {
            port,
            local,
            disk,
            links: (0..connections_max).map(|_| None).collect(),
            active: Vec::with_capacity(connections_max),
            now: Steady(0),
        }
    }

    /// Where others connect to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// This side's name.
    pub(crate) fn node(&self) -> u64 {
        self.local.node
    }

    /// The time of this turn.
    pub(crate) fn now(&self) -> Steady {
        self.now
    }

    /// Begins a turn and accepts who waits; how many.
    ///
    /// # Errors
    /// [`GatewayError`] where the system's own watch over sockets fails.
    pub(crate) fn begin(&mut self, now: Steady) -> Result<usize, GatewayError> {
        self.now = now;
        self.port.poll_ready()?;
        let mut count = 0;
        while let Some(accepted) = self.port.accept() {
            count += 1;
            // Where every place is taken the newcomer is refused: places of strangers time out.
            if let Accepted::Connection(slot) = accepted {
                self.make_room();
                self.active.push(slot);
                match self.nonce() {
                    Some(nonce) => self.links[slot.0] = Some(Link::accept(nonce, now)),
                    None => self.close(slot),
                }
            }
        }
        Ok(count)
    }

    /// Strangers get few places: the one that has not proven itself for longest goes. A peer takes a moment.
    fn make_room(&mut self) {
        let unproven = |slot: &&Slot| {
            let link = self.links[slot.0].as_ref();
            link.is_some_and(|link| !link.is_open() && link.node() == 0)
        };
        let strangers: Vec<Slot> = self.active.iter().filter(unproven).copied().collect();
        let oldest = |slot: &&Slot| self.links[slot.0].as_ref().map(Link::open_by);
        if strangers.len() >= STRANGERS_MAX
            && let Some(slot) = strangers.iter().min_by_key(oldest)
        {
            self.close(*slot);
        }
    }

    /// Begins a link to a node; `None` where there is no place for it.
    pub(crate) fn dial(&mut self, role: Role, node: u64, address: SocketAddr) -> Option<Slot> {
        let nonce = self.nonce()?;
        let slot = self.port.connect(address)?;
        self.active.push(slot);
        self.links[slot.0] = Some(Link::dial(&self.local, role, node, nonce, self.now));
        Some(slot)
    }

    /// A number that is used once; none where the system has no chance to give at present.
    fn nonce(&self) -> Option<[u8; 32]> {
        let mut nonce = [0; 32];
        self.disk.random_bytes(&mut nonce).ok().map(|()| nonce)
    }

    /// How many links there are.
    pub(crate) fn count(&self) -> usize {
        self.active.len()
    }

    /// The slot at a place below [`Links::count`], if there is one still: a link that is closed gives its
    /// place to the last.
    pub(crate) fn slot_at(&self, place: usize) -> Option<Slot> {
        self.active.get(place).copied()
    }

    /// The link in a slot.
    pub(crate) fn link(&mut self, slot: Slot) -> Option<&mut Link> {
        self.links.get_mut(slot.0).and_then(Option::as_mut)
    }

    /// The node at the other end; zero where it is not known.
    pub(crate) fn node_at(&self, slot: Slot) -> u64 {
        let link = self.links.get(slot.0).and_then(Option::as_ref);
        link.map_or(0, Link::node)
    }

    /// Reads once.
    pub(crate) fn read(&mut self, slot: Slot) -> Reading {
        let now = self.now;
        let Some(link) = self.links[slot.0].as_mut() else {
            return Reading::Nothing;
        };
        match self.port.try_read(slot, link.room()) {
            Received::Nothing => Reading::Nothing,
            Received::Ended => Reading::Ended,
            Received::Bytes(count) => {
                link.filled(count, now);
                Reading::Some
            }
        }
    }

    /// What the bytes of a link hold next.
    ///
    /// # Errors
    /// [`LinkFault`]: it is to be given up.
    pub(crate) fn next(&mut self, slot: Slot) -> Result<Option<Found>, LinkFault> {
        match self.links[slot.0].as_mut() {
            Some(link) => link.next(&self.local),
            None => Ok(None),
        }
    }

    /// Writes what waits for a slot, as far as its socket takes it; the number of writes, or `None` where
    /// the other side is gone.
    pub(crate) fn write(&mut self, slot: Slot) -> Option<usize> {
        let mut writes = 0;
        while let Some(link) = self.links[slot.0].as_mut() {
            let front = link.front();
            if front.is_empty() {
                break;
            }
            match self.port.try_write(slot, front) {
                Written::Bytes(count) => link.sent(count),
                Written::Nothing => break,
                Written::Ended => return None,
            }
            writes += 1;
        }
        Some(writes)
    }

    /// Looks at the clock for a slot.
    ///
    /// # Errors
    /// [`LinkFault::Silence`]: it is to be given up.
    pub(crate) fn on_time(&mut self, slot: Slot) -> Result<(), LinkFault> {
        let now = self.now;
        self.link(slot).map_or(Ok(()), |link| link.on_time(now))
    }

    /// Closes a link.
    pub(crate) fn close(&mut self, slot: Slot) {
        self.links[slot.0] = None;
        if let Some(place) = self.active.iter().position(|it| *it == slot) {
            self.active.swap_remove(place);
            self.port.close(slot);
            self.port.release(slot);
        }
    }
}
