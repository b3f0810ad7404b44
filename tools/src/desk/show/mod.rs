//! `exahour operate show`: what each instrument is and how it trades now.
//!
//! Called by `operate`.
//!
//! Always holds: terms and state are those that the engine told of in answer to a question, in its order
//! among all commands; names and places of delivery are the feed's.

mod report;
mod text;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use exahour_gateway::client::{Client, ClientEvent, TypedReport};
use exahour_wire::codes::{Phase, Raw};
use exahour_wire::events::{InstrumentStatus, InstrumentTerms};
use exahour_wire::ids::{InstrumentId, SessionId};
use exahour_wire::message::Message;
use exahour_wire::operations::InstrumentStatusRequest;
use exahour_wire::reject::Reject;

use self::report::{InstrumentReport, reports};
use super::{ANSWER_WITHIN, Heard, Sent, fresh_name, leave, reason_text};
use crate::connection::NodeArguments;
use crate::exit::finding;
use crate::listings::{InstrumentName, Listings};
use crate::output::{print, print_json};

/// How long a session that asks too fast waits before it asks again.
const THROTTLED_FOR: Duration = Duration::from_millis(50);

/// Show what instruments are and how they trade: terms, phase, calendar, guards, halts, auctions.
///
/// Without an instrument, all that are listed, a line each; `exahour operate show 1` tells everything of one.
#[derive(Clone, Debug, Args)]
pub(super) struct Arguments {
    /// Their numbers or symbols [default: all].
    #[arg(value_name = "INSTRUMENT")]
    instruments: Vec<InstrumentName>,
    /// The session that asks; every session may.
    #[arg(long, value_name = "N", default_value_t = 9)]
    session: u32,
    #[command(flatten)]
    node: NodeArguments,
    /// Write JSON, one object an instrument.
    #[arg(long)]
    json: bool,
}

/// Asks the exchange and prints what it answers.
///
/// # Errors
/// Where nobody listens, or something that is named is not listed.
pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let listings = Listings::read(arguments.node.market_data()?)?;
    let named = arguments.instruments.iter().map(|name| match name {
        InstrumentName::Number(id) => listings.known(*id),
        InstrumentName::Symbol(symbol) => listings.id_of(symbol),
    });
    let named = named.collect::<Result<Vec<_>>>()?;
    // Who is halted with an instrument is known from the others: all are asked for.
    let mut client = arguments.node.connect(SessionId(arguments.session))?;
    let answers = listings.ids().map(|id| ask(&mut client, id));
    let answers = answers.collect::<Result<Vec<_>>>();
    leave(client);
    let reports = reports(&listings, &answers?);
    let shown: Vec<&InstrumentReport> = match named.is_empty() {
        true => reports.iter().collect(),
        false => {
            let of = |id: &InstrumentId| reports.iter().find(|it| it.instrument == id.0);
            named.iter().filter_map(of).collect()
        }
    };
    if arguments.json {
        return shown.into_iter().try_for_each(print_json);
    }
    print(&match named.is_empty() {
        true => text::table(&shown),
        false => text::in_full(&shown),
    })
}

/// The instruments that follow another and are halted now.
///
/// # Errors
/// As [`run`].
pub(super) fn halted_with(
    client: &mut Client,
    listings: &Listings,
    leader: InstrumentId,
) -> Result<Vec<InstrumentId>> {
    let mut halted = Vec::new();
    for id in listings.ids().filter(|id| *id != leader) {
        let (_, status) = ask(client, id)?;
        if status.linked == leader && status.phase == Phase::Halted.into() {
            halted.push(id);
        }
    }
    Ok(halted)
}

/// What the engine answers: the terms of an instrument, and how it trades.
type Answer = (InstrumentTerms, InstrumentStatus);

fn ask(client: &mut Client, instrument: InstrumentId) -> Result<Answer> {
    let end = Instant::now() + ANSWER_WITHIN;
    while Instant::now() < end {
        let question = InstrumentStatusRequest {
            request: fresh_name(),
            instrument,
            ..InstrumentStatusRequest::blank()
        };
        let sent = Sent::send(client, &question, question.request, "")?;
        match await_answer(client, &sent, end)? {
            Ok(answer) => return Ok(answer),
            Err(reason) if reason == Reject::Throttled.into() => {
                // Reports to the session's own orders may come meanwhile; they are of no matter here.
                let until = Instant::now() + THROTTLED_FOR;
                while Instant::now() < until {
                    client.wait(until.saturating_duration_since(Instant::now()))?;
                }
            }
            Err(reason) => {
                let reason = reason_text(reason);
                let refused = anyhow!("the exchange does not tell of {instrument}: {reason}");
                return Err(finding(refused));
            }
        }
    }
    Err(finding(anyhow!(
        "the session's throttle lets no question through: ask with another --session"
    )))
}

/// The answer to a question; whatever else is reported to the session is of no matter here.
fn await_answer(
    client: &mut Client,
    sent: &Sent,
    end: Instant,
) -> Result<Result<Answer, Raw<Reject>>> {
    let mut terms = None;
    loop {
        match client.wait(end.saturating_duration_since(Instant::now()))? {
            Some(ClientEvent::Report(report)) => {
                match (sent.hear(report.bytes()), report.typed()) {
                    (Heard::Done, TypedReport::Terms(told)) => terms = Some(told),
                    (Heard::Done, TypedReport::Instrument(status)) => {
                        let terms =
                            terms.context("the exchange told how it trades, and no terms")?;
                        return Ok(Ok((terms, status)));
                    }
                    (Heard::Refused(reason), _) => return Ok(Err(reason)),
                    _ => {}
                }
            }
            Some(ClientEvent::Established { .. }) => {}
            Some(ClientEvent::Terminated { code, detail }) => {
                bail!("the exchange ended the session: {code:?} (detail {detail})")
            }
            Some(_) => {
                let busy = anyhow!("the exchange is busy and did not take it: try again");
                return Err(finding(busy));
            }
            None => bail!(
                "no answer within {} s: is the node overloaded?",
                ANSWER_WITHIN.as_secs()
            ),
        }
    }
}
