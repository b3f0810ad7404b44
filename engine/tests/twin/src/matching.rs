//! Chapter 5, after acceptance: post-only, fill-or-kill, matching and rest.
//!
//! Called for a new order and for a replaced one that lost its place.
//!
//! Always holds: a book is never crossed at rest; at one price the oldest order trades first.

use std::collections::VecDeque;

use exahour_wire::codes::{
    CancelReason, Liquidity, OrderType, SelfTradePrevention, Side, TimeInForce,
};
use exahour_wire::events::{OrderCancelled, OrderFilled, OrderReduced, OrderShown};
use exahour_wire::ids::{ClientOrderId, InstrumentId, OrderId, TradeId};
use exahour_wire::message::Message;
use exahour_wire::units::{Price, Quantity};

use crate::amends::{Party, Trade};
use crate::phases::Call;
use crate::twin::{Order, Twin};

/// Whether an order with this limit trades at this price of the other side.
fn within(side: Side, limit: i64, price: i64) -> bool {
    match side {
        Side::Buy => price <= limit,
        Side::Sell => price >= limit,
    }
}

/// Whether a trade at a price is within a band: reference, lowest and highest price.
fn in_band(band: Option<(i64, i64, i64)>, price: i64) -> bool {
    band.is_none_or(|(_, low, high)| low <= price && price <= high)
}

impl Twin {
    /// Matches an order that is in no book, and rests what is left.
    /// At least `minimum` lots must trade at once, if it is to trade at all.
    pub(crate) fn place(&mut self, id: OrderId, minimum: u64) {
        let order = self.orders[&id];
        if self.instruments[&order.instrument].call.is_some() {
            self.rest(&order);
            return self.call_changed(order.instrument);
        }
        let opposite = self.best_price(order.instrument, order.side.opposite());
        let would_trade = opposite.is_some_and(|price| within(order.side, order.limit, price));
        if order.post_only && would_trade {
            return self.cancel(id, CancelReason::PostOnly, ClientOrderId::NONE);
        }
        let wanted = match order.time_in_force {
            TimeInForce::FillOrKill => order.leaves,
            _ => minimum,
        };
        if self.fillable(&order) < i128::from(wanted) {
            return self.cancel(id, CancelReason::NotFillable, ClientOrderId::NONE);
        }
        self.match_incoming(id);
        let Some(rest) = self.orders.get(&id).copied() else {
            return;
        };
        if self.instruments[&order.instrument].call.is_some() {
            // The breaker has halted the instrument, and the rest stands in the call.
            return;
        }
        let immediate = rest.time_in_force == TimeInForce::ImmediateOrCancel
            || rest.order_type == OrderType::Market;
        if immediate {
            self.cancel(id, CancelReason::ImmediateRest, ClientOrderId::NONE);
        } else {
            self.rest(&rest);
        }
    }

    fn best_price(&self, instrument: InstrumentId, side: Side) -> Option<i64> {
        self.instruments[&instrument].best(side)
    }

    /// What of the other side an order can count on that must trade at once.
    fn fillable(&self, incoming: &Order) -> i128 {
        let book = &self.instruments[&incoming.instrument];
        let mut lots = 0;
        let mut prices = Vec::new();
        let mut waiting: VecDeque<Order> = book
            .in_order_of_trading(incoming.side.opposite())
            .iter()
            .map(|id| self.orders[id])
            .collect();
        while let Some(resting) = waiting.pop_front() {
            if !within(incoming.side, incoming.limit, resting.limit) {
                break;
            }
            let own = resting.participant == incoming.participant;
            let counts = !own || incoming.prevention == SelfTradePrevention::None;
            if !counts {
                match incoming.prevention {
                    SelfTradePrevention::CancelOldest => continue,
                    _ => break,
                }
            }
            if !self.is_admissible(incoming.instrument, resting.limit, &prices) {
                break;
            }
            if !in_band(book.band_now(self.now), resting.limit) {
                break;
            }
            prices.push(resting.limit);
            lots += i128::from(resting.shown());
            if resting.hidden > 0 {
                // What it hides comes again behind everybody at its price.
                let behind = waiting.iter().take_while(|it| it.limit == resting.limit);
                let mut again = resting;
                again.leaves = resting.hidden;
                again.hidden = resting.hidden - resting.hidden.min(resting.display.unwrap_or(0));
                waiting.insert(behind.count(), again);
            }
        }
        lots
    }

