//! A simulated machine and the node on it: started, turned one agent at a time, killed, started again.
//!
//! Owned by the cluster, which decides when.
//!
//! Always holds: the agents are the ones that a real node runs; once the machine or the process is dead,
//! nothing of it reaches disk or network any more.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use exahour_gateway::clock::Clock;
use exahour_journal::disk::Disk;
use exahour_journal::{Position, Reader, Verify};
use exahour_replicas::{Node, NodeConfig, NodeError, World};
use exahour_rings::Agent;
use exahour_twin::behaviour::NEWEST;
use exahour_wire::codes::Durability;
use exahour_wire::ids::Behaviour;
use exahour_wire::units::Nanos;

use crate::chance::Chance;
use crate::client::Violation;
use crate::clock::ClockHands;
use crate::disk;
use crate::history::{Committed, History, Observer, standing_frames};
use crate::net::{self, Death, HostId};
use crate::overheard::{Overheard, Tapped};
use crate::quorum::{Held, Stand};
use crate::swarm::PEERS_PORT;
use crate::tally::Tally;
use crate::trace::{Happening, Trace};

thread_local! {
    /// What nodes of this thread's world have told their operators since it was last noted.
    static SAID: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn hear(notice: &str) {
    SAID.with_borrow_mut(|said| said.push(notice.to_owned()));
}

/// Notes what a node has told its operator.
fn note_said(host: HostId, trace: &Trace) {
    SAID.with_borrow_mut(|said| {
        for what in said.drain(..) {
            trace.note(Happening::Said(host, what));
        }
    });
}

/// An agent of a node that runs.
struct Turned {
    agent: Box<dyn Agent>,
    /// Its last turn takes until then.
    busy_until: Nanos,
}

/// A node's process.
struct Process {
    agents: Vec<Turned>,
    observer: Observer,
    /// The observer has read what its disk does not show right any more: it goes on once the node has started
    /// anew, and has found that out for itself.
    is_misled: bool,
    /// Nothing of it moves before then.
    paused_until: Nanos,
}

/// Whether a node runs.
enum State {
    /// It will be started then.
    Down(Nanos),
    Up(Box<Process>),
}

/// Whether a machine is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    /// It stands ready.
    Later,
    Now,
    /// It was turned off.
    Past,
    /// It is gone, with its disk.
    Lost,
    /// It was turned off, and what a power cut or damage left on its disk nobody has made whole.
    Untold,
}

/// A machine with its node.
pub(crate) struct SimNode {
    host: HostId,
    config: NodeConfig,
    disk: disk::Shared,
    net: net::Shared,
    overheard: Overheard,
    hands: ClockHands,
    trace: Trace,
    state: State,
    /// How often it was started.
    pub(crate) starts: u64,
    /// How long it stays down.
    down_for: Nanos,
    /// It was started in good order once.
    has_run: bool,
    service: Service,
    /// The power is cut over this call of the disk when it is started next.
    dies_at_start: Option<u64>,
    /// Starts that did not read the whole event log.
    starts_from_views: u64,
    deaths_at_start: u64,
    /// It has lost its power, and is not known to remember everything again.
    forgets: bool,
    memories_lost: u64,
    /// Its journal is looked at when it is started next.
    looks: bool,
    /// What stood in it then.
    found: Option<Vec<(u64, Committed)>>,
    /// The entries that it went on behind, from another node's snapshot.
    installed: BTreeSet<u64>,
    /// What its last run has appended.
    held: Option<Held>,
    programs_changed: u64,
    programs_stopped: u64,
}

/// How long whoever looks after a node waits until it is started again after a start that came to nothing.
const START_AGAIN: Nanos = Nanos(50_000_000);

impl SimNode {
    pub(crate) fn new(
        host: HostId,
        mut config: NodeConfig,
        (disk, net, overheard): (disk::Shared, net::Shared, Overheard),
        hands: ClockHands,
        trace: Trace,
    ) -> Self {
        config.notice = hear;
        Self {
            host,
            config,
            disk,
            net,
            overheard,
            hands,
            trace,
            state: State::Down(Nanos(0)),
            starts: 0,
            down_for: Nanos(0),
            has_run: false,
            service: Service::Now,
            dies_at_start: None,
            starts_from_views: 0,
            deaths_at_start: 0,
            forgets: false,
            memories_lost: 0,
            looks: false,
            found: None,
            installed: BTreeSet::new(),
            held: None,
            programs_changed: 0,
            programs_stopped: 0,
        }
    }

