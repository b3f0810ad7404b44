//! Damages every byte of a small log in every way, and judges what recovery makes of it.
//!
//! The judge knows only what was appended and how far it was flushed. Allowed outcomes: the same
//! frames; a prefix that holds every flushed frame; or a refusal. Anything else is silent loss.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use exahour_journal::{
    Chain, Config, FrameMeta, Journal, JournalError, LogId, Position, Reader, Recovered, Tail,
    Verify, inspect,
};

const LOG: LogId = LogId(*b"damaged logs....");
const SEGMENT: u64 = 64 << 10;
const ALL: Position = Position::new(u64::MAX);

/// A folder in memory where there is one: these tests damage or check files, not the disk.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// One frame as the judge remembers it.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    index: u64,
    term: u32,
    payload: Vec<u8>,
    end: Position,
}

/// Whether the machine has been restarted since the log was written.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Since {
    ProcessDeath,
    PowerCut,
}

struct Small {
    dir: tempfile::TempDir,
    config: Config,
    known: Vec<Known>,
    /// Frames whose flush was confirmed.
    flushed: usize,
    since: Since,
}

/// A log of some small frames, a large one that nearly fills the segment, and, if asked for, more
/// in a second segment; flushed up to the frame before the last three.
fn small_log(chain: Chain, segments: u64, since: Since) -> Small {
    let dir = scratch();
    let config = Config {
        chain,
        verify: Verify::Every,
        ..Config::new(dir.path(), LOG).with_segment_bytes(SEGMENT)
    };
    let mut journal = Journal::create(&config).unwrap();
    let (mut known, mut flushed) = (Vec::new(), 0);
    let mut append = |journal: &mut Journal, index, term, bytes: usize| {
        let payload: Vec<u8> = (0..bytes)
            .map(|at| (at as u64 * 31 + index + 1) as u8)
            .collect();
        let meta = FrameMeta {
            index,
            term,
            count: 1,
            ..FrameMeta::default()
        };
        let end = journal.appender.append(&meta, &[&payload]).unwrap();
        known.push(Known {
            index,
            term,
            payload,
            end,
        });
        known.len()
    };
    for (index, term) in [(1, 1), (2, 1), (3, 1), (4, 1), (3, 2), (4, 2)] {
        append(&mut journal, index, term, 20 * index as usize);
    }
    if segments == 2 {
        append(&mut journal, 5, 2, 59_000);
        append(&mut journal, 6, 2, 2500);
    }
    for index in 7 - 2 * (2 - segments)..=12 {
        let count = append(&mut journal, index, 2, 64);
        if index == 9 {
            journal.flusher.flush().unwrap();
            flushed = count;
        }
    }
    drop(journal);
    if since == Since::PowerCut {
        forget_boot(dir.path());
    }
    Small {
        dir,
        config,
        known,
        flushed,
        since,
    }
}

