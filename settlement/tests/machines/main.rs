//! The built-in provider, from outside: real guests on this host, real logins over TCP.
//!
//! Always holds: every test has its own folder and ends with nothing of it alive; a protection
//! that this host does not permit is skipped in plain words.

#![expect(clippy::expect_used, reason = "a test stops at its first surprise")]

mod beats;
mod crash;
mod guard;
mod life;
mod limits;
mod login;
mod support;
