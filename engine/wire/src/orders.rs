//! Order entry: what a trading firm sends.
//!
//! Checked by `gateway` for form, by the engine for everything else. Each fills one 64-byte record, or
//! two: the bytes on the socket are the bytes in the ring and in the journal.
//!
//! Always holds: session and sequence come first, in every command.

use crate::codes::{
    OrderFlags, OrderType, PegReference, Raw, Scope, SelfTradePrevention, Side, TimeInForce,
};
use crate::ids::{AccountId, ClientOrderId, InstrumentId, MessageSequence, OrderId, SessionId};
use crate::message::{Message, Pad, message};
use crate::units::{Millis, Nanos, Price, Quantity};

message! {
    /// Enters an order.
    NewOrder = 101 {
        /// The session.
        session: SessionId,
        /// The number of this message.
        sequence: MessageSequence,
        /// The sender's name for the order.
        client_order_id: ClientOrderId,
        /// The limit; none for a market order.
        price: Price,
        /// Lots.
        quantity: Quantity,
        /// When a good-till-date order ends; zero otherwise.
        expire_at: Nanos,
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
        /// What happens against an order of the same owner.
        self_trade_prevention: Raw<SelfTradePrevention>,
        /// What it asks for beyond.
        flags: OrderFlags,
        /// Zero.
        pad_1: Pad<3>,
    }
}

message! {
    /// Cancels one order.
    CancelOrder = 102 {
        /// The session.
        session: SessionId,
        /// The number of this message.
        sequence: MessageSequence,
        /// The sender's name for this request.
        request: ClientOrderId,
        /// The order, by the exchange's name; zero to use the sender's.
        order: OrderId,
        /// The order, by its sender's name, where `order` is zero.
        client_order_id: ClientOrderId,
        /// The contract of the order.
        instrument: InstrumentId,
        /// Zero.
        pad_1: Pad<4>,
        /// Zero.
        pad_2: Pad<16>,
    }
}

message! {
    /// Changes price or quantity of one order; only a pure decrease of size keeps priority.
    ReplaceOrder = 103 {
        /// The session.
        session: SessionId,
        /// The number of this message.
        sequence: MessageSequence,
        /// The sender's new name for the order.
        client_order_id: ClientOrderId,
        /// The order, by the exchange's name; zero to use the sender's.
        order: OrderId,
        /// The order, by its sender's present name, where `order` is zero.
        original: ClientOrderId,
        /// The new limit.
        price: Price,
        /// The new total in lots, counting what has traded already.
        quantity: Quantity,
        /// The contract of the order.
        instrument: InstrumentId,
        /// Zero.
        pad_1: Pad<4>,
    }
}

message! {
    /// Cancels all orders of the sender's participant within a scope.
    MassCancel = 104 {
        /// The session.
        session: SessionId,
        /// The number of this message.
        sequence: MessageSequence,
        /// The sender's name for this request.
        request: ClientOrderId,
        /// The session, account or instrument; for the sender's own session, its id.
        target: u32,
        /// What `target` names.
        scope: Raw<Scope>,
        /// Zero.
        pad_1: Pad<3>,
        /// Zero.
        pad_2: Pad<32>,
    }
}

message! {
    /// Asks for the present state of one order.
    OrderStatusRequest = 105 {
        /// The session.
        session: SessionId,
        /// The number of this message.
        sequence: MessageSequence,
        /// The sender's name for this request.
        request: ClientOrderId,
        /// The order, by the exchange's name; zero to use the sender's.
        order: OrderId,
        /// The order, by its sender's name, where `order` is zero.
        client_order_id: ClientOrderId,
        /// The contract of the order.
        instrument: InstrumentId,
        /// Zero.
        pad_1: Pad<4>,
        /// Zero.
        pad_2: Pad<16>,
    }
}

message! {
    /// Asks that the session's orders be cancelled unless it is heard of again in time.
    DeadMan = 107 {
        /// The session.
        session: SessionId,
        /// The number of this message.
        sequence: MessageSequence,
        /// The sender's name for this request.
        request: ClientOrderId,
        /// How long it may say nothing; zero asks for no watch any more.
        interval: Millis,
        /// Zero.
        pad_1: Pad<4>,
        /// Zero.
        pad_2: Pad<32>,
    }
}

