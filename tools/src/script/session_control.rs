//! The short forms of what the gateway and the sequencer send: sessions that come and go, ticks,
//! hashes, and the rules in force.
//!
//! Called by the statement parser. Every default is stated in docs/SCRIPT.md.

use exahour_wire::codes::{CancelOnDisconnect, DisconnectCause};
use exahour_wire::ids::{Behaviour, CommandSequence, MessageSequence, SessionId, SessionVersion};
use exahour_wire::internal::{
    ActivateBehaviour, Checkpoint, CloseSession, NodeStarted, OpenSession, ReadySession,
    TakeStateHash, Tick,
};
use exahour_wire::message::{Digest, Message};
use exahour_wire::units::{Millis, Nanos};

use super::memory::Memory;
use super::order_entry::unknown_option;
use super::phrase::{Phrase, Word};
use super::statement::Draft;
use crate::text::Misfit;

/// Understands a command of the exchange itself, or gives `None` where the verb is none of these.
///
/// # Errors
/// [`Misfit`] with the place.
pub(super) fn parse(
    verb: Word<'_>,
    phrase: &mut Phrase<'_>,
    memory: &Memory,
) -> Result<Option<Vec<Draft>>, Misfit> {
    let drafts = match verb.text {
        "open" => vec![Draft::new(&open(phrase, memory)?)],
        "ready" => vec![Draft::new(&ready(phrase, memory)?)],
        "connect" => connect(phrase, memory)?,
        "disconnect" => vec![Draft::new(&disconnect(phrase, memory)?)],
        "restart" => vec![Draft::new(&restart(phrase)?)],
        "activate" => vec![Draft::new(&activate(phrase)?)],
        "tick" => vec![Draft::new(&Tick::blank())],
        "hash" => vec![Draft::new(&TakeStateHash::blank())],
        "checkpoint" => vec![Draft::new(&checkpoint(phrase, memory)?)],
        _ => return Ok(None),
    };
    Ok(Some(drafts))
}

/// Everything that may be said of a session that comes.
struct Arrival {
    session: SessionId,
    version: u64,
    connection: Option<u64>,
    from: Option<u32>,
    timestamp: Option<Nanos>,
    mode: CancelOnDisconnect,
    grace: Millis,
}

/// What an arrival may say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Allowed {
    Open,
    Ready,
    Both,
}

impl Arrival {
    fn parse(phrase: &mut Phrase<'_>, memory: &Memory, allowed: Allowed) -> Result<Self, Misfit> {
        let session = SessionId(phrase.number("a session id")?);
        let remembered = memory.session(session.0);
        let version = match allowed {
            Allowed::Ready => remembered.version,
            Allowed::Open | Allowed::Both => remembered.version.saturating_add(1),
        };
        let mut arrival = Self {
            session,
            version,
            connection: None,
            from: None,
            timestamp: None,
            mode: CancelOnDisconnect::None,
            grace: Millis(0),
        };
        while let Some(word) = phrase.option()? {
            match word.text {
                "version" => arrival.version = phrase.number("a version")?,
                "connection" => arrival.connection = Some(phrase.number("a connection")?),
                "from" if allowed != Allowed::Open => {
                    arrival.from = Some(phrase.number("a sequence number")?);
                }
                "stamp" if allowed != Allowed::Open => {
                    arrival.timestamp = Some(Nanos(phrase.number("a number of nanoseconds")?));
                }
                "cancel-on" if allowed != Allowed::Open => arrival.mode = mode(phrase)?,
                "grace" if allowed != Allowed::Open => arrival.grace = millis(phrase)?,
                _ => return Err(unknown_option(word, arrival_options(allowed))),
            }
        }
        Ok(arrival)
    }

    /// The gateway's name for the connection: the version, unless the line says otherwise.
    fn connection(&self) -> u64 {
        self.connection.unwrap_or(self.version)
    }

    fn open(&self) -> OpenSession {
        OpenSession {
            session: self.session,
            version: SessionVersion(self.version),
            connection: self.connection(),
            ..OpenSession::blank()
        }
    }

    fn ready(&self, next_sequence: u32, last_timestamp: u64) -> ReadySession {
        ReadySession {
            session: self.session,
            next_sequence: MessageSequence(self.from.unwrap_or(next_sequence)),
            version: SessionVersion(self.version),
            connection: self.connection(),
            timestamp: self
                .timestamp
                .unwrap_or(Nanos(last_timestamp.saturating_add(1))),
            cancel_grace: self.grace,
            cancel_mode: self.mode.into(),
            ..ReadySession::blank()
        }
    }
}

fn arrival_options(allowed: Allowed) -> &'static str {
    match allowed {
        Allowed::Open => "`version N`, `connection N`",
        Allowed::Ready | Allowed::Both => {
            "`version N`, `connection N`, `from SEQUENCE`, `stamp N`, `cancel-on MODE`, \
             `grace SPAN`"
        }
    }
}

fn mode(phrase: &mut Phrase<'_>) -> Result<CancelOnDisconnect, Misfit> {
    let expected = "none, terminate, disconnect or both";
    let word = phrase.word(expected)?;
    match word.text {
        "none" => Ok(CancelOnDisconnect::None),
        "terminate" => Ok(CancelOnDisconnect::OnTerminate),
        "disconnect" => Ok(CancelOnDisconnect::OnDisconnect),
        "both" => Ok(CancelOnDisconnect::Both),
        _ => Err(unknown_option(word, expected)),
    }
}

