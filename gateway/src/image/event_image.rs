//! The books as the event log makes them, and every public change on the way.
//!
//! Called by the feed's publisher and by tools with each event in order; `end_batch` says that
//! the last command is over. Changes are told to the caller as they happen.
//!
//! Always holds: an order that was accepted, or lost its place, is outside the book until its
//! command is over, and rests then with what is left; tops are told after all changes of a command.
//! Does not: number or encode what it tells (that is `feed::publisher`).

use exahour_wire::codes::{Enumeration, Liquidity, Phase, Priority, Raw};
use exahour_wire::events::{
    EventPrefix, FrameEnd, IndicativePrice, InstrumentExpired, InstrumentListed, InstrumentSettled,
    OrderAccepted, OrderCancelled, OrderFilled, OrderReduced, OrderReplaced, PhaseChanged,
};
use exahour_wire::ids::{CommandSequence, EventSequence, InstrumentId, OrderId, TradeId};
use exahour_wire::market_data::InstrumentDefinition;
use exahour_wire::message::{Message, messages};
use exahour_wire::units::{Nanos, Price, Quantity};

use super::books::{Books, Top};
use super::fault::ImageFault;
use super::queue::RestingOrder;

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
    },
    /// What the auction of a call under way would come to.
    Indicated(IndicativePrice),
    /// A resting order, given as it is now, shrank in its place.
    Shrunk(RestingOrder),
    /// An order, given as it was, left the book without trading.
    Deleted(RestingOrder),
    /// The state of trading or the settlement price changed.
    Phased {
        /// The contract.
        instrument: InstrumentId,
        /// The state.
        phase: Phase,
        /// The final or last settlement price.
        settlement_price: Price,
    },
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
    books: Books,
    last_event: EventSequence,
    command: CommandSequence,
    time: Nanos,
    /// Orders of the present command that are outside the book and may rest when it is over.
    pending: Vec<RestingOrder>,
    /// Instruments that the present command touched, in the order touched.
    touched: Vec<InstrumentId>,
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
            touched: Vec::new(),
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

    /// Ends the present command: what is left of its orders rests, and changed tops are told.
    ///
    /// # Errors
    /// As [`BookImage::apply_batch`].
    pub fn end_batch(
        &mut self,
        on_change: &mut impl FnMut(Nanos, Change),
    ) -> Result<(), ImageFault> {
        for place in 0..self.pending.len() {
            let resting = self.pending[place];
            if resting.quantity.0 == 0 {
                continue;
            }
            self.books.add(resting)?;
            self.touched.push(resting.instrument);
            on_change(self.time, Change::Added(resting));
        }
        self.pending.clear();
        for instrument in self.touched.drain(..) {
            let book = self.books.book_mut(instrument)?;
            let top = book.top();
            // An instrument that was touched twice is told once: the second time nothing differs.
            if book.told != top {
                book.told = top;
                on_change(self.time, Change::Top { instrument, top });
            }
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
            OrderAccepted::TEMPLATE_ID => self.on_accepted(&read(event)?),
            OrderCancelled::TEMPLATE_ID => self.on_cancelled(&read(event)?, &mut tell),
            OrderReplaced::TEMPLATE_ID => self.on_replaced(&read(event)?, &mut tell),
            OrderFilled::TEMPLATE_ID => self.on_filled(&read(event)?, &mut tell),
            OrderReduced::TEMPLATE_ID => self.on_reduced(&read(event)?, &mut tell),
            InstrumentListed::TEMPLATE_ID => {
                let definition = definition_of(&read(event)?);
                self.books.list(definition)?;
                tell(Change::Listed(definition));
                Ok(())
            }
            InstrumentSettled::TEMPLATE_ID => {
                let settled: InstrumentSettled = read(event)?;
                let (phase, _) = self.state(settled.instrument)?;
                self.on_phase(settled.instrument, phase, settled.price, &mut tell)
            }
            PhaseChanged::TEMPLATE_ID => {
                let changed: PhaseChanged = read(event)?;
                let phase = decode(changed.phase, template)?;
                let (_, settlement_price) = self.state(changed.instrument)?;
                self.on_phase(changed.instrument, phase, settlement_price, &mut tell)
            }
            IndicativePrice::TEMPLATE_ID => {
                tell(Change::Indicated(read(event)?));
                Ok(())
            }
            InstrumentExpired::TEMPLATE_ID => {
                let expired: InstrumentExpired = read(event)?;
                self.on_phase(expired.instrument, Phase::Expired, expired.price, &mut tell)
            }
            _ => Ok(()),
        }
    }

    fn on_accepted(&mut self, accepted: &OrderAccepted) -> Result<(), ImageFault> {
        self.pending.push(RestingOrder {
            order: accepted.order,
            instrument: accepted.instrument,
            side: decode(accepted.side, OrderAccepted::TEMPLATE_ID)?,
            price: accepted.price,
            quantity: accepted.quantity,
        });
        Ok(())
    }

    fn on_cancelled(
        &mut self,
        cancelled: &OrderCancelled,
        tell: &mut impl FnMut(Change),
    ) -> Result<(), ImageFault> {
        if let Some(order) = self.pending_mut(cancelled.order) {
            order.quantity = Quantity(0);
            return Ok(());
        }
        let was = self.books.remove(cancelled.order)?;
        self.touched.push(was.instrument);
        tell(Change::Deleted(was));
        Ok(())
    }

    fn on_replaced(
        &mut self,
        replaced: &OrderReplaced,
        tell: &mut impl FnMut(Change),
    ) -> Result<(), ImageFault> {
        match decode(replaced.priority, OrderReplaced::TEMPLATE_ID)? {
            Priority::Kept => self.shrink(replaced.order, replaced.leaves, tell),
            Priority::Lost => {
                let was = self.books.remove(replaced.order)?;
                self.touched.push(was.instrument);
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
        if let Some(order) = self.pending_mut(filled.order) {
            order.quantity = filled.leaves;
            return Ok(());
        }
        let was = self.books.shrink(filled.order, filled.leaves)?;
        if was.quantity.0 - filled.leaves.0 != filled.quantity.0 {
            return Err(ImageFault::WrongSize(filled.order));
        }
        self.touched.push(was.instrument);
        let order = RestingOrder {
            quantity: filled.leaves,
            ..was
        };
        let (trade, price, quantity) = (filled.trade, filled.price, filled.quantity);
        tell(match decode(filled.liquidity, OrderFilled::TEMPLATE_ID)? {
            Liquidity::Auction => Change::Auctioned {
                order,
                trade,
                price,
                quantity,
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
        if let Some(order) = self.pending_mut(reduced.order) {
            order.quantity = reduced.leaves;
            return Ok(());
        }
        self.shrink(reduced.order, reduced.leaves, tell)
    }

    /// The phase and the settlement price of an instrument, as they were told last.
    fn state(&self, instrument: InstrumentId) -> Result<(Phase, Price), ImageFault> {
        let book = self.books.book(instrument);
        let book = book.ok_or(ImageFault::UnknownInstrument(instrument))?;
        Ok((book.phase(), book.settlement_price()))
    }

    fn on_phase(
        &mut self,
        instrument: InstrumentId,
        phase: Phase,
        settlement_price: Price,
        tell: &mut impl FnMut(Change),
    ) -> Result<(), ImageFault> {
        self.books.set_phase(instrument, phase, settlement_price)?;
        tell(Change::Phased {
            instrument,
            phase,
            settlement_price,
        });
        Ok(())
    }

    fn shrink(
        &mut self,
        order: OrderId,
        leaves: Quantity,
        tell: &mut impl FnMut(Change),
    ) -> Result<(), ImageFault> {
        let was = self.books.shrink(order, leaves)?;
        self.touched.push(was.instrument);
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
