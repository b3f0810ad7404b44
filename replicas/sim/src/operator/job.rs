//! What an operator wants of a group, and what is to be asked for next on the way there.
//!
//! Always holds: what is to be done next follows from how the leader says that its group stands, so that
//! nothing has to be remembered of answers that were lost.

use exahour_replicas::{Member, NodeId, NodeStatus, Request, Standing};
use exahour_wire::ids::Behaviour;

use crate::net::HostId;

/// A job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// Another node leads.
    StepDown(Option<NodeId>),
    /// A node takes a snapshot now.
    TakeSnapshot(HostId),
    /// A behaviour comes into force.
    Activate(u32),
    /// A node is started anew, with a program that can do this behaviour and none that is newer.
    Install(HostId, Behaviour),
    /// A new node becomes a voter.
    Add(HostId),
    /// A member leaves.
    Remove(NodeId),
    /// A new node takes the place of a member.
    Replace {
        /// Who leaves.
        old: NodeId,
        /// Who comes.
        new: HostId,
    },
}

/// What a job wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The leader is asked for this.
    Ask(Request),
    /// It is under way.
    Wait,
    /// The group says that it is done.
    Done,
}

impl Job {
    /// Whether it is done with one answer, whatever that is.
    pub(super) fn is_asked_once(self) -> bool {
        matches!(
            self,
            Self::StepDown(_) | Self::TakeSnapshot(_) | Self::Activate(_)
        )
    }

    /// What is to be done where the leader stands like this.
    pub(super) fn next(self, leader: &NodeStatus, machines: &[Member]) -> Next {
        let standing = |id: NodeId| {
            let member = leader.members.iter().find(|it| it.member.id == id);
            member.map(|it| it.standing)
        };
        let give_way = Next::Ask(Request::StepDown(None));
        let done = match leader.members_known {
            true => Next::Done,
            false => Next::Wait,
        };
        match self {
            Self::StepDown(to) => Next::Ask(Request::StepDown(to)),
            Self::TakeSnapshot(_) => Next::Ask(Request::TakeSnapshot),
            Self::Activate(behaviour) => Next::Ask(Request::Activate(behaviour)),
            Self::Install(at, _) => {
                let mut members = leader.members.iter();
                let member = members.find(|it| it.member.id == machines[at.0].id);
                match member.is_none_or(|it| it.linked) {
                    true => Next::Done,
                    false => Next::Wait,
                }
            }
            Self::Add(new) => {
                let member = machines[new.0];
                match standing(member.id) {
                    None => Next::Ask(Request::AddNode(member)),
                    Some(Standing::Learner) => Next::Ask(Request::Promote(member.id)),
                    Some(Standing::Voter) => done,
                    Some(Standing::Leaving) => Next::Wait,
                }
            }
            Self::Remove(old) => match standing(old) {
                None => done,
                Some(Standing::Leaving) => Next::Wait,
                Some(_) if leader.id == old => give_way,
                Some(_) => Next::Ask(Request::RemoveNode(old)),
            },
            Self::Replace { old, new } => {
                let member = machines[new.0];
                match (standing(member.id), standing(old)) {
                    (None, _) => Next::Ask(Request::AddNode(member)),
                    (Some(Standing::Voter), None) => done,
                    (Some(Standing::Learner), Some(_)) if leader.id == old => give_way,
                    (Some(Standing::Learner), Some(_)) => Next::Ask(Request::ReplaceNode {
                        old,
                        new: member.id,
                    }),
                    (Some(Standing::Learner), None) => Next::Ask(Request::Promote(member.id)),
                    _ => Next::Wait,
                }
            }
        }
    }
}
