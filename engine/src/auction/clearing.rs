//! Finds the one price at which an auction trades the most.
//!
//! Every tick between the extreme limits, within the range, is a candidate. What buyers want at a
//! price falls and what sellers offer rises only at limits, so ticks between two changes are alike,
//! and one look at each stretch of them is enough:
//!
//! ```text
//! bids   3@12 2@10      ticks   9   10   11   12   13
//! asks   4@10 5@13      buy     5    5    3    3    0
//!                       sell    0    4    4    4    9
//!                       volume  0    4    3    3    0   -> 10
//! ```
//! Always holds: the volume at the returned price is the highest of any candidate; ties go to the
//! smallest surplus, then market pressure, then the reference price.
//! Does not: choose who is filled (that is `allocation`).

use exahour_wire::codes::Side;
use exahour_wire::units::{Price, Quantity};

/// One price of one side: a limit and the lots of all orders that have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// The limit, a multiple of the tick.
    pub price: Price,
    /// Lots of all its orders.
    pub lots: Quantity,
}

/// What both sides want.
#[derive(Clone, Copy, Debug)]
pub struct Interest<'a> {
    /// Buy limits, strictly falling.
    pub bids: &'a [Level],
    /// Sell limits, strictly rising.
    pub asks: &'a [Level],
    /// Lots bought at any price.
    pub unpriced_bids: Quantity,
    /// Lots sold at any price.
    pub unpriced_asks: Quantity,
}

/// Where the price may be.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// The step between prices, above zero.
    pub tick: Price,
    /// The lowest price, a multiple of the tick.
    pub low: Price,
    /// The highest price, a multiple of the tick, at least the lowest.
    pub high: Price,
    /// The price to stay close to, if there is one.
    pub reference: Option<Price>,
}

/// The outcome of an auction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clearing {
    /// The price of every trade.
    pub price: Price,
    /// Lots that trade.
    pub volume: Quantity,
    /// Lots that would trade at this price and find nobody.
    pub surplus: Quantity,
    /// The side on which there is a surplus; without one there is none.
    pub side: Option<Side>,
}

/// The clearing price, or `None` where nothing can trade.
///
/// Limits outside the frame count at its nearest end. Where nobody states a limit, the reference
/// is the only candidate. The lots of a side, taken together, must fit 64 bits.
///
/// # Source
/// `docs/RULEBOOK.md`, section 9; the order of the rules is Xetra's and CME's.
#[must_use]
pub fn clear(interest: &Interest<'_>, frame: &Frame) -> Option<Clearing> {
    let (from, to) = candidates(interest, frame)?;
    let mut best: Option<Plateau> = None;
    for stretch in Stretches::new(interest, frame.tick, from, to) {
        match &mut best {
            Some(plateau) if stretch.key() < plateau.key => {}
            Some(plateau) if stretch.key() == plateau.key => plateau.extend(&stretch),
            _ => best = Some(Plateau::of(&stretch)),
        }
    }
    let plateau = best.filter(|plateau| plateau.key.0 > 0)?;
    let price = plateau.choose(frame);
    let (bids, asks) = totals_at(interest, price);
    let side = match bids.cmp(&asks) {
        std::cmp::Ordering::Greater => Some(Side::Buy),
        std::cmp::Ordering::Less => Some(Side::Sell),
        std::cmp::Ordering::Equal => None,
    };
    Some(Clearing {
        price,
        volume: Quantity(bids.min(asks)),
        surplus: Quantity(bids.abs_diff(asks)),
        side,
    })
}

/// The first and the last candidate: the extreme limits within the frame.
fn candidates(interest: &Interest<'_>, frame: &Frame) -> Option<(Price, Price)> {
    let ends = [
        interest.bids.first(),
        interest.bids.last(),
        interest.asks.first(),
        interest.asks.last(),
    ];
    let limits = || ends.iter().flatten().map(|level| level.price);
    let clamp = |price: Price| price.clamp(frame.low, frame.high);
    match (limits().min(), limits().max()) {
        (Some(lowest), Some(highest)) => Some((clamp(lowest), clamp(highest))),
        _ => frame.reference.map(|reference| {
            let only = nearest_tick(reference, frame, frame.low, frame.high);
            (only, only)
        }),
    }
}

