//! Chapter 5, mass quotes: each side as the order, the replace or the cancel that it amounts to.
//!
//! Called by `admission`.
//!
//! Always holds: a side that is refused changes nothing.

use exahour_wire::codes::{CancelReason, OrderType, SelfTradePrevention, Side, TimeInForce};
use exahour_wire::events::OrderRejected;
use exahour_wire::ids::{ClientOrderId, InstrumentId};
use exahour_wire::message::Message;
use exahour_wire::orders::{MassQuote, NewOrder, Quote, ReplaceOrder};
use exahour_wire::reject::Reject;
use exahour_wire::units::{Price, Quantity};

use crate::admission::{Sender, ensure};
use crate::orders::{ensure_limit, ensure_quantity};
use crate::stops::stop_price;
use crate::twin::{Order, Twin};
use exahour_wire::codes::Scope;

/// The quotes of a command that name a contract.
pub(crate) fn named(command: &MassQuote) -> Vec<Quote> {
    let quotes = command.quotes().into_iter();
    quotes.filter(|quote| quote.instrument.0 > 0).collect()
}

fn limit_and_lots(quote: &Quote, side: Side) -> (Price, Quantity) {
    match side {
        Side::Buy => (quote.bid_price, quote.bid_quantity),
        Side::Sell => (quote.ask_price, quote.ask_quantity),
    }
}

/// The name of a side's order.
fn name(instrument: InstrumentId, side: Side) -> ClientOrderId {
    let side = match side {
        Side::Buy => 0,
        Side::Sell => 1,
    };
    ClientOrderId(9_223_372_036_854_775_808 + 2 * u64::from(instrument.0) + side)
}

impl Twin {
    pub(crate) fn mass_quote(
        &mut self,
        sender: &Sender,
        command: &MassQuote,
    ) -> Result<(), Reject> {
        self.ensure_may_trade(sender)?;
        self.ensure_account_of(command.account, self.participant_of(sender))?;
        let stopped =
            self.is_stopped_sender(sender) || self.is_stopped(Scope::Account, command.account.0);
        ensure(!stopped, Reject::KillSwitchEngaged)?;
        let prevention: Option<SelfTradePrevention> = command.self_trade_prevention.decode();
        ensure(prevention.is_some(), Reject::InvalidSelfTradePrevention)?;
        ensure(!command.flags.has_unknown(), Reject::InvalidFlags)?;
        let quotes = named(command);
        ensure(!quotes.is_empty(), Reject::NothingToChange)?;
        let mut carried_out = 0;
        for quote in quotes {
            let offer = self.former_quote(sender, command, &quote, Side::Sell);
            let in_the_way = matches!(offer, Ok(Some(it)) if it.limit <= quote.bid_price.0);
            let sides = match quote.bid_quantity.0 > 0 && in_the_way {
                true => [Side::Sell, Side::Buy],
                false => [Side::Buy, Side::Sell],
            };
            let mut left = None;
            for side in sides {
                match self.quote_side(sender, command, &quote, side, left) {
                    Ok(()) => carried_out += 1,
                    Err(reason) => {
                        left = self
                            .former_quote(sender, command, &quote, side)
                            .unwrap_or(None);
                        self.refuse_side(sender, &quote, side, reason);
                    }
                }
            }
        }
        self.done(sender, carried_out);
        Ok(())
    }

    fn refuse_side(&mut self, sender: &Sender, quote: &Quote, side: Side, reason: Reject) {
        let rejected = OrderRejected {
            client_order_id: name(quote.instrument, side),
            instrument: quote.instrument,
            client_sequence: sender.sequence,
            template: 109,
            reason: reason.into(),
            ..OrderRejected::blank()
        };
        self.report(sender.session, rejected);
    }

    /// One side; `left` is the order that the other side has left because it was refused.
    fn quote_side(
        &mut self,
        sender: &Sender,
        command: &MassQuote,
        quote: &Quote,
        side: Side,
        left: Option<Order>,
    ) -> Result<(), Reject> {
        let contract = self.known_instrument(quote.instrument)?;
        let (price, lots) = limit_and_lots(quote, side);
        if lots.0 > 0 {
            let both = quote.bid_quantity.0 > 0 && quote.ask_quantity.0 > 0;
            let crossed = both && quote.ask_price <= quote.bid_price;
            ensure(!crossed, Reject::CrossedQuote)?;
            ensure_quantity(contract, lots)?;
            ensure_limit(contract, price)?;
            if self.behaviour.0 >= 2
                && let Some(left) = left
            {
                let apart = match side {
                    Side::Buy => price.0 < left.limit,
                    Side::Sell => price.0 > left.limit,
                };
                ensure(apart, Reject::CrossedQuote)?;
            }
        }
        let Some(former) = self.former_quote(sender, command, quote, side)? else {
            let name = name(quote.instrument, side);
            return match lots.0 {
                0 => Ok(()),
                _ => self.new_order(
                    sender,
                    &NewOrder {
                        session: sender.session,
                        sequence: sender.sequence,
                        client_order_id: name,
                        price,
                        quantity: lots,
                        account: command.account,
                        instrument: quote.instrument,
                        side: side.into(),
                        order_type: OrderType::Limit.into(),
                        time_in_force: TimeInForce::GoodTillCancelled.into(),
                        self_trade_prevention: command.self_trade_prevention,
                        flags: command.flags,
                        ..NewOrder::blank()
                    },
                ),
            };
        };
        if lots.0 == 0 {
            self.cancel(former.id, CancelReason::Requested, sender.request);
            return Ok(());
        }
        let placed = contract.within_band(side, price.0, self.now);
        let stays = former.limit == price.0 || former.limit == placed;
        if stays && former.leaves == lots.0 {
            return Ok(());
        }
        self.requote(sender, &former, price, lots)
    }

    /// The order that a side has become before, if there is one; another may have its name.
    fn former_quote(
        &self,
        sender: &Sender,
        command: &MassQuote,
        quote: &Quote,
        side: Side,
    ) -> Result<Option<Order>, Reject> {
        let named = self.order_named(sender.session, name(quote.instrument, side));
        let is_quote = |it: &Order| {
            it.side == side
                && it.instrument == quote.instrument
                && it.account == command.account
                && stop_price(it).is_none()
                && it.peg.is_none()
        };
        ensure(named.is_none_or(is_quote), Reject::DuplicateClientOrderId)?;
        Ok(named.copied())
    }

    /// The former order is replaced as if nothing of it had traded.
    fn requote(
        &mut self,
        sender: &Sender,
        former: &Order,
        price: Price,
        lots: Quantity,
    ) -> Result<(), Reject> {
        if let Some(order) = self.orders.get_mut(&former.id) {
            order.traded = 0;
        }
        let replace = ReplaceOrder {
            session: sender.session,
            sequence: sender.sequence,
            client_order_id: former.client_order_id,
            original: former.client_order_id,
            price,
            quantity: lots,
            instrument: former.instrument,
            ..ReplaceOrder::blank()
        };
        let result = self.replace_order(sender, &replace);
        if result.is_err()
            && let Some(order) = self.orders.get_mut(&former.id)
        {
            order.traded = former.traded;
        }
        result
    }
}
