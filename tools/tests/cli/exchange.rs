//! What the tests of the command line share: a node process of their own, and short words for it.

use std::ffi::OsStr;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How long anything here may take before it counts as stuck.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A configuration whose checkpoints come often, with small segments.
pub(crate) const CONFIG: &str = "checkpoint_every = 1000\n[journal]\nsegment_bytes = 4194304\n\
                          [capacity]\norders = 65536\npositions = 1024\n";

/// The command under test.
pub(crate) fn exahour(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_exahour"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs the command to its end.
pub(crate) fn run<W: AsRef<OsStr>>(arguments: &[W]) -> Output {
    exahour(&[]).args(arguments).output().unwrap()
}

/// Runs the command, which must succeed; what it printed.
pub(crate) fn succeed<W: AsRef<OsStr> + Debug>(arguments: &[W]) -> String {
    let output = run(arguments);
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{arguments:?}\n{out}\n{err}");
    out
}

/// Runs the command, whose answer must be bad; what it said on standard error.
pub(crate) fn fail<W: AsRef<OsStr> + Debug>(arguments: &[W]) -> String {
    end_with(1, arguments)
}

/// Runs the command, which must find that it cannot be done; what it said on standard error.
pub(crate) fn refuse<W: AsRef<OsStr> + Debug>(arguments: &[W]) -> String {
    end_with(2, arguments)
}

fn end_with<W: AsRef<OsStr> + Debug>(code: i32, arguments: &[W]) -> String {
    let output = run(arguments);
    let (out, err) = texts(&output);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}\n{out}\n{err}"
    );
    err
}

/// As [`succeed`], for a command that prints one JSON object.
pub(crate) fn json<W: AsRef<OsStr> + Debug>(arguments: &[W]) -> Value {
    serde_json::from_str(&succeed(arguments)).unwrap()
}

/// An operator's command to the node of this data folder, which must succeed; what it printed.
pub(crate) fn operate(data: &str, words: &[&str]) -> String {
    succeed(&[&["operate"], words, &["--data", data]].concat())
}

/// What the node of this data folder tells of an instrument.
pub(crate) fn shown(data: &str, instrument: &str) -> Value {
    json(&["operate", "show", instrument, "--json", "--data", data])
}

/// What a command printed, and what it said on standard error.
pub(crate) fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// A number among findings; a large one stands in quotes.
pub(crate) fn count(findings: &Value, name: &str) -> u64 {
    let quoted = findings[name].as_str().and_then(|it| it.parse().ok());
    findings[name]
        .as_u64()
        .or(quoted)
        .unwrap_or_else(|| panic!("no {name} in {findings}"))
}

/// Asks until there is an answer.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A folder with a node in it.
pub(crate) struct Exchange {
    folder: TempDir,
    process: Option<Child>,
}

impl Exchange {
    /// Starts a node in a new folder and waits until it serves.
    pub(crate) fn start() -> Self {
        Self::start_with(CONFIG)
    }

    /// As [`Self::start`], with another configuration.
    pub(crate) fn start_with(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("node.toml"), config).unwrap();
        let mut exchange = Self {
            folder,
            process: None,
        };
        exchange.restart();
        exchange
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn data(&self) -> String {
        self.path("data").display().to_string()
    }

    pub(crate) fn config(&self) -> String {
        self.path("node.toml").display().to_string()
    }

    /// The arguments that start a node here.
    pub(crate) fn start_arguments(&self) -> Vec<String> {
        let any = "127.0.0.1:0";
        let words = [
            "start",
            "--orders",
            any,
            "--market-data",
            any,
            "--drop-copy",
            any,
        ];
        let mut words: Vec<String> = words.map(str::to_owned).to_vec();
        words.extend(["--config".to_owned(), self.config()]);
        words.extend(["--data".to_owned(), self.data()]);
        words
    }

