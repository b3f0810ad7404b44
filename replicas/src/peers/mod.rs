//! The links to the other members of the group, and to operators' tools.
//!
//! Turned by the sequencer's consensus within its own duty cycle, so that what raft has to say leaves
//! before the local flush.
//!
//! Always holds: one link for each pair of nodes, dialled by the one with the lower id as a rule; a new link of a
//! node takes the place of the one before, of which nothing is read any more; what waits for a slow peer
//! is bounded, and what does not fit is lost, as on any network: raft sends it again.
//! Does not: know what raft does with a message.

pub(crate) mod facts;
#[cfg(target_arch = "x86_64")]
mod ghash;
mod gmac;
pub(crate) mod handshake;
mod link;
pub(crate) mod links;
pub(crate) mod operation;
pub(crate) mod packed;
mod raft_message;
mod seal;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use exahour_gateway::clock::Steady;
use exahour_gateway::error::GatewayError;
use exahour_gateway::net::Slot;
use exahour_wire::units::Nanos;
use raft::prelude::Message;

use crate::members::Members;
use facts::Facts;
use handshake::Role;
pub use link::LinkFault;
pub(crate) use link::{Found, Link, Local, OUT_BYTES_MAX};
use links::{Links, Reading};
use operation::{Reply, Request};
pub(crate) use seal::BODY_BYTES_MAX;

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

/// After so long without a link the higher id dials, too: the lower one may not know where it is.
const DIALS_TOO_AFTER: Nanos = Nanos(3_000_000_000);

/// How often deadlines are looked at.
const SWEEP_EVERY: Nanos = Nanos(20_000_000);

/// What came from outside.
#[derive(Debug)]
pub(crate) enum PeerEvent {
    /// A member is linked, and says how it stands.
    Linked(u64, Facts),
    /// A member that is linked says how it stands now.
    Told(u64, Facts),
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
    /// Since when there is no link.
    apart_since: Steady,
    /// The fault told last, so that each is told once.
    told: Option<LinkFault>,
}

impl Peer {
    /// The facts as it is to hear them: with whether it is a member.
    fn hears(&self, facts: &Facts) -> Facts {
        Facts {
            // Members are dialled, and nobody else is.
            to_outsider: self.address.is_none(),
            ..*facts
        }
    }
}

/// All links of a node.
pub(crate) struct Peers {
    links: Links,
    notice: fn(&str),
    peers: BTreeMap<u64, Peer>,
    events: VecDeque<PeerEvent>,
    swept_at: Steady,
    /// Whether members were told last that this node may have forgotten.
    told_forgetful: bool,
    /// The members have changed, and nobody was told yet.
    members_changed: bool,
}

impl Peers {
    pub(crate) fn new(links: Links, notice: fn(&str)) -> Self {
        Self {
            links,
            notice,
            peers: BTreeMap::new(),
            events: VecDeque::new(),
            swept_at: Steady(0),
            told_forgetful: false,
            members_changed: false,
        }
    }

