//! Chapter 6: what operators, risk desks and account owners do.
//!
//! Called by `admission`. Deliveries are in `delivery`.
//!
//! Always holds: permission is checked before anything else; the fact comes before `CommandDone`.

use exahour_wire::codes::{CancelReason, KillAction, Permissions, Phase, Scope, TransferKind};
use exahour_wire::events::{
    AccessKeyRegistered, AccountCreated, InstrumentListed, InstrumentSettled,
    KillSwitchReleaseRequested, KillSwitchSet, ParticipantCreated, PositionLimitSet,
    SessionCreated,
};
use exahour_wire::ids::{AccountId, ClientOrderId, ParticipantId};
use exahour_wire::limits::{
    ACCOUNTS_MAX, BANK_ACCOUNT, FIRST_ACCOUNT, HOURS_MAX, INSTRUMENTS_MAX, MONEY_MAX,
    PARTICIPANTS_MAX, POSITION_MAX, PRICE_MAX, QUANTITY_MAX, SESSIONS_MAX,
};
use exahour_wire::message::{Message, Text32};
use exahour_wire::operations::{
    ConfirmRelease, CreateAccount, CreateInstrument, CreateParticipant, CreateSession, Deposit,
    KillSwitch, RegisterAccessKey, SetPositionLimit, SettlePrice, Withdraw,
};
use exahour_wire::reject::Reject;
use exahour_wire::units::{Money, Nanos, Quantity};

use crate::admission::{Sender, ensure};
use crate::changes::Covered;
use crate::orders::ensure_limit;
use crate::phases::Calendar;
use crate::twin::{Account, Instrument, Session, Twin, position_cap};

/// Whether a text can be read and says something.
fn is_name(text: Option<&str>) -> bool {
    text.is_some_and(|text| !text.is_empty())
}

fn ensure_name(name: &Text32) -> Result<(), Reject> {
    ensure(is_name(name.as_str()), Reject::InvalidDefinition)
}

fn ensure_amount(amount: Money) -> Result<(), Reject> {
    let fits = amount.0 > 0 && amount <= MONEY_MAX;
    ensure(fits, Reject::AmountOutOfRange)
}

impl Twin {
    /// Refuses unless the sender has the permission or is an operator.
    pub(crate) fn ensure_may(
        &self,
        sender: &Sender,
        permission: Permissions,
    ) -> Result<(), Reject> {
        let may = self.has(sender, permission) || self.has(sender, Permissions::OPERATOR);
        ensure(may, Reject::NotPermitted)
    }

    pub(crate) fn create_participant(
        &mut self,
        sender: &Sender,
        command: &CreateParticipant,
    ) -> Result<(), Reject> {
        self.ensure_may(sender, Permissions::OPERATOR)?;
        let id = command.participant;
        let in_range = (1..=PARTICIPANTS_MAX).contains(&id.0);
        ensure(in_range, Reject::IdOutOfRange)?;
        ensure(!self.participants.contains(&id), Reject::AlreadyExists)?;
        ensure_name(&command.name)?;
        self.participants.insert(id);
        self.fact(ParticipantCreated {
            participant: id,
            name: command.name,
            ..ParticipantCreated::blank()
        });
        self.done(sender, 0);
        Ok(())
    }

    fn ensure_participant(&self, id: ParticipantId) -> Result<(), Reject> {
        ensure(self.participants.contains(&id), Reject::UnknownParticipant)
    }

    pub(crate) fn create_account(
        &mut self,
        sender: &Sender,
        command: &CreateAccount,
    ) -> Result<(), Reject> {
        self.ensure_may(sender, Permissions::OPERATOR)?;
        let id = command.account;
        let in_range = (FIRST_ACCOUNT.0..=ACCOUNTS_MAX).contains(&id.0);
        ensure(in_range, Reject::IdOutOfRange)?;
        ensure(!self.accounts.contains_key(&id), Reject::AlreadyExists)?;
        self.ensure_participant(command.participant)?;
        ensure_name(&command.name)?;
        let account = Account {
            participant: command.participant,
            key: None,
        };
        self.accounts.insert(id, account);
        self.fact(AccountCreated {
            account: id,
            participant: command.participant,
            name: command.name,
            ..AccountCreated::blank()
        });
        self.done(sender, 0);
        Ok(())
    }

