//! What a new exchange starts with: participants, accounts, sessions, contracts.
//!
//! Read from the configuration once, when the journal is empty; journaled as the exchange's own
//! first commands, and never looked at again.
//!
//! Always holds: what the engine would reject is refused here by name, before anything is written.

mod guards;

use std::fmt;

use exahour_engine::{BEHAVIOUR_FIRST, Batch, Capacity, Engine};
use exahour_wire::codes::{ContractKind, Enumeration, Firmness, Permissions, Raw, ResourceClass};
use exahour_wire::events::{CommandRejected, EventPrefix};
use exahour_wire::ids::{
    AccountId, Behaviour, CommandSequence, InstrumentId, ParticipantId, SessionId,
};
use exahour_wire::internal::ActivateBehaviour;
use exahour_wire::limits::{BATCH_MESSAGES_MAX, MESSAGE_BYTES_MAX};
use exahour_wire::message::{Message, Text8, Text16, Text32, messages};
use exahour_wire::operations::{
    CreateAccount, CreateInstrument, CreateParticipant, CreateSession, Deposit,
};
use exahour_wire::record::Record;
use exahour_wire::reject::Reject;
use exahour_wire::units::{DecimalError, Hours, Money, Nanos, PartsPerMillion, Price, Quantity};
use serde::Deserialize;

pub use guards::{GenesisCalendar, time_of_day};

use crate::sequencer::BATCH_BYTES_MAX;

/// The most commands of a genesis: one frame holds them, the start of the node, and the activation of the
/// behaviour that the exchange begins with.
pub(crate) const GENESIS_COUNT_MAX: usize = BATCH_MESSAGES_MAX - 2;

/// The most bytes of a genesis; see [`GENESIS_COUNT_MAX`].
pub(crate) const GENESIS_BYTES_MAX: usize = BATCH_BYTES_MAX - 2 * MESSAGE_BYTES_MAX;

/// Why a genesis cannot be.
#[derive(Debug, thiserror::Error)]
pub enum GenesisError {
    /// A value is not what it should be.
    #[error("genesis, {entry}: {value:?} is not {expected}")]
    Value {
        /// Which entry and key.
        entry: Entry,
        /// The text found.
        value: String,
        /// What was expected.
        expected: String,
    },
    /// A price or an amount is not one.
    #[error("genesis, {entry}: {value:?} is {source}")]
    Decimal {
        /// Which entry and key.
        entry: Entry,
        /// The text found.
        value: String,
        /// What is wrong with it.
        source: DecimalError,
    },
    /// It does not fit the one frame that makes it whole or absent after a crash.
    #[error(
        "genesis: {count} entries of {bytes} bytes; at most {GENESIS_COUNT_MAX} of \
         {GENESIS_BYTES_MAX} bytes fit one journal frame: create the rest through an operator session"
    )]
    TooLarge {
        /// Entries, deposits counted apart.
        count: usize,
        /// Bytes of their commands.
        bytes: usize,
    },
    /// The engine would reject an entry.
    #[error("genesis, {entry}: the engine would refuse it as {reason}: mend or remove it")]
    Refused {
        /// Which entry.
        entry: Entry,
        /// The engine's own word, and what it means.
        reason: String,
    },
}

impl GenesisError {
    /// The key of the configuration that is at fault, such as `genesis.session.0.may`.
    pub(crate) fn key(&self) -> String {
        match self {
            Self::Value { entry, .. }
            | Self::Decimal { entry, .. }
            | Self::Refused { entry, .. } => entry.path(),
            Self::TooLarge { .. } => "genesis".to_owned(),
        }
    }
}

/// An entry of a genesis, or one key of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    table: &'static str,
    index: usize,
    id: u32,
    key: Option<&'static str>,
}

impl Entry {
    fn new(table: &'static str, index: usize, id: u32) -> Self {
        Self {
            table,
            index,
            id,
            key: None,
        }
    }

    fn key(self, key: &'static str) -> Self {
        Self {
            key: Some(key),
            ..self
        }
    }

