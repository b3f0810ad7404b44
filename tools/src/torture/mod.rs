//! `exahour torture`: a cluster of processes under load, whose nodes are killed, stopped and cut off; and the
//! proof from its files that nothing which was acknowledged was lost or doubled.
//!
//! Called by the command line and, in short, by a test. Read in this order: `plan` says what happens, `site` is where,
//! `wires` (`links` or `networks`) and `disks` are what it can be done to, `trader` and `load` trade meanwhile and write
//! diaries (`diary`), `check` compares those with `history`.
//!
//! Always holds: a broken promise ends it with exit code 1, its seed, and its folder kept.

mod check;
mod diary;
mod disks;
mod history;
mod links;
mod load;
mod networks;
mod plan;
mod report;
mod rounds;
mod site;
mod trader;
mod wires;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use exahour_settlement::json;
use exahour_wire::codes::Durability;
use exahour_wire::ids::SessionId;
use serde::{Deserialize, Serialize};

use self::check::{Counts, check};
use self::load::{Load, Promise};
use self::plan::Own;
use self::report::Report;
use self::site::{Lot, Site};
use self::trader::{Seat, trade};
use crate::cluster::folder::ClusterFolder;
use crate::exit::Interrupted;
use crate::output::{reader_left, tell};
use crate::progress::count_bar;
use crate::start::durability;

/// Kill, stop and cut off the nodes of a cluster under load, and prove that nothing acknowledged is lost.
///
/// Starts nodes and clients on this machine. Every client writes down what it sends and is told. Rounds drawn
/// from the seed kill the leader, a follower or all nodes with SIGKILL, pause them, cut their links in either
/// direction, keep a node away until it needs a snapshot, or let the leader hand over; in the end the journals of
/// all nodes are replayed and compared with what the clients wrote.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Exit code 1: a promise is broken; the folder is kept, and the seed is told.\n\n\
                  Examples:\n  exahour torture\n  exahour torture --kills 1000 --seed 7 --data evidence\n  \
                  exahour torture --kills 120 --own-disks --own-networks"
)]
pub struct Arguments {
    /// How often nodes are killed: about two in three the leader, one in six all at once. Other faults come
    /// beside them.
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    kills: u64,
    /// Where the rounds are drawn from [default: drawn by chance, and told].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How many nodes.
    #[arg(long, value_name = "3|5", value_parser = ["3", "5"], default_value = "3")]
    nodes: String,
    /// How many clients.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    clients: u32,
    /// Messages a second, of all clients together.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// What an acknowledgement promises.
    #[arg(long, value_name = "PROMISE", value_parser = durability, default_value = "durable")]
    durability: Durability,
    /// How soon the exchange is to answer again, whatever was done to its nodes: later is a broken promise.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    answer_within: u64,
    /// Give each node a disk of its own, and let disks be full, stand still and be slow. Takes root's rights, and
    /// ext4, which are said to be missing where they are.
    #[arg(long)]
    own_disks: bool,
    /// Give each node a network of its own, and cut those in the kernel, cables too. Takes root's rights, and
    /// network namespaces, which are said to be missing where they are.
    #[arg(long)]
    own_networks: bool,
    /// A new folder for everything, which is kept [default: a temporary one, kept only where something is
    /// wrong].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Torture nothing, and check the folder of an earlier torture again.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["data", "seed"])]
    check: Option<PathBuf>,
    /// Write one JSON object.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    fn promise(&self) -> Promise {
        Promise {
            within: Duration::from_secs(self.answer_within),
            pace: Duration::from_secs(1) / self.rate,
        }
    }

    fn own(&self) -> Own {
        Own {
            disks: self.own_disks,
            networks: self.own_networks,
        }
    }
}

/// Runs the rounds and the check.
///
/// # Errors
/// A finding, where a promise is broken; otherwise where it cannot be done.
pub fn run(arguments: &Arguments) -> Result<()> {
    if let Some(folder) = &arguments.check {
        return check_again(folder, arguments.json);
    }
    let seed = arguments
        .seed
        .unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let (scratch, folder) = match &arguments.data {
        Some(path) => (None, path.clone()),
        None => {
            let scratch = tempfile::Builder::new()
                .prefix("exahour-torture-")
                .tempdir();
            let scratch =
                scratch.context("cannot make a temporary folder: name one with --data")?;
            let folder = scratch.path().to_path_buf();
            (Some(scratch), folder)
        }
    };
    let outcome = torture(arguments, seed, &folder);
    let outcome = outcome.with_context(|| format!("seed {seed}"));
    let failed = outcome
        .as_ref()
        .is_err_and(|error| !error.is::<Interrupted>() && !reader_left(error));
    if failed && let Some(scratch) = scratch {
        tell(&format!(
            "exahour: kept for a look: {}",
            scratch.keep().display()
        ));
    }
    outcome
}

