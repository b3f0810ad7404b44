//! The links to the other members of the group, and to operators' tools.
//!
//! Turned by the sequencer's consensus within its own duty cycle, so that what raft has to say leaves
//! before the local flush.
//!
//! Always holds: one link for each pair of nodes, dialled by the one with the lower id; a new link of a
//! node takes the place of the one before, of which nothing is read any more; what waits for a slow peer
//! is bounded, and what does not fit is lost, as on any network: raft sends it again.
//! Does not: know what raft does with a message.

pub(crate) mod facts;
pub(crate) mod handshake;
mod link;
pub(crate) mod operation;
pub(crate) mod packed;
mod raft_message;
mod seal;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use exahour_gateway::clock::Steady;
use exahour_gateway::error::GatewayError;
use exahour_gateway::net::{Accepted, Port, Received, Slot, Written};
use exahour_journal::disk::Disk;
use exahour_wire::units::Nanos;
use raft::prelude::Message;

use crate::members::Members;
use facts::Facts;
use handshake::Role;
pub use link::LinkFault;
pub(crate) use link::{Found, Link, Local};
use operation::{Reply, Request};

/// Connections at a time: every other member twice, while a link takes another's place, and tools.
pub(crate) const CONNECTIONS_MAX: usize = 2 * crate::members::MEMBERS_MAX + 16;

/// Kinds of frames; zero is the link's own.
const KIND_FACTS: u8 = 1;
const KIND_RAFT: u8 = 2;
pub(crate) const KIND_REQUEST: u8 = 3;
pub(crate) const KIND_REPLY: u8 = 4;

/// Bytes read from one peer in one turn, at most, so that none keeps the others waiting.
const READS_A_TURN: usize = 4;

/// From one dialling of a peer to the next.
const DIAL_AGAIN: Nanos = Nanos(50_000_000);

/// How often deadlines are looked at.
const SWEEP_EVERY: Nanos = Nanos(20_000_000);

/// What came from outside.
#[derive(Debug)]
pub(crate) enum PeerEvent {
    /// A member is linked, and says how it stands.
    Linked(u64, Facts),
    /// A member is not linked any more.
    Apart(u64),
    /// Raft's message from a member.
    Raft(Box<Message>),
    /// An operator's request, to be answered on this connection.
    Request(Slot, Request),
}

/// What is known of a member's link.
#[derive(Debug, Default)]
struct Peer {
    address: Option<SocketAddr>,
    slot: Option<Slot>,
    /// The other side has told its facts: messages may go.
    linked: bool,
    dial_at: Steady,
    /// The fault told last, so that each is told once.
    told: Option<LinkFault>,
}

/// All links of a node.
pub(crate) struct Peers {
    port: Box<dyn Port>,
    local: Local,
    disk: Arc<dyn Disk>,
    notice: fn(&str),
    links: Vec<Option<Link>>,
    /// Slots in use.
    active: Vec<Slot>,
    peers: BTreeMap<u64, Peer>,
    events: VecDeque<PeerEvent>,
    swept_at: Steady,
    now: Steady,
}

impl Peers {
    pub(crate) fn new(
        port: Box<dyn Port>,
        local: Local,
        disk: Arc<dyn Disk>,
        notice: fn(&str),
    ) -> Self {
        Self {
            port,
            local,
            disk,
            notice,
            links: (0..CONNECTIONS_MAX).map(|_| None).collect(),
            active: Vec::with_capacity(CONNECTIONS_MAX),
            peers: BTreeMap::new(),
            events: VecDeque::new(),
            swept_at: Steady(0),
            now: Steady(0),
        }
    }

    /// Where peers and operators connect to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Links to these members from now on, and to no others.
    pub(crate) fn set_members(&mut self, members: &Members) {
        let gone: Vec<u64> = self.peers.keys().copied().collect();
        for node in gone {
            if members.standing(node).is_none()
                && let Some(peer) = self.peers.get_mut(&node)
            {
                // It may still have to hear that it is gone; it is not dialled any more.
                peer.address = None;
            }
        }
        for (node, member) in &members.addresses {
            if *node != self.local.node {
                self.peers.entry(*node).or_default().address = Some(member.peers);
            }
        }
    }

    /// Whether a member is linked.
    pub(crate) fn linked(&self, node: u64) -> bool {
        self.peers.get(&node).is_some_and(|peer| peer.linked)
    }

