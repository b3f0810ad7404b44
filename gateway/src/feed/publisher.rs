//! Turns events into the numbered messages of the feed and keeps the newest of them.
//!
//! Called by the market data server with each frame of the event log, from the first one on.
//!
//! Always holds: numbers are contiguous from 1; messages and numbers are a pure function of the
//! events, whatever the frames they came in, so every node of a cluster gives the same feed.
//! Does not: know clients.

use exahour_wire::codes::Side;
use exahour_wire::events::FrameEnd;
use exahour_wire::ids::{EventSequence, InstrumentId, TradeId};
use exahour_wire::market_data::{
    AuctionTrade, IndicativeAuction, InstrumentDefinition, InstrumentPhase, OrderAdded,
    OrderDeleted, OrderExecuted, OrderShrunk, TopOfBook, TradeReport,
};
use exahour_wire::message::Message;
use exahour_wire::units::{Nanos, Price, Quantity};

use super::history::History;
use crate::image::{BookImage, Books, Change, ImageFault, RestingOrder};

/// The feed up to some event.
#[derive(Debug)]
pub struct Publisher {
    image: BookImage,
    history: History,
}

impl Publisher {
    /// The feed before the first event, with room for `history_bytes` of past messages; memory is
    /// reserved for `orders_room` resting orders, and grows beyond.
    pub fn new(history_bytes: usize, orders_room: usize) -> Self {
        Publisher {
            image: BookImage::with_room(orders_room),
            history: History::new(history_bytes),
        }
    }

