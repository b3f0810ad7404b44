//! Enumerations and sets of the wire, with their published numbers.
//!
//! A message field holds a [`Raw`]: any bit pattern may arrive, and only [`Raw::decode`] makes it
//! the enumeration. Numbers are never reused.
//!
//! Always holds: each enumeration knows its table, so the schema test can compare every value.

use std::fmt;
use std::marker::PhantomData;

use bytemuck::{Pod, Zeroable};

/// An enumeration of the wire.
pub trait Enumeration: Copy + PartialEq + 'static {
    /// The integer that carries it.
    type Repr: Pod + PartialEq + fmt::Debug + Into<u64>;
    /// Its name in the schema.
    const NAME: &'static str;
    /// The SBE primitive that carries it: `char` where FIX has a character for every value.
    const PRIMITIVE: &'static str;
    /// Every value: number, name in the schema, description.
    const TABLE: &'static [(u64, &'static str, &'static str)];
    /// The value with this number.
    fn from_repr(repr: Self::Repr) -> Option<Self>;
    /// The number of this value.
    fn repr(self) -> Self::Repr;
}

/// The bytes of an enumeration as they came: not yet known to be one of its values.
#[repr(transparent)]
pub struct Raw<E: Enumeration>(pub E::Repr, PhantomData<E>);

// SAFETY: transparent over an integer that is itself zeroable; `PhantomData` has no bytes.
unsafe impl<E: Enumeration> Zeroable for Raw<E> {}
// SAFETY: transparent over an integer that is itself `Pod`: no padding, every bit pattern valid.
unsafe impl<E: Enumeration> Pod for Raw<E> {}

impl<E: Enumeration> Clone for Raw<E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E: Enumeration> Copy for Raw<E> {}

impl<E: Enumeration> PartialEq for Raw<E> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<E: Enumeration> Eq for Raw<E> {}

impl<E: Enumeration + fmt::Debug> fmt::Debug for Raw<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.decode() {
            Some(value) => value.fmt(formatter),
            None => write!(formatter, "{}({:?})", E::NAME, self.0),
        }
    }
}

impl<E: Enumeration> Raw<E> {
    /// Bytes that may mean anything.
    pub const fn new(repr: E::Repr) -> Self {
        Self(repr, PhantomData)
    }

    /// The value, or `None` where the number means nothing.
    #[inline]
    pub fn decode(self) -> Option<E> {
        E::from_repr(self.0)
    }
}

impl<E: Enumeration> From<E> for Raw<E> {
    #[inline]
    fn from(value: E) -> Self {
        Self::new(value.repr())
    }
}

/// The SBE primitive of an enumeration.
macro_rules! primitive {
    (u8 as char) => {
        "char"
    };
    (u8) => {
        "uint8"
    };
    (u16) => {
        "uint16"
    };
}
pub(crate) use primitive;

