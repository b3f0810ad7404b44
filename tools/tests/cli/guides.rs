//! The guides tell the truth: what they show is typed in here, and what comes is compared.
//!
//! In a `console` block, a line after `$ ` is a command and the lines below are what it prints;
//! `^C` stops the node, or the cluster, that was started last. Numbers, times, names in hexadecimal digits and
//! the place of the folder may differ; `...` stands for lines that are left out. Machines of the network
//! 10.0.0.0/24 are this one, each with ports of its own.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::exchange::{exahour, texts, until};

/// The folder that the guides are written in.
const HOME: &str = "/home/ada";

/// A line as it is compared: hexadecimal names and numbers are alike.
fn plain(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line.trim_end();
    while let Some(first) = rest.chars().next() {
        let hex = rest
            .find(|it: char| !it.is_ascii_hexdigit())
            .unwrap_or(rest.len());
        let digits = rest
            .find(|it: char| !it.is_ascii_digit())
            .unwrap_or(rest.len());
        let (length, stands_for) = match (hex, digits) {
            (24.., _) => (hex, "H"),
            (_, 1..) => (digits, "9"),
            _ => (first.len_utf8(), ""),
        };
        out.push_str(if stands_for.is_empty() {
            &rest[..length]
        } else {
            stands_for
        });
        rest = &rest[length..];
    }
    // Numbers are set flush right, and counts have plurals.
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The network of the guides' machines, and the lowest port that they use.
const NETWORK: &str = "10.0.0.";
const PORT: u16 = 7_800;

struct Session {
    folder: tempfile::TempDir,
    /// What was started and not stopped, with its log.
    running: Vec<(Child, PathBuf)>,
    /// The machines by their place.
    machines: BTreeMap<String, u16>,
    first_port: Option<u16>,
}

/// Ports that stand for those of one machine, and how many machines there are.
const PORTS: u16 = 8;
const MACHINES: u16 = 8;

/// The first of so many free ports in a row, below those that the system gives to connections.
fn free_ports() -> u16 {
    let all = PORTS * MACHINES;
    let first = 10_000 + u16::try_from(std::process::id() % 200).unwrap() * all;
    let all_free = |first: &u16| {
        let mut ports = *first..first + all;
        ports.all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
    };
    (first..32_000).step_by(all.into()).find(all_free).unwrap()
}

impl Session {
    /// A command with this machine in the place of others.
    fn here(&mut self, command: &str) -> String {
        let mut out = String::new();
        let mut rest = command;
        while let Some((before, behind)) = rest.split_once(NETWORK) {
            out.push_str(before);
            let (machine, behind) = behind.split_once(':').unwrap();
            let digits = behind
                .find(|it: char| !it.is_ascii_digit())
                .unwrap_or(behind.len());
            let port: u16 = behind[..digits].parse().unwrap();
            let first_port = *self.first_port.get_or_insert_with(free_ports);
            let taken = u16::try_from(self.machines.len()).unwrap();
            let place = *self.machines.entry(machine.to_owned()).or_insert(taken);
            assert!(
                place < MACHINES && (PORT..PORT + PORTS).contains(&port),
                "{command}"
            );
            out.push_str(&format!(
                "127.0.0.1:{}",
                first_port + place * PORTS + port - PORT
            ));
            rest = &behind[digits..];
        }
        out + rest
    }

    fn start(&mut self, words: &[&str]) -> String {
        let path = self
            .folder
            .path()
            .join(format!("log-{}", self.running.len()));
        let log = std::fs::File::create(&path).unwrap();
        let any = "127.0.0.1:0";
        let mut command = exahour(words);
        if words[0] == "start" && !words.contains(&"--config") {
            command.args(["--orders", any, "--market-data", any, "--drop-copy", any]);
        }
        let node = command
            .current_dir(&self.folder)
            .stderr(log.try_clone().unwrap())
            .stdout(log)
            .spawn()
            .unwrap();
        self.running.push((node, path.clone()));
        let read = || std::fs::read_to_string(&path).unwrap();
        until("the node serves", || {
            let (node, _) = self.running.last_mut().unwrap();
            let ended = node.try_wait().unwrap();
            assert!(ended.is_none(), "{words:?}: {}", read());
            read().contains("stop it with").then(read)
        })
    }

    fn stop(&mut self) -> String {
        let (mut node, log) = self.running.pop().unwrap();
        let id = node.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-INT", &id])
                .status()
                .unwrap()
                .success()
        );
        let status = until("the node ends", || node.try_wait().unwrap());
        let said = std::fs::read_to_string(log).unwrap();
        assert!(status.success(), "{said}");
        said
    }

    fn run(&self, line: &str) -> String {
        let output = Command::new("sh")
            .args(["-c", line])
            .current_dir(&self.folder)
            .env("PATH", path_with_exahour())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let (out, err) = texts(&output);
        out + &err
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for (mut node, _) in self.running.drain(..) {
            let _ = node.kill();
            let _ = node.wait();
        }
    }
}

