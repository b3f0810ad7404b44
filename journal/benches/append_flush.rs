//! Measures append and flush of every flush body beside the floor of this machine, in one run.
//!
//! `cargo bench -p exahour-journal [-- DIR]`: DIR chooses the disk, the system's temporary folder
//! otherwise. The floors are a memory copy, and pwrite and fdatasync of the same bytes into a file
//! prefilled with zeros. Rounds of all contestants alternate, so that a noisy minute hits them all.
//!
//! Does not: measure a loaded disk or a power cut. Percentiles are of single calls, clock included;
//! the clock's own cost is the first line.

#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use exahour_journal::{
    Chain, Config, FRAME_HEADER_BYTES, FlushBody, FrameMeta, Journal, JournalError, Live,
    LiveReader, LogId, Reader, Verify, inspect,
};

const ROUNDS: usize = 5;
const APPENDS_PER_ROUND: usize = 20_000;
const FLUSHES_PER_ROUND: usize = 1_000;
const SUSTAINED: Duration = Duration::from_secs(1);
const FLOOR_BYTES: usize = 64 << 20;
const SMALL: usize = 128;
const LARGE: usize = 4096;

fn main() {
    let chosen = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let root = chosen.map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(root).unwrap();
    println!(
        "disk: {}; {ROUNDS} rounds, alternating; nanoseconds, clock included",
        dir.path().display()
    );
    let mut contestants = contestants(dir.path());

    let mut clock = Samples::default();
    (0..100_000).for_each(|_| clock.time(|| ()));
    println!("{:<34} {}\n", "clock alone", clock.row(None));

    compare("append 128 B", &mut contestants, APPENDS_PER_ROUND, |one| {
        one.append(SMALL)
    });
    compare("append 4 KiB", &mut contestants, FLUSHES_PER_ROUND, |one| {
        one.append(LARGE)
    });
    compare(
        "append + flush 128 B",
        &mut contestants,
        FLUSHES_PER_ROUND,
        |one| {
            one.append(SMALL);
            one.flush();
        },
    );
    compare(
        "append + flush 4 KiB",
        &mut contestants,
        FLUSHES_PER_ROUND,
        |one| {
            one.append(LARGE);
            one.flush();
        },
    );
    read_back(dir.path());
    println!("sustained: one thread appends, one flushes without pause, {SUSTAINED:?} each");
    for bytes in [SMALL, LARGE] {
        sustained(dir.path(), bytes);
    }
}

/// Something that takes frames: a journal, or a floor that does only the bare work.
trait Contestant {
    fn name(&self) -> String;
    fn append(&mut self, bytes: usize);
    fn flush(&mut self);
    /// Called between rounds, outside the measurement.
    fn rest(&mut self);
}

struct MemoryCopy {
    target: Vec<u8>,
    at: usize,
}

impl Contestant for MemoryCopy {
    fn name(&self) -> String {
        "floor: memory copy".into()
    }
    fn append(&mut self, bytes: usize) {
        let source = [7u8; LARGE];
        if self.at + bytes > self.target.len() {
            self.at = 0;
        }
        self.target[self.at..self.at + bytes].copy_from_slice(&source[..bytes]);
        std::hint::black_box(&self.target);
        self.at += bytes;
    }
    fn flush(&mut self) {}
    fn rest(&mut self) {}
}

struct BareFile {
    file: File,
    at: usize,
}

impl BareFile {
    fn new(path: &Path) -> Self {
        let file = File::create(path).unwrap();
        for at in (0..FLOOR_BYTES).step_by(LARGE) {
            file.write_all_at(&[0; LARGE], at as u64).unwrap();
        }
        file.sync_all().unwrap();
        BareFile { file, at: 0 }
    }
}

