//! What an operator's tool asks a node for, and what it is answered.
//!
//! ```text
//! request:  | what 1 | its fields |
//! reply:    | what 1 | its fields |          texts are UTF-8
//! ```
//! Asked over a link of the role `Operator`, answered by the sequencer's thread.
//!
//! Always holds: every request has one reply, in order.

use std::net::SocketAddr;

use super::packed::{Packer, Unpacker};
use crate::members::{Member, NodeId, Standing};

/// What an operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// How the node stands.
    Status,
    /// The leader gives its role to a node, or to whoever follows best.
    StepDown(Option<NodeId>),
    /// A new node follows the log.
    AddNode(Member),
    /// A learner that has caught up becomes a voter.
    Promote(NodeId),
    /// A member leaves the group.
    RemoveNode(NodeId),
    /// A learner takes the place of a member.
    ReplaceNode {
        /// Who leaves.
        old: NodeId,
        /// Who comes.
        new: NodeId,
    },
    /// A snapshot is taken now.
    TakeSnapshot,
    /// A behaviour comes into force, which every member can do.
    Activate(u32),
    /// A node that may have forgotten votes again, whatever is lost by it.
    TrustMemory,
}

/// What the node says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is done, or under way.
    Done,
    /// It is not done, and why.
    Refused(String),
    /// It is not done now, and why; the same may be done soon, here or by the node that leads.
    NotNow(String),
    /// How the node stands.
    Status(Box<NodeStatus>),
}

/// What a node is in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeRole {
    /// It decides the order.
    Leader,
    /// It follows.
    Follower,
    /// It asks for votes.
    Candidate,
}

/// How a node stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Who it is.
    pub id: NodeId,
    /// What it is.
    pub role: NodeRole,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// The term it is in.
    pub term: u64,
    /// The first entry in its journal.
    pub first_index: u64,
    /// The last.
    pub last_index: u64,
    /// The last that is committed.
    pub committed: u64,
    /// The last that its engine has applied.
    pub applied: u64,
    /// The entry that its newest snapshot stands behind; zero where it has none.
    pub snapshot: u64,
    /// The behaviour in force, as far as its engine has come.
    pub behaviour: u32,
    /// Whether it gives no vote because it may have lost what it acknowledged.
    pub forgetful: bool,
    /// The newest behaviour that its program can do.
    pub behaviour_max: u32,
    /// Whether whoever may lead next knows these members, so that who left is not needed any more: as the leader
    /// says, of whose own link it is told.
    pub members_known: bool,
    /// The members, as it knows them.
    pub members: Vec<MemberStatus>,
}

/// How a member stands, as the node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Where it is reached.
    pub member: Member,
    /// What it may do.
    pub standing: Standing,
    /// Whether there is a link to it; the node itself counts as linked.
    pub linked: bool,
    /// Whether it has come back with another folder than it had, and so is not listened to.
    pub refused: bool,
    /// The last entry that it is known to have; zero unless the node leads.
    pub matched: u64,
}

fn pack_member(packer: &mut Packer<'_>, member: &Member) {
    packer
        .u64(member.id.0)
        .address(&member.peers)
        .address(&member.orders);
}

fn unpack_member(rest: &mut Unpacker<'_>) -> Option<Member> {
    let id = rest.u64().filter(|id| *id > 0)?;
    let (peers, orders): (SocketAddr, SocketAddr) = (rest.address()?, rest.address()?);
    Some(Member {
        id: NodeId(id),
        peers,
        orders,
    })
}

impl Request {
    pub(crate) fn pack(&self, bytes: &mut Vec<u8>) {
        let mut packer = Packer(bytes);
        match self {
            Self::Status => packer.u8(1),
            Self::StepDown(to) => packer.u8(2).u64(to.map_or(0, |to| to.0)),
            Self::AddNode(member) => {
                packer.u8(3);
                pack_member(&mut packer, member);
                &mut packer
            }
            Self::Promote(id) => packer.u8(4).u64(id.0),
            Self::RemoveNode(id) => packer.u8(5).u64(id.0),
            Self::ReplaceNode { old, new } => packer.u8(6).u64(old.0).u64(new.0),
            Self::TrustMemory => packer.u8(7),
            Self::TakeSnapshot => packer.u8(8),
            Self::Activate(behaviour) => packer.u8(9).u32(*behaviour),
        };
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = Unpacker(bytes);
        let request = match rest.u8()? {
            1 => Self::Status,
            2 => Self::StepDown(rest.u64().map(|id| (id > 0).then_some(NodeId(id)))?),
            3 => Self::AddNode(unpack_member(&mut rest)?),
            4 => Self::Promote(NodeId(rest.u64()?)),
            5 => Self::RemoveNode(NodeId(rest.u64()?)),
            6 => Self::ReplaceNode {
                old: NodeId(rest.u64()?),
                new: NodeId(rest.u64()?),
            },
            7 => Self::TrustMemory,
            8 => Self::TakeSnapshot,
            9 => Self::Activate(rest.u32()?),
            _ => return None,
        };
        rest.finish(request)
    }
}

