//! The short forms of operations: members, accounts, contracts, money, kill switches, deliveries.
//!
//! Called by the statement parser. Every default is stated in docs/SCRIPT.md.

use exahour_wire::codes::{
    ContractKind, Firmness, KillAction, Permissions, Raw, ResourceClass, Scope,
};
use exahour_wire::ids::{
    AccountId, ClientOrderId, InstrumentId, ObligationId, ParticipantId, SessionId, TradeId,
};
use exahour_wire::message::{AccessKey, Digest, Evidence, Ipv4, Message, Text8, Text16, Text32};
use exahour_wire::operations::{
    BustTrade, ConfirmDelivery, ConfirmRelease, CorrectTrade, CreateAccount, CreateInstrument,
    CreateParticipant, CreateSession, DeliveryFailed, DeliveryStarted, Deposit, KillSwitch,
    RegisterAccessKey, SessionActivityRequest, SetPositionLimit, SettlePrice, Withdraw,
};
use exahour_wire::units::{Hours, Money, Nanos, PartsPerMillion, Price, Quantity};

use super::memory::Memory;
use super::order_entry::{price_at, unknown_option};
use super::phrase::{Phrase, Word, number_of};
use super::statement::Draft;
use crate::text::{Misfit, parse_set};

/// Understands an operation, or gives `None` where the verb is none of these.
///
/// # Errors
/// [`Misfit`] with the place.
pub(super) fn parse(
    verb: Word<'_>,
    phrase: &mut Phrase<'_>,
    memory: &Memory,
) -> Result<Option<Vec<Draft>>, Misfit> {
    let draft = match verb.text {
        "participant" => participant(phrase)?,
        "account" => return account(phrase).map(Some),
        "session" => session(phrase)?,
        "instrument" => instrument(phrase, memory)?,
        "limit" => limit(phrase)?,
        "deposit" => deposit(phrase)?,
        "withdraw" => withdraw(phrase)?,
        "kill" => kill(KillAction::Engage, phrase)?,
        "release" => kill(KillAction::Release, phrase)?,
        "confirm" => confirm(phrase)?,
        "activity" => activity(phrase)?,
        "bust" => bust(phrase)?,
        "correct" => correct(phrase)?,
        "settle" => settle(phrase)?,
        "key" => key(phrase)?,
        "machine" => machine(phrase)?,
        "deliver" => deliver(phrase)?,
        "fail" => fail(phrase)?,
        _ => return Ok(None),
    };
    Ok(Some(vec![draft]))
}

/// The request number of the line; to be asked for after all options.
fn request(phrase: &mut Phrase<'_>) -> Result<ClientOrderId, Misfit> {
    phrase.finish()?;
    Ok(ClientOrderId(phrase.request.unwrap_or(0)))
}

/// A text in double quotes, if the next word is one.
fn quoted<T>(
    phrase: &mut Phrase<'_>,
    fits: impl Fn(&str) -> Option<T>,
    expected: &str,
) -> Result<Option<T>, Misfit> {
    match phrase.peek() {
        Some(word) if word.text.starts_with('"') => text_of(phrase, fits, expected).map(Some),
        _ => Ok(None),
    }
}

/// A text, with or without double quotes.
fn text_of<T>(
    phrase: &mut Phrase<'_>,
    fits: impl Fn(&str) -> Option<T>,
    expected: &str,
) -> Result<T, Misfit> {
    let word = phrase.word(expected)?;
    let inner = word
        .text
        .strip_prefix('"')
        .map_or(Some(word.text), |text| text.strip_suffix('"'));
    inner
        .and_then(fits)
        .ok_or_else(|| word.misfit(format!("`{}` does not fit", word.text), expected))
}

const NAME: &str = "a name of at most 32 printable ASCII characters in double quotes";

/// `participant ID ["NAME"]`.
fn participant(phrase: &mut Phrase<'_>) -> Result<Draft, Misfit> {
    let participant = ParticipantId(phrase.number("a participant id")?);
    let name = quoted(phrase, Text32::new, NAME)?;
    let usual = Text32::new(&format!("Participant {participant}")).unwrap_or_default();
    let request = request(phrase)?;
    let name = name.unwrap_or(usual);
    let command = CreateParticipant {
        request,
        participant,
        name,
        ..CreateParticipant::blank()
    };
    Ok(Draft::new(&command))
}

