//! What a run of events contained: tests use it to prove that they tested something.

use std::collections::{BTreeMap, BTreeSet};

use exahour_wire::catalogue::declaration;
use exahour_wire::codes::{CancelReason, Enumeration, Liquidity, OrderType, Phase, Side};
use exahour_wire::events::{
    CommandRejected, OrderAccepted, OrderCancelled, OrderFilled, OrderRejected, OrderReplaced,
    OrderTriggered, PhaseChanged, PriceBandMoved,
};
use exahour_wire::ids::{ClientOrderId, InstrumentId, OrderId};
use exahour_wire::message::{Message, messages, peek_header};
use exahour_wire::reject::Reject;
use exahour_wire::units::Nanos;

/// How often each kind of event, fill, phase, rejection and reason of a cancel was seen.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    seen: BTreeMap<String, u64>,
    /// One-cancels-other orders that live.
    two_legs: BTreeSet<OrderId>,
}

impl Coverage {
    /// Counts these events.
    pub fn count(&mut self, events: &[u8]) {
        for event in messages(events) {
            let template = peek_header(event).map_or(0, |header| header.template_id);
            if let Some(declaration) = declaration(template) {
                self.see(declaration.name.to_owned());
            }
            if let Some(kind) = quoted(event) {
                self.see(format!("quote {kind}"));
            }
            self.count_two_legs(event);
            if let Some(rejected) = OrderRejected::read(event) {
                self.see(format!("{:?}", rejected.reason));
            } else if let Some(rejected) = CommandRejected::read(event) {
                self.see(format!("{:?}", rejected.reason));
            } else if let Some(filled) = OrderFilled::read(event) {
                self.see(format!("filled {:?}", filled.liquidity));
            } else if let Some(changed) = PhaseChanged::read(event) {
                self.see(format!("entered {:?}", changed.phase));
            } else if let Some(moved) = PriceBandMoved::read(event) {
                if moved.pauses_at > Nanos(0) {
                    self.see("leaning on a band".to_owned());
                }
            } else if let Some(cancelled) = OrderCancelled::read(event) {
                self.see(format!("cancelled {:?}", cancelled.reason));
            }
        }
    }

    /// Counts what becomes of one-cancels-other orders.
    fn count_two_legs(&mut self, event: &[u8]) {
        if let Some(accepted) = OrderAccepted::read(event) {
            if accepted.order_type == OrderType::OneCancelsOther.into() {
                self.two_legs.insert(accepted.order);
            }
        } else if let Some(filled) = OrderFilled::read(event) {
            if self.two_legs.contains(&filled.order) {
                self.see("one-cancels-other filled at its limit".to_owned());
            }
        } else if let Some(replaced) = OrderReplaced::read(event) {
            if self.two_legs.contains(&replaced.order) {
                self.see("one-cancels-other replaced".to_owned());
            }
        } else if let Some(triggered) = OrderTriggered::read(event)
            && self.two_legs.remove(&triggered.order)
        {
            let order_type = triggered.order_type;
            self.see(format!("one-cancels-other comes as {order_type:?}"));
        }
    }

    fn see(&mut self, what: String) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// How often this was seen: the name of an event or rejection, or `cancelled` and a reason.
    #[must_use]
    pub fn of(&self, what: &str) -> u64 {
        self.seen.get(what).copied().unwrap_or(0)
    }

    /// What of everything that can happen was never seen.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let events = exahour_wire::catalogue::MESSAGES
            .iter()
            .filter(|message| (301..400).contains(&message.template_id))
            .map(|message| message.name.to_owned());
        let rejects = Reject::TABLE.iter().map(|(_, name, _)| (*name).to_owned());
        let reasons = CancelReason::TABLE
            .iter()
            .map(|(_, name, _)| format!("cancelled {name}"));
        let phases = Phase::TABLE.iter().map(|(_, name, _)| *name);
        // An instrument that expires says so in another event.
        let entered = phases
            .filter(|name| *name != "Expired")
            .map(|name| format!("entered {name}"));
        let filled = Liquidity::TABLE
            .iter()
            .map(|(_, name, _)| format!("filled {name}"));
        events
            .chain(entered)
            .chain(filled)
            .chain(rejects)
            .chain(reasons)
            .filter(|what| !self.seen.contains_key(what))
            .collect()
    }
}

/// What became of a quote, if the event is about one.
fn quoted(event: &[u8]) -> Option<&'static str> {
    let first = ClientOrderId::of_quote(InstrumentId::NONE, Side::Buy);
    let (name, kind) = OrderAccepted::read(event)
        .map(|it| (it.client_order_id, "entered"))
        .or_else(|| OrderReplaced::read(event).map(|it| (it.original, "changed")))
        .or_else(|| OrderCancelled::read(event).map(|it| (it.client_order_id, "cancelled")))
        .or_else(|| OrderFilled::read(event).map(|it| (it.client_order_id, "filled")))
        .or_else(|| OrderRejected::read(event).map(|it| (it.client_order_id, "refused")))?;
    (name >= first).then_some(kind)
}
