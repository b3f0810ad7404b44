//! The folder of a cluster whose nodes run on this machine.
//!
//! ```text
//! DIR/cluster.key     the secret of the cluster; made last, so a folder that has it is whole
//! DIR/node-1.toml     the configuration of a node
//! DIR/node-1/         what it keeps, unless its configuration names another folder
//! DIR/node-1.log      what it has said
//! DIR/founded         every first member has begun: none may begin with nothing again
//! ```
//! Used by `run`, by the torture, and by whoever looks for a cluster in a folder.
//!
//! Always holds: ports stay as they were drawn; a node whose folder is lost is never begun anew.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use exahour_replicas::{ClusterKey, KeptGroup, Member, NodeConfig, NodeId, kept_group};
use exahour_wire::codes::Durability;

use super::configuration::{More, Plan, text_of};
use super::key::draw;
use super::ports::free_ports;

/// The secret of the cluster.
pub(crate) const KEY_FILE: &str = "cluster.key";

/// The mark of a cluster that has begun.
const FOUNDED: &str = "founded";

/// Ports of a node: orders, market data, drop copy, peers.
const PORTS: u16 = 4;

/// The folder of a cluster.
#[derive(Clone, Debug)]
pub(crate) struct ClusterFolder {
    path: PathBuf,
    /// The nodes that have a configuration here, in the order of their numbers.
    nodes: Vec<u64>,
}

impl ClusterFolder {
    /// Whether a folder is that of a cluster.
    pub(crate) fn is_one(path: &Path) -> bool {
        path.join(KEY_FILE).is_file()
    }