    /// From its next start on it has a program that can do this behaviour, and none that is newer.
    pub(crate) fn install(&mut self, program: Behaviour) {
        self.config.capacity.behaviour_max = program;
        self.programs_changed += 1;
        self.trace.note(Happening::Installed(self.host, program.0));
    }

    /// A machine that stands ready, and is not started before it is put into service.
    pub(crate) fn standing_by(mut self) -> Self {
        self.state = State::Down(Nanos::NEVER);
        self.service = Service::Later;
        self
    }

    /// It is started, and started again whenever it is down.
    pub(crate) fn employ(&mut self, now: Nanos) {
        self.service = Service::Now;
        self.state = State::Down(now);
    }

    /// It is turned off for good; where it dies, its disk is lost, too.
    pub(crate) fn retire(&mut self, death: Death, now: Nanos) {
        let is_whole = self.is_up() && !self.has_bad_events();
        self.kill(death, now, Nanos::NEVER);
        self.state = State::Down(Nanos::NEVER);
        self.service = match (death, self.service) {
            (Death::Machine, _) | (_, Service::Lost) => Service::Lost,
            (Death::Process, _) if is_whole => Service::Past,
            (Death::Process, _) => Service::Untold,
        };
        self.trace.note(Happening::Retired(self.host));
    }

    /// Whether it is used now.
    pub(crate) fn serves(&self) -> bool {
        self.service == Service::Now
    }

    /// Whether something that it acknowledged may be missing on its disk, or will be before long.
    pub(crate) fn may_lack_something(&mut self) -> bool {
        if self.service == Service::Lost || self.dies_at_start.is_some() {
            return true;
        }
        let says = self.says_that_it_forgets();
        if self.is_up() && !says {
            self.forgets = false;
        }
        let unflushed = self.config.durability == Durability::Replicated;
        self.forgets || says || unflushed && self.disk.lock().is_doomed()
    }

    /// Whether it has written down that it may have forgotten: in the newer of the two slots of its promises,
    /// behind their magic, counter, incarnation, term and vote.
    pub(crate) fn says_that_it_forgets(&self) -> bool {
        let promises = self.disk.lock().content(&self.folder("raft-state"));
        let promises = promises.unwrap_or_default();
        let slots = promises.chunks_exact(4096);
        let newest =
            slots.max_by_key(|slot| slot[8..16].first_chunk().map(|it| u64::from_le_bytes(*it)));
        newest.is_some_and(|slot| slot[40] != 0)
    }

    /// What stands in its journal is looked at when it is started next.
    pub(crate) fn look_when_started(&mut self) {
        self.looks = true;
        self.found = None;
    }

    /// What stood in its journal then.
    pub(crate) fn found(&self) -> Option<&[(u64, Committed)]> {
        self.found.as_deref()
    }