    /// Where peers and operators connect to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.links.address()
    }

    /// Links to these members from now on, and to no others.
    pub(crate) fn set_members(&mut self, members: &Members) {
        self.members_changed = true;
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
            if *node != self.links.node() {
                self.peers.entry(*node).or_default().address = Some(member.peers);
            }
        }
    }

    /// Whether a member is linked.
    pub(crate) fn linked(&self, node: u64) -> bool {
        self.peers.get(&node).is_some_and(|peer| peer.linked)
    }

    /// Accepts, dials and reads; how much there was to do. Members hear the `facts` of this node when they are
    /// linked, when it is `forgetful` no longer, and when the members have changed; so do those that are gone.
    ///
    /// # Errors
    /// [`GatewayError`] where the system's own watch over sockets fails.
    pub(crate) fn turn(
        &mut self,
        now: Steady,
        forgetful: bool,
        facts: &dyn Fn() -> Facts,
    ) -> Result<usize, GatewayError> {
        let mut work = self.links.begin(now)?;
        let members_changed = std::mem::take(&mut self.members_changed);
        if members_changed || forgetful != self.told_forgetful {
            self.told_forgetful = forgetful;
            self.tell(&facts());
        }
        for place in (0..self.links.count()).rev() {
            let Some(slot) = self.links.slot_at(place) else {
                continue;
            };
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
        let slot = peer.and_then(|peer| peer.slot);
        let now = self.links.now();
        let link = slot.and_then(|slot| self.links.link(slot));
        link.is_some_and(|link| {
            link.send(KIND_RAFT, now, |bytes| raft_message::pack(message, bytes))
        })
    }

    /// Answers an operator; nothing where the tool has gone.
    pub(crate) fn reply(&mut self, slot: Slot, reply: &Reply) {
        let now = self.links.now();
        if let Some(link) = self.links.link(slot) {
            link.send(KIND_REPLY, now, |bytes| {
                reply.pack(bytes);
                true
            });
        }
    }

    /// Tells whoever is linked how this node stands now.
    fn tell(&mut self, facts: &Facts) {
        let now = self.links.now();
        let linked = self.peers.values().filter(|peer| peer.linked);
        for (slot, peer) in linked.filter_map(|peer| Some((peer.slot?, peer))) {
            let facts = peer.hears(facts);
            if let Some(link) = self.links.link(slot) {
                link.send(KIND_FACTS, now, |bytes| {
                    facts.pack(bytes);
                    true
                });
            }
        }
    }

    /// Writes what waits, as far as the sockets take it; whether anything was written.
    pub(crate) fn write_all(&mut self) -> usize {
        let mut work = 0;
        for place in (0..self.links.count()).rev() {
            let Some(slot) = self.links.slot_at(place) else {
                continue;
            };
            match self.links.write(slot) {
                Some(writes) => work += writes,
                None => self.close(slot),
            }
        }
        work
    }

    fn read(&mut self, slot: Slot, facts: &dyn Fn() -> Facts) -> usize {
        for reads in 0..READS_A_TURN {
            match self.links.read(slot) {
                Reading::Nothing => return reads,
                Reading::Ended => {
                    self.close(slot);
                    return reads + 1;
                }
                Reading::Some => {}
            }
            if let Err(fault) = self.take_in(slot, facts) {
                self.give_up(slot, fault);
                return reads + 1;
            }
        }
        READS_A_TURN
    }

    /// Handles what has come whole on a link.
    fn take_in(&mut self, slot: Slot, facts: &dyn Fn() -> Facts) -> Result<(), LinkFault> {
        loop {
            match self.links.next(slot)? {
                None => return Ok(()),
                Some(Found::Opened) => self.on_opened(slot, &facts()),
                Some(Found::Frame(kind, place)) => {
                    let own = self.links.node();
                    let Some(link) = self.links.link(slot) else {
                        return Ok(());
                    };
                    let (role, node, body) = (link.role(), link.node(), link.body(place));
                    let event = match (kind, role) {
                        (KIND_FACTS, Role::Member) => {
                            let facts = Facts::parse(body).ok_or(LinkFault::Protocol)?;
                            let known = self.peers.get(&node);
                            let again = known.is_some_and(|it| it.linked && it.slot == Some(slot));
                            Some(match again {
                                true => PeerEvent::Told(node, facts),
                                false => PeerEvent::Linked(node, facts),
                            })
                        }
                        (KIND_RAFT, Role::Member) => {
                            let message = raft_message::unpack(body);
                            let message = message.ok_or(LinkFault::Protocol)?;
                            if message.from != node || message.to != own {
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
        let now = self.links.now();
        let Some(link) = self.links.link(slot) else {
            return;
        };
        if link.role() != Role::Member {
            return;
        }
        let node = link.node();
        let peer = self.peers.entry(node).or_default();
        let facts = peer.hears(facts);
        link.send(KIND_FACTS, now, |bytes| {
            facts.pack(bytes);
            true
        });
        peer.told = None;
        let before = peer.slot.replace(slot).filter(|before| *before != slot);
        if let Some(before) = before {
            self.links.close(before);
            self.on_apart(node);
            if let Some(peer) = self.peers.get_mut(&node) {
                peer.slot = Some(slot);
            }
        }
    }

    /// Looks at deadlines, and dials members that are not linked.
    fn sweep(&mut self) {
        for place in (0..self.links.count()).rev() {
            let Some(slot) = self.links.slot_at(place) else {
                continue;
            };
            if let Err(fault) = self.links.on_time(slot) {
                self.give_up(slot, fault);
            }
        }
        let (own, now) = (self.links.node(), self.links.now());
        for peer in self.peers.values_mut() {
            if peer.apart_since == Steady(0) {
                peer.apart_since = now;
            }
        }
        let due: Vec<(u64, SocketAddr)> = self
            .peers
            .iter()
            .filter(|(node, peer)| {
                let waits = **node < own && now < peer.apart_since.after(DIALS_TOO_AFTER);
                !waits && peer.slot.is_none() && now >= peer.dial_at
            })
            .filter_map(|(node, peer)| Some((*node, peer.address?)))
            .collect();
        for (node, address) in due {
            let slot = self.links.dial(Role::Member, node, address);
            if let Some(peer) = self.peers.get_mut(&node) {
                peer.dial_at = now.after(DIAL_AGAIN);
                peer.slot = slot;
            }
        }
    }

    fn give_up(&mut self, slot: Slot, fault: LinkFault) {
        let node = self.links.node_at(slot);
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
        let node = self.links.node_at(slot);
        self.links.close(slot);
        if self
            .peers
            .get(&node)
            .is_some_and(|it| it.slot == Some(slot))
        {
            self.on_apart(node);
        }
    }

    fn on_apart(&mut self, node: u64) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.slot = None;
            peer.apart_since = self.links.now();
            peer.dial_at = self.links.now().after(DIAL_AGAIN);
            if std::mem::take(&mut peer.linked) {
                self.events.push_back(PeerEvent::Apart(node));
            }
        }
    }
}
