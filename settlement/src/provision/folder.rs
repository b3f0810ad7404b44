//! The folder of one machine: what was asked, who serves it, where it listens, how it ended.
//!
//! ```text
//! DIR/<key>/  caller.lock    one caller at a time works on this machine
//!             lock           held by the guest, both its processes, all their life
//!             intent.json    what was asked; written once, never changed
//!             guest.json     who holds `lock`, and its cgroups; written after the lock is taken
//!             machine.json   where it listens; written by that guest when it does
//!             heartbeats     a line for each beat: the record
//!             host_key  log  root/  home/
//!             ended.json     why the last guest ended
//!             released.json  tombstone: the key is refused from now on
//! ```
//! Always holds: a file is there whole or not at all; whoever holds `lock` is the only guest.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddrV4;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::fcntl::{FcntlArg, fcntl};
use nix::time::{ClockId, clock_gettime};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::metering::Beat;
use super::record;
use super::{LeastIsolation, Machine, MachineKey, MachineSpec, Process, ProvisionError};

/// Whether a machine shares the host's network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// Its own, with a loopback and nothing else; the SSH port is reached all the same.
    #[default]
    Own,
    /// The host's.
    Host,
}

/// Everything a guest needs to know; the durable promise to bring it up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The obligation.
    pub key: MachineKey,
    /// What was asked.
    pub spec: MachineSpec,
    /// An unguessable name by which everything that belongs to the machine is known.
    pub nonce: String,
    /// Where to listen; port 0 lets the system choose.
    pub bind: SocketAddrV4,
    /// Which network the machine is in.
    pub network: Network,
    /// The cgroup below which the machine's own is made; none means the caller's own.
    pub cgroup_parent: Option<PathBuf>,
    /// The user id that the machine runs as, where the provider may choose it.
    pub uid: u32,
    /// Time between two heartbeats, in nanoseconds.
    pub beat_period_ns: u64,
    /// Without what isolation it is not started.
    #[serde(default)]
    pub least_isolation: LeastIsolation,
}

/// Who holds the guest's lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GuestRecord {
    /// The supervising process.
    pub(crate) process: Process,
    /// The cgroups it makes; recorded before they are made.
    pub(crate) cgroups: Vec<PathBuf>,
}

/// Where a guest listens, and which guest that is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listening {
    /// The supervising process.
    pub(crate) process: Process,
    /// Since when, on the host's monotonic clock.
    #[serde(default)]
    pub(crate) since_mono_ns: u64,
    /// What the caller is told.
    pub(crate) machine: Machine,
}

/// Why a guest ended, or that the key was released.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// When, in UTC nanoseconds.
    pub at_ns: u64,
    /// Why, in words.
    pub reason: String,
}

/// The folder of one machine.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    key: MachineKey,
}

