//! A simulated operator: changes the members of a group, has its leader step down, has snapshots taken, as
//! `exahour add-node`, `remove-node`, `replace-node`, `step-down`, `take-snapshot` and `activate` do.
//!
//! Turned by the cluster. It asks over the peers' port, one question a connection, and believes what the
//! leader says of its group.
//!
//! ```text
//! job drawn --> [ how does the leader stand? --> what the job wants next, if anything --> ] ... --> done
//! ```
//! Always holds: one job at a time, which goes on until the group says that it is done; a machine belongs to
//! the group from the moment that it is started, and is turned off once it is no member any more.

mod call;
mod job;
mod versions;

use std::collections::VecDeque;
use std::net::SocketAddr;

use exahour_gateway::net::{Net, Port};
use exahour_replicas::{ClusterKey, Member, NodeId, NodeRole, NodeStatus, Reply, Request};
use exahour_wire::ids::Behaviour;
use exahour_wire::units::{Nanos, PartsPerMillion};

use crate::chance::{Chance, Stream};
use crate::client::Violation;
use crate::electorate::Electorate;
use crate::net::HostId;
use crate::swarm::Programs;
use crate::tally::Tally;
use crate::trace::{Happening, Trace};
pub(crate) use call::{Call, Heard};
use job::{Job, Next};
use versions::Versions;

/// What an operator does.
#[derive(Clone, Copy, Debug)]
pub struct Duties {
    /// Machines that stand ready to become members.
    pub spares: usize,
    /// The least and the most time from one job to the next.
    pub every: (Nanos, Nanos),
    /// How often a member that is replaced has lost its disk for good.
    pub losses: PartsPerMillion,
}

/// The least and the most time from one question to the next.
const AGAIN: (Nanos, Nanos) = (Nanos(1_000_000), Nanos(60_000_000));

/// What the world has to do for an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// A machine that stood ready is started, on an empty disk.
    Start(HostId),
    /// A machine that is no member any more is turned off.
    TurnOff(HostId),
    /// A node is started anew, with a program that can do this behaviour and none that is newer.
    Install(HostId, Behaviour),
    /// A machine is dead, and its disk with it.
    Bury(HostId),
}

/// An operator.
#[derive(Debug)]
pub(crate) struct Operator {
    host: HostId,
    chance: Chance,
    trace: Trace,
    port: Box<dyn Port>,
    key: ClusterKey,
    duties: Duties,
    /// Every machine that may be a member, by its place.
    machines: Vec<Member>,
    /// Who votes, by what is done.
    voters: Electorate,
    versions: Versions,
    /// Those that never were one, in the order in which they are used.
    spares: VecDeque<HostId>,
    call: Option<Call>,
    /// How the leader stood when it was asked last, and nothing was done about it yet.
    view: Option<NodeStatus>,
    job: Option<Job>,
    /// Who is asked next.
    node: HostId,
    next_at: Nanos,
    is_done: bool,
    deeds: Vec<Deed>,
    tally: Tally,
}

impl Operator {
    /// An operator on a host of its own; the first `members` of the machines found the cluster.
    ///
    /// # Errors
    /// The network refuses it a port.
    pub(crate) fn new(
        (seed, host): (u64, HostId),
        net: &dyn Net,
        (key, duties): (ClusterKey, Duties),
        (machines, members): (Vec<Member>, usize),
        programs: Option<Programs>,
        trace: Trace,
    ) -> Result<Self, Violation> {
        let mut chance = Chance::new(seed, Stream::Operator, 0);
        let any = SocketAddr::new(host.address(), 0);
        let port = net.listen(any, 1).map_err(|error| error.to_string())?;
        Ok(Self {
            host,
            next_at: chance.span(duties.every.0, duties.every.1),
            chance,
            trace,
            port,
            key,
            duties,
            voters: Electorate::settled((0..members).map(HostId).collect()),
            versions: Versions::new(programs),
            spares: (members..machines.len()).map(HostId).collect(),
            machines,
            call: None,
            view: None,
            job: None,
            node: HostId(0),
            is_done: false,
            deeds: Vec::new(),
            tally: Tally::default(),
        })
    }

    /// Begins no new job.
    pub(crate) fn be_done(&mut self) {
        self.is_done = true;
    }

