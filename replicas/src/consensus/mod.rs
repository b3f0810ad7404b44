//! Consensus: raft over the journal and the peers' links.
//!
//! Owned and turned by the sequencer, which gives it batches to agree on and asks it who leads.
//!
//! Always holds: a promise is on disk before anything rests on it; a leader's messages leave before its
//! own flush, a follower's answers only after it; what is published as committed is as safe as the
//! durability mode says, on a quorum; a node that may have forgotten what it acknowledged gives no vote.
//! Does not: stamp, order or look into commands.

mod changing;
mod hearing;
mod timeouts;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use exahour_gateway::clock::Steady;
use exahour_gateway::duty::Duty;
use exahour_gateway::net::Slot;
#[cfg(feature = "defects")]
use exahour_journal::defects::{self, Defect};
use exahour_journal::{JournalError, Position};
use exahour_rings::{Producer, WatermarkReader};
use exahour_wire::codes::Durability;
use exahour_wire::units::Nanos;
use raft::prelude::{Entry, EntryType, Message, MessageType};
use raft::{Config as RaftConfig, INVALID_ID, RawNode, Ready, StateRole};

use crate::couriers::Errand;
use crate::error::NodeError;
use crate::intake::{Intake, RETRY_AFTER};
use crate::members::{Members, NodeId};
use crate::peers::facts::Facts;
use crate::peers::operation::{Reply, Request};
use crate::peers::{BODY_BYTES_MAX, OUT_BYTES_MAX, Peers};
use crate::sequencer::BATCH_BYTES_MAX;
use crate::storage::JournalStorage;
use changing::Sounding;
use timeouts::{ELECTION_TICKS, election_ticks};

/// How often raft's own clock ticks.
const RAFT_TICK: Nanos = Nanos(10_000_000);

/// Ticks from one heartbeat of a leader to the next.
const HEARTBEAT_TICKS: usize = 5;

/// Entries in one message, at most about so many bytes.
const MESSAGE_BYTES_MAX: u64 = 256 << 10;

/// Messages under way to one peer, at most.
const MESSAGES_IN_FLIGHT_MAX: usize = 24;

// All of them may wait for a peer at once, as those of a node that catches up do.
const _: () = assert!(MESSAGES_IN_FLIGHT_MAX as u64 * MESSAGE_BYTES_MAX < OUT_BYTES_MAX as u64);
// The last entry of a message may pass the size aimed at; what raft counts of each is more than its frame.
const _: () = assert!(MESSAGE_BYTES_MAX as usize + 2 * BATCH_BYTES_MAX < BODY_BYTES_MAX);

/// Batches that may be appended and not yet safe here. One is being flushed, one waits for the next
/// flush; commands that come meanwhile gather in their rings, and so in larger batches.
const BATCHES_UNSAFE_MAX: usize = 2;

/// Batches that may be appended and not yet committed.
const BATCHES_UNCOMMITTED_MAX: u64 = 8;

/// Turns of raft within one duty cycle, at most: a batch that is safe at once takes three.
const RAFT_TURNS_MAX: usize = 4;

/// How long followers may wait to hear of a commit where nothing else goes to them: the next order brings
/// it, too.
const COMMIT_UNTOLD_MAX: Nanos = Nanos(1_000_000);

/// Ticks from one question of a forgetful node, how far it has to catch up, to the next.
const ASK_AGAIN_TICKS: u64 = 20;

/// Ticks until a member that was sent for a snapshot is sent again.
const FETCH_AGAIN_TICKS: u64 = 500;

/// Ticks from one look at what the journal may give up to the next.
const RELEASE_TICKS: u64 = 100;

/// Committed entries that the engine may be behind when a node asks for votes: one that led from further back
/// would keep clients waiting until it is there.
const BEHIND_MAX: u64 = 10_000;

