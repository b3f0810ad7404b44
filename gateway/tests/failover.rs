//! A client of three nodes while they pass the lead on, are cut off, die and come back, at random: each
//! of its orders gets in exactly once, and its reports come once and in order.
//!
//! The three gateways follow one event log, as the nodes of a cluster follow the same. One thread turns
//! them, the exchange and the client, over real sockets.
#![allow(clippy::unwrap_used)] // What goes wrong fails the test.

mod exchange;
mod trader;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use exahour_gateway::client::{Client, ClientConfig, ClientError, ClientEvent};
use exahour_gateway::clock::ManualClock;
use exahour_gateway::dial::SystemDial;
use exahour_gateway::duty::Duty;
use exahour_gateway::order_gateway::{GatewaySettings, OrderGateway};
use exahour_rings::{Agent, Capacity, Consumer, Producer, ring};
use exahour_wire::codes::EstablishmentRejectCode;
use exahour_wire::record::Line;
use exahour_wire::units::{Millis, Nanos};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use exchange::{Exchange, Told, config, keys, order};
use trader::Trader;

const NODES: usize = 3;

/// What a turn of everything takes by the clock of the test.
const TURN: Nanos = Nanos(1_000_000);

struct Node {
    address: SocketAddr,
    /// None while it is dead.
    gateway: Option<OrderGateway<ManualClock>>,
    ring: Consumer<Line>,
    news: Producer<Duty>,
}

struct Cluster {
    dir: tempfile::TempDir,
    clock: ManualClock,
    told: Told,
    exchange: Exchange,
    nodes: Vec<Node>,
    leader: Option<usize>,
}

impl Cluster {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(Nanos(1_700_000_000_000_000_000));
        let (told, (_, nothing)) = (Told::default(), ring(Capacity::new(2).unwrap()));
        let events = dir.path().join("events");
        let exchange = Exchange::new(&events, 16 << 20, nothing, told.clone());
        let any = "127.0.0.1:0".parse().unwrap();
        let nodes = (0..NODES)
            .map(|number| node(number, any, events.clone(), &clock))
            .collect();
        Self {
            dir,
            clock,
            told,
            exchange,
            nodes,
            leader: None,
        }
    }

    fn client(&self, adjust: impl FnOnce(&mut ClientConfig)) -> Client<ManualClock> {
        let mut config = config(1);
        config.nodes = self.nodes.iter().map(|node| node.address).collect();
        adjust(&mut config);
        let (dial, clock) = (Box::new(SystemDial), self.clock.clone());
        Client::begin(dial, clock, self.nodes[0].address, config)
    }

    fn turn(&mut self) {
        self.clock.advance(TURN);
        for node in &mut self.nodes {
            if let Some(gateway) = &mut node.gateway {
                gateway.do_work().unwrap();
            }
        }
        if self.leader.is_some() {
            self.exchange.turn();
        }
    }

    /// The leader is none any more: `kept` of its commands have reached the others.
    fn depose(&mut self, kept: usize) -> Option<usize> {
        let old = self.leader.take()?;
        for _ in 0..kept {
            self.exchange.turn_one();
        }
        self.exchange.discard();
        self.exchange.swap_ring(&mut self.nodes[old].ring);
        Some(old)
    }

    fn say(&mut self, number: usize, duty: Duty) {
        let node = &mut self.nodes[number];
        if node.gateway.is_some() {
            node.news.try_push(duty).unwrap();
        }
    }

    fn elect(&mut self, number: usize) {
        assert!(self.leader.is_none() && self.nodes[number].gateway.is_some());
        // What a deposed gateway pushed before it had heard of it is thrown away by its sequencer.
        self.exchange.swap_ring(&mut self.nodes[number].ring);
        self.exchange.discard();
        self.exchange.begin_term();
        self.leader = Some(number);
        self.say(number, Duty::Leads);
    }

    fn revive(&mut self, number: usize) {
        let address = self.nodes[number].address;
        let events = self.dir.path().join("events");
        self.nodes[number] = node(number, address, events, &self.clock);
    }
}

