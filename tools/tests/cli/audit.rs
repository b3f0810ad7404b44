//! `exahour audit`, `exahour journal` and `exahour replay` on the journal of a node that has stopped.

use std::path::Path;

use exahour_journal::{Config, FrameMeta, Journal, LogId};
use exahour_replicas::FRAME_COMMANDS;
use exahour_wire::internal::Tick;
use exahour_wire::message::Message;
use exahour_wire::record::Record;
use serde_json::Value;

use crate::exchange::{
    Exchange, count, exahour, fail, generated_orders, json, refuse, run, succeed, texts,
};

/// An exchange that has stopped, after a sale of ten lots, a purchase of four and a refusal.
struct Audited {
    exchange: Exchange,
    /// The sale.
    order: u64,
}

impl Audited {
    fn new() -> Self {
        let mut exchange = Exchange::start();
        let data = exchange.data();
        let sell = [
            "order",
            "sell",
            "10",
            "@",
            "2.50",
            "1",
            "--session",
            "2",
            "--json",
            "--data",
        ];
        let order = count(&json(&[&sell[..], &[&data]].concat()), "order");
        succeed(&["order", "buy", "4", "@", "2.50", "1", "--data", &data]);
        fail(&["order", "buy", "4", "@", "2.505", "1", "--data", &data]);
        exchange.stop();
        Self { exchange, order }
    }

    /// The rows and the summary of an audit.
    fn audit(&self, extra: &[&str]) -> (String, String) {
        let data = self.exchange.data();
        let words = ["audit", &data];
        let output = run(&[&words[..], extra].concat());
        let (rows, summary) = texts(&output);
        assert!(output.status.success(), "{extra:?}: {summary}");
        (rows, summary)
    }

    fn rows(&self) -> Vec<Value> {
        let (rows, _) = self.audit(&["--format", "json"]);
        let rows = rows.lines().map(|row| serde_json::from_str(row).unwrap());
        rows.collect()
    }
}

#[test]
fn an_audit_has_a_row_for_every_command_and_event() {
    let audited = Audited::new();
    let rows = audited.rows();
    let commands: Vec<u64> = rows
        .iter()
        .filter(|row| row["row"] == "command")
        .map(|row| count(row, "command"))
        .collect();
    let expected: Vec<u64> = (1..=commands.len() as u64).collect();
    assert_eq!(commands, expected);
    let replayed = audited.exchange.replay();
    assert_eq!(count(&replayed, "commands"), expected.len() as u64);
    assert_eq!(
        count(&replayed, "events"),
        (rows.len() - commands.len()) as u64
    );
    let (_, summary) = audited.audit(&[]);
    for line in [
        "verified",
        "command  NewOrder 3",
        "reject   PriceNotOnTick 1",
        "trades     1, 4 lots",
    ] {
        assert!(summary.contains(line), "{line}: {summary}");
    }

    let file = audited.exchange.path("audit.csv").display().to_string();
    audited.audit(&["--format", "csv", "--output", &file]);
    let mut reader = csv::Reader::from_path(&file).unwrap();
    let records: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(records.len(), rows.len());
    let taken = |it: &&csv::StringRecord| &it[5] == "OrderFilled" && &it[8] == "100";
    let taken = records.iter().find(taken).unwrap();
    assert_eq!((&taken[6], &taken[7], &taken[9]), ("1", "1", "1"));
    // A command row names the order that its report names.
    let entered =
        |it: &&csv::StringRecord| it[5] == *"NewOrder" && it[11] == audited.order.to_string();
    assert_eq!(records.iter().filter(entered).count(), 1);
}

