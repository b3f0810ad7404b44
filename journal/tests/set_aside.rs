//! A damaged log whose owner has others to ask: it is cut at the damage, what follows is kept, and a crash
//! at any call on the way changes nothing of that.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use exahour_journal::disk::{Disk, DiskFile, DiskLock, Entry, FileMap, Mode, Open, SystemDisk};
use exahour_journal::{
    Config, Damage, FrameMeta, Journal, JournalError, LogId, MachineRun, OnDamage, Position,
    Reader, Verify,
};

const SEGMENT: u64 = 64 << 10;
const LAST: u64 = 14;
const ALL: Position = Position::new(u64::MAX);

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

fn config(dir: &Path, on_damage: OnDamage) -> Config {
    Config {
        on_damage,
        verify: Verify::Every,
        ..Config::new(dir, LogId([5; 16])).with_segment_bytes(SEGMENT)
    }
}

fn append(journal: &mut Journal, index: u64) {
    let meta = FrameMeta {
        index,
        term: 3,
        ..FrameMeta::default()
    };
    let payload = vec![index as u8; 20_000];
    journal.appender.append(&meta, &[&payload]).unwrap();
}

/// Five segments, three frames in each but two in the last, all of them flushed.
fn written() -> tempfile::TempDir {
    let dir = scratch();
    let mut journal = Journal::create(&config(dir.path(), OnDamage::Refuse)).unwrap();
    for index in 1..=LAST {
        append(&mut journal, index);
        journal.flusher.flush().unwrap();
    }
    dir
}

fn segment(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{:020}.log", number * SEGMENT))
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// One way to be damaged.
struct Case {
    what: &'static str,
    damage: fn(&Path),
    /// The last index before the damage.
    good: u64,
    last_known: Option<u64>,
}

/// Frames 7, 8 and 9 stand in the third segment, number 2.
const CASES: &[Case] = &[
    Case {
        what: "a bit flips in a sealed frame",
        damage: |dir| change(&segment(dir, 2), |bytes| bytes[4096 + 20_064 + 900] ^= 4),
        good: 7,
        last_known: Some(LAST),
    },
    Case {
        what: "a page is zeroed",
        damage: |dir| change(&segment(dir, 2), |bytes| bytes[8192..12_288].fill(0)),
        good: 6,
        last_known: Some(LAST),
    },
    Case {
        what: "a middle segment is missing",
        damage: |dir| fs::remove_file(segment(dir, 2)).unwrap(),
        good: 6,
        last_known: Some(LAST),
    },
    Case {
        what: "a header is damaged",
        damage: |dir| change(&segment(dir, 2), |bytes| bytes[40] ^= 1),
        good: 6,
        last_known: Some(LAST),
    },
    Case {
        what: "a file is cut short",
        damage: |dir| change(&segment(dir, 2), |bytes| bytes.truncate(9_000)),
        good: 6,
        last_known: Some(LAST),
    },
    Case {
        what: "the last segment is lost",
        damage: |dir| fs::remove_file(segment(dir, 4)).unwrap(),
        good: 12,
        last_known: None,
    },
    Case {
        what: "the last frame is damaged",
        damage: |dir| change(&segment(dir, 4), |bytes| bytes[4096 + 20_064 + 77] ^= 1),
        good: 13,
        last_known: None,
    },
    Case {
        what: "an end mark is damaged",
        damage: |dir| change(&segment(dir, 1), |bytes| bytes[4096 + 3 * 20_096 + 8] ^= 1),
        good: 6,
        last_known: Some(LAST),
    },
    Case {
        what: "the first header is damaged",
        damage: |dir| change(&segment(dir, 0), |bytes| bytes[40] ^= 1),
        good: 0,
        last_known: Some(LAST),
    },
    Case {
        what: "the first segment is missing",
        damage: |dir| fs::remove_file(segment(dir, 0)).unwrap(),
        good: 0,
        last_known: Some(LAST),
    },
    Case {
        what: "all segments are missing",
        damage: |dir| (0..5).for_each(|number| fs::remove_file(segment(dir, number)).unwrap()),
        good: 0,
        last_known: None,
    },
];

/// All files in a folder and what they hold, by name; without the marks, which every open renews.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_file() && name.ends_with(".log") {
            found.push((name, fs::read(path).unwrap()));
        }
    }
    found.sort();
    found
}

