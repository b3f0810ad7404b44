//! Books rebuilt from events: never crossed, fair at each price, every lot accounted for.

mod pegged;
mod stopped;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use exahour_wire::codes::{
    CancelReason, Liquidity, OrderFlags, OrderType, Priority, Raw, Side, TimeInForce,
};
use exahour_wire::events::{
    AuctionUncrossed, DeliveryAssigned, EventPrefix, InstrumentExpired, InstrumentSettled,
    OrderAccepted, OrderCancelled, OrderFilled, OrderReduced, OrderReplaced, OrderRepriced,
    OrderShown, OrderTriggered, PhaseChanged, StopEntered, TradeBusted, TradeCorrected,
};
use exahour_wire::ids::{ClientOrderId, InstrumentId};
use exahour_wire::message::Message;
use exahour_wire::units::{Nanos, Price};

use super::{Violation, must};

#[derive(Clone, Copy, Debug)]
struct Order {
    instrument: u32,
    account: u32,
    side: Side,
    limit: i64,
    /// The total that was asked for, less what self-trade prevention took away.
    total: u64,
    traded: u64,
    leaves: u64,
    /// Open lots that stand in the book and are not shown.
    hidden: u64,
    /// Lots that it shows at a time, once it has told.
    display: Option<u64>,
    order_type: Raw<OrderType>,
    time_in_force: Raw<TimeInForce>,
    post_only: bool,
    accepted_at: u64,
}

/// What an order waits for.
#[derive(Clone, Copy, Debug, Default)]
struct Stopped {
    /// Whether it is in the market at its limit until then.
    in_book: bool,
    /// Stop price and limit then, once they are told.
    told: Option<(i64, Price)>,
    /// The lowest and the highest price that can have elected it.
    reached: Option<(i64, i64)>,
}

type Queues = BTreeMap<i64, VecDeque<u64>>;

/// Books, positions and trades.
#[derive(Clone, Debug, Default)]
pub(super) struct Books {
    orders: BTreeMap<u64, Order>,
    /// Resting orders, oldest first; sell prices are negative, so that the last is the best.
    queues: BTreeMap<(u32, Side), Queues>,
    /// The order that came in or lost its place in this command.
    arriving: Option<u64>,
    /// Orders that wait for a stop price.
    stopped: BTreeMap<u64, Stopped>,
    /// Pegged orders, wherever they are, and their limits.
    pegged: BTreeMap<u64, i64>,
    /// Those of them that are not in the market.
    aside: BTreeSet<u64>,
    /// Those that have left it in this command.
    left: BTreeSet<u64>,
    /// The lowest and the highest price of all trades of an instrument, and the last one: an amended
    /// trade may bring any of them back.
    traded_at: BTreeMap<u32, (i64, i64, i64)>,
    /// Instruments of which trades were amended.
    amended: BTreeSet<u32>,
    /// Resting orders that have shown all they might, and must show their next lots.
    used_up: BTreeSet<u64>,
    /// The maker's half of a trade whose taker's half must come next.
    maker: Option<OrderFilled>,
    trades: u64,
    /// Account, price and lots of each side of each trade, as they stand.
    sides: BTreeMap<(u64, Side), (u32, i64, u64)>,
    accepted: u64,
    positions: BTreeMap<(u32, u32), i128>,
    expired: Vec<u32>,
    /// Instruments with a trade, an expiry or a delivery in this command.
    touched: BTreeSet<u32>,
    /// Instruments that collect orders: their books may be crossed.
    called: BTreeSet<u32>,
    /// The auction whose trades follow: its instrument, price, and lots that have not met yet.
    auction: Option<(u32, i64, u64)>,
    /// Lots of a buyer that met lots of the same owner, which are told next.
    netted: Option<u64>,
    /// The day up to which day orders were looked at.
    day: u64,
}

/// The key under which a limit is sorted: the best is the highest.
fn rank(side: Side, limit: i64) -> i64 {
    match side {
        Side::Buy => limit,
        Side::Sell => -limit,
    }
}

