//! Compares what traders sent and were told with what the node left on disk.
//!
//! Called at the end of every test, when nothing writes any more.
//!
//! Always holds: the facts are taken from the files and the ledgers alone, by plain maps; the node's
//! own words about itself count for nothing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;

use exahour_journal::{Reader, Verify, inspect};
use exahour_replicas::{FRAME_COMMANDS, ReplayReport, replay};
use exahour_wire::events::{EventPrefix, OrderAccepted, SequenceGap, StateHashed};
use exahour_wire::ids::SessionVersion;
use exahour_wire::internal::{Checkpoint, NodeStarted, OpenSession};
use exahour_wire::message::{Digest, Message, messages, peek_header};
use exahour_wire::orders::NewOrder;

use crate::books;
use crate::node::{NodeProcess, until};
use crate::trader::{Fate, Ledger, VERSION};

/// Which message of which session: version and number with it.
type Key = (u32, SessionVersion, u32);

/// What the genesis of the configuration comes to; the start of the node goes before.
const GENESIS_COMMANDS: usize = 11;

/// What the journal holds, by a walk that knows nothing of the engine.
#[derive(Default)]
struct Journaled {
    /// Every order command, and how often it is there.
    orders: HashMap<Key, (u64, Vec<u8>)>,
    checkpoints: Vec<Checkpoint>,
    starts: u64,
    commands: u64,
}

/// Bytes of journal from one snapshot to the next, as `node.toml` says.
const SNAPSHOT_BYTES: u64 = 200_000;

/// Checks everything; prints the counts.
pub(crate) fn audit(node: &NodeProcess, ledgers: &[Ledger]) {
    let journaled = walk_journal(node);
    let mut replayed = Vec::new();
    let report = replay(&node.data().join("journal"), &mut replayed).unwrap();
    let stored = events_on_disk(node);
    // What the engine had not applied when it was stopped is applied by the next start.
    assert!(replayed.starts_with(&stored), "event log and replay differ");
    let events: Vec<&[u8]> = messages(&replayed).collect();
    for (place, event) in events.iter().enumerate() {
        let number = EventPrefix::peek(event).unwrap().event.0;
        assert_eq!(number, place as u64 + 1, "event numbers have no gap");
    }
    check_checkpoints(&journaled, &report, &events);
    // Every snapshot that has its name is whole, stands on this journal, and holds its state.
    assert_eq!(report.snapshots, snapshots(node));
    let stored: Vec<&[u8]> = messages(&stored).collect();
    check_reports(ledgers, &stored);
    check_acceptances(ledgers, &journaled, &events);
    check_gaps(ledgers, &events);
    let counts = check_fates(ledgers, &journaled);
    let trades = books::check(&events);
    if !ledgers.is_empty() {
        print_counts(node, &journaled, &report, ledgers, &counts, trades);
    }
}

/// Every event that the node wrote, in all its lives.
pub(crate) fn events_on_disk(node: &NodeProcess) -> Vec<u8> {
    let mut events = Vec::new();
    walk(node, "events", |_, _, payload| {
        events.extend_from_slice(payload)
    });
    events
}

fn walk(node: &NodeProcess, log: &str, mut look: impl FnMut(u8, u64, &[u8])) {
    let folder = node.data().join(log);
    let recovered = inspect(&folder, Verify::Every).unwrap();
    let mut reader = Reader::closed(&folder, &recovered, Verify::Every).unwrap();
    while let Some(frame) = reader.next(recovered.appended).unwrap() {
        let header = frame.header;
        look(header.kind, header.first_sequence, frame.payload);
    }
}

