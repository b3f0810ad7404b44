//! A naive exchange from a seed: makes event streams, and keeps the books that must come of them.
//!
//! Orders lie in one list in time order and everything is found by walking it: nothing here is
//! shared with the images that it checks.

use std::collections::BTreeMap;

use exahour_gateway::image::{Books, Extras, FeedImage, RestingOrder};
use exahour_wire::codes::{
    CancelReason, ContractKind, Firmness, Liquidity, OrderType, Permissions, Priority,
    ResourceClass, Side, TimeInForce, TransferKind,
};
use exahour_wire::events::{
    AccountCreated, CommandDone, DeliveryAssigned, DeliverySettled, FrameEnd, InstrumentExpired,
    InstrumentListed, InstrumentSettled, MachineReady, MoneyMoved, OrderAccepted, OrderCancelled,
    OrderFilled, OrderReduced, OrderRejected, OrderReplaced, OrderShown, SessionCreated,
    TradeBusted, TradeCorrected,
};
use exahour_wire::ids::{
    AccountId, CommandSequence, EventSequence, InstrumentId, MessageSequence, ObligationId,
    OrderId, ParticipantId, SessionId, TradeId, TransferId,
};
use exahour_wire::message::{Message, Text8, Text16, messages};
use exahour_wire::units::{Hours, Money, Nanos, Price, Quantity};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::expected::{Expected, Made};

/// Participants, each with one account and two sessions; the second may receive drop copies.
pub(crate) const PARTICIPANTS: u32 = 3;

#[derive(Clone, Copy, Debug)]
struct Order {
    order: OrderId,
    instrument: InstrumentId,
    side: Side,
    price: Price,
    open: u64,
    filled: u64,
    session: SessionId,
    /// Lots shown at a time, of an iceberg order.
    display: Option<u64>,
    /// Open lots that are not shown.
    hidden: u64,
    /// Whether a stop price waits beside its limit.
    stopped: bool,
}

impl Order {
    fn shown(&self) -> u64 {
        self.open - self.hidden
    }
}

/// What an incoming order does against one of its own participant.
#[derive(Clone, Copy, Debug)]
enum Prevention {
    Trade,
    CancelNewest,
    CancelOldest,
    Decrement,
}

#[derive(Debug)]
pub(crate) struct Market {
    rng: ChaCha8Rng,
    batch: Vec<u8>,
    orders: Vec<Order>,
    instruments: Vec<InstrumentId>,
    expired: Vec<InstrumentId>,
    next_event: u64,
    next_trade: u64,
    next_order: u64,
    next_transfer: u64,
    next_obligation: u64,
    open_obligations: Vec<(ObligationId, AccountId)>,
    trades: Vec<Made>,
    reports: BTreeMap<SessionId, u32>,
    command: u64,
    time: u64,
    setup_left: u32,
}

pub(crate) fn participant_of(session: SessionId) -> ParticipantId {
    ParticipantId(1 + (session.0 - 10) / 2)
}

pub(crate) fn account_of(participant: ParticipantId) -> AccountId {
    AccountId(100 + participant.0)
}

/// The session of a participant that may receive drop copies.
pub(crate) fn back_office(participant: ParticipantId) -> SessionId {
    SessionId(10 + (participant.0 - 1) * 2 + 1)
}

macro_rules! event {
    ($market:ident, $session:expr, $message:ident { $($field:ident: $value:expr),* $(,)? }) => {{
        let (event, time, command) = $market.stamp();
        let session: SessionId = $session;
        let sequence = $market.number(session);
        let message = $message {
            session,
            sequence,
            event,
            time,
            command,
            $($field: $value,)*
            ..$message::blank()
        };
        $market.batch.extend_from_slice(message.bytes());
    }};
}

// Behind the macro, which it uses.
mod stopped;

impl Market {
    pub(crate) fn new(seed: u64) -> Self {
        Market {
            rng: ChaCha8Rng::seed_from_u64(seed),
            batch: Vec::new(),
            orders: Vec::new(),
            instruments: Vec::new(),
            expired: Vec::new(),
            next_event: 1,
            next_trade: 1,
            next_order: 1,
            next_transfer: 1,
            next_obligation: 1,
            open_obligations: Vec::new(),
            trades: Vec::new(),
            reports: BTreeMap::new(),
            command: 0,
            time: 1_700_000_000_000_000_000,
            setup_left: PARTICIPANTS,
        }
    }

    /// Every listed instrument.
    pub(crate) fn instruments(&self) -> impl Iterator<Item = InstrumentId> {
        self.instruments.iter().chain(&self.expired).copied()
    }