/// Whether this is the name of a side of a quote.
fn is_quote(name: ClientOrderId) -> bool {
    name >= ClientOrderId::of_quote(InstrumentId::NONE, Side::Buy)
}

impl Books {
    pub(super) fn on_event(&mut self, prefix: &EventPrefix, event: &[u8]) -> Result<(), Violation> {
        if self.maker.is_some() {
            must(
                prefix.header.template_id == OrderFilled::TEMPLATE_ID,
                || "the taker's fill follows the maker's".to_owned(),
            )?;
        }
        if let Some(changed) = PhaseChanged::read(event) {
            self.on_phase(&changed)
        } else if let Some(uncrossed) = AuctionUncrossed::read(event) {
            self.on_uncrossed(&uncrossed)
        } else if let Some(accepted) = OrderAccepted::read(event) {
            self.on_accepted(prefix, &accepted)
        } else if let Some(entered) = StopEntered::read(event) {
            self.on_stop_entered(&entered)
        } else if let Some(triggered) = OrderTriggered::read(event) {
            self.on_triggered(&triggered)
        } else if let Some(repriced) = OrderRepriced::read(event) {
            self.on_repriced(&repriced)
        } else if let Some(filled) = OrderFilled::read(event) {
            self.on_filled(&filled)
        } else if let Some(cancelled) = OrderCancelled::read(event) {
            self.on_cancelled(&cancelled)
        } else if let Some(replaced) = OrderReplaced::read(event) {
            self.on_replaced(&replaced)
        } else if let Some(reduced) = OrderReduced::read(event) {
            self.on_reduced(&reduced)
        } else if let Some(shown) = OrderShown::read(event) {
            self.on_shown(&shown)
        } else if let Some(busted) = TradeBusted::read(event) {
            let before = (busted.price.0, busted.quantity.0);
            let side = (busted.trade.0, busted.side);
            let of = (busted.instrument.0, busted.account.0);
            self.on_amended(side, of, before, (busted.price.0, 0))
        } else if let Some(corrected) = TradeCorrected::read(event) {
            let before = (corrected.price_before.0, corrected.quantity_before.0);
            let side = (corrected.trade.0, corrected.side);
            let of = (corrected.instrument.0, corrected.account.0);
            let after = (corrected.price.0, corrected.quantity.0);
            self.on_amended(side, of, before, after)
        } else if let Some(settled) = InstrumentSettled::read(event) {
            self.check_open_interest(settled.instrument.0, settled.open_interest.0)
        } else if let Some(expired) = InstrumentExpired::read(event) {
            self.on_expired(&expired)
        } else if let Some(assigned) = DeliveryAssigned::read(event) {
            self.on_assigned(&assigned)
        } else {
            Ok(())
        }
    }

    fn on_phase(&mut self, changed: &PhaseChanged) -> Result<(), Violation> {
        let id = changed.instrument.0;
        if changed.low_price != Price::NONE {
            self.called.insert(id);
            return Ok(());
        }
        self.called.remove(&id);
        self.check_uncrossed(id)?;
        let left = self.orders.values().find(|order| {
            order.instrument == id && order.time_in_force == TimeInForce::GoodForAuction.into()
        });
        must(left.is_none(), || format!("{left:?} outlived its auction"))
    }

    fn on_uncrossed(&mut self, uncrossed: &AuctionUncrossed) -> Result<(), Violation> {
        let id = uncrossed.instrument.0;
        self.rest_arrived()?;
        must(self.called.remove(&id), || {
            "an auction follows a call".to_owned()
        })?;
        let lots = uncrossed.quantity.0;
        must((lots == 0) == (uncrossed.price == Price::NONE), || {
            "lots have a price".to_owned()
        })?;
        self.check_auction_over()?;
        self.auction = (lots > 0).then_some((id, uncrossed.price.0, lots));
        Ok(())
    }

    /// Takes lots that met in an auction off what its event announced.
    fn meet(&mut self, instrument: u32, price: Option<i64>, lots: u64) -> Result<(), Violation> {
        let (of, at, left) = self.auction.ok_or("an auction was announced")?;
        let fits = of == instrument && price.is_none_or(|price| price == at) && lots <= left;
        must(fits, || {
            format!("an auction of {left} lots at {at} in {of} goes on")
        })?;
        self.auction = (left > lots).then_some((of, at, left - lots));
        Ok(())
    }

