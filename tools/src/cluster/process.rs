//! A node of a cluster as a process of this machine.
//!
//! Started, watched and ended by `run` and by the torture.
//!
//! Always holds: a process is ended by the handle it was started with; unless it is to outlive us, it dies
//! with us.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result};
use exahour_replicas::NodeId;
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::folder::ClusterFolder;

/// Lines of its log that are told of a node which has ended.
const TOLD_LINES: usize = 5;

/// What becomes of a node when whoever started it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tie {
    /// It ends.
    Dies,
    /// It runs on.
    Stays,
}

/// A node that runs, or that is to run.
#[derive(Debug)]
pub(crate) struct NodeProcess {
    pub(crate) id: NodeId,
    config: PathBuf,
    data: PathBuf,
    log: PathBuf,
    /// The network that it lives in; none for that of whoever starts it.
    network: Option<Arc<File>>,
    child: Option<Child>,
}

impl NodeProcess {
    /// A node of the folder, not started yet.
    ///
    /// # Errors
    /// As [`ClusterFolder::data_of`].
    pub(crate) fn of(folder: &ClusterFolder, node: u64) -> Result<Self> {
        Ok(Self {
            id: NodeId(node),
            config: folder.config(node),
            data: folder.data_of(node)?,
            log: folder.log(node),
            network: None,
            child: None,
        })
    }

    /// The same, to live in a network of its own.
    pub(crate) fn within(mut self, network: Option<Arc<File>>) -> Self {
        self.network = network;
        self
    }

    /// What it keeps.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Starts it; `found` where its empty folder is that of a new cluster.
    ///
    /// # Errors
    /// Where the system refuses.
    pub(crate) fn start(&mut self, found: bool, tie: Tie) -> Result<()> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut options = File::options();
        let log = options.create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("cannot write {}", self.log.display()))?;
        let errors = log.try_clone().context("cannot share a log")?;
        let mut command = Command::new(program);
        command
            .arg("start")
            .arg("--config")
            .arg(&self.config)
            .arg("--data")
            .arg(&self.data)
            .args(found.then_some("--found"))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            // Out of reach of the terminal's Ctrl-C, which is ours to answer.
            .process_group(0);
        if tie == Tie::Dies {
            // SAFETY: between fork and exec nothing runs but one system call.
            unsafe {
                command.pre_exec(|| prctl::set_pdeathsig(Signal::SIGKILL).map_err(Into::into));
            }
        }
        if let Some(network) = &self.network {
            enter(&mut command, network)?;
        }
        let child = command
            .spawn()
            .with_context(|| format!("cannot start node {}", self.id))?;
        self.child = Some(child);
        Ok(())
    }

    /// Its process, where it was started and has not been seen to end.
    pub(crate) fn process(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// How it has ended, told once.
    ///
    /// # Errors
    /// Where it cannot be looked at.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let Some(child) = &mut self.child else {
            return Ok(None);
        };
        let status = child.try_wait().context("cannot look at a node")?;
        if status.is_some() {
            self.child = None;
        }
        Ok(status)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// Where the system refuses.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let Some(process) = self.process() else {
            return Ok(());
        };
        // Nobody has waited for it, so the number is still its own.
        let id = Pid::from_raw(i32::try_from(process).context("process id")?);
        kill(id, signal).with_context(|| format!("cannot signal node {}", self.id))
    }

    /// Ends it without warning, and waits until it is gone.
    ///
    /// # Errors
    /// Where the system refuses.
    pub(crate) fn kill(&mut self) -> Result<Option<ExitStatus>> {
        let Some(mut child) = self.child.take() else {
            return Ok(None);
        };
        child.kill().context("cannot kill a node")?;
        Ok(Some(child.wait().context("cannot wait for a node")?))
    }

    /// Lets it run on without us.
    pub(crate) fn leave(&mut self) {
        self.child = None;
    }

    /// Everything it has said, as far as it can be read.
    pub(crate) fn words(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The end of what it has said.
    pub(crate) fn last_words(&self) -> String {
        let text = self.words();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TOLD_LINES)..].join("\n")
    }
}

/// Lets a program that is to be started live in a network, which somebody has open.
///
/// # Errors
/// Where the system refuses.
pub(crate) fn enter(command: &mut Command, network: &File) -> Result<()> {
    let network = network.try_clone().context("cannot share a network")?;
    // SAFETY: between fork and exec nothing runs but one system call.
    unsafe {
        command.pre_exec(move || setns(&network, CloneFlags::CLONE_NEWNET).map_err(Into::into));
    }
    Ok(())
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
