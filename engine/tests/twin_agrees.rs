//! The engine and its slow twin are fed the same commands; every byte of every event must agree.
//!
//! Always holds: a red run prints its seed, the command, both lists of events by name, and the
//! shortest list of commands found that still shows the difference.
//!
//! `EXAHOUR_SEEDS=1000 cargo test --release -p exahour-engine --test twin_agrees` looks further.

use std::fmt::Write;

use exahour_engine::{Batch, Capacity, Engine};
use exahour_twin::coverage::Coverage;
use exahour_twin::flow::{Commands, Flow, Style, limits};
use exahour_twin::{Twin, readable, seeds::seeds};
use exahour_wire::ids::CommandSequence;
use exahour_wire::message::{HEADER_BYTES, messages, peek_header};
use exahour_wire::units::Nanos;

const COMMANDS: u64 = 3_000;

#[test]
fn on_realistic_flows() {
    for seed in seeds(120) {
        compare(seed, Style::Realistic, 0);
    }
}

#[test]
fn on_hostile_flows() {
    for seed in seeds(120) {
        compare(seed, Style::Hostile, 0);
    }
}

#[test]
fn where_there_is_hardly_room_for_orders() {
    for seed in seeds(4) {
        compare(seed, Style::Realistic, 12);
    }
}

/// Times are 64 bits of nanoseconds, and somebody's clock may say the year 2554.
#[test]
fn at_the_end_of_time() {
    for seed in seeds(6) {
        let mut pair = Pair::new();
        let mut flow = Flow::new(seed, Style::Hostile);
        let mut past = Vec::new();
        for place in 0..300 {
            match place {
                100 => flow.jump(Nanos(u64::MAX - 3 * Nanos::DAY.0)),
                200 => flow.jump(Nanos(u64::MAX - 5 * Nanos::SECOND.0)),
                // The last time that can be stamped.
                290 => flow.jump(Nanos(Nanos::NEVER.0 - 1)),
                _ => {}
            }
            let commands = flow.next_batch();
            past.push(commands.clone());
            let outcome = pair.apply(&commands);
            if !outcome.agrees() {
                panic!("{}", report(seed, Style::Hostile, 0, &past, &outcome));
            }
            flow.observe(&outcome.twin);
        }
    }
}

/// Gains and losses of many contracts exceed what one amount can hold.
#[test]
fn on_fortunes_beyond_the_largest_amount() {
    let mut pair = Pair::new();
    let mut coverage = Coverage::default();
    let mut past = Vec::new();
    for (place, record) in limits::fortunes(20).into_iter().enumerate() {
        let commands = Commands {
            time: limits::TIME,
            first: CommandSequence(place as u64 + 1),
            records: vec![record],
        };
        past.push(commands.clone());
        let outcome = pair.apply(&commands);
        coverage.count(&outcome.twin);
        if !outcome.agrees() {
            panic!("{}", report(0, Style::Hostile, 0, &past, &outcome));
        }
    }
    assert_eq!(coverage.of("OrderFilled"), 40);
    assert_eq!(coverage.of("InstrumentSettled"), 80);
}

/// The comparisons above mean something only if the flows lead everywhere.
#[test]
fn the_flows_lead_everywhere() {
    let mut everything = Coverage::default();
    for (style, orders, fills) in [
        (Style::Realistic, 0, 4_000),
        (Style::Hostile, 0, 1_200),
        (Style::Realistic, 12, 2_000),
    ] {
        let mut coverage = Coverage::default();
        for seed in 0..32 {
            let mut flow = Flow::with_orders_max(seed, style, orders);
            let mut twin = Twin::new();
            for _ in 0..COMMANDS / 5 {
                let commands = flow.next_batch();
                let mut events = Vec::new();
                let bytes = commands.bytes();
                twin.apply(commands.time, commands.first, &bytes, &mut events);
                flow.observe(&events);
                coverage.count(&events);
                everything.count(&events);
            }
        }
        println!("{style:?} flows, {orders} live orders: {coverage:#?}");
        assert!(coverage.of("OrderFilled") > fills, "{style:?}");
        assert!(coverage.of("filled Auction") > 20, "{style:?}");
        assert!(coverage.of("DeliverySettled") > 50, "{style:?}");
        for kind in ["entered", "changed", "cancelled", "filled", "refused"] {
            assert!(
                coverage.of(&format!("quote {kind}")) > 50,
                "{style:?} {kind}"
            );
        }
        assert!(coverage.of("leaning on a band") > 20, "{style:?}");
        for what in [
            "filled at its limit",
            "replaced",
            "comes as Market",
            "comes as Limit",
        ] {
            let seen = coverage.of(&format!("one-cancels-other {what}"));
            assert!(seen > 20, "{style:?}: {what} {seen}");
        }
    }
    assert!(
        everything.missing().is_empty(),
        "{:?}",
        everything.missing()
    );
}

/// Both machines side by side.
struct Pair {
    engine: Engine,
    twin: Twin,
}

/// What each of the two made of a batch.
struct Outcome {
    engine: Vec<u8>,
    twin: Vec<u8>,
    timers: (Option<Nanos>, Option<Nanos>),
}

impl Outcome {
    fn agrees(&self) -> bool {
        self.engine == self.twin && self.wakes_in_time()
    }

    /// The engine may name a time at which nothing is left to do, but never one too late.
    fn wakes_in_time(&self) -> bool {
        match self.timers {
            (engine, Some(twin)) => engine.is_some_and(|engine| engine <= twin),
            (_, None) => true,
        }
    }
}

