//! The events that came with a snapshot: they take the place of this node's own, or follow them.
//!
//! A courier brings those that its node lacks, and what else the sender has in the segment of this node's last one:
//! where both have an event, it must be the same.
//!
//! Called by `install`.
//!
//! Always holds: this node's own events are on disk before anything is given up that would give them again; one
//! that is there is not written again, so all of this can be repeated.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use exahour_journal::disk::Disk;
use exahour_journal::{
    Config as LogConfig, Flusher, FrameRef, Journal, JournalError, Reader, Recovered, Verify,
    inspect_on,
};

use exahour_wire::events::EventPrefix;
use exahour_wire::message::messages;

use crate::couriers::INCOMING;
use crate::error::NodeError;
use crate::event_log::EventLog;
use crate::on_disk::EVENTS;

/// What came.
pub(super) struct Came<'a> {
    /// This node's own log.
    own: &'a LogConfig,
    folder: PathBuf,
    recovered: Recovered,
    /// The first event that came.
    first: u64,
    /// Bytes of a segment of theirs.
    segment_bytes: u64,
}

/// This node's own log, open.
pub(super) struct Own {
    events: EventLog,
    flusher: Flusher,
    reader: Reader,
}

impl<'a> Came<'a> {
    /// Reads and verifies what came; `None` where it is in place already. What is wrong with it, in words.
    pub(super) fn read(
        own: &'a LogConfig,
        data: &Path,
        segment_bytes: u64,
    ) -> Result<Option<Self>, String> {
        let (disk, folder) = (&own.disk, data.join(INCOMING).join(EVENTS));
        if !disk.exists(&folder) {
            return Ok(None);
        }
        let recovered = match inspect_on(disk.as_ref(), &folder, Verify::Every) {
            Err(JournalError::Missing { .. }) => return Ok(None),
            found => found.map_err(|error| error.to_string())?,
        };
        let first = first_event(disk, &folder, &recovered)?;
        Ok(Some(Self {
            own,
            folder,
            recovered,
            first,
            segment_bytes,
        }))
    }

    /// This node's own log, on disk when this returns.
    ///
    /// # Errors
    /// [`NodeError::Log`].
    pub(super) fn open_own(&self) -> Result<Own, NodeError> {
        let opened = Journal::open_or_create(self.own).map_err(log)?;
        let reader = Reader::follow_on(&self.own.disk, &self.own.dir, Verify::Trust);
        let reader = reader.map_err(log)?;
        let events = EventLog::new(opened.appender, &reader).map_err(log)?;
        let mut flusher = opened.flusher;
        flusher.flush().map_err(log)?;
        Ok(Own {
            events,
            flusher,
            reader,
        })
    }

    /// Sets aside what this node's own log tells otherwise than those that came, which are of the history that the
    /// group goes on with.
    ///
    /// # Errors
    /// [`NodeError::HistoryLost`] where nothing shows how far back the two are the same; otherwise as
    /// [`Came::open_own`].
    pub(super) fn agree(&self, own: Own) -> Result<Own, NodeError> {
        let Some(event) = self.first_difference(&own)? else {
            return Ok(own);
        };
        let lost = || NodeError::HistoryLost {
            what: format!("event {event}"),
        };
        if event <= self.first {
            return Err(lost());
        }
        let behind = own.events.frame_behind(event - 1, &own.reader);
        let index = behind.map_err(log)?.ok_or_else(lost)?;
        drop(own);
        let why = "the other nodes have other events there";
        Journal::set_aside_from(self.own, index, why).map_err(log)?;
        let own = self.open_own()?;
        match self.joins(&own) {
            true => Ok(own),
            false => Err(lost()),
        }
    }

    /// The first event that both have, and that is not the same, or that only this node has: where that is of the
    /// history that came, the journal gives it again.
    fn first_difference(&self, own: &Own) -> Result<Option<u64>, NodeError> {
        let mut theirs =
            Reader::closed_on(&self.own.disk, &self.folder, &self.recovered, Verify::Trust)
                .map_err(log)?;
        let Some(mut ours) = Cursor::before(self.first, own)? else {
            return Ok(None);
        };
        let mut last = u64::MAX;
        while let Some(frame) = theirs.next(self.recovered.appended).map_err(log)? {
            for event in messages(frame.payload) {
                let number = EventPrefix::peek(event).map_or(0, |it| it.event.0);
                match ours.find(number)? {
                    None => return Ok(None),
                    Some(known) if known != event => return Ok(Some(number)),
                    Some(_) => last = number,
                }
            }
        }
        Ok((own.events.last() > last).then(|| last + 1))
    }

