//! What befalls the nodes of a world, and when.
//!
//! Asked by the cluster before every step.
//!
//! Always holds: what was done is undone after a while, all of it when the troubles end; which fault comes
//! when depends on the seed alone.

use exahour_wire::codes::Durability;
use exahour_wire::units::{Nanos, PartsPerMillion};

use crate::chance::{Chance, Stream};
use crate::disk::{Harm, Wear};
use crate::electorate::Electorate;
use crate::net::{Death, HostId, Shared, Weather};
use crate::node::SimNode;
use crate::trace::{Happening, Trace};

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A node's process is killed.
    Kill,
    /// A machine loses its power.
    PowerCut,
    /// All machines lose their power at once.
    Blackout,
    /// A machine loses its power over one of the next calls of its disk.
    DiskDeath,
    /// A machine loses its power, and again while its node is started.
    StartDeath,
    /// A process stands still.
    Pause,
    /// Two machines do not reach each other.
    CutPair,
    /// One machine does not reach another one, which reaches it.
    CutOneWay,
    /// A machine reaches no other node, and none reaches it.
    Isolate,
    /// The nodes fall apart into two groups.
    Split,
    /// A connection breaks.
    Reset,
    /// A clock is set forward.
    ClockJump,
    /// A disk has hardly any room.
    DiskFull,
    /// A disk is slow.
    SlowDisk,
    /// A flush fails.
    FailedFlush,
    /// Bits of what a disk had kept turn.
    Rot,
    /// A write goes to another place.
    WriteAstray,
    /// A read gives what stands at another place.
    ReadAstray,
    /// A part of an event log is damaged, of any node whose journal gives it again.
    EventRot,
    /// The network is slow and loses much.
    Storm,
    /// Whoever was cut off is reached again, another node is cut off, and a third one restarts: right after a
    /// vote, in time.
    Topple,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 21] = [
        Self::Kill,
        Self::PowerCut,
        Self::Blackout,
        Self::DiskDeath,
        Self::StartDeath,
        Self::Pause,
        Self::CutPair,
        Self::CutOneWay,
        Self::Isolate,
        Self::Split,
        Self::Reset,
        Self::ClockJump,
        Self::DiskFull,
        Self::SlowDisk,
        Self::FailedFlush,
        Self::Rot,
        Self::WriteAstray,
        Self::ReadAstray,
        Self::Storm,
        Self::Topple,
        Self::EventRot,
    ];

    /// Whether a machine loses what is not on its disk.
    #[must_use]
    pub fn takes_memory(self) -> bool {
        matches!(
            self,
            Self::PowerCut | Self::Blackout | Self::DiskDeath | Self::StartDeath
        )
    }

    /// Whether it damages what disks have kept.
    #[must_use]
    pub fn harms(self) -> bool {
        matches!(self, Self::Rot | Self::WriteAstray | Self::ReadAstray)
    }

    /// Whether it is nothing where a node is alone.
    #[must_use]
    pub fn needs_peers(self) -> bool {
        matches!(
            self,
            Self::CutPair
                | Self::CutOneWay
                | Self::Isolate
                | Self::Split
                | Self::Topple
                | Self::Rot
                | Self::WriteAstray
                | Self::ReadAstray
        )
    }
}

/// How often something befalls somebody.
#[derive(Clone, Debug)]
pub struct Troubles {
    /// What may happen.
    pub kinds: Vec<Fault>,
    /// The least and the most time from one fault to the next.
    pub every: (Nanos, Nanos),
    /// The least and the most time until it is undone.
    pub lasts: (Nanos, Nanos),
}

/// The most that clocks are set forward in all: a node whose clock is a minute behind the journal refuses
/// to start.
const JUMPS_MAX: Nanos = Nanos(20_000_000_000);

/// Calls of the disk that a start makes, more or less.
const START_CALLS: u64 = 400;

/// What is undone, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Undo {
    Links,
    Room(usize),
    Wear(usize),
    Weather,
}

/// The troubles of one world.
#[derive(Debug)]
pub(crate) struct Faults {
    chance: Chance,
    troubles: Troubles,
    /// Places of the network that are no nodes, behind those of the nodes.
    hosts: usize,
    durability: Durability,
    weather: Weather,
    wear: Wear,
    next_at: Nanos,
    undo: Vec<(Nanos, Undo)>,
    jumped: Nanos,
    trace: Trace,
    /// Only the disks of this node and those behind it are damaged, fewer than a quorum needs: what is
    /// committed stays whole on one of the others.
    first_victim: usize,
    /// How many faults there were.
    pub(crate) count: u64,
}

