//! What the drop copy port answers: all reports of one participant, byte for byte, from any event.
//!
//! Called by the drop copy agent with what it reads of the log and, through [`Serve`], for each
//! back office. Each has a cursor of its own over the event log: the log itself is the history, so
//! a slow reader is only behind and never cut off.
//!
//! Always holds: nothing is sent before key, owner and permission are checked; every event after
//! the one named that concerns the participant is sent once, in order.
//! Does not: send what the agent has not read, so owners are known before their events are judged.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use exahour_journal::disk::Disk;
use exahour_journal::{FrameRef, JournalError, Position, Reader, Verify};
use exahour_wire::codes::{FeedRejectCode, Permissions};
use exahour_wire::events::EventPrefix;
use exahour_wire::ids::{EventSequence, FeedSequence, ParticipantId, SessionId};
use exahour_wire::market_data::{DropCopyRequest, FeedHeartbeat, FeedReject};
use exahour_wire::message::{Digest, Message, messages, peek_length};
use exahour_wire::units::Nanos;

use super::learnt::Learnt;
use super::owners::Owners;
use super::peers::{HEARTBEAT_AFTER, Peer, REQUEST_WITHIN, Serve, Verdict};
use super::send_buffer::SendBuffer;
use crate::clock::Steady;
use crate::credentials::Keys;
use crate::image::ImageFault;

/// Bytes of the log looked at for one back office in one turn.
const LOOK_BYTES_PER_TURN: usize = 256 << 10;

/// How far the clock of a back office may be ahead of the exchange's.
const STAMP_AHEAD_MAX: Nanos = Nanos(30 * Nanos::SECOND.0);

/// Where a back office stands.
#[derive(Debug, Default)]
pub enum Office {
    /// It has not asked for anything.
    #[default]
    Silent,
    /// It is sent reports.
    Copying(Box<Copying>),
}

/// The cursor of one back office.
#[derive(Debug)]
pub struct Copying {
    participant: ParticipantId,
    reader: Reader,
    /// The frame being looked at, and how far.
    frame: Option<FrameRef>,
    offset: usize,
    /// The next event to look at.
    next: EventSequence,
    /// Whether it has been told that there is no more for now: the first time it need not wait.
    told_end: bool,
}

/// How far a turn of copying came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copied {
    /// To the end of the log.
    All,
    /// As far as one turn goes, or as fits.
    Part,
}

/// The drop copy port, without its sockets.
#[derive(Debug)]
pub struct BackOffices {
    disk: Arc<dyn Disk>,
    event_log: PathBuf,
    keys: Keys,
    learnt: Learnt,
    /// Requests signed before the port opened may have been recorded: they are not taken any more.
    opened: Nanos,
    /// The newest time stamp of each session that proved who it is.
    newest: BTreeMap<SessionId, Nanos>,
    /// UTC of this turn, which stamps are judged by.
    now: Nanos,
}

impl BackOffices {
    /// The port before the first event of the log in this folder of a disk.
    ///
    /// A request is taken once, and only if it was signed at `opened` or later.
    pub fn new(disk: Arc<dyn Disk>, event_log: PathBuf, keys: Keys, opened: Nanos) -> Self {
        BackOffices {
            disk,
            event_log,
            keys,
            learnt: Learnt::default(),
            opened,
            newest: BTreeMap::new(),
            now: opened,
        }
    }

    /// Learns the time of a turn, before anybody is served in it.
    pub fn on_utc(&mut self, now: Nanos) {
        self.now = now;
    }

    /// Goes on from what was learnt of the log before.
    pub fn begin_behind(&mut self, learnt: Learnt) {
        self.learnt = learnt;
    }

    /// Learns from a frame of the log that starts and ends at these positions.
    ///
    /// # Errors
    /// [`ImageFault`] where the log contradicts itself or does not go on with the next event.
    pub fn on_batch(
        &mut self,
        batch: &[u8],
        start: Position,
        end: Position,
    ) -> Result<(), ImageFault> {
        self.learnt.on_batch(batch, start, end)
    }

    fn reject(&self, code: FeedRejectCode) -> FeedReject {
        let oldest = self.learnt.index.oldest().unwrap_or(self.learnt.next_event);
        FeedReject {
            oldest_sequence: FeedSequence(oldest.0),
            next_sequence: FeedSequence(self.learnt.next_event.0),
            code: code.into(),
            ..FeedReject::blank()
        }
    }

    /// Whether a request is signed with its session's key, newer than the last, and allowed.
    fn authenticate(&mut self, request: &DropCopyRequest) -> Result<(), FeedRejectCode> {
        let session = request.session;
        let refused = Err(FeedRejectCode::Credentials);
        let signed = &request.bytes()[..DropCopyRequest::BYTES - size_of::<Digest>()];
        let key = self.keys.key_of(session);
        if !key.is_some_and(|key| key.accepts(signed, &request.credentials)) {
            return refused;
        }
        // Who only recorded a request cannot use it again; one from the future would shut its session
        // out until then.
        let newest = self
            .newest
            .entry(session)
            .or_insert(Nanos(self.opened.0.saturating_sub(1)));
        if request.timestamp <= *newest || request.timestamp > self.now.after(STAMP_AHEAD_MAX) {
            return Err(FeedRejectCode::Stale);
        }
        *newest = request.timestamp;
        match self.learnt.owners.session(session) {
            Some((owner, permissions))
                if owner == request.participant && permissions.contains(Permissions::DROP_COPY) =>
            {
                Ok(())
            }
            _ => refused,
        }
    }

