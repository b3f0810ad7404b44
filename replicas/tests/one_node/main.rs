//! One node over real sockets and files: orders go in, are journaled, matched and reported, and
//! survive a stop.

#![allow(clippy::unwrap_used)] // A test may fail where it stands.

mod exchange;
mod first_start;
#[path = "../in_and_out/mod.rs"]
mod in_and_out;
mod lost_power;
mod multicast;
mod snapshots;
mod upgrade;
mod views;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use exahour_journal::{Config as LogConfig, FrameMeta, Journal, Reader, Tail, Verify, inspect};
use exahour_replicas::{FRAME_COMMANDS, Node, replay};
use exahour_wire::codes::Side;
use exahour_wire::events::{OrderAccepted, OrderFilled, OrderRejected};
use exahour_wire::internal::Tick;
use exahour_wire::message::{Message, messages};
use exahour_wire::record::Record;
use exahour_wire::reject::Reject;
use exahour_wire::units::Quantity;

use exchange::{PATIENCE, config, config_with, connect, next_report};
use in_and_out::{first_segment, flip_a_bit, order, read_events};

#[test]
fn what_tells_of_everybody_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    Node::start(&config(&data)).unwrap().stop().unwrap();
    for (name, rights) in [
        ("journal", 0o700),
        ("events", 0o700),
        ("snapshots", 0o700),
        ("keys", 0o600),
        ("identity", 0o600),
    ] {
        let found = std::fs::metadata(data.join(name)).unwrap().permissions();
        assert_eq!(found.mode() & 0o777, rights, "{name}");
    }
}

#[test]
fn orders_trade_and_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(&config(folder.path())).unwrap();
    let mut alpha = connect(&node, 1);
    let mut beta = connect(&node, 2);

    beta.send(&order(1, 200, Side::Sell, 10)).unwrap();
    let resting: OrderAccepted = next_report(&mut beta);
    alpha.send(&order(2, 100, Side::Buy, 4)).unwrap();
    let _: OrderAccepted = next_report(&mut alpha);
    let fill: OrderFilled = next_report(&mut alpha);
    assert_eq!((fill.quantity, fill.leaves), (Quantity(4), Quantity(0)));
    let maker: OrderFilled = next_report(&mut beta);
    assert_eq!((maker.trade, maker.leaves), (fill.trade, Quantity(6)));
    drop((alpha, beta));
    node.stop().unwrap();

    let node = Node::start(&config(folder.path())).unwrap();
    let mut alpha = connect(&node, 1);
    alpha.send(&order(3, 100, Side::Buy, 6)).unwrap();
    let _: OrderAccepted = next_report(&mut alpha);
    let fill: OrderFilled = next_report(&mut alpha);
    assert_eq!((fill.quantity, fill.leaves), (Quantity(6), Quantity(0)));
    assert_ne!(fill.order, resting.order);
    node.stop().unwrap();

    let journal = folder.path().join("journal");
    let mut events = Vec::new();
    let first = replay(&journal, &mut events).unwrap();
    let mut again = Vec::new();
    let second = replay(&journal, &mut again).unwrap();
    assert_eq!(first.state_hash, second.state_hash);
    assert_eq!(events, again);
    assert!(first.checkpoints >= 1, "{first:?}");
}

/// How many orders may live is configuration when a node starts, and the log's from then on.
#[test]
fn a_replay_knows_how_many_orders_could_live() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = config(folder.path());
    let mut given = 0;
    for orders in [2, 3, 1] {
        settings.capacity.orders = orders;
        let node = Node::start(&settings).unwrap();
        let mut alpha = connect(&node, 1);
        while given < orders {
            given += 1;
            alpha.send(&order(given.into(), 100, Side::Buy, 1)).unwrap();
            let _: OrderAccepted = next_report(&mut alpha);
        }
        alpha.send(&order(99, 100, Side::Buy, 1)).unwrap();
        let refused: OrderRejected = next_report(&mut alpha);
        assert_eq!(refused.reason, Reject::TooManyOrders.into());
        drop(alpha);
        node.stop().unwrap();
    }
    let report = replay(&folder.path().join("journal"), &mut Vec::new()).unwrap();
    assert!(report.checkpoints >= 3, "{report:?}");
    let mut replayed = Vec::new();
    replay(&folder.path().join("journal"), &mut replayed).unwrap();
    // A node that stops may leave the events of its last commands to the next start.
    let written = read_events(&folder.path().join("events"));
    assert!(replayed.starts_with(&written), "the events differ");
    let refused = |bytes: &[u8]| messages(bytes).filter_map(OrderRejected::read).count();
    assert_eq!(refused(&written), 3);
}

#[test]
fn a_damaged_event_log_is_written_again_from_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(&config(folder.path())).unwrap();
    let mut alpha = connect(&node, 1);
    for name in 1..=300 {
        alpha.send(&order(name, 100, Side::Buy, 1)).unwrap();
        let _: OrderAccepted = next_report(&mut alpha);
    }
    drop(alpha);
    node.stop().unwrap();
    let events = folder.path().join("events");
    let written = read_events(&events);

    let middle = inspect(&events, Verify::Every).unwrap().appended.value() / 2;
    flip_a_bit(&first_segment(&events), middle as usize);
    let node = Node::start(&config(folder.path())).unwrap();
    let mut alpha = connect(&node, 1);
    alpha.send(&order(301, 100, Side::Buy, 1)).unwrap();
    let _: OrderAccepted = next_report(&mut alpha);
    drop(alpha);
    node.stop().unwrap();
    assert!(read_events(&events).starts_with(&written));
    let parts = std::fs::read_dir(&events).unwrap();
    let parts = parts.filter(|it| it.as_ref().unwrap().path().is_dir());
    assert_eq!(parts.count(), 1, "what was there is kept");
}

