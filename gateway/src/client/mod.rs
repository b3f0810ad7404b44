//! The client library: the other side of a session.
//!
//! Used by settlement, the command-line tools, load generators and tests; `Client` is the door.
//!
//! Always holds: every report is given to the user exactly once and in order, over any number of
//! lost connections and changes of leaders; every message sent is applied at most once, and what was
//! not is named.
//! Does not: resend. Only the user knows whether an order is still wanted.

mod config;
mod connection;
mod core;
mod error;
mod event;
mod held;
mod logon;
mod lost;
mod route;

pub use config::ClientConfig;
pub use connection::{Client, SessionPosition};
pub use error::ClientError;
pub use event::{ClientEvent, Report, TypedReport};