    fn check_auction_over(&self) -> Result<(), Violation> {
        must(self.auction.is_none() && self.netted.is_none(), || {
            format!("all lots of an auction meet: {:?} are left", self.auction)
        })
    }

    fn check_uncrossed(&self, instrument: u32) -> Result<(), Violation> {
        let best = |side| {
            let first = self.first(instrument, side);
            first.map(|first| self.orders[&first].limit)
        };
        let crossed = match (best(Side::Buy), best(Side::Sell)) {
            (Some(bid), Some(ask)) => bid >= ask,
            _ => false,
        };
        must(!crossed || self.called.contains(&instrument), || {
            format!("the book of {instrument} is crossed")
        })
    }

    fn on_accepted(
        &mut self,
        prefix: &EventPrefix,
        accepted: &OrderAccepted,
    ) -> Result<(), Violation> {
        self.accepted += 1;
        must(accepted.order.0 >> 24 == self.accepted, || {
            "order ids grow by one".to_owned()
        })?;
        must(accepted.quantity.0 > 0 && accepted.price.0 > 0, || {
            "an order has lots and a limit".to_owned()
        })?;
        must(!self.expired.contains(&accepted.instrument.0), || {
            "an expired instrument takes no orders".to_owned()
        })?;
        let order = Order {
            instrument: accepted.instrument.0,
            account: accepted.account.0,
            side: accepted.side.decode().ok_or("an order has a side")?,
            limit: accepted.price.0,
            total: accepted.quantity.0,
            traded: 0,
            leaves: accepted.quantity.0,
            hidden: 0,
            display: None,
            order_type: accepted.order_type,
            time_in_force: accepted.time_in_force,
            post_only: accepted.flags.contains(OrderFlags::POST_ONLY),
            accepted_at: prefix.time.0,
        };
        let slot = accepted.order.0 & 0xFF_FFFF;
        let taken = self.orders.keys().any(|id| id & 0xFF_FFFF == slot);
        must(!taken, || "a place of the table holds one order".to_owned())?;
        if is_quote(accepted.client_order_id) {
            self.rest_arrived()?;
        }
        self.orders.insert(accepted.order.0, order);
        let in_book = accepted.order_type == OrderType::OneCancelsOther.into();
        let stop = [OrderType::Stop, OrderType::StopLimit].map(Raw::from);
        if in_book || stop.contains(&accepted.order_type) {
            let id = accepted.instrument.0;
            let traded = self.traded_at.get(&id);
            let reached = traded.map(|(low, high, last)| match self.amended.contains(&id) {
                true => (*low, *high),
                false => (*last, *last),
            });
            let stopped = Stopped {
                in_book,
                told: None,
                reached,
            };
            self.stopped.insert(accepted.order.0, stopped);
            if !in_book {
                return Ok(());
            }
        }
        if accepted.order_type == OrderType::Pegged.into() {
            self.pegged.insert(accepted.order.0, accepted.price.0);
            self.aside.insert(accepted.order.0);
            return Ok(());
        }
        self.arrive(accepted.order.0)
    }

    fn is_parked(&self, id: u64) -> bool {
        let stopped = self.stopped.get(&id);
        stopped.is_some_and(|stopped| !stopped.in_book)
    }

    fn arrive(&mut self, id: u64) -> Result<(), Violation> {
        self.rest_arrived()?;
        self.arriving = Some(id);
        Ok(())
    }

    /// The order that came rests with what is left.
    fn rest_arrived(&mut self) -> Result<(), Violation> {
        let Some(id) = self.arriving.take() else {
            return Ok(());
        };
        let order = self.order(id)?;
        self.check_may_rest(&order)?;
        let place = rank(order.side, order.limit);
        self.queue(&order).entry(place).or_default().push_back(id);
        self.check_uncrossed(order.instrument)
    }

    fn queue(&mut self, order: &Order) -> &mut Queues {
        self.queues
            .entry((order.instrument, order.side))
            .or_default()
    }

