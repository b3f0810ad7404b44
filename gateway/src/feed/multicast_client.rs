//! The client of the multicast feed: takes each message from whichever line brings it first, and
//! mends what both lost over the market data port.
//!
//! Used by tools and by whoever needs a book. The caller turns it with [`MulticastClient::poll`] and
//! may sleep in [`MulticastClient::wait`].
//!
//! ```text
//! A --+-> number is next: apply     above it: hold     below it: drop
//! B --+        ^                        |
//! port: snapshot or missing messages ---+
//! ```
//! What is missing in the middle is asked for as a range. Where the port refuses that, or the image is
//! empty, or no line is heard, it is asked for its stream until the lines go on.
//!
//! The port says whose packets count: its own node's, of the run that it is in. All others on the same
//! groups are strangers. When the node's are silent the port is asked, and may name another run.
//!
//! Always holds: while the image is whole it is exactly the book after the last message applied; what
//! is held is bounded. Where no line is heard the port alone feeds it.
//! Does not: give up on a lost connection; a request that can never be met is an error.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use exahour_wire::codes::FeedDepth;
use exahour_wire::framing::{Cut, FRAMING_BYTES, cut};
use exahour_wire::ids::FeedSequence;
use exahour_wire::market_data::{FeedPacket, FeedRangeRequest, FeedReject};
use exahour_wire::message::Message;
use exahour_wire::units::Nanos;

use super::allowance::{RANGE_MESSAGES_MAX, REQUESTS_PER_SECOND};
use super::client::FeedRefused;
use super::link::Lost;
use super::multicast::{PACKET_SILENCE_MAX, lines_of};
use super::peers::REQUEST_WITHIN;
use super::port::{Ended, Port};
use crate::clock::Steady;
use crate::error::GatewayError;
use crate::image::{Applied, FeedImage, Flow, ImageFault, Source};
use crate::sockets::{Group, GroupReceivers};

/// Packets taken from a line in one poll.
const PACKETS_PER_POLL: usize = 256;

/// Room for a packet; a longer one is cut and counts as malformed.
const PACKET_ROOM: usize = 2_048;

/// How long the other line may take to bring what one has lost.
const OTHER_LINE_WITHIN: Nanos = Nanos(2_000_000);

/// Silence on both lines after which the port feeds the image until one is heard again.
const LINES_SILENT_MAX: Nanos = Nanos(10 * PACKET_SILENCE_MAX.0);

/// Messages held while one before them is missing; what comes beyond is asked for again.
const HELD_MAX: usize = 16_384;

/// The time between two requests for ranges.
const RANGE_EVERY: Nanos = Nanos(2_000_000);

/// How long a connection is kept that has brought what was missing.
const CONNECTION_KEPT: Nanos = Nanos(5 * Nanos::SECOND.0);

// So the port never refuses it for asking too often.
const _: () = assert!(Nanos::SECOND.0 / RANGE_EVERY.0 <= REQUESTS_PER_SECOND as u64);

// The port does not end it sooner.
const _: () = assert!(CONNECTION_KEPT.0 < REQUEST_WITHIN.0);

/// How long to sleep at most while the port is asked.
const RECOVERY_WAIT_MAX: Duration = Duration::from_millis(1);

/// What came of the packets so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets that came, on A and on B.
    pub packets: [u64; 2],
    /// Packets that did not come, or not in their order, on A and on B.
    pub missed: [u64; 2],
    /// Packets that were none.
    pub malformed: u64,
    /// Packets of another node than the port's, or of another run.
    pub strangers: u64,
    /// How often the port had to be connected to.
    pub recoveries: u64,
    /// How many ranges of messages it was asked for.
    pub ranges: u64,
    /// How many requests it refused.
    pub refused: u64,
}

