//! Operators who bust and correct trades.

use exahour_wire::codes::Permissions;
use exahour_wire::ids::TradeId;
use exahour_wire::message::Message;
use exahour_wire::operations::{BustTrade, CorrectTrade};
use exahour_wire::units::{Price, Quantity};

use super::dice::Dice;
use super::market::Market;
use super::realistic::sender_or_exchange;

/// Mostly one of the latest trades; now and then an old one, or none.
pub(super) fn amend(market: &mut Market, dice: &mut Dice) -> Vec<u8> {
    let (session, sequence, _) = sender_or_exchange(market, dice, Permissions::OPERATOR);
    let request = market.fresh_name();
    let count = market.trades.len() as u64;
    let place = match dice.below(10) {
        0..7 => count.saturating_sub(1 + dice.below(12)),
        7..9 => dice.below(count),
        _ => count,
    };
    let known = market.trades.get(place as usize).copied();
    let trade = known.map_or(TradeId(dice.below(3) * (count + 1)), |fill| fill.trade);
    if dice.percent(50) {
        return BustTrade {
            session,
            sequence,
            request,
            trade,
            ..BustTrade::blank()
        }
        .bytes()
        .to_vec();
    }
    let (price, lots) = known.map_or((1, 1), |fill| (fill.price.0, fill.quantity.0));
    let contract = known.and_then(|fill| market.instruments.get(&fill.instrument.0));
    let tick = contract.map_or(1, |contract| contract.definition.tick.0);
    let ticks = dice.pick(&[-3, -1, 0, 0, 1, 2, 40]);
    CorrectTrade {
        session,
        sequence,
        request,
        trade,
        price: Price(price + ticks * tick + i64::from(dice.percent(2))),
        quantity: Quantity(match dice.below(12) {
            0 => 0,
            1 => lots + 1,
            2..7 => lots,
            _ => dice.between(1, lots),
        }),
        ..CorrectTrade::blank()
    }
    .bytes()
    .to_vec()
}
