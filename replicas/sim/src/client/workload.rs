//! What simulated clients ask for: orders near each other, so that they trade, and changes of them.
//!
//! Always holds: every command is one that the exchange answers with a numbered report to its sender.

use exahour_wire::codes::{OrderType, Side, TimeInForce};
use exahour_wire::ids::{AccountId, ClientOrderId, InstrumentId};
use exahour_wire::message::Message;
use exahour_wire::orders::{CancelOrder, MassQuote, NewOrder, Quote, ReplaceOrder};
use exahour_wire::units::{Price, Quantity};

use super::Trader;
use crate::chance::Chance;

/// One tick of the contract that is traded, and the price that everything is near to.
const TICK: i64 = 10_000;
const CENTRE: i64 = 2_500_000;

/// More lots than the contract takes in one order.
const TOO_MANY: Quantity = Quantity(2_000_000);

/// Draws commands.
#[derive(Debug)]
pub(super) struct Workload {
    account: AccountId,
    instrument: InstrumentId,
    quotes: bool,
    /// The names of the last orders.
    names: Vec<ClientOrderId>,
    next_name: u64,
}

/// Names that are remembered: what is older may still be open, and is left alone.
const NAMES_MAX: usize = 16;

impl Workload {
    pub(super) fn new(trader: &Trader) -> Self {
        Self {
            account: trader.account,
            instrument: trader.instrument,
            quotes: trader.quotes,
            names: Vec::new(),
            next_name: 1,
        }
    }

    /// The next command, without session and number.
    pub(super) fn next(&mut self, chance: &mut Chance) -> Vec<u8> {
        let known = self.names.len();
        if self.quotes && chance.below(3) == 0 {
            return self.mass_quote(chance);
        }
        match chance.below(10) {
            0..=1 if known > 0 => {
                let name = self.names.swap_remove(chance.below(known));
                let cancel = CancelOrder {
                    request: self.name(),
                    client_order_id: name,
                    instrument: self.instrument,
                    ..CancelOrder::blank()
                };
                cancel.bytes().to_vec()
            }
            2 if known > 0 => {
                let place = chance.below(known);
                let new = self.name();
                let original = std::mem::replace(&mut self.names[place], new);
                let replace = ReplaceOrder {
                    client_order_id: new,
                    original,
                    price: price(chance),
                    quantity: Quantity(1 + chance.below(20) as u64),
                    instrument: self.instrument,
                    ..ReplaceOrder::blank()
                };
                replace.bytes().to_vec()
            }
            _ => self.order(chance),
        }
    }

    fn order(&mut self, chance: &mut Chance) -> Vec<u8> {
        let name = self.name();
        if self.names.len() == NAMES_MAX {
            self.names.remove(0);
        }
        self.names.push(name);
        let side = if chance.coin() { Side::Buy } else { Side::Sell };
        let time_in_force = if chance.below(4) == 0 {
            TimeInForce::ImmediateOrCancel
        } else {
            TimeInForce::GoodTillCancelled
        };
        let order = NewOrder {
            client_order_id: name,
            price: price(chance),
            quantity: Quantity(1 + chance.below(20) as u64),
            account: self.account,
            instrument: self.instrument,
            side: side.into(),
            order_type: OrderType::Limit.into(),
            time_in_force: time_in_force.into(),
            ..NewOrder::blank()
        };
        order.bytes().to_vec()
    }

    /// Both sides anew, one of them often with more lots than anybody may enter: what it had stays then, and the
    /// other side may meet it, which rules of different versions see differently.
    fn mass_quote(&mut self, chance: &mut Chance) -> Vec<u8> {
        let bid = price(chance);
        let lots = |chance: &mut Chance| match chance.below(3) {
            0 => TOO_MANY,
            _ => Quantity(1 + chance.below(20) as u64),
        };
        let mut quotes = MassQuote {
            request: self.name(),
            account: self.account,
            ..MassQuote::blank()
        };
        quotes.set_quote(
            0,
            Quote {
                instrument: self.instrument,
                bid_price: bid,
                bid_quantity: lots(chance),
                ask_price: Price(bid.0 + TICK * (1 + chance.below(3) as i64)),
                ask_quantity: lots(chance),
            },
        );
        quotes.bytes().to_vec()
    }

    fn name(&mut self) -> ClientOrderId {
        self.next_name += 1;
        ClientOrderId(self.next_name)
    }
}

fn price(chance: &mut Chance) -> Price {
    Price(CENTRE + TICK * (chance.below(9) as i64 - 4))
}
