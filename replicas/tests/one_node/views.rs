//! A start reads only the events that came after the views, and nobody can tell.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use exahour_gateway::client::Client;
use exahour_gateway::clock::{Clock, SystemClock};
use exahour_gateway::credentials::Keys;
use exahour_gateway::feed::client::FeedClient;
use exahour_gateway::feed::drop_copy_client::DropCopyClient;
use exahour_gateway::image::{BookImage, Books, Flow, RestingOrder};
use exahour_journal::{Position, Reader, Verify};
use exahour_replicas::{Node, NodeConfig, Recovery, repair};
use exahour_wire::codes::{FeedDepth, Side};
use exahour_wire::events::{EventPrefix, FrameEnd, OrderAccepted, OrderFilled};
use exahour_wire::ids::{EventSequence, ParticipantId, SessionId};
use exahour_wire::message::messages;
use exahour_wire::orders::NewOrder;

use crate::exchange::{PATIENCE, config_with, connect, next_report};
use crate::in_and_out::{order, read_events};

/// A data folder in which views come often.
struct Trial {
    folder: tempfile::TempDir,
    names: u64,
}

impl Trial {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            names: 0,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self) -> NodeConfig {
        let more =
            "[snapshots]\njournal_bytes = 20000\n[sessions]\nmarket_data_history_bytes = 65536\n";
        let mut config = config_with(self.folder.path(), more);
        config.segment_bytes = 65_536;
        config
    }

    fn views(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("views")).into_iter().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|found| found == "views"));
        paths.sort();
        paths
    }

    /// Trades until there are so many views that were not there before; how the node came back.
    fn trade_until_views(&mut self, count: usize) -> Recovery {
        let before = self.views();
        let node = Node::start(&self.config()).unwrap();
        let (mut alpha, mut beta) = (connect(&node, 1), connect(&node, 2));
        let end = Instant::now() + PATIENCE;
        let mut seen = BTreeSet::new();
        while seen.len() < count {
            assert!(Instant::now() < end, "no views within {PATIENCE:?}");
            self.trade(&mut alpha, &mut beta);
            seen.extend(self.views().into_iter().filter(|it| !before.contains(it)));
        }
        let recovery = node.recovery().clone();
        drop((alpha, beta));
        node.stop().unwrap();
        recovery
    }

    fn trade(&mut self, alpha: &mut Client, beta: &mut Client) {
        self.names += 3;
        // One that rests, so that views have a book in them.
        let resting = NewOrder {
            price: "2.40".parse().unwrap(),
            ..order(self.names, 100, Side::Buy, 1)
        };
        alpha.send(&resting).unwrap();
        let _: OrderAccepted = next_report(alpha);
        beta.send(&order(self.names + 1, 200, Side::Sell, 3))
            .unwrap();
        let _: OrderAccepted = next_report(beta);
        alpha
            .send(&order(self.names + 2, 100, Side::Buy, 3))
            .unwrap();
        let _: OrderAccepted = next_report(alpha);
        let _: OrderFilled = next_report(alpha);
        let _: OrderFilled = next_report(beta);
    }

    /// Turns a bit of the second frame of the event log.
    fn damage_the_beginning(&self) {
        let mut reader = Reader::follow(self.path("events"), Verify::Trust).unwrap();
        let end = Position::new(u64::MAX);
        reader.next(end).unwrap();
        let at = reader.next(end).unwrap().unwrap().position.value() + 64 + 20;
        let path = self.path("events").join(format!("{:020}.log", 0));
        let mut bytes = fs::read(&path).unwrap();
        bytes[at as usize] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
}

/// All resting orders, in the order of the books.
fn orders_in(books: &Books) -> Vec<RestingOrder> {
    let instruments = books.all().map(|(instrument, _)| instrument);
    instruments.flat_map(|it| books.orders_of(it)).collect()
}

/// What market data says rests.
fn served(node: &Node) -> Vec<RestingOrder> {
    let mut clock = SystemClock::default();
    let address = node.addresses().market_data;
    let mut client = FeedClient::new(address, FeedDepth::Orders, Flow::All);
    let end = Instant::now() + PATIENCE;
    while !client.image().whole() {
        assert!(Instant::now() < end, "no market data within {PATIENCE:?}");
        client.poll(clock.steady(), &mut |_, _| ()).unwrap();
        client.wait(Duration::from_millis(1));
    }
    orders_in(client.image().books())
}

/// What rests after these events.
fn resting(events: &[u8]) -> Vec<RestingOrder> {
    let mut image = BookImage::new();
    image
        .apply_batch(events, FrameEnd::Command, &mut |_, _| ())
        .unwrap();
    orders_in(image.books())
}

static NOTICES: Mutex<Vec<String>> = Mutex::new(Vec::new());

#[test]
fn a_start_reads_only_what_came_after_them() {
    let mut trial = Trial::new();
    assert_eq!(trial.trade_until_views(2).views_event, 0);
    let mut last = 0;
    for _ in 0..3 {
        // A start may take the newest or the one before: of two more it takes another.
        let known = trial.trade_until_views(2).views_event;
        assert!(known > last, "{known} after {last}");
        last = known;
    }
    assert!(trial.views().len() <= 3, "{:?}", trial.views());

    let events = read_events(&trial.path("events"));
    let node = Node::start(&trial.config()).unwrap();
    assert!(node.recovery().views_event > 0);
    assert_eq!(served(&node), resting(&events));
    let mut alpha = connect(&node, 1);
    alpha.send(&order(1, 100, Side::Buy, 1)).unwrap();
    drop(alpha);
    node.stop().unwrap();
}