fn node(number: usize, address: SocketAddr, events: PathBuf, clock: &ManualClock) -> Node {
    let (lines, ring) = exahour_rings::ring(Capacity::new(1 << 12).unwrap());
    let (news, duty) = exahour_rings::ring(Capacity::new(64).unwrap());
    let mut settings = GatewaySettings::new(address, &events);
    settings.node = number as u8;
    let mut gateway = OrderGateway::start(settings, keys(), clock.clone(), lines).unwrap();
    gateway.follow_duty(duty);
    gateway.on_start().unwrap();
    Node {
        address: gateway.address(),
        gateway: Some(gateway),
        ring,
        news,
    }
}

/// Something happens to the cluster.
fn disturb(cluster: &mut Cluster, rng: &mut ChaCha8Rng) {
    let other = rng.random_range(0..NODES);
    match cluster.leader {
        // The lead is lost, in good order or not.
        Some(_) if rng.random_ratio(1, 2) => {
            let kept = rng.random_range(0..12);
            let Some(old) = cluster.depose(kept) else {
                return;
            };
            if rng.random_bool(0.4) {
                cluster.nodes[old].gateway = None;
            } else {
                let named = (other != old).then(|| cluster.nodes[other].address);
                cluster.say(old, Duty::Follows(named.filter(|_| rng.random_bool(0.5))));
            }
        }
        None => {
            let alive: Vec<_> = (0..NODES)
                .filter(|number| cluster.nodes[*number].gateway.is_some())
                .collect();
            if alive.is_empty() {
                cluster.revive(other);
                return;
            }
            let chosen = alive[rng.random_range(0..alive.len())];
            let address = cluster.nodes[chosen].address;
            cluster.elect(chosen);
            for number in (0..NODES).filter(|number| *number != chosen) {
                let named = rng.random_bool(0.7).then_some(address);
                cluster.say(number, Duty::Follows(named));
            }
        }
        Some(leader) if other != leader => match cluster.nodes[other].gateway {
            Some(_) => cluster.nodes[other].gateway = None,
            None => {
                cluster.revive(other);
                let named = cluster.nodes[leader].address;
                cluster.say(other, Duty::Follows(Some(named)));
            }
        },
        Some(_) => {}
    }
}

#[test]
fn every_order_gets_in_once_whoever_leads() {
    let mut found = 0;
    for seed in 0..12 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut cluster = Cluster::start();
        let mut client = cluster.client(|config| {
            config.keep_alive = Millis(1_000);
            config.failover_timeout = Duration::from_secs(3_600);
        });
        let orders = 3_000;
        let mut trader = Trader {
            wanted: (1..=orders).collect(),
            ..Trader::default()
        };
        let limit = Instant::now() + Duration::from_secs(60);
        while trader.accepted.len() < orders as usize {
            let done = trader.accepted.len();
            assert!(Instant::now() < limit, "seed {seed}: {done} done");
            if rng.random_ratio(1, if cluster.leader.is_some() { 25 } else { 12 }) {
                disturb(&mut cluster, &mut rng);
            }
            cluster.turn();
            if client.is_established() {
                // A connection that breaks meanwhile is found so by the next poll.
                let _ = trader.send(&mut client, rng.random_range(0..=8));
            }
            let heard = trader.listen(&mut client, 64);
            heard.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        }
        trader.accepted.sort_unstable();
        assert!(
            trader.accepted.iter().copied().eq(1..=orders),
            "seed {seed}"
        );
        let entered = cluster.told.orders.load(Ordering::SeqCst);
        assert_eq!(entered, orders as usize, "seed {seed}");
        found += trader.found;
    }
    assert!(found > 100, "only {found} leaders were found");
}

