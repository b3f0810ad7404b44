//! That deliveries under way outlive the leader of a cluster: its followers have the same obligations, and the
//! settlement process finds the next leader by itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use exahour_replicas::{ClusterKey, NodeId, NodeRole, Operator, Reply, Request};
use exahour_wire::ids::ObligationId;
use tempfile::TempDir;

use super::machines::buyer;
use super::market::{
    self, BUYER, Traders, assert_split, folder, settled, settlement as settlement_of, wait_for,
};
use super::process::{Killed, complete, node_of, said, settlement_beside};

const KEY: &str = "5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e";

/// The node beside which the settlement process runs.
const BESIDE: u64 = 1;

/// Three nodes, each a process of its own.
struct Cluster {
    dir: TempDir,
    /// Where peers and clients reach each.
    members: BTreeMap<u64, (SocketAddr, SocketAddr)>,
    running: BTreeMap<u64, Killed>,
}

impl Cluster {
    fn found() -> Cluster {
        // Held until every port is chosen, so that no two are the same.
        let ports: Vec<TcpListener> = (0..6)
            .map(|_| TcpListener::bind("127.0.0.1:0").expect("port"))
            .collect();
        let address = |place: u64| {
            let place = usize::try_from(place).expect("small");
            ports[place].local_addr().expect("address")
        };
        let members: BTreeMap<u64, (SocketAddr, SocketAddr)> = (1..=3)
            .map(|id| (id, (address(2 * id - 2), address(2 * id - 1))))
            .collect();
        drop(ports);
        let cluster = Cluster {
            dir: folder(),
            members,
            running: BTreeMap::new(),
        };
        let key = cluster.dir.path().join("cluster.key");
        fs::write(&key, KEY).expect("key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("key");
        for id in 1..=3 {
            fs::write(cluster.config(id), cluster.text(id)).expect("configuration");
        }
        cluster
    }

    fn config(&self, id: u64) -> PathBuf {
        self.dir.path().join(format!("node-{id}.toml"))
    }

    fn data(&self, id: u64) -> PathBuf {
        self.dir.path().join(format!("node-{id}"))
    }

    fn text(&self, id: u64) -> String {
        let (peers, orders) = self.members[&id];
        let mut text = format!(
            "[listen]\norders = \"{orders}\"\nmarket_data = \"127.0.0.1:0\"\ndrop_copy = \"127.0.0.1:0\"\n\
             [journal]\nsegment_bytes = 1048576\n[capacity]\norders = 1024\npositions = 1024\n\
             [cluster]\nnode = {id}\nkey = \"cluster.key\"\nlisten = \"{peers}\"\n"
        );
        for (id, (peers, orders)) in &self.members {
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "[[cluster.member]]\nid = {id}\npeers = \"{peers}\"\norders = \"{orders}\"\n"
            );
        }
        text
    }

    fn start(&mut self, id: u64) {
        let node = node_of(&self.data(id), Some(&self.config(id)));
        self.running.insert(id, node);
    }

    /// The node that leads, once one does.
    fn leader(&self) -> u64 {
        let key = ClusterKey::parse(KEY).expect("key");
        let mut leader = None;
        wait_for("a leader", || {
            leader = self.running.keys().copied().find(|id| {
                let asked = Operator::connect(self.members[id].0, &key, Duration::from_secs(1));
                let status = asked.and_then(|mut node| node.ask(&Request::Status));
                matches!(status, Ok(Reply::Status(it)) if it.role == NodeRole::Leader && it.id == NodeId(*id))
            });
            leader.is_some()
        });
        leader.expect("waited for")
    }
}

#[test]
fn deliveries_outlive_the_leader_of_a_cluster() {
    let mut cluster = Cluster::found();
    (1..=3).for_each(|id| cluster.start(id));
    cluster.leader();
    let dir = cluster.dir.path().to_path_buf();
    let data = cluster.data(BESIDE);
    let nodes = cluster
        .members
        .values()
        .map(|(_, orders)| *orders)
        .collect();
    let mut traders = Traders::new(&data, nodes);
    let key = buyer()
        .public_key()
        .key_data()
        .ed25519()
        .expect("ed25519")
        .0;
    traders.register(BUYER, [key]);
    let process = settlement_beside(&data, &dir, &["--close-early", "3"]).spawn();
    let settler = Killed(process.expect("settlement"));

    // Before, while and after a delivery is under way, whoever leads is killed.
    let mut ids: Vec<ObligationId> = Vec::new();
    for _ in 0..3 {
        ids.push(traders.deliver(1));
        let leader = cluster.leader();
        cluster.running.remove(&leader);
        cluster.leader();
        cluster.start(leader);
    }
    wait_for("all settlements", || settled(&data).len() >= ids.len());
    drop(settler);
    complete(
        &dir,
        settlement_beside(&data, &dir, &["--once", "--close-early", "3"]),
        "at the end",
    );
    for id in ids {
        for node in 1..=3 {
            let data = cluster.data(node);
            wait_for("every node to tell of it", || {
                settled(&data).iter().any(|it| it.obligation == id)
            });
            assert_split(&settlement_of(&data, id), 1);
        }
    }
    assert_eq!(
        market::assigned(&data).len(),
        settled(&data).len(),
        "{}",
        said(&dir)
    );
}