    fn path(&self) -> String {
        let Self { table, index, .. } = self;
        match self.key {
            Some(key) => format!("genesis.{table}.{index}.{key}"),
            None => format!("genesis.{table}.{index}"),
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.table, self.id)?;
        match self.key {
            Some(key) => write!(formatter, ", {key}"),
            None => Ok(()),
        }
    }
}

/// A member firm.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisParticipant {
    /// Its id.
    pub id: u32,
    /// Its name.
    pub name: String,
}

/// An account.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisAccount {
    /// Its id, from 100.
    pub id: u32,
    /// Its owner.
    pub participant: u32,
    /// Its name.
    pub name: String,
    /// Dollars to begin with.
    #[serde(default)]
    pub deposit: Option<String>,
}

/// A session.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisSession {
    /// Its id.
    pub id: u32,
    /// Its owner.
    pub participant: u32,
    /// Names of permissions: trade, risk, drop-copy, settlement, operator.
    pub may: Vec<String>,
    /// Messages a second; none for no throttle.
    #[serde(default)]
    pub throttle_rate: u32,
    /// Messages at once.
    #[serde(default)]
    pub throttle_burst: u32,
}

/// A contract. Times are given from the moment of the genesis.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisInstrument {
    /// Its id.
    pub id: u32,
    /// Its name, at most 16 characters.
    pub symbol: String,
    /// spot or future.
    pub kind: String,
    /// cpu, gpu, tpu, memory, storage or network.
    pub class: String,
    /// Where it is delivered, at most 8 characters.
    pub zone: String,
    /// Lowest grades: performance 1 to 4, reliability 1 to 4, energy 1 to 3.
    pub grade: [u8; 3],
    /// Hours of the delivery window.
    pub hours: u32,
    /// The step between prices, in dollars.
    pub tick: String,
    /// The price to start from, in dollars.
    pub reference: String,
    /// Margin for one lot, in dollars.
    pub margin: String,
    /// Seconds until trading ends.
    pub trades_for_s: u64,
    /// Seconds from the end of trading to the start of delivery.
    #[serde(default)]
    pub delivers_after_s: u64,
    /// The largest order in lots.
    pub quantity_max: u64,
    /// The largest value of an order, in dollars.
    pub value_max: String,
    /// How far a limit may be from the reference price, in parts per million.
    pub collar_ppm: u32,
    /// How far a market order may trade from the best price, in parts per million.
    pub protection_ppm: u32,
    /// When it trades; without, around the clock.
    #[serde(default)]
    pub calendar: Option<GenesisCalendar>,
    /// How far prices may move within 300 s before it is halted, in parts per million; zero for any distance.
    #[serde(default)]
    pub circuit_breaker_ppm: u32,
    /// The contract whose halts it follows; zero for none.
    #[serde(default)]
    pub halts_with: u32,
    /// How far from the mean price of 300 s it trades, in parts per million; zero for any distance.
    #[serde(default)]
    pub price_band_ppm: u32,
}

/// What a new exchange starts with.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Genesis {
    /// Member firms.
    pub participant: Vec<GenesisParticipant>,
    /// Accounts.
    pub account: Vec<GenesisAccount>,
    /// Sessions.
    pub session: Vec<GenesisSession>,
    /// Contracts.
    pub instrument: Vec<GenesisInstrument>,
}

