//! Other processes: followers of a live log, writers killed at random moments, a second writer.
//!
//! The helpers run as this same test program, called again with a role in its environment.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use exahour_journal::{
    Config, FlushBody, FrameMeta, Journal, JournalError, LogId, Position, Reader, Tail, Verify,
    inspect,
};
use rand::{Rng, RngExt, SeedableRng};

const ROLE: &str = "JOURNAL_TEST_ROLE";
const DIR: &str = "JOURNAL_TEST_DIR";
const ALL: Position = Position::new(u64::MAX);

fn config(dir: &Path, flush: FlushBody) -> Config {
    Config {
        flush,
        ..Config::new(dir, LogId([4; 16])).with_segment_bytes(64 << 10)
    }
}

fn payload(index: u64) -> Vec<u8> {
    (0..index % 400).map(|at| (at ^ index) as u8).collect()
}

fn append(journal: &mut Journal, index: u64) -> Position {
    let meta = FrameMeta {
        index,
        term: 1,
        count: 1,
        ..FrameMeta::default()
    };
    journal.appender.append(&meta, &[&payload(index)]).unwrap()
}

/// Starts this program again so that it runs only the named helper.
fn helper(name: &str, role: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(DIR, dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The folder, if this process was started for the role.
fn folder_for(role: &str) -> Option<PathBuf> {
    let mine = std::env::var(ROLE).is_ok_and(|given| given == role);
    mine.then(|| PathBuf::from(std::env::var(DIR).unwrap()))
}

/// Follows a live log to index 5000 and reports how many frames it read.
#[test]
fn helper_follower() {
    let Some(dir) = folder_for("follower") else {
        return;
    };
    let mut reader = Reader::follow(dir, Verify::Every).unwrap();
    println!("\nready");
    let mut next = 1;
    while next <= 5000 {
        match reader.next(ALL).unwrap() {
            Some(frame) => {
                assert_eq!(frame.header.index, next);
                assert_eq!(frame.payload, payload(next));
                next += 1;
            }
            None => std::thread::yield_now(),
        }
    }
    while reader.commit() < 5000 {
        std::thread::yield_now();
    }
    println!("\nfollowed {}", next - 1);
}

#[test]
fn a_follower_in_another_process_sees_every_frame_of_a_live_writer() {
    for flush in [FlushBody::Pwrite, FlushBody::Map] {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(&config(dir.path(), flush)).unwrap();
        append(&mut journal, 1);
        let mut child = helper("helper_follower", "follower", dir.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.by_ref().any(|line| line.unwrap() == "ready"));
        for index in 2..=5000 {
            append(&mut journal, index);
            if index % 64 == 0 {
                journal.stager.do_work().unwrap();
            }
        }
        journal.appender.publish_commit(5000);
        assert!(lines.any(|line| line.unwrap() == "followed 5000"));
        assert!(child.wait().unwrap().success());
    }
}

/// Appends until killed, reporting each index after it became visible, and each durable index.
#[test]
fn helper_writer() {
    let role = [
        ("writer Pwrite", FlushBody::Pwrite),
        ("writer Map", FlushBody::Map),
    ];
    let found = role
        .into_iter()
        .find_map(|(role, flush)| Some((folder_for(role)?, flush)));
    let Some((dir, flush)) = found else { return };
    let mut journal = Journal::open_or_create(&config(&dir, flush)).unwrap();
    let mut out = std::io::stdout().lock();
    writeln!(out).unwrap();
    for index in journal.appender.last_index() + 1.. {
        append(&mut journal, index);
        // Eight bytes and a newline in one write: never seen in part.
        out.write_all(format!("{index:016}\n").as_bytes()).unwrap();
        out.flush().unwrap();
        if index % 50 == 0 {
            journal.flusher.flush().unwrap();
        }
        if index % 16 == 0 {
            journal.stager.do_work().unwrap();
        }
    }
}

#[test]
fn a_killed_writer_loses_no_visible_frame() {
    let seed: u64 = rand::rng().next_u64();
    eprintln!("seed {seed}");
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    for (role, flush) in [
        ("writer Pwrite", FlushBody::Pwrite),
        ("writer Map", FlushBody::Map),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut reported = 0;
        for round in 0..12 {
            let mut child = helper("helper_writer", role, dir.path());
            let mut output = BufReader::new(child.stdout.take().unwrap());
            let enough = reported + random.random_range(1..1500u64);
            let mut line = String::new();
            while reported < enough {
                line.clear();
                assert!(
                    output.read_line(&mut line).unwrap() > 0,
                    "the writer ended by itself"
                );
                reported = index_in(&line).unwrap_or(reported);
            }
            child.kill().unwrap();
            child.wait().unwrap();
            let mut rest = String::new();
            output.read_to_string(&mut rest).unwrap();
            reported = rest
                .lines()
                .filter_map(index_in)
                .max()
                .unwrap_or(reported)
                .max(reported);

            let journal = Journal::open(&config(dir.path(), flush)).unwrap();
            let last = journal.recovered.last_index;
            assert!(
                last >= reported,
                "seed {seed} round {round}: {last} of {reported}"
            );
            assert!(
                last <= reported + 1,
                "seed {seed} round {round}: {last} of {reported}"
            );
            let mut reader = Reader::follow(dir.path(), Verify::Every).unwrap();
            for index in 1..=last {
                let frame = reader.next(ALL).unwrap().unwrap();
                assert_eq!(frame.payload, payload(index), "seed {seed} round {round}");
            }
            drop(journal);
            assert_eq!(
                inspect(dir.path(), Verify::Every).unwrap().tail,
                Tail::Clean
            );
        }
    }
}

fn index_in(line: &str) -> Option<u64> {
    let digits = line.trim_end();
    (digits.len() == 16).then(|| digits.parse().ok()).flatten()
}

/// Tries to open a log that the parent holds.
#[test]
fn helper_second_writer() {
    let Some(dir) = folder_for("second writer") else {
        return;
    };
    let error = Journal::open(&config(&dir, FlushBody::Pwrite)).unwrap_err();
    assert!(matches!(&error, JournalError::Locked { path } if *path == dir));
    println!("\nrefused");
}

#[test]
fn a_second_writer_is_refused_here_and_in_another_process() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), FlushBody::Pwrite);
    let journal = Journal::create(&config).unwrap();
    assert!(matches!(
        Journal::open(&config),
        Err(JournalError::Locked { .. })
    ));
    let child = helper("helper_second_writer", "second writer", dir.path());
    let output = child.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("refused"));
    drop(journal);
    // A child that another test has just forked holds a copy of the lock until it runs its own program.
    let until = Instant::now() + Duration::from_secs(10);
    while let Err(error) = Journal::open(&config) {
        assert!(matches!(error, JournalError::Locked { .. }), "{error}");
        assert!(Instant::now() < until, "the lock is still held");
        std::thread::yield_now();
    }
}
