//! The short forms of order entry: `buy`, `sell`, `cancel`, `status`, `replace`, `mass-cancel`, `dead-man`, `quote`.
//!
//! Called by the statement parser. Every default is stated in docs/SCRIPT.md.

use exahour_wire::codes::{OrderFlags, OrderType, Raw, Scope, Side, TimeInForce};
use exahour_wire::ids::{AccountId, ClientOrderId, InstrumentId, OrderId, SessionId};
use exahour_wire::message::Message;
use exahour_wire::orders::{
    CancelOrder, DeadMan, MassCancel, NewAdvancedOrder, OrderStatusRequest, ReplaceOrder,
};
use exahour_wire::units::{Price, Quantity};

use super::memory::Memory;
use super::phrase::{Phrase, Word, number_of, price_of};
use super::quotes::mass_quote;
use super::session_control::millis;
use super::statement::{Draft, Sender, order_named};
use crate::text::Misfit;

/// Understands an order command, or gives `None` where the verb is none of these.
///
/// # Errors
/// [`Misfit`] with the place.
pub(super) fn parse(
    verb: Word<'_>,
    sender: Sender<'_>,
    phrase: &mut Phrase<'_>,
    memory: &Memory,
) -> Result<Option<Vec<Draft>>, Misfit> {
    let draft = match verb.text {
        "buy" => new_order(Side::Buy, sender, phrase, memory)?,
        "sell" => new_order(Side::Sell, sender, phrase, memory)?,
        "cancel" => Draft::new(&cancel(sender, phrase, memory)?),
        "status" => Draft::new(&status(sender, phrase, memory)?),
        "replace" => Draft::new(&replace(sender, phrase, memory)?),
        "dead-man" => Draft::new(&dead_man(phrase)?),
        "quote" => Draft::new(&mass_quote(sender, phrase, memory)?),
        "mass-cancel" => Draft::new(&mass_cancel(sender, phrase)?),
        _ => return Ok(None),
    };
    Ok(Some(vec![draft]))
}

/// `buy LOTS @ PRICE | market [on I] [for A] [id N] [day|gtc|ioc|fok|gfa|until T] [post-only] [stp M]`,
/// and what only a `NewAdvancedOrder` can say: that is what it is then.
fn new_order(
    side: Side,
    sender: Sender<'_>,
    phrase: &mut Phrase<'_>,
    memory: &Memory,
) -> Result<Draft, Misfit> {
    let mut order = NewAdvancedOrder {
        client_order_id: ClientOrderId(
            memory
                .session(sender.session)
                .client_order_id
                .saturating_add(1),
        ),
        quantity: Quantity(phrase.number("a number of lots")?),
        side: side.into(),
        stop_price: Price::NONE,
        stop_limit: Price::NONE,
        ..NewAdvancedOrder::blank()
    };
    let (mut account, mut instrument, mut lives) = (None, None, None);
    let mut beyond = false;
    while let Some(word) = phrase.option()? {
        match word.text {
            "market" => set_market(&mut order),
            "on" => instrument = Some(InstrumentId(phrase.number("an instrument id")?)),
            "for" => account = Some(AccountId(phrase.number("an account id")?)),
            "id" => order.client_order_id = ClientOrderId(phrase.number("a client order id")?),
            "day" => lives = Some(TimeInForce::Day),
            "gtc" => lives = Some(TimeInForce::GoodTillCancelled),
            "ioc" => lives = Some(TimeInForce::ImmediateOrCancel),
            "fok" => lives = Some(TimeInForce::FillOrKill),
            "gfa" => lives = Some(TimeInForce::GoodForAuction),
            "until" => {
                lives = Some(TimeInForce::GoodTillDate);
                order.expire_at = phrase.moment(memory.now)?;
            }
            "post-only" => order.flags = OrderFlags::POST_ONLY,
            "stp" => order.self_trade_prevention = phrase.named()?,
            _ => match price_after_at(word, phrase)? {
                Some(price) => set_limit(&mut order, price),
                None if ask_beyond(&mut order, word, phrase)? => beyond = true,
                None => return Err(unknown_option(word, ORDER_OPTIONS)),
            },
        }
    }
    if order.order_type == Raw::new(0) {
        return Err(phrase.misfit_at_end("`@ PRICE` or `market`"));
    }
    let usual = if order.order_type == OrderType::Market.into() {
        TimeInForce::ImmediateOrCancel
    } else {
        TimeInForce::GoodTillCancelled
    };
    order.time_in_force = lives.unwrap_or(usual).into();
    order.instrument = instrument_or_first(instrument, phrase, memory)?;
    order.account = account
        .or_else(|| memory.account(sender.session))
        .ok_or_else(|| phrase.misfit_at_end("`for ACCOUNT`: the session's owner has no account"))?;
    Ok(if beyond {
        Draft::new(&order)
    } else {
        Draft::new(&order.plain())
    })
}

