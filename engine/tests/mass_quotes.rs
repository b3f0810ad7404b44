//! What holds after every mass quote, whatever came before: read from the events alone.
//!
//! Always holds: a red run prints its seed and the step.

use std::collections::BTreeMap;

use exahour_engine::{Batch, Capacity, Engine};
use exahour_twin::seeds::seeds;
use exahour_wire::codes::{
    ContractKind, Firmness, OrderType, Permissions, Priority, ResourceClass, SelfTradePrevention,
    Side, TimeInForce,
};
use exahour_wire::events::{
    CommandDone, OrderAccepted, OrderCancelled, OrderFilled, OrderReduced, OrderRejected,
    OrderReplaced,
};
use exahour_wire::ids::{
    AccountId, ClientOrderId, CommandSequence, InstrumentId, MessageSequence, ParticipantId,
    SessionId, SessionVersion,
};
use exahour_wire::internal::{OpenSession, ReadySession};
use exahour_wire::message::{Message, Text8, Text16, Text32, messages};
use exahour_wire::operations::{
    CreateAccount, CreateInstrument, CreateParticipant, CreateSession, Deposit,
};
use exahour_wire::orders::{MassQuote, NewOrder, QUOTES_MAX, Quote};
use exahour_wire::units::{Hours, Money, Nanos, Price, Quantity};

const START: u64 = 1_800_000_000_000_000_000;
const CONTRACTS: u32 = 8;
const TICK: i64 = 10;

/// Numbers from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// What became of a side, as its session's reports say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Live {
    price: i64,
    leaves: u64,
}

struct Market {
    engine: Engine,
    commands: u64,
    sequences: [u32; 3],
    /// The maker's live quotes by name.
    live: BTreeMap<u64, Live>,
}

impl Market {
    fn new() -> Self {
        let mut market = Self {
            engine: Engine::new(&Capacity::default()),
            commands: 0,
            sequences: [1; 3],
            live: BTreeMap::new(),
        };
        let name = Text32::new("A member").unwrap_or_default();
        for id in 1..=2 {
            market.send(&CreateParticipant {
                participant: ParticipantId(id),
                name,
                ..CreateParticipant::blank()
            });
            market.send(&CreateAccount {
                account: AccountId(100 + id),
                participant: ParticipantId(id),
                name,
                ..CreateAccount::blank()
            });
            market.send(&CreateSession {
                new_session: SessionId(id),
                participant: ParticipantId(id),
                permissions: Permissions::TRADE,
                ..CreateSession::blank()
            });
            market.send(&OpenSession {
                session: SessionId(id),
                version: SessionVersion(1),
                ..OpenSession::blank()
            });
            market.send(&ReadySession {
                session: SessionId(id),
                version: SessionVersion(1),
                next_sequence: MessageSequence(1),
                timestamp: Nanos(START),
                ..ReadySession::blank()
            });
            market.send(&Deposit {
                account: AccountId(100 + id),
                amount: Money(40_000_000),
                ..Deposit::blank()
            });
        }
        for id in 1..=CONTRACTS {
            market.send(&listing(id));
        }
        market
    }

    fn send<M: Message>(&mut self, command: &M) -> Vec<u8> {
        self.commands += 1;
        let batch = Batch {
            time: Nanos(START + self.commands),
            first: CommandSequence(self.commands),
            commands: command.bytes(),
        };
        let mut events = Vec::new();
        assert_eq!(self.engine.apply(&batch, &mut events), Ok(()));
        for event in messages(&events) {
            self.note(event);
        }
        events
    }

    fn next(&mut self, session: u32) -> MessageSequence {
        let sequence = &mut self.sequences[session as usize];
        *sequence += 1;
        MessageSequence(*sequence - 1)
    }