    /// Accepts, dials and reads; how much there was to do.
    ///
    /// # Errors
    /// [`GatewayError`] where the system's own watch over sockets fails.
    pub(crate) fn turn(&mut self, now: Steady, facts: &Facts) -> Result<usize, GatewayError> {
        self.now = now;
        self.port.poll_ready()?;
        let mut work = self.accept();
        for index in (0..self.active.len()).rev() {
            let slot = self.active[index];
            work += self.read(slot, facts);
        }
        if now >= self.swept_at.after(SWEEP_EVERY) {
            self.swept_at = now;
            self.sweep();
        }
        Ok(work)
    }

    /// What came, in order.
    pub(crate) fn next_event(&mut self) -> Option<PeerEvent> {
        self.events.pop_front()
    }

    /// Sends raft's message; `false` where it is lost.
    pub(crate) fn send(&mut self, message: &Message) -> bool {
        let peer = self.peers.get(&message.to).filter(|peer| peer.linked);
        let link = peer.and_then(|peer| peer.slot).map(|slot| slot.0);
        let link = link.and_then(|slot| self.links[slot].as_mut());
        let now = self.now;
        link.is_some_and(|link| {
            link.send(KIND_RAFT, now, |bytes| raft_message::pack(message, bytes))
        })
    }

    /// Answers an operator; nothing where the tool has gone.
    pub(crate) fn reply(&mut self, slot: Slot, reply: &Reply) {
        let now = self.now;
        if let Some(link) = self.links.get_mut(slot.0).and_then(Option::as_mut) {
            link.send(KIND_REPLY, now, |bytes| {
                reply.pack(bytes);
                true
            });
        }
    }

    /// Writes what waits, as far as the sockets take it; whether anything was written.
    pub(crate) fn write_all(&mut self) -> usize {
        let mut work = 0;
        for index in (0..self.active.len()).rev() {
            work += self.write(self.active[index]);
        }
        work
    }

    fn accept(&mut self) -> usize {
        let mut count = 0;
        while let Some(accepted) = self.port.accept() {
            count += 1;
            if let Accepted::Connection(slot) = accepted {
                self.active.push(slot);
                match self.nonce() {
                    Some(nonce) => self.links[slot.0] = Some(Link::accept(nonce, self.now)),
                    None => self.drop_link(slot),
                }
            }
            // Where every place is taken the newcomer is refused: places of strangers time out.
        }
        count
    }

    fn read(&mut self, slot: Slot, facts: &Facts) -> usize {
        let mut work = 0;
        for _ in 0..READS_A_TURN {
            let Some(link) = self.links[slot.0].as_mut() else {
                return work;
            };
            let room = link.room();
            let asked = room.len();
            let count = match self.port.try_read(slot, room) {
                Received::Nothing => return work,
                Received::Ended => {
                    self.close(slot);
                    return work + 1;
                }
                Received::Bytes(count) => count,
            };
            work += 1;
            link.filled(count, self.now);
            if let Err(fault) = self.take_in(slot, facts) {
                self.give_up(slot, fault);
                return work;
            }
            if count < asked {
                return work;
            }
        }
        work
    }

    /// Handles what has come whole on a link.
    fn take_in(&mut self, slot: Slot, facts: &Facts) -> Result<(), LinkFault> {
        loop {
            let Some(link) = self.links[slot.0].as_mut() else {
                return Ok(());
            };
            match link.next(&self.local)? {
                None => return Ok(()),
                Some(Found::Opened) => self.on_opened(slot, facts),
                Some(Found::Frame(kind, place)) => {
                    let (role, node, body) = (link.role(), link.node(), link.body(place));
                    let event = match (kind, role) {
                        (KIND_FACTS, Role::Member) => {
                            let facts = Facts::parse(body).ok_or(LinkFault::Protocol)?;
                            Some(PeerEvent::Linked(node, facts))
                        }
                        (KIND_RAFT, Role::Member) => {
                            let message = raft_message::unpack(body);
                            let message = message.ok_or(LinkFault::Protocol)?;
                            if message.from != node || message.to != self.local.node {
                                return Err(LinkFault::Protocol);
                            }
                            Some(PeerEvent::Raft(Box::new(message)))
                        }
                        (KIND_REQUEST, Role::Operator) => {
                            let request = Request::parse(body).ok_or(LinkFault::Protocol)?;
                            Some(PeerEvent::Request(slot, request))
                        }
                        // Of a later version: what is not known is passed over.
                        _ => None,
                    };
                    if let Some(PeerEvent::Linked(node, _)) = event {
                        self.peers.entry(node).or_default().linked = true;
                    }
                    self.events.extend(event);
                }
            }
        }
    }

