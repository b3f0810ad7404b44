//! The second stage: carries out what was admitted, and reports everything.
//!
//! Fed with every command and its verdict, in order. Owns books, positions, ledger, timers,
//! obligations, and all numbers that are given out.
//!
//! Always holds: one command is carried out wholly before the next; the only way anything gets out
//! is an event.

mod accept;
mod activity;
mod amend;
mod band;
mod breaker;
mod cancel;
mod dead_man;
mod delivery;
mod expiry;
mod iceberg;
mod instrument_status;
mod look_ahead;
mod marking;
mod matching;
mod one_cancels_other;
mod operations;
mod pegs;
mod phases;
mod quotes;
mod replace;
mod sessions;
mod status;
mod stops;
mod uncross;

use std::collections::BTreeSet;

use exahour_wire::codes::{Scope, Side, TransferKind};
use exahour_wire::events::{
    BehaviourActivated, CommandRejected, DuplicateIgnored, MoneyMoved, OrderRejected, SequenceGap,
};
use exahour_wire::ids::{
    AccountId, ClientOrderId, CommandSequence, InstrumentId, MessageSequence, OrderId, SessionId,
    TransferId,
};
use exahour_wire::limits::TRADES_KEPT;
use exahour_wire::message::{Digest, Message, Pad, peek_header};
use exahour_wire::reject::Reject;
use exahour_wire::units::{Money, Nanos, Price, Quantity};
use exahour_wire::{internal, operations as ops, orders as entry};

use crate::admit::{CLIENT_TEMPLATES, CommandPrefix, Gap, Outcome, Verdict};
use crate::batch::EventSink;
use crate::behaviour::InForce;
use crate::book::{BESIDE, Book, Names, OrderTable, Slot};
use crate::capacity::Capacity;
use crate::ledger::Ledger;
use crate::pegs::Pegs;
use crate::positions::{Positions, adverse};
use crate::reporter::{Output, Reporter};
use crate::stops::Stops;
use crate::terms::Terms;
use crate::timers::{Due, Timers};
use crate::trade_log::TradeLog;
use crate::trading::Trading;
use uncross::AuctionRoom;

pub(crate) use activity::Activity;
pub(crate) use dead_man::DeadMan;
pub(crate) use delivery::Obligation;
pub(crate) use iceberg::check_parts;
pub(crate) use one_cancels_other::{check_legs, worse};
pub(crate) use sessions::SessionFlow;

/// One instrument as it trades.
pub(crate) struct Instrument {
    pub(crate) id: InstrumentId,
    pub(crate) terms: Terms,
    /// The price at which positions are carried.
    pub(crate) settlement: Price,
    pub(crate) last_trade: Option<Price>,
    pub(crate) expired: bool,
    pub(crate) trading: Trading,
    pub(crate) book: Book,
    /// Stop prices that wait, of stop orders and beside limit orders; none before the first.
    pub(crate) stops: Option<Box<Stops>>,
    /// Pegged orders, wherever they are; none where there are none.
    pub(crate) pegs: Option<Box<Pegs>>,
}

impl Instrument {
    /// What collars and protection start from.
    #[inline]
    fn reference(&self) -> Price {
        self.last_trade.unwrap_or(self.settlement)
    }
}

/// The second stage.
pub(crate) struct Execute {
    pub(crate) ledger: Ledger,
    pub(crate) positions: Positions,
    pub(crate) orders: OrderTable,
    pub(crate) names: Names,
    /// By id; an instrument is taken out while a command works on it.
    pub(crate) instruments: Vec<Option<Box<Instrument>>>,
    pub(crate) sessions: Vec<SessionFlow>,
    /// By session, as `sessions`.
    pub(crate) activities: Vec<Activity>,
    pub(crate) obligations: Vec<Obligation>,
    pub(crate) reporter: Reporter,
    pub(crate) timers: Timers,
    /// Orders given a date of their own: what keeps an entry of the timers alive.
    pub(crate) dated: usize,
    /// The end of day for which a timer is set.
    pub(crate) day_end: Nanos,
    pub(crate) trade_log: TradeLog,
    pub(crate) transfers: u64,
    /// Which rules count.
    pub(crate) in_force: InForce,
    /// Seeds what finds prices that clients choose.
    pub(crate) index_seed: u64,
    /// The secret of random ends.
    pub(crate) auction_seed: Digest,
    /// Instruments that may have stop orders to let into the market.
    pub(crate) electing: BTreeSet<InstrumentId>,
    /// Instruments that may have pegged orders to move.
    pub(crate) pegs_touched: BTreeSet<InstrumentId>,
    /// Where the moving of pegged orders goes on, where a command has left some.
    pub(crate) peg_turn: InstrumentId,
    /// When is carried on what a command left: stop orders to let in, pegged orders to move; never where
    /// nothing is.
    pub(crate) elect_at: Nanos,
    /// Places of orders to be cancelled together; kept to spare the allocation.
    selected: Vec<Slot>,
    auction_room: AuctionRoom,
}

