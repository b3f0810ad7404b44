//! The books that are compared, each behind the same two calls.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use exahour_book::contract::{Cancel, NewOrder, Report, kind};
use exahour_book::matcher::{Matcher, Reports};

/// What came of a stream: the sums of all trades, whatever their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) trades: u64,
    lots: u64,
    mixed: u64,
}

impl Outcome {
    fn trade(&mut self, taker: u64, maker: u64, price: u64, lots: u64) {
        let mixed = [maker, price, lots].iter().fold(taker, |mixed, value| {
            (mixed ^ value)
                .wrapping_mul(0x9E37_79B9_7F4A_7C15)
                .rotate_left(29)
        });
        self.trades += 1;
        self.lots += lots;
        self.mixed = self.mixed.wrapping_add(mixed);
    }
}

/// A book under test.
pub(crate) trait Peer {
    /// Enters a limit order.
    fn add(&mut self, id: u64, sells: bool, price: u64, lots: u32);
    /// Cancels an order that rests.
    fn cancel(&mut self, id: u64);
    /// What has traded.
    fn outcome(&self) -> Outcome;
}

/// The exchange's book.
pub(crate) struct Ours {
    matcher: Matcher,
    trades: Trades,
}

/// Counts the trades among a matcher's reports.
#[derive(Default)]
struct Trades(Outcome);

impl Reports for Trades {
    #[inline(always)]
    fn push(&mut self, report: Report) {
        if report.kind == kind::TRADE {
            let price = report.price.cast_unsigned();
            self.0
                .trade(report.taker, report.maker, price, report.quantity.into());
        }
    }
}

impl Ours {
    pub(crate) fn new() -> Self {
        Self {
            matcher: Matcher::new(7),
            trades: Trades::default(),
        }
    }
}

impl Peer for Ours {
    fn add(&mut self, id: u64, sells: bool, price: u64, lots: u32) {
        let new = NewOrder {
            order_id: id,
            sequence: id,
            price: price.cast_signed(),
            quantity: lots,
            side: u8::from(sells),
            immediate: 0,
            reserved: [0; 2],
        };
        self.matcher.new_order(&new, &mut self.trades);
    }

    fn cancel(&mut self, id: u64) {
        let cancel = Cancel {
            order_id: id,
            sequence: id,
        };
        self.matcher.cancel(&cancel, &mut self.trades);
    }

    fn outcome(&self) -> Outcome {
        self.trades.0
    }
}

/// What anybody would write: ordered maps of queues, and a map from id to price.
#[derive(Default)]
pub(crate) struct Plain {
    sides: [BTreeMap<u64, VecDeque<(u64, u32)>>; 2],
    places: HashMap<u64, (bool, u64)>,
    outcome: Outcome,
}

impl Plain {
    pub(crate) fn rests(&self, id: u64) -> bool {
        self.places.contains_key(&id)
    }
}

impl Peer for Plain {
    fn add(&mut self, id: u64, sells: bool, price: u64, mut lots: u32) {
        while lots > 0 {
            let against = &mut self.sides[usize::from(!sells)];
            let best = match sells {
                true => against.last_entry(),
                false => against.first_entry(),
            };
            let Some(mut level) = best else { break };
            let at = *level.key();
            if (sells && at < price) || (!sells && at > price) {
                break;
            }
            let queue = level.get_mut();
            let Some((maker, open)) = queue.front_mut() else {
                break;
            };
            let traded = lots.min(*open);
            self.outcome.trade(id, *maker, at, traded.into());
            lots -= traded;
            *open -= traded;
            if *open == 0 {
                self.places.remove(maker);
                queue.pop_front();
            }
            if queue.is_empty() {
                level.remove();
            }
        }
        if lots > 0 {
            let side = &mut self.sides[usize::from(sells)];
            side.entry(price).or_default().push_back((id, lots));
            self.places.insert(id, (sells, price));
        }
    }

    fn cancel(&mut self, id: u64) {
        let Some((sells, price)) = self.places.remove(&id) else {
            return;
        };
        let side = &mut self.sides[usize::from(sells)];
        let Some(queue) = side.get_mut(&price) else {
            return;
        };
        queue.retain(|(it, _)| *it != id);
        if queue.is_empty() {
            side.remove(&price);
        }
    }

    fn outcome(&self) -> Outcome {
        self.outcome
    }
}

/// The crate `lobster`.
pub(crate) struct Lobster {
    book: lobster::OrderBook,
    outcome: Outcome,
}

impl Lobster {
    pub(crate) fn new() -> Self {
        Self {
            book: lobster::OrderBook::new(100_000, 16, false),
            outcome: Outcome::default(),
        }
    }
}

impl Peer for Lobster {
    fn add(&mut self, id: u64, sells: bool, price: u64, lots: u32) {
        let order = lobster::OrderType::Limit {
            id: id.into(),
            side: match sells {
                true => lobster::Side::Ask,
                false => lobster::Side::Bid,
            },
            qty: lots.into(),
            price,
        };
        let event = self.book.execute(order);
        if let lobster::OrderEvent::Filled { fills, .. }
        | lobster::OrderEvent::PartiallyFilled { fills, .. } = event
        {
            for fill in fills {
                self.outcome
                    .trade(id, fill.order_2 as u64, fill.price, fill.qty);
            }
        }
    }

    fn cancel(&mut self, id: u64) {
        self.book
            .execute(lobster::OrderType::Cancel { id: id.into() });
    }

    fn outcome(&self) -> Outcome {
        self.outcome
    }
}

/// The crate `orderbook-rs`, whose trades come through a listener.
pub(crate) struct OrderbookRs {
    book: orderbook_rs::OrderBook<()>,
    sums: Arc<[AtomicU64; 3]>,
}

impl OrderbookRs {
    pub(crate) fn new() -> Self {
        let sums = Arc::new([const { AtomicU64::new(0) }; 3]);
        let heard = Arc::clone(&sums);
        let listener = move |result: &orderbook_rs::TradeResult| {
            for trade in result.match_result.trades().as_vec() {
                let mut one = Outcome::default();
                one.trade(
                    trade.taker_order_id().as_u64().unwrap_or(0),
                    trade.maker_order_id().as_u64().unwrap_or(0),
                    trade.price().as_u128() as u64,
                    trade.quantity().as_u64(),
                );
                for (sum, value) in heard.iter().zip([one.trades, one.lots, one.mixed]) {
                    sum.fetch_add(value, Ordering::Relaxed);
                }
            }
        };
        Self {
            book: orderbook_rs::OrderBook::with_trade_listener("BENCH", Arc::new(listener)),
            sums,
        }
    }
}

impl Peer for OrderbookRs {
    fn add(&mut self, id: u64, sells: bool, price: u64, lots: u32) {
        let side = match sells {
            true => orderbook_rs::Side::Sell,
            false => orderbook_rs::Side::Buy,
        };
        let entered = self.book.add_limit_order(
            orderbook_rs::Id::Sequential(id),
            price.into(),
            lots.into(),
            side,
            orderbook_rs::TimeInForce::Gtc,
            None,
        );
        std::hint::black_box(entered.is_ok());
    }

    fn cancel(&mut self, id: u64) {
        let cancelled = self.book.cancel_order(orderbook_rs::Id::Sequential(id));
        std::hint::black_box(cancelled.is_ok());
    }

    fn outcome(&self) -> Outcome {
        let [trades, lots, mixed] = [0, 1, 2].map(|it| self.sums[it].load(Ordering::Relaxed));
        Outcome {
            trades,
            lots,
            mixed,
        }
    }
}
