//! What is shown of a book, in the form that JSON has.
//!
//! Called by `book`; written as text by `text`.
//!
//! Always holds: two views are equal where nothing that is shown has changed.

use exahour_gateway::image::{Book, Books, FeedImage, LevelView};
use exahour_wire::codes::Side;
use exahour_wire::ids::InstrumentId;
use exahour_wire::market_data::{IndicativeAuction, PriceBand, Statistics};
use exahour_wire::message::Message;
use exahour_wire::units::{Price, Quantity};
use serde::Serialize;

use super::{Arguments, Feed};
use crate::journal::time_value;

/// What is shown of a book beside its number and time.
#[derive(PartialEq, Serialize)]
pub(super) struct View {
    pub(super) phase: String,
    /// When the phase is to end, chance apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) phase_ends_at: Option<String>,
    /// Not known from the best prices alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) orders: Option<u32>,
    pub(super) bids: Vec<JsonLevel>,
    pub(super) asks: Vec<JsonLevel>,
    /// What the auction of the call under way would come to; there is none outside of calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) auction: Option<JsonAuction>,
    /// What the auction of the call under way may cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) auction_range: Option<JsonRange>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) band: Option<JsonBand>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) circuit_breaker: Option<JsonBreaker>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) statistics: Option<JsonStatistics>,
}

/// What an auction would come to, as told last.
#[derive(PartialEq, Serialize)]
pub(super) struct JsonAuction {
    /// None where nothing would trade.
    pub(super) price: Option<String>,
    pub(super) quantity: u64,
    pub(super) buy_surplus: u64,
    pub(super) sell_surplus: u64,
}

/// Prices, and the one that they are around.
#[derive(PartialEq, Serialize)]
pub(super) struct JsonRange {
    pub(super) reference: String,
    pub(super) low: String,
    pub(super) high: String,
}

/// A price band.
#[derive(PartialEq, Serialize)]
pub(super) struct JsonBand {
    pub(super) width_ppm: u32,
    /// None until it was looked at in this phase.
    pub(super) range: Option<JsonRange>,
    /// When trading pauses if the best quote stays at the edge.
    pub(super) pauses_at: Option<String>,
}

/// A circuit breaker.
#[derive(PartialEq, Serialize)]
pub(super) struct JsonBreaker {
    pub(super) threshold_ppm: u32,
    /// The instrument whose halts it follows.
    pub(super) linked: Option<u32>,
}

/// What traded on a UTC day.
#[derive(PartialEq, Serialize)]
pub(super) struct JsonStatistics {
    pub(super) since: Option<String>,
    pub(super) open: Option<String>,
    pub(super) high: Option<String>,
    pub(super) low: Option<String>,
    pub(super) last: Option<String>,
    pub(super) volume: u64,
    /// In micro-dollars for each hour of the window.
    pub(super) turnover: String,
    pub(super) trades: u64,
}

#[derive(PartialEq, Serialize)]
pub(super) struct JsonLevel {
    /// Whether it stands at the end of an auction's range, where orders without a limit do.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) at_range_end: bool,
    pub(super) price: String,
    pub(super) quantity: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) orders: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) queue: Option<Vec<JsonOrder>>,
}

#[derive(PartialEq, Serialize)]
pub(super) struct JsonOrder {
    pub(super) order: u64,
    pub(super) quantity: u64,
}

/// What there is to show of a book.
pub(super) fn view(
    arguments: &Arguments,
    instrument: InstrumentId,
    image: &FeedImage,
    book: &Book,
) -> View {
    let known = arguments.feed != Feed::Top;
    let levels = |side| {
        let levels = levels_of(book, arguments.feed, side);
        let end = match side {
            Side::Buy => book.state().high_price,
            Side::Sell => book.state().low_price,
        };
        let level = |it: LevelView| JsonLevel {
            at_range_end: it.price == end,
            price: it.price.to_string(),
            quantity: it.quantity.0,
            orders: known.then_some(it.orders),
            queue: arguments.orders.then(|| {
                let queue = queue(image.books(), instrument, side, it);
                let order = |(order, quantity)| JsonOrder { order, quantity };
                queue.map(order).collect()
            }),
        };
        let shown = levels.into_iter().take(arguments.depth.into());
        shown.map(level).collect()
    };
    let (state, extras) = (book.state(), book.extras());
    View {
        phase: format!("{:?}", book.phase()),
        phase_ends_at: time_value(state.ends_at),
        orders: known.then_some(book.orders()),
        bids: levels(Side::Buy),
        asks: levels(Side::Sell),
        auction: auction(book),
        auction_range: range(state.reference_price, state.low_price, state.high_price),
        band: extras.band.as_ref().map(band),
        circuit_breaker: extras.breaker.as_ref().map(|it| JsonBreaker {
            threshold_ppm: it.threshold.0,
            linked: (it.linked != InstrumentId::NONE).then_some(it.linked.0),
        }),
        statistics: extras.statistics.as_ref().map(statistics),
    }
}

/// A range, where there is one.
fn range(reference: Price, low: Price, high: Price) -> Option<JsonRange> {
    (reference != Price::NONE).then(|| JsonRange {
        reference: reference.to_string(),
        low: low.to_string(),
        high: high.to_string(),
    })
}

fn band(told: &PriceBand) -> JsonBand {
    JsonBand {
        width_ppm: told.width.0,
        range: range(told.reference_price, told.low_price, told.high_price),
        pauses_at: time_value(told.pauses_at),
    }
}

/// What the auction of a call under way would come to.
fn auction(book: &Book) -> Option<JsonAuction> {
    if !book.state().in_call() {
        return None;
    }
    let nothing = IndicativeAuction {
        price: Price::NONE,
        ..IndicativeAuction::blank()
    };
    let told = book.extras().indicative.unwrap_or(nothing);
    Some(JsonAuction {
        price: (told.price != Price::NONE).then(|| told.price.to_string()),
        quantity: told.quantity.0,
        buy_surplus: told.buy_surplus.0,
        sell_surplus: told.sell_surplus.0,
    })
}

/// The levels of a side, best first; of best prices only the best.
fn levels_of(book: &Book, feed: Feed, side: Side) -> Vec<LevelView> {
    if feed != Feed::Top {
        return book.levels(side).collect();
    }
    let top = book.top();
    let (price, quantity) = match side {
        Side::Buy => (top.bid_price, top.bid_quantity),
        Side::Sell => (top.ask_price, top.ask_quantity),
    };
    let level = LevelView {
        price,
        quantity,
        orders: 0,
    };
    (quantity > Quantity(0))
        .then_some(level)
        .into_iter()
        .collect()
}

fn statistics(told: &Statistics) -> JsonStatistics {
    let price = |it: Price| (it != Price::NONE).then(|| it.to_string());
    let turnover = u128::from(told.turnover_high) << 64 | u128::from(told.turnover_low);
    JsonStatistics {
        since: time_value(told.since),
        open: price(told.open),
        high: price(told.high),
        low: price(told.low),
        last: price(told.last),
        volume: told.volume.0,
        turnover: turnover.to_string(),
        trades: told.trades,
    }
}

/// The orders of a level, oldest first: number and open lots.
fn queue(
    books: &Books,
    instrument: InstrumentId,
    side: Side,
    level: LevelView,
) -> impl Iterator<Item = (u64, u64)> {
    let orders = books.orders_of(instrument);
    orders
        .filter(move |it| it.side == side && it.price == level.price)
        .map(|it| (it.order.0, it.quantity.0))
}
