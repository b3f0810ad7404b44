//! `exahour cluster`: starts the nodes of a folder on this machine, tells what becomes of them, ends them.
//!
//! Called by the command line.
//!
//! Always holds: every node that was started here is ended here, unless they are to run on; a node that ends
//! by itself is told of and left as it is; one that was removed from the cluster is not started.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use exahour_replicas::{NodeId, Standing};
use exahour_wire::codes::Durability;
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use serde_json::json;

use super::add_node::listed;
use super::folder::ClusterFolder;
use super::process::{NodeProcess, Tie};
use super::reach::{Reach, USUAL_FOLDER};
use super::status;
use super::survey::Survey;
use crate::connection::{ADDRESSES_FILE, Serving};
use crate::exit::finding;
use crate::output::{print, print_json, tell};
use crate::shell::shell_path;
use crate::start::{catch_signals, durability, signal_within};

/// How long the nodes may take until one of them leads.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long nobody may lead until that is told, and told again.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// How long a node may take to stop in good order.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// How long the nodes are left alone between two looks at them, in milliseconds.
const LOOK_EVERY_MS: u8 = 200;

#[derive(Clone, Debug, Args)]
pub(super) struct Operation {
    /// The folder of the cluster, made where it is not there; one that is there goes on [default:
    /// exahour-cluster].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// How many nodes a new cluster has [default: 3].
    #[arg(long, value_name = "3|5", value_parser = ["3", "5"])]
    nodes: Option<String>,
    /// What an acknowledgement of a new cluster promises: durable, that a quorum has the command on disk, or
    /// replicated, that a quorum has it in memory [default: durable].
    #[arg(long, value_name = "PROMISE", value_parser = durability)]
    durability: Option<Durability>,
    /// Let the nodes run on when this command ends.
    #[arg(long)]
    keep: bool,
    /// Write JSON, one object a line.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Operation) -> Result<()> {
    // Before any thread is started: threads inherit what is blocked.
    let signals = catch_signals()?;
    let named = arguments.data.as_deref().unwrap_or(Path::new(USUAL_FOLDER));
    let folder = open(arguments, named)?;
    let mut cluster = Cluster::of(folder, arguments)?;
    cluster.start()?;
    if !cluster.await_leader(&signals)? {
        return cluster.end(&signals);
    }
    cluster.folder.note_founded()?;
    cluster.announce(named)?;
    cluster.follow(&signals)?;
    cluster.end(&signals)
}

/// The folder that is there, or a new one.
fn open(arguments: &Operation, path: &Path) -> Result<ClusterFolder> {
    if !ClusterFolder::is_one(path) {
        let count = match arguments.nodes.as_deref() {
            Some("5") => 5,
            _ => 3,
        };
        let durability = arguments.durability.unwrap_or(Durability::Durable);
        return ClusterFolder::create(path, count, durability);
    }
    let folder = ClusterFolder::open(path)?;
    let count = folder.nodes().len().to_string();
    ensure!(
        arguments.nodes.as_ref().is_none_or(|nodes| *nodes == count),
        "{} is a cluster of {count} nodes already: name another folder, or add nodes with `exahour add-node`",
        path.display()
    );
    ensure!(
        arguments.durability.is_none(),
        "{} is a cluster already: its promise stands in node-1.toml and the others",
        path.display()
    );
    Ok(folder)
}

/// What was last seen of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// Started here.
    Ours,
    /// It answered before anything was started here.
    Found,
    /// It has ended, or does not answer.
    Gone,
}

struct Cluster {
    folder: ClusterFolder,
    reach: Reach,
    nodes: BTreeMap<u64, (NodeProcess, Life)>,
    /// Nodes that have a configuration here, and are members no more.
    past: Vec<u64>,
    leader: Option<NodeId>,
    keep: bool,
    json: bool,
}

impl Cluster {
    fn of(folder: ClusterFolder, arguments: &Operation) -> Result<Self> {
        let members = folder.members()?;
        let reach = Reach {
            key: folder.key()?,
            addresses: members.iter().map(|member| member.peers).collect(),
            node: None,
        };
        let past = folder.past()?;
        let mut nodes = BTreeMap::new();
        for node in folder.nodes().iter().filter(|node| !past.contains(node)) {
            nodes.insert(*node, (NodeProcess::of(&folder, *node)?, Life::Gone));
        }
        Ok(Self {
            folder,
            reach,
            nodes,
            past,
            leader: None,
            keep: arguments.keep,
            json: arguments.json,
        })
    }

