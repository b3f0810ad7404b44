//! A node that is alone, acknowledges from memory, and loses its power: the last commands are gone, and the events
//! that tell of them go with them.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use exahour_replicas::{Node, NodeConfig};
use exahour_wire::codes::Side;
use exahour_wire::events::{EventPrefix, OrderAccepted};
use exahour_wire::message::messages;

use crate::exchange::{PATIENCE, config_with, connect, next_report};
use crate::in_and_out::{first_segment, keep_for_power_loss, lose_power, order, read_events};

/// A data folder, and how many orders were placed.
struct Trial {
    folder: tempfile::TempDir,
    keep_bytes: u64,
    orders: u64,
}

impl Trial {
    fn new(keep_bytes: u64) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            keep_bytes,
            orders: 0,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self) -> NodeConfig {
        let more = "durability = \"replicated\"\n[snapshots]\njournal_bytes = 20000\n";
        let mut config = config_with(self.folder.path(), more);
        (config.segment_bytes, config.journal_keep_bytes) = (65_536, self.keep_bytes);
        config
    }

    fn events(&self) -> Vec<u8> {
        read_events(&self.path("events"))
    }

    /// Starts the node, has at least so many orders accepted, and stops it; one that keeps little has released the
    /// beginning of its journal by then.
    fn trade(&mut self, count: u64) {
        let node = Node::start(&self.config()).unwrap();
        let mut client = connect(&node, 1);
        let (first, end) = (
            first_segment(&self.path("journal")),
            Instant::now() + PATIENCE,
        );
        let until = self.orders + count;
        while self.orders < until || self.keep_bytes > 0 && first.exists() {
            assert!(Instant::now() < end, "not within {PATIENCE:?}");
            self.orders += 1;
            client.send(&order(self.orders, 100, Side::Buy, 1)).unwrap();
            let _: OrderAccepted = next_report(&mut client);
        }
        drop(client);
        node.stop().unwrap();
    }

    /// Trades, loses the last 300 orders, and trades on; the events that are told then.
    fn lose_the_last(&mut self) -> Vec<u8> {
        self.trade(500);
        keep_for_power_loss(self.folder.path());
        self.trade(300);
        let before = self.events().len();
        lose_power(self.folder.path());
        self.trade(10);
        let told = self.events();
        assert!(told.len() < before);
        told
    }
}

#[test]
fn the_event_log_tells_what_the_journal_gives_and_no_more() {
    let mut trial = Trial::new(0);
    let told = trial.lose_the_last();
    for name in ["events", "views"] {
        fs::remove_dir_all(trial.path(name)).unwrap();
    }
    trial.trade(1);
    // Not by `assert_eq`: it would print all of both.
    let again = trial.events();
    let same = again.starts_with(&told);
    assert!(same, "the journal gives other events");
}

/// What came before the snapshot the journal does not give any more: it is kept.
#[test]
fn a_node_that_has_released_its_journal_starts_again() {
    let told = Trial::new(1).lose_the_last();
    let events = messages(&told).filter_map(EventPrefix::peek);
    let numbers: Vec<u64> = events.map(|it| it.event.0).collect();
    assert!(numbers.iter().copied().eq(1..=numbers.len() as u64));
}
