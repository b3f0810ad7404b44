//! Operations: what is created, funded, limited or stopped.
//!
//! Always holds: the fact is emitted first, then the sender is told. Admission has checked
//! everything that needs no money.

use exahour_wire::codes::{CancelReason, KillAction, Raw, Scope, TransferKind};
use exahour_wire::events::{
    AccessKeyRegistered, AccountCreated, InstrumentListed, KillSwitchReleaseRequested,
    KillSwitchSet, ParticipantCreated, PositionLimitSet, SessionCreated,
};
use exahour_wire::ids::AccountId;
use exahour_wire::limits::{BANK_ACCOUNT, MONEY_MAX};
use exahour_wire::message::Message;
use exahour_wire::operations::{
    ConfirmRelease, CreateAccount, CreateInstrument, CreateParticipant, CreateSession, Deposit,
    KillSwitch, RegisterAccessKey, SetPositionLimit, Withdraw,
};
use exahour_wire::reject::Reject;

use super::{Execute, Instrument, Request};
use crate::batch::EventSink;
use crate::book::Book;
use crate::reporter::Output;
use crate::terms::Terms;
use crate::timers::Due;
use crate::trading::Trading;

impl Execute {
    /// Carries out an operation and tells its sender.
    pub(super) fn operate<S: EventSink>(
        &mut self,
        command: &[u8],
        request: Request,
        out: &mut Output<'_, S>,
    ) -> Result<(), Reject> {
        /// Reads the command; admission has read it before, so it is there.
        macro_rules! read {
            ($message:ty) => {
                &<$message>::read(command).ok_or(Reject::UnknownTemplate)?
            };
        }
        let mut count = 0;
        match request.template {
            CreateParticipant::TEMPLATE_ID => {
                self.create_participant(read!(CreateParticipant), out);
            }
            CreateAccount::TEMPLATE_ID => self.create_account(read!(CreateAccount), out),
            CreateSession::TEMPLATE_ID => self.create_session(read!(CreateSession), out),
            CreateInstrument::TEMPLATE_ID => {
                self.create_instrument(read!(CreateInstrument), out)?
            }
            SetPositionLimit::TEMPLATE_ID => self.set_limit(read!(SetPositionLimit), out),
            Deposit::TEMPLATE_ID => self.deposit(read!(Deposit), out)?,
            Withdraw::TEMPLATE_ID => self.withdraw(read!(Withdraw), out)?,
            KillSwitch::TEMPLATE_ID => count = self.kill_switch(read!(KillSwitch), out),
            ConfirmRelease::TEMPLATE_ID => self.confirm_release(read!(ConfirmRelease), out),
            RegisterAccessKey::TEMPLATE_ID => {
                self.register_access_key(read!(RegisterAccessKey), out);
            }
            _ => return Err(Reject::UnknownTemplate),
        }
        self.done(out, request, count);
        Ok(())
    }

    fn create_participant<S: EventSink>(
        &mut self,
        command: &CreateParticipant,
        out: &mut Output<'_, S>,
    ) {
        let (participant, name) = (command.participant, command.name);
        let created = ParticipantCreated {
            participant,
            name,
            ..Message::blank()
        };
        self.reporter.fact(out, created);
    }

    fn create_account<S: EventSink>(&mut self, command: &CreateAccount, out: &mut Output<'_, S>) {
        let (account, participant, name) = (command.account, command.participant, command.name);
        self.ledger.open(account, participant);
        let created = AccountCreated {
            account,
            participant,
            name,
            ..Message::blank()
        };
        self.reporter.fact(out, created);
    }

    fn create_session<S: EventSink>(&mut self, command: &CreateSession, out: &mut Output<'_, S>) {
        self.add_session(command.new_session, command.participant);
        let created = SessionCreated {
            new_session: command.new_session,
            participant: command.participant,
            permissions: command.permissions,
            throttle_rate: command.throttle_rate,
            throttle_burst: command.throttle_burst,
            ..Message::blank()
        };
        self.reporter.fact(out, created);
    }

