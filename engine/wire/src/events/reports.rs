//! Reports: what became of a session's commands and orders.
//!
//! Always holds: the numbered ones, which can be had again, are named in the rulebook.

use crate::codes::{
    Allocation, CancelReason, ContractKind, Liquidity, OrderFlags, OrderType, Phase, Priority, Raw,
    SelfTradePrevention, Side, TimeInForce,
};
use crate::ids::{
    AccountId, ClientOrderId, CommandSequence, EventSequence, InstrumentId, MessageSequence,
    OrderId, SessionId, TradeId,
};
use crate::message::{Pad, message};
use crate::reject::Reject;
use crate::units::{Hours, Millis, Money, Nanos, PartsPerMillion, Price, Quantity};

event! {
    /// An order was accepted. What it trades and whether it rests follows.
    OrderAccepted = 301 {
        /// The sender's name for the order.
        client_order_id: ClientOrderId,
        /// The exchange's name for the order.
        order: OrderId,
        /// The limit; for a market order, where its protection ends, or the auction's range.
        price: Price,
        /// Lots.
        quantity: Quantity,
        /// Whose account.
        account: AccountId,
        /// Which contract.
        instrument: InstrumentId,
        /// Buy or sell.
        side: Raw<Side>,
        /// How it is priced.
        order_type: Raw<OrderType>,
        /// How long it lives.
        time_in_force: Raw<TimeInForce>,
        /// What it asks for beyond.
        flags: OrderFlags,
        /// The number of the message that entered it.
        client_sequence: MessageSequence,
    }
}

event! {
    /// An order entry, cancel, replace, mass cancel or question was refused and changed nothing.
    OrderRejected = 302 {
        /// The sender's name for the order or request.
        client_order_id: ClientOrderId,
        /// The order that a cancel, replace or question named, or zero.
        order: OrderId,
        /// The contract, or zero.
        instrument: InstrumentId,
        /// The number of the message.
        client_sequence: MessageSequence,
        /// The template of the message.
        template: u16,
        /// Why.
        reason: Raw<Reject>,
        /// Zero.
        pad_1: Pad<4>,
    }
}

event! {
    /// An order left the book, or never rested, without trading its rest.
    OrderCancelled = 303 {
        /// The sender's name for the order.
        client_order_id: ClientOrderId,
        /// The exchange's name for the order.
        order: OrderId,
        /// The sender's name for the cancel request, or zero.
        request: ClientOrderId,
        /// Its limit, or where a pegged order stood.
        price: Price,
        /// Lots that will not trade.
        quantity: Quantity,
        /// Whose account.
        account: AccountId,
        /// Which contract.
        instrument: InstrumentId,
        /// Buy or sell.
        side: Raw<Side>,
        /// Why.
        reason: Raw<CancelReason>,
        /// Zero.
        pad_1: Pad<6>,
    }
}

event! {
    /// An order was changed. If it lost priority, what it trades and whether it rests follows.
    OrderReplaced = 304 {
        /// The sender's new name for the order.
        client_order_id: ClientOrderId,
        /// The exchange's name for the order, which stays.
        order: OrderId,
        /// The sender's earlier name for the order.
        original: ClientOrderId,
        /// The new limit.
        price: Price,
        /// The new total in lots.
        quantity: Quantity,
        /// Lots still open.
        leaves: Quantity,
        /// Whose account.
        account: AccountId,
        /// Which contract.
        instrument: InstrumentId,
        /// Buy or sell.
        side: Raw<Side>,
        /// Whether it kept its place.
        priority: Raw<Priority>,
        /// Zero.
        pad_1: Pad<6>,
    }
}

event! {
    /// An order traded. Of a trade's two the maker's comes first, in an auction the buyer's.
    OrderFilled = 305 {
        /// The sender's name for the order.
        client_order_id: ClientOrderId,
        /// The exchange's name for the order.
        order: OrderId,
        /// The trade, the same on both sides.
        trade: TradeId,
        /// The price of the trade: the maker's limit, or the auction's price.
        price: Price,
        /// Lots traded.
        quantity: Quantity,
        /// Lots still open.
        leaves: Quantity,
        /// Whose account.
        account: AccountId,
        /// Which contract.
        instrument: InstrumentId,
        /// Buy or sell.
        side: Raw<Side>,
        /// Maker, taker or auction.
        liquidity: Raw<Liquidity>,
        /// Zero.
        pad_1: Pad<6>,
    }
}

