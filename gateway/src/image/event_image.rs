//! The books as the event log makes them, and every public change on the way.
//!
//! Called by the feed's publisher and by tools with each event in order; `end_batch` says that
//! the last command is over. Changes are told to the caller as they happen.
//!
//! Always holds: an order that was accepted, or lost its place, is outside the book until its
//! command is over or another order comes, and rests then with what is left; levels, tops and statistics
//! are told after all changes of a command, each once. A stop order is nowhere until it is triggered, a
//! pegged order while it waits; a one-cancels-other order is in the book until it is triggered.
//! Does not: number or encode what it tells (that is `feed::publisher`).

use std::collections::{HashMap, HashSet};

use exahour_wire::codes::{Enumeration, LevelAction, Liquidity, OrderType, Priority, Raw, Side};
use exahour_wire::events::{
    AuctionUncrossed, CircuitBreakerSet, EventPrefix, FrameEnd, IndicativePrice, InstrumentExpired,
    InstrumentListed, InstrumentSettled, IntervalPriced, OrderAccepted, OrderCancelled,
    OrderFilled, OrderReduced, OrderReplaced, OrderRepriced, OrderShown, OrderTriggered,
    PhaseChanged, PriceBandMoved, PriceBandSet, TradeBusted, TradeCorrected,
};
use exahour_wire::ids::{CommandSequence, EventSequence, InstrumentId, OrderId, TradeId};
use exahour_wire::market_data::{
    CircuitBreaker, IndicativeAuction, InstrumentDefinition, IntervalPrice, PriceBand, Statistics,
};
use exahour_wire::message::{Message, messages};
use exahour_wire::units::{Nanos, Price, Quantity};

use super::books::{Books, LevelView, Top};
use super::day_statistics::DayStatistics;
use super::fault::ImageFault;
use super::order_hash::OrderHash;
use super::queue::RestingOrder;
use super::trading_state::TradingState;

/// A public change of a book.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// An instrument was listed; the definition has no number yet.
    Listed(InstrumentDefinition),
    /// An order rests, last at its price.
    Added(RestingOrder),
    /// A resting order traded with one that came.
    Executed {
        /// The order as it is after the trade.
        order: RestingOrder,
        /// The trade.
        trade: TradeId,
        /// The price of the trade.
        price: Price,
        /// Lots traded.
        quantity: Quantity,
    },
    /// A resting order traded in an auction; a buy is told before the sell that it met.
    Auctioned {
        /// The order as it is after the trade.
        order: RestingOrder,
        /// The trade.
        trade: TradeId,
        /// The price of the trade.
        price: Price,
        /// Lots traded.
        quantity: Quantity,
        /// Those of them that the order had shown.
        shown: Quantity,
    },
    /// A trade was undone.
    Busted(TradeBusted),
    /// A trade was undone and made anew.
    Corrected(TradeCorrected),
    /// What the auction of a call under way would come to; without a number.
    Indicated(IndicativeAuction),
    /// An interval is over; without a number.
    IntervalPriced(IntervalPrice),
    /// A resting order, given as it is now, shrank in its place.
    Shrunk(RestingOrder),
    /// An order, given as it was, left the book without trading.
    Deleted(RestingOrder),
    /// How an instrument trades, or what it is settled at, changed.
    Phased {
        /// The contract.
        instrument: InstrumentId,
        /// As it is now.
        state: TradingState,
    },
    /// A price band was set or taken away, moved, or is not known any more; without a number.
    Banded(PriceBand),
    /// A circuit breaker was set or taken away; without a number.
    BreakerSet(CircuitBreaker),
    /// What rests at one price changed.
    Level {
        /// The contract.
        instrument: InstrumentId,
        /// The side.
        side: Side,
        /// As it is now.
        level: LevelView,
        /// What happened.
        action: LevelAction,
    },
    /// Trades were made, undone or corrected: what they come to now; without a number.
    Traded(Statistics),
    /// The best prices or their sizes changed.
    Top {
        /// The contract.
        instrument: InstrumentId,
        /// As they are now.
        top: Top,
    },
}

