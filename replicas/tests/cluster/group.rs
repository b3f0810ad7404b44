//! A cluster to try things on, each node with its own folder and its own ports.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use exahour_gateway::client::{Client, ClientConfig};
use exahour_gateway::clock::{Clock, SystemClock};
use exahour_gateway::credentials::Keys;
use exahour_gateway::feed::client::FeedClient;
use exahour_gateway::image::Flow;
use exahour_journal::{Reader, Verify, inspect};
use exahour_replicas::{
    ClusterKey, FRAME_COMMANDS, Member, Node, NodeConfig, NodeError, NodeId, NodeRole, NodeStatus,
    Operator, Reply, Request, opens_again,
};
use exahour_wire::codes::{Durability, FeedDepth};
use exahour_wire::events::OrderAccepted;
use exahour_wire::ids::SessionId;
use exahour_wire::message::{Message, messages, peek_header};
use exahour_wire::orders::NewOrder;

use crate::in_and_out::read_events;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
const ANSWER: Duration = Duration::from_secs(5);

pub(crate) struct Group {
    folder: tempfile::TempDir,
    key: ClusterKey,
    members: BTreeMap<u64, Member>,
    founders: Vec<Member>,
    nodes: BTreeMap<u64, Node>,
    founded: Vec<u64>,
    /// More lines of every node's configuration.
    pub(crate) more: String,
    durability: Durability,
}

/// An address that nobody listens on, below those that the system gives to connections.
fn free_address() -> SocketAddr {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let taken = TAKEN.fetch_add(1, Ordering::Relaxed);
        let port = 10_000 + (std::process::id() * 61 + taken) % 20_000;
        let address = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap()));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// What all nodes have told their operators.
static NOTICES: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn note(notice: &str) {
    eprintln!("{notice}");
    NOTICES.lock().unwrap().push(notice.to_owned());
}

/// How many notices have begun with these words.
pub(crate) fn notices_of(words: &str) -> usize {
    let notices = NOTICES.lock().unwrap();
    notices.iter().filter(|it| it.starts_with(words)).count()
}

impl Group {
    /// A new cluster of three whose nodes keep next to nothing of their journals.
    pub(crate) fn that_releases() -> Self {
        let little = "[journal]\nsegment_bytes = 262144\nkeep_bytes = 1\n[snapshots]\njournal_bytes = 65536\n";
        Self::founded_with(3, little)
    }

    /// A new cluster of so many nodes, all started.
    pub(crate) fn founded(count: u64) -> Self {
        Self::founded_with(count, "[journal]\nsegment_bytes = 1048576\n")
    }

    /// The same, with more lines of configuration.
    pub(crate) fn founded_with(count: u64, more: &str) -> Self {
        Self::founded_under(Durability::Durable, count, more)
    }

    /// The same, under another promise.
    pub(crate) fn founded_under(durability: Durability, count: u64, more: &str) -> Self {
        let mut group = Self {
            folder: tempfile::tempdir().unwrap(),
            key: ClusterKey::parse(&"a7".repeat(32)).unwrap(),
            members: BTreeMap::new(),
            founders: Vec::new(),
            nodes: BTreeMap::new(),
            founded: Vec::new(),
            more: more.to_owned(),
            durability,
        };
        group.founders = (1..=count).map(|id| group.new_member(id)).collect();
        let key = group.folder.path().join("cluster.key");
        std::fs::write(&key, "a7".repeat(32)).unwrap();
        std::fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
        for id in 1..=count {
            group.start(id);
        }
        group
    }

    pub(crate) fn new_member(&mut self, id: u64) -> Member {
        let member = Member {
            id: NodeId(id),
            peers: free_address(),
            orders: free_address(),
        };
        self.members.insert(id, member);
        member
    }

    /// The data folder of a node.
    pub(crate) fn data(&self, id: u64) -> PathBuf {
        self.folder.path().join(format!("node-{id}"))
    }

    fn config(&self, id: u64) -> NodeConfig {
        let own = self.members[&id];
        let mut text = format!(
            "[listen]\norders = \"{}\"\nmarket_data = \"127.0.0.1:0\"\n\
             drop_copy = \"127.0.0.1:0\"\n{more}\
             [[thread]]\nname = \"exchange\"\nidle = \"park:200us\"\n\
             agents = [\"order-gateway\", \"sequencer\", \"disk\", \"engine\"]\n\
             [[thread]]\nname = \"others\"\nidle = \"park:2000us\"\n\
             agents = [\"market-data\", \"drop-copy\", \"staging\", \"snapshots\", \"courier\"]\n\
             [cluster]\nnode = {id}\nkey = \"cluster.key\"\nlisten = \"{}\"\n",
            own.orders,
            own.peers,
            more = self.more
        );
        for member in &self.founders {
            text.push_str(&format!(
                "[[cluster.member]]\nid = {}\npeers = \"{}\"\norders = \"{}\"\n",
                member.id, member.peers, member.orders
            ));
        }
        let path = self.folder.path().join(format!("node-{id}.toml"));
        std::fs::write(&path, text).unwrap();
        let mut config = NodeConfig::load(&path).unwrap();
        config.data = self.data(id);
        config.notice = note;
        config.set_durability(self.durability);
        config
    }