/// What consensus is set up with.
#[derive(Clone, Copy)]
pub(crate) struct ConsensusSettings {
    /// This node.
    pub(crate) node: NodeId,
    /// What an acknowledgement promises.
    pub(crate) durability: Durability,
    /// Everything up to here is known to be committed, and the engine starts behind it.
    pub(crate) applied: u64,
    /// The newest behaviour that this program can do.
    pub(crate) behaviour_max: u32,
    /// Drawn at this start: tells what it asks from what it asked before.
    pub(crate) chance: u64,
    /// Bytes of journal that are kept in any case; zero for all.
    pub(crate) keep_bytes: u64,
    /// Hears what an operator should know.
    pub(crate) notice: fn(&str),
    /// The port that this node's courier is reached at.
    pub(crate) courier_port: Option<u16>,
}

/// Something appended that is not safe yet, and what is said once it is.
struct Pending {
    ready_number: u64,
    /// Where it ends in the journal.
    end: Position,
    messages: Vec<Message>,
}

/// What raft was ready with, on its way into the journal.
struct Walk {
    ready: Ready,
    entries: Vec<Entry>,
}

/// Raft, its journal and its links.
pub(crate) struct Consensus {
    settings: ConsensusSettings,
    raft: RawNode<JournalStorage>,
    /// None where the node is alone by its configuration.
    peers: Option<Peers>,
    applied: WatermarkReader,
    /// What the engine had applied when raft was last told.
    applied_told: u64,
    committed: u64,
    /// What followers were last sent as committed.
    committed_told: u64,
    /// When they are told in any case.
    tell_at: Steady,
    pending: VecDeque<Pending>,
    /// What a full disk holds up. Nothing is proposed meanwhile, so the rings fill, and clients are
    /// answered that the exchange is busy.
    held: Option<Walk>,
    held_since: Steady,
    /// When the disk is tried again.
    retry_at: Steady,
    /// Closed while something is held.
    intake: Intake,
    tick_at: Steady,
    ticks: u64,
    /// The term that the present election timeout was drawn for.
    drawn_for: u64,
    election_ticks: usize,
    /// Members that a message was lost to since they were last told to raft.
    lost_to: Vec<u64>,
    /// Sends this node's courier for a snapshot.
    errands: Producer<Errand>,
    /// What a forgetful node asked last.
    asked: [u8; 8],
    /// Folders that nodes came with for the first time, to be kept.
    unknown: Vec<(u64, u64)>,
    /// Nodes that have come back with another folder than they had: they may break promises.
    refused: BTreeSet<u64>,
    /// The highest number that others know to have been given.
    highest_told: u64,
    /// Whether it was said that this node is no member any more.
    removed_told: bool,
    /// Members that were linked while the disk was full.
    linked_meanwhile: BTreeMap<u64, Facts>,
    /// What each node said of itself when it was linked last.
    told: BTreeMap<u64, Facts>,
    /// What operators ask for.
    requests: VecDeque<(Slot, Request)>,
    /// Who is there for the change of members that was asked for last.
    sounding: Option<Sounding>,
    /// The members are known to whoever has an entry from here on that this node has proposed.
    known_from: u64,
    now: Steady,
}

impl Consensus {
    /// Takes over a journal.
    ///
    /// # Errors
    /// [`NodeError`] where raft refuses the journal.
    pub(crate) fn new(
        settings: ConsensusSettings,
        storage: JournalStorage,
        mut peers: Option<Peers>,
        errands: Producer<Errand>,
        (applied, intake): (WatermarkReader, Intake),
    ) -> Result<Self, NodeError> {
        let config = RaftConfig {
            id: settings.node.0,
            election_tick: ELECTION_TICKS,
            heartbeat_tick: HEARTBEAT_TICKS,
            applied: settings.applied,
            max_size_per_msg: MESSAGE_BYTES_MAX,
            max_inflight_msgs: MESSAGES_IN_FLIGHT_MAX,
            max_committed_size_per_ready: 1 << 20,
            check_quorum: true,
            pre_vote: true,
            // Raft would put all that a member lacks into one message, however long it gets.
            batch_append: false,
            skip_bcast_commit: true,
            ..RaftConfig::default()
        };
        if let Some(peers) = &mut peers {
            peers.set_members(storage.members());
        }
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let mut consensus = Self {
            raft: RawNode::new(&config, storage, &logger)?,
            settings,
            peers,
            applied,
            applied_told: settings.applied,
            committed: settings.applied,
            committed_told: 0,
            tell_at: Steady(0),
            pending: VecDeque::with_capacity(BATCHES_UNSAFE_MAX + 2),
            held: None,
            held_since: Steady(0),
            retry_at: Steady(0),
            intake,
            tick_at: Steady(0),
            ticks: 0,
            drawn_for: u64::MAX,
            election_ticks: ELECTION_TICKS,
            lost_to: Vec::new(),
            errands,
            asked: [0; 8],
            unknown: Vec::new(),
            refused: BTreeSet::new(),
            highest_told: 0,
            removed_told: false,
            linked_meanwhile: BTreeMap::new(),
            told: BTreeMap::new(),
            requests: VecDeque::new(),
            sounding: None,
            known_from: 0,
            now: Steady(0),
        };
        consensus.draw_timeout();
        Ok(consensus)
    }

