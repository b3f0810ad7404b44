//! A cluster of processes on this machine, for as long as something is measured.
//!
//! Used by the topics `cluster` and `failover`.
//!
//! Always holds: processes are ended by the handle that they were started with, at the latest when the site
//! is dropped.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use exahour_replicas::{ClusterKey, Member, NodeRole, NodeStatus, Operator, Reply, Request};
use exahour_rings::IdleStrategy;

use super::node::Running;
use crate::cluster::folder::{KEY_FILE, load_key, new_members};
use crate::cluster::key::draw;

/// How long a cluster may take to do what it was told.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long a node may take to answer an operator.
const ANSWER: Duration = Duration::from_secs(2);

/// From one look at the nodes to the next.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How the nodes are set up.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How many; one is a node alone.
    pub nodes: usize,
    /// Whether an acknowledgement waits for the disks.
    pub durable: bool,
    /// How the thread that orders pass through waits; none for the default.
    pub idle: Option<IdleStrategy>,
}

struct NodeProcess {
    child: Child,
    /// The node stops in good order when this is closed.
    input: Option<ChildStdin>,
    running: Running,
}

/// The nodes.
pub struct Site {
    folder: PathBuf,
    settings: Settings,
    key: ClusterKey,
    members: Vec<Member>,
    nodes: Vec<Option<NodeProcess>>,
    founded: bool,
}

