//! How all nodes of a cluster stand, asked at the same time.
//!
//! Used by `status`, by `run` to follow its nodes, and by whoever looks for the leader.
//!
//! Always holds: a node that does not answer delays nobody but by the time that an answer may take; of two
//! that say they lead, the one of the later term does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use exahour_replicas::{
    ClusterKey, Member, MemberStatus, NodeId, NodeRole, NodeStatus, Operator, OperatorError, Reply,
    Request, Standing,
};

use super::add_node::listed;
use super::reach::Reach;

/// How long a node may take to be reached, and again to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// What the nodes said.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    answers: BTreeMap<SocketAddr, Result<NodeStatus, String>>,
}

/// A node, as a member or as one that only answers, and what it said.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) id: Option<NodeId>,
    pub(crate) peers: SocketAddr,
    /// What the node that knows most says of it; none where it is no member.
    pub(crate) member: Option<&'a MemberStatus>,
    pub(crate) answer: Result<&'a NodeStatus, &'a str>,
}

/// Asks one node for something.
///
/// # Errors
/// Where it is not reached, or does not answer.
pub(crate) fn ask(
    address: SocketAddr,
    key: &ClusterKey,
    request: &Request,
) -> Result<Reply, OperatorError> {
    Operator::connect(address, key, ANSWER_WITHIN)?.ask(request)
}

impl Survey {
    /// Asks the nodes that are known, and those that they tell of.
    pub(crate) fn take(reach: &Reach) -> Self {
        let mut survey = Self::default();
        let mut wanted = reach.addresses.clone();
        while !wanted.is_empty() {
            let asked = Self::of(&wanted, &reach.key);
            survey.answers.extend(asked.answers);
            wanted = survey.not_asked();
        }
        survey
    }

    /// Asks these and no others.
    pub(crate) fn of(addresses: &[SocketAddr], key: &ClusterKey) -> Self {
        let wanted: BTreeSet<SocketAddr> = addresses.iter().copied().collect();
        let answers = thread::scope(|scope| {
            let threads: Vec<_> = wanted
                .iter()
                .map(|address| (*address, scope.spawn(|| status_of(*address, key))))
                .collect();
            let joined = threads
                .into_iter()
                .map(|(address, thread)| match thread.join() {
                    Ok(answer) => (address, answer),
                    // A panic there is one here.
                    Err(panic) => std::panic::resume_unwind(panic),
                });
            joined.collect()
        });
        Self { answers }
    }

    /// Members that others tell of and nobody has asked.
    fn not_asked(&self) -> Vec<SocketAddr> {
        self.statuses()
            .flat_map(|status| &status.members)
            .map(|member| member.member.peers)
            .filter(|address| !self.answers.contains_key(address))
            .collect()
    }

    /// What the nodes that answered said.
    pub(crate) fn statuses(&self) -> impl Iterator<Item = &NodeStatus> {
        self.answers.values().flatten()
    }

    /// The node that leads, if one does.
    pub(crate) fn leader(&self) -> Option<&NodeStatus> {
        self.statuses()
            .filter(|status| status.role == NodeRole::Leader)
            .max_by_key(|status| status.term)
    }

    /// The node whose words on the members count: the leader, else whoever has heard most.
    fn best_informed(&self) -> Option<&NodeStatus> {
        let most = || self.statuses().max_by_key(|it| (it.committed, it.term));
        self.leader().or_else(most)
    }

    /// Where a node is asked, among those that answered.
    pub(crate) fn address_of(&self, id: NodeId) -> Option<SocketAddr> {
        let found = self
            .answers
            .iter()
            .find(|(_, answer)| answer.as_ref().is_ok_and(|status| status.id == id));
        found.map(|(address, _)| *address)
    }

    /// Why a node cannot be asked that does not answer.
    pub(crate) fn absence_of(&self, id: NodeId) -> String {
        let members: &[MemberStatus] = self.best_informed().map_or(&[], |it| &it.members);
        let members: Vec<u64> = members.iter().map(|it| it.member.id.0).collect();
        match members.is_empty() || members.contains(&id.0) {
            true => format!("node {id} does not answer: start it first"),
            false => format!(
                "there is no node {id}: the members of the cluster are {}",
                listed(&members)
            ),
        }
    }

    /// Whether the leader has enough voters beside it to decide, whom it listens to.
    pub(crate) fn quorum(&self) -> bool {
        let Some(leader) = self.leader() else {
            return false;
        };
        let most = |standings: &[Standing]| {
            let voters = leader.members.iter();
            let voters = voters.filter(|member| standings.contains(&member.standing));
            let (linked, all) = voters.fold((0, 0), |(linked, all), member| {
                let counts = member.linked && !member.refused;
                (linked + usize::from(counts), all + 1)
            });
            linked * 2 > all
        };
        most(&[Standing::Voter]) && most(&[Standing::Voter, Standing::Leaving])
    }

