//! What peers say, as consensus takes it in: raft's messages, and how each peer stands when it is linked.
//!
//! Part of `Consensus::hear`. Only here can the role be lost.
//!
//! Always holds: raft is told nothing while it waits for the disk; nothing is believed of a node that has come
//! back with another folder; what a member is known to have is never more than it says itself.

use std::net::SocketAddr;

#[cfg(feature = "defects")]
use exahour_journal::defects::{self, Defect};
use raft::prelude::{Message, MessageType};
use raft::{Progress, ProgressState, RawNode, SnapshotStatus, StateRole};

use super::timeouts::ELECTION_TICKS;
use super::{Consensus, ConsensusSettings};
use crate::couriers::Errand;
use crate::error::NodeError;
use crate::peers::facts::Facts;
use crate::peers::packed::{Packer, Unpacker};
use crate::peers::{PeerEvent, Peers};
use crate::storage::JournalStorage;

impl Consensus {
    /// Takes in what came from the peers.
    pub(super) fn hear_peers(&mut self) -> Result<usize, NodeError> {
        let forgetful = self.forgetful();
        let (raft, settings) = (&self.raft, &self.settings);
        let Some(peers) = &mut self.peers else {
            return Ok(0);
        };
        let mut work = peers.turn(self.now, forgetful, &|| facts(raft, settings))?;
        if self.held.is_none() {
            for (node, facts) in std::mem::take(&mut self.linked_meanwhile) {
                self.on_linked(node, &facts);
            }
            self.remember_what_was_told()?;
        }
        while let Some(event) = self.peers.as_mut().and_then(Peers::next_event) {
            work += 1;
            match event {
                PeerEvent::Request(slot, request) => self.requests.push_back((slot, request)),
                // What raft is ready with has to be handled before it is told anything else: what is said
                // while the disk is full is lost, as on any network.
                // Nothing is lost on a link that stands: only what is believed of the node changes.
                PeerEvent::Told(node, facts) => {
                    self.told.insert(node, facts);
                    self.hear_of_members(node, &facts);
                }
                PeerEvent::Linked(node, facts) if self.held.is_some() => {
                    self.linked_meanwhile.insert(node, facts);
                }
                _ if self.held.is_some() => {}
                PeerEvent::Raft(message) => self.on_message(*message)?,
                PeerEvent::Linked(node, facts) => {
                    self.on_linked(node, &facts);
                    self.remember_what_was_told()?;
                }
                PeerEvent::Apart(node) => {
                    self.raft.report_unreachable(node);
                    self.miss_leader(node);
                }
            }
        }
        Ok(work)
    }

    fn on_message(&mut self, mut message: Message) -> Result<(), NodeError> {
        if self.refused.contains(&message.from) {
            return Ok(());
        }
        let kind = message.get_msg_type();
        // Only the leader proposes, of its own; and who may have forgotten does not lead.
        let ignored = match kind {
            MessageType::MsgPropose => true,
            MessageType::MsgSnapshot => {
                self.check_history(&message)?;
                self.fetch_snapshot(&message);
                true
            }
            MessageType::MsgTimeoutNow => self.forgetful(),
            _ => false,
        };
        if ignored {
            return Ok(());
        }
        if kind == MessageType::MsgHeartbeat && self.forgetful() {
            // What stands in the journal now may be what was superseded: only entries that were compared with
            // the leader's are committed.
            message.commit = message.commit.min(self.raft.raft.raft_log.committed);
        }
        if self.beyond(&message) {
            return Ok(());
        }
        if kind == MessageType::MsgAppend {
            self.check_history(&message)?;
        }
        // What raft refuses is from a node that is no member (any more): as good as lost.
        let _ = self.raft.step(message);
        self.draw_timeout();
        Ok(())
    }

    /// Refuses to go on where a leader has other entries than those that are committed here: raft would say that it
    /// has the leader's, and be counted for them. Where no snapshot stands on them, the node opens again and knows
    /// them no longer.
    fn check_history(&mut self, message: &Message) -> Result<(), NodeError> {
        if message.term < self.term() {
            return Ok(());
        }
        let Some(index) = self.first_other(message) else {
            return Ok(());
        };
        let store = self.raft.mut_store();
        if index > store.stands_on() {
            store.set_events_doubtful(true)?;
            return Err(NodeError::EventsDoubtful);
        }
        Err(NodeError::HistoryLost {
            what: format!("entry {index}"),
        })
    }

