//! The flow that benches run: a market with passive orders, cancels, replaces and trades.
//!
//! Made by running an engine beside the generator, so that cancels and replaces name orders that
//! are really there. The same seed gives the same bytes.
//!
//! Always holds: apart from its set-up, the flow is what `Mix` says; every command is funded.

use exahour_engine::{Batch, Capacity, Engine};
use exahour_wire::codes::{
    ContractKind, Firmness, OrderType, Permissions, ResourceClass, SelfTradePrevention, Side,
    TimeInForce,
};
use exahour_wire::events::{OrderAccepted, OrderCancelled, OrderFilled};
use exahour_wire::ids::{
    AccountId, ClientOrderId, CommandSequence, InstrumentId, MessageSequence, OrderId,
    ParticipantId, SessionId, SessionVersion,
};
use exahour_wire::internal::{OpenSession, ReadySession};
use exahour_wire::message::{Message, Text8, Text16, Text32, messages};
use exahour_wire::operations::{
    CreateAccount, CreateInstrument, CreateParticipant, CreateSession, Deposit,
};
use exahour_wire::orders::{CancelOrder, NewOrder, ReplaceOrder};
use exahour_wire::record::Record;
use exahour_wire::units::{Hours, Money, Nanos, PartsPerMillion, Price, Quantity};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Participants, each with one account and one session, numbered from 1 (accounts from 101).
pub const PARTICIPANTS: u32 = 16;

/// The contract that is traded.
pub const INSTRUMENT: InstrumentId = InstrumentId(1);

/// The step between its prices.
pub const TICK: i64 = 10_000;
/// The time of the flow.
pub const START: Nanos = Nanos(1_767_225_600_000_000_000);
/// Live orders that the flow keeps.
const DEPTH: usize = 10_000;
/// How far from the middle passive orders are put, in ticks.
const WIDTH: i64 = 120;

/// The flow in journal form, and how it came out.
pub struct Flow {
    /// Set-up commands: not measured.
    pub setup: Vec<Record>,
    /// The commands.
    pub commands: Vec<Record>,
    /// Of those: new, cancel, replace.
    pub kinds: [u64; 3],
    /// Trades that they gave.
    pub trades: u64,
}

struct Market {
    random: ChaCha8Rng,
    engine: Engine,
    sequences: Vec<u32>,
    next_command: u64,
    middle: i64,
    live: Vec<Live>,
    trades: u64,
}

#[derive(Clone, Copy)]
struct Live {
    order: OrderId,
    name: ClientOrderId,
    session: u32,
    price: Price,
    total: u64,
}

/// The commands that set up the market of a flow.
#[must_use]
pub fn setup() -> Vec<Record> {
    let mut records = Vec::new();
    for id in 1..=PARTICIPANTS {
        let name = Text32::new(&format!("Firm {id}")).unwrap_or_default();
        let (participant, account) = (ParticipantId(id), AccountId(100 + id));
        let create = CreateParticipant {
            participant,
            name,
            ..Message::blank()
        };
        records.push(Record::new(&create));
        let create = CreateAccount {
            account,
            participant,
            name,
            ..Message::blank()
        };
        records.push(Record::new(&create));
        let amount = Money(100_000_000_000_000_000);
        records.push(Record::new(&Deposit {
            account,
            amount,
            ..Message::blank()
        }));
        records.push(Record::new(&CreateSession {
            new_session: SessionId(id),
            participant,
            permissions: Permissions::TRADE,
            ..Message::blank()
        }));
        let (session, version) = (SessionId(id), SessionVersion(1));
        records.push(Record::new(&OpenSession {
            session,
            version,
            ..Message::blank()
        }));
        records.push(Record::new(&ReadySession {
            session,
            version,
            next_sequence: MessageSequence(1),
            timestamp: Nanos(1),
            ..Message::blank()
        }));
    }
    records.push(Record::new(&instrument()));
    records
}

/// The contract of the flow: a future, wide enough for everything the flow does.
#[must_use]
pub fn instrument() -> CreateInstrument {
    CreateInstrument {
        instrument: INSTRUMENT,
        kind: ContractKind::Future.into(),
        class: ResourceClass::Gpu.into(),
        grade_performance: 2,
        grade_reliability: 2,
        grade_energy: 2,
        firmness: Firmness::Firm.into(),
        reference_version: 1,
        hours: Hours(24),
        symbol: Text16::new("BENCH").unwrap_or_default(),
        zone: Text8::new("bench").unwrap_or_default(),
        tick: Price(TICK),
        delivery_start: Nanos::NEVER,
        last_trade_at: Nanos(u64::MAX - 1),
        initial_margin: Money(1_000_000),
        reference_price: Price(1_000 * TICK),
        quantity_max: Quantity(10_000),
        notional_max: Money(1_000_000_000_000_000),
        collar: PartsPerMillion(900_000),
        protection: PartsPerMillion(100_000),
        ..Message::blank()
    }
}

impl Flow {
    /// A flow of `count` commands.
    #[must_use]
    pub fn generate(seed: u64, count: usize) -> Self {
        let mut market = Market {
            random: ChaCha8Rng::seed_from_u64(seed),
            engine: Engine::new(&Capacity::default()),
            sequences: vec![0; PARTICIPANTS as usize + 1],
            next_command: 1,
            middle: 1_000,
            live: Vec::with_capacity(DEPTH * 2),
            trades: 0,
        };
        let setup = setup();
        for record in &setup {
            market.apply(record);
        }
        let mut commands = Vec::with_capacity(count);
        let mut kinds = [0; 3];
        while commands.len() < count {
            let (kind, record) = market.next();
            market.apply(&record);
            kinds[kind] += 1;
            commands.push(record);
        }
        Self {
            setup,
            commands,
            kinds,
            trades: market.trades,
        }
    }
}