message! {
    /// Enters an order that asks for more than `NewOrder` can say.
    NewAdvancedOrder = 108 {
        /// The session.
        session: SessionId,
        /// The number of this message.
        sequence: MessageSequence,
        /// The sender's name for the order.
        client_order_id: ClientOrderId,
        /// The limit; none for an order without.
        price: Price,
        /// Lots.
        quantity: Quantity,
        /// When a good-till-date order ends; zero otherwise.
        expire_at: Nanos,
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
        /// What happens against an order of the same owner.
        self_trade_prevention: Raw<SelfTradePrevention>,
        /// What it asks for beyond.
        flags: OrderFlags,
        /// What a pegged order moves with.
        peg: Raw<PegReference>,
        /// Zero.
        pad_1: Pad<2>,
        /// The last price from which a stop order comes into the market; none for an order without.
        stop_price: Price,
        /// How many lots are shown at a time; zero for all of them.
        display_quantity: Quantity,
        /// How many lots must trade at once, or none does; zero for any number.
        minimum_quantity: Quantity,
        /// How far a pegged order stands from what it moves with; zero otherwise.
        peg_offset: Price,
        /// The limit of a one-cancels-other order from its stop price on; none for a market order then.
        stop_limit: Price,
        /// Zero.
        pad_2: Pad<24>,
    }
}

impl NewAdvancedOrder {
    /// What `NewOrder` can say of it: the same fields at the same places.
    #[inline]
    #[must_use]
    pub fn plain(&self) -> NewOrder {
        NewOrder {
            session: self.session,
            sequence: self.sequence,
            client_order_id: self.client_order_id,
            price: self.price,
            quantity: self.quantity,
            expire_at: self.expire_at,
            account: self.account,
            instrument: self.instrument,
            side: self.side,
            order_type: self.order_type,
            time_in_force: self.time_in_force,
            self_trade_prevention: self.self_trade_prevention,
            flags: self.flags,
            ..NewOrder::blank()
        }
    }
}

message! {
    /// Enters, changes or pulls up to six quotes of one account, each a bid and an offer.
    MassQuote = 109 {
        /// The session.
        session: SessionId,
        /// The number of this message.
        sequence: MessageSequence,
        /// The sender's name for this request.
        request: ClientOrderId,
        /// Whose account.
        account: AccountId,
        /// What happens against an order of the same owner.
        self_trade_prevention: Raw<SelfTradePrevention>,
        /// What every side that is entered asks for beyond.
        flags: OrderFlags,
        /// Zero.
        pad_1: Pad<2>,
        /// The contract of the first quote, or zero.
        instrument_1: InstrumentId,
        /// The contract of the second quote, or zero.
        instrument_2: InstrumentId,
        /// The contract of the third quote, or zero.
        instrument_3: InstrumentId,
        /// The contract of the fourth quote, or zero.
        instrument_4: InstrumentId,
        /// The contract of the fifth quote, or zero.
        instrument_5: InstrumentId,
        /// The contract of the sixth quote, or zero.
        instrument_6: InstrumentId,
        /// The limit of the bid of the first quote.
        bid_price_1: Price,
        /// The limit of the bid of the second quote.
        bid_price_2: Price,
        /// The limit of the bid of the third quote.
        bid_price_3: Price,
        /// The limit of the bid of the fourth quote.
        bid_price_4: Price,
        /// The limit of the bid of the fifth quote.
        bid_price_5: Price,
        /// The limit of the bid of the sixth quote.
        bid_price_6: Price,
        /// How many lots the first quote bids for; zero to pull it.
        bid_quantity_1: Quantity,
        /// How many lots the second quote bids for; zero to pull it.
        bid_quantity_2: Quantity,
        /// How many lots the third quote bids for; zero to pull it.
        bid_quantity_3: Quantity,
        /// How many lots the fourth quote bids for; zero to pull it.
        bid_quantity_4: Quantity,
        /// How many lots the fifth quote bids for; zero to pull it.
        bid_quantity_5: Quantity,
        /// How many lots the sixth quote bids for; zero to pull it.
        bid_quantity_6: Quantity,
        /// The limit of the offer of the first quote.
        ask_price_1: Price,
        /// The limit of the offer of the second quote.
        ask_price_2: Price,
        /// The limit of the offer of the third quote.
        ask_price_3: Price,
        /// The limit of the offer of the fourth quote.
        ask_price_4: Price,
        /// The limit of the offer of the fifth quote.
        ask_price_5: Price,
        /// The limit of the offer of the sixth quote.
        ask_price_6: Price,
        /// How many lots the first quote offers; zero to pull it.
        ask_quantity_1: Quantity,
        /// How many lots the second quote offers; zero to pull it.
        ask_quantity_2: Quantity,
        /// How many lots the third quote offers; zero to pull it.
        ask_quantity_3: Quantity,
        /// How many lots the fourth quote offers; zero to pull it.
        ask_quantity_4: Quantity,
        /// How many lots the fifth quote offers; zero to pull it.
        ask_quantity_5: Quantity,
        /// How many lots the sixth quote offers; zero to pull it.
        ask_quantity_6: Quantity,
        /// Zero.
        pad_2: Pad<4>,
        /// Zero.
        pad_3: Pad<4>,
    }
}

