//! Chapter 9: calendars, calls, halts, and the auctions that end them.
//!
//! Called by `admission` for the commands, by `time` when a phase ends, by `matching` for an order
//! that comes in a call.
//!
//! Always holds: a call ends with its auction; one auction has one price.

use exahour_wire::codes::{
    Allocation, CancelReason, Liquidity, OrderType, Permissions, Phase, SelfTradePrevention, Side,
    TimeInForce,
};
use exahour_wire::events::{AuctionUncrossed, CalendarSet, IndicativePrice, PhaseChanged};
use exahour_wire::ids::{ClientOrderId, InstrumentId, OrderId, TradeId};
use exahour_wire::message::{Digest, Message};
use exahour_wire::operations::{HaltTrading, ResumeTrading, SetAuctionSeed, SetCalendar};
use exahour_wire::reject::Reject;
use exahour_wire::units::{Millis, Nanos, Price, Quantity};

use crate::admission::{Sender, ensure};
use crate::amends::{Party, Trade};
use crate::twin::{Instrument, Order, Twin};

const DAY: u64 = Nanos::DAY.0;

/// What of a calendar counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Calendar {
    /// Call start, uncross, closing call, closing uncross: nanoseconds after midnight; all zero for
    /// an instrument that trades around the clock.
    pub(crate) times: [u64; 4],
    pub(crate) random_end: u64,
    pub(crate) collar: i64,
    pub(crate) allocation: Allocation,
}

/// A call under way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) reference: i64,
    pub(crate) low: i64,
    pub(crate) high: i64,
    drawn: bool,
    /// How often a halt that a breaker began may still be extended; zero for any other.
    pub(crate) extensions_left: u8,
    pub(crate) told: Outcome,
    pub(crate) tell_at: Option<Nanos>,
}

/// Price, lots, surplus of buyers, surplus of sellers.
type Outcome = (Option<i64>, u64, u64, u64);

const NOTHING: Outcome = (None, 0, 0, 0);

impl Calendar {
    pub(crate) const NONE: Self = Self {
        times: [0; 4],
        random_end: 0,
        collar: 0,
        allocation: Allocation::Time,
    };

    /// What a command says, if it is lawful.
    fn of(command: &SetCalendar) -> Option<Self> {
        let times = [
            command.call_start,
            command.uncross,
            command.closing_call,
            command.closing_uncross,
        ];
        let times = times.map(|time| u64::from(time.0) * 1_000_000);
        let random_end = u64::from(command.random_end.0) * 1_000_000;
        let [start, uncross, closing, end] = times;
        let lawful = match times {
            [0, 0, 0, 0] => random_end == 0,
            _ => {
                start < uncross
                    && uncross + random_end <= closing
                    && closing < end
                    && end <= DAY
                    && end + random_end <= start + DAY
            }
        };
        let calendar = Self {
            times,
            random_end,
            collar: i64::from(command.collar.0),
            allocation: command.allocation.decode()?,
        };
        let bounded = command.collar.0 <= 1_000_000 && command.random_end.0 <= 60_000;
        (lawful && bounded).then_some(calendar)
    }

    /// The phase at a time, and when it ends.
    pub(crate) fn phase_at(&self, now: Nanos) -> (Phase, Option<Nanos>) {
        if self.times == [0; 4] {
            return (Phase::Continuous, None);
        }
        let today = now.0 / DAY * DAY;
        let mut phase = Phase::Closed;
        let follow = [
            Phase::PreOpenCall,
            Phase::Continuous,
            Phase::ClosingCall,
            Phase::Closed,
        ];
        for (time, next) in self.times.into_iter().zip(follow) {
            let Some(at) = today.checked_add(time) else {
                return (phase, None);
            };
            if at > now.0 {
                return (phase, Some(Nanos(at)));
            }
            phase = next;
        }
        let tomorrow = today.checked_add(DAY);
        let start = tomorrow.and_then(|day| day.checked_add(self.times[0]));
        (phase, start.map(Nanos))
    }
}

