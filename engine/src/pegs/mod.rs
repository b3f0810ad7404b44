//! Pegged orders of an instrument: what each moves with, and in which order they move.
//!
//! Entered and moved by `execute::pegs`.
//!
//! Always holds: at most [`PEGGED_MAX`] of those listed live, and [`PEGGED_OWN_MAX`] of one participant;
//! they stand in the order in which they were entered or last given a price. What is listed and lives no
//! more, whose place in the table may hold another order by now, is passed over, and dropped before it is
//! looked for what has to move.
//! Does not: know the book, or where an order stands; the order itself says so.

use std::collections::VecDeque;

use exahour_wire::codes::{OrderFlags, PegReference, Side};
use exahour_wire::ids::{OrderId, ParticipantId};
use exahour_wire::limits::{PEGGED_MAX, PEGGED_OWN_MAX};
use exahour_wire::units::Price;

use crate::book::{OrderTable, Slot};
use crate::by_side::signed;
use crate::terms::Terms;
use crate::trading::PARKED;

/// The mark of a pegged order: a bit of the flags that no client can set. One that waits is marked as
/// a stop order is that waits.
pub(crate) const PEGGED: OrderFlags = OrderFlags(1 << 2);

/// The best prices of orders that are not pegged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BestPrices {
    pub(crate) bid: Option<Price>,
    pub(crate) ask: Option<Price>,
}

/// What a pegged order moves with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lead {
    pub(crate) reference: PegReference,
    /// How far away from it, on tick.
    pub(crate) offset: Price,
}

impl Lead {
    /// Where an order that is led stands by these prices, on tick and no worse than its limit; nowhere
    /// without the price that it follows.
    pub(crate) fn target(
        &self,
        best: BestPrices,
        side: Side,
        limit: Price,
        terms: &Terms,
    ) -> Option<Price> {
        let tick = terms.tick.0;
        let (own, other) = match side {
            Side::Buy => (best.bid, best.ask),
            Side::Sell => (best.ask, best.bid),
        };
        let start = match self.reference {
            PegReference::None => return None,
            PegReference::Primary => own?.0,
            PegReference::Market => other?.0,
            PegReference::Midpoint => {
                let twice = own?.0 + other?.0;
                // Away from the other side: down for a buy, up for a sell.
                let up = match side {
                    Side::Buy => 0,
                    Side::Sell => 2 * tick - 1,
                };
                (twice + up) / (2 * tick) * tick
            }
        };
        let wanted = (start - signed(side, self.offset.0)).clamp(tick, terms.price_cap.0);
        if self.reference == PegReference::Market && wanted == start {
            // The other side stands at the end of the range: there is no room before it.
            return None;
        }
        Some(Price(match side {
            Side::Buy => wanted.min(limit.0),
            Side::Sell => wanted.max(limit.0),
        }))
    }
}

/// A pegged order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peg {
    /// The order's place in the table, and its name.
    pub(crate) slot: Slot,
    pub(crate) order: OrderId,
    pub(crate) lead: Lead,
    /// The target for which it stands where it does, while it does not wait.
    pub(crate) aim: Price,
}

impl Peg {
    /// Whether the order is still there.
    fn lives(&self, orders: &OrderTable) -> bool {
        orders.at(self.slot).id == self.order
    }

    /// For which target the order stands; for none while it waits.
    pub(crate) fn stands_for(&self, orders: &OrderTable) -> Option<Price> {
        let waits = orders.at(self.slot).flags.contains(PARKED);
        (!waits).then_some(self.aim)
    }
}

/// A pegged order that stands elsewhere than it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Misplaced {
    /// Its place in the list.
    place: usize,
    pub(crate) slot: Slot,
    /// Where it should stand, or nowhere.
    pub(crate) target: Option<Price>,
}

/// The pegged orders of one instrument.
#[derive(Default)]
pub(crate) struct Pegs {
    list: VecDeque<Peg>,
    /// The best prices by which none has to move; none where that is to be looked at.
    settled: Option<BestPrices>,
}

