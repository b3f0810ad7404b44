//! Where a torture takes place: a folder, the nodes' processes, their disks, and the wires between them.
//!
//! Always holds: whatever way the site goes, no process of it outlives it; a node that ends without having
//! been killed is a finding.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use exahour_gateway::credentials::{Key, Keys};
use exahour_replicas::{ClusterKey, Member, NodeId, NodeStatus, Reply, Request};
use exahour_wire::codes::Durability;
use exahour_wire::ids::SessionId;
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;

use super::disks::{NodeDisk, keep_mounts_to_us};
use super::plan::Own;
use super::wires::Wires;
use crate::cluster::configuration::{More, Plan, text_of};
use crate::cluster::folder::{ClusterFolder, KEY_FILE};
use crate::cluster::process::{NodeProcess, Tie};
use crate::cluster::survey::{Survey, ask};
use crate::exit::{Interrupted, finding};
use crate::start::{catch_signals, signal_within};

/// How long anything here may take before it counts as stuck.
pub(super) const PATIENCE: Duration = Duration::from_secs(180);

/// How long a node may take to be so far behind that it needs a snapshot, and to have one.
pub(super) const PATIENCE_FOR_SNAPSHOTS: Duration = Duration::from_secs(300);

/// Frequent hashes and snapshots, small segments, little of which is kept: kills hit them in the making. What is
/// given up is kept for the check.
const KEYS: &str = "checkpoint_every = 1000";
const TABLES: &str = "\
[journal]
segment_bytes = 1048576
keep_bytes = 2000000
archive = true
[snapshots]
journal_bytes = 400000
[capacity]
orders = 65536
positions = 1024
";

/// What a node says when its disk is full.
const DISK_FULL: &str = "the disk is full; new commands are refused";

/// Who leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leader {
    pub(super) node: u64,
    pub(super) term: u64,
}

/// What a place is made of.
#[derive(Clone, Copy)]
pub(super) struct Lot<'a> {
    pub(super) folder: &'a Path,
    pub(super) nodes: u64,
    pub(super) sessions: u32,
    pub(super) durability: Durability,
    pub(super) own: Own,
}

/// The place of a torture.
pub(super) struct Site {
    pub(super) folder: ClusterFolder,
    members: Vec<Member>,
    key: ClusterKey,
    nodes: BTreeMap<u64, NodeProcess>,
    wires: Wires,
    /// Those of the nodes' own, where they have any.
    disks: BTreeMap<u64, NodeDisk>,
    signals: SignalFd,
}

impl Site {
    /// Makes the folder, and starts nothing.
    ///
    /// # Errors
    /// Where there is something in it, or the system does not give nodes what they are to have of their own.
    pub(super) fn make(lot: &Lot<'_>) -> Result<Self> {
        // Before any thread is started: threads inherit what is blocked, and what is seen.
        let signals = catch_signals()?;
        if lot.own.disks {
            keep_mounts_to_us()?;
        }
        let (wires, members) = match lot.own.networks {
            true => Wires::networks(lot.nodes)?,
            false => Wires::carried(lot.nodes)?,
        };
        let tables = format!("{TABLES}{}", genesis(lot.sessions));
        let folder = ClusterFolder::make(lot.folder, &members, |node, data| {
            text_of(&Plan {
                node: *node,
                data: Some(data),
                key: Path::new(KEY_FILE),
                founders: &wires.seen_by(node.id, &members),
                durability: lot.durability,
                shares: true,
                more: More {
                    keys: KEYS,
                    tables: &tables,
                },
            })
        })?;
        let mut disks = BTreeMap::new();
        for node in folder.nodes().iter().filter(|_| lot.own.disks) {
            let image = folder.path().join(format!("node-{node}.disk"));
            disks.insert(*node, NodeDisk::make(&image, &folder.data(*node))?);
        }
        let space = |node| wires.own().and_then(|own| own.space_of(node));
        let nodes = folder.nodes().iter();
        let nodes = nodes
            .map(|node| {
                let process = NodeProcess::of(&folder, *node)?;
                Ok((*node, process.within(space(*node))))
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            key: folder.key()?,
            folder,
            members,
            nodes,
            wires,
            disks,
            signals,
        })
    }

    /// Starts all nodes of the new cluster.
    ///
    /// # Errors
    /// Where none of them leads in time.
    pub(super) fn found(&mut self) -> Result<()> {
        for node in self.nodes.values_mut() {
            node.start(true, Tie::Dies)?;
        }
        self.until("a leader", |site| {
            let survey = site.survey();
            let all = survey.statuses().count() == site.nodes.len();
            Ok((all && survey.quorum()).then_some(()))
        })?;
        self.folder.note_founded()
    }

