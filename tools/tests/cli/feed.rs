//! `exahour feed` on a node process, and what `replay`, `audit` and `journal` make of it after.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::exchange::{
    Exchange, count, exahour, fail, generated_orders, json, refuse, run, texts, until,
};
use serde_json::Value;

const SEED: u64 = 7;

/// Feeds a file, then proves the journal: two replays, the node's own events, its own hash.
fn feed_and_prove(file: &Path, extra: &[&str]) -> Value {
    let mut exchange = Exchange::start();
    let (data, name) = (exchange.data(), file.display().to_string());
    let mut words = vec!["feed", &name, "--data", &data, "--json"];
    words.extend(extra);
    let fed = json(&words);
    assert_eq!(count(&fed, "busy") + count(&fed, "not_applied"), 0, "{fed}");
    let answered = count(&fed, "accepted") + count(&fed, "replaced");
    assert!(answered > 0 && answered <= count(&fed, "messages"), "{fed}");
    exchange.stop();
    // The next start hashes the state after everything that was fed.
    exchange.restart();
    exchange.stop();
    let first = exchange.replay();
    let again = exchange.replay();
    assert_eq!(first["state_hash"], again["state_hash"]);
    assert_eq!(first["events"], again["events"]);
    assert_eq!(first["events_compared"], first["events"], "{first}");
    assert!(
        count(&first, "commands") > count(&fed, "messages"),
        "{first}"
    );
    assert!(count(&first, "checkpoints") >= 2, "{first}");
    // What the node itself said its state was, after the last command that was fed.
    assert!(
        count(&first, "last_hash_command") > count(&fed, "messages"),
        "{first}"
    );
    assert_eq!(first["last_hash"], again["last_hash"]);
    fed
}

#[test]
fn a_generated_file_trades_and_replays() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orders.csv");
    generated_orders(&file, 4_000, SEED);
    let fed = feed_and_prove(&file, &[]);
    assert!(count(&fed, "trades") > 0, "seed {SEED}: {fed}");
    assert_eq!(count(&fed, "rows"), 4_001, "seed {SEED}: {fed}");
    assert!(count(&fed, "not_live") > 0, "seed {SEED}: {fed}");
}

#[test]
fn one_session_keeps_the_order_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orders.csv");
    generated_orders(&file, 1_000, SEED);
    let one = ["--session", "1", "--account", "100", "--window", "1"];
    let first = feed_and_prove(&file, &one);
    let again = feed_and_prove(&file, &one);
    for name in ["trades", "lots", "resting", "cancelled", "rejects"] {
        assert_eq!(first[name], again[name], "seed {SEED}: {name}");
    }
    assert!(count(&first, "trades") > 0, "seed {SEED}: {first}");
}

#[test]
fn the_real_file_goes_through_and_replays() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let data = std::env::var_os("EXAHOUR_DATA").map_or(beside, PathBuf::from);
    let file = data.join("bitstamp_l3_2015/orders.csv");
    if !file.exists() {
        eprintln!(
            "skipped: no {}; name the data folder in EXAHOUR_DATA",
            file.display()
        );
        return;
    }
    let fed = feed_and_prove(&file, &[]);
    assert_eq!(count(&fed, "rows"), 50_414, "{fed}");
    assert_eq!(count(&fed, "orders"), 24_894, "{fed}");
    assert!(count(&fed, "trades") > 100, "{fed}");
    let rejects = fed["rejects"].as_object().unwrap();
    // An order that traded before its cancel or change arrived: the only lawful refusal here.
    assert!(
        rejects.keys().all(|reason| reason == "UnknownOrder"),
        "{fed}"
    );
}

/// What comes of a feed that gets `signal` in the middle of a long file, and the exchange then.
fn interrupted(signal: Signal, extra: &[&str], errors: Stdio) -> (Output, Exchange) {
    let exchange = Exchange::start();
    let file = exchange.path("orders.csv");
    generated_orders(&file, 20_000, SEED);
    let (data, name) = (exchange.data(), file.display().to_string());
    let feed = ["feed", &name, "--data", &data, "--speed", "x5"];
    let feed = exahour(&[&feed[..], extra].concat())
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .unwrap();
    until("the feed is under way", || {
        let book = run(&["book", "100", "--data", &data, "--json"]);
        let book: Value = serde_json::from_slice(&book.stdout).ok()?;
        (book["orders"].as_u64()? > 3).then_some(())
    });
    let id = i32::try_from(feed.id()).unwrap();
    kill(Pid::from_raw(id), signal).unwrap();
    (feed.wait_with_output().unwrap(), exchange)
}

