//! A simulated network: hosts, the links between them, and the connections over those.
//!
//! Nodes and clients see it through `SimNet` and `SimPort`; the world moves its time on and does it harm.
//!
//! Always holds: within a connection bytes come in order, without gap, or the connection breaks, at any
//! byte; which bytes come when depends on the seed and the order of calls alone.
//! Does not: deliver anything over a link that is cut. What is under way waits there, as it would be sent
//! again once the link is whole.

mod port;
mod stream;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use exahour_gateway::net::{Received, Written};
use exahour_wire::units::{Nanos, PartsPerMillion};

use crate::chance::{Chance, Stream as Draws};
use crate::trace::{Happening, Trace, digest};
use stream::{Behind, End, Lost, Parcel, Pipe, Side, Stage, Stream};

pub(crate) use port::Shared;

/// A machine on the network, counted from 0: first the nodes, then the clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub usize);

impl HostId {
    /// The address of the machine.
    ///
    /// # Panics
    /// If there are more than fit into the simulated network: our own fault.
    #[must_use]
    pub fn address(self) -> IpAddr {
        assert!(self.0 < 250);
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, self.0 as u8 + 1))
    }

    fn of(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(address) => match address.octets() {
                [10, 0, 0, last] => Some(Self(usize::from(last.checked_sub(1)?))),
                _ => None,
            },
            IpAddr::V6(_) => None,
        }
    }
}

/// Which run of a host's process this is, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Life(pub(crate) u32);

/// What a network is like.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// The least and the most time that a packet takes.
    pub delay: (Nanos, Nanos),
    /// Bytes that a link carries in a millisecond.
    pub bytes_per_ms: u64,
    /// How often a packet is lost and has to be sent again.
    pub loss: PartsPerMillion,
    /// How much later a lost packet comes.
    pub resend_after: Nanos,
    /// How often a connection breaks over a write.
    pub reset: PartsPerMillion,
    /// How often an attempt to connect leaves a second connection behind that nobody uses.
    pub ghost: PartsPerMillion,
    /// How often a read or write does less than it could.
    pub short: PartsPerMillion,
    /// Bytes between a writer and a reader, at most.
    pub window: usize,
    /// How long an attempt to connect takes before it is given up.
    pub dial_for: Nanos,
}

/// Whether a link carries anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Carries {
    #[default]
    Yes,
    No,
}

/// One direction between two hosts.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    carries: Carries,
    /// When what was written to it before is through.
    free_at: Nanos,
}

#[derive(Debug)]
struct Host {
    life: Life,
    /// The machine runs; its process may not.
    is_up: bool,
    next_port: u16,
}

#[derive(Debug)]
struct Listener {
    address: SocketAddr,
    life: Life,
    queue: VecDeque<StreamId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct StreamId(usize);

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// It was killed: its machine tells the other ends.
    Process,
    /// The machine stopped: nobody is told.
    Machine,
}

/// Connections that wait to be accepted at one port, at most.
const BACKLOG_MAX: usize = 64;

/// The network.
#[derive(Debug)]
pub(crate) struct Network {
    now: Nanos,
    chance: Chance,
    weather: Weather,
    hosts: Vec<Host>,
    /// By the host that sends, then by the one that receives.
    links: Vec<Link>,
    streams: Vec<Option<Stream>>,
    free: Vec<StreamId>,
    listeners: Vec<Listener>,
    trace: Trace,
}

impl Network {
    pub(crate) fn new(seed: u64, hosts: usize, weather: Weather, trace: Trace) -> Self {
        let host = || Host {
            life: Life(0),
            is_up: true,
            next_port: 40_000,
        };
        Self {
            now: Nanos(0),
            chance: Chance::new(seed, Draws::Net, 0),
            weather,
            hosts: (0..hosts).map(|_| host()).collect(),
            links: vec![Link::default(); hosts * hosts],
            streams: Vec::new(),
            free: Vec::new(),
            listeners: Vec::new(),
            trace,
        }
    }

    /// Moves time on.
    pub(crate) fn turn_to(&mut self, now: Nanos) {
        self.now = now;
        for id in 0..self.streams.len() {
            self.settle(StreamId(id));
        }
    }

    /// When something is due next, if anything is under way.
    pub(crate) fn next_due(&self) -> Option<Nanos> {
        let streams = self.streams.iter().flatten();
        let due = streams.flat_map(|stream| {
            Side::BOTH.map(|side| {
                let cut = self.is_cut(stream.end(side).host, stream.end(side.other()).host);
                stream.pipes[side as usize].due().filter(|_| !cut)
            })
        });
        due.flatten().min()
    }

