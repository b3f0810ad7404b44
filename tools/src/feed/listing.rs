//! The instrument and the money that a feed needs, set up through an operator's session.
//!
//! Called once by `feed`, and by `demo`.
//!
//! Always holds: every command is answered before the next is sent; a refusal that is not foreseen
//! ends the feed with the exchange's own word.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};
use exahour_gateway::client::{Client, ClientEvent, TypedReport};
use exahour_gateway::clock::{Clock, SystemClock};
use exahour_wire::codes::{ContractKind, Firmness, Raw, ResourceClass};
use exahour_wire::ids::{AccountId, ClientOrderId, InstrumentId};
use exahour_wire::limits::{
    INSTRUMENTS_MAX, MONEY_MAX, PRICE_MAX, PRICE_RANGE_FACTOR, QUANTITY_MAX,
};
use exahour_wire::message::{Message, Text8, Text16};
use exahour_wire::operations::{CreateInstrument, Deposit};
use exahour_wire::reject::Reject;
use exahour_wire::units::{Hours, Money, Nanos, PartsPerMillion, Price, Quantity};

use crate::exit::finding;

/// The first instrument that a feed lists.
pub(crate) const FIRST_INSTRUMENT: InstrumentId = InstrumentId(100);

/// How long the listed contract trades.
const TRADES_FOR: Nanos = Nanos(30 * Nanos::DAY.0);

/// How long the exchange may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What is listed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// The price to start from.
    pub(crate) reference: Price,
    /// The step between prices.
    pub(crate) tick: Price,
    /// The instrument to list.
    pub(crate) instrument: InstrumentId,
    /// Whether the next one may be listed instead, where somebody has just listed this one.
    pub(crate) or_next: bool,
}

/// Lists a future of one hour without collar; margin is a tenth of the reference.
pub(crate) fn list(client: &mut Client, terms: &Terms) -> Result<InstrumentId> {
    terms.check()?;
    for id in terms.instrument.0..=INSTRUMENTS_MAX {
        let command = definition(InstrumentId(id), terms)?;
        match ask(client, &command)? {
            None => return Ok(InstrumentId(id)),
            Some(reason) => match reason.decode() {
                Some(Reject::AlreadyExists) if terms.or_next => {}
                Some(Reject::AlreadyExists) => {
                    return Err(finding(anyhow!(
                        "instrument {id} is listed already: leave --instrument out to have the \
                         first number that is free, or name another"
                    )));
                }
                Some(Reject::NotPermitted) => {
                    return Err(finding(anyhow!(
                        "the operator's session may not list instruments: name one that may with \
                         --operator-session"
                    )));
                }
                _ => {
                    let refused = anyhow!("instrument {id} cannot be listed: {reason:?}");
                    return Err(finding(refused));
                }
            },
        }
    }
    bail!("every instrument up to {INSTRUMENTS_MAX} is listed already: start a new node")
}

/// Gives an account money.
pub(crate) fn fund(client: &mut Client, account: AccountId, amount: Money) -> Result<()> {
    let command = Deposit {
        account,
        amount,
        ..Message::blank()
    };
    match ask(client, &command)? {
        None => Ok(()),
        Some(reason) => Err(finding(anyhow!(
            "account {account} cannot be funded with {amount}: {reason:?}"
        ))),
    }
}

impl Terms {
    /// Whether a contract can have these terms.
    ///
    /// # Errors
    /// Where tick and reference do not go together.
    pub(super) fn check(&self) -> Result<()> {
        let (reference, tick) = (self.reference, self.tick);
        ensure!(
            tick > Price(0),
            "--tick {tick}: prices go in steps above zero, such as 0.01"
        );
        ensure!(
            (tick..=PRICE_MAX).contains(&reference) && reference.0 % tick.0 == 0,
            "the price {reference} to start from is not a multiple of the tick {tick} of at most \
             {PRICE_MAX}: name others with --reference and --tick"
        );
        Ok(())
    }
}

fn definition(instrument: InstrumentId, terms: &Terms) -> Result<CreateInstrument> {
    let now = SystemClock::default().now();
    let symbol = format!("FEED-{instrument}");
    Ok(CreateInstrument {
        request: ClientOrderId(u64::from(instrument.0)),
        instrument,
        kind: ContractKind::Future.into(),
        class: ResourceClass::Gpu.into(),
        grade_performance: 2,
        grade_reliability: 2,
        grade_energy: 2,
        firmness: Firmness::Firm.into(),
        reference_version: 1,
        hours: Hours(1),
        symbol: Text16::new(&symbol).ok_or_else(|| anyhow!("{symbol} is too long a name"))?,
        zone: Text8::new("feed").ok_or_else(|| anyhow!("the zone is too long a name"))?,
        tick: terms.tick,
        delivery_start: now.after(TRADES_FOR).after(Nanos::DAY),
        last_trade_at: now.after(TRADES_FOR),
        initial_margin: Money(terms.reference.0 / 10),
        reference_price: terms.reference,
        quantity_max: QUANTITY_MAX,
        notional_max: MONEY_MAX,
        collar: PartsPerMillion(0),
        protection: PartsPerMillion(1_000_000),
        ..CreateInstrument::blank()
    })
}

/// The largest position that the rulebook allows in such a contract.
pub(super) fn position_cap(reference: Price) -> Quantity {
    let cap = reference
        .0
        .saturating_mul(PRICE_RANGE_FACTOR)
        .min(PRICE_MAX.0);
    Quantity((MONEY_MAX.0 / cap.max(1)).unsigned_abs())
}

/// Sends a command and waits for its answer: none where it was carried out.
pub(crate) fn ask<M: Message>(client: &mut Client, command: &M) -> Result<Option<Raw<Reject>>> {
    client.send(command)?;
    let until = Instant::now() + ANSWER_WITHIN;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match client.wait(left)? {
            Some(ClientEvent::Report(report)) => match report.typed() {
                TypedReport::Done(_) => return Ok(None),
                TypedReport::CommandRejected(rejected) => return Ok(Some(rejected.reason)),
                _ => {}
            },
            Some(ClientEvent::Established { .. }) => {}
            Some(ClientEvent::Terminated { code, detail }) => {
                bail!("the exchange ended the operator's session: {code:?} (detail {detail})")
            }
            Some(_) => {
                bail!("the exchange is busy and did not take an operator's command: try again")
            }
            None => bail!(
                "no answer to an operator's command within {} s: is the node overloaded?",
                ANSWER_WITHIN.as_secs()
            ),
        }
    }
}