impl Pair {
    fn new() -> Self {
        // It must grow beyond what it expects.
        let capacity = Capacity {
            orders: 1,
            positions: 1,
            index_seed: 1,
            ..Capacity::default()
        };
        Self {
            engine: Engine::new(&capacity),
            twin: Twin::new(),
        }
    }

    fn apply(&mut self, commands: &Commands) -> Outcome {
        let bytes = commands.bytes();
        let batch = Batch {
            time: commands.time,
            first: commands.first,
            commands: &bytes,
        };
        let (mut engine, mut twin) = (Vec::new(), Vec::new());
        if let Err(divergence) = self.engine.apply(&batch, &mut engine) {
            panic!("the engine stopped by itself: {divergence}");
        }
        self.twin
            .apply(commands.time, commands.first, &bytes, &mut twin);
        Outcome {
            engine: without_hashes(engine),
            twin,
            timers: (self.engine.next_due(), self.twin.next_due()),
        }
    }
}

/// Digests of the state are zeroed: the twin has none.
fn without_hashes(mut events: Vec<u8>) -> Vec<u8> {
    let mut start = 0;
    while let Some(header) = peek_header(&events[start..]) {
        let end = start + HEADER_BYTES + usize::from(header.block_length);
        if header.template_id == 360 {
            events[end - 32..end].fill(0);
        }
        start = end;
    }
    events
}

fn compare(seed: u64, style: Style, orders: u32) {
    let mut flow = Flow::with_orders_max(seed, style, orders);
    let mut pair = Pair::new();
    let mut past = Vec::new();
    let mut sent = 0;
    while sent < COMMANDS {
        let commands = flow.next_batch();
        sent += commands.records.len() as u64;
        past.push(commands.clone());
        let outcome = pair.apply(&commands);
        if !outcome.agrees() {
            panic!("{}", report(seed, style, orders, &past, &outcome));
        }
        flow.observe(&outcome.twin);
    }
}

fn report(seed: u64, style: Style, orders: u32, past: &[Commands], outcome: &Outcome) -> String {
    let mut text = format!(
        "engine and twin differ: EXAHOUR_SEED={seed}, {style:?} flow, at most {orders} live orders (0: any number)\n"
    );
    describe(&mut text, past.last(), outcome);
    let shortest = shorten(flatten(past));
    let _ = writeln!(
        text,
        "\nshown as well by these {} commands:",
        shortest.len()
    );
    let mut pair = Pair::new();
    for (place, one) in shortest.iter().enumerate() {
        let _ = writeln!(text, "{} {}", one.time, readable::message(&one.bytes()));
        let outcome = pair.apply(&numbered(place, one));
        if !outcome.agrees() {
            describe(&mut text, None, &outcome);
            break;
        }
    }
    text
}

fn describe(text: &mut String, commands: Option<&Commands>, outcome: &Outcome) {
    if let Some(commands) = commands {
        let _ = writeln!(
            text,
            "batch at {} from command {}:",
            commands.time, commands.first
        );
        for (place, record) in commands.records.iter().enumerate() {
            let _ = writeln!(text, "  {place}: {}", readable::message(record));
        }
    }
    let (engine, twin): (Vec<&[u8]>, Vec<&[u8]>) = (
        messages(&outcome.engine).collect(),
        messages(&outcome.twin).collect(),
    );
    let same = engine
        .iter()
        .zip(&twin)
        .take_while(|(one, other)| one == other)
        .count();
    let _ = writeln!(text, "  {same} events agree; from there on");
    for (name, events) in [("engine", &engine), ("twin", &twin)] {
        for event in events[same..].iter().take(8) {
            let _ = writeln!(text, "  {name:>6}: {}", readable::message(event));
        }
    }
    let _ = writeln!(
        text,
        "  next timer: engine {:?}, twin {:?}",
        outcome.timers.0, outcome.timers.1
    );
}

/// Each command by itself, with the time of its batch.
fn flatten(past: &[Commands]) -> Vec<Commands> {
    let mut flat = Vec::new();
    for commands in past {
        for record in &commands.records {
            flat.push(Commands {
                time: commands.time,
                first: CommandSequence(0),
                records: vec![record.clone()],
            });
        }
    }
    flat
}

fn numbered(place: usize, one: &Commands) -> Commands {
    Commands {
        first: CommandSequence(place as u64 + 1),
        ..one.clone()
    }
}

/// How many commands it takes until the two differ, if they do.
fn differ_after(commands: &[Commands]) -> Option<usize> {
    let mut pair = Pair::new();
    for (place, one) in commands.iter().enumerate() {
        if !pair.apply(&numbered(place, one)).agrees() {
            return Some(place + 1);
        }
    }
    None
}

/// Leaves out commands, many at once and then few, as long as the difference stays.
fn shorten(mut commands: Vec<Commands>) -> Vec<Commands> {
    let Some(count) = differ_after(&commands) else {
        return Vec::new();
    };
    commands.truncate(count);
    let mut chunk = commands.len().div_ceil(2);
    loop {
        let mut start = 0;
        while start < commands.len() {
            let end = (start + chunk).min(commands.len());
            let mut fewer = commands.clone();
            fewer.drain(start..end);
            match differ_after(&fewer) {
                Some(count) => {
                    fewer.truncate(count);
                    commands = fewer;
                }
                None => start = end,
            }
        }
        if chunk == 1 {
            return commands;
        }
        chunk = chunk.div_ceil(2);
    }
}
