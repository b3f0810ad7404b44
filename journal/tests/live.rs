//! Live frames against a plain list: any history of step-backs, restarts and segments, read in any
//! portions, up to any limits.

#![allow(clippy::unwrap_used)]

use exahour_journal::{
    Config, FrameMeta, Journal, JournalError, Live, LiveReader, LogId, Position, Reader, Verify,
    inspect,
};
use proptest::prelude::*;

const ALL: Position = Position::new(u64::MAX);

#[derive(Clone, Debug)]
enum Act {
    Append {
        count: u8,
        bytes: u16,
    },
    /// Steps back, never to what was read.
    Back {
        by: u16,
    },
    /// Steps back to anything.
    Recall {
        by: u8,
    },
    /// So many stretches of which one frame each stays.
    Zigzag {
        count: u16,
    },
    Restart {
        ahead: u8,
    },
    /// Reads some frames, up to a share of what is written; `past` bytes beyond the end of a frame.
    Read {
        frames: u8,
        share: u16,
        past: u8,
    },
    /// Goes on with a reader that begins behind the last frame read.
    Renew,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (1..40u8, 0..4000u16).prop_map(|(count, bytes)| Act::Append { count, bytes }),
        6 => (0..300u16).prop_map(|by| Act::Back { by }),
        1 => (0..40u8).prop_map(|by| Act::Recall { by }),
        2 => (1..600u16).prop_map(|count| Act::Zigzag { count }),
        1 => any::<u8>().prop_map(|ahead| Act::Restart { ahead }),
        6 => (any::<u8>(), any::<u16>(), any::<u8>())
            .prop_map(|(frames, share, past)| Act::Read { frames, share, past }),
        1 => Just(Act::Renew),
    ]
}

/// One frame as the list remembers it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Known {
    index: u64,
    term: u32,
    restart: bool,
    end: Position,
}

/// What a follower was told, or has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Told {
    Frame { index: u64, term: u32 },
    Restart { index: u64, term: u32 },
    Superseded { index: u64 },
}

/// The follower that works everything out anew from the list at every step.
#[derive(Default)]
struct Twin {
    /// Frames of the list that some limit has covered.
    seen: usize,
    given: Option<u64>,
    restart: Option<Known>,
}

impl Twin {
    fn next(&mut self, known: &[Known], limit: Position) -> Option<Told> {
        let covered = known.iter().take_while(|frame| frame.end <= limit).count();
        while self.seen < covered {
            let frame = known[self.seen];
            if frame.restart {
                self.restart = Some(frame);
                self.given = Some(frame.index);
            } else if let Some(index) = self.given.filter(|&given| given >= frame.index) {
                return Some(Told::Superseded { index });
            }
            self.seen += 1;
        }
        if let Some(Known { index, term, .. }) = self.restart {
            self.restart.take_if(|mark| mark.end <= limit)?;
            return Some(Told::Restart { index, term });
        }
        let next = self
            .live(known)
            .into_iter()
            .find(|frame| Some(frame.index) > self.given);
        let Known { index, term, .. } = next.filter(|frame| frame.end <= limit)?;
        self.given = Some(index);
        Some(Told::Frame { index, term })
    }

    fn live(&self, known: &[Known]) -> Vec<Known> {
        let mut live: Vec<Known> = Vec::new();
        for frame in &known[..self.seen] {
            match frame.restart {
                true => live.clear(),
                false => {
                    live.truncate(live.partition_point(|other| other.index < frame.index));
                    live.push(*frame);
                }
            }
        }
        live
    }
}

fn told(reader: &mut LiveReader, limit: Position) -> Option<Told> {
    match reader.next(limit) {
        Ok(None) => None,
        Ok(Some(Live::Frame(frame))) => {
            let (index, term) = (frame.header.index, frame.header.term);
            assert_eq!(frame.payload.first(), Some(&(index as u8 ^ term as u8)));
            Some(Told::Frame { index, term })
        }
        Ok(Some(Live::Restart { index, term })) => Some(Told::Restart { index, term }),
        Err(JournalError::Superseded { index, .. }) => Some(Told::Superseded { index }),
        Err(error) => panic!("{error}"),
    }
}

/// A log and the list of what is in it.
struct Written {
    journal: Journal,
    known: Vec<Known>,
    next: u64,
    term: u32,
}

impl Written {
    fn append(&mut self, bytes: usize) {
        let (index, term) = (self.next, self.term);
        let meta = FrameMeta {
            index,
            term,
            ..FrameMeta::default()
        };
        let payload = vec![index as u8 ^ term as u8; bytes + 1];
        let end = self.journal.appender.append(&meta, &[&payload]).unwrap();
        let restart = false;
        self.known.push(Known {
            index,
            term,
            restart,
            end,
        });
        self.next += 1;
    }

    /// The next frame has this index, or, where that is released by a restart, the first one behind it.
    fn step_back_to(&mut self, index: u64) {
        let first = self.journal.appender.first_index().unwrap_or(self.next);
        self.next = index.clamp(first, self.next);
        self.term += 1;
    }

    fn restart(&mut self, ahead: u8) {
        self.term += 1;
        let (index, term) = (self.next + u64::from(ahead), self.term);
        let end = self.journal.appender.restart_after(index, term).unwrap();
        let restart = true;
        self.known.push(Known {
            index,
            term,
            restart,
            end,
        });
        self.next = index + 1;
    }
}