    /// Follows the maker's quotes.
    fn note(&mut self, event: &[u8]) {
        if let Some(it) = OrderAccepted::read(event) {
            if it.session == SessionId(1) {
                let live = Live {
                    price: it.price.0,
                    leaves: it.quantity.0,
                };
                assert_eq!(self.live.insert(it.client_order_id.0, live), None);
            }
        } else if let Some(it) = OrderReplaced::read(event) {
            let live = Live {
                price: it.price.0,
                leaves: it.leaves.0,
            };
            let before = self.live.insert(it.client_order_id.0, live);
            assert!(before.is_some(), "{it:?}");
        } else if let Some(it) = OrderCancelled::read(event) {
            self.live.remove(&it.client_order_id.0);
        } else if let Some(it) = OrderFilled::read(event) {
            self.shrink(it.client_order_id, it.leaves);
        } else if let Some(it) = OrderReduced::read(event) {
            self.shrink(it.client_order_id, it.leaves);
        }
    }

    fn shrink(&mut self, name: ClientOrderId, leaves: Quantity) {
        if leaves.0 == 0 {
            self.live.remove(&name.0);
        } else if let Some(live) = self.live.get_mut(&name.0) {
            live.leaves = leaves.0;
        }
    }
}

fn listing(id: u32) -> CreateInstrument {
    CreateInstrument {
        instrument: InstrumentId(id),
        kind: ContractKind::Future.into(),
        class: ResourceClass::Gpu.into(),
        grade_performance: 1,
        grade_reliability: 1,
        grade_energy: 1,
        firmness: Firmness::Firm.into(),
        hours: Hours(2),
        symbol: Text16::new("GPU").unwrap_or_default(),
        zone: Text8::new("EU").unwrap_or_default(),
        tick: Price(TICK),
        delivery_start: Nanos(START + Nanos::HOUR.0),
        last_trade_at: Nanos(START + Nanos::HOUR.0),
        initial_margin: Money(10_000),
        reference_price: Price(1_000),
        quantity_max: Quantity(1_000),
        notional_max: Money(1_000_000_000),
        ..CreateInstrument::blank()
    }
}

/// Quotes of different contracts, some of them at prices where others stand.
fn quotes(dice: &mut Dice, market: &mut Market) -> MassQuote {
    let mut command = MassQuote {
        session: SessionId(1),
        sequence: market.next(1),
        request: ClientOrderId(market.commands),
        account: AccountId(101),
        self_trade_prevention: match dice.below(2) {
            0 => SelfTradePrevention::CancelNewest.into(),
            _ => SelfTradePrevention::Decrement.into(),
        },
        ..MassQuote::blank()
    };
    let first = 1 + dice.below(u64::from(CONTRACTS)) as u32;
    for place in 0..1 + dice.below(QUOTES_MAX as u64) {
        let mid = 100 + dice.below(4) as i64;
        let half = dice.below(3) as i64;
        let mut lots = || Quantity([0, 1, 5, 5, 9, 2_000][dice.below(6) as usize]);
        let quote = Quote {
            instrument: InstrumentId((first + place as u32) % CONTRACTS + 1),
            bid_price: Price((mid - half) * TICK),
            bid_quantity: lots(),
            ask_price: Price((mid + half) * TICK),
            ask_quantity: lots(),
        };
        command.set_quote(place as usize, quote);
    }
    command
}

/// Somebody else's order, which trades with quotes.
fn other(dice: &mut Dice, market: &mut Market) -> NewOrder {
    NewOrder {
        session: SessionId(2),
        sequence: market.next(2),
        client_order_id: ClientOrderId(market.commands),
        price: Price((98 + dice.below(7) as i64) * TICK),
        quantity: Quantity(1 + dice.below(7)),
        account: AccountId(102),
        instrument: InstrumentId(1 + dice.below(u64::from(CONTRACTS)) as u32),
        side: [Side::Buy, Side::Sell][dice.below(2) as usize].into(),
        order_type: OrderType::Limit.into(),
        time_in_force: match dice.below(3) {
            0 => TimeInForce::GoodTillCancelled.into(),
            _ => TimeInForce::ImmediateOrCancel.into(),
        },
        ..NewOrder::blank()
    }
}