fn copy_of(dir: &Path) -> tempfile::TempDir {
    let copy = scratch();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

/// The only folder of copies, by its ending.
fn copies(dir: &Path) -> PathBuf {
    let folders = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut folders: Vec<_> = folders.filter(|path| path.is_dir()).collect();
    assert_eq!(folders.len(), 1, "{folders:?}");
    folders.remove(0)
}

fn indices(dir: &Path) -> Vec<u64> {
    let mut reader = Reader::follow(dir, Verify::Every).unwrap();
    let mut found = Vec::new();
    while let Some(frame) = reader.next(ALL).unwrap() {
        assert!(
            frame
                .payload
                .iter()
                .all(|&byte| byte == frame.header.index as u8)
        );
        found.push(frame.header.index);
    }
    found
}

/// Checks a log that was opened, whatever came before; `found` is what its folder held when it was damaged.
fn judge(case: &Case, dir: &Path, journal: &Journal, found: &[(String, Vec<u8>)]) -> Damage {
    let what = case.what;
    let damage = journal.recovered.damage.clone();
    let damage = damage.unwrap_or_else(|| panic!("{what}: nothing is told"));
    assert_eq!(damage.index, case.good + 1, "{what}");
    assert_eq!(damage.last_known, case.last_known, "{what}");
    assert_eq!(journal.recovered.last_index, case.good, "{what}");
    assert_eq!(indices(dir), (1..=case.good).collect::<Vec<_>>(), "{what}");
    let folder = copies(dir);
    let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
    let wanted = format!("damaged-{:020}", damage.position.value());
    assert_eq!(name.split('.').next(), Some(wanted.as_str()), "{what}");
    let kept = files(&folder);
    let lost = found.len() - kept.len();
    assert_eq!(
        kept,
        found[lost..],
        "{what}: whole copies from the damage on"
    );
    let cut = format!("{:020}.log", damage.position.value());
    let before = found[..lost].iter().all(|(name, _)| *name < cut);
    assert!(before, "{what}: what is not copied lies before the damage");
    damage
}

#[test]
fn a_log_is_cut_at_its_damage_and_the_rest_is_kept() {
    let whole = written();
    for case in CASES {
        let dir = copy_of(whole.path());
        (case.damage)(dir.path());
        let found = files(dir.path());
        let refused = Journal::open(&config(dir.path(), OnDamage::Refuse))
            .err()
            .unwrap();
        let named = matches!(
            refused,
            JournalError::Corrupt { .. } | JournalError::WrongSize { .. }
        );
        assert!(named, "{}: {refused}", case.what);
        assert_eq!(
            files(dir.path()),
            found,
            "{}: nothing was changed",
            case.what
        );

        let settings = config(dir.path(), OnDamage::SetAside);
        let journal = Journal::open(&settings).unwrap();
        let damage = judge(case, dir.path(), &journal, &found);
        drop(journal);
        let refused = Journal::open(&config(dir.path(), OnDamage::Refuse))
            .err()
            .unwrap();
        assert!(refused.to_string().contains("was cut here"), "{refused}");

        // It is told until the owner knows, and the log goes on meanwhile.
        let mut journal = Journal::open(&settings).unwrap();
        assert_eq!(journal.recovered.damage, Some(damage));
        append(&mut journal, case.good + 1);
        journal.flusher.flush().unwrap();
        journal.told().unwrap();
        assert_eq!(copies(dir.path()).extension(), None);
        drop(journal);
        let journal = Journal::open(&config(dir.path(), OnDamage::Refuse)).unwrap();
        assert_eq!(journal.recovered.damage, None);
        let all: Vec<_> = (1..=case.good + 1).collect();
        assert_eq!(indices(dir.path()), all, "{}", case.what);
    }
}

#[test]
fn a_crash_at_any_call_changes_nothing() {
    let whole = written();
    for case in CASES {
        let damaged = copy_of(whole.path());
        (case.damage)(damaged.path());
        let found = files(damaged.path());
        let mut calls = 0;
        loop {
            let dir = copy_of(damaged.path());
            let settings = config(dir.path(), OnDamage::SetAside);
            let dying = Config {
                disk: Arc::new(DyingDisk(Arc::new(AtomicI64::new(calls)))),
                ..settings.clone()
            };
            let survived = Journal::open(&dying).is_ok();
            let journal = Journal::open(&settings)
                .unwrap_or_else(|error| panic!("{}, after call {calls}: {error}", case.what));
            judge(case, dir.path(), &journal, &found);
            if survived {
                break;
            }
            calls += 1;
        }
        assert!(calls > 30, "{}: only {calls} calls", case.what);
    }
}

/// Opens a log whose owner wants nothing of an index and what follows, as often as that takes.
fn open_without(settings: &Config, index: u64) -> Journal {
    for _ in 0..2 {
        let journal = Journal::open(settings).unwrap();
        if journal.recovered.last_index < index {
            return journal;
        }
        journal.told().unwrap();
        drop(journal);
        Journal::set_aside_from(settings, index, "it was lost").unwrap();
    }
    Journal::open(settings).unwrap()
}

#[test]
fn a_log_that_is_whole_is_cut_where_its_owner_says() {
    let whole = written();
    let found = files(whole.path());
    for index in 1..=LAST + 1 {
        let dir = copy_of(whole.path());
        let settings = config(dir.path(), OnDamage::SetAside);
        Journal::set_aside_from(&settings, index, "it was lost").unwrap();
        let mut journal = Journal::open(&settings).unwrap();
        let before: Vec<_> = (1..index).collect();
        assert_eq!(indices(dir.path()), before);
        let damage = journal.recovered.damage.clone();
        if index > LAST {
            assert_eq!(damage, None);
            assert_eq!(files(dir.path()), found);
            continue;
        }
        let damage = damage.unwrap();
        assert_eq!((damage.index, damage.last_known), (index, Some(LAST)));
        assert_eq!(damage.why, "it was lost");
        let kept = files(&copies(dir.path()));
        assert_eq!(kept, found[found.len() - kept.len()..], "from {index} on");
        journal.told().unwrap();
        append(&mut journal, index);
        journal.flusher.flush().unwrap();
        drop(journal);
        Journal::open(&settings).unwrap();
        assert_eq!(indices(dir.path()), (1..=index).collect::<Vec<_>>());
    }
}

#[test]
fn a_crash_at_any_call_of_such_a_cut_changes_nothing() {
    let whole = written();
    for index in [1, 4, 8, 9, LAST] {
        let mut calls = 0;
        loop {
            let dir = copy_of(whole.path());
            let settings = config(dir.path(), OnDamage::SetAside);
            let dying = Config {
                disk: Arc::new(DyingDisk(Arc::new(AtomicI64::new(calls)))),
                ..settings.clone()
            };
            let survived = Journal::set_aside_from(&dying, index, "it was lost").is_ok();
            let journal = open_without(&settings, index);
            assert_eq!(journal.recovered.last_index, index - 1, "call {calls}");
            let before: Vec<_> = (1..index).collect();
            assert_eq!(indices(dir.path()), before, "call {calls}");
            if survived {
                break;
            }
            calls += 1;
        }
        assert!(calls > 20, "from {index} on: only {calls} calls");
    }
}

/// A full disk needs room for one segment only: those behind it are moved, not copied.
#[test]
fn what_stands_behind_the_damage_takes_no_room() {
    let dir = written();
    (CASES[0].damage)(dir.path());
    let file = |path: &Path| fs::metadata(path).unwrap().ino();
    let behind = [3, 4].map(|number| file(&segment(dir.path(), number)));
    Journal::open(&config(dir.path(), OnDamage::SetAside)).unwrap();
    let kept = copies(dir.path());
    assert_eq!([3, 4].map(|number| file(&segment(&kept, number))), behind);
}

/// The same place is damaged once more, after the log had been made whole again.
#[test]
fn the_same_place_can_be_damaged_again() {
    let dir = written();
    let settings = config(dir.path(), OnDamage::SetAside);
    for name in ["", "2", "3"] {
        (CASES[0].damage)(dir.path());
        let mut journal = Journal::open(&settings).unwrap();
        assert_eq!(journal.recovered.damage.as_ref().unwrap().index, 8);
        journal.told().unwrap();
        for index in 8..=LAST {
            append(&mut journal, index);
        }
        journal.flusher.flush().unwrap();
        let position = journal.recovered.damage.unwrap().position.value();
        let folder = dir.path().join(format!("damaged-{position:020}"));
        assert!(folder.with_extension(name).is_dir(), "{name}");
    }
    assert_eq!(indices(dir.path()), (1..=LAST).collect::<Vec<_>>());
}

/// A restart of the machine is told until the owner knows, too, though every open renews the marks.
#[test]
fn a_restart_of_the_machine_is_told_until_it_is_known() {
    for on_damage in [OnDamage::SetAside, OnDamage::Refuse] {
        tells_a_restart_until_it_is_known(on_damage);
    }
}

fn tells_a_restart_until_it_is_known(on_damage: OnDamage) {
    let dir = written();
    let settings = config(dir.path(), on_damage);
    let run = |journal: &Journal| journal.recovered.run;
    assert_eq!(run(&Journal::open(&settings).unwrap()), MachineRun::Same);
    change(&dir.path().join("control"), |bytes| {
        bytes[48..64].fill(0x5a);
        bytes[12..16].fill(0);
        let crc = crc_fast::crc32_iscsi(&bytes[..64]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    });
    for _ in 0..2 {
        assert_eq!(run(&Journal::open(&settings).unwrap()), MachineRun::Another);
    }
    Journal::open(&settings).unwrap().told().unwrap();
    assert_eq!(run(&Journal::open(&settings).unwrap()), MachineRun::Same);
}

/// The machine's disk, until the process dies: every call after the first so many fails.
#[derive(Clone, Debug)]
struct DyingDisk(Arc<AtomicI64>);

impl DyingDisk {
    fn live(&self) -> io::Result<()> {
        match self.0.fetch_sub(1, Ordering::Relaxed) {
            1.. => Ok(()),
            _ => Err(io::Error::other("the process is dead")),
        }
    }
}

impl Disk for DyingDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        self.live()?;
        let file = SystemDisk.open(path, how)?;
        Ok(Box::new(DyingFile(self.clone(), file)))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.live()?;
        SystemDisk.rename(from, to)
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.live()?;
        SystemDisk.link(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.live()?;
        SystemDisk.remove(path)
    }
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        self.live()?;
        SystemDisk.list(folder)
    }
    fn create_folder(&self, path: &Path, mode: Mode) -> io::Result<()> {
        self.live()?;
        SystemDisk.create_folder(path, mode)
    }
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.live()?;
        SystemDisk.sync_folder(folder)
    }
    fn entry(&self, path: &Path) -> io::Result<Option<Entry>> {
        self.live()?;
        SystemDisk.entry(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        self.live()?;
        SystemDisk.lock(path)
    }
    fn boot_id(&self) -> [u8; 16] {
        SystemDisk.boot_id()
    }
    fn random_bytes(&self, bytes: &mut [u8]) -> io::Result<()> {
        self.live()?;
        SystemDisk.random_bytes(bytes)
    }
}

