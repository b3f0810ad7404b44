//! Order entry: what a trading firm sends.
//!
//! Checked by `gateway` for form, by the engine for everything else. Each fills one 64-byte record:
//! the bytes on the socket are the bytes in the ring and in the journal.
//!
//! Always holds: session and sequence come first, in every command.

use crate::codes::{OrderFlags, OrderType, Raw, Scope, SelfTradePrevention, Side, TimeInForce};
use crate::ids::{AccountId, ClientOrderId, InstrumentId, MessageSequence, OrderId, SessionId};
use crate::message::{Pad, message};
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
