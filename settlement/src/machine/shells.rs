//! Starts the processes of logins and waits for every child of process 1, adopted orphans too.
//!
//! Used by the SSH server, from several tasks.
//!
//! Always holds: one thread reaps everything, and it cannot reap a child before whoever started
//! it has said that he wants to know.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{SigHandler, Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use tokio::sync::oneshot;

use crate::provision::cgroup::Door;

use super::root::{USER, login_shell};
use super::session::Talk;
use super::{OWN_PROGRAM, SUBCOMMAND};

/// What the kernel keeps of a login's input; it counts as memory of process 1.
pub(super) const INPUT_PIPE_BYTES: usize = 16 << 10;

/// What every shell of this machine is given.
#[derive(Clone, Debug)]
pub(super) struct ShellRules {
    /// Where it starts.
    pub(super) home: PathBuf,
    /// The machine's name.
    pub(super) label: String,
    /// A bound on each process's memory, where the machine has none as a whole.
    pub(super) memory_limit: Option<u64>,
    /// The way into the bounds of the buyer's processes, where they have some of their own.
    pub(super) group: Option<Arc<Door>>,
}

/// How a login ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(Signal),
}

/// A login that runs.
pub(super) struct Shell {
    pid: Pid,
    /// Told once when it ends.
    pub(super) ended: oneshot::Receiver<Ended>,
}

impl Shell {
    /// Signals the shell and the jobs in its group, unless it has ended: only then can its number
    /// belong to somebody else.
    pub(super) fn signal(&mut self, signal: Signal) {
        if matches!(
            self.ended.try_recv(),
            Err(oneshot::error::TryRecvError::Empty)
        ) {
            // One that does not lead its group yet is alone; one that has just ended is no error.
            if killpg(self.pid, signal).is_err() {
                let _ = kill(self.pid, signal);
            }
        }
    }
}

/// Lets every signal do what it does by itself: whoever started the machine may have ignored some, and
/// programs inherit that.
fn heed_signals() -> io::Result<()> {
    for signal in Signal::iterator() {
        if !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP) {
            // SAFETY: no handler is set.
            unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }?;
        }
    }
    Ok(())
}

/// The ends of a login's three pipes that stay with the server.
pub(super) struct Pipes {
    pub(super) input: OwnedFd,
    pub(super) output: OwnedFd,
    pub(super) errors: OwnedFd,
}

#[derive(Default)]
struct Waiting {
    /// Who is to be told, by process number.
    by_pid: HashMap<i32, oneshot::Sender<Ended>>,
    /// Whether a child was started since the reaper last found none.
    started: bool,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

/// All logins of the machine.
pub(super) struct Shells {
    rules: ShellRules,
    shared: Arc<Shared>,
}

impl Shells {
    /// Starts the reaper.
    pub(super) fn start(rules: ShellRules) -> anyhow::Result<Shells> {
        let shared = Arc::new(Shared::default());
        let reaper = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("reaper".into())
            .spawn(move || reap(&reaper))
            .context("cannot start the reaper")?;
        Ok(Shells { rules, shared })
    }

    /// Starts a login on a new terminal; returns the server's end of it.
    pub(super) fn on_terminal(
        &self,
        command: Option<&[u8]>,
        kind: &str,
        size: &Winsize,
    ) -> anyhow::Result<(Shell, OwnedFd)> {
        let OpenptyResult { master, slave } =
            openpty(size, None).context("cannot open a terminal")?;
        // The shell must not inherit the server's end, or it would never see a hangup.
        close_on_exec(&master)?;
        close_on_exec(&slave)?;
        let slave = File::from(slave);
        let mut start = self.command(Talk::Terminal, command);
        start
            .env("TERM", kind)
            .stdin(slave.try_clone().context("cannot share the terminal")?)
            .stdout(slave.try_clone().context("cannot share the terminal")?)
            .stderr(slave);
        let (shell, _) = self.spawn(start)?;
        Ok((shell, master))
    }

