//! `exahour book`: the levels and orders of one instrument, once or as they change.
//!
//! Called by the command line. A client of the port or of multicast holds the book and mends gaps.
//!
//! Always holds: what is shown is a whole book: the one after the update whose number it carries.

mod source;
mod text;
mod view;
mod watchdog;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use clap::{Args, ValueEnum};
use exahour_gateway::clock::{Clock, SystemClock};
use exahour_gateway::image::{Book, FeedImage, Flow};
use exahour_wire::codes::FeedDepth;
use exahour_wire::ids::InstrumentId;
use exahour_wire::units::Nanos;
use serde::Serialize;

use self::source::Source;
use self::text::text;
use self::view::{View, view};
use self::watchdog::{Hearing, Look, News, Watchdog};
use crate::connection::NodeArguments;
use crate::exit::{finding, judged};
use crate::journal::{time_text, time_value};
use crate::listings::{InstrumentName, SNAPSHOT_WITHIN};
use crate::output::{print, print_json};

/// How often a watched book is printed, at most.
const PRINT_EVERY: Duration = Duration::from_millis(200);

/// Show the order book of an instrument.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  exahour book 1\n  exahour book GPU-H100-EU --orders --depth 3\n  \
                        exahour book 1 --watch --json"
)]
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
    /// The address of the interface that multicast comes by; of the first group, where --interface-b names
    /// another.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "0.0.0.0",
        requires = "multicast"
    )]
    interface: Ipv4Addr,
    /// The address of the interface that the second group comes by [default: as the first].
    #[arg(long, value_name = "ADDRESS", requires = "multicast")]
    interface_b: Option<Ipv4Addr>,
    /// Print the book again whenever it has changed, until Ctrl-C; say when the feed is lost, and when it is
    /// back.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    node: NodeArguments,
    /// Write JSON, one object a book; in between, objects with a key `feed` say what became of it.
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

#[derive(Serialize)]
struct JsonBook<'a> {
    instrument: u32,
    symbol: String,
    next_sequence: u64,
    time: Option<String>,
    #[serde(flatten)]
    view: &'a View,
}

/// What became of the feed, or of one of its two lines.
#[derive(Serialize)]
struct JsonFeed {
    /// `lost` or `back`.
    feed: &'static str,
    /// `A` or `B`, where only this line is meant.
    line: Option<char>,
    time: Option<String>,
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
    let mut watchdog = Watchdog::new(clock.steady());
    let (mut shown, mut seen) = (None, None);
    let mut begins = true;
    loop {
        let now = clock.steady();
        let polled = client.poll(now);
        let count = polled.map_err(|refused| judged(refused.into()))?;
        let look = Look {
            count,
            connected: client.connected(),
            packets: client.packets(),
        };
        for news in watchdog.observe(now, look) {
            if !begins {
                tell(news, clock.now(), arguments.json)?;
            }
            if news.line.is_none() && news.hearing == Hearing::Heard {
                // What was shown before was old: it is shown again, changed or not.
                (shown, seen) = (None, None);
            }
        }
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
                begins = false;
                std::thread::sleep(PRINT_EVERY);
            }
            continue;
        }
        if image.whole() && image.flow() == Flow::All && image.books().book(instrument).is_none() {
            return Err(finding(anyhow!("no instrument {instrument} is listed")));
        }
        if begins && begun.elapsed() > SNAPSHOT_WITHIN {
            bail!("no market data from {address}: is the node running, and is this its port?");
        }
        client.wait(Duration::from_millis(50));
    }
}

fn tell(news: News, now: Nanos, json: bool) -> Result<()> {
    let News { line, hearing } = news;
    if json {
        return print_json(&JsonFeed {
            feed: match hearing {
                Hearing::Lost => "lost",
                Hearing::Heard => "back",
            },
            line,
            time: time_value(now),
        });
    }
    let now = time_text(now);
    print(&match (line, hearing) {
        (None, Hearing::Lost) => format!("== feed lost, {now}: the book above may be old\n"),
        (None, Hearing::Heard) => format!("== feed back, {now}\n"),
        (Some(line), Hearing::Lost) => format!("== line {line} silent, {now}\n"),
        (Some(line), Hearing::Heard) => format!("== line {line} back, {now}\n"),
    })
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
