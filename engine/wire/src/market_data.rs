//! The public feeds: snapshots, changes of orders, of levels and of best prices, trades, statistics.
//!
//! Made by the market data follower from the event log; spoken over its own port, and by multicast.
//!
//! Always holds: `sequence` is contiguous over all messages of the feed of one depth, so a hole is seen
//! at once.

use crate::codes::{
    ContractKind, FeedDepth, FeedRejectCode, FeedRequestKind, Firmness, LevelAction, Phase, Raw,
    ResourceClass, Side,
};
use crate::ids::{
    EventSequence, ExchangeId, FeedSequence, InstrumentId, OrderId, ParticipantId, SessionId,
    TradeId,
};
use crate::message::{Digest, Pad, Text8, Text16, message};
use crate::units::{Hours, Nanos, PartsPerMillion, Price, Quantity};

message! {
    /// A client asks for the feed, or for a part of it again.
    FeedRequest = 500 {
        /// The first number wanted, for `UpdatesFrom`.
        from_sequence: FeedSequence,
        /// Which contract, or zero for all.
        instrument: InstrumentId,
        /// A snapshot first, or updates from a number.
        kind: Raw<FeedRequestKind>,
        /// Which feed.
        depth: Raw<FeedDepth>,
        /// Zero.
        pad_1: Pad<2>,
    }
}

message! {
    /// The request cannot be met.
    FeedReject = 501 {
        /// The oldest number that can be asked for.
        oldest_sequence: FeedSequence,
        /// The next number to come.
        next_sequence: FeedSequence,
        /// Which contract was asked for.
        instrument: InstrumentId,
        /// Why.
        code: Raw<FeedRejectCode>,
        /// Zero.
        pad_1: Pad<3>,
    }
}

message! {
    /// A back office asks for every report of a participant after an event.
    DropCopyRequest = 502 {
        /// A session of the participant that may receive drop copies.
        session: SessionId,
        /// Whose reports.
        participant: ParticipantId,
        /// Reports after this event are sent; zero for all that are kept.
        after_event: EventSequence,
        /// The client's clock.
        timestamp: Nanos,
        /// HMAC-SHA256 under the session's key of all bytes of this message before this field.
        credentials: Digest,
    }
}

message! {
    /// Sign of life, and the next number to come.
    FeedHeartbeat = 503 {
        /// The next number to come.
        next_sequence: FeedSequence,
        /// The time of the last event.
        time: Nanos,
        /// The next number that the exchange gives; above the one to come while more must be looked at.
        end_sequence: FeedSequence,
    }
}

message! {
    /// A client asks for messages of a feed that it lost, and for nothing after them.
    FeedRangeRequest = 504 {
        /// The first number wanted.
        from_sequence: FeedSequence,
        /// How many; at least one.
        count: u32,
        /// Which feed.
        depth: Raw<FeedDepth>,
        /// Zero.
        pad_1: Pad<3>,
    }
}

message! {
    /// Messages of a feed follow again, each as it was.
    FeedRange = 505 {
        /// The first number that follows.
        from_sequence: FeedSequence,
        /// How many follow.
        count: u32,
        /// Which feed.
        depth: Raw<FeedDepth>,
        /// Zero.
        pad_1: Pad<3>,
    }
}

message! {
    /// The header of a multicast packet: framed messages follow it, numbered without a hole.
    FeedPacket = 506 {
        /// The number of the packet on its feed, from 1 at each start of the node.
        packet: u64,
        /// The number of its first message; of the next one to come where it holds none.
        first_sequence: FeedSequence,
        /// When it was sent.
        sending_time: Nanos,
        /// How many messages it holds; zero in a sign of life.
        count: u16,
        /// Which feed.
        depth: Raw<FeedDepth>,
        /// Zero.
        pad_1: Pad<5>,
        /// Which exchange.
        exchange: ExchangeId,
        /// When the node that sent it was started.
        started_at: Nanos,
    }
}

