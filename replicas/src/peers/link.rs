//! One end of a link to a peer, without its socket: bytes and time in, frames and bytes out.
//!
//! Driven by `peers`, one for each connection.
//!
//! ```text
//! dialler:   AwaitsWelcome --Welcome, proven--> Open
//! listener:  AwaitsHello --Hello--> AwaitsProof --Proof, proven--> Open
//! any state --bytes that break the protocol, silence--> the link is given up
//! ```
//! Always holds: no frame is given out before the other side has proven that it has the cluster's key;
//! what waits to be sent, and what has come in part, is bounded.
//! Does not: know what frames mean.

use std::ops::Range;

use exahour_gateway::clock::Steady;
use exahour_wire::units::Nanos;

use super::handshake::{
    ClusterId, ClusterKey, End, HELLO_BYTES, Hello, PROOF_BYTES, Role, Transcript, VERSION_MAX,
    VERSION_MIN, WELCOME_BYTES, Welcome, common_version,
};
use super::seal::{BODY_BYTES_MAX, FRAME_HEADER_BYTES, Sealer};

/// Bytes that may wait for one peer: a peer that does not read costs this much memory, and no more.
pub(crate) const OUT_BYTES_MAX: usize = 8 << 20;

/// Bytes read at once.
pub(crate) const READ_BYTES: usize = 256 << 10;

/// How long a handshake may take.
const HANDSHAKE_MAX: Nanos = Nanos(2_000_000_000);

/// How long the other side may be silent.
const SILENCE_MAX: Nanos = Nanos(1_500_000_000);

/// How long a courier may be silent: it shares a thread with whoever writes and reads back whole states.
const COURIER_SILENCE_MAX: Nanos = Nanos(60_000_000_000);

/// How long this side is silent at most.
const PING_AFTER: Nanos = Nanos(300_000_000);

/// The kind of a frame that says nothing but that its sender lives.
const KIND_PING: u8 = 0;

/// Who this side is.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    pub(crate) key: ClusterKey,
    pub(crate) cluster: ClusterId,
    /// Zero for an operator.
    pub(crate) node: u64,
}

/// Why a link is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkFault {
    /// What came is not this protocol.
    #[error("what came is not the peers' protocol")]
    Protocol,
    /// No version that both sides speak.
    #[error("it speaks versions of the peers' protocol that this program does not")]
    Version,
    /// It belongs to another exchange.
    #[error("it belongs to another exchange")]
    OtherCluster,
    /// It meant another node.
    #[error("it meant to reach another node, or is this node itself: look at the peers' addresses")]
    OtherNode,
    /// It does not know the cluster's key.
    #[error("it does not have the cluster's key")]
    Proof,
    /// A frame was changed on its way.
    #[error("a frame was changed on its way, or is longer than any")]
    Frame,
    /// Nothing came for too long.
    #[error("it is silent")]
    Silence,
}

enum Stage {
    AwaitsHello,
    AwaitsWelcome {
        hello: [u8; HELLO_BYTES],
    },
    AwaitsProof {
        hello: [u8; HELLO_BYTES],
        version: u8,
        nonce: [u8; 32],
    },
    Open {
        inward: Box<Sealer>,
        outward: Box<Sealer>,
    },
}

/// What a link gives out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The other side has proven itself.
    Opened,
    /// A frame of this kind; the body is in [`Link::body`].
    Frame(u8, Range<usize>),
}

/// One end of a link.
pub(crate) struct Link {
    stage: Stage,
    role: Role,
    /// The node at the other end; zero where it is not known yet, and for an operator.
    node: u64,
    nonce: [u8; 32],
    inward: Vec<u8>,
    /// Bytes of `inward` that were handled, and bytes that came.
    handled: usize,
    filled: usize,
    outward: Vec<u8>,
    sent: usize,
    open_by: Steady,
    heard_at: Steady,
    said_at: Steady,
}

