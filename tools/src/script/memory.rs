//! What a script remembers between lines, so that its author need not: sequence numbers, versions,
//! the exchange's names of orders, who owns what.
//!
//! Called by the parsers for defaults and by the runner with every command and event.
//!
//! Always holds: the next sequence number of a session is the one that the engine expects, as long
//! as the script gives none of its own.
//! Does not: judge. A wrong number is sent as it is written.

use std::collections::{BTreeMap, HashMap};

use exahour_wire::codes::Raw;
use exahour_wire::events::{
    AccountCreated, InstrumentListed, OrderAccepted, OrderReplaced, SessionClosed, SessionCreated,
    SessionOpened, SessionReady, StateHashed,
};
use exahour_wire::ids::{AccountId, CommandSequence, InstrumentId, OrderId, ParticipantId};
use exahour_wire::internal::{OpenSession, ReadySession};
use exahour_wire::message::{Digest, Message, peek_header};
use exahour_wire::orders::{NewAdvancedOrder, NewOrder, ReplaceOrder};
use exahour_wire::units::Nanos;

use super::statement::{sequence_of, session_of};

/// 2026-01-01T00:00:00Z, when every script begins.
const BEGINNING: Nanos = Nanos(1_767_225_600_000_000_000);

/// What is remembered of one session.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SessionMemory {
    /// The next sequence number.
    pub(super) next_sequence: u32,
    /// The version last opened.
    pub(super) version: u64,
    /// The time stamp of the last establishment.
    pub(super) timestamp: u64,
    /// The highest client order id used.
    pub(super) client_order_id: u64,
    /// Whether its commands count.
    ready: bool,
    /// Whether they did before the establishment that is under way.
    was_ready: bool,
}

/// What is remembered of all sessions at one moment.
#[derive(Debug)]
pub(super) struct Sessions(HashMap<u32, SessionMemory>);

/// What the script remembers.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    /// The time of the next batch.
    pub(super) now: Nanos,
    /// The last state hash, and the command it was taken after.
    pub(super) hashed: Option<(CommandSequence, Digest)>,
    /// The instrument listed first.
    pub(super) instrument: Option<InstrumentId>,
    sessions: HashMap<u32, SessionMemory>,
    orders: HashMap<(u32, u64), OrderId>,
    owners: HashMap<u32, ParticipantId>,
    accounts: BTreeMap<ParticipantId, AccountId>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            now: BEGINNING,
            hashed: None,
            instrument: None,
            sessions: HashMap::new(),
            orders: HashMap::new(),
            owners: HashMap::new(),
            accounts: BTreeMap::new(),
        }
    }
}

impl Memory {
    /// What is remembered of a session.
    pub(super) fn session(&self, session: u32) -> SessionMemory {
        let fresh = SessionMemory {
            next_sequence: 1,
            ..SessionMemory::default()
        };
        self.sessions.get(&session).copied().unwrap_or(fresh)
    }

    fn session_mut(&mut self, session: u32) -> &mut SessionMemory {
        let fresh = SessionMemory {
            next_sequence: 1,
            ..SessionMemory::default()
        };
        self.sessions.entry(session).or_insert(fresh)
    }

    /// The order that a session last had accepted under a client order id.
    pub(super) fn order(&self, session: u32, client_order_id: u64) -> Option<OrderId> {
        self.orders.get(&(session, client_order_id)).copied()
    }

    /// The first account of the participant that owns a session.
    pub(super) fn account(&self, session: u32) -> Option<AccountId> {
        self.accounts.get(self.owners.get(&session)?).copied()
    }

    /// The state of all sessions, to be put back with [`Memory::put_back`].
    pub(super) fn sessions(&self) -> Sessions {
        Sessions(self.sessions.clone())
    }

    /// Forgets what was noted of sessions since then.
    pub(super) fn put_back(&mut self, sessions: Sessions) {
        self.sessions = sessions.0;
    }