    /// The order that must trade next on a side.
    fn first(&self, instrument: u32, side: Side) -> Option<u64> {
        let queues = self.queues.get(&(instrument, side))?;
        let (_, best) = queues.last_key_value()?;
        best.front().copied()
    }

    fn order(&self, id: u64) -> Result<Order, Violation> {
        let order = self.orders.get(&id).copied();
        order.ok_or("only live orders have reports".to_owned())
    }

    fn take_from_book(&mut self, id: u64, order: &Order) {
        let place = rank(order.side, order.limit);
        let queue = self.queue(order);
        if let Some(level) = queue.get_mut(&place) {
            level.retain(|other| *other != id);
            if level.is_empty() {
                queue.remove(&place);
            }
        }
    }

    fn remove(&mut self, id: u64) {
        if let Some(order) = self.orders.remove(&id) {
            self.take_from_book(id, &order);
        }
        self.stopped.remove(&id);
        self.pegged.remove(&id);
        self.aside.remove(&id);
        if self.arriving == Some(id) {
            self.arriving = None;
        }
    }

    /// Takes lots away from an order and compares what is left.
    fn shrink(&mut self, id: u64, lots: u64, traded: u64, leaves: u64) -> Result<(), Violation> {
        let order = self.orders.get_mut(&id).ok_or("the order lives")?;
        must(lots > 0 && lots <= order.leaves, || {
            format!("at most what is open, {}, is taken", order.leaves)
        })?;
        let shown = (order.leaves - order.hidden).saturating_sub(lots);
        order.leaves -= lots;
        order.hidden = order.leaves - shown;
        order.traded += traded;
        order.total -= lots - traded;
        must(order.leaves == leaves, || {
            format!("{} stay open", order.leaves)
        })?;
        must(order.total == order.traded + order.leaves, || {
            "every lot is traded, taken away or open".to_owned()
        })?;
        if leaves == 0 {
            self.remove(id);
        } else if shown == 0 {
            self.used_up.insert(id);
        }
        Ok(())
    }

    /// An order rests and shows a part, or shows its next lots: last at its price.
    fn on_shown(&mut self, told: &OrderShown) -> Result<(), Violation> {
        let id = told.order.0;
        let mut order = self.order(id)?;
        let arrives = self.arriving == Some(id);
        must(arrives || self.used_up.remove(&id), || {
            "the next lots are shown once all that was shown is gone".to_owned()
        })?;
        let display = told.display_quantity.0;
        must(order.display.is_none_or(|before| before == display), || {
            format!("an order shows {:?} lots at a time", order.display)
        })?;
        let shows = told.quantity.0 == display.min(order.leaves) && told.quantity.0 > 0;
        must(shows, || {
            format!("{display} of {} lots are shown", order.leaves)
        })?;
        let same = (told.leaves.0, told.price.0) == (order.leaves, order.limit);
        must(same, || format!("{} lots are open", order.leaves))?;
        order.display = Some(display);
        order.hidden = order.leaves - told.quantity.0;
        self.orders.insert(id, order);
        if !arrives {
            self.take_from_book(id, &order);
            let place = rank(order.side, order.limit);
            self.queue(&order).entry(place).or_default().push_back(id);
        }
        Ok(())
    }

    /// Takes note of the price of a trade.
    fn trade_at(&mut self, instrument: u32, at: i64) {
        let seen = self.traded_at.entry(instrument).or_insert((at, at, at));
        *seen = (seen.0.min(at), seen.1.max(at), at);
        for (id, stopped) in &mut self.stopped {
            if self.orders[id].instrument == instrument {
                let (low, high) = stopped.reached.unwrap_or((at, at));
                stopped.reached = Some((low.min(at), high.max(at)));
            }
        }
    }

