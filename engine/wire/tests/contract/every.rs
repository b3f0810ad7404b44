//! Every message as a Rust type, for tests that must read each through its own struct.
//!
//! Always holds: the list is the catalogue's; a message that is missing here fails a test.

use exahour_wire::message::Message;
use exahour_wire::{events, internal, market_data, operations, orders, session};

/// One message type with its type taken away.
pub(crate) struct Form {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its bytes with header.
    pub(crate) bytes: usize,
    /// Reads it from the start of some bytes and gives back its own bytes.
    pub(crate) read: fn(&[u8]) -> Option<Vec<u8>>,
    /// What `Debug` shows of it, or `None` where the bytes are another message.
    pub(crate) show: fn(&[u8]) -> Option<String>,
    /// A message with its header set and every field zero.
    pub(crate) blank: fn() -> Vec<u8>,
}

fn form<M: Message + std::fmt::Debug>() -> Form {
    Form {
        name: M::DECLARATION.name,
        bytes: M::BYTES,
        read: |bytes| M::read(bytes).map(|message| message.bytes().to_vec()),
        show: |bytes| M::read(bytes).map(|message| format!("{message:?}")),
        blank: || M::blank().bytes().to_vec(),
    }
}

macro_rules! forms {
    ($($module:ident: $($message:ident)*;)*) => {
        /// Every message.
        pub(crate) fn forms() -> Vec<Form> {
            vec![$($(form::<$module::$message>()),*),*]
        }
    };
}

forms! {
    session: Negotiate NegotiationResponse NegotiationReject Establish EstablishmentAck
        EstablishmentReject Sequence NotApplied RetransmitRequest Retransmission RetransmitReject
        Terminate Busy Leader;
    orders: NewOrder CancelOrder ReplaceOrder MassCancel OrderStatusRequest DeadMan
        NewAdvancedOrder MassQuote;
    operations: CreateParticipant CreateAccount CreateSession CreateInstrument SetPositionLimit
        Deposit Withdraw KillSwitch SettlePrice RegisterAccessKey DeliveryStarted ConfirmDelivery
        DeliveryFailed ConfirmRelease SessionActivityRequest BustTrade CorrectTrade
        InstrumentStatusRequest SetCalendar
        SetAuctionSeed HaltTrading ResumeTrading SetPriceBand SetCircuitBreaker;
    internal: OpenSession ReadySession CloseSession Tick Checkpoint NodeStarted TakeStateHash
        ActivateBehaviour;
    events: OrderAccepted OrderRejected OrderCancelled OrderReplaced OrderFilled OrderReduced
        CommandDone CommandRejected SequenceGap DuplicateIgnored OrderStatus SessionActivity DeadManFired TradeBusted TradeCorrected OrderTriggered StopEntered SessionOpened SessionReady
        SessionClosed SessionExpelled OrderShown OrderRepriced InstrumentTerms InstrumentStatus ParticipantCreated AccountCreated SessionCreated
        InstrumentListed PositionLimitSet KillSwitchSet AccessKeyRegistered KillSwitchReleaseRequested MoneyMoved
        InstrumentSettled InstrumentExpired DeliveryAssigned MachineReady DeliverySettled
        StateHashed BehaviourActivated CalendarSet PhaseChanged AuctionUncrossed IndicativePrice PriceBandSet PriceBandMoved
        CircuitBreakerSet IntervalPriced;
    market_data: FeedRequest FeedReject DropCopyRequest FeedHeartbeat FeedRangeRequest FeedRange FeedPacket FeedSource
        InstrumentDefinition
        SnapshotBegin SnapshotOrder SnapshotEnd OrderAdded OrderExecuted OrderShrunk OrderDeleted
        TopOfBook TradeReport InstrumentPhase PriceLevel Statistics TradeBust TradeCorrection IntervalPrice PriceBand CircuitBreaker
        IndicativeAuction AuctionTrade;
}

#[test]
fn the_list_is_the_catalogue() {
    let listed: Vec<&str> = forms().iter().map(|form| form.name).collect();
    let declared: Vec<&str> = exahour_wire::catalogue::MESSAGES
        .iter()
        .map(|message| message.name)
        .collect();
    assert_eq!(listed, declared);
}