#[test]
fn a_feed_that_is_interrupted_sums_up_what_it_did() {
    let (output, exchange) = interrupted(Signal::SIGINT, &["--json"], Stdio::piped());
    let (out, said) = texts(&output);
    assert_eq!(output.status.code(), Some(130), "{out}\n{said}");
    let fed: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(fed["interrupted"], true);
    assert!((4..20_001).contains(&count(&fed, "rows")), "{fed}");
    // What was sent is answered: the counts are those of the book that stands.
    assert_eq!(count(&fed, "accepted"), count(&fed, "orders"), "{fed}");
    // The public book follows the answers.
    until("the book shows what rests", || {
        let book = json(&["book", "100", "--data", &exchange.data(), "--json"]);
        (count(&book, "orders") == count(&fed, "resting")).then_some(())
    });
    assert!(said.contains("stopped before its end"), "{said}");

    let (output, _) = interrupted(Signal::SIGTERM, &[], Stdio::piped());
    let (out, said) = texts(&output);
    assert_eq!(output.status.code(), Some(143), "{out}\n{said}");
    assert!(out.contains("interrupted after "), "{out}");
    assert!(
        out.contains("answered  ") && out.contains("latency  "),
        "{out}"
    );
}

#[test]
fn a_feed_that_is_interrupted_leaves_no_bar_behind() {
    let size = Winsize {
        ws_row: 24,
        ws_col: 120,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let terminal = openpty(Some(&size), None).unwrap();
    let mut master = File::from(terminal.master);
    let reader = std::thread::spawn(move || {
        let mut shown = Vec::new();
        // A terminal that is gone is an error to whoever reads from it; what came before counts.
        let _ = master.read_to_end(&mut shown);
        String::from_utf8_lossy(&shown).into_owned()
    });
    let (output, _) = interrupted(Signal::SIGINT, &[], Stdio::from(terminal.slave));
    assert_eq!(output.status.code(), Some(130));
    let shown = reader.join().unwrap();
    let bar = shown.rfind("feed [").unwrap();
    let cleared = shown.rfind("\u{1b}[2K").unwrap();
    assert!(cleared > bar, "{shown:?}");
    let said = shown[cleared..].find("exahour: stopped");
    assert!(said.is_some(), "{shown:?}");
}

#[test]
fn a_malformed_row_is_named_with_its_place() {
    let exchange = Exchange::start();
    let file = exchange.path("orders.csv");
    let head = "id,timestamp,price,volume,action,direction\n";
    let row = "1,1000,236.40,200000000,created,bid\n";
    std::fs::write(&file, format!("{head}{row}2,1001,cheap,1,created,ask\n")).unwrap();
    let (data, name) = (exchange.data(), file.display().to_string());
    let refused = refuse(&["feed", &name, "--data", &data]);
    let place = format!("{name}:3:8: the price `cheap`");
    assert!(
        refused.contains(&place) && refused.contains("mend the row"),
        "{refused}"
    );
    // The exchange has not heard of it.
    let unlisted = fail(&["book", "100", "--data", &data]);
    assert!(unlisted.contains("no instrument 100"), "{unlisted}");
    let listed = fail(&[
        "feed",
        &name,
        "--data",
        &data,
        "--instrument",
        "1",
        "--limit",
        "1",
    ]);
    assert!(listed.contains("is listed already"), "{listed}");
    let zero = refuse(&[
        "feed", &name, "--data", &data, "--tick", "0", "--limit", "1",
    ]);
    assert!(zero.contains("--tick 0"), "{zero}");
    for (bytes, expected) in [(&b""[..], "is empty"), (&b"\xFF\xFE"[..], "is not UTF-8")] {
        std::fs::write(&file, bytes).unwrap();
        let refused = refuse(&["feed", &name, "--data", &data]);
        assert!(
            refused.contains(expected) && !refused.contains("mend"),
            "{refused}"
        );
    }
    std::fs::write(&file, head).unwrap();
    assert!(refuse(&["feed", &name, "--data", &data]).contains("has no rows"));
    assert!(refuse(&["feed", "/nowhere.csv", "--data", &data]).contains("/nowhere.csv"));
    let output = run(&["feed", &name, "--speed", "soon"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(texts(&output).1.contains("x60"));
}
