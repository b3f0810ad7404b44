//! Book images: every resting order of every instrument, kept by following messages.
//!
//! [`BookImage`] follows the event log; market data and audit use it. [`FeedImage`] follows the
//! public feed; clients use it. Both hold their orders in the same [`Books`].
//!
//! Always holds: an image is a pure function of the messages it was given, in their order.
//! Does not: match, check risk, or touch files and sockets.

mod books;
mod event_image;
mod fault;
mod feed_image;
mod order_hash;
mod queue;

pub use books::{Book, BookCursor, Books, LevelView, Top};
pub use event_image::{BookImage, Change};
pub use fault::ImageFault;
pub use feed_image::{Applied, FeedImage, Flow};
pub use queue::RestingOrder;
