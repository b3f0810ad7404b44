//! Stop orders of an instrument: what waits for its price, and what has had it and waits for its turn.
//!
//! Entered and left by `execute`; touched by every trade.
//!
//! Always holds: what waits has had no trade at its stop price or beyond since it was entered; what was
//! elected goes by the trade that elected it, then buys before sells, then the nearest stop price, then
//! the order's id. Each step takes about log2(n) for n stop orders, whatever prices are chosen; memory is
//! a node for each of the most that lived at once.
//! Does not: know the orders, beyond their places in the table.

mod forest;

use exahour_wire::codes::Side;
use exahour_wire::ids::OrderId;
use exahour_wire::units::Price;

use crate::book::Slot;
use crate::by_side::{BySide, signed};
use forest::{Forest, NO_NODE, NodeIndex};

/// A stop order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stop {
    pub(crate) side: Side,
    /// The trade's price from which it is in the market: a buy's at or above, a sell's at or below.
    pub(crate) price: Price,
    pub(crate) order: OrderId,
    /// The order's place in the table.
    pub(crate) slot: Slot,
}

impl Stop {
    /// Whether a trade at this price elects it.
    #[inline]
    pub(crate) fn is_met_by(&self, price: Price) -> bool {
        signed(self.side, self.price.0) <= signed(self.side, price.0)
    }

    /// What is elected first has the lowest.
    fn key(&self) -> (i64, OrderId) {
        (signed(self.side, self.price.0), self.order)
    }
}

/// The stop orders of one instrument.
pub(crate) struct Stops {
    forest: Forest<Stop>,
    waiting: BySide<NodeIndex>,
    elected: NodeIndex,
}

