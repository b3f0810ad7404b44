//! `exahour feed`: drives a real order-by-order file through the gateway, as clients would.
//!
//! Called by the command line. `rows` reads, `listing` prepares the exchange, `desk` is one side's
//! session, `flow` both of them at work, `summary` counts. The `demo` drives its own rows through the
//! same flow.
//!
//! Always holds: the file is streamed; never more than the window is in flight; a row about an
//! order that is not live is counted, not fatal; Ctrl-C ends it with the counts so far.
//!
//! ```text
//! created -> NewOrder, good till cancelled       deleted -> CancelOrder
//! changed -> ReplaceOrder to (traded here + remaining in the file), which is its total
//! ```

pub(crate) mod desk;
pub(crate) mod flow;
pub(crate) mod listing;
pub(crate) mod rows;
pub(crate) mod summary;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use exahour_gateway::client::{Client, ClientError};
use exahour_wire::ids::{AccountId, InstrumentId, SessionId};
use exahour_wire::limits::INSTRUMENTS_MAX;
use exahour_wire::units::{Money, Price};

use crate::connection::NodeArguments;
use crate::exit::Interrupted;
use crate::interrupt::Interrupt;
use crate::listings::Listings;
use crate::output::{print, print_json, tell};
use crate::progress::byte_bar;
use desk::Desk;
use flow::Flow;
use listing::{FIRST_INSTRUMENT, Terms};
use rows::{Row, Rows};

/// Units of a file in a lot, unless another number is named.
pub(crate) const LOT: u64 = 100_000;

/// The most commands that may be in flight.
const WINDOW_MAX: usize = 2_048;

/// Rows between two looks at the progress of the check, where a row takes next to no time.
const ROWS_A_LOOK: u64 = 256;

/// How fast rows follow one another.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Speed {
    /// As fast as the exchange answers.
    AsFast,
    /// At so many times the pace of the file's own clock.
    Times(f64),
}

/// Trade an order-by-order CSV file at a running node, in a contract of its own.
#[derive(Clone, Debug, Args)]
#[command(allow_negative_numbers = true)]
pub struct Arguments {
    /// The file: id, timestamp (ms), price, volume (remaining), action (created, changed, deleted)
    /// and direction (bid, ask), with a header; other columns are passed over.
    #[arg(value_name = "FILE.csv")]
    file: PathBuf,
    #[command(flatten)]
    node: NodeArguments,
    /// The session of the bids.
    #[arg(long, value_name = "N", default_value_t = 1)]
    bid_session: u32,
    /// The account of the bids.
    #[arg(long, value_name = "N", default_value_t = 100)]
    bid_account: u32,
    /// The session of the asks.
    #[arg(long, value_name = "N", default_value_t = 2)]
    ask_session: u32,
    /// The account of the asks.
    #[arg(long, value_name = "N", default_value_t = 200)]
    ask_account: u32,
    /// One session for both sides, in the exact order of the file; needs --account.
    #[arg(long, value_name = "N", requires = "account")]
    session: Option<u32>,
    /// One account for both sides; needs --session.
    #[arg(long, value_name = "N", requires = "session")]
    account: Option<u32>,
    /// The session that lists the instrument and funds the accounts.
    #[arg(long, value_name = "N", default_value_t = 9)]
    operator_session: u32,
    /// The instrument to list [default: the first that is free from 100 on].
    #[arg(long, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(INSTRUMENTS_MAX)))]
    instrument: Option<u32>,
    /// The price that the instrument starts from [default: that of the first row].
    #[arg(long, value_name = "PRICE")]
    reference: Option<Price>,
    /// The step between prices.
    #[arg(long, value_name = "PRICE", default_value = "0.01")]
    tick: Price,
    /// Units of the file in one lot; what is left over is rounded up. 100000 makes a lot of 0.001
    /// of what the file counts in 1e-8: a million of such orders stay within the position limit.
    #[arg(long, value_name = "UNITS", default_value_t = LOT, value_parser = clap::value_parser!(u64).range(1..))]
    lot: u64,
    /// Dollars that each account is given.
    #[arg(long, value_name = "DOLLARS", default_value = "1000000000", value_parser = deposit)]
    deposit: Money,
    /// How fast: as-fast, real, or a multiple such as x60.
    #[arg(long, value_name = "SPEED", default_value = "as-fast", value_parser = speed)]
    speed: Speed,
    /// Read at most so many rows [default: all].
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true,
          value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Commands in flight, at most.
    #[arg(long, value_name = "N", default_value_t = 256)]
    window: usize,
    /// Write the summary as one JSON object.
    #[arg(long)]
    json: bool,
}

