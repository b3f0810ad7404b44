//! What is listed, as the public feed tells it: instruments by symbol, and numbers that are free.
//!
//! Called by the small client where an instrument is named by its symbol, and by `feed` before it
//! lists one of its own.
//!
//! Always holds: the answer is that of one whole snapshot of all books.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use exahour_gateway::clock::{Clock, SystemClock};
use exahour_gateway::feed::client::FeedClient;
use exahour_gateway::image::Flow;
use exahour_wire::codes::FeedDepth;
use exahour_wire::ids::InstrumentId;
use exahour_wire::limits::INSTRUMENTS_MAX;
use exahour_wire::market_data::InstrumentDefinition;

use crate::connection::NodeArguments;
use crate::exit::finding;

/// How long a snapshot may take.
pub(crate) const SNAPSHOT_WITHIN: Duration = Duration::from_secs(5);

/// An instrument as a user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum InstrumentName {
    /// By its number.
    Number(InstrumentId),
    /// By its symbol.
    Symbol(String),
}

impl FromStr for InstrumentName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse::<u32>() {
            Ok(number) if (1..=INSTRUMENTS_MAX).contains(&number) => {
                Ok(Self::Number(InstrumentId(number)))
            }
            _ if digits => Err(format!("instruments are numbered 1 to {INSTRUMENTS_MAX}")),
            _ if text.starts_with(|first: char| first.is_ascii_alphabetic()) => {
                Ok(Self::Symbol(text.to_owned()))
            }
            _ => Err("expected an instrument's number, such as 1, or its symbol".to_owned()),
        }
    }
}

impl fmt::Display for InstrumentName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(id) => id.fmt(formatter),
            Self::Symbol(symbol) => symbol.fmt(formatter),
        }
    }
}

impl InstrumentName {
    /// The number behind the name; a symbol is looked up at the node's market data.
    ///
    /// # Errors
    /// Where no market data comes, or nothing of that symbol is listed.
    pub(crate) fn resolve(&self, node: &NodeArguments) -> Result<InstrumentId> {
        match self {
            Self::Number(id) => Ok(*id),
            Self::Symbol(symbol) => {
                let listings = node.market_data().and_then(Listings::read);
                let listings = listings.with_context(|| {
                    format!("`{symbol}` cannot be looked up; name it by its number")
                })?;
                listings.id_of(symbol)
            }
        }
    }
}

/// Everything that is listed.
#[derive(Debug, Default)]
pub(crate) struct Listings {
    definitions: BTreeMap<InstrumentId, InstrumentDefinition>,
}

impl Listings {
    /// Reads them from a node's market data.
    ///
    /// # Errors
    /// Where nothing comes in time.
    pub(crate) fn read(market_data: SocketAddr) -> Result<Self> {
        let mut clock = SystemClock::default();
        let mut client = FeedClient::new(market_data, FeedDepth::Orders, Flow::All);
        let until = Instant::now() + SNAPSHOT_WITHIN;
        loop {
            client.poll(clock.steady(), &mut |_, _| {})?;
            let image = client.image();
            if image.whole() {
                let books = image.books().all();
                let definitions = books.map(|(id, book)| (id, *book.definition()));
                return Ok(Self {
                    definitions: definitions.collect(),
                });
            }
            if Instant::now() > until {
                bail!(
                    "no market data from {market_data}: is the node running, and is this its port?"
                );
            }
            client.wait(Duration::from_millis(50));
        }
    }

    /// The instrument of this symbol: the last one listed, where several had it.
    pub(crate) fn id_of(&self, symbol: &str) -> Result<InstrumentId> {
        let mut newest_first = self.definitions.iter().rev();
        let found = newest_first.find(|(_, it)| symbol_of(it).eq_ignore_ascii_case(symbol));
        found
            .map(|(id, _)| *id)
            .ok_or_else(|| self.not_listed(&format!("`{symbol}`")))
    }

    /// This number, where something is listed under it.
    pub(crate) fn known(&self, id: InstrumentId) -> Result<InstrumentId> {
        match self.definitions.contains_key(&id) {
            true => Ok(id),
            false => Err(self.not_listed(&id.to_string())),
        }
    }

    fn not_listed(&self, name: &str) -> anyhow::Error {
        let listed = self.definitions.iter().take(8);
        let listed: Vec<String> = listed.map(|(id, _)| self.name_of(*id)).collect();
        let more = match self.definitions.len() > 8 {
            true => ", ...",
            false => "",
        };
        finding(anyhow!(
            "no instrument {name} is listed; there are: {}{more}",
            listed.join(", ")
        ))
    }

    /// The symbol of what is listed under a number, and the number.
    pub(crate) fn name_of(&self, id: InstrumentId) -> String {
        let symbol = self.definition(id).map_or("?", symbol_of);
        format!("{symbol} ({id})")
    }

    /// Everything that is listed, by ascending number.
    pub(crate) fn ids(&self) -> impl Iterator<Item = InstrumentId> {
        self.definitions.keys().copied()
    }

    /// What is listed under a number.
    pub(crate) fn definition(&self, id: InstrumentId) -> Option<&InstrumentDefinition> {
        self.definitions.get(&id)
    }

    /// The first number from `first` on that nothing is listed under.
    pub(crate) fn free_from(&self, first: InstrumentId) -> Result<InstrumentId> {
        let mut numbers = first.0..=INSTRUMENTS_MAX;
        let free = numbers.find(|id| !self.definitions.contains_key(&InstrumentId(*id)));
        free.map(InstrumentId).with_context(|| {
            format!(
                "every instrument from {first} to {INSTRUMENTS_MAX} is listed already: start a new \
                 node"
            )
        })
    }
}

fn symbol_of(definition: &InstrumentDefinition) -> &str {
    definition.symbol.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use exahour_wire::message::{Message, Text16};

    use super::*;

    #[test]
    fn an_instrument_is_named_by_number_or_symbol() {
        let name = |text: &str| text.parse::<InstrumentName>();
        assert_eq!(name("7"), Ok(InstrumentName::Number(InstrumentId(7))));
        assert_eq!(
            name("GPU-EU"),
            Ok(InstrumentName::Symbol("GPU-EU".to_owned()))
        );
        for (text, expected) in [
            ("0", "1 to 65535"),
            ("70000", "1 to 65535"),
            ("-1", "number"),
        ] {
            let refused = name(text).unwrap_err();
            assert!(refused.contains(expected), "{text}: {refused}");
        }
        assert!(name("").is_err());
    }

    #[test]
    fn listings_are_looked_up() {
        let listed = [(1, "GPU-EU"), (2, "CPU-EU"), (4, "GPU-EU")];
        let definitions = listed.map(|(id, symbol)| {
            let definition = InstrumentDefinition {
                symbol: Text16::new(symbol).unwrap(),
                ..InstrumentDefinition::blank()
            };
            (InstrumentId(id), definition)
        });
        let listings = Listings {
            definitions: definitions.into(),
        };
        assert!(listings.known(InstrumentId(2)).is_ok());
        assert!(listings.known(InstrumentId(3)).is_err());
        assert_eq!(listings.id_of("gpu-eu").unwrap(), InstrumentId(4));
        let refused = listings.id_of("TPU").unwrap_err().to_string();
        assert!(refused.contains("CPU-EU (2)"), "{refused}");
        assert_eq!(
            listings.free_from(InstrumentId(1)).unwrap(),
            InstrumentId(3)
        );
        assert!(listings.free_from(InstrumentId(INSTRUMENTS_MAX)).is_ok());
    }
}
