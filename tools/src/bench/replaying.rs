//! Replay: commands a second from a journal, beside a plain copy of its bytes.

use std::path::Path;
use std::time::Instant;

use exahour_engine::EventSink;
use exahour_journal::{Config, FlushBody, FrameMeta, Journal, LogId};
use exahour_replicas::{FRAME_COMMANDS, replay};
use exahour_wire::record::Record;

use super::flow::Flow;

/// Commands in a frame of the journal that is replayed.
const FRAME_COMMANDS_COUNT: usize = 16;

/// What was measured.
pub struct ReplayFigures {
    /// Commands replayed.
    pub commands: u64,
    /// Bytes of the journal.
    pub bytes: u64,
    /// Seconds for verifying and applying.
    pub seconds: f64,
    /// Seconds for reading the same bytes into memory.
    pub copy_seconds: f64,
}

struct Forget;

impl EventSink for Forget {
    #[inline]
    fn emit(&mut self, event: &[u8]) {
        std::hint::black_box(event);
    }
}

/// Writes a flow as a journal, and replays it.
///
/// # Errors
/// What the journal or the replay says.
pub fn measure(folder: &Path, flow: &Flow) -> anyhow::Result<ReplayFigures> {
    let folder = folder.join("replay-journal");
    write(&folder, flow)?;
    let mut copied = Vec::new();
    let began = Instant::now();
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            copied.extend_from_slice(&std::fs::read(&path)?);
        }
    }
    let copy_seconds = began.elapsed().as_secs_f64();
    std::hint::black_box(&copied);
    drop(copied);
    let began = Instant::now();
    let report = replay(&folder, &mut Forget)?;
    let seconds = began.elapsed().as_secs_f64();
    std::fs::remove_dir_all(&folder)?;
    Ok(ReplayFigures {
        commands: report.commands,
        bytes: report.recovered.appended.value(),
        seconds,
        copy_seconds,
    })
}

fn write(folder: &Path, flow: &Flow) -> anyhow::Result<()> {
    let mut config = Config::new(folder, LogId([8; 16]));
    config.flush = FlushBody::Map;
    let mut journal = Journal::create(&config)?;
    let all: Vec<Record> = flow.setup.iter().chain(&flow.commands).copied().collect();
    let mut first = 1;
    for (place, records) in all.chunks(FRAME_COMMANDS_COUNT).enumerate() {
        let parts: Vec<&[u8]> = records.iter().map(Record::bytes).collect();
        let meta = FrameMeta {
            index: place as u64 + 1,
            term: 1,
            count: records.len() as u16,
            kind: FRAME_COMMANDS,
            first_sequence: first,
            time_ns: 1_767_225_600_000_000_000,
        };
        journal.appender.append(&meta, &parts)?;
        first += records.len() as u64;
    }
    journal.flusher.flush()?;
    Ok(())
}
