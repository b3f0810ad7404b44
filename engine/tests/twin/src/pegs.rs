//! Chapter 13: pegged orders, from when they are entered, and what is carried on behind each command.
//!
//! Called by `orders` for a new one, by `changes` for a changed one, by `phases` where trading stops, and
//! behind each command and the timers of a batch.
//!
//! Always holds: where a pegged order should be is worked out from the book each time it is asked for.

use exahour_wire::codes::{PegReference, Phase, Side};
use exahour_wire::events::OrderRepriced;
use exahour_wire::ids::{InstrumentId, OrderId, ParticipantId};
use exahour_wire::message::Message;
use exahour_wire::orders::NewAdvancedOrder;
use exahour_wire::reject::Reject;
use exahour_wire::units::{Nanos, Price, Quantity};

use crate::admission::ensure;
use crate::twin::{Instrument, Order, Twin};

/// How many stop orders and pegged orders one command, or one batch's timers, may move.
const STEPS: usize = 64;

/// How many pegged orders an instrument may have.
const PEGGED: usize = 64;

/// How many of these may be of one participant.
const OWN: usize = 8;

/// What makes an order a pegged one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Peg {
    pub(crate) reference: PegReference,
    pub(crate) offset: i64,
    /// Its own limit; the order's is where it stands.
    pub(crate) limit: i64,
    /// The target for which it was given its price, unless it waits.
    pub(crate) stands_for: Option<i64>,
}

/// Rule 13.1: what is asked for, if it is lawful.
pub(crate) fn lawful_peg(
    instrument: &Instrument,
    command: &NewAdvancedOrder,
) -> Result<Peg, Reject> {
    let reference = command.peg.decode().ok_or(Reject::PegInvalid)?;
    ensure(reference != PegReference::None, Reject::PegInvalid)?;
    let offset = command.peg_offset.0;
    let least = match reference {
        PegReference::Market => 1,
        _ => 0,
    };
    ensure(offset % instrument.tick() == 0, Reject::PegInvalid)?;
    let in_range = least <= offset && offset <= instrument.price_cap();
    ensure(in_range, Reject::PegInvalid)?;
    Ok(Peg {
        reference,
        offset,
        limit: command.price.0,
        stands_for: None,
    })
}

impl Order {
    /// Whether it is a pegged order that stands in no book.
    pub(crate) fn waits_pegged(&self) -> bool {
        self.peg.is_some_and(|peg| peg.stands_for.is_none())
    }

    /// Its own limit, wherever it stands.
    pub(crate) fn own_limit(&self) -> i64 {
        self.peg.map_or(self.limit, |peg| peg.limit)
    }
}

impl Twin {
    pub(crate) fn ensure_room_for_pegged(
        &self,
        instrument: InstrumentId,
        participant: ParticipantId,
    ) -> Result<(), Reject> {
        let pegged = &self.instruments[&instrument].pegged;
        ensure(pegged.len() < PEGGED, Reject::TooManyPegged)?;
        let owners = pegged.iter().map(|id| self.orders[id].participant);
        let own = owners.filter(|owner| *owner == participant).count();
        ensure(own < OWN, Reject::TooManyPegged)
    }

    /// The best price of a side's orders that are not pegged.
    fn best_unpegged(&self, instrument: &Instrument, side: Side) -> Option<i64> {
        let queue = instrument.in_order_of_trading(side);
        let mut orders = queue.iter().map(|id| &self.orders[id]);
        orders
            .find(|order| order.peg.is_none())
            .map(|order| order.limit)
    }

    /// Rule 13.2: the first pegged order of an instrument that is not where it should be, and where that
    /// is, if anywhere.
    fn misplaced(&self, id: InstrumentId) -> Option<(OrderId, Option<i64>)> {
        let instrument = &self.instruments[&id];
        let trades = instrument.phase == Phase::Continuous && !instrument.expired;
        let bid = self.best_unpegged(instrument, Side::Buy);
        let ask = self.best_unpegged(instrument, Side::Sell);
        let listed = instrument.pegged.iter().map(|id| &self.orders[id]);
        let mut placed = listed.filter_map(|order| {
            let peg = order.peg.as_ref()?;
            let target = match trades {
                true => target(instrument, order.side, peg, (bid, ask)),
                false => None,
            };
            Some((order.id, target, peg.stands_for))
        });
        let (order, target, _) = placed.find(|(_, target, stands_for)| target != stands_for)?;
        Some((order, target))
    }

