//! `replace`, `status`, `mass-cancel`, `quote` and the kinds of `order`, against a node process.

use serde_json::{Value, json};

use crate::exchange::{Exchange, fail, json as one, refuse, run, succeed, texts};

/// A command line in one text, at a node.
fn words<'a>(line: &'a str, data: &'a str) -> Vec<&'a str> {
    let mut words: Vec<&str> = line.split_whitespace().collect();
    words.extend(["--data", data]);
    words
}

/// Runs a command at a node; every report as JSON.
fn reports(data: &str, line: &str) -> Vec<Value> {
    let out = succeed(&[&words(line, data)[..], &["--json"]].concat());
    let reports = out.lines().map(|it| serde_json::from_str(it).unwrap());
    reports.collect()
}

fn names(reports: &[Value]) -> Vec<&str> {
    let names = reports.iter().map(|it| it["message"].as_str());
    names.map(Option::unwrap).collect()
}

/// Some fields of a report.
fn fields<const N: usize>(report: &Value, names: [&str; N]) -> Value {
    names.map(|name| report[name].clone()).to_vec().into()
}

/// A number of a report; a large one stands in quotes.
fn number(report: &Value, name: &str) -> String {
    report[name].to_string().trim_matches('"').to_owned()
}

/// Enters an order; its number.
fn enter(data: &str, line: &str) -> String {
    let told = reports(data, &format!("order {line}"));
    assert_eq!(told[0]["message"], "OrderAccepted", "{told:?}");
    number(&told[0], "order")
}

fn asks(data: &str) -> Value {
    one(&["book", "1", "--orders", "--json", "--data", data])["asks"].clone()
}

#[test]
fn an_order_is_replaced_and_asked_for() {
    let exchange = Exchange::start();
    let data = exchange.data();
    let at = |line: &str| reports(&data, &format!("{line} --session 2"));
    let order = enter(&data, "sell 10 @ 2.50 1 --session 2 --name 7");
    // Another limit, the same lots; by the exchange's number and by the session's.
    let moved = at(&format!("replace {order} @ 2.60"));
    assert_eq!(names(&moved), ["OrderReplaced"]);
    assert_eq!(
        fields(&moved[0], ["price", "quantity", "priority"]),
        json!(["2.60", 10, "Lost"])
    );
    let name = number(&moved[0], "clientOrderId");
    let fewer = at(&format!("replace --name {name} 8 --as 9"));
    assert_eq!(
        fields(&fewer[0], ["quantity", "priority", "clientOrderId"]),
        json!([8, "Kept", 9])
    );
    // What it trades on the way is told.
    enter(&data, "buy 3 @ 2.40 1");
    let crossing = at(&format!("replace {order} 12 @ 2.40"));
    assert_eq!(names(&crossing), ["OrderReplaced", "OrderFilled"]);

    let name = number(&crossing[0], "clientOrderId");
    for by in [order.clone(), format!("--name {name}")] {
        let status = at(&format!("order-status {by}"));
        assert_eq!(names(&status), ["OrderStatus"]);
        assert_eq!(
            fields(&status[0], ["quantity", "leaves", "filled"]),
            json!([12, 9, 3])
        );
    }
    let cancelled = at(&format!("cancel {order}"));
    assert_eq!(names(&cancelled), ["OrderCancelled"]);
}

#[test]
fn what_is_no_live_order_or_no_change_is_said() {
    let exchange = Exchange::start();
    let data = exchange.data();
    let order = enter(&data, "sell 10 @ 2.50 1 --session 2 --name 7");
    for (line, why) in [
        (
            format!("replace {order} 9"),
            "is not a live order of session 1's",
        ),
        (
            "replace 4711 9".to_owned(),
            "order 4711 is not a live order",
        ),
        (
            format!("replace {order} @ 2.405 --session 2"),
            "PriceNotOnTick",
        ),
        // With its instrument it is not looked up, and the exchange says that it is not there.
        (
            "order-status --name 7 --instrument 1".to_owned(),
            "UnknownOrder",
        ),
    ] {
        let told = fail(&words(&line, &data));
        assert!(told.contains(why), "{line}: {told}");
    }
    for (line, why) in [
        (format!("replace {order} --session 2"), "nothing is changed"),
        (
            "order-status".to_owned(),
            "ORDER, the exchange's number for it, or --name N",
        ),
    ] {
        let told = refuse(&words(&line, &data));
        assert!(told.contains(why), "{line}: {told}");
    }
}

#[test]
fn orders_are_cancelled_by_session_instrument_and_firm() {
    let exchange = Exchange::start();
    let data = exchange.data();
    for instrument in [1, 1, 2] {
        enter(&data, &format!("buy 1 @ 2.00 {instrument}"));
    }
    enter(&data, "sell 1 @ 2.90 1 --session 2");
    let mass = |line: &str| {
        let out = succeed(&words(&format!("mass-cancel {line}"), &data));
        out.lines().last().unwrap().to_owned()
    };
    assert_eq!(mass("instrument GPU-H100-EU"), "2 orders are cancelled");
    assert_eq!(mass("account 100"), "1 order is cancelled");
    enter(&data, "buy 1 @ 2.00 1");
    assert_eq!(mass("firm"), "1 order is cancelled");
    enter(&data, "buy 1 @ 2.00 1");
    let told = reports(&data, "mass-cancel");
    assert_eq!(names(&told), ["OrderCancelled", "CommandDone"]);
    assert_eq!(told[1]["count"], 1);
    assert_eq!(mass(""), "0 orders are cancelled");
    // Those of another firm stay, and cannot be meant.
    assert_eq!(asks(&data)[0]["price"], "2.90");
    let other = fail(&words("mass-cancel session 2", &data));
    assert!(other.contains("UnknownSession"), "{other}");
    let unclear = refuse(&words("mass-cancel everything", &data));
    assert!(unclear.contains("`account 100`"), "{unclear}");
}