    /// Every node, members first, in the order of their numbers.
    pub(crate) fn nodes(&self) -> Vec<Seen<'_>> {
        let members: &[MemberStatus] = self.best_informed().map_or(&[], |it| &it.members);
        let mut nodes: Vec<Seen<'_>> = members
            .iter()
            .map(|member| {
                let Member { id, peers, .. } = member.member;
                let address = self.address_of(id).unwrap_or(peers);
                Seen {
                    id: Some(id),
                    peers,
                    member: Some(member),
                    answer: self.answer_at(address),
                }
            })
            .collect();
        let known: Vec<SocketAddr> = members.iter().map(|it| it.member.peers).collect();
        for (address, answer) in &self.answers {
            let id = answer.as_ref().ok().map(|status| status.id);
            let is_member = id.is_some_and(|id| nodes.iter().any(|it| it.id == Some(id)));
            if is_member || known.contains(address) {
                continue;
            }
            nodes.push(Seen {
                id,
                peers: *address,
                member: None,
                answer: self.answer_at(*address),
            });
        }
        nodes
    }

    fn answer_at(&self, address: SocketAddr) -> Result<&NodeStatus, &str> {
        match self.answers.get(&address) {
            Some(Ok(status)) => Ok(status),
            Some(Err(why)) => Err(why),
            None => Err("it was not asked"),
        }
    }

    /// Whether nobody answered, and why the first did not.
    pub(crate) fn silence(&self) -> Option<&str> {
        match self.statuses().next() {
            Some(_) => None,
            None => Some(
                self.answers
                    .values()
                    .find_map(|it| it.as_ref().err())
                    .map_or("", |it| it),
            ),
        }
    }
}

fn status_of(address: SocketAddr, key: &ClusterKey) -> Result<NodeStatus, String> {
    match ask(address, key, &Request::Status) {
        Ok(Reply::Status(status)) => Ok(*status),
        Ok(other) => Err(format!(
            "{address}: an answer to another question: {other:?}"
        )),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn member(id: u64, standing: Standing, linked: bool) -> MemberStatus {
        let at = |port: u64| format!("127.0.0.1:{}", port + id).parse().unwrap();
        MemberStatus {
            member: Member {
                id: NodeId(id),
                peers: at(7100),
                orders: at(7000),
            },
            standing,
            linked,
            refused: false,
            matched: 80 + id,
        }
    }

    pub(in super::super) fn status(id: u64, role: NodeRole, term: u64) -> NodeStatus {
        NodeStatus {
            id: NodeId(id),
            role,
            leader: None,
            term,
            first_index: 1,
            last_index: 90,
            committed: 88,
            applied: 87,
            forgetful: false,
            behaviour_max: 2,
            members_known: true,
            snapshot: 50,
            behaviour: 1,
            members: (1..=3)
                .map(|id| member(id, Standing::Voter, true))
                .collect(),
        }
    }

    pub(in super::super) fn survey(statuses: &[NodeStatus]) -> Survey {
        let at = |id: u64| format!("127.0.0.1:{}", 7100 + id).parse().unwrap();
        let mut survey = Survey::default();
        for id in 1..=3 {
            survey.answers.insert(at(id), Err("gone".to_owned()));
        }
        for status in statuses {
            survey.answers.insert(at(status.id.0), Ok(status.clone()));
        }
        survey
    }

    #[test]
    fn the_leader_of_the_later_term_is_the_leader() {
        let found = survey(&[
            status(1, NodeRole::Leader, 3),
            status(2, NodeRole::Leader, 5),
            status(3, NodeRole::Follower, 5),
        ]);
        assert_eq!(found.leader().unwrap().id, NodeId(2));
        assert!(found.quorum());
        assert_eq!(found.address_of(NodeId(3)).unwrap().port(), 7103);
    }

    #[test]
    fn a_leader_that_is_cut_off_has_no_quorum() {
        let mut alone = status(1, NodeRole::Leader, 3);
        alone.members[1].linked = false;
        assert!(survey(&[alone.clone()]).quorum());
        alone.members[2].linked = false;
        assert!(!survey(&[alone.clone()]).quorum());
        // A link to somebody who is not listened to is none.
        alone.members[2].linked = true;
        assert!(survey(&[alone.clone()]).quorum());
        alone.members[2].refused = true;
        assert!(!survey(&[alone.clone()]).quorum());
        alone.members[2].linked = false;
        alone.members[2].refused = false;
        // Learners do not count, and those on their way out still do.
        alone.members[2].standing = Standing::Learner;
        alone.members[1].linked = true;
        assert!(survey(&[alone.clone()]).quorum());
        for id in 4..=5 {
            alone.members.push(member(id, Standing::Leaving, false));
        }
        assert!(!survey(&[alone]).quorum());
        assert!(!survey(&[status(1, NodeRole::Follower, 3)]).quorum());
    }

    #[test]
    fn nodes_that_are_silent_or_no_members_are_seen() {
        let mut leader = status(1, NodeRole::Leader, 3);
        leader.members.truncate(2);
        let found = survey(&[leader, status(3, NodeRole::Candidate, 9)]);
        let nodes = found.nodes();
        let ids: Vec<_> = nodes.iter().map(|it| it.id.map(|id| id.0)).collect();
        assert_eq!(ids, [Some(1), Some(2), Some(3)]);
        assert!(nodes[1].answer.is_err());
        assert!(nodes[2].member.is_none() && nodes[2].answer.is_ok());
        assert_eq!(
            found.absence_of(NodeId(2)),
            "node 2 does not answer: start it first"
        );
        assert_eq!(
            found.absence_of(NodeId(9)),
            "there is no node 9: the members of the cluster are 1, 2"
        );
        assert_eq!(survey(&[]).silence(), Some("gone"));
        assert_eq!(found.silence(), None);
    }
}