    /// Whether they can take the place of this node's own as they are: they begin with the first of all, in segments
    /// of the same size.
    pub(super) fn can_replace(&self) -> bool {
        self.first <= 1 && self.segment_bytes == self.own.segment_bytes
    }

    /// Whether nothing is missing between this node's own events and those that came.
    pub(super) fn joins(&self, own: &Own) -> bool {
        self.first <= own.events.last() + 1
    }

    /// Puts them in the place of this node's own, which are removed with what is left of the parcel; on disk when
    /// this returns.
    ///
    /// # Errors
    /// [`NodeError`]: it is to be repeated.
    pub(super) fn replace(&self, data: &Path, index: u64) -> Result<(), NodeError> {
        let disk = self.own.disk.as_ref();
        let (events, incoming) = (data.join(EVENTS), data.join(INCOMING));
        if disk.exists(&events) {
            let replaced = incoming.join(format!("replaced-{index}"));
            disk.rename(&events, &replaced)
                .map_err(NodeError::io(&events, "set aside"))?;
        }
        disk.rename(&self.folder, &events)
            .map_err(NodeError::io(&self.folder, "put in place"))?;
        for folder in [data, &incoming] {
            disk.sync_folder(folder)
                .map_err(NodeError::io(folder, "flush"))?;
        }
        Ok(())
    }

    /// Writes those that are not there behind this node's own, on disk when this returns.
    ///
    /// # Errors
    /// [`NodeError`]: it is to be repeated.
    pub(super) fn follow(&self, own: Own) -> Result<(), NodeError> {
        let Own {
            mut events,
            mut flusher,
            ..
        } = own;
        let disk = &self.own.disk;
        let came = Reader::closed_on(disk, &self.folder, &self.recovered, Verify::Trust);
        let mut came = came.map_err(log)?;
        while let Some(frame) = came.next(self.recovered.appended).map_err(log)? {
            events.repeat(&frame).map_err(log)?;
            if events.waits() {
                let full = io::Error::from(io::ErrorKind::StorageFull);
                return Err(NodeError::io(&self.own.dir, "write into")(full));
            }
        }
        flusher.flush().map_err(log)?;
        Ok(())
    }
}

/// Reads this node's own events, one after the other.
struct Cursor<'a> {
    own: &'a Own,
    /// The index of the next frame.
    next: u64,
    frame: Option<FrameRef>,
    /// Bytes of events in the frame that were passed over.
    passed: usize,
}

impl<'a> Cursor<'a> {
    /// Stands before an event, if there is any from there on.
    fn before(event: u64, own: &'a Own) -> Result<Option<Self>, NodeError> {
        let behind = own
            .events
            .frame_behind(event.saturating_sub(1), &own.reader);
        Ok(behind.map_err(log)?.map(|next| Self {
            own,
            next,
            frame: None,
            passed: 0,
        }))
    }

    /// The event of this number, which is not before the one that was looked for last; none where the log ends before.
    fn find(&mut self, number: u64) -> Result<Option<&[u8]>, NodeError> {
        let holds = |frame: &FrameRef| {
            let header = frame.header();
            number < header.first_sequence + u64::from(header.count)
        };
        while !self.frame.as_ref().is_some_and(holds) {
            let Some(position) = self.own.events.position_of(self.next) else {
                return Ok(None);
            };
            let frame = self.own.reader.frame_of(self.next, position, Verify::Trust);
            self.frame = Some(frame.map_err(log)?);
            (self.next, self.passed) = (self.next + 1, 0);
        }
        let Some(frame) = &self.frame else {
            return Ok(None);
        };
        for event in messages(&frame.payload()[self.passed..]) {
            if EventPrefix::peek(event).is_some_and(|it| it.event.0 == number) {
                return Ok(Some(event));
            }
            self.passed += event.len();
        }
        Ok(None)
    }
}

