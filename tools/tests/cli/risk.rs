//! `exahour operate` where it stops firms, limits them and moves their money, against a node process.

use crate::exchange::{Exchange, count, fail, json, refuse, succeed};

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

struct Market {
    exchange: Exchange,
    data: String,
    config: String,
}

impl Market {
    fn new() -> Self {
        let exchange = Exchange::start_with(GENESIS);
        let (data, config) = (exchange.data(), exchange.config());
        Self {
            exchange,
            data,
            config,
        }
    }

    fn words<'a>(&'a self, line: &'a str) -> Vec<&'a str> {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        words.extend(["--data", &self.data, "--config", &self.config]);
        words
    }

    fn say(&self, line: &str) -> String {
        succeed(&self.words(line))
    }

    fn refused(&self, line: &str) -> String {
        fail(&self.words(line))
    }
}

#[test]
fn a_firm_is_stopped_by_one_and_released_by_two() {
    let mut market = Market::new();
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

    market.exchange.stop();
    assert!(count(&market.exchange.replay(), "events_compared") > 10);
}

#[test]
fn money_limits_and_settlement_prices_are_set() {
    let market = Market::new();
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
