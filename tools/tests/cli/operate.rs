//! `exahour operate` against a node process, and a market maker's quotes over the client library.

use std::net::TcpListener;
use std::path::Path;

use exahour_gateway::client::{Client, ClientConfig, ClientEvent};
use exahour_gateway::credentials::Keys;
use exahour_tools::connection::{ADDRESSES_FILE, Serving};
use exahour_wire::events::{CommandDone, OrderAccepted, OrderRejected};
use exahour_wire::ids::{AccountId, ClientOrderId, InstrumentId, SessionId};
use exahour_wire::message::Message;
use exahour_wire::orders::{MassQuote, Quote};
use exahour_wire::reject::Reject;
use exahour_wire::units::{Price, Quantity};
use serde_json::Value;

use crate::exchange::{
    Exchange, PATIENCE, count, fail, json, operate, refuse, run, shown, succeed, texts,
};

fn refused(data: &str, words: &[&str]) -> String {
    fail(&[&["operate"], words, &["--data", data]].concat())
}

fn book(data: &str) -> String {
    succeed(&["book", "1", "--data", data])
}

#[test]
fn trading_is_halted_resumed_and_given_a_day() {
    let mut exchange = Exchange::start();
    let data = exchange.data();
    let halted = operate(&data, &["halt", "GPU-H100-EU", "--for", "15m"]);
    assert!(
        halted.contains("template=172") && halted.contains("instrument 1 is halted for 900000 ms"),
        "{halted}"
    );
    assert!(book(&data).contains("Halted"), "{}", book(&data));
    let again = refused(&data, &["halt", "1"]);
    assert!(again.contains("NothingToChange"), "{again}");
    // What is collected trades when it is resumed.
    let order = |words: &[&str]| succeed(&[words, &["--data", &data]].concat());
    order(&["order", "sell", "3", "@", "2.50", "1", "--session", "2"]);
    order(&["order", "buy", "2", "@", "2.50", "1"]);
    let resumed = operate(&data, &["resume", "1"]);
    assert!(resumed.contains("has ended"), "{resumed}");
    assert!(book(&data).contains("Continuous"), "{}", book(&data));
    let left = json(&["orders", "--session", "2", "--data", &data, "--json"]);
    assert_eq!(left["leaves"], 1);

    exchange.stop();
    assert!(count(&exchange.replay(), "events_compared") > 10);
}

#[test]
fn a_halt_stands_where_nobody_tells_what_follows() {
    let exchange = Exchange::start();
    let data = exchange.data();
    operate(&data, &["circuit-breaker", "2", "0", "--linked", "1"]);
    // One port at which nobody listens, one that takes connections and never says a word.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let ports = [&gone, &silent].map(|it| it.local_addr().unwrap().to_string());
    drop(gone);
    for port in &ports {
        let halt = [
            "operate",
            "halt",
            "1",
            "--market-data",
            port,
            "--data",
            &data,
        ];
        let output = run(&halt);
        let (out, err) = texts(&output);
        assert!(output.status.success(), "{out}{err}");
        assert!(
            out.ends_with("instrument 1 is halted until it is resumed\n"),
            "{out}"
        );
        assert!(
            err.contains("the halt stands") && err.contains("no market data from"),
            "{err}"
        );
        for halted in ["1", "2"] {
            assert_eq!(shown(&data, halted)["phase"], "Halted");
        }
        operate(&data, &["resume", "1"]);
        operate(&data, &["resume", "2"]);
    }
    // A symbol is looked up before anything is sent.
    let halt = ["operate", "halt", "GPU-H100-EU", "--market-data", &ports[0]];
    let refused = refuse(&[&halt[..], &["--data", &data]].concat());
    assert!(refused.contains("name it by its number"), "{refused}");
}

