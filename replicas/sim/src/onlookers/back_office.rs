//! A back office: the drop copy of one participant, over all nodes.
//!
//! Always holds: what is shown is in the order of the exchange's events, each once: anything else is a
//! violation when it comes.

use std::net::SocketAddr;

use exahour_gateway::credentials::Key;
use exahour_gateway::net::Net;
use exahour_wire::events::{EventPrefix, MoneyMoved};
use exahour_wire::ids::{AccountId, EventSequence, ParticipantId, SessionId};
use exahour_wire::market_data::{DropCopyRequest, FeedHeartbeat, FeedReject};
use exahour_wire::message::{Digest, Message, messages, peek_header};
use exahour_wire::units::Nanos;

use super::{Line, Turn};
use crate::client::{Trader, Violation};
use crate::clock::UTC_AT_START;
use crate::net::HostId;
use crate::tally::Tally;
use crate::trace::digest;

/// A back office.
#[derive(Debug)]
pub(crate) struct BackOffice {
    line: Line,
    session: SessionId,
    account: AccountId,
    key: Key,
    stamped: Nanos,
    /// The number and a digest of every event that was shown.
    shown: Vec<(u64, u64)>,
    /// All events up to this one were shown, or do not concern the participant.
    after: u64,
    /// How often it has begun where it was before.
    resumed: u64,
    /// The node has said that there is no more.
    caught_up: bool,
}

impl BackOffice {
    /// A back office of a trader's participant, on a host of its own.
    ///
    /// # Errors
    /// The network refuses it a port.
    pub(crate) fn new(
        place: (u64, HostId),
        (net, nodes): (&dyn Net, Vec<SocketAddr>),
        trader: Trader,
    ) -> Result<Self, Violation> {
        Ok(Self {
            line: Line::new(place, net, nodes)?,
            session: trader.session,
            account: trader.account,
            key: trader.key,
            stamped: Nanos(0),
            shown: Vec::new(),
            after: 0,
            resumed: 0,
            caught_up: false,
        })
    }

    /// It stays with its node from now on.
    pub(crate) fn be_done(&mut self) {
        self.line.stays = true;
    }

    /// Whether it has been shown all that there is up to this event.
    pub(crate) fn has_all(&self) -> bool {
        self.caught_up
    }

    /// When it does something next, if nothing comes.
    pub(crate) fn next_at(&self) -> Nanos {
        self.line.next_at()
    }

    /// Adds what has happened to it.
    pub(crate) fn count(&self, tally: &mut Tally) {
        tally.drop_copies += self.shown.len() as u64;
        tally.streams_resumed += self.resumed;
    }

    /// One turn; gives how much there was to do.
    ///
    /// # Errors
    /// What no node may show.
    pub(crate) fn turn(&mut self, now: Nanos) -> Result<usize, Violation> {
        match self.line.turn(now) {
            Turn::Rests => Ok(0),
            Turn::Begun => {
                self.log_on(now);
                Ok(1)
            }
            Turn::Goes(work) => {
                while let Some(message) = self
                    .line
                    .inbox
                    .next_message()
                    .map_err(|it| format!("{it:?}"))?
                {
                    let message = message.to_vec();
                    if !self.on_message(&message)? {
                        self.line.hang_up(now);
                        break;
                    }
                }
                Ok(work)
            }
        }
    }

    fn log_on(&mut self, now: Nanos) {
        self.caught_up = false;
        self.resumed += u64::from(self.after > 0);
        // A request must be newer than the one before.
        self.stamped = UTC_AT_START.after(now).max(self.stamped.after(Nanos(1)));
        let mut request = DropCopyRequest {
            session: self.session,
            // Each trader is a participant by itself.
            participant: ParticipantId(self.session.0),
            after_event: EventSequence(self.after),
            timestamp: self.stamped,
            ..DropCopyRequest::blank()
        };
        let signed = DropCopyRequest::BYTES - size_of::<Digest>();
        request.credentials = self.key.sign(&request.bytes()[..signed]);
        self.line.ask(&request);
    }

    /// Takes a message; whether the connection is of use.
    fn on_message(&mut self, message: &[u8]) -> Result<bool, Violation> {
        let template = peek_header(message).map_or(0, |header| header.template_id);
        if template == FeedReject::TEMPLATE_ID {
            // The clocks of nodes differ, and one that has just started knows no session yet.
            return Ok(false);
        }
        if let Some(heartbeat) = FeedHeartbeat::read(message) {
            self.after = self.after.max(heartbeat.next_sequence.0.saturating_sub(1));
            self.caught_up = heartbeat.end_sequence <= heartbeat.next_sequence;
            return Ok(true);
        }
        let prefix = EventPrefix::peek(message);
        let prefix = prefix.ok_or_else(|| format!("a drop copy has template {template}"))?;
        let number = prefix.event.0;
        if number <= self.after {
            return Err(format!(
                "drop copy of {}: event {number} comes where all up to {} were shown",
                self.session.0, self.after
            ));
        }
        self.shown.push((number, digest(message)));
        self.after = number;
        self.caught_up = false;
        Ok(true)
    }

    /// What was shown is what the history has for the participant, without gap up to where it came.
    ///
    /// # Errors
    /// It is not.
    pub(crate) fn check(&self, events: &[u8]) -> Result<(), Violation> {
        let concerns = |event: &&[u8]| {
            let money = MoneyMoved::read(event);
            let moved =
                money.is_some_and(|it| it.debit == self.account || it.credit == self.account);
            moved || EventPrefix::peek(event).is_some_and(|prefix| prefix.session == self.session)
        };
        let own = messages(events).filter(concerns).filter_map(|event| {
            let number = EventPrefix::peek(event)?.event.0;
            Some((number, digest(event)))
        });
        let own: Vec<(u64, u64)> = own
            .take_while(|(number, _)| *number <= self.after)
            .collect();
        if own == self.shown {
            return Ok(());
        }
        let differs = own
            .iter()
            .zip(&self.shown)
            .position(|(one, other)| one != other);
        let place = differs.unwrap_or(own.len().min(self.shown.len()));
        Err(format!(
            "drop copy of {}: the history has {:?} where {:?} was shown, as number {place}",
            self.session.0,
            own.get(place),
            self.shown.get(place)
        ))
    }
}