impl Site {
    /// Founds a cluster in a folder of its own; `extra` is more of the nodes' configuration.
    ///
    /// # Errors
    /// What keeps the nodes from starting, or from electing one.
    pub fn found(folder: &Path, settings: Settings, extra: &str) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let key = folder.join(KEY_FILE);
        draw(&key)?;
        let mut site = Self {
            folder: folder.to_path_buf(),
            settings,
            key: load_key(&key)?,
            members: new_members(settings.nodes as u64)?,
            nodes: (0..settings.nodes).map(|_| None).collect(),
            founded: false,
        };
        for index in 0..settings.nodes {
            site.write_config(index, extra)?;
            site.start(index)?;
        }
        site.leader()?;
        site.founded = true;
        Ok(site)
    }

    fn write_config(&self, index: usize, extra: &str) -> anyhow::Result<()> {
        let own = self.members[index];
        let mut text = format!(
            "[listen]\norders = \"{}\"\nmarket_data = \"127.0.0.1:0\"\ndrop_copy = \"127.0.0.1:0\"\n{extra}\n",
            own.orders
        );
        if self.members.len() > 1 {
            text.push_str(&format!(
                "[cluster]\nnode = {}\nkey = \"cluster.key\"\nfiles = 0\n",
                own.id
            ));
            for member in &self.members {
                text.push_str(&format!(
                    "[[cluster.member]]\nid = {}\npeers = \"{}\"\norders = \"{}\"\n",
                    member.id, member.peers, member.orders
                ));
            }
        }
        std::fs::write(self.config(index), text)?;
        Ok(())
    }

    fn config(&self, index: usize) -> PathBuf {
        self.folder.join(format!("node-{}.toml", index + 1))
    }

    /// Starts a node and waits until it has recovered.
    ///
    /// # Errors
    /// Where it cannot.
    pub fn start(&mut self, index: usize) -> anyhow::Result<()> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bench", "node", "--config"]);
        command.arg(self.config(index)).arg("--data");
        command.arg(self.folder.join(format!("node-{}", index + 1)));
        command.args((!self.founded && self.members.len() > 1).then_some("--found"));
        command.args((!self.settings.durable).then_some("--replicated"));
        if let Some(idle) = self.settings.idle {
            command.arg("--idle").arg(idle.to_string());
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("its standard output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let running = serde_json::from_str(&line);
        if running.is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.nodes[index] = Some(NodeProcess {
            child,
            input,
            running: running.with_context(|| format!("node {} did not start", index + 1))?,
        });
        Ok(())
    }

    /// Ends a node at once, as a fault of its process would; when that was.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn kill(&mut self, index: usize) -> anyhow::Result<Instant> {
        let mut node = self.nodes[index].take().context("it does not run")?;
        let at = Instant::now();
        node.child.kill()?;
        node.child.wait()?;
        Ok(at)
    }

    /// Stops a node in good order.
    ///
    /// # Errors
    /// Where it does not end well.
    pub fn stop(&mut self, index: usize) -> anyhow::Result<()> {
        let mut node = self.nodes[index].take().context("it does not run")?;
        drop(node.input.take());
        let status = node.child.wait()?;
        ensure!(status.success(), "node {} ended: {status}", index + 1);
        Ok(())
    }

    /// How a node stands, where it answers.
    #[must_use]
    pub fn status(&self, index: usize) -> Option<NodeStatus> {
        self.nodes[index].as_ref()?;
        let address = self.members[index].peers;
        let mut operator = Operator::connect(address, &self.key, ANSWER).ok()?;
        match operator.ask(&Request::Status).ok()? {
            Reply::Status(status) => Some(*status),
            _ => None,
        }
    }

    fn statuses(&self) -> Vec<NodeStatus> {
        (0..self.nodes.len())
            .filter_map(|index| self.status(index))
            .collect()
    }

    /// Waits until one leads and a quorum follows it; which.
    ///
    /// # Errors
    /// Where it takes too long.
    pub fn leader(&self) -> anyhow::Result<usize> {
        if self.members.len() == 1 {
            return Ok(0);
        }
        self.until("one leads", |statuses| {
            let term = statuses.iter().map(|it| it.term).max()?;
            let leads = |it: &&NodeStatus| it.role == NodeRole::Leader && it.term == term;
            let leader = statuses.iter().find(leads)?;
            let follows = |it: &&NodeStatus| it.leader == Some(leader.id);
            let followed = statuses.iter().filter(follows).count();
            (followed * 2 > self.members.len()).then_some(leader.id.0 as usize - 1)
        })
    }

    /// Waits until all nodes that run have applied the same entries.
    ///
    /// # Errors
    /// Where it takes too long.
    pub fn level(&self) -> anyhow::Result<()> {
        let count = self.nodes.iter().flatten().count();
        self.until("all are level", |statuses| {
            let last = statuses.iter().map(|it| it.last_index).max()?;
            let level = |it: &NodeStatus| it.committed == last && it.applied == last;
            (statuses.len() == count && statuses.iter().all(level)).then_some(())
        })
    }

    fn until<T>(
        &self,
        what: &str,
        mut done: impl FnMut(&[NodeStatus]) -> Option<T>,
    ) -> anyhow::Result<T> {
        let end = Instant::now() + PATIENCE;
        loop {
            let statuses = self.statuses();
            if let Some(done) = done(&statuses) {
                return Ok(done);
            }
            ensure!(
                Instant::now() < end,
                "waited {PATIENCE:?} until {what}: {statuses:?}"
            );
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// The highest term that a node is in.
    ///
    /// # Errors
    /// Where no node answers.
    pub fn term(&self) -> anyhow::Result<u64> {
        let terms = self.statuses().into_iter().map(|it| it.term);
        terms.max().context("a node answers")
    }

    /// How many nodes it has.
    #[must_use]
    pub fn count(&self) -> usize {
        self.members.len()
    }

    /// Where a node takes orders.
    #[must_use]
    pub fn orders(&self, index: usize) -> SocketAddr {
        let process = self.nodes[index].as_ref();
        process.map_or(self.members[index].orders, |it| it.running.orders)
    }

    /// Where all nodes take orders.
    #[must_use]
    pub fn all_orders(&self) -> Vec<SocketAddr> {
        self.members.iter().map(|it| it.orders).collect()
    }

    /// The file of the sessions' keys: the same on every node of a cluster.
    ///
    /// # Errors
    /// Where no node runs.
    pub fn keys(&self) -> anyhow::Result<&Path> {
        let node = self.nodes.iter().flatten().next();
        Ok(&node.context("no node runs")?.running.keys)
    }

    /// Seconds of processor time that each node has taken, in the order of the nodes.
    #[must_use]
    pub fn cpu_seconds(&self) -> Vec<f64> {
        let nodes = self.nodes.iter().flatten();
        nodes
            .map(|node| cpu_seconds_of(node.child.id()).unwrap_or(0.0))
            .collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for node in self.nodes.iter_mut().flatten() {
            // What was measured is measured; nothing rests on how they end.
            let _ = node.child.kill();
            let _ = node.child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// User and system time of a process, from the kernel.
fn cpu_seconds_of(process: u32) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // Behind the name, which is in brackets: state, then 10 more, then user and system time in ticks.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
    Some((user + system) / ticks as f64)
}
