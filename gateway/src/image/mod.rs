//! Book images: the books of every instrument, kept by following messages.
//!
//! [`BookImage`] follows the event log; market data and audit use it. [`FeedImage`] follows the
//! public feed at one depth; clients use it. Both hold what they know in the same [`Books`].
//!
//! Always holds: an image is a pure function of the messages it was given, in their order.
//! Does not: match, check risk, or touch files and sockets.

mod books;
mod day_statistics;
mod event_image;
mod fault;
mod feed_image;
mod kept;
mod order_hash;
mod queue;
mod source;
mod status;
mod trading_state;

pub use books::{Book, BookCursor, Books, Extras, LevelCursor, LevelView, Top};
pub use event_image::{BookImage, Change};
pub use fault::ImageFault;
pub use feed_image::{Applied, FeedImage, Flow};
pub use queue::RestingOrder;
pub use source::Source;
pub use trading_state::TradingState;