    /// The other side is proven: a member's link takes the place of the one before.
    fn on_opened(&mut self, slot: Slot, facts: &Facts) {
        let now = self.now;
        let Some(link) = self.links[slot.0].as_mut() else {
            return;
        };
        if link.role() != Role::Member {
            return;
        }
        let node = link.node();
        link.send(KIND_FACTS, now, |bytes| {
            facts.pack(bytes);
            true
        });
        let peer = self.peers.entry(node).or_default();
        peer.told = None;
        let before = peer.slot.replace(slot).filter(|before| *before != slot);
        if let Some(before) = before {
            self.drop_link(before);
            self.on_apart(node);
            if let Some(peer) = self.peers.get_mut(&node) {
                peer.slot = Some(slot);
            }
        }
    }

    fn write(&mut self, slot: Slot) -> usize {
        let mut work = 0;
        while let Some(link) = self.links[slot.0].as_mut() {
            let front = link.front();
            if front.is_empty() {
                break;
            }
            match self.port.try_write(slot, front) {
                Written::Bytes(count) => {
                    link.sent(count);
                    work += 1;
                }
                Written::Nothing => break,
                Written::Ended => {
                    self.close(slot);
                    break;
                }
            }
        }
        work
    }

    /// Looks at deadlines, and dials members that are not linked.
    fn sweep(&mut self) {
        for index in (0..self.active.len()).rev() {
            let slot = self.active[index];
            let now = self.now;
            if let Some(link) = self.links[slot.0].as_mut()
                && let Err(fault) = link.on_time(now)
            {
                self.give_up(slot, fault);
            }
        }
        let due: Vec<(u64, SocketAddr)> = self
            .peers
            .iter()
            .filter(|(node, peer)| {
                **node > self.local.node && peer.slot.is_none() && self.now >= peer.dial_at
            })
            .filter_map(|(node, peer)| Some((*node, peer.address?)))
            .collect();
        for (node, address) in due {
            self.dial(node, address);
        }
    }

    fn dial(&mut self, node: u64, address: SocketAddr) {
        let now = self.now;
        let Some(nonce) = self.nonce() else { return };
        let slot = self.port.connect(address);
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.dial_at = now.after(DIAL_AGAIN);
            peer.slot = slot;
        }
        if let Some(slot) = slot {
            let link = Link::dial(&self.local, Role::Member, node, nonce, now);
            self.links[slot.0] = Some(link);
            self.active.push(slot);
        }
    }

    /// A number that is used once; none where the system has no chance to give at present.
    fn nonce(&self) -> Option<[u8; 32]> {
        let mut nonce = [0; 32];
        self.disk.random_bytes(&mut nonce).ok().map(|()| nonce)
    }

    fn give_up(&mut self, slot: Slot, fault: LinkFault) {
        let node = self.links[slot.0].as_ref().map_or(0, Link::node);
        let peer = self.peers.get_mut(&node);
        let told = peer.is_some_and(|peer| peer.told.replace(fault) == Some(fault));
        if !told && fault != LinkFault::Silence {
            let who = match node {
                0 => "a connection from outside".to_owned(),
                node => format!("node {node}"),
            };
            (self.notice)(&format!("peers: {who} is refused: {fault}"));
        }
        self.close(slot);
    }

    /// Closes a link, and tells of it where it was a member's.
    fn close(&mut self, slot: Slot) {
        let node = self.links[slot.0].as_ref().map_or(0, Link::node);
        self.drop_link(slot);
        if self
            .peers
            .get(&node)
            .is_some_and(|it| it.slot == Some(slot))
        {
            self.on_apart(node);
        }
    }

    fn drop_link(&mut self, slot: Slot) {
        self.links[slot.0] = None;
        if let Some(place) = self.active.iter().position(|it| *it == slot) {
            self.active.swap_remove(place);
            self.port.close(slot);
            self.port.release(slot);
        }
    }

    fn on_apart(&mut self, node: u64) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.slot = None;
            peer.dial_at = self.now.after(DIAL_AGAIN);
            if std::mem::take(&mut peer.linked) {
                self.events.push_back(PeerEvent::Apart(node));
            }
        }
    }
}
