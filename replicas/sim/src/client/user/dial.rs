//! How the client library reaches simulated nodes.
//!
//! Always holds: a connection that is dropped is closed, and its place is free again.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use exahour_gateway::dial::{Channel, Dial};
use exahour_gateway::net::{Net, Port, Received, Slot, Written};

use crate::client::Violation;
use crate::net::HostId;

/// Connections at a time: one takes another's place.
const CONNECTIONS_MAX: usize = 2;

#[derive(Clone, Debug)]
struct Shared(Arc<Mutex<Box<dyn Port>>>);

impl Shared {
    fn port(&self) -> MutexGuard<'_, Box<dyn Port>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A way to simulated nodes.
#[derive(Debug)]
pub(super) struct SimDial(Shared);

impl SimDial {
    /// The way from a host.
    ///
    /// # Errors
    /// The network refuses it a port.
    pub(super) fn new(host: HostId, net: &dyn Net) -> Result<Self, Violation> {
        let any = SocketAddr::new(host.address(), 0);
        let port = net.listen(any, CONNECTIONS_MAX);
        let port = port.map_err(|error| error.to_string())?;
        Ok(Self(Shared(Arc::new(Mutex::new(port)))))
    }
}

impl Dial for SimDial {
    fn dial(&mut self, address: SocketAddr) -> io::Result<Box<dyn Channel>> {
        let slot = self.0.port().connect(address);
        let slot = slot.ok_or_else(|| io::Error::other("every place is taken"))?;
        Ok(Box::new(SimChannel {
            port: self.0.clone(),
            slot,
        }))
    }
}

#[derive(Debug)]
struct SimChannel {
    port: Shared,
    slot: Slot,
}

impl Channel for SimChannel {
    fn try_read(&mut self, room: &mut [u8]) -> io::Result<Received> {
        Ok(self.port.port().try_read(self.slot, room))
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<Written> {
        Ok(self.port.port().try_write(self.slot, bytes))
    }

    /// Nobody sleeps in a simulated world.
    fn wait(&mut self, _: Duration) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for SimChannel {
    fn drop(&mut self) {
        let mut port = self.port.port();
        port.close(self.slot);
        port.release(self.slot);
    }
}