message! {
    /// Whose feed a connection brings: the first message on it.
    FeedSource = 508 {
        /// Which exchange.
        exchange: ExchangeId,
        /// When its node was started; its packets name the same.
        started_at: Nanos,
        /// The number that came next at depth Orders when the port opened.
        orders_sequence: FeedSequence,
        /// The number that came next at depth Top when the port opened.
        top_sequence: FeedSequence,
        /// The number that came next at depth Levels when the port opened.
        levels_sequence: FeedSequence,
    }
}

message! {
    /// What a contract is.
    InstrumentDefinition = 510 {
        /// Its number in the feed; zero within a snapshot.
        sequence: FeedSequence,
        /// When it was listed.
        time: Nanos,
        /// The contract.
        instrument: InstrumentId,
        /// Spot or future.
        kind: Raw<ContractKind>,
        /// The kind of machine.
        class: Raw<ResourceClass>,
        /// The lowest performance grade.
        grade_performance: u8,
        /// The lowest reliability grade.
        grade_reliability: u8,
        /// The lowest energy grade.
        grade_energy: u8,
        /// Whether delivery may be interrupted.
        firmness: Raw<Firmness>,
        /// The version of the reference system.
        reference_version: u16,
        /// The length of the delivery window.
        hours: Hours,
        /// Its name.
        symbol: Text16,
        /// Where it is delivered.
        zone: Text8,
        /// The step between prices.
        tick: Price,
        /// When delivery begins.
        delivery_start: Nanos,
        /// The last moment of trading.
        last_trade_at: Nanos,
    }
}

message! {
    /// A snapshot of one book begins.
    SnapshotBegin = 511 {
        /// Every update up to this number is in the snapshot.
        last_sequence: FeedSequence,
        /// The time of the last event.
        time: Nanos,
        /// The contract.
        instrument: InstrumentId,
        /// How many orders follow; at depth Levels, how many levels.
        orders: u32,
    }
}

message! {
    /// One order of a snapshot; those of one price come in time order.
    SnapshotOrder = 512 {
        /// The order.
        order: OrderId,
        /// Its limit.
        price: Price,
        /// Lots open.
        quantity: Quantity,
        /// The contract.
        instrument: InstrumentId,
        /// Buy or sell.
        side: Raw<Side>,
        /// Zero.
        pad_1: Pad<3>,
    }
}

message! {
    /// A snapshot of one book is complete.
    SnapshotEnd = 513 {
        /// As in the beginning.
        last_sequence: FeedSequence,
        /// The contract.
        instrument: InstrumentId,
        /// How many orders or levels came.
        orders: u32,
    }
}

message! {
    /// An order rests in the book, last at its price.
    OrderAdded = 520 {
        /// Its number in the feed.
        sequence: FeedSequence,
        /// When.
        time: Nanos,
        /// The order.
        order: OrderId,
        /// Its limit.
        price: Price,
        /// Lots open.
        quantity: Quantity,
        /// The contract.
        instrument: InstrumentId,
        /// Buy or sell.
        side: Raw<Side>,
        /// Zero.
        pad_1: Pad<3>,
    }
}

message! {
    /// A resting order traded.
    OrderExecuted = 521 {
        /// Its number in the feed.
        sequence: FeedSequence,
        /// When.
        time: Nanos,
        /// The order.
        order: OrderId,
        /// The trade.
        trade: TradeId,
        /// The price.
        price: Price,
        /// Lots traded.
        quantity: Quantity,
        /// Lots still open; zero when the order is gone.
        leaves: Quantity,
        /// The contract.
        instrument: InstrumentId,
        /// The side of the resting order.
        side: Raw<Side>,
        /// Zero.
        pad_1: Pad<3>,
    }
}

message! {
    /// A resting order shrank and kept its place.
    OrderShrunk = 522 {
        /// Its number in the feed.
        sequence: FeedSequence,
        /// When.
        time: Nanos,
        /// The order.
        order: OrderId,
        /// Lots still open.
        leaves: Quantity,
        /// The contract.
        instrument: InstrumentId,
        /// The side of the order.
        side: Raw<Side>,
        /// Zero.
        pad_1: Pad<3>,
    }
}