    /// How the nodes stand, asked past the links.
    pub(super) fn survey(&self) -> Survey {
        let addresses: Vec<SocketAddr> = self.members.iter().map(|it| it.peers).collect();
        Survey::of(&addresses, &self.key)
    }

    /// The node that leads, once one does, and in which term.
    ///
    /// # Errors
    /// Where none does in time.
    pub(super) fn leader(&mut self) -> Result<Leader> {
        self.until("a leader", |site| {
            let survey = site.survey();
            let leader = survey.leader().map(|it| Leader {
                node: it.id.0,
                term: it.term,
            });
            // A leader that was cut off may not know yet; its process may have been killed meanwhile.
            Ok(leader.filter(|it| survey.quorum() && site.runs(it.node)))
        })
    }

    /// How often a node has said that its disk is full.
    pub(super) fn full_disks_told(&self) -> u64 {
        let told = |node: &NodeProcess| node.words().matches(DISK_FULL).count() as u64;
        self.nodes.values().map(told).sum()
    }

    fn runs(&self, id: u64) -> bool {
        self.nodes
            .get(&id)
            .is_some_and(|node| node.process().is_some())
    }

    /// The nodes, all of which run.
    pub(super) fn ids(&self) -> Vec<u64> {
        self.nodes.keys().copied().collect()
    }

    fn node(&mut self, id: u64) -> Result<&mut NodeProcess> {
        self.nodes.get_mut(&id).context("no such node")
    }

    /// Ends a node without warning.
    ///
    /// # Errors
    /// A finding, where it had ended before.
    pub(super) fn kill(&mut self, id: u64) -> Result<()> {
        self.check_nodes()?;
        let node = self.node(id)?;
        let status = node.kill()?.context("it does not run")?;
        let killed = std::os::unix::process::ExitStatusExt::signal(&status) == Some(9);
        ensure!(killed, ended(node, &status.to_string()));
        Ok(())
    }

    /// Starts a node again.
    ///
    /// # Errors
    /// Where the system refuses.
    pub(super) fn start(&mut self, id: u64) -> Result<()> {
        self.node(id)?.start(false, Tie::Dies)
    }

    /// Sends a node a signal that it outlives.
    ///
    /// # Errors
    /// Where the system refuses.
    pub(super) fn signal(&mut self, id: u64, signal: Signal) -> Result<()> {
        self.node(id)?.signal(signal)
    }

    /// What is between the nodes.
    pub(super) fn wires(&mut self) -> &mut Wires {
        &mut self.wires
    }

    /// The disk of a node.
    ///
    /// # Errors
    /// Where it has none of its own.
    pub(super) fn disk(&mut self, id: u64) -> Result<&mut NodeDisk> {
        let disk = self.disks.get_mut(&id);
        disk.context("the nodes have no disks of their own")
    }

    /// Puts what is on the nodes' disks into the folder, when no node runs any more.
    ///
    /// # Errors
    /// Where that cannot be done.
    pub(super) fn bring_out(&mut self) -> Result<()> {
        let mut disks = std::mem::take(&mut self.disks).into_values();
        disks.try_for_each(NodeDisk::bring_out)
    }

    /// How a node stands, if it answers.
    pub(super) fn status_of(&self, id: u64) -> Option<NodeStatus> {
        let member = self.members.iter().find(|it| it.id == NodeId(id))?;
        match ask(member.peers, &self.key, &Request::Status).ok()? {
            Reply::Status(status) => Some(*status),
            _ => None,
        }
    }

    /// Where a node is asked.
    pub(super) fn reach(&self, id: u64) -> Result<(SocketAddr, &ClusterKey)> {
        let member = self.members.iter().find(|it| it.id == NodeId(id));
        Ok((member.context("no such node")?.peers, &self.key))
    }

    /// Where clients go.
    pub(super) fn orders(&self) -> Vec<SocketAddr> {
        self.members.iter().map(|it| it.orders).collect()
    }

    /// The key of a session, which is the same on every node.
    ///
    /// # Errors
    /// Where no node has written it.
    pub(super) fn key_of(&self, session: SessionId) -> Result<Key> {
        let first = self.folder.nodes().first().copied().unwrap_or(1);
        let keys = Keys::load(&self.folder.data(first).join("keys"))?;
        let key = keys.key_of(session).cloned();
        key.with_context(|| format!("there is no session {session}"))
    }