    /// A side of a trade is told what has become of it.
    fn on_amended(
        &mut self,
        (trade, side): (u64, Raw<Side>),
        of: (u32, u32),
        before: (i64, u64),
        after: (i64, u64),
    ) -> Result<(), Violation> {
        let side = side.decode().ok_or("a trade has two sides")?;
        let stands = self.sides.get_mut(&(trade, side));
        let stands = stands.ok_or("a trade that is amended was made")?;
        must(*stands == (of.1, before.0, before.1), || {
            "a trade is amended from what it was".to_owned()
        })?;
        must(before != after && before.1 >= after.1, || {
            "an amended trade is another one, and no larger".to_owned()
        })?;
        must(!self.expired.contains(&of.0), || {
            "what was assigned to delivery is not amended".to_owned()
        })?;
        (stands.1, stands.2) = after;
        self.amended.insert(of.0);
        self.trade_at(of.0, after.0);
        // The last price may be that of any trade now.
        if let Some((low, high, _)) = self.traded_at.get(&of.0).copied() {
            self.trade_at(of.0, low);
            self.trade_at(of.0, high);
            self.trade_at(of.0, after.0);
        }
        let fewer = i128::from(before.1) - i128::from(after.1);
        let change = match side {
            Side::Buy => -fewer,
            Side::Sell => fewer,
        };
        *self.positions.entry(of).or_default() += change;
        self.touched.insert(of.0);
        Ok(())
    }

    fn on_filled(&mut self, filled: &OrderFilled) -> Result<(), Violation> {
        let id = filled.order.0;
        let order = self.order(id)?;
        let change = i128::from(filled.quantity.0);
        let (beyond, change) = match order.side {
            Side::Buy => (filled.price.0 > order.limit, change),
            Side::Sell => (filled.price.0 < order.limit, -change),
        };
        must(!beyond, || {
            format!("no fill is beyond the limit {}", order.limit)
        })?;
        let of = (order.instrument, order.account);
        *self.positions.entry(of).or_default() += change;
        self.touched.insert(order.instrument);
        must(!self.is_parked(id), || {
            "a stop order trades when it is triggered".to_owned()
        })?;
        self.trade_at(order.instrument, filled.price.0);
        let told = (order.account, filled.price.0, filled.quantity.0);
        self.sides.insert((filled.trade.0, order.side), told);
        let auction = filled.liquidity == Liquidity::Auction.into();
        match self.maker.take() {
            None if auction => {
                self.trades += 1;
                must(filled.trade.0 == self.trades, || {
                    "trades are numbered without gap".to_owned()
                })?;
                must(order.side == Side::Buy, || {
                    "the buyer's fill comes first in an auction".to_owned()
                })?;
                self.meet(order.instrument, Some(filled.price.0), filled.quantity.0)?;
                self.maker = Some(*filled);
            }
            None => {
                self.trades += 1;
                must(filled.trade.0 == self.trades, || {
                    "trades are numbered without gap".to_owned()
                })?;
                must(filled.liquidity == Liquidity::Maker.into(), || {
                    "the maker's fill comes first".to_owned()
                })?;
                must(filled.price.0 == order.limit, || {
                    "a trade is at the maker's limit".to_owned()
                })?;
                let first = self.first(order.instrument, order.side);
                must(first == Some(id), || {
                    format!("the oldest order at the best price trades first: {first:?}")
                })?;
                must(filled.quantity.0 <= order.leaves - order.hidden, || {
                    "no more than what is shown trades at once".to_owned()
                })?;
                self.maker = Some(*filled);
            }
            Some(maker) => {
                let same = (maker.trade, maker.price, maker.quantity, maker.instrument)
                    == (
                        filled.trade,
                        filled.price,
                        filled.quantity,
                        filled.instrument,
                    );
                must(same && maker.side != filled.side, || {
                    "both halves of a trade agree".to_owned()
                })?;
                if maker.liquidity == Liquidity::Auction.into() {
                    must(auction, || "both trade in the auction".to_owned())?;
                    return self.shrink(id, filled.quantity.0, filled.quantity.0, filled.leaves.0);
                }
                must(filled.liquidity == Liquidity::Taker.into(), || {
                    "the taker's fill comes second".to_owned()
                })?;
                let one_price = order.order_type == OrderType::MarketToLimit.into();
                must(!one_price || filled.price.0 == order.limit, || {
                    "a market-to-limit order trades at one price as it comes".to_owned()
                })?;
                must(self.arriving == Some(id), || {
                    "the taker is the order that arrives".to_owned()
                })?;
                must(!order.post_only, || {
                    "a post-only order is never a taker".to_owned()
                })?;
            }
        }
        self.shrink(id, filled.quantity.0, filled.quantity.0, filled.leaves.0)
    }