#[derive(Debug)]
struct DyingFile(DyingDisk, Box<dyn DiskFile>);

impl DiskFile for DyingFile {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.live()?;
        self.1.read_exact_at(bytes, offset)
    }
    /// The last write is torn: only its first half is done.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if let Err(dead) = self.0.live() {
            if self.0.0.load(Ordering::Relaxed) == -1 {
                self.1.write_all_at(&bytes[..bytes.len() / 2], offset)?;
            }
            return Err(dead);
        }
        self.1.write_all_at(bytes, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.live()?;
        self.1.sync_data()
    }
    fn sync_all(&self) -> io::Result<()> {
        self.0.live()?;
        self.1.sync_all()
    }
    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.0.live()?;
        self.1.set_bytes(bytes)
    }
    fn bytes(&self) -> io::Result<u64> {
        self.0.live()?;
        self.1.bytes()
    }
    fn map_read(&self, bytes: usize) -> io::Result<FileMap> {
        self.0.live()?;
        self.1.map_read(bytes)
    }
    fn map_write(&self, bytes: usize) -> io::Result<FileMap> {
        self.0.live()?;
        self.1.map_write(bytes)
    }
    fn begin_write_back(&self, range: Range<u64>) {
        self.1.begin_write_back(range);
    }
    fn drop_cache(&self) {
        self.1.drop_cache();
    }
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.1.fd()
    }
}