/// The sides of a command by name: limit and lots.
fn sides(command: &MassQuote) -> BTreeMap<u64, (i64, u64)> {
    let quotes = command.quotes();
    let named = quotes.iter().filter(|it| it.instrument.0 > 0);
    let sides = named.flat_map(|quote| {
        [Side::Buy, Side::Sell].map(|side| {
            let name = ClientOrderId::of_quote(quote.instrument, side);
            let (price, lots) = quote.side(side);
            (name.0, (price.0, lots.0))
        })
    });
    sides.collect()
}

/// What happened to one side in one command.
#[derive(Default)]
struct Told {
    refused: bool,
    cancelled: bool,
    traded: u64,
    moved: bool,
}

fn told(events: &[u8]) -> BTreeMap<u64, Told> {
    let mut all: BTreeMap<u64, Told> = BTreeMap::new();
    for event in messages(events) {
        if let Some(it) = OrderRejected::read(event) {
            all.entry(it.client_order_id.0).or_default().refused = true;
        } else if let Some(it) = OrderCancelled::read(event) {
            all.entry(it.client_order_id.0).or_default().cancelled = true;
        } else if let Some(it) = OrderFilled::read(event) {
            all.entry(it.client_order_id.0).or_default().traded += it.quantity.0;
        } else if let Some(it) = OrderReduced::read(event) {
            all.entry(it.client_order_id.0).or_default().traded += it.quantity.0;
        } else if let Some(it) = OrderReplaced::read(event) {
            let lost = it.priority == Priority::Lost.into();
            all.entry(it.client_order_id.0).or_default().moved |= lost;
        }
    }
    all
}

/// Every side stands as it was asked for, less what traded, or says why not; no other side changed.
fn check(before: &BTreeMap<u64, Live>, command: &MassQuote, market: &Market, events: &[u8]) -> u64 {
    let (sides, told) = (sides(command), told(events));
    let mut refused = 0;
    for (name, (price, lots)) in &sides {
        let (former, now) = (before.get(name), market.live.get(name));
        let what = told.get(name);
        let traded = what.map_or(0, |it| it.traded);
        if what.is_some_and(|it| it.refused) {
            refused += 1;
            // It stays as it was, unless the other side's order met it.
            if traded == 0 {
                assert_eq!(now, former);
            }
            continue;
        }
        if what.is_some_and(|it| it.cancelled) {
            assert_eq!(now, None);
            continue;
        }
        let open = Live {
            price: *price,
            leaves: lots - traded.min(*lots),
        };
        assert_eq!(now, Some(&open).filter(|it| it.leaves > 0));
        let keeps = former.is_some_and(|it| it.price == *price && it.leaves >= *lots);
        if keeps {
            assert!(what.is_none_or(|it| !it.moved), "it loses its place");
        }
    }
    for (name, live) in before {
        if !sides.contains_key(name) {
            assert_eq!(market.live.get(name), Some(live), "it was not asked for");
        }
    }
    let last = messages(events).last().and_then(CommandDone::read);
    let count = last.map(|it| (it.template, it.count));
    assert_eq!(count, Some((109, sides.len() as u64 - refused)));
    refused
}

#[test]
fn every_side_stands_as_asked_or_says_why() {
    for seed in seeds(40) {
        let (mut refused, mut trades) = (0, 0);
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let mut market = Market::new();
        for step in 0..400 {
            if dice.below(3) == 0 {
                let order = other(&mut dice, &mut market);
                let events = market.send(&order);
                trades += messages(&events).filter_map(OrderFilled::read).count();
                continue;
            }
            let command = quotes(&mut dice, &mut market);
            let before = market.live.clone();
            let events = market.send(&command);
            println!("EXAHOUR_SEED={seed}, step {step}");
            refused += check(&before, &command, &market, &events);
        }
        assert!(refused > 50 && trades > 50, "{refused} {trades}");
    }
}
