//! Matching: price, then time.
//!
//! Called for an order that is in the table and in no queue: a new one, or one that a replace took
//! out of its place. In a call it only rests.
//!
//! Always holds: trades are made at the resting order's limit; when it returns, the order rests or
//! is gone, and outside of a call the book is not crossed.

use exahour_wire::codes::{
    CancelReason, Liquidity, OrderFlags, SelfTradePrevention, Side, TimeInForce, TransferKind,
};
use exahour_wire::events::{OrderFilled, OrderReduced};
use exahour_wire::ids::{AccountId, ClientOrderId, TradeId};
use exahour_wire::limits::CLEARING_ACCOUNT;
use exahour_wire::message::Message;
use exahour_wire::units::{Nanos, Price, Quantity};

use super::{Execute, Instrument, buyer_and_seller};
use crate::batch::EventSink;
use crate::book::{ICEBERG, Slot};
use crate::guards::Band;
use crate::positions::adverse;
use crate::reporter::Output;
use crate::trade_log::{Party, Trade};
use crate::trading::{Joins, Reopening};

/// Whether matching goes on.
#[derive(PartialEq, Eq)]
enum Step {
    Continue,
    TakerGone,
}

impl Execute {
    /// Matches the order at `slot`, if so many lots of it can trade at once, and rests what is left.
    #[inline]
    pub(super) fn match_and_rest<S: EventSink>(
        &mut self,
        instrument: &mut Instrument,
        slot: Slot,
        minimum: Quantity,
        out: &mut Output<'_, S>,
    ) {
        if instrument.trading.call.is_some() {
            self.collect(instrument, slot, out);
            return;
        }
        let taker = self.orders.at(slot);
        let (side, limit, participant) = (taker.side, taker.price, taker.participant);
        let (mode, time_in_force) = (taker.self_trade_prevention, taker.time_in_force);
        if taker.flags.contains(OrderFlags::POST_ONLY)
            && instrument
                .book
                .side(side.opposite())
                .first_within(limit)
                .is_some()
        {
            self.cancel_incoming(instrument, slot, CancelReason::PostOnly, out);
            return;
        }
        let at_once = match time_in_force {
            TimeInForce::FillOrKill => taker.leaves,
            _ => minimum,
        };
        if at_once > Quantity(0) && !self.fills(instrument, slot, at_once, out.time) {
            self.cancel_incoming(instrument, slot, CancelReason::NotFillable, out);
            return;
        }
        // Nothing but this order's own trades moves the band while it is matched.
        let mut band = None;
        while let Some(maker) = instrument.book.side(side.opposite()).first_within(limit) {
            let prevents = mode != SelfTradePrevention::None
                && self.orders.at(maker).participant == participant;
            if !prevents && instrument.trading.guard.is_some() {
                let price = self.orders.at(maker).price;
                let band = *band.get_or_insert_with(|| instrument.band(out.time));
                if let Some(reopening) = instrument.refuses(price, band, out.time) {
                    self.trip(instrument, slot, reopening, out);
                    return;
                }
            }
            let step = if prevents {
                self.prevent_self_trade(instrument, slot, maker, mode, out)
            } else {
                self.trade(instrument, slot, maker, out)
            };
            if step == Step::TakerGone {
                return;
            }
        }
        let immediate = matches!(
            time_in_force,
            TimeInForce::ImmediateOrCancel | TimeInForce::FillOrKill
        );
        if immediate {
            self.cancel_incoming(instrument, slot, CancelReason::ImmediateRest, out);
        } else {
            self.rest(instrument, slot, out);
        }
    }

    /// Rests an order until the auction of the call under way.
    pub(super) fn collect<S: EventSink>(
        &mut self,
        instrument: &mut Instrument,
        slot: Slot,
        out: &mut Output<'_, S>,
    ) {
        if let Some(call) = &mut instrument.trading.call {
            call.count_unpriced(self.orders.at(slot), Joins::Yes);
        }
        self.rest(instrument, slot, out);
        self.outlook_may_change(instrument, out.time);
    }

