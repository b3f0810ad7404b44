//! `exahour operate`: what an operator says about when and at which prices a contract trades, about trades
//! that should not have been, and about who may trade and hold what.
//!
//! Called by the command line.
//!
//! Always holds: one command of the exchange for each call, but for `show`, which asks; whether it may
//! be is for the exchange to say.

mod risk;

use std::fs::File;
use std::io::{Read, stdin};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{ArgGroup, Args, Subcommand};
use exahour_gateway::client::Client;
use exahour_replicas::time_of_day;
use exahour_wire::codes::Allocation;
use exahour_wire::ids::{ClientOrderId, InstrumentId, SessionId, TradeId};
use exahour_wire::message::{Digest, Message};
use exahour_wire::operations::{
    BustTrade, CorrectTrade, HaltTrading, ResumeTrading, SetAuctionSeed, SetCalendar,
    SetCircuitBreaker, SetPriceBand,
};
use exahour_wire::units::{Millis, PartsPerMillion, Price, Quantity};
use serde::Serialize;

use super::order::span;
use super::{Seen, Sent, follow, fresh_name, leave, show};
use crate::connection::NodeArguments;
use crate::listings::{InstrumentName, Listings};
use crate::output::{print, print_json, tell};
use crate::text::{parse_parts_with_unit, percent};

/// Where no answer comes.
const DOUBT: &str = "it is not known whether it was done";

/// Show, halt and guard trading, set trading days, correct trades, stop firms, move money.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  exahour operate show 1\n  exahour operate halt 1 --for 15m\n  \
                  exahour operate circuit-breaker 2 15% --linked 1\n  exahour operate correct 4711 2.50 3\n  \
                  exahour operate kill firm 2\n  exahour operate deposit 100 25000"
)]
pub struct Arguments {
    #[command(subcommand)]
    operation: Operation,
}

#[derive(Clone, Debug, Subcommand)]
enum Operation {
    Show(show::Arguments),
    Halt(Halt),
    Resume(Resume),
    Calendar(Calendar),
    AuctionSeed(AuctionSeed),
    CircuitBreaker(CircuitBreaker),
    PriceBand(PriceBand),
    Bust(Bust),
    Correct(Correct),
    /// Throw the kill switch: all orders of a session, an account or a firm are cancelled, and none is taken.
    Kill(risk::Stopped),
    /// Ask that what a kill switch has stopped may trade again; another operator must confirm it.
    AskRelease(risk::Stopped),
    /// Confirm a release that an operator of another firm has asked for.
    ConfirmRelease(risk::Stopped),
    /// Set how much of an instrument an account may hold.
    PositionLimit(risk::PositionLimit),
    /// Credit an account with money that came from outside.
    Deposit(risk::Cash),
    /// Debit an account with money that goes outside, as far as it is available.
    Withdraw(risk::Cash),
    /// Mark all positions in an instrument to a settlement price.
    Settle(risk::Settlement),
}

/// Who says it, and to which node.
#[derive(Clone, Debug, Args)]
struct Sender {
    /// The session that says it; it needs the permission `operator`.
    #[arg(long, value_name = "N", default_value_t = 9)]
    session: u32,
    #[command(flatten)]
    node: NodeArguments,
    /// Write the report as JSON.
    #[arg(long)]
    json: bool,
}

/// Halt an instrument, and what follows it: orders are collected until an auction ends the halt.
#[derive(Clone, Debug, Args)]
struct Halt {
    /// Its number or symbol.
    #[arg(value_name = "INSTRUMENT")]
    instrument: InstrumentName,
    /// For how long, such as 90s or 15m [default: until it is resumed].
    #[arg(long = "for", value_name = "SPAN", value_parser = millis)]
    duration: Option<Millis>,
    #[command(flatten)]
    sender: Sender,
}

/// End a halt with an auction.
#[derive(Clone, Debug, Args)]
struct Resume {
    /// The instrument's number or symbol.
    #[arg(value_name = "INSTRUMENT")]
    instrument: InstrumentName,
    #[command(flatten)]
    sender: Sender,
}

