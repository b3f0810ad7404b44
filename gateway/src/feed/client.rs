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

use super::link::{Link, Lost, Retry};
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
            "lost messages are asked for faster than they are sent again".to_owned()
        }
        Some(FeedRejectCode::BadRequest) => "it does not know such a request".to_owned(),
        None => format!("code {}", reject.code.0),
    }
}

/// A client of the feed.
#[derive(Debug)]
pub struct FeedClient {
    address: SocketAddr,
    image: FeedImage,
    link: Option<Link>,
    retry: Retry,
    connections: u64,
}

impl FeedClient {
    /// A client of the feed at `address`; it connects when it is first polled.
    pub fn new(address: SocketAddr, depth: FeedDepth, flow: Flow) -> Self {
        FeedClient {
            address,
            image: FeedImage::new(depth, flow),
            link: None,
            retry: Retry::default(),
            connections: 0,
        }
    }

    /// The books.
    pub fn image(&self) -> &FeedImage {
        &self.image
    }

    /// Whether there is a connection now.
    pub fn connected(&self) -> bool {
        self.link.is_some()
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> u64 {
        self.connections
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
        if self.link.is_none() {
            if !self.retry.due(now) {
                return Ok(0);
            }
            if self.connect(now).is_err() {
                self.disconnect(now);
                return Ok(0);
            }
        }
        match self.take(now, on_message) {
            Ok(count) => Ok(count),
            Err(Ended::Lost) => {
                self.disconnect(now);
                Ok(0)
            }
            Err(Ended::Refused(reject)) => {
                self.disconnect(now);
                Err(FeedRefused(reject))
            }
        }
    }

    /// Sleeps until something may be there, or `timeout` passed.
    pub fn wait(&mut self, timeout: Duration) {
        match &mut self.link {
            // A broken link is found by the next poll.
            Some(link) => {
                let _ = link.wait(timeout);
            }
            None => std::thread::sleep(timeout),
        }
    }

    /// Drops the connection; the next poll makes a new one and goes on where the image stands.
    pub fn disconnect(&mut self, now: Steady) {
        self.link = None;
        self.retry.on_lost(now);
    }

    fn connect(&mut self, now: Steady) -> Result<(), Lost> {
        let mut link = Link::connect(self.address, now).map_err(|_| Lost)?;
        self.connections += 1;
        link.send(&self.image.ask())?;
        self.link = Some(link);
        Ok(())
    }

    fn take(
        &mut self,
        now: Steady,
        on_message: &mut impl FnMut(&[u8], Applied),
    ) -> Result<usize, Ended> {
        let Some(link) = &mut self.link else {
            return Ok(0);
        };
        link.poll(now)?;
        let mut count = 0;
        let mut ask_again = false;
        while let Some(message) = link.next_message()? {
            count += 1;
            self.retry.on_heard();
            // A fault means that messages were missed: a new connection asks for them.
            let applied = self.image.apply(message).map_err(|_| Ended::Lost)?;
            on_message(message, applied);
            if let Applied::Refused(reject) = applied {
                if reject.code.decode() != Some(FeedRejectCode::OutOfRange) {
                    return Err(Ended::Refused(reject));
                }
                ask_again = true;
            }
        }
        if ask_again {
            link.send(&self.image.ask())?;
        }
        Ok(count)
    }
}

/// Why taking in messages ended.
enum Ended {
    Lost,
    Refused(FeedReject),
}

impl From<Lost> for Ended {
    fn from(_: Lost) -> Self {
        Ended::Lost
    }
}
