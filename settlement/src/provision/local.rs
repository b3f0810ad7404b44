//! The built-in provider: delivers isolated workloads on the host it runs on.
//!
//! Called by the settler, from any number of processes at once.
//!
//! Always holds: the intent is on disk before anything is started; the guest's own lock, not the
//! provider's records, decides whether there is a guest, so a provider that is killed between any
//! two steps leaves either nothing or a machine that the next call finds.
//! Does not: watch machines; a machine that dies before its window ends comes up again when it is
//! provisioned again, with the same host key.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::cgroup;
use super::folder::{Ending, Folder, Intent, Lock, Network, mono_ns, now_ns, random_bytes};
use super::kill::kill_marked;
use super::metering::{Beat, Meter, MeteringRule};
use super::process::{TreeUsage, usage_of_tree};
use super::removal::{remove_tree, sweep};
use super::{
    LeastIsolation, Machine, MachineKey, MachineSpec, Measurement, ProvisionError, Provisioner,
    SUBCOMMAND,
};

/// How long to sleep between two looks at a file that another process writes.
const LOOK: Duration = Duration::from_millis(2);
/// How long a guest has to end well before it is killed.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long an SSH server may take to greet.
const GREETING: Duration = Duration::from_millis(500);
/// Each machine's user id is the base plus its key modulo this.
const UID_RANGE: u64 = 50_000;
/// Exit code of a launcher whose machine needs no new guest.
const NOT_NEEDED: i32 = 3;
/// Beats that must be missing, however short their period, before a machine is taken for dead.
const SILENT_PERIODS_MIN: u32 = 10;
/// Launches in one call before giving up, when others keep taking the lock.
const LAUNCHES_MAX: u32 = 3;

/// Where and how the built-in provider works.
#[derive(Clone, Debug)]
pub struct LocalConfig {
    /// One folder for each machine is made here.
    pub dir: PathBuf,
    /// A program that offers the guest's subcommand; it must be executable by everybody.
    pub executable: PathBuf,
    /// Where machines listen; port 0 lets the system choose.
    pub bind: SocketAddrV4,
    /// Which network machines are in.
    pub network: Network,
    /// The cgroup below which machines' groups are made; none means this process's own.
    pub cgroup_parent: Option<PathBuf>,
    /// Without what isolation no machine is started.
    pub least_isolation: LeastIsolation,
    /// First of the user ids that machines run as, when this process is root.
    pub uid_base: u32,
    /// How long a machine may take to come up.
    pub start_wait: Duration,
    /// How long a machine may take to go away.
    pub stop_wait: Duration,
    /// Time between two heartbeats of a machine.
    pub beat_period: Duration,
    /// How long a machine may go without a heartbeat before it is taken for dead.
    pub silence_max: Duration,
    /// The least part of the promised share without which time is not verified, in parts per
    /// million.
    pub share_floor_ppm: u32,
}

impl LocalConfig {
    /// The defaults: loopback, any port, own network, a beat a second.
    pub fn new(dir: impl Into<PathBuf>, executable: impl Into<PathBuf>) -> LocalConfig {
        LocalConfig {
            dir: dir.into(),
            executable: executable.into(),
            bind: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0),
            network: Network::Own,
            cgroup_parent: None,
            least_isolation: LeastIsolation::default(),
            uid_base: 200_000,
            start_wait: Duration::from_secs(15),
            stop_wait: Duration::from_secs(15),
            beat_period: Duration::from_secs(1),
            silence_max: Duration::from_secs(15),
            share_floor_ppm: 0,
        }
    }
}

/// The built-in provider.
#[derive(Debug)]
pub struct LocalProvider {
    config: LocalConfig,
}

impl LocalProvider {
    /// Opens the provider, making its folder if it is not there.
    ///
    /// # Errors
    /// When the folder cannot be made, or the program is not there.
    pub fn open(mut config: LocalConfig) -> Result<LocalProvider, ProvisionError> {
        fs::create_dir_all(&config.dir).map_err(ProvisionError::io(
            "cannot make the provider's folder",
            &config.dir,
        ))?;
        // Guests work elsewhere, so both must be named in full.
        for path in [&mut config.dir, &mut config.executable] {
            *path = fs::canonicalize(&path)
                .map_err(ProvisionError::io("cannot find", path.as_path()))?;
        }
        Ok(LocalProvider { config })
    }

    /// The folder of a machine, whether it exists or not.
    pub fn folder(&self, key: MachineKey) -> Folder {
        Folder::new(&self.config.dir, key)
    }

