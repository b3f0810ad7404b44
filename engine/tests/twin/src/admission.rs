//! Chapter 3: which command of which session is carried out, and how a refusal is answered.
//!
//! Called by [`crate::Twin::apply`] with each record. Hands on to the chapter of its template.
//!
//! Always holds: a command is applied at most once; what is refused changes nothing but the
//! session's own counters.

use bytemuck::{Pod, Zeroable};
use exahour_wire::codes::{DisconnectCause, Permissions, TerminationCode};
use exahour_wire::events::{
    CommandDone, CommandRejected, DuplicateIgnored, OrderRejected, SequenceGap, SessionExpelled,
};
use exahour_wire::ids::{
    ClientOrderId, InstrumentId, MessageSequence, OrderId, ParticipantId, SessionId, SessionVersion,
};
use exahour_wire::limits::THROTTLE_REFUSALS_MAX;
use exahour_wire::message::{Header, Message};
use exahour_wire::orders::{
    CancelOrder, NewAdvancedOrder, NewOrder, OrderStatusRequest, ReplaceOrder,
};
use exahour_wire::reject::Reject;

use crate::twin::Twin;

/// What a whole message is worth in the throttle.
const BILLION: i128 = 1_000_000_000;

/// Who sent a command, and how the answer names it: the first fields of every client command.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Sender {
    header: Header,
    pub(crate) session: SessionId,
    pub(crate) sequence: MessageSequence,
    /// The sender's name for the order or request; for `DeliveryStarted` the obligation.
    pub(crate) request: ClientOrderId,
}

impl Sender {
    pub(crate) fn template(&self) -> u16 {
        self.header.template_id
    }

    /// Whether the command is the exchange's own: rule 1.5.
    pub(crate) fn is_exchange(&self) -> bool {
        self.session == SessionId::NONE
    }
}

/// Refuses unless the condition holds.
pub(crate) fn ensure(condition: bool, otherwise: Reject) -> Result<(), Reject> {
    if condition { Ok(()) } else { Err(otherwise) }
}

/// Reads a record whose template is known to be this one.
fn read<M: Message>(record: &[u8]) -> M {
    M::read(record).unwrap_or_else(|| panic!("the record is no {}", M::DECLARATION.name))
}

impl Twin {
    /// Executes one command.
    pub(crate) fn execute(&mut self, record: &[u8]) {
        let header = exahour_wire::message::peek_header(record);
        match header.map_or(0, |header| header.template_id) {
            200 => self.open_session(&read(record)),
            201 => self.ready_session(&read(record)),
            202 => self.close_session(&read(record)),
            205 => self.node_started(&read(record)),
            207 => self.activate_behaviour(&read(record)),
            203 | 204 | 206 => {}
            100..200 => self.on_client_command(record),
            _ => {}
        }
    }

    fn on_client_command(&mut self, record: &[u8]) {
        let sender: Sender = bytemuck::pod_read_unaligned(&record[..size_of::<Sender>()]);
        if !sender.is_exchange() && !self.admit(&sender, record) {
            return;
        }
        if let Err(reason) = self.carry_out(&sender, record) {
            self.reject(&sender, record, reason);
        }
    }

    fn carry_out(&mut self, sender: &Sender, record: &[u8]) -> Result<(), Reject> {
        match sender.template() {
            101 => self.new_order(sender, &read(record)),
            102 => self.cancel_order(sender, &read(record)),
            103 => self.replace_order(sender, &read(record)),
            104 => self.mass_cancel(sender, &read(record)),
            105 => self.order_status(sender, &read(record)),
            107 => self.arm_dead_man(sender, &read(record)),
            109 => self.mass_quote(sender, &read(record)),
            108 => self.new_advanced_order(sender, &read(record)),
            150 => self.create_participant(sender, &read(record)),
            151 => self.create_account(sender, &read(record)),
            152 => self.create_session(sender, &read(record)),
            153 => self.create_instrument(sender, &read(record)),
            154 => self.set_position_limit(sender, &read(record)),
            155 => self.deposit(sender, &read(record)),
            156 => self.withdraw(sender, &read(record)),
            157 => self.kill_switch(sender, &read(record)),
            158 => self.settle_price(sender, &read(record)),
            159 => self.register_access_key(sender, &read(record)),
            160 => self.delivery_started(sender, &read(record)),
            161 => self.confirm_delivery(sender, &read(record)),
            162 => self.delivery_failed(sender, &read(record)),
            164 => self.session_activity(sender, &read(record)),
            165 => self.bust_trade(sender, &read(record)),
            166 => self.correct_trade(sender, &read(record)),
            167 => self.instrument_status(sender, &read(record)),
            163 => self.confirm_release(sender, &read(record)),
            170 => self.set_calendar(sender, &read(record)),
            171 => self.set_auction_seed(sender, &read(record)),
            172 => self.halt_trading(sender, &read(record)),
            173 => self.resume_trading(sender, &read(record)),
            175 => self.set_price_band(sender, &read(record)),
            174 => self.set_circuit_breaker(sender, &read(record)),
            _ => Err(Reject::UnknownTemplate),
        }
    }

