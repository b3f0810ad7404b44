//! The only file with sockets: listening, dialling, reading and writing, never waiting.
//!
//! The body of `net` on a real machine, called through it by polling agents; and by the client library.
//!
//! Always holds: no call of a port blocks; a read or write is bounded by its buffer, so
//! one busy client costs the others one buffer's time; Nagle's algorithm is off.
//! Does not: know what the bytes mean, or when to give up on a connection.
//!
//! Epoll reports a socket once and then stays silent until it has been read empty. Readiness is
//! therefore kept per socket until a read proves it empty, which a short read does: it saves the
//! second call that would only say so.

use std::io::{self, IoSlice, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpStream as BlockingStream};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream, UdpSocket};
use mio::{Events, Interest, Poll, Token};
use rustix::io::Errno;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::dial::Channel;
use crate::error::GatewayError;
use crate::net::{Accepted, Port, Received, Slot, Written};

/// Up to this many connections it is cheaper to try to read each than to ask epoll first: an order of the only
/// client saves a call. To ask epoll about all costs half of one read that finds nothing, so that with two a turn
/// without work is cheaper (perf/2026-11-29-cluster).
pub const DIRECT_CONNECTIONS_MAX: usize = 1;

/// While connections are read directly, epoll is asked only once in this many turns: for new
/// connections and for room to write.
const TURNS_BETWEEN_POLLS: u32 = 32;

/// Connections accepted in one turn at most.
const ACCEPTS_PER_TURN: usize = 8;

const EVENTS_PER_POLL: usize = 256;
const LISTENER: Token = Token(usize::MAX);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readiness {
    /// Proven empty: epoll will tell.
    Empty,
    /// There may be bytes.
    Maybe,
    /// The other side has ended: read to the end, however short the reads are.
    ToTheEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Full,
    Maybe,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    from: IpAddr,
    readiness: Readiness,
    room: Room,
}

/// A listening socket, and the connections that came to it or were dialled.
#[derive(Debug)]
pub struct Sockets {
    poll: Poll,
    events: Events,
    listener: TcpListener,
    address: SocketAddr,
    connections: Box<[Option<Connection>]>,
    free: Vec<Slot>,
    /// Accepted, and without a slot yet.
    waiting: Option<(TcpStream, IpAddr)>,
    acceptable: bool,
    accepts_left: usize,
    turn: u32,
}

impl Sockets {
    /// Listens on `address` for at most `connections_max` connections at a time.
    ///
    /// # Errors
    /// [`GatewayError::Listen`] and [`GatewayError::Watch`].
    pub fn listen(address: SocketAddr, connections_max: usize) -> Result<Self, GatewayError> {
        let refused = |source| GatewayError::Listen { address, source };
        let mut listener = TcpListener::bind(address).map_err(refused)?;
        let bound = listener.local_addr().map_err(refused)?;
        let poll = Poll::new().map_err(GatewayError::Watch)?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)
            .map_err(GatewayError::Watch)?;
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS_PER_POLL),
            listener,
            address: bound,
            connections: (0..connections_max).map(|_| None).collect(),
            free: (0..connections_max).rev().map(Slot).collect(),
            waiting: None,
            acceptable: true,
            accepts_left: ACCEPTS_PER_TURN,
            turn: 0,
        })
    }

    /// Puts a connection into a slot that was free, or leaves the slot without one.
    fn place(&mut self, mut stream: TcpStream, from: IpAddr, slot: Slot) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        stream.set_nodelay(true)?;
        let registry = self.poll.registry();
        registry.register(&mut stream, Token(slot.0), interest)?;
        self.connections[slot.0] = Some(Connection {
            stream,
            from,
            readiness: Readiness::Maybe,
            room: Room::Maybe,
        });
        Ok(())
    }

    /// As [`Sockets::place`], for a connection that came; its slot is free again where it is gone already.
    fn take_in(&mut self, stream: TcpStream, from: IpAddr, slot: Slot) -> Accepted {
        if self.place(stream, from, slot).is_err() {
            self.free.push(slot);
            return Accepted::Refused;
        }
        Accepted::Connection(slot)
    }

    #[inline]
    fn reads_directly(&self) -> bool {
        self.taken_count() <= DIRECT_CONNECTIONS_MAX
    }
}

impl Port for Sockets {
    fn address(&self) -> SocketAddr {
        self.address
    }

    #[inline]
    fn taken_count(&self) -> usize {
        self.connections.len() - self.free.len()
    }