    /// Whether there is nothing left to do.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_done && self.job.is_none() && self.call.is_none()
    }

    /// What keeps it busy, in words.
    pub(crate) fn busy_with(&self) -> Option<String> {
        self.job.map(|job| format!("{job:?}"))
    }

    /// When it does something next, unless it is answered before.
    pub(crate) fn next_at(&self) -> Nanos {
        match &self.call {
            Some(call) => call.ends_at(),
            None if self.is_idle() => Nanos::NEVER,
            None => self.next_at,
        }
    }

    /// Who votes: what it wants changed may be so already, or not yet.
    pub(crate) fn electorate(&self) -> Electorate {
        match self.job {
            Some(job) => self.behind(job),
            None => self.voters.clone(),
        }
    }

    /// Who votes while a job is done.
    fn behind(&self, job: Job) -> Electorate {
        let (comes, goes) = match job {
            Job::StepDown(_) | Job::TakeSnapshot(_) | Job::Activate(_) | Job::Install(..) => {
                return self.voters.clone();
            }
            Job::Add(new) => (Some(new), None),
            Job::Remove(old) => (None, self.place_of(old)),
            Job::Replace { old, new } => (Some(new), self.place_of(old)),
        };
        self.voters.changing(comes, goes)
    }

    /// What the world has to do now.
    pub(crate) fn take_deeds(&mut self) -> Vec<Deed> {
        std::mem::take(&mut self.deeds)
    }

    /// Adds what it has done.
    pub(crate) fn count(&self, tally: &mut Tally) {
        tally.add(&self.tally);
        tally.activations_refused += self.versions.refused();
    }

    /// Goes on with what it does; how much there was to do.
    ///
    /// # Errors
    /// What no node may answer.
    pub(crate) fn turn(&mut self, now: Nanos) -> Result<usize, Violation> {
        if self.port.poll_ready().is_err() {
            return Err("the network fails".to_owned());
        }
        while self.port.accept().is_some() {}
        let Some(call) = &mut self.call else {
            return Ok(self.begin_call(now));
        };
        let (work, heard) = call.turn(&mut *self.port, now);
        let Some(heard) = heard else {
            return Ok(work);
        };
        let request = call.request();
        call.hang_up(&mut *self.port);
        self.call = None;
        self.next_at = now.after(self.chance.span(AGAIN.0, AGAIN.1));
        if let Request::Activate(behaviour) = request {
            let members: Vec<HostId> = self.voters.groups().flatten().copied().collect();
            self.versions.on_activation(behaviour, &heard, &members)?;
        }
        match heard {
            Heard::Lost => self.ask_another(),
            Heard::Reply(reply) => self.on_reply(request, reply, now)?,
        }
        Ok(work + 1)
    }

    /// Asks what is to be asked now.
    fn begin_call(&mut self, now: Nanos) -> usize {
        if now < self.next_at || self.is_idle() || self.is_done && self.job.is_none() {
            return 0;
        }
        let request = match (self.view.take(), self.job) {
            (_, Some(Job::TakeSnapshot(at))) => {
                self.node = at;
                Request::TakeSnapshot
            }
            (Some(view), Some(job)) => match job.next(&view, &self.machines) {
                Next::Ask(request) => request,
                Next::Wait => Request::Status,
                Next::Done => {
                    self.finish(job, now);
                    return 1;
                }
            },
            _ => Request::Status,
        };
        let mut nonce = [0; 32];
        self.chance.fill(&mut nonce);
        let address = self.machines[self.node.0].peers;
        self.trace.note(Happening::Asked(
            self.host,
            self.node,
            format!("{request:?}"),
        ));
        self.call = Call::begin(&mut *self.port, address, (&self.key, nonce), request, now);
        1
    }

    fn ask_another(&mut self) {
        self.view = None;
        self.node = HostId(self.chance.below(self.machines.len()));
    }

    fn on_reply(&mut self, request: Request, reply: Reply, now: Nanos) -> Result<(), Violation> {
        if let Reply::Refused(why) | Reply::NotNow(why) = &reply {
            self.trace.note(Happening::Answered(self.host, why.clone()));
        }
        match reply {
            Reply::Status(_) if request != Request::Status => {
                return Err(format!("{request:?} is answered by a status"));
            }
            Reply::Status(status) => self.on_status(*status, now),
            Reply::Done => match (self.job, request) {
                // What is under way shows in the group.
                (Some(job), _) if job.is_asked_once() => self.finish(job, now),
                _ => {}
            },
            Reply::Refused(_) => match self.job {
                Some(job) if job.is_asked_once() => self.give_up(now),
                // Somebody is missing: once all are there it is taken.
                _ => {}
            },
            // Who leads by now is asked first.
            Reply::NotNow(_) => {}
        }
        Ok(())
    }

    /// A node says how it stands: what it leads is believed.
    fn on_status(&mut self, status: NodeStatus, now: Nanos) {
        let known = |id: NodeId| self.machines.iter().position(|machine| machine.id == id);
        if status.role != NodeRole::Leader {
            match status.leader.and_then(known) {
                Some(leader) => self.node = HostId(leader),
                None => self.ask_another(),
            }
            return;
        }
        if self.job.is_none() && !self.is_done {
            self.job = Some(self.draw(&status));
            self.trace
                .note(Happening::Planned(self.host, format!("{:?}", self.job)));
        }
        self.view = Some(status);
        self.next_at = now;
    }

    /// A job for a group that stands like this.
    fn draw(&mut self, view: &NodeStatus) -> Job {
        let members: Vec<NodeId> = view.members.iter().map(|it| it.member.id).collect();
        let places = members.iter().filter_map(|id| self.place_of(*id)).collect();
        if let Some(job) = self.versions.draw(&mut self.chance, view, places) {
            if let Job::Install(at, program) = job {
                self.deeds.push(Deed::Install(at, program));
            }
            return job;
        }
        let any = |chance: &mut Chance| members[chance.below(members.len())];
        match self.chance.below(10) {
            0 => Job::StepDown(None),
            1 => Job::StepDown(Some(any(&mut self.chance))),
            2 => Job::TakeSnapshot(self.node),
            3 => {
                let machine = any(&mut self.chance);
                let place = self.machines.iter().position(|it| it.id == machine);
                Job::TakeSnapshot(place.map_or(self.node, HostId))
            }
            4 if self.versions.may_be_asked_for() => Job::Activate(view.behaviour_max),
            kind => {
                let old = any(&mut self.chance);
                match self.spares.front().copied() {
                    Some(new) if kind < 8 => self.replace(old, new),
                    Some(new) => {
                        self.employ(new);
                        Job::Add(new)
                    }
                    None if members.len() > 3 => Job::Remove(old),
                    None => Job::StepDown(None),
                }
            }
        }
    }

    fn replace(&mut self, old: NodeId, new: HostId) -> Job {
        self.employ(new);
        if self.chance.happens(self.duties.losses)
            && let Some(place) = self.place_of(old)
        {
            self.deeds.push(Deed::Bury(place));
        }
        Job::Replace { old, new }
    }

    fn employ(&mut self, new: HostId) {
        self.spares.pop_front();
        self.deeds.push(Deed::Start(new));
    }

    fn place_of(&self, id: NodeId) -> Option<HostId> {
        let place = self.machines.iter().position(|machine| machine.id == id);
        place.map(HostId)
    }

    fn finish(&mut self, job: Job, now: Nanos) {
        self.voters = self.behind(job).settle();
        match job {
            Job::StepDown(_) => self.tally.leads_given_up += 1,
            Job::TakeSnapshot(_) => self.tally.snapshots_asked += 1,
            Job::Activate(_) | Job::Install(..) => {}
            Job::Add(_) => self.tally.members_changed += 1,
            Job::Remove(old) | Job::Replace { old, .. } => {
                self.tally.members_changed += 1;
                let gone = self.place_of(old);
                self.deeds.extend(gone.map(Deed::TurnOff));
            }
        }
        self.trace
            .note(Happening::Planned(self.host, "it is done".to_owned()));
        self.give_up(now);
    }

    fn give_up(&mut self, now: Nanos) {
        self.job = None;
        self.view = None;
        let (least, most) = self.duties.every;
        self.next_at = now.after(self.chance.span(least, most));
    }
}