/// `stop PRICE`, `or-stop PRICE`, `then PRICE`, `market-to-limit`, `peg WHAT`, `offset PRICE`, `show N`,
/// `minimum N` and `advanced`, where the word is one of these.
fn ask_beyond(
    order: &mut NewAdvancedOrder,
    word: Word<'_>,
    phrase: &mut Phrase<'_>,
) -> Result<bool, Misfit> {
    match word.text {
        "stop" => {
            order.stop_price = phrase.price()?;
            if order.order_type == OrderType::Limit.into() {
                order.order_type = OrderType::StopLimit.into();
            } else {
                order.order_type = OrderType::Stop.into();
                order.price = Price::NONE;
            }
        }
        "or-stop" => {
            order.order_type = OrderType::OneCancelsOther.into();
            order.stop_price = phrase.price()?;
        }
        "then" => order.stop_limit = phrase.price()?,
        "market-to-limit" => {
            order.order_type = OrderType::MarketToLimit.into();
            order.price = Price::NONE;
        }
        "peg" => {
            order.order_type = OrderType::Pegged.into();
            order.peg = phrase.named()?;
        }
        "offset" => order.peg_offset = phrase.price()?,
        "show" => order.display_quantity = Quantity(phrase.number("a number of lots")?),
        "minimum" => order.minimum_quantity = Quantity(phrase.number("a number of lots")?),
        "advanced" => {}
        _ => return Ok(false),
    }
    Ok(true)
}

const ORDER_OPTIONS: &str = "`@ PRICE` or `market`, `on INSTRUMENT`, `for ACCOUNT`, `id N`, `day`, \
    `gtc`, `ioc`, `fok`, `gfa`, `until TIME`, `post-only`, `stp MODE`, `stop PRICE`, \
    `or-stop PRICE`, `then PRICE`, `market-to-limit`, `peg WHAT`, `offset PRICE`, `show N`, `minimum N`, \
    `advanced`, `seq N` or `field=value`";

fn set_limit(order: &mut NewAdvancedOrder, price: Price) {
    order.price = price;
    if order.order_type == Raw::new(0) {
        order.order_type = OrderType::Limit.into();
    } else if order.order_type == OrderType::Stop.into() {
        order.order_type = OrderType::StopLimit.into();
    }
}

fn set_market(order: &mut NewAdvancedOrder) {
    order.order_type = OrderType::Market.into();
    order.price = Price::NONE;
}

/// `@ 2.50` or `@2.50`, where the word is one of these.
fn price_after_at(word: Word<'_>, phrase: &mut Phrase<'_>) -> Result<Option<Price>, Misfit> {
    match word.text.strip_prefix('@') {
        Some("") => phrase.price().map(Some),
        Some(rest) => {
            let place = Word {
                text: rest,
                offset: word.offset + 1,
            };
            price_of(place, rest).map(Some)
        }
        None => Ok(None),
    }
}

/// `PRICE` after an `@`, which must come.
pub(super) fn price_at(phrase: &mut Phrase<'_>) -> Result<Price, Misfit> {
    let word = phrase.word("`@ PRICE`")?;
    price_after_at(word, phrase)?
        .ok_or_else(|| word.misfit(format!("`{}` does not fit here", word.text), "`@ PRICE`"))
}

pub(super) fn unknown_option(word: Word<'_>, expected: &str) -> Misfit {
    word.misfit(format!("`{}` does not fit here", word.text), expected)
}

fn instrument_or_first(
    instrument: Option<InstrumentId>,
    phrase: &Phrase<'_>,
    memory: &Memory,
) -> Result<InstrumentId, Misfit> {
    instrument
        .or(memory.instrument)
        .ok_or_else(|| phrase.misfit_at_end("`on INSTRUMENT`: none is listed yet"))
}