/// A command whose sender is answered.
#[derive(Clone, Copy)]
struct Request {
    session: SessionId,
    sequence: MessageSequence,
    name: ClientOrderId,
    template: u16,
}

const SELECTED_AT_START: usize = 1 << 16;

impl Execute {
    pub(crate) fn new(capacity: &Capacity) -> Self {
        Self {
            ledger: Ledger::new(),
            positions: Positions::new(capacity),
            orders: OrderTable::new(capacity),
            names: Names::new(capacity),
            instruments: Vec::new(),
            sessions: vec![SessionFlow::default()],
            activities: vec![Activity::default()],
            obligations: Vec::new(),
            reporter: Reporter::new(),
            timers: Timers::new(SELECTED_AT_START),
            dated: 0,
            day_end: Nanos(0),
            trade_log: TradeLog::new(TRADES_KEPT),
            transfers: 0,
            in_force: InForce::FIRST,
            index_seed: capacity.index_seed,
            auction_seed: Digest::default(),
            electing: BTreeSet::new(),
            pegs_touched: BTreeSet::new(),
            peg_turn: InstrumentId::NONE,
            elect_at: Nanos::NEVER,
            selected: Vec::with_capacity(SELECTED_AT_START),
            auction_room: AuctionRoom::default(),
        }
    }

    /// Carries out one command.
    #[inline]
    pub(crate) fn execute<S: EventSink>(
        &mut self,
        command: &[u8],
        verdict: Verdict,
        out: &mut Output<'_, S>,
    ) {
        if verdict.outcome == Outcome::Ignore {
            return;
        }
        let (Some(header), Some(prefix)) = (peek_header(command), CommandPrefix::peek(command))
        else {
            return;
        };
        let request = Request {
            session: prefix.session,
            sequence: prefix.sequence,
            name: prefix.request,
            template: header.template_id,
        };
        if let Some(gap) = verdict.gap {
            self.report_gap(out, request.session, gap);
        }
        let is_numbered = matches!(
            verdict.outcome,
            Outcome::Carry | Outcome::CarryQuotes(_) | Outcome::Refuse(_) | Outcome::Expel { .. }
        );
        if is_numbered && CLIENT_TEMPLATES.contains(&request.template) {
            self.hear(request.session, request.sequence, out.time);
        }
        let result = match verdict.outcome {
            Outcome::Carry => self.carry_out(command, request, out),
            Outcome::CarryQuotes(faults) => {
                if let Some(command) = entry::MassQuote::read(command) {
                    self.mass_quote(&command, faults, request, out);
                }
                Ok(())
            }
            Outcome::Refuse(reject) => Err(reject),
            Outcome::RefuseUnready => {
                self.refuse_unready(out, request, command);
                Ok(())
            }
            Outcome::Duplicate => {
                let ignored = DuplicateIgnored {
                    client_sequence: request.sequence,
                    ..Message::blank()
                };
                self.reporter.notice(out, request.session, ignored);
                Ok(())
            }
            Outcome::Expel { version } => {
                self.refuse(out, request, Reject::Throttled, command);
                self.expel(out, request.session, version);
                Ok(())
            }
            outcome => {
                self.answer_session(command, outcome, out);
                Ok(())
            }
        };
        if let Err(reject) = result {
            self.refuse(out, request, reject, command);
        }
    }

