//! `exahour book`: the levels and orders of one instrument, once or as they change.
//!
//! Called by the command line. A client of the port or of multicast holds the book and mends gaps.
//!
//! Always holds: what is shown is a whole book: the one after the update whose number it carries.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use clap::{Args, ValueEnum};
use exahour_gateway::clock::{Clock, Steady, SystemClock};
use exahour_gateway::feed::client::{FeedClient, FeedRefused};
use exahour_gateway::feed::multicast_client::MulticastClient;
use exahour_gateway::image::{Book, Books, FeedImage, Flow, LevelView};
use exahour_gateway::sockets::Group;
use exahour_wire::codes::{FeedDepth, Side};
use exahour_wire::ids::InstrumentId;
use exahour_wire::market_data::Statistics;
use exahour_wire::units::{Price, Quantity};
use serde::Serialize;

use crate::connection::NodeArguments;
use crate::exit::{finding, judged};
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
    #[arg(long, conflicts_with = "feed")]
    orders: bool,
    /// Which feed to follow; without orders, or without levels, less is sent and less is known.
    #[arg(long, value_name = "FEED", value_enum, default_value_t = Feed::Orders)]
    feed: Feed,
    /// Listen to the two multicast groups of a node, as its configuration names them; the market data
    /// port mends what they lose.
    #[arg(long, value_name = "GROUP", num_args = 2)]
    multicast: Option<Vec<SocketAddrV4>>,
    /// The address of the interface that multicast comes by.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "0.0.0.0",
        requires = "multicast"
    )]
    interface: Ipv4Addr,
    /// Print the book again whenever it has changed, until Ctrl-C.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    node: NodeArguments,
    /// Write JSON, one object a book.
    #[arg(long)]
    json: bool,
}

/// How deep the book is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Feed {
    /// Every order.
    Orders,
    /// What the orders of each price come to.
    Levels,
    /// The best prices.
    Top,
}

impl Feed {
    fn depth(self) -> FeedDepth {
        match self {
            Feed::Orders => FeedDepth::Orders,
            Feed::Levels => FeedDepth::Levels,
            Feed::Top => FeedDepth::Top,
        }
    }
}

/// Who holds the book.
enum Source {
    Port(Box<FeedClient>),
    Lines(Box<MulticastClient>),
}

impl Source {
    fn open(arguments: &Arguments, instrument: InstrumentId) -> Result<Self> {
        let port = arguments.node.market_data()?;
        let depth = arguments.feed.depth();
        let Some([a, b]) = arguments.multicast.as_deref() else {
            let client = FeedClient::new(port, depth, Flow::One(instrument));
            return Ok(Source::Port(Box::new(client)));
        };
        let line = |address: &SocketAddrV4| Group {
            address: *address,
            interface: arguments.interface,
        };
        let lines = [line(a), line(b)];
        for group in lines {
            if !group.address.ip().is_multicast() {
                bail!("--multicast {}: not a multicast group", group.address);
            }
        }
        let client = MulticastClient::join(lines, depth, port)?;
        Ok(Source::Lines(Box::new(client)))
    }

    fn poll(&mut self, now: Steady) -> Result<usize, FeedRefused> {
        match self {
            Source::Port(client) => client.poll(now, &mut |_, _| {}),
            Source::Lines(client) => client.poll(now, &mut |_, _| {}),
        }
    }

    fn image(&self) -> &FeedImage {
        match self {
            Source::Port(client) => client.image(),
            Source::Lines(client) => client.image(),
        }
    }

    fn wait(&mut self, timeout: Duration) {
        match self {
            Source::Port(client) => client.wait(timeout),
            Source::Lines(client) => client.wait(timeout),
        }
    }
}

#[derive(Serialize)]
struct JsonBook<'a> {
    instrument: u32,
    symbol: String,
    next_sequence: u64,
    time: Option<String>,
    #[serde(flatten)]
    view: &'a View,
}

/// What is shown of a book beside its number and time.
#[derive(PartialEq, Serialize)]
struct View {
    phase: String,
    /// Not known from the best prices alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    orders: Option<u32>,
    bids: Vec<JsonLevel>,
    asks: Vec<JsonLevel>,
    #[serde(skip_serializing_if = "Option::is_none")]
    statistics: Option<JsonStatistics>,
}

/// What traded on a UTC day.
#[derive(PartialEq, Serialize)]
struct JsonStatistics {
    since: Option<String>,
    open: Option<String>,
    high: Option<String>,
    low: Option<String>,
    last: Option<String>,
    volume: u64,
    /// In micro-dollars for each hour of the window.
    turnover: String,
    trades: u64,
}

