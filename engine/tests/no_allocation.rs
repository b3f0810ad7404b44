//! After it has started, the engine allocates nothing for orders, cancels, replaces and trades.
#![allow(clippy::unwrap_used)] // A test may fail where it stands.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use exahour_engine::{Batch, Capacity, Engine, EventSink};
use exahour_wire::codes::{
    ContractKind, Firmness, OrderType, Permissions, ResourceClass, SelfTradePrevention, Side,
    TimeInForce,
};
use exahour_wire::ids::{
    AccountId, ClientOrderId, CommandSequence, InstrumentId, MessageSequence, ParticipantId,
    SessionId, SessionVersion,
};
use exahour_wire::internal::{OpenSession, ReadySession};
use exahour_wire::message::{Message, Text8, Text16, Text32};
use exahour_wire::operations::{
    CreateAccount, CreateInstrument, CreateParticipant, CreateSession, Deposit,
};
use exahour_wire::orders::{CancelOrder, NewOrder, ReplaceOrder};
use exahour_wire::units::{Hours, Money, Nanos, PartsPerMillion, Price, Quantity};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Counts calls and passes them on.
struct Counting;

static CALLS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is handed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const TIME: Nanos = Nanos(1_767_225_600_000_000_000);
const TRADERS: u32 = 4;

/// Counts events and keeps none.
#[derive(Default)]
struct Count(u64);

impl EventSink for Count {
    fn emit(&mut self, _event: &[u8]) {
        self.0 += 1;
    }
}

struct Bench {
    engine: Engine,
    next: u64,
    events: Count,
}

impl Bench {
    fn apply<M: Message>(&mut self, command: &M) {
        let batch = Batch {
            time: TIME,
            first: CommandSequence(self.next),
            commands: command.bytes(),
        };
        self.next += 1;
        self.engine.apply(&batch, &mut self.events).unwrap();
    }
}

fn ready() -> Bench {
    let mut bench = Bench {
        engine: Engine::new(&Capacity::default()),
        next: 1,
        events: Count::default(),
    };
    for id in 1..=TRADERS {
        let (participant, account) = (ParticipantId(id), AccountId(100 + id));
        let name = Text32::new("Firm").unwrap();
        bench.apply(&CreateParticipant {
            participant,
            name,
            ..Message::blank()
        });
        bench.apply(&CreateAccount {
            account,
            participant,
            name,
            ..Message::blank()
        });
        let amount = Money(1_000_000_000_000_000);
        bench.apply(&Deposit {
            account,
            amount,
            ..Message::blank()
        });
        let (session, version) = (SessionId(id), SessionVersion(1));
        let permissions = Permissions::TRADE;
        let create = CreateSession {
            new_session: session,
            participant,
            permissions,
            ..Message::blank()
        };
        bench.apply(&create);
        bench.apply(&OpenSession {
            session,
            version,
            ..Message::blank()
        });
        let next_sequence = MessageSequence(1);
        let timestamp = Nanos(1);
        let ready = ReadySession {
            session,
            version,
            next_sequence,
            timestamp,
            ..Message::blank()
        };
        bench.apply(&ready);
    }
    bench.apply(&CreateInstrument {
        instrument: InstrumentId(1),
        kind: ContractKind::Future.into(),
        class: ResourceClass::Gpu.into(),
        grade_performance: 1,
        grade_reliability: 1,
        grade_energy: 1,
        firmness: Firmness::Firm.into(),
        hours: Hours(24),
        symbol: Text16::new("X").unwrap(),
        zone: Text8::new("z").unwrap(),
        tick: Price(10_000),
        delivery_start: Nanos::NEVER,
        last_trade_at: Nanos(u64::MAX - 1),
        initial_margin: Money(1_000_000),
        reference_price: Price(10_000_000),
        quantity_max: Quantity(1_000),
        notional_max: Money(1_000_000_000_000),
        collar: PartsPerMillion(900_000),
        protection: PartsPerMillion(100_000),
        ..Message::blank()
    });
    bench
}

fn trade(bench: &mut Bench, random: &mut ChaCha8Rng, sequences: &mut [u32], commands: u32) {
    let lifetimes = [
        TimeInForce::Day,
        TimeInForce::GoodTillCancelled,
        TimeInForce::ImmediateOrCancel,
    ];
    for _ in 0..commands {
        let id = random.random_range(1..=TRADERS);
        let last = sequences[id as usize];
        sequences[id as usize] += 1;
        let (session, sequence) = (SessionId(id), MessageSequence(last + 1));
        let (name, earlier) = (
            ClientOrderId(u64::from(last) + 1),
            ClientOrderId(u64::from(last / 2)),
        );
        let instrument = InstrumentId(1);
        let price = Price(10_000 * random.random_range(900..1_100));
        let quantity = Quantity(random.random_range(1..20));
        match random.random_range(0..10) {
            0..6 => bench.apply(&NewOrder {
                session,
                sequence,
                client_order_id: name,
                price,
                quantity,
                account: AccountId(100 + id),
                instrument,
                side: if random.random_bool(0.5) {
                    Side::Buy
                } else {
                    Side::Sell
                }
                .into(),
                order_type: OrderType::Limit.into(),
                time_in_force: lifetimes[random.random_range(0..3)].into(),
                self_trade_prevention: SelfTradePrevention::CancelOldest.into(),
                ..Message::blank()
            }),
            6..9 => bench.apply(&CancelOrder {
                session,
                sequence,
                client_order_id: earlier,
                instrument,
                ..Message::blank()
            }),
            _ => bench.apply(&ReplaceOrder {
                session,
                sequence,
                client_order_id: name,
                original: earlier,
                price,
                quantity,
                instrument,
                ..Message::blank()
            }),
        }
    }
}

#[test]
fn orders_allocate_nothing() {
    let mut bench = ready();
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let mut sequences = [0; TRADERS as usize + 1];
    trade(&mut bench, &mut random, &mut sequences, 10_000);
    let (calls, events) = (CALLS.load(Ordering::Relaxed), bench.events.0);
    trade(&mut bench, &mut random, &mut sequences, 100_000);
    assert_eq!(CALLS.load(Ordering::Relaxed), calls);
    assert!(bench.events.0 > events + 100_000, "nothing happened");
    assert!(bench.engine.live_orders() > 100, "nothing rests");
}
