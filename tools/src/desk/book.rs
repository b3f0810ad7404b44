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
use exahour_wire::codes::Side;
use exahour_wire::ids::InstrumentId;
use serde::Serialize;

use crate::connection::NodeArguments;
use crate::journal::time_text;
use crate::output::{print, print_json};

/// How long a snapshot may take.
const SNAPSHOT_WITHIN: Duration = Duration::from_secs(5);

/// How often a watched book is printed, at most.
const PRINT_EVERY: Duration = Duration::from_millis(200);

/// Show the book of an instrument.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// The instrument.
    #[arg(value_name = "INSTRUMENT")]
    instrument: u32,
    /// Levels of each side.
    #[arg(long, value_name = "N", default_value_t = 10)]
    depth: usize,
    /// Show the single orders of each level, oldest first.
    #[arg(long)]
    orders: bool,
    /// Print the book again whenever it has changed, until stopped.
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
    time: String,
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
    let address = arguments.node.addresses()?.market_data;
    let instrument = InstrumentId(arguments.instrument);
    let mut clock = SystemClock::default();
    let mut client = FeedClient::new(address, Flow::One(instrument));
    let begun = Instant::now();
    let mut shown = None;
    loop {
        client.poll(clock.now(), &mut |_, _| {})?;
        let image = client.image();
        let changed = image.whole() && shown != Some(image.next_sequence());
        if changed && let Some(book) = image.books().book(instrument) {
            show(arguments, image, book)?;
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

fn show(arguments: &Arguments, image: &FeedImage, book: &Book) -> Result<()> {
    if !arguments.json {
        return print(&text(arguments, image, book));
    }
    let levels = |side| {
        let levels = book.levels(side).take(arguments.depth);
        let level = |it: LevelView| JsonLevel {
            price: it.price.to_string(),
            quantity: it.quantity.0,
            orders: it.orders,
            queue: arguments.orders.then(|| {
                let queue = queue(image.books(), arguments.instrument, side, it);
                let order = |(order, quantity)| JsonOrder { order, quantity };
                queue.map(order).collect()
            }),
        };
        levels.map(level).collect()
    };
    let line = JsonBook {
        instrument: arguments.instrument,
        symbol: symbol(book),
        phase: format!("{:?}", book.phase()),
        next_sequence: image.next_sequence().0,
        time: time_text(image.time()),
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
    instrument: u32,
    side: Side,
    level: LevelView,
) -> impl Iterator<Item = (u64, u64)> {
    let orders = books.orders_of(InstrumentId(instrument));
    orders
        .filter(move |it| it.side == side && it.price == level.price)
        .map(|it| (it.order.0, it.quantity.0))
}

fn text(arguments: &Arguments, image: &FeedImage, book: &Book) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "{} (instrument {}), {:?}, resting orders {}, {}",
        symbol(book),
        arguments.instrument,
        book.phase(),
        book.orders(),
        time_text(image.time())
    );
    let asks: Vec<LevelView> = book.levels(Side::Sell).take(arguments.depth).collect();
    for level in asks.iter().rev() {
        write_level(arguments, image.books(), Side::Sell, *level, &mut out);
    }
    if asks.is_empty() {
        out.push_str("  no offers\n");
    }
    out.push_str("  ----\n");
    let mut bids = 0;
    for level in book.levels(Side::Buy).take(arguments.depth) {
        bids += 1;
        write_level(arguments, image.books(), Side::Buy, level, &mut out);
    }
    if bids == 0 {
        out.push_str("  no bids\n");
    }
    out
}

fn write_level(
    arguments: &Arguments,
    books: &Books,
    side: Side,
    level: LevelView,
    out: &mut String,
) {
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
    if arguments.orders {
        for (order, quantity) in queue(books, arguments.instrument, side, level) {
            let _ = writeln!(out, "      order {order} {quantity}");
        }
    }
}
