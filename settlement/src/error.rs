//! What the world can do to the settlement process.

use std::path::PathBuf;

use exahour_gateway::error::GatewayError;
use exahour_journal::{JournalError, LogId};
use exahour_wire::ids::{EventSequence, ObligationId, SessionId};

use crate::obligation::IllegalMove;
use crate::provision::ProvisionError;

/// Why the settlement process cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SettlementError {
    /// The database refused.
    #[error(
        "the settlement database: {0}; if the disk is full or read-only, mend that and start again"
    )]
    Database(rusqlite::Error),
    /// The database was written by a newer version of this program.
    #[error(
        "{path} has schema version {found}, but this program knows versions up to {known}: start \
         the newer program", path = path.display()
    )]
    NewerSchema {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version known here.
        known: i64,
    },
    /// A stored value is none that this program writes.
    #[error("the settlement database, {what}: {value:?} is no such value; restore a backup")]
    Stored {
        /// Which column.
        what: &'static str,
        /// The value found.
        value: String,
    },
    /// An obligation that is needed, or asked for, is not recorded.
    #[error(
        "obligation {0} is not recorded here: the exchange has assigned none of that number yet"
    )]
    UnknownObligation(ObligationId),
    /// A move that is not legal: a mistake of this program, found before it did harm.
    #[error(transparent)]
    IllegalMove(#[from] IllegalMove),
    /// The event log cannot be read.
    #[error("the event log: {0}")]
    Log(JournalError),
    /// The event log belongs to another exchange.
    #[error(
        "the event log in {path} is of exchange {found}, but this state follows exchange {expected}: \
         give the right --data, or another --state for another exchange", path = path.display()
    )]
    OtherExchange {
        /// The event log.
        path: PathBuf,
        /// Whom the database follows.
        expected: LogId,
        /// Whose log was found.
        found: LogId,
    },
    /// The event log tells another story than the one that was acted upon.
    #[error(
        "event {0} is not the one that was applied here before: the node has lost acknowledged \
         commands; compare `status` with the ledger before starting with a new --state"
    )]
    Diverged(EventSequence),
    /// Events that were not applied yet are missing.
    #[error(
        "the event log goes on with event {found}, but event {expected} is needed: have the node write its event log again by replay (remove its events folder), or restore a newer state"
    )]
    EventsMissing {
        /// The next event needed.
        expected: EventSequence,
        /// The next event there.
        found: EventSequence,
    },
    /// The keys of the node cannot be read.
    #[error("{0}; start the node once so that it writes its keys, or give the right --data")]
    Keys(GatewayError),
    /// The session has no key.
    #[error("session {session} has no key in {path}: give the --session that may settle", path = path.display())]
    NoKey {
        /// The session.
        session: SessionId,
        /// The file of keys.
        path: PathBuf,
    },
    /// Another process works on the same state.
    #[error("{path} is in use by another settlement process: stop that one first", path = path.display())]
    InUse {
        /// The state folder.
        path: PathBuf,
    },
    /// A file cannot be used.
    #[error("cannot {doing} {path}: {cause}", path = path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// A provider cannot be used at all.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    /// There is no provider.
    #[error("no provider is registered, so nothing can be delivered")]
    NoProvider,
    /// The exchange refuses what it is told, for a reason that may pass.
    #[error("the exchange refuses reports as {0}; see `status`, mend that, and start again")]
    Refused(String),
    /// A node did not answer where its answer was needed to finish.
    #[error("{0}; is the node running, and is --node its order entry address?")]
    NodeUnreachable(String),
}

// Not as sources: their texts are part of ours, and a chain would tell them twice.
impl From<rusqlite::Error> for SettlementError {
    fn from(error: rusqlite::Error) -> Self {
        SettlementError::Database(error)
    }
}

impl From<JournalError> for SettlementError {
    fn from(error: JournalError) -> Self {
        SettlementError::Log(error)
    }
}

impl From<GatewayError> for SettlementError {
    fn from(error: GatewayError) -> Self {
        SettlementError::Keys(error)
    }
}

impl SettlementError {
    /// An error of a file, with what was tried.
    pub(crate) fn io(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> SettlementError {
        let path = path.into();
        move |cause| SettlementError::Io { doing, path, cause }
    }
}
