//! What is told of an instrument, in the form that JSON has.
//!
//! Called by `show`; written as text by `text`.
//!
//! Always holds: what there is none of is `None`: a calendar, a breaker, a band, a call.

use exahour_wire::codes::Raw;
use exahour_wire::events::{InstrumentStatus, InstrumentTerms};
use exahour_wire::ids::InstrumentId;
use exahour_wire::market_data::InstrumentDefinition;
use exahour_wire::units::{Millis, PartsPerMillion, Price, Quantity};
use serde::Serialize;

use super::Answer;
use crate::journal::time_value;
use crate::listings::Listings;

/// Everything that is told of an instrument.
#[derive(Debug, Serialize)]
pub(super) struct InstrumentReport {
    pub(super) instrument: u32,
    pub(super) symbol: String,
    pub(super) kind: String,
    pub(super) class: String,
    pub(super) zone: String,
    /// Lowest grades of performance, reliability, energy.
    pub(super) grades: [u8; 3],
    pub(super) firmness: String,
    /// The length of the delivery window.
    pub(super) hours: u32,
    pub(super) delivery_start_time: Option<String>,
    pub(super) last_trade_time: Option<String>,
    pub(super) phase: String,
    /// When the phase is to end, if anything says so.
    pub(super) ends_time: Option<String>,
    pub(super) settlement_price: String,
    pub(super) last_price: Option<String>,
    pub(super) tick: String,
    pub(super) reference_price: String,
    pub(super) price_max: String,
    pub(super) quantity_max: u64,
    pub(super) notional_max: String,
    pub(super) position_max: u64,
    pub(super) initial_margin: String,
    /// Zero: no collar.
    pub(super) collar_ppm: u32,
    pub(super) protection_ppm: u32,
    pub(super) calendar: Option<CalendarReport>,
    /// Zero: any distance from the reference price.
    pub(super) auction_collar_ppm: u32,
    /// Who trades at the last price that an auction serves.
    pub(super) allocation: String,
    pub(super) circuit_breaker: Option<BreakerReport>,
    /// The instrument whose halts it follows.
    pub(super) halts_with: Option<u32>,
    /// The instruments that are halted with it.
    pub(super) followed_by: Vec<u32>,
    pub(super) price_band: Option<BandReport>,
    pub(super) auction: Option<AuctionReport>,
}

/// A trading day; times of day in UTC.
#[derive(Debug, Serialize)]
pub(super) struct CalendarReport {
    pub(super) call_start: String,
    pub(super) uncross: String,
    pub(super) closing_call: String,
    pub(super) closing_uncross: String,
    pub(super) random_end_ms: u32,
}

/// A circuit breaker, and what it lets trade.
#[derive(Debug, Serialize)]
pub(super) struct BreakerReport {
    pub(super) threshold_ppm: u32,
    /// The lowest price; none where it has no price to go by, and every price may trade.
    pub(super) low: Option<String>,
    pub(super) high: Option<String>,
}

/// A price band, and where it is.
#[derive(Debug, Serialize)]
pub(super) struct BandReport {
    pub(super) width_ppm: u32,
    pub(super) reference: String,
    pub(super) low: String,
    pub(super) high: String,
    /// When trading pauses, if the best quote stays at the edge.
    pub(super) pauses_time: Option<String>,
}

/// A call under way.
#[derive(Debug, Serialize)]
pub(super) struct AuctionReport {
    pub(super) reference: String,
    pub(super) low: String,
    pub(super) high: String,
    /// None where nothing would trade.
    pub(super) indicative_price: Option<String>,
    pub(super) indicative_quantity: u64,
    pub(super) buy_surplus: u64,
    pub(super) sell_surplus: u64,
}

/// What the exchange answered, beside what is listed; by ascending number.
pub(super) fn reports(listings: &Listings, answers: &[Answer]) -> Vec<InstrumentReport> {
    let followers = |id: InstrumentId| {
        let follows = answers.iter().filter(move |(_, it)| it.linked == id);
        follows.map(|(_, it)| it.instrument.0).collect()
    };
    let reported = answers.iter().filter_map(|(terms, status)| {
        let definition = listings.definition(terms.instrument)?;
        let followed_by = followers(terms.instrument);
        Some(report(definition, terms, status, followed_by))
    });
    reported.collect()
}

