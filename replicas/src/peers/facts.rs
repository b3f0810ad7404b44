//! What a node tells a peer of itself: first on every new link, and again once it remembers what it may have
//! forgotten, or the members have changed.
//!
//! Used by `consensus`: a leader that knows better than the peer itself what the peer has would believe
//! a disk that forgot.
//!
//! ```text
//! | incarnation 8 | last index 8 | last term 8 | behaviour 4 | forgetful 1 |
//! | highest number given 8 | members as of 8 | you are no member 1 |
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
    /// The highest number that it knows a member to have had; zero where it does not say.
    pub(crate) highest_id: u64,
    /// It knows the members as of this entry.
    pub(crate) members_at: u64,
    /// Whether whoever hears this is none of them.
    pub(crate) to_outsider: bool,
}

impl Facts {
    pub(crate) fn pack(&self, bytes: &mut Vec<u8>) {
        Packer(bytes)
            .u64(self.incarnation)
            .u64(self.last_index)
            .u64(self.last_term)
            .u32(self.behaviour_max)
            .u8(u8::from(self.forgetful))
            .u64(self.highest_id)
            .u64(self.members_at)
            .u8(u8::from(self.to_outsider));
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
            // Earlier versions do not say these.
            highest_id: rest.u64().unwrap_or(0),
            members_at: rest.u64().unwrap_or(0),
            to_outsider: rest.u8().is_some_and(|it| it != 0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_as_they_were_told_by_this_version_and_an_earlier_one() {
        let facts = Facts {
            incarnation: 1,
            last_index: 2,
            last_term: 3,
            behaviour_max: 4,
            forgetful: true,
            highest_id: 5,
            members_at: 6,
            to_outsider: true,
        };
        let mut bytes = Vec::new();
        facts.pack(&mut bytes);
        assert_eq!(Facts::parse(&bytes), Some(facts));
        let earlier = Facts {
            highest_id: 0,
            members_at: 0,
            to_outsider: false,
            ..facts
        };
        assert_eq!(Facts::parse(&bytes[..29]), Some(earlier));
        assert_eq!(Facts::parse(&bytes[..28]), None);
        bytes.push(9);
        assert_eq!(Facts::parse(&bytes), Some(facts));
    }
}
