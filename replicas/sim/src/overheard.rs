//! What nodes say to each other, listened to on its way out: nobody may lead, or vote, twice in a term.
//!
//! `Tapped` stands between a node and its network. It knows where messages begin on the port of peers and
//! reads their heads, nothing else.
//!
//! ```text
//! a link:   | handshake: 112 bytes of who dialled, 72 of who was dialled | frame | frame | ...
//! a frame:  | seal 16 | length 4 | kind 1 | 3 | body: type 1 | reject 1 | from 8 | to 8 | term 8 | ... |
//! ```
//! Always holds: what a node has written counts as said, whether it arrives or not.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use exahour_gateway::error::GatewayError;
use exahour_gateway::net::{Accepted, Net, Port, Received, Slot, Written};

use crate::client::Violation;

/// Bytes of a handshake from the side that dialled, and from the other.
const DIALLER_BYTES: usize = 80 + 32;
const LISTENER_BYTES: usize = 72;

/// Bytes before a frame's body, where its length and its kind are in them, and what of a body is looked at.
const FRAME_HEAD: usize = 24;
const LENGTH_AT: usize = 16;
const KIND_AT: usize = 20;
const BODY_HEAD: usize = 26;

/// The kind of a frame that carries raft's message.
const KIND_RAFT: u8 = 2;

/// Types of raft's messages, by their number on the wire.
const APPEND: u8 = 1;
const VOTE_ASKED: u8 = 3;
const VOTE_ANSWERED: u8 = 4;
const SNAPSHOT: u8 = 5;
const HEARTBEAT: u8 = 6;

/// Who has led and who has voted, of all nodes of a world; clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overheard(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    /// By term.
    leaders: BTreeMap<u64, u64>,
    /// By term and voter: for whom.
    votes: BTreeMap<(u64, u64), u64>,
    /// How often somebody has spoken as a leader.
    words: u64,
    wrong: Option<Violation>,
}

impl Overheard {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In how many terms somebody has led.
    pub(crate) fn terms_led(&self) -> u64 {
        self.book().leaders.len() as u64
    }

    /// How often somebody has spoken as a leader.
    pub(crate) fn words(&self) -> u64 {
        self.book().words
    }

    /// In how many terms a node has voted.
    pub(crate) fn votes_of(&self, node: u64) -> usize {
        let book = self.book();
        book.votes
            .keys()
            .filter(|(_, voter)| *voter == node)
            .count()
    }

    /// Who led last.
    pub(crate) fn last_leader(&self) -> Option<u64> {
        let book = self.book();
        book.leaders.last_key_value().map(|(_, node)| *node)
    }

    /// Nothing that may not be said was said.
    ///
    /// # Errors
    /// Two nodes led in one term, or a node voted twice in one.
    pub(crate) fn check(&self) -> Result<(), Violation> {
        self.book().wrong.take().map_or(Ok(()), Err)
    }

    fn on_message(&self, head: &[u8; BODY_HEAD]) {
        let number = |at: usize| {
            let bytes = head[at..at + 8].first_chunk();
            bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        let (from, to, term) = (number(2), number(10), number(18));
        match (head[0], head[1]) {
            (APPEND | SNAPSHOT | HEARTBEAT, _) => self.book().on_lead(term, from),
            // Who asks for votes has given its own to itself.
            (VOTE_ASKED, _) => self.book().on_vote(term, from, from),
            (VOTE_ANSWERED, 0) => self.book().on_vote(term, from, to),
            _ => {}
        }
    }
}

impl Book {
    fn on_lead(&mut self, term: u64, node: u64) {
        self.words += 1;
        let known = *self.leaders.entry(term).or_insert(node);
        if known != node {
            self.wrong = Some(format!("nodes {known} and {node} both lead in term {term}"));
        }
    }

    fn on_vote(&mut self, term: u64, voter: u64, candidate: u64) {
        match self.votes.entry((term, voter)) {
            Entry::Vacant(place) => {
                place.insert(candidate);
            }
            Entry::Occupied(place) if *place.get() != candidate => {
                let known = place.get();
                self.wrong = Some(format!(
                    "node {voter} votes for {known} and for {candidate} in term {term}"
                ));
            }
            Entry::Occupied(_) => {}
        }
    }
}

/// A network that is listened to on one port.
#[derive(Debug)]
pub(crate) struct Tapped<N> {
    net: N,
    /// The port of peers.
    peers: u16,
    overheard: Overheard,
}

impl<N: Net> Tapped<N> {
    pub(crate) fn new(net: N, peers: u16, overheard: Overheard) -> Self {
        Self {
            net,
            peers,
            overheard,
        }
    }
}

impl<N: Net> Net for Tapped<N> {
    fn listen(
        &self,
        address: SocketAddr,
        connections_max: usize,
    ) -> Result<Box<dyn Port>, GatewayError> {
        let port = self.net.listen(address, connections_max)?;
        if address.port() != self.peers {
            return Ok(port);
        }
        Ok(Box::new(TappedPort {
            port,
            says: (0..connections_max).map(|_| Saying::default()).collect(),
            overheard: self.overheard.clone(),
        }))
    }
}

/// How far what is written to one connection is read.
#[derive(Debug, Default)]
struct Saying {
    /// Bytes that are passed over.
    skip: usize,
    /// The beginning of a frame that is not whole yet.
    head: Vec<u8>,
}

impl Saying {
    fn take(&mut self, mut bytes: &[u8], overheard: &Overheard) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let wanted = FRAME_HEAD + self.length().map_or(0, |it| BODY_HEAD.min(it));
            let taken = bytes.len().min(wanted.saturating_sub(self.head.len()));
            self.head.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            self.on_head(overheard);
        }
    }

    /// Bytes of the body of the frame that has begun, once that is there.
    fn length(&self) -> Option<usize> {
        let length = self.head.get(LENGTH_AT..)?.first_chunk()?;
        Some(u32::from_le_bytes(*length) as usize)
    }

    /// Looks at the beginning of a frame where enough of it is there.
    fn on_head(&mut self, overheard: &Overheard) {
        let Some(length) = self.length() else {
            return;
        };
        let seen = BODY_HEAD.min(length);
        if self.head.len() < FRAME_HEAD + seen {
            return;
        }
        let body = self.head[FRAME_HEAD..].first_chunk();
        if let (KIND_RAFT, Some(body)) = (self.head[KIND_AT], body) {
            overheard.on_message(body);
        }
        self.skip = length - seen;
        self.head.clear();
    }
}

