//! Makes the numbered messages of a change, at each depth that tells it.
//!
//! Called by the publisher with every change of the books, in their order.
//!
//! ```text
//! orders added, executed, shrunk, deleted      Orders
//! levels                                                 Levels
//! best prices                                  Orders             Top
//! trades, what was undone, statistics,         Orders    Levels   Top
//! phases, auctions, intervals, listings,
//! price bands, circuit breakers
//! ```
//! Always holds: one change has one message at a depth, a trade of the book two where orders are told.
//! Does not: number (that is `history`), or know clients.

#[cfg(feature = "defects")]
use exahour_journal::defects::{self, Defect};
use exahour_wire::codes::{FeedDepth, LevelAction, Side};
use exahour_wire::events::{TradeBusted, TradeCorrected};
use exahour_wire::ids::{FeedSequence, InstrumentId, TradeId};
use exahour_wire::market_data::{
    AuctionTrade, CircuitBreaker, IndicativeAuction, InstrumentDefinition, IntervalPrice,
    OrderAdded, OrderDeleted, OrderExecuted, OrderShrunk, PriceBand, PriceLevel, Statistics,
    TopOfBook, TradeBust, TradeCorrection, TradeReport,
};
use exahour_wire::message::Message;
use exahour_wire::units::{Nanos, Price, Quantity};

use super::history::History;
use crate::image::{Change, LevelView, RestingOrder, Top};

/// Every depth, in the order of their numbers.
pub const DEPTHS: [FeedDepth; 3] = [FeedDepth::Orders, FeedDepth::Top, FeedDepth::Levels];

// The number of a depth is its place.
const _: () = assert!(DEPTHS[0] as u8 == 0 && DEPTHS[1] as u8 == 1 && DEPTHS[2] as u8 == 2);

const ORDERS: &[FeedDepth] = &[FeedDepth::Orders];
const LEVELS: &[FeedDepth] = &[FeedDepth::Levels];
const BEST_PRICES: &[FeedDepth] = &[FeedDepth::Orders, FeedDepth::Top];

/// What the newest messages take at the depths without orders, of what they take with them.
const SMALLER_BY: usize = 4;

/// The newest messages of the feed of each depth.
#[derive(Debug)]
pub struct Histories([History; 3]);

/// A trade: its name, price and lots.
type Made = (TradeId, Price, Quantity);

impl Histories {
    /// Room for `bytes` of messages about orders, and for a part of that at the other depths.
    pub fn new(bytes: usize) -> Self {
        Self::from(bytes, [FeedSequence(1); 3])
    }

    /// The same, for feeds of which these numbers come next, by the number of the depth.
    pub fn from(bytes: usize, next: [FeedSequence; 3]) -> Self {
        Histories(DEPTHS.map(|depth| {
            let next = next[depth as usize];
            match depth {
                FeedDepth::Orders => History::from(bytes, next),
                FeedDepth::Top | FeedDepth::Levels => History::from(bytes / SMALLER_BY, next),
            }
        }))
    }

    /// The newest messages of one depth.
    pub fn at(&self, depth: FeedDepth) -> &History {
        &self.0[depth as usize]
    }

    /// Publishes one change.
    pub fn publish(&mut self, time: Nanos, change: Change) {
        match change {
            Change::Added(order) => self.added(time, order),
            Change::Shrunk(order) => self.shrunk(time, order),
            Change::Deleted(order) => self.deleted(time, order),
            Change::Executed {
                order,
                trade,
                price,
                quantity,
            } => self.traded(time, order, (trade, price, quantity)),
            Change::Auctioned {
                order,
                trade,
                price,
                quantity,
                shown,
            } => self.auctioned(time, order, (trade, price, quantity), shown),
            Change::Level {
                instrument,
                side,
                level,
                action,
            } => self.level(time, instrument, (side, level, action)),
            Change::Top { instrument, top } => self.top(time, instrument, top),
            Change::Phased { instrument, state } => self.push(&DEPTHS, instrument, |sequence| {
                state.message(sequence, time, instrument)
            }),
            Change::Banded(it) => {
                self.push(&DEPTHS, it.instrument, |sequence| PriceBand {
                    sequence,
                    ..it
                });
            }
            Change::BreakerSet(it) => {
                self.push(&DEPTHS, it.instrument, |sequence| CircuitBreaker {
                    sequence,
                    ..it
                });
            }
            Change::Busted(busted) => self.busted(time, &busted),
            Change::Corrected(corrected) => self.corrected(time, &corrected),
            Change::Listed(it) => self.push(&DEPTHS, it.instrument, |sequence| {
                InstrumentDefinition { sequence, ..it }
            }),
            Change::Traded(it) => {
                self.push(&DEPTHS, it.instrument, |sequence| Statistics {
                    sequence,
                    ..it
                });
            }
            Change::Indicated(it) => self.push(&DEPTHS, it.instrument, |sequence| {
                IndicativeAuction { sequence, ..it }
            }),
            Change::IntervalPriced(it) => {
                self.push(&DEPTHS, it.instrument, |sequence| IntervalPrice {
                    sequence,
                    ..it
                });
            }
        }
    }

