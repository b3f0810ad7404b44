//! A simulated client: a trader with one session, who goes from node to node until it is served.
//!
//! Turned by the cluster. What it sends, when it breaks off and when it begins a new version is drawn from
//! a stream of its own.
//!
//! Always holds: a command is sent once; whatever its client is told is noted, and judged when it comes.

mod link;
mod told;
mod user;
mod workload;

use std::net::SocketAddr;

use exahour_gateway::credentials::Key;
use exahour_gateway::net::{Net, Port};
use exahour_wire::codes::CancelOnDisconnect;
use exahour_wire::ids::{AccountId, InstrumentId, SessionId, SessionVersion};
use exahour_wire::message::HEADER_BYTES;
use exahour_wire::units::{Millis, Nanos, PartsPerMillion};

use crate::chance::{Chance, Stream};
use crate::clock::UTC_AT_START;
use crate::net::HostId;
use crate::trace::{Happening, Trace};
use link::{Identity, Link, Over, Phase, Turn};
use workload::Workload;

pub(crate) use told::{VersionTold, Violation};
pub(crate) use user::User;

/// How clients behave.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    /// The least and the most time from one command to the next.
    pub pause: (Nanos, Nanos),
    /// Commands that are sent together, at most.
    pub burst: usize,
    /// The longest silence.
    pub keep_alive: Millis,
    /// How often a command is followed by a break without a word.
    pub breaks_off: PartsPerMillion,
    /// How often it is followed by an end in good order.
    pub leaves: PartsPerMillion,
    /// How often a new version is begun instead of going on with the old one.
    pub renews: PartsPerMillion,
    /// The least and the most time until a client that was refused or lost its connection tries again.
    pub back_off: (Nanos, Nanos),
}

/// Who a client is.
#[derive(Clone, Debug)]
pub(crate) struct Trader {
    pub(crate) session: SessionId,
    pub(crate) key: Key,
    pub(crate) account: AccountId,
    pub(crate) instrument: InstrumentId,
    /// Whether it quotes both sides at once, too.
    pub(crate) quotes: bool,
}

/// A client.
#[derive(Debug)]
pub(crate) struct Client {
    host: HostId,
    chance: Chance,
    trace: Trace,
    manners: Manners,
    who: Identity,
    workload: Workload,
    port: Box<dyn Port>,
    nodes: Vec<SocketAddr>,
    /// The node that is tried next.
    node: usize,
    link: Option<Link>,
    versions: Vec<VersionTold>,
    /// The last time that was told to the exchange.
    stamped: Nanos,
    /// When something is sent next, or a connection is tried.
    next_at: Nanos,
    /// Sends no more commands, and stays where it is served.
    is_done: bool,
}

impl Client {
    /// A client on a host of its own.
    ///
    /// # Errors
    /// The network refuses it a port.
    pub(crate) fn new(
        (seed, host): (u64, HostId),
        (net, nodes): (&dyn Net, Vec<SocketAddr>),
        trader: Trader,
        manners: Manners,
        trace: Trace,
    ) -> Result<Self, Violation> {
        let mut chance = Chance::new(seed, Stream::Client, host.0 as u64);
        let any = SocketAddr::new(host.address(), 0);
        let port = net.listen(any, 1).map_err(|error| error.to_string())?;
        let cancels = match chance.below(4) {
            0 => CancelOnDisconnect::Both,
            1 => CancelOnDisconnect::OnDisconnect,
            _ => CancelOnDisconnect::None,
        };
        let workload = Workload::new(&trader);
        let who = Identity {
            session: trader.session,
            key: trader.key,
            keep_alive: manners.keep_alive,
            cancel_mode: cancels,
            cancel_grace: Millis(chance.below(2_000) as u32),
        };
        let node = chance.below(nodes.len());
        let mut client = Self {
            host,
            trace,
            manners,
            who,
            workload,
            port,
            nodes,
            node,
            link: None,
            versions: Vec::new(),
            stamped: UTC_AT_START,
            next_at: Nanos(0),
            is_done: false,
            chance,
        };
        client.renew(Nanos(0));
        Ok(client)
    }

    /// Everything that it was told.
    pub(crate) fn versions(&self) -> &[VersionTold] {
        &self.versions
    }

    /// From now on it sends nothing new, and only wants to be told everything.
    pub(crate) fn be_done(&mut self) {
        self.is_done = true;
        self.manners.renews = PartsPerMillion(0);
    }

    pub(crate) fn host(&self) -> HostId {
        self.host
    }

