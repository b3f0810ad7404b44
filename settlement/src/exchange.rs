//! The session with the exchange: sends what was recorded, and keeps the connection.
//!
//! Turned by `settle`.
//!
//! Always holds: a command is recorded under its number before its bytes leave; a number whose
//! command may have been applied is never given to another. Reports are passed over: what became
//! of a command is read from the event log, which no crash of either side can lose.
//! Does not: end the process when the node is away; it tries again, waiting longer each time.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use exahour_gateway::client::{Client, ClientConfig, ClientError, ClientEvent, SessionPosition};
use exahour_gateway::credentials::Keys;
use exahour_wire::codes::EstablishmentRejectCode;
use exahour_wire::ids::{ClientOrderId, MessageSequence, SessionId, SessionVersion};
use exahour_wire::message::{Ipv4, Message};
use exahour_wire::operations::{ConfirmDelivery, DeliveryFailed, DeliveryStarted};
use exahour_wire::units::Nanos;

use crate::database::{Command, CommandKind, Database, SessionRecord};
use crate::error::SettlementError;
use crate::obligation::Obligation;

/// Where a node listens unless it says otherwise.
const DEFAULT_NODE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7801);
/// The file in which a node says where it is reached.
const ADDRESSES_FILE: &str = "addresses.json";
/// Commands sent in one turn.
const SEND_MAX: usize = 64;
/// Events of the session taken in one turn.
const POLL_MAX: usize = 1_024;
/// How long connecting, and each step of the logon, may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Waits between attempts to connect: the first and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How long a message that was refused as busy waits.
const BUSY_WAIT: Nanos = Nanos(100_000_000);
/// How long an outcome may take before the session is asked where it stands.
const OUTCOME_PATIENCE: Duration = Duration::from_secs(10);

/// How the connection stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// Established.
    Up,
    /// Not; and why.
    Down(String),
}

/// What a turn did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    /// Nothing was there to do.
    Idle,
    /// Something.
    Worked,
    /// The connection was made anew: the node may be another.
    Connected,
}

/// The session with the exchange.
#[derive(Debug)]
pub struct Exchange {
    data: PathBuf,
    node: Option<SocketAddr>,
    session: SessionId,
    client: Option<Client>,
    down: String,
    retry_at: Instant,
    retry_wait: Duration,
    /// The exchange cannot go on with the version of before.
    anew: bool,
    /// When something was sent last whose outcome may be missing.
    sent_at: Option<Instant>,
}

/// What the exchange said, as far as it matters here.
#[derive(Debug)]
enum News {
    Nothing,
    /// What became of commands is read from the event log.
    Report,
    /// These messages were not applied; send what was in them no earlier than then.
    Missing(Range<u32>, Nanos),
    Over(ClientError),
}

impl News {
    fn of(event: Result<Option<ClientEvent<'_>>, ClientError>, now: Nanos) -> News {
        match event {
            Ok(None) => News::Nothing,
            Ok(Some(ClientEvent::Report(_) | ClientEvent::Established { .. })) => News::Report,
            Ok(Some(ClientEvent::NotApplied { from, count })) => {
                News::Missing(from.0..from.0.saturating_add(count), Nanos(0))
            }
            Ok(Some(ClientEvent::Busy { sequence })) => News::Missing(
                sequence.0..sequence.0.saturating_add(1),
                now.after(BUSY_WAIT),
            ),
            Ok(Some(ClientEvent::Terminated { code, detail })) => {
                News::Over(ClientError::Terminated { code, detail })
            }
            Err(error) => News::Over(error),
        }
    }
}

impl Exchange {
    /// A session that is not connected yet.
    ///
    /// # Errors
    /// [`SettlementError::Keys`], [`SettlementError::NoKey`].
    pub fn new(
        data: &Path,
        node: Option<SocketAddr>,
        session: SessionId,
    ) -> Result<Exchange, SettlementError> {
        let exchange = Exchange {
            data: data.to_path_buf(),
            node,
            session,
            client: None,
            down: String::from("not connected yet"),
            retry_at: Instant::now(),
            retry_wait: RETRY.0,
            anew: false,
            // What an earlier process sent may be open, too.
            sent_at: Some(Instant::now()),
        };
        exchange.config()?;
        Ok(exchange)
    }

