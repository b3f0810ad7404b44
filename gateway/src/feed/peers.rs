//! The connections of a feed port: accepts, reads, serves and writes each once in a turn.
//!
//! Called by the market data and drop copy agents, which say what to serve through [`Serve`].
//!
//! Always holds: one turn costs one bounded read, one serving and one bounded write for each
//! connection; one that is refused gets its last message before it is closed. Where every place is
//! taken, whoever has asked for nothing longest makes way.
//! Does not: know what is asked or sent; ports are in `net`.

use std::net::{IpAddr, SocketAddr};

use exahour_wire::framing::FRAMING_BYTES;
use exahour_wire::market_data::{FeedRange, FeedReject, FeedSource};
use exahour_wire::message::Message;
use exahour_wire::units::Nanos;

use super::send_buffer::SendBuffer;
use crate::clock::Steady;
use crate::error::GatewayError;
use crate::inbox::{BadFrame, Inbox};
use crate::net::{Accepted, Port, Received, Slot, Written};

/// Room that an answer takes: a refusal or the head of a range, behind the source at first.
const ANSWER_BYTES_MAX: usize = 2 * FRAMING_BYTES + FeedSource::BYTES + FeedReject::BYTES;

// The larger of the two is a refusal.
const _: () = assert!(FeedReject::BYTES >= FeedRange::BYTES);

/// Bytes of requests read at once: clients say little here.
const READ_BYTES: usize = 256;

/// How long a refused client may take to read why and to close.
const CLOSING_MAX: Nanos = Nanos::SECOND;

/// Silence after which a connection gets a sign of life.
pub const HEARTBEAT_AFTER: Nanos = Nanos::SECOND;

/// How long a new connection may take to ask for something.
pub const REQUEST_WITHIN: Nanos = Nanos(10 * Nanos::SECOND.0);

/// What becomes of a connection after it was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays.
    Stay,
    /// It is closed once everything written is sent: the last message says why.
    Finish,
    /// It is closed at once: it does not read, so there is no way to tell it.
    Cut,
}

/// What a port serves.
pub trait Serve {
    /// What it keeps for each connection.
    type State: Default;

    /// Takes requests from a connection and writes what fits its buffer.
    fn serve(&mut self, peer: &mut Peer<Self::State>, now: Steady) -> Verdict;

    /// Whether a connection has been given something to do: only one that has not makes way for
    /// another.
    fn has_asked(state: &Self::State) -> bool;

    /// Gives back what was kept for a connection that is gone.
    fn gone(&mut self, state: Self::State);
}

/// One connection.
#[derive(Debug)]
pub struct Peer<S> {
    inbox: Inbox,
    /// The address that it came from.
    pub from: IpAddr,
    /// What is on its way to the client.
    pub buffer: SendBuffer,
    /// What the service keeps for it.
    pub state: S,
    /// When it connected.
    pub since: Steady,
    /// When it last took bytes, or connected.
    pub last_sent: Steady,
    closing: Option<Steady>,
}

impl<S: Default> Peer<S> {
    /// A connection that was just accepted.
    pub fn new(from: IpAddr, send_bytes: usize, now: Steady) -> Self {
        Peer {
            from,
            inbox: Inbox::new(READ_BYTES),
            buffer: SendBuffer::new(send_bytes),
            state: S::default(),
            since: now,
            last_sent: now,
            closing: None,
        }
    }

    /// Takes in bytes as if they had been read; gives how many there was room for.
    pub fn receive(&mut self, bytes: &[u8]) -> usize {
        let room = self.inbox.room();
        let count = bytes.len().min(room.len());
        room[..count].copy_from_slice(&bytes[..count]);
        self.inbox.filled(count);
        count
    }

    /// The next whole request, while there is room to answer it.
    ///
    /// # Errors
    /// [`BadFrame`] where the bytes received cannot be cut any more.
    pub fn next_request(&mut self) -> Result<Option<&[u8]>, BadFrame> {
        if self.buffer.room() < ANSWER_BYTES_MAX {
            return Ok(None);
        }
        self.inbox.next_message()
    }

