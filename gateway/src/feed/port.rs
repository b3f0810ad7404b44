//! A client's way to one port of the exchange: a connection that is made again whenever it is lost.
//!
//! Used by the clients of this module, which say what to ask.
//!
//! Always holds: there is one connection at most. After a lost one the next waits, longer each time, until the
//! exchange sends what was asked for; whose feed it is, and a refusal, are not that.
//! Does not: know what to ask, or what messages mean.

use std::net::SocketAddr;
use std::time::Duration;

use exahour_wire::codes::FeedRejectCode;
use exahour_wire::market_data::{FeedReject, FeedSource};
use exahour_wire::message::{Message, peek_header};
use exahour_wire::units::{Millis, Nanos};

use super::client::FeedRefused;
use super::link::{Link, Lost};
use crate::clock::Steady;

/// The wait after the first lost connection in a row; it doubles up to [`RETRY_AFTER_MAX`].
const RETRY_AFTER_MIN: Millis = Millis(20);
const RETRY_AFTER_MAX: Millis = Millis(5_000);

/// The way to a port.
#[derive(Debug)]
pub(super) struct Port {
    address: SocketAddr,
    link: Option<Link>,
    retry_at: Steady,
    lost_in_a_row: u32,
    connections: u64,
}

/// Why asking a port ended.
pub(super) enum Ended {
    /// The connection broke, or is of no use any more: another one may do better.
    Lost,
    /// The exchange will not serve this client.
    Refused(FeedReject),
}

impl From<Lost> for Ended {
    fn from(_: Lost) -> Self {
        Ended::Lost
    }
}

impl Ended {
    /// What a refusal comes to: nothing where asking for something else helps.
    pub(super) fn of_reject(reject: FeedReject) -> Option<Self> {
        match reject.code.decode() {
            Some(FeedRejectCode::OutOfRange) => None,
            // Who waits may ask again.
            Some(FeedRejectCode::Throttled) => Some(Ended::Lost),
            _ => Some(Ended::Refused(reject)),
        }
    }
}

impl Port {
    /// The way to `address`; nothing is connected yet.
    pub(super) fn new(address: SocketAddr) -> Self {
        Port {
            address,
            link: None,
            retry_at: Steady::default(),
            lost_in_a_row: 0,
            connections: 0,
        }
    }

    /// How many connections were made so far.
    pub(super) fn connections(&self) -> u64 {
        self.connections
    }

    /// Whether a connection is there.
    pub(super) fn connected(&self) -> bool {
        self.link.is_some()
    }

    /// Whether a connection may be made now.
    pub(super) fn due(&self, now: Steady) -> bool {
        now >= self.retry_at
    }

    /// Makes a connection, which may take up to two seconds.
    pub(super) fn connect(&mut self, now: Steady) -> Result<(), Lost> {
        self.link = Some(Link::connect(self.address, now).map_err(|_| Lost)?);
        self.connections += 1;
        Ok(())
    }

    /// Sends a request, now or with the next [`Port::poll`].
    pub(super) fn send(&mut self, request: &impl Message) -> Result<(), Lost> {
        self.link.as_mut().ok_or(Lost)?.send(request)
    }

    /// Reads what is there.
    pub(super) fn poll(&mut self, now: Steady) -> Result<(), Lost> {
        self.link.as_mut().ok_or(Lost)?.poll(now).map(|_| ())
    }

    /// The next whole message that was read.
    pub(super) fn next_message(&mut self) -> Result<Option<&[u8]>, Lost> {
        let message = self.link.as_mut().ok_or(Lost)?.next_message()?;
        let template = message.and_then(peek_header).map(|it| it.template_id);
        if template.is_some_and(|it| it != FeedSource::TEMPLATE_ID && it != FeedReject::TEMPLATE_ID)
        {
            self.lost_in_a_row = 0;
        }
        Ok(message)
    }

    /// Drops the connection, which is needed no more.
    pub(super) fn close(&mut self) {
        self.link = None;
    }

    /// Drops the connection, which has failed: the next one waits.
    pub(super) fn lose(&mut self, now: Steady) {
        self.link = None;
        let doubled = RETRY_AFTER_MIN.0 << self.lost_in_a_row.min(16);
        self.retry_at = now.after(Nanos::from(Millis(doubled.min(RETRY_AFTER_MAX.0))));
        self.lost_in_a_row = self.lost_in_a_row.saturating_add(1);
    }

    /// What was taken from the connection; where it has ended it is dropped and nothing was.
    ///
    /// # Errors
    /// [`FeedRefused`] where the exchange will not serve this client.
    pub(super) fn outcome<T: Default>(
        &mut self,
        now: Steady,
        taken: Result<T, Ended>,
    ) -> Result<T, FeedRefused> {
        match taken {
            Ok(taken) => Ok(taken),
            Err(Ended::Lost) => {
                self.lose(now);
                Ok(T::default())
            }
            Err(Ended::Refused(reject)) => {
                self.lose(now);
                Err(FeedRefused(reject))
            }
        }
    }

    /// Sleeps until something may be there, or `timeout` passed.
    pub(super) fn wait(&mut self, timeout: Duration) {
        match &mut self.link {
            // A broken link is found by the next poll.
            Some(link) => {
                let _ = link.wait(timeout);
            }
            None => std::thread::sleep(timeout),
        }
    }
}