/// The books after some event, with what the present command has under way.
#[derive(Debug)]
pub struct BookImage {
    pub(super) books: Books,
    pub(super) last_event: EventSequence,
    pub(super) command: CommandSequence,
    pub(super) time: Nanos,
    /// Orders of the present command that are outside the book and may rest when it is over.
    pub(super) pending: Vec<RestingOrder>,
    /// Stop orders and pegged orders that are not in the market.
    pub(super) parked: HashSet<OrderId, OrderHash>,
    /// Instruments that the present command touched, in the order touched.
    pub(super) touched: Vec<InstrumentId>,
    /// Levels that the present command touched, as they were before each touch.
    pub(super) touched_levels: Vec<(InstrumentId, Side, LevelView)>,
    /// Instruments in which the present command made, undid or corrected trades.
    pub(super) traded: Vec<InstrumentId>,
    pub(super) statistics: DayStatistics,
    /// Lots of iceberg orders that are open and not shown.
    pub(super) hidden: HashMap<OrderId, u64, OrderHash>,
}

impl Default for BookImage {
    fn default() -> Self {
        Self::new()
    }
}

impl BookImage {
    /// The books before the first event.
    pub fn new() -> Self {
        Self::with_room(0)
    }

    /// The same with memory reserved for as many orders.
    pub fn with_room(orders: usize) -> Self {
        BookImage {
            books: Books::with_room(orders),
            last_event: EventSequence::NONE,
            command: CommandSequence::NONE,
            time: Nanos(0),
            pending: Vec::new(),
            parked: HashSet::with_hasher(OrderHash),
            touched: Vec::new(),
            touched_levels: Vec::new(),
            traded: Vec::new(),
            statistics: DayStatistics::default(),
            hidden: HashMap::with_hasher(OrderHash),
        }
    }

    /// The books; orders of a command that is not over may be outside them.
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// The last event applied.
    pub fn last_event(&self) -> EventSequence {
        self.last_event
    }

    /// The time of the last event.
    pub fn time(&self) -> Nanos {
        self.time
    }

    /// Applies a whole frame of the event log; ends its last command where the frame says so.
    ///
    /// # Errors
    /// [`ImageFault`] where the log contradicts itself; the image must not be used after it.
    pub fn apply_batch(
        &mut self,
        batch: &[u8],
        end: FrameEnd,
        on_change: &mut impl FnMut(Nanos, Change),
    ) -> Result<(), ImageFault> {
        let mut walked = 0;
        for event in messages(batch) {
            walked += event.len();
            self.apply(event, on_change)?;
        }
        if walked != batch.len() {
            return Err(ImageFault::CutBatch {
                after: self.last_event,
            });
        }
        match end {
            FrameEnd::Command => self.end_batch(on_change),
            // The next event tells: it is of the same command, or ends this one.
            FrameEnd::Anywhere => Ok(()),
        }
    }

    /// Applies one event; the first of a new command ends the one before.
    ///
    /// # Errors
    /// As [`BookImage::apply_batch`].
    pub fn apply(
        &mut self,
        event: &[u8],
        on_change: &mut impl FnMut(Nanos, Change),
    ) -> Result<(), ImageFault> {
        let Some(prefix) = EventPrefix::peek(event) else {
            return Err(ImageFault::CutBatch {
                after: self.last_event,
            });
        };
        let expected = EventSequence(self.last_event.0 + 1);
        if prefix.event != expected {
            return Err(ImageFault::EventGap {
                expected,
                got: prefix.event,
            });
        }
        if prefix.command != self.command {
            self.end_batch(on_change)?;
        }
        self.last_event = prefix.event;
        self.command = prefix.command;
        self.time = prefix.time;
        self.dispatch(prefix.header.template_id, event, on_change)
    }