/// The first event of a closed log; the first of all where it has none. Whether each follows the one before it, and
/// stands where its frame says, is seen to here: whoever sent them may not have.
fn first_event(disk: &Arc<dyn Disk>, folder: &Path, recovered: &Recovered) -> Result<u64, String> {
    let words = |error: JournalError| error.to_string();
    let mut reader = Reader::closed_on(disk, folder, recovered, Verify::Trust).map_err(words)?;
    let (mut first, mut next) = (None, 1_u64);
    while let Some(frame) = reader.next(recovered.appended).map_err(words)? {
        let begins = frame.header.first_sequence;
        if first.is_none() {
            first = Some(begins);
            next = begins;
        }
        let events = messages(frame.payload).filter_map(EventPrefix::peek);
        let mut count = 0_u64;
        let follows = begins == next
            && events.into_iter().all(|event| {
                count += 1;
                next.checked_add(count) == event.event.0.checked_add(1)
            });
        if !follows || count == 0 || count != u64::from(frame.header.count) {
            return Err(format!("event {next} does not stand where it should"));
        }
        next = next.checked_add(count).ok_or("there is no such event")?;
    }
    Ok(first.unwrap_or(1))
}

fn log(error: JournalError) -> NodeError {
    NodeError::log("event log")(error)
}

#[cfg(test)]
mod tests {
    use exahour_journal::{Appender, Chain, FrameMeta, LogId, OnDamage};
    use exahour_wire::events::{CommandDone, FrameEnd};
    use exahour_wire::ids::{CommandSequence, EventSequence};
    use exahour_wire::message::Message;

    use super::*;

    const SEGMENT_BYTES: u64 = 64 << 10;

    fn config(folder: &Path, segment_bytes: u64) -> LogConfig {
        let mut config = LogConfig::new(folder, LogId([7; 16])).with_segment_bytes(segment_bytes);
        config.chain = Chain::Off;
        config.on_damage = OnDamage::SetAside;
        config
    }