#[test]
fn an_audit_answers_who_did_what_and_when() {
    let audited = Audited::new();
    let rows = audited.rows();
    let entered = rows
        .iter()
        .find(|row| row["detail"]["message"] == "NewOrder");
    let time = entered.unwrap()["time"].as_str().unwrap();
    let (clock, _) = time.split_once('T').unwrap().1.split_once('.').unwrap();
    let (at, _) = audited.audit(&["--at", clock]);
    assert!(
        at.contains("NewOrder") && at.contains("OrderAccepted"),
        "{at}"
    );
    let (none, _) = audited.audit(&["--to", "2020-01-01T00:00:00Z"]);
    assert_eq!(none, "");

    let (_, summary) = audited.audit(&["--who", "session", "2"]);
    assert!(summary.contains("command  NewOrder 1"), "{summary}");
    let (account, _) = audited.audit(&["--who", "account", "100"]);
    // A command that is chosen shows all it did, to the other side too; no other command does.
    let others = |line: &&str| line.contains("NewOrder") && !line.contains("account=100");
    assert_eq!(account.lines().find(others), None);
    assert_eq!(account.matches("OrderFilled").count(), 2, "{account}");
    let (participant, _) = audited.audit(&["--who", "participant", "1"]);
    assert!(participant.contains("PriceNotOnTick"), "{participant}");
    let name = format!("{}", audited.order);
    let (life, summary) = audited.audit(&["--order", &name]);
    assert_eq!(life.matches(&format!("order={name}")).count(), 2, "{life}");
    assert!(life.contains("NewOrder"), "{life}");
    assert!(summary.contains("trades     1, 4 lots"), "{summary}");
    let (instrument, _) = audited.audit(&["--instrument", "2"]);
    assert!(instrument.contains("GPU-H100-EU-M1"), "{instrument}");
    assert!(!instrument.contains("OrderFilled"), "{instrument}");
    let data = audited.exchange.data();
    assert!(refuse(&["audit", &data, "--at", "noon"]).contains("14:03:07"));
    assert!(refuse(&["audit", &data, "--who", "firm", "1"]).contains("none of session"));
    for unlisted in ["9", "GPU-H100-US"] {
        let said = fail(&["audit", &data, "--instrument", unlisted]);
        let expected = format!("instrument {unlisted} was never listed in this journal");
        assert!(said.contains(&expected), "{said}");
        fail(&["audit", &data, "--instrument", unlisted, "--json"]);
    }
}

