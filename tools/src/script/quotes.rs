//! The short form of a mass quote: `quote`.
//!
//! Called by the parser of order entry. Every default is stated in docs/SCRIPT.md.

use exahour_wire::codes::OrderFlags;
use exahour_wire::ids::{AccountId, ClientOrderId, InstrumentId};
use exahour_wire::message::Message;
use exahour_wire::orders::{MassQuote, QUOTES_MAX, Quote};
use exahour_wire::units::{Price, Quantity};

use super::memory::Memory;
use super::order_entry::{price_at, unknown_option};
use super::phrase::Phrase;
use super::statement::Sender;
use crate::text::Misfit;

/// `quote INSTRUMENT LOTS [@ PRICE] / LOTS [@ PRICE] [and INSTRUMENT ..] [for A] [stp M] [post-only]`.
pub(super) fn mass_quote(
    sender: Sender<'_>,
    phrase: &mut Phrase<'_>,
    memory: &Memory,
) -> Result<MassQuote, Misfit> {
    let mut command = MassQuote::blank();
    for place in 0..QUOTES_MAX {
        command.set_quote(place, quote(phrase)?);
        if !phrase.takes("and") {
            break;
        }
    }
    let mut account = None;
    while let Some(word) = phrase.option()? {
        match word.text {
            "for" => account = Some(AccountId(phrase.number("an account id")?)),
            "stp" => command.self_trade_prevention = phrase.named()?,
            "post-only" => command.flags = OrderFlags::POST_ONLY,
            _ => {
                let expected = "up to six quotes with `and` between them, `for ACCOUNT`, `stp MODE`, \
                    `post-only`, `request N`, `seq N` or `field=value`";
                return Err(unknown_option(word, expected));
            }
        }
    }
    command.request = ClientOrderId(phrase.request.unwrap_or(0));
    command.account = account
        .or_else(|| memory.account(sender.session))
        .ok_or_else(|| phrase.misfit_at_end("`for ACCOUNT`: the session's owner has no account"))?;
    Ok(command)
}

fn quote(phrase: &mut Phrase<'_>) -> Result<Quote, Misfit> {
    let instrument = InstrumentId(phrase.number("an instrument id")?);
    let (bid_quantity, bid_price) = side(phrase)?;
    phrase.keyword("/")?;
    let (ask_quantity, ask_price) = side(phrase)?;
    Ok(Quote {
        instrument,
        bid_price,
        bid_quantity,
        ask_price,
        ask_quantity,
    })
}

/// Lots, and their limit; a side that is pulled needs none.
fn side(phrase: &mut Phrase<'_>) -> Result<(Quantity, Price), Misfit> {
    let lots = Quantity(phrase.number("a number of lots")?);
    let priced = phrase.peek().is_some_and(|it| it.text.starts_with('@'));
    let price = match lots.0 == 0 && !priced {
        true => Price::NONE,
        false => price_at(phrase)?,
    };
    Ok((lots, price))
}
