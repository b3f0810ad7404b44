//! The market a flow plays in: who there is, and what the events told about it.
//!
//! Always holds: what is remembered comes from the flow's own commands and from events alone.

use std::collections::{BTreeMap, BTreeSet};

use exahour_wire::codes::{
    ContractKind, Firmness, KillAction, Liquidity, Permissions, Phase, Raw, ResourceClass,
    SelfTradePrevention,
};
use exahour_wire::events::{
    DeliveryAssigned, InstrumentExpired, InstrumentListed, KillSwitchReleaseRequested,
    KillSwitchSet, OrderAccepted, OrderCancelled, OrderFilled, OrderReplaced, PhaseChanged,
    SessionClosed, SessionReady,
};
use exahour_wire::ids::{
    AccountId, Behaviour, ClientOrderId, InstrumentId, MessageSequence, ParticipantId, SessionId,
    SessionVersion,
};
use exahour_wire::internal::{ActivateBehaviour, NodeStarted, OpenSession, ReadySession};
use exahour_wire::message::{Message, Text8, Text16, Text32, messages, peek_header};
use exahour_wire::operations::{
    CreateAccount, CreateInstrument, CreateParticipant, CreateSession, Deposit, SetCalendar,
    SetCircuitBreaker, SetPriceBand,
};
use exahour_wire::units::{Hours, Millis, Money, Nanos, PartsPerMillion, Price, Quantity};

use super::dice::Dice;
use super::phases;
use crate::behaviour::NEWEST;

pub(super) const PARTICIPANTS: u32 = 4;
const ACCOUNTS: u32 = 9;

/// What a flow knows of a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) participant: u32,
    pub(super) permissions: Permissions,
    pub(super) next_sequence: u32,
    pub(super) version: u64,
    pub(super) connection: u64,
    pub(super) established_at: u64,
    pub(super) ready: bool,
    /// The mode its trader mostly uses.
    pub(super) prevention: SelfTradePrevention,
}

/// What a flow knows of a live order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    pub(super) id: u64,
    pub(super) client_order_id: u64,
    pub(super) session: SessionId,
    pub(super) instrument: InstrumentId,
    pub(super) price: i64,
    pub(super) quantity: u64,
}

/// What a flow knows of a contract that has not expired.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instrument {
    pub(super) definition: InstrumentListed,
    /// Where prices wander about, in ticks.
    pub(super) mid: i64,
}

/// Who and what there is.
#[derive(Clone, Debug, Default)]
pub(super) struct Market {
    pub(super) sessions: Vec<Session>,
    pub(super) instruments: BTreeMap<u32, Instrument>,
    pub(super) instruments_listed: u32,
    pub(super) orders: BTreeMap<u64, Order>,
    pub(super) obligations: Vec<(u64, u32)>,
    /// One side of every trade.
    pub(super) trades: Vec<OrderFilled>,
    /// Kill switches that are engaged: scope, target, and whether somebody asks for the release.
    pub(super) stopped: Vec<(u8, u32, bool)>,
    pub(super) names_given: u64,
    /// Instruments that collect orders, and those of them that are halted.
    pub(super) called: BTreeSet<InstrumentId>,
    pub(super) halted: BTreeSet<InstrumentId>,
    /// When the phase of an instrument is to end.
    pub(super) phase_ends: BTreeMap<InstrumentId, u64>,
    /// How many orders may mostly live: zero for any number.
    orders_max: u32,
    /// Whether anybody activates a behaviour.
    pub(super) activates: bool,
}

impl Market {
    pub(super) fn new(dice: &mut Dice, orders_max: u32) -> Self {
        let operator = Permissions::OPERATOR;
        let desk = Permissions(Permissions::TRADE.0 | Permissions::RISK.0);
        let trade = Permissions::TRADE;
        let plan = [
            (1, trade),
            (2, trade),
            (3, trade),
            (4, trade),
            (1, trade),
            (2, desk),
            (1, operator),
            (3, Permissions::SETTLEMENT),
            (4, Permissions::RISK),
            (3, Permissions::DROP_COPY),
            (2, operator),
            (1, operator),
        ];
        let mut sessions = Vec::new();
        for (place, (participant, permissions)) in plan.into_iter().enumerate() {
            sessions.push(Session {
                id: SessionId(place as u32 + 1),
                participant,
                permissions,
                next_sequence: 1,
                version: 0,
                connection: 0,
                established_at: 0,
                ready: false,
                prevention: dice.pick(&[
                    SelfTradePrevention::None,
                    SelfTradePrevention::CancelNewest,
                    SelfTradePrevention::CancelOldest,
                    SelfTradePrevention::CancelBoth,
                    SelfTradePrevention::Decrement,
                ]),
            });
        }
        Self {
            sessions,
            orders_max,
            activates: true,
            ..Self::default()
        }
    }

