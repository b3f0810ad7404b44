//! Who votes in a group, as far as anybody outside of it can know.
//!
//! Kept by the cluster, with the help of the operator; asked before a machine loses what is not on its disk,
//! and when something is called committed.
//!
//! Always holds: while the operator wants the voters changed both groups count, the one before and the one
//! behind the change: which of them decides only the log says. A machine that stands by, or only follows, is in
//! neither: it does not make a group larger that it gives no vote.

use crate::net::HostId;
use crate::node::SimNode;

/// The voters of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Electorate {
    before: Vec<HostId>,
    behind: Option<Vec<HostId>>,
}

impl Electorate {
    /// Voters whom nobody changes.
    pub(crate) fn settled(voters: Vec<HostId>) -> Self {
        Self {
            before: voters,
            behind: None,
        }
    }

    /// Voters of whom one is to come, or to go, or both.
    pub(crate) fn changing(&self, comes: Option<HostId>, goes: Option<HostId>) -> Self {
        let mut behind = self.before.clone();
        behind.retain(|voter| Some(*voter) != goes);
        behind.extend(comes.filter(|new| !self.before.contains(new)));
        Self {
            before: self.before.clone(),
            behind: Some(behind),
        }
    }

    /// The change is done.
    pub(crate) fn settle(&self) -> Self {
        Self::settled(self.behind.as_ref().unwrap_or(&self.before).clone())
    }

    /// The groups that may decide now.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &[HostId]> {
        let both = [Some(&self.before), self.behind.as_ref()];
        both.into_iter().flatten().map(Vec::as_slice)
    }

    /// Whether every group that may decide has a quorum that remembers everything, even though one more
    /// machine loses what it has in memory. Where one had not, what was acknowledged could be lost, or nobody
    /// could lead before somebody says whose memory is to be trusted.
    pub(crate) fn bears_loss(&self, nodes: &mut [SimNode], place: usize) -> bool {
        let mut lacks = |voter: &&HostId| voter.0 == place || nodes[voter.0].may_lack_something();
        self.groups()
            .all(|group| 2 * group.iter().filter(&mut lacks).count() < group.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(places: &[usize]) -> Vec<HostId> {
        places.iter().copied().map(HostId).collect()
    }

    #[test]
    fn both_groups_count_until_a_change_is_done() {
        let four = Electorate::settled(hosts(&[0, 1, 2, 3]));
        let changing = four.changing(Some(HostId(4)), Some(HostId(1)));
        let groups: Vec<&[HostId]> = changing.groups().collect();
        assert_eq!(groups, [hosts(&[0, 1, 2, 3]), hosts(&[0, 2, 3, 4])]);
        let behind = changing.settle();
        assert_eq!(behind, Electorate::settled(hosts(&[0, 2, 3, 4])));
        let three = behind.changing(None, Some(HostId(2))).settle();
        assert_eq!(three, Electorate::settled(hosts(&[0, 3, 4])));
    }
}