    /// A process of this host begins; gives which run of it.
    pub(crate) fn begin_life(&mut self, host: HostId) -> Life {
        let it = &mut self.hosts[host.0];
        it.is_up = true;
        it.life = Life(it.life.0 + 1);
        it.life
    }

    /// The process of a host ends.
    pub(crate) fn end_life(&mut self, host: HostId, death: Death) {
        let it = &mut self.hosts[host.0];
        let life = it.life;
        it.life = Life(life.0 + 1);
        it.is_up = death == Death::Process;
        self.listeners
            .retain(|listener| listener.address.ip() != host.address());
        for id in (0..self.streams.len()).map(StreamId) {
            for side in Side::BOTH {
                let held = self.streams[id.0].as_ref().is_some_and(|stream| {
                    let end = stream.end(side);
                    end.host == host && end.holder.is_some()
                });
                if held {
                    match death {
                        Death::Process => self.close(id, side),
                        Death::Machine => self.vanish(id, side),
                    }
                }
            }
        }
    }

    /// Cuts or mends the link from one host to another, in this direction.
    pub(crate) fn set_cut(&mut self, from: HostId, to: HostId, cut: bool) {
        let place = self.link(from, to);
        self.links[place].carries = if cut { Carries::No } else { Carries::Yes };
    }

    /// Mends every link.
    pub(crate) fn mend(&mut self) {
        for link in &mut self.links {
            link.carries = Carries::Yes;
        }
    }

    /// From now on the network is like this.
    pub(crate) fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    /// Breaks one connection, if there is any.
    pub(crate) fn break_one(&mut self) {
        let open: Vec<usize> = (0..self.streams.len())
            .filter(|&id| self.streams[id].is_some())
            .collect();
        if !open.is_empty() {
            let id = open[self.chance.below(open.len())];
            self.break_stream(StreamId(id));
        }
    }

    fn link(&self, from: HostId, to: HostId) -> usize {
        from.0 * self.hosts.len() + to.0
    }

    fn is_cut(&self, from: HostId, to: HostId) -> bool {
        self.links[self.link(from, to)].carries == Carries::No
    }

    /// When something of so many bytes that is sent now will be there.
    fn due(&mut self, from: HostId, to: HostId, bytes: usize) -> Nanos {
        let (least, most) = self.weather.delay;
        let mut delay = self.chance.span(least, most);
        if self.chance.happens(self.weather.loss) {
            delay = delay.after(self.weather.resend_after);
        }
        let carrying = Nanos(bytes as u64 * 1_000_000 / self.weather.bytes_per_ms);
        let place = self.link(from, to);
        let link = &mut self.links[place];
        link.free_at = link.free_at.max(self.now).after(carrying);
        link.free_at.after(delay)
    }

    fn send(&mut self, id: StreamId, side: Side, parcel: Parcel) {
        let Some(stream) = &self.streams[id.0] else {
            return;
        };
        let (from, to) = (stream.end(side).host, stream.end(side.other()).host);
        let due = self.due(from, to, 64);
        if let Some(stream) = &mut self.streams[id.0] {
            stream.outward(side).send(due, parcel);
        }
    }

    fn listen(&mut self, host: HostId, life: Life, asked: SocketAddr) -> Option<SocketAddr> {
        let mut address = SocketAddr::new(host.address(), asked.port());
        if asked.port() == 0 {
            let it = &mut self.hosts[host.0];
            address.set_port(it.next_port);
            it.next_port += 1;
        }
        let alive = self.hosts[host.0].life == life;
        let taken = self.listeners.iter().any(|it| it.address == address);
        if !alive || taken {
            return None;
        }
        self.listeners.push(Listener {
            address,
            life,
            queue: VecDeque::new(),
        });
        Some(address)
    }

    fn stop_listening(&mut self, address: SocketAddr, life: Life) {
        let place = |it: &Listener| it.address == address && it.life == life;
        if let Some(place) = self.listeners.iter().position(place) {
            let listener = self.listeners.remove(place);
            for id in listener.queue {
                self.close(id, Side::Listener);
            }
        }
    }

