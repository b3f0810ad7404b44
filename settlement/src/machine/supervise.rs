//! Stands for a machine on its host: holds its lock, starts process 1 inside, keeps its records,
//! and ends it when asked, when the window ends, or when process 1 does.
//!
//! Started by `launch`; nobody's child, in a session of its own, with one thread.
//!
//! Always holds: it does nothing before it holds the lock; it records its cgroups before it makes
//! them; when it is gone, so is everything it started.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::mem::ManuallyDrop;
use std::net::SocketAddrV4;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, setsid};
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{HashAlg, PrivateKey};

use crate::provision::cgroup::{self, Remains};
use crate::provision::kill::{MARK, kill_descendants, kill_marked};
use crate::provision::{
    Beat, Ending, Folder, GuestRecord, Intent, Isolation, Limits, Listening, Lock, Machine,
    Process, mono_ns, now_ns, random_bytes, sweep,
};

use super::launch::LOCKED;
use super::namespaces::{self, Had};
use super::report::{Orders, Report};
use super::{OWN_PROGRAM, SUBCOMMAND, code};

/// How long a supervisor tries to get the lock before it believes that another has it.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
/// Longest time between two looks at the clock.
const LOOK: Duration = Duration::from_millis(200);
/// How long after the end of the window the last beat may come, in nanoseconds.
const LAST_BEAT_WAIT_NS: u64 = 500_000_000;
/// How long process 1 has to say goodbye to the buyer's processes.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long the kernel has to take away what was killed.
const BURIAL: Duration = Duration::from_secs(5);
/// Longest line that process 1 may say.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Stands for the machine in folder `path` until it ends.
pub(super) fn run(path: &Path) -> anyhow::Result<ExitCode> {
    setsid().context("cannot lead a session")?;
    let folder = Folder::at(path).context("the folder's name is no key")?;
    let Some(lock) = take_lock(&folder)? else {
        return Ok(ExitCode::from(code::NOT_NEEDED));
    };
    let lock = ManuallyDrop::new(lock);
    let intent = folder
        .intent()?
        .context("nothing was asked for in this folder")?;
    // Under the lock: whoever releases the key writes the tombstone first and then waits for it.
    if folder.released()? || now_ns() >= intent.spec.window_end_ns {
        return Ok(ExitCode::from(code::NOT_NEEDED));
    }
    say_locked()?;
    let former = folder.listening()?.map(|l| l.machine.address);
    sweep(&folder, &intent.nonce)?;
    folder.remove("ended.json")?;
    let signals = SignalFd::with_flags(&watched()?, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .context("cannot watch for signals")?;
    prctl::set_child_subreaper(true).context("cannot adopt orphans")?;
    let process = Process::current().context("cannot name this process")?;
    let (cgroups, limits, note) = make_cgroups(&folder, &intent, &process)?;
    let mut had = namespaces::open_for_child();
    had.notes.extend(note);
    let host_key = host_key(&folder)?;
    let orders = orders(&folder, &intent, &host_key, former, &cgroups, limits, &had)?;
    let child = start_inside(&lock, &orders)?;
    let mut guest = Guest {
        fingerprint: fingerprint(&host_key)?,
        heartbeats: open_heartbeats(&folder)?,
        folder,
        lock,
        intent,
        process,
        cgroups,
        limits,
        notes: had.notes,
        child,
        unread: Vec::new(),
    };
    let reason = guest.watch(&signals);
    guest.end(&reason)
}

fn take_lock(folder: &Folder) -> anyhow::Result<Option<Lock>> {
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        if let Some(lock) = folder.try_lock("lock")? {
            return Ok(Some(lock));
        }
        if Instant::now() >= until {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Tells the launcher that the lock is held, and lets go of it.
fn say_locked() -> anyhow::Result<()> {
    let mut out = io::stdout();
    // A launcher that is gone need not know.
    let _ = out.write_all(&[LOCKED]).and_then(|()| out.flush());
    let null = OpenOptions::new()
        .write(true)
        .open("/dev/null")
        .context("cannot open /dev/null")?;
    nix::unistd::dup2_stdout(null).context("cannot let go of the launcher")
}

fn watched() -> anyhow::Result<SigSet> {
    let mut signals = SigSet::empty();
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGCHLD,
    ] {
        signals.add(signal);
    }
    signals.thread_block().context("cannot hold back signals")?;
    Ok(signals)
}

/// Makes the machine's cgroups, or says why it has none; either way on record first.
fn make_cgroups(
    folder: &Folder,
    intent: &Intent,
    process: &Process,
) -> anyhow::Result<(Vec<std::path::PathBuf>, Limits, Option<String>)> {
    let plan = cgroup::plan(intent.cgroup_parent.as_deref(), &intent.nonce)
        .context("cannot look for cgroups")?;
    let cgroups = plan.as_ref().map(|p| p.folders.clone()).unwrap_or_default();
    folder.write(
        "guest.json",
        &GuestRecord {
            process: process.clone(),
            cgroups: cgroups.clone(),
        },
    )?;
    let refused = match &plan {
        None => String::from("no cgroup hierarchy with processor and memory controllers"),
        Some(plan) => match cgroup::make(plan, &intent.spec) {
            Ok(()) => return Ok((cgroups, plan.version, None)),
            Err(e) => format!("cgroups cannot be made: {e}"),
        },
    };
    Ok((Vec::new(), Limits::Rlimits, Some(refused)))
}

/// The machine's host key, the same for every run of it.
fn host_key(folder: &Folder) -> anyhow::Result<PrivateKey> {
    match fs::read_to_string(folder.file("host_key")) {
        Ok(text) => return PrivateKey::from_openssh(text).context("the host key is damaged"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        // The buyer was told its fingerprint: another one must not take its place.
        Err(error) => return Err(error).context("the host key cannot be read"),
    }
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&random_bytes()?));
    let text = key
        .to_openssh(LineEnding::LF)
        .context("cannot write the host key")?;
    folder.write_bytes("host_key", text.as_bytes())?;
    Ok(key)
}

fn fingerprint(key: &PrivateKey) -> anyhow::Result<[u8; 32]> {
    key.public_key()
        .fingerprint(HashAlg::Sha256)
        .sha256()
        .context("no SHA-256 fingerprint")
}

fn orders(
    folder: &Folder,
    intent: &Intent,
    host_key: &PrivateKey,
    former: Option<SocketAddrV4>,
    cgroups: &[std::path::PathBuf],
    limits: Limits,
    had: &Had,
) -> anyhow::Result<Orders> {
    for name in ["root", "home"] {
        match fs::create_dir(folder.file(name)) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(e).with_context(|| format!("cannot make {name}"));
            }
            _ => {}
        }
    }
    Ok(Orders {
        intent: intent.clone(),
        host_key: host_key
            .to_openssh(LineEnding::LF)
            .context("no host key")?
            .to_string(),
        // A buyer who knows the old address finds the machine there again, if it is still free.
        addresses: former
            .filter(|_| intent.bind.port() == 0)
            .into_iter()
            .chain([intent.bind])
            .collect(),
        cgroups: cgroups.to_vec(),
        limits,
        namespaces: had.namespaces.clone(),
        root: folder.file("root"),
        home: folder.file("home"),
    })
}