impl Pegs {
    /// Those that live, in their order.
    pub(crate) fn live<'a>(&'a self, orders: &'a OrderTable) -> impl Iterator<Item = &'a Peg> {
        self.list.iter().filter(|peg| peg.lives(orders))
    }

    /// All that are listed, whether they live or not.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Peg> {
        self.list.iter()
    }

    /// Whether one more of a participant may live.
    pub(crate) fn has_room(&self, participant: ParticipantId, orders: &OrderTable) -> bool {
        let (mut all, mut own) = (0, 0);
        for peg in self.live(orders) {
            all += 1;
            own += usize::from(orders.at(peg.slot).participant == participant);
        }
        all < PEGGED_MAX && own < PEGGED_OWN_MAX
    }

    /// Lists an order, last.
    pub(crate) fn enter(&mut self, peg: Peg, orders: &OrderTable) {
        if self.list.len() >= PEGGED_MAX {
            self.drop_gone(orders);
        }
        self.list.push_back(peg);
        self.settled = None;
    }

    /// Something of an order has changed: whether any has to move is to be looked at.
    pub(crate) fn unsettle(&mut self) {
        self.settled = None;
    }

    /// Forgets those that live no more.
    pub(crate) fn drop_gone(&mut self, orders: &OrderTable) {
        self.list.retain(|peg| peg.lives(orders));
    }

    /// Forgets those that live no more ahead of the first that lives; whether there is one.
    pub(crate) fn drop_first_gone(&mut self, orders: &OrderTable) -> bool {
        while self.list.front().is_some_and(|peg| !peg.lives(orders)) {
            self.list.pop_front();
        }
        !self.list.is_empty()
    }

    /// Whether it is known that none has to move by these prices.
    pub(crate) fn are_settled_by(&self, best: BestPrices) -> bool {
        self.settled == Some(best)
    }

    /// The first that has to move by these prices; all that are listed must live.
    pub(crate) fn first_misplaced(
        &mut self,
        best: BestPrices,
        orders: &OrderTable,
        terms: &Terms,
    ) -> Option<Misplaced> {
        let misplaced = self.list.iter().enumerate().find_map(|(place, peg)| {
            let (side, limit) = (orders.at(peg.slot).side, orders.held_at(peg.slot));
            let target = peg.lead.target(best, side, limit, terms);
            let moves = target != peg.stands_for(orders);
            moves.then_some(Misplaced {
                place,
                slot: peg.slot,
                target,
            })
        });
        self.settled = misplaced.is_none().then_some(best);
        misplaced
    }

    /// Takes note that an order was given a price for this target: it is the last now.
    pub(crate) fn place(&mut self, misplaced: Misplaced, target: Price) {
        if let Some(peg) = self.list.remove(misplaced.place) {
            self.list.push_back(Peg { aim: target, ..peg });
        }
    }
}

#[cfg(test)]
mod tests {
    use exahour_wire::codes::ContractKind;
    use exahour_wire::units::{Hours, Money, Nanos, PartsPerMillion, Quantity};

    use super::*;
    use crate::book::{NO_EXTENT, Order, VACANT};
    use crate::capacity::Capacity;
    use crate::divisor::Divisor;

    fn terms() -> Terms {
        Terms {
            kind: ContractKind::Future,
            hours: Hours(1),
            tick: Price(10),
            ticks: Divisor::new(10),
            price_cap: Price(1_000),
            position_cap: Quantity(1),
            initial_margin: Money(0),
            quantity_max: Quantity(1),
            notional_max: Money(1),
            collar: PartsPerMillion(0),
            protection: PartsPerMillion(0),
            reference_price: Price(10),
            delivery_start: Nanos(0),
            last_trade_at: Nanos(0),
        }
    }