/// Set an instrument's trading day and the rules of its auctions, or say that it trades around the clock.
///
/// What was set before is replaced, the collar and the order of filling too.
#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("hours").args(["call_start", "around_the_clock"]).required(true))]
struct Calendar {
    /// Its number or symbol.
    #[arg(value_name = "INSTRUMENT")]
    instrument: InstrumentName,
    /// No trading day: it trades at all times, and a day that was set is taken away.
    #[arg(long, conflicts_with_all = ["uncross", "closing_call", "closing_uncross", "random_end"])]
    around_the_clock: bool,
    /// When orders are collected for the opening auction, in UTC, such as 07:50.
    #[arg(long, value_name = "TIME", value_parser = day_time, requires_all = ["uncross", "closing_call", "closing_uncross"])]
    call_start: Option<Millis>,
    /// When the opening auction is held.
    #[arg(long, value_name = "TIME", value_parser = day_time, requires = "call_start")]
    uncross: Option<Millis>,
    /// When orders are collected for the closing auction.
    #[arg(long, value_name = "TIME", value_parser = day_time, requires = "call_start")]
    closing_call: Option<Millis>,
    /// When the closing auction is held; 24:00 at the latest.
    #[arg(long, value_name = "TIME", value_parser = day_time, requires = "call_start")]
    closing_uncross: Option<Millis>,
    /// How much later, by chance, an auction may be held, such as 30s.
    #[arg(long, value_name = "SPAN", value_parser = millis, requires = "call_start")]
    random_end: Option<Millis>,
    /// How far an auction's price may be from the reference price, such as 10% or
    /// 100000ppm [default: any distance].
    #[arg(long, value_name = "FRACTION", value_parser = fraction)]
    collar: Option<PartsPerMillion>,
    /// At the last price that an auction serves the largest orders come first [default: the oldest].
    #[arg(long)]
    by_size: bool,
    #[command(flatten)]
    sender: Sender,
}

/// Set the secret from which the random ends of auctions are drawn.
#[derive(Clone, Debug, Args)]
struct AuctionSeed {
    /// A file of 64 hexadecimal digits, as `openssl rand -hex 32` writes them; - for standard input. It
    /// is read, never printed; it stands in the journal, which is the operator's own.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    sender: Sender,
}

/// Set the circuit breaker of an instrument: a trade further than this from any price of the last 300 s
/// halts it instead.
#[derive(Clone, Debug, Args)]
struct CircuitBreaker {
    /// The instrument's number or symbol.
    #[arg(value_name = "INSTRUMENT")]
    instrument: InstrumentName,
    /// How far prices may move, such as 15% or 150000ppm; 0 for no breaker.
    #[arg(value_name = "FRACTION", value_parser = fraction)]
    threshold: PartsPerMillion,
    /// Another instrument, whose halts it follows.
    #[arg(long, value_name = "INSTRUMENT")]
    linked: Option<InstrumentName>,
    #[command(flatten)]
    sender: Sender,
}

/// Set the price band of an instrument: no trade further than this from the mean price of the last
/// 300 s.
#[derive(Clone, Debug, Args)]
struct PriceBand {
    /// The instrument's number or symbol.
    #[arg(value_name = "INSTRUMENT")]
    instrument: InstrumentName,
    /// How wide it is to each side, such as 5% or 50000ppm; 0 for no band.
    #[arg(value_name = "FRACTION", value_parser = fraction)]
    width: PartsPerMillion,
    #[command(flatten)]
    sender: Sender,
}

/// Undo a trade.
#[derive(Clone, Debug, Args)]
struct Bust {
    /// Its number, as `OrderFilled` and the feed tell it.
    #[arg(value_name = "TRADE", value_parser = clap::value_parser!(u64).range(1..))]
    trade: u64,
    #[command(flatten)]
    sender: Sender,
}

