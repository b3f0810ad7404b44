//! The small client against a node process: `order`, `orders`, `cancel`, `book`.

use crate::exchange::{Exchange, PATIENCE, exahour, fail, json, refuse, succeed};
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc;

use serde_json::Value;

#[test]
fn an_order_is_entered_shown_traded_and_cancelled() {
    let exchange = Exchange::start();
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
        "--data",
        &data,
        "--json",
    ];
    let resting = json(&sell);
    assert_eq!(resting["message"], "OrderAccepted");
    let number = resting["order"].as_u64().unwrap();

    let book = json(&["book", "1", "--data", &data, "--orders", "--json"]);
    assert_eq!(book["asks"][0]["price"], "2.50");
    assert_eq!(book["asks"][0]["queue"][0]["order"], number);
    assert_eq!(book["bids"].as_array().unwrap().len(), 0);

    // Options may stand between the words.
    let bought = succeed(&["order", "buy", "4", "--market", "1", "--data", &data]);
    assert!(
        bought.contains("OrderFilled") && bought.contains("quantity=4"),
        "{bought}"
    );
    let refused = refuse(&["order", "buy", "3", "--market", "--data", &data]);
    assert!(refused.contains("`buy 10 1 --market`"), "{refused}");
    let live = json(&["orders", "--session", "2", "--data", &data, "--json"]);
    assert_eq!(live["order"], number);
    assert_eq!(live["leaves"], 6);
    assert_eq!(succeed(&["orders", "--data", &data]), "no live orders\n");
    let text = succeed(&["book", "1", "--data", &data]);
    assert!(
        text.contains("GPU-H100-EU") && text.contains("no bids"),
        "{text}"
    );

    for (feed, orders) in [
        ("orders", Value::from(1)),
        ("levels", Value::from(1)),
        ("top", Value::Null),
    ] {
        let book = json(&["book", "1", "--data", &data, "--feed", feed, "--json"]);
        assert_eq!(book["asks"][0]["quantity"], 6, "{feed}");
        assert_eq!(book["orders"], orders, "{feed}");
        assert_eq!(book["statistics"]["trades"], 1, "{feed}");
        assert_eq!(book["statistics"]["turnover"], "10000000", "{feed}");
    }

    let number = number.to_string();
    let cancelled = succeed(&["cancel", &number, "--session", "2", "--data", &data]);
    assert!(
        cancelled.contains("OrderCancelled") && cancelled.contains("Requested"),
        "{cancelled}"
    );
    let again = fail(&["cancel", &number, "--session", "2", "--data", &data]);
    let gone = "is not a live order of session 2's participant; `exahour orders --session 2 --all`";
    assert!(again.contains(gone), "{again}");
    // Somebody else's order is live, and not ours.
    let bid = [
        "order", "buy", "1", "@", "2.40", "1", "--data", &data, "--json",
    ];
    let bid = json(&bid)["order"].as_u64().unwrap().to_string();
    let foreign = fail(&["cancel", &bid, "--session", "2", "--data", &data]);
    assert!(foreign.contains(gone), "{foreign}");
    succeed(&["cancel", &bid, "--data", &data]);
    let book = json(&["book", "1", "--data", &data, "--json"]);
    assert_eq!(book["orders"], 0);
}

#[test]
fn what_the_exchange_refuses_is_said_in_its_words() {
    let exchange = Exchange::start();
    let data = exchange.data();
    let refused = fail(&["order", "buy", "1", "@", "2.505", "1", "--data", &data]);
    assert!(
        refused.contains("PriceNotOnTick: The price is not a multiple"),
        "{refused}"
    );
    let refused = fail(&["order", "buy", "1", "@", "2.50", "77", "--data", &data]);
    assert!(refused.contains("UnknownInstrument"), "{refused}");
    let refused = fail(&["cancel", "12345", "--instrument", "1", "--data", &data]);
    assert!(refused.contains("UnknownOrder"), "{refused}");
    let refused = refuse(&["order", "buy", "-1", "@", "2.50", "1", "--data", &data]);
    assert!(refused.contains("`-1` is not a whole number"), "{refused}");
    let words = [
        "order",
        "buy",
        "1",
        "@",
        "2.50",
        "gpu-h100-eu",
        "--data",
        &data,
    ];
    assert!(succeed(&words).contains("instrument=1"));
    let book = succeed(&["book", "GPU-H100-EU", "--data", &data]);
    assert!(
        book.contains("(instrument 1)") && book.contains("2.50"),
        "{book}"
    );
    let refused = fail(&["book", "TPU", "--data", &data]);
    assert!(refused.contains("there are: GPU-H100-EU (1)"), "{refused}");
    let refused = fail(&["book", "77", "--data", &data]);
    assert!(refused.contains("no instrument 77 is listed"), "{refused}");
    let refused = refuse(&["orders", "--session", "9", "--data", &data]);
    assert!(refused.contains("may not see"), "{refused}");
}

