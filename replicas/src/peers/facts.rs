//! What a node tells a peer of itself: first on every new link, and again once it remembers what it may have
//! forgotten.
//!
//! Used by `consensus`: a leader that knows better than the peer itself what the peer has would believe
//! a disk that forgot.
//!
//! ```text
//! | incarnation 8 | last index 8 | last term 8 | behaviour 4 | forgetful 1 |
//! ```

use super::packed::{Packer, Unpacker};

/// A node's facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Drawn when its folder was made: a node whose disk was replaced has another.
    pub(crate) incarnation: u64,
    /// The last entry in its journal.
    pub(crate) last_index: u64,
    /// That entry's term.
    pub(crate) last_term: u64,
    /// The newest behaviour that its program can do.
    pub(crate) behaviour_max: u32,
    /// Whether it may have lost what it acknowledged, and so gives no vote.
    pub(crate) forgetful: bool,
}

impl Facts {
    pub(crate) fn pack(&self, bytes: &mut Vec<u8>) {
        Packer(bytes)
            .u64(self.incarnation)
            .u64(self.last_index)
            .u64(self.last_term)
            .u32(self.behaviour_max)
            .u8(u8::from(self.forgetful));
    }

    /// Later versions append: what is not known here is passed over.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = Unpacker(bytes);
        Some(Self {
            incarnation: rest.u64()?,
            last_index: rest.u64()?,
            last_term: rest.u64()?,
            behaviour_max: rest.u32()?,
            forgetful: rest.u8()? != 0,
        })
    }
}