    /// By what rule the beats of a machine are counted.
    pub fn rule(&self, intent: &Intent) -> MeteringRule {
        MeteringRule {
            window_start_ns: intent.spec.window_start_ns,
            window_end_ns: intent.spec.window_end_ns,
            interval_max_ns: intent.beat_period_ns.saturating_mul(2),
            cpu_share: intent.spec.cpu_share,
            share_floor_ppm: self.config.share_floor_ppm,
        }
    }

    /// All heartbeats of a machine, also after it has ended.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn beats(&self, key: MachineKey) -> Result<Vec<Beat>, ProvisionError> {
        let mut beats = Vec::new();
        self.folder(key).each_beat(|beat| beats.push(beat))?;
        Ok(beats)
    }

    /// Whether a machine that is up has shown no sign of life for too long, in its window or before.
    fn silent(&self, folder: &Folder, intent: &Intent) -> Result<bool, ProvisionError> {
        let Some(listening) = folder.listening()? else {
            return Ok(false);
        };
        if now_ns() >= intent.spec.window_end_ns || listening.since_mono_ns == 0 {
            return Ok(false);
        }
        let last = folder.last_beat()?.map_or(0, |beat| beat.mono_ns);
        // Beats of an earlier boot say nothing about this one, nor do those of an earlier run.
        let own = last <= mono_ns();
        let last = last.max(listening.since_mono_ns);
        let last = if own { last } else { listening.since_mono_ns };
        let period = Duration::from_nanos(intent.beat_period_ns);
        let longest = self.config.silence_max.max(period * SILENT_PERIODS_MIN);
        Ok(Duration::from_nanos(mono_ns().saturating_sub(last)) > longest)
    }

    /// Ends a guest that lives and does nothing. A host that stood still for a while is given time
    /// to show that its machines go on.
    fn end_if_silent(&self, folder: &Folder, intent: &Intent) -> Result<(), ProvisionError> {
        let until = Instant::now() + Duration::from_nanos(intent.beat_period_ns) * 3;
        while up(folder)?.is_some() && self.silent(folder, intent)? {
            if Instant::now() >= until {
                return self.end(folder, Some(&intent.nonce)).map(drop);
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// The machine, if it is up and shows that it is.
    fn lively(&self, folder: &Folder) -> Result<Option<Machine>, ProvisionError> {
        let (machine, intent) = (up(folder)?, folder.intent()?);
        match (machine, intent) {
            (Some(machine), Some(intent)) if !self.silent(folder, &intent)? => Ok(Some(machine)),
            _ => Ok(None),
        }
    }

    fn lock_caller(&self, folder: &Folder) -> Result<Lock, ProvisionError> {
        let until = Instant::now() + self.config.start_wait + self.config.stop_wait;
        loop {
            if let Some(lock) = folder.try_lock("caller.lock")? {
                return Ok(lock);
            }
            if Instant::now() >= until {
                return Err(ProvisionError::Busy { key: folder.key() });
            }
            std::thread::sleep(LOOK);
        }
    }

    fn intend(&self, folder: &Folder, spec: &MachineSpec) -> Result<Intent, ProvisionError> {
        let key = folder.key();
        if folder.released()? {
            return Err(ProvisionError::Released { key });
        }
        let known = folder.intent()?;
        if known.as_ref().is_some_and(|i| i.spec != *spec) {
            return Err(ProvisionError::SpecConflict { key });
        }
        if now_ns() >= spec.window_end_ns {
            return Err(ProvisionError::WindowOver {
                key,
                window_end_ns: spec.window_end_ns,
            });
        }
        if let Some(mut intent) = known {
            // The operator's present wish: a new demand, or leave given, holds from the next start.
            if intent.least_isolation != self.config.least_isolation {
                intent.least_isolation = self.config.least_isolation;
                folder.write("intent.json", &intent)?;
            }
            return Ok(intent);
        }
        let offset = u32::try_from(key.0 % UID_RANGE).unwrap_or(0);
        let intent = Intent {
            key,
            spec: spec.clone(),
            nonce: nonce()?,
            bind: self.config.bind,
            network: self.config.network,
            cgroup_parent: self.config.cgroup_parent.clone(),
            uid: self.config.uid_base.saturating_add(offset),
            beat_period_ns: u64::try_from(self.config.beat_period.as_nanos()).unwrap_or(u64::MAX),
            least_isolation: self.config.least_isolation,
        };
        folder.write("intent.json", &intent)?;
        Ok(intent)
    }

    /// Waits for a guest that listens, starting one whenever none is alive.
    fn bring_up(&self, folder: &Folder, intent: &Intent) -> Result<Machine, ProvisionError> {
        let until = Instant::now() + self.config.start_wait;
        let (key, window_end_ns) = (intent.key, intent.spec.window_end_ns);
        let mut launches = 0;
        let mut came_up = false;
        loop {
            // A guest whose process 1 has just died still looks up; it does not greet.
            if let Some(machine) = up(folder)?.filter(|m| greets(m.address)) {
                return Ok(machine);
            }
            if now_ns() >= window_end_ns {
                return Err(ProvisionError::WindowOver { key, window_end_ns });
            }
            if Instant::now() >= until {
                return Err(self.failed(folder, "it did not listen in time"));
            }
            if folder.guest_lives()? {
                std::thread::sleep(LOOK);
                continue;
            }
            if came_up || launches == LAUNCHES_MAX {
                return Err(self.failed(folder, "it ended before it listened"));
            }
            launches += 1;
            came_up = self.launch(folder)?;
        }
    }

    /// Starts a guest; false when it found that it was not needed.
    fn launch(&self, folder: &Folder) -> Result<bool, ProvisionError> {
        let path = folder.file("log");
        let log = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(ProvisionError::io("cannot open", path))?;
        let program = &self.config.executable;
        let status = Command::new(program)
            .args([SUBCOMMAND, "launch"])
            .arg(folder.path())
            // What the caller's environment holds is none of the machine's business.
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .status()
            .map_err(ProvisionError::io("cannot run", program))?;
        match status.code() {
            Some(0) => Ok(true),
            Some(NOT_NEEDED) => Ok(false),
            _ => Err(self.failed(folder, "its launcher failed")),
        }
    }

    fn failed(&self, folder: &Folder, what: &str) -> ProvisionError {
        let log = folder.file("log");
        let text = fs::read_to_string(&log).unwrap_or_default();
        let last = text.lines().last().unwrap_or("nothing in its log");
        ProvisionError::GuestFailed {
            key: folder.key(),
            reason: format!("{what}: {last}"),
            log,
        }
    }

    /// Ends the guest and returns its lock, which from then on nobody else can hold.
    fn end(&self, folder: &Folder, nonce: Option<&str>) -> Result<Lock, ProvisionError> {
        let begun = Instant::now();
        let mut asked = false;
        loop {
            if let Some(lock) = folder.try_lock("lock")? {
                return Ok(lock);
            }
            let waited = begun.elapsed();
            if waited >= self.config.stop_wait {
                return Err(ProvisionError::WillNotDie { key: folder.key() });
            }
            let io = || ProvisionError::io("cannot signal the guest of", folder.path());
            if waited >= FAREWELL
                && let Some(nonce) = nonce
            {
                kill_marked(nonce).map_err(io())?;
            }
            // None yet: a guest that has the lock has not written its name, or will see the
            // tombstone and go.
            if let Some(guest) = folder.guest()? {
                if waited >= FAREWELL {
                    guest.process.signal(Signal::SIGKILL).map_err(io())?;
                } else if !asked {
                    asked = true;
                    guest.process.signal(Signal::SIGTERM).map_err(io())?;
                }
            }
            std::thread::sleep(LOOK);
        }
    }
}

impl Provisioner for LocalProvider {
    fn provision(
        &mut self,
        key: MachineKey,
        spec: &MachineSpec,
    ) -> Result<Machine, ProvisionError> {
        spec.check()?;
        let folder = self.folder(key);
        folder.make()?;
        let _lock = self.lock_caller(&folder)?;
        let intent = self.intend(&folder, spec)?;
        self.end_if_silent(&folder, &intent)?;
        self.bring_up(&folder, &intent)
    }

    fn asked(&mut self, key: MachineKey) -> Result<Option<MachineSpec>, ProvisionError> {
        Ok(self.folder(key).intent()?.map(|intent| intent.spec))
    }

    fn inspect(&mut self, key: MachineKey) -> Result<Option<Machine>, ProvisionError> {
        self.lively(&self.folder(key))
    }

    fn measure(&mut self, key: MachineKey) -> Result<Measurement, ProvisionError> {
        let folder = self.folder(key);
        let Some(intent) = folder.intent()? else {
            return Err(ProvisionError::Unknown { key });
        };
        let machine = self.lively(&folder)?;
        let mut meter = Meter::new(self.rule(&intent));
        folder.each_beat(|beat| meter.take(beat))?;
        let usage = match &machine {
            Some(machine) => usage(&folder, machine)?,
            None => TreeUsage::default(),
        };
        // A machine that has ended has used what its last beat says.
        let last_ns = meter.last().map_or(0, |beat| beat.cpu_used_ns);
        Ok(Measurement {
            at_ns: now_ns(),
            alive: machine.is_some(),
            ssh_banner_ok: machine.as_ref().is_some_and(|m| greets(m.address)),
            cpu_used_ns: usage.cpu_used_ns.max(last_ns),
            memory_bytes: usage.memory_bytes,
            verified_share_ppm: match machine.is_some() {
                true => meter.recent_share_ppm(),
                false => 0,
            },
            verified_ns: meter.verified().verified_ns,
        })
    }

    fn record_digest(&mut self, key: MachineKey) -> Result<Option<[u8; 32]>, ProvisionError> {
        self.folder(key).digest()
    }

    fn release(&mut self, key: MachineKey) -> Result<(), ProvisionError> {
        let folder = self.folder(key);
        folder.make()?;
        let _caller = self.lock_caller(&folder)?;
        // First of all: from here on no guest that comes late stays.
        if !folder.released()? {
            let tombstone = Ending {
                at_ns: now_ns(),
                reason: "released".into(),
            };
            folder.write("released.json", &tombstone)?;
        }
        let nonce = folder.intent()?.map(|i| i.nonce);
        let _guest = self.end(&folder, nonce.as_deref())?;
        if let Some(nonce) = nonce {
            sweep(&folder, &nonce)?;
        }
        // The host key is a secret that nobody needs any more.
        for name in ["host_key", "machine.json", "guest.json"] {
            folder.remove(name)?;
        }
        folder.remove_drafts()?;
        for name in ["root", "home"] {
            let path = folder.file(name);
            remove_tree(&path).map_err(ProvisionError::io("cannot remove", &path))?;
        }
        Ok(())
    }

    fn list(&mut self) -> Result<Vec<MachineKey>, ProvisionError> {
        let io = || ProvisionError::io("cannot list", &self.config.dir);
        let mut keys = Vec::new();
        for entry in fs::read_dir(&self.config.dir).map_err(io())? {
            let path = entry.map_err(io())?.path();
            // What is no folder is none of ours, whatever it is called.
            let Some(folder) = Folder::at(&path).filter(|_| path.is_dir()) else {
                continue;
            };
            if folder.guest_lives()? {
                keys.push(folder.key());
            }
        }
        keys.sort_unstable();
        Ok(keys)
    }
}

/// The machine, if the guest that holds the lock is the one that wrote that it listens.
fn up(folder: &Folder) -> Result<Option<Machine>, ProvisionError> {
    if !folder.guest_lives()? {
        return Ok(None);
    }
    let (Some(guest), Some(listening)) = (folder.guest()?, folder.listening()?) else {
        return Ok(None);
    };
    let io = ProvisionError::io("cannot look at the guest of", folder.path());
    let same = guest.process == listening.process && guest.process.alive().map_err(io)?;
    Ok(same.then_some(listening.machine))
}

fn usage(folder: &Folder, machine: &Machine) -> Result<TreeUsage, ProvisionError> {
    let cgroups = folder.guest()?.map(|g| g.cgroups).unwrap_or_default();
    if let Some(used) = cgroup::usage(&cgroups) {
        return Ok(TreeUsage {
            cpu_used_ns: used.cpu_used_ns,
            memory_bytes: used.memory_bytes,
        });
    }
    usage_of_tree(machine.pid).map_err(ProvisionError::io(
        "cannot look at the processes of",
        folder.path(),
    ))
}

/// Whether an SSH server answers at `address`.
fn greets(address: SocketAddrV4) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&address.into(), GREETING) else {
        return false;
    };
    let mut greeting = [0u8; 8];
    stream.set_read_timeout(Some(GREETING)).is_ok()
        && stream.read_exact(&mut greeting).is_ok()
        && greeting == *b"SSH-2.0-"
}

fn nonce() -> Result<String, ProvisionError> {
    let bytes: [u8; 16] =
        random_bytes().map_err(ProvisionError::io("cannot read", "/dev/urandom"))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stray_file_among_the_machines_is_passed_over() {
        let dir = tempfile::tempdir().expect("temp dir");
        fs::write(dir.path().join("5"), b"").expect("stray");
        fs::create_dir(dir.path().join("6")).expect("folder");
        let mut provider =
            LocalProvider::open(LocalConfig::new(dir.path(), "/bin/true")).expect("provider");
        assert_eq!(provider.list().expect("list"), []);
    }
}
