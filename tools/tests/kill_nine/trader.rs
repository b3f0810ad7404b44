//! A trader: sends as fast as a bounded window allows, and writes down all that it sends and is told.
//!
//! One thread each, over the real client library; it goes on with the same version of its session
//! however often the node is killed.
//!
//! Always holds: a name is given to one order only; an order told as not applied may be sent again
//! under its name and a new number, so an untrue word of the exchange shows as a second acceptance.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use exahour_gateway::client::TypedReport as Told;
use exahour_gateway::client::{Client, ClientConfig, ClientError, ClientEvent, Report};
use exahour_gateway::credentials::Key;
use exahour_wire::codes::{OrderType, Side, TimeInForce};
use exahour_wire::events::SequenceGap;
use exahour_wire::ids::{
    AccountId, ClientOrderId, InstrumentId, MessageSequence, OrderId, SessionId, SessionVersion,
};
use exahour_wire::message::Message;
use exahour_wire::orders::{CancelOrder, NewOrder, ReplaceOrder};
use exahour_wire::units::{Price, Quantity};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::arena::Arena;
use crate::node::PATIENCE;

/// Messages sent and not answered, at most.
const WINDOW: usize = 64;
/// Orders left in the book, about.
const LIVE: usize = 200;
/// Every session's version, in all lives of the node.
pub(crate) const VERSION: SessionVersion = SessionVersion(77);

/// What a trader knows of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing was said of it.
    Silent,
    /// A report answered it, in this life of the node.
    Answered(u32),
    /// It was told that it was not applied.
    NotApplied,
    /// It was told that the exchange was busy.
    Busy,
}

/// One message as it was sent.
pub(crate) struct Sent {
    /// With session and number in it.
    pub(crate) bytes: [u8; 64],
    /// The life of the node in which it was sent.
    pub(crate) life: u32,
    pub(crate) fate: Fate,
}

/// All that one trader sent and was told.
pub(crate) struct Ledger {
    pub(crate) session: SessionId,
    /// By number, from 1.
    pub(crate) sent: Vec<Sent>,
    /// Every report, in the order it came.
    pub(crate) told: Vec<Vec<u8>>,
    pub(crate) resent: u64,
    pub(crate) reconnects: u64,
    /// Reconnections that failed, by reason.
    pub(crate) failures: BTreeMap<String, u64>,
}

/// What is still to be answered and which orders live.
struct Desk<'a> {
    arena: &'a Arena,
    ledger: Ledger,
    random: ChaCha8Rng,
    life: u32,
    open: usize,
    names: u64,
    /// The numbers of cancels and replaces, whose answers carry only names.
    by_name: HashMap<u64, usize>,
    live: Vec<OrderId>,
    again: Vec<NewOrder>,
}

/// Trades until told to stop, then waits until everything is answered.
pub(crate) fn trade(arena: &Arena, session: SessionId, key: Key, seed: u64) -> Ledger {
    let mut config = ClientConfig::new(session, key);
    config.version = Some(VERSION);
    let (life, address) = arena.life();
    let mut client = Client::connect(address, config).unwrap();
    let mut desk = Desk {
        arena,
        ledger: Ledger {
            session,
            sent: Vec::new(),
            told: Vec::new(),
            resent: 0,
            reconnects: 0,
            failures: BTreeMap::new(),
        },
        random: ChaCha8Rng::seed_from_u64(seed ^ u64::from(session.0) << 32),
        life,
        open: 0,
        names: 0,
        by_name: HashMap::new(),
        live: Vec::new(),
        again: Vec::new(),
    };
    arena.arrive();
    while !(arena.stopping() && desk.open == 0) {
        desk.connected(&mut client, Desk::turn);
    }
    // Nobody sends any more once all are here: the answer to one more message is the last report.
    arena.gather();
    desk.connected(&mut client, |desk, client| {
        let none = CancelOrder {
            instrument: InstrumentId(1),
            order: OrderId(u64::MAX),
            ..CancelOrder::blank()
        };
        desk.send(client, &none, 0)?;
        client.flush()
    });
    while desk.open > 0 {
        desk.connected(&mut client, Desk::listen);
    }
    client.disconnect();
    desk.ledger
}