    pub(crate) fn create_session(
        &mut self,
        sender: &Sender,
        command: &CreateSession,
    ) -> Result<(), Reject> {
        self.ensure_may(sender, Permissions::OPERATOR)?;
        let id = command.new_session;
        let in_range = (1..=SESSIONS_MAX).contains(&id.0);
        ensure(in_range, Reject::IdOutOfRange)?;
        ensure(!self.sessions.contains_key(&id), Reject::AlreadyExists)?;
        self.ensure_participant(command.participant)?;
        let known = !command.permissions.has_unknown();
        let sendable = command.throttle_rate == 0 || command.throttle_burst > 0;
        ensure(known && sendable, Reject::InvalidDefinition)?;
        let burst = i128::from(command.throttle_burst);
        let session = Session {
            participant: command.participant,
            permissions: command.permissions,
            rate: i128::from(command.throttle_rate),
            burst,
            tokens: burst * 1_000_000_000,
            last_message_at: self.now,
            refusals: 0,
            version: 0,
            expected: 1,
            outbound: 1,
            established_at: Nanos(0),
            ready: None,
            cancel_at: None,
            dead_man: None,
        };
        self.sessions.insert(id, session);
        self.fact(SessionCreated {
            new_session: id,
            participant: command.participant,
            permissions: command.permissions,
            throttle_rate: command.throttle_rate,
            throttle_burst: command.throttle_burst,
            ..SessionCreated::blank()
        });
        self.done(sender, 0);
        Ok(())
    }

    pub(crate) fn create_instrument(
        &mut self,
        sender: &Sender,
        command: &CreateInstrument,
    ) -> Result<(), Reject> {
        self.ensure_may(sender, Permissions::OPERATOR)?;
        let id = command.instrument;
        let in_range = (1..=INSTRUMENTS_MAX).contains(&id.0);
        ensure(in_range, Reject::IdOutOfRange)?;
        ensure(!self.instruments.contains_key(&id), Reject::AlreadyExists)?;
        let kind = command.kind.decode().ok_or(Reject::InvalidDefinition)?;
        ensure(self.is_lawful(command), Reject::InvalidDefinition)?;
        let instrument = Instrument {
            definition: what_matters(command),
            kind,
            settlement_price: command.reference_price.0,
            last_trade_price: None,
            expired: false,
            calendar: Calendar::NONE,
            phase: Phase::Continuous,
            phase_due: None,
            said_to_end: None,
            call: None,
            guard: None,
            band: None,
            bids: Default::default(),
            asks: Default::default(),
            elected: Default::default(),
            pegged: Vec::new(),
        };
        self.instruments.insert(id, instrument);
        self.fact(listing(command));
        self.done(sender, 0);
        Ok(())
    }

    /// A definition, as chapter 6 lists what it must fulfil.
    fn is_lawful(&self, d: &CreateInstrument) -> bool {
        let codes = d.kind.decode().is_some()
            && d.class.decode().is_some()
            && d.firmness.decode().is_some();
        let grades = (1..=4).contains(&d.grade_performance)
            && (1..=4).contains(&d.grade_reliability)
            && (1..=3).contains(&d.grade_energy);
        let window = (1..=HOURS_MAX.0).contains(&d.hours.0)
            && d.last_trade_at > self.now
            && d.delivery_start >= d.last_trade_at;
        let names = is_name(d.symbol.as_str()) && is_name(d.zone.as_str());
        let prices = d.tick.0 > 0
            && d.tick <= d.reference_price
            && d.reference_price.0 % d.tick.0 == 0
            && d.reference_price <= PRICE_MAX;
        let sizes = (0..=MONEY_MAX.0).contains(&d.initial_margin.0)
            && (1..=QUANTITY_MAX.0).contains(&d.quantity_max.0)
            && (1..=MONEY_MAX.0).contains(&d.notional_max.0);
        let bands = d.collar.0 <= 1_000_000 && d.protection.0 <= 1_000_000;
        codes && grades && window && names && prices && sizes && bands && position_cap(d) >= 1
    }

    fn ensure_own_account(&self, sender: &Sender, id: AccountId) -> Result<(), Reject> {
        let account = self.accounts.get(&id).ok_or(Reject::UnknownAccount)?;
        ensure(
            self.owns(sender, account.participant),
            Reject::UnknownAccount,
        )
    }