impl Genesis {
    /// The commands that bring it about under the rules of this behaviour, tried on an engine first.
    ///
    /// # Errors
    /// [`GenesisError`], naming the entry.
    pub fn commands(&self, now: Nanos, behaviour: Behaviour) -> Result<Vec<Record>, GenesisError> {
        let mut named = Vec::new();
        for (index, participant) in self.participant.iter().enumerate() {
            let entry = Entry::new("participant", index, participant.id);
            let name = text32(entry.key("name"), &participant.name)?;
            let participant = ParticipantId(participant.id);
            let command = CreateParticipant {
                participant,
                name,
                ..Message::blank()
            };
            named.push((entry, Record::new(&command)));
        }
        for (index, account) in self.account.iter().enumerate() {
            account.commands(index, &mut named)?;
        }
        for (index, session) in self.session.iter().enumerate() {
            let entry = Entry::new("session", index, session.id);
            named.push((entry, session.command(entry)?));
        }
        for (index, instrument) in self.instrument.iter().enumerate() {
            let entry = Entry::new("instrument", index, instrument.id);
            named.push((entry, instrument.command(entry, now)?));
        }
        for (index, instrument) in self.instrument.iter().enumerate() {
            let entry = Entry::new("instrument", index, instrument.id);
            instrument.guards(entry, &mut named)?;
        }
        let bytes = named.iter().map(|(_, record)| record.bytes().len()).sum();
        if named.len() > GENESIS_COUNT_MAX || bytes > GENESIS_BYTES_MAX {
            let count = named.len();
            return Err(GenesisError::TooLarge { count, bytes });
        }
        let activation = (behaviour > BEHAVIOUR_FIRST).then(|| {
            Record::new(&ActivateBehaviour {
                behaviour,
                ..Message::blank()
            })
        });
        try_out(activation.as_ref(), &named, now)?;
        let named = named.into_iter().map(|(_, record)| record);
        Ok(activation.into_iter().chain(named).collect())
    }
}

impl GenesisAccount {
    fn commands(&self, index: usize, named: &mut Vec<(Entry, Record)>) -> Result<(), GenesisError> {
        let entry = Entry::new("account", index, self.id);
        let account = AccountId(self.id);
        let create = CreateAccount {
            account,
            participant: ParticipantId(self.participant),
            name: text32(entry.key("name"), &self.name)?,
            ..Message::blank()
        };
        named.push((entry, Record::new(&create)));
        if let Some(deposit) = &self.deposit {
            let amount: Money = decimal(entry.key("deposit"), deposit)?;
            let deposit = Deposit {
                account,
                amount,
                ..Message::blank()
            };
            named.push((entry, Record::new(&deposit)));
        }
        Ok(())
    }
}

impl GenesisSession {
    fn command(&self, entry: Entry) -> Result<Record, GenesisError> {
        let mut permissions = 0;
        for name in &self.may {
            permissions |= match name.as_str() {
                "trade" => Permissions::TRADE.0,
                "risk" => Permissions::RISK.0,
                "drop-copy" => Permissions::DROP_COPY.0,
                "settlement" => Permissions::SETTLEMENT.0,
                "operator" => Permissions::OPERATOR.0,
                other => {
                    let expected = "trade, risk, drop-copy, settlement or operator";
                    return Err(value(entry.key("may"), other, expected));
                }
            };
        }
        Ok(Record::new(&CreateSession {
            new_session: SessionId(self.id),
            participant: ParticipantId(self.participant),
            permissions: Permissions(permissions),
            throttle_rate: self.throttle_rate,
            throttle_burst: self.throttle_burst,
            ..Message::blank()
        }))
    }
}