fn run(acts: &[Act]) {
    let dir = tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap();
    let config = Config::new(dir.path(), LogId([4; 16])).with_segment_bytes(64 << 10);
    let follow = || Reader::follow(dir.path(), Verify::Every).unwrap();
    let mut log = Written {
        journal: Journal::create(&config).unwrap(),
        known: Vec::new(),
        next: 1,
        term: 1,
    };
    let (mut reader, mut twin) = (LiveReader::new(follow()), Twin::default());
    for act in acts {
        match *act {
            Act::Append { count, bytes } => (0..count).for_each(|_| log.append(bytes.into())),
            Act::Back { by } => {
                let read = twin.given.map_or(0, |given| given + 1);
                log.step_back_to(log.next.saturating_sub(by.into()).max(read));
            }
            Act::Recall { by } => log.step_back_to(log.next.saturating_sub(by.into())),
            Act::Zigzag { count } => (0..count).for_each(|_| {
                log.append(0);
                log.append(0);
                log.step_back_to(log.next - 1);
            }),
            Act::Restart { ahead } => log.restart(ahead),
            Act::Read {
                frames,
                share,
                past,
            } => {
                let at = log.known.len() * usize::from(share) / usize::from(u16::MAX);
                let limit = match log.known.get(at) {
                    Some(frame) => Position::new(frame.end.value() + u64::from(past)),
                    None => ALL,
                };
                for _ in 0..=frames {
                    let found = told(&mut reader, limit);
                    assert_eq!(found, twin.next(&log.known, limit));
                    match found {
                        None => break,
                        Some(Told::Superseded { .. }) => {
                            assert_eq!(told(&mut reader, limit), found, "it stays so");
                            return;
                        }
                        Some(_) => {}
                    }
                }
            }
            Act::Renew => {
                let (None, Some(given)) = (twin.restart, twin.given) else {
                    continue;
                };
                // A reader may stand at its next frame already, which the limit did not let it give; what lies
                // between is not known to whoever begins there.
                let stands = |frame: &Known| (frame.index, frame.end) == (given, reader.position());
                if !log.known.iter().any(stands) {
                    continue;
                }
                let mut anew = follow();
                anew.seek(reader.position()).unwrap();
                reader = LiveReader::behind(anew, given);
                let read = |frame: &Known| frame.end <= reader.position();
                twin.seen = log.known.iter().take_while(|frame| read(frame)).count();
            }
        }
    }
    loop {
        let found = told(&mut reader, ALL);
        assert_eq!(found, twin.next(&log.known, ALL));
        if found.is_none() || matches!(found, Some(Told::Superseded { .. })) {
            break;
        }
    }
    closed_log_gives_the_same(log, dir.path());
}

fn closed_log_gives_the_same(log: Written, dir: &std::path::Path) {
    let Written { journal, known, .. } = log;
    drop(journal);
    let recovered = inspect(dir, Verify::Every).unwrap();
    let reader = Reader::closed(dir, &recovered, Verify::Every).unwrap();
    let (mut reader, mut twin) = (LiveReader::new(reader), Twin::default());
    while let Some(found) = told(&mut reader, ALL) {
        assert_eq!(Some(found), twin.next(&known, ALL));
    }
    assert_eq!(twin.next(&known, ALL), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_is_followed_live(acts in prop::collection::vec(act(), 1..40)) {
        run(&acts);
    }
}

/// A reader that went to its next frame, and was not let to give it, is no place to begin at.
#[test]
fn a_reader_begins_behind_what_was_given() {
    let read = |frames, share| Act::Read {
        frames,
        share,
        past: 128,
    };
    run(&[
        Act::Zigzag { count: 24 },
        Act::Back { by: 0 },
        read(0, 42_325),
        read(15, 39_595),
        Act::Append {
            count: 20,
            bytes: 0,
        },
        Act::Append {
            count: 17,
            bytes: 0,
        },
        Act::Renew,
        read(0, 23_130),
    ]);
}

/// More stretches than are remembered, a step back into those that were forgotten, and one before them.
#[test]
fn what_is_too_much_to_remember_is_looked_at_again() {
    for back in [1, 10, 400, 899, 999] {
        run(&[
            Act::Append { count: 1, bytes: 0 },
            Act::Read {
                frames: 0,
                share: 0,
                past: 0,
            },
            Act::Zigzag { count: 1_000 },
            Act::Back { by: back },
            Act::Append { count: 2, bytes: 0 },
            Act::Read {
                frames: 200,
                share: u16::MAX,
                past: 0,
            },
            Act::Zigzag { count: 300 },
            Act::Back { by: back / 2 },
            Act::Append { count: 1, bytes: 0 },
        ]);
    }
}

#[test]
fn a_hole_is_no_log() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path(), LogId([4; 16])).with_segment_bytes(64 << 10);
    let mut journal = Journal::create(&config).unwrap();
    for index in [1, 2, 3] {
        let meta = FrameMeta {
            index,
            ..FrameMeta::default()
        };
        journal.appender.append(&meta, &[b"x"]).unwrap();
    }
    // A reader that is said to stand behind a frame which it does not stand behind.
    let reader = Reader::follow(dir.path(), Verify::Every).unwrap();
    let mut early = LiveReader::behind(reader, 7);
    let refused = early.next(ALL).unwrap_err();
    assert!(
        matches!(refused, JournalError::Superseded { index: 7, .. }),
        "{refused}"
    );
    let mut reader = Reader::follow(dir.path(), Verify::Every).unwrap();
    reader.next(ALL).unwrap();
    let mut late = LiveReader::behind(reader, 0);
    let refused = late.next(ALL).unwrap_err();
    assert!(
        matches!(
            refused,
            JournalError::Corrupt {
                why: "the index leaves a hole",
                ..
            }
        ),
        "{refused}"
    );
}
