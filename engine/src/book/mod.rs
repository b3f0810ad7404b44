//! The order book: price-time priority.
//!
//! `orders` is the table of all live orders of the exchange, `levels` the prices of one
//! book with their queues. Called by `execute` only; knows nothing of money or sessions.
//!
//! Always holds: levels are in price order, orders of a level in time order, and a level's total is
//! the sum of its orders' lots that are shown.

mod far;
mod hidden;
mod level;
mod levels;
mod names;
mod near;
mod orders;
mod sparse;

pub use hidden::Hidden;
pub use levels::{Book, Levels};
pub(crate) use names::Names;
pub(crate) use orders::{BESIDE, Beside, HELD, ICEBERG, SERIAL_MAX, slot_of};
pub use orders::{Extent, NO_EXTENT, NO_ORDER, Order, OrderTable, Reserve, Slot, VACANT};