    /// Takes a connection that waits at a port, and whose it is.
    fn take_waiting(&mut self, address: SocketAddr, life: Life) -> Option<(StreamId, HostId)> {
        let place = |it: &&mut Listener| it.address == address && it.life == life;
        let id = self.listeners.iter_mut().find(place)?.queue.pop_front()?;
        let stream = self.streams[id.0].as_ref()?;
        Some((id, stream.end(Side::Dialler).host))
    }

    /// Begins a connection; `None` where no such machine exists.
    fn dial(&mut self, host: HostId, life: Life, to: SocketAddr) -> Option<StreamId> {
        let far = HostId::of(to.ip()).filter(|far| far.0 < self.hosts.len())?;
        if self.hosts[host.0].life != life {
            return None;
        }
        let id = self.begin(host, Some(life), far, to);
        if self.chance.happens(self.weather.ghost) {
            self.begin(host, None, far, to);
        }
        self.trace.note(Happening::Dialled(host, far));
        Some(id)
    }

    fn begin(&mut self, from: HostId, life: Option<Life>, far: HostId, to: SocketAddr) -> StreamId {
        let until = self.now.after(self.weather.dial_for);
        let stream = Stream {
            stage: Stage::Dialling(until),
            ends: [
                End {
                    host: from,
                    holder: life,
                },
                End {
                    host: far,
                    holder: None,
                },
            ],
            pipes: [Pipe::default(), Pipe::default()],
            to,
            window: self.weather.window,
        };
        let id = self.free.pop().unwrap_or_else(|| {
            self.streams.push(None);
            StreamId(self.streams.len() - 1)
        });
        self.streams[id.0] = Some(stream);
        self.send(id, Side::Dialler, Parcel::Ask);
        id
    }

    /// Lets arrive what is due, and forgets a connection that nobody will ask for.
    fn settle(&mut self, id: StreamId) {
        for side in Side::BOTH {
            while let Some(stream) = &mut self.streams[id.0] {
                let (from, to) = (stream.end(side).host, stream.end(side.other()).host);
                let reaches = self.links[from.0 * self.hosts.len() + to.0].carries == Carries::Yes
                    && self.hosts[to.0].is_up;
                if !reaches {
                    break;
                }
                let Some(parcel) = stream.outward(side).arrive(self.now) else {
                    break;
                };
                self.on_arrival(id, side.other(), parcel);
            }
        }
        let Some(stream) = &mut self.streams[id.0] else {
            return;
        };
        if let Stage::Dialling(until) = stream.stage
            && self.now > until
        {
            stream.inward(Side::Dialler).break_off(0, Lost::Unread);
            stream.outward(Side::Dialler).shut = true;
        }
        if stream.is_over() {
            self.streams[id.0] = None;
            self.free.push(id);
        }
    }

    /// Something has come to `side`.
    fn on_arrival(&mut self, id: StreamId, side: Side, parcel: Parcel) {
        let Some(stream) = &mut self.streams[id.0] else {
            return;
        };
        let end = stream.end(side);
        let life = self.hosts[end.host.0].life;
        match parcel {
            Parcel::Ask => return self.on_ask(id),
            Parcel::Break => {
                let unread = stream.inward(side).unread();
                let lost = if unread > 0 && self.chance.coin() {
                    Lost::Unread
                } else {
                    Lost::Nothing
                };
                stream.inward(side).break_off(0, lost);
                stream.outward(side).break_off(0, Lost::Nothing);
                return;
            }
            Parcel::Answer if end.holder.is_some() => {
                stream.stage = Stage::Made;
                return;
            }
            Parcel::Answer | Parcel::Bytes(_) | Parcel::End => {}
        }
        // Nobody has this end any more: whoever still speaks to it is told so.
        if end.holder != Some(life) && parcel != Parcel::End {
            self.send(id, side, Parcel::Break);
        }
    }

    fn on_ask(&mut self, id: StreamId) {
        let Some(stream) = &mut self.streams[id.0] else {
            return;
        };
        let to = stream.to;
        match self.listeners.iter_mut().find(|it| it.address == to) {
            // Nobody answers; the dialler gives up some time.
            Some(listener) if listener.queue.len() >= BACKLOG_MAX => {}
            Some(listener) => {
                stream.ends[Side::Listener as usize].holder = Some(listener.life);
                listener.queue.push_back(id);
                self.send(id, Side::Listener, Parcel::Answer);
            }
            None => self.send(id, Side::Listener, Parcel::Break),
        }
    }

