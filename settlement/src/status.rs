//! `status`: what is recorded about every obligation, for an operator.
//!
//! Called by this crate's program and by any other that offers the same arguments.
//!
//! Always holds: it changes nothing and may run beside the process that settles.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use exahour_wire::units::Nanos;
use serde::Serialize;

use crate::apply::dollars;
use crate::database::{Tx, look_at, open_to_read};
use crate::error::SettlementError;
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
    /// When it is owed, in UTC nanoseconds.
    pub window_start_ns: u64,
    /// When that ends.
    pub window_end_ns: u64,
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
    /// When, in UTC nanoseconds.
    pub at_ns: u64,
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
        at_ns: change.at.0,
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
        window_start_ns: it.window.start.0,
        window_end_ns: it.window.end.0,
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

/// Prints what is recorded.
///
/// # Errors
/// As [`read`].
pub fn run(arguments: &Arguments) -> Result<()> {
    let all = read(&arguments.state)?;
    let wanted = |it: &&Status| arguments.obligation.is_none_or(|id| it.obligation == id);
    let mut count = 0;
    for it in all.iter().filter(wanted) {
        count += 1;
        match arguments.json {
            true => println!("{}", serde_json::to_string(it)?),
            false => print(it),
        }
    }
    if count == 0 && !arguments.json {
        println!("no obligation is recorded in {}", arguments.state.display());
    }
    Ok(())
}

fn print(it: &Status) {
    let second = Nanos::SECOND.0;
    println!(
        "obligation {}: {}, {} lots of instrument {} from account {} to account {}",
        it.obligation, it.state, it.lots, it.instrument, it.seller, it.buyer
    );
    println!(
        "  machine    {} ({})",
        it.address.as_deref().unwrap_or("none"),
        it.provider.as_deref().unwrap_or("no provider chosen")
    );
    println!(
        "  verified   {} s of {} s",
        it.verified_ns / second,
        it.window_end_ns.saturating_sub(it.window_start_ns) / second
    );
    if let (Some(paid), Some(refunded), Some(compensated)) = (it.paid, it.refunded, it.compensated)
    {
        let text = |micros| dollars(exahour_wire::units::Money(micros));
        println!(
            "  paid       seller {}, back to the buyer {}, compensation {}",
            text(paid),
            text(refunded),
            text(compensated)
        );
    }
    if let Some(error) = &it.error {
        println!("  last error {error}");
    }
    for told in &it.commands {
        let reason = told.reason.as_deref().unwrap_or("");
        println!("  told       {} {} {reason}", told.kind, told.state);
    }
    for line in &it.history {
        let place = match line.from == line.to {
            true => line.to.clone(),
            false => format!("{} -> {}", line.from, line.to),
        };
        println!("  {} ns  {place}: {}", line.at_ns, line.why);
    }
}
