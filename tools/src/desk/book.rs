//! `exahour book`: the levels and orders of one instrument, once or as they change.
//!
//! Called by the command line. The market data client holds the book and mends gaps.
//!
//! Always holds: what is shown is a whole book: the one after the update whose number it carries.

use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use exahour_gateway::clock::{Clock, SystemClock};
use exahour_gateway::feed::client::FeedClient;
use exahour_gateway::image::{Book, Books, FeedImage, Flow, LevelView};
use exahour_wire::codes::{FeedDepth, Side};
use exahour_wire::ids::InstrumentId;
use serde::Serialize;

use crate::connection::NodeArguments;
use crate::exit::judged;
use crate::journal::{time_text, time_value};
use crate::listings::{InstrumentName, SNAPSHOT_WITHIN};
use crate::output::{print, print_json};

/// How often a watched book is printed, at most.
const PRINT_EVERY: Duration = Duration::from_millis(200);

/// Show the order book of an instrument.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// The instrument: its number, or its symbol.
    #[arg(value_name = "INSTRUMENT")]
    instrument: InstrumentName,
    /// Levels of each side, at most.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    depth: u16,
    /// Show the single orders of each level, oldest first.
    #[arg(long)]
    orders: bool,
    /// Print the book again whenever it has changed, until Ctrl-C.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    node: NodeArguments,
    /// Write JSON, one object a book.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct JsonBook {
    instrument: u32,
    symbol: String,
    phase: String,
    next_sequence: u64,
    time: Option<String>,
    orders: u32,
    bids: Vec<JsonLevel>,
    asks: Vec<JsonLevel>,
}

#[derive(Serialize)]
struct JsonLevel {
    price: String,
    quantity: u64,
    orders: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<Vec<JsonOrder>>,
}

#[derive(Serialize)]
struct JsonOrder {
    order: u64,
    quantity: u64,
}

/// Shows the book.
///
/// # Errors
/// Where nobody listens, or the exchange knows no such instrument.
pub fn run(arguments: &Arguments) -> Result<()> {
    let address = arguments.node.market_data()?;
    let instrument = arguments.instrument.resolve(&arguments.node)?;
    let mut clock = SystemClock::default();
    let mut client = FeedClient::new(address, FeedDepth::Orders, Flow::One(instrument));
    let begun = Instant::now();
    let mut shown = None;
    loop {
        let polled = client.poll(clock.steady(), &mut |_, _| {});
        polled.map_err(|refused| judged(refused.into()))?;
        let image = client.image();
        let changed = image.whole() && shown != Some(image.next_sequence());
        if changed && let Some(book) = image.books().book(instrument) {
            show(arguments, instrument, image, book)?;
            shown = Some(image.next_sequence());
            if !arguments.watch {
                return Ok(());
            }
            std::thread::sleep(PRINT_EVERY);
            continue;
        }
        if shown.is_none() && begun.elapsed() > SNAPSHOT_WITHIN {
            bail!("no market data from {address}: is the node running, and is this its port?");
        }
        client.wait(Duration::from_millis(50));
    }
}

fn show(
    arguments: &Arguments,
    instrument: InstrumentId,
    image: &FeedImage,
    book: &Book,
) -> Result<()> {
    let depth = usize::from(arguments.depth);
    if !arguments.json {
        let queues = arguments.orders.then(|| image.books());
        return print(&text(depth, queues, instrument, image, book));
    }
    let levels = |side| {
        let levels = book.levels(side).take(depth);
        let level = |it: LevelView| JsonLevel {
            price: it.price.to_string(),
            quantity: it.quantity.0,
            orders: it.orders,
            queue: arguments.orders.then(|| {
                let queue = queue(image.books(), instrument, side, it);
                let order = |(order, quantity)| JsonOrder { order, quantity };
                queue.map(order).collect()
            }),
        };
        levels.map(level).collect()
    };
    let line = JsonBook {
        instrument: instrument.0,
        symbol: symbol(book),
        phase: format!("{:?}", book.phase()),
        next_sequence: image.next_sequence().0,
        time: time_value(image.time()),
        orders: book.orders(),
        bids: levels(Side::Buy),
        asks: levels(Side::Sell),
    };
    print_json(&line)
}

fn symbol(book: &Book) -> String {
    book.definition().symbol.as_str().unwrap_or("?").to_owned()
}

/// The orders of a level, oldest first: number and open lots.
fn queue(
    books: &Books,
    instrument: InstrumentId,
    side: Side,
    level: LevelView,
) -> impl Iterator<Item = (u64, u64)> {
    let orders = books.orders_of(instrument);
    orders
        .filter(move |it| it.side == side && it.price == level.price)
        .map(|it| (it.order.0, it.quantity.0))
}

/// The book in text; with `queues`, every level's orders too.
fn text(
    depth: usize,
    queues: Option<&Books>,
    instrument: InstrumentId,
    image: &FeedImage,
    book: &Book,
) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "{} (instrument {}), {:?}, resting orders {}, {}",
        symbol(book),
        instrument,
        book.phase(),
        book.orders(),
        time_text(image.time())
    );
    let write_level = |side, level: LevelView, out: &mut String| {
        write_level(side, level, out);
        let orders = queues.map(|books| queue(books, instrument, side, level));
        for (order, quantity) in orders.into_iter().flatten() {
            let _ = writeln!(out, "      order {order} {quantity}");
        }
    };
    let asks: Vec<LevelView> = book.levels(Side::Sell).take(depth).collect();
    for level in asks.iter().rev() {
        write_level(Side::Sell, *level, &mut out);
    }
    if asks.is_empty() {
        out.push_str("  no offers\n");
    }
    out.push_str("  ----\n");
    let mut bids = 0;
    for level in book.levels(Side::Buy).take(depth) {
        bids += 1;
        write_level(Side::Buy, level, &mut out);
    }
    if bids == 0 {
        out.push_str("  no bids\n");
    }
    out
}

fn write_level(side: Side, level: LevelView, out: &mut String) {
    let name = match side {
        Side::Buy => "bid",
        Side::Sell => "ask",
    };
    let (price, quantity) = (level.price.to_string(), level.quantity.to_string());
    let _ = write!(out, "  {name} {price:>14} {quantity:>12}  ");
    let _ = writeln!(
        out,
        "{} order{}",
        level.orders,
        if level.orders == 1 { "" } else { "s" }
    );
}