#[test]
fn drop_copy_goes_back_to_the_first_report() {
    let mut trial = Trial::new();
    trial.trade_until_views(2);
    let events = read_events(&trial.path("events"));
    let node = Node::start(&trial.config()).unwrap();
    assert!(node.recovery().views_event > 0);
    let session = SessionId(1);
    let owned = |event: &&[u8]| EventPrefix::peek(event).unwrap().session == session;
    let wanted: Vec<&[u8]> = messages(&events).filter(owned).collect();
    let keys = Keys::load(node.keys()).unwrap();
    let mut client = DropCopyClient::new(
        node.addresses().drop_copy,
        session,
        ParticipantId(1),
        keys.key_of(session).unwrap().clone(),
        EventSequence(0),
    );
    let (mut got, mut clock) = (Vec::new(), SystemClock::default());
    let end = Instant::now() + PATIENCE;
    while got.len() < wanted.len() {
        assert!(Instant::now() < end, "{} of {}", got.len(), wanted.len());
        let (steady, now) = (clock.steady(), clock.now());
        client
            .poll(steady, now, &mut |event| {
                if owned(&event) {
                    got.push(event.to_vec());
                }
            })
            .unwrap();
        client.wait(Duration::from_millis(1));
    }
    assert_eq!(got[..wanted.len()], wanted);
    node.stop().unwrap();
}

/// The start that believes is quick, and the one after the damage was found mends it.
#[test]
fn damage_before_them_is_found_beside_the_trading_and_mended_by_the_next_start() {
    let mut trial = Trial::new();
    trial.trade_until_views(5);
    let written = read_events(&trial.path("events"));
    trial.damage_the_beginning();
    let mut config = trial.config();
    config.notice = |notice| NOTICES.lock().unwrap().push(notice.to_owned());
    let node = Node::start(&config).unwrap();
    assert!(node.recovery().views_event > 0);
    let end = Instant::now() + PATIENCE;
    while !trial.views().is_empty() {
        assert!(Instant::now() < end, "nobody has checked what was believed");
        std::thread::yield_now();
    }
    assert_eq!(served(&node), resting(&written));
    node.stop().unwrap();
    let heard = NOTICES.lock().unwrap().concat();
    assert!(
        heard.contains("in a part that this start did not read"),
        "{heard}"
    );

    let node = Node::start(&config).unwrap();
    assert_eq!(node.recovery().views_event, 0);
    assert_eq!(served(&node), resting(&written));
    node.stop().unwrap();
    assert!(read_events(&trial.path("events")).starts_with(&written));
}

/// Somebody met the damage first, and the node ended: the next start verifies what nobody has checked.
#[test]
fn a_start_after_one_whose_belief_was_not_checked_verifies_all() {
    let mut trial = Trial::new();
    trial.trade_until_views(5);
    let written = read_events(&trial.path("events"));
    trial.damage_the_beginning();
    fs::write(trial.path("views").join("unchecked"), "").unwrap();
    let node = Node::start(&trial.config()).unwrap();
    assert_eq!(node.recovery().views_event, 0, "the damage is before them");
    assert_eq!(served(&node), resting(&written));
    node.stop().unwrap();
    assert!(read_events(&trial.path("events")).starts_with(&written));
    assert!(!trial.path("views").join("unchecked").exists());
}

/// Who looks through a folder believes nothing.
#[test]
fn a_repair_finds_damage_before_them() {
    let mut trial = Trial::new();
    trial.trade_until_views(5);
    let written = read_events(&trial.path("events"));
    trial.damage_the_beginning();
    repair(&trial.config()).unwrap();
    assert!(read_events(&trial.path("events")).len() < written.len());
    let node = Node::start(&trial.config()).unwrap();
    assert_eq!(node.recovery().views_event, 0);
    assert_eq!(served(&node), resting(&written));
    node.stop().unwrap();
    assert!(read_events(&trial.path("events")).starts_with(&written));
}

#[test]
fn views_of_another_log_or_damaged_ones_are_not_used() {
    let (mut this, mut other) = (Trial::new(), Trial::new());
    this.trade_until_views(2);
    other.trade_until_views(2);
    for path in this.views() {
        fs::remove_file(path).unwrap();
    }
    for path in other.views() {
        fs::copy(&path, this.path("views").join(path.file_name().unwrap())).unwrap();
    }
    let events = read_events(&this.path("events"));
    let node = Node::start(&this.config()).unwrap();
    assert_eq!(node.recovery().views_event, 0);
    assert_eq!(served(&node), resting(&events));
    node.stop().unwrap();
    assert!(this.views().is_empty());

    for path in other.views() {
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    let node = Node::start(&other.config()).unwrap();
    assert_eq!(node.recovery().views_event, 0);
    node.stop().unwrap();
}

/// An event log that was moved away is written again whole, and what stood on the old one is not used.
#[test]
fn views_of_a_log_that_is_gone_are_not_used() {
    let mut trial = Trial::new();
    trial.trade_until_views(2);
    let written = read_events(&trial.path("events"));
    fs::remove_dir_all(trial.path("events")).unwrap();
    fs::remove_dir_all(trial.path("snapshots")).unwrap();
    let node = Node::start(&trial.config()).unwrap();
    assert_eq!(node.recovery().views_event, 0);
    assert_eq!(served(&node), resting(&written));
    node.stop().unwrap();
    assert!(trial.views().is_empty());
}