/// Rewrites the control page as another run of the machine would have left it.
fn forget_boot(dir: &Path) {
    let path = dir.join("control");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[48..64].fill(0x5a);
    bytes[12..16].fill(0);
    let crc = crc_fast::crc32_iscsi(&bytes[..64]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
}

fn frames(dir: &Path, recovered: &Recovered) -> Vec<Known> {
    let mut reader = Reader::closed(dir, recovered, Verify::Every).unwrap();
    let mut found = Vec::new();
    while let Some(frame) = reader
        .next(ALL)
        .expect("what recovery calls good can be read")
    {
        found.push(Known {
            index: frame.header.index,
            term: frame.header.term,
            payload: frame.payload.to_vec(),
            end: frame.end(),
        });
    }
    found
}

/// How many outcomes of each kind there were.
#[derive(Debug, Default)]
struct Tally {
    same: u64,
    cut: u64,
    refused: u64,
}

impl Small {
    fn files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.file_name().unwrap() != "lock");
        files.sort();
        files
    }

    /// Judges the log as it lies there now.
    fn judge(&self, what: &str, tally: &mut Tally) {
        match inspect(self.dir.path(), Verify::Every) {
            Ok(recovered) => {
                let found = frames(self.dir.path(), &recovered);
                assert!(
                    self.known.starts_with(&found),
                    "{what}: other frames than were appended"
                );
                assert!(
                    found.len() >= self.flushed,
                    "{what}: {} flushed frames left",
                    found.len()
                );
                assert_eq!(recovered.frames, found.len() as u64, "{what}");
                if found.len() == self.known.len() {
                    tally.same += 1;
                } else {
                    assert_eq!(
                        self.since,
                        Since::PowerCut,
                        "{what}: visible frames were cut"
                    );
                    tally.cut += 1;
                }
            }
            Err(error) => {
                let named = error
                    .to_string()
                    .contains(self.dir.path().to_str().unwrap());
                assert!(named, "{what}: a refusal without a place: {error}");
                tally.refused += 1;
            }
        }
        // Whatever recovery says, a reader that trusts lengths must stay within its maps.
        if let Ok(mut reader) = Reader::follow(self.dir.path(), Verify::Trust) {
            while let Ok(Some(frame)) = reader.next(ALL) {
                std::hint::black_box(frame.payload.last());
            }
        }
    }

    /// Opens a copy for writing and checks that it goes on from what was judged good.
    fn go_on(&self, what: &str) {
        let copy = scratch();
        for file in self.files() {
            std::fs::copy(&file, copy.path().join(file.file_name().unwrap())).unwrap();
        }
        let config = Config {
            dir: copy.path().to_path_buf(),
            ..self.config.clone()
        };
        let Ok(mut journal) = Journal::open(&config) else {
            return;
        };
        let before = frames(copy.path(), &journal.recovered);
        let cut = inspect(copy.path(), Verify::Every).unwrap();
        assert_eq!(
            cut.tail,
            Tail::Clean,
            "{what}: the cut left something behind"
        );
        let index = journal.appender.last_index() + 1;
        let meta = FrameMeta {
            index,
            term: 9,
            ..FrameMeta::default()
        };
        journal.appender.append(&meta, &[b"one more"]).unwrap();
        journal.flusher.flush().unwrap();
        drop(journal);
        let again = inspect(copy.path(), Verify::Every).unwrap();
        assert_eq!(
            again.tail,
            Tail::Clean,
            "{what}: the cut left something behind"
        );
        let after = frames(copy.path(), &again);
        assert_eq!(after[..after.len() - 1], before, "{what}");
        assert_eq!(after.last().map(|last| last.index), Some(index), "{what}");
    }
}