    /// Starts a login on three pipes.
    pub(super) fn on_pipes(&self, command: Option<&[u8]>) -> anyhow::Result<(Shell, Pipes)> {
        let mut start = self.command(Talk::Pipes, command);
        start
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let (shell, child) = self.spawn(start)?;
        let (Some(input), Some(output), Some(errors)) = (child.stdin, child.stdout, child.stderr)
        else {
            anyhow::bail!("the pipes were not made");
        };
        let input = OwnedFd::from(input);
        let bytes = i32::try_from(INPUT_PIPE_BYTES).context("no such size")?;
        fcntl(&input, FcntlArg::F_SETPIPE_SZ(bytes)).context("cannot bound the input")?;
        let pipes = Pipes {
            input,
            output: output.into(),
            errors: errors.into(),
        };
        Ok((shell, pipes))
    }

    fn command(&self, talk: Talk, command: Option<&[u8]>) -> Command {
        let mut start = Command::new(OWN_PROGRAM);
        let memory = self.rules.memory_limit.unwrap_or(0).to_string();
        start.args([SUBCOMMAND, "session", talk.name(), &memory]);
        start.args(command.map(std::ffi::OsStr::from_bytes));
        let mark = std::env::var_os(crate::provision::kill::MARK).unwrap_or_default();
        start
            .env_clear()
            .env(crate::provision::kill::MARK, mark)
            .env("HOME", &self.rules.home)
            .env("USER", USER)
            .env("LOGNAME", USER)
            .env("SHELL", login_shell())
            .env("HOSTNAME", &self.rules.label)
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .current_dir(&self.rules.home);
        // SAFETY: between fork and exec the child only sets what signals do.
        unsafe { start.pre_exec(heed_signals) };
        if let Some(group) = &self.rules.group {
            let group = Arc::clone(group);
            // SAFETY: between fork and exec the child only writes to descriptors that this process
            // holds open; it takes no lock and no memory.
            unsafe { start.pre_exec(move || group.enter()) };
        }
        start
    }

    fn spawn(&self, mut start: Command) -> anyhow::Result<(Shell, std::process::Child)> {
        let mut waiting = lock(&self.shared);
        let child = start.spawn().context("cannot start a login")?;
        let pid = i32::try_from(child.id()).context("no such process number")?;
        let (tell, ended) = oneshot::channel();
        waiting.by_pid.insert(pid, tell);
        waiting.started = true;
        self.shared.wake.notify_one();
        Ok((
            Shell {
                pid: Pid::from_raw(pid),
                ended,
            },
            child,
        ))
    }
}

fn close_on_exec(fd: &OwnedFd) -> anyhow::Result<()> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).context("cannot keep the terminal")?;
    Ok(())
}

fn lock(shared: &Shared) -> MutexGuard<'_, Waiting> {
    // Nothing is left half done by a panic in another holder.
    shared
        .waiting
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

/// Waits for children for ever.
fn reap(shared: &Shared) {
    loop {
        // Looks without reaping, so that a child is still there while the lock is waited for.
        match waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
            Ok(status) => {
                let mut waiting = lock(shared);
                let Some(pid) = status.pid() else { continue };
                let Ok(status) = waitpid(pid, Some(WaitPidFlag::WNOHANG)) else {
                    continue;
                };
                if let (Some(tell), Some(ended)) =
                    (waiting.by_pid.remove(&pid.as_raw()), ended(status))
                {
                    // The login's task may be gone; then nobody wants to know.
                    let _ = tell.send(ended);
                }
            }
            Err(Errno::ECHILD) => {
                let mut waiting = lock(shared);
                while !waiting.started {
                    waiting = shared
                        .wake
                        .wait(waiting)
                        .unwrap_or_else(PoisonError::into_inner);
                }
                waiting.started = false;
            }
            Err(_) => {}
        }
    }
}

fn ended(status: WaitStatus) -> Option<Ended> {
    match status {
        WaitStatus::Exited(_, code) => Some(Ended::Code(code)),
        WaitStatus::Signaled(_, signal, _) => Some(Ended::Signal(signal)),
        _ => None,
    }
}

/// Starts a login's pipes and terminals without blocking.
///
/// # Errors
/// When the descriptor refuses.
pub(super) fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}
