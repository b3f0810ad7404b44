//! Admission of operations: permissions, ids, ownership; and the registration of what is created.
//!
//! Always holds: the checks run in the order of the rulebook, section 6. What is refused is not
//! registered.

use exahour_wire::codes::{KillAction, Permissions, Raw, Scope};
use exahour_wire::ids::{
    AccountId, InstrumentId, MessageSequence, ParticipantId, SessionId, SessionVersion,
};
use exahour_wire::limits::{
    ACCOUNTS_MAX, FIRST_ACCOUNT, INSTRUMENTS_MAX, MONEY_MAX, PARTICIPANTS_MAX, POSITION_MAX,
    SESSIONS_MAX,
};
use exahour_wire::message::Text32;
use exahour_wire::operations::{
    ConfirmRelease, CreateAccount, CreateInstrument, CreateParticipant, CreateSession, KillSwitch,
    RegisterAccessKey, SessionActivityRequest, SetCalendar, SetCircuitBreaker, SetPositionLimit,
    SetPriceBand, SettlePrice,
};
use exahour_wire::reject::Reject;
use exahour_wire::units::{Money, Nanos};

use super::kill_switch::KillSwitch as Switch;
use super::registry::{AccountOwner, Participant, Registry};
use super::sessions::{Sender, Session, Sessions};
use super::throttle::Throttle;
use crate::terms::Terms;
use crate::trading::Calendar;

const MILLION: u32 = 1_000_000;

fn check_id(id: u32, first: u32, last: u32) -> Result<(), Reject> {
    if (first..=last).contains(&id) {
        Ok(())
    } else {
        Err(Reject::IdOutOfRange)
    }
}

fn check_name(name: &Text32) -> Result<(), Reject> {
    match name.as_str() {
        Some(text) if !text.is_empty() => Ok(()),
        _ => Err(Reject::InvalidDefinition),
    }
}

fn check_participant(registry: &Registry, id: ParticipantId) -> Result<(), Reject> {
    registry
        .participant(id)
        .map(|_| ())
        .ok_or(Reject::UnknownParticipant)
}

fn check_own_account(registry: &Registry, sender: &Sender, id: AccountId) -> Result<(), Reject> {
    let account = registry
        .account(id)
        .filter(|account| sender.owns(account.participant));
    account.map(|_| ()).ok_or(Reject::UnknownAccount)
}

pub(super) fn create_participant(
    registry: &mut Registry,
    sender: Sender,
    command: &CreateParticipant,
) -> Result<(), Reject> {
    sender.require(Permissions::OPERATOR)?;
    check_id(command.participant.0, 1, PARTICIPANTS_MAX)?;
    if registry.participant(command.participant).is_some() {
        return Err(Reject::AlreadyExists);
    }
    check_name(&command.name)?;
    *registry.participant_mut(command.participant) = Participant {
        exists: true,
        kill_switch: Switch::Released,
    };
    Ok(())
}

pub(super) fn create_account(
    registry: &mut Registry,
    sender: Sender,
    command: &CreateAccount,
) -> Result<(), Reject> {
    sender.require(Permissions::OPERATOR)?;
    check_id(command.account.0, FIRST_ACCOUNT.0, ACCOUNTS_MAX)?;
    if registry.account(command.account).is_some() {
        return Err(Reject::AlreadyExists);
    }
    check_participant(registry, command.participant)?;
    check_name(&command.name)?;
    let owner = AccountOwner {
        participant: command.participant,
        kill_switch: Switch::Released,
    };
    *registry.account_mut(command.account) = owner;
    Ok(())
}

pub(super) fn create_session(
    registry: &Registry,
    sessions: &mut Sessions,
    sender: Sender,
    command: &CreateSession,
    now: Nanos,
) -> Result<(), Reject> {
    sender.require(Permissions::OPERATOR)?;
    check_id(command.new_session.0, 1, SESSIONS_MAX)?;
    if sessions.find(command.new_session).is_some() {
        return Err(Reject::AlreadyExists);
    }
    check_participant(registry, command.participant)?;
    let throttled = command.throttle_rate != 0;
    if command.permissions.has_unknown() || throttled && command.throttle_burst == 0 {
        return Err(Reject::InvalidDefinition);
    }
    let session = Session {
        participant: command.participant,
        permissions: command.permissions,
        throttle: Throttle::new(command.throttle_rate, command.throttle_burst, now),
        version: SessionVersion::NONE,
        expected: MessageSequence(1),
        ready: false,
        connection: 0,
        established_at: Nanos(0),
        kill_switch: Switch::Released,
    };
    sessions.create(command.new_session, session);
    Ok(())
}

pub(super) fn create_instrument(
    registry: &mut Registry,
    sender: Sender,
    command: &CreateInstrument,
    now: Nanos,
) -> Result<(), Reject> {
    sender.require(Permissions::OPERATOR)?;
    check_id(command.instrument.0, 1, INSTRUMENTS_MAX)?;
    if registry.instrument(command.instrument).is_some() {
        return Err(Reject::AlreadyExists);
    }
    let terms = Terms::parse(command, now)?;
    registry.list(command.instrument, terms);
    Ok(())
}

pub(super) fn check_limit(
    registry: &Registry,
    sender: Sender,
    command: &SetPositionLimit,
) -> Result<(), Reject> {
    sender.require(Permissions::RISK)?;
    check_own_account(registry, &sender, command.account)?;
    registry
        .instrument(command.instrument)
        .ok_or(Reject::UnknownInstrument)?;
    if command.position_max > POSITION_MAX {
        Err(Reject::AmountOutOfRange)
    } else {
        Ok(())
    }
}

