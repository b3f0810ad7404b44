//! A network within one thread's memory: what peers and a client say costs a copy, and no system call.
//!
//! Used by the topic `raft`, which measures what is left of replication without a kernel.
//!
//! Always holds: bytes come in order and at once; a connection to nobody has ended from its start.
//! Does not: delay, lose or tear anything (the simulator does).

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use exahour_gateway::dial::{Channel, Dial};
use exahour_gateway::error::GatewayError;
use exahour_gateway::net::{Accepted, Net, Port, Received, Slot, Written};

/// Bytes that may wait in one direction.
const WAITING_MAX: usize = 64 << 20;

/// One direction of a connection.
#[derive(Default)]
struct Pipe {
    bytes: Mutex<VecDeque<u8>>,
    /// How many they are, so that an empty pipe costs no lock.
    count: AtomicUsize,
    ended: AtomicBool,
}

/// One end of a connection.
struct Wire {
    inward: Arc<Pipe>,
    outward: Arc<Pipe>,
}

impl Wire {
    fn pair() -> [Self; 2] {
        let (one, other) = (Arc::<Pipe>::default(), Arc::<Pipe>::default());
        [
            Self {
                inward: Arc::clone(&one),
                outward: Arc::clone(&other),
            },
            Self {
                inward: other,
                outward: one,
            },
        ]
    }

    fn read(&self, room: &mut [u8]) -> Received {
        if self.inward.count.load(Ordering::Acquire) == 0 {
            return match self.inward.ended.load(Ordering::Acquire) {
                true => Received::Ended,
                false => Received::Nothing,
            };
        }
        let mut bytes = held(&self.inward.bytes);
        let mut count = 0;
        // It lies in two pieces at most.
        for _ in 0..2 {
            // Reading from memory cannot fail.
            count += bytes.read(&mut room[count..]).unwrap_or(0);
        }
        self.inward.count.store(bytes.len(), Ordering::Release);
        match count {
            0 => Received::Nothing,
            count => Received::Bytes(count),
        }
    }

    fn write(&self, bytes: &[u8]) -> Written {
        if self.outward.ended.load(Ordering::Acquire) {
            return Written::Ended;
        }
        let mut waiting = held(&self.outward.bytes);
        if bytes.is_empty() || waiting.len() + bytes.len() > WAITING_MAX {
            return Written::Nothing;
        }
        waiting.extend(bytes);
        self.outward.count.store(waiting.len(), Ordering::Release);
        Written::Bytes(bytes.len())
    }

    fn end(&self) {
        self.outward.ended.store(true, Ordering::Release);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.end();
        self.inward.ended.store(true, Ordering::Release);
    }
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    // One thread turns everything; where it panicked, nothing here is used again.
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct Arrivals {
    wires: Mutex<VecDeque<Wire>>,
    count: AtomicUsize,
}

type Listeners = BTreeMap<SocketAddr, Arc<Arrivals>>;

/// The network; clones are the same one.
#[derive(Clone, Default)]
pub struct MemoryNet(Arc<Mutex<Listeners>>);

impl fmt::Debug for MemoryNet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MemoryNet")
    }
}

impl MemoryNet {
    fn dial(&self, address: SocketAddr) -> Option<Wire> {
        let listeners = held(&self.0);
        let arrivals = listeners.get(&address)?;
        let [near, far] = Wire::pair();
        held(&arrivals.wires).push_back(far);
        arrivals.count.fetch_add(1, Ordering::AcqRel);
        Some(near)
    }
}

impl Net for MemoryNet {
    fn listen(
        &self,
        address: SocketAddr,
        connections_max: usize,
    ) -> Result<Box<dyn Port>, GatewayError> {
        let arrivals = Arc::<Arrivals>::default();
        held(&self.0).insert(address, Arc::clone(&arrivals));
        Ok(Box::new(MemoryPort {
            net: self.clone(),
            address,
            arrivals,
            wires: (0..connections_max).map(|_| None).collect(),
            free: (0..connections_max).rev().map(Slot).collect(),
        }))
    }
}

impl Dial for MemoryNet {
    fn dial(&mut self, address: SocketAddr) -> io::Result<Box<dyn Channel>> {
        let wire = MemoryNet::dial(self, address);
        let wire = wire.ok_or(io::ErrorKind::ConnectionRefused)?;
        Ok(Box::new(MemoryChannel(wire)))
    }
}

struct MemoryPort {
    net: MemoryNet,
    address: SocketAddr,
    arrivals: Arc<Arrivals>,
    wires: Vec<Option<Wire>>,
    free: Vec<Slot>,
}

impl fmt::Debug for MemoryPort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "MemoryPort({})", self.address)
    }
}

impl Port for MemoryPort {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn taken_count(&self) -> usize {
        self.wires.len() - self.free.len()
    }

    fn poll_ready(&mut self) -> Result<(), GatewayError> {
        Ok(())
    }

    fn accept(&mut self) -> Option<Accepted> {
        if self.arrivals.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let Some(slot) = self.free.pop() else {
            return Some(Accepted::Full);
        };
        let wire = held(&self.arrivals.wires).pop_front();
        self.arrivals.count.fetch_sub(1, Ordering::AcqRel);
        self.wires[slot.0] = wire;
        Some(Accepted::Connection(slot))
    }

    fn connect(&mut self, address: SocketAddr) -> Option<Slot> {
        let slot = self.free.pop()?;
        self.wires[slot.0] = self.net.dial(address);
        Some(slot)
    }

    fn from(&self, _slot: Slot) -> IpAddr {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    }

    fn try_read(&mut self, slot: Slot, room: &mut [u8]) -> Received {
        let wire = self.wires[slot.0].as_ref();
        wire.map_or(Received::Ended, |wire| wire.read(room))
    }

    fn try_write(&mut self, slot: Slot, bytes: &[u8]) -> Written {
        let wire = self.wires[slot.0].as_ref();
        wire.map_or(Written::Ended, |wire| wire.write(bytes))
    }

    fn end_writing(&mut self, slot: Slot) {
        if let Some(wire) = &self.wires[slot.0] {
            wire.end();
        }
    }

    fn close(&mut self, slot: Slot) {
        self.wires[slot.0] = None;
    }

    fn release(&mut self, slot: Slot) {
        self.free.push(slot);
    }
}

/// A client's end.
struct MemoryChannel(Wire);

impl fmt::Debug for MemoryChannel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MemoryChannel")
    }
}

impl Channel for MemoryChannel {
    fn try_read(&mut self, room: &mut [u8]) -> io::Result<Received> {
        Ok(self.0.read(room))
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<Written> {
        Ok(self.0.write(bytes))
    }

    fn wait(&mut self, _timeout: Duration) -> io::Result<()> {
        Ok(())
    }
}