    #[inline]
    fn carry_out<S: EventSink>(
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
        match request.template {
            entry::NewOrder::TEMPLATE_ID => self.new_order(read!(entry::NewOrder), out),
            entry::NewAdvancedOrder::TEMPLATE_ID => {
                self.new_advanced_order(read!(entry::NewAdvancedOrder), out)
            }
            entry::CancelOrder::TEMPLATE_ID => {
                self.cancel_order(read!(entry::CancelOrder), request, out)
            }
            entry::ReplaceOrder::TEMPLATE_ID => self.replace_order(read!(entry::ReplaceOrder), out),
            entry::MassCancel::TEMPLATE_ID => {
                self.mass_cancel(read!(entry::MassCancel), request, out);
                Ok(())
            }
            entry::OrderStatusRequest::TEMPLATE_ID => {
                self.order_status(read!(entry::OrderStatusRequest), out)
            }
            ops::SessionActivityRequest::TEMPLATE_ID => {
                self.tell_activity(read!(ops::SessionActivityRequest), out);
                Ok(())
            }
            ops::InstrumentStatusRequest::TEMPLATE_ID => {
                self.instrument_status(read!(ops::InstrumentStatusRequest), out)
            }
            entry::DeadMan::TEMPLATE_ID => {
                self.arm_dead_man(read!(entry::DeadMan), request, out);
                Ok(())
            }
            ops::BustTrade::TEMPLATE_ID => {
                self.bust_trade(read!(ops::BustTrade).trade, request, out)
            }
            ops::CorrectTrade::TEMPLATE_ID => {
                self.correct_trade(read!(ops::CorrectTrade), request, out)
            }
            ops::SettlePrice::TEMPLATE_ID => {
                self.settle_price(read!(ops::SettlePrice), request, out)
            }
            ops::SetCalendar::TEMPLATE_ID => {
                self.set_calendar(read!(ops::SetCalendar), request, out)
            }
            ops::SetAuctionSeed::TEMPLATE_ID => {
                self.set_auction_seed(read!(ops::SetAuctionSeed), request, out);
                Ok(())
            }
            ops::HaltTrading::TEMPLATE_ID => {
                self.halt_trading(read!(ops::HaltTrading), request, out)
            }
            ops::ResumeTrading::TEMPLATE_ID => {
                self.resume_trading(read!(ops::ResumeTrading), request, out)
            }
            ops::SetPriceBand::TEMPLATE_ID => {
                self.set_price_band(read!(ops::SetPriceBand), request, out)
            }
            ops::SetCircuitBreaker::TEMPLATE_ID => {
                self.set_circuit_breaker(read!(ops::SetCircuitBreaker), request, out)
            }
            ops::DeliveryStarted::TEMPLATE_ID => {
                self.delivery_started(read!(ops::DeliveryStarted), request, out)
            }
            ops::ConfirmDelivery::TEMPLATE_ID => {
                let report = read!(ops::ConfirmDelivery);
                self.settle_delivery(report.obligation, report.verified, request, out)
            }
            ops::DeliveryFailed::TEMPLATE_ID => {
                let report = read!(ops::DeliveryFailed);
                self.settle_delivery(report.obligation, report.verified, request, out)
            }
            internal::CloseSession::TEMPLATE_ID => {
                self.close_session(read!(internal::CloseSession), out);
                Ok(())
            }
            internal::NodeStarted::TEMPLATE_ID => {
                self.node_started(read!(internal::NodeStarted), out);
                Ok(())
            }
            internal::ActivateBehaviour::TEMPLATE_ID => {
                self.activate(read!(internal::ActivateBehaviour), out);
                Ok(())
            }
            // Ticks exist for the timers, and state hashes are the engine's own business.
            internal::Tick::TEMPLATE_ID
            | internal::TakeStateHash::TEMPLATE_ID
            | internal::Checkpoint::TEMPLATE_ID => Ok(()),
            _ => self.operate(command, request, out),
        }
    }

    /// Puts the rules of another behaviour in force.
    fn activate<S: EventSink>(
        &mut self,
        activate: &internal::ActivateBehaviour,
        out: &mut Output<'_, S>,
    ) {
        let former = self.in_force.behaviour;
        self.in_force = InForce {
            behaviour: activate.behaviour,
            since: out.command,
        };
        let activated = BehaviourActivated {
            behaviour: activate.behaviour,
            former,
            ..Message::blank()
        };
        self.reporter.fact(out, activated);
    }