    /// What stands in its journal now.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn standing(&self) -> Result<Vec<(u64, Committed)>, Violation> {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.observe());
        standing_frames(&disk, &self.folder("journal"))
    }

    /// What it has published is read once more from the start.
    ///
    /// # Errors
    /// Its journal cannot be read.
    pub(crate) fn observe_anew(&mut self) -> Result<(), Violation> {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.observe());
        let journal = self.folder("journal");
        if let State::Up(process) = &mut self.state {
            process.observer = Observer::new(self.host, &disk, &journal)?;
        }
        Ok(())
    }

    /// Whether a part of its event log was set aside.
    pub(crate) fn events_were_cut(&self) -> bool {
        let listed = self.disk.observe().list(&self.folder("events"));
        let aside = |path: &PathBuf| path.to_string_lossy().contains("damaged-");
        listed.is_ok_and(|paths| paths.iter().any(aside))
    }

    /// Whether its disk can be looked at.
    pub(crate) fn has_been_used(&self) -> bool {
        matches!(self.service, Service::Now | Service::Past) && self.has_run
    }

    pub(crate) fn host(&self) -> HostId {
        self.host
    }

    pub(crate) fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// Its clock, to be set.
    pub(crate) fn hands(&mut self) -> &mut ClockHands {
        &mut self.hands
    }

    /// Its disk, to be harmed.
    pub(crate) fn disk(&self) -> &disk::Shared {
        &self.disk
    }

    /// Its data folder.
    pub(crate) fn data(&self) -> &Path {
        &self.config.data
    }

    /// The folder of a log.
    pub(crate) fn folder(&self, log: &str) -> PathBuf {
        self.config.data.join(log)
    }

    /// The last frame that it has published as committed since it was started.
    pub(crate) fn committed(&self) -> u64 {
        match &self.state {
            State::Up(process) => process.observer.index(),
            State::Down(_) => 0,
        }
    }

    /// When it does something next though nothing comes, where that is known.
    pub(crate) fn next_at(&self) -> Option<Nanos> {
        match &self.state {
            State::Down(until) => Some(*until),
            State::Up(process) if process.paused_until > Nanos(0) => Some(process.paused_until),
            State::Up(process) => process.agents.iter().map(|it| it.busy_until).max(),
        }
    }

    /// Moves its clock on.
    pub(crate) fn turn_clock(&mut self, now: Nanos) {
        self.hands.turn_to(now);
    }

    /// Lets the process stand still for a while.
    pub(crate) fn pause(&mut self, until: Nanos) {
        if let State::Up(process) = &mut self.state {
            process.paused_until = until;
            self.trace.note(Happening::Paused(self.host, until));
        }
    }

    /// Lets a process that stands still go on, and starts one that is down.
    pub(crate) fn resume(&mut self, now: Nanos) {
        match &mut self.state {
            State::Up(process) => process.paused_until = now,
            State::Down(until) if self.service == Service::Now => *until = now.min(*until),
            State::Down(_) => {}
        }
    }

    /// The process, or the whole machine, ends now, and is started again later.
    pub(crate) fn kill(&mut self, death: Death, now: Nanos, down_for: Nanos) {
        if !self.is_up() {
            return;
        }
        self.trace.note(match death {
            Death::Process => Happening::Killed(self.host),
            Death::Machine => Happening::PowerLost(self.host),
        });
        match death {
            Death::Process => self.disk.lock().end_run(),
            Death::Machine => self.disk.lock().lose_power(),
        }
        self.go_down(death, now.after(down_for));
    }

    /// Cuts the power over one of the next calls of the disk.
    pub(crate) fn die_over_disk(&mut self, calls: u64, down_for: Nanos) {
        if self.is_up() {
            self.down_for = down_for;
            self.disk.lock().die_in(calls);
        }
    }

    /// The machine loses its power, and again over a call of its disk while the node is started next.
    pub(crate) fn die_at_start(&mut self, calls: u64, now: Nanos, down_for: Nanos) {
        if self.is_up() {
            self.down_for = down_for;
            self.dies_at_start = Some(calls);
            self.kill(Death::Machine, now, down_for);
        }
    }

    /// Adds what has happened to it.
    pub(crate) fn count(&self, tally: &mut Tally) {
        tally.snapshots_installed += self.installed.len() as u64;
        tally.events_harmed += self.disk.lock().events_harmed();
        tally.starts_from_views += self.starts_from_views;
        tally.deaths_at_start += self.deaths_at_start;
        tally.memories_lost += self.memories_lost;
        tally.programs_changed += self.programs_changed;
        tally.programs_stopped += self.programs_stopped;
        let first = self.folder("journal").join(format!("{:020}.log", 0));
        if self.has_run && self.disk.lock().content(&first).is_none() {
            tally.journals_released += 1;
        }
    }

    /// How its disk stands to a frame.
    pub(crate) fn stand(&mut self, index: u64, term: u32) -> Stand {
        if self.disk.lock().is_harmed() {
            return Stand::Harmed;
        }
        let is_up = self.is_up();
        let held = self.held.as_mut();
        held.map_or(Stand::Missing, |held| {
            if !is_up {
                held.end_run();
            }
            held.stand(&self.disk, index, term)
        })
    }

    /// Cuts the power over one of the calls of the first start.
    pub(crate) fn die_at_first_start(&mut self, calls: u64) {
        self.dies_at_start = Some(calls);
    }

    /// Nothing that was meant for it befalls it any more.
    pub(crate) fn spare(&mut self) {
        self.dies_at_start = None;
        self.disk.lock().spare();
    }

    /// Whether it was started in good order once.
    pub(crate) fn has_run(&self) -> bool {
        self.has_run
    }

    /// Damages something that it keeps; whether there was anything.
    pub(crate) fn harm(&self, harm: disk::Harm) -> bool {
        self.disk.harm(harm, &self.config.data)
    }

    /// Reads its event log from end to end; whether it is whole.
    fn looks_through_events(&self) -> bool {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.observe());
        let Ok(mut events) = Reader::follow_on(&disk, self.folder("events"), Verify::Every) else {
            return false;
        };
        loop {
            match events.next(Position::new(u64::MAX)) {
                Ok(Some(_)) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    /// Whether its event log was damaged, and is not known to be whole again.
    pub(crate) fn has_bad_events(&self) -> bool {
        self.disk.lock().events_are_bad()
    }

    /// Damages its event log; whether there was anything.
    pub(crate) fn harm_events(&self) -> bool {
        self.disk.harm_events(&self.config.data)
    }

    fn go_down(&mut self, death: Death, until: Nanos) {
        if death == Death::Machine && self.config.durability == Durability::Replicated {
            self.forgets = true;
            self.memories_lost += 1;
        }
        self.net.lock().end_life(self.host, death);
        // The agents are dropped, not closed: nobody has the time to close anything.
        self.state = State::Down(until);
    }

    /// One turn of everything that may turn, in an order of chance; gives how much there was to do.
    ///
    /// # Errors
    /// An agent failed that had no reason to, or what it has published differs from the history.
    pub(crate) fn turn(
        &mut self,
        now: Nanos,
        order: &mut Chance,
        history: &mut History,
    ) -> Result<usize, Violation> {
        match &mut self.state {
            State::Down(until) if now >= *until => self.start(now, history),
            State::Down(_) => Ok(0),
            State::Up(process) if now < process.paused_until => Ok(0),
            State::Up(process) => {
                process.paused_until = Nanos(0);
                let turned = process.turn(now, order, &self.disk);
                note_said(self.host, &self.trace);
                let work = match turned {
                    Ok(work) => work,
                    Err(end) => {
                        if matches!(end, End::Beyond(_)) && !process.is_misled {
                            // It may be the first that has published what it stops at.
                            process.observer.observe(history)?;
                            self.installed.extend(process.observer.take_restarts());
                        }
                        return self.on_end(end, now, history);
                    }
                };
                let seen = match process.is_misled {
                    true => Ok(0),
                    false => process.observer.observe(history),
                };
                self.installed.extend(process.observer.take_restarts());
                process.is_misled |= seen.is_err() && self.disk.lock().is_harmed();
                match process.is_misled {
                    true => Ok(work),
                    false => seen.map(|_| work),
                }
            }
        }
    }

    fn start(&mut self, now: Nanos, history: &History) -> Result<usize, Violation> {
        self.starts += 1;
        let life = self.net.lock().begin_life(self.host);
        let disk: Arc<dyn Disk> = Arc::new(self.disk.begin_run());
        let clock = self.hands.clock();
        let world = World {
            disk: Arc::clone(&disk),
            net: Arc::new(Tapped::new(
                self.net.of(self.host, life),
                PEERS_PORT,
                self.overheard.clone(),
            )),
            clocks: Arc::new(move || Box::new(clock.clone()) as Box<dyn Clock>),
        };
        self.trace.note(Happening::Started(self.host));
        if let Some(calls) = self.dies_at_start.take() {
            self.disk.lock().die_in(calls);
        }
        if let Some(cluster) = &mut self.config.cluster {
            // An operator founds a cluster once, and again only where not even the start went well.
            cluster.founding = !self.has_run;
        }
        let config = &self.config;
        let begun = catch_unwind(AssertUnwindSafe(|| {
            let assembled = Node::assemble(config, &world).map_err(|error| match error {
                NodeError::UnknownBehaviour(unknown) => End::Beyond(unknown.behaviour),
                error => End::Halted("start", error.to_string()),
            })?;
            let mut agents = assembled.agents;
            for agent in &mut agents {
                let started = agent.on_start();
                let name = agent.name();
                started.map_err(|halt| End::Halted("start", format!("{name}: {halt}")))?;
            }
            Ok::<_, End>((agents, assembled.recovery.views_event))
        }));
        note_said(self.host, &self.trace);
        if self.disk.lock().is_dead() {
            self.deaths_at_start += 1;
            let end = End::Halted("start", "its disk lost power".to_owned());
            return self.on_end(end, now, history);
        }
        let (agents, views_event) = match begun {
            Ok(Ok(begun)) => begun,
            Ok(Err(end)) => return self.on_end(end, now, history),
            Err(panic) => {
                return self.on_end(End::Panicked("start", said(&*panic)), now, history);
            }
        };
        self.has_run = true;
        if self.has_bad_events() && self.looks_through_events() {
            self.disk.lock().events_are_whole();
        }
        self.starts_from_views += u64::from(views_event > 0);
        let watched: Arc<dyn Disk> = Arc::new(self.disk.observe());
        let journal = self.folder("journal");
        if std::mem::take(&mut self.looks) {
            self.found = Some(standing_frames(&watched, &journal)?);
        }
        let observer = Observer::new(self.host, &watched, &journal)?;
        self.held = Some(Held::new(&watched, &journal)?);
        let turned = |agent| Turned {
            agent,
            busy_until: Nanos(0),
        };
        self.state = State::Up(Box::new(Process {
            agents: agents.into_iter().map(turned).collect(),
            observer,
            is_misled: false,
            paused_until: Nanos(0),
        }));
        // A start takes time, too.
        self.disk.lock().take_cost();
        Ok(1)
    }

    /// The process ended by itself: it had a reason where its disk failed it, a snapshot came, or rules count that
    /// its program does not know, and none else.
    fn on_end(&mut self, end: End, now: Nanos, history: &History) -> Result<usize, Violation> {
        let (is_dead, has_failed) = {
            let store = self.disk.lock();
            let has_failed = store.has_failed() || store.is_harmed() || store.events_are_bad();
            (store.is_dead(), has_failed)
        };
        if is_dead {
            self.go_down(Death::Machine, now.after(self.down_for.max(Nanos(1))));
            return Ok(1);
        }
        let down_for = match end {
            End::Halted("start", _) => self.down_for.max(START_AGAIN),
            _ => self.down_for.max(Nanos(1)),
        };
        let (reason, expected) = match &end {
            End::Panicked(agent, why) => {
                return Err(format!("{}: {agent} panicked: {why}", self.host));
            }
            End::Halted(agent, why) => (format!("{agent}: {why}"), has_failed),
            End::OpensAgain => ("a snapshot has come".to_owned(), true),
            // What counts only once it is on disk is never lost.
            End::Doubts => {
                let replicated = self.config.durability == Durability::Replicated;
                let reason = "its events may be of commands that were lost".to_owned();
                (reason, replicated)
            }
            End::Beyond(behaviour) => {
                let counts = history.in_force() >= *behaviour;
                let knows = self.config.capacity.behaviour_max >= *behaviour;
                (
                    format!("behaviour {} counts", behaviour.0),
                    counts && !knows,
                )
            }
        };
        if !expected {
            return Err(format!("{} stopped: {reason}", self.host));
        }
        self.trace.note(Happening::Halted(self.host, reason));
        if matches!(end, End::Beyond(_)) {
            // Its operator does what it says: a newer program is started.
            self.programs_stopped += 1;
            self.install(NEWEST);
        }
        if let State::Up(process) = &mut self.state {
            for turned in &mut process.agents {
                turned.agent.on_close();
            }
        }
        self.disk.lock().end_run();
        self.go_down(Death::Process, now.after(down_for));
        Ok(1)
    }
}

/// How a process ended by itself.
enum End {
    /// A snapshot has come: it only has to be started again.
    OpensAgain,
    Doubts,
    /// The log wants a behaviour that its program cannot do.
    Beyond(Behaviour),
    Halted(&'static str, String),
    Panicked(&'static str, String),
}

impl Process {
    fn turn(&mut self, now: Nanos, order: &mut Chance, disk: &disk::Shared) -> Result<usize, End> {
        // Two of them change places every turn: in time each order comes up.
        let count = self.agents.len();
        let (first, other) = (order.below(count), order.below(count));
        self.agents.swap(first, other);
        let mut work = 0;
        for turned in &mut self.agents {
            if now < turned.busy_until {
                continue;
            }
            let agent = &mut turned.agent;
            let name = agent.name();
            match catch_unwind(AssertUnwindSafe(|| agent.do_work())) {
                Ok(Ok(done)) => work += done,
                Ok(Err(halt)) => {
                    return Err(match halt.reason.downcast_ref() {
                        Some(NodeError::SnapshotArrived { .. }) => End::OpensAgain,
                        Some(NodeError::EventsDoubtful) => End::Doubts,
                        Some(NodeError::UnknownBehaviour(it)) => End::Beyond(it.behaviour),
                        _ => End::Halted(name, halt.to_string()),
                    });
                }
                Err(panic) => return Err(End::Panicked(name, said(&*panic))),
            }
            let mut store = disk.lock();
            let cost = store.take_cost();
            if cost > Nanos(0) {
                turned.busy_until = now.after(cost);
            }
            if store.is_dead() {
                return Err(End::Halted(name, "its disk lost power".to_owned()));
            }
        }
        Ok(work)
    }
}

/// What a panic said.
fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default()
}
