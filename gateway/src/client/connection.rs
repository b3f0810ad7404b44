//! A session over TCP, as its user sees it.
//!
//! Called by settlement, tools, load generators and tests.
//!
//! Always holds: no call but `connect`, `reconnect`, `terminate` and `wait` blocks; a poll costs at
//! most one write, and one read unless what it reads is no event.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use exahour_wire::codes::EstablishmentRejectCode;
use exahour_wire::ids::{MessageSequence, SessionVersion};
use exahour_wire::message::Message;
use exahour_wire::record::command_bytes;

use super::config::ClientConfig;
use super::core::{Core, Found, Now, Phase};
use super::error::ClientError;
use super::event::{ClientEvent, Report};
use crate::clock::{Clock, SystemClock};
use crate::net::{Received, Written};
use crate::sockets::ClientSocket;

/// How far a session has come: enough to take it up again in another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionPosition {
    /// The version.
    pub version: SessionVersion,
    /// The number of the next message to send.
    pub next_sequence: MessageSequence,
    /// The number of the next report to come.
    pub next_report: MessageSequence,
}

/// A client of the exchange.
///
/// ```no_run
/// # use exahour_gateway::client::{Client, ClientConfig, ClientEvent};
/// # use exahour_gateway::credentials::Key;
/// # use exahour_wire::{ids::SessionId, message::Message, orders::NewOrder};
/// let config = ClientConfig::new(SessionId(7), Key::new([1; 32]));
/// let mut client = Client::connect("127.0.0.1:9001".parse()?, config)?;
/// client.send(&NewOrder { ..NewOrder::blank() })?;
/// if let Some(ClientEvent::Report(report)) = client.wait(std::time::Duration::from_secs(1))? {
///     println!("{:?}", report.typed());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Client<C = SystemClock> {
    address: SocketAddr,
    connect_timeout: Duration,
    clock: C,
    core: Core,
    socket: Option<ClientSocket>,
}

impl Client {
    /// Connects, negotiates a new version and establishes it.
    ///
    /// # Errors
    /// [`ClientError::Connect`], [`ClientError::NegotiationRefused`],
    /// [`ClientError::EstablishmentRefused`], [`ClientError::Timeout`] or how else it ended.
    pub fn connect(address: SocketAddr, config: ClientConfig) -> Result<Self, ClientError> {
        Self::connect_by(SystemClock::default(), address, config)
    }

    /// Connects and establishes a version that was negotiated before, also by another process.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn resume(
        address: SocketAddr,
        config: ClientConfig,
        position: SessionPosition,
    ) -> Result<Self, ClientError> {
        let mut client = Self::apart(SystemClock::default(), address, config);
        let (sent, reported) = (position.next_sequence.0, position.next_report.0);
        client.core.resume(position.version, sent, reported);
        client.reconnect()?;
        Ok(client)
    }
}