    pub(crate) fn try_start(&mut self, id: u64) -> Result<(), NodeError> {
        let mut config = self.config(id);
        if let Some(cluster) = &mut config.cluster {
            cluster.founding = !self.founded.contains(&id);
        }
        let node = Node::start(&config)?;
        self.founded.push(id);
        self.nodes.insert(id, node);
        Ok(())
    }

    /// Opens nodes again that have fetched a snapshot; which.
    pub(crate) fn reopen(&mut self) -> Vec<u64> {
        let ended = self.nodes.iter().filter(|(_, node)| node.finished());
        let ended: Vec<u64> = ended.map(|(id, _)| *id).collect();
        for id in &ended {
            let failure = self.nodes.remove(id).unwrap().join().unwrap_err();
            assert!(opens_again(&failure), "node {id}: {failure}");
            self.start(*id);
        }
        ended
    }

    /// Whether a node has ended by itself.
    pub(crate) fn has_ended(&self, id: u64) -> bool {
        self.nodes.get(&id).is_some_and(Node::finished)
    }

    pub(crate) fn start(&mut self, id: u64) {
        self.try_start(id).unwrap();
    }

    pub(crate) fn stop(&mut self, id: u64) {
        self.nodes.remove(&id).unwrap().stop().unwrap();
    }

    pub(crate) fn empty_folder(&self, id: u64) {
        std::fs::remove_dir_all(self.data(id)).unwrap();
    }

    /// The journal of a node.
    pub(crate) fn journal(&self, id: u64) -> PathBuf {
        self.data(id).join("journal")
    }

    /// The snapshots of a node.
    pub(crate) fn snapshots(&self, id: u64) -> PathBuf {
        self.data(id).join("snapshots")
    }

    /// The event log of a node.
    pub(crate) fn events_folder(&self, id: u64) -> PathBuf {
        self.data(id).join("events")
    }

    /// Why a node has ended by itself.
    pub(crate) fn ended_because(&mut self, id: u64) -> String {
        self.until("it ends", |group| group.has_ended(id));
        let failure = self.nodes.remove(&id).unwrap().join().unwrap_err();
        failure.to_string()
    }

    /// Why a node does not start.
    pub(crate) fn refused_start(&mut self, id: u64) -> String {
        self.try_start(id).unwrap_err().to_string()
    }

    /// How many damaged parts of its journal a node has set aside.
    pub(crate) fn damaged_parts(&self, id: u64) -> usize {
        let names = std::fs::read_dir(self.data(id).join("journal")).unwrap();
        let names = names.map(|it| it.unwrap().file_name().into_string().unwrap());
        names.filter(|it| it.starts_with("damaged-")).count()
    }

    pub(crate) fn ask(&self, id: u64, request: &Request) -> Reply {
        self.try_ask(id, request).unwrap()
    }

    /// Asks whoever leads, and again where the lead has just moved or it says so.
    pub(crate) fn ask_leader(&self, request: &Request) -> Reply {
        let mut reply = None;
        self.until("the leader answers", |group| {
            let leader = group.leader();
            reply = group.try_ask(leader, request);
            match &reply {
                None | Some(Reply::NotNow(_)) => false,
                Some(Reply::Refused(_)) => group.try_leader() == Some(leader),
                Some(_) => true,
            }
        });
        reply.unwrap_or_else(|| self.ask_leader(request))
    }

    /// How the leader stands.
    pub(crate) fn leader_status(&self) -> Option<NodeStatus> {
        self.status(self.try_leader()?)
    }

    fn try_ask(&self, id: u64, request: &Request) -> Option<Reply> {
        let address = self.members[&id].peers;
        let mut operator = Operator::connect(address, &self.key, ANSWER).ok()?;
        operator.ask(request).ok()
    }

    pub(crate) fn status(&self, id: u64) -> Option<NodeStatus> {
        match self.try_ask(id, &Request::Status)? {
            Reply::Status(status) => Some(*status),
            reply => panic!("{reply:?}"),
        }
    }

    pub(crate) fn statuses(&self) -> Vec<NodeStatus> {
        self.nodes
            .keys()
            .filter_map(|id| self.status(*id))
            .collect()
    }

