//! `replace`, `status`, `mass-cancel`, `quote` and the kinds of `order`, against a node process.

use serde_json::Value;

use crate::exchange::{Exchange, fail, json, refuse, run, succeed, texts};

/// Runs a command at a node; every report as JSON.
fn reports(data: &str, words: &[&str]) -> Vec<Value> {
    let out = succeed(&[words, &["--data", data, "--json"]].concat());
    out.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn names(reports: &[Value]) -> Vec<&str> {
    let names = reports.iter().map(|it| it["message"].as_str());
    names.map(Option::unwrap).collect()
}

/// Enters an order of a session; its number.
fn enter(data: &str, words: &[&str]) -> String {
    let told = reports(data, &[&["order"], words].concat());
    assert_eq!(told[0]["message"], "OrderAccepted", "{told:?}");
    told[0]["order"].to_string().trim_matches('"').to_owned()
}

fn asks(data: &str) -> Value {
    json(&["book", "1", "--orders", "--json", "--data", data])["asks"].clone()
}

#[test]
fn an_order_is_replaced_and_asked_for() {
    let exchange = Exchange::start();
    let data = exchange.data();
    let at = |words: &[&str]| reports(&data, words);
    let order = enter(
        &data,
        &[
            "sell",
            "10",
            "@",
            "2.50",
            "1",
            "--session",
            "2",
            "--name",
            "7",
        ],
    );
    let own = ["--session", "2"];
    // Another limit, the same lots; by the exchange's number and by the session's.
    let moved = at(&[&["replace", &order, "@", "2.60"], &own[..]].concat());
    assert_eq!(names(&moved), ["OrderReplaced"]);
    assert_eq!(
        (
            &moved[0]["price"],
            &moved[0]["quantity"],
            &moved[0]["priority"]
        ),
        (&"2.60".into(), &10.into(), &"Lost".into())
    );
    let name = moved[0]["clientOrderId"].to_string();
    let name = name.trim_matches('"');
    let fewer = at(&[&["replace", "--name", name, "8", "--as", "9"], &own[..]].concat());
    assert_eq!(
        (
            &fewer[0]["quantity"],
            &fewer[0]["priority"],
            &fewer[0]["clientOrderId"]
        ),
        (&8.into(), &"Kept".into(), &9.into())
    );
    // What it trades on the way is told.
    enter(&data, &["buy", "3", "@", "2.40", "1"]);
    let crossing = at(&[&["replace", &order, "12", "@", "2.40"], &own[..]].concat());
    assert_eq!(names(&crossing), ["OrderReplaced", "OrderFilled"]);

    for by in [&[&order[..]][..], &["--name", crossing_name(&crossing)]] {
        let status = at(&[&["status"], by, &own[..]].concat());
        assert_eq!(names(&status), ["OrderStatus"]);
        assert_eq!(
            (
                &status[0]["quantity"],
                &status[0]["leaves"],
                &status[0]["filled"]
            ),
            (&12.into(), &9.into(), &3.into())
        );
    }
    // With its instrument it is not looked up, and the exchange says that it is not there.
    let gone = fail(&[
        "status",
        "--name",
        "7",
        "--instrument",
        "1",
        "--data",
        &data,
    ]);
    assert!(gone.contains("UnknownOrder"), "{gone}");

    let unlike = |words: &[&str], code: fn(&[&str]) -> String, why: &str| {
        let told = code(&[words, &["--data", &data]].concat());
        assert!(told.contains(why), "{words:?}: {told}");
    };
    unlike(
        &["replace", &order, "9"],
        fail,
        "is not a live order of session 1's",
    );
    unlike(
        &["replace", "4711", "9"],
        fail,
        "order 4711 is not a live order",
    );
    unlike(
        &["replace", &order, "--session", "2"],
        refuse,
        "nothing is changed",
    );
    unlike(
        &["replace", &order, "@", "2.405", "--session", "2"],
        fail,
        "PriceNotOnTick",
    );
    unlike(
        &["status"],
        refuse,
        "ORDER, the exchange's number for it, or --name N",
    );
    let cancelled = at(&[&["cancel", &order], &own[..]].concat());
    assert_eq!(names(&cancelled), ["OrderCancelled"]);
}

fn crossing_name(reports: &[Value]) -> &str {
    // Names of ours are times, too long for a plain number.
    reports[0]["clientOrderId"].as_str().unwrap()
}

#[test]
fn orders_are_cancelled_by_session_instrument_and_firm() {
    let exchange = Exchange::start();
    let data = exchange.data();
    for instrument in ["1", "1", "2"] {
        enter(&data, &["buy", "1", "@", "2.00", instrument]);
    }
    enter(&data, &["sell", "1", "@", "2.90", "1", "--session", "2"]);
    let mass = |words: &[&str]| {
        let out = succeed(&[&["mass-cancel"], words, &["--data", &data]].concat());
        out.lines().last().unwrap().to_owned()
    };
    assert_eq!(
        mass(&["instrument", "GPU-H100-EU"]),
        "2 orders are cancelled"
    );
    assert_eq!(mass(&["account", "100"]), "1 order is cancelled");
    enter(&data, &["buy", "1", "@", "2.00", "1"]);
    assert_eq!(mass(&["firm"]), "1 order is cancelled");
    enter(&data, &["buy", "1", "@", "2.00", "1"]);
    let told = reports(&data, &["mass-cancel"]);
    assert_eq!(names(&told), ["OrderCancelled", "CommandDone"]);
    assert_eq!(told[1]["count"], 1);
    assert_eq!(mass(&[]), "0 orders are cancelled");
    // Those of another firm stay, and cannot be meant.
    assert_eq!(asks(&data)[0]["price"], "2.90");
    let other = fail(&["mass-cancel", "session", "2", "--data", &data]);
    assert!(other.contains("UnknownSession"), "{other}");
    let unclear = refuse(&["mass-cancel", "everything", "--data", &data]);
    assert!(unclear.contains("`account 100`"), "{unclear}");
}

#[test]
fn quotes_stand_side_by_side_and_are_pulled() {
    let exchange = Exchange::start();
    let data = exchange.data();
    let both = reports(
        &data,
        &[
            "quote", "1", "5", "@", "2.40", "/", "4", "@", "2.60", "and", "2", "3", "@", "2.30",
            "/", "0",
        ],
    );
    assert_eq!(
        names(&both),
        [
            "OrderAccepted",
            "OrderAccepted",
            "OrderAccepted",
            "CommandDone"
        ]
    );
    assert_eq!(both[3]["count"], 4);
    // A side that is refused ends with exit code 1; the others stand, and what stood stays.
    let output = run(&[
        "quote", "1", "5", "@", "2.405", "/", "6", "@", "2.60", "--data", &data,
    ]);
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{out}\n{err}");
    assert!(err.contains("PriceNotOnTick"), "{err}");
    assert!(
        out.contains("OrderReplaced") && out.contains("CommandDone"),
        "{out}"
    );
    assert_eq!(asks(&data)[0]["quantity"], 6);
    let pulled = succeed(&["quote", "GPU-H100-EU", "0", "/", "0", "--data", &data]);
    assert!(pulled.ends_with("2 sides are as was said\n"), "{pulled}");
    assert_eq!(asks(&data), serde_json::json!([]));
    let crossed = fail(&[
        "quote", "1", "5", "@", "2.60", "/", "5", "@", "2.60", "--data", &data,
    ]);
    assert!(crossed.contains("CrossedQuote"), "{crossed}");
    let half = refuse(&["quote", "1", "5", "@", "2.60", "--data", &data]);
    assert!(half.contains("`1 5 @ 2.40 / 5 @ 2.60`"), "{half}");
}

#[test]
fn orders_of_every_kind_are_entered() {
    let exchange = Exchange::start();
    let data = exchange.data();
    let at = |words: &[&str]| reports(&data, &[&["order"], words].concat());
    let iceberg = at(&[
        "sell",
        "100",
        "@",
        "2.60",
        "1",
        "--display",
        "10",
        "--session",
        "2",
    ]);
    assert_eq!(names(&iceberg), ["OrderAccepted", "OrderShown"]);
    assert_eq!(asks(&data)[0]["quantity"], 10);
    let few = fail(&[
        "order",
        "sell",
        "100",
        "@",
        "2.60",
        "1",
        "--display",
        "101",
        "--data",
        &data,
    ]);
    assert!(few.contains("DisplayInvalid"), "{few}");

    let many = at(&["buy", "200", "@", "2.60", "1", "--minimum", "101"]);
    assert_eq!(names(&many), ["OrderAccepted", "OrderCancelled"]);
    assert_eq!(many[1]["reason"], "NotFillable");
    // So many lots trade at once, and the rest is a limit order at that price.
    let some = at(&["buy", "15", "1", "--market-to-limit"]);
    assert_eq!(
        (&some[0]["orderType"], &some[0]["price"]),
        (&"MarketToLimit".into(), &"2.60".into())
    );
    let filled = some.iter().filter(|it| it["message"] == "OrderFilled");
    assert_eq!(
        filled.filter_map(|it| it["quantity"].as_u64()).sum::<u64>(),
        15
    );

    let early = fail(&[
        "order", "buy", "1", "1", "--market", "--tif", "gfa", "--data", &data,
    ]);
    assert!(early.contains("NoCall"), "{early}");
    succeed(&["operate", "halt", "1", "--data", &data]);
    let collected = at(&["buy", "1", "1", "--market", "--tif", "gfa"]);
    assert_eq!(collected[0]["timeInForce"], "GoodForAuction");

    // What contradicts itself is not sent.
    for (words, why) in [
        (
            &["buy", "1", "1", "--market", "--stop", "2.60"][..],
            "cannot be used with",
        ),
        (
            &["buy", "1", "1", "--market-to-limit", "--market"],
            "cannot be used with",
        ),
        (
            &["buy", "1", "@", "2.50", "1", "--market-to-limit"],
            "finds its limit in the book",
        ),
        (&["buy", "1", "@", "2.50", "1", "--offset", "0.01"], "--peg"),
        (
            &["buy", "1", "@", "2.50", "1", "--peg", "best"],
            "primary, market or midpoint",
        ),
        (
            &["buy", "1", "@", "2.50", "1", "--display", "0"],
            "--display",
        ),
        (&["buy", "1", "1"], "--market-to-limit"),
    ] {
        let told = refuse(&[&["order"], words, &["--data", &data]].concat());
        assert!(told.contains(why), "{words:?}: {told}");
    }
}