    /// Fires one timer.
    pub(crate) fn fire<S: EventSink>(&mut self, at: Nanos, due: Due, out: &mut Output<'_, S>) {
        match due {
            Due::DayEnd => self.expire_orders_of(at, out),
            Due::Order(id) => self.expire_order(OrderId(id), at, out),
            Due::SessionCancel(id) => self.cancel_after_grace(SessionId(id), at, out),
            Due::Instrument(id) => self.expire_instrument(InstrumentId(id), out),
            Due::ActivityEnd => self.end_day(at, out),
            Due::DeadMan(id) => self.dead_man_due(SessionId(id), at, out),
            Due::Interval(id) => self.on_interval_due(InstrumentId(id), at, out),
            Due::Phase(id) => self.on_phase_due(InstrumentId(id), at, out),
            Due::Indicative(id) => self.on_indicative_due(InstrumentId(id), at, out),
            Due::Band(id) => self.on_band_due(InstrumentId(id), at, out),
            Due::Election => self.on_election_due(at),
        }
    }

    /// Moves money and says so. Nothing is moved for nothing.
    #[inline]
    fn move_money<S: EventSink>(
        &mut self,
        out: &mut Output<'_, S>,
        (debit, credit): (AccountId, AccountId),
        amount: i64,
        kind: TransferKind,
        reference: u64,
    ) {
        if amount == 0 {
            return;
        }
        self.ledger.transfer(debit, credit, amount);
        self.transfers += 1;
        let moved = MoneyMoved {
            transfer: TransferId(self.transfers),
            debit,
            credit,
            amount: Money(amount),
            reference,
            kind: kind.into(),
            ..Message::blank()
        };
        self.reporter.fact(out, moved);
    }

    /// Brings the lock of a position up to date.
    #[inline]
    fn relock(&mut self, instrument: &Instrument, slot: u32) {
        let position = self.positions.at_mut(slot);
        let required = position.required(&instrument.terms, instrument.settlement);
        let change = required - position.lock;
        position.lock = required;
        let account = position.account;
        self.ledger.lock(account, change);
    }

    /// Takes lots of an open order out of its position, without a trade.
    #[inline]
    fn release(&mut self, instrument: &Instrument, slot: Slot, quantity: Quantity) {
        let order = self.orders.at(slot);
        let adverse = adverse(
            order.side,
            self.orders.held_at(slot),
            instrument.settlement,
            quantity,
            &instrument.terms,
        );
        self.positions
            .at_mut(order.position)
            .close(order.side, quantity.0, adverse);
        self.relock(instrument, order.position);
    }

    /// Brings the lock up to date with the price that an open order is held at, now that it is another
    /// than before.
    fn hold_anew(&mut self, instrument: &Instrument, slot: Slot, before: Price) {
        let (order, open) = (self.orders.at(slot), self.orders.open(slot));
        let (side, settlement) = (order.side, instrument.settlement);
        let [freed, taken] = [before, self.orders.held_at(slot)]
            .map(|price| adverse(side, price, settlement, open, &instrument.terms));
        let place = order.position;
        let position = self.positions.at_mut(place);
        position.close(side, open.0, freed);
        position.open(side, open.0, taken);
        self.relock(instrument, place);
    }

    /// Forgets an order that is in no queue any more.
    #[inline]
    fn forget(&mut self, instrument: &mut Instrument, slot: Slot) {
        let order = self.orders.at(slot);
        if order.flags.contains(BESIDE) {
            self.forget_beside(instrument, slot);
        }
        let order = self.orders.at(slot);
        let has_date = order.time_in_force == exahour_wire::codes::TimeInForce::GoodTillDate;
        self.dated -= usize::from(has_date);
        self.names.forget(&self.orders, slot);
        self.orders.remove(slot);
    }

    /// Puts an instrument where its id says.
    pub(crate) fn list(&mut self, instrument: Instrument) {
        let place = instrument.id.0 as usize;
        if place >= self.instruments.len() {
            self.instruments.resize_with(place + 1, || None);
        }
        self.instruments[place] = Some(Box::new(instrument));
    }

    #[inline]
    fn take_instrument(&mut self, id: InstrumentId) -> Option<Box<Instrument>> {
        self.instruments.get_mut(id.0 as usize)?.take()
    }

    #[inline]
    fn put_back(&mut self, instrument: Box<Instrument>) {
        if instrument.pegs.is_some() {
            self.touch_pegs(instrument.id);
        }
        let place = &mut self.instruments[instrument.id.0 as usize];
        // Taken out before, so nothing is dropped here; the compiler cannot know.
        std::mem::forget(place.replace(instrument));
    }

