//! Trades rows at a fixed rate, and kills the node in full flow.
//!
//! Called by `demo` once.
//!
//! Always holds: the rate is an open loop, and latency counts from when a row was due; at the kill
//! a burst is on its way that nobody has heard anything of, and some of it is in the journal.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use exahour_journal::{Reader, Verify};
use exahour_wire::ids::{AccountId, InstrumentId, SessionId};
use exahour_wire::units::{Money, Price};
use hdrhistogram::Histogram;
use serde::Serialize;

use super::Narrator;
use super::site::Site;
use crate::feed::LOT;
use crate::feed::desk::{Acknowledged, Desk};
use crate::feed::flow::Flow;
use crate::feed::listing::{self, Terms};
use crate::feed::rows::Row;
use crate::feed::summary::Counts;
use crate::progress::count_bar;

/// Session and account of the bids and of the asks, and the operator's session: the node's defaults.
pub(super) const BIDS: (SessionId, AccountId) = (SessionId(1), AccountId(100));
/// See [`BIDS`].
pub(super) const ASKS: (SessionId, AccountId) = (SessionId(2), AccountId(200));
/// See [`BIDS`].
pub(super) const OPERATOR: SessionId = SessionId(9);

/// Dollars that each account is given.
const DEPOSIT: Money = Money(1_000_000_000_000_000);
/// Commands in flight, at most.
const WINDOW: usize = 1_024;
/// Rows that are sent at once before the kill.
const BURST: usize = 256;
/// The fewest rows that can be traded: there must be some before and after the burst.
pub(super) const ROWS_MIN: usize = 2 * BURST;
/// How long the journal may take to grow before the node is killed all the same.
const TAKEN_WITHIN: Duration = Duration::from_secs(1);
/// Rows between two looks at progress and signals.
const ROWS_A_LOOK: usize = 512;