impl Call {
    fn begin(instrument: &Instrument) -> Self {
        let (tick, reference) = (instrument.tick(), instrument.reference());
        let (mut low, mut high) = (tick, instrument.price_cap());
        if instrument.calendar.collar > 0 {
            let room = reference * instrument.calendar.collar / 1_000_000;
            while low < reference - room {
                low += tick * ((reference - room - low) / tick).max(1);
            }
            high = high.min((reference + room) / tick * tick);
        }
        Self {
            reference,
            low,
            high,
            drawn: false,
            extensions_left: 0,
            told: NOTHING,
            tell_at: None,
        }
    }

    /// A call that a breaker begins: at any price.
    pub(crate) fn by_breaker(instrument: &Instrument) -> Self {
        Self {
            low: instrument.tick(),
            high: instrument.price_cap(),
            extensions_left: 2,
            ..Self::begin(instrument)
        }
    }

    /// A call that a band begins: at any price, and it is not extended.
    pub(crate) fn by_band(instrument: &Instrument) -> Self {
        Self {
            extensions_left: 0,
            ..Self::by_breaker(instrument)
        }
    }

    pub(crate) fn reference(&self) -> i64 {
        self.reference
    }

    pub(crate) fn admits(&self, limit: i64) -> bool {
        self.low <= limit && limit <= self.high
    }

    pub(crate) fn worst(&self, side: Side) -> i64 {
        match side {
            Side::Buy => self.high,
            Side::Sell => self.low,
        }
    }
}

/// Whether an order would trade in an auction at this price.
fn accepts(order: &Order, price: i64) -> bool {
    order.order_type == OrderType::Market
        || match order.side {
            Side::Buy => order.limit >= price,
            Side::Sell => order.limit <= price,
        }
}

impl Twin {
    fn may_operate(&self, sender: &Sender, id: InstrumentId) -> Result<Instrument, Reject> {
        self.ensure_may(sender, Permissions::OPERATOR)?;
        self.known_instrument(id).cloned()
    }

    pub(crate) fn set_calendar(
        &mut self,
        sender: &Sender,
        command: &SetCalendar,
    ) -> Result<(), Reject> {
        let instrument = self.may_operate(sender, command.instrument)?;
        let calendar = Calendar::of(command).ok_or(Reject::InvalidDefinition)?;
        ensure(!instrument.expired, Reject::InstrumentClosed)?;
        ensure(instrument.call.is_none(), Reject::CallUnderWay)?;
        if let Some(instrument) = self.instruments.get_mut(&command.instrument) {
            instrument.calendar = calendar;
        }
        self.fact(CalendarSet {
            instrument: command.instrument,
            call_start: command.call_start,
            uncross: command.uncross,
            closing_call: command.closing_call,
            closing_uncross: command.closing_uncross,
            random_end: command.random_end,
            collar: command.collar,
            allocation: command.allocation,
            ..CalendarSet::blank()
        });
        self.follow_calendar(command.instrument);
        self.done(sender, 0);
        Ok(())
    }

    pub(crate) fn set_auction_seed(
        &mut self,
        sender: &Sender,
        command: &SetAuctionSeed,
    ) -> Result<(), Reject> {
        self.ensure_may(sender, Permissions::OPERATOR)?;
        self.auction_seed = command.seed;
        self.done(sender, 0);
        Ok(())
    }

    pub(crate) fn halt_trading(
        &mut self,
        sender: &Sender,
        command: &HaltTrading,
    ) -> Result<(), Reject> {
        let instrument = self.may_operate(sender, command.instrument)?;
        ensure(!instrument.expired, Reject::InstrumentClosed)?;
        ensure(instrument.phase != Phase::Halted, Reject::NothingToChange)?;
        ensure(instrument.phase != Phase::Closed, Reject::MarketClosed)?;
        let span = u64::from(command.duration.0) * 1_000_000;
        let until = match command.duration {
            Millis(0) => None,
            _ => self.now.0.checked_add(span).map(Nanos),
        };
        self.enter_phase(command.instrument, Phase::Halted, until);
        self.halt_followers(command.instrument, until);
        self.done(sender, 0);
        Ok(())
    }

    pub(crate) fn resume_trading(
        &mut self,
        sender: &Sender,
        command: &ResumeTrading,
    ) -> Result<(), Reject> {
        let instrument = self.may_operate(sender, command.instrument)?;
        ensure(!instrument.expired, Reject::InstrumentClosed)?;
        ensure(instrument.phase == Phase::Halted, Reject::NothingToChange)?;
        self.follow_calendar(command.instrument);
        self.done(sender, 0);
        Ok(())
    }