    /// Whether a node lets clients of its market data in, and shows them whole books.
    pub(crate) fn serves_market_data(&self, id: u64) -> bool {
        let address = self.nodes[&id].addresses().market_data;
        let mut feed = FeedClient::new(address, FeedDepth::Orders, Flow::All);
        let mut clock = SystemClock::default();
        let end = Instant::now() + ANSWER;
        while !feed.image().whole() && Instant::now() < end {
            feed.poll(clock.steady(), &mut |_, _| {}).unwrap();
            feed.wait(Duration::from_millis(10));
        }
        feed.image().whole()
    }

    /// Waits until it is so.
    pub(crate) fn until(&self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            let states = || format!("{:?}", self.statuses());
            assert!(
                Instant::now() < end,
                "{what}: not within {PATIENCE:?}: {}",
                states()
            );
            std::thread::yield_now();
        }
    }

    /// The node that leads, as it says itself and its followers agree.
    pub(crate) fn try_leader(&self) -> Option<u64> {
        let statuses = self.statuses();
        let term = statuses.iter().map(|it| it.term).max()?;
        let leads = |it: &&NodeStatus| it.role == NodeRole::Leader && it.term == term;
        let leader = statuses.iter().find(leads)?;
        let followed = statuses
            .iter()
            .filter(|it| it.leader == Some(leader.id))
            .count();
        (followed * 2 > self.founders.len()).then_some(leader.id.0)
    }

    pub(crate) fn leader(&self) -> u64 {
        self.until("a leader", |group| group.try_leader().is_some());
        self.try_leader().unwrap_or_else(|| self.leader())
    }

    /// Whether all nodes that run have applied the same entries.
    pub(crate) fn level(&self) -> bool {
        let statuses = self.statuses();
        let index = statuses.first().map_or(0, |it| it.last_index);
        let level = |it: &NodeStatus| [it.last_index, it.committed, it.applied] == [index; 3];
        statuses.len() == self.nodes.len() && statuses.iter().all(level)
    }

    /// Waits until all nodes that run have applied the same entries; the last of them.
    pub(crate) fn wait_until_level(&self) -> u64 {
        self.until("all are level", Self::level);
        self.statuses().first().map_or(0, |it| it.last_index)
    }

    /// A client that begins with one node, and knows the others.
    pub(crate) fn connect(&self, id: u64, session: u32) -> Client {
        let keys = Keys::load(self.nodes[&id].keys()).unwrap();
        let session = SessionId(session);
        let mut config = ClientConfig::new(session, keys.key_of(session).unwrap().clone());
        config.nodes = self.members.values().map(|it| it.orders).collect();
        config.failover_timeout = PATIENCE;
        Client::connect(self.members[&id].orders, config).unwrap()
    }

    /// A client that knows every node, and finds the leader by itself.
    pub(crate) fn connect_to_all(&self, session: u32) -> Client {
        self.connect(*self.members.keys().min().unwrap(), session)
    }

    /// Stops all nodes and checks that they have the same commands up to an entry, which are given: what
    /// came while they stopped need not have reached all.
    pub(crate) fn history(&mut self, until: u64) -> Vec<u8> {
        let ids: Vec<u64> = self.nodes.keys().copied().collect();
        for (_, node) in std::mem::take(&mut self.nodes) {
            node.stop().unwrap();
        }
        let first = self.commands(ids[0], until);
        for id in &ids[1..] {
            // Not by `assert_eq`: it would print all of both.
            assert!(
                self.commands(*id, until) == first,
                "node {id} has another history"
            );
        }
        first
    }

    /// Stops a node and gives the events that it has written.
    pub(crate) fn events(&mut self, id: u64) -> Vec<u8> {
        self.stop(id);
        read_events(&self.events_folder(id))
    }

    /// The commands of a journal whose node has stopped, without what superseded frames held.
    fn commands(&self, id: u64, until: u64) -> Vec<u8> {
        let folder = self.data(id).join("journal");
        let end = inspect(&folder, Verify::Every).unwrap();
        let mut reader = Reader::closed(&folder, &end, Verify::Trust).unwrap();
        let mut live: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        while let Some(frame) = reader.next(end.appended).unwrap() {
            live.split_off(&frame.header.index);
            let commands = frame.header.kind == FRAME_COMMANDS;
            let payload = if commands { frame.payload } else { &[] };
            live.insert(frame.header.index, payload.to_vec());
        }
        live.into_iter()
            .filter(|(index, _)| *index <= until)
            .flat_map(|(_, commands)| commands)
            .collect()
    }
}

pub(crate) fn orders_in(commands: &[u8]) -> usize {
    let is_order = |message: &&[u8]| {
        peek_header(message).is_some_and(|it| it.template_id == NewOrder::TEMPLATE_ID)
    };
    messages(commands).filter(is_order).count()
}

pub(crate) fn accepted_in(events: &[u8]) -> u64 {
    let is_accepted = |message: &&[u8]| {
        peek_header(message).is_some_and(|it| it.template_id == OrderAccepted::TEMPLATE_ID)
    };
    messages(events).filter(is_accepted).count() as u64
}