    /// Whether so many lots stand within the order's limit and the guards', not counting its owner's
    /// own.
    fn fills(
        &self,
        instrument: &mut Instrument,
        taker: Slot,
        at_once: Quantity,
        now: Nanos,
    ) -> bool {
        let taker = self.orders.at(taker);
        let band = instrument.band(now).map(|(_, band)| band);
        let mut limits = instrument.trading.price_limits(now);
        let own_counts = taker.self_trade_prevention == SelfTradePrevention::None;
        let skips_own = taker.self_trade_prevention == SelfTradePrevention::CancelOldest;
        let mut wanted = at_once.0;
        // What orders of the present level hide comes behind all that it shows.
        let (mut level, mut behind, mut stopped) = (Price::NONE, 0, false);
        instrument
            .book
            .side(taker.side.opposite())
            .walk(&self.orders, |slot| {
                let maker = self.orders.at(slot);
                if maker.price != level {
                    wanted = wanted.saturating_sub(std::mem::take(&mut behind));
                    level = maker.price;
                }
                let within = match taker.side {
                    Side::Buy => maker.price <= taker.price,
                    Side::Sell => maker.price >= taker.price,
                };
                let own = !own_counts && maker.participant == taker.participant;
                if !within || wanted == 0 {
                    return false;
                }
                if own && !skips_own {
                    stopped = true;
                    return false;
                }
                if !own {
                    let in_band = band.is_none_or(|band| band.admits(maker.price));
                    if !in_band || !limits.admit(maker.price) {
                        return false;
                    }
                    limits = limits.after(maker.price);
                    wanted = wanted.saturating_sub(maker.leaves.0);
                    if maker.flags.contains(ICEBERG) {
                        behind += self.orders.reserve(slot).hidden.0;
                    }
                }
                wanted > 0
            });
        wanted == 0 || !stopped && wanted <= behind
    }

    #[inline]
    fn trade<S: EventSink>(
        &mut self,
        instrument: &mut Instrument,
        taker_slot: Slot,
        maker_slot: Slot,
        out: &mut Output<'_, S>,
    ) -> Step {
        let maker_leaves = self.orders.at(maker_slot).leaves;
        let quantity = maker_leaves.min(self.orders.at(taker_slot).leaves);
        let price = self.orders.at(maker_slot).price;
        let trade = self.trade_log.next_id();
        let maker_side = self.orders.at(maker_slot).side;
        instrument
            .book
            .side_mut(maker_side)
            .shrink(&mut self.orders, maker_slot, quantity);
        self.orders.at_mut(taker_slot).leaves.0 -= quantity.0;
        instrument.last_trade = Some(price);
        self.count_trade(instrument, price, quantity, out.time);
        self.touch_stops(instrument, price);

        let maker_fill = self.fill(instrument, maker_slot, quantity, price);
        let taker_fill = self.fill(instrument, taker_slot, quantity, price);
        let (maker_session, taker_session) = (
            self.orders.at(maker_slot).session,
            self.orders.at(taker_slot).session,
        );
        for session in [maker_session, taker_session] {
            self.activity(session, out.time).trade(quantity);
        }
        let maker_fill = OrderFilled {
            trade,
            liquidity: Liquidity::Maker.into(),
            ..maker_fill
        };
        self.reporter.report(out, maker_session, maker_fill);
        let taker_fill = OrderFilled {
            trade,
            liquidity: Liquidity::Taker.into(),
            ..taker_fill
        };
        self.reporter.report(out, taker_session, taker_fill);

        let party = |fill: &OrderFilled, session| Party {
            order: fill.order,
            session,
            account: fill.account,
        };
        let (buyer, seller) = buyer_and_seller(
            maker_side.opposite(),
            party(&taker_fill, taker_session),
            party(&maker_fill, maker_session),
        );
        self.trade_log.push(Trade {
            time: out.time,
            instrument: instrument.id,
            price,
            quantity,
            buyer,
            seller,
        });
        let accounts = (buyer.account, seller.account);
        self.move_margin(instrument, accounts, price, quantity, trade, out);
        self.relock(instrument, self.orders.at(maker_slot).position);
        self.relock(instrument, self.orders.at(taker_slot).position);
        if maker_leaves == quantity {
            self.end_shown(instrument, maker_slot, out);
        }
        self.step_after(instrument, taker_slot)
    }

    /// Books one side of a trade on its position and words its report.
    #[inline]
    pub(super) fn fill(
        &mut self,
        instrument: &Instrument,
        slot: Slot,
        quantity: Quantity,
        price: Price,
    ) -> OrderFilled {
        let order = self.orders.at(slot);
        let adverse = adverse(
            order.side,
            self.orders.held_at(slot),
            instrument.settlement,
            quantity,
            &instrument.terms,
        );
        let position = self.positions.at_mut(order.position);
        position.close(order.side, quantity.0, adverse);
        position.trade(order.side, quantity.0);
        OrderFilled {
            client_order_id: order.client_order_id,
            order: order.id,
            price,
            quantity,
            leaves: self.orders.open(slot),
            account: position.account,
            instrument: position.instrument,
            side: order.side.into(),
            ..Message::blank()
        }
    }

