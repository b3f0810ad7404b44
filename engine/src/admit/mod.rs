//! The first stage: may this session say this now?
//!
//! Fed with every command in order, before `execute`. Owns what changes only by commands: session
//! sequences, throttles, kill switches, and the registry of who and what exists.
//!
//! Always holds: its verdict depends on earlier commands and their times alone, never on the book or
//! the ledger, so the two stages may run on two cores and still say the same.
//! Does not: emit events; `execute` reports the verdict.

mod kill_switch;
mod operations;
mod orders;
mod quotes;
mod registry;
mod sessions;
mod throttle;
mod verdict;

use exahour_wire::ids::{Behaviour, SessionId};
use exahour_wire::message::{Message, peek_header};
use exahour_wire::reject::Reject;
use exahour_wire::units::Nanos;
use exahour_wire::{internal, operations as ops, orders as entry};

pub(crate) use kill_switch::KillSwitch;
pub(crate) use quotes::QuoteFaults;
pub(crate) use registry::{AccountOwner, Participant, Registry};
pub(crate) use sessions::{Session, Sessions};
pub(crate) use throttle::Throttle;
pub use verdict::Verdict;
pub(crate) use verdict::{Gap, Outcome};

use crate::behaviour::BEHAVIOUR_FIRST;
use crate::capacity::Capacity;

/// The first stage.
pub(crate) struct Admit {
    pub(crate) registry: Registry,
    pub(crate) sessions: Sessions,
    /// The behaviour in force.
    pub(crate) behaviour: Behaviour,
    /// The newest that this program can do.
    behaviour_max: Behaviour,
}

/// The fields that every command of a session starts with.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct CommandPrefix {
    pub(crate) header: exahour_wire::message::Header,
    pub(crate) session: SessionId,
    pub(crate) sequence: exahour_wire::ids::MessageSequence,
    /// For commands 101 and above the sender's name for it.
    pub(crate) request: exahour_wire::ids::ClientOrderId,
}

impl CommandPrefix {
    #[inline]
    pub(crate) fn peek(command: &[u8]) -> Option<Self> {
        command
            .get(..size_of::<Self>())
            .map(bytemuck::pod_read_unaligned)
    }
}

/// What clients and the exchange itself may send.
pub(crate) const CLIENT_TEMPLATES: std::ops::Range<u16> = 100..200;

impl Admit {
    pub(crate) fn new(capacity: &Capacity) -> Self {
        Self {
            registry: Registry::new(),
            sessions: Sessions::new(),
            behaviour: BEHAVIOUR_FIRST,
            behaviour_max: capacity.behaviour_max,
        }
    }

    /// Judges one command.
    #[inline]
    pub(crate) fn admit(&mut self, command: &[u8], now: Nanos) -> Verdict {
        let Some(header) = peek_header(command) else {
            return Verdict::IGNORE;
        };
        if !CLIENT_TEMPLATES.contains(&header.template_id) {
            return self.admit_internal(command, header.template_id);
        }
        let Some(prefix) = CommandPrefix::peek(command) else {
            return Verdict::IGNORE;
        };
        if header.template_id == entry::MassQuote::TEMPLATE_ID {
            return self.admit_quotes(command, &prefix, now);
        }
        let sessions = &mut self.sessions;
        let mut verdict = sessions.admit(prefix.session, prefix.sequence, 1, now);
        if verdict.outcome == Outcome::Carry {
            let checked = self.check(command, header.template_id, prefix.session, now);
            if let Err(reject) = checked {
                verdict.outcome = Outcome::Refuse(reject);
            }
        }
        verdict
    }

    #[cold]
    fn admit_quotes(&mut self, command: &[u8], prefix: &CommandPrefix, now: Nanos) -> Verdict {
        let (session, sequence) = (prefix.session, prefix.sequence);
        let messages = quotes::messages(command);
        let mut verdict = self.sessions.admit(session, sequence, messages, now);
        if verdict.outcome == Outcome::Carry {
            let sender = self.sessions.sender(session);
            let checked = entry::MassQuote::read(command)
                .ok_or(Reject::UnknownTemplate)
                .and_then(|command| quotes::check(&self.registry, sender, &command));
            verdict.outcome = checked.map_or_else(Outcome::Refuse, Outcome::CarryQuotes);
        }
        verdict
    }

    fn admit_internal(&mut self, command: &[u8], template: u16) -> Verdict {
        let outcome = match template {
            internal::OpenSession::TEMPLATE_ID => internal::OpenSession::read(command)
                .map(|open| Verdict::of(self.sessions.open(&open))),
            internal::ReadySession::TEMPLATE_ID => {
                internal::ReadySession::read(command).map(|ready| self.sessions.ready(&ready))
            }
            internal::CloseSession::TEMPLATE_ID => internal::CloseSession::read(command)
                .map(|close| Verdict::of(self.sessions.close(&close))),
            internal::NodeStarted::TEMPLATE_ID => internal::NodeStarted::read(command).map(|_| {
                self.sessions.close_all();
                Verdict::of(Outcome::Carry)
            }),
            internal::ActivateBehaviour::TEMPLATE_ID => internal::ActivateBehaviour::read(command)
                .filter(|activate| activate.session == SessionId::NONE)
                .map(|activate| Verdict::of(self.activate(activate.behaviour))),
            internal::Tick::TEMPLATE_ID
            | internal::Checkpoint::TEMPLATE_ID
            | internal::TakeStateHash::TEMPLATE_ID => Some(Verdict::of(Outcome::Carry)),
            _ => None,
        };
        outcome.unwrap_or(Verdict::IGNORE)
    }

