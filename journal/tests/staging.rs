//! Staging keeps ahead of the log, and not further than it must.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use exahour_journal::{
    Config, FrameMeta, Journal, LogId, STAGE_BYTES_BEHIND, STAGE_BYTES_PER_TURN,
};

const SEGMENT_BYTES: u64 = 16 << 20;
const PAYLOAD: [u8; 8_000] = [7; 8_000];

/// Bytes of the next segment that are written, finished or not.
fn staged(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let next = entries.filter(|entry| {
        let path = entry.path();
        path.extension()
            .is_some_and(|ending| ending == "staging" || ending == "staged")
    });
    next.map(|entry| entry.metadata().unwrap().len()).sum()
}

fn turn_until_idle(journal: &mut Journal) {
    while journal.stager.do_work().unwrap() > 0 {}
}

#[test]
fn an_idle_log_is_staged_a_little_and_a_busy_one_twice_as_fast_as_it_fills() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path(), LogId([4; 16])).with_segment_bytes(SEGMENT_BYTES);
    let mut journal = Journal::create(&config).unwrap();
    turn_until_idle(&mut journal);
    let head_start = SEGMENT_BYTES / 16;
    let begun = staged(dir.path());
    assert!((head_start..=head_start + STAGE_BYTES_PER_TURN).contains(&begun));
    let mut index = 0;
    let mut halfway = 0;
    while journal.appender.appended().value() < 3 * SEGMENT_BYTES {
        index += 1;
        let meta = FrameMeta {
            index,
            term: 1,
            ..FrameMeta::default()
        };
        let appended = journal.appender.append(&meta, &[&PAYLOAD]).unwrap().value();
        turn_until_idle(&mut journal);
        // A segment that is just full has not been left yet.
        let filled = (appended - 1) % SEGMENT_BYTES + 1;
        let ahead = (head_start + 2 * filled).min(SEGMENT_BYTES);
        let found = staged(dir.path());
        assert!(found >= ahead, "{found} staged at {appended}");
        let most = (ahead + STAGE_BYTES_PER_TURN).min(SEGMENT_BYTES);
        assert!(
            found <= most,
            "{found} staged at {appended}, at most {most}"
        );
        halfway += u64::from(found == SEGMENT_BYTES);
    }
    assert!(halfway > index / 3, "ready {halfway} times of {index}");
    assert_eq!(journal.appender.late_stages(), 0);
}

/// A log that fills faster than pieces of the usual size are flushed.
#[test]
fn whoever_is_far_behind_stages_larger_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path(), LogId([4; 16])).with_segment_bytes(SEGMENT_BYTES);
    let mut journal = Journal::create(&config).unwrap();
    turn_until_idle(&mut journal);
    let mut index = 0;
    let mut append_up_to = |journal: &mut Journal, end: u64| {
        while journal.appender.appended().value() < end {
            index += 1;
            let meta = FrameMeta {
                index,
                term: 1,
                ..FrameMeta::default()
            };
            journal.appender.append(&meta, &[&PAYLOAD]).unwrap();
        }
    };
    append_up_to(&mut journal, SEGMENT_BYTES / 64);
    let usual = journal.stager.do_work().unwrap() as u64;
    assert_eq!(usual, STAGE_BYTES_PER_TURN);
    append_up_to(&mut journal, SEGMENT_BYTES / 2);
    let larger = journal.stager.do_work().unwrap() as u64;
    assert_eq!(larger, STAGE_BYTES_BEHIND);
    // The stager is not turned any more: the appender does the rest.
    append_up_to(&mut journal, 5 * SEGMENT_BYTES / 2);
    assert_eq!(journal.appender.late_stages(), 2);
}
