//! Turns events into the numbered messages of the feeds and keeps the newest of them.
//!
//! Called by the market data server with each frame of the event log, from the first one on.
//!
//! Always holds: the numbers of each depth are contiguous from 1; messages and numbers are a pure function
//! of the events, whatever the frames they came in, so every node of a cluster gives the same feeds.
//! Does not: know clients, or what a change is told as (that is `updates`).

use exahour_wire::codes::FeedDepth;
use exahour_wire::events::FrameEnd;
use exahour_wire::ids::{EventSequence, FeedSequence};
use exahour_wire::units::Nanos;

use super::history::History;
use super::updates::{DEPTHS, Histories};
use crate::image::{BookImage, Books, ImageFault};
use crate::views::pages::{PageReader, PageWriter};

/// The feeds up to some event.
#[derive(Debug)]
pub struct Publisher {
    image: BookImage,
    histories: Histories,
}

impl Publisher {
    /// The feed before the first event, with room for `history_bytes` of past messages about orders; memory is
    /// reserved for `orders_room` resting orders, and grows beyond.
    pub fn new(history_bytes: usize, orders_room: usize) -> Self {
        Publisher {
            image: BookImage::with_room(orders_room),
            histories: Histories::new(history_bytes),
        }
    }

    /// Writes the feed as it stands between two commands, without its past messages.
    pub(crate) fn write(&self, pages: &mut PageWriter) {
        for depth in DEPTHS {
            pages.number(self.history(depth).next().0);
        }
        self.image.write(pages);
    }

    /// Reads what was written, with room as in [`Publisher::new`]; `None` where it is no feed.
    pub(crate) fn read(
        pages: &mut PageReader<'_>,
        history_bytes: usize,
        orders_room: usize,
    ) -> Option<Self> {
        let mut next = [FeedSequence::NONE; 3];
        for next in &mut next {
            *next = FeedSequence(pages.number()?);
        }
        Some(Publisher {
            histories: Histories::from(history_bytes, next),
            image: BookImage::read(pages, orders_room)?,
        })
    }

    /// Whether every command of which there was an event is over.
    pub(crate) fn between_commands(&self) -> bool {
        self.image.between_commands()
    }

    /// Publishes what a whole frame of the event log changed.
    ///
    /// # Errors
    /// [`ImageFault`] where the log contradicts itself or does not begin at its first event; the
    /// publisher must not be used after it.
    pub fn on_batch(&mut self, batch: &[u8], end: FrameEnd) -> Result<(), ImageFault> {
        let histories = &mut self.histories;
        self.image.apply_batch(batch, end, &mut |time, change| {
            histories.publish(time, change);
        })
    }