    fn activate(&mut self, behaviour: Behaviour) -> Outcome {
        if behaviour <= self.behaviour {
            return Outcome::Refuse(Reject::BehaviourNotNewer);
        }
        if behaviour > self.behaviour_max {
            return Outcome::CannotDo;
        }
        self.behaviour = behaviour;
        Outcome::Carry
    }

    #[inline]
    fn check(
        &mut self,
        command: &[u8],
        template: u16,
        session: SessionId,
        now: Nanos,
    ) -> Result<(), Reject> {
        let sender = self.sessions.sender(session);
        let registry = &mut self.registry;
        /// Reads the command, or refuses it where its bytes do not hold it.
        macro_rules! read {
            ($message:ty) => {
                &<$message>::read(command).ok_or(Reject::UnknownTemplate)?
            };
        }
        match template {
            entry::NewOrder::TEMPLATE_ID => {
                orders::check_new(registry, sender, read!(entry::NewOrder), None, now)
            }
            entry::NewAdvancedOrder::TEMPLATE_ID => {
                let order = read!(entry::NewAdvancedOrder);
                orders::check_new(registry, sender, &order.plain(), Some(order), now)
            }
            entry::CancelOrder::TEMPLATE_ID => {
                orders::check_cancel(registry, sender, read!(entry::CancelOrder))
            }
            entry::ReplaceOrder::TEMPLATE_ID => {
                orders::check_replace(registry, sender, read!(entry::ReplaceOrder))
            }
            entry::MassCancel::TEMPLATE_ID => {
                let command = read!(entry::MassCancel);
                orders::check_mass_cancel(registry, &self.sessions, sender, command)
            }
            entry::OrderStatusRequest::TEMPLATE_ID => {
                orders::check_status(registry, sender, read!(entry::OrderStatusRequest))
            }
            entry::DeadMan::TEMPLATE_ID => orders::check_dead_man(sender),
            ops::CreateParticipant::TEMPLATE_ID => {
                operations::create_participant(registry, sender, read!(ops::CreateParticipant))
            }
            ops::CreateAccount::TEMPLATE_ID => {
                operations::create_account(registry, sender, read!(ops::CreateAccount))
            }
            ops::CreateSession::TEMPLATE_ID => {
                let command = read!(ops::CreateSession);
                operations::create_session(registry, &mut self.sessions, sender, command, now)
            }
            ops::CreateInstrument::TEMPLATE_ID => {
                operations::create_instrument(registry, sender, read!(ops::CreateInstrument), now)
            }
            ops::SetPositionLimit::TEMPLATE_ID => {
                operations::check_limit(registry, sender, read!(ops::SetPositionLimit))
            }
            ops::Deposit::TEMPLATE_ID => {
                let deposit = read!(ops::Deposit);
                operations::check_cash(registry, sender, deposit.account, deposit.amount)
            }
            ops::Withdraw::TEMPLATE_ID => {
                let withdrawal = read!(ops::Withdraw);
                operations::check_cash(registry, sender, withdrawal.account, withdrawal.amount)
            }
            ops::KillSwitch::TEMPLATE_ID => {
                let command = read!(ops::KillSwitch);
                operations::set_kill_switch(registry, &mut self.sessions, sender, command)
            }
            ops::ConfirmRelease::TEMPLATE_ID => {
                let command = read!(ops::ConfirmRelease);
                operations::confirm_release(registry, &mut self.sessions, sender, command)
            }
            ops::SessionActivityRequest::TEMPLATE_ID => {
                let command = read!(ops::SessionActivityRequest);
                operations::check_activity(&self.sessions, sender, command)
            }
            ops::InstrumentStatusRequest::TEMPLATE_ID => {
                let question = read!(ops::InstrumentStatusRequest);
                operations::check_question(registry, question.instrument)
            }
            ops::BustTrade::TEMPLATE_ID | ops::CorrectTrade::TEMPLATE_ID => {
                operations::check_operator(sender)
            }
            ops::SettlePrice::TEMPLATE_ID => {
                operations::check_settle(registry, sender, read!(ops::SettlePrice))
            }
            ops::RegisterAccessKey::TEMPLATE_ID => {
                operations::check_access_key(registry, sender, read!(ops::RegisterAccessKey))
            }
            ops::SetCalendar::TEMPLATE_ID => {
                operations::check_calendar(registry, sender, read!(ops::SetCalendar))
            }
            ops::SetPriceBand::TEMPLATE_ID => {
                operations::check_band(registry, sender, read!(ops::SetPriceBand))
            }
            ops::SetCircuitBreaker::TEMPLATE_ID => {
                operations::check_breaker(registry, sender, read!(ops::SetCircuitBreaker))
            }
            ops::SetAuctionSeed::TEMPLATE_ID => operations::check_operator(sender),
            ops::HaltTrading::TEMPLATE_ID => {
                let command = read!(ops::HaltTrading);
                operations::check_phase(registry, sender, command.instrument)
            }
            ops::ResumeTrading::TEMPLATE_ID => {
                let command = read!(ops::ResumeTrading);
                operations::check_phase(registry, sender, command.instrument)
            }
            ops::DeliveryStarted::TEMPLATE_ID
            | ops::ConfirmDelivery::TEMPLATE_ID
            | ops::DeliveryFailed::TEMPLATE_ID => operations::check_delivery(sender),
            _ => Err(Reject::UnknownTemplate),
        }
    }
}