impl Contestant for BareFile {
    fn name(&self) -> String {
        "floor: pwrite, fdatasync".into()
    }
    fn append(&mut self, bytes: usize) {
        if self.at + bytes > FLOOR_BYTES {
            self.at = 0;
        }
        self.file
            .write_all_at(&[7; LARGE][..bytes], self.at as u64)
            .unwrap();
        self.at += bytes;
    }
    fn flush(&mut self) {
        self.file.sync_data().unwrap();
    }
    fn rest(&mut self) {
        self.flush();
    }
}

struct Log {
    journal: Journal,
    name: String,
    index: u64,
}

impl Log {
    fn new(dir: &Path, flush: FlushBody, chain: Chain) -> Option<Self> {
        let name = format!("journal {flush:?}, chain {chain:?}");
        let config = Config {
            flush,
            chain,
            ..Config::new(dir.join(&name), LogId([7; 16]))
        };
        match Journal::create(&config) {
            Ok(journal) => Some(Log {
                journal,
                name,
                index: 0,
            }),
            Err(error @ JournalError::UringUnavailable { .. }) => {
                println!("{name}: skipped, {error}");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }
}

impl Contestant for Log {
    fn name(&self) -> String {
        self.name.clone()
    }
    fn append(&mut self, bytes: usize) {
        self.index += 1;
        let meta = FrameMeta {
            index: self.index,
            term: 1,
            count: 1,
            ..FrameMeta::default()
        };
        let payload = &[7; LARGE][..bytes - FRAME_HEADER_BYTES];
        self.journal.appender.append(&meta, &[payload]).unwrap();
    }
    fn flush(&mut self) {
        self.journal.flusher.flush().unwrap();
    }
    fn rest(&mut self) {
        self.flush();
        self.journal.stager.finish().unwrap();
    }
}

fn contestants(dir: &Path) -> Vec<Box<dyn Contestant>> {
    let mut all: Vec<Box<dyn Contestant>> = vec![
        Box::new(MemoryCopy {
            target: vec![1; FLOOR_BYTES],
            at: 0,
        }),
        Box::new(BareFile::new(&dir.join("floor"))),
    ];
    for flush in [FlushBody::Pwrite, FlushBody::Uring, FlushBody::Map] {
        for chain in [Chain::On, Chain::Off] {
            if let Some(log) = Log::new(dir, flush, chain) {
                all.push(Box::new(log));
            }
        }
    }
    all
}

/// Durations of single calls.
#[derive(Default)]
struct Samples(Vec<u64>);

impl Samples {
    fn time(&mut self, call: impl FnOnce()) {
        let start = Instant::now();
        call();
        self.0.push(start.elapsed().as_nanos() as u64);
    }

    fn percentile(&mut self, share: f64) -> u64 {
        self.0.sort_unstable();
        self.0[((self.0.len() - 1) as f64 * share) as usize]
    }

    fn row(&mut self, floor_p50: Option<u64>) -> String {
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| self.percentile(share));
        let ratio = floor_p50.map_or_else(String::new, |floor| {
            format!("{:>8.2}", p50 as f64 / floor.max(1) as f64)
        });
        format!("{p50:>9} {p99:>9} {p999:>9}{ratio}")
    }
}

/// Runs one kind of call on every contestant, round about, and prints a table.
fn compare(
    title: &str,
    contestants: &mut [Box<dyn Contestant>],
    calls: usize,
    call: impl Fn(&mut dyn Contestant),
) {
    let mut samples: Vec<Samples> = contestants.iter().map(|_| Samples::default()).collect();
    for _ in 0..ROUNDS {
        for (contestant, samples) in contestants.iter_mut().zip(&mut samples) {
            contestant.rest();
            for _ in 0..calls {
                samples.time(|| call(contestant.as_mut()));
            }
            contestant.rest();
        }
    }
    println!(
        "{title:<34} {:>9} {:>9} {:>9} {:>7}",
        "p50", "p99", "p99.9", "/pwrite"
    );
    // The second contestant is the file floor.
    let floor = samples[1].percentile(0.5);
    for (contestant, samples) in contestants.iter().zip(&mut samples) {
        println!("{:<34} {}", contestant.name(), samples.row(Some(floor)));
    }
    println!();
}

/// Prints how fast a written log is walked, checked and recovered, beside a copy of its bytes.
fn read_back(dir: &Path) {
    const FRAMES: u64 = 400_000;
    let folder = tempfile::tempdir_in(dir).unwrap();
    let Some(mut log) = Log::new(folder.path(), FlushBody::Pwrite, Chain::On) else {
        return;
    };
    (0..FRAMES).for_each(|_| log.append(SMALL));
    log.flush();
    let path = folder.path().join(&log.name);
    let end = log.journal.appender.appended();
    drop(log);
    let rate = |what: &str, work: &mut dyn FnMut()| {
        let best = (0..3).map(|_| {
            let started = Instant::now();
            work();
            started.elapsed().as_nanos() as f64 / FRAMES as f64
        });
        println!(
            "{what:<40} {:>7.1} ns a frame",
            best.fold(f64::MAX, f64::min)
        );
    };
    println!("read back {FRAMES} frames of 128 B, best of 3");
    let bytes = std::fs::read(path.join("00000000000000000000.log")).unwrap();
    let used = &bytes[4096..4096 + FRAMES as usize * SMALL];
    let mut copy = vec![1; used.len()];
    rate("floor: memory copy", &mut || {
        copy.copy_from_slice(std::hint::black_box(used));
        std::hint::black_box(&copy);
    });
    for verify in [Verify::Trust, Verify::Every] {
        rate(&format!("reader, {verify:?}"), &mut || {
            let mut reader = Reader::follow(&path, verify).unwrap();
            while let Some(frame) = reader.next(end).unwrap() {
                std::hint::black_box(frame.payload[0]);
            }
        });
    }
    rate("live reader, Trust", &mut || {
        let mut reader = LiveReader::new(Reader::follow(&path, Verify::Trust).unwrap());
        while let Some(Live::Frame(frame)) = reader.next(end).unwrap() {
            std::hint::black_box(frame.payload[0]);
        }
    });
    rate("recovery, chain and checksum of all", &mut || {
        assert_eq!(inspect(&path, Verify::Every).unwrap().frames, FRAMES);
    });
    println!();
}

/// Prints what each body carries when appending and flushing never pause.
fn sustained(dir: &Path, bytes: usize) {
    for flush in [FlushBody::Pwrite, FlushBody::Uring, FlushBody::Map] {
        let folder = tempfile::tempdir_in(dir).unwrap();
        let Some(log) = Log::new(folder.path(), flush, Chain::On) else {
            continue;
        };
        let Journal {
            mut appender,
            mut flusher,
            mut stager,
            ..
        } = log.journal;
        let stop = AtomicBool::new(false);
        let (mut frames, mut flushes) = (0u64, 0u64);
        let started = Instant::now();
        std::thread::scope(|scope| {
            let disk = scope.spawn(|| {
                let mut flushes = 0;
                while !stop.load(Ordering::Relaxed) {
                    let before = flusher.durable();
                    flushes += u64::from(flusher.flush().unwrap() > before);
                    stager.do_work().unwrap();
                }
                flusher.flush().unwrap();
                flushes
            });
            let payload = &[7; LARGE][..bytes - FRAME_HEADER_BYTES];
            while started.elapsed() < SUSTAINED {
                for _ in 0..16 {
                    frames += 1;
                    let meta = FrameMeta {
                        index: frames,
                        term: 1,
                        ..FrameMeta::default()
                    };
                    appender.append(&meta, &[payload]).unwrap();
                }
            }
            stop.store(true, Ordering::Relaxed);
            flushes = disk.join().unwrap();
        });
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "{bytes:>5} B frames, {:<7} {:>10.0} frames/s {:>8.1} MB/s {:>7.0} flushes/s, {} late stages",
            format!("{flush:?}"),
            frames as f64 / seconds,
            (frames * bytes as u64) as f64 / seconds / 1e6,
            flushes as f64 / seconds,
            appender.late_stages(),
        );
    }
}
