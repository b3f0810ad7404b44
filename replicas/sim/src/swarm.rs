//! What a simulated world is like: drawn from the seed, so that many seeds see many worlds.
//!
//! Called by `cluster` when a world begins.
//!
//! Always holds: the same seed and the same options give the same plan. A world has only some of the
//! faults that there are: what is drowned by one kind of them shows where that kind is absent.

use std::fmt::Write;
use std::net::SocketAddr;

use exahour_journal::SEGMENT_BYTES_MIN;
use exahour_replicas::{ClusterConfig, ClusterKey, ConfigError, Member, NodeConfig, NodeId};
use exahour_twin::behaviour::NEWEST;
use exahour_wire::codes::Durability;
use exahour_wire::ids::{AccountId, Behaviour, InstrumentId, SessionId};
use exahour_wire::units::{Millis, Nanos, PartsPerMillion};

use crate::chance::{Chance, Stream};
use crate::client::Manners;
use crate::disk::Wear;
use crate::faults::{Fault, Troubles};
use crate::net::{HostId, Weather};
use crate::operator::Duties;

/// Where nodes speak to each other, and operators to them.
pub(crate) const PEERS_PORT: u16 = 7_804;

const MICRO: u64 = 1_000;
const MILLI: u64 = 1_000_000;

/// What an older program knows: all but the newest behaviour.
pub(crate) const OLDER: Behaviour = Behaviour(NEWEST.0 - 1);

/// How often something befalls the nodes of a world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// By the seed, and what as well.
    #[default]
    Drawn,
    /// Processes are killed all the time, and are there again at once: elections hardly come to an end.
    Rushed,
    /// The network is slow, and again and again a node is cut off while another restarts: votes are given just
    /// before.
    Toppling,
    /// Members change all the time, of a group that acknowledges from memory, and machines lose theirs.
    Changing,
}

/// What a run can be asked for.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many nodes there are; drawn where nothing is said.
    pub nodes: Option<usize>,
    /// How long faults go on in the world's time. Clients trade the whole time.
    pub length: Nanos,
    /// How often something befalls the nodes.
    pub pace: Pace,
    /// How much of what happened last is kept in words.
    pub trace_lines: usize,
    /// The mistake that nodes make, if any.
    #[cfg(feature = "defects")]
    pub defect: Option<exahour_journal::defects::Defect>,
}

impl Options {
    /// How long faults go on where nothing is said.
    pub const LENGTH: Nanos = Nanos(6_000 * MILLI);

    /// How many lines are kept of what happened where nothing is said.
    pub const TRACE_LINES: usize = 256;
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes: None,
            length: Self::LENGTH,
            pace: Pace::Drawn,
            trace_lines: Self::TRACE_LINES,
            #[cfg(feature = "defects")]
            defect: None,
        }
    }
}

/// What nodes keep of what has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// Bytes of a segment of either log.
    pub segment_bytes: u64,
    /// Bytes of journal that are kept whatever snapshots there are; zero for all of it.
    pub journal_bytes: u64,
    /// Bytes of journal from one snapshot to the next; zero for none.
    pub snapshot_bytes: u64,
    /// How many snapshots are kept.
    pub snapshots: usize,
    /// Whether what the journal gives up is moved to an archive.
    pub archives: bool,
}

/// Programs of two versions: nodes begin with the older one, and are given the newer one after the other.
#[derive(Clone, Debug)]
pub struct Programs {
    /// Which machines begin with the older one, by their places: all first members.
    pub older: Vec<bool>,
    /// How often a member is given the older one back, as long as no newer behaviour was asked for.
    pub back: PartsPerMillion,
}

/// A world.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many nodes there are.
    pub nodes: usize,
    /// Whether the nodes are members of a cluster: always, unless one is alone.
    pub joins: bool,
    /// How many clients there are.
    pub clients: usize,
    /// How many of them, the first ones, use the client library.
    pub users: usize,
    /// Whether somebody follows drop copies and market data.
    pub onlookers: bool,
    /// What an acknowledgement promises.
    pub durability: Durability,
    /// Commands between two hashes of the state.
    pub checkpoint_every: u64,
    /// What nodes keep.
    pub keeping: Keeping,
    /// What an operator does, if there is one.
    pub duties: Option<Duties>,
    /// The programs that nodes begin with, where not all of them have the newest.
    pub programs: Option<Programs>,
    /// Whether the engine's stages are agents of their own.
    pub splits_stages: bool,
    /// The network.
    pub weather: Weather,
    /// The disks.
    pub wear: Wear,
    /// The clients.
    pub manners: Manners,
    /// What befalls the nodes.
    pub troubles: Troubles,
    /// Whether a majority loses what is not on disk at the end.
    pub forgets: bool,
    /// How long faults go on.
    pub length: Nanos,
}