    /// Starts every node that does not run already.
    fn start(&mut self) -> Result<()> {
        for node in &self.past {
            tell(&format!(
                "node {node} is no member of this cluster any more, and its number is given to no other: it is not \
                 started. Move node-{node}.toml away, and this is not said again"
            ));
        }
        let survey = Survey::take(&self.reach);
        let tie = match self.keep {
            true => Tie::Stays,
            false => Tie::Dies,
        };
        let founded = self.folder.founded();
        for (id, (process, life)) in &mut self.nodes {
            if survey.address_of(NodeId(*id)).is_some() {
                *life = Life::Found;
                continue;
            }
            // A node that was killed has left it.
            let _ = std::fs::remove_file(process.data().join(ADDRESSES_FILE));
            let begins = !founded && is_founder(&self.folder, *id)?;
            process.start(begins, tie)?;
            *life = Life::Ours;
        }
        Ok(())
    }

    /// Waits until one leads and all that run answer; `false` where somebody has had enough. A new cluster needs all
    /// of its nodes once; one that has begun goes on with most of them.
    fn await_leader(&mut self, signals: &SignalFd) -> Result<bool> {
        let begun = Instant::now();
        let mut told = begun;
        loop {
            self.tell_of_ends()?;
            let survey = Survey::take(&self.reach);
            let silent: Vec<u64> = self
                .living()
                .filter(|id| survey.address_of(NodeId(*id)).is_none())
                .collect();
            let patient = begun.elapsed() < PATIENCE;
            let enough = silent.is_empty() || !patient && self.folder.founded();
            if enough && survey.quorum() {
                self.leader = survey.leader().map(|it| it.id);
                return Ok(true);
            }
            ensure!(
                patient,
                "no node leads within {} s; what the nodes said is in {}",
                PATIENCE.as_secs(),
                self.logs().display()
            );
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                self.tell_of_waiting(&survey, &silent, begun.elapsed());
            }
            if signal_within(signals, 50)?.is_some() {
                return Ok(false);
            }
        }
    }

    fn tell_of_waiting(&self, survey: &Survey, silent: &[u64], waited: Duration) {
        let leads = match survey.leader() {
            None => "no node leads yet".to_owned(),
            Some(leader) => match survey.quorum() {
                true => format!("node {} leads", leader.id),
                false => format!("node {} leads, and has no quorum yet", leader.id),
            },
        };
        let answers = match silent {
            [] => String::new(),
            silent => format!("; no answer from node {}", listed(silent)),
        };
        tell(&format!(
            "{leads}{answers}, after {} s; what the nodes say is in {}",
            waited.as_secs(),
            self.logs().display()
        ));
    }

    fn logs(&self) -> PathBuf {
        self.folder.path().join("node-*.log")
    }

    /// Nodes that have not ended.
    fn living(&self) -> impl Iterator<Item = u64> {
        let living = self.nodes.iter().filter(|(_, it)| it.1 != Life::Gone);
        living.map(|(id, _)| *id)
    }

    /// Tells which nodes have ended before one leads.
    ///
    /// # Errors
    /// Where the others are too few to go on.
    fn tell_of_ends(&mut self) -> Result<()> {
        let founded = self.folder.founded();
        let mut ended = Vec::new();
        for (process, life) in self.nodes.values_mut() {
            if let Some(status) = process.ended()? {
                *life = Life::Gone;
                let words = process.last_words();
                ended.push((
                    process.id.0,
                    status,
                    format!("node {} ended, {status}:\n{words}", process.id),
                ));
            }
        }
        let (living, all) = (self.living().count(), self.nodes.len());
        for (node, status, words) in ended {
            if !founded || living * 2 <= all {
                bail!("{words}");
            }
            match self.json {
                true => print_json(
                    &json!({"state": "ended", "node": node, "status": status.to_string()}),
                )?,
                false => print(&format!("{words}\nthe others go on without it\n"))?,
            }
        }
        Ok(())
    }

    fn announce(&self, named: &Path) -> Result<()> {
        let survey = Survey::take(&self.reach);
        let mut serving = BTreeMap::new();
        for id in self.living() {
            let data = self.nodes.get(&id).map(|(process, _)| process.data());
            if let Some(data) = data
                && let Some(it) = Serving::read(&data.join(ADDRESSES_FILE))?
            {
                serving.insert(id, it);
            }
        }
        if self.json {
            return print_json(&json!({
                "state": "serving",
                "data": self.folder.path(),
                "leader": self.leader.map(|it| it.0),
                "nodes": serving.iter().map(|(id, it)| json!({
                    "node": id,
                    "role": role_of(&survey, *id),
                    "standing": standing_of(&survey, *id),
                    "orders_address": it.orders,
                    "market_data_address": it.market_data,
                    "drop_copy_address": it.drop_copy,
                    "peers_address": it.peers,
                    "process": it.process,
                })).collect::<Vec<_>>(),
            }));
        }
        let mut lines = vec![format!(
            "Exahour runs as a cluster of {}, in {}",
            size(&survey),
            self.folder.path().display()
        )];
        lines.push(row([
            "node",
            "role",
            "orders",
            "market data",
            "drop copy",
            "peers",
            "process",
        ]));
        for (id, it) in &serving {
            lines.push(row([
                &id.to_string(),
                match standing_of(&survey, *id) {
                    Some(_) => role_of(&survey, *id),
                    None => "no member",
                },
                &it.orders.to_string(),
                &it.market_data.to_string(),
                &it.drop_copy.to_string(),
                &it.peers.map_or("-".to_owned(), |it| it.to_string()),
                &it.process.to_string(),
            ]));
        }
        let data = shell_path(named);
        lines.push("try it:".to_owned());
        lines.push(format!("  exahour status --data {data}"));
        lines.push(format!("  exahour order buy 10 @ 2.50 1 --data {data}"));
        lines.push(match self.keep {
            true => "Ctrl-C ends this command; the nodes run on\n".to_owned(),
            false => "stop it with Ctrl-C\n".to_owned(),
        });
        print(&lines.join("\n"))
    }

    /// Tells what changes, until somebody has had enough or nobody is left.
    fn follow(&mut self, signals: &SignalFd) -> Result<()> {
        loop {
            if signal_within(signals, LOOK_EVERY_MS)?.is_some() {
                return Ok(());
            }
            self.look()?;
            if self.nodes.values().all(|(_, life)| *life == Life::Gone) {
                return Err(finding(anyhow!(
                    "every node has ended; see the logs in {}",
                    self.folder.path().display()
                )));
            }
        }
    }

    fn look(&mut self) -> Result<()> {
        let survey = Survey::take(&self.reach);
        let mut news = Vec::new();
        for (id, (process, life)) in &mut self.nodes {
            let answers = survey.address_of(NodeId(*id)).is_some();
            if let Some(status) = process.ended()? {
                *life = Life::Gone;
                let again = shell_path(&self.folder.config(*id));
                news.push((
                    format!(
                        "node {id} ended, {status}; start it again with `exahour start --config {again}`"
                    ),
                    json!({"state": "ended", "node": id, "status": status.to_string()}),
                ));
            } else if *life == Life::Found && !answers {
                *life = Life::Gone;
                let text = format!("node {id} does not answer any more");
                news.push((text, json!({"state": "silent", "node": id})));
            } else if *life == Life::Gone && answers {
                *life = Life::Found;
                let text = format!("node {id} is back");
                news.push((text, json!({"state": "back", "node": id})));
            }
        }
        let leader = survey.leader().filter(|_| survey.quorum());
        let (now, term) = (leader.map(|it| it.id), leader.map(|it| it.term));
        if now != self.leader {
            self.leader = now;
            let text = match (now, term) {
                (Some(leader), Some(term)) => format!("node {leader} leads, in term {term}"),
                _ => "no node leads".to_owned(),
            };
            let value = json!({"state": "leader", "leader": now.map(|it| it.0), "term": term});
            news.push((text, value));
        }
        for (text, value) in news {
            match self.json {
                true => print_json(&value)?,
                false => print(&format!("{text}\n"))?,
            }
        }
        Ok(())
    }

    /// Tells of the nodes that ran before: they are not ours to stop.
    fn tell_of_found(&self) {
        let found = self.nodes.values().filter(|it| it.1 == Life::Found);
        for (process, _) in found {
            let serving = Serving::read(&process.data().join(ADDRESSES_FILE));
            let how = match serving.ok().flatten() {
                Some(it) => format!(" as process {0}: `kill -TERM {0}` stops it", it.process),
                None => String::new(),
            };
            tell(&format!(
                "node {} was not started here, and runs on{how}",
                process.id
            ));
        }
    }

    /// Stops what was started here, in good order.
    fn end(mut self, signals: &SignalFd) -> Result<()> {
        self.tell_of_found();
        let keep = self.keep;
        let ours = self
            .nodes
            .values_mut()
            .filter(|(_, life)| *life == Life::Ours);
        let mut ours: Vec<&mut NodeProcess> = ours.map(|(process, _)| process).collect();
        if keep {
            for process in &mut ours {
                if let Some(id) = process.process() {
                    tell(&format!(
                        "node {} runs on as process {id}: `kill -TERM {id}` stops it",
                        process.id
                    ));
                }
                process.leave();
            }
            return Ok(());
        }
        for process in &ours {
            process.signal(Signal::SIGTERM)?;
        }
        let end = Instant::now() + STOP_WITHIN;
        let mut faults = Vec::new();
        for process in &mut ours {
            while process.process().is_some() {
                match process.ended()? {
                    Some(status) if !status.success() => {
                        let words = process.last_words();
                        faults.push(format!("node {} ended, {status}:\n{words}", process.id));
                    }
                    Some(_) => {}
                    None if Instant::now() >= end => {
                        process.kill()?;
                        faults.push(format!("node {} did not stop, and was killed", process.id));
                    }
                    None => {
                        signal_within(signals, 10)?;
                    }
                }
            }
        }
        ensure_none(&faults)?;
        match self.json {
            true => print_json(&json!({"state": "stopped"})),
            false => print("stopped in good order\n"),
        }
    }
}