    /// Publishes what a whole frame of the event log changed.
    ///
    /// # Errors
    /// [`ImageFault`] where the log contradicts itself or does not begin at its first event; the
    /// publisher must not be used after it.
    pub fn on_batch(&mut self, batch: &[u8], end: FrameEnd) -> Result<(), ImageFault> {
        let history = &mut self.history;
        self.image.apply_batch(batch, end, &mut |time, change| {
            publish(history, time, change)
        })
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
            publish_executed(history, time, order, (trade, price, quantity));
            let message = TradeReport {
                sequence: history.next(),
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
        Change::Auctioned {
            order,
            trade,
            price,
            quantity,
        } => {
            publish_executed(history, time, order, (trade, price, quantity));
            // Both halves of the trade rested; it is told once, with the buyer's.
            if order.side == Side::Buy {
                let message = AuctionTrade {
                    sequence: history.next(),
                    time,
                    trade,
                    price,
                    quantity,
                    instrument: order.instrument,
                    ..AuctionTrade::blank()
                };
                history.push(order.instrument, message.bytes());
            }
        }
        Change::Indicated(indicative) => {
            let message = IndicativeAuction {
                sequence,
                time,
                price: indicative.price,
                quantity: indicative.quantity,
                buy_surplus: indicative.buy_surplus,
                sell_surplus: indicative.sell_surplus,
                instrument: indicative.instrument,
                ..IndicativeAuction::blank()
            };
            history.push(indicative.instrument, message.bytes());
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

fn publish_executed(
    history: &mut History,
    time: Nanos,
    order: RestingOrder,
    (trade, price, quantity): (TradeId, Price, Quantity),
) {
    let message = OrderExecuted {
        sequence: history.next(),
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

#[cfg(test)]
mod tests {
    use exahour_wire::codes::{Liquidity, Phase, Priority};
    use exahour_wire::events::{
        IndicativePrice, InstrumentExpired, InstrumentListed, InstrumentSettled, OrderAccepted,
        OrderCancelled, OrderFilled, OrderReplaced, PhaseChanged,
    };
    use exahour_wire::ids::{CommandSequence, FeedSequence, OrderId};
    use exahour_wire::limits::MESSAGE_BYTES_MAX;

    use super::*;

    const INSTRUMENT: InstrumentId = InstrumentId(9);

    /// One frame with the events of several commands.
    fn batch() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut event = 0;
        macro_rules! say {
            ($command:literal, $message:ident { $($field:ident: $value:expr),* }) => {
                event += 1;
                bytes.extend_from_slice($message {
                    event: EventSequence(event),
                    command: CommandSequence($command),
                    time: Nanos(100 * $command),
                    instrument: INSTRUMENT,
                    $($field: $value,)*
                    ..$message::blank()
                }.bytes());
            };
        }
        let (maker, taker) = (OrderId(1), OrderId(2));
        let (sell, buy) = (Side::Sell.into(), Side::Buy.into());
        let price = Price(50);
        say!(1, InstrumentListed { tick: Price(1) });
        say!(
            2,
            OrderAccepted {
                order: maker,
                side: sell,
                price: price,
                quantity: Quantity(10)
            }
        );
        say!(
            3,
            OrderAccepted {
                order: taker,
                side: buy,
                price: Price(51),
                quantity: Quantity(4)
            }
        );
        say!(
            3,
            OrderFilled {
                order: maker,
                side: sell,
                trade: TradeId(7),
                price: price,
                quantity: Quantity(4),
                leaves: Quantity(6),
                liquidity: Liquidity::Maker.into()
            }
        );
        say!(
            3,
            OrderFilled {
                order: taker,
                side: buy,
                trade: TradeId(7),
                price: price,
                quantity: Quantity(4),
                leaves: Quantity(0),
                liquidity: Liquidity::Taker.into()
            }
        );
        say!(
            4,
            OrderReplaced {
                order: maker,
                side: sell,
                price: price,
                leaves: Quantity(5),
                priority: Priority::Kept.into()
            }
        );
        say!(
            5,
            OrderReplaced {
                order: maker,
                side: sell,
                price: Price(49),
                leaves: Quantity(5),
                priority: Priority::Lost.into()
            }
        );
        say!(6, InstrumentSettled { price: Price(48) });
        say!(
            7,
            OrderCancelled {
                order: maker,
                side: sell
            }
        );
        say!(7, InstrumentExpired { price: Price(47) });
        bytes
    }

    #[test]
    fn each_change_is_told_once_in_order_and_tops_after_each_command() {
        let mut publisher = Publisher::new(0, 0);
        publisher.on_batch(&batch(), FrameEnd::Command).unwrap();
        let mut room = [0; MESSAGE_BYTES_MAX];
        let mut told = Vec::new();
        for number in 1..publisher.history().next().0 {
            let message = publisher
                .history()
                .message(FeedSequence(number), &mut room)
                .unwrap();
            told.push(if let Some(m) = InstrumentDefinition::read(message) {
                assert_eq!((m.instrument, m.sequence.0), (INSTRUMENT, number));
                format!("{} listed", m.time)
            } else if let Some(m) = OrderAdded::read(message) {
                format!(
                    "{} added {} {} at {}",
                    m.time, m.order, m.quantity, m.price.0
                )
            } else if let Some(m) = OrderExecuted::read(message) {
                format!(
                    "{} executed {} {} leaves {}",
                    m.time, m.order, m.quantity, m.leaves
                )
            } else if let Some(m) = TradeReport::read(message) {
                assert_eq!(m.sequence.0, number);
                let aggressor = m.aggressor.decode().unwrap();
                format!(
                    "{} trade {} {} by {aggressor:?}",
                    m.time, m.trade, m.quantity
                )
            } else if let Some(m) = OrderShrunk::read(message) {
                format!("{} shrunk {} leaves {}", m.time, m.order, m.leaves)
            } else if let Some(m) = OrderDeleted::read(message) {
                format!("{} deleted {}", m.time, m.order)
            } else if let Some(m) = TopOfBook::read(message) {
                assert_eq!(m.bid_price, Price::NONE);
                format!("{} top {} at {}", m.time, m.ask_quantity, m.ask_price)
            } else {
                let m = InstrumentPhase::read(message).unwrap();
                let expired = m.phase.decode() == Some(Phase::Expired);
                format!(
                    "{} settled {} expired {expired}",
                    m.time, m.settlement_price.0
                )
            });
        }
        let expected = [
            "100 listed",
            "200 added 1 10 at 50",
            "200 top 10 at 0.00005",
            "300 executed 1 4 leaves 6",
            "300 trade 7 4 by Buy",
            "300 top 6 at 0.00005",
            "400 shrunk 1 leaves 5",
            "400 top 5 at 0.00005",
            "500 deleted 1",
            "500 added 1 5 at 49",
            "500 top 5 at 0.000049",
            "600 settled 48 expired false",
            "700 deleted 1",
            "700 settled 47 expired true",
            "700 top 0 at none",
        ];
        assert_eq!(told, expected);
    }

    /// A call, its outlook, its auction: both orders rested, and the trade is told once.
    #[test]
    fn a_trade_of_an_auction_is_told_once() {
        let mut bytes = Vec::new();
        let mut event = 0;
        macro_rules! say {
            ($command:literal, $message:ident { $($field:ident: $value:expr),* }) => {
                event += 1;
                bytes.extend_from_slice($message {
                    event: EventSequence(event),
                    command: CommandSequence($command),
                    instrument: INSTRUMENT,
                    $($field: $value,)*
                    ..$message::blank()
                }.bytes());
            };
        }
        let (price, quantity) = (Price(50), Quantity(4));
        let halted = Phase::Halted.into();
        say!(1, InstrumentListed { tick: Price(1) });
        say!(2, PhaseChanged { phase: halted });
        say!(3, InstrumentSettled { price: Price(48) });
        for (order, side) in [(1, Side::Buy), (2, Side::Sell)] {
            let (order, side) = (OrderId(order), side.into());
            say!(
                4,
                OrderAccepted {
                    order: order,
                    side: side,
                    price: price,
                    quantity: quantity
                }
            );
        }
        say!(
            7,
            IndicativePrice {
                price: price,
                quantity: quantity
            }
        );
        for (order, side) in [(1, Side::Buy), (2, Side::Sell)] {
            let liquidity = Liquidity::Auction.into();
            let (order, side, trade) = (OrderId(order), side.into(), TradeId(3));
            say!(
                8,
                OrderFilled {
                    order: order,
                    side: side,
                    trade: trade,
                    price: price,
                    quantity: quantity,
                    liquidity: liquidity
                }
            );
        }
        let mut publisher = Publisher::new(0, 0);
        publisher.on_batch(&bytes, FrameEnd::Command).unwrap();
        let mut room = [0; MESSAGE_BYTES_MAX];
        let numbers = 1..publisher.history().next().0;
        let told: Vec<String> = numbers
            .filter_map(|number| {
                let history = publisher.history();
                let message = history.message(FeedSequence(number), &mut room).unwrap();
                if let Some(m) = InstrumentPhase::read(message) {
                    Some(format!("{:?} {}", m.phase, m.settlement_price.0))
                } else if let Some(m) = IndicativeAuction::read(message) {
                    Some(format!("indicative {} at {}", m.quantity, m.price.0))
                } else if let Some(m) = OrderExecuted::read(message) {
                    Some(format!("executed {} {}", m.order, m.quantity))
                } else if let Some(m) = AuctionTrade::read(message) {
                    Some(format!("trade {} {} at {}", m.trade, m.quantity, m.price.0))
                } else {
                    assert!(TradeReport::read(message).is_none());
                    None
                }
            })
            .collect();
        let none = Price::NONE.0;
        let expected = [
            format!("Halted {none}"),
            "Halted 48".to_owned(),
            "indicative 4 at 50".to_owned(),
            "executed 1 4".to_owned(),
            "trade 3 4 at 50".to_owned(),
            "executed 2 4".to_owned(),
        ];
        assert_eq!(told, expected);
    }
}
