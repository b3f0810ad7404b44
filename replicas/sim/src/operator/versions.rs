//! Which machines have which program, as the operator who installs them knows: an upgrade, one node at a time.
//!
//! Asked by the operator when it looks for a job.
//!
//! Always holds: a node is given the older program back only as long as nobody has asked for the newer behaviour,
//! and that is not asked for before such a node has the newer one again: what a link says of a program that has
//! just been taken away is not to be relied on.

use std::collections::BTreeSet;

use exahour_replicas::{NodeStatus, Reply};
use exahour_twin::behaviour::NEWEST;
use exahour_wire::units::PartsPerMillion;

use super::call::Heard;
use super::job::Job;
use crate::chance::Chance;
use crate::client::Violation;
use crate::net::HostId;
use crate::swarm::{OLDER, Programs};

/// What is known of the programs.
#[derive(Debug)]
pub(super) struct Versions {
    /// There are two of them.
    mixed: bool,
    back: PartsPerMillion,
    /// The machines that have the older one.
    older: BTreeSet<HostId>,
    /// Those among them that had the newer one before.
    put_back: BTreeSet<HostId>,
    /// The newer behaviour may be in the log, or come to it.
    may_be_activated: bool,
    refused: u64,
}

impl Versions {
    pub(super) fn new(programs: Option<Programs>) -> Self {
        let mixed = programs.is_some();
        let (older, back) = programs.map_or((Vec::new(), PartsPerMillion(0)), |programs| {
            (programs.older, programs.back)
        });
        let older = (0..older.len()).filter(|place| older[*place]);
        Self {
            mixed,
            back,
            older: older.map(HostId).collect(),
            put_back: BTreeSet::new(),
            may_be_activated: !mixed,
            refused: 0,
        }
    }

    /// Activations that were refused because somebody could not have followed.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    /// Whether an operator may ask for a behaviour now, be it too early.
    pub(super) fn may_be_asked_for(&self) -> bool {
        self.put_back.is_empty()
    }

    /// What is to be done next for the upgrade of these members, if anything is now.
    pub(super) fn draw(
        &mut self,
        chance: &mut Chance,
        leader: &NodeStatus,
        members: Vec<HostId>,
    ) -> Option<Job> {
        if !self.mixed || chance.below(4) == 0 {
            return None;
        }
        let (older, newer): (Vec<HostId>, Vec<HostId>) =
            members.into_iter().partition(|at| self.older.contains(at));
        if !self.may_be_activated && !newer.is_empty() && chance.happens(self.back) {
            let at = newer[chance.below(newer.len())];
            self.older.insert(at);
            self.put_back.insert(at);
            return Some(Job::Install(at, OLDER));
        }
        let too_early = chance.below(6) == 0;
        if self.may_be_asked_for() && leader.behaviour < NEWEST.0 && (older.is_empty() || too_early)
        {
            return Some(Job::Activate(NEWEST.0));
        }
        if older.is_empty() {
            return None;
        }
        let at = older[chance.below(older.len())];
        self.older.remove(&at);
        self.put_back.remove(&at);
        Some(Job::Install(at, NEWEST))
    }

    /// An activation was asked for, of a group that has these members.
    ///
    /// # Errors
    /// It was begun though one of them cannot follow.
    pub(super) fn on_activation(
        &mut self,
        behaviour: u32,
        heard: &Heard,
        members: &[HostId],
    ) -> Result<(), Violation> {
        if behaviour < NEWEST.0 {
            return Ok(());
        }
        let cannot = members.iter().find(|at| self.older.contains(at));
        match (heard, cannot) {
            (Heard::Reply(Reply::Done), Some(at)) => {
                return Err(format!(
                    "behaviour {behaviour} is activated, which {at} cannot do"
                ));
            }
            (Heard::Reply(Reply::Refused(_)), Some(_)) => self.refused += 1,
            (Heard::Reply(Reply::Done) | Heard::Lost, _) => self.may_be_activated = true,
            (Heard::Reply(_), _) => {}
        }
        Ok(())
    }
}
