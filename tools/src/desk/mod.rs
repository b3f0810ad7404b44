//! The small client: `order`, `replace`, `cancel`, `mass-cancel`, `quote`, `order-status`, `orders`, `book`, `key` and
//! `operate` from the command line.
//!
//! Called by the command line. Each call connects, does one thing and leaves; orders stay.
//!
//! Always holds: what is printed is what the exchange reported; reports are in the words of the schema.
//! Does not: keep a session's state between two calls; a new version of the session is negotiated.

pub mod book;
mod choice;
pub mod key;
pub mod mass_cancel;
pub mod one_order;
pub mod operate;
pub mod order;
pub mod orders;
pub mod quote;
pub mod replace;
mod sent;
mod show;

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use exahour_gateway::client::{Client, ClientEvent};
use exahour_gateway::clock::{Clock, SystemClock};
use exahour_wire::codes::{Enumeration, Raw};
use exahour_wire::events::CommandDone;
use exahour_wire::ids::ClientOrderId;
use exahour_wire::message::Message;
use exahour_wire::reject::Reject;

pub(crate) use self::order::span;
use self::sent::{Heard, Sent};
use crate::exit::finding;
use crate::output::{print, print_json};
use crate::text::{JsonForm, Verbosity, write_line};

/// How long the exchange may take to answer a command.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Where the answer to something about an order does not come.
const ORDER_DOUBT: &str = "`exahour orders` shows what became of the order";

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

/// Waits for the answer to a command, then for what else happens for `patience`. `on_report` is shown the
/// answer and every report behind it, and says when it has seen enough. A refusal is the end; where only
/// sides of a quote are refused the answer is waited for, and the first refusal is the error in the end.
fn follow(
    client: &mut Client,
    sent: &Sent,
    patience: Duration,
    json: bool,
    mut on_report: impl FnMut(&[u8]) -> Seen,
) -> Result<()> {
    let mut outcome = Ok(());
    let mut until = Instant::now() + ANSWER_WITHIN;
    let mut answered = false;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let event = match client.wait(left) {
            Ok(event) => event,
            Err(error) if answered => return Err(error.into()),
            Err(error) => bail!("{error}; {}", sent.doubt()),
        };
        match event {
            Some(ClientEvent::Report(report)) => {
                print_message(report.bytes(), json)?;
                match sent.hear(report.bytes()) {
                    Heard::Nothing => {}
                    Heard::Refused(reason) => return Err(refusal(reason)),
                    Heard::PartRefused(reason) => outcome = outcome.and(Err(refusal(reason))),
                    Heard::Done if answered => {}
                    Heard::Done => {
                        answered = true;
                        until = Instant::now() + patience;
                    }
                }
                if answered && on_report(report.bytes()) == Seen::Enough {
                    return outcome;
                }
            }
            Some(ClientEvent::Busy { .. }) => {
                let busy = anyhow!("the exchange is busy and did not take it: try again");
                return Err(finding(busy));
            }
            Some(ClientEvent::NotApplied { .. }) => {
                return Err(finding(anyhow!("the exchange did not apply it: try again")));
            }
            Some(ClientEvent::Established { .. }) => {}
            Some(ClientEvent::Terminated { code, detail }) => bail!(
                "the exchange ended the session: {code:?} (detail {detail}); {}",
                sent.doubt()
            ),
            None if answered => return outcome,
            None => bail!(
                "no answer within {} s: is the node overloaded? {}",
                ANSWER_WITHIN.as_secs(),
                sent.doubt()
            ),
        }
    }
}

/// As [`follow`], for a command that is answered when all of it is done; gives how many things it changed.
fn follow_to_count(client: &mut Client, sent: &Sent, json: bool) -> Result<u64> {
    let mut count = 0;
    follow(client, sent, Duration::ZERO, json, |report| {
        count = CommandDone::read(report).map_or(0, |done| done.count);
        Seen::Enough
    })?;
    Ok(count)
}

fn refusal(reason: Raw<Reject>) -> anyhow::Error {
    finding(anyhow!("the exchange refused it: {}", reason_text(reason)))
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