    fn begin(&self, request: &DropCopyRequest) -> Result<Office, FeedRejectCode> {
        let first = EventSequence(request.after_event.0.saturating_add(1));
        let oldest = self.learnt.index.oldest().unwrap_or(self.learnt.next_event);
        let all = request.after_event == EventSequence::NONE;
        if first > self.learnt.next_event || first < oldest && !all {
            return Err(FeedRejectCode::OutOfRange);
        }
        let begin = || {
            let mut reader = Reader::follow_on(&self.disk, &self.event_log, Verify::Every)?;
            if let Some(position) = self.learnt.index.find(first) {
                reader.seek(position)?;
            }
            Ok::<_, JournalError>(reader)
        };
        let reader = begin().map_err(|_| FeedRejectCode::OutOfRange)?;
        Ok(Office::Copying(Box::new(Copying {
            participant: request.participant,
            reader,
            frame: None,
            offset: 0,
            next: first,
            told_end: false,
        })))
    }

    fn take_requests(&mut self, peer: &mut Peer<Office>) -> Verdict {
        loop {
            let request = match peer.next_request() {
                Ok(None) => return Verdict::Stay,
                // A longer block of a newer schema is signed as a whole, which cannot be checked.
                Ok(Some(message)) if message.len() != DropCopyRequest::BYTES => None,
                Ok(Some(message)) if peek_length(message) != Some(message.len()) => None,
                Ok(Some(message)) => DropCopyRequest::read(message),
                Err(_) => None,
            };
            let Some(request) = request else {
                peer.answer(&self.reject(FeedRejectCode::BadRequest));
                return Verdict::Finish;
            };
            let office = match self.authenticate(&request) {
                Ok(()) => self.begin(&request),
                Err(code) => Err(code),
            };
            match office {
                Ok(office) => peer.state = office,
                Err(code) => {
                    peer.answer(&self.reject(code));
                    // Who cannot prove who it is does not get another try on this connection.
                    if matches!(code, FeedRejectCode::Credentials | FeedRejectCode::Stale) {
                        return Verdict::Finish;
                    }
                }
            }
        }
    }

    fn copy(&self, peer: &mut Peer<Office>, now: Steady) -> Verdict {
        let Office::Copying(copying) = &mut peer.state else {
            return Verdict::Stay;
        };
        match copying.copy(&self.learnt.owners, self.learnt.read_to, &mut peer.buffer) {
            Ok(copied) => {
                // A long stretch of other participants' events is no silence either.
                let first_end = copied == Copied::All && !copying.told_end;
                let quiet = now >= peer.last_sent.after(HEARTBEAT_AFTER);
                if peer.buffer.waiting().is_empty() && (first_end || quiet) {
                    copying.told_end |= copied == Copied::All;
                    let heartbeat = FeedHeartbeat {
                        next_sequence: FeedSequence(copying.next.0),
                        end_sequence: FeedSequence(self.learnt.next_event.0),
                        time: self.learnt.time,
                        ..FeedHeartbeat::blank()
                    };
                    // An empty buffer takes any message.
                    let _ = peer.buffer.push(heartbeat.bytes());
                }
                Verdict::Stay
            }
            Err(JournalError::Released { .. }) => {
                // The log was released before this reader came to it.
                let reject = self.reject(FeedRejectCode::OutOfRange);
                let told = peer.buffer.push(reject.bytes());
                if told { Verdict::Finish } else { Verdict::Cut }
            }
            // The log is damaged here: an audit names the place.
            Err(_) => Verdict::Cut,
        }
    }
}

impl Copying {
    fn copy(
        &mut self,
        owners: &Owners,
        limit: Position,
        buffer: &mut SendBuffer,
    ) -> Result<Copied, JournalError> {
        let mut looked = 0;
        loop {
            let Some(frame) = &self.frame else {
                self.frame = self.reader.next_ref(limit)?;
                self.offset = 0;
                if self.frame.is_none() {
                    return Ok(Copied::All);
                }
                continue;
            };
            let payload = frame.payload();
            for event in messages(&payload[self.offset..]) {
                if looked > LOOK_BYTES_PER_TURN {
                    return Ok(Copied::Part);
                }
                let Some(prefix) = EventPrefix::peek(event) else {
                    break;
                };
                let wanted =
                    prefix.event >= self.next && owners.concerns(self.participant, &prefix, event);
                if wanted && !buffer.push(event) {
                    return Ok(Copied::Part);
                }
                self.next = self.next.max(EventSequence(prefix.event.0 + 1));
                self.offset += event.len();
                looked += event.len();
            }
            self.frame = None;
        }
    }
}

impl Serve for BackOffices {
    type State = Office;

    fn serve(&mut self, peer: &mut Peer<Office>, now: Steady) -> Verdict {
        if self.take_requests(peer) == Verdict::Finish {
            return Verdict::Finish;
        }
        let silent = matches!(peer.state, Office::Silent);
        if silent && now > peer.since.after(REQUEST_WITHIN) {
            return Verdict::Cut;
        }
        self.copy(peer, now)
    }

    fn has_asked(state: &Office) -> bool {
        matches!(state, Office::Copying(_))
    }

    fn gone(&mut self, _: Office) {}
}