    /// Ends the present command: what is left of its orders rests; then changed levels, tops and
    /// statistics are told.
    ///
    /// # Errors
    /// As [`BookImage::apply_batch`].
    pub fn end_batch(
        &mut self,
        on_change: &mut impl FnMut(Nanos, Change),
    ) -> Result<(), ImageFault> {
        let time = self.time;
        let mut tell = |change| on_change(time, change);
        self.rest_pending(&mut tell)?;
        self.tell_levels(&mut tell)?;
        for instrument in self.touched.drain(..) {
            let book = self.books.book_mut(instrument)?;
            let top = book.top();
            // An instrument that was touched twice is told once: the second time nothing differs.
            if book.told != top {
                book.told = top;
                tell(Change::Top { instrument, top });
            }
        }
        self.tell_statistics(&mut tell)
    }

    fn touch(&mut self, order: &RestingOrder, level: LevelView) {
        self.touched.push(order.instrument);
        let place = (order.instrument, order.side);
        let again = self
            .touched_levels
            .last()
            .is_some_and(|last| (last.0, last.1, last.2.price) == (place.0, place.1, order.price));
        if !again {
            self.touched_levels.push((place.0, place.1, level));
        }
    }

    /// Tells each level that is not what it was before the command, by instrument, side and price.
    fn tell_levels(&mut self, tell: &mut impl FnMut(Change)) -> Result<(), ImageFault> {
        let place = |it: &(InstrumentId, Side, LevelView)| (it.0, it.1 as u8, it.2.price);
        // A stable sort, so the first of several is how the level was before the command.
        self.touched_levels.sort_by_key(place);
        self.touched_levels
            .dedup_by(|later, first| place(later) == place(first));
        for (instrument, side, before) in self.touched_levels.drain(..) {
            let book = self.books.book_mut(instrument)?;
            let level = book.level(side, before.price);
            if let Some(action) = level.action_since(before) {
                tell(Change::Level {
                    instrument,
                    side,
                    level,
                    action,
                });
            }
        }
        Ok(())
    }

    fn tell_statistics(&mut self, tell: &mut impl FnMut(Change)) -> Result<(), ImageFault> {
        self.traded.sort_unstable();
        self.traded.dedup();
        for instrument in self.traded.drain(..) {
            let Some(statistics) = self.statistics.of(instrument, self.time) else {
                continue;
            };
            self.books.book_mut(instrument)?.extras.statistics = Some(statistics);
            tell(Change::Traded(statistics));
        }
        Ok(())
    }

    fn dispatch(
        &mut self,
        template: u16,
        event: &[u8],
        on_change: &mut impl FnMut(Nanos, Change),
    ) -> Result<(), ImageFault> {
        let time = self.time;
        let mut tell = |change| on_change(time, change);
        match template {
            OrderAccepted::TEMPLATE_ID => self.on_accepted(&read(event)?, &mut tell),
            OrderTriggered::TEMPLATE_ID => self.on_triggered(&read(event)?, &mut tell),
            OrderRepriced::TEMPLATE_ID => self.on_repriced(&read(event)?, &mut tell),
            AuctionUncrossed::TEMPLATE_ID => self.rest_pending(&mut tell),
            OrderCancelled::TEMPLATE_ID => self.on_cancelled(&read(event)?, &mut tell),
            OrderReplaced::TEMPLATE_ID => self.on_replaced(&read(event)?, &mut tell),
            OrderFilled::TEMPLATE_ID => self.on_filled(&read(event)?, &mut tell),
            OrderReduced::TEMPLATE_ID => self.on_reduced(&read(event)?, &mut tell),
            OrderShown::TEMPLATE_ID => self.on_shown(&read(event)?, &mut tell),
            InstrumentListed::TEMPLATE_ID => {
                let definition = definition_of(&read(event)?);
                self.books.list(definition)?;
                tell(Change::Listed(definition));
                Ok(())
            }
            InstrumentSettled::TEMPLATE_ID => self.on_settled(&read(event)?, &mut tell),
            PhaseChanged::TEMPLATE_ID => self.on_phase_changed(&read(event)?, &mut tell),
            PriceBandSet::TEMPLATE_ID => self.on_band_set(&read(event)?, &mut tell),
            PriceBandMoved::TEMPLATE_ID => self.on_band_moved(&read(event)?, &mut tell),
            CircuitBreakerSet::TEMPLATE_ID => self.on_breaker_set(&read(event)?, &mut tell),
            IndicativePrice::TEMPLATE_ID => self.on_indicative(&read(event)?, &mut tell),
            IntervalPriced::TEMPLATE_ID => self.on_interval(&read(event)?, &mut tell),
            TradeBusted::TEMPLATE_ID => self.on_busted(&read(event)?, &mut tell),
            TradeCorrected::TEMPLATE_ID => self.on_corrected(&read(event)?, &mut tell),
            InstrumentExpired::TEMPLATE_ID => self.on_expired(&read(event)?, &mut tell),
            _ => Ok(()),
        }
    }

