//! One command with its events, and whom each concerns.
//!
//! Made by `walk`, judged by `selection`, written by `export`, counted by `summary`.
//!
//! Always holds: a field is found by its published name, so every message of the schema has a row.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use exahour_journal::{Reader, Verify, inspect};
use exahour_wire::codes::{Scope, TransferKind};
use exahour_wire::events::{
    AccountCreated, CircuitBreakerSet, DeliveryAssigned, EventPrefix, InstrumentListed, MoneyMoved,
    SessionCreated,
};
use exahour_wire::ids::InstrumentId;
use exahour_wire::message::{Message, messages};
use exahour_wire::operations::SetCircuitBreaker;
use exahour_wire::orders::{MassCancel, MassQuote};
use exahour_wire::units::Nanos;

use crate::listings::InstrumentName;
use crate::text::form_of;

/// An event with its numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batched<'a> {
    pub(super) number: u64,
    pub(super) command: u64,
    pub(super) bytes: &'a [u8],
}

impl<'a> Batched<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let prefix = EventPrefix::peek(bytes);
        Self {
            number: prefix.map_or(0, |it| it.event.0),
            command: prefix.map_or(0, |it| it.command.0),
            bytes,
        }
    }
}

/// A command and what it gave.
#[derive(Clone, Debug)]
pub(super) struct Record<'a> {
    pub(super) time: Nanos,
    pub(super) index: u64,
    pub(super) number: u64,
    pub(super) command: &'a [u8],
    pub(super) events: Vec<Batched<'a>>,
}

/// A field of a message as a number, by its published name; `None` where there is no such field.
pub(super) fn number_in(message: &[u8], name: &str) -> Option<u64> {
    let field = form_of(message)?.field(name)?;
    let bytes = field.of(message);
    let mut wide = [0; 8];
    wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(u64::from_le_bytes(wide))
}

/// As [`number_in`], without zeros: there an id stands for nothing.
pub(super) fn id_in(message: &[u8], name: &str) -> Option<u64> {
    number_in(message, name).filter(|id| *id != 0)
}

/// The name of a message.
pub(super) fn name_of(message: &[u8]) -> &'static str {
    form_of(message).map_or("unknown", |form| form.declaration.name)
}

/// The accounts that a message names: its own, or both ends of a posting or a delivery.
fn accounts_in(message: &[u8]) -> impl Iterator<Item = u64> {
    const NAMES: [&str; 5] = ["account", "debit", "credit", "buyer", "seller"];
    NAMES.into_iter().filter_map(|name| id_in(message, name))
}

/// The instruments that a message names elsewhere than in a field of that name: those of quotes, what all
/// orders of are cancelled, whose halts another follows.
fn others_in(message: &[u8]) -> impl Iterator<Item = u64> {
    let quotes = MassQuote::read(message).map(|it| it.quotes());
    let quoted = quotes.into_iter().flatten().map(|it| it.instrument);
    let cancelled = MassCancel::read(message)
        .filter(|it| it.scope == Scope::Instrument.into())
        .map(|it| InstrumentId(it.target));
    let followed = SetCircuitBreaker::read(message)
        .map(|it| it.linked)
        .or_else(|| CircuitBreakerSet::read(message).map(|it| it.linked));
    let named = quoted.chain(cancelled).chain(followed);
    named
        .filter(|id| *id != InstrumentId::NONE)
        .map(|id| id.0.into())
}

/// Whose a session or an account is, and what an instrument is called, as the journal itself says.
#[derive(Debug, Default)]
pub(super) struct Registry {
    sessions: BTreeMap<u64, u64>,
    accounts: BTreeMap<u64, u64>,
    symbols: BTreeMap<u64, String>,
    obligations: BTreeMap<u64, Delivery>,
}

/// What an obligation came of, and whose it is.
#[derive(Clone, Copy, Debug)]
struct Delivery {
    instrument: u64,
    buyer: u64,
    seller: u64,
}

/// The obligation that a message names, or that a posting belongs to.
pub(super) fn obligation_of(message: &[u8]) -> Option<u64> {
    if let Some(moved) = MoneyMoved::read(message) {
        let of_delivery = matches!(
            moved.kind.decode(),
            Some(
                TransferKind::DeliveryPrepayment
                    | TransferKind::DeliveryPayment
                    | TransferKind::DeliveryRefund
                    | TransferKind::DeliveryCompensation
            )
        );
        return of_delivery.then_some(moved.reference);
    }
    id_in(message, "obligation")
}

