//! Who belongs to the group: the members, what each may do, and where they are reached.
//!
//! Kept with a node's promises (`hard_state`), changed by entries of the log, told to peers' links and, in
//! part, to clients.
//!
//! Always holds: every member of the group has addresses; the members stand for the log up to `at`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use raft::prelude::{ConfChangeSingle, ConfChangeType, ConfChangeV2, ConfState};

use crate::peers::packed::{Packer, Unpacker};

/// Members of a group at a time, learners and those on their way out included.
pub(crate) const MEMBERS_MAX: usize = 16;

/// The name of a node in its group: above zero, never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl std::fmt::Display for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a member is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub id: NodeId,
    /// Where its peers and operators reach it.
    pub peers: SocketAddr,
    /// Where clients reach it, as they are told.
    pub orders: SocketAddr,
}

impl Member {
    fn pack(&self, bytes: &mut Vec<u8>) {
        Packer(bytes)
            .u64(self.id.0)
            .address(&self.peers)
            .address(&self.orders);
    }

    fn unpack(rest: &mut Unpacker<'_>) -> Option<Self> {
        Some(Self {
            id: NodeId(rest.u64()?),
            peers: rest.address()?,
            orders: rest.address()?,
        })
    }
}

/// What a member may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It votes, and its copy counts.
    Voter,
    /// It follows, and its copy does not count.
    Learner,
    /// It votes until the change under way is done.
    Leaving,
}

/// The group as of a place in the log.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Members {
    pub(crate) group: ConfState,
    pub(crate) addresses: BTreeMap<u64, Member>,
    /// The log's entries up to here are taken into account.
    pub(crate) at: u64,
}

impl Members {
    /// The first members of a group: all vote.
    pub(crate) fn founders(members: &[Member]) -> Self {
        let mut voters: Vec<u64> = members.iter().map(|member| member.id.0).collect();
        voters.sort_unstable();
        Self {
            group: ConfState {
                voters,
                ..ConfState::default()
            },
            addresses: members.iter().map(|it| (it.id.0, *it)).collect(),
            at: 0,
        }
    }

    /// Where a member is reached.
    pub(crate) fn member(&self, id: u64) -> Option<&Member> {
        self.addresses.get(&id)
    }

    /// What a node may do, if it is a member.
    pub(crate) fn standing(&self, id: u64) -> Option<Standing> {
        let group = &self.group;
        if group.voters.contains(&id) {
            Some(Standing::Voter)
        } else if group.voters_outgoing.contains(&id) {
            Some(Standing::Leaving)
        } else if group.learners.contains(&id) || group.learners_next.contains(&id) {
            Some(Standing::Learner)
        } else {
            None
        }
    }

    /// Whether this node decides alone.
    pub(crate) fn alone(&self, id: u64) -> bool {
        self.group.voters == [id] && self.group.voters_outgoing.is_empty()
    }

    /// Takes in what a change that was applied made of the group, and the addresses it brought.
    pub(crate) fn on_change(&mut self, group: ConfState, context: &[u8], at: u64) {
        if let Some(members) = unpack_all(context) {
            for member in members {
                self.addresses.insert(member.id.0, member);
            }
        }
        self.group = group;
        self.at = at;
        let known: Vec<u64> = self.addresses.keys().copied().collect();
        for id in known {
            if self.standing(id).is_none() {
                self.addresses.remove(&id);
            }
        }
    }

    /// Appends them as they are kept on disk.
    pub(crate) fn pack(&self, bytes: &mut Vec<u8>) {
        let group = &self.group;
        Packer(bytes).u64(self.at).u8(u8::from(group.auto_leave));
        for ids in [
            &group.voters,
            &group.learners,
            &group.voters_outgoing,
            &group.learners_next,
        ] {
            // A group has at most `MEMBERS_MAX` members.
            Packer(bytes).u8(ids.len() as u8);
            for id in ids {
                Packer(bytes).u64(*id);
            }
        }
        let all: Vec<Member> = self.addresses.values().copied().collect();
        pack_all(&all, bytes);
    }

