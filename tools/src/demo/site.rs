//! Where a demo takes place: a folder, the node's process, the settlement process, its machines.
//!
//! Used by every step of `demo`.
//!
//! Always holds: processes are ended by the handles they were started with; whatever way the site
//! goes, no process of it outlives it, and no machine, unless the demo itself was killed: then a
//! machine lives until its window ends.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use exahour_gateway::client::Client;
use exahour_settlement::provision::{LocalConfig, LocalProvider, Provisioner};
use exahour_settlement::run::default_state;
use exahour_settlement::settle::machines_folder;
use exahour_wire::ids::SessionId;
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::connection::{ADDRESSES_FILE, NodeArguments, Serving};
use crate::exit::Interrupted;
use crate::output::{reader_left, tell};
use crate::start::{catch_signals, signal_within};

/// How long a process may take to start or to end, a contract to be assigned, a machine to answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Seconds of its window after which the delivery is ended: the shortest window is an hour.
const CLOSE_AFTER_S: u64 = 3;

/// Lines of a process's log that are told when it ended badly.
const TOLD_LINES: usize = 5;

/// The place of a demo.
pub(super) struct Site {
    /// Removed at the end; none where the user named a folder.
    folder: Option<TempDir>,
    data: PathBuf,
    program: PathBuf,
    signals: SignalFd,
    node: Option<Child>,
    settlement: Option<Child>,
}