    /// The time of a phase is over.
    pub(crate) fn end_phase(&mut self, id: InstrumentId, at: Nanos) {
        let phase = self.instruments[&id].phase;
        if let Some(later) = self.drawn_delay(id, at) {
            if let Some(instrument) = self.instruments.get_mut(&id) {
                instrument.phase_due = Some(later);
            }
            return;
        }
        if phase == Phase::Halted {
            if self.is_extended(id) {
                return;
            }
        } else {
            self.hold_auction(id);
        }
        self.follow_calendar(id);
    }

    /// When chance wants the auction to be held, if it was not asked and wants it later.
    fn drawn_delay(&mut self, id: InstrumentId, at: Nanos) -> Option<Nanos> {
        let instrument = self.instruments.get_mut(&id)?;
        let random_end = instrument.calendar.random_end;
        let call = instrument.call.as_mut()?;
        if instrument.phase == Phase::Halted || call.drawn || random_end == 0 {
            return None;
        }
        call.drawn = true;
        let mut said = self.auction_seed.0.to_vec();
        let numbers = [
            u64::from(id.0),
            at.0,
            self.command.0,
            self.counts.events,
            self.counts.trades,
        ];
        said.extend(numbers.into_iter().flat_map(u64::to_le_bytes));
        let Digest(hash) = Digest(*blake3::hash(&said).as_bytes());
        let first = hash.iter().take(8).rev();
        let drawn = first.fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        match drawn % (random_end + 1) {
            0 => None,
            delay => Some(Nanos(at.0.saturating_add(delay))),
        }
    }

    fn follow_calendar(&mut self, id: InstrumentId) {
        let (phase, until) = self.instruments[&id].calendar.phase_at(self.now);
        self.enter_phase(id, phase, until);
    }

    pub(crate) fn enter_phase(&mut self, id: InstrumentId, phase: Phase, until: Option<Nanos>) {
        let collects = !matches!(phase, Phase::Continuous | Phase::Closed);
        if !collects {
            self.hold_auction(id);
        }
        let Some(instrument) = self.instruments.get_mut(&id) else {
            return;
        };
        if collects {
            let fresh = Call::begin(instrument);
            let call = instrument.call.get_or_insert(fresh);
            call.drawn = false;
        }
        instrument.phase = phase;
        instrument.phase_due = until;
        instrument.said_to_end = until;
        let call = instrument.call;
        self.watch_band(id);
        let price =
            |of: fn(&Call) -> i64| call.as_ref().map_or(Price::NONE, |call| Price(of(call)));
        self.fact(PhaseChanged {
            instrument: id,
            phase: phase.into(),
            ends_at: until.unwrap_or(Nanos(0)),
            reference_price: price(|call| call.reference),
            low_price: price(|call| call.low),
            high_price: price(|call| call.high),
            ..PhaseChanged::blank()
        });
        if phase == Phase::Continuous {
            self.elect_by_last_price(id);
        } else {
            self.withdraw_pegged(id);
        }
    }

    /// Something of a call has changed: what it would come to is looked at in a while.
    pub(crate) fn call_changed(&mut self, id: InstrumentId) {
        let in_a_while = Nanos(self.now.0.saturating_add(100_000_000));
        if let Some(instrument) = self.instruments.get_mut(&id)
            && let Some(call) = &mut instrument.call
        {
            call.tell_at.get_or_insert(in_a_while);
        }
    }

    /// Publishes what the auction would come to, if that is news.
    pub(crate) fn tell_outlook(&mut self, id: InstrumentId) {
        let outcome = self.outcome(id);
        let Some(instrument) = self.instruments.get_mut(&id) else {
            return;
        };
        let Some(call) = &mut instrument.call else {
            return;
        };
        call.tell_at = None;
        if call.told == outcome {
            return;
        }
        call.told = outcome;
        let (price, lots, buy_surplus, sell_surplus) = outcome;
        self.fact(IndicativePrice {
            instrument: id,
            price: price.map_or(Price::NONE, Price),
            quantity: Quantity(lots),
            buy_surplus: Quantity(buy_surplus),
            sell_surplus: Quantity(sell_surplus),
            ..IndicativePrice::blank()
        });
    }

