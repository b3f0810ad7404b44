//! The list of all messages and enumerations: what tests, tools and dumps walk.
//!
//! Always holds: every message of this crate is here once; a test compares the list with the
//! published schema in both directions.

use crate::codes::Enumeration;
use crate::message::{Declaration, Message};
use crate::{codes, events, internal, market_data, operations, orders, reject, session};

macro_rules! declarations {
    ($($module:ident: [$($message:ident),* $(,)?]),* $(,)?) => {
        /// Every message, by template number.
        pub const MESSAGES: &[Declaration] =
            &[$($(<$module::$message as Message>::DECLARATION),*),*];
    };
}

declarations! {
    session: [
        Negotiate, NegotiationResponse, NegotiationReject, Establish, EstablishmentAck,
        EstablishmentReject, Sequence, NotApplied, RetransmitRequest, Retransmission,
        RetransmitReject, Terminate, Busy, Leader,
    ],
    orders: [
        NewOrder, CancelOrder, ReplaceOrder, MassCancel, OrderStatusRequest, DeadMan,
        NewAdvancedOrder, MassQuote,
    ],
    operations: [
        CreateParticipant, CreateAccount, CreateSession, CreateInstrument, SetPositionLimit,
        Deposit, Withdraw, KillSwitch, SettlePrice, RegisterAccessKey, DeliveryStarted,
        ConfirmDelivery, DeliveryFailed, ConfirmRelease, SessionActivityRequest, BustTrade,
        CorrectTrade, InstrumentStatusRequest, SetCalendar, SetAuctionSeed, HaltTrading,
        ResumeTrading, SetPriceBand, SetCircuitBreaker,
    ],
    internal: [
        OpenSession, ReadySession, CloseSession, Tick, Checkpoint, NodeStarted, TakeStateHash,
        ActivateBehaviour,
    ],
    events: [
        OrderAccepted, OrderRejected, OrderCancelled, OrderReplaced, OrderFilled, OrderReduced,
        CommandDone, CommandRejected, SequenceGap, DuplicateIgnored, OrderStatus, SessionActivity,
        DeadManFired, TradeBusted, TradeCorrected, OrderTriggered, StopEntered, SessionOpened, SessionReady, SessionClosed,
        SessionExpelled, OrderShown, OrderRepriced, InstrumentTerms, InstrumentStatus, ParticipantCreated, AccountCreated, SessionCreated,
        InstrumentListed, PositionLimitSet, KillSwitchSet, AccessKeyRegistered,
        KillSwitchReleaseRequested, MoneyMoved,
        InstrumentSettled, InstrumentExpired, DeliveryAssigned, MachineReady, DeliverySettled,
        StateHashed, BehaviourActivated, CalendarSet, PhaseChanged, AuctionUncrossed, IndicativePrice, PriceBandSet,
        PriceBandMoved, CircuitBreakerSet, IntervalPriced,
    ],
    market_data: [
        FeedRequest, FeedReject, DropCopyRequest, FeedHeartbeat, FeedRangeRequest, FeedRange, FeedPacket, FeedSource,
        InstrumentDefinition,
        SnapshotBegin, SnapshotOrder, SnapshotEnd, OrderAdded, OrderExecuted, OrderShrunk,
        OrderDeleted, TopOfBook, TradeReport, InstrumentPhase, PriceLevel, Statistics, TradeBust,
        TradeCorrection, IntervalPrice, PriceBand, CircuitBreaker,
        IndicativeAuction, AuctionTrade,
    ],
}

/// One enumeration of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnumerationTable {
    /// Its name in the schema.
    pub name: &'static str,
    /// The SBE primitive that carries it.
    pub primitive: &'static str,
    /// The bytes of that.
    pub bytes: usize,
    /// Every value: number, name in the schema, description.
    pub rows: &'static [(u64, &'static str, &'static str)],
}

impl EnumerationTable {
    /// The table of this enumeration.
    #[must_use]
    pub const fn of<E: Enumeration>() -> Self {
        Self {
            name: E::NAME,
            primitive: E::PRIMITIVE,
            bytes: size_of::<E>(),
            rows: E::TABLE,
        }
    }
}

macro_rules! enumerations {
    ($($module:ident::$name:ident),* $(,)?) => {
        /// Every enumeration.
        pub const ENUMERATIONS: &[EnumerationTable] =
            &[$(EnumerationTable::of::<$module::$name>()),*];
    };
}

enumerations! {
    codes::Side, codes::OrderType, codes::PegReference, codes::TimeInForce, codes::SelfTradePrevention, codes::Scope,
    codes::KillAction, codes::CancelOnDisconnect, codes::DisconnectCause, codes::ContractKind,
    codes::ResourceClass, codes::Firmness, codes::Liquidity, codes::Priority,
    codes::CancelReason, codes::TransferKind, codes::DeliveryOutcome, codes::Durability,
    codes::FlowType, codes::NegotiationRejectCode, codes::EstablishmentRejectCode,
    codes::RetransmitRejectCode, codes::TerminationCode, codes::FeedRequestKind,
    codes::FeedRejectCode, codes::FeedDepth, codes::LevelAction, codes::Phase, codes::Allocation, reject::Reject,
}

/// The declaration of the message with this template number.
#[must_use]
pub fn declaration(template_id: u16) -> Option<&'static Declaration> {
    MESSAGES
        .iter()
        .find(|message| message.template_id == template_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_fill_whole_lines() {
        for message in MESSAGES
            .iter()
            .filter(|message| (100..300).contains(&message.template_id))
        {
            let bytes = usize::from(message.block_length) + crate::message::HEADER_BYTES;
            assert_eq!(
                bytes % crate::limits::RECORD_LINE_BYTES,
                0,
                "{}: {bytes}",
                message.name
            );
        }
    }

    #[test]
    fn numbers_are_used_once() {
        for (place, message) in MESSAGES.iter().enumerate() {
            for other in &MESSAGES[place + 1..] {
                assert_ne!(message.template_id, other.template_id);
                assert_ne!(message.name, other.name);
            }
        }
    }

    #[test]
    fn fields_are_aligned_and_leave_no_gap() {
        for message in MESSAGES {
            let mut end = 0;
            for field in message.fields {
                assert_eq!(field.offset, end, "{}.{}", message.name, field.name);
                end += field.bytes;
            }
            assert_eq!(end, usize::from(message.block_length), "{}", message.name);
        }
    }
}
