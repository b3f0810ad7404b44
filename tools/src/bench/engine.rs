//! The engine alone: nanoseconds a command, with risk, ledger and events on.
//!
//! Always holds: the flow is generated before; events are written to memory, as the event log's
//! writer would, and thrown away after each batch.

use std::hint::black_box;
use std::time::Instant;

use exahour_engine::{Batch, Capacity, Engine, EventSink};
use exahour_wire::ids::CommandSequence;
use exahour_wire::record::Record;
use exahour_wire::units::Nanos;
use hdrhistogram::Histogram;

use super::cpu::cpu_time;
use super::flow::Flow;

/// Commands in a batch while throughput is measured.
const BATCH: usize = 16;

/// What was measured.
pub struct EngineFigures {
    /// Millions of commands a second of the thread's own CPU time, best of the rounds.
    pub best: f64,
    /// The median of the rounds.
    pub median: f64,
    /// Nanoseconds from command to last event, one command a batch, and the clock read before and after.
    pub latency: Histogram<u64>,
    /// Nanoseconds that the two readings take where nothing lies between them.
    pub clock: Histogram<u64>,
    /// Bytes of events for a command, on average.
    pub event_bytes: f64,
}

/// Takes events as the event log does: copied, and forgotten when full.
struct Discard {
    room: Vec<u8>,
    bytes: u64,
}

impl EventSink for Discard {
    #[inline]
    fn emit(&mut self, event: &[u8]) {
        const FULL: usize = 128 << 10;
        if self.room.len() + event.len() > FULL {
            self.bytes += self.room.len() as u64;
            self.room.clear();
        }
        self.room.extend_from_slice(event);
    }
}

fn prepared(flow: &Flow) -> (Engine, Discard, u64) {
    let mut engine = Engine::new(&Capacity::default());
    let mut sink = Discard {
        room: Vec::with_capacity(256 << 10),
        bytes: 0,
    };
    let mut next = 1;
    for record in &flow.setup {
        let batch = batch(next, record.bytes());
        // A flow holds no checkpoint, so it cannot diverge.
        let _ = engine.apply(&batch, &mut sink);
        next += 1;
    }
    (engine, sink, next)
}

fn batch(first: u64, commands: &[u8]) -> Batch<'_> {
    const TIME: Nanos = Nanos(1_767_225_600_000_000_000);
    Batch {
        time: TIME,
        first: CommandSequence(first),
        commands,
    }
}

/// Measures the engine on a flow.
pub fn measure(flow: &Flow, rounds: usize) -> EngineFigures {
    let bytes: Vec<u8> = flow
        .commands
        .iter()
        .flat_map(Record::bytes)
        .copied()
        .collect();
    let line = bytes.len() / flow.commands.len();
    let mut rates = Vec::with_capacity(rounds);
    let mut event_bytes = 0.0;
    for _ in 0..rounds {
        let (mut engine, mut sink, mut next) = prepared(flow);
        let began = cpu_time();
        for commands in bytes.chunks(BATCH * line) {
            let _ = black_box(engine.apply(&batch(next, commands), &mut sink));
            next += (commands.len() / line) as u64;
        }
        let seconds = (cpu_time() - began).as_secs_f64();
        rates.push(flow.commands.len() as f64 / seconds / 1e6);
        event_bytes = sink.bytes as f64 / flow.commands.len() as f64;
    }
    rates.sort_by(f64::total_cmp);
    EngineFigures {
        best: rates[rates.len() - 1],
        median: rates[rates.len() / 2],
        latency: latency(flow, &bytes, line),
        clock: clock(flow.commands.len()),
        event_bytes,
    }
}

fn latency(flow: &Flow, bytes: &[u8], line: usize) -> Histogram<u64> {
    let mut histogram = super::figures::histogram();
    let (mut engine, mut sink, mut next) = prepared(flow);
    for command in bytes.chunks(line) {
        let began = Instant::now();
        let _ = black_box(engine.apply(&batch(next, command), &mut sink));
        histogram.saturating_record(began.elapsed().as_nanos() as u64);
        next += 1;
    }
    histogram
}

fn clock(times: usize) -> Histogram<u64> {
    let mut histogram = super::figures::histogram();
    for _ in 0..times {
        let began = Instant::now();
        histogram.saturating_record(black_box(began).elapsed().as_nanos() as u64);
    }
    histogram
}