impl Desk<'_> {
    /// Acts, and takes the session up again where the connection is lost meanwhile.
    fn connected(
        &mut self,
        client: &mut Client,
        act: impl FnOnce(&mut Self, &mut Client) -> Result<(), ClientError>,
    ) {
        match act(self, client) {
            Ok(()) => {}
            Err(ClientError::Disconnected { .. }) => self.reconnect(client),
            Err(error) => panic!("session {}: {error}", self.ledger.session),
        }
    }

    fn reconnect(&mut self, client: &mut Client) {
        let mut after = self.life;
        let end = Instant::now() + PATIENCE;
        loop {
            let (life, address) = self.arena.await_life(after);
            match client.reconnect_to(address) {
                Ok(()) => {
                    self.life = life;
                    self.ledger.reconnects += 1;
                    return;
                }
                Err(error) => {
                    let reason = match error {
                        ClientError::Connect { .. } => "nobody listens".to_owned(),
                        ClientError::Disconnected { .. } => "lost again".to_owned(),
                        other => other.to_string(),
                    };
                    *self.ledger.failures.entry(reason.clone()).or_default() += 1;
                    assert!(Instant::now() < end, "cannot reconnect: {reason}");
                    // The node that is dead may not have been replaced yet; a living one is asked
                    // again.
                    if self.arena.is_dead(life) {
                        after = life;
                    }
                }
            }
        }
    }

    fn turn(&mut self, client: &mut Client) -> Result<(), ClientError> {
        while !self.arena.stopping() && self.open < WINDOW && self.send_next(client)? {}
        client.flush()?;
        self.listen(client)
    }

    fn listen(&mut self, client: &mut Client) -> Result<(), ClientError> {
        let mut event = client.wait(Duration::from_millis(200))?;
        while let Some(found) = event {
            self.on_event(found);
            event = client.poll()?;
        }
        Ok(())
    }

    /// Queues one message; whether there was room.
    fn send_next(&mut self, client: &mut Client) -> Result<bool, ClientError> {
        if let Some(order) = self.again.pop() {
            self.ledger.resent += 1;
            return self.send(client, &order, order.client_order_id.0);
        }
        let choice = self.random.random_range(0..100);
        let (cancels, replaces) = if self.live.len() < LIVE {
            (15, 30)
        } else {
            (50, 65)
        };
        if choice < cancels && !self.live.is_empty() {
            let name = self.name();
            let cancel = CancelOrder {
                request: ClientOrderId(name),
                order: self.any_live(),
                instrument: InstrumentId(1),
                ..CancelOrder::blank()
            };
            return self.send(client, &cancel, name);
        }
        if choice < replaces && !self.live.is_empty() {
            let name = self.name();
            let replace = ReplaceOrder {
                client_order_id: ClientOrderId(name),
                order: self.any_live(),
                price: Price(self.random.random_range(240..=260) * 10_000),
                quantity: Quantity(self.random.random_range(1..=60)),
                instrument: InstrumentId(1),
                ..ReplaceOrder::blank()
            };
            return self.send(client, &replace, name);
        }
        let name = self.name();
        let order = self.new_order(name);
        self.send(client, &order, name)
    }

    /// Prices of both sides overlap in the middle, so that orders rest and cross.
    fn new_order(&mut self, name: u64) -> NewOrder {
        let firm = 2 - self.ledger.session.0 % 2;
        let (side, cents) = match self.random.random_bool(0.5) {
            true => (Side::Buy, self.random.random_range(240..=252)),
            false => (Side::Sell, self.random.random_range(248..=260)),
        };
        let immediate = self.random.random_range(0..6) == 0;
        let time_in_force = match immediate {
            true => TimeInForce::ImmediateOrCancel,
            false => TimeInForce::GoodTillCancelled,
        };
        NewOrder {
            client_order_id: ClientOrderId(name),
            price: Price(cents * 10_000),
            quantity: Quantity(self.random.random_range(1..=50)),
            account: AccountId(firm * 100),
            instrument: InstrumentId(1),
            side: side.into(),
            order_type: OrderType::Limit.into(),
            time_in_force: time_in_force.into(),
            ..NewOrder::blank()
        }
    }

    fn name(&mut self) -> u64 {
        self.names += 1;
        u64::from(self.ledger.session.0) << 32 | self.names
    }

    fn any_live(&mut self) -> OrderId {
        let place = self.random.random_range(0..self.live.len());
        self.live[place]
    }

    fn send<M: Message>(
        &mut self,
        client: &mut Client,
        command: &M,
        name: u64,
    ) -> Result<bool, ClientError> {
        let sequence = match client.queue(command) {
            Ok(sequence) => sequence,
            Err(ClientError::Backlog) => return Ok(false),
            Err(error) => return Err(error),
        };
        let place = self.ledger.sent.len();
        assert_eq!(sequence.0 as usize, place + 1, "numbers have no gap");
        let mut bytes: [u8; 64] = command.bytes().try_into().unwrap();
        bytes[8..12].copy_from_slice(&self.ledger.session.0.to_le_bytes());
        bytes[12..16].copy_from_slice(&sequence.0.to_le_bytes());
        let (life, fate) = (self.life, Fate::Silent);
        self.ledger.sent.push(Sent { bytes, life, fate });
        self.by_name.insert(name, place);
        self.open += 1;
        self.arena.moment();
        Ok(true)
    }

    fn on_event(&mut self, event: ClientEvent<'_>) {
        match event {
            ClientEvent::Report(report) => {
                self.ledger.told.push(report.bytes().to_vec());
                self.on_report(&report);
                self.arena.moment();
            }
            ClientEvent::NotApplied { from, count } => {
                for sequence in from.0..from.0 + count {
                    self.settle(MessageSequence(sequence), Fate::NotApplied);
                }
            }
            ClientEvent::Busy { sequence } => self.settle(sequence, Fate::Busy),
            ClientEvent::Established { .. } => {}
            ClientEvent::Terminated { code, detail } => {
                panic!("session {}: ended, {code:?} {detail}", self.ledger.session)
            }
        }
    }

    fn on_report(&mut self, report: &Report<'_>) {
        if report.read::<SequenceGap>().is_some() {
            // What it names is told as not applied, once, which may have been before.
            return;
        }
        let answered = Fate::Answered(self.life);
        match report.typed() {
            Told::Accepted(it) => {
                self.settle(it.client_sequence, answered);
                if it.time_in_force.decode() == Some(TimeInForce::GoodTillCancelled) {
                    self.live.push(it.order);
                }
            }
            Told::Rejected(it) => self.settle(it.client_sequence, answered),
            Told::Replaced(it) => self.settle_name(it.client_order_id.0, answered),
            Told::Cancelled(it) => {
                self.gone(it.order);
                if it.request.0 != 0 {
                    self.settle_name(it.request.0, answered);
                }
            }
            Told::Filled(it) if it.leaves.0 == 0 => self.gone(it.order),
            // What was lost is told as not applied, too.
            Told::Filled(_) | Told::Gap(_) => {}
            other => panic!("nobody asked for this: {other:?}"),
        }
    }

    fn gone(&mut self, order: OrderId) {
        if let Some(place) = self.live.iter().position(|live| *live == order) {
            self.live.swap_remove(place);
        }
    }

    fn settle_name(&mut self, name: u64, fate: Fate) {
        let place = self.by_name[&name];
        let sequence = u32::try_from(place + 1).unwrap();
        self.settle(MessageSequence(sequence), fate);
    }

    /// Notes the fate of a message: it has one.
    fn settle(&mut self, sequence: MessageSequence, fate: Fate) {
        let sent = &mut self.ledger.sent[sequence.0 as usize - 1];
        let session = self.ledger.session;
        assert_eq!(
            sent.fate,
            Fate::Silent,
            "session {session}, {sequence}: now {fate:?}"
        );
        sent.fate = fate;
        self.open -= 1;
        let lost = matches!(fate, Fate::NotApplied | Fate::Busy);
        if let Some(order) = NewOrder::read(&sent.bytes)
            && lost
            && self.random.random_bool(0.5)
        {
            self.again.push(order);
        }
    }
}