impl Link {
    /// A link that this side has dialled.
    pub(crate) fn dial(local: &Local, role: Role, node: u64, nonce: [u8; 32], now: Steady) -> Self {
        let hello = Hello {
            versions: (VERSION_MIN, VERSION_MAX),
            role,
            cluster: local.cluster,
            from: local.node,
            to: node,
            nonce,
        };
        let hello = hello.to_bytes();
        let mut link = Self::new(Stage::AwaitsWelcome { hello }, nonce, now);
        (link.role, link.node) = (role, node);
        link.outward.extend_from_slice(&hello);
        link
    }

    /// A link that the other side has dialled.
    pub(crate) fn accept(nonce: [u8; 32], now: Steady) -> Self {
        Self::new(Stage::AwaitsHello, nonce, now)
    }

    fn new(stage: Stage, nonce: [u8; 32], now: Steady) -> Self {
        Self {
            stage,
            role: Role::Member,
            node: 0,
            nonce,
            inward: Vec::new(),
            handled: 0,
            filled: 0,
            outward: Vec::new(),
            sent: 0,
            open_by: now.after(HANDSHAKE_MAX),
            heard_at: now,
            said_at: now,
        }
    }

    pub(crate) fn role(&self) -> Role {
        self.role
    }

    pub(crate) fn node(&self) -> u64 {
        self.node
    }

