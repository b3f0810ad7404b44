//! `exahour feed`: drives a real order-by-order file through the gateway, as clients would.
//!
//! Called by the command line. `rows` reads, `listing` prepares the exchange, `desk` is one side's
//! session, `summary` counts.
//!
//! Always holds: the file is streamed; never more than the window is in flight; a row about an
//! order that is not live is counted, not fatal.
//!
//! ```text
//! created -> NewOrder, good till cancelled       deleted -> CancelOrder
//! changed -> ReplaceOrder to (traded here + remaining in the file), which is its total
//! ```

mod desk;
mod listing;
mod rows;
mod summary;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use exahour_gateway::client::Client;
use exahour_wire::codes::Side;
use exahour_wire::ids::{AccountId, ClientOrderId, InstrumentId, SessionId};
use exahour_wire::units::{Money, Price};

use crate::connection::NodeArguments;
use crate::output::{print, print_json};
use crate::progress::byte_bar;
use desk::{Changed, Desk};
use listing::Terms;
use rows::{Action, Row, Rows};
use summary::Counts;

/// The most commands that may be in flight.
const WINDOW_MAX: usize = 2_048;

/// How long a feed sleeps at most while it waits for answers or for its time.
const NAP: Duration = Duration::from_millis(1);

/// How long the exchange may keep a full window, or the last commands, without an answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// Rows between two looks at the progress.
const ROWS_A_LOOK: u64 = 256;

/// How fast rows follow one another.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Speed {
    /// As fast as the exchange answers.
    AsFast,
    /// At so many times the pace of the file's own clock.
    Times(f64),
}

/// Drive an order-by-order CSV file through the gateway.
#[derive(Clone, Debug, Args)]
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
    #[arg(long, value_name = "N")]
    instrument: Option<u32>,
    /// The price that the instrument starts from [default: that of the first row].
    #[arg(long, value_name = "PRICE")]
    reference: Option<Price>,
    /// The step between prices.
    #[arg(long, value_name = "PRICE", default_value = "0.01")]
    tick: Price,
    /// Units of the file in one lot; what is left over is rounded up. 100000 makes a lot of 0.001
    /// of what the file counts in 1e-8: a million of such orders stay within the position limit.
    #[arg(long, value_name = "UNITS", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    lot: u64,
    /// Dollars that each account is given.
    #[arg(long, value_name = "DOLLARS", default_value = "1000000000")]
    deposit: Money,
    /// How fast: as-fast, real, or a multiple such as x60.
    #[arg(long, value_name = "SPEED", default_value = "as-fast", value_parser = speed)]
    speed: Speed,
    /// Read at most so many rows.
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

/// Drives the file through and prints the summary.
///
/// # Errors
/// Where the file is malformed, nobody listens, or the exchange ends a session.
pub fn run(arguments: &Arguments) -> Result<()> {
    if !(1..=WINDOW_MAX).contains(&arguments.window) {
        bail!("--window {}: expected 1 to {WINDOW_MAX}", arguments.window);
    }
    let mut rows = Rows::open(&arguments.file)?;
    let first = rows
        .next()?
        .with_context(|| format!("{} has no rows", arguments.file.display()))?;
    let instrument = prepare(arguments, &first)?;
    let mut flow = Flow::open(arguments, instrument)?;
    let total = arguments.file.metadata().map_or(0, |about| about.len());
    let bar = byte_bar(total, "feed");
    let pace = Pace::new(arguments.speed, &first);
    let mut next = Some(first);
    while let Some(row) = next {
        flow.step(&row, &pace)?;
        if flow.counts.rows.is_multiple_of(ROWS_A_LOOK) {
            bar.set_position(rows.bytes());
        }
        if flow.counts.rows >= arguments.limit {
            break;
        }
        next = rows.next()?;
    }
    flow.drain()?;
    bar.finish_and_clear();
    let findings = flow
        .counts
        .findings(instrument.0, pace.begun.elapsed(), flow.live());
    flow.leave()?;
    if arguments.json {
        print_json(&findings)
    } else {
        print(&findings.text())
    }
}