/// How many quotes a [`MassQuote`] holds.
pub const QUOTES_MAX: usize = 6;

/// One quote of a [`MassQuote`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Which contract.
    pub instrument: InstrumentId,
    /// The limit of the bid.
    pub bid_price: Price,
    /// Lots bid for; zero to pull the bid.
    pub bid_quantity: Quantity,
    /// The limit of the offer.
    pub ask_price: Price,
    /// Lots offered; zero to pull the offer.
    pub ask_quantity: Quantity,
}

impl Quote {
    /// Limit and lots of one side.
    #[inline]
    #[must_use]
    pub fn side(&self, side: Side) -> (Price, Quantity) {
        match side {
            Side::Buy => (self.bid_price, self.bid_quantity),
            Side::Sell => (self.ask_price, self.ask_quantity),
        }
    }

    /// Whether it would trade with itself.
    #[inline]
    #[must_use]
    pub fn is_crossed(&self) -> bool {
        self.bid_quantity.0 > 0 && self.ask_quantity.0 > 0 && self.bid_price >= self.ask_price
    }
}

impl MassQuote {
    /// The quotes, in order; those of no contract are not meant.
    #[inline]
    #[must_use]
    pub fn quotes(&self) -> [Quote; QUOTES_MAX] {
        [
            Quote {
                instrument: self.instrument_1,
                bid_price: self.bid_price_1,
                bid_quantity: self.bid_quantity_1,
                ask_price: self.ask_price_1,
                ask_quantity: self.ask_quantity_1,
            },
            Quote {
                instrument: self.instrument_2,
                bid_price: self.bid_price_2,
                bid_quantity: self.bid_quantity_2,
                ask_price: self.ask_price_2,
                ask_quantity: self.ask_quantity_2,
            },
            Quote {
                instrument: self.instrument_3,
                bid_price: self.bid_price_3,
                bid_quantity: self.bid_quantity_3,
                ask_price: self.ask_price_3,
                ask_quantity: self.ask_quantity_3,
            },
            Quote {
                instrument: self.instrument_4,
                bid_price: self.bid_price_4,
                bid_quantity: self.bid_quantity_4,
                ask_price: self.ask_price_4,
                ask_quantity: self.ask_quantity_4,
            },
            Quote {
                instrument: self.instrument_5,
                bid_price: self.bid_price_5,
                bid_quantity: self.bid_quantity_5,
                ask_price: self.ask_price_5,
                ask_quantity: self.ask_quantity_5,
            },
            Quote {
                instrument: self.instrument_6,
                bid_price: self.bid_price_6,
                bid_quantity: self.bid_quantity_6,
                ask_price: self.ask_price_6,
                ask_quantity: self.ask_quantity_6,
            },
        ]
    }

    /// Puts a quote at a place.
    ///
    /// # Panics
    /// If there is no such place: they count from zero to less than [`QUOTES_MAX`].
    pub fn set_quote(&mut self, place: usize, quote: Quote) {
        let (instrument, bid_price, bid_quantity, ask_price, ask_quantity) = match place {
            0 => (
                &mut self.instrument_1,
                &mut self.bid_price_1,
                &mut self.bid_quantity_1,
                &mut self.ask_price_1,
                &mut self.ask_quantity_1,
            ),
            1 => (
                &mut self.instrument_2,
                &mut self.bid_price_2,
                &mut self.bid_quantity_2,
                &mut self.ask_price_2,
                &mut self.ask_quantity_2,
            ),
            2 => (
                &mut self.instrument_3,
                &mut self.bid_price_3,
                &mut self.bid_quantity_3,
                &mut self.ask_price_3,
                &mut self.ask_quantity_3,
            ),
            3 => (
                &mut self.instrument_4,
                &mut self.bid_price_4,
                &mut self.bid_quantity_4,
                &mut self.ask_price_4,
                &mut self.ask_quantity_4,
            ),
            4 => (
                &mut self.instrument_5,
                &mut self.bid_price_5,
                &mut self.bid_quantity_5,
                &mut self.ask_price_5,
                &mut self.ask_quantity_5,
            ),
            5 => (
                &mut self.instrument_6,
                &mut self.bid_price_6,
                &mut self.bid_quantity_6,
                &mut self.ask_price_6,
                &mut self.ask_quantity_6,
            ),
            _ => panic!("no quote has place {place}"),
        };
        *instrument = quote.instrument;
        *bid_price = quote.bid_price;
        *bid_quantity = quote.bid_quantity;
        *ask_price = quote.ask_price;
        *ask_quantity = quote.ask_quantity;
    }
}
