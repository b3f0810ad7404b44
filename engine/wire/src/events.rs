//! What happened: the engine's output, in one numbered log.
//!
//! Written by the engine, followed by gateways, market data, settlement, drop copy and audit. A
//! report to a session is its event, byte for byte.
//!
//! Always holds: the five fields of the prefix come first in every event. `session` and `sequence`
//! are zero where an event is not a report to a session; `sequence` alone is zero where a report is
//! not numbered, and so not recoverable.

use crate::codes::{
    Allocation, CancelReason, ContractKind, DeliveryOutcome, DisconnectCause,
    EstablishmentRejectCode, Firmness, KillAction, Liquidity, NegotiationRejectCode, OrderFlags,
    OrderType, Permissions, Phase, Priority, Raw, ResourceClass, Scope, SelfTradePrevention, Side,
    TerminationCode, TimeInForce, TransferKind,
};
use crate::ids::{
    AccountId, ClientOrderId, CommandSequence, EventSequence, InstrumentId, MessageSequence,
    ObligationId, OrderId, ParticipantId, SessionId, SessionVersion, TradeId, TransferId,
};
use crate::message::{AccessKey, Digest, Ipv4, Pad, Text8, Text16, Text32, message};
use crate::reject::Reject;
use crate::units::{Hours, Millis, Money, Nanos, PartsPerMillion, Price, Quantity};