    fn create_instrument<S: EventSink>(
        &mut self,
        command: &CreateInstrument,
        out: &mut Output<'_, S>,
    ) -> Result<(), Reject> {
        let terms = Terms::parse(command, out.time)?;
        let id = command.instrument;
        self.timers
            .schedule(terms.last_trade_at, Due::Instrument(id.0));
        self.list(Instrument {
            id,
            terms,
            settlement: terms.reference_price,
            last_trade: None,
            expired: false,
            trading: Trading::around_the_clock(),
            book: Book::new(self.index_seed, terms.tick),
            stops: None,
            pegs: None,
        });
        let listed = InstrumentListed {
            instrument: id,
            kind: command.kind,
            class: command.class,
            grade_performance: command.grade_performance,
            grade_reliability: command.grade_reliability,
            grade_energy: command.grade_energy,
            firmness: command.firmness,
            reference_version: command.reference_version,
            hours: command.hours,
            symbol: command.symbol,
            zone: command.zone,
            tick: command.tick,
            delivery_start: command.delivery_start,
            last_trade_at: command.last_trade_at,
            initial_margin: command.initial_margin,
            reference_price: command.reference_price,
            quantity_max: command.quantity_max,
            notional_max: command.notional_max,
            collar: command.collar,
            protection: command.protection,
            ..Message::blank()
        };
        self.reporter.fact(out, listed);
        Ok(())
    }

    fn set_limit<S: EventSink>(&mut self, command: &SetPositionLimit, out: &mut Output<'_, S>) {
        let slot = self
            .positions
            .find_or_make(command.account, command.instrument);
        self.positions.at_mut(slot).position_max = command.position_max.0;
        let set = PositionLimitSet {
            account: command.account,
            instrument: command.instrument,
            position_max: command.position_max,
            ..Message::blank()
        };
        self.reporter.fact(out, set);
    }

    fn deposit<S: EventSink>(
        &mut self,
        command: &Deposit,
        out: &mut Output<'_, S>,
    ) -> Result<(), Reject> {
        // What the bank owes is what all deposits less all withdrawals come to.
        let inside = -self.ledger.account(BANK_ACCOUNT).balance;
        if inside + i128::from(command.amount.0) > i128::from(MONEY_MAX.0) {
            return Err(Reject::BalanceOutOfRange);
        }
        let accounts = (BANK_ACCOUNT, command.account);
        let (amount, kind) = (command.amount.0, TransferKind::Deposit);
        self.move_money(out, accounts, amount, kind, command.request.0);
        Ok(())
    }

    fn withdraw<S: EventSink>(
        &mut self,
        command: &Withdraw,
        out: &mut Output<'_, S>,
    ) -> Result<(), Reject> {
        if self.ledger.available(command.account) < i128::from(command.amount.0) {
            return Err(Reject::BalanceTooLow);
        }
        let accounts = (command.account, BANK_ACCOUNT);
        let (amount, kind) = (command.amount.0, TransferKind::Withdrawal);
        self.move_money(out, accounts, amount, kind, command.request.0);
        Ok(())
    }

    fn kill_switch<S: EventSink>(&mut self, command: &KillSwitch, out: &mut Output<'_, S>) -> u64 {
        if command.action.decode() != Some(KillAction::Engage) {
            let requested = KillSwitchReleaseRequested {
                target: command.target,
                requested_by: command.session,
                scope: command.scope,
                ..Message::blank()
            };
            self.reporter.fact(out, requested);
            return 0;
        }
        self.set_kill_switch(command.scope, command.target, KillAction::Engage, out);
        match command.scope.decode() {
            Some(scope) => self.cancel_scope(scope, command.target, CancelReason::KillSwitch, out),
            None => 0,
        }
    }

    fn confirm_release<S: EventSink>(&mut self, command: &ConfirmRelease, out: &mut Output<'_, S>) {
        self.set_kill_switch(command.scope, command.target, KillAction::Release, out);
    }

    fn set_kill_switch<S: EventSink>(
        &mut self,
        scope: Raw<Scope>,
        target: u32,
        action: KillAction,
        out: &mut Output<'_, S>,
    ) {
        if scope.decode() == Some(Scope::Account) {
            self.ledger.account_mut(AccountId(target)).killed = action == KillAction::Engage;
        }
        let set = KillSwitchSet {
            target,
            scope,
            action: action.into(),
            ..Message::blank()
        };
        self.reporter.fact(out, set);
    }

    fn register_access_key<S: EventSink>(
        &mut self,
        command: &RegisterAccessKey,
        out: &mut Output<'_, S>,
    ) {
        let account = self.ledger.account_mut(command.account);
        account.access_key = command.key;
        account.access_session = command.session;
        let (account, key) = (command.account, command.key);
        let registered = AccessKeyRegistered {
            account,
            key,
            ..Message::blank()
        };
        self.reporter.fact(out, registered);
    }
}