/// A lock that is given back when dropped, or when every process that holds it is dead.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Folder {
    /// Names the folder of `key` below `dir` without touching the disk.
    pub fn new(dir: &Path, key: MachineKey) -> Folder {
        Folder {
            path: dir.join(key.to_string()),
            key,
        }
    }

    /// Takes the folder from its own path, as a guest is told it.
    pub(crate) fn at(path: &Path) -> Option<Folder> {
        let key = path.file_name()?.to_str()?.parse().ok()?;
        Some(Folder {
            path: path.to_owned(),
            key: MachineKey(key),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose it is.
    pub fn key(&self) -> MachineKey {
        self.key
    }

    /// A file or folder inside.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes the folder if it is not there. Others may pass through to a home, but see nothing.
    pub(crate) fn make(&self) -> Result<(), ProvisionError> {
        let io = ProvisionError::io("cannot make the machine's folder", &self.path);
        let mut builder = fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o711);
        builder.create(&self.path).map_err(io)
    }

    /// Reads what was asked, if anything was.
    pub fn intent(&self) -> Result<Option<Intent>, ProvisionError> {
        self.read("intent.json")
    }

    pub(crate) fn guest(&self) -> Result<Option<GuestRecord>, ProvisionError> {
        self.read("guest.json")
    }

    pub(crate) fn listening(&self) -> Result<Option<Listening>, ProvisionError> {
        self.read("machine.json")
    }

    /// Says when and why the last guest ended; none while one runs or when it was killed.
    pub fn ended(&self) -> Result<Option<Ending>, ProvisionError> {
        self.read("ended.json")
    }

    pub(crate) fn released(&self) -> Result<bool, ProvisionError> {
        Ok(self.read::<Ending>("released.json")?.is_some())
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, ProvisionError> {
        let path = self.file(name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(ProvisionError::io("cannot read", path)(e)),
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| ProvisionError::io("cannot make sense of", path)(e.into()))
    }

    /// Writes a file whole and durably: a reader sees the old one, the new one, or none.
    pub(crate) fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), ProvisionError> {
        let bytes = serde_json::to_vec(value)
            .map_err(|e| ProvisionError::io("cannot encode", self.file(name))(e.into()))?;
        self.write_bytes(name, &bytes)
    }

    pub(crate) fn write_bytes(&self, name: &str, bytes: &[u8]) -> Result<(), ProvisionError> {
        // The writer's number keeps two writers of one name apart.
        let draft = self.file(&format!("{name}.{}.draft", std::process::id()));
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&draft)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&draft, self.file(name))?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(ProvisionError::io("cannot write", self.file(name)))
    }

    pub(crate) fn remove(&self, name: &str) -> Result<(), ProvisionError> {
        match fs::remove_file(self.file(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(ProvisionError::io("cannot remove", self.file(name))(e))
            }
            _ => Ok(()),
        }
    }

    /// Removes drafts that a killed writer left; call with the lock that guards them.
    pub(crate) fn remove_drafts(&self) -> Result<(), ProvisionError> {
        let io = || ProvisionError::io("cannot list", &self.path);
        for entry in fs::read_dir(&self.path).map_err(io())? {
            let name = entry.map_err(io())?.file_name();
            let Some(name) = name.to_str().filter(|n| n.ends_with(".draft")) else {
                continue;
            };
            self.remove(name)?;
        }
        Ok(())
    }

    /// Hands on every heartbeat that the machine's guests ever wrote, in order.
    pub fn each_beat(&self, take: impl FnMut(Beat)) -> Result<(), ProvisionError> {
        let path = self.file("heartbeats");
        record::each_beat(&path, take).map_err(ProvisionError::io("cannot read", path))
    }

    /// The last heartbeat of all.
    pub(crate) fn last_beat(&self) -> Result<Option<Beat>, ProvisionError> {
        let path = self.file("heartbeats");
        record::last_beat(&path).map_err(ProvisionError::io("cannot read", path))
    }

    /// BLAKE3 of all heartbeats as they were written; none where there are none.
    pub(crate) fn digest(&self) -> Result<Option<[u8; 32]>, ProvisionError> {
        let path = self.file("heartbeats");
        record::digest(&path).map_err(ProvisionError::io("cannot read", path))
    }

    /// Whether any process holds the guest's lock; asking does not take it.
    pub(crate) fn guest_lives(&self) -> Result<bool, ProvisionError> {
        let path = self.file("lock");
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(ProvisionError::io("cannot open", path)(e)),
        };
        let mut description = whole_file(libc::F_WRLCK);
        fcntl(&file, FcntlArg::F_OFD_GETLK(&mut description))
            .map_err(|e| ProvisionError::io("cannot ask for the lock", path)(e.into()))?;
        Ok(i32::from(description.l_type) != libc::F_UNLCK)
    }

    /// Whether the file of a lock that is held is still the one in this folder: where the folder
    /// was lost, another guest could hold another.
    pub(crate) fn still_has(&self, lock: &Lock, name: &str) -> bool {
        let here = fs::metadata(self.file(name)).map(|it| (it.dev(), it.ino()));
        let held = lock.file.metadata().map(|it| (it.dev(), it.ino()));
        matches!((here, held), (Ok(here), Ok(held)) if here == held)
    }

    /// Takes a lock of this folder if it is free.
    pub(crate) fn try_lock(&self, name: &str) -> Result<Option<Lock>, ProvisionError> {
        let path = self.file(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(ProvisionError::io("cannot open", &path))?;
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_WRLCK))) {
            Ok(_) => Ok(Some(Lock { file })),
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EACCES) => Ok(None),
            Err(e) => Err(ProvisionError::io("cannot lock", path)(e.into())),
        }
    }
}

impl Lock {
    /// The locked file; a process that inherits its descriptor holds the lock as well.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for Lock {
    /// Lets go for good: a child that another thread has just forked must not keep the lock until
    /// it execs. A process that shares the lock with a child forgets it instead.
    fn drop(&mut self) {
        // Closing the file does the same, only later.
        let _ = fcntl(
            &self.file,
            FcntlArg::F_OFD_SETLK(&whole_file(libc::F_UNLCK)),
        );
    }
}

fn whole_file(kind: i32) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        // Must be zero for locks that belong to an open file and not to a process.
        l_pid: 0,
    }
}

/// The host's monotonic clock in nanoseconds: the same in all processes of one boot.
pub(crate) fn mono_ns() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC);
    let since_boot = time.map(Duration::from).unwrap_or_default();
    u64::try_from(since_boot.as_nanos()).unwrap_or(u64::MAX)
}

/// The host's clock in UTC nanoseconds; zero before 1970.
pub(crate) fn now_ns() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Bytes that nobody can guess.
///
/// # Errors
/// When the system has none to give.
pub(crate) fn random_bytes<const COUNT: usize>() -> io::Result<[u8; COUNT]> {
    let mut bytes = [0; COUNT];
    io::Read::read_exact(&mut File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_seen_without_being_taken_and_is_not_shared() {
        let dir = tempfile::tempdir().expect("temp dir");
        let folder = Folder::new(dir.path(), MachineKey(7));
        folder.make().expect("folder");
        assert!(!folder.guest_lives().expect("ask"));
        let held = folder.try_lock("lock").expect("lock").expect("free");
        assert!(folder.guest_lives().expect("ask"));
        assert!(folder.try_lock("lock").expect("lock").is_none());
        let copy = held.file().try_clone().expect("as a forked child has it");
        drop(held);
        assert!(
            !folder.guest_lives().expect("ask"),
            "a copy does not keep it"
        );
        drop(copy);
    }

    #[test]
    fn a_damaged_record_is_refused_by_name() {
        let dir = tempfile::tempdir().expect("temp dir");
        let folder = Folder::new(dir.path(), MachineKey(7));
        folder.make().expect("folder");
        assert!(folder.intent().expect("absent").is_none());
        fs::write(folder.file("intent.json"), b"{\"key\":7,").expect("write");
        let error = folder.intent().expect_err("damaged").to_string();
        assert!(error.contains("intent.json"), "{error}");
    }
}
