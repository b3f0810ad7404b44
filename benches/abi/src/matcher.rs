//! The exchange's book, driven by the benchmark's messages.
//!
//! The book, its levels and its table of orders are those that the engine trades on. What is here is
//! what the benchmark has beside them: names that are small numbers, and its six kinds of report.
//!
//! Always holds: an order is in the table just if it rests, and then its name points to it.

use exahour_engine::Capacity;
use exahour_engine::book::{Book, NO_EXTENT, NO_ORDER, Order, OrderTable, Slot, VACANT};
use exahour_rings::fetch_for_writing;
use exahour_wire::codes::Side;
use exahour_wire::ids::ClientOrderId;
use exahour_wire::units::{Price, Quantity};

use crate::contract::{Cancel, Modify, NewOrder, Report, kind};

/// Names for which there is room at the start; more are made when they come.
const NAMES_AT_START: usize = 1 << 20;

/// What a matcher says.
pub trait Reports {
    /// Takes one report.
    fn push(&mut self, report: Report);
}

/// One book.
pub struct Matcher {
    book: Book,
    orders: OrderTable,
    /// By the client's name for an order: its place, or [`NO_ORDER`].
    places: Vec<Slot>,
}

/// What trades: an order that has arrived.
#[derive(Clone, Copy)]
struct Taker {
    name: u64,
    sequence: u64,
    side: Side,
    limit: Price,
}

impl Matcher {
    /// An empty book.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let capacity = Capacity {
            index_seed: seed,
            ..Capacity::default()
        };
        Self {
            book: Book::new(seed, Price(1)),
            orders: OrderTable::new(&capacity),
            places: vec![NO_ORDER; NAMES_AT_START],
        }
    }

    /// Asks for the line of a name that comes soon: names come in no order, so that each is far away.
    #[inline(always)]
    pub fn fetch_name(&self, name: u64) {
        if let Some(place) = self.places.get(name as usize) {
            fetch_for_writing(place);
        }
    }

    /// Enters an order: one acknowledgement, its trades, and what is left rests or is cancelled.
    #[inline(always)]
    pub fn new_order(&mut self, new: &NewOrder, reports: &mut impl Reports) {
        reports.push(Report {
            kind: kind::ORDER_ACK,
            side: new.side,
            sequence: new.sequence,
            order_id: new.order_id,
            price: new.price,
            quantity: new.quantity,
            ..Report::default()
        });
        let taker = Taker {
            name: new.order_id,
            sequence: new.sequence,
            side: side(new.side),
            limit: Price(new.price),
        };
        let leaves = self.trade(taker, new.quantity, reports);
        if leaves == 0 {
            return;
        }
        if new.immediate == 0 {
            self.rest(taker, leaves);
        } else {
            reports.push(Report {
                kind: kind::CANCEL_ACK,
                side: new.side,
                sequence: new.sequence,
                order_id: new.order_id,
                price: new.price,
                quantity: leaves,
                ..Report::default()
            });
        }
    }

    /// Cancels an order.
    #[inline(always)]
    pub fn cancel(&mut self, cancel: &Cancel, reports: &mut impl Reports) {
        let Some(slot) = self.find(cancel.order_id) else {
            return reports.push(Report {
                kind: kind::CANCEL_REJECT,
                sequence: cancel.sequence,
                order_id: cancel.order_id,
                ..Report::default()
            });
        };
        let order = self.orders.at(slot);
        reports.push(Report {
            kind: kind::CANCEL_ACK,
            side: u8::from(order.side == Side::Sell),
            sequence: cancel.sequence,
            order_id: cancel.order_id,
            price: order.price.0,
            quantity: order.leaves.0 as u32,
            ..Report::default()
        });
        self.take_out(slot);
    }

    /// Changes an order, as a cancel and a new one under the same name.
    #[inline(always)]
    pub fn modify(&mut self, modify: &Modify, reports: &mut impl Reports) {
        let Some(slot) = self.find(modify.order_id) else {
            return reports.push(Report {
                kind: kind::MODIFY_REJECT,
                side: modify.side,
                sequence: modify.sequence,
                order_id: modify.order_id,
                ..Report::default()
            });
        };
        self.take_out(slot);
        let taker = Taker {
            name: modify.order_id,
            sequence: modify.sequence,
            side: side(modify.side),
            limit: Price(modify.price),
        };
        let leaves = self.trade(taker, modify.quantity, reports);
        if leaves > 0 {
            self.rest(taker, leaves);
        }
        reports.push(Report {
            kind: kind::MODIFY_ACK,
            side: modify.side,
            sequence: modify.sequence,
            order_id: modify.order_id,
            price: modify.price,
            quantity: modify.quantity,
            ..Report::default()
        });
    }

    /// The best price of a side.
    #[must_use]
    pub fn best(&self, side: Side) -> Option<Price> {
        self.book.side(side).best()
    }

    /// The open lots of a side at a price.
    #[must_use]
    pub fn depth_at(&self, side: Side, price: Price) -> Quantity {
        self.book.side(side).depth_at(price)
    }

    /// Trades what arrives against what rests within its limit; gives what is left.
    #[inline(always)]
    fn trade(&mut self, taker: Taker, quantity: u32, reports: &mut impl Reports) -> u32 {
        let mut leaves = u64::from(quantity);
        let opposite = taker.side.opposite();
        while leaves > 0 {
            let Some(slot) = self.book.side(opposite).first_within(taker.limit) else {
                break;
            };
            let maker = self.orders.at(slot);
            let traded = leaves.min(maker.leaves.0);
            let whole = traded == maker.leaves.0;
            leaves -= traded;
            reports.push(Report {
                kind: kind::TRADE,
                sequence: taker.sequence,
                price: maker.price.0,
                quantity: traded as u32,
                maker: maker.client_order_id.0,
                taker: taker.name,
                ..Report::default()
            });
            if whole {
                self.take_out(slot);
            } else {
                let book = self.book.side_mut(opposite);
                book.shrink(&mut self.orders, slot, Quantity(traded));
            }
        }
        leaves as u32
    }

    #[inline(always)]
    fn rest(&mut self, taker: Taker, leaves: u32) {
        let slot = self.orders.insert(NO_EXTENT, |id| Order {
            id,
            client_order_id: ClientOrderId(taker.name),
            side: taker.side,
            price: taker.limit,
            leaves: Quantity(u64::from(leaves)),
            ..VACANT
        });
        let book = self.book.side_mut(taker.side);
        book.append(&mut self.orders, slot);
        let name = taker.name as usize;
        if name >= self.places.len() {
            self.add_names(name);
        }
        self.places[name] = slot;
    }

    #[cold]
    #[inline(never)]
    fn add_names(&mut self, name: usize) {
        self.places.resize((name + 1).next_power_of_two(), NO_ORDER);
    }

    #[inline(always)]
    fn take_out(&mut self, slot: Slot) {
        let order = self.orders.at(slot);
        self.places[order.client_order_id.0 as usize] = NO_ORDER;
        let book = self.book.side_mut(order.side);
        book.take_out(&mut self.orders, slot);
        self.orders.remove(slot);
    }

    #[inline(always)]
    fn find(&self, name: u64) -> Option<Slot> {
        let place = self.places.get(usize::try_from(name).ok()?);
        place.copied().filter(|slot| *slot != NO_ORDER)
    }
}

/// The benchmark's number of a side.
#[inline(always)]
pub fn side(number: u8) -> Side {
    if number == 0 { Side::Buy } else { Side::Sell }
}
