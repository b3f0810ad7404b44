//! The sequencer: one place decides the order.
//!
//! Turned by a runner. It drains the ingress rings in a fixed rotation, stamps a batch, proposes it
//! to raft, and walks what raft is ready with; raft's log is the journal.
//!
//! Always holds: a command is journaled once, in the order of its ring; the stamped time never goes
//! back; nothing is published as committed before it is as safe as the durability mode says.
//! Does not: look into a command beyond its length, or touch a socket.

use std::collections::VecDeque;

use exahour_gateway::clock::Clock;
use exahour_journal::{JournalError, Position};
use exahour_rings::{Agent, Consumer, Halt, WatermarkReader};
use exahour_wire::codes::Durability;
use exahour_wire::ids::CommandSequence;
use exahour_wire::internal::NodeStarted;
use exahour_wire::limits::{BATCH_MESSAGES_MAX, RECORD_LINE_BYTES};
use exahour_wire::message::Message;
use exahour_wire::record::{Line, lines_of};
use exahour_wire::units::Nanos;
use raft::prelude::{ConfChange, ConfChangeV2, Entry, EntryType};
use raft::{Config as RaftConfig, RawNode, Ready, StateRole};

use crate::batch::Stamp;
use crate::error::NodeError;
use crate::intake::{Intake, RETRY_AFTER};
use crate::storage::{JournalStorage, LogEnd};

/// How often raft's own clock ticks.
const RAFT_TICK: Nanos = Nanos(100_000_000);

/// Batches that may be appended and not yet safe. One is being flushed, one waits for the next
/// flush; commands that come meanwhile gather in their rings, and so in larger batches.
const BATCHES_IN_FLIGHT_MAX: usize = 2;

/// Bytes of commands in a batch, at most.
pub(crate) const BATCH_BYTES_MAX: usize = 64 << 10;

/// Turns of raft within one duty cycle, at most: a batch that is safe at once takes three.
const RAFT_TURNS_MAX: usize = 4;

/// Protobuf is parsed only from this node's own journal, never from a peer's bytes.
fn parse<M: protobuf::Message>(entry: &Entry) -> Result<M, NodeError> {
    protobuf::Message::parse_from_bytes(&entry.data).map_err(|_| NodeError::Frame {
        index: entry.index,
        reason: "a change of members cannot be read",
    })
}

/// What a sequencer is set up with.
#[derive(Clone, Copy, Debug)]
pub struct SequencerSettings {
    /// This node's id in its group.
    pub node_id: u64,
    /// What an acknowledgement promises.
    pub durability: Durability,
    /// How many orders may live while this node leads.
    pub orders_max: u32,
}

/// Something appended that is not safe yet.
#[derive(Clone, Copy, Debug)]
struct Pending {
    ready_number: u64,
    /// Where it ends in the journal.
    end: Position,
}

/// What raft was ready with, on its way into the journal.
struct Walk {
    ready: Ready,
    entries: Vec<Entry>,
}

/// The sequencing agent.
pub struct Sequencer {
    settings: SequencerSettings,
    rings: Vec<Consumer<Line>>,
    clock: Box<dyn Clock>,
    raft: RawNode<JournalStorage>,
    applied: WatermarkReader,
    /// What the engine had applied when raft was last told.
    applied_told: u64,
    committed: u64,
    pending: VecDeque<Pending>,
    /// What a full disk holds up. Nothing is proposed meanwhile, so the rings fill, and clients are
    /// answered that the exchange is busy.
    held: Option<Walk>,
    /// When the disk is tried again.
    retry_at: Nanos,
    /// Closed while something is held.
    intake: Intake,
    end: LogEnd,
    raft_tick_at: Nanos,
    leads: bool,
    /// The ring that is drained first next time, so that a busy one cannot keep others waiting.
    first_ring: usize,
}