    pub(crate) fn set_position_limit(
        &mut self,
        sender: &Sender,
        command: &SetPositionLimit,
    ) -> Result<(), Reject> {
        self.ensure_may(sender, Permissions::RISK)?;
        self.ensure_own_account(sender, command.account)?;
        self.known_instrument(command.instrument)?;
        let fits = command.position_max <= POSITION_MAX;
        ensure(fits, Reject::AmountOutOfRange)?;
        let of = (command.instrument, command.account);
        self.position_limits
            .insert(of, i128::from(command.position_max.0));
        self.fact(PositionLimitSet {
            account: command.account,
            instrument: command.instrument,
            position_max: command.position_max,
            ..PositionLimitSet::blank()
        });
        self.done(sender, 0);
        Ok(())
    }

    pub(crate) fn deposit(&mut self, sender: &Sender, command: &Deposit) -> Result<(), Reject> {
        self.ensure_may(sender, Permissions::OPERATOR)?;
        self.ensure_own_account(sender, command.account)?;
        ensure_amount(command.amount)?;
        let amount = i128::from(command.amount.0);
        let brought_in = -self.balance(BANK_ACCOUNT);
        let fits = brought_in + amount <= i128::from(MONEY_MAX.0);
        ensure(fits, Reject::BalanceOutOfRange)?;
        let kind = TransferKind::Deposit;
        let reference = command.request.0;
        self.transfer(BANK_ACCOUNT, command.account, amount, kind, reference);
        self.done(sender, 0);
        Ok(())
    }

    pub(crate) fn withdraw(&mut self, sender: &Sender, command: &Withdraw) -> Result<(), Reject> {
        self.ensure_may(sender, Permissions::OPERATOR)?;
        self.ensure_own_account(sender, command.account)?;
        ensure_amount(command.amount)?;
        let amount = i128::from(command.amount.0);
        let covered = amount <= self.available(command.account);
        ensure(covered, Reject::BalanceTooLow)?;
        let kind = TransferKind::Withdrawal;
        let reference = command.request.0;
        self.transfer(command.account, BANK_ACCOUNT, amount, kind, reference);
        self.done(sender, 0);
        Ok(())
    }

    pub(crate) fn kill_switch(
        &mut self,
        sender: &Sender,
        command: &KillSwitch,
    ) -> Result<(), Reject> {
        let releases = command.action == KillAction::Release.into();
        let permission = match releases {
            true => Permissions::OPERATOR,
            false => Permissions::RISK,
        };
        self.ensure_may(sender, permission)?;
        let scope = command.scope.decode().ok_or(Reject::InvalidScope)?;
        let covered = Covered::new(scope, command.target);
        self.ensure_may_stop(sender, covered)?;
        match command.action.decode().ok_or(Reject::InvalidAction)? {
            KillAction::Engage => self.engage(sender, covered, (scope, command.target)),
            KillAction::Release => self.request_release(sender, (scope, command.target)),
        }
    }

    fn engage(
        &mut self,
        sender: &Sender,
        covered: Covered,
        switch: (Scope, u32),
    ) -> Result<(), Reject> {
        // Engaged already, it still drops what was asked for.
        let before = self.stopped.insert(switch, None);
        ensure(before != Some(None), Reject::NothingToChange)?;
        self.tell_switch(switch, KillAction::Engage);
        let orders = self.orders_where(|order| covered.covers(order));
        for id in &orders {
            self.cancel(*id, CancelReason::KillSwitch, ClientOrderId::NONE);
        }
        self.done(sender, orders.len());
        Ok(())
    }

    fn request_release(&mut self, sender: &Sender, switch: (Scope, u32)) -> Result<(), Reject> {
        let request = self.stopped.get_mut(&switch);
        let request = request.ok_or(Reject::NothingToChange)?;
        ensure(request.is_none(), Reject::ReleaseAlreadyRequested)?;
        *request = Some(sender.session);
        self.fact(KillSwitchReleaseRequested {
            target: switch.1,
            requested_by: sender.session,
            scope: switch.0.into(),
            ..KillSwitchReleaseRequested::blank()
        });
        self.done(sender, 0);
        Ok(())
    }

