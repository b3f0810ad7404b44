//! The short forms of trading days: `calendar`, `halt`, `resume`, `auction-seed`,
//! `breaker`, `price-band`; and `instrument-status`, which asks.
//!
//! Called by the statement parser. Every default is stated in docs/SCRIPT.md.

use exahour_wire::codes::Allocation;
use exahour_wire::ids::{ClientOrderId, InstrumentId};
use exahour_wire::message::{Digest, Message};
use exahour_wire::operations::{
    HaltTrading, InstrumentStatusRequest, ResumeTrading, SetAuctionSeed, SetCalendar,
    SetCircuitBreaker, SetPriceBand,
};

use super::order_entry::unknown_option;
use super::phrase::{Phrase, Word};
use super::session_control::millis;
use super::statement::Draft;
use crate::text::Misfit;

/// Understands a command about phases, or gives `None` where the verb is none of these.
///
/// # Errors
/// [`Misfit`] with the place.
pub(super) fn parse(verb: Word<'_>, phrase: &mut Phrase<'_>) -> Result<Option<Vec<Draft>>, Misfit> {
    let draft = match verb.text {
        "calendar" => calendar(phrase)?,
        "halt" => halt(phrase)?,
        "resume" => resume(phrase)?,
        "auction-seed" => auction_seed(phrase)?,
        "breaker" => breaker(phrase)?,
        "price-band" => price_band(phrase)?,
        "instrument-status" => instrument_status(phrase)?,
        _ => return Ok(None),
    };
    Ok(Some(vec![draft]))
}

const CALENDAR_OPTIONS: &str = "`call SPAN`, `uncross SPAN`, `closing-call SPAN`, \
    `closing-uncross SPAN`, `random SPAN`, `collar FRACTION`, `by-size`";

/// `calendar I [call S] [uncross S] [closing-call S] [closing-uncross S] [random S] [collar F]
/// [by-size]`.
fn calendar(phrase: &mut Phrase<'_>) -> Result<Draft, Misfit> {
    let mut command = SetCalendar {
        instrument: InstrumentId(phrase.number("an instrument id")?),
        ..SetCalendar::blank()
    };
    while let Some(word) = phrase.option()? {
        match word.text {
            "call" => command.call_start = millis(phrase)?,
            "uncross" => command.uncross = millis(phrase)?,
            "closing-call" => command.closing_call = millis(phrase)?,
            "closing-uncross" => command.closing_uncross = millis(phrase)?,
            "random" => command.random_end = millis(phrase)?,
            "collar" => command.collar = phrase.fraction()?,
            "by-size" => command.allocation = Allocation::Size.into(),
            _ => return Err(unknown_option(word, CALENDAR_OPTIONS)),
        }
    }
    command.request = request(phrase);
    Ok(Draft::new(&command))
}

/// `halt INSTRUMENT [for SPAN]`.
fn halt(phrase: &mut Phrase<'_>) -> Result<Draft, Misfit> {
    let mut command = HaltTrading {
        instrument: InstrumentId(phrase.number("an instrument id")?),
        ..HaltTrading::blank()
    };
    while let Some(word) = phrase.option()? {
        match word.text {
            "for" => command.duration = millis(phrase)?,
            _ => return Err(unknown_option(word, "`for SPAN`")),
        }
    }
    command.request = request(phrase);
    Ok(Draft::new(&command))
}

/// `resume INSTRUMENT`.
fn resume(phrase: &mut Phrase<'_>) -> Result<Draft, Misfit> {
    let instrument = InstrumentId(phrase.number("an instrument id")?);
    phrase.finish()?;
    Ok(Draft::new(&ResumeTrading {
        request: request(phrase),
        instrument,
        ..ResumeTrading::blank()
    }))
}

/// `auction-seed HEX`.
fn auction_seed(phrase: &mut Phrase<'_>) -> Result<Draft, Misfit> {
    let seed = Digest(phrase.hex()?);
    phrase.finish()?;
    Ok(Draft::new(&SetAuctionSeed {
        request: request(phrase),
        seed,
        ..SetAuctionSeed::blank()
    }))
}

/// `breaker INSTRUMENT FRACTION [linked INSTRUMENT]`.
fn breaker(phrase: &mut Phrase<'_>) -> Result<Draft, Misfit> {
    let mut command = SetCircuitBreaker {
        instrument: InstrumentId(phrase.number("an instrument id")?),
        threshold: phrase.fraction()?,
        ..SetCircuitBreaker::blank()
    };
    while let Some(word) = phrase.option()? {
        match word.text {
            "linked" => command.linked = InstrumentId(phrase.number("an instrument id")?),
            _ => return Err(unknown_option(word, "`linked INSTRUMENT`")),
        }
    }
    command.request = request(phrase);
    Ok(Draft::new(&command))
}

/// `price-band INSTRUMENT FRACTION`.
fn price_band(phrase: &mut Phrase<'_>) -> Result<Draft, Misfit> {
    let instrument = InstrumentId(phrase.number("an instrument id")?);
    let width = phrase.fraction()?;
    phrase.finish()?;
    Ok(Draft::new(&SetPriceBand {
        request: request(phrase),
        instrument,
        width,
        ..SetPriceBand::blank()
    }))
}

/// `instrument-status INSTRUMENT`.
fn instrument_status(phrase: &mut Phrase<'_>) -> Result<Draft, Misfit> {
    let instrument = InstrumentId(phrase.number("an instrument id")?);
    phrase.finish()?;
    Ok(Draft::new(&InstrumentStatusRequest {
        request: request(phrase),
        instrument,
        ..InstrumentStatusRequest::blank()
    }))
}

/// The request number of the line; to be asked for after all options.
fn request(phrase: &Phrase<'_>) -> ClientOrderId {
    ClientOrderId(phrase.request.unwrap_or(0))
}