    /// A data folder, and where in it this node's own events are, and those that came.
    fn folders() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let data = tempfile::tempdir().unwrap();
        let incoming = data.path().join(INCOMING);
        std::fs::create_dir(&incoming).unwrap();
        let own = data.path().join(EVENTS);
        (data, own, incoming.join(EVENTS))
    }

    /// A frame that says that it begins with `first`, and holds these events.
    fn append(appender: &mut Appender, first: u64, events: &[u64]) {
        append_of(CommandSequence(1), appender, first, events);
    }

    /// The same, of another command.
    fn append_of(command: CommandSequence, appender: &mut Appender, first: u64, events: &[u64]) {
        let event = |number: &u64| CommandDone {
            event: EventSequence(*number),
            command,
            ..CommandDone::blank()
        };
        let events: Vec<CommandDone> = events.iter().map(event).collect();
        let payload: Vec<u8> = events.iter().flat_map(|it| it.bytes().to_vec()).collect();
        let meta = FrameMeta {
            index: appender.last_index() + 1,
            count: events.len() as u16,
            kind: FrameEnd::Command as u8,
            first_sequence: first,
            ..FrameMeta::default()
        };
        appender.append(&meta, &[&payload]).unwrap();
    }

    /// Makes a log of frames of ten events each, from one event on.
    fn make(folder: &Path, segment_bytes: u64, events: std::ops::RangeInclusive<u64>) {
        let mut log = Journal::create(&config(folder, segment_bytes)).unwrap();
        let events: Vec<u64> = events.collect();
        for frame in events.chunks(10) {
            append(&mut log.appender, frame[0], frame);
        }
        log.flusher.flush().unwrap();
    }

    /// Makes a log of events up to one, which are of another history from one of them on.
    fn make_of_two(folder: &Path, other: u64, last: u64) {
        make(folder, SEGMENT_BYTES, 1..=other - 1);
        let mut log = Journal::open(&config(folder, SEGMENT_BYTES)).unwrap();
        let events: Vec<u64> = (other..=last).collect();
        append_of(CommandSequence(2), &mut log.appender, other, &events);
        log.flusher.flush().unwrap();
    }

    fn numbers(folder: &Path) -> Vec<u64> {
        let end = exahour_journal::inspect(folder, Verify::Every).unwrap();
        let mut reader = Reader::closed(folder, &end, Verify::Every).unwrap();
        let mut found = Vec::new();
        while let Some(frame) = reader.next(end.appended).unwrap() {
            found.extend(messages(frame.payload).map(|it| EventPrefix::peek(it).unwrap().event.0));
        }
        found
    }

    #[test]
    fn what_came_follows_what_is_there_and_may_follow_it_again() {
        let (data, own, came) = folders();
        make(&own, SEGMENT_BYTES, 1..=34);
        make(&came, SEGMENT_BYTES, 21..=95);
        let config = config(&own, SEGMENT_BYTES);
        for _ in 0..2 {
            let came = Came::read(&config, data.path(), SEGMENT_BYTES)
                .unwrap()
                .unwrap();
            assert!(!came.can_replace());
            let open = came.open_own().unwrap();
            assert!(came.joins(&open));
            came.follow(open).unwrap();
            assert_eq!(numbers(&own), (1..=95).collect::<Vec<u64>>());
        }
    }

    #[test]
    fn what_came_does_not_join_where_an_event_lies_between() {
        let (data, own, came) = folders();
        make(&own, SEGMENT_BYTES, 1..=19);
        make(&came, SEGMENT_BYTES, 21..=40);
        let config = config(&own, SEGMENT_BYTES);
        let came = Came::read(&config, data.path(), SEGMENT_BYTES)
            .unwrap()
            .unwrap();
        assert!(!came.joins(&came.open_own().unwrap()));
    }

    #[test]
    fn events_of_another_history_give_way_to_those_that_came() {
        for (other, last) in [(22, 34), (31, 34), (34, 34), (25, 120), (96, 120)] {
            let (data, own, came) = folders();
            make_of_two(&own, other, last);
            make(&came, SEGMENT_BYTES, 21..=95);
            let config = config(&own, SEGMENT_BYTES);
            let came = Came::read(&config, data.path(), SEGMENT_BYTES)
                .unwrap()
                .unwrap();
            let open = came.agree(came.open_own().unwrap()).unwrap();
            assert_eq!(open.events.last(), other - 1);
            came.follow(open).unwrap();
            assert_eq!(numbers(&own), (1..=95).collect::<Vec<u64>>());
            // Nothing is left of the other history.
            let open = came.open_own().unwrap();
            assert_eq!(came.first_difference(&open).unwrap(), None);
        }
    }

    #[test]
    fn who_has_no_event_of_the_history_that_came_is_told_so() {
        let (data, own, came) = folders();
        make_of_two(&own, 15, 34);
        make(&came, SEGMENT_BYTES, 21..=95);
        let config = config(&own, SEGMENT_BYTES);
        let came = Came::read(&config, data.path(), SEGMENT_BYTES)
            .unwrap()
            .unwrap();
        let lost = came.agree(came.open_own().unwrap()).err().unwrap();
        assert!(
            lost.to_string().contains("event 21 is of a history"),
            "{lost}"
        );
        assert_eq!(numbers(&own), (1..=34).collect::<Vec<u64>>());
    }

    #[test]
    fn all_events_in_segments_of_another_size_are_written_anew() {
        let (data, own, came) = folders();
        make(&came, 2 * SEGMENT_BYTES, 1..=95);
        let config = config(&own, SEGMENT_BYTES);
        let came = Came::read(&config, data.path(), 2 * SEGMENT_BYTES)
            .unwrap()
            .unwrap();
        assert!(!came.can_replace());
        let open = came.open_own().unwrap();
        assert!(came.joins(&open));
        came.follow(open).unwrap();
        assert_eq!(numbers(&own), (1..=95).collect::<Vec<u64>>());
        drop(Journal::open(&config).unwrap());
    }

    #[test]
    fn events_that_are_not_where_they_say_are_refused() {
        let frames: [&[(u64, &[u64])]; 5] = [
            &[(1, &[1, 2]), (4, &[4])],
            &[(1, &[1, 3])],
            &[(2, &[1, 2])],
            &[(1, &[])],
            &[(u64::MAX, &[u64::MAX])],
        ];
        for frames in frames {
            let (data, own, came) = folders();
            let mut log = Journal::create(&config(&came, SEGMENT_BYTES)).unwrap();
            for (first, events) in frames {
                append(&mut log.appender, *first, events);
            }
            drop(log);
            let own = config(&own, SEGMENT_BYTES);
            assert!(
                Came::read(&own, data.path(), SEGMENT_BYTES).is_err(),
                "{frames:?}"
            );
        }
    }
}
