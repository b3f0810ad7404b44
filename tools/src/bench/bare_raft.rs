//! The floor of the leader's own work: the library alone, with its own storage in memory.
//!
//! Used by the topic `raft`, and by the comparison in `benches`. Three raft nodes hand each other their messages as they are: nothing is packed,
//! sealed, sent, written to files, or carried out.
//!
//! Always holds: what is timed is the leader's part, from a batch to its commit; the library is set up as the
//! nodes set it up.

use std::time::{Duration, Instant};

use anyhow::ensure;
use raft::prelude::Message;
use raft::storage::MemStorage;
use raft::{Config, RawNode, StateRole};

use super::raft::{NODES, Timed, WARM_UP};

/// Bytes beside a batch: as many as the nodes' stamp has.
const CONTEXT_BYTES: usize = 20;

/// The nodes; the first one leads.
pub struct BareGroup {
    nodes: Vec<RawNode<MemStorage>>,
}

impl BareGroup {
    /// Three nodes, of which the first one was elected.
    ///
    /// # Errors
    /// What the library says.
    pub fn found() -> anyhow::Result<Self> {
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let ids: Vec<u64> = (1..=NODES as u64).collect();
        let node = |id: &u64| {
            let config = Config {
                id: *id,
                election_tick: 20,
                heartbeat_tick: 5,
                max_size_per_msg: 256 << 10,
                max_inflight_msgs: 24,
                max_committed_size_per_ready: 1 << 20,
                check_quorum: true,
                pre_vote: true,
                skip_bcast_commit: true,
                ..Config::default()
            };
            let storage = MemStorage::new_with_conf_state((ids.clone(), vec![]));
            RawNode::new(&config, storage, &logger)
        };
        let nodes: raft::Result<Vec<_>> = ids.iter().map(node).collect();
        let mut group = Self { nodes: nodes? };
        group.nodes[0].campaign()?;
        let mut messages = walk(&mut group.nodes[0])?;
        while !messages.is_empty() {
            messages = group.deliver(messages)?;
            let (to_leader, rest): (Vec<_>, _) = messages.into_iter().partition(|it| it.to == 1);
            messages = rest;
            for message in to_leader {
                group.nodes[0].step(message)?;
            }
            messages.extend(walk(&mut group.nodes[0])?);
        }
        ensure!(group.nodes[0].raft.state == StateRole::Leader);
        Ok(group)
    }

    /// Proposes `data` so often, each time when the one before it is committed.
    ///
    /// # Errors
    /// What the library says.
    pub fn measure(&mut self, data: &[u8], batches: u64) -> anyhow::Result<Timed> {
        let mut timed = Timed::default();
        for batch in 0..WARM_UP + batches {
            let took = self.agree(data.to_vec())?;
            if batch >= WARM_UP {
                timed.add(took, 2);
            }
        }
        Ok(timed)
    }

    /// Has the nodes agree on a batch; how long the leader worked for it.
    ///
    /// # Errors
    /// What the library says.
    pub fn agree(&mut self, data: Vec<u8>) -> anyhow::Result<Duration> {
        let context = vec![0; CONTEXT_BYTES];
        let began = Instant::now();
        self.nodes[0].propose(context, data)?;
        let messages = walk(&mut self.nodes[0])?;
        let proposed = began.elapsed();
        let answers = self.deliver(messages)?;
        let began = Instant::now();
        for answer in answers {
            self.nodes[0].step(answer)?;
        }
        let further = walk(&mut self.nodes[0])?;
        let committed = began.elapsed();
        let log = &self.nodes[0].raft.raft_log;
        ensure!(log.committed == log.last_index() && further.is_empty());
        Ok(proposed + committed)
    }

    /// Brings messages to the followers; what they answer.
    fn deliver(&mut self, messages: Vec<Message>) -> anyhow::Result<Vec<Message>> {
        for message in messages {
            self.nodes[message.to as usize - 1].step(message)?;
        }
        let mut answers = Vec::new();
        for follower in &mut self.nodes[1..] {
            answers.extend(walk(follower)?);
        }
        Ok(answers)
    }
}

/// Walks what a node is ready with, whose storage keeps everything at once; what it says.
fn walk(node: &mut RawNode<MemStorage>) -> raft::Result<Vec<Message>> {
    let mut messages = Vec::new();
    while node.has_ready() {
        let mut ready = node.ready();
        if let Some(state) = ready.hs() {
            node.mut_store().wl().set_hardstate(state.clone());
        }
        messages.extend(ready.take_messages());
        node.mut_store().wl().append(&ready.take_entries())?;
        messages.extend(ready.take_persisted_messages());
        let committed = ready.take_committed_entries();
        let number = ready.number();
        node.advance_append_async(ready);
        node.on_persist_ready(number);
        if let Some(last) = committed.last() {
            node.advance_apply_to(last.index);
        }
    }
    Ok(messages)
}