    pub(crate) fn unpack(bytes: &[u8]) -> Option<Self> {
        let mut rest = Unpacker(bytes);
        let at = rest.u64()?;
        let mut group = ConfState {
            auto_leave: rest.u8()? != 0,
            ..ConfState::default()
        };
        for ids in [
            &mut group.voters,
            &mut group.learners,
            &mut group.voters_outgoing,
            &mut group.learners_next,
        ] {
            let count = rest.u8()?;
            *ids = (0..count).map(|_| rest.u64()).collect::<Option<_>>()?;
        }
        let members = unpack_all(rest.0)?;
        let addresses = members.into_iter().map(|it| (it.id.0, it)).collect();
        Some(Self {
            group,
            addresses,
            at,
        })
    }
}

fn pack_all(members: &[Member], bytes: &mut Vec<u8>) {
    Packer(bytes).u8(members.len() as u8);
    for member in members {
        member.pack(bytes);
    }
}

fn unpack_all(bytes: &[u8]) -> Option<Vec<Member>> {
    let mut rest = Unpacker(bytes);
    let count = rest.u8()?;
    let members = (0..count).map(|_| Member::unpack(&mut rest));
    let members = members.collect::<Option<Vec<_>>>()?;
    rest.finish(members)
}

/// A change of the group as an operator asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A new node follows first, and does not count.
    Learn(Member),
    /// A learner becomes a voter.
    Promote(NodeId),
    /// A member leaves.
    Remove(NodeId),
    /// A learner takes the place of a voter, in one step.
    Replace {
        /// Who leaves.
        old: NodeId,
        /// Who comes.
        new: NodeId,
    },
}

impl Change {
    /// The change in raft's words, and what goes with it.
    pub(crate) fn to_raft(self) -> ConfChangeV2 {
        let single = |kind, id: NodeId| {
            let mut change = ConfChangeSingle {
                node_id: id.0,
                ..ConfChangeSingle::default()
            };
            change.set_change_type(kind);
            change
        };
        let mut context = Vec::new();
        let changes = match self {
            Self::Learn(member) => {
                pack_all(&[member], &mut context);
                vec![single(ConfChangeType::AddLearnerNode, member.id)]
            }
            Self::Promote(id) => vec![single(ConfChangeType::AddNode, id)],
            Self::Remove(id) => vec![single(ConfChangeType::RemoveNode, id)],
            Self::Replace { old, new } => vec![
                single(ConfChangeType::AddNode, new),
                single(ConfChangeType::RemoveNode, old),
            ],
        };
        ConfChangeV2 {
            changes: changes.into(),
            context: context.into(),
            ..ConfChangeV2::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64) -> Member {
        Member {
            id: NodeId(id),
            peers: format!("10.0.0.{id}:7100").parse().unwrap(),
            orders: format!("[fd00::{id}]:7000").parse().unwrap(),
        }
    }

    #[test]
    fn members_are_read_as_they_were_kept() {
        let mut members = Members::founders(&[member(3), member(1), member(2)]);
        members.group.learners.push(9);
        members.addresses.insert(9, member(9));
        members.group.voters_outgoing = vec![1, 2];
        members.group.auto_leave = true;
        members.at = 77;
        let mut bytes = Vec::new();
        members.pack(&mut bytes);
        assert_eq!(Members::unpack(&bytes), Some(members));
        assert_eq!(Members::unpack(&bytes[..bytes.len() - 1]), None);
    }

    #[test]
    fn a_change_brings_addresses_and_takes_those_of_who_left() {
        let mut members = Members::founders(&[member(1), member(2), member(3)]);
        let change = Change::Learn(member(4)).to_raft();
        let mut group = members.group.clone();
        group.learners.push(4);
        members.on_change(group, &change.context, 10);
        assert_eq!(members.standing(4), Some(Standing::Learner));
        assert_eq!(members.member(4), Some(&member(4)));
        let group = ConfState {
            voters: vec![1, 2, 4],
            ..ConfState::default()
        };
        let change = Change::Replace {
            old: NodeId(3),
            new: NodeId(4),
        };
        members.on_change(group, &change.to_raft().context, 11);
        assert_eq!(members.standing(3), None);
        assert_eq!(members.member(3), None);
        assert_eq!(members.at, 11);
    }

    #[test]
    fn a_file_has_room_for_the_largest_group() {
        let all: Vec<Member> = (1..=MEMBERS_MAX as u64).map(member).collect();
        let mut members = Members::founders(&all);
        members.group.voters_outgoing = members.group.voters.clone();
        members.group.learners_next = members.group.voters.clone();
        let mut bytes = Vec::new();
        members.pack(&mut bytes);
        assert!(bytes.len() <= crate::hard_state::MEMBERS_BYTES_MAX);
    }
}
