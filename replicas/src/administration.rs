//! What operators ask of a running group: how it stands, who leads, who belongs to it.
//!
//! Called by the sequencer with requests that came over an operator's link.
//!
//! Always holds: a request that cannot be carried out is answered with the reason and what to do; one
//! that only the leader can carry out is answered with the leader's name.

use exahour_engine::{Member as ActivationMember, activation};
#[cfg(feature = "defects")]
use exahour_journal::defects::{self, Defect};
use exahour_wire::ids::{Behaviour, ClientOrderId};
use exahour_wire::internal::ActivateBehaviour;
use raft::StateRole;

use crate::consensus::Consensus;
use crate::engine_agent::EngineFacts;
use crate::error::NodeError;
use crate::members::{Change, MEMBERS_MAX, Member, NodeId, Standing};
use crate::peers::operation::{MemberStatus, NodeRole, NodeStatus, Reply, Request};

/// How far a learner may be behind the leader when it becomes a voter: the group waits for it from then on.
const BEHIND_MAX: u64 = 1_000;

/// Carries a request out, or begins to.
///
/// # Errors
/// [`NodeError`] where the node cannot go on.
pub(crate) fn answer(
    consensus: &mut Consensus,
    engine: &EngineFacts,
    request: Request,
) -> Result<Reply, NodeError> {
    if request == Request::Status {
        return Ok(Reply::Status(Box::new(status(consensus, engine))));
    }
    if consensus.held() {
        let why = "the disk of this node is full: make room, then ask again";
        return Ok(Reply::Refused(why.to_owned()));
    }
    if request == Request::TrustMemory {
        consensus.raft().mut_store().set_forgetful(false)?;
        return Ok(Reply::Done);
    }
    if !consensus.leads() {
        return Ok(Reply::NotNow(elsewhere(consensus)));
    }
    let asked = match request {
        Request::StepDown(to) => step_down(consensus, to),
        Request::AddNode(member) => add(consensus, member),
        Request::Promote(id) => promote(consensus, id).map(|()| Change::Promote(id)),
        Request::RemoveNode(id) => remove(consensus, id),
        Request::ReplaceNode { old, new } => replace(consensus, old, new),
        Request::Status | Request::TrustMemory | Request::TakeSnapshot | Request::Activate(_) => {
            unreachable!("answered above or by the sequencer")
        }
    };
    match asked {
        Err(why) => Ok(why),
        Ok(change) => propose(consensus, change),
    }
}

/// The command that brings a behaviour into force.
///
/// # Errors
/// Why it is not proposed.
pub(crate) fn activation_of(
    consensus: &Consensus,
    engine: &EngineFacts,
    asked: u32,
) -> Result<ActivateBehaviour, Reply> {
    if !consensus.leads() {
        return Err(Reply::NotNow(elsewhere(consensus)));
    }
    let newest = |id: u64| {
        #[cfg(feature = "defects")]
        if defects::armed(Defect::UncheckedActivation) {
            return Some(Behaviour(asked));
        }
        consensus.behaviour_of(id).map(Behaviour)
    };
    let members = consensus
        .members()
        .addresses
        .keys()
        .map(|id| ActivationMember {
            node_id: *id,
            newest: newest(*id),
        });
    activation(
        Behaviour(asked),
        engine.behaviour(),
        members,
        ClientOrderId(0),
    )
    .map_err(|why| Reply::Refused(why.to_string()))
}

fn refused<T>(why: impl Into<String>) -> Result<T, Reply> {
    Err(Reply::Refused(why.into()))
}

fn elsewhere(consensus: &Consensus) -> String {
    let leader = consensus.raft_ref().raft.leader_id;
    match consensus.members().member(leader) {
        Some(leader) => format!("node {} leads: ask it, at {}", leader.id, leader.peers),
        None => "no node leads at present: ask again once one does".to_owned(),
    }
}