#[derive(Debug)]
struct TappedPort {
    port: Box<dyn Port>,
    /// By slot.
    says: Vec<Saying>,
    overheard: Overheard,
}

impl TappedPort {
    fn begin(&mut self, slot: Slot, skip: usize) {
        self.says[slot.0] = Saying {
            skip,
            head: Vec::new(),
        };
    }
}

impl Port for TappedPort {
    fn address(&self) -> SocketAddr {
        self.port.address()
    }

    fn taken_count(&self) -> usize {
        self.port.taken_count()
    }

    fn poll_ready(&mut self) -> Result<(), GatewayError> {
        self.port.poll_ready()
    }

    fn accept(&mut self) -> Option<Accepted> {
        let accepted = self.port.accept()?;
        if let Accepted::Connection(slot) = accepted {
            self.begin(slot, LISTENER_BYTES);
        }
        Some(accepted)
    }

    fn connect(&mut self, address: SocketAddr) -> Option<Slot> {
        let slot = self.port.connect(address)?;
        self.begin(slot, DIALLER_BYTES);
        Some(slot)
    }

    fn from(&self, slot: Slot) -> IpAddr {
        self.port.from(slot)
    }

    fn try_read(&mut self, slot: Slot, room: &mut [u8]) -> Received {
        self.port.try_read(slot, room)
    }

    fn try_write(&mut self, slot: Slot, bytes: &[u8]) -> Written {
        let written = self.port.try_write(slot, bytes);
        if let Written::Bytes(count) = written {
            self.says[slot.0].take(&bytes[..count], &self.overheard);
        }
        written
    }

    fn end_writing(&mut self, slot: Slot) {
        self.port.end_writing(slot);
    }

    fn close(&mut self, slot: Slot) {
        self.port.close(slot);
    }

    fn release(&mut self, slot: Slot) {
        self.port.release(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of a type, from a node to another, in a term.
    fn frame(kind: u8, reject: u8, from: u64, to: u64, term: u64) -> Vec<u8> {
        let mut body = vec![kind, reject];
        for number in [from, to, term, 0, 0] {
            body.extend_from_slice(&number.to_le_bytes());
        }
        let mut bytes = vec![0xff; LENGTH_AT];
        bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
        bytes.push(KIND_RAFT);
        bytes.extend_from_slice(&[0; 3]);
        bytes.extend_from_slice(&body);
        bytes
    }

    fn hear(frames: &[Vec<u8>], piece: usize) -> Result<(), Violation> {
        let overheard = Overheard::default();
        let mut saying = Saying {
            skip: DIALLER_BYTES,
            head: Vec::new(),
        };
        let said = [vec![0xff; DIALLER_BYTES], frames.concat()].concat();
        for bytes in said.chunks(piece) {
            saying.take(bytes, &overheard);
        }
        overheard.check()
    }

    #[test]
    fn two_leaders_and_two_votes_are_heard_however_the_bytes_come() {
        let ping = [vec![0xff; LENGTH_AT], vec![0; 8]].concat();
        let lead = |node, term| frame(HEARTBEAT, 0, node, 9, term);
        let vote = |node, to, term| frame(VOTE_ANSWERED, 0, node, to, term);
        for piece in [1, 7, 24, 61, 4_096] {
            let fine = [
                lead(1, 5),
                ping.clone(),
                lead(2, 6),
                lead(1, 5),
                vote(3, 1, 5),
                vote(3, 2, 6),
                frame(VOTE_ANSWERED, 1, 3, 2, 5),
                frame(APPEND, 0, 2, 3, 6),
            ];
            assert_eq!(hear(&fine, piece), Ok(()));
            let twice = hear(
                &[lead(1, 5), ping.clone(), frame(APPEND, 0, 2, 1, 5)],
                piece,
            );
            assert_eq!(
                twice.unwrap_err(),
                "nodes 1 and 2 both lead in term 5",
                "{piece}"
            );
            let voted = hear(&[vote(3, 1, 5), frame(VOTE_ASKED, 0, 3, 1, 5)], piece);
            assert_eq!(
                voted.unwrap_err(),
                "node 3 votes for 1 and for 3 in term 5",
                "{piece}"
            );
        }
    }
}
