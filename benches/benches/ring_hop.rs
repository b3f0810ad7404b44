//! One 64-byte message from one core to another: our ring beside the crates that do the same.
//!
//! Run with `cargo bench -p exahour-benches --bench ring_hop -- [--quick] [--json]`; under 30
//! seconds, `--quick` under 5.
//!
//! Always holds: contenders take turns within each round, so that a slow moment of the machine
//! hits all of them; medians over the rounds are reported, with the best round beside, and with
//! the round trip of a bare cache line between the same cores in the same rounds.
//! Does not: compare hosts. Take the ratios within one run, never the figures of two.

use exahour_rings::{Capacity, CoreId, online_cores, pin_current_thread, ping_pong, ring};
use hdrhistogram::Histogram;
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

type Message = [u64; 8];
type Failure = Box<dyn Error + Send + Sync>;

/// Slots of every contender.
const SLOTS: usize = 1024;
/// Messages that a polling consumer takes in one go.
const DRAIN_LIMIT: usize = 256;
/// Messages sent before the clock starts, so that threads are up and pages are touched.
const WARM_UP: u64 = 2_000;
/// Messages published together in the rows that say so.
const BATCH: usize = 16;
/// Messages that lie ready to be sent; a multiple of [`BATCH`], small enough for the first cache.
const POOL: usize = 256;
/// Pause between two timed messages, in nanoseconds: the consumer has caught up and waits.
const PACE_NS: u64 = 1_200;

/// How long and how often to measure.
struct Plan {
    rounds_max: usize,
    budget: Duration,
    throughput_count: u64,
    latency_count: u64,
}

const FULL: Plan = Plan {
    rounds_max: 21,
    budget: Duration::from_secs(18),
    throughput_count: 1_000_000,
    latency_count: 12_000,
};
const QUICK: Plan = Plan {
    rounds_max: 5,
    budget: Duration::from_secs(2),
    throughput_count: 200_000,
    latency_count: 4_000,
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Output {
    Table,
    Json,
}

/// Where the messages of a throughput row come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// They lie ready, as in a receive buffer.
    Ready,
    /// Each is written to memory right before it is pushed from there.
    Composed,
}

fn main() -> ExitCode {
    match read_arguments().and_then(|(plan, output)| measure(&plan, output)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ring_hop: {error}");
            ExitCode::FAILURE
        }
    }
}

fn read_arguments() -> Result<(Plan, Output), Failure> {
    let (mut plan, mut output) = (FULL, Output::Table);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--quick" => plan = QUICK,
            "--json" => output = Output::Json,
            // Cargo adds this one to every bench.
            "--bench" => {}
            other => return Err(format!("`{other}` is unknown: use --quick, --json").into()),
        }
    }
    Ok((plan, output))
}

fn measure(plan: &Plan, output: Output) -> Result<(), Failure> {
    let cores = online_cores()?;
    let [near, far, ..] = cores[..] else {
        return Err("needs two cores that this process may use".into());
    };
    pin_current_thread(near)?;
    let clock = Clock::calibrate();
    let mut rows = [
        Row::of::<Ours>(1),
        Row::of::<DisruptorHandler>(1),
        Row::of::<DisruptorPoller>(1),
        Row::of::<Rtrb>(1),
        Row::of::<ArrayQueue>(1),
        Row::of::<Channel>(1),
        Row::of::<Ours>(1).composing(),
        Row::of::<DisruptorPoller>(1).composing(),
        Row::of::<Rtrb>(1).composing(),
        Row::of::<Ours>(BATCH),
        Row::of::<DisruptorHandler>(BATCH),
        Row::of::<Rtrb>(BATCH),
    ];
    let mut distances = Vec::new();
    let start = Instant::now();
    let mut round = 0;
    while round < plan.rounds_max && (round == 0 || start.elapsed() < plan.budget) {
        if let Some(found) = ping_pong(near, far, Duration::from_millis(10))? {
            distances.push(found.round_trip_p50.as_nanos() as f64);
        }
        let row_count = rows.len();
        for offset in 0..row_count {
            // Each round starts elsewhere, so that nobody always follows the same neighbour.
            let row = &mut rows[(round + offset) % row_count];
            row.throughputs.push((row.throughput)(
                plan.throughput_count,
                row.batch,
                row.source,
                far,
            )?);
            if row.batch == 1 && row.source == Source::Ready {
                row.latencies
                    .push((row.latency)(plan.latency_count, far, clock)?);
            }
        }
        round += 1;
    }
    match output {
        Output::Table => print_table(&rows, &mut distances, round),
        Output::Json => print_json(&rows, &mut distances, round),
    }
    Ok(())
}