event! {
    /// Self-trade prevention took a part of an order away.
    OrderReduced = 306 {
        /// The sender's name for the order.
        client_order_id: ClientOrderId,
        /// The exchange's name for the order.
        order: OrderId,
        /// Lots taken away.
        quantity: Quantity,
        /// Lots still open.
        leaves: Quantity,
        /// Whose account.
        account: AccountId,
        /// Which contract.
        instrument: InstrumentId,
        /// Buy or sell.
        side: Raw<Side>,
        /// Zero.
        pad_1: Pad<7>,
    }
}

event! {
    /// A command other than an order was carried out.
    CommandDone = 310 {
        /// The sender's name for the request.
        request: ClientOrderId,
        /// How many things it changed: for a mass cancel or a kill switch, orders cancelled.
        count: u64,
        /// The number of the message.
        client_sequence: MessageSequence,
        /// The template of the message.
        template: u16,
        /// Zero.
        pad_1: Pad<2>,
    }
}

event! {
    /// A command other than an order was refused and changed nothing.
    CommandRejected = 311 {
        /// The sender's name for the request.
        request: ClientOrderId,
        /// The number of the message.
        client_sequence: MessageSequence,
        /// The template of the message.
        template: u16,
        /// Why.
        reason: Raw<Reject>,
    }
}

event! {
    /// Messages of the session were missing and never will be applied; what came after them was.
    SequenceGap = 312 {
        /// The first number that was not applied.
        from_sequence: MessageSequence,
        /// How many.
        count: u32,
    }
}

event! {
    /// A message had been applied before and was not applied again. Not numbered.
    DuplicateIgnored = 313 {
        /// The number of the message.
        client_sequence: MessageSequence,
        /// Zero.
        pad_1: Pad<4>,
    }
}

event! {
    /// The present state of a live order, as was asked for.
    OrderStatus = 314 {
        /// The sender's name for the request.
        request: ClientOrderId,
        /// The name of the order that the session gave it which entered it.
        client_order_id: ClientOrderId,
        /// The exchange's name for the order.
        order: OrderId,
        /// Its limit.
        price: Price,
        /// Its total in lots: open and traded.
        quantity: Quantity,
        /// Lots still open.
        leaves: Quantity,
        /// Lots that have traded.
        filled: Quantity,
        /// When it ends by itself; zero where it does not.
        expire_at: Nanos,
        /// Whose account.
        account: AccountId,
        /// Which contract.
        instrument: InstrumentId,
        /// The session that entered it.
        entered_by: SessionId,
        /// The number of the message that asked.
        client_sequence: MessageSequence,
        /// Buy or sell.
        side: Raw<Side>,
        /// How long it lives.
        time_in_force: Raw<TimeInForce>,
        /// What happens against an order of the same owner.
        self_trade_prevention: Raw<SelfTradePrevention>,
        /// What it asks for beyond.
        flags: OrderFlags,
        /// Zero.
        pad_1: Pad<4>,
        /// The stop price that it waits for, in the market or not; none where it waits for none.
        stop_price: Price,
        /// Where it stands in the book; none for an order that stands in none.
        book_price: Price,
    }
}

event! {
    /// What a session sent and traded in a UTC day, when asked for and when the day is over.
    SessionActivity = 315 {
        /// The sender's name for the request; zero when the day is over.
        request: ClientOrderId,
        /// When the day began.
        day: Nanos,
        /// Orders that were accepted.
        orders: u64,
        /// Orders that were replaced.
        replaces: u64,
        /// Orders that were cancelled because it was asked for.
        cancels: u64,
        /// Commands that were refused in a numbered report.
        rejects: u64,
        /// Fills.
        trades: u64,
        /// Lots of accepted orders, and lots that replaces left open.
        lots_ordered: Quantity,
        /// Lots traded.
        lots_traded: Quantity,
        /// Orders, replaces and cancels for each fill, in millionths, rounded down; zero without a fill.
        ratio: u64,
        /// Whose it is: the session.
        target: u32,
        /// The number of the message that asked, or zero.
        client_sequence: MessageSequence,
    }
}

