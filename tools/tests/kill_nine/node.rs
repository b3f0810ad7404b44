//! The node under test: a process of its own in a folder that outlives it.
//!
//! Started, killed and started again by the rounds of the test.
//!
//! Always holds: at most one process at a time; a failed test ends it and keeps the folder.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use exahour_journal::{Reader, Verify, inspect};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// How long anything here may take before it counts as stuck.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Four traders of two firms in one contract; small segments, and a hash of the state often.
const CONFIG: &str = include_str!("node.toml");

/// A folder with a node in it, or with what a node left.
pub(crate) struct NodeProcess {
    folder: Option<TempDir>,
    path: PathBuf,
    durability: &'static str,
    process: Option<Child>,
    /// How long the latest whole start took.
    pub(crate) start_time: Duration,
}

impl NodeProcess {
    /// A new folder, and nothing in it yet but the configuration.
    pub(crate) fn new(durability: &'static str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("exahour-kill-nine-")
            .tempdir()
            .unwrap();
        let path = folder.path().to_path_buf();
        fs::write(path.join("node.toml"), CONFIG).unwrap();
        Self {
            folder: Some(folder),
            path,
            durability,
            process: None,
            start_time: Duration::from_millis(50),
        }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    fn ready_file(&self) -> PathBuf {
        self.path.join("ready.json")
    }

    /// Starts the process, without waiting for anything.
    pub(crate) fn spawn(&mut self) {
        assert!(self.process.is_none());
        let _ = fs::remove_file(self.ready_file());
        let log = fs::File::create(self.path.join("start.log")).unwrap();
        let any = "127.0.0.1:0";
        let mut command = Command::new(env!("CARGO_BIN_EXE_exahour"));
        command
            .args(["start", "--orders", any, "--market-data", any])
            .args(["--drop-copy", any, "--durability", self.durability])
            .arg("--config")
            .arg(self.path.join("node.toml"))
            .arg("--data")
            .arg(self.data())
            .arg("--ready-file")
            .arg(self.ready_file())
            .stdin(Stdio::null())
            .stderr(log.try_clone().unwrap())
            .stdout(log);
        self.process = Some(command.spawn().unwrap());
    }

    /// Starts the process and waits until it serves; where orders are entered.
    pub(crate) fn start(&mut self) -> SocketAddr {
        let begun = Instant::now();
        self.spawn();
        until("the node serves", || {
            let ended = self.process.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", self.log());
            self.ready_file().exists().then_some(())
        });
        self.start_time = begun.elapsed();
        let text = fs::read(self.ready_file()).unwrap();
        let serving: serde_json::Value = serde_json::from_slice(&text).unwrap();
        serving["orders"].as_str().unwrap().parse().unwrap()
    }

    /// The process to kill.
    pub(crate) fn id(&self) -> Pid {
        let id = self.process.as_ref().unwrap().id();
        Pid::from_raw(i32::try_from(id).unwrap())
    }

    /// Whether the node has written that it serves.
    pub(crate) fn serves(&self) -> bool {
        self.ready_file().exists()
    }

    /// Ends the process without warning, now.
    pub(crate) fn kill(&mut self) {
        kill(self.id(), Signal::SIGKILL).unwrap();
        self.await_killed(|| {});
    }

    /// Waits until somebody has killed the process; it may not end in any other way.
    pub(crate) fn await_killed(&mut self, mut meanwhile: impl FnMut()) {
        let mut process = self.process.take().unwrap();
        let status = until("the node is killed", || {
            meanwhile();
            process.try_wait().unwrap()
        });
        assert_eq!(status.signal(), Some(9), "{status}: {}", self.log());
    }

    /// Stops the node in good order.
    pub(crate) fn stop(&mut self) {
        kill(self.id(), Signal::SIGTERM).unwrap();
        let mut process = self.process.take().unwrap();
        let status = until("the node stops", || process.try_wait().unwrap());
        assert!(status.success(), "{status}: {}", self.log());
    }

    /// Takes the event log away, as if its disk were lost; how many bytes it held.
    pub(crate) fn lose_events(&self) -> u64 {
        assert!(self.process.is_none());
        let events = self.data().join("events");
        let bytes = inspect(&events, Verify::Trust).map_or(0, |found| found.appended.value());
        fs::remove_dir_all(&events).unwrap();
        bytes
    }

    /// How far the event log has grown; zero until it is there.
    pub(crate) fn events_end(&self) -> u64 {
        self.end_of("events")
    }

    /// How far the journal has grown; zero until it is there.
    pub(crate) fn journal_end(&self) -> u64 {
        self.end_of("journal")
    }

    fn end_of(&self, log: &str) -> u64 {
        let reader = Reader::follow(self.data().join(log), Verify::Trust);
        reader.map_or(0, |reader| reader.appended().value())
    }

    /// What the node has printed.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path.join("start.log")).unwrap_or_default()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            eprintln!("kept: {}", folder.keep().display());
        }
    }
}

/// Asks until there is an answer.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