/// Lots wanted and offered at a price.
fn totals_at(interest: &Interest<'_>, price: Price) -> (u64, u64) {
    let bids = interest.bids.iter().take_while(|bid| bid.price >= price);
    let asks = interest.asks.iter().take_while(|ask| ask.price <= price);
    (
        interest.unpriced_bids.0 + bids.map(|bid| bid.lots.0).sum::<u64>(),
        interest.unpriced_asks.0 + asks.map(|ask| ask.lots.0).sum::<u64>(),
    )
}

/// Neighbouring candidates between which nothing changes.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    from: Price,
    to: Price,
    bids: u64,
    asks: u64,
}

impl Stretch {
    /// What the best candidate has most of: volume, then a small surplus.
    fn key(&self) -> (u64, std::cmp::Reverse<u64>) {
        let surplus = self.bids.abs_diff(self.asks);
        (self.bids.min(self.asks), std::cmp::Reverse(surplus))
    }
}

/// All stretches from the lowest candidate to the highest.
struct Stretches<'a> {
    tick: i64,
    /// Bids below which no candidate is any more, the lowest first.
    bids: std::iter::Peekable<std::iter::Rev<std::slice::Iter<'a, Level>>>,
    asks: std::iter::Peekable<std::slice::Iter<'a, Level>>,
    at: Price,
    last: Price,
    wanted: u64,
    offered: u64,
}

impl<'a> Stretches<'a> {
    fn new(interest: &Interest<'a>, tick: Price, from: Price, to: Price) -> Self {
        let all = interest.bids.iter().map(|bid| bid.lots.0).sum::<u64>();
        Self {
            tick: tick.0,
            bids: interest.bids.iter().rev().peekable(),
            asks: interest.asks.iter().peekable(),
            at: from,
            last: to,
            wanted: interest.unpriced_bids.0 + all,
            offered: interest.unpriced_asks.0,
        }
    }
}

impl Iterator for Stretches<'_> {
    type Item = Stretch;

    fn next(&mut self) -> Option<Stretch> {
        if self.at > self.last {
            return None;
        }
        while let Some(bid) = self.bids.next_if(|bid| bid.price < self.at) {
            self.wanted -= bid.lots.0;
        }
        while let Some(ask) = self.asks.next_if(|ask| ask.price <= self.at) {
            self.offered += ask.lots.0;
        }
        // The next change: above the lowest bid that still counts, or at the next offer.
        let below_ask = self.asks.peek().map(|ask| ask.price.0 - self.tick);
        let at_bid = self.bids.peek().map(|bid| bid.price.0);
        let ends = [below_ask, at_bid, Some(self.last.0)];
        let to = ends.iter().flatten().copied().min().map(Price)?;
        let stretch = Stretch {
            from: self.at,
            to,
            bids: self.wanted,
            asks: self.offered,
        };
        self.at = Price(to.0 + self.tick);
        Some(stretch)
    }
}

/// The candidates that volume and surplus leave: neighbours all, as volume rises to its highest
/// and falls again, and the signed surplus only falls.
#[derive(Clone, Copy, Debug)]
struct Plateau {
    key: (u64, std::cmp::Reverse<u64>),
    from: Price,
    to: Price,
    /// Whether there is a surplus of bids everywhere, and of asks.
    bids_press: bool,
    asks_press: bool,
}

impl Plateau {
    fn of(stretch: &Stretch) -> Self {
        Self {
            key: stretch.key(),
            from: stretch.from,
            to: stretch.to,
            bids_press: stretch.bids > stretch.asks,
            asks_press: stretch.bids < stretch.asks,
        }
    }

    fn extend(&mut self, stretch: &Stretch) {
        self.to = stretch.to;
        self.bids_press &= stretch.bids > stretch.asks;
        self.asks_press &= stretch.bids < stretch.asks;
    }

    /// Market pressure first, then the reference, then the middle.
    fn choose(&self, frame: &Frame) -> Price {
        if self.bids_press {
            return self.to;
        }
        if self.asks_press {
            return self.from;
        }
        match frame.reference {
            Some(reference) => nearest_tick(reference, frame, self.from, self.to),
            None => {
                let middle = self.from.0 + (self.to.0 - self.from.0) / 2;
                Price(middle - middle % frame.tick.0)
            }
        }
    }
}

