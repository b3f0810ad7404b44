//! The state of the exchange as plain facts, and chapter 1: batches, time and numbers.
//!
//! Called by the tests. Every other chapter adds rules to [`Twin`] and reads these facts.
//!
//! Always holds: maps are ordered, so nothing depends on chance; amounts are 128 bits wide.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use exahour_wire::codes::{
    CancelOnDisconnect, ContractKind, OrderType, Permissions, Phase, Scope, SelfTradePrevention,
    Side, TimeInForce,
};
use exahour_wire::events::StateHashed;
use exahour_wire::ids::{
    AccountId, Behaviour, ClientOrderId, CommandSequence, InstrumentId, ObligationId, OrderId,
    ParticipantId, SessionId,
};
use exahour_wire::internal::TakeStateHash;
use exahour_wire::limits::ORDERS_MAX;
use exahour_wire::limits::{MONEY_MAX, PRICE_MAX, PRICE_RANGE_FACTOR};
use exahour_wire::message::{AccessKey, Digest, Message, messages};
use exahour_wire::operations::CreateInstrument;
use exahour_wire::units::{Millis, Nanos};

use crate::activity::Activity;
use crate::amends::Trade;

use crate::band::Band;
use crate::behaviour::FIRST;
use crate::breaker::Guard;
use crate::pegs::Peg;
use crate::phases::{Calendar, Call};

/// The slow twin of the engine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Twin {
    /// Which rules are in force.
    pub(crate) behaviour: Behaviour,
    /// How many orders may live at once.
    pub(crate) orders_max: usize,
    /// The time of the batch.
    pub(crate) now: Nanos,
    /// The number of the command being executed.
    pub(crate) command: CommandSequence,
    /// Events of this batch so far.
    pub(crate) output: Vec<u8>,
    /// How many events, transfers, trades, obligations and accepted orders there were.
    pub(crate) counts: Counts,
    pub(crate) participants: BTreeSet<ParticipantId>,
    pub(crate) sessions: BTreeMap<SessionId, Session>,
    /// What sessions did since the day began.
    pub(crate) activities: BTreeMap<SessionId, Activity>,
    pub(crate) accounts: BTreeMap<AccountId, Account>,
    pub(crate) instruments: BTreeMap<InstrumentId, Instrument>,
    /// Every live order, resting or just arrived.
    pub(crate) orders: BTreeMap<OrderId, Order>,
    /// Places of the order table that were used and are free, the most recently freed last.
    pub(crate) free_slots: Vec<u64>,
    /// How many places of the order table were ever used.
    pub(crate) slots_used: u64,
    /// Signed lots; an account without a position has no entry.
    pub(crate) positions: BTreeMap<(InstrumentId, AccountId), i128>,
    pub(crate) position_limits: BTreeMap<(InstrumentId, AccountId), i128>,
    pub(crate) balances: BTreeMap<AccountId, i128>,
    /// What the engaged kill switches cover, and which session asks for the release.
    pub(crate) stopped: BTreeMap<(Scope, u32), Option<SessionId>>,
    pub(crate) obligations: BTreeMap<ObligationId, Obligation>,
    /// Every trade, the first one first.
    pub(crate) trades: Vec<Trade>,
    /// The secret of random ends.
    pub(crate) auction_seed: Digest,
    /// When is carried on what a command left: stop orders to let in, pegged orders to move.
    pub(crate) elect_at: Option<Nanos>,
    /// The instrument from which pegged orders are moved next, where a command left some.
    pub(crate) peg_turn: Option<InstrumentId>,
}

/// Numbers given out so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Counts {
    pub(crate) events: u64,
    pub(crate) transfers: u64,
    pub(crate) trades: u64,
    pub(crate) obligations: u64,
    pub(crate) orders: u64,
}

