//! Lets a contract expire, and uses the machine that it becomes.
//!
//! Called by `demo` once, after trading.
//!
//! Always holds: what is shown comes from the buyer's own session, the machine's own answer, and the
//! event log that every node keeps.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use exahour_gateway::client::{Client, ClientEvent, TypedReport};
use exahour_gateway::clock::{Clock, SystemClock};
use exahour_journal::{Reader, Verify};
use exahour_wire::codes::{ContractKind, Firmness, OrderType, ResourceClass, Side, TimeInForce};
use exahour_wire::events::{DeliverySettled, MachineReady};
use exahour_wire::ids::{AccountId, ClientOrderId, InstrumentId};
use exahour_wire::message::{AccessKey, Message, Text8, Text16, messages};
use exahour_wire::operations::{CreateInstrument, RegisterAccessKey};
use exahour_wire::orders::NewOrder;
use exahour_wire::units::{Hours, Money, Nanos, PartsPerMillion, Price, Quantity};
use serde::Serialize;

use super::Narrator;
use super::login::{BuyerKey, log_in};
use super::site::{PATIENCE, Site};
use super::trading::{ASKS, BIDS, OPERATOR};
use crate::feed::listing::ask;

/// The contract that is delivered; trading has its own, from 100 on.
const CONTRACT: InstrumentId = InstrumentId(50);

/// What an hour of it costs.
const PRICE: Price = Price(3_600_000);

/// How long it trades: time enough for two orders.
const TRADES_FOR: Nanos = Nanos(2 * Nanos::SECOND.0);

/// What the buyer has his machine do.
const ERRAND: &str = "echo $(uname -n) user $(id -u) says $((6 * 7))";

/// What became of the contract.
#[derive(Debug, Serialize)]
pub(super) struct Delivered {
    instrument: u32,
    obligation: u64,
    address: String,
    /// What the machine said to the buyer.
    answer: String,
    /// From the end of trading until the buyer was told where his machine is.
    ready_after_ms: f64,
    verified_s: f64,
    paid: String,
    refunded: String,
    compensated: String,
}

/// Trades a contract, lets it expire, logs in to the machine, and waits for the payment.
pub(super) fn deliver(site: &mut Site, say: &Narrator) -> Result<Delivered> {
    let key = BuyerKey::new();
    let mut buyer = site.connect(BIDS.0)?;
    register(&mut buyer, &key)?;
    let expires = trade(site, &mut buyer)?;
    say.line("   1 lot of 1 hour traded at 3.60; it expires within 2 s, and nobody sells it back")?;
    let ready = await_machine(site, &mut buyer)?;
    let ready_after = expires.elapsed();
    let address = SocketAddrV4::new(Ipv4Addr::from(ready.address.0), ready.port);
    say.line(&format!(
        "   MachineReady: {address}, told to the buyer's session alone"
    ))?;
    let answer = log_in(address, &ready.host_key, &key, ERRAND)?;
    say.line(&format!("   ssh compute@{address}: {answer}"))?;
    let settled = await_settled(site, ready.obligation.0)?;
    // The machine may have outlived the buyer's connection; either end of it is good.
    let _ = buyer.terminate();
    let verified_s = settled.verified.0 as f64 / Nanos::SECOND.0 as f64;
    say.line(&format!(
        "   ended early for the demo: {verified_s:.1} s verified of 3600, seller paid {}, buyer gets \
         {} back and {} for what was not delivered",
        settled.paid, settled.refunded, settled.compensated
    ))?;
    Ok(Delivered {
        instrument: CONTRACT.0,
        obligation: ready.obligation.0,
        address: address.to_string(),
        answer,
        ready_after_ms: ready_after.as_secs_f64() * 1_000.0,
        verified_s,
        paid: settled.paid.to_string(),
        refunded: settled.refunded.to_string(),
        compensated: settled.compensated.to_string(),
    })
}

fn register(buyer: &mut Client, key: &BuyerKey) -> Result<()> {
    let command = RegisterAccessKey {
        request: ClientOrderId(1),
        account: BIDS.1,
        key: AccessKey(key.public()),
        ..RegisterAccessKey::blank()
    };
    match ask(buyer, &command)? {
        None => Ok(()),
        Some(reason) => bail!("the buyer's key cannot be registered: {reason:?}"),
    }
}