    fn config(&self) -> Result<ClientConfig, SettlementError> {
        let path = self.data.join("keys");
        let keys = Keys::load(&path)?;
        let session = self.session;
        let key = keys
            .key_of(session)
            .ok_or(SettlementError::NoKey { session, path })?;
        let mut config = ClientConfig::new(session, key.clone());
        config.connect_timeout = PATIENCE;
        Ok(config)
    }

    /// Where the node is reached: as told, or as it has written down itself.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        if let Some(address) = self.node {
            return address;
        }
        let text = std::fs::read_to_string(self.data.join(ADDRESSES_FILE)).unwrap_or_default();
        let written: Option<serde_json::Value> = serde_json::from_str(&text).ok();
        let orders = written.as_ref().and_then(|it| it.get("orders")?.as_str());
        orders
            .and_then(|text| text.parse().ok())
            .unwrap_or(DEFAULT_NODE)
    }

    /// How the connection stands.
    #[must_use]
    pub fn link(&self) -> Link {
        match &self.client {
            Some(_) => Link::Up,
            None => Link::Down(self.down.clone()),
        }
    }

    /// Waits for news from the exchange, or for as long as there is no connection to wait on.
    ///
    /// # Errors
    /// The database's.
    pub fn wait(
        &mut self,
        database: &mut Database,
        now: Nanos,
        longest: Duration,
    ) -> Result<(), SettlementError> {
        let Some(client) = &mut self.client else {
            std::thread::sleep(longest);
            return Ok(());
        };
        let version = client.position().version;
        let news = News::of(client.wait(longest), now);
        self.take(database, version, news).map(|_| ())
    }

    /// Connects where there is no connection, takes what has come, and sends what waits.
    ///
    /// # Errors
    /// The database's, and that of keys that have become unreadable.
    pub fn turn(&mut self, database: &mut Database, now: Nanos) -> Result<Turned, SettlementError> {
        let mut turned = Turned::Idle;
        if self.client.is_none() {
            if Instant::now() < self.retry_at {
                return Ok(Turned::Idle);
            }
            match self.connect(database)? {
                Ok(client) => {
                    self.client = Some(client);
                    self.retry_wait = RETRY.0;
                    turned = Turned::Connected;
                }
                Err(error) => self.drop_connection(&error),
            }
        }
        self.watch(database)?;
        if self.take_news(database, now)? | self.send_queued(database, now)?
            && turned == Turned::Idle
        {
            turned = Turned::Worked;
        }
        Ok(turned)
    }

    fn drop_connection(&mut self, error: &ClientError) {
        self.client = None;
        self.down = error.to_string();
        self.retry_at = Instant::now() + self.retry_wait;
        self.retry_wait = (self.retry_wait * 2).min(RETRY.1);
        self.anew |= matches!(
            error,
            ClientError::RetransmissionRefused { .. } | ClientError::VersionExhausted { .. }
        );
    }

    /// Takes the version of before up again, or negotiates a new one where the exchange knows
    /// another or none.
    fn connect(
        &mut self,
        database: &mut Database,
    ) -> Result<Result<Client, ClientError>, SettlementError> {
        let record = database.look(|tx| tx.session())?;
        let (address, config) = (self.address(), self.config()?);
        let mut found = None;
        if record.version.0 != 0 && !self.anew {
            let next_report = match record.version == record.log_version {
                true => record.log_report,
                false => MessageSequence(1),
            };
            let position = SessionPosition {
                version: record.version,
                next_sequence: record.next_sequence,
                next_report,
            };
            match Client::resume(address, config.clone(), position) {
                Err(ClientError::EstablishmentRefused { code, .. })
                    if code.decode() == Some(EstablishmentRejectCode::Unnegotiated) => {}
                other => found = Some(other),
            }
        }
        let client = match found.unwrap_or_else(|| Client::connect(address, config)) {
            Ok(client) => client,
            Err(error) => return Ok(Err(error)),
        };
        self.anew = false;
        let position = client.position();
        let record = SessionRecord {
            version: position.version,
            next_sequence: position.next_sequence,
            ..record
        };
        database.step(|tx| {
            // The log may have been followed on meanwhile, but not by anybody else.
            tx.save_session(&record)
        })?;
        Ok(Ok(client))
    }

    /// Takes what the exchange has said; true where it said anything.
    fn take_news(&mut self, database: &mut Database, now: Nanos) -> Result<bool, SettlementError> {
        let Some(version) = self.client.as_ref().map(|it| it.position().version) else {
            return Ok(false);
        };
        for count in 0..POLL_MAX {
            let news = match &mut self.client {
                Some(client) => News::of(client.poll(), now),
                None => News::Nothing,
            };
            if !self.take(database, version, news)? {
                return Ok(count > 0);
            }
        }
        Ok(true)
    }

    /// Acts on news; false where there was none.
    fn take(
        &mut self,
        database: &mut Database,
        version: SessionVersion,
        news: News,
    ) -> Result<bool, SettlementError> {
        match news {
            News::Nothing => return Ok(false),
            News::Report => {}
            News::Missing(sequences, not_before) => {
                database.step(|tx| tx.requeue(version, sequences, not_before))?;
            }
            News::Over(error) => self.drop_connection(&error),
        }
        Ok(true)
    }

    /// Asks anew where the session stands when an outcome has not come for long: should a message
    /// ever be lost without a word, that names it.
    fn watch(&mut self, database: &mut Database) -> Result<(), SettlementError> {
        let overdue = self
            .sent_at
            .is_some_and(|sent_at| sent_at.elapsed() > OUTCOME_PATIENCE);
        if !overdue {
            return Ok(());
        }
        self.sent_at = None;
        if database.look(|tx| tx.sent_commands())? > 0 {
            self.sent_at = Some(Instant::now());
            let reason = String::from("no outcome of what was sent has come");
            self.drop_connection(&ClientError::Disconnected { reason });
        }
        Ok(())
    }

    /// Sends what waits; true where anything did.
    fn send_queued(
        &mut self,
        database: &mut Database,
        now: Nanos,
    ) -> Result<bool, SettlementError> {
        let Some(client) = &mut self.client else {
            return Ok(false);
        };
        let waiting = database.look(|tx| {
            let commands = tx.queued_commands(now, SEND_MAX)?;
            let with = |command: Command| Ok((tx.obligation(command.obligation)?, command));
            commands
                .into_iter()
                .map(with)
                .collect::<Result<Vec<_>, SettlementError>>()
        })?;
        if waiting.is_empty() {
            return Ok(false);
        }
        let position = client.position();
        database.step(|tx| {
            let mut next = position.next_sequence;
            for (_, command) in &waiting {
                tx.mark_sent(command.id, position.version, next)?;
                next = MessageSequence(next.0.saturating_add(1));
            }
            let mut record = tx.session()?;
            record.next_sequence = next;
            tx.save_session(&record)
        })?;
        let sent = waiting
            .iter()
            .try_for_each(|(obligation, command)| queue(client, obligation, command))
            .and_then(|()| client.flush());
        if let Err(error) = sent {
            // Some numbers were given out for nothing; the exchange will name them as missing.
            self.drop_connection(&error);
        }
        self.sent_at = Some(Instant::now());
        Ok(true)
    }
}

fn queue(client: &mut Client, it: &Obligation, command: &Command) -> Result<(), ClientError> {
    let request = ClientOrderId(command.id.unsigned_abs());
    let sent = match command.kind {
        CommandKind::Started => {
            let (address, port, host_key) = match it.place {
                Some(place) => (
                    place.address.ip().octets(),
                    place.address.port(),
                    place.host_key,
                ),
                None => Default::default(),
            };
            client.queue(&DeliveryStarted {
                obligation: it.id,
                host_key,
                address: Ipv4(address),
                port,
                ..DeliveryStarted::blank()
            })
        }
        CommandKind::Confirm => client.queue(&ConfirmDelivery {
            request,
            obligation: it.id,
            verified: it.verified,
            evidence: it.evidence,
            ..ConfirmDelivery::blank()
        }),
        CommandKind::Fail => client.queue(&DeliveryFailed {
            request,
            obligation: it.id,
            verified: it.verified,
            evidence: it.evidence,
            ..DeliveryFailed::blank()
        }),
    };
    sent.map(|_| ())
}