    /// The folder of a cluster that has been made.
    ///
    /// # Errors
    /// Where it is none.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        ensure!(
            Self::is_one(path),
            "{} is no folder of a cluster: it has no {KEY_FILE}",
            path.display()
        );
        let nodes = nodes_in(path)?;
        ensure!(
            !nodes.is_empty(),
            "{} has a {KEY_FILE} and no node-1.toml: it is no folder of `exahour cluster`",
            path.display()
        );
        Ok(Self {
            path: whole(path)?,
            nodes,
        })
    }

    /// Makes the folder of a new cluster of so many nodes.
    ///
    /// # Errors
    /// As [`Self::make`].
    pub(crate) fn create(path: &Path, count: u64, durability: Durability) -> Result<Self> {
        let founders = new_members(count)?;
        Self::make(path, &founders, |node, data| {
            text_of(&Plan {
                node: *node,
                data: Some(data),
                key: Path::new(KEY_FILE),
                founders: &founders,
                durability,
                shares: true,
                more: More::default(),
            })
        })
    }

    /// Makes the folder of a new cluster; `text` gives the configuration of each node, which keeps its data
    /// in the folder named.
    ///
    /// # Errors
    /// Where there is something else in it, or it cannot be written.
    pub(crate) fn make(
        path: &Path,
        founders: &[Member],
        text: impl Fn(&Member, &Path) -> Result<String>,
    ) -> Result<Self> {
        fs::create_dir_all(path)
            .with_context(|| format!("cannot make the folder {}", path.display()))?;
        let folder = Self {
            path: whole(path)?,
            nodes: founders.iter().map(|member| member.id.0).collect(),
        };
        clear(&folder.path)?;
        for node in founders {
            let file = folder.config(node.id.0);
            fs::write(&file, text(node, &folder.data(node.id.0))?)
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        draw(&folder.path.join(KEY_FILE))?;
        Ok(folder)
    }

    /// A node of this machine that is to be added, on free ports.
    ///
    /// # Errors
    /// Where no ports are free.
    pub(crate) fn new_member(id: u64) -> Result<Member> {
        let first = free_ports(1, PORTS)?.first().copied();
        first
            .map(|first| member_at(id, first))
            .context("no ports are free")
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The nodes that have a configuration here.
    pub(crate) fn nodes(&self) -> &[u64] {
        &self.nodes
    }

    pub(crate) fn config(&self, node: u64) -> PathBuf {
        self.path.join(format!("node-{node}.toml"))
    }

    /// The configuration of one of the nodes, whichever.
    pub(crate) fn any_config(&self) -> PathBuf {
        self.config(self.nodes.first().copied().unwrap_or(1))
    }

    /// Where a node of this folder keeps its data, unless its configuration says otherwise.
    pub(crate) fn data(&self, node: u64) -> PathBuf {
        self.path.join(format!("node-{node}"))
    }

    /// Where a node keeps its data, as its configuration says; in its own folder here where the one that is named
    /// is not there, as in a cluster whose folder was moved.
    ///
    /// # Errors
    /// Where the configuration cannot be read, or both are there.
    pub(crate) fn data_of(&self, node: u64) -> Result<PathBuf> {
        let (own, config) = (self.data(node), self.config(node));
        let read = NodeConfig::load(&config)?;
        let Some(place) = read.place_of("data") else {
            return Ok(own);
        };
        let named = whole(&read.data)?;
        let places = (named.canonicalize(), own.canonicalize());
        match places {
            (Ok(named), Ok(own)) if named != own => bail!(
                "node {node} has two folders: {}, as {place} says, and {}. Have the configuration name the right \
                 one, and move the other away",
                named.display(),
                own.display()
            ),
            (Err(_), Ok(_)) => Ok(own),
            _ => Ok(named),
        }
    }

    pub(crate) fn log(&self, node: u64) -> PathBuf {
        self.path.join(format!("node-{node}.log"))
    }

    /// The secret.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub(crate) fn key(&self) -> Result<ClusterKey> {
        load_key(&self.path.join(KEY_FILE))
    }

    /// The nodes, as their configurations say, without those that are members no more.
    ///
    /// # Errors
    /// Where one cannot be read.
    pub(crate) fn members(&self) -> Result<Vec<Member>> {
        let past = self.past()?;
        let nodes = self.nodes.iter().filter(|node| !past.contains(node));
        nodes.map(|node| member_of(&self.config(*node))).collect()
    }

    /// Nodes that are members no more, as the one says that knows the latest entry of the log.
    ///
    /// # Errors
    /// As [`Self::data_of`].
    pub(crate) fn past(&self) -> Result<Vec<u64>> {
        let mut newest: Option<KeptGroup> = None;
        for node in &self.nodes {
            // A folder that cannot be read is told of by its own node.
            let known = kept_group(&self.data_of(*node)?).ok().flatten();
            newest = known.into_iter().chain(newest).max_by_key(|it| it.at);
        }
        let nodes = self.nodes.iter().copied();
        Ok(match newest {
            Some(group) => nodes.filter(|id| group.is_past(NodeId(*id))).collect(),
            None => Vec::new(),
        })
    }

    /// Whether every first member has begun.
    pub(crate) fn founded(&self) -> bool {
        self.path.join(FOUNDED).exists()
    }

    /// Notes that every first member has begun.
    ///
    /// # Errors
    /// Where that cannot be written.
    pub(crate) fn note_founded(&self) -> Result<()> {
        let mark = self.path.join(FOUNDED);
        fs::write(&mark, "").with_context(|| format!("cannot write {}", mark.display()))
    }
}

/// So many nodes of this machine, on free ports.
///
/// # Errors
/// Where there are not so many ports.
pub(crate) fn new_members(count: u64) -> Result<Vec<Member>> {
    let firsts = free_ports(usize::try_from(count)?, PORTS)?;
    let members = firsts.into_iter().zip(1..);
    Ok(members.map(|(first, id)| member_at(id, first)).collect())
}

/// Removes what is left of a cluster that was being made when that was cut short.
///
/// # Errors
/// Where there is anything else.
fn clear(path: &Path) -> Result<()> {
    let entries =
        fs::read_dir(path).with_context(|| format!("cannot read the folder {}", path.display()))?;
    let mut cut_short = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        ensure!(
            node_of(&name.to_string_lossy()).is_some(),
            "{} is not empty and no folder of a cluster: name a new one",
            path.display()
        );
        cut_short.push(path.join(name));
    }
    for file in cut_short {
        fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
    }
    Ok(())
}

/// Reads a key file.
///
/// # Errors
/// Where it is none.
pub(crate) fn load_key(path: &Path) -> Result<ClusterKey> {
    let key = ClusterKey::load(path);
    key.map_err(|why| anyhow::anyhow!("the key of the cluster, {}: {why}", path.display()))
}