#[test]
fn orders_do_what_their_options_say() {
    let exchange = Exchange::start();
    let data = exchange.data();
    let order = |words: &[&str]| -> Vec<Value> {
        let mut all = vec!["order"];
        all.extend(words);
        all.extend(["--data", &data, "--json"]);
        let out = succeed(&all);
        out.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let rest = order(&[
        "sell",
        "5",
        "@",
        "2.50",
        "1",
        "--session",
        "2",
        "--tif",
        "day",
    ]);
    assert_eq!(rest[0]["timeInForce"], "Day");
    let maker = order(&["buy", "1", "@", "2.50", "1", "--post-only"]);
    assert_eq!(maker[1]["reason"], "PostOnly");
    let whole = order(&["buy", "9", "@", "2.50", "1", "--tif", "fok"]);
    assert_eq!(whole[1]["reason"], "NotFillable");
    let part = order(&[
        "buy", "9", "@", "2.50", "1", "--tif", "ioc", "--name", "4711",
    ]);
    assert_eq!(part[0]["clientOrderId"], 4711);
    assert_eq!(part[1]["message"], "OrderFilled");
    assert_eq!(part[2]["reason"], "ImmediateRest");
    let dated = order(&[
        "buy",
        "1",
        "@",
        "2.40",
        "1",
        "--tif",
        "2100-01-01T00:00:00Z",
    ]);
    assert_eq!(dated[0]["timeInForce"], "GoodTillDate");
    let stop = order(&["buy", "1", "1", "--stop", "2.80"]);
    assert_eq!(stop[0]["orderType"], "Stop");
    let limited = order(&["buy", "1", "@", "2.85", "1", "--stop", "2.80"]);
    assert_eq!(limited[0]["orderType"], "StopLimit");
    assert_eq!(limited[1]["message"], "StopEntered");
    assert_eq!(limited.len(), 2);
    let refused = fail(&["order", "buy", "1", "1", "--stop", "2.805", "--data", &data]);
    assert!(refused.contains("StopPriceInvalid"), "{refused}");
}

#[test]
fn a_watched_book_shows_what_changes() {
    let exchange = Exchange::start();
    let data = exchange.data();
    watch(&data, &["book", "1", "--watch", "--json", "--data", &data]);
}

/// Where the machine permits no multicast, the port alone brings the same.
#[test]
fn a_book_is_watched_over_multicast() {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let [a, b] = [21, 22].map(|line| format!("239.{line}.{high}.{low}:21000"));
    let line = |group: &str| format!("{{ group = \"{group}\", interface = \"127.0.0.1\" }}");
    let exchange = Exchange::start_with(&format!(
        "[multicast]\na = {}\nb = {}\nhops = 0\n",
        line(&a),
        line(&b)
    ));
    let data = exchange.data();
    let words = ["book", "1", "--watch", "--json", "--data", &data];
    let interfaces = ["--interface", "127.0.0.1", "--interface-b", "127.0.0.1"];
    let lines = [&["--multicast", &a, &b], &interfaces[..]].concat();
    watch(&data, &[&words[..], &lines, &["--feed", "levels"]].concat());
    let none = [
        "book",
        "1",
        "--data",
        &data,
        "--multicast",
        "127.0.0.1:1",
        &b,
    ];
    let refused = refuse(&none);
    assert!(
        refused.contains("127.0.0.1:1: not a multicast group"),
        "{refused}"
    );
    let unlisted = fail(&[&["book", "77", "--data", &data][..], &lines].concat());
    assert!(
        unlisted.contains("no instrument 77 is listed"),
        "{unlisted}"
    );
}

/// Watches an empty book, and then one with an order.
fn watch(data: &str, words: &[&str]) {
    let mut watch = exahour(words).stdout(Stdio::piped()).spawn().unwrap();
    let out = BufReader::new(watch.stdout.take().unwrap());
    let (books, shown) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            let book: Value = serde_json::from_str(&line).unwrap();
            // Where the machine permits no multicast its lines are silent, and that is said.
            if book["line"].is_string() {
                continue;
            }
            if books.send(book["orders"].as_u64().unwrap()).is_err() {
                break;
            }
        }
    });
    assert_eq!(shown.recv_timeout(PATIENCE).unwrap(), 0);
    succeed(&["order", "buy", "1", "@", "2.40", "1", "--data", data]);
    assert_eq!(shown.recv_timeout(PATIENCE).unwrap(), 1);
    watch.kill().unwrap();
    watch.wait().unwrap();
    reader.join().unwrap();
}