#[derive(PartialEq, Serialize)]
struct JsonLevel {
    price: String,
    quantity: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    orders: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<Vec<JsonOrder>>,
}

#[derive(PartialEq, Serialize)]
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
    let mut client = Source::open(arguments, instrument)?;
    let begun = Instant::now();
    let mut shown = None;
    let mut seen = None;
    loop {
        let polled = client.poll(clock.steady());
        polled.map_err(|refused| judged(refused.into()))?;
        let image = client.image();
        let news = image.whole() && seen != Some(image.next_sequence());
        if news && let Some(book) = image.books().book(instrument) {
            seen = Some(image.next_sequence());
            // Other instruments move the number, too.
            let view = view(arguments, instrument, image, book);
            if shown.as_ref() != Some(&view) {
                show(arguments, instrument, (image, book), &view)?;
                if !arguments.watch {
                    return Ok(());
                }
                shown = Some(view);
                std::thread::sleep(PRINT_EVERY);
            }
            continue;
        }
        if image.whole() && image.flow() == Flow::All && image.books().book(instrument).is_none() {
            return Err(finding(anyhow!("no instrument {instrument} is listed")));
        }
        if shown.is_none() && begun.elapsed() > SNAPSHOT_WITHIN {
            bail!("no market data from {address}: is the node running, and is this its port?");
        }
        client.wait(Duration::from_millis(50));
    }
}

/// What there is to show of a book.
fn view(arguments: &Arguments, instrument: InstrumentId, image: &FeedImage, book: &Book) -> View {
    let known = arguments.feed != Feed::Top;
    let levels = |side| {
        let levels = levels_of(book, arguments.feed, side);
        let level = |it: LevelView| JsonLevel {
            price: it.price.to_string(),
            quantity: it.quantity.0,
            orders: known.then_some(it.orders),
            queue: arguments.orders.then(|| {
                let queue = queue(image.books(), instrument, side, it);
                let order = |(order, quantity)| JsonOrder { order, quantity };
                queue.map(order).collect()
            }),
        };
        let shown = levels.into_iter().take(arguments.depth.into());
        shown.map(level).collect()
    };
    View {
        phase: format!("{:?}", book.phase()),
        orders: known.then_some(book.orders()),
        bids: levels(Side::Buy),
        asks: levels(Side::Sell),
        statistics: book.extras().statistics.as_ref().map(statistics),
    }
}

/// The levels of a side, best first; of best prices only the best.
fn levels_of(book: &Book, feed: Feed, side: Side) -> Vec<LevelView> {
    if feed != Feed::Top {
        return book.levels(side).collect();
    }
    let top = book.top();
    let (price, quantity) = match side {
        Side::Buy => (top.bid_price, top.bid_quantity),
        Side::Sell => (top.ask_price, top.ask_quantity),
    };
    let level = LevelView {
        price,
        quantity,
        orders: 0,
    };
    (quantity > Quantity(0))
        .then_some(level)
        .into_iter()
        .collect()
}

fn statistics(told: &Statistics) -> JsonStatistics {
    let price = |it: Price| (it != Price::NONE).then(|| it.to_string());
    let turnover = u128::from(told.turnover_high) << 64 | u128::from(told.turnover_low);
    JsonStatistics {
        since: time_value(told.since),
        open: price(told.open),
        high: price(told.high),
        low: price(told.low),
        last: price(told.last),
        volume: told.volume.0,
        turnover: turnover.to_string(),
        trades: told.trades,
    }
}

fn show(
    arguments: &Arguments,
    instrument: InstrumentId,
    (image, book): (&FeedImage, &Book),
    view: &View,
) -> Result<()> {
    let symbol = symbol(book);
    if !arguments.json {
        return print(&text(&symbol, instrument, image, view));
    }
    print_json(&JsonBook {
        instrument: instrument.0,
        symbol,
        next_sequence: image.next_sequence().0,
        time: time_value(image.time()),
        view,
    })
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

/// The book in text.
fn text(symbol: &str, instrument: InstrumentId, image: &FeedImage, view: &View) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write!(out, "{symbol} (instrument {instrument}), {}, ", view.phase);
    if let Some(orders) = view.orders {
        let _ = write!(out, "resting orders {orders}, ");
    }
    let _ = writeln!(out, "{}", time_text(image.time()));
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

fn write_level(side: &str, level: &JsonLevel, out: &mut String) {
    let _ = write!(out, "  {side} {:>14} {:>12}", level.price, level.quantity);
    if let Some(orders) = level.orders {
        let plural = if orders == 1 { "" } else { "s" };
        let _ = write!(out, "  {orders} order{plural}");
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
