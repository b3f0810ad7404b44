//! Mass quotes: a few contracts around where their prices wander about, mostly the same ones again.
//!
//! Always holds: lots and prices are of few kinds, so that sides often stay as they are.

use exahour_wire::codes::{OrderFlags, Permissions, Raw, SelfTradePrevention, Side};
use exahour_wire::ids::AccountId;
use exahour_wire::message::Message;
use exahour_wire::orders::{MassQuote, QUOTES_MAX, Quote};
use exahour_wire::units::{Price, Quantity};

use super::dice::Dice;
use super::market::Market;
use super::realistic::{account_of, any_instrument, instrument, sender};

/// A command that quotes.
pub(super) fn mass_quote(market: &mut Market, dice: &mut Dice) -> MassQuote {
    let (session, sequence) = sender(market, dice, Permissions::TRADE);
    let account = match dice.percent(90) {
        true => AccountId(100 + (session.participant - 1)),
        false => account_of(session.participant, dice),
    };
    let mut command = MassQuote {
        session: session.id,
        sequence,
        request: market.fresh_name(),
        account,
        self_trade_prevention: match dice.percent(10) {
            true => Raw::<SelfTradePrevention>::new(dice.below(6) as u8),
            false => session.prevention.into(),
        },
        flags: OrderFlags(u8::from(dice.percent(15))),
        ..MassQuote::blank()
    };
    for _ in 0..dice.between(1, 3) {
        let place = dice.below(QUOTES_MAX as u64) as usize;
        command.set_quote(place, quote(market, dice));
    }
    command
}

fn quote(market: &mut Market, dice: &mut Dice) -> Quote {
    let Some(contract) = instrument(market, dice) else {
        return Quote {
            instrument: any_instrument(market, dice),
            bid_price: Price(1),
            bid_quantity: Quantity(1),
            ask_price: Price(2),
            ask_quantity: Quantity(1),
        };
    };
    // One side is refused, and the other is sent where that side still stands.
    let pushed = match dice.below(8) {
        0 => Some(dice.pick(&[Side::Buy, Side::Sell])),
        _ => None,
    };
    let mid = contract.mid + dice.below(3) as i64;
    let mid = match pushed {
        Some(Side::Buy) => (mid - 3).max(4),
        Some(Side::Sell) => mid + 3,
        None => mid,
    };
    let half = dice.pick(&[1, 1, 2, 3, 0]);
    let tick = contract.definition.tick.0;
    let off_tick = i64::from(dice.percent(1));
    let mut lots = |side| match dice.below(40) {
        0..5 => Quantity(0),
        5 => Quantity(5_000_000),
        6..36 if pushed == Some(side) => Quantity(5_000_000),
        _ => Quantity(dice.pick(&[1, 2, 4, 8])),
    };
    Quote {
        instrument: contract.definition.instrument,
        bid_price: Price((mid - half) * tick),
        bid_quantity: lots(Side::Buy),
        ask_price: Price((mid + half) * tick + off_tick),
        ask_quantity: lots(Side::Sell),
    }
}