    /// Asks epoll only where that is worth a call.
    fn poll_ready(&mut self) -> Result<(), GatewayError> {
        self.turn = self.turn.wrapping_add(1);
        self.accepts_left = ACCEPTS_PER_TURN;
        let direct = self.reads_directly() && self.taken_count() > 0;
        if direct && !self.turn.is_multiple_of(TURNS_BETWEEN_POLLS) {
            return Ok(());
        }
        match self.poll.poll(&mut self.events, Some(Duration::ZERO)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(GatewayError::Watch(error)),
        }
        for event in &self.events {
            if event.token() == LISTENER {
                self.acceptable = true;
                continue;
            }
            // An event of a connection closed since it was reported meets an empty slot, or a new
            // connection, which then makes one read too many.
            let Some(Some(connection)) = self.connections.get_mut(event.token().0) else {
                continue;
            };
            if event.is_read_closed() || event.is_error() {
                connection.readiness = Readiness::ToTheEnd;
            } else if event.is_readable() && connection.readiness == Readiness::Empty {
                connection.readiness = Readiness::Maybe;
            }
            if event.is_writable() || event.is_error() {
                connection.room = Room::Maybe;
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> Option<Accepted> {
        if let Some((stream, from)) = self.waiting.take() {
            return Some(match self.free.pop() {
                Some(slot) => self.take_in(stream, from, slot),
                None => Accepted::Refused,
            });
        }
        if !self.acceptable || self.accepts_left == 0 {
            return None;
        }
        self.accepts_left -= 1;
        let (stream, from) = match self.listener.accept() {
            Ok((stream, from)) => (stream, from.ip()),
            Err(error) => {
                // Where files ran out the connection still waits: it is tried again next turn.
                self.acceptable = error.kind() != io::ErrorKind::WouldBlock;
                self.accepts_left = 0;
                return None;
            }
        };
        let Some(slot) = self.free.pop() else {
            self.waiting = Some((stream, from));
            self.accepts_left = 0;
            return Some(Accepted::Full);
        };
        Some(self.take_in(stream, from, slot))
    }

    fn connect(&mut self, address: SocketAddr) -> Option<Slot> {
        let slot = self.free.pop()?;
        // In a slot without a connection every read and write says that it ended.
        let _ =
            TcpStream::connect(address).and_then(|stream| self.place(stream, address.ip(), slot));
        Some(slot)
    }

    fn from(&self, slot: Slot) -> IpAddr {
        let connection = self.connections.get(slot.0).and_then(Option::as_ref);
        connection.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |it| it.from)
    }

    #[inline]
    fn try_read(&mut self, slot: Slot, room: &mut [u8]) -> Received {
        let direct = self.reads_directly();
        let Some(Some(connection)) = self.connections.get_mut(slot.0) else {
            return Received::Ended;
        };
        if !direct && connection.readiness == Readiness::Empty || room.is_empty() {
            return Received::Nothing;
        }
        match connection.stream.read(room) {
            Ok(0) => Received::Ended,
            Ok(count) => {
                if connection.readiness != Readiness::ToTheEnd {
                    let proven = count < room.len();
                    connection.readiness = if proven {
                        Readiness::Empty
                    } else {
                        Readiness::Maybe
                    };
                }
                Received::Bytes(count)
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => {
                    connection.readiness = Readiness::Empty;
                    Received::Nothing
                }
                io::ErrorKind::Interrupted => Received::Nothing,
                _ => Received::Ended,
            },
        }
    }

    #[inline]
    fn try_write(&mut self, slot: Slot, bytes: &[u8]) -> Written {
        let Some(Some(connection)) = self.connections.get_mut(slot.0) else {
            return Written::Ended;
        };
        if connection.room == Room::Full || bytes.is_empty() {
            return Written::Nothing;
        }
        match connection.stream.write(bytes) {
            Ok(count) => {
                if count < bytes.len() {
                    connection.room = Room::Full;
                }
                Written::Bytes(count)
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => {
                    connection.room = Room::Full;
                    Written::Nothing
                }
                io::ErrorKind::Interrupted => Written::Nothing,
                _ => Written::Ended,
            },
        }
    }

    fn end_writing(&mut self, slot: Slot) {
        if let Some(Some(connection)) = self.connections.get_mut(slot.0) {
            // A connection that is broken already is found so by the next read.
            let _ = connection.stream.shutdown(Shutdown::Write);
        }
    }

    fn close(&mut self, slot: Slot) {
        if let Some(mut connection) = self.connections.get_mut(slot.0).and_then(Option::take) {
            // Closing the file takes it out of epoll anyway.
            let _ = self.poll.registry().deregister(&mut connection.stream);
        }
    }

    fn release(&mut self, slot: Slot) {
        assert!(self.connections[slot.0].is_none() && !self.free.contains(&slot));
        self.free.push(slot);
    }
}

/// The client's end of one connection.
#[derive(Debug)]
pub struct ClientSocket {
    stream: TcpStream,
    poll: Poll,
    events: Events,
}

impl ClientSocket {
    /// Connects, waiting up to `timeout`.
    ///
    /// # Errors
    /// What the system says.
    pub fn connect(address: SocketAddr, timeout: Duration) -> io::Result<Self> {
        let stream = BlockingStream::connect_timeout(&address, timeout)?;
        stream.set_nonblocking(true)?;
        Self::over(TcpStream::from_std(stream))
    }

    /// Begins a connection without waiting for it.
    ///
    /// # Errors
    /// What the system says.
    pub fn begin(address: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect(address)?)
    }

    fn over(mut stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let poll = Poll::new()?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, Token(0), interest)?;
        Ok(Self {
            stream,
            poll,
            events: Events::with_capacity(4),
        })
    }

