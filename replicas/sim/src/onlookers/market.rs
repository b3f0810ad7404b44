//! Somebody who follows market data, order by order, over all nodes.
//!
//! Always holds: a number of the feed means the same message whoever sends it, and every number comes
//! between two snapshots: anything else is a violation when it comes.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use exahour_gateway::image::{Applied, FeedImage, Flow, ImageFault};
use exahour_gateway::net::Net;
use exahour_wire::codes::FeedDepth;
use exahour_wire::message::HEADER_BYTES;
use exahour_wire::units::Nanos;

use super::{Line, Turn};
use crate::client::Violation;
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
}

impl MarketWatcher {
    /// A watcher on a host of its own.
    ///
    /// # Errors
    /// The network refuses it a port.
    pub(crate) fn new(
        place: (u64, HostId),
        (net, nodes): (&dyn Net, Vec<SocketAddr>),
    ) -> Result<Self, Violation> {
        Ok(Self {
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
                let (image, seen) = (&mut self.image, &mut self.seen);
                let mut is_refused = false;
                while let Some(message) = self
                    .line
                    .inbox
                    .next_message()
                    .map_err(|it| format!("{it:?}"))?
                {
                    match image.apply(message) {
                        Ok(Applied::Update) => note(seen, message)?,
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