impl Registry {
    /// Learns what the events up to one of this number told of.
    ///
    /// # Errors
    /// Where the event log cannot be read.
    pub(super) fn learn_before(&mut self, folder: &Path, last: u64) -> Result<()> {
        let recovered = inspect(folder, Verify::Every).context("event log")?;
        let mut reader = Reader::closed(folder, &recovered, Verify::Trust).context("event log")?;
        while let Some(frame) = reader.next(recovered.appended).context("event log")? {
            if frame.header.first_sequence > last {
                break;
            }
            messages(frame.payload).for_each(|event| self.learn(event));
        }
        Ok(())
    }

    pub(super) fn learn(&mut self, event: &[u8]) {
        if let Some(created) = SessionCreated::read(event) {
            let owner = u64::from(created.participant.0);
            self.sessions.insert(created.new_session.0.into(), owner);
        }
        if let Some(created) = AccountCreated::read(event) {
            let owner = u64::from(created.participant.0);
            self.accounts.insert(created.account.0.into(), owner);
        }
        if let Some(listed) = InstrumentListed::read(event) {
            let symbol = listed.symbol.as_str().unwrap_or_default().to_owned();
            self.symbols.insert(listed.instrument.0.into(), symbol);
        }
        if let Some(assigned) = DeliveryAssigned::read(event) {
            let delivery = Delivery {
                instrument: assigned.instrument.0.into(),
                buyer: assigned.buyer.0.into(),
                seller: assigned.seller.0.into(),
            };
            self.obligations.insert(assigned.obligation.0, delivery);
        }
    }

    /// The symbol of an instrument that has been listed.
    pub(super) fn symbol_of(&self, instrument: u64) -> Option<&str> {
        self.symbols.get(&instrument).map(String::as_str)
    }

    /// Whether an instrument of this name has been listed.
    pub(super) fn has_listed(&self, name: &InstrumentName) -> bool {
        match name {
            InstrumentName::Number(id) => self.symbols.contains_key(&u64::from(id.0)),
            InstrumentName::Symbol(symbol) => {
                let mut symbols = self.symbols.values();
                symbols.any(|it| it.eq_ignore_ascii_case(symbol))
            }
        }
    }

    fn delivery_of(&self, message: &[u8]) -> Option<Delivery> {
        self.obligations.get(&obligation_of(message)?).copied()
    }

    /// The instrument that a message names, or that the obligation it names came of.
    pub(super) fn instrument_of(&self, message: &[u8]) -> Option<u64> {
        let delivered = || self.delivery_of(message).map(|it| it.instrument);
        id_in(message, "instrument").or_else(delivered)
    }

    /// Whether a message is about an instrument: it names it alone or among others, or the obligation
    /// that it names came of it.
    pub(super) fn is_about(&self, message: &[u8], is_it: impl Fn(u64) -> bool) -> bool {
        let one = self.instrument_of(message);
        one.into_iter().chain(others_in(message)).any(is_it)
    }

    /// The accounts that a message names, and those of the obligation it names.
    pub(super) fn accounts_of(&self, message: &[u8]) -> impl Iterator<Item = u64> {
        let delivery = self.delivery_of(message);
        let both = delivery.into_iter().flat_map(|it| [it.buyer, it.seller]);
        accounts_in(message).chain(both)
    }

    /// The participant behind a message: the one named, or the owner of its session or account.
    pub(super) fn participant_of(&self, message: &[u8]) -> Option<u64> {
        let session = id_in(message, "session").and_then(|id| self.sessions.get(&id).copied());
        let account = || {
            self.accounts_of(message)
                .find_map(|id| self.accounts.get(&id).copied())
        };
        session
            .or_else(account)
            .or_else(|| id_in(message, "participant"))
    }

    /// Whether a message concerns a participant in any of these ways.
    pub(super) fn concerns(&self, message: &[u8], participant: u64) -> bool {
        let owns = |found: Option<&u64>| found == Some(&participant);
        id_in(message, "participant") == Some(participant)
            || id_in(message, "session").is_some_and(|id| owns(self.sessions.get(&id)))
            || self
                .accounts_of(message)
                .any(|id| owns(self.accounts.get(&id)))
    }
}