    /// The price that the auction of a call would have.
    pub(crate) fn indicated(&self, id: InstrumentId) -> Option<i64> {
        let (price, ..) = self.outcome(id);
        price
    }

    /// What the auction of a call comes to: every price that matters is tried.
    fn outcome(&self, id: InstrumentId) -> Outcome {
        let instrument = &self.instruments[&id];
        let Some(call) = instrument.call else {
            return NOTHING;
        };
        let orders: Vec<&Order> = self
            .orders
            .values()
            .filter(|order| order.instrument == id && order.stop.is_none() && order.peg.is_none())
            .collect();
        let at = |price: i64| -> (i128, i128) {
            let lots = |side: Side| -> i128 {
                orders
                    .iter()
                    .filter(|order| order.side == side && accepts(order, price))
                    .map(|order| i128::from(order.leaves))
                    .sum()
            };
            (lots(Side::Buy), lots(Side::Sell))
        };
        let best = |prices: Vec<i64>| -> Vec<i64> {
            let value = |price: &i64| {
                let (wanted, offered) = at(*price);
                (wanted.min(offered), -(wanted - offered).abs())
            };
            let highest = prices.iter().map(value).max();
            let is_best = |price: &i64| Some(value(price)) == highest;
            prices.into_iter().filter(is_best).collect()
        };
        let best = best(candidates(instrument, &call, &orders));
        let (Some(lowest), Some(highest)) = (best.iter().min(), best.iter().max()) else {
            return NOTHING;
        };
        let surplus = |price: &i64| {
            let (wanted, offered) = at(*price);
            wanted - offered
        };
        let price = if best.iter().all(|price| surplus(price) > 0) {
            *highest
        } else if best.iter().all(|price| surplus(price) < 0) {
            *lowest
        } else {
            call.reference.max(*lowest).min(*highest)
        };
        let (wanted, offered) = at(price);
        let volume = wanted.min(offered);
        match volume {
            0 => NOTHING,
            _ => (
                Some(price),
                volume as u64,
                (wanted - volume) as u64,
                (offered - volume) as u64,
            ),
        }
    }

    /// The auction that ends a call.
    pub(crate) fn hold_auction(&mut self, id: InstrumentId) {
        if self.instruments[&id].call.is_none() {
            return;
        }
        let outcome = self.outcome(id);
        let (price, lots, buy_surplus, sell_surplus) = outcome;
        self.fact(AuctionUncrossed {
            instrument: id,
            price: price.map_or(Price::NONE, Price),
            quantity: Quantity(lots),
            buy_surplus: Quantity(buy_surplus),
            sell_surplus: Quantity(sell_surplus),
            ..AuctionUncrossed::blank()
        });
        if let Some(price) = price {
            if let Some(instrument) = self.instruments.get_mut(&id) {
                if let Some(guard) = &mut instrument.guard {
                    guard.forget();
                }
                if let Some(band) = &mut instrument.band {
                    band.forget();
                }
            }
            let buys = self.served(id, Side::Buy, price, lots);
            let sells = self.served(id, Side::Sell, price, lots);
            self.bring_together(price, buys, sells);
        }
        if let Some(instrument) = self.instruments.get_mut(&id) {
            instrument.call = None;
        }
        let over = self.orders_where(|order| {
            order.instrument == id && order.time_in_force == TimeInForce::GoodForAuction
        });
        for order in over {
            self.cancel(order, CancelReason::AuctionOver, ClientOrderId::NONE);
        }
    }

    /// Who trades how much on a side: rule 9.6.
    fn served(&self, id: InstrumentId, side: Side, price: i64, lots: u64) -> Vec<(OrderId, u64)> {
        let instrument = &self.instruments[&id];
        let queue: Vec<&Order> = instrument
            .in_order_of_trading(side)
            .iter()
            .map(|order| &self.orders[order])
            .filter(|order| accepts(order, price))
            .collect();
        let unpriced = |order: &&&Order| order.order_type == OrderType::Market;
        let first = queue.iter().filter(unpriced);
        let then = queue.iter().filter(|order| !unpriced(order));
        let queue: Vec<Order> = first.chain(then).map(|order| **order).collect();
        let rank = |order: &Order| (order.order_type == OrderType::Market, order.limit);
        let mut left = lots;
        let mut served = Vec::new();
        let mut rest = queue.as_slice();
        while let Some(head) = rest.first() {
            let level = rest.iter().take_while(|order| rank(order) == rank(head));
            let (level, others) = rest.split_at(level.count());
            rest = others;
            let asked: u64 = level.iter().map(|order| order.leaves).sum();
            if asked > left && instrument.calendar.allocation == Allocation::Size {
                served.extend(by_size(level, left));
                left = 0;
            }
            for order in level {
                let share = order.leaves.min(left);
                left -= share;
                if share > 0 {
                    served.push((order.id, share));
                }
            }
        }
        served
    }