    /// The targets of a buy and of a sell that only the range of prices limits.
    fn targets(
        reference: PegReference,
        offset: i64,
        bid: Option<i64>,
        ask: Option<i64>,
    ) -> [Option<i64>; 2] {
        let lead = Lead {
            reference,
            offset: Price(offset),
        };
        let best = BestPrices {
            bid: bid.map(Price),
            ask: ask.map(Price),
        };
        [(Side::Buy, 1_000), (Side::Sell, 10)].map(|(side, limit)| {
            let target = lead.target(best, side, Price(limit), &terms());
            target.map(|price| price.0)
        })
    }

    #[test]
    fn each_follows_its_own_reference_away_from_it() {
        use PegReference::{Market, Midpoint, None as Nothing, Primary};
        let (bid, ask) = (Some(100), Some(150));
        assert_eq!(targets(Primary, 0, bid, ask), [Some(100), Some(150)]);
        assert_eq!(targets(Primary, 20, bid, ask), [Some(80), Some(170)]);
        assert_eq!(targets(Market, 10, bid, ask), [Some(140), Some(110)]);
        assert_eq!(targets(Midpoint, 0, bid, ask), [Some(120), Some(130)]);
        assert_eq!(targets(Midpoint, 0, bid, Some(140)), [Some(120), Some(120)]);
        assert_eq!(targets(Midpoint, 0, bid, Some(110)), [Some(100), Some(110)]);
        assert_eq!(targets(Nothing, 0, bid, ask), [None, None]);
    }

    #[test]
    fn without_its_reference_it_stands_nowhere() {
        use PegReference::{Market, Midpoint, Primary};
        assert_eq!(targets(Primary, 0, Some(100), None), [Some(100), None]);
        assert_eq!(targets(Market, 10, Some(100), None), [None, Some(110)]);
        assert_eq!(targets(Midpoint, 0, Some(100), None), [None, None]);
    }

    #[test]
    fn at_the_end_of_the_range_there_is_no_room_before_the_other_side() {
        use PegReference::{Market, Primary};
        assert_eq!(targets(Market, 10, Some(100), Some(10)), [None, Some(110)]);
        let at_the_cap = targets(Market, 30, Some(1_000), Some(10));
        assert_eq!(at_the_cap, [None, None]);
        let near = targets(Market, 30, Some(990), Some(20));
        assert_eq!(near, [Some(10), Some(1_000)]);
        let own = targets(Primary, 10, Some(10), Some(1_000));
        assert_eq!(own, [Some(10), Some(1_000)]);
    }

    #[test]
    fn a_list_of_which_none_lives_is_known_by_its_head() {
        let mut orders = OrderTable::new(&Capacity::default());
        let mut pegs = Pegs::default();
        let slots = [0; 3].map(|_| orders.insert(NO_EXTENT, |id| Order { id, ..VACANT }));
        for slot in slots {
            let peg = Peg {
                slot,
                order: orders.at(slot).id,
                lead: Lead {
                    reference: PegReference::Primary,
                    offset: Price(0),
                },
                aim: Price(10),
            };
            pegs.enter(peg, &orders);
        }
        orders.remove(slots[0]);
        orders.remove(slots[2]);
        assert!(pegs.drop_first_gone(&orders));
        assert_eq!(pegs.all().count(), 2);
        // Another order in its place is another order.
        orders.remove(slots[1]);
        orders.insert(NO_EXTENT, |id| Order { id, ..VACANT });
        assert!(!pegs.drop_first_gone(&orders));
        assert_eq!(pegs.all().count(), 0);
    }

    #[test]
    fn it_never_leaves_the_range_of_prices_nor_passes_its_limit() {
        use PegReference::Primary;
        let beyond = targets(Primary, 500, Some(100), Some(900));
        assert_eq!(beyond, [Some(10), Some(1_000)]);
        let lead = Lead {
            reference: Primary,
            offset: Price(0),
        };
        let best = BestPrices {
            bid: Some(Price(100)),
            ask: Some(Price(150)),
        };
        let held = |side, limit| lead.target(best, side, Price(limit), &terms());
        assert_eq!(held(Side::Buy, 90), Some(Price(90)));
        assert_eq!(held(Side::Sell, 200), Some(Price(200)));
    }
}