/// Declares an enumeration of the wire once: type, numbers, names and descriptions.
macro_rules! enumeration {
    ($(#[doc = $about:literal])+ $name:ident: $repr:ident $(as $char:ident)? {
        $($(#[doc = $doc:literal])+ $variant:ident = $number:literal),* $(,)?
    }) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr($repr)]
        pub enum $name {
            $($(#[doc = $doc])+ $variant = $number),*
        }

        impl $crate::codes::Enumeration for $name {
            type Repr = $repr;
            const NAME: &'static str = stringify!($name);
            const PRIMITIVE: &'static str = $crate::codes::primitive!($repr $(as $char)?);
            const TABLE: &'static [(u64, &'static str, &'static str)] =
                &[$(($number as u64, stringify!($variant), concat!($($doc),+))),*];

            #[inline]
            fn from_repr(repr: $repr) -> Option<Self> {
                match repr {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }

            #[inline]
            fn repr(self) -> $repr {
                self as $repr
            }
        }
    };
}
pub(crate) use enumeration;

enumeration! {
    /// Which side of the market.
    Side: u8 as char {
        /// The buyer.
        Buy = b'1',
        /// The seller.
        Sell = b'2',
    }
}

impl Side {
    /// The other side.
    #[inline]
    #[must_use]
    pub fn opposite(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }
}

enumeration! {
    /// How an order is priced.
    OrderType: u8 as char {
        /// Trades at the best prices within the instrument's protection band.
        Market = b'1',
        /// Trades at its limit or better.
        Limit = b'2',
        /// A market order from when its stop price is reached.
        Stop = b'3',
        /// A limit order from when its stop price is reached.
        StopLimit = b'4',
        /// Trades at the best price that it meets; the rest rests there.
        MarketToLimit = b'K',
        /// A limit order until its stop price is reached; then what a stop order is.
        OneCancelsOther = b'O',
        /// Moves with the best prices of the book.
        Pegged = b'P',
    }
}

enumeration! {
    /// Which price of the book a pegged order moves with.
    PegReference: u8 {
        /// None: it is not pegged.
        None = 0,
        /// The best price of its own side.
        Primary = 1,
        /// The best price of the other side.
        Market = 2,
        /// The middle between the two.
        Midpoint = 3,
    }
}

enumeration! {
    /// How long an order lives.
    TimeInForce: u8 as char {
        /// Until the end of the UTC day.
        Day = b'0',
        /// Until cancelled or the instrument expires.
        GoodTillCancelled = b'1',
        /// Trades what it can at once; the rest is cancelled.
        ImmediateOrCancel = b'3',
        /// Trades all of it at once, or nothing.
        FillOrKill = b'4',
        /// Until its expire time.
        GoodTillDate = b'6',
        /// In the auction of the call under way; the rest is cancelled.
        GoodForAuction = b'B',
    }
}

enumeration! {
    /// What happens when an order would trade with one of the same owner.
    SelfTradePrevention: u8 {
        /// They trade.
        None = 0,
        /// The rest of the incoming order is cancelled.
        CancelNewest = 1,
        /// The resting order is cancelled and matching goes on.
        CancelOldest = 2,
        /// Both are cancelled.
        CancelBoth = 3,
        /// Both shrink by what would have traded; no trade is made.
        Decrement = 4,
    }
}

enumeration! {
    /// Which orders or actors a mass cancel or a kill switch covers.
    Scope: u8 {
        /// One session.
        Session = 1,
        /// One account.
        Account = 2,
        /// One participant: all its sessions and accounts.
        Participant = 3,
        /// One instrument.
        Instrument = 4,
    }
}

enumeration! {
    /// What to do with a kill switch.
    KillAction: u8 {
        /// Cancel all and block entry.
        Engage = 1,
        /// Allow entry again: as a command, ask for it.
        Release = 2,
    }
}

enumeration! {
    /// When the orders of a session are cancelled because the session went away.
    CancelOnDisconnect: u8 {
        /// Never.
        None = 0,
        /// When the session is terminated in good order.
        OnTerminate = 1,
        /// When the connection is lost.
        OnDisconnect = 2,
        /// In both cases.
        Both = 3,
    }
}

enumeration! {
    /// How a session went away.
    DisconnectCause: u8 {
        /// The client ended it in good order.
        ClientTerminated = 1,
        /// The connection was lost.
        ConnectionLost = 2,
        /// Nothing was heard for too long.
        KeepAliveMissed = 3,
        /// The client did not read its messages.
        SlowReader = 4,
        /// The client broke the protocol.
        ProtocolBreach = 5,
        /// The exchange logged it out.
        Expelled = 6,
        /// The node stopped or restarted.
        NodeStopped = 7,
    }
}

enumeration! {
    /// What is delivered through a contract.
    ContractKind: u8 {
        /// Compute Hours of the next delivery window, paid when traded.
        Spot = 1,
        /// Compute Hours of a later window, margined until delivery.
        Future = 2,
    }
}

enumeration! {
    /// The kind of machine behind a Compute Hour.
    ResourceClass: u8 {
        /// Processor cores.
        Cpu = 1,
        /// Graphics processors.
        Gpu = 2,
        /// Tensor processors.
        Tpu = 3,
        /// Memory.
        Memory = 4,
        /// Storage.
        Storage = 5,
        /// Network bandwidth.
        Network = 6,
    }
}

enumeration! {
    /// Whether delivery may be interrupted.
    Firmness: u8 {
        /// It may not.
        Firm = 1,
        /// It may, with notice.
        Preemptible = 2,
    }
}

enumeration! {
    /// Which side of a trade an order was on in time.
    Liquidity: u8 {
        /// It rested in the book.
        Maker = 1,
        /// It arrived and traded.
        Taker = 2,
        /// It traded in an auction, where nobody came first.
        Auction = 3,
    }
}

enumeration! {
    /// Whether a replaced order kept its place in the queue.
    Priority: u8 {
        /// It did: only its size shrank.
        Kept = 1,
        /// It did not.
        Lost = 2,
    }
}

enumeration! {
    /// Why an order left the book without trading.
    CancelReason: u8 {
        /// Its owner asked.
        Requested = 1,
        /// A mass cancel covered it.
        MassCancel = 2,
        /// The rest of an immediate order, or a pegged one that halts its contract.
        ImmediateRest = 3,
        /// Fewer lots could trade at once than it asked for.
        NotFillable = 4,
        /// Its day ended or its date was reached.
        Expired = 5,
        /// Self-trade prevention.
        SelfTrade = 6,
        /// A kill switch covered it.
        KillSwitch = 7,
        /// Its session went away.
        Disconnect = 8,
        /// Its instrument expired.
        InstrumentExpired = 9,
        /// It was post-only and would have traded.
        PostOnly = 10,
        /// A replace left nothing to trade.
        ReplacedToNothing = 11,
        /// Nothing was heard of its session for as long as it had said.
        DeadMan = 20,
        /// The auction that it was for is over.
        AuctionOver = 60,
    }
}

enumeration! {
    /// Why a posting was made.
    TransferKind: u8 {
        /// Money came in from outside.
        Deposit = 1,
        /// Money went out.
        Withdrawal = 2,
        /// Profit or loss against the settlement price, through the clearing account.
        VariationMargin = 4,
        /// A futures buyer paid for the window to be delivered, into escrow.
        DeliveryPrepayment = 5,
        /// The seller was paid for verified time, out of escrow.
        DeliveryPayment = 6,
        /// The buyer got back what was not delivered, out of escrow.
        DeliveryRefund = 7,
        /// The seller paid for what was not delivered.
        DeliveryCompensation = 8,
    }
}

enumeration! {
    /// How a delivery ended.
    DeliveryOutcome: u8 {
        /// All of the window was verified.
        Delivered = 1,
        /// A part of the window was verified.
        Partial = 2,
        /// Nothing was verified.
        Failed = 3,
    }
}

enumeration! {
    /// How safely a command is stored before it is acknowledged.
    Durability: u8 {
        /// A quorum has flushed it to disk.
        Durable = 1,
        /// A quorum has it in memory-mapped pages.
        Replicated = 2,
    }
}

enumeration! {
    /// How a client's flow of messages is recovered.
    FlowType: u8 {
        /// Each message is applied at most once; gaps are reported.
        Idempotent = 1,
        /// Messages can be asked for again.
        Recoverable = 2,
    }
}

enumeration! {
    /// Why a negotiation was refused.
    NegotiationRejectCode: u8 {
        /// No such session, or the code of authentication does not match.
        Credentials = 1,
        /// The version is not above the last one.
        StaleVersion = 2,
        /// The session is already negotiated on this connection.
        AlreadyNegotiated = 3,
        /// Only an idempotent flow is offered.
        FlowType = 4,
        /// Too many failures: try again after the stated time.
        BackOff = 5,
        /// The exchange cannot take it now.
        Busy = 7,
        /// Another node leads: `Leader`, sent before, names it where it is known.
        NotLeader = 8,
    }
}

enumeration! {
    /// Why an establishment was refused.
    EstablishmentRejectCode: u8 {
        /// The session is not negotiated, or the version is another.
        Unnegotiated = 1,
        /// Another connection has this session established.
        AlreadyEstablished = 2,
        /// The code of authentication does not match.
        Credentials = 3,
        /// The keep-alive interval is out of range.
        KeepAlive = 4,
        /// The next sequence number is below what was applied.
        Sequence = 5,
        /// The cancel-on-disconnect mode is none of the four.
        CancelMode = 6,
        /// Too many failures: try again after the stated time.
        BackOff = 7,
        /// The exchange cannot take it now.
        Busy = 8,
        /// Another node leads: `Leader`, sent before, names it where it is known.
        NotLeader = 9,
    }
}

enumeration! {
    /// Why a retransmission was refused.
    RetransmitRejectCode: u8 {
        /// The range begins at zero, ends beyond what was sent, or is empty.
        OutOfRange = 1,
        /// More messages than one request may ask for.
        TooMany = 2,
        /// The session is not the one of this connection.
        WrongSession = 3,
        /// A retransmission is under way.
        InProgress = 4,
    }
}

enumeration! {
    /// Why a session was ended.
    TerminationCode: u8 {
        /// In good order.
        Finished = 1,
        /// The framing header names a length outside the limits.
        BadLength = 2,
        /// The framing header names another encoding.
        BadEncoding = 3,
        /// The template is not one a client may send.
        UnknownTemplate = 4,
        /// The schema is another, or older than can be read.
        BadSchema = 5,
        /// A message came before the session was established.
        NotEstablished = 6,
        /// A message named another session.
        WrongSession = 7,
        /// Nothing was heard for too long.
        KeepAliveMissed = 8,
        /// The client did not read its messages.
        SlowReader = 9,
        /// The throttle was exceeded too often.
        Throttled = 10,
        /// Another connection took over the session.
        Superseded = 11,
        /// The node is stopping.
        NodeStopping = 12,
        /// Nothing was negotiated or established in time.
        LogonTimeout = 13,
        /// The session was negotiated twice on one connection.
        DuplicateNegotiate = 14,
        /// The node lost the lead: `Leader`, sent before, names who has it if known.
        NotLeader = 15,
    }
}

enumeration! {
    /// What a market data client asks for.
    FeedRequestKind: u8 {
        /// A snapshot of the book, then every change after it.
        SnapshotThenUpdates = 1,
        /// Every change from a stated sequence number.
        UpdatesFrom = 2,
    }
}

enumeration! {
    /// Why a market data request was refused.
    FeedRejectCode: u8 {
        /// No such instrument.
        UnknownInstrument = 1,
        /// The sequence number is not kept any more, or not reached yet.
        OutOfRange = 2,
        /// The request is not one that is known.
        BadRequest = 3,
        /// The credentials do not fit.
        Credentials = 4,
        /// The time stamp is used, or older than the port, or too far ahead.
        Stale = 5,
        /// More messages were asked for than are sent again for one request.
        TooMany = 6,
        /// The client asks too often, or for more lost messages than are sent again.
        Throttled = 7,
    }
}

enumeration! {
    /// How deep a feed looks into the books.
    FeedDepth: u8 {
        /// Every change of every order, best prices and trades.
        Orders = 0,
        /// Best prices, trades and statistics.
        Top = 1,
        /// Every change of every price level, and trades.
        Levels = 2,
    }
}

enumeration! {
    /// What happened to a price level.
    LevelAction: u8 {
        /// The price has its first order.
        Added = 1,
        /// Its lots or the number of its orders changed.
        Changed = 2,
        /// Its last order is gone.
        Deleted = 3,
    }
}

enumeration! {
    /// The state of an instrument's trading.
    Phase: u8 {
        /// Orders match as they come.
        Continuous = 1,
        /// Trading has ended for good.
        Expired = 2,
        /// Orders are collected for the opening auction.
        PreOpenCall = 3,
        /// Orders are collected for the closing auction.
        ClosingCall = 4,
        /// Trading is halted; orders are collected for the auction that ends it.
        Halted = 5,
        /// Orders can be cancelled, but not entered or changed.
        Closed = 6,
    }
}

enumeration! {
    /// Who trades at the last price that an auction serves.
    Allocation: u8 {
        /// The oldest orders.
        Time = 0,
        /// The largest orders, after a first share to each.
        Size = 1,
    }
}

/// What an order asks for beyond its type, as a set of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct OrderFlags(pub u8);

impl OrderFlags {
    /// Nothing beyond.
    pub const NONE: Self = Self(0);
    /// The order must not trade on arrival.
    pub const POST_ONLY: Self = Self(1);
    /// Every bit that means something.
    pub const KNOWN: Self = Self::POST_ONLY;
    /// Every choice: bit, name in the schema, description.
    pub const TABLE: &'static [(u8, &'static str, &'static str)] =
        &[(0, "PostOnly", "The order must not trade on arrival.")];

    /// Whether every bit of `other` is set.
    #[inline]
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether a bit is set that means nothing.
    #[inline]
    #[must_use]
    pub fn has_unknown(self) -> bool {
        self.0 & !Self::KNOWN.0 != 0
    }

    /// Those of its bits that mean something.
    #[inline]
    #[must_use]
    pub fn known(self) -> Self {
        Self(self.0 & Self::KNOWN.0)
    }
}

/// What a session may do, as a set of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Permissions(pub u32);

impl Permissions {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Enter, replace and cancel orders for the accounts of its participant.
    pub const TRADE: Self = Self(1);
    /// Use kill switches and limits on its own participant.
    pub const RISK: Self = Self(1 << 1);
    /// Receive copies of all reports of its participant.
    pub const DROP_COPY: Self = Self(1 << 2);
    /// Report deliveries.
    pub const SETTLEMENT: Self = Self(1 << 3);
    /// Create, fund and limit anything.
    pub const OPERATOR: Self = Self(1 << 4);
    /// Every choice: bit, name in the schema, description.
    pub const TABLE: &'static [(u8, &'static str, &'static str)] = &[
        (
            0,
            "Trade",
            "Enter, replace and cancel orders for the accounts of its participant.",
        ),
        (
            1,
            "Risk",
            "Use kill switches and limits on its own participant.",
        ),
        (
            2,
            "DropCopy",
            "Receive copies of all reports of its participant.",
        ),
        (3, "Settlement", "Report deliveries."),
        (4, "Operator", "Create, fund and limit anything."),
    ];

    /// Whether every bit of `other` is set.
    #[inline]
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether a bit is set that means nothing.
    #[inline]
    #[must_use]
    pub fn has_unknown(self) -> bool {
        self.0 >> Self::TABLE.len() != 0
    }
}