    /// Whether it has a session now, and has every report that there is.
    pub(crate) fn is_settled(&self) -> bool {
        let (Some(link), Some(told)) = (&self.link, self.versions.last()) else {
            return false;
        };
        link.phase() == Phase::Established && link.is_caught_up(told)
    }

    /// When it wants to do something next, if nothing comes.
    pub(crate) fn next_at(&self) -> Nanos {
        self.next_at
    }

    fn utc(&mut self, now: Nanos) -> Nanos {
        // Two establishments must not bear the same time.
        self.stamped = UTC_AT_START.after(now).max(self.stamped.after(Nanos(1)));
        self.stamped
    }

    fn renew(&mut self, now: Nanos) {
        let version = SessionVersion(self.utc(now).0);
        self.versions
            .push(VersionTold::new(self.who.session, version));
    }

    /// One turn; gives how much there was to do.
    ///
    /// # Errors
    /// What a node said that no node may say.
    pub(crate) fn turn(&mut self, now: Nanos) -> Result<usize, Violation> {
        if self.port.poll_ready().is_err() {
            return Err("a client's port fails".to_owned());
        }
        // Nobody calls clients.
        while self.port.accept().is_some() {}
        let utc = self.utc(now);
        let Some(link) = &mut self.link else {
            return Ok(self.dial(now, utc));
        };
        let Some(told) = self.versions.last_mut() else {
            return Ok(0);
        };
        let before = (told.reports.len(), told.not_applied.len(), told.busy.len());
        let turn = link.turn(&mut *self.port, (&self.who, told), (utc, now))?;
        let leader = link.leader();
        self.tell(before);
        match turn {
            Turn::Goes(work) => Ok(work + self.act(now)),
            Turn::Ends(over) => {
                self.hang_up(now);
                if over == Over::Unusable {
                    self.renew(now);
                }
                let named = self.nodes.iter().position(|node| Some(*node) == leader);
                if let Some(named) = named {
                    self.node = named;
                } else if over != Over::Lost || self.chance.coin() {
                    self.node = (self.node + 1) % self.nodes.len();
                }
                Ok(1)
            }
        }
    }

    /// Notes what is new.
    fn tell(&self, (reports, not_applied, busy): (usize, usize, usize)) {
        let Some(told) = self.versions.last() else {
            return;
        };
        let note = |what, number| self.trace.note(Happening::Told(self.host, what, number));
        if told.reports.len() > reports {
            note("reports up to", told.reports.len() as u32);
        }
        for lost in &told.not_applied[not_applied..] {
            note("not applied before", lost.end);
        }
        for number in &told.busy[busy..] {
            note("busy", *number);
        }
    }

    fn dial(&mut self, now: Nanos, utc: Nanos) -> usize {
        if now < self.next_at {
            return 0;
        }
        let renew = self.chance.happens(self.manners.renews);
        if renew && self.versions.last().is_some_and(|told| told.opened) {
            self.renew(now);
        }
        let (Some(slot), Some(told)) = (
            self.port.connect(self.nodes[self.node]),
            self.versions.last(),
        ) else {
            return 0;
        };
        self.link = Some(Link::begin(slot, &self.who, told, utc, now));
        self.next_at = now;
        1
    }

    fn hang_up(&mut self, now: Nanos) {
        if let Some(link) = self.link.take() {
            self.port.close(link.slot());
            self.port.release(link.slot());
        }
        let (least, most) = self.manners.back_off;
        self.next_at = now.after(self.chance.span(least, most));
    }

    /// Sends what is due.
    fn act(&mut self, now: Nanos) -> usize {
        let Some(link) = &mut self.link else { return 0 };
        if self.is_done || now < self.next_at || link.phase() != Phase::Established {
            return 0;
        }
        let (least, most) = self.manners.pause;
        self.next_at = now.after(self.chance.span(least, most));
        let Some(told) = self.versions.last_mut() else {
            return 0;
        };
        let count = 1 + self.chance.below(self.manners.burst);
        for _ in 0..count {
            let number = told.next_sequence();
            let mut command = self.workload.next(&mut self.chance);
            let place = HEADER_BYTES;
            command[place..place + 4].copy_from_slice(&self.who.session.0.to_le_bytes());
            command[place + 4..place + 8].copy_from_slice(&number.to_le_bytes());
            if !link.send(&command, now) {
                break;
            }
            told.sent.push(command);
            self.trace.note(Happening::Sent(self.host, number));
        }
        if self.chance.happens(self.manners.breaks_off) {
            self.hang_up(now);
        } else if self.chance.happens(self.manners.leaves) {
            link.terminate(&self.who);
        }
        1
    }
}
