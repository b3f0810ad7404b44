//! `exahour operate show` against a node process.

use serde_json::{Value, json};

use crate::exchange::{Exchange, fail, operate, refuse, shown, succeed};

fn show(data: &str, words: &[&str]) -> String {
    succeed(&[&["operate", "show"], words, &["--data", data]].concat())
}

#[test]
fn an_instrument_is_told_as_it_was_listed() {
    let exchange = Exchange::start();
    let data = exchange.data();
    // What is listed, as it is before anybody said anything.
    let plain = shown(&data, "1");
    assert_eq!(
        (&plain["symbol"], &plain["phase"], &plain["tick"]),
        (&json!("GPU-H100-EU"), &json!("Continuous"), &json!("0.01"))
    );
    for nothing in [
        "ends_time",
        "calendar",
        "circuit_breaker",
        "price_band",
        "auction",
    ] {
        assert_eq!(plain[nothing], Value::Null, "{nothing}");
    }
}

#[test]
fn an_operator_sees_guards_and_the_auction_of_a_halt() {
    let mut exchange = Exchange::start();
    let data = exchange.data();
    operate(&data, &["circuit-breaker", "1", "15%"]);
    operate(&data, &["price-band", "1", "2%"]);
    operate(&data, &["circuit-breaker", "2", "0", "--linked", "1"]);
    let order = |words: &[&str]| succeed(&[&["order"], words, &["--data", &data]].concat());
    order(&["sell", "1", "@", "2.50", "1", "--session", "2"]);
    order(&["buy", "1", "@", "2.50", "1"]);
    let guarded = shown(&data, "GPU-H100-EU");
    assert_eq!(guarded["last_price"], "2.50");
    assert_eq!(
        guarded["circuit_breaker"],
        json!({"threshold_ppm": 150_000, "low": "2.13", "high": "2.87"})
    );
    assert_eq!(
        guarded["price_band"],
        json!({"width_ppm": 20_000, "reference": "2.50", "low": "2.45", "high": "2.55",
               "pauses_time": null})
    );
    assert_eq!(guarded["followed_by"], json!([2]));
    assert_eq!(shown(&data, "2")["halts_with"], 1);

    let halt = ["operate", "halt", "1", "--for", "1h", "--data", &data];
    let said = succeed(&halt);
    assert!(
        said.contains(
            "instrument 1 is halted for 3600000 ms\nhalted with it: GPU-H100-EU-M1 (2)\n"
        ),
        "{said}"
    );
    order(&["sell", "3", "@", "2.40", "1", "--session", "2"]);
    order(&["buy", "5", "@", "2.60", "1"]);
    // What the auction would be is told at most 100 ms after it has changed.
    let auction = crate::exchange::until("the auction is told", || {
        let it = shown(&data, "1")["auction"].clone();
        (it["indicative_quantity"] == 3).then_some(it)
    });
    assert_eq!(
        auction,
        json!({"reference": "2.50", "low": "0.01", "high": "250.00", "indicative_price": "2.60",
               "indicative_quantity": 3, "buy_surplus": 2, "sell_surplus": 0})
    );
    let halted = show(&data, &["1", "2"]);
    for line in [
        "  phase        Halted until 20",
        "  breaker      15%: trades from 2.13 to 2.87",
        "  price band   2%: trades from 2.45 to 2.55, around 2.50",
        "  followed by  2: halted whenever it is",
        "  auction      from 0.01 to 250.00, around 2.50; 3 lots would trade at 2.60, 2 more bid for",
        "  halts with   1",
        "  auction      from 0.01 to 240.00, around 2.40; nothing would trade",
    ] {
        assert!(halted.contains(line), "{line}\n{halted}");
    }
    // A line each: its phase, its end, its guards.
    let table = show(&data, &[]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(lines[1].contains("Halted") && lines[1].ends_with("breaker 15%, band 2%"));
    assert!(lines[2].contains("Halted") && lines[2].ends_with("halts with 1"));

    exchange.stop();
    exchange.replay();
}

#[test]
fn a_trading_day_is_told() {
    let exchange = Exchange::start();
    let data = exchange.data();
    let day = "calendar 2 --call-start 00:00 --uncross 00:00:01 --closing-call 23:59:58 \
               --closing-uncross 24:00 --collar 10% --by-size";
    operate(&data, &day.split_whitespace().collect::<Vec<_>>());
    let day = shown(&data, "2");
    assert_eq!(
        day["calendar"],
        json!({"call_start": "00:00", "uncross": "00:00:01", "closing_call": "23:59:58",
               "closing_uncross": "24:00", "random_end_ms": 0})
    );
    assert_eq!(
        (&day["auction_collar_ppm"], &day["allocation"]),
        (&json!(100_000), &json!("Size"))
    );
    assert!(day["ends_time"].is_string(), "{day}");
}

#[test]
fn everybody_may_ask_and_what_is_not_listed_is_said() {
    let exchange = Exchange::start();
    let data = exchange.data();
    let trader = show(&data, &["--session", "1"]);
    assert!(trader.contains("GPU-H100-EU"), "{trader}");
    for unknown in ["77", "TPU"] {
        let told = fail(&["operate", "show", "1", unknown, "--data", &data]);
        assert!(told.contains("there are: GPU-H100-EU (1)"), "{told}");
    }
    let wrong = refuse(&["operate", "show", "0", "--data", &data]);
    assert!(wrong.contains("numbered 1 to 65535"), "{wrong}");
}

#[test]
fn a_slow_throttle_is_waited_for() {
    let genesis = r#"
[[genesis.participant]]
id = 1
name = "Alpha"
[[genesis.session]]
id = 9
participant = 1
may = ["operator"]
throttle_rate = 20
throttle_burst = 1
"#;
    let instrument = |id: u32| {
        format!(
            r#"
[[genesis.instrument]]
id = {id}
symbol = "GPU-{id}"
kind = "spot"
class = "gpu"
zone = "eu-1"
grade = [2, 2, 2]
hours = 1
tick = "0.01"
reference = "2.50"
margin = "1.00"
trades_for_s = 31536000
quantity_max = 1000
value_max = "100000"
collar_ppm = 500000
protection_ppm = 50000
"#
        )
    };
    let instruments: String = (1..=4).map(instrument).collect();
    let exchange = Exchange::start_with(&format!("{genesis}{instruments}"));
    let table = show(&exchange.data(), &[]);
    assert_eq!(table.lines().count(), 5, "{table}");
}