/// Lists the instrument and funds the accounts.
fn prepare(arguments: &Arguments, first: &Row) -> Result<InstrumentId> {
    let terms = Terms {
        reference: arguments.reference.unwrap_or(first.price),
        tick: arguments.tick,
        instrument: arguments.instrument.map(InstrumentId),
    };
    let session = SessionId(arguments.operator_session);
    let mut operator = arguments.node.connect(session)?;
    let instrument = listing::list(&mut operator, &terms)?;
    for account in accounts(arguments) {
        listing::fund(&mut operator, account, arguments.deposit)?;
    }
    operator.terminate()?;
    if !arguments.json {
        eprintln!(
            "listed instrument {instrument} at {}, tick {}; a position may reach {} lots",
            terms.reference,
            terms.tick,
            listing::position_cap(terms.reference)
        );
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

/// Both sides at work.
struct Flow {
    /// The bids' desk, and the asks' where they have one of their own.
    desks: Vec<Desk>,
    counts: Counts,
    instrument: InstrumentId,
    lot: u64,
    window: usize,
}

impl Flow {
    fn open(arguments: &Arguments, instrument: InstrumentId) -> Result<Self> {
        let connect = |session| -> Result<Client> { arguments.node.connect(SessionId(session)) };
        let window = arguments.window;
        let desks = match (arguments.session, arguments.account) {
            (Some(session), Some(account)) => {
                let client = connect(session)?;
                vec![Desk::new(client, AccountId(account), instrument, window)]
            }
            _ => {
                let bids = connect(arguments.bid_session)?;
                let asks = connect(arguments.ask_session)?;
                let (bidder, asker) = (arguments.bid_account, arguments.ask_account);
                vec![
                    Desk::new(bids, AccountId(bidder), instrument, window),
                    Desk::new(asks, AccountId(asker), instrument, window),
                ]
            }
        };
        Ok(Self {
            desks,
            counts: Counts::new()?,
            instrument,
            lot: arguments.lot,
            window,
        })
    }

    /// Sends what a row asks for, once it is due and there is room.
    fn step(&mut self, row: &Row, pace: &Pace) -> Result<()> {
        let due = pace.due(row);
        while Instant::now() < due {
            self.flush()?;
            let left = due.saturating_duration_since(Instant::now());
            self.hear(left.min(NAP))?;
        }
        let until = Instant::now() + ANSWERS_WITHIN;
        while self.in_flight() >= self.window {
            self.flush()?;
            self.hear(NAP)?;
            self.check_patience(until)?;
        }
        self.act(row, due)?;
        self.counts.rows += 1;
        Ok(())
    }

    fn act(&mut self, row: &Row, due: Instant) -> Result<()> {
        // Ids of a run are its own: earlier runs may have left orders of the same file in the book.
        let name = ClientOrderId(u64::from(self.instrument.0) << 40 | row.id);
        let lots = row.volume.div_ceil(self.lot);
        let place = match row.side {
            Side::Sell if self.desks.len() > 1 => 1,
            _ => 0,
        };
        let desk = &mut self.desks[place];
        let changed = match row.action {
            Action::Created => {
                desk.enter(name, (row.side, row.price, lots), due)?;
                self.counts.orders += 1;
                return Ok(());
            }
            Action::Changed if lots > 0 => {
                let changed = desk.change(name, (row.price, lots), due)?;
                self.counts.replaces += u64::from(changed == Changed::Sent);
                changed
            }
            Action::Changed | Action::Deleted => {
                let changed = desk.cancel(name, due)?;
                self.counts.cancels += u64::from(changed == Changed::Sent);
                changed
            }
        };
        self.counts.not_live += u64::from(changed == Changed::NotLive);
        self.counts.unchanged += u64::from(changed == Changed::Already);
        Ok(())
    }

    /// Takes in what was said, and waits for it for `patience` where nothing was.
    fn hear(&mut self, patience: Duration) -> Result<()> {
        let mut any = false;
        for desk in &mut self.desks {
            any |= desk.poll(&mut self.counts)?;
        }
        if any {
            return Ok(());
        }
        let busiest = self.desks.iter_mut().max_by_key(|desk| desk.in_flight());
        if let Some(desk) = busiest {
            desk.wait(patience, &mut self.counts)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.desks.iter_mut().try_for_each(Desk::flush)
    }

    fn in_flight(&self) -> usize {
        self.desks.iter().map(Desk::in_flight).sum()
    }

    fn live(&self) -> usize {
        self.desks.iter().map(Desk::live).sum()
    }

    /// Waits for the answers to all that was sent.
    fn drain(&mut self) -> Result<()> {
        let until = Instant::now() + ANSWERS_WITHIN;
        while self.in_flight() > 0 {
            self.flush()?;
            self.hear(NAP)?;
            self.check_patience(until)?;
        }
        Ok(())
    }

    /// Gives up on an exchange that lives and does not answer.
    fn check_patience(&self, until: Instant) -> Result<()> {
        if Instant::now() > until {
            bail!(
                "{} commands were not answered within {} s: is the node overloaded, or its disk full?",
                self.in_flight(),
                ANSWERS_WITHIN.as_secs()
            );
        }
        Ok(())
    }

    fn leave(self) -> Result<()> {
        self.desks.into_iter().try_for_each(Desk::leave)
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