/// A session: chapter 2.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Session {
    pub(crate) participant: ParticipantId,
    pub(crate) permissions: Permissions,
    /// Messages a second; zero for no throttle.
    pub(crate) rate: i128,
    pub(crate) burst: i128,
    /// Billionths of a message.
    pub(crate) tokens: i128,
    pub(crate) last_message_at: Nanos,
    pub(crate) refusals: u32,
    pub(crate) version: u64,
    pub(crate) expected: u32,
    /// The number of the next report.
    pub(crate) outbound: u32,
    pub(crate) established_at: Nanos,
    pub(crate) ready: Option<Ready>,
    /// When its orders are cancelled because it stayed away.
    pub(crate) cancel_at: Option<Nanos>,
    /// How long it may say nothing, and when it was heard of last.
    pub(crate) dead_man: Option<(Millis, Nanos)>,
}

/// What a session that is ready said when it became so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ready {
    pub(crate) connection: u64,
    pub(crate) mode: CancelOnDisconnect,
    pub(crate) grace: Nanos,
}

/// An account of a participant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Account {
    pub(crate) participant: ParticipantId,
    /// The key of its machines, and the session that registered it.
    pub(crate) key: Option<(SessionId, AccessKey)>,
}

/// Orders resting on one side of one book: by price, oldest first.
pub(crate) type Queue = BTreeMap<i64, VecDeque<OrderId>>;

/// A contract and its book.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Instrument {
    /// What of its listing still matters; the rest is blank.
    pub(crate) definition: CreateInstrument,
    pub(crate) kind: ContractKind,
    pub(crate) settlement_price: i64,
    pub(crate) last_trade_price: Option<i64>,
    pub(crate) expired: bool,
    pub(crate) calendar: Calendar,
    pub(crate) phase: Phase,
    /// When the phase ends, if something says so.
    pub(crate) phase_due: Option<Nanos>,
    /// When everybody was told that it is to end.
    pub(crate) said_to_end: Option<Nanos>,
    pub(crate) call: Option<Call>,
    pub(crate) guard: Option<Guard>,
    pub(crate) band: Option<Band>,
    pub(crate) bids: Queue,
    pub(crate) asks: Queue,
    /// Stop orders whose price was reached, in the order in which they are let in.
    pub(crate) elected: VecDeque<OrderId>,
    /// Pegged orders, in the order in which they were entered or last given a price.
    pub(crate) pegged: Vec<OrderId>,
}

impl Instrument {
    pub(crate) fn hours(&self) -> i128 {
        i128::from(self.definition.hours.0)
    }

    pub(crate) fn tick(&self) -> i64 {
        self.definition.tick.0
    }

    pub(crate) fn price_cap(&self) -> i64 {
        price_cap(&self.definition)
    }

    /// The price that collars and market orders start from.
    pub(crate) fn reference(&self) -> i64 {
        self.last_trade_price.unwrap_or(self.settlement_price)
    }

    pub(crate) fn queue(&mut self, side: Side) -> &mut Queue {
        match side {
            Side::Buy => &mut self.bids,
            Side::Sell => &mut self.asks,
        }
    }

    /// The resting orders of a side, in the order in which they trade.
    pub(crate) fn in_order_of_trading(&self, side: Side) -> Vec<OrderId> {
        match side {
            Side::Buy => self.bids.values().rev().flatten().copied().collect(),
            Side::Sell => self.asks.values().flatten().copied().collect(),
        }
    }

    pub(crate) fn best(&self, side: Side) -> Option<i64> {
        match side {
            Side::Buy => self.bids.keys().next_back().copied(),
            Side::Sell => self.asks.keys().next().copied(),
        }
    }
}

/// The highest price an instrument may ever have: rule 5.7.
pub(crate) fn price_cap(definition: &CreateInstrument) -> i64 {
    let factor = i128::from(PRICE_RANGE_FACTOR);
    let far = i128::from(definition.reference_price.0) * factor;
    let cap = far.min(i128::from(PRICE_MAX.0)) as i64;
    cap - cap % definition.tick.0
}