fn status(consensus: &Consensus, engine: &EngineFacts) -> NodeStatus {
    let raft = &consensus.raft_ref().raft;
    let members = consensus.members();
    let matched = |id: u64| raft.prs().get(id).map_or(0, |progress| progress.matched);
    let member = |member: &Member| {
        let standing = members.standing(member.id.0)?;
        Some(MemberStatus {
            member: *member,
            standing,
            linked: consensus.linked(member.id.0),
            refused: consensus.refuses(member.id.0),
            matched: if consensus.leads() {
                matched(member.id.0)
            } else {
                0
            },
        })
    };
    NodeStatus {
        id: NodeId(raft.id),
        role: match raft.state {
            StateRole::Leader => NodeRole::Leader,
            StateRole::Follower => NodeRole::Follower,
            StateRole::Candidate | StateRole::PreCandidate => NodeRole::Candidate,
        },
        leader: (raft.leader_id != 0).then_some(NodeId(raft.leader_id)),
        term: raft.term,
        first_index: raft.raft_log.first_index(),
        last_index: raft.raft_log.last_index(),
        committed: consensus.committed(),
        applied: consensus.applied(),
        snapshot: consensus.storage().newest_snapshot(),
        behaviour: engine.behaviour().0,
        forgetful: consensus.forgetful(),
        behaviour_max: consensus.behaviour_max(),
        members_known: consensus.members_known(),
        members: members.addresses.values().filter_map(member).collect(),
    }
}

/// Chooses who leads next, and begins to hand over.
fn step_down(consensus: &mut Consensus, to: Option<NodeId>) -> Result<Change, Reply> {
    if consensus.raft_ref().raft.has_pending_conf() {
        return refused("a change of the members is under way: ask again in a moment");
    }
    let own = consensus.raft_ref().raft.id;
    let matched = |consensus: &Consensus, id: u64| {
        let progress = consensus.raft_ref().raft.prs().get(id);
        progress.map_or(0, |progress| progress.matched)
    };
    let voters = &consensus.members().group.voters;
    let others = voters.iter().copied().filter(|id| *id != own);
    let chosen = match to {
        Some(to) if to.0 == own => return refused("it leads already"),
        Some(to) if !voters.contains(&to.0) => return refused(format!("node {to} has no vote")),
        Some(to) if !consensus.reliable(to.0) => {
            let why =
                "it is not linked, may have forgotten what it promised, or is not listened to";
            return refused(format!("node {to} cannot take over: {why}"));
        }
        Some(to) => Some(to.0),
        None => others
            .filter(|id| consensus.reliable(*id))
            .max_by_key(|id| (matched(consensus, *id), std::cmp::Reverse(*id))),
    };
    let Some(chosen) = chosen else {
        return refused("no other voter is linked and remembers everything: nobody can take over");
    };
    consensus.raft().transfer_leader(chosen);
    Err(Reply::Done)
}

fn add(consensus: &Consensus, member: Member) -> Result<Change, Reply> {
    let members = consensus.members();
    if let Some(known) = members.member(member.id.0) {
        if *known == member {
            // Asked again: it is under way, or done.
            return Err(Reply::Done);
        }
        return refused(format!(
            "there is a node {} at {} already: remove it first, or choose another id",
            known.id, known.peers
        ));
    }
    if members.addresses.len() == MEMBERS_MAX {
        return refused(format!("a group has at most {MEMBERS_MAX} members"));
    }
    let highest = consensus.highest_id();
    if member.id.0 <= highest && !consensus.raft_ref().raft.apply_to_current_term() {
        // It may be a member, by an entry that this leader has not come to yet.
        let why = "a new leader has yet to find out who the members are: ask again in a moment";
        return Err(Reply::NotNow(why.to_owned()));
    }
    if member.id.0 <= highest {
        // Two folders under one number would be one voter who votes twice.
        return refused(format!(
            "numbers up to {highest} were given, and none is ever given again, lest an old folder come back under \
             it: take {} or a higher one",
            highest.saturating_add(1)
        ));
    }
    Ok(Change::Learn(member))
}