impl Stops {
    /// None; the seed is one that nobody knows.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            forest: Forest::new(seed),
            waiting: BySide::new(NO_NODE, NO_NODE),
            elected: NO_NODE,
        }
    }

    /// Lets an order wait, and says its place here.
    pub(crate) fn wait(&mut self, stop: Stop) -> NodeIndex {
        let node = self.forest.make(stop);
        let root = self.waiting.at_mut(stop.side);
        let (before, behind) = self.forest.split(*root, |other| other.key() < stop.key());
        let head = self.forest.join(before, node);
        *root = self.forest.join(head, behind);
        node
    }

    /// Puts an order last among those that were elected, and says its place here.
    pub(crate) fn elect(&mut self, stop: Stop) -> NodeIndex {
        let node = self.forest.make(stop);
        self.elected = self.forest.join(self.elected, node);
        node
    }

    /// Elects what a trade at this price elects, and says whether it was anything.
    #[inline]
    pub(crate) fn touch(&mut self, price: Price) -> bool {
        let mut touched = false;
        for side in [Side::Buy, Side::Sell] {
            let root = *self.waiting.at(side);
            let nearest = self.forest.first(root);
            if nearest.is_none_or(|node| !self.forest.at(node).is_met_by(price)) {
                continue;
            }
            let (met, others) = self.forest.split(root, |stop| stop.is_met_by(price));
            *self.waiting.at_mut(side) = others;
            self.elected = self.forest.join(self.elected, met);
            touched = true;
        }
        touched
    }

    /// Takes out the first of those that were elected.
    pub(crate) fn take_elected(&mut self) -> Option<Stop> {
        let first = self.forest.first(self.elected)?;
        Some(self.remove(first))
    }

    /// Whether any was elected that is still here.
    #[inline]
    pub(crate) fn has_elected(&self) -> bool {
        self.elected != NO_NODE
    }

    /// Takes one out.
    pub(crate) fn remove(&mut self, node: NodeIndex) -> Stop {
        let stop = *self.forest.at(node);
        let rest = self.forest.take_out(node);
        if self.elected == node {
            self.elected = rest;
        } else if *self.waiting.at(stop.side) == node {
            *self.waiting.at_mut(stop.side) = rest;
        }
        self.forest.free(node);
        stop
    }

    /// One by its place here.
    #[inline]
    pub(crate) fn at(&self, node: NodeIndex) -> &Stop {
        self.forest.at(node)
    }

    /// Those of a side that wait, in the order in which they would be elected.
    pub(crate) fn waiting(&self, side: Side) -> impl Iterator<Item = &Stop> {
        self.forest.walk(*self.waiting.at(side))
    }

    /// Those that were elected, in their order.
    pub(crate) fn elected(&self) -> impl Iterator<Item = &Stop> {
        self.forest.walk(self.elected)
    }

    /// All of them: buys that wait, sells that wait, those that were elected.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Stop> {
        self.waiting(Side::Buy)
            .chain(self.waiting(Side::Sell))
            .chain(self.elected())
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// The same with two lists, looked through from end to end.
    #[derive(Default)]
    struct Twin {
        waiting: Vec<Stop>,
        elected: Vec<Stop>,
    }

    impl Twin {
        fn touch(&mut self, price: Price) {
            for side in [Side::Buy, Side::Sell] {
                let met = |stop: &Stop| match side {
                    Side::Buy => stop.side == side && stop.price <= price,
                    Side::Sell => stop.side == side && stop.price >= price,
                };
                let mut now: Vec<Stop> = self.waiting.iter().copied().filter(met).collect();
                self.waiting.retain(|stop| !met(stop));
                now.sort_by_key(|stop| (stop.price.0 * sign(side), stop.order));
                self.elected.extend(now);
            }
        }

        fn waiting(&self, side: Side) -> Vec<Stop> {
            let of_side = self.waiting.iter().filter(|stop| stop.side == side);
            let mut stops: Vec<Stop> = of_side.copied().collect();
            stops.sort_by_key(|stop| (stop.price.0 * sign(side), stop.order));
            stops
        }
    }

    fn sign(side: Side) -> i64 {
        if side == Side::Buy { 1 } else { -1 }
    }

    #[test]
    fn it_agrees_with_lists() {
        for seed in 0..40 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let (mut stops, mut twin) = (Stops::new(random.random()), Twin::default());
            let mut places: Vec<(Stop, NodeIndex)> = Vec::new();
            for step in 0..1_500_u32 {
                match random.random_range(0..10) {
                    0..5 => {
                        let sides = [Side::Buy, Side::Sell];
                        let stop = Stop {
                            side: sides[random.random_range(0..2)],
                            price: Price(random.random_range(1..60)),
                            order: OrderId(u64::from(step)),
                            slot: step,
                        };
                        if random.random_range(0..8) == 0 {
                            places.push((stop, stops.elect(stop)));
                            twin.elected.push(stop);
                        } else {
                            places.push((stop, stops.wait(stop)));
                            twin.waiting.push(stop);
                        }
                    }
                    5..7 if !places.is_empty() => {
                        let (stop, node) = places.swap_remove(random.random_range(0..places.len()));
                        assert_eq!(stops.remove(node), stop, "seed {seed}");
                        twin.waiting.retain(|other| *other != stop);
                        twin.elected.retain(|other| *other != stop);
                    }
                    7 => {
                        let price = Price(random.random_range(1..60));
                        let before = twin.elected.len();
                        twin.touch(price);
                        assert_eq!(stops.touch(price), twin.elected.len() > before);
                    }
                    _ => {
                        let first = stops.take_elected();
                        let expected = (!twin.elected.is_empty()).then(|| twin.elected.remove(0));
                        assert_eq!(first, expected, "seed {seed}");
                        places.retain(|(stop, _)| Some(*stop) != first);
                    }
                }
                for side in [Side::Buy, Side::Sell] {
                    let waiting: Vec<Stop> = stops.waiting(side).copied().collect();
                    assert_eq!(waiting, twin.waiting(side), "seed {seed}");
                }
                let elected: Vec<Stop> = stops.elected().copied().collect();
                assert_eq!(elected, twin.elected, "seed {seed}");
                assert_eq!(stops.has_elected(), !twin.elected.is_empty());
            }
        }
    }
}
