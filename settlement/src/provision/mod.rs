//! What every provider of machines implements, and the words it uses.
//!
//! Called by the settler, which records its intent before each call and may repeat any call after
//! a crash. The key makes that safe.
//!
//! Always holds: one key is one machine, whatever dies in between; the buyer's secret key never
//! comes here, only the public half.
//! Does not: choose a provider, keep obligations, or decide what a seller is paid.

use std::net::SocketAddrV4;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub(crate) mod cgroup;
mod counted;
mod delegated;
mod folder;
pub(crate) mod kill;
mod local;
mod metering;
mod process;
mod record;
mod removal;

pub use folder::{Ending, Folder, Intent, Network};
pub use local::{LocalConfig, LocalProvider};
pub use metering::{Beat, Meter, MeteringRule, Verified, meter, share_ppm};
pub use process::Process;

pub(crate) use folder::{GuestRecord, Listening, Lock, mono_ns, now_ns, random_bytes};
pub(crate) use process::usage_of_tree;
pub(crate) use removal::sweep;

/// The hidden subcommand by which a program becomes the inside of a machine.
pub const SUBCOMMAND: &str = "machine-guest";

/// Names one obligation to deliver; the idempotency key of every call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MachineKey(pub u64);

impl std::fmt::Display for MachineKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A share of processor time in thousandths of one core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Millicores(pub u32);

/// What is to be delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineSpec {
    /// Processor time promised to the buyer.
    pub cpu_share: Millicores,
    /// Memory promised to the buyer, in bytes.
    pub memory_bytes: u64,
    /// The buyer's own Ed25519 public key, the only one that may log in.
    pub access_key: [u8; 32],
    /// When delivery begins, in UTC nanoseconds; nothing before it counts as delivered.
    pub window_start_ns: u64,
    /// When delivery ends, in UTC nanoseconds; the machine ends itself then.
    pub window_end_ns: u64,
    /// The host name of the machine.
    pub label: String,
}

/// Longest label: the kernel's limit for a host name.
pub const LABEL_BYTES_MAX: usize = 64;
/// Least memory in which the login server and a shell can live.
pub const MEMORY_BYTES_MIN: u64 = 32 << 20;
/// Least processor share that a quota can express.
pub const CPU_SHARE_MIN: Millicores = Millicores(10);

impl MachineSpec {
    /// Whether a machine of this serves whoever asks for `wanted`: the same key may log in for the
    /// same window.
    #[must_use]
    pub fn serves_as(&self, wanted: &MachineSpec) -> bool {
        self.access_key == wanted.access_key
            && self.window_start_ns == wanted.window_start_ns
            && self.window_end_ns == wanted.window_end_ns
    }

    /// Says whether a provider may act on this.
    ///
    /// # Errors
    /// `BadSpec` names the field and its limit.
    pub fn check(&self) -> Result<(), ProvisionError> {
        let label_ok = !self.label.is_empty()
            && self.label.len() <= LABEL_BYTES_MAX
            && self
                .label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !self.label.starts_with('-');
        if !label_ok {
            return Err(ProvisionError::BadSpec {
                field: "label",
                limit: "1 to 64 letters, digits and inner hyphens",
            });
        }
        if self.memory_bytes < MEMORY_BYTES_MIN {
            return Err(ProvisionError::BadSpec {
                field: "memory_bytes",
                limit: "at least 32 MiB",
            });
        }
        if self.cpu_share.0 < CPU_SHARE_MIN.0 {
            return Err(ProvisionError::BadSpec {
                field: "cpu_share",
                limit: "at least 10 millicores",
            });
        }
        if self.window_start_ns >= self.window_end_ns {
            return Err(ProvisionError::BadSpec {
                field: "window_end_ns",
                limit: "after window_start_ns",
            });
        }
        Ok(())
    }
}

/// A machine that is alive and can be logged in to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The obligation it serves.
    pub key: MachineKey,
    /// Where its SSH server listens.
    pub address: SocketAddrV4,
    /// SHA-256 of the SSH host key, so that the buyer knows whom he talks to.
    pub host_key_fingerprint: [u8; 32],
    /// The process that stands for the machine on its host.
    pub pid: i32,
    /// When this run of the machine began to listen, in UTC nanoseconds.
    pub started_ns: u64,
    /// What separates it from its host and its neighbours.
    pub isolation: Isolation,
}

/// A kernel namespace that the machine has for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Namespace {
    /// Its own user ids (only where the provider does not run as root).
    User,
    /// Its own process ids.
    Pid,
    /// Its own mounts.
    Mount,
    /// Its own host name.
    Uts,
    /// Its own System V and POSIX queues.
    Ipc,
    /// Its own network, with a loopback and nothing else.
    Net,
    /// Its own view of the cgroup tree.
    Cgroup,
}

/// The least that must separate a machine from its host for it to be started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LeastIsolation {
    /// A file tree and processes of its own: the buyer sees nothing of the host's data.
    #[default]
    Tree,
    /// A process among the host's own, where no more can be had: a buyer can then read whatever
    /// the operator's user can. For trials among friends.
    Process,
}

/// How processor time and memory are bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Limits {
    /// Version 1 control groups: quota and memory limit for the whole machine.
    CgroupV1,
    /// Version 2 control groups: quota and memory limit for the whole machine.
    CgroupV2,
    /// Resource limits of each process and whole cores only; weaker.
    Rlimits,
}