    /// Reads what is there.
    ///
    /// # Errors
    /// What the system says of a broken connection.
    #[inline]
    pub fn try_read(&mut self, room: &mut [u8]) -> io::Result<Received> {
        match self.stream.read(room) {
            Ok(0) => Ok(Received::Ended),
            Ok(count) => Ok(Received::Bytes(count)),
            Err(error) if would_block(&error) => Ok(Received::Nothing),
            Err(error) => Err(error),
        }
    }

    /// Writes what the connection takes of `bytes`.
    ///
    /// # Errors
    /// What the system says of a broken connection.
    #[inline]
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<Written> {
        match self.stream.write(bytes) {
            Ok(count) => Ok(Written::Bytes(count)),
            Err(error) if would_block(&error) => Ok(Written::Nothing),
            Err(error) => Err(error),
        }
    }

    /// Sleeps until something may be read or written, or `timeout` passed.
    ///
    /// Call it only after a read found nothing: a socket that was not read empty is not reported.
    ///
    /// # Errors
    /// What the system says.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            other => other,
        }
    }
}

impl Channel for ClientSocket {
    #[inline]
    fn try_read(&mut self, room: &mut [u8]) -> io::Result<Received> {
        ClientSocket::try_read(self, room)
    }

    #[inline]
    fn try_write(&mut self, bytes: &[u8]) -> io::Result<Written> {
        ClientSocket::try_write(self, bytes)
    }

    fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        ClientSocket::wait(self, timeout)
    }
}

/// How a multicast group is sent to or listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// The group and its port.
    pub address: SocketAddrV4,
    /// The address of the interface that packets leave and arrive by.
    pub interface: Ipv4Addr,
}

/// Bytes of packets that the system is asked to keep for a listener that is busy.
const GROUP_BUFFER_BYTES: usize = 4 << 20;

/// Packets handed to the system in one call at most.
pub const PACKETS_PER_CALL: usize = 32;

/// A packet in three parts, which are sent one behind the other.
pub type PacketParts<'a> = [&'a [u8]; 3];

/// The sending end of a multicast group.
#[derive(Debug)]
pub struct GroupSender {
    socket: Socket,
}

impl GroupSender {
    /// Opens a socket that sends to `group`; packets live for `hops` routers and are heard on this
    /// machine, too.
    ///
    /// # Errors
    /// [`GatewayError::Multicast`].
    pub fn open(group: Group, hops: u32) -> Result<Self, GatewayError> {
        let open = || -> io::Result<Socket> {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
            socket.set_nonblocking(true)?;
            socket.set_multicast_if_v4(&group.interface)?;
            socket.set_multicast_ttl_v4(hops)?;
            socket.set_multicast_loop_v4(true)?;
            socket.connect(&SockAddr::from(group.address))?;
            Ok(socket)
        };
        let socket = open().map_err(|source| GatewayError::Multicast { group, source })?;
        Ok(GroupSender { socket })
    }

    /// A sender over a socket of datagrams that is connected already.
    #[cfg(test)]
    pub(crate) fn over(socket: impl Into<std::os::fd::OwnedFd>) -> Self {
        let socket = Socket::from(socket.into());
        GroupSender { socket }
    }