/// What trading came to.
#[derive(Debug, Serialize)]
pub(super) struct Traded {
    pub(super) instrument: u32,
    rows: u64,
    messages: u64,
    /// Of those, how many were answered: neither told as not applied nor refused as too many.
    pub(super) taken: u64,
    acknowledged: u64,
    trades: u64,
    lots: u64,
    /// Commands on their way at the kill.
    in_flight_at_kill: usize,
    /// Of those, how many the exchange had taken; their answers came after the restart.
    taken_before_kill: u64,
    /// Of those, how many were told as not applied.
    not_applied: u64,
    /// From the kill until both clients were logged on again.
    outage_ms: f64,
    /// Of all answers before the kill.
    latency_us: Percentiles,
    #[serde(skip)]
    histogram: Histogram<u64>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Percentiles {
    p50: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

impl Percentiles {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        Self {
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max() as f64 / 1_000.0,
        }
    }
}

/// Trades all rows; the node is killed in the middle and started again.
pub(super) fn trade(
    site: &mut Site,
    address: SocketAddr,
    rows: &[Row],
    rate: u64,
    say: &Narrator,
) -> Result<(Traded, Vec<Acknowledged>)> {
    let instrument = list(site, rows)?;
    let desk = |(session, account): (SessionId, AccountId)| -> Result<Desk> {
        let client = site.connect(session)?;
        Ok(Desk::new(client, account, instrument, WINDOW).noting_acknowledged())
    };
    let mut flow = Flow::new(vec![desk(BIDS)?, desk(ASKS)?], instrument, LOT, WINDOW)?;
    say.line(&format!(
        "   sessions {} and {} logged on at {address}",
        BIDS.0, ASKS.0
    ))?;
    let (before, rest) = rows.split_at(rows.len() / 2);
    let (burst, after) = rest.split_at(BURST);
    let bar = count_bar(rows.len() as u64, "trade");
    drive(site, &mut flow, before, rate, &bar)?;
    let histogram = flow.counts.latencies.clone();
    let struck = strike(site, &mut flow, burst)?;
    bar.suspend(|| {
        say.line(&format!(
            "   SIGKILL with {} commands on their way; a new process has recovered, {:.0} ms later \
             the clients are back",
            struck.in_flight,
            struck.outage.as_secs_f64() * 1_000.0
        ))
    })?;
    drive(site, &mut flow, after, rate, &bar)?;
    flow.drain()?;
    bar.finish_and_clear();
    let acknowledged: Vec<Acknowledged> = flow.acknowledged().collect();
    let traded = Traded::new(&flow.counts, instrument, &struck, histogram);
    flow.leave()?;
    Ok((traded, acknowledged))
}

/// Lists the contract and funds the accounts.
fn list(site: &Site, rows: &[Row]) -> Result<InstrumentId> {
    let mut operator = site.connect(OPERATOR)?;
    let terms = Terms {
        reference: rows[0].price,
        tick: Price(10_000),
        instrument: listing::FIRST_INSTRUMENT,
        or_next: true,
    };
    let instrument = listing::list(&mut operator, &terms)?;
    for (_, account) in [BIDS, ASKS] {
        listing::fund(&mut operator, account, DEPOSIT)?;
    }
    operator.terminate()?;
    Ok(instrument)
}

/// Sends rows when they are due, and hears everything that was said by the end.
fn drive(
    site: &Site,
    flow: &mut Flow,
    rows: &[Row],
    rate: u64,
    bar: &indicatif::ProgressBar,
) -> Result<()> {
    let begun = Instant::now();
    for (place, row) in rows.iter().enumerate() {
        let nanos = place as u128 * 1_000_000_000 / u128::from(rate);
        let due = begun + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        flow.step(row, due)?;
        if place.is_multiple_of(ROWS_A_LOOK) {
            site.check_signals(0)?;
            bar.set_position(flow.counts.rows);
        }
    }
    Ok(())
}

/// How it went at the kill.
struct Struck {
    in_flight: usize,
    taken: u64,
    not_applied: u64,
    outage: Duration,
}

/// Sends a burst, kills the node before anything of it is heard, starts it again, and logs on again.
///
/// The second half goes out once the journal has grown by some of the first: so the node dies between
/// having taken commands and having been heard.
fn strike(site: &mut Site, flow: &mut Flow, burst: &[Row]) -> Result<Struck> {
    let journal = site.data().join("journal");
    let journal = Reader::follow(&journal, Verify::Trust).context("journal")?;
    let grown = journal.appended();
    let (first, second) = burst.split_at(burst.len() / 2);
    for half in [first, second] {
        for row in half {
            flow.act(row, Instant::now())?;
        }
        flow.flush()?;
        let until = Instant::now() + TAKEN_WITHIN;
        while journal.appended() == grown && Instant::now() < until {
            std::thread::yield_now();
        }
    }
    let in_flight = flow.in_flight();
    let (answered, told) = (flow.counts.latencies.len(), flow.counts.not_applied);
    let begun = Instant::now();
    site.kill_node()?;
    let serving = site.start_node()?;
    flow.reconnect(serving.orders)?;
    let outage = begun.elapsed();
    // Every command that was on its way is answered now, or told as not applied.
    flow.drain()?;
    Ok(Struck {
        in_flight,
        taken: flow.counts.latencies.len() - answered,
        not_applied: flow.counts.not_applied - told,
        outage,
    })
}

impl Traded {
    fn new(
        counts: &Counts,
        instrument: InstrumentId,
        struck: &Struck,
        histogram: Histogram<u64>,
    ) -> Self {
        let messages = counts.orders + counts.cancels + counts.replaces;
        Self {
            instrument: instrument.0,
            rows: counts.rows,
            messages,
            taken: messages - counts.not_applied - counts.busy,
            acknowledged: counts.accepted,
            trades: counts.trades,
            lots: counts.lots,
            in_flight_at_kill: struck.in_flight,
            taken_before_kill: struck.taken,
            not_applied: struck.not_applied,
            outage_ms: struck.outage.as_secs_f64() * 1_000.0,
            latency_us: Percentiles::of(&histogram),
            histogram,
        }
    }

    /// The text to read.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "   of the {} on their way, {} had been taken and were answered after the restart, {} \
             were told as not applied",
            self.in_flight_at_kill, self.taken_before_kill, self.not_applied
        )?;
        writeln!(
            out,
            "   {} rows, {} commands sent and {} taken, {} orders acknowledged, {} trades of {} lots",
            self.rows, self.messages, self.taken, self.acknowledged, self.trades, self.lots
        )?;
        let it = &self.latency_us;
        writeln!(
            out,
            "   from due to answered, flushed to disk, before the kill: p50 {:.0}, p99 {:.0}, p99.9 \
             {:.0}, max {:.0} us",
            it.p50, it.p99, it.p999, it.max
        )?;
        write_histogram(out, &self.histogram)
    }
}

/// One bar for each doubling of the latency, in microseconds.
fn write_histogram(out: &mut String, histogram: &Histogram<u64>) -> std::fmt::Result {
    const WIDTH: f64 = 50.0;
    let mut counts = BTreeMap::new();
    for recorded in histogram.iter_recorded() {
        let micros = recorded.value_iterated_to().div_ceil(1_000);
        *counts.entry(micros.next_power_of_two()).or_insert(0) +=
            recorded.count_since_last_iteration();
    }
    let total = histogram.len().max(1) as f64;
    let lines: Vec<String> = counts
        .iter()
        .map(|(upto, count)| {
            let bar = "#".repeat((*count as f64 / total * WIDTH).ceil() as usize);
            format!("   up to {upto:>8} us {count:>8} {bar}")
        })
        .collect();
    write!(out, "{}", lines.join("\n"))
}
