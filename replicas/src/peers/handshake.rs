//! How two ends of a link prove to each other that they belong to one cluster.
//!
//! ```text
//! dialler                                             listener
//!   Hello { versions, role, cluster, from, to, nonce } -->
//!                                   <-- Welcome { version, nonce, proof of the listener }
//!   Proof { proof of the dialler } -->
//!   both: frames sealed with keys drawn from the cluster's key and both nonces
//!
//! Hello   | "EXPEER" 6 | version lowest 1 | highest 1 | role 1 | zeros 7 | cluster 16 | from 8 | to 8 | nonce 32 |
//! Welcome | "EXPEER" 6 | version 1 | zero 1 | nonce 32 | proof 32 |
//! Proof   | proof 32 |
//! proof = BLAKE3 keyed by the cluster's key, of: whose 1 | version 1 | Hello | nonce of the listener
//! ```
//! Used by `link`.
//!
//! Always holds: nobody without the key gets further than the length of a Hello; a proof is of this
//! connection alone, and of one side of it.

use super::packed::{Packer, Unpacker};
use super::seal::Sealer;

/// The secret of a cluster: whoever has it may be a member of it, or tell its members what to do.
#[derive(Clone)]
pub struct ClusterKey(pub [u8; 32]);

impl std::fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClusterKey(..)")
    }
}

const MAGIC: &[u8; 6] = b"EXPEER";

/// The oldest version of the peers' protocol that is spoken here.
pub(crate) const VERSION_MIN: u8 = 2;
/// The newest.
pub(crate) const VERSION_MAX: u8 = 2;

pub(crate) const HELLO_BYTES: usize = 80;
pub(crate) const WELCOME_BYTES: usize = 72;
pub(crate) const PROOF_BYTES: usize = 32;

/// What a dialler wants of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It is a node, and speaks raft.
    Member,
    /// It is a node, and fetches or brings files.
    Courier,
    /// It is an operator's tool.
    Operator,
}

impl Role {
    fn number(self) -> u8 {
        match self {
            Self::Member => 1,
            Self::Courier => 2,
            Self::Operator => 3,
        }
    }

    fn of_number(number: u8) -> Option<Self> {
        [Self::Member, Self::Courier, Self::Operator]
            .into_iter()
            .find(|role| role.number() == number)
    }
}

/// Which exchange a link is about: the id that all its logs carry.
pub(crate) type ClusterId = [u8; 16];

/// The first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) versions: (u8, u8),
    pub(crate) role: Role,
    pub(crate) cluster: ClusterId,
    /// The dialler's node id; zero for an operator.
    pub(crate) from: u64,
    /// Whom it means to reach; zero for whoever it is.
    pub(crate) to: u64,
    pub(crate) nonce: [u8; 32],
}

impl Hello {
    pub(crate) fn to_bytes(self) -> [u8; HELLO_BYTES] {
        let mut bytes = Vec::with_capacity(HELLO_BYTES);
        Packer(&mut bytes)
            .bytes(MAGIC)
            .u8(self.versions.0)
            .u8(self.versions.1)
            .u8(self.role.number())
            .bytes(&[0; 7])
            .bytes(&self.cluster)
            .u64(self.from)
            .u64(self.to)
            .bytes(&self.nonce);
        let mut hello = [0; HELLO_BYTES];
        hello.copy_from_slice(&bytes);
        hello
    }

    pub(crate) fn parse(bytes: &[u8; HELLO_BYTES]) -> Option<Self> {
        let mut rest = Unpacker(bytes);
        if rest.take::<6>()? != *MAGIC {
            return None;
        }
        let versions = (rest.u8()?, rest.u8()?);
        let role = Role::of_number(rest.u8()?)?;
        rest.take::<7>()?;
        let hello = Self {
            versions,
            role,
            cluster: rest.take()?,
            from: rest.u64()?,
            to: rest.u64()?,
            nonce: rest.take()?,
        };
        rest.finish(hello)
    }
}

/// The newest version that both sides speak, if there is one.
pub(crate) fn common_version((lowest, highest): (u8, u8)) -> Option<u8> {
    let version = highest.min(VERSION_MAX);
    (version >= lowest.max(VERSION_MIN)).then_some(version)
}

/// The answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Welcome {
    pub(crate) version: u8,
    pub(crate) nonce: [u8; 32],
    pub(crate) proof: [u8; 32],
}

impl Welcome {
    pub(crate) fn to_bytes(self) -> [u8; WELCOME_BYTES] {
        let mut bytes = [0; WELCOME_BYTES];
        bytes[..6].copy_from_slice(MAGIC);
        bytes[6] = self.version;
        bytes[8..40].copy_from_slice(&self.nonce);
        bytes[40..].copy_from_slice(&self.proof);
        bytes
    }

    pub(crate) fn parse(bytes: &[u8; WELCOME_BYTES]) -> Option<Self> {
        let mut rest = Unpacker(bytes);
        if rest.take::<6>()? != *MAGIC {
            return None;
        }
        let version = rest.u8()?;
        rest.u8()?;
        let (nonce, proof) = (rest.take()?, rest.take()?);
        rest.finish(Self {
            version,
            nonce,
            proof,
        })
    }
}

/// Which end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Dialler,
    Listener,
}

/// What both ends know once the nonces are exchanged.
pub(crate) struct Transcript<'a> {
    pub(crate) key: &'a ClusterKey,
    pub(crate) version: u8,
    pub(crate) hello: &'a [u8; HELLO_BYTES],
    pub(crate) listener_nonce: &'a [u8; 32],
}

impl Transcript<'_> {
    /// What an end shows to prove that it knows the key.
    pub(crate) fn proof(&self, of: End) -> [u8; 32] {
        self.draw(match of {
            End::Dialler => 1,
            End::Listener => 2,
        })
    }

    /// What seals the frames that an end sends.
    pub(crate) fn sealer(&self, of: End) -> Sealer {
        Sealer::new(self.draw(match of {
            End::Dialler => 3,
            End::Listener => 4,
        }))
    }

    fn draw(&self, purpose: u8) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key.0);
        hasher.update(&[purpose, self.version]);
        hasher.update(self.hello);
        hasher.update(self.listener_nonce);
        *hasher.finalize().as_bytes()
    }
}
