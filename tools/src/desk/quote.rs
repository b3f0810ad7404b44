//! `exahour quote`: enters, changes or pulls two-sided quotes in one message.
//!
//! Called by the command line.

use anyhow::{Result, anyhow, bail, ensure};
use clap::Args;
use exahour_wire::codes::OrderFlags;
use exahour_wire::ids::{InstrumentId, SessionId};
use exahour_wire::message::Message;
use exahour_wire::orders::{MassQuote, QUOTES_MAX, Quote};
use exahour_wire::units::{Price, Quantity};

use super::order::prevention;
use super::{Sent, follow_to_count, fresh_name, leave};
use crate::connection::{NodeArguments, account_for};
use crate::listings::InstrumentName;
use crate::output::print;

/// Quote up to six instruments, a bid and an offer in each: `quote 1 5 @ 2.40 / 5 @ 2.60`.
///
/// Each side replaces what the session quoted there before; 0 lots pull it.
#[derive(Clone, Debug, Args)]
#[command(
    override_usage = "exahour quote [OPTIONS] <INSTRUMENT> <LOTS> [@ <BID>] / <LOTS> [@ <OFFER>] [and ...]",
    allow_negative_numbers = true,
    after_help = "Examples:\n  exahour quote 1 5 @ 2.40 / 5 @ 2.60\n  \
                  exahour quote 1 5 @ 2.40 / 5 @ 2.60 and 2 3 @ 1.00 / 3 @ 1.10\n  \
                  exahour quote 1 0 / 0    pulls both sides"
)]
pub struct Arguments {
    /// The instrument's number or symbol, lots bid for, `@` and the bid, `/`, lots offered, `@` and the
    /// offer; more of them behind `and`.
    #[arg(value_name = "QUOTE", required = true, num_args = 1..)]
    words: Vec<String>,
    /// The session that quotes.
    #[arg(long, value_name = "N", default_value_t = 1)]
    session: u32,
    /// The account it is for [default: the first of the session's owner].
    #[arg(long, value_name = "N")]
    account: Option<u32>,
    /// A side is cancelled where it would trade on arrival.
    #[arg(long)]
    post_only: bool,
    /// What happens where it would trade with an order of the same owner: none (they trade),
    /// cancel-newest, cancel-oldest, cancel-both or decrement.
    #[arg(long, value_name = "MODE", default_value = "cancel-newest")]
    self_trade: String,
    #[command(flatten)]
    node: NodeArguments,
    /// Write reports as JSON, one a line.
    #[arg(long)]
    json: bool,
}

/// Quotes.
///
/// # Errors
/// Where the words are no quotes, nobody listens, or the exchange refuses any side.
pub fn run(arguments: &Arguments) -> Result<()> {
    let session = SessionId(arguments.session);
    let mut quotes = MassQuote {
        request: fresh_name(),
        account: account_for(&arguments.node, session, arguments.account)?,
        self_trade_prevention: prevention(&arguments.self_trade)?.into(),
        flags: match arguments.post_only {
            true => OrderFlags::POST_ONLY,
            false => OrderFlags::NONE,
        },
        ..MassQuote::blank()
    };
    for (place, words) in parse(&arguments.words)?.into_iter().enumerate() {
        let instrument = words.instrument.resolve(&arguments.node)?;
        quotes.set_quote(place, words.quote(instrument));
    }
    let mut client = arguments.node.connect(session)?;
    let doubt = "`exahour orders` shows which sides stand";
    let sent = Sent::send(&mut client, &quotes, quotes.request, doubt)?;
    let outcome = follow_to_count(&mut client, &sent, arguments.json);
    leave(client);
    match (arguments.json, outcome?) {
        (true, _) => Ok(()),
        (false, 1) => print("1 side is as was said\n"),
        (false, stand) => print(&format!("{stand} sides are as was said\n")),
    }
}

/// One quote in words.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Words {
    instrument: InstrumentName,
    bid: (Quantity, Price),
    offer: (Quantity, Price),
}