message! {
    /// A resting order left the book without trading.
    OrderDeleted = 523 {
        /// Its number in the feed.
        sequence: FeedSequence,
        /// When.
        time: Nanos,
        /// The order.
        order: OrderId,
        /// The contract.
        instrument: InstrumentId,
        /// The side of the order.
        side: Raw<Side>,
        /// Zero.
        pad_1: Pad<3>,
    }
}

message! {
    /// The best prices changed.
    TopOfBook = 524 {
        /// Its number in the feed; zero within a snapshot.
        sequence: FeedSequence,
        /// When.
        time: Nanos,
        /// The best bid, or none.
        bid_price: Price,
        /// Lots at the best bid.
        bid_quantity: Quantity,
        /// The best offer, or none.
        ask_price: Price,
        /// Lots at the best offer.
        ask_quantity: Quantity,
        /// The contract.
        instrument: InstrumentId,
        /// Zero.
        pad_1: Pad<4>,
    }
}

message! {
    /// A trade.
    TradeReport = 525 {
        /// Its number in the feed.
        sequence: FeedSequence,
        /// When.
        time: Nanos,
        /// The trade.
        trade: TradeId,
        /// The price.
        price: Price,
        /// Lots.
        quantity: Quantity,
        /// The contract.
        instrument: InstrumentId,
        /// The side of the order that arrived.
        aggressor: Raw<Side>,
        /// Zero.
        pad_1: Pad<3>,
    }
}

message! {
    /// The state of trading changed.
    InstrumentPhase = 526 {
        /// Its number in the feed; zero within a snapshot.
        sequence: FeedSequence,
        /// When.
        time: Nanos,
        /// The final or last settlement price, or none.
        settlement_price: Price,
        /// The contract.
        instrument: InstrumentId,
        /// The state.
        phase: Raw<Phase>,
        /// Zero.
        pad_1: Pad<3>,
        /// When it is to end, chance apart; zero where nothing says so.
        ends_at: Nanos,
        /// In a call the price that the auction stays close to, otherwise none.
        reference_price: Price,
        /// In a call the lowest price of the auction, otherwise none.
        low_price: Price,
        /// In a call the highest price of the auction, otherwise none.
        high_price: Price,
    }
}

message! {
    /// A price level changed: what all orders at one price come to.
    PriceLevel = 527 {
        /// Its number in the feed; zero within a snapshot.
        sequence: FeedSequence,
        /// When.
        time: Nanos,
        /// The price.
        price: Price,
        /// Lots of all its orders; zero where it is deleted.
        quantity: Quantity,
        /// The contract.
        instrument: InstrumentId,
        /// How many orders; zero where it is deleted.
        orders: u32,
        /// Buy or sell.
        side: Raw<Side>,
        /// What happened.
        action: Raw<LevelAction>,
        /// Zero.
        pad_1: Pad<6>,
    }
}

message! {
    /// What traded in one contract since a UTC midnight; busted trades are not in it.
    Statistics = 528 {
        /// Its number in the feed; zero within a snapshot.
        sequence: FeedSequence,
        /// When.
        time: Nanos,
        /// The midnight: of the day of the last trade that was made.
        since: Nanos,
        /// The first price, or none without a trade.
        open: Price,
        /// The highest price.
        high: Price,
        /// The lowest price.
        low: Price,
        /// The last price.
        last: Price,
        /// Lots traded.
        volume: Quantity,
        /// The sum of price times lots, micro-dollars an hour of the window: its lower 64 bits.
        turnover_low: u64,
        /// The upper 64 bits of it.
        turnover_high: u64,
        /// How many trades.
        trades: u64,
        /// The contract.
        instrument: InstrumentId,
        /// Zero.
        pad_1: Pad<4>,
    }
}

