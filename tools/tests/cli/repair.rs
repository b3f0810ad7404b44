//! `exahour repair`: all that a start mends is mended, and what nobody else has is not given up.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::exchange::{
    CONFIG, Exchange, count, fail, generated_orders, json, refuse, run, succeed, texts, until,
};
use crate::machine_output::check_keys;

/// Flips a bit of a file.
fn damage(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// The first segment of a log.
fn segment(folder: &Path) -> PathBuf {
    folder.join(format!("{:020}.log", 0))
}

/// How a part stood, and what it was found to be.
fn part(findings: &Value, which: &str, name: &str) -> (String, String) {
    let parts = findings[which].as_array().unwrap();
    let part = parts.iter().find(|it| it["part"] == name).unwrap();
    let text = |key: &str| part[key].as_str().unwrap().to_owned();
    (text("state"), text("found"))
}

/// An exchange that has stopped, with three orders on its book.
fn traded() -> Exchange {
    let mut exchange = Exchange::start();
    for price in ["2.40", "2.41", "2.42"] {
        succeed(&[
            "order",
            "buy",
            "1",
            "@",
            price,
            "1",
            "--data",
            &exchange.data(),
        ]);
    }
    exchange.stop();
    exchange
}

/// Where in the journal the frame with the last order is.
fn last_order(exchange: &Exchange) -> usize {
    let dumped = succeed(&["journal", "dump", &exchange.data(), "--json"]);
    let frames: Vec<Value> = dumped
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let is_order = |frame: &&Value| frame["messages"].to_string().contains("NewOrder");
    let frame = frames.iter().rfind(is_order).unwrap();
    count(frame, "position") as usize
}

#[test]
fn what_is_whole_is_left_as_it_is() {
    let mut exchange = traded();
    let data = exchange.data();
    let config = exchange.config();
    let found = json(&["repair", "--config", &config, "--data", &data, "--json"]);
    check_keys(&found, "repair");
    for name in ["identity", "raft-state", "journal", "event log"] {
        assert_eq!(part(&found, "parts", name).0, "whole", "{found}");
    }
    let shown = succeed(&["repair", "--config", &config, "--data", &data]);
    assert!(shown.contains("journal     whole"), "{shown}");
    // It only looks at a node that runs.
    exchange.restart();
    succeed(&["repair", "--check", "--data", &data]);
    exchange.stop();
    let empty = tempfile::tempdir().unwrap();
    let empty = empty.path().display().to_string();
    assert!(refuse(&["repair", "--data", &empty]).contains("holds no node"));
}

#[test]
fn what_is_missing_is_told() {
    let exchange = traded();
    let data = exchange.data();
    let check = || -> Value {
        let output = run(&["repair", "--check", "--json", "--data", &data]);
        serde_json::from_str(&texts(&output).0).unwrap()
    };
    let identity = exchange.path("data/identity");
    let id = fs::read_to_string(&identity).unwrap();
    fs::remove_file(&identity).unwrap();
    let (state, what) = part(&check(), "parts", "identity");
    assert_eq!(state, "damaged");
    assert!(
        what.contains(&format!("write {} into", id.trim())),
        "{what}"
    );
    fail(&["repair", "--check", "--data", &data]);
    fs::write(&identity, "0".repeat(32)).unwrap();
    let (state, what) = part(&check(), "parts", "identity");
    assert_eq!(state, "damaged");
    assert!(what.contains("the journal is that of"), "{what}");
    fs::write(&identity, id).unwrap();
    fs::remove_dir_all(exchange.path("data/events")).unwrap();
    let (state, what) = part(&check(), "parts", "event log");
    assert_eq!(state, "absent");
    assert!(what.contains("the next start writes it"), "{what}");
    succeed(&["repair", "--check", "--data", &data]);
}

#[test]
fn a_start_says_that_it_has_mended_the_promises() {
    let mut exchange = traded();
    damage(&exchange.path("data/raft-state"), 10);
    exchange.restart();
    let said = exchange.log();
    assert!(said.contains("one of the two copies in"), "{said}");
    exchange.stop();
    exchange.restart();
    let said = exchange.log();
    assert!(!said.contains("one of the two copies in"), "{said}");
    exchange.stop();
}

#[test]
fn the_journal_that_only_this_node_has_is_not_cut() {
    let exchange = traded();
    let data = exchange.data();
    let journal = exchange.path("data/journal");
    let whole = fs::read(segment(&journal)).unwrap();
    damage(&segment(&journal), last_order(&exchange) + 100);
    let damaged = fs::read(segment(&journal)).unwrap();

    let output = run(&["repair", "--check", "--json", "--data", &data]);
    assert_eq!(output.status.code(), Some(1));
    let found: Value = serde_json::from_str(&texts(&output).0).unwrap();
    let (state, what) = part(&found, "parts", "journal");
    assert_eq!(state, "damaged");
    assert!(what.contains("is damaged at position"), "{what}");

    let refused = fail(&["repair", "--config", &exchange.config(), "--data", &data]);
    assert!(refused.contains("restore the file"), "{refused}");
    assert_eq!(
        fs::read(segment(&journal)).unwrap(),
        damaged,
        "nothing is changed"
    );
    fs::write(segment(&journal), whole).unwrap();
    succeed(&["repair", "--config", &exchange.config(), "--data", &data]);
}

#[test]
fn what_follows_from_the_journal_and_copies_of_promises_are_made_again() {
    let config = format!("{CONFIG}[snapshots]\njournal_bytes = 65536\n");
    let mut exchange = Exchange::start_with(&config);
    let (data, file) = (exchange.data(), exchange.path("orders.csv"));
    generated_orders(&file, 2_000, 5);
    let file = file.display().to_string();
    let newest = |kind: &str| {
        let mut paths = fs::read_dir(exchange.path("data").join(kind)).unwrap();
        let is_one = |path: &PathBuf| {
            path.extension()
                .is_some_and(|it| kind.starts_with(it.to_str().unwrap()))
        };
        paths.find_map(|it| Some(it.unwrap().path()).filter(is_one))
    };
    let (snapshot, views) = until("a snapshot is taken, and views with it", || {
        succeed(&["feed", &file, "--data", &data, "--json"]);
        Some((newest("snapshots")?, newest("views")?))
    });
    exchange.stop();
    damage(&views, 200);
    damage(&snapshot, 500);
    damage(&exchange.path("data/raft-state"), 10);
    // The beginning of a segment: nothing behind it can be read.
    damage(&segment(&exchange.path("data/events")), 20);

    let config = exchange.config();
    let found = json(&["repair", "--config", &config, "--data", &data, "--json"]);
    for name in ["raft-state", "event log", "snapshots", "views"] {
        assert_eq!(part(&found, "parts", name).0, "damaged", "{found}");
        assert_ne!(part(&found, "mended", name).0, "damaged", "{found}");
    }
    assert!(snapshot.with_extension("snapshot.damaged").exists());
    // Nothing is left of the events, and nothing is not equal.
    let refused = fail(&["replay", &data, "--compare-events"]);
    assert!(refused.contains("nothing was compared"), "{refused}");
    exchange.restart();
    exchange.stop();
    let replayed = exchange.replay();
    assert_eq!(replayed["events_missing"], 0);
    assert_eq!(replayed["events"], replayed["events_compared"]);
    assert_eq!(replayed["snapshots_passed_over"], serde_json::json!([]));
}