/// What separates a machine from its host, as found, not as hoped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Isolation {
    /// The namespaces it has for itself.
    pub namespaces: Vec<Namespace>,
    /// Whether it sees a file tree of its own instead of the host's.
    pub own_root: bool,
    /// How it is bounded.
    pub limits: Limits,
    /// One sentence for each protection that this host did not permit.
    pub notes: Vec<String>,
}

/// What was found when a machine was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measurement {
    /// When it was looked at, in UTC nanoseconds.
    pub at_ns: u64,
    /// Whether its process lives and shows that it does.
    pub alive: bool,
    /// Whether an SSH server answered at its address.
    pub ssh_banner_ok: bool,
    /// Processor time it has used since it began, in nanoseconds.
    pub cpu_used_ns: u64,
    /// Memory it holds now, in bytes.
    pub memory_bytes: u64,
    /// The part of the promised processor share that was there to be used lately.
    pub verified_share_ppm: u32,
    /// Time inside the window in which it was proven to run, in nanoseconds: what is paid for.
    pub verified_ns: u64,
}

/// Turns obligations into machines. Every call may be repeated with the same key.
pub trait Provisioner {
    /// Brings up the machine for `key`, or finds the one that is already up.
    ///
    /// # Errors
    /// `Released`, `WindowOver`, `SpecConflict` and `BadSpec` are final; the others may pass.
    fn provision(&mut self, key: MachineKey, spec: &MachineSpec)
    -> Result<Machine, ProvisionError>;
    /// What was asked for under `key`, if anything was.
    ///
    /// # Errors
    /// Only when the provider itself cannot be asked.
    fn asked(&mut self, key: MachineKey) -> Result<Option<MachineSpec>, ProvisionError>;
    /// Finds the machine for `key` if it is up and shows signs of life.
    ///
    /// # Errors
    /// Only when the provider itself cannot be asked.
    fn inspect(&mut self, key: MachineKey) -> Result<Option<Machine>, ProvisionError>;
    /// Looks at the machine for `key`, also after it has ended.
    ///
    /// # Errors
    /// `Unknown` when the key was never provisioned.
    fn measure(&mut self, key: MachineKey) -> Result<Measurement, ProvisionError>;
    /// BLAKE3 of the record that measurements of the machine for `key` rest on; none where there is
    /// no record. It outlives the machine.
    ///
    /// # Errors
    /// Only when the provider itself cannot be asked.
    fn record_digest(&mut self, key: MachineKey) -> Result<Option<[u8; 32]>, ProvisionError>;
    /// Removes the machine for `key` and refuses the key from now on.
    ///
    /// # Errors
    /// `WillNotDie` when something outlived SIGKILL; call again.
    fn release(&mut self, key: MachineKey) -> Result<(), ProvisionError>;
    /// Names every machine of this provider that is up, in rising order of key.
    ///
    /// # Errors
    /// Only when the provider itself cannot be asked.
    fn list(&mut self) -> Result<Vec<MachineKey>, ProvisionError>;
}

/// Why a provider could not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// The request itself cannot be met by any machine.
    #[error("the machine's {field} is out of range: it must be {limit}")]
    BadSpec {
        /// Which field.
        field: &'static str,
        /// What it must be.
        limit: &'static str,
    },
    /// The key was released: a late duplicate.
    #[error("machine {key} was released and will not be started again; use a new key")]
    Released {
        /// The key refused.
        key: MachineKey,
    },
    /// The delivery window has ended.
    #[error("the window of machine {key} ended at {window_end_ns} ns; nothing is left to deliver")]
    WindowOver {
        /// The key refused.
        key: MachineKey,
        /// When it ended, in UTC nanoseconds.
        window_end_ns: u64,
    },
    /// The key is in use for something else.
    #[error("machine {key} was asked for before with another specification; use a new key")]
    SpecConflict {
        /// The key refused.
        key: MachineKey,
    },
    /// The key was never provisioned here.
    #[error("machine {key} was never asked for at this provider")]
    Unknown {
        /// The key asked for.
        key: MachineKey,
    },
    /// The provider's own code failed.
    #[error("the provider of machine {key} failed: {reason}; its operator's help is needed")]
    Broken {
        /// The key asked for.
        key: MachineKey,
        /// What it said.
        reason: String,
    },
    /// Another process holds the machine's folder for too long.
    #[error("another process has been working on machine {key} for too long; try again later")]
    Busy {
        /// The key asked for.
        key: MachineKey,
    },
    /// The guest ended before it could be reached.
    #[error("machine {key} did not come up: {reason}; its log is {log}", log = log.display())]
    GuestFailed {
        /// The key asked for.
        key: MachineKey,
        /// The last words of the guest.
        reason: String,
        /// Where the rest is.
        log: PathBuf,
    },
    /// Something of the machine outlived SIGKILL for the whole wait.
    #[error("machine {key} could not be ended in time; call release again")]
    WillNotDie {
        /// The key asked for.
        key: MachineKey,
    },
    /// The provider's own files could not be read or written.
    #[error("{doing} {path}: {cause}", path = path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
}

impl ProvisionError {
    pub(crate) fn io(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> ProvisionError {
        let path = path.into();
        move |cause| ProvisionError::Io { doing, path, cause }
    }
}