    /// A node starts again, and now and then another number of orders may live on it.
    pub(super) fn start(&self, dice: &mut Dice) -> Vec<u8> {
        let usual = self.orders_max;
        node_started(dice.pick(&[usual, usual, usual, usual, 0, 3, 40, u32::MAX]))
    }

    /// Asks for other rules.
    pub(super) fn activate(&mut self, behaviour: Behaviour) -> Vec<u8> {
        let activate = ActivateBehaviour {
            request: self.fresh_name(),
            behaviour,
            ..ActivateBehaviour::blank()
        };
        activate.bytes().to_vec()
    }

    /// The commands of the exchange itself that everything begins with.
    pub(super) fn set_up(&mut self, dice: &mut Dice, now: Nanos) -> Vec<Vec<u8>> {
        let mut records = vec![node_started(self.orders_max)];
        if self.activates && dice.percent(60) {
            records.push(self.activate(NEWEST));
        }
        let name = Text32::new("A name").unwrap_or_default();
        for id in 1..=PARTICIPANTS {
            let command = CreateParticipant {
                participant: ParticipantId(id),
                name,
                ..CreateParticipant::blank()
            };
            records.push(command.bytes().to_vec());
        }
        for id in 0..ACCOUNTS {
            let command = CreateAccount {
                account: AccountId(100 + id),
                participant: ParticipantId(owner(100 + id)),
                name,
                ..CreateAccount::blank()
            };
            records.push(command.bytes().to_vec());
        }
        for session in &self.sessions {
            let throttled = dice.percent(30);
            let command = CreateSession {
                new_session: session.id,
                participant: ParticipantId(session.participant),
                permissions: session.permissions,
                throttle_rate: if throttled {
                    dice.pick(&[1, 20, 3_000])
                } else {
                    0
                },
                throttle_burst: dice.pick(&[1, 3, 40]),
                ..CreateSession::blank()
            };
            records.push(command.bytes().to_vec());
        }
        for _ in 0..dice.between(2, 4) {
            records.push(self.listing(dice, now).bytes().to_vec());
            if dice.percent(25) {
                let command = SetCircuitBreaker {
                    instrument: InstrumentId(self.instruments_listed),
                    ..phases::breaker(self, dice)
                };
                records.push(command.bytes().to_vec());
            }
            if dice.percent(50) {
                let command = SetPriceBand {
                    instrument: InstrumentId(self.instruments_listed),
                    ..phases::band(dice)
                };
                records.push(command.bytes().to_vec());
            }
            if dice.percent(25) {
                let command = SetCalendar {
                    instrument: InstrumentId(self.instruments_listed),
                    ..phases::calendar(dice, now)
                };
                records.push(command.bytes().to_vec());
            }
        }
        for account in 100..100 + ACCOUNTS {
            let command = Deposit {
                request: ClientOrderId(u64::from(account)),
                account: AccountId(account),
                amount: Money(dice.pick(&[1_000_000_000, 100_000_000_000, 20_000_000_000_000])),
                ..Deposit::blank()
            };
            records.push(command.bytes().to_vec());
        }
        for place in 0..self.sessions.len() {
            records.push(self.open(place).bytes().to_vec());
            records.push(self.make_ready(place, dice, now).bytes().to_vec());
        }
        records
    }