/// `account ID of PARTICIPANT ["NAME"] [deposit AMOUNT]`.
fn account(phrase: &mut Phrase<'_>) -> Result<Vec<Draft>, Misfit> {
    let account = AccountId(phrase.number("an account id")?);
    phrase.keyword("of")?;
    let participant = ParticipantId(phrase.number("a participant id")?);
    let name = quoted(phrase, Text32::new, NAME)?;
    let usual = Text32::new(&format!("Account {account}")).unwrap_or_default();
    let mut amount = None;
    while let Some(word) = phrase.option()? {
        match word.text {
            "deposit" => amount = Some(phrase.money()?),
            _ => return Err(unknown_option(word, "`\"NAME\"`, then `deposit AMOUNT`")),
        }
    }
    let request = ClientOrderId(phrase.request.unwrap_or(0));
    let name = name.unwrap_or(usual);
    let command = CreateAccount {
        request,
        account,
        participant,
        name,
        ..CreateAccount::blank()
    };
    let mut drafts = vec![Draft::new(&command)];
    if let Some(amount) = amount {
        drafts.push(Draft::new(&Deposit {
            request,
            account,
            amount,
            ..Deposit::blank()
        }));
    }
    Ok(drafts)
}

/// `session ID of PARTICIPANT [may PERMISSION,...] [throttle RATE/s burst N]`.
fn session(phrase: &mut Phrase<'_>) -> Result<Draft, Misfit> {
    let new_session = SessionId(phrase.number("a session id")?);
    phrase.keyword("of")?;
    let participant = ParticipantId(phrase.number("a participant id")?);
    let mut command = CreateSession {
        new_session,
        participant,
        permissions: Permissions::TRADE,
        ..CreateSession::blank()
    };
    while let Some(word) = phrase.option()? {
        match word.text {
            "may" => command.permissions = permissions(phrase)?,
            "throttle" => {
                let expected = "messages a second, such as 100/s";
                let word = phrase.word(expected)?;
                let digits = word.text.strip_suffix("/s").unwrap_or(word.text);
                command.throttle_rate = number_of(word, digits, expected)?;
                // A second's worth at once, unless the line says otherwise.
                command.throttle_burst = command.throttle_rate;
            }
            "burst" => command.throttle_burst = phrase.number("messages at once")?,
            _ => {
                return Err(unknown_option(
                    word,
                    "`may PERMISSION,...`, `throttle N/s`, `burst N`",
                ));
            }
        }
    }
    command.request = ClientOrderId(phrase.request.unwrap_or(0));
    Ok(Draft::new(&command))
}

fn permissions(phrase: &mut Phrase<'_>) -> Result<Permissions, Misfit> {
    let word = phrase.word("permissions, such as `trade,risk`")?;
    let set = parse_set(Permissions::TABLE, word.text)
        .map_err(|error| word.misfit(error.what, error.expected))?;
    let narrow = u32::try_from(set).map(Permissions);
    narrow.map_err(|_| word.misfit(format!("{} is too large", word.text), "32 bits"))
}

/// `instrument ID SYMBOL spot|future ...`.
fn instrument(phrase: &mut Phrase<'_>, memory: &Memory) -> Result<Draft, Misfit> {
    let usual_last = memory.now.after(Nanos(365 * Nanos::DAY.0));
    let mut listing = CreateInstrument {
        instrument: InstrumentId(phrase.number("an instrument id")?),
        symbol: text_of(
            phrase,
            Text16::new,
            "a symbol of at most 16 ASCII characters",
        )?,
        kind: phrase.named::<ContractKind>()?,
        class: ResourceClass::Gpu.into(),
        grade_performance: 2,
        grade_reliability: 2,
        grade_energy: 2,
        firmness: Firmness::Firm.into(),
        reference_version: 1,
        hours: Hours(1),
        zone: Text8::new("EU").unwrap_or_default(),
        tick: Price(10_000),
        last_trade_at: usual_last,
        initial_margin: Money(1_000_000),
        reference_price: Price(1_000_000),
        quantity_max: Quantity(1_000_000),
        notional_max: Money(1_000_000_000_000_000),
        protection: PartsPerMillion(50_000),
        ..CreateInstrument::blank()
    };
    let mut delivery_start = None;
    while let Some(word) = phrase.option()? {
        match word.text {
            "class" => listing.class = phrase.named()?,
            "grade" => grades(&mut listing, phrase)?,
            "firm" => listing.firmness = Firmness::Firm.into(),
            "preemptible" => listing.firmness = Firmness::Preemptible.into(),
            "hours" => listing.hours = Hours(phrase.number("whole hours")?),
            "zone" => listing.zone = text_of(phrase, Text8::new, "at most 8 ASCII characters")?,
            "tick" => listing.tick = phrase.price()?,
            "start" => delivery_start = Some(phrase.moment(memory.now)?),
            "last" => listing.last_trade_at = phrase.moment(memory.now)?,
            "margin" => listing.initial_margin = phrase.money()?,
            "reference" => listing.reference_price = phrase.price()?,
            "max-quantity" => listing.quantity_max = Quantity(phrase.number("lots")?),
            "max-value" => listing.notional_max = phrase.money()?,
            "collar" => listing.collar = phrase.fraction()?,
            "protection" => listing.protection = phrase.fraction()?,
            _ => return Err(unknown_option(word, INSTRUMENT_OPTIONS)),
        }
    }
    listing.delivery_start = delivery_start.unwrap_or(listing.last_trade_at);
    listing.request = ClientOrderId(phrase.request.unwrap_or(0));
    Ok(Draft::new(&listing))
}