event! {
    /// Nothing was heard of a session for as long as it had said; its orders are cancelled.
    DeadManFired = 316 {
        /// When it was heard of last.
        heard_at: Nanos,
        /// How long it might say nothing.
        interval: Millis,
        /// Zero.
        pad_1: Pad<4>,
    }
}

event! {
    /// A trade was undone. Both sides are told: the buyer first, then the seller.
    TradeBusted = 317 {
        /// The trade.
        trade: TradeId,
        /// The order that traded.
        order: OrderId,
        /// The price of the trade.
        price: Price,
        /// Lots traded.
        quantity: Quantity,
        /// Whose account.
        account: AccountId,
        /// Which contract.
        instrument: InstrumentId,
        /// Buy or sell.
        side: Raw<Side>,
        /// Zero.
        pad_1: Pad<7>,
    }
}

event! {
    /// A trade was undone and made anew. Both sides are told: the buyer first, then the seller.
    TradeCorrected = 318 {
        /// The trade.
        trade: TradeId,
        /// The order that traded.
        order: OrderId,
        /// The price of the trade until now.
        price_before: Price,
        /// Lots traded until now.
        quantity_before: Quantity,
        /// The price of the trade.
        price: Price,
        /// Lots traded.
        quantity: Quantity,
        /// Whose account.
        account: AccountId,
        /// Which contract.
        instrument: InstrumentId,
        /// Buy or sell.
        side: Raw<Side>,
        /// Zero.
        pad_1: Pad<7>,
    }
}

event! {
    /// An order comes into the market from its stop price; if it stood in the book, it leaves it.
    OrderTriggered = 319 {
        /// The sender's name for the order.
        client_order_id: ClientOrderId,
        /// The exchange's name for the order.
        order: OrderId,
        /// Its limit; of a stop order without one, where its protection ends.
        price: Price,
        /// Lots.
        quantity: Quantity,
        /// The stop price, which a trade has reached.
        stop_price: Price,
        /// Whose account.
        account: AccountId,
        /// Which contract.
        instrument: InstrumentId,
        /// Buy or sell.
        side: Raw<Side>,
        /// What it is now.
        order_type: Raw<OrderType>,
        /// How long it lives now.
        time_in_force: Raw<TimeInForce>,
        /// What it asks for beyond.
        flags: OrderFlags,
        /// Zero.
        pad_1: Pad<4>,
    }
}

event! {
    /// The stop price of an order that was accepted just now, and what the order is from then on.
    StopEntered = 328 {
        /// The sender's name for the order.
        client_order_id: ClientOrderId,
        /// The exchange's name for the order.
        order: OrderId,
        /// The price that a trade must reach.
        stop_price: Price,
        /// Its limit then; none for a market order.
        stop_limit: Price,
        /// Whose account.
        account: AccountId,
        /// Which contract.
        instrument: InstrumentId,
        /// Buy or sell.
        side: Raw<Side>,
        /// Zero.
        pad_1: Pad<7>,
    }
}

event! {
    /// An iceberg order rests, or shows its next lots, last at its price.
    OrderShown = 324 {
        /// The sender's name for the order.
        client_order_id: ClientOrderId,
        /// The exchange's name for the order.
        order: OrderId,
        /// Its limit.
        price: Price,
        /// Lots that it shows now.
        quantity: Quantity,
        /// Lots that it shows at a time.
        display_quantity: Quantity,
        /// Lots still open, shown or not.
        leaves: Quantity,
        /// Whose account.
        account: AccountId,
        /// Which contract.
        instrument: InstrumentId,
        /// Buy or sell.
        side: Raw<Side>,
        /// Zero.
        pad_1: Pad<7>,
    }
}

event! {
    /// A pegged order comes at another price, or leaves the book. What it trades follows.
    OrderRepriced = 325 {
        /// The sender's name for the order.
        client_order_id: ClientOrderId,
        /// The exchange's name for the order.
        order: OrderId,
        /// The price at which it comes; none where it waits from now on.
        price: Price,
        /// Its limit.
        limit: Price,
        /// Lots still open.
        leaves: Quantity,
        /// Whose account.
        account: AccountId,
        /// Which contract.
        instrument: InstrumentId,
        /// Buy or sell.
        side: Raw<Side>,
        /// Zero.
        pad_1: Pad<7>,
    }
}