fn walk_journal(node: &NodeProcess) -> Journaled {
    let mut found = Journaled::default();
    let mut versions: HashMap<u32, SessionVersion> = HashMap::new();
    walk(node, "journal", |kind, first, payload| {
        if kind != FRAME_COMMANDS {
            return;
        }
        assert_eq!(first, found.commands + 1, "command numbers have no gap");
        // A kill leaves a frame or none: an exchange begins whole, or not at all.
        // With it come the start of the node and the rules that it begins with.
        let begins = found.commands == 0;
        assert!(
            !begins || messages(payload).count() == GENESIS_COMMANDS + 2,
            "the genesis is not in the first frame"
        );
        for command in messages(payload) {
            found.commands += 1;
            let template = peek_header(command).unwrap().template_id;
            if let Some(open) = OpenSession::read(command) {
                let version = versions.entry(open.session.0).or_default();
                *version = open.version.max(*version);
            } else if let Some(checkpoint) = Checkpoint::read(command) {
                found.checkpoints.push(checkpoint);
            } else if template == NodeStarted::TEMPLATE_ID {
                found.starts += 1;
            } else if (101..=103).contains(&template) {
                let (session, sequence) = (word(command, 8), word(command, 12));
                let version = versions[&session];
                let place = found.orders.entry((session, version, sequence));
                place.or_insert_with(|| (0, command.to_vec())).0 += 1;
            }
        }
    });
    found
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Every checkpoint says what a fresh engine says: by the replay, and by the events.
fn check_checkpoints(journaled: &Journaled, report: &ReplayReport, events: &[&[u8]]) {
    let hashes: HashMap<u64, Digest> = events
        .iter()
        .filter_map(|event| StateHashed::read(event))
        .map(|hashed| (hashed.command.0, hashed.state_hash))
        .collect();
    for checkpoint in &journaled.checkpoints {
        assert_eq!(hashes[&checkpoint.at_command.0], checkpoint.state_hash);
    }
    assert_eq!(report.checkpoints, journaled.checkpoints.len() as u64);
    assert_eq!(report.commands, journaled.commands);
    assert!(report.checkpoints >= 1);
}

/// Waits until a snapshot is there, where one is due: it is taken when nobody else wants the processor.
pub(crate) fn await_snapshot(node: &NodeProcess) {
    let journal = inspect(node.data().join("journal"), Verify::Trust).unwrap();
    if journal.appended.value() < 2 * SNAPSHOT_BYTES {
        return;
    }
    until("a snapshot", || (snapshots(node) > 0).then_some(()));
}

/// How many snapshots there are.
fn snapshots(node: &NodeProcess) -> u64 {
    let entries = std::fs::read_dir(node.data().join("snapshots")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let named = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "snapshot");
    paths.filter(named).count() as u64
}

/// A trader was told exactly the reports to its session, each once, in order, byte for byte.
fn check_reports(ledgers: &[Ledger], events: &[&[u8]]) {
    let mut numbers = HashSet::new();
    for ledger in ledgers {
        let addressed = events.iter().filter(|event| {
            let prefix = EventPrefix::peek(event).unwrap();
            prefix.session == ledger.session && prefix.sequence.0 != 0
        });
        let mut count = 0;
        for (event, told) in addressed.zip(&ledger.told) {
            count += 1;
            let prefix = EventPrefix::peek(told).unwrap();
            assert_eq!(prefix.sequence.0, count, "session {}", ledger.session);
            assert!(event == told, "session {}, report {count}", ledger.session);
            assert!(numbers.insert(prefix.event), "told twice: {prefix:?}");
        }
        let addressed = events.iter().filter_map(|event| EventPrefix::peek(event));
        let addressed = addressed
            .filter(|prefix| prefix.session == ledger.session && prefix.sequence.0 != 0)
            .count();
        assert_eq!(addressed, ledger.told.len(), "session {}", ledger.session);
    }
}

/// An acknowledged order is journaled once, as it was sent; no name was accepted twice.
fn check_acceptances(ledgers: &[Ledger], journaled: &Journaled, events: &[&[u8]]) {
    let mut names = HashSet::new();
    for accepted in events.iter().filter_map(|event| OrderAccepted::read(event)) {
        let name = (accepted.session, accepted.client_order_id);
        assert!(names.insert(name), "accepted twice: {accepted:?}");
    }
    for ledger in ledgers {
        let told = ledger.told.iter();
        for accepted in told.filter_map(|report| OrderAccepted::read(report)) {
            let key = (ledger.session.0, VERSION, accepted.client_sequence.0);
            let (times, bytes) = &journaled.orders[&key];
            assert_eq!(*times, 1, "{accepted:?}");
            let order = NewOrder::read(bytes).unwrap();
            assert_eq!(order.client_order_id, accepted.client_order_id);
        }
    }
}

/// The gaps in the log are the messages that were told as not applied, or as busy.
fn check_gaps(ledgers: &[Ledger], events: &[&[u8]]) {
    for ledger in ledgers {
        let gaps = events.iter().filter_map(|event| SequenceGap::read(event));
        let gaps = gaps.filter(|gap| gap.session == ledger.session);
        let named: Vec<u32> = gaps
            .flat_map(|gap| gap.from_sequence.0..gap.from_sequence.0 + gap.count)
            .collect();
        let told = ledger.sent.iter().zip(1..);
        let told: Vec<u32> = told
            .filter(|(sent, _)| matches!(sent.fate, Fate::NotApplied | Fate::Busy))
            .map(|(_, sequence)| sequence)
            .collect();
        assert_eq!(named, told, "session {}", ledger.session);
    }
}

/// Every message has one fate, and the journal agrees with it; how many have which.
fn check_fates(ledgers: &[Ledger], journaled: &Journaled) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    let mut known = 0;
    for ledger in ledgers {
        for (place, sent) in ledger.sent.iter().enumerate() {
            let sequence = u32::try_from(place + 1).unwrap();
            let key = (ledger.session.0, VERSION, sequence);
            let found = journaled.orders.get(&key);
            if let Some((times, bytes)) = found {
                known += 1;
                assert_eq!(*times, 1, "applied twice: {key:?}");
                assert!(bytes == &sent.bytes, "journaled otherwise: {key:?}");
            }
            let class = match (sent.fate, found.is_some()) {
                (Fate::Answered(life), true) if life == sent.life => "answered at once",
                (Fate::Answered(_), true) => "answered after a kill",
                (Fate::NotApplied, false) => "told as not applied",
                (Fate::Busy, false) => "told as busy",
                other => panic!("{key:?}: told and in the journal: {other:?}"),
            };
            *counts.entry(class).or_default() += 1;
        }
    }
    if !ledgers.is_empty() {
        assert_eq!(known, journaled.orders.len(), "orders that nobody sent");
    }
    counts
}

fn print_counts(
    node: &NodeProcess,
    journaled: &Journaled,
    report: &ReplayReport,
    ledgers: &[Ledger],
    counts: &BTreeMap<&'static str, u64>,
    trades: usize,
) {
    let sum = |count: fn(&Ledger) -> u64| ledgers.iter().map(count).sum::<u64>();
    println!("{}", node.path().display());
    println!("  {:>9} starts journaled", journaled.starts);
    println!("  {:>9} messages sent", sum(|it| it.sent.len() as u64));
    for (class, count) in counts {
        println!("  {count:>9}   {class}");
    }
    println!("  {:>9} sent again under their name", sum(|it| it.resent));
    println!("  {:>9} reports told", sum(|it| it.told.len() as u64));
    println!("  {:>9} reconnections", sum(|it| it.reconnects));
    for ledger in ledgers {
        for (reason, count) in &ledger.failures {
            let session = ledger.session;
            println!("  {count:>9}   failed, session {session}: {reason}");
        }
    }
    println!(
        "  {:>9} commands, {} events",
        report.commands, report.events
    );
    println!("  {:>9} checkpoints equal", report.checkpoints);
    println!("  {:>9} snapshots equal", report.snapshots);
    println!("  {trades:>9} trades, money conserved");
}