impl Plan {
    /// The world of a seed.
    #[must_use]
    pub fn of(seed: u64, options: &Options) -> Self {
        let mut chance = Chance::new(seed, Stream::Swarm, 0);
        let drawn = [1, 3, 3, 3, 5][chance.below(5)];
        let nodes = options.nodes.unwrap_or(drawn);
        let snapshot_bytes = [0, 8 << 10, 64 << 10][chance.below(3)];
        let mut scope = Chance::new(seed, Stream::Scope, 0);
        let keeping = keeping(&mut scope, snapshot_bytes);
        let changing = options.pace == Pace::Changing;
        let durability = match scope.below(3) {
            0 => Durability::Replicated,
            _ if changing => Durability::Replicated,
            _ => Durability::Durable,
        };
        let duties = (nodes > 1).then(|| duties(&mut scope)).flatten();
        let duties = match changing && nodes > 1 {
            true => Some(restless(&mut scope)),
            false => duties,
        };
        let unsafe_at_last = durability == Durability::Replicated && nodes > 1 && duties.is_none();
        let forgets = scope.coin() && unsafe_at_last && options.pace == Pace::Drawn;
        let joins = nodes > 1 || chance.coin();
        let clients = 1 + chance.below(4);
        let mut plan = Self {
            joins,
            nodes,
            clients,
            users: scope.below(clients + 1),
            onlookers: scope.coin(),
            durability,
            forgets,
            checkpoint_every: chance.of(5..=200),
            keeping,
            programs: duties.and_then(|duties| programs(seed, nodes, duties)),
            duties,
            splits_stages: chance.coin(),
            weather: weather(&mut chance),
            wear: wear(&mut chance),
            manners: manners(&mut chance),
            troubles: match options.pace {
                Pace::Drawn => troubles(&mut chance, nodes, &keeping),
                Pace::Rushed => rushed(),
                Pace::Toppling => toppling(),
                Pace::Changing => forgetting(),
            },
            length: options.length,
        };
        if plan.duties.is_some() || plan.durability != Durability::Durable {
            // Which nodes a quorum can do without is known only where members do not change, and memory is not
            // lost either.
            plan.troubles.kinds.retain(|kind| !kind.harms());
        }
        if options.pace == Pace::Toppling {
            plan.weather.delay = (Nanos(20 * MILLI), Nanos(80 * MILLI));
        }
        plan
    }

    /// Who trades: a session for each client.
    pub(crate) fn session(client: usize) -> SessionId {
        SessionId(client as u32 + 1)
    }

    pub(crate) fn account(client: usize) -> AccountId {
        AccountId(100 + client as u32)
    }

    pub(crate) fn instrument() -> InstrumentId {
        InstrumentId(1)
    }

    /// Where a node takes orders.
    pub(crate) fn orders_at(node: HostId) -> SocketAddr {
        SocketAddr::new(node.address(), 7_801)
    }

    /// The configuration of a node.
    ///
    /// # Errors
    /// [`ConfigError`] where the node knows better what is allowed.
    pub(crate) fn config(&self, node: HostId) -> Result<NodeConfig, ConfigError> {
        let mut text = format!(
            "data = \"/data\"\ncheckpoint_every = {}\n[listen]\norders = \"{}\"\n\
             market_data = \"{}\"\ndrop_copy = \"{}\"\n\
             [sessions]\nconnections_max = 8\noutbox_bytes = 16384\n\
             market_data_connections_max = 4\nmarket_data_history_bytes = 262144\ndrop_copy_connections_max = 4\n\
             [capacity]\norders = 4096\npositions = 64\n\
             [journal]\nkeep_bytes = {}\narchive = {}\n[snapshots]\njournal_bytes = {}\nkeep = {}\n",
            self.checkpoint_every,
            Self::orders_at(node),
            Self::market_data_at(node),
            Self::drop_copy_at(node),
            self.keeping.journal_bytes,
            self.keeping.archives,
            self.keeping.snapshot_bytes,
            self.keeping.snapshots,
        );
        let stages = if self.splits_stages {
            "\"admission\", \"engine\""
        } else {
            "\"engine\""
        };
        let _ = writeln!(
            text,
            "[[thread]]\nname = \"all\"\nidle = \"yield\"\nagents = [\"order-gateway\", \"sequencer\", \
             \"disk\", \"market-data\", \"drop-copy\", \"staging\", \"snapshots\", {stages}]"
        );
        text.push_str(&self.genesis());
        let mut config = NodeConfig::from_text("simulated", &text)?;
        // Smaller than a file may say: all nodes have the same here.
        config.segment_bytes = self.keeping.segment_bytes;
        config.durability = self.durability;
        config.cluster = self.joins.then(|| self.cluster(node));
        Ok(config)
    }

