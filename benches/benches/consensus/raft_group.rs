//! Three nodes of raft-rs, turned by hand on the caller's thread, each over the library's storage in memory.

use bytes::Bytes;
use raft::prelude::Message;
use raft::storage::MemStorage;
use raft::{Config, RawNode, StateRole};

use crate::{Failure, Group, NODES};

/// The nodes; the first one leads.
pub(crate) struct RaftGroup {
    nodes: Vec<RawNode<MemStorage>>,
}

impl RaftGroup {
    /// A group whose first node was elected.
    pub(crate) fn found() -> Result<Self, Failure> {
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let ids: Vec<u64> = (1..=NODES).collect();
        let mut nodes = Vec::new();
        for id in &ids {
            let config = Config {
                id: *id,
                election_tick: 20,
                heartbeat_tick: 5,
                max_size_per_msg: 256 << 10,
                max_inflight_msgs: 24,
                check_quorum: true,
                pre_vote: true,
                skip_bcast_commit: true,
                ..Config::default()
            };
            let storage = MemStorage::new_with_conf_state((ids.clone(), vec![]));
            nodes.push(RawNode::new(&config, storage, &logger)?);
        }
        nodes[0].campaign()?;
        let mut group = Self { nodes };
        group.settle()?;
        if group.nodes[0].raft.state != StateRole::Leader {
            return Err("the first node of raft-rs was not elected".into());
        }
        Ok(group)
    }

    /// Turns the nodes, the leader first, until nobody has anything to say.
    fn settle(&mut self) -> Result<(), Failure> {
        let mut moved = true;
        while moved {
            moved = false;
            for place in 0..self.nodes.len() {
                for message in walk(&mut self.nodes[place])? {
                    self.nodes[message.to as usize - 1].step(message)?;
                    moved = true;
                }
            }
        }
        Ok(())
    }
}

impl Group for RaftGroup {
    fn name(&self) -> &'static str {
        "raft-rs"
    }

    fn agree(&mut self, batch: Bytes) -> Result<(), Failure> {
        self.nodes[0].propose(Vec::new(), batch.to_vec())?;
        self.settle()?;
        let log = &self.nodes[0].raft.raft_log;
        if log.applied != log.last_index() {
            return Err("a batch was not committed".into());
        }
        Ok(())
    }
}

/// Walks what a node is ready with, whose storage keeps everything at once; what it says.
fn walk(node: &mut RawNode<MemStorage>) -> Result<Vec<Message>, Failure> {
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