pub(super) fn millis(phrase: &mut Phrase<'_>) -> Result<Millis, Misfit> {
    let word = phrase.peek();
    let span = phrase.span()?;
    let whole = span.0 % 1_000_000 == 0;
    let millis = u32::try_from(span.0 / 1_000_000)
        .ok()
        .filter(|_| whole)
        .map(Millis);
    match (millis, word) {
        (Some(millis), _) => Ok(millis),
        (None, Some(word)) => Err(word.misfit(
            "not whole milliseconds within 49 days",
            "a span such as 300s",
        )),
        (None, None) => Err(phrase.misfit_at_end("a span such as 300s")),
    }
}

/// `open SESSION [version N] [connection N]`.
fn open(phrase: &mut Phrase<'_>, memory: &Memory) -> Result<OpenSession, Misfit> {
    Arrival::parse(phrase, memory, Allowed::Open).map(|arrival| arrival.open())
}

/// `ready SESSION [version N] [connection N] [from N] [stamp N] [cancel-on MODE] [grace SPAN]`.
fn ready(phrase: &mut Phrase<'_>, memory: &Memory) -> Result<ReadySession, Misfit> {
    let arrival = Arrival::parse(phrase, memory, Allowed::Ready)?;
    let remembered = memory.session(arrival.session.0);
    Ok(arrival.ready(remembered.next_sequence, remembered.timestamp))
}

/// `connect SESSION ...`: `open` and `ready` together.
fn connect(phrase: &mut Phrase<'_>, memory: &Memory) -> Result<Vec<Draft>, Misfit> {
    let arrival = Arrival::parse(phrase, memory, Allowed::Both)?;
    Ok(vec![
        Draft::new(&arrival.open()),
        Draft::new(&arrival.ready(1, 0)),
    ])
}

/// `disconnect SESSION [lost|terminated|keep-alive|slow|breach|expelled|stopped] [version N]
/// [connection N]`.
fn disconnect(phrase: &mut Phrase<'_>, memory: &Memory) -> Result<CloseSession, Misfit> {
    let session = SessionId(phrase.number("a session id")?);
    let mut version = memory.session(session.0).version;
    let mut connection = None;
    let mut cause = DisconnectCause::ConnectionLost;
    while let Some(word) = phrase.option()? {
        match word.text {
            "version" => version = phrase.number("a version")?,
            "connection" => connection = Some(phrase.number("a connection")?),
            "lost" => cause = DisconnectCause::ConnectionLost,
            "terminated" => cause = DisconnectCause::ClientTerminated,
            "keep-alive" => cause = DisconnectCause::KeepAliveMissed,
            "slow" => cause = DisconnectCause::SlowReader,
            "breach" => cause = DisconnectCause::ProtocolBreach,
            "expelled" => cause = DisconnectCause::Expelled,
            "stopped" => cause = DisconnectCause::NodeStopped,
            _ => return Err(unknown_option(word, DISCONNECT_OPTIONS)),
        }
    }
    Ok(CloseSession {
        session,
        version: SessionVersion(version),
        connection: connection.unwrap_or(version),
        cause: cause.into(),
        ..CloseSession::blank()
    })
}

const DISCONNECT_OPTIONS: &str = "`lost`, `terminated`, `keep-alive`, `slow`, `breach`, \
    `expelled`, `stopped`, `version N`, `connection N`";

/// `activate BEHAVIOUR`.
fn activate(phrase: &mut Phrase<'_>) -> Result<ActivateBehaviour, Misfit> {
    Ok(ActivateBehaviour {
        behaviour: Behaviour(phrase.number("the number of a behaviour")?),
        ..ActivateBehaviour::blank()
    })
}

/// `restart [orders N]`.
fn restart(phrase: &mut Phrase<'_>) -> Result<NodeStarted, Misfit> {
    let mut started = NodeStarted::blank();
    while let Some(word) = phrase.option()? {
        match word.text {
            "orders" => started.orders_max = phrase.number("a number of orders")?,
            _ => return Err(unknown_option(word, "`orders N`")),
        }
    }
    Ok(started)
}

/// `checkpoint [at COMMAND] [hash HEX]`: by default, the last hash that was taken.
fn checkpoint(phrase: &mut Phrase<'_>, memory: &Memory) -> Result<Checkpoint, Misfit> {
    let (mut at_command, mut state_hash) = memory.hashed.unwrap_or_default();
    while let Some(word) = phrase.option()? {
        match word.text {
            "at" => at_command = CommandSequence(phrase.number("a command number")?),
            "hash" => state_hash = Digest(phrase.hex()?),
            _ => return Err(unknown_option(word, "`at COMMAND`, `hash HEX`")),
        }
    }
    if at_command == CommandSequence::NONE {
        return Err(phrase.misfit_at_end("`at COMMAND`, or `hash` in an earlier line"));
    }
    Ok(Checkpoint {
        at_command,
        state_hash,
        ..Checkpoint::blank()
    })
}