    /// Waits until all nodes have applied the same; the last entry.
    ///
    /// # Errors
    /// Where that does not come about in time.
    pub(super) fn await_level(&mut self) -> Result<u64> {
        self.until("all nodes are level", |site| {
            let survey = site.survey();
            let statuses: Vec<&NodeStatus> = survey.statuses().collect();
            let Some(index) = statuses.first().map(|it| it.last_index) else {
                return Ok(None);
            };
            let level = |it: &&NodeStatus| [it.last_index, it.committed, it.applied] == [index; 3];
            let all = statuses.len() == site.nodes.len() && survey.quorum();
            Ok((all && statuses.iter().all(level)).then_some(index))
        })
    }

    /// Stops all nodes in good order.
    ///
    /// # Errors
    /// A finding, where one does not stop so.
    pub(super) fn stop(&mut self) -> Result<()> {
        for node in self.nodes.values() {
            node.signal(Signal::SIGTERM)?;
        }
        for id in self.ids() {
            self.until("a node stops", |site| {
                let node = site.node(id)?;
                if node.process().is_none() {
                    return Ok(Some(()));
                }
                let status = node.ended()?;
                ensure!(
                    status.is_none_or(|status| status.success()),
                    ended(node, &status.unwrap_or_default().to_string())
                );
                Ok(status.map(drop))
            })?;
        }
        Ok(())
    }

    /// Looks whether all nodes run that should.
    ///
    /// # Errors
    /// A finding, where one has ended that nobody has killed.
    pub(super) fn check_nodes(&mut self) -> Result<()> {
        for node in self.nodes.values_mut() {
            if let Some(status) = node.ended()? {
                return Err(ended(node, &status.to_string()));
            }
        }
        Ok(())
    }

    /// Asks until there is an answer, for a while; not when somebody has had enough.
    pub(super) fn until<T>(
        &mut self,
        what: &str,
        ask: impl FnMut(&mut Self) -> Result<Option<T>>,
    ) -> Result<T> {
        self.until_within(PATIENCE, what, ask)
    }

    /// As [`Self::until`], for a while of the caller's choice.
    pub(super) fn until_within<T>(
        &mut self,
        patience: Duration,
        what: &str,
        mut ask: impl FnMut(&mut Self) -> Result<Option<T>>,
    ) -> Result<T> {
        let end = Instant::now() + patience;
        loop {
            if let Some(found) = ask(self)? {
                return Ok(found);
            }
            if Instant::now() >= end {
                return Err(finding(anyhow!(
                    "{what}: not within {} s: {:?}",
                    patience.as_secs(),
                    self.survey()
                )));
            }
            self.rest(Duration::from_millis(5))?;
        }
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// Where somebody has had enough.
    pub(super) fn rest(&self, span: Duration) -> Result<()> {
        let end = Instant::now() + span;
        loop {
            let left = end.saturating_duration_since(Instant::now()).as_millis();
            let left = u8::try_from(left.min(100)).unwrap_or(100);
            match signal_within(&self.signals, left)? {
                Some(signal) => return Err(Interrupted(signal).into()),
                None if left == 0 => return Ok(()),
                None => {}
            }
        }
    }
}

fn ended(node: &NodeProcess, status: &str) -> anyhow::Error {
    finding(anyhow!(
        "node {} ended, {status}, and nobody had killed it:\n{}",
        node.id,
        node.last_words()
    ))
}

/// Two firms with a session for each client in turn, and one contract.
fn genesis(sessions: u32) -> String {
    let mut text = String::from("[genesis]\n");
    for (firm, name) in [(1, "Alpha"), (2, "Beta")] {
        text.push_str(&format!(
            "[[genesis.participant]]\nid = {firm}\nname = \"{name}\"\n[[genesis.account]]\nid = {firm}00\n\
             participant = {firm}\nname = \"{name} house\"\ndeposit = \"1000000000\"\n"
        ));
    }
    for session in 1..=sessions {
        let firm = 2 - session % 2;
        text.push_str(&format!(
            "[[genesis.session]]\nid = {session}\nparticipant = {firm}\nmay = [\"trade\"]\n"
        ));
    }
    text.push_str(
        "[[genesis.instrument]]\nid = 1\nsymbol = \"GPU-H100-EU\"\nkind = \"spot\"\nclass = \"gpu\"\n\
         zone = \"eu-1\"\ngrade = [2, 2, 2]\nhours = 1\ntick = \"0.01\"\nreference = \"2.50\"\n\
         margin = \"1.00\"\ntrades_for_s = 31536000\nquantity_max = 1000000\nvalue_max = \"100000000\"\n\
         collar_ppm = 500000\nprotection_ppm = 50000\n",
    );
    text
}
