//! Three nodes of openraft, each over a log in memory, which call each other directly.

mod log;
mod state;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io::Cursor;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use openraft::error::{InstallSnapshotError, RPCError, RaftError, RemoteError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft::{BasicNode, Config, RaftNetwork, RaftNetworkFactory, SnapshotPolicy};
use tokio::runtime::{Builder, Runtime};

use crate::{Failure, Group, NODES};
use log::MemoryLog;
use state::Applied;

openraft::declare_raft_types!(
    /// Batches of bytes, and nothing in answer.
    pub(crate) Types: D = Batch, R = (), NodeId = u64, Node = BasicNode
);

/// What is agreed on.
#[derive(Clone)]
pub(crate) struct Batch(pub(crate) Bytes);

impl fmt::Debug for Batch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Batch({} bytes)", self.0.len())
    }
}

type Node = openraft::Raft<Types>;

/// Threads of the runtime that the nodes' tasks share.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// The caller's alone.
    One,
    /// Two of the runtime's own.
    Two,
}

/// The nodes; the first one leads.
pub(crate) struct OpenraftGroup {
    threads: Threads,
    runtime: Runtime,
    leader: Node,
}

impl OpenraftGroup {
    /// A group whose first node was elected.
    pub(crate) fn found(threads: Threads) -> Result<Self, Failure> {
        let runtime = match threads {
            Threads::One => Builder::new_current_thread().enable_time().build()?,
            Threads::Two => Builder::new_multi_thread()
                .worker_threads(2)
                .enable_time()
                .build()?,
        };
        let leader = runtime.block_on(found())?;
        Ok(Self {
            threads,
            runtime,
            leader,
        })
    }
}

async fn found() -> Result<Node, Failure> {
    let config = Config {
        cluster_name: "bench".to_owned(),
        heartbeat_interval: 50,
        election_timeout_min: 200,
        election_timeout_max: 400,
        snapshot_policy: SnapshotPolicy::Never,
        ..Config::default()
    };
    let config = Arc::new(config.validate()?);
    let nodes = Reachable::default();
    let mut known = BTreeMap::new();
    for id in 1..=NODES {
        let (log, state) = (MemoryLog::default(), Applied::default());
        let node = Node::new(id, Arc::clone(&config), nodes.clone(), log, state).await?;
        known.insert(id, node);
    }
    let leader = known.get(&1).cloned().ok_or("the first node is there")?;
    let members: BTreeMap<u64, BasicNode> =
        known.keys().map(|id| (*id, BasicNode::default())).collect();
    let placed = nodes.0.set(known);
    placed.map_err(|_| "the nodes are placed once")?;
    leader.initialize(members).await?;
    let patience = Some(Duration::from_secs(10));
    let waiting = leader.wait(patience);
    waiting.current_leader(1, "the first node leads").await?;
    Ok(leader)
}

impl Group for OpenraftGroup {
    fn name(&self) -> &'static str {
        match self.threads {
            Threads::One => "openraft, one thread",
            Threads::Two => "openraft, two threads",
        }
    }

    fn agree(&mut self, batch: Bytes) -> Result<(), Failure> {
        let leader = &self.leader;
        let written = self.runtime.block_on(leader.client_write(Batch(batch)));
        written?;
        Ok(())
    }
}

/// The nodes, once all are there.
#[derive(Clone, Default)]
struct Reachable(Arc<OnceLock<BTreeMap<u64, Node>>>);

/// The way to one of them.
struct Way {
    nodes: Reachable,
    to: u64,
}

impl Way {
    fn node(&self) -> Option<&Node> {
        self.nodes.0.get()?.get(&self.to)
    }

    async fn answered<T, E: std::error::Error>(
        &self,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<T, RPCError<u64, BasicNode, E>> {
        let answer = answer.await;
        answer.map_err(|error| RPCError::RemoteError(RemoteError::new(self.to, error)))
    }
}

/// The nodes are being started, one after the other.
fn not_there_yet<E: std::error::Error>() -> RPCError<u64, BasicNode, E> {
    let missing = std::io::Error::from(std::io::ErrorKind::NotConnected);
    RPCError::Unreachable(Unreachable::new(&missing))
}

impl RaftNetworkFactory<Types> for Reachable {
    type Network = Way;

    async fn new_client(&mut self, to: u64, _node: &BasicNode) -> Way {
        Way {
            nodes: self.clone(),
            to,
        }
    }
}

impl RaftNetwork<Types> for Way {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RPCError<u64, BasicNode, RaftError<u64>>> {
        let node = self.node().ok_or_else(not_there_yet)?;
        self.answered(node.append_entries(request)).await
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<Types>,
        _option: RPCOption,
    ) -> Result<
        InstallSnapshotResponse<u64>,
        RPCError<u64, BasicNode, RaftError<u64, InstallSnapshotError>>,
    > {
        let node = self.node().ok_or_else(not_there_yet)?;
        self.answered(node.install_snapshot(request)).await
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        _option: RPCOption,
    ) -> Result<VoteResponse<u64>, RPCError<u64, BasicNode, RaftError<u64>>> {
        let node = self.node().ok_or_else(not_there_yet)?;
        self.answered(node.vote(request)).await
    }
}