/// Which order a cancel or a replace means: by the exchange's name, or by the sender's.
fn order_meant(
    sender: Sender<'_>,
    phrase: &mut Phrase<'_>,
    memory: &Memory,
) -> Result<(OrderId, ClientOrderId), Misfit> {
    let expected = "a client order id, or `order` and an order id or `#CLIENT_ORDER_ID`";
    if !phrase.takes("order") {
        let id = phrase.number(expected)?;
        return Ok((OrderId::NONE, ClientOrderId(id)));
    }
    let word = phrase.word(expected)?;
    let order = match word.text.strip_prefix('#') {
        Some(reference) => order_named(word, reference, sender.session, memory)?,
        None => number_of(word, word.text, expected)?,
    };
    Ok((OrderId(order), ClientOrderId::NONE))
}

/// `cancel N | order ORDER | order #[SESSION:]N [on I] [request N]`.
fn cancel(
    sender: Sender<'_>,
    phrase: &mut Phrase<'_>,
    memory: &Memory,
) -> Result<CancelOrder, Misfit> {
    let (order, client_order_id) = order_meant(sender, phrase, memory)?;
    let mut instrument = None;
    while let Some(word) = phrase.option()? {
        match word.text {
            "on" => instrument = Some(InstrumentId(phrase.number("an instrument id")?)),
            _ => {
                return Err(unknown_option(
                    word,
                    "`on INSTRUMENT`, `request N`, `seq N`",
                ));
            }
        }
    }
    Ok(CancelOrder {
        request: ClientOrderId(phrase.request.unwrap_or(0)),
        order,
        client_order_id,
        instrument: instrument_or_first(instrument, phrase, memory)?,
        ..CancelOrder::blank()
    })
}

/// `status`, and behind it as for `cancel`.
fn status(
    sender: Sender<'_>,
    phrase: &mut Phrase<'_>,
    memory: &Memory,
) -> Result<OrderStatusRequest, Misfit> {
    let meant = cancel(sender, phrase, memory)?;
    Ok(OrderStatusRequest {
        request: meant.request,
        order: meant.order,
        client_order_id: meant.client_order_id,
        instrument: meant.instrument,
        ..OrderStatusRequest::blank()
    })
}

/// `dead-man SPAN`; zero asks for no watch any more.
fn dead_man(phrase: &mut Phrase<'_>) -> Result<DeadMan, Misfit> {
    let interval = millis(phrase)?;
    phrase.finish()?;
    Ok(DeadMan {
        request: ClientOrderId(phrase.request.unwrap_or(0)),
        interval,
        ..DeadMan::blank()
    })
}

/// `replace N | order ORDER | order #N [as M] LOTS @ PRICE [on I]`.
fn replace(
    sender: Sender<'_>,
    phrase: &mut Phrase<'_>,
    memory: &Memory,
) -> Result<ReplaceOrder, Misfit> {
    let (order, original) = order_meant(sender, phrase, memory)?;
    let client_order_id = if phrase.takes("as") {
        ClientOrderId(phrase.number("the new client order id")?)
    } else if order == OrderId::NONE {
        original
    } else {
        return Err(phrase.misfit_at_end("`as CLIENT_ORDER_ID` after the order's own id"));
    };
    let quantity = Quantity(phrase.number("the new total in lots")?);
    let price = price_at(phrase)?;
    let mut instrument = None;
    while let Some(word) = phrase.option()? {
        match word.text {
            "on" => instrument = Some(InstrumentId(phrase.number("an instrument id")?)),
            _ => return Err(unknown_option(word, "`on INSTRUMENT`, `seq N`")),
        }
    }
    Ok(ReplaceOrder {
        client_order_id,
        order,
        original,
        price,
        quantity,
        instrument: instrument_or_first(instrument, phrase, memory)?,
        ..ReplaceOrder::blank()
    })
}

/// `mass-cancel [session [N] | account N | participant N | instrument N] [request N]`.
fn mass_cancel(sender: Sender<'_>, phrase: &mut Phrase<'_>) -> Result<MassCancel, Misfit> {
    let mut cancel = MassCancel {
        scope: Scope::Session.into(),
        target: SessionId(sender.session).0,
        ..MassCancel::blank()
    };
    let named = phrase.peek().is_some_and(|word| {
        ["session", "account", "participant", "instrument"].contains(&word.text)
    });
    if named {
        cancel.scope = phrase.named()?;
        cancel.target = phrase.number("the number of what is meant")?;
    }
    if let Some(word) = phrase.option()? {
        let expected = "`session N`, `account N`, `participant N`, `instrument N` or `request N`";
        return Err(unknown_option(word, expected));
    }
    cancel.request = ClientOrderId(phrase.request.unwrap_or(0));
    Ok(cancel)
}
