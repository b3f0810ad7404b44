//! What a feed came to: counts, rejects by reason, latencies.
//!
//! Filled by `flow` and its desks for `feed`, which prints it at the end, and for `demo`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use exahour_wire::codes::Raw;
use exahour_wire::reject::Reject;
use hdrhistogram::Histogram;
use serde::Serialize;

/// The longest latency told apart, in nanoseconds: one minute.
const LATENCY_MAX_NS: u64 = 60_000_000_000;

/// Three significant digits.
const LATENCY_DIGITS: u8 = 3;

/// Counts of rows and of what the exchange said.
pub(crate) struct Counts {
    pub(crate) rows: u64,
    pub(crate) orders: u64,
    pub(crate) cancels: u64,
    pub(crate) replaces: u64,
    /// Rows about orders that are not live: entered before the capture, or traded away.
    pub(crate) not_live: u64,
    /// Changes that the exchange's own matching had made already.
    pub(crate) unchanged: u64,
    pub(crate) accepted: u64,
    pub(crate) replaced: u64,
    pub(crate) cancelled: u64,
    pub(crate) trades: u64,
    pub(crate) lots: u64,
    pub(crate) busy: u64,
    pub(crate) not_applied: u64,
    rejects: BTreeMap<String, u64>,
    /// In nanoseconds, from when a command was due.
    pub(crate) latencies: Histogram<u64>,
}

impl Counts {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            rows: 0,
            orders: 0,
            cancels: 0,
            replaces: 0,
            not_live: 0,
            unchanged: 0,
            accepted: 0,
            replaced: 0,
            cancelled: 0,
            trades: 0,
            lots: 0,
            busy: 0,
            not_applied: 0,
            rejects: BTreeMap::new(),
            latencies: Histogram::new_with_max(LATENCY_MAX_NS, LATENCY_DIGITS)?,
        })
    }

    /// What had come of it when something ended it early.
    pub(super) fn so_far(&self, instrument: u32) -> String {
        let answered = self.latencies.len();
        let sent = self.orders + self.cancels + self.replaces;
        format!(
            "the feed ended early, after {} rows: {sent} commands sent, {answered} answered, {} \
             refused with Busy, {} not applied; in instrument {instrument} {} orders accepted, {} \
             cancelled, {} trades; its end cancels nothing, so what is open stays in the book",
            self.rows, self.busy, self.not_applied, self.accepted, self.cancelled, self.trades
        )
    }

    pub(super) fn reject(&mut self, reason: Raw<Reject>) {
        *self.rejects.entry(format!("{reason:?}")).or_default() += 1;
    }

    pub(super) fn latency(&mut self, span: Duration) {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(LATENCY_MAX_NS);
        self.latencies.saturating_record(nanos);
    }

    /// The findings, after `elapsed`, with `resting` orders left in the book of `instrument`.
    pub(super) fn findings(&self, instrument: u32, elapsed: Duration, resting: usize) -> Findings {
        let seconds = elapsed.as_secs_f64();
        let messages = self.orders + self.cancels + self.replaces;
        let at = |quantile| self.latencies.value_at_quantile(quantile) as f64 / 1_000.0;
        Findings {
            instrument,
            interrupted: false,
            rows: self.rows,
            messages,
            orders: self.orders,
            cancels: self.cancels,
            replaces: self.replaces,
            not_live: self.not_live,
            unchanged: self.unchanged,
            accepted: self.accepted,
            cancelled: self.cancelled,
            replaced: self.replaced,
            trades: self.trades,
            lots: self.lots,
            busy: self.busy,
            not_applied: self.not_applied,
            resting,
            rejects: self.rejects.clone(),
            elapsed_s: seconds,
            messages_per_s: messages as f64 / seconds.max(1e-9),
            latency_us: LatencyFindings {
                p50: at(0.5),
                p90: at(0.9),
                p99: at(0.99),
                p999: at(0.999),
                max: self.latencies.max() as f64 / 1_000.0,
            },
        }
    }
}

/// The counts as they are printed.
#[derive(Debug, Serialize)]
pub(super) struct Findings {
    instrument: u32,
    /// Whether the file was not fed to its end.
    pub(super) interrupted: bool,
    rows: u64,
    messages: u64,
    orders: u64,
    cancels: u64,
    replaces: u64,
    not_live: u64,
    unchanged: u64,
    accepted: u64,
    cancelled: u64,
    replaced: u64,
    trades: u64,
    lots: u64,
    busy: u64,
    not_applied: u64,
    resting: usize,
    rejects: BTreeMap<String, u64>,
    elapsed_s: f64,
    messages_per_s: f64,
    latency_us: LatencyFindings,
}

#[derive(Debug, Serialize)]
struct LatencyFindings {
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

impl Findings {
    /// The text to read.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "instrument  {}", self.instrument)?;
        if self.interrupted {
            writeln!(out, "interrupted after {} rows", self.rows)?;
        }
        writeln!(
            out,
            "rows        {}: {} not live here, {} so already",
            self.rows, self.not_live, self.unchanged
        )?;
        writeln!(
            out,
            "sent        {} orders, {} cancels, {} replaces",
            self.orders, self.cancels, self.replaces
        )?;
        writeln!(
            out,
            "answered    {} accepted, {} cancelled, {} replaced; {} busy, {} not applied",
            self.accepted, self.cancelled, self.replaced, self.busy, self.not_applied
        )?;
        for (reason, count) in &self.rejects {
            writeln!(out, "  rejected  {reason} {count}")?;
        }
        writeln!(out, "trades      {}, {} lots", self.trades, self.lots)?;
        writeln!(out, "resting     {} orders", self.resting)?;
        writeln!(
            out,
            "rate        {:.0} messages a second over {:.2} s",
            self.messages_per_s, self.elapsed_s
        )?;
        let it = &self.latency_us;
        writeln!(
            out,
            "latency     p50 {:.0}, p90 {:.0}, p99 {:.0}, p99.9 {:.0}, max {:.0} us",
            it.p50, it.p90, it.p99, it.p999, it.max
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_early_end_says_what_became_of_the_orders() {
        let mut counts = Counts::new().unwrap();
        (counts.rows, counts.orders, counts.cancels) = (9, 7, 2);
        (counts.accepted, counts.cancelled, counts.trades) = (4, 2, 1);
        (counts.busy, counts.not_applied) = (3, 0);
        let said = counts.so_far(100);
        for part in [
            "after 9 rows: 9 commands sent",
            "3 refused with Busy",
            "4 orders accepted, 2 cancelled, 1 trades",
            "cancels nothing",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}
