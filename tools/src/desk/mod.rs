//! The small client: `order`, `replace`, `cancel`, `mass-cancel`, `quote`, `status`, `orders`, `book`, `key` and
//! `operate` from the command line.
//!
//! Called by the command line. Each call connects, does one thing and leaves; orders stay.
//!
//! Always holds: what is printed is what the exchange reported; reports are in the words of the schema.
//! Does not: keep a session's state between two calls; a new version of the session is negotiated.

pub mod book;
pub mod cancel;
mod choice;
pub mod key;
pub mod mass_cancel;
pub mod operate;
pub mod order;
pub mod orders;
pub mod quote;
pub mod replace;
mod show;
pub mod status;

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use exahour_gateway::client::{Client, ClientError, ClientEvent};
use exahour_gateway::clock::{Clock, SystemClock};
use exahour_wire::codes::{Enumeration, Raw};
use exahour_wire::events::{CommandRejected, OrderRejected};
use exahour_wire::ids::{ClientOrderId, CommandSequence};
use exahour_wire::message::Message;
use exahour_wire::reject::Reject;

use crate::exit::finding;
use crate::output::{print, print_json};
use crate::text::{JsonForm, Verbosity, write_line};

/// How long the exchange may take to answer a command.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A name for an order or request that no live one of ours has: the time in nanoseconds.
fn fresh_name() -> ClientOrderId {
    ClientOrderId(SystemClock::default().now().0)
}

/// Prints a message, as a line or as a JSON object.
fn print_message(message: &[u8], json: bool) -> Result<()> {
    if json {
        return print_json(&JsonForm::new(message)?);
    }
    let mut text = String::new();
    write_line(message, Verbosity::Brief, &mut text)?;
    text.push('\n');
    print(&text)
}

/// The exchange's own words for a reason.
fn reason_text(reason: Raw<Reject>) -> String {
    let number = u64::from(reason.0);
    let named = Reject::TABLE.iter().find(|(it, _, _)| *it == number);
    match named {
        Some((_, name, description)) => format!("{name}: {}", description.trim()),
        None => format!("reason {number}"),
    }
}

/// Waits for the answer to the command just sent, then for what else happens for `patience`; shows
/// every report to `on_report`, which says when it has seen enough. A refusal is the end.
fn follow(
    client: &mut Client,
    patience: Duration,
    json: bool,
    on_report: impl FnMut(&[u8]) -> Seen,
) -> Result<()> {
    follow_all(client, patience, json, Refusals::OfAll, on_report)
}

/// What a refusal is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusals {
    /// Of what was sent: nothing else comes.
    OfAll,
    /// Where it is of an order: of a part of what was sent, and more comes.
    OfParts,
}

/// As [`follow`], where parts of what was sent may be refused by themselves: the first one is the error
/// that is returned in the end.
fn follow_all(
    client: &mut Client,
    patience: Duration,
    json: bool,
    refusals: Refusals,
    mut on_report: impl FnMut(&[u8]) -> Seen,
) -> Result<()> {
    let mut outcome = Ok(());
    let mut until = Instant::now() + ANSWER_WITHIN;
    let mut answered: Option<CommandSequence> = None;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let event = match client.wait(left) {
            Ok(event) => event,
            Err(error @ ClientError::Disconnected { .. }) => {
                bail!("{error}; `exahour orders` shows what became of the order")
            }
            Err(error) => return Err(error.into()),
        };
        match event {
            Some(ClientEvent::Report(report)) => {
                print_message(report.bytes(), json)?;
                let part = OrderRejected::read(report.bytes()).map(|it| it.reason);
                let whole = CommandRejected::read(report.bytes()).map(|it| it.reason);
                if let Some(reason) = part.or(whole) {
                    let reason = reason_text(reason);
                    let refused = Err(finding(anyhow!("the exchange refused it: {reason}")));
                    if whole.is_some() || refusals == Refusals::OfAll {
                        return refused;
                    }
                    outcome = outcome.and(refused);
                }
                if answered.is_none() {
                    answered = Some(report.prefix().command);
                    until = Instant::now() + patience;
                }
                match on_report(report.bytes()) {
                    Seen::Enough => return outcome,
                    Seen::Part => {}
                }
            }
            Some(ClientEvent::Busy { .. }) => {
                let busy = anyhow!("the exchange is busy and did not take it: try again");
                return Err(finding(busy));
            }
            Some(ClientEvent::NotApplied { .. }) => {
                return Err(finding(anyhow!("the exchange did not apply it: try again")));
            }
            Some(ClientEvent::Terminated { code, detail }) => {
                bail!("the exchange ended the session: {code:?} (detail {detail})")
            }
            None if answered.is_some() => return outcome,
            None => bail!(
                "no answer within {} s: is the node overloaded?",
                ANSWER_WITHIN.as_secs()
            ),
        }
    }
}

/// Whether more is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Part,
    Enough,
}

/// Leaves in good order; what can go wrong then concerns nobody.
fn leave(mut client: Client) {
    let _ = client.terminate();
}