const INSTRUMENT_OPTIONS: &str = "class, grade, firm, preemptible, hours, zone, tick, start, last, \
    margin, reference, max-quantity, max-value, collar, protection, or `field=value`";

/// `1/2/3`: performance, reliability, energy.
fn grades(listing: &mut CreateInstrument, phrase: &mut Phrase<'_>) -> Result<(), Misfit> {
    let expected = "three grades, such as 1/2/3";
    let word = phrase.word(expected)?;
    let mut parts = word.text.split('/');
    for grade in [
        &mut listing.grade_performance,
        &mut listing.grade_reliability,
        &mut listing.grade_energy,
    ] {
        *grade = number_of(word, parts.next().unwrap_or(""), expected)?;
    }
    match parts.next() {
        None => Ok(()),
        Some(_) => Err(word.misfit(format!("`{}` has more than three", word.text), expected)),
    }
}

/// `limit ACCOUNT on INSTRUMENT to LOTS`.
fn limit(phrase: &mut Phrase<'_>) -> Result<Draft, Misfit> {
    let account = AccountId(phrase.number("an account id")?);
    phrase.keyword("on")?;
    let instrument = InstrumentId(phrase.number("an instrument id")?);
    phrase.keyword("to")?;
    let position_max = Quantity(phrase.number("a number of lots")?);
    let request = request(phrase)?;
    Ok(Draft::new(&SetPositionLimit {
        request,
        account,
        instrument,
        position_max,
        ..SetPositionLimit::blank()
    }))
}

/// `deposit ACCOUNT AMOUNT`.
fn deposit(phrase: &mut Phrase<'_>) -> Result<Draft, Misfit> {
    let account = AccountId(phrase.number("an account id")?);
    let amount = phrase.money()?;
    let request = request(phrase)?;
    Ok(Draft::new(&Deposit {
        request,
        account,
        amount,
        ..Deposit::blank()
    }))
}

/// `withdraw ACCOUNT AMOUNT`.
fn withdraw(phrase: &mut Phrase<'_>) -> Result<Draft, Misfit> {
    let account = AccountId(phrase.number("an account id")?);
    let amount = phrase.money()?;
    let request = request(phrase)?;
    Ok(Draft::new(&Withdraw {
        request,
        account,
        amount,
        ..Withdraw::blank()
    }))
}

/// `kill SCOPE TARGET`, `release SCOPE TARGET`.
fn kill(action: KillAction, phrase: &mut Phrase<'_>) -> Result<Draft, Misfit> {
    let scope: Raw<Scope> = phrase.named()?;
    let target = phrase.number("the number of what is meant")?;
    let request = request(phrase)?;
    let action = action.into();
    Ok(Draft::new(&KillSwitch {
        request,
        target,
        scope,
        action,
        ..KillSwitch::blank()
    }))
}

/// `confirm SCOPE TARGET`.
fn confirm(phrase: &mut Phrase<'_>) -> Result<Draft, Misfit> {
    let scope: Raw<Scope> = phrase.named()?;
    let target = phrase.number("the number of what is meant")?;
    let request = request(phrase)?;
    Ok(Draft::new(&ConfirmRelease {
        request,
        target,
        scope,
        ..ConfirmRelease::blank()
    }))
}