fn speed(text: &str) -> Result<Speed, String> {
    let times = match text {
        "as-fast" => return Ok(Speed::AsFast),
        "real" => Some(1.0),
        _ => text.strip_prefix('x').and_then(|it| it.parse::<f64>().ok()),
    };
    match times {
        Some(times) if times.is_finite() && times > 0.0 => Ok(Speed::Times(times)),
        _ => Err("expected as-fast, real, or a multiple such as x60".to_owned()),
    }
}

fn deposit(text: &str) -> Result<Money, String> {
    match text.parse::<Money>() {
        Ok(amount) if amount > Money(0) => Ok(amount),
        Ok(_) => Err("a deposit is above zero".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Drives the file through, to its end or until it is interrupted, and prints the summary.
///
/// The whole file is read once before the exchange hears of it, so that nothing is listed for a file
/// that is malformed.
///
/// # Errors
/// Where the file is malformed, nobody listens, or the exchange ends a session.
pub fn run(arguments: &Arguments) -> Result<()> {
    if !(1..=WINDOW_MAX).contains(&arguments.window) {
        bail!("--window {}: expected 1 to {WINDOW_MAX}", arguments.window);
    }
    let interrupt = Interrupt::watch()?;
    check(arguments, &interrupt)?;
    let mut rows = Rows::open(&arguments.file)?;
    let first = rows
        .next()?
        .with_context(|| format!("{} has no rows", arguments.file.display()))?;
    let clients = log_on(arguments)?;
    let instrument = prepare(arguments, &first)?;
    let desks = clients
        .into_iter()
        .map(|(client, account)| Desk::new(client, account, instrument, arguments.window));
    let flow = Flow::new(desks.collect(), instrument, arguments.lot, arguments.window)?;
    let mut flow = flow.heeding(interrupt.clone());
    let pace = Pace::new(arguments.speed, &first);
    let driven = drive(&mut flow, arguments, &pace, (&mut rows, first), &interrupt);
    let (answered, interrupted) = match driven {
        Ok(()) => (flow.drain_to_the_end(), None),
        Err(error) => match error.downcast::<Interrupted>() {
            Ok(interrupted) => (flow.drain_to_the_end(), Some(interrupted)),
            Err(error) => (Err(error), None),
        },
    };
    if let Err(error) = answered {
        let gone = matches!(
            error.downcast_ref::<ClientError>(),
            Some(ClientError::Disconnected { .. })
        );
        let error = match gone {
            true => anyhow!("the connection to the node is gone: does it still run?"),
            false => error,
        };
        return Err(error.context(flow.counts.so_far(instrument.0)));
    }
    let mut findings = flow
        .counts
        .findings(instrument.0, pace.begun.elapsed(), flow.live());
    findings.interrupted = interrupted.is_some();
    flow.leave()?;
    if arguments.json {
        print_json(&findings)?;
    } else {
        print(&findings.text())?;
    }
    match interrupted {
        Some(interrupted) => Err(interrupted.into()),
        None => Ok(()),
    }
}

/// Reads the whole file, where it can be read twice: a pipe cannot.
fn check(arguments: &Arguments, interrupt: &Interrupt) -> Result<()> {
    let about = arguments.file.metadata();
    let Some(about) = about.ok().filter(std::fs::Metadata::is_file) else {
        return Ok(());
    };
    let mut rows = Rows::open(&arguments.file)?;
    let bar = byte_bar(about.len(), "check");
    let mut count = 0;
    while count < arguments.limit && rows.next()?.is_some() {
        count += 1;
        interrupt.check()?;
        if count.is_multiple_of(ROWS_A_LOOK) {
            bar.set_position(rows.bytes());
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// Sends every row and waits for the answers.
fn drive(
    flow: &mut Flow,
    arguments: &Arguments,
    pace: &Pace,
    (rows, first): (&mut Rows, Row),
    interrupt: &Interrupt,
) -> Result<()> {
    let total = arguments.file.metadata().map_or(0, |about| about.len());
    let bar = byte_bar(total, "feed");
    let mut next = Some(first);
    while let Some(row) = next {
        interrupt.check()?;
        flow.step(&row, pace.due(&row))?;
        bar.set_position(rows.bytes());
        if flow.counts.rows >= arguments.limit {
            break;
        }
        next = rows.next()?;
    }
    flow.drain()?;
    bar.finish_and_clear();
    Ok(())
}

/// Lists the instrument and funds the accounts.
fn prepare(arguments: &Arguments, first: &Row) -> Result<InstrumentId> {
    let mut terms = Terms {
        reference: arguments.reference.unwrap_or(first.price),
        tick: arguments.tick,
        instrument: arguments.instrument.map_or(FIRST_INSTRUMENT, InstrumentId),
        or_next: arguments.instrument.is_none(),
    };
    terms.check()?;
    if terms.or_next {
        let listings = Listings::read(arguments.node.market_data()?)?;
        terms.instrument = listings.free_from(FIRST_INSTRUMENT)?;
    }
    let session = SessionId(arguments.operator_session);
    let mut operator = arguments.node.connect(session)?;
    let instrument = listing::list(&mut operator, &terms)?;
    for account in accounts(arguments) {
        listing::fund(&mut operator, account, arguments.deposit)?;
    }
    operator.terminate()?;
    if !arguments.json {
        tell(&format!(
            "listed instrument {instrument} at {}, tick {}; a position may reach {} lots",
            terms.reference,
            terms.tick,
            listing::position_cap(terms.reference)
        ));
    }
    Ok(instrument)
}

fn accounts(arguments: &Arguments) -> Vec<AccountId> {
    match arguments.account {
        Some(account) => vec![AccountId(account)],
        None => vec![
            AccountId(arguments.bid_account),
            AccountId(arguments.ask_account),
        ],
    }
}

/// Logs on the bids' session, and the asks' where they have one of their own.
fn log_on(arguments: &Arguments) -> Result<Vec<(Client, AccountId)>> {
    let client = |session, account| -> Result<(Client, AccountId)> {
        let client = arguments.node.connect(SessionId(session))?;
        Ok((client, AccountId(account)))
    };
    match (arguments.session, arguments.account) {
        (Some(session), Some(account)) => Ok(vec![client(session, account)?]),
        _ => Ok(vec![
            client(arguments.bid_session, arguments.bid_account)?,
            client(arguments.ask_session, arguments.ask_account)?,
        ]),
    }
}

/// When rows are due.
struct Pace {
    speed: Speed,
    begun: Instant,
    first_ms: u64,
}

impl Pace {
    fn new(speed: Speed, first: &Row) -> Self {
        Self {
            speed,
            begun: Instant::now(),
            first_ms: first.at_ms,
        }
    }

    /// When a row is due; now, where the pace is the exchange's.
    fn due(&self, row: &Row) -> Instant {
        match self.speed {
            Speed::AsFast => Instant::now(),
            Speed::Times(times) => {
                let after = Duration::from_millis(row.at_ms.saturating_sub(self.first_ms));
                self.begun + after.div_f64(times)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_read() {
        assert_eq!(speed("as-fast").unwrap(), Speed::AsFast);
        assert_eq!(speed("real").unwrap(), Speed::Times(1.0));
        assert_eq!(speed("x60").unwrap(), Speed::Times(60.0));
        for text in ["fast", "x0", "x-1", "xinf", "60"] {
            assert!(speed(text).is_err(), "{text}");
        }
    }
}