    /// Carries out one random command and gives its events.
    pub(crate) fn step(&mut self) -> Vec<u8> {
        self.command += 1;
        self.time += match self.chance(300) {
            true => self.rng.random_range(0..Nanos::DAY.0),
            false => self.rng.random_range(0..1000),
        };
        if self.setup_left > 0 {
            self.create_participant();
        } else if self.instruments.len() < 2 || self.instruments.len() < 5 && self.chance(300) {
            self.list();
        } else {
            match self.rng.random_range(0..1000) {
                0..580 => self.enter(),
                580..600 => self.trigger_any(),
                600..750 => self.cancel(),
                750..900 => self.replace(),
                900..910 => self.mass_cancel(),
                910..920 => self.settle(),
                920..923 => self.expire(),
                923..950 => self.deliver(),
                950..960 => self.amend(),
                _ => {
                    let session = self.session();
                    event!(self, session, OrderRejected { order: OrderId(1) });
                }
            }
        }
        std::mem::take(&mut self.batch)
    }

    /// The right book of an instrument, in the order of a walk.
    pub(crate) fn book(&self, instrument: InstrumentId) -> Vec<RestingOrder> {
        let mut book: Vec<_> = self
            .orders
            .iter()
            .filter(|order| order.instrument == instrument)
            .map(|order| RestingOrder {
                order: order.order,
                instrument,
                side: order.side,
                price: order.price,
                quantity: Quantity(order.shown()),
            })
            .collect();
        // A stable sort keeps time order within a price.
        book.sort_by_key(|order| match order.side {
            Side::Buy => (0, -order.price.0),
            Side::Sell => (1, order.price.0),
        });
        book
    }

