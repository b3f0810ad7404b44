//! What must be true of every event stream is true of the engine's.
//!
//! The checker works from the events alone and stands outside both the engine and its twin.

#![allow(clippy::unwrap_used)] // A test may fail where it stands.

mod applying;

use exahour_engine::{Capacity, Engine};
use exahour_twin::check::Checker;
use exahour_twin::flow::{Flow, Style};
use exahour_twin::seeds::seeds;
use exahour_wire::catalogue::declaration;
use exahour_wire::codes::TransferKind;
use exahour_wire::events::MoneyMoved;
use exahour_wire::message::{HEADER_BYTES, Message, messages, peek_header};

use applying::apply;

fn engine() -> Engine {
    Engine::new(&Capacity {
        orders: 5_000,
        ..Capacity::default()
    })
}

fn run(style: Style, seed: u64) {
    let mut engine = engine();
    let mut flow = Flow::new(seed, style);
    let mut checker = Checker::default();
    for _ in 0..600 {
        let commands = flow.next_batch();
        let applied = apply(&mut engine, &commands);
        let events = applied.unwrap_or_else(|divergence| {
            panic!("EXAHOUR_SEED={seed} {style:?}: the engine stopped by itself: {divergence}")
        });
        if let Err(violation) = checker.follow(&events) {
            panic!("EXAHOUR_SEED={seed} {style:?}: {violation}");
        }
        flow.observe(&events);
    }
}

/// Changes one thing of a stream, if there is such a thing at this place.
fn tamper(stream: &mut Vec<Vec<u8>>, how: Tampering, place: usize) -> bool {
    match how {
        Tampering::Dropped => drop(stream.remove(place)),
        Tampering::Doubled => stream.insert(place, stream[place].clone()),
        Tampering::Swapped => stream.swap(place, place + 1),
        Tampering::Field(event, name) => {
            let bytes = &mut stream[place];
            let template = peek_header(bytes).map_or(0, |header| header.template_id);
            let field = declaration(template)
                .filter(|declaration| event.is_empty() || declaration.name == event)
                .and_then(|event| event.fields.iter().find(|field| field.name == name));
            let external = MoneyMoved::read(bytes).is_some_and(is_external);
            match field {
                Some(field) if !external => {
                    let byte = HEADER_BYTES + field.offset;
                    bytes[byte] = bytes[byte].wrapping_add(1);
                }
                _ => return false,
            }
        }
    }
    true
}

/// Whether there is something to change in this event.
fn concerns(event: &[u8], how: Tampering) -> bool {
    match how {
        Tampering::Field(..) => tamper(&mut vec![event.to_vec()], how, 0),
        Tampering::Dropped | Tampering::Doubled | Tampering::Swapped => true,
    }
}

/// Money that comes from outside or goes there: how much, no event can contradict.
fn is_external(moved: MoneyMoved) -> bool {
    let kind = moved.kind.decode();
    matches!(kind, Some(TransferKind::Deposit | TransferKind::Withdrawal))
}

#[derive(Clone, Copy, Debug)]
enum Tampering {
    Dropped,
    Doubled,
    Swapped,
    /// One field, of one kind of event or of any.
    Field(&'static str, &'static str),
}

/// The events of a flow, one by one.
fn stream(seed: u64) -> Vec<Vec<u8>> {
    let mut engine = engine();
    let mut flow = Flow::new(seed, Style::Realistic);
    let mut stream = Vec::new();
    for _ in 0..200 {
        let commands = flow.next_batch();
        let events = apply(&mut engine, &commands).unwrap();
        flow.observe(&events);
        stream.extend(messages(&events).map(<[u8]>::to_vec));
    }
    stream
}

/// The checker would notice: whatever is changed in a good stream is a violation.
#[test]
fn are_seen_to_be_broken() {
    let ways = [
        Tampering::Dropped,
        Tampering::Doubled,
        Tampering::Swapped,
        Tampering::Field("", "event"),
        Tampering::Field("", "sequence"),
        Tampering::Field("MoneyMoved", "amount"),
        Tampering::Field("MoneyMoved", "transfer"),
        Tampering::Field("MoneyMoved", "credit"),
        Tampering::Field("OrderFilled", "leaves"),
        Tampering::Field("OrderFilled", "quantity"),
        Tampering::Field("OrderFilled", "price"),
        Tampering::Field("OrderFilled", "trade"),
        Tampering::Field("OrderFilled", "order"),
        Tampering::Field("OrderFilled", "liquidity"),
        Tampering::Field("TradeBusted", "quantity"),
        Tampering::Field("TradeBusted", "price"),
        Tampering::Field("TradeBusted", "account"),
        Tampering::Field("TradeCorrected", "quantity"),
        Tampering::Field("TradeCorrected", "price"),
        Tampering::Field("OrderCancelled", "quantity"),
        Tampering::Field("OrderReplaced", "leaves"),
        Tampering::Field("OrderReplaced", "priority"),
        Tampering::Field("OrderReduced", "leaves"),
        Tampering::Field("OrderTriggered", "quantity"),
        Tampering::Field("OrderTriggered", "order"),
        Tampering::Field("OrderTriggered", "stop_price"),
        Tampering::Field("StopEntered", "order"),
        Tampering::Field("OrderRepriced", "order"),
        Tampering::Field("OrderRepriced", "limit"),
        Tampering::Field("OrderRepriced", "leaves"),
        Tampering::Field("OrderShown", "quantity"),
        Tampering::Field("OrderShown", "leaves"),
        Tampering::Field("InstrumentExpired", "open_interest"),
        Tampering::Field("DeliveryAssigned", "quantity"),
        Tampering::Field("DeliverySettled", "paid"),
    ];
    let streams: Vec<Vec<Vec<u8>>> = (0..8).map(stream).collect();
    for how in ways {
        let mut tried = 0;
        for stream in &streams {
            assert_eq!(Checker::default().follow(&stream.concat()), Ok(()));
            let mut place = 0;
            while place + 1 < stream.len() {
                if !concerns(&stream[place], how) {
                    place += 1;
                    continue;
                }
                let mut other = stream.clone();
                assert!(tamper(&mut other, how, place));
                let noticed = Checker::default().follow(&other.concat()).is_err();
                assert!(noticed, "{how:?} at {place} went unnoticed");
                tried += 1;
                place += 1 + stream.len() / 8;
            }
        }
        assert!(tried > 0, "{how:?} had nothing to change");
    }
}

#[test]
fn hold_on_realistic_flows() {
    for seed in seeds(12) {
        run(Style::Realistic, seed);
    }
}

#[test]
fn hold_on_hostile_flows() {
    for seed in seeds(12) {
        run(Style::Hostile, seed);
    }
}
