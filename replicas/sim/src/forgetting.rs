//! How some worlds under `replicated` end: a majority loses its power at once, with what was not flushed, and
//! an operator decides.
//!
//! Called by `run` in place of a rest.
//!
//! ```text
//! all run --power of a majority, the leader's too--> nobody leads --trust, one node after the other--> level
//! ```
//! Always holds: no node that has lost its power votes before the operator has said that its memory is to be
//! trusted, or a leader that remembers has told it everything again; what a quorum had on disk is kept; all
//! nodes have one history afterwards, and nothing is in it twice.

use exahour_gateway::net::Port;
use exahour_replicas::{Reply, Request};
use exahour_wire::ids::CommandSequence;
use exahour_wire::units::Nanos;

use crate::chance::{Chance, Stream};
use crate::client::{VersionTold, Violation};
use crate::cluster::{Cluster, RECOVERY_MAX};
use crate::history::Committed;
use crate::meaning::Meaning;
use crate::net::Death;
use crate::node::SimNode;
use crate::operator::{Call, Heard};
use crate::swarm::Plan;

/// How long it is watched that nobody leads: several times as long as followers wait.
const STANDSTILL: Nanos = Nanos(2_000_000_000);

/// In so long a leader says something.
const HEARTBEATS: Nanos = Nanos(500_000_000);

/// How long an operator looks for a leader before the next node is trusted.
const PATIENCE: Nanos = Nanos(2_000_000_000);

/// For so long nothing new is committed before all is judged.
const QUIET: Nanos = Nanos(500_000_000);

/// How often one question is asked, at most.
const CALLS_MAX: usize = 20;

