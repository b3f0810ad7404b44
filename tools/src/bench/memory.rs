//! Memory: what the engine takes when it starts, and what a live order adds.

use exahour_engine::{Batch, Capacity, Engine, EventSink};
use exahour_wire::codes::{OrderType, Side, TimeInForce};
use exahour_wire::ids::{AccountId, ClientOrderId, CommandSequence, MessageSequence, SessionId};
use exahour_wire::message::Message;
use exahour_wire::orders::NewOrder;
use exahour_wire::record::Record;
use exahour_wire::units::{Price, Quantity};

use super::flow::{INSTRUMENT, PARTICIPANTS, START, TICK, setup};
use super::report::Report;

/// Bytes of this process that are in memory, from the kernel.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1_024)
}

/// Live orders that are entered: close to what an engine of default capacity has set aside.
const ORDERS: u32 = 1_000_000;

/// Measures an engine of default capacity before the first order, and with a million of them.
pub fn measure(report: &mut Report) {
    let before = resident_bytes();
    let mut engine = Engine::new(&Capacity::default());
    let fresh = resident_bytes();
    let entered = enter_orders(&mut engine);
    let full = resident_bytes();
    let (Some(before), Some(fresh), Some(full)) = (before, fresh, full) else {
        report.note("memory", "not measured: /proc/self/status cannot be read");
        return;
    };
    let mebibytes = fresh.saturating_sub(before) as f64 / f64::from(1 << 20);
    report.value("engine, resident at the start", mebibytes, "MiB", None);
    let each = full.saturating_sub(fresh) as f64 / f64::from(entered.max(1));
    report.value("a live order, beyond that", each, "bytes", None);
}

/// Fills one side of the book, a few thousand orders at each price; how many live then.
fn enter_orders(engine: &mut Engine) -> u32 {
    let mut next = 1;
    let mut apply = |record: &Record| {
        let batch = Batch {
            time: START,
            first: CommandSequence(next),
            commands: record.bytes(),
        };
        next += 1;
        // There is no checkpoint here, so it cannot diverge.
        let _ = engine.apply(&batch, &mut Forget);
    };
    for record in &setup() {
        apply(record);
    }
    for number in 0..ORDERS {
        let session = SessionId(1 + number % PARTICIPANTS);
        let sequence = MessageSequence(1 + number / PARTICIPANTS);
        let distance = i64::from(number / PARTICIPANTS % 400);
        apply(&Record::new(&NewOrder {
            session,
            sequence,
            client_order_id: ClientOrderId(u64::from(sequence.0)),
            price: Price((900 - distance) * TICK),
            quantity: Quantity(1),
            account: AccountId(100 + session.0),
            instrument: INSTRUMENT,
            side: Side::Buy.into(),
            order_type: OrderType::Limit.into(),
            time_in_force: TimeInForce::GoodTillCancelled.into(),
            ..Message::blank()
        }));
    }
    engine.live_orders()
}

struct Forget;

impl EventSink for Forget {
    fn emit(&mut self, _event: &[u8]) {}
}
