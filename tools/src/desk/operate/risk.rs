//! What stops a firm or lets it trade again, and what it may hold: kill switches, position limits, money,
//! settlement prices.
//!
//! Called by `operate`.

use anyhow::Result;
use clap::{Args, ValueEnum};
use exahour_wire::codes::{KillAction, Scope};
use exahour_wire::ids::{AccountId, ClientOrderId, SessionId};
use exahour_wire::message::Message;
use exahour_wire::operations::{
    ConfirmRelease, Deposit, KillSwitch, SetPositionLimit, SettlePrice, Withdraw,
};
use exahour_wire::units::{Money, Price, Quantity};

use super::{DOUBT, Sender, price};
use crate::desk::{Sent, follow_to_count, fresh_name, leave};
use crate::listings::InstrumentName;

/// Whom a kill switch stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Whom {
    /// One session.
    Session,
    /// One account.
    Account,
    /// A whole firm: its number as a participant.
    Firm,
}

impl Whom {
    fn scope(self) -> Scope {
        match self {
            Self::Session => Scope::Session,
            Self::Account => Scope::Account,
            Self::Firm => Scope::Participant,
        }
    }

    fn named(self, number: u32) -> String {
        let what = match self {
            Self::Session => "session",
            Self::Account => "account",
            Self::Firm => "firm",
        };
        format!("{what} {number}")
    }
}

/// Whom, and who says so.
#[derive(Clone, Debug, Args)]
pub(super) struct Stopped {
    /// What is meant: a session, an account or a firm.
    #[arg(value_name = "WHOM", value_enum)]
    whom: Whom,
    /// Its number.
    #[arg(value_name = "N")]
    number: u32,
    #[command(flatten)]
    sender: Sender,
}

/// Cancels every order of whom is named, and lets no new one in.
pub(super) fn kill(arguments: &Stopped) -> Result<()> {
    let Stopped {
        whom,
        number,
        sender,
    } = arguments;
    let command = KillSwitch {
        request: fresh_name(),
        target: *number,
        scope: whom.scope().into(),
        action: KillAction::Engage.into(),
        ..KillSwitch::blank()
    };
    let mut client = sender.node.connect(SessionId(sender.session))?;
    let sent = Sent::send(&mut client, &command, command.request, DOUBT)?;
    // Where the sender's own orders are among them, their reports come first.
    let outcome = follow_to_count(&mut client, &sent, sender.json);
    leave(client);
    let count = outcome?;
    let orders = match count {
        1 => "1 order is cancelled".to_owned(),
        _ => format!("{count} orders are cancelled"),
    };
    sender.tell(&format!("{} is stopped; {orders}", whom.named(*number)))
}

/// Asks that what a kill switch has stopped may trade again.
pub(super) fn ask_release(arguments: &Stopped) -> Result<()> {
    let command = KillSwitch {
        request: fresh_name(),
        target: arguments.number,
        scope: arguments.whom.scope().into(),
        action: KillAction::Release.into(),
        ..KillSwitch::blank()
    };
    let done = format!(
        "{} is stopped still: an operator of another firm must say `confirm-release`",
        arguments.whom.named(arguments.number)
    );
    arguments.sender.say(&command, command.request, &done)
}

/// Confirms what another operator has asked.
pub(super) fn confirm_release(arguments: &Stopped) -> Result<()> {
    let command = ConfirmRelease {
        request: fresh_name(),
        target: arguments.number,
        scope: arguments.whom.scope().into(),
        ..ConfirmRelease::blank()
    };
    let whom = arguments.whom.named(arguments.number);
    arguments.sender.say(
        &command,
        command.request,
        &format!("{whom} may trade again"),
    )
}

/// How much of an instrument an account may hold.
#[derive(Clone, Debug, Args)]
pub(super) struct PositionLimit {
    /// The account.
    #[arg(value_name = "ACCOUNT")]
    account: u32,
    /// The instrument's number or symbol.
    #[arg(value_name = "INSTRUMENT")]
    instrument: InstrumentName,
    /// The largest position in lots, long or short, open orders counted at their worst.
    #[arg(value_name = "LOTS")]
    lots: u64,
    #[command(flatten)]
    sender: Sender,
}

/// Sets it.
pub(super) fn position_limit(arguments: &PositionLimit) -> Result<()> {
    let sender = &arguments.sender;
    let instrument = sender.instrument(&arguments.instrument)?;
    let command = SetPositionLimit {
        request: fresh_name(),
        account: AccountId(arguments.account),
        instrument,
        position_max: Quantity(arguments.lots),
        ..SetPositionLimit::blank()
    };
    let PositionLimit { account, lots, .. } = arguments;
    let done = format!("account {account} may hold {lots} lots of instrument {instrument}");
    sender.say(&command, command.request, &done)
}

/// Money that comes to an account from outside, or goes.
#[derive(Clone, Debug, Args)]
pub(super) struct Cash {
    /// The account.
    #[arg(value_name = "ACCOUNT")]
    account: u32,
    /// How much, in dollars.
    #[arg(value_name = "DOLLARS", value_parser = money)]
    amount: Money,
    #[command(flatten)]
    sender: Sender,
}

impl Cash {
    /// What to do where nobody knows whether money has moved: it is not to move twice.
    fn doubt(&self, request: ClientOrderId) -> String {
        format!(
            "it is not known whether the money moved: before you say it again, and when the node answers \
             again, look whether `exahour audit {} --who account {}` tells of request={request}",
            self.sender.node.data.display(),
            self.account
        )
    }
}

/// Pays it in.
pub(super) fn deposit(arguments: &Cash) -> Result<()> {
    let command = Deposit {
        request: fresh_name(),
        account: AccountId(arguments.account),
        amount: arguments.amount,
        ..Deposit::blank()
    };
    let Cash {
        account, amount, ..
    } = arguments;
    let done = format!("account {account} has {amount} dollars more");
    let doubt = arguments.doubt(command.request);
    arguments
        .sender
        .say_or(&command, command.request, &done, doubt)
}

/// Pays it out.
pub(super) fn withdraw(arguments: &Cash) -> Result<()> {
    let command = Withdraw {
        request: fresh_name(),
        account: AccountId(arguments.account),
        amount: arguments.amount,
        ..Withdraw::blank()
    };
    let Cash {
        account, amount, ..
    } = arguments;
    let done = format!("account {account} has {amount} dollars less");
    let doubt = arguments.doubt(command.request);
    arguments
        .sender
        .say_or(&command, command.request, &done, doubt)
}

/// The price at which all positions of an instrument are carried.
#[derive(Clone, Debug, Args)]
pub(super) struct Settlement {
    /// The instrument's number or symbol.
    #[arg(value_name = "INSTRUMENT")]
    instrument: InstrumentName,
    /// The settlement price in dollars.
    #[arg(value_name = "PRICE", value_parser = price)]
    price: Price,
    #[command(flatten)]
    sender: Sender,
}

/// Marks them to it.
pub(super) fn settle(arguments: &Settlement) -> Result<()> {
    let instrument = arguments.sender.instrument(&arguments.instrument)?;
    let command = SettlePrice {
        request: fresh_name(),
        instrument,
        price: arguments.price,
        ..SettlePrice::blank()
    };
    let done = format!(
        "all positions in instrument {instrument} are carried at {}",
        arguments.price
    );
    arguments.sender.say(&command, command.request, &done)
}

fn money(text: &str) -> Result<Money, String> {
    text.parse::<Money>()
        .map_err(|error| format!("expected an amount in dollars such as 1000 or 12.50: {error}"))
}