    /// What is left of the orders that came rests.
    fn rest_pending(&mut self, tell: &mut impl FnMut(Change)) -> Result<(), ImageFault> {
        for place in 0..self.pending.len() {
            let resting = self.pending[place];
            if resting.quantity.0 == 0 {
                continue;
            }
            let level = self.books.add(resting)?;
            self.touch(&resting, level);
            tell(Change::Added(resting));
        }
        self.pending.clear();
        Ok(())
    }

    fn on_accepted(
        &mut self,
        accepted: &OrderAccepted,
        tell: &mut impl FnMut(Change),
    ) -> Result<(), ImageFault> {
        let wait = [OrderType::Stop, OrderType::StopLimit, OrderType::Pegged].map(Raw::from);
        if wait.contains(&accepted.order_type) {
            self.parked.insert(accepted.order);
            return Ok(());
        }
        self.rest_pending(tell)?;
        self.pending.push(RestingOrder {
            order: accepted.order,
            instrument: accepted.instrument,
            side: decode(accepted.side, OrderAccepted::TEMPLATE_ID)?,
            price: accepted.price,
            quantity: accepted.quantity,
        });
        Ok(())
    }

    fn on_triggered(
        &mut self,
        triggered: &OrderTriggered,
        tell: &mut impl FnMut(Change),
    ) -> Result<(), ImageFault> {
        self.rest_pending(tell)?;
        if !self.parked.remove(&triggered.order) {
            // A one-cancels-other order stood in the book until now.
            let (was, level) = self.books.remove(triggered.order)?;
            self.touch(&was, level);
            tell(Change::Deleted(was));
        }
        self.pending.push(RestingOrder {
            order: triggered.order,
            instrument: triggered.instrument,
            side: decode(triggered.side, OrderTriggered::TEMPLATE_ID)?,
            price: triggered.price,
            quantity: triggered.quantity,
        });
        Ok(())
    }

    /// A pegged order leaves the book, if it stands there, and comes at another price or waits.
    fn on_repriced(
        &mut self,
        repriced: &OrderRepriced,
        tell: &mut impl FnMut(Change),
    ) -> Result<(), ImageFault> {
        let waits = repriced.price == Price::NONE;
        if !waits {
            self.rest_pending(tell)?;
        }
        let waited = self.parked.remove(&repriced.order);
        if let Some(order) = self.pending_mut(repriced.order) {
            order.quantity = Quantity(0);
        } else if !waited {
            let (was, level) = self.books.remove(repriced.order)?;
            self.touch(&was, level);
            tell(Change::Deleted(was));
        }
        if waits {
            self.parked.insert(repriced.order);
            return Ok(());
        }
        self.pending.push(RestingOrder {
            order: repriced.order,
            instrument: repriced.instrument,
            side: decode(repriced.side, OrderRepriced::TEMPLATE_ID)?,
            price: repriced.price,
            quantity: repriced.leaves,
        });
        Ok(())
    }

    fn on_cancelled(
        &mut self,
        cancelled: &OrderCancelled,
        tell: &mut impl FnMut(Change),
    ) -> Result<(), ImageFault> {
        if self.parked.remove(&cancelled.order) {
            return Ok(());
        }
        self.forget_hidden(cancelled.order);
        if let Some(order) = self.pending_mut(cancelled.order) {
            order.quantity = Quantity(0);
            return Ok(());
        }
        let (was, level) = self.books.remove(cancelled.order)?;
        self.touch(&was, level);
        tell(Change::Deleted(was));
        Ok(())
    }