    /// A new contract, mostly lawful.
    pub(super) fn listing(&mut self, dice: &mut Dice, now: Nanos) -> CreateInstrument {
        self.instruments_listed += 1;
        let tick = dice.pick(&[1, 10, 2_500, 10_000]);
        let reference = tick * dice.between(20, 4_000) as i64;
        let hours = dice.pick(&[1, 4, 24, 720]);
        let worth = reference * i64::from(hours);
        let last_trade_at = now.0.saturating_add(dice.between(1, 4 * Nanos::DAY.0));
        let day = Nanos::DAY.0;
        let last_trade_at = match dice.below(24) {
            // Too late, if only just.
            0 => now.0,
            // Several things may be due at one midnight.
            1..6 => (last_trade_at / day + 1).saturating_mul(day),
            _ => last_trade_at,
        };
        CreateInstrument {
            instrument: InstrumentId(self.instruments_listed),
            kind: dice
                .pick(&[ContractKind::Spot, ContractKind::Future])
                .into(),
            class: ResourceClass::Gpu.into(),
            grade_performance: dice.between(1, 4) as u8,
            grade_reliability: dice.between(1, 4) as u8,
            grade_energy: dice.between(1, 3) as u8,
            firmness: Raw::from(Firmness::Firm),
            reference_version: 1,
            hours: Hours(hours),
            symbol: Text16::new("GPU-A").unwrap_or_default(),
            zone: Text8::new("EU-1").unwrap_or_default(),
            tick: Price(tick),
            delivery_start: Nanos(last_trade_at.saturating_add(dice.below(2) * Nanos::HOUR.0)),
            last_trade_at: Nanos(last_trade_at),
            initial_margin: Money(dice.pick(&[0, worth / 20, worth / 4, worth])),
            reference_price: Price(reference),
            quantity_max: Quantity(dice.pick(&[60, 500, 1_000_000])),
            notional_max: Money(dice.pick(&[
                worth * 9,
                worth * 150,
                worth * 2_000,
                1_000_000_000_000_000,
            ])),
            collar: PartsPerMillion(dice.pick(&[0, 60_000, 300_000, 1_000_000])),
            protection: PartsPerMillion(dice.pick(&[0, 20_000, 150_000, 1_000_000])),
            ..CreateInstrument::blank()
        }
    }

    /// A new version of a session.
    pub(super) fn open(&mut self, place: usize) -> OpenSession {
        let session = &mut self.sessions[place];
        session.version += 1;
        session.connection += 1;
        session.next_sequence = 1;
        session.established_at = 0;
        session.ready = false;
        OpenSession {
            session: session.id,
            version: SessionVersion(session.version),
            connection: session.connection,
            ..OpenSession::blank()
        }
    }

    /// An establishment of a session as it stands.
    pub(super) fn make_ready(&mut self, place: usize, dice: &mut Dice, now: Nanos) -> ReadySession {
        let session = &mut self.sessions[place];
        session.established_at = now.0.max(session.established_at.saturating_add(1));
        if dice.percent(10) {
            let skipped = dice.below(4) as u32;
            session.next_sequence = session.next_sequence.saturating_add(skipped);
        }
        ReadySession {
            session: session.id,
            next_sequence: MessageSequence(session.next_sequence),
            version: SessionVersion(session.version),
            connection: session.connection,
            timestamp: Nanos(session.established_at),
            cancel_grace: Millis(dice.pick(&[0, 1, 1_500, 3_600_000])),
            cancel_mode: Raw::new(dice.below(4) as u8),
            ..ReadySession::blank()
        }
    }

    /// A name for an order or request that was not used before.
    pub(super) fn fresh_name(&mut self) -> ClientOrderId {
        self.names_given += 1;
        ClientOrderId(self.names_given)
    }

    pub(super) fn orders(&self) -> Vec<Order> {
        self.orders.values().copied().collect()
    }

    pub(super) fn listed(&self) -> Vec<Instrument> {
        self.instruments.values().copied().collect()
    }

    /// How long it is until the next contract expires or the next phase ends, if that is within a
    /// year.
    pub(super) fn next_event(&self, now: u64) -> Option<u64> {
        let ends = self.instruments.values();
        let ends = ends.map(|listed| listed.definition.last_trade_at.0);
        let phases = self.phase_ends.values().copied().filter(|end| *end > now);
        ends.chain(phases)
            .map(|at| at.saturating_sub(now))
            .filter(|span| *span < 365 * Nanos::DAY.0)
            .min()
    }