    /// When it has to be open.
    pub(crate) fn open_by(&self) -> Steady {
        self.open_by
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open { .. })
    }

    /// Where bytes are read to.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        if self.handled > 0 {
            self.inward.copy_within(self.handled..self.filled, 0);
            self.filled -= self.handled;
            self.handled = 0;
        }
        // A stranger gets no more room than its proof needs.
        let room = if self.is_open() { READ_BYTES } else { 256 };
        let wanted = (self.filled + room).min(FRAME_HEADER_BYTES + BODY_BYTES_MAX + READ_BYTES);
        if self.inward.len() < wanted {
            self.inward.resize(wanted, 0);
        }
        &mut self.inward[self.filled..]
    }

    /// So many bytes were read.
    pub(crate) fn filled(&mut self, count: usize, now: Steady) {
        self.filled += count;
        self.heard_at = now;
    }

    /// The bytes of a frame that [`Link::next`] found last.
    pub(crate) fn body(&self, place: Range<usize>) -> &[u8] {
        &self.inward[place]
    }

    /// What the bytes hold next.
    ///
    /// # Errors
    /// [`LinkFault`]: the link is to be closed.
    pub(crate) fn next(&mut self, local: &Local) -> Result<Option<Found>, LinkFault> {
        loop {
            let bytes = &self.inward[self.handled..self.filled];
            let opened = match &mut self.stage {
                Stage::Open { inward, .. } => {
                    let found = inward.open(bytes).map_err(|_| LinkFault::Frame)?;
                    let Some((kind, place)) = found else {
                        return Ok(None);
                    };
                    let start = self.handled;
                    self.handled += place.end;
                    if kind == KIND_PING {
                        continue;
                    }
                    return Ok(Some(Found::Frame(
                        kind,
                        start + place.start..start + place.end,
                    )));
                }
                Stage::AwaitsHello => {
                    let Some(hello) = bytes.first_chunk::<HELLO_BYTES>() else {
                        return Ok(None);
                    };
                    let hello = *hello;
                    self.handled += HELLO_BYTES;
                    self.on_hello(local, hello)?;
                    false
                }
                Stage::AwaitsWelcome { hello } => {
                    let Some(welcome) = bytes.first_chunk::<WELCOME_BYTES>() else {
                        return Ok(None);
                    };
                    let (hello, welcome) = (*hello, *welcome);
                    self.handled += WELCOME_BYTES;
                    self.on_welcome(local, &hello, &welcome)?;
                    true
                }
                Stage::AwaitsProof {
                    hello,
                    version,
                    nonce,
                } => {
                    let Some(proof) = bytes.first_chunk::<PROOF_BYTES>() else {
                        return Ok(None);
                    };
                    let transcript = Transcript {
                        key: &local.key,
                        version: *version,
                        hello,
                        listener_nonce: nonce,
                    };
                    if !same(proof, &transcript.proof(End::Dialler)) {
                        return Err(LinkFault::Proof);
                    }
                    let stage = Stage::Open {
                        inward: Box::new(transcript.sealer(End::Dialler)),
                        outward: Box::new(transcript.sealer(End::Listener)),
                    };
                    self.handled += PROOF_BYTES;
                    self.stage = stage;
                    true
                }
            };
            if opened {
                return Ok(Some(Found::Opened));
            }
        }
    }

    fn on_hello(&mut self, local: &Local, bytes: [u8; HELLO_BYTES]) -> Result<(), LinkFault> {
        let hello = Hello::parse(&bytes).ok_or(LinkFault::Protocol)?;
        let version = common_version(hello.versions).ok_or(LinkFault::Version)?;
        if hello.cluster != local.cluster {
            return Err(LinkFault::OtherCluster);
        }
        let strange = hello.from == 0 && hello.role != Role::Operator;
        if hello.to != 0 && hello.to != local.node || hello.from == local.node || strange {
            return Err(LinkFault::OtherNode);
        }
        (self.role, self.node) = (hello.role, hello.from);
        let transcript = Transcript {
            key: &local.key,
            version,
            hello: &bytes,
            listener_nonce: &self.nonce,
        };
        let welcome = Welcome {
            version,
            nonce: self.nonce,
            proof: transcript.proof(End::Listener),
        };
        self.outward.extend_from_slice(&welcome.to_bytes());
        self.stage = Stage::AwaitsProof {
            hello: bytes,
            version,
            nonce: self.nonce,
        };
        Ok(())
    }

    fn on_welcome(
        &mut self,
        local: &Local,
        hello: &[u8; HELLO_BYTES],
        bytes: &[u8; WELCOME_BYTES],
    ) -> Result<(), LinkFault> {
        let welcome = Welcome::parse(bytes).ok_or(LinkFault::Protocol)?;
        if !(VERSION_MIN..=VERSION_MAX).contains(&welcome.version) {
            return Err(LinkFault::Version);
        }
        let transcript = Transcript {
            key: &local.key,
            version: welcome.version,
            hello,
            listener_nonce: &welcome.nonce,
        };
        if !same(&welcome.proof, &transcript.proof(End::Listener)) {
            return Err(LinkFault::Proof);
        }
        let stage = Stage::Open {
            inward: Box::new(transcript.sealer(End::Listener)),
            outward: Box::new(transcript.sealer(End::Dialler)),
        };
        self.outward
            .extend_from_slice(&transcript.proof(End::Dialler));
        self.stage = stage;
        Ok(())
    }

    /// Sends a frame, of which `write` appends the body; whether it was taken. It is not where the link is
    /// not open, where the peer does not read, and where `write` says so.
    pub(crate) fn send(
        &mut self,
        kind: u8,
        now: Steady,
        write: impl FnOnce(&mut Vec<u8>) -> bool,
    ) -> bool {
        let Stage::Open { outward, .. } = &mut self.stage else {
            return false;
        };
        if self.outward.len() - self.sent > OUT_BYTES_MAX {
            return false;
        }
        self.said_at = now;
        outward.seal(kind, &mut self.outward, write)
    }

    /// Bytes to send.
    pub(crate) fn front(&self) -> &[u8] {
        &self.outward[self.sent..]
    }

    /// So many of them were sent.
    pub(crate) fn sent(&mut self, count: usize) {
        self.sent += count;
        if self.sent == self.outward.len() {
            self.outward.clear();
            self.sent = 0;
        } else if self.sent > OUT_BYTES_MAX {
            self.outward.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Looks at the clock: says that this side lives where it has said nothing.
    ///
    /// # Errors
    /// [`LinkFault::Silence`]: the other side has said nothing for too long.
    pub(crate) fn on_time(&mut self, now: Steady) -> Result<(), LinkFault> {
        if !self.is_open() {
            return match now > self.open_by {
                true => Err(LinkFault::Silence),
                false => Ok(()),
            };
        }
        let silence_max = match self.role {
            Role::Courier => COURIER_SILENCE_MAX,
            Role::Member | Role::Operator => SILENCE_MAX,
        };
        if now > self.heard_at.after(silence_max) {
            return Err(LinkFault::Silence);
        }
        if now > self.said_at.after(PING_AFTER) {
            self.send(KIND_PING, now, |_| true);
        }
        Ok(())
    }
}

/// Compares without telling by its time where the first difference is.
fn same(left: &[u8; 32], right: &[u8; 32]) -> bool {
    let differences = left.iter().zip(right).fold(0, |all, (a, b)| all | (a ^ b));
    differences == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Steady = Steady(0);

    fn local(node: u64) -> Local {
        Local {
            key: ClusterKey([5; 32]),
            cluster: [6; 16],
            node,
        }
    }

    /// Carries at most `piece` bytes from one end to the other.
    fn carry(from: &mut Link, to: &mut Link, piece: usize) -> bool {
        let bytes = from.front();
        let bytes = bytes[..bytes.len().min(piece)].to_vec();
        let room = to.room();
        let count = bytes.len().min(room.len());
        room[..count].copy_from_slice(&bytes[..count]);
        to.filled(count, START);
        from.sent(count);
        count > 0
    }

    fn shake(
        dialler: &Local,
        listener: &Local,
        piece: usize,
    ) -> Result<(Link, Link), (Option<LinkFault>, Option<LinkFault>)> {
        shake_as(Role::Member, (dialler, listener), piece)
    }

    fn shake_as(
        role: Role,
        (dialler, listener): (&Local, &Local),
        piece: usize,
    ) -> Result<(Link, Link), (Option<LinkFault>, Option<LinkFault>)> {
        let mut near = Link::dial(dialler, role, 2, [1; 32], START);
        let mut far = Link::accept([2; 32], START);
        loop {
            let moved = carry(&mut near, &mut far, piece);
            let heard = far.next(listener);
            let moved = carry(&mut far, &mut near, piece) || moved;
            let answered = near.next(dialler);
            if heard.is_err() || answered.is_err() {
                return Err((answered.err(), heard.err()));
            }
            if near.is_open() && far.is_open() {
                return Ok((near, far));
            }
            assert!(moved);
        }
    }

    #[test]
    fn two_nodes_of_a_cluster_open_a_link_however_the_bytes_are_cut() {
        for piece in [1, 7, 31, 100, 10_000] {
            let (mut near, mut far) = shake(&local(1), &local(2), piece).unwrap();
            assert_eq!((near.node(), far.node()), (2, 1));
            assert!(near.send(9, START, |body| {
                body.extend_from_slice(b"hello");
                true
            }));
            let mut found = None;
            while found.is_none() {
                assert!(carry(&mut near, &mut far, piece));
                found = far.next(&local(2)).unwrap();
            }
            let Some(Found::Frame(9, place)) = found else {
                panic!("{found:?}")
            };
            assert_eq!(far.body(place), b"hello");
        }
    }

    #[test]
    fn strangers_are_told_apart() {
        let another_key = Local {
            key: ClusterKey([7; 32]),
            ..local(1)
        };
        let refused = shake(&another_key, &local(2), 100).err().unwrap();
        assert_eq!(refused.0, Some(LinkFault::Proof));
        let another_cluster = Local {
            cluster: [0; 16],
            ..local(1)
        };
        let refused = shake(&another_cluster, &local(2), 100).err().unwrap();
        assert_eq!(refused.1, Some(LinkFault::OtherCluster));
        let refused = shake(&local(1), &local(3), 100).err().unwrap();
        assert_eq!(refused.1, Some(LinkFault::OtherNode));
        let refused = shake(&local(2), &local(2), 100).err().unwrap();
        assert_eq!(refused.1, Some(LinkFault::OtherNode));
    }

    #[test]
    fn a_listener_checks_the_dialler_itself() {
        // A dialler that passes the listener's own proof back knows no key.
        let mut far = Link::accept([2; 32], START);
        let mut near = Link::dial(&local(1), Role::Member, 2, [1; 32], START);
        carry(&mut near, &mut far, 1_000);
        assert_eq!(far.next(&local(2)), Ok(None));
        let proof: [u8; 32] = far.front()[40..WELCOME_BYTES].try_into().unwrap();
        far.room()[..32].copy_from_slice(&proof);
        far.filled(32, START);
        assert_eq!(far.next(&local(2)), Err(LinkFault::Proof));
    }

    #[test]
    fn whatever_a_stranger_sends_it_gets_no_frame_through_and_little_room() {
        use rand::{Rng, RngExt, SeedableRng};
        let seed: u64 = rand::random();
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        for case in 0..2_000 {
            let mut far = Link::accept([2; 32], START);
            // Half of them begin as a real dialler does.
            let near = Link::dial(&local(1), Role::Operator, 0, [1; 32], START);
            let mut bytes = vec![0; random.random_range(0..400)];
            random.fill_bytes(&mut bytes);
            if random.random() {
                bytes.splice(0..0, near.front().to_vec());
            }
            let mut rest = &bytes[..];
            let ended = loop {
                let room = far.room();
                assert!(room.len() <= 512, "seed {seed} case {case}");
                let count = rest.len().min(random.random_range(1..=room.len()));
                room[..count].copy_from_slice(&rest[..count]);
                rest = &rest[count..];
                far.filled(count, START);
                match far.next(&local(2)) {
                    Ok(None) if rest.is_empty() => break None,
                    Ok(None) => {}
                    Ok(Some(found)) => panic!("seed {seed} case {case}: {found:?}"),
                    Err(fault) => break Some(fault),
                }
            };
            assert!(!far.is_open(), "seed {seed} case {case}: {ended:?}");
        }
    }

    #[test]
    fn silence_ends_a_link_and_a_ping_keeps_it() {
        let mut half = Link::accept([2; 32], START);
        assert!(half.on_time(START.after(HANDSHAKE_MAX)).is_ok());
        let late = START.after(Nanos(HANDSHAKE_MAX.0 + 1));
        assert_eq!(half.on_time(late), Err(LinkFault::Silence));
        let (mut near, mut far) = shake(&local(1), &local(2), 1_000).unwrap();
        let soon = START.after(Nanos(PING_AFTER.0 + 1));
        near.on_time(soon).unwrap();
        assert!(carry(&mut near, &mut far, 1_000));
        assert_eq!(far.next(&local(2)), Ok(None));
        let late = START.after(Nanos(SILENCE_MAX.0 + 1));
        assert_eq!(far.on_time(late), Err(LinkFault::Silence));
    }

    #[test]
    fn a_courier_may_be_silent_for_longer_and_not_for_ever() {
        let (near, far) = shake_as(Role::Courier, (&local(1), &local(2)), 1_000).unwrap();
        for mut side in [near, far] {
            let busy = START.after(Nanos(COURIER_SILENCE_MAX.0));
            assert_eq!(side.on_time(busy), Ok(()));
            let late = START.after(Nanos(COURIER_SILENCE_MAX.0 + 1));
            assert_eq!(side.on_time(late), Err(LinkFault::Silence));
        }
    }

    #[test]
    fn a_peer_that_does_not_read_costs_bounded_memory() {
        let (mut near, _far) = shake(&local(1), &local(2), 1_000).unwrap();
        let mut taken = 0;
        while near.send(9, START, |body| {
            body.extend_from_slice(&[0; 64 << 10]);
            true
        }) {
            taken += 1;
        }
        assert!(taken * (64 << 10) <= OUT_BYTES_MAX + (128 << 10));
        near.sent(near.front().len());
        assert!(near.send(9, START, |_| true));
    }
}