    fn report_gap<S: EventSink>(&mut self, out: &mut Output<'_, S>, to: SessionId, gap: Gap) {
        let gap = SequenceGap {
            from_sequence: gap.from,
            count: gap.count,
            ..Message::blank()
        };
        self.reporter.report(out, to, gap);
    }

    fn refuse<S: EventSink>(
        &mut self,
        out: &mut Output<'_, S>,
        request: Request,
        reject: Reject,
        command: &[u8],
    ) {
        if request.session != SessionId::NONE {
            self.activity(request.session, out.time).rejects += 1;
        }
        if is_about_an_order(request.template) {
            let rejected = order_rejected(request, reject, command);
            self.reporter.report(out, request.session, rejected);
        } else {
            let rejected = command_rejected(request, reject);
            self.reporter.report(out, request.session, rejected);
        }
    }

    fn refuse_unready<S: EventSink>(
        &mut self,
        out: &mut Output<'_, S>,
        request: Request,
        command: &[u8],
    ) {
        if is_about_an_order(request.template) {
            let rejected = order_rejected(request, Reject::UnknownSession, command);
            self.reporter.notice(out, request.session, rejected);
        } else {
            let rejected = command_rejected(request, Reject::UnknownSession);
            self.reporter.notice(out, request.session, rejected);
        }
    }

    /// Every order within a scope, by ascending id, into `selected`.
    fn select_scope(&mut self, scope: Scope, target: u32) {
        let positions = &self.positions;
        self.orders
            .select(&mut self.selected, |_, order| match scope {
                Scope::Session => order.session.0 == target,
                Scope::Account => positions.at(order.position).account.0 == target,
                Scope::Participant => order.participant.0 == target,
                Scope::Instrument => positions.at(order.position).instrument.0 == target,
            });
    }
}

/// Whether a rejection names the order.
fn is_about_an_order(template: u16) -> bool {
    matches!(template, 101..=105 | 108)
}

fn order_rejected(request: Request, reject: Reject, command: &[u8]) -> OrderRejected {
    let (order, instrument) = match request.template {
        entry::NewOrder::TEMPLATE_ID => entry::NewOrder::read(command)
            .map_or((OrderId::NONE, InstrumentId::NONE), |new| {
                (OrderId::NONE, new.instrument)
            }),
        entry::NewAdvancedOrder::TEMPLATE_ID => entry::NewAdvancedOrder::read(command)
            .map_or((OrderId::NONE, InstrumentId::NONE), |new| {
                (OrderId::NONE, new.instrument)
            }),
        entry::CancelOrder::TEMPLATE_ID => entry::CancelOrder::read(command)
            .map_or((OrderId::NONE, InstrumentId::NONE), |cancel| {
                (cancel.order, cancel.instrument)
            }),
        entry::ReplaceOrder::TEMPLATE_ID => entry::ReplaceOrder::read(command)
            .map_or((OrderId::NONE, InstrumentId::NONE), |new| {
                (new.order, new.instrument)
            }),
        entry::OrderStatusRequest::TEMPLATE_ID => entry::OrderStatusRequest::read(command)
            .map_or((OrderId::NONE, InstrumentId::NONE), |question| {
                (question.order, question.instrument)
            }),
        _ => (OrderId::NONE, InstrumentId::NONE),
    };
    OrderRejected {
        client_order_id: request.name,
        order,
        instrument,
        client_sequence: request.sequence,
        template: request.template,
        reason: reject.into(),
        pad_1: Pad::default(),
        ..Message::blank()
    }
}

fn command_rejected(request: Request, reject: Reject) -> CommandRejected {
    CommandRejected {
        request: request.name,
        client_sequence: request.sequence,
        template: request.template,
        reason: reject.into(),
        ..Message::blank()
    }
}

/// What a pair of buyer and seller is called where the order of the two matters.
#[inline]
fn buyer_and_seller<T>(taker_side: Side, taker: T, maker: T) -> (T, T) {
    match taker_side {
        Side::Buy => (taker, maker),
        Side::Sell => (maker, taker),
    }
}

/// A hash of the state, and the command after which it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TakenHash {
    pub(crate) after: CommandSequence,
    pub(crate) hash: Digest,
}
