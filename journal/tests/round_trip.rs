//! What goes in comes out: over segments, reopenings, superseded indices and both chain modes.

#![allow(clippy::unwrap_used)]

use exahour_journal::{
    Chain, Config, FlushBody, Frame, FrameMeta, Journal, JournalError, LogId, Position, Reader,
    Tail, Verify, inspect,
};

const LOG: LogId = LogId(*b"round trip tests");
const ALL: Position = Position::new(u64::MAX);
const BODIES: [FlushBody; 3] = [FlushBody::Pwrite, FlushBody::Uring, FlushBody::Map];

fn config(dir: &std::path::Path) -> Config {
    Config {
        verify: Verify::Every,
        ..Config::new(dir, LOG).with_segment_bytes(64 << 10)
    }
}

fn meta(index: u64, term: u32) -> FrameMeta {
    FrameMeta {
        index,
        term,
        count: 1,
        kind: 7,
        first_sequence: index * 10,
        time_ns: index + 99,
    }
}

fn payload(index: u64, term: u32) -> Vec<u8> {
    let length = (index * 37 + u64::from(term)) % 300;
    (0..length)
        .map(|at| (at * 7 + index + u64::from(term)) as u8)
        .collect()
}

fn check(frame: Frame<'_>, index: u64, term: u32) {
    let header = frame.header;
    assert_eq!(
        (header.index, header.term, header.count, header.kind),
        (index, term, 1, 7)
    );
    assert_eq!(
        (header.first_sequence, header.time_ns),
        (index * 10, index + 99)
    );
    assert_eq!(frame.payload, payload(index, term));
}

/// Available bodies: io_uring is forbidden in many containers.
fn bodies() -> impl Iterator<Item = FlushBody> {
    BODIES.into_iter().filter(|&flush| {
        let dir = tempfile::tempdir().unwrap();
        match Journal::create(&Config {
            flush,
            ..config(dir.path())
        }) {
            Err(JournalError::UringUnavailable { source }) => {
                eprintln!("skipped {flush:?}: {source}");
                false
            }
            other => other.map(|_| true).unwrap(),
        }
    })
}

#[test]
fn frames_come_back_over_segments_and_reopenings() {
    for flush in bodies() {
        for chain in [Chain::On, Chain::Off] {
            let dir = tempfile::tempdir().unwrap();
            let config = Config {
                flush,
                chain,
                ..config(dir.path())
            };
            let mut ends = Vec::new();
            for round in 0..4u64 {
                let mut journal = Journal::open_or_create(&config).unwrap();
                assert_eq!(journal.recovered.tail, Tail::Clean);
                assert_eq!(journal.recovered.frames, round * 500);
                for index in round * 500 + 1..=round * 500 + 500 {
                    let bytes = payload(index, 1);
                    let (head, rest) = bytes.split_at(bytes.len() / 3);
                    let end = journal
                        .appender
                        .append(&meta(index, 1), &[head, rest])
                        .unwrap();
                    assert_eq!(journal.appender.appended(), end);
                    ends.push(end);
                }
                let durable = journal.flusher.flush().unwrap();
                assert_eq!(Some(&durable), ends.last());
                assert_eq!(journal.appender.durable(), durable);
                assert!(journal.appender.first_index() == Some(1));
            }
            let mut reader = Reader::follow(dir.path(), Verify::Every).unwrap();
            for index in 1..=2000u64 {
                check(reader.next(ALL).unwrap().unwrap(), index, 1);
                assert_eq!(reader.position(), ends[index as usize - 1]);
            }
            assert!(reader.next(ALL).unwrap().is_none());
            assert!(
                ends.last().unwrap().value() > 5 * (64 << 10),
                "several segments were used"
            );
            let found = inspect(dir.path(), Verify::Every).unwrap();
            assert_eq!(
                (found.frames, found.last_index, found.last_term),
                (2000, 2000, 1)
            );
        }
    }
}

#[test]
fn flush_begin_and_poll_reach_the_appended_mark_over_segments() {
    for flush in bodies() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(&Config {
            flush,
            ..config(dir.path())
        })
        .unwrap();
        for index in 1..=3000 {
            let end = journal
                .appender
                .append(&meta(index, 1), &[&payload(index, 1)])
                .unwrap();
            if index % 1000 == 0 {
                assert!(journal.flusher.durable() < end);
                journal.flusher.flush_begin().unwrap();
                while journal.flusher.flush_poll().unwrap() < end {
                    std::thread::yield_now();
                }
            }
        }
    }
}

#[test]
fn a_lower_index_supersedes_and_is_recovered_so() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let mut journal = Journal::create(&config).unwrap();
    for (indices, term) in [(1..=400, 1), (300..=900, 2), (250..=260, 4)] {
        for index in indices {
            journal
                .appender
                .append(&meta(index, term), &[&payload(index, term)])
                .unwrap();
        }
    }
    let refusal = journal.appender.append(&meta(262, 4), &[]).unwrap_err();
    assert!(
        matches!(
            refusal,
            JournalError::IndexGap {
                expected: 261,
                found: 262
            }
        ),
        "{refusal}"
    );
    for reopened in [false, true] {
        if reopened {
            drop(journal);
            journal = Journal::open(&config).unwrap();
        }
        let appender = &journal.appender;
        assert_eq!((appender.last_index(), appender.last_term()), (260, 4));
        assert_eq!(appender.position_of(261), None);
        let mut reader = Reader::follow(dir.path(), Verify::Every).unwrap();
        for index in 1..=260 {
            let term = if index < 250 { 1 } else { 4 };
            assert_eq!(appender.term_of(index), Some(term), "index {index}");
            let position = appender.position_of(index).unwrap();
            check(reader.frame_at(position).unwrap().frame(), index, term);
            if index % 37 == 0 {
                assert_eq!(reader.seek_index(index).unwrap(), Some(position));
                check(reader.next(ALL).unwrap().unwrap(), index, term);
            }
        }
        assert_eq!(reader.seek_index(500).unwrap(), None);
    }
}

#[test]
fn an_owned_frame_travels_to_other_threads() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(&config(dir.path())).unwrap();
    journal
        .appender
        .append(&meta(1, 1), &[&payload(1, 1)])
        .unwrap();
    let mut reader = Reader::follow(dir.path(), Verify::Every).unwrap();
    let owned = reader.next_ref(ALL).unwrap().unwrap();
    drop((reader, journal));
    let other = owned.clone();
    let joined = std::thread::spawn(move || {
        check(other.frame(), 1, 1);
        other.len()
    });
    assert_eq!(joined.join().unwrap(), owned.header().length as usize);
    assert_eq!(
        owned[exahour_journal::FRAME_HEADER_BYTES..],
        *owned.payload()
    );
    assert_eq!(owned.as_ref(), &*owned);
}
