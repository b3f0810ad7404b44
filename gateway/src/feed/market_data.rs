//! The market data agent: the event log in, the public feed out over TCP and multicast.
//!
//! Run by the node in a layout of its choice. Clients connect without a logon: the data is public.
//!
//! Always holds: nobody is let in before everything that was committed at the start has been published,
//! so a client never sees the past go by; each turn is bounded, whatever clients do.
//! Does not: write anything that outlives it; the feed is made anew from the event log.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use exahour_journal::disk::{Disk, system_disk};
use exahour_journal::{Position, Reader, Verify};
use exahour_rings::{Agent, Halt};
use exahour_wire::events::FrameEnd;
use exahour_wire::ids::ExchangeId;

use super::multicast::{MESSAGE_BYTES_PER_TURN, Multicast, MulticastConfig};
use super::peers::Peers;
use super::publisher::Publisher;
use super::subscribers::{Client, Subscribers};
use super::updates::DEPTHS;
use crate::clock::Clock;
use crate::error::GatewayError;
use crate::image::{ImageFault, Source};
use crate::net::{Net, SystemNet};
use crate::opening::{Applied, Opening};

/// Bytes of the event log published in one turn.
const LOG_BYTES_PER_TURN: u64 = 256 << 10;

// Events make messages of less than twice their size: what a turn publishes it sends as well.
const _: () = assert!(MESSAGE_BYTES_PER_TURN >= 2 * LOG_BYTES_PER_TURN as usize);

/// The settings of the market data port.
#[derive(Clone, Debug)]
pub struct MarketDataConfig {
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
    /// Connections at a time.
    pub clients_max: usize,
    /// Bytes of past messages about orders kept for recovery, and a part of that at the other depths; a client
    /// further behind is cut off.
    pub history_bytes: usize,
    /// Bytes on their way to one client.
    pub send_bytes: usize,
    /// Where else the feed goes: to the two lines of a multicast, if to any.
    pub multicast: Option<MulticastConfig>,
    /// Resting orders that memory is reserved for; growing beyond holds the feed up for a while.
    pub orders_room: usize,
}

impl MarketDataConfig {
    /// The default sizes: 1024 clients, 96 MiB of history (over a million messages), 64 KiB each,
    /// and a million resting orders (pages are taken only as they are used).
    pub fn new(address: SocketAddr, event_log: PathBuf) -> Self {
        MarketDataConfig {
            address,
            event_log,
            disk: system_disk(),
            opens_behind: None,
            net: Arc::new(SystemNet),
            clients_max: 1024,
            history_bytes: 96 << 20,
            send_bytes: 64 << 10,
            multicast: None,
            orders_room: 1 << 20,
        }
    }
}

/// The market data agent.
pub struct MarketData<C> {
    reader: Reader,
    opening: Opening,
    subscribers: Subscribers,
    peers: Peers<Client>,
    /// One for each depth, or none.
    multicast: Vec<Multicast>,
    clock: C,
}

impl<C: Clock> MarketData<C> {
    /// Listens, and begins to read the event log.
    ///
    /// # Errors
    /// [`GatewayError::Listen`], [`GatewayError::Watch`], [`GatewayError::Multicast`],
    /// [`GatewayError::EventLog`].
    pub fn new(config: &MarketDataConfig, mut clock: C) -> Result<Self, GatewayError> {
        let reader = Reader::follow_on(&config.disk, &config.event_log, Verify::Every)?;
        let source = Source {
            // The upper half of 128 bits fits.
            exchange: ExchangeId((u128::from_be_bytes(reader.log_id().0) >> 64) as u64),
            started_at: clock.now(),
        };
        let port = config.net.listen(config.address, config.clients_max)?;
        let mut multicast = Vec::new();
        for (config, depth) in config
            .multicast
            .iter()
            .flat_map(|it| DEPTHS.map(|depth| (it, depth)))
        {
            multicast.push(Multicast::open(config, depth, source)?);
        }
        Ok(MarketData {
            opening: Opening::new(&reader, config.opens_behind.clone()),
            reader,
            subscribers: Subscribers::new(source, config.history_bytes, config.orders_room),
            peers: Peers::new(port, config.clients_max, config.send_bytes),
            multicast,
            clock,
        })
    }

    /// Goes on with the feed as it was at a place of the log, and does not read what is before it again; called
    /// before the first turn.
    ///
    /// # Errors
    /// [`GatewayError::EventLog`] where the log does not reach that far; [`GatewayError::Views`].
    pub fn begin_behind(
        &mut self,
        publisher: Publisher,
        position: Position,
    ) -> Result<(), GatewayError> {
        self.reader.seek(position)?;
        let begun = self.subscribers.begin_behind(publisher);
        begun.map_err(GatewayError::Views)
    }

    /// The address that clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.peers.address()
    }

    /// What goes out by multicast: all depths, or nothing.
    pub fn multicast(&self) -> &[Multicast] {
        &self.multicast
    }

    /// The port without its sockets.
    pub fn subscribers(&self) -> &Subscribers {
        &self.subscribers
    }

    /// Publishes what is new in the log, a bounded part of it; gives how many frames.
    fn follow(&mut self) -> Result<usize, Halt> {
        let end = Position::new(self.reader.position().value() + LOG_BYTES_PER_TURN);
        let mut frames = 0;
        while self.reader.position() < end {
            let Some(frame) = self
                .reader
                .next(Position::new(u64::MAX))
                .map_err(Halt::new)?
            else {
                break;
            };
            let kind = frame.header.kind;
            let end = FrameEnd::of_kind(kind).ok_or_else(|| {
                let after = self.subscribers.publisher().last_event();
                Halt::new(ImageFault::UnknownFrame { kind, after })
            })?;
            self.subscribers
                .on_batch(frame.payload, end)
                .map_err(Halt::new)?;
            frames += 1;
        }
        Ok(frames)
    }
}

impl<C: Clock> Agent for MarketData<C> {
    fn name(&self) -> &'static str {
        "market-data"
    }

    fn do_work(&mut self) -> Result<usize, Halt> {
        let frames = self.follow()?;
        let moved = self.subscribers.on_turn().map_err(Halt::new)?;
        if !self.opening.is_open(&self.reader) {
            return Ok(frames + moved);
        }
        self.subscribers.on_open();
        let now = self.clock.steady();
        let served = self
            .peers
            .turn(&mut self.subscribers, now)
            .map_err(Halt::new)?;
        let publisher = self.subscribers.publisher();
        let mut sent = 0;
        for multicast in &mut self.multicast {
            let history = publisher.history(multicast.depth());
            sent += multicast.turn(history, self.clock.now(), now);
        }
        Ok(frames + moved + served + sent)
    }
}