    /// Starts the node again on what is there.
    pub(crate) fn restart(&mut self) {
        assert!(self.process.is_none());
        let ready = self.path("ready.json");
        let _ = std::fs::remove_file(&ready);
        let log = std::fs::File::create(self.path("start.log")).unwrap();
        let process = exahour(&[])
            .args(self.start_arguments())
            .arg("--ready-file")
            .arg(&ready)
            .stderr(log.try_clone().unwrap())
            .stdout(log)
            .spawn()
            .unwrap();
        self.process = Some(process);
        until("the node serves", || {
            let ended = self.process.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", self.log());
            ready.exists().then_some(())
        });
    }

    /// What the node has printed.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("start.log")).unwrap()
    }

    fn signal(&mut self, name: &str) -> ExitStatus {
        let mut process = self.process.take().unwrap();
        let id = process.id().to_string();
        assert!(
            Command::new("kill")
                .args([name, &id])
                .status()
                .unwrap()
                .success()
        );
        until("the node ends", || process.try_wait().unwrap())
    }

    /// Sends the node a signal that it outlives.
    pub(crate) fn interrupt(&self, name: &str) {
        let id = self.process.as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args([name, &id]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until the node has ended by itself.
    pub(crate) fn await_end(&mut self) -> ExitStatus {
        let mut process = self.process.take().unwrap();
        until("the node ends", || process.try_wait().unwrap())
    }

    /// Stops the node in good order.
    pub(crate) fn stop(&mut self) {
        let status = self.signal("-TERM");
        assert!(status.success(), "{status}: {}", self.log());
        assert!(
            self.log().contains("stopped in good order"),
            "{}",
            self.log()
        );
    }

    /// Ends the node without warning.
    pub(crate) fn kill(&mut self) {
        self.signal("-KILL");
    }

    /// A line of words that are said to this node.
    pub(crate) fn words(&self, line: &str) -> Vec<String> {
        let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        words.extend(["--data".to_owned(), self.data()]);
        words.extend(["--config".to_owned(), self.config()]);
        words
    }

    /// Runs such a line, which must succeed; what it printed.
    pub(crate) fn say(&self, line: &str) -> String {
        succeed(&self.words(line))
    }

    /// Runs such a line, whose answer must be bad; what it said on standard error.
    pub(crate) fn refused(&self, line: &str) -> String {
        fail(&self.words(line))
    }

    /// The findings of a replay of the node's journal.
    pub(crate) fn replay(&self) -> Value {
        json(&["replay", &self.data(), "--compare-events", "--json"])
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// A small file of orders, changes, deletions and crossings, the same for the same seed.
pub(crate) fn generated_orders(path: &Path, rows: u64, seed: u64) {
    let mut text = String::from("id,timestamp,exchange.timestamp,price,volume,action,direction\n");
    let mut state = seed;
    let mut draw = |bound: u64| {
        // The generator of Knuth's MMIX: plain, and the same everywhere.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let mut open: Vec<(u64, u64, &str)> = Vec::new();
    for row in 0..rows {
        let at = 1_430_438_404_000 + row * 7;
        let choice = draw(10);
        if open.is_empty() || choice < 6 {
            let side = if draw(2) == 0 { "bid" } else { "ask" };
            let cents = 23_600 + draw(100) + if side == "ask" { 20 } else { 0 };
            open.push((row + 1, cents, side));
            let volume = (1 + draw(50)) * 10_000_000;
            text.push_str(&line(row + 1, at, cents, volume, "created", side));
        } else {
            let place = usize::try_from(draw(open.len() as u64)).unwrap();
            let (id, cents, side) = open[place];
            if choice < 8 {
                text.push_str(&line(id, at, cents, 5_000_000, "changed", side));
            } else {
                open.swap_remove(place);
                text.push_str(&line(id, at, cents, 0, "deleted", side));
            }
        }
    }
    text.push_str(&line(
        999_999_999,
        1_430_438_500_000,
        23_600,
        0,
        "deleted",
        "bid",
    ));
    std::fs::write(path, text).unwrap();
}

fn line(id: u64, at: u64, cents: u64, volume: u64, action: &str, side: &str) -> String {
    let (whole, part) = (cents / 100, cents % 100);
    format!("{id},{at},{at},{whole}.{part:02},{volume},{action},{side}\n")
}