    /// Rules 3.1 to 3.4: whether the command goes on to its template's own checks.
    fn admit(&mut self, sender: &Sender, record: &[u8]) -> bool {
        let id = sender.session;
        let expected = match self.sessions.get(&id) {
            Some(session) if session.ready.is_some() => session.expected,
            _ => {
                self.reject_unknown_session(sender, record);
                return false;
            }
        };
        let sequence = sender.sequence.0;
        if sequence < expected || sequence == u32::MAX {
            let event = DuplicateIgnored {
                client_sequence: sender.sequence,
                ..DuplicateIgnored::blank()
            };
            self.report(id, event);
            return false;
        }
        if sequence > expected {
            let event = SequenceGap {
                from_sequence: MessageSequence(expected),
                count: sequence - expected,
                ..SequenceGap::blank()
            };
            self.report(id, event);
        }
        let now = self.now;
        if let Some(session) = self.sessions.get_mut(&id) {
            session.expected = sequence + 1;
            if let Some((_, heard_at)) = &mut session.dead_man {
                *heard_at = now;
            }
        }
        let messages = match sender.template() {
            109 => 2 * crate::quotes::named(&read(record)).len() as i128,
            _ => 1,
        };
        if self.takes_tokens(id, messages.max(1)) {
            return true;
        }
        self.reject(sender, record, Reject::Throttled);
        self.expel_if_stubborn(id);
        false
    }

    /// Rule 3.4: whether the throttle lets a message through that counts as so many.
    fn takes_tokens(&mut self, id: SessionId, messages: i128) -> bool {
        let now = self.now;
        let Some(session) = self.sessions.get_mut(&id) else {
            return false;
        };
        if session.rate == 0 {
            return true;
        }
        let elapsed = i128::from(now.0) - i128::from(session.last_message_at.0);
        session.last_message_at = now;
        let full = session.burst * BILLION;
        session.tokens = (session.tokens + elapsed * session.rate).min(full);
        if session.tokens < messages * BILLION {
            session.refusals += 1;
            return false;
        }
        session.tokens -= messages * BILLION;
        session.refusals = 0;
        true
    }

    fn expel_if_stubborn(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.refusals < THROTTLE_REFUSALS_MAX {
            return;
        }
        session.refusals = 0;
        let event = SessionExpelled {
            version: SessionVersion(session.version),
            code: TerminationCode::Throttled.into(),
            ..SessionExpelled::blank()
        };
        self.report(id, event);
        self.close(id, DisconnectCause::Expelled.into());
    }

    fn reject(&mut self, sender: &Sender, record: &[u8], reason: Reject) {
        if is_order(sender) {
            self.report(sender.session, order_rejected(sender, record, reason));
        } else {
            self.report(sender.session, command_rejected(sender, reason));
        }
    }

    /// Rule 3.1.
    fn reject_unknown_session(&mut self, sender: &Sender, record: &[u8]) {
        let reason = Reject::UnknownSession;
        if is_order(sender) {
            self.report_unnumbered(sender.session, order_rejected(sender, record, reason));
        } else {
            self.report_unnumbered(sender.session, command_rejected(sender, reason));
        }
    }

    /// Tells the sender that its command was carried out.
    pub(crate) fn done(&mut self, sender: &Sender, count: usize) {
        let event = CommandDone {
            request: sender.request,
            count: count as u64,
            client_sequence: sender.sequence,
            template: sender.template(),
            ..CommandDone::blank()
        };
        self.report(sender.session, event);
    }

    /// The participant that sends, or none for the exchange itself.
    pub(crate) fn participant_of(&self, sender: &Sender) -> ParticipantId {
        let session = self.sessions.get(&sender.session);
        session.map_or(ParticipantId::NONE, |session| session.participant)
    }

    /// Whether the sender has the permission itself; the exchange has every one.
    pub(crate) fn has(&self, sender: &Sender, permission: Permissions) -> bool {
        sender.is_exchange()
            || self
                .sessions
                .get(&sender.session)
                .is_some_and(|session| session.permissions.contains(permission))
    }

    /// Whether the sender owns everything: only for commands 150 and above.
    pub(crate) fn owns_everything(&self, sender: &Sender) -> bool {
        self.has(sender, Permissions::OPERATOR)
    }

    /// Whether what belongs to `owner` is the sender's own, for commands 150 and above.
    pub(crate) fn owns(&self, sender: &Sender, owner: ParticipantId) -> bool {
        self.owns_everything(sender) || self.participant_of(sender) == owner
    }
}

/// Whether a refusal is an `OrderRejected`.
fn is_order(sender: &Sender) -> bool {
    matches!(sender.template(), 101..=105 | 108)
}

fn order_rejected(sender: &Sender, record: &[u8], reason: Reject) -> OrderRejected {
    let (order, instrument) = match sender.template() {
        101 => (OrderId::NONE, read::<NewOrder>(record).instrument),
        102 => {
            let command: CancelOrder = read(record);
            (command.order, command.instrument)
        }
        103 => {
            let command: ReplaceOrder = read(record);
            (command.order, command.instrument)
        }
        108 => (OrderId::NONE, read::<NewAdvancedOrder>(record).instrument),
        105 => {
            let question: OrderStatusRequest = read(record);
            (question.order, question.instrument)
        }
        _ => (OrderId::NONE, InstrumentId::NONE),
    };
    OrderRejected {
        client_order_id: sender.request,
        order,
        instrument,
        client_sequence: sender.sequence,
        template: sender.template(),
        reason: reason.into(),
        ..OrderRejected::blank()
    }
}

fn command_rejected(sender: &Sender, reason: Reject) -> CommandRejected {
    CommandRejected {
        request: sender.request,
        client_sequence: sender.sequence,
        template: sender.template(),
        reason: reason.into(),
        ..CommandRejected::blank()
    }
}