/// A client of the multicast feed.
#[derive(Debug)]
pub struct MulticastClient {
    lines: GroupReceivers,
    port: Port,
    image: FeedImage,
    held: BTreeMap<FeedSequence, Box<[u8]>>,
    /// The number of the newest packet of each line.
    newest: [u64; 2],
    /// The number after the last message that a line told of.
    told_end: FeedSequence,
    /// When a packet that counts was heard last, or the first poll.
    heard: Option<Steady>,
    /// The number that is missing, and since when.
    missing: Option<(FeedSequence, Steady)>,
    asked: Asked,
    /// When the port was asked last.
    asked_at: Steady,
    more: More,
    counts: Counts,
}

/// Whether packets were left in a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum More {
    Nothing,
    Packets,
}

/// What the port was asked for and has not brought yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Nothing; a connection is kept for a while all the same, as one gap seldom comes alone.
    Nothing,
    /// A snapshot or updates, and everything after them, until the lines go on.
    Stream {
        /// Whether a line was heard since.
        lines_heard: bool,
    },
    /// What is missing up to but not including this number.
    Range(FeedSequence),
}

impl MulticastClient {
    /// Joins the lines A and B of a depth, which are beside those of orders; the market data port of the same
    /// node mends what they lose.
    ///
    /// # Errors
    /// [`GatewayError::Multicast`] and [`GatewayError::Watch`].
    pub fn join(
        lines: [Group; 2],
        depth: FeedDepth,
        port: SocketAddr,
    ) -> Result<Self, GatewayError> {
        Ok(MulticastClient {
            lines: GroupReceivers::join(&lines_of(lines, depth))?,
            port: Port::new(port),
            image: FeedImage::new(depth, Flow::All),
            held: BTreeMap::new(),
            newest: [0; 2],
            told_end: FeedSequence::NONE,
            heard: None,
            missing: None,
            asked: Asked::Nothing,
            asked_at: Steady::default(),
            more: More::Nothing,
            counts: Counts::default(),
        })
    }

    /// The books.
    pub fn image(&self) -> &FeedImage {
        &self.image
    }

    /// What came of the packets so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether nothing is missing and the lines alone go on.
    pub fn settled(&self) -> bool {
        self.image.whole()
            && self.asked == Asked::Nothing
            && self.told_end <= self.image.next_sequence()
    }

    /// Takes in what is there and shows every message after it was applied; asks the port where
    /// something is missing.
    ///
    /// Gives how much there was to do. Making a connection may take up to two seconds.
    /// `now` measures waits; all calls take it from one clock.
    ///
    /// # Errors
    /// [`FeedRefused`] where the exchange will not serve this client.
    pub fn poll(
        &mut self,
        now: Steady,
        on_message: &mut impl FnMut(&[u8], Applied),
    ) -> Result<usize, FeedRefused> {
        let mut work = 0;
        self.more = More::Nothing;
        self.heard.get_or_insert(now);
        for line in 0..2 {
            work += self.take_packets(line, now, on_message);
        }
        work += self.recover(now, on_message)?;
        Ok(work)
    }

    /// Sleeps until something may be there, or `timeout` passed.
    pub fn wait(&mut self, timeout: Duration) {
        if self.more == More::Packets {
            return;
        }
        let behind = self.asked != Asked::Nothing || self.missing.is_some();
        let timeout = match behind {
            true => timeout.min(RECOVERY_WAIT_MAX),
            false => timeout,
        };
        // A broken socket is found by the next poll.
        let _ = self.lines.wait(timeout);
    }

    fn take_packets(
        &mut self,
        line: usize,
        now: Steady,
        on_message: &mut impl FnMut(&[u8], Applied),
    ) -> usize {
        let mut room = [0; PACKET_ROOM];
        for taken in 0..PACKETS_PER_POLL {
            // A line that is broken brings nothing: the other one, or the port, goes on.
            let Ok(Some(packet)) = self.lines.try_receive(line, &mut room) else {
                return taken;
            };
            if self.on_packet(line, packet, now, on_message).is_none() {
                self.counts.malformed += 1;
            }
        }
        self.more = More::Packets;
        PACKETS_PER_POLL
    }