/// Undo a trade and make it anew at another price, or of fewer lots.
#[derive(Clone, Debug, Args)]
struct Correct {
    /// Its number, as `OrderFilled` and the feed tell it.
    #[arg(value_name = "TRADE", value_parser = clap::value_parser!(u64).range(1..))]
    trade: u64,
    /// What its price should have been, in dollars.
    #[arg(value_name = "PRICE", value_parser = price)]
    price: Price,
    /// How many lots it should have been; not more than it is.
    #[arg(value_name = "LOTS", value_parser = clap::value_parser!(u64).range(1..))]
    lots: u64,
    #[command(flatten)]
    sender: Sender,
}

/// Says it.
///
/// # Errors
/// Where nobody listens, something that is named is not there, or the exchange refuses.
pub fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.operation {
        Operation::Show(it) => show::run(it),
        Operation::Halt(it) => halt(it),
        Operation::Resume(it) => resume(it),
        Operation::Calendar(it) => calendar(it),
        Operation::AuctionSeed(it) => auction_seed(it),
        Operation::CircuitBreaker(it) => circuit_breaker(it),
        Operation::PriceBand(it) => price_band(it),
        Operation::Bust(it) => bust(it),
        Operation::Correct(it) => correct(it),
        Operation::Kill(it) => risk::kill(it),
        Operation::AskRelease(it) => risk::ask_release(it),
        Operation::ConfirmRelease(it) => risk::confirm_release(it),
        Operation::PositionLimit(it) => risk::position_limit(it),
        Operation::Deposit(it) => risk::deposit(it),
        Operation::Withdraw(it) => risk::withdraw(it),
        Operation::Settle(it) => risk::settle(it),
    }
}

fn halt(arguments: &Halt) -> Result<()> {
    let instrument = arguments.sender.instrument(&arguments.instrument)?;
    let command = HaltTrading {
        request: fresh_name(),
        instrument,
        duration: arguments.duration.unwrap_or(Millis(0)),
        ..HaltTrading::blank()
    };
    let sender = &arguments.sender;
    let mut client = sender.node.connect(SessionId(sender.session))?;
    let sent = Sent::send(&mut client, &command, command.request, DOUBT)?;
    let outcome = follow(&mut client, &sent, Duration::ZERO, sender.json, |_| {
        Seen::Enough
    });
    if outcome.is_err() {
        leave(client);
        return outcome;
    }
    let until = match arguments.duration {
        Some(duration) => format!("for {} ms", duration.0),
        None => "until it is resumed".to_owned(),
    };
    let told = sender.tell(&format!("instrument {instrument} is halted {until}"));
    // What follows it is halted by the same command. Who that is takes market data and questions, which may
    // fail: the halt stands.
    let followers = followers(&mut client, sender, instrument);
    leave(client);
    told?;
    tell_followers(sender, instrument, followers)
}

/// The instruments that are halted with another, and what they are called.
fn followers(
    client: &mut Client,
    sender: &Sender,
    instrument: InstrumentId,
) -> Result<Vec<(InstrumentId, String)>> {
    let listings = Listings::read(sender.node.market_data()?)?;
    let halted = show::halted_with(client, &listings, instrument)?;
    let named = halted.into_iter().map(|id| (id, listings.name_of(id)));
    Ok(named.collect())
}

fn tell_followers(
    sender: &Sender,
    instrument: InstrumentId,
    followers: Result<Vec<(InstrumentId, String)>>,
) -> Result<()> {
    if let Err(error) = &followers {
        tell(&format!(
            "the halt stands; what is halted with it is not known: {error:#}"
        ));
    }
    let followers = followers.ok();
    if sender.json {
        let numbers = |it: &Vec<(InstrumentId, String)>| it.iter().map(|(id, _)| id.0).collect();
        return print_json(&Halted {
            instrument: instrument.0,
            halted_with: followers.as_ref().map(numbers),
        });
    }
    let names: Vec<String> = followers
        .unwrap_or_default()
        .into_iter()
        .map(|(_, name)| name)
        .collect();
    match names.is_empty() {
        true => Ok(()),
        false => print(&format!("halted with it: {}\n", names.join(", "))),
    }
}

/// What a halt has halted, the instruments that follow it among them.
#[derive(Serialize)]
struct Halted {
    instrument: u32,
    /// None where it could not be found out.
    halted_with: Option<Vec<u32>>,
}