impl Sequencer {
    /// Takes over a journal.
    ///
    /// # Errors
    /// [`NodeError`] where raft refuses the journal or its clock is ahead of the machine's.
    pub(crate) fn new(
        settings: SequencerSettings,
        storage: JournalStorage,
        rings: Vec<Consumer<Line>>,
        (applied, intake): (WatermarkReader, Intake),
        clock: Box<dyn Clock>,
    ) -> Result<Self, NodeError> {
        let config = RaftConfig {
            id: settings.node_id,
            election_tick: 10,
            heartbeat_tick: 3,
            applied: 0,
            max_size_per_msg: 1 << 20,
            max_inflight_msgs: 1_024,
            max_committed_size_per_ready: 1 << 20,
            check_quorum: true,
            pre_vote: true,
            batch_append: true,
            ..RaftConfig::default()
        };
        let end = storage.log_end().map_err(NodeError::log("journal"))?;
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raft = RawNode::new(&config, storage, &logger)?;
        Ok(Self {
            settings,
            rings,
            clock,
            raft,
            applied,
            applied_told: 0,
            committed: 0,
            pending: VecDeque::with_capacity(BATCHES_IN_FLIGHT_MAX + 2),
            held: None,
            retry_at: Nanos(0),
            intake,
            end,
            raft_tick_at: Nanos(0),
            leads: false,
            first_ring: 0,
        })
    }

    fn turn(&mut self) -> Result<usize, NodeError> {
        let now = self.clock.now();
        if now >= self.raft_tick_at {
            self.raft_tick_at = now.after(RAFT_TICK);
            self.raft.tick();
        }
        let mut work = self.note_safe();
        work += self.walk_ready()?;
        self.follow_role()?;
        let room = self.held.is_none() && self.pending.len() < BATCHES_IN_FLIGHT_MAX;
        if self.leads && room {
            work += self.propose(now)?;
        }
        for _ in 0..RAFT_TURNS_MAX {
            let moved = self.walk_ready()? + self.note_safe();
            if moved == 0 {
                break;
            }
            work += moved;
        }
        self.note_applied();
        Ok(work)
    }

    /// Tells raft what has become safe since it was appended.
    #[inline]
    fn note_safe(&mut self) -> usize {
        let safe = match self.settings.durability {
            Durability::Durable => self.raft.store().durable(),
            Durability::Replicated => self.raft.store().appended(),
        };
        let mut noted = 0;
        while let Some(pending) = self.pending.front().filter(|pending| pending.end <= safe) {
            self.raft.on_persist_ready(pending.ready_number);
            self.pending.pop_front();
            noted += 1;
        }
        noted
    }

    /// Walks what raft is ready with, in the order of its documentation for asynchronous storage.
    #[inline]
    fn walk_ready(&mut self) -> Result<usize, NodeError> {
        if self.held.is_some() && self.clock.now() < self.retry_at {
            return Ok(0);
        }
        let walk = match self.held.take() {
            Some(held) => held,
            None if self.raft.has_ready() => {
                let mut ready = self.raft.ready();
                let entries = ready.take_entries();
                Walk { ready, entries }
            }
            None => return Ok(0),
        };
        // 1. Promises are on disk before anything rests on them.
        if let Some(state) = walk.ready.hs() {
            let state = state.clone();
            self.raft.mut_store().promise(&state)?;
        }
        // 2. Entries are in the journal, visible to every reader, safe later.
        let end = match self.raft.mut_store().append(&walk.entries) {
            Ok(end) => end,
            Err(JournalError::DiskFull { .. }) => {
                self.held = Some(walk);
                self.retry_at = self.clock.now().after(RETRY_AFTER);
                self.intake.close();
                return Ok(0);
            }
            Err(error) => return Err(NodeError::log("journal")(error)),
        };
        self.intake.open();
        let mut ready = walk.ready;
        self.pending.push_back(Pending {
            ready_number: ready.number(),
            end,
        });
        // 3. What is committed is published; the engine follows the journal up to there.
        let committed = ready.take_committed_entries();
        self.raft.advance_append_async(ready);
        self.publish_committed(&committed)?;
        Ok(1)
    }