    /// Where peers connect to, if any may.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.peers.as_ref().map(Peers::address)
    }

    /// Begins: a node that decides alone has nobody to wait for.
    ///
    /// # Errors
    /// [`NodeError::Raft`].
    pub(crate) fn begin(&mut self) -> Result<(), NodeError> {
        if self.raft.store().promises().removed {
            self.tell_removed();
        }
        if self.members().alone(self.settings.node.0) && !self.forgetful() {
            self.raft.campaign()?;
            self.draw_timeout();
        }
        Ok(())
    }

    /// The first part of a turn: the clock and the peers are heard. Only here can the role be lost.
    ///
    /// # Errors
    /// [`NodeError`].
    pub(crate) fn hear(&mut self, now: Steady) -> Result<usize, NodeError> {
        self.now = now;
        self.tick()?;
        self.hear_peers()
    }

    /// The second: what has become safe is noted, and what raft is ready with is walked.
    ///
    /// # Errors
    /// [`NodeError`].
    pub(crate) fn walk(&mut self) -> Result<usize, NodeError> {
        Ok(self.note_safe() + self.walk_ready()?)
    }

    /// The rest of a turn: what was proposed goes out to peers and into the journal.
    ///
    /// # Errors
    /// [`NodeError`].
    pub(crate) fn settle(&mut self) -> Result<usize, NodeError> {
        let mut work = 0;
        for _ in 0..RAFT_TURNS_MAX {
            let moved = self.walk_ready()? + self.note_safe();
            if moved == 0 {
                break;
            }
            work += moved;
        }
        self.note_applied();
        let untold = self.leads() && self.committed_told < self.committed;
        if work == 0 && self.held.is_none() && untold && self.now >= self.tell_at {
            // Nothing else is on its way that would tell followers of the last commits.
            self.raft.raft.bcast_append();
            work += self.walk_ready()?;
        }
        if let Some(peers) = &mut self.peers {
            work += peers.write_all();
        }
        self.check_sound()?;
        Ok(work)
    }

    /// Ends a node whose journal was found damaged where raft read it.
    #[inline]
    fn check_sound(&self) -> Result<(), NodeError> {
        let sound = self.raft.store().check_sound();
        sound.map_err(NodeError::log("journal"))
    }

    /// Whether this node leads. One whose disk is full is silent meanwhile, so its peers choose another.
    #[inline]
    pub(crate) fn leads(&self) -> bool {
        self.raft.raft.state == StateRole::Leader && !self.silenced()
    }

    fn silenced(&self) -> bool {
        let patience = Nanos(RAFT_TICK.0 * ELECTION_TICKS as u64);
        let held = self.held.is_some() && self.now > self.held_since.after(patience);
        held && !self.members().alone(self.settings.node.0)
    }

    /// Whether a batch may be proposed now.
    #[inline]
    pub(crate) fn takes(&self) -> bool {
        let raft = &self.raft.raft;
        self.leads()
            && self.held.is_none()
            && self.pending.len() < BATCHES_UNSAFE_MAX
            && raft.lead_transferee.is_none()
            && raft.raft_log.last_index() < self.committed + BATCHES_UNCOMMITTED_MAX
    }

    /// What this node is, as clients must know it.
    pub(crate) fn duty(&self) -> Duty {
        if self.leads() {
            return Duty::Leads;
        }
        let (leader, own) = (self.raft.raft.leader_id, self.settings.node.0);
        let leader = self.members().member(leader).filter(|_| leader != own);
        Duty::Follows(leader.map(|leader| leader.orders))
    }

    /// The term that this node is in.
    pub(crate) fn term(&self) -> u64 {
        self.raft.raft.term
    }

    /// The members, as of what is committed.
    pub(crate) fn members(&self) -> &Members {
        self.raft.store().members()
    }

    /// The journal.
    pub(crate) fn storage(&self) -> &JournalStorage {
        self.raft.store()
    }

    /// Proposes a batch, which [`Consensus::takes`] has allowed; whether raft takes it, which it does not where
    /// the role is being lost.
    ///
    /// # Errors
    /// [`NodeError::Raft`].
    pub(crate) fn propose(&mut self, stamp: Vec<u8>, batch: Vec<u8>) -> Result<bool, NodeError> {
        match self.raft.propose(stamp, batch) {
            Ok(()) => Ok(true),
            Err(raft::Error::ProposalDropped) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// What an operator asks for next, and where the answer goes.
    pub(crate) fn next_request(&mut self) -> Option<(Slot, Request)> {
        self.requests.pop_front()
    }

    /// Answers an operator.
    pub(crate) fn reply(&mut self, slot: Slot, reply: &Reply) {
        if let Some(peers) = &mut self.peers {
            peers.reply(slot, reply);
        }
    }

    /// Whether a member is linked; this node itself is.
    pub(crate) fn linked(&self, node: u64) -> bool {
        let peers = self.peers.as_ref();
        node == self.settings.node.0 || peers.is_some_and(|peers| peers.linked(node))
    }

    /// The newest behaviour that this program can do.
    pub(crate) fn behaviour_max(&self) -> u32 {
        self.settings.behaviour_max
    }

    /// The newest behaviour that a member can do, where it is linked.
    pub(crate) fn behaviour_of(&self, node: u64) -> Option<u32> {
        if node == self.settings.node.0 {
            return Some(self.settings.behaviour_max);
        }
        let told = self.told.get(&node).filter(|_| self.linked(node));
        told.map(|facts| facts.behaviour_max)
    }

    /// Whether a node's vote and copy can be counted on now.
    pub(crate) fn reliable(&self, node: u64) -> bool {
        if node == self.settings.node.0 {
            return !self.forgetful();
        }
        let heard = self.linked(node) && !self.refuses(node);
        let told = self.told.get(&node).filter(|_| heard);
        told.is_some_and(|facts| !facts.forgetful)
    }

    /// Whether a node has come back with another folder than it had, and so is not listened to.
    pub(crate) fn refuses(&self, node: u64) -> bool {
        self.refused.contains(&node)
    }

    /// The highest number that a member is known to have, or to have had.
    pub(crate) fn highest_id(&self) -> u64 {
        let kept = self.raft.store().promises().highest_id;
        kept.max(self.highest_told)
    }

    /// The last entry in the journal, committed or not.
    pub(crate) fn last_index(&self) -> u64 {
        self.raft.raft.raft_log.last_index()
    }

    /// Raft itself, for whoever carries out operators' requests.
    pub(crate) fn raft(&mut self) -> &mut RawNode<JournalStorage> {
        &mut self.raft
    }

    /// Raft itself, to be looked at.
    pub(crate) fn raft_ref(&self) -> &RawNode<JournalStorage> {
        &self.raft
    }

    /// The last entry that the engine has applied; at first the one that it starts behind, of which its mark
    /// says nothing yet.
    pub(crate) fn applied(&self) -> u64 {
        self.applied.current().max(self.settings.applied)
    }

    /// The last entry that is committed.
    pub(crate) fn committed(&self) -> u64 {
        self.committed
    }

    /// Whether a full disk holds this node up.
    pub(crate) fn held(&self) -> bool {
        self.held.is_some()
    }

    /// Whether this node may have lost what it acknowledged.
    pub(crate) fn forgetful(&self) -> bool {
        self.raft.store().forgetful()
    }

    fn tick(&mut self) -> Result<(), NodeError> {
        if self.now < self.tick_at {
            return Ok(());
        }
        // A node that stood still does not make up for it: nobody was silent while it could not hear.
        self.tick_at = self.now.after(RAFT_TICK);
        self.ticks += 1;
        self.release();
        if self.held.is_some() {
            // What raft is ready with has to be handled before it is told anything else.
            return Ok(());
        }
        if self.forgetful() && !self.leads() {
            if self.ticks.is_multiple_of(ASK_AGAIN_TICKS) {
                // Raft answers with what a quorum has committed, once its leader has made sure of it. Only
                // the answer to this question counts: a start's own chance tells it from those of earlier lives.
                self.asked = mix(self.settings.chance ^ self.ticks).to_le_bytes();
                self.raft.read_index(self.asked.to_vec());
            }
            return Ok(());
        }
        let behind = self.committed.saturating_sub(self.applied());
        if self.leads() || behind <= BEHIND_MAX {
            self.raft.tick();
            self.draw_timeout();
        }
        if self.leads() && self.ticks.is_multiple_of(FETCH_AGAIN_TICKS) {
            self.ask_for_snapshots_again();
        }
        self.leave_joint()?;
        self.make_members_known()
    }

    /// Gives up what nobody needs of the journal any more: on a full disk, too, which is helped by it.
    fn release(&mut self) {
        let store = self.raft.mut_store();
        store.hear_of_snapshots();
        if self.settings.keep_bytes > 0 && self.ticks.is_multiple_of(RELEASE_TICKS) {
            store.release(self.settings.keep_bytes, self.applied_told);
        }
    }

    /// Sets how long this node waits for its leader in the present term.
    #[inline]
    fn draw_timeout(&mut self) {
        let term = self.raft.raft.term;
        if term != self.drawn_for {
            self.drawn_for = term;
            let voters = &self.members().group.voters;
            self.election_ticks = election_ticks(voters, self.settings.node.0, term);
        }
        self.raft
            .raft
            .set_randomized_election_timeout(self.election_ticks);
    }

    /// Tells raft what has become safe since it was appended, and sends what rested on it.
    #[inline]
    fn note_safe(&mut self) -> usize {
        let safe = match self.settings.durability {
            Durability::Durable => self.raft.store().durable(),
            Durability::Replicated => self.raft.store().appended(),
        };
        #[cfg(feature = "defects")]
        let safe = match defects::armed(Defect::EarlyAck) {
            true => self.raft.store().appended(),
            false => safe,
        };
        let mut noted = 0;
        while self.pending.front().is_some_and(|it| it.end <= safe) {
            let Some(pending) = self.pending.pop_front() else {
                break;
            };
            self.raft.on_persist_ready(pending.ready_number);
            self.send(&pending.messages);
            noted += 1;
        }
        noted
    }

    /// Sends what a leader says, and gives raft the room for its next messages back.
    #[inline]
    fn send_and_give_back(&mut self, mut messages: Vec<Message>) {
        self.send(&messages);
        messages.clear();
        let next = &mut self.raft.raft.msgs;
        if next.capacity() == 0 {
            *next = messages;
        }
    }

    /// Hands messages to the links. A node that may have forgotten does not say whom it would vote for.
    fn send(&mut self, messages: &[Message]) {
        if messages.is_empty() {
            return;
        }
        let forgetful = self.forgetful();
        for message in messages {
            let kind = message.get_msg_type();
            let votes = match kind {
                MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => true,
                MessageType::MsgRequestVoteResponse | MessageType::MsgRequestPreVoteResponse => {
                    !message.reject
                }
                _ => false,
            };
            if forgetful && votes {
                continue;
            }
            let addressed = (kind == MessageType::MsgSnapshot).then(|| self.with_address(message));
            let message = addressed.as_ref().unwrap_or(message);
            let sent = self.peers.as_mut().is_some_and(|it| it.send(message));
            if !sent && kind == MessageType::MsgAppend && !self.lost_to.contains(&message.to) {
                self.lost_to.push(message.to);
            }
            if sent && kind == MessageType::MsgAppend {
                self.committed_told = self.committed_told.max(message.commit);
            }
        }
    }

    /// Walks what raft is ready with, in the order of its documentation for asynchronous storage.
    #[inline]
    fn walk_ready(&mut self) -> Result<usize, NodeError> {
        if self.held.is_some() && self.now < self.retry_at {
            return Ok(0);
        }
        let again = self.held.is_some();
        let walk = match self.held.take() {
            Some(held) => held,
            None if self.raft.has_ready() => {
                let mut ready = self.raft.ready();
                self.check_sound()?;
                // 1. Promises are on disk before anything rests on them.
                if let Some(state) = ready.hs() {
                    let state = state.clone();
                    self.raft.mut_store().promise(&state)?;
                }
                // 2. What a leader says is on its way before its own disk is asked.
                self.send_and_give_back(ready.take_messages());
                let entries = ready.take_entries();
                self.on_read_states(&mut ready)?;
                Walk { ready, entries }
            }
            None => return Ok(0),
        };
        // 3. Entries are in the journal, visible to every reader, safe later.
        let end = match self.raft.mut_store().append(&walk.entries) {
            Ok(end) => end,
            Err(NodeError::Log {
                source: JournalError::DiskFull { .. },
                ..
            }) => {
                self.held = Some(walk);
                if !again {
                    self.held_since = self.now;
                }
                self.retry_at = self.now.after(RETRY_AFTER);
                self.intake.close();
                return Ok(0);
            }
            Err(error) => return Err(error),
        };
        self.intake.open();
        let mut ready = walk.ready;
        #[cfg(feature = "defects")]
        if defects::armed(Defect::AckBeforeFlush) {
            self.send(&ready.take_persisted_messages());
        }
        self.pending.push_back(Pending {
            ready_number: ready.number(),
            end,
            messages: ready.take_persisted_messages(),
        });
        // 4. What is committed is published; the engine follows the journal up to there.
        let committed = ready.take_committed_entries();
        self.raft.advance_append_async(ready);
        self.publish_committed(&committed)?;
        for node in std::mem::take(&mut self.lost_to) {
            self.raft.report_unreachable(node);
        }
        Ok(1)
    }

    /// A forgetful node that has again what a quorum had committed when it asked remembers everything.
    fn on_read_states(&mut self, ready: &mut Ready) -> Result<(), NodeError> {
        for state in ready.take_read_states() {
            let asked = self.forgetful()
                && state.request_ctx == self.asked
                && self.raft.raft.leader_id != INVALID_ID;
            if asked && self.committed >= state.index {
                self.raft.mut_store().set_forgetful(false)?;
            }
        }
        Ok(())
    }

    fn publish_committed(&mut self, entries: &[Entry]) -> Result<(), NodeError> {
        let Some(last) = entries.last() else {
            return Ok(());
        };
        for entry in entries {
            if entry.get_entry_type() != EntryType::EntryNormal {
                self.change_members(entry)?;
            }
        }
        if self.committed_told >= self.committed {
            self.tell_at = self.now.after(COMMIT_UNTOLD_MAX);
        }
        self.committed = last.index;
        let store = self.raft.mut_store();
        store
            .publish_commit(last.index)
            .map_err(NodeError::log("journal"))
    }

    /// Tells raft how far the engine is, so that it may forget what it keeps for it.
    #[inline]
    fn note_applied(&mut self) {
        let applied = self.applied().min(self.committed);
        if applied > self.applied_told && self.held.is_none() {
            self.applied_told = applied;
            self.raft.advance_apply_to(applied);
        }
    }
}

/// Changes of members come from this node's own journal, or sealed from a member: nobody else's bytes
/// are parsed.
fn parse<M: protobuf::Message>(entry: &Entry) -> Result<M, NodeError> {
    protobuf::Message::parse_from_bytes(&entry.data).map_err(|_| NodeError::Frame {
        index: entry.index,
        reason: "a change of members cannot be read",
    })
}

/// Spreads the bits of a number over all of it.
fn mix(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
