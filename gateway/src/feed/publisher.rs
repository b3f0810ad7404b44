//! Turns events into the numbered messages of the feed and keeps the newest of them.
//!
//! Called by the market data server with each frame of the event log, from the first one on.
//!
//! Always holds: numbers are contiguous from 1; messages and numbers are a pure function of the
//! events, whatever the frames they came in, so every node of a cluster gives the same feed.
//! Does not: know clients.

use exahour_wire::ids::{EventSequence, FeedSequence, InstrumentId};
use exahour_wire::market_data::{
    InstrumentDefinition, InstrumentPhase, OrderAdded, OrderDeleted, OrderExecuted, OrderShrunk,
    TopOfBook, TradeReport,
};
use exahour_wire::message::Message;
use exahour_wire::units::Nanos;

use super::history::History;
use crate::image::{BookImage, Books, Change, ImageFault};

/// The feed up to some event.
#[derive(Debug)]
pub struct Publisher {
    image: BookImage,
    history: History,
}

impl Publisher {
    /// The feed before the first event, with room for `history_bytes` of past messages.
    pub fn new(history_bytes: usize) -> Self {
        Publisher {
            image: BookImage::new(),
            history: History::new(history_bytes),
        }
    }

    /// Publishes what a whole frame of the event log changed.
    ///
    /// # Errors
    /// [`ImageFault`] where the log contradicts itself or does not begin at its first event; the
    /// publisher must not be used after it.
    pub fn on_batch(&mut self, batch: &[u8]) -> Result<(), ImageFault> {
        let history = &mut self.history;
        self.image
            .apply_batch(batch, &mut |time, change| publish(history, time, change))
    }

    /// The newest messages.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The books as they are now.
    pub fn books(&self) -> &Books {
        self.image.books()
    }

    /// The last event published.
    pub fn last_event(&self) -> EventSequence {
        self.image.last_event()
    }

    /// The time of the last event.
    pub fn time(&self) -> Nanos {
        self.image.time()
    }
}

fn publish(history: &mut History, time: Nanos, change: Change) {
    let sequence = history.next();
    match change {
        Change::Listed(definition) => {
            let message = InstrumentDefinition {
                sequence,
                ..definition
            };
            history.push(definition.instrument, message.bytes());
        }
        Change::Added(order) => {
            let message = OrderAdded {
                sequence,
                time,
                order: order.order,
                price: order.price,
                quantity: order.quantity,
                instrument: order.instrument,
                side: order.side.into(),
                ..OrderAdded::blank()
            };
            history.push(order.instrument, message.bytes());
        }
        Change::Executed {
            order,
            trade,
            price,
            quantity,
        } => {
            let message = OrderExecuted {
                sequence,
                time,
                order: order.order,
                trade,
                price,
                quantity,
                leaves: order.quantity,
                instrument: order.instrument,
                side: order.side.into(),
                ..OrderExecuted::blank()
            };
            history.push(order.instrument, message.bytes());
            let message = TradeReport {
                sequence: FeedSequence(sequence.0 + 1),
                time,
                trade,
                price,
                quantity,
                instrument: order.instrument,
                aggressor: order.side.opposite().into(),
                ..TradeReport::blank()
            };
            history.push(order.instrument, message.bytes());
        }
        Change::Shrunk(order) => {
            let message = OrderShrunk {
                sequence,
                time,
                order: order.order,
                leaves: order.quantity,
                instrument: order.instrument,
                side: order.side.into(),
                ..OrderShrunk::blank()
            };
            history.push(order.instrument, message.bytes());
        }
        Change::Deleted(order) => {
            let message = OrderDeleted {
                sequence,
                time,
                order: order.order,
                instrument: order.instrument,
                side: order.side.into(),
                ..OrderDeleted::blank()
            };
            history.push(order.instrument, message.bytes());
        }
        Change::Phased {
            instrument,
            phase,
            settlement_price,
        } => {
            let message = InstrumentPhase {
                sequence,
                time,
                settlement_price,
                instrument,
                phase: phase.into(),
                ..InstrumentPhase::blank()
            };
            history.push(instrument, message.bytes());
        }
        Change::Top { instrument, top } => publish_top(history, time, instrument, top),
    }
}

fn publish_top(
    history: &mut History,
    time: Nanos,
    instrument: InstrumentId,
    top: crate::image::Top,
) {
    let message = TopOfBook {
        sequence: history.next(),
        time,
        bid_price: top.bid_price,
        bid_quantity: top.bid_quantity,
        ask_price: top.ask_price,
        ask_quantity: top.ask_quantity,
        instrument,
        ..TopOfBook::blank()
    };
    history.push(instrument, message.bytes());
}
