//! Streams of commands from a seed: what the twin and the engine are fed.
//!
//! Used by every test that compares or checks. A flow learns from the events which orders live and
//! which obligations exist, so the events must be shown to it after every batch.
//!
//! Always holds: the same seed and the same events give the same stream; batch times never fall.
//! Does not: know what a command will do.

mod advanced;
mod amends;
pub mod cascade;
mod dice;
pub mod followers;
mod hostile;
pub mod limits;
mod market;
mod phases;
mod quotes;
mod realistic;

use exahour_wire::ids::CommandSequence;
use exahour_wire::units::Nanos;

use dice::Dice;
use market::Market;

/// How a flow behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Traders, operators and a settlement process that mostly know what they do.
    Realistic,
    /// The same, with fields of commands at random or at their extremes.
    Hostile,
}

/// Some commands with one time.
#[derive(Clone, Debug)]
pub struct Commands {
    /// The time of the batch.
    pub time: Nanos,
    /// The number of its first command.
    pub first: CommandSequence,
    /// The commands, each one record.
    pub records: Vec<Vec<u8>>,
}

impl Commands {
    /// The records one after the other, as a batch holds them.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.records.concat()
    }
}

/// A stream of batches.
#[derive(Clone, Debug)]
pub struct Flow {
    style: Style,
    dice: Dice,
    market: Market,
    pace: Pace,
    time: u64,
    sent: u64,
}

/// How time goes by between batches.
#[derive(Clone, Copy, Debug)]
enum Pace {
    /// Milliseconds: books grow deep.
    Calm,
    /// Up to days: much expires.
    Restless,
}

/// The same command with one field a little different.
pub fn nudge(flow: &mut Flow, record: Vec<u8>) -> Vec<u8> {
    hostile::nudge(record, &mut flow.dice)
}

/// Bytes that are no row of records, made from these that are.
pub fn garbage(flow: &mut Flow, commands: &Commands) -> Vec<u8> {
    hostile::garbage(commands.bytes(), &mut flow.dice)
}

/// When every flow begins: in the year 2027, not at a round time of day.
const BEGINNING: u64 = 1_800_000_000_123_456_789;

impl Flow {
    /// The stream of a seed.
    #[must_use]
    pub fn new(seed: u64, style: Style) -> Self {
        Self::with_orders_max(seed, style, 0)
    }

    /// The stream of a seed, on an exchange where mostly so many orders may live; zero: any number.
    #[must_use]
    pub fn with_orders_max(seed: u64, style: Style, orders_max: u32) -> Self {
        let mut dice = Dice::new(seed);
        let market = Market::new(&mut dice, orders_max);
        let pace = dice.pick(&[Pace::Calm, Pace::Restless]);
        Self {
            style,
            dice,
            market,
            pace,
            time: BEGINNING,
            sent: 0,
        }
    }

    /// The stream of a seed, in which nobody activates a behaviour.
    #[must_use]
    pub fn without_activation(seed: u64, style: Style) -> Self {
        let mut flow = Self::new(seed, style);
        flow.market.activates = false;
        flow
    }

    /// The next batch: a few commands; the first one sets the market up.
    pub fn next_batch(&mut self) -> Commands {
        let records = if self.sent == 0 {
            self.market.set_up(&mut self.dice, Nanos(self.time))
        } else if self.dice.below(150) == 0 {
            realistic::flood(&mut self.market, &mut self.dice)
        } else if self.dice.below(500) == 0 && !self.market.instruments.is_empty() {
            advanced::crowd(&mut self.market, &mut self.dice)
        } else {
            let last = Nanos::NEVER.0 - 1;
            self.time = self.time.saturating_add(self.step()).min(last);
            let count = match self.dice.below(4) {
                0 => 1,
                1 => self.dice.between(2, 24),
                _ => self.dice.between(1, 6),
            };
            (0..count).map(|_| self.next_record()).collect()
        };
        let first = CommandSequence(self.sent + 1);
        self.sent += records.len() as u64;
        Commands {
            time: Nanos(self.time),
            first,
            records,
        }
    }

    /// Lets the next batch happen no earlier than this.
    pub fn jump(&mut self, to: Nanos) {
        self.time = self.time.max(to.0);
    }

    /// Shows the flow what its last batch led to.
    pub fn observe(&mut self, events: &[u8]) {
        self.market.observe(events);
    }

    /// How far time goes on between two batches.
    fn step(&mut self) -> u64 {
        let second = Nanos::SECOND.0;
        let hour = Nanos::HOUR.0;
        let kind = match self.pace {
            Pace::Calm => self.dice.below(62),
            Pace::Restless => self.dice.below(100),
        };
        match kind {
            0..10 => 0,
            10..60 => self.dice.below(second / 500),
            60..85 => self.dice.below(2 * second),
            85..96 => self.dice.below(hour / 2),
            96..99 => self.dice.below(24 * hour),
            // Exactly when something is due, which is where off-by-one errors live.
            _ => self.market.next_event(self.time).unwrap_or(second),
        }
    }

    fn next_record(&mut self) -> Vec<u8> {
        let now = Nanos(self.time);
        let record = realistic::command(&mut self.market, &mut self.dice, now);
        match self.style {
            Style::Realistic => record,
            Style::Hostile => hostile::spoil(record, &self.market, &mut self.dice, now),
        }
    }
}
