//! A simulated trader who uses the client library, as its users do: it finds the leader by itself.
//!
//! Turned by the cluster, beside clients that speak the protocol by themselves (`Client`). What the library
//! tells is written down as those do it, and judged in the same way.
//!
//! Always holds: the library gives every report once and in order, and names every message that was not
//! applied once: anything else is a violation.

mod dial;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use exahour_gateway::client::{Client, ClientConfig, ClientError, ClientEvent};
use exahour_gateway::net::Net;
use exahour_wire::codes::{CancelOnDisconnect, EstablishmentRejectCode};
use exahour_wire::ids::SessionVersion;
use exahour_wire::message::{HEADER_BYTES, Message};
use exahour_wire::orders::{CancelOrder, MassQuote, NewOrder, ReplaceOrder};
use exahour_wire::units::{Millis, Nanos};

use super::workload::Workload;
use super::{Manners, Trader, VersionTold, Violation};
use crate::chance::{Chance, Stream};
use crate::clock::{ClockHands, Drift, NodeClock};
use crate::net::HostId;
use crate::tally::Tally;
use crate::trace::{Happening, Trace};
use dial::SimDial;

/// How long the library looks for the leader before it gives up; then it is asked again.
const FAILOVER_MAX: Duration = Duration::from_secs(3);

/// How long nothing has come where nothing more is expected.
const SILENCE: Nanos = Nanos(1_000_000_000);

/// Events that are taken in a turn.
const EVENTS_A_TURN: usize = 16;

const BUFFER_BYTES: usize = 16 << 10;

/// A trader.
#[derive(Debug)]
pub(crate) struct User {
    host: HostId,
    chance: Chance,
    trace: Trace,
    manners: Manners,
    workload: Workload,
    hands: ClockHands,
    client: Client<NodeClock>,
    told: [VersionTold; 1],
    /// Messages that the library has named as not applied.
    named: BTreeSet<u32>,
    /// How often it has logged on.
    logons: u64,
    heard_at: Nanos,
    next_at: Nanos,
    is_done: bool,
}

impl User {
    /// A trader on a host of its own.
    ///
    /// # Errors
    /// The network refuses it a port.
    pub(crate) fn new(
        (seed, host): (u64, HostId),
        (net, nodes): (&dyn Net, &[SocketAddr]),
        trader: Trader,
        manners: Manners,
        trace: Trace,
    ) -> Result<Self, Violation> {
        let mut chance = Chance::new(seed, Stream::Client, host.0 as u64);
        let hands = ClockHands::new(Nanos(0), Drift(0));
        let first = chance.below(nodes.len());
        let workload = Workload::new(&trader);
        let config = ClientConfig {
            keep_alive: manners.keep_alive,
            cancel_mode: match chance.below(4) {
                0 => CancelOnDisconnect::Both,
                1 => CancelOnDisconnect::OnDisconnect,
                _ => CancelOnDisconnect::None,
            },
            cancel_grace: Millis(chance.below(2_000) as u32),
            connect_timeout: Duration::from_secs(1),
            nodes: nodes.to_vec(),
            failover_timeout: FAILOVER_MAX,
            outbox_bytes: BUFFER_BYTES,
            inbox_bytes: BUFFER_BYTES,
            held_bytes: BUFFER_BYTES,
            ..ClientConfig::new(trader.session, trader.key)
        };
        let dial = Box::new(SimDial::new(host, net)?);
        Ok(Self {
            host,
            chance,
            trace,
            manners,
            workload,
            client: Client::begin(dial, hands.clock(), nodes[first], config),
            hands,
            told: [VersionTold::new(trader.session, SessionVersion::NONE)],
            named: BTreeSet::new(),
            logons: 0,
            heard_at: Nanos(0),
            next_at: Nanos(0),
            is_done: false,
        })
    }

    /// Everything that it was told.
    pub(crate) fn versions(&self) -> &[VersionTold] {
        &self.told
    }

    /// From now on it sends nothing new.
    pub(crate) fn be_done(&mut self) {
        self.is_done = true;
    }

    pub(crate) fn host(&self) -> HostId {
        self.host
    }

    /// Adds what has happened to it.
    pub(crate) fn count(&self, tally: &mut Tally) {
        tally.reconnections += self.logons.saturating_sub(1);
        tally.told_by_library += self.told[0].reports.len() as u64;
    }

    /// Whether it has a session now, and has heard nothing more for a while.
    pub(crate) fn is_settled(&self, now: Nanos) -> bool {
        self.client.is_established() && now > self.heard_at.after(SILENCE)
    }

    /// When it wants to do something next, if nothing comes.
    pub(crate) fn next_at(&self) -> Nanos {
        self.next_at
    }