    /// Where it sends market data.
    pub(crate) fn market_data_at(node: HostId) -> SocketAddr {
        SocketAddr::new(node.address(), 7_802)
    }

    /// Where it sends drop copies.
    pub(crate) fn drop_copy_at(node: HostId) -> SocketAddr {
        SocketAddr::new(node.address(), 7_803)
    }

    /// How many machines there are for nodes: the first members, and those that stand ready.
    pub(crate) fn machines(&self) -> usize {
        self.nodes + self.duties.map_or(0, |duties| duties.spares)
    }

    /// Whether nodes begin with an older program.
    pub(crate) fn has_old_programs(&self) -> bool {
        self.programs.is_some()
    }

    /// The newest behaviour that the first program of a machine can do.
    pub(crate) fn program(&self, host: HostId) -> Behaviour {
        let programs = self.programs.as_ref();
        match programs.is_some_and(|programs| programs.older[host.0]) {
            true => OLDER,
            false => NEWEST,
        }
    }

    /// A machine as a member of the cluster.
    pub(crate) fn member(host: HostId) -> Member {
        Member {
            id: NodeId(host.0 as u64 + 1),
            peers: SocketAddr::new(host.address(), PEERS_PORT),
            orders: Self::orders_at(host),
        }
    }

    /// The secret of every cluster.
    pub(crate) fn key() -> ClusterKey {
        ClusterKey([7; 32])
    }

    fn cluster(&self, node: HostId) -> ClusterConfig {
        let own = Self::member(node);
        ClusterConfig {
            node: own.id,
            key: Self::key(),
            listen: own.peers,
            files: 7_805,
            founders: (0..self.nodes).map(HostId).map(Self::member).collect(),
            founding: true,
        }
    }

    fn genesis(&self) -> String {
        let mut text = String::from("[genesis]\n");
        for client in 0..self.clients {
            let (session, account) = (Self::session(client).0, Self::account(client).0);
            let _ = writeln!(
                text,
                "[[genesis.participant]]\nid = {session}\nname = \"Trader {session}\"\n\
                 [[genesis.account]]\nid = {account}\nparticipant = {session}\nname = \"House\"\n\
                 deposit = \"1000000000\"\n[[genesis.session]]\nid = {session}\n\
                 participant = {session}\nmay = [\"trade\", \"drop-copy\"]"
            );
        }
        text.push_str(
            "[[genesis.instrument]]\nid = 1\nsymbol = \"GPU-H100-EU\"\nkind = \"spot\"\nclass = \"gpu\"\n\
             zone = \"eu-1\"\ngrade = [2, 2, 2]\nhours = 1\ntick = \"0.01\"\nreference = \"2.50\"\n\
             margin = \"1.00\"\ntrades_for_s = 31536000\nquantity_max = 1000000\n\
             value_max = \"100000000\"\ncollar_ppm = 500000\nprotection_ppm = 50000\n",
        );
        text
    }
}

/// In half of the worlds everything; in the others so little that a node which was away has to be sent a
/// snapshot.
fn keeping(chance: &mut Chance, snapshot_bytes: u64) -> Keeping {
    if chance.coin() {
        return Keeping {
            segment_bytes: 256 << 10,
            journal_bytes: 0,
            snapshot_bytes,
            snapshots: 2,
            archives: false,
        };
    }
    Keeping {
        segment_bytes: SEGMENT_BYTES_MIN,
        journal_bytes: chance.of(1..=SEGMENT_BYTES_MIN),
        snapshot_bytes: chance.of(2 << 10..=32 << 10),
        snapshots: 1 + chance.below(2),
        archives: chance.coin(),
    }
}

/// In half of the worlds nobody does anything.
fn duties(chance: &mut Chance) -> Option<Duties> {
    let least = chance.of(20 * MILLI..=800 * MILLI);
    let duties = Duties {
        spares: chance.below(4),
        every: (Nanos(least), Nanos(2 * least)),
        losses: rate(chance, 1_000_000),
    };
    chance.coin().then_some(duties)
}

/// In half of the worlds with an operator.
fn programs(seed: u64, nodes: usize, duties: Duties) -> Option<Programs> {
    let mut chance = Chance::new(seed, Stream::Programs, 0);
    let machines = 0..nodes + duties.spares;
    let programs = Programs {
        older: machines
            .map(|place| place < nodes || chance.coin())
            .collect(),
        back: rate(&mut chance, 300_000),
    };
    chance.coin().then_some(programs)
}

