//! A whole world in motion: nodes, network, disks, clocks and clients, one step after the other.
//!
//! Called by `run`.
//!
//! Always holds: time moves only between steps; every step's work is one turn of what is to be turned, in
//! an order drawn from the seed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use exahour_gateway::credentials::Key;
use exahour_gateway::net::{Net, Port};
use exahour_journal::disk::Disk;
use exahour_wire::codes::Durability;
use exahour_wire::ids::SessionId;
use exahour_wire::units::Nanos;

use crate::archived::check_archive;
use crate::chance::{Chance, Stream};
use crate::client::{Client, Trader, User, VersionTold, Violation};
use crate::clock::{ClockHands, Drift};
use crate::disk;
use crate::electorate::Electorate;
use crate::faults::Faults;
use crate::history::History;
use crate::meaning::Meaning;
use crate::net::{Death, HostId, Network, Shared};
use crate::node::SimNode;
use crate::onlookers::{BackOffice, MarketWatcher};
use crate::operator::{Deed, Operator};
use crate::overheard::Overheard;
use crate::quorum::Stand;
use crate::swarm::{OLDER, Plan};
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
    clients: Vec<Client>,
    users: Vec<User>,
    back_office: Option<BackOffice>,
    watcher: Option<MarketWatcher>,
    operator: Option<Operator>,
    pub(crate) overheard: Overheard,
    pub(crate) faults: Faults,
    pub(crate) history: History,
    /// How many frames of it are known to have been on the disks of a quorum.
    kept_to: usize,
    pub(crate) trace: Trace,
    pub(crate) steps: u64,
    /// Machines that were lost for good.
    lost: u64,
    /// Segments that archives have.
    archived: u64,
    /// Event logs that were cut because commands were lost.
    pub(crate) events_cut: u64,
    /// Clients do nothing more.
    is_silent: bool,
}

impl Cluster {
    /// A world in which nothing runs yet.
    ///
    /// # Errors
    /// A node refuses its configuration.
    pub(crate) fn new(seed: u64, plan: Plan, trace: Trace) -> Result<Self, Violation> {
        // Behind the machines and the clients the operator has one, and each of the onlookers.
        let machines = plan.machines();
        let hosts = machines + plan.clients + 3;
        let network = Network::new(seed, hosts, plan.weather, trace.clone());
        let net = Shared::new(network);
        let overheard = Overheard::default();
        let mut nodes = Vec::new();
        for host in (0..machines).map(HostId) {
            let mut chance = Chance::new(seed, Stream::Clock, host.0 as u64);
            let drift = Drift(chance.of(0..=400) as i32 - 200);
            let hands = ClockHands::new(chance.span(Nanos(0), Nanos(2_000_000_000)), drift);
            let disk = disk::Shared::new(seed, host, plan.wear, trace.clone());
            let mut config = plan.config(host).map_err(|error| error.to_string())?;
            config.capacity.behaviour_max = plan.program(host);
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
            (plan.durability, plan.weather, plan.wear),
            trace.clone(),
        );
        Ok(Self {
            seed,
            now: Nanos(0),
            order: Chance::new(seed, Stream::Order, 0),
            net,
            nodes,
            clients: Vec::new(),
            users: Vec::new(),
            back_office: None,
            watcher: None,
            operator: None,
            overheard,
            faults,
            history: History::default(),
            kept_to: 0,
            trace,
            steps: 0,
            lost: 0,
            archived: 0,
            events_cut: 0,
            is_silent: false,
            plan,
        })
    }

