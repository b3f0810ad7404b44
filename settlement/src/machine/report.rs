//! What the two processes of a guest say to each other over two pipes, a line of JSON each.
//!
//! Always holds: the end of either pipe means that the other process is dead.

use std::net::SocketAddrV4;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::provision::{Intent, Limits, Namespace};

/// What the supervisor tells the inside, once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Orders {
    /// What was asked.
    pub(super) intent: Intent,
    /// The host key in OpenSSH's own format.
    pub(super) host_key: String,
    /// The addresses to try, best first; port 0 lets the system choose.
    pub(super) addresses: Vec<SocketAddrV4>,
    /// The groups to join before anything else.
    pub(super) cgroups: Vec<PathBuf>,
    /// How the machine is bounded.
    pub(super) limits: Limits,
    /// Namespaces that the supervisor has opened for it.
    pub(super) namespaces: Vec<Namespace>,
    /// An empty folder to build the machine's file tree in.
    pub(super) root: PathBuf,
    /// A home on the host's disk, for a machine that can have no tree of its own.
    pub(super) home: PathBuf,
}

/// What the inside tells the supervisor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// The SSH server listens.
    Listening {
        /// Where.
        address: SocketAddrV4,
        /// All namespaces that the machine has for itself.
        namespaces: Vec<Namespace>,
        /// Whether it has a file tree of its own.
        own_root: bool,
        /// What this host did not permit.
        notes: Vec<String>,
    },
    /// It is alive and has done a piece of work.
    Beat {
        /// When, in UTC nanoseconds.
        at_ns: u64,
        /// When, on the monotonic clock.
        mono_ns: u64,
        /// Pieces of work done so far.
        work_done: u64,
        /// How long the last one took, in nanoseconds.
        probe_wall_ns: u64,
        /// How much processor time it needed, in nanoseconds.
        probe_cpu_ns: u64,
    },
}