#[test]
fn a_journal_shows_itself() {
    let mut exchange = Exchange::start();
    let data = exchange.data();
    succeed(&[
        "order",
        "sell",
        "10",
        "@",
        "2.50",
        "1",
        "--session",
        "2",
        "--data",
        &data,
    ]);
    exchange.stop();
    let shown = json(&["journal", "inspect", &data, "--json"]);
    let identity = std::fs::read_to_string(exchange.path("data/identity")).unwrap();
    assert_eq!(shown["log_id"], identity.trim());
    assert_eq!(shown["tail"], "clean");
    assert_eq!(shown["segments"][0]["first_index"], 1);
    assert_eq!(shown["segments"][0]["last_index"], shown["last_index"]);
    let text = succeed(&["journal", "inspect", &data]);
    for word in ["log id", "durable to", "tail        clean", "segment"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let events = json(&["journal", "inspect", &data, "--events", "--json"]);
    assert!(count(&events, "frames") > 0);

    let dumped = succeed(&["journal", "dump", &data]);
    assert!(
        dumped.contains("kind=commands") && dumped.contains("NewOrder"),
        "{dumped}"
    );
    let last = count(&shown, "last_index").to_string();
    let one = succeed(&["journal", "dump", &data, "--from-index", &last, "--json"]);
    let frame: Value = serde_json::from_str(one.trim()).unwrap();
    assert_eq!(frame["index"], shown["last_index"]);
    let two = succeed(&[
        "journal",
        "dump",
        &data,
        "--from-index",
        "2",
        "--count",
        "2",
        "--json",
    ]);
    assert_eq!(two.lines().count(), 2);
    let refused = refuse(&["journal", "dump", &data, "--from-index", "999999"]);
    assert!(refused.contains("no frame from index 999999"), "{refused}");
    let (_, said) = texts(&run(&["audit", &data, "--order", "999999"]));
    assert!(said.contains("is about what was chosen"), "{said}");
}

/// Both read while the node writes: what they find is the journal as it was when they began.
#[test]
fn a_journal_is_replayed_and_audited_while_its_node_runs() {
    let mut exchange = Exchange::start();
    let file = exchange.path("orders.csv");
    generated_orders(&file, 30_000, 3);
    let (data, name) = (exchange.data(), file.display().to_string());
    let mut feed = exahour(&["feed", &name, "--data", &data, "--json"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut rounds = 0;
    let mut most = 0;
    while feed.try_wait().unwrap().is_none() || rounds == 0 {
        let replayed = json(&["replay", &data, "--compare-events", "--json"]);
        assert!(count(&replayed, "commands") >= most, "{replayed}");
        most = count(&replayed, "commands");
        let nothing = ["--at", "1970-01-02"];
        succeed(&[&["audit", &data], &nothing[..]].concat());
        rounds += 1;
    }
    assert!(feed.wait().unwrap().success());
    exchange.stop();
    let replayed = exchange.replay();
    assert!(
        count(&replayed, "commands") >= most.max(10_000),
        "{replayed}"
    );
}

#[test]
fn a_damaged_journal_is_named() {
    let mut exchange = Exchange::start();
    let data = exchange.data();
    exchange.stop();
    let shown = json(&["journal", "inspect", &data, "--json"]);
    // One bit of a frame that was flushed: refused by name, by every command that reads.
    let segment = exchange
        .path("data/journal")
        .join(shown["segments"][0]["file"].as_str().unwrap());
    let whole = std::fs::read(&segment).unwrap();
    let mut bytes = whole.clone();
    // The second frame: the first, of consensus, is still shown.
    let second = json(&[
        "journal",
        "dump",
        &data,
        "--from-index",
        "2",
        "--count",
        "1",
        "--json",
    ]);
    bytes[count(&second, "position") as usize + 100] ^= 1;
    std::fs::write(&segment, &bytes).unwrap();
    let words = ["journal", "dump", &data];
    let output = run(&words);
    let (shown, said) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        shown.starts_with("frame index=1 ") && shown.lines().count() == 1,
        "{shown}"
    );
    assert!(said.contains("after index 1"), "{said}");
    let (shown, _) = texts(&run(&["journal", "inspect", &data]));
    assert!(
        shown.contains("tail        damaged") && shown.contains("frames      1,"),
        "{shown}"
    );
    for words in [
        vec!["replay", &data],
        vec!["audit", &data],
        vec!["journal", "inspect", &data],
    ] {
        let refused = fail(&words);
        assert!(
            refused.contains("is damaged at position"),
            "{words:?}: {refused}"
        );
        assert!(refused.contains("restore the file"), "{words:?}: {refused}");
    }
    std::fs::write(&segment, &whole[..5_000]).unwrap();
    let refused = fail(&["replay", &data]);
    assert!(refused.contains("5000 bytes instead of"), "{refused}");
    assert!(refuse(&["replay", "/nowhere"]).contains("is no folder"));
    let empty = tempfile::tempdir().unwrap();
    let empty = empty.path().display().to_string();
    assert!(refuse(&["replay", &empty]).contains("no journal"));
}

#[test]
fn events_that_differ_from_the_journal_are_named() {
    let mut exchange = Exchange::start();
    let data = exchange.data();
    succeed(&[
        "order",
        "sell",
        "10",
        "@",
        "2.50",
        "1",
        "--session",
        "2",
        "--data",
        &data,
    ]);
    exchange.stop();
    let mut other = Exchange::start();
    other.stop();
    // The event log of another exchange in the place of our own.
    std::fs::remove_dir_all(exchange.path("data/events")).unwrap();
    std::fs::rename(other.path("data/events"), exchange.path("data/events")).unwrap();
    let refused = fail(&["replay", &data, "--compare-events"]);
    assert!(refused.contains("differs: the journal gives"), "{refused}");
    succeed(&["replay", &data]);
}

/// A journal of ticks: for each frame its first command, the count it claims and its time.
fn ticks(folder: &Path, frames: &[(u64, u16, u64)]) {
    let config = Config::new(folder, LogId([7; 16])).with_segment_bytes(1 << 20);
    let Journal {
        mut appender,
        mut flusher,
        ..
    } = Journal::create(&config).unwrap();
    for (index, (first_sequence, count, time_ns)) in (1..).zip(frames) {
        let meta = FrameMeta {
            index,
            term: 1,
            count: *count,
            kind: FRAME_COMMANDS,
            first_sequence: *first_sequence,
            time_ns: *time_ns,
        };
        let tick = Record::new(&Tick::blank());
        appender.append(&meta, &[tick.bytes()]).unwrap();
    }
    flusher.flush().unwrap();
}

#[test]
fn a_journal_that_contradicts_itself_is_named() {
    let second = 1_000_000_000;
    for (frames, expected) in [
        (vec![(1, 1, second), (2, 1, second)], None),
        (
            vec![(1, 1, second), (3, 1, second)],
            Some("frame 2 begins with command 3, after command 1"),
        ),
        (
            vec![(1, 1, second), (2, 1, second - 1)],
            Some("time never goes back"),
        ),
        (vec![(1, 2, second)], Some("holds 1 commands and says 2")),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("journal");
        ticks(&journal, &frames);
        let name = journal.display().to_string();
        match expected {
            None => {
                let rows = succeed(&["audit", &name]);
                assert_eq!(rows.lines().count(), 2, "{rows}");
            }
            Some(expected) => {
                let refused = fail(&["audit", &name]);
                assert!(refused.contains(expected), "{refused}");
            }
        }
    }
}

#[test]
fn a_damaged_event_log_is_written_anew() {
    let mut exchange = Exchange::start();
    exchange.stop();
    let events = exchange.path("data/events");
    let shown = json(&["journal", "inspect", &exchange.data(), "--events", "--json"]);
    let segment = events.join(shown["segments"][0]["file"].as_str().unwrap());
    let mut bytes = std::fs::read(&segment).unwrap();
    // The length of the first frame: it is checked even where checksums are trusted.
    bytes[4_096] ^= 0xFF;
    std::fs::write(&segment, bytes).unwrap();
    exchange.restart();
    exchange.stop();
    let replayed = exchange.replay();
    assert_eq!(replayed["events"], replayed["events_compared"]);
    let kept = std::fs::read_dir(&events).unwrap();
    let kept = kept.filter(|it| it.as_ref().unwrap().path().is_dir());
    assert_eq!(kept.count(), 1, "what was there is kept");
}

#[test]
fn what_names_several_instruments_is_about_each() {
    let mut exchange = Exchange::start();
    let data = exchange.data();
    let at = |words: &[&str]| succeed(&[words, &["--data", &data]].concat());
    at(&[
        "quote", "1", "5", "@", "2.40", "/", "0", "and", "2", "3", "@", "2.30", "/", "0",
    ]);
    at(&["operate", "circuit-breaker", "2", "0", "--linked", "1"]);
    at(&["mass-cancel", "instrument", "2"]);
    exchange.stop();
    for instrument in ["1", "2", "GPU-H100-EU-M1"] {
        let rows = succeed(&["audit", &data, "--instrument", instrument]);
        // A command that is chosen shows all its events, once.
        assert_eq!(
            rows.matches(" MassQuote ").count(),
            1,
            "{instrument}: {rows}"
        );
        assert_eq!(
            rows.matches(" OrderAccepted ").count(),
            2,
            "{instrument}: {rows}"
        );
        assert!(rows.contains("SetCircuitBreaker"), "{instrument}: {rows}");
        let cancelled = rows.contains(" MassCancel ");
        assert_eq!(cancelled, instrument != "1", "{instrument}: {rows}");
    }
}

/// An event log has the form of a journal; read as commands it would say that nothing happened.
#[test]
fn an_event_log_is_not_taken_for_a_journal() {
    let audited = Audited::new();
    let events = format!("{}/events", audited.exchange.data());
    for command in ["audit", "replay"] {
        let error = refuse(&[command, &events]);
        assert!(error.contains("is an event log, not a journal"), "{error}");
    }
}