    /// Takes in one packet; `None` where it is none, or ends early.
    fn on_packet(
        &mut self,
        line: usize,
        packet: &[u8],
        now: Steady,
        on_message: &mut impl FnMut(&[u8], Applied),
    ) -> Option<()> {
        let header = FeedPacket::read(packet)?;
        if header.depth.decode() != Some(self.image.depth()) {
            return None;
        }
        if self.image.source() != Some(Source::of_packet(&header)) {
            self.counts.strangers += 1;
            return Some(());
        }
        let first = header.first_sequence.0;
        let end = FeedSequence(first.checked_add(u64::from(header.count))?);
        self.number(line, header.packet);
        self.heard = Some(now);
        self.told_end = self.told_end.max(end);
        if let Asked::Stream { lines_heard } = &mut self.asked {
            *lines_heard = true;
        }
        let mut rest = &packet[FeedPacket::BYTES..];
        for number in first..end.0 {
            let Cut::Whole { bytes } = cut(rest) else {
                return None;
            };
            let framed_end = FRAMING_BYTES + bytes;
            self.on_numbered(
                FeedSequence(number),
                &rest[FRAMING_BYTES..framed_end],
                on_message,
            );
            rest = &rest[framed_end..];
        }
        rest.is_empty().then_some(())
    }

    /// Counts what a line has missed; a packet that comes late or twice is no news.
    fn number(&mut self, line: usize, packet: u64) {
        self.counts.packets[line] += 1;
        let newest = self.newest[line];
        if packet <= newest {
            return;
        }
        if newest > 0 {
            let between = packet - newest - 1;
            self.counts.missed[line] = self.counts.missed[line].saturating_add(between);
        }
        self.newest[line] = packet;
    }

    /// Forgets what the packets of an earlier source told.
    fn on_source(&mut self) {
        self.held.clear();
        self.newest = [0; 2];
        self.told_end = FeedSequence::NONE;
    }

    /// Empties the image; what was asked for on its account is not what it needs now.
    fn start_again(&mut self) {
        self.image.empty();
        self.stop_asking();
        self.port.close();
    }

    fn on_numbered(
        &mut self,
        sequence: FeedSequence,
        message: &[u8],
        on_message: &mut impl FnMut(&[u8], Applied),
    ) {
        if self.image.whole() && sequence <= self.image.next_sequence() {
            self.apply(message, on_message);
            self.apply_held(on_message);
            return;
        }
        self.held.entry(sequence).or_insert_with(|| message.into());
        if self.held.len() > HELD_MAX {
            // The nearest are needed first.
            self.held.pop_last();
        }
    }

    fn apply(&mut self, message: &[u8], on_message: &mut impl FnMut(&[u8], Applied)) {
        match self.image.apply(message) {
            Ok(applied) => on_message(message, applied),
            // The image before a gap is still right; what is missing will be asked for.
            Err(ImageFault::FeedGap { .. }) => {}
            Err(_) => self.start_again(),
        }
    }

    /// Applies what was held and is next now; drops what is known.
    fn apply_held(&mut self, on_message: &mut impl FnMut(&[u8], Applied)) {
        while self.image.whole()
            && let Some(entry) = self.held.first_entry()
            && *entry.key() <= self.image.next_sequence()
        {
            let message = entry.remove();
            self.apply(&message, on_message);
        }
    }

    /// Asks the port for what is missing for too long, and takes in what it answers.
    fn recover(
        &mut self,
        now: Steady,
        on_message: &mut impl FnMut(&[u8], Applied),
    ) -> Result<usize, FeedRefused> {
        if self.asked == Asked::Nothing && !self.due(now) {
            if now >= self.asked_at.after(CONNECTION_KEPT) {
                self.port.close();
            }
            return Ok(0);
        }
        let source = self.image.source();
        let taken = self.take_answers(now, on_message);
        if self.image.source() != source {
            self.on_source();
        }
        let taken = taken.and_then(|count| {
            self.apply_held(on_message);
            self.go_on(now)?;
            Ok(count)
        });
        if taken.is_err() {
            self.stop_asking();
        }
        self.port.outcome(now, taken)
    }

