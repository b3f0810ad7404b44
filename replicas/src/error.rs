//! What the world can do to a node.

use std::io;
use std::path::{Path, PathBuf};

use exahour_engine::{ApplyError, Divergence, SnapshotError, UnknownBehaviour};
use exahour_gateway::error::GatewayError;
use exahour_gateway::image::ImageFault;
use exahour_journal::JournalError;
use exahour_rings::LayoutError;

use crate::config::ConfigError;
use crate::genesis::GenesisError;
use crate::members::NodeId;

/// Why a node cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The configuration is not one.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What a new exchange should start with contradicts itself.
    #[error("configuration {place}: {source}")]
    Genesis {
        /// The file and the line in it.
        place: String,
        /// What is wrong with it.
        source: GenesisError,
    },
    /// A log cannot be used.
    #[error("{log}: {source}")]
    Log {
        /// Which log.
        log: &'static str,
        /// What is wrong with it.
        source: JournalError,
    },
    /// The consensus state cannot be read or written.
    #[error("consensus state {path}: {reason}", path = path.display())]
    HardState {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// A file or folder of the node cannot be used.
    #[error("{path}: cannot {action}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The file that names the exchange is damaged.
    #[error(
        "{path}: not 32 hexadecimal digits; write the id that `exahour journal inspect` shows into \
         it", path = path.display()
    )]
    Identity {
        /// The file.
        path: PathBuf,
    },
    /// The file that names the exchange is gone.
    #[error(
        "{path} is missing, and there is a journal beside it: write `{id}`, the journal's log id, into \
         it and start again", path = path.display()
    )]
    IdentityLost {
        /// The file.
        path: PathBuf,
        /// The id that the journal has.
        id: String,
    },
    /// What should be the data folder is something else.
    #[error("{path} is no folder: name one for the node's data", path = path.display())]
    NoFolder {
        /// What it is called.
        path: PathBuf,
    },
    /// The system does not let this process open as many files as its ports may need.
    #[error(
        "{needed} files may have to be open, and the limit is {limit}: raise it (`ulimit -n {needed}`, \
         LimitNOFILE of a service), or lower the connections in [sessions]"
    )]
    OpenFiles {
        /// How many may be open at a time.
        needed: u64,
        /// How many the system allows.
        limit: u64,
    },
    /// The consensus library refused.
    #[error("consensus: {0}")]
    Raft(#[from] raft::Error),
    /// The journal holds something that no version of this program writes.
    #[error(
        "journal frame {index}: {reason}; the journal was written by something else: do not start on it"
    )]
    Frame {
        /// The raft index of the frame.
        index: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// This replica's state is not the one the journal states.
    #[error(transparent)]
    Divergence(#[from] Divergence),
    /// The journal wants rules that this program does not know.
    #[error(transparent)]
    UnknownBehaviour(#[from] UnknownBehaviour),
    /// A state cannot be put into a snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The event log contradicts itself where the ports' views follow it.
    #[error(transparent)]
    Views(ImageFault),
    /// A snapshot holds another state than the journal gives.
    #[error(
        "the snapshot behind frame {index} holds another state than the journal gives: remove it, and \
         keep the journal"
    )]
    SnapshotDiffers {
        /// The raft index of the frame.
        index: u64,
    },
    /// The journal begins behind a snapshot that is not there.
    #[error(
        "the journal begins behind frame {index}, and no snapshot of that place or a later one can be \
         used: restore one, or replace this node by a copy of another"
    )]
    SnapshotMissing {
        /// The raft index of the last frame that only a snapshot stands for.
        index: u64,
    },
    /// The event log lacks what neither the journal nor a snapshot gives again.
    #[error(
        "{path} ends with event {last}, and what comes behind it the journal does not give any more: it begins \
         behind frame {index}. Restore the event log, or put a new node in the place of this one \
         (`exahour replace-node`); journal and snapshots are whole", path = path.display()
    )]
    EventsMissing {
        /// The folder of the event log.
        path: PathBuf,
        /// The last event in it.
        last: u64,
        /// The raft index of the last frame that the journal has given up.
        index: u64,
    },
    /// A snapshot was fetched from another node: this one has to open again from what came.
    #[error(
        "a snapshot behind frame {index} has come from another node: this one opens again from it"
    )]
    SnapshotArrived {
        /// The raft index of the last frame that it covers.
        index: u64,
    },
    /// The journal is gone, and there was one.
    #[error(
        "{path} is gone, and {promises} says that there was one: restore it; where it is lost for good, a \
         new exchange needs a folder of its own", path = path.display(), promises = promises.display()
    )]
    JournalLost {
        /// The folder of the journal.
        path: PathBuf,
        /// What is left of the exchange.
        promises: PathBuf,
    },
    /// A member of a cluster has lost a part of what it kept.
    #[error(
        "{path} is gone, and the rest of the folder is there: node {node} may have forgotten what it \
         promised or acknowledged. Put a new node in its place, with another id and an empty folder \
         (`exahour add-node`, `exahour replace-node`)", path = path.display()
    )]
    PartLost {
        /// What is gone.
        path: PathBuf,
        /// The node.
        node: NodeId,
    },
    /// A first member of a cluster has an empty folder.
    #[error(
        "{path} is empty, and node {node} is one of the first members of its cluster. Is the cluster new? \
         Start each of them with --found, once. Was the disk lost? Put a new node in its place, with \
         another id (`exahour add-node`, `exahour replace-node`): this one could break promises that it \
         does not remember", path = path.display()
    )]
    EmptyFolder {
        /// The folder.
        path: PathBuf,
        /// The node.
        node: NodeId,
    },
    /// The event log holds what this journal cannot have given.
    #[error(
        "{path} tells of command {told}, and the journal ends with command {last}: it is older than the \
         events, or not theirs; restore the newest journal, or, where it is lost for good, move \
         {path} away and start again: what the journal gives is written again",
        path = path.display()
    )]
    EventsAhead {
        /// The folder of the event log.
        path: PathBuf,
        /// The last command that has events.
        told: u64,
        /// The last command in the journal.
        last: u64,
    },
    /// Events on disk may be of commands that were lost.
    #[error(
        "clients of this node were told of commands that the group has lost: the node opens again, sets those \
         events aside, and writes its event log anew from its journal"
    )]
    EventsDoubtful,
    /// The group has gone on without what this node knows to be committed.
    #[error(
        "{what} is of a history that the group has gone on without, as it may after `exahour trust-memory`: \
         put a new node in the place of this one, with another id and an empty folder (`exahour replace-node`)"
    )]
    HistoryLost {
        /// An entry or an event, with its number.
        what: String,
    },
    /// The machine's clock is behind the journal.
    #[error(
        "the clock of this machine is {behind_s} s behind the last stamp in the journal; set the \
         clock (or wait) and start again"
    )]
    ClockBehind {
        /// Seconds.
        behind_s: u64,
    },
    /// The machine's clock cannot be right.
    #[error("the clock of this machine shows a time before 2020: set it and start again")]
    ClockUnset,
    /// A gateway cannot start.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// Agents and threads do not fit together.
    #[error("layout ({place}): {source}")]
    Layout {
        /// The file and the line in it.
        place: String,
        /// What does not fit.
        source: LayoutError,
    },
}

impl From<ApplyError> for NodeError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Divergence(divergence) => divergence.into(),
            ApplyError::UnknownBehaviour(unknown) => unknown.into(),
        }
    }
}

impl NodeError {
    /// An error of the system, with the file or folder and what was tried on it.
    pub(crate) fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            path,
            action,
            source,
        }
    }

    /// An error of a log, with the name of the log.
    pub(crate) fn log(log: &'static str) -> impl Fn(JournalError) -> Self {
        move |source| Self::Log { log, source }
    }
}