/// `activity SESSION`.
fn activity(phrase: &mut Phrase<'_>) -> Result<Draft, Misfit> {
    let target = phrase.number("a session id")?;
    let request = request(phrase)?;
    Ok(Draft::new(&SessionActivityRequest {
        request,
        target,
        ..SessionActivityRequest::blank()
    }))
}

/// `bust TRADE`.
fn bust(phrase: &mut Phrase<'_>) -> Result<Draft, Misfit> {
    let trade = TradeId(phrase.number("a trade id")?);
    let request = request(phrase)?;
    Ok(Draft::new(&BustTrade {
        request,
        trade,
        ..BustTrade::blank()
    }))
}

/// `correct TRADE LOTS @ PRICE`.
fn correct(phrase: &mut Phrase<'_>) -> Result<Draft, Misfit> {
    let trade = TradeId(phrase.number("a trade id")?);
    let quantity = Quantity(phrase.number("a number of lots")?);
    let price = price_at(phrase)?;
    let request = request(phrase)?;
    Ok(Draft::new(&CorrectTrade {
        request,
        trade,
        price,
        quantity,
        ..CorrectTrade::blank()
    }))
}

/// `settle INSTRUMENT @ PRICE`.
fn settle(phrase: &mut Phrase<'_>) -> Result<Draft, Misfit> {
    let instrument = InstrumentId(phrase.number("an instrument id")?);
    let price = price_at(phrase)?;
    let request = request(phrase)?;
    Ok(Draft::new(&SettlePrice {
        request,
        instrument,
        price,
        ..SettlePrice::blank()
    }))
}

/// `key ACCOUNT HEX`.
fn key(phrase: &mut Phrase<'_>) -> Result<Draft, Misfit> {
    let account = AccountId(phrase.number("an account id")?);
    let key = AccessKey(phrase.hex()?);
    let request = request(phrase)?;
    Ok(Draft::new(&RegisterAccessKey {
        request,
        account,
        key,
        ..RegisterAccessKey::blank()
    }))
}

/// `machine OBLIGATION [at ADDRESS:PORT] [host-key HEX]`.
fn machine(phrase: &mut Phrase<'_>) -> Result<Draft, Misfit> {
    let mut report = DeliveryStarted {
        obligation: ObligationId(phrase.number("an obligation id")?),
        ..DeliveryStarted::blank()
    };
    while let Some(word) = phrase.option()? {
        match word.text {
            "at" => {
                let expected = "an address and a port, such as 127.0.0.1:22";
                let place = phrase.word(expected)?;
                let socket: std::net::SocketAddrV4 = place.text.parse().map_err(|_| {
                    place.misfit(format!("`{}` is not an address", place.text), expected)
                })?;
                (report.address, report.port) = (Ipv4(socket.ip().octets()), socket.port());
            }
            "host-key" => report.host_key = Digest(phrase.hex()?),
            _ => return Err(unknown_option(word, "`at ADDRESS:PORT`, `host-key HEX`")),
        }
    }
    Ok(Draft::new(&report))
}

/// What `deliver` and `fail` have in common: `OBLIGATION verified SPAN [evidence HEX]`.
fn verified(phrase: &mut Phrase<'_>) -> Result<(ObligationId, Nanos, Evidence), Misfit> {
    let obligation = ObligationId(phrase.number("an obligation id")?);
    phrase.keyword("verified")?;
    let verified = phrase.span()?;
    let mut evidence = Evidence::default();
    while let Some(word) = phrase.option()? {
        match word.text {
            "evidence" => evidence = Evidence(phrase.hex()?),
            _ => return Err(unknown_option(word, "`evidence HEX`, `request N`")),
        }
    }
    Ok((obligation, verified, evidence))
}

/// `deliver OBLIGATION verified SPAN [evidence HEX]`.
fn deliver(phrase: &mut Phrase<'_>) -> Result<Draft, Misfit> {
    let (obligation, verified, evidence) = verified(phrase)?;
    let request = request(phrase)?;
    Ok(Draft::new(&ConfirmDelivery {
        request,
        obligation,
        verified,
        evidence,
        ..ConfirmDelivery::blank()
    }))
}

/// `fail OBLIGATION verified SPAN [evidence HEX]`.
fn fail(phrase: &mut Phrase<'_>) -> Result<Draft, Misfit> {
    let (obligation, verified, evidence) = verified(phrase)?;
    let request = request(phrase)?;
    Ok(Draft::new(&DeliveryFailed {
        request,
        obligation,
        verified,
        evidence,
        ..DeliveryFailed::blank()
    }))
}
