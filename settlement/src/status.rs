//! `status`: what is recorded about every obligation, for an operator.
//!
//! Called by this crate's program and by any other that offers the same arguments.
//!
//! Always holds: it changes nothing and may run beside the process that settles.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::Args;
use exahour_wire::ids::ObligationId;
use exahour_wire::units::Nanos;
use serde::Serialize;

use crate::apply::dollars;
use crate::database::{Tx, look_at, open_to_read};
use crate::error::SettlementError;
use crate::json;
use crate::obligation::Obligation;

/// Show every obligation: its state, machine, verified time and history.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// The state folder of the settlement process.
    #[arg(long, value_name = "DIR", default_value = "exahour-data/settlement")]
    pub state: PathBuf,
    /// Only this obligation.
    #[arg(long, value_name = "N")]
    pub obligation: Option<u64>,
    /// Write JSON, one object a line.
    #[arg(long)]
    pub json: bool,
}

/// What is recorded about an obligation.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Its id.
    pub obligation: u64,
    /// The contract.
    pub instrument: u32,
    /// Who gets the machine.
    pub buyer: u32,
    /// Who is paid.
    pub seller: u32,
    /// Lots.
    pub lots: u64,
    /// Where it stands.
    pub state: String,
    /// The provider chosen.
    pub provider: Option<String>,
    /// Where the machine answers or answered.
    pub address: Option<String>,
    /// When it is owed, in UTC.
    pub window_start_time: String,
    /// When that ends.
    pub window_end_time: String,
    /// How long that is.
    pub window_ns: u64,
    /// Time verified.
    pub verified_ns: u64,
    /// Why it ended.
    pub ending: Option<String>,
    /// What the seller received, in micro-dollars.
    pub paid: Option<i64>,
    /// What the buyer got back, in micro-dollars.
    pub refunded: Option<i64>,
    /// What the seller paid for what was not delivered, in micro-dollars.
    pub compensated: Option<i64>,
    /// What went wrong last.
    pub error: Option<String>,
    /// What the exchange was told.
    pub commands: Vec<Told>,
    /// Every change of state.
    pub history: Vec<Line>,
}

/// What the exchange was told.
#[derive(Clone, Debug, Serialize)]
pub struct Told {
    /// Started, Confirm or Fail.
    pub kind: String,
    /// Queued, sent, applied or refused.
    pub state: String,
    /// How often it was sent.
    pub sends: u32,
    /// What the exchange said against it last.
    pub reason: Option<String>,
}

/// One change of state.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// When, in UTC.
    pub time: String,
    /// From where.
    pub from: String,
    /// To where.
    pub to: String,
    /// Why.
    pub why: String,
}

/// Everything that is recorded in a state folder.
///
/// # Errors
/// Where there is no database, or a newer one.
pub fn read(state: &std::path::Path) -> Result<Vec<Status>, SettlementError> {
    let mut connection = open_to_read(state)?;
    look_at(&mut connection, |tx| {
        let all = tx.obligations()?;
        all.iter().map(|it| status(tx, it)).collect()
    })
}

fn status(tx: &Tx<'_>, it: &Obligation) -> Result<Status, SettlementError> {
    let payment = tx.payment(it.id)?;
    let told = tx.commands_of(it.id)?.into_iter().map(|command| Told {
        kind: format!("{:?}", command.kind),
        state: command.state,
        sends: command.sends,
        reason: command.reason,
    });
    let history = tx.changes_of(it.id)?.into_iter().map(|change| Line {
        time: moment(change.at),
        from: change.from,
        to: change.to,
        why: change.why,
    });
    Ok(Status {
        obligation: it.id.0,
        instrument: it.instrument.0,
        buyer: it.buyer.0,
        seller: it.seller.0,
        lots: it.quantity.0,
        state: it.state.name().to_owned(),
        provider: it.provider.clone(),
        address: it.place.map(|place| place.address.to_string()),
        window_start_time: moment(it.window.start),
        window_end_time: moment(it.window.end),
        window_ns: it.window.span().0,
        verified_ns: it.verified.0,
        ending: it.ending.map(|ending| ending.name().to_owned()),
        paid: payment.map(|payment| payment.paid.0),
        refunded: payment.map(|payment| payment.refunded.0),
        compensated: payment.map(|payment| payment.compensated.0),
        error: it.error.clone(),
        commands: told.collect(),
        history: history.collect(),
    })
}

/// A moment as text with nine digits of the second.
#[must_use]
pub fn moment(at: Nanos) -> String {
    let time = UNIX_EPOCH + Duration::from_nanos(at.0);
    humantime::format_rfc3339_nanos(time).to_string()
}

/// Prints what is recorded.
///
/// # Errors
/// As [`read`]; [`SettlementError::UnknownObligation`] where one is asked for that is not there.
pub fn run(arguments: &Arguments) -> Result<()> {
    let mut all = read(&arguments.state)?;
    if let Some(id) = arguments.obligation {
        all.retain(|it| it.obligation == id);
        if all.is_empty() {
            return Err(SettlementError::UnknownObligation(ObligationId(id)).into());
        }
    }
    match write(&all, arguments) {
        // Whoever reads has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot print"),
    }
}

fn write(all: &[Status], arguments: &Arguments) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for it in all {
        match arguments.json {
            true => json::write_line(&mut out, it)?,
            false => show(it, &mut out)?,
        }
    }
    if all.is_empty() && !arguments.json {
        let state = arguments.state.display();
        writeln!(out, "no obligation is recorded in {state}")?;
    }
    out.flush()
}

fn show(it: &Status, out: &mut impl Write) -> io::Result<()> {
    let second = Nanos::SECOND.0;
    writeln!(
        out,
        "obligation {}: {}, {} {} of instrument {} from account {} to account {}",
        it.obligation,
        it.state,
        it.lots,
        if it.lots == 1 { "lot" } else { "lots" },
        it.instrument,
        it.seller,
        it.buyer
    )?;
    let (from, to) = (&it.window_start_time, &it.window_end_time);
    writeln!(out, "  window     {from} to {to}")?;
    writeln!(
        out,
        "  machine    {} ({})",
        it.address.as_deref().unwrap_or("none"),
        it.provider.as_deref().unwrap_or("no provider chosen")
    )?;
    writeln!(
        out,
        "  verified   {}.{:03} s of {} s",
        it.verified_ns / second,
        it.verified_ns % second / 1_000_000,
        it.window_ns / second
    )?;
    if let (Some(paid), Some(refunded), Some(compensated)) = (it.paid, it.refunded, it.compensated)
    {
        let text = |micros| dollars(exahour_wire::units::Money(micros));
        writeln!(
            out,
            "  paid       seller {}, back to the buyer {}, compensation {}",
            text(paid),
            text(refunded),
            text(compensated)
        )?;
    }
    if let Some(error) = &it.error {
        writeln!(out, "  last error {error}")?;
    }
    for told in &it.commands {
        let reason = told.reason.as_deref().map(|it| format!(" {it}"));
        let (kind, state, reason) = (&told.kind, &told.state, reason.unwrap_or_default());
        writeln!(out, "  told       {kind} {state}{reason}")?;
    }
    for line in &it.history {
        let place = match line.from == line.to {
            true => line.to.clone(),
            false => format!("{} -> {}", line.from, line.to),
        };
        writeln!(out, "  {}  {place}: {}", line.time, line.why)?;
    }
    Ok(())
}
