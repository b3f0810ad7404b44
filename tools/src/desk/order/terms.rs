//! How an order is priced, how long it lives, and what it does against its owner's orders.
//!
//! Called by `order`; by `quote` for the last.
//!
//! Always holds: what contradicts itself is refused here, by its options; what the market does not allow is
//! refused by the exchange.

use anyhow::{Context, Result, anyhow, bail, ensure};
use exahour_wire::codes::{Enumeration, OrderType, PegReference, SelfTradePrevention, TimeInForce};
use exahour_wire::units::{Nanos, Price};

use super::Arguments;
use crate::text::parse_time;

/// How an order is priced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pricing {
    pub(super) order_type: OrderType,
    /// None for an order without a limit.
    pub(super) price: Price,
    pub(super) stop_price: Price,
    /// The limit from the stop price on, of an order that has another one before it.
    pub(super) stop_limit: Price,
    pub(super) peg: PegReference,
    pub(super) peg_offset: Price,
}

impl Pricing {
    /// The pricing that a limit and the options come to.
    pub(super) fn of(arguments: &Arguments, limit: Option<Price>) -> Result<Self> {
        let stop = priced("--stop", arguments.stop.as_deref())?;
        let or_stop = priced("--or-stop", arguments.or_stop.as_deref())?;
        let stop_limit = priced("--stop-limit", arguments.stop_limit.as_deref())?;
        let offset = priced("--offset", arguments.offset.as_deref())?;
        ensure!(
            stop_limit.is_none() || or_stop.is_some(),
            "--stop-limit belongs to --or-stop: the limit of a stop-limit order is its `@ PRICE`"
        );
        let peg = arguments.peg.as_deref().map(peg_reference).transpose()?;
        let order_type = match (arguments.kind(), limit) {
            (Kind::Plain, Some(_)) => OrderType::Limit,
            (Kind::Plain, None) => bail!(
                "a limit is missing: write `@ PRICE` before the instrument, or say --market, \
                 --market-to-limit or --stop"
            ),
            (Kind::Market, None) => OrderType::Market,
            (Kind::Market, Some(_)) => {
                bail!("a market order has no limit: leave `@ PRICE` or --market out")
            }
            (Kind::MarketToLimit, None) => OrderType::MarketToLimit,
            (Kind::MarketToLimit, Some(_)) => bail!(
                "a market-to-limit order finds its limit in the book: leave `@ PRICE` or \
                 --market-to-limit out"
            ),
            (Kind::Stop, Some(_)) => OrderType::StopLimit,
            (Kind::Stop, None) => OrderType::Stop,
            (Kind::OneCancelsOther, Some(_)) => OrderType::OneCancelsOther,
            (Kind::OneCancelsOther, None) => bail!(
                "a one-cancels-other order has a limit beside its stop price: write `@ PRICE` before \
                 the instrument"
            ),
            (Kind::Pegged, Some(_)) => OrderType::Pegged,
            (Kind::Pegged, None) => bail!(
                "a pegged order has a limit that it never moves beyond: write `@ PRICE` before the \
                 instrument"
            ),
        };
        Ok(Self {
            order_type,
            price: limit.unwrap_or(Price::NONE),
            stop_price: stop.or(or_stop).unwrap_or(Price::NONE),
            stop_limit: stop_limit.unwrap_or(Price::NONE),
            peg: peg.unwrap_or(PegReference::None),
            peg_offset: offset.unwrap_or(Price(0)),
        })
    }
}

/// Which of the options that exclude each other is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    Market,
    MarketToLimit,
    Stop,
    OneCancelsOther,
    Pegged,
}

fn priced(option: &str, text: Option<&str>) -> Result<Option<Price>> {
    let price = text.map(|text| {
        text.parse::<Price>()
            .map_err(|error| anyhow!("{option} {text}: the price is {error}"))
    });
    price.transpose()
}

fn peg_reference(text: &str) -> Result<PegReference> {
    Ok(match text {
        "primary" => PegReference::Primary,
        "market" => PegReference::Market,
        "midpoint" => PegReference::Midpoint,
        _ => bail!("--peg {text}: expected primary, market or midpoint"),
    })
}

/// How long the order lives, and until when where that is a time.
pub(super) fn time_in_force(arguments: &Arguments) -> Result<(TimeInForce, Nanos)> {
    let plain = |it| Ok((it, Nanos(0)));
    match (arguments.tif.as_deref(), arguments.market) {
        (None, false) | (Some("gtc"), _) => plain(TimeInForce::GoodTillCancelled),
        (None, true) | (Some("ioc"), _) => plain(TimeInForce::ImmediateOrCancel),
        (Some("fok"), _) => plain(TimeInForce::FillOrKill),
        (Some("gfa"), _) => plain(TimeInForce::GoodForAuction),
        (Some("day"), _) => plain(TimeInForce::Day),
        (Some(text), _) => match parse_time(text) {
            Some(time) => Ok((TimeInForce::GoodTillDate, time)),
            None => bail!("--tif {text}: expected day, gtc, ioc, fok, gfa or 2026-01-31T14:00:00Z"),
        },
    }
}

/// A mode of self-trade prevention by its name.
pub(in crate::desk) fn prevention(text: &str) -> Result<SelfTradePrevention> {
    let plain = text.replace('-', "");
    let mut table = SelfTradePrevention::TABLE.iter();
    let named = table.find(|(_, name, _)| name.eq_ignore_ascii_case(&plain));
    let number = named.and_then(|(number, _, _)| u8::try_from(*number).ok());
    number
        .and_then(SelfTradePrevention::from_repr)
        .with_context(|| {
            format!(
                "--self-trade {text}: expected none, cancel-newest, cancel-oldest, cancel-both or \
                 decrement"
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prevention_modes_are_named_as_in_the_schema() {
        assert_eq!(prevention("none").unwrap(), SelfTradePrevention::None);
        assert_eq!(
            prevention("cancel-both").unwrap(),
            SelfTradePrevention::CancelBoth
        );
        assert!(prevention("maybe").is_err());
    }
}
