//! `exahour operate` where it stops firms, limits them and moves their money, against a node process.

use std::io::{ErrorKind, Read, Write, copy};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use exahour_tools::connection::{ADDRESSES_FILE, Serving};
use exahour_wire::framing::{Cut, FRAMING_BYTES, cut};
use exahour_wire::message::{Message, peek_header};
use exahour_wire::operations::Deposit;

use crate::exchange::{Exchange, count, json, refuse, succeed, until};

/// Two operators of two firms, and two firms that trade.
const GENESIS: &str = r#"
[[genesis.participant]]
id = 1
name = "Alpha"
[[genesis.participant]]
id = 2
name = "Beta"
[[genesis.participant]]
id = 9
name = "Operations"
[[genesis.participant]]
id = 10
name = "Supervision"
[[genesis.account]]
id = 100
participant = 1
name = "Alpha house"
deposit = "100"
[[genesis.account]]
id = 200
participant = 2
name = "Beta house"
deposit = "100"
[[genesis.session]]
id = 1
participant = 1
may = ["trade", "risk"]
[[genesis.session]]
id = 2
participant = 2
may = ["trade", "risk"]
[[genesis.session]]
id = 9
participant = 9
may = ["operator"]
[[genesis.session]]
id = 10
participant = 10
may = ["operator"]
[[genesis.instrument]]
id = 1
symbol = "GPU-SPOT"
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
"#;

#[test]
fn a_firm_is_stopped_by_one_and_released_by_two() {
    let mut market = Exchange::start_with(GENESIS);
    market.say("order buy 1 @ 2.00 1");
    market.say("order buy 1 @ 2.10 1");
    market.say("order sell 1 @ 2.90 1 --session 2");
    let stopped = market.say("operate kill firm 1");
    assert!(
        stopped.ends_with("firm 1 is stopped; 2 orders are cancelled\n"),
        "{stopped}"
    );
    let late = market.refused("order buy 1 @ 2.00 1");
    assert!(late.contains("KillSwitchEngaged"), "{late}");
    // A desk stops its own, and sees its own orders go.
    let own = market.say("operate kill session 2 --session 2 --json");
    let lines: Vec<&str> = own.lines().collect();
    assert_eq!(lines.len(), 2, "{own}");
    assert!(lines[0].contains("OrderCancelled") && lines[1].contains("CommandDone"));
    let other = market.refused("operate kill firm 1 --session 2");
    assert!(other.contains("UnknownParticipant"), "{other}");

    let asked = market.say("operate ask-release firm 1");
    assert!(asked.contains("stopped still"), "{asked}");
    let alone = market.refused("operate confirm-release firm 1");
    assert!(alone.contains("SecondOperatorNeeded"), "{alone}");
    let released = market.say("operate confirm-release firm 1 --session 10");
    assert!(released.contains("firm 1 may trade again"), "{released}");
    market.say("order buy 1 @ 2.00 1");

    market.stop();
    assert!(count(&market.replay(), "events_compared") > 10);
}

#[test]
fn money_limits_and_settlement_prices_are_set() {
    let market = Exchange::start_with(GENESIS);
    let more = market.say("operate deposit 100 12.50");
    assert!(
        more.contains("account 100 has 12.50 dollars more"),
        "{more}"
    );
    let less = market.say("operate withdraw 100 112");
    assert!(
        less.contains("account 100 has 112.00 dollars less"),
        "{less}"
    );
    let beyond = market.refused("operate withdraw 100 0.51");
    assert!(beyond.contains("BalanceTooLow"), "{beyond}");
    let poor = market.refused("order buy 1 @ 2.00 1");
    assert!(poor.contains("InsufficientFunds"), "{poor}");

    let limited = market.say("operate position-limit 200 GPU-SPOT 5");
    assert!(
        limited.contains("account 200 may hold 5 lots of instrument 1"),
        "{limited}"
    );
    let much = market.refused("order sell 6 @ 2.90 1 --session 2");
    assert!(much.contains("PositionLimit"), "{much}");
    let marked = market.say("operate settle 1 2.60");
    assert!(marked.contains("are carried at 2.60"), "{marked}");
    let shown = json(&market.words("operate show 1 --json"));
    assert_eq!(shown["settlement_price"], "2.60");

    let unclear = refuse(&market.words("operate deposit 100 much"));
    assert!(unclear.contains("such as 1000 or 12.50"), "{unclear}");
    let whom = refuse(&market.words("operate kill everybody 1"));
    assert!(whom.contains("session, account, firm"), "{whom}");
}

/// Lets one connection through to a node until a deposit comes: that one is passed on when the client has been
/// cut off, so that its answer reaches nobody.
fn lose_the_answer(listener: &TcpListener, node: SocketAddr) {
    let (mut client, _) = listener.accept().unwrap();
    let mut exchange = TcpStream::connect(node).unwrap();
    let (mut answers, mut hearer) = (exchange.try_clone().unwrap(), client.try_clone().unwrap());
    let back = thread::spawn(move || copy(&mut answers, &mut hearer));
    let (mut said, mut room) = (Vec::new(), [0; 4096]);
    loop {
        let read = client.read(&mut room).unwrap();
        assert!(read > 0, "the client left before it said anything");
        said.extend_from_slice(&room[..read]);
        while let Cut::Whole { bytes } = cut(&said) {
            let rest = said.split_off(FRAMING_BYTES + bytes);
            let message = std::mem::replace(&mut said, rest);
            let template = peek_header(&message[FRAMING_BYTES..]).unwrap().template_id;
            if template != Deposit::TEMPLATE_ID {
                exchange.write_all(&message).unwrap();
                continue;
            }
            client.shutdown(Shutdown::Both).unwrap();
            exchange.write_all(&message).unwrap();
            exchange.shutdown(Shutdown::Write).unwrap();
            // The node's answer finds nobody any more; the node closes when it has heard the end.
            let lost = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
            match back.join().unwrap() {
                Ok(_) => {}
                Err(error) => assert!(lost.contains(&error.kind()), "{error}"),
            }
            return;
        }
    }
}

#[test]
fn a_deposit_whose_answer_is_lost_is_found_before_it_is_repeated() {
    let market = Exchange::start_with(GENESIS);
    let serving = Serving::read(&market.path("data").join(ADDRESSES_FILE));
    let node = serving.unwrap().unwrap().orders;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let between = thread::spawn(move || lose_the_answer(&listener, node));
    let told = refuse(&market.words(&format!("operate deposit 100 12.50 --node {address}")));
    between.join().unwrap();
    assert!(
        told.contains("it is not known whether the money moved")
            && !told.contains("exahour orders"),
        "{told}"
    );
    // It has moved, and what the advice names tells so.
    let request = told.split("request=").nth(1).unwrap().trim();
    let data = market.data();
    let audit = ["audit", &data, "--who", "account", "100"];
    let row = until("the deposit is in the journal", || {
        let rows = succeed(&audit);
        let row = rows
            .lines()
            .find(|row| row.contains(&format!("request={request} ")));
        row.map(str::to_owned)
    });
    assert!(row.contains("Deposit") && row.contains("12.5"), "{row}");
}