fn ensure_none(faults: &[String]) -> Result<()> {
    match faults {
        [] => Ok(()),
        faults => Err(finding(anyhow!("{}", faults.join("\n")))),
    }
}

/// Whether a node is one of the first members, as its configuration says.
fn is_founder(folder: &ClusterFolder, id: u64) -> Result<bool> {
    let config = exahour_replicas::NodeConfig::load(&folder.config(id))?;
    let cluster = config.cluster.context("it has no [cluster]")?;
    Ok(cluster
        .founders
        .iter()
        .any(|member| member.id == NodeId(id)))
}

/// How many nodes the cluster has; those that only run beside it do not count.
fn size(survey: &Survey) -> String {
    let nodes = survey.nodes();
    let members: Vec<_> = nodes.iter().filter_map(|it| it.member).collect();
    let voters = members.iter().filter(|it| it.standing == Standing::Voter);
    match (members.len(), voters.count()) {
        (1, _) => "1 node".to_owned(),
        (all, voters) if all == voters => format!("{all} nodes"),
        (all, voters) => format!("{all} nodes, {voters} of which vote"),
    }
}

/// How a node stands in its cluster; none where it is no member.
fn standing_of(survey: &Survey, id: u64) -> Option<&'static str> {
    let nodes = survey.nodes();
    let node = nodes.iter().find(|it| it.id == Some(NodeId(id)))?;
    node.member.map(|it| status::standing(it.standing))
}

