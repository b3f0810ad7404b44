//! A whole world in motion: nodes, network, disks, clocks and clients, one step after the other.
//!
//! Called by `run`.
//!
//! Always holds: time moves only between steps; every step's work is one turn of what is to be turned, in
//! an order drawn from the seed.

use std::collections::BTreeMap;
use std::sync::Arc;

use exahour_gateway::credentials::Key;
use exahour_journal::disk::Disk;
use exahour_wire::ids::SessionId;
use exahour_wire::units::Nanos;

use crate::chance::{Chance, Stream};
use crate::client::{Client, Trader, Violation};
use crate::clock::{ClockHands, Drift};
use crate::disk;
use crate::faults::Faults;
use crate::history::History;
use crate::meaning::Meaning;
use crate::net::{Death, HostId, Network, Shared};
use crate::node::SimNode;
use crate::operator::{Deed, Operator};
use crate::overheard::Overheard;
use crate::swarm::Plan;
use crate::tally::Tally;
use crate::trace::Trace;

/// From one step to the next while there is something to do.
const STEP: (Nanos, Nanos) = (Nanos(5_000), Nanos(60_000));

/// From one step to the next, at most: well below everything that nodes wait for.
const IDLE_STEP: Nanos = Nanos(2_000_000);

/// How long a world may take to be at rest, every client answered, once its troubles have ended.
pub const RECOVERY_MAX: Nanos = Nanos(30_000_000_000);

/// Time that passes at the end, in which followers take in what there is.
const REST: Nanos = Nanos(500_000_000);

/// A world.
pub(crate) struct Cluster {
    seed: u64,
    plan: Plan,
    now: Nanos,
    order: Chance,
    net: Shared,
    pub(crate) nodes: Vec<SimNode>,
    pub(crate) clients: Vec<Client>,
    operator: Option<Operator>,
    overheard: Overheard,
    pub(crate) faults: Faults,
    pub(crate) history: History,
    pub(crate) trace: Trace,
    pub(crate) steps: u64,
}

impl Cluster {
    /// A world in which nothing runs yet.
    ///
    /// # Errors
    /// A node refuses its configuration.
    pub(crate) fn new(seed: u64, plan: Plan) -> Result<Self, Violation> {
        let trace = Trace::default();
        // Behind the machines and the clients the operator has one.
        let machines = plan.machines();
        let hosts = machines + plan.clients + 1;
        let network = Network::new(seed, hosts, plan.weather, trace.clone());
        let net = Shared::new(network);
        let overheard = Overheard::default();
        let mut nodes = Vec::new();
        for host in (0..machines).map(HostId) {
            let mut chance = Chance::new(seed, Stream::Clock, host.0 as u64);
            let drift = Drift(chance.of(0..=400) as i32 - 200);
            let hands = ClockHands::new(chance.span(Nanos(0), Nanos(2_000_000_000)), drift);
            let disk = disk::Shared::new(seed, host, plan.wear, trace.clone());
            let config = plan.config(host).map_err(|error| error.to_string())?;
            let world = (disk, net.clone(), overheard.clone());
            let node = SimNode::new(host, config, world, hands, trace.clone());
            nodes.push(if host.0 < plan.nodes {
                node
            } else {
                node.standing_by()
            });
        }
        let faults = Faults::new(
            seed,
            plan.troubles.clone(),
            hosts,
            (plan.weather, plan.wear),
            trace.clone(),
        );
        Ok(Self {
            seed,
            now: Nanos(0),
            order: Chance::new(seed, Stream::Order, 0),
            net,
            nodes,
            clients: Vec::new(),
            operator: None,
            overheard,
            faults,
            history: History::default(),
            trace,
            steps: 0,
            plan,
        })
    }

