//! A history worked out again: by the slow twin of the engine, and by the rules of sessions.
//!
//! Made by the cluster when a run is over, asked by `checks`.
//!
//! Always holds: it follows from the committed frames alone.

use std::collections::BTreeMap;

use exahour_replicas::FRAME_COMMANDS;
use exahour_twin::Twin;
use exahour_twin::check::Checker;
use exahour_wire::codes::Side;
use exahour_wire::events::{
    EventPrefix, OrderFilled, SessionClosed, SessionExpelled, SessionOpened, SessionReady,
};
use exahour_wire::ids::{CommandSequence, OrderId, SessionId, SessionVersion, TradeId};
use exahour_wire::internal::ReadySession;
use exahour_wire::message::{HEADER_BYTES, Message, messages, peek_header};
use exahour_wire::units::{Nanos, Price, Quantity};

use crate::client::Violation;
use crate::history::History;
use crate::swarm::Plan;
use crate::trace::digest;

/// The templates of what clients ask for; those above are the exchange's own.
const CLIENT_TEMPLATES: std::ops::Range<u16> = 100..200;

/// A command of a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Carried {
    pub(crate) session: SessionId,
    pub(crate) version: SessionVersion,
    pub(crate) number: u32,
    pub(crate) digest: u64,
    /// The session was there and had not had this number: the command was carried out, or refused by name.
    pub(crate) applied: bool,
}

/// A report of the history: a digest, and the command that caused it.
pub(crate) type Report = (u64, CommandSequence);

/// A trade: its price, and how many lots.
pub(crate) type Traded = (Price, Quantity);

/// A digest of a book: its orders in the order in which they would trade.
pub(crate) fn book_digest(orders: impl Iterator<Item = (OrderId, Side, Price, Quantity)>) -> u64 {
    let mut bytes = Vec::new();
    for (order, side, price, quantity) in orders {
        bytes.extend_from_slice(&order.0.to_le_bytes());
        bytes.push(side as u8);
        bytes.extend_from_slice(&price.0.to_le_bytes());
        bytes.extend_from_slice(&quantity.0.to_le_bytes());
    }
    digest(&bytes)
}

/// Where a session stands.
#[derive(Clone, Copy, Debug)]
struct Seat {
    version: SessionVersion,
    expected: u32,
    ready: bool,
}

/// The history worked out.
#[derive(Debug, Default)]
pub(crate) struct Meaning {
    /// Every event, one after the other.
    pub(crate) events: Vec<u8>,
    /// How long the events are behind each frame, by index from 1.
    pub(crate) ends: Vec<usize>,
    /// The commands of clients.
    pub(crate) commands: BTreeMap<CommandSequence, Carried>,
    /// The reports to every version of every session, by number from 1.
    pub(crate) reports: BTreeMap<(SessionId, SessionVersion), Vec<Report>>,
    /// What the book was behind the last frame of a time, as a digest.
    pub(crate) books: BTreeMap<Nanos, u64>,
    /// What has traded.
    pub(crate) trades: BTreeMap<TradeId, Traded>,
    seats: BTreeMap<SessionId, Seat>,
    /// The last command.
    pub(crate) last: CommandSequence,
}

impl Meaning {
    /// Works a history out.
    ///
    /// # Errors
    /// Commands are not numbered without gap, time goes back, money is made or lost, a book is crossed.
    pub(crate) fn of(history: &History) -> Result<Self, Violation> {
        let mut meaning = Self::default();
        let (mut twin, mut checker) = (Twin::new(), Checker::default());
        let mut time = Nanos(0);
        let mut gives = Vec::new();
        for (place, frame) in history.frames().iter().enumerate() {
            let wrong = |what: String| format!("index {}: {what}", place + 1);
            if frame.kind == FRAME_COMMANDS {
                if frame.first.0 != meaning.last.0 + 1 {
                    return Err(wrong(format!("it begins with command {}", frame.first.0)));
                }
                if frame.time < time {
                    return Err(wrong("time goes back".to_owned()));
                }
                time = frame.time;
                gives.clear();
                twin.apply(frame.time, frame.first, &frame.payload, &mut gives);
                checker.follow(&gives).map_err(wrong)?;
                meaning.note(frame.first, &frame.payload, &gives);
                meaning.last.0 += u64::from(frame.count);
                let found = messages(&frame.payload).count();
                if found != usize::from(frame.count) {
                    return Err(wrong(format!(
                        "it says {} commands and has {found}",
                        frame.count
                    )));
                }
                meaning.events.extend_from_slice(&gives);
                let orders = twin.shown(Plan::instrument()).into_iter();
                let book = orders.map(|it| (it.order, it.side, it.price, it.quantity));
                meaning.books.insert(frame.time, book_digest(book));
            }
            meaning.ends.push(meaning.events.len());
        }
        Ok(meaning)
    }

    fn note(&mut self, first: CommandSequence, commands: &[u8], events: &[u8]) {
        let mut events = messages(events).peekable();
        for (record, number) in messages(commands).zip(first.0..) {
            self.on_command(CommandSequence(number), record);
            let of_this = |event: &&[u8]| {
                EventPrefix::peek(event).is_some_and(|prefix| prefix.command.0 <= number)
            };
            while let Some(event) = events.next_if(of_this) {
                self.on_event(record, event);
            }
        }
    }

    fn on_command(&mut self, place: CommandSequence, record: &[u8]) {
        let template = peek_header(record).map_or(0, |header| header.template_id);
        if !CLIENT_TEMPLATES.contains(&template) {
            return;
        }
        let session = SessionId(word(record, HEADER_BYTES));
        let number = word(record, HEADER_BYTES + 4);
        let Some(seat) = self.seats.get_mut(&session) else {
            // The genesis, or of a session that never opened a version.
            return;
        };
        let applied = seat.ready && number >= seat.expected && number != u32::MAX;
        if applied {
            seat.expected = number + 1;
        }
        let carried = Carried {
            session,
            version: seat.version,
            number,
            digest: digest(record),
            applied,
        };
        self.commands.insert(place, carried);
    }

    fn on_event(&mut self, record: &[u8], event: &[u8]) {
        let Some(prefix) = EventPrefix::peek(event) else {
            return;
        };
        if let Some(fill) = OrderFilled::read(event) {
            self.trades.insert(fill.trade, (fill.price, fill.quantity));
        }
        if prefix.sequence.0 > 0 {
            let seat = self.seats.get(&prefix.session);
            let version = seat.map_or(SessionVersion::NONE, |seat| seat.version);
            let reports = self.reports.entry((prefix.session, version)).or_default();
            reports.push((digest(event), prefix.command));
        }
        if let Some(opened) = SessionOpened::read(event) {
            let seat = Seat {
                version: opened.version,
                expected: 1,
                ready: false,
            };
            if opened.refusal.0 == 0 {
                self.seats.insert(opened.session, seat);
            }
        }
        let Some(seat) = self.seats.get_mut(&prefix.session) else {
            return;
        };
        if let (Some(ready), Some(asked)) = (SessionReady::read(event), ReadySession::read(record))
            && ready.refusal.0 == 0
        {
            seat.ready = true;
            seat.expected = asked.next_sequence.0;
        }
        if SessionClosed::read(event).is_some() || SessionExpelled::read(event).is_some() {
            seat.ready = false;
        }
    }
}

/// Four bytes of a message as a number.
fn word(message: &[u8], at: usize) -> u32 {
    let bytes = message
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u32::from_le_bytes)
}