fn start_inside(lock: &Lock, orders: &Orders) -> anyhow::Result<Child> {
    // Process 1 inherits the lock: it is held until both are gone.
    fcntl(lock.file(), FcntlArg::F_SETFD(FdFlag::empty())).context("cannot hand down the lock")?;
    let mut child = Command::new(OWN_PROGRAM)
        .args([SUBCOMMAND, "inside", &lock.file().as_raw_fd().to_string()])
        .env_clear()
        .env(MARK, &orders.intent.nonce)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start process 1")?;
    let mut line = serde_json::to_vec(orders).context("cannot write the orders")?;
    line.push(b'\n');
    let control = child.stdin.as_mut().context("no control pipe")?;
    control
        .write_all(&line)
        .context("process 1 takes no orders")?;
    let reports = child.stdout.as_ref().context("no report pipe")?;
    let flags = OFlag::from_bits_retain(fcntl(reports, FcntlArg::F_GETFL)?);
    fcntl(reports, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(child)
}

fn open_heartbeats(folder: &Folder) -> anyhow::Result<File> {
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(folder.file("heartbeats"))
        .context("cannot open the heartbeats")?;
    // A predecessor may have been killed in the middle of a line.
    file.write_all(b"\n")
        .context("cannot write the heartbeats")?;
    Ok(file)
}

/// A machine that runs.
struct Guest {
    folder: Folder,
    /// Never let go of, only lost by dying: process 1 shares it and may die later.
    lock: ManuallyDrop<Lock>,
    intent: Intent,
    process: Process,
    cgroups: Vec<std::path::PathBuf>,
    limits: Limits,
    notes: Vec<String>,
    fingerprint: [u8; 32],
    heartbeats: File,
    child: Child,
    unread: Vec<u8>,
}

impl Guest {
    /// Watches until there is a reason to end, and names it.
    fn watch(&mut self, signals: &SignalFd) -> String {
        loop {
            let window_end_ns = self.intent.spec.window_end_ns;
            let last_beat_due_ns = window_end_ns.saturating_add(LAST_BEAT_WAIT_NS);
            let left = last_beat_due_ns.saturating_sub(now_ns());
            if left == 0 {
                return "the window has ended".into();
            }
            if !self.folder.still_has(&self.lock, "lock") {
                return "its folder is gone, and another machine may take its place".into();
            }
            match self.turn(signals, LOOK.min(Duration::from_nanos(left))) {
                Ok(None) => {}
                // Process 1 ends by itself after the last beat.
                Ok(Some(_)) if now_ns() >= window_end_ns => return "the window has ended".into(),
                Ok(Some(reason)) => return reason,
                Err(e) => return format!("{e:#}"),
            }
        }
    }

    fn turn(&mut self, signals: &SignalFd, wait: Duration) -> anyhow::Result<Option<String>> {
        let reports = self.child.stdout.as_ref().context("no report pipe")?;
        let mut ready = [
            PollFd::new(reports.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        let wait = u16::try_from(wait.as_millis()).unwrap_or(u16::MAX).max(1);
        match poll(&mut ready, PollTimeout::from(wait)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(e) => return Err(e).context("cannot wait"),
        }
        while let Some(signal) = signals.read_signal().context("cannot read a signal")? {
            if signal.ssi_signo != Signal::SIGCHLD as u32 {
                return Ok(Some("asked to end".into()));
            }
            bury();
        }
        self.read_reports()
    }

    fn read_reports(&mut self) -> anyhow::Result<Option<String>> {
        let mut buffer = [0u8; 4096];
        loop {
            let reports = self.child.stdout.as_mut().context("no report pipe")?;
            match reports.read(&mut buffer) {
                Ok(0) => return Ok(Some("process 1 has ended".into())),
                Ok(count) => self.unread.extend_from_slice(&buffer[..count]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e).context("cannot read reports"),
            }
            while let Some(end) = self.unread.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                self.on_report(serde_json::from_slice(&line).context("a report makes no sense")?)?;
            }
            anyhow::ensure!(self.unread.len() <= LINE_BYTES_MAX, "a report has no end");
        }
    }

    fn on_report(&mut self, report: Report) -> anyhow::Result<()> {
        match report {
            Report::Listening {
                address,
                namespaces,
                own_root,
                notes,
            } => {
                let notes = self.notes.iter().cloned().chain(notes).collect();
                let isolation = Isolation {
                    namespaces,
                    own_root,
                    limits: self.limits,
                    notes,
                };
                let machine = Machine {
                    key: self.intent.key,
                    address,
                    host_key_fingerprint: self.fingerprint,
                    pid: self.process.pid,
                    started_ns: now_ns(),
                    isolation,
                };
                let listening = Listening {
                    process: self.process.clone(),
                    since_mono_ns: mono_ns(),
                    machine,
                };
                self.folder.write("machine.json", &listening)?;
            }
            Report::Beat {
                at_ns,
                mono_ns,
                work_done,
                probe_wall_ns,
                probe_cpu_ns,
            } => {
                let cpu_used_ns = self.cpu_used_ns();
                let beat = Beat {
                    at_ns,
                    mono_ns,
                    work_done,
                    probe_wall_ns,
                    probe_cpu_ns,
                    cpu_used_ns,
                };
                self.heartbeats
                    .write_all(beat.line().as_bytes())
                    .context("cannot write a beat")?;
            }
        }
        Ok(())
    }

    fn cpu_used_ns(&self) -> u64 {
        let bounded = cgroup::usage(&self.cgroups).map(|u| u.cpu_used_ns);
        let counted = || crate::provision::usage_of_tree(self.process.pid).map(|u| u.cpu_used_ns);
        bounded.or_else(|| counted().ok()).unwrap_or(0)
    }

    /// Ends everything that was started, and records why.
    fn end(mut self, reason: &str) -> anyhow::Result<ExitCode> {
        // The closed pipe asks process 1 to say goodbye.
        drop(self.child.stdin.take());
        let pid = Pid::from_raw(i32::try_from(self.child.id()).context("no such process")?);
        let gone = |_: &nix::sys::wait::WaitStatus| true;
        let until = Instant::now() + FAREWELL;
        let mut left = true;
        while left && Instant::now() < until {
            left = match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(nix::sys::wait::WaitStatus::StillAlive) => true,
                Ok(status) => !gone(&status),
                Err(_) => false,
            };
            if left {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        if left {
            // It is our child and not yet waited for, so the number is still its own.
            let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
        }
        let until = Instant::now() + BURIAL;
        while !self.nothing_left()? {
            anyhow::ensure!(
                Instant::now() < until,
                "{reason}; something outlives SIGKILL"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        self.folder.write(
            "ended.json",
            &Ending {
                at_ns: now_ns(),
                reason: reason.into(),
            },
        )?;
        Ok(ExitCode::from(code::STARTED))
    }

    fn nothing_left(&self) -> anyhow::Result<bool> {
        bury();
        let marked = kill_marked(&self.intent.nonce).context("cannot look for processes")?;
        // Those too that have thrown the mark away: orphans are adopted by this process.
        let own = kill_descendants(self.process.pid).context("cannot look for processes")?;
        let cgroups = cgroup::remove(&self.cgroups, &self.intent.nonce)
            .context("cannot remove the cgroups")?;
        Ok(marked == 0 && own == 0 && cgroups == Remains::None)
    }
}

/// Takes away children that have ended, adopted ones too.
fn bury() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == nix::sys::wait::WaitStatus::StillAlive {
            return;
        }
    }
}