    /// Moves the difference between the trade's price and the price at which positions are carried.
    #[inline]
    pub(super) fn move_margin<S: EventSink>(
        &mut self,
        instrument: &Instrument,
        (buyer, seller): (AccountId, AccountId),
        price: Price,
        quantity: Quantity,
        trade: TradeId,
        out: &mut Output<'_, S>,
    ) {
        let difference = Price(price.0 - instrument.settlement.0);
        // The terms bound every position's value, and an order can at most turn one from one end to
        // the other, so the product stays within 64 bits.
        let wide = i128::from(difference.0.abs())
            * i128::from(quantity.0)
            * i128::from(instrument.terms.hours.0);
        let amount = wide as i64;
        assert!(i128::from(amount) == wide);
        let (payer, receiver) = if difference.0 > 0 {
            (buyer, seller)
        } else {
            (seller, buyer)
        };
        let kind = TransferKind::VariationMargin;
        self.move_money(out, (payer, CLEARING_ACCOUNT), amount, kind, trade.0);
        self.move_money(out, (CLEARING_ACCOUNT, receiver), amount, kind, trade.0);
    }

    fn prevent_self_trade<S: EventSink>(
        &mut self,
        instrument: &mut Instrument,
        taker: Slot,
        maker: Slot,
        mode: SelfTradePrevention,
        out: &mut Output<'_, S>,
    ) -> Step {
        let reason = CancelReason::SelfTrade;
        match mode {
            SelfTradePrevention::None | SelfTradePrevention::CancelNewest => {
                self.cancel_incoming(instrument, taker, reason, out);
                Step::TakerGone
            }
            SelfTradePrevention::CancelOldest => {
                self.cancel_resting(instrument, maker, reason, ClientOrderId::NONE, out);
                Step::Continue
            }
            SelfTradePrevention::CancelBoth => {
                self.cancel_resting(instrument, maker, reason, ClientOrderId::NONE, out);
                self.cancel_incoming(instrument, taker, reason, out);
                Step::TakerGone
            }
            SelfTradePrevention::Decrement => {
                let quantity = self
                    .orders
                    .at(maker)
                    .leaves
                    .min(self.orders.at(taker).leaves);
                let side = self.orders.at(maker).side;
                instrument
                    .book
                    .side_mut(side)
                    .shrink(&mut self.orders, maker, quantity);
                self.orders.at_mut(taker).leaves.0 -= quantity.0;
                self.reduce(instrument, maker, quantity, out);
                self.reduce(instrument, taker, quantity, out);
                if self.orders.at(maker).leaves.0 == 0 {
                    self.end_shown(instrument, maker, out);
                }
                self.step_after(instrument, taker)
            }
        }
    }

    /// Takes lots that have left an order's leaves out of its total and position, and says so.
    pub(super) fn reduce<S: EventSink>(
        &mut self,
        instrument: &Instrument,
        slot: Slot,
        quantity: Quantity,
        out: &mut Output<'_, S>,
    ) {
        self.orders.extent_mut(slot).total.0 -= quantity.0;
        self.release(instrument, slot, quantity);
        let order = self.orders.at(slot);
        let session = order.session;
        let position = self.positions.at(order.position);
        let reduced = OrderReduced {
            client_order_id: order.client_order_id,
            order: order.id,
            quantity,
            leaves: self.orders.open(slot),
            account: position.account,
            instrument: position.instrument,
            side: order.side.into(),
            ..Message::blank()
        };
        self.reporter.report(out, session, reduced);
    }

    /// Forgets the incoming order if nothing of it is left.
    #[inline]
    fn step_after(&mut self, instrument: &mut Instrument, taker: Slot) -> Step {
        if self.orders.at(taker).leaves.0 > 0 {
            return Step::Continue;
        }
        self.forget(instrument, taker);
        Step::TakerGone
    }
}

impl Instrument {
    /// Why trading halts instead of a trade at a price: what is to become of the halt.
    fn refuses(
        &mut self,
        price: Price,
        band: Option<(Price, Band)>,
        now: Nanos,
    ) -> Option<Reopening> {
        let in_band = band.is_none_or(|(_, band)| band.admits(price));
        let admitted = self.trading.price_limits(now).admit(price);
        match (in_band, admitted) {
            (_, false) => Some(Reopening::MayExtend),
            (false, true) => Some(Reopening::AtOnce),
            (true, true) => None,
        }
    }
}