/// The tick from `from` to `to` that is closest to a price; the higher one of two.
fn nearest_tick(price: Price, frame: &Frame, from: Price, to: Price) -> Price {
    let tick = frame.tick.0;
    let above = price.0.rem_euclid(tick);
    let below = price.0 - above;
    let nearest = if above * 2 >= tick {
        below + tick
    } else {
        below
    };
    let nearest = if above == 0 { price.0 } else { nearest };
    Price(nearest).clamp(from, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(all: &[(i64, u64)]) -> Vec<Level> {
        let level = |(price, lots): &(i64, u64)| Level {
            price: Price(*price),
            lots: Quantity(*lots),
        };
        all.iter().map(level).collect()
    }

    fn cleared(
        bids: &[(i64, u64)],
        asks: &[(i64, u64)],
        unpriced: (u64, u64),
        reference: Option<i64>,
    ) -> Option<Clearing> {
        let (bids, asks) = (levels(bids), levels(asks));
        let interest = Interest {
            bids: &bids,
            asks: &asks,
            unpriced_bids: Quantity(unpriced.0),
            unpriced_asks: Quantity(unpriced.1),
        };
        let frame = Frame {
            tick: Price(1),
            low: Price(1),
            high: Price(1_000_000),
            reference: reference.map(Price),
        };
        clear(&interest, &frame)
    }

    /// Source: oracle O-10, CME's indicative opening price, rule 1.
    #[test]
    fn the_highest_volume_wins() {
        let bids = [
            (51, 10),
            (50, 20),
            (49, 30),
            (48, 40),
            (47, 50),
            (46, 70),
            (45, 100),
            (44, 1),
            (43, 30),
        ];
        let asks = [
            (43, 6),
            (44, 4),
            (45, 90),
            (46, 100),
            (47, 1),
            (48, 25),
            (49, 1),
            (50, 100),
            (51, 30),
        ];
        let found = cleared(&bids, &asks, (0, 0), None).unwrap();
        assert_eq!((found.price, found.volume), (Price(46), Quantity(200)));
        assert_eq!((found.surplus, found.side), (Quantity(20), Some(Side::Buy)));
    }

    /// Source: oracle O-14, MarketGrid's auction table.
    #[test]
    fn a_table_of_both_sides_clears_where_its_source_says() {
        let bids = [
            (13_000, 45),
            (12_900, 95),
            (12_800, 25),
            (12_700, 35),
            (12_600, 25),
            (12_500, 55),
            (12_400, 200),
            (12_300, 80),
            (12_200, 60),
        ];
        let asks = [
            (12_200, 10),
            (12_300, 125),
            (12_400, 155),
            (12_500, 90),
            (12_600, 20),
            (12_700, 10),
            (12_800, 15),
            (12_900, 10),
            (13_000, 50),
            (13_100, 35),
        ];
        let found = cleared(&bids, &asks, (0, 0), None).unwrap();
        assert_eq!((found.price, found.volume), (Price(12_400), Quantity(290)));
    }

    #[test]
    fn pressure_moves_the_price_to_the_end_of_what_is_equal() {
        let buyers = cleared(&[(20, 10)], &[(10, 4)], (0, 0), Some(12)).unwrap();
        assert_eq!((buyers.price, buyers.surplus), (Price(20), Quantity(6)));
        let sellers = cleared(&[(20, 4)], &[(10, 10)], (0, 0), Some(12)).unwrap();
        assert_eq!((sellers.price, sellers.side), (Price(10), Some(Side::Sell)));
    }

    #[test]
    fn without_pressure_the_reference_decides_and_without_one_the_middle() {
        let even =
            |reference| cleared(&[(20, 5)], &[(11, 5)], (0, 0), reference).map(|it| it.price);
        assert_eq!(even(Some(13)), Some(Price(13)));
        assert_eq!(even(Some(25)), Some(Price(20)));
        assert_eq!(even(Some(3)), Some(Price(11)));
        assert_eq!(even(None), Some(Price(15)));
    }

    #[test]
    fn orders_without_a_limit_count_at_every_price() {
        let found = cleared(&[], &[(10, 5), (12, 5)], (8, 0), Some(11)).unwrap();
        assert_eq!((found.price, found.volume), (Price(12), Quantity(8)));
        let only = cleared(&[], &[], (8, 5), Some(11)).unwrap();
        assert_eq!((only.price, only.volume), (Price(11), Quantity(5)));
        assert_eq!(cleared(&[], &[], (8, 5), None), None);
        assert_eq!(cleared(&[(9, 1)], &[(10, 1)], (0, 0), Some(9)), None);
    }
}