    /// Takes note of a command that will be sent.
    pub(super) fn on_command(&mut self, command: &[u8]) {
        let template = peek_header(command).map_or(0, |header| header.template_id);
        match template {
            OpenSession::TEMPLATE_ID => self.on_open(command),
            ReadySession::TEMPLATE_ID => self.on_ready(command),
            _ => {}
        }
        let (session, sequence) = (session_of(command), sequence_of(command));
        if session == 0 {
            return;
        }
        let client_order_id = match template {
            NewOrder::TEMPLATE_ID => NewOrder::read(command).map(|it| it.client_order_id),
            NewAdvancedOrder::TEMPLATE_ID => {
                NewAdvancedOrder::read(command).map(|it| it.client_order_id)
            }
            ReplaceOrder::TEMPLATE_ID => ReplaceOrder::read(command).map(|it| it.client_order_id),
            _ => None,
        };
        let memory = self.session_mut(session);
        if let Some(client_order_id) = client_order_id {
            memory.client_order_id = memory.client_order_id.max(client_order_id.0);
        }
        if memory.ready && sequence != u32::MAX {
            memory.next_sequence = memory.next_sequence.max(sequence + 1);
        }
    }

    fn on_open(&mut self, command: &[u8]) {
        let Some(open) = OpenSession::read(command) else {
            return;
        };
        let memory = self.session_mut(open.session.0);
        memory.version = memory.version.max(open.version.0);
        memory.timestamp = 0;
    }

    fn on_ready(&mut self, command: &[u8]) {
        let Some(ready) = ReadySession::read(command) else {
            return;
        };
        let memory = self.session_mut(ready.session.0);
        memory.timestamp = memory.timestamp.max(ready.timestamp.0);
        // A batch is sent as a whole: commands behind this one must be numbered before its answer.
        memory.was_ready = memory.ready;
        memory.ready = true;
        memory.next_sequence = ready.next_sequence.0;
    }

    /// Takes note of an event.
    pub(super) fn on_event(&mut self, event: &[u8]) {
        let template = peek_header(event).map_or(0, |header| header.template_id);
        match template {
            OrderAccepted::TEMPLATE_ID => {
                if let Some(it) = OrderAccepted::read(event) {
                    self.orders
                        .insert((it.session.0, it.client_order_id.0), it.order);
                }
            }
            OrderReplaced::TEMPLATE_ID => {
                if let Some(it) = OrderReplaced::read(event) {
                    self.orders
                        .insert((it.session.0, it.client_order_id.0), it.order);
                }
            }
            SessionCreated::TEMPLATE_ID => {
                if let Some(it) = SessionCreated::read(event) {
                    self.owners.insert(it.new_session.0, it.participant);
                }
            }
            AccountCreated::TEMPLATE_ID => {
                if let Some(it) = AccountCreated::read(event) {
                    self.accounts.entry(it.participant).or_insert(it.account);
                }
            }
            InstrumentListed::TEMPLATE_ID => {
                let listed = InstrumentListed::read(event).map(|it| it.instrument);
                self.instrument = self.instrument.or(listed);
            }
            SessionOpened::TEMPLATE_ID => self.on_opened(event),
            SessionReady::TEMPLATE_ID => self.on_readied(event),
            SessionClosed::TEMPLATE_ID => {
                if let Some(it) = SessionClosed::read(event) {
                    self.session_mut(it.session.0).ready = false;
                }
            }
            StateHashed::TEMPLATE_ID => {
                self.hashed = StateHashed::read(event).map(|it| (it.command, it.state_hash));
            }
            _ => {}
        }
    }

    fn on_opened(&mut self, event: &[u8]) {
        let Some(it) = SessionOpened::read(event) else {
            return;
        };
        if it.refusal == Raw::new(0) {
            let memory = self.session_mut(it.session.0);
            memory.version = it.version.0;
            memory.next_sequence = 1;
        }
    }

    fn on_readied(&mut self, event: &[u8]) {
        let Some(it) = SessionReady::read(event) else {
            return;
        };
        let memory = self.session_mut(it.session.0);
        if it.refusal == Raw::new(0) {
            memory.ready = true;
            memory.next_sequence = memory.next_sequence.max(it.expected_sequence.0);
        } else {
            // What was assumed when the command was sent does not hold.
            memory.ready = memory.was_ready;
            memory.next_sequence = it.expected_sequence.0.max(1);
        }
    }
}