/// The sending side of a contender.
trait Sender {
    /// Sends all of `messages` or none.
    fn try_send(&mut self, messages: &[Message]) -> bool;
}

/// A way to carry messages to another core.
trait Carrier {
    const NAME: &'static str;
    type Sender: Sender;

    /// Sets up a consumer pinned to `core` that shows every message to `visit` until `done`.
    fn connect(
        core: CoreId,
        done: Arc<AtomicBool>,
        visit: impl FnMut(&Message) + Send + 'static,
    ) -> Result<(Self::Sender, Option<JoinHandle<()>>), Failure>;
}

/// Turns `drain` on a pinned thread until `done`.
fn poll_on(
    core: CoreId,
    done: Arc<AtomicBool>,
    mut drain: impl FnMut() -> usize + Send + 'static,
) -> Option<JoinHandle<()>> {
    Some(thread::spawn(move || {
        report_pin(core);
        loop {
            if drain() == 0 {
                if done.load(Ordering::Acquire) {
                    return;
                }
                std::hint::spin_loop();
            }
        }
    }))
}

fn report_pin(core: CoreId) {
    if let Err(error) = pin_current_thread(core) {
        eprintln!("ring_hop: the consumer is not pinned: {error}");
    }
}

struct Ours;

impl Sender for exahour_rings::Producer<Message> {
    #[inline]
    fn try_send(&mut self, messages: &[Message]) -> bool {
        match messages {
            [message] => self.try_push(*message).is_ok(),
            _ => self.try_push_slice(messages).is_ok(),
        }
    }
}

impl Carrier for Ours {
    const NAME: &'static str = "exahour-rings";
    type Sender = exahour_rings::Producer<Message>;

    fn connect(
        core: CoreId,
        done: Arc<AtomicBool>,
        mut visit: impl FnMut(&Message) + Send + 'static,
    ) -> Result<(Self::Sender, Option<JoinHandle<()>>), Failure> {
        let (producer, mut consumer) = ring(Capacity::new(SLOTS)?);
        Ok((
            producer,
            poll_on(core, done, move || consumer.drain(DRAIN_LIMIT, &mut visit)),
        ))
    }
}

/// The disruptor with its own consumer thread.
struct DisruptorHandler;

/// The disruptor polled from a thread of ours.
struct DisruptorPoller;

type DisruptorProducer = disruptor::SingleProducer<Message, disruptor::SingleConsumerBarrier>;

impl Sender for DisruptorProducer {
    #[inline]
    fn try_send(&mut self, messages: &[Message]) -> bool {
        use disruptor::Producer;
        match messages {
            [message] => self.try_publish(|slot| *slot = *message).is_ok(),
            _ => self
                .try_batch_publish(messages.len(), |slots| {
                    slots
                        .zip(messages)
                        .for_each(|(slot, message)| *slot = *message);
                })
                .is_ok(),
        }
    }
}

impl Carrier for DisruptorHandler {
    const NAME: &'static str = "disruptor handler";
    type Sender = DisruptorProducer;

    fn connect(
        core: CoreId,
        _done: Arc<AtomicBool>,
        mut visit: impl FnMut(&Message) + Send + 'static,
    ) -> Result<(Self::Sender, Option<JoinHandle<()>>), Failure> {
        // Its own pinning refuses cores outside the sender's pin, so the thread pins itself.
        let pin = move || report_pin(core);
        let producer =
            disruptor::build_single_producer(SLOTS, Message::default, disruptor::BusySpin)
                .handle_events_and_state_with(
                    move |(): &mut (), message: &Message, _sequence, _last| visit(message),
                    pin,
                )
                .build();
        Ok((producer, None))
    }
}

impl Carrier for DisruptorPoller {
    const NAME: &'static str = "disruptor poller";
    type Sender = DisruptorProducer;

    fn connect(
        core: CoreId,
        done: Arc<AtomicBool>,
        mut visit: impl FnMut(&Message) + Send + 'static,
    ) -> Result<(Self::Sender, Option<JoinHandle<()>>), Failure> {
        let builder =
            disruptor::build_single_producer(SLOTS, Message::default, disruptor::BusySpin);
        let (mut poller, builder) = builder.new_event_poller();
        let drain = move || match poller.take(DRAIN_LIMIT as u64) {
            Ok(mut events) => (&mut events).map(&mut visit).count(),
            Err(_nothing) => 0,
        };
        Ok((builder.build(), poll_on(core, done, drain)))
    }
}

