//! The client of the drop copy port: every event of a participant, each exactly once.
//!
//! Used by tools and back offices. The caller turns it with [`DropCopyClient::poll`] and keeps
//! [`DropCopyClient::after`] with what it did with the events, to go on after a restart.
//!
//! Always holds: events are shown in ascending order, none twice, whatever connections break.
//! Does not: keep events.

use std::net::SocketAddr;
use std::time::Duration;

use exahour_wire::codes::FeedRejectCode;
use exahour_wire::events::EventPrefix;
use exahour_wire::ids::{EventSequence, ParticipantId, SessionId};
use exahour_wire::market_data::{DropCopyRequest, FeedHeartbeat, FeedReject};
use exahour_wire::message::{Digest, Message, peek_header};
use exahour_wire::units::Nanos;

use super::client::FeedRefused;
use super::link::Lost;
use super::port::Port;
use crate::clock::Steady;
use crate::credentials::Key;

/// Requests in a row that may be stale before the clocks are blamed.
const STALE_MAX: u32 = 8;

/// A client of the drop copy port.
#[derive(Debug)]
pub struct DropCopyClient {
    port: Port,
    session: SessionId,
    participant: ParticipantId,
    key: Key,
    after: EventSequence,
    timestamp: Nanos,
    /// Whether the exchange has said that there was nothing behind what was shown last.
    caught_up: bool,
    stale_in_a_row: u32,
}

/// A request for drop copies, signed with the session's key.
pub fn signed_request(
    session: SessionId,
    participant: ParticipantId,
    after_event: EventSequence,
    timestamp: Nanos,
    key: &Key,
) -> DropCopyRequest {
    let mut request = DropCopyRequest {
        session,
        participant,
        after_event,
        timestamp,
        ..DropCopyRequest::blank()
    };
    let signed = DropCopyRequest::BYTES - size_of::<Digest>();
    request.credentials = key.sign(&request.bytes()[..signed]);
    request
}

impl DropCopyClient {
    /// A client that logs on with `session` and wants the events of `participant` after `after`.
    pub fn new(
        address: SocketAddr,
        session: SessionId,
        participant: ParticipantId,
        key: Key,
        after: EventSequence,
    ) -> Self {
        DropCopyClient {
            port: Port::new(address),
            session,
            participant,
            key,
            after,
            timestamp: Nanos(0),
            caught_up: false,
            stale_in_a_row: 0,
        }
    }

    /// All events of the participant up to this one were shown.
    pub fn after(&self) -> EventSequence {
        self.after
    }

    /// Whether all there was had been shown when the exchange last spoke.
    pub fn caught_up(&self) -> bool {
        self.caught_up
    }

    /// Connects where needed and shows the events that are there, as they lie in the event log.
    ///
    /// Gives how many. Making a connection may take up to two seconds.
    /// `now` measures silence and waits; all calls take it from one clock. `utc` is what a request is stamped
    /// with.
    ///
    /// # Errors
    /// [`FeedRefused`] where the exchange will not serve this client.
    pub fn poll(
        &mut self,
        now: Steady,
        utc: Nanos,
        on_event: &mut impl FnMut(&[u8]),
    ) -> Result<usize, FeedRefused> {
        if !self.port.connected() && !self.port.due(now) {
            return Ok(0);
        }
        match self.take(now, utc, on_event) {
            Ok(Taken::Events(count)) => {
                if count > 0 {
                    self.stale_in_a_row = 0;
                }
                Ok(count)
            }
            Ok(Taken::Refusal(reject)) => {
                self.disconnect(now);
                let stale = reject.code.decode() == Some(FeedRejectCode::Stale);
                self.stale_in_a_row += u32::from(stale);
                // A request made just before a restart is stale after it: a newer one is not.
                if stale && self.stale_in_a_row < STALE_MAX {
                    return Ok(0);
                }
                Err(FeedRefused(reject))
            }
            Err(Lost) => {
                self.disconnect(now);
                Ok(0)
            }
        }
    }

    /// Sleeps until something may be there, or `timeout` passed.
    pub fn wait(&mut self, timeout: Duration) {
        self.port.wait(timeout);
    }

    /// Drops the connection; the next poll makes a new one and goes on after the last event.
    pub fn disconnect(&mut self, now: Steady) {
        self.caught_up = false;
        self.port.lose(now);
    }

    fn connect(&mut self, now: Steady, utc: Nanos) -> Result<(), Lost> {
        // Each request must be newer than the last, also within one tick of the clock.
        self.timestamp = Nanos(utc.0.max(self.timestamp.0 + 1));
        self.port.connect(now)?;
        let (session, participant) = (self.session, self.participant);
        let request = signed_request(session, participant, self.after, self.timestamp, &self.key);
        self.port.send(&request)
    }

    fn take(
        &mut self,
        now: Steady,
        utc: Nanos,
        on_event: &mut impl FnMut(&[u8]),
    ) -> Result<Taken, Lost> {
        if !self.port.connected() {
            self.connect(now, utc)?;
        }
        self.port.poll(now)?;
        let mut count = 0;
        while let Some(message) = self.port.next_message()? {
            let template = peek_header(message).map_or(0, |header| header.template_id);
            match template {
                FeedReject::TEMPLATE_ID => {
                    return FeedReject::read(message).map(Taken::Refusal).ok_or(Lost);
                }
                FeedHeartbeat::TEMPLATE_ID => {
                    let heartbeat = FeedHeartbeat::read(message).ok_or(Lost)?;
                    // All events before the one named were looked at.
                    let looked_at = heartbeat.next_sequence.0.saturating_sub(1);
                    self.after = self.after.max(EventSequence(looked_at));
                    // Where it is still on its way it says so, lest its silence be taken for the end.
                    self.caught_up = heartbeat.end_sequence <= heartbeat.next_sequence;
                }
                _ => {
                    let event = EventPrefix::peek(message).ok_or(Lost)?.event;
                    self.caught_up = false;
                    if event > self.after {
                        on_event(message);
                        self.after = event;
                        count += 1;
                    }
                }
            }
        }
        Ok(Taken::Events(count))
    }
}

/// What came.
enum Taken {
    Events(usize),
    Refusal(FeedReject),
}