#[test]
fn a_trading_day_is_set_and_taken_away_by_its_name_only() {
    let exchange = Exchange::start();
    let data = exchange.data();
    let day = [
        "calendar",
        "1",
        "--call-start",
        "00:00",
        "--uncross",
        "00:00:01",
        "--closing-call",
        "23:59:58",
        "--closing-uncross",
        "23:59:59",
        "--random-end",
        "500ms",
        "--collar",
        "10%",
        "--by-size",
        "--json",
    ];
    let told: Value = serde_json::from_str(&operate(&data, &day)).unwrap();
    assert_eq!(
        (&told["message"], &told["template"]),
        (&"CommandDone".into(), &170.into())
    );
    // A day is not taken away by leaving it out.
    for nothing in [&["calendar", "1"][..], &["calendar", "1", "--collar", "5%"]] {
        let words = [&["operate"], nothing, &["--data", &data]].concat();
        let refused = refuse(&words);
        assert!(refused.contains("--around-the-clock"), "{refused}");
    }
    let around = operate(
        &data,
        &[
            "calendar",
            "1",
            "--around-the-clock",
            "--collar",
            "25000ppm",
        ],
    );
    assert!(
        around.contains("instrument 1 trades around the clock; its auctions have a collar of 2.5%"),
        "{around}"
    );
    let both = refuse(
        &[
            &["operate"],
            &day[..10],
            &["--around-the-clock", "--data", &data],
        ]
        .concat(),
    );
    assert!(both.contains("cannot be used with"), "{both}");
    let mixed = ["--around-the-clock", "--random-end", "5s", "--data", &data];
    let mixed = refuse(&[&["operate", "calendar", "1"], &mixed[..]].concat());
    assert!(mixed.contains("cannot be used with"), "{mixed}");
    let late = refused(
        &data,
        &[&day[..8], &["--closing-uncross", "23:00"]].concat(),
    );
    assert!(late.contains("InvalidDefinition"), "{late}");
    let half = refuse(&[
        "operate",
        "calendar",
        "1",
        "--uncross",
        "08:00",
        "--data",
        &data,
    ]);
    assert!(half.contains("--call-start"), "{half}");
    let wrong = refuse(&[
        "operate",
        "calendar",
        "1",
        "--call-start",
        "8",
        "--data",
        &data,
    ]);
    assert!(
        wrong.contains("a time of day in UTC such as 07:50"),
        "{wrong}"
    );
}

#[test]
fn the_secret_of_random_ends_is_read_and_not_told() {
    let exchange = Exchange::start();
    let data = exchange.data();
    let seed = exchange.path("seed");
    std::fs::write(&seed, format!("{}\n", "5e".repeat(32))).unwrap();
    let seed = seed.display().to_string();
    let told = operate(&data, &["auction-seed", &seed]);
    assert!(
        told.contains("template=171") && !told.contains("5e5e5e"),
        "{told}"
    );
    std::fs::write(&seed, "5e").unwrap();
    let short = refuse(&["operate", "auction-seed", &seed, "--data", &data]);
    assert!(short.contains("openssl rand -hex 32"), "{short}");
}

#[test]
fn prices_are_guarded_and_trades_undone() {
    let mut exchange = Exchange::start();
    let data = exchange.data();
    let band = operate(&data, &["price-band", "1", "2%"]);
    assert!(band.contains("a price band of 2% to each side"), "{band}");
    let follows = operate(
        &data,
        &["circuit-breaker", "2", "0", "--linked", "GPU-H100-EU"],
    );
    assert!(
        follows.contains("follows the halts of instrument 1"),
        "{follows}"
    );
    let breaker = operate(&data, &["circuit-breaker", "1", "15%"]);
    assert!(breaker.contains("a breaker at 15%"), "{breaker}");

    // The band ends at 2.55.
    let bid = [
        "order", "buy", "4", "@", "2.90", "1", "--data", &data, "--json",
    ];
    assert_eq!(json(&bid)["price"], "2.55");
    let sold = succeed(&[
        "order",
        "sell",
        "4",
        "@",
        "2.55",
        "1",
        "--session",
        "2",
        "--data",
        &data,
        "--json",
    ]);
    let fill: Value = serde_json::from_str(sold.lines().nth(1).unwrap()).unwrap();
    assert_eq!(fill["message"], "OrderFilled");
    let trade = fill["trade"].as_u64().unwrap().to_string();

    let corrected = operate(&data, &["correct", &trade, "2.50", "3"]);
    assert!(
        corrected.contains(&format!("trade {trade} is one of 3 lots at 2.50")),
        "{corrected}"
    );
    let more = refused(&data, &["correct", &trade, "2.50", "4"]);
    assert!(more.contains("QuantityTooLarge"), "{more}");
    let busted = operate(&data, &["bust", &trade]);
    assert!(
        busted.contains(&format!("trade {trade} is undone")),
        "{busted}"
    );
    let again = refused(&data, &["bust", &trade]);
    assert!(again.contains("TradeAlreadyBusted"), "{again}");
    let unknown = refused(&data, &["bust", "4711"]);
    assert!(unknown.contains("UnknownTrade"), "{unknown}");

    // A trader is no operator, and what is not listed cannot be guarded.
    let trader = refused(&data, &["price-band", "1", "5%", "--session", "1"]);
    assert!(trader.contains("NotPermitted"), "{trader}");
    let unlisted = refused(&data, &["price-band", "TPU", "5%"]);
    assert!(
        unlisted.contains("there are: GPU-H100-EU (1)"),
        "{unlisted}"
    );
    let wide = refused(&data, &["price-band", "1", "101%"]);
    assert!(wide.contains("InvalidDefinition"), "{wide}");
    for unclear in ["wide", "15", "150000"] {
        let refused = refuse(&["operate", "price-band", "1", unclear, "--data", &data]);
        assert!(
            refused.contains("15%") && refused.contains("150000ppm"),
            "{refused}"
        );
    }

    exchange.stop();
    assert!(count(&exchange.replay(), "events_compared") > 10);
}

