//! Instruments as people read them: a line each, or everything of one.
//!
//! Called by `show`.

use std::fmt::{self, Write};

use exahour_wire::units::PartsPerMillion;

use super::report::{AuctionReport, BandReport, InstrumentReport};
use crate::text::percent;

/// A line each.
pub(super) fn table(shown: &[&InstrumentReport]) -> String {
    if shown.is_empty() {
        return "no instrument is listed\n".to_owned();
    }
    let widest = shown.iter().map(|it| it.symbol.len()).max().unwrap_or(0);
    let mut out = String::new();
    let mut line = |words: [&str; 6]| {
        let [number, symbol, phase, until, last, guards] = words;
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "{number:>5}  {symbol:<widest$}  {phase:<11}  {until:<30}  {last:>12}  {guards}"
        );
    };
    line(["no.", "symbol", "phase", "until", "last", "guards"]);
    for it in shown {
        let last = it.last_price.as_deref().unwrap_or("none");
        let until = it.ends_time.as_deref().unwrap_or(open_end(it));
        let number = it.instrument.to_string();
        line([&number, &it.symbol, &it.phase, until, last, &guards(it)]);
    }
    out
}

/// What is said where nothing says when the phase ends.
fn open_end(it: &InstrumentReport) -> &'static str {
    match it.phase.as_str() {
        "Halted" => "it is resumed",
        _ => "-",
    }
}

/// The guards in a few words.
fn guards(it: &InstrumentReport) -> String {
    let mut words = Vec::new();
    if let Some(breaker) = &it.circuit_breaker {
        words.push(format!("breaker {}", share(breaker.threshold_ppm)));
    }
    if let Some(band) = &it.price_band {
        words.push(format!("band {}", share(band.width_ppm)));
    }
    if let Some(leader) = it.halts_with {
        words.push(format!("halts with {leader}"));
    }
    match words.is_empty() {
        true => "none".to_owned(),
        false => words.join(", "),
    }
}

fn share(ppm: u32) -> String {
    percent(PartsPerMillion(ppm))
}

/// Everything of each.
pub(super) fn in_full(shown: &[&InstrumentReport]) -> String {
    let mut out = String::new();
    for it in shown {
        // Writing to a string cannot fail.
        let _ = write_in_full(it, &mut out);
    }
    out
}

fn write_in_full(it: &InstrumentReport, out: &mut String) -> fmt::Result {
    writeln!(out, "{} (instrument {})", it.symbol, it.instrument)?;
    let (kind, class) = (it.kind.to_lowercase(), it.class.to_lowercase());
    let [performance, reliability, energy] = it.grades;
    writeln!(
        out,
        "  contract     {kind}, {class} in {}, {} h, {}, grades {performance} {reliability} {energy}",
        it.zone,
        it.hours,
        it.firmness.to_lowercase()
    )?;
    let never = || "never".to_owned();
    writeln!(
        out,
        "  dates        trades until {}, delivery from {}",
        it.last_trade_time.clone().unwrap_or_else(never),
        it.delivery_start_time.clone().unwrap_or_else(never)
    )?;
    let until = match &it.ends_time {
        Some(time) => format!(" until {time}"),
        None if it.phase == "Halted" => " until it is resumed".to_owned(),
        None => String::new(),
    };
    writeln!(out, "  phase        {}{until}", it.phase)?;
    let last = it.last_price.as_deref().unwrap_or("none");
    writeln!(
        out,
        "  prices       last {last}, settlement {}, listed at {}, tick {}, highest {}",
        it.settlement_price, it.reference_price, it.tick, it.price_max
    )?;
    let collar = match it.collar_ppm {
        0 => "no collar".to_owned(),
        collar => format!("collar {}", share(collar)),
    };
    writeln!(
        out,
        "  orders       at most {} lots and {} dollars, {collar}, protection {}",
        it.quantity_max,
        it.notional_max,
        share(it.protection_ppm)
    )?;
    writeln!(
        out,
        "  positions    at most {} lots, margin {} dollars a lot",
        it.position_max, it.initial_margin
    )?;
    write_calendar(it, out)?;
    write_guards(it, out)?;
    match &it.auction {
        Some(auction) => write_auction(auction, out),
        None => Ok(()),
    }
}

fn write_calendar(it: &InstrumentReport, out: &mut String) -> fmt::Result {
    match &it.calendar {
        Some(day) => {
            write!(
                out,
                "  calendar     call {}, auction {}, closing call {}, closing auction {} UTC",
                day.call_start, day.uncross, day.closing_call, day.closing_uncross
            )?;
            match day.random_end_ms {
                0 => writeln!(out)?,
                random => writeln!(out, ", up to {random} ms later by chance")?,
            }
        }
        None => writeln!(out, "  calendar     none: it trades around the clock")?,
    }
    let collar = match it.auction_collar_ppm {
        0 => "at any price".to_owned(),
        collar => format!("within {} of the reference price", share(collar)),
    };
    let first = match it.allocation.as_str() {
        "Size" => "the largest orders first",
        _ => "the oldest orders first",
    };
    writeln!(out, "  auctions     {collar}, {first}")
}

fn write_guards(it: &InstrumentReport, out: &mut String) -> fmt::Result {
    match &it.circuit_breaker {
        Some(breaker) => {
            write!(out, "  breaker      {}", share(breaker.threshold_ppm))?;
            match (&breaker.low, &breaker.high) {
                (Some(low), Some(high)) => writeln!(out, ": trades from {low} to {high}")?,
                _ => writeln!(out, ": no price to go by yet")?,
            }
        }
        None => writeln!(out, "  breaker      none")?,
    }
    match &it.price_band {
        Some(band) => write_band(band, out)?,
        None => writeln!(out, "  price band   none")?,
    }
    if let Some(leader) = it.halts_with {
        writeln!(out, "  halts with   {leader}")?;
    }
    if !it.followed_by.is_empty() {
        let numbers: Vec<String> = it.followed_by.iter().map(u32::to_string).collect();
        let numbers = numbers.join(", ");
        writeln!(out, "  followed by  {numbers}: halted whenever it is")?;
    }
    Ok(())
}

fn write_band(band: &BandReport, out: &mut String) -> fmt::Result {
    write!(
        out,
        "  price band   {}: trades from {} to {}, around {}",
        share(band.width_ppm),
        band.low,
        band.high,
        band.reference
    )?;
    match &band.pauses_time {
        Some(time) => writeln!(out, "; a best quote is at the edge, trading pauses {time}"),
        None => writeln!(out),
    }
}

fn write_auction(auction: &AuctionReport, out: &mut String) -> fmt::Result {
    write!(
        out,
        "  auction      from {} to {}, around {}; ",
        auction.low, auction.high, auction.reference
    )?;
    let Some(price) = &auction.indicative_price else {
        return writeln!(out, "nothing would trade");
    };
    write!(
        out,
        "{} lots would trade at {price}",
        auction.indicative_quantity
    )?;
    match (auction.buy_surplus, auction.sell_surplus) {
        (0, 0) => writeln!(out),
        (bought, 0) => writeln!(out, ", {bought} more bid for"),
        (_, sold) => writeln!(out, ", {sold} more offered"),
    }
}
