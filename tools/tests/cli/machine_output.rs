//! What programs read: every subcommand has `--json`, and its keys are of one kind.

use serde_json::Value;

use crate::exchange::{
    Exchange, count, exahour, generated_orders, json, refuse, run, succeed, texts, until,
};

/// Objects whose keys are names of things, not of ours.
const COUNTED_BY_NAME: [&str; 2] = ["rejects", "commands_by_name"];

/// The JSON objects that a command prints, one a line.
fn lines(text: &str) -> Vec<Value> {
    let values = text.lines().map(|line| serde_json::from_str(line).unwrap());
    values.collect()
}

/// Whether every key is in snake case (in a message of the exchange, as the schema has it), and every
/// number is one that all readers keep exactly.
pub(crate) fn check_keys(value: &Value, whose: &str) {
    match value {
        Value::Object(map) => {
            let is_message = map.get("message").is_some_and(Value::is_string);
            for (key, inner) in map {
                let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
                let fits = match is_message {
                    true => key.chars().all(|it| plain(it) || it.is_ascii_uppercase()),
                    false => key.chars().all(|it| plain(it) || it == '_'),
                };
                assert!(fits, "{whose}: key `{key}`");
                for vague in ["seconds", "a_second", "at", "ns", "duration"] {
                    let bare = key == vague || (vague.len() > 2 && key.ends_with(vague));
                    assert!(is_message || !bare, "{whose}: key `{key}` without its unit");
                }
                if !COUNTED_BY_NAME.contains(&key.as_str()) {
                    check_keys(inner, whose);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| check_keys(item, whose)),
        Value::Number(number) => {
            // Beyond 2^53 not every reader keeps each whole number exactly.
            let whole = number.as_i128().map(i128::unsigned_abs);
            assert!(
                whole.is_none_or(|it| it <= 1 << 53),
                "{whose}: {number} without quotes"
            );
        }
        Value::String(text) => assert_ne!(text, "none", "{whose}: nothing is null in JSON"),
        _ => {}
    }
}

/// Runs a command with `--json` and checks every line of it.
fn checked(words: &[&str]) -> Vec<Value> {
    let found = lines(&succeed(&[words, &["--json"]].concat()));
    assert!(!found.is_empty(), "{words:?}");
    for value in &found {
        check_keys(value, words[0]);
    }
    found
}

#[test]
fn every_subcommand_has_json() {
    let help = succeed(&["--help"]);
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let (commands, _) = commands.split_once("\n\n").unwrap();
    let names = commands
        .lines()
        .filter_map(|it| it.split_whitespace().next());
    for name in names.filter(|it| !["help", "journal", "operate"].contains(it)) {
        assert!(succeed(&[name, "--help"]).contains("--json"), "{name}");
    }
    let operations = succeed(&["operate", "--help"]);
    let (_, operations) = operations.split_once("Commands:\n").unwrap();
    let (operations, _) = operations.split_once("\n\n").unwrap();
    for line in operations.lines() {
        let name = line.split_whitespace().next().unwrap();
        let help = || succeed(&["operate", name, "--help"]);
        assert!(name == "help" || help().contains("--json"), "{name}");
    }
    for name in ["inspect", "dump"] {
        assert!(
            succeed(&["journal", name, "--help"]).contains("--json"),
            "{name}"
        );
    }
}

#[test]
fn keys_are_of_one_kind() {
    let mut exchange = Exchange::start();
    let data = exchange.data();
    let sell = ["order", "sell", "10", "@", "2.50", "1", "--session", "2"];
    let sold = checked(&[&sell[..], &["--data", &data]].concat());
    let order = count(&sold[0], "order").to_string();
    checked(&["book", "1", "--orders", "--data", &data]);
    checked(&["book", "2", "--data", &data]);
    checked(&["operate", "show", "--data", &data]);
    checked(&["quote", "1", "1", "@", "2.40", "/", "0", "--data", &data]);
    // A name is the time in nanoseconds where none is given, and otherwise what was given.
    let named = ["--name", "7", "--session", "2", "--data", &data];
    succeed(&[&sell[..6], &named].concat());
    let listed = checked(&["orders", "--session", "2", "--data", &data]);
    assert!(listed[0]["client_order_id"].is_string(), "{listed:?}");
    assert_eq!(listed[0]["client_order_id"], sold[0]["clientOrderId"]);
    assert_eq!(listed[1]["client_order_id"], 7);
    checked(&["cancel", &order, "--session", "2", "--data", &data]);
    let file = exchange.path("orders.csv");
    generated_orders(&file, 500, 5);
    let fed = checked(&["feed", &file.display().to_string(), "--data", &data]);
    assert!(fed[0]["messages_per_s"].as_f64().unwrap() > 0.0);
    exchange.stop();
    let replayed = checked(&["replay", &data, "--compare-events"]);
    assert!(replayed[0]["replay_s"].as_f64().unwrap() > 0.0);
    assert_eq!(replayed[0]["tail"], "clean");
    checked(&["audit", &data]);
    let inspected = checked(&["journal", "inspect", &data]);
    assert_eq!(
        inspected[0]["end_position"],
        inspected[0]["durable_position"]
    );
    checked(&["journal", "dump", &data]);
    checked(&["journal", "dump", &data, "--events"]);

    let script = exchange.path("it.script");
    std::fs::write(&script, "participant 1\n").unwrap();
    let script = script.display().to_string();
    let events = checked(&["script", &script]);
    let output = run(&["script", &script, "--json", "--stats"]);
    let (printed, said) = texts(&output);
    assert_eq!(said, "");
    let mut printed = lines(&printed);
    let stats = printed.pop().unwrap();
    assert_eq!(printed, events);
    check_keys(&stats, "script");
    assert_eq!(
        (count(&stats, "commands"), &stats["row"]),
        (1, &"summary".into())
    );
    assert!(
        printed
            .iter()
            .all(|it| it["message"].is_string() && it["row"].is_null())
    );
}

/// What writes JSON for programs does so in one place.
#[test]
fn numbers_follow_one_rule_in_one_place() {
    // What these write, the command itself reads again.
    let own = ["connection.rs"];
    let mut folders = vec![std::path::PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src"
    ))];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            seen += 1;
            let text = std::fs::read_to_string(&path).unwrap();
            let exempt = own.iter().any(|it| path.ends_with(it));
            for plain in ["to_string", "to_vec", "to_writer", "Serializer"] {
                let plain = format!("serde_json::{plain}");
                assert!(exempt || !text.contains(&plain), "{path:?}: {plain}");
            }
        }
    }
    assert!(seen > 50, "{seen}");
}

