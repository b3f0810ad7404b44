//! The client of the public feed: holds the books, and mends every gap by itself.
//!
//! Used by tools and by whoever needs a book. The caller turns it with [`FeedClient::poll`] and may
//! sleep in [`FeedClient::wait`].
//!
//! Always holds: while the image is whole it is exactly the book after the last message applied.
//! Does not: give up on a lost connection: it asks again from where the image stands. A request
//! that can never be met is an error.

use std::net::SocketAddr;
use std::time::Duration;

use exahour_wire::codes::{FeedDepth, FeedRejectCode};
use exahour_wire::market_data::FeedReject;

use super::port::{Ended, Port};
use crate::clock::Steady;
use crate::image::{Applied, FeedImage, Flow};

/// The exchange refuses what this client needs; asking again would not help.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("the exchange refused the request: {}", reason(.0))]
pub struct FeedRefused(pub FeedReject);

fn reason(reject: &FeedReject) -> String {
    match reject.code.decode() {
        Some(FeedRejectCode::UnknownInstrument) => {
            format!("no instrument {} is listed", reject.instrument)
        }
        Some(FeedRejectCode::OutOfRange) => format!(
            "what is kept begins with {} and {} comes next",
            reject.oldest_sequence, reject.next_sequence
        ),
        Some(FeedRejectCode::Credentials) => "the session's key is not the one that the exchange \
             has, or the session may not see this participant's drop copy"
            .to_owned(),
        Some(FeedRejectCode::Stale) => "this machine's clock is not the exchange's: requests are \
             stamped too early, or more than 30 s ahead"
            .to_owned(),
        Some(FeedRejectCode::TooMany) => "more was asked for than is sent again at once".to_owned(),
        Some(FeedRejectCode::Throttled) => {
            "it was asked too often, or for more lost messages than are sent again".to_owned()
        }
        Some(FeedRejectCode::BadRequest) => "it does not know such a request".to_owned(),
        None => format!("code {}", reject.code.0),
    }
}

/// A client of the feed.
#[derive(Debug)]
pub struct FeedClient {
    port: Port,
    image: FeedImage,
}

impl FeedClient {
    /// A client of the feed at `address`; it connects when it is first polled.
    pub fn new(address: SocketAddr, depth: FeedDepth, flow: Flow) -> Self {
        FeedClient {
            port: Port::new(address),
            image: FeedImage::new(depth, flow),
        }
    }

    /// The books.
    pub fn image(&self) -> &FeedImage {
        &self.image
    }

    /// Whether there is a connection now.
    pub fn connected(&self) -> bool {
        self.port.connected()
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> u64 {
        self.port.connections()
    }

    /// Connects where needed, takes in what is there, and shows every message after it was applied.
    ///
    /// Gives how many messages came. Making a connection may take up to two seconds.
    /// `now` measures silence and waits; all calls take it from one clock.
    ///
    /// # Errors
    /// [`FeedRefused`] where the exchange will not serve this client.
    pub fn poll(
        &mut self,
        now: Steady,
        on_message: &mut impl FnMut(&[u8], Applied),
    ) -> Result<usize, FeedRefused> {
        if !self.port.connected() && !self.port.due(now) {
            return Ok(0);
        }
        let taken = self.take(now, on_message);
        self.port.outcome(now, taken)
    }

    /// Sleeps until something may be there, or `timeout` passed.
    pub fn wait(&mut self, timeout: Duration) {
        self.port.wait(timeout);
    }

    /// Drops the connection; the next poll makes a new one and goes on where the image stands.
    pub fn disconnect(&mut self, now: Steady) {
        self.port.lose(now);
    }

    fn take(
        &mut self,
        now: Steady,
        on_message: &mut impl FnMut(&[u8], Applied),
    ) -> Result<usize, Ended> {
        if !self.port.connected() {
            self.port.connect(now)?;
            self.port.send(&self.image.ask())?;
        }
        self.port.poll(now)?;
        let mut count = 0;
        let mut ask_again = false;
        while let Some(message) = self.port.next_message()? {
            count += 1;
            // A fault means that messages were missed: a new connection asks for them.
            let applied = self.image.apply(message).map_err(|_| Ended::Lost)?;
            on_message(message, applied);
            if let Applied::Refused(reject) = applied {
                if let Some(ended) = Ended::of_reject(reject) {
                    return Err(ended);
                }
                ask_again = true;
            }
        }
        if ask_again {
            self.port.send(&self.image.ask())?;
        }
        Ok(count)
    }
}