    fn on_reduced(&mut self, reduced: &OrderReduced) -> Result<(), Violation> {
        let id = reduced.order.0;
        let order = self.order(id)?;
        if let Some(lots) = self.netted.take() {
            let fits = order.side == Side::Sell && reduced.quantity.0 == lots;
            must(fits, || format!("a seller's {lots} lots are netted"))?;
            return self.shrink(id, lots, 0, reduced.leaves.0);
        }
        if self.auction.is_some() {
            must(order.side == Side::Buy, || {
                "the buyer's lots are netted first".to_owned()
            })?;
            self.meet(order.instrument, None, reduced.quantity.0)?;
            self.netted = Some(reduced.quantity.0);
            return self.shrink(id, reduced.quantity.0, 0, reduced.leaves.0);
        }
        let first = self.first(order.instrument, order.side);
        must(self.arriving == Some(id) || first == Some(id), || {
            "self-trade prevention meets the oldest order at the best price".to_owned()
        })?;
        self.shrink(id, reduced.quantity.0, 0, reduced.leaves.0)
    }

    fn on_cancelled(&mut self, cancelled: &OrderCancelled) -> Result<(), Violation> {
        let id = cancelled.order.0;
        let order = self.order(id)?;
        must(cancelled.quantity.0 == order.leaves, || {
            format!("all that is open, {}, is cancelled", order.leaves)
        })?;
        let reason = cancelled.reason.decode().ok_or("a cancel has a reason")?;
        let whole = order.time_in_force == TimeInForce::FillOrKill.into();
        must(!whole || order.traded == 0, || {
            "a fill-or-kill order trades all or nothing".to_owned()
        })?;
        let on_arrival = matches!(
            reason,
            CancelReason::PostOnly | CancelReason::NotFillable | CancelReason::ImmediateRest
        );
        must(!on_arrival || self.arriving == Some(id), || {
            "only an order that arrives is cancelled for this".to_owned()
        })?;
        self.remove(id);
        Ok(())
    }

    fn on_replaced(&mut self, replaced: &OrderReplaced) -> Result<(), Violation> {
        let id = replaced.order.0;
        let mut order = self.order(id)?;
        if is_quote(replaced.client_order_id) {
            self.rest_arrived()?;
            if replaced.quantity == replaced.leaves {
                // What has traded of a quote counts no more when it is quoted anew.
                order.traded = 0;
            }
        }
        must(
            replaced.quantity.0 == order.traded + replaced.leaves.0,
            || format!("the new total counts the {} that traded", order.traded),
        )?;
        let limit = self.pegged.get(&id).copied().unwrap_or(order.limit);
        let smaller = replaced.price.0 == limit && replaced.leaves.0 < order.leaves;
        let priority = replaced.priority.decode();
        let kept = priority.ok_or("a priority is kept or lost")? == Priority::Kept;
        let parked = self.is_parked(id) || self.aside.contains(&id);
        // A pegged order that loses its place has left it before it is told.
        let left = self.left.contains(&id) && !smaller;
        must((parked || smaller) == kept || left, || {
            "only a smaller size at the same price keeps its place".to_owned()
        })?;
        if !parked {
            self.rest_arrived()?;
        }
        let mut hidden = 0;
        if kept && order.display.is_some() {
            // What it hides goes first.
            let shown = (order.leaves - order.hidden).min(replaced.leaves.0);
            hidden = replaced.leaves.0 - shown;
        }
        if let Some(limit) = self.pegged.get_mut(&id) {
            must(kept || parked, || "it has left its place".to_owned())?;
            *limit = replaced.price.0;
        } else if !kept {
            self.take_from_book(id, &order);
            self.arrive(id)?;
        }
        let stands = self.pegged.contains_key(&id) && !self.aside.contains(&id);
        let changed = Order {
            limit: match stands {
                true => order.limit,
                false => replaced.price.0,
            },
            // Whatever it was, it has a limit of its own now.
            order_type: OrderType::Limit.into(),
            total: replaced.quantity.0,
            leaves: replaced.leaves.0,
            hidden,
            ..order
        };
        self.orders.insert(id, changed);
        Ok(())
    }