    pub(crate) fn confirm_release(
        &mut self,
        sender: &Sender,
        command: &ConfirmRelease,
    ) -> Result<(), Reject> {
        self.ensure_may(sender, Permissions::OPERATOR)?;
        let scope = command.scope.decode().ok_or(Reject::InvalidScope)?;
        self.ensure_may_stop(sender, Covered::new(scope, command.target))?;
        let switch = (scope, command.target);
        let asked_by = self.stopped.get(&switch).copied().flatten();
        let asked_by = asked_by.ok_or(Reject::ReleaseNotRequested)?;
        let asking = self.sessions.get(&asked_by).map(|by| by.participant);
        let confirming = self.sessions.get(&sender.session).map(|by| by.participant);
        // Of the exchange itself no participant can be told, so that two of these are one.
        ensure(asking != confirming, Reject::SecondOperatorNeeded)?;
        self.stopped.remove(&switch);
        self.tell_switch(switch, KillAction::Release);
        self.done(sender, 0);
        Ok(())
    }

    fn tell_switch(&mut self, (scope, target): (Scope, u32), action: KillAction) {
        self.fact(KillSwitchSet {
            target,
            scope: scope.into(),
            action: action.into(),
            ..KillSwitchSet::blank()
        });
    }

    fn ensure_may_stop(&self, sender: &Sender, covered: Covered) -> Result<(), Reject> {
        match covered {
            Covered::Session(id) => {
                let session = self.sessions.get(&id);
                let own = session.is_some_and(|session| self.owns(sender, session.participant));
                ensure(own, Reject::UnknownSession)
            }
            Covered::Account(id) => self.ensure_own_account(sender, id),
            Covered::Participant(id) => {
                let own = self.participants.contains(&id) && self.owns(sender, id);
                ensure(own, Reject::UnknownParticipant)
            }
            Covered::Instrument(_) => Err(Reject::InvalidScope),
        }
    }

    pub(crate) fn settle_price(
        &mut self,
        sender: &Sender,
        command: &SettlePrice,
    ) -> Result<(), Reject> {
        self.ensure_may(sender, Permissions::OPERATOR)?;
        let instrument = self.known_instrument(command.instrument)?;
        ensure(!instrument.expired, Reject::InstrumentClosed)?;
        ensure_limit(instrument, command.price)?;
        self.mark(command.instrument, command.price.0);
        let open_interest = Quantity(self.open_interest(command.instrument) as u64);
        self.fact(InstrumentSettled {
            instrument: command.instrument,
            price: command.price,
            open_interest,
            ..InstrumentSettled::blank()
        });
        self.done(sender, 0);
        Ok(())
    }

    pub(crate) fn register_access_key(
        &mut self,
        sender: &Sender,
        command: &RegisterAccessKey,
    ) -> Result<(), Reject> {
        self.ensure_may(sender, Permissions::TRADE)?;
        self.ensure_own_account(sender, command.account)?;
        if let Some(account) = self.accounts.get_mut(&command.account) {
            account.key = Some((sender.session, command.key));
        }
        self.fact(AccessKeyRegistered {
            account: command.account,
            key: command.key,
            ..AccessKeyRegistered::blank()
        });
        self.done(sender, 0);
        Ok(())
    }
}

/// A listing without what is only told: who sent it, and what is delivered where.
fn what_matters(d: &CreateInstrument) -> CreateInstrument {
    CreateInstrument {
        instrument: d.instrument,
        hours: d.hours,
        tick: d.tick,
        delivery_start: d.delivery_start,
        last_trade_at: d.last_trade_at,
        initial_margin: d.initial_margin,
        reference_price: d.reference_price,
        quantity_max: d.quantity_max,
        notional_max: d.notional_max,
        collar: d.collar,
        protection: d.protection,
        ..CreateInstrument::blank()
    }
}

fn listing(d: &CreateInstrument) -> InstrumentListed {
    InstrumentListed {
        instrument: d.instrument,
        kind: d.kind,
        class: d.class,
        grade_performance: d.grade_performance,
        grade_reliability: d.grade_reliability,
        grade_energy: d.grade_energy,
        firmness: d.firmness,
        reference_version: d.reference_version,
        hours: d.hours,
        symbol: d.symbol,
        zone: d.zone,
        tick: d.tick,
        delivery_start: d.delivery_start,
        last_trade_at: d.last_trade_at,
        initial_margin: d.initial_margin,
        reference_price: d.reference_price,
        quantity_max: d.quantity_max,
        notional_max: d.notional_max,
        collar: d.collar,
        protection: d.protection,
        ..InstrumentListed::blank()
    }
}