fn resume(arguments: &Resume) -> Result<()> {
    let instrument = arguments.sender.instrument(&arguments.instrument)?;
    let command = ResumeTrading {
        request: fresh_name(),
        instrument,
        ..ResumeTrading::blank()
    };
    let done = format!("the halt of instrument {instrument} has ended");
    arguments.sender.say(&command, command.request, &done)
}

fn calendar(arguments: &Calendar) -> Result<()> {
    let instrument = arguments.sender.instrument(&arguments.instrument)?;
    let given = |time: Option<Millis>| time.unwrap_or(Millis(0));
    let allocation = match arguments.by_size {
        true => Allocation::Size,
        false => Allocation::Time,
    };
    let command = SetCalendar {
        request: fresh_name(),
        instrument,
        call_start: given(arguments.call_start),
        uncross: given(arguments.uncross),
        closing_call: given(arguments.closing_call),
        closing_uncross: given(arguments.closing_uncross),
        random_end: given(arguments.random_end),
        collar: arguments.collar.unwrap_or(PartsPerMillion(0)),
        allocation: allocation.into(),
        ..SetCalendar::blank()
    };
    let day = match arguments.around_the_clock {
        true => "trades around the clock",
        false => "has a trading day",
    };
    let collar = match command.collar {
        PartsPerMillion(0) => "its auctions have no collar".to_owned(),
        collar => format!("its auctions have a collar of {}", percent(collar)),
    };
    let done = format!("instrument {instrument} {day}; {collar}");
    arguments.sender.say(&command, command.request, &done)
}

fn auction_seed(arguments: &AuctionSeed) -> Result<()> {
    let command = SetAuctionSeed {
        request: fresh_name(),
        seed: read_seed(&arguments.file)?,
        ..SetAuctionSeed::blank()
    };
    let done = "the random ends of auctions are drawn from another secret";
    arguments.sender.say(&command, command.request, done)
}

fn circuit_breaker(arguments: &CircuitBreaker) -> Result<()> {
    let sender = &arguments.sender;
    let instrument = sender.instrument(&arguments.instrument)?;
    let linked = match &arguments.linked {
        Some(linked) => sender.instrument(linked)?,
        None => InstrumentId::NONE,
    };
    let command = SetCircuitBreaker {
        request: fresh_name(),
        instrument,
        linked,
        threshold: arguments.threshold,
        ..SetCircuitBreaker::blank()
    };
    let guard = match arguments.threshold {
        PartsPerMillion(0) => "no breaker of its own".to_owned(),
        threshold => format!("a breaker at {}", percent(threshold)),
    };
    let follows = match linked {
        InstrumentId::NONE => String::new(),
        linked => format!(", and follows the halts of instrument {linked}"),
    };
    let done = format!("instrument {instrument} has {guard}{follows}");
    sender.say(&command, command.request, &done)
}

fn price_band(arguments: &PriceBand) -> Result<()> {
    let instrument = arguments.sender.instrument(&arguments.instrument)?;
    let command = SetPriceBand {
        request: fresh_name(),
        instrument,
        width: arguments.width,
        ..SetPriceBand::blank()
    };
    let band = match arguments.width {
        PartsPerMillion(0) => "no price band".to_owned(),
        width => format!("a price band of {} to each side", percent(width)),
    };
    let done = format!("instrument {instrument} has {band}");
    arguments.sender.say(&command, command.request, &done)
}

fn bust(arguments: &Bust) -> Result<()> {
    let command = BustTrade {
        request: fresh_name(),
        trade: TradeId(arguments.trade),
        ..BustTrade::blank()
    };
    let done = format!("trade {} is undone", arguments.trade);
    arguments.sender.say(&command, command.request, &done)
}

fn correct(arguments: &Correct) -> Result<()> {
    let command = CorrectTrade {
        request: fresh_name(),
        trade: TradeId(arguments.trade),
        price: arguments.price,
        quantity: Quantity(arguments.lots),
        ..CorrectTrade::blank()
    };
    let Correct { trade, lots, .. } = arguments;
    let done = format!("trade {trade} is one of {lots} lots at {}", arguments.price);
    arguments.sender.say(&command, command.request, &done)
}

