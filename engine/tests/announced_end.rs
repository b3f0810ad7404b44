//! What chance adds to a call stays a secret: whoever asks is told the end that was announced.

#![allow(clippy::unwrap_used)] // A test may fail where it stands.

use exahour_engine::{Batch, Capacity, Engine};
use exahour_twin::Twin;
use exahour_twin::check::Checker;
use exahour_twin::flow::followers::Followers;
use exahour_twin::flow::limits::TIME;
use exahour_wire::events::{AuctionUncrossed, InstrumentStatus};
use exahour_wire::ids::{CommandSequence, InstrumentId, MessageSequence, SessionId};
use exahour_wire::internal::Tick;
use exahour_wire::message::{Message, messages};
use exahour_wire::operations::{InstrumentStatusRequest, SetCalendar};
use exahour_wire::units::{Millis, Nanos};

const HOUR: u32 = 3_600_000;

#[test]
fn who_asks_while_chance_delays_an_auction_is_told_the_announced_end() {
    let capacity = Capacity {
        orders: 1,
        positions: 1,
        index_seed: 1,
    };
    let (mut engine, mut twin) = (Engine::new(&capacity), Twin::new());
    let (mut checker, mut sent) = (Checker::default(), 0);
    let mut apply = |engine: &mut Engine, time: Nanos, records: &[Vec<u8>]| -> Vec<u8> {
        let first = CommandSequence(sent + 1);
        sent += records.len() as u64;
        let commands = records.concat();
        let batch = Batch {
            time,
            first,
            commands: &commands,
        };
        let (mut events, mut others) = (Vec::new(), Vec::new());
        engine.apply(&batch, &mut events).unwrap();
        twin.apply(time, first, &commands, &mut others);
        assert!(events == others, "at {time:?}");
        checker.follow(&events).unwrap();
        events
    };
    // The call has begun an hour ago and ends in an hour, or up to a minute later.
    let hour = (TIME.0 % Nanos::DAY.0 / Nanos::HOUR.0) as u32;
    let calendar = SetCalendar {
        instrument: InstrumentId(1),
        call_start: Millis((hour - 1) * HOUR),
        uncross: Millis((hour + 1) * HOUR),
        closing_call: Millis((hour + 2) * HOUR),
        closing_uncross: Millis((hour + 3) * HOUR),
        random_end: Millis(60_000),
        ..SetCalendar::blank()
    };
    let mut records = Followers::set_up(1);
    records.push(calendar.bytes().to_vec());
    apply(&mut engine, TIME, &records);
    let announced = engine.next_due().unwrap();
    assert_eq!(announced, Nanos(TIME.0 + Nanos::HOUR.0));
    let question = InstrumentStatusRequest {
        session: SessionId(1),
        sequence: MessageSequence(1),
        instrument: InstrumentId(1),
        ..InstrumentStatusRequest::blank()
    };
    let events = apply(&mut engine, announced, &[question.bytes().to_vec()]);
    let uncrossed = |events: &[u8]| messages(events).any(|it| AuctionUncrossed::read(it).is_some());
    assert!(!uncrossed(&events));
    let drawn = engine.next_due().unwrap();
    assert!(drawn > announced, "chance has delayed it");
    let told = messages(&events).find_map(InstrumentStatus::read).unwrap();
    assert_eq!(told.ends_at, announced);
    let tick = Tick::blank().bytes().to_vec();
    assert!(uncrossed(&apply(&mut engine, drawn, &[tick])));
}