impl Reply {
    pub(crate) fn pack(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Done => {
                Packer(bytes).u8(1);
            }
            Self::Refused(why) => {
                Packer(bytes).u8(2).bytes(why.as_bytes());
            }
            Self::NotNow(why) => {
                Packer(bytes).u8(4).bytes(why.as_bytes());
            }
            Self::Status(status) => {
                Packer(bytes).u8(3);
                status.pack(bytes);
            }
        }
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = Unpacker(bytes);
        match rest.u8()? {
            1 => rest.finish(Self::Done),
            2 => Some(Self::Refused(text(rest))),
            4 => Some(Self::NotNow(text(rest))),
            3 => NodeStatus::parse(rest).map(|it| Self::Status(Box::new(it))),
            _ => None,
        }
    }
}

fn text(rest: Unpacker<'_>) -> String {
    String::from_utf8_lossy(rest.0).into_owned()
}

impl NodeStatus {
    fn pack(&self, bytes: &mut Vec<u8>) {
        let mut packer = Packer(bytes);
        packer
            .u64(self.id.0)
            .u8(match self.role {
                NodeRole::Leader => 1,
                NodeRole::Follower => 2,
                NodeRole::Candidate => 3,
            })
            .u64(self.leader.map_or(0, |it| it.0))
            .u64(self.term)
            .u64(self.first_index)
            .u64(self.last_index)
            .u64(self.committed)
            .u64(self.applied)
            .u64(self.snapshot)
            .u32(self.behaviour)
            .u8(u8::from(self.forgetful))
            .u32(self.behaviour_max)
            // A group has few members.
            .u8(self.members.len() as u8);
        for member in &self.members {
            pack_member(&mut packer, &member.member);
            packer
                .u8(match member.standing {
                    Standing::Voter => 1,
                    Standing::Learner => 2,
                    Standing::Leaving => 3,
                })
                // An earlier version reads whatever is not zero as linked.
                .u8(match (member.linked, member.refused) {
                    (false, _) => 0,
                    (true, false) if member.member.id == self.id && !self.members_known => 3,
                    (true, false) => 1,
                    (true, true) => 2,
                })
                .u64(member.matched);
        }
    }

    fn parse(mut rest: Unpacker<'_>) -> Option<Self> {
        let id = NodeId(rest.u64()?);
        let role = match rest.u8()? {
            1 => NodeRole::Leader,
            2 => NodeRole::Follower,
            3 => NodeRole::Candidate,
            _ => return None,
        };
        let leader = rest.u64().map(|id| (id > 0).then_some(NodeId(id)))?;
        let mut status = Self {
            id,
            role,
            leader,
            term: rest.u64()?,
            first_index: rest.u64()?,
            last_index: rest.u64()?,
            committed: rest.u64()?,
            applied: rest.u64()?,
            snapshot: rest.u64()?,
            behaviour: rest.u32()?,
            forgetful: rest.u8()? != 0,
            behaviour_max: rest.u32()?,
            members_known: true,
            members: Vec::new(),
        };
        for _ in 0..rest.u8()? {
            let member = unpack_member(&mut rest)?;
            let standing = match rest.u8()? {
                1 => Standing::Voter,
                2 => Standing::Learner,
                3 => Standing::Leaving,
                _ => return None,
            };
            let link = rest.u8()?;
            status.members_known &= link != 3;
            status.members.push(MemberStatus {
                member,
                standing,
                linked: link != 0,
                refused: link == 2,
                matched: rest.u64()?,
            });
        }
        rest.finish(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> Member {
        Member {
            id: NodeId(4),
            peers: "10.0.0.4:7100".parse().unwrap(),
            orders: "10.0.0.4:7000".parse().unwrap(),
        }
    }

    #[test]
    fn requests_are_read_as_they_were_written() {
        for request in [
            Request::Status,
            Request::StepDown(None),
            Request::StepDown(Some(NodeId(2))),
            Request::AddNode(member()),
            Request::Promote(NodeId(4)),
            Request::RemoveNode(NodeId(1)),
            Request::ReplaceNode {
                old: NodeId(1),
                new: NodeId(4),
            },
            Request::TrustMemory,
            Request::TakeSnapshot,
            Request::Activate(2),
        ] {
            let mut bytes = Vec::new();
            request.pack(&mut bytes);
            assert_eq!(Request::parse(&bytes), Some(request));
            for end in 0..bytes.len() {
                assert_eq!(Request::parse(&bytes[..end]), None);
            }
            bytes.push(0);
            assert_eq!(Request::parse(&bytes), None);
        }
    }

    #[test]
    fn replies_are_read_as_they_were_written() {
        let status = NodeStatus {
            id: NodeId(1),
            role: NodeRole::Leader,
            leader: Some(NodeId(1)),
            term: 3,
            first_index: 1,
            last_index: 90,
            committed: 88,
            applied: 87,
            snapshot: 50,
            behaviour: 1,
            forgetful: false,
            behaviour_max: 2,
            members_known: true,
            members: [(true, true), (true, false), (false, false)]
                .map(|(linked, refused)| MemberStatus {
                    member: member(),
                    standing: Standing::Learner,
                    linked,
                    refused,
                    matched: 80,
                })
                .into(),
        };
        let mut changing = status.clone();
        (changing.members_known, changing.id) = (false, NodeId(4));
        changing.members.truncate(2);
        for reply in [
            Reply::Status(Box::new(changing)),
            Reply::Done,
            Reply::Refused("it leads already".to_owned()),
            Reply::NotNow("not the leader".to_owned()),
            Reply::Status(Box::new(status)),
        ] {
            let mut bytes = Vec::new();
            reply.pack(&mut bytes);
            assert_eq!(Reply::parse(&bytes), Some(reply));
        }
    }
}