impl Faults {
    pub(crate) fn new(
        seed: u64,
        troubles: Troubles,
        hosts: usize,
        (durability, weather, wear): (Durability, Weather, Wear),
        trace: Trace,
    ) -> Self {
        let mut chance = Chance::new(seed, Stream::Faults, 0);
        let next_at = chance.span(troubles.every.0, troubles.every.1);
        let first_victim = chance.below(60);
        Self {
            first_victim,
            chance,
            troubles,
            hosts,
            durability,
            weather,
            wear,
            next_at,
            undo: Vec::new(),
            jumped: Nanos(0),
            trace,
            count: 0,
        }
    }

    /// When something happens next.
    pub(crate) fn next_at(&self) -> Nanos {
        let undone = self.undo.iter().map(|(at, _)| *at).min();
        undone.map_or(self.next_at, |at| at.min(self.next_at))
    }

    /// Lets happen what is due, and what a group of these voters can bear.
    pub(crate) fn turn(
        &mut self,
        now: Nanos,
        (nodes, voters): (&mut [SimNode], &Electorate),
        net: &Shared,
    ) {
        let (due, later) = self.undo.iter().partition(|(at, _)| *at <= now);
        self.undo = later;
        let due: Vec<(Nanos, Undo)> = due;
        for (_, undo) in due {
            self.undo(undo, nodes, net);
        }
        if now < self.next_at || self.troubles.kinds.is_empty() {
            return;
        }
        let (least, most) = self.troubles.every;
        self.next_at = now.after(self.chance.span(least, most));
        let kind = self.troubles.kinds[self.chance.below(self.troubles.kinds.len())];
        self.count += 1;
        self.befall(kind, now, (nodes, voters), net);
    }

    /// Before the first step: first starts may be cut short, too.
    pub(crate) fn begin(&mut self, nodes: &mut [SimNode]) {
        if !self.troubles.kinds.contains(&Fault::StartDeath) {
            return;
        }
        for node in nodes {
            if self.chance.coin() {
                node.die_at_first_start(self.chance.of(1..=START_CALLS));
            }
        }
    }

    /// Ends all troubles: what is down comes up, what is cut is whole.
    pub(crate) fn end(&mut self, now: Nanos, nodes: &mut [SimNode], net: &Shared) {
        self.troubles.kinds.clear();
        self.next_at = Nanos::NEVER;
        self.undo.clear();
        self.undo(Undo::Links, nodes, net);
        for place in 0..nodes.len() {
            self.undo(Undo::Room(place), nodes, net);
            self.undo(Undo::Wear(place), nodes, net);
            nodes[place].spare();
            if nodes[place].disk().lock().is_harmed() {
                // What is damaged is found out at the next start at the latest.
                nodes[place].kill(Death::Machine, now, Nanos(1));
            } else if nodes[place].has_bad_events() {
                nodes[place].kill(Death::Process, now, Nanos(1));
            }
            nodes[place].resume(now);
        }
        self.weather.reset = PartsPerMillion(0);
        self.undo(Undo::Weather, nodes, net);
    }

    fn undo(&mut self, undo: Undo, nodes: &mut [SimNode], net: &Shared) {
        match undo {
            Undo::Links => {
                net.lock().mend();
                self.trace.note(Happening::Mended);
            }
            Undo::Room(node) => nodes[node].disk().lock().set_room(None),
            Undo::Wear(node) => nodes[node].disk().lock().set_wear(self.wear),
            Undo::Weather => net.lock().set_weather(self.weather),
        }
    }

    /// Whether machines may lose what is not on disk: all of them where whoever acknowledges waits for that.
    fn may_take_memory(
        &self,
        kind: Fault,
        (nodes, voters): (&mut [SimNode], &Electorate),
        place: usize,
    ) -> bool {
        match self.durability {
            Durability::Durable => true,
            Durability::Replicated => kind != Fault::Blackout && voters.bears_loss(nodes, place),
        }
    }

