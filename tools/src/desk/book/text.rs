//! A book as people read it.
//!
//! Called by `book`.

use std::fmt::Write;

use exahour_gateway::image::FeedImage;
use exahour_wire::ids::InstrumentId;

use super::view::{JsonAuction, JsonBand, JsonLevel, JsonOrder, JsonStatistics, View};
use crate::journal::time_text;

/// The book in text.
pub(super) fn text(
    symbol: &str,
    instrument: InstrumentId,
    image: &FeedImage,
    view: &View,
) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write!(out, "{symbol} (instrument {instrument}), {}, ", view.phase);
    if let Some(orders) = view.orders {
        let _ = write!(out, "resting orders {orders}, ");
    }
    let _ = writeln!(out, "{}", time_text(image.time()));
    if let Some(ends_at) = &view.phase_ends_at {
        let _ = writeln!(out, "  {} until {ends_at}", view.phase);
    }
    if let Some(auction) = &view.auction {
        write_auction(auction, &mut out);
    }
    if let Some(range) = &view.auction_range {
        let _ = writeln!(
            out,
            "  the auction is held from {} to {}",
            range.low, range.high
        );
    }
    if let Some(band) = &view.band {
        write_band(band, &mut out);
    }
    for level in view.asks.iter().rev() {
        write_level("ask", level, &mut out);
    }
    if view.asks.is_empty() {
        out.push_str("  no offers\n");
    }
    out.push_str("  ----\n");
    for level in &view.bids {
        write_level("bid", level, &mut out);
    }
    if view.bids.is_empty() {
        out.push_str("  no bids\n");
    }
    if let Some(statistics) = &view.statistics {
        write_statistics(statistics, &mut out);
    }
    out
}

/// Why bids may stand above offers, and what will come of it.
fn write_auction(auction: &JsonAuction, out: &mut String) {
    out.push_str("  a call: orders are collected for an auction\n");
    let Some(price) = &auction.price else {
        out.push_str("  nothing would trade now\n");
        return;
    };
    let _ = write!(out, "  {} would trade now at {price}", auction.quantity);
    let _ = match (auction.buy_surplus, auction.sell_surplus) {
        (0, 0) => writeln!(out),
        (bought, 0) => writeln!(out, ", {bought} more bid for"),
        (_, sold) => writeln!(out, ", {sold} more offered"),
    };
}

/// Between which prices trades may be made, once that is known.
fn write_band(band: &JsonBand, out: &mut String) {
    let Some(range) = &band.range else {
        return;
    };
    let _ = write!(
        out,
        "  trades are made from {} to {}",
        range.low, range.high
    );
    let _ = match &band.pauses_at {
        Some(at) => writeln!(out, "; pauses at {at} if the best quote stays at the edge"),
        None => writeln!(out),
    };
}

fn write_level(side: &str, level: &JsonLevel, out: &mut String) {
    let _ = write!(out, "  {side} {:>14} {:>12}", level.price, level.quantity);
    if let Some(orders) = level.orders {
        let plural = if orders == 1 { "" } else { "s" };
        let _ = write!(out, "  {orders} order{plural}");
    }
    if level.at_range_end {
        out.push_str("  at the end of the range, where orders without a limit stand");
    }
    out.push('\n');
    for JsonOrder { order, quantity } in level.queue.iter().flatten() {
        let _ = writeln!(out, "      order {order} {quantity}");
    }
}

fn write_statistics(told: &JsonStatistics, out: &mut String) {
    let price = |it: &Option<String>| it.clone().unwrap_or_else(|| "none".to_owned());
    let _ = writeln!(
        out,
        "  traded {} in {}: open {}, high {}, low {}, last {}",
        told.volume,
        told.trades,
        price(&told.open),
        price(&told.high),
        price(&told.low),
        price(&told.last)
    );
}