impl Market {
    /// The next command, and whether it is a new order (0), a cancel (1) or a replace (2).
    fn next(&mut self) -> (usize, Record) {
        if self.random.random_range(0..64) == 0 {
            let step = if self.random.random_bool(0.5) { 1 } else { -1 };
            self.middle = (self.middle + step).clamp(500, 1_500);
        }
        let roll = self.random.random_range(0..100u32);
        // As many cancels as new orders that rest, once the book has its depth.
        let cancels = if self.live.len() < DEPTH { 10 } else { 46 };
        match roll {
            _ if self.live.is_empty() => (0, self.new_order(false)),
            roll if roll < cancels => (1, self.cancel()),
            roll if roll < cancels + 8 => (2, self.replace()),
            roll if roll < cancels + 14 => (0, self.new_order(true)),
            _ => (0, self.new_order(false)),
        }
    }

    fn stamp(&mut self, session: u32) -> (SessionId, MessageSequence) {
        let sequence = &mut self.sequences[session as usize];
        *sequence += 1;
        (SessionId(session), MessageSequence(*sequence))
    }

    fn price(&mut self, side: Side, takes: bool) -> Price {
        let distance = if takes {
            -self.random.random_range(1..4)
        } else {
            // Most orders stand near the middle.
            let far = self.random.random_range(0..WIDTH);
            1 + far * self.random.random_range(0..WIDTH) / WIDTH
        };
        let ticks = match side {
            Side::Buy => self.middle - distance,
            Side::Sell => self.middle + distance,
        };
        Price(ticks * TICK)
    }

    fn new_order(&mut self, takes: bool) -> Record {
        let session = self.random.random_range(1..=PARTICIPANTS);
        let side = if self.random.random_bool(0.5) {
            Side::Buy
        } else {
            Side::Sell
        };
        let price = self.price(side, takes);
        let quantity = Quantity(self.random.random_range(1..=20));
        let time_in_force = if takes {
            TimeInForce::ImmediateOrCancel
        } else {
            TimeInForce::GoodTillCancelled
        };
        let (session, sequence) = self.stamp(session);
        let client_order_id = ClientOrderId(u64::from(sequence.0));
        Record::new(&NewOrder {
            session,
            sequence,
            client_order_id,
            price,
            quantity,
            account: AccountId(100 + session.0),
            instrument: INSTRUMENT,
            side: side.into(),
            order_type: OrderType::Limit.into(),
            time_in_force: time_in_force.into(),
            self_trade_prevention: SelfTradePrevention::CancelOldest.into(),
            ..Message::blank()
        })
    }

    fn pick(&mut self) -> Live {
        let place = self.random.random_range(0..self.live.len());
        self.live[place]
    }

    fn cancel(&mut self) -> Record {
        let live = self.pick();
        let (session, sequence) = self.stamp(live.session);
        // Half name the order as the exchange does, half as its sender does.
        let by_exchange = self.random.random_bool(0.5);
        Record::new(&CancelOrder {
            session,
            sequence,
            request: ClientOrderId(u64::from(sequence.0)),
            order: if by_exchange {
                live.order
            } else {
                OrderId::NONE
            },
            client_order_id: live.name,
            instrument: INSTRUMENT,
            ..Message::blank()
        })
    }

    fn replace(&mut self) -> Record {
        let live = self.pick();
        let (session, sequence) = self.stamp(live.session);
        let shrinks = self.random.random_bool(0.5);
        let step = if self.random.random_bool(0.5) {
            TICK
        } else {
            -TICK
        };
        Record::new(&ReplaceOrder {
            session,
            sequence,
            client_order_id: live.name,
            order: live.order,
            price: if shrinks {
                live.price
            } else {
                Price(live.price.0 + step)
            },
            quantity: Quantity(if shrinks {
                live.total.max(2) - 1
            } else {
                live.total + 1
            }),
            instrument: INSTRUMENT,
            ..Message::blank()
        })
    }

    /// Applies a command and keeps account of what is live.
    fn apply(&mut self, record: &Record) {
        let first = CommandSequence(self.next_command);
        self.next_command += 1;
        let mut events = Vec::with_capacity(1_024);
        let batch = Batch {
            time: START,
            first,
            commands: record.bytes(),
        };
        // A flow holds no checkpoint, so it cannot diverge.
        let _ = self.engine.apply(&batch, &mut events);
        for event in messages(&events) {
            if let Some(accepted) = OrderAccepted::read(event) {
                self.live.push(Live {
                    order: accepted.order,
                    name: accepted.client_order_id,
                    session: accepted.session.0,
                    price: accepted.price,
                    total: accepted.quantity.0,
                });
            } else if let Some(cancelled) = OrderCancelled::read(event) {
                self.forget(cancelled.order);
            } else if let Some(fill) = OrderFilled::read(event) {
                self.trades += 1;
                if fill.leaves.0 == 0 {
                    self.forget(fill.order);
                }
            }
        }
    }

    fn forget(&mut self, order: OrderId) {
        // Fresh orders are at the end, and so are most that go.
        if let Some(place) = self.live.iter().rposition(|live| live.order == order) {
            self.live.swap_remove(place);
        }
    }
}