    /// One turn; gives how much there was to do.
    ///
    /// # Errors
    /// What the library must not tell, or must not fail for.
    pub(crate) fn turn(&mut self, now: Nanos) -> Result<usize, Violation> {
        self.hands.turn_to(now);
        let mut work = 0;
        while work < EVENTS_A_TURN && self.hear(now)? {
            work += 1;
        }
        Ok(work + self.act(now)?)
    }

    /// Takes one event; whether there was one.
    fn hear(&mut self, now: Nanos) -> Result<bool, Violation> {
        let (told, trace, host) = (&mut self.told[0], &self.trace, self.host);
        let note = |what, number| trace.note(Happening::Told(host, what, number));
        let event = match self.client.poll() {
            Ok(Some(event)) => event,
            Ok(None) => return Ok(false),
            Err(error) => return self.on_error(&error).map(|()| true),
        };
        self.heard_at = now;
        match event {
            ClientEvent::Report(report) => {
                let number = report.prefix().sequence.0;
                if number != told.next_report() {
                    return Err(format!(
                        "the library gives report {number} where {} is the next",
                        told.next_report()
                    ));
                }
                note("report", number);
                told.on_report(report.prefix(), report.bytes())?;
            }
            ClientEvent::NotApplied { from, count } => {
                let numbers = from.0..from.0.saturating_add(count);
                note("not applied before", numbers.end);
                told.on_not_applied(numbers.clone())?;
                for number in numbers {
                    if !self.named.insert(number) {
                        return Err(format!("the library names message {number} twice"));
                    }
                }
            }
            ClientEvent::Busy { sequence } => {
                note("busy", sequence.0);
                told.busy.push(sequence.0);
                if !self.named.insert(sequence.0) {
                    return Err(format!("the library names message {} twice", sequence.0));
                }
            }
            ClientEvent::Established { .. } => return self.on_established().map(|()| true),
            ClientEvent::Terminated { .. } => {
                note("the end", 0);
                self.client.begin_again();
            }
        }
        Ok(true)
    }

    fn on_established(&mut self) -> Result<(), Violation> {
        let told = &mut self.told[0];
        let version = self.client.position().version;
        if told.opened && told.version != version {
            return Err("the library has begun another version by itself".to_owned());
        }
        (told.opened, told.version) = (true, version);
        self.logons += 1;
        self.trace.note(Happening::Told(
            self.host,
            "established",
            self.logons as u32,
        ));
        Ok(())
    }

    /// The library gives up: it is asked again, unless it must not have.
    fn on_error(&mut self, error: &ClientError) -> Result<(), Violation> {
        let fine = match error {
            ClientError::Connect { .. }
            | ClientError::Disconnected { .. }
            | ClientError::Timeout { .. }
            | ClientError::Terminated { .. }
            | ClientError::NegotiationRefused { .. } => true,
            ClientError::EstablishmentRefused { code, .. } => !matches!(
                code.decode(),
                Some(EstablishmentRejectCode::Sequence | EstablishmentRejectCode::Unnegotiated)
            ),
            _ => false,
        };
        if !fine {
            return Err(format!("the library fails: {error}"));
        }
        self.trace.note(Happening::Told(self.host, "it failed", 0));
        self.client.begin_again();
        Ok(())
    }

    /// Sends what is due.
    fn act(&mut self, now: Nanos) -> Result<usize, Violation> {
        if self.is_done || now < self.next_at || !self.client.is_established() {
            return Ok(0);
        }
        let (least, most) = self.manners.pause;
        self.next_at = now.after(self.chance.span(least, most));
        let count = 1 + self.chance.below(self.manners.burst);
        for _ in 0..count {
            let mut command = self.workload.next(&mut self.chance);
            let Some(number) = self.send(&command) else {
                break;
            };
            let told = &mut self.told[0];
            if number != told.next_sequence() {
                return Err(format!(
                    "the library gives number {number} where {} is the next",
                    told.next_sequence()
                ));
            }
            let place = HEADER_BYTES;
            command[place..place + 4].copy_from_slice(&told.session.0.to_le_bytes());
            command[place + 4..place + 8].copy_from_slice(&number.to_le_bytes());
            told.sent.push(command);
            self.trace.note(Happening::Sent(self.host, number));
        }
        if self.chance.happens(self.manners.breaks_off) {
            self.client.begin_again();
        }
        Ok(1)
    }

    /// Sends a command; its number, where one was given out.
    fn send(&mut self, command: &[u8]) -> Option<u32> {
        let sent = if let Some(order) = NewOrder::read(command) {
            self.client.send(&order)
        } else if let Some(cancel) = CancelOrder::read(command) {
            self.client.send(&cancel)
        } else if let Some(quotes) = MassQuote::read(command) {
            self.client.send(&quotes)
        } else {
            self.client.send(&ReplaceOrder::read(command)?)
        };
        sent.ok().map(|number| number.0)
    }
}