    /// Lives through the whole of it, and judges.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub(crate) fn run(&mut self) -> Result<Meaning, Violation> {
        if self.plan.durability == Durability::Durable {
            // Where memory counts, a group of which all lost theirs waits for an operator.
            self.faults.begin(&mut self.nodes);
        }
        while !self.nodes[0].has_run() {
            self.step()?;
            if self.now > RECOVERY_MAX {
                return Err("the first node does not start".to_owned());
            }
        }
        self.let_clients_in()?;
        self.let_operator_in()?;
        while self.now < self.plan.length {
            let voters = self.electorate();
            self.faults
                .turn(self.now, (&mut self.nodes[..], &voters), &self.net);
            self.step()?;
        }
        if self.plan.forgets {
            return self.forget();
        }
        self.come_to_rest()?;
        self.judge()
    }

    /// What clients were told, version by version.
    pub(crate) fn told(&self) -> impl Iterator<Item = &VersionTold> {
        let clients = self.clients.iter().flat_map(Client::versions);
        clients.chain(self.users.iter().flat_map(User::versions))
    }

    /// How often it did what it is for, so far.
    pub(crate) fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for node in &self.nodes {
            node.count(&mut tally);
        }
        for user in &self.users {
            user.count(&mut tally);
        }
        if let Some(office) = &self.back_office {
            office.count(&mut tally);
        }
        if let Some(watcher) = &self.watcher {
            watcher.count(&mut tally);
        }
        if let Some(operator) = &self.operator {
            operator.count(&mut tally);
        }
        tally.machines_lost += self.lost;
        tally.majorities_lost += u64::from(self.is_silent);
        tally.segments_archived += self.archived;
        tally.events_cut += self.events_cut;
        tally.terms_led += self.overheard.terms_led();
        if self.plan.has_old_programs() && self.history.in_force() > OLDER {
            tally.behaviours_activated += 1;
        }
        tally
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// Ends all troubles.
    pub(crate) fn end_faults(&mut self) {
        self.faults.end(self.now, &mut self.nodes, &self.net);
    }

    /// From now on clients and onlookers do nothing more.
    pub(crate) fn silence_clients(&mut self) {
        self.is_silent = true;
    }

    /// A port of the operator's, and a number that is used once.
    ///
    /// # Errors
    /// The network refuses it.
    pub(crate) fn begin_to_call(&mut self) -> Result<(Box<dyn Port>, [u8; 32]), Violation> {
        let host = HostId(self.plan.machines() + self.plan.clients);
        let life = self.net.lock().begin_life(host);
        let any = SocketAddr::new(host.address(), 0);
        let port = self.net.of(host, life).listen(any, 1);
        let mut nonce = [0; 32];
        self.order.fill(&mut nonce);
        Ok((port.map_err(|error| error.to_string())?, nonce))
    }

    /// The time that has passed.
    pub(crate) fn now(&self) -> Nanos {
        self.now
    }

    /// Cuts or mends the link between two hosts.
    #[cfg(test)]
    pub(crate) fn cut(&mut self, one: HostId, other: HostId, cut: bool) {
        let mut net = self.net.lock();
        net.set_cut(one, other, cut);
        net.set_cut(other, one, cut);
    }

    /// Breaks one connection.
    #[cfg(test)]
    pub(crate) fn break_a_connection(&mut self) {
        self.net.lock().break_one();
    }

    fn let_clients_in(&mut self) -> Result<(), Violation> {
        let first = &self.nodes[0];
        let keys = first.disk().lock().content(&first.folder("keys"));
        let keys = read_keys(&keys.ok_or("there are no keys")?);
        let addresses: Vec<_> = self.at(Plan::orders_at);
        let mut traders = Vec::new();
        for client in 0..self.plan.clients {
            let session = Plan::session(client);
            traders.push(Trader {
                session,
                key: keys.get(&session).cloned().ok_or("a session has no key")?,
                account: Plan::account(client),
                instrument: Plan::instrument(),
                quotes: self.plan.has_old_programs(),
            });
        }
        if self.plan.onlookers {
            self.let_onlookers_in(traders[0].clone())?;
        }
        for (client, trader) in traders.into_iter().enumerate() {
            let host = HostId(self.plan.machines() + client);
            let life = self.net.lock().begin_life(host);
            let net = self.net.of(host, life);
            if client < self.plan.users {
                self.users.push(User::new(
                    (self.seed, host),
                    (&net, &addresses),
                    trader,
                    self.plan.manners,
                    self.trace.clone(),
                )?);
                continue;
            }
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

    /// The addresses of all machines for one purpose.
    fn at(&self, address: fn(HostId) -> SocketAddr) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| address(node.host())).collect()
    }

    fn let_onlookers_in(&mut self, trader: Trader) -> Result<(), Violation> {
        let first = self.plan.machines() + self.plan.clients + 1;
        let [office, watcher] = [HostId(first), HostId(first + 1)];
        let live = |host| {
            let life = self.net.lock().begin_life(host);
            self.net.of(host, life)
        };
        let (net, nodes) = (live(office), self.at(Plan::drop_copy_at));
        let office = BackOffice::new((self.seed, office), (&net, nodes), trader)?;
        let (net, nodes) = (live(watcher), self.at(Plan::market_data_at));
        let place = (self.seed, watcher);
        let watcher = MarketWatcher::new(place, (&net, nodes), Plan::instrument())?;
        (self.back_office, self.watcher) = (Some(office), Some(watcher));
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
            self.plan.programs.clone(),
            self.trace.clone(),
        )?);
        Ok(())
    }

    /// Who votes.
    fn electorate(&self) -> Electorate {
        match &self.operator {
            Some(operator) => operator.electorate(),
            None => Electorate::settled((0..self.plan.nodes).map(HostId).collect()),
        }
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
                Deed::TurnOff(host) => {
                    self.nodes[host.0].retire(Death::Process, self.now);
                }
                Deed::Install(host, program) => {
                    let node = &mut self.nodes[host.0];
                    node.install(program);
                    node.kill(Death::Process, self.now, Nanos(1_000_000));
                }
                Deed::Bury(host) => {
                    // The others have to have what it acknowledged.
                    if self.electorate().bears_loss(&mut self.nodes, host.0) {
                        self.nodes[host.0].retire(Death::Machine, self.now);
                        self.lost += 1;
                    }
                }
            }
        }
        Ok(work)
    }

    /// One turn of everything, and time moves on.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub(crate) fn step(&mut self) -> Result<usize, Violation> {
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
            self.check_kept()?;
        }
        work += self.turn_clients()?;
        work += self.turn_operator()?;
        self.overheard.check()?;
        self.now = if work > 0 {
            self.now.after(self.order.span(STEP.0, STEP.1))
        } else {
            self.next_moment()
        };
        Ok(work)
    }

    /// Turns clients and onlookers.
    fn turn_clients(&mut self) -> Result<usize, Violation> {
        let mut work = 0;
        if self.is_silent {
            return Ok(0);
        }
        for client in &mut self.clients {
            let turned = client.turn(self.now);
            work += turned.map_err(|why| format!("{}: {why}", client.host()))?;
        }
        for user in &mut self.users {
            let turned = user.turn(self.now);
            work += turned.map_err(|why| format!("{}: {why}", user.host()))?;
        }
        if let Some(office) = &mut self.back_office {
            work += office.turn(self.now)?;
        }
        if let Some(watcher) = &mut self.watcher {
            work += watcher.turn(self.now)?;
        }
        Ok(work)
    }

    /// What has just been called committed is on the disks of a quorum.
    fn check_kept(&mut self) -> Result<(), Violation> {
        if self.kept_to == self.history.frames().len()
            || self.plan.durability != Durability::Durable
        {
            return Ok(());
        }
        let voters = self.electorate();
        for frame in &self.history.frames()[self.kept_to..] {
            self.kept_to += 1;
            let (index, term) = (self.kept_to as u64, frame.term);
            let nodes = self.nodes.iter_mut();
            let stands: Vec<Stand> = nodes.map(|node| node.stand(index, term)).collect();
            let lacks =
                |it: &&Stand| matches!(it, Stand::Unflushed | Stand::Unnamed | Stand::Missing);
            let suffices = |group: &[HostId]| {
                let of_group = group.iter().map(|voter| &stands[voter.0]);
                2 * of_group.filter(lacks).count() < group.len()
            };
            if !voters.groups().any(suffices) {
                return Err(format!(
                    "index {index} of term {term} is committed, and not on the disks of a quorum: {stands:?}"
                ));
            }
        }
        Ok(())
    }

    /// When something is due next: nothing happens before.
    fn next_moment(&self) -> Nanos {
        let nodes = self.nodes.iter().filter_map(SimNode::next_at);
        let clients = self.clients.iter().map(Client::next_at);
        let net = self.net.lock().next_due();
        let due = nodes
            .chain(clients)
            .chain(self.users.iter().map(User::next_at))
            .chain(self.back_office.iter().map(BackOffice::next_at))
            .chain(self.watcher.iter().map(MarketWatcher::next_at))
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
        for user in &mut self.users {
            user.be_done();
        }
        self.back_office.iter_mut().for_each(BackOffice::be_done);
        self.watcher.iter_mut().for_each(MarketWatcher::be_done);
        if let Some(operator) = &mut self.operator {
            operator.be_done();
        }
        let end = self.now.after(RECOVERY_MAX);
        let mut rests_at = None;
        loop {
            let settled = self.clients.iter().all(Client::is_settled)
                && self.users.iter().all(|user| user.is_settled(self.now));
            let last = self.history.last();
            let level = |node: &SimNode| !node.serves() || node.is_up() && node.committed() == last;
            let idle = self.operator.as_ref().is_none_or(Operator::is_idle);
            let shown = self.back_office.as_ref().is_none_or(BackOffice::has_all);
            // Events that are damaged are not shown: whoever waits for them waits for the next start.
            let bad = self
                .nodes
                .iter()
                .any(|it| it.serves() && it.has_bad_events());
            let rests = settled && (shown || bad) && idle && self.nodes.iter().all(level);
            rests_at = match (rests, rests_at) {
                (true, None) => Some(self.now.after(REST)),
                (true, at) => at,
                (false, _) => None,
            };
            if rests_at.is_some_and(|at| self.now >= at) {
                if !self.restart_with_bad_events() && !self.owes_answers()? {
                    return Ok(());
                }
                rests_at = None;
            }
            if self.now >= end {
                return Err(self.what_lasts());
            }
            self.step()?;
        }
    }

    /// Whether a client is still to be told what became of a message: one may be at a leader that nobody hears in
    /// time, so that another has to be found first.
    fn owes_answers(&self) -> Result<bool, Violation> {
        let meaning = Meaning::of(&self.history)?;
        let clients = self.clients.iter().map(Client::versions);
        let versions = clients.chain(self.users.iter().map(User::versions));
        let mut last = versions.filter_map(<[VersionTold]>::last);
        Ok(last.any(|told| meaning.check_known(told).is_err()))
    }

    /// Restarts nodes whose event log is not known to be whole again, if there are any. A start believes what it has
    /// no need to read; the node looks through that afterwards, and the next start mends it.
    pub(crate) fn restart_with_bad_events(&mut self) -> bool {
        let mut any = false;
        let serving = self.nodes.iter_mut().filter(|node| node.serves());
        for node in serving.filter(|node| node.has_bad_events()) {
            node.kill(Death::Process, self.now, Nanos(1));
            any = true;
        }
        any
    }

    pub(crate) fn what_lasts(&self) -> Violation {
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
        let users = self.users.iter().filter(|user| !user.is_settled(self.now));
        let waiting: Vec<String> = waiting
            .map(|client| client.host().to_string())
            .chain(users.map(|user| user.host().to_string()))
            .collect();
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
        let clients = self.clients.iter().map(Client::versions);
        for versions in clients.chain(self.users.iter().map(User::versions)) {
            for told in versions {
                meaning.check_told(told)?;
            }
            versions
                .last()
                .map_or(Ok(()), |told| meaning.check_known(told))?;
        }
        if let Some(office) = &self.back_office {
            office.check(&meaning.events)?;
        }
        if let Some(watcher) = &self.watcher {
            watcher.check(&meaning)?;
        }
        self.check_event_logs(&meaning)?;
        self.check_archives()?;
        Ok(meaning)
    }

    /// What nodes have archived goes on in their journals.
    fn check_archives(&mut self) -> Result<(), Violation> {
        if !self.plan.keeping.archives {
            return Ok(());
        }
        for node in self.nodes.iter().filter(|node| node.has_been_used()) {
            let place = (node.disk(), node.data());
            self.archived += check_archive(node.host(), place, &self.history)?;
        }
        Ok(())
    }

    /// What all nodes have told agrees with the history.
    ///
    /// # Errors
    /// It does not.
    pub(crate) fn check_event_logs(&self, meaning: &Meaning) -> Result<(), Violation> {
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
        Ok(())
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