impl Words {
    fn quote(&self, instrument: InstrumentId) -> Quote {
        Quote {
            instrument,
            bid_price: self.bid.1,
            bid_quantity: self.bid.0,
            ask_price: self.offer.1,
            ask_quantity: self.offer.0,
        }
    }
}

const FORM: &str = "write `1 5 @ 2.40 / 5 @ 2.60`: instrument, lots, `@` and bid, `/`, lots, `@` and offer; \
    `0` lots, without a price, pull a side; `and` stands before the next instrument";

/// Reads quotes with `and` between them.
fn parse(words: &[String]) -> Result<Vec<Words>> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let quotes: Vec<_> = words.split(|word| *word == "and").collect();
    ensure!(
        quotes.len() <= QUOTES_MAX,
        "{} instruments are too many for one message: it has room for {QUOTES_MAX}",
        quotes.len()
    );
    let quotes = quotes.into_iter().map(quote);
    let quotes = quotes.collect::<Result<Vec<_>>>()?;
    for (place, it) in quotes.iter().enumerate() {
        let twice = quotes[..place]
            .iter()
            .any(|other| other.instrument == it.instrument);
        ensure!(!twice, "one instrument is quoted twice: name each once");
    }
    Ok(quotes)
}

fn quote(words: &[&str]) -> Result<Words> {
    let [instrument, sides @ ..] = words else {
        bail!("an instrument is missing: {FORM}");
    };
    let instrument = instrument
        .parse()
        .map_err(|error| anyhow!("`{instrument}` is no instrument: {error}"))?;
    let sides: Vec<_> = sides.split(|word| *word == "/").collect();
    let [bid, offer] = sides[..] else {
        bail!("a quote has two sides with one `/` between them: {FORM}");
    };
    Ok(Words {
        instrument,
        bid: side(bid)?,
        offer: side(offer)?,
    })
}

/// Lots, and their limit; a side that is pulled has none.
fn side(words: &[&str]) -> Result<(Quantity, Price)> {
    let (lots, price) = match words {
        [lots] => (lots, None),
        [lots, "@", price] => (lots, Some(*price)),
        [lots, price] if price.starts_with('@') => (lots, price.strip_prefix('@')),
        _ => bail!("`{}` is no side of a quote: {FORM}", words.join(" ")),
    };
    let Ok(lots) = lots.parse::<u64>() else {
        bail!("`{lots}` is not a whole number of lots: {FORM}");
    };
    let price = match price {
        Some(text) => text
            .parse::<Price>()
            .map_err(|error| anyhow!("the limit `{text}` is {error}"))?,
        None if lots == 0 => Price::NONE,
        None => bail!("{lots} lots at which price? {FORM}"),
    };
    Ok((Quantity(lots), price))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Words>> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        parse(&words)
    }

    #[test]
    fn quotes_read_as_they_are_spoken() {
        let both = read("1 5 @ 2.40 / 4 @2.60 and GPU-EU 0 / 0").unwrap();
        assert_eq!(both[0].bid, (Quantity(5), Price(2_400_000)));
        assert_eq!(both[0].offer, (Quantity(4), Price(2_600_000)));
        assert_eq!(both[1].bid, (Quantity(0), Price::NONE));
        for (text, why) in [
            ("1 5 @ 2.40", "one `/`"),
            ("1 5 / 5 @ 2.60", "at which price"),
            ("1 five @ 2.40 / 0", "whole number of lots"),
            ("1 5 @ dear / 0", "the limit `dear`"),
            ("1 5 @ 2.40 / 0 and", "an instrument is missing"),
            ("1 0 / 0 and 1 0 / 0", "quoted twice"),
            (
                "1 0 / 0 and 2 0 / 0 and 3 0 / 0 and 4 0 / 0 and 5 0 / 0 and 6 0 / 0 and 7 0 / 0",
                "room for 6",
            ),
        ] {
            let refused = read(text).unwrap_err().to_string();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }
}
