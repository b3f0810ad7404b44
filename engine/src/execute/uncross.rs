//! The auction that ends a call: one price, then trades through the ledger as in matching.
//!
//! Called by `phases` and when an instrument expires in a call.
//!
//! Always holds: afterwards the book is not crossed, and no order is left that was good for this
//! auction only. Who is filled does not depend on who owns the orders: where both sides of a trade
//! have one owner, their lots meet without a trade.
//! Its trades elect stop orders; these are let in when trading goes on (`stops`).

use exahour_wire::codes::TimeInForce;
use exahour_wire::codes::{Allocation, CancelReason, Liquidity, SelfTradePrevention, Side};
use exahour_wire::events::{AuctionUncrossed, OrderFilled};
use exahour_wire::ids::ClientOrderId;
use exahour_wire::message::Message;
use exahour_wire::units::{Price, Quantity};

use super::iceberg::First;
use super::{Execute, Instrument};
use crate::auction::{Allotment, Claim, Clearing, Interest, Level, allot, allot_by_size, clear};
use crate::batch::EventSink;
use crate::book::Slot;
use crate::reporter::Output;
use crate::trade_log::{Party, Trade};
use crate::trading::{Call, Outlook, UNPRICED};

/// Room to work out an auction in; kept to spare the allocation.
#[derive(Default)]
pub(super) struct AuctionRoom {
    bids: Vec<Level>,
    asks: Vec<Level>,
    claims: Vec<Claim<Slot>>,
    limited: Vec<Claim<Slot>>,
    buys: Vec<Allotment<Slot>>,
    sells: Vec<Allotment<Slot>>,
}

impl Execute {
    /// What the auction of this call would come to now.
    pub(super) fn clearing(&mut self, instrument: &Instrument, call: &Call) -> Option<Clearing> {
        let room = &mut self.auction_room;
        call.limits(&instrument.book, Side::Buy, &mut room.bids);
        call.limits(&instrument.book, Side::Sell, &mut room.asks);
        let interest = Interest {
            bids: &room.bids,
            asks: &room.asks,
            unpriced_bids: Quantity(*call.unpriced.at(Side::Buy)),
            unpriced_asks: Quantity(*call.unpriced.at(Side::Sell)),
        };
        clear(&interest, &call.frame(&instrument.terms))
    }

    /// Ends the call under way, if there is one, with its auction.
    pub(super) fn end_call<S: EventSink>(
        &mut self,
        instrument: &mut Instrument,
        out: &mut Output<'_, S>,
    ) {
        let Some(call) = instrument.trading.call.take() else {
            return;
        };
        let clearing = self.clearing(instrument, &call);
        let outlook = Outlook::of(clearing);
        let uncrossed = AuctionUncrossed {
            instrument: instrument.id,
            price: outlook.price,
            quantity: outlook.quantity,
            buy_surplus: outlook.buy_surplus,
            sell_surplus: outlook.sell_surplus,
            ..Message::blank()
        };
        self.reporter.fact(out, uncrossed);
        if let Some(clearing) = clearing {
            if let Some(guard) = &mut instrument.trading.guard {
                guard.forget();
            }
            self.trade_all(instrument, &clearing, out);
        }
        self.cancel_for_auction(instrument, out);
    }

    /// Shares the volume out on both sides and brings buyers and sellers together, in order.
    fn trade_all<S: EventSink>(
        &mut self,
        instrument: &mut Instrument,
        clearing: &Clearing,
        out: &mut Output<'_, S>,
    ) {
        let mut room = std::mem::take(&mut self.auction_room);
        self.claim(instrument, Side::Buy, clearing.price, &mut room);
        share(instrument, clearing.volume, &room.claims, &mut room.buys);
        self.claim(instrument, Side::Sell, clearing.price, &mut room);
        share(instrument, clearing.volume, &room.claims, &mut room.sells);
        let (mut buys, mut sells) = (room.buys.iter_mut(), room.sells.iter_mut());
        let (mut buy, mut sell) = (buys.next(), sells.next());
        while let (Some(bought), Some(sold)) = (&mut buy, &mut sell) {
            let lots = bought.lots.min(sold.lots);
            bought.lots.0 -= lots.0;
            sold.lots.0 -= lots.0;
            let pair = (bought.key, sold.key);
            let (bought_all, sold_all) = (bought.lots.0 == 0, sold.lots.0 == 0);
            self.meet(instrument, pair, clearing.price, lots, out);
            if bought_all {
                buy = buys.next();
            }
            if sold_all {
                sell = sells.next();
            }
        }
        self.auction_room = room;
    }