    fn on_replaced(
        &mut self,
        replaced: &OrderReplaced,
        tell: &mut impl FnMut(Change),
    ) -> Result<(), ImageFault> {
        if self.parked.contains(&replaced.order) {
            return Ok(());
        }
        self.rest_pending(tell)?;
        match decode(replaced.priority, OrderReplaced::TEMPLATE_ID)? {
            Priority::Kept => self.on_made_smaller(replaced, tell),
            Priority::Lost => {
                self.forget_hidden(replaced.order);
                let (was, level) = self.books.remove(replaced.order)?;
                self.touch(&was, level);
                tell(Change::Deleted(was));
                let (price, quantity) = (replaced.price, replaced.leaves);
                self.pending.push(RestingOrder {
                    price,
                    quantity,
                    ..was
                });
                Ok(())
            }
        }
    }

    fn on_filled(
        &mut self,
        filled: &OrderFilled,
        tell: &mut impl FnMut(Change),
    ) -> Result<(), ImageFault> {
        let shown = self.shown_of(filled.order, filled.leaves);
        if let Some(order) = self.pending_mut(filled.order) {
            order.quantity = shown;
            return Ok(());
        }
        let auction = filled.liquidity == Liquidity::Auction.into();
        let (was, level) = self.books.shrink(filled.order, shown)?;
        let less = Quantity(was.quantity.0 - shown.0);
        if less != filled.quantity && !(auction && shown.0 == 0 && less < filled.quantity) {
            return Err(ImageFault::WrongSize(filled.order));
        }
        self.touch(&was, level);
        let order = RestingOrder {
            quantity: shown,
            ..was
        };
        let (trade, price, quantity) = (filled.trade, filled.price, filled.quantity);
        let liquidity = decode(filled.liquidity, OrderFilled::TEMPLATE_ID)?;
        // Both halves of an auction's trade rested; it is counted once, with the buyer's.
        if liquidity != Liquidity::Auction || was.side == Side::Buy {
            let made = (price, quantity);
            self.statistics
                .on_trade(self.time, was.instrument, trade, made);
            self.traded.push(was.instrument);
        }
        tell(match liquidity {
            Liquidity::Auction => Change::Auctioned {
                order,
                trade,
                price,
                quantity,
                shown: less,
            },
            Liquidity::Maker | Liquidity::Taker => Change::Executed {
                order,
                trade,
                price,
                quantity,
            },
        });
        Ok(())
    }

    fn on_reduced(
        &mut self,
        reduced: &OrderReduced,
        tell: &mut impl FnMut(Change),
    ) -> Result<(), ImageFault> {
        let shown = self.shown_of(reduced.order, reduced.leaves);
        if let Some(order) = self.pending_mut(reduced.order) {
            order.quantity = shown;
            return Ok(());
        }
        self.shrink(reduced.order, shown, tell)
    }

    /// An iceberg order that is outside the book will rest with what it shows; one that has shown all
    /// it might stands last at its price.
    fn on_shown(
        &mut self,
        shown: &OrderShown,
        tell: &mut impl FnMut(Change),
    ) -> Result<(), ImageFault> {
        let hidden = shown.leaves.0.checked_sub(shown.quantity.0);
        let hidden = hidden.ok_or(ImageFault::WrongSize(shown.order))?;
        self.hidden.insert(shown.order, hidden);
        if let Some(order) = self.pending_mut(shown.order) {
            order.quantity = shown.quantity;
            return Ok(());
        }
        let resting = RestingOrder {
            order: shown.order,
            instrument: shown.instrument,
            side: decode(shown.side, OrderShown::TEMPLATE_ID)?,
            price: shown.price,
            quantity: shown.quantity,
        };
        let level = self.books.add(resting)?;
        self.touch(&resting, level);
        tell(Change::Added(resting));
        Ok(())
    }