struct Rtrb;

impl Sender for rtrb::Producer<Message> {
    #[inline]
    fn try_send(&mut self, messages: &[Message]) -> bool {
        match messages {
            [message] => self.push(*message).is_ok(),
            _ => self.push_entire_slice(messages).is_ok(),
        }
    }
}

impl Carrier for Rtrb {
    const NAME: &'static str = "rtrb";
    type Sender = rtrb::Producer<Message>;

    fn connect(
        core: CoreId,
        done: Arc<AtomicBool>,
        mut visit: impl FnMut(&Message) + Send + 'static,
    ) -> Result<(Self::Sender, Option<JoinHandle<()>>), Failure> {
        let (producer, mut consumer) = rtrb::RingBuffer::new(SLOTS);
        let drain = move || {
            let popped = std::iter::from_fn(|| consumer.pop().ok()).take(DRAIN_LIMIT);
            popped.map(|message| visit(&message)).count()
        };
        Ok((producer, poll_on(core, done, drain)))
    }
}

struct ArrayQueue;

impl Sender for Arc<crossbeam::queue::ArrayQueue<Message>> {
    #[inline]
    fn try_send(&mut self, messages: &[Message]) -> bool {
        self.len() + messages.len() <= SLOTS && messages.iter().all(|one| self.push(*one).is_ok())
    }
}

impl Carrier for ArrayQueue {
    const NAME: &'static str = "crossbeam ArrayQueue";
    type Sender = Arc<crossbeam::queue::ArrayQueue<Message>>;

    fn connect(
        core: CoreId,
        done: Arc<AtomicBool>,
        mut visit: impl FnMut(&Message) + Send + 'static,
    ) -> Result<(Self::Sender, Option<JoinHandle<()>>), Failure> {
        let queue = Arc::new(crossbeam::queue::ArrayQueue::new(SLOTS));
        let from = Arc::clone(&queue);
        let drain = move || {
            let popped = std::iter::from_fn(|| from.pop()).take(DRAIN_LIMIT);
            popped.map(|message| visit(&message)).count()
        };
        Ok((queue, poll_on(core, done, drain)))
    }
}

struct Channel;

impl Sender for crossbeam::channel::Sender<Message> {
    #[inline]
    fn try_send(&mut self, messages: &[Message]) -> bool {
        messages
            .iter()
            .all(|one| crossbeam::channel::Sender::try_send(self, *one).is_ok())
    }
}

impl Carrier for Channel {
    const NAME: &'static str = "crossbeam channel";
    type Sender = crossbeam::channel::Sender<Message>;

    fn connect(
        core: CoreId,
        done: Arc<AtomicBool>,
        mut visit: impl FnMut(&Message) + Send + 'static,
    ) -> Result<(Self::Sender, Option<JoinHandle<()>>), Failure> {
        let (sender, receiver) = crossbeam::channel::bounded(SLOTS);
        let drain = move || {
            let popped = std::iter::from_fn(|| receiver.try_recv().ok()).take(DRAIN_LIMIT);
            popped.map(|message| visit(&message)).count()
        };
        Ok((sender, poll_on(core, done, drain)))
    }
}

/// One measurement in progress: what the consumer tells the sending side.
struct Link<S> {
    sender: S,
    consumer: Option<JoinHandle<()>>,
    done: Arc<AtomicBool>,
    seen: Arc<AtomicU64>,
}

impl<S: Sender> Link<S> {
    /// Connects, sends the warm-up and waits until the consumer has seen it.
    fn warm<C: Carrier<Sender = S>>(
        core: CoreId,
        mut visit: impl FnMut(&Message) + Send + 'static,
    ) -> Result<Link<S>, Failure> {
        let done = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(AtomicU64::new(0));
        let (mut warming, warmed) = (0, Arc::clone(&seen));
        let counting = move |message: &Message| {
            if warming < WARM_UP {
                warming += 1;
                warmed.store(warming, Ordering::Release);
            } else {
                visit(message);
            }
        };
        let (sender, consumer) = C::connect(core, Arc::clone(&done), counting)?;
        let mut link = Link {
            sender,
            consumer,
            done,
            seen,
        };
        for _ in 0..WARM_UP {
            link.send(&[[0; 8]]);
        }
        while link.seen.load(Ordering::Acquire) < WARM_UP {
            std::hint::spin_loop();
        }
        Ok(link)
    }

