//! Names for things: who, where, which order.
//!
//! Used everywhere. Small dense ids index arrays in the engine; zero means "none" in every one.
//!
//! Always holds: an id of one kind cannot be passed where another is expected.

use std::fmt;

use bytemuck::{Pod, Zeroable};

use crate::codes::Side;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($repr:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
        #[repr(transparent)]
        pub struct $name(pub $repr);

        impl $name {
            /// No such thing.
            pub const NONE: Self = Self(0);
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }
    };
}

id!(
    /// A client's connection identity, kept over reconnects. Zero is the exchange itself.
    SessionId(u32)
);
id!(
    /// A member firm: the owner of accounts and sessions, and the unit of self-trade prevention.
    ParticipantId(u32)
);
id!(
    /// A ledger account. Ids below [`crate::limits::FIRST_ACCOUNT`] belong to the exchange.
    AccountId(u32)
);
id!(
    /// A tradable contract.
    InstrumentId(u32)
);
id!(
    /// An order, named by the exchange; never reused while a journal lives.
    OrderId(u64)
);
id!(
    /// An order or request, named by its sender; unique among the live orders of a session.
    ClientOrderId(u64)
);
impl ClientOrderId {
    /// The name of a session's quote: the order that a mass quote enters for one side of a contract.
    #[inline]
    #[must_use]
    pub const fn of_quote(instrument: InstrumentId, side: Side) -> Self {
        let side = match side {
            Side::Buy => 0,
            Side::Sell => 1,
        };
        Self(1 << 63 | (instrument.0 as u64) << 1 | side)
    }
}

id!(
    /// One match between two orders.
    TradeId(u64)
);
id!(
    /// One posting of the ledger.
    TransferId(u64)
);
id!(
    /// A duty to deliver a machine, and the idempotency key of everything done for it.
    ObligationId(u64)
);
id!(
    /// The number of a message within one direction of one session, from 1.
    MessageSequence(u32)
);
id!(
    /// The version of a session: it restarts the numbering of messages, and only ever grows.
    SessionVersion(u64)
);
id!(
    /// The number of a command in the journal, from 1.
    CommandSequence(u64)
);
id!(
    /// Which rules the engine follows, from 1; a newer set of rules has a higher number.
    Behaviour(u32)
);
id!(
    /// The number of an event in the event log, from 1.
    EventSequence(u64)
);
id!(
    /// The number of a message in the market data feed, from 1.
    FeedSequence(u64)
);
id!(
    /// The first eight bytes, most significant first, of an exchange's identity.
    ExchangeId(u64)
);