message! {
    /// A trade was undone.
    TradeBust = 529 {
        /// Its number in the feed.
        sequence: FeedSequence,
        /// When.
        time: Nanos,
        /// The trade.
        trade: TradeId,
        /// The price that it had.
        price: Price,
        /// Lots that it had.
        quantity: Quantity,
        /// The contract.
        instrument: InstrumentId,
        /// Zero.
        pad_1: Pad<4>,
    }
}

message! {
    /// A trade has another price or fewer lots now.
    TradeCorrection = 530 {
        /// Its number in the feed.
        sequence: FeedSequence,
        /// When.
        time: Nanos,
        /// The trade.
        trade: TradeId,
        /// The price that it had.
        price_before: Price,
        /// Lots that it had.
        quantity_before: Quantity,
        /// The price.
        price: Price,
        /// Lots.
        quantity: Quantity,
        /// The contract.
        instrument: InstrumentId,
        /// Zero.
        pad_1: Pad<4>,
    }
}

message! {
    /// What trades of a contract with a circuit breaker cost in 30 s that are over.
    IntervalPrice = 531 {
        /// Its number in the feed; zero within a snapshot.
        sequence: FeedSequence,
        /// When.
        time: Nanos,
        /// When the interval ended.
        ends_at: Nanos,
        /// The price of a lot on average, rounded down.
        price: Price,
        /// The price of the last trade.
        last_price: Price,
        /// Lots that traded.
        quantity: Quantity,
        /// How many trades.
        trades: u64,
        /// The contract.
        instrument: InstrumentId,
        /// Zero.
        pad_1: Pad<4>,
    }
}

message! {
    /// The prices at which trades may be made outside of auctions, as looked at last.
    PriceBand = 532 {
        /// Its number in the feed; zero within a snapshot.
        sequence: FeedSequence,
        /// When.
        time: Nanos,
        /// The mean price that the band is around; none until it is looked at in this phase.
        reference_price: Price,
        /// The lowest price at which trades may be made, or none.
        low_price: Price,
        /// The highest price at which trades may be made, or none.
        high_price: Price,
        /// When trading pauses if the best quote stays at the edge; zero where none is there.
        pauses_at: Nanos,
        /// The contract.
        instrument: InstrumentId,
        /// How far it reaches from the mean price, as it was set; zero for no band.
        width: PartsPerMillion,
    }
}

message! {
    /// The circuit breaker of a contract was set.
    CircuitBreaker = 533 {
        /// Its number in the feed; zero within a snapshot.
        sequence: FeedSequence,
        /// When.
        time: Nanos,
        /// The contract.
        instrument: InstrumentId,
        /// The contract whose halts it follows, or zero.
        linked: InstrumentId,
        /// How far prices may move within 300 s; zero for no breaker.
        threshold: PartsPerMillion,
        /// Zero.
        pad_1: Pad<4>,
    }
}

message! {
    /// What the auction of a call under way would come to if it were held now.
    IndicativeAuction = 560 {
        /// Its number in the feed; zero within a snapshot.
        sequence: FeedSequence,
        /// When.
        time: Nanos,
        /// The price, or none where nothing can trade.
        price: Price,
        /// Lots that would trade.
        quantity: Quantity,
        /// Lots of buyers that find nobody at this price.
        buy_surplus: Quantity,
        /// Lots of sellers that find nobody at this price.
        sell_surplus: Quantity,
        /// The contract.
        instrument: InstrumentId,
        /// Zero.
        pad_1: Pad<4>,
    }
}

message! {
    /// A trade of an auction, in which no order came to the other.
    AuctionTrade = 561 {
        /// Its number in the feed.
        sequence: FeedSequence,
        /// When.
        time: Nanos,
        /// The trade.
        trade: TradeId,
        /// The price.
        price: Price,
        /// Lots.
        quantity: Quantity,
        /// The contract.
        instrument: InstrumentId,
        /// Zero.
        pad_1: Pad<4>,
    }
}