fn torture(arguments: &Arguments, seed: u64, folder: &Path) -> Result<()> {
    let nodes = arguments.nodes.parse().context("--nodes")?;
    let rounds = plan::rounds(arguments.kills, seed, arguments.own());
    let mut site = Site::make(&Lot {
        folder,
        nodes,
        sessions: arguments.clients,
        durability: arguments.durability,
        own: arguments.own(),
    })?;
    site.found()?;
    let mut clients = Clients::start(arguments, seed, &site)?;
    let mut report = Report::new(arguments, seed, folder)?;
    let bar = count_bar(rounds.len() as u64, "rounds");
    let played = rounds.iter().try_for_each(|round| {
        rounds::play(&mut site, &clients.load, round, &mut report)?;
        bar.inc(1);
        Ok(())
    });
    bar.finish_and_clear();
    clients.end(played, &mut site)?;
    let last = site.await_level()?;
    site.stop()?;
    report.on_full_disks(site.full_disks_told());
    site.bring_out()?;
    let evidence = Evidence {
        last_index: last,
        nodes,
        clients: arguments.clients,
    };
    evidence.write(folder)?;
    report.print(&evidence.check(folder)?, arguments.json)
}

/// Checks what an earlier torture has left.
fn check_again(folder: &Path, json: bool) -> Result<()> {
    let counts = Evidence::read(folder)?.check(folder)?;
    report::print_check(&counts, json)
}

/// What a torture has left in its folder, but for the logs and the diaries.
#[derive(Debug, Serialize, Deserialize)]
struct Evidence {
    /// The last entry that all nodes had applied.
    last_index: u64,
    nodes: u64,
    clients: u32,
}

impl Evidence {
    fn path(folder: &Path) -> PathBuf {
        folder.join("torture.json")
    }

    fn write(&self, folder: &Path) -> Result<()> {
        let path = Self::path(folder);
        let text = json::to_vec(self).context("evidence")?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    fn read(folder: &Path) -> Result<Self> {
        let path = Self::path(folder);
        let text = fs::read(&path);
        let text = text.with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text)
            .with_context(|| format!("{} is not what a torture left", path.display()))
    }

    fn check(&self, folder: &Path) -> Result<Counts> {
        let site = ClusterFolder::open(folder)?;
        let data: Vec<(u64, PathBuf)> = (1..=self.nodes).map(|id| (id, site.data(id))).collect();
        let diaries: Vec<(u32, PathBuf)> = (1..=self.clients)
            .map(|session| (session, diary_of(folder, session)))
            .collect();
        let bar = count_bar(self.last_index, "check");
        let counts = check(&data, self.last_index, &diaries, &bar);
        bar.finish_and_clear();
        counts
    }
}

/// The diary of a client.
fn diary_of(folder: &Path, session: u32) -> PathBuf {
    folder.join(format!("client-{session}.diary"))
}

/// The clients, a thread each.
struct Clients {
    load: Arc<Load>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    fn start(arguments: &Arguments, seed: u64, site: &Site) -> Result<Self> {
        let mut clients = Self {
            load: Arc::new(Load::new(arguments.clients as usize, arguments.promise())),
            threads: Vec::new(),
        };
        for session in 1..=arguments.clients {
            let seat = Seat {
                session: SessionId(session),
                key: site.key_of(SessionId(session))?,
                nodes: site.orders(),
                seed,
                pace: arguments.promise().pace * arguments.clients,
            };
            let diary = diary_of(site.folder.path(), session);
            let load = Arc::clone(&clients.load);
            let thread = std::thread::Builder::new()
                .name(format!("client {session}"))
                .spawn(move || {
                    if let Err(error) = trade(&load, &seat, &diary) {
                        load.fail(error);
                    }
                })
                .context("cannot start a thread")?;
            clients.threads.push(thread);
        }
        Ok(clients)
    }

    /// Lets the clients come to their end, which they do once everything they sent is answered; where the rounds
    /// have failed, at once.
    ///
    /// # Errors
    /// Why a client failed, else why the rounds did.
    fn end(&mut self, played: Result<()>, site: &mut Site) -> Result<()> {
        self.load.stop();
        let outcome = played.and_then(|()| {
            let threads = &self.threads;
            site.until("every client has its answers", |_| {
                Ok(threads.iter().all(JoinHandle::is_finished).then_some(()))
            })
        });
        if outcome.is_err() {
            self.load.abandon();
        }
        for thread in self.threads.drain(..) {
            if let Err(panic) = thread.join() {
                // A panic there is one here.
                std::panic::resume_unwind(panic);
            }
        }
        match self.load.take_failure() {
            Some(failure) => Err(failure),
            None => outcome,
        }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.load.abandon();
    }
}
