//! Random appends, step-backs, flushes, releases and reopenings against a plain list of frames.

#![allow(clippy::unwrap_used)]

use exahour_journal::{
    Chain, Config, FlushBody, FrameMeta, Journal, LogId, Position, Reader, Tail, Verify,
};
use proptest::prelude::*;

const ALL: Position = Position::new(u64::MAX);

#[derive(Clone, Debug)]
enum Act {
    Append { count: u8, bytes: u16 },
    Back { by: u8 },
    Restart { ahead: u8 },
    Flush,
    Stage,
    Release { keep: u8 },
    Reopen,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (1..60u8, 0..3000u16).prop_map(|(count, bytes)| Act::Append { count, bytes }),
        2 => any::<u8>().prop_map(|by| Act::Back { by }),
        1 => any::<u8>().prop_map(|ahead| Act::Restart { ahead }),
        2 => Just(Act::Flush),
        1 => Just(Act::Stage),
        1 => any::<u8>().prop_map(|keep| Act::Release { keep }),
        2 => Just(Act::Reopen),
    ]
}

/// A folder in memory where there is one: these tests damage or check files, not the disk.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// One frame as the list remembers it; a restart has no payload.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    index: u64,
    term: u32,
    payload: Option<Vec<u8>>,
    start: Position,
}

/// The live frames, worked out the slow way.
fn live(known: &[Known]) -> Vec<&Known> {
    let mut live: Vec<&Known> = Vec::new();
    for frame in known {
        match frame.payload {
            None => live.clear(),
            Some(_) => {
                live.retain(|other| other.index < frame.index);
                live.push(frame);
            }
        }
    }
    live
}

fn compare(journal: &Journal, known: &[Known]) {
    let appender = &journal.appender;
    let live = live(known);
    assert_eq!(
        appender.first_index(),
        live.first().map(|frame| frame.index)
    );
    for frame in &live {
        assert_eq!(appender.position_of(frame.index), Some(frame.start));
        assert_eq!(appender.term_of(frame.index), Some(frame.term));
    }
    let last = known
        .last()
        .map_or((0, 0), |frame| (frame.index, frame.term));
    assert_eq!((appender.last_index(), appender.last_term()), last);
    assert_eq!(appender.position_of(last.0 + 1), None);
}

fn run(acts: &[Act], chain: Chain, flush: FlushBody) {
    let dir = scratch();
    let base = Config::new(dir.path(), LogId([9; 16])).with_segment_bytes(64 << 10);
    let config = Config {
        chain,
        flush,
        verify: Verify::Every,
        ..base
    };
    let mut journal = Journal::create(&config).unwrap();
    let mut known: Vec<Known> = Vec::new();
    let (mut next, mut term) = (1u64, 1u32);
    for act in acts {
        match *act {
            Act::Append { count, bytes } => {
                for _ in 0..count {
                    let payload = vec![next as u8 ^ term as u8; usize::from(bytes)];
                    let meta = FrameMeta {
                        index: next,
                        term,
                        ..FrameMeta::default()
                    };
                    let end = journal.appender.append(&meta, &[&payload]).unwrap();
                    let start = journal.appender.position_of(next).unwrap();
                    let room = (64 + payload.len() as u64).next_multiple_of(64);
                    assert_eq!(start.value() + room, end.value());
                    known.push(Known {
                        index: next,
                        term,
                        payload: Some(payload),
                        start,
                    });
                    next += 1;
                }
            }
            Act::Back { by } => {
                let first = journal.appender.first_index().unwrap_or(next);
                next = next.saturating_sub(u64::from(by)).max(first);
                term += 1;
            }
            Act::Restart { ahead } => {
                term += 1;
                next += u64::from(ahead);
                let end = journal.appender.restart_after(next, term).unwrap();
                let start = Position::new(end.value() - 64);
                known.push(Known {
                    index: next,
                    term,
                    payload: None,
                    start,
                });
                next += 1;
            }
            Act::Flush => {
                let durable = journal.flusher.flush().unwrap();
                assert_eq!(durable, journal.appender.appended());
            }
            Act::Stage => journal.stager.finish().unwrap(),
            Act::Release { keep } => {
                let at = known.len().saturating_sub(usize::from(keep));
                let Some(frame) = known.get(at) else { continue };
                journal.appender.release_before(frame.start);
                journal.stager.finish().unwrap();
                let reader = Reader::follow(dir.path(), Verify::Every).unwrap();
                let first = reader.position();
                assert!(first <= frame.start);
                known.retain(|frame| frame.start >= first);
            }
            Act::Reopen => {
                drop(journal);
                journal = Journal::open(&config).unwrap();
                assert_eq!(journal.recovered.tail, Tail::Clean);
                assert_eq!(journal.recovered.frames, known.len() as u64);
                assert_eq!(journal.recovered.chain, journal.appender.chain());
                next = journal.appender.last_index().max(next - 1) + 1;
            }
        }
    }
    if !known.is_empty() {
        compare(&journal, &known);
    }
    let mut reader = Reader::follow(dir.path(), Verify::Every).unwrap();
    for frame in &known {
        let found = reader.next(ALL).unwrap().unwrap();
        let header = found.header;
        assert_eq!((header.index, header.term), (frame.index, frame.term));
        assert_eq!(found.payload, frame.payload.as_deref().unwrap_or_default());
        assert_eq!(found.position, frame.start);
    }
    assert!(reader.next(ALL).unwrap().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_comes_back(acts in prop::collection::vec(act(), 1..40), chained: bool) {
        let chain = if chained { Chain::On } else { Chain::Off };
        run(&acts, chain, FlushBody::Pwrite);
        run(&acts, chain, FlushBody::Map);
    }
}