    fn push<M: Message>(
        &mut self,
        depths: &[FeedDepth],
        instrument: InstrumentId,
        message: impl Fn(FeedSequence) -> M,
    ) {
        for depth in depths {
            let history = &mut self.0[*depth as usize];
            let message = message(history.next());
            history.push(instrument, message.bytes());
        }
    }

    fn added(&mut self, time: Nanos, order: RestingOrder) {
        self.push(ORDERS, order.instrument, |sequence| OrderAdded {
            sequence,
            time,
            order: order.order,
            price: order.price,
            quantity: order.quantity,
            instrument: order.instrument,
            side: order.side.into(),
            ..OrderAdded::blank()
        });
    }

    fn shrunk(&mut self, time: Nanos, order: RestingOrder) {
        self.push(ORDERS, order.instrument, |sequence| OrderShrunk {
            sequence,
            time,
            order: order.order,
            leaves: order.quantity,
            instrument: order.instrument,
            side: order.side.into(),
            ..OrderShrunk::blank()
        });
    }

    fn deleted(&mut self, time: Nanos, order: RestingOrder) {
        self.push(ORDERS, order.instrument, |sequence| OrderDeleted {
            sequence,
            time,
            order: order.order,
            instrument: order.instrument,
            side: order.side.into(),
            ..OrderDeleted::blank()
        });
    }

    fn executed(&mut self, time: Nanos, order: RestingOrder, (trade, price, quantity): Made) {
        self.push(ORDERS, order.instrument, |sequence| OrderExecuted {
            sequence,
            time,
            order: order.order,
            trade,
            price,
            quantity,
            leaves: order.quantity,
            instrument: order.instrument,
            side: order.side.into(),
            ..OrderExecuted::blank()
        });
    }

    fn traded(&mut self, time: Nanos, order: RestingOrder, made: Made) {
        self.executed(time, order, made);
        let (trade, price, quantity) = made;
        #[cfg(feature = "defects")]
        let quantity = match defects::armed(Defect::UntrueTrade) {
            true => Quantity(quantity.0 + 1),
            false => quantity,
        };
        self.push(&DEPTHS, order.instrument, |sequence| TradeReport {
            sequence,
            time,
            trade,
            price,
            quantity,
            instrument: order.instrument,
            aggressor: order.side.opposite().into(),
            ..TradeReport::blank()
        });
    }

    fn auctioned(&mut self, time: Nanos, order: RestingOrder, made: Made, shown: Quantity) {
        // What an order had not shown is not told of it either, only of the trade.
        self.executed(time, order, (made.0, made.1, shown));
        // Both halves of the trade rested; it is told once, with the buyer's.
        if order.side != Side::Buy {
            return;
        }
        let (trade, price, quantity) = made;
        self.push(&DEPTHS, order.instrument, |sequence| AuctionTrade {
            sequence,
            time,
            trade,
            price,
            quantity,
            instrument: order.instrument,
            ..AuctionTrade::blank()
        });
    }

    fn level(
        &mut self,
        time: Nanos,
        instrument: InstrumentId,
        (side, level, action): (Side, LevelView, LevelAction),
    ) {
        self.push(LEVELS, instrument, |sequence| PriceLevel {
            sequence,
            action: action.into(),
            ..level_message(time, instrument, side, level)
        });
    }

    fn top(&mut self, time: Nanos, instrument: InstrumentId, top: Top) {
        self.push(BEST_PRICES, instrument, |sequence| TopOfBook {
            sequence,
            ..top_message(time, instrument, top)
        });
    }

    fn busted(&mut self, time: Nanos, busted: &TradeBusted) {
        self.push(&DEPTHS, busted.instrument, |sequence| TradeBust {
            sequence,
            time,
            trade: busted.trade,
            price: busted.price,
            quantity: busted.quantity,
            instrument: busted.instrument,
            ..TradeBust::blank()
        });
    }

    fn corrected(&mut self, time: Nanos, corrected: &TradeCorrected) {
        self.push(&DEPTHS, corrected.instrument, |sequence| TradeCorrection {
            sequence,
            time,
            trade: corrected.trade,
            price_before: corrected.price_before,
            quantity_before: corrected.quantity_before,
            price: corrected.price,
            quantity: corrected.quantity,
            instrument: corrected.instrument,
            ..TradeCorrection::blank()
        });
    }
}

/// A level without number and action.
pub(super) fn level_message(
    time: Nanos,
    instrument: InstrumentId,
    side: Side,
    level: LevelView,
) -> PriceLevel {
    PriceLevel {
        time,
        price: level.price,
        quantity: level.quantity,
        instrument,
        orders: level.orders,
        side: side.into(),
        ..PriceLevel::blank()
    }
}

/// The best prices without number.
pub(super) fn top_message(time: Nanos, instrument: InstrumentId, top: Top) -> TopOfBook {
    TopOfBook {
        time,
        bid_price: top.bid_price,
        bid_quantity: top.bid_quantity,
        ask_price: top.ask_price,
        ask_quantity: top.ask_quantity,
        instrument,
        ..TopOfBook::blank()
    }
}
