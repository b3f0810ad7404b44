//! One client of the torture: trades through whatever happens to the nodes, and writes down everything.
//!
//! A thread each, over the library's client, which finds the leader by itself.
//!
//! Always holds: a message is written down before it leaves, and a report before anything else is done; an
//! order that was told as not applied may be sent again under its name and a new number, so that an untrue
//! word shows as a second acceptance.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use exahour_gateway::client::TypedReport as Told;
use exahour_gateway::client::{Client, ClientConfig, ClientError, ClientEvent, Report};
use exahour_gateway::credentials::Key;
use exahour_wire::codes::{OrderType, Side, TerminationCode, TimeInForce};
use exahour_wire::ids::{
    AccountId, ClientOrderId, InstrumentId, OrderId, SessionId, SessionVersion,
};
use exahour_wire::message::Message;
use exahour_wire::orders::{CancelOrder, NewOrder};
use exahour_wire::units::{Price, Quantity};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::diary::{Diary, answered};
use super::load::Load;
use crate::exit::finding;

/// Messages sent and not answered, at most.
const WINDOW: usize = 32;

/// Orders that a client leaves in the book, about.
const LIVE: usize = 100;

/// The version of every session, in all lives of the nodes.
pub(super) const VERSION: SessionVersion = SessionVersion(77);

/// How long a client may look for a leader: longer than any round keeps all nodes from having one.
const FIND_WITHIN: Duration = Duration::from_secs(400);

/// Who trades, and where.
pub(super) struct Seat {
    pub(super) session: SessionId,
    pub(super) key: Key,
    pub(super) nodes: Vec<SocketAddr>,
    pub(super) seed: u64,
    /// The time from one message to the next.
    pub(super) pace: Duration,
}

/// A message on its way.
struct Open {
    sent_at: Instant,
    /// None for a cancel.
    order: Option<NewOrder>,
}

struct Trader<'a> {
    load: &'a Load,
    seat: &'a Seat,
    diary: Diary,
    random: ChaCha8Rng,
    /// By number, from 1; none where it is answered.
    sent: Vec<Option<Open>>,
    open: usize,
    live: Vec<OrderId>,
    again: Vec<NewOrder>,
    next_at: Instant,
}

/// Trades until told to stop, then until everything is answered.
///
/// # Errors
/// Where the client can go on no more, or the diary cannot be written.
pub(super) fn trade(load: &Load, seat: &Seat, diary: &Path) -> Result<()> {
    let mut config = ClientConfig::new(seat.session, seat.key.clone());
    config.version = Some(VERSION);
    config.nodes.clone_from(&seat.nodes);
    config.failover_timeout = FIND_WITHIN;
    config.connect_timeout = Duration::from_secs(1);
    let mut client = Client::connect(seat.nodes[0], config)
        .with_context(|| format!("session {} cannot log on", seat.session))?;
    let mut trader = Trader {
        load,
        seat,
        diary: Diary::create(diary)?,
        random: ChaCha8Rng::seed_from_u64(seat.seed ^ u64::from(seat.session.0) << 32),
        sent: Vec::new(),
        open: 0,
        live: Vec::new(),
        again: Vec::new(),
        next_at: Instant::now(),
    };
    while !(load.stopping() && trader.open == 0) {
        load.check_abandoned()?;
        if !load.stopping() {
            trader.send_due(&mut client)?;
        }
        trader.listen(&mut client)?;
    }
    // Nobody sends any more once all are here: the answer to one more message is the last report.
    load.gather()?;
    while !trader.send_last(&mut client)? {
        load.check_abandoned()?;
        trader.listen(&mut client)?;
    }
    while trader.open > 0 {
        load.check_abandoned()?;
        trader.listen(&mut client)?;
    }
    trader.diary.note("done")?;
    client.disconnect();
    Ok(())
}

