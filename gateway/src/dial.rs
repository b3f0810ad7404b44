//! How a client reaches a node: one connection at a time, begun and used without waiting.
//!
//! Called by the client library; `sockets` is its real body, the simulator has another.
//!
//! Always holds: nothing waits but [`Channel::wait`]; a connection that cannot be made is found so by
//! its first read or write.
//! Does not: listen, or know what the bytes mean.

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::net::{Received, Written};
use crate::sockets::ClientSocket;

/// A way to nodes.
pub trait Dial: Debug + Send {
    /// Begins a connection without waiting for it. Until it is made reads and writes do nothing.
    ///
    /// # Errors
    /// What the system says where it cannot even begin.
    fn dial(&mut self, address: SocketAddr) -> io::Result<Box<dyn Channel>>;
}

/// The client's end of one connection; dropping it closes it.
pub trait Channel: Debug + Send {
    /// Reads what is there.
    ///
    /// # Errors
    /// What the system says of a connection that broke or was never made.
    fn try_read(&mut self, room: &mut [u8]) -> io::Result<Received>;

    /// Writes what the connection takes of `bytes`.
    ///
    /// # Errors
    /// As [`Channel::try_read`].
    fn try_write(&mut self, bytes: &[u8]) -> io::Result<Written>;

    /// Sleeps until something may be read or written, or `timeout` passed; only after a read found
    /// nothing.
    ///
    /// # Errors
    /// What the system says.
    fn wait(&mut self, timeout: Duration) -> io::Result<()>;
}

/// The network of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemDial;

impl Dial for SystemDial {
    fn dial(&mut self, address: SocketAddr) -> io::Result<Box<dyn Channel>> {
        Ok(Box::new(ClientSocket::begin(address)?))
    }
}
