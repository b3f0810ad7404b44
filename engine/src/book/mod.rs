//! The order book: price-time priority.
//!
//! `orders` is the table of all live orders of the exchange, `levels` the prices of one
//! book with their queues. Called by `execute` only; knows nothing of money or sessions.
//!
//! Always holds: levels are in price order, orders of a level in time order, and a level's total is
//! the sum of its orders' open lots.

mod levels;
mod orders;

pub(crate) use levels::Book;
pub(crate) use orders::{Extent, NO_ORDER, Order, OrderTable, SERIAL_MAX, Slot};
