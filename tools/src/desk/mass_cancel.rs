//! `exahour mass-cancel`: cancels every order of a session, an account, an instrument or the whole firm.
//!
//! Called by the command line.

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use exahour_wire::codes::Scope;
use exahour_wire::ids::SessionId;
use exahour_wire::message::Message;
use exahour_wire::orders::MassCancel;

use super::{Sent, follow_to_count, fresh_name, leave};
use crate::connection::{NodeArguments, owner_of};
use crate::listings::InstrumentName;
use crate::output::print;

/// Cancel every order of a session, an account, an instrument or the whole firm.
#[derive(Clone, Debug, Args)]
#[command(
    override_usage = "exahour mass-cancel [OPTIONS] [session [N] | account <N> | instrument <INSTRUMENT> | firm]",
    after_help = "Examples:\n  exahour mass-cancel                 all orders of session 1\n  \
                  exahour mass-cancel instrument 1    all orders of the firm in instrument 1\n  \
                  exahour mass-cancel firm            all orders of the firm"
)]
pub struct Arguments {
    /// Whose orders: `session`, the one that says it or another of the firm; `account N`;
    /// `instrument` and its number or symbol; `firm`, all of them.
    #[arg(value_names = ["WHOSE", "N"], num_args = 0..=2)]
    words: Vec<String>,
    /// The session that says it.
    #[arg(long, value_name = "N", default_value_t = 1)]
    session: u32,
    /// The firm that the session belongs to [default: as the configuration says].
    #[arg(long, value_name = "N")]
    participant: Option<u32>,
    #[command(flatten)]
    node: NodeArguments,
    /// Write reports as JSON, one a line.
    #[arg(long)]
    json: bool,
}

/// Cancels them.
///
/// # Errors
/// Where nobody listens, what is named is not the firm's, or the exchange refuses.
pub fn run(arguments: &Arguments) -> Result<()> {
    let (scope, target) = target(arguments)?;
    let mut client = arguments.node.connect(SessionId(arguments.session))?;
    let command = MassCancel {
        request: fresh_name(),
        target,
        scope: scope.into(),
        ..MassCancel::blank()
    };
    let doubt = "`exahour orders --all` shows which orders are live";
    let sent = Sent::send(&mut client, &command, command.request, doubt)?;
    let outcome = follow_to_count(&mut client, &sent, arguments.json);
    leave(client);
    let count = outcome?;
    match (arguments.json, count) {
        (true, _) => Ok(()),
        (false, 1) => print("1 order is cancelled\n"),
        (false, count) => print(&format!("{count} orders are cancelled\n")),
    }
}

/// What is named, and its number.
fn target(arguments: &Arguments) -> Result<(Scope, u32)> {
    let number = |what: &str, text: &str| {
        let number = text.parse::<u32>();
        number.map_err(|_| anyhow!("`{text}` is not the number of {what}"))
    };
    let words: Vec<&str> = arguments.words.iter().map(String::as_str).collect();
    Ok(match words[..] {
        [] | ["session"] => (Scope::Session, arguments.session),
        ["session", text] => (Scope::Session, number("a session", text)?),
        ["account", text] => (Scope::Account, number("an account", text)?),
        ["instrument", name] => {
            let name: InstrumentName = name
                .parse()
                .map_err(|error| anyhow!("`{name}` is no instrument: {error}"))?;
            (Scope::Instrument, name.resolve(&arguments.node)?.0)
        }
        ["firm"] => (Scope::Participant, firm(arguments)?),
        _ => bail!(
            "whose orders? write `session`, `session 2`, `account 100`, `instrument 1` or `firm`"
        ),
    })
}

fn firm(arguments: &Arguments) -> Result<u32> {
    if let Some(participant) = arguments.participant {
        return Ok(participant);
    }
    let genesis = arguments.node.node_config()?.genesis;
    let session = SessionId(arguments.session);
    let owner = owner_of(&genesis, session).with_context(|| {
        format!(
            "the participant of session {session} is not known here: name it with --participant"
        )
    })?;
    Ok(owner.0)
}
