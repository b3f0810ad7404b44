//! The part of a node's configuration that makes it a member of a cluster.
//!
//! ```toml
//! [cluster]
//! node = 1                        # this node
//! key = "cluster.key"             # the secret of the cluster: 64 hexadecimal digits
//! [[cluster.member]]              # the first members, the same on every node
//! id = 1
//! peers = "10.0.0.1:7804"
//! orders = "10.0.0.1:7801"
//! ```
//! Read by `config`. A node that was added later names the first members too, and itself by `listen`.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use exahour_gateway::credentials::{KEY_BYTES, owner_only};
use exahour_journal::LogId;
use serde::Deserialize;

use crate::config::{Misfit, value};
use crate::members::{MEMBERS_MAX, Member, NodeId};
pub use crate::peers::handshake::ClusterKey;

impl ClusterKey {
    /// Reads a key file that only its owner may use.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn load(path: &Path) -> Result<Self, String> {
        let about = std::fs::metadata(path).map_err(|error| error.to_string())?;
        owner_only(about.mode())?;
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        Self::parse(&text).ok_or_else(|| "it is not 64 hexadecimal digits".to_owned())
    }

    /// Reads a key as it is written.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.trim();
        if digits.len() != 64 || !digits.is_ascii() {
            return None;
        }
        let mut key = [0; 32];
        for (place, byte) in key.iter_mut().enumerate() {
            *byte = u8::from_str_radix(digits.get(place * 2..place * 2 + 2)?, 16).ok()?;
        }
        Some(Self(key))
    }

    /// The id that all logs of the cluster's exchange carry.
    #[must_use]
    pub fn cluster_id(&self) -> [u8; 16] {
        let mut id = [0; 16];
        id.copy_from_slice(&self.derive("log id")[..16]);
        id
    }

    /// As [`ClusterKey::cluster_id`], as the journal has it.
    pub(crate) fn log_id(&self) -> LogId {
        LogId(self.cluster_id())
    }

    /// The key that a session of the genesis has on every node.
    pub(crate) fn session_key(&self, session: u32) -> [u8; KEY_BYTES] {
        self.derive(&format!("key of session {session}"))
    }

    fn derive(&self, purpose: &str) -> [u8; 32] {
        *blake3::keyed_hash(&self.0, purpose.as_bytes()).as_bytes()
    }
}

const _: () = assert!(KEY_BYTES == 32);

/// The table as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClusterTable {
    node: u64,
    key: PathBuf,
    #[serde(default)]
    listen: Option<SocketAddr>,
    #[serde(default)]
    files: u16,
    #[serde(default)]
    member: Vec<MemberTable>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MemberTable {
    id: u64,
    peers: SocketAddr,
    orders: SocketAddr,
}

/// A node's place in a cluster.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// Which member it is.
    pub node: NodeId,
    /// The cluster's secret.
    pub key: ClusterKey,
    /// Where it listens for peers and operators.
    pub listen: SocketAddr,
    /// The port that snapshots are fetched from; zero lets the system choose.
    pub files: u16,
    /// The first members.
    pub founders: Vec<Member>,
    /// Whether an empty folder is that of a new cluster: an operator's word, not the file's.
    pub founding: bool,
}

impl ClusterConfig {
    /// Whether the node is one of the first members.
    pub(crate) fn founds(&self) -> bool {
        self.founders.iter().any(|member| member.id == self.node)
    }

    /// Whether its first members are all reached at the same machine, to be tried there.
    pub(crate) fn on_one_machine(&self) -> bool {
        let machine = self.listen.ip();
        let others = self.founders.iter().filter(|it| it.id != self.node);
        let mut machines = others.map(|member| member.peers.ip()).peekable();
        machines.peek().is_some() && machines.all(|it| it == machine)
    }
}

