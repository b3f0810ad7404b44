//! The ports of a simulated network, as agents and clients use them.
//!
//! Always holds: a port of a process that has ended does nothing more, whoever still holds it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use exahour_gateway::error::GatewayError;
use exahour_gateway::net::{Accepted, Net, Port, Received, Slot, Written};

use super::stream::Side;
use super::{HostId, Life, Network, StreamId};

/// Connections accepted in one turn at most, as on a real machine.
const ACCEPTS_PER_TURN: usize = 8;

/// The network, shared by all ports.
#[derive(Clone, Debug)]
pub(crate) struct Shared(Arc<Mutex<Network>>);

impl Shared {
    pub(crate) fn new(network: Network) -> Self {
        Self(Arc::new(Mutex::new(network)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Network> {
        // One thread turns a world; where it panicked, the world is looked at and dropped.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The network as one run of a host's process has it.
    pub(crate) fn of(&self, host: HostId, life: Life) -> SimNet {
        SimNet {
            network: self.clone(),
            host,
            life,
        }
    }
}

/// The network of one process.
#[derive(Clone, Debug)]
pub(crate) struct SimNet {
    network: Shared,
    host: HostId,
    life: Life,
}

impl Net for SimNet {
    fn listen(
        &self,
        address: SocketAddr,
        connections_max: usize,
    ) -> Result<Box<dyn Port>, GatewayError> {
        let listened = self.network.lock().listen(self.host, self.life, address);
        let address = listened.ok_or_else(|| GatewayError::Listen {
            address,
            source: std::io::Error::from(std::io::ErrorKind::AddrInUse),
        })?;
        Ok(Box::new(SimPort {
            net: self.clone(),
            address,
            connections: (0..connections_max).map(|_| None).collect(),
            free: (0..connections_max).rev().map(Slot).collect(),
            waiting: None,
            accepts_left: ACCEPTS_PER_TURN,
        }))
    }
}

/// What stands in a slot that is taken.
#[derive(Clone, Copy, Debug)]
struct Connection {
    stream: StreamId,
    side: Side,
    from: IpAddr,
}

#[derive(Debug)]
struct SimPort {
    net: SimNet,
    address: SocketAddr,
    connections: Box<[Option<Connection>]>,
    free: Vec<Slot>,
    /// Accepted, and without a slot yet.
    waiting: Option<Connection>,
    accepts_left: usize,
}

impl SimPort {
    fn network(&self) -> MutexGuard<'_, Network> {
        self.net.network.lock()
    }

    /// The connection of a slot, unless the process has ended.
    fn connection(&self, slot: Slot) -> Option<Connection> {
        self.connections.get(slot.0).copied().flatten()
    }

    fn place(&mut self, connection: Connection, slot: Slot) -> Accepted {
        self.connections[slot.0] = Some(connection);
        Accepted::Connection(slot)
    }
}

impl Port for SimPort {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn taken_count(&self) -> usize {
        self.connections.len() - self.free.len()
    }

    fn poll_ready(&mut self) -> Result<(), GatewayError> {
        self.accepts_left = ACCEPTS_PER_TURN;
        Ok(())
    }

    fn accept(&mut self) -> Option<Accepted> {
        if let Some(connection) = self.waiting.take() {
            return Some(match self.free.pop() {
                Some(slot) => self.place(connection, slot),
                None => {
                    self.network().close(connection.stream, connection.side);
                    Accepted::Refused
                }
            });
        }
        if self.accepts_left == 0 {
            return None;
        }
        let (stream, from) = self.network().take_waiting(self.address, self.net.life)?;
        self.accepts_left -= 1;
        let connection = Connection {
            stream,
            side: Side::Listener,
            from: from.address(),
        };
        let Some(slot) = self.free.pop() else {
            self.waiting = Some(connection);
            self.accepts_left = 0;
            return Some(Accepted::Full);
        };
        Some(self.place(connection, slot))
    }

    fn connect(&mut self, address: SocketAddr) -> Option<Slot> {
        let slot = self.free.pop()?;
        let dialled = self.network().dial(self.net.host, self.net.life, address);
        // In a slot without a connection every read and write says that it ended.
        self.connections[slot.0] = dialled.map(|stream| Connection {
            stream,
            side: Side::Dialler,
            from: address.ip(),
        });
        Some(slot)
    }

    fn from(&self, slot: Slot) -> IpAddr {
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        self.connection(slot).map_or(nowhere, |it| it.from)
    }

    fn try_read(&mut self, slot: Slot, room: &mut [u8]) -> Received {
        match self.connection(slot) {
            Some(_) if room.is_empty() => Received::Nothing,
            Some(it) => self.network().read(it.stream, it.side, self.net.life, room),
            None => Received::Ended,
        }
    }

    fn try_write(&mut self, slot: Slot, bytes: &[u8]) -> Written {
        match self.connection(slot) {
            Some(_) if bytes.is_empty() => Written::Nothing,
            Some(it) => self
                .network()
                .write(it.stream, it.side, self.net.life, bytes),
            None => Written::Ended,
        }
    }

    fn end_writing(&mut self, slot: Slot) {
        if let Some(it) = self.connection(slot) {
            self.network()
                .end_writing(it.stream, it.side, self.net.life);
        }
    }

    fn close(&mut self, slot: Slot) {
        if let Some(it) = self.connections.get_mut(slot.0).and_then(Option::take) {
            self.network().close_by(it.stream, it.side, self.net.life);
        }
    }

    fn release(&mut self, slot: Slot) {
        assert!(self.connections[slot.0].is_none() && !self.free.contains(&slot));
        self.free.push(slot);
    }
}

/// A process that ends in good order closes what it has; of one that was killed nothing is left to close.
impl Drop for SimPort {
    fn drop(&mut self) {
        for slot in 0..self.connections.len() {
            self.close(Slot(slot));
        }
        let mut network = self.net.network.lock();
        if let Some(it) = self.waiting.take() {
            network.close_by(it.stream, it.side, self.net.life);
        }
        network.stop_listening(self.address, self.net.life);
    }
}