    /// The newest messages of one depth.
    pub fn history(&self, depth: FeedDepth) -> &History {
        self.histories.at(depth)
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

#[cfg(test)]
mod tests {
    use exahour_wire::codes::{Liquidity, Phase, Priority, Raw, Side};
    use exahour_wire::events::{
        IndicativePrice, InstrumentExpired, InstrumentListed, InstrumentSettled, OrderAccepted,
        OrderCancelled, OrderFilled, OrderReplaced, PhaseChanged, TradeBusted, TradeCorrected,
    };
    use exahour_wire::ids::{CommandSequence, FeedSequence, InstrumentId, OrderId, TradeId};
    use exahour_wire::limits::MESSAGE_BYTES_MAX;
    use exahour_wire::market_data::{
        AuctionTrade, IndicativeAuction, InstrumentDefinition, InstrumentPhase, OrderAdded,
        OrderDeleted, OrderExecuted, OrderShrunk, PriceLevel, Statistics, TopOfBook, TradeBust,
        TradeCorrection, TradeReport,
    };
    use exahour_wire::message::{Message, messages};
    use exahour_wire::units::{Price, Quantity};

    use super::*;

    const INSTRUMENT: InstrumentId = InstrumentId(9);

    /// Appends the next event.
    macro_rules! say {
        ($bytes:ident, $command:literal, $message:ident { $($field:ident: $value:expr),* $(,)? }) => {{
            let event = EventSequence(messages(&$bytes[..]).count() as u64 + 1);
            $bytes.extend_from_slice($message {
                event,
                command: CommandSequence($command),
                time: Nanos(100 * $command),
                instrument: INSTRUMENT,
                $($field: $value,)*
                ..$message::blank()
            }.bytes());
        }};
    }

    const MAKER: OrderId = OrderId(1);

    /// One frame with the events of several commands.
    fn batch() -> Vec<u8> {
        let mut bytes = Vec::new();
        say!(bytes, 1, InstrumentListed { tick: Price(1) });
        say_a_trade(&mut bytes);
        say_what_became_of_the_maker(&mut bytes);
        bytes
    }

    fn say_a_trade(bytes: &mut Vec<u8>) {
        let (sell, buy) = (Side::Sell.into(), Side::Buy.into());
        let (taker, price, quantity) = (OrderId(2), Price(50), Quantity(10));
        say!(
            bytes,
            2,
            OrderAccepted {
                order: MAKER,
                side: sell,
                price: price,
                quantity: quantity
            }
        );
        let (limit, quantity) = (Price(51), Quantity(4));
        say!(
            bytes,
            3,
            OrderAccepted {
                order: taker,
                side: buy,
                price: limit,
                quantity: quantity
            }
        );
        for (order, side, leaves, liquidity) in [
            (MAKER, sell, Quantity(6), Liquidity::Maker.into()),
            (taker, buy, Quantity(0), Liquidity::Taker.into()),
        ] {
            say!(
                bytes,
                3,
                OrderFilled {
                    order: order,
                    side: side,
                    trade: TradeId(7),
                    price: price,
                    quantity: quantity,
                    leaves: leaves,
                    liquidity: liquidity,
                }
            );
        }
    }

    fn say_what_became_of_the_maker(bytes: &mut Vec<u8>) {
        let (order, side, leaves) = (MAKER, Side::Sell.into(), Quantity(5));
        let (price, priority) = (Price(50), Priority::Kept.into());
        say!(
            bytes,
            4,
            OrderReplaced {
                order: order,
                side: side,
                price: price,
                leaves: leaves,
                priority: priority
            }
        );
        let (price, priority) = (Price(49), Priority::Lost.into());
        say!(
            bytes,
            5,
            OrderReplaced {
                order: order,
                side: side,
                price: price,
                leaves: leaves,
                priority: priority
            }
        );
        say!(bytes, 6, InstrumentSettled { price: Price(48) });
        say!(
            bytes,
            7,
            OrderCancelled {
                order: order,
                side: side
            }
        );
        say!(bytes, 7, InstrumentExpired { price: Price(47) });
    }

    /// A message of the feed in few words.
    fn words(message: &[u8]) -> String {
        if let Some(m) = InstrumentDefinition::read(message) {
            assert_eq!(m.instrument, INSTRUMENT);
            format!("{} listed", m.time)
        } else if let Some(m) = OrderAdded::read(message) {
            let (order, quantity, price) = (m.order, m.quantity, m.price.0);
            format!("{} added {order} {quantity} at {price}", m.time)
        } else if let Some(m) = OrderExecuted::read(message) {
            let (order, quantity, leaves) = (m.order, m.quantity, m.leaves);
            format!("{} executed {order} {quantity} leaves {leaves}", m.time)
        } else if let Some(m) = TradeReport::read(message) {
            let (trade, quantity) = (m.trade, m.quantity);
            let aggressor = m.aggressor.decode().unwrap();
            format!("{} trade {trade} {quantity} by {aggressor:?}", m.time)
        } else if let Some(m) = OrderShrunk::read(message) {
            format!("{} shrunk {} leaves {}", m.time, m.order, m.leaves)
        } else if let Some(m) = OrderDeleted::read(message) {
            format!("{} deleted {}", m.time, m.order)
        } else if let Some(m) = TopOfBook::read(message) {
            assert_eq!(m.bid_price, Price::NONE);
            format!("{} top {} at {}", m.time, m.ask_quantity, m.ask_price)
        } else if let Some(m) = PriceLevel::read(message) {
            let (action, orders) = (m.action.decode().unwrap(), m.orders);
            let (quantity, price) = (m.quantity, m.price.0);
            format!("{} {action:?} {quantity} at {price} in {orders}", m.time)
        } else if let Some(m) = Statistics::read(message) {
            let (trades, volume, turnover) = (m.trades, m.volume, m.turnover_low);
            format!("{} {trades} traded {volume} for {turnover}", m.time)
        } else {
            let m = InstrumentPhase::read(message).unwrap();
            let expired = m.phase.decode() == Some(Phase::Expired);
            let settled = m.settlement_price.0;
            format!("{} settled {settled} expired {expired}", m.time)
        }
    }

    /// Everything that a depth tells of [`batch`], with numbers that have no holes.
    fn told(depth: FeedDepth) -> Vec<String> {
        let mut publisher = Publisher::new(0, 0);
        publisher.on_batch(&batch(), FrameEnd::Command).unwrap();
        let history = publisher.history(depth);
        let mut room = [0; MESSAGE_BYTES_MAX];
        let mut told = Vec::new();
        for number in 1..history.next().0 {
            let message = history.message(FeedSequence(number), &mut room).unwrap();
            // The number stands behind the header of every message.
            assert_eq!(message[8..16], number.to_le_bytes());
            told.push(words(message));
        }
        told
    }

    #[test]
    fn each_change_is_told_once_in_order_and_tops_after_each_command() {
        let expected = [
            "100 listed",
            "200 added 1 10 at 50",
            "200 top 10 at 0.00005",
            "300 executed 1 4 leaves 6",
            "300 trade 7 4 by Buy",
            "300 top 6 at 0.00005",
            "300 1 traded 4 for 200",
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
        assert_eq!(told(FeedDepth::Orders), expected);
    }

    #[test]
    fn levels_and_best_prices_are_told_without_orders() {
        let levels = [
            "100 listed",
            "200 Added 10 at 50 in 1",
            "300 trade 7 4 by Buy",
            "300 Changed 6 at 50 in 1",
            "300 1 traded 4 for 200",
            "400 Changed 5 at 50 in 1",
            "500 Added 5 at 49 in 1",
            "500 Deleted 0 at 50 in 0",
            "600 settled 48 expired false",
            "700 settled 47 expired true",
            "700 Deleted 0 at 49 in 0",
        ];
        assert_eq!(told(FeedDepth::Levels), levels);
        let best = [
            "100 listed",
            "200 top 10 at 0.00005",
            "300 trade 7 4 by Buy",
            "300 top 6 at 0.00005",
            "300 1 traded 4 for 200",
            "400 top 5 at 0.00005",
            "500 top 5 at 0.000049",
            "600 settled 48 expired false",
            "700 settled 47 expired true",
            "700 top 0 at none",
        ];
        assert_eq!(told(FeedDepth::Top), best);
    }

    /// Both sides are told of a bust and of a correction; the public hears of each once, at every depth.
    #[test]
    fn what_became_of_a_trade_is_told_once() {
        let mut bytes = batch();
        let mut event = messages(&bytes).count() as u64;
        let (trade, price, quantity) = (TradeId(7), Price(50), Quantity(4));
        for side in [Side::Buy, Side::Sell].map(Raw::from) {
            event += 1;
            let corrected = TradeCorrected {
                event: EventSequence(event),
                command: CommandSequence(8),
                instrument: INSTRUMENT,
                trade,
                price_before: price,
                quantity_before: quantity,
                price: Price(45),
                quantity: Quantity(2),
                side,
                ..TradeCorrected::blank()
            };
            bytes.extend_from_slice(corrected.bytes());
        }
        for side in [Side::Buy, Side::Sell].map(Raw::from) {
            event += 1;
            let busted = TradeBusted {
                event: EventSequence(event),
                command: CommandSequence(9),
                instrument: INSTRUMENT,
                trade,
                price: Price(45),
                quantity: Quantity(2),
                side,
                ..TradeBusted::blank()
            };
            bytes.extend_from_slice(busted.bytes());
        }
        let mut publisher = Publisher::new(0, 0);
        publisher.on_batch(&bytes, FrameEnd::Command).unwrap();
        for depth in DEPTHS {
            let history = publisher.history(depth);
            let mut room = [0; MESSAGE_BYTES_MAX];
            let mut last = Vec::new();
            for number in history.next().0 - 4..history.next().0 {
                let message = history.message(FeedSequence(number), &mut room).unwrap();
                last.push(if let Some(m) = TradeCorrection::read(message) {
                    let (before, now) = (m.quantity_before, m.quantity);
                    format!("{} corrected {before} to {now}", m.trade)
                } else if let Some(m) = TradeBust::read(message) {
                    format!("{} busted {} at {}", m.trade, m.quantity, m.price.0)
                } else {
                    words(message)
                });
            }
            let expected = [
                "7 corrected 4 to 2",
                "0 1 traded 2 for 90",
                "7 busted 2 at 45",
                "0 0 traded 0 for 0",
            ];
            assert_eq!(last, expected, "{depth:?}");
        }
    }

    /// A call, its outlook, its auction: both orders rested, and the trade is told once.
    #[test]
    fn a_trade_of_an_auction_is_told_once() {
        let mut bytes = Vec::new();
        let (price, quantity) = (Price(50), Quantity(4));
        let halted = Phase::Halted.into();
        say!(bytes, 1, InstrumentListed { tick: Price(1) });
        say!(bytes, 2, PhaseChanged { phase: halted });
        say!(bytes, 3, InstrumentSettled { price: Price(48) });
        for (order, side) in [(1, Side::Buy), (2, Side::Sell)] {
            let (order, side) = (OrderId(order), side.into());
            say!(
                bytes,
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
            bytes,
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
                bytes,
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
        let numbers = 1..publisher.history(FeedDepth::Orders).next().0;
        let told: Vec<String> = numbers
            .filter_map(|number| {
                let history = publisher.history(FeedDepth::Orders);
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