impl<C: Clock> Client<C> {
    /// As [`Client::connect`], by another clock.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn connect_by(
        clock: C,
        address: SocketAddr,
        config: ClientConfig,
    ) -> Result<Self, ClientError> {
        let mut client = Self::apart(clock, address, config);
        client.dial()?;
        let now = client.now();
        client.core.negotiate(now)?;
        client.await_phase(Phase::Negotiated, "negotiating")?;
        client.establish()?;
        Ok(client)
    }

    fn apart(clock: C, address: SocketAddr, config: ClientConfig) -> Self {
        Self {
            address,
            connect_timeout: config.connect_timeout,
            clock,
            core: Core::new(config),
            socket: None,
        }
    }

    /// Connects again and goes on with the same version: reports that were missed follow, and
    /// messages that were lost are told as not applied. It may be called until it succeeds.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn reconnect(&mut self) -> Result<(), ClientError> {
        self.dial()?;
        let now = self.now();
        self.core.probe(now)?;
        match self.await_phase(Phase::Established, "asking where the session stands") {
            Err(ClientError::EstablishmentRefused { code, expected, .. })
                if code.decode() == Some(EstablishmentRejectCode::Sequence) =>
            {
                self.core.on_probed(expected);
            }
            other => return other,
        }
        self.establish()
    }

    /// As [`Client::reconnect`], at another address: a cluster's new leader.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn reconnect_to(&mut self, address: SocketAddr) -> Result<(), ClientError> {
        self.address = address;
        self.reconnect()
    }

    fn dial(&mut self) -> Result<(), ClientError> {
        self.disconnect();
        let address = self.address;
        let socket = ClientSocket::connect(address, self.connect_timeout)
            .map_err(|source| ClientError::Connect { address, source })?;
        self.socket = Some(socket);
        Ok(())
    }

    fn establish(&mut self) -> Result<(), ClientError> {
        let now = self.now();
        self.core.establish(now)?;
        self.await_phase(Phase::Established, "establishing")
    }

    fn await_phase(&mut self, phase: Phase, waiting_for: &'static str) -> Result<(), ClientError> {
        let until = Instant::now() + self.connect_timeout;
        while self.core.phase() != phase {
            match self.find_or_wait(until)? {
                None => return Err(ClientError::Timeout { waiting_for }),
                Some(Found::Terminated(code, detail)) => {
                    return Err(ClientError::Terminated { code, detail });
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Drops the connection without a word; the session can be taken up again.
    pub fn disconnect(&mut self) {
        self.socket = None;
        self.core.on_apart();
    }

    /// Where the session stands.
    #[must_use]
    pub fn position(&self) -> SessionPosition {
        let (version, next_sequence, next_report) = self.core.position();
        SessionPosition {
            version,
            next_sequence,
            next_report,
        }
    }

    /// Whether messages can be sent.
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.core.phase() == Phase::Established
    }

    /// Sends one command; session and sequence are filled in. Gives its number.
    ///
    /// A number that was given out is given, also where the connection breaks over it: the next call
    /// says so, and after [`Client::reconnect`] either its reports come or it is told as not applied.
    ///
    /// # Errors
    /// None of them gave out a number. [`ClientError::Backlog`] where the command does not fit behind what
    /// waits; [`ClientError::Disconnected`]; [`ClientError::VersionExhausted`] after the last number.
    ///
    /// # Panics
    /// As [`Client::queue`].
    #[inline]
    pub fn send<M: Message>(&mut self, command: &M) -> Result<MessageSequence, ClientError> {
        // A connection that is known to be broken takes no number.
        self.flush()?;
        let sequence = self.queue(command)?;
        let _ = self.flush();
        Ok(sequence)
    }

    /// Sends commands in one write, as far as they are taken; gives the number of the first and how many
    /// were taken, which may be fewer than asked.
    ///
    /// # Errors
    /// As [`Client::send`], where not even the first was taken.
    ///
    /// # Panics
    /// As [`Client::queue`].
    pub fn send_all<M: Message>(
        &mut self,
        commands: &[M],
    ) -> Result<(MessageSequence, usize), ClientError> {
        self.flush()?;
        let first = self.position().next_sequence;
        let mut count = 0;
        for command in commands {
            match self.queue(command) {
                Ok(_) => count += 1,
                Err(error) if count == 0 => return Err(error),
                // Whoever sends the rest is told why.
                Err(_) => break,
            }
        }
        let _ = self.flush();
        Ok((first, count))
    }

    /// Puts a command behind those that wait for [`Client::flush`]; gives its number.
    ///
    /// # Errors
    /// As [`Client::send`]; none of them gave out a number.
    ///
    /// # Panics
    /// If the message is not a command: the caller's fault.
    #[inline]
    pub fn queue<M: Message>(&mut self, command: &M) -> Result<MessageSequence, ClientError> {
        assert!(command_bytes(M::TEMPLATE_ID) == Some(M::BYTES));
        let now = self.now();
        self.core.queue(command.bytes(), now)
    }

    /// Writes what waits, as far as the connection takes it; the rest goes with later polls.
    ///
    /// # Errors
    /// [`ClientError::Disconnected`].
    #[inline]
    pub fn flush(&mut self) -> Result<(), ClientError> {
        while !self.core.outbox.front().is_empty() {
            let Some(socket) = &mut self.socket else {
                return Err(gone("not connected"));
            };
            match socket.try_write(self.core.outbox.front()) {
                Ok(Written::Bytes(count)) => self.core.outbox.sent(count),
                Ok(Written::Nothing) => break,
                Ok(Written::Ended) => return Err(gone("closed by the exchange")),
                Err(error) => return Err(gone(&error.to_string())),
            }
        }
        Ok(())
    }

    /// The next event, without waiting.
    ///
    /// # Errors
    /// [`ClientError::Disconnected`], after everything received before has been given out;
    /// [`ClientError::RetransmissionRefused`], [`ClientError::Unreadable`], and
    /// [`ClientError::VersionExhausted`] where reports come that cannot be told apart any more.
    #[inline]
    pub fn poll(&mut self) -> Result<Option<ClientEvent<'_>>, ClientError> {
        match self.find()? {
            Some(found) => Ok(self.event(found)),
            None => Ok(None),
        }
    }

    /// The next event, waiting for it up to `timeout`.
    ///
    /// # Errors
    /// As [`Client::poll`].
    pub fn wait(&mut self, timeout: Duration) -> Result<Option<ClientEvent<'_>>, ClientError> {
        match self.find_or_wait(Instant::now() + timeout)? {
            Some(found) => Ok(self.event(found)),
            None => Ok(None),
        }
    }

    /// Ends the session in good order, and gives up after the connect timeout; reports that come
    /// meanwhile are passed over, and can be had again after `reconnect`.
    ///
    /// # Errors
    /// [`ClientError::Timeout`] and how else it can end.
    pub fn terminate(&mut self) -> Result<(), ClientError> {
        let now = self.now();
        let position = self.position();
        let lost = self.core.lost().clone();
        self.core.terminate(now)?;
        let outcome = self.await_termination();
        // However it ended: what was passed over has not been given out.
        self.disconnect();
        let (sent, reported) = (position.next_sequence.0, position.next_report.0);
        self.core.resume(position.version, sent, reported);
        self.core.restore_lost(&lost);
        outcome
    }

    fn await_termination(&mut self) -> Result<(), ClientError> {
        let until = Instant::now() + self.connect_timeout;
        loop {
            match self.find_or_wait(until)? {
                None => {
                    let waiting_for = "terminating";
                    return Err(ClientError::Timeout { waiting_for });
                }
                Some(Found::Terminated(..)) => return Ok(()),
                Some(_) => {}
            }
        }
    }

    fn event(&self, found: Found) -> Option<ClientEvent<'_>> {
        Some(match found {
            Found::Negotiated | Found::Established => return None,
            Found::Report(prefix, place) => {
                ClientEvent::Report(Report::new(self.core.bytes_at(place), prefix))
            }
            Found::NotApplied(from, count) => ClientEvent::NotApplied { from, count },
            Found::Busy(sequence) => ClientEvent::Busy { sequence },
            Found::Terminated(code, detail) => ClientEvent::Terminated { code, detail },
        })
    }

    #[inline]
    fn find(&mut self) -> Result<Option<Found>, ClientError> {
        let now = self.now();
        if let Some(found) = self.core.find(now)? {
            return Ok(Some(found));
        }
        self.core.on_time(now)?;
        // What was received may still say why nothing can be written any more.
        let flushed = self.flush();
        let Some(socket) = &mut self.socket else {
            return Err(gone("not connected"));
        };
        // Bytes that make no event may hide the end of the stream behind them, which is not
        // reported again: only a read that finds nothing may be followed by a sleep.
        loop {
            match socket.try_read(self.core.inbox.room()) {
                Ok(Received::Bytes(count)) => {
                    self.core.on_received(count, now);
                    if let Some(found) = self.core.find(now)? {
                        return Ok(Some(found));
                    }
                }
                Ok(Received::Nothing) => return flushed.map(|()| None),
                Ok(Received::Ended) => return Err(gone("closed by the exchange")),
                Err(error) => return Err(gone(&error.to_string())),
            }
        }
    }

    fn find_or_wait(&mut self, until: Instant) -> Result<Option<Found>, ClientError> {
        loop {
            if let Some(found) = self.find()? {
                return Ok(Some(found));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let now = self.now();
            let patience = self.patience(now);
            let Some(socket) = &mut self.socket else {
                return Err(gone("not connected"));
            };
            let slept = socket.wait(left.min(patience));
            slept.map_err(|error| gone(&error.to_string()))?;
        }
    }

    #[inline]
    fn now(&mut self) -> Now {
        Now {
            utc: self.clock.now(),
            steady: self.clock.steady(),
        }
    }

    /// How long to sleep at most; at least a moment, so that a clock that stands still is no spin.
    fn patience(&self, now: Now) -> Duration {
        const MOMENT: Duration = Duration::from_millis(1);
        Duration::from_nanos(self.core.patience(now).0).max(MOMENT)
    }
}

fn gone(reason: &str) -> ClientError {
    ClientError::Disconnected {
        reason: reason.to_string(),
    }
}