    /// The first entry that is committed here and another one where the message is from.
    fn first_other(&self, message: &Message) -> Option<u64> {
        let log = &self.raft.raft.raft_log;
        let snapshot = message.get_snapshot().get_metadata();
        let known = match message.get_msg_type() {
            MessageType::MsgSnapshot => (snapshot.index, snapshot.term),
            _ => (message.index, message.log_term),
        };
        let entries = message.entries.iter().map(|it| (it.index, it.term));
        let mut known = std::iter::once(known)
            .chain(entries)
            .take_while(|(index, _)| *index <= log.committed);
        let differs = |(index, term): &(u64, u64)| {
            // What raft has taken in may not be in the journal yet.
            log.term(*index).is_ok_and(|own| own > 0 && own != *term)
        };
        known.find(differs).map(|(index, _)| index)
    }

    /// A link that breaks mostly means that the process at its other end has ended. Where the leader's does, this
    /// node holds to it no longer than to one that was silent for an election timeout: it waits for what is left
    /// of its own, which tells the voters apart, and gives its vote to whoever asks before that.
    ///
    /// Where only the link is cut, the leader and whoever hears it hold to each other, and give this node no vote.
    fn miss_leader(&mut self, node: u64) {
        let raft = &mut self.raft.raft;
        if raft.state == StateRole::Follower && raft.leader_id == node {
            raft.election_elapsed = raft.election_elapsed.max(ELECTION_TICKS);
        }
    }

    /// Whether a message speaks of entries that this node does not have, and cannot be true.
    fn beyond(&self, message: &Message) -> bool {
        let last = self.last_index();
        match message.get_msg_type() {
            MessageType::MsgAppendResponse if !message.reject => message.index > last,
            MessageType::MsgHeartbeat => message.commit > last,
            _ => false,
        }
    }

    /// This node is too far behind for the leader's journal: its courier fetches a snapshot, and the node
    /// opens again from it. Where that comes to nothing the leader asks again.
    fn fetch_snapshot(&mut self, message: &Message) {
        if message.term < self.term() {
            return;
        }
        if message.get_snapshot().get_metadata().index <= self.committed {
            // It has that already, and says so.
            let mut have = Message {
                from: self.settings.node.0,
                to: message.from,
                term: message.term,
                index: self.committed,
                commit: self.committed,
                ..Message::default()
            };
            have.set_msg_type(MessageType::MsgAppendResponse);
            self.send(&[have]);
            return;
        }
        if let Some(address) = Unpacker(&message.context).address() {
            // A courier that is busy is on this errand already.
            let _ = self.errands.try_push(Errand {
                node: message.from,
                address,
            });
        }
    }

    /// The message that sends a member for a snapshot, with where it is to be had.
    pub(super) fn with_address(&self, message: &Message) -> Message {
        let own = self.members().member(self.settings.node.0);
        let mut context = Vec::new();
        if let (Some(own), Some(port)) = (own, self.settings.courier_port) {
            Packer(&mut context).address(&SocketAddr::new(own.peers.ip(), port));
        }
        let mut message = message.clone();
        message.context = context.into();
        message
    }

    /// A member is linked anew: what was on its way is lost, and what it had may be, too.
    fn on_linked(&mut self, node: u64, facts: &Facts) {
        self.told.insert(node, *facts);
        let another = self.is_another(node, facts);
        self.hear_of_members(node, facts);
        if another || !self.leads() {
            return;
        }
        let term = self.raft.raft.raft_log.term(facts.last_index);
        let same_end = term.is_ok_and(|term| term == facts.last_term);
        if let Some(progress) = self.raft.raft.mut_prs().get_mut(node) {
            // A leader that knew better than the node itself what it has would never send it again; and where
            // the node's last entry is another, what it had of ours may be superseded there.
            progress.matched = match same_end {
                true => progress.matched.min(facts.last_index),
                false => 0,
            };
            #[cfg(feature = "defects")]
            if defects::armed(Defect::TrustedLength) {
                progress.maybe_update(facts.last_index);
            }
            progress.recent_active = true;
            if progress.state == ProgressState::Snapshot {
                let came = facts.last_index >= progress.pending_snapshot;
                self.raft.report_snapshot(node, came_or_not(came));
            } else {
                progress.become_probe();
            }
        }
        let last = self.last_index();
        if let Some(progress) = self.raft.raft.mut_prs().get_mut(node) {
            // What it says that it has is tried first. A leader that is new knows of nothing that a member has,
            // and would send a snapshot where its journal does not begin with the first entry.
            progress.next_idx = progress.next_idx.max(facts.last_index.min(last) + 1);
            self.raft.raft.send_append(node);
        }
    }