    /// The orders of a side that trade at a price: unpriced ones first, then by price and time.
    fn claim(&self, instrument: &Instrument, side: Side, price: Price, room: &mut AuctionRoom) {
        room.claims.clear();
        room.limited.clear();
        instrument.book.side(side).walk(&self.orders, |slot| {
            let order = self.orders.at(slot);
            let trades = match side {
                Side::Buy => order.price >= price,
                Side::Sell => order.price <= price,
            };
            if !trades {
                return false;
            }
            let unpriced = order.flags.contains(UNPRICED);
            let claim = Claim {
                key: slot,
                price: if unpriced { Price::NONE } else { order.price },
                lots: self.orders.open(slot),
            };
            if unpriced {
                room.claims.push(claim);
            } else {
                room.limited.push(claim);
            }
            true
        });
        room.claims.extend_from_slice(&room.limited);
    }

    /// Lots of a buyer and a seller meet: in a trade, or without one where both are one owner's and
    /// the later order asks for prevention.
    fn meet<S: EventSink>(
        &mut self,
        instrument: &mut Instrument,
        (buy, sell): (Slot, Slot),
        price: Price,
        lots: Quantity,
        out: &mut Output<'_, S>,
    ) {
        let (buyer, seller) = (self.orders.at(buy), self.orders.at(sell));
        let later = if buyer.id > seller.id { buyer } else { seller };
        let prevents = buyer.participant == seller.participant
            && later.self_trade_prevention != SelfTradePrevention::None;
        for slot in [buy, sell] {
            self.shrink_resting(instrument, slot, lots, First::Shown);
        }
        if prevents {
            self.reduce(instrument, buy, lots, out);
            self.reduce(instrument, sell, lots, out);
        } else {
            self.trade_in_auction(instrument, (buy, sell), price, lots, out);
        }
        for slot in [buy, sell] {
            if self.orders.at(slot).leaves.0 == 0 {
                self.end_shown(instrument, slot, out);
            }
        }
    }

    fn trade_in_auction<S: EventSink>(
        &mut self,
        instrument: &mut Instrument,
        (buy, sell): (Slot, Slot),
        price: Price,
        lots: Quantity,
        out: &mut Output<'_, S>,
    ) {
        let trade = self.trade_log.next_id();
        instrument.last_trade = Some(price);
        self.count_trade(instrument, price, lots, out.time);
        self.touch_stops(instrument, price);
        let fills = [buy, sell].map(|slot| OrderFilled {
            trade,
            liquidity: Liquidity::Auction.into(),
            ..self.fill(instrument, slot, lots, price)
        });
        let sessions = [buy, sell].map(|slot| self.orders.at(slot).session);
        for session in sessions {
            self.activity(session, out.time).trade(lots);
        }
        let parties = [0, 1].map(|it| {
            self.reporter.report(out, sessions[it], fills[it]);
            Party {
                order: fills[it].order,
                session: sessions[it],
                account: fills[it].account,
            }
        });
        let [buyer, seller] = parties;
        self.trade_log.push(Trade {
            time: out.time,
            instrument: instrument.id,
            price,
            quantity: lots,
            buyer,
            seller,
        });
        let accounts = (buyer.account, seller.account);
        self.move_margin(instrument, accounts, price, lots, trade, out);
        for slot in [buy, sell] {
            self.relock(instrument, self.orders.at(slot).position);
        }
    }

    /// Cancels what was good for this auction only, by ascending id.
    fn cancel_for_auction<S: EventSink>(
        &mut self,
        instrument: &mut Instrument,
        out: &mut Output<'_, S>,
    ) {
        let mut over = std::mem::take(&mut self.selected);
        over.clear();
        for side in [Side::Buy, Side::Sell] {
            instrument.book.side(side).walk(&self.orders, |slot| {
                if self.orders.at(slot).time_in_force == TimeInForce::GoodForAuction {
                    over.push(slot);
                }
                true
            });
        }
        over.sort_unstable_by_key(|slot| self.orders.at(*slot).id);
        let (reason, request) = (CancelReason::AuctionOver, ClientOrderId::NONE);
        for slot in &over {
            self.cancel_resting(instrument, *slot, reason, request, out);
        }
        self.selected = over;
    }
}

/// Shares a volume out among claims as the instrument's calendar says.
fn share(
    instrument: &Instrument,
    volume: Quantity,
    claims: &[Claim<Slot>],
    given: &mut Vec<Allotment<Slot>>,
) {
    given.clear();
    match instrument.trading.calendar.allocation {
        Allocation::Time => allot(claims.iter().copied(), volume, given),
        Allocation::Size => allot_by_size(claims, volume, given),
    }
}