    /// Sends one packet, or loses it where the system has no room for it now.
    pub fn send(&self, packet: &[u8]) -> PacketSent {
        match self.socket.send(packet) {
            Ok(count) if count == packet.len() => PacketSent::Yes,
            Ok(_) | Err(_) => PacketSent::Lost,
        }
    }

    /// Sends packets in one call, in their order, up to the first that the system does not take.
    ///
    /// # Panics
    /// If they are more than [`PACKETS_PER_CALL`], or none: our own fault.
    pub fn send_many(&self, packets: &[PacketParts<'_>]) -> ManySent {
        assert!(!packets.is_empty() && packets.len() <= PACKETS_PER_CALL);
        let parts: [[IoSlice<'_>; 3]; PACKETS_PER_CALL] = std::array::from_fn(|place| {
            let none: PacketParts<'_> = [&[]; 3];
            packets.get(place).unwrap_or(&none).map(IoSlice::new)
        });
        let mut controls: [SendAncillaryBuffer<'_, '_, '_>; PACKETS_PER_CALL] =
            std::array::from_fn(|_| SendAncillaryBuffer::default());
        let mut parts_left = parts.iter();
        let mut headers = controls.each_mut().map(|control| {
            // There are as many parts as controls.
            MMsgHdr::new(
                parts_left
                    .next()
                    .map_or(&[] as &[IoSlice<'_>], |it| &it[..]),
                control,
            )
        });
        match sendmmsg(
            &self.socket,
            &mut headers[..packets.len()],
            SendFlags::DONTWAIT,
        ) {
            Ok(count) => ManySent::Packets(count),
            Err(Errno::INTR) => ManySent::Packets(0),
            // The device's queue is full, or the socket's own room is.
            Err(Errno::AGAIN | Errno::NOBUFS) => ManySent::Full,
            Err(_) => ManySent::FirstLost,
        }
    }
}

/// What became of a packet on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketSent {
    /// The system took it.
    Yes,
    /// The system did not: nobody hears it.
    Lost,
}

/// What became of many packets on their way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManySent {
    /// The system took so many of the first.
    Packets(usize),
    /// There is no room now: it took none.
    Full,
    /// The first of them cannot be sent: it took none.
    FirstLost,
}

/// The receiving ends of multicast groups that carry the same packets; several listeners of one
/// machine may join one group.
#[derive(Debug)]
pub struct GroupReceivers {
    sockets: Vec<UdpSocket>,
    poll: Poll,
    events: Events,
}

impl GroupReceivers {
    /// Joins `groups`.
    ///
    /// # Errors
    /// [`GatewayError::Multicast`] and [`GatewayError::Watch`].
    pub fn join(groups: &[Group]) -> Result<Self, GatewayError> {
        let poll = Poll::new().map_err(GatewayError::Watch)?;
        let mut sockets = Vec::with_capacity(groups.len());
        for (line, group) in groups.iter().copied().enumerate() {
            let joined = join(group).and_then(|mut socket| {
                let registry = poll.registry();
                registry.register(&mut socket, Token(line), Interest::READABLE)?;
                Ok(socket)
            });
            sockets.push(joined.map_err(|source| GatewayError::Multicast { group, source })?);
        }
        Ok(GroupReceivers {
            sockets,
            poll,
            events: Events::with_capacity(4),
        })
    }

    /// The next packet of one group, cut to `room`; `None` where there is none now.
    ///
    /// # Errors
    /// What the system says of a broken socket.
    pub fn try_receive<'a>(&self, line: usize, room: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
        match self.sockets[line].recv(room) {
            Ok(count) => Ok(Some(&room[..count])),
            Err(error) if would_block(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sleeps until a packet may be there, or `timeout` passed; only after all were read empty.
    ///
    /// # Errors
    /// What the system says.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            other => other,
        }
    }
}

fn join(group: Group) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    // The system gives what it allows; with less, more is lost and recovered.
    let _ = socket.set_recv_buffer_size(GROUP_BUFFER_BYTES);
    socket.set_nonblocking(true)?;
    // Bound to the group itself, the socket hears no other group of the same port.
    socket.bind(&SockAddr::from(group.address))?;
    socket.join_multicast_v4(group.address.ip(), &group.interface)?;
    Ok(UdpSocket::from_std(socket.into()))
}

fn would_block(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