impl Sender {
    fn instrument(&self, name: &InstrumentName) -> Result<InstrumentId> {
        name.resolve(&self.node)
    }

    /// Sends a command of this name, waits for its answer, and says what is so now.
    fn say<M: Message>(&self, command: &M, request: ClientOrderId, done: &str) -> Result<()> {
        self.say_or(command, request, done, DOUBT.to_owned())
    }

    /// As [`Self::say`]; where no answer comes, `doubt` is said.
    fn say_or<M: Message>(
        &self,
        command: &M,
        request: ClientOrderId,
        done: &str,
        doubt: String,
    ) -> Result<()> {
        let mut client = self.node.connect(SessionId(self.session))?;
        let sent = Sent::send(&mut client, command, request, doubt)?;
        let outcome = follow(&mut client, &sent, Duration::ZERO, self.json, |_| {
            Seen::Enough
        });
        leave(client);
        outcome?;
        self.tell(done)
    }

    /// Says it to people; programs have the report.
    fn tell(&self, done: &str) -> Result<()> {
        match self.json {
            true => Ok(()),
            false => print(&format!("{done}\n")),
        }
    }
}

/// More than any file of 64 digits has.
const FILE_MAX: u64 = 4_096;

fn read_seed(path: &Path) -> Result<Digest> {
    let mut text = String::new();
    let read = match path.as_os_str() == "-" {
        true => stdin().take(FILE_MAX).read_to_string(&mut text),
        false => File::open(path).and_then(|file| file.take(FILE_MAX).read_to_string(&mut text)),
    };
    read.with_context(|| format!("cannot read {}", path.display()))?;
    parse_seed(&text).with_context(|| {
        let path = path.display();
        format!("{path} will not do: `openssl rand -hex 32 > {path}` writes what is needed")
    })
}

fn parse_seed(text: &str) -> Result<Digest> {
    let digits = text.trim().as_bytes();
    ensure!(digits.len() == 64, "it has not 64 digits");
    let mut seed = [0; 32];
    for (byte, pair) in seed.iter_mut().zip(digits.chunks_exact(2)) {
        for digit in pair {
            let value = char::from(*digit).to_digit(16);
            let value = value.context("not all of it is hexadecimal digits")?;
            *byte = *byte << 4 | value.to_le_bytes()[0];
        }
    }
    Ok(Digest(seed))
}

fn millis(text: &str) -> Result<Millis, String> {
    let span = span(text)?;
    let whole = span.subsec_nanos().is_multiple_of(1_000_000) && !span.is_zero();
    let millis = u32::try_from(span.as_millis()).ok().filter(|_| whole);
    millis
        .map(Millis)
        .ok_or_else(|| "expected whole milliseconds, from 1ms to 49 days".to_owned())
}

fn day_time(text: &str) -> Result<Millis, String> {
    time_of_day(text)
        .ok_or_else(|| "expected a time of day in UTC such as 07:50 or 07:50:30".to_owned())
}

fn fraction(text: &str) -> Result<PartsPerMillion, String> {
    parse_parts_with_unit(text).ok_or_else(|| {
        "expected a fraction with its unit: percent such as 15%, or parts per million such as 150000ppm"
            .to_owned()
    })
}

fn price(text: &str) -> Result<Price, String> {
    text.parse::<Price>()
        .map_err(|error| format!("expected a price in dollars such as 2.50: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_64_hexadecimal_digits() {
        let seed = parse_seed(&format!("{}ff\n", "0a".repeat(31))).unwrap();
        assert_eq!((seed.0[0], seed.0[31]), (0x0a, 0xff));
        for (text, why) in [("0a", "64 digits"), (&"xy".repeat(32), "hexadecimal")] {
            let refused = parse_seed(text).unwrap_err().to_string();
            assert!(refused.contains(why), "{refused}");
        }
    }
}
