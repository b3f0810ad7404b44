//! Money at its limits: what the widest amounts of the rulebook add up to.

use exahour_wire::codes::{
    ContractKind, Firmness, OrderType, Permissions, ResourceClass, Side, TimeInForce,
};
use exahour_wire::ids::{
    AccountId, ClientOrderId, InstrumentId, MessageSequence, ParticipantId, SessionId,
    SessionVersion,
};
use exahour_wire::internal::{OpenSession, ReadySession};
use exahour_wire::limits::{MONEY_MAX, PRICE_RANGE_FACTOR, QUANTITY_MAX};
use exahour_wire::message::{Message, Text8, Text16, Text32};
use exahour_wire::operations::{
    CreateAccount, CreateInstrument, CreateParticipant, CreateSession, Deposit, SettlePrice,
    Withdraw,
};
use exahour_wire::orders::NewOrder;
use exahour_wire::units::{Hours, Money, Nanos, Price, Quantity};

/// When all of this happens.
pub const TIME: Nanos = Nanos(1_800_000_000_000_000_000);

pub(super) const REFERENCE: i64 = 1_000_000_000;
const HIGHEST: i64 = REFERENCE * PRICE_RANGE_FACTOR;
const LOTS: i64 = MONEY_MAX.0 / HIGHEST;

/// Two members trade the largest positions that may be, in so many contracts without margin; then
/// each contract is marked to its highest price, its first, its lowest and its highest again, and
/// money is taken out and put in between.
///
/// The winner gains almost [`MONEY_MAX`] in every one of them.
#[must_use]
pub fn fortunes(contracts: u32) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    for id in 1..=2 {
        records.extend(member(id));
    }
    for id in 1..=contracts {
        records.push(contract(id, Nanos(1)));
        records.push(order(1, id, Side::Sell));
        records.push(order(2, id, Side::Buy));
    }
    for price in [HIGHEST, REFERENCE, 1, HIGHEST] {
        for id in 1..=contracts {
            let command = SettlePrice {
                instrument: InstrumentId(id),
                price: Price(price),
                ..SettlePrice::blank()
            };
            records.push(command.bytes().to_vec());
        }
        for account in [101, 102] {
            records.push(withdrawal(account));
            records.push(deposit(account));
        }
    }
    records
}

fn withdrawal(account: u32) -> Vec<u8> {
    let command = Withdraw {
        account: AccountId(account),
        amount: MONEY_MAX,
        ..Withdraw::blank()
    };
    command.bytes().to_vec()
}

fn deposit(account: u32) -> Vec<u8> {
    let command = Deposit {
        account: AccountId(account),
        amount: MONEY_MAX,
        ..Deposit::blank()
    };
    command.bytes().to_vec()
}

/// A participant, its account and its session, ready to trade.
pub(super) fn member(id: u32) -> Vec<Vec<u8>> {
    let name = Text32::new("A member").unwrap_or_default();
    let participant = CreateParticipant {
        participant: ParticipantId(id),
        name,
        ..CreateParticipant::blank()
    };
    let account = CreateAccount {
        account: AccountId(100 + id),
        participant: ParticipantId(id),
        name,
        ..CreateAccount::blank()
    };
    let session = CreateSession {
        new_session: SessionId(id),
        participant: ParticipantId(id),
        permissions: Permissions::TRADE,
        ..CreateSession::blank()
    };
    let open = OpenSession {
        session: SessionId(id),
        version: SessionVersion(1),
        ..OpenSession::blank()
    };
    let ready = ReadySession {
        session: SessionId(id),
        version: SessionVersion(1),
        next_sequence: MessageSequence(1),
        timestamp: TIME,
        ..ReadySession::blank()
    };
    vec![
        participant.bytes().to_vec(),
        account.bytes().to_vec(),
        session.bytes().to_vec(),
        open.bytes().to_vec(),
        ready.bytes().to_vec(),
    ]
}

/// A contract without margin that trades for so long.
pub(super) fn contract(id: u32, lasts: Nanos) -> Vec<u8> {
    let command = CreateInstrument {
        instrument: InstrumentId(id),
        kind: ContractKind::Future.into(),
        class: ResourceClass::Gpu.into(),
        grade_performance: 1,
        grade_reliability: 1,
        grade_energy: 1,
        firmness: Firmness::Firm.into(),
        hours: Hours(1),
        symbol: Text16::new("GPU").unwrap_or_default(),
        zone: Text8::new("EU").unwrap_or_default(),
        tick: Price(1),
        delivery_start: TIME.after(lasts),
        last_trade_at: TIME.after(lasts),
        initial_margin: Money(0),
        reference_price: Price(REFERENCE),
        quantity_max: QUANTITY_MAX,
        notional_max: MONEY_MAX,
        ..CreateInstrument::blank()
    };
    command.bytes().to_vec()
}

fn order(member: u32, contract: u32, side: Side) -> Vec<u8> {
    let command = NewOrder {
        session: SessionId(member),
        sequence: MessageSequence(contract),
        client_order_id: ClientOrderId(u64::from(contract)),
        price: Price(REFERENCE),
        quantity: Quantity(LOTS as u64),
        account: AccountId(100 + member),
        instrument: InstrumentId(contract),
        side: side.into(),
        order_type: OrderType::Limit.into(),
        time_in_force: TimeInForce::GoodTillCancelled.into(),
        ..NewOrder::blank()
    };
    command.bytes().to_vec()
}