    fn held_long(&self, instrument: u32) -> i128 {
        let positions = self.positions.iter();
        positions
            .filter(|((of, _), _)| *of == instrument)
            .map(|(_, lots)| (*lots).max(0))
            .sum()
    }

    fn check_open_interest(&self, instrument: u32, stated: u64) -> Result<(), Violation> {
        let held = self.held_long(instrument);
        must(held == i128::from(stated), || {
            format!("{held} lots are held long")
        })
    }

    fn on_expired(&mut self, expired: &InstrumentExpired) -> Result<(), Violation> {
        let instrument = expired.instrument.0;
        let left = self
            .orders
            .values()
            .any(|order| order.instrument == instrument);
        must(!left, || "an expired instrument has no orders".to_owned())?;
        must(!self.expired.contains(&instrument), || {
            "an instrument expires once".to_owned()
        })?;
        self.expired.push(instrument);
        self.touched.insert(instrument);
        self.check_open_interest(instrument, expired.open_interest.0)
    }

    fn on_assigned(&mut self, assigned: &DeliveryAssigned) -> Result<(), Violation> {
        let instrument = assigned.instrument.0;
        must(self.expired.contains(&instrument), || {
            "delivery follows expiry".to_owned()
        })?;
        self.touched.insert(instrument);
        let lots = i128::from(assigned.quantity.0);
        let buyer = self
            .positions
            .entry((instrument, assigned.buyer.0))
            .or_default();
        must(*buyer >= lots && lots > 0, || {
            format!("the buyer holds {buyer}")
        })?;
        *buyer -= lots;
        let seller = self
            .positions
            .entry((instrument, assigned.seller.0))
            .or_default();
        must(*seller <= -lots, || format!("the seller holds {seller}"))?;
        *seller += lots;
        Ok(())
    }

    pub(super) fn at_end_of_command(&mut self, time: u64) -> Result<(), Violation> {
        self.rest_arrived()?;
        self.check_auction_over()?;
        self.check_calls()?;
        self.left.clear();
        must(self.used_up.is_empty(), || {
            "an order with open lots shows some".to_owned()
        })?;
        must(self.maker.is_none(), || "a trade has two halves".to_owned())?;
        for instrument in std::mem::take(&mut self.touched) {
            let lots = self
                .positions
                .range((instrument, 0)..=(instrument, u32::MAX));
            let net: i128 = lots.map(|(_, lots)| lots).sum();
            must(net == 0, || {
                format!("positions in {instrument} sum to zero, not {net}")
            })?;
            let open = self.expired.contains(&instrument) && self.held_long(instrument) != 0;
            must(!open, || {
                format!("{instrument} expired and leaves no position")
            })?;
        }
        self.check_days(time)
    }

    fn check_may_rest(&self, order: &Order) -> Result<(), Violation> {
        let immediate = matches!(
            order.time_in_force.decode(),
            Some(TimeInForce::ImmediateOrCancel | TimeInForce::FillOrKill)
        );
        let called = self.called.contains(&order.instrument);
        let market = order.order_type == OrderType::Market.into() && !called;
        must(!immediate && !market, || {
            "an immediate order never rests".to_owned()
        })
    }

    fn check_days(&mut self, time: u64) -> Result<(), Violation> {
        let day = |at: u64| at / Nanos::DAY.0;
        if day(time) == self.day {
            return Ok(());
        }
        self.day = day(time);
        let late = self.orders.iter().find(|(_, order)| {
            order.time_in_force == TimeInForce::Day.into() && day(order.accepted_at) < day(time)
        });
        must(late.is_none(), || {
            format!("day order {late:?} outlived its day")
        })
    }
}