fn report(
    definition: &InstrumentDefinition,
    terms: &InstrumentTerms,
    status: &InstrumentStatus,
    followed_by: Vec<u32>,
) -> InstrumentReport {
    let InstrumentDefinition { symbol, zone, .. } = definition;
    InstrumentReport {
        instrument: terms.instrument.0,
        symbol: symbol.as_str().unwrap_or("?").to_owned(),
        kind: named(terms.kind),
        class: named(definition.class),
        zone: zone.as_str().unwrap_or("?").to_owned(),
        grades: [
            definition.grade_performance,
            definition.grade_reliability,
            definition.grade_energy,
        ],
        firmness: named(definition.firmness),
        hours: terms.hours.0,
        delivery_start_time: time_value(terms.delivery_start),
        last_trade_time: time_value(terms.last_trade_at),
        phase: named(status.phase),
        ends_time: time_value(status.ends_at),
        settlement_price: status.settlement_price.to_string(),
        last_price: price(status.last_price),
        tick: terms.tick.to_string(),
        reference_price: terms.reference_price.to_string(),
        price_max: terms.price_max.to_string(),
        quantity_max: terms.quantity_max.0,
        notional_max: terms.notional_max.to_string(),
        position_max: terms.position_max.0,
        initial_margin: terms.initial_margin.to_string(),
        collar_ppm: terms.collar.0,
        protection_ppm: terms.protection.0,
        calendar: calendar(status),
        auction_collar_ppm: status.auction_collar.0,
        allocation: named(status.allocation),
        circuit_breaker: breaker(status),
        halts_with: (status.linked != InstrumentId::NONE).then_some(status.linked.0),
        followed_by,
        price_band: band(status),
        auction: auction(status),
    }
}

fn named<E>(code: Raw<E>) -> String
where
    Raw<E>: std::fmt::Debug,
    E: exahour_wire::codes::Enumeration,
{
    format!("{code:?}")
}

fn price(price: Price) -> Option<String> {
    (price != Price::NONE).then(|| price.to_string())
}

fn calendar(status: &InstrumentStatus) -> Option<CalendarReport> {
    let InstrumentStatus {
        call_start,
        uncross,
        closing_call,
        closing_uncross,
        random_end,
        ..
    } = *status;
    // A day without an end is no day.
    (closing_uncross != Millis(0)).then(|| CalendarReport {
        call_start: time_of_day(call_start),
        uncross: time_of_day(uncross),
        closing_call: time_of_day(closing_call),
        closing_uncross: time_of_day(closing_uncross),
        random_end_ms: random_end.0,
    })
}

/// Such as 07:50, or 07:50:30.250 where it is not of a whole minute.
fn time_of_day(time: Millis) -> String {
    let (seconds, millis) = (time.0 / 1_000, time.0 % 1_000);
    let (minutes, second) = (seconds / 60, seconds % 60);
    let mut text = format!("{:02}:{:02}", minutes / 60, minutes % 60);
    if (second, millis) != (0, 0) {
        text.push_str(&format!(":{second:02}"));
    }
    if millis != 0 {
        text.push_str(&format!(".{millis:03}"));
    }
    text
}

fn breaker(status: &InstrumentStatus) -> Option<BreakerReport> {
    let PartsPerMillion(threshold_ppm) = status.breaker_threshold;
    (threshold_ppm > 0).then(|| BreakerReport {
        threshold_ppm,
        low: price(status.breaker_low),
        high: price(status.breaker_high),
    })
}

fn band(status: &InstrumentStatus) -> Option<BandReport> {
    let PartsPerMillion(width_ppm) = status.band_width;
    (width_ppm > 0).then(|| BandReport {
        width_ppm,
        reference: status.band_reference.to_string(),
        low: status.band_low.to_string(),
        high: status.band_high.to_string(),
        pauses_time: time_value(status.pauses_at),
    })
}

fn auction(status: &InstrumentStatus) -> Option<AuctionReport> {
    let reference = price(status.auction_reference)?;
    let Quantity(indicative_quantity) = status.indicative_quantity;
    Some(AuctionReport {
        reference,
        low: status.auction_low.to_string(),
        high: status.auction_high.to_string(),
        indicative_price: price(status.indicative_price),
        indicative_quantity,
        buy_surplus: status.buy_surplus.0,
        sell_surplus: status.sell_surplus.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day_are_as_short_as_they_can_be() {
        for (millis, text) in [
            (0, "00:00"),
            (28_200_000, "07:50"),
            (28_230_000, "07:50:30"),
            (28_200_007, "07:50:00.007"),
            (86_400_000, "24:00"),
        ] {
            assert_eq!(time_of_day(Millis(millis)), text);
        }
    }
}