    /// An order was made smaller where it stands: what it hides went first.
    fn on_made_smaller(
        &mut self,
        replaced: &OrderReplaced,
        tell: &mut impl FnMut(Change),
    ) -> Result<(), ImageFault> {
        let Some(hidden) = self.hidden.get_mut(&replaced.order) else {
            return self.shrink(replaced.order, replaced.leaves, tell);
        };
        let order = self.books.order(replaced.order);
        let order = order.ok_or(ImageFault::UnknownOrder(replaced.order))?;
        let shown = order.quantity.min(replaced.leaves);
        *hidden = replaced.leaves.0 - shown.0;
        match shown == order.quantity {
            true => Ok(()),
            false => self.shrink(replaced.order, shown, tell),
        }
    }

    /// What an order shows of so many open lots, of which those that it shows went first.
    fn shown_of(&mut self, order: OrderId, leaves: Quantity) -> Quantity {
        if self.hidden.is_empty() {
            return leaves;
        }
        let hidden = self.hidden.get(&order).copied().unwrap_or(0);
        if leaves.0 == 0 {
            self.hidden.remove(&order);
        }
        Quantity(leaves.0.saturating_sub(hidden))
    }

    fn forget_hidden(&mut self, order: OrderId) {
        if !self.hidden.is_empty() {
            self.hidden.remove(&order);
        }
    }

    fn on_busted(
        &mut self,
        busted: &TradeBusted,
        tell: &mut impl FnMut(Change),
    ) -> Result<(), ImageFault> {
        // Both sides are told of it; it is public once, with the buyer's.
        if decode(busted.side, TradeBusted::TEMPLATE_ID)? == Side::Buy {
            let gone = (busted.price, Quantity(0));
            self.statistics.on_change(busted.trade, gone)?;
            self.traded.push(busted.instrument);
            tell(Change::Busted(*busted));
        }
        Ok(())
    }

    fn on_corrected(
        &mut self,
        corrected: &TradeCorrected,
        tell: &mut impl FnMut(Change),
    ) -> Result<(), ImageFault> {
        if decode(corrected.side, TradeCorrected::TEMPLATE_ID)? == Side::Buy {
            let made = (corrected.price, corrected.quantity);
            self.statistics.on_change(corrected.trade, made)?;
            self.traded.push(corrected.instrument);
            tell(Change::Corrected(*corrected));
        }
        Ok(())
    }

    fn shrink(
        &mut self,
        order: OrderId,
        leaves: Quantity,
        tell: &mut impl FnMut(Change),
    ) -> Result<(), ImageFault> {
        let (was, level) = self.books.shrink(order, leaves)?;
        self.touch(&was, level);
        tell(match leaves.0 {
            0 => Change::Deleted(was),
            _ => Change::Shrunk(RestingOrder {
                quantity: leaves,
                ..was
            }),
        });
        Ok(())
    }

    fn pending_mut(&mut self, order: OrderId) -> Option<&mut RestingOrder> {
        self.pending
            .iter_mut()
            .find(|pending| pending.order == order)
    }
}

/// Reads an event whose template is known to be `M`'s.
fn read<M: Message>(event: &[u8]) -> Result<M, ImageFault> {
    M::read(event).ok_or(ImageFault::OutOfPlace {
        template: M::TEMPLATE_ID,
    })
}

/// Reads a code of a message.
pub(super) fn decode<E: Enumeration>(raw: Raw<E>, template: u16) -> Result<E, ImageFault> {
    raw.decode().ok_or(ImageFault::UnknownCode { template })
}

/// The public part of a listing.
fn definition_of(listed: &InstrumentListed) -> InstrumentDefinition {
    InstrumentDefinition {
        time: listed.time,
        instrument: listed.instrument,
        kind: listed.kind,
        class: listed.class,
        grade_performance: listed.grade_performance,
        grade_reliability: listed.grade_reliability,
        grade_energy: listed.grade_energy,
        firmness: listed.firmness,
        reference_version: listed.reference_version,
        hours: listed.hours,
        symbol: listed.symbol,
        zone: listed.zone,
        tick: listed.tick,
        delivery_start: listed.delivery_start,
        last_trade_at: listed.last_trade_at,
        ..InstrumentDefinition::blank()
    }
}