#[test]
fn a_node_announces_itself_in_json() {
    let mut exchange = Exchange::start();
    exchange.stop();
    let ready = exchange.path("ready-again.json");
    let node = exahour(&[])
        .args(exchange.start_arguments())
        .args(["--json", "--ready-file"])
        .arg(&ready)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    until("the node serves", || ready.exists().then_some(()));
    let id = i32::try_from(node.id()).unwrap();
    let process = nix::unistd::Pid::from_raw(id);
    nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGTERM).unwrap();
    let said = lines(&texts(&node.wait_with_output().unwrap()).0);
    assert_eq!(said.len(), 2, "{said:?}");
    said.iter().for_each(|it| check_keys(it, "start"));
    assert_eq!(said[0]["recovered"]["tail"], "clean");
    assert_eq!(said[1]["state"], "stopped");
}

#[test]
fn an_audit_sums_up_in_json_and_tells_symbols() {
    let mut exchange = Exchange::start();
    let data = exchange.data();
    let rest = ["order", "sell", "10", "@", "2.50", "1", "--session", "2"];
    succeed(&[&rest[..], &["--data", &data]].concat());
    succeed(&["order", "buy", "4", "@", "2.50", "1", "--data", &data]);
    exchange.stop();

    let mut rows = checked(&["audit", &data]);
    let summary = rows.pop().unwrap();
    assert_eq!(summary["row"], "summary");
    let (verified, chosen) = (&summary["verified"], &summary["chosen"]);
    assert_eq!(
        count(chosen, "commands") + count(chosen, "events"),
        rows.len() as u64
    );
    assert_eq!(count(verified, "commands"), count(chosen, "commands"));
    assert_eq!(chosen["commands_by_name"]["NewOrder"], 2);
    assert_eq!((count(chosen, "trades"), count(chosen, "lots")), (1, 4));
    let filled = |row: &&Value| row["detail"]["message"] == "OrderFilled";
    let filled = rows.iter().find(filled).unwrap();
    assert_eq!(filled["instrument"], 1);
    assert_eq!(filled["symbol"], "GPU-H100-EU");
    assert!(filled["order"].is_number());

    // A name serves as well as its number.
    let by_number = checked(&["audit", &data, "--instrument", "1"]);
    let by_symbol = checked(&["audit", &data, "--instrument", "gpu-h100-eu"]);
    assert_eq!(by_number, by_symbol);
    assert!(by_number.len() > 4, "{by_number:?}");

    let file = exchange.path("rows.csv").display().to_string();
    let csv = ["audit", &data, "--format", "csv", "--output", &file];
    let alone = json(&[&csv[..], &["--json"]].concat());
    assert_eq!(alone, summary);
    let mut reader = csv::Reader::from_path(&file).unwrap();
    let place = reader
        .headers()
        .unwrap()
        .iter()
        .position(|it| it == "symbol");
    let records = reader.records().map(Result::unwrap);
    let named = records.filter(|it| &it[place.unwrap()] == "GPU-H100-EU");
    assert!(named.count() > 4);
    let text = succeed(&["audit", &data, "--who", "session", "2"]);
    assert!(text.contains("(participant 2, GPU-H100-EU)"), "{text}");
    let refused = refuse(&["audit", &data, "--json", "--format", "csv"]);
    assert!(refused.contains("--output"), "{refused}");
}