    /// Learns what happened.
    pub(super) fn observe(&mut self, events: &[u8]) {
        for event in messages(events) {
            match peek_header(event).map_or(0, |header| header.template_id) {
                301..=305 => self.observe_order(event),
                321 => {
                    if let Some(answer) = SessionReady::read(event)
                        && let Some(session) = self.session_mut(answer.session)
                        && answer.refusal.0 == 0
                    {
                        session.ready = true;
                        session.next_sequence = answer.expected_sequence.0;
                    }
                }
                322 => {
                    if let Some(closed) = SessionClosed::read(event)
                        && let Some(session) = self.session_mut(closed.session)
                    {
                        session.ready = false;
                    }
                }
                333 => {
                    if let Some(listed) = InstrumentListed::read(event) {
                        let mid = listed.reference_price.0 / listed.tick.0;
                        let instrument = Instrument {
                            definition: listed,
                            mid,
                        };
                        self.instruments.insert(listed.instrument.0, instrument);
                    }
                }
                335 => {
                    if let Some(set) = KillSwitchSet::read(event) {
                        let (scope, target) = (set.scope.0, set.target);
                        self.stopped
                            .retain(|stopped| (stopped.0, stopped.1) != (scope, target));
                        if set.action == KillAction::Engage.into() {
                            self.stopped.push((scope, target, false));
                        }
                    }
                }
                337 => {
                    if let Some(asked) = KillSwitchReleaseRequested::read(event) {
                        for stopped in &mut self.stopped {
                            stopped.2 |= (stopped.0, stopped.1) == (asked.scope.0, asked.target);
                        }
                    }
                }
                351 => {
                    if let Some(expired) = InstrumentExpired::read(event) {
                        self.instruments.remove(&expired.instrument.0);
                        self.phase_ends.remove(&expired.instrument);
                    }
                }
                371 => {
                    if let Some(changed) = PhaseChanged::read(event) {
                        self.observe_phase(&changed);
                    }
                }
                352 => {
                    if let Some(assigned) = DeliveryAssigned::read(event) {
                        self.obligations
                            .push((assigned.obligation.0, assigned.hours.0));
                    }
                }
                _ => {}
            }
        }
    }

    fn observe_phase(&mut self, changed: &PhaseChanged) {
        let (id, phase) = (changed.instrument, changed.phase.decode());
        for (all, holds) in [
            (&mut self.called, changed.low_price != Price::NONE),
            (&mut self.halted, phase == Some(Phase::Halted)),
        ] {
            if holds {
                all.insert(id);
            } else {
                all.remove(&id);
            }
        }
        self.phase_ends.insert(id, changed.ends_at.0);
    }

    fn observe_order(&mut self, event: &[u8]) {
        if let Some(accepted) = OrderAccepted::read(event) {
            let order = Order {
                id: accepted.order.0,
                client_order_id: accepted.client_order_id.0,
                session: accepted.session,
                instrument: accepted.instrument,
                price: accepted.price.0,
                quantity: accepted.quantity.0,
            };
            self.orders.insert(order.id, order);
        } else if let Some(cancelled) = OrderCancelled::read(event) {
            self.orders.remove(&cancelled.order.0);
        } else if let Some(filled) = OrderFilled::read(event) {
            if filled.liquidity == Liquidity::Taker.into() {
                self.trades.push(filled);
            }
            if filled.leaves.0 == 0 {
                self.orders.remove(&filled.order.0);
            }
        } else if let Some(replaced) = OrderReplaced::read(event)
            && let Some(order) = self.orders.get_mut(&replaced.order.0)
        {
            order.client_order_id = replaced.client_order_id.0;
            order.price = replaced.price.0;
            order.quantity = replaced.quantity.0;
        }
    }

    fn session_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions.iter_mut().find(|session| session.id == id)
    }
}

/// Who owns an account of the set-up.
pub(super) fn owner(account: u32) -> u32 {
    account % PARTICIPANTS + 1
}

fn node_started(orders_max: u32) -> Vec<u8> {
    let started = NodeStarted {
        orders_max,
        ..NodeStarted::blank()
    };
    started.bytes().to_vec()
}
