//! The books that market data makes of the engine's events, on the flows that engine and twin are
//! compared on: they hold what rests, and nothing else.

#![allow(clippy::unwrap_used)] // A test may fail where it stands.

use std::collections::BTreeSet;

use exahour_engine::{Batch, Capacity, Engine};
use exahour_gateway::image::{BookImage, Change};
use exahour_twin::flow::{Commands, Flow, Style};
use exahour_twin::seeds::seeds;
use exahour_wire::codes::{OrderType, Raw};
use exahour_wire::events::{
    FrameEnd, OrderAccepted, OrderCancelled, OrderFilled, OrderRepriced, OrderTriggered,
};
use exahour_wire::ids::OrderId;
use exahour_wire::message::{Message, messages};
use exahour_wire::units::Price;

fn apply(engine: &mut Engine, commands: &Commands) -> Vec<u8> {
    let bytes = commands.bytes();
    let batch = Batch {
        time: commands.time,
        first: commands.first,
        commands: &bytes,
    };
    let mut events = Vec::new();
    engine.apply(&batch, &mut events).unwrap();
    events
}

/// Stop orders and pegged orders that are not in the market, and how often one has come into it.
#[derive(Default)]
struct Parked {
    orders: BTreeSet<OrderId>,
    triggered: usize,
    moved: usize,
}

impl Parked {
    fn on_event(&mut self, event: &[u8]) {
        let wait = [OrderType::Stop, OrderType::StopLimit, OrderType::Pegged].map(Raw::from);
        if let Some(accepted) = OrderAccepted::read(event) {
            if wait.contains(&accepted.order_type) {
                self.orders.insert(accepted.order);
            }
        } else if let Some(triggered) = OrderTriggered::read(event) {
            self.triggered += 1;
            self.orders.remove(&triggered.order);
        } else if let Some(repriced) = OrderRepriced::read(event) {
            if repriced.price == Price::NONE {
                self.orders.insert(repriced.order);
            } else {
                self.moved += 1;
                self.orders.remove(&repriced.order);
            }
        } else if let Some(cancelled) = OrderCancelled::read(event) {
            self.orders.remove(&cancelled.order);
        }
    }
}

#[test]
fn what_waits_is_in_no_public_book_and_everything_else_that_lives_is() {
    let (mut triggered, mut moved) = (0, 0);
    for seed in seeds(24) {
        let mut flow = Flow::new(seed, Style::Realistic);
        let mut engine = Engine::new(&Capacity::default());
        let (mut image, mut parked) = (BookImage::new(), Parked::default());
        for batch in 0..300 {
            let place = format!("EXAHOUR_SEED={seed}: batch {batch}");
            let events = apply(&mut engine, &flow.next_batch());
            flow.observe(&events);
            messages(&events).for_each(|event| parked.on_event(event));
            let mut told = 0;
            let mut on_change = |_, change| {
                let halves = match change {
                    // Only the order that rested is public.
                    Change::Executed { .. } => 2,
                    Change::Auctioned { .. } => 1,
                    _ => 0,
                };
                told += halves;
            };
            image
                .apply_batch(&events, FrameEnd::Command, &mut on_change)
                .unwrap_or_else(|fault| panic!("{place}: {fault}"));
            let fills = messages(&events).filter_map(OrderFilled::read).count();
            assert_eq!(told, fills, "{place}: every trade is told");
            let books = image.books();
            let shown = parked.orders.iter().find(|id| books.order(**id).is_some());
            assert_eq!(shown, None, "{place}");
            let live = engine.live_orders() as usize;
            assert_eq!(books.orders() + parked.orders.len(), live, "{place}");
        }
        triggered += parked.triggered;
        moved += parked.moved;
    }
    assert!(triggered > 0, "no stop order came into the market");
    assert!(moved > 300, "pegged orders hardly moved: {moved}");
}
