//! Holds the published schema, the structs, the golden bytes and the guide to each other.
//!
//! `schema` compares `schema/exahour.xml` with the Rust tables, `golden` fixes the bytes of every
//! message, `decoders` and `reference` have other people's decoders read them, `random` throws
//! bytes at every reader, `guide` checks what `docs/WIRE.md` shows.
//!
//! Always holds: the XML is read as a stranger would read it, never through the structs.
//! `UPDATE_EXPECT=1` rewrites golden files and the examples of the guide; look at the difference.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod xml;

mod layout;

mod agreement;

mod lint;

mod schema;

mod every;

mod samples;

mod golden;

mod decoders;

mod reference;

mod random;

mod guide;