impl ClusterTable {
    /// Checks what is written; a key file is looked for beside the configuration.
    pub(crate) fn check(self, beside: &Path) -> Result<ClusterConfig, Misfit> {
        let founders: Vec<Member> = self
            .member
            .iter()
            .map(|member| Member {
                id: NodeId(member.id),
                peers: member.peers,
                orders: member.orders,
            })
            .collect();
        for (index, member) in founders.iter().enumerate() {
            let twice = founders[..index].iter().any(|it| {
                it.id == member.id || it.peers == member.peers || it.orders == member.orders
            });
            if member.id.0 == 0 || twice {
                let path = format!("cluster.member.{index}.id");
                let expected = "a member with an id above zero and addresses of its own";
                return Err(value(&path, &member.id.to_string(), expected));
            }
        }
        if founders.is_empty() || founders.len() > MEMBERS_MAX {
            let found = founders.len().to_string();
            return Err(value("cluster.member", &found, "between 1 and 16 members"));
        }
        let node = NodeId(self.node);
        let own = founders.iter().find(|member| member.id == node);
        let listen = self.listen.or(own.map(|own| own.peers));
        let Some(listen) = listen.filter(|_| self.node > 0) else {
            let expected = "one of the members: a node that was added later needs `listen`, too";
            return Err(value("cluster.node", &self.node.to_string(), expected));
        };
        let path = beside.join(&self.key);
        let key = ClusterKey::load(&path).map_err(|why| {
            let found = format!("{} ({why})", path.display());
            value("cluster.key", &found, "a file of 64 hexadecimal digits")
        })?;
        Ok(ClusterConfig {
            node,
            key,
            listen,
            files: self.files,
            founders,
            founding: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use exahour_rings::IdleStrategy;

    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::NodeConfig;

    fn config(cluster: &str) -> Result<NodeConfig, String> {
        let folder = tempfile::tempdir().unwrap();
        write_key(&folder.path().join("a.key"), 0o600);
        write_key(&folder.path().join("open.key"), 0o640);
        let path = folder.path().join("node.toml");
        std::fs::write(&path, cluster).unwrap();
        NodeConfig::load(&path).map_err(|error| error.to_string())
    }

    fn write_key(path: &Path, mode: u32) {
        std::fs::write(path, "0f".repeat(32)).unwrap();
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    const THREE: &str = "\
        [[cluster.member]]\nid = 1\npeers = \"10.0.0.1:1\"\norders = \"10.0.0.1:2\"\n\
        [[cluster.member]]\nid = 2\npeers = \"10.0.0.2:1\"\norders = \"10.0.0.2:2\"\n\
        [[cluster.member]]\nid = 3\npeers = \"10.0.0.3:1\"\norders = \"10.0.0.3:2\"\n";

    #[test]
    fn a_member_is_found_among_the_first_and_a_later_one_names_its_address() {
        let text = format!("[cluster]\nnode = 2\nkey = \"a.key\"\n{THREE}");
        let cluster = config(&text).unwrap().cluster.unwrap();
        assert_eq!(cluster.listen, "10.0.0.2:1".parse::<SocketAddr>().unwrap());
        assert!(cluster.founds());
        assert_eq!(cluster.key.0, [0x0f; 32]);
        let text =
            format!("[cluster]\nnode = 4\nkey = \"a.key\"\nlisten = \"10.0.0.4:1\"\n{THREE}");
        let cluster = config(&text).unwrap().cluster.unwrap();
        assert!(!cluster.founds());
        assert_eq!(cluster.founders.len(), 3);
    }

    #[test]
    fn nodes_on_one_machine_yield_to_each_other_unless_their_layout_is_written() {
        let idles = |text: &str| -> Vec<IdleStrategy> {
            let layout = config(text).unwrap().layout;
            layout.threads.iter().map(|it| it.idle).collect()
        };
        let cluster = |machines: [&str; 3]| {
            let mut text = "[cluster]\nnode = 2\nkey = \"a.key\"\n".to_owned();
            for (id, machine) in (1..).zip(machines) {
                text.push_str(&format!(
                    "[[cluster.member]]\nid = {id}\npeers = \"{machine}:71{id}\"\norders = \"{machine}:72{id}\"\n"
                ));
            }
            text
        };
        let apart = cluster(["10.0.0.1", "10.0.0.2", "10.0.0.2"]);
        let together = cluster(["127.0.0.1"; 3]);
        let written = format!(
            "{together}[[thread]]\nname = \"all\"\nidle = \"backoff\"\nagents = [\"sequencer\"]\n"
        );
        assert!(!idles(&apart).contains(&IdleStrategy::Yield));
        assert!(idles(&together).contains(&IdleStrategy::Yield));
        assert!(!idles(&together).contains(&IdleStrategy::BackOff));
        let wakes_often = |it: &IdleStrategy| matches!(it, IdleStrategy::Park { micros: ..1_000 });
        assert!(idles(&apart).iter().any(wakes_often));
        assert!(!idles(&together).iter().any(wakes_often));
        assert_eq!(idles(&written), [IdleStrategy::BackOff]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            (
                format!("[cluster]\nnode = 4\nkey = \"a.key\"\n{THREE}"),
                "needs `listen`",
            ),
            (
                format!("[cluster]\nnode = 1\nkey = \"open.key\"\n{THREE}"),
                "others may use it (mode 640): chmod 600 it",
            ),
            (
                format!("[cluster]\nnode = 1\nkey = \"b.key\"\n{THREE}"),
                "64 hexadecimal digits",
            ),
            (
                "[cluster]\nnode = 1\nkey = \"a.key\"\n".to_owned(),
                "between 1 and 16",
            ),
            (
                format!(
                    "[cluster]\nnode = 1\nkey = \"a.key\"\n{}",
                    THREE.replace("id = 3", "id = 2")
                ),
                "addresses of its own",
            ),
        ] {
            let error = config(&text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