    fn match_incoming(&mut self, id: OrderId) {
        let instrument = &self.instruments[&self.orders[&id].instrument];
        let band = instrument.band_now(self.now);
        while let Some(incoming) = self.orders.get(&id).copied() {
            let book = &self.instruments[&incoming.instrument];
            let queue = book.in_order_of_trading(incoming.side.opposite());
            let Some(oldest_of_best) = queue.first() else {
                return;
            };
            let resting = self.orders[oldest_of_best];
            if !within(incoming.side, incoming.limit, resting.limit) {
                return;
            }
            let own = resting.participant == incoming.participant;
            let trades = !own || incoming.prevention == SelfTradePrevention::None;
            if trades && !self.is_admissible(incoming.instrument, resting.limit, &[]) {
                return self.trip(incoming.instrument, incoming.id, Call::by_breaker);
            }
            if trades && !in_band(band, resting.limit) {
                return self.trip(incoming.instrument, incoming.id, Call::by_band);
            }
            let reason = CancelReason::SelfTrade;
            match incoming.prevention {
                _ if !own => self.trade(&resting, &incoming),
                SelfTradePrevention::None => self.trade(&resting, &incoming),
                SelfTradePrevention::CancelNewest => {
                    self.cancel(incoming.id, reason, ClientOrderId::NONE);
                }
                SelfTradePrevention::CancelOldest => {
                    self.cancel(resting.id, reason, ClientOrderId::NONE);
                }
                SelfTradePrevention::CancelBoth => {
                    self.cancel(resting.id, reason, ClientOrderId::NONE);
                    self.cancel(incoming.id, reason, ClientOrderId::NONE);
                }
                SelfTradePrevention::Decrement => {
                    let lots = resting.shown().min(incoming.leaves);
                    self.reduce(resting.id, lots);
                    self.reduce(incoming.id, lots);
                    self.show_next(resting.id);
                }
            }
        }
    }

    fn trade(&mut self, maker: &Order, taker: &Order) {
        let lots = maker.shown().min(taker.leaves);
        let price = maker.limit;
        self.counts.trades += 1;
        let trade = TradeId(self.counts.trades);
        self.trades.push(Trade {
            at: self.now,
            instrument: maker.instrument,
            price,
            lots,
            parties: [Party::new(maker), Party::new(taker)],
            busted: false,
        });
        self.fill(maker.id, (trade, price, lots), Liquidity::Maker);
        self.fill(taker.id, (trade, price, lots), Liquidity::Taker);
        self.count_trade(maker.instrument, price, lots);
        self.remove_if_done(maker.id);
        self.remove_if_done(taker.id);
        if let Some(instrument) = self.instruments.get_mut(&maker.instrument) {
            instrument.last_trade_price = Some(price);
        }
        self.elect_stops(maker.instrument, price);
        let buyer_and_seller = match taker.side {
            Side::Buy => (taker.account, maker.account),
            Side::Sell => (maker.account, taker.account),
        };
        self.settle_trade(maker.instrument, buyer_and_seller, (price, lots), trade);
        self.show_next(maker.id);
    }

    pub(crate) fn fill(
        &mut self,
        id: OrderId,
        (trade, price, lots): (TradeId, i64, u64),
        liquidity: Liquidity,
    ) {
        let Some(order) = self.orders.get_mut(&id) else {
            return;
        };
        order.lose(lots);
        order.traded += lots;
        let order = *order;
        let event = OrderFilled {
            client_order_id: order.client_order_id,
            order: id,
            trade,
            price: Price(price),
            quantity: Quantity(lots),
            leaves: Quantity(order.leaves),
            account: order.account,
            instrument: order.instrument,
            side: order.side.into(),
            liquidity: liquidity.into(),
            ..OrderFilled::blank()
        };
        self.report(order.session, event);
    }