/// `blank_stride` thins the flips in the unused rest of a file.
fn flip_every_byte(
    chain: Chain,
    since: Since,
    segments: u64,
    stride: usize,
    blank_stride: usize,
) -> Tally {
    let small = small_log(chain, segments, since);
    let mut tally = Tally::default();
    for path in small.files() {
        let file = File::options().write(true).open(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let used = bytes.iter().rposition(|&byte| byte != 0).unwrap() + 64;
        let near = (0..used.min(bytes.len())).step_by(stride);
        for at in near.chain((used..bytes.len()).step_by(stride * blank_stride)) {
            let what = format!(
                "{chain:?} {since:?}: byte {at} of {} flipped",
                path.display()
            );
            file.write_all_at(&[bytes[at] ^ (1 << (at % 8))], at as u64)
                .unwrap();
            small.judge(&what, &mut tally);
            if at % 509 == 0 {
                small.go_on(&what);
            }
            file.write_all_at(&bytes[at..=at], at as u64).unwrap();
        }
    }
    small.judge("restored", &mut Tally::default());
    tally
}

#[test]
fn flip_every_byte_of_one_segment_chained() {
    let tally = flip_every_byte(Chain::On, Since::PowerCut, 1, 1, 3);
    assert!(
        tally.cut >= 384 && tally.refused > 1000 && tally.same > 1000,
        "{tally:?}"
    );
}

#[test]
fn flip_every_byte_of_one_segment_unchained() {
    let tally = flip_every_byte(Chain::Off, Since::ProcessDeath, 1, 1, 11);
    assert!(
        tally.cut == 0 && tally.refused > 1500 && tally.same > 1000,
        "{tally:?}"
    );
}

#[test]
fn flip_bytes_of_two_segments() {
    for since in [Since::PowerCut, Since::ProcessDeath] {
        let tally = flip_every_byte(Chain::On, since, 2, 13, 3);
        assert!(tally.refused > 4000, "{tally:?}");
    }
}

#[test]
fn cut_at_every_offset() {
    for (chain, since) in [
        (Chain::On, Since::PowerCut),
        (Chain::Off, Since::ProcessDeath),
    ] {
        let small = small_log(chain, 2, since);
        let mut tally = Tally::default();
        for path in small.files() {
            let bytes = std::fs::read(&path).unwrap();
            let used = bytes.iter().rposition(|&byte| byte != 0).unwrap() + 1;
            let dull = if used > 62_000 { 5000..62_000 } else { 0..0 };
            for at in (0..used).filter(|at| !dull.contains(at) || at % 97 == 0) {
                // Two kinds of cut: the rest reads as zeros, or the file is shorter.
                let what = format!("{chain:?} {since:?}: {} zero from {at}", path.display());
                let mut zeroed = bytes.clone();
                zeroed[at..].fill(0);
                std::fs::write(&path, &zeroed).unwrap();
                small.judge(&what, &mut tally);
                if at % 509 == 0 {
                    small.go_on(&what);
                    std::fs::write(&path, &bytes[..at]).unwrap();
                    small.judge(&format!("{} cut to {at}", path.display()), &mut tally);
                    small.go_on(&what);
                }
            }
            std::fs::write(&path, &bytes).unwrap();
        }
        assert!(tally.refused > 1000, "{tally:?}");
        assert_eq!(tally.cut > 100, since == Since::PowerCut, "{tally:?}");
    }
}

#[test]
fn duplicate_every_line_at_every_place() {
    for (chain, since) in [(Chain::On, Since::PowerCut), (Chain::Off, Since::PowerCut)] {
        let small = small_log(chain, 1, since);
        let path = small.dir.path().join("00000000000000000000.log");
        let bytes = std::fs::read(&path).unwrap();
        let used = bytes.iter().rposition(|&byte| byte != 0).unwrap() / 64 + 1;
        let lines = 4096 / 64 - 1..used + 2;
        let mut tally = Tally::default();
        for (from, to) in lines
            .clone()
            .flat_map(|a| lines.clone().map(move |b| (a, b)))
        {
            let line = &bytes[from * 64..from * 64 + 64];
            let mut over = bytes.clone();
            over[to * 64..to * 64 + 64].copy_from_slice(line);
            let mut inserted = bytes.clone();
            inserted.splice(to * 64..to * 64, line.iter().copied());
            inserted.truncate(SEGMENT as usize);
            for (how, changed) in [("over", over), ("before", inserted)] {
                let what = format!("{chain:?}: line {from} copied {how} {to}");
                std::fs::write(&path, changed).unwrap();
                small.judge(&what, &mut tally);
                if (from * 31 + to) % 101 == 0 {
                    small.go_on(&what);
                }
            }
        }
        assert!(tally.cut > 100 && tally.refused > 100, "{tally:?}");
    }
}

#[test]
fn a_frame_torn_at_every_byte_is_cut_and_the_log_goes_on() {
    let small = small_log(Chain::On, 1, Since::PowerCut);
    let path = small.dir.path().join("00000000000000000000.log");
    let bytes = std::fs::read(&path).unwrap();
    let [.., before, last] = small.known.as_slice() else {
        panic!("there are frames")
    };
    let start = before.end.value() as usize;
    for at in start..last.end.value() as usize {
        let mut torn = bytes.clone();
        torn[at..].fill(0);
        std::fs::write(&path, &torn).unwrap();
        let recovered = inspect(small.dir.path(), Verify::Trust).unwrap();
        let nonzero = torn.iter().rposition(|&byte| byte != 0).unwrap() + 1;
        // Payload and padding end with bytes that may be zero by themselves.
        let whole = torn == bytes;
        let end = if whole { last.end } else { before.end };
        assert_eq!(recovered.appended, end, "torn at {at}");
        let wanted = match nonzero.saturating_sub(end.value() as usize) as u64 {
            0 => Tail::Clean,
            bytes => Tail::Torn { at: end, bytes },
        };
        assert_eq!(recovered.tail, wanted, "torn at {at}");
        small.go_on(&format!("torn at {at}"));
    }
}

#[test]
fn lost_files_are_missed_by_name() {
    for since in [Since::PowerCut, Since::ProcessDeath] {
        let small = small_log(Chain::On, 2, since);
        for path in small.files() {
            let bytes = std::fs::read(&path).unwrap();
            std::fs::remove_file(&path).unwrap();
            let outcome = inspect(small.dir.path(), Verify::Every);
            match path.file_name().unwrap() == "control" {
                true => assert_eq!(outcome.unwrap().frames, small.known.len() as u64),
                false => {
                    let error = outcome.unwrap_err();
                    assert!(matches!(error, JournalError::Corrupt { .. }), "{error}");
                }
            }
            std::fs::write(&path, bytes).unwrap();
        }
    }
}

/// What a power cut can take from a turn to the next segment.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lost {
    Name,
    Header,
    Frame,
    Mark,
}

