//! Every refusal names its place and its remedy, and leaves everything as it was.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use exahour_journal::{
    Chain, Config, FlushBody, FrameMeta, Journal, JournalError, KIND_RESERVED_FIRST, LogId,
    Position, Reader, Verify, inspect,
};

const ALL: Position = Position::new(u64::MAX);

fn config(dir: &Path) -> Config {
    Config::new(dir, LogId([2; 16])).with_segment_bytes(64 << 10)
}

fn meta(index: u64) -> FrameMeta {
    FrameMeta {
        index,
        term: 1,
        ..FrameMeta::default()
    }
}

/// Checks that an error's text holds all of some words.
fn says(error: JournalError, words: &[&str]) {
    let text = error.to_string();
    assert!(
        words.iter().all(|word| text.contains(word)),
        "{text:?} lacks one of {words:?}"
    );
}

#[test]
fn folders_that_hold_no_log() {
    let dir = tempfile::tempdir().unwrap();
    let absent = dir.path().join("absent");
    let name = absent.to_str().unwrap();
    says(
        Journal::open(&config(&absent)).unwrap_err(),
        &[name, "create"],
    );
    says(
        Reader::follow(&absent, Verify::Every).unwrap_err(),
        &[name, "create"],
    );
    says(
        inspect(&absent, Verify::Every).unwrap_err(),
        &[name, "create"],
    );
    assert!(!absent.exists(), "looking makes nothing");
    says(
        Journal::create(&config(&absent.join("deeper"))).unwrap_err(),
        &[name, "exists"],
    );
    says(
        Journal::open(&config(dir.path())).unwrap_err(),
        &["no journal", "create"],
    );
    // Nobody can make files in here, not even root.
    let error = Journal::create(&config(Path::new("/sys/exahour"))).unwrap_err();
    says(error, &["/sys/exahour", "writable"]);
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    says(
        Journal::create(&config(&file)).unwrap_err(),
        &[file.to_str().unwrap(), "folder"],
    );
}

#[test]
fn logs_that_are_not_the_one_meant() {
    let dir = tempfile::tempdir().unwrap();
    drop(Journal::create(&config(dir.path())).unwrap());
    let base = config(dir.path());
    says(Journal::create(&base).unwrap_err(), &["open it instead"]);
    let other = Config {
        log_id: LogId([3; 16]),
        ..base.clone()
    };
    says(
        Journal::open(&other).unwrap_err(),
        &["02020202", "03030303", "right folder"],
    );
    let larger = base.clone().with_segment_bytes(128 << 10);
    says(
        Journal::open(&larger).unwrap_err(),
        &["segment_bytes", "65536", "131072"],
    );
    let unchained = Config {
        chain: Chain::Off,
        ..base.clone()
    };
    says(Journal::open(&unchained).unwrap_err(), &["chain"]);
    std::fs::write(dir.path().join("00000000000000000000.log.bak"), "x").unwrap();
    says(Journal::open(&base).unwrap_err(), &["log.bak", "move it"]);
    std::fs::remove_file(dir.path().join("00000000000000000000.log.bak")).unwrap();
    assert!(Journal::open(&base).is_ok(), "the refusals changed nothing");
}

#[test]
fn appends_out_of_order_or_too_large() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(&config(dir.path())).unwrap();
    let end = journal.appender.append(&meta(5), &[b"five"]).unwrap();
    says(
        journal.appender.append(&meta(7), &[]).unwrap_err(),
        &["7", "6", "order"],
    );
    let kind = KIND_RESERVED_FIRST;
    let reserved = FrameMeta { kind, ..meta(6) };
    says(
        journal.appender.append(&reserved, &[]).unwrap_err(),
        &["254"],
    );
    let large = vec![0; 61_377];
    says(
        journal.appender.append(&meta(6), &[&large]).unwrap_err(),
        &["61441", "61440", "split"],
    );
    assert_eq!(journal.appender.appended(), end);
    journal.appender.append(&meta(6), &[&large[1..]]).unwrap();
    assert_eq!(journal.appender.late_stages(), 1);
}

