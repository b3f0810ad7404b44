//! The network as a node and its clients use it: ports that listen, dial, read and write, never waiting.
//!
//! Called by the polling agents of this crate and by the peers' links; `sockets` is its real body, the
//! simulator has another.
//!
//! Always holds: no call blocks; every call's work is bounded, by its buffer where it moves bytes; a
//! connection stands in a slot of its port until it is closed and released.
//! Does not: know what the bytes mean, or when to give up on a connection.

use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};

use crate::error::GatewayError;
use crate::sockets::Sockets;

/// Where a connection stands in the slab of its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub usize);

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// This many bytes, at least one.
    Bytes(usize),
    /// Nothing now.
    Nothing,
    /// The other side has ended, or the connection broke or was never made.
    Ended,
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// This many bytes were taken, at least one.
    Bytes(usize),
    /// The other side does not read, or is not reached yet: nothing was taken.
    Nothing,
    /// The connection broke or was never made.
    Ended,
}

/// What came of accepting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// A new connection.
    Connection(Slot),
    /// Every slot is taken: where the next call finds one released, it gives it to the connection.
    Full,
    /// The connection was closed: no slot was released for it, or it was gone already.
    Refused,
}

/// A network.
pub trait Net: Debug + Send + Sync {
    /// Listens on `address`, where port 0 lets the network choose, for at most `connections_max`
    /// connections at a time, those dialled included.
    ///
    /// # Errors
    /// [`GatewayError::Listen`] and [`GatewayError::Watch`].
    fn listen(
        &self,
        address: SocketAddr,
        connections_max: usize,
    ) -> Result<Box<dyn Port>, GatewayError>;
}

/// An address that is listened on, and the connections that came to it or were dialled from it.
pub trait Port: Debug + Send {
    /// The address that others connect to.
    fn address(&self) -> SocketAddr;

    /// How many slots are taken.
    fn taken_count(&self) -> usize;

    /// Begins a turn: learns what is ready.
    ///
    /// # Errors
    /// [`GatewayError::Watch`] where the system cannot tell any more.
    fn poll_ready(&mut self) -> Result<(), GatewayError>;

    /// Takes a waiting connection, a bounded number of times in a turn; [`Accepted::Full`] comes at most
    /// once, so looking for somebody to evict is bounded too.
    fn accept(&mut self) -> Option<Accepted>;

    /// Begins a connection to `address` without waiting for it; `None` where every slot is taken. Until it
    /// is made reads and writes do nothing; where it cannot be made they say that it ended.
    fn connect(&mut self, address: SocketAddr) -> Option<Slot>;

    /// The address at the other end of a connection; unspecified where there is none.
    fn from(&self, slot: Slot) -> IpAddr;

    /// Reads what is there, if anything may be, into `room`.
    fn try_read(&mut self, slot: Slot, room: &mut [u8]) -> Received;

    /// Writes the start of `bytes`, if there may be room.
    fn try_write(&mut self, slot: Slot, bytes: &[u8]) -> Written;

    /// Tells the other side that nothing more will be written.
    fn end_writing(&mut self, slot: Slot);

    /// Closes a connection; its slot stays taken until [`Port::release`].
    fn close(&mut self, slot: Slot);

    /// Gives a slot back whose connection was closed.
    ///
    /// # Panics
    /// If the slot is open or free: our own fault.
    fn release(&mut self, slot: Slot);
}

/// The network of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemNet;

impl Net for SystemNet {
    fn listen(
        &self,
        address: SocketAddr,
        connections_max: usize,
    ) -> Result<Box<dyn Port>, GatewayError> {
        let sockets = Sockets::listen(address, connections_max)?;
        Ok(Box::new(sockets))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::sockets::DIRECT_CONNECTIONS_MAX;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn port(connections_max: usize) -> Box<dyn Port> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        SystemNet.listen(address, connections_max).unwrap()
    }

