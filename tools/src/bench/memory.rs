//! Memory: what the engine takes when it starts, and what a live order adds.

use exahour_engine::{Capacity, Engine};

use super::report::Report;

/// Bytes of this process that are in memory, from the kernel.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1_024)
}

/// Measures an engine of default capacity, before the first order.
pub fn measure(report: &mut Report) {
    let before = resident_bytes();
    let engine = Engine::new(&Capacity::default());
    let after = resident_bytes();
    std::hint::black_box(engine.live_orders());
    match (before, after) {
        (Some(before), Some(after)) => {
            let mebibytes = after.saturating_sub(before) as f64 / f64::from(1 << 20);
            report.value("engine, resident at the start", mebibytes, "MiB", None);
        }
        _ => report.note("memory", "not measured: /proc/self/status cannot be read"),
    }
}
