//! Sending reports again: they are read from the event log and copied out, byte for byte.
//!
//! Turned by `order_gateway`, one request a turn, so that a client that asks for much delays
//! nobody.
//!
//! Always holds: a request is answered by one or more `Retransmission` headers, each followed at
//! once by exactly the reports it counts; new reports may come between two such runs, never
//! within. Does not: fill the outbox beyond half, so asking makes nobody a slow reader.

use exahour_journal::{JournalError, Position, Reader};
use exahour_wire::events::EventPrefix;
use exahour_wire::ids::{EventSequence, MessageSequence};
use exahour_wire::message::{Message, messages};
use exahour_wire::session::{Retransmission, RetransmitRequest};

use crate::error::GatewayError;
use crate::outbox::Outbox;

/// Bytes of the event log looked at in one turn, at most, beyond the frame begun.
const SCAN_BYTES_PER_TURN: usize = 64 << 10;

/// What is left of a request.
#[derive(Clone, Copy, Debug)]
pub struct Retransmitting {
    request: RetransmitRequest,
    next: MessageSequence,
    end: MessageSequence,
    /// The frame to look at next.
    position: Position,
    /// Events up to here belong to earlier versions of the session, whose numbers were the same.
    opened: EventSequence,
}

/// How far a turn came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more to do.
    More,
    /// The last report was put into the outbox.
    Done,
    /// What remains is not kept any more.
    Unavailable,
}

/// One run of reports in the outbox, counted while it grows.
struct Run {
    header: Retransmission,
    place: usize,
}

impl Retransmitting {
    /// Begins to answer `request`, whose range was checked, from the frame at `position`; the
    /// present version of the session was opened by the event `opened`.
    #[must_use]
    pub fn new(request: &RetransmitRequest, position: Position, opened: EventSequence) -> Self {
        let end = request.from_sequence.0.saturating_add(request.count);
        Self {
            request: *request,
            next: request.from_sequence,
            end: MessageSequence(end),
            position,
            opened,
        }
    }

    /// Puts as much into the outbox as the bounds of a turn allow.
    ///
    /// # Errors
    /// [`GatewayError::EventLog`] where the log cannot be read.
    pub fn turn(
        &mut self,
        log: &mut Reader,
        outbox: &mut Outbox,
    ) -> Result<Progress, GatewayError> {
        if log.position() != self.position {
            match log.seek(self.position) {
                Ok(()) => {}
                Err(JournalError::Released { .. }) => return Ok(Progress::Unavailable),
                Err(error) => return Err(error.into()),
            }
        }
        let mut run: Option<Run> = None;
        let mut scanned = 0;
        while scanned < SCAN_BYTES_PER_TURN && outbox.has_ample_room() {
            let Some(frame) = log.next(Position::new(u64::MAX))? else {
                let missing = self.next < self.end;
                return Ok(if missing {
                    Progress::Unavailable
                } else {
                    Progress::Done
                });
            };
            scanned += frame.payload.len();
            if !self.copy_frame(frame.payload, outbox, &mut run) {
                break;
            }
            self.position = log.position();
        }
        Ok(if self.next == self.end {
            Progress::Done
        } else {
            Progress::More
        })
    }

    /// Copies the wanted reports of one frame; false where it must be looked at again.
    fn copy_frame(&mut self, events: &[u8], outbox: &mut Outbox, run: &mut Option<Run>) -> bool {
        for event in messages(events) {
            let wanted = EventPrefix::peek(event).is_some_and(|prefix| {
                prefix.session == self.request.session
                    && prefix.sequence == self.next
                    && prefix.event > self.opened
            });
            if !wanted {
                continue;
            }
            if !outbox.has_ample_room() || !self.copy(event, outbox, run) {
                return false;
            }
            if self.next == self.end {
                return false;
            }
        }
        true
    }

    fn copy(&mut self, event: &[u8], outbox: &mut Outbox, run: &mut Option<Run>) -> bool {
        if run.is_none() {
            *run = self.begin_run(outbox);
        }
        let Some(run) = run else {
            return false;
        };
        if outbox.push(event).is_err() {
            return false;
        }
        run.header.count += 1;
        outbox.amend(run.place, run.header.bytes());
        self.next.0 += 1;
        true
    }

    fn begin_run(&self, outbox: &mut Outbox) -> Option<Run> {
        let header = Retransmission {
            session: self.request.session,
            from_sequence: self.next,
            request_timestamp: self.request.timestamp,
            ..Retransmission::blank()
        };
        let place = outbox.push(header.bytes()).ok()?;
        Some(Run { header, place })
    }

    /// What was asked for.
    #[must_use]
    pub fn request(&self) -> &RetransmitRequest {
        &self.request
    }
}