    /// What an image must hold of an instrument.
    pub(crate) fn expected(&self, instrument: InstrumentId) -> Expected<'_> {
        Expected {
            instrument,
            book: self.book(instrument),
            trades: &self.trades,
            state: None,
            extras: Extras::default(),
        }
    }

    /// Compares an image of any depth with what it must hold.
    pub(crate) fn check_image(&self, image: &FeedImage, context: &str) {
        for instrument in self.instruments() {
            self.expected(instrument).check(image, context);
        }
    }

    /// Compares an image with the right books.
    pub(crate) fn check(&self, books: &Books, context: &str) {
        let mut orders = 0;
        for instrument in self.instruments() {
            let expected = self.book(instrument);
            let found: Vec<_> = books.orders_of(instrument).collect();
            assert_eq!(
                found, expected,
                "{context}: book of instrument {instrument}"
            );
            orders += expected.len();
            let Some(book) = books.book(instrument) else {
                continue;
            };
            assert_eq!(book.orders() as usize, expected.len(), "{context}");
            for side in [Side::Buy, Side::Sell] {
                let mut lots: Vec<(Price, u64, u32)> = Vec::new();
                for order in expected.iter().filter(|order| order.side == side) {
                    match lots.last_mut().filter(|(price, ..)| *price == order.price) {
                        Some((_, quantity, count)) => {
                            *quantity += order.quantity.0;
                            *count += 1;
                        }
                        None => lots.push((order.price, order.quantity.0, 1)),
                    }
                }
                let levels: Vec<_> = book
                    .levels(side)
                    .map(|level| (level.price, level.quantity.0, level.orders))
                    .collect();
                assert_eq!(levels, lots, "{context}: levels of instrument {instrument}");
            }
        }
        assert_eq!(books.orders(), orders, "{context}: all orders");
    }

    fn chance(&mut self, one_in: u32) -> bool {
        self.rng.random_range(0..one_in) == 0
    }

    fn stamp(&mut self) -> (EventSequence, Nanos, CommandSequence) {
        let event = EventSequence(self.next_event);
        self.next_event += 1;
        (event, Nanos(self.time), CommandSequence(self.command))
    }

    fn number(&mut self, session: SessionId) -> MessageSequence {
        if session == SessionId::NONE {
            return MessageSequence::NONE;
        }
        let number = self.reports.entry(session).or_insert(0);
        *number += 1;
        MessageSequence(*number)
    }

    fn session(&mut self) -> SessionId {
        SessionId(self.rng.random_range(10..10 + 2 * PARTICIPANTS))
    }

    fn instrument(&mut self) -> InstrumentId {
        let place = self.rng.random_range(0..self.instruments.len());
        self.instruments[place]
    }

    fn create_participant(&mut self) {
        let participant = ParticipantId(PARTICIPANTS - self.setup_left + 1);
        self.setup_left -= 1;
        let account = account_of(participant);
        event!(
            self,
            SessionId::NONE,
            AccountCreated {
                account: account,
                participant: participant
            }
        );
        let second = back_office(participant);
        for (new_session, permissions) in [
            (SessionId(second.0 - 1), Permissions::TRADE),
            (
                second,
                Permissions(Permissions::TRADE.0 | Permissions::DROP_COPY.0),
            ),
        ] {
            event!(
                self,
                SessionId::NONE,
                SessionCreated {
                    new_session: new_session,
                    participant: participant,
                    permissions: permissions,
                }
            );
        }
    }

    fn list(&mut self) {
        let instrument = InstrumentId(1 + (self.instruments.len() + self.expired.len()) as u32);
        self.instruments.push(instrument);
        event!(
            self,
            SessionId::NONE,
            InstrumentListed {
                instrument: instrument,
                kind: ContractKind::Future.into(),
                class: ResourceClass::Gpu.into(),
                firmness: Firmness::Firm.into(),
                hours: Hours(24),
                symbol: Text16::new("GPU-1").unwrap(),
                zone: Text8::new("EU").unwrap(),
                tick: Price(1),
            }
        );
    }

    fn enter(&mut self) {
        let session = self.session();
        let order = Order {
            order: OrderId(self.next_order << 24 | self.rng.random_range(0..50)),
            instrument: self.instrument(),
            side: if self.chance(2) {
                Side::Buy
            } else {
                Side::Sell
            },
            price: Price(self.rng.random_range(95..=105)),
            open: self.rng.random_range(1..=20),
            filled: 0,
            session,
            display: self.chance(4).then_some(3),
            hidden: 0,
            stopped: false,
        };
        self.next_order += 1;
        let time_in_force = match self.rng.random_range(0..10) {
            0 => TimeInForce::ImmediateOrCancel,
            1 => TimeInForce::FillOrKill,
            _ => TimeInForce::GoodTillCancelled,
        };
        let lives = time_in_force == TimeInForce::GoodTillCancelled;
        if lives && order.display.is_none() && self.chance(5) {
            return self.enter_one_cancels_other(order);
        }
        event!(
            self,
            session,
            OrderAccepted {
                order: order.order,
                price: order.price,
                quantity: Quantity(order.open),
                account: account_of(participant_of(session)),
                instrument: order.instrument,
                side: order.side.into(),
                order_type: OrderType::Limit.into(),
                time_in_force: time_in_force.into(),
            }
        );
        let post_only = time_in_force == TimeInForce::GoodTillCancelled && self.chance(10);
        if post_only && self.best_against(&order).is_some() {
            return self.cancelled(&order, CancelReason::PostOnly);
        }
        let fillable: u64 = self
            .against(&order)
            .map(|place| self.orders[place].open)
            .sum();
        if time_in_force == TimeInForce::FillOrKill && fillable < order.open {
            return self.cancelled(&order, CancelReason::NotFillable);
        }
        self.take(order, time_in_force != TimeInForce::GoodTillCancelled);
    }

    fn against<'a>(&'a self, taker: &'a Order) -> impl Iterator<Item = usize> + 'a {
        self.orders.iter().enumerate().filter_map(|(place, order)| {
            let opposite = order.instrument == taker.instrument && order.side != taker.side;
            let crossing = match taker.side {
                Side::Buy => order.price <= taker.price,
                Side::Sell => order.price >= taker.price,
            };
            (opposite && crossing).then_some(place)
        })
    }

    fn best_against(&self, taker: &Order) -> Option<usize> {
        self.against(taker).min_by_key(|place| match taker.side {
            Side::Buy => self.orders[*place].price.0,
            Side::Sell => -self.orders[*place].price.0,
        })
    }

    /// Matches an incoming order and lets its rest stand.
    fn take(&mut self, mut taker: Order, immediate: bool) {
        let prevention = match self.rng.random_range(0..4) {
            0 => Prevention::Trade,
            1 => Prevention::CancelNewest,
            2 => Prevention::CancelOldest,
            _ => Prevention::Decrement,
        };
        while taker.open > 0 {
            let Some(place) = self.best_against(&taker) else {
                break;
            };
            let mut maker = self.orders[place];
            let own = participant_of(maker.session) == participant_of(taker.session);
            let quantity = maker.shown().min(taker.open);
            match prevention {
                Prevention::CancelNewest if own => {
                    return self.cancelled(&taker, CancelReason::SelfTrade);
                }
                Prevention::CancelOldest if own => {
                    self.orders.remove(place);
                    self.cancelled(&maker, CancelReason::SelfTrade);
                    continue;
                }
                Prevention::Decrement if own => {
                    for order in [&mut maker, &mut taker] {
                        order.open -= quantity;
                        self.reduced(order, quantity);
                    }
                }
                _ => self.trade(&mut maker, &mut taker, quantity),
            }
            self.orders[place] = maker;
            if maker.shown() == 0 {
                self.orders.remove(place);
                if maker.open > 0 {
                    self.rest(maker);
                }
            }
        }
        if taker.open > 0 && immediate {
            self.cancelled(&taker, CancelReason::ImmediateRest);
        } else if taker.open > 0 {
            self.rest(taker);
        }
    }

    /// Puts an order last at its price, with what it shows.
    fn rest(&mut self, mut order: Order) {
        if let Some(display) = order.display {
            let shown = order.open.min(display);
            order.hidden = order.open - shown;
            event!(
                self,
                order.session,
                OrderShown {
                    order: order.order,
                    price: order.price,
                    quantity: Quantity(shown),
                    display_quantity: Quantity(display),
                    leaves: Quantity(order.open),
                    account: account_of(participant_of(order.session)),
                    instrument: order.instrument,
                    side: order.side.into(),
                }
            );
        }
        self.orders.push(order);
    }

    fn trade(&mut self, maker: &mut Order, taker: &mut Order, quantity: u64) {
        let trade = TradeId(self.next_trade);
        self.next_trade += 1;
        let price = maker.price;
        self.trades.push(Made {
            trade,
            instrument: maker.instrument,
            time: Nanos(self.time),
            price,
            quantity: Quantity(quantity),
        });
        for (order, liquidity) in [(maker, Liquidity::Maker), (taker, Liquidity::Taker)] {
            order.open -= quantity;
            order.filled += quantity;
            event!(
                self,
                order.session,
                OrderFilled {
                    order: order.order,
                    trade: trade,
                    price: price,
                    quantity: Quantity(quantity),
                    leaves: Quantity(order.open),
                    account: account_of(participant_of(order.session)),
                    instrument: order.instrument,
                    side: order.side.into(),
                    liquidity: liquidity.into(),
                }
            );
        }
        let debit = AccountId(101 + (self.next_trade % 3) as u32);
        let credit = AccountId(3);
        self.move_money(debit, credit);
    }

    fn move_money(&mut self, debit: AccountId, credit: AccountId) {
        let transfer = TransferId(self.next_transfer);
        self.next_transfer += 1;
        event!(
            self,
            SessionId::NONE,
            MoneyMoved {
                transfer: transfer,
                debit: debit,
                credit: credit,
                amount: Money(5),
                kind: TransferKind::VariationMargin.into(),
            }
        );
    }

    /// Undoes a trade that was made lately, or makes it anew.
    fn amend(&mut self) {
        let recent = self.trades.len().min(50);
        if recent == 0 {
            return self.list_or_nothing();
        }
        let place = self.trades.len() - 1 - self.rng.random_range(0..recent);
        let before = self.trades[place];
        if before.quantity.0 == 0 {
            return self.list_or_nothing();
        }
        let bust = self.chance(2);
        let after = &mut self.trades[place];
        after.quantity = match bust {
            true => Quantity(0),
            false => Quantity(self.rng.random_range(1..=before.quantity.0)),
        };
        after.price = Price(self.rng.random_range(95..=105));
        let after = *after;
        for side in [Side::Buy, Side::Sell] {
            let session = self.session();
            if bust {
                event!(
                    self,
                    session,
                    TradeBusted {
                        trade: before.trade,
                        price: before.price,
                        quantity: before.quantity,
                        instrument: before.instrument,
                        side: side.into(),
                    }
                );
            } else {
                event!(
                    self,
                    session,
                    TradeCorrected {
                        trade: before.trade,
                        price_before: before.price,
                        quantity_before: before.quantity,
                        price: after.price,
                        quantity: after.quantity,
                        instrument: before.instrument,
                        side: side.into(),
                    }
                );
            }
        }
    }

    fn cancelled(&mut self, order: &Order, reason: CancelReason) {
        event!(
            self,
            order.session,
            OrderCancelled {
                order: order.order,
                price: order.price,
                quantity: Quantity(order.open),
                account: account_of(participant_of(order.session)),
                instrument: order.instrument,
                side: order.side.into(),
                reason: reason.into(),
            }
        );
    }

    fn reduced(&mut self, order: &Order, quantity: u64) {
        event!(
            self,
            order.session,
            OrderReduced {
                order: order.order,
                quantity: Quantity(quantity),
                leaves: Quantity(order.open),
                account: account_of(participant_of(order.session)),
                instrument: order.instrument,
                side: order.side.into(),
            }
        );
    }

    fn cancel(&mut self) {
        if self.orders.is_empty() {
            return self.list_or_nothing();
        }
        let place = self.rng.random_range(0..self.orders.len());
        let order = self.orders.remove(place);
        self.cancelled(&order, CancelReason::Requested);
    }

    fn replace(&mut self) {
        if self.orders.is_empty() {
            return self.list_or_nothing();
        }
        let place = self.rng.random_range(0..self.orders.len());
        let mut order = self.orders[place];
        let kept = order.open > 1 && self.chance(2);
        if kept {
            let shown = order.shown();
            order.open = self.rng.random_range(1..order.open);
            order.hidden = order.open.saturating_sub(shown);
            self.orders[place] = order;
        } else {
            self.orders.remove(place);
            order.price = Price(self.rng.random_range(95..=105));
            order.open = self.rng.random_range(1..=20);
            order.hidden = 0;
        }
        let priority = if kept { Priority::Kept } else { Priority::Lost };
        event!(
            self,
            order.session,
            OrderReplaced {
                order: order.order,
                price: order.price,
                quantity: Quantity(order.open + order.filled),
                leaves: Quantity(order.open),
                account: account_of(participant_of(order.session)),
                instrument: order.instrument,
                side: order.side.into(),
                priority: priority.into(),
            }
        );
        if !kept {
            self.take(order, false);
        }
    }

    fn mass_cancel(&mut self) {
        let session = self.session();
        let mut gone: Vec<Order> = self
            .orders
            .iter()
            .filter(|order| order.session == session)
            .copied()
            .collect();
        gone.sort_by_key(|order| order.order);
        self.orders.retain(|order| order.session != session);
        for order in &gone {
            self.cancelled(order, CancelReason::MassCancel);
        }
        event!(
            self,
            session,
            CommandDone {
                count: gone.len() as u64
            }
        );
    }

    fn settle(&mut self) {
        let instrument = self.instrument();
        self.move_money(AccountId(2), AccountId(102));
        let price = Price(self.rng.random_range(95..=105));
        event!(
            self,
            SessionId::NONE,
            InstrumentSettled {
                instrument: instrument,
                price: price
            }
        );
    }

    fn expire(&mut self) {
        let instrument = self.instruments.remove(0);
        self.expired.push(instrument);
        let gone: Vec<Order> = self
            .orders
            .iter()
            .filter(|order| order.instrument == instrument)
            .copied()
            .collect();
        self.orders.retain(|order| order.instrument != instrument);
        for order in &gone {
            self.cancelled(order, CancelReason::InstrumentExpired);
        }
        event!(
            self,
            SessionId::NONE,
            InstrumentExpired {
                instrument: instrument,
                price: Price(100)
            }
        );
    }

    /// A delivery between two of the participants begins, goes on or ends.
    fn deliver(&mut self) {
        if self.open_obligations.len() < 3 {
            let obligation = ObligationId(self.next_obligation);
            self.next_obligation += 1;
            let buyer = AccountId(self.rng.random_range(101..=103));
            let seller = AccountId(101 + buyer.0 % 3);
            self.open_obligations.push((obligation, buyer));
            event!(
                self,
                SessionId::NONE,
                DeliveryAssigned {
                    obligation: obligation,
                    buyer: buyer,
                    seller: seller,
                    quantity: Quantity(1),
                }
            );
        } else if self.chance(2) {
            let (obligation, buyer) = self.open_obligations[0];
            event!(
                self,
                SessionId::NONE,
                MachineReady {
                    obligation: obligation,
                    buyer: buyer
                }
            );
        } else {
            let (obligation, _) = self.open_obligations.remove(0);
            event!(
                self,
                SessionId::NONE,
                DeliverySettled {
                    obligation: obligation
                }
            );
        }
    }

    fn list_or_nothing(&mut self) {
        let session = self.session();
        event!(self, session, CommandDone { count: 0 });
    }
}

/// Groups the events of commands into frames of random size, some of which end within a command.
pub(crate) fn frames(commands: &[Vec<u8>], rng: &mut impl Rng) -> Vec<(Vec<u8>, FrameEnd)> {
    let mut frames = Vec::new();
    let mut rest = commands;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(rng.random_range(1..=rest.len().min(20)));
        let events = now.concat();
        let mut frame = Vec::new();
        for event in messages(&events) {
            if !frame.is_empty() && rng.random_bool(0.2) {
                frames.push((std::mem::take(&mut frame), FrameEnd::Anywhere));
            }
            frame.extend_from_slice(event);
        }
        frames.push((frame, FrameEnd::Command));
        rest = later;
    }
    frames
}
