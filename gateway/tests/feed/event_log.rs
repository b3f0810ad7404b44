//! A real event log in a folder of its own, and the agents that follow it, turned by hand.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use exahour_gateway::clock::Clock;
use exahour_gateway::credentials::{Key, Keys};
use exahour_gateway::feed::drop_copy::{DropCopy, DropCopyConfig};
use exahour_gateway::feed::market_data::{MarketData, MarketDataConfig};
use exahour_gateway::feed::multicast::MulticastConfig;
use exahour_gateway::opening::Applied;
use exahour_gateway::sockets::Group;
use exahour_journal::{Chain, Config, FrameMeta, Journal, LogId};
use exahour_rings::{Agent, WatermarkReader};
use exahour_wire::codes::Side;
use exahour_wire::events::{
    EventPrefix, FrameEnd, InstrumentListed, OrderAccepted, OrderCancelled,
};
use exahour_wire::ids::{CommandSequence, EventSequence, InstrumentId, OrderId};
use exahour_wire::message::{Message, messages};
use exahour_wire::units::{Price, Quantity};

use crate::market::{PARTICIPANTS, back_office, participant_of};

pub(crate) struct EventLog {
    pub(crate) folder: tempfile::TempDir,
    journal: Journal,
    index: u64,
}

impl EventLog {
    pub(crate) fn new() -> Self {
        Self::of_exchange(7)
    }

    /// The log of an exchange whose identity is this byte over and over.
    pub(crate) fn of_exchange(identity: u8) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Small segments, so that readers cross many of them.
        let config = Config {
            chain: Chain::Off,
            ..Config::new(folder.path(), LogId([identity; 16])).with_segment_bytes(256 << 10)
        };
        EventLog {
            journal: Journal::create(&config).unwrap(),
            folder,
            index: 0,
        }
    }

    /// Appends the events of whole commands as one frame.
    pub(crate) fn append(&mut self, batch: &[u8]) {
        let Some(first) = EventPrefix::peek(batch) else {
            return;
        };
        self.index += 1;
        let meta = FrameMeta {
            index: self.index,
            term: 1,
            count: messages(batch).count() as u16,
            kind: FrameEnd::Command as u8,
            first_sequence: first.event.0,
            time_ns: first.time.0,
        };
        self.journal.appender.append(&meta, &[batch]).unwrap();
    }

    /// A market data port that opens once this mark is at 7.
    pub(crate) fn market_data_behind<C: Clock>(
        &self,
        mark: WatermarkReader,
        clock: C,
    ) -> MarketData<C> {
        let mut config = MarketDataConfig::new(any_port(), self.folder.path().to_path_buf());
        let (_, superseded) = exahour_rings::watermark();
        config.opens_behind = Some(Applied {
            mark,
            frame: 7,
            superseded,
        });
        MarketData::new(&config, clock).unwrap()
    }

    pub(crate) fn market_data<C: Clock>(
        &self,
        history_bytes: usize,
        send_bytes: usize,
        clock: C,
    ) -> MarketData<C> {
        let config = MarketDataConfig {
            history_bytes,
            send_bytes,
            clients_max: 32,
            orders_room: 0,
            ..MarketDataConfig::new(any_port(), self.folder.path().to_path_buf())
        };
        MarketData::new(&config, clock).unwrap()
    }

    /// A market data port that sends its feed by multicast, too.
    pub(crate) fn multicast<C: Clock>(
        &self,
        history_bytes: usize,
        lines: [Group; 2],
        clock: C,
    ) -> MarketData<C> {
        self.multicast_at(any_port(), history_bytes, lines, clock)
    }

    /// The same at an address.
    pub(crate) fn multicast_at<C: Clock>(
        &self,
        address: SocketAddr,
        history_bytes: usize,
        lines: [Group; 2],
        clock: C,
    ) -> MarketData<C> {
        let config = MarketDataConfig {
            history_bytes,
            send_bytes: 4096,
            clients_max: 32,
            orders_room: 0,
            multicast: Some(MulticastConfig { lines, hops: 0 }),
            ..MarketDataConfig::new(address, self.folder.path().to_path_buf())
        };
        MarketData::new(&config, clock).unwrap()
    }

    pub(crate) fn drop_copy<C: Clock>(&self, send_bytes: usize, clock: C) -> DropCopy<C> {
        self.drop_copy_for(256, send_bytes, clock)
    }

    pub(crate) fn drop_copy_for<C: Clock>(
        &self,
        clients_max: usize,
        send_bytes: usize,
        clock: C,
    ) -> DropCopy<C> {
        let folder = self.folder.path().to_path_buf();
        let config = DropCopyConfig {
            send_bytes,
            clients_max,
            ..DropCopyConfig::new(any_port(), folder, keys())
        };
        DropCopy::new(config, clock).unwrap()
    }
}