    /// Lives through the whole of it, and judges.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub(crate) fn run(&mut self) -> Result<Meaning, Violation> {
        self.step()?;
        self.let_clients_in()?;
        self.let_operator_in()?;
        while self.now < self.plan.length {
            self.faults.turn(self.now, &mut self.nodes, &self.net);
            self.step()?;
        }
        self.come_to_rest()?;
        self.judge()
    }

    /// How often it did what it is for, so far.
    pub(crate) fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for node in &self.nodes {
            node.count(&mut tally);
        }
        if let Some(operator) = &self.operator {
            operator.count(&mut tally);
        }
        tally.terms_led += self.overheard.terms_led();
        tally
    }

    /// The time that has passed.
    pub(crate) fn now(&self) -> Nanos {
        self.now
    }

    fn let_clients_in(&mut self) -> Result<(), Violation> {
        let keys = self.nodes[0].disk().lock();
        let keys = keys.content(&self.nodes[0].folder("keys"));
        let keys = read_keys(&keys.ok_or("there are no keys")?);
        let addresses: Vec<_> = self
            .nodes
            .iter()
            .map(|node| Plan::orders_at(node.host()))
            .collect();
        for client in 0..self.plan.clients {
            let host = HostId(self.plan.machines() + client);
            let session = Plan::session(client);
            let trader = Trader {
                session,
                key: keys.get(&session).cloned().ok_or("a session has no key")?,
                account: Plan::account(client),
                instrument: Plan::instrument(),
            };
            let life = self.net.lock().begin_life(host);
            let net = self.net.of(host, life);
            self.clients.push(Client::new(
                (self.seed, host),
                (&net, addresses.clone()),
                trader,
                self.plan.manners,
                self.trace.clone(),
            )?);
        }
        Ok(())
    }

    fn let_operator_in(&mut self) -> Result<(), Violation> {
        let Some(duties) = self.plan.duties else {
            return Ok(());
        };
        let host = HostId(self.plan.machines() + self.plan.clients);
        let life = self.net.lock().begin_life(host);
        let machines = (0..self.plan.machines()).map(HostId).map(Plan::member);
        self.operator = Some(Operator::new(
            (self.seed, host),
            &self.net.of(host, life),
            (Plan::key(), duties),
            (machines.collect(), self.plan.nodes),
            self.trace.clone(),
        )?);
        Ok(())
    }

    /// Turns the operator, and does what it wants done.
    fn turn_operator(&mut self) -> Result<usize, Violation> {
        let Some(operator) = &mut self.operator else {
            return Ok(0);
        };
        let work = operator.turn(self.now)?;
        for deed in operator.take_deeds() {
            match deed {
                Deed::Start(host) => self.nodes[host.0].employ(self.now),
                Deed::TurnOff(host) => self.nodes[host.0].retire(Death::Process, self.now),
                Deed::Bury(host) => self.nodes[host.0].retire(Death::Machine, self.now),
            }
        }
        Ok(work)
    }

    /// One turn of everything, and time moves on.
    fn step(&mut self) -> Result<usize, Violation> {
        self.steps += 1;
        self.trace.turn_to(self.now);
        self.net.lock().turn_to(self.now);
        let mut work = 0;
        let first = self.order.below(self.nodes.len());
        for place in 0..self.nodes.len() {
            let place = (first + place) % self.nodes.len();
            let node = &mut self.nodes[place];
            node.turn_clock(self.now);
            work += node.turn(self.now, &mut self.order, &mut self.history)?;
        }
        for client in &mut self.clients {
            let turned = client.turn(self.now);
            work += turned.map_err(|why| format!("{}: {why}", client.host()))?;
        }
        work += self.turn_operator()?;
        self.overheard.check()?;
        self.now = if work > 0 {
            self.now.after(self.order.span(STEP.0, STEP.1))
        } else {
            self.next_moment()
        };
        Ok(work)
    }

    /// When something is due next: nothing happens before.
    fn next_moment(&self) -> Nanos {
        let nodes = self.nodes.iter().filter_map(SimNode::next_at);
        let clients = self.clients.iter().map(Client::next_at);
        let net = self.net.lock().next_due();
        let due = nodes
            .chain(clients)
            .chain(self.operator.iter().map(Operator::next_at))
            .chain(net)
            .chain([self.faults.next_at()]);
        let next = due.filter(|at| *at > self.now).min();
        let latest = self.now.after(IDLE_STEP);
        next.map_or(latest, |next| next.min(latest))
    }

    /// The troubles end, and clients send nothing new: everybody has to be served, and told everything.
    fn come_to_rest(&mut self) -> Result<(), Violation> {
        self.faults.end(self.now, &mut self.nodes, &self.net);
        for client in &mut self.clients {
            client.be_done();
        }
        if let Some(operator) = &mut self.operator {
            operator.be_done();
        }
        let end = self.now.after(RECOVERY_MAX);
        let mut rests_at = None;
        loop {
            let settled = self.clients.iter().all(Client::is_settled);
            let last = self.history.last();
            let level = |node: &SimNode| !node.serves() || node.is_up() && node.committed() == last;
            let idle = self.operator.as_ref().is_none_or(Operator::is_idle);
            let rests = settled && idle && self.nodes.iter().all(level);
            rests_at = match (rests, rests_at) {
                (true, None) => Some(self.now.after(REST)),
                (true, at) => at,
                (false, _) => None,
            };
            if rests_at.is_some_and(|at| self.now >= at) {
                return Ok(());
            }
            if self.now >= end {
                return Err(self.what_lasts());
            }
            self.step()?;
        }
    }

    fn what_lasts(&self) -> Violation {
        let nodes: Vec<String> = self
            .nodes
            .iter()
            .filter(|node| node.serves())
            .map(|node| match node.is_up() {
                true => format!("{} has {} frames", node.host(), node.committed()),
                false => format!("{} is down", node.host()),
            })
            .collect();
        let waiting = self.clients.iter().filter(|client| !client.is_settled());
        let waiting: Vec<String> = waiting.map(|client| client.host().to_string()).collect();
        let operator = self.operator.as_ref().and_then(Operator::busy_with);
        format!(
            "{} s after the last fault there is no rest: {}, of {} in all; not served: {}; not done: {}",
            RECOVERY_MAX.0 / Nanos::SECOND.0,
            nodes.join(", "),
            self.history.last(),
            waiting.join(", "),
            operator.unwrap_or_default()
        )
    }

    fn judge(&mut self) -> Result<Meaning, Violation> {
        let meaning = Meaning::of(&self.history)?;
        meaning.check_once()?;
        for client in &self.clients {
            for (place, told) in client.versions().iter().enumerate() {
                meaning.check_told(told)?;
                if place + 1 == client.versions().len() {
                    meaning.check_known(told)?;
                }
            }
        }
        let mut hashes = BTreeMap::new();
        for node in self.nodes.iter().filter(|node| node.has_been_used()) {
            // Who has left does not hear of everything.
            let least = if node.serves() {
                self.history.last()
            } else {
                0
            };
            let disk: Arc<dyn Disk> = Arc::new(node.disk().observe());
            let events = node.folder("events");
            meaning.check_events(node.host(), (&disk, &events), least, &mut hashes)?;
        }
        Ok(meaning)
    }
}

/// The keys of sessions, as a node writes them.
fn read_keys(file: &[u8]) -> BTreeMap<SessionId, Key> {
    let text = String::from_utf8_lossy(file);
    let lines = text.lines().filter_map(|line| {
        let (session, key) = line.trim().split_once(' ')?;
        Some((SessionId(session.parse().ok()?), key.trim().parse().ok()?))
    });
    lines.collect()
}
