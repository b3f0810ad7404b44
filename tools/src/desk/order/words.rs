//! The words of an order: side, lots, limit, instrument.
//!
//! Called by `order`.

use anyhow::{Result, anyhow, bail};
use exahour_wire::codes::Side;
use exahour_wire::units::{Price, Quantity};

use crate::listings::InstrumentName;

/// The words of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) side: Side,
    pub(super) quantity: Quantity,
    pub(super) price: Option<Price>,
    pub(super) instrument: InstrumentName,
}

impl Words {
    /// Reads `buy 10 @ 2.50 1`, `buy 10 @2.50 1` or `buy 10 1`.
    pub(super) fn parse(words: &[String]) -> Result<Self> {
        const FORM: &str = "write `buy 10 @ 2.50 1`: side, lots, `@` and limit, instrument; or \
            `buy 10 1 --market`";
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (side, quantity, price, instrument) = match words[..] {
            [side, quantity, "@", price, instrument] => (side, quantity, Some(price), instrument),
            [_, _, "@", _] | [_, _] => bail!("the instrument is missing: {FORM}"),
            [side, quantity, price, instrument] => match price.strip_prefix('@') {
                Some(price) => (side, quantity, Some(price), instrument),
                None => bail!("`{price}` is not a limit: {FORM}"),
            },
            [side, quantity, instrument] => (side, quantity, None, instrument),
            _ => bail!("these words are no order: {FORM}"),
        };
        let side = match side {
            "buy" => Side::Buy,
            "sell" => Side::Sell,
            _ => bail!("`{side}` is neither buy nor sell: {FORM}"),
        };
        let Ok(quantity) = quantity.parse() else {
            bail!("`{quantity}` is not a whole number of lots: {FORM}");
        };
        let instrument = instrument
            .parse()
            .map_err(|error| anyhow!("`{instrument}` is no instrument: {error}"))?;
        let price = price.map(|text| {
            text.parse::<Price>()
                .map_err(|error| anyhow!("the limit `{text}` is {error}"))
        });
        Ok(Self {
            side,
            quantity: Quantity(quantity),
            price: price.transpose()?,
            instrument,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Words> {
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        Words::parse(&words)
    }

    #[test]
    fn orders_read_as_they_are_spoken() {
        let limit = parse("buy 10 @ 2.50 1").unwrap();
        assert_eq!(limit, parse("buy 10 @2.50 1").unwrap());
        assert_eq!(limit.price, Some(Price(2_500_000)));
        assert_eq!(parse("sell 3 2").unwrap().price, None);
        let symbol = InstrumentName::Symbol("GPU-EU".to_owned());
        assert_eq!(parse("sell 3 GPU-EU").unwrap().instrument, symbol);
        for (text, expected) in [
            ("hold 10 @ 2.50 1", "neither buy nor sell"),
            ("buy ten @ 2.50 1", "whole number of lots"),
            ("buy 10 @ dear 1", "the limit `dear`"),
            ("buy 10 @ 2.50 0", "numbered 1 to"),
            ("buy 10 @ 2.50 -1", "is no instrument"),
            ("buy 10 2.50 1", "not a limit"),
            ("buy 10 @ 2.50", "the instrument is missing"),
            ("buy 10", "the instrument is missing"),
        ] {
            let refused = parse(text).unwrap_err().to_string();
            assert!(refused.contains(expected), "{text}: {refused}");
        }
    }
}