#[test]
fn a_turn_of_segments_interrupted_at_any_step_is_cut_or_refused() {
    for since in [Since::PowerCut, Since::ProcessDeath] {
        for lost in [Lost::Name, Lost::Header, Lost::Frame, Lost::Mark] {
            let dir = scratch();
            let base = Config::new(dir.path(), LOG).with_segment_bytes(SEGMENT);
            let mut journal = Journal::create(&base).unwrap();
            for index in 1..=4 {
                let meta = FrameMeta {
                    index,
                    term: 1,
                    ..FrameMeta::default()
                };
                let bytes = if index == 4 { 2000 } else { 20_000 };
                journal
                    .appender
                    .append(&meta, &[&vec![index as u8; bytes]])
                    .unwrap();
                if index == 2 {
                    journal.flusher.flush().unwrap();
                }
            }
            let third_ends = journal.appender.position_of(3).unwrap().value() as usize + 20_096;
            assert!(journal.appender.position_of(4).unwrap().value() > SEGMENT);
            drop(journal);
            let (first, second) = (format!("{:020}.log", 0), format!("{SEGMENT:020}.log"));
            let (first, second) = (dir.path().join(first), dir.path().join(second));
            match lost {
                Lost::Name => std::fs::rename(&second, second.with_extension("staged")).unwrap(),
                Lost::Header => zero(&second, 0, 4096),
                Lost::Frame => zero(&second, 4096, 2112),
                Lost::Mark => zero(&first, third_ends, 64),
            }
            if since == Since::PowerCut {
                forget_boot(dir.path());
            }
            let what = format!("{since:?} {lost:?}");
            match (since, Journal::open(&base)) {
                (Since::ProcessDeath, Err(JournalError::Corrupt { index: 3, .. })) => {}
                (Since::PowerCut, Ok(mut journal)) => {
                    let recovered = &journal.recovered;
                    assert_eq!((recovered.frames, recovered.last_index), (3, 3), "{what}");
                    let clean = recovered.tail == Tail::Clean;
                    assert_eq!(clean, lost == Lost::Frame, "{what} {:?}", recovered.tail);
                    let meta = FrameMeta {
                        index: 4,
                        term: 2,
                        ..FrameMeta::default()
                    };
                    journal.appender.append(&meta, &[&[9; 10_000]]).unwrap();
                    journal.flusher.flush().unwrap();
                    drop(journal);
                    let found = inspect(dir.path(), Verify::Every).unwrap();
                    assert_eq!((found.frames, found.last_term), (4, 2), "{what}");
                    assert_eq!(found.tail, Tail::Clean, "{what}");
                }
                (_, other) => panic!("{what}: {other:?}"),
            }
        }
    }
}

fn zero(path: &Path, at: usize, bytes: usize) {
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(&vec![0; bytes], at as u64).unwrap();
}

#[test]
fn a_creation_interrupted_half_way_can_be_repeated() {
    let small = small_log(Chain::On, 1, Since::ProcessDeath);
    let dir = scratch();
    let config = Config {
        dir: dir.path().to_path_buf(),
        ..small.config.clone()
    };
    for leftover in [
        "lock",
        "00000000000000000000.staging",
        "00000000000000000000.staged",
    ] {
        std::fs::write(dir.path().join(leftover), vec![7; 5000]).unwrap();
        assert!(
            matches!(Journal::open(&config), Err(JournalError::Missing { .. })),
            "{leftover}"
        );
    }
    let journal = Journal::create(&config).unwrap();
    assert_eq!(
        (journal.recovered.frames, journal.recovered.tail),
        (0, Tail::Clean)
    );
    drop(journal);
    // The last step of a creation is the control page: a log without one is whole, and empty.
    std::fs::remove_file(dir.path().join("control")).unwrap();
    assert_eq!(Journal::open(&config).unwrap().recovered.frames, 0);
}