    pub(crate) fn reduce(&mut self, id: OrderId, lots: u64) {
        let Some(order) = self.orders.get_mut(&id) else {
            return;
        };
        order.lose(lots);
        let order = *order;
        let event = OrderReduced {
            client_order_id: order.client_order_id,
            order: id,
            quantity: Quantity(lots),
            leaves: Quantity(order.leaves),
            account: order.account,
            instrument: order.instrument,
            side: order.side.into(),
            ..OrderReduced::blank()
        };
        self.report(order.session, event);
        self.remove_if_done(id);
    }

    /// Puts an order last at its price, with as many of its lots as it shows.
    fn rest(&mut self, order: &Order) {
        if let Some(instrument) = self.instruments.get_mut(&order.instrument) {
            let queue = instrument.queue(order.side);
            queue.entry(order.limit).or_default().push_back(order.id);
        }
        let Some(display) = order.display else {
            return;
        };
        let shown = order.leaves.min(display);
        if let Some(resting) = self.orders.get_mut(&order.id) {
            resting.hidden = order.leaves - shown;
        }
        let event = OrderShown {
            client_order_id: order.client_order_id,
            order: order.id,
            price: Price(order.limit),
            quantity: Quantity(shown),
            display_quantity: Quantity(display),
            leaves: Quantity(order.leaves),
            account: order.account,
            instrument: order.instrument,
            side: order.side.into(),
            ..OrderShown::blank()
        };
        self.report(order.session, event);
    }

    /// Once a resting order has nothing left of what it showed, its next lots are shown, last at its price.
    pub(crate) fn show_next(&mut self, id: OrderId) {
        let Some(order) = self.orders.get(&id).copied() else {
            return;
        };
        if order.shown() == 0 {
            self.take_out_of_book(&order);
            self.rest(&order);
        }
    }

    /// Takes an order out of its place in the book, if it has one; it stays alive.
    pub(crate) fn take_out_of_book(&mut self, order: &Order) {
        if let Some(instrument) = self.instruments.get_mut(&order.instrument) {
            let queue = instrument.queue(order.side);
            if let Some(level) = queue.get_mut(&order.limit) {
                level.retain(|id| *id != order.id);
                if level.is_empty() {
                    queue.remove(&order.limit);
                }
            }
        }
    }

    pub(crate) fn remove_if_done(&mut self, id: OrderId) {
        if self.orders[&id].leaves == 0 {
            self.remove(id);
        }
    }

    /// The order is gone; its place in the table is free.
    fn remove(&mut self, id: OrderId) {
        if let Some(order) = self.orders.remove(&id) {
            self.take_out_of_book(&order);
            if let Some(instrument) = self.instruments.get_mut(&order.instrument) {
                instrument.elected.retain(|other| *other != id);
                instrument.pegged.retain(|other| *other != id);
            }
            self.free_slots.push(id.0 & 0xFF_FFFF);
        }
    }

    /// Cancels what is open of an order and reports to the session that entered it.
    pub(crate) fn cancel(&mut self, id: OrderId, reason: CancelReason, request: ClientOrderId) {
        let order = self.orders[&id];
        self.remove(id);
        if order.stop.is_none() && !order.waits_pegged() {
            self.call_changed(order.instrument);
        }
        let event = OrderCancelled {
            client_order_id: order.client_order_id,
            order: id,
            request,
            price: Price(order.limit),
            quantity: Quantity(order.leaves),
            account: order.account,
            instrument: order.instrument,
            side: order.side.into(),
            reason: reason.into(),
            ..OrderCancelled::blank()
        };
        self.report(order.session, event);
    }
}
