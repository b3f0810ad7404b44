//! A journal that has given up its head: with an archive it is read whole, and without it from a snapshot.

use std::fs;
use std::process::Stdio;

use serde_json::Value;

use crate::exchange::{
    Exchange, count, exahour, fail, generated_orders, json, run, succeed, texts, until,
};

/// Small segments, of which little is kept, and an archive.
const CONFIG: &str = "checkpoint_every = 1000\n[journal]\nsegment_bytes = 262144\nkeep_bytes = 1\narchive = true\n\
                      [snapshots]\njournal_bytes = 200000\nkeep = 1\n[capacity]\norders = 65536\npositions = 1024\n";

/// An exchange that has stopped, whose journal has given up its head, in several segments.
fn headless() -> Exchange {
    let mut exchange = Exchange::start_with(CONFIG);
    let file = exchange.path("orders.csv");
    generated_orders(&file, 10_000, 5);
    let data = exchange.data();
    let archive = exchange.path("data/archive");
    let kept = || fs::read_dir(&archive).map_or(0, Iterator::count);
    let name = file.display().to_string();
    until("four segments are given up", || {
        let mut feed = exahour(&["feed", &name, "--data", &data, "--json"]);
        assert!(feed.stdout(Stdio::null()).status().unwrap().success());
        (kept() >= 4).then_some(())
    });
    exchange.stop();
    exchange
}

fn rows(data: &str) -> (Vec<Value>, Value) {
    let text = succeed(&["audit", data, "--format", "json", "--json"]);
    let mut rows: Vec<Value> = text
        .lines()
        .map(|row| serde_json::from_str(row).unwrap())
        .collect();
    let summary = rows.pop().unwrap();
    (rows, summary)
}

#[test]
fn it_is_read_whole_from_its_archive_and_from_a_snapshot_without() {
    let exchange = headless();
    let data = exchange.data();
    let whole = json(&["replay", &data, "--compare-events", "--json"]);
    assert_eq!(whole["began_behind"], Value::Null);
    assert!(count(&whole, "segments_from_archive") > 0);
    let (all, summary) = rows(&data);
    assert_eq!(summary["verified"]["began_behind_command"], Value::Null);
    assert_eq!(summary["verified"]["commands"], whole["commands"]);
    let dumped = succeed(&["journal", "dump", &data, "--count", "1"]);
    assert!(dumped.starts_with("frame index=1 "), "{dumped}");

    fs::rename(exchange.path("data/archive"), exchange.path("elsewhere")).unwrap();
    let headless = json(&["replay", &data, "--compare-events", "--json"]);
    let behind = count(&headless, "began_behind");
    // What such a journal does not give again is missed where it is gone.
    for (folder, part) in [
        ("data/events", "event log"),
        ("data/snapshots", "snapshots"),
    ] {
        fs::rename(exchange.path(folder), exchange.path("away")).unwrap();
        let told = texts(&run(&["repair", "--check", "--data", &data])).0;
        let line = told.lines().find(|line| line.starts_with(part)).unwrap();
        assert!(line.contains("DAMAGED"), "{told}");
        assert!(line.contains("begins behind entry"), "{told}");
        fs::rename(exchange.path("away"), exchange.path(folder)).unwrap();
    }
    assert!(behind > 0 && headless["state_hash"] == whole["state_hash"]);
    let (rest, summary) = rows(&data);
    let verified = &summary["verified"];
    let before = count(verified, "began_behind_command");
    assert_eq!(count(verified, "began_behind_frame"), behind);
    assert_eq!(
        before + count(verified, "commands"),
        count(&whole, "commands")
    );
    // What is there is told as it was, with the names that were told of before.
    assert!(!rest.is_empty() && all.ends_with(&rest));
    let (_, said) = texts(&run(&["audit", &data, "--instrument", "GPU-H100-EU"]));
    let told = format!("not here   frames 1 to {behind}, commands 1 to {before}");
    assert!(said.contains(&told), "{said}");
    let text = succeed(&["replay", &data]);
    assert!(text.contains("what came before is not here"), "{text}");

    fs::remove_dir_all(exchange.path("data/snapshots")).unwrap();
    let refused = fail(&["audit", &data]);
    assert!(refused.contains("snapshot"), "{refused}");
}

/// A gap in the archive ends what is taken from it; a segment that is not the journal's is named.
#[test]
fn an_archive_with_a_gap_is_read_from_behind_the_gap() {
    let exchange = headless();
    let data = exchange.data();
    let whole = json(&["replay", &data, "--json"]);
    let archive = exchange.path("data/archive");
    let mut kept: Vec<_> = fs::read_dir(&archive)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    kept.sort();
    assert!(kept.len() > 2, "{kept:?}");
    let middle = &kept[kept.len() / 2];
    let content = fs::read(middle).unwrap();
    fs::remove_file(middle).unwrap();
    let part = json(&["replay", &data, "--json"]);
    assert!(count(&part, "began_behind") > 0 && part["state_hash"] == whole["state_hash"]);
    let taken = kept.len() - kept.len() / 2 - 1;
    assert_eq!(count(&part, "segments_from_archive"), taken as u64);
    let mut damaged = content;
    damaged[10_000] ^= 1;
    fs::write(middle, damaged).unwrap();
    let refused = fail(&["replay", &data]);
    assert!(refused.contains("is damaged at position"), "{refused}");
}