#[test]
fn a_client_of_one_node_is_sent_on_to_the_leader() {
    let mut cluster = Cluster::start();
    cluster.elect(2);
    let leader = cluster.nodes[2].address;
    cluster.say(0, Duty::Follows(Some(leader)));
    let mut client = cluster.client(|config| config.nodes.clear());
    let limit = Instant::now() + Duration::from_secs(20);
    loop {
        assert!(Instant::now() < limit);
        cluster.turn();
        if let Some(ClientEvent::Established { node }) = client.poll().unwrap() {
            assert_eq!(node, leader);
            break;
        }
    }
    // It is not one to look for another by itself.
    cluster.nodes[2].gateway = None;
    let lost = loop {
        assert!(Instant::now() < limit);
        match client.poll() {
            Ok(found) => assert!(found.is_none()),
            Err(error) => break error,
        }
    };
    assert!(matches!(lost, ClientError::Disconnected { .. }), "{lost}");
}

/// A machine that has lost its power refuses nothing: it is silent, and another node leads by then.
#[test]
fn a_machine_that_says_nothing_is_soon_left_for_another() {
    let mut cluster = Cluster::start();
    cluster.elect(1);
    // Connections to it are made, and nobody takes them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config(1);
    config.nodes = vec![cluster.nodes[1].address];
    let (dial, clock) = (Box::new(SystemDial), cluster.clock.clone());
    let mut client = Client::begin(dial, clock, silent.local_addr().unwrap(), config);
    let (mut turns, limit) = (0, Instant::now() + Duration::from_secs(20));
    while !client.is_established() {
        assert!(Instant::now() < limit);
        cluster.turn();
        turns += 1;
        client.poll().unwrap();
    }
    // Milliseconds by the clock of the test: a single node would be given 5,000.
    assert!((250..600).contains(&turns), "{turns} turns");
}

#[test]
fn a_search_for_a_leader_ends_by_what_was_heard_last() {
    let mut cluster = Cluster::start();
    for number in 0..NODES {
        cluster.say(number, Duty::Follows(None));
    }
    let mut client = cluster.client(|config| {
        config.failover_timeout = Duration::from_secs(5);
        // Nobody is there.
        let closed = TcpListener::bind("127.0.0.1:0").unwrap();
        config.nodes.push(closed.local_addr().unwrap());
    });
    let (mut turns, limit) = (0, Instant::now() + Duration::from_secs(20));
    let error = loop {
        assert!(Instant::now() < limit);
        cluster.turn();
        turns += 1;
        match client.poll() {
            Ok(found) => assert!(found.is_none()),
            Err(error) => break error,
        }
    };
    // Five seconds by the clock of the test.
    assert!((5_000..7_000).contains(&turns), "{turns} turns");
    match error {
        ClientError::NegotiationRefused { .. } | ClientError::Connect { .. } => {}
        other => panic!("{other}"),
    }
    // It can be asked for again, and finds whoever leads by then.
    cluster.elect(1);
    assert!(client.send(&order(1, 1, 0)).is_err());
    assert!(matches!(
        client.poll(),
        Err(ClientError::Disconnected { .. })
    ));
}

#[test]
fn a_session_of_another_life_is_not_negotiated_again() {
    let mut cluster = Cluster::start();
    cluster.elect(0);
    let mut client = cluster.client(|_| {});
    let limit = Instant::now() + Duration::from_secs(20);
    let established = |cluster: &mut Cluster, client: &mut Client<ManualClock>| loop {
        assert!(Instant::now() < limit);
        cluster.turn();
        match client.poll() {
            Ok(Some(ClientEvent::Established { .. })) => return None,
            Ok(_) => {}
            Err(error) => return Some(error),
        }
    };
    assert!(established(&mut cluster, &mut client).is_none());
    // The exchange forgets the session: that is for the user to know, not for another attempt.
    cluster.exchange.forget();
    cluster.depose(0);
    cluster.say(0, Duty::Follows(None));
    cluster.elect(1);
    match established(&mut cluster, &mut client) {
        Some(ClientError::EstablishmentRefused { code, .. }) => {
            let code = code.decode();
            assert_eq!(code, Some(EstablishmentRejectCode::Unnegotiated));
        }
        other => panic!("{other:?}"),
    }
}