    fn publish_committed(&mut self, entries: &[Entry]) -> Result<(), NodeError> {
        let Some(last) = entries.last() else {
            return Ok(());
        };
        for entry in entries {
            let members = match entry.get_entry_type() {
                EntryType::EntryNormal => continue,
                EntryType::EntryConfChange => {
                    self.raft.apply_conf_change(&parse::<ConfChange>(entry)?)?
                }
                EntryType::EntryConfChangeV2 => {
                    self.raft
                        .apply_conf_change(&parse::<ConfChangeV2>(entry)?)?
                }
            };
            self.raft.mut_store().set_members(&members)?;
        }
        self.committed = last.index;
        let store = self.raft.mut_store();
        store
            .publish_commit(last.index)
            .map_err(NodeError::log("journal"))
    }

    /// Starts to lead, or stops.
    #[inline]
    fn follow_role(&mut self) -> Result<(), NodeError> {
        let leads = self.raft.raft.state == StateRole::Leader;
        if leads == self.leads {
            return Ok(());
        }
        self.leads = leads;
        if leads {
            let end = self
                .raft
                .store()
                .log_end()
                .map_err(NodeError::log("journal"))?;
            self.end = LogEnd {
                time: end.time.max(self.end.time),
                ..end
            };
            // Whoever was connected to the node that led before is not any more.
            // What waits goes into the same frame: a new exchange has its genesis, or no command.
            let started = NodeStarted {
                orders_max: self.settings.orders_max,
                ..NodeStarted::blank()
            };
            let now = self.clock.now();
            self.propose_after(now, started.bytes().to_vec(), 1)?;
        }
        Ok(())
    }

    /// Gathers a batch from the rings and proposes it.
    #[inline]
    fn propose(&mut self, now: Nanos) -> Result<usize, NodeError> {
        self.propose_after(now, Vec::new(), 0)
    }

    /// As [`Sequencer::propose`], behind `count` commands that are in the batch already.
    #[inline]
    fn propose_after(
        &mut self,
        now: Nanos,
        mut data: Vec<u8>,
        mut count: usize,
    ) -> Result<usize, NodeError> {
        let rings = self.rings.len();
        for turn in 0..rings {
            let ring = &mut self.rings[(self.first_ring + turn) % rings];
            while count < BATCH_MESSAGES_MAX && data.len() < BATCH_BYTES_MAX {
                let Some(first) = ring.try_pop() else { break };
                if data.is_empty() {
                    data.reserve(ring.len().min(BATCH_MESSAGES_MAX) * RECORD_LINE_BYTES + 256);
                }
                data.extend_from_slice(&first.0);
                // All lines of a command are in the ring once the first is; a ring carries whole
                // commands only.
                for _ in 1..lines_of(&first).unwrap_or(1) {
                    let Some(line) = ring.try_pop() else { break };
                    data.extend_from_slice(&line.0);
                }
                count += 1;
            }
        }
        if count == 0 {
            return Ok(0);
        }
        self.first_ring = (self.first_ring + 1) % rings;
        self.propose_batch(now, data, count)?;
        Ok(count)
    }

    fn propose_batch(&mut self, now: Nanos, data: Vec<u8>, count: usize) -> Result<(), NodeError> {
        // A clock that is set back does not set the exchange back.
        self.end.time = self.end.time.max(now);
        // A batch is bounded far below 32 bits.
        let count = count as u32;
        let stamp = Stamp {
            time: self.end.time,
            first: self.end.next,
            count,
        };
        self.raft.propose(stamp.to_bytes().to_vec(), data)?;
        self.end.next = CommandSequence(self.end.next.0 + u64::from(count));
        Ok(())
    }

    /// Tells raft how far the engine is, so that it may forget what it keeps for it.
    #[inline]
    fn note_applied(&mut self) {
        let applied = self.applied.current().min(self.committed);
        if applied > self.applied_told {
            self.applied_told = applied;
            self.raft.advance_apply_to(applied);
        }
    }
}

impl Agent for Sequencer {
    fn name(&self) -> &'static str {
        "sequencer"
    }

    fn on_start(&mut self) -> Result<(), Halt> {
        let alone = self.raft.raft.prs().conf().voters().ids().iter().count() == 1;
        if alone {
            // Nobody else can lead: there is nothing to wait for.
            self.raft.campaign().map_err(Halt::new)?;
        }
        Ok(())
    }

    fn do_work(&mut self) -> Result<usize, Halt> {
        self.turn().map_err(Halt::new)
    }
}