impl Cluster {
    /// Lets it happen, and judges.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub(crate) fn forget(&mut self) -> Result<Meaning, Violation> {
        let mut chance = Chance::new(self.seed(), Stream::Forgetting, 0);
        self.end_faults();
        self.until("all nodes run", |it| it.nodes.iter().all(SimNode::is_up))?;
        self.pass(chance.span(Nanos(1_000_000), Nanos(300_000_000)))?;
        self.until("all nodes run", |it| it.nodes.iter().all(SimNode::is_up))?;
        let struck = self.strike(&mut chance);
        self.silence_clients();
        let votes = self.votes(&struck);
        self.until("the machines have power again", |it| {
            struck
                .iter()
                .all(|place| it.nodes[*place].found().is_some())
        })?;
        let kept = self.flushed_by_a_quorum()?;
        self.history.cut(kept);
        for node in &mut self.nodes {
            node.observe_anew()?;
        }
        self.stand_still(&struck, &votes)?;
        if !self.is_led()? {
            self.trust(&struck)?;
        }
        let words = self.overheard.words();
        self.until("somebody leads", |it| it.overheard.words() > words)?;
        self.rest()?;
        self.judge_what_is_left(kept)
    }

    /// Lets time pass until all nodes are level with whole event logs, and nothing new has been committed for a while:
    /// what a leader commits now, the others are told a little later.
    fn rest(&mut self) -> Result<(), Violation> {
        let end = self.now().after(RECOVERY_MAX);
        let (mut known, mut since) = (0, self.now());
        while self.now() < since.after(QUIET) || self.restart_with_bad_events() {
            let last = self.history.last();
            let level = |node: &SimNode| node.is_up() && node.committed() == last;
            if last != known || !self.nodes.iter().all(level) {
                (known, since) = (last, self.now());
            }
            if self.now() >= end {
                return Err(format!("they are not level again; {}", self.what_lasts()));
            }
            self.step()?;
        }
        Ok(())
    }

    /// Takes the power of a majority, the leader among them; which.
    fn strike(&mut self, chance: &mut Chance) -> Vec<usize> {
        let leader = self.overheard.last_leader().map(|id| id as usize - 1);
        let mut others: Vec<usize> = (0..self.nodes.len())
            .filter(|place| Some(*place) != leader)
            .collect();
        let mut struck: Vec<usize> = leader.into_iter().collect();
        let majority = self.nodes.len() / 2 + 1;
        let count = majority + chance.below(self.nodes.len() - majority + 1);
        while struck.len() < count {
            struck.push(others.swap_remove(chance.below(others.len())));
        }
        struck.sort_unstable();
        let now = self.now();
        for place in &struck {
            let node = &mut self.nodes[*place];
            node.look_when_started();
            node.kill(Death::Machine, now, Nanos(20_000_000));
        }
        struck
    }

    /// The last entry that a quorum still has.
    fn flushed_by_a_quorum(&self) -> Result<u64, Violation> {
        let journal = |node: &SimNode| match node.found() {
            Some(found) => Ok(found.to_vec()),
            None => node.standing(),
        };
        let journals: Result<Vec<_>, _> = self.nodes.iter().map(journal).collect();
        let (journals, known) = (journals?, self.history.frames());
        let begins = |found: &[(u64, Committed)]| found.first().map_or(0, |(index, _)| *index - 1);
        let has = |found: &Vec<(u64, Committed)>| {
            let same = found.iter().take_while(|(index, frame)| {
                let place = *index as usize - 1;
                known.get(place).is_some_and(|it| it == frame)
            });
            begins(found) + same.count() as u64
        };
        let mut ends: Vec<u64> = journals.iter().map(has).collect();
        ends.sort_unstable_by_key(|end| std::cmp::Reverse(*end));
        // What a journal begins behind is in a snapshot on disk.
        let snapshot = journals.iter().map(|found| begins(found)).max();
        let quorum = ends[self.nodes.len() / 2].max(snapshot.unwrap_or(0));
        Ok(quorum.min(self.history.last()))
    }

    /// In how many terms each of these nodes has voted.
    fn votes(&self, places: &[usize]) -> Vec<usize> {
        let votes = |place: &usize| self.overheard.votes_of(*place as u64 + 1);
        places.iter().map(votes).collect()
    }

    fn stand_still(&mut self, struck: &[usize], votes: &[usize]) -> Result<(), Violation> {
        let led = self.is_led()?;
        self.pass(STANDSTILL)?;
        if led {
            // Who led before and remembers leads on, and tells the others everything.
            return Ok(());
        }
        if self.votes(struck) != votes {
            return Err("a node votes though it may have forgotten".to_owned());
        }
        let remembers = |place: &&usize| !self.nodes[**place].says_that_it_forgets();
        match struck.iter().find(remembers) {
            Some(place) if !self.is_led()? => Err(format!(
                "{} does not say that it may have forgotten",
                self.nodes[*place].host()
            )),
            _ => Ok(()),
        }
    }

    /// Whether somebody leads.
    fn is_led(&mut self) -> Result<bool, Violation> {
        let words = self.overheard.words();
        self.pass(HEARTBEATS)?;
        Ok(self.overheard.words() > words)
    }

    /// Trusts one node after the other, the one with most first, until somebody leads.
    fn trust(&mut self, struck: &[usize]) -> Result<(), Violation> {
        let mut order = struck.to_vec();
        let end = |place: &usize| {
            let found = self.nodes[*place].found().and_then(<[_]>::last);
            found.map_or((0, 0), |(index, frame)| (frame.term, *index))
        };
        order.sort_by_key(|place| std::cmp::Reverse(end(place)));
        for place in order {
            self.trust_one(place)?;
            let until = self.now().after(PATIENCE);
            let words = self.overheard.words();
            while self.now() < until && self.overheard.words() == words {
                self.step()?;
            }
            if self.overheard.words() > words {
                return Ok(());
            }
        }
        Err("nobody leads though every memory is trusted".to_owned())
    }

    fn trust_one(&mut self, place: usize) -> Result<(), Violation> {
        for _ in 0..CALLS_MAX {
            let heard = self.call(place, Request::TrustMemory)?;
            match heard {
                Heard::Reply(Reply::Done) => return Ok(()),
                Heard::Reply(other) => {
                    return Err(format!("a memory is not trusted: {other:?}"));
                }
                // It may open again, without the events of what it has lost.
                Heard::Lost => self.until("the node runs", |it| it.nodes[place].is_up())?,
            }
        }
        Err("a node is not reached".to_owned())
    }

    /// Asks a node for something.
    ///
    /// # Errors
    /// The world does not let it.
    pub(crate) fn call(&mut self, place: usize, request: Request) -> Result<Heard, Violation> {
        let mut call = self.begin_call(place, request)?;
        loop {
            if let Some(heard) = call.turn(self.now()) {
                return Ok(heard);
            }
            self.step()?;
        }
    }

    /// Begins to ask.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub(crate) fn begin_call(
        &mut self,
        place: usize,
        request: Request,
    ) -> Result<Asked, Violation> {
        let (mut port, nonce) = self.begin_to_call()?;
        let address = Plan::member(self.nodes[place].host()).peers;
        let key = Plan::key();
        let call = Call::begin(&mut *port, address, (&key, nonce), request, self.now());
        let call = call.ok_or("there is no place for a call")?;
        Ok(Asked { call, port })
    }

    /// What is left is one history, in which everything stands that a quorum had flushed.
    fn judge_what_is_left(&mut self, kept: u64) -> Result<Meaning, Violation> {
        let meaning = Meaning::of(&self.history)?;
        meaning.check_once()?;
        let frames = &self.history.frames()[..kept as usize];
        let last = frames.iter().rev().find(|frame| frame.count > 0);
        let last = last.map_or(0, |frame| frame.first.0 + u64::from(frame.count) - 1);
        for told in self.told() {
            meaning.check_told(&before(told, CommandSequence(last)))?;
        }
        self.check_event_logs(&meaning)?;
        let cut = self.nodes.iter().filter(|node| node.events_were_cut());
        self.events_cut += cut.count() as u64;
        Ok(meaning)
    }

    /// Lets time pass.
    fn pass(&mut self, span: Nanos) -> Result<(), Violation> {
        let end = self.now().after(span);
        while self.now() < end {
            self.step()?;
        }
        Ok(())
    }

    /// Lets time pass until something is so.
    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) -> Result<(), Violation> {
        let end = self.now().after(RECOVERY_MAX);
        while !is_so(self) {
            if self.now() >= end {
                return Err(format!(
                    "it does not come to this: {what}; {}",
                    self.what_lasts()
                ));
            }
            self.step()?;
        }
        Ok(())
    }
}

/// A question under way, over a port of its own.
pub(crate) struct Asked {
    call: Call,
    port: Box<dyn Port>,
}

impl Asked {
    /// Reads and writes once; how it ended, if it did.
    pub(crate) fn turn(&mut self, now: Nanos) -> Option<Heard> {
        let (_, heard) = self.call.turn(&mut *self.port, now);
        if heard.is_some() {
            self.call.hang_up(&mut *self.port);
        }
        heard
    }
}

/// What a client was told of commands up to this one. What became of later ones nobody has promised.
fn before(told: &VersionTold, last: CommandSequence) -> VersionTold {
    let mut kept = told.clone();
    kept.reports.retain(|(_, command)| *command <= last);
    kept.not_applied.clear();
    kept
}
