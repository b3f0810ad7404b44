//! A log without a chain, of which an owner believes a part: opening looks at what comes after, and at all of it
//! wherever that does not do.

#![allow(clippy::unwrap_used)] // A test may fail where it stands.

use std::path::{Path, PathBuf};

use exahour_journal::{
    Chain, Config, FrameMeta, Journal, LogId, OnDamage, Position, Reader, Verify,
};

const SEGMENT_BYTES: u64 = 64 << 10;
const FRAMES: u64 = 30;

fn config(dir: &Path, chain: Chain, believed_before: Position) -> Config {
    Config {
        chain,
        on_damage: OnDamage::SetAside,
        believed_before,
        ..Config::new(dir, LogId([5; 16])).with_segment_bytes(SEGMENT_BYTES)
    }
}

/// A log of 30 frames, three to a segment, all of it flushed; where each begins.
fn log(dir: &Path, chain: Chain) -> Vec<Position> {
    let mut journal = Journal::create(&config(dir, chain, Position::ZERO)).unwrap();
    for index in 1..=FRAMES {
        append(&mut journal, index);
    }
    journal.flusher.flush().unwrap();
    let position = |index| journal.appender.position_of(index).unwrap();
    (1..=FRAMES).map(position).collect()
}

fn append(journal: &mut Journal, index: u64) {
    let meta = FrameMeta {
        index,
        term: 1,
        ..FrameMeta::default()
    };
    journal.appender.append(&meta, &[&[9; 20_000]]).unwrap();
}

fn segment(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{:020}.log", number * SEGMENT_BYTES))
}

/// Turns a bit of the frame that begins at a position.
fn damage(dir: &Path, position: Position) {
    let path = segment(dir, position.value() / SEGMENT_BYTES);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[(position.value() % SEGMENT_BYTES) as usize + 1_000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
}

#[test]
fn what_stands_before_is_not_looked_at_and_the_log_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let positions = log(dir.path(), Chain::Off);
    damage(dir.path(), positions[1]);
    let believing = config(dir.path(), Chain::Off, positions[24]);
    let mut journal = Journal::open(&believing).unwrap();
    let recovered = &journal.recovered;
    assert_eq!(recovered.damage, None);
    assert_eq!(
        (recovered.first, recovered.last_index),
        (Position::ZERO, FRAMES)
    );
    let last = journal.appender.position_of(FRAMES);
    assert_eq!(last, positions.last().copied());
    append(&mut journal, FRAMES + 1);
    journal.flusher.flush().unwrap();
    drop(journal);
    // Whoever reads it is told, and so is an opening that believes nothing.
    let mut reader = Reader::follow(dir.path(), Verify::Every).unwrap();
    reader.next(Position::new(u64::MAX)).unwrap().unwrap();
    assert!(reader.next(Position::new(u64::MAX)).is_err());
    let journal = Journal::open(&config(dir.path(), Chain::Off, Position::ZERO)).unwrap();
    let damage = journal.recovered.damage.unwrap();
    assert_eq!((damage.position, damage.index), (positions[1], 2));
    assert_eq!(journal.recovered.last_index, 1);
}

#[test]
fn damage_behind_is_found_and_told_as_ever() {
    let dir = tempfile::tempdir().unwrap();
    let positions = log(dir.path(), Chain::Off);
    damage(dir.path(), positions[26]);
    let believing = config(dir.path(), Chain::Off, positions[24]);
    let journal = Journal::open(&believing).unwrap();
    let damage = journal.recovered.damage.as_ref().unwrap();
    assert_eq!((damage.position, damage.index), (positions[26], 27));
    assert_eq!(damage.last_known, Some(FRAMES));
    assert_eq!(journal.recovered.last_index, 26);
}

#[test]
fn a_belief_that_does_not_fit_the_log_is_none() {
    for believed in [Position::new(1 << 40), Position::new(u64::MAX - 63)] {
        let dir = tempfile::tempdir().unwrap();
        let positions = log(dir.path(), Chain::Off);
        damage(dir.path(), positions[1]);
        let journal = Journal::open(&config(dir.path(), Chain::Off, believed)).unwrap();
        assert_eq!(journal.recovered.damage.unwrap().position, positions[1]);
    }
    // A segment before it is gone.
    let dir = tempfile::tempdir().unwrap();
    let positions = log(dir.path(), Chain::Off);
    std::fs::remove_file(segment(dir.path(), 3)).unwrap();
    let believing = config(dir.path(), Chain::Off, positions[24]);
    let journal = Journal::open(&believing).unwrap();
    assert_eq!(journal.recovered.damage.unwrap().index, 10);
}

#[test]
fn a_log_with_a_chain_is_always_read_whole() {
    let dir = tempfile::tempdir().unwrap();
    let positions = log(dir.path(), Chain::On);
    damage(dir.path(), positions[1]);
    let journal = Journal::open(&config(dir.path(), Chain::On, positions[24])).unwrap();
    assert_eq!(journal.recovered.damage.unwrap().position, positions[1]);
}