fn rate(chance: &mut Chance, most: u32) -> PartsPerMillion {
    // Often none at all.
    PartsPerMillion(match chance.below(3) {
        0 => 0,
        _ => chance.of(0..=u64::from(most)) as u32,
    })
}

fn weather(chance: &mut Chance) -> Weather {
    let least = chance.of(20 * MICRO..=2 * MILLI);
    Weather {
        delay: (Nanos(least), Nanos(least + chance.of(0..=5 * MILLI))),
        bytes_per_ms: chance.of(10_000..=1_000_000),
        loss: rate(chance, 20_000),
        resend_after: Nanos(chance.of(20 * MILLI..=300 * MILLI)),
        reset: rate(chance, 1_000),
        ghost: rate(chance, 100_000),
        short: rate(chance, 500_000),
        window: 1 << chance.of(12..=16),
        dial_for: Nanos(chance.of(100 * MILLI..=2_000 * MILLI)),
    }
}

fn wear(chance: &mut Chance) -> Wear {
    let least = chance.of(10 * MICRO..=2 * MILLI);
    Wear {
        flush: (Nanos(least), Nanos(least + chance.of(0..=5 * MILLI))),
        slow: rate(chance, 10_000),
        slow_for: Nanos(500 * MILLI),
        fails: PartsPerMillion(0),
    }
}

fn manners(chance: &mut Chance) -> Manners {
    let least = chance.of(MILLI..=20 * MILLI);
    Manners {
        pause: (Nanos(least), Nanos(least + chance.of(0..=60 * MILLI))),
        burst: 1 + chance.below(4),
        keep_alive: Millis(chance.of(200..=1_000) as u32),
        breaks_off: rate(chance, 20_000),
        leaves: rate(chance, 10_000),
        renews: rate(chance, 200_000),
        back_off: (Nanos(MILLI), Nanos(chance.of(2 * MILLI..=200 * MILLI))),
    }
}

fn troubles(chance: &mut Chance, nodes: usize, keeping: &Keeping) -> Troubles {
    let lone = nodes == 1;
    let kinds = Fault::ALL
        .into_iter()
        .filter(|fault| !(lone && fault.needs_peers()))
        .filter(|fault| *fault != Fault::EventRot || keeping.journal_bytes == 0)
        .filter(|_| chance.coin());
    let kinds: Vec<Fault> = kinds.collect();
    let least = chance.of(50 * MILLI..=500 * MILLI);
    Troubles {
        kinds,
        every: (Nanos(least), Nanos(3 * least)),
        lasts: (
            Nanos(10 * MILLI),
            // Where little is kept somebody has to be away for longer than that.
            Nanos(chance.of(100 * MILLI..=1_500 * MILLI) << u32::from(keeping.journal_bytes > 0)),
        ),
    }
}

fn rushed() -> Troubles {
    Troubles {
        kinds: vec![Fault::Kill],
        every: (Nanos(10 * MILLI), Nanos(80 * MILLI)),
        lasts: (Nanos(MILLI / 2), Nanos(4 * MILLI)),
    }
}

fn toppling() -> Troubles {
    Troubles {
        kinds: vec![Fault::Topple],
        every: (Nanos(100 * MILLI), Nanos(600 * MILLI)),
        lasts: (Nanos(600 * MILLI), Nanos(1_200 * MILLI)),
    }
}

fn forgetting() -> Troubles {
    Troubles {
        kinds: vec![
            Fault::Kill,
            Fault::PowerCut,
            Fault::DiskDeath,
            Fault::Pause,
            Fault::CutPair,
            Fault::Isolate,
        ],
        every: (Nanos(20 * MILLI), Nanos(160 * MILLI)),
        lasts: (Nanos(10 * MILLI), Nanos(400 * MILLI)),
    }
}

/// What is asked of an operator whose group never stays as it is.
fn restless(chance: &mut Chance) -> Duties {
    let least = chance.of(MILLI..=40 * MILLI);
    Duties {
        spares: 4 + chance.below(5),
        every: (Nanos(least), Nanos(2 * least)),
        losses: rate(chance, 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plan_is_one_that_a_node_takes() {
        for seed in 0..200 {
            let plan = Plan::of(seed, &Options::default());
            assert!(matches!(plan.nodes, 1 | 3 | 5));
            plan.config(HostId(0)).unwrap();
            let programs = plan.programs.iter();
            assert!(programs.flat_map(|it| &it.older).count() <= plan.machines());
        }
    }
}