#[test]
fn quotes_stand_side_by_side_and_are_pulled() {
    let exchange = Exchange::start();
    let data = exchange.data();
    let both = reports(&data, "quote 1 5 @ 2.40 / 4 @ 2.60 and 2 3 @ 2.30 / 0");
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
    let output = run(&words("quote 1 5 @ 2.405 / 6 @ 2.60", &data));
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{out}\n{err}");
    assert!(err.contains("PriceNotOnTick"), "{err}");
    assert!(
        out.contains("OrderReplaced") && out.contains("CommandDone"),
        "{out}"
    );
    assert_eq!(asks(&data)[0]["quantity"], 6);
    let pulled = succeed(&words("quote GPU-H100-EU 0 / 0", &data));
    assert!(pulled.ends_with("2 sides are as was said\n"), "{pulled}");
    assert_eq!(asks(&data), json!([]));
    let crossed = fail(&words("quote 1 5 @ 2.60 / 5 @ 2.60", &data));
    assert!(crossed.contains("CrossedQuote"), "{crossed}");
    let half = refuse(&words("quote 1 5 @ 2.60", &data));
    assert!(half.contains("`1 5 @ 2.40 / 5 @ 2.60`"), "{half}");
}

#[test]
fn orders_of_every_kind_are_entered() {
    let exchange = Exchange::start();
    let data = exchange.data();
    let at = |line: &str| reports(&data, &format!("order {line}"));
    let iceberg = at("sell 100 @ 2.60 1 --display 10 --session 2");
    assert_eq!(names(&iceberg), ["OrderAccepted", "OrderShown"]);
    assert_eq!(asks(&data)[0]["quantity"], 10);
    let few = fail(&words("order sell 100 @ 2.60 1 --display 101", &data));
    assert!(few.contains("DisplayInvalid"), "{few}");

    let many = at("buy 200 @ 2.60 1 --minimum 101");
    assert_eq!(names(&many), ["OrderAccepted", "OrderCancelled"]);
    assert_eq!(many[1]["reason"], "NotFillable");
    // It trades at the best price of the other side, with what is hidden there, too.
    let some = at("buy 15 1 --market-to-limit");
    assert_eq!(
        fields(&some[0], ["orderType", "price"]),
        json!(["MarketToLimit", "2.60"])
    );
    let fills = some.iter().filter(|it| it["message"] == "OrderFilled");
    let lots: u64 = fills.filter_map(|it| it["quantity"].as_u64()).sum();
    assert_eq!(lots, 15);

    // A profit to be taken at 2.80, or a loss at 2.40.
    let either = at("sell 4 @ 2.80 1 --or-stop 2.40 --stop-limit 2.35 --session 2");
    assert_eq!(names(&either), ["OrderAccepted", "StopEntered"]);
    assert_eq!(
        fields(&either[1], ["stopPrice", "stopLimit"]),
        json!(["2.40", "2.35"])
    );
    let stop = at("sell 4 1 --stop 2.30 --session 2");
    assert_eq!(
        fields(&stop[1], ["stopPrice", "stopLimit"]),
        json!(["2.30", null])
    );

    let listed = succeed(&words("orders --session 2", &data));
    for waiting in [
        ", or a stop-limit order at 2.40, limit 2.35\n",
        ", waits for its stop price 2.30\n",
    ] {
        assert!(listed.contains(waiting), "{listed}");
    }

    // A pegged order stands behind the best offer, by an offset, and moves.
    let pegged = at("sell 2 @ 2.50 1 --peg primary --offset 0.01 --session 2");
    assert_eq!(names(&pegged), ["OrderAccepted", "OrderRepriced"]);
    assert_eq!(
        (&pegged[0]["orderType"], &pegged[1]["price"]),
        (&json!("Pegged"), &json!("2.61"))
    );
    let listed = succeed(&words("orders --session 2", &data));
    assert!(listed.contains("pegged, stands at 2.61"), "{listed}");

    let early = fail(&words("order buy 1 1 --market --tif gfa", &data));
    assert!(early.contains("NoCall"), "{early}");
    succeed(&words("operate halt 1", &data));
    let collected = at("buy 1 1 --market --tif gfa");
    assert_eq!(collected[0]["timeInForce"], "GoodForAuction");
}

#[test]
fn an_order_that_contradicts_itself_is_not_sent() {
    for (line, why) in [
        ("buy 1 1 --market --stop 2.60", "cannot be used with"),
        ("buy 1 1 --market-to-limit --market", "cannot be used with"),
        (
            "buy 1 @ 2.50 1 --market-to-limit",
            "finds its limit in the book",
        ),
        ("buy 1 @ 2.50 1 --offset 0.01", "--peg"),
        (
            "buy 1 1 --or-stop 2.60",
            "has a limit beside its stop price",
        ),
        ("buy 1 @ 2.50 1 --stop 2.60 --stop-limit 2.70", "--or-stop"),
        (
            "buy 1 @ 2.50 1 --stop 2.60 --or-stop 2.70",
            "cannot be used with",
        ),
        ("buy 1 @ 2.50 1 --peg best", "primary, market or midpoint"),
        ("buy 1 1 --peg primary", "a pegged order has a limit"),
        ("buy 1 @ 2.50 1 --display 0", "--display"),
        ("buy 1 1", "--market-to-limit"),
    ] {
        let told = refuse(&words(&format!("order {line}"), "nowhere"));
        assert!(told.contains(why), "{line}: {told}");
    }
}
