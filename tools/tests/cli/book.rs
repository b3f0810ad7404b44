//! `exahour book` where it shows more than prices: a feed that is lost, and a call.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};

use crate::exchange::{Exchange, PATIENCE, exahour, json as one, succeed, until};

/// A watched book, line by line.
struct Watch {
    process: Child,
    lines: Receiver<String>,
}

impl Watch {
    fn new(words: &[&str]) -> Self {
        let mut process = exahour(words).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { process, lines }
    }

    fn next(&self) -> String {
        self.lines.recv_timeout(PATIENCE).unwrap()
    }

    /// The next line of which this is true.
    fn find(&self, wanted: impl Fn(&str) -> bool) -> String {
        loop {
            let line = self.next();
            if wanted(&line) {
                return line;
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_watched_book_says_when_its_feed_is_lost_and_back() {
    let mut exchange = Exchange::start();
    let data = exchange.data();
    let words = ["book", "1", "--watch", "--data", &data];
    let people = Watch::new(&words);
    let programs = Watch::new(&[&words[..], &["--json"]].concat());
    let object = |line: String| -> Value { serde_json::from_str(&line).unwrap() };
    people.find(|line| line.contains("no bids"));
    assert_eq!(object(programs.next())["orders"], 0);

    // A node that says nothing, without an end of the connection.
    exchange.interrupt("-STOP");
    let lost = object(programs.next());
    assert_eq!(
        (&lost["feed"], &lost["line"]),
        (&json!("lost"), &Value::Null)
    );
    assert!(lost["time"].is_string(), "{lost}");
    let said = people.next();
    assert!(
        said.starts_with("== feed lost, 20") && said.ends_with("may be old"),
        "{said}"
    );
    // What it says then is shown again, changed or not.
    exchange.interrupt("-CONT");
    assert_eq!(object(programs.next())["feed"], "back");
    assert_eq!(object(programs.next())["orders"], 0);
    people.find(|line| line.starts_with("== feed back, 20"));
    people.find(|line| line.contains("no bids"));

    exchange.kill();
    assert_eq!(object(programs.next())["feed"], "lost");
    people.find(|line| line.starts_with("== feed lost"));
}

#[test]
fn a_call_is_no_crossed_book_without_a_word() {
    let exchange = Exchange::start();
    let data = exchange.data();
    let at = |words: &[&str]| succeed(&[words, &["--data", &data]].concat());
    at(&["operate", "halt", "1"]);
    let halted = || one(&["book", "1", "--json", "--data", &data]);
    let range = until("its range", || halted().get("auction_range").cloned());
    assert_eq!(range["low"], "0.01", "{range}");
    assert_eq!(halted().get("phase_ends_at"), None, "an operator ends it");
    let nothing = at(&["book", "1"]);
    assert!(
        nothing.contains("  the auction is held from 0.01 to "),
        "{nothing}"
    );
    assert!(nothing.contains("  nothing would trade now\n"), "{nothing}");
    at(&["order", "sell", "3", "@", "2.40", "1", "--session", "2"]);
    at(&["order", "buy", "5", "@", "2.60", "1"]);
    for feed in ["orders", "levels", "top"] {
        let book = || one(&["book", "1", "--feed", feed, "--json", "--data", &data]);
        let auction = until("what the auction would be", || {
            let auction = book()["auction"].clone();
            auction["price"].is_string().then_some(auction)
        });
        assert_eq!(
            auction,
            json!({"price": "2.60", "quantity": 3, "buy_surplus": 2, "sell_surplus": 0}),
            "{feed}"
        );
    }
    let shown = at(&["book", "1"]);
    for line in [
        "  a call: orders are collected for an auction",
        "  3 would trade now at 2.60, 2 more bid for",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
    // Orders without a limit stand at the end of the auction's range.
    at(&["order", "buy", "1", "1", "--market", "--tif", "gfa"]);
    let all = one(&["book", "1", "--json", "--data", &data]);
    assert_eq!(
        (&all["bids"][0]["price"], &all["bids"][0]["at_range_end"]),
        (&json!("250.00"), &json!(true))
    );
    assert_eq!(all["bids"][1]["at_range_end"], Value::Null);
    let shown = at(&["book", "1"]);
    assert!(
        shown.contains("1 order  at the end of the range, where orders without a limit stand"),
        "{shown}"
    );
    at(&["operate", "resume", "1"]);
    let open = one(&["book", "1", "--json", "--data", &data]);
    assert_eq!(open["auction"], Value::Null);
}