fn path_with_exahour() -> String {
    let folder = Path::new(env!("CARGO_BIN_EXE_exahour")).parent().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{}:{path}", folder.display())
}

/// Types in every command of a guide, in order, and compares.
fn follow(guide: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(guide);
    let text = std::fs::read_to_string(path).unwrap();
    let mut session = Session {
        folder: tempfile::tempdir().unwrap(),
        running: Vec::new(),
        machines: BTreeMap::new(),
        first_port: None,
    };
    let here = std::fs::canonicalize(session.folder.path()).unwrap();
    let mut said: Option<(String, Vec<String>)> = None;
    let mut commands = 0;
    let mut within = false;
    for line in text.lines() {
        if line.starts_with("```") {
            within = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").or((line == "^C").then_some("^C")) {
            assert!(
                within,
                "{guide}: `{line}` stands outside of a console block"
            );
            commands += 1;
            let typed = session.here(command);
            let words: Vec<&str> = typed.split(' ').collect();
            let out = match words[..] {
                ["^C"] => session.stop(),
                ["exahour", "cluster", "key" | "config", ..] => session.run(&typed),
                ["exahour", "start" | "cluster", ..] => session.start(&words[1..]),
                _ => session.run(&typed),
            };
            let out = out.replace(&here.display().to_string(), HOME);
            said = Some((command.to_owned(), out.lines().map(plain).collect()));
        } else if within && line != "..." {
            let (command, out) = said.as_ref().unwrap();
            let shown = plain(line);
            let found = out.contains(&shown);
            assert!(
                found,
                "{guide}: `{command}` does not say `{shown}` but {out:#?}"
            );
        }
    }
    assert!(commands > 5, "{guide} has only {commands} commands");
}

#[test]
fn the_operators_guide_is_true() {
    follow("OPERATORS.md");
}

#[test]
fn the_traders_guide_is_true() {
    follow("TRADERS.md");
}

#[test]
fn the_first_page_has_an_alias_for_any_folder() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let text = std::fs::read_to_string(path).unwrap();
    let alias = text
        .lines()
        .find_map(|it| it.strip_prefix("alias exahour="));
    assert_eq!(alias, Some("\"$PWD/target/release/exahour\""));
}

#[test]
fn the_operators_guide_names_no_command_that_is_there_as_missing() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/OPERATORS.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, told) = text
        .split_once("There is no command of `exahour` yet")
        .unwrap();
    let (told, _) = told.split_once("\n\n").unwrap();
    let wire = [
        "CreateInstrument",
        "CreateParticipant",
        "CreateAccount",
        "CreateSession",
    ];
    for message in wire {
        assert!(told.contains(message), "{message}: {told}");
        assert!(exahour_tools::text::form_named(message).is_some());
    }
    for words in [&["--help"][..], &["operate", "--help"]] {
        let help = texts(&exahour(words).output().unwrap()).0;
        for command in ["list", "instrument", "participant", "account", "session"] {
            assert!(!help.contains(&format!("\n  {command} ")), "{command}");
        }
    }
}
