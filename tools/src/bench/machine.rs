//! The machine at this moment: its processor, and how long it takes for what all else is made of.
//!
//! Figures of two days are comparable only beside these: the same name can stand for a slower clock,
//! and a shared host takes its caches away.

use std::hint::black_box;
use std::time::Instant;

use super::report::Report;

/// A cache line; the first word holds the number of the next one to read.
type Line = [u64; 8];

/// Adds the processor, a chain of multiplications, and reads that depend on the last.
pub fn measure(report: &mut Report) {
    match processor() {
        Some(name) => report.note("processor", &name),
        None => report.note("processor", "not named by /proc/cpuinfo"),
    }
    report.value(
        "a multiplication after another",
        multiplication_ns(),
        "ns",
        None,
    );
    for (name, bytes) in [
        ("a read after another, within 1 MiB", 1 << 20),
        ("a read after another, within 64 MiB", 64 << 20),
    ] {
        report.value(name, dependent_read_ns(bytes), "ns", None);
    }
}

fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    let name = line.split_once(':')?.1.trim();
    Some(name.to_owned())
}

/// Three cycles on every x86-64 of the last ten years, so a measure of the clock.
fn multiplication_ns() -> f64 {
    const STEPS: u32 = 50_000_000;
    // Squares of an odd number: none of them is zero, and no compiler knows a shorter way to the last.
    let mut product = black_box(6_364_136_223_846_793_005_u64);
    let began = Instant::now();
    for _ in 0..STEPS {
        product = product.wrapping_mul(product);
    }
    black_box(product);
    began.elapsed().as_secs_f64() * 1e9 / f64::from(STEPS)
}

/// The lines of `bytes` are read in an order that no prefetcher guesses, each once.
fn dependent_read_ns(bytes: usize) -> f64 {
    const STEPS: u32 = 2_000_000;
    let lines = (bytes / size_of::<Line>()) as u64;
    // Of full period for every power of two: the multiplier is one more than a multiple of four.
    let next = |line: u64| {
        (line
            .wrapping_mul(2_862_933_555_777_941_757)
            .wrapping_add(12_345))
            % lines
    };
    let chain: Vec<Line> = (0..lines).map(|line| [next(line); 8]).collect();
    let mut at = 0;
    let began = Instant::now();
    for _ in 0..STEPS {
        at = chain[at as usize][0];
    }
    black_box(at);
    began.elapsed().as_secs_f64() * 1e9 / f64::from(STEPS)
}
