//! Changes of the members: what is made sure of before one is proposed, and after it was.
//!
//! Part of `Consensus`; asked by `administration`.
//!
//! ```text
//! asked for --> an entry more --> a quorum of the voters behind it has that --> proposed, committed, applied here
//!   --> an entry more --> that is committed: the change is known
//! ```
//! Always holds: a change that would leave too few voters is not proposed because of a node whose end nobody has
//! noticed yet; once a change is known, whoever may lead next knows of it, though this leader be lost.
//! Does not: say which changes are allowed.

use exahour_gateway::clock::Steady;
use exahour_wire::units::Nanos;
use raft::INVALID_ID;
use raft::prelude::{ConfChange, ConfChangeV2, Entry, EntryType};

use super::{Consensus, parse};
use crate::error::NodeError;
use crate::members::Change;

/// How long what was answered for a change counts.
const SOUNDING_MAX: Nanos = Nanos(1_000_000_000);

/// Who is there for a change, as it is found out.
#[derive(Clone, Copy)]
pub(super) struct Sounding {
    change: Change,
    term: u64,
    /// Whoever has this entry has answered since.
    mark: u64,
    ends_at: Steady,
}

impl Consensus {
    /// Begins to find out who is there for a change, unless that was begun before; whether the entry that tells has
    /// been proposed.
    ///
    /// # Errors
    /// [`NodeError::Raft`].
    pub(crate) fn sound(&mut self, change: Change) -> Result<bool, NodeError> {
        let term = self.term();
        let begun = |it: &Sounding| it.change == change && it.term == term;
        let sounding = self.sounding.as_ref().filter(|it| begun(it));
        if sounding.is_some_and(|it| self.now <= it.ends_at) {
            return Ok(true);
        }
        if !self.takes() || !self.propose(Vec::new(), Vec::new())? {
            return Ok(false);
        }
        self.sounding = Some(Sounding {
            change,
            term,
            mark: self.last_index(),
            ends_at: self.now.after(SOUNDING_MAX),
        });
        Ok(true)
    }

    /// Whether a node can be counted on, and has answered since a change was asked for.
    pub(crate) fn answers(&self, node: u64) -> bool {
        let matched = self.raft.raft.prs().get(node).map_or(0, |it| it.matched);
        let mark = self.sounding.map_or(u64::MAX, |it| it.mark);
        self.reliable(node) && (matched >= mark || node == self.settings.node.0)
    }

    /// What was found out has been used.
    pub(crate) fn end_sounding(&mut self) {
        self.sounding = None;
    }

    /// Whether nobody can lead any more who does not know the members: an entry is committed that was proposed after
    /// they had changed here, so whoever has it has heard of that, and nobody leads without it.
    pub(crate) fn members_known(&self) -> bool {
        let of_this_term = self.raft.raft.commit_to_current_term();
        self.leads() && of_this_term && self.committed >= self.known_from
    }

    /// Has the group agree on one entry more where nothing else is to be agreed on.
    pub(super) fn make_members_known(&mut self) -> Result<(), NodeError> {
        if self.last_index() < self.known_from && self.takes() {
            self.propose(Vec::new(), Vec::new())?;
        }
        Ok(())
    }

    /// Ends a change of members in two steps whose first leader was lost in between.
    pub(super) fn leave_joint(&mut self) -> Result<(), NodeError> {
        let joint = self.members().group.auto_leave;
        if joint && self.leads() && self.raft.raft.apply_to_current_term() {
            let raft = &mut self.raft;
            if !raft.raft.has_pending_conf() && raft.raft.lead_transferee.is_none() {
                raft.propose_conf_change(Vec::new(), ConfChangeV2::default())?;
            }
        }
        Ok(())
    }

    pub(super) fn change_members(&mut self, entry: &Entry) -> Result<(), NodeError> {
        if entry.index <= self.members().at {
            // Taken into account before this start.
            return Ok(());
        }
        let (group, context) = match entry.get_entry_type() {
            EntryType::EntryConfChange => {
                let change = parse::<ConfChange>(entry)?;
                (self.raft.apply_conf_change(&change)?, change.context)
            }
            _ => {
                let change = parse::<ConfChangeV2>(entry)?;
                (self.raft.apply_conf_change(&change)?, change.context)
            }
        };
        self.known_from = self.last_index() + 1;
        let mut members = self.members().clone();
        members.on_change(group, &context, entry.index);
        let own = self.settings.node.0;
        let member = members.standing(own).is_some();
        if self.leads() && !member {
            // A change that an earlier leader had begun takes this one out.
            let term = self.term();
            self.raft.raft.become_follower(term, INVALID_ID);
            self.draw_timeout();
        }
        if let Some(peers) = &mut self.peers {
            peers.set_members(&members);
        }
        let was_member = self.members().standing(own).is_some();
        let removed = !member && (was_member || self.raft.store().promises().removed);
        self.raft.mut_store().set_members(members, removed)?;
        if removed {
            self.tell_removed();
        }
        Ok(())
    }
}
