//! The drop copy agent: the event log in, each participant's reports out over a port of its own.
//!
//! Run by the node in a layout of its choice.
//!
//! Always holds: nobody is let in before everything that was committed at the start has been read, so a
//! session that exists is never called unknown; each turn is bounded, whatever clients do.
//! Does not: keep a copy of the log: it only knows who owns what and where events lie.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use exahour_journal::disk::{Disk, system_disk};
use exahour_journal::{Position, Reader, Verify};
use exahour_rings::{Agent, Halt};

use super::back_office::{BackOffices, Office};
use super::learnt::Learnt;
use super::peers::Peers;
use crate::clock::Clock;
use crate::credentials::Keys;
use crate::error::GatewayError;
use crate::net::{Net, SystemNet};
use crate::opening::{Applied, Opening};

/// Bytes of the event log read in one turn.
const LOG_BYTES_PER_TURN: u64 = 256 << 10;

/// The settings of the drop copy port.
#[derive(Clone, Debug)]
pub struct DropCopyConfig {
    /// Where to listen.
    pub address: SocketAddr,
    /// The folder of the event log, from its first event.
    pub event_log: PathBuf,
    /// The disk that it is on.
    pub disk: Arc<dyn Disk>,
    /// What the engine must have applied before the port opens; `None` where the log is whole.
    pub opens_behind: Option<Applied>,
    /// The network that clients come through.
    pub net: Arc<dyn Net>,
    /// The keys of sessions.
    pub keys: Keys,
    /// Connections at a time.
    pub clients_max: usize,
    /// Bytes on their way to one client.
    pub send_bytes: usize,
}

impl DropCopyConfig {
    /// The default sizes: 256 clients, 64 KiB each.
    pub fn new(address: SocketAddr, event_log: PathBuf, keys: Keys) -> Self {
        DropCopyConfig {
            address,
            event_log,
            disk: system_disk(),
            opens_behind: None,
            net: Arc::new(SystemNet),
            keys,
            clients_max: 256,
            send_bytes: 64 << 10,
        }
    }
}

/// The drop copy agent.
pub struct DropCopy<C> {
    reader: Reader,
    opening: Opening,
    offices: BackOffices,
    peers: Peers<Office>,
    clock: C,
}

impl<C: Clock> DropCopy<C> {
    /// Listens, and begins to read the event log.
    ///
    /// # Errors
    /// [`GatewayError::Listen`], [`GatewayError::Watch`], [`GatewayError::EventLog`].
    pub fn new(config: DropCopyConfig, mut clock: C) -> Result<Self, GatewayError> {
        let reader = Reader::follow_on(&config.disk, &config.event_log, Verify::Every)?;
        let port = config.net.listen(config.address, config.clients_max)?;
        Ok(DropCopy {
            opening: Opening::new(&reader, config.opens_behind),
            reader,
            offices: BackOffices::new(config.disk, config.event_log, config.keys, clock.now()),
            peers: Peers::new(port, config.clients_max, config.send_bytes),
            clock,
        })
    }

    /// Goes on from what was learnt of the log before, and does not read it again; called before the first turn.
    ///
    /// # Errors
    /// [`GatewayError::EventLog`] where the log does not reach that far.
    pub fn begin_behind(&mut self, learnt: Learnt) -> Result<(), GatewayError> {
        self.reader.seek(learnt.position())?;
        self.offices.begin_behind(learnt);
        Ok(())
    }

    /// The address that back offices connect to.
    pub fn address(&self) -> SocketAddr {
        self.peers.address()
    }

    /// Reads what is new in the log, a bounded part of it; gives how many frames.
    fn follow(&mut self) -> Result<usize, Halt> {
        let limit = Position::new(u64::MAX);
        let stop = Position::new(self.reader.position().value() + LOG_BYTES_PER_TURN);
        let mut frames = 0;
        while self.reader.position() < stop {
            let Some(frame) = self.reader.next(limit).map_err(Halt::new)? else {
                break;
            };
            let (start, end) = (frame.position, frame.end());
            self.offices
                .on_batch(frame.payload, start, end)
                .map_err(Halt::new)?;
            frames += 1;
        }
        Ok(frames)
    }
}

impl<C: Clock> Agent for DropCopy<C> {
    fn name(&self) -> &'static str {
        "drop-copy"
    }

    fn do_work(&mut self) -> Result<usize, Halt> {
        let frames = self.follow()?;
        if !self.opening.is_open(&self.reader) {
            return Ok(frames);
        }
        self.offices.on_utc(self.clock.now());
        let now = self.clock.steady();
        let served = self.peers.turn(&mut self.offices, now).map_err(Halt::new)?;
        Ok(frames + served)
    }
}
