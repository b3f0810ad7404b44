//! The words of the exchange: units, ids, codes and every message that crosses a socket, the
//! journal or the event log.
//!
//! Used by every other crate. `schema/exahour.xml` is the published contract; the structs here are
//! its Rust form, and a test compares the two field by field.
//!
//! Always holds: a message is its SBE bytes. It is read and written in place, never re-encoded.
//! Does not: know what a message means (that is `engine`), nor how it travels (that is `gateway`).

#[cfg(target_endian = "big")]
compile_error!("Exahour's wire format is little-endian and is read in place");

pub mod catalogue;
pub mod codes;
pub mod events;
pub mod framing;
pub mod ids;
pub mod internal;
pub mod limits;
pub mod market_data;
pub mod message;
pub mod operations;
pub mod orders;
pub mod record;
pub mod reject;
pub mod session;
pub mod units;