    /// Turns both ports until `done` gives something.
    fn until<T>(
        ports: [&mut dyn Port; 2],
        mut done: impl FnMut([&mut dyn Port; 2]) -> Option<T>,
    ) -> T {
        let [one, other] = ports;
        let end = Instant::now() + PATIENCE;
        loop {
            one.poll_ready().unwrap();
            other.poll_ready().unwrap();
            if let Some(found) = done([&mut *one, &mut *other]) {
                return found;
            }
            assert!(Instant::now() < end, "it never came");
            std::thread::yield_now();
        }
    }

    /// Both the ways of reading: directly with few connections, by what epoll says with many.
    #[test]
    fn a_dialled_connection_carries_bytes_both_ways() {
        for connections in [1, 2 * DIRECT_CONNECTIONS_MAX] {
            let (mut near, mut far) = (port(connections), port(connections));
            let address = far.address();
            let dialled: Vec<Slot> = (0..connections)
                .map(|_| near.connect(address).unwrap())
                .collect();
            assert_eq!(near.connect(address), None, "every slot is taken");
            assert_eq!(near.from(dialled[0]), address.ip());
            let mut accepted = Vec::new();
            for (number, &slot) in dialled.iter().enumerate() {
                let byte = [number as u8];
                until([&mut *near, &mut *far], |[near, far]| {
                    while let Some(Accepted::Connection(slot)) = far.accept() {
                        accepted.push(slot);
                    }
                    (near.try_write(slot, &byte) == Written::Bytes(1)).then_some(())
                });
            }
            let mut heard = vec![0; connections];
            until([&mut *near, &mut *far], |[_, far]| {
                while let Some(Accepted::Connection(slot)) = far.accept() {
                    accepted.push(slot);
                }
                for &slot in &accepted {
                    let mut room = [0; 4];
                    if let Received::Bytes(count) = far.try_read(slot, &mut room) {
                        assert_eq!(count, 1);
                        heard[usize::from(room[0])] += 1;
                        assert_eq!(far.try_write(slot, &room[..1]), Written::Bytes(1));
                    }
                }
                (heard.iter().sum::<usize>() == connections).then_some(())
            });
            assert!(heard.iter().all(|count| *count == 1));
            for (number, &slot) in dialled.iter().enumerate() {
                let mut room = [0; 4];
                let count = until([&mut *near, &mut *far], |[near, _]| {
                    match near.try_read(slot, &mut room) {
                        Received::Bytes(count) => Some(count),
                        Received::Nothing => None,
                        Received::Ended => panic!("the connection stands"),
                    }
                });
                assert_eq!((count, usize::from(room[0])), (1, number));
            }
        }
    }

    #[test]
    fn a_connection_that_is_refused_ends_and_its_slot_is_used_again() {
        let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let nobody = closed.local_addr().unwrap();
        drop(closed);
        for write_first in [true, false] {
            let (mut near, mut far) = (port(1), port(1));
            let slot = near.connect(nobody).unwrap();
            until([&mut *near, &mut *far], |[near, _]| {
                let ended = if write_first {
                    near.try_write(slot, &[1]) == Written::Ended
                } else {
                    near.try_read(slot, &mut [0; 4]) == Received::Ended
                };
                ended.then_some(())
            });
            near.close(slot);
            assert_eq!(near.taken_count(), 1);
            near.release(slot);
            assert_eq!(near.connect(far.address()), Some(slot));
            until([&mut *near, &mut *far], |[near, far]| {
                far.accept();
                (near.try_write(slot, &[1]) == Written::Bytes(1)).then_some(())
            });
        }
    }

    /// No route leads to this address on the loopback interface alone: the call itself may fail.
    #[test]
    fn a_connection_that_cannot_even_begin_ends() {
        let mut near = port(1);
        let slot = near
            .connect(SocketAddr::from((Ipv4Addr::BROADCAST, 9)))
            .unwrap();
        assert_eq!(near.try_read(slot, &mut [0; 4]), Received::Ended);
        assert_eq!(near.try_write(slot, &[1]), Written::Ended);
        near.close(slot);
        near.release(slot);
        assert_eq!(near.taken_count(), 0);
    }
}