fn role_of(survey: &Survey, id: u64) -> &'static str {
    let found = survey.statuses().find(|it| it.id == NodeId(id));
    found.map_or("-", |it| status::role(it.role))
}

fn row(words: [&str; 7]) -> String {
    let [node, role, orders, market_data, drop_copy, peers, process] = words;
    format!(
        "{node:>6}  {role:<9}  {orders:<15}  {market_data:<15}  {drop_copy:<15}  {peers:<15}  {process}"
    )
}

#[cfg(test)]
mod tests {
    use exahour_replicas::NodeRole;

    use super::super::survey::tests::{member, status, survey};
    use super::*;

    #[test]
    fn who_is_no_member_is_not_counted() {
        let mut leader = status(1, NodeRole::Leader, 3);
        let seen = |leader: &exahour_replicas::NodeStatus| {
            survey(&[leader.clone(), status(3, NodeRole::Follower, 3)])
        };
        assert_eq!(size(&seen(&leader)), "3 nodes");
        leader.members.push(member(4, Standing::Learner, true));
        assert_eq!(size(&seen(&leader)), "4 nodes, 3 of which vote");
        leader.members.truncate(2);
        let seen = seen(&leader);
        assert_eq!(size(&seen), "2 nodes");
        assert_eq!(
            (standing_of(&seen, 2), standing_of(&seen, 3)),
            (Some("voter"), None)
        );
    }
}