/// Whether the stages of the engine share a thread is invisible: a node that runs them apart writes
/// the events that a replay, which runs them fused, gives.
#[test]
fn stages_on_threads_of_their_own_write_the_same_events() {
    let folder = tempfile::tempdir().unwrap();
    let threads = "checkpoint_every = 7\n\
        [[thread]]\nname = \"a\"\nidle = \"yield\"\nagents = [\"order-gateway\", \"sequencer\", \"disk\"]\n\
        [[thread]]\nname = \"b\"\nidle = \"yield\"\nagents = [\"admission\"]\n\
        [[thread]]\nname = \"c\"\nidle = \"yield\"\nagents = [\"engine\"]\n\
        [[thread]]\nname = \"d\"\nidle = \"park:200us\"\n\
        agents = [\"market-data\", \"drop-copy\", \"staging\", \"snapshots\"]\n";
    let settings = config_with(folder.path(), threads);
    let mut last = 0;
    for round in 0..2 {
        let node = Node::start(&settings).unwrap();
        let (mut alpha, mut beta) = (connect(&node, 1), connect(&node, 2));
        for name in round * 100..round * 100 + 50 {
            alpha.send(&order(name, 100, Side::Buy, 3)).unwrap();
            let _: OrderAccepted = next_report(&mut alpha);
            beta.send(&order(name, 200, Side::Sell, 3)).unwrap();
            let _: OrderAccepted = next_report(&mut beta);
            let fill: OrderFilled = next_report(&mut beta);
            assert!(fill.trade.0 > last, "{fill:?}");
            last = fill.trade.0;
            let _: OrderFilled = next_report(&mut alpha);
        }
        drop((alpha, beta));
        node.stop().unwrap();
    }
    let mut replayed = Vec::new();
    let report = replay(&folder.path().join("journal"), &mut replayed).unwrap();
    assert!(report.checkpoints > 10, "{report:?}");
    let written = read_events(&folder.path().join("events"));
    assert!(replayed.starts_with(&written), "the events differ");
    let fills = messages(&written).filter_map(OrderFilled::read).count();
    assert_eq!(fills, 200);
}

/// A journal from the future: the clock of this machine must have been set back.
#[test]
fn a_clock_behind_the_journal_is_refused_and_the_journal_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let settings = config(folder.path());
    Node::start(&settings).unwrap().stop().unwrap();
    let path = folder.path().join("journal");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let stamp = (now + Duration::from_secs(3_600)).as_nanos() as u64;
    let last = append(&path, stamp, &Tick::blank(), 1);
    let refused = Node::start(&settings).err().unwrap().to_string();
    assert!(
        refused.contains("s behind the last stamp in the journal"),
        "{refused}"
    );
    let left = inspect(&path, Verify::Every).unwrap();
    assert_eq!((left.last_index, left.tail), (last, Tail::Clean));
}

/// Everything was flushed, and long ago; then a bit of it changed on the disk.
#[test]
fn a_damaged_frame_is_never_applied_however_old_its_segment_is() {
    let folder = tempfile::tempdir().unwrap();
    let settings = config(folder.path());
    Node::start(&settings).unwrap().stop().unwrap();
    let path = folder.path().join("journal");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    // Three segments of ticks.
    append(&path, now.as_nanos() as u64, &Tick::blank(), 25_000);
    let recovered = inspect(&path, Verify::Every).unwrap();
    let mut reader = Reader::closed(&path, &recovered, Verify::Trust).unwrap();
    let frame = std::iter::from_fn(|| {
        let frame = reader.next(recovered.appended).unwrap()?;
        Some((frame.header.kind, frame.position))
    })
    .find(|(kind, _)| *kind == FRAME_COMMANDS);
    let payload = frame.unwrap().1.value() + 64 + 8;
    let mut segments: Vec<_> = std::fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "log"))
        .collect();
    segments.sort();
    assert!(segments.len() > 2, "{segments:?}");
    let mut bytes = std::fs::read(&segments[0]).unwrap();
    bytes[payload as usize] ^= 1;
    std::fs::write(&segments[0], &bytes).unwrap();
    let failure = match Node::start(&settings) {
        Ok(node) => {
            let end = Instant::now() + PATIENCE;
            while !node.finished() {
                assert!(Instant::now() < end, "it goes on, with what nobody wrote");
                std::thread::yield_now();
            }
            node.join().err().unwrap().to_string()
        }
        Err(refused) => refused.to_string(),
    };
    let name = segments[0].file_name().unwrap().to_str().unwrap();
    assert!(failure.contains(name), "{failure}");
}

/// Appends frames of one command each with this stamp, the same in each; the index of the last.
fn append<M: Message>(path: &Path, stamp: u64, command: &M, frames: u64) -> u64 {
    let recovered = inspect(path, Verify::Every).unwrap();
    let mut reader = Reader::closed(path, &recovered, Verify::Trust).unwrap();
    let mut next_command = 1;
    while let Some(frame) = reader.next(recovered.appended).unwrap() {
        next_command =
            next_command.max(frame.header.first_sequence + u64::from(frame.header.count));
    }
    let shape = LogConfig::new(path, reader.log_id()).with_segment_bytes(1 << 20);
    let mut journal = Journal::open(&shape).unwrap();
    for frame in 0..frames {
        let meta = FrameMeta {
            index: recovered.last_index + 1 + frame,
            term: 1,
            count: 1,
            kind: FRAME_COMMANDS,
            first_sequence: next_command + frame,
            time_ns: stamp,
        };
        journal
            .appender
            .append(&meta, &[Record::new(command).bytes()])
            .unwrap();
    }
    journal.flusher.flush().unwrap();
    recovered.last_index + frames
}