#[test]
fn reads_outside_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(&config(dir.path())).unwrap();
    for index in 1..=10 {
        journal
            .appender
            .append(&meta(index), &[&[0; 20_000]])
            .unwrap();
    }
    let mut reader = Reader::follow(dir.path(), Verify::Every).unwrap();
    let held = reader.next_ref(ALL).unwrap().unwrap();
    let end = reader.appended();
    says(reader.frame_at(end).unwrap_err(), &["beyond"]);
    says(
        reader.seek(Position::new(end.value() + 64)).unwrap_err(),
        &["beyond"],
    );
    for inside in [0, 64, 4096 + 1, 4096 + 64] {
        assert!(
            reader.frame_at(Position::new(inside)).is_err(),
            "no frame starts at {inside}"
        );
    }
    let last = journal.appender.position_of(10).unwrap();
    assert_eq!(
        journal.appender.release_before(last),
        0,
        "nothing is flushed yet"
    );
    journal.flusher.flush().unwrap();
    assert!(journal.appender.release_before(last) >= 3);
    assert_eq!(journal.appender.position_of(1), None);
    journal.stager.finish().unwrap();
    reader.seek(Position::new(4096)).unwrap();
    let again = reader.next(ALL).unwrap().unwrap();
    assert_eq!(
        again.header.index, 1,
        "the reader still has the segment mapped"
    );
    assert_eq!(
        held.payload(),
        [0; 20_000],
        "a held frame outlives its file"
    );
    let mut late = Reader::follow(dir.path(), Verify::Every).unwrap();
    let below = late.seek(Position::new(4096)).unwrap_err();
    says(below, &["released", "snapshot"]);
    assert_eq!(late.seek_index(10).unwrap(), Some(last));
    assert_eq!(late.seek_index(1).unwrap(), None);
    drop(journal);
    let journal = Journal::open(&config(dir.path())).unwrap();
    assert_eq!(journal.appender.position_of(10), Some(last));
}

#[test]
fn a_full_disk_refuses_new_segments_and_keeps_what_it_has() {
    let mount = tempfile::tempdir().unwrap();
    let Some(_guard) = SmallDisk::mount(mount.path()) else {
        eprintln!("skipped: mounting a small file system needs root");
        return;
    };
    for flush in [FlushBody::Pwrite, FlushBody::Map] {
        let dir = mount.path().join(format!("{flush:?}"));
        let config = Config {
            flush,
            ..config(&dir)
        };
        let mut journal = Journal::create(&config).unwrap();
        let filler = mount.path().join("filler");
        fill(&filler);
        let mut index = 0;
        let refusal = loop {
            match journal
                .appender
                .append(&meta(index + 1), &[&[index as u8; 1000]])
            {
                Ok(_) => index += 1,
                Err(error) => break error,
            }
        };
        assert!(index > 50, "the staged segment was used up first");
        assert!(
            matches!(refusal, JournalError::DiskFull { need: 1.., .. }),
            "{refusal}"
        );
        says(refusal, &[dir.to_str().unwrap(), "free some space"]);
        assert!(matches!(
            journal.stager.do_work(),
            Err(JournalError::DiskFull { .. })
        ));
        // What still fits the live segment goes on, and everything can be flushed and read.
        index += 1;
        journal.appender.append(&meta(index), &[]).unwrap();
        assert_eq!(
            journal.flusher.flush().unwrap(),
            journal.appender.appended()
        );
        assert_eq!(inspect(&dir, Verify::Every).unwrap().frames, index);
        let refused = journal.appender.append(&meta(index + 1), &[&[1; 5000]]);
        assert!(matches!(refused, Err(JournalError::DiskFull { .. })));
        // Space comes back: the same append works, without reopening.
        std::fs::remove_file(&filler).unwrap();
        journal
            .appender
            .append(&meta(index + 1), &[&[1; 5000]])
            .unwrap();
        journal.flusher.flush().unwrap();
        drop(journal);
        let journal = Journal::open(&config).unwrap();
        assert_eq!(journal.recovered.frames, index + 1);
        drop(journal);
        std::fs::remove_dir_all(&dir).unwrap();
        fill(&filler);
        let refused = Journal::create(&config);
        assert!(
            matches!(refused, Err(JournalError::DiskFull { .. })),
            "{refused:?}"
        );
        std::fs::remove_file(&filler).unwrap();
        drop(Journal::create(&config).unwrap());
    }
}

/// Takes all space that is left.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).unwrap();
    while file.write(&[1; 4096]).is_ok_and(|written| written > 0) {}
}

/// A file system in memory of 256 KiB, unmounted at the end.
struct SmallDisk(std::ffi::CString);

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        let at = std::ffi::CString::new(at.to_str().unwrap()).unwrap();
        let (kind, options) = (c"tmpfs", c"size=256k");
        // SAFETY: all five are valid C strings for the length of the call.
        let result = unsafe {
            libc::mount(
                kind.as_ptr(),
                at.as_ptr(),
                kind.as_ptr(),
                0,
                options.as_ptr().cast(),
            )
        };
        (result == 0).then_some(SmallDisk(at))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // SAFETY: the path is a valid C string; detaching cannot touch memory of this process.
        unsafe { libc::umount2(self.0.as_ptr(), libc::MNT_DETACH) };
    }
}