    fn befall(
        &mut self,
        kind: Fault,
        now: Nanos,
        (nodes, voters): (&mut [SimNode], &Electorate),
        net: &Shared,
    ) {
        let (least, most) = self.troubles.lasts;
        let lasts = self.chance.span(least, most);
        let until = now.after(lasts);
        let serving: Vec<usize> = (0..nodes.len()).filter(|it| nodes[*it].serves()).collect();
        let place = serving[self.chance.below(serving.len())];
        // What is in mapped pages outlives the process.
        let spares =
            kind.takes_memory() && !self.may_take_memory(kind, (&mut *nodes, voters), place);
        let death = if spares {
            Death::Process
        } else {
            Death::Machine
        };
        let node = &mut nodes[place];
        match kind {
            Fault::Kill => node.kill(Death::Process, now, lasts),
            Fault::DiskDeath | Fault::StartDeath if spares => node.kill(death, now, lasts),
            Fault::PowerCut => node.kill(death, now, lasts),
            Fault::Blackout => {
                for node in nodes {
                    let lasts = self.chance.span(least, most);
                    node.kill(death, now, lasts);
                }
            }
            Fault::DiskDeath => node.die_over_disk(self.chance.of(1..=60), lasts),
            Fault::StartDeath => {
                // As often within the first ten calls as within the next hundreds.
                let most = 1 << self.chance.of(3..=9);
                let calls = self.chance.of(1..=most);
                node.die_at_start(calls, now, lasts);
            }
            Fault::Pause => node.pause(until),
            Fault::CutPair | Fault::CutOneWay | Fault::Isolate | Fault::Split => {
                self.cut(kind, place, nodes.len(), net);
                self.undo.push((until, Undo::Links));
            }
            Fault::Topple => {
                self.undo.retain(|(_, undo)| *undo != Undo::Links);
                self.undo(Undo::Links, nodes, net);
                self.cut(Fault::Isolate, place, nodes.len(), net);
                self.undo.push((until, Undo::Links));
                let other = (place + 1 + self.chance.below(nodes.len() - 1)) % nodes.len();
                nodes[other].kill(Death::Process, now, Nanos(1_000_000));
            }
            Fault::Reset => net.lock().break_one(),
            Fault::ClockJump => {
                let span = self.chance.span(Nanos(1), Nanos(5_000_000_000));
                if self.jumped.after(span) <= JUMPS_MAX {
                    self.jumped = self.jumped.after(span);
                    node.hands().set_forward(span);
                    self.trace.note(Happening::ClockSet(node.host(), span));
                }
            }
            Fault::DiskFull => {
                let room = self.chance.below(300_000);
                node.disk().lock().set_room(Some(room));
                self.undo.push((until, Undo::Room(place)));
            }
            Fault::SlowDisk => {
                let least = self.chance.span(Nanos(1_000_000), Nanos(50_000_000));
                node.disk().lock().set_wear(Wear {
                    flush: (least, Nanos(4 * least.0)),
                    ..self.wear
                });
                self.undo.push((until, Undo::Wear(place)));
            }
            Fault::FailedFlush => node.disk().lock().fail_next(),
            Fault::Rot | Fault::WriteAstray | Fault::ReadAstray => {
                let harm = match kind {
                    Fault::Rot => Harm::Rot,
                    Fault::WriteAstray => Harm::WriteAstray,
                    _ => Harm::ReadAstray,
                };
                let victims = (nodes.len() - 1) / 2;
                let victim = (self.first_victim + self.chance.below(victims)) % nodes.len();
                nodes[victim].harm(harm);
            }
            Fault::EventRot => {
                node.harm_events();
            }
            Fault::Storm => {
                let (least, most) = self.weather.delay;
                net.lock().set_weather(Weather {
                    delay: (least, Nanos(most.0 + 100_000_000)),
                    loss: PartsPerMillion(100_000),
                    ..self.weather
                });
                self.undo.push((until, Undo::Weather));
            }
        }
    }

    /// Cuts links between nodes. Clients still reach every node, unless it is isolated.
    fn cut(&mut self, kind: Fault, place: usize, nodes: usize, net: &Shared) {
        let other = (place + 1 + self.chance.below(nodes - 1)) % nodes;
        let cut = |from: usize, to: usize| {
            let (from, to) = (HostId(from), HostId(to));
            net.lock().set_cut(from, to, true);
            self.trace.note(Happening::Cut(from, to));
        };
        match kind {
            Fault::CutPair => {
                cut(place, other);
                cut(other, place);
            }
            Fault::CutOneWay => cut(place, other),
            Fault::Isolate => {
                // Half of the time from its clients, too.
                let reach = if self.chance.coin() {
                    nodes
                } else {
                    self.hosts
                };
                for far in (0..reach).filter(|far| *far != place) {
                    cut(place, far);
                    cut(far, place);
                }
            }
            _ => {
                let side: Vec<bool> = (0..nodes).map(|_| self.chance.coin()).collect();
                for from in 0..nodes {
                    for to in (0..nodes).filter(|to| side[*to] != side[from]) {
                        cut(from, to);
                    }
                }
            }
        }
    }
}