    #[inline]
    fn send(&mut self, messages: &[Message]) {
        while !self.sender.try_send(messages) {
            std::hint::spin_loop();
        }
    }

    fn close(self) -> Result<(), Failure> {
        self.done.store(true, Ordering::Release);
        drop(self.sender);
        match self.consumer.map(JoinHandle::join) {
            Some(Err(_panic)) => Err("the consumer thread panicked".into()),
            _ => Ok(()),
        }
    }
}

/// Millions of messages a second, as fast as they go.
fn throughput<C: Carrier>(
    count: u64,
    batch: usize,
    source: Source,
    core: CoreId,
) -> Result<f64, Failure> {
    let count = count - count % batch as u64;
    let (report, ended) = mpsc::channel();
    let (mut left, mut sum) = (count, 0_u64);
    let mut link = Link::warm::<C>(core, move |message| {
        sum = sum.wrapping_add(message[0] ^ message[7]);
        left -= 1;
        if left == 0 {
            // The receiver lives until this has been heard.
            let _heard = report.send((Instant::now(), std::hint::black_box(sum)));
        }
    })?;
    let mut pool: Vec<Message> = (0..POOL as u64).map(|number| [number; 8]).collect();
    let start = Instant::now();
    for first in (0..count as usize).step_by(batch) {
        let place = first % POOL;
        if source == Source::Composed {
            for message in &mut pool[place..place + batch] {
                *message = std::hint::black_box([first as u64; 8]);
            }
        }
        link.send(&pool[place..place + batch]);
    }
    let (end, _sum) = ended.recv()?;
    link.close()?;
    Ok(count as f64 / (end - start).as_secs_f64() / 1e6)
}

/// One-way times of single messages, in nanoseconds, the consumer waiting for each.
fn latency<C: Carrier>(count: u64, core: CoreId, clock: Clock) -> Result<Histogram<u64>, Failure> {
    let (report, ended) = mpsc::channel();
    let mut histogram = Some(Histogram::<u64>::new_with_bounds(1, 1_000_000_000, 3)?);
    let mut left = count;
    let mut link = Link::warm::<C>(core, move |message| {
        let taken = clock.nanos_since(message[0]);
        if let Some(histogram) = &mut histogram {
            histogram.saturating_record(taken.max(1));
        }
        left -= 1;
        if left == 0 {
            // The receiver lives until this has been heard.
            let _heard = report.send(histogram.take());
        }
    })?;
    for _ in 0..count {
        let before = clock.stamp();
        while clock.nanos_since(before) < PACE_NS {
            std::hint::spin_loop();
        }
        link.send(&[[clock.stamp(); 8]]);
    }
    let histogram = ended.recv()?.ok_or("the histogram was reported twice")?;
    link.close()?;
    Ok(histogram)
}

/// The processor's time stamp counter, which all cores of a machine share; 9 ns a reading.
#[derive(Clone, Copy)]
struct Clock {
    nanos_per_tick: f64,
}

impl Clock {
    fn calibrate() -> Clock {
        let raw = Clock {
            nanos_per_tick: 1.0,
        };
        let (start, first) = (Instant::now(), raw.stamp());
        while start.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        let (elapsed, last) = (start.elapsed(), raw.stamp());
        Clock {
            nanos_per_tick: elapsed.as_nanos() as f64 / last.wrapping_sub(first) as f64,
        }
    }

    #[inline]
    #[cfg(target_arch = "x86_64")]
    fn stamp(self) -> u64 {
        // SAFETY: every x86-64 processor has this instruction, and it touches no memory.
        unsafe { std::arch::x86_64::_rdtsc() }
    }

    /// Nanoseconds of the system's monotonic clock where there is no such counter.
    #[inline]
    #[cfg(not(target_arch = "x86_64"))]
    fn stamp(self) -> u64 {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }

    /// A reading that waits until everything before it has been read: without that the processor
    /// takes the time while the message is still on its way. 17 ns.
    #[inline]
    #[cfg(target_arch = "x86_64")]
    fn stamp_after_reads(self) -> u64 {
        let mut core = 0;
        // SAFETY: every x86-64 processor that runs virtual machines has this instruction; it
        // writes the number of the core to the variable given and touches no other memory.
        unsafe { std::arch::x86_64::__rdtscp(&raw mut core) }
    }

    /// The system's clock orders itself behind earlier reads.
    #[inline]
    #[cfg(not(target_arch = "x86_64"))]
    fn stamp_after_reads(self) -> u64 {
        self.stamp()
    }