pub(crate) fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

pub(crate) fn key_of(session: exahour_wire::ids::SessionId) -> Key {
    Key::new([session.0 as u8; 32])
}

fn keys() -> Keys {
    let mut keys = Keys::new();
    for participant in 1..=PARTICIPANTS {
        let second = back_office(exahour_wire::ids::ParticipantId(participant));
        assert_eq!(participant_of(second).0, participant);
        for session in [exahour_wire::ids::SessionId(second.0 - 1), second] {
            keys.insert(session, key_of(session));
        }
    }
    keys
}

/// Turns an agent and what else is given until it says that it is done.
pub(crate) fn turn_until(agent: &mut impl Agent, context: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    loop {
        agent.do_work().unwrap();
        if done() {
            return;
        }
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "{context}: not done in a minute"
        );
    }
}

/// Turns an agent until it has nothing to do.
pub(crate) fn settle(agent: &mut impl Agent) {
    while agent.do_work().unwrap() > 0 {}
}

/// Cheap events in bulk: orders of one instrument come and go.
pub(crate) struct Flood {
    next_event: u64,
    command: u64,
}

impl Flood {
    pub(crate) const INSTRUMENT: InstrumentId = InstrumentId(1);

    pub(crate) fn new() -> Self {
        Flood {
            next_event: 1,
            command: 0,
        }
    }

    /// One, and the log of its exchange, which has listed its contract.
    pub(crate) fn logged() -> (Self, EventLog) {
        Self::logged_at(EventLog::new())
    }

    /// The same in another log.
    pub(crate) fn logged_at(mut log: EventLog) -> (Self, EventLog) {
        let mut flood = Self::new();
        log.append(&flood.list());
        (flood, log)
    }

    /// What comes behind so many events of others.
    pub(crate) fn behind(events: u64) -> Self {
        Flood {
            next_event: events + 1,
            command: 1 << 32,
        }
    }

    fn stamp(&mut self) -> (EventSequence, CommandSequence) {
        self.command += 1;
        self.next_event += 1;
        (
            EventSequence(self.next_event - 1),
            CommandSequence(self.command),
        )
    }

    pub(crate) fn list(&mut self) -> Vec<u8> {
        let (event, command) = self.stamp();
        let instrument = Self::INSTRUMENT;
        let listed = InstrumentListed {
            event,
            command,
            instrument,
            ..InstrumentListed::blank()
        };
        listed.bytes().to_vec()
    }

    /// Orders that rest.
    pub(crate) fn add(&mut self, count: u64) -> Vec<u8> {
        let mut batch = Vec::new();
        for _ in 0..count {
            let (event, command) = self.stamp();
            let accepted = OrderAccepted {
                event,
                command,
                order: OrderId(event.0),
                price: Price(100 + (event.0 % 50) as i64),
                quantity: Quantity(3),
                instrument: Self::INSTRUMENT,
                side: Side::Sell.into(),
                ..OrderAccepted::blank()
            };
            batch.extend_from_slice(accepted.bytes());
        }
        batch
    }

    /// Orders that come and go: four messages of the feed each.
    pub(crate) fn churn(&mut self, count: u64) -> Vec<u8> {
        let mut batch = Vec::new();
        for _ in 0..count {
            let order = OrderId(self.next_event);
            batch.extend_from_slice(&self.add(1));
            let (event, command) = self.stamp();
            let cancelled = OrderCancelled {
                event,
                command,
                order,
                instrument: Self::INSTRUMENT,
                side: Side::Sell.into(),
                ..OrderCancelled::blank()
            };
            batch.extend_from_slice(cancelled.bytes());
        }
        batch
    }
}
