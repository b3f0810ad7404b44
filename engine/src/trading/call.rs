//! A call: orders are collected for an auction at one price.
//!
//! Always holds: the range of the auction's price is fixed when the call begins, so what an
//! unpriced order may cost at worst is known when it is entered: it stands in the book at that end
//! of the range, marked, and goes before every limit.

use exahour_wire::codes::{OrderFlags, Side};
use exahour_wire::units::{Nanos, PartsPerMillion, Price, Quantity};

use crate::auction::{Clearing, Frame, Level};
use crate::book::{Book, Order};
use crate::by_side::BySide;
use crate::terms::Terms;

/// The mark of an order without a limit, in a call or until its stop price is reached: a bit of the
/// flags that no client can set.
pub(crate) const UNPRICED: OrderFlags = OrderFlags(1 << 7);

const MILLION: i64 = 1_000_000;

/// The call under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// What the auction's price stays close to.
    pub(crate) reference: Price,
    /// The lowest price of the auction, on tick.
    pub(crate) low: Price,
    /// The highest price of the auction, on tick.
    pub(crate) high: Price,
    /// Whether the random end was drawn.
    pub(crate) drawn: bool,
    /// How the breaker that began it wants it to end.
    pub(crate) reopening: Reopening,
    /// Lots of unpriced orders.
    pub(crate) unpriced: BySide<u64>,
    /// What was published last.
    pub(crate) told: Outlook,
    /// When the outlook is looked at again; never while nothing has changed.
    pub(crate) tell_at: Nanos,
}

/// What an auction comes to, as it is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outlook {
    pub(crate) price: Price,
    pub(crate) quantity: Quantity,
    pub(crate) buy_surplus: Quantity,
    pub(crate) sell_surplus: Quantity,
}

impl Outlook {
    /// Nothing can trade.
    pub(crate) const NOTHING: Self = Self {
        price: Price::NONE,
        quantity: Quantity(0),
        buy_surplus: Quantity(0),
        sell_surplus: Quantity(0),
    };

    pub(crate) fn of(clearing: Option<Clearing>) -> Self {
        let Some(clearing) = clearing else {
            return Self::NOTHING;
        };
        let of_side = |side| match clearing.side == Some(side) {
            true => clearing.surplus,
            false => Quantity(0),
        };
        Self {
            price: clearing.price,
            quantity: clearing.volume,
            buy_surplus: of_side(Side::Buy),
            sell_surplus: of_side(Side::Sell),
        }
    }
}

impl Call {
    /// A call that begins, with prices at most `collar` from the reference; zero: any price.
    pub(crate) fn begin(terms: &Terms, reference: Price, collar: PartsPerMillion) -> Self {
        let tick = terms.tick.0;
        let (mut low, mut high) = (tick, terms.price_cap.0);
        if collar.0 > 0 {
            // Both factors are bounded: 10^12 x 10^6 stays within 63 bits.
            let distance = reference.0 * i64::from(collar.0) / MILLION;
            let lowest = reference.0 - distance;
            let above = lowest.rem_euclid(tick);
            let inwards = if above == 0 { 0 } else { tick - above };
            low = (lowest + inwards).max(low);
            let highest = reference.0 + distance;
            high = (highest - highest % tick).min(high);
        }
        Self {
            reference,
            low: Price(low),
            high: Price(high),
            drawn: false,
            reopening: Reopening::AtOnce,
            unpriced: BySide::default(),
            told: Outlook::NOTHING,
            tell_at: Nanos::NEVER,
        }
    }

    /// Where the auction's price may be.
    pub(crate) fn frame(&self, terms: &Terms) -> Frame {
        Frame {
            tick: terms.tick,
            low: self.low,
            high: self.high,
            reference: Some(self.reference),
        }
    }

    /// The worst price for an order of this side.
    #[inline]
    pub(crate) fn worst(&self, side: Side) -> Price {
        match side {
            Side::Buy => self.high,
            Side::Sell => self.low,
        }
    }

    /// Whether a limit is where the auction's price cannot be.
    #[inline]
    pub(crate) fn is_outside(&self, price: Price) -> bool {
        price < self.low || price > self.high
    }

    /// Counts an order that joins or leaves the call, if it is unpriced.
    #[inline]
    pub(crate) fn count_unpriced(&mut self, order: &Order, joins: Joins) {
        if !order.flags.contains(UNPRICED) {
            return;
        }
        let lots = self.unpriced.at_mut(order.side);
        match joins {
            Joins::Yes => *lots += order.leaves.0,
            Joins::No => *lots -= order.leaves.0,
        }
    }

    /// The limits of one side, the best first, without the unpriced orders.
    pub(crate) fn limits(&self, book: &Book, side: Side, levels: &mut Vec<Level>) {
        levels.clear();
        for (price, lots) in book.side(side).totals() {
            let unpriced = if price == self.worst(side) {
                *self.unpriced.at(side)
            } else {
                0
            };
            let lots = Quantity(lots.0 + book.hidden.at(side, price).0 - unpriced);
            if lots.0 > 0 {
                levels.push(Level { price, lots });
            }
        }
    }
}

/// Whether an order joins a call or leaves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Joins {
    /// It joins.
    Yes,
    /// It leaves.
    No,
}

/// What becomes of a halt whose time is over, where its auction would be far from the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Reopening {
    /// It ends: no breaker began it, or an operator is to end it.
    AtOnce = 0,
    /// It is extended once.
    MayExtend = 1,
    /// It was extended; if the price is twice as far still, an operator is to end it.
    Extended = 2,
}

impl Reopening {
    /// What a number stands for, if it does for any.
    pub(crate) fn of(number: u8) -> Option<Self> {
        let all = [Self::AtOnce, Self::MayExtend, Self::Extended];
        all.get(usize::from(number)).copied()
    }
}