    /// A side gives its end up in good order: what it wrote is delivered yet, unless it has not read all.
    fn close(&mut self, id: StreamId, side: Side) {
        let Some(stream) = &mut self.streams[id.0] else {
            return;
        };
        stream.ends[side as usize].holder = None;
        let unread = stream.inward(side).unread() > 0;
        let (shut, broken) = (
            stream.outward(side).shut,
            stream.outward(side).behind() == Behind::Broken,
        );
        stream.outward(side).shut = true;
        if unread && !broken {
            self.send(id, side, Parcel::Break);
        } else if !shut {
            self.send(id, side, Parcel::End);
        }
        self.settle(id);
    }

    /// A side is gone without a word; what it wrote is still under way, as packets are that had left.
    fn vanish(&mut self, id: StreamId, side: Side) {
        if let Some(stream) = &mut self.streams[id.0] {
            stream.ends[side as usize].holder = None;
            stream.outward(side).shut = true;
        }
        self.settle(id);
    }

    fn break_stream(&mut self, id: StreamId) {
        let Some(stream) = &mut self.streams[id.0] else {
            return;
        };
        let hosts = (stream.ends[0].host, stream.ends[1].host);
        for pipe in &mut stream.pipes {
            let kept = self.chance.below(pipe.held() + 1);
            let lost = if self.chance.coin() {
                Lost::Unread
            } else {
                Lost::Nothing
            };
            pipe.break_off(kept, lost);
        }
        stream.stage = Stage::Made;
        self.trace.note(Happening::Broke(hosts.0, hosts.1));
    }

    fn read(&mut self, id: StreamId, side: Side, life: Life, room: &mut [u8]) -> Received {
        self.settle(id);
        let Some(stream) = held_by(&mut self.streams, id, side, life) else {
            return Received::Ended;
        };
        let pipe = stream.inward(side);
        let there = pipe.unread().min(room.len());
        if there == 0 {
            return match pipe.behind() {
                Behind::Open => Received::Nothing,
                Behind::Ended | Behind::Broken => Received::Ended,
            };
        }
        let count = if self.chance.happens(self.weather.short) {
            1 + self.chance.below(there)
        } else {
            there
        };
        pipe.take(&mut room[..count]);
        let (to, from) = (stream.end(side).host, stream.end(side.other()).host);
        self.trace
            .note(Happening::Read(from, to, count, digest(&room[..count])));
        Received::Bytes(count)
    }

    fn write(&mut self, id: StreamId, side: Side, life: Life, bytes: &[u8]) -> Written {
        self.settle(id);
        let Some(stream) = held_by(&mut self.streams, id, side, life) else {
            return Written::Ended;
        };
        let (from, to) = (stream.end(side).host, stream.end(side.other()).host);
        let made = side == Side::Listener || stream.stage == Stage::Made;
        let window = stream.window;
        let pipe = stream.outward(side);
        if pipe.shut {
            return Written::Ended;
        }
        let room = window.saturating_sub(pipe.held());
        if !made || room == 0 {
            return Written::Nothing;
        }
        if self.chance.happens(self.weather.reset) {
            self.break_stream(id);
            return Written::Ended;
        }
        let fits = bytes.len().min(room);
        let count = if self.chance.happens(self.weather.short) {
            1 + self.chance.below(fits)
        } else {
            fits
        };
        let due = self.due(from, to, count);
        if let Some(stream) = &mut self.streams[id.0] {
            stream.outward(side).send_bytes(due, &bytes[..count]);
        }
        Written::Bytes(count)
    }

    /// As [`Network::close`], where this run of the side's process still has it.
    fn close_by(&mut self, id: StreamId, side: Side, life: Life) {
        if held_by(&mut self.streams, id, side, life).is_some() {
            self.close(id, side);
        }
    }

    fn end_writing(&mut self, id: StreamId, side: Side, life: Life) {
        let Some(stream) = held_by(&mut self.streams, id, side, life) else {
            return;
        };
        let pipe = stream.outward(side);
        if !pipe.shut {
            pipe.shut = true;
            self.send(id, side, Parcel::End);
        }
    }
}

/// The connection, where this run of the side's process still has it.
fn held_by(
    streams: &mut [Option<Stream>],
    id: StreamId,
    side: Side,
    life: Life,
) -> Option<&mut Stream> {
    let stream = streams.get_mut(id.0)?.as_mut()?;
    (stream.end(side).holder == Some(life)).then_some(stream)
}

#[cfg(test)]
mod tests;