const GUARDED: &str = r#"
[[genesis.participant]]
id = 1
name = "Alpha"

[[genesis.session]]
id = 9
participant = 1
may = ["operator"]

[[genesis.instrument]]
id = 1
symbol = "GPU-DAY"
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
price_band_ppm = 50000
halts_with = 2
calendar = { call_start = "00:00", uncross = "12:00", closing_call = "12:01", closing_uncross = "24:00" }

[[genesis.instrument]]
id = 2
symbol = "GPU-ALWAYS"
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
circuit_breaker_ppm = 150000
"#;

#[test]
fn a_genesis_says_when_and_at_which_prices_contracts_trade() {
    let mut exchange = Exchange::start_with(GUARDED);
    let data = exchange.data();
    let day = book(&data);
    // All of the day but a minute is one call or the other.
    assert!(day.contains("Call") || day.contains("Continuous"), "{day}");
    // Where there is a call its rules cannot change; so the calendar is there.
    if day.contains("Call") {
        let refused = refused(&data, &["calendar", "1", "--around-the-clock"]);
        assert!(refused.contains("CallUnderWay"), "{refused}");
    }
    operate(&data, &["halt", "2", "--for", "1h"]);
    assert!(book(&data).contains("Halted"), "{}", book(&data));
    exchange.stop();
    let journal = succeed(&["journal", "dump", &data]);
    for command in [
        "SetCalendar session=0 sequence=0 request=0 instrument=1",
        "SetPriceBand session=0 sequence=0 request=0 instrument=1",
        "SetCircuitBreaker session=0 sequence=0 request=0 instrument=2",
    ] {
        assert!(journal.contains(command), "{command}: {journal}");
    }
    let wrong = GUARDED.replace("uncross = \"12:00\"", "uncross = \"noon\"");
    std::fs::write(exchange.path("wrong.toml"), wrong).unwrap();
    let (config, other) = (exchange.path("wrong.toml"), exchange.path("other"));
    let (config, other) = (config.display().to_string(), other.display().to_string());
    let refused = refuse(&["start", "--config", &config, "--data", &other]);
    assert!(
        refused.contains("\"noon\" is not a time of day in UTC"),
        "{refused}"
    );
}

/// The reports that answer a command, up to the last one.
fn answers(client: &mut Client) -> Vec<Vec<u8>> {
    let mut answers = Vec::new();
    loop {
        match client.wait(PATIENCE).unwrap() {
            Some(ClientEvent::Report(report)) => {
                answers.push(report.bytes().to_vec());
                if CommandDone::read(report.bytes()).is_some() {
                    return answers;
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_market_maker_quotes_over_the_client_library() {
    let exchange = Exchange::start();
    let data = exchange.data();
    let serving = Serving::read(&Path::new(&data).join(ADDRESSES_FILE))
        .unwrap()
        .unwrap();
    let session = SessionId(1);
    let key = Keys::load(&serving.keys)
        .unwrap()
        .key_of(session)
        .unwrap()
        .clone();
    let mut client = Client::connect(serving.orders, ClientConfig::new(session, key)).unwrap();
    let mut quotes = MassQuote {
        request: ClientOrderId(7),
        account: AccountId(100),
        ..MassQuote::blank()
    };
    for instrument in [1, 2, 3] {
        let quote = Quote {
            instrument: InstrumentId(instrument),
            bid_price: Price(2_390_000),
            bid_quantity: Quantity(5),
            ask_price: Price(2_610_000),
            ask_quantity: Quantity(5),
        };
        quotes.set_quote(instrument as usize - 1, quote);
    }
    client.send(&quotes).unwrap();
    let told = answers(&mut client);
    let entered = told.iter().filter_map(|it| OrderAccepted::read(it)).count();
    let refused: Vec<_> = told
        .iter()
        .filter_map(|it| OrderRejected::read(it))
        .collect();
    assert_eq!((entered, refused.len()), (4, 2), "{told:?}");
    assert!(
        refused
            .iter()
            .all(|it| it.reason == Reject::UnknownInstrument.into())
    );
    let done = CommandDone::read(told.last().unwrap()).unwrap();
    assert_eq!((done.request, done.count), (ClientOrderId(7), 4));
    let shown = json(&["book", "1", "--data", &data, "--json"]);
    assert_eq!(
        (&shown["bids"][0]["price"], &shown["asks"][0]["price"]),
        (&"2.39".into(), &"2.61".into())
    );
    // The same again changes nothing, and is answered with one report.
    client.send(&quotes).unwrap();
    let told = answers(&mut client);
    assert_eq!(
        told.iter().filter_map(|it| OrderAccepted::read(it)).count(),
        0
    );
    assert_eq!(told.len(), 3);
    client.terminate().unwrap();
}