/// The position whose value stays lawful at any price: rule 5.13.
pub(crate) fn position_cap(definition: &CreateInstrument) -> i128 {
    let dearest_lot = i128::from(price_cap(definition)) * i128::from(definition.hours.0);
    i128::from(MONEY_MAX.0) / dearest_lot
}

/// A live order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Order {
    pub(crate) id: OrderId,
    pub(crate) client_order_id: ClientOrderId,
    pub(crate) session: SessionId,
    pub(crate) participant: ParticipantId,
    pub(crate) account: AccountId,
    pub(crate) instrument: InstrumentId,
    pub(crate) side: Side,
    pub(crate) order_type: OrderType,
    pub(crate) time_in_force: TimeInForce,
    pub(crate) prevention: SelfTradePrevention,
    pub(crate) post_only: bool,
    pub(crate) limit: i64,
    /// Lots that have traded.
    pub(crate) traded: u64,
    /// Lots still open.
    pub(crate) leaves: u64,
    /// Lots that an iceberg order shows at a time.
    pub(crate) display: Option<u64>,
    /// Open lots that stand in the book and are not shown.
    pub(crate) hidden: u64,
    pub(crate) expires_at: Option<Nanos>,
    /// The stop price of an order that is not in the market.
    pub(crate) stop: Option<i64>,
    pub(crate) peg: Option<Peg>,
    /// Of a one-cancels-other order that is in the market at its limit.
    pub(crate) other: Option<OtherLeg>,
}

/// What a one-cancels-other order waits for beside its limit, and what it is then.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct OtherLeg {
    pub(crate) stop: i64,
    pub(crate) order_type: OrderType,
    pub(crate) limit: i64,
}

impl Order {
    pub(crate) fn total(&self) -> u64 {
        self.traded + self.leaves
    }

    /// The limit for which funds are kept: the dearest that it can come to.
    pub(crate) fn dearest(&self) -> i64 {
        match (self.other, self.side) {
            (None, _) => self.own_limit(),
            (Some(other), Side::Buy) => self.limit.max(other.limit),
            (Some(other), Side::Sell) => self.limit.min(other.limit),
        }
    }

    /// Open lots that are shown; of an order that is in no book, all.
    pub(crate) fn shown(&self) -> u64 {
        self.leaves - self.hidden
    }

    /// Takes lots away, those that are shown first.
    pub(crate) fn lose(&mut self, lots: u64) {
        let shown = self.shown().saturating_sub(lots);
        self.leaves -= lots;
        self.hidden = self.leaves - shown;
    }
}

/// A duty to deliver.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Obligation {
    pub(crate) buyer: AccountId,
    pub(crate) seller: AccountId,
    pub(crate) hours: i128,
    /// What the buyer paid into escrow.
    pub(crate) value: i128,
    /// What of the seller's money is locked until it is settled.
    pub(crate) collateral: i128,
    pub(crate) settled: bool,
}

impl Twin {
    /// An exchange in which nothing has happened.
    #[must_use]
    pub fn new() -> Self {
        Self {
            behaviour: FIRST,
            orders_max: ORDERS_MAX as usize,
            ..Self::default()
        }
    }

    /// Whether more than time and the count of commands and events has changed.
    #[must_use]
    pub fn differs_beyond_numbers(&self, other: &Self) -> bool {
        let mut like = other.clone();
        like.now = self.now;
        like.command = self.command;
        like.counts.events = self.counts.events;
        like != *self
    }

    /// Executes one batch and appends its events: rules 1.1 and 1.2.
    pub fn apply(
        &mut self,
        time: Nanos,
        first: CommandSequence,
        commands: &[u8],
        events: &mut Vec<u8>,
    ) {
        let later = time > self.now;
        self.now = time;
        self.command = first;
        self.fire_due_timers();
        if later {
            self.follow_up();
        }
        for record in messages(commands) {
            self.execute(record);
            self.follow_up();
            if TakeStateHash::read(record).is_some() {
                self.fact(StateHashed::blank());
            }
            self.command.0 += 1;
        }
        events.append(&mut self.output);
    }
}