impl GenesisInstrument {
    fn command(&self, entry: Entry, now: Nanos) -> Result<Record, GenesisError> {
        let seconds = |count: u64| Nanos(count.saturating_mul(Nanos::SECOND.0));
        let last_trade_at = now.after(seconds(self.trades_for_s));
        let too_long = |key, text: &str, expected| value(entry.key(key), text, expected);
        let symbol = Text16::new(&self.symbol)
            .ok_or_else(|| too_long("symbol", &self.symbol, "at most 16 printable characters"))?;
        let zone = Text8::new(&self.zone)
            .ok_or_else(|| too_long("zone", &self.zone, "at most 8 printable characters"))?;
        let [grade_performance, grade_reliability, grade_energy] = self.grade;
        Ok(Record::new(&CreateInstrument {
            instrument: InstrumentId(self.id),
            kind: by_name::<ContractKind>(entry.key("kind"), &self.kind)?.into(),
            class: by_name::<ResourceClass>(entry.key("class"), &self.class)?.into(),
            grade_performance,
            grade_reliability,
            grade_energy,
            firmness: Firmness::Firm.into(),
            reference_version: 1,
            hours: Hours(self.hours),
            symbol,
            zone,
            tick: decimal(entry.key("tick"), &self.tick)?,
            delivery_start: last_trade_at.after(seconds(self.delivers_after_s)),
            last_trade_at,
            initial_margin: decimal(entry.key("margin"), &self.margin)?,
            reference_price: decimal::<Price>(entry.key("reference"), &self.reference)?,
            quantity_max: Quantity(self.quantity_max),
            notional_max: decimal(entry.key("value_max"), &self.value_max)?,
            collar: PartsPerMillion(self.collar_ppm),
            protection: PartsPerMillion(self.protection_ppm),
            ..Message::blank()
        }))
    }
}

/// Applies the commands to an engine of their own and reports the first that it rejects.
fn try_out(
    activation: Option<&Record>,
    named: &[(Entry, Record)],
    now: Nanos,
) -> Result<(), GenesisError> {
    let mut engine = Engine::new(&Capacity {
        orders: 1,
        positions: 1,
        ..Capacity::default()
    });
    if let Some(activation) = activation {
        let batch = Batch {
            time: now,
            first: CommandSequence::NONE,
            commands: activation.bytes(),
        };
        // A node is not given a behaviour that its own program cannot do.
        let _ = engine.apply(&batch, &mut Vec::new());
    }
    for (place, (entry, record)) in named.iter().enumerate() {
        let first = CommandSequence(place as u64 + 1);
        let batch = Batch {
            time: now,
            first,
            commands: record.bytes(),
        };
        let mut events = Vec::new();
        // A genesis holds no checkpoint, so it cannot diverge.
        let _ = engine.apply(&batch, &mut events);
        let rejected = messages(&events).find_map(CommandRejected::read);
        if let Some(rejected) = rejected {
            return Err(GenesisError::Refused {
                entry: *entry,
                reason: reason_text(rejected.reason),
            });
        }
        debug_assert!(EventPrefix::peek(&events).is_some());
    }
    Ok(())
}

/// The name of a reason, and what it means.
fn reason_text(reason: Raw<Reject>) -> String {
    let number = u64::from(reason.0);
    let named = Reject::TABLE.iter().find(|(it, _, _)| *it == number);
    match named {
        Some((_, name, description)) => {
            format!("{name} ({})", description.trim().trim_end_matches('.'))
        }
        None => format!("reason {number}"),
    }
}

fn value(entry: Entry, value: &str, expected: &str) -> GenesisError {
    GenesisError::Value {
        entry,
        value: value.to_owned(),
        expected: expected.to_owned(),
    }
}

fn text32(entry: Entry, text: &str) -> Result<Text32, GenesisError> {
    Text32::new(text).ok_or_else(|| value(entry, text, "at most 32 printable characters"))
}

fn decimal<T: std::str::FromStr<Err = DecimalError>>(
    entry: Entry,
    text: &str,
) -> Result<T, GenesisError> {
    text.parse().map_err(|source| GenesisError::Decimal {
        entry,
        value: text.to_owned(),
        source,
    })
}

/// The value of an enumeration by its published name, in any case.
fn by_name<E: Enumeration>(entry: Entry, text: &str) -> Result<E, GenesisError>
where
    E::Repr: TryFrom<u64>,
{
    let found = E::TABLE
        .iter()
        .find(|(_, name, _)| name.eq_ignore_ascii_case(text));
    let repr = found.and_then(|(number, _, _)| E::Repr::try_from(*number).ok());
    repr.and_then(E::from_repr).ok_or_else(|| {
        let names: Vec<&str> = E::TABLE.iter().map(|(_, name, _)| *name).collect();
        value(entry, text, &format!("one of {}", names.join(", ")))
    })
}