    #[inline]
    fn nanos_since(self, earlier: u64) -> u64 {
        // Another core may read a few ticks behind: never below zero.
        (self.stamp_after_reads().saturating_sub(earlier) as f64 * self.nanos_per_tick) as u64
    }
}

type Throughput = fn(u64, usize, Source, CoreId) -> Result<f64, Failure>;
type Latency = fn(u64, CoreId, Clock) -> Result<Histogram<u64>, Failure>;

/// A contender and what its rounds gave.
struct Row {
    name: &'static str,
    batch: usize,
    source: Source,
    throughput: Throughput,
    latency: Latency,
    throughputs: Vec<f64>,
    latencies: Vec<Histogram<u64>>,
}

impl Row {
    fn of<C: Carrier>(batch: usize) -> Row {
        Row {
            name: C::NAME,
            batch,
            source: Source::Ready,
            throughput: throughput::<C>,
            latency: latency::<C>,
            throughputs: Vec::new(),
            latencies: Vec::new(),
        }
    }

    /// The same contender with messages composed before each push.
    fn composing(self) -> Row {
        Row {
            source: Source::Composed,
            ..self
        }
    }

    fn title(&self) -> String {
        match (self.source, self.batch) {
            (Source::Composed, _) => format!("{}, composed", self.name),
            (Source::Ready, 1) => self.name.to_owned(),
            (Source::Ready, batch) => format!("{} x{batch}", self.name),
        }
    }

    /// The values of one quantile in every round.
    fn quantiles(&self, quantile: f64) -> Vec<f64> {
        self.latencies
            .iter()
            .map(|round| round.value_at_quantile(quantile) as f64)
            .collect()
    }
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn show(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

fn print_table(rows: &[Row], distances: &mut [f64], round_count: usize) {
    println!(
        "64-byte messages, one core to another, {SLOTS} slots; median of {round_count} rounds \
         (best round in brackets)"
    );
    println!(
        "cache line there and back, same cores: {} ns",
        show(median(distances), 0)
    );
    println!();
    println!(
        "{:<26} {:>16} {:>16} {:>14} {:>16}",
        "", "M msg/s", "one way p50 ns", "p99 ns", "p99.9 ns"
    );
    for row in rows {
        let best = row.throughputs.iter().copied().max_by(f64::total_cmp);
        let mut cells = vec![with_best(median(&mut row.throughputs.clone()), best, 1)];
        for quantile in [0.5, 0.99, 0.999] {
            let mut values = row.quantiles(quantile);
            let best = values.iter().copied().min_by(f64::total_cmp);
            cells.push(with_best(median(&mut values), best, 0));
        }
        let [rate, p50, p99, p999] = &cells[..] else {
            continue;
        };
        println!(
            "{:<26} {rate:>16} {p50:>16} {p99:>14} {p999:>16}",
            row.title()
        );
    }
}

fn with_best(value: Option<f64>, best: Option<f64>, digits: usize) -> String {
    match value {
        Some(_) => format!("{} ({})", show(value, digits), show(best, digits)),
        None => "-".to_owned(),
    }
}

fn print_json(rows: &[Row], distances: &mut [f64], round_count: usize) {
    let number =
        |value: Option<f64>| value.map_or("null".to_owned(), |value| format!("{value:.1}"));
    let contenders: Vec<String> = rows
        .iter()
        .map(|row| {
            let rate = number(median(&mut row.throughputs.clone()));
            let best = number(row.throughputs.iter().copied().max_by(f64::total_cmp));
            let at = |quantile| number(median(&mut row.quantiles(quantile)));
            format!(
                "{{\"name\":\"{}\",\"batch\":{},\"messages\":\"{}\",\"messages_per_second_millions\":{rate},\
                 \"messages_per_second_millions_best\":{best},\"one_way_p50_ns\":{},\
                 \"one_way_p99_ns\":{},\"one_way_p999_ns\":{}}}",
                row.name,
                row.batch,
                if row.source == Source::Ready { "ready" } else { "composed" },
                at(0.5),
                at(0.99),
                at(0.999)
            )
        })
        .collect();
    println!(
        "{{\"bench\":\"ring_hop\",\"message_bytes\":{},\"slots\":{SLOTS},\"rounds\":{round_count},\
         \"ping_pong_ns\":{},\"contenders\":[{}]}}",
        size_of::<Message>(),
        number(median(distances)),
        contenders.join(",")
    );
}
