//! One connection of a client to a feed port: requests out, messages in.
//!
//! Used by `port`, which makes a new one whenever one breaks.
//!
//! Always holds: after connecting nothing waits except [`Link::wait`].
//! Does not: know what messages mean.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use exahour_wire::message::Message;
use exahour_wire::units::Nanos;

use super::send_buffer::{SEND_BYTES_MIN, SendBuffer};
use crate::clock::Steady;
use crate::inbox::Inbox;
use crate::net::{Received, Written};
use crate::sockets::ClientSocket;

/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;

/// How long a connection may take to be made.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// Silence after which a connection is given up: many signs of life are missing then.
const SILENCE_MAX: Nanos = Nanos(15 * Nanos::SECOND.0);

/// The connection is lost; the client makes a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost;

/// A connection.
#[derive(Debug)]
pub(super) struct Link {
    socket: ClientSocket,
    inbox: Inbox,
    requests: SendBuffer,
    heard: Steady,
}

impl Link {
    pub(super) fn connect(address: SocketAddr, now: Steady) -> io::Result<Self> {
        Ok(Link {
            socket: ClientSocket::connect(address, CONNECT_WITHIN)?,
            inbox: Inbox::new(READ_BYTES),
            requests: SendBuffer::new(SEND_BYTES_MIN),
            heard: now,
        })
    }

    /// Sends a request, now or with the next [`Link::poll`].
    pub(super) fn send(&mut self, request: &impl Message) -> Result<(), Lost> {
        if !self.requests.push(request.bytes()) {
            return Err(Lost);
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Lost> {
        if self.requests.waiting().is_empty() {
            return Ok(());
        }
        match self.socket.try_write(self.requests.waiting()) {
            Ok(Written::Bytes(count)) => self.requests.sent(count),
            Ok(Written::Nothing) => {}
            Ok(Written::Ended) | Err(_) => return Err(Lost),
        }
        Ok(())
    }

    /// Reads what is there; gives how many bytes.
    pub(super) fn poll(&mut self, now: Steady) -> Result<usize, Lost> {
        self.flush()?;
        match self.socket.try_read(self.inbox.room()) {
            Ok(Received::Bytes(count)) => {
                self.inbox.filled(count);
                self.heard = now;
                Ok(count)
            }
            Ok(Received::Nothing) if now > self.heard.after(SILENCE_MAX) => Err(Lost),
            Ok(Received::Nothing) => Ok(0),
            Ok(Received::Ended) | Err(_) => Err(Lost),
        }
    }

    /// The next whole message that was read.
    pub(super) fn next_message(&mut self) -> Result<Option<&[u8]>, Lost> {
        self.inbox.next_message().map_err(|_| Lost)
    }

    /// Sleeps until something may be there, or `timeout` passed.
    pub(super) fn wait(&mut self, timeout: Duration) -> Result<(), Lost> {
        self.socket.wait(timeout).map_err(|_| Lost)
    }
}