/// Lists the contract and trades a lot of it; when it expires.
fn trade(site: &Site, buyer: &mut Client) -> Result<Instant> {
    let mut operator = site.connect(OPERATOR)?;
    let mut seller = site.connect(ASKS.0)?;
    let expires = Instant::now() + Duration::from_nanos(TRADES_FOR.0);
    if let Some(reason) = ask(&mut operator, &definition()?)? {
        bail!("the contract cannot be listed: {reason:?}");
    }
    operator.terminate()?;
    seller.send(&order(ASKS.1, Side::Sell))?;
    hear(&mut seller, |report| {
        matches!(report, TypedReport::Accepted(_)).then_some(())
    })?;
    buyer.send(&order(BIDS.1, Side::Buy))?;
    hear(buyer, |report| {
        matches!(report, TypedReport::Filled(_)).then_some(())
    })?;
    seller.terminate()?;
    Ok(expires)
}

/// A future of one hour, which begins when trading ends.
fn definition() -> Result<CreateInstrument> {
    let last = SystemClock::default().now().after(TRADES_FOR);
    Ok(CreateInstrument {
        request: ClientOrderId(u64::from(CONTRACT.0)),
        instrument: CONTRACT,
        kind: ContractKind::Future.into(),
        class: ResourceClass::Cpu.into(),
        grade_performance: 2,
        grade_reliability: 2,
        grade_energy: 2,
        firmness: Firmness::Firm.into(),
        reference_version: 1,
        hours: Hours(1),
        symbol: Text16::new("CPU-DEMO").ok_or_else(|| anyhow!("the symbol is too long"))?,
        zone: Text8::new("eu-1").ok_or_else(|| anyhow!("the zone is too long"))?,
        tick: Price(10_000),
        delivery_start: last,
        last_trade_at: last,
        initial_margin: Money(1_000_000),
        reference_price: PRICE,
        quantity_max: Quantity(1_000),
        notional_max: Money(1_000_000_000_000),
        collar: PartsPerMillion(500_000),
        protection: PartsPerMillion(50_000),
        ..CreateInstrument::blank()
    })
}

fn order(account: AccountId, side: Side) -> NewOrder {
    NewOrder {
        client_order_id: ClientOrderId(1),
        price: PRICE,
        quantity: Quantity(1),
        account,
        instrument: CONTRACT,
        side: side.into(),
        order_type: OrderType::Limit.into(),
        time_in_force: TimeInForce::GoodTillCancelled.into(),
        ..NewOrder::blank()
    }
}

/// Hears a session until a report is the wanted one.
fn hear<T>(client: &mut Client, wanted: impl Fn(&TypedReport) -> Option<T>) -> Result<T> {
    let until = Instant::now() + PATIENCE;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match client.wait(left)? {
            Some(ClientEvent::Report(report)) => match report.typed() {
                TypedReport::Rejected(rejected) => {
                    bail!(
                        "an order of the delivery was refused: {:?}",
                        rejected.reason
                    )
                }
                report => {
                    if let Some(found) = wanted(&report) {
                        return Ok(found);
                    }
                }
            },
            Some(other) => bail!("the exchange did not take an order of the delivery: {other:?}"),
            None => bail!(
                "the exchange did not answer within {} s",
                PATIENCE.as_secs()
            ),
        }
    }
}

fn await_machine(site: &mut Site, buyer: &mut Client) -> Result<MachineReady> {
    site.until("the machine is ready", |_| {
        match buyer.poll().context("the buyer's session")? {
            Some(ClientEvent::Report(report)) => Ok(report.read::<MachineReady>()),
            _ => Ok(None),
        }
    })
}

/// Follows the event log until the obligation is paid.
fn await_settled(site: &mut Site, obligation: u64) -> Result<DeliverySettled> {
    let events = Reader::follow(site.data().join("events"), Verify::Trust);
    let mut events = events.context("event log")?;
    site.until("the delivery is settled", |_| {
        let end = events.appended();
        while let Some(frame) = events.next(end).context("event log")? {
            let settled = messages(frame.payload).filter_map(DeliverySettled::read);
            let mut settled = settled.filter(|it| it.obligation.0 == obligation);
            if let Some(settled) = settled.next() {
                return Ok(Some(settled));
            }
        }
        Ok(None)
    })
}