event! {
    /// The terms that orders of a contract are held against, as asked for; how it trades follows.
    InstrumentTerms = 338 {
        /// The sender's name for the request.
        request: ClientOrderId,
        /// The step between prices.
        tick: Price,
        /// The price that collars started from when it was listed.
        reference_price: Price,
        /// The highest price that a limit may ever have.
        price_max: Price,
        /// The largest order in lots.
        quantity_max: Quantity,
        /// The largest value of an order.
        notional_max: Money,
        /// The largest position in lots, if no smaller one is set for an account.
        position_max: Quantity,
        /// Initial margin for one lot.
        initial_margin: Money,
        /// The last moment of trading.
        last_trade_at: Nanos,
        /// When delivery begins.
        delivery_start: Nanos,
        /// Which contract.
        instrument: InstrumentId,
        /// The number of the message that asked.
        client_sequence: MessageSequence,
        /// How far a limit may be from the reference price; zero for any distance.
        collar: PartsPerMillion,
        /// How far a market order may trade from the best price.
        protection: PartsPerMillion,
        /// The length of the delivery window.
        hours: Hours,
        /// Spot or future.
        kind: Raw<ContractKind>,
        /// Zero.
        pad_1: Pad<3>,
    }
}

event! {
    /// How a contract trades now, as was asked for.
    InstrumentStatus = 339 {
        /// The sender's name for the request.
        request: ClientOrderId,
        /// When the phase is to end, chance apart; zero where nothing says so.
        ends_at: Nanos,
        /// The price at which positions are carried.
        settlement_price: Price,
        /// The price of the last trade, or none.
        last_price: Price,
        /// The lowest price that the circuit breaker lets trade, or none where every price is let.
        breaker_low: Price,
        /// The highest price that the circuit breaker lets trade, or none where every price is let.
        breaker_high: Price,
        /// The price that the price band is around, or none.
        band_reference: Price,
        /// The lowest price of the price band, or none.
        band_low: Price,
        /// The highest price of the price band, or none.
        band_high: Price,
        /// When trading pauses if the best quote stays at its edge; zero where none is there.
        pauses_at: Nanos,
        /// In a call the price that the auction stays close to, otherwise none.
        auction_reference: Price,
        /// In a call the lowest price of the auction, otherwise none.
        auction_low: Price,
        /// In a call the highest price of the auction, otherwise none.
        auction_high: Price,
        /// What the auction's price would be, as was told last, or none.
        indicative_price: Price,
        /// Lots that would trade in the auction, as was told last.
        indicative_quantity: Quantity,
        /// Lots of buyers that would find nobody in the auction, as was told last.
        buy_surplus: Quantity,
        /// Lots of sellers that would find nobody in the auction, as was told last.
        sell_surplus: Quantity,
        /// Which contract.
        instrument: InstrumentId,
        /// The number of the message that asked.
        client_sequence: MessageSequence,
        /// When orders are collected for the opening auction: a span after midnight UTC.
        call_start: Millis,
        /// When the opening auction is held: a span after midnight UTC.
        uncross: Millis,
        /// When orders are collected for the closing auction: a span after midnight UTC.
        closing_call: Millis,
        /// When the closing auction is held: a span after midnight UTC.
        closing_uncross: Millis,
        /// How much later, by chance, an auction may be held.
        random_end: Millis,
        /// How far an auction's price may be from the reference price; zero for any distance.
        auction_collar: PartsPerMillion,
        /// How far from the mean price trades may be made; zero for no band.
        band_width: PartsPerMillion,
        /// How far prices may move before the circuit breaker halts it; zero for no breaker.
        breaker_threshold: PartsPerMillion,
        /// The contract whose halts it follows, or zero.
        linked: InstrumentId,
        /// The state.
        phase: Raw<Phase>,
        /// Who trades at the last price that an auction serves.
        allocation: Raw<Allocation>,
        /// Zero.
        pad_1: Pad<2>,
    }
}
