//! Why a message does not fit the image it was given to.
//!
//! For an image of the event log a fault is our own: the log or the image is wrong, and whoever
//! follows it stops. For an image of the feed it means that messages were missed: ask again.

use exahour_wire::ids::{EventSequence, FeedSequence, InstrumentId, OrderId, TradeId};
use exahour_wire::units::Price;

/// Why a message does not fit an image; the image stays as it was before the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageFault {
    /// Events are missing or come twice.
    #[error("event {got} came where event {expected} is next: follow the event log from its start")]
    EventGap {
        /// The event that is next.
        expected: EventSequence,
        /// The event that came.
        got: EventSequence,
    },
    /// A batch ends within a message.
    #[error("the batch after event {after} ends within a message: verify the event log")]
    CutBatch {
        /// The last event that was whole.
        after: EventSequence,
    },
    /// The event log has no frames of this kind.
    #[error("a frame of kind {kind} after event {after} is none of events: verify the event log")]
    UnknownFrame {
        /// The kind.
        kind: u8,
        /// The last event before it.
        after: EventSequence,
    },
    /// Feed messages are missing.
    #[error("feed message {got} came where {expected} is next: ask for updates from {expected}")]
    FeedGap {
        /// The number that is next.
        expected: FeedSequence,
        /// The number that came.
        got: FeedSequence,
    },
    /// A message is none of the feed, or comes where it cannot be.
    #[error("template {template} cannot come here: ask for a snapshot")]
    OutOfPlace {
        /// The template of the message.
        template: u16,
    },
    /// A snapshot holds another number of orders than it says.
    #[error(
        "the snapshot of instrument {instrument} has {got} orders where {expected} were named: ask for a snapshot"
    )]
    SnapshotCount {
        /// The instrument.
        instrument: InstrumentId,
        /// How many were named.
        expected: u32,
        /// How many came.
        got: u32,
    },
    /// The instrument was never listed.
    #[error("instrument {0} is not listed in this image: ask for a snapshot")]
    UnknownInstrument(InstrumentId),
    /// The instrument is listed already.
    #[error("instrument {0} is listed twice: ask for a snapshot")]
    InstrumentTwice(InstrumentId),
    /// The order does not rest here.
    #[error("order {0} does not rest in this image: ask for a snapshot")]
    UnknownOrder(OrderId),
    /// The order rests already.
    #[error("order {0} came twice: ask for a snapshot")]
    OrderTwice(OrderId),
    /// The new size of an order is not below the old one, or a trade does not add up.
    #[error("the new size of order {0} does not follow from its old one: ask for a snapshot")]
    WrongSize(OrderId),
    /// A level was added that is there, or changed or deleted that is not.
    #[error(
        "what was told of the level {price} of instrument {instrument} does not follow from the image: ask \
         for a snapshot"
    )]
    WrongLevel {
        /// The instrument.
        instrument: InstrumentId,
        /// The price.
        price: Price,
    },
    /// The numbers that were heard are those of another feed.
    #[error("the feed is another one than before: ask for a snapshot")]
    OtherSource,
    /// A price band moved that was never set.
    #[error("the price band of instrument {0} moved, which was never set: verify the event log")]
    NoBand(InstrumentId),
    /// A trade was undone or corrected that was never told.
    #[error("trade {0} was undone, which was never told: verify the event log")]
    UnknownTrade(TradeId),
    /// The best prices of the image are not those that were told.
    #[error("the best prices of instrument {0} are not those told: ask for a snapshot")]
    TopDiffers(InstrumentId),
    /// A number of a message has no meaning.
    #[error("template {template} holds an unknown code: ask for a snapshot")]
    UnknownCode {
        /// The template of the message.
        template: u16,
    },
    /// The image holds as many orders as it can number.
    #[error("the image is full: it can number 4294967295 orders")]
    Full,
}
