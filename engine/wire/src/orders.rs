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
        /// The last price from which a stop order is in the market; none for one that is no stop order.
        stop_price: Price,
        /// How many lots are shown at a time; zero for all of them.
        display_quantity: Quantity,
        /// How many lots must trade at once, or none does; zero for any number.
        minimum_quantity: Quantity,
        /// How far a pegged order stands from what it moves with; zero otherwise.
        peg_offset: Price,
        /// The live order that it stands beside, so that one cancels the other; zero for none.
        linked: ClientOrderId,
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
