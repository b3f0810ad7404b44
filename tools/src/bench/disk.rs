//! The disk: the journal's append and flush, beside a bare write and fdatasync of the same bytes.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use exahour_journal::{Config, FlushBody, FrameMeta, Journal, LogId};
use hdrhistogram::Histogram;

use super::figures::histogram;

/// Bytes of the frame of one order: header and record.
pub const FRAME_BYTES: usize = 128;

/// Bytes written with zeros before the floor is measured, as the journal's segments are.
const PREPARED_BYTES: usize = 16 << 20;

/// A file prepared as a segment is, written and flushed piece by piece: the disk's floor.
pub struct BareFile {
    file: File,
    path: PathBuf,
    written: usize,
}

impl BareFile {
    /// Makes the file in `folder`.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(folder: &Path) -> io::Result<Self> {
        let path = folder.join("bare");
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .open(&path)?;
        for piece in 0..PREPARED_BYTES / 4_096 {
            file.write_all_at(&[0; 4_096], (piece * 4_096) as u64)?;
        }
        file.sync_all()?;
        Ok(Self {
            file,
            path,
            written: 0,
        })
    }

    /// Writes [`FRAME_BYTES`] behind the last, and fdatasync.
    ///
    /// # Errors
    /// What the system says.
    pub fn write_and_sync(&mut self) -> io::Result<()> {
        let place = (self.written % PREPARED_BYTES) as u64;
        self.written += FRAME_BYTES;
        self.file.write_all_at(&[7; FRAME_BYTES], place)?;
        self.file.sync_data()
    }
}

impl Drop for BareFile {
    fn drop(&mut self) {
        // One that cannot be removed goes with the scratch folder.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn record(histogram: &mut Histogram<u64>, began: Instant) {
    histogram.saturating_record(began.elapsed().as_nanos() as u64);
}

/// `count` times: write [`FRAME_BYTES`] behind the last, and fdatasync; in nanoseconds.
///
/// One after another, or at most `rate` a second: a disk that rested answers later than one that is
/// kept busy.
///
/// # Errors
/// What the system says.
pub fn bare(folder: &Path, count: usize, rate: Option<u64>) -> anyhow::Result<Histogram<u64>> {
    let mut file = BareFile::create(folder)?;
    let mut latencies = histogram();
    let interval = rate.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate as u32);
    let mut due = Instant::now();
    for _ in 0..count {
        while Instant::now() < due {
            std::hint::spin_loop();
        }
        due += interval;
        let began = Instant::now();
        file.write_and_sync()?;
        record(&mut latencies, began);
    }
    Ok(latencies)
}

/// `count` times: append one order to a journal, and flush; append alone, and both, in nanoseconds.
///
/// # Errors
/// What the journal says.
pub fn journal(
    folder: &Path,
    body: FlushBody,
    count: usize,
) -> anyhow::Result<[Histogram<u64>; 2]> {
    let folder = folder.join("disk-journal");
    let mut config = Config::new(&folder, LogId([9; 16]));
    config.flush = body;
    let mut journal = Journal::create(&config)?;
    let (mut appends, mut both) = (histogram(), histogram());
    for number in 0..count {
        let index = number as u64 + 1;
        let meta = FrameMeta {
            index,
            term: 1,
            count: 1,
            kind: 1,
            first_sequence: index,
            time_ns: index,
        };
        let began = Instant::now();
        journal.appender.append(&meta, &[&[7; 64]])?;
        record(&mut appends, began);
        journal.flusher.flush()?;
        record(&mut both, began);
    }
    drop(journal);
    std::fs::remove_dir_all(&folder)?;
    Ok([appends, both])
}
