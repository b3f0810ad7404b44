//! A session over TCP, as its user sees it.
//!
//! Called by settlement, tools, load generators and tests.
//!
//! Always holds: no call but `connect`, `resume`, `reconnect`, `terminate` and `wait` blocks; a poll costs
//! at most one write, and one read unless what it reads is no event.
//! Does not: decide where to connect and log on next (that is `logon`).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use exahour_wire::ids::{MessageSequence, SessionVersion};
use exahour_wire::message::Message;
use exahour_wire::record::command_bytes;
use exahour_wire::units::Nanos;

use super::config::ClientConfig;
use super::core::{Core, Found, Now, Phase};
use super::error::ClientError;
use super::event::{ClientEvent, Report};
use super::logon::Stage;
use super::route::Route;
use crate::clock::{Clock, Steady, SystemClock};
use crate::dial::{Channel, Dial, SystemDial};
use crate::net::Written;

/// Steps of a logon, each of which may take the connect timeout: those of being sent on included.
const STEPS_MAX: u64 = 16;

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
    pub(super) clock: C,
    pub(super) core: Core,
    pub(super) dial: Box<dyn Dial>,
    pub(super) channel: Option<Box<dyn Channel>>,
    /// Whether anything came on the present connection.
    pub(super) is_heard: bool,
    pub(super) stage: Stage,
    pub(super) route: Route,
    /// Whether the exchange has taken this client's version.
    pub(super) is_negotiated: bool,
    /// Whether a version was asked for, and whether it is the one asked for again.
    pub(super) asks: bool,
    pub(super) has_asked: bool,
    pub(super) redirects_left: u8,
    /// Whether it looks for the leader by itself.
    pub(super) fails_over: bool,
    pub(super) gives_up_at: Steady,
    pub(super) connect_timeout: Nanos,
    pub(super) failover_timeout: Nanos,
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
        let dial = Box::new(SystemDial);
        let mut client = Self::apart(dial, SystemClock::default(), address, config);
        let (sent, reported) = (position.next_sequence.0, position.next_report.0);
        client.core.resume(position.version, sent, reported);
        client.is_negotiated = true;
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
        let mut client = Self::begin(Box::new(SystemDial), clock, address, config);
        client.await_open()?;
        Ok(client)
    }

    /// A client that logs on while it is polled, through any network: nothing has happened yet, and
    /// [`ClientEvent::Established`] says when it has.
    #[must_use]
    pub fn begin(dial: Box<dyn Dial>, clock: C, address: SocketAddr, config: ClientConfig) -> Self {
        let mut client = Self::apart(dial, clock, address, config);
        let now = client.now();
        client.seek(now);
        client
    }

    fn apart(dial: Box<dyn Dial>, clock: C, address: SocketAddr, config: ClientConfig) -> Self {
        Self {
            clock,
            dial,
            channel: None,
            is_heard: false,
            stage: Stage::Resting,
            route: Route::new(address, &config.nodes),
            is_negotiated: false,
            asks: false,
            has_asked: false,
            redirects_left: 0,
            fails_over: !config.nodes.is_empty(),
            gives_up_at: Steady::default(),
            connect_timeout: nanos(config.connect_timeout),
            failover_timeout: nanos(config.failover_timeout),
            core: Core::new(config),
        }
    }

    /// Connects again and goes on with the same version: reports that were missed follow, and
    /// messages that were lost are told as not applied. It may be called until it succeeds.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn reconnect(&mut self) -> Result<(), ClientError> {
        let now = self.now();
        self.route.reset();
        self.seek(now);
        self.await_open()
    }

    /// As [`Client::reconnect`], without waiting: it logs on while it is polled, and
    /// [`ClientEvent::Established`] says when it has.
    pub fn begin_again(&mut self) {
        let now = self.now();
        self.route.reset();
        self.seek(now);
    }

    /// As [`Client::reconnect`], at another address: a node that started anew elsewhere.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn reconnect_to(&mut self, address: SocketAddr) -> Result<(), ClientError> {
        // Whoever was named as the leader before counts for less.
        self.hang_up();
        self.route.set_first(address);
        self.reconnect()
    }

    /// Waits until the flow is open.
    fn await_open(&mut self) -> Result<(), ClientError> {
        // A clock that stands still gives up nowhere; each step looks at it first.
        let span = if self.fails_over {
            self.failover_timeout.after(self.connect_timeout)
        } else {
            Nanos(self.connect_timeout.0.saturating_mul(STEPS_MAX))
        };
        let until = Instant::now() + Duration::from_nanos(span.0);
        while self.stage != Stage::Open {
            let found = self.find_or_wait(until)?;
            if found.is_none() && self.stage != Stage::Open {
                self.disconnect();
                let waiting_for = "logging on";
                return Err(ClientError::Timeout { waiting_for });
            }
        }
        Ok(())
    }

    /// Drops the connection without a word; the session can be taken up again.
    pub fn disconnect(&mut self) {
        self.hang_up();
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
            let Some(channel) = &mut self.channel else {
                return Err(gone("not connected"));
            };
            match channel.try_write(self.core.outbox.front()) {
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
        // From here on a connection that breaks is the end, too.
        self.stage = Stage::Resting;
        let outcome = self.await_termination();
        // However it ended: what was passed over has not been given out.
        self.disconnect();
        let (sent, reported) = (position.next_sequence.0, position.next_report.0);
        self.core.resume(position.version, sent, reported);
        self.core.restore_lost(&lost);
        outcome
    }

    fn await_termination(&mut self) -> Result<(), ClientError> {
        let until = Instant::now() + Duration::from_nanos(self.connect_timeout.0);
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
            Found::Negotiated => return None,
            Found::Established => ClientEvent::Established {
                node: self.route.current(),
            },
            Found::Report(prefix, place) => {
                ClientEvent::Report(Report::new(self.core.bytes_at(place), prefix))
            }
            Found::NotApplied(from, count) => ClientEvent::NotApplied { from, count },
            Found::Busy(sequence) => ClientEvent::Busy { sequence },
            Found::Terminated(code, detail) => ClientEvent::Terminated { code, detail },
        })
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
            let pause = left.min(self.patience(now));
            match &mut self.channel {
                Some(channel) => {
                    let slept = channel.wait(pause);
                    slept.map_err(|error| gone(&error.to_string()))?;
                }
                // Between two attempts.
                None => std::thread::sleep(pause),
            }
        }
    }

    #[inline]
    pub(super) fn now(&mut self) -> Now {
        Now {
            utc: self.clock.now(),
            steady: self.clock.steady(),
        }
    }

    /// How long to sleep at most; at least a moment, so that a clock that stands still is no spin.
    fn patience(&self, now: Now) -> Duration {
        const MOMENT: Duration = Duration::from_millis(1);
        let due = match self.stage {
            Stage::Seeking => self.route.ready_at().since(now.steady),
            Stage::LoggingOn(_, until) => until.since(now.steady),
            Stage::Resting | Stage::Open => self.core.patience(now),
        };
        Duration::from_nanos(due.0).max(MOMENT)
    }
}

fn nanos(span: Duration) -> Nanos {
    Nanos(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
}

pub(super) fn gone(reason: &str) -> ClientError {
    ClientError::Disconnected {
        reason: reason.to_string(),
    }
}