impl Trader<'_> {
    /// Sends what is due, as far as the window allows.
    fn send_due(&mut self, client: &mut Client) -> Result<()> {
        let now = Instant::now();
        let hurrying = self.load.hurrying();
        while self.open < WINDOW && (hurrying || self.next_at <= now) && client.is_established() {
            if !self.send_next(client)? {
                break;
            }
            self.next_at = self.next_at.min(now) + self.seat.pace;
        }
        // What was not sent in an outage is not made up for all at once.
        self.next_at = self.next_at.max(now);
        self.flush(client)
    }

    fn flush(&self, client: &mut Client) -> Result<()> {
        match client.flush() {
            // The next event tells what became of the connection.
            Ok(()) | Err(ClientError::Disconnected { .. }) => Ok(()),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn failed(&self, error: &ClientError) -> anyhow::Error {
        anyhow!("session {}: {error}", self.seat.session)
    }

    /// Writes the last message of all; whether it could be sent.
    fn send_last(&mut self, client: &mut Client) -> Result<bool> {
        if !client.is_established() {
            return Ok(false);
        }
        let last = CancelOrder {
            instrument: InstrumentId(1),
            order: OrderId(u64::MAX),
            ..CancelOrder::blank()
        };
        let sent = self.send(client, &last, None)?;
        self.flush(client)?;
        Ok(sent)
    }

    /// Queues one message; whether there was room.
    fn send_next(&mut self, client: &mut Client) -> Result<bool> {
        if let Some(order) = self.again.pop() {
            return self.send(client, &order, Some(order));
        }
        let sequence = client.position().next_sequence.0;
        let name = ClientOrderId(u64::from(self.seat.session.0) << 32 | u64::from(sequence));
        let cancels = if self.live.len() < LIVE { 20 } else { 60 };
        if !self.live.is_empty() && self.random.random_range(0..100) < cancels {
            let place = self.random.random_range(0..self.live.len());
            let cancel = CancelOrder {
                request: name,
                order: self.live[place],
                instrument: InstrumentId(1),
                ..CancelOrder::blank()
            };
            return self.send(client, &cancel, None);
        }
        let order = self.new_order(name);
        self.send(client, &order, Some(order))
    }

    /// Prices of both sides overlap in the middle, so that orders rest and cross.
    fn new_order(&mut self, name: ClientOrderId) -> NewOrder {
        let firm = 2 - self.seat.session.0 % 2;
        let (side, cents) = match self.random.random_bool(0.5) {
            true => (Side::Buy, self.random.random_range(240..=252)),
            false => (Side::Sell, self.random.random_range(248..=260)),
        };
        let time_in_force = match self.random.random_range(0..6) {
            0 => TimeInForce::ImmediateOrCancel,
            _ => TimeInForce::GoodTillCancelled,
        };
        NewOrder {
            client_order_id: name,
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

    fn send<M: Message>(
        &mut self,
        client: &mut Client,
        command: &M,
        order: Option<NewOrder>,
    ) -> Result<bool> {
        let sequence = match client.queue(command) {
            Ok(sequence) => sequence.0,
            Err(ClientError::Backlog | ClientError::Disconnected { .. }) => return Ok(false),
            Err(error) => return Err(self.failed(&error)),
        };
        let mut bytes = command.bytes().to_vec();
        bytes[8..12].copy_from_slice(&self.seat.session.0.to_le_bytes());
        bytes[12..16].copy_from_slice(&sequence.to_le_bytes());
        // It is only queued: nothing has left yet.
        self.diary.sent(sequence, &bytes)?;
        let sent_at = Instant::now();
        self.sent.push(Some(Open { sent_at, order }));
        if self.sent.len() != sequence as usize {
            bail!(
                "session {}: number {sequence} was given out of order",
                self.seat.session
            );
        }
        self.open += 1;
        Ok(true)
    }

    /// Takes in what comes, and waits for it a little.
    fn listen(&mut self, client: &mut Client) -> Result<()> {
        let session = self.seat.session;
        let failed = |error: ClientError| anyhow!("session {session}: {error}");
        let mut event = client.wait(Duration::from_millis(5)).map_err(failed)?;
        while let Some(found) = event {
            self.on_event(found)?;
            event = client.poll().map_err(failed)?;
        }
        Ok(())
    }

    fn on_event(&mut self, event: ClientEvent<'_>) -> Result<()> {
        match event {
            ClientEvent::Report(report) => {
                self.diary.told(report.bytes())?;
                self.on_report(&report)
            }
            ClientEvent::NotApplied { from, count } => {
                self.diary
                    .note(&format!("not-applied {} {count}", from.0))?;
                (from.0..from.0 + count).try_for_each(|sequence| self.lost(sequence))
            }
            ClientEvent::Busy { sequence } => {
                self.diary.note(&format!("busy {}", sequence.0))?;
                self.lost(sequence.0)
            }
            ClientEvent::Established { node } => self.diary.note(&format!("leader {node}")),
            // The connection before this one was cut off, and is ended by name only now.
            ClientEvent::Terminated { code, .. }
                if code.decode() == Some(TerminationCode::Superseded) =>
            {
                self.diary.note("superseded")
            }
            ClientEvent::Terminated { code, detail } => bail!(
                "session {}: the exchange ended it: {code:?} (detail {detail})",
                self.seat.session
            ),
        }
    }

    fn on_report(&mut self, report: &Report<'_>) -> Result<()> {
        match report.typed() {
            Told::Accepted(it)
                if it.time_in_force.decode() == Some(TimeInForce::GoodTillCancelled) =>
            {
                self.live.push(it.order);
            }
            Told::Cancelled(it) => self.gone(it.order),
            Told::Filled(it) if it.leaves.0 == 0 => self.gone(it.order),
            _ => {}
        }
        let Some(sequence) = answered(report.bytes()) else {
            return Ok(());
        };
        let open = self.settle(sequence)?;
        self.load.on_answer(open.sent_at);
        Ok(())
    }

    fn gone(&mut self, order: OrderId) {
        if let Some(place) = self.live.iter().position(|live| *live == order) {
            self.live.swap_remove(place);
        }
    }

    /// A message was not applied: whether its order is still wanted is for us to say.
    fn lost(&mut self, sequence: u32) -> Result<()> {
        let open = self.settle(sequence)?;
        if let Some(order) = open.order
            && self.random.random_bool(0.5)
        {
            self.again.push(order);
        }
        Ok(())
    }

    /// A message has its answer; it has one.
    fn settle(&mut self, sequence: u32) -> Result<Open> {
        let place = (sequence as usize).wrapping_sub(1);
        let open = self.sent.get_mut(place).and_then(Option::take);
        self.open = self.open.saturating_sub(1);
        open.ok_or_else(|| {
            finding(anyhow!(
                "session {}: message {sequence} is answered twice, or was never sent",
                self.seat.session
            ))
        })
    }
}