    fn bring_together(
        &mut self,
        price: i64,
        mut buys: Vec<(OrderId, u64)>,
        mut sells: Vec<(OrderId, u64)>,
    ) {
        while let (Some((buy, wanted)), Some((sell, offered))) =
            (buys.first_mut(), sells.first_mut())
        {
            let lots = (*wanted).min(*offered);
            *wanted -= lots;
            *offered -= lots;
            let (buy, sell) = (*buy, *sell);
            buys.retain(|(_, left)| *left > 0);
            sells.retain(|(_, left)| *left > 0);
            let later = self.orders[&buy.max(sell)].prevention;
            let one_owner = self.orders[&buy].participant == self.orders[&sell].participant;
            if one_owner && later != SelfTradePrevention::None {
                self.reduce(buy, lots);
                self.reduce(sell, lots);
                self.show_next(buy);
                self.show_next(sell);
                continue;
            }
            self.counts.trades += 1;
            let trade = TradeId(self.counts.trades);
            let (buyer, seller) = (self.orders[&buy], self.orders[&sell]);
            self.trades.push(Trade {
                at: self.now,
                instrument: buyer.instrument,
                price,
                lots,
                parties: [Party::new(&buyer), Party::new(&seller)],
                busted: false,
            });
            self.fill(buy, (trade, price, lots), Liquidity::Auction);
            self.fill(sell, (trade, price, lots), Liquidity::Auction);
            self.count_trade(buyer.instrument, price, lots);
            if let Some(instrument) = self.instruments.get_mut(&buyer.instrument) {
                instrument.last_trade_price = Some(price);
            }
            self.elect_stops(buyer.instrument, price);
            let accounts = (buyer.account, seller.account);
            self.settle_trade(buyer.instrument, accounts, (price, lots), trade);
            self.remove_if_done(buy);
            self.remove_if_done(sell);
            self.show_next(buy);
            self.show_next(sell);
        }
    }
}

/// The prices at which something changes, and their neighbours, between the extreme limits.
fn candidates(instrument: &Instrument, call: &Call, orders: &[&Order]) -> Vec<i64> {
    let limits: Vec<i64> = orders
        .iter()
        .filter(|order| order.order_type != OrderType::Market)
        .map(|order| order.limit.max(call.low).min(call.high))
        .collect();
    let (Some(from), Some(to)) = (limits.iter().min(), limits.iter().max()) else {
        return vec![call.reference];
    };
    let tick = instrument.tick();
    let near = limits
        .iter()
        .flat_map(|limit| [limit - tick, *limit, limit + tick]);
    near.filter(|price| from <= price && price <= to).collect()
}

/// Rule 9.6, by size: 100 lots each, half of what is open, the rest; the largest first.
fn by_size(level: &[Order], lots: u64) -> Vec<(OrderId, u64)> {
    let mut largest_first: Vec<&Order> = level.iter().collect();
    largest_first.sort_by_key(|order| std::cmp::Reverse(order.leaves));
    let mut shares: Vec<(OrderId, u64)> = level.iter().map(|order| (order.id, 0)).collect();
    let mut left = lots;
    for round in 0..3 {
        for order in &largest_first {
            let Some(share) = shares.iter_mut().find(|(id, _)| *id == order.id) else {
                continue;
            };
            let open = order.leaves - share.1;
            let wanted = match round {
                0 => open.min(100),
                1 => open / 2,
                _ => open,
            };
            share.1 += wanted.min(left);
            left -= wanted.min(left);
        }
    }
    shares.retain(|(_, lots)| *lots > 0);
    shares
}