pub(super) fn check_cash(
    registry: &Registry,
    sender: Sender,
    account: AccountId,
    amount: Money,
) -> Result<(), Reject> {
    sender.require(Permissions::OPERATOR)?;
    check_own_account(registry, &sender, account)?;
    if amount.0 <= 0 || amount > MONEY_MAX {
        Err(Reject::AmountOutOfRange)
    } else {
        Ok(())
    }
}

/// The kill switch that scope and target name, if it is the sender's to throw.
fn own_switch<'a>(
    registry: &'a mut Registry,
    sessions: &'a mut Sessions,
    sender: &Sender,
    scope: Raw<Scope>,
    target: u32,
) -> Result<&'a mut Switch, Reject> {
    match scope.decode() {
        Some(Scope::Session) => sessions
            .find_mut(SessionId(target))
            .filter(|session| sender.owns(session.participant))
            .map(|session| &mut session.kill_switch)
            .ok_or(Reject::UnknownSession),
        Some(Scope::Account) => {
            check_own_account(registry, sender, AccountId(target))?;
            Ok(&mut registry.account_mut(AccountId(target)).kill_switch)
        }
        Some(Scope::Participant) => {
            let id = ParticipantId(target);
            check_participant(registry, id)?;
            if !sender.owns(id) {
                return Err(Reject::UnknownParticipant);
            }
            Ok(&mut registry.participant_mut(id).kill_switch)
        }
        Some(Scope::Instrument) | None => Err(Reject::InvalidScope),
    }
}

pub(super) fn set_kill_switch(
    registry: &mut Registry,
    sessions: &mut Sessions,
    sender: Sender,
    command: &KillSwitch,
) -> Result<(), Reject> {
    let action = command.action.decode();
    sender.require(match action {
        Some(KillAction::Release) => Permissions::OPERATOR,
        Some(KillAction::Engage) | None => Permissions::RISK,
    })?;
    let switch = own_switch(registry, sessions, &sender, command.scope, command.target)?;
    *switch = match action.ok_or(Reject::InvalidAction)? {
        KillAction::Engage => switch.engage()?,
        KillAction::Release => switch.request_release(sender.session)?,
    };
    Ok(())
}

pub(super) fn confirm_release(
    registry: &mut Registry,
    sessions: &mut Sessions,
    sender: Sender,
    command: &ConfirmRelease,
) -> Result<(), Reject> {
    sender.require(Permissions::OPERATOR)?;
    let (scope, target) = (command.scope, command.target);
    let before = *own_switch(registry, sessions, &sender, scope, target)?;
    let after = before.confirm_release(sender.session, sessions)?;
    *own_switch(registry, sessions, &sender, scope, target)? = after;
    Ok(())
}

pub(super) fn check_activity(
    sessions: &Sessions,
    sender: Sender,
    command: &SessionActivityRequest,
) -> Result<(), Reject> {
    sessions
        .find(SessionId(command.target))
        .filter(|session| sender.owns(session.participant))
        .map(|_| ())
        .ok_or(Reject::UnknownSession)
}

/// What is public may be asked by anybody.
pub(super) fn check_question(registry: &Registry, instrument: InstrumentId) -> Result<(), Reject> {
    registry
        .instrument(instrument)
        .map(|_| ())
        .ok_or(Reject::UnknownInstrument)
}

pub(super) fn check_settle(
    registry: &Registry,
    sender: Sender,
    command: &SettlePrice,
) -> Result<(), Reject> {
    sender.require(Permissions::OPERATOR)?;
    registry
        .instrument(command.instrument)
        .map(|_| ())
        .ok_or(Reject::UnknownInstrument)
}

pub(super) fn check_access_key(
    registry: &Registry,
    sender: Sender,
    command: &RegisterAccessKey,
) -> Result<(), Reject> {
    sender.require(Permissions::TRADE)?;
    check_own_account(registry, &sender, command.account)
}

pub(super) fn check_calendar(
    registry: &Registry,
    sender: Sender,
    command: &SetCalendar,
) -> Result<(), Reject> {
    check_phase(registry, sender, command.instrument)?;
    Calendar::parse(command).map(|_| ())
}

pub(super) fn check_phase(
    registry: &Registry,
    sender: Sender,
    instrument: InstrumentId,
) -> Result<(), Reject> {
    check_operator(sender)?;
    registry
        .instrument(instrument)
        .map(|_| ())
        .ok_or(Reject::UnknownInstrument)
}

pub(super) fn check_breaker(
    registry: &Registry,
    sender: Sender,
    command: &SetCircuitBreaker,
) -> Result<(), Reject> {
    check_phase(registry, sender, command.instrument)?;
    if command.linked != InstrumentId::NONE {
        registry
            .instrument(command.linked)
            .ok_or(Reject::UnknownInstrument)?;
    }
    if command.linked == command.instrument || command.threshold.0 > MILLION {
        return Err(Reject::InvalidDefinition);
    }
    Ok(())
}

pub(super) fn check_band(
    registry: &Registry,
    sender: Sender,
    command: &SetPriceBand,
) -> Result<(), Reject> {
    check_phase(registry, sender, command.instrument)?;
    match command.width.0 <= MILLION {
        true => Ok(()),
        false => Err(Reject::InvalidDefinition),
    }
}

pub(super) fn check_operator(sender: Sender) -> Result<(), Reject> {
    sender.require(Permissions::OPERATOR)
}

pub(super) fn check_delivery(sender: Sender) -> Result<(), Reject> {
    sender.require(Permissions::SETTLEMENT)
}