/// A node as its configuration says.
fn member_of(config: &Path) -> Result<Member> {
    let read = NodeConfig::load(config)?;
    let cluster = read.cluster.with_context(|| {
        format!(
            "{} is no node of a cluster: it has no [cluster]",
            config.display()
        )
    })?;
    Ok(Member {
        id: cluster.node,
        peers: cluster.listen,
        orders: read.listen.orders,
    })
}

fn member_at(id: u64, first: u16) -> Member {
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Member {
        id: NodeId(id),
        orders: at(first),
        peers: at(first + PORTS - 1),
    }
}

/// The number of a node, by the name of its configuration.
fn node_of(name: &str) -> Option<u64> {
    let number = name.strip_prefix("node-")?.strip_suffix(".toml")?;
    number.parse().ok().filter(|id| *id > 0)
}

fn nodes_in(path: &Path) -> Result<Vec<u64>> {
    let entries = fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut nodes = Vec::new();
    for entry in entries {
        nodes.extend(node_of(&entry?.file_name().to_string_lossy()));
    }
    nodes.sort_unstable();
    Ok(nodes)
}

fn whole(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot find {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_found_again_as_it_was_made() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("trial");
        assert!(!ClusterFolder::is_one(&path));
        let made = ClusterFolder::create(&path, 3, Durability::Durable).unwrap();
        assert!(!made.founded());
        made.note_founded().unwrap();
        let found = ClusterFolder::open(&path).unwrap();
        assert!(found.founded());
        assert_eq!(found.nodes(), [1, 2, 3]);
        assert_eq!(found.members().unwrap(), made.members().unwrap());
        let config = NodeConfig::load(&found.config(2)).unwrap();
        let cluster = config.cluster.unwrap();
        assert_eq!(cluster.founders, found.members().unwrap());
        assert_eq!(cluster.key.cluster_id(), found.key().unwrap().cluster_id());
        assert_eq!(config.data, found.data(2));
        let again = ClusterFolder::create(&path, 3, Durability::Durable).unwrap_err();
        assert!(again.to_string().contains("not empty"), "{again}");
    }

    #[test]
    fn data_is_where_the_configuration_says() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("trial");
        let made = ClusterFolder::create(&path, 3, Durability::Durable).unwrap();
        let elsewhere = scratch.path().join("elsewhere");
        let text = fs::read_to_string(made.config(2)).unwrap();
        let own = format!("{:?}", made.data(2));
        let text = text.replace(&own, &format!("{elsewhere:?}"));
        fs::write(made.config(2), text).unwrap();
        assert_eq!(made.data_of(2).unwrap(), elsewhere);
        fs::create_dir(&elsewhere).unwrap();
        fs::create_dir(made.data(1)).unwrap();
        assert_eq!(made.data_of(2).unwrap(), elsewhere);
        // A folder that was moved takes its nodes with it.
        let moved = scratch.path().join("moved");
        fs::rename(&path, &moved).unwrap();
        let moved = ClusterFolder::open(&moved).unwrap();
        assert_eq!(moved.data_of(1).unwrap(), moved.data(1));
        // Which of two is right nobody can know.
        fs::create_dir(moved.data(2)).unwrap();
        let refused = moved.data_of(2).unwrap_err().to_string();
        assert!(refused.contains("node 2 has two folders"), "{refused}");
    }

    #[test]
    fn a_folder_of_something_else_is_left_alone() {
        let scratch = tempfile::tempdir().unwrap();
        fs::write(scratch.path().join("identity"), "").unwrap();
        let refused = ClusterFolder::create(scratch.path(), 3, Durability::Durable);
        assert!(refused.unwrap_err().to_string().contains("name a new one"));
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_was_cut_short_is_made_again() {
        let scratch = tempfile::tempdir().unwrap();
        fs::write(scratch.path().join("node-5.toml"), "half").unwrap();
        assert!(ClusterFolder::open(scratch.path()).is_err());
        let made = ClusterFolder::create(scratch.path(), 3, Durability::Durable).unwrap();
        assert_eq!(made.members().unwrap().len(), 3);
    }
}
