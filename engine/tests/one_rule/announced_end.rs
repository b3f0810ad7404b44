//! What chance adds to a call stays a secret: whoever asks is told the end that was announced.

use exahour_twin::check::Checker;
use exahour_twin::flow::followers::Followers;
use exahour_twin::flow::limits::TIME;
use exahour_wire::events::{AuctionUncrossed, InstrumentStatus};
use exahour_wire::ids::{InstrumentId, MessageSequence, SessionId};
use exahour_wire::internal::Tick;
use exahour_wire::message::{Message, messages};
use exahour_wire::operations::{InstrumentStatusRequest, SetCalendar};
use exahour_wire::units::{Millis, Nanos};

use crate::pair::Pair;

const HOUR: u32 = 3_600_000;

#[test]
fn who_asks_while_chance_delays_an_auction_is_told_the_announced_end() {
    let (mut pair, mut checker) = (Pair::new(), Checker::default());
    let mut apply = |pair: &mut Pair, records: &[Vec<u8>]| -> Vec<u8> {
        let events = pair.apply(records);
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
    apply(&mut pair, &records);
    let announced = pair.engine.next_due().unwrap();
    assert_eq!(announced, Nanos(TIME.0 + Nanos::HOUR.0));
    let question = InstrumentStatusRequest {
        session: SessionId(1),
        sequence: MessageSequence(1),
        instrument: InstrumentId(1),
        ..InstrumentStatusRequest::blank()
    };
    pair.time = announced;
    let events = apply(&mut pair, &[question.bytes().to_vec()]);
    let uncrossed = |events: &[u8]| messages(events).any(|it| AuctionUncrossed::read(it).is_some());
    assert!(!uncrossed(&events));
    let drawn = pair.engine.next_due().unwrap();
    assert!(drawn > announced, "chance has delayed it");
    let told = messages(&events).find_map(InstrumentStatus::read).unwrap();
    assert_eq!(told.ends_at, announced);
    let tick = Tick::blank().bytes().to_vec();
    pair.time = drawn;
    assert!(uncrossed(&apply(&mut pair, &[tick])));
}