    /// Rules 12.4 and 13.3: what a command has led to is carried on, as far as one command may.
    pub(crate) fn follow_up(&mut self) {
        let mut last = None;
        for _ in 0..STEPS {
            if let Some(stop) = self.next_elected() {
                self.trigger(stop);
                continue;
            }
            let ids: Vec<InstrumentId> = self.instruments.keys().copied().collect();
            let turn = last.or(self.peg_turn).unwrap_or(InstrumentId(0));
            let around = ids.iter().filter(|id| **id >= turn);
            let around = around.chain(ids.iter().filter(|id| **id < turn));
            let mut misplaced = around.filter_map(|id| Some((*id, self.misplaced(*id)?)));
            let Some((next, (order, target))) = misplaced.next() else {
                break;
            };
            last = Some(next);
            self.move_pegged(order, target);
        }
        let mut ids = self.instruments.keys();
        let left = ids.any(|id| self.misplaced(*id).is_some());
        self.peg_turn = match (left, last) {
            (false, _) => None,
            (true, None) => self.peg_turn,
            (true, Some(last)) => Some(InstrumentId(last.0 + 1)),
        };
        let soon = Nanos(self.now.0.saturating_add(1));
        if (left || self.has_elected()) && soon < Nanos::NEVER {
            self.elect_at.get_or_insert(soon);
        }
    }

    fn move_pegged(&mut self, id: OrderId, target: Option<i64>) {
        let order = self.orders[&id];
        let Some(peg) = order.peg else {
            return;
        };
        let Some(target) = target else {
            return self.let_wait(id);
        };
        self.take_out_of_book(&order);
        if let Some(instrument) = self.instruments.get_mut(&order.instrument) {
            instrument.pegged.retain(|other| *other != id);
            instrument.pegged.push(id);
        }
        let price = self.instruments[&order.instrument].within_band(order.side, target, self.now);
        let moved = Order {
            limit: price,
            peg: Some(Peg {
                stands_for: Some(target),
                ..peg
            }),
            ..order
        };
        self.orders.insert(id, moved);
        self.tell_repriced(&moved, Price(price));
        self.place(id, 0);
    }

    /// A pegged order leaves the book, if it stands there, and waits.
    pub(crate) fn let_wait(&mut self, id: OrderId) {
        let order = self.orders[&id];
        let Some(peg) = order.peg else {
            return;
        };
        self.take_out_of_book(&order);
        let waits = Order {
            limit: peg.limit,
            peg: Some(Peg {
                stands_for: None,
                ..peg
            }),
            ..order
        };
        self.orders.insert(id, waits);
        self.tell_repriced(&waits, Price::NONE);
    }

    /// Rule 13.4: trading stops.
    pub(crate) fn withdraw_pegged(&mut self, instrument: InstrumentId) {
        for id in self.instruments[&instrument].pegged.clone() {
            if !self.orders[&id].waits_pegged() {
                self.let_wait(id);
            }
        }
    }

    fn tell_repriced(&mut self, order: &Order, price: Price) {
        let event = OrderRepriced {
            client_order_id: order.client_order_id,
            order: order.id,
            price,
            limit: Price(order.own_limit()),
            leaves: Quantity(order.leaves),
            account: order.account,
            instrument: order.instrument,
            side: order.side.into(),
            ..OrderRepriced::blank()
        };
        self.report(order.session, event);
    }
}

/// Rule 13.2, by the best prices of a side each.
fn target(
    instrument: &Instrument,
    side: Side,
    peg: &Peg,
    (bid, ask): (Option<i64>, Option<i64>),
) -> Option<i64> {
    let tick = instrument.tick();
    let (least, most) = (tick, instrument.price_cap());
    match side {
        Side::Buy => {
            let reference = match peg.reference {
                PegReference::Primary => bid?,
                PegReference::Market => ask?,
                _ => {
                    let middle = (bid? + ask?).div_euclid(2);
                    middle - middle.rem_euclid(tick)
                }
            };
            let price = (reference - peg.offset).max(least);
            let meets =
                peg.reference == PegReference::Market && ask.is_some_and(|ask| price >= ask);
            (!meets).then_some(price.min(peg.limit))
        }
        Side::Sell => {
            let reference = match peg.reference {
                PegReference::Primary => ask?,
                PegReference::Market => bid?,
                _ => {
                    // The lowest price on tick of which twice is no less than the sum of both.
                    let below = (bid? + ask?).div_euclid(2 * tick) * tick;
                    match 2 * below == bid? + ask? {
                        true => below,
                        false => below + tick,
                    }
                }
            };
            let price = (reference + peg.offset).min(most);
            let meets =
                peg.reference == PegReference::Market && bid.is_some_and(|bid| price <= bid);
            (!meets).then_some(price.max(peg.limit))
        }
    }
}