fn promote(consensus: &Consensus, id: NodeId) -> Result<(), Reply> {
    match consensus.members().standing(id.0) {
        Some(Standing::Learner) => {}
        Some(_) => return Err(Reply::Done),
        None => return refused(format!("node {id} is no member: add it first")),
    }
    let raft = &consensus.raft_ref().raft;
    let matched = raft.prs().get(id.0).map_or(0, |progress| progress.matched);
    let behind = raft.raft_log.last_index().saturating_sub(matched);
    if behind > BEHIND_MAX {
        return Err(Reply::NotNow(format!(
            "node {id} is {behind} entries behind: ask again once it has caught up (`exahour status`)"
        )));
    }
    Ok(())
}

fn remove(consensus: &Consensus, id: NodeId) -> Result<Change, Reply> {
    let members = consensus.members();
    if id.0 == consensus.raft_ref().raft.id {
        return refused("it leads: let it step down first, then ask the next leader");
    }
    if members.standing(id.0).is_none() {
        return Err(Reply::Done);
    }
    Ok(Change::Remove(id))
}

fn replace(consensus: &Consensus, old: NodeId, new: NodeId) -> Result<Change, Reply> {
    if old.0 == consensus.raft_ref().raft.id {
        return refused("it leads: let it step down first, then ask the next leader");
    }
    if consensus.members().standing(old.0).is_none() {
        return refused(format!("node {old} is no member"));
    }
    promote(consensus, new)?;
    Ok(Change::Replace { old, new })
}

/// Who votes once a change of the voters is done.
fn voters_behind(consensus: &Consensus, change: Change) -> Option<Vec<u64>> {
    let mut voters = consensus.members().group.voters.clone();
    match change {
        Change::Learn(_) => return None,
        Change::Promote(new) => voters.push(new.0),
        Change::Remove(old) => voters.retain(|id| *id != old.0),
        Change::Replace { old, new } => {
            voters.retain(|id| *id != old.0);
            voters.push(new.0);
        }
    }
    Some(voters)
}

/// Whether these are a quorum of the voters.
fn suffice(voters: &[u64], who: impl Fn(u64) -> bool) -> bool {
    2 * voters.iter().filter(|id| who(**id)).count() > voters.len()
}

/// Why a change of the voters has to wait, or is refused: the group would have no quorum that can be counted on.
///
/// # Errors
/// [`NodeError::Raft`].
fn lacks_quorum(consensus: &mut Consensus, change: Change) -> Result<Option<Reply>, NodeError> {
    let Some(voters) = voters_behind(consensus, change) else {
        return Ok(None);
    };
    if !suffice(&voters, |id| consensus.reliable(id)) {
        let reliable = voters.iter().filter(|id| consensus.reliable(**id)).count();
        let voters = voters.len();
        return Ok(Some(Reply::Refused(format!(
            "of the {voters} voters there would be only {reliable} can be counted on now: bring the others back first"
        ))));
    }
    if !consensus.sound(change)? {
        let busy = "the node is busy: ask again in a moment";
        return Ok(Some(Reply::NotNow(busy.to_owned())));
    }
    if suffice(&voters, |id| consensus.answers(id)) {
        return Ok(None);
    }
    let silent = voters.into_iter().filter(|id| !consensus.answers(*id));
    let silent: Vec<String> = silent.map(|id| id.to_string()).collect();
    Ok(Some(Reply::NotNow(format!(
        "whether enough of the voters are there is being asked: {} have not answered yet; ask again in a moment",
        silent.join(", ")
    ))))
}

/// Has the group agree on a change of its members, one at a time.
fn propose(consensus: &mut Consensus, change: Change) -> Result<Reply, NodeError> {
    let raft = &consensus.raft_ref().raft;
    if raft.has_pending_conf() || raft.prs().conf().to_conf_state().auto_leave {
        let why = "another change of the members is under way: ask again in a moment";
        return Ok(Reply::NotNow(why.to_owned()));
    }
    if let Some(lack) = lacks_quorum(consensus, change)? {
        return Ok(lack);
    }
    consensus.end_sounding();
    let raft = consensus.raft();
    Ok(
        match raft.propose_conf_change(Vec::new(), change.to_raft()) {
            Ok(()) => Reply::Done,
            Err(error) => Reply::NotNow(format!("the group does not take it now: {error}")),
        },
    )
}
