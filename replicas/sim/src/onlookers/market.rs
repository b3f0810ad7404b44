//! Somebody who follows market data, order by order, over all nodes.
//!
//! Always holds: a number of the feed means the same message whoever sends it, and every number comes
//! between two snapshots: anything else is a violation when it comes. What the book was whenever time moved on, and
//! what traded, is judged by the history when the world is over.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use exahour_gateway::image::{Applied, FeedImage, Flow, ImageFault};
use exahour_gateway::net::Net;
use exahour_wire::codes::FeedDepth;
use exahour_wire::ids::{InstrumentId, TradeId};
use exahour_wire::market_data::TradeReport;
use exahour_wire::message::{HEADER_BYTES, Message};
use exahour_wire::units::Nanos;

use super::{Line, Turn};
use crate::client::Violation;
use crate::meaning::{Meaning, Traded, book_digest};
use crate::net::HostId;
use crate::tally::Tally;
use crate::trace::digest;

/// A watcher.
#[derive(Debug)]
pub(crate) struct MarketWatcher {
    line: Line,
    image: FeedImage,
    /// Every message of the feed by its number, as a digest.
    seen: BTreeMap<u64, u64>,
    resumed: u64,
    instrument: InstrumentId,
    /// The time of the last update since a snapshot, and the book behind it.
    latest: Option<(Nanos, u64)>,
    /// What the book was behind the last update of a time, as a digest.
    books: Vec<(Nanos, u64)>,
    trades: BTreeMap<TradeId, Traded>,
}

impl MarketWatcher {
    /// A watcher on a host of its own.
    ///
    /// # Errors
    /// The network refuses it a port.
    pub(crate) fn new(
        place: (u64, HostId),
        (net, nodes): (&dyn Net, Vec<SocketAddr>),
        instrument: InstrumentId,
    ) -> Result<Self, Violation> {
        Ok(Self {
            instrument,
            latest: None,
            books: Vec::new(),
            trades: BTreeMap::new(),
            line: Line::new(place, net, nodes)?,
            image: FeedImage::new(FeedDepth::Orders, Flow::All),
            seen: BTreeMap::new(),
            resumed: 0,
        })
    }

    /// It stays with its node from now on.
    pub(crate) fn be_done(&mut self) {
        self.line.stays = true;
    }

    /// When it does something next, if nothing comes.
    pub(crate) fn next_at(&self) -> Nanos {
        self.line.next_at()
    }

    /// Adds what has happened to it.
    pub(crate) fn count(&self, tally: &mut Tally) {
        tally.market_data += self.seen.len() as u64;
        tally.streams_resumed += self.resumed;
        tally.books_shown += self.books.len() as u64;
    }

    /// One turn; gives how much there was to do.
    ///
    /// # Errors
    /// What no node may send.
    pub(crate) fn turn(&mut self, now: Nanos) -> Result<usize, Violation> {
        match self.line.turn(now) {
            Turn::Rests => Ok(0),
            Turn::Begun => {
                self.resumed += u64::from(!self.seen.is_empty());
                let request = self.image.ask();
                self.line.ask(&request);
                Ok(1)
            }
            Turn::Goes(work) => {
                let mut is_refused = false;
                while let Some(message) = self
                    .line
                    .inbox
                    .next_message()
                    .map_err(|it| format!("{it:?}"))?
                {
                    match self.image.apply(message) {
                        Ok(Applied::Update) => {
                            note(&mut self.seen, message)?;
                            if let Some(trade) = TradeReport::read(message) {
                                let told = (trade.price, trade.quantity);
                                self.trades.insert(trade.trade, told);
                            }
                            let orders = self.image.books().orders_of(self.instrument);
                            let book = book_digest(
                                orders.map(|it| (it.order, it.side, it.price, it.quantity)),
                            );
                            let (time, before) = (self.image.time(), self.latest);
                            let passed = before.filter(|(at, _)| *at < time);
                            self.books.extend(passed);
                            self.latest = Some((time, book));
                        }
                        // What it begins with is a book of which nobody has seen how it came about.
                        Ok(Applied::Snapshot) => self.latest = None,
                        // A node that has just started, or is behind, does not have it yet.
                        Ok(Applied::Refused(_)) | Err(ImageFault::OtherSource) => {
                            is_refused = true;
                            break;
                        }
                        Ok(_) => {}
                        Err(fault) => return Err(format!("market data: {fault}")),
                    }
                }
                if is_refused {
                    self.line.hang_up(now);
                }
                Ok(work)
            }
        }
    }
}

impl MarketWatcher {
    /// The book was, whenever time moved on, what the history makes of it, and what traded did.
    ///
    /// # Errors
    /// It was another, or it did not.
    pub(crate) fn check(&self, meaning: &Meaning) -> Result<(), Violation> {
        let differs = |(time, book): &&(Nanos, u64)| meaning.books.get(time) != Some(book);
        if let Some((time, _)) = self.books.iter().find(differs) {
            return Err(format!(
                "market data: the book after all that was done at {} ns is not the one of the history",
                time.0
            ));
        }
        let untrue = |(trade, told): &(&TradeId, &Traded)| meaning.trades.get(trade) != Some(told);
        match self.trades.iter().find(untrue) {
            Some((trade, told)) => Err(format!(
                "market data: trade {} is told as {told:?}, and is {:?} in the history",
                trade.0,
                meaning.trades.get(trade)
            )),
            None => Ok(()),
        }
    }
}

/// Compares an update with what its number meant before.
fn note(seen: &mut BTreeMap<u64, u64>, message: &[u8]) -> Result<(), Violation> {
    let number = message[HEADER_BYTES..].first_chunk();
    let number = number.map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let own = digest(message);
    match *seen.entry(number).or_insert(own) {
        known if known == own => Ok(()),
        _ => Err(format!(
            "market data: message {number} is another than before"
        )),
    }
}
