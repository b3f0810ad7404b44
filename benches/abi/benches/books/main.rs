//! Order books side by side: ours, a plain one on ordered maps, and those of the crate registry, on
//! one stream of orders and cancels.
//!
//! `cargo bench -p exahour-abi --bench books` prints a table, and with `-- --json` a line of JSON for
//! each book. The stream: 60 % limit orders around a price that wanders, 35 % cancels of a resting
//! order, 5 % orders that cross. First the whole stream is run for its rate, then each operation is
//! timed; the best of three runs of each counts. A book whose trades differ from ours is told as such.

mod peers;

use std::time::Instant;

use hdrhistogram::Histogram;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use peers::{Lobster, OrderbookRs, Ours, Outcome, Peer, Plain};

const OPERATIONS: usize = 1_000_000;
const RUNS: usize = 3;
const SEED: u64 = 23;

type Make = fn() -> Box<dyn Peer>;

const PEERS: [(&str, Make); 4] = [
    ("exahour", || Box::new(Ours::new())),
    ("ordered maps", || Box::new(Plain::default())),
    ("lobster", || Box::new(Lobster::new())),
    ("orderbook-rs", || Box::new(OrderbookRs::new())),
];

/// One line of the stream.
#[derive(Clone, Copy)]
enum Operation {
    Add {
        id: u64,
        sells: bool,
        price: u64,
        lots: u32,
    },
    Cancel {
        id: u64,
    },
}

/// The stream, the same for every book. What rests is followed in a plain book, so that cancels name
/// orders that rest.
fn stream() -> Vec<Operation> {
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut book = Plain::default();
    let (mut operations, mut live) = (Vec::with_capacity(OPERATIONS), Vec::new());
    let (mut middle, mut id) = (100_000_u64, 0);
    while operations.len() < OPERATIONS {
        if random.random_range(0..200) == 0 {
            middle = (middle + random.random_range(0..7)).saturating_sub(3);
        }
        let kind = random.random_range(0..100);
        if kind < 35 && !live.is_empty() {
            let at = random.random_range(0..live.len());
            let id = live.swap_remove(at);
            if book.rests(id) {
                book.cancel(id);
                operations.push(Operation::Cancel { id });
            }
            continue;
        }
        id += 1;
        let sells = random.random();
        let away = match kind < 95 {
            true => random.random_range(1..60),
            false => -random.random_range(1..5),
        };
        let price = middle.saturating_add_signed(if sells { away } else { -away });
        let lots = random.random_range(1..100);
        book.add(id, sells, price, lots);
        if book.rests(id) {
            live.push(id);
        }
        operations.push(Operation::Add {
            id,
            sells,
            price,
            lots,
        });
    }
    operations
}

#[inline(always)]
fn carry_out(peer: &mut dyn Peer, operation: Operation) {
    match operation {
        Operation::Add {
            id,
            sells,
            price,
            lots,
        } => peer.add(id, sells, price, lots),
        Operation::Cancel { id } => peer.cancel(id),
    }
}

/// What was measured of one book.
struct Measured {
    name: &'static str,
    /// Nanoseconds an operation, over the whole stream.
    mean: f64,
    /// Nanoseconds of single operations, the clock's own time taken off.
    times: Histogram<u64>,
    outcome: Outcome,
}

fn measure(name: &'static str, make: Make, stream: &[Operation]) -> Measured {
    let (mut mean, mut outcome) = (f64::MAX, Outcome::default());
    for _ in 0..RUNS {
        let mut peer = make();
        let start = Instant::now();
        for operation in stream {
            carry_out(&mut *peer, *operation);
        }
        mean = mean.min(start.elapsed().as_nanos() as f64 / stream.len() as f64);
        outcome = peer.outcome();
    }
    let times = (0..RUNS).map(|_| timed(make, stream));
    let times = times.min_by_key(|it| it.value_at_quantile(0.99));
    Measured {
        name,
        mean,
        times: times.unwrap_or_else(histogram),
        outcome,
    }
}

fn timed(make: Make, stream: &[Operation]) -> Histogram<u64> {
    let clock = quanta::Clock::new();
    let own = (0..10_000).map(|_| clock.delta_as_nanos(clock.raw(), clock.raw()));
    let own = own.min().unwrap_or(0);
    let (mut peer, mut times) = (make(), histogram());
    for operation in stream {
        let start = clock.raw();
        carry_out(&mut *peer, *operation);
        let took = clock.delta_as_nanos(start, clock.raw());
        times.saturating_record(took.saturating_sub(own).max(1));
    }
    times
}

#[allow(clippy::expect_used)] // These bounds are valid.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 10_000_000, 3).expect("valid bounds")
}

fn main() {
    let json = std::env::args().any(|it| it == "--json");
    let stream = stream();
    let measured = PEERS.map(|(name, make)| measure(name, make, &stream));
    let ours = &measured[0];
    if !json {
        let trades = ours.outcome.trades;
        println!("{OPERATIONS} operations, {trades} trades, ns an operation");
        println!("book              mean     p50     p99    p99.9   times ours  result");
    }
    for it in &measured {
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|at| it.times.value_at_quantile(at));
        let (name, mean, same) = (it.name, it.mean, it.outcome == ours.outcome);
        if json {
            println!(
                "{{\"book\":\"{name}\",\"mean_ns\":{mean:.2},\"p50_ns\":{p50},\"p99_ns\":{p99},\
                 \"p99_9_ns\":{p999},\"same_result\":{same}}}"
            );
        } else {
            let (times, word) = (mean / ours.mean, if same { "same" } else { "DIFFERENT" });
            println!("{name:<14}{mean:>8.1}{p50:>8}{p99:>8}{p999:>9}{times:>13.1}  {word}");
        }
    }
}