impl Site {
    /// An empty place in the folder named, or in a temporary one.
    pub(super) fn open(named: Option<&Path>) -> Result<Self> {
        // Before any thread is started: threads inherit what is blocked.
        let signals = catch_signals()?;
        let (folder, data) = match named {
            Some(path) => (None, path.to_path_buf()),
            None => {
                let prefix = "exahour-demo-";
                let folder = tempfile::Builder::new().prefix(prefix).tempdir();
                let folder =
                    folder.context("cannot make a temporary folder: name one with --data")?;
                // A delivered machine runs as a user of its own, who must pass through.
                fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711))
                    .context("cannot open the temporary folder to machines")?;
                let data = folder.path().join("data");
                (Some(folder), data)
            }
        };
        let used = fs::read_dir(&data).is_ok_and(|mut entries| entries.next().is_some());
        ensure!(
            !used,
            "{} is not empty: a demo needs a folder of its own; name a new one with --data",
            data.display()
        );
        fs::create_dir_all(&data)
            .with_context(|| format!("cannot make the folder {}", data.display()))?;
        Ok(Self {
            folder,
            data,
            program: std::env::current_exe().context("cannot find this program")?,
            signals,
            node: None,
            settlement: None,
        })
    }

    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    /// Starts the node and waits until it serves.
    pub(super) fn start_node(&mut self) -> Result<Serving> {
        let written = self.data.join(ADDRESSES_FILE);
        // A node that was killed has left it.
        let _ = fs::remove_file(&written);
        let any = "127.0.0.1:0";
        let arguments = [
            "start",
            "--orders",
            any,
            "--market-data",
            any,
            "--drop-copy",
            any,
        ];
        let node = self.spawn(&arguments, "node.log")?;
        let process = node.id();
        self.node = Some(node);
        self.until("the node serves", |site| {
            site.check_node()?;
            let serving = Serving::read(&written)?;
            Ok(serving.filter(|it| it.process == process))
        })
    }

    /// Starts the settlement process; it finds the node by itself.
    pub(super) fn start_settlement(&mut self) -> Result<()> {
        let close = CLOSE_AFTER_S.to_string();
        let arguments = ["settle", "--close-early", &close];
        self.settlement = Some(self.spawn(&arguments, "settlement.log")?);
        Ok(())
    }

    /// Ends the node without warning; nothing is left to it to do.
    pub(super) fn kill_node(&mut self) -> Result<()> {
        let mut node = self.node.take().context("the node does not run")?;
        node.kill().context("cannot kill the node")?;
        let status = node.wait().context("cannot wait for the node")?;
        ensure!(
            std::os::unix::process::ExitStatusExt::signal(&status) == Some(9),
            "the node ended before it was killed, {status}:\n{}",
            self.log("node.log")
        );
        Ok(())
    }

    /// Stops the node in good order.
    pub(super) fn stop_node(&mut self) -> Result<()> {
        let node = self.node.take();
        self.stop(node, "node.log")
    }

    /// Stops the settlement process in good order.
    pub(super) fn stop_settlement(&mut self) -> Result<()> {
        let settlement = self.settlement.take();
        self.stop(settlement, "settlement.log")
    }

    /// Logs a session on, with the key that the node has drawn for it.
    pub(super) fn connect(&self, session: SessionId) -> Result<Client> {
        let node = NodeArguments {
            data: self.data.clone(),
            keys: None,
            config: None,
            node: Vec::new(),
            market_data: None,
            drop_copy: None,
        };
        node.connect(session)
    }

    /// Asks until there is an answer, for a while; not when the user has had enough.
    pub(super) fn until<T>(
        &mut self,
        what: &str,
        mut ask: impl FnMut(&mut Self) -> Result<Option<T>>,
    ) -> Result<T> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = ask(self)? {
                return Ok(found);
            }
            ensure!(
                Instant::now() < end,
                "{what}: not within {} s; the settlement process said:\n{}",
                PATIENCE.as_secs(),
                self.log("settlement.log")
            );
            self.check_signals(5)?;
        }
    }

    /// Waits so many milliseconds for a signal, and ends the demo where one came.
    pub(super) fn check_signals(&self, milliseconds: u8) -> Result<()> {
        match signal_within(&self.signals, milliseconds)? {
            Some(signal) => Err(Interrupted(signal).into()),
            None => Ok(()),
        }
    }

    /// Ends everything that is left, and removes a folder that nobody named: unless the demo failed,
    /// for then its journal and its logs are the evidence.
    pub(super) fn close(mut self, failure: Option<&anyhow::Error>) -> Result<()> {
        self.end();
        let Some(folder) = self.folder.take() else {
            return Ok(());
        };
        let failed = failure.is_some_and(|error| !error.is::<Interrupted>() && !reader_left(error));
        if !failed {
            return folder.close().context("cannot remove the demo's folder");
        }
        tell(&format!(
            "exahour: kept for a look: {}",
            folder.keep().display()
        ));
        Ok(())
    }

    fn check_node(&mut self) -> Result<()> {
        let node = self.node.as_mut().context("the node does not run")?;
        match node.try_wait().context("cannot look at the node")? {
            Some(status) => bail!("the node ended, {status}:\n{}", self.log("node.log")),
            None => Ok(()),
        }
    }

    /// Runs this program again, out of reach of the terminal's Ctrl-C, which is ours to answer.
    fn spawn(&self, arguments: &[&str], log: &str) -> Result<Child> {
        let path = self.data.join(log);
        let mut options = File::options();
        let log = options.create(true).append(true).open(&path);
        let log = log.with_context(|| format!("cannot write {}", path.display()))?;
        let errors = log.try_clone().context("cannot share a log")?;
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .arg("--data")
            .arg(&self.data)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .process_group(0);
        // SAFETY: between fork and exec nothing runs but one system call.
        unsafe {
            command.pre_exec(|| prctl::set_pdeathsig(Signal::SIGKILL).map_err(Into::into));
        }
        command
            .spawn()
            .with_context(|| format!("cannot start `exahour {}`", arguments[0]))
    }

    fn stop(&mut self, process: Option<Child>, log: &str) -> Result<()> {
        let mut process = process.context("the process does not run")?;
        terminate(&process)?;
        let status = self.until("a process stops", |_| {
            process.try_wait().context("cannot wait for a process")
        });
        if status.is_err() {
            let _ = process.kill();
            let _ = process.wait();
        }
        let status = status?;
        ensure!(
            status.success(),
            "a process ended, {status}:\n{}",
            self.log(log)
        );
        Ok(())
    }

    /// The end of what a process has said.
    fn log(&self, name: &str) -> String {
        let text = fs::read_to_string(self.data.join(name)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TOLD_LINES)..].join("\n")
    }

    fn end(&mut self) {
        // The settlement process first: it would only bring up again what is taken down.
        for mut process in [self.settlement.take(), self.node.take()]
            .into_iter()
            .flatten()
        {
            let _ = process.kill();
            let _ = process.wait();
        }
        if let Err(error) = self.release_machines() {
            tell(&format!(
                "exahour: a machine of the demo may be left: {error:#}"
            ));
        }
    }

    fn release_machines(&self) -> Result<()> {
        let folder = machines_folder(&default_state(&self.data));
        if !folder.exists() {
            return Ok(());
        }
        let mut provider = LocalProvider::open(LocalConfig::new(folder, &self.program))?;
        for key in provider.list()? {
            provider.release(key)?;
        }
        Ok(())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.end();
    }
}

fn terminate(process: &Child) -> Result<()> {
    let id = i32::try_from(process.id()).context("process id")?;
    kill(Pid::from_raw(id), Signal::SIGTERM).context("cannot stop a process")
}
