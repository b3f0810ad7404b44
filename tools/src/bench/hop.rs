//! The ring: a 64-byte message from one core to another, beside a bare cache line.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use exahour_rings::{Capacity, CoreId, pin_current_thread, ping_pong, ring};
use exahour_wire::record::Line;

const MESSAGES: u64 = 20_000_000;
const RING_LINES: usize = 1 << 12;

/// What was measured.
pub struct HopFigures {
    /// Nanoseconds of a cache line's way there and back; none where the cores were too busy.
    pub cache_line_ns: Option<f64>,
    /// Millions of messages a second.
    pub rate: f64,
}

/// Measures between two cores.
///
/// # Errors
/// Cores that cannot be used.
pub fn measure(near: CoreId, far: CoreId) -> anyhow::Result<HopFigures> {
    let bounce = ping_pong(near, far, Duration::from_millis(100))?;
    let cache_line_ns = bounce.map(|bounce| bounce.round_trip_p50.as_nanos() as f64);
    let (mut producer, mut consumer) = ring::<Line>(Capacity::new(RING_LINES)?);
    let seen = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&seen);
    let reader = std::thread::spawn(move || -> Result<(), exahour_rings::CoreError> {
        pin_current_thread(far)?;
        let mut total = 0;
        while total < MESSAGES {
            let mut last = 0;
            let count = consumer.drain(RING_LINES, |line| last = line.0[0]);
            std::hint::black_box(last);
            total += count as u64;
        }
        counted.store(total, Ordering::Release);
        Ok(())
    });
    let writer = std::thread::spawn(move || -> Result<f64, exahour_rings::CoreError> {
        pin_current_thread(near)?;
        let line = Line([7; 64]);
        let began = Instant::now();
        let mut sent = 0;
        while sent < MESSAGES {
            if producer.try_push(line).is_ok() {
                sent += 1;
            }
        }
        while seen.load(Ordering::Acquire) < MESSAGES {
            std::hint::spin_loop();
        }
        Ok(began.elapsed().as_secs_f64())
    });
    let failed = |_| anyhow::anyhow!("a bench thread failed");
    reader.join().map_err(failed)??;
    let seconds = writer.join().map_err(failed)??;
    Ok(HopFigures {
        cache_line_ns,
        rate: MESSAGES as f64 / seconds / 1e6,
    })
}