    /// Writes the answer to a request; [`Peer::next_request`] has left room for it.
    pub fn answer(&mut self, message: &impl Message) {
        let written = self.buffer.push(message.bytes());
        assert!(written, "a request is taken only with room to answer it");
    }
}

/// All connections of one port.
#[derive(Debug)]
pub struct Peers<S> {
    port: Box<dyn Port>,
    peers: Box<[Option<Peer<S>>]>,
    send_bytes: usize,
}

impl<S: Default> Peers<S> {
    /// Serves at most as many connections as `port` was made for, with `send_bytes` for each.
    pub fn new(port: Box<dyn Port>, peers_max: usize, send_bytes: usize) -> Self {
        Peers {
            port,
            peers: (0..peers_max).map(|_| None).collect(),
            send_bytes,
        }
    }

    /// The address that clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Serves every connection once; gives how much there was to do.
    ///
    /// # Errors
    /// [`GatewayError::Watch`] where the system cannot watch sockets any more.
    pub fn turn(
        &mut self,
        service: &mut impl Serve<State = S>,
        now: Steady,
    ) -> Result<usize, GatewayError> {
        self.port.poll_ready()?;
        let mut work = 0;
        while let Some(accepted) = self.port.accept() {
            work += 1;
            match accepted {
                Accepted::Connection(slot) => {
                    let from = self.port.from(slot);
                    self.peers[slot.0] = Some(Peer::new(from, self.send_bytes, now));
                }
                Accepted::Full => self.make_room(service),
                Accepted::Refused => {}
            }
        }
        for place in 0..self.peers.len() {
            let Some(peer) = &mut self.peers[place] else {
                continue;
            };
            let (done, keep) = turn_one(&mut *self.port, Slot(place), peer, service, now);
            work += done;
            if keep == Keep::No {
                self.end(place, service);
            }
        }
        Ok(work)
    }

    /// Frees the place of whoever is being refused, or else has asked for nothing, and came first.
    fn make_room<T: Serve<State = S>>(&mut self, service: &mut T) {
        let idle = |(place, peer): (usize, &Option<Peer<S>>)| {
            let peer = peer.as_ref()?;
            let refused = peer.closing.is_some();
            let stays = !refused && T::has_asked(&peer.state);
            (!stays).then_some((!refused, peer.since, place))
        };
        let longest = self.peers.iter().enumerate().filter_map(idle).min();
        if let Some((_, _, place)) = longest {
            self.end(place, service);
        }
    }

    fn end(&mut self, place: usize, service: &mut impl Serve<State = S>) {
        self.port.close(Slot(place));
        self.port.release(Slot(place));
        if let Some(peer) = self.peers[place].take() {
            service.gone(peer.state);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    Yes,
    No,
}

fn turn_one<S: Default>(
    port: &mut dyn Port,
    slot: Slot,
    peer: &mut Peer<S>,
    service: &mut impl Serve<State = S>,
    now: Steady,
) -> (usize, Keep) {
    let mut work = 0;
    match port.try_read(slot, peer.inbox.room()) {
        Received::Bytes(count) => {
            peer.inbox.filled(count);
            work += 1;
        }
        Received::Nothing => {}
        Received::Ended => return (1, Keep::No),
    }
    if peer.closing.is_some() {
        // What still comes is read and dropped: unread bytes would destroy the last message.
        peer.inbox.clear();
    } else {
        match service.serve(peer, now) {
            Verdict::Stay => {}
            Verdict::Finish => peer.closing = Some(now),
            Verdict::Cut => return (1, Keep::No),
        }
    }
    match port.try_write(slot, peer.buffer.waiting()) {
        Written::Bytes(count) => {
            peer.buffer.sent(count);
            peer.last_sent = now;
            work += 1;
            if peer.closing.is_some() && peer.buffer.waiting().is_empty() {
                port.end_writing(slot);
            }
        }
        Written::Nothing => {}
        Written::Ended => return (1, Keep::No),
    }
    let overdue = peer
        .closing
        .is_some_and(|since| now > since.after(CLOSING_MAX));
    (work, if overdue { Keep::No } else { Keep::Yes })
}