    /// Whether a node has come back with another folder than the one that its promises were in. From then on
    /// nothing that it says is believed.
    fn is_another(&mut self, node: u64, facts: &Facts) -> bool {
        let known = self.raft.store().promises().incarnations.get(&node);
        match known.copied() {
            Some(known) if known != facts.incarnation => {
                if self.refused.insert(node) {
                    (self.settings.notice)(&format!(
                        "node {node} has come back with another folder than it had: it may not remember what it \
                         promised, so it is not listened to. Put a node with another id in its place"
                    ));
                }
                true
            }
            Some(_) => {
                self.refused.remove(&node);
                false
            }
            None => {
                self.unknown.push((node, facts.incarnation));
                false
            }
        }
    }

    /// Takes in what a node says of the members: which numbers were given, and whether this node is one of them.
    fn hear_of_members(&mut self, node: u64, facts: &Facts) {
        if self.refused.contains(&node) {
            return;
        }
        self.highest_told = self.highest_told.max(facts.highest_id);
        let members = self.members();
        let was_member = members.standing(self.settings.node.0).is_some();
        // What takes this node out need not have reached it as committed.
        if was_member && facts.to_outsider && facts.members_at > members.at {
            self.tell_removed();
        }
    }

    /// Says once that this node is no member any more.
    pub(super) fn tell_removed(&mut self) {
        let node = self.settings.node;
        if !std::mem::replace(&mut self.removed_told, true) {
            (self.settings.notice)(&format!(
                "node {node} was removed from its cluster: it gives no vote, and nobody sends it anything. Stop it; \
                 its folder is needed no more. Its number is never given again: this machine can come back as a new \
                 node, with a new number and an empty folder (`exahour add-node`)"
            ));
        }
    }

    /// Keeps which folders nodes have come with, and which numbers were given, before anything else that they say
    /// is heard.
    fn remember_what_was_told(&mut self) -> Result<(), NodeError> {
        let highest = self.highest_told;
        self.raft.mut_store().know_given(highest)?;
        let unknown = std::mem::take(&mut self.unknown);
        match unknown.is_empty() {
            true => Ok(()),
            false => self.raft.mut_store().know_incarnations(&unknown),
        }
    }

    /// Lets members be asked again that were sent for a snapshot a while ago, and have not come back.
    pub(super) fn ask_for_snapshots_again(&mut self) {
        let waits = |(_, progress): &(&u64, &Progress)| progress.state == ProgressState::Snapshot;
        let progress = self.raft.raft.prs().iter().filter(waits);
        let nodes: Vec<u64> = progress.map(|(node, _)| *node).collect();
        for node in nodes {
            self.raft.report_snapshot(node, SnapshotStatus::Failure);
        }
    }
}

/// What this node tells of itself.
fn facts(raft: &RawNode<JournalStorage>, settings: &ConsensusSettings) -> Facts {
    let log = &raft.raft.raft_log;
    let last = log.last_index();
    let kept = raft.store().promises();
    Facts {
        incarnation: kept.incarnation,
        last_index: last,
        last_term: log.term(last).unwrap_or(0),
        behaviour_max: settings.behaviour_max,
        forgetful: kept.forgetful,
        highest_id: kept.highest_id,
        members_at: kept.members.at,
        to_outsider: false,
    }
}

fn came_or_not(came: bool) -> SnapshotStatus {
    match came {
        true => SnapshotStatus::Finish,
        false => SnapshotStatus::Failure,
    }
}