/// Declares an event: a message that starts with the common prefix.
macro_rules! event {
    ($(#[doc = $about:literal])+ $name:ident = $template:literal {
        $($(#[doc = $doc:literal])+ $field:ident: $type:ty),* $(,)?
    }) => {
        message! {
            $(#[doc = $about])+
            $name = $template {
                /// The session it is a report to, or zero.
                session: SessionId,
                /// Its number in the flow to that session, or zero.
                sequence: MessageSequence,
                /// Its number in the event log.
                event: EventSequence,
                /// When the command that caused it was stamped.
                time: Nanos,
                /// The command that caused it.
                command: CommandSequence,
                $($(#[doc = $doc])+ $field: $type),*
            }
        }
    };
}

/// The fields that every event starts with, header included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct EventPrefix {
    /// The SBE header.
    pub header: crate::message::Header,
    /// The session it is a report to, or zero.
    pub session: SessionId,
    /// Its number in the flow to that session, or zero.
    pub sequence: MessageSequence,
    /// Its number in the event log.
    pub event: EventSequence,
    /// When the command that caused it was stamped.
    pub time: Nanos,
    /// The command that caused it.
    pub command: CommandSequence,
}

impl EventPrefix {
    /// The prefix of the event at the start of `bytes`, or `None` where they are too few.
    #[inline]
    #[must_use]
    pub fn peek(bytes: &[u8]) -> Option<Self> {
        bytes
            .get(..size_of::<Self>())
            .map(bytemuck::pod_read_unaligned)
    }
}

/// How a frame of the event log ends: the kind of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameEnd {
    /// With the last event of a command.
    Command = 1,
    /// Anywhere: the events of its last command may go on in the next frame.
    Anywhere = 2,
}

impl FrameEnd {
    /// What a kind of frame means, or `None` where the event log has no such kind.
    #[inline]
    #[must_use]
    pub fn of_kind(kind: u8) -> Option<Self> {
        [Self::Command, Self::Anywhere]
            .into_iter()
            .find(|end| *end as u8 == kind)
    }
}

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
        /// Its limit.
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
    /// The answer to a new version of a session. Not numbered.
    SessionOpened = 320 {
        /// The version.
        version: SessionVersion,
        /// The gateway's name for the connection.
        connection: u64,
        /// Why it was refused, or zero where it was accepted.
        refusal: Raw<NegotiationRejectCode>,
        /// Zero.
        pad_1: Pad<7>,
    }
}

event! {
    /// The answer to an establishment. Not numbered.
    SessionReady = 321 {
        /// The version.
        version: SessionVersion,
        /// The gateway's name for the connection.
        connection: u64,
        /// The number of the next message the exchange expects.
        expected_sequence: MessageSequence,
        /// The number of the next report the exchange will send.
        next_sequence: MessageSequence,
        /// Why it was refused, or zero where it was accepted.
        refusal: Raw<EstablishmentRejectCode>,
        /// Zero.
        pad_1: Pad<7>,
    }
}

event! {
    /// The connection of a session is gone. Not numbered.
    SessionClosed = 322 {
        /// The version.
        version: SessionVersion,
        /// How it went.
        cause: Raw<DisconnectCause>,
        /// Zero.
        pad_1: Pad<7>,
    }
}

event! {
    /// The exchange logs a session out; its gateway ends the connection. Not numbered.
    SessionExpelled = 323 {
        /// The version.
        version: SessionVersion,
        /// Why.
        code: Raw<TerminationCode>,
        /// Zero.
        pad_1: Pad<7>,
    }
}

event! {
    /// A member firm was admitted.
    ParticipantCreated = 330 {
        /// Its id.
        participant: ParticipantId,
        /// Zero.
        pad_1: Pad<4>,
        /// Its name.
        name: Text32,
    }
}

event! {
    /// An account was opened.
    AccountCreated = 331 {
        /// Its id.
        account: AccountId,
        /// Its owner.
        participant: ParticipantId,
        /// Its name.
        name: Text32,
    }
}

event! {
    /// A session was created.
    SessionCreated = 332 {
        /// Its id.
        new_session: SessionId,
        /// Its owner.
        participant: ParticipantId,
        /// What it may do.
        permissions: Permissions,
        /// Messages a second, sustained; zero for no throttle.
        throttle_rate: u32,
        /// Messages at once.
        throttle_burst: u32,
        /// Zero.
        pad_1: Pad<4>,
    }
}

event! {
    /// A contract was listed.
    InstrumentListed = 333 {
        /// Its id.
        instrument: InstrumentId,
        /// Spot or future.
        kind: Raw<ContractKind>,
        /// The kind of machine.
        class: Raw<ResourceClass>,
        /// The lowest performance grade: 1 is A, the best.
        grade_performance: u8,
        /// The lowest reliability grade: 1 is the best.
        grade_reliability: u8,
        /// The lowest energy grade: 1 is X, the best.
        grade_energy: u8,
        /// Whether delivery may be interrupted.
        firmness: Raw<Firmness>,
        /// The version of the reference system that grades refer to.
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
        /// Initial margin for one lot.
        initial_margin: Money,
        /// The price that collars start from, until there is a trade.
        reference_price: Price,
        /// The largest order in lots.
        quantity_max: Quantity,
        /// The largest value of an order.
        notional_max: Money,
        /// How far a limit may be from the reference price.
        collar: PartsPerMillion,
        /// How far a market order may trade from the best price.
        protection: PartsPerMillion,
    }
}

event! {
    /// The position limit of an account was set.
    PositionLimitSet = 334 {
        /// Whose position.
        account: AccountId,
        /// In what.
        instrument: InstrumentId,
        /// The largest position, long or short.
        position_max: Quantity,
    }
}

event! {
    /// A kill switch was engaged or released.
    KillSwitchSet = 335 {
        /// The session, account or participant.
        target: u32,
        /// What `target` names.
        scope: Raw<Scope>,
        /// Engaged or released.
        action: Raw<KillAction>,
        /// Zero.
        pad_1: Pad<2>,
    }
}

event! {
    /// The key that opens the machines of an account was registered.
    AccessKeyRegistered = 336 {
        /// Whose machines.
        account: AccountId,
        /// Zero.
        pad_1: Pad<4>,
        /// The public half.
        key: AccessKey,
    }
}

event! {
    /// The release of a kill switch was asked for; another session must confirm it.
    KillSwitchReleaseRequested = 337 {
        /// The session, account or participant.
        target: u32,
        /// The session that asked; zero is the exchange itself.
        requested_by: SessionId,
        /// What `target` names.
        scope: Raw<Scope>,
        /// Zero.
        pad_1: Pad<7>,
    }
}

event! {
    /// Money moved: one debit and one credit of the same amount.
    MoneyMoved = 340 {
        /// The posting.
        transfer: TransferId,
        /// The account it came from.
        debit: AccountId,
        /// The account it went to.
        credit: AccountId,
        /// How much; never negative.
        amount: Money,
        /// What it belongs to: a trade, an obligation, an instrument or a request.
        reference: u64,
        /// Why.
        kind: Raw<TransferKind>,
        /// Zero.
        pad_1: Pad<7>,
    }
}

event! {
    /// Every position in an instrument was marked to a price.
    InstrumentSettled = 350 {
        /// Which contract.
        instrument: InstrumentId,
        /// Zero.
        pad_1: Pad<4>,
        /// The settlement price.
        price: Price,
        /// Lots held long, which equal the lots held short.
        open_interest: Quantity,
    }
}

event! {
    /// Trading in an instrument ended; its orders are cancelled and its positions go to delivery.
    InstrumentExpired = 351 {
        /// Which contract.
        instrument: InstrumentId,
        /// Zero.
        pad_1: Pad<4>,
        /// The final settlement price.
        price: Price,
        /// Lots held long, which equal the lots held short.
        open_interest: Quantity,
    }
}

event! {
    /// A buyer and a seller were paired: a machine is owed.
    DeliveryAssigned = 352 {
        /// The obligation, and the idempotency key of everything done for it.
        obligation: ObligationId,
        /// Which contract.
        instrument: InstrumentId,
        /// The length of the window.
        hours: Hours,
        /// The buyer's account.
        buyer: AccountId,
        /// The seller's account.
        seller: AccountId,
        /// Lots: Compute Hours per hour.
        quantity: Quantity,
        /// The price that verified time is paid at.
        price: Price,
        /// When the window begins.
        delivery_start: Nanos,
        /// The public key that opens the machine; zero where the buyer registered none.
        key: AccessKey,
    }
}

event! {
    /// The machine of an obligation answers.
    MachineReady = 353 {
        /// The obligation.
        obligation: ObligationId,
        /// The buyer's account.
        buyer: AccountId,
        /// Where it listens.
        address: Ipv4,
        /// SHA-256 of the machine's SSH host key.
        host_key: Digest,
        /// On which port.
        port: u16,
        /// Zero.
        pad_1: Pad<6>,
    }
}

event! {
    /// An obligation is closed and paid.
    DeliverySettled = 354 {
        /// The obligation.
        obligation: ObligationId,
        /// Time verified: a span.
        verified: Nanos,
        /// What the seller received.
        paid: Money,
        /// What the buyer got back.
        refunded: Money,
        /// What the seller paid for what was not delivered.
        compensated: Money,
        /// How it ended.
        outcome: Raw<DeliveryOutcome>,
        /// Zero.
        pad_1: Pad<7>,
    }
}

event! {
    /// What the whole state hashed to, after the command that caused this.
    StateHashed = 360 {
        /// The hash.
        state_hash: Digest,
    }
}

event! {
    /// The trading hours of a contract were set.
    CalendarSet = 370 {
        /// Which contract.
        instrument: InstrumentId,
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
        collar: PartsPerMillion,
        /// Who trades at the last price that an auction serves.
        allocation: Raw<Allocation>,
        /// Zero.
        pad_1: Pad<3>,
    }
}

event! {
    /// The state of trading in a contract changed.
    PhaseChanged = 371 {
        /// Which contract.
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

event! {
    /// An auction was held; its trades follow. Lots of one owner meet without a trade.
    AuctionUncrossed = 372 {
        /// Which contract.
        instrument: InstrumentId,
        /// Zero.
        pad_1: Pad<4>,
        /// The price, or none where nothing can trade.
        price: Price,
        /// Lots that trade.
        quantity: Quantity,
        /// Lots of buyers that find nobody at this price.
        buy_surplus: Quantity,
        /// Lots of sellers that find nobody at this price.
        sell_surplus: Quantity,
    }
}

event! {
    /// What the auction would come to if it were held now.
    IndicativePrice = 373 {
        /// Which contract.
        instrument: InstrumentId,
        /// Zero.
        pad_1: Pad<4>,
        /// The price, or none where nothing can trade.
        price: Price,
        /// Lots that trade.
        quantity: Quantity,
        /// Lots of buyers that find nobody at this price.
        buy_surplus: Quantity,
        /// Lots of sellers that find nobody at this price.
        sell_surplus: Quantity,
    }
}

event! {
    /// The circuit breaker of a contract was set.
    CircuitBreakerSet = 374 {
        /// Which contract.
        instrument: InstrumentId,
        /// The contract whose halts it follows, or zero.
        linked: InstrumentId,
        /// How far prices may move within 300 s; zero for no breaker.
        threshold: PartsPerMillion,
        /// Zero.
        pad_1: Pad<4>,
    }
}

event! {
    /// What trades of a contract with a circuit breaker cost in 30 s that are over.
    IntervalPriced = 375 {
        /// Which contract.
        instrument: InstrumentId,
        /// Zero.
        pad_1: Pad<4>,
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
    }
}