    /// Ends a recovery that has brought what was missing, or asks for the next range.
    fn go_on(&mut self, now: Steady) -> Result<(), Lost> {
        let next = self.image.next_sequence();
        let complete = self.image.whole() && next >= self.told_end;
        match self.asked {
            Asked::Nothing => {}
            Asked::Stream { lines_heard } if complete && lines_heard => {
                // What follows would come twice.
                self.stop_asking();
                self.port.close();
            }
            Asked::Range(_) if complete => self.stop_asking(),
            Asked::Range(end) if next >= end && now >= self.asked_at.after(RANGE_EVERY) => {
                return self.ask(now);
            }
            Asked::Stream { .. } | Asked::Range(_) => {}
        }
        Ok(())
    }

    fn stop_asking(&mut self) {
        self.asked = Asked::Nothing;
        self.missing = None;
    }

    /// Asks over the connection that there is: for a range where the image needs only that.
    fn ask(&mut self, now: Steady) -> Result<(), Lost> {
        let next = self.image.next_sequence();
        let held = self.held.range(next..).next().map(|(first, _)| *first);
        let end = held.unwrap_or(self.told_end).min(self.told_end);
        if self.silent(now) || !self.image.whole() || end <= next {
            return self.ask_for_stream(now);
        }
        let missing = (end.0 - next.0).min(RANGE_MESSAGES_MAX.into());
        self.asked = Asked::Range(FeedSequence(next.0 + missing));
        self.asked_at = now;
        self.counts.ranges += 1;
        self.port.send(&FeedRangeRequest {
            from_sequence: next,
            // At most the largest range.
            count: missing as u32,
            depth: self.image.depth().into(),
            ..FeedRangeRequest::blank()
        })
    }

    fn ask_for_stream(&mut self, now: Steady) -> Result<(), Lost> {
        self.asked = Asked::Stream { lines_heard: false };
        self.asked_at = now;
        self.port.send(&self.image.ask())
    }

    /// Whether no line was heard for so long that the port must feed the image.
    fn silent(&self, now: Steady) -> bool {
        self.heard
            .is_some_and(|heard| now >= heard.after(LINES_SILENT_MAX))
    }

    /// Whether something is missing for longer than the other line may take, or no line is heard.
    fn due(&mut self, now: Steady) -> bool {
        let next = self.image.next_sequence();
        let silent = self.silent(now);
        if self.image.whole() && self.told_end <= next && !silent {
            self.missing = None;
            return false;
        }
        let since = match self.missing {
            Some((number, since)) if number == next => since,
            _ => now,
        };
        self.missing = Some((next, since));
        let waited = !self.image.whole() || now >= since.after(OTHER_LINE_WITHIN);
        let paced = now >= self.asked_at.after(RANGE_EVERY) || !self.port.connected();
        waited && paced && self.port.due(now)
    }

    fn take_answers(
        &mut self,
        now: Steady,
        on_message: &mut impl FnMut(&[u8], Applied),
    ) -> Result<usize, Ended> {
        if !self.port.connected() {
            self.port.connect(now)?;
            self.counts.recoveries += 1;
        }
        if self.asked == Asked::Nothing {
            self.ask(now)?;
        }
        self.port.poll(now)?;
        let mut count = 0;
        let mut ask_again = false;
        while let Some(message) = self.port.next_message()? {
            count += 1;
            self.counts.refused += u64::from(FeedReject::read(message).is_some());
            let in_range = matches!(self.asked, Asked::Range(_));
            if in_range && FeedReject::read(message).is_some() {
                // Too old, or too much: the stream brings it, or a snapshot.
                ask_again = true;
                continue;
            }
            let was_whole = self.image.whole();
            let applied = self.image.apply(message).map_err(|_| Ended::Lost)?;
            on_message(message, applied);
            match applied {
                // The port has nothing more: a line told of what there is not.
                Applied::Heartbeat if was_whole => {
                    self.told_end = self.told_end.min(self.image.next_sequence());
                }
                Applied::Refused(reject) => {
                    if let Some(ended) = Ended::of_reject(reject) {
                        return Err(ended);
                    }
                    ask_again = true;
                }
                _ => {}
            }
        }
        if ask_again {
            self.ask_for_stream(now)?;
        }
        Ok(count)
    }
}
